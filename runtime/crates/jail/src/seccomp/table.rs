//! The table: every system call that is allowed, refused or looked at, with the reason; everything else does not exist.
//! It never depends on the machine: the same wall has the same table, and so the same digest, everywhere.
//!
//! How to read it: a call has one entry. Its cases are tried in order and the first whose conditions all hold gives the
//! verdict; otherwise its last verdict counts. A call without an entry answers `ENOSYS`, as on a kernel that lacks
//! it, so that libraries fall back instead of giving up. A condition looks at the low 32 bits of a register, which is
//! what the kernel itself looks at for each argument named here, so bits above them cannot evade it (CVE-2017-5226).
//! What the recorder is told of is in `recorded.rs`, and laid over this table.

use super::{arguments, recorded};
use crate::plan::{Record, Sockets};

/// What the kernel does with a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// The kernel does the call.
    Allow,
    /// The call returns this error and nothing happens.
    Errno(i32),
    /// The process dies: no program that means well gets here.
    Kill,
    /// The recorder is told, and gives this answer, which it cannot choose.
    Notify(Answer),
}

/// What becomes of a call that the recorder was told of: what would become of it without a recorder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Answer {
    /// The kernel does the call.
    Allow,
    /// The call returns this error and nothing happens.
    Errno(i32),
}

/// Which 32 bits of a register.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Half {
    /// The low ones.
    Low,
    /// The high ones: only for "is this pointer null".
    High,
}

/// A condition on 32 bits of an argument.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Condition {
    /// Which argument, 0 to 5.
    pub(crate) argument: u8,
    /// Which half of it.
    pub(crate) half: Half,
    /// Bits that count.
    pub(crate) mask: u32,
    /// What they must be.
    pub(crate) value: u32,
}

/// A verdict and when it is given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Case {
    /// All must hold.
    pub(crate) when: Vec<Condition>,
    /// Then this.
    pub(crate) verdict: Verdict,
}

/// What becomes of one system call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    /// Name, as in the manual.
    pub(crate) name: &'static str,
    /// Number on this architecture.
    pub(crate) number: u32,
    /// Tried in order.
    pub(crate) cases: Vec<Case>,
    /// When no case applies.
    pub(crate) otherwise: Verdict,
    /// Why.
    pub(crate) why: &'static str,
}

/// A call by name and number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Call {
    pub(crate) name: &'static str,
    pub(crate) number: i64,
}

/// Calls by their names.
macro_rules! calls {
    ($($name:ident)*) => { &[$(Call { name: stringify!($name), number: libc::$name }),*] };
}

/// Numbers that the C library's list lacks; from 424 on they are the same on every architecture.
const YOUNG_FILES: &[Call] = &[CACHESTAT, SETXATTRAT, GETXATTRAT, LISTXATTRAT, REMOVEXATTRAT];
const YOUNG_FUTEX: &[Call] = &[
    Call { name: "SYS_futex_wake", number: 454 },
    Call { name: "SYS_futex_wait", number: 455 },
    Call { name: "SYS_futex_requeue", number: 456 },
];
#[cfg(target_arch = "x86_64")]
const IO_PGETEVENTS: &[Call] = &[Call { name: "SYS_io_pgetevents", number: 333 }];
#[cfg(not(target_arch = "x86_64"))]
const IO_PGETEVENTS: &[Call] = &[Call { name: "SYS_io_pgetevents", number: 292 }];
const CACHESTAT: Call = Call { name: "SYS_cachestat", number: 451 };
const SETXATTRAT: Call = Call { name: "SYS_setxattrat", number: 463 };
const GETXATTRAT: Call = Call { name: "SYS_getxattrat", number: 464 };
const LISTXATTRAT: Call = Call { name: "SYS_listxattrat", number: 465 };
const REMOVEXATTRAT: Call = Call { name: "SYS_removexattrat", number: 466 };
const OPEN_TREE_ATTR: Call = Call { name: "SYS_open_tree_attr", number: 467 };

/// Calls with one answer whatever their arguments are.
struct Group {
    verdict: Verdict,
    why: &'static str,
    calls: &'static [Call],
}

const fn allow(why: &'static str, calls: &'static [Call]) -> Group {
    Group { verdict: Verdict::Allow, why, calls }
}

const fn refuse(why: &'static str, calls: &'static [Call]) -> Group {
    Group { verdict: Verdict::Errno(libc::EPERM), why, calls }
}

