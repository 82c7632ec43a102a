//! Files of one call: what it got, what it has open, and the acts on them, each resolved by the kernel and told.
//! It never acts on a path: a path becomes a descriptor first, and names are what the kernel says of that.

use crate::backend::wasm::call::{Files, OpenFlags as Opening, Use, What};
use crate::backend::wasm::worker::ledger::{Ledger, OpenFile};
use crate::backend::wasm::worker::resolve::{Entry, Follow, NO_FOLLOW, Tree};
use rustix::fs::{AtFlags, FileType, Mode, OFlags, Stat, Timespec, Timestamps, UTIME_NOW, UTIME_OMIT};
use rustix::io::Errno;
use std::collections::{HashMap, HashSet};
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use wasmtime_wasi::filesystem::{Descriptor, Dir, File, FsPerms, OpenMode, WasiFilesystemCtx};
use wasmtime_wasi::p2::bindings::clocks::wall_clock::Datetime;
use wasmtime_wasi::p2::bindings::filesystem::types::{
    DescriptorFlags, DescriptorStat, DescriptorType, ErrorCode, NewTimestamp, OpenFlags, PathFlags,
};

/// Descriptors that a call has open at most: a worker has a thousand and serves many calls.
const OPEN_MAX: usize = 256;

/// The acts of one call on files.
pub(super) struct FileState {
    tree: Arc<Tree>,
    files: Files,
    ledger: Arc<Ledger>,
    directory: Vec<u8>,
    /// What is known of descriptors by their numbers in the table; `None` for directories.
    open: HashMap<u32, Option<Arc<OpenFile>>>,
    /// Files that this call made, by device and inode.
    made: Mutex<HashSet<(u64, u64)>>,
    /// What the parts that we did not write ourselves want to have.
    pub(super) theirs: WasiFilesystemCtx,
}

impl FileState {
    pub(super) fn new(tree: Arc<Tree>, files: Files, directory: Vec<u8>, ledger: Arc<Ledger>) -> Self {
        let (open, made) = (HashMap::new(), Mutex::default());
        Self { tree, files, ledger, directory, open, made, theirs: WasiFilesystemCtx::default() }
    }

    /// Where the uses are told.
    pub(super) fn ledger(&self) -> Arc<Ledger> {
        Arc::clone(&self.ledger)
    }

    /// The directories that a guest begins with, by their names. `wasi-libc` forgets whether a path was absolute and takes
    /// the last of those that match equally well: `/` is last, so that absolute paths mean what they say.
    pub(super) fn beginnings(&self) -> Result<Vec<(Descriptor, String)>, Errno> {
        if self.files == Files::None {
            return Ok(Vec::new());
        }
        let mut beginnings = Vec::new();
        if let Ok(own) = std::str::from_utf8(&self.directory) {
            for name in [".", own] {
                beginnings.push((self.descriptor_of_directory(self.tree.directory(&self.directory)?), name.to_owned()));
            }
        }
        beginnings.push((self.descriptor_of_directory(self.tree.root()?), "/".to_owned()));
        Ok(beginnings)
    }

    /// What is open has a number now.
    pub(super) fn opened(&mut self, number: u32, file: Option<Arc<OpenFile>>) {
        self.open.insert(number, file);
    }

    /// The guest closed it.
    pub(super) fn closed(&mut self, number: u32) {
        self.open.remove(&number);
    }

    /// An open file by its number.
    pub(super) fn file(&self, number: u32) -> Option<&Arc<OpenFile>> {
        self.open.get(&number).and_then(Option::as_ref)
    }

    /// Opens what a path leads to.
    pub(super) fn open_at(
        &self,
        directory: BorrowedFd<'_>,
        path: &[u8],
        asked: Asked,
    ) -> Result<(Descriptor, Option<Arc<OpenFile>>), Errno> {
        let opened = self.try_open(directory, path, asked);
        if let Err(errno) = &opened {
            let what = if asked.writes { What::Open(asked.opening) } else { What::Read };
            self.tell(what, self.tree.unresolved(directory, path), Some(*errno));
        }
        opened
    }

