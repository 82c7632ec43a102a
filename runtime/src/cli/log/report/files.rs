//! Changed files in a report: from what to what, by which call, who opened them, and the difference of texts.
//! It never shows a difference between bytes of which one side is not the recorded one, and says where it cannot.

use super::super::say::file_outcome;
use super::super::words::{change, since};
use super::Report;
use super::contents::Known;
use super::head::table_of;
use super::page::{Page, Tint};
use crate::workspace::{DiffLine, hunks, is_text};
use std::collections::HashMap;
use stockade_audit::query::Mark;
use stockade_audit::record::{CallId, Change, FileState, FsOutcome, LogPath, Mark as Guard};
use stockade_audit::text::printable_bytes;

/// Lines of a difference that are shown.
const DIFF_LINES_MAX: usize = 400;
/// Lines of all differences that are shown.
const ALL_LINES_MAX: usize = 20_000;
/// Unchanged lines around a change.
const CONTEXT_LINES: u32 = 3;

type Changes = [(Mark, Option<CallId>, FsOutcome)];

impl Report<'_> {
    /// Each changed path.
    pub(super) fn files(&self, page: &mut Page) {
        page.raw("<section id=\"files\">\n<h2>Changed files</h2>\n");
        if self.facts.files.is_empty() {
            page.raw("<p class=\"none\">No call left a change in the workspace.</p>\n");
        }
        let mut writers: HashMap<&LogPath, Vec<u64>> = HashMap::new();
        for process in self.facts.tree.processes.values() {
            for path in &process.opened.kept {
                writers.entry(path).or_default().push(process.p);
            }
        }
        let mut lines_left = ALL_LINES_MAX;
        for (path, changes) in &self.facts.files {
            self.file(page, path, changes, writers.get(path).map_or(&[], Vec::as_slice), &mut lines_left);
        }
        let shown = self.facts.files.len();
        page.left_out(shown, shown + self.facts.files_more, "stockade log query SESSION k=fs.outcome");
        page.raw("</section>\n");
    }

    /// What became of the changes after the session.
    pub(super) fn afterwards(&self, page: &mut Page) {
        let followed = &self.facts.followed;
        if followed.list.is_empty() {
            return;
        }
        page.raw("<section id=\"afterwards\">\n<h2>Afterwards</h2>\n<p class=\"soft\">The session's follow-up log; ");
        page.raw("times are since it was begun.</p>\n");
        table_of(page, &followed.list);
        page.left_out(followed.list.len(), followed.all, "stockade verify SESSION").raw("</section>\n");
    }

    fn file(&self, page: &mut Page, path: &LogPath, changes: &Changes, writers: &[u64], lines_left: &mut usize) {
        let (Some((_, _, first)), Some((_, _, last))) = (changes.first(), changes.last()) else { return };
        page.raw("<details><summary>");
        for (_, _, outcome) in changes {
            page.chip(tint(outcome.op), change(outcome.op)).raw(" ");
        }
        page.code(&path.printable());
        match last.mark {
            Some(Guard::Held) => page.raw(" ").chip(Tint::Warn, "held for consent"),
            Some(Guard::Protected) => page.raw(" ").chip(Tint::Bad, "protected"),
            None => page,
        };
        page.raw("</summary><div><table>\n");
        for (mark, call, outcome) in changes {
            page.raw("<tr><td class=\"time\">").text(&since(mark.mono_ns)).raw("</td><td>");
            page.text(call.as_ref().map_or("", |call| call.as_str())).raw("</td><td class=\"mono\">");
            page.text(&file_outcome(outcome)).raw("<br><span class=\"soft\">").text(&hashes(outcome));
            page.raw("</span></td><td>").grade(mark.evidence).raw("</td><td class=\"num\">#").number(mark.n);
            page.raw("</td></tr>\n");
        }
        page.raw("</table>\n");
        if !writers.is_empty() {
            let names: Vec<String> = writers.iter().take(20).map(|p| format!("p{p}")).collect();
            page.raw("<p class=\"soft\">opened for writing by ").text(&names.join(", ")).raw("</p>\n");
        }
        self.difference(page, path, first.b.as_ref(), last.a.as_ref(), lines_left);
        page.raw("</div></details>\n");
    }

    /// From before the first change to after the last.
    fn difference(
        &self,
        page: &mut Page,
        path: &LogPath,
        before: Option<&FileState>,
        after: Option<&FileState>,
        lines_left: &mut usize,
    ) {
        if before.is_some_and(|before| after.is_some_and(|after| after.h.is_some() && before.h == after.h)) {
            page.raw("<p class=\"soft\">The content is the same.</p>\n");
            return;
        }
        let (old, new) = (self.contents.find(path, before), self.contents.find(path, after));
        for (side, known) in [("before", &old), ("after", &new)] {
            if let Known::No(why) = known {
                page.raw("<p class=\"soft\">Content ").raw(side).raw(" is not shown: ").raw(why).raw(".</p>\n");
            }
        }
        let bytes = |known: Known| match known {
            Known::Absent => Some(Vec::new()),
            Known::Bytes(bytes) => Some(bytes),
            Known::No(_) => None,
        };
        let (Some(old), Some(new)) = (bytes(old), bytes(new)) else { return };
        if !is_text(&old) || !is_text(&new) {
            page.raw("<p class=\"soft\">It is not text.</p>\n");
            return;
        }
        let mut lines: Vec<(DiffLine, String)> = Vec::new();
        let mut all = 0;
        let room = DIFF_LINES_MAX.min(*lines_left);
        let walked = hunks(&old, &new, CONTEXT_LINES, &mut |line, bytes| {
            all += 1;
            if lines.len() < room {
                let text = bytes.strip_suffix(b"\n").unwrap_or(bytes);
                lines.push((line, printable_bytes(text).replace("\\\\", "\\").replace("\\t", "    ")));
            }
            Ok(())
        });
        walked.expect("the visitor does not fail");
        *lines_left -= lines.len();
        page.raw("<div class=\"diff\">");
        for (line, text) in &lines {
            let (class, sign) = match line {
                DiffLine::Added => ("added", "+"),
                DiffLine::Removed => ("removed", "-"),
                DiffLine::Hunk | DiffLine::Header | DiffLine::Note => ("hunk", ""),
                DiffLine::Context => ("same", " "),
            };
            page.raw("<div class=\"").raw(class).raw("\">").raw(sign).text(text).raw("</div>");
        }
        page.raw("</div>\n").left_out(lines.len(), all, "stockade diff SESSION PATH");
    }
}

fn hashes(outcome: &FsOutcome) -> String {
    let hash = |state: &Option<FileState>| state.as_ref().and_then(|state| state.h).map(|hash| hash.to_string());
    match (hash(&outcome.b), hash(&outcome.a)) {
        (Some(before), Some(after)) => format!("sha256 {before} → {after}"),
        (Some(before), None) => format!("sha256 before {before}"),
        (None, Some(after)) => format!("sha256 {after}"),
        (None, None) => String::new(),
    }
}

fn tint(op: Change) -> Tint {
    match op {
        Change::Created => Tint::Good,
        Change::Modified | Change::Metadata => Tint::Plain,
        Change::Deleted => Tint::Bad,
        Change::Retyped => Tint::Warn,
    }
}
