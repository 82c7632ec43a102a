//! Erasing what may not be kept: an opening, or the key of a session's blobs. The log stays valid, and says what is gone.
//! It never changes a leaf, and never erases before the record of it is on disk.

use crate::after::AfterLog;
use crate::disk::{Settle, read_file, replace};
use crate::error::{At as _, AuditError, Result};
use crate::ledger::Ledger;
use crate::query::LogReader;
use crate::record::Redact;
use std::path::Path;
use std::sync::Arc;

const OPENINGS_BYTES_MAX: usize = 1 << 30;

/// What to erase.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Erase<'a> {
    /// The opening of the value of this name in this leaf.
    Value {
        /// The leaf.
        leaf: u64,
        /// `argv`, `env`, `cwd`, `args`.
        name: &'a str,
    },
    /// The content of every blob.
    Blobs,
}

/// Erases, after saying so in the session's follow-up log and the ledger. The file is written anew without the value; what
/// the disk underneath keeps of the old blocks is beyond reach from here.
///
/// # Errors
/// `Invalid` when there is nothing to erase, `Busy` while the session runs, and as any write.
pub fn redact(session: &Path, ledger: Arc<Ledger>, what: Erase<'_>, reason: &str, by: &str) -> Result<()> {
    let machine = ledger.machine().clone();
    let disk = &*machine.disk;
    let log = LogReader::open_on(Arc::clone(&machine.disk), session)?;
    let nothing =
        || AuditError::Invalid { what: "an erasure", why: "there is no such value, or it is gone".to_owned() };
    let (leaf, name) = match what {
        Erase::Value { leaf, name } => (leaf, name),
        Erase::Blobs => (0, "blobs"),
    };
    let digest = match what {
        Erase::Blobs => None,
        Erase::Value { leaf, name } => {
            let disclosed = log.disclosed()?;
            let (leaf, _) = log.record(leaf)?.ok_or_else(nothing)?;
            let named = |digest: &crate::merkle::Hash| disclosed.get(digest).is_some_and(|value| value.name == name);
            Some(leaf.disclosed.iter().map(|digest| digest.0).find(named).ok_or_else(nothing)?)
        }
    };
    let mut after = AfterLog::open(session, ledger)?;
    let (field, reason, by) = (name.to_owned(), reason.to_owned(), by.to_owned());
    after.append(Redact { leaf, field, reason, by })?;
    after.barrier()?;
    let open = session.join("open");
    match digest {
        None => {
            let path = open.join("blob-key");
            disk.remove(&path).at("remove", &path)?;
            disk.sync_dir(&open).at("sync directory", &open)?;
        }
        Some(digest) => {
            let path = open.join("openings");
            let bytes = read_file(disk, &path, OPENINGS_BYTES_MAX)?.unwrap_or_default();
            let stays = |line: &&[u8]| crate::merkle::sha256(line.strip_suffix(b"\n").unwrap_or(line)) != digest;
            let kept: Vec<u8> = bytes.split_inclusive(|b| *b == b'\n').filter(stays).flatten().copied().collect();
            replace(disk, &path, &kept, Settle::Now)?;
        }
    }
    after.finish()
}
