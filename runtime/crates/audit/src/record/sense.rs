//! What the types of a record cannot say: a path that is none, a change without the states that it is between.
//! It never judges a path: whether one leaves the workspace is for whoever uses it.

use super::{Act, Body, Change, FileState, Forked, FsOutcome, LogPath, Mode, SessionOpen, ToolOp, ToolUse, ToolUseOf};

/// Permission bits, set-id and sticky bits; the type of a file has its own member.
const MODE_MAX: u32 = 0o7777;
const OTHER_BITS: &str = "a mode with other bits than those of permissions";
const HASH_OF_NOTHING: &str = "the hash of a name that is not there";
/// What `fs.open` says of flags beyond the way to access, in this order.
const OPEN_FLAGS: [&str; 6] = ["APPEND", "CREAT", "EXCL", "TRUNC", "TMPFILE", "NOFOLLOW"];
/// What `proc.call` keeps of the arguments of a system call.
const ARGUMENTS_MAX: usize = 3;

/// Why a record means nothing; `None` when it means something. Asked before each write and at each read.
pub(super) fn nonsense(body: &Body) -> Option<&'static str> {
    match body {
        Body::FsOutcome(change) => of_change(change),
        Body::Apply(super::Apply(act)) | Body::Discard(super::Discard(act)) | Body::Undo(super::Undo(act)) => match act
        {
            Act::File(change) => of_change(change),
            Act::Begin(_) | Act::End(_) => None,
        },
        Body::SessionOpen(open) => of_open(open),
        Body::ProcExit(exit) => {
            let none = exit.failed == Some(0);
            exit.exe.as_ref().and_then(of_path).or_else(|| none.then_some("a count that says nothing"))
        }
        Body::ProcExec(exec) => {
            [&exec.exe, &exec.asked].into_iter().flatten().find_map(of_path).or_else(|| of_cut(exec.cut, 4))
        }
        Body::FsOpen(open) => {
            let hashed = [open.path_h.is_some(), false];
            of_path(&open.path).or_else(|| of_flags(&open.fl)).or_else(|| of_cut(open.cut, 1)).or_else(|| {
                let mode = open.mode.is_some_and(|mode| mode > MODE_MAX);
                let unlike = of_hashes(open.cut, hashed).or_else(|| of_times(open.times));
                mode.then_some(OTHER_BITS).or(unlike)
            })
        }
        Body::FsChange(change) => {
            let paths = [Some(&change.path), change.to.as_ref()];
            let found = paths.into_iter().flatten().find_map(of_path);
            let hashed = [change.path_h.is_some(), change.to_h.is_some()];
            let nobody = change.to.is_none() && change.to_h.is_some();
            let found = found.or_else(|| of_cut(change.cut, 2)).or_else(|| of_hashes(change.cut, hashed));
            found.or_else(|| nobody.then_some(HASH_OF_NOTHING)).or_else(|| of_times(change.times))
        }
        Body::ProcCall(call) => {
            let more = call.args.len() > ARGUMENTS_MAX;
            more.then_some("more arguments than are kept").or_else(|| of_times(call.times))
        }
        Body::NetAsk(ask) => of_times(ask.times),
        Body::ToolUse(used) => of_use(used),
        Body::ToolEnd(end) => (end.why.as_deref() == Some("")).then_some("a reason that says nothing"),
        Body::ProcStart(_)
        | Body::ToolStart(_)
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

/// A container is behind the wall of that name, and behind no other.
fn of_open(open: &SessionOpen) -> Option<&'static str> {
    let container = match (open.wall.as_str(), &open.container) {
        ("container", Some(container)) => container.nonsense(),
        ("container", None) => Some("the wall of a container, and no container"),
        (_, Some(_)) => Some("a container behind another wall"),
        (_, None) => None,
    };
    container.or_else(|| open.from.as_ref().and_then(|from| of_fork(open, from)))
}

/// A session goes on from another one, in a layer.
fn of_fork(open: &SessionOpen, from: &Forked) -> Option<&'static str> {
    match open.mode {
        Mode::Direct => Some("changes of another session in a workspace that is used directly"),
        Mode::Review | Mode::Discard if from.sid == open.sid => Some("a session that goes on from itself"),
        Mode::Review | Mode::Discard => None,
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
    let nothing = state.to.is_none() && state.to_h.is_some();
    (state.mode > MODE_MAX).then_some(OTHER_BITS).or_else(target).or_else(|| nothing.then_some(HASH_OF_NOTHING))
}

fn of_path(path: &LogPath) -> Option<&'static str> {
    let none = path.0.is_empty() || path.0.contains(&0);
    none.then_some("a path that the kernel does not have: empty, or with a NUL")
}

/// What open(2) was asked for: one way to access, then flags in their order, none twice.
fn of_flags(fl: &str) -> Option<&'static str> {
    let mut words = fl.split('|');
    let access = matches!(words.next(), Some("R" | "W" | "RW"));
    let mut known = OPEN_FLAGS.iter();
    let flags = words.all(|word| known.any(|flag| *flag == word));
    (!(access && flags)).then_some("flags that open(2) does not have, or in another order")
}

