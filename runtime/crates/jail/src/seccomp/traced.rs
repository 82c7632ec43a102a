//! The same list for a recorder that traces (ptrace(2)): the kernel stops a process where it would ask a listener.
//! It never allows more than the list does: without a tracer the kernel refuses what it would stop at (`ENOSYS`).
//!
//! There are two programs. The init cannot be traced by a thread of its own, so its program allows what the list allows,
//! told of or not. Refused calls that are told of stop under it all the same: an error of an older program goes before a
//! stop of a younger one, and a guest has both.

use super::arguments::{bits, case};
use super::table::{self, Answer, Entry, Verdict};
use super::{Filter, RETURN, bytes, of_entries};
use crate::error::JailError;
use crate::plan::{Record, Sockets};

/// `CLONE_UNTRACED`: a process that no tracer of its maker follows.
const CLONE_UNTRACED: u32 = 0x0080_0000;
/// Told of for the sake of a recorder that opens files on behalf of others, or has to find out who was born and what it
/// executes. A tracer is told that by the kernel.
const NOT_STOPPED_AT: [&str; 8] =
    ["set_tid_address", "set_robust_list", "arch_prctl", "clone", "unshare", "umask", "flock", "fcntl"];

/// Both programs.
#[derive(Debug)]
pub(crate) struct Lists {
    /// For the init, and by it for each guest.
    pub(crate) of_the_init: Filter,
    /// For each guest besides.
    pub(crate) of_guests: Filter,
}

/// Compiles both.
///
/// # Errors
/// A bug of ours, as of [`super::compile`].
pub(crate) fn lists(sockets: Sockets, record: Record) -> Result<Lists, JailError> {
    let of_the_init = stopping(&map(sockets, record, |_, told| match told {
        Answer::Allow => Verdict::Allow,
        Answer::Errno(_) => Verdict::Notify(told),
    }))?;
    Ok(Lists { of_the_init, of_guests: of_guests(sockets, record)? })
}

/// Compiles the one that each guest takes on before its program: what the log names.
///
/// # Errors
/// A bug of ours, as of [`super::compile`].
pub fn of_guests(sockets: Sockets, record: Record) -> Result<Filter, JailError> {
    stopping(&map(sockets, record, |entry, told| match told {
        Answer::Allow if NOT_STOPPED_AT.contains(&entry.name) => Verdict::Allow,
        Answer::Allow | Answer::Errno(_) => Verdict::Notify(told),
    }))
}

impl Filter {
    /// One of each allowed call of which the list tells: with arguments that are numbers without a meaning.
    pub(crate) fn examples(&self) -> Vec<(u32, [u64; 6])> {
        // Each argument 0, or with every bit set.
        let meaningless = (0..64_u8).rev().map(|all| std::array::from_fn(|at| u64::MAX * u64::from(all >> at & 1)));
        let example = |entry: &Entry| {
            let told = |arguments: &[u64; 6]| self.answer(entry.number, arguments) == Some(Answer::Allow);
            meaningless.clone().find(told).map(|arguments| (entry.number, arguments))
        };
        self.telling.iter().filter_map(example).collect()
    }
}

/// The table, with other verdicts in the place of those that tell.
fn map(sockets: Sockets, record: Record, verdict: impl Fn(&Entry, Answer) -> Verdict) -> Vec<Entry> {
    let mut entries = table::entries(sockets, record);
    for entry in &mut entries {
        let before = entry.clone();
        for now in entry.cases.iter_mut().map(|case| &mut case.verdict).chain([&mut entry.otherwise]) {
            if let Verdict::Notify(told) = *now {
                *now = verdict(&before, told);
            }
        }
        if entry.name == "clone" {
            let refused = Verdict::Notify(Answer::Errno(libc::EPERM));
            entry.cases.insert(0, case(vec![bits(0, CLONE_UNTRACED)], refused));
        }
    }
    entries
}

/// Compiles a table: the same program, with a stop in the place of a notification.
fn stopping(entries: &[Entry]) -> Result<Filter, JailError> {
    let mut filter = of_entries(entries)?;
    for instruction in &mut filter.program {
        if instruction.code == RETURN && instruction.k == libc::SECCOMP_RET_USER_NOTIF {
            instruction.k = libc::SECCOMP_RET_TRACE;
        }
    }
    filter.bytes = bytes(&filter.program);
    Ok(filter)
}

