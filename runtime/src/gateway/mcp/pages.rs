//! What a tool printed, kept so that a model can read it page by page: nothing goes to a model in one piece of any size.
//! It never keeps more than its limits, and never gives a page of one text under the cursor of another.

use std::collections::VecDeque;
use std::fmt;
use std::ops::Range;

/// Most bytes of a page. Clients cut what is longer (Claude Code at 25,000 tokens), and then nobody knows what is missing.
pub(super) const PAGE_BYTES: usize = 32 * 1024;
/// Of the first page of a longer text, its beginning; the rest of the page is the text's end, where programs say how it went.
const HEAD_BYTES: usize = 12 * 1024;
const TAIL_BYTES: usize = PAGE_BYTES - HEAD_BYTES;
/// Most bytes of one text that are kept, as many as the log keeps of one stream.
pub(super) const TEXT_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Texts that are kept; the oldest goes first.
const TEXTS_MAX: usize = 16;
const _: () = assert!(HEAD_BYTES < PAGE_BYTES && PAGE_BYTES < TEXT_BYTES_MAX);

/// A stream of a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stream {
    /// Standard output.
    Out,
    /// Standard error.
    Err,
}

/// What was printed, in the order in which it came.
#[derive(Debug, Default)]
pub(super) struct Text {
    bytes: Vec<u8>,
    /// Where each run of one stream ends.
    runs: Vec<(usize, Stream)>,
    /// How many bytes were not kept.
    lost: u64,
    lines: u64,
}

impl Text {
    /// Takes what came next.
    pub(super) fn push(&mut self, stream: Stream, chunk: &[u8]) {
        let room = TEXT_BYTES_MAX.saturating_sub(self.bytes.len()).min(chunk.len());
        let (kept, lost) = chunk.split_at(room);
        self.lines += chunk.iter().filter(|byte| **byte == b'\n').count() as u64;
        self.lost += lost.len() as u64;
        if kept.is_empty() {
            return;
        }
        self.bytes.extend_from_slice(kept);
        let end = self.bytes.len();
        match self.runs.last_mut() {
            Some((last, of)) if *of == stream => *last = end,
            Some(_) | None => self.runs.push((end, stream)),
        }
    }

    /// How many bytes there were, those that were not kept included.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes.len() as u64 + self.lost
    }

    /// How many lines there were.
    pub(super) fn lines(&self) -> u64 {
        self.lines
    }

    /// The last line that says something, shortened.
    pub(super) fn last_line(&self) -> String {
        const SHOWN_CHARS_MAX: usize = 120;
        let tail = self.bytes.get(self.bytes.len().saturating_sub(1024)..).unwrap_or_default();
        let text = String::from_utf8_lossy(tail);
        let last = text.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or_default();
        last.trim().chars().filter(|c| !c.is_control()).take(SHOWN_CHARS_MAX).collect()
    }

    fn part(&self, range: Range<usize>) -> Part {
        let mut part = Part::default();
        let mut begin = 0;
        for (end, stream) in &self.runs {
            let (from, to) = (begin.max(range.start), (*end).min(range.end));
            begin = *end;
            let Some(bytes) = self.bytes.get(from..to) else { continue };
            part.all.extend_from_slice(bytes);
            match stream {
                Stream::Out => part.out.extend_from_slice(bytes),
                Stream::Err => part.err.extend_from_slice(bytes),
            }
        }
        part
    }

    /// Where a page that begins at `from` ends: behind a line, else behind a character, at most a page further on.
    fn end_of_page(&self, from: usize, bytes_max: usize) -> usize {
        let limit = from.saturating_add(bytes_max).min(self.bytes.len());
        if limit == self.bytes.len() {
            return limit;
        }
        let page = self.bytes.get(from..limit).unwrap_or_default();
        if let Some(line) = page.iter().rposition(|byte| *byte == b'\n') {
            return from + line + 1;
        }
        let whole = page.iter().rposition(|byte| byte & 0xC0 != 0x80).filter(|at| *at > 0);
        from + whole.unwrap_or(page.len())
    }

    /// Where the end of the text that a first page shows begins: behind a line where there is one.
    fn begin_of_tail(&self) -> usize {
        let from = self.bytes.len().saturating_sub(TAIL_BYTES);
        let tail = self.bytes.get(from..).unwrap_or_default();
        let line = tail.iter().position(|byte| *byte == b'\n').map(|at| at + 1).filter(|at| *at < tail.len());
        let character = || tail.iter().position(|byte| byte & 0xC0 != 0x80).unwrap_or(0);
        from + line.unwrap_or_else(character)
    }
}

