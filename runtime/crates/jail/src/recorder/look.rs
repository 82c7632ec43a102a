//! What `/proc` and pidfds say of a guest's process.
//! It never decides anything, and takes "not there" for an answer everywhere: processes end while one looks.

use super::event::{Bounded, Executable, FileId};
use super::frame::STRING_BYTES_MAX;
use crate::sys;
use crate::wire::Status;
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::fs::{AtFlags, CWD, Mode, OFlags, StatxFlags};
use rustix::io::Errno;
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd};

/// `PIDFD_THREAD`: a handle of one thread (Linux 6.9).
const PIDFD_THREAD: libc::c_uint = libc::O_EXCL.cast_unsigned();
/// `PIDFD_GET_INFO` (Linux 6.13).
const PIDFD_GET_INFO: libc::Ioctl = 0xc040_ff0b_u32 as libc::Ioctl;
/// `PIDFD_INFO_PID`.
const INFO_PID: u64 = 1;
/// `PIDFD_INFO_EXIT` (Linux 6.15).
const INFO_EXIT: u64 = 8;

/// `struct pidfd_info`, its first published size.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default)]
struct Info {
    mask: u64,
    cgroup: u64,
    pid: u32,
    tgid: u32,
    ppid: u32,
    ids: [u32; 8],
    exit_code: i32,
}
const _: () = assert!(size_of::<Info>() == 64);

/// Whose a thread is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Kin {
    /// Its process.
    pub(super) process: i32,
    /// The parent of that, as the kernel has it now.
    pub(super) parent: i32,
}

/// Opens a handle of a process, or of a thread.
fn open_handle(id: i32, flags: libc::c_uint) -> Result<OwnedFd, Errno> {
    // SAFETY: pidfd_open(2) reads no memory.
    let result = unsafe { libc::syscall(libc::SYS_pidfd_open, id, flags) };
    let descriptor = i32::try_from(sys::answer(result)?).map_err(|_| Errno::OVERFLOW)?;
    // SAFETY: the kernel just gave us this descriptor, and nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(descriptor) })
}

/// A handle of a process, which cannot come to mean another one.
pub(super) fn handle(process: i32) -> Option<OwnedFd> {
    open_handle(process, 0).ok()
}

/// Whether the process of a handle is there: it runs, or waits to be reaped. Until then its number is its own.
pub(super) fn is_there(handle: BorrowedFd<'_>) -> bool {
    // SAFETY: with signal 0 and no details, pidfd_send_signal(2) reads no memory and changes nothing.
    let result = unsafe {
        libc::syscall(libc::SYS_pidfd_send_signal, handle.as_raw_fd(), 0, std::ptr::null::<libc::siginfo_t>(), 0)
    };
    // Any other error says that it is there and we may not.
    sys::answer(result) != Err(Errno::SRCH)
}

/// Whether the process of a handle has ended, reaped or not.
pub(super) fn has_ended(handle: BorrowedFd<'_>) -> bool {
    let mut fds = [PollFd::from_borrowed_fd(handle, PollFlags::IN)];
    rustix::event::poll(&mut fds, Some(&Timespec::default())).is_ok_and(|ready| ready > 0)
}

fn info(handle: BorrowedFd<'_>, mask: u64) -> Result<Info, Errno> {
    let mut info = Info { mask, ..Info::default() };
    // SAFETY: the request's number holds the size of `Info`, and the kernel writes no more than that.
    let result = unsafe { libc::ioctl(handle.as_raw_fd(), PIDFD_GET_INFO, &raw mut info) };
    sys::answer(i64::from(result)).map(|_| info)
}

/// The process of a handle and its parent.
pub(super) fn kin_of_handle(handle: BorrowedFd<'_>) -> Option<Kin> {
    let info = info(handle, INFO_PID).ok().filter(|info| info.mask & INFO_PID != 0)?;
    Some(Kin { process: i32::try_from(info.tgid).ok()?, parent: i32::try_from(info.ppid).ok()? })
}

/// The process of a thread and its parent.
pub(super) fn kin(tid: i32) -> Option<Kin> {
    let by_handle = open_handle(tid, PIDFD_THREAD).ok().and_then(|handle| kin_of_handle(handle.as_fd()));
    by_handle.or_else(|| kin_by_text(tid))
}

/// The same for older kernels.
fn kin_by_text(tid: i32) -> Option<Kin> {
    let mut buffer = [0; 1024];
    let text = read(tid, "status", &mut buffer)?;
    let number = |name: &[u8]| {
        let line = text.split(|byte| *byte == b'\n').find_map(|line| line.strip_prefix(name))?;
        std::str::from_utf8(line).ok()?.trim().parse().ok()
    };
    Some(Kin { process: number(b"Tgid:")?, parent: number(b"PPid:")? })
}

