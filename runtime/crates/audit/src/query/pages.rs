//! The index file of one segment: sorted keys with places, in pages, of which a question reads only those that it needs.
//! It never trusts what it reads: a page that does not match its checksum, or itself, is no page.

use crate::disk::{Disk, FileMark};
use crate::error::{AuditError, Result};
use std::io::Read as _;
use std::path::{Path, PathBuf};

const MAGIC: &[u8; 16] = b"stockade-index4\n";
/// Magic, bytes and checksum of the head.
const PREFIX_BYTES: usize = 24;
const HEAD_BYTES_MAX: u64 = 1 << 28;
/// A page ends with the key that makes it this long.
const PAGE_BYTES: usize = 4 << 10;
/// Pages that lie together are read together, up to so many.
const RUN_PAGES: usize = 64;

/// How many tables a file has.
pub(super) const TABLES: usize = 4;

/// Is shown a key and its places.
type Visit<'a> = dyn FnMut(&[u8], &mut dyn Iterator<Item = u32>) + 'a;

/// Four bytes that stand together in a key.
pub(super) type Gram = [u8; 4];

/// Which grams the keys of a page have, by a hash: a page without those of a question is not read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Print([u8; PRINT_BYTES]);

const PRINT_BYTES: usize = 512;

impl Print {
    const NONE: Self = Self([0; PRINT_BYTES]);

    fn bit(gram: Gram) -> (usize, u8) {
        // Multiplication spreads four bytes over the upper bits (Knuth, TAOCP 3, section 6.4); twelve of them are taken.
        let hash = u32::from_le_bytes(gram).wrapping_mul(0x9e37_79b1) >> 20;
        (hash as usize / 8, 1 << (hash % 8))
    }

    fn add(&mut self, gram: Gram) {
        let (byte, bit) = Self::bit(gram);
        self.0[byte] |= bit;
    }

    fn has(&self, gram: Gram) -> bool {
        let (byte, bit) = Self::bit(gram);
        self.0[byte] & bit != 0
    }
}

const _: () = assert!(PRINT_BYTES * 8 == 1 << (u32::BITS - 20), "a hash has as many values as a print has bits");

/// The grams of a text.
pub(super) fn grams(text: &[u8]) -> impl Iterator<Item = Gram> {
    text.array_windows::<4>().copied()
}

/// Whether a table can be asked for a part of a key, too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Parts {
    /// It has a print of each page.
    Told,
    /// Only for its beginning.
    Untold,
}

/// Writes the pages of a table: keys in ascending order, each with its places.
pub(super) struct Writer<'a> {
    out: &'a mut Vec<u8>,
    directory: Directory,
    parts: Parts,
    prints: Vec<u8>,
    page: Vec<u8>,
    print: Print,
    /// First key of the page, and the key before.
    first: Vec<u8>,
    last: Vec<u8>,
}

impl<'a> Writer<'a> {
    /// Appends to `out`, where the pages of all tables are.
    pub(super) fn new(out: &'a mut Vec<u8>, parts: Parts) -> Self {
        let (page, first, last) = (Vec::with_capacity(2 * PAGE_BYTES), Vec::new(), Vec::new());
        Self { out, directory: Directory::default(), parts, prints: Vec::new(), page, print: Print::NONE, first, last }
    }

    /// The next key. Of what it begins with as the one before, only the length is written.
    pub(super) fn key(&mut self, key: &[u8], places: impl ExactSizeIterator<Item = u32>) -> Result<()> {
        let begins = if self.page.is_empty() { 0 } else { common(&self.last, key) };
        if self.page.is_empty() {
            self.first.clear();
            self.first.extend_from_slice(key);
        }
        let rest = &key[begins..];
        let fits = u16::try_from(begins).ok().zip(u16::try_from(rest.len()).ok());
        let (begins_len, rest_len) = fits.ok_or_else(|| too_large("one path"))?;
        let count = u32::try_from(places.len()).map_err(|_| too_large("places of one path"))?;
        self.page.extend_from_slice(&begins_len.to_le_bytes());
        self.page.extend_from_slice(&rest_len.to_le_bytes());
        self.page.extend_from_slice(&count.to_le_bytes());
        self.page.extend_from_slice(rest);
        places.for_each(|place| self.page.extend_from_slice(&place.to_le_bytes()));
        if self.parts == Parts::Told {
            // What begins alike has its grams in the print already.
            grams(&key[begins.saturating_sub(3)..]).for_each(|gram| self.print.add(gram));
        }
        self.last.clear();
        self.last.extend_from_slice(key);
        if self.page.len() >= PAGE_BYTES { self.end_page() } else { Ok(()) }
    }

