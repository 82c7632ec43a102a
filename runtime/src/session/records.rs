//! Turns what happened into records of the log: one function for each kind of thing, no judgement.
//! It never writes anything.

use crate::backend::process::Ran;
use crate::error::Result;
use crate::workspace::{Content, GitId, Measures, Node, RelPath};
use stockade_audit::record::{self as log, Digest, LogPath};
use stockade_jail as jail;
use stockade_jail::Plan;
use stockade_jail::recorder::{Events, Grade};
use stockade_policy::Recording;

/// What became of a file between two moments; `None` when nothing did.
pub fn file_outcome(
    path: &RelPath,
    before: Option<&Node>,
    after: Option<&Node>,
    mark: Option<log::Mark>,
) -> Option<log::FsOutcome> {
    let op = match (before, after) {
        (None, None) => return None,
        (None, Some(_)) => log::Change::Created,
        (Some(_), None) => log::Change::Deleted,
        (Some(before), Some(after)) if before.same(after) => return None,
        (Some(before), Some(after)) => {
            let retyped = std::mem::discriminant(&before.content) != std::mem::discriminant(&after.content);
            match (retyped, before.same_content(after)) {
                (true, _) => log::Change::Retyped,
                (false, true) => log::Change::Metadata,
                (false, false) => log::Change::Modified,
            }
        }
    };
    let (b, a) = (before.map(file_state), after.map(file_state));
    Some(log::FsOutcome {
        path_h: None,
        path: LogPath(path.as_bytes().to_vec()),
        op,
        b,
        a,
        lines: None,
        ino: None,
        mark,
    })
}

/// The same, with what was measured of it.
pub fn measured(mut outcome: log::FsOutcome, measures: Measures) -> log::FsOutcome {
    let id = |git: GitId| log::GitId(git.0);
    for (state, git) in [(&mut outcome.b, measures.before), (&mut outcome.a, measures.after)] {
        if let Some(state) = state {
            state.g = git.map(id);
        }
    }
    outcome.lines = measures.lines.map(|(add, del)| log::Lines { add: add.into(), del: del.into() });
    outcome
}

/// A file at one moment.
fn file_state(node: &Node) -> log::FileState {
    let (ty, z, h, to) = match &node.content {
        Content::File { size, sha256 } => (log::FileType::File, Some(*size), sha256.map(|d| Digest(d.0)), None),
        Content::Directory => (log::FileType::Dir, None, None, None),
        // No link is empty: it is one that is gone, and was not read before.
        Content::Symlink { target } => {
            (log::FileType::Symlink, None, None, (!target.is_empty()).then(|| LogPath(target.clone())))
        }
        Content::Fifo => (log::FileType::Fifo, None, None, None),
        Content::Socket => (log::FileType::Socket, None, None, None),
        Content::Device => (log::FileType::Device, None, None, None),
    };
    log::FileState { to_h: None, ty, mode: node.mode, z, h, g: None, to }
}

/// The layers of enforcement, in the order in which they were set up.
pub fn layers(enforced: &jail::Enforced) -> Vec<log::Layer> {
    use jail::enforced::State;
    enforced
        .layers
        .iter()
        .map(|layer| {
            let (state, why) = match &layer.state {
                State::Active => (log::LayerState::Active, layer.detail.clone().unwrap_or_default()),
                State::Degraded(why) => (log::LayerState::Degraded, why.clone()),
                State::Absent(why) => (log::LayerState::Absent, why.clone()),
            };
            log::Layer { name: layer.layer.to_string(), state, why }
        })
        .collect()
}

/// What watches the processes, and why no better.
pub fn recorder(enforced: &jail::Enforced, recording: Recording, events: Option<&Events>) -> log::Recorder {
    use jail::enforced::State;
    let (grade, word) = match events.map_or(Grade::OutcomeOnly, Events::grade) {
        Grade::OutcomeOnly => (log::RecorderGrade::OutcomeOnly, Grade::OutcomeOnly),
        Grade::Trace => (log::RecorderGrade::Trace, Grade::Trace),
        Grade::Notify => (log::RecorderGrade::Notify, Grade::Notify),
        Grade::NotifyAndOpen => (log::RecorderGrade::NotifyAddfd, Grade::NotifyAndOpen),
    };
    let scope = match recording {
        Recording::Off => log::RecorderScope::Off,
        Recording::Changes => log::RecorderScope::Changes,
        Recording::AllOpens => log::RecorderScope::AllOpens,
    };
    let layer = enforced.layers.iter().find(|layer| layer.layer == jail::enforced::Layer::Recorder);
    let why = match layer.map(|layer| &layer.state) {
        _ if recording == Recording::Off => "the profile has record = \"off\"".to_owned(),
        Some(State::Degraded(why) | State::Absent(why)) => {
            why.strip_prefix(&format!("{word}: ")).unwrap_or(why).to_owned()
        }
        Some(State::Active) => String::new(),
        None => "the sandbox has none".to_owned(),
    };
    log::Recorder { grade, scope, why }
}

