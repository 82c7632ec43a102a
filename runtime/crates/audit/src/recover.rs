//! What to do with a log whose writer died: keep every whole leaf, set a torn end aside, refuse what was cut.
//! It never changes a leaf, and never throws a byte away.

use crate::chain::{Position, segment_path};
use crate::disk::{Disk, read_file, write_all};
use crate::error::{At as _, Result, corrupt};
use crate::frame::{self, Kind, SEGMENT_BYTES_MAX};
use crate::merkle::sha256;
use crate::note::{SignedCheckpoint, Vkey, is_foreign, split_notes};
use crate::record::{Digest, Recovery};
use crate::scan::{WalkEnd, Walked, walk};
use std::io::Read as _;
use std::path::Path;

/// Bytes of a `checkpoints` file that are looked at.
pub(crate) const CHECKPOINTS_BYTES_MAX: usize = 256 << 20;

/// How much of its end is looked at first: a few dozen notes.
const NEAR_BYTES: u64 = 8 << 10;

/// A log that can be gone on with.
#[derive(Debug)]
pub(crate) struct Recovered {
    pub(crate) position: Position,
    /// Whether the log was closed by its writer.
    pub(crate) sealed: bool,
    /// What to say about it; `None` when the writer ended in good order.
    pub(crate) recovery: Option<Recovery>,
}

/// Finds the end of a log, sets a torn tail aside, and refuses a log that is shorter than what was signed.
///
/// # Errors
/// `Corrupt` when leaves are missing or contradict what was signed; then nothing is changed.
pub(crate) fn recover(disk: &dyn Disk, dir: &Path, vkey: &Vkey, from: Position) -> Result<Recovered> {
    let signed = signed_heads(disk, dir, vkey, from.range.size())?;
    let mut heads = signed.iter().peekable();
    let mut range = from.range.clone();
    let walked = walk(disk, dir, vkey.name(), from, &mut |n, leaf| {
        while let Some((size, root)) = heads.next_if(|(size, _)| *size <= n) {
            if *size == n && *root != range.root() {
                return Err(corrupt(dir, format!("the signed checkpoint of size {size} does not match the leaves")));
            }
        }
        range.push(crate::merkle::leaf_hash(leaf));
        Ok(())
    })?;
    let size = walked.position.range.size();
    for (signed_size, root) in heads {
        if *signed_size > size {
            let what = format!("a checkpoint of {signed_size} leaves was signed, and {size} are left");
            return Err(corrupt(dir, what));
        }
        if *root != walked.position.range.root() {
            return Err(corrupt(dir, format!("the signed checkpoint of size {signed_size} does not match the leaves")));
        }
    }
    settle(disk, dir, walked)
}

/// Sizes and roots, by size, of the checkpoints that are not smaller than `least`: the smaller ones were checked when the
/// position of that size was made. The largest is signed by `vkey`. A torn last note is cut off, others are errors.
fn signed_heads(disk: &dyn Disk, dir: &Path, vkey: &Vkey, least: u64) -> Result<Vec<(u64, crate::merkle::Hash)>> {
    let path = dir.join("checkpoints");
    let (start, bytes) = last_notes(disk, &path, vkey, least)?;
    let (notes, torn) = split_notes(&bytes);
    let parse = |note: &&str| SignedCheckpoint::parse(note).ok_or_else(|| corrupt(&path, "a note that is none"));
    let mut signed = notes.iter().map(parse).collect::<Result<Vec<_>>>()?;
    signed.retain(|signed| signed.claims().0 >= least);
    signed.sort_by_key(|signed| signed.claims().0);
    // The largest speaks for all leaves, so for those of the smaller ones too, which only have to agree with it. (The
    // verifier checks each signature.)
    if signed.last().is_some_and(|largest| largest.verify(vkey).is_none()) {
        return Err(corrupt(&path, "a checkpoint that this key did not sign"));
    }
    if is_foreign(torn) {
        return Err(corrupt(&path, "a note that is not UTF-8"));
    }
    if !torn.is_empty() {
        disk.truncate(&path, start + (bytes.len() - torn.len()) as u64).at("truncate", &path)?;
    }
    Ok(signed.iter().map(SignedCheckpoint::claims).collect())
}

