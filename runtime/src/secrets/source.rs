//! Where a secret comes from: file, environment, descriptor, credential, program, server, the store.
//! It never takes one from an argument, and never asks a project or a guest where one is.

pub mod exec;
pub mod keeper;

use crate::error::{Error, Result};
use crate::secrets::plain::{PLAIN_BYTES_MAX, Plain};
use crate::secrets::store::{Store, credential, read_bounded};
use keeper::Keeper;
use keeper::reader::{Carrier, Reader};
use rustix::fs::{Mode, OFlags};
use std::ffi::OsString;
use std::fmt;
use std::fs::File;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use stockade_policy::SecretName;
use zeroize::Zeroizing;

/// Most words of a program and its arguments.
const WORDS_MAX: usize = 64;
/// Longest word, bytes.
const WORD_BYTES_MAX: usize = 4096;

/// Where a value is. The operator says so, per name, on the command line; the store keeps it under its seal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// In the store itself.
    Store,
    /// In a file that others cannot read.
    File(PathBuf),
    /// In a variable of the process that starts sessions.
    Env(String),
    /// Behind a descriptor that this process was started with; read once, to its end.
    Fd(u32),
    /// A credential of the service manager (systemd.exec(5), `LoadCredentialEncrypted=`).
    Credential(String),
    /// What a program answers, in the protocol of [`exec`].
    Exec {
        /// Absolute path.
        program: PathBuf,
        /// Its arguments.
        arguments: Vec<String>,
    },
    /// In a server that keeps secrets.
    Vault(Box<Keeper>),
}

/// The places outside the store, of one machine and operator.
pub struct Surroundings<'a> {
    /// A variable of the operator's environment.
    pub variable: &'a dyn Fn(&str) -> Option<OsString>,
    /// `$CREDENTIALS_DIRECTORY`.
    pub credentials: Option<&'a Path>,
    /// Takes a descriptor over, once.
    pub descriptor: &'a dyn Fn(u32) -> Option<OwnedFd>,
    /// Effective user id.
    pub uid: u32,
    /// Who carries requests to a server that keeps secrets.
    pub carrier: &'a dyn Fn() -> Result<Carrier>,
}

/// Who may read a file that a value is in, beside its owner and, as the owner likes, its group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Readers {
    /// Nobody.
    Few,
    /// Everybody.
    All,
}

impl fmt::Debug for Surroundings<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Surroundings(uid {})", self.uid)
    }
}

/// Every place where a session's secrets can be.
#[derive(Debug)]
pub struct Sources<'a> {
    /// The store, which knows where each is.
    pub store: &'a Arc<Store>,
    /// The other places.
    pub around: Surroundings<'a>,
}

/// A secret's value, as a session starts with it.
#[derive(Debug)]
pub struct Resolved {
    /// Where it came from.
    pub source: Source,
    /// Its version in the store.
    pub version: u64,
    /// The value.
    pub value: Plain,
    /// The value before, which may still come back.
    pub previous: Option<Plain>,
    /// What reads it again while the session runs, where it may change.
    pub reader: Option<Reader>,
}

impl Source {
    /// Reads `file:/path`, `env:NAME`, `fd:N`, `credential:NAME` or `exec:/program`, the latter with its arguments.
    ///
    /// # Errors
    /// Operator: it is none of these.
    pub fn parse(text: &str, arguments: &[String]) -> Result<Self> {
        let (kind, rest) = text.split_once(':').unwrap_or((text, ""));
        if kind == "vault" {
            return Keeper::parse(rest, arguments).map(|keeper| Self::Vault(Box::new(keeper)));
        }
        let mut words = vec![kind.to_owned(), rest.to_owned()];
        words.extend(arguments.iter().cloned());
        if kind == "file" || kind == "exec" {
            let absolute = Path::new(rest).is_absolute();
            if !absolute {
                return Err(Error::operator(format!("source \"{text}\" has no absolute path"))
                    .hint(format!("write {kind}:/path/to/it: sessions start in many directories")));
            }
        }
        Self::from_words(&words).filter(|source| *source != Self::Store).ok_or_else(|| {
            Error::operator(format!("source \"{text}\" is none that is known")).hint(
                "write file:/PATH, env:NAME, fd:N, credential:NAME, exec:/PROGRAM -- ARGUMENTS, or vault:URL -- WORDS",
            )
        })
    }

