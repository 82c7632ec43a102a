//! What the kernel tells of a guest's thread: its directory, its descriptors, its umask.
//! It never asks the guest itself, and never follows a name that the guest chose.

use rustix::fs::{AtFlags, CWD, Mode, OFlags, StatxFlags};
use rustix::io::Errno;
use std::cell::OnceCell;
use std::ffi::CStr;
use std::io::Write as _;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd as _, OwnedFd};

/// Longest name below `/proc`: a thread, `fd`, a descriptor.
const NAME_BYTES_MAX: usize = 40;
/// How far from a full table of descriptors is far enough: other threads open some while one open is performed.
const MARGIN: u64 = 64;
/// A descriptor that few programs have: where it is free, and the limit far enough above it, the table is not full.
const SELDOM_USED: u64 = 895;
/// `KCMP_FILE` of kcmp(2).
const KCMP_FILE: libc::c_long = 0;
/// Links to own descriptors that are kept open: the lowest numbers, which those of a moment have.
const LINKS_KEPT: usize = 64;
/// Where `Umask:` stands in `/proc/PID/status`: the second line. The first has a name of at most 64 bytes, escaped.
const STATUS_BYTES: usize = 320;

/// `/proc`, and our own descriptors in it, opened once.
#[derive(Debug)]
pub(crate) struct Proc {
    root: OwnedFd,
    own: OwnedFd,
    own_pid: i32,
    /// The links of the lowest descriptors themselves, opened when they were first asked for. A link's inode says whose
    /// and which descriptor it is of, and what stands behind that is looked up when it is read (proc_pid_fd(5)).
    links: [OnceCell<OwnedFd>; LINKS_KEPT],
}

/// How full a thread's table of descriptors is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Room {
    /// There is some.
    Enough,
    /// Perhaps none.
    Scarce,
}

