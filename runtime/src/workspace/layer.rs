//! A session's layer on disk: made, opened again by another process, compared, recorded, discarded.
//! It never writes to the workspace.

use super::change::Changes;
use super::copy;
use super::door::{self, Dir, Time};
use super::error::{Fault, Named, Result, WorkspaceError};
use super::node::{self, Lend, Node};
use super::path::RelPath;
use super::scan::{self, Dialect, Freshness};
use super::state::{self, Memory, Meta};
use serde::{Deserialize, Serialize};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// What becomes of the guest's writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// They wait in the layer until somebody takes them.
    Review,
    /// They go to the workspace itself.
    Direct,
    /// They are dropped at the end.
    Discard,
}

/// How writes are kept away from the workspace.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Method {
    /// The sandbox mounts an overlay of the workspace and `layer/upper`.
    Overlay,
    /// The sandbox binds `layer/tree`, a copy.
    Copy,
}

/// The layer of one session.
#[derive(Debug)]
pub struct Layer {
    pub(super) state: PathBuf,
    pub(super) workspace: PathBuf,
    pub(super) mode: Mode,
    pub(super) method: Method,
    pub(super) started: Time,
    /// The state directory, open.
    pub(super) home: Dir,
    /// The workspace, open.
    pub(super) host: Dir,
}

/// File systems that cannot carry an overlay's upper directory (`f_type` of statfs(2)).
const NO_UPPER: [u64; 8] =
    [0x794c_7630, 0x6969, 0x6573_5546, 0x0102_1997, 0x4d44, 0x2011_bab0, 0xff53_4d42, 0xfe53_4d42];

impl Layer {
    /// Makes a layer in the existing, empty, private directory `state`, for the directory `workspace`.
    ///
    /// With [`Method::Copy`] the workspace is copied (by reference where the file system can), which takes time and
    /// leaves out fifos, sockets and devices. [`Mode::Direct`] needs no copy; its layer only holds what was taken
    /// out of the workspace again.
    ///
    /// # Errors
    /// The workspace cannot be read, the state not be written, or one contains the other.
    pub fn create(state: &Path, workspace: &Path, mode: Mode, method: Method) -> Result<Self> {
        let canonical = |path: &Path| path.canonicalize().map_err(|error| state::io("find", path, &error));
        let (state, workspace) = (canonical(state)?, canonical(workspace)?);
        if state.starts_with(&workspace) || workspace.starts_with(&state) {
            return Err(WorkspaceError::Refused {
                act: "use as a workspace",
                object: workspace.display().to_string(),
                why: format!("it and the state directory {:?} contain one another", state.display().to_string()),
                fault: Fault::Operator,
                hint: "choose a workspace that does not hold stockade's state, or set STOCKADE_STATE",
            });
        }
        let (home, host) = (Dir::open_ambient(&state)?, Dir::open_ambient(&workspace)?);
        let shown = || state.display();
        home.make_dir(b"layer", 0o700).named("make a layer in", shown)?;
        // Its ctime is "now" by the kernel's coarse clock, the one by which the host's files are dated.
        let inside = home.child(b"layer").named("open", shown)?;
        let started = inside.stat_self().named("look at", shown)?.ctime;
        let method = if mode == Mode::Direct { Method::Overlay } else { method };
        let layer = Self { state, workspace, mode, method, started, home, host };
        match method {
            Method::Overlay => layer.make_upper(&inside)?,
            Method::Copy => layer.make_copy(&inside)?,
        }
        layer.write_meta()?;
        Ok(layer)
    }

    pub(super) fn write_meta(&self) -> Result<()> {
        let meta = Meta {
            version: state::VERSION,
            mode: self.mode,
            method: self.method,
            workspace: super::path::encode_bytes(self.workspace.as_os_str().as_bytes()),
            started: (self.started.s, self.started.ns),
        };
        state::write_meta(&self.state, &meta)
    }

    /// From now on it is as if the layer had just been made: what the host changed before conflicts with nothing. For one
    /// that nobody has written to yet.
    ///
    /// # Errors
    /// The state cannot be written.
    pub fn begin_now(&mut self) -> Result<()> {
        let shown = || self.state.display();
        let inside = self.home.child(b"layer").named("open", shown)?;
        // Changing its mode, even to what it is, dates it by the kernel's coarse clock.
        self.home.set_bits(b"layer", 0o700).named("date", shown)?;
        self.started = inside.stat_self().named("look at", shown)?.ctime;
        self.write_meta()
    }

