//! A disk in memory that can be told to fail, to write short, and to lose its power with what was not synced.
//! It never is kinder than a real one: a name survives only if its directory was synced, a page only if its file was.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::{self, Cursor, Read};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use stockade_audit::AuditError;
use stockade_audit::disk::{Disk, DiskFile, FileMark, Held, Wait};

/// Numbers that look random and come again for the same seed (splitmix64).
#[derive(Debug, Clone, Copy)]
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    pub(crate) fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % n.max(1)
    }
}

#[derive(Debug, Clone, Default)]
struct Inode {
    data: Vec<u8>,
    /// What a power cut leaves for sure.
    synced: Vec<u8>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fail {
    /// Nothing does.
    Never,
    /// From this operation on, everything: the machine or the process is gone.
    From(u64),
    /// From this operation on, writes: the disk is full.
    FullFrom(u64),
    /// From this operation on, syncs.
    SyncFrom(u64),
}

#[derive(Debug)]
struct Inner {
    inodes: Vec<Inode>,
    names: BTreeMap<PathBuf, usize>,
    synced_names: BTreeMap<PathBuf, usize>,
    dirs: BTreeMap<PathBuf, ()>,
    fail: Fail,
    ops: u64,
    short: Option<Dice>,
    /// Syncs wait until this is over.
    held: bool,
}

/// The disk.
#[derive(Debug, Clone)]
pub(crate) struct MemDisk(Arc<Mutex<Inner>>);

#[derive(Debug)]
struct MemFile(MemDisk, usize);

#[derive(Debug)]
struct MemLock;

impl Held for MemLock {}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Op {
    Read,
    Write,
    Sync,
}

impl MemDisk {
    pub(crate) fn new(fail: Fail) -> Self {
        let dirs = [(PathBuf::from("/"), ()), (PathBuf::from("/s"), ())].into();
        let disk = Self::holding(Vec::new(), BTreeMap::new(), BTreeMap::new(), dirs);
        disk.lock().fail = fail;
        disk
    }

    /// A disk on which nothing fails.
    fn holding(
        inodes: Vec<Inode>,
        names: BTreeMap<PathBuf, usize>,
        synced_names: BTreeMap<PathBuf, usize>,
        dirs: BTreeMap<PathBuf, ()>,
    ) -> Self {
        let (fail, ops, short, held) = (Fail::Never, 0, None, false);
        Self(Arc::new(Mutex::new(Inner { inodes, names, synced_names, dirs, fail, ops, short, held })))
    }

