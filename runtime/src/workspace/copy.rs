//! Copies entries and trees with everything that belongs to them, and removes trees that resist.
//! It never follows a symlink, and recursion depth never depends on what a guest built.

use super::change::Stamp;
use super::door::{self, Dir, Kind, Stat, Time};
use super::error::{Named, Result};
use super::node::{self, Digest, Lend};
use super::path::RelPath;
use rustix::io::Errno;
use std::collections::HashMap;

type Sys<T> = std::result::Result<T, Errno>;

/// What a copied entry looks like, apart from its content.
#[derive(Debug, Clone)]
pub(super) struct Dress {
    /// Owner and group; `None` leaves them to the kernel, which is all that an ordinary user can.
    pub(super) owner: Option<(u32, u32)>,
    pub(super) bits: u32,
    pub(super) xattrs: Vec<(Vec<u8>, Vec<u8>)>,
    /// Last access and last change of the content.
    pub(super) times: (Time, Time),
}

impl Dress {
    /// Exactly what the original wears.
    pub(super) fn of(dir: &Dir, name: &[u8], stat: &Stat) -> Sys<Self> {
        let xattrs = match stat.kind {
            Kind::File | Kind::Directory => dir.xattrs(name)?,
            Kind::Symlink | Kind::Fifo | Kind::Socket | Kind::Device | Kind::Whiteout => Vec::new(),
        };
        let owner = door::is_root().then_some((stat.uid, stat.gid));
        Ok(Self { owner, bits: stat.bits(), xattrs, times: (stat.atime, stat.mtime) })
    }

    /// Owner first, since chown(2) clears setuid; times last, since everything before touches them.
    pub(super) fn put_on(&self, dir: &Dir, name: &[u8], kind: Kind) -> Sys<()> {
        if let Some((uid, gid)) = self.owner {
            dir.set_owner(name, uid, gid)?;
        }
        if kind != Kind::Symlink {
            dir.set_xattrs(name, &self.xattrs)?;
            dir.set_bits(name, self.bits)?;
        }
        dir.set_times(name, self.times.0, self.times.1)
    }
}

/// Whether the digest of what was copied is wanted, or only speed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Hashing {
    Wanted,
    No,
}

/// Copies a file or symlink to a name that is free. The digest is of the bytes that were written.
pub(super) fn copy_entry(
    (from, name, stat): (&Dir, &[u8], &Stat),
    (to, new): (&Dir, &[u8]),
    dress: &Dress,
    lend: Lend,
    hashing: Hashing,
) -> Sys<Option<Digest>> {
    let digest = match stat.kind {
        Kind::File => {
            let source = node::open_lending(from, name, stat, lend)?;
            let target = to.create_file(new)?;
            match hashing {
                Hashing::Wanted => Some(node::copy_hashed(source, door::file(target))?.0),
                Hashing::No => {
                    if door::reflink(&source, &target).is_err() {
                        std::io::copy(&mut door::file(source), &mut door::file(target))
                            .map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))?;
                    }
                    None
                }
            }
        }
        Kind::Symlink => {
            to.make_symlink(new, &from.read_link(name)?)?;
            None
        }
        Kind::Directory | Kind::Fifo | Kind::Socket | Kind::Device | Kind::Whiteout => return Err(Errno::INVAL),
    };
    dress.put_on(to, new, stat.kind)?;
    Ok(digest)
}

/// What is copied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Source {
    /// A workspace, which is the host's.
    Workspace,
    /// A layer, which is ours: what it says is deleted or hidden is said by the copy as well.
    Layer,
}

impl Source {
    fn lend(self) -> Lend {
        match self {
            Self::Workspace => Lend::Never,
            Self::Layer => Lend::Allowed,
        }
    }
}