    /// The workspace of a session, without opening its layer; `None` where there is none any more.
    #[must_use]
    pub fn workspace_of(state: &Path) -> Option<PathBuf> {
        let meta = state::read_meta(state).ok()?;
        let bytes = super::path::decode_bytes(&meta.workspace).filter(|bytes| bytes.first() == Some(&b'/'))?;
        Some(PathBuf::from(OsStr::from_bytes(&bytes)))
    }

    /// Opens the layer of a session, and settles an apply that was interrupted (see [`Self::recover`]).
    ///
    /// # Errors
    /// There is none, it was altered, it is of another version, or its workspace is gone.
    pub fn open(state: &Path) -> Result<Self> {
        let meta = state::read_meta(state)?;
        let file = state.join("layer.json");
        let workspace = super::path::decode_bytes(&meta.workspace).filter(|bytes| bytes.first() == Some(&b'/'));
        let workspace = PathBuf::from(OsStr::from_bytes(
            &workspace.ok_or_else(|| state::corrupt(&file, "the workspace is not an absolute path"))?,
        ));
        let layer = Self {
            home: Dir::open_ambient(state)?,
            host: Dir::open_ambient(&workspace)?,
            state: state.to_owned(),
            workspace,
            mode: meta.mode,
            method: meta.method,
            started: Time { s: meta.started.0, ns: meta.started.1 },
        };
        layer.recover()?;
        Ok(layer)
    }

    /// The method that suits a state directory: an overlay's upper directory needs a real, local file system.
    /// A kernel that refuses overlays in user namespaces is found out by the sandbox, not here.
    ///
    /// # Errors
    /// The directory cannot be opened.
    pub fn method_for(state: &Path) -> Result<Method> {
        let kind = Dir::open_ambient(state)?.file_system().named("look at", || state.display())?;
        Ok(if NO_UPPER.contains(&kind) { Method::Copy } else { Method::Overlay })
    }

    /// The workspace, absolute.
    #[must_use]
    pub fn workspace(&self) -> &Path {
        &self.workspace
    }

    /// What becomes of the guest's writes.
    #[must_use]
    pub fn mode(&self) -> Mode {
        self.mode
    }

    /// How they are kept away.
    #[must_use]
    pub fn method(&self) -> Method {
        self.method
    }

    /// What the sandbox mounts: the directory that holds `upper/` and `work/`, or the copy to bind.
    #[must_use]
    pub fn mount_source(&self) -> PathBuf {
        match self.method {
            Method::Overlay => self.state.join("layer"),
            Method::Copy => self.state.join("layer/tree"),
        }
    }

    /// Gives a copy to somebody else, as a whole: to a guest of root's where no id-mapped mount shows it as its own.
    ///
    /// # Errors
    /// This is not a copy, or the file system refuses.
    pub fn give_copy_to(&self, uid: u32, gid: u32) -> Result<()> {
        let tree = self.tree()?;
        let shown = || self.state.display();
        let mut todo: Vec<Option<RelPath>> = vec![None];
        while let Some(path) = todo.pop() {
            let directory = tree.walk(path.as_ref()).named("open in the layer of", shown)?;
            for name in directory.names().named("list in the layer of", shown)? {
                let Some(stat) = directory.stat(&name).named("look at in the layer of", shown)? else { continue };
                // Changing the owner takes the set-id bits off a file; they are what the copy says they are.
                directory.set_owner(&name, uid, gid).named("give away in the layer of", shown)?;
                if !stat.is_dir() {
                    continue;
                }
                let deeper = RelPath::child(path.as_ref(), &name);
                todo.push(Some(deeper.map_err(|_| state::corrupt(&self.state, "the copy has a name that is none"))?));
            }
        }
        let inside = self.home.child(b"layer").named("open the layer of", shown)?;
        inside.set_owner(b"tree", uid, gid).named("give away in the layer of", shown)
    }

    /// What differs from the host now, with conflicts. Reads the layer, and of the workspace only what the layer
    /// speaks about.
    ///
    /// # Errors
    /// Something cannot be read, or there are more than a million changes.
    pub fn changes(&self, freshness: Freshness) -> Result<Changes> {
        let memory = Memory::load(&self.state)?;
        self.changes_with(&memory, freshness)
    }

