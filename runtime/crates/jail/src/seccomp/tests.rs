//! The compiled program against the table, number by number, and the table against what an auditor expects.

use super::interpreter::{Data, run};
use super::*;

/// Every list that can be compiled.
pub(super) const LISTS: [(Sockets, Record); 9] = [
    (Sockets::Loopback, Record::Off),
    (Sockets::Loopback, Record::Changes),
    (Sockets::Loopback, Record::AllOpens),
    (Sockets::Internet, Record::Off),
    (Sockets::Internet, Record::Changes),
    (Sockets::Internet, Record::AllOpens),
    (Sockets::PairsOnly, Record::Off),
    (Sockets::PairsOnly, Record::Changes),
    (Sockets::PairsOnly, Record::AllOpens),
];

const ALLOW: u32 = 0x7fff_0000;
const KILL: u32 = 0x8000_0000;
const NOTIFY: u32 = 0x7fc0_0000;
const I386: u32 = 0x4000_0003;

const fn errno(number: i32) -> u32 {
    0x0005_0000 | number.cast_unsigned()
}

fn call(number: i64, arguments: [u64; 6]) -> Data {
    Data { number: u32::try_from(number).unwrap(), architecture: ARCHITECTURE, arguments }
}

/// What the table says, without the program.
fn expected(entries: &[Entry], data: &Data) -> u32 {
    expected_or(entries, data, errno(libc::ENOSYS))
}

/// The same of a table that has another answer to what is not in it.
pub(super) fn expected_or(entries: &[Entry], data: &Data, unknown: u32) -> u32 {
    let value = |verdict| match verdict {
        Verdict::Allow => ALLOW,
        Verdict::Errno(number) => errno(number),
        Verdict::Kill => KILL,
        Verdict::Notify(_) => NOTIFY,
    };
    let Some(entry) = entries.iter().find(|entry| entry.number == data.number) else { return unknown };
    let holds = |condition: &Condition| {
        let register = data.arguments[usize::from(condition.argument)];
        let half = match condition.half {
            Half::Low => register & 0xffff_ffff,
            Half::High => register >> 32,
        };
        u32::try_from(half).unwrap() & condition.mask == condition.value
    };
    let case = entry.cases.iter().find(|case| case.when.iter().all(holds));
    value(case.map_or(entry.otherwise, |case| case.verdict))
}

/// Argument values that matter for an entry: what its conditions name, each bit of them, and values beside them.
pub(super) fn interesting(entry: Option<&Entry>) -> Vec<[u64; 6]> {
    let mut all = vec![[0; 6], [u64::MAX; 6], [1; 6]];
    let cases = entry.map_or(&[][..], |entry| entry.cases.as_slice());
    for case in cases {
        let mut exact = [0_u64; 6];
        for condition in &case.when {
            exact[usize::from(condition.argument)] |= match condition.half {
                Half::Low => u64::from(condition.value),
                Half::High => u64::from(condition.value) << 32,
            };
        }
        all.push(exact);
        for condition in &case.when {
            let at = usize::from(condition.argument);
            for change in [1_u64, 1 << 11, 1 << 19, 1 << 31, 1 << 32, 0xdead_beef_0000_0000] {
                let mut near = exact;
                near[at] ^= change;
                all.push(near);
            }
        }
    }
    all
}

#[test]
fn the_program_says_what_the_table_says() {
    for (sockets, record) in LISTS {
        let entries = table::entries(sockets, record);
        let filter = compile(sockets, record).unwrap();
        for number in (0..1200).chain([0x3fff_ffff]) {
            let entry = entries.iter().find(|entry| entry.number == number);
            for arguments in interesting(entry) {
                let data = Data { number, architecture: ARCHITECTURE, arguments };
                assert_eq!(
                    run(filter.bytes(), &data).value,
                    expected(&entries, &data),
                    "{sockets:?} {record:?} {data:x?}"
                );
            }
        }
    }
}

#[test]
fn other_architectures_and_x32_die() {
    for (sockets, record) in LISTS {
        let filter = compile(sockets, record).unwrap();
        for number in 0..1200 {
            for architecture in [I386, ARCHITECTURE ^ 1, 0, u32::MAX] {
                let data = Data { number, architecture, arguments: [0; 6] };
                assert_eq!(run(filter.bytes(), &data).value, KILL, "{data:x?}");
            }
            for high in [X32_BIT, 0x8000_0000, 0xc000_0000, 0xffff_f000] {
                let data = Data { number: number | high, architecture: ARCHITECTURE, arguments: [0; 6] };
                assert_eq!(run(filter.bytes(), &data).value, KILL, "{data:x?}");
            }
        }
    }
}

