//! Arranges granted paths into mounts and Landlock rules: pure, and the same for the same grants and host.
//! It never decides whether something is granted.

use crate::backend::process::host::{Host, Seen};
use crate::error::{Error, Result};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use stockade_jail::plan::{Access, Exec, LandlockRule, Owner, PathRights, SessionStep};
use stockade_policy as policy;

/// One granted path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Granted {
    /// Absolute, clean path.
    pub path: PathBuf,
    /// What is granted there.
    pub right: policy::Access,
    /// Whether it must exist.
    pub presence: policy::Presence,
    /// The rule that grants it, for messages.
    pub rule: String,
}

/// What is allowed at one path, all grants taken together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Allowed {
    /// Writable or not.
    pub access: Access,
    /// Executable or not.
    pub exec: Exec,
}

/// The grants, by path.
#[derive(Debug)]
pub struct Grants<'a> {
    all: &'a [Granted],
}

impl<'a> Grants<'a> {
    /// Takes the grants of a profile.
    pub fn new(all: &'a [Granted]) -> Self {
        Self { all }
    }

    /// Whether a grant of this kind covers the path.
    pub fn covers(&self, path: &Path, right: policy::Access) -> bool {
        self.all.iter().any(|granted| granted.right == right && path.starts_with(&granted.path))
    }

    /// What is allowed at a path.
    pub fn at(&self, path: &Path) -> Allowed {
        let access = if self.covers(path, policy::Access::Write) { Access::ReadWrite } else { Access::ReadOnly };
        let exec = if self.covers(path, policy::Access::Exec) { Exec::Allow } else { Exec::Deny };
        Allowed { access, exec }
    }

    /// Whether anything at all is granted at the path, above it, or below it.
    pub fn touches(&self, path: &Path) -> bool {
        self.all.iter().any(|granted| path.starts_with(&granted.path) || granted.path.starts_with(path))
    }

    /// Whether a grant at or above the path shows it.
    pub fn shows(&self, path: &Path) -> bool {
        self.all.iter().any(|granted| path.starts_with(&granted.path))
    }

    /// Granted paths at or below `path`.
    pub fn within<'b>(&'b self, path: &'b Path) -> impl Iterator<Item = &'b Granted> {
        self.all.iter().filter(move |granted| granted.path.starts_with(path))
    }
}

/// Whether directories in which a service may have put its socket can be shown without it. A read-only mount does not
/// keep a guest from connecting to a socket (unix(7): the inode's permissions decide), an overlay does: its inodes are
/// not the socket's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Screens {
    /// Behind an overlay.
    Available,
    /// Overlays are not to be had here.
    Missing,
}

/// Mounts and links for everything granted outside the places that the sandbox makes anew.
///
/// # Errors
/// Operator: a path that is not optional is not there.
pub fn mounts(granted: &[Granted], anew: &[PathBuf], screens: Screens, host: &dyn Host) -> Result<Vec<SessionStep>> {
    let grants = Grants::new(granted);
    let mut steps: BTreeMap<PathBuf, SessionStep> = BTreeMap::new();
    for one in granted {
        // A place made anew (a private home, the workspace) is not the host's; paths strictly below a home are.
        if anew.contains(&one.path) || steps.contains_key(&one.path) {
            continue;
        }
        match step(one, &grants, host)? {
            Some(step) => drop(steps.insert(one.path.clone(), step)),
            None => continue,
        }
    }
    Ok(without_covered(&steps, anew).into_iter().map(|step| screened(step, screens, host)).collect())
}

/// The same directory behind a screen, when it is one that needs it: writable ones stay the host's own.
fn screened(step: SessionStep, screens: Screens, host: &dyn Host) -> SessionStep {
    match (step, screens) {
        (
            SessionStep::Bind { source, target, access: Access::ReadOnly, exec, owner: Owner::AsIs },
            Screens::Available,
        ) if host.has_sockets(&source) && host.look(&source) == Seen::Directory => {
            SessionStep::Screen { lower: source, target, exec }
        }
        (step, Screens::Available | Screens::Missing) => step,
    }
}

