//! Carries out the session's steps: one `match`, in the plan's order, inside the new namespaces.
//! It never takes a decision that the plan left open, and never goes on after a step that failed.

use crate::enforced::{Layer, LayerState};
use crate::error::{ErrorKind, JailError};
use crate::idmap::{Ids, Mappings, Starter};
use crate::landlock::Identity;
use crate::mount::{self, Depth, GUARDED, NewRoot, Tree};
use crate::namespaces::Namespaces;
use crate::netns::{Interior, Making};
use crate::plan::{Access, Exec, LandlockRule, Owner, Plan, Record, SessionStep, Tcp, Wall};
use crate::recorder::Waiting;
use crate::{capabilities, keyring, landlock, namespaces};
use rustix::fs::{AtFlags, FileType};
use rustix::io::Errno;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write as _;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

mod cover;
mod overlays;

use overlays::{overlay, screen};

/// Device nodes that `/dev` shows.
const DEVICES: [&str; 6] = ["null", "zero", "full", "random", "urandom", "tty"];
/// Links that programs expect in `/dev`.
const DEV_LINKS: [(&str, &str); 6] = [
    ("/dev/ptmx", "pts/ptmx"),
    ("/dev/fd", "/proc/self/fd"),
    ("/dev/stdin", "/proc/self/fd/0"),
    ("/dev/stdout", "/proc/self/fd/1"),
    ("/dev/stderr", "/proc/self/fd/2"),
    ("/dev/core", "/proc/kcore"),
];
/// What `/proc` shows of the machine as a whole and nobody inside needs. Most of it is the real root's alone by its
/// permission bits, and the guest is not the real root; this holds where a kernel was lax.
const PROC_HIDDEN: [&str; 9] =
    ["acpi", "asound", "kcore", "keys", "latency_stats", "sched_debug", "scsi", "sysrq-trigger", "timer_list"];
/// What `/proc` shows of the machine and only root may write: read-only even so (CVE-2025-52881's targets lie here).
const PROC_READ_ONLY: [&str; 4] = ["bus", "fs", "irq", "sys"];
/// Unreadable stand-ins, there while the root is being built; their mounts outlive their names.
const MASK_FILE: &str = "/.mask-file";
const MASK_DIRECTORY: &str = "/.mask-directory";
/// An empty directory, the second one of every screen.
const SCREEN_EMPTY: &str = "/.screen";

/// The host's side of the steps, opened once, before anything is mounted.
#[derive(Debug, Default)]
pub(crate) struct Sources {
    /// By index of the step.
    binds: BTreeMap<usize, Tree>,
    /// Lower directory and layer, by index of the step.
    overlays: BTreeMap<usize, (OwnedFd, OwnedFd)>,
    /// Directories behind a screen, by index of the step.
    screens: BTreeMap<usize, OwnedFd>,
    /// In the order of [`DEVICES`].
    devices: Vec<OwnedFd>,
}

impl Sources {
    /// Opens every source of the plan: with the real root's rights where root starts the session, so that a path below
    /// somebody's private home can be shown.
    pub(crate) fn open(plan: &Plan, ids: &Ids) -> Result<Self, JailError> {
        let mut sources = Self::default();
        let mut made = Mappings::default();
        for (index, step) in plan.session.iter().enumerate() {
            match step {
                SessionStep::Bind { source, owner, .. } => {
                    let tree = mount::clone_host_path(source, Depth::Recursive)?;
                    show_as(&tree, *owner, ids, &mut made, source)?;
                    sources.binds.insert(index, tree);
                }
                SessionStep::Overlay { lower, layer, owner, .. } => {
                    let pair = (
                        overlay_source(lower, *owner, ids, &mut made)?,
                        overlay_source(layer, *owner, ids, &mut made)?,
                    );
                    sources.overlays.insert(index, pair);
                }
                SessionStep::Screen { lower, .. } => {
                    sources.screens.insert(index, overlay_source(lower, Owner::AsIs, ids, &mut made)?);
                }
                SessionStep::Dev { .. } => {
                    for name in DEVICES {
                        let tree = mount::clone_host_path(&Path::new("/dev").join(name), Depth::One)?;
                        sources.devices.push(tree.fd);
                    }
                }
                SessionStep::Namespaces { .. }
                | SessionStep::Hostname(_)
                | SessionStep::LoopbackUp
                | SessionStep::Outlet { .. }
                | SessionStep::Root { .. }
                | SessionStep::Dir { .. }
                | SessionStep::Symlink { .. }
                | SessionStep::File { .. }
                | SessionStep::Cover { .. }
                | SessionStep::Protect { .. }
                | SessionStep::Pin { .. }
                | SessionStep::Mask { .. }
                | SessionStep::Tmpfs { .. }
                | SessionStep::Proc
                | SessionStep::EnterRoot
                | SessionStep::Keyring
                | SessionStep::Recorder(_)
                | SessionStep::DropCapabilities
                | SessionStep::NoNewPrivs
                | SessionStep::Landlock { .. } => {}
            }
        }
        Ok(sources)
    }
}

