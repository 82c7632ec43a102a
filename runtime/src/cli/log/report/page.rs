//! HTML that only we write: markup is text of this program, and everything else is escaped.
//! It never takes markup from a value, and never writes an attribute that a value could end.

use std::fmt::Write as _;
use stockade_audit::merkle::sha256;
use stockade_audit::record::Evidence;
use stockade_audit::text::{base64, deceives};

const STYLE: &str = include_str!("style.css");

/// A page that is being written.
#[derive(Debug, Default)]
pub(super) struct Page {
    out: String,
}

impl Page {
    /// The head of a page. Nothing may be loaded, run, framed or sent; of styles there is ours alone, by its hash.
    pub(super) fn new(title: &str) -> Self {
        let mut page = Self::default();
        let digest = base64(&sha256(STYLE.as_bytes()));
        page.raw("<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n");
        page.raw("<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'sha256-");
        page.text(&digest);
        page.raw("'; base-uri 'none'; form-action 'none'\">\n<meta name=\"referrer\" content=\"no-referrer\">\n");
        page.raw("<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<title>").text(title);
        page.raw("</title>\n<style>").raw(STYLE).raw("</style>\n</head>\n<body>\n<main>\n");
        page
    }

    /// The whole page.
    pub(super) fn end(mut self) -> String {
        self.raw("</main>\n</body>\n</html>\n");
        self.out
    }

    /// Markup of this program: a text that was there when it was compiled.
    pub(super) fn raw(&mut self, markup: &'static str) -> &mut Self {
        self.out.push_str(markup);
        self
    }

    /// Text, as text: no character of it is markup, and none hides or reorders what is around it.
    pub(super) fn text(&mut self, text: &str) -> &mut Self {
        for c in text.chars() {
            match c {
                '&' => self.out.push_str("&amp;"),
                '<' => self.out.push_str("&lt;"),
                '>' => self.out.push_str("&gt;"),
                '"' => self.out.push_str("&quot;"),
                '\'' => self.out.push_str("&#39;"),
                '`' => self.out.push_str("&#96;"),
                c if deceives(c) => {
                    write!(self.out, "\\u{{{:x}}}", u32::from(c)).expect("writing to a String cannot fail");
                }
                c => self.out.push(c),
            }
        }
        self
    }

    /// A number.
    pub(super) fn number(&mut self, number: u64) -> &mut Self {
        write!(self.out, "{number}").expect("writing to a String cannot fail");
        self
    }

    /// `<code>` with text in it.
    pub(super) fn code(&mut self, text: &str) -> &mut Self {
        self.raw("<code>").text(text).raw("</code>")
    }

    /// A chip of this class with text in it.
    pub(super) fn chip(&mut self, class: Tint, text: &str) -> &mut Self {
        self.raw("<span class=\"chip ").raw(class.class()).raw("\">").text(text).raw("</span>")
    }

    /// A row of a list of facts, when there is one.
    pub(super) fn fact(&mut self, name: &'static str, value: &str) -> &mut Self {
        if value.is_empty() {
            return self;
        }
        self.raw("<dt>").raw(name).raw("</dt><dd class=\"mono\">").text(value).raw("</dd>")
    }

    /// A bar in a strip of 1000 units: from, length, and height from the bottom, of 100.
    pub(super) fn bar(&mut self, class: &'static str, x: u64, width: u64, y: u64, height: u64) -> &mut Self {
        self.raw("<rect class=\"").raw(class).raw("\" x=\"").number(x).raw("\" width=\"").number(width);
        self.raw("\" y=\"").number(y).raw("\" height=\"").number(height).raw("\"/>")
    }

    /// A grade of evidence: five steps, so many of them filled, and its word.
    pub(super) fn grade(&mut self, level: Evidence) -> &mut Self {
        let filled = match level {
            Evidence::Claimed => 1,
            Evidence::Observed => 2,
            Evidence::Confirmed => 3,
            Evidence::Performed => 4,
            Evidence::Outcome => 5,
        };
        self.raw("<span class=\"grade\"><svg viewBox=\"0 0 50 18\" aria-hidden=\"true\">");
        for step in 0..5 {
            let class = if step < filled { "on" } else { "off" };
            self.bar(class, step * 10, 8, 14 - 3 * step, 4 + 3 * step);
        }
        self.raw("</svg>").text(level.word()).raw("</span>")
    }

    /// Says that there are more of something than are shown, and how to see them.
    pub(super) fn left_out(&mut self, shown: usize, of: usize, how: &'static str) -> &mut Self {
        if of > shown {
            self.raw("<p class=\"soft\">").number((of - shown) as u64).raw(" more are not shown here: <code>");
            self.raw(how).raw("</code></p>");
        }
        self
    }
}

/// What a chip says by its colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tint {
    Plain,
    Good,
    Warn,
    Bad,
}

impl Tint {
    /// Its class in the style sheet.
    pub(super) fn class(self) -> &'static str {
        match self {
            Self::Plain => "plain",
            Self::Good => "good",
            Self::Warn => "warn",
            Self::Bad => "bad",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_text_is_markup_and_none_reorders_or_hides() {
        let mut page = Page::default();
        page.text("</td><script>alert('x')</script>\"`&\u{202e}\u{0}\u{1b}[31m\u{2028}ü");
        assert!(
            !page.out.contains('<') && !page.out.contains('>') && !page.out.contains('"') && !page.out.contains('\'')
        );
        assert!(!page.out.chars().any(deceives), "{}", page.out);
        assert!(page.out.contains("\\u{202e}") && page.out.contains('ü'));
    }

    #[test]
    fn the_style_is_allowed_by_its_hash_and_nothing_else_is() {
        let page = Page::new("</title><script>").end();
        assert!(page.contains("default-src 'none'; style-src 'sha256-"));
        assert!(!page.contains("unsafe-inline") && !page.contains("<script") && !page.contains(" style="));
        assert!(!STYLE.contains("url(") && !STYLE.contains("@import") && !STYLE.contains("</"));
    }
}
