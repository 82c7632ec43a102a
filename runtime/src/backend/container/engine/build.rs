//! Building an image: a directory packed as it is, without what `.dockerignore` leaves out, and sent while it is packed.
//! It never follows a link out of the directory: a link is packed as a link.

use super::about::About;
use super::ignore::{IGNORE_BYTES_MAX, Ignore};
use super::image::{Image, Progress, checked, inspect, progress_of, with_progress};
use super::reference::Reference;
use super::trouble::{Trouble, bounded};
use super::wire::{Limits, Wire};
use crate::error::{Error, Result};
use bollard::models::BuildInfo;
use bollard::query_parameters::BuildImageOptionsBuilder;
use bytes::Bytes;
use futures_util::StreamExt as _;
use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, Stat};
use std::fs::File;
use std::io::{self, Read as _, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::sync::mpsc::Sender as Told;
use tokio::sync::mpsc::{Receiver, Sender, channel};

/// How long a build may take, seconds.
const BUILD_S_MAX: u64 = 2 * 3600;
/// Most that is sent of a directory, MiB.
const CONTEXT_MIB_MAX: u64 = 2048;
/// Most files and directories that are sent.
const CONTEXT_ENTRIES_MAX: u64 = 500_000;
/// How deep directories may lie in each other: each holds a descriptor while it is packed.
const DEPTH_MAX: usize = 200;
/// Chunks of the archive that wait for the engine, and the size of each, bytes.
const CHUNKS_WAITING_MAX: usize = 8;
/// See [`CHUNKS_WAITING_MAX`].
const CHUNK_BYTES: usize = 128 * 1024;

/// Builds an image of a directory.
pub(super) fn build(
    wire: &Wire,
    about: &About,
    directory: &Path,
    dockerfile: &Path,
    tag: Option<&str>,
    progress: &mut dyn FnMut(Progress),
) -> Result<Image> {
    let tag = tag.map(Reference::parse_tag).transpose()?;
    let context = Context::open(directory, dockerfile)?;
    let options = BuildImageOptionsBuilder::new().dockerfile(&context.dockerfile).rm(true).forcerm(true);
    let options = match &tag {
        Some(tag) => options.t(&tag.to_string()).build(),
        None => options.build(),
    };
    let act = format!("build an image of \"{}\"", directory.display());
    let (packed, chunks) = channel(CHUNKS_WAITING_MAX);
    let mut packing = Ok(());
    let built = with_progress(progress, |told| {
        std::thread::scope(|scope| {
            let (said, context) = (told.clone(), &context);
            let packer = std::thread::Builder::new()
                .name("pack".to_owned())
                .spawn_scoped(scope, move || context.pack(packed, &said));
            let packer = packer.map_err(|error| Trouble::Ours(crate::error::plain(&error)))?;
            let built = wire.ask(Limits::stream(BUILD_S_MAX), |line| async move {
                let docker = line.docker()?;
                let mut stream =
                    std::pin::pin!(docker.build_image(options, None, Some(bollard::body_try_stream(body(chunks)))));
                let mut id = None;
                while let Some(info) = stream.next().await {
                    let info = info?;
                    id = info.aux.as_ref().and_then(|aux| aux.id.clone()).or(id);
                    drop(told.send(building(info)?));
                }
                Ok(id)
            });
            let failed = || Err(Error::bug("the thread that packs a directory panicked"));
            packing = packer.join().unwrap_or_else(|_| failed());
            built
        })
    });
    // What is wrong with the directory is the reason where both failed: the engine saw an archive that ended early.
    packing?;
    let id = built.map_err(|trouble| told(trouble, &act, wire))?;
    let reference = match (id.as_deref().map(Reference::parse), tag) {
        (Some(Ok(id)), _) => id,
        (Some(Err(_)) | None, Some(tag)) => tag,
        (Some(Err(_)) | None, None) => {
            return Err(Error::host(format!("{act}: the container engine does not name the image")));
        }
    };
    let inspected = inspect(wire, &reference).map_err(|trouble| trouble.during(&act, wire.socket()))?;
    checked(about, &reference, inspected.ok_or_else(|| Error::host(format!("{act}: the image is not there")))?)
}

/// A step that failed is the Dockerfile's, whatever status the engine gives it.
fn told(trouble: Trouble, act: &str, wire: &Wire) -> Error {
    match trouble {
        Trouble::Refused { said, .. } => Error::operator(format!("{act}: {said}")),
        other @ (Trouble::Gone(_) | Trouble::Slow(_) | Trouble::Odd(_) | Trouble::Ours(_)) => {
            other.during(act, wire.socket())
        }
    }
}

fn building(info: BuildInfo) -> std::result::Result<Progress, Trouble> {
    progress_of(info.id, info.stream.or(info.status), info.progress_detail, info.error_detail)
}

/// Chunks as the body of a request; one that is an error ends it.
fn body(chunks: Receiver<io::Result<Bytes>>) -> impl futures_util::Stream<Item = io::Result<Bytes>> + Send {
    futures_util::stream::unfold(chunks, |mut chunks| async move { chunks.recv().await.map(|chunk| (chunk, chunks)) })
}

/// A directory that is going to be packed.
struct Context {
    top: OwnedFd,
    shown: PathBuf,
    /// Path of the Dockerfile from the top, which is sent whatever is left out.
    dockerfile: String,
    ignore: Ignore,
}

impl Context {
    fn open(directory: &Path, dockerfile: &Path) -> Result<Self> {
        let real = directory.canonicalize().map_err(|error| Error::io("open the directory", directory, &error))?;
        let file = dockerfile.canonicalize().map_err(|error| Error::io("open the Dockerfile", dockerfile, &error))?;
        let outside = || {
            Error::operator(format!(
                "Dockerfile \"{}\" does not lie in \"{}\"",
                dockerfile.display(),
                directory.display()
            ))
            .hint("the engine gets that directory alone: put the file there")
        };
        let inside =
            file.strip_prefix(&real).ok().and_then(Path::to_str).filter(|path| !path.is_empty()).ok_or_else(outside)?;
        let top = rustix::fs::open(&real, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty());
        let top = top.map_err(|error| Error::io("open the directory", directory, &error.into()))?;
        let ignore = read_ignore(&real, inside)?;
        Ok(Self { top, shown: directory.to_owned(), dockerfile: inside.to_owned(), ignore })
    }

    /// Packs everything into chunks. What goes wrong goes to the engine too, so that it does not build half of it.
    fn pack(&self, packed: Sender<io::Result<Bytes>>, said: &Told<Progress>) -> Result<()> {
        let mut packer = Packer {
            context: self,
            said,
            archive: tar::Builder::new(Chunks { packed: packed.clone(), held: Vec::new() }),
            entries: 0,
            bytes: 0,
        };
        let top = self.top.as_fd().try_clone_to_owned().map_err(|error| Error::io("open", &self.shown, &error))?;
        let done = packer.directory(top, "", 0).and_then(|()| {
            let finished = packer.archive.into_inner().and_then(|mut chunks| chunks.flush());
            // Whoever reads has gone: it says why itself.
            finished
                .or_else(|error| if error.kind() == io::ErrorKind::BrokenPipe { Ok(()) } else { Err(error) })
                .map_err(|error| Error::io("pack", &self.shown, &error))
        });
        if done.is_err() {
            drop(packed.blocking_send(Err(io::Error::other("the directory could not be packed"))));
        }
        done
    }
}

/// The patterns: the Dockerfile's own, where there are some, else the directory's.
fn read_ignore(top: &Path, dockerfile: &str) -> Result<Ignore> {
    for path in [top.join(format!("{dockerfile}.dockerignore")), top.join(".dockerignore")] {
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(Error::io("read", &path, &error)),
        };
        let mut text = String::new();
        file.take(IGNORE_BYTES_MAX + 1).read_to_string(&mut text).map_err(|error| Error::io("read", &path, &error))?;
        let wrong = |why: String| Error::operator(format!("\"{}\", {why}", path.display()));
        if text.len() as u64 > IGNORE_BYTES_MAX {
            return Err(wrong("it is too long".to_owned()));
        }
        return Ignore::parse(&text).map_err(wrong);
    }
    Ok(Ignore::default())
}

