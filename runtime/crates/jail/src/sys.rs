//! System calls that rustix does not offer, one function each.
//! It never decides anything, and keeps no state.

use rustix::io::Errno;
use std::ffi::CString;
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, FromRawFd as _, IntoRawFd as _, OwnedFd};
use std::ptr::NonNull;
use std::sync::atomic::AtomicI32;

/// Flags and changes of mount_setattr(2).
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct MountChange<'fd> {
    /// `MOUNT_ATTR_*` bits to set.
    pub(crate) set: u64,
    /// Make propagation private.
    pub(crate) private: bool,
    /// Id-map by this user namespace; the mount must be detached.
    pub(crate) idmap: Option<BorrowedFd<'fd>>,
    /// Mounts below as well.
    pub(crate) recursive: bool,
}

/// Changes the mount whose root the descriptor refers to.
pub(crate) fn mount_setattr(mount: BorrowedFd<'_>, change: MountChange<'_>) -> Result<(), Errno> {
    let mut attr = libc::mount_attr {
        attr_set: change.set,
        attr_clr: 0,
        propagation: if change.private { libc::MS_PRIVATE } else { 0 },
        userns_fd: 0,
    };
    if let Some(namespace) = change.idmap {
        attr.attr_set |= libc::MOUNT_ATTR_IDMAP;
        attr.userns_fd = u64::try_from(namespace.as_raw_fd()).expect("an open descriptor is not negative");
    }
    let flags = libc::AT_EMPTY_PATH | if change.recursive { libc::AT_RECURSIVE } else { 0 };
    // SAFETY: the path is a static string, `attr` lives across the call and its exact size is passed; the kernel copies
    // both (mount_setattr(2)).
    let result = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_raw_fd(),
            c"".as_ptr(),
            flags,
            &raw const attr,
            size_of::<libc::mount_attr>(),
        )
    };
    answer(result).map(drop)
}

/// The monotonic clock, ns. Through the C library, which asks no kernel for it.
pub(crate) fn monotonic_ns() -> u64 {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `now` is a live timespec, which is written once; this clock exists everywhere (clock_gettime(2)).
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut now) };
    let seconds = u64::try_from(now.tv_sec).unwrap_or(0);
    seconds.saturating_mul(1_000_000_000).saturating_add(u64::try_from(now.tv_nsec).unwrap_or(0))
}

/// Asks for the processor in short turns: then the scheduler lets the calling thread run soon after it wakes (Linux 6.12;
/// older kernels take it and do nothing).
pub(crate) fn run_in_short_turns() -> Result<(), Errno> {
    /// `struct sched_attr`, its first version.
    #[repr(C)]
    struct Attributes {
        size: u32,
        policy: u32,
        flags: u64,
        nice: i32,
        priority: u32,
        runtime: u64,
        deadline: u64,
        period: u64,
    }
    const SHORTEST_NS: u64 = 100_000;
    // Guests that were made more or less important than others wait for a recorder that is as important.
    let nice = rustix::process::getpriority_process(None)?;
    let size = u32::try_from(size_of::<Attributes>()).unwrap_or(48);
    let attributes =
        Attributes { size, policy: 0, flags: 0, nice, priority: 0, runtime: SHORTEST_NS, deadline: 0, period: 0 };
    // SAFETY: `attributes` is a live structure of the size that it says, which the kernel only reads; 0 is this thread.
    let result = unsafe { libc::syscall(libc::SYS_sched_setattr, 0, &raw const attributes, 0) };
    answer(result).map(drop)
}

/// Which side of a fork runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    /// The child.
    Child,
    /// The parent; the child's process id in the parent's namespace.
    Parent(i32),
}

/// fork(2) with flags of clone(2).
///
/// # Safety
/// The process has one thread: a child has only the calling thread, so a lock that another one held would stay locked.
/// `flags` holds none of `CLONE_VM`, `CLONE_SETTLS` or the `*_SETTID` flags.
pub(crate) unsafe fn fork(flags: i32) -> Result<Side, Errno> {
    // SAFETY: without CLONE_VM the child runs on a copy of this stack (a null stack pointer says so), and no flag that
    // would make the kernel read the remaining arguments is given: the caller promised both.
    let result = unsafe { libc::syscall(libc::SYS_clone, i64::from(flags), 0_usize, 0_usize, 0_usize, 0_usize) };
    let pid = answer(result)?;
    Ok(if pid == 0 { Side::Child } else { Side::Parent(i32::try_from(pid).expect("a pid is an i32")) })
}