fn show_as(tree: &Tree, owner: Owner, ids: &Ids, made: &mut Mappings, path: &Path) -> Result<(), JailError> {
    match (owner, ids.starter) {
        (Owner::Guest, Starter::Root) => ids.map_owner(tree, made, path),
        // An ordinary user's files are the guest's own already.
        (Owner::Guest, Starter::Ordinary) | (Owner::AsIs, _) => Ok(()),
    }
}

/// A directory for overlayfs: id-mapped through a mount of its own where root starts the session; else as it is,
/// since an ordinary user may not clone a single mount out of a tree that was locked for it.
fn overlay_source(path: &Path, owner: Owner, ids: &Ids, made: &mut Mappings) -> Result<OwnedFd, JailError> {
    match ids.starter {
        Starter::Ordinary => mount::open_host_directory(path),
        Starter::Root => {
            let tree = mount::clone_host_path(path, Depth::One)?;
            show_as(&tree, owner, ids, made, path)?;
            Ok(tree.fd)
        }
    }
}

/// What the wall without namespaces lacks.
pub(crate) fn without_namespaces() -> [LayerState; 8] {
    [
        Layer::UserNamespace,
        Layer::MountNamespace,
        Layer::PidNamespace,
        Layer::NetNamespace,
        Layer::IpcNamespace,
        Layer::UtsNamespace,
        Layer::CgroupNamespace,
        Layer::Root,
    ]
    .map(|layer| LayerState::absent(layer, "the plan's wall is Landlock and seccomp alone"))
}

/// What the session's steps made.
#[derive(Debug, Default)]
pub(crate) struct Built {
    /// Layers.
    pub(crate) layers: Vec<LayerState>,
    /// Sockets of the outlet, to be handed out.
    pub(crate) outlet: Vec<Option<OwnedFd>>,
    /// The recorder, which waits for the list of calls.
    pub(crate) recorder: Option<Waiting>,
    /// The namespaces that were made.
    pub(crate) namespaces: Option<Namespaces>,
    /// On what the rules of Landlock were put.
    pub(crate) objects: Vec<Identity>,
}

/// Carries out the session's steps.
pub(crate) fn carry_out(plan: &Plan, ids: Option<&Ids>, mut sources: Sources) -> Result<Built, JailError> {
    let starter = ids.map_or(Starter::Ordinary, |ids| ids.starter);
    let mut room =
        Room { root: None, built: Built::default(), wall: plan.wall, masks: Masks::None, net: None, starter };
    for (index, step) in plan.session.iter().enumerate() {
        match step {
            SessionStep::Namespaces { .. } => {
                let ids = ids.ok_or_else(|| JailError::bug("carry out", "namespaces without ids"))?;
                room.built.layers.extend(namespaces::layers(ids));
                room.net = Some(Making::begin(Interior::of(plan)?)?);
            }
            SessionStep::Hostname(name) => rustix::system::sethostname(name.as_bytes())
                .map_err(|errno| JailError::os("set the host name", name, errno.raw_os_error()))?,
            // With the net namespace, which is made beside the mounts and entered before the root is.
            SessionStep::LoopbackUp => {}
            SessionStep::Outlet { .. } => match room.wall {
                Wall::Namespaces => {}
                Wall::Landlock => return Err(JailError::bug("make", "an outlet without a net namespace")),
            },
            SessionStep::Root { size_mib } => room.root = Some(NewRoot::new(*size_mib)?),
            SessionStep::Dir { path, mode } => room.root()?.directory(path, *mode).map(drop)?,
            SessionStep::Symlink { path, target } => room.root()?.symlink(path, target)?,
            SessionStep::File { path, content, mode } => room.file(path, content, *mode)?,
            SessionStep::Cover { files } => room.cover(files)?,
            SessionStep::Bind { target, access, exec, .. } => {
                let tree = sources.binds.remove(&index).ok_or_else(|| unopened(target))?;
                room.bind(&tree, target, *access, *exec)?;
            }
            SessionStep::Overlay { target, exec, .. } => {
                let (lower, layer) = sources.overlays.remove(&index).ok_or_else(|| unopened(target))?;
                room.overlay(&lower, &layer, target, *exec)?;
            }
            SessionStep::Screen { target, exec, .. } => {
                let lower = sources.screens.remove(&index).ok_or_else(|| unopened(target))?;
                room.screen(&lower, target, *exec)?;
            }
            SessionStep::Protect { path } => room.over_itself(path, libc::MOUNT_ATTR_RDONLY)?,
            SessionStep::Pin { path } => room.over_itself(path, 0)?,
            SessionStep::Mask { path } => room.mask(path)?,
            SessionStep::Tmpfs { path, size_mib, mode, exec } => room.tmpfs(path, *size_mib, *mode, *exec)?,
            SessionStep::Proc => room.proc()?,
            SessionStep::Dev { shm_mib } => room.dev(&sources.devices, *shm_mib)?,
            SessionStep::EnterRoot => {
                room.enter_net()?;
                room.enter()?;
            }
            SessionStep::Keyring => room.built.layers.push(keyring::join_new()?),
            SessionStep::Recorder(record) => room.built.recorder = recorder(*record, room.wall)?,
            SessionStep::DropCapabilities => room.built.layers.push(capabilities::drop_all()?),
            SessionStep::NoNewPrivs => room.built.layers.push(capabilities::set_no_new_privileges()?),
            SessionStep::Landlock { rules, tcp } => match room.wall {
                Wall::Namespaces => room.restrict(rules, *tcp)?,
                // Each call takes it on by itself: the init has to stay outside, where the scope of its guests'
                // signals does not reach.
                Wall::Landlock => {}
            },
        }
    }
    // For a plan without a root of its own.
    room.enter_net()?;
    Ok(room.built)
}