    /// As the store writes it.
    pub(super) fn words(&self) -> Vec<String> {
        let text = |path: &Path| path.to_str().expect("sources are made of text alone").to_owned();
        match self {
            Self::Store => vec!["store".to_owned()],
            Self::File(path) => vec!["file".to_owned(), text(path)],
            Self::Env(name) => vec!["env".to_owned(), name.clone()],
            Self::Fd(number) => vec!["fd".to_owned(), number.to_string()],
            Self::Credential(name) => vec!["credential".to_owned(), name.clone()],
            Self::Exec { program, arguments } => {
                let mut words = vec!["exec".to_owned(), text(program)];
                words.extend(arguments.iter().cloned());
                words
            }
            Self::Vault(keeper) => ["vault".to_owned()].into_iter().chain(keeper.words()).collect(),
        }
    }

    /// As the store read it; `None` for what no source is written as.
    pub(super) fn from_words(words: &[String]) -> Option<Self> {
        let fits = |word: &String| word.len() <= WORD_BYTES_MAX && !word.contains('\0');
        if words.len() > WORDS_MAX || !words.iter().all(fits) {
            return None;
        }
        let name = |text: &str| text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte));
        match words {
            [kind] if kind == "store" => Some(Self::Store),
            [kind, path] if kind == "file" && path.starts_with('/') => Some(Self::File(path.into())),
            [kind, variable] if kind == "env" && !variable.is_empty() && name(variable) => {
                Some(Self::Env(variable.clone()))
            }
            [kind, number] if kind == "fd" => {
                let parsed = number.parse::<u32>().ok();
                parsed.filter(|parsed| parsed.to_string() == *number && *parsed > 2).map(Self::Fd)
            }
            [kind, credential] if kind == "credential" && credential.starts_with(|c: char| c != '.') => {
                name(credential).then(|| Self::Credential(credential.clone()))
            }
            [kind, program, arguments @ ..] if kind == "exec" && program.starts_with('/') => {
                Some(Self::Exec { program: program.into(), arguments: arguments.to_vec() })
            }
            [kind, url, words @ ..] if kind == "vault" => {
                Keeper::parse(url, words).ok().map(|keeper| Self::Vault(Box::new(keeper)))
            }
            _ => None,
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words = self.words();
        let (kind, rest) = words.split_first().expect("a source has a kind");
        f.write_str(kind)?;
        let mut separator = ':';
        rest.iter().try_for_each(|word| {
            let shown: String = word.chars().map(|c| if c.is_control() { '?' } else { c }).collect();
            write!(f, "{}{shown}", std::mem::replace(&mut separator, ' '))
        })
    }
}

impl Sources<'_> {
    /// The value of a secret.
    ///
    /// # Errors
    /// Operator: there is no such secret, or its source has no value for it. Host: reading failed.
    pub fn resolve(&self, name: &SecretName) -> Result<Resolved> {
        let stored = self.store.get(name)?.ok_or_else(|| {
            Error::operator(format!("the profile uses the secret \"{name}\", and there is none"))
                .hint(format!("give it a value: stockade secret set {name}"))
        })?;
        let (source, version, previous) = (stored.source, stored.version, stored.previous);
        let (value, version, previous, reader) = match (stored.value, &source) {
            (Some(value), _) => (value, version, previous, None),
            (None, Source::Vault(keeper)) => {
                let mut reader = Reader::new(keeper, &self.around, name)?;
                let (reading, before) = at_once(reader.first())?;
                (reading.value, reading.version.unwrap_or(version), previous.or(before), Some(reader))
            }
            (None, source) => (self.around.fetch(source, name)?, version, previous, None),
        };
        Ok(Resolved { source, version, value, previous, reader })
    }
}

