//! The plan of every built-in profile on a picture of an ordinary Debian machine, compared with its golden text.
//! A plan that changes must be looked at: the failing test says where the new text is.

use crate::backend::process::grants;
use crate::backend::process::host::{Host, Seen};
use crate::backend::process::layout::Screens;
use crate::backend::process::plan::{Guest, Site, View, build};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use stockade_jail::plan::{Owner, Record, Wall};
use stockade_policy::{AbsolutePath, HostFacts};

/// Directories and files of the picture, `DIR` by their trailing slash; links as `FROM -> TEXT => RESOLVED`.
const MACHINE: &str = include_str!("golden/machine.txt");

/// A picture of a machine.
struct Picture {
    directories: BTreeSet<PathBuf>,
    files: BTreeSet<PathBuf>,
    links: BTreeMap<PathBuf, (PathBuf, PathBuf)>,
}

impl Picture {
    fn parse(text: &str) -> Self {
        let mut picture = Self { directories: BTreeSet::new(), files: BTreeSet::new(), links: BTreeMap::new() };
        for line in text.lines().filter(|line| !line.is_empty()) {
            match (line.split_once(" -> "), line.strip_suffix('/')) {
                (Some((from, to)), _) => {
                    let (text, resolved) = to.split_once(" => ").expect("a link has a text and where it leads");
                    picture.links.insert(from.into(), (text.into(), resolved.into()));
                }
                (None, Some(directory)) => drop(picture.directories.insert(directory.into())),
                (None, None) => drop(picture.files.insert(line.into())),
            }
        }
        picture
    }
}

impl Host for Picture {
    fn look(&self, path: &Path) -> Seen {
        if let Some((text, resolved)) = self.links.get(path) {
            return Seen::Link { text: text.clone(), resolved: Some(resolved.clone()) };
        }
        match (self.directories.contains(path), self.files.contains(path)) {
            (true, _) => Seen::Directory,
            (false, true) => Seen::File,
            (false, false) => Seen::Missing,
        }
    }
}

fn site(wall: Wall) -> Site {
    let view = match wall {
        Wall::Namespaces => View::Overlay { layer: "/state/w/SESSION/layer".into() },
        Wall::Landlock => View::Directory { source: "/state/w/SESSION/layer/tree".into() },
    };
    Site {
        wall,
        workspace: "/home/user/project".into(),
        view,
        home: "/home/user".into(),
        screens: Screens::Available,
        scratch: "/state/w/SESSION/scratch".into(),
        guest: Guest { uid: 1000, gid: 1000, name: "user".into(), owner: Owner::AsIs },
        protected: vec!["/home/user/project/.git/config".into(), "/home/user/project/.git/hooks".into()],
        pinned: Vec::new(),
        masked: Vec::new(),
        record: Record::Changes,
    }
}

/// The plan of a built-in profile, as `explain` prints it.
fn plan(name: &str, wall: Wall) -> String {
    let texts: BTreeMap<&str, &str> = crate::config::profiles::BUILT_IN.into_iter().collect();
    let parse = |name: &str| stockade_policy::parse(name, texts[name].as_bytes());
    let mut lookup = |name: &stockade_policy::ProfileName| {
        texts.contains_key(name.as_str()).then(|| parse(name.as_str())).transpose()
    };
    let joined = parse(name).and_then(|file| stockade_policy::resolve(&file, &mut lookup)).expect("it resolves");
    let variables = BTreeMap::new();
    let facts = HostFacts {
        home: AbsolutePath::parse(b"/home/user").expect("it is absolute"),
        workspace: AbsolutePath::parse(b"/home/user/project").expect("it is absolute"),
        variables: &variables,
    };
    // An image's files are not on the picture: of a profile for containers, this is what it means without one.
    let joined = joined.behind(&stockade_policy::WallChoice::Process).expect("it needs no image");
    let profile = joined.expand(&facts).expect("every path can be placed");
    let limits = grants::limits(profile.limits());
    let built = build(&grants::granted(&profile), limits, &site(wall), &Picture::parse(MACHINE));
    built.expect("the picture has what the profile needs").to_string()
}

#[track_caller]
fn check(name: &str, wall: Wall, golden: &str) {
    let now = plan(name, wall);
    if now == golden {
        return;
    }
    let differing = now.lines().zip(golden.lines()).find(|(now, golden)| now != golden);
    let written = std::env::temp_dir().join(format!("stockade-golden-{name}-{wall:?}.txt"));
    std::fs::write(&written, &now).expect("the new text can be written");
    panic!(
        "the plan of \"{name}\" is another than its golden text: first difference {differing:?}; all of it is in {}",
        written.display()
    );
}

macro_rules! golden {
    ($($test:ident $name:literal $wall:ident;)*) => {$(
        #[test]
        fn $test() {
            check($name, Wall::$wall, include_str!(concat!("golden/", $name, ".", stringify!($wall), ".txt")));
        }
    )*};
}

golden! {
    base_does_what_it_did "base" Namespaces;
    shell_does_what_it_did "shell" Namespaces;
    git_does_what_it_did "git" Namespaces;
    rust_dev_does_what_it_did "rust-dev" Namespaces;
    node_dev_does_what_it_did "node-dev" Namespaces;
    python_dev_does_what_it_did "python-dev" Namespaces;
    review_only_does_what_it_did "review-only" Namespaces;
    ci_does_what_it_did "ci" Namespaces;
    locked_does_what_it_did "locked" Namespaces;
    container_on_the_process_wall_does_what_it_did "container" Namespaces;
    shell_without_namespaces_does_what_it_did "shell" Landlock;
}

#[test]
fn every_built_in_profile_has_a_golden_plan() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/config/golden");
    for (name, _) in crate::config::profiles::BUILT_IN {
        assert!(directory.join(format!("{name}.Namespaces.txt")).is_file(), "{name}");
    }
}
