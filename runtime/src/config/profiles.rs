//! Finds profiles: the built-in ones, the operator's own, and the project's `stockade.toml`, which can only tighten.
//! It never reads a profile that somebody else could have written.

use crate::config::environment::Environment;
use crate::error::{Error, Result};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Read as _;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use stockade_policy::{
    AbsolutePath, Diagnostics, ExpandedProfile, HostFacts, PROFILE_BYTES_MAX, Profile, ProfileFile, ProfileName,
    SOURCES_MAX, WallChoice,
};

/// The built-in profiles: name and text.
pub const BUILT_IN: [(&str, &str); 10] = [
    ("base", include_str!("../../../sandbox-profiles/base.toml")),
    ("shell", include_str!("../../../sandbox-profiles/shell.toml")),
    ("git", include_str!("../../../sandbox-profiles/git.toml")),
    ("rust-dev", include_str!("../../../sandbox-profiles/rust-dev.toml")),
    ("node-dev", include_str!("../../../sandbox-profiles/node-dev.toml")),
    ("python-dev", include_str!("../../../sandbox-profiles/python-dev.toml")),
    ("review-only", include_str!("../../../sandbox-profiles/review-only.toml")),
    ("ci", include_str!("../../../sandbox-profiles/ci.toml")),
    ("container", include_str!("../../../sandbox-profiles/container.toml")),
    ("locked", include_str!("../../../sandbox-profiles/locked.toml")),
];

/// Name of the file with which a project tightens whatever profile is used.
pub const PROJECT_FILE: &str = "stockade.toml";

/// Where a session keeps its profile's texts.
const KEPT_FILE: &str = "profile.json";

/// The texts that a profile is made of: what a session keeps, so that applying its changes later follows the same rules.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sources {
    /// The profile that the operator named.
    first: Source,
    /// Those that it names in turn, by name.
    named: BTreeMap<String, Source>,
    /// The project's own file.
    project: Option<String>,
    /// What the operator said of the wall, beside naming the profile.
    #[serde(default, skip_serializing_if = "WallWords::are_none")]
    wall: WallWords,
}

/// A command line's words about the wall.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WallWords {
    /// Which wall.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backend: Option<String>,
    /// Image of a container.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
    /// OCI runtime of a container.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub runtime: Option<String>,
}

impl WallWords {
    fn are_none(&self) -> bool {
        *self == Self::default()
    }
}

/// One profile's text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Source {
    /// File name for messages.
    shown: String,
    /// The text.
    text: String,
}

impl Sources {
    /// Gathers the profile that the operator named and every profile that it names.
    ///
    /// # Errors
    /// Operator: there is none of that name, it or one that it names has mistakes, or somebody else could write it.
    pub fn gather(name: &str, environment: &Environment) -> Result<Self> {
        let first = first(name, environment)?;
        let mut named = BTreeMap::new();
        let mut open: Vec<ProfileName> = first.parse()?.needs().cloned().collect();
        // A cycle or a crowd is `resolve`'s to report; here it only must not make us read for ever.
        while let Some(name) = open.pop().filter(|_| named.len() <= SOURCES_MAX) {
            if named.contains_key(name.as_str()) {
                continue;
            }
            if let Some(source) = by_name(&name, environment)? {
                open.extend(source.parse()?.needs().cloned());
                named.insert(name.to_string(), source);
            }
        }
        Ok(Self { first, named, project: None, wall: WallWords::default() })
    }

    /// The same, behind the wall that the operator named on the command line.
    #[must_use]
    pub fn behind(self, wall: WallWords) -> Self {
        Self { wall, ..self }
    }

    /// The same, tightened by the project's own file when the workspace has one.
    ///
    /// # Errors
    /// Operator: the file is a symbolic link, or cannot be read.
    pub fn in_workspace(mut self, workspace: &Path) -> Result<Self> {
        let path = workspace.join(PROJECT_FILE);
        if fs::symlink_metadata(&path).is_err_and(|e| e.kind() == std::io::ErrorKind::NotFound) {
            return Ok(self);
        }
        // It can only tighten, so whoever wrote the project may write it; a link could make us read what they cannot.
        let (_, bytes) = read_bytes(&path, Link::Refuse)?;
        self.project = Some(utf8(PROJECT_FILE, bytes)?);
        Ok(self)
    }

