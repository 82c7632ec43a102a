//! An index of paths, calls and processes, so that `why` and questions by path or process do not read all of a large log.
//! Derived: it is built again whenever it does not belong to exactly this log.
//! The verifier never looks at it, and every answer it leads to is read from the log itself.

use super::pages::{Directory, Pages, Seen};
use super::subject::{paths_of, process_of};
use super::{Filter, Found, Glob, LogReader};
use crate::chain::segment_path;
use crate::disk::{Settle, replace};
use crate::error::{At as _, Result, corrupt};
use crate::frame::{self, HEADER_BYTES, LEAF_BYTES_MAX};
use crate::record::{Body, Head, LeafError, parse_head};
use crate::scan::{Blocks, SegmentEnd};
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
    /// By process: where it came from, what it executed, how it ended.
    lives: Directory,
    /// By process: everything.
    acts: Directory,
    pages: Pages,
}

/// A key of the tables of processes.
fn process_key(p: u64) -> [u8; 8] {
    p.to_be_bytes()
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
        if let Some(([paths, calls, lives, acts], pages)) = Pages::open(&*log.disk, &path, &stamp.bytes) {
            return Ok(Some(Self { paths, calls, lives, acts, pages }));
        }
        if stamp.log_bytes < LOG_BYTES_WORTH_AN_INDEX {
            return Ok(None);
        }
        let index = Self::build(log)?;
        let tables = [&index.paths, &index.calls, &index.lives, &index.acts];
        if let Some(bytes) = index.pages.to_file(&stamp.bytes, tables) {
            // It is only faster with a file: a directory that cannot be written is no reason to refuse an answer.
            drop(log.disk.create_dir(&log.dir.join("idx")));
            drop(replace(&*log.disk, &path, &bytes, Settle::Later));
        }
        Ok(Some(index))
    }

    fn build(log: &LogReader) -> Result<Self> {
        let mut tables = Tables::default();
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
                let wrong = |error: LeafError| corrupt(&log.dir, format!("leaf {}: {error}", leaves - 1));
                tables.add(&parse_head(frame.payload).map_err(wrong)?, place)?.map_err(wrong)?;
            }
            if matches!(block.end, Some(SegmentEnd::Broken(_))) {
                break;
            }
            blocks.recycle(block.bytes);
        }
        let mut pages = Vec::new();
        let mut table = |seen: Seen| seen.into_pages(&mut pages);
        let (paths, calls) = (table(tables.paths)?, table(tables.calls)?);
        let (lives, acts) = (table(tables.lives)?, table(tables.acts)?);
        Ok(Self { paths, calls, lives, acts, pages: Pages::Memory(pages) })
    }

    /// The leaves about paths that a glob matches, in the order of the log.
    ///
    /// # Errors
    /// As reading the log.
    pub fn find(&self, log: &LogReader, glob: &Glob) -> Result<Vec<Found>> {
        let places = self.ask(log, |index| index.places_of_paths(log, glob))?;
        let about = |body: &Body| paths_of(body).any(|path| glob.matches(&path.0));
        read(log, places, &Filter::default(), about)
    }

    /// What a filter lets through, by the table that has least of it; `None` when none of them has what it asks for.
    pub(super) fn query(&self, log: &LogReader, filter: &Filter) -> Result<Option<Vec<Found>>> {
        let path = filter.path();
        let by_path = path.filter(|path| path.is_literal() || filter.process().is_none());
        if let Some(path) = by_path {
            let places = self.ask(log, |index| index.places_of_paths(log, path))?;
            return read(log, places, filter, |_| true).map(Some);
        }
        let Some(p) = filter.process() else { return Ok(None) };
        let places = self.ask(log, |index| index.places(log, &index.acts, &process_key(p)))?;
        read(log, places, filter, |_| true).map(Some)
    }

    /// The records of a call itself.
    pub(super) fn of_call(&self, log: &LogReader, call: &str) -> Result<Vec<Found>> {
        let places = self.ask(log, |index| index.places(log, &index.calls, call.as_bytes()))?;
        read(log, places, &Filter::default(), |_| true)
    }

    /// The records of a process's life: start, executions, end.
    pub(super) fn of_process(&self, log: &LogReader, p: u64) -> Result<Vec<Found>> {
        let places = self.ask(log, |index| index.places(log, &index.lives, &process_key(p)))?;
        read(log, places, &Filter::default(), |_| true)
    }

    fn places_of_paths(&self, log: &LogReader, glob: &Glob) -> Option<Postings> {
        let mut places = Postings::new();
        let mut take = |key: &[u8], found: &mut dyn Iterator<Item = u64>| {
            if glob.matches(key) {
                places.extend(found);
            }
        };
        let whole = self.paths.each_from(&self.pages, &*log.disk, glob.literal_prefix(), glob.is_literal(), &mut take);
        whole.then_some(places)
    }

    fn places(&self, log: &LogReader, table: &Directory, key: &[u8]) -> Option<Postings> {
        let mut places = Postings::new();
        let mut take = |_: &[u8], found: &mut dyn Iterator<Item = u64>| places.extend(found);
        table.each_from(&self.pages, &*log.disk, key, true, &mut take).then_some(places)
    }

    /// What `ask` finds here; when the file is damaged, or another process has put another in its place, in a new index.
    fn ask(&self, log: &LogReader, ask: impl Fn(&Self) -> Option<Postings>) -> Result<Postings> {
        if let Some(places) = ask(self) {
            return Ok(places);
        }
        Ok(ask(&Self::build(log)?).expect("an index in memory is whole"))
    }
}

/// Keys as they are seen, for each table.
#[derive(Default)]
struct Tables {
    paths: Seen,
    calls: Seen,
    lives: Seen,
    acts: Seen,
}

impl Tables {
    /// Takes over a leaf's keys. The outer error is the index's, the inner one the leaf's.
    fn add(&mut self, head: &Head<'_>, place: u64) -> Result<std::result::Result<(), LeafError>> {
        if matches!(head.kind, "call" | "permit" | "deny" | "limit" | "result")
            && let Some(call) = head.call
        {
            self.calls.add(call.as_bytes(), place)?;
        }
        let silent = ["call", "permit", "deny", "limit"].contains(&head.kind)
            || head.kind != "net.ask" && (head.kind.starts_with("net.") || head.kind.starts_with("secret."));
        if silent {
            return Ok(Ok(()));
        }
        let body = match head.leaf() {
            Ok(leaf) => leaf.body,
            Err(error) => return Ok(Err(error)),
        };
        for path in paths_of(&body) {
            self.paths.add(&path.0, place)?;
        }
        if let Some(p) = process_of(&body) {
            self.acts.add(&process_key(p), place)?;
            if head.kind.starts_with("proc.") && head.kind != "proc.call" {
                self.lives.add(&process_key(p), place)?;
            }
        }
        Ok(Ok(()))
    }
}

/// The leaves at these places that a filter lets through, in the order of the log.
fn read(log: &LogReader, mut places: Postings, filter: &Filter, about: impl Fn(&Body) -> bool) -> Result<Vec<Found>> {
    places.sort_unstable();
    places.dedup();
    let mut found = Vec::new();
    let mut window = Window::default();
    for place in places {
        let payload = window.leaf(log, place)?;
        let wrong = |error| corrupt(&log.dir, format!("a leaf of its index: {error}"));
        let head = parse_head(payload).map_err(wrong)?;
        if filter.head(&head) {
            let leaf = head.leaf().map_err(wrong)?;
            if about(&leaf.body) && filter.body(&leaf) {
                found.push(Found { leaf, bytes: payload.to_vec() });
            }
        }
    }
    Ok(found)
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
