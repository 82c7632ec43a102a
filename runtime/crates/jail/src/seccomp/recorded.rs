//! Of which calls the recorder is told: those that change something, start something or leave the process, and attempts
//! at what is refused.
//! It never changes what is allowed: it lays [`Verdict::Notify`] over what the table says, which stays the answer.
//!
//! Neither fork(2), exit_group(2) nor kill(2) is here. A call that waits to be told of is ended by a signal for which its
//! process has a handler without `SA_RESTART`, and then returns `EINTR`: shells take that for "cannot fork", _exit(3) has
//! nothing left to do but to crash, and who kills its children one after the other hears of the first while it kills the
//! second. What begins a process and a program is told of instead by the first calls of every C library in it, at a time
//! when it has no handler, or nothing to lose; what ended it, by its handle.
//!
//! Reads are not here: they never leave the kernel. Neither are `write`, `mmap` and other calls by descriptor that the
//! right to change a file comes before, nor sendmsg(2), whose address stands behind a pointer and which event loops make
//! by the thousand: an address reaches nothing in a sandbox but its outlet, which has an account of its own.

use super::arguments::{bits, case, is, masked};
use super::table::{Answer, Call, Case, Condition, Entry, Half, Verdict, calls, name as name_of, number};
use crate::plan::Record;

/// Flags of open(2) without which nothing is changed: `O_WRONLY`, `O_RDWR`, `O_CREAT`, `O_TRUNC`, `__O_TMPFILE`.
pub(crate) const WRITING: u32 = 0o1 | 0o2 | 0o100 | 0o1000 | 0o20_000_000;
/// `CLONE_FS` and `CLONE_THREAD`.
const CLONE_FS: u32 = 0x200;
const CLONE_THREAD: u32 = 0x0001_0000;
/// `LOCK_NB` of flock(2), and `F_OFD_SETLK` and `F_SETLEASE` of fcntl(2).
const LOCK_NB: u32 = 4;
const F_OFD_SETLK: u32 = 37;
const F_SETLEASE: u32 = 1024;
/// `ARCH_SET_FS`: with it each program on x86-64 sets up its thread-local storage, static Go included. Who has a C library
/// makes one of its first calls right afterwards; who has none, as static Go, has its storage where it was linked to, in
/// the lowest 4 GiB, unless it was linked to no place, and then a loader of some C library began it.
const ARCH_SET_FS: u32 = 0x1002;

/// When the recorder is told of an allowed call.
enum When {
    /// Always.
    Always,
    /// When it opens so that something can be changed: the number of the argument with the flags.
    Writing(u8),
    /// When it sets up thread-local storage, at an address that a program without a C library has.
    Storage,
    /// When a process begins to share its umask and directory, or a thread does not (`CLONE_FS`).
    Shares,
    /// When it locks a file without waiting, or for an open description, or leases it.
    Locks,
    /// When there is an address: the number of the argument.
    Address(u8),
}

/// Allowed calls of which the recorder is told.
const TOLD: &[(When, &[Call])] = &[
    (When::Writing(2), calls![SYS_openat]),
    (
        When::Always,
        calls![
            SYS_execve SYS_execveat SYS_umask
            SYS_unlinkat SYS_renameat SYS_renameat2 SYS_linkat SYS_symlinkat SYS_mkdirat SYS_mknodat
            SYS_fchmod SYS_fchmodat SYS_fchmodat2 SYS_fchown SYS_fchownat SYS_utimensat SYS_truncate SYS_ftruncate
            SYS_setxattr SYS_lsetxattr SYS_fsetxattr SYS_removexattr SYS_lremovexattr SYS_fremovexattr
            SYS_connect SYS_bind SYS_listen
            SYS_setuid SYS_setgid SYS_setreuid SYS_setregid SYS_setresuid SYS_setresgid SYS_setgroups SYS_setfsuid
            SYS_setfsgid SYS_capset
        ],
    ),
    (
        When::Always,
        &[
            Call { name: "SYS_setxattrat", number: SETXATTRAT },
            Call { name: "SYS_removexattrat", number: REMOVEXATTRAT },
        ],
    ),
    // Who shares its umask with another process is told of, since the other can then change it.
    (When::Shares, calls![SYS_clone SYS_unshare]),
    // Who has less rights than the session must not have its files opened by somebody who has not.
    (When::Always, calls![SYS_landlock_restrict_self]),
    // A file that was opened on behalf of a guest stays open for a moment longer than the guest has it. What could tell
    // waits for its turn: with open descriptions locks and leases come and go (execve(2), too, stands above).
    (When::Locks, calls![SYS_flock SYS_fcntl]),
    // The first calls in a child of fork: the second one is glibc's, the first one musl's. In a new program, both.
    (When::Always, calls![SYS_set_tid_address SYS_set_robust_list]),
    (When::Address(4), calls![SYS_sendto]),
];
/// Numbers that the C library's list lacks.
pub(crate) const SETXATTRAT: i64 = 463;
pub(crate) const REMOVEXATTRAT: i64 = 466;