    fn end_page(&mut self) -> Result<()> {
        self.directory.keys.extend_from_slice(&self.first);
        let fits = u32::try_from(self.directory.keys.len()).ok().zip(Extent::of(self.out.len(), &self.page));
        let (key_end, extent) = fits.ok_or_else(|| too_large("places of one path"))?;
        self.directory.pages.push(Entry { key_end, extent });
        self.out.append(&mut self.page);
        if self.parts == Parts::Told {
            self.prints.extend_from_slice(&self.print.0);
            self.print = Print::NONE;
        }
        Ok(())
    }

    /// Where all of it is.
    pub(super) fn end(mut self) -> Result<Directory> {
        if !self.page.is_empty() {
            self.end_page()?;
        }
        self.directory.prints = Extent::of(self.out.len(), &self.prints).ok_or_else(|| too_large("paths"))?;
        self.out.append(&mut self.prints);
        Ok(self.directory)
    }
}

/// How many bytes two texts begin with alike.
pub(super) fn common(one: &[u8], other: &[u8]) -> usize {
    one.iter().zip(other).take_while(|(one, other)| one == other).count()
}

pub(super) fn too_large(of: &str) -> AuditError {
    AuditError::Invalid { what: "an index", why: format!("a segment has more of {of} than fits") }
}

/// A part of the pages, and its checksum.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct Extent {
    /// From the start of all pages.
    offset: u64,
    /// Bytes.
    len: u32,
    crc: u32,
}

impl Extent {
    fn of(offset: usize, bytes: &[u8]) -> Option<Self> {
        Some(Self { offset: offset as u64, len: u32::try_from(bytes.len()).ok()?, crc: crc32c::crc32c(bytes) })
    }

    /// These bytes, if that is what they are.
    fn checked(self, bytes: &[u8]) -> Option<&[u8]> {
        (bytes.len() == self.len as usize && crc32c::crc32c(bytes) == self.crc).then_some(bytes)
    }

    fn to_bytes(self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.offset.to_le_bytes());
        out.extend_from_slice(&self.len.to_le_bytes());
        out.extend_from_slice(&self.crc.to_le_bytes());
    }

    fn parse(bytes: &[u8; EXTENT_BYTES]) -> Self {
        let [o0, o1, o2, o3, o4, o5, o6, o7, l0, l1, l2, l3, c0, c1, c2, c3] = *bytes;
        Self {
            offset: u64::from_le_bytes([o0, o1, o2, o3, o4, o5, o6, o7]),
            len: u32::from_le_bytes([l0, l1, l2, l3]),
            crc: u32::from_le_bytes([c0, c1, c2, c3]),
        }
    }
}

const EXTENT_BYTES: usize = 16;

/// Where the pages of one table are, and with which key each starts.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Directory {
    keys: Vec<u8>,
    pages: Vec<Entry>,
    /// A print for each page, or nothing.
    prints: Extent,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Entry {
    /// End in `keys` of its first key.
    key_end: u32,
    extent: Extent,
}

const ENTRY_BYTES: usize = 4 + EXTENT_BYTES;

impl Directory {
    fn first_key(&self, page: usize) -> &[u8] {
        let end = |page: usize| self.pages.get(page).map_or(0, |page| page.key_end as usize);
        let start = page.checked_sub(1).map_or(0, end);
        self.keys.get(start..end(page)).unwrap_or_default()
    }

    /// Shows each key that can be `wanted`, with its places, and maybe some that are not. False when a page cannot be had.
    pub(super) fn each(&self, pages: &Pages, disk: &dyn Disk, wanted: &Wanted<'_>, visit: &mut Visit<'_>) -> bool {
        let prefix = wanted.prefix();
        let (mut low, mut high) = (0, self.pages.len());
        while low < high {
            let middle = low.midpoint(high);
            if self.first_key(middle) <= prefix { low = middle + 1 } else { high = middle }
        }
        // The page before the first that starts behind the prefix can end with keys that have it.
        let from = low.saturating_sub(1);
        let until = match wanted {
            Wanted::Key(_) => low,
            Wanted::Begins(..) => (low..self.pages.len())
                .find(|page| !self.first_key(*page).starts_with(prefix))
                .unwrap_or(self.pages.len()),
        };
        let Some(prints) = self.prints(pages, disk, wanted) else { return false };
        let may_have = |page: &usize| {
            prints.get(*page).is_none_or(|print| wanted.grams().iter().all(|gram| Print(*print).has(*gram)))
        };
        let candidates: Vec<usize> = (from..until).filter(may_have).collect();
        let mut runs = candidates.chunk_by(|one, next| one + 1 == *next).flat_map(|run| run.chunks(RUN_PAGES));
        runs.all(|run| self.each_of_run(pages, disk, run, wanted, visit).is_some())
    }

