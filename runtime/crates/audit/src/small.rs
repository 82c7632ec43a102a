//! Small blobs, one after the other in one file: a file for each would cost more than everything else that a call writes.
//! It never looks into a blob, and gives none out whose bytes have another hash than its name says.

use crate::disk::{Disk, DiskFile, write_all};
use crate::error::{At as _, Result};
use crate::merkle::{Hash, sha256};
use std::collections::HashMap;
use std::io::{self, BufReader, Read};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

/// Bytes of content up to which a blob is a small one.
pub(crate) const SMALL_BYTES_MAX: usize = 4096;
/// What is stored of one has at least a nonce, a salt and a tag.
const STORED_BYTES_MIN: usize = 24 + 32 + 16;
const STORED_BYTES_MAX: usize = SMALL_BYTES_MAX + STORED_BYTES_MIN;
/// The hash and two bytes of length before each.
const HEAD_BYTES: usize = 32 + 2;

/// Where they are.
pub(crate) fn small_path(dir: &Path) -> PathBuf {
    dir.join("blobs").join("small")
}

/// An entry of the file.
#[derive(Debug)]
pub(crate) struct Entry {
    /// The name.
    pub(crate) hash: Hash,
    /// Where its bytes begin.
    pub(crate) at: u64,
    /// They themselves; whether they have the hash is not known yet.
    pub(crate) stored: Vec<u8>,
}

/// What comes next in the file.
#[derive(Debug)]
pub(crate) enum Next {
    /// One more.
    Entry(Entry),
    /// Nothing: the one before was the last.
    End,
    /// Bytes that are no whole entry. What is behind them cannot be told.
    Cut,
}

/// Reads entries one by one.
#[derive(Debug)]
pub(crate) struct Entries<R> {
    reader: R,
    at: u64,
}

impl<R: Read> Entries<R> {
    /// Of a reader that begins at a place where an entry begins.
    pub(crate) fn new(reader: R, at: u64) -> Self {
        Self { reader, at }
    }

    /// # Errors
    /// As reading.
    pub(crate) fn next(&mut self) -> io::Result<Next> {
        let head = read_up_to(&mut self.reader, HEAD_BYTES)?;
        if head.is_empty() {
            return Ok(Next::End);
        }
        let Some((hash, length)) = head.split_first_chunk::<32>() else { return Ok(Next::Cut) };
        let Ok(length) = length.try_into() else { return Ok(Next::Cut) };
        let length = usize::from(u16::from_be_bytes(length));
        if !(STORED_BYTES_MIN..=STORED_BYTES_MAX).contains(&length) {
            return Ok(Next::Cut);
        }
        let stored = read_up_to(&mut self.reader, length)?;
        if stored.len() != length {
            return Ok(Next::Cut);
        }
        let at = self.at + HEAD_BYTES as u64;
        self.at = at + length as u64;
        Ok(Next::Entry(Entry { hash: *hash, at, stored }))
    }
}

/// As many bytes as there are, up to a number.
fn read_up_to(reader: &mut impl Read, bytes: usize) -> io::Result<Vec<u8>> {
    let mut read = Vec::with_capacity(bytes);
    reader.take(bytes as u64).read_to_end(&mut read)?;
    Ok(read)
}

/// Entries as they lie on a disk.
pub(crate) type OnDisk = Entries<BufReader<Box<dyn Read + Send>>>;

/// The entries of a file from a place on; `None` when there is no such file.
pub(crate) fn entries(disk: &dyn Disk, dir: &Path, at: u64) -> Result<Option<OnDisk>> {
    let path = small_path(dir);
    match disk.read(&path, at) {
        Ok(reader) => Ok(Some(Entries::new(BufReader::new(reader), at))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).at("open", &path),
    }
}

/// The file of a session that is being written. It is made with the first of them.
#[derive(Debug, Default)]
pub(crate) struct SmallFile(Mutex<Writing>);

#[derive(Debug, Default)]
enum Writing {
    #[default]
    NotYet,
    Open(Arc<dyn DiskFile>),
    /// Part of an entry may be at its end: nothing can follow.
    Broken,
}

