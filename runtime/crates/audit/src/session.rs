//! The log of a running session: append from any thread, durable in groups, signed, bound to the ledger.
//! It never drops a record, never acknowledges one that is not in the file, and after one failed write takes no more.

mod committer;
mod draft;
mod durable;

pub use draft::Draft;
pub use durable::Durable;

use crate::blob::{BLOBS_BYTES_MAX, BlobKey};
use crate::chain::{Chain, Receipt};
use crate::disclose::{Opening, SALT_BYTES};
use crate::disk::{Disk, DiskFile, Held, Owed, Wait, create_with, write_all};
use crate::error::{At as _, AuditError, Result};
use crate::ledger::{Ledger, Machine};
use crate::merkle::Hash;
use crate::note::Vkey;
use crate::proof::TlogProof;
use crate::query::{LEAVES_WORTH_AN_INDEX, prepare};
use crate::record::{
    BlobRef, Body, Cause, Digest, Heartbeat, LedgerBeat, LedgerClose, Record, SessionClose, SessionId, SessionOpen,
};
use crate::system::Clock;
use crate::tiles::Tiles;
use committer::{ENTRIES_PENDING_MAX, Pace};
use durable::Waiting;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::Waker;
use std::thread::JoinHandle;
use std::time::Instant;

/// Proof that the ledger knows a session.
pub(crate) const ANCHOR_OPEN: &str = "anchor-open.tlog-proof";
const ANCHOR_CLOSE: &str = "anchor-close.tlog-proof";

/// A session's log, open for appending. Dropping it without [`SessionLog::close`] leaves the session *interrupted*.
#[derive(Debug)]
pub struct SessionLog {
    shared: Arc<Shared>,
    ledger: Arc<Ledger>,
    dir: PathBuf,
    sid: SessionId,
    vkey: Vkey,
    blobs: BlobKey,
    blob_bytes: AtomicU64,
    committer: Option<JoinHandle<Result<Owed>>>,
    _lock: Box<dyn Held>,
}

/// What the appending threads and the committer share.
#[derive(Debug)]
struct Shared {
    machine: Machine,
    /// Monotonic time at which the session was opened.
    base_ns: u64,
    state: Mutex<State>,
    /// The committer waits here for work.
    work: Condvar,
    /// Appending threads wait here for the disk; who has no thread for it is in `State::waiting`.
    settled: Condvar,
}

#[derive(Debug)]
struct State {
    chain: Chain,
    openings: Arc<dyn DiskFile>,
    /// Openings written and not yet synced.
    openings_dirty: bool,
    counts: Vec<u64>,
    lost: u64,
    /// Leaves on disk, and the root over them.
    durable: (u64, Hash),
    waiting: Waiting,
    /// Threads that wait for `Shared::settled`.
    blocked: usize,
    pace: Pace,
    closed: bool,
    /// The latest signed checkpoint; empty until the first leaf is on disk.
    checkpoint: String,
}

/// What a closed session leaves behind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Closed {
    /// Leaves.
    pub size: u64,
    /// Root.
    pub root: Hash,
    /// The last signed checkpoint.
    pub checkpoint: String,
}

/// Monotonic time counts from the opening of the session.
struct Since<'a>(&'a dyn Clock, u64);

impl Clock for Since<'_> {
    fn wall_ns(&self) -> u64 {
        self.0.wall_ns()
    }

    fn mono_ns(&self) -> u64 {
        self.0.mono_ns().saturating_sub(self.1)
    }

    fn since_ns(&self, moment: Instant) -> u64 {
        self.0.since_ns(moment)
    }
}

/// Origin of the log of a session of this ledger.
#[must_use]
pub fn session_origin(ledger: &str, sid: &SessionId) -> String {
    format!("{ledger}/s/{sid}")
}

impl SessionLog {
    /// [`Draft::make`] and [`Draft::open`] in one.
    ///
    /// # Errors
    /// As the two.
    pub fn create(dir: &Path, ledger: Arc<Ledger>, open: SessionOpen) -> Result<Self> {
        Draft::make(dir, ledger, &open.sid)?.open(open)
    }

    /// Key that verifies this session's checkpoints; its name is the origin of the log.
    #[must_use]
    pub fn vkey(&self) -> &Vkey {
        &self.vkey
    }

