//! The one thread of a session's log that waits for the disk: commits in groups, syncs, then signs.
//! It never signs what is not on disk, and never holds the lock while the disk works.

use super::{ANCHOR_OPEN, Shared, Since, State};
use crate::disk::{Owed, create_with};
use crate::error::{At as _, AuditError, Result};
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
/// What a barrier has put on disk is signed this long after the signature before: at once where none was made lately, and
/// not for each of many barriers. What is durable is what the frames say; a signature says it to others.
const SIGN_BARRIER_MS: u64 = 50;
/// Anything else that is new is signed this long after the signature before.
const SIGN_MS: u64 = 1000;
/// Leaves that may wait for the disk before appending waits too. With leaves of at most 8 KiB this bounds the data at
/// risk; a typical leaf has 250 bytes, so that a megabyte is about one group.
pub(super) const ENTRIES_PENDING_MAX: u64 = 4 * GROUP_ENTRIES;

const _: () = assert!(GROUP_MS < SIGN_MS && SIGN_BARRIER_MS < SIGN_MS, "what is signed was committed before");

/// What tells the committer to act.
#[derive(Debug, Default)]
pub(super) struct Pace {
    /// Everything below this leaf is wanted on disk now.
    pub(super) barrier: u64,
    /// The end: commit, sync and sign what there is, then return.
    pub(super) stop: bool,
    sleep: Sleep,
}

/// What the committer does at present. It says so itself; whoever rouses it says `Awake`.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Sleep {
    /// It works, or is about to: it will look at the state again before it sleeps.
    #[default]
    Awake,
    /// It will wake in time for whatever is appended now.
    Timed,
    /// It sleeps until it is told that there is something.
    Idle,
}

impl Pace {
    /// Whether the committer has to be woken for this many pending leaves.
    pub(super) fn wants_commit(&self, pending: u64) -> bool {
        match self.sleep {
            Sleep::Awake => false,
            Sleep::Timed => pending >= GROUP_ENTRIES,
            Sleep::Idle => true,
        }
    }

    /// Whether the committer sleeps, and is to be woken: once.
    pub(super) fn rouse(&mut self) -> bool {
        std::mem::replace(&mut self.sleep, Sleep::Awake) != Sleep::Awake
    }
}

pub(super) struct Committer {
    shared: Arc<Shared>,
    signer: Signer,
    dir: PathBuf,
    /// Leaves on disk, and the root over them.
    durable: (u64, Hash),
    /// Since when leaves may have been pending: the last group, so that a leaf that comes soon after one wakes nobody.
    /// `None` where none has come for as long as a group may take; then the next one does wake us.
    since: Option<Instant>,
    signed: u64,
    signed_at: Instant,
    /// How long after `signed_at` what is not signed yet will be.
    sign_after: Duration,
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

/// What the committer does next.
enum Step {
    /// Puts a group on disk.
    Commit(Group),
    /// Signs what is there.
    Sign,
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
        let (dir, owed, durable) = (dir.to_owned(), Owed::default(), shared.lock().durable);
        let sign_after = Duration::from_millis(SIGN_MS);
        let now = Instant::now();
        Self { shared, signer, dir, durable, since: Some(now), signed: 0, signed_at: now, sign_after, owed }
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
            let mut state = self.shared.lock();
            state.chain.poison(error);
            self.shared.announce(state);
        }
        done.map(|()| std::mem::take(&mut self.owed))
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
        (self.durable, self.signed, self.signed_at) = ((size, root), size, Instant::now());
        let mut state = self.shared.lock();
        state.durable = self.durable;
        state.checkpoint = note;
        self.shared.announce(state);
        Ok(checkpoints)
    }

    fn turn(&mut self, checkpoints: &mut Checkpoints) -> Result<Urgency> {
        let urgency = match self.next_step()? {
            Step::Commit(group) => self.settle(group)?,
            Step::Sign => Urgency::Ordinary,
        };
        let due = urgency == Urgency::Last || self.until_signature() == Some(Duration::ZERO);
        if due && self.durable.0 > self.signed {
            self.sign(checkpoints, urgency)?;
        }
        Ok(urgency)
    }

    /// Puts a group on disk, and tells all who wait for it.
    fn settle(&mut self, group: Group) -> Result<Urgency> {
        group.owed.settle(&*self.shared.machine.disk)?;
        self.durable = (group.size, group.root);
        if group.urgency == Urgency::Barrier {
            self.sign_after = Duration::from_millis(SIGN_BARRIER_MS);
        }
        let mut state = self.shared.lock();
        state.durable = self.durable;
        self.shared.announce(state);
        Ok(group.urgency)
    }

    /// Time until what is on disk is signed; `None` when all of it is.
    fn until_signature(&self) -> Option<Duration> {
        (self.durable.0 > self.signed).then(|| self.sign_after.saturating_sub(self.signed_at.elapsed()))
    }

    fn sign(&mut self, checkpoints: &Checkpoints, urgency: Urgency) -> Result<()> {
        let (size, root) = self.durable;
        let note = self.signer.sign(size, &root);
        checkpoints.add(&note)?;
        let latest = checkpoints.latest(&note)?;
        if urgency == Urgency::Last {
            checkpoints.owe(&mut self.owed);
            latest.owe(&mut self.owed);
        }
        latest.take_place(&*self.shared.machine.disk)?;
        (self.signed, self.signed_at, self.sign_after) = (size, Instant::now(), Duration::from_millis(SIGN_MS));
        self.shared.lock().checkpoint = note;
        Ok(())
    }

    /// Waits until a group or a signature is due; of a group, writes the commit.
    fn next_step(&mut self) -> Result<Step> {
        const GROUP: Duration = Duration::from_millis(GROUP_MS);
        let mut state = self.shared.lock();
        let urgency = loop {
            state.chain.alive()?;
            let pending = state.chain.size() - state.durable.0;
            if state.pace.stop {
                break Urgency::Last;
            }
            if state.pace.barrier > state.durable.0 {
                break Urgency::Barrier;
            }
            let group = match (pending, self.since.map(|since| GROUP.saturating_sub(since.elapsed()))) {
                (GROUP_ENTRIES.., _) | (1.., Some(Duration::ZERO)) => break Urgency::Ordinary,
                (1.., None) => {
                    self.since = Some(Instant::now());
                    Some(GROUP)
                }
                (0, Some(Duration::ZERO) | None) => {
                    self.since = None;
                    None
                }
                (_, left @ Some(_)) => left,
            };
            let signature = self.until_signature();
            if signature == Some(Duration::ZERO) {
                return Ok(Step::Sign);
            }
            state.pace.sleep = if self.since.is_some() { Sleep::Timed } else { Sleep::Idle };
            state = match group.into_iter().chain(signature).min() {
                Some(wait) => self.shared.work.wait_timeout(state, wait).unwrap_or_else(PoisonError::into_inner).0,
                None => self.shared.work.wait(state).unwrap_or_else(PoisonError::into_inner),
            };
            state.pace.sleep = Sleep::Awake;
        };
        self.since = Some(Instant::now());
        self.write_commit(&mut state, urgency).map(Step::Commit)
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

impl Drop for Committer {
    fn drop(&mut self) {
        if std::thread::panicking() {
            // Whoever waits for the disk would wait for ever.
            let mut state = self.shared.lock();
            state.chain.poison(&AuditError::Invalid { what: "a group", why: "the log's thread panicked".to_owned() });
            self.shared.announce(state);
        }
    }
}
