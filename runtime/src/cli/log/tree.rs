//! `stockade log tree`: calls, and below each its tool and its processes, with times, exits, what they ran, wrote and
//! connected to.
//! It never invents a process that no record names.

use super::say::{Beside, used};
use super::show::visible_json;
use super::tools;
use super::words::{cut, ending, errno, list, no_program, operation, paths, since, socket, span};
use super::{unfinished, unrecorded};
use crate::cli::style::{Colour, Tone};
use crate::cli::{Context, print, tell};
use crate::error::{Error, Result};
use crate::journal::failed;
use serde_json::json;
use std::fmt::Write as _;
use stockade_audit::query::{Called, Decided, Exec, LogReader, Process, Tool, Tree};
use stockade_audit::record::{CallId, Cause, LogPath};
use stockade_audit::text::printable;

/// Characters of a command that are shown.
const COMMAND_CHARS: usize = 110;
/// Levels that are drawn; deeper ones say how deep they are.
const LEVELS_MAX: usize = 32;

/// How many names are shown of each kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Names {
    /// The first few.
    Few,
    /// All that were kept.
    All,
}

impl Names {
    fn limit(self) -> usize {
        match self {
            Self::Few => 4,
            Self::All => usize::MAX,
        }
    }
}

/// Prints the tree of a session, or of one of its calls.
///
/// # Errors
/// Operator: there is no such call. Host: the log cannot be read.
pub(super) fn tree(log: &LogReader, call: Option<&str>, names: Names, json: bool, context: &Context) -> Result<()> {
    let (tree, end) = log.tree().map_err(failed)?;
    if let Some(call) = call
        && !tree.calls.iter().any(|called| called.id.as_str() == call)
    {
        let known: Vec<String> = tree.calls.iter().take(10).map(|called| called.id.to_string()).collect();
        return Err(Error::operator(format!("there is no call \"{}\" in this session", printable(call)))
            .hint(format!("calls are named {} …: `stockade log timeline SESSION k=call`", known.join(", "))));
    }
    let wanted = |id: Option<&CallId>| call.is_none_or(|call| id.is_some_and(|id| id.as_str() == call));
    let openings = log.disclosed().map_err(failed)?;
    let beside = Beside { openings, names: tree.names.clone() };
    if json {
        return print(&objects(&tree, &wanted, &beside)?);
    }
    let mut page = Page { out: String::new(), names, beside: &beside, colour: context.colour };
    for called in tree.calls.iter().filter(|called| wanted(Some(&called.id))) {
        page.call(called);
        tree.tools_of(Some(&called.id)).for_each(|tool| page.tool(tool));
        page.processes(&tree.below(Some(&called.id)));
    }
    if wanted(None) {
        tree.tools_of(None).for_each(|tool| page.tool(tool));
        page.processes(&tree.below(None));
    }
    print(&page.out)?;
    for remark in [unfinished(end).map(str::to_owned), unrecorded(log)].into_iter().flatten() {
        tell(&format!("stockade: {remark}"));
    }
    Ok(())
}

struct Page<'a> {
    out: String,
    names: Names,
    beside: &'a Beside,
    colour: Colour,
}

