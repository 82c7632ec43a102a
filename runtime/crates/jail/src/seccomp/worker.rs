//! The list of a worker: what a runtime for foreign code needs of the kernel, once everything is prepared.
//! It never lets a process, a program, a socket, a mount or another process's memory be had: whoever asks is ended.
//!
//! The answer to whatever is not here is the end of the process, not `ENOSYS`: nothing in a worker asks for it but a bug or
//! somebody who took the worker over, and both have to be loud. Which paths are behind a call is not up to the list: the
//! worker's mounts and Landlock judge the object that was reached, as they do for guests. `openat2` is there for those who
//! resolve paths beneath a directory; where a kernel lacks it, it says `ENOSYS` itself, and paths are walked with `openat`,
//! `fstat`, `fstatfs` and `readlinkat`, which every worker that has files may call anyway.

use super::Filter;
use super::arguments::{case, is, masked};
use super::table::{Call, Case, Condition, Entry, Half, Verdict, calls, name, number};
use crate::error::JailError;
use crate::kernel::Kernel;
use crate::worker::Kind;

/// To a call that would change a file: what a file system says that is mounted read-only.
const READ_ONLY: Verdict = Verdict::Errno(libc::EROFS);
/// To a call about files where there are none.
const NO_FILES: Verdict = Verdict::Errno(libc::EACCES);
/// What an older kernel says to an option or a control.
const NO_SUCH_OPTION: Verdict = Verdict::Errno(libc::EINVAL);
const NO_SUCH_CONTROL: Verdict = Verdict::Errno(libc::ENOTTY);
const NOT_PERMITTED: Verdict = Verdict::Errno(libc::EPERM);

const PROT_WRITE: u32 = 2;
const PROT_EXEC: u32 = 4;

/// Every worker: memory, time, waiting, threads that there are, and descriptors that it has.
const RUNNING: &[Call] = calls![
    SYS_read SYS_write SYS_readv SYS_writev SYS_pread64 SYS_pwrite64 SYS_preadv SYS_pwritev SYS_preadv2 SYS_pwritev2
    SYS_close SYS_close_range SYS_lseek SYS_fstat SYS_ftruncate SYS_fallocate SYS_dup SYS_dup3 SYS_pipe2 SYS_memfd_create
    SYS_sendmsg SYS_recvmsg SYS_recvfrom SYS_shutdown SYS_getsockopt SYS_getsockname SYS_getpeername
    SYS_munmap SYS_mremap SYS_madvise SYS_brk SYS_msync SYS_mincore SYS_membarrier
    SYS_epoll_create1 SYS_epoll_ctl SYS_epoll_pwait SYS_epoll_pwait2 SYS_ppoll SYS_pselect6 SYS_eventfd2
    SYS_timerfd_create SYS_timerfd_settime SYS_timerfd_gettime SYS_nanosleep SYS_clock_nanosleep
    SYS_clock_gettime SYS_clock_getres SYS_gettimeofday SYS_times SYS_getrusage
    SYS_futex SYS_sched_yield SYS_sched_getaffinity SYS_getcpu SYS_rseq SYS_set_robust_list SYS_restart_syscall
    SYS_rt_sigaction SYS_rt_sigprocmask SYS_rt_sigreturn SYS_sigaltstack
    SYS_getpid SYS_gettid SYS_getppid SYS_getuid SYS_geteuid SYS_getgid SYS_getegid SYS_uname SYS_sysinfo SYS_getrandom
    SYS_exit SYS_exit_group
];
#[cfg(target_arch = "x86_64")]
const RUNNING_LEGACY: &[Call] = calls![SYS_poll SYS_epoll_wait SYS_pipe SYS_dup2 SYS_time];
#[cfg(not(target_arch = "x86_64"))]
const RUNNING_LEGACY: &[Call] = &[];

