//! Takes secrets out of what a tool answers, before the log and whoever called see it.
//! It never changes an answer in which there is none.

use crate::backend::wasm::{End, Failure, Progress, Reply, ToolRan};
use crate::secrets::scrub::{Hit, Patterns, Scrubber};
use std::cell::RefCell;
use std::sync::Arc;

/// What is to be taken out.
pub(super) struct Cleaner {
    patterns: Option<Arc<Patterns>>,
    /// What was found in quotations, until [`Cleaner::ran`] tells it.
    quoted: RefCell<Vec<Hit>>,
}

impl Cleaner {
    pub(super) const fn new(patterns: Option<Arc<Patterns>>) -> Self {
        Self { patterns, quoted: RefCell::new(Vec::new()) }
    }

    /// A text that is going to be quoted, as a whole or in part: what is left of a secret that was cut, nobody would find.
    pub(super) fn quoted(&self, text: &str) -> String {
        self.text(text.to_owned(), &mut self.quoted.borrow_mut())
    }

    /// How far a tool says that it is.
    pub(super) fn progress(&self, said: Progress) -> Progress {
        Progress { what: self.text(said.what, &mut Vec::new()), ..said }
    }

    /// All that a call gave; what was found in it, and in what was quoted before.
    pub(super) fn ran(&self, ran: &mut ToolRan) -> Vec<Hit> {
        let mut hits = self.quoted.take();
        if self.patterns.is_none() {
            return hits;
        }
        match &mut ran.end {
            End::Answered(reply) => self.reply(reply, &mut hits),
            End::Refused(Failure::InvalidArguments(why) | Failure::Refused(why))
            | End::Trapped { why }
            | End::Died { why } => *why = self.text(std::mem::take(why), &mut hits),
            End::Limit(_) | End::Cancelled => {}
        }
        for printed in [&mut ran.printed.stdout, &mut ran.printed.stderr] {
            *printed = self.bytes(std::mem::take(printed), &mut hits);
        }
        hits.sort_unstable();
        hits.dedup_by(|next, kept| {
            let same = (&next.name, &next.form) == (&kept.name, &kept.form);
            if same {
                kept.count += next.count;
            }
            same
        });
        hits
    }

    fn reply(&self, reply: &mut Reply, hits: &mut Vec<Hit>) {
        reply.text = self.text(std::mem::take(&mut reply.text), hits);
        // A secret that stood for more than a string leaves what is no JSON any more: better none than that.
        reply.structured = reply
            .structured
            .take()
            .map(|json| self.text(json, hits))
            .filter(|json| serde_json::from_str::<serde::de::IgnoredAny>(json).is_ok());
        for (media_type, bytes) in &mut reply.images {
            *media_type = self.text(std::mem::take(media_type), hits);
            *bytes = self.bytes(std::mem::take(bytes), hits);
        }
    }

    fn text(&self, text: String, hits: &mut Vec<Hit>) -> String {
        match String::from_utf8(self.bytes(text.into_bytes(), hits)) {
            Ok(text) => text,
            // A secret need not end where a character does.
            Err(error) => String::from_utf8_lossy(error.as_bytes()).into_owned(),
        }
    }

    fn bytes(&self, bytes: Vec<u8>, hits: &mut Vec<Hit>) -> Vec<u8> {
        let Some(patterns) = &self.patterns else { return bytes };
        let mut scrubber = Scrubber::new(Arc::clone(patterns));
        let mut clean = scrubber.push_slice(&bytes).into_owned();
        clean.extend_from_slice(&scrubber.finish());
        hits.extend(scrubber.take_hits());
        clean
    }
}

/// What a tool that did not answer says.
pub(super) fn why(failure: &Failure) -> &str {
    match failure {
        Failure::InvalidArguments(why) | Failure::Refused(why) => why,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::wasm::{Printed, ToolUsage};

    const SECRET: &str = "correct horse battery";
    const HEX: &str = "636f727265637420686f7273652062617474657279";

    fn cleaner() -> Cleaner {
        Cleaner::new(Some(Arc::new(Patterns::new([("key", SECRET.as_bytes())]))))
    }

    fn ran(end: End) -> ToolRan {
        ToolRan { end, usage: ToolUsage::default(), printed: Printed::default(), uses_lost: 0 }
    }

    #[test]
    fn nothing_that_a_tool_says_brings_a_secret_back() {
        let reply = Reply {
            text: format!("it is {SECRET}, or {HEX}"),
            structured: Some(format!("{{\"a\":[\"{SECRET}\",1]}}")),
            images: vec![("image/png".to_owned(), [b"\x89PNG\xff", SECRET.as_bytes()].concat())],
        };
        let mut found = ran(End::Answered(reply));
        found.printed.stderr = SECRET.as_bytes().to_vec();
        let hits = cleaner().ran(&mut found);
        assert_eq!(hits.iter().map(|hit| hit.count).sum::<u64>(), 5);
        let stars = "*".repeat(SECRET.len());
        let End::Answered(reply) = &found.end else { panic!("{found:?}") };
        assert_eq!(reply.text, format!("it is {stars}, or {}", "*".repeat(HEX.len())));
        assert_eq!(reply.structured, Some(format!("{{\"a\":[\"{stars}\",1]}}")));
        assert_eq!(reply.images[0].1, [b"\x89PNG\xff", stars.as_bytes()].concat());
        assert_eq!(found.printed.stderr, stars.as_bytes());
        let why = || format!("no: {SECRET}");
        for end in [
            End::Refused(Failure::Refused(why())),
            End::Refused(Failure::InvalidArguments(why())),
            End::Trapped { why: why() },
            End::Died { why: why() },
        ] {
            let mut found = ran(end);
            cleaner().ran(&mut found);
            assert!(!format!("{found:?}").contains(SECRET), "{found:?}");
        }
        let said = cleaner().progress(Progress { done: 1, total: None, what: why() });
        assert_eq!(said.what, format!("no: {stars}"));
    }

    #[test]
    fn a_quoted_text_is_clean_and_what_was_found_is_told() {
        let cleaner = cleaner();
        assert_eq!(cleaner.quoted(&format!("a {SECRET}")), format!("a {}", "*".repeat(SECRET.len())));
        let mut found = ran(End::Trapped { why: "it is quoted".to_owned() });
        let counts = |hits: Vec<Hit>| hits.iter().map(|hit| hit.count).collect::<Vec<_>>();
        assert_eq!(counts(cleaner.ran(&mut found)), [1]);
        assert_eq!(counts(cleaner.ran(&mut found)), [0_u64; 0], "it is told once");
    }

    #[test]
    fn an_answer_without_a_secret_stays_as_it_is() {
        let reply = Reply { text: "\u{e9}\u{1f600}".into(), structured: Some("[1]".into()), images: Vec::new() };
        let mut found = ran(End::Answered(reply));
        let before = found.clone();
        assert!(cleaner().ran(&mut found).is_empty());
        assert_eq!(found, before);
        Cleaner::new(None).ran(&mut found);
        assert_eq!(found, before);
    }
}