impl Surroundings<'_> {
    /// Fetches a value from outside the store.
    ///
    /// # Errors
    /// As [`Sources::resolve`].
    pub fn fetch(&self, source: &Source, name: &SecretName) -> Result<Plain> {
        let bytes = match source {
            Source::Store => return Err(Error::bug("a reference to the store is in the store")),
            Source::Vault(_) => return Err(Error::bug("what is in a server is read by a reader")),
            Source::File(path) => private_file(path, self.uid, Readers::Few)?,
            Source::Env(variable) => {
                use std::os::unix::ffi::OsStringExt as _;
                let value = (self.variable)(variable).ok_or_else(|| missing(name, source, "is not set"))?;
                return Plain::new(value.into_vec()).map_err(|unfit| unfit.of(name.as_str()));
            }
            Source::Fd(number) => {
                let fd = (self.descriptor)(*number).ok_or_else(|| missing(name, source, "is not open"))?;
                read_bounded(File::from(fd), Path::new(&format!("/dev/fd/{number}")), PLAIN_BYTES_MAX + 2)?
            }
            Source::Credential(credential_name) => {
                let directory = self.credentials.ok_or_else(|| {
                    missing(name, source, "cannot be had: CREDENTIALS_DIRECTORY is not set")
                        .hint("start stockade as a service with LoadCredential=")
                })?;
                let read = credential(directory, credential_name, self.uid)?;
                read.ok_or_else(|| missing(name, source, "is not there"))?
            }
            Source::Exec { program, arguments } => return exec::ask(program, arguments, name),
        };
        one_line_less(bytes, name)
    }
}

/// Waits here for what is read from a server: a session has not begun before it has its secrets.
fn at_once<T>(reading: impl Future<Output = Result<T>>) -> Result<T> {
    let failed = |e: std::io::Error| Error::host(format!("read a secret: {}", crate::error::plain(&e)));
    tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(failed)?.block_on(reading)
}

/// The value in what was read: one newline at its end is the editor's, not the secret's.
///
/// # Errors
/// Operator: what is left is no secret.
pub fn one_line_less(mut bytes: Zeroizing<Vec<u8>>, name: &SecretName) -> Result<Plain> {
    let line = bytes.strip_suffix(b"\n").map(|rest| rest.strip_suffix(b"\r").unwrap_or(rest));
    let length = line.map_or(bytes.len(), <[u8]>::len);
    bytes.truncate(length);
    Plain::new(std::mem::take(&mut *bytes)).map_err(|unfit| unfit.of(name.as_str()))
}

/// A file that only its owner, who is us or root, can write, and these can read.
fn private_file(path: &Path, uid: u32, readers: Readers) -> Result<Zeroizing<Vec<u8>>> {
    let flags = OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::RDONLY;
    let file = rustix::fs::open(path, flags, Mode::empty()).map_err(|errno| Error::io("open", path, &errno.into()))?;
    let stat = rustix::fs::fstat(&file).map_err(|errno| Error::io("look at", path, &errno.into()))?;
    let refuse = |why: &str| Err(Error::operator(format!("file \"{}\" {why}", path.display())));
    if rustix::fs::FileType::from_raw_mode(stat.st_mode) != rustix::fs::FileType::RegularFile {
        return refuse("is not a regular file");
    }
    if stat.st_uid != uid && stat.st_uid != 0 {
        return refuse("belongs to somebody else");
    }
    // The group's right to read is left to the operator: a service's secrets are often root:service 0640.
    let harmful = match readers {
        Readers::Few => 0o027,
        Readers::All => 0o022,
    };
    if stat.st_mode & harmful != 0 {
        return refuse("can be written by its group, or used by others")
            .map_err(|error| error.hint(format!("chmod g-w,o-rwx {}", path.display())));
    }
    read_bounded(File::from(file), path, PLAIN_BYTES_MAX + 2)
}

fn missing(name: &SecretName, source: &Source, why: &str) -> Error {
    Error::operator(format!("secret \"{name}\": \"{source}\" {why}"))
}

#[cfg(test)]
mod tests;