impl SmallFile {
    /// Whether it took the blob; if not, it wants a file of its own.
    ///
    /// # Errors
    /// As making and writing a file.
    pub(crate) fn take(&self, disk: &dyn Disk, dir: &Path, hash: &Hash, stored: &[u8]) -> Result<bool> {
        let length = u16::try_from(stored.len()).ok().filter(|length| usize::from(*length) <= STORED_BYTES_MAX);
        let Some(length) = length else { return Ok(false) };
        let path = small_path(dir);
        // A thread that panicked here may have left part of an entry, and has left `Broken`.
        let mut writing = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let file = match std::mem::replace(&mut *writing, Writing::Broken) {
            Writing::Open(file) => file,
            Writing::NotYet => disk.create(&path).at("create", &path)?,
            Writing::Broken => return Ok(false),
        };
        let entry = [&hash[..], &length.to_be_bytes(), stored].concat();
        write_all(&*file, &entry).at("write", &path)?;
        *writing = Writing::Open(file);
        Ok(true)
    }
}

/// Where each small blob of a log is, as far as it was asked for.
#[derive(Debug, Default)]
pub(crate) struct SmallIndex {
    places: HashMap<Hash, (u64, usize)>,
    read_to: u64,
}

impl SmallIndex {
    /// What is stored under a name; `None` when there is no such entry.
    ///
    /// # Errors
    /// As reading.
    pub(crate) fn get(&mut self, disk: &dyn Disk, dir: &Path, hash: &Hash) -> Result<Option<Vec<u8>>> {
        if !self.places.contains_key(hash) {
            self.read_on(disk, dir)?;
        }
        let Some((at, length)) = self.places.get(hash).copied() else { return Ok(None) };
        let path = small_path(dir);
        let mut reader = disk.read(&path, at).at("open", &path)?;
        read_up_to(&mut reader, length).at("read", &path).map(Some)
    }

    /// A log that is being written has more of them later; half an entry may be whole by then.
    fn read_on(&mut self, disk: &dyn Disk, dir: &Path) -> Result<()> {
        let Some(mut entries) = entries(disk, dir, self.read_to)? else { return Ok(()) };
        while let Next::Entry(Entry { hash, at, stored }) = entries.next().at("read", &small_path(dir))? {
            self.read_to = at + stored.len() as u64;
            self.places.entry(hash).or_insert((at, stored.len()));
        }
        Ok(())
    }
}

/// What any bytes hold as such a file: how many entries, how many of these have the hash that they say, and whether nothing is left over.
#[must_use]
pub fn parse_small_blobs(bytes: &[u8]) -> (usize, usize, bool) {
    let mut entries = Entries::new(bytes, 0);
    let (mut count, mut sound) = (0, 0);
    loop {
        match entries.next().expect("reading from memory does not fail") {
            Next::Entry(entry) => {
                count += 1;
                sound += usize::from(sha256(&entry.stored) == entry.hash);
            }
            Next::End => return (count, sound, true),
            Next::Cut => return (count, sound, false),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(blobs: &[&[u8]]) -> Vec<u8> {
        let length = |stored: &[u8]| u16::try_from(stored.len()).expect("short").to_be_bytes();
        let entry = |stored: &&[u8]| [&sha256(stored)[..], &length(stored), stored].concat();
        blobs.iter().flat_map(entry).collect()
    }

    #[test]
    fn entries_are_read_to_the_first_that_is_not_whole() {
        let whole = file(&[&[1; 72], &[2; 4168]]);
        assert_eq!(parse_small_blobs(&whole), (2, 2, true));
        assert_eq!(parse_small_blobs(b""), (0, 0, true));
        for cut in [1, 33, 34, 105] {
            assert_eq!(parse_small_blobs(&whole[..cut]), (0, 0, false), "cut to {cut}");
        }
        assert_eq!(parse_small_blobs(&whole[..106]), (1, 1, true));
        assert_eq!(parse_small_blobs(&whole[..whole.len() - 1]), (1, 1, false));
        assert_eq!(parse_small_blobs(&file(&[&[1; 71]])), (0, 0, false), "shorter than any");
        assert_eq!(parse_small_blobs(&file(&[&[1; 4169]])), (0, 0, false), "longer than any");
        let mut altered = whole;
        altered[40] ^= 1;
        assert_eq!(parse_small_blobs(&altered), (2, 1, true));
    }
}