/// Files, to be looked at: which is up to mounts and Landlock, and so is whether an open one may be written.
const LOOKING: &[Call] = calls![
    SYS_openat SYS_openat2 SYS_newfstatat SYS_statx SYS_fstatfs SYS_statfs SYS_readlinkat SYS_getdents64 SYS_faccessat
    SYS_faccessat2 SYS_getcwd SYS_fadvise64 SYS_fsync SYS_fdatasync
];
#[cfg(target_arch = "x86_64")]
const LOOKING_LEGACY: &[Call] = calls![SYS_open SYS_stat SYS_lstat SYS_access SYS_readlink];
#[cfg(not(target_arch = "x86_64"))]
const LOOKING_LEGACY: &[Call] = &[];

/// Changes of names and of what stands beside a file's content. Landlock has no right for the times and the mode.
const CHANGING: &[Call] = calls![
    SYS_mkdirat SYS_unlinkat SYS_renameat SYS_linkat SYS_symlinkat SYS_utimensat SYS_fchmod SYS_fchmodat SYS_fchmodat2
];
#[cfg(target_arch = "x86_64")]
const CHANGING_LEGACY: &[Call] = calls![SYS_mkdir SYS_rmdir SYS_unlink SYS_rename SYS_link SYS_symlink SYS_chmod];
#[cfg(not(target_arch = "x86_64"))]
const CHANGING_LEGACY: &[Call] = &[];

/// Controls: whether a descriptor blocks, how much there is to read, whether it is a terminal, and which pages of the
/// worker's own were written (`PAGEMAP_SCAN`).
const CONTROLS: [u32; 6] = [0x5421, 0x541b, 0x5401, 0x5451, 0x5450, 0xc060_6610];
/// Commands of fcntl(2): copies, flags, seals. None that makes the kernel send signals.
const DESCRIPTOR_COMMANDS: [i32; 8] = [
    libc::F_DUPFD,
    libc::F_DUPFD_CLOEXEC,
    libc::F_GETFD,
    libc::F_SETFD,
    libc::F_GETFL,
    libc::F_SETFL,
    libc::F_ADD_SEALS,
    libc::F_GET_SEALS,
];
/// `PR_SET_NAME`, `PR_GET_NAME`, `PR_SET_VMA`: names of the thread and of memory.
const OPTIONS: [u32; 3] = [15, 16, 0x5356_4d41];

/// Compiles the list of a kind of worker. Same kind, same program, on every machine.
///
/// # Errors
/// A bug of ours, as of [`super::compile`].
pub(crate) fn compile(kind: Kind, kernel: Kernel) -> Result<Filter, JailError> {
    match kernel {
        Kernel::Host => super::of_entries_or(&entries(kind), Verdict::Kill),
        Kernel::Gvisor => super::of_entries_or(&in_gvisor(kind), Verdict::Kill).map(Filter::ending_by_a_signal),
    }
}

/// The table on gVisor's kernel.
fn in_gvisor(kind: Kind) -> Vec<Entry> {
    let mut entries = entries(kind);
    match kind {
        Kind::Read => entries.iter_mut().for_each(open_to_read_alone),
        Kind::Compile | Kind::Write => {}
    }
    for entry in entries.iter_mut().filter(|entry| entry.name == "rt_sigaction") {
        // By that signal the list ends the process there. (Who took it over can hold it back all the same: then the call is
        // refused without a sound.)
        let it = is(0, libc::SIGSYS.cast_unsigned());
        entry.cases.insert(0, case(vec![it], NO_SUCH_OPTION));
    }
    entries
}

/// A mount that is read-only lets pipes and terminals be written, which Landlock refuses to who only reads. On gVisor there is
/// none, and a file that is opened with `O_TRUNC` is cut before the mount is asked: so nothing is opened to be written at all.
/// (It has no `openat2`, whose flags no list can look at.)
fn open_to_read_alone(entry: &mut Entry) {
    const CHANGES: u32 = (libc::O_ACCMODE | libc::O_CREAT | libc::O_TRUNC).cast_unsigned();
    let flags = match entry.name {
        "openat" => 2,
        "open" => 1,
        "openat2" => {
            entry.otherwise = Verdict::Errno(libc::ENOSYS);
            return;
        }
        _ => return,
    };
    entry.cases = vec![case(vec![masked(flags, CHANGES, libc::O_RDONLY.cast_unsigned())], Verdict::Allow)];
    entry.otherwise = READ_ONLY;
}

