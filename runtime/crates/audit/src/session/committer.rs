//! The one thread of a session's log that waits for the disk: commits in groups, syncs, then signs.
//! It never signs what is not on disk, and never holds the lock while the disk works.

use super::{Shared, Since, State};
use crate::disk::Settle;
use crate::error::{At as _, Result};
use crate::merkle::Hash;
use crate::note::Signer;
use crate::publish::Checkpoints;
use std::path::Path;
use std::sync::{Arc, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

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
    checkpoints: Checkpoints,
    signed: u64,
    signed_at: Instant,
}

/// A group that was written and is to be synced.
struct Group {
    size: u64,
    root: Hash,
    file: Arc<dyn crate::disk::DiskFile>,
    openings: Option<Arc<dyn crate::disk::DiskFile>>,
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
    pub(super) fn new(shared: Arc<Shared>, signer: Signer, checkpoints: Checkpoints) -> Self {
        Self { shared, signer, checkpoints, signed: 1, signed_at: Instant::now() }
    }

    pub(super) fn spawn(self, dir: &Path) -> Result<JoinHandle<Result<()>>> {
        std::thread::Builder::new()
            .name("audit-commit".to_owned())
            .spawn(move || self.run())
            .at("start the log thread of", dir)
    }

    fn run(mut self) -> Result<()> {
        let done = loop {
            match self.turn() {
                Ok(Urgency::Last) => break Ok(()),
                Ok(Urgency::Barrier | Urgency::Ordinary) => {}
                Err(error) => break Err(error),
            }
        };
        if let Err(error) = &done {
            self.shared.lock().chain.poison(error);
            self.shared.settled.notify_all();
        }
        done
    }

    fn turn(&mut self) -> Result<Urgency> {
        let group = self.next_group()?;
        group.file.sync().at("sync", Path::new("the log"))?;
        if let Some(openings) = &group.openings {
            openings.sync().at("sync", Path::new("the openings"))?;
        }
        self.shared.lock().durable = (group.size, group.root);
        self.shared.settled.notify_all();
        let due = self.signed_at.elapsed() >= Duration::from_millis(SIGN_MS);
        if group.size > self.signed && (group.urgency != Urgency::Ordinary || due) {
            let settle = if group.urgency == Urgency::Last { Settle::Content } else { Settle::Later };
            let note = self.signer.sign(group.size, &group.root);
            self.checkpoints.publish(&note, settle)?;
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
        let openings = std::mem::take(&mut state.openings_dirty).then(|| Arc::clone(&state.openings));
        Ok(Group { size, root, file: state.chain.file(), openings, urgency })
    }
}
