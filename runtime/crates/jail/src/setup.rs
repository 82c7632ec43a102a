//! Carries out the session's steps: one `match`, in the plan's order, inside the new namespaces.
//! It never takes a decision that the plan left open, and never goes on after a step that failed.

use crate::enforced::{Layer, LayerState};
use crate::error::{ErrorKind, JailError};
use crate::idmap::{Ids, Starter};
use crate::kernel::Kernel;
use crate::landlock::Identity;
use crate::mount::{self, Depth, GUARDED, NewRoot, Pending};
use crate::namespaces::Namespaces;
use crate::netns::{Interior, Making};
use crate::plan::{Access, CallStep, Exec, LandlockRule, Plan, Record, SessionStep, Sockets, Tcp, Wall};
use crate::recorder::Waiting;
use crate::{capabilities, keyring, landlock, namespaces};
use rustix::fs::{AtFlags, FileType};
use rustix::io::Errno;
use std::fs::File;
use std::io::Write as _;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::{Path, PathBuf};

mod cover;
mod overlays;
mod read_only;
mod sources;

use overlays::{overlay, screen};
pub(crate) use sources::Sources;

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
    /// Lines on which they are relayed, where they cannot come out.
    pub(crate) lines: Vec<OwnedFd>,
    /// The recorder, which waits for the list of calls.
    pub(crate) recorder: Option<Waiting>,
    /// The namespaces that were made.
    pub(crate) namespaces: Option<Namespaces>,
    /// On what the rules of Landlock were put.
    pub(crate) objects: Vec<Identity>,
}