/// The whole table, ordered by number.
pub(super) fn entries(kind: Kind) -> Vec<Entry> {
    let (looking, changing) = match kind {
        Kind::Compile => (NO_FILES, NO_FILES),
        Kind::Read => (Verdict::Allow, READ_ONLY),
        Kind::Write => (Verdict::Allow, Verdict::Allow),
    };
    let running = "memory, time and waiting, and descriptors that it has";
    let files = "files by path: mounts and Landlock decide; none for who compiles";
    let changes = "changes of names, times and modes: only for who may write";
    let groups = [
        (RUNNING, Verdict::Allow, running),
        (RUNNING_LEGACY, Verdict::Allow, running),
        (LOOKING, looking, files),
        (LOOKING_LEGACY, looking, files),
        (CHANGING, changing, changes),
        (CHANGING_LEGACY, changing, changes),
    ];
    let constant = groups
        .into_iter()
        .flat_map(|(calls, verdict, why)| calls.iter().map(move |call| entry(*call, Vec::new(), verdict, why)));
    let mut all: Vec<Entry> = constant.chain(looked_at(kind, changing)).collect();
    all.sort_by_key(|entry| entry.number);
    all
}

/// Those whose arguments are looked at.
fn looked_at(kind: Kind, changing: Verdict) -> Vec<Entry> {
    let [mmap, mprotect, ioctl, fcntl, prctl, prlimit, sendto, renameat2] = calls![
        SYS_mmap SYS_mprotect SYS_ioctl SYS_fcntl SYS_prctl SYS_prlimit64 SYS_sendto SYS_renameat2
    ];
    // Code that was compiled is written first and made executable then; nothing is ever both at once. That a page which
    // once was written can become executable is what loading code means, and cannot be refused. Who compiles loads none.
    let forbidden = match kind {
        Kind::Compile => masked(2, PROT_EXEC, PROT_EXEC),
        Kind::Read | Kind::Write => masked(2, PROT_WRITE | PROT_EXEC, PROT_WRITE | PROT_EXEC),
    };
    let memory = || vec![case(vec![forbidden], Verdict::Kill)];
    let allowed = |argument: u8, values: &[u32]| -> Vec<Case> {
        values.iter().map(|value| case(vec![is(argument, *value)], Verdict::Allow)).collect()
    };
    let commands = DESCRIPTOR_COMMANDS.map(i32::cast_unsigned);
    let null = |argument: u8| [is(argument, 0), Condition { half: Half::High, ..is(argument, 0) }].to_vec();
    let own = [vec![is(0, 0)], null(2)].concat();
    let renaming = match changing {
        // RENAME_WHITEOUT makes a device node, which hides files of the layer below.
        Verdict::Allow => vec![case(vec![masked(4, 1 << 2, 1 << 2)], NOT_PERMITTED)],
        Verdict::Errno(_) | Verdict::Kill | Verdict::Notify(_) => Vec::new(),
    };
    vec![
        entry(*mmap, memory(), Verdict::Allow, "memory is never writable and executable at once"),
        entry(*mprotect, memory(), Verdict::Allow, "memory is never writable and executable at once"),
        entry(*ioctl, allowed(1, &CONTROLS), NO_SUCH_CONTROL, "what event loops and pools ask, and nothing else"),
        entry(*fcntl, allowed(1, &commands), NOT_PERMITTED, "copies, flags and seals; no signals, no locks"),
        entry(*prctl, allowed(0, &OPTIONS), NO_SUCH_OPTION, "names of threads and memory"),
        entry(*prlimit, vec![case(own, Verdict::Allow)], NOT_PERMITTED, "its own limits, to be read"),
        entry(*sendto, vec![case(null(4), Verdict::Allow)], NOT_PERMITTED, "to whom a socket is connected already"),
        entry(*renameat2, renaming, changing, "renaming, without whiteouts"),
    ]
}

fn entry(call: Call, cases: Vec<Case>, otherwise: Verdict, why: &'static str) -> Entry {
    Entry { name: name(call), number: number(call), cases, otherwise, why }
}

#[cfg(test)]
mod tests;
