//! Pages of HTML as Markdown, or as text without marks, token by token: no tree is built, so a page may nest as deep as
//! it likes. It never runs or loads anything that a page names.

use html5ever::tendril::StrTendril;
use html5ever::tokenizer::states::RawKind;
use html5ever::tokenizer::{BufferQueue, Tag, TagKind, Token, TokenSink, TokenSinkResult, Tokenizer, TokenizerOpts};
use std::cell::RefCell;

/// Levels of lists and quotes that are indented; deeper ones stay where the last of these is.
const LEVELS_MAX: usize = 12;

/// What a page's text may take: links are written out, so it may be many times as long as the page.
pub(crate) const TEXT_BYTES_MAX: usize = 8 * 1024 * 1024;

/// A page's text.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Converted {
    pub(crate) text: String,
    pub(crate) extent: Extent,
}

/// How much of a page its text stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Extent {
    Whole,
    /// Its text would take more than [`TEXT_BYTES_MAX`].
    Beginning,
}

/// What is made of a page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    Markdown,
    Plain,
}

/// The page's text; `resolve` makes whole addresses of links.
pub(crate) fn convert(html: &str, form: Form, resolve: &dyn Fn(&str) -> String) -> Converted {
    let writer = RefCell::new(Writer::new(form, resolve));
    let tokenizer = Tokenizer::new(Sink(writer), TokenizerOpts::default());
    let input = BufferQueue::default();
    input.push_back(StrTendril::from(html));
    // A script's end stops the tokenizer; it is gone on with until everything is read.
    while !input.is_empty() {
        let _script = tokenizer.feed(&input);
    }
    tokenizer.end();
    tokenizer.sink.0.into_inner().end()
}

struct Sink<'r>(RefCell<Writer<'r>>);

impl TokenSink for Sink<'_> {
    type Handle = ();

    fn process_token(&self, token: Token, _line: u64) -> TokenSinkResult<()> {
        let mut writer = self.0.borrow_mut();
        if writer.is_full() {
            writer.extent = Extent::Beginning;
            return TokenSinkResult::Continue;
        }
        match token {
            Token::CharacterTokens(text) => writer.characters(&text),
            Token::TagToken(tag) if tag.kind == TagKind::StartTag => {
                writer.start(&tag);
                return match &*tag.name {
                    "script" => TokenSinkResult::RawData(RawKind::ScriptData),
                    "style" | "noscript" | "iframe" | "noembed" | "noframes" | "xmp" => {
                        TokenSinkResult::RawData(RawKind::Rawtext)
                    }
                    "title" | "textarea" => TokenSinkResult::RawData(RawKind::Rcdata),
                    _ => TokenSinkResult::Continue,
                };
            }
            Token::TagToken(tag) => writer.finish(&tag.name),
            Token::DoctypeToken(_)
            | Token::CommentToken(_)
            | Token::NullCharacterToken
            | Token::EOFToken
            | Token::ParseError(_) => {}
        }
        TokenSinkResult::Continue
    }
}

/// Where text stands.
enum Level {
    Bullets,
    Numbers(usize),
    Quote,
}

struct Link {
    /// Where its text begins.
    from: usize,
    to: String,
}

struct Writer<'r> {
    form: Form,
    resolve: &'r dyn Fn(&str) -> String,
    out: String,
    /// The element whose content is left out.
    skipping: Option<String>,
    levels: Vec<Level>,
    preformatted: bool,
    links: Vec<Link>,
    /// Line ends that come before the next text.
    breaks: usize,
    space: bool,
    table: Table,
    /// Bytes of all addresses so far: those of links that are still open are not in `out`.
    addresses: usize,
    extent: Extent,
}

/// Where in a table the writer is.
#[derive(Default)]
struct Table {
    /// Of the row so far.
    cells: usize,
    first_row: bool,
    in_cell: bool,
}

