//! An index of paths and calls, so that `why` and questions by path do not read all of a large log. Derived: it is built
//! again whenever it does not belong to exactly this log.
//! The verifier never looks at it, and every answer it leads to is read from the log itself.

use super::pages::{Directory, Pages, Seen};
use super::{Filter, Glob, LogReader, path_of};
use crate::chain::segment_path;
use crate::disk::{Settle, replace};
use crate::error::{At as _, Result, corrupt};
use crate::frame::{self, HEADER_BYTES, LEAF_BYTES_MAX};
use crate::record::{CallId, Leaf, parse_head, parse_leaf};
use crate::scan::{Blocks, SegmentEnd};
use std::collections::BTreeSet;
use std::io::{ErrorKind, Read as _};

/// Below this a walk through the log is as fast.
const LOG_BYTES_WORTH_AN_INDEX: u64 = 4 << 20;
/// What is read of a segment at once: leaves that lie together come together.
const WINDOW_BYTES: usize = 2 * (HEADER_BYTES + LEAF_BYTES_MAX);

/// Where leaves with a given key are, as segment number and offset in one number.
type Postings = Vec<u64>;

/// An index of a log.
#[derive(Debug)]
pub struct Index {
    /// By path.
    paths: Directory,
    /// By call: its `call`, `permit`, `deny`, `limit` and `result` records.
    calls: Directory,
    pages: Pages,
}

impl Index {
    /// The index of a log: from its file if that belongs to this log, else made anew, and stored when the log is large.
    ///
    /// # Errors
    /// As reading the log.
    pub fn open(log: &LogReader) -> Result<Self> {
        match Self::worthwhile(log)? {
            Some(index) => Ok(index),
            None => Self::build(log),
        }
    }

    /// The same, unless the log is so small that a walk through it is as good.
    pub(super) fn worthwhile(log: &LogReader) -> Result<Option<Self>> {
        let stamp = Stamp::of(log)?;
        let path = log.dir.join("idx").join("index");
        if let Some(([paths, calls], pages)) = Pages::open(&*log.disk, &path, &stamp.bytes) {
            return Ok(Some(Self { paths, calls, pages }));
        }
        if stamp.log_bytes < LOG_BYTES_WORTH_AN_INDEX {
            return Ok(None);
        }
        let index = Self::build(log)?;
        if let Some(bytes) = index.pages.to_file(&stamp.bytes, [&index.paths, &index.calls]) {
            // It is only faster with a file: a directory that cannot be written is no reason to refuse an answer.
            drop(log.disk.create_dir(&log.dir.join("idx")));
            drop(replace(&*log.disk, &path, &bytes, Settle::Later));
        }
        Ok(Some(index))
    }

    fn build(log: &LogReader) -> Result<Self> {
        let (mut paths, mut calls) = (Seen::default(), Seen::default());
        let start = LogReader::start();
        let mut blocks = Blocks::new(&*log.disk, &log.dir, &start);
        let mut leaves = 0u64;
        'blocks: while let Some(block) = blocks.next()? {
            for (start, kind) in &block.frames {
                if *kind != frame::Kind::Entry {
                    continue;
                }
                let Ok(frame) = frame::parse(&block.bytes[*start..]) else { break 'blocks };
                leaves += 1;
                let place = u64::from(block.segment) << 32 | (block.offset + *start as u64);
                let wrong = |error| corrupt(&log.dir, format!("leaf {}: {error}", leaves - 1));
                let head = parse_head(frame.payload).map_err(wrong)?;
                match head.kind {
                    "fs.outcome" | "apply" | "discard" | "undo" => {
                        if let Some(path) = path_of(&head.leaf().map_err(wrong)?.body) {
                            paths.add(&path.0, place)?;
                        }
                    }
                    "call" | "permit" | "deny" | "limit" | "result" => {
                        if let Some(call) = head.call {
                            calls.add(call.as_bytes(), place)?;
                        }
                    }
                    _ => {}
                }
            }
            if matches!(block.end, Some(SegmentEnd::Broken(_))) {
                break;
            }
            blocks.recycle(block.bytes);
        }
        let mut pages = Vec::new();
        let (paths, calls) = (paths.into_pages(&mut pages)?, calls.into_pages(&mut pages)?);
        Ok(Self { paths, calls, pages: Pages::Memory(pages) })
    }

    /// The leaves about paths that a glob matches, in the order of the log.
    ///
    /// # Errors
    /// As reading the log.
    pub fn find(&self, log: &LogReader, glob: &Glob) -> Result<Vec<Leaf>> {
        self.query(log, glob, &Filter::default())
    }

