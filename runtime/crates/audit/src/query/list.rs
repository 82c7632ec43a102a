//! The sessions of a host, as its ledger and their first leaves know them.
//! It never opens more of a session than its first leaf.

use super::LogReader;
use crate::disk::{Disk, Wait};
use crate::error::Result;
use crate::frame;
use crate::record::{Body, Cause, SessionId, SessionOpen, parse_leaf};
use crate::system::SystemDisk;
use std::collections::HashSet;
use std::ffi::OsString;
use std::io::Read as _;
use std::path::Path;
use std::sync::Arc;

/// How a session stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SessionState {
    /// Its writer holds its lock.
    Running,
    /// Closed in good order.
    Closed {
        /// Why it ended.
        cause: Cause,
        /// Its exit status.
        status: i32,
    },
    /// Nobody writes it, and it was not closed.
    Interrupted,
    /// Its directory is not there.
    Gone,
}

/// One session, as the ledger and its first leaf say.
#[derive(Debug, Clone, PartialEq)]
pub struct SessionSummary {
    /// Which.
    pub sid: SessionId,
    /// When it was opened, wall clock, ns since 1970.
    pub opened_ns: u64,
    /// When it was closed.
    pub closed_ns: Option<u64>,
    /// Leaves, as last reported to the ledger.
    pub size: Option<u64>,
    /// How it stands.
    pub state: SessionState,
    /// Its first leaf, if it can be read.
    pub open: Option<SessionOpen>,
}

/// The sessions that a ledger knows, and those that ended before it did, in the order in which they were opened.
///
/// # Errors
/// As reading the ledger.
pub fn list_sessions(ledger: &Path, sessions: &Path) -> Result<Vec<SessionSummary>> {
    let disk: Arc<dyn Disk> = Arc::new(SystemDisk);
    let log = LogReader::open_on(Arc::clone(&disk), ledger)?;
    let mut list: Vec<SessionSummary> = Vec::new();
    log.each(&mut |leaf| {
        let wall_ns = leaf.wall_ns;
        let find = |list: &mut Vec<SessionSummary>, sid: &SessionId, act: &dyn Fn(&mut SessionSummary)| {
            if let Some(session) = list.iter_mut().rev().find(|session| session.sid == *sid) {
                act(session);
            }
        };
        if let Body::LedgerOpen(open) = leaf.body {
            let (opened_ns, state) = (wall_ns, SessionState::Interrupted);
            list.push(SessionSummary { sid: open.sid, opened_ns, closed_ns: None, size: None, state, open: None });
        } else if let Body::LedgerBeat(beat) = leaf.body {
            find(&mut list, &beat.sid, &|session| session.size = Some(beat.size));
        } else if let Body::LedgerClose(close) = leaf.body {
            find(&mut list, &close.sid, &|session| {
                session.size = Some(close.size);
                session.closed_ns = Some(wall_ns);
                session.state = SessionState::Closed { cause: close.cause, status: close.status };
            });
        }
        Ok(())
    })?;
    let known: HashSet<SessionId> = list.iter().map(|session| session.sid.clone()).collect();
    list.extend(unknown(&*disk, sessions, &known));
    list.sort_by_key(|session| session.opened_ns);
    for session in &mut list {
        let dir = sessions.join(session.sid.as_str());
        if disk.list(&dir).is_err() {
            session.state = SessionState::Gone;
            continue;
        }
        session.open = first_leaf(&*disk, &dir).map(|(_, open)| open);
        if session.state == SessionState::Interrupted && is_running(&*disk, &dir) {
            session.state = SessionState::Running;
        }
    }
    Ok(list)
}

/// Whether somebody holds the lock of a session's log.
pub(super) fn is_running(disk: &dyn Disk, dir: &Path) -> bool {
    let lock = dir.join("lock");
    disk.len(&lock).is_ok() && disk.lock(&lock, Wait::Never).is_err()
}

/// Sessions that the ledger does not know: it is told beside the first calls, and whoever was killed before could not.
fn unknown(disk: &dyn Disk, sessions: &Path, known: &HashSet<SessionId>) -> Vec<SessionSummary> {
    let named = |name: OsString| SessionId::parse(name.into_string().ok()?).ok();
    let names = disk.list(sessions).unwrap_or_default().into_iter().filter_map(named);
    names
        .filter(|sid| !known.contains(sid))
        .filter_map(|sid| {
            let (opened_ns, _) = first_leaf(disk, &sessions.join(sid.as_str()))?;
            let state = SessionState::Interrupted;
            Some(SessionSummary { sid, opened_ns, closed_ns: None, size: None, state, open: None })
        })
        .collect()
}

/// When a session was opened, and its first leaf.
pub(super) fn first_leaf(disk: &dyn Disk, dir: &Path) -> Option<(u64, SessionOpen)> {
    let reader = disk.read(&crate::chain::segment_path(dir, 0), 0).ok()?;
    let mut bytes = Vec::new();
    reader.take(4 * frame::LEAF_BYTES_MAX as u64).read_to_end(&mut bytes).ok()?;
    let (frames, _) = frame::scan(&bytes);
    let entry = frames.into_iter().find(|frame| frame.kind == frame::Kind::Entry)?;
    let leaf = parse_leaf(entry.payload).ok()?;
    if let Body::SessionOpen(open) = leaf.body { Some((leaf.wall_ns, open)) } else { None }
}
