//! Calls, tools and processes in a report: a tree with bars over time, and below each what it did.
//! It never draws a process longer than the log has it.

use super::super::say::used;
use super::super::tools;
use super::super::words::{bytes, count, cut, ending, errno, list, no_program, operation, paths, since, socket, span};
use super::page::{Page, Tint};
use super::{Report, Values};
use crate::error::Result;
use crate::journal::failed;
use stockade_audit::query::{Called, Decided, Mark, Process, Tool};
use stockade_audit::record::{CallId, Cause, LogPath, Stream};
use stockade_audit::text::printable_bytes;

/// Processes that are drawn.
const PROCESSES_MAX: usize = 2000;
/// Levels that are indented.
const LEVELS_MAX: usize = 24;
/// Names of a kind that are shown of a process.
const NAMES_MAX: usize = 12;
/// Characters of a command that are shown.
const COMMAND_CHARS: usize = 400;
/// Bytes of each stream of a call that are shown.
const STREAM_BYTES: usize = 4096;

impl Report<'_> {
    /// Each call with its processes, then those without a call.
    ///
    /// # Errors
    /// Host: a blob is damaged.
    pub(super) fn calls(&self, page: &mut Page) -> Result<()> {
        page.raw("<section id=\"calls\">\n<h2>Calls and processes</h2>\n");
        if self.facts.tree.calls.is_empty() && self.facts.tree.processes.is_empty() {
            page.raw("<p class=\"none\">No call was made.</p>\n");
        }
        let mut left = PROCESSES_MAX;
        for called in &self.facts.tree.calls {
            page.raw("<div class=\"call\">\n");
            self.call(page, called);
            self.tools(page, Some(&called.id), &mut left);
            self.processes(page, Some(&called.id), &mut left);
            self.streams(page, called)?;
            page.raw("</div>\n");
        }
        if !self.facts.tree.below(None).is_empty() {
            page.raw("<div class=\"call\"><div class=\"head\">Processes of no call</div>\n");
            self.processes(page, None, &mut left);
            page.raw("</div>\n");
        }
        page.left_out(
            PROCESSES_MAX - left,
            self.facts.tree.processes.len() + self.facts.tree.tools.len(),
            "stockade log tree SESSION",
        );
        page.raw("</section>\n");
        Ok(())
    }

    fn call(&self, page: &mut Page, called: &Called) {
        let words = self.beside.argv(&called.disclosed).unwrap_or_default();
        page.raw("<div class=\"head\"><b>").text(called.id.as_str()).raw("</b> ");
        page.code(&format!("{} {}", called.call.tool, cut(&words, COMMAND_CHARS)));
        match (&called.decided, &called.ended) {
            (Some(Decided::Denied(_, deny)), _) => {
                page.chip(Tint::Bad, "denied").raw(" ").text(&format!("{}: {}", deny.rule, deny.reason))
            }
            (_, Some((_, outcome))) => {
                let tint = if outcome.status == 0 { Tint::Good } else { Tint::Warn };
                page.chip(tint, &tools::result(outcome))
            }
            (Some(Decided::Permitted(..)), None) => page.chip(Tint::Warn, "no result in the log"),
            (None, None) => page.chip(Tint::Warn, "no decision in the log"),
        };
        page.raw("</div>\n<div class=\"soft\">").text(&since(called.at.mono_ns));
        if let Some((_, outcome)) = &called.ended {
            page.text(&format!(" · {} wall · {} cpu", span(outcome.wall_us * 1000), span(outcome.cpu_us * 1000)));
        }
        if let Some(Decided::Permitted(_, rules)) = &called.decided {
            page.raw(" · permitted by ").code(&list(rules));
        }
        if let Some(cwd) = self.beside.value(&called.disclosed, "cwd") {
            page.raw(" · in ").code(&cwd);
        }
        page.raw(" · through ").text(&called.call.via).raw("</div>\n");
        for limit in &called.limits {
            page.raw("<div>").chip(Tint::Bad, "limit").raw(" ");
            page.text(&format!("{} is {}, {} were used", limit.which, limit.max, limit.seen)).raw("</div>\n");
        }
    }

    fn tools(&self, page: &mut Page, call: Option<&CallId>, left: &mut usize) {
        let tools: Vec<&Tool> = self.facts.tree.tools_of(call).take(*left).collect();
        if tools.is_empty() {
            return;
        }
        *left -= tools.len();
        page.raw("<div class=\"wide\"><table class=\"tree\"><colgroup><col class=\"c1\"><col class=\"c2\"><col class=\"c3\">");
        page.raw("<col class=\"c4\"><col class=\"c5\"></colgroup>\n");
        for tool in tools {
            self.tool(page, tool);
        }
        page.raw("</table></div>\n");
    }

    fn tool(&self, page: &mut Page, tool: &Tool) {
        page.raw("<tr><td class=\"mono\"><div class=\"twig\"><span class=\"indent\"></span><span><b>t").number(tool.t);
        page.raw("</b> ").text(&tools::identity(tool)).raw("</span></div></td><td class=\"bar\">");
        let good = |cause, status| cause == Cause::Exit && status == 0;
        let ended = tool.ended.as_ref().map(|(mark, end)| (*mark, good(end.cause, end.status)));
        self.bar(page, tool.since(), ended);
        page.raw("</td><td class=\"time\">");
        page.text(&tool.since().map_or_else(String::new, |mark| since(mark.mono_ns))).raw("</td><td class=\"time\">");
        let end = tool.ended.as_ref().map(|(_, end)| end);
        page.text(&end.map_or_else(String::new, |end| span(end.wall_us.saturating_mul(1000)))).raw("</td><td>");
        match end {
            Some(end) => {
                let tint = if good(end.cause, end.status) { Tint::Good } else { Tint::Warn };
                page.chip(tint, tools::how(end.cause, end.status));
            }
            None => {
                page.chip(Tint::Warn, "no end in the log");
            }
        }
        page.raw("</td></tr>\n");
        let mut rows = tools::rows(tool);
        rows.extend(end.and_then(|end| end.why.clone()).map(|why| ("why", vec![why], 0)));
        rows.extend(end.map(|end| ("used", vec![tools::ended(end)], 0)));
        rows.extend(tool.started.as_ref().map(|(_, start)| ("sha256", vec![start.h.to_string()], 0)));
        Self::rows(page, &rows);
    }

    fn processes(&self, page: &mut Page, call: Option<&CallId>, left: &mut usize) {
        let processes = self.facts.tree.below(call);
        if processes.is_empty() {
            return;
        }
        page.raw("<div class=\"wide\"><table class=\"tree\"><colgroup><col class=\"c1\"><col class=\"c2\"><col class=\"c3\">");
        page.raw("<col class=\"c4\"><col class=\"c5\"></colgroup>\n");
        for (depth, process) in processes.into_iter().take(*left) {
            *left -= 1;
            self.process(page, depth, process);
        }
        page.raw("</table></div>\n");
    }

    fn process(&self, page: &mut Page, depth: usize, process: &Process) {
        page.raw("<tr><td class=\"mono\"><div class=\"twig\"><span class=\"indent\">");
        for _ in 0..depth.min(LEVELS_MAX) {
            page.raw("│ ");
        }
        page.raw("</span><span>");
        if depth > LEVELS_MAX {
            page.raw("<span class=\"soft\">level ").number(depth as u64).raw("</span> ");
        }
        page.raw("<b>p").number(process.p).raw("</b> ").text(&self.command(process));
        page.raw("</span></div></td><td class=\"bar\">");
        let ended = process.ended.as_ref().map(|(mark, exit)| (*mark, exit.status == 0));
        self.bar(page, process.since(), ended);
        page.raw("</td><td class=\"time\">");
        page.text(&process.since().map_or_else(String::new, |mark| since(mark.mono_ns)))
            .raw("</td><td class=\"time\">");
        if let (Some(started), Some((ended, _))) = (process.started, &process.ended) {
            page.text(&span(ended.mono_ns.saturating_sub(started.mono_ns)));
        }
        page.raw("</td><td>");
        match &process.ended {
            Some((_, exit)) => {
                let tint = if exit.status == 0 { Tint::Good } else { Tint::Warn };
                page.chip(tint, &ending(exit.cause, exit.status));
            }
            None => {
                page.chip(Tint::Warn, "no end in the log");
            }
        }
        page.raw("</td></tr>\n");
        self.deeds(page, process);
    }

    /// The words of its last execution, else the program.
    fn command(&self, process: &Process) -> String {
        let program = process.program().map_or_else(|| no_program(process), LogPath::printable);
        let words = process.execs.last().and_then(|exec| self.beside.argv(&exec.disclosed)).unwrap_or_default();
        let rest = words.split_once(' ').map_or("", |(_, rest)| rest);
        cut(format!("{program} {rest}").trim_end(), COMMAND_CHARS)
    }

    /// From when to when, and whether that went well.
    fn bar(&self, page: &mut Page, begin: Option<Mark>, ended: Option<(Mark, bool)>) {
        let span_ns = u128::from(self.facts.span_ns());
        let place = |ns: u64| u64::try_from(u128::from(ns) * 1000 / span_ns).unwrap_or(1000).min(1000);
        let from = begin.map_or(0, |mark| place(mark.mono_ns));
        let (to, class) = match ended {
            Some((mark, well)) => (place(mark.mono_ns), if well { "ok" } else { "failed" }),
            None => (1000, "open"),
        };
        page.raw("<svg viewBox=\"0 0 1000 12\" preserveAspectRatio=\"none\" aria-hidden=\"true\">");
        page.bar("ground", 0, 1000, 5, 2);
        page.bar(class, from.min(994), to.saturating_sub(from).max(6), 0, 12).raw("</svg>");
    }

    /// What a process did: programs before the last, writes, changes, connections, refused calls.
    fn deeds(&self, page: &mut Page, process: &Process) {
        let mut rows: Vec<(&'static str, Vec<String>, u64)> = Vec::new();
        if let Some((exec, before)) = process.execs.split_last() {
            let program = |path: &Option<LogPath>| path.as_ref().map(LogPath::printable);
            let programs =
                before.iter().filter_map(|exec| program(&exec.exec.exe).or_else(|| program(&exec.exec.asked)));
            rows.push(("ran before", programs.collect(), 0));
            let asked = exec.exec.exe.as_ref().and(program(&exec.exec.asked));
            rows.push(("asked for", asked.into_iter().collect(), 0));
        }
        let opened = &process.opened;
        rows.push(("wrote", opened.kept.iter().map(LogPath::printable).collect(), opened.more));
        let changed = process.changed.kept.iter();
        let changes = changed.map(|(op, path, to)| format!("{} {}", operation(*op), paths(*op, path, to.as_ref())));
        rows.push(("changed", changes.collect(), process.changed.more));
        let asked = process.asked.kept.iter();
        let network = asked.map(|(op, addr)| format!("{} {}", socket(*op), self.beside.address(addr)));
        rows.push(("network", network.collect(), process.asked.more));
        let calls = process.calls.kept.iter().map(|(call, error)| match error {
            Some(error) => format!("{call} → {}", errno(*error)),
            None => call.clone(),
        });
        rows.push(("kernel calls", calls.collect(), process.calls.more));
        rows.push(("read", process.read.kept.iter().map(LogPath::printable).collect(), process.read.more));
        if let Some((_, exit)) = &process.ended {
            rows.push(("used", used(exit), 0));
        }
        let hash = process.execs.last().and_then(|exec| exec.exec.h);
        rows.push(("sha256", hash.iter().map(ToString::to_string).collect(), 0));
        rows.retain(|(_, names, _)| !names.is_empty());
        Self::rows(page, &rows);
    }

    /// What something did, a title and names each.
    fn rows(page: &mut Page, rows: &[(&'static str, Vec<String>, u64)]) {
        if rows.is_empty() {
            return;
        }
        page.raw("<tr class=\"does\"><td colspan=\"5\">");
        for (title, names, more) in rows {
            page.raw("<span><b>").raw(title).raw("</b> ");
            let shown = names.len().min(NAMES_MAX);
            page.code(&names.get(..shown).unwrap_or_default().join(", "));
            let more = (names.len() - shown) as u64 + more;
            if more > 0 {
                page.raw(" and ").number(more).raw(" more");
            }
            page.raw("</span> ");
        }
        page.raw("</td></tr>\n");
    }

    /// What a call printed, as far as it was kept.
    fn streams(&self, page: &mut Page, called: &Called) -> Result<()> {
        let Some((_, outcome)) = called.ended.as_ref().filter(|_| self.values == Values::Shown) else { return Ok(()) };
        for (name, stream) in [("standard output", outcome.out), ("standard error", outcome.err)] {
            let Some(Stream { z, cut, blob: Some(blob) }) = stream.filter(|stream| stream.z > 0) else { continue };
            let Some(content) = self.log.blob(&blob).map_err(failed)? else { continue };
            page.raw("<details><summary>").raw(name).raw(" <span class=\"soft\">").text(&bytes(z));
            if cut > 0 {
                page.raw(", ").text(&bytes(cut)).raw(" were not kept");
            }
            page.raw("</span></summary><div><pre>");
            let shown = content.get(..STREAM_BYTES.min(content.len())).unwrap_or_default();
            for line in shown.split(|byte| *byte == b'\n') {
                page.text(&printable_bytes(line).replace("\\\\", "\\").replace("\\t", "    ")).raw("\n");
            }
            page.raw("</pre>");
            if content.len() > STREAM_BYTES {
                page.raw("<p class=\"soft\">").text(&count((content.len() - STREAM_BYTES) as u64, "byte"));
                page.raw(" more were kept and are not shown here</p>");
            }
            page.raw("</div></details>\n");
        }
        Ok(())
    }
}