/// Older spellings, which only this architecture has.
#[cfg(target_arch = "x86_64")]
const TOLD_LEGACY: &[(When, &[Call])] = &[
    (When::Writing(1), calls![SYS_open]),
    (When::Storage, calls![SYS_arch_prctl]),
    (
        When::Always,
        calls![
            SYS_creat SYS_unlink SYS_rmdir SYS_rename SYS_link SYS_symlink SYS_mkdir SYS_mknod
            SYS_chmod SYS_chown SYS_lchown SYS_utime SYS_utimes SYS_futimesat
        ],
    ),
];
#[cfg(not(target_arch = "x86_64"))]
const TOLD_LEGACY: &[(When, &[Call])] = &[];

/// Refused calls of which the recorder is told, each time that the table refuses them.
const REFUSED: &[Call] = calls![
    SYS_ptrace SYS_process_vm_readv SYS_process_vm_writev SYS_process_madvise SYS_pidfd_getfd SYS_kcmp
    SYS_mount SYS_umount2 SYS_pivot_root SYS_chroot SYS_open_tree SYS_move_mount SYS_fsopen SYS_fsconfig SYS_fsmount
    SYS_fspick SYS_mount_setattr SYS_unshare SYS_setns SYS_open_by_handle_at SYS_bpf SYS_perf_event_open SYS_userfaultfd
    SYS_keyctl SYS_add_key SYS_request_key SYS_kexec_load SYS_init_module SYS_finit_module SYS_delete_module SYS_swapon
    SYS_swapoff SYS_quotactl SYS_quotactl_fd SYS_acct SYS_reboot SYS_seccomp SYS_clone SYS_connect SYS_bind SYS_listen
];
#[cfg(target_arch = "x86_64")]
const REFUSED_LEGACY: &[Call] = calls![SYS_iopl SYS_ioperm SYS_kexec_file_load];
#[cfg(not(target_arch = "x86_64"))]
const REFUSED_LEGACY: &[Call] = &[];

/// The table with the recorder in it.
pub(super) fn lay_over(mut entries: Vec<Entry>, record: Record) -> Vec<Entry> {
    if record == Record::Off {
        return entries;
    }
    for entry in &mut entries {
        let (found, name) = (entry.number, entry.name);
        let is = |call: &Call| number(*call) == found;
        if name == "openat2" {
            // Its flags stand behind a pointer; every C library falls back to openat.
            entry.otherwise = Verdict::Errno(libc::ENOSYS);
            continue;
        }
        if let Some((when, _)) = TOLD.iter().chain(TOLD_LEGACY).find(|(_, calls)| calls.iter().any(is))
            && entry.otherwise == Verdict::Allow
        {
            tell(entry, when, record);
        }
        if REFUSED.iter().chain(REFUSED_LEGACY).any(is) {
            tell_refusals(entry);
        }
    }
    entries
}

/// Tells of what an entry allows at last; its cases come before.
fn tell(entry: &mut Entry, when: &When, record: Record) {
    let (told, untold) = (Verdict::Notify(Answer::Allow), Verdict::Allow);
    let (cases, otherwise): (Vec<Case>, Verdict) = match when {
        When::Always => (Vec::new(), told),
        When::Writing(flags) => match record {
            Record::AllOpens => (Vec::new(), told),
            Record::Changes | Record::Off => (vec![case(vec![masked(*flags, WRITING, 0)], untold)], told),
        },
        When::Shares => (
            [CLONE_FS, CLONE_THREAD].map(|one| case(vec![masked(0, CLONE_FS | CLONE_THREAD, one)], told)).to_vec(),
            untold,
        ),
        When::Locks => match entry.name {
            "flock" => (vec![case(vec![bits(1, LOCK_NB)], told)], untold),
            _ => ([F_OFD_SETLK, F_SETLEASE].map(|command| case(vec![is(1, command)], told)).to_vec(), untold),
        },
        When::Storage => {
            (vec![case(vec![is(0, ARCH_SET_FS), Condition { half: Half::High, ..is(1, 0) }], told)], untold)
        }
        When::Address(address) => {
            let high = Condition { half: Half::High, ..is(*address, 0) };
            (vec![case(vec![is(*address, 0), high], untold)], told)
        }
    };
    entry.cases.extend(cases);
    entry.otherwise = otherwise;
}