/// Carries out the session's steps.
pub(crate) fn carry_out(
    plan: &Plan,
    ids: Option<&Ids>,
    mut sources: Sources,
    kernel: Kernel,
) -> Result<Built, JailError> {
    let starter = ids.map_or(Starter::Ordinary, |ids| ids.starter);
    let built = Built::default();
    let mut room = Room { root: None, built, wall: plan.wall, masks: Masks::None, net: None, starter, kernel };
    for (index, step) in plan.session.iter().enumerate() {
        match step {
            SessionStep::Namespaces { .. } => {
                let ids = ids.ok_or_else(|| JailError::bug("carry out", "namespaces without ids"))?;
                room.built.layers.extend(namespaces::layers(ids, kernel));
                room.net = Some(Making::begin(Interior::of(plan, kernel)?)?);
            }
            SessionStep::Hostname(name) => rustix::system::sethostname(name.as_bytes())
                .map_err(|errno| JailError::os("set the host name", name, errno.raw_os_error()))?,
            // With the net namespace, which is made beside the mounts and entered before the root is.
            SessionStep::LoopbackUp => {}
            SessionStep::Outlet { .. } => may_have_an_outlet(room.wall)?,
            SessionStep::Root { size_mib } => room.root = Some(NewRoot::new(kernel, *size_mib)?),
            SessionStep::Dir { path, mode } => room.root()?.directory(path, *mode).map(drop)?,
            SessionStep::Symlink { path, target } => room.root()?.symlink(path, target)?,
            SessionStep::File { path, content, mode } => room.file(path, content, *mode)?,
            SessionStep::Cover { files } => room.cover(files)?,
            SessionStep::Bind { target, access, exec, .. } => {
                let (tree, kind) = sources.binds.remove(&index).ok_or_else(|| unopened(target))?;
                room.bind(tree, kind, target, *access, *exec)?;
            }
            SessionStep::Overlay { target, exec, .. } => {
                let (lower, layer) = sources.overlays.remove(&index).ok_or_else(|| unopened(target))?;
                room.overlay(&lower, &layer, target, *exec)?;
            }
            SessionStep::Screen { target, exec, .. } => {
                keeps_sockets_out(plan, target, kernel)?;
                let lower = sources.screens.remove(&index).ok_or_else(|| unopened(target))?;
                room.screen(&lower, target, *exec)?;
            }
            SessionStep::Protect { path } => room.over_itself(path, libc::MOUNT_ATTR_RDONLY)?,
            SessionStep::Pin { path } => room.over_itself(path, 0)?,
            SessionStep::Mask { path } => room.mask(path)?,
            SessionStep::Tmpfs { path, size_mib, mode, exec } => room.tmpfs(path, *size_mib, *mode, *exec)?,
            SessionStep::Proc => room.proc()?,
            SessionStep::Dev { shm_mib } => room.dev(std::mem::take(&mut sources.devices), *shm_mib)?,
            SessionStep::EnterRoot => {
                room.enter_net()?;
                room.enter()?;
            }
            SessionStep::Keyring => room.built.layers.push(keyring::join_new()?),
            SessionStep::Recorder(record) => room.built.recorder = recorder(*record, room.wall, kernel)?,
            SessionStep::DropCapabilities => room.built.layers.push(drop_capabilities(kernel)?),
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
fn recorder(record: Record, wall: Wall, kernel: Kernel) -> Result<Option<Waiting>, JailError> {
    match (record, kernel) {
        (Record::Off, _) | (_, Kernel::Gvisor) => Ok(None),
        (Record::Changes | Record::AllOpens, Kernel::Host) => Waiting::begin(wall).map(Some),
    }
}

/// On gVisor a socket of the host shows through an overlay, so there it must be the list of calls that keeps guests from it.
fn keeps_sockets_out(plan: &Plan, target: &Path, kernel: Kernel) -> Result<(), JailError> {
    let guests_have_some = |step: &CallStep| matches!(step, CallStep::Seccomp { sockets: Sockets::Loopback });
    match kernel {
        Kernel::Gvisor if plan.call.iter().any(guests_have_some) => {
            Err(JailError::host("keep sockets of the host out of", target.display().to_string())
                .kind(ErrorKind::OverlayRefused)
                .hint("gVisor shows a socket through an overlay"))
        }
        Kernel::Host | Kernel::Gvisor => Ok(()),
    }
}

/// The net namespace of an outlet is made beside the mounts.
fn may_have_an_outlet(wall: Wall) -> Result<(), JailError> {
    match wall {
        Wall::Namespaces => Ok(()),
        Wall::Landlock => Err(JailError::bug("make", "an outlet without a net namespace")),
    }
}

fn drop_capabilities(kernel: Kernel) -> Result<LayerState, JailError> {
    match kernel {
        Kernel::Host => capabilities::drop_all(),
        Kernel::Gvisor => capabilities::drop_all_in_gvisor(),
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
    kernel: Kernel,
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
            self.built.namespaces = match self.kernel {
                // Under the old root still, whose `/proc` is there in any case.
                Kernel::Host => Some(Namespaces::of_this_process()?),
                Kernel::Gvisor => None,
            };
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

    fn bind(
        &self,
        mut tree: Pending,
        kind: FileType,
        target: &Path,
        access: Access,
        exec: Exec,
    ) -> Result<(), JailError> {
        let root = self.root()?;
        let place = match kind {
            FileType::Directory => root.directory(target, 0o755)?,
            FileType::RegularFile
            | FileType::Symlink
            | FileType::Fifo
            | FileType::Socket
            | FileType::CharacterDevice
            | FileType::BlockDevice
            | FileType::Unknown => root.file(target)?,
        };
        if access == Access::ReadOnly
            && let Some(source) = tree.of_an_engines_mount(target)?
            && self.show_read_only(source, &place, target, GUARDED | mount::exec_flag(exec))?
        {
            return Ok(());
        }
        let access = match access {
            Access::ReadOnly => libc::MOUNT_ATTR_RDONLY,
            Access::ReadWrite => 0,
        };
        tree.restrict(GUARDED | access | mount::exec_flag(exec), target)?;
        root.mount(&tree, place.as_fd(), target)
    }

    fn overlay(&mut self, lower: &OwnedFd, layer: &OwnedFd, target: &Path, exec: Exec) -> Result<(), JailError> {
        let refused = |errno: Errno| {
            JailError::os("mount copy-on-write", target.display().to_string(), errno.raw_os_error())
                .kind(ErrorKind::OverlayRefused)
                .hint("the file system of the workspace or of the state directory cannot carry an overlay; a copy can")
        };
        let flags = GUARDED | mount::exec_flag(exec);
        let make = || overlay(self.kernel, lower, layer, flags);
        let tree = self.staged_if_needed(&[lower, layer], &make)?.map_err(refused)?;
        let root = self.root()?;
        let place = root.directory(target, 0o755)?;
        root.mount(&tree, place.as_fd(), target)
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
        let make = || screen(self.kernel, lower, &empty, flags);
        let tree = self.staged_if_needed(&[lower], &make)?.map_err(refused)?;
        let root = self.root()?;
        let place = root.directory(target, 0o755)?;
        root.mount(&tree, place.as_fd(), target)
    }

    /// Makes an overlay of these directories; where the kernel wants it, with them attached for the moment in which
    /// overlayfs makes its private copies.
    fn staged_if_needed(
        &self,
        sources: &[&OwnedFd],
        make: &dyn Fn() -> Result<Pending, Errno>,
    ) -> Result<Result<Pending, Errno>, JailError> {
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
        let is_read_only = flags & libc::MOUNT_ATTR_RDONLY != 0;
        if is_read_only && self.kernel == Kernel::Gvisor && self.show_read_only(&place, &place, path, flags)? {
            return Ok(());
        }
        let mut tree = Pending::again(self.kernel, place.as_fd(), Depth::Recursive, path)?;
        if flags != 0 {
            tree.restrict(flags, path)?;
        }
        root.mount(&tree, place.as_fd(), path)
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
        let mut tree = Pending::again(self.kernel, source.as_fd(), Depth::One, path)?;
        tree.restrict(GUARDED | libc::MOUNT_ATTR_RDONLY | libc::MOUNT_ATTR_NOEXEC, path)?;
        self.root()?.mount(&tree, place.as_fd(), path)
    }

    fn tmpfs(&mut self, path: &Path, size_mib: u64, mode: u32, exec: Exec) -> Result<(), JailError> {
        let tree = mount::tmpfs(self.kernel, size_mib, mode, GUARDED | mount::exec_flag(exec))?;
        self.mount_own(&tree, path, mode)
    }

    fn mount_own(&mut self, tree: &Pending, path: &Path, mode: u32) -> Result<(), JailError> {
        let root =
            self.root.as_mut().ok_or_else(|| JailError::bug("mount before the root", path.display().to_string()))?;
        root.mount_own(tree, path, mode)
    }

    fn proc(&mut self) -> Result<(), JailError> {
        let flags = GUARDED | libc::MOUNT_ATTR_NOEXEC;
        let tree = Pending::new_file_system(self.kernel, "proc", &[], flags).map_err(|errno| {
            JailError::os("mount", "/proc", errno.raw_os_error())
                .kind(ErrorKind::ProcRefused)
                .hint("the container that we run in hides parts of /proc, and the kernel then refuses a new one: unmask it (docker: --security-opt systempaths=unconfined)")
        })?;
        let path = Path::new("/proc");
        let place = self.root()?.directory(path, 0o555)?;
        self.root()?.mount(&tree, place.as_fd(), path)?;
        let proc = self.root()?.existing(path)?;
        for name in PROC_HIDDEN {
            if let Some((place, path)) = self.in_proc(&proc, name)? {
                self.mask_place(&place, &path)?;
            }
        }
        for name in PROC_READ_ONLY {
            if let Some((place, path)) = self.in_proc(&proc, name)? {
                let mut copy = Pending::again(self.kernel, place.as_fd(), Depth::One, &path)?;
                copy.restrict(libc::MOUNT_ATTR_RDONLY, &path)?;
                self.root()?.mount(&copy, place.as_fd(), &path)?;
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

    fn dev(&mut self, devices: Vec<Pending>, shm_mib: u64) -> Result<(), JailError> {
        for (name, mut device) in DEVICES.iter().zip(devices) {
            let path = Path::new("/dev").join(name);
            let place = self.root()?.file(&path)?;
            let flags = libc::MOUNT_ATTR_NOSUID | libc::MOUNT_ATTR_NOEXEC;
            device.restrict(flags, &path)?;
            self.root()?.mount(&device, place.as_fd(), &path)?;
        }
        for (path, target) in DEV_LINKS {
            self.root()?.symlink(Path::new(path), Path::new(target))?;
        }
        let options: &[_] = match self.kernel {
            Kernel::Host => &[("mode", "620"), ("ptmxmode", "666")],
            // It takes none, and what it makes is so.
            Kernel::Gvisor => &[],
        };
        let flags = libc::MOUNT_ATTR_NOSUID | libc::MOUNT_ATTR_NOEXEC;
        let pts = Pending::new_file_system(self.kernel, "devpts", options, flags)
            .map_err(|errno| JailError::os("mount", "/dev/pts", errno.raw_os_error()))?;
        let path = Path::new("/dev/pts");
        let place = self.root()?.directory(path, 0o755)?;
        self.root()?.mount(&pts, place.as_fd(), path)?;
        let shm = mount::tmpfs(self.kernel, shm_mib, 0o1777, GUARDED | libc::MOUNT_ATTR_NOEXEC)?;
        self.mount_own(&shm, Path::new("/dev/shm"), 0o1777)
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
        let layer = LayerState::active(Layer::Root);
        self.built.layers.push(match self.kernel {
            Kernel::Host => layer,
            Kernel::Gvisor => {
                layer.detail("gVisor's mounts know no nosuid and no nodev: no_new_privs and its own devices")
            }
        });
        Ok(())
    }
}