/// Bytes of a text, together and by stream.
#[derive(Debug, Default)]
struct Part {
    all: Vec<u8>,
    out: Vec<u8>,
    err: Vec<u8>,
}

/// One page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Page {
    /// For a model: the page, with a line where something is left out.
    pub(super) text: String,
    /// What of it is standard output.
    pub(super) out: String,
    /// What of it is standard error.
    pub(super) err: String,
    /// Bytes that are on no page up to this one and that the cursor leads to, or that were not kept.
    pub(super) left_out: u64,
    /// Where to read on.
    pub(super) cursor: Option<Cursor>,
}

/// Names a text and a place in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Cursor {
    text: u64,
    at: usize,
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.text, self.at)
    }
}

impl Cursor {
    /// Reads what [`fmt::Display`] wrote.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (number, at) = text.split_once('.')?;
        Some(Self { text: number.parse().ok()?, at: at.parse().ok()? })
    }
}

/// The texts of a session.
#[derive(Debug, Default)]
pub(super) struct Pages {
    texts: VecDeque<(u64, Text)>,
    next: u64,
}

impl Pages {
    /// The first page of a text. A text of more than one is kept.
    pub(super) fn first(&mut self, text: Text) -> Page {
        let length = text.bytes.len();
        if length <= PAGE_BYTES {
            let Part { all, out, err } = text.part(0..length);
            return Page { text: shown(&all), out: shown(&out), err: shown(&err), left_out: text.lost, cursor: None };
        }
        let number = self.next;
        self.next += 1;
        let (head_end, tail_begin) = (text.end_of_page(0, HEAD_BYTES), text.begin_of_tail());
        let (head, tail) = (text.part(0..head_end), text.part(tail_begin..length));
        let cursor = Cursor { text: number, at: head_end };
        let hidden = (tail_begin - head_end) as u64;
        let lost = text.lost;
        let kept = match lost {
            0 => String::new(),
            _ => format!("; of what came last, {lost} bytes were not kept: let the command write to a file"),
        };
        let note = format!(
            "… {hidden} bytes left out here; to read them, call again with cursor \"{cursor}\" alone{kept} …\n"
        );
        let join = |head: &[u8], tail: &[u8]| match (head, tail) {
            (head, []) => shown(head),
            ([], tail) => shown(tail),
            ([.., b'\n'], tail) => format!("{}{note}{}", shown(head), shown(tail)),
            (head, tail) => format!("{}\n{note}{}", shown(head), shown(tail)),
        };
        let page = Page {
            text: join(&head.all, &tail.all),
            out: join(&head.out, &tail.out),
            err: join(&head.err, &tail.err),
            left_out: hidden + lost,
            cursor: Some(cursor),
        };
        self.texts.push_back((number, text));
        if self.texts.len() > TEXTS_MAX {
            self.texts.pop_front();
        }
        page
    }

    /// The page that a cursor leads to; `None` when its text is not kept any more, or never was.
    pub(super) fn at(&self, cursor: Cursor) -> Option<Page> {
        let (_, text) = self.texts.iter().find(|(number, _)| *number == cursor.text)?;
        if cursor.at > text.bytes.len() {
            return None;
        }
        let end = text.end_of_page(cursor.at, PAGE_BYTES);
        let Part { all, out, err } = text.part(cursor.at..end);
        let next = (end < text.bytes.len()).then_some(Cursor { text: cursor.text, at: end });
        let left_out = (text.bytes.len() - end) as u64 + text.lost;
        Some(Page { text: shown(&all), out: shown(&out), err: shown(&err), left_out, cursor: next })
    }
}