/// The recorder's thread, with what is left to it of the rights that there are now.
fn recorder(record: Record, wall: Wall) -> Result<Option<Waiting>, JailError> {
    match record {
        Record::Off => Ok(None),
        Record::Changes | Record::AllOpens => Waiting::begin(wall).map(Some),
    }
}

fn unopened(target: &Path) -> JailError {
    JailError::bug("find the source of", target.display().to_string())
}

/// What is being built.
struct Room {
    root: Option<NewRoot>,
    built: Built,
    wall: Wall,
    masks: Masks,
    net: Option<Making>,
    starter: Starter,
}

/// The unreadable stand-ins.
enum Masks {
    /// Nothing was masked yet.
    None,
    /// An empty file and an empty directory without any permission.
    Made { file: OwnedFd, directory: OwnedFd },
}

impl Room {
    fn root(&self) -> Result<&NewRoot, JailError> {
        self.root.as_ref().ok_or_else(|| JailError::bug("carry out", "a mount step before the root"))
    }

    fn enter_net(&mut self) -> Result<(), JailError> {
        if let Some(net) = self.net.take() {
            let made = net.enter()?;
            self.built.layers.push(LayerState::active(Layer::NetNamespace));
            // Under the old root still, whose `/proc` is there in any case.
            self.built.namespaces = Some(Namespaces::of_this_process()?);
            if let Some(made) = made {
                self.built.layers.push(made.layer);
                self.built.outlet = made.sockets;
            }
        }
        Ok(())
    }

    fn restrict(&mut self, rules: &[LandlockRule], tcp: Tcp) -> Result<(), JailError> {
        let (layer, objects) = landlock::restrict_and_tell(rules, tcp, None)?;
        self.built.layers.push(layer);
        self.built.objects = objects;
        Ok(())
    }

    fn file(&self, path: &Path, content: &str, mode: u32) -> Result<(), JailError> {
        let mut file = File::from(self.root()?.new_file(path, mode)?);
        file.write_all(content.as_bytes()).map_err(|error| JailError::io("write", path.display().to_string(), &error))
    }

    fn bind(&self, tree: &Tree, target: &Path, access: Access, exec: Exec) -> Result<(), JailError> {
        let root = self.root()?;
        let place = match tree.kind {
            FileType::Directory => root.directory(target, 0o755)?,
            FileType::RegularFile
            | FileType::Symlink
            | FileType::Fifo
            | FileType::Socket
            | FileType::CharacterDevice
            | FileType::BlockDevice
            | FileType::Unknown => root.file(target)?,
        };
        let access = match access {
            Access::ReadOnly => libc::MOUNT_ATTR_RDONLY,
            Access::ReadWrite => 0,
        };
        mount::restrict(tree.fd.as_fd(), GUARDED | access | mount::exec_flag(exec), target)?;
        root.mount(tree.fd.as_fd(), place.as_fd(), target)
    }

