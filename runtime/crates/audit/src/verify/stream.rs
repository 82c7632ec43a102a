//! Blocks of frames in, checked blocks out: checksums, leaf heads and hashes, on one thread or several.
//! It never changes the order, and never holds more than a few blocks.

use super::tiles::{FullTile, TileReader};
use crate::disk::Disk;
use crate::error::Result;
use crate::frame::{self, Commit, FrameError, HEADER_BYTES, Kind, Seal};
use crate::merkle::{Hash, Range, leaf_hash};
use crate::record::{Head, Leaf, LeafError, parse_head};
use crate::scan::{BLOCK_LEAVES, Block, Blocks};
use crate::tiles::{TILE_WIDTH, tile_root};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Mutex, PoisonError, mpsc};
use std::thread;

/// What a worker is to do with each leaf.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Depth {
    /// Check the members that every leaf starts with.
    Head,
    /// Parse it.
    Whole,
}

/// A frame other than an entry, and how many leaves of the block come before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mark {
    Header { start: usize },
    Commit(Commit),
    Seal(Seal),
}

/// Something wrong in a block.
#[derive(Debug)]
pub(super) struct Fault {
    /// Leaves of the block before it.
    pub(super) leaves: usize,
    pub(super) text: String,
    pub(super) kind: FaultKind,
}

/// What follows from something wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FaultKind {
    /// Bytes that are no frame: a crash or a failing disk leaves such.
    Damage,
    /// A frame whose checksum is right and whose content is not: nobody's crash makes one.
    Wrong,
    /// This later version of the format wrote it.
    Newer(u64),
}

impl Fault {
    /// The later version that wrote it.
    pub(super) fn newer(&self) -> Option<u64> {
        if let FaultKind::Newer(version) = self.kind { Some(version) } else { None }
    }
}

/// A block whose frames were looked at.
#[derive(Debug)]
pub(super) struct Checked {
    pub(super) block: Block,
    /// Start in the block's bytes of each leaf.
    pub(super) leaves: Vec<(usize, usize)>,
    pub(super) hashes: Vec<Hash>,
    /// The tree over the block's leaves, if the block starts at a multiple of its width; by number of leaves, at each
    /// mark, at each size asked for, and at the end.
    pub(super) ranges: BTreeMap<usize, Range>,
    /// The full tiles of the block's leaves, if the log has tiles, from leaf `tiles_at` of the block on.
    pub(super) tiles: Vec<FullTile>,
    pub(super) tiles_at: usize,
    pub(super) marks: Vec<(usize, u64, Mark)>,
    /// First and last times of the block's leaves: wall, monotonic.
    pub(super) times: Option<[(u64, u64); 2]>,
    pub(super) parsed: Vec<Leaf>,
    /// The first thing wrong; nothing after it was looked at.
    pub(super) fault: Option<Fault>,
}

impl Checked {
    pub(super) fn leaf(&self, i: usize) -> &[u8] {
        self.leaves.get(i).and_then(|(start, len)| self.block.bytes.get(*start..start + len)).unwrap_or_default()
    }
}

/// What every worker needs to know.
#[derive(Debug, Clone, Copy)]
pub(super) struct Task<'a> {
    /// The tree sizes, sorted, whose roots somebody will ask for.
    pub(super) sizes: &'a [u64],
    pub(super) depth: Depth,
    /// The log's tiles, if there are any.
    pub(super) tiles: Option<(&'a dyn Disk, &'a Path)>,
}

