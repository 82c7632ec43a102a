//! An index of paths, calls and processes, so that `why` and questions by path or process do not read all of a large log.
//! Derived: each segment has a file of its own, made again whenever it does not belong to exactly this segment's file, so
//! what is sealed is indexed once. The verifier never looks at it, and every answer it leads to is read from the log itself.
//!
//! A forged index could still leave something out. So one is believed only where it was made: it names the inode and the
//! moment of the last change of its segment, which no copy has, and nobody who hands over a log can know.

use super::pages::{About, Directory, Pages, Parts, TABLES, Wanted};
use super::seen::Seen;
use super::subject::{paths_of, process_of};
use super::{Filter, Found, Glob, LogReader};
use crate::chain::{Position, segment_path};
use crate::disk::{Disk, FileMark, Settle, replace};
use crate::error::{At as _, Result, corrupt};
use crate::frame::{self, HEADER_BYTES, LEAF_BYTES_MAX};
use crate::record::{Glance, Head, Leaf, LeafError, parse_head};
use crate::scan::{Blocks, SegmentEnd};
use std::io::{ErrorKind, Read as _};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Below this a walk through the log is as fast.
const LOG_BYTES_WORTH_AN_INDEX: u64 = 4 << 20;
/// With fewer leaves a log is smaller.
pub(crate) const LEAVES_WORTH_AN_INDEX: u64 = LOG_BYTES_WORTH_AN_INDEX / (HEADER_BYTES + LEAF_BYTES_MAX) as u64;
/// What is read of a segment at once: leaves that lie together come together.
const WINDOW_BYTES: usize = 2 * (HEADER_BYTES + LEAF_BYTES_MAX);

/// Where leaves with a given key are: segment, and offset in it. In this order they are in the order of the log.
type Postings = Vec<(u32, u32)>;

/// An index of a log.
#[derive(Debug)]
pub struct Index {
    segments: Vec<Segment>,
    /// What was made from the log when a file turned out to be damaged, or was replaced by another process.
    anew: OnceLock<Vec<Segment>>,
}

/// The index of one segment.
#[derive(Debug)]
struct Segment {
    number: u32,
    /// By path. By call: its `call`, `permit`, `deny`, `limit`, `tool.start`, `tool.end` and `result` records. By process: where it came from, what it
    /// executed, how it ended; and everything.
    tables: [Directory; TABLES],
    pages: Pages,
    about: About,
}

/// Which table is asked.
#[derive(Debug, Clone, Copy)]
enum Table {
    Paths,
    Calls,
    Lives,
    Acts,
}

/// A key of the tables of processes.
fn process_key(p: u64) -> [u8; 8] {
    p.to_be_bytes()
}

/// Where the index of a segment is.
fn index_path(dir: &Path, number: u32) -> PathBuf {
    dir.join("idx").join(format!("{number:06}.idx"))
}

/// The segments of a log, each as it is now, and their bytes.
fn marks(disk: &dyn Disk, dir: &Path) -> Result<(Vec<FileMark>, u64)> {
    let (mut marks, mut bytes) = (Vec::new(), 0u64);
    for number in 0.. {
        let path = segment_path(dir, number);
        match disk.mark(&path) {
            Ok(mark) => {
                bytes = bytes.saturating_add(mark.bytes);
                marks.push(mark);
            }
            Err(error) if error.kind() == ErrorKind::NotFound => break,
            Err(error) => return Err(error).at("look at", &path),
        }
    }
    Ok((marks, bytes))
}

/// Makes the index of a log that is large enough for one and was just sealed, so that the first question need not. It is a
/// convenience: what fails here is tried again by whoever asks.
pub(crate) fn prepare(disk: &dyn Disk, dir: &Path) {
    if let Ok((marks, bytes)) = marks(disk, dir)
        && bytes >= LOG_BYTES_WORTH_AN_INDEX
    {
        for (number, mark) in (0..).zip(marks) {
            drop(Segment::of_log(disk, dir, number, mark));
        }
    }
}