    fn overlay(&mut self, lower: &OwnedFd, layer: &OwnedFd, target: &Path, exec: Exec) -> Result<(), JailError> {
        let refused = |errno: Errno| {
            JailError::os("mount copy-on-write", target.display().to_string(), errno.raw_os_error())
                .kind(ErrorKind::OverlayRefused)
                .hint("the file system of the workspace or of the state directory cannot carry an overlay; a copy can")
        };
        let flags = GUARDED | mount::exec_flag(exec);
        let tree = self.staged_if_needed(&[lower, layer], &|| overlay(lower, layer, flags))?.map_err(refused)?;
        let root = self.root()?;
        let place = root.directory(target, 0o755)?;
        root.mount(tree.as_fd(), place.as_fd(), target)
    }

    fn screen(&mut self, lower: &OwnedFd, target: &Path, exec: Exec) -> Result<(), JailError> {
        let refused = |errno: Errno| {
            JailError::os("mount behind a screen", target.display().to_string(), errno.raw_os_error())
                .kind(ErrorKind::OverlayRefused)
                .hint("the file system of that directory cannot be shown through an overlay")
        };
        // Overlayfs without an upper directory wants two lower ones.
        let empty = self.root()?.directory(Path::new(SCREEN_EMPTY), 0o755)?;
        let flags = GUARDED | mount::exec_flag(exec) | libc::MOUNT_ATTR_RDONLY;
        let tree = self.staged_if_needed(&[lower], &|| screen(lower, &empty, flags))?.map_err(refused)?;
        let root = self.root()?;
        let place = root.directory(target, 0o755)?;
        root.mount(tree.as_fd(), place.as_fd(), target)
    }

    /// Makes an overlay of these directories; where the kernel wants it, with them attached for the moment in which
    /// overlayfs makes its private copies.
    fn staged_if_needed(
        &self,
        sources: &[&OwnedFd],
        make: &dyn Fn() -> Result<OwnedFd, Errno>,
    ) -> Result<Result<OwnedFd, Errno>, JailError> {
        // Overlayfs takes no layer from a detached mount before Linux 6.15, and since then only from one whose
        // namespace is the caller's: what root opened for us is not, and trying would fill the kernel's log.
        if self.starter == Starter::Ordinary {
            let first = make();
            if !matches!(first, Err(Errno::INVAL | Errno::PERM)) {
                return Ok(first);
            }
        }
        let root = self.root()?;
        let mut staged = Vec::new();
        for (number, source) in sources.iter().enumerate() {
            let path = mount::staging(number);
            let place = root.directory(&path, 0o700)?;
            // Refused for what is attached already, which is how an ordinary user's sources come.
            if mount::attach(source.as_fd(), place.as_fd()).is_ok() {
                staged.push(path);
            } else {
                root.remove(&path, AtFlags::REMOVEDIR)?;
            }
        }
        let made = make();
        for path in staged {
            root.unmount(&path)?;
            root.remove(&path, AtFlags::REMOVEDIR)?;
        }
        Ok(made)
    }

    fn over_itself(&self, path: &Path, flags: u64) -> Result<(), JailError> {
        let root = self.root()?;
        let place = root.existing(path)?;
        let tree = mount::clone_descriptor(place.as_fd(), Depth::Recursive, path)?;
        if flags != 0 {
            mount::restrict(tree.as_fd(), flags, path)?;
        }
        root.mount(tree.as_fd(), place.as_fd(), path)
    }

    fn mask(&mut self, path: &Path) -> Result<(), JailError> {
        let place = self.root()?.existing(path)?;
        self.mask_place(&place, path)
    }

    fn mask_place(&mut self, place: &OwnedFd, path: &Path) -> Result<(), JailError> {
        if matches!(self.masks, Masks::None) {
            let root = self.root()?;
            let directory = root.directory(Path::new(MASK_DIRECTORY), 0)?;
            drop(root.new_file(Path::new(MASK_FILE), 0)?);
            let file = root.existing(Path::new(MASK_FILE))?;
            self.masks = Masks::Made { file, directory };
        }
        let Masks::Made { file, directory } = &self.masks else {
            return Err(JailError::bug("mask", path.display().to_string()));
        };
        let source = if mount::kind_of(place, path)? == FileType::Directory { directory } else { file };
        let tree = mount::clone_descriptor(source.as_fd(), Depth::One, path)?;
        mount::restrict(tree.as_fd(), GUARDED | libc::MOUNT_ATTR_RDONLY | libc::MOUNT_ATTR_NOEXEC, path)?;
        self.root()?.mount(tree.as_fd(), place.as_fd(), path)
    }