/// Runs every block through [`check`], in order, and shows each to `fold`, until it says stop.
pub(super) fn stream(
    mut blocks: Blocks<'_>,
    task: Task<'_>,
    threads: usize,
    fold: &mut dyn FnMut(&mut Checked) -> Result<Go>,
) -> Result<()> {
    if threads < 2 {
        let mut tiles = task.reader();
        while let Some(block) = blocks.next()? {
            let mut checked = check(block, task, tiles.as_mut());
            if fold(&mut checked)? == Go::Stop {
                return Ok(());
            }
            blocks.recycle(checked.block.bytes);
        }
        return Ok(());
    }
    let (to_workers, jobs) = mpsc::sync_channel::<(u64, Block)>(threads);
    let jobs = Mutex::new(jobs);
    let (to_main, results) = mpsc::channel::<Answer>();
    thread::scope(|scope| {
        for _ in 0..threads {
            let (jobs, to_main) = (&jobs, to_main.clone());
            scope.spawn(move || {
                let _told = TellPanic(to_main.clone());
                let mut tiles = task.reader();
                loop {
                    let job = jobs.lock().unwrap_or_else(PoisonError::into_inner).recv();
                    let Ok((number, block)) = job else { return };
                    if to_main.send(Answer::Checked(number, check(block, task, tiles.as_mut()))).is_err() {
                        return;
                    }
                }
            });
        }
        drop(to_main);
        in_order(&mut blocks, to_workers, &results, threads, fold)
    })
}

fn in_order(
    blocks: &mut Blocks<'_>,
    to_workers: mpsc::SyncSender<(u64, Block)>,
    results: &mpsc::Receiver<Answer>,
    threads: usize,
    fold: &mut dyn FnMut(&mut Checked) -> Result<Go>,
) -> Result<()> {
    let (mut sent, mut folded, mut more) = (0u64, 0u64, true);
    let mut waiting = BTreeMap::new();
    loop {
        while more && sent - folded < 2 * threads as u64 {
            match blocks.next()? {
                Some(block) => {
                    to_workers.send((sent, block)).expect("workers live as long as this end of the channel");
                    sent += 1;
                }
                None => more = false,
            }
        }
        if sent == folded {
            return Ok(());
        }
        let answer = results.recv().expect("a worker answers every job");
        // The scope panics in turn, once the other workers have ended.
        let Answer::Checked(number, checked) = answer else { return Ok(()) };
        waiting.insert(number, checked);
        while let Some(mut checked) = waiting.remove(&folded) {
            folded += 1;
            if fold(&mut checked)? == Go::Stop {
                return Ok(());
            }
            blocks.recycle(checked.block.bytes);
        }
    }
}

/// What a worker says.
enum Answer {
    Checked(u64, Checked),
    /// It panicked, and its block has no answer: nobody may wait for one.
    Panicked,
}

/// Tells of a worker's panic.
struct TellPanic(mpsc::Sender<Answer>);

impl Drop for TellPanic {
    fn drop(&mut self) {
        if thread::panicking() {
            // Nobody listens any more where the verdict was there before.
            drop(self.0.send(Answer::Panicked));
        }
    }
}

/// Whether to go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Go {
    On,
    Stop,
}

impl<'a> Task<'a> {
    fn reader(&self) -> Option<TileReader<'a>> {
        self.tiles.map(|(disk, dir)| TileReader::new(disk, dir))
    }
}

/// Looks at one block.
fn check(block: Block, task: Task<'_>, tiles: Option<&mut TileReader<'_>>) -> Checked {
    let Task { sizes, depth, .. } = task;
    let count = block.frames.len();
    let mut out = Checked {
        block,
        leaves: Vec::with_capacity(count),
        hashes: Vec::with_capacity(count),
        ranges: BTreeMap::new(),
        tiles: Vec::new(),
        tiles_at: 0,
        marks: Vec::new(),
        times: None,
        parsed: Vec::with_capacity(if depth == Depth::Whole { count } else { 0 }),
        fault: None,
    };
    let mut range = out.block.first.is_multiple_of(BLOCK_LEAVES).then(Range::default);
    let asked = sizes.partition_point(|size| *size <= out.block.first);
    let first = out.block.first;
    let mut asked = sizes[asked..].iter().map(|size| size - first).peekable();
    let mut roots = Vec::with_capacity(count / TILE_WIDTH);
    for i in 0..count {
        let Some((start, _)) = out.block.frames.get(i).copied() else { break };
        if let Err(fault) = check_frame(&mut out, start, depth, &mut range, &mut roots) {
            out.fault = Some(fault);
            break;
        }
        let leaves = out.hashes.len();
        if asked.next_if(|size| *size <= leaves as u64).is_some() {
            snapshot(&mut out.ranges, leaves, range.as_ref());
        }
    }
    snapshot(&mut out.ranges, out.hashes.len(), range.as_ref());
    if let Some(tiles) = tiles {
        compare_tiles(&mut out, range.is_some().then_some(&roots), tiles);
    }
    out
}

