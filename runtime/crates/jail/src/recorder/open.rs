//! Opens files on behalf of a guest, so that what is recorded is what was opened.
//! It never rewrites or compares a path: the kernel resolves the guest's own bytes from the guest's own directory, with
//! the guest's flags and umask, in the guest's mount namespace and Landlock domain. Whatever it cannot do exactly as the
//! guest would is let through instead, and is then known from what the guest said alone.
//!
//! What is let through, and why it has to be:
//!
//! - pipes, sockets, terminals and devices (an open of them waits, or does something for whoever opens; `/dev/null` and
//!   its like do neither), and everything of `/proc` and other file systems whose files depend on who looks;
//! - links of `/proc` such as `/dev/stdout`: they would lead to descriptors of ours; and what the kernel refuses on a way
//!   through `/proc`, since `/proc/self` is another directory to the guest;
//! - `O_TMPFILE`: since Linux 6.10 only who opened such a file may name it by its descriptor (`AT_EMPTY_PATH`);
//! - `O_PATH`, whose descriptors the kernel does not pass on, and which change nothing;
//! - a thread whose table of descriptors may be full: the kernel refuses that before it makes a file, we only after;
//! - a lease to be broken, which takes as long as its holder likes.

use super::event::FileId;
use super::guest::{Proc, Room};
use super::way::{STEP, Way};
use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, ResolveFlags, StatxFlags, major, makedev, minor};
use rustix::io::Errno;
use rustix::thread::UnshareFlags;
use std::ffi::CStr;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};

/// `PATH_MAX` of the kernel, the NUL included; the longest name that it gives.
pub(crate) const PATH_BYTES_MAX: usize = 4096;
/// `VALID_OPEN_FLAGS` of the kernel: open(2) drops others silently, openat2(2) refuses them.
const FLAGS_KNOWN: u32 = 0o37_777_703;
/// `S_IALLUGO`: likewise of modes.
const MODE_KNOWN: u32 = 0o7777;
/// `__O_TMPFILE`, the bit that makes it one.
const TMPFILE: u32 = 0o20_000_000;
/// The kernel's end of the name of a file that has none any more.
const DELETED: &[u8] = b" (deleted)";
/// File systems whose files depend on who opens them, by their numbers (statfs(2)).
const LOOKED_AT: [i64; 15] = [
    0x9fa0,      // proc
    0x6265_6572, // sysfs
    0x0027_e0eb, // cgroup
    0x6367_7270, // cgroup2
    0x6462_6720, // debugfs
    0x7472_6163, // tracefs
    0x7363_6673, // securityfs
    0xf97c_ff8c, // selinuxfs
    0x4341_5d53, // smackfs
    0xcafe_4a11, // bpf
    0x6e73_6673, // nsfs
    0x1980_0202, // mqueue
    0x1cd1,      // devpts
    0x4249_4e4d, // binfmt_misc
    0x0187,      // autofs
];
/// File systems that are remembered.
const KNOWN_MAX: usize = 16;

/// An open that a guest asked for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Asked<'a> {
    /// The thread that waits for it, in our pid namespace.
    pub(crate) thread: u32,
    /// The directory that a relative path starts from.
    pub(crate) directory: i32,
    /// What it said.
    pub(crate) path: &'a CStr,
    /// Flags of open(2), as its register had them.
    pub(crate) flags: u32,
    /// Mode of a file that is made, as its register had it.
    pub(crate) mode: u32,
    /// Its umask. Only asked of who [`creates`].
    pub(crate) umask: Option<u32>,
}

/// What became of an open.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// It was performed: this is to become the guest's.
    Opened(Opened),
    /// It was performed, and the kernel refused.
    Refused(Errno),
    /// It was not performed, and nothing was done: the guest may.
    LetThrough(Why),
    /// Who asked is gone, and nothing was done.
    Gone,
}

/// A file that was opened for a guest. Close it before the next notification is read: until then the guest's own close is
/// not the last one, which execve(2) and flock(2) could tell, and are therefore told of. Likewise no process may be made
/// with a copy of it: see [`super::gate`].
#[derive(Debug)]
pub(crate) struct Opened {
    /// Ours.
    pub(crate) file: OwnedFd,
    /// Its identity.
    pub(crate) id: FileId,
    /// Whether the name was made with it: there was none before.
    pub(crate) made: bool,
    /// `O_CLOEXEC` for the guest's descriptor, or nothing.
    pub(crate) descriptor_flags: u32,
}