    /// Where the log is.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Adds a record. When this returns, the leaf is in the file: the death of this process does not lose it. Within
    /// 50 ms it is on disk. Waits when the disk is too far behind.
    ///
    /// # Errors
    /// `TooLarge` or `Invalid` for a record that does not fit (nothing has happened), `Poisoned` or `Io` when the log
    /// takes no more: then nothing that depends on the record may go on.
    pub fn append(&self, record: impl Into<Record>) -> Result<Receipt> {
        let receipts = self.append_all(std::slice::from_ref(&record.into()))?;
        Ok(*receipts.last().expect("one record has one receipt"))
    }

    /// Adds several records with one write, in order.
    ///
    /// # Errors
    /// As [`SessionLog::append`]; of a record that does not fit, those before it are in the log.
    pub fn append_all(&self, records: &[Record]) -> Result<Vec<Receipt>> {
        self.append_until(records, Until::Written).map(|(receipts, _)| receipts)
    }

    /// [`SessionLog::append`], and on disk when this returns: for what cannot be taken back.
    ///
    /// # Errors
    /// As [`SessionLog::append`].
    pub fn append_durable(&self, record: impl Into<Record>) -> Result<Receipt> {
        let receipt = self.append(record)?;
        self.barrier()?;
        Ok(Receipt { durable: true, ..receipt })
    }

    /// [`SessionLog::append_all`], and on disk when this returns.
    ///
    /// # Errors
    /// As [`SessionLog::append_all`].
    pub fn append_all_durable(&self, records: &[Record]) -> Result<Vec<Receipt>> {
        let receipts = self.append_all(records)?;
        self.barrier()?;
        Ok(receipts.into_iter().map(|receipt| Receipt { durable: true, ..receipt }).collect())
    }

    /// Adds several records, in order. They are in the file and on disk when the answer is ready, and not known to be in
    /// either before: the thread that waits for the disk writes them, with what others add meanwhile. It begins to when the
    /// answer is polled, or 50 ms later.
    ///
    /// # Errors
    /// As [`SessionLog::append_all`].
    pub fn append_to_disk(&self, records: &[Record]) -> Result<Durable> {
        let (_, wanted) = self.append_until(records, Until::Durable)?;
        Ok(Durable::new(&self.shared, wanted))
    }

    /// Returns when everything appended so far is on disk. A checkpoint over it is signed within 50 ms.
    ///
    /// # Errors
    /// `Poisoned` when the disk failed.
    pub fn barrier(&self) -> Result<()> {
        let mut state = self.shared.lock();
        let wanted = state.chain.size();
        self.shared.want(&mut state, wanted);
        while state.durable.0 < wanted {
            state.chain.alive()?;
            state = self.shared.block(state);
        }
        Ok(())
    }

    /// Ends the log here: something happened that should be in it and is not, so it takes no more records, and its session
    /// counts as interrupted.
    pub fn fail(&self, why: &AuditError) {
        let mut state = self.shared.lock();
        state.chain.poison(why);
        self.shared.announce(state);
    }

    /// Stores content that is too large or too private for a leaf; the answer goes into a record. It is in the file when
    /// this returns, and on disk whenever the kernel likes: a blob can be lost with the power, its hash cannot.
    ///
    /// # Errors
    /// `TooLarge` beyond [`crate::BLOB_BYTES_MAX`] or the session's [`crate::BLOBS_BYTES_MAX`], `Io`.
    pub fn put_blob(&self, content: &[u8]) -> Result<BlobRef> {
        let sum = self.blob_bytes.fetch_add(content.len() as u64, Ordering::Relaxed) + content.len() as u64;
        if sum > BLOBS_BYTES_MAX {
            self.blob_bytes.fetch_sub(content.len() as u64, Ordering::Relaxed);
            let bytes_max = usize::try_from(BLOBS_BYTES_MAX).unwrap_or(usize::MAX);
            return Err(AuditError::TooLarge { what: "the session's blobs", bytes: content.len(), bytes_max });
        }
        self.blobs.put(&self.shared.machine, &self.dir, content)
    }

    /// The latest signed checkpoint. It covers everything up to the last barrier but for that of the last 50 ms, or to about
    /// a second ago. Waits for the first, which follows the opening; empty when the disk failed before that.
    #[must_use]
    pub fn checkpoint(&self) -> String {
        let mut state = self.shared.lock();
        while state.checkpoint.is_empty() && state.chain.alive().is_ok() {
            state = self.shared.block(state);
        }
        state.checkpoint.clone()
    }