fn of_cut(cut: Option<u64>, max: u64) -> Option<&'static str> {
    cut.is_some_and(|cut| cut == 0 || cut > max).then_some("more cut short than it has")
}

/// Only a name that is cut short has a hash of the whole.
fn of_hashes(cut: Option<u64>, hashed: [bool; 2]) -> Option<&'static str> {
    let hashes = hashed.into_iter().filter(|hashed| *hashed).count() as u64;
    (hashes > cut.unwrap_or(0)).then_some("the hash of a name that is not cut short")
}

/// A record stands for one event, or says for how many more than one.
fn of_times(times: Option<u64>) -> Option<&'static str> {
    matches!(times, Some(0 | 1)).then_some("a count that says nothing")
}

/// What a use says is what its operation has, no more and no less: a path that nothing has changed must not look like one.
fn of_use(used: &ToolUse) -> Option<&'static str> {
    let ToolUse { path, path_h, to, to_h, errno, ino, was, r, w, below, times, .. } = used;
    let paths = [path, to].into_iter().flatten().find_map(of_path);
    let unnamed = path.is_none() && path_h.is_some() || to.is_none() && to_h.is_some();
    let done = r.is_some() || w.is_some() || ino.is_some() || was.is_some();
    paths
        .or_else(|| unnamed.then_some(HASH_OF_NOTHING))
        .or_else(|| (*errno == Some(0)).then_some("an error that is none"))
        .or_else(|| (errno.is_some() && done).then_some("what came of a use that was refused"))
        .or_else(|| of_times(*times))
        .or_else(|| below.map_or_else(|| of_one(used), |below| of_many(used, below)))
        .or_else(|| used.fl.as_deref().and_then(of_flags))
        .or_else(|| idle_open(used).then_some("an open that changes nothing: that is a read"))
}

/// The members of one use, or of the same use several times.
fn of_one(used: &ToolUse) -> Option<&'static str> {
    let ToolUse { op, path, to, host, port, fl, value, ino, was, r, w, .. } = used;
    let named = matches!(op.of(), ToolUseOf::Reading | ToolUseOf::Writing | ToolUseOf::Change);
    let other = matches!(op, ToolOp::Rename | ToolOp::Link | ToolOp::Symlink);
    let valued = matches!(op, ToolOp::Chmod | ToolOp::Truncate);
    let asked = matches!(op, ToolOp::Request | ToolOp::Connect | ToolOp::Moved);
    let hosted = asked || *op == ToolOp::Lookup;
    let opened = *op == ToolOp::Open;
    let writes = matches!(op, ToolOp::Write | ToolOp::Moved);
    let reads = writes || matches!(op, ToolOp::Read | ToolOp::Random | ToolOp::Stdin);
    let has = [
        (path.is_some(), named),
        (to.is_some(), other),
        (value.is_some(), valued),
        (host.is_some(), hosted),
        (port.is_some(), asked),
        (fl.is_some(), opened),
    ];
    let may = [(ino.is_some(), opened), (was.is_some(), opened), (w.is_some(), writes), (r.is_some(), reads)];
    // What was refused need not have been a name, nor an address.
    let refused = used.errno.is_some();
    let wrong = has.iter().any(|(has, must)| *has && !must || *must && !has && !refused)
        || may.iter().any(|(has, may)| *has && !may);
    wrong.then_some("a use with other members than its operation has")
}

/// The members of a record that stands for uses of several names.
fn of_many(used: &ToolUse, below: u64) -> Option<&'static str> {
    let ToolUse { op, path, to, host, port, fl, value, errno, ino, was, r, w, times, .. } = used;
    let changes = match op.of() {
        ToolUseOf::Reading | ToolUseOf::Writing => false,
        ToolUseOf::Change => errno.is_none(),
        ToolUseOf::Net | ToolUseOf::Aside | ToolUseOf::Other => true,
    };
    let more = to.is_some() || host.is_some() || port.is_some() || fl.is_some() || value.is_some();
    let more = more || ino.is_some() || was.is_some() || times.is_some();
    let read = r.is_some() && !matches!(op, ToolOp::Read | ToolOp::Write);
    let written = w.is_some() && *op != ToolOp::Write;
    let wrong = below == 0 || path.is_none() || changes || more || read || written;
    wrong.then_some("a record for several uses with more than what they share")
}

fn idle_open(used: &ToolUse) -> bool {
    let Some(fl) = used.fl.as_deref().filter(|_| used.errno.is_none()) else { return false };
    let writes = fl.split('|').any(|word| matches!(word, "W" | "RW" | "TRUNC"));
    let makes = used.was.is_some() && fl.split('|').any(|word| word == "CREAT");
    !writes && !makes
}
