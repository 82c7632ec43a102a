//! Reading a log to answer questions: records, values, paths, processes, proofs.
//! It never prints, and never says that a log is right: that is what [`crate::verify`] is for.

mod export;
mod filter;
mod glob;
mod index;
mod list;
mod ocsf;
mod otlp;
mod pages;
mod process;
mod seen;
mod subject;
mod time;
mod tool;
mod why;

use crate::after::after_origin;
use crate::blob::BlobKey;
use crate::chain::Position;
use crate::disclose::{Disclosed, OPENING_BYTES_MAX, Opening};
use crate::disk::{Disk, read_file};
use crate::error::{AuditError, Result, corrupt};
use crate::frame::Commit;
use crate::merkle::{Hash, inclusion_path, leaf_hash, root_of, sha256};
use crate::note::{NOTE_BYTES_MAX, SignedCheckpoint, Vkey};
use crate::proof::TlogProof;
use crate::record::{BlobRef, Digest, Leaf, SessionOpen, parse_head, parse_leaf};
use crate::scan::{WalkEnd, walk};
use crate::small::SmallIndex;
use crate::system::SystemDisk;
pub use filter::{FIELDS, Filter, FilterError};
pub use glob::Glob;
pub use index::Index;
pub(crate) use index::{LEAVES_WORTH_AN_INDEX, prepare};
pub use list::{SessionState, SessionSummary, list_sessions};
pub use process::{Called, Decided, Exec, Mark, Names, Process, Tree};
use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
pub use subject::{can_change, change_of, host_of, path_of, paths_of, process_of, program_of, tool_of};
pub use time::utc;
pub use tool::Tool;
pub use why::Why;

/// Bytes of an `openings` file that are read.
const OPENINGS_BYTES_MAX: usize = 1 << 30;

const _: () = assert!(OPENING_BYTES_MAX < OPENINGS_BYTES_MAX);

/// A log, open for reading. Checksums, positions and commits are checked on the way, signatures are not.
#[derive(Debug, Clone)]
pub struct LogReader {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    vkey: Vkey,
    small: Arc<Mutex<SmallIndex>>,
}

/// Whether values behind digests are shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Disclose {
    /// Only the digests.
    No,
    /// Each value whose opening is there.
    Yes,
}

/// A leaf that was asked for, with its bytes: what was hashed.
#[derive(Debug, Clone, PartialEq)]
pub struct Found {
    /// The leaf.
    pub leaf: Leaf,
    /// Its bytes.
    pub bytes: Vec<u8>,
}

/// How the walk through a log ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// At the seal: the session was closed.
    Sealed,
    /// After the last whole record of a session that is running.
    Running,
    /// After the last whole record; nobody writes the log, and it was not closed.
    Interrupted,
}

impl LogReader {
    /// The log of a session, or a ledger.
    ///
    /// # Errors
    /// `Corrupt` when there is no key in the directory, `Io`.
    pub fn open(dir: &Path) -> Result<Self> {
        Self::open_on(Arc::new(SystemDisk), dir)
    }

    /// [`LogReader::open`] on any disk.
    ///
    /// # Errors
    /// As there.
    pub fn open_on(disk: Arc<dyn Disk>, dir: &Path) -> Result<Self> {
        let path = dir.join("vkey");
        let text = read_file(&*disk, &path, NOTE_BYTES_MAX)?.unwrap_or_default();
        let vkey = std::str::from_utf8(&text).ok().and_then(Vkey::parse);
        let vkey = vkey.ok_or_else(|| corrupt(&path, "there is no public key in it"))?;
        Ok(Self { disk, dir: dir.to_owned(), vkey, small: Arc::default() })
    }

    /// The follow-up log of a session, if there is one.
    #[must_use]
    pub fn after(&self, ledger: &Vkey) -> Option<Self> {
        let dir = self.dir.join("after");
        let vkey = ledger.renamed(&after_origin(self.vkey.name()))?;
        let there = self.disk.list(&dir).is_ok_and(|names| !names.is_empty());
        there.then(|| Self { disk: Arc::clone(&self.disk), dir, vkey, small: Arc::default() })
    }

    /// What a session's first leaf says; `None` where it cannot be read, and of logs that are no session's.
    #[must_use]
    pub fn opening(&self) -> Option<SessionOpen> {
        list::first_leaf(&*self.disk, &self.dir).map(|(_, open)| open)
    }