impl Index {
    /// The index of a log: from its files where they belong to this log, else made anew, and stored when the log is large.
    ///
    /// # Errors
    /// As reading the log.
    pub fn open(log: &LogReader) -> Result<Self> {
        let (marks, bytes) = marks(&*log.disk, &log.dir)?;
        let make = if bytes < LOG_BYTES_WORTH_AN_INDEX { Segment::make } else { Segment::of_log };
        Ok(Self { segments: all(log, &marks, make)?, anew: OnceLock::new() })
    }

    /// The same, unless the log is so small that a walk through it is as good.
    pub(super) fn worthwhile(log: &LogReader) -> Result<Option<Self>> {
        let (_, bytes) = marks(&*log.disk, &log.dir)?;
        if bytes < LOG_BYTES_WORTH_AN_INDEX { Ok(None) } else { Self::open(log).map(Some) }
    }

    /// The leaves about paths that a glob matches, in the order of the log.
    ///
    /// # Errors
    /// As reading the log.
    pub fn find(&self, log: &LogReader, glob: &Glob) -> Result<Vec<Found>> {
        self.of_paths(log, glob, &Filter::default())
    }

    fn of_paths(&self, log: &LogReader, glob: &Glob, filter: &Filter) -> Result<Vec<Found>> {
        let about = |leaf: &Leaf| paths_of(&leaf.body).any(|path| glob.matches(&path.0));
        self.ask(log, |segments| places_of_paths(log, segments, glob), filter, about)
    }

    /// What a filter lets through, by the table that has least of it; `None` when none of them has what it asks for.
    pub(super) fn query(&self, log: &LogReader, filter: &Filter) -> Result<Option<Vec<Found>>> {
        let path = filter.path();
        if let Some(path) = path.filter(|path| path.is_literal() || filter.process().is_none()) {
            return self.of_paths(log, path, filter).map(Some);
        }
        let Some(p) = filter.process() else { return Ok(None) };
        let about = |leaf: &Leaf| process_of(&leaf.body) == Some(p);
        self.ask(log, |segments| places(log, segments, Table::Acts, &process_key(p)), filter, about).map(Some)
    }

    /// The records of a call itself.
    pub(super) fn of_call(&self, log: &LogReader, call: &str) -> Result<Vec<Found>> {
        let about = |leaf: &Leaf| {
            is_of_call_itself(leaf.body.kind()) && leaf.call.as_ref().is_some_and(|of| of.as_str() == call)
        };
        let places = |segments: &[Segment]| places(log, segments, Table::Calls, call.as_bytes());
        self.ask(log, places, &Filter::default(), about)
    }

    /// The records of a process's life: start, executions, end.
    pub(super) fn of_process(&self, log: &LogReader, p: u64) -> Result<Vec<Found>> {
        let about = |leaf: &Leaf| is_of_life(leaf.body.kind()) && process_of(&leaf.body) == Some(p);
        let places = |segments: &[Segment]| places(log, segments, Table::Lives, &process_key(p));
        self.ask(log, places, &Filter::default(), about)
    }

    /// The leaves at places that are found here; where a file is damaged, or leads to what is no leaf or another, in a new
    /// index.
    fn ask(
        &self,
        log: &LogReader,
        places: impl Fn(&[Segment]) -> Option<Postings>,
        filter: &Filter,
        about: impl Fn(&Leaf) -> bool,
    ) -> Result<Vec<Found>> {
        if self.anew.get().is_none() {
            if let Some(found) = places(&self.segments).and_then(|places| read(log, places, filter, &about).ok()) {
                return Ok(found);
            }
            let (marks, _) = marks(&*log.disk, &log.dir)?;
            // Another thread may have been faster: then its index is as good.
            drop(self.anew.set(all(log, &marks, Segment::make)?));
        }
        let segments = self.anew.get().expect("set above, and never taken out");
        read(log, places(segments).expect("an index in memory is whole"), filter, &about)
    }
}

