//! The timeline of a report: the records as sentences.
//! It never shows records that are not in the log, and says how many it leaves out.

use super::Report;
use super::head::table_of;
use super::page::{Page, Tint};
use crate::cli::style::Tone;

/// The colour of a verb.
pub(super) fn tint(tone: Tone) -> Tint {
    match tone {
        Tone::Good => Tint::Good,
        Tone::Bad => Tint::Bad,
        Tone::Notice => Tint::Warn,
        Tone::Faint | Tone::Strong => Tint::Plain,
    }
}

impl Report<'_> {
    /// The records.
    pub(super) fn records(&self, page: &mut Page) {
        let records = &self.facts.records;
        page.raw("<section id=\"records\">\n<h2>Timeline</h2>\n<p class=\"soft\">").number(records.all as u64);
        page.raw(" records; times since the start of the session.</p>\n");
        table_of(page, &records.list);
        page.left_out(records.list.len(), records.all, "stockade log timeline SESSION").raw("</section>\n");
    }
}