impl Page<'_> {
    fn line(&mut self, text: &str) {
        writeln!(self.out, "{}", text.trim_end()).expect("writing to a String cannot fail");
    }

    fn call(&mut self, called: &Called) {
        let words = self.beside.argv(&called.disclosed).unwrap_or_default();
        let (id, tool) = (called.id.as_str(), printable(&called.call.tool));
        let head = self.colour.paint(Tone::Strong, &format!("{id} {tool} {}", cut(&words, COMMAND_CHARS)));
        let (tone, how) = match (&called.decided, &called.ended) {
            (Some(Decided::Denied(_, deny)), _) => {
                (Tone::Bad, format!("DENIED {}: {}", printable(&deny.rule), printable(&deny.reason)))
            }
            (_, Some((_, outcome))) => {
                let tone = if outcome.status == 0 { Tone::Good } else { Tone::Notice };
                (tone, format!("{}  {}", tools::result(outcome), span(outcome.wall_us.saturating_mul(1000))))
            }
            (Some(Decided::Permitted(..)), None) => (Tone::Notice, "no result in the log".to_owned()),
            (None, None) => (Tone::Notice, "no decision in the log".to_owned()),
        };
        let rules = match &called.decided {
            Some(Decided::Permitted(_, rules)) => format!("  by {}", list(rules)),
            Some(Decided::Denied(..)) | None => String::new(),
        };
        let how = self.colour.paint(tone, &how);
        let rules = self.colour.paint(Tone::Faint, &rules);
        self.line(&format!("{head}  {how}  {}{rules}", since(called.at.mono_ns)));
        for limit in &called.limits {
            let limit = format!("  limit {}: {} of {}", printable(&limit.which), limit.seen, limit.max);
            let limit = self.colour.paint(Tone::Bad, &limit);
            self.line(&limit);
        }
    }

    fn tool(&mut self, tool: &Tool) {
        let name = self.colour.paint(Tone::Strong, &format!("t{}", tool.t));
        let (tone, how) = match &tool.ended {
            Some((_, end)) if end.cause == Cause::Exit && end.status == 0 => (Tone::Good, tools::ended(end)),
            Some((_, end)) => (Tone::Notice, tools::ended(end)),
            None => (Tone::Notice, "no end in the log".to_owned()),
        };
        let how = self.colour.paint(tone, &how);
        let since_start = tool.since().map_or_else(String::new, |mark| format!("  {}", since(mark.mono_ns)));
        self.line(&format!("└─ {name} {}  {how}{since_start}", tools::identity(tool)));
        let mut lines = Vec::new();
        for (title, names, more) in tools::rows(tool) {
            self.row(title, names.into_iter(), more, &mut lines);
        }
        for line in lines {
            let line = self.colour.paint(Tone::Faint, &line);
            self.line(&format!("      {line}"));
        }
    }

    fn processes(&mut self, processes: &[(usize, &Process)]) {
        let last = lasts(processes);
        let mut bars: Vec<bool> = Vec::new();
        for ((depth, process), last) in processes.iter().zip(last) {
            bars.truncate(*depth);
            let (branch, below) = (if last { "└─ " } else { "├─ " }, if last { "   " } else { "│  " });
            let mut lead: String = bars.iter().take(LEVELS_MAX).map(|bar| if *bar { "│  " } else { "   " }).collect();
            if *depth > LEVELS_MAX {
                write!(lead, "⋯{depth} ").expect("writing to a String cannot fail");
            }
            let head = self.process(process);
            self.line(&format!("{lead}{branch}{head}"));
            for detail in self.details(process) {
                let detail = self.colour.paint(Tone::Faint, &detail);
                self.line(&format!("{lead}{below}   {detail}"));
            }
            bars.push(!last);
        }
    }

    fn process(&self, process: &Process) -> String {
        let name = self.colour.paint(Tone::Strong, &format!("p{}", process.p));
        let ran = process.execs.last().map_or_else(|| no_program(process), |exec| self.ran(exec));
        let ran = if process.execs.is_empty() { program(process).unwrap_or(ran) } else { ran };
        let (tone, how) = match &process.ended {
            Some((_, exit)) if exit.status == 0 => (Tone::Good, ending(exit.cause, exit.status)),
            Some((_, exit)) => (Tone::Notice, ending(exit.cause, exit.status)),
            None => (Tone::Notice, "no end in the log".to_owned()),
        };
        let mut out = format!("{name} {ran}  {}", self.colour.paint(tone, &how));
        if let Some(since_start) = process.since() {
            write!(out, "  {}", since(since_start.mono_ns)).expect("writing to a String cannot fail");
        }
        if let Some((mark, exit)) = &process.ended {
            if let Some(started) = process.started {
                let lived = mark.mono_ns.saturating_sub(started.mono_ns);
                write!(out, "  {}", span(lived)).expect("writing to a String cannot fail");
            }
            let used: String = used(exit).into_iter().map(|used| format!("  {used}")).collect();
            out += &self.colour.paint(Tone::Faint, &used);
        }
        out
    }

    fn ran(&self, exec: &Exec) -> String {
        let exe = exec.exec.exe.as_ref().or(exec.exec.asked.as_ref()).map(LogPath::printable).unwrap_or_default();
        let words = self.beside.argv(&exec.disclosed).unwrap_or_default();
        let (_, rest) = words.split_once(' ').unwrap_or_default();
        cut(format!("{exe} {rest}").trim_end(), COMMAND_CHARS)
    }

    /// What a process did, one line a kind.
    fn details(&self, process: &Process) -> Vec<String> {
        let mut lines = Vec::new();
        if let [before @ .., _] = process.execs.as_slice()
            && !before.is_empty()
        {
            lines
                .push(format!("before   {}", before.iter().map(|exec| self.ran(exec)).collect::<Vec<_>>().join(" → ")));
        }
        let scripts = process.execs.iter().filter_map(|exec| exec.exec.exe.as_ref().and(exec.exec.asked.as_ref()));
        self.row("asked", scripts.map(LogPath::printable), 0, &mut lines);
        let opened = &process.opened;
        self.row("wrote", opened.kept.iter().map(LogPath::printable), opened.more, &mut lines);
        let changed = &process.changed;
        let names =
            changed.kept.iter().map(|(op, path, to)| format!("{} {}", operation(*op), paths(*op, path, to.as_ref())));
        self.row("changed", names, changed.more, &mut lines);
        self.row("read", process.read.kept.iter().map(LogPath::printable), process.read.more, &mut lines);
        let asked = &process.asked;
        let addresses = asked.kept.iter().map(|(op, addr)| format!("{} {}", socket(*op), self.beside.address(addr)));
        self.row("network", addresses, asked.more, &mut lines);
        let calls = &process.calls;
        let calls_said = calls.kept.iter().map(|(call, error)| match error {
            Some(error) => format!("{} → {}", printable(call), errno(*error)),
            None => printable(call),
        });
        self.row("kernel", calls_said, calls.more, &mut lines);
        lines
    }

    fn row(&self, title: &str, names: impl Iterator<Item = String>, more: u64, lines: &mut Vec<String>) {
        let names: Vec<String> = names.collect();
        let shown = names.len().min(self.names.limit());
        let rest = (names.len() - shown) as u64 + more;
        let Some(shown) = names.get(..shown).filter(|shown| !shown.is_empty()) else { return };
        let rest = if rest > 0 { format!(" and {rest} more") } else { String::new() };
        lines.push(format!("{title:8} {}{rest}", shown.join(", ")));
    }
}