/// The indexes of all segments up to one that is broken, made side by side.
fn all(
    log: &LogReader,
    marks: &[FileMark],
    make: impl Fn(&dyn Disk, &Path, u32, FileMark) -> Result<Segment> + Sync,
) -> Result<Vec<Segment>> {
    let next = AtomicUsize::new(0);
    let work = || {
        let mut made = Vec::new();
        loop {
            let at = next.fetch_add(1, Ordering::Relaxed);
            let Some(mark) = marks.get(at) else { break made };
            let number = u32::try_from(at).expect("so many files would not fit a file system");
            made.push((number, make(&*log.disk, &log.dir, number, *mark)));
        }
    };
    let threads = std::thread::available_parallelism().map_or(1, usize::from).min(marks.len());
    let mut made = std::thread::scope(|scope| {
        let others: Vec<_> = (1..threads).map(|_| scope.spawn(work)).collect();
        let mut made = work();
        for other in others {
            made.append(&mut other.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
        }
        made
    });
    made.sort_by_key(|(number, _)| *number);
    let mut segments = Vec::new();
    for (_, segment) in made {
        let segment = segment?;
        let whole = segment.about.whole;
        segments.push(segment);
        if !whole {
            break;
        }
    }
    Ok(segments)
}

fn places_of_paths(log: &LogReader, segments: &[Segment], glob: &Glob) -> Option<Postings> {
    let wanted = if glob.is_literal() {
        Wanted::Key(glob.literal_prefix())
    } else {
        Wanted::Begins(glob.literal_prefix(), glob.grams())
    };
    let mut found = Postings::new();
    for segment in segments {
        let mut take = |key: &[u8], places: &mut dyn Iterator<Item = u32>| {
            if glob.matches(key) {
                found.extend(places.map(|place| (segment.number, place)));
            }
        };
        if !segment.tables[Table::Paths as usize].each(&segment.pages, &*log.disk, &wanted, &mut take) {
            return None;
        }
    }
    Some(found)
}

fn places(log: &LogReader, segments: &[Segment], table: Table, key: &[u8]) -> Option<Postings> {
    let mut found = Postings::new();
    for segment in segments {
        let mut take = |_: &[u8], places: &mut dyn Iterator<Item = u32>| {
            found.extend(places.map(|place| (segment.number, place)));
        };
        if !segment.tables[table as usize].each(&segment.pages, &*log.disk, &Wanted::Key(key), &mut take) {
            return None;
        }
    }
    Some(found)
}

impl Segment {
    /// From its file if that belongs to this segment, else made, and stored.
    fn of_log(disk: &dyn Disk, dir: &Path, number: u32, mark: FileMark) -> Result<Self> {
        let path = index_path(dir, number);
        if let Some((tables, pages, about)) = Pages::open(disk, &path, mark) {
            return Ok(Self { number, tables, pages, about });
        }
        let made = Self::make(disk, dir, number, mark)?;
        // What grew meanwhile is not what the mark stands for.
        let same = disk.mark(&segment_path(dir, number)).is_ok_and(|now| now == mark);
        if let Some(bytes) = made.pages.to_file(made.about, &made.tables).filter(|_| same) {
            // It is only faster with a file: a directory that cannot be written is no reason to refuse an answer.
            drop(disk.create_dir(&dir.join("idx")));
            drop(replace(disk, &path, &bytes, Settle::Later));
        }
        Ok(made)
    }

    /// From the segment itself.
    fn make(disk: &dyn Disk, dir: &Path, number: u32, mark: FileMark) -> Result<Self> {
        let mut tables = Tables::default();
        let from = Position { segment: number, ..LogReader::start() };
        let mut blocks = Blocks::new(disk, dir, &from);
        let mut whole = true;
        while let Some(block) = blocks.next()? {
            for (start, kind) in &block.frames {
                if *kind != frame::Kind::Entry {
                    continue;
                }
                let Ok(frame) = frame::parse(&block.bytes[*start..]) else {
                    whole = false;
                    break;
                };
                let at = block.offset + *start as u64;
                let wrong =
                    |error: LeafError| corrupt(&segment_path(dir, number), format!("the leaf at {at}: {error}"));
                let place = u32::try_from(at).map_err(|_| super::pages::too_large("bytes"))?;
                tables.add(&parse_head(frame.payload).map_err(wrong)?, place)?.map_err(wrong)?;
            }
            whole &= !matches!(block.end, Some(SegmentEnd::Broken(_)));
            if !whole || block.end.is_some() {
                break;
            }
            blocks.recycle(block.bytes);
        }
        let mut pages = Vec::new();
        let Tables { paths, calls, lives, acts } = tables;
        let paths = paths.into_pages(&mut pages, Parts::Told)?;
        let mut table = |seen: Seen| seen.into_pages(&mut pages, Parts::Untold);
        let tables = [paths, table(calls)?, table(lives)?, table(acts)?];
        Ok(Self { number, tables, pages: Pages::Memory(pages), about: About { mark, whole } })
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

fn is_of_call_itself(kind: &str) -> bool {
    matches!(kind, "call" | "permit" | "deny" | "limit" | "result" | "tool.start" | "tool.end")
}

fn is_of_life(kind: &str) -> bool {
    kind.starts_with("proc.") && kind != "proc.call"
}

impl Tables {
    /// Takes over a leaf's keys. The outer error is the index's, the inner one the leaf's.
    fn add(&mut self, head: &Head<'_>, place: u32) -> Result<std::result::Result<(), LeafError>> {
        if is_of_call_itself(head.kind)
            && let Some(call) = head.call
        {
            self.calls.add(call.as_bytes(), place)?;
        }
        let silent = ["call", "permit", "deny", "limit"].contains(&head.kind)
            || head.kind != "net.ask" && (head.kind.starts_with("net.") || head.kind.starts_with("secret."));
        if silent {
            return Ok(Ok(()));
        }
        if let Some(glance) = head.glance() {
            return self.add_keys(head.kind, glance, place).map(Ok);
        }
        let body = match head.leaf() {
            Ok(leaf) => leaf.body,
            Err(error) => return Ok(Err(error)),
        };
        let mut paths = paths_of(&body).map(|path| path.0.as_slice());
        let glance = Glance { process: process_of(&body), paths: [paths.next(), paths.next()] };
        self.add_keys(head.kind, glance, place).map(Ok)
    }

    fn add_keys(&mut self, kind: &str, Glance { process, paths }: Glance<'_>, place: u32) -> Result<()> {
        paths.into_iter().flatten().try_for_each(|path| self.paths.add(path, place))?;
        let Some(p) = process else { return Ok(()) };
        self.acts.add(&process_key(p), place)?;
        if is_of_life(kind) { self.lives.add(&process_key(p), place) } else { Ok(()) }
    }
}

/// The leaves at these places that a filter lets through, in the order of the log; all must be what they are said to be.
fn read(log: &LogReader, mut places: Postings, filter: &Filter, about: impl Fn(&Leaf) -> bool) -> Result<Vec<Found>> {
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
            if !about(&leaf) {
                return Err(corrupt(&log.dir, "its index leads to a leaf about something else"));
            }
            if filter.body(&leaf) {
                found.push(Found { leaf, bytes: payload.to_vec() });
            }
        }
    }
    Ok(found)
}

/// A part of a segment, to read leaves from that lie near each other.
#[derive(Default)]
struct Window {
    segment: u32,
    /// Offset of its first byte.
    start: u32,
    bytes: Vec<u8>,
}

impl Window {
    /// The leaf at this place, its checksum checked.
    ///
    /// A forged place cannot make a leaf of the inside of another: a frame's header has bytes that are zero, for no frame
    /// is longer than two bytes can say, and JSON has none.
    fn leaf(&mut self, log: &LogReader, (segment, at): (u32, u32)) -> Result<&[u8]> {
        let path = || segment_path(&log.dir, segment);
        if self.segment != segment || frame::parse(self.from(at)).is_err() {
            let reader = log.disk.read(&path(), u64::from(at)).at("open", &path())?;
            self.bytes.clear();
            reader.take(WINDOW_BYTES as u64).read_to_end(&mut self.bytes).at("read", &path())?;
            (self.segment, self.start) = (segment, at);
        }
        let frame = frame::parse(self.from(at)).map_err(|error| corrupt(&path(), error.text()))?;
        if frame.kind == frame::Kind::Entry { Ok(frame.payload) } else { Err(corrupt(&path(), "a place of no leaf")) }
    }

    fn from(&self, at: u32) -> &[u8] {
        let at = at.checked_sub(self.start).and_then(|at| usize::try_from(at).ok());
        at.and_then(|at| self.bytes.get(at..)).unwrap_or_default()
    }
}

const _: () = assert!(LEAF_BYTES_MAX < 1 << 16, "the header of a frame has zeros");
