//! What a recorder saw and tools did, one line each: who, what, to what, and how it went.
//! It never escapes anything: whoever prints a line does.

use super::log::tools;
use stockade_audit::record::{
    Body, Cause, FsChange, FsOp, FsOpen, NetAsk, ProcExec, ProcExit, ProcStart, SocketOp, Was,
};

/// The line of a recorder's record, or a tool's; `None` for any other.
pub(super) fn said(body: &Body) -> Option<String> {
    if let Body::ProcStart(start) = body {
        return Some(started(start));
    }
    if let Body::ProcExec(exec) = body {
        return Some(executed(exec));
    }
    if let Body::ProcCall(call) = body {
        let args: Vec<String> = call.args.iter().map(|arg| format!("{arg:#x}")).collect();
        let (args, went, times) = (args.join(", "), went(call.errno), times(call.times));
        return Some(format!("p{} {}({args}){went}{times}", call.p, call.call));
    }
    if let Body::ProcExit(exit) = body {
        return Some(ended(exit));
    }
    if let Body::FsOpen(open) = body {
        return Some(opened(open));
    }
    if let Body::FsChange(change) = body {
        return Some(changed(change));
    }
    if let Body::ToolStart(start) = body {
        return Some(format!("t{} {}", start.t, tools::started(start)));
    }
    if let Body::ToolUse(used) = body {
        return Some(format!("t{} {} {}", used.t, tools::verb(used.op), tools::used(used)).trim_end().to_owned());
    }
    if let Body::ToolEnd(end) = body {
        return Some(format!("t{} {}", end.t, tools::ended(end)));
    }
    if let Body::NetAsk(ask) = body { Some(asked(ask)) } else { None }
}

fn started(start: &ProcStart) -> String {
    match start.pp {
        Some(parent) => format!("p{} pid {} by p{parent}", start.p, start.pid),
        None => format!("p{} pid {}, the call's own", start.p, start.pid),
    }
}

fn executed(exec: &ProcExec) -> String {
    let hash = exec.h.map(|hash| format!(" {:.12}", hash.to_string())).unwrap_or_default();
    let asked = exec.asked.as_ref().map(|asked| format!(" for {}", asked.printable())).unwrap_or_default();
    match &exec.exe {
        Some(exe) => format!("p{} {}{asked}{hash}", exec.p, exe.printable()),
        None => format!("p{} something unseen{asked}", exec.p),
    }
}

fn changed(change: &FsChange) -> String {
    let to = change.to.as_ref().map(|to| {
        let arrow = if matches!(change.op, FsOp::Rename | FsOp::Symlink) { "-> " } else { "" };
        format!(" {arrow}{}", to.printable())
    });
    let value = change.value.map(|value| {
        if change.op == FsOp::Chmod {
            format!(" {value:04o}")
        } else if change.op == FsOp::Chown {
            format!(" {}:{}", value >> 32, value & u64::from(u32::MAX))
        } else {
            format!(" {value}")
        }
    });
    let (to, value) = (to.unwrap_or_default(), value.unwrap_or_default());
    let op = format!("{:?}", change.op).to_lowercase();
    format!("p{} {op} {}{to}{value}{}", change.p, change.path.printable(), times(change.times))
}

fn asked(ask: &NetAsk) -> String {
    let op = match ask.op {
        SocketOp::Connect => "connect to",
        SocketOp::Bind => "bind to",
        SocketOp::Listen => "listen on",
        SocketOp::Send => "send to",
    };
    format!("p{} {op} {}{}", ask.p, ask.addr, times(ask.times))
}

fn opened(open: &FsOpen) -> String {
    let made = if open.was == Some(Was::Absent) { " made it" } else { "" };
    format!("p{} {} {}{made}{}{}", open.p, open.fl, open.path.printable(), went(open.errno), times(open.times))
}

fn ended(exit: &ProcExit) -> String {
    let how = match exit.cause {
        Cause::Exit => format!("exit {}", exit.status),
        Cause::Signal => format!("signal {}", exit.status),
        Cause::Limit => format!("limit, signal {}", exit.status),
        Cause::Error => "unseen".to_owned(),
        Cause::Stop => "stopped".to_owned(),
    };
    let exe = exit.exe.as_ref().map(|exe| format!(" {}", exe.printable())).unwrap_or_default();
    let cpu = exit.cpu_us.map(|us| format!(" cpu {us} µs")).unwrap_or_default();
    let peak = exit.rss_kib.map(|kib| format!(" peak {kib} KiB")).unwrap_or_default();
    let failed = exit.failed.map(|failed| format!(", {failed} programs not found")).unwrap_or_default();
    format!("p{}{exe} {how}{cpu}{peak}{failed}", exit.p)
}

/// An error that is not one is not worth a word.
fn went(errno: Option<i32>) -> String {
    match errno {
        None | Some(0) => String::new(),
        Some(errno) => format!(": {}", crate::error::plain(&std::io::Error::from_raw_os_error(errno))),
    }
}

fn times(times: Option<u64>) -> String {
    times.map(|times| format!(" ×{times} again")).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use stockade_audit::record::ProcCall;

    #[track_caller]
    fn check(body: impl Into<Body>, line: &str) {
        assert_eq!(said(&body.into()).as_deref(), Some(line));
    }

    #[test]
    fn each_line_says_who_did_what_and_how_it_went() {
        check(ProcStart { p: 1, pp: None, pid: 7 }, "p1 pid 7, the call's own");
        check(ProcStart { p: 2, pp: Some(1), pid: 8 }, "p2 pid 8 by p1");
        let open = FsOpen {
            path_h: None,
            p: 2,
            path: "src/x".into(),
            fl: "W|CREAT".into(),
            mode: Some(0o644),
            errno: Some(0),
            ino: None,
            was: Some(Was::Absent),
            cut: None,
            times: None,
        };
        check(open.clone(), "p2 W|CREAT src/x made it");
        check(FsOpen { errno: Some(13), was: None, ..open }, "p2 W|CREAT src/x: permission denied");
        let change = FsChange {
            path_h: None,
            to_h: None,
            p: 3,
            op: FsOp::Rename,
            path: "a".into(),
            to: Some("b".into()),
            value: None,
            cut: None,
            times: None,
        };
        check(change.clone(), "p3 rename a -> b");
        let chmod = FsChange { op: FsOp::Chmod, to: None, value: Some(0o600), times: Some(4), ..change };
        check(chmod, "p3 chmod a 0600 ×4 again");
        let call = ProcCall { p: 1, call: "ptrace".into(), args: vec![16, 2], errno: Some(1), times: None };
        check(call, "p1 ptrace(0x10, 0x2): operation not permitted");
    }

    #[test]
    fn other_records_are_not_ours() {
        assert_eq!(said(&stockade_audit::record::Heartbeat { running: 0, lost: 0 }.into()), None);
    }
}
