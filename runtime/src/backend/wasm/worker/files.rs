//! Files of one call: what it got, what it has open, and the acts on them, each resolved by the kernel and told.
//! It never acts on a path: a path becomes a descriptor first, and names are what the kernel says of that.

mod made;

use crate::backend::wasm::call::{Files, OpenFlags as Opening, Use, What};
use crate::backend::wasm::worker::ledger::{Ledger, OpenFile};
use crate::backend::wasm::worker::resolve::{Entry, Follow, NO_FOLLOW, PATH_BYTES_MAX, Tree};
use made::Made;
use rustix::fs::{AtFlags, Dir as Entries, FileType, Mode, OFlags, Stat, Timestamps};
use rustix::io::Errno;
use std::collections::HashMap;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::sync::Arc;
use wasmtime_wasi::filesystem::{Descriptor, Dir, File, FsPerms, OpenMode, WasiFilesystemCtx};
use wasmtime_wasi::p2::bindings::filesystem::types::{DescriptorFlags, OpenFlags, PathFlags};

/// Descriptors that a call has open at most, in handles and in streams. A worker has 16,384 for all of its calls (the jail's
/// limit): where many calls take all that they can, the last are refused theirs.
const OPEN_MAX: usize = 256;
/// Directories that a guest begins with.
const BEGINNINGS: usize = 3;
/// Entries of directories that a call has in its open listings, at most: each of them is in memory until its listing is
/// closed, and looked at before the guest goes on.
const LISTED_MAX: usize = 256 * 1024;

/// The acts of one call on files.
pub(super) struct FileState {
    tree: Arc<Tree>,
    files: Files,
    /// It was compiled without knowing of tools: see [`FileState::beginnings`].
    is_program: bool,
    ledger: Arc<Ledger>,
    directory: Vec<u8>,
    /// The directories that it begins with, once it has asked: guests ask for them again and again, for a name of them.
    begun: Option<Vec<(Descriptor, String)>>,
    /// What is known of descriptors by their numbers in the table; `None` for directories.
    open: HashMap<u32, Option<Arc<OpenFile>>>,
    /// One more of it is in each open file, which lives as long as any stream of it.
    held: Arc<()>,
    /// Entries of open listings, by their numbers in the table.
    listed: HashMap<u32, usize>,
    made: Made,
    /// What the parts that we did not write ourselves want to have.
    pub(super) theirs: WasiFilesystemCtx,
}

impl FileState {
    pub(super) fn new(tree: Arc<Tree>, files: Files, directory: Vec<u8>, ledger: Arc<Ledger>) -> Self {
        let (open, listed) = (HashMap::new(), HashMap::new());
        let (held, made) = (Arc::default(), Made::new(tree.umask()));
        Self {
            tree,
            files,
            is_program: false,
            ledger,
            directory,
            begun: None,
            open,
            held,
            listed,
            made,
            theirs: WasiFilesystemCtx::default(),
        }
    }

    /// Closes what is open; each file is told of when the last of its streams is gone too.
    pub(super) fn let_go(&mut self) {
        self.begun = None;
        self.open.clear();
    }

    /// Where the uses are told.
    pub(super) fn ledger(&self) -> Arc<Ledger> {
        Arc::clone(&self.ledger)
    }

    /// The directories that a guest begins with, by their names. `wasi-libc` forgets whether a path was absolute and takes
    /// the last of those that match equally well: `/` is last, so that absolute paths mean what they say. A program has no
    /// `/`: its relative paths would begin there.
    pub(super) fn beginnings(&mut self) -> Result<Vec<(Descriptor, String)>, Errno> {
        if self.files == Files::None {
            return Ok(Vec::new());
        }
        self.room_for(BEGINNINGS)?;
        if let Some(begun) = &self.begun {
            return Ok(begun.clone());
        }
        let mut beginnings = Vec::new();
        if let Ok(own) = std::str::from_utf8(&self.directory) {
            for name in [".", own] {
                beginnings.push((self.descriptor_of_directory(self.tree.directory(&self.directory)?), name.to_owned()));
            }
        }
        if !self.is_program {
            beginnings.push((self.descriptor_of_directory(self.tree.root()?), "/".to_owned()));
        }
        self.begun = Some(beginnings.clone());
        Ok(beginnings)
    }