    fn try_open(
        &self,
        directory: BorrowedFd<'_>,
        path: &[u8],
        asked: Asked,
    ) -> Result<(Descriptor, Option<Arc<OpenFile>>), Errno> {
        if asked.writes {
            self.may_change()?;
        }
        if self.open.len() >= OPEN_MAX {
            return Err(Errno::MFILE);
        }
        // openat2(2) wants a mode where a file is made, and refuses one where none is.
        let mode = if asked.flags.contains(OFlags::CREATE) { Mode::from_raw_mode(0o666) } else { Mode::empty() };
        let found = self.tree.open(directory, path, asked.flags, mode)?;
        let stat = rustix::fs::fstat(&found)?;
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory => Ok((self.descriptor_of_directory(found), None)),
            FileType::RegularFile => {
                if asked.flags.contains(OFlags::CREATE | OFlags::EXCL) {
                    self.made().insert((stat.st_dev, stat.st_ino));
                }
                let path = self.tree.name(found.as_fd());
                let told = if asked.writes {
                    self.tell(What::Open(asked.opening), path.clone(), None);
                    OpenFile::writing(self.ledger(), path)
                } else {
                    OpenFile::reading(self.ledger(), path)
                };
                let file = File::new(found.into(), self.rights(), asked.mode, true);
                Ok((Descriptor::File(file), Some(Arc::new(told))))
            }
            // Devices, pipes and sockets: some make a worker wait, others are randomness, a terminal or another program.
            FileType::Symlink
            | FileType::Fifo
            | FileType::Socket
            | FileType::CharacterDevice
            | FileType::BlockDevice
            | FileType::Unknown => Err(Errno::NXIO),
        }
    }

    /// The attributes of what a path leads to.
    pub(super) fn stat_at(&self, directory: BorrowedFd<'_>, path: &[u8], follow: Follow) -> Result<Stat, Errno> {
        match self.tree.look(directory, path, follow) {
            Ok((found, stat)) => {
                self.tell(What::Stat, self.tree.name(found.as_fd()), None);
                Ok(stat)
            }
            Err(errno) => {
                self.tell(What::Stat, self.tree.unresolved(directory, path), Some(errno));
                Err(errno)
            }
        }
    }

    /// What a symbolic link says.
    pub(super) fn read_link(&self, directory: BorrowedFd<'_>, path: &[u8]) -> Result<Vec<u8>, Errno> {
        self.on(What::ReadLink, directory, path, |entry| {
            entry.refuse_slash()?;
            rustix::fs::readlinkat(&entry.parent, entry.name.as_slice(), Vec::new()).map(std::ffi::CString::into_bytes)
        })
    }

    pub(super) fn unlink(&self, directory: BorrowedFd<'_>, path: &[u8]) -> Result<(), Errno> {
        self.change(What::Unlink, directory, path, |entry| {
            entry.refuse_slash()?;
            rustix::fs::unlinkat(&entry.parent, entry.name.as_slice(), AtFlags::empty())
        })
    }

    pub(super) fn remove_directory(&self, directory: BorrowedFd<'_>, path: &[u8]) -> Result<(), Errno> {
        self.change(What::RemoveDirectory, directory, path, |entry| {
            rustix::fs::unlinkat(&entry.parent, entry.name.as_slice(), AtFlags::REMOVEDIR)
        })
    }

    pub(super) fn make_directory(&self, directory: BorrowedFd<'_>, path: &[u8]) -> Result<(), Errno> {
        self.change(What::MakeDirectory, directory, path, |entry| {
            rustix::fs::mkdirat(&entry.parent, entry.name.as_slice(), Mode::from_raw_mode(0o777))
        })
    }

    pub(super) fn make_symlink(&self, directory: BorrowedFd<'_>, says: &[u8], path: &[u8]) -> Result<(), Errno> {
        self.change(What::Symlink { to: says.to_vec() }, directory, path, |entry| {
            entry.refuse_slash()?;
            rustix::fs::symlinkat(says, &entry.parent, entry.name.as_slice())
        })
    }

    pub(super) fn rename(&self, from: (BorrowedFd<'_>, &[u8]), to: (BorrowedFd<'_>, &[u8])) -> Result<(), Errno> {
        let what = What::Rename { to: self.tree.unresolved(to.0, to.1) };
        self.change(what, from.0, from.1, |old| {
            let new = self.tree.entry(to.0, to.1)?;
            // A slash at the end would make the kernel follow a link: it is told whether a directory is meant by a look.
            if old.is_directory || new.is_directory {
                old.must_be_directory()?;
            }
            self.take_mode(old, &new)?;
            rustix::fs::renameat(&old.parent, old.name.as_slice(), &new.parent, new.name.as_slice())
        })
    }

    /// A file that this call made takes the permissions of the one whose place it takes: WASI 0.2 has no word for them, and
    /// who replaces a script's content does not mean to make it one that cannot be run.
    fn take_mode(&self, old: &Entry, new: &Entry) -> Result<(), Errno> {
        let Ok(replaced) = rustix::fs::statat(&new.parent, new.name.as_slice(), AtFlags::SYMLINK_NOFOLLOW) else {
            // Nothing is replaced.
            return Ok(());
        };
        if FileType::from_raw_mode(replaced.st_mode) != FileType::RegularFile {
            return Ok(());
        }
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = rustix::fs::openat(&old.parent, old.name.as_slice(), flags, Mode::empty())?;
        let stat = rustix::fs::fstat(&file)?;
        if !self.made().contains(&(stat.st_dev, stat.st_ino)) {
            return Ok(());
        }
        rustix::fs::fchmod(&file, Mode::from_raw_mode(replaced.st_mode & 0o777))
    }

    fn made(&self) -> MutexGuard<'_, HashSet<(u64, u64)>> {
        self.made.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn link(&self, from: (BorrowedFd<'_>, &[u8]), to: (BorrowedFd<'_>, &[u8])) -> Result<(), Errno> {
        let what = What::Link { to: self.tree.unresolved(to.0, to.1) };
        self.change(what, from.0, from.1, |old| {
            let new = self.tree.entry(to.0, to.1)?;
            old.refuse_slash()?;
            new.refuse_slash()?;
            let (old_name, new_name) = (old.name.as_slice(), new.name.as_slice());
            rustix::fs::linkat(&old.parent, old_name, &new.parent, new_name, AtFlags::empty())
        })
    }

    pub(super) fn set_times_at(
        &self,
        directory: BorrowedFd<'_>,
        path: &[u8],
        follow: Follow,
        times: &Timestamps,
    ) -> Result<(), Errno> {
        if follow == Follow::Nothing {
            return self.change(What::SetTimes, directory, path, |entry| {
                rustix::fs::utimensat(&entry.parent, entry.name.as_slice(), times, NO_FOLLOW)
            });
        }
        let done = self.may_change().and_then(|()| self.tree.look(directory, path, follow)).and_then(|(found, _)| {
            let name = self.tree.name(found.as_fd());
            rustix::fs::utimensat(&found, "", times, AtFlags::EMPTY_PATH).map(|()| name)
        });
        match done {
            Ok(name) => {
                self.tell(What::SetTimes, name, None);
                Ok(())
            }
            Err(errno) => {
                self.tell(What::SetTimes, self.tree.unresolved(directory, path), Some(errno));
                Err(errno)
            }
        }
    }

    /// Does something to an open file, and tells it.
    pub(super) fn on_open(
        &self,
        what: What,
        file: BorrowedFd<'_>,
        act: impl FnOnce() -> Result<(), Errno>,
    ) -> Result<(), Errno> {
        let done = self.may_change().and_then(|()| act());
        self.tell(what, self.tree.name(file), done.err());
        done
    }

    /// A directory is listed.
    pub(super) fn listing(&self, directory: BorrowedFd<'_>) {
        self.tell(What::List, self.tree.name(directory), None);
    }

    fn change<T>(
        &self,
        what: What,
        directory: BorrowedFd<'_>,
        path: &[u8],
        act: impl FnOnce(&Entry) -> Result<T, Errno>,
    ) -> Result<T, Errno> {
        self.on(what, directory, path, |entry| {
            self.may_change()?;
            act(entry)
        })
    }

    /// Does something to an entry of a directory, and tells it.
    fn on<T>(
        &self,
        what: What,
        directory: BorrowedFd<'_>,
        path: &[u8],
        act: impl FnOnce(&Entry) -> Result<T, Errno>,
    ) -> Result<T, Errno> {
        match self.tree.entry(directory, path) {
            Ok(entry) => {
                let name = self.tree.entry_name(&entry);
                let done = act(&entry);
                self.tell(what, name, done.as_ref().err().copied());
                done
            }
            Err(errno) => {
                self.tell(what, self.tree.unresolved(directory, path), Some(errno));
                Err(errno)
            }
        }
    }

    fn tell(&self, what: What, path: Vec<u8>, errno: Option<Errno>) {
        self.ledger.push(Use { errno: errno.map(Errno::raw_os_error), ..Use::new(what, path) });
    }

    /// A tool that was given files to read gets the answer that a read-only file system gives, before the kernel is asked.
    fn may_change(&self) -> Result<(), Errno> {
        if self.files == Files::Write { Ok(()) } else { Err(Errno::ROFS) }
    }

    fn rights(&self) -> FsPerms {
        if self.files == Files::Write { FsPerms::ReadWrite } else { FsPerms::ReadOnly }
    }

    fn descriptor_of_directory(&self, directory: OwnedFd) -> Descriptor {
        let mode = if self.files == Files::Write { OpenMode::READ | OpenMode::WRITE } else { OpenMode::READ };
        Descriptor::Dir(Dir::new(directory.into(), self.rights(), mode, true))
    }
}