#[test]
fn calls_without_cases_are_decided_without_their_arguments() {
    for (sockets, record) in LISTS {
        let filter = compile(sockets, record).unwrap();
        for entry in table::entries(sockets, record) {
            let data = Data { number: entry.number, architecture: ARCHITECTURE, arguments: [0; 6] };
            let run = run(filter.bytes(), &data);
            assert_eq!(run.looked_at_arguments, !entry.cases.is_empty(), "{}", entry.name);
            assert!(!entry.cases.is_empty() || run.steps <= 20, "{} takes {} steps", entry.name, run.steps);
        }
    }
}

#[test]
fn every_entry_has_a_reason_and_one_entry() {
    for (sockets, record) in LISTS {
        let entries = table::entries(sockets, record);
        assert!(entries.iter().all(|entry| !entry.why.is_empty()));
        assert!(entries.windows(2).all(|pair| pair[0].number < pair[1].number), "a call stands in the table twice");
    }
}

#[test]
fn digest_is_stable_and_of_the_bytes() {
    let filter = compile(Sockets::Loopback, Record::Off).unwrap();
    assert_eq!(filter, compile(Sockets::Loopback, Record::Off).unwrap());
    assert_ne!(filter.sha256_hex(), compile(Sockets::PairsOnly, Record::Off).unwrap().sha256_hex());
    assert_ne!(filter.sha256_hex(), compile(Sockets::Loopback, Record::Changes).unwrap().sha256_hex());
    assert_eq!(filter.sha256_hex().len(), 64);
    assert_eq!(filter.bytes().len() % 8, 0);
}

/// What, with which sockets, call, arguments, answer.
type Known<'a> = (&'a str, Sockets, i64, [u64; 6], u32);

const L: Sockets = Sockets::Loopback;
const I: Sockets = Sockets::Internet;
const P: Sockets = Sockets::PairsOnly;

