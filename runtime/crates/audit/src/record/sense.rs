//! What the types of a record cannot say: a path that is none, a change without the states that it is between.
//! It never judges a path: whether one leaves the workspace is for whoever uses it.

use super::{Act, Body, Change, FileState, FsOutcome, LogPath};

/// Permission bits, set-id and sticky bits; the type of a file has its own member.
const MODE_MAX: u32 = 0o7777;

/// Why a record means nothing; `None` when it means something. Asked before each write and at each read.
pub(super) fn nonsense(body: &Body) -> Option<&'static str> {
    match body {
        Body::FsOutcome(change) => of_change(change),
        Body::Apply(super::Apply(act)) | Body::Discard(super::Discard(act)) | Body::Undo(super::Undo(act)) => match act
        {
            Act::File(change) => of_change(change),
            Act::Begin(_) | Act::End(_) => None,
        },
        Body::ProcExit(exit) => exit.exe.as_ref().and_then(of_path),
        Body::SessionOpen(_)
        | Body::SessionClose(_)
        | Body::Call(_)
        | Body::Permit(_)
        | Body::Deny(_)
        | Body::Outcome(_)
        | Body::Limit(_)
        | Body::Heartbeat(_)
        | Body::Recovery(_)
        | Body::Gap(_)
        | Body::Redact(_)
        | Body::NetName(_)
        | Body::NetOpen(_)
        | Body::NetClose(_)
        | Body::NetRequest(_)
        | Body::NetReply(_)
        | Body::NetRefuse(_)
        | Body::SecretUse(_)
        | Body::SecretRotate(_)
        | Body::SecretCanary(_)
        | Body::SecretScrub(_)
        | Body::LedgerInit(_)
        | Body::LedgerOpen(_)
        | Body::LedgerBeat(_)
        | Body::LedgerClose(_)
        | Body::LedgerAfter(_) => None,
    }
}

fn of_change(change: &FsOutcome) -> Option<&'static str> {
    let FsOutcome { path, op, b, a, .. } = change;
    let climbs = path.0.split(|byte| *byte == b'/').any(|part| part == b"..");
    let between = match op {
        Change::Created => b.is_none() && a.is_some(),
        Change::Deleted => b.is_some() && a.is_none(),
        Change::Modified | Change::Metadata | Change::Retyped => b.is_some() && a.is_some(),
    };
    let states = || [b, a].into_iter().flatten().find_map(of_state);
    of_path(path)
        .or_else(|| climbs.then_some("a path that climbs"))
        .or_else(|| (!between).then_some("a change that is not between such states"))
        .or_else(states)
}

fn of_state(state: &FileState) -> Option<&'static str> {
    let target = || state.to.as_ref().and_then(of_path);
    (state.mode > MODE_MAX).then_some("a mode with other bits than those of permissions").or_else(target)
}

fn of_path(path: &LogPath) -> Option<&'static str> {
    let none = path.0.is_empty() || path.0.contains(&0);
    none.then_some("a path that the kernel does not have: empty, or with a NUL")
}