impl Entry {
    /// For what acts on names that are no directory's.
    fn refuse_slash(&self) -> Result<(), Errno> {
        if self.is_directory { Err(Errno::NOTDIR) } else { Ok(()) }
    }

    fn must_be_directory(&self) -> Result<(), Errno> {
        let stat = rustix::fs::statat(&self.parent, self.name.as_slice(), NO_FOLLOW)?;
        let is_directory = FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
        if is_directory { Ok(()) } else { Err(Errno::NOTDIR) }
    }
}

/// How a guest wants to open something.
#[derive(Debug, Clone, Copy)]
pub(super) struct Asked {
    flags: OFlags,
    opening: Opening,
    mode: OpenMode,
    writes: bool,
}

impl Asked {
    pub(super) fn new(path: PathFlags, open: OpenFlags, descriptor: DescriptorFlags) -> Result<Self, Errno> {
        let synced = DescriptorFlags::FILE_INTEGRITY_SYNC
            | DescriptorFlags::DATA_INTEGRITY_SYNC
            | DescriptorFlags::REQUESTED_WRITE_SYNC;
        if descriptor.intersects(synced) {
            return Err(Errno::NOTSUP);
        }
        let opening = Opening {
            create: open.contains(OpenFlags::CREATE),
            exclusive: open.contains(OpenFlags::EXCLUSIVE),
            truncate: open.contains(OpenFlags::TRUNCATE),
        };
        let directory = open.contains(OpenFlags::DIRECTORY);
        if directory && (opening.create || opening.exclusive || opening.truncate) {
            return Err(Errno::INVAL);
        }
        let writes = descriptor.contains(DescriptorFlags::WRITE) || opening.create || opening.truncate;
        // What is opened for neither is opened to be read, so that the kernel opens it at all.
        let reads = descriptor.contains(DescriptorFlags::READ) || !descriptor.contains(DescriptorFlags::WRITE);
        let (mut flags, mode) = match (reads, writes) {
            (true, true) => (OFlags::RDWR, OpenMode::READ | OpenMode::WRITE),
            (false, true) => (OFlags::WRONLY, OpenMode::WRITE),
            (_, false) => (OFlags::RDONLY, OpenMode::READ),
        };
        flags.set(OFlags::CREATE, opening.create);
        flags.set(OFlags::EXCL, opening.create && opening.exclusive);
        flags.set(OFlags::TRUNC, opening.truncate);
        flags.set(OFlags::DIRECTORY, directory);
        flags.set(OFlags::NOFOLLOW, follow(path) == Follow::Nothing);
        Ok(Self { flags, opening, mode, writes })
    }
}