    /// Counts events that could not be recorded and says so in the log: the session can no longer be complete.
    ///
    /// # Errors
    /// As [`SessionLog::append`].
    pub fn gap(&self, lost: u64, why: impl Into<String>) -> Result<Receipt> {
        self.shared.lock().lost += lost;
        self.append(crate::record::Gap { lost, why: why.into() })
    }

    /// Says, here and in the ledger, that the session is alive and how far it is. To be called every 30 s.
    ///
    /// # Errors
    /// As [`SessionLog::append`] and [`Ledger::append`].
    pub fn heartbeat(&self, running: u64) -> Result<()> {
        let lost = self.shared.lock().lost;
        self.append(Heartbeat { running, lost })?;
        self.barrier()?;
        let (size, root) = self.shared.lock().durable;
        self.ledger.append(LedgerBeat { sid: self.sid.clone(), size, root: Digest(root) })?;
        Ok(())
    }

    /// Writes the last leaf, seals and signs the log, wipes its key, and tells the ledger. All of it is on disk when this
    /// returns, after three waits: for the leaves; for their signature with the ledger's leaf; for the ledger's signature.
    ///
    /// # Errors
    /// As [`SessionLog::append`] and [`Ledger::append`]. The session is then interrupted.
    pub fn close(mut self, cause: Cause, status: i32) -> Result<Closed> {
        let (size, root) = self.seal(cause, status)?;
        let disk = &*Arc::clone(&self.shared.machine.disk);
        let (dir, vkey) = (self.dir.clone(), self.vkey.clone());
        std::thread::scope(|scope| {
            // Beside the waits: they are derived from what is in the file by now.
            let tiles = scope.spawn(|| Tiles::write(disk, &dir, &vkey, size));
            if size >= LEAVES_WORTH_AN_INDEX {
                scope.spawn(|| prepare(disk, &dir));
            }
            let signed = self.join()?;
            let closing = LedgerClose { sid: self.sid.clone(), size, root: Digest(root), cause, status };
            let mut written = None;
            let then = |proof: &TlogProof| {
                let path = dir.join(ANCHOR_CLOSE);
                let mut owed = Owed::default();
                owed.file(&path, create_with(disk, &path, proof.to_text().as_bytes())?);
                owed.dir(&dir);
                let (tiles, tile_files) = tiles.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
                written = Some(tiles);
                Ok(owed.and(tile_files))
            };
            self.ledger.append_with(closing, signed, then)?;
            written.map_or(Ok(()), |tiles| tiles.publish(disk))?;
            Ok(Closed { size, root, checkpoint: self.shared.lock().checkpoint.clone() })
        })
    }

    fn seal(&self, cause: Cause, status: i32) -> Result<(u64, Hash)> {
        let mut state = self.shared.lock();
        let counted = Body::KINDS.iter().zip(&state.counts).filter(|(_, n)| **n > 0);
        let counts: BTreeMap<String, u64> = counted.map(|(kind, n)| ((*kind).to_owned(), *n)).collect();
        let last = Record::new(SessionClose { cause, status, counts, lost: state.lost });
        self.stage_all(&mut state, &[last], &[Vec::new()])?;
        state.closed = true;
        let clock = Since(&*self.shared.machine.clock, self.shared.base_ns);
        state.chain.seal(&clock)
    }

    /// The receipts, and the size of the log with the records.
    fn append_until(&self, records: &[Record], until: Until) -> Result<(Vec<Receipt>, u64)> {
        let openings = records.iter().map(|record| self.open_all(record)).collect::<Result<Vec<_>>>()?;
        let mut state = self.shared.lock();
        while state.chain.size() - state.durable.0 >= ENTRIES_PENDING_MAX && state.chain.alive().is_ok() {
            state = self.shared.block(state);
        }
        let staged = self.stage_all(&mut state, records, &openings);
        let size = state.chain.size();
        let done = match (until, staged) {
            (Until::Durable, Ok(receipts)) => Ok(receipts),
            // Of several records, those before one that does not fit are in the log.
            (Until::Written | Until::Durable, staged) => state.chain.flush().and(staged),
        };
        if state.chain.alive().is_err() {
            self.shared.announce(state);
        } else if state.pace.wants_commit(size - state.durable.0) {
            self.shared.rouse(&mut state);
        }
        done.map(|receipts| (receipts, size))
    }

