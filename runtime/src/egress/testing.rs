//! What tests of several modules here need: profiles from text, a log of their own.
//! It never runs outside of tests.

use crate::journal::{Account, Journal};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use stockade_policy::{AbsolutePath, ExpandedProfile, HostFacts};

/// A profile with these grants, limits and secrets.
#[track_caller]
pub(crate) fn profile(text: &str) -> ExpandedProfile {
    let text = format!("profile = 1\nname = \"test\"\n{text}");
    let file = stockade_policy::parse("test.toml", text.as_bytes()).expect("it is a profile");
    let joined = stockade_policy::resolve(&file, &mut |_| Ok(None)).expect("it has no parents");
    let variables = BTreeMap::new();
    let facts = HostFacts {
        home: AbsolutePath::parse(b"/home/user").expect("it is absolute"),
        workspace: AbsolutePath::parse(b"/home/user/project").expect("it is absolute"),
        variables: &variables,
    };
    joined.expand(&facts).expect("it has no paths")
}

/// A log in a directory of its own, which goes when this is dropped.
pub(crate) struct Logged {
    directory: PathBuf,
    journal: Option<Journal>,
}

impl Logged {
    pub(crate) fn new() -> Self {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let directory = std::env::temp_dir().join(format!("stockade-egress-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&directory).expect("the test has a directory of its own");
        let journal = crate::journal::trial(&directory, "test").expect("it begins");
        Self { directory, journal: Some(journal) }
    }

    pub(crate) fn account(&self) -> Account {
        self.journal.as_ref().expect("it is open until dropped").account(None)
    }

    /// Everything that is in the log so far, as text.
    pub(crate) fn text(&self) -> String {
        let mut text = String::new();
        collect(&self.directory.join("logs"), &mut text);
        text
    }
}

fn collect(directory: &Path, text: &mut String) {
    for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
        if entry.path().is_dir() {
            collect(&entry.path(), text);
        } else {
            text.push_str(&String::from_utf8_lossy(&std::fs::read(entry.path()).unwrap_or_default()));
        }
    }
}

impl Drop for Logged {
    fn drop(&mut self) {
        drop(self.journal.take());
        drop(std::fs::remove_dir_all(&self.directory));
    }
}