/// Whether a guest wants a link at the end to be followed.
pub(super) fn follow(flags: PathFlags) -> Follow {
    if flags.contains(PathFlags::SYMLINK_FOLLOW) { Follow::Links } else { Follow::Nothing }
}

/// The kernel's answer as a guest knows it.
pub(super) fn code(errno: Errno) -> ErrorCode {
    match errno {
        Errno::ROFS => ErrorCode::ReadOnly,
        Errno::XDEV => ErrorCode::CrossDevice,
        Errno::NXIO => ErrorCode::NoSuchDevice,
        Errno::TXTBSY => ErrorCode::TextFileBusy,
        Errno::DQUOT => ErrorCode::Quota,
        Errno::MFILE | Errno::NFILE => ErrorCode::InsufficientMemory,
        other => ErrorCode::from(std::io::Error::from(other)),
    }
}

/// Attributes as a guest knows them.
pub(super) fn attributes(stat: &Stat) -> DescriptorStat {
    let type_ = match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => DescriptorType::RegularFile,
        FileType::Directory => DescriptorType::Directory,
        FileType::Symlink => DescriptorType::SymbolicLink,
        FileType::Fifo => DescriptorType::Fifo,
        FileType::Socket => DescriptorType::Socket,
        FileType::CharacterDevice => DescriptorType::CharacterDevice,
        FileType::BlockDevice => DescriptorType::BlockDevice,
        FileType::Unknown => DescriptorType::Unknown,
    };
    // Before 1970 there is no time in WASI.
    let time = |seconds: i64, nanoseconds: u64| {
        let (seconds, nanoseconds) = (u64::try_from(seconds).ok()?, u32::try_from(nanoseconds).ok()?);
        Some(Datetime { seconds, nanoseconds })
    };
    DescriptorStat {
        type_,
        link_count: stat.st_nlink,
        size: u64::try_from(stat.st_size).unwrap_or(0),
        data_access_timestamp: time(stat.st_atime, stat.st_atime_nsec),
        data_modification_timestamp: time(stat.st_mtime, stat.st_mtime_nsec),
        status_change_timestamp: time(stat.st_ctime, stat.st_ctime_nsec),
    }
}

/// Times that a guest wants, as the kernel takes them.
pub(super) fn times(access: NewTimestamp, change: NewTimestamp) -> Result<Timestamps, Errno> {
    let time = |new: NewTimestamp| match new {
        NewTimestamp::NoChange => Ok(Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT }),
        NewTimestamp::Now => Ok(Timespec { tv_sec: 0, tv_nsec: UTIME_NOW }),
        NewTimestamp::Timestamp(Datetime { seconds, nanoseconds }) => {
            let whole = seconds.checked_add(u64::from(nanoseconds / 1_000_000_000)).ok_or(Errno::OVERFLOW)?;
            let tv_sec = i64::try_from(whole).map_err(|_| Errno::OVERFLOW)?;
            Ok(Timespec { tv_sec, tv_nsec: i64::from(nanoseconds % 1_000_000_000) })
        }
    };
    Ok(Timestamps { last_access: time(access)?, last_modification: time(change)? })
}

#[cfg(test)]
mod tests;
