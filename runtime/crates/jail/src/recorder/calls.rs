//! What a call is, in words: the number and the registers of each call that the recorder is told of, as an event.
//! It never decides what becomes of the call, and reads behind pointers only to tell what it saw there.

use super::event::{Asked, Bounded, Happened, How, NameChange, Peer, Property};
use super::guest::Proc;
use super::listener::Notification;
use super::memory::{End, Memory, Text};
use super::name::{self, Last};
use super::open::PATH_BYTES_MAX;
use crate::seccomp::{self, WRITING};

/// What a call is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Meaning {
    /// An open: of this directory and name, with these flags and this mode.
    Open(Open),
    /// A program: this one was asked for.
    Exec(Bounded),
    /// A process or a program begins: one of the first calls of its C library.
    Begins,
    /// Umask and directory come to be shared by processes, or not shared by threads.
    Shares,
    /// Permission bits for new files.
    Umask(u32),
    /// A process gives up rights for good.
    Confines,
    /// Nothing that is written down: the call only has to come after the recorder closed what it opened.
    Waits,
    /// Another event.
    Other(How, Happened),
}

/// An open, as it was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Open {
    /// Where a relative name begins: the descriptor, or `AT_FDCWD`.
    pub(super) directory: i32,
    /// Address of the name.
    pub(super) name: u64,
    /// Flags of open(2).
    pub(super) flags: u32,
    /// Permission bits.
    pub(super) mode: u32,
}

impl Open {
    /// As an event, of which nothing is known but what the guest said.
    pub(super) const fn happened(self, path: Bounded) -> Happened {
        Happened::Opened { path, flags: self.flags, mode: self.mode, errno: None, file: None, made: false }
    }

    /// Whether something can be changed through it.
    pub(super) const fn writes(self) -> bool {
        self.flags & WRITING != 0
    }
}

/// Whether a call is one of the first that a C library makes in a process or a program.
pub(super) fn begins(told: &Notification) -> bool {
    match i64::from(told.number) {
        libc::SYS_set_tid_address | libc::SYS_set_robust_list => true,
        #[cfg(target_arch = "x86_64")]
        libc::SYS_arch_prctl => true,
        _ => false,
    }
}

/// What a call means; what stands behind pointers is read now.
pub(super) fn meaning(told: &Notification, proc: &Proc) -> Meaning {
    let call = Told { told, proc };
    call.of_process()
        .or_else(|| call.of_file())
        .or_else(|| call.of_property())
        .or_else(|| call.of_socket())
        .unwrap_or_else(|| {
            let [first, second, third, ..] = told.arguments;
            let name = seccomp::name(told.number).unwrap_or("unknown");
            let what = Happened::Call { name, arguments: [first, second, third], errno: None };
            Meaning::Other(How::Confirmed, what)
        })
}

struct Told<'a> {
    told: &'a Notification,
    proc: &'a Proc,
}

