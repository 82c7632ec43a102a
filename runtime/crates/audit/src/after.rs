//! The follow-up log of a session: what happens to its changes after its own log was closed (apply, discard, undo,
//! redaction, recovery). It lies in `after/`, is signed by the ledger's key, and the ledger has its size and root.
//! It never touches the session's own log, except to set aside the torn tail of one whose writer died.

use crate::chain::{Chain, Position, Receipt};
use crate::disk::{Held, Settle, ensure_dir, read_file, replace};
use crate::error::{AuditError, Result, corrupt};
use crate::frame::Commit;
use crate::ledger::{Ledger, WallOnly};
use crate::note::{NOTE_BYTES_MAX, Signer, Vkey};
use crate::publish::Checkpoints;
use crate::record::{Body, Digest, LedgerAfter, LedgerOpen, Record, SessionId, SessionOpen, parse_leaf};
use crate::recover::recover;
use crate::scan::walk;
use crate::session::{ANCHOR_OPEN, lock_session, session_origin};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A follow-up log, open for appending. Its records reach the ledger with [`AfterLog::finish`]; dropped before that, an
/// act shows as interrupted, and the next one goes on behind it.
#[derive(Debug)]
pub struct AfterLog {
    ledger: Arc<Ledger>,
    session: PathBuf,
    dir: PathBuf,
    sid: SessionId,
    signer: Signer,
    chain: Chain,
    _lock: Box<dyn Held>,
}

/// Origin of the follow-up log of the session whose log has this origin.
#[must_use]
pub fn after_origin(session: &str) -> String {
    format!("{session}/after")
}

impl AfterLog {
    /// Opens the follow-up log of the session in `session`; makes it if this is the first act. A session whose writer died is
    /// recovered first, and the first record says so.
    ///
    /// # Errors
    /// `Busy` while the session runs, `Exposed`, `Io`, `Corrupt` when the session is not one of this ledger or is damaged.
    pub fn open(session: &Path, ledger: Arc<Ledger>) -> Result<Self> {
        let machine = ledger.machine().clone();
        let disk = &machine.disk;
        disk.check_dir(session)?;
        let lock = lock_session(&**disk, session)?;
        let vkey = read_vkey(&ledger, session)?;
        let sid = session_of(&vkey, &ledger).ok_or_else(|| corrupt(session, "it is not a session of this ledger"))?;
        tell_ledger(&ledger, session, &vkey, &sid)?;
        let dir = session.join("after");
        let origin = after_origin(vkey.name());
        let signer = ledger.signer_named(&origin);
        ensure_dir(&**disk, &dir)?;
        let fresh = !disk.len(&crate::chain::segment_path(&dir, 0)).is_ok_and(|len| len > 0);
        let (chain, own) = if fresh {
            remove_empty_start(&**disk, &dir)?;
            (Chain::create(Arc::clone(disk), &dir, &origin)?, None)
        } else {
            let recovered = recover(&**disk, &dir, &signer.vkey(), start())?;
            (Chain::resume(Arc::clone(disk), &dir, &origin, recovered.position)?, recovered.recovery)
        };
        let mut after = Self { ledger, session: session.to_owned(), dir, sid, signer, chain, _lock: lock };
        if let Some(recovery) = own {
            after.append(recovery)?;
        }
        after.recover_session(&vkey, if fresh { Start::Fresh } else { Start::Resumed })?;
        Ok(after)
    }

    fn recover_session(&mut self, vkey: &Vkey, start_kind: Start) -> Result<()> {
        let disk = Arc::clone(&self.ledger.machine().disk);
        let found = recover(&*disk, &self.session, vkey, start())?;
        if found.sealed || start_kind == Start::Resumed {
            // Sealed: nothing to say. Resumed: it was said when this log was made, and the tail is gone since.
            return Ok(());
        }
        let position = &found.position;
        let unsealed = crate::record::Recovery {
            size: position.range.size(),
            root: Digest(position.range.root()),
            kept: 0,
            dropped: 0,
            tail_h: None,
        };
        self.append(found.recovery.unwrap_or(unsealed))?;
        self.barrier()
    }