/// Whether some mount shows a directory of the host as it is, where a service could put a socket at any time.
pub fn shows_sockets(steps: &[SessionStep], host: &dyn Host) -> bool {
    steps.iter().any(|step| {
        let SessionStep::Bind { source, .. } = step else { return false };
        host.has_sockets(source) && host.look(source) == Seen::Directory
    })
}

/// The step that shows one granted path, if it is there.
fn step(one: &Granted, grants: &Grants<'_>, host: &dyn Host) -> Result<Option<SessionStep>> {
    let allowed = grants.at(&one.path);
    let bind = |source: PathBuf| SessionStep::Bind {
        source,
        target: one.path.clone(),
        access: allowed.access,
        exec: allowed.exec,
        owner: Owner::AsIs,
    };
    match (host.look(&one.path), one.presence) {
        (Seen::Directory | Seen::File, _) => Ok(Some(bind(one.path.clone()))),
        // Where the link leads is granted as well: keep it a link, as programs that compare paths expect (/bin, /lib64).
        (Seen::Link { text, resolved: Some(resolved) }, _) if grants.shows(&resolved) => {
            Ok(Some(SessionStep::Symlink { path: one.path.clone(), target: text }))
        }
        (Seen::Link { resolved: Some(resolved), .. }, _) => Ok(Some(bind(resolved))),
        (Seen::Missing | Seen::Link { resolved: None, .. }, policy::Presence::Optional) => Ok(None),
        (Seen::Missing | Seen::Link { resolved: None, .. }, policy::Presence::Required) if host.may_lack(&one.path) => {
            Ok(None)
        }
        (Seen::Missing | Seen::Link { resolved: None, .. }, policy::Presence::Required) => {
            Err(Error::operator(format!("\"{}\", which {} grants, does not exist", one.path.display(), one.rule))
                .hint("add optional = true to the grant, or remove it"))
        }
    }
}

/// Drops a bind that an identical one above it already shows, unless a place that is made anew lies over that: fewer mounts,
/// each of which costs at every start.
fn without_covered(steps: &BTreeMap<PathBuf, SessionStep>, anew: &[PathBuf]) -> Vec<SessionStep> {
    let mut kept = Vec::new();
    for (path, step) in steps {
        let above = path.ancestors().skip(1).find_map(|above| Some((above, steps.get(above)?)));
        let covered = above.is_some_and(|(place, above)| {
            let hidden = anew.iter().any(|anew| path.starts_with(anew) && anew.starts_with(place));
            !hidden && same(above, step)
        });
        if !covered {
            kept.push(step.clone());
        }
    }
    kept
}

/// Whether a bind above shows the same as one below: its source is the same tree, with the same flags.
fn same(above: &SessionStep, below: &SessionStep) -> bool {
    match (above, below) {
        (
            SessionStep::Bind { source: s1, target: t1, access: a1, exec: e1, .. },
            SessionStep::Bind { source: s2, target: t2, access: a2, exec: e2, .. },
        ) => (a1, e1) == (a2, e2) && s1 == t1 && s2 == t2,
        // A link that lies below a bound directory is there already.
        (SessionStep::Bind { source, target, .. }, SessionStep::Symlink { .. }) => source == target,
        (_, _) => false,
    }
}

/// The Landlock right for what is allowed.
pub fn right(allowed: Allowed) -> PathRights {
    match (allowed.access, allowed.exec) {
        (Access::ReadOnly, Exec::Deny) => PathRights::Read,
        (Access::ReadOnly, Exec::Allow) => PathRights::ReadExec,
        (Access::ReadWrite, Exec::Deny) => PathRights::ReadWrite,
        (Access::ReadWrite, Exec::Allow) => PathRights::ReadWriteExec,
    }
}

/// Landlock rules for mounted grants: one for each path that is shown.
pub fn rules(granted: &[Granted], mounts: &[SessionStep]) -> Vec<LandlockRule> {
    let grants = Grants::new(granted);
    mounts
        .iter()
        .filter_map(bound)
        .map(|path| LandlockRule { path: path.clone(), rights: right(grants.at(path)) })
        .collect()
}

/// The path of the host that a mount shows. Links are followed to a path that has a rule of its own; other steps show nothing.
pub fn bound(step: &SessionStep) -> Option<&PathBuf> {
    if let SessionStep::Bind { target, .. } | SessionStep::Screen { target, .. } = step { Some(target) } else { None }
}
