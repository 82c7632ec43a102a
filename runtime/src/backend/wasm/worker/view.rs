//! `wasi:filesystem` as a guest meets it: each function of the interface, handed to what resolves, acts and tells.
//! It never decides about a path; what does not depend on one is wasmtime's own.

use crate::backend::wasm::call::What;
use crate::backend::wasm::worker::files::{Asked, FileState, follow};
use crate::backend::wasm::worker::guest::{Guest, NotGiven};
use crate::backend::wasm::worker::streams::{At, CHUNK_BYTES, FileReader, FileWriter, read_at, write_at};
use crate::backend::wasm::worker::words::{attributes, code, times};
use rustix::fs::Stat;
use rustix::io::Errno;
use std::fs::File;
use std::hash::{Hash as _, Hasher as _};
use std::os::fd::AsFd as _;
use std::sync::Arc;
use wasmtime::component::{HasData, Resource, ResourceTable};
use wasmtime_wasi::filesystem::{Descriptor, WasiFilesystemCtxView};
use wasmtime_wasi::p2::bindings::filesystem::preopens;
use wasmtime_wasi::p2::bindings::filesystem::types::{
    self, Advice, DescriptorFlags, DescriptorStat, DescriptorType, DirectoryEntry, DirectoryEntryStream, ErrorCode,
    Filesize, HostDescriptor, HostDirectoryEntryStream, MetadataHashValue, NewTimestamp, OpenFlags, PathFlags,
};
use wasmtime_wasi::p2::{DynInputStream, DynOutputStream, FsError, FsResult};

/// The files of a guest, and its table of handles.
pub(super) struct FileView<'a> {
    state: &'a mut FileState,
    table: &'a mut ResourceTable,
}

/// Names the view to wasmtime.
pub(super) struct OwnFiles;

impl HasData for OwnFiles {
    type Data<'a> = FileView<'a>;
}

impl Guest {
    /// Its files.
    pub(super) fn files(&mut self) -> FileView<'_> {
        FileView { state: &mut self.files, table: &mut self.table }
    }
}

impl FileView<'_> {
    fn theirs(&mut self) -> WasiFilesystemCtxView<'_> {
        WasiFilesystemCtxView { ctx: &mut self.state.theirs, table: self.table }
    }

    fn directory(&self, fd: &Resource<Descriptor>) -> FsResult<Arc<File>> {
        match self.table.get(fd)? {
            Descriptor::Dir(directory) => Ok(Arc::clone(&directory.dir)),
            Descriptor::File(_) => Err(ErrorCode::NotDirectory.into()),
        }
    }

    fn file(&self, fd: &Resource<Descriptor>) -> FsResult<Arc<File>> {
        match self.table.get(fd)? {
            Descriptor::File(file) => Ok(Arc::clone(&file.file)),
            Descriptor::Dir(_) => Err(ErrorCode::IsDirectory.into()),
        }
    }

    fn either(&self, fd: &Resource<Descriptor>) -> FsResult<Arc<File>> {
        Ok(match self.table.get(fd)? {
            Descriptor::File(file) => Arc::clone(&file.file),
            Descriptor::Dir(directory) => Arc::clone(&directory.dir),
        })
    }

    /// A file that can be written, as far as the grant says; the kernel says the rest.
    fn writable(&self, fd: &Resource<Descriptor>) -> FsResult<Arc<File>> {
        match self.table.get(fd)? {
            Descriptor::File(file) if file.perms.write_not_permitted() => Err(ErrorCode::ReadOnly.into()),
            Descriptor::File(file) => Ok(Arc::clone(&file.file)),
            Descriptor::Dir(_) => Err(ErrorCode::IsDirectory.into()),
        }
    }

    /// What is told of an open file.
    fn counted(&self, fd: &Resource<Descriptor>) -> FsResult<Arc<super::ledger::OpenFile>> {
        self.state.file(fd.rep()).cloned().ok_or_else(|| ErrorCode::BadDescriptor.into())
    }

    /// The supervisor hears what waits before more is done.
    async fn heard(&mut self) {
        self.state.ledger().make_room().await;
    }
}

