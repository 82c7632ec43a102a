//! An index of paths and calls, so that `why` does not read all of a large log. Derived: it is built again whenever it
//! does not belong to exactly this log.
//! The verifier never looks at it, and every answer it leads to is read from the log itself.

use super::{Glob, LogReader, path_of};
use crate::chain::segment_path;
use crate::disk::{Settle, read_file, replace};
use crate::error::{At as _, AuditError, Result, corrupt};
use crate::frame::{self, HEADER_BYTES, LEAF_BYTES_MAX};
use crate::record::{CallId, Leaf, parse_head, parse_leaf};
use crate::scan::{Blocks, SegmentEnd};
use std::collections::{BTreeMap, BTreeSet};
use std::io::Read as _;

const MAGIC: &[u8; 16] = b"stockade-index1\n";
const INDEX_BYTES_MAX: usize = 1 << 30;
/// Below this a walk through the log is as fast.
const LEAVES_WORTH_AN_INDEX: u64 = 20_000;

/// Where leaves with a given key are, as segment number and offset in one number.
type Postings = Vec<u64>;

/// An index in memory.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Index {
    /// By path.
    paths: Table,
    /// By call: its `call`, `permit`, `deny`, `limit` and `result` records.
    calls: Table,
}

/// Keys in order, each with its places: three flat arrays, so that loading is one pass.
#[derive(Debug, Default, PartialEq, Eq)]
struct Table {
    keys: Vec<u8>,
    /// End in `keys`, and end in `places`, of each key.
    ends: Vec<(u32, u32)>,
    places: Postings,
}

impl Index {
    /// The index of a log: from its file if that belongs to this log, else made anew, and stored when the log is large.
    ///
    /// # Errors
    /// As reading the log.
    pub fn open(log: &LogReader) -> Result<Self> {
        let stamp = stamp(log)?;
        let path = log.dir.join("idx").join("index");
        if let Ok(Some(bytes)) = read_file(&*log.disk, &path, INDEX_BYTES_MAX)
            && let Some(index) = Self::parse(&bytes, &stamp)
        {
            return Ok(index);
        }
        let (index, leaves) = Self::build(log)?;
        if leaves >= LEAVES_WORTH_AN_INDEX {
            // It is only faster with a file: a directory that cannot be written is no reason to refuse an answer.
            drop(log.disk.create_dir(&log.dir.join("idx")));
            drop(replace(&*log.disk, &path, &index.to_bytes(&stamp), Settle::Later));
        }
        Ok(index)
    }

    fn build(log: &LogReader) -> Result<(Self, u64)> {
        let (mut paths, mut calls) = (BTreeMap::<Vec<u8>, Postings>::new(), BTreeMap::<Vec<u8>, Postings>::new());
        let start = LogReader::start();
        let mut blocks = Blocks::new(&*log.disk, &log.dir, &start);
        let mut leaves = 0;
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
                        let leaf = parse_leaf(frame.payload).map_err(wrong)?;
                        if let Some(path) = path_of(&leaf.body) {
                            paths.entry(path.0.clone()).or_default().push(place);
                        }
                    }
                    "call" | "permit" | "deny" | "limit" | "result" => {
                        if let Some(call) = head.call {
                            calls.entry(call.as_bytes().to_vec()).or_default().push(place);
                        }
                    }
                    _ => {}
                }
            }
            if matches!(block.end, Some(SegmentEnd::Broken(_))) {
                break;
            }
        }
        Ok((Self { paths: Table::of(paths)?, calls: Table::of(calls)? }, leaves))
    }

    /// The leaves about paths that a glob matches, in the order of the log.
    ///
    /// # Errors
    /// As reading the log.
    pub fn find(&self, log: &LogReader, glob: &Glob) -> Result<Vec<Leaf>> {
        let prefix = glob.literal_prefix();
        let mut places: Postings = Vec::new();
        for i in self.paths.not_below(prefix) {
            let key = self.paths.key(i);
            if !key.starts_with(prefix) || (glob.is_literal() && key != prefix) {
                break;
            }
            if glob.matches(key) {
                places.extend_from_slice(self.paths.places(i));
            }
        }
        places.sort_unstable();
        let leaves = places.into_iter().map(|place| read_at(log, place)).collect::<Result<Vec<_>>>()?;
        Ok(leaves.into_iter().filter(|leaf| path_of(&leaf.body).is_some_and(|path| glob.matches(&path.0))).collect())
    }

    pub(super) fn calls(&self, log: &LogReader, calls: &BTreeSet<CallId>) -> Result<Vec<(CallId, Leaf)>> {
        let mut found = Vec::new();
        for call in calls {
            let key = call.as_str().as_bytes();
            if let Some(i) = self.calls.not_below(key).next().filter(|i| self.calls.key(*i) == key) {
                for place in self.calls.places(i) {
                    found.push((call.clone(), read_at(log, *place)?));
                }
            }
        }
        Ok(found)
    }

    fn to_bytes(&self, stamp: &[u8]) -> Vec<u8> {
        let mut out = MAGIC.to_vec();
        out.extend_from_slice(&(stamp.len() as u64).to_le_bytes());
        out.extend_from_slice(stamp);
        for table in [&self.paths, &self.calls] {
            for len in [table.keys.len(), table.ends.len(), table.places.len()] {
                out.extend_from_slice(&(len as u64).to_le_bytes());
            }
            out.extend_from_slice(&table.keys);
            table.ends.iter().for_each(|(key, place)| {
                out.extend_from_slice(&key.to_le_bytes());
                out.extend_from_slice(&place.to_le_bytes());
            });
            table.places.iter().for_each(|place| out.extend_from_slice(&place.to_le_bytes()));
        }
        out
    }

    fn parse(bytes: &[u8], stamp: &[u8]) -> Option<Self> {
        let rest = bytes.strip_prefix(MAGIC)?;
        let (len, rest) = rest.split_first_chunk::<8>()?;
        if u64::from_le_bytes(*len) != stamp.len() as u64 {
            return None;
        }
        let rest = rest.strip_prefix(stamp)?;
        let (paths, rest) = Table::parse(rest)?;
        let (calls, rest) = Table::parse(rest)?;
        rest.is_empty().then_some(Self { paths, calls })
    }
}

