//! What tools did, as words: an instance of a component, what it used, how it ended.
//! It never says that a use came to something: outcomes, and the outlet's account, do.

use super::words::{bytes, count, errno, operation, paths, span};
use stockade_audit::record::{Cause, FsOp, LogPath, ToolEnd, ToolFiles, ToolNet, ToolOp, ToolStart, ToolUse, Was};
use stockade_audit::text::printable;

/// Digits of a component's hash that are shown.
const HASH_CHARS: usize = 12;

/// A tool, and what it was given.
pub(super) fn started(start: &ToolStart) -> String {
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
    };
    format!("{files}, {net}")
}

/// What a use is, as a verb.
pub(super) fn verb(op: ToolOp) -> &'static str {
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
        ToolOp::Clock => "clock",
        ToolOp::Random => "random",
        ToolOp::Env => "variables",
        ToolOp::Stdin => "input",
    }
}

/// What was used, how much of it, and how it went.
pub(super) fn used(used: &ToolUse) -> String {
    let mut said = match (&used.path, &used.host, used.port) {
        (Some(path), _, _) => named(used, path),
        (None, Some(host), Some(port)) => format!("{}:{port}", printable(host)),
        (None, _, _) => String::new(),
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

/// How a tool ended, and what that took.
pub(super) fn ended(end: &ToolEnd) -> String {
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