    fn stage_all(&self, state: &mut State, records: &[Record], openings: &[Vec<Opening>]) -> Result<Vec<Receipt>> {
        if state.closed {
            return Err(AuditError::Invalid { what: "a record", why: "the session is closed".to_owned() });
        }
        let clock = Since(&*self.shared.machine.clock, self.shared.base_ns);
        let both = records.iter().zip(openings);
        both.map(|(record, openings)| self.stage_one(state, record, openings, &clock)).collect()
    }

    fn stage_one(
        &self,
        state: &mut State,
        record: &Record,
        openings: &[Opening],
        clock: &dyn Clock,
    ) -> Result<Receipt> {
        let digests: Vec<Hash> = openings.iter().map(Opening::digest).collect();
        let receipt = state.chain.stage(record, &digests, clock)?;
        if !openings.is_empty() {
            // Before the leaf is flushed: a leaf in the file has its opening in the file.
            let lines: String = openings.iter().flat_map(|opening| [opening.as_str(), "\n"]).collect();
            let path = self.dir.join("open").join("openings");
            if let Err(error) = write_all(&*state.openings, lines.as_bytes()).at("write", &path) {
                state.chain.poison(&error);
                return Err(error);
            }
            state.openings_dirty = true;
        }
        count(&mut state.counts, &record.body);
        Ok(receipt)
    }

    fn open_all(&self, record: &Record) -> Result<Vec<Opening>> {
        let random = &self.shared.machine.random;
        let open = |value: &crate::disclose::Disclosed| {
            let mut salt = [0; SALT_BYTES];
            random.fill(&mut salt).at("draw a salt from", Path::new("the random generator"))?;
            value.opening(salt)
        };
        record.disclosed.iter().map(open).collect()
    }

    /// Ends the committer after everything is on disk, and signed. The signature is owed.
    fn join(&mut self) -> Result<Owed> {
        let Some(committer) = self.committer.take() else { return Ok(Owed::default()) };
        self.shared.lock().pace.stop = true;
        self.shared.work.notify_one();
        match committer.join() {
            Ok(result) => result,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    }
}

impl Drop for SessionLog {
    fn drop(&mut self) {
        if let Some(committer) = self.committer.take() {
            self.shared.lock().pace.stop = true;
            self.shared.work.notify_one();
            // An error has poisoned the log already and was or will be seen by whoever appends; there is nobody here to tell.
            drop(committer.join());
        }
    }
}

impl Shared {
    /// A panic elsewhere does not make the state wrong: it changes only through whole steps of `Chain`.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Somebody waits until the disk has so many leaves.
    fn want(&self, state: &mut State, size: u64) {
        if state.durable.0 < size {
            state.pace.barrier = state.pace.barrier.max(size);
            self.rouse(state);
        }
    }

    /// Wakes the committer where it sleeps: a system call, so not for one that is awake and looks again by itself.
    fn rouse(&self, state: &mut State) {
        if state.pace.rouse() {
            self.work.notify_one();
        }
    }

    /// Blocks this thread until something is announced.
    fn block<'a>(&self, mut state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
        state.blocked += 1;
        let mut state = self.settled.wait(state).unwrap_or_else(PoisonError::into_inner);
        state.blocked -= 1;
        state
    }

    /// Tells all whose wait is over: the disk has more than before, or the log takes no more.
    fn announce(&self, mut state: MutexGuard<'_, State>) {
        let size = if state.chain.alive().is_ok() { state.durable.0 } else { u64::MAX };
        let released = state.waiting.release(size);
        let is_blocked = state.blocked > 0;
        drop(state);
        released.into_values().for_each(Waker::wake);
        if is_blocked {
            // A system call, so not for nobody.
            self.settled.notify_all();
        }
    }
}

/// What an append does before it returns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Until {
    /// It writes the records to the file.
    Written,
    /// It leaves that to whoever waits for the disk to have them.
    Durable,
}

fn count(counts: &mut [u64], body: &Body) {
    if let Some(n) = counts.get_mut(body.index()) {
        *n += 1;
    }
}

/// Takes the lock of a session's directory: held by its writer while it lives.
pub(crate) fn lock_session(disk: &dyn Disk, dir: &Path) -> Result<Box<dyn Held>> {
    let path = dir.join("lock");
    match disk.lock(&path, Wait::Never) {
        Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => Err(AuditError::Busy { path: dir.to_owned() }),
        other => other.at("lock", &path),
    }
}