impl Table {
    fn of(map: BTreeMap<Vec<u8>, Postings>) -> Result<Self> {
        let mut table = Self::default();
        for (key, places) in map {
            table.keys.extend_from_slice(&key);
            table.places.extend_from_slice(&places);
            let end = u32::try_from(table.keys.len()).ok().zip(u32::try_from(table.places.len()).ok());
            let why = || "the log has more than 4 GiB of paths".to_owned();
            table.ends.push(end.ok_or_else(|| AuditError::Invalid { what: "an index", why: why() })?);
        }
        Ok(table)
    }

    fn parse(bytes: &[u8]) -> Option<(Self, &[u8])> {
        let (lens, rest) = bytes.split_at_checked(24)?;
        let len = |i: usize| usize::try_from(u64::from_le_bytes(*lens[8 * i..].first_chunk()?)).ok();
        let (keys, rest) = rest.split_at_checked(len(0)?)?;
        let (ends, rest) = rest.split_at_checked(len(1)?.checked_mul(8)?)?;
        let (places, rest) = rest.split_at_checked(len(2)?.checked_mul(8)?)?;
        let word = |bytes: &[u8; 8]| u64::from_le_bytes(*bytes);
        let half = |word: u64| {
            (u32::try_from(word & 0xffff_ffff).expect("masked"), u32::try_from(word >> 32).expect("shifted"))
        };
        let ends: Vec<(u32, u32)> = ends.as_chunks::<8>().0.iter().map(|bytes| half(word(bytes))).collect();
        let places: Postings = places.as_chunks::<8>().0.iter().map(word).collect();
        let grows = ends.windows(2).all(|pair| matches!(pair, [a, b] if a.0 <= b.0 && a.1 <= b.1));
        let last = ends.last().copied().unwrap_or_default();
        let fits = last.0 as usize == keys.len() && last.1 as usize == places.len();
        (grows && fits).then(|| (Self { keys: keys.to_vec(), ends, places }, rest))
    }

    fn starts(&self, i: usize) -> (usize, usize) {
        i.checked_sub(1)
            .and_then(|before| self.ends.get(before))
            .map_or((0, 0), |(key, place)| (*key as usize, *place as usize))
    }

    fn key(&self, i: usize) -> &[u8] {
        let end = self.ends.get(i).map_or(0, |(key, _)| *key as usize);
        self.keys.get(self.starts(i).0..end).unwrap_or_default()
    }

    fn places(&self, i: usize) -> &[u64] {
        let end = self.ends.get(i).map_or(0, |(_, place)| *place as usize);
        self.places.get(self.starts(i).1..end).unwrap_or_default()
    }

    /// Positions of the keys that are not less than `prefix`, in order.
    fn not_below(&self, prefix: &[u8]) -> std::ops::Range<usize> {
        let (mut low, mut high) = (0, self.ends.len());
        while low < high {
            let middle = low.midpoint(high);
            if self.key(middle) < prefix { low = middle + 1 } else { high = middle }
        }
        low..self.ends.len()
    }
}

/// What an index must have been made from: length and last commit of the last segment.
fn stamp(log: &LogReader) -> Result<Vec<u8>> {
    let mut stamp = Vec::new();
    for number in 0.. {
        let path = segment_path(&log.dir, number);
        match log.disk.len(&path) {
            Ok(len) => stamp.extend_from_slice(&len.to_le_bytes()),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound && number > 0 => {
                let last = segment_path(&log.dir, number - 1);
                let len = log.disk.len(&last).at("look at", &last)?;
                let reader = log.disk.read(&last, len.saturating_sub(256)).at("open", &last)?;
                reader.take(256).read_to_end(&mut stamp).at("read", &last)?;
                break;
            }
            Err(error) => return Err(error).at("look at", &path),
        }
    }
    Ok(stamp)
}

fn read_at(log: &LogReader, place: u64) -> Result<Leaf> {
    let number = u32::try_from(place >> 32).expect("shifted");
    let path = segment_path(&log.dir, number);
    let reader = log.disk.read(&path, place & 0xffff_ffff).at("open", &path)?;
    let mut bytes = Vec::with_capacity(512);
    reader.take((HEADER_BYTES + LEAF_BYTES_MAX) as u64).read_to_end(&mut bytes).at("read", &path)?;
    let frame = frame::parse(&bytes).map_err(|error| corrupt(&path, error.text()))?;
    parse_leaf(frame.payload).map_err(|error| corrupt(&path, error.to_string()))
}