/// How the process of a handle ended, once it was reaped (Linux 6.15).
pub(super) fn exit(handle: BorrowedFd<'_>) -> Option<i32> {
    info(handle, INFO_EXIT).ok().filter(|info| info.mask & INFO_EXIT != 0).map(|info| info.exit_code)
}

/// How a process ended that was not reaped yet: the last field of its `stat`.
pub(super) fn exit_by_text(process: i32) -> Option<i32> {
    let mut buffer = [0; 1024];
    let text = read(process, "stat", &mut buffer)?;
    let after_name = text.get(text.iter().rposition(|byte| *byte == b')')?..)?;
    let mut fields = std::str::from_utf8(after_name).ok()?.split_ascii_whitespace();
    // The third field of all, and the fifty-second.
    fields.nth(1).filter(|state| *state == "Z")?;
    fields.nth(48)?.parse().ok()
}

/// Whether the kernel keeps for a handle how its process ended, so that who is not the parent learns it.
pub(super) fn keeps_exits() -> bool {
    let release = rustix::system::uname();
    let mut numbers = release.release().to_bytes().split(|byte| !byte.is_ascii_digit());
    let mut number = || std::str::from_utf8(numbers.next()?).ok()?.parse::<u32>().ok();
    (number(), number()) >= (Some(6), Some(15))
}

/// wait(2)'s status word.
pub(crate) fn status(word: i32) -> Status {
    if libc::WIFSIGNALED(word) {
        Status::Signalled(libc::WTERMSIG(word))
    } else {
        Status::Exited(u8::try_from(libc::WEXITSTATUS(word)).unwrap_or(u8::MAX))
    }
}

/// What a process executes, as one number: another one after each exec(2). It is made of the addresses in the vector that
/// the kernel passes to every program, which are drawn anew each time.
pub(super) fn image(process: i32) -> Option<u64> {
    let mut buffer = [0; 1024];
    // While a program is being loaded the vector is empty: an end and nothing before it.
    let vector = read(process, "auxv", &mut buffer).filter(|vector| vector.len() > 2 * size_of::<usize>())?;
    // FNV-1a: no enemy chooses what goes in, and nothing is decided by it but which exec an event comes after.
    let hash = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    Some(vector.iter().fold(0xcbf2_9ce4_8422_2325, hash))
}

/// What the kernel runs as a process: its path, and which file that is.
pub(super) fn executable(process: i32) -> Option<(Bounded, Executable)> {
    let link = format!("/proc/{process}/exe");
    let path = readlink(&link)?;
    let wanted = StatxFlags::INO | StatxFlags::SIZE | StatxFlags::MTIME | StatxFlags::CTIME;
    let status = rustix::fs::statx(CWD, &link, AtFlags::empty(), wanted).ok()?;
    let nanoseconds = |time: rustix::fs::StatxTimestamp| {
        time.tv_sec.saturating_mul(1_000_000_000).saturating_add(i64::from(time.tv_nsec))
    };
    let executable = Executable {
        id: FileId { device: rustix::fs::makedev(status.stx_dev_major, status.stx_dev_minor), inode: status.stx_ino },
        size_bytes: status.stx_size,
        modified_ns: nanoseconds(status.stx_mtime),
        changed_ns: nanoseconds(status.stx_ctime),
    };
    Some((path, executable))
}

/// The file that a process executes, to be read.
pub(super) fn open_executable(process: i32) -> Option<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    rustix::fs::open(format!("/proc/{process}/exe"), flags, Mode::empty()).ok()
}

/// Arguments, each ended by a NUL.
pub(super) fn arguments(process: i32) -> Bounded {
    let mut bytes = vec![0; STRING_BYTES_MAX + 1];
    let length = read(process, "cmdline", &mut bytes).map_or(0, <[u8]>::len);
    bytes.truncate(length.min(STRING_BYTES_MAX));
    Bounded { bytes, cut: length > STRING_BYTES_MAX }
}

/// The working directory of a process.
pub(super) fn working_directory(process: i32) -> Option<Bounded> {
    readlink(&format!("/proc/{process}/cwd"))
}

fn readlink(path: &str) -> Option<Bounded> {
    let target = rustix::fs::readlink(path, Vec::with_capacity(256)).ok()?;
    Some(Bounded { bytes: target.into_bytes(), cut: false })
}

/// As much of a file of `/proc/PROCESS` as the buffer takes; of one that is written at once: no list with a line for each
/// of something.
fn read<'a>(process: i32, name: &str, buffer: &'a mut [u8]) -> Option<&'a [u8]> {
    let file =
        rustix::fs::open(format!("/proc/{process}/{name}"), OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).ok()?;
    // Such a file is read to the end, or to that of the buffer, by one call.
    let length = rustix::io::retry_on_intr(|| rustix::io::read(&file, &mut *buffer)).ok()?;
    buffer.get(..length)
}
