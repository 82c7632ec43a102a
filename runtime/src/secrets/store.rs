//! The encrypted local store.
//! It never writes a plaintext, and never shows one but to who loads a session's secrets.

mod file;
mod room;

use crate::error::{Error, Result};
use crate::secrets::placeholder::HostKey;
use crate::secrets::plain::Plain;
use crate::secrets::source::Source;
use file::{Entry, FILE_BYTES_MAX, Keys};
pub use room::Turn;
use room::{Locked, Room};
pub(in crate::secrets) use room::{credential, read_bounded};
use std::path::Path;
use std::time::Duration;
use stockade_audit::Machine;
use stockade_policy::SecretName;

/// Name of the store's file.
const FILE: &str = "store";
/// Name of the file with the key that seals it.
const KEY: &str = "key";
/// Name of the file with the key by which placeholders are known.
const PLACEHOLDER_KEY: &str = "placeholder-key";
/// Name of a credential that takes the place of the key's file.
pub const KEY_CREDENTIAL: &str = "stockade-store-key";

/// Longest wait for another session that exchanges the same secret: longer than one exchange may take.
const TURN_WAIT: Duration = Duration::from_secs(60);

/// The store of one state directory. Its directory is masked in every sandbox, as all of the state is.
#[derive(Debug)]
pub struct Store {
    room: Room,
    keys: Keys,
    machine: Machine,
}

/// What is to be kept under a name.
#[derive(Debug)]
pub enum Deposit {
    /// The value itself.
    Value(Plain),
    /// Where it can be had when a session starts.
    Reference(Source),
}

/// What is known of a secret without its value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// Its name.
    pub name: SecretName,
    /// Its current version.
    pub version: u64,
    /// The version before, if it is still scrubbed.
    pub previous: Option<u64>,
    /// Where its value is.
    pub source: Source,
    /// When the current version was made, seconds since 1970.
    pub made_s: u64,
}

/// A secret as the store has it.
#[derive(Debug)]
pub struct Stored {
    /// Its current version.
    pub version: u64,
    /// Where its value is.
    pub source: Source,
    /// The value, where the store holds it.
    pub value: Option<Plain>,
    /// The value before: it is scrubbed for as long as it may come back, and never sent.
    pub previous: Option<Plain>,
}

impl Deposit {
    fn parts(&self) -> (&Source, Option<&Plain>) {
        match self {
            Self::Value(value) => (&Source::Store, Some(value)),
            Self::Reference(source) => (source, None),
        }
    }
}

impl Store {
    /// Opens the store below a state directory, making its directory and keys where there are none. A credential of the
    /// service manager's with the name [`KEY_CREDENTIAL`] is taken for its key, so that nothing that opens it is on disk.
    ///
    /// # Errors
    /// Operator: it, or its key, belongs to somebody else, could be read or written by others, or is no file.
    /// Host: it cannot be made.
    pub fn open(state: &Path, uid: u32, credentials: Option<&Path>, machine: &Machine) -> Result<Self> {
        let room = Room::open(&state.join("secrets"), uid)?;
        let from_manager =
            credentials.map(|directory| credential(directory, KEY_CREDENTIAL, uid)).transpose()?.flatten();
        let keys = match from_manager {
            Some(key) if key.len() >= crate::secrets::placeholder::KEY_BYTES => Keys::derive(&key)?,
            Some(_) => {
                return Err(Error::operator(format!("credential \"{KEY_CREDENTIAL}\" has fewer than 32 bytes"))
                    .hint("make one: head -c 32 /dev/urandom | systemd-creds encrypt - …"));
            }
            None => Keys::derive(room.key(KEY, machine)?.as_slice())?,
        };
        Ok(Self { room, keys, machine: machine.clone() })
    }

    /// The key by which placeholders of any session of this host are known.
    ///
    /// # Errors
    /// As [`Store::open`].
    pub fn host_key(&self) -> Result<HostKey> {
        self.room.key(PLACEHOLDER_KEY, &self.machine).map(HostKey::new)
    }