fn failed(errno: Errno) -> FsError {
    code(errno).into()
}

fn identity(stat: &Stat) -> MetadataHashValue {
    let hash = |salt: u8| {
        let mut hasher = std::hash::DefaultHasher::new();
        (salt, stat.st_dev, stat.st_ino).hash(&mut hasher);
        hasher.finish()
    };
    MetadataHashValue { lower: hash(0), upper: hash(1) }
}

impl preopens::Host for FileView<'_> {
    fn get_directories(&mut self) -> wasmtime::Result<Vec<(Resource<Descriptor>, String)>> {
        let beginnings = self.state.beginnings().map_err(|errno| {
            let why = crate::error::plain(&std::io::Error::from(errno));
            NotGiven::because(format!("the directories that the tool was given cannot be opened: {why}"))
        })?;
        let mut given = Vec::new();
        for (descriptor, name) in beginnings {
            let handle = self.table.push(descriptor)?;
            self.state.opened(handle.rep(), None);
            given.push((handle, name));
        }
        Ok(given)
    }
}

impl types::Host for FileView<'_> {
    fn convert_error_code(&mut self, error: FsError) -> wasmtime::Result<ErrorCode> {
        error.downcast()
    }

    fn filesystem_error_code(&mut self, error: Resource<wasmtime::Error>) -> wasmtime::Result<Option<ErrorCode>> {
        types::Host::filesystem_error_code(&mut self.theirs(), error)
    }
}

