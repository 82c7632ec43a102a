//! The lists of workers, number by number, and against what an auditor expects of them.

use super::super::interpreter::{Data, run};
use super::super::tests::{expected_or, interesting};
use super::super::{ARCHITECTURE, X32_BIT};
use super::*;

const KINDS: [Kind; 3] = [Kind::Compile, Kind::Read, Kind::Write];
const KILL: u32 = libc::SECCOMP_RET_KILL_PROCESS;

#[test]
fn the_program_says_what_the_table_says_and_ends_whatever_is_not_there() {
    for kind in KINDS {
        let entries = entries(kind);
        let filter = compile(kind, Kernel::Host).unwrap();
        for number in (0..1200).chain([0x3fff_ffff]) {
            let entry = entries.iter().find(|entry| entry.number == number);
            for arguments in interesting(entry) {
                let data = Data { number, architecture: ARCHITECTURE, arguments };
                let said = run(filter.bytes(), &data).value;
                assert_eq!(said, expected_or(&entries, &data, KILL), "{kind} {data:x?}");
                assert!(entry.is_some() || said == KILL, "{kind} {data:x?}");
            }
            for (number, architecture) in [(number, 0x4000_0003), (number | X32_BIT, ARCHITECTURE)] {
                assert_eq!(run(filter.bytes(), &Data { number, architecture, arguments: [0; 6] }).value, KILL);
            }
        }
    }
}

#[test]
fn every_entry_has_a_reason_and_one_entry() {
    for kind in KINDS {
        let entries = entries(kind);
        assert!(entries.iter().all(|entry| !entry.why.is_empty()));
        assert!(entries.windows(2).all(|pair| pair[0].number < pair[1].number), "a call stands in the table twice");
    }
}

#[test]
fn each_kind_has_what_the_lesser_has() {
    let allowed = |kind| -> Vec<&str> {
        entries(kind).iter().filter(|entry| entry.otherwise == Verdict::Allow).map(|entry| entry.name).collect()
    };
    let [compile, read, write] = KINDS.map(allowed);
    assert!(compile.iter().all(|name| read.contains(name)) && read.iter().all(|name| write.contains(name)));
    assert!(compile.len() < read.len() && read.len() < write.len());
    assert!(!compile.contains(&"openat") && read.contains(&"openat2") && !read.contains(&"fchmod"));
}

/// What no list has.
const FORBIDDEN: [&str; 73] = [
    "clone",
    "clone3",
    "fork",
    "vfork",
    "execve",
    "execveat",
    "socket",
    "socketpair",
    "connect",
    "bind",
    "listen",
    "accept",
    "accept4",
    "sendmmsg",
    "setsockopt",
    "kill",
    "tkill",
    "tgkill",
    "rt_sigqueueinfo",
    "rt_tgsigqueueinfo",
    "pidfd_open",
    "pidfd_send_signal",
    "pidfd_getfd",
    "ptrace",
    "process_vm_readv",
    "process_vm_writev",
    "process_madvise",
    "kcmp",
    "mount",
    "umount2",
    "pivot_root",
    "chroot",
    "chdir",
    "fchdir",
    "setns",
    "unshare",
    "open_tree",
    "move_mount",
    "fsopen",
    "fsmount",
    "mount_setattr",
    "io_uring_setup",
    "io_uring_enter",
    "bpf",
    "perf_event_open",
    "userfaultfd",
    "open_by_handle_at",
    "name_to_handle_at",
    "keyctl",
    "add_key",
    "request_key",
    "seccomp",
    "setuid",
    "setresuid",
    "capset",
    "mknodat",
    "mknod",
    "setrlimit",
    "personality",
    "memfd_secret",
    "pkey_mprotect",
    "remap_file_pages",
    "shmat",
    "mq_open",
    "alarm",
    "setitimer",
    "timer_create",
    "init_module",
    "finit_module",
    "kexec_load",
    "reboot",
    "modify_ldt",
    "arch_prctl",
];