    /// The prints, where the question has a use for them and the table has them.
    fn prints(&self, pages: &Pages, disk: &dyn Disk, wanted: &Wanted<'_>) -> Option<Vec<[u8; PRINT_BYTES]>> {
        if wanted.grams().is_empty() || self.prints.len == 0 {
            return Some(Vec::new());
        }
        let bytes = pages.read(disk, self.prints.offset, u64::from(self.prints.len))?;
        let prints = self.prints.checked(&bytes)?.as_chunks::<PRINT_BYTES>().0.to_vec();
        (prints.len() == self.pages.len()).then_some(prints)
    }

    /// `None` when one of these pages, which lie together, cannot be had.
    fn each_of_run(
        &self,
        pages: &Pages,
        disk: &dyn Disk,
        run: &[usize],
        wanted: &Wanted<'_>,
        visit: &mut Visit<'_>,
    ) -> Option<()> {
        let entries = self.pages.get(*run.first()?..=*run.last()?)?;
        let len = entries.iter().map(|entry| u64::from(entry.extent.len)).sum();
        let bytes = pages.read(disk, entries.first()?.extent.offset, len)?;
        let mut rest = &bytes[..];
        let mut key = Vec::new();
        for entry in entries {
            let page;
            (page, rest) = rest.split_at_checked(entry.extent.len as usize)?;
            let mut page = entry.extent.checked(page)?;
            key.clear();
            while !page.is_empty() {
                let places;
                (places, page) = next_key(page, &mut key)?;
                if wanted.can_be(&key) {
                    visit(&key, &mut places.as_chunks::<4>().0.iter().map(|place| u32::from_le_bytes(*place)));
                }
            }
        }
        Some(())
    }

    fn to_bytes(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&(self.keys.len() as u64).to_le_bytes());
        out.extend_from_slice(&(self.pages.len() as u64).to_le_bytes());
        self.prints.to_bytes(out);
        out.extend_from_slice(&self.keys);
        for Entry { key_end, extent } in &self.pages {
            out.extend_from_slice(&key_end.to_le_bytes());
            extent.to_bytes(out);
        }
    }

    fn parse(bytes: &[u8]) -> Option<(Self, &[u8])> {
        let len = |bytes: &[u8; 8]| usize::try_from(u64::from_le_bytes(*bytes)).ok();
        let (keys_len, rest) = bytes.split_first_chunk::<8>()?;
        let (pages, rest) = rest.split_first_chunk::<8>()?;
        let (prints, rest) = rest.split_first_chunk::<EXTENT_BYTES>()?;
        let (keys, rest) = rest.split_at_checked(len(keys_len)?)?;
        let (entries, rest) = rest.split_at_checked(len(pages)?.checked_mul(ENTRY_BYTES)?)?;
        let entry = |bytes: &[u8; ENTRY_BYTES]| {
            let (key_end, extent) = bytes.split_first_chunk::<4>()?;
            Some(Entry { key_end: u32::from_le_bytes(*key_end), extent: Extent::parse(extent.first_chunk()?) })
        };
        let pages = entries.as_chunks::<ENTRY_BYTES>().0.iter().map(entry).collect::<Option<Vec<_>>>()?;
        Some((Self { keys: keys.to_vec(), pages, prints: Extent::parse(prints) }, rest))
    }
}

/// Places at the start of `page`, and what follows; `key` was the key before and becomes theirs.
fn next_key<'a>(page: &'a [u8], key: &mut Vec<u8>) -> Option<(&'a [u8], &'a [u8])> {
    let (begins, page) = page.split_first_chunk::<2>()?;
    let (rest_len, page) = page.split_first_chunk::<2>()?;
    let (count, page) = page.split_first_chunk::<4>()?;
    let (rest, page) = page.split_at_checked(usize::from(u16::from_le_bytes(*rest_len)))?;
    let begins = usize::from(u16::from_le_bytes(*begins));
    if begins > key.len() {
        return None;
    }
    key.truncate(begins);
    key.extend_from_slice(rest);
    page.split_at_checked((u32::from_le_bytes(*count) as usize).checked_mul(4)?)
}

