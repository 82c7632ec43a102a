//! The top of a report: which session, how it was confined, what the verifier says, the numbers, and what was refused.
//! It never says "pass" where the verifier did not.

use super::super::say::{image, recorder, said_of};
use super::super::timeline::evidence;
use super::super::words::{bytes, count, ending, span};
use super::facts::{COLUMNS, Line, Theme};
use super::page::{Page, Tint};
use super::{Report, Values};
use stockade_audit::query::utc;
use stockade_audit::record::{Digest, Durability, Evidence, LayerState, Mode};
use stockade_audit::verify::Severity;

/// Findings that are shown.
const FINDINGS_MAX: usize = 200;

impl Report<'_> {
    /// Name, verdict, confinement, numbers, activity.
    pub(super) fn head(&self, page: &mut Page, id: &str) {
        page.raw("<header>\n<div class=\"top\"><div>\n<h1>Stockade session</h1>\n<div class=\"sid\">").text(id);
        page.raw("</div>\n");
        if let Some((mark, open)) = &self.facts.open {
            let lasted = self.facts.last.map_or(0, |last| last.mono_ns);
            page.text(&format!("{}, {}", utc(mark.wall_ns).replace('T', " ").replace('Z', " UTC"), span(lasted)));
            page.raw(" · profile ").code(&open.profile).raw(" · ").text(&format!("{} wall", open.wall));
            page.raw(" · enforcement ").text(&open.grade);
        }
        if let Some(unfinished) = self.unfinished() {
            page.raw("<p class=\"warn\">").text(unfinished).raw("</p>");
        }
        page.raw("</div>\n");
        self.verdict_box(page);
        page.raw("</div>\n<dl>");
        self.confinement(page);
        page.raw("</dl>\n");
        self.layers(page);
        page.raw(
            "<nav><a href=\"#findings\">Verification</a><a href=\"#refused\">Refusals</a><a href=\"#calls\">Calls and \
             processes</a><a href=\"#files\">Files</a><a href=\"#network\">Network</a><a href=\"#records\">Timeline</a>\
             <a href=\"#reading\">How to read this</a></nav>\n</header>\n",
        );
        self.tiles(page);
        self.strip(page);
    }

    fn verdict_box(&self, page: &mut Page) {
        let (tint, word) = match self.verdict.exit_code() {
            0 => (Tint::Good, "VERIFIED"),
            2 => (Tint::Bad, "BROKEN"),
            3 => (Tint::Warn, "UNPROVEN"),
            _ => (Tint::Warn, "NOT CHECKED"),
        };
        page.raw("<div class=\"verdict ").raw(tint.class()).raw("\"><b>").raw(word).raw("</b><span>");
        page.text(&count(self.verdict.size, "record")).raw(" · ").text(self.verdict.independence.text());
        page.raw("</span></div>\n");
    }

    fn confinement(&self, page: &mut Page) {
        page.fact("log", &self.verdict.origin);
        page.fact("root", &Digest(self.verdict.root).to_string());
        let Some((_, open)) = &self.facts.open else { return };
        let mode = match open.mode {
            Mode::Review => "changes wait for review",
            Mode::Direct => "changes are made at once",
            Mode::Discard => "changes are dropped",
        };
        let durability = match open.durability {
            Durability::Group => "on disk within 50 ms",
            Durability::BeforeResult => "on disk before a result",
            Durability::BeforeRun => "on disk before a call runs",
        };
        page.fact("recorder", &recorder(open)).fact("workspace", mode).fact("records", durability);
        if let Some(container) = &open.container {
            page.fact("image", &image(container)).fact("container", &said_of(container));
            page.fact("container id", &container.id.to_string());
            page.fact("container as asked", &format!("sha256 {}", container.spec_h));
        }
        page.fact("written by", &format!("{} on Linux {}", open.tool, open.kernel));
        page.fact("profile", &format!("sha256 {}", open.profile_h));
        page.fact("plan", &format!("sha256 {}", open.plan_h));
        if let Some((_, close)) = &self.facts.close {
            page.fact("ended", &format!("{}, {} lost", ending(close.cause, close.status), close.lost));
        }
    }

    fn layers(&self, page: &mut Page) {
        let Some((_, open)) = &self.facts.open else { return };
        page.raw("<p>");
        for layer in &open.layers {
            let (tint, word) = match layer.state {
                LayerState::Active => (Tint::Good, ""),
                LayerState::Degraded => (Tint::Warn, " degraded"),
                LayerState::Absent => (Tint::Bad, " absent"),
            };
            let why = if layer.why.is_empty() { String::new() } else { format!(": {}", layer.why) };
            page.chip(tint, &format!("{}{word}{why}", layer.name)).raw(" ");
        }
        page.raw("</p>\n");
    }

    fn tiles(&self, page: &mut Page) {
        let facts = &self.facts;
        let refused = facts.refusals.all as u64;
        page.raw("<div class=\"tiles\">");
        for (number, name, class) in [
            (facts.tree.calls.len() as u64, "calls", "tile"),
            (facts.tree.processes.len() as u64, "processes", "tile"),
            ((facts.files.len() + facts.files_more) as u64, "files changed", "tile"),
            (facts.connections.all as u64, "connections", "tile"),
            (facts.requests.all as u64, "requests", "tile"),
            (facts.secrets as u64, "secrets used", "tile"),
            (refused, "refusals", if refused > 0 { "tile bad" } else { "tile" }),
        ] {
            page.raw("<div class=\"").raw(class).raw("\"><b>").number(number).raw("</b><span>").raw(name);
            page.raw("</span></div>");
        }
        page.raw("</div>\n");
    }

    /// How much was recorded when, by theme.
    fn strip(&self, page: &mut Page) {
        const THEMES: [(Theme, &str, &str); 5] = [
            (Theme::Process, "process", "processes"),
            (Theme::File, "file", "files"),
            (Theme::Net, "net", "network and secrets"),
            (Theme::Refused, "refused", "refusals"),
            (Theme::Other, "other", "calls and the log itself"),
        ];
        let span_ns = self.facts.span_ns();
        let mut columns = vec![[0u64; THEMES.len()]; COLUMNS];
        for (at, theme) in &self.facts.activity {
            let column = u128::from(*at) * (COLUMNS as u128 - 1) / u128::from(span_ns);
            let row = THEMES.iter().position(|(known, ..)| known == theme).unwrap_or_default();
            let column = usize::try_from(column).ok().and_then(|column| columns.get_mut(column));
            if let Some(cell) = column.and_then(|column| column.get_mut(row)) {
                *cell += 1;
            }
        }
        let most = columns.iter().map(|column| column.iter().sum::<u64>()).max().unwrap_or(0).max(1);
        page.raw(
            "<section>\n<h2>Activity</h2>\n<svg class=\"strip\" viewBox=\"0 0 1000 100\" preserveAspectRatio=\"none\" ",
        );
        page.raw("role=\"img\" aria-label=\"records over time\">");
        for (at, column) in columns.iter().enumerate() {
            let all: u64 = column.iter().sum();
            if all == 0 {
                continue;
            }
            // By the square root, so that a burst does not hide the rest.
            let height = (all.saturating_mul(96 * 96) / most).isqrt().max(4);
            let mut y = 100;
            for (amount, (_, class, _)) in column.iter().zip(THEMES) {
                let part = (height * amount).div_ceil(all).min(y);
                if part > 0 {
                    y -= part;
                    page.bar(class, at as u64 * 10 + 1, 8, y, part);
                }
            }
        }
        page.raw("</svg>\n<div class=\"key\">");
        for (_, class, name) in THEMES {
            page.raw("<span><i class=\"").raw(class).raw("\"></i>").raw(name).raw("</span>");
        }
        page.raw("<span>from 0 to ")
            .text(&span(span_ns))
            .raw("; heights by the square root</span></div>\n</section>\n");
    }

    /// What the verifier says.
    pub(super) fn findings(&self, page: &mut Page) {
        page.raw("<section id=\"findings\">\n<h2>Verification</h2>\n");
        let findings = &self.verdict.findings;
        if findings.is_empty() {
            page.raw("<p>Structure, integrity and completeness were checked; nothing was found.</p>\n</section>\n");
            return;
        }
        page.raw("<div class=\"wide\"><table><tr><th>grade</th><th>log</th><th class=\"num\">record</th><th>finding</th></tr>\n");
        for finding in findings.iter().take(FINDINGS_MAX) {
            let (tint, word) = match finding.severity {
                Severity::Broken => (Tint::Bad, "broken"),
                Severity::Failed => (Tint::Bad, "not checked"),
                Severity::Incomplete => (Tint::Warn, "incomplete"),
                Severity::Note => (Tint::Plain, "note"),
            };
            page.raw("<tr><td>").chip(tint, word).raw("</td><td>").text(finding.log).raw("</td><td class=\"num\">");
            page.text(&finding.leaf.map_or_else(String::new, |leaf| format!("#{leaf}")));
            page.raw("</td><td>").text(&finding.text).raw("</td></tr>\n");
        }
        page.raw("</table></div>\n");
        page.left_out(FINDINGS_MAX, findings.len(), "stockade verify SESSION --json").raw("</section>\n");
    }

    /// What was refused, hit a limit, or is missing.
    pub(super) fn refusals(&self, page: &mut Page) {
        page.raw("<section id=\"refused\">\n<h2>Refusals and limits</h2>\n");
        let refusals = &self.facts.refusals;
        if refusals.list.is_empty() {
            page.raw("<p class=\"none\">Nothing was refused, and no limit was reached.</p>\n</section>\n");
            return;
        }
        table_of(page, &refusals.list);
        page.left_out(refusals.list.len(), refusals.all, "stockade log query SESSION k=net.refuse");
        page.raw("</section>\n");
    }

    /// How to read and check a report.
    pub(super) fn reading(&self, page: &mut Page, id: &str) {
        page.raw(
            "<section id=\"reading\">\n<h2>How to read this</h2>\n<p>Each line is a record of a signed, append-only ",
        );
        page.raw("log, and says how well it is known:</p>\n<table>\n");
        for level in
            [Evidence::Claimed, Evidence::Observed, Evidence::Confirmed, Evidence::Performed, Evidence::Outcome]
        {
            page.raw("<tr><td>").grade(level).raw("</td><td>").raw(evidence(level)).raw("</td></tr>\n");
        }
        page.raw("</table>\n<p>This page proves nothing by itself: the log does. <code>stockade verify ").text(id);
        page.raw("</code> checks it, <code>stockade log show ").text(id).raw(" N</code> shows record #N, and ");
        page.raw("<code>stockade log prove ").text(id).raw(" N</code> proves that it is in the log.</p>\n<p>");
        page.raw(match self.values {
            Values::Shown => {
                "Arguments, directories and output are shown where the log still has them. Erasing them from the log \
                 does not erase them here; <code>--redacted</code> writes a report without them."
            }
            Values::LeftOut => "Arguments, directories and output were left out of this report.",
        });
        page.raw(" Content of files is shown only where bytes with the recorded hash were found.</p>\n</section>\n");
        let tool = concat!("stockade ", env!("CARGO_PKG_VERSION"));
        let size: u64 =
            self.facts.tree.calls.iter().filter_map(|called| called.ended.as_ref()).fold(0, |sum, (_, outcome)| {
                sum + outcome.out.map_or(0, |stream| stream.z) + outcome.err.map_or(0, |stream| stream.z)
            });
        page.raw("<footer>Written by ").raw(tool).raw(" from ").text(&count(self.facts.records.all as u64, "record"));
        page.raw("; the calls printed ").text(&bytes(size)).raw(".</footer>\n");
    }
}

/// Records as a table.
pub(super) fn table_of(page: &mut Page, lines: &[Line]) {
    page.raw(
        "<div class=\"wide\"><table class=\"lines\"><tr><th class=\"num\">time</th><th>call</th><th>process</th><th></th><th>what</th>",
    );
    page.raw("<th>evidence</th><th class=\"num\">record</th></tr>\n");
    for line in lines {
        page.raw("<tr><td class=\"time\">").text(&super::super::words::since(line.at.mono_ns)).raw("</td><td>");
        page.text(line.call.as_ref().map_or("", |call| call.as_str())).raw("</td><td>");
        page.text(line.by.as_deref().unwrap_or_default());
        page.raw("</td><td class=\"verb ").raw(super::records::tint(line.said.tone).class()).raw("\">");
        page.raw(line.said.verb).raw("</td><td class=\"mono\">").text(&line.said.what).raw("</td><td>");
        page.grade(line.at.evidence).raw("</td><td class=\"num\">#").number(line.at.n).raw("</td></tr>\n");
    }
    page.raw("</table></div>\n");
}
