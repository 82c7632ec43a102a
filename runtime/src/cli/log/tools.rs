//! What tools did, as words and as rows: an instance of a component, what it used, how it ended.
//! It never says that a use came to something: outcomes, and the outlet's account, do.

use super::words::{bytes, count, ending, errno, operation, paths, span};
use serde_json::json;
use stockade_audit::query::Tool;
use stockade_audit::record::{
    Cause, FsOp, LogPath, Outcome, ToolEnd, ToolFiles, ToolNet, ToolOp, ToolStart, ToolUse, Was,
};
use stockade_audit::text::printable;

/// Digits of a component's hash that are shown.
const HASH_CHARS: usize = 12;

/// A tool, and what it was given.
pub(in crate::cli) fn started(start: &ToolStart) -> String {
    format!("{} ({}), {}", printable(&start.tool), component(start), given(start))
}

/// The component by the beginning of its hash.
pub(super) fn component(start: &ToolStart) -> String {
    format!("component {:.HASH_CHARS$}", start.h.to_string())
}

/// What a tool was given.
pub(super) fn given(start: &ToolStart) -> String {
    let files = match start.files {
        ToolFiles::None => "no files",
        ToolFiles::Read => "files to read",
        ToolFiles::Write => "files to write",
    };
    let net = match start.net {
        ToolNet::None => "no network",
        ToolNet::Requests => "requests",
        ToolNet::Sockets => "sockets",
        ToolNet::Both => "requests and sockets",
    };
    format!("{files}, {net}")
}

/// What a use is, as a verb.
pub(in crate::cli) fn verb(op: ToolOp) -> &'static str {
    match op {
        ToolOp::Read => "reads",
        ToolOp::List => "lists",
        ToolOp::Stat => "looks at",
        ToolOp::Readlink => "readlink",
        ToolOp::Write => "writes",
        ToolOp::Open => "opens",
        ToolOp::Unlink => operation(FsOp::Unlink),
        ToolOp::Rmdir => operation(FsOp::Rmdir),
        ToolOp::Rename => operation(FsOp::Rename),
        ToolOp::Link => operation(FsOp::Link),
        ToolOp::Symlink => operation(FsOp::Symlink),
        ToolOp::Mkdir => operation(FsOp::Mkdir),
        ToolOp::Chmod => operation(FsOp::Chmod),
        ToolOp::Utimes => operation(FsOp::Utimes),
        ToolOp::Truncate => operation(FsOp::Truncate),
        ToolOp::Request => "asks",
        ToolOp::Connect => "connects",
        ToolOp::Moved => "moves",
        ToolOp::Lookup => "looks up",
        ToolOp::Clock => "clock",
        ToolOp::Random => "random",
        ToolOp::Env => "variables",
        ToolOp::Stdin => "input",
        ToolOp::Args => "arguments",
        ToolOp::Socket => "wants a socket",
    }
}

/// What was used, how much of it, and how it went.
pub(in crate::cli) fn used(used: &ToolUse) -> String {
    let mut said = match (&used.path, &used.host, used.port) {
        (Some(path), _, _) => named(used, path),
        (None, Some(host), Some(port)) => format!("{}:{port}", printable(host)),
        (None, Some(host), None) => printable(host).to_string(),
        (None, None, _) => String::new(),
    };
    if let Some(fl) = &used.fl {
        said += &format!("  {}", printable(fl));
    }
    if used.was == Some(Was::Absent) {
        said += "  new";
    }
    match (used.op, used.value) {
        (ToolOp::Chmod, Some(mode)) => said += &format!("  {mode:04o}"),
        (_, Some(length)) => said += &format!("  to {}", bytes(length)),
        (_, None) => {}
    }
    for (count, way) in [(used.r, "read"), (used.w, "written")] {
        if let Some(count) = count {
            said += &format!("  {} {way}", bytes(count));
        }
    }
    said += &used.errno.map_or_else(String::new, |number| format!(" → {}", errno(number)));
    said += &used.times.map_or_else(String::new, |times| format!(" ×{times}"));
    said.trim_start().to_owned()
}

