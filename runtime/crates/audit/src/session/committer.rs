//! The one thread of a session's log that waits for the disk: commits in groups, syncs, then signs.
//! It never signs what is not on disk, and never holds the lock while the disk works.

use super::{ANCHOR_OPEN, Shared, Since, State};
use crate::disk::{Owed, create_with};
use crate::error::{At as _, Result};
use crate::ledger::Ledger;
use crate::merkle::Hash;
use crate::note::Signer;
use crate::publish::Checkpoints;
use crate::record::LedgerOpen;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// It reads and writes small things; a stack as large as usual would be a megabyte more to map.
const STACK_BYTES: usize = 256 * 1024;
/// A group is committed when it has this many leaves…
const GROUP_ENTRIES: u64 = 4096;
/// …or is this old: so a power cut loses at most this much of ordinary records.
const GROUP_MS: u64 = 50;
/// A checkpoint is signed at least this often while there is something new.
const SIGN_MS: u64 = 1000;
/// Leaves that may wait for the disk before appending waits too. With leaves of at most 8 KiB this bounds the data at
/// risk; a typical leaf has 250 bytes, so that a megabyte is about one group.
pub(super) const ENTRIES_PENDING_MAX: u64 = 4 * GROUP_ENTRIES;

const _: () = assert!(GROUP_MS < SIGN_MS, "what is signed was committed before");

/// What tells the committer to act.
#[derive(Debug, Default)]
pub(super) struct Pace {
    /// Everything below this leaf is wanted on disk now.
    pub(super) barrier: u64,
    /// The end: commit, sync and sign what there is, then return.
    pub(super) stop: bool,
    /// Whether the committer sleeps without a deadline.
    idle: bool,
}

impl Pace {
    /// Whether the committer has to be woken for this many pending leaves.
    pub(super) fn wants_commit(&self, pending: u64) -> bool {
        self.idle || pending >= GROUP_ENTRIES
    }
}

pub(super) struct Committer {
    shared: Arc<Shared>,
    signer: Signer,
    dir: PathBuf,
    signed: u64,
    signed_at: Instant,
    /// What only the end of the log waits for.
    owed: Owed,
}

/// What is left to do for a log whose first leaf is in its file.
pub(super) struct Opening {
    pub(super) ledger: Arc<Ledger>,
    /// What the ledger is told, once the leaf is on disk: it must not know a session that a power cut has taken.
    pub(super) record: LedgerOpen,
    pub(super) owed: Owed,
    pub(super) size: u64,
    pub(super) root: Hash,
}

/// A group that was written and is to be synced.
struct Group {
    size: u64,
    root: Hash,
    owed: Owed,
    urgency: Urgency,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Urgency {
    /// Somebody waits for it.
    Barrier,
    /// Nobody does.
    Ordinary,
    /// The log ends.
    Last,
}

impl Committer {
    pub(super) fn new(shared: Arc<Shared>, signer: Signer, dir: &Path) -> Self {
        let (dir, owed) = (dir.to_owned(), Owed::default());
        Self { shared, signer, dir, signed: 0, signed_at: Instant::now(), owed }
    }

    pub(super) fn spawn(self, opening: Opening) -> Result<JoinHandle<Result<Owed>>> {
        let dir = self.dir.clone();
        std::thread::Builder::new()
            .name("audit-commit".to_owned())
            .stack_size(STACK_BYTES)
            .spawn(move || self.run(opening))
            .at("start the log thread of", &dir)
    }

    /// Until the log ends. Returns what its end owes beside the leaves.
    fn run(mut self, opening: Opening) -> Result<Owed> {
        let done = self.live(opening);
        if let Err(error) = &done {
            self.shared.lock().chain.poison(error);
            self.shared.settled.notify_all();
        }
        done.map(|()| self.owed)
    }

    fn live(&mut self, opening: Opening) -> Result<()> {
        let mut checkpoints = self.open(opening)?;
        while self.turn(&mut checkpoints)? != Urgency::Last {}
        Ok(())
    }