struct Packer<'a> {
    context: &'a Context,
    said: &'a Told<Progress>,
    archive: tar::Builder<Chunks>,
    entries: u64,
    bytes: u64,
}

impl Packer<'_> {
    fn failed(&self, act: &str, path: &str, error: &io::Error) -> Error {
        Error::io(act, &self.context.shown.join(path), error)
    }

    /// Packs what a directory holds, in order of name, so that the same directory is the same archive.
    fn directory(&mut self, directory: OwnedFd, path: &str, depth: usize) -> Result<()> {
        if depth > DEPTH_MAX {
            return Err(Error::operator(format!("\"{path}\": directories lie deeper than {DEPTH_MAX} in each other")));
        }
        let listed = Dir::read_from(&directory).map_err(|error| self.failed("list", path, &error.into()))?;
        let mut names = Vec::new();
        for entry in listed {
            let entry = entry.map_err(|error| self.failed("list", path, &error.into()))?;
            match entry.file_name().to_bytes() {
                b"." | b".." => {}
                name => names.push(String::from_utf8(name.to_vec()).map_err(|_| {
                    Error::operator(format!("\"{path}\" holds a name that is not UTF-8"))
                        .hint("leave it out in .dockerignore")
                })?),
            }
        }
        names.sort_unstable();
        names.iter().try_for_each(|name| {
            let below = if path.is_empty() { name.clone() } else { format!("{path}/{name}") };
            self.entry(&directory, name, &below, depth)
        })
    }

    fn entry(&mut self, directory: &OwnedFd, name: &str, path: &str, depth: usize) -> Result<()> {
        let stat = rustix::fs::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW);
        let stat = stat.map_err(|error| self.failed("look at", path, &error.into()))?;
        let kind = FileType::from_raw_mode(stat.st_mode);
        let is_out = self.context.ignore.leaves_out(path) && path != self.context.dockerfile && path != ".dockerignore";
        // A directory that is left out may hold the Dockerfile, or something that is taken back.
        let holds_more = kind == FileType::Directory
            && (self.context.ignore.takes_back() || self.context.dockerfile.starts_with(&format!("{path}/")));
        if is_out && !holds_more {
            return Ok(());
        }
        self.count(path)?;
        match kind {
            FileType::Directory => {
                if !is_out {
                    self.add(path, &stat, tar::EntryType::Directory, &mut io::empty(), 0)?;
                }
                let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                let below = rustix::fs::openat(directory, name, flags, Mode::empty());
                self.directory(below.map_err(|error| self.failed("open", path, &error.into()))?, path, depth + 1)
            }
            FileType::RegularFile => self.file(directory, name, path),
            FileType::Symlink => {
                let target = rustix::fs::readlinkat(directory, name, Vec::new());
                let target = target.map_err(|error| self.failed("read the link", path, &error.into()))?;
                let mut header = header(&stat, tar::EntryType::Symlink, 0);
                let target = std::ffi::OsStr::from_bytes(target.to_bytes());
                let added = self.archive.append_link(&mut header, path, Path::new(target));
                added.or_else(gone).map_err(|error| self.failed("pack", path, &error))
            }
            FileType::Fifo
            | FileType::Socket
            | FileType::CharacterDevice
            | FileType::BlockDevice
            | FileType::Unknown => {
                let text = format!("left out, being no file: {path}");
                drop(self.said.send(Progress { layer: None, text: bounded(&text), bytes: None, bytes_total: None }));
                Ok(())
            }
        }
    }

    fn file(&mut self, directory: &OwnedFd, name: &str, path: &str) -> Result<()> {
        // Not through a link that was put there since, and without waiting where it is no file any more.
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = rustix::fs::openat(directory, name, flags, Mode::empty());
        let file = file.map_err(|error| self.failed("open", path, &error.into()))?;
        let stat = rustix::fs::fstat(&file).map_err(|error| self.failed("look at", path, &error.into()))?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Err(Error::operator(format!("\"{path}\" became something else while it was packed")));
        }
        let size = u64::try_from(stat.st_size).unwrap_or_default();
        self.bytes = self.bytes.saturating_add(size);
        if self.bytes > CONTEXT_MIB_MAX * 1024 * 1024 {
            return Err(self.too_much(&format!("{CONTEXT_MIB_MAX} MiB")));
        }
        // A file that grows meanwhile would push everything after it out of place; one that shrinks is filled up.
        self.add(
            path,
            &stat,
            tar::EntryType::Regular,
            &mut File::from(file).take(size).chain(io::repeat(0)).take(size),
            size,
        )
    }

    fn add(
        &mut self,
        path: &str,
        stat: &Stat,
        kind: tar::EntryType,
        content: &mut dyn io::Read,
        size: u64,
    ) -> Result<()> {
        let mut header = header(stat, kind, size);
        let added = self.archive.append_data(&mut header, path, content);
        added.or_else(gone).map_err(|error| self.failed("pack", path, &error))
    }

    fn count(&mut self, path: &str) -> Result<()> {
        self.entries += 1;
        if self.entries > CONTEXT_ENTRIES_MAX {
            return Err(self.too_much(&format!("{CONTEXT_ENTRIES_MAX} files, \"{path}\" among them")));
        }
        Ok(())
    }

    fn too_much(&self, what: &str) -> Error {
        Error::operator(format!(
            "directory \"{}\": more than {what} would be sent to the engine",
            self.context.shown.display()
        ))
        .hint("list what the image does not need in .dockerignore")
    }
}

/// Nobody takes the rest any more: whoever asked the engine knows why.
fn gone(error: io::Error) -> io::Result<()> {
    if error.kind() == io::ErrorKind::BrokenPipe { Ok(()) } else { Err(error) }
}

/// Root's, whoever owns it here: who built an image is not in it.
fn header(stat: &Stat, kind: tar::EntryType, size: u64) -> tar::Header {
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(stat.st_mode & 0o7777);
    header.set_mtime(u64::try_from(stat.st_mtime).unwrap_or_default());
    header.set_uid(0);
    header.set_gid(0);
    header.set_size(size);
    header
}

/// Writes into chunks that an engine takes at its own speed.
struct Chunks {
    packed: Sender<io::Result<Bytes>>,
    held: Vec<u8>,
}

impl Write for Chunks {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.held.extend_from_slice(bytes);
        if self.held.len() >= CHUNK_BYTES {
            self.flush()?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.held.is_empty() {
            return Ok(());
        }
        let chunk = Bytes::from(std::mem::take(&mut self.held));
        self.packed.blocking_send(Ok(chunk)).map_err(|_| io::Error::from(io::ErrorKind::BrokenPipe))
    }
}