/// The program that only the record of its end names.
fn program(process: &Process) -> Option<String> {
    process.program().map(LogPath::printable)
}

/// For each process, whether it is the last below its maker.
fn lasts(processes: &[(usize, &Process)]) -> Vec<bool> {
    let mut later: Vec<bool> = Vec::new();
    let mut lasts: Vec<bool> = processes
        .iter()
        .rev()
        .map(|(depth, _)| {
            later.resize(depth + 1, false);
            later.last_mut().is_some_and(|later| !std::mem::replace(later, true))
        })
        .collect();
    lasts.reverse();
    lasts
}

fn objects(tree: &Tree, wanted: &dyn Fn(Option<&CallId>) -> bool, beside: &Beside) -> Result<String> {
    let calls = tree.calls.iter().filter(|called| wanted(Some(&called.id))).map(|called| call_object(called, beside));
    let ids = tree.calls.iter().map(|called| Some(&called.id)).chain([None]);
    let below = ids.filter(|id| wanted(*id)).flat_map(|id| tree.below(id));
    let processes = below.map(|(depth, process)| process_object(depth, process, beside));
    let used = tree.tools.values().filter(|tool| wanted(tool.call.as_ref())).map(tools::object);
    let object = json!({
        "calls": calls.collect::<Vec<_>>(), "processes": processes.collect::<Vec<_>>(), "tools": used.collect::<Vec<_>>(),
    });
    let text = serde_json::to_vec_pretty(&object).map_err(|e| Error::bug(format!("write JSON: {e}")))?;
    Ok(visible_json(&text))
}

fn call_object(called: &Called, beside: &Beside) -> serde_json::Value {
    let decision = match &called.decided {
        Some(Decided::Permitted(mark, rules)) => json!({ "permitted": rules, "record": mark.n }),
        Some(Decided::Denied(mark, deny)) => json!({ "denied": deny, "record": mark.n }),
        None => json!(null),
    };
    json!({
        "call": called.id.as_str(),
        "record": called.at.n,
        "since_start_ns": called.at.mono_ns,
        "tool": called.call.tool,
        "via": called.call.via,
        "argv": beside.argv(&called.disclosed),
        "decision": decision,
        "limits": called.limits,
        "result": called.ended.as_ref().map(|(_, outcome)| outcome),
    })
}

pub(super) fn process_object(depth: usize, process: &Process, beside: &Beside) -> serde_json::Value {
    let execs = process.execs.iter().map(|exec| {
        json!({
            "record": exec.at.n,
            "since_start_ns": exec.at.mono_ns,
            "evidence": exec.at.evidence.word(),
            "exe": exec.exec.exe,
            "sha256": exec.exec.h,
            "asked": exec.exec.asked,
            "argv": beside.argv(&exec.disclosed),
        })
    });
    let changed = process.changed.kept.iter().map(|(op, path, to)| json!({ "op": op, "path": path, "to": to }));
    let asked =
        process.asked.kept.iter().map(|(op, addr)| json!({ "op": op, "addr": addr, "name": beside.address(addr) }));
    let calls = process.calls.kept.iter().map(|(call, error)| json!({ "call": call, "errno": error }));
    json!({
        "p": process.p,
        "pp": process.pp,
        "pid": process.pid,
        "depth": depth,
        "call": process.call.as_ref().map(|call| call.as_str()),
        "started": process.started.map(|mark| json!({ "record": mark.n, "since_start_ns": mark.mono_ns })),
        "execs": execs.collect::<Vec<_>>(),
        "exit": process.ended.as_ref().map(|(_, exit)| exit),
        "ended": process.ended.as_ref().map(|(mark, _)| json!({ "record": mark.n, "since_start_ns": mark.mono_ns })),
        "opened": process.opened.kept,
        "read": process.read.kept,
        "changed": changed.collect::<Vec<_>>(),
        "asked": asked.collect::<Vec<_>>(),
        "calls": calls.collect::<Vec<_>>(),
        "names_left_out": process.opened.more + process.read.more + process.changed.more + process.asked.more + process.calls.more,
    })
}