/// The end of a `checkpoints` file, from a note on that is smaller than `least`, and where it starts; else the whole file.
/// Sizes do not fall in it, so that nothing before matters.
fn last_notes(disk: &dyn Disk, path: &Path, vkey: &Vkey, least: u64) -> Result<(u64, Vec<u8>)> {
    let len = match disk.len(path) {
        Ok(len) => len,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok((0, Vec::new())),
        Err(error) => return Err(error).at("look at", path),
    };
    let near = len.saturating_sub(NEAR_BYTES);
    if near > 0 {
        let mut bytes = Vec::new();
        let reader = disk.read(path, near).at("open", path)?;
        reader.take(NEAR_BYTES).read_to_end(&mut bytes).at("read", path)?;
        if let Some(at) = first_note(&bytes, vkey.name())
            && let Some(note) = split_notes(bytes.get(at..).unwrap_or_default()).0.first()
            && SignedCheckpoint::parse(note).is_some_and(|signed| signed.claims().0 < least)
        {
            return Ok((near + at as u64, bytes.split_off(at)));
        }
    }
    Ok((0, read_file(disk, path, CHECKPOINTS_BYTES_MAX)?.unwrap_or_default()))
}

/// Where the first whole note of this origin starts in the end of a `checkpoints` file: behind a signature line.
fn first_note(bytes: &[u8], origin: &str) -> Option<usize> {
    let line = |at: usize| bytes.get(at..)?.split(|byte| *byte == b'\n').next();
    let mut before: &[u8] = &[];
    let mut at = bytes.iter().position(|byte| *byte == b'\n')? + 1;
    loop {
        let here = line(at)?;
        if before.starts_with("\u{2014} ".as_bytes()) && here == origin.as_bytes() {
            return Some(at);
        }
        (before, at) = (here, at + here.len() + 1);
    }
}

fn settle(disk: &dyn Disk, dir: &Path, walked: Walked) -> Result<Recovered> {
    let Walked { position, end } = walked;
    let sealed = end == WalkEnd::Sealed;
    let kept = position.range.size() - position.committed;
    let (dropped, tail_h) = match end {
        WalkEnd::Open | WalkEnd::Rolled | WalkEnd::Sealed => (0, None),
        WalkEnd::Torn(_) => set_tail_aside(disk, dir, &position)?,
    };
    let recovery = (kept > 0 || dropped > 0).then(|| Recovery {
        size: position.range.size(),
        root: Digest(position.range.root()),
        kept,
        dropped,
        tail_h,
    });
    Ok(Recovered { position, sealed, recovery })
}

/// Moves what follows the last whole frame to `tail.quarantine`.
fn set_tail_aside(disk: &dyn Disk, dir: &Path, position: &Position) -> Result<(u64, Option<Digest>)> {
    let path = segment_path(dir, position.segment);
    let bytes = read_file(disk, &path, usize::try_from(SEGMENT_BYTES_MAX).expect("64 MiB"))?.unwrap_or_default();
    let start = usize::try_from(position.bytes).expect("an offset in a file just read");
    let tail = bytes.get(start..).unwrap_or_default();
    if tail.is_empty() {
        return Ok((0, None));
    }
    if let Some(at) = commit_after(tail) {
        let what = format!("a frame at byte {start} is damaged, and the log goes on at byte {}", start + at);
        return Err(corrupt(&path, what));
    }
    let aside = dir.join("tail.quarantine");
    let file = match disk.append(&aside) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => disk.create(&aside).at("create", &aside)?,
        Err(error) => return Err(error).at("open", &aside),
    };
    write_all(&*file, tail).at("write", &aside)?;
    file.sync().at("sync", &aside)?;
    disk.sync_dir(dir).at("sync directory", dir)?;
    disk.truncate(&path, position.bytes).at("truncate", &path)?;
    Ok((tail.len() as u64, Some(Digest(sha256(tail)))))
}

/// Where in a tail an intact commit lies: then the tail is no torn write but damage in the middle.
fn commit_after(tail: &[u8]) -> Option<usize> {
    (1..tail.len()).find(|at| {
        let rest = &tail[*at..];
        rest.get(4) == Some(&b'C') && matches!(frame::parse(rest), Ok(frame) if frame.kind == Kind::Commit)
    })
}