/// What an auditor expects, written down without looking at the table.
#[track_caller]
fn check_known(cases: &[Known<'_>]) {
    for (what, sockets, number, arguments, answer) in cases {
        let filter = compile(*sockets, Record::Off).unwrap();
        let found = run(filter.bytes(), &call(*number, *arguments)).value;
        assert_eq!(found, *answer, "{what}: {found:#x}");
    }
}

#[test]
fn known_attacks_get_known_answers() {
    use libc::*;
    let eperm = errno(EPERM);
    let enosys = errno(ENOSYS);
    check_known(&[
        ("mount", L, SYS_mount, [0; 6], eperm),
        ("ptrace", L, SYS_ptrace, [0; 6], eperm),
        ("process_vm_writev", L, SYS_process_vm_writev, [0; 6], eperm),
        ("pidfd_getfd", L, SYS_pidfd_getfd, [0; 6], eperm),
        ("bpf", L, SYS_bpf, [0; 6], eperm),
        ("userfaultfd", L, SYS_userfaultfd, [0; 6], eperm),
        ("perf", L, SYS_perf_event_open, [0; 6], eperm),
        ("keyctl", L, SYS_keyctl, [0; 6], eperm),
        ("add_key", L, SYS_add_key, [0; 6], eperm),
        ("request_key", L, SYS_request_key, [0; 6], eperm),
        ("shocker", L, SYS_open_by_handle_at, [0; 6], eperm),
        ("setns", L, SYS_setns, [0; 6], eperm),
        ("io_uring", L, SYS_io_uring_setup, [0; 6], enosys),
        ("clone3", L, SYS_clone3, [0; 6], enosys),
        ("a call from the future", L, 900, [0; 6], enosys),
        ("clone of a thread", L, SYS_clone, [0x003d_0f00, 0, 0, 0, 0, 0], ALLOW),
        ("fork through clone", L, SYS_clone, [0x0120_0011, 0, 0, 0, 0, 0], ALLOW),
        ("clone into a user namespace", L, SYS_clone, [0x1000_0011, 0, 0, 0, 0, 0], eperm),
        ("unshare user", L, SYS_unshare, [0x1000_0000, 0, 0, 0, 0, 0], eperm),
        ("unshare time", L, SYS_unshare, [0x80, 0, 0, 0, 0, 0], eperm),
        ("unshare files", L, SYS_unshare, [0x400, 0, 0, 0, 0, 0], ALLOW),
    ]);
}

#[test]
fn known_attacks_by_sockets_get_known_answers() {
    use libc::*;
    let high = 0xdead_beef_0000_0000_u64;
    check_known(&[
        ("tcp", L, SYS_socket, [2, 0x80801, 0, 0, 0, 0], ALLOW),
        ("tcp by number", L, SYS_socket, [10, 1, 6, 0, 0, 0], ALLOW),
        ("udp", L, SYS_socket, [2, 2, 17, 0, 0, 0], ALLOW),
        ("mptcp", L, SYS_socket, [2, 1, 262, 0, 0, 0], errno(EPROTONOSUPPORT)),
        ("sctp", L, SYS_socket, [2, 1, 132, 0, 0, 0], errno(EPROTONOSUPPORT)),
        ("dccp", L, SYS_socket, [2, 6, 33, 0, 0, 0], errno(EPROTONOSUPPORT)),
        ("udp-lite", L, SYS_socket, [2, 2, 136, 0, 0, 0], errno(EPROTONOSUPPORT)),
        ("icmp", L, SYS_socket, [2, 2, 1, 0, 0, 0], errno(EPROTONOSUPPORT)),
        ("raw", L, SYS_socket, [2, 3, 255, 0, 0, 0], errno(EPROTONOSUPPORT)),
        ("raw, high bits", L, SYS_socket, [high | 2, high | 3, 255, 0, 0, 0], errno(EPROTONOSUPPORT)),
        ("packet", L, SYS_socket, [17, 3, 0, 0, 0, 0], errno(EAFNOSUPPORT)),
        ("alg", L, SYS_socket, [38, 5, 0, 0, 0, 0], errno(EAFNOSUPPORT)),
        ("alg, high bits", L, SYS_socket, [high | 38, 5, 0, 0, 0, 0], errno(EAFNOSUPPORT)),
        ("vsock", L, SYS_socket, [40, 1, 0, 0, 0, 0], errno(EAFNOSUPPORT)),
        ("route netlink", L, SYS_socket, [16, 0x80003, 0, 0, 0, 0], ALLOW),
        ("xfrm netlink", L, SYS_socket, [16, 3, 6, 0, 0, 0], errno(EAFNOSUPPORT)),
        ("netfilter netlink", L, SYS_socket, [16, 3, 12, 0, 0, 0], errno(EAFNOSUPPORT)),
        ("unix", L, SYS_socket, [1, 1, 0, 0, 0, 0], ALLOW),
    ]);
}

#[test]
fn known_attacks_on_weaker_walls_get_known_answers() {
    use libc::*;
    let eperm = errno(EPERM);
    let high = 0xdead_beef_0000_0000_u64;
    check_known(&[
        ("unix beside the host's sockets", I, SYS_socket, [1, 1, 0, 0, 0, 0], errno(EAFNOSUPPORT)),
        ("unix datagrams beside the host's sockets", I, SYS_socketpair, [1, 2, 0, 0, 0, 0], errno(EAFNOSUPPORT)),
        ("seqpacket pair beside the host's sockets", I, SYS_socketpair, [1, 5, 0, 0, 0, 0], ALLOW),
        ("stream pair beside the host's sockets", I, SYS_socketpair, [1, 1, 0, 0, 0, 0], ALLOW),
        ("tcp beside the host's sockets", I, SYS_socket, [2, 1, 0, 0, 0, 0], ALLOW),
        ("connect beside the host's sockets", I, SYS_connect, [0; 6], ALLOW),
        ("unix without namespaces", P, SYS_socket, [1, 1, 0, 0, 0, 0], errno(EAFNOSUPPORT)),
        ("tcp without namespaces", P, SYS_socket, [2, 1, 0, 0, 0, 0], errno(EAFNOSUPPORT)),
        ("netlink without namespaces", P, SYS_socket, [16, 3, 0, 0, 0, 0], errno(EAFNOSUPPORT)),
        ("stream pair", P, SYS_socketpair, [1, 0x80801, 0, 0, 0, 0], ALLOW),
        ("datagram pair", P, SYS_socketpair, [1, 2, 0, 0, 0, 0], errno(EAFNOSUPPORT)),
        ("seqpacket pair", P, SYS_socketpair, [1, 5, 0, 0, 0, 0], errno(EAFNOSUPPORT)),
        ("connect without namespaces", P, SYS_connect, [0; 6], eperm),
        ("shmat without namespaces", P, SYS_shmat, [0; 6], eperm),
        ("shmat in namespaces", L, SYS_shmat, [0; 6], ALLOW),
        ("limits of another process", P, SYS_prlimit64, [77, 0, 0, 0, 0, 0], eperm),
        ("limits of oneself", P, SYS_prlimit64, [0; 6], ALLOW),
        ("fast open", L, SYS_sendto, [3, 0, 0, 0x2000_0000, 0, 0], errno(EOPNOTSUPP)),
        ("fast open among flags", L, SYS_sendmsg, [3, 0, 0x2000_4040, 0, 0, 0], errno(EOPNOTSUPP)),
        ("fast open of many", L, SYS_sendmmsg, [3, 0, 0, 0x2000_0000, 0, 0], errno(EOPNOTSUPP)),
        ("plain send", L, SYS_sendto, [3, 0, 0, 0x4000, 0, 0], ALLOW),
        ("fast open by option", L, SYS_setsockopt, [3, 6, 30, 0, 0, 0], errno(ENOPROTOOPT)),
        ("no delay", L, SYS_setsockopt, [3, 6, 1, 0, 0, 0], ALLOW),
        ("socket filter", L, SYS_setsockopt, [3, 1, 26, 0, 0, 0], errno(ENOPROTOOPT)),
        ("TIOCSTI", L, SYS_ioctl, [0, 0x5412, 0, 0, 0, 0], eperm),
        ("TIOCSTI, high bits", L, SYS_ioctl, [0, high | 0x5412, 0, 0, 0, 0], eperm),
        ("TIOCLINUX", L, SYS_ioctl, [0, 0x541c, 0, 0, 0, 0], eperm),
        ("TIOCGWINSZ", L, SYS_ioctl, [0, 0x5413, 0, 0, 0, 0], ALLOW),
        ("btrfs snapshot", L, SYS_ioctl, [0, 0x5000_9401, 0, 0, 0, 0], eperm),
        ("reflink", L, SYS_ioctl, [0, 0x4004_9409, 0, 0, 0, 0], ALLOW),
        ("keyboard map", L, SYS_ioctl, [0, 0x4b47, 0, 0, 0, 0], eperm),
        ("zero range", L, SYS_ioctl, [0, 0x4030_5839, 0, 0, 0, 0], eperm),
        ("signal owner", L, SYS_fcntl, [0, 8, 0, 0, 0, 0], eperm),
        ("close-on-exec", L, SYS_fcntl, [0, 2, 1, 0, 0, 0], ALLOW),
        ("set mm", L, SYS_prctl, [35, 0, 0, 0, 0, 0], eperm),
        ("name of a thread", L, SYS_prctl, [15, 0, 0, 0, 0, 0], ALLOW),
        ("unknown prctl", L, SYS_prctl, [9999, 0, 0, 0, 0, 0], errno(EINVAL)),
        ("personality of linux", L, SYS_personality, [0; 6], ALLOW),
        ("which personality", L, SYS_personality, [0xffff_ffff, 0, 0, 0, 0, 0], ALLOW),
        ("PER_LINUX32", L, SYS_personality, [8, 0, 0, 0, 0, 0], eperm),
        ("READ_IMPLIES_EXEC", L, SYS_personality, [0x0040_0000, 0, 0, 0, 0, 0], eperm),
        ("whiteout by rename", L, SYS_renameat2, [0, 0, 0, 0, 4, 0], eperm),
        ("exchange", L, SYS_renameat2, [0, 0, 0, 0, 2, 0], ALLOW),
        ("whiteout by mknod", L, SYS_mknodat, [0, 0, 0o020_644, 0, 0, 0], eperm),
        ("block device", L, SYS_mknodat, [0, 0, 0o060_644, 0, 0, 0], eperm),
        ("named pipe", L, SYS_mknodat, [0, 0, 0o010_644, 0, 0, 0], ALLOW),
        ("listener", L, SYS_seccomp, [1, 8, 0, 0, 0, 0], eperm),
        ("own filter", L, SYS_seccomp, [1, 0, 0, 0, 0, 0], ALLOW),
    ]);
}

/// What the recorder decides of, against the same list without a recorder: it is told of calls, and changes none.
#[test]
fn a_recorder_allows_and_refuses_nothing_by_itself() {
    for (sockets, record) in LISTS.into_iter().filter(|(_, record)| *record != Record::Off) {
        let (plain, recorded) = (compile(sockets, Record::Off).unwrap(), compile(sockets, record).unwrap());
        let entries = table::entries(sockets, record);
        for number in (0..1200).chain([0x3fff_ffff]) {
            let entry = entries.iter().find(|entry| entry.number == number);
            for arguments in interesting(entry) {
                let data = Data { number, architecture: ARCHITECTURE, arguments };
                let (without, with) = (run(plain.bytes(), &data).value, run(recorded.bytes(), &data).value);
                let answered = match recorded.answer(number, &arguments) {
                    Some(Answer::Allow) => ALLOW,
                    Some(Answer::Errno(number)) => errno(number),
                    None => NOTIFY,
                };
                let fallback = i64::from(number) == libc::SYS_openat2 && with == errno(libc::ENOSYS);
                let told = with == NOTIFY && without == answered;
                assert!(with == without || told || fallback, "{record:?} {data:x?}: {without:#x}, {with:#x}");
            }
        }
    }
}

#[test]
fn each_call_that_is_told_of_has_a_name_and_is_told_of_by_a_recorder_alone() {
    for (sockets, record) in LISTS {
        let telling = recorded::telling(&table::entries(sockets, record));
        assert_eq!(telling.is_empty(), record == Record::Off);
        for entry in telling {
            assert_eq!(name(entry.number), Some(entry.name));
            assert_eq!(recorded::number_of(entry.name), Some(entry.number));
        }
    }
}

/// What is told of, written down without looking at the table.
#[test]
fn known_calls_are_told_of_and_known_calls_are_not() {
    use libc::*;
    let high = 0xdead_beef_0000_0000_u64;
    let told = [
        ("open to write", SYS_openat, [0, 0, 0o1, 0, 0, 0]),
        ("open to read and write", SYS_openat, [0, 0, high | 0o2, 0, 0, 0]),
        ("open and create", SYS_openat, [0, 0, 0o100, 0, 0, 0]),
        ("open and truncate", SYS_openat, [0, 0, 0o1000, 0, 0, 0]),
        ("open without a name", SYS_openat, [0, 0, 0o20_200_000, 0, 0, 0]),
        ("exec", SYS_execve, [0; 6]),
        ("exec by descriptor", SYS_execveat, [0; 6]),
        ("a clone into a user namespace", SYS_clone, [0x1000_0011, 0, 0, 0, 0, 0]),
        ("a process that shares its umask", SYS_clone, [0x0120_0211, 0, 0, 0, 0, 0]),
        ("a thread with a umask of its own", SYS_unshare, [0x200, 0, 0, 0, 0, 0]),
        ("the beginning of a child of glibc", SYS_set_robust_list, [0; 6]),
        ("the beginning of a child of musl", SYS_set_tid_address, [0; 6]),
        ("the beginning of a program", SYS_arch_prctl, [0x1002, 0, 0, 0, 0, 0]),
        ("rename", SYS_renameat2, [0; 6]),
        ("connect", SYS_connect, [0; 6]),
        ("send to an address", SYS_sendto, [3, 0, 0, 0, 1, 16]),
        ("send to an address above 4 GiB", SYS_sendto, [3, 0, 0, 0, 0x1_0000_0000, 16]),
        ("trace", SYS_ptrace, [0; 6]),
        ("mount", SYS_mount, [0; 6]),
        ("unshare user", SYS_unshare, [0x1000_0000, 0, 0, 0, 0, 0]),
        ("a listener", SYS_seccomp, [1, 8, 0, 0, 0, 0]),
    ];
    let filter = compile(L, Record::Changes).unwrap();
    for (what, number, arguments) in told {
        assert_eq!(run(filter.bytes(), &call(number, arguments)).value, NOTIFY, "{what}");
    }
    let untold = [
        ("open to read", SYS_openat, [0, 0, 0o2_400_000, 0, 0, 0]),
        ("open a path", SYS_openat, [0, 0, 0o10_000_000, 0, 0, 0]),
        ("fork", SYS_clone, [0x0120_0011, 0, 0, 0, 0, 0]),
        ("vfork", SYS_clone, [0x4111, 0, 0, 0, 0, 0]),
        ("exit", SYS_exit_group, [0; 6]),
        ("shadow stacks", SYS_arch_prctl, [0x5005, 0, 0, 0, 0, 0]),
        ("a thread", SYS_clone, [0x003d_0f00, 0, 0, 0, 0, 0]),
        ("send on a connection", SYS_sendto, [3, 0, 0, 0x4000, 0, 0]),
        ("kill", SYS_kill, [1, 9, 0, 0, 0, 0]),
        ("preempt a thread", SYS_tgkill, [1, 1, 23, 0, 0, 0]),
        ("unshare files", SYS_unshare, [0x400, 0, 0, 0, 0, 0]),
        ("read", SYS_read, [0; 6]),
        ("stat", SYS_newfstatat, [0; 6]),
    ];
    for (what, number, arguments) in untold {
        assert_eq!(run(filter.bytes(), &call(number, arguments)).value, ALLOW, "{what}");
    }
    let all = compile(L, Record::AllOpens).unwrap();
    assert_eq!(run(all.bytes(), &call(SYS_openat, [0; 6])).value, NOTIFY, "any open");
    assert_eq!(run(filter.bytes(), &call(SYS_openat2, [0; 6])).value, errno(ENOSYS), "openat2");
}