/// Why an open was let through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Why {
    /// `O_PATH`.
    PathOnly,
    /// A file without a name, which only who opened it may give one.
    Nameless,
    /// What is there waits, or depends on who opens it.
    Kind,
    /// A link of `/proc`, or too many links of any kind.
    Links,
    /// The directory to start from cannot be told.
    Directory,
    /// The table of descriptors may be full, the guest's or ours.
    Descriptors,
    /// A lease has to be broken, or there is nobody at the other end.
    Waits,
    /// A file may be made, and the umask for it is not known.
    Umask,
}

/// A name for the record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Name<'a> {
    /// Its bytes.
    pub(crate) bytes: &'a [u8],
    /// Whether it was longer.
    pub(crate) cut: bool,
}

/// Opens for guests. Belongs to the thread that made it.
#[derive(Debug)]
pub(crate) struct Opener {
    proc: Proc,
    /// That of this thread.
    umask: Option<u32>,
    /// Numbers of file systems and whether their files are looked at by who opens them, the first `known` of them.
    file_systems: [(u64, Nature); KNOWN_MAX],
    known: usize,
    name: [u8; PATH_BYTES_MAX],
    name_length: usize,
    name_cut: bool,
}

/// What is at a path before it is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum There {
    /// Nothing, or nothing that would be opened.
    Nothing,
    /// Something that opens the same for everybody, and at once; or something that cannot be reached.
    Something,
    /// Something for whose opening it matters who opens it, or who else does.
    OthersMatter,
}

/// What a file system is to whoever opens a file on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Nature {
    /// The same to everybody.
    Plain,
    /// Another one to each.
    LooksAtOpener,
}

/// Whether an open may make a file, and so needs the umask.
pub(crate) fn creates(flags: u32) -> bool {
    flags & libc::O_CREAT.cast_unsigned() != 0
}

/// Whether it is a device of the memory driver that reads and writes without waiting: null, zero, full, random, urandom
/// (mem(4)).
fn is_harmless(major: u32, minor: u32) -> bool {
    matches!((major, minor), (1, 3 | 5 | 7 | 8 | 9))
}

impl Opener {
    /// Takes this thread's umask and directory apart from those of the other threads for good: the umask is set for each
    /// file that is made.
    pub(crate) fn irrevocably_begin() -> Result<Self, Errno> {
        // SAFETY: umask and directories are no memory, and no other thread relies on this one to change its own
        // (unshare(2)).
        unsafe { rustix::thread::unshare_unsafe(UnshareFlags::FS) }?;
        let proc = Proc::of_this_thread()?;
        let mut file_systems = [(0, Nature::Plain); KNOWN_MAX];
        if let Some(first) = file_systems.first_mut() {
            *first = (proc.device()?, Nature::LooksAtOpener);
        }
        Ok(Self {
            proc,
            umask: None,
            file_systems,
            known: 1,
            name: [0; PATH_BYTES_MAX],
            name_length: 0,
            name_cut: false,
        })
    }

    /// What the kernel tells of guests.
    pub(crate) fn proc(&self) -> &Proc {
        &self.proc
    }

