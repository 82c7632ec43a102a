//! Finding and killing the processes of a call by walking `/proc`, where no namespace does it in one call.
//! It never kills the init's ancestors or anything that does not descend from the init.

use crate::sys;
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal};
use std::collections::{HashMap, HashSet};

/// Kills every process of the pid namespace but the caller, its first: kill(2) with -1. The kernel walks its list
/// under the lock that fork needs, so nothing is born past it.
pub(crate) fn kill_namespace() {
    match sys::kill(-1, libc::SIGKILL) {
        // ESRCH: there was nothing to kill.
        Ok(()) | Err(_) => {}
    }
}

/// Kills every process that descends from the caller.
pub(crate) fn kill_descendants() {
    let processes = processes();
    kill_all(&descendants(&processes, |process| process.parent == own_pid()));
}

/// Kills the processes of a session and whatever descends from them; how many were found.
pub(crate) fn kill_session(session: i32) -> usize {
    let processes = processes();
    let found = descendants(&processes, |process| process.session == session);
    kill_all(&found);
    found.len()
}

/// Every process that descends from the caller, and its parent.
pub(crate) fn below_this_process() -> Vec<(i32, i32)> {
    let processes = processes();
    descendants(&processes, |process| process.parent == own_pid())
        .iter()
        .map(|process| (process.pid, process.parent))
        .collect()
}

/// The session of a child that has ended and was not reaped yet: its id is still its own.
pub(crate) fn session_of(pid: i32) -> Option<i32> {
    process(pid).map(|process| process.session)
}

/// The parent of a process.
pub(crate) fn parent_of(pid: i32) -> Option<i32> {
    process(pid).map(|process| process.parent)
}

/// What `/proc/PID/stat` says of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Process {
    pid: i32,
    parent: i32,
    session: i32,
    zombie: bool,
    /// Clock ticks since boot: with the id, the name of one process for all time.
    began: u64,
}

fn own_pid() -> i32 {
    rustix::process::getpid().as_raw_nonzero().get()
}

fn processes() -> Vec<Process> {
    let Ok(directory) = std::fs::read_dir("/proc") else { return Vec::new() };
    directory.filter_map(|entry| process(entry.ok()?.file_name().to_str()?.parse().ok()?)).collect()
}

fn process(pid: i32) -> Option<Process> {
    parse(pid, &std::fs::read(format!("/proc/{pid}/stat")).ok()?)
}

/// The name, in parentheses, may hold anything: the fields are counted from the last one (proc_pid_stat(5)).
fn parse(pid: i32, stat: &[u8]) -> Option<Process> {
    let after_name = stat.iter().rposition(|byte| *byte == b')')?.checked_add(1)?;
    let text = std::str::from_utf8(stat.get(after_name..)?).ok()?;
    let mut fields = text.split_ascii_whitespace();
    let zombie = matches!(fields.next()?, "Z" | "X");
    let parent = fields.next()?.parse().ok()?;
    let session = fields.nth(1)?.parse().ok()?;
    // Field 22 of all, the sixteenth after the session.
    let began = fields.nth(15)?.parse().ok()?;
    Some(Process { pid, parent, session, zombie, began })
}

/// The processes that `root` picks and everything below them, zombies and ourselves apart.
fn descendants(processes: &[Process], root: impl Fn(&Process) -> bool) -> Vec<Process> {
    let mut children: HashMap<i32, Vec<&Process>> = HashMap::new();
    for process in processes {
        children.entry(process.parent).or_default().push(process);
    }
    let mut found = HashSet::new();
    let mut pending: Vec<_> = processes.iter().filter(|process| process.pid != own_pid() && root(process)).collect();
    let mut living = Vec::new();
    while let Some(process) = pending.pop() {
        if found.insert(process.pid) {
            pending.extend(children.get(&process.pid).into_iter().flatten());
            if !process.zombie {
                living.push(*process);
            }
        }
    }
    living
}

fn kill_all(processes: &[Process]) {
    for found in processes {
        match kill_one(found) {
            // Gone already, or not the process that it was.
            Some(()) | None => {}
        }
    }
}

/// Kills a process that was found a moment ago, if it still is that one: its id may have been given away meanwhile.
fn kill_one(found: &Process) -> Option<()> {
    let pid = Pid::from_raw(found.pid)?;
    let handle = match rustix::process::pidfd_open(pid, PidfdFlags::empty()) {
        Ok(handle) => handle,
        // gVisor has no handles, and gives numbers out one after the other: none comes again within this moment. Whoever had
        // it would be a guest's process all the same, since the caller is the first process of a pid namespace of its own.
        Err(Errno::NOSYS) if own_pid() == 1 => {
            process(found.pid).filter(|now| now.began == found.began)?;
            return rustix::process::kill_process(pid, Signal::KILL).ok();
        }
        Err(_) => return None,
    };
    process(found.pid).filter(|now| now.began == found.began)?;
    rustix::process::pidfd_send_signal(handle, Signal::KILL).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_cannot_forge_its_fields() {
        let stat = b"7 (a) S 1 1 1 (b) R 3 4 5 0 -1 6 7 8 9 10 11 12 13 14 15 16 17 18 99 20";
        assert_eq!(parse(7, stat), Some(Process { pid: 7, parent: 3, session: 5, zombie: false, began: 99 }));
        assert_eq!(parse(7, b"7 (a"), None);
        assert_eq!(parse(7, b"7 (\xff) Z 1 2 3"), None);
    }

    #[test]
    fn descendants_are_found_through_zombies() {
        let process = |pid, parent, session, zombie| Process { pid, parent, session, zombie, began: 0 };
        let all = [
            process(-2, -1, -2, false),
            process(-3, -2, -2, true),
            process(-4, -3, -4, false),
            process(-5, -1, -5, false),
        ];
        let found = descendants(&all, |process| process.session == -2);
        let mut found: Vec<_> = found.iter().map(|process| process.pid).collect();
        found.sort_unstable();
        assert_eq!(found, [-4, -2]);
    }
}