/// What is asked of a table.
#[derive(Debug)]
pub(super) enum Wanted<'a> {
    /// This key.
    Key(&'a [u8]),
    /// Keys that begin so and have these grams.
    Begins(&'a [u8], Vec<Gram>),
}

impl Wanted<'_> {
    fn prefix(&self) -> &[u8] {
        match self {
            Self::Key(prefix) | Self::Begins(prefix, _) => prefix,
        }
    }

    fn grams(&self) -> &[Gram] {
        match self {
            Self::Key(_) => &[],
            Self::Begins(_, grams) => grams,
        }
    }

    fn can_be(&self, key: &[u8]) -> bool {
        match self {
            Self::Key(wanted) => key == *wanted,
            Self::Begins(prefix, _) => key.starts_with(prefix),
        }
    }
}

/// The pages of all tables.
#[derive(Debug)]
pub(super) enum Pages {
    /// Just made.
    Memory(Vec<u8>),
    /// In this file, from this offset on.
    File(PathBuf, u64),
}

/// What is known of a segment beside its keys, and goes into the head of its index.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct About {
    /// The segment's file, when it was read.
    pub(super) mark: FileMark,
    /// Whether it ends with a whole frame, so that another segment may follow.
    pub(super) whole: bool,
}

impl About {
    fn to_bytes(self) -> Vec<u8> {
        let FileMark { device, inode, bytes, changed } = self.mark;
        let mut out: Vec<u8> = [device, inode, bytes].iter().flat_map(|number| number.to_le_bytes()).collect();
        changed.iter().for_each(|part| out.extend_from_slice(&part.to_le_bytes()));
        out.push(u8::from(self.whole));
        out
    }
}

impl Pages {
    /// What is in a file, if it was made from the segment that has this mark now: directories, pages, and whether the
    /// segment is whole.
    pub(super) fn open(disk: &dyn Disk, path: &Path, mark: FileMark) -> Option<([Directory; TABLES], Self, About)> {
        let mut reader = disk.read(path, 0).ok()?;
        let mut prefix = [0; PREFIX_BYTES];
        reader.read_exact(&mut prefix).ok()?;
        let rest = prefix.strip_prefix(MAGIC)?;
        let len = u64::from(u32::from_le_bytes(*rest.first_chunk()?));
        let crc = u32::from_le_bytes(*rest.get(4..)?.first_chunk()?);
        let mut head = Vec::new();
        reader.take(len.min(HEAD_BYTES_MAX)).read_to_end(&mut head).ok()?;
        if head.len() as u64 != len || crc32c::crc32c(&head) != crc {
            return None;
        }
        let about = [true, false].map(|whole| About { mark, whole });
        let (about, mut rest) =
            about.into_iter().find_map(|about| Some((about, head.strip_prefix(about.to_bytes().as_slice())?)))?;
        let mut tables = [(); TABLES].map(|()| Directory::default());
        for table in &mut tables {
            (*table, rest) = Directory::parse(rest)?;
        }
        rest.is_empty().then(|| (tables, Self::File(path.to_owned(), PREFIX_BYTES as u64 + len), about))
    }

    /// What [`Pages::open`] reads; `None` when it is too large, or in a file already.
    pub(super) fn to_file(&self, about: About, tables: &[Directory; TABLES]) -> Option<Vec<u8>> {
        let Self::Memory(pages) = self else { return None };
        let mut head = about.to_bytes();
        tables.iter().for_each(|table| table.to_bytes(&mut head));
        let len = u32::try_from(head.len()).ok().filter(|len| u64::from(*len) <= HEAD_BYTES_MAX)?;
        let mut out = Vec::with_capacity(PREFIX_BYTES + head.len() + pages.len());
        out.extend_from_slice(MAGIC);
        out.extend_from_slice(&len.to_le_bytes());
        out.extend_from_slice(&crc32c::crc32c(&head).to_le_bytes());
        out.append(&mut head);
        out.extend_from_slice(pages);
        Some(out)
    }