impl Proc {
    /// Of the calling thread, which alone may use it: descriptors are looked up in its own table.
    pub(crate) fn of_this_thread() -> Result<Self, Errno> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = rustix::fs::openat(CWD, c"/proc", flags, Mode::empty())?;
        // Not `self`: that is the first thread's table, which this one may have left.
        let own = rustix::fs::openat(&root, c"thread-self/fd", flags, Mode::empty())?;
        let own_pid = rustix::process::getpid().as_raw_nonzero().get();
        Ok(Self { root, own, own_pid, links: [const { OnceCell::new() }; LINKS_KEPT] })
    }

    /// The number of its file system.
    pub(crate) fn device(&self) -> Result<u64, Errno> {
        rustix::fs::fstat(&self.root).map(|found| found.st_dev)
    }

    /// The directory that a relative name starts from: the thread's own, or one of its descriptors. The link in `/proc`
    /// leads to the directory itself, deleted or not, and not through its name.
    pub(crate) fn base(&self, thread: u32, directory: i32) -> Result<OwnedFd, Errno> {
        let mut buffer = [0; NAME_BYTES_MAX];
        let name = match directory {
            libc::AT_FDCWD => format(&mut buffer, format_args!("{thread}/cwd")),
            0.. => format(&mut buffer, format_args!("{thread}/fd/{directory}")),
            _ => return Err(Errno::BADF),
        };
        rustix::fs::openat(&self.root, name, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())
    }

    /// How the kernel names what a descriptor of ours refers to; how long that is.
    pub(crate) fn name_of<F: AsFd>(&self, descriptor: F, into: &mut [u8]) -> Result<usize, Errno> {
        let number = descriptor.as_fd().as_raw_fd();
        let mut buffer = [0; NAME_BYTES_MAX];
        let name = format(&mut buffer, format_args!("{number}"));
        let Some(kept) = usize::try_from(number).ok().and_then(|number| self.links.get(number)) else {
            return link(&self.own, name, into);
        };
        let itself = match kept.get() {
            Some(itself) => itself,
            None => {
                let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                let opened = rustix::fs::openat(&self.own, name, flags, Mode::empty())?;
                kept.get_or_init(|| opened)
            }
        };
        // An empty name is the link itself (readlinkat(2)).
        link(itself, c"", into)
    }

    /// How the kernel names the directory that a relative name starts from; how long that is.
    pub(crate) fn base_name(&self, thread: u32, directory: i32, into: &mut [u8]) -> Result<usize, Errno> {
        let mut buffer = [0; NAME_BYTES_MAX];
        let name = match directory {
            libc::AT_FDCWD => format(&mut buffer, format_args!("{thread}/cwd")),
            0.. => format(&mut buffer, format_args!("{thread}/fd/{directory}")),
            _ => return Err(Errno::BADF),
        };
        link(&self.root, name, into)
    }

    /// Whether the thread may have one more descriptor. The kernel gives out the lowest free number, so while one that
    /// is well below the limit is free, the table is not full.
    pub(crate) fn room(&self, thread: u32) -> Result<Room, Errno> {
        let limit = descriptors_max(thread)?;
        if limit > SELDOM_USED + MARGIN && self.lacks(thread, SELDOM_USED) {
            return Ok(Room::Enough);
        }
        let Some(number) = limit.checked_sub(1 + MARGIN.min(limit / 2)) else { return Ok(Room::Scarce) };
        let mut buffer = [0; NAME_BYTES_MAX];
        let name = format(&mut buffer, format_args!("{thread}/fd/{number}"));
        let flags = AtFlags::SYMLINK_NOFOLLOW | AtFlags::STATX_DONT_SYNC;
        match rustix::fs::statx(&self.root, name, flags, StatxFlags::TYPE) {
            Err(Errno::NOENT) => Ok(Room::Enough),
            Ok(_) => Ok(Room::Scarce),
            Err(errno) => Err(errno),
        }
    }

    /// Whether it is certain that a thread has no descriptor of this number. Where the kernel has kcmp(2), which knows
    /// without making an inode of `/proc` for the answer; its table is the thread's own, also where it shares none.
    fn lacks(&self, thread: u32, number: u64) -> bool {
        let own = self.root.as_raw_fd();
        // SAFETY: kcmp(2) takes numbers, and reads no memory of ours.
        let result = unsafe { libc::syscall(libc::SYS_kcmp, self.own_pid, thread, KCMP_FILE, own, number) };
        // There is one of the two, ours: so it is the other that is none.
        crate::sys::answer(result) == Err(Errno::BADF)
    }

    /// The umask that the thread's own opens are made with. Slow: the kernel writes the whole status for it.
    pub(crate) fn umask(&self, thread: u32) -> Result<u32, Errno> {
        let mut buffer = [0; NAME_BYTES_MAX];
        let name = format(&mut buffer, format_args!("{thread}/status"));
        let status = rustix::fs::openat(&self.root, name, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
        let mut text = [0; STATUS_BYTES];
        let length = rustix::io::read(&status, &mut text)?;
        umask_in(text.get(..length).unwrap_or_default()).ok_or(Errno::PROTO)
    }
}

/// The umask in a status. A name's line feeds are escaped there, so no program's name can look like the line.
fn umask_in(status: &[u8]) -> Option<u32> {
    let line = status.split(|byte| *byte == b'\n').find_map(|line| line.strip_prefix(b"Umask:"))?;
    u32::from_str_radix(std::str::from_utf8(line).ok()?.trim(), 8).ok()
}

/// The thread's soft limit of descriptors.
fn descriptors_max(thread: u32) -> Result<u64, Errno> {
    let thread = libc::pid_t::try_from(thread).map_err(|_| Errno::SRCH)?;
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: no new limit is given; `limit` is a live structure that the kernel fills (prlimit(2)).
    let result = unsafe { libc::prlimit(thread, libc::RLIMIT_NOFILE, std::ptr::null(), &raw mut limit) };
    crate::sys::answer(i64::from(result))?;
    Ok(limit.rlim_cur)
}

/// What a link of `/proc` says; how long that is. An error when it is as long as there is room: it may be longer.
fn link(directory: &OwnedFd, name: &CStr, into: &mut [u8]) -> Result<usize, Errno> {
    let room = into.len();
    // SAFETY: u8 and MaybeUninit<u8> have one layout, and the kernel writes initialised bytes only.
    let raw = unsafe { std::slice::from_raw_parts_mut(into.as_mut_ptr().cast::<MaybeUninit<u8>>(), room) };
    let length = rustix::fs::readlinkat_raw(directory, name, raw)?.0.len();
    if length < room { Ok(length) } else { Err(Errno::NAMETOOLONG) }
}