    /// Adds a record; it is in the file when this returns.
    ///
    /// # Errors
    /// As [`crate::SessionLog::append`]. Disclosures are refused: this log has no openings.
    pub fn append(&mut self, record: impl Into<Record>) -> Result<Receipt> {
        let record = record.into();
        if !record.disclosed.is_empty() {
            let why = "a follow-up log has no openings".to_owned();
            return Err(AuditError::Invalid { what: "a disclosure", why });
        }
        let receipt = self.chain.stage(&record, &[], &WallOnly(&*self.ledger.machine().clock))?;
        self.chain.flush()?;
        Ok(receipt)
    }

    /// Returns when everything appended so far is on disk: before the first file is touched.
    ///
    /// # Errors
    /// `Io` or `Poisoned`.
    pub fn barrier(&mut self) -> Result<()> {
        self.chain.commit(&WallOnly(&*self.ledger.machine().clock))?;
        self.chain.sync_all()
    }

    /// Signs what there is and tells the ledger. Without this an act is not complete.
    ///
    /// # Errors
    /// As any write.
    pub fn finish(mut self) -> Result<()> {
        self.barrier()?;
        let disk = Arc::clone(&self.ledger.machine().disk);
        let position = self.chain.position();
        let (size, root) = (position.range.size(), position.range.root());
        let note = self.signer.sign(size, &root);
        Checkpoints::open(Arc::clone(&disk), &self.dir)?.publish(&note, Settle::Now)?;
        let anchor = self.ledger.append(LedgerAfter { sid: self.sid.clone(), size, root: Digest(root) })?;
        replace(&*disk, &self.session.join("anchor-after.tlog-proof"), anchor.to_text().as_bytes(), Settle::Now)?;
        crate::tiles::publish(&*disk, &self.dir, &self.signer.vkey(), size)
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Start {
    Fresh,
    Resumed,
}

fn start() -> Position {
    Position { last_commit: Commit::FIRST, ..Position::default() }
}

fn read_vkey(ledger: &Ledger, session: &Path) -> Result<Vkey> {
    let path = session.join("vkey");
    let text = read_file(&*ledger.machine().disk, &path, NOTE_BYTES_MAX)?.unwrap_or_default();
    let vkey = std::str::from_utf8(&text).ok().and_then(Vkey::parse);
    vkey.ok_or_else(|| corrupt(&path, "there is no public key in it"))
}

/// The session whose log this key signs, if it is one of this ledger.
fn session_of(vkey: &Vkey, ledger: &Ledger) -> Option<SessionId> {
    let (_, sid) = vkey.name().rsplit_once('/')?;
    let sid = SessionId::parse(sid).ok()?;
    (session_origin(ledger.vkey().name(), &sid) == vkey.name()).then_some(sid)
}

/// A session whose writer died before the ledger knew of it is told to the ledger now, from its first leaf.
fn tell_ledger(ledger: &Ledger, session: &Path, vkey: &Vkey, sid: &SessionId) -> Result<()> {
    let disk = &*ledger.machine().disk;
    // Written when the ledger had it on disk; what the file holds does not matter here.
    if disk.len(&session.join(ANCHOR_OPEN)).is_ok() || ledger.knows(sid)? {
        return Ok(());
    }
    let mut first = None;
    let mut visit = |_, leaf: &[u8]| {
        first = first.take().or_else(|| parse_leaf(leaf).ok());
        Ok(())
    };
    walk(disk, session, vkey.name(), start(), &mut visit)?;
    match first.map(|leaf| leaf.body) {
        Some(Body::SessionOpen(open)) if open.sid == *sid => {
            let SessionOpen { sid, tool, profile_h, plan_h, .. } = open;
            ledger.append(LedgerOpen { sid, vkey: vkey.to_string(), tool, profile_h, plan_h }).map(drop)
        }
        Some(_) | None => Err(corrupt(session, "its log has no first record: nothing ran in it")),
    }
}

/// A start that was cut short before anything was acknowledged.
fn remove_empty_start(disk: &dyn crate::disk::Disk, dir: &Path) -> Result<()> {
    use crate::error::At as _;
    let segments = dir.join("seg");
    match disk.list(&segments) {
        Ok(names) => {
            for name in names {
                disk.remove(&segments.join(name)).at("remove", &segments)?;
            }
            Ok(())
        }
        Err(_) => Ok(()),
    }
}