    /// So many bytes of the pages; `None` where there are fewer.
    fn read(&self, disk: &dyn Disk, offset: u64, len: u64) -> Option<Vec<u8>> {
        let mut bytes = Vec::new();
        match self {
            Self::Memory(pages) => {
                let start = usize::try_from(offset).ok()?;
                bytes.extend_from_slice(pages.get(start..start.checked_add(usize::try_from(len).ok()?)?)?);
            }
            Self::File(path, start) => {
                let reader = disk.read(path, start.checked_add(offset)?).ok()?;
                reader.take(len).read_to_end(&mut bytes).ok()?;
            }
        }
        (bytes.len() as u64 == len).then_some(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::system::SystemDisk;

    /// So many keys that there are several pages, some of which begin alike.
    fn table() -> (Directory, Pages, Vec<(Vec<u8>, u32)>) {
        let key = |n: u32| format!("src/part{}/file{:05}.rs", n / 700, n).into_bytes();
        let all: Vec<_> = (0..3000).map(|n| (key(n), n * 7)).collect();
        let mut out = Vec::new();
        let mut writer = Writer::new(&mut out, Parts::Told);
        all.iter().try_for_each(|(key, place)| writer.key(key, [*place].into_iter())).expect("short");
        let directory = writer.end().expect("short");
        (directory, Pages::Memory(out), all)
    }

    fn ask(directory: &Directory, pages: &Pages, wanted: &Wanted<'_>) -> Option<Vec<(Vec<u8>, u32)>> {
        let mut found = Vec::new();
        let mut take = |key: &[u8], places: &mut dyn Iterator<Item = u32>| {
            found.extend(places.map(|place| (key.to_vec(), place)));
        };
        directory.each(pages, &SystemDisk, wanted, &mut take).then_some(found)
    }

    #[test]
    fn every_key_is_found_by_itself_its_beginning_and_its_parts() {
        let (directory, pages, all) = table();
        assert!(directory.pages.len() > 10);
        for (key, place) in &all {
            let right = Some(vec![(key.clone(), *place)]);
            assert_eq!(ask(&directory, &pages, &Wanted::Key(key)), right);
            assert_eq!(ask(&directory, &pages, &Wanted::Begins(key, Vec::new())), right);
            let part = &key[key.len() - 8..];
            let found = ask(&directory, &pages, &Wanted::Begins(b"", grams(part).collect())).expect("whole");
            assert!(found.contains(&(key.clone(), *place)));
        }
        assert_eq!(ask(&directory, &pages, &Wanted::Begins(b"src/", Vec::new())), Some(all.clone()));
        for absent in [&b""[..], b"src", b"src/part0/file00000.rs/", b"zzz"] {
            assert_eq!(ask(&directory, &pages, &Wanted::Key(absent)), Some(Vec::new()));
        }
        let none = ask(&directory, &pages, &Wanted::Begins(b"", grams(b"nothing has this").collect()));
        assert_eq!(none, Some(Vec::new()), "no page is read for what no page has");
    }

    /// Numbers that look random and are the same each time (Marsaglia, "Xorshift RNGs").
    fn next(state: &mut u64) -> usize {
        *state ^= *state << 13;
        *state ^= *state >> 7;
        *state ^= *state << 17;
        usize::try_from(*state % (1 << 32)).expect("32 bits")
    }

    #[test]
    fn pages_with_right_checksums_and_anything_in_them_do_no_harm() {
        let (directory, pages, all) = table();
        let Pages::Memory(good) = pages else { unreachable!("just made") };
        let mut bytes = Vec::new();
        directory.to_bytes(&mut bytes);
        let (mut state, mut whole) = (0x9e37_79b9_7f4a_7c15, 0);
        for _ in 0..20_000 {
            let mut head = bytes.clone();
            let mut body = good.clone();
            for _ in 0..next(&mut state) % 4 {
                let at = next(&mut state) % head.len();
                head[at] = u8::try_from(next(&mut state) % 256).expect("a byte");
            }
            let Some((mut forged, _)) = Directory::parse(&head) else { continue };
            for _ in 0..next(&mut state) % 4 {
                let at = next(&mut state) % body.len();
                body[at] = u8::try_from(next(&mut state) % 256).expect("a byte");
            }
            let crc = |extent: &mut Extent| {
                let start = usize::try_from(extent.offset).unwrap_or(usize::MAX);
                let part = body.get(start..start.saturating_add(extent.len as usize)).unwrap_or_default();
                extent.crc = crc32c::crc32c(part);
            };
            forged.pages.iter_mut().for_each(|entry| crc(&mut entry.extent));
            crc(&mut forged.prints);
            let pages = Pages::Memory(body);
            let (key, _) = &all[next(&mut state) % all.len()];
            for wanted in [Wanted::Key(key), Wanted::Begins(b"src/", grams(key).collect())] {
                whole += u32::from(ask(&forged, &pages, &wanted).is_some());
            }
        }
        assert!(whole > 1000, "most forgeries are read to the end: {whole}");
    }

    #[test]
    fn directories_of_any_bytes_are_parsed_or_refused() {
        let (directory, _, _) = table();
        let mut bytes = Vec::new();
        directory.to_bytes(&mut bytes);
        assert_eq!(Directory::parse(&bytes), Some((directory, &[][..])));
        for len in 0..bytes.len() {
            assert_eq!(Directory::parse(&bytes[..len]), None, "{len}");
        }
        for at in 0..16 {
            let mut huge = bytes.clone();
            huge[at..at + 8].fill(0xff);
            assert_eq!(Directory::parse(&huge), None, "{at}");
        }
    }
}