    pub(crate) fn writing_short(self, dice: Dice) -> Self {
        self.lock().short = Some(dice);
        self
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn ops(&self) -> u64 {
        self.lock().ops
    }

    /// What happens from now on.
    pub(crate) fn fail(&self, fail: Fail) {
        self.lock().fail = fail;
    }

    /// Content of a file, as text.
    pub(crate) fn text(&self, path: &Path) -> String {
        let inner = self.lock();
        let inode = inner.inode(path).expect("it is there");
        String::from_utf8_lossy(&inner.inodes[inode].data).into_owned()
    }

    /// Lets no sync return, or lets them go on.
    pub(crate) fn hold_syncs(&self, held: bool) {
        self.lock().held = held;
    }

    /// The disk as another process finds it after this one was killed.
    pub(crate) fn after_kill(&self) -> Self {
        let inner = self.lock();
        let (inodes, names) = (inner.inodes.clone(), inner.names.clone());
        let (synced_names, dirs) = (inner.synced_names.clone(), inner.dirs.clone());
        Self::holding(inodes, names, synced_names, dirs)
    }

    /// The disk as the machine finds it after the power came back: each name and page that was not synced may be there or not.
    pub(crate) fn after_power_cut(&self, dice: &mut Dice) -> Self {
        let inner = self.lock();
        let mut names = inner.synced_names.clone();
        for (path, inode) in &inner.names {
            if dice.below(2) == 0 {
                names.insert(path.clone(), *inode);
            }
        }
        let inodes = inner.inodes.iter().map(|inode| {
            let data = torn(inode, dice);
            Inode { synced: data.clone(), data }
        });
        let (inodes, dirs) = (inodes.collect(), inner.dirs.clone());
        let synced_names = names.clone();
        Self::holding(inodes, names, synced_names, dirs)
    }
}

/// The synced part, and of the rest some pages, some zeroed, up to some length.
fn torn(inode: &Inode, dice: &mut Dice) -> Vec<u8> {
    if !inode.data.starts_with(&inode.synced) {
        return if dice.below(2) == 0 { inode.synced.clone() } else { inode.data.clone() };
    }
    let mut data = inode.data.clone();
    let rest = (data.len() - inode.synced.len()) as u64;
    data.truncate(inode.synced.len() + usize::try_from(dice.below(rest + 1)).expect("small"));
    let first_page = inode.synced.len() / 4096;
    for page in first_page..data.len().div_ceil(4096) {
        if dice.below(4) == 0 {
            let start = (page * 4096).max(inode.synced.len());
            let end = ((page + 1) * 4096).min(data.len());
            data[start..end].fill(0);
        }
    }
    data
}

impl Inner {
    fn op(&mut self, op: Op) -> io::Result<()> {
        self.ops += u64::from(op != Op::Read);
        match self.fail {
            Fail::From(n) if self.ops > n => Err(io::Error::other("the machine is gone")),
            Fail::FullFrom(n) if self.ops > n && op == Op::Write => Err(io::ErrorKind::StorageFull.into()),
            Fail::SyncFrom(n) if self.ops > n && op == Op::Sync => Err(io::Error::other("EIO")),
            Fail::Never | Fail::From(_) | Fail::FullFrom(_) | Fail::SyncFrom(_) => Ok(()),
        }
    }

    fn inode(&self, path: &Path) -> io::Result<usize> {
        self.names.get(path).copied().ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}

impl Inner {
    /// Names below a directory go with it; which of them a power cut leaves was decided when they were made.
    fn rename_dir(&mut self, from: &Path, to: &Path) {
        fn moved<T>(all: &mut BTreeMap<PathBuf, T>, from: &Path, to: &Path) {
            let inside: Vec<PathBuf> = all.keys().filter(|name| name.starts_with(from)).cloned().collect();
            for name in inside {
                let rest = name.strip_prefix(from).expect("it starts so").to_owned();
                let value = all.remove(&name).expect("it was just found");
                all.insert(if rest.as_os_str().is_empty() { to.into() } else { to.join(rest) }, value);
            }
        }
        moved(&mut self.dirs, from, to);
        moved(&mut self.names, from, to);
        moved(&mut self.synced_names, from, to);
    }
}

impl DiskFile for MemFile {
    fn write(&self, bytes: &[u8]) -> io::Result<usize> {
        let mut inner = self.0.lock();
        inner.op(Op::Write)?;
        let n = match &mut inner.short {
            Some(dice) => usize::try_from(dice.below(bytes.len() as u64) + 1).expect("small"),
            None => bytes.len(),
        };
        inner.inodes[self.1].data.extend_from_slice(&bytes[..n]);
        Ok(n)
    }

    fn sync(&self) -> io::Result<()> {
        let mut inner = self.0.lock();
        while inner.held {
            drop(inner);
            std::thread::sleep(std::time::Duration::from_millis(1));
            inner = self.0.lock();
        }
        inner.op(Op::Sync)?;
        let inode = &mut inner.inodes[self.1];
        inode.synced = inode.data.clone();
        Ok(())
    }
}

impl Disk for MemDisk {
    fn check_dir(&self, path: &Path) -> Result<(), AuditError> {
        let there = self.lock().dirs.contains_key(path);
        let missing = || AuditError::Io { act: "look at", path: path.into(), source: io::ErrorKind::NotFound.into() };
        if there { Ok(()) } else { Err(missing()) }
    }

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        let mut inner = self.lock();
        inner.op(Op::Write)?;
        if path.parent().is_some_and(|parent| !inner.dirs.contains_key(parent)) {
            return Err(io::ErrorKind::NotFound.into());
        }
        match inner.dirs.insert(path.into(), ()) {
            None => Ok(()),
            Some(()) => Err(io::ErrorKind::AlreadyExists.into()),
        }
    }

    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        let mut inner = self.lock();
        inner.op(Op::Write)?;
        if inner.names.contains_key(path) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        inner.inodes.push(Inode::default());
        let inode = inner.inodes.len() - 1;
        inner.names.insert(path.into(), inode);
        Ok(Arc::new(MemFile(self.clone(), inode)))
    }