/// How a process ended.
pub fn cause(status: jail::Status) -> (log::Cause, i32) {
    match status {
        jail::Status::Exited(code) => (log::Cause::Exit, i32::from(code)),
        jail::Status::Signalled(signal) => (log::Cause::Signal, signal),
    }
}

/// A limit that was hit, in the unit that its name says.
pub fn limit(hit: &jail::watch::LimitHit) -> log::Limit {
    use jail::watch::LimitKind;
    const MIB: u64 = 1024 * 1024;
    let (which, unit) = match hit.limit {
        LimitKind::Memory => ("memory_mib", MIB),
        LimitKind::Pids => ("pids", 1),
        LimitKind::Cpu => ("cpu_s", 1000),
        LimitKind::Wall => ("wall_s", 1000),
        LimitKind::Output => ("output_mib", MIB),
        LimitKind::Disk => ("disk_mib", MIB),
        LimitKind::OpenFiles => ("open_files", 1),
    };
    log::Limit { which: which.to_owned(), max: hit.value / unit, seen: hit.observed.div_ceil(unit) }
}

/// A process that ended.
pub fn process(exit: &jail::ProcessExit) -> log::ProcExit {
    let (cause, status) = cause(exit.status);
    log::ProcExit {
        p: exit.process.0,
        pp: None,
        pid: exit.pid,
        exe: None,
        cause,
        status,
        failed: None,
        cpu_us: Some(exit.cpu_us),
        rss_kib: Some(exit.max_rss_kib),
    }
}

/// How a call went.
pub fn outcome(ran: &Ran, main: Option<u64>, [out, err]: [Option<log::Stream>; 2]) -> log::Outcome {
    match ran {
        Ran::Ended(run) => {
            let (cause, status) = cause(run.main.status);
            let (cause, status) = match (run.ended_by, run.cancelled) {
                (Some(_), _) => (log::Cause::Limit, status),
                (None, true) => (log::Cause::Stop, 0),
                (None, false) => (cause, status),
            };
            let (wall_us, cpu_us) = (run.usage.wall_us, run.usage.cpu_us);
            log::Outcome { cause, status, wall_us, cpu_us, p: main, t: None, out, err }
        }
        Ran::NotStarted { errno, .. } => {
            log::Outcome { cause: log::Cause::Error, status: *errno, wall_us: 0, cpu_us: 0, p: None, t: None, out, err }
        }
    }
}

/// The digest of the filter of system calls that is in force: the one that a plan installs, or, where the machine refused
/// the recorder, the one without it. Where it traces, the one that guests have.
///
/// # Errors
/// Bug: the list does not compile.
pub fn filter_digest(plan: &Plan, enforced: &jail::Enforced, grade: log::RecorderGrade) -> Result<Option<Digest>> {
    let sockets = plan
        .call
        .iter()
        .find_map(|step| if let jail::plan::CallStep::Seccomp { sockets } = step { Some(*sockets) } else { None });
    let Some(sockets) = sockets else { return Ok(None) };
    let compile = match grade {
        log::RecorderGrade::Trace => jail::seccomp::compile_traced,
        log::RecorderGrade::OutcomeOnly | log::RecorderGrade::Notify | log::RecorderGrade::NotifyAddfd => {
            jail::seccomp::compile
        }
    };
    let filter = match enforced.is_on_gvisor() {
        true => jail::seccomp::compile_for_gvisor(sockets),
        false => compile(sockets, enforced.record(plan)),
    };
    let filter = filter.map_err(|e| crate::backend::process::failed(&e))?;
    Ok(Some(Digest(stockade_audit::merkle::sha256(filter.bytes()))))
}
