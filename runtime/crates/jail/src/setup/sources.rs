//! What a plan's steps show of outside: each source opened once, before anything is mounted.
//! It never mounts, and never opens what the plan does not name.

use crate::error::JailError;
use crate::idmap::{Ids, Mappings, Starter};
use crate::kernel::Kernel;
use crate::mount::{self, Depth, Pending, Tree};
use crate::plan::{Owner, Plan, SessionStep};
use rustix::fs::FileType;
use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::path::Path;

/// The host's side of the steps, opened once, before anything is mounted.
#[derive(Debug, Default)]
pub(crate) struct Sources {
    /// By index of the step.
    pub(super) binds: BTreeMap<usize, (Pending, FileType)>,
    /// Lower directory and layer, by index of the step.
    pub(super) overlays: BTreeMap<usize, (OwnedFd, OwnedFd)>,
    /// Directories behind a screen, by index of the step.
    pub(super) screens: BTreeMap<usize, OwnedFd>,
    /// In the order of [`super::DEVICES`].
    pub(super) devices: Vec<Pending>,
}

impl Sources {
    /// Opens every source of the plan: with the real root's rights where root starts the session, so that a path below
    /// somebody's private home can be shown.
    pub(crate) fn open(plan: &Plan, ids: &Ids, kernel: Kernel) -> Result<Self, JailError> {
        let mut sources = Self::default();
        let mut made = Mappings::default();
        for (index, step) in plan.session.iter().enumerate() {
            match step {
                SessionStep::Bind { source, owner, .. } => {
                    let shown = match kernel {
                        Kernel::Host => {
                            let tree = mount::clone_host_path(source, Depth::Recursive)?;
                            show_as(&tree, *owner, ids, &mut made, source)?;
                            (Pending::Detached(tree.fd), tree.kind)
                        }
                        Kernel::Gvisor => Pending::of_path(source, Depth::Recursive)?,
                    };
                    sources.binds.insert(index, shown);
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
                    for name in super::DEVICES {
                        let path = Path::new("/dev").join(name);
                        sources.devices.push(match kernel {
                            Kernel::Host => Pending::Detached(mount::clone_host_path(&path, Depth::One)?.fd),
                            Kernel::Gvisor => Pending::of_path(&path, Depth::One)?.0,
                        });
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