    /// Those of them that a filter lets through.
    pub(super) fn query(&self, log: &LogReader, glob: &Glob, filter: &Filter) -> Result<Vec<Leaf>> {
        let mut places = self.ask(log, |index| {
            let mut places = Postings::new();
            let mut take = |key: &[u8], found: &mut dyn Iterator<Item = u64>| {
                if glob.matches(key) {
                    places.extend(found);
                }
            };
            let literal = glob.literal_prefix();
            let whole = index.paths.each_from(&index.pages, &*log.disk, literal, glob.is_literal(), &mut take);
            whole.then_some(places)
        })?;
        places.sort_unstable();
        let mut leaves = Vec::new();
        let mut window = Window::default();
        for place in places {
            let payload = window.leaf(log, place)?;
            let wrong = |error| corrupt(&log.dir, format!("a leaf of its index: {error}"));
            let head = parse_head(payload).map_err(wrong)?;
            if filter.head(&head) {
                let leaf = head.leaf().map_err(wrong)?;
                if path_of(&leaf.body).is_some_and(|path| glob.matches(&path.0)) && filter.path_of(&leaf) {
                    leaves.push(leaf);
                }
            }
        }
        Ok(leaves)
    }

    pub(super) fn calls(&self, log: &LogReader, calls: &BTreeSet<CallId>) -> Result<Vec<(CallId, Leaf)>> {
        let mut found = Vec::new();
        let mut window = Window::default();
        for call in calls {
            let key = call.as_str().as_bytes();
            let places = self.ask(log, |index| {
                let mut places = Postings::new();
                let mut take = |_: &[u8], found: &mut dyn Iterator<Item = u64>| places.extend(found);
                index.calls.each_from(&index.pages, &*log.disk, key, true, &mut take).then_some(places)
            })?;
            for place in places {
                let leaf = parse_leaf(window.leaf(log, place)?);
                found.push((call.clone(), leaf.map_err(|error| corrupt(&log.dir, error.to_string()))?));
            }
        }
        Ok(found)
    }

    /// What `ask` finds here; when the file is damaged, or another process has put another in its place, in a new index.
    fn ask(&self, log: &LogReader, ask: impl Fn(&Self) -> Option<Postings>) -> Result<Postings> {
        if let Some(places) = ask(self) {
            return Ok(places);
        }
        Ok(ask(&Self::build(log)?).expect("an index in memory is whole"))
    }
}

/// What an index must have been made from: the length of each segment, and the end of the last, where its last commit is.
struct Stamp {
    bytes: Vec<u8>,
    log_bytes: u64,
}

impl Stamp {
    fn of(log: &LogReader) -> Result<Self> {
        let mut stamp = Self { bytes: Vec::new(), log_bytes: 0 };
        for number in 0.. {
            let path = segment_path(&log.dir, number);
            match log.disk.len(&path) {
                Ok(len) => {
                    stamp.bytes.extend_from_slice(&len.to_le_bytes());
                    stamp.log_bytes += len;
                }
                Err(error) if error.kind() == ErrorKind::NotFound && number > 0 => {
                    let last = segment_path(&log.dir, number - 1);
                    let len = log.disk.len(&last).at("look at", &last)?;
                    let reader = log.disk.read(&last, len.saturating_sub(256)).at("open", &last)?;
                    reader.take(256).read_to_end(&mut stamp.bytes).at("read", &last)?;
                    break;
                }
                Err(error) => return Err(error).at("look at", &path),
            }
        }
        Ok(stamp)
    }
}

/// A part of a segment, to read leaves from that lie near each other.
#[derive(Default)]
struct Window {
    /// Place of its first byte.
    start: u64,
    bytes: Vec<u8>,
}

impl Window {
    /// The leaf at this place, its checksum checked.
    fn leaf(&mut self, log: &LogReader, place: u64) -> Result<&[u8]> {
        let path = || segment_path(&log.dir, u32::try_from(place >> 32).expect("shifted"));
        if frame::parse(self.from(place)).is_err() {
            let reader = log.disk.read(&path(), place & 0xffff_ffff).at("open", &path())?;
            self.bytes.clear();
            reader.take(WINDOW_BYTES as u64).read_to_end(&mut self.bytes).at("read", &path())?;
            self.start = place;
        }
        let frame = frame::parse(self.from(place)).map_err(|error| corrupt(&path(), error.text()))?;
        Ok(frame.payload)
    }

    fn from(&self, place: u64) -> &[u8] {
        let at = place.checked_sub(self.start).and_then(|at| usize::try_from(at).ok());
        at.and_then(|at| self.bytes.get(at..)).unwrap_or_default()
    }
}