    /// Joins the texts to a profile. The operator's words about the wall come last: no file can take them back.
    ///
    /// # Errors
    /// Operator: mistakes in the texts or words, or a project's file that would widen the profile.
    pub fn profile(&self) -> Result<Profile> {
        let mut lookup = |name: &ProfileName| self.named.get(name.as_str()).map(Source::parse_diagnosed).transpose();
        let profile = stockade_policy::resolve(&self.first.parse()?, &mut lookup)?;
        let profile = match &self.project {
            Some(project) => {
                let project = stockade_policy::parse_project(PROJECT_FILE, project.as_bytes())?;
                stockade_policy::tighten(&profile, &project)?
            }
            None => profile,
        };
        let WallWords { backend, image, runtime } = &self.wall;
        let chosen = WallChoice::parse(backend.as_deref(), image.as_deref(), runtime.as_deref());
        let behind = chosen.and_then(|choice| profile.behind(&choice));
        behind.map_err(|flaw| Error::operator(flaw.what).hint(flaw.hint))
    }

    /// Keeps the texts in a session's directory.
    ///
    /// # Errors
    /// Host: they cannot be written.
    pub fn keep(&self, directory: &Path) -> Result<()> {
        let path = directory.join(KEPT_FILE);
        let text = serde_json::to_vec(self).map_err(|e| Error::bug(format!("write the profile's texts: {e}")))?;
        fs::write(&path, text).map_err(|e| Error::io("write", &path, &e))
    }

    /// The texts that a session kept.
    ///
    /// # Errors
    /// Operator: the session has no layer any more. Host: the file was altered.
    pub fn kept(directory: &Path) -> Result<Self> {
        let path = directory.join(KEPT_FILE);
        let bytes = fs::read(&path).map_err(|e| {
            Error::io("read the session's profile in", directory, &e)
                .hint("its changes were discarded, or it never started")
        })?;
        serde_json::from_slice(&bytes).map_err(|e| Error::host(format!("\"{}\" was altered: {e}", path.display())))
    }

    /// The text of the profile that the operator named.
    pub fn text(&self) -> &str {
        &self.first.text
    }
}

impl Source {
    fn parse_diagnosed(&self) -> std::result::Result<ProfileFile, Diagnostics> {
        stockade_policy::parse(&self.shown, self.text.as_bytes())
    }

    fn parse(&self) -> Result<ProfileFile> {
        Ok(self.parse_diagnosed()?)
    }
}

/// Places a profile's paths on this machine.
///
/// # Errors
/// Operator: a path that cannot be placed.
pub fn placed(profile: &Profile, workspace: &Path, environment: &Environment) -> Result<ExpandedProfile> {
    use std::os::unix::ffi::OsStrExt as _;
    let absolute = |what: &str, path: &Path| {
        AbsolutePath::parse(path.as_os_str().as_bytes())
            .map_err(|flaw| Error::operator(format!("{what} \"{}\": {}", path.display(), flaw.what)).hint(flaw.hint))
    };
    let variables =
        environment.all().map(|(name, value)| (name.as_bytes().to_vec(), value.as_bytes().to_vec())).collect();
    let facts = HostFacts {
        home: absolute("home directory", &environment.home)?,
        workspace: absolute("workspace", workspace)?,
        variables: &variables,
    };
    Ok(profile.expand(&facts)?)
}

/// Whether a symbolic link in the last component may be followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Link {
    Follow,
    Refuse,
}

fn is_file_name(name: &str) -> bool {
    name.contains('/') || name.ends_with(".toml")
}

/// The text that the operator named.
fn first(name: &str, environment: &Environment) -> Result<Source> {
    if is_file_name(name) {
        return Ok(Source { shown: name.to_owned(), text: utf8(name, read(Path::new(name), environment)?)? });
    }
    let unknown = || {
        let names: Vec<&str> = BUILT_IN.iter().map(|(name, _)| *name).collect();
        let file = if Path::new(name).is_file() { format!("; for the file write ./{name}") } else { String::new() };
        Error::operator(format!("there is no profile \"{name}\""))
            .hint(format!("built-in profiles are {}{file}", names.join(", ")))
    };
    let parsed = ProfileName::parse(name).map_err(|_| unknown())?;
    by_name(&parsed, environment)?.ok_or_else(unknown)
}