    /// The guest is a program, whose paths begin in the workspace.
    pub(super) const fn begin_in_workspace(&mut self) {
        self.is_program = true;
    }

    /// What is open has a number now.
    pub(super) fn opened(&mut self, number: u32, file: Option<Arc<OpenFile>>) {
        self.open.insert(number, file);
    }

    /// The guest closed it.
    pub(super) fn closed(&mut self, number: u32) {
        self.open.remove(&number);
    }

    /// Whether a call may have so many more descriptors.
    fn room_for(&self, more: usize) -> Result<(), Errno> {
        let directories = self.open.values().filter(|file| file.is_none()).count();
        // Its own one is no file's.
        let files = Arc::strong_count(&self.held) - 1;
        if files + directories + more > OPEN_MAX { Err(Errno::MFILE) } else { Ok(()) }
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
        self.room_for(1)?;
        let found = self.tree.open(directory, path, asked.flags, made::mode(asked.flags, path))?;
        let stat = rustix::fs::fstat(&found)?;
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory => {
                // That it is there, and its attributes: of what is in it more is told.
                self.tell(What::Stat, self.tree.name(found.as_fd()), None);
                Ok((self.descriptor_of_directory(found), None))
            }
            FileType::RegularFile => {
                if asked.flags.contains(OFlags::CREATE | OFlags::EXCL) {
                    self.made.add(&stat, path);
                }
                let path = self.tree.name(found.as_fd());
                let told = if asked.writes {
                    self.tell(What::Open(asked.opening), path.clone(), None);
                    OpenFile::writing(self.ledger(), path, Arc::clone(&self.held))
                } else {
                    OpenFile::reading(self.ledger(), path, Arc::clone(&self.held))
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
        // What is longer, the kernel refuses, and nobody keeps.
        let told = says.get(..PATH_BYTES_MAX).unwrap_or(says).to_vec();
        self.change(What::Symlink { to: told }, directory, path, |entry| {
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
            self.made.is_named(old, &new)?;
            rustix::fs::renameat(&old.parent, old.name.as_slice(), &new.parent, new.name.as_slice())
        })
    }

    pub(super) fn link(&self, from: (BorrowedFd<'_>, &[u8]), to: (BorrowedFd<'_>, &[u8])) -> Result<(), Errno> {
        let what = What::Link { to: self.tree.unresolved(to.0, to.1) };
        self.change(what, from.0, from.1, |old| {
            let new = self.tree.entry(to.0, to.1)?;
            old.refuse_slash()?;
            new.refuse_slash()?;
            self.made.is_named(old, &new)?;
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

    /// A directory is to be listed, if there is room for its entries: how many those are.
    pub(super) fn listing(&self, directory: BorrowedFd<'_>) -> Result<usize, Errno> {
        let entries = self.room_to_list(directory);
        self.tell(What::List, self.tree.name(directory), entries.err());
        entries
    }

    fn room_to_list(&self, directory: BorrowedFd<'_>) -> Result<usize, Errno> {
        let mut entries = self.listed.values().sum::<usize>();
        let before = entries;
        for entry in Entries::read_from(directory)? {
            entry?;
            entries += 1;
            if entries > LISTED_MAX {
                return Err(Errno::NOMEM);
            }
        }
        Ok(entries - before)
    }

    /// A listing has a number now.
    pub(super) fn listed(&mut self, number: u32, entries: usize) {
        self.listed.insert(number, entries);
    }

    /// The guest closed it.
    pub(super) fn unlisted(&mut self, number: u32) {
        self.listed.remove(&number);
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

#[cfg(test)]
mod tests;
