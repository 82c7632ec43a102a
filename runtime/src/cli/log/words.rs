//! Words and numbers as people read them: spans, sizes, errors, times, lists.
//! It never passes on a character that commands a terminal.

use nix::errno::Errno;
use stockade_audit::query::Process;
use stockade_audit::record::{Cause, Change, FileType, FsOp, LogPath, Mark, SocketOp, Via};
use stockade_audit::text::printable;

/// A span of time with three digits or so: `850 µs`, `12.3 ms`, `4.56 s`, `3 m 12 s`.
pub(super) fn span(ns: u64) -> String {
    let seconds = ns as f64 / 1e9;
    match ns {
        0..1_000_000 => format!("{} µs", ns / 1000),
        1_000_000..1_000_000_000 => format!("{:.1} ms", seconds * 1e3),
        1_000_000_000..60_000_000_000 => format!("{seconds:.2} s"),
        60_000_000_000..3_600_000_000_000 => format!("{} m {} s", ns / 60_000_000_000, ns / 1_000_000_000 % 60),
        _ => format!("{} h {} m", ns / 3_600_000_000_000, ns / 60_000_000_000 % 60),
    }
}

/// Time since the start of the session.
pub(super) fn since(mono_ns: u64) -> String {
    format!("+{:.3}s", mono_ns as f64 / 1e9)
}

/// A number of bytes.
pub(super) fn bytes(count: u64) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    if count < 1024 {
        return format!("{count} B");
    }
    let mut value = count as f64 / 1024.0;
    let mut units = UNITS.iter();
    let mut unit = units.next().unwrap_or(&"");
    for next in units {
        if value < 1024.0 {
            break;
        }
        value /= 1024.0;
        unit = next;
    }
    format!("{value:.1} {unit}")
}

/// The name of an error.
pub(super) fn errno(number: i32) -> String {
    let known = Errno::from_raw(number.checked_abs().unwrap_or(0));
    if known == Errno::UnknownErrno { format!("error {number}") } else { format!("{known:?}") }
}

/// How something ended.
pub(super) fn ending(cause: Cause, status: i32) -> String {
    match cause {
        Cause::Exit => format!("exit {status}"),
        Cause::Signal => format!("killed by {}", signal(status)),
        Cause::Limit => format!("ended by a limit, {}", signal(status)),
        Cause::Error if status == 0 => "end not seen".to_owned(),
        Cause::Error => format!("failed: {}", errno(status)),
        Cause::Stop => "stopped".to_owned(),
    }
}

fn signal(number: i32) -> String {
    nix::sys::signal::Signal::try_from(number).map_or_else(|_| format!("signal {number}"), |known| known.to_string())
}

/// What happened to a file, as a verb.
pub(super) fn change(op: Change) -> &'static str {
    match op {
        Change::Created => "created",
        Change::Modified => "modified",
        Change::Deleted => "deleted",
        Change::Metadata => "metadata",
        Change::Retyped => "retyped",
    }
}

/// Type of a file.
pub(super) fn file_type(ty: FileType) -> &'static str {
    match ty {
        FileType::File => "file",
        FileType::Dir => "directory",
        FileType::Symlink => "symbolic link",
        FileType::Fifo => "fifo",
        FileType::Socket => "socket",
        FileType::Device => "device",
    }
}

/// A change of a name or a property, as a verb.
pub(super) fn operation(op: FsOp) -> &'static str {
    match op {
        FsOp::Unlink => "unlink",
        FsOp::Rmdir => "rmdir",
        FsOp::Rename => "rename",
        FsOp::Exchange => "exchange",
        FsOp::Link => "link",
        FsOp::Symlink => "symlink",
        FsOp::Mkdir => "mkdir",
        FsOp::Mknod => "mknod",
        FsOp::Chmod => "chmod",
        FsOp::Chown => "chown",
        FsOp::Utimes => "utimes",
        FsOp::Truncate => "truncate",
        FsOp::Setxattr => "setxattr",
        FsOp::Removexattr => "removexattr",
    }
}

/// The two paths of a change in the order in which they are read: old and new, link and target.
pub(super) fn paths(op: FsOp, path: &LogPath, to: Option<&LogPath>) -> String {
    let between = match op {
        FsOp::Exchange => " ⇄ ",
        FsOp::Link => " = ",
        FsOp::Rename
        | FsOp::Symlink
        | FsOp::Unlink
        | FsOp::Rmdir
        | FsOp::Mkdir
        | FsOp::Mknod
        | FsOp::Chmod
        | FsOp::Chown
        | FsOp::Utimes
        | FsOp::Truncate
        | FsOp::Setxattr
        | FsOp::Removexattr => " → ",
    };
    to.map_or_else(|| path.printable(), |to| format!("{}{between}{}", path.printable(), to.printable()))
}

/// What was asked of a socket, as a verb.
pub(super) fn socket(op: SocketOp) -> &'static str {
    match op {
        SocketOp::Connect => "connect",
        SocketOp::Bind => "bind",
        SocketOp::Listen => "listen",
        SocketOp::Send => "send",
    }
}

/// How a connection came to the outlet.
pub(super) fn via(via: Via) -> &'static str {
    match via {
        Via::Direct => "directly",
        Via::Http => "by HTTP proxy",
        Via::Socks => "by SOCKS proxy",
        Via::Wasi => "by a tool",
        Via::WasiTcp => "by a socket of a tool",
        Via::Port => "to a port inside",
        Via::Exchange => "for an exchange of a secret",
    }
}

/// Held, protected or neither.
pub(super) fn mark(mark: Option<Mark>) -> &'static str {
    match mark {
        Some(Mark::Held) => " (held)",
        Some(Mark::Protected) => " (protected)",
        None => "",
    }
}

/// A list of texts that a guest may have chosen.
pub(super) fn list(texts: &[String]) -> String {
    printable(&texts.join(", "))
}

/// Text of at most so many characters.
pub(super) fn cut(text: &str, chars_max: usize) -> String {
    match text.char_indices().nth(chars_max) {
        Some((at, _)) => format!("{}…", text.get(..at).unwrap_or_default()),
        None => text.to_owned(),
    }
}

/// `3 files`, `1 file`.
pub(super) fn count(n: u64, one: &str) -> String {
    if n == 1 { format!("1 {one}") } else { format!("{n} {one}s") }
}

/// What stands for the program of a process of which none is known.
pub(super) fn no_program(process: &Process) -> String {
    // A beginning is the recorder's to tell: without it, nobody looked.
    let text = if process.started.is_some() { "(no program of its own)" } else { "(program not recorded)" };
    text.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_units_that_fit_them() {
        for (ns, text) in [
            (0, "0 µs"),
            (850_000, "850 µs"),
            (12_340_000, "12.3 ms"),
            (4_560_000_000, "4.56 s"),
            (192_000_000_000, "3 m 12 s"),
            (7_260_000_000_000, "2 h 1 m"),
        ] {
            assert_eq!(span(ns), text);
        }
        for (count, text) in
            [(0, "0 B"), (1023, "1023 B"), (1536, "1.5 KiB"), (5 << 20, "5.0 MiB"), (3 << 40, "3.0 TiB")]
        {
            assert_eq!(bytes(count), text);
        }
        assert_eq!(errno(13), "EACCES");
        assert_eq!(errno(-1), "EPERM");
        assert_eq!(errno(9999), "error 9999");
        assert_eq!(ending(Cause::Signal, 9), "killed by SIGKILL");
        assert_eq!(cut("añb", 2), "añ…");
        assert_eq!((count(1, "file"), count(2, "file")), ("1 file".to_owned(), "2 files".to_owned()));
    }
}