    fn append(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        let mut inner = self.lock();
        inner.op(Op::Read)?;
        Ok(Arc::new(MemFile(self.clone(), inner.inode(path)?)))
    }

    fn read(&self, path: &Path, offset: u64) -> io::Result<Box<dyn Read + Send>> {
        let mut inner = self.lock();
        inner.op(Op::Read)?;
        let inode = inner.inode(path)?;
        let data = inner.inodes[inode].data.get(usize::try_from(offset).expect("small")..).unwrap_or_default();
        Ok(Box::new(Cursor::new(data.to_vec())))
    }

    fn len(&self, path: &Path) -> io::Result<u64> {
        let inner = self.lock();
        Ok(inner.inodes[inner.inode(path)?].data.len() as u64)
    }

    fn mark(&self, path: &Path) -> io::Result<FileMark> {
        let inner = self.lock();
        let inode = inner.inode(path)?;
        let data = &inner.inodes[inode].data;
        // There is no clock here: what changed is what differs.
        let changed = [i64::from(crc32c::crc32c(data)), 0];
        Ok(FileMark { device: 0, inode: inode as u64, bytes: data.len() as u64, changed })
    }

    fn truncate(&self, path: &Path, len: u64) -> io::Result<()> {
        let mut inner = self.lock();
        inner.op(Op::Write)?;
        let inode = inner.inode(path)?;
        let inode = &mut inner.inodes[inode];
        inode.data.truncate(usize::try_from(len).expect("small"));
        inode.synced = inode.data.clone();
        Ok(())
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut inner = self.lock();
        inner.op(Op::Write)?;
        if inner.dirs.contains_key(from) {
            inner.rename_dir(from, to);
            return Ok(());
        }
        let inode = inner.inode(from)?;
        inner.names.remove(from);
        inner.names.insert(to.into(), inode);
        Ok(())
    }

    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        let mut inner = self.lock();
        inner.op(Op::Write)?;
        inner.dirs.remove(path).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut inner = self.lock();
        inner.op(Op::Write)?;
        inner.inode(path)?;
        inner.names.remove(path);
        Ok(())
    }

    fn list(&self, path: &Path) -> io::Result<Vec<OsString>> {
        let inner = self.lock();
        if !inner.dirs.contains_key(path) {
            return Err(io::ErrorKind::NotFound.into());
        }
        let all = inner.names.keys().chain(inner.dirs.keys()).filter(|name| name.parent() == Some(path));
        Ok(all.filter_map(|name| Some(name.file_name()?.to_owned())).collect())
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        let mut inner = self.lock();
        inner.op(Op::Sync)?;
        let inside = |name: &PathBuf| name.parent() == Some(path);
        let now: Vec<_> = inner.names.iter().filter(|(name, _)| inside(name)).map(|(n, i)| (n.clone(), *i)).collect();
        inner.synced_names.retain(|name, _| !inside(name));
        inner.synced_names.extend(now);
        Ok(())
    }

    fn sync_tree(&self, path: &Path) -> io::Result<()> {
        // Logs on this disk are too small for it.
        Err(io::Error::other(format!("{} has few files", path.display())))
    }

    fn lock(&self, _: &Path, _: Wait) -> io::Result<Box<dyn Held>> {
        Ok(Box::new(MemLock))
    }
}