/// Copies everything below `from` to the empty directory `to`: hard links, modes, attributes, times. Fifos, sockets
/// and devices are left out. Returns every entry with its stamp in the copy.
pub(super) fn copy_tree(source: Source, from: &Dir, to: &Dir) -> Result<Vec<(RelPath, Stamp)>> {
    let mut links: HashMap<(u64, u64), RelPath> = HashMap::new();
    let mut copied = Vec::new();
    let mut directories: Vec<(RelPath, Dress)> = Vec::new();
    let mut todo: Vec<Option<RelPath>> = vec![None];
    while let Some(path) = todo.pop() {
        let shown = || path.as_ref().map_or_else(|| ".".to_owned(), ToString::to_string);
        let original = from.walk(path.as_ref()).named("open in the original", shown)?;
        let target = to.walk(path.as_ref()).named("open in the copy", shown)?;
        for name in original.names().named("list in the original", shown)? {
            let Ok(child) = RelPath::child(path.as_ref(), &name) else { continue };
            let Some(stat) = original.stat(&name).named("look at", || &child)? else { continue };
            match stat.kind {
                Kind::Directory => {
                    let dress = Dress::of(&original, &name, &stat).named("read", || &child)?;
                    target.make_dir(&name, 0o700).named("copy", || &child)?;
                    if source == Source::Layer {
                        target.copy_opaque(&original, &name).named("copy", || &child)?;
                    }
                    directories.push((child.clone(), dress));
                    todo.push(Some(child));
                }
                Kind::File | Kind::Symlink => {
                    let entry = (&original, &*name, &stat);
                    copy_or_link(entry, (to, &target), &child, source.lend(), &mut links).named("copy", || &child)?;
                    copied.push(child);
                }
                Kind::Whiteout if source == Source::Layer => {
                    target.make_whiteout(&name).named("copy", || &child)?;
                    copied.push(child);
                }
                Kind::Fifo | Kind::Socket | Kind::Device | Kind::Whiteout => {}
            }
        }
    }
    // Innermost first: a directory's times change while its entries are made, and its mode may lock it.
    directories.sort_unstable_by(|a, b| b.0.cmp(&a.0));
    let mut stamps = Vec::with_capacity(copied.len() + directories.len());
    // All links exist by now; making one changes the inode's ctime.
    for path in copied {
        let stat = to.stat_at(&path).named("look at", || &path)?;
        stamps.extend(stat.as_ref().map(|stat| (path, Stamp::from(stat))));
    }
    for (path, dress) in directories {
        let parent = to.walk_to_parent(&path).named("open in the copy", || &path)?;
        dress.put_on(&parent, path.name(), Kind::Directory).named("copy", || &path)?;
        let stat = parent.stat(path.name()).named("look at", || &path)?;
        stamps.extend(stat.as_ref().map(|stat| (path, Stamp::from(stat))));
    }
    Ok(stamps)
}

fn copy_or_link(
    (source, name, stat): (&Dir, &[u8], &Stat),
    (root, target): (&Dir, &Dir),
    path: &RelPath,
    lend: Lend,
    links: &mut HashMap<(u64, u64), RelPath>,
) -> Sys<()> {
    if stat.nlink > 1 {
        if let Some(first) = links.get(&stat.inode()) {
            return root.walk_to_parent(first)?.link(first.name(), target, name);
        }
        links.insert(stat.inode(), path.clone());
    }
    let dress = Dress::of(source, name, stat)?;
    copy_entry((source, name, stat), (target, name), &dress, lend, Hashing::No).map(drop)
}

/// Removes the entry `name` and everything below it, whatever its modes and depth; absent is fine.
///
/// Sub-directories are first moved up into the one that is being removed, so that neither recursion nor a stack of
/// descriptors nor a path grows with the depth.
pub(super) fn remove_tree(parent: &Dir, name: &[u8]) -> Sys<()> {
    match parent.stat(name)? {
        None => return Ok(()),
        Some(stat) if !stat.is_dir() => return parent.unlink(name),
        Some(_) => {}
    }
    let top = open_up(parent, name)?;
    let mut counter = 0_u64;
    let mut todo = empty_of_files(&top)?;
    while let Some(directory) = todo.pop() {
        let inner = open_up(&top, &directory)?;
        for deeper in empty_of_files(&inner)? {
            // Moving a directory changes its `..`, for which it must be writable.
            inner.set_bits(&deeper, 0o700)?;
            todo.push(move_up(&inner, &deeper, &top, &mut counter)?);
        }
        top.remove_dir(&directory)?;
    }
    parent.remove_dir(name)
}

fn open_up(parent: &Dir, name: &[u8]) -> Sys<Dir> {
    parent.set_bits(name, 0o700)?;
    parent.child(name)
}

/// Removes everything but directories, whose names it returns.
fn empty_of_files(dir: &Dir) -> Sys<Vec<Box<[u8]>>> {
    let mut directories = Vec::new();
    for name in dir.names()? {
        match dir.unlink(&name) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(Errno::ISDIR | Errno::PERM) => directories.push(name),
            Err(errno) => return Err(errno),
        }
    }
    Ok(directories)
}

fn move_up(from: &Dir, name: &[u8], top: &Dir, counter: &mut u64) -> Sys<Box<[u8]>> {
    loop {
        let new = format!(".removing-{counter}").into_bytes();
        *counter += 1;
        match from.rename_new(name, top, &new) {
            Ok(()) => return Ok(new.into()),
            Err(Errno::EXIST | Errno::NOTEMPTY) => {}
            Err(errno) => return Err(errno),
        }
    }
}