/// Bytes as JSON can have them: what is no text is replaced.
fn shown(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(bytes: &[u8]) -> Text {
        let mut text = Text::default();
        text.push(Stream::Out, bytes);
        text
    }

    #[test]
    fn a_short_text_is_one_page_in_the_order_it_came() {
        let mut text = Text::default();
        for (stream, chunk) in [(Stream::Out, "a\n"), (Stream::Err, "b\n"), (Stream::Out, "c\n")] {
            text.push(stream, chunk.as_bytes());
        }
        assert_eq!((text.lines(), text.last_line()), (3, "c".to_owned()));
        let page = Pages::default().first(text);
        let expected = ("a\nb\nc\n", "a\nc\n", "b\n", 0, None);
        assert_eq!((page.text.as_str(), page.out.as_str(), page.err.as_str(), page.left_out, page.cursor), expected);
    }

    #[test]
    fn pages_together_are_the_whole_text() {
        let lines: String = (0..40_000).map(|n| format!("line {n}\n")).collect();
        let mut pages = Pages::default();
        let first = pages.first(text(lines.as_bytes()));
        assert!(first.text.len() < PAGE_BYTES + 300 && first.text.ends_with("line 39999\n"), "{}", first.text.len());
        let head = first.text.split("\n…").next().expect("it has a beginning").to_owned();
        let (mut whole, mut cursor) = (head + "\n", first.cursor);
        while let Some(at) = cursor {
            let page = pages.at(at).expect("the text is kept");
            assert!(page.text.len() <= PAGE_BYTES && !page.text.is_empty());
            whole += &page.text;
            cursor = page.cursor;
        }
        assert!(whole == lines, "{} bytes of {}", whole.len(), lines.len());
    }

    #[test]
    fn characters_and_one_endless_line_are_not_torn() {
        let line = "é".repeat(PAGE_BYTES);
        let mut pages = Pages::default();
        let mut cursor = pages.first(text(line.as_bytes())).cursor;
        let mut read = 0;
        while let Some(at) = cursor {
            let page = pages.at(at).expect("the text is kept");
            assert!(page.text.chars().all(|c| c == 'é'), "torn");
            read += page.text.len();
            cursor = page.cursor;
        }
        assert!(read > line.len() - HEAD_BYTES - 4, "{read}");
        // Bytes that are no characters at all end too.
        let mut cursor = pages.first(text(&vec![0x80; 3 * PAGE_BYTES])).cursor;
        let mut steps = 0;
        while let Some(at) = cursor {
            cursor = pages.at(at).expect("the text is kept").cursor;
            steps += 1;
            assert!(steps < 10, "it does not end");
        }
    }

    #[test]
    fn what_is_too_much_is_counted_and_not_kept() {
        let mut endless = Text::default();
        for _ in 0..5 {
            endless.push(Stream::Err, &vec![b'x'; 1 << 20]);
        }
        assert_eq!((endless.bytes(), endless.lost), (5 << 20, 1 << 20));
        let page = Pages::default().first(endless);
        assert!(page.text.contains("1048576 bytes were not kept"));
    }

    #[test]
    fn cursors_of_other_texts_lead_nowhere() {
        let mut pages = Pages::default();
        let long = || text(&vec![b'x'; 2 * PAGE_BYTES]);
        let first = pages.first(long()).cursor.expect("it is long");
        for forged in ["", "0", "0.", ".0", "-1.0", "0.99999999999999999999", "1.0", "0.999999", "0.1.2", "٠.١"] {
            assert!(Cursor::parse(forged).is_none_or(|cursor| pages.at(cursor).is_none()), "{forged}");
        }
        assert_eq!(Cursor::parse(&first.to_string()), Some(first));
        for _ in 0..TEXTS_MAX {
            assert!(pages.at(first).is_some());
            drop(pages.first(long()));
        }
        assert!(pages.at(first).is_none(), "the oldest goes first");
    }
}
