//! Snapshots: what waits in a session's layer, kept as it is at one moment, for sessions that go on from it.
//! It never changes a session or its log.

use crate::error::{Error, Result};
use crate::session::settle::{self, Known, Waiting};
use crate::session::{Options, names};
use crate::workspace::{Hidden, Layer, Method, Mode};
use serde::{Deserialize, Serialize};
use std::fs;
use std::io::Read as _;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use stockade_audit::record::{Forked, SessionId};
use stockade_policy::{AbsolutePath, Profile};

/// Version of [`FILE`].
const VERSION: u32 = 1;
/// What describes a snapshot, beside its layer. Without it a directory is none: it is written last, and removed first.
const FILE: &str = "snapshot.json";
/// Longest such file, bytes.
const FILE_BYTES_MAX: u64 = 64 * 1024;

/// What a session goes on from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    /// Directory of the layer.
    pub layer: PathBuf,
    /// The session that made what waits in it.
    pub session: SessionId,
}

/// A snapshot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Snapshot {
    version: u32,
    /// The session that it is of.
    session: String,
    /// When it was taken, seconds since 1970: the file says so.
    #[serde(skip)]
    taken_s: i64,
}

impl Snapshot {
    /// Takes one of a session that does not run, in this directory, which is made.
    ///
    /// # Errors
    /// Operator: there is something already, or the session has no layer. Host: something cannot be read or written.
    pub fn take(original: &Layer, session: &SessionId, directory: &Path) -> Result<()> {
        let made = fs::DirBuilder::new().mode(0o700).create(directory);
        made.map_err(|error| {
            if error.kind() != std::io::ErrorKind::AlreadyExists {
                return Error::io("make the directory", directory, &error);
            }
            Error::operator(format!("there is a snapshot \"{}\" already", name_of(directory)))
                .hint("choose another name, or remove it: stockade snapshot remove NAME")
        })?;
        let snapshot = Self { version: VERSION, session: session.to_string(), taken_s: 0 };
        let kept = original.fork(directory, Mode::Review).and_then(|layer| layer.keep()).map_err(settle::failed);
        let kept = kept.and_then(|()| snapshot.write(directory));
        if kept.is_err() {
            match remove(directory) {
                // What is left is no snapshot, and the next one of this name says what is in its way.
                Ok(()) | Err(_) => {}
            }
        }
        kept
    }

    /// Reads what describes one; `None` where there is none.
    ///
    /// # Errors
    /// Host: it cannot be read, or is not one of ours.
    pub fn read(directory: &Path) -> Result<Option<Self>> {
        let path = directory.join(FILE);
        let file = match fs::File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(Error::io("open", &path, &error)),
        };
        let mut text = Vec::new();
        let taken_s = file.metadata().map_err(|e| Error::io("look at", &path, &e))?.mtime();
        file.take(FILE_BYTES_MAX + 1).read_to_end(&mut text).map_err(|e| Error::io("read", &path, &e))?;
        let unreadable = |why: String| Error::host(format!("\"{}\" describes no snapshot: {why}", path.display()));
        if text.len() as u64 > FILE_BYTES_MAX {
            return Err(unreadable("it is too long".to_owned()));
        }
        let found: Self = serde_json::from_slice(&text).map_err(|error| unreadable(error.to_string()))?;
        if found.version != VERSION {
            return Err(unreadable(format!("its version is {}, this program knows {VERSION}", found.version)));
        }
        SessionId::parse(&found.session).map_err(|_| unreadable("it is of no session".to_owned()))?;
        Ok(Some(Self { taken_s, ..found }))
    }

    /// The session that it is of.
    pub fn session(&self) -> &str {
        &self.session
    }

    /// When it was taken, seconds since 1970.
    pub fn taken_s(&self) -> i64 {
        self.taken_s
    }

    fn write(&self, directory: &Path) -> Result<()> {
        let path = directory.join(FILE);
        let text = serde_json::to_vec(self).expect("plain data serialises to memory");
        fs::write(&path, text).map_err(|e| Error::io("write", &path, &e))?;
        fs::File::open(&path).and_then(|file| file.sync_all()).map_err(|e| Error::io("sync", &path, &e))
    }
}

/// Removes a snapshot, or what is left of one.
///
/// # Errors
/// Host: something cannot be removed.
pub fn remove(directory: &Path) -> Result<()> {
    let path = directory.join(FILE);
    match fs::remove_file(&path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(Error::io("remove", &path, &error)),
        Ok(()) | Err(_) => {}
    }
    if let Ok(layer) = Layer::open(directory) {
        layer.discard().map_err(settle::failed)?;
    }
    fs::remove_dir_all(directory).map_err(|e| Error::io("remove", directory, &e))
}

/// Makes the layer of a session that goes on from another one's.
pub(super) fn fork(options: &Options, origin: &Origin, method: Method) -> Result<Layer> {
    let original = Layer::open(&origin.layer).map_err(settle::failed)?;
    if original.method() != method {
        let what = format!(
            "what session {} left is a layer over the workspace, and here only copies can be shown",
            origin.session
        );
        return Err(Error::host(what).hint("apply it, and begin with the workspace as it is then"));
    }
    let (theirs, ours) = (original.workspace(), &options.paths.workspace);
    if theirs != ours {
        let what = format!("session {} was of the workspace \"{}\"", origin.session, theirs.display());
        return Err(Error::operator(what).hint(format!("go on from it there: --workspace {}", theirs.display())));
    }
    original.fork(&options.paths.layer, options.mode).map_err(settle::failed)
}

/// What a session begins with that goes on from another one.
#[derive(Debug, Default)]
pub(super) struct Begun {
    /// For its log's first record.
    pub(super) from: Option<Box<Forked>>,
    /// What its first call did not do.
    pub(super) known: Known,
    /// What waits to be applied.
    pub(super) waiting: Waiting,
    /// Names that the other's log tells without a secret.
    pub(super) hidden: Hidden,
}

impl Begun {
    /// Looks at what a layer that was just made begins with.
    pub(super) fn with(layer: &Layer, profile: &Profile<AbsolutePath>, origin: Option<&Origin>) -> Result<Self> {
        let Some(origin) = origin else { return Ok(Self::default()) };
        let mut known = Known::default();
        let found = settle::after(layer, profile, settle::Before::Layered, &mut known)?;
        let hidden = layer.hidden().map_err(settle::failed)?;
        let changes = u64::try_from(found.outcomes.len()).expect("fewer than a million");
        let mut lines = Vec::new();
        for outcome in found.outcomes {
            let told = names::recall(outcome, &hidden);
            serde_json::to_writer(&mut lines, &told).expect("plain data serialises to memory");
            lines.push(b'\n');
        }
        let from = Forked { sid: origin.session.clone(), changes, changes_h: super::digest(&lines) };
        Ok(Self { from: Some(Box::new(from)), known, waiting: found.waiting, hidden })
    }
}

fn name_of(directory: &Path) -> String {
    directory.file_name().unwrap_or_default().to_string_lossy().into_owned()
}