/// A profile by its name: a built-in one, which nothing can take the place of, else one of the operator's own.
fn by_name(name: &ProfileName, environment: &Environment) -> Result<Option<Source>> {
    let file = format!("{name}.toml");
    if let Some((_, text)) = BUILT_IN.iter().find(|(built_in, _)| *built_in == name.as_str()) {
        return Ok(Some(Source { shown: file, text: (*text).to_owned() }));
    }
    let own = own_profiles(environment).join(file);
    if fs::symlink_metadata(&own).is_err_and(|e| e.kind() == std::io::ErrorKind::NotFound) {
        return Ok(None);
    }
    let shown = own.display().to_string();
    let text = utf8(&shown, read(&own, environment)?)?;
    Ok(Some(Source { shown, text }))
}

fn utf8(name: &str, bytes: Vec<u8>) -> Result<String> {
    String::from_utf8(bytes)
        .map_err(|_| Error::operator(format!("profile \"{name}\" is not UTF-8")).hint("save it as UTF-8"))
}

/// Where an operator keeps profiles of their own.
fn own_profiles(environment: &Environment) -> PathBuf {
    let config = environment.get("XDG_CONFIG_HOME").map(PathBuf::from).filter(|path| path.is_absolute());
    config.unwrap_or_else(|| environment.home.join(".config")).join("stockade/profiles")
}

/// Reads a profile that can widen rights: nobody but its operator and root may be able to write it (CVE-2026-35603).
fn read(path: &Path, environment: &Environment) -> Result<Vec<u8>> {
    let (metadata, bytes) = read_bytes(path, Link::Follow)?;
    let shown = path.display();
    if metadata.uid() != environment.uid && metadata.uid() != 0 {
        return Err(Error::operator(format!("profile \"{shown}\" belongs to user {}", metadata.uid()))
            .hint("copy it to a file of your own, and read it before you use it"));
    }
    if metadata.mode() & 0o022 != 0 {
        return Err(Error::operator(format!("profile \"{shown}\" can be written by others"))
            .hint(format!("chmod go-w {shown}")));
    }
    // Who can write the directory can put another file in its place; with the sticky bit only its owner can.
    let directory = path.canonicalize().ok().and_then(|path| path.parent().map(Path::to_owned)).unwrap_or_default();
    let above = fs::metadata(&directory).map_err(|e| Error::io("look at", &directory, &e))?;
    if above.mode() & 0o022 != 0 && above.mode() & 0o1000 == 0 {
        let shown = directory.display();
        return Err(Error::operator(format!(
            "profile \"{}\" lies in a directory that others can write",
            path.display()
        ))
        .hint(format!("chmod go-w {shown}")));
    }
    Ok(bytes)
}

fn read_bytes(path: &Path, link: Link) -> Result<(fs::Metadata, Vec<u8>)> {
    let failed = |e: &std::io::Error| Error::io("read the profile", path, e);
    // Without O_NONBLOCK a fifo in the profile's place would hold us up for ever.
    let flags = match link {
        Link::Follow => rustix::fs::OFlags::NONBLOCK,
        Link::Refuse => rustix::fs::OFlags::NONBLOCK | rustix::fs::OFlags::NOFOLLOW,
    };
    let flags = i32::try_from(flags.bits()).expect("open flags are small");
    let file = File::options().read(true).custom_flags(flags).open(path).map_err(|e| {
        match (link, fs::symlink_metadata(path).is_ok_and(|metadata| metadata.is_symlink())) {
            (Link::Refuse, true) => Error::operator(format!("\"{}\" is a symbolic link", path.display()))
                .hint("put the file itself there, or remove it"),
            (Link::Refuse | Link::Follow, _) => failed(&e),
        }
    })?;
    let metadata = file.metadata().map_err(|e| failed(&e))?;
    if !metadata.is_file() {
        return Err(Error::operator(format!("profile \"{}\" is not a regular file", path.display())));
    }
    let mut bytes = Vec::new();
    // One byte more than allowed, so that the parser sees that it is too long.
    file.take(PROFILE_BYTES_MAX as u64 + 1).read_to_end(&mut bytes).map_err(|e| failed(&e))?;
    Ok((metadata, bytes))
}
