//! What a record is about: its process or tool, its paths, its program, its host.
//! It never says whether that is true; the record's evidence does.

use crate::record::{Act, Apply, Body, Discard, FsOp, FsOpen, LogPath, ToolOp, Undo};

/// What a record is about, as far as it is about something.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Subject<'a> {
    /// Who did it, or for a call's result who was its main process.
    process: Option<u64>,
    /// The instance of a tool, likewise.
    tool: Option<u64>,
    /// Of a rename or a link both, of a symbolic link only its own.
    paths: [Option<&'a LogPath>; 2],
    program: Option<&'a LogPath>,
    /// Name or address.
    host: Option<&'a str>,
}

impl<'a> Subject<'a> {
    fn of(body: &'a Body) -> Self {
        let none = Self::default();
        let by = |p: u64| Self { process: Some(p), ..none };
        let of_tool = |t: u64| Self { tool: Some(t), ..none };
        let to = |host: &'a str| Self { host: Some(host), ..none };
        match body {
            Body::ProcStart(start) => by(start.p),
            Body::ProcExec(exec) => Self { program: exec.exe.as_ref().or(exec.asked.as_ref()), ..by(exec.p) },
            Body::ProcCall(call) => by(call.p),
            Body::ProcExit(exit) => Self { program: exit.exe.as_ref(), ..by(exit.p) },
            Body::FsOpen(open) => Self { paths: [Some(&open.path), None], ..by(open.p) },
            Body::FsChange(change) => {
                let other = change.to.as_ref().filter(|_| change.op != FsOp::Symlink);
                Self { paths: [Some(&change.path), other], ..by(change.p) }
            }
            Body::FsOutcome(change) => Self { paths: [Some(&change.path), None], ..none },
            Body::Apply(Apply(Act::File(change)))
            | Body::Discard(Discard(Act::File(change)))
            | Body::Undo(Undo(Act::File(change))) => Self { paths: [Some(&change.path), None], ..none },
            Body::Outcome(outcome) => Self { process: outcome.p, tool: outcome.t, ..none },
            Body::ToolStart(start) => of_tool(start.t),
            Body::ToolUse(used) => {
                let other = used.to.as_ref().filter(|_| used.op != ToolOp::Symlink);
                Self { paths: [used.path.as_ref(), other], host: used.host.as_deref(), ..of_tool(used.t) }
            }
            Body::ToolEnd(end) => of_tool(end.t),
            Body::NetAsk(ask) => Self { host: Some(&ask.addr), ..by(ask.p) },
            Body::NetName(name) => to(&name.name),
            Body::NetOpen(open) => to(&open.host),
            Body::NetRequest(request) => to(&request.host),
            Body::NetRefuse(refuse) => to(&refuse.host),
            Body::SecretUse(used) => to(&used.host),
            Body::SecretCanary(canary) => to(&canary.host),
            Body::Apply(Apply(Act::Begin(_) | Act::End(_)))
            | Body::Discard(Discard(Act::Begin(_) | Act::End(_)))
            | Body::Undo(Undo(Act::Begin(_) | Act::End(_)))
            | Body::SessionOpen(_)
            | Body::SessionClose(_)
            | Body::Call(_)
            | Body::Permit(_)
            | Body::Deny(_)
            | Body::Limit(_)
            | Body::Heartbeat(_)
            | Body::Recovery(_)
            | Body::Gap(_)
            | Body::Redact(_)
            | Body::NetClose(_)
            | Body::NetReply(_)
            | Body::SecretRotate(_)
            | Body::SecretScrub(_)
            | Body::LedgerInit(_)
            | Body::LedgerOpen(_)
            | Body::LedgerBeat(_)
            | Body::LedgerClose(_)
            | Body::LedgerAfter(_) => none,
        }
    }
}

/// The path that a leaf is about; of two, the first.
#[must_use]
pub fn path_of(body: &Body) -> Option<&LogPath> {
    paths_of(body).next()
}

/// The paths that a leaf is about: of a rename or a link both, of a symbolic link only its own.
pub fn paths_of(body: &Body) -> impl Iterator<Item = &LogPath> {
    Subject::of(body).paths.into_iter().flatten()
}

/// The process that a leaf is about: who did it, or for a call's result who was its main process.
#[must_use]
pub fn process_of(body: &Body) -> Option<u64> {
    Subject::of(body).process
}

/// The instance of a tool that a leaf is about: that did it, or that a call's result is of.
#[must_use]
pub fn tool_of(body: &Body) -> Option<u64> {
    Subject::of(body).tool
}

/// A change of names or properties that a process asked for or a tool made: the operation, the path, the other path.
#[must_use]
pub fn change_of(body: &Body) -> Option<(FsOp, &LogPath, Option<&LogPath>)> {
    if let Body::FsChange(change) = body {
        return Some((change.op, &change.path, change.to.as_ref()));
    }
    let Body::ToolUse(used) = body else { return None };
    let op = used.op.change().filter(|_| used.can_change())?;
    Some((op, used.path.as_ref()?, used.to.as_ref()))
}

/// The program that a leaf is about.
#[must_use]
pub fn program_of(body: &Body) -> Option<&LogPath> {
    Subject::of(body).program
}

/// The host, name or address that a leaf is about.
#[must_use]
pub fn host_of(body: &Body) -> Option<&str> {
    Subject::of(body).host
}

/// Whether an open can change the file, or made it.
#[must_use]
pub fn can_change(open: &FsOpen) -> bool {
    open.can_change()
}