    fn tmpfs(&mut self, path: &Path, size_mib: u64, mode: u32, exec: Exec) -> Result<(), JailError> {
        let tree = mount::tmpfs(size_mib, mode, GUARDED | mount::exec_flag(exec))?;
        self.mount_own(tree.as_fd(), path, mode)
    }

    fn mount_own(&mut self, tree: BorrowedFd<'_>, path: &Path, mode: u32) -> Result<(), JailError> {
        let root =
            self.root.as_mut().ok_or_else(|| JailError::bug("mount before the root", path.display().to_string()))?;
        root.mount_own(tree, path, mode)
    }

    fn proc(&mut self) -> Result<(), JailError> {
        let tree = mount::new_file_system("proc", &[], GUARDED | libc::MOUNT_ATTR_NOEXEC).map_err(|errno| {
            JailError::os("mount", "/proc", errno.raw_os_error())
                .kind(ErrorKind::ProcRefused)
                .hint("the container that we run in hides parts of /proc, and the kernel then refuses a new one: unmask it (docker: --security-opt systempaths=unconfined)")
        })?;
        let path = Path::new("/proc");
        let place = self.root()?.directory(path, 0o555)?;
        self.root()?.mount(tree.as_fd(), place.as_fd(), path)?;
        for name in PROC_HIDDEN {
            if let Some((place, path)) = self.in_proc(&tree, name)? {
                self.mask_place(&place, &path)?;
            }
        }
        for name in PROC_READ_ONLY {
            if let Some((place, path)) = self.in_proc(&tree, name)? {
                let copy = mount::clone_descriptor(place.as_fd(), Depth::One, &path)?;
                mount::restrict(copy.as_fd(), libc::MOUNT_ATTR_RDONLY, &path)?;
                self.root()?.mount(copy.as_fd(), place.as_fd(), &path)?;
            }
        }
        Ok(())
    }

    /// A part of the new `/proc`, where this kernel has it.
    fn in_proc(&self, proc: &OwnedFd, name: &str) -> Result<Option<(OwnedFd, PathBuf)>, JailError> {
        let path = Path::new("/proc").join(name);
        let flags = rustix::fs::OFlags::PATH | rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::CLOEXEC;
        match rustix::fs::openat(proc, name, flags, rustix::fs::Mode::empty()) {
            Ok(place) => Ok(Some((place, path))),
            Err(Errno::NOENT) => Ok(None),
            Err(errno) => Err(JailError::os("open", path.display().to_string(), errno.raw_os_error())),
        }
    }

    fn dev(&mut self, devices: &[OwnedFd], shm_mib: u64) -> Result<(), JailError> {
        for (name, device) in DEVICES.iter().zip(devices) {
            let path = Path::new("/dev").join(name);
            let place = self.root()?.file(&path)?;
            let flags = libc::MOUNT_ATTR_NOSUID | libc::MOUNT_ATTR_NOEXEC;
            mount::restrict(device.as_fd(), flags, &path)?;
            self.root()?.mount(device.as_fd(), place.as_fd(), &path)?;
        }
        for (path, target) in DEV_LINKS {
            self.root()?.symlink(Path::new(path), Path::new(target))?;
        }
        let options = [("mode", "620"), ("ptmxmode", "666")];
        let pts = mount::new_file_system("devpts", &options, libc::MOUNT_ATTR_NOSUID | libc::MOUNT_ATTR_NOEXEC)
            .map_err(|errno| JailError::os("mount", "/dev/pts", errno.raw_os_error()))?;
        let path = Path::new("/dev/pts");
        let place = self.root()?.directory(path, 0o755)?;
        self.root()?.mount(pts.as_fd(), place.as_fd(), path)?;
        let shm = mount::tmpfs(shm_mib, 0o1777, GUARDED | libc::MOUNT_ATTR_NOEXEC)?;
        self.mount_own(shm.as_fd(), Path::new("/dev/shm"), 0o1777)
    }

    fn enter(&mut self) -> Result<(), JailError> {
        if let Masks::Made { .. } = self.masks {
            let root = self.root()?;
            root.remove(Path::new(MASK_FILE), AtFlags::empty())?;
            root.remove(Path::new(MASK_DIRECTORY), AtFlags::REMOVEDIR)?;
            self.masks = Masks::None;
        }
        self.root()?.enter()?;
        self.root = None;
        self.built.layers.push(LayerState::active(Layer::Root));
        Ok(())
    }
}