impl<'r> Writer<'r> {
    fn new(form: Form, resolve: &'r dyn Fn(&str) -> String) -> Writer<'r> {
        Writer {
            form,
            resolve,
            out: String::new(),
            skipping: None,
            levels: Vec::new(),
            preformatted: false,
            links: Vec::new(),
            breaks: 0,
            space: false,
            table: Table::default(),
            addresses: 0,
            extent: Extent::Whole,
        }
    }

    fn is_full(&self) -> bool {
        self.out.len().max(self.addresses) > TEXT_BYTES_MAX
    }

    fn end(mut self) -> Converted {
        if self.preformatted {
            self.finish("pre");
        }
        let text = self.out.trim();
        let text = if text.is_empty() { String::new() } else { format!("{text}\n") };
        Converted { text, extent: self.extent }
    }

    fn block(&mut self) {
        self.breaks = if self.table.in_cell { self.breaks } else { self.breaks.max(2) };
        self.space |= self.table.in_cell;
    }

    fn line(&mut self) {
        self.breaks = if self.table.in_cell { self.breaks } else { self.breaks.max(1) };
        self.space |= self.table.in_cell;
    }

    /// Writes what is due before text, then the text.
    fn put(&mut self, text: &str) {
        if self.out.is_empty() {
            self.out = self.prefix();
        } else if self.breaks > 0 {
            let kept = self.out.trim_end_matches(' ').len();
            self.out.truncate(kept);
            for _ in 0..self.breaks {
                self.out.push('\n');
            }
            let prefix = self.prefix();
            self.out.push_str(&prefix);
        } else if self.space && !self.out.ends_with([' ', '\n', '[', '(']) && !self.out.is_empty() {
            self.out.push(' ');
        }
        (self.breaks, self.space) = (0, false);
        self.out.push_str(text);
    }

    /// What stands before each line here.
    fn prefix(&self) -> String {
        let mark = |level: &Level| match level {
            Level::Bullets | Level::Numbers(_) => "  ",
            Level::Quote => "> ",
        };
        let mut prefix: String = self.levels.iter().take(LEVELS_MAX).map(mark).collect();
        // The item's own mark stands in the last two columns.
        if matches!(self.levels.last(), Some(Level::Bullets | Level::Numbers(_))) {
            prefix.truncate(prefix.len().saturating_sub(2));
        }
        prefix
    }

    fn mark(&mut self, mark: &str) {
        if self.form == Form::Markdown {
            self.put(mark);
        }
    }

    /// A mark behind text, to which it belongs: a space that is due comes after it.
    fn close_mark(&mut self, mark: &str) {
        if self.form == Form::Markdown {
            self.out.push_str(mark);
        }
    }

    fn characters(&mut self, text: &str) {
        if self.skipping.is_some() {
            return;
        }
        if self.preformatted {
            if !text.is_empty() {
                self.put("");
                self.out.push_str(text);
            }
            return;
        }
        for (index, word) in text.split(|c: char| c.is_ascii_whitespace()).enumerate() {
            self.space |= index > 0;
            if !word.is_empty() {
                self.put(word);
            }
        }
    }

    fn start(&mut self, tag: &Tag) {
        if self.skipping.is_some() {
            return;
        }
        match &*tag.name {
            name @ ("script" | "style" | "noscript" | "template" | "svg" | "iframe" | "object" | "title" | "select"
            | "textarea") => {
                self.skipping = (!tag.self_closing).then(|| name.to_owned());
            }
            "h1" | "h2" | "h3" | "h4" | "h5" | "h6" => {
                self.block();
                let depth = tag.name.bytes().nth(1).map_or(1, |digit| usize::from(digit - b'0'));
                self.mark(&format!("{} ", "#".repeat(depth)));
            }
            "br" => self.line(),
            "hr" => {
                self.block();
                self.mark("---");
                self.block();
            }
            "ul" | "menu" => self.list(Level::Bullets),
            "ol" => {
                let start = attribute(tag, "start").and_then(|start| start.parse().ok()).unwrap_or(1);
                self.list(Level::Numbers(start));
            }
            "li" => self.item(),
            "blockquote" => {
                self.block();
                self.levels.push(Level::Quote);
            }
            "pre" => {
                self.block();
                self.mark("```\n");
                self.put("");
                self.preformatted = true;
            }
            "code" | "kbd" | "samp" if !self.preformatted => self.mark("`"),
            "b" | "strong" => self.mark("**"),
            "i" | "em" => self.mark("_"),
            "a" => self.link(tag),
            "img" => self.picture(tag),
            "table" => {
                self.block();
                self.table.first_row = true;
            }
            "tr" => {
                self.table.in_cell = false;
                self.line();
                self.table.cells = 0;
            }
            "td" | "th" => self.cell(),
            name => self.other(name),
        }
    }

    fn other(&mut self, name: &str) {
        match name {
            "p" | "div" | "section" | "article" | "header" | "footer" | "main" | "aside" | "nav" | "figure"
            | "address" | "form" | "fieldset" | "dl" | "details" | "summary" | "figcaption" | "body" => self.block(),
            "dt" | "dd" | "option" | "label" | "caption" => self.line(),
            _ => {}
        }
    }

    fn list(&mut self, level: Level) {
        if self.levels.iter().any(|level| !matches!(level, Level::Quote)) {
            self.line();
        } else {
            self.block();
        }
        self.levels.push(level);
    }

    fn item(&mut self) {
        self.line();
        let mark = match self.levels.last_mut() {
            Some(Level::Numbers(number)) => {
                *number = number.saturating_add(1);
                format!("{}. ", number.saturating_sub(1))
            }
            Some(Level::Bullets | Level::Quote) | None => "- ".to_owned(),
        };
        self.put(&mark);
    }

    fn cell(&mut self) {
        self.table.in_cell = false;
        self.table.cells = (self.table.cells + 1).min(1000);
        let plain = self.form == Form::Plain;
        match (self.table.cells, plain) {
            (1, true) => {}
            (_, true) => self.put("\t"),
            (1, false) => self.put("| "),
            (_, false) => self.put(" | "),
        }
        self.table.in_cell = true;
    }

    fn link(&mut self, tag: &Tag) {
        let Some(to) =
            attribute(tag, "href").filter(|to| self.form == Form::Markdown && !to.starts_with("javascript:"))
        else {
            return;
        };
        let to = (self.resolve)(to);
        self.addresses += to.len();
        self.put("[");
        self.links.push(Link { from: self.out.len(), to });
    }

    fn picture(&mut self, tag: &Tag) {
        let alt = attribute(tag, "alt").unwrap_or_default().split_ascii_whitespace().collect::<Vec<_>>().join(" ");
        let source = attribute(tag, "src").filter(|source| !source.starts_with("data:"));
        match (self.form, source) {
            (Form::Markdown, Some(source)) => {
                let source = (self.resolve)(source);
                self.addresses += source.len();
                self.put(&format!("![{alt}]({source})"));
            }
            (Form::Markdown | Form::Plain, _) if !alt.is_empty() => self.put(&alt),
            (Form::Markdown | Form::Plain, _) => {}
        }
    }

    fn finish(&mut self, name: &str) {
        if let Some(skipped) = &self.skipping {
            if skipped == name {
                self.skipping = None;
            }
            return;
        }
        match name {
            "h1" | "h2" | "h3" | "h4" | "h5" | "h6" => self.block(),
            "ul" | "ol" | "menu" => self.leave(|level| !matches!(level, Level::Quote)),
            "blockquote" => self.leave(|level| matches!(level, Level::Quote)),
            "pre" if self.preformatted => {
                self.preformatted = false;
                if self.form == Form::Markdown {
                    let end = if self.out.ends_with('\n') { "```" } else { "\n```" };
                    self.out.push_str(end);
                }
                self.block();
            }
            "code" | "kbd" | "samp" if !self.preformatted => self.close_mark("`"),
            "b" | "strong" => self.close_mark("**"),
            "i" | "em" => self.close_mark("_"),
            "a" => {
                if let Some(link) = self.links.pop() {
                    let empty = self.out.get(link.from..).is_none_or(|text| text.trim().is_empty());
                    if empty {
                        self.out.truncate(link.from.saturating_sub(1));
                    } else {
                        self.out.push_str(&format!("]({})", link.to));
                    }
                }
            }
            "tr" => self.end_row(),
            "table" => {
                self.table.in_cell = false;
                self.block();
            }
            name => self.other(name),
        }
    }

    fn end_row(&mut self) {
        self.table.in_cell = false;
        if self.form == Form::Markdown && self.table.cells > 0 {
            self.put(" |");
            if self.table.first_row {
                self.line();
                let rule = format!("|{}", "---|".repeat(self.table.cells));
                self.put(&rule);
            }
        }
        self.table.first_row = false;
        self.table.cells = 0;
        self.line();
    }

    /// Out of the innermost level of a kind, and of what was not closed in it.
    fn leave(&mut self, of: fn(&Level) -> bool) {
        if let Some(at) = self.levels.iter().rposition(of) {
            self.levels.truncate(at);
        }
        if self.levels.is_empty() { self.block() } else { self.line() }
    }
}

fn attribute<'t>(tag: &'t Tag, name: &str) -> Option<&'t str> {
    tag.attrs.iter().find(|attribute| &*attribute.name.local == name).map(|attribute| &*attribute.value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(html: &str, markdown: &str) {
        let converted = convert(html, Form::Markdown, &|link| format!("u:{link}"));
        assert_eq!((converted.text.as_str(), converted.extent), (markdown, Extent::Whole));
    }

    #[test]
    fn blocks_and_marks() {
        check("<h2> A  title</h2><p>one\n two<br>three", "## A title\n\none two\nthree\n");
        check("a <b>b</b>, <em>c</em> <code>d</code>&amp;&lt;", "a **b**, _c_ `d`&<\n");
        check("<p>a</p><hr><p>b", "a\n\n---\n\nb\n");
        check("x<pre>  a\n   b\n</pre>y", "x\n\n```\n  a\n   b\n```\n\ny\n");
        check("<a href=x>l</a> <a href=y></a>.<img src=i alt='a b'><img src='data:x'>", "[l](u:x) .![a b](u:i)\n");
        check("", "");
    }

    #[test]
    fn lists_quotes_and_tables() {
        check("<ul><li>a<li>b<ol start=3><li>c</li></ol></ul>d", "- a\n- b\n  3. c\n\nd\n");
        check("<blockquote>a<p>b</blockquote>c", "> a\n\n> b\n\nc\n");
        check("<table><tr><th>a<th>b</tr><tr><td>1<td>2<p>3</tr></table>", "| a | b |\n|---|---|\n| 1 | 2 3 |\n");
        assert_eq!(
            convert("<ul><li>a</ul><table><tr><td>1<td>2</tr></table>", Form::Plain, &str::to_owned).text,
            "- a\n\n1\t2\n"
        );
    }

    #[test]
    fn what_is_not_for_readers_is_left_out() {
        check("<title>t</title><script>a<b></script><style>p{}</style><svg><text>x</text></svg>y", "y\n");
        check("<script>never closed <p>x", "");
        check("<!-- c --><p onclick='x()'>a<a href='javascript:x()'>b</a>", "ab\n");
    }

    #[test]
    fn hostile_pages_come_to_an_end() {
        let deep = format!("{}x{}", "<div><ul><blockquote>".repeat(20_000), "</a></b></li>".repeat(20_000));
        let text = convert(&deep, Form::Markdown, &str::to_owned).text;
        assert!(text.len() < 200_000 && text.contains('x'), "{}", text.len());
        assert_eq!(convert("<", Form::Markdown, &str::to_owned).text, "<\n");
        assert_eq!(convert("&#xffffffff;&#0;a\0", Form::Plain, &str::to_owned).text, "\u{fffd}\u{fffd}a\n");
        let cells = format!("<table><tr>{}</tr></table>", "<td>".repeat(100_000));
        assert!(convert(&cells, Form::Markdown, &str::to_owned).text.len() < 1_000_000);
    }

    #[test]
    fn links_with_long_addresses_do_not_swell_a_page() {
        let base = "x".repeat(8 * 1024);
        for link in ["<a href=l>t</a> ", "<a href=l>t", "<img src=l>"] {
            let page = link.repeat(20_000);
            let converted = convert(&page, Form::Markdown, &|link| format!("{base}{link}"));
            assert_eq!(converted.extent, Extent::Beginning, "{link}");
            assert!(converted.text.len() <= TEXT_BYTES_MAX + 2 * base.len(), "{link}: {}", converted.text.len());
        }
        assert_eq!(convert(&"<p>t".repeat(20_000), Form::Markdown, &str::to_owned).extent, Extent::Whole);
    }
}
