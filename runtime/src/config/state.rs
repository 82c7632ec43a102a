//! Where Stockade keeps logs, layers and keys, and which session a person means.
//! It never uses a directory that somebody else owns or could write.

use crate::config::environment::Environment;
use crate::error::{Error, Result};
use std::fs;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use stockade_audit::record::SessionId;

/// Longest name of a snapshot, bytes.
const SNAPSHOT_NAME_BYTES_MAX: usize = 64;

/// The state directory, checked.
#[derive(Debug, Clone)]
pub struct State {
    root: PathBuf,
}

impl State {
    /// Opens the state directory, making it (0700) when it is not there.
    ///
    /// # Errors
    /// Operator: it belongs to somebody else, or others can write it, or a parent cannot be used.
    pub fn open(environment: &Environment) -> Result<Self> {
        let root = Self::place(environment)?;
        for directory in [root.clone(), root.join("s"), root.join("w"), root.join("n")] {
            make_private(&directory)?;
            check_private(&directory, environment.uid)?;
        }
        // As the kernel names it, so that it compares with the paths of grants.
        let root = root.canonicalize().map_err(|e| Error::io("find", &root, &e))?;
        Ok(Self { root })
    }

    /// `$STOCKADE_STATE`, else `$XDG_STATE_HOME/stockade`, else `~/.local/state/stockade`.
    fn place(environment: &Environment) -> Result<PathBuf> {
        let place = match (environment.get("STOCKADE_STATE"), environment.get("XDG_STATE_HOME")) {
            (Some(own), _) => PathBuf::from(own),
            (None, Some(xdg)) => Path::new(xdg).join("stockade"),
            (None, None) => environment.home.join(".local/state/stockade"),
        };
        if place.is_absolute() {
            return Ok(place);
        }
        Err(Error::operator(format!("state directory \"{}\" is not an absolute path", place.display()))
            .hint("set STOCKADE_STATE to an absolute path"))
    }

    /// The directory itself.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Directory of a session's log.
    pub fn log(&self, id: &SessionId) -> PathBuf {
        self.root.join("s").join(id.as_str())
    }

    /// Directory of a session's workspace layer.
    pub fn layer(&self, id: &SessionId) -> PathBuf {
        self.root.join("w").join(id.as_str())
    }

    /// Directory of a snapshot. Its name comes from a person.
    ///
    /// # Errors
    /// Operator: no snapshot can be called so.
    pub fn snapshot(&self, name: &str) -> Result<PathBuf> {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
        let fits = (1..=SNAPSHOT_NAME_BYTES_MAX).contains(&name.len()) && name.bytes().all(plain);
        if !fits || name.starts_with('.') || name == "last" || SessionId::parse(name).is_ok() {
            return Err(Error::operator(format!("\"{name}\" is no name for a snapshot")).hint(
                "up to 64 letters, digits, dots, dashes and underscores, not a dot first, neither \"last\" nor a session's id",
            ));
        }
        Ok(self.root.join("n").join(name))
    }

    /// All that is called as a snapshot is, by name.
    ///
    /// # Errors
    /// Host: the directory cannot be read.
    pub fn snapshots(&self) -> Result<Vec<String>> {
        let directory = self.root.join("n");
        let entries = fs::read_dir(&directory).map_err(|e| Error::io("list", &directory, &e))?;
        let mut names: Vec<String> =
            entries.flatten().filter_map(|entry| entry.file_name().into_string().ok()).collect();
        names.retain(|name| self.snapshot(name).is_ok());
        names.sort();
        Ok(names)
    }

    /// All sessions, oldest first.
    ///
    /// # Errors
    /// Host: the directory cannot be read.
    pub fn sessions(&self) -> Result<Vec<SessionId>> {
        let directory = self.root.join("s");
        let entries = fs::read_dir(&directory).map_err(|e| Error::io("list", &directory, &e))?;
        let mut ids: Vec<SessionId> =
            entries.flatten().filter_map(|entry| SessionId::parse(entry.file_name().to_str()?).ok()).collect();
        ids.sort();
        Ok(ids)
    }

    /// The session that `name` means: `last`, an id, or an unambiguous prefix of one in either case.
    ///
    /// # Errors
    /// Operator: there is none, or there are several.
    pub fn find(&self, name: &str) -> Result<SessionId> {
        let sessions = self.sessions()?;
        if name == "last" {
            return sessions
                .last()
                .cloned()
                .ok_or_else(|| Error::operator("there is no session yet").hint("start one: stockade run -- COMMAND"));
        }
        let prefix = name.to_ascii_uppercase();
        let mut matching = sessions.iter().filter(|id| !prefix.is_empty() && id.as_str().starts_with(&prefix));
        match (matching.next(), matching.count()) {
            (Some(id), 0) => Ok(id.clone()),
            (Some(_), more) => Err(Error::operator(format!("\"{name}\" could be any of {} sessions", more + 1))
                .hint("give more of the id; `stockade log list` shows them")),
            (None, _) => Err(Error::operator(format!("there is no session \"{name}\""))
                .hint("`stockade log list` shows the sessions; `last` is the newest")),
        }
    }
}

/// Makes a directory and its missing parents, 0700.
fn make_private(directory: &Path) -> Result<()> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(directory)
        .map_err(|e| Error::io("make the state directory", directory, &e))
}

/// Refuses a directory that somebody else owns, could write or could have put there as a link.
fn check_private(directory: &Path, uid: u32) -> Result<()> {
    let metadata = fs::symlink_metadata(directory).map_err(|e| Error::io("look at", directory, &e))?;
    let shown = directory.display();
    if !metadata.is_dir() {
        return Err(Error::operator(format!("state directory \"{shown}\" is not a directory"))
            .hint("remove it, or set STOCKADE_STATE to another place"));
    }
    if metadata.uid() != uid {
        return Err(Error::operator(format!("state directory \"{shown}\" belongs to user {}", metadata.uid()))
            .hint("set STOCKADE_STATE to a directory of your own"));
    }
    if metadata.mode() & 0o022 != 0 {
        return Err(Error::operator(format!("state directory \"{shown}\" can be written by others"))
            .hint(format!("chmod go-w {shown}")));
    }
    Ok(())
}
