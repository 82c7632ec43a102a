//! Keys as they are seen in a segment, sorted when it ends.
//! It never compares two keys that begin alike from their beginning: paths of one tree mostly do.

use super::pages::{Directory, Parts, Writer, common, too_large};
use crate::error::Result;

/// Bytes of a key that are compared at once.
const STEP_BYTES: usize = 8;

/// Keys and places, in the order in which they were seen.
#[derive(Debug, Default)]
pub(super) struct Seen {
    keys: Vec<u8>,
    entries: Vec<Entry>,
}

#[derive(Debug, Clone, Copy)]
struct Entry {
    /// The part of the key that is being compared, filled up with zeros.
    part: u64,
    /// Start of the key in `keys`.
    start: u32,
    place: u32,
    len: u16,
    /// How many bytes of `part` are the key's.
    part_len: u8,
}

impl Seen {
    /// Takes over a key. Places come in ascending order.
    pub(super) fn add(&mut self, key: &[u8], place: u32) -> Result<()> {
        let fits = u32::try_from(self.keys.len()).ok().zip(u16::try_from(key.len()).ok());
        let (start, len) = fits.ok_or_else(|| too_large("paths"))?;
        self.keys.extend_from_slice(key);
        self.entries.push(Entry { part: 0, start, place, len, part_len: 0 });
        Ok(())
    }

    /// Appends the pages to `out`, and gives their directory.
    pub(super) fn into_pages(mut self, out: &mut Vec<u8>, parts: Parts) -> Result<Directory> {
        let keys = &self.keys;
        let first = self.entries.first().map_or(&[][..], |entry| entry.key(keys));
        let begins = self.entries.iter().fold(first.len(), |most, entry| common(&first[..most], entry.key(keys)));
        sort(&mut self.entries, keys, begins);
        let mut writer = Writer::new(out, parts);
        for same in self.entries.chunk_by(|one, next| one.key(keys) == next.key(keys)) {
            let [entry, ..] = same else { continue };
            writer.key(entry.key(keys), same.iter().map(|entry| entry.place))?;
        }
        writer.end()
    }
}

impl Entry {
    fn key<'a>(&self, keys: &'a [u8]) -> &'a [u8] {
        &keys[self.start as usize..self.start as usize + usize::from(self.len)]
    }

    fn take_part(&mut self, keys: &[u8], at: usize) {
        let rest = &self.key(keys)[at..];
        let part = rest.first_chunk::<STEP_BYTES>().copied().unwrap_or_else(|| {
            let mut filled = [0; STEP_BYTES];
            filled.iter_mut().zip(rest).for_each(|(to, from)| *to = *from);
            filled
        });
        self.part = u64::from_be_bytes(part);
        self.part_len = u8::try_from(rest.len().min(STEP_BYTES)).expect("at most eight");
    }
}

/// Sorts by key, then by place. All of the keys have `at` bytes or more, and these alike.
///
/// It goes as deep as the longest path has eight bytes, which a leaf bounds.
fn sort(entries: &mut [Entry], keys: &[u8], at: usize) {
    entries.iter_mut().for_each(|entry| entry.take_part(keys, at));
    entries.sort_unstable_by_key(|entry| (entry.part, entry.part_len, entry.place));
    for alike in entries.chunk_by_mut(|one, next| (one.part, one.part_len) == (next.part, next.part_len)) {
        // Those that ended within the part are the same.
        if alike.len() > 1 && usize::from(alike[0].part_len) == STEP_BYTES {
            sort(alike, keys, at + STEP_BYTES);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_sorted_as_bytes_and_places_ascend() {
        let texts: [&[u8]; 13] = [
            b"src/b",
            b"src/a",
            b"src/a\0",
            b"src/a\0\0\0\0\0\0\0",
            b"src/a\0\0\0\0\0\0\0\0",
            b"src/abcdefghijklm",
            b"src/abcdefgh",
            b"src/abcdefghi",
            b"src/a",
            b"src/",
            b"src/\xff",
            b"src/abcdefgh",
            b"src/a",
        ];
        let mut seen = Seen::default();
        for (place, text) in (0u32..).zip(texts) {
            seen.add(text, place).expect("short");
        }
        let keys = seen.keys.clone();
        sort(&mut seen.entries, &keys, 4);
        let found: Vec<_> = seen.entries.iter().map(|entry| (entry.key(&keys).to_vec(), entry.place)).collect();
        let mut right: Vec<_> = texts.iter().map(|text| text.to_vec()).zip(0u32..).collect();
        right.sort();
        assert_eq!(found, right);
    }
}
