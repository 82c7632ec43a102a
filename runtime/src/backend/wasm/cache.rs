//! Compiled components: kept in the state directory, believed only with the state's own key, loaded from a sealed copy.
//! It never loads what somebody else could have written, and never compiles in this process.

use crate::backend::process::{Alone, Outside};
use crate::backend::wasm::channel;
use crate::backend::wasm::component::Component;
use crate::backend::wasm::wall::{Kind, Start, compile};
use crate::backend::wasm::worker::{compatibility, compiler};
use crate::error::{Error, Result};
use hmac::{Hmac, KeyInit as _, Mac as _};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use sha2::Sha256;
use std::collections::HashMap;
use std::fmt;
use std::fs::{self, DirBuilder, File};
use std::io::{Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use stockade_audit::Machine;
use stockade_audit::text::hex;

/// Begins each entry: another version is none of ours.
const MAGIC: &[u8; 16] = b"stockade code 1\n";
/// Bytes of the key, and of the MAC that it makes.
const KEY_BYTES: usize = 32;
/// Longest compiled code, bytes: eight times the largest component.
pub const CODE_BYTES_MAX: usize = 512 * 1024 * 1024;
/// Bytes before the code.
const HEAD_BYTES: usize = MAGIC.len() + KEY_BYTES;
/// How the names of entries end.
const ENTRY: &str = ".cwasm";
/// How old what is of no use to us has to be before it is removed, seconds.
const SWEPT_AFTER_S: i64 = 24 * 60 * 60;

/// Compiled code of components.
pub struct Cache {
    directory: PathBuf,
    key: [u8; KEY_BYTES],
    /// Which engine the code is for; found out with the first component.
    engine: OnceLock<u64>,
    /// What this process has checked: nobody can change a sealed copy.
    checked: Mutex<HashMap<[u8; 32], Code>>,
}

/// Code that was compiled by us, in memory that nobody can change.
#[derive(Clone, Debug)]
pub(super) struct Code(Arc<OwnedFd>);

impl Code {
    /// One more descriptor of it, to be sent.
    pub(super) fn descriptor(&self) -> Result<OwnedFd> {
        self.0.try_clone().map_err(|error| Error::host(format!("share code: {}", crate::error::plain(&error))))
    }

    /// What a test says is code.
    #[cfg(test)]
    pub(super) fn of_test(memory: OwnedFd) -> Self {
        Self(Arc::new(memory))
    }
}

impl Cache {
    /// Opens the cache of a state directory, making it when it is not there.
    ///
    /// # Errors
    /// Operator: somebody else owns it or could write it. Host: it cannot be made.
    pub fn open(state: &Path) -> Result<Self> {
        let directory = state.join("components");
        match DirBuilder::new().mode(0o700).create(&directory) {
            Ok(()) => {}
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(Error::io("make the directory", &directory, &error)),
        }
        let about = fs::symlink_metadata(&directory).map_err(|error| Error::io("look at", &directory, &error))?;
        let own = rustix::process::geteuid().as_raw();
        if !about.is_dir() || about.uid() != own || about.mode() & 0o077 != 0 {
            return Err(Error::operator(format!("directory \"{}\" is not ours alone", directory.display())).hint(
                "it holds compiled code: it has to belong to you, with mode 0700; remove it, and it is made again",
            ));
        }
        let key = key(&directory.join("key"))?;
        Ok(Self { directory, key, engine: OnceLock::new(), checked: Mutex::default() })
    }

    /// The code of a component: what was checked before, else from the disk, else compiled by a worker that has nothing.
    /// `None`: its caller does not want it any more.
    ///
    /// # Errors
    /// Operator: the component does not compile. Host: the worker ends, or the disk refuses.
    pub(super) fn code(&self, component: &Component, start: &Start, outside: &mut dyn Outside) -> Result<Option<Code>> {
        if let Some(code) = self.known(component) {
            return Ok(Some(code));
        }
        let code = match self.read(component)? {
            Some(code) => Some(code),
            None => self.compile(component, start, outside)?,
        };
        if let Some(code) = &code {
            self.lock().insert(*component.digest(), code.clone());
        }
        Ok(code)
    }

    /// Compiles a component now, whether or not it is there already, and keeps its code.
    ///
    /// # Errors
    /// As [`super::ToolWall::run`], as far as it concerns compiling.
    pub fn renew(&self, component: &Component, start: &Start) -> Result<()> {
        let code = self.compile(component, start, &mut Alone)?;
        let code = code.ok_or_else(|| Error::bug("nobody cancels what nobody waits for"))?;
        self.lock().insert(*component.digest(), code);
        Ok(())
    }

    /// Forgets the code of a component, which a worker would not load.
    pub(super) fn forget(&self, component: &Component) -> Result<()> {
        self.lock().remove(component.digest());
        remove(&self.path(component)?)
    }

    fn known(&self, component: &Component) -> Option<Code> {
        self.lock().get(component.digest()).cloned()
    }

    /// A panic elsewhere leaves the map whole.
    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<[u8; 32], Code>> {
        self.checked.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn name(&self, component: &Component) -> Result<String> {
        Ok(format!("{}{}", hex(component.digest()), self.ending()?))
    }

    /// How the names of entries end that this engine can load.
    fn ending(&self) -> Result<String> {
        let engine = match self.engine.get() {
            Some(engine) => *engine,
            None => {
                let engine = compatibility(&compiler()?);
                *self.engine.get_or_init(|| engine)
            }
        };
        Ok(format!("-{engine:016x}{ENTRY}"))
    }

    fn path(&self, component: &Component) -> Result<PathBuf> {
        Ok(self.directory.join(self.name(component)?))
    }

    fn mac(&self, name: &str, code: &[u8]) -> Hmac<Sha256> {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.key).expect("a key of HMAC may have any length");
        mac.update(MAGIC);
        mac.update(name.as_bytes());
        mac.update(&[0]);
        mac.update(code);
        mac
    }

    /// Reads and checks an entry. One that is not ours is told, removed, and made again.
    fn read(&self, component: &Component) -> Result<Option<Code>> {
        let name = self.name(component)?;
        let path = self.directory.join(&name);
        match self.try_read(&name, &path) {
            Ok(code) => Ok(code),
            Err(why) => {
                tracing::error!(entry = %path.display(), why, "an entry of compiled code is not ours: it is made again");
                remove(&path)?;
                Ok(None)
            }
        }
    }

    fn try_read(&self, name: &str, path: &Path) -> std::result::Result<Option<Code>, &'static str> {
        // Through one descriptor: what is checked is what was opened, and no link is followed to it.
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let mut file = match rustix::fs::open(path, flags, Mode::empty()) {
            Ok(file) => File::from(file),
            Err(Errno::NOENT) => return Ok(None),
            Err(_) => return Err("it cannot be opened, or is a link"),
        };
        let about = file.metadata().map_err(|_| "it cannot be looked at")?;
        let own = rustix::process::geteuid().as_raw();
        if !about.is_file() || about.uid() != own || about.nlink() != 1 || about.mode() & 0o7777 != 0o400 {
            return Err("it has another owner, another mode or another name");
        }
        let length = usize::try_from(about.len()).unwrap_or(usize::MAX);
        if !(HEAD_BYTES..=HEAD_BYTES + CODE_BYTES_MAX).contains(&length) {
            return Err("it has a length that cannot be");
        }
        let mut bytes = vec![0; length];
        file.read_exact(&mut bytes).map_err(|_| "it cannot be read")?;
        let Some((head, code)) = bytes.split_at_checked(HEAD_BYTES) else { return Err("it is cut") };
        let Some((magic, mac)) = head.split_at_checked(MAGIC.len()) else { return Err("it is cut") };
        if magic != MAGIC || self.mac(name, code).verify_slice(mac).is_err() {
            return Err("its bytes were not written with our key");
        }
        let sealed = channel::sealed(c"stockade-code", &[code]).map_err(|_| "it cannot be kept in memory")?;
        Ok(Some(Code(Arc::new(sealed))))
    }

    fn compile(&self, component: &Component, start: &Start, outside: &mut dyn Outside) -> Result<Option<Code>> {
        let Some(code) = compile(component, start(Kind::Compile)?, outside)? else { return Ok(None) };
        // A disk that is full keeps nobody from working.
        if let Err(error) = self.write(component, &code) {
            tracing::warn!(%error, "compiled code could not be kept");
        }
        Ok(Some(Code(Arc::new(channel::sealed(c"stockade-code", &[&code])?))))
    }

    fn write(&self, component: &Component, code: &[u8]) -> Result<()> {
        let name = self.name(component)?;
        let mac = self.mac(&name, code).finalize().into_bytes();
        let mut unique = [0; 8];
        Machine::system().random.fill(&mut unique).map_err(|error| Error::host(format!("draw a name: {error}")))?;
        let temporary = self.directory.join(format!("new-{}", hex(&unique)));
        let written = File::options()
            .write(true)
            .create_new(true)
            .mode(0o400)
            .open(&temporary)
            .and_then(|mut file| [&MAGIC[..], &mac, code].into_iter().try_for_each(|part| file.write_all(part)))
            .and_then(|()| fs::rename(&temporary, self.directory.join(&name)));
        if written.is_err() {
            match fs::remove_file(&temporary) {
                Ok(()) | Err(_) => {}
            }
        }
        written.map_err(|error| Error::io("keep compiled code in", &self.directory, &error))?;
        self.sweep(&self.directory.join(&name))
    }

    /// Removes what nobody will use: files that somebody who was killed was about to rename, and entries for engines that
    /// are not this one, both only when they are a day old. A program of another version that still runs beside this one
    /// makes its entries again. Called where an entry was written, which is when there is more than before.
    fn sweep(&self, written: &Path) -> Result<()> {
        let failed = |error: &std::io::Error| Error::io("look through", &self.directory, error);
        let now = fs::symlink_metadata(written).map_err(|error| failed(&error))?.mtime();
        let ours = self.ending()?;
        for entry in fs::read_dir(&self.directory).map_err(|error| failed(&error))? {
            let entry = entry.map_err(|error| failed(&error))?;
            let name = entry.file_name();
            let Some(name) = name.to_str() else { continue };
            let unfinished = ["new-", "key-"].iter().any(|begin| name.starts_with(begin));
            let foreign = name.ends_with(ENTRY) && !name.ends_with(&ours);
            // Another process may sweep, or rename, at the same time.
            let Ok(about) = entry.metadata() else { continue };
            if (unfinished || foreign) && about.is_file() && now.saturating_sub(about.mtime()) > SWEPT_AFTER_S {
                remove(&entry.path())?;
            }
        }
        Ok(())
    }
}