/// The name of a use; of many below one directory, that, and how many.
pub(super) fn named(used: &ToolUse, path: &LogPath) -> String {
    let cut = if used.path_h.is_some() || used.to_h.is_some() { " (cut short)" } else { "" };
    let names = used.op.change().map_or_else(|| path.printable(), |op| paths(op, path, used.to.as_ref()));
    let below = used.below.map_or_else(String::new, |below| format!(" and below, {}", count(below, "time")));
    format!("{names}{cut}{below}")
}

/// How a tool ended, in a few words.
pub(super) fn how(cause: Cause, status: i32) -> &'static str {
    match (cause, status) {
        (Cause::Exit, 0) => "answered",
        (Cause::Exit, _) => "refused",
        (Cause::Limit, _) => "ended by a limit",
        (Cause::Stop, _) => "stopped",
        (Cause::Error | Cause::Signal, _) => "failed",
    }
}

/// How a call ended: one of a tool has no process of which to speak.
pub(super) fn result(outcome: &Outcome) -> String {
    match outcome.t {
        Some(_) => how(outcome.cause, outcome.status).to_owned(),
        None => ending(outcome.cause, outcome.status),
    }
}

/// What a tool is: its name, its component, what it was given.
pub(super) fn identity(tool: &Tool) -> String {
    tool.started.as_ref().map_or_else(|| "(its start is not in the log)".to_owned(), |(_, start)| started(start))
}

/// What a tool did, a row a kind: a title, names, and how many more there were.
pub(super) fn rows(tool: &Tool) -> Vec<(&'static str, Vec<String>, u64)> {
    let [read, written] = tool.bytes;
    let wrote = tool.opened.kept.iter().map(LogPath::printable).collect();
    let changed = tool.changed.kept.iter();
    let changed =
        changed.map(|(op, path, to)| format!("{} {}", operation(*op), paths(*op, path, to.as_ref()))).collect();
    let looked = tool.looked.kept.iter().map(|(op, path, below)| {
        let below = below.map_or_else(String::new, |below| format!(" and below, {}", count(below, "time")));
        format!("{} {}{below}", verb(*op), path.printable())
    });
    let asked = tool.asked.kept.iter().map(|(host, port)| format!("{}:{port}", printable(host)));
    let refused = tool.refused.kept.iter();
    let refused =
        refused.map(|(op, of, error)| format!("{} {} → {}", verb(*op), printable(of), errno(*error))).collect();
    let moved = [(read, "read"), (written, "written")];
    let moved = moved.iter().filter(|(count, _)| *count > 0).map(|(count, way)| format!("{} {way}", bytes(*count)));
    let mut rows: Vec<(&'static str, Vec<String>, u64)> = vec![
        ("wrote", wrote, tool.opened.more),
        ("changed", changed, tool.changed.more),
        ("looked", looked.collect(), tool.looked.more),
        ("network", asked.collect(), tool.asked.more),
        ("refused", refused, tool.refused.more),
        ("moved", moved.collect(), 0),
    ];
    rows.retain(|(_, names, _)| !names.is_empty());
    rows
}

/// A tool as JSON.
pub(super) fn object(tool: &Tool) -> serde_json::Value {
    let looked = tool.looked.kept.iter().map(|(op, path, below)| json!({ "op": op, "path": path, "below": below }));
    let changed = tool.changed.kept.iter().map(|(op, path, to)| json!({ "op": op, "path": path, "to": to }));
    let asked = tool.asked.kept.iter().map(|(host, port)| json!({ "host": host, "port": port }));
    let refused = tool.refused.kept.iter().map(|(op, of, errno)| json!({ "op": op, "of": of, "errno": errno }));
    json!({
        "t": tool.t,
        "call": tool.call.as_ref().map(|call| call.as_str()),
        "since_start_ns": tool.since().map(|mark| mark.mono_ns),
        "start": tool.started.as_ref().map(|(_, start)| start),
        "wrote": tool.opened.kept,
        "changed": changed.collect::<Vec<_>>(),
        "looked": looked.collect::<Vec<_>>(),
        "asked": asked.collect::<Vec<_>>(),
        "refused": refused.collect::<Vec<_>>(),
        "bytes_read": tool.bytes[0],
        "bytes_written": tool.bytes[1],
        "not_shown": tool.opened.more + tool.changed.more + tool.looked.more + tool.asked.more + tool.refused.more,
        "end": tool.ended.as_ref().map(|(_, end)| end),
    })
}