impl Told<'_> {
    fn number(&self) -> i64 {
        i64::from(self.told.number)
    }

    fn argument(&self, index: usize) -> u64 {
        self.told.arguments.get(index).copied().unwrap_or(0)
    }

    /// The low half of a register: all that the kernel looks at where an `int` is passed.
    fn low(&self, index: usize) -> u32 {
        u32::try_from(self.argument(index) & 0xffff_ffff).unwrap_or(0)
    }

    fn of_process(&self) -> Option<Meaning> {
        let at = |directory: usize, name: usize, flags: u32, mode: usize| {
            let directory = self.low(directory).cast_signed();
            Meaning::Open(Open { directory, name: self.argument(name), flags, mode: self.low(mode) })
        };
        let here = |flags: u32, mode: usize| {
            Meaning::Open(Open { directory: libc::AT_FDCWD, name: self.argument(0), flags, mode: self.low(mode) })
        };
        Some(match self.number() {
            libc::SYS_openat => at(0, 1, self.low(2), 3),
            libc::SYS_execve => {
                Meaning::Exec(name::joined(self.proc, self.told.thread(), libc::AT_FDCWD, self.said(0)))
            }
            libc::SYS_execveat => Meaning::Exec(self.named(Some(0), 1)),
            _ if begins(self.told) => Meaning::Begins,
            libc::SYS_clone | libc::SYS_unshare => Meaning::Shares,
            libc::SYS_landlock_restrict_self => Meaning::Confines,
            libc::SYS_flock | libc::SYS_fcntl => Meaning::Waits,
            libc::SYS_umask => Meaning::Umask(self.low(0)),
            #[cfg(target_arch = "x86_64")]
            libc::SYS_open => here(self.low(1), 2),
            #[cfg(target_arch = "x86_64")]
            libc::SYS_creat => here((libc::O_CREAT | libc::O_WRONLY | libc::O_TRUNC).cast_unsigned(), 1),
            _ => return None,
        })
    }

    fn of_file(&self) -> Option<Meaning> {
        use NameChange::{Exchange, Link, MakeDirectory, MakeNode, RemoveDirectory, Rename, Symlink, Unlink};
        const EXCHANGE: u32 = 2;
        const REMOVE_DIRECTORY: u32 = libc::AT_REMOVEDIR.cast_unsigned();
        let one = |change, directory, name| (change, self.named(directory, name), None);
        // The name that comes to be, and what it is another one for.
        let two = |change, path, to| (change, path, Some(to));
        let (change, path, to) = match self.number() {
            libc::SYS_unlinkat if self.low(2) & REMOVE_DIRECTORY != 0 => one(RemoveDirectory, Some(0), 1),
            libc::SYS_unlinkat => one(Unlink, Some(0), 1),
            libc::SYS_renameat => two(Rename, self.named(Some(0), 1), self.named(Some(2), 3)),
            libc::SYS_renameat2 => {
                let change = if self.low(4) & EXCHANGE != 0 { Exchange } else { Rename };
                two(change, self.named(Some(0), 1), self.named(Some(2), 3))
            }
            libc::SYS_linkat => two(Link, self.named(Some(2), 3), self.named(Some(0), 1)),
            libc::SYS_symlinkat => two(Symlink, self.named(Some(1), 2), self.said(0)),
            libc::SYS_mkdirat => one(MakeDirectory, Some(0), 1),
            libc::SYS_mknodat => one(MakeNode, Some(0), 1),
            #[cfg(target_arch = "x86_64")]
            libc::SYS_unlink => one(Unlink, None, 0),
            #[cfg(target_arch = "x86_64")]
            libc::SYS_rmdir => one(RemoveDirectory, None, 0),
            #[cfg(target_arch = "x86_64")]
            libc::SYS_rename => two(Rename, self.named(None, 0), self.named(None, 1)),
            #[cfg(target_arch = "x86_64")]
            libc::SYS_link => two(Link, self.named(None, 1), self.named(None, 0)),
            #[cfg(target_arch = "x86_64")]
            libc::SYS_symlink => two(Symlink, self.named(None, 1), self.said(0)),
            #[cfg(target_arch = "x86_64")]
            libc::SYS_mkdir => one(MakeDirectory, None, 0),
            #[cfg(target_arch = "x86_64")]
            libc::SYS_mknod => one(MakeNode, None, 0),
            _ => return None,
        };
        Some(Meaning::Other(How::Observed, Happened::Name { change, path, to }))
    }

    fn of_property(&self) -> Option<Meaning> {
        use Property::{Length, Mode, Owner, RemoveAttribute, SetAttribute, Times};
        let mode = |index| Some(u64::from(self.low(index)));
        let owner = |uid, gid| Some(u64::from(self.low(uid)) << 32 | u64::from(self.low(gid)));
        let length = |index| Some(self.argument(index));
        let last = |flags| {
            let kept = self.low(flags) & libc::AT_SYMLINK_NOFOLLOW.cast_unsigned() != 0;
            if kept { Last::Kept } else { Last::Followed }
        };
        // Of a descriptor, where there is no name: confirmed, since a register says which.
        let (how, (property, path, value)) = match self.number() {
            libc::SYS_fchmod => (How::Confirmed, (Mode, self.descriptor(0), mode(1))),
            libc::SYS_fchown => (How::Confirmed, (Owner, self.descriptor(0), owner(1, 2))),
            libc::SYS_ftruncate => (How::Confirmed, (Length, self.descriptor(0), length(1))),
            libc::SYS_fsetxattr => (How::Confirmed, (SetAttribute, self.descriptor(0), None)),
            libc::SYS_fremovexattr => (How::Confirmed, (RemoveAttribute, self.descriptor(0), None)),
            libc::SYS_utimensat if self.argument(1) == 0 => (How::Confirmed, (Times, self.descriptor(0), None)),
            _ => (
                How::Observed,
                match self.number() {
                    libc::SYS_fchmodat => (Mode, self.file(Some(0), 1, Last::Followed), mode(2)),
                    libc::SYS_fchmodat2 => (Mode, self.file(Some(0), 1, last(3)), mode(2)),
                    libc::SYS_fchownat => (Owner, self.file(Some(0), 1, last(4)), owner(2, 3)),
                    libc::SYS_utimensat => (Times, self.file(Some(0), 1, last(3)), None),
                    libc::SYS_truncate => (Length, self.file(None, 0, Last::Followed), length(1)),
                    libc::SYS_setxattr => (SetAttribute, self.file(None, 0, Last::Followed), None),
                    libc::SYS_lsetxattr => (SetAttribute, self.named(None, 0), None),
                    libc::SYS_removexattr => (RemoveAttribute, self.file(None, 0, Last::Followed), None),
                    libc::SYS_lremovexattr => (RemoveAttribute, self.named(None, 0), None),
                    seccomp::SETXATTRAT => (SetAttribute, self.file(Some(0), 1, last(2)), None),
                    seccomp::REMOVEXATTRAT => (RemoveAttribute, self.file(Some(0), 1, last(2)), None),
                    #[cfg(target_arch = "x86_64")]
                    libc::SYS_chmod => (Mode, self.file(None, 0, Last::Followed), mode(1)),
                    #[cfg(target_arch = "x86_64")]
                    libc::SYS_chown => (Owner, self.file(None, 0, Last::Followed), owner(1, 2)),
                    #[cfg(target_arch = "x86_64")]
                    libc::SYS_lchown => (Owner, self.named(None, 0), owner(1, 2)),
                    #[cfg(target_arch = "x86_64")]
                    libc::SYS_utime | libc::SYS_utimes => (Times, self.file(None, 0, Last::Followed), None),
                    #[cfg(target_arch = "x86_64")]
                    libc::SYS_futimesat => (Times, self.file(Some(0), 1, Last::Followed), None),
                    _ => return None,
                },
            ),
        };
        Some(Meaning::Other(how, Happened::Property { property, path, value }))
    }

    fn of_socket(&self) -> Option<Meaning> {
        let (how, asked, peer) = match self.number() {
            libc::SYS_connect => (How::Observed, Asked::Connect, self.address(1, 2)),
            libc::SYS_bind => (How::Observed, Asked::Bind, self.address(1, 2)),
            libc::SYS_sendto => (How::Observed, Asked::Send, self.address(4, 5)),
            libc::SYS_listen => (How::Confirmed, Asked::Listen, Peer::Unknown),
            _ => return None,
        };
        Some(Meaning::Other(how, Happened::Socket { asked, peer }))
    }

    /// The string at an address, as it stands there.
    fn said(&self, name: usize) -> Bounded {
        let mut bytes = [0; PATH_BYTES_MAX];
        bounded(self.memory().text(self.argument(name), &mut bytes))
    }

    /// A name that is meant itself, also where it is a link.
    fn named(&self, directory: Option<usize>, name: usize) -> Bounded {
        self.file(directory, name, Last::Kept)
    }

    /// A name, in the directory that it is in.
    fn file(&self, directory: Option<usize>, name: usize, last: Last) -> Bounded {
        let directory = directory.map_or(libc::AT_FDCWD, |index| self.low(index).cast_signed());
        name::resolved(self.proc, self.told.thread(), directory, self.said(name), last)
    }

    /// What the kernel says of a descriptor.
    fn descriptor(&self, index: usize) -> Bounded {
        name::joined(self.proc, self.told.thread(), self.low(index).cast_signed(), Bounded::default())
    }

    fn address(&self, pointer: usize, length: usize) -> Peer {
        self.memory().peer(self.argument(pointer), u64::from(self.low(length)))
    }

    fn memory(&self) -> Memory {
        Memory::of(self.told.thread())
    }
}

/// A text that was read, as far as it was.
pub(super) fn bounded(text: Text<'_>) -> Bounded {
    Bounded { bytes: text.bytes.to_vec(), cut: text.end != End::Whole }
}