impl HostDescriptor for FileView<'_> {
    async fn advise(
        &mut self,
        fd: Resource<Descriptor>,
        offset: Filesize,
        length: Filesize,
        advice: Advice,
    ) -> FsResult<()> {
        HostDescriptor::advise(&mut self.theirs(), fd, offset, length, advice).await
    }

    async fn sync_data(&mut self, fd: Resource<Descriptor>) -> FsResult<()> {
        HostDescriptor::sync_data(&mut self.theirs(), fd).await
    }

    async fn get_flags(&mut self, fd: Resource<Descriptor>) -> FsResult<DescriptorFlags> {
        HostDescriptor::get_flags(&mut self.theirs(), fd).await
    }

    async fn get_type(&mut self, fd: Resource<Descriptor>) -> FsResult<DescriptorType> {
        HostDescriptor::get_type(&mut self.theirs(), fd).await
    }

    async fn set_size(&mut self, fd: Resource<Descriptor>, size: Filesize) -> FsResult<()> {
        self.heard().await;
        let file = self.file(&fd)?;
        let act = || rustix::fs::ftruncate(&file, size);
        self.state.on_open(What::SetSize { size }, file.as_fd(), act).map_err(failed)
    }

    async fn set_times(
        &mut self,
        fd: Resource<Descriptor>,
        access: NewTimestamp,
        change: NewTimestamp,
    ) -> FsResult<()> {
        self.heard().await;
        let (file, times) = (self.either(&fd)?, times(access, change).map_err(failed)?);
        self.state.on_open(What::SetTimes, file.as_fd(), || rustix::fs::futimens(&file, &times)).map_err(failed)
    }

    async fn read(
        &mut self,
        fd: Resource<Descriptor>,
        length: Filesize,
        offset: Filesize,
    ) -> FsResult<(Vec<u8>, bool)> {
        let (file, counted) = (self.file(&fd)?, self.counted(&fd)?);
        let mut bytes = vec![0; usize::try_from(length).unwrap_or(usize::MAX).min(CHUNK_BYTES)];
        let count = read_at(&file, &mut bytes, offset)?;
        counted.read(count);
        bytes.truncate(count);
        Ok((bytes, count == 0))
    }

    async fn write(&mut self, fd: Resource<Descriptor>, bytes: Vec<u8>, offset: Filesize) -> FsResult<Filesize> {
        let (file, counted) = (self.writable(&fd)?, self.counted(&fd)?);
        let count = write_at(&file, &bytes, offset)?;
        counted.wrote(count);
        Filesize::try_from(count).map_err(|_| ErrorCode::Overflow.into())
    }

    async fn read_directory(&mut self, fd: Resource<Descriptor>) -> FsResult<Resource<DirectoryEntryStream>> {
        self.heard().await;
        let directory = self.directory(&fd)?;
        let entries = self.state.listing(directory.as_fd()).map_err(failed)?;
        let stream = HostDescriptor::read_directory(&mut self.theirs(), fd).await?;
        self.state.listed(stream.rep(), entries);
        Ok(stream)
    }

    async fn sync(&mut self, fd: Resource<Descriptor>) -> FsResult<()> {
        HostDescriptor::sync(&mut self.theirs(), fd).await
    }

    async fn create_directory_at(&mut self, fd: Resource<Descriptor>, path: String) -> FsResult<()> {
        self.heard().await;
        let directory = self.directory(&fd)?;
        self.state.make_directory(directory.as_fd(), path.as_bytes()).map_err(failed)
    }

    async fn stat(&mut self, fd: Resource<Descriptor>) -> FsResult<DescriptorStat> {
        // What is open is told: a directory when it was opened, a file when it is closed.
        rustix::fs::fstat(&self.either(&fd)?).map(|stat| attributes(&stat)).map_err(failed)
    }

    async fn stat_at(&mut self, fd: Resource<Descriptor>, flags: PathFlags, path: String) -> FsResult<DescriptorStat> {
        self.heard().await;
        let directory = self.directory(&fd)?;
        let stat = self.state.stat_at(directory.as_fd(), path.as_bytes(), follow(flags)).map_err(failed)?;
        Ok(attributes(&stat))
    }

    async fn set_times_at(
        &mut self,
        fd: Resource<Descriptor>,
        flags: PathFlags,
        path: String,
        access: NewTimestamp,
        change: NewTimestamp,
    ) -> FsResult<()> {
        self.heard().await;
        let (directory, times) = (self.directory(&fd)?, times(access, change).map_err(failed)?);
        self.state.set_times_at(directory.as_fd(), path.as_bytes(), follow(flags), &times).map_err(failed)
    }

    async fn link_at(
        &mut self,
        fd: Resource<Descriptor>,
        flags: PathFlags,
        old: String,
        new_fd: Resource<Descriptor>,
        new: String,
    ) -> FsResult<()> {
        self.heard().await;
        if flags.contains(PathFlags::SYMLINK_FOLLOW) {
            return Err(ErrorCode::Invalid.into());
        }
        let (from, to) = (self.directory(&fd)?, self.directory(&new_fd)?);
        self.state.link((from.as_fd(), old.as_bytes()), (to.as_fd(), new.as_bytes())).map_err(failed)
    }

    async fn open_at(
        &mut self,
        fd: Resource<Descriptor>,
        path_flags: PathFlags,
        path: String,
        open_flags: OpenFlags,
        flags: DescriptorFlags,
    ) -> FsResult<Resource<Descriptor>> {
        self.heard().await;
        let directory = self.directory(&fd)?;
        let asked = Asked::new(path_flags, open_flags, flags).map_err(failed)?;
        let (descriptor, told) = self.state.open_at(directory.as_fd(), path.as_bytes(), asked).map_err(failed)?;
        let handle = self.table.push(descriptor)?;
        self.state.opened(handle.rep(), told);
        Ok(handle)
    }

    fn drop(&mut self, fd: Resource<Descriptor>) -> wasmtime::Result<()> {
        let number = fd.rep();
        self.table.delete(fd)?;
        self.state.closed(number);
        Ok(())
    }

    async fn readlink_at(&mut self, fd: Resource<Descriptor>, path: String) -> FsResult<String> {
        self.heard().await;
        let directory = self.directory(&fd)?;
        let says = self.state.read_link(directory.as_fd(), path.as_bytes()).map_err(failed)?;
        String::from_utf8(says).map_err(|_| ErrorCode::IllegalByteSequence.into())
    }

    async fn remove_directory_at(&mut self, fd: Resource<Descriptor>, path: String) -> FsResult<()> {
        self.heard().await;
        let directory = self.directory(&fd)?;
        self.state.remove_directory(directory.as_fd(), path.as_bytes()).map_err(failed)
    }

    async fn rename_at(
        &mut self,
        fd: Resource<Descriptor>,
        old: String,
        new_fd: Resource<Descriptor>,
        new: String,
    ) -> FsResult<()> {
        self.heard().await;
        let (from, to) = (self.directory(&fd)?, self.directory(&new_fd)?);
        self.state.rename((from.as_fd(), old.as_bytes()), (to.as_fd(), new.as_bytes())).map_err(failed)
    }

    async fn symlink_at(&mut self, fd: Resource<Descriptor>, says: String, path: String) -> FsResult<()> {
        self.heard().await;
        let directory = self.directory(&fd)?;
        self.state.make_symlink(directory.as_fd(), says.as_bytes(), path.as_bytes()).map_err(failed)
    }

    async fn unlink_file_at(&mut self, fd: Resource<Descriptor>, path: String) -> FsResult<()> {
        self.heard().await;
        let directory = self.directory(&fd)?;
        self.state.unlink(directory.as_fd(), path.as_bytes()).map_err(failed)
    }

    fn read_via_stream(&mut self, fd: Resource<Descriptor>, offset: Filesize) -> FsResult<Resource<DynInputStream>> {
        let reader = FileReader { file: self.file(&fd)?, counted: self.counted(&fd)?, position: offset };
        let stream: DynInputStream = Box::new(reader);
        Ok(self.table.push(stream)?)
    }

    fn write_via_stream(&mut self, fd: Resource<Descriptor>, offset: Filesize) -> FsResult<Resource<DynOutputStream>> {
        self.writer(&fd, At::Position(offset))
    }

    fn append_via_stream(&mut self, fd: Resource<Descriptor>) -> FsResult<Resource<DynOutputStream>> {
        self.writer(&fd, At::End)
    }

    async fn is_same_object(&mut self, a: Resource<Descriptor>, b: Resource<Descriptor>) -> wasmtime::Result<bool> {
        HostDescriptor::is_same_object(&mut self.theirs(), a, b).await
    }

    async fn metadata_hash(&mut self, fd: Resource<Descriptor>) -> FsResult<MetadataHashValue> {
        rustix::fs::fstat(&self.either(&fd)?).map(|stat| identity(&stat)).map_err(failed)
    }

    async fn metadata_hash_at(
        &mut self,
        fd: Resource<Descriptor>,
        flags: PathFlags,
        path: String,
    ) -> FsResult<MetadataHashValue> {
        self.heard().await;
        let directory = self.directory(&fd)?;
        let stat = self.state.stat_at(directory.as_fd(), path.as_bytes(), follow(flags)).map_err(failed)?;
        Ok(identity(&stat))
    }
}

impl FileView<'_> {
    fn writer(&mut self, fd: &Resource<Descriptor>, at: At) -> FsResult<Resource<DynOutputStream>> {
        let writer = FileWriter { file: self.writable(fd)?, counted: self.counted(fd)?, at };
        let stream: DynOutputStream = Box::new(writer);
        Ok(self.table.push(stream)?)
    }
}

impl HostDirectoryEntryStream for FileView<'_> {
    async fn read_directory_entry(
        &mut self,
        stream: Resource<DirectoryEntryStream>,
    ) -> FsResult<Option<DirectoryEntry>> {
        HostDirectoryEntryStream::read_directory_entry(&mut self.theirs(), stream).await
    }

    fn drop(&mut self, stream: Resource<DirectoryEntryStream>) -> wasmtime::Result<()> {
        let number = stream.rep();
        HostDirectoryEntryStream::drop(&mut self.theirs(), stream)?;
        self.state.unlisted(number);
        Ok(())
    }
}