    /// Identity of the log.
    #[must_use]
    pub fn origin(&self) -> &str {
        self.vkey.name()
    }

    fn start() -> Position {
        Position { last_commit: Commit::FIRST, ..Position::default() }
    }

    /// Shows every leaf's bytes, in order: what was hashed.
    ///
    /// # Errors
    /// As [`LogReader::each`].
    pub fn each_bytes(&self, visit: &mut dyn FnMut(u64, &[u8]) -> Result<()>) -> Result<End> {
        let walked = walk(&*self.disk, &self.dir, self.vkey.name(), Self::start(), visit)?;
        Ok(match walked.end {
            WalkEnd::Sealed => End::Sealed,
            WalkEnd::Open | WalkEnd::Rolled | WalkEnd::Torn(_) if list::is_running(&*self.disk, &self.dir) => {
                End::Running
            }
            WalkEnd::Open | WalkEnd::Rolled | WalkEnd::Torn(_) => End::Interrupted,
        })
    }

    /// Shows every leaf, in order. A torn end is where it stops.
    ///
    /// # Errors
    /// `Corrupt`, `Newer`, `Io`, or what `visit` says.
    pub fn each(&self, visit: &mut dyn FnMut(Leaf) -> Result<()>) -> Result<End> {
        self.each_bytes(&mut |n, bytes| visit(self.leaf(n, bytes)?))
    }

    fn leaf(&self, n: u64, bytes: &[u8]) -> Result<Leaf> {
        parse_leaf(bytes).map_err(|error| corrupt(&self.dir, format!("leaf {n}: {error}")))
    }

    /// Leaf `n`, with its bytes.
    ///
    /// # Errors
    /// As [`LogReader::each`].
    pub fn record(&self, n: u64) -> Result<Option<(Leaf, Vec<u8>)>> {
        let mut found = None;
        self.each_bytes(&mut |at, bytes| {
            if at == n {
                found = Some((self.leaf(n, bytes)?, bytes.to_vec()));
            }
            Ok(())
        })?;
        Ok(found)
    }

    /// The leaves that a filter lets through, in order.
    ///
    /// # Errors
    /// As [`LogReader::each`].
    pub fn query(&self, filter: &Filter) -> Result<Vec<Found>> {
        let mut found = Vec::new();
        self.query_each(filter, &mut |leaf, bytes| {
            found.push(Found { leaf, bytes: bytes.to_vec() });
            Ok(())
        })?;
        Ok(found)
    }

    /// Shows each leaf that a filter lets through, in order, with its bytes.
    ///
    /// # Errors
    /// As [`LogReader::each`], or what `visit` says.
    pub fn query_each(&self, filter: &Filter, visit: &mut dyn FnMut(Leaf, &[u8]) -> Result<()>) -> Result<()> {
        if (filter.path().is_some() || filter.process().is_some())
            && let Some(index) = Index::worthwhile(self)?
            && let Some(found) = index.query(self, filter)?
        {
            return found.into_iter().try_for_each(|found| visit(found.leaf, &found.bytes));
        }
        self.each_bytes(&mut |n, bytes| {
            let head = parse_head(bytes).map_err(|error| corrupt(&self.dir, format!("leaf {n}: {error}")))?;
            if filter.head(&head) {
                let leaf = self.leaf(n, bytes)?;
                if filter.body(&leaf) {
                    visit(leaf, bytes)?;
                }
            }
            Ok(())
        })
        .map(drop)
    }

    /// The calls and processes of a session.
    ///
    /// # Errors
    /// As [`LogReader::each`].
    pub fn tree(&self) -> Result<(Tree, End)> {
        let mut tree = Tree::default();
        let end = self.each(&mut |leaf| {
            tree.take(&leaf);
            Ok(())
        })?;
        Ok((tree, end))
    }