#[cfg(test)]
mod tests {
    use super::super::ARCHITECTURE;
    use super::super::interpreter::{Data, run};
    use super::super::tests::{LISTS, interesting};
    use super::*;

    const ALLOW: u32 = 0x7fff_0000;
    const STOP: u32 = 0x7ff0_0000;
    const ERRNO: u32 = 0x0005_0000;

    /// What the kernel does with two programs: the lower action counts, of equal ones the younger program's.
    fn both(lists: &Lists, data: &Data) -> u32 {
        let (init, guest) = (run(lists.of_the_init.bytes(), data).value, run(lists.of_guests.bytes(), data).value);
        let action = |value: u32| (value & 0xffff_0000).cast_signed();
        if action(init) < action(guest) { init } else { guest }
    }

    #[test]
    fn a_tracer_allows_and_refuses_what_the_list_does() {
        for (sockets, record) in LISTS.into_iter().filter(|(_, record)| *record != Record::Off) {
            let (list, lists) = (super::super::compile(sockets, record).unwrap(), lists(sockets, record).unwrap());
            let entries = table::entries(sockets, record);
            for number in (0..1200).chain([0x3fff_ffff, 0x4000_0000, u32::MAX]) {
                let entry = entries.iter().find(|entry| entry.number == number);
                for arguments in interesting(entry).into_iter().chain([[u64::from(CLONE_UNTRACED) | 17; 6]]) {
                    let data = Data { number, architecture: ARCHITECTURE, arguments };
                    let answered = |answer| match answer {
                        Some(Answer::Allow) => ALLOW,
                        Some(Answer::Errno(errno)) => ERRNO | errno.cast_unsigned(),
                        None => STOP,
                    };
                    let plain = match run(list.bytes(), &data).value {
                        libc::SECCOMP_RET_USER_NOTIF => answered(list.answer(number, &arguments)),
                        value => value,
                    };
                    let traced = match both(&lists, &data) {
                        STOP => answered(lists.of_guests.answer(number, &arguments)),
                        value => value,
                    };
                    let untraced = i64::from(number) == libc::SYS_clone
                        && arguments[0] & u64::from(CLONE_UNTRACED) != 0
                        && traced == ERRNO | libc::EPERM.cast_unsigned();
                    assert!(traced == plain || untraced, "{record:?} {data:x?}: {plain:#x}, {traced:#x}");
                }
            }
        }
    }

    #[test]
    fn the_init_is_stopped_at_nothing_that_it_may() {
        for (sockets, record) in LISTS.into_iter().filter(|(_, record)| *record != Record::Off) {
            let lists = lists(sockets, record).unwrap();
            for entry in &lists.of_the_init.telling {
                let verdicts = entry.cases.iter().map(|case| case.verdict).chain([entry.otherwise]);
                assert!(
                    verdicts.into_iter().all(|verdict| verdict != Verdict::Notify(Answer::Allow)),
                    "{}",
                    entry.name
                );
            }
        }
    }

    #[test]
    fn there_is_an_example_of_each_call() {
        for (sockets, record) in LISTS.into_iter().filter(|(_, record)| *record != Record::Off) {
            let list = of_guests(sockets, record).unwrap();
            let examples = list.examples();
            for entry in &list.telling {
                let mut verdicts = entry.cases.iter().map(|case| case.verdict).chain([entry.otherwise]);
                let told = verdicts.any(|verdict| verdict == Verdict::Notify(Answer::Allow));
                assert_eq!(told, examples.iter().any(|(number, _)| *number == entry.number), "{}", entry.name);
            }
        }
    }

    #[test]
    fn nobody_is_made_whom_the_tracer_does_not_see() {
        let lists = lists(Sockets::Loopback, Record::Changes).unwrap();
        let number = u32::try_from(libc::SYS_clone).unwrap();
        let clone = |flags| Data { number, architecture: ARCHITECTURE, arguments: [flags, 0, 0, 0, 0, 0] };
        assert_eq!(both(&lists, &clone(u64::from(CLONE_UNTRACED) | 17)), STOP);
        let answer = lists.of_guests.answer(number, &[u64::from(CLONE_UNTRACED) | 17, 0, 0, 0, 0, 0]);
        assert_eq!(answer, Some(Answer::Errno(libc::EPERM)));
        assert_eq!(both(&lists, &clone(17)), ALLOW, "a fork stops by itself");
    }
}
