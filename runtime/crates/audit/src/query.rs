//! Reading a log to answer questions: records, values, paths, processes, proofs.
//! It never prints, and never says that a log is right: that is what [`crate::verify`] is for.

mod filter;
mod index;
mod list;
mod pages;

use crate::after::after_origin;
use crate::blob::BlobKey;
use crate::chain::Position;
use crate::disclose::{Disclosed, OPENING_BYTES_MAX, Opening};
use crate::disk::{Disk, read_file};
use crate::error::{AuditError, Result, corrupt};
use crate::frame::Commit;
use crate::merkle::{Hash, inclusion_path, leaf_hash, root_of};
use crate::note::{NOTE_BYTES_MAX, SignedCheckpoint, Vkey};
use crate::proof::TlogProof;
use crate::record::{
    Act, Apply, BlobRef, Body, CallId, Discard, Leaf, LogPath, ProcExit, Undo, parse_head, parse_leaf,
};
use crate::scan::{WalkEnd, walk};
use crate::system::SystemDisk;
pub use filter::{Filter, FilterError, Glob};
pub use index::Index;
pub use list::{SessionState, SessionSummary, list_sessions};
use std::collections::{BTreeMap, HashMap};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Bytes of an `openings` file that are read.
const OPENINGS_BYTES_MAX: usize = 1 << 30;

const _: () = assert!(OPENING_BYTES_MAX < OPENINGS_BYTES_MAX);

/// A log, open for reading. Checksums, positions and commits are checked on the way, signatures are not.
#[derive(Debug, Clone)]
pub struct LogReader {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    vkey: Vkey,
}

/// Whether values behind digests are shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Disclose {
    /// Only the digests.
    No,
    /// Each value whose opening is there.
    Yes,
}

/// A process of a session.
#[derive(Debug, Clone, PartialEq)]
pub struct Process {
    /// Leaf of its end.
    pub n: u64,
    /// Call that it belongs to.
    pub call: Option<CallId>,
    /// Its end.
    pub exit: ProcExit,
    /// Processes that it started, by stable id.
    pub children: Vec<Process>,
}