/// fork(2) that also writes the child's number into `child`, before the child runs.
///
/// # Safety
/// As of [`fork`]; or the child touches nothing that another thread may hold locked in this moment.
pub(crate) unsafe fn fork_telling(child: &AtomicI32) -> Result<Side, Errno> {
    let flags = i64::from(libc::SIGCHLD | libc::CLONE_PARENT_SETTID);
    // SAFETY: as in `fork`; the third argument is on every architecture where the kernel writes the number to, an aligned
    // i32 that lives through the call.
    let result = unsafe { libc::syscall(libc::SYS_clone, flags, 0_usize, child.as_ptr(), 0_usize, 0_usize) };
    let pid = answer(result)?;
    Ok(if pid == 0 { Side::Child } else { Side::Parent(i32::try_from(pid).expect("a pid is an i32")) })
}

/// Executes the program that a descriptor refers to, with these arguments and no environment; returns only if it could not.
pub(crate) fn execute(program: BorrowedFd<'_>, words: &[CString]) -> Errno {
    let mut argv: Vec<_> = words.iter().map(|word| word.as_ptr()).collect();
    argv.push(std::ptr::null());
    let env = [std::ptr::null::<libc::c_char>()];
    // SAFETY: both arrays end with a null pointer, what they point to outlives the call, and so does the path, which is a
    // static string (execveat(2)).
    let result = unsafe {
        libc::syscall(
            libc::SYS_execveat,
            program.as_raw_fd(),
            c"".as_ptr(),
            argv.as_ptr(),
            env.as_ptr(),
            libc::AT_EMPTY_PATH,
        )
    };
    answer(result).err().unwrap_or(Errno::IO)
}

/// Ends the process without running anything that was registered for its end: for children made by [`fork`].
pub(crate) fn exit_now(code: i32) -> ! {
    // SAFETY: _exit(2) reads no memory and does not return.
    unsafe { libc::_exit(code) }
}

/// A child that ended.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Reaped {
    pub(crate) pid: i32,
    pub(crate) status: i32,
    pub(crate) cpu_us: u64,
    pub(crate) max_rss_kib: u64,
}

/// Reaps a child if one has ended: any, or the one given. `Ok(None)`: children there are, and none has ended.
pub(crate) fn reap(which: Option<i32>, options: i32) -> Result<Option<Reaped>, Errno> {
    let mut status = 0;
    // SAFETY: an all-zero rusage is a valid value of that plain C structure.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    // SAFETY: both pointers are to live variables of the right type that the kernel writes once (wait4(2)).
    let result = unsafe { libc::wait4(which.unwrap_or(-1), &raw mut status, options, &raw mut usage) };
    let pid = answer(i64::from(result))?;
    let micros = |time: libc::timeval| {
        let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
        seconds.saturating_mul(1_000_000).saturating_add(u64::try_from(time.tv_usec).unwrap_or(0))
    };
    Ok((pid != 0).then(|| Reaped {
        pid: result,
        status,
        cpu_us: micros(usage.ru_utime).saturating_add(micros(usage.ru_stime)),
        max_rss_kib: u64::try_from(usage.ru_maxrss).unwrap_or(0),
    }))
}

/// A child that has ended, left for [`reap`]. `Ok(None)`: children there are, and none has ended.
pub(crate) fn ended_child() -> Result<Option<i32>, Errno> {
    // SAFETY: an all-zero siginfo_t is a valid value of that plain C structure.
    let mut info: libc::siginfo_t = unsafe { std::mem::zeroed() };
    let options = libc::WEXITED | libc::WNOHANG | libc::WNOWAIT;
    // SAFETY: `info` is a live structure that the kernel writes once (waitid(2)).
    let result = unsafe { libc::waitid(libc::P_ALL, 0, &raw mut info, options) };
    answer(i64::from(result))?;
    // SAFETY: waitid(2) filled the fields of SIGCHLD, or left zeros when no child had ended.
    let pid = unsafe { info.si_pid() };
    Ok((pid != 0).then_some(pid))
}

/// kill(2), for the numbers that rustix's `Signal` does not name, and for -1 (everything but the caller).
pub(crate) fn kill(pid: i32, signal: i32) -> Result<(), Errno> {
    // SAFETY: kill(2) reads no memory of ours.
    let result = unsafe { libc::kill(pid, signal) };
    answer(i64::from(result)).map(drop)
}

/// Closes every descriptor from `first` on, or marks them close-on-exec.
pub(crate) fn close_range(first: u32, flags: u32) -> Result<(), Errno> {
    // No descriptor is a greater number, and gVisor refuses one that is not an int.
    let last = i32::MAX.cast_unsigned();
    // SAFETY: close_range(2) reads no memory. Closing is only asked for at the start of a re-executed helper, before
    // any owner of a descriptor from `first` on exists.
    let result = unsafe { libc::syscall(libc::SYS_close_range, first, last, flags) };
    answer(result).map(drop)
}