/// How a tool ended, and what that took.
pub(in crate::cli) fn ended(end: &ToolEnd) -> String {
    let why = end.why.as_ref().map_or_else(String::new, |why| format!(": {}", printable(why)));
    let (wall, cpu) = (span(end.wall_us.saturating_mul(1000)), span(end.cpu_us.saturating_mul(1000)));
    let (memory, uses) = (bytes(end.mem_bytes), count(end.uses, "use"));
    format!("{}{why}, {wall} wall, {cpu} cpu, {memory} at most, {uses}", how(end.cause, end.status))
}

#[cfg(test)]
mod tests {
    use super::*;
    use stockade_audit::record::Digest;

    fn of(op: ToolOp) -> ToolUse {
        ToolUse { path: Some("src".into()), ..ToolUse::new(1, op) }
    }

    #[test]
    fn a_use_says_what_it_is_of_and_how_it_went() {
        for (use_of, right) in [
            (ToolUse { r: Some(1536), times: Some(3), ..of(ToolOp::Read) }, "src  1.5 KiB read ×3"),
            (ToolUse { below: Some(9), ..of(ToolOp::Stat) }, "src and below, 9 times"),
            (ToolUse { errno: Some(13), ..of(ToolOp::Unlink) }, "src → EACCES"),
            (ToolUse { fl: Some("W|CREAT".into()), was: Some(Was::Absent), ..of(ToolOp::Open) }, "src  W|CREAT  new"),
            (ToolUse { w: Some(7), ..of(ToolOp::Write) }, "src  7 B written"),
            (ToolUse { to: Some("lib".into()), ..of(ToolOp::Rename) }, "src → lib"),
            (ToolUse { value: Some(0o755), ..of(ToolOp::Chmod) }, "src  0755"),
            (ToolUse { value: Some(2048), ..of(ToolOp::Truncate) }, "src  to 2.0 KiB"),
            (ToolUse { times: Some(4), ..ToolUse::new(1, ToolOp::Clock) }, "×4"),
            (ToolUse { host: Some("a.org".into()), ..ToolUse::new(1, ToolOp::Lookup) }, "a.org"),
            (
                ToolUse {
                    host: Some("a.org".into()),
                    port: Some(22),
                    r: Some(5),
                    w: Some(7),
                    ..ToolUse::new(1, ToolOp::Moved)
                },
                "a.org:22  5 B read  7 B written",
            ),
            (
                ToolUse { host: Some("a\u{1b}.org".into()), port: Some(443), ..ToolUse::new(1, ToolOp::Request) },
                "a\\u{1b}.org:443",
            ),
        ] {
            assert_eq!(used(&use_of), right);
        }
    }

    #[test]
    fn a_tool_says_what_it_was_given_and_what_it_took() {
        let (files, net) = (ToolFiles::Read, ToolNet::None);
        let start = ToolStart { t: 1, tool: "grep".into(), h: Digest([0xab; 32]), files, net };
        assert_eq!(started(&start), "grep (component abababababab), files to read, no network");
        let end = ToolEnd {
            t: 1,
            cause: Cause::Error,
            status: 0,
            why: Some("it trapped: unreachable".into()),
            wall_us: 1500,
            cpu_us: 900,
            mem_bytes: 2 << 20,
            uses: 1,
        };
        let right = "failed: it trapped: unreachable, 1.5 ms wall, 900 µs cpu, 2.0 MiB at most, 1 use";
        assert_eq!(ended(&end), right);
    }
}