/// Why a path is as it is: one change, and the records that explain it.
#[derive(Debug, Clone, PartialEq)]
pub struct Why {
    /// The change.
    pub change: Leaf,
    /// Call, decision and result of the same name, in the order of the log.
    pub because: Vec<Leaf>,
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
        Ok(Self { disk, dir: dir.to_owned(), vkey })
    }

    /// The follow-up log of a session, if there is one.
    #[must_use]
    pub fn after(&self, ledger: &Vkey) -> Option<Self> {
        let dir = self.dir.join("after");
        let vkey = ledger.renamed(&after_origin(self.vkey.name()))?;
        let there = self.disk.list(&dir).is_ok_and(|names| !names.is_empty());
        there.then(|| Self { disk: Arc::clone(&self.disk), dir, vkey })
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
    pub fn each_bytes(&self, visit: &mut dyn FnMut(u64, &[u8]) -> Result<()>) -> Result<()> {
        self.each_raw(visit).map(drop)
    }

    fn each_raw(&self, visit: &mut dyn FnMut(u64, &[u8]) -> Result<()>) -> Result<Position> {
        let walked = walk(&*self.disk, &self.dir, self.vkey.name(), Self::start(), visit)?;
        Ok(walked.position)
    }

    /// Shows every leaf, in order. A torn end is where it stops.
    ///
    /// # Errors
    /// `Corrupt`, `Newer`, `Io`, or what `visit` says.
    pub fn each(&self, visit: &mut dyn FnMut(Leaf) -> Result<()>) -> Result<()> {
        self.each_raw(&mut |n, bytes| visit(self.leaf(n, bytes)?)).map(drop)
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
        self.each_raw(&mut |at, bytes| {
            if at == n {
                found = Some((self.leaf(n, bytes)?, bytes.to_vec()));
            }
            Ok(())
        })?;
        Ok(found)
    }

    /// The leaves that a filter lets through.
    ///
    /// # Errors
    /// As [`LogReader::each`].
    pub fn query(&self, filter: &Filter) -> Result<Vec<Leaf>> {
        if let Some(path) = filter.path()
            && let Some(index) = Index::worthwhile(self)?
        {
            return index.query(self, path, filter);
        }
        let mut found = Vec::new();
        self.each_raw(&mut |n, bytes| {
            let head = parse_head(bytes).map_err(|error| corrupt(&self.dir, format!("leaf {n}: {error}")))?;
            if filter.head(&head) {
                let leaf = self.leaf(n, bytes)?;
                if filter.path_of(&leaf) {
                    found.push(leaf);
                }
            }
            Ok(())
        })?;
        Ok(found)
    }

    /// The processes of a session, as trees; one whose parent is unknown is a root.
    ///
    /// # Errors
    /// As [`LogReader::each`].
    pub fn tree(&self) -> Result<Vec<Process>> {
        let mut flat = BTreeMap::new();
        self.each(&mut |leaf| {
            if let Body::ProcExit(exit) = leaf.body {
                flat.insert(exit.p, Process { n: leaf.n, call: leaf.call, exit, children: Vec::new() });
            }
            Ok(())
        })?;
        let mut roots = Vec::new();
        // A child has a larger id than its parent, so that taking the largest first finds each parent still there.
        while let Some((p, mut process)) = flat.pop_last() {
            process.children.reverse();
            match process.exit.pp.filter(|pp| *pp < p).and_then(|pp| flat.get_mut(&pp)) {
                Some(parent) => parent.children.push(process),
                None => roots.push(process),
            }
        }
        roots.reverse();
        Ok(roots)
    }

    /// The changes of the paths that a glob names, each with the records of its call.
    ///
    /// # Errors
    /// As [`LogReader::each`].
    pub fn why(&self, glob: &Glob) -> Result<Vec<Why>> {
        let index = Index::open(self)?;
        let changes = index.find(self, glob)?;
        let calls = changes.iter().filter_map(|leaf| leaf.call.clone()).collect::<std::collections::BTreeSet<_>>();
        let mut by_call: HashMap<CallId, Vec<Leaf>> = HashMap::new();
        for (call, leaf) in index.calls(self, &calls)? {
            by_call.entry(call).or_default().push(leaf);
        }
        let because = |leaf: &Leaf| leaf.call.as_ref().and_then(|call| by_call.get(call)).cloned().unwrap_or_default();
        Ok(changes.into_iter().map(|change| Why { because: because(&change), change }).collect())
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
        self.each_raw(&mut |at, bytes| {
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
        let bytes = read_file(&*self.disk, &self.dir.join("open").join("openings"), OPENINGS_BYTES_MAX)?;
        let bytes = bytes.unwrap_or_default();
        let lines = bytes.split(|b| *b == b'\n').filter_map(|line| Opening::parse(std::str::from_utf8(line).ok()?));
        Ok(lines.filter_map(|opening| Some((opening.digest(), opening.reveal()?))).collect())
    }

    /// The content of a blob; `None` when it, or the key of the session's blobs, is gone.
    ///
    /// # Errors
    /// `Corrupt` when what is stored is not what the record names.
    pub fn blob(&self, blob: &BlobRef) -> Result<Option<Vec<u8>>> {
        match BlobKey::load(&*self.disk, &self.dir, self.vkey.name())? {
            Some(key) => key.get(&*self.disk, &self.dir, blob),
            None => Ok(None),
        }
    }

    /// Writes one leaf a line, as it is in the log; with [`Disclose::Yes`], openings as extra lines `{"opening":…}` right
    /// after the leaf that has their digests.
    ///
    /// # Errors
    /// As [`LogReader::each`]; an error of `out` names the log's directory.
    pub fn export_jsonl(&self, out: &mut dyn Write, disclose: Disclose) -> Result<()> {
        use crate::error::At as _;
        let openings = match disclose {
            Disclose::No => HashMap::new(),
            Disclose::Yes => self.disclosed()?,
        };
        self.each_raw(&mut |n, bytes| {
            out.write_all(bytes).and_then(|()| out.write_all(b"\n")).at("export", &self.dir)?;
            if openings.is_empty() {
                return Ok(());
            }
            for digest in self.leaf(n, bytes)?.disclosed {
                if let Some(Disclosed { name, value }) = openings.get(&digest.0) {
                    let line =
                        serde_json::json!({"opening": crate::text::base64url(&digest.0), "name": name, "value": value});
                    writeln!(out, "{line}").at("export", &self.dir)?;
                }
            }
            Ok(())
        })?;
        Ok(())
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
    pub fn next(&mut self) -> Result<Option<Vec<Leaf>>> {
        if self.sealed {
            return Ok(None);
        }
        let mut leaves = Vec::new();
        let from = self.position.clone();
        let log = &self.log;
        let walked = walk(&*log.disk, &log.dir, log.vkey.name(), from, &mut |n, bytes| {
            leaves.push(log.leaf(n, bytes)?);
            Ok(())
        })?;
        self.sealed = walked.end == WalkEnd::Sealed;
        self.position = walked.position;
        Ok(Some(leaves))
    }
}

/// The path that a leaf is about.
#[must_use]
pub fn path_of(body: &Body) -> Option<&LogPath> {
    if let Body::FsOutcome(change)
    | Body::Apply(Apply(Act::File(change)))
    | Body::Discard(Discard(Act::File(change)))
    | Body::Undo(Undo(Act::File(change))) = body
    {
        return Some(&change.path);
    }
    None
}