/// A descriptor that becomes readable when a child ends; the signal is blocked in exchange.
pub(crate) fn child_signal_descriptor() -> Result<OwnedFd, Errno> {
    let set = signal_set(Some(libc::SIGCHLD));
    set_signal_mask(&set)?;
    // SAFETY: `set` is an initialised set that the kernel copies (signalfd(2)).
    let result = unsafe { libc::signalfd(-1, &raw const set, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK) };
    answer(i64::from(result))?;
    // SAFETY: the kernel just gave us this descriptor, and nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(result) })
}

/// A signal set with this one signal, or none.
pub(crate) fn signal_set(signal: Option<i32>) -> libc::sigset_t {
    // SAFETY: an all-zero sigset_t is the empty set on Linux.
    let mut set: libc::sigset_t = unsafe { std::mem::zeroed() };
    if let Some(signal) = signal {
        // SAFETY: `set` is a live, initialised set; an unknown number makes it return an error and change nothing.
        unsafe { libc::sigaddset(&raw mut set, signal) };
    }
    set
}

/// Keeps every signal from the calling thread that can be kept from it.
pub(crate) fn block_signals() -> Result<(), Errno> {
    let mut set = signal_set(None);
    // SAFETY: `set` is a live, initialised set.
    unsafe { libc::sigfillset(&raw mut set) };
    set_signal_mask(&set)
}

/// Replaces the calling thread's signal mask.
pub(crate) fn set_signal_mask(set: &libc::sigset_t) -> Result<(), Errno> {
    // SAFETY: `set` is a live set that is copied; the old mask is not asked for.
    let result = unsafe { libc::sigprocmask(libc::SIG_SETMASK, set, std::ptr::null_mut()) };
    answer(i64::from(result)).map(drop)
}

/// Gives every signal its default disposition: an ignored one would be inherited through exec by every guest.
pub(crate) fn default_signals() {
    // SAFETY: an all-zero sigaction is SIG_DFL without flags.
    let action: libc::sigaction = unsafe { std::mem::zeroed() };
    for signal in 1..=64 {
        // SAFETY: `action` is a live structure that is copied. The kernel refuses SIGKILL and SIGSTOP, libc refuses its
        // two internal signals: all four are at their default.
        unsafe { libc::sigaction(signal, &raw const action, std::ptr::null_mut()) };
    }
}

/// Ignores a signal: what it would have told is told by the error of a call.
pub(crate) fn ignore_signal(signal: i32) {
    // SAFETY: an all-zero sigaction is valid; with this handler no code of ours ever runs.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    action.sa_sigaction = libc::SIG_IGN;
    // SAFETY: `action` is a live structure that is copied.
    unsafe { libc::sigaction(signal, &raw const action, std::ptr::null_mut()) };
}

/// Lets the kernel end this process after so many seconds, unless it ended before (alarm(2)).
pub(crate) fn end_after(seconds: u32) {
    // SAFETY: alarm(2) takes a number; SIGALRM has its default disposition, which ends the process.
    let _there_was_none_before = unsafe { libc::alarm(seconds) };
}

/// Lets the kernel kill this process when the other end of a pair of sockets is closed, by whomever and whyever
/// (fcntl(2), `F_SETSIG`; a socket that hangs up is such an event). The end stays open as long as the process lives.
pub(crate) fn end_when_closed(end: OwnedFd) -> Result<(), Errno> {
    let own = rustix::process::getpid().as_raw_nonzero().get();
    let end = end.into_raw_fd();
    for (command, value) in [(F_SETOWN, own), (F_SETSIG, libc::SIGKILL), (libc::F_SETFL, libc::O_ASYNC)] {
        // SAFETY: these commands take a number; the descriptor is open, and its flags are ours alone.
        answer(i64::from(unsafe { libc::fcntl(end, command, value) }))?;
    }
    let mut now = libc::pollfd { fd: end, events: 0, revents: 0 };
    // SAFETY: one live pollfd, as the count says, which the kernel writes into; the time is none.
    answer(i64::from(unsafe { libc::poll(&raw mut now, 1, 0) }))?;
    // Closed before anybody listened for it.
    if now.revents == 0 { Ok(()) } else { Err(Errno::PIPE) }
}

/// Commands of fcntl(2) that the C library's list lacks for some targets.
const F_SETOWN: i32 = 8;
const F_SETSIG: i32 = 10;

