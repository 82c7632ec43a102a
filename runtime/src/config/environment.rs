//! The one door to the environment variables and to the identity of who runs us.
//! It never reads a variable for a decision about policy: profiles name the variables that they take.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::PathBuf;

/// The operator's environment, read once.
#[derive(Debug, Clone)]
pub struct Environment {
    variables: BTreeMap<OsString, OsString>,
    /// Home directory of who runs us: `HOME`, else the password database's.
    pub home: PathBuf,
    /// Effective user id.
    pub uid: u32,
    /// Effective group id.
    pub gid: u32,
}

impl Environment {
    /// Reads the environment of this process.
    pub fn of_process() -> Self {
        #[expect(clippy::disallowed_methods, reason = "this is the door to the environment")]
        let variables: BTreeMap<OsString, OsString> = std::env::vars_os().collect();
        let uid = nix::unistd::geteuid();
        let home = variables
            .get(&OsString::from("HOME"))
            .filter(|home| !home.is_empty())
            .map(PathBuf::from)
            .or_else(|| nix::unistd::User::from_uid(uid).ok().flatten().map(|user| user.dir))
            .unwrap_or_else(|| PathBuf::from("/"));
        Self { variables, home, uid: uid.as_raw(), gid: nix::unistd::getegid().as_raw() }
    }

    /// Name of who runs us, when the password database has one.
    pub fn user_name(&self) -> Option<String> {
        nix::unistd::User::from_uid(nix::unistd::Uid::from_raw(self.uid)).ok().flatten().map(|user| user.name)
    }

    /// One variable; an empty one counts as not set.
    pub fn get(&self, name: &str) -> Option<&OsString> {
        self.variables.get(&OsString::from(name)).filter(|value| !value.is_empty())
    }

    /// All variables, as they are.
    pub fn all(&self) -> impl Iterator<Item = (&OsString, &OsString)> {
        self.variables.iter()
    }
}
