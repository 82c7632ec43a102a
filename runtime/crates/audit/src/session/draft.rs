//! The files of a session's log before its first leaf, so that they can be made while other things are being set up.
//! It never holds a record: a draft that is not opened is removed again.

use super::committer::{Committer, Opening, Pace};
use super::durable::Waiting;
use super::{SessionLog, Shared, Since, State, count, lock_session, session_origin};
use crate::blob::BlobKey;
use crate::chain::{Chain, segment_path};
use crate::disk::{Disk, DiskFile, Held, Owed, create_with};
use crate::error::{At as _, AuditError, Result};
use crate::ledger::Ledger;
use crate::merkle::Range;
use crate::note::Signer;
use crate::record::{Body, LedgerOpen, Record, SessionId, SessionOpen};
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Condvar, Mutex};

/// A session's log that has no leaf yet. Dropping it removes its files.
#[derive(Debug)]
pub struct Draft {
    sid: SessionId,
    ledger: Arc<Ledger>,
    dir: PathBuf,
    signer: Signer,
    chain: Chain,
    openings: Arc<dyn DiskFile>,
    blobs: BlobKey,
    /// Everything so far.
    owed: Owed,
    remains: Remains,
    lock: Box<dyn Held>,
}

impl Draft {
    /// Makes the directory `dir` (its parent exists) and in it the files of a new session's log. Nothing is on disk yet.
    ///
    /// # Errors
    /// `Exposed` when others could write the parent, `Io`. Nothing is left behind.
    pub fn make(dir: &Path, ledger: Arc<Ledger>, sid: &SessionId) -> Result<Self> {
        let machine = ledger.machine().clone();
        let disk = &machine.disk;
        let parent = dir.parent().ok_or_else(|| crate::error::corrupt(dir, "a session's directory has a parent"))?;
        disk.check_dir(parent)?;
        disk.create_dir(dir).at("create directory", dir)?;
        let remains = Remains(Some((Arc::clone(disk), dir.to_owned())));
        let lock = lock_session(&**disk, dir)?;
        let origin = session_origin(ledger.vkey().name(), sid);
        let signer = Signer::from_seed(&origin, &*machine.seed()?);
        let vkey = dir.join("vkey");
        let mut owed = Owed::default();
        owed.file(&vkey, create_with(&**disk, &vkey, format!("{}\n", signer.vkey()).as_bytes())?);
        let open = dir.join("open");
        disk.create_dir(&open).at("create directory", &open)?;
        let openings = disk.create(&open.join("openings")).at("create", &open.join("openings"))?;
        let blobs = BlobKey::create(&machine, dir, &origin)?;
        let kept = dir.join("blobs");
        disk.create_dir(&kept).at("create directory", &kept)?;
        let chain = Chain::create(Arc::clone(disk), dir, &origin)?;
        for names in [&open, &dir.join("seg"), dir, parent] {
            owed.dir(names);
        }
        let (sid, dir) = (sid.clone(), dir.to_owned());
        Ok(Self { sid, ledger, dir, signer, chain, openings, blobs, owed, remains, lock })
    }

    /// Writes the first leaf. It is in the file when this returns. On disk, and in the ledger, it is as any other leaf:
    /// at the next barrier, or a moment later.
    ///
    /// # Errors
    /// `Invalid` when `open` is another session's, `Io`.
    pub fn open(mut self, open: SessionOpen) -> Result<SessionLog> {
        if open.sid != self.sid {
            let why = format!("it is of session {}, and this is {}", open.sid, self.sid);
            return Err(AuditError::Invalid { what: "a first record", why });
        }
        let machine = self.ledger.machine().clone();
        let base_ns = machine.clock.mono_ns();
        let clock = Since(&*machine.clock, base_ns);
        let known = LedgerOpen {
            sid: open.sid.clone(),
            vkey: self.signer.vkey().to_string(),
            tool: open.tool.clone(),
            profile_h: open.profile_h,
            plan_h: open.plan_h,
        };
        let first = Record::new(open);
        let mut counts = vec![0; Body::KINDS.len()];
        count(&mut counts, &first.body);
        self.chain.stage(&first, &[], &clock)?;
        let (size, root) = self.chain.commit(&clock)?;
        // From here on there is something to keep.
        self.remains.0 = None;
        let mut owed = self.owed;
        self.chain.owe(&mut owed);
        let opening = Opening { ledger: Arc::clone(&self.ledger), record: known, owed, size, root };
        let state = State {
            chain: self.chain,
            openings: self.openings,
            openings_dirty: false,
            counts,
            lost: 0,
            durable: (0, Range::default().root()),
            waiting: Waiting::default(),
            blocked: 0,
            pace: Pace::default(),
            closed: false,
            checkpoint: String::new(),
        };
        let state = Mutex::new(state);
        let shared = Arc::new(Shared { machine, base_ns, state, work: Condvar::new(), settled: Condvar::new() });
        let (dir, vkey) = (self.dir, self.signer.vkey());
        let committer = Some(Committer::new(Arc::clone(&shared), self.signer, &dir).spawn(opening)?);
        let (ledger, sid, blobs) = (self.ledger, self.sid, self.blobs);
        Ok(SessionLog {
            shared,
            ledger,
            dir,
            sid,
            vkey,
            blobs,
            blob_bytes: AtomicU64::new(0),
            committer,
            _lock: self.lock,
        })
    }
}

/// Removes what was made of a log that is not to be.
#[derive(Debug)]
struct Remains(Option<(Arc<dyn Disk>, PathBuf)>);

impl Drop for Remains {
    fn drop(&mut self) {
        let Some((disk, dir)) = self.0.take() else { return };
        let (open, seg, blobs) = (dir.join("open"), dir.join("seg"), dir.join("blobs"));
        let names =
            [open.join("openings"), open.join("blob-key"), segment_path(&dir, 0), dir.join("vkey"), dir.join("lock")];
        // What cannot be removed is a log without a leaf: it says that nothing ran.
        names.iter().for_each(|name| drop(disk.remove(name)));
        [open, seg, blobs, dir].iter().for_each(|name| drop(disk.remove_dir(name)));
    }
}
