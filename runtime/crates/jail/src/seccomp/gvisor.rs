//! The list for guests on gVisor's kernel: that of every guest without a recorder, and no signal to the first process.
//! It never allows what the list of other guests refuses.
//!
//! Linux keeps signals of a pid namespace's own processes from its first one (pid_namespaces(7)), gVisor does not: a guest
//! could stop the init, which serves its calls, or end it and with it the session.

use super::table::{self, Entry, Verdict};
use super::{Filter, arguments, of_entries};
use crate::error::JailError;
use crate::plan::{Record, Sockets};

/// Calls whose first argument is whom they signal, or whom they open for that. Groups and "everybody", which are numbers
/// below 1, pass the first process over: it is in no group of theirs, and not among everybody.
const SIGNALS: [&str; 6] = ["kill", "tkill", "tgkill", "rt_sigqueueinfo", "rt_tgsigqueueinfo", "pidfd_open"];
/// The number of the init inside.
const FIRST_PROCESS: u32 = 1;

/// Compiles it.
///
/// # Errors
/// As of [`super::compile`].
pub fn compile(sockets: Sockets) -> Result<Filter, JailError> {
    of_entries(&entries(sockets))
}

fn entries(sockets: Sockets) -> Vec<Entry> {
    let mut entries = table::entries(sockets, Record::Off);
    for entry in entries.iter_mut().filter(|entry| SIGNALS.contains(&entry.name)) {
        entry.cases.insert(0, arguments::case(vec![arguments::is(0, FIRST_PROCESS)], Verdict::Errno(libc::EPERM)));
    }
    entries
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seccomp::interpreter::{Data, run};
    use crate::seccomp::tests::expected_or;

    #[test]
    fn the_first_process_is_not_signalled_and_everybody_else_is() {
        for sockets in [Sockets::PairsOnly, Sockets::Loopback, Sockets::Internet] {
            let (filter, entries) = (compile(sockets).expect("it compiles"), entries(sockets));
            for name in SIGNALS {
                let number = entries.iter().find(|entry| entry.name == name).expect("it is on the list").number;
                for (whom, allowed) in [(1, false), ((7 << 32) | 1, false), (2, true), (u64::MAX, true), (0, true)] {
                    let data =
                        Data { number, architecture: crate::seccomp::ARCHITECTURE, arguments: [whom, 9, 9, 0, 0, 0] };
                    let found = run(filter.bytes(), &data).value;
                    assert_eq!(found == libc::SECCOMP_RET_ALLOW, allowed, "{name} of {whom}");
                    let unknown = libc::SECCOMP_RET_ERRNO | libc::ENOSYS.unsigned_abs();
                    assert_eq!(found, expected_or(&entries, &data, unknown), "{name} of {whom}");
                }
            }
        }
    }

    #[test]
    fn nothing_else_differs_from_the_list_of_other_guests() {
        let common = table::entries(Sockets::Loopback, Record::Off);
        let here = entries(Sockets::Loopback);
        assert_eq!(common.len(), here.len());
        for (there, mut here) in common.into_iter().zip(here) {
            if SIGNALS.contains(&here.name) {
                here.cases.remove(0);
            }
            assert_eq!(there, here);
        }
    }
}
