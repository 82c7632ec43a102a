//! Takes what the searcher finds in one file, as lines or as a number. It never keeps more than an answer could show.

use crate::text::{chomp, shown};
use grep_matcher::Matcher;
use grep_regex::RegexMatcher;
use grep_searcher::{Searcher, Sink, SinkContext, SinkFinish, SinkMatch};
use serde_json::{Value, json};
use std::io;

/// How many lines of one file are kept.
pub(super) const LINES_MAX: usize = 20_000;
/// How many characters of a line are shown.
const LINE_CHARS_MAX: usize = 500;

/// What the answer shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    Files,
    Count,
    Content,
}

/// A line of the answer.
pub(super) enum Line {
    Match {
        number: u64,
        text: String,
    },
    Context {
        number: u64,
        text: String,
    },
    /// Lines are left out here.
    Gap,
}

impl Line {
    pub(super) fn shown(&self, path: &str, numbers: bool) -> String {
        match (self, numbers) {
            (Line::Match { number, text }, true) => format!("{path}:{number}:{text}\n"),
            (Line::Match { text, .. }, false) => format!("{path}:{text}\n"),
            (Line::Context { number, text }, true) => format!("{path}-{number}-{text}\n"),
            (Line::Context { text, .. }, false) => format!("{path}-{text}\n"),
            (Line::Gap, _) => "--\n".to_owned(),
        }
    }

    pub(super) fn record(&self, path: &str) -> Value {
        match self {
            Line::Match { number, text } => json!({ "path": path, "line": number, "text": text, "match": true }),
            Line::Context { number, text } => json!({ "path": path, "line": number, "text": text, "match": false }),
            Line::Gap => Value::Null,
        }
    }
}

/// What one file came to.
pub(super) struct Collected {
    pub(super) lines: Vec<Line>,
    pub(super) matches: u64,
    pub(super) binary: bool,
    pub(super) cut: bool,
}

/// Where the searcher puts what it finds.
pub(super) struct Collector<'m> {
    matcher: &'m RegexMatcher,
    mode: Mode,
    collected: Collected,
}

impl<'m> Collector<'m> {
    pub(super) fn new(matcher: &'m RegexMatcher, mode: Mode) -> Collector<'m> {
        let collected = Collected { lines: Vec::new(), matches: 0, binary: false, cut: false };
        Collector { matcher, mode, collected }
    }

    pub(super) fn end(self) -> Collected {
        self.collected
    }

    /// A line; of a long one the neighbourhood of its first match.
    fn line(&self, line: &[u8]) -> String {
        let line = chomp(line);
        if line.len() <= LINE_CHARS_MAX {
            return shown(line, LINE_CHARS_MAX);
        }
        let at = self.matcher.find(line).ok().flatten().map_or(0, |found| found.start());
        let mut from = at.saturating_sub(LINE_CHARS_MAX / 4);
        while from > 0 && line.get(from).is_some_and(|byte| (0x80..0xc0).contains(byte)) {
            from -= 1;
        }
        let (text, _) = crate::text::first_chars(line.get(from..).unwrap_or_default(), LINE_CHARS_MAX);
        let before = if from > 0 { "…" } else { "" };
        format!("{before}{text}… [the line has {} bytes; column {}]", line.len(), at + 1)
    }
}

impl Sink for Collector<'_> {
    type Error = io::Error;

    fn matched(&mut self, _searcher: &Searcher, found: &SinkMatch<'_>) -> io::Result<bool> {
        if self.mode != Mode::Content {
            self.collected.matches += found.lines().count() as u64;
            // One match is enough to know the file, and what follows might still be binary, which does not matter then.
            return Ok(self.mode == Mode::Count);
        }
        for (number, line) in (found.line_number().unwrap_or(1)..).zip(found.lines()) {
            self.collected.matches += 1;
            if self.collected.lines.len() >= LINES_MAX {
                self.collected.cut = true;
                return Ok(false);
            }
            let text = self.line(line);
            self.collected.lines.push(Line::Match { number, text });
        }
        Ok(true)
    }

    fn context(&mut self, _searcher: &Searcher, context: &SinkContext<'_>) -> io::Result<bool> {
        if self.collected.lines.len() < LINES_MAX {
            let text = shown(chomp(context.bytes()), LINE_CHARS_MAX);
            self.collected.lines.push(Line::Context { number: context.line_number().unwrap_or(0), text });
        }
        Ok(true)
    }

    fn context_break(&mut self, _searcher: &Searcher) -> io::Result<bool> {
        self.collected.lines.push(Line::Gap);
        Ok(true)
    }

    fn binary_data(&mut self, _searcher: &Searcher, _offset: u64) -> io::Result<bool> {
        self.collected.binary = true;
        Ok(true)
    }

    fn finish(&mut self, _searcher: &Searcher, _finish: &SinkFinish) -> io::Result<()> {
        Ok(())
    }
}