    /// Proof that leaf `n` is in the tree of the latest signed checkpoint.
    ///
    /// # Errors
    /// `Invalid` when that checkpoint does not cover the leaf, `Corrupt` when it does not match the leaves.
    pub fn prove(&self, n: u64) -> Result<TlogProof> {
        let path = self.dir.join("checkpoint");
        let note = read_file(&*self.disk, &path, NOTE_BYTES_MAX)?.and_then(|note| String::from_utf8(note).ok());
        let note = note.ok_or_else(|| corrupt(&path, "there is no checkpoint"))?;
        let signed = SignedCheckpoint::parse(&note);
        let checkpoint = signed.as_ref().and_then(|signed| signed.verify(&self.vkey));
        let checkpoint = checkpoint.ok_or_else(|| corrupt(&path, "it is not signed by the key of the log"))?;
        if n >= checkpoint.size {
            let why = format!("the latest checkpoint covers {} leaves, leaf {n} is not among them", checkpoint.size);
            return Err(AuditError::Invalid { what: "a proof", why });
        }
        let (mut hashes, mut extra): (Vec<Hash>, Vec<u8>) = (Vec::new(), Vec::new());
        self.each_bytes(&mut |at, bytes| {
            if at < checkpoint.size {
                hashes.push(leaf_hash(bytes));
            }
            if at == n {
                extra = bytes.to_vec();
            }
            Ok(())
        })?;
        if root_of(&hashes) != checkpoint.root {
            return Err(corrupt(&self.dir, "the leaves do not match the latest checkpoint"));
        }
        let index = usize::try_from(n).expect("it indexes a vector in memory");
        let path = inclusion_path(&hashes, index).expect("below the size of the checkpoint");
        Ok(TlogProof { extra: Some(extra), index: n, path, checkpoint: note })
    }

    /// The values behind digests whose openings are there, by digest.
    ///
    /// # Errors
    /// `Io`, or `Corrupt` for an `openings` file that is too large.
    pub fn disclosed(&self) -> Result<HashMap<Hash, Disclosed>> {
        self.openings(|_| true)
    }

    /// The same, of these digests only: a log can have very many.
    ///
    /// # Errors
    /// As there.
    pub fn opened(&self, digests: impl IntoIterator<Item = Digest>) -> Result<HashMap<Hash, Disclosed>> {
        let wanted: HashSet<Hash> = digests.into_iter().map(|digest| digest.0).collect();
        if wanted.is_empty() { Ok(HashMap::new()) } else { self.openings(|digest| wanted.contains(digest)) }
    }

    fn openings(&self, wanted: impl Fn(&Hash) -> bool) -> Result<HashMap<Hash, Disclosed>> {
        let bytes = read_file(&*self.disk, &self.dir.join("open").join("openings"), OPENINGS_BYTES_MAX)?;
        let bytes = bytes.unwrap_or_default();
        let lines = bytes.split(|b| *b == b'\n').map(|line| (sha256(line), line));
        let lines = lines.filter(|(digest, _)| wanted(digest));
        let opened = lines
            .filter_map(|(digest, line)| Some((digest, Opening::parse(std::str::from_utf8(line).ok()?)?.reveal()?)));
        Ok(opened.collect())
    }

    /// The content of a blob; `None` when it, or the key of the session's blobs, is gone.
    ///
    /// # Errors
    /// `Corrupt` when what is stored is not what the record names.
    pub fn blob(&self, blob: &BlobRef) -> Result<Option<Vec<u8>>> {
        match BlobKey::load(&*self.disk, &self.dir, self.vkey.name())? {
            Some(key) => {
                let mut small = self.small.lock().unwrap_or_else(PoisonError::into_inner);
                key.get(&*self.disk, &self.dir, blob, &mut small)
            }
            None => Ok(None),
        }
    }

    /// A reader that gives new leaves as they come.
    #[must_use]
    pub fn tail(&self) -> Tail {
        Tail { log: self.clone(), position: Self::start(), sealed: false }
    }
}

/// New leaves of a log, as they come.
#[derive(Debug)]
pub struct Tail {
    log: LogReader,
    position: Position,
    sealed: bool,
}

impl Tail {
    /// The leaves that came since the last call. `None` once the log is sealed and all were given.
    ///
    /// # Errors
    /// As [`LogReader::each`].
    #[expect(clippy::should_implement_trait, reason = "an empty answer is not the end, as it would be for an iterator")]
    pub fn next(&mut self) -> Result<Option<Vec<Found>>> {
        if self.sealed {
            return Ok(None);
        }
        let mut leaves = Vec::new();
        let from = self.position.clone();
        let log = &self.log;
        let walked = walk(&*log.disk, &log.dir, log.vkey.name(), from, &mut |n, bytes| {
            leaves.push(Found { leaf: log.leaf(n, bytes)?, bytes: bytes.to_vec() });
            Ok(())
        })?;
        self.sealed = walked.end == WalkEnd::Sealed;
        self.position = walked.position;
        Ok(Some(leaves))
    }
}