    /// As [`Self::changes`] with [`Freshness::Reuse`], and remembers what the host's files were when they were
    /// first seen changed, so that a later change of the host is noticed. Call it after each call of the session.
    ///
    /// # Errors
    /// As [`Self::changes`], or the state cannot be written.
    pub fn record(&self) -> Result<Changes> {
        let memory = Memory::load(&self.state)?;
        let changes = self.changes_with(&memory, Freshness::Reuse)?;
        state::write_seen(&self.state, &changes, &memory)?;
        Ok(changes)
    }

    pub(super) fn changes_with(&self, memory: &Memory, freshness: Freshness) -> Result<Changes> {
        let dialect = match self.method {
            Method::Overlay => Dialect::Overlay,
            Method::Copy => Dialect::Copy,
        };
        scan::scan(&self.tree()?, &self.host, dialect, memory, self.started, freshness)
    }

    /// What the host has at `path` now.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn host_node(&self, path: &RelPath) -> Result<Option<Node>> {
        let found = node::describe_at(&self.host, path, Lend::Never).named("read in the workspace", || path)?;
        Ok(found.map(|(_, node)| node))
    }

    /// Returns when the files that describe the layer are on disk; the guest's own are as safe as the guest made them.
    ///
    /// # Errors
    /// The disk refuses.
    pub fn keep(&self) -> Result<()> {
        state::sync_meta(&self.state)?;
        self.home.sync().named("sync", || self.state.display())
    }

    /// Drops the layer and everything kept for undoing. The session's sandbox must have ended.
    ///
    /// # Errors
    /// Something cannot be removed; what remains can be discarded again.
    pub fn discard(self) -> Result<()> {
        let shown = || self.state.display();
        // First of all, so that a crash from here on leaves something that no longer opens as a layer.
        for name in ["layer.json", "layer.new"] {
            copy::remove_tree(&self.home, name.as_bytes()).named("discard", shown)?;
        }
        for name in [
            "layer",
            "apply",
            "seen.jsonl",
            "seen.new",
            "settled.jsonl",
            "baseline.jsonl",
            "baseline.new",
            "hidden.jsonl",
            "hidden.new",
        ] {
            copy::remove_tree(&self.home, name.as_bytes()).named("discard", shown)?;
        }
        self.home.sync().named("sync", shown)
    }

    /// The directory with the guest's files.
    pub(super) fn tree(&self) -> Result<Dir> {
        let name: &[u8] = match self.method {
            Method::Overlay => b"upper",
            Method::Copy => b"tree",
        };
        let layer = self.home.child(b"layer").and_then(|layer| layer.child(name));
        layer.named("open the layer of", || self.state.display())
    }

    /// `upper` looks like the workspace's root, for it is what the guest sees there; `work` has the same owner,
    /// since overlayfs works in it as the owner of the mount.
    pub(super) fn make_upper(&self, inside: &Dir) -> Result<()> {
        let shown = || self.state.display();
        let root = self.host.stat_self().named("look at", || self.workspace.display())?;
        for (name, bits) in [(b"upper".as_slice(), root.bits() & 0o1777), (b"work", 0o700)] {
            inside.make_dir(name, 0o700).named("make a layer in", shown)?;
            if door::is_root() {
                inside.set_owner(name, root.uid, root.gid).named("make a layer in", shown)?;
            }
            inside.set_bits(name, bits).named("make a layer in", shown)?;
        }
        Ok(())
    }

    fn make_copy(&self, inside: &Dir) -> Result<()> {
        let shown = || self.state.display();
        inside.make_dir(b"tree", 0o700).named("make a layer in", shown)?;
        let tree = inside.child(b"tree").named("open", shown)?;
        let baseline = copy::copy_tree(copy::Source::Workspace, &self.host, &tree)?;
        let root = self.host.stat_self().named("look at", || self.workspace.display())?;
        if door::is_root() {
            inside.set_owner(b"tree", root.uid, root.gid).named("make a layer in", shown)?;
        }
        inside.set_bits(b"tree", root.bits() & 0o1777).named("make a layer in", shown)?;
        state::write_baseline(&self.state, &baseline)
    }
}
