//! Which component a tool's name means: one that is built in, or the one that the profile says.
//! It never takes a component that somebody else could have written, nor one that is another than the profile says.

use super::built_in;
use crate::backend::wasm::Component;
use crate::backend::wasm::component::COMPONENT_BYTES_MAX;
use crate::error::{Error, Result};
use sha2::{Digest as _, Sha256};
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::Read as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use stockade_policy::{Access, ComponentDigest, ComponentRule, ExpandedProfile, Rule, RuleId, ToolName};

/// Where a user puts components that profiles name by digest alone, below the directory of all state.
const OWN_DIRECTORY: &str = "tools";
/// Components that are looked at in one directory.
const DIRECTORY_MAX: usize = 1024;

/// A component, and why it is the one.
#[derive(Debug, Clone)]
pub struct Known {
    /// The component.
    pub component: Arc<Component>,
    /// Where it comes from.
    pub origin: Origin,
}

/// Where a component comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// It is part of this program.
    BuiltIn,
    /// A rule of the profile names it.
    Rule {
        /// The rule.
        rule: RuleId,
        /// The file.
        path: PathBuf,
    },
}

/// The components of one session: what a name meant once it means to the end.
#[derive(Debug)]
pub struct Registry {
    state: PathBuf,
    workspace: PathBuf,
    uid: u32,
    known: Mutex<BTreeMap<ToolName, Known>>,
}

impl Registry {
    /// Of a session in this workspace, whose user has this id and keeps its state there. Nothing is read yet.
    pub fn new(state: &Path, workspace: &Path, uid: u32) -> Self {
        Self { state: state.to_owned(), workspace: workspace.to_owned(), uid, known: Mutex::default() }
    }

    /// Whether the component that a name means was found before: then nothing is read to find it.
    pub fn has(&self, name: &ToolName) -> bool {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).contains_key(name)
    }

    /// The component that a name means.
    ///
    /// # Errors
    /// Operator: there is none, it is no component, it is another than the profile says, or others could have written it.
    pub fn find(&self, profile: &ExpandedProfile, name: &ToolName) -> Result<Known> {
        if let Some(known) = self.known.lock().unwrap_or_else(PoisonError::into_inner).get(name) {
            return Ok(known.clone());
        }
        let rule = profile.component(name);
        let found = match (built_in::component(name.as_str())?, rule) {
            (Some(_), Some(rule)) if rule.subject.name().is_some() => {
                return Err(Error::operator(format!("tool \"{name}\" is built in, and {} names another", rule.id))
                    .hint("give the other one another name"));
            }
            (Some(component), _) => Known { component: Arc::new(component), origin: Origin::BuiltIn },
            (None, Some(rule)) => self.named(profile, name, rule)?,
            (None, None) => return Err(self.unknown(profile, name)),
        };
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(known.entry(name.clone()).or_insert(found).clone())
    }

    /// Every name that means a component, whether or not a call of it is granted.
    ///
    /// # Errors
    /// Operator: a directory that the profile names cannot be read.
    pub fn names(&self, profile: &ExpandedProfile) -> Result<BTreeSet<ToolName>> {
        let mut names: BTreeSet<ToolName> = built_in::names().filter_map(|name| ToolName::parse(name).ok()).collect();
        for rule in profile.components() {
            names.extend(rule.subject.name().cloned());
            let ComponentRule::Directory { path, .. } = &rule.subject else { continue };
            for file in components_in(&beside(rule, path))? {
                let name = file.file_stem().and_then(OsStr::to_str).and_then(|stem| ToolName::parse(stem).ok());
                names.extend(name.filter(|name| rule.subject.is_about(name)));
            }
        }
        Ok(names)
    }

    fn named(&self, profile: &ExpandedProfile, name: &ToolName, rule: &Rule<ComponentRule>) -> Result<Known> {
        let (path, bytes) = match &rule.subject {
            ComponentRule::File { path, digest, .. } => {
                let path = beside(rule, path);
                let bytes = match digest {
                    None => self.read_unpinned(profile, &path)?,
                    Some(digest) => {
                        let (_, bytes) = read_file(&path)?;
                        must_be(&path, &bytes, *digest, rule)?;
                        bytes
                    }
                };
                (path, bytes)
            }
            ComponentRule::Known { digest, .. } => self.by_digest(*digest, rule)?,
            ComponentRule::Directory { path, .. } => {
                if name.as_str().contains('/') {
                    let what = format!("tool \"{name}\" cannot be the name of a file in a directory");
                    return Err(Error::operator(what).hint("name the file: [[tool]] with file = \"…\""));
                }
                let path = beside(rule, path).join(format!("{name}.wasm"));
                let bytes = self.read_unpinned(profile, &path)?;
                (path, bytes)
            }
        };
        let component = Component::parse(bytes).map_err(|error| about(&path, error))?;
        Ok(Known { component: Arc::new(component), origin: Origin::Rule { rule: rule.id.clone(), path } })
    }

    /// Reads a component whose digest nobody said: nobody but its operator and root may be able to write it, and no call of
    /// a session either.
    fn read_unpinned(&self, profile: &ExpandedProfile, path: &Path) -> Result<Vec<u8>> {
        let canonical = path.canonicalize().map_err(|e| Error::io("read the component", path, &e))?;
        if let Some(place) = self.open_to_agents(profile, path, &canonical) {
            let what = format!("component \"{}\" lies in {place}, where an agent can write", path.display());
            return Err(Error::operator(what).hint("say which it is with sha256 = \"…\", or keep it elsewhere"));
        }
        let (metadata, bytes) = read_file(&canonical)?;
        let shown = path.display();
        if metadata.uid() != self.uid && metadata.uid() != 0 {
            return Err(Error::operator(format!("component \"{shown}\" belongs to user {}", metadata.uid()))
                .hint("copy it to a file of your own, or say which it is with sha256 = \"…\""));
        }
        let directory = canonical.parent().unwrap_or(Path::new("/"));
        let above = fs::metadata(directory).map_err(|e| Error::io("look at", directory, &e))?;
        let open = |mode: u32| mode & 0o022 != 0;
        // With the sticky bit only its owner can put another file in its place.
        if open(metadata.mode()) || open(above.mode()) && above.mode() & 0o1000 == 0 {
            return Err(Error::operator(format!("component \"{shown}\" can be written by others"))
                .hint("chmod go-w it and its directory, or say which it is with sha256 = \"…\""));
        }
        Ok(bytes)
    }

    /// Where calls of a session can write and this path lies or leads through: they could put another file, or another link,
    /// in its place.
    fn open_to_agents(&self, profile: &ExpandedProfile, path: &Path, canonical: &Path) -> Option<String> {
        let directory = |step: &Path| {
            step.file_name()?;
            let above = step.parent().filter(|above| !above.as_os_str().is_empty());
            above.unwrap_or(Path::new(".")).canonicalize().ok()
        };
        let directories: Vec<PathBuf> = path.ancestors().filter_map(directory).collect();
        let lies_in = |place: &Path| {
            let place = place.canonicalize().unwrap_or_else(|_| place.to_owned());
            canonical.starts_with(&place) || directories.iter().any(|directory| directory.starts_with(&place))
        };
        if lies_in(&self.workspace) {
            return Some("the workspace".to_owned());
        }
        let mut writable = profile.path_grants().filter(|grant| grant.access == Access::Write);
        let grant = writable.find(|grant| lies_in(Path::new(OsStr::from_bytes(grant.path.as_bytes()))))?;
        Some(format!("\"{}\"", grant.path))
    }

    /// The component with this digest among those that the user keeps.
    fn by_digest(&self, digest: ComponentDigest, rule: &Rule<ComponentRule>) -> Result<(PathBuf, Vec<u8>)> {
        let directory = self.state.join(OWN_DIRECTORY);
        let files = if directory.is_dir() { components_in(&directory)? } else { Vec::new() };
        for path in files {
            // One that cannot be read is not the one that is wanted, until somebody says otherwise.
            match read_file(&path) {
                Ok((_, bytes)) if sha256(&bytes) == digest => return Ok((path, bytes)),
                Ok(_) => {}
                Err(error) => tracing::warn!(%error, "a component is passed over"),
            }
        }
        let what = format!("{}: no component in \"{}\" has the SHA-256 {digest}", rule.id, directory.display());
        Err(Error::operator(what).hint("put it there, or say in the profile where it is: file = \"…\""))
    }

    fn unknown(&self, profile: &ExpandedProfile, name: &ToolName) -> Error {
        let names: Vec<String> = self.names(profile).unwrap_or_default().iter().map(ToString::to_string).collect();
        Error::operator(format!("there is no tool \"{name}\"")).hint(format!("there are: {}", names.join(", ")))
    }
}

