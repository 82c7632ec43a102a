//! As whom the tests run: as oneself, and when that is root, as an ordinary user too.
//! It never gives the ordinary user more than a name: no password, no shell, no groups.

use std::os::unix::fs::MetadataExt;
use std::sync::OnceLock;

use crate::process::Program;
use std::time::Duration;

/// Name of the ordinary user that root's tests use.
pub const ORDINARY_NAME: &str = "stockade-test";

/// As whom a program runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Person {
    /// Whoever runs the tests.
    Myself {
        /// User id.
        uid: u32,
    },
    /// An ordinary user, when root runs the tests.
    Ordinary {
        /// User id.
        uid: u32,
        /// Group id.
        gid: u32,
    },
}

impl Person {
    /// Whoever runs the tests.
    pub fn myself() -> Self {
        let uid = std::fs::metadata("/proc/self").map(|own| own.uid()).expect("/proc is mounted");
        Self::Myself { uid }
    }

    /// What to switch to before exec, when that is somebody else.
    pub fn switch(self) -> Option<(u32, u32)> {
        match self {
            Self::Myself { .. } => None,
            Self::Ordinary { uid, gid } => Some((uid, gid)),
        }
    }

    /// Their user id.
    pub fn uid(self) -> u32 {
        match self {
            Self::Myself { uid } | Self::Ordinary { uid, .. } => uid,
        }
    }

    /// Root on the host?
    pub fn is_root(self) -> bool {
        self.uid() == 0
    }

    /// For the names of tests.
    pub fn label(self) -> &'static str {
        match self {
            Self::Myself { uid: 0 } => "as_root",
            Self::Myself { .. } => "as_myself",
            Self::Ordinary { .. } => "as_ordinary_user",
        }
    }
}

/// Everybody whom this machine lets us be; root first. The text says who is missing and why.
pub fn everybody() -> (Vec<Person>, Option<String>) {
    static ORDINARY: OnceLock<Result<Person, String>> = OnceLock::new();
    let myself = Person::myself();
    if !myself.is_root() {
        return (vec![myself], Some("not root: the tables run as oneself only".to_owned()));
    }
    match ORDINARY.get_or_init(ordinary) {
        Ok(person) => (vec![myself, *person], None),
        Err(why) => (vec![myself], Some(format!("no ordinary user: {why}"))),
    }
}

fn ordinary() -> Result<Person, String> {
    if let Some(person) = look_up()? {
        return Ok(person);
    }
    let made = program(&["/usr/sbin/useradd", "--no-create-home", "--shell", "/usr/sbin/nologin", ORDINARY_NAME])
        .run()
        .map_err(|e| format!("useradd: {e}"))?;
    look_up()?.ok_or_else(|| format!("useradd: {}", made.told()))
}

fn look_up() -> Result<Option<Person>, String> {
    let text = std::fs::read_to_string("/etc/passwd").map_err(|e| format!("/etc/passwd: {e}"))?;
    let line = text.lines().find(|line| line.split(':').next() == Some(ORDINARY_NAME));
    let number = |line: &str, field: usize| line.split(':').nth(field).and_then(|id| id.parse().ok());
    Ok(line.and_then(|line| Some(Person::Ordinary { uid: number(line, 2)?, gid: number(line, 3)? })))
}

fn program(argv: &[&str]) -> Program {
    Program {
        argv: argv.iter().map(Into::into).collect(),
        directory: "/".into(),
        environment: vec![("PATH".into(), "/usr/sbin:/usr/bin:/sbin:/bin".into())],
        person: Person::myself(),
        input: Vec::new(),
        limit: Duration::from_secs(20),
    }
}