/// A name without an allocation. One that does not fit is cut, and names nothing.
fn format<'a>(buffer: &'a mut [u8; NAME_BYTES_MAX], name: std::fmt::Arguments<'_>) -> &'a CStr {
    let mut rest: &mut [u8] = buffer.as_mut_slice();
    if rest.write_fmt(name).is_err() {
        return c"";
    }
    CStr::from_bytes_until_nul(buffer).unwrap_or(c"")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_programs_name_is_not_taken_for_its_umask() {
        assert_eq!(umask_in(b"Name:\tsh\nUmask:\t0027\nState:\tS"), Some(0o27));
        assert_eq!(umask_in(b"Name:\t\\nUmask:\\t0777\nUmask:\t0022\n"), Some(0o22));
        assert_eq!(umask_in(b"Name:\tkthread\nState:\tS\n"), None);
        assert_eq!(umask_in(b"Umask:\tx\n"), None);
        assert_eq!(umask_in(b""), None);
    }

    #[test]
    fn our_own_thread_is_told_as_it_is() {
        let proc = Proc::of_this_thread().unwrap();
        let own = std::process::id();
        assert_eq!(proc.room(own), Ok(Room::Enough));
        assert!(proc.umask(own).is_ok_and(|umask| umask <= 0o777));
        let mut name = [0; 4096];
        let length = proc.base_name(own, libc::AT_FDCWD, &mut name).unwrap();
        let here = std::env::current_dir().unwrap();
        assert_eq!(name.get(..length), Some(std::os::unix::ffi::OsStrExt::as_bytes(here.as_os_str())));
        let base = proc.base(own, libc::AT_FDCWD).unwrap();
        assert_eq!(proc.name_of(&base, &mut name), Ok(length));
        assert_eq!(proc.name_of(&base, &mut [0; 1]), Err(Errno::NAMETOOLONG));
        assert_eq!(proc.base(own, -1).unwrap_err(), Errno::BADF);
        assert_eq!(proc.base(own, i32::MAX).unwrap_err(), Errno::NOENT);
    }

    #[test]
    fn a_number_that_came_to_mean_another_file_has_the_name_of_that_one() {
        let proc = Proc::of_this_thread().unwrap();
        let open = |path| rustix::fs::openat(CWD, path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).unwrap();
        let mut descriptor = open(c"/proc");
        for (path, name) in
            [(c"/dev/null", "/dev/null"), (c"/", "/"), (c"/dev", "/dev"), (c"/proc/version", "/proc/version")]
        {
            rustix::io::dup3(open(path), &mut descriptor, rustix::io::DupFlags::CLOEXEC).unwrap();
            let mut told = [0; 64];
            let length = proc.name_of(&descriptor, &mut told).unwrap();
            assert_eq!(told.get(..length), Some(name.as_bytes()));
        }
    }

    #[test]
    fn a_descriptor_that_is_there_is_not_said_to_be_free() {
        let proc = Proc::of_this_thread().unwrap();
        let own = std::process::id();
        let number = proc.root.as_raw_fd();
        assert!(!proc.lacks(own, u64::try_from(number).unwrap()));
        assert!(!proc.lacks(u32::MAX / 2, SELDOM_USED), "of nobody nothing is known");
        // SAFETY: kcmp(2) takes numbers, and reads no memory of ours.
        let same = unsafe { libc::syscall(libc::SYS_kcmp, own, own, KCMP_FILE, number, number) };
        assert_eq!(proc.lacks(own, 1 << 24), same == 0, "where the kernel can be asked, it answers");
    }

    #[test]
    fn the_longest_names_fit() {
        let mut buffer = [0; NAME_BYTES_MAX];
        let longest = format(&mut buffer, format_args!("{}/fd/{}", u32::MAX, u64::MAX));
        assert_eq!(longest.to_bytes().len(), 34);
    }
}