/// Brings up the loopback interface of the calling process's network namespace (netdevice(7)).
pub(crate) fn loopback_up() -> Result<(), Errno> {
    let socket = rustix::net::socket_with(
        rustix::net::AddressFamily::INET,
        rustix::net::SocketType::DGRAM,
        rustix::net::SocketFlags::CLOEXEC,
        None,
    )?;
    // SAFETY: an all-zero ifreq is a valid value of that plain C structure.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (slot, byte) in request.ifr_name.iter_mut().zip(b"lo") {
        *slot = libc::c_char::try_from(*byte).expect("ASCII");
    }
    request.ifr_ifru.ifru_flags =
        libc::c_short::try_from(libc::IFF_UP | libc::IFF_RUNNING).expect("both are below 0x8000");
    // SAFETY: SIOCSIFFLAGS reads an ifreq, which `request` is and which outlives the call.
    let result = unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS, &raw const request) };
    match answer(i64::from(result)) {
        // gVisor cannot be asked for it: its loopback comes up with its namespace.
        Err(Errno::NOTTY) => Ok(()),
        other => other.map(drop),
    }
}

/// Makes every permitted capability effective again, after a change of ids that kept the permitted ones.
pub(crate) fn raise_effective_capabilities() -> Result<(), Errno> {
    #[repr(C)]
    struct Header {
        version: u32,
        pid: i32,
    }
    let header = Header { version: 0x2008_0522, pid: 0 };
    // Two words of (effective, permitted, inheritable) each: the layout of version 3 (capget(2)).
    let mut sets = [[0_u32; 3]; 2];
    // SAFETY: `header` names version 3, whose data are two triples of u32: `sets` is exactly that, and writable.
    let result = unsafe { libc::syscall(libc::SYS_capget, &raw const header, sets.as_mut_ptr()) };
    answer(result)?;
    for [effective, permitted, _] in &mut sets {
        *effective = *permitted;
    }
    // SAFETY: the same structures, which the kernel only reads.
    let result = unsafe { libc::syscall(libc::SYS_capset, &raw const header, sets.as_ptr()) };
    answer(result).map(drop)
}

/// Memory that is shared with other processes: one mapping, ended with this value.
#[derive(Debug)]
pub(crate) struct SharedMemory {
    start: NonNull<u8>,
    bytes: usize,
}

// SAFETY: a mapping belongs to the process, not to a thread; who reads or writes it does so through atomics.
unsafe impl Send for SharedMemory {}
// SAFETY: as above.
unsafe impl Sync for SharedMemory {}

impl SharedMemory {
    /// Maps the beginning of a file, readable and writable.
    pub(crate) fn map(file: BorrowedFd<'_>, bytes: usize) -> Result<Self, Errno> {
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        // SAFETY: the kernel chooses an address that nothing else uses (mmap(2)).
        let start =
            unsafe { libc::mmap(std::ptr::null_mut(), bytes, protection, libc::MAP_SHARED, file.as_raw_fd(), 0) };
        if start == libc::MAP_FAILED {
            return Err(last_errno());
        }
        NonNull::new(start.cast()).map(|start| Self { start, bytes }).ok_or(Errno::FAULT)
    }

    /// Leaves it out of copies of this process.
    pub(crate) fn keep_from_children(&self) -> Result<(), Errno> {
        // SAFETY: start and length are those of the mapping; of what is in it nothing changes (madvise(2)).
        let result = unsafe { libc::madvise(self.start.as_ptr().cast(), self.bytes, libc::MADV_DONTFORK) };
        answer(i64::from(result)).map(drop)
    }

    pub(crate) fn start(&self) -> *mut u8 {
        self.start.as_ptr()
    }
}

impl Drop for SharedMemory {
    fn drop(&mut self) {
        // SAFETY: start and length are those of the mapping, to which no reference outlives its owner.
        unsafe { libc::munmap(self.start.as_ptr().cast(), self.bytes) };
    }
}

/// An ioctl whose argument is a number; returns what the ioctl returned.
pub(crate) fn ioctl_number<F: AsFd>(fd: F, request: libc::Ioctl, value: libc::c_ulong) -> Result<i32, Errno> {
    // SAFETY: callers pass requests that take a number (TIOCGPTPEER, TIOCSCTTY): no memory is read.
    let result = unsafe { libc::ioctl(fd.as_fd().as_raw_fd(), request, value) };
    answer(i64::from(result))?;
    Ok(result)
}

/// The kernel's answer: -1 says that the reason is in `errno`.
pub(crate) fn answer(result: i64) -> Result<i64, Errno> {
    if result == -1 { Err(last_errno()) } else { Ok(result) }
}

fn last_errno() -> Errno {
    Errno::from_io_error(&std::io::Error::last_os_error()).expect("the last OS error has a number")
}