/// Compares the full tiles whose leaves are all in the block. `roots` are theirs, if they are known.
fn compare_tiles(out: &mut Checked, roots: Option<&Vec<Hash>>, tiles: &mut TileReader<'_>) {
    const WIDTH: u64 = TILE_WIDTH as u64;
    let number = out.block.first.div_ceil(WIDTH);
    out.tiles_at = usize::try_from(number * WIDTH - out.block.first).expect("below the width of a tile");
    let hashes = out.hashes.get(out.tiles_at..).unwrap_or_default();
    for (i, group) in hashes.as_chunks::<TILE_WIDTH>().0.iter().enumerate() {
        let from = out.tiles_at + i * TILE_WIDTH;
        let leaves = (from..from + TILE_WIDTH).map(|i| out.leaf(i));
        let root = roots.and_then(|roots| roots.get(i).copied()).unwrap_or_else(|| tile_root(group));
        let tile = tiles.full(number + i as u64, leaves, group, root);
        out.tiles.push(tile);
    }
}

fn snapshot(ranges: &mut BTreeMap<usize, Range>, leaves: usize, range: Option<&Range>) {
    if let Some(range) = range {
        ranges.entry(leaves).or_insert_with(|| range.clone());
    }
}

fn check_frame(
    out: &mut Checked,
    start: usize,
    depth: Depth,
    range: &mut Option<Range>,
    roots: &mut Vec<Hash>,
) -> std::result::Result<(), Fault> {
    let leaves = out.hashes.len();
    let fault = |text: String| Fault { leaves, text, kind: FaultKind::Wrong };
    let damage = |error: FrameError| Fault { kind: FaultKind::Damage, ..fault(error.text().to_owned()) };
    let frame = frame::parse(&out.block.bytes[start..]).map_err(damage)?;
    let offset = out.block.offset + start as u64;
    let mark = match frame.kind {
        Kind::Entry => {
            let n = out.block.first + leaves as u64;
            let head = check_head(frame.payload, n, out.times.map(|[_, last]| last))
                .map_err(|fault| Fault { leaves, ..fault })?;
            let times = (head.wall_ns, head.mono_ns);
            out.times = Some([out.times.map_or(times, |[first, _]| first), times]);
            if depth == Depth::Whole {
                out.parsed.push(head.leaf().map_err(|error| fault(error.to_string()))?);
            }
            let hash = leaf_hash(frame.payload);
            out.leaves.push((start + HEADER_BYTES, frame.payload.len()));
            out.hashes.push(hash);
            if let Some(range) = range {
                roots.extend(range.push_completing(hash, TILE_WIDTH.trailing_zeros()));
            }
            return Ok(());
        }
        Kind::Header => Mark::Header { start },
        Kind::Commit => {
            Mark::Commit(Commit::parse(frame.payload).ok_or_else(|| fault("a commit that is none".to_owned()))?)
        }
        Kind::Seal => Mark::Seal(Seal::parse(frame.payload).ok_or_else(|| fault("a seal that is none".to_owned()))?),
    };
    snapshot(&mut out.ranges, leaves, range.as_ref());
    out.marks.push((leaves, offset, mark));
    Ok(())
}

/// Position and times of a leaf.
fn check_head(leaf: &[u8], n: u64, before: Option<(u64, u64)>) -> std::result::Result<Head<'_>, Fault> {
    let fault = |text: String| Fault { leaves: 0, text, kind: FaultKind::Wrong };
    let head = parse_head(leaf).map_err(|error| {
        let newer = if let LeafError::Version(version) = error { Some(version) } else { None };
        Fault { kind: newer.map_or(FaultKind::Wrong, FaultKind::Newer), ..fault(error.to_string()) }
    })?;
    if head.n != n {
        return Err(fault(format!("it says that it is leaf {}", head.n)));
    }
    match before {
        Some((wall, mono)) if head.wall_ns < wall || head.mono_ns < mono => {
            Err(fault("its clock goes backwards".to_owned()))
        }
        Some(_) | None => Ok(head),
    }
}