/// Removes a file, or finds that another process did.
fn remove(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(Error::io("remove", path, &error)),
        Ok(()) | Err(_) => Ok(()),
    }
}

impl fmt::Debug for Cache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cache").field("directory", &self.directory).finish_non_exhaustive()
    }
}

/// The key of the cache, made when it is not there.
fn key(path: &Path) -> Result<[u8; KEY_BYTES]> {
    for _ in 0..2 {
        match File::options().read(true).custom_flags(nofollow()).open(path) {
            Ok(mut file) => {
                let about = file.metadata().map_err(|error| Error::io("look at", path, &error))?;
                let mut key = [0; KEY_BYTES];
                let own = rustix::process::geteuid().as_raw();
                let ours = about.is_file() && about.uid() == own && about.mode() & 0o077 == 0;
                if !ours || about.len() != key.len() as u64 {
                    return Err(Error::operator(format!("key \"{}\" is not ours alone, or is cut", path.display()))
                        .hint("remove the directory that it is in: compiled code is made again"));
                }
                file.read_exact(&mut key).map_err(|error| Error::io("read the key", path, &error))?;
                return Ok(key);
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => make_key(path)?,
            Err(error) => return Err(Error::io("open the key", path, &error)),
        }
    }
    Err(Error::host(format!("key \"{}\" disappears", path.display())))
}

fn nofollow() -> i32 {
    i32::try_from(OFlags::NOFOLLOW.bits()).expect("a flag of open(2) is an int")
}

/// Makes a key, unless another process makes one at the same time: whoever links it first wins.
fn make_key(path: &Path) -> Result<()> {
    let mut bytes = [0; KEY_BYTES + 8];
    Machine::system().random.fill(&mut bytes).map_err(|error| Error::host(format!("draw a key: {error}")))?;
    let (key, unique) = bytes.split_at(KEY_BYTES);
    let temporary = path.with_file_name(format!("key-{}", hex(unique)));
    let made = File::options()
        .write(true)
        .create_new(true)
        .mode(0o400)
        .open(&temporary)
        .and_then(|mut file| file.write_all(key).and_then(|()| file.sync_all()))
        .and_then(|()| match fs::hard_link(&temporary, path) {
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Ok(()),
            other => other,
        });
    let removed = fs::remove_file(&temporary);
    made.and(removed).map_err(|error| Error::io("make the key", path, &error))
}