#[test]
fn nothing_that_makes_or_reaches_somebody_else_is_on_a_list() {
    for kind in KINDS {
        for entry in entries(kind) {
            assert!(!FORBIDDEN.contains(&entry.name), "{kind}: {}", entry.name);
        }
    }
}

#[test]
fn memory_is_never_writable_and_executable_and_a_compilers_never_executable() {
    for kind in KINDS {
        let filter = compile(kind, Kernel::Host).unwrap();
        for number in [libc::SYS_mmap, libc::SYS_mprotect].map(|number| u32::try_from(number).unwrap()) {
            for (protection, ends) in
                [(7, true), (6, true), (5, kind == Kind::Compile), (4, kind == Kind::Compile), (3, false)]
            {
                let data = Data { number, architecture: ARCHITECTURE, arguments: [0, 4096, protection, 0, 0, 0] };
                assert_eq!(run(filter.bytes(), &data).value == KILL, ends, "{kind} {protection}");
            }
        }
    }
}

/// Landlock keeps a reader from pipes and terminals; where there is none, its list does. What ends a worker elsewhere sends a
/// signal there, which it cannot get a handler for.
#[test]
fn on_gvisor_a_reader_opens_nothing_to_write_and_an_end_is_a_signal() {
    const TRAP: u32 = libc::SECCOMP_RET_TRAP;
    // `O_ACCMODE`, `O_CREAT`, `O_TRUNC`.
    const CHANGES: u64 = 0o1103;
    let refusal = |errno: i32| libc::SECCOMP_RET_ERRNO | errno.unsigned_abs();
    let openings = ["open", "openat", "openat2"];
    for kind in KINDS {
        let (here, there) = (compile(kind, Kernel::Gvisor).unwrap(), compile(kind, Kernel::Host).unwrap());
        let said = |filter: &Filter, number, architecture, arguments| {
            run(filter.bytes(), &Data { number, architecture, arguments }).value
        };
        let entries = entries(kind);
        for number in 0..1200 {
            let entry = entries.iter().find(|entry| entry.number == number);
            let name = entry.map_or("", |entry| entry.name);
            for arguments in interesting(entry) {
                let found = said(&here, number, ARCHITECTURE, arguments);
                let elsewhere = said(&there, number, ARCHITECTURE, arguments);
                let flags = arguments[if name == "open" { 1 } else { 2 }];
                let wanted = match (name, kind) {
                    ("rt_sigaction", _) if arguments[0] & 0xffff_ffff == 31 => refusal(libc::EINVAL),
                    ("openat2", Kind::Read) => refusal(libc::ENOSYS),
                    (_, Kind::Read) if openings.contains(&name) && flags & CHANGES != 0 => refusal(libc::EROFS),
                    (_, _) if elsewhere == KILL => TRAP,
                    (_, _) => elsewhere,
                };
                assert_eq!(found, wanted, "{kind} {name} {number} {arguments:x?}");
            }
            assert_eq!(said(&here, number, 0x4000_0003, [0; 6]), TRAP);
        }
        let number = |name| entries.iter().find(|entry| entry.name == name).unwrap().number;
        for signal in 1..=64 {
            let found = said(&here, number("rt_sigaction"), ARCHITECTURE, [signal, 1, 0, 8, 0, 0]);
            assert_eq!(found == libc::SECCOMP_RET_ALLOW, signal != 31, "{signal}");
        }
        if kind == Kind::Read {
            for flags in (0..0o2000_u64).map(|flags| flags | u64::from(libc::O_CLOEXEC.cast_unsigned())) {
                let found = said(&here, number("openat"), ARCHITECTURE, [0, 1, flags, 0, 0, 0]);
                assert_eq!(found == libc::SECCOMP_RET_ALLOW, flags & CHANGES == 0, "{flags}");
            }
        }
    }
}
