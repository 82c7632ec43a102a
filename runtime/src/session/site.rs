//! Where a session takes place: how its workspace is seen, who the guest is, what is protected or masked, its variables.
//! It never changes anything but the scratch directory of a wall without mounts.

use super::open::{Options, Paths, User, make_private};
use crate::backend::process::grants::{self, ClosedPlace};
use crate::backend::process::host::{Host, Seen};
use crate::backend::process::layout::{Grants, Screens};
use crate::backend::process::plan::{Guest, Site, View};
use crate::error::{Error, Result};
use crate::session::settle::{self, Guards};
use crate::workspace::{Changes, Layer, Method, Mode, Treatment};
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use stockade_jail::plan::{Owner, Record, Wall};
use stockade_policy::{Access, Recording};

/// User id inside when root starts a session in a workspace of its own: root inside is nobody outside, and programs
/// that behave otherwise as root should not.
const GUEST_ID: u32 = 1000;

/// Where the session takes place.
pub(super) fn site(options: &Options, wall: Wall, layer: &Layer, host: &dyn Host) -> Result<Site> {
    let Paths { layer: state, workspace, home, .. } = &options.paths;
    let view = match (layer.mode(), layer.method()) {
        (Mode::Direct, _) => View::Directory { source: workspace.clone() },
        (Mode::Review | Mode::Discard, Method::Copy) => View::Directory { source: layer.mount_source() },
        (Mode::Review | Mode::Discard, Method::Overlay) => View::Overlay { layer: layer.mount_source() },
    };
    let scratch = state.join("scratch");
    if wall == Wall::Landlock {
        for directory in [scratch.clone(), scratch.join("home"), scratch.join("tmp")] {
            make_private(&directory)?;
        }
    }
    let (mut protected, pinned) = protected(options, layer)?;
    let mut masked = masked(options, layer)?;
    // Inside there is only what is granted: elsewhere nothing can be hidden or kept from writing.
    let granted = grants::granted(&options.profile);
    let shown =
        |path: &PathBuf| Grants::new(&granted).shows(path) && matches!(host.look(path), Seen::File | Seen::Directory);
    for paths in [&mut protected, &mut masked] {
        paths.retain(shown);
        paths.sort();
        paths.dedup();
    }
    let screens = match layer.method() {
        Method::Overlay => Screens::Available,
        Method::Copy => Screens::Missing,
    };
    Ok(Site {
        wall,
        screens,
        workspace: workspace.clone(),
        view,
        home: home.clone(),
        scratch,
        guest: guest(options, layer)?,
        protected,
        pinned,
        masked,
        record: match options.profile.recording() {
            Recording::Off => Record::Off,
            Recording::Changes => Record::Changes,
            Recording::AllOpens => Record::AllOpens,
        },
    })
}

/// Who the guest is: who started it; under root the workspace's owner, but never root. A copy belongs to the guest
/// outright, so that file systems without id-mapped mounts (overlayfs, as in most containers) will do.
pub(super) fn guest(options: &Options, layer: &Layer) -> Result<Guest> {
    let User { uid, gid, name } = &options.user;
    if *uid != 0 {
        return Ok(Guest { uid: *uid, gid: *gid, name: name.clone(), owner: Owner::AsIs });
    }
    let workspace = &options.paths.workspace;
    let metadata = fs::metadata(workspace).map_err(|e| Error::io("look at", workspace, &e))?;
    let not_root = |id: u32| if id == 0 { GUEST_ID } else { id };
    let (uid, gid) = (not_root(metadata.uid()), not_root(metadata.gid()));
    let copied = layer.mode() != Mode::Direct && layer.method() == Method::Copy;
    let owner = if copied { Owner::AsIs } else { Owner::Guest };
    Ok(Guest { uid, gid, name: "agent".to_owned(), owner })
}

/// Paths to mount read-only, and directories above them that must stay in place.
fn protected(options: &Options, layer: &Layer) -> Result<(Vec<PathBuf>, Vec<PathBuf>)> {
    let workspace = &options.paths.workspace;
    let mut protected: Vec<PathBuf> =
        options.rule_files.iter().filter(|file| file.starts_with(workspace)).cloned().collect();
    let mut pinned = Vec::new();
    for closed in grants::closed(&options.profile).into_iter().filter(|closed| closed.access == Access::Write) {
        protected.extend(places(&closed.place, workspace, layer)?);
    }
    match options.mode {
        // What may not change is refused when it is applied; here the guest is told early, at no cost for the rest.
        Mode::Review | Mode::Discard => {
            let literal = options.profile.protect().iter().filter_map(|guard| guard.pattern.literal());
            protected.extend(literal.map(|path| workspace.join(path)));
        }
        Mode::Direct => {
            let none = Changes::default();
            let guards = Guards::new(&options.profile, layer, &none);
            let matches = layer.existing_matches(&|path| guards.treatment(path)).map_err(settle::failed)?;
            protected.extend(matches.found.iter().map(|found| found.path.below(workspace)));
            pinned.extend(matches.pins.iter().map(|pin| pin.below(workspace)));
        }
    }
    Ok((protected, pinned))
}

/// Paths that the guest may not see.
fn masked(options: &Options, layer: &Layer) -> Result<Vec<PathBuf>> {
    let mut masked = Vec::new();
    masked.push(options.paths.state.clone());
    for closed in grants::closed(&options.profile).into_iter().filter(|closed| closed.access == Access::Read) {
        masked.extend(places(&closed.place, &options.paths.workspace, layer)?);
    }
    Ok(masked)
}

/// The existing paths of a closed place.
fn places(place: &ClosedPlace, workspace: &Path, layer: &Layer) -> Result<Vec<PathBuf>> {
    match place {
        ClosedPlace::Path(path) => Ok(vec![path.clone()]),
        ClosedPlace::Pattern(pattern) => {
            let matching = |path: &crate::workspace::RelPath| match pattern.matches(path.as_bytes()) {
                true => Treatment::Protect { rule: pattern.to_string() },
                false => Treatment::Free,
            };
            let matches = layer.existing_matches(&matching).map_err(settle::failed)?;
            Ok(matches.found.iter().map(|found| found.path.below(workspace)).collect())
        }
    }
}

/// Variables of the sandbox: what the profile lets in and sets, and what every program expects.
pub(super) fn environment(options: &Options, site: &Site, wall: Wall) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let host = options.variables.iter().map(|(name, value)| (name.as_slice(), value.as_slice()));
    let mut variables = options.profile.environment(host);
    let (home, tmp) = match wall {
        Wall::Namespaces => (site.home.clone(), PathBuf::from(stockade_policy::PRIVATE_TMP)),
        Wall::Landlock => (site.scratch.join("home"), site.scratch.join("tmp")),
    };
    let always: [(&str, &OsStr); 6] = [
        ("HOME", home.as_os_str()),
        ("TMPDIR", tmp.as_os_str()),
        ("USER", OsStr::new(&site.guest.name)),
        ("LOGNAME", OsStr::new(&site.guest.name)),
        ("STOCKADE_SESSION", OsStr::new(options.id.as_str())),
        ("PATH", OsStr::new("/usr/local/bin:/usr/bin:/bin")),
    ];
    for (name, value) in always {
        let value = value.as_bytes().to_vec();
        if name == "PATH" {
            variables.entry(name.into()).or_insert(value);
        } else {
            variables.insert(name.into(), value);
        }
    }
    variables
}