    /// The name of what the last open was about: as the kernel has it when it was opened, else what the guest said, after
    /// the name of the directory that it started from.
    pub(crate) fn name(&self) -> Name<'_> {
        Name { bytes: self.name.get(..self.name_length).unwrap_or_default(), cut: self.name_cut }
    }

    /// Performs an open, or says why not. `waits`: whether the guest still waits for it (`SECCOMP_IOCTL_NOTIF_ID_VALID`),
    /// asked when everything that its number leads to was opened, so that a process which took the number over is not
    /// mistaken for it.
    pub(crate) fn open(&mut self, asked: &Asked<'_>, waits: impl FnOnce() -> bool) -> Outcome {
        let absolute = asked.path.to_bytes().first() == Some(&b'/');
        let base = if absolute { Ok(None) } else { self.proc.base(asked.thread, asked.directory).map(Some) };
        let room = self.proc.room(asked.thread);
        self.name_length = 0;
        self.name_cut = false;
        if !waits() {
            return Outcome::Gone;
        }
        let outcome = match (&base, room) {
            (_, _) if asked.flags & libc::O_PATH.cast_unsigned() != 0 => Outcome::LetThrough(Why::PathOnly),
            (_, _) if asked.flags & TMPFILE != 0 => Outcome::LetThrough(Why::Nameless),
            (Err(_), _) => Outcome::LetThrough(Why::Directory),
            (_, Err(_) | Ok(Room::Scarce)) => Outcome::LetThrough(Why::Descriptors),
            (Ok(base), Ok(Room::Enough)) => self.perform(base.as_ref().map_or(CWD, OwnedFd::as_fd), asked),
        };
        if self.name_length == 0 {
            self.say(base.ok().flatten().as_ref(), asked);
        }
        outcome
    }

    fn perform(&mut self, base: BorrowedFd<'_>, asked: &Asked<'_>) -> Outcome {
        let there = self.there(base, asked);
        if there == There::OthersMatter {
            return Outcome::LetThrough(Why::Kind);
        }
        if creates(asked.flags) {
            let Some(umask) = asked.umask else { return Outcome::LetThrough(Why::Umask) };
            self.take_umask(umask);
        }
        match open(base, asked) {
            Ok(file) => self.opened(file, asked, there),
            // NXIO: nobody reads the pipe that is there by now. AGAIN: a lease. INTR: a file system's server is slow.
            Err(Errno::NXIO | Errno::INTR) => Outcome::LetThrough(Why::Waits),
            Err(Errno::AGAIN) if asked.flags & libc::O_NONBLOCK.cast_unsigned() == 0 => Outcome::LetThrough(Why::Waits),
            Err(Errno::LOOP) => Outcome::LetThrough(Why::Links),
            // Ours, not the guest's.
            Err(Errno::MFILE | Errno::NFILE) => Outcome::LetThrough(Why::Descriptors),
            Err(_) if self.leads_through_proc(base, asked.path) => Outcome::LetThrough(Why::Links),
            Err(errno) => Outcome::Refused(errno),
        }
    }

    /// Whether the way to a file goes through a file system that looks different to the guest. Walked step by step, as the
    /// kernel walks; by now somebody may have changed it, and then the guest is let through or not for no reason, but not
    /// told anything that is wrong.
    fn leads_through_proc(&mut self, base: BorrowedFd<'_>, path: &CStr) -> bool {
        let mut way = Way::new(path.to_bytes());
        let Ok(mut here) = rustix::fs::openat(base, way.start(), STEP, Mode::empty()) else { return false };
        loop {
            let Ok(found) = rustix::fs::fstat(&here) else { return false };
            if self.nature(found.st_dev, &here) == Nature::LooksAtOpener {
                return true;
            }
            let Some(name) = way.next() else { return false };
            // Here the kernel stopped, too.
            let Ok(next) = rustix::fs::openat(&here, &*name, STEP, Mode::empty()) else { return false };
            let Ok(found) = rustix::fs::fstat(&next) else { return false };
            if FileType::from_raw_mode(found.st_mode) != FileType::Symlink {
                here = next;
                continue;
            }
            if !way.follow(&next) {
                return false;
            }
            if way.begins_anew() {
                let Ok(root) = rustix::fs::openat(CWD, c"/", STEP, Mode::empty()) else { return false };
                here = root;
            }
        }
    }

    /// What is at the path now. What is there a moment later is looked at again when it is open; this look spares an open
    /// that would be noticed.
    fn there(&self, base: BorrowedFd<'_>, asked: &Asked<'_>) -> There {
        const EXCLUSIVE: u32 = libc::O_CREAT.cast_unsigned() | libc::O_EXCL.cast_unsigned();
        if asked.flags & EXCLUSIVE == EXCLUSIVE {
            // Whatever is there makes the open fail before it is touched.
            return There::Nothing;
        }
        let mut flags = AtFlags::STATX_DONT_SYNC;
        flags.set(AtFlags::SYMLINK_NOFOLLOW, asked.flags & libc::O_NOFOLLOW.cast_unsigned() != 0);
        let found = match rustix::fs::statx(base, asked.path, flags, StatxFlags::TYPE) {
            Ok(found) => found,
            Err(Errno::NOENT) => return There::Nothing,
            // What the open says is what the guest shall hear.
            Err(_) => return There::Something,
        };
        let file_system = makedev(found.stx_dev_major, found.stx_dev_minor);
        let same_to_all = match FileType::from_raw_mode(found.stx_mode.into()) {
            FileType::RegularFile => self.remembered(file_system) != Some(Nature::LooksAtOpener),
            FileType::Directory | FileType::Symlink => true,
            FileType::CharacterDevice => is_harmless(found.stx_rdev_major, found.stx_rdev_minor),
            FileType::Fifo | FileType::Socket | FileType::BlockDevice | FileType::Unknown => false,
        };
        if same_to_all { There::Something } else { There::OthersMatter }
    }

    /// Looks at what was opened. It may be something else than what was there before.
    fn opened(&mut self, file: OwnedFd, asked: &Asked<'_>, there: There) -> Outcome {
        let Ok(found) = rustix::fs::fstat(&file) else { return Outcome::LetThrough(Why::Kind) };
        let writes = asked.flags & libc::O_ACCMODE.cast_unsigned() != 0;
        let right = match FileType::from_raw_mode(found.st_mode) {
            FileType::RegularFile | FileType::Directory => self.nature(found.st_dev, &file) == Nature::Plain,
            FileType::CharacterDevice => is_harmless(major(found.st_rdev), minor(found.st_rdev)),
            // Put there in this moment, and somebody reads from it: so would the guest's own open have succeeded.
            FileType::Fifo => writes,
            FileType::Symlink | FileType::Socket | FileType::BlockDevice | FileType::Unknown => false,
        };
        if !right {
            return Outcome::LetThrough(Why::Kind);
        }
        if asked.flags & libc::O_NONBLOCK.cast_unsigned() == 0 {
            let flags = OFlags::from_bits_retain(asked.flags & FLAGS_KNOWN);
            if rustix::fs::fcntl_setfl(&file, flags).is_err() {
                return Outcome::LetThrough(Why::Kind);
            }
        }
        self.say_opened(&file, found.st_nlink == 0);
        Outcome::Opened(Opened {
            file,
            id: FileId { device: found.st_dev, inode: found.st_ino },
            made: asked.flags & libc::O_CREAT.cast_unsigned() != 0 && there == There::Nothing,
            descriptor_flags: asked.flags & libc::O_CLOEXEC.cast_unsigned(),
        })
    }

    fn take_umask(&mut self, umask: u32) {
        if self.umask != Some(umask) {
            rustix::process::umask(Mode::from_bits_retain(umask & 0o777));
            self.umask = Some(umask);
        }
    }

    fn remembered(&self, file_system: u64) -> Option<Nature> {
        self.file_systems.iter().take(self.known).find(|(number, _)| *number == file_system).map(|(_, nature)| *nature)
    }

    /// Of the file system that a file is on. Mounts do not change while a session lasts, so numbers keep their meaning.
    fn nature(&mut self, file_system: u64, file: &OwnedFd) -> Nature {
        if let Some(nature) = self.remembered(file_system) {
            return nature;
        }
        let Ok(found) = rustix::fs::fstatfs(file) else { return Nature::LooksAtOpener };
        let nature = if LOOKED_AT.contains(&found.f_type) { Nature::LooksAtOpener } else { Nature::Plain };
        if let Some(free) = self.file_systems.get_mut(self.known) {
            *free = (file_system, nature);
            self.known += 1;
        }
        nature
    }

    /// Notes what the guest said.
    fn say(&mut self, base: Option<&OwnedFd>, asked: &Asked<'_>) {
        let start = base.and_then(|base| self.proc.name_of(base, &mut self.name).ok()).unwrap_or(0);
        let said = asked.path.to_bytes();
        let separated = start > 0 && !self.name.get(..start).unwrap_or_default().ends_with(b"/");
        let parts = [if separated { &b"/"[..] } else { &[] }, said];
        let mut length = start;
        for part in parts {
            let room = self.name.get_mut(length..).unwrap_or_default();
            let fits = part.len().min(room.len());
            for (slot, byte) in room.iter_mut().zip(part) {
                *slot = *byte;
            }
            length += fits;
        }
        self.name_length = length;
        self.name_cut = start + usize::from(separated) + said.len() > length;
    }

    /// Notes what the kernel calls it.
    fn say_opened(&mut self, file: &OwnedFd, removed: bool) {
        // The kernel gives no name that is longer than a page; then what the guest said stays.
        let mut name = [0; PATH_BYTES_MAX];
        let Ok(mut length) = self.proc.name_of(file, &mut name) else { return };
        let whole = name.get(..length).unwrap_or_default();
        if removed && whole.ends_with(DELETED) {
            length -= DELETED.len();
        }
        self.name = name;
        self.name_length = length;
        self.name_cut = false;
    }
}

/// The open itself. `O_NONBLOCK`, so that nothing that was put there meanwhile makes us wait; `O_NOCTTY`, though the init
/// is no leader of a session that could get a terminal by this.
fn open(base: BorrowedFd<'_>, asked: &Asked<'_>) -> Result<OwnedFd, Errno> {
    let known = OFlags::from_bits_retain(asked.flags & FLAGS_KNOWN);
    let ours = OFlags::NONBLOCK | OFlags::CLOEXEC | OFlags::NOCTTY;
    // open(2) takes the mode of what makes a file alone; openat2(2) insists on it.
    let mode = if creates(asked.flags) { asked.mode & MODE_KNOWN } else { 0 };
    rustix::fs::openat2(base, asked.path, known | ours, Mode::from_bits_retain(mode), ResolveFlags::NO_MAGICLINKS)
}

#[cfg(test)]
mod tests;