    /// Keeps a new secret, as version 1.
    ///
    /// # Errors
    /// Operator: there is one of this name, or the store is full or cannot be trusted. Host: it cannot be written.
    pub fn set(&self, name: &SecretName, deposit: Deposit) -> Result<u64> {
        let locked = self.room.lock()?;
        let mut entries = self.entries()?;
        if entries.iter().any(|entry| entry.name == name.as_str()) {
            return Err(Error::operator(format!("there is a secret \"{name}\" already"))
                .hint(format!("give it a new value with `stockade secret rotate {name}`")));
        }
        entries.push(self.sealed(name, 1, deposit.parts())?);
        locked.write(FILE, &self.keys.write(&entries)?)?;
        Ok(1)
    }

    /// Keeps a new version of a secret, and of the old ones only the newest: an answer may still bring it back, and then
    /// it has to be known.
    ///
    /// # Errors
    /// Operator: there is no such secret, or the store is full or cannot be trusted. Host: it cannot be written.
    pub fn rotate(&self, name: &SecretName, deposit: Deposit) -> Result<u64> {
        let locked = self.room.lock()?;
        let mut entries = self.entries()?;
        let current = newest(&entries, name).ok_or_else(|| unknown(name))?.version;
        self.add(&mut entries, (name, current), deposit.parts(), &locked)
    }

    /// Makes the version before the current one again, as a new version.
    ///
    /// # Errors
    /// As [`Store::rotate`]; Operator: there is no version before.
    pub fn back(&self, name: &SecretName) -> Result<u64> {
        let locked = self.room.lock()?;
        let mut entries = self.entries()?;
        let current = newest(&entries, name).ok_or_else(|| unknown(name))?;
        let earlier = before(&entries, current).ok_or_else(|| {
            Error::operator(format!("secret \"{name}\" has no version before {}", current.version))
                .hint("the store keeps the current version and the one before")
        })?;
        let (source, value) = self.keys.open(earlier)?;
        let current = current.version;
        self.add(&mut entries, (name, current), (&source, value.as_ref()), &locked)
    }

    /// Keeps what a server gave in the place of a version, as [`Store::rotate`] does; `None` when that version is no
    /// longer the newest: somebody has replaced it meanwhile, and knows better.
    ///
    /// # Errors
    /// As [`Store::rotate`].
    pub fn succeed(&self, name: &SecretName, was: u64, value: &Plain) -> Result<Option<u64>> {
        let locked = self.room.lock()?;
        let mut entries = self.entries()?;
        if newest(&entries, name).is_none_or(|newest| newest.version != was) {
            return Ok(None);
        }
        self.add(&mut entries, (name, was), (&Source::Store, Some(value)), &locked).map(Some)
    }

    /// Waits for the turn to exchange a secret that may be good for one exchange: sessions that share it take turns, so
    /// that each begins with what the one before it was given.
    ///
    /// # Errors
    /// Host: another session holds on to it. Operator: the store cannot be trusted.
    pub fn turn(&self, name: &SecretName) -> Result<Turn> {
        self.room.turn(&format!("turn-{name}"), TURN_WAIT)
    }

    /// Forgets a secret and every version of it.
    ///
    /// # Errors
    /// As [`Store::rotate`].
    pub fn remove(&self, name: &SecretName) -> Result<()> {
        let locked = self.room.lock()?;
        let mut entries = self.entries()?;
        let before = entries.len();
        entries.retain(|entry| entry.name != name.as_str());
        if entries.len() == before {
            return Err(unknown(name));
        }
        locked.write(FILE, &self.keys.write(&entries)?)
    }

