//! Which of the host's files a container is shown, and which are the image's: a rule by path, the same on every host.
//! It never decides whether something is granted, and shows nothing that is not.

use crate::backend::process::host::{Host, Seen};
use crate::backend::process::layout::{Granted, Grants};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use stockade_jail::plan::{Access, Shown};

/// Directories that belong to the image, whatever the host has there: a grant of one of them, or of something below, speaks
/// of the image.
const OF_THE_IMAGE: [&str; 19] = [
    "/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32", "/etc", "/nix", "/opt", "/srv", "/app", "/var",
    "/root", "/boot", "/dev", "/proc", "/sys", "/run",
];

/// What of the host is shown for these grants: whatever is granted outside of the image's own directories and there on the
/// host, and what is below the user's home; sockets always. The workspace comes apart from this.
pub fn of_host(granted: &[Granted], sockets: &[PathBuf], home: &Path, workspace: &Path, host: &dyn Host) -> Vec<Shown> {
    let grants = Grants::new(granted);
    let mut shown: BTreeMap<PathBuf, Shown> = BTreeMap::new();
    for one in granted {
        let path = one.path.as_path();
        // The home itself, the workspace and the places for temporary files are made anew inside. What is above the home is
        // the host's as anything else that is granted: whoever grants it grants the home to be read.
        let anew = path == home || path.starts_with(workspace) || path == Path::new("/tmp") || path == Path::new("/");
        if anew || (is_of_the_image(path, home) && !sockets.iter().any(|socket| socket == path)) {
            continue;
        }
        let source = match host.look(path) {
            Seen::Directory | Seen::File => path.to_owned(),
            Seen::Link { resolved: Some(resolved), .. } => resolved,
            Seen::Missing | Seen::Link { resolved: None, .. } => continue,
        };
        let access = grants.at(path).access;
        shown.insert(path.to_owned(), Shown { source, target: path.to_owned(), access });
    }
    without_covered(&shown)
}

fn is_of_the_image(path: &Path, home: &Path) -> bool {
    !path.starts_with(home) && OF_THE_IMAGE.iter().any(|directory| path.starts_with(directory))
}

/// Leaves out what a directory above already shows in the same way.
fn without_covered(shown: &BTreeMap<PathBuf, Shown>) -> Vec<Shown> {
    let covered = |one: &Shown| {
        let above = one.target.ancestors().skip(1).find_map(|above| shown.get(above));
        above
            .is_some_and(|above| above.access == one.access && above.source == above.target && one.source == one.target)
    };
    shown.values().filter(|one| !covered(one)).cloned().collect()
}

/// What shows the workspace in a container.
#[derive(Debug, Clone, Copy)]
pub enum Workspace<'a> {
    /// Itself, to be written.
    Direct(&'a Path),
    /// Itself, and a layer for what is written over it.
    Overlay {
        /// Itself.
        workspace: &'a Path,
        /// The layer's directory.
        layer: &'a Path,
    },
    /// A copy of it.
    Copy {
        /// Itself: where the copy is to be seen, which the image may lack.
        workspace: &'a Path,
        /// The copy's directory.
        copy: &'a Path,
    },
}

impl Workspace<'_> {
    /// The mounts. Where they end up is the plan's to say: here each is at its own path.
    pub fn shown(self) -> Vec<Shown> {
        let show = |path: &Path, access| Shown { source: path.to_owned(), target: path.to_owned(), access };
        match self {
            Self::Direct(path) => vec![show(path, Access::ReadWrite)],
            Self::Copy { workspace, copy } => {
                let over = Shown { source: copy.to_owned(), target: workspace.to_owned(), access: Access::ReadWrite };
                vec![show(copy, Access::ReadWrite), over]
            }
            Self::Overlay { workspace, layer } => {
                vec![show(workspace, Access::ReadOnly), show(layer, Access::ReadWrite)]
            }
        }
    }
}

/// What lies over the directory of all state where something that is shown holds it: nothing but the way to this session's
/// own layer.
pub fn over_state(shown: &[Shown], state: &Path, cover: &Path) -> Option<Shown> {
    let holds = shown.iter().any(|one| state.starts_with(&one.target));
    holds.then(|| Shown { source: cover.to_owned(), target: state.to_owned(), access: Access::ReadOnly })
}

#[cfg(test)]
mod tests {
    use super::*;
    use stockade_policy as policy;

    /// A host on which everything is a directory, but for what is missing.
    struct Picture;

    impl Host for Picture {
        fn look(&self, path: &Path) -> Seen {
            match path.to_str() {
                Some("/data/missing") => Seen::Missing,
                Some("/data/link") => Seen::Link { text: "other".into(), resolved: Some("/data/other".into()) },
                Some("/run/service.sock") => Seen::File,
                _ => Seen::Directory,
            }
        }
    }

    fn granted(path: &str, right: policy::Access) -> Granted {
        Granted { path: path.into(), right, presence: policy::Presence::Optional, rule: "test".to_owned() }
    }

    fn check(grants: &[(&str, policy::Access)], expected: &[(&str, &str, Access)]) {
        let granted: Vec<Granted> = grants.iter().map(|(path, right)| granted(path, *right)).collect();
        let sockets = [PathBuf::from("/run/service.sock")];
        let found = of_host(&granted, &sockets, Path::new("/home/u"), Path::new("/home/u/w"), &Picture);
        let expected: Vec<Shown> = expected
            .iter()
            .map(|(source, target, access)| Shown { source: source.into(), target: target.into(), access: *access })
            .collect();
        assert_eq!(found, expected, "{grants:?}");
    }

    #[test]
    fn the_systems_directories_are_the_images() {
        use policy::Access::{Exec, Read, Write};
        check(&[("/usr", Read), ("/usr", Exec), ("/etc/ssl", Read), ("/opt/x", Read), ("/var/lib/x", Write)], &[]);
    }

    #[test]
    fn what_is_granted_elsewhere_is_the_hosts() {
        use policy::Access::{Read, Write};
        let (read_only, writable) = (Access::ReadOnly, Access::ReadWrite);
        check(&[("/data", Read)], &[("/data", "/data", read_only)]);
        check(&[("/data", Read), ("/data/a", Read)], &[("/data", "/data", read_only)]);
        check(
            &[("/data", Read), ("/data/a", Write)],
            &[("/data", "/data", read_only), ("/data/a", "/data/a", writable)],
        );
        check(&[("/data/link", Read)], &[("/data/other", "/data/link", read_only)]);
        check(&[("/home", Read)], &[("/home", "/home", read_only)]);
        check(&[("/data/missing", Read)], &[]);
        check(&[("/home/u/.cargo", Read)], &[("/home/u/.cargo", "/home/u/.cargo", read_only)]);
        check(
            &[("/run/service.sock", Write), ("/run/other.sock", Write)],
            &[("/run/service.sock", "/run/service.sock", writable)],
        );
    }

    #[test]
    fn the_state_is_covered_wherever_it_would_be_seen() {
        let show = |path: &str| Shown { source: path.into(), target: path.into(), access: Access::ReadOnly };
        let covered = |path: &str| over_state(&[show(path)], Path::new("/data/state"), Path::new("/cover")).is_some();
        assert!(covered("/data") && covered("/data/state"));
        assert!(!covered("/data/state/w/x/layer") && !covered("/dat"));
    }

    #[test]
    fn the_home_the_root_and_the_workspace_are_not() {
        use policy::Access::{Read, Write};
        check(&[("/home/u", Read), ("/", Read), ("/tmp", Write), ("/home/u/w", Write), ("/home/u/w/x", Read)], &[]);
    }
}
