//! The one door to the environment variables and to the identity of who runs us.
//! It never reads a variable for a decision about policy: profiles name the variables that they take.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::Read as _;
use std::path::PathBuf;

/// Largest password file that is read, bytes.
const PASSWD_BYTES_MAX: u64 = 4 * 1024 * 1024;

/// The operator's environment, read once.
#[derive(Debug, Clone)]
pub struct Environment {
    variables: BTreeMap<OsString, OsString>,
    /// Home directory of who runs us: `HOME`, else the password file's.
    pub home: PathBuf,
    /// Effective user id.
    pub uid: u32,
    /// Effective group id.
    pub gid: u32,
    /// Name of who runs us: the password file's, else the number.
    pub user: String,
}

impl Environment {
    /// Reads the environment of this process.
    pub fn of_process() -> Self {
        #[expect(clippy::disallowed_methods, reason = "this is the door to the environment")]
        let variables: BTreeMap<OsString, OsString> = std::env::vars_os().collect();
        let uid = nix::unistd::geteuid().as_raw();
        let account = account(uid);
        let home = variables
            .get(&OsString::from("HOME"))
            .filter(|home| !home.is_empty())
            .map(PathBuf::from)
            .or_else(|| account.as_ref().map(|(_, home)| home.clone()))
            .unwrap_or_else(|| PathBuf::from("/"));
        let user = account.map_or_else(|| uid.to_string(), |(name, _)| name);
        Self { variables, home, uid, gid: nix::unistd::getegid().as_raw(), user }
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

/// Name and home of a user in `/etc/passwd`. The file and not getpwuid(3): that loads modules of the name service into
/// the process, which a static program must not do (it ends with a fault where their libraries differ).
fn account(uid: u32) -> Option<(String, PathBuf)> {
    let mut text = String::new();
    std::fs::File::open("/etc/passwd").ok()?.take(PASSWD_BYTES_MAX).read_to_string(&mut text).ok()?;
    text.lines().find_map(|line| {
        let fields: Vec<&str> = line.split(':').collect();
        let &[name, _, id, _, _, home, _] = fields.as_slice() else { return None };
        (id.parse() == Ok(uid) && !name.is_empty()).then(|| (name.to_owned(), PathBuf::from(home)))
    })
}