const fn missing(why: &'static str, calls: &'static [Call]) -> Group {
    Group { verdict: Verdict::Errno(libc::ENOSYS), why, calls }
}

/// Allowed: what Docker's and Podman's default lists and systemd's `@system-service` agree on, less what needs a
/// capability, reaches another process's memory, or is looked at by argument (`arguments.rs`).
const ALLOWED: &[Group] = &[
    allow(
        "files by descriptor: the right to them was decided when they were opened",
        calls![
            SYS_read SYS_write SYS_readv SYS_writev SYS_pread64 SYS_pwrite64 SYS_preadv SYS_pwritev SYS_preadv2 SYS_pwritev2
            SYS_close SYS_close_range SYS_lseek SYS_dup SYS_dup3 SYS_pipe2 SYS_sendfile SYS_splice SYS_tee SYS_vmsplice
            SYS_copy_file_range SYS_fsync SYS_fdatasync SYS_sync SYS_syncfs SYS_sync_file_range SYS_fadvise64 SYS_readahead
            SYS_fallocate SYS_ftruncate SYS_flock SYS_getdents64 SYS_fstat SYS_fstatfs SYS_fchmod SYS_fchown SYS_fchdir
            SYS_fgetxattr SYS_fsetxattr SYS_flistxattr SYS_fremovexattr
        ],
    ),
    // Set-id bits may be set with chmod: they have no effect inside (`nosuid`, `no_new_privs`), and with an open call's
    // mode, or openat2's structure, the same file could be made anyway. Carrying them outside is up to `apply`.
    allow(
        "files by path: mounts and Landlock decide",
        calls![
            SYS_openat SYS_openat2 SYS_newfstatat SYS_statx SYS_statfs SYS_faccessat SYS_faccessat2 SYS_readlinkat SYS_getcwd
            SYS_chdir SYS_mkdirat SYS_unlinkat SYS_renameat SYS_linkat SYS_symlinkat SYS_truncate SYS_fchmodat SYS_fchmodat2
            SYS_fchownat SYS_utimensat SYS_umask SYS_getxattr SYS_lgetxattr SYS_setxattr SYS_lsetxattr SYS_listxattr
            SYS_llistxattr SYS_removexattr SYS_lremovexattr SYS_inotify_init1 SYS_inotify_add_watch SYS_inotify_rm_watch
        ],
    ),
    allow("newer spellings of what stands above", YOUNG_FILES),
    allow("waiting for asynchronous reads, with a signal mask", IO_PGETEVENTS),
    allow("newer spellings of futex", YOUNG_FUTEX),
    allow(
        "waiting and timers",
        calls![
            SYS_pselect6 SYS_ppoll SYS_epoll_create1 SYS_epoll_ctl SYS_epoll_pwait SYS_epoll_pwait2 SYS_eventfd2 SYS_signalfd4
            SYS_timerfd_create SYS_timerfd_settime SYS_timerfd_gettime SYS_timer_create SYS_timer_settime SYS_timer_gettime
            SYS_timer_getoverrun SYS_timer_delete SYS_getitimer SYS_setitimer SYS_nanosleep SYS_clock_nanosleep
            SYS_clock_gettime SYS_clock_getres SYS_gettimeofday SYS_io_setup SYS_io_destroy SYS_io_submit SYS_io_cancel
            SYS_io_getevents
        ],
    ),
    allow(
        "memory of the caller",
        calls![
            SYS_mmap SYS_munmap SYS_mprotect SYS_mremap SYS_madvise SYS_brk SYS_msync SYS_mincore SYS_mlock SYS_mlock2
            SYS_munlock SYS_mlockall SYS_munlockall SYS_membarrier SYS_mseal SYS_pkey_alloc SYS_pkey_free SYS_pkey_mprotect
        ],
    ),
    // A memfd can be executed, as any interpreter can run any text: `exec` grants say which files start, not which code.
    allow("anonymous files: JITs and test runners need them", calls![SYS_memfd_create]),
    allow(
        "processes: starting, ending, waiting",
        calls![
            SYS_execve SYS_execveat SYS_exit SYS_exit_group SYS_wait4 SYS_waitid SYS_getpid SYS_getppid SYS_gettid
            SYS_set_tid_address SYS_getpgid SYS_setpgid SYS_getsid SYS_setsid SYS_getrusage SYS_times SYS_rseq SYS_set_robust_list
            SYS_get_robust_list SYS_futex SYS_futex_waitv SYS_getcpu
            SYS_sched_yield SYS_sched_getaffinity SYS_sched_getattr SYS_sched_getparam SYS_sched_getscheduler
            SYS_sched_get_priority_max SYS_sched_get_priority_min SYS_sched_rr_get_interval SYS_getpriority SYS_ioprio_get
            SYS_getrlimit SYS_setrlimit SYS_pidfd_open SYS_restart_syscall
        ],
    ),
    allow(
        "signals: the pid namespace, or Landlock's scope, bounds whom they reach",
        calls![
            SYS_kill SYS_tkill SYS_tgkill SYS_pidfd_send_signal SYS_rt_sigaction SYS_rt_sigprocmask SYS_rt_sigreturn
            SYS_rt_sigpending SYS_rt_sigsuspend SYS_rt_sigtimedwait SYS_rt_sigqueueinfo SYS_rt_tgsigqueueinfo SYS_sigaltstack
        ],
    ),
    // There is one id in the user namespace and no capability: these can only drop or repeat what is.
    allow(
        "ids and capabilities: reading, and dropping",
        calls![
            SYS_getuid SYS_geteuid SYS_getgid SYS_getegid SYS_getresuid SYS_getresgid SYS_getgroups SYS_setuid SYS_setgid
            SYS_setreuid SYS_setregid SYS_setresuid SYS_setresgid SYS_setgroups SYS_setfsuid SYS_setfsgid SYS_capget SYS_capset
        ],
    ),
    allow("the machine, as far as it may be known", calls![SYS_uname SYS_sysinfo SYS_getrandom]),
    allow(
        "a guest may confine itself further",
        calls![
            SYS_landlock_create_ruleset SYS_landlock_add_rule SYS_landlock_restrict_self
        ],
    ),
    allow(
        "sockets that exist: which may be made is looked at by argument",
        calls![
            SYS_getsockname SYS_getpeername SYS_getsockopt SYS_shutdown SYS_recvfrom SYS_recvmsg SYS_recvmmsg
        ],
    ),
];