/// A path of a rule: beside the file that the rule stands in.
fn beside(rule: &Rule<ComponentRule>, path: &str) -> PathBuf {
    Path::new(OsStr::from_bytes(rule.file.as_bytes())).parent().unwrap_or(Path::new("")).join(path)
}

fn must_be(path: &Path, bytes: &[u8], digest: ComponentDigest, rule: &Rule<ComponentRule>) -> Result<()> {
    let found = sha256(bytes);
    if found == digest {
        return Ok(());
    }
    let what = format!("component \"{}\" is another than {} says: its SHA-256 is {found}", path.display(), rule.id);
    Err(Error::operator(what).hint(format!("the profile's is {digest}; look at what changed before you change that")))
}

fn sha256(bytes: &[u8]) -> ComponentDigest {
    ComponentDigest(Sha256::digest(bytes).into())
}

/// Files of components in a directory, sorted.
fn components_in(directory: &Path) -> Result<Vec<PathBuf>> {
    let failed = |e: std::io::Error| Error::io("list the components in", directory, &e);
    let mut files = Vec::new();
    for entry in fs::read_dir(directory).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        if path.extension() != Some(OsStr::new("wasm")) {
            continue;
        }
        files.push(path);
        if files.len() > DIRECTORY_MAX {
            let what = format!("\"{}\" has more than {DIRECTORY_MAX} components", directory.display());
            return Err(Error::operator(what).hint("name a directory that has only those that are wanted"));
        }
    }
    files.sort();
    Ok(files)
}

fn read_file(path: &Path) -> Result<(fs::Metadata, Vec<u8>)> {
    let failed = |e: std::io::Error| Error::io("read the component", path, &e);
    // Without O_NONBLOCK a fifo in its place would hold us up for ever.
    let flags = nix::fcntl::OFlag::O_NONBLOCK.bits();
    let file = File::options().read(true).custom_flags(flags).open(path).map_err(failed)?;
    let metadata = file.metadata().map_err(failed)?;
    if !metadata.is_file() {
        return Err(Error::operator(format!("component \"{}\" is not a regular file", path.display())));
    }
    let mut bytes = Vec::new();
    // One byte more than is allowed, so that its reader sees that it is too long.
    file.take(COMPONENT_BYTES_MAX as u64 + 1).read_to_end(&mut bytes).map_err(failed)?;
    Ok((metadata, bytes))
}

/// The same error, of this file.
fn about(path: &Path, mut error: Error) -> Error {
    for report in &mut error.reports {
        report.what = format!("component \"{}\": {}", path.display(), report.what);
    }
    error
}