/// Tells of each refusal of an entry.
fn tell_refusals(entry: &mut Entry) {
    let verdicts = entry.cases.iter_mut().map(|case| &mut case.verdict).chain([&mut entry.otherwise]);
    for verdict in verdicts {
        if let Verdict::Errno(errno) = *verdict {
            *verdict = Verdict::Notify(Answer::Errno(errno));
        }
    }
}

/// The entries by which the recorder is told of anything.
pub(super) fn telling(entries: &[Entry]) -> Vec<Entry> {
    let tells = |verdict: &Verdict| matches!(verdict, Verdict::Notify(_));
    let of_entry = |entry: &&Entry| tells(&entry.otherwise) || entry.cases.iter().any(|case| tells(&case.verdict));
    entries.iter().filter(of_entry).cloned().collect()
}

/// The verdict of an entry, found out as the program does, from the registers alone. The recorder's answer is so what
/// the kernel would have done, whatever a guest writes behind a pointer meanwhile.
pub(super) fn verdict(entry: &Entry, arguments: &[u64; 6]) -> Verdict {
    let holds = |condition: &Condition| {
        let register = arguments.get(usize::from(condition.argument)).copied().unwrap_or(0);
        let half = match condition.half {
            Half::Low => register & 0xffff_ffff,
            Half::High => register >> 32,
        };
        half & u64::from(condition.mask) == u64::from(condition.value)
    };
    let case = entry.cases.iter().find(|case| case.when.iter().all(holds));
    case.map_or(entry.otherwise, |case| case.verdict)
}

/// The name of a call of which the recorder can be told.
pub(crate) fn name(wanted: u32) -> Option<&'static str> {
    let calls = TOLD.iter().chain(TOLD_LEGACY).flat_map(|(_, calls)| calls.iter());
    calls.chain(REFUSED).chain(REFUSED_LEGACY).find(|call| number(**call) == wanted).map(|call| name_of(*call))
}

/// The number of a call of which the recorder can be told.
pub(crate) fn number_of(wanted: &str) -> Option<u32> {
    let calls = TOLD.iter().chain(TOLD_LEGACY).flat_map(|(_, calls)| calls.iter());
    calls.chain(REFUSED).chain(REFUSED_LEGACY).find(|call| name_of(**call) == wanted).map(|call| number(*call))
}

/// What the recorder's own thread may do, in the same program: no new process or program, no socket, no change of names.
/// It is bound so only in name where somebody takes it over, since it shares the init's memory; but what it is fed with
/// comes from guests, and a call that it never makes is one that nobody makes by its hand.
const RECORDER: &[Call] = calls![
    SYS_ioctl SYS_read SYS_pread64 SYS_write SYS_close SYS_openat SYS_openat2 SYS_readlinkat SYS_statx SYS_fstat
    SYS_newfstatat SYS_fstatfs SYS_ppoll SYS_prlimit64 SYS_getdents64 SYS_lseek SYS_fcntl SYS_umask SYS_process_vm_readv SYS_kcmp
    SYS_pidfd_open SYS_pidfd_send_signal SYS_epoll_ctl SYS_sendmsg SYS_futex SYS_mmap SYS_munmap SYS_mremap SYS_mprotect SYS_madvise
    SYS_brk SYS_clock_gettime SYS_getrandom SYS_getpid SYS_gettid SYS_tgkill SYS_rt_sigaction SYS_rt_sigprocmask
    SYS_rt_sigreturn SYS_sigaltstack SYS_sched_yield SYS_restart_syscall SYS_exit SYS_exit_group
];
#[cfg(target_arch = "x86_64")]
const RECORDER_LEGACY: &[Call] = calls![SYS_open SYS_stat SYS_lstat SYS_readlink SYS_poll];
#[cfg(not(target_arch = "x86_64"))]
const RECORDER_LEGACY: &[Call] = &[];

/// What it needs besides where it traces: to stop, to let go on, and to hear of both.
const TRACER: &[Call] = calls![SYS_ptrace SYS_wait4 SYS_kill];

/// The table of the recorder's thread.
pub(super) fn of_the_recorder() -> Vec<Entry> {
    thread(&[RECORDER, RECORDER_LEGACY])
}

/// The table of the same thread where it traces.
pub(super) fn of_the_tracer() -> Vec<Entry> {
    thread(&[RECORDER, RECORDER_LEGACY, TRACER])
}

fn thread(calls: &[&[Call]]) -> Vec<Entry> {
    let why = "the recorder's thread";
    let one = |call: &Call| Entry {
        name: name_of(*call),
        number: number(*call),
        cases: Vec::new(),
        otherwise: Verdict::Allow,
        why,
    };
    let mut entries: Vec<Entry> = calls.iter().copied().flatten().map(one).collect();
    entries.sort_by_key(|entry| entry.number);
    entries
}