/// Older spellings of allowed calls, which only this architecture has.
#[cfg(target_arch = "x86_64")]
const ALLOWED_LEGACY: &[Group] = &[
    allow(
        "older spellings of calls that are allowed above",
        calls![
            SYS_open SYS_creat SYS_stat SYS_lstat SYS_access SYS_readlink SYS_mkdir SYS_rmdir SYS_unlink SYS_rename SYS_link
            SYS_symlink SYS_chmod SYS_chown SYS_lchown SYS_utime SYS_utimes SYS_futimesat SYS_getdents SYS_dup2 SYS_pipe
            SYS_poll SYS_select SYS_epoll_create SYS_epoll_wait SYS_eventfd SYS_signalfd SYS_inotify_init SYS_pause SYS_alarm
            SYS_time SYS_fork SYS_vfork SYS_getpgrp
        ],
    ),
    allow(
        "thread-local storage and shadow stacks of the caller",
        &[
            Call { name: "SYS_arch_prctl", number: libc::SYS_arch_prctl },
            Call { name: "SYS_map_shadow_stack", number: 453 },
        ],
    ),
];
#[cfg(not(target_arch = "x86_64"))]
const ALLOWED_LEGACY: &[Group] = &[];

/// Refused aloud: a program that tries one of these is told that it may not, rather than that it does not exist.
const REFUSED: &[Group] = &[
    refuse(
        "mounts: the view of files is fixed",
        calls![
            SYS_mount SYS_umount2 SYS_pivot_root SYS_chroot SYS_open_tree SYS_move_mount SYS_fsopen SYS_fsconfig SYS_fsmount
            SYS_fspick SYS_mount_setattr
        ],
    ),
    refuse("mounts: the view of files is fixed", &[OPEN_TREE_ATTR]),
    refuse("namespaces of others", calls![SYS_setns]),
    // Who traces a process of another call speaks with its terminal and its descriptors. (The init can be traced by
    // nobody inside, and is bound by this list itself.)
    refuse(
        "memory and descriptors of other processes",
        calls![
            SYS_ptrace SYS_process_vm_readv SYS_process_vm_writev SYS_pidfd_getfd SYS_kcmp SYS_process_madvise SYS_move_pages
            SYS_migrate_pages
        ],
    ),
    refuse(
        "files by handle go round mounts and directories (the \"shocker\" escape)",
        calls![
            SYS_open_by_handle_at SYS_name_to_handle_at SYS_fanotify_init SYS_fanotify_mark
        ],
    ),
    refuse("keys of the host's sessions; upcalls (CVE-2026-46243)", calls![SYS_keyctl SYS_add_key SYS_request_key]),
    refuse("programs in the kernel, and its counters", calls![SYS_bpf SYS_perf_event_open]),
    refuse("page faults handled by a program: the tool that makes kernel races win", calls![SYS_userfaultfd]),
    refuse("memory policy: no need, and a history of bugs", calls![SYS_mbind SYS_set_mempolicy SYS_get_mempolicy]),
    refuse(
        "the kernel itself",
        calls![
            SYS_kexec_load SYS_init_module SYS_finit_module SYS_delete_module SYS_reboot SYS_syslog SYS_swapon SYS_swapoff
            SYS_acct SYS_quotactl SYS_quotactl_fd SYS_vhangup
        ],
    ),
    // What adjtimex would change stands behind a pointer, so its harmless use, reading, goes too.
    refuse("the clock, for everybody", calls![SYS_settimeofday SYS_clock_settime SYS_adjtimex SYS_clock_adjtime]),
    refuse("the machine's name", calls![SYS_sethostname SYS_setdomainname]),
];

