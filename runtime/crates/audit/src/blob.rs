//! Content beside the log: encrypted with a key of the session, named by the hash of what is stored.
//! It never stores anything in the clear, and never gives out content that does not match the log.

use crate::disk::{Disk, create_with, read_file, write_all};
use crate::error::{At as _, AuditError, Result, corrupt};
use crate::ledger::Machine;
use crate::merkle::{Hash, sha256};
use crate::record::{BlobRef, Digest};
use crate::small::{SMALL_BYTES_MAX, SmallFile, SmallIndex};
use crate::text::{hex, unhex};
use chacha20poly1305::aead::{Aead as _, KeyInit as _, Payload};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};
use sha2::{Digest as _, Sha256};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

/// Bytes of one blob's content at most. More is cut by the caller, and the record says how much.
pub const BLOB_BYTES_MAX: usize = 64 << 20;
/// Bytes of all blobs of a session at most.
pub const BLOBS_BYTES_MAX: u64 = 1 << 30;

const NONCE_BYTES: usize = 24;
const SALT_BYTES: usize = 32;
const TAG_BYTES: usize = 16;
const STORED_BYTES_MAX: usize = BLOB_BYTES_MAX + NONCE_BYTES + SALT_BYTES + TAG_BYTES;

/// The key that opens a session's blobs. Erasing its file erases all of them.
pub(crate) struct BlobKey {
    key: Zeroizing<[u8; 32]>,
    origin: String,
    small: SmallFile,
}

impl std::fmt::Debug for BlobKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "BlobKey({})", self.origin)
    }
}

fn key_path(dir: &Path) -> PathBuf {
    dir.join("open").join("blob-key")
}

/// Where a blob is that is not a small one: `blobs/ab/cdef…`.
pub(crate) fn blob_path(dir: &Path, blob: &BlobRef) -> PathBuf {
    let name = blob.h.to_string();
    let (shard, rest) = name.split_at(2);
    dir.join("blobs").join(shard).join(rest)
}

/// SHA-256 of a file; `None` when it is not there.
pub(crate) fn hash_file(disk: &dyn Disk, path: &Path) -> Result<Option<Hash>> {
    let mut reader = match disk.read(path, 0) {
        Ok(reader) => reader.take(STORED_BYTES_MAX as u64 + 1),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error).at("open", path),
    };
    let (mut hasher, mut buffer) = (Sha256::new(), vec![0; 1 << 16]);
    loop {
        match reader.read(&mut buffer).at("read", path)? {
            0 => return Ok(Some(hasher.finalize().into())),
            n => hasher.update(&buffer[..n]),
        }
    }
}

impl BlobKey {
    /// A new key for a new session.
    pub(crate) fn create(machine: &Machine, dir: &Path, origin: &str) -> Result<Self> {
        let key = machine.seed()?;
        let text = Zeroizing::new(hex(&*key));
        drop(create_with(&*machine.disk, &key_path(dir), text.as_bytes())?);
        Ok(Self { key, origin: origin.to_owned(), small: SmallFile::default() })
    }

    /// The key of an existing session; `None` when it was erased.
    pub(crate) fn load(disk: &dyn Disk, dir: &Path, origin: &str) -> Result<Option<Self>> {
        let path = key_path(dir);
        let Some(text) = read_file(disk, &path, 64)?.map(Zeroizing::new) else { return Ok(None) };
        let key = std::str::from_utf8(&text).ok().and_then(unhex);
        let key = key.ok_or_else(|| corrupt(&path, "it holds no key"))?;
        Ok(Some(Self { key: Zeroizing::new(key), origin: origin.to_owned(), small: SmallFile::default() }))
    }

    fn cipher(&self) -> XChaCha20Poly1305 {
        XChaCha20Poly1305::new((&*self.key).into())
    }

    fn associated(&self) -> Vec<u8> {
        format!("stockade-blob-v1\n{}", self.origin).into_bytes()
    }

    /// Stores content; the answer goes into a record. What is stored is `nonce ‖ encrypt(salt ‖ content)`.
    pub(crate) fn put(&self, machine: &Machine, dir: &Path, content: &[u8]) -> Result<BlobRef> {
        if content.len() > BLOB_BYTES_MAX {
            return Err(AuditError::TooLarge { what: "a blob", bytes: content.len(), bytes_max: BLOB_BYTES_MAX });
        }
        let mut random = [0; NONCE_BYTES + SALT_BYTES];
        machine.random.fill(&mut random).at("draw a nonce from", Path::new("the random generator"))?;
        let (nonce, salt) = random.split_at(NONCE_BYTES);
        let salted = [salt, content].concat();
        let nonce: [u8; NONCE_BYTES] = nonce.try_into().expect("split there");
        let payload = Payload { msg: &salted, aad: &self.associated() };
        let sealed = self.cipher().encrypt(&XNonce::from(nonce), payload);
        let sealed =
            sealed.map_err(|_| AuditError::Invalid { what: "a blob", why: "the cipher refused it".to_owned() })?;
        let stored = [&nonce[..], &sealed].concat();
        let blob = BlobRef { h: Digest(sha256(&stored)), c: Digest(sha256(&salted)), z: content.len() as u64 };
        self.store(&*machine.disk, dir, &blob, &stored)?;
        Ok(blob)
    }

    fn store(&self, disk: &dyn Disk, dir: &Path, blob: &BlobRef, stored: &[u8]) -> Result<()> {
        if blob.z <= SMALL_BYTES_MAX as u64 && self.small.take(disk, dir, &blob.h.0, stored)? {
            return Ok(());
        }
        let path = blob_path(dir, blob);
        let shard = path.parent().expect("blobs/ab");
        match disk.create_dir(shard) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                return Err(error).at("create directory", shard);
            }
            Ok(()) | Err(_) => {}
        }
        let file = disk.create(&path).at("create", &path)?;
        write_all(&*file, stored).at("write", &path)
    }

    /// The content of a blob; `None` when it is gone.
    ///
    /// # Errors
    /// `Corrupt` when what is stored is not what the record names.
    pub(crate) fn get(
        &self,
        disk: &dyn Disk,
        dir: &Path,
        blob: &BlobRef,
        small: &mut SmallIndex,
    ) -> Result<Option<Vec<u8>>> {
        let path = blob_path(dir, blob);
        let stored = match small.get(disk, dir, &blob.h.0)? {
            Some(stored) => stored,
            None => match read_file(disk, &path, STORED_BYTES_MAX)? {
                Some(stored) => stored,
                None => return Ok(None),
            },
        };
        let wrong = || corrupt(&path, "it is not the blob that the record names");
        if sha256(&stored) != blob.h.0 {
            return Err(wrong());
        }
        let (nonce, sealed) = stored.split_first_chunk::<NONCE_BYTES>().ok_or_else(wrong)?;
        let payload = Payload { msg: sealed, aad: &self.associated() };
        let salted = self.cipher().decrypt(&XNonce::from(*nonce), payload).map_err(|_| wrong())?;
        if sha256(&salted) != blob.c.0 {
            return Err(wrong());
        }
        let content = salted.get(SALT_BYTES..).ok_or_else(wrong)?;
        Ok(Some(content.to_vec()))
    }
}