    /// The first leaf comes to disk, is signed, and is told to the ledger. No barrier returns before.
    fn open(&mut self, opening: Opening) -> Result<Checkpoints> {
        let Opening { ledger, record, owed, size, root } = opening;
        let disk = Arc::clone(&self.shared.machine.disk);
        owed.settle(&*disk)?;
        let note = self.signer.sign(size, &root);
        let checkpoints = Checkpoints::open(Arc::clone(&disk), &self.dir)?;
        checkpoints.add(&note)?;
        let anchor = self.dir.join(ANCHOR_OPEN);
        let proof = ledger.append(record)?;
        self.owed.file(&anchor, create_with(&*disk, &anchor, proof.to_text().as_bytes())?);
        (self.signed, self.signed_at) = (size, Instant::now());
        let mut state = self.shared.lock();
        state.durable = (size, root);
        state.checkpoint = note;
        self.shared.settled.notify_all();
        Ok(checkpoints)
    }

    fn turn(&mut self, checkpoints: &mut Checkpoints) -> Result<Urgency> {
        let group = self.next_group()?;
        group.owed.settle(&*self.shared.machine.disk)?;
        self.shared.lock().durable = (group.size, group.root);
        self.shared.settled.notify_all();
        let due = self.signed_at.elapsed() >= Duration::from_millis(SIGN_MS);
        if group.size > self.signed && (group.urgency != Urgency::Ordinary || due) {
            let note = self.signer.sign(group.size, &group.root);
            checkpoints.add(&note)?;
            let latest = checkpoints.latest(&note)?;
            if group.urgency == Urgency::Last {
                checkpoints.owe(&mut self.owed);
                latest.owe(&mut self.owed);
            }
            latest.take_place(&*self.shared.machine.disk)?;
            (self.signed, self.signed_at) = (group.size, Instant::now());
            self.shared.lock().checkpoint = note;
        }
        Ok(group.urgency)
    }

    /// Waits until a group is due, and writes its commit.
    fn next_group(&self) -> Result<Group> {
        let mut state = self.shared.lock();
        let mut since: Option<Instant> = None;
        let urgency = loop {
            state.chain.alive()?;
            let pending = state.chain.size() - state.durable.0;
            if state.pace.stop {
                break Urgency::Last;
            }
            if state.pace.barrier > state.durable.0 {
                break Urgency::Barrier;
            }
            let unsigned = state.durable.0 > self.signed;
            let wait = match (pending, unsigned) {
                (GROUP_ENTRIES.., _) => break Urgency::Ordinary,
                (0, false) => None,
                (0, true) => Some(Duration::from_millis(SIGN_MS).saturating_sub(self.signed_at.elapsed())),
                (_, _) => {
                    let start = *since.get_or_insert_with(Instant::now);
                    Some(Duration::from_millis(GROUP_MS).saturating_sub(start.elapsed()))
                }
            };
            state.pace.idle = pending == 0;
            state = match wait {
                Some(Duration::ZERO) => break Urgency::Ordinary,
                Some(wait) => self.shared.work.wait_timeout(state, wait).unwrap_or_else(PoisonError::into_inner).0,
                None => self.shared.work.wait(state).unwrap_or_else(PoisonError::into_inner),
            }
        };
        state.pace.idle = false;
        self.write_commit(&mut state, urgency)
    }

    fn write_commit(&self, state: &mut State, urgency: Urgency) -> Result<Group> {
        let clock = Since(&*self.shared.machine.clock, self.shared.base_ns);
        let (size, root) = state.chain.commit(&clock)?;
        let mut owed = Owed::default();
        state.chain.owe(&mut owed);
        if std::mem::take(&mut state.openings_dirty) {
            owed.file(Path::new("open/openings"), Arc::clone(&state.openings));
        }
        Ok(Group { size, root, owed, urgency })
    }
}