/// Refused aloud, on this architecture.
#[cfg(target_arch = "x86_64")]
const REFUSED_LEGACY: &[Group] = &[
    refuse("ports of the machine", calls![SYS_iopl SYS_ioperm]),
    refuse("segments: 16-bit code, and a history of bugs", calls![SYS_modify_ldt]),
    refuse("the kernel itself", calls![SYS_kexec_file_load SYS_uselib SYS_nfsservctl SYS_lookup_dcookie]),
];
#[cfg(not(target_arch = "x86_64"))]
const REFUSED_LEGACY: &[Group] = &[];

/// Named although everything else is missing too, because an auditor looks for them.
const MISSING: &[Group] = &[
    missing(
        "operations that no list of calls sees, with credentials of whoever made the ring",
        calls![
            SYS_io_uring_setup SYS_io_uring_enter SYS_io_uring_register
        ],
    ),
    missing("its flags stand behind a pointer; every C library falls back to clone", calls![SYS_clone3]),
    missing("memory that the supervisor cannot see", calls![SYS_memfd_secret]),
];

/// System V and POSIX objects: in an ipc namespace they are the guest's own, without one they are the host's.
const IPC: &[Call] = calls![
    SYS_shmget SYS_shmat SYS_shmdt SYS_shmctl SYS_semget SYS_semop SYS_semtimedop SYS_semctl SYS_msgget SYS_msgsnd SYS_msgrcv
    SYS_msgctl SYS_mq_open SYS_mq_unlink SYS_mq_timedsend SYS_mq_timedreceive SYS_mq_notify SYS_mq_getsetattr
];

/// Names and addresses of sockets: in a net namespace they are the guest's own.
const SOCKET_NAMES: &[Call] = calls![SYS_bind SYS_connect SYS_listen SYS_accept SYS_accept4];

/// The whole table, ordered by number.
pub(crate) fn entries(sockets: Sockets, record: Record) -> Vec<Entry> {
    let own = match sockets {
        Sockets::Loopback | Sockets::Internet => [
            allow("System V and POSIX objects of the guest's own ipc namespace", IPC),
            allow("addresses of the guest's own net namespace", SOCKET_NAMES),
        ],
        Sockets::PairsOnly => [
            refuse("without an ipc namespace these objects are the host's", IPC),
            refuse("without a net namespace these addresses are the host's; pairs are born connected", SOCKET_NAMES),
        ],
    };
    let mut entries: Vec<Entry> = [ALLOWED, ALLOWED_LEGACY, REFUSED, REFUSED_LEGACY, MISSING, &own]
        .into_iter()
        .flatten()
        .flat_map(|group| group.calls.iter().map(|call| constant(*call, group.verdict, group.why)))
        .chain(arguments::entries(sockets))
        .collect();
    entries.sort_by_key(|entry| entry.number);
    recorded::lay_over(entries, record)
}

/// An entry without cases.
fn constant(call: Call, verdict: Verdict, why: &'static str) -> Entry {
    Entry { name: name(call), number: number(call), cases: Vec::new(), otherwise: verdict, why }
}

/// The name without the C library's prefix.
pub(super) fn name(call: Call) -> &'static str {
    call.name.strip_prefix("SYS_").unwrap_or(call.name)
}

/// The number as a filter sees it.
pub(super) fn number(call: Call) -> u32 {
    u32::try_from(call.number).expect("the kernel's numbers are small and not negative")
}

pub(super) use calls;