    /// Every secret, by name.
    ///
    /// # Errors
    /// Operator: the store cannot be trusted. Host: it cannot be read.
    pub fn list(&self) -> Result<Vec<Listed>> {
        let entries = self.entries()?;
        let mut listed = Vec::new();
        for entry in &entries {
            let parsed = SecretName::parse(&entry.name).ok().zip(Source::from_words(&entry.source));
            let (name, source) = parsed.ok_or_else(|| Error::bug("the store has an entry that it cannot have"))?;
            if newest(&entries, &name).is_some_and(|newest| newest.version == entry.version) {
                let previous = before(&entries, entry).map(|entry| entry.version);
                listed.push(Listed { name, version: entry.version, previous, source, made_s: entry.made_s });
            }
        }
        listed.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(listed)
    }

    /// A secret; `None` when there is none of this name.
    ///
    /// # Errors
    /// As [`Store::list`].
    pub fn get(&self, name: &SecretName) -> Result<Option<Stored>> {
        let entries = self.entries()?;
        let Some(entry) = newest(&entries, name) else { return Ok(None) };
        let (source, value) = self.keys.open(entry)?;
        let previous = before(&entries, entry).map(|entry| self.keys.open(entry)).transpose()?;
        Ok(Some(Stored { version: entry.version, source, value, previous: previous.and_then(|(_, value)| value) }))
    }

    /// What time it is, seconds since 1970.
    pub fn now_s(&self) -> u64 {
        self.machine.clock.wall_ns() / 1_000_000_000
    }

    /// Writes the version after the current one, and leaves no older one than that.
    fn add(
        &self,
        entries: &mut Vec<Entry>,
        (name, current): (&SecretName, u64),
        parts: (&Source, Option<&Plain>),
        locked: &Locked<'_>,
    ) -> Result<u64> {
        let version = current.checked_add(1).ok_or_else(|| Error::bug("versions ran out"))?;
        entries.retain(|entry| entry.name != name.as_str() || entry.version == current);
        entries.push(self.sealed(name, version, parts)?);
        locked.write(FILE, &self.keys.write(entries)?)?;
        Ok(version)
    }

    fn sealed(&self, name: &SecretName, version: u64, (source, value): (&Source, Option<&Plain>)) -> Result<Entry> {
        self.keys.seal((name, version, self.now_s()), source, value, &self.machine)
    }

    fn entries(&self) -> Result<Vec<Entry>> {
        match self.room.read(FILE, FILE_BYTES_MAX)? {
            Some(bytes) => self.keys.read(&bytes).map_err(|error| named(error, self.room.path())),
            None => Ok(Vec::new()),
        }
    }
}

/// Opens the bytes of a store's file under a key, as [`Store`] does: how many entries it has. For tests with hostile
/// files, which need no directory.
///
/// # Errors
/// As [`Store::list`] and [`Store::get`].
pub fn check_file(key: &[u8; 32], bytes: &[u8]) -> Result<usize> {
    let keys = Keys::derive(key)?;
    let entries = keys.read(bytes)?;
    entries.iter().try_for_each(|entry| keys.open(entry).map(drop))?;
    Ok(entries.len())
}

fn newest<'e>(entries: &'e [Entry], name: &SecretName) -> Option<&'e Entry> {
    entries.iter().filter(|entry| entry.name == name.as_str()).max_by_key(|entry| entry.version)
}

fn before<'e>(entries: &'e [Entry], newest: &Entry) -> Option<&'e Entry> {
    entries
        .iter()
        .filter(|entry| entry.name == newest.name && entry.version < newest.version)
        .max_by_key(|entry| entry.version)
}

fn unknown(name: &SecretName) -> Error {
    Error::operator(format!("there is no secret \"{name}\"")).hint(format!("`stockade secret set {name}` makes it"))
}

/// Says which store an error is about.
fn named(mut error: Error, path: &Path) -> Error {
    if let Some(report) = error.reports.first_mut() {
        report.what = format!("{} (\"{}\")", report.what, path.join(FILE).display());
    }
    error
}

#[cfg(test)]
mod tests;
