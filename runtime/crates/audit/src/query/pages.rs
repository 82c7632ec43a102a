//! Sorted keys with places, in pages: a small directory is held in memory, and of the rest only what a question needs.
//! It never trusts what it reads: a page that does not match its checksum is no page.

use crate::disk::Disk;
use crate::error::{AuditError, Result};
use std::io::Read as _;
use std::path::{Path, PathBuf};

const MAGIC: &[u8; 16] = b"stockade-index3\n";
/// Magic, bytes and checksum of the head.
const PREFIX_BYTES: usize = 24;
const HEAD_BYTES_MAX: u64 = 1 << 30;
/// A page ends with the key that makes it this long.
const PAGE_BYTES: usize = 8 << 10;

/// How many tables a file has.
pub(super) const TABLES: usize = 4;

/// Is shown a key and its places.
type Visit<'a> = dyn FnMut(&[u8], &mut dyn Iterator<Item = u64>) + 'a;

/// Keys and places in the order in which they were seen.
#[derive(Debug, Default)]
pub(super) struct Seen {
    keys: Vec<u8>,
    /// First eight bytes of the key, which mostly decide; start and length in `keys`; place.
    entries: Vec<(u64, u32, u32, u64)>,
}

impl Seen {
    pub(super) fn add(&mut self, key: &[u8], place: u64) -> Result<()> {
        let fits = u32::try_from(self.keys.len()).ok().zip(u32::try_from(key.len()).ok());
        let (start, len) = fits.ok_or_else(|| too_large("paths"))?;
        self.keys.extend_from_slice(key);
        self.entries.push((0, start, len, place));
        Ok(())
    }

    /// Appends the pages to `out`, and gives their directory.
    pub(super) fn into_pages(mut self, out: &mut Vec<u8>) -> Result<Directory> {
        let keys = &self.keys;
        let key = |start: u32, len: u32| &keys[start as usize..start as usize + len as usize];
        // Paths of one tree start alike: the eight bytes behind what all have in common tell most of them apart.
        let mut all = self.entries.iter().map(|(_, start, len, _)| key(*start, *len));
        let first = all.next().unwrap_or_default();
        let common =
            all.fold(first.len(), |common, key| key.iter().zip(&first[..common]).take_while(|(a, b)| a == b).count());
        for (lead, start, len, _) in &mut self.entries {
            let rest = &key(*start, *len)[common..];
            let mut bytes = [0; 8];
            bytes.iter_mut().zip(rest).for_each(|(to, from)| *to = *from);
            *lead = u64::from_be_bytes(bytes);
        }
        self.entries.sort_unstable_by(|a, b| {
            a.0.cmp(&b.0).then_with(|| key(a.1, a.2).cmp(key(b.1, b.2))).then_with(|| a.3.cmp(&b.3))
        });
        let mut directory = Directory::default();
        let mut page = Vec::with_capacity(2 * PAGE_BYTES);
        let mut first: &[u8] = &[];
        for same in self.entries.chunk_by(|a, b| key(a.1, a.2) == key(b.1, b.2)) {
            let [(_, start, len, _), ..] = same else { continue };
            if page.is_empty() {
                first = key(*start, *len);
            }
            let places =
                u32::try_from(same.len()).expect("there are fewer than there are bytes of keys, or they are empty");
            page.extend_from_slice(&len.to_le_bytes());
            page.extend_from_slice(&places.to_le_bytes());
            page.extend_from_slice(key(*start, *len));
            same.iter().for_each(|(_, _, _, place)| page.extend_from_slice(&place.to_le_bytes()));
            if page.len() >= PAGE_BYTES {
                directory.add(first, out, &mut page)?;
            }
        }
        if !page.is_empty() {
            directory.add(first, out, &mut page)?;
        }
        Ok(directory)
    }
}

fn too_large(of: &str) -> AuditError {
    AuditError::Invalid { what: "an index", why: format!("the log has more than 4 GiB of {of}") }
}

/// Where the pages of one table are, and with which key each starts.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Directory {
    keys: Vec<u8>,
    pages: Vec<Entry>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Entry {
    /// End in `keys` of its first key.
    key_end: u32,
    /// Bytes.
    len: u32,
    /// From the start of all pages.
    offset: u64,
    crc: u32,
}

const ENTRY_BYTES: usize = 20;

impl Directory {
    fn add(&mut self, first: &[u8], out: &mut Vec<u8>, page: &mut Vec<u8>) -> Result<()> {
        self.keys.extend_from_slice(first);
        let fits = u32::try_from(self.keys.len()).ok().zip(u32::try_from(page.len()).ok());
        let (key_end, len) = fits.ok_or_else(|| too_large("places of one path"))?;
        self.pages.push(Entry { key_end, len, offset: out.len() as u64, crc: crc32c::crc32c(page) });
        out.append(page);
        Ok(())
    }

    fn first_key(&self, page: usize) -> &[u8] {
        let end = |page: usize| self.pages.get(page).map_or(0, |page| page.key_end as usize);
        let start = page.checked_sub(1).map_or(0, end);
        self.keys.get(start..end(page)).unwrap_or_default()
    }

    /// Shows each key that starts with `prefix` (or, `exactly`, is it) with its places. False when a page cannot be had.
    pub(super) fn each_from(
        &self,
        pages: &Pages,
        disk: &dyn Disk,
        prefix: &[u8],
        exactly: bool,
        visit: &mut Visit<'_>,
    ) -> bool {
        let (mut low, mut high) = (0, self.pages.len());
        while low < high {
            let middle = low.midpoint(high);
            if self.first_key(middle) <= prefix { low = middle + 1 } else { high = middle }
        }
        // The page before the first that starts behind the prefix can end with keys that have it.
        for number in low.saturating_sub(1)..self.pages.len() {
            let first = self.first_key(number);
            if number >= low && (exactly || !first.starts_with(prefix)) {
                break;
            }
            let Some(page) = self.pages.get(number).and_then(|entry| pages.page(disk, *entry)) else { return false };
            let mut rest = &page[..];
            while let Some((key, places, after)) = next_key(rest) {
                rest = after;
                if if exactly { key == prefix } else { key.starts_with(prefix) } {
                    visit(key, &mut places.as_chunks::<8>().0.iter().map(|place| u64::from_le_bytes(*place)));
                }
            }
            if !rest.is_empty() {
                return false;
            }
        }
        true
    }

    fn to_bytes(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&(self.keys.len() as u64).to_le_bytes());
        out.extend_from_slice(&(self.pages.len() as u64).to_le_bytes());
        out.extend_from_slice(&self.keys);
        for Entry { key_end, len, offset, crc } in &self.pages {
            out.extend_from_slice(&key_end.to_le_bytes());
            out.extend_from_slice(&len.to_le_bytes());
            out.extend_from_slice(&offset.to_le_bytes());
            out.extend_from_slice(&crc.to_le_bytes());
        }
    }

    fn parse(bytes: &[u8]) -> Option<(Self, &[u8])> {
        let (lens, rest) = bytes.split_at_checked(16)?;
        let len = |i: usize| usize::try_from(u64::from_le_bytes(*lens[8 * i..].first_chunk()?)).ok();
        let (keys, rest) = rest.split_at_checked(len(0)?)?;
        let (entries, rest) = rest.split_at_checked(len(1)?.checked_mul(ENTRY_BYTES)?)?;
        let half = |bytes: &[u8; ENTRY_BYTES], at: usize| Some(u32::from_le_bytes(*bytes[at..].first_chunk()?));
        let entry = |bytes: &[u8; ENTRY_BYTES]| {
            let offset = u64::from_le_bytes(*bytes[8..].first_chunk()?);
            Some(Entry { key_end: half(bytes, 0)?, len: half(bytes, 4)?, offset, crc: half(bytes, 16)? })
        };
        let pages = entries.as_chunks::<ENTRY_BYTES>().0.iter().map(entry).collect::<Option<Vec<_>>>()?;
        Some((Self { keys: keys.to_vec(), pages }, rest))
    }
}

/// Key and places at the start of `bytes`, and what follows.
fn next_key(bytes: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let (key_len, rest) = bytes.split_first_chunk::<4>()?;
    let (places, rest) = rest.split_first_chunk::<4>()?;
    let (key, rest) = rest.split_at_checked(u32::from_le_bytes(*key_len) as usize)?;
    let (places, rest) = rest.split_at_checked((u32::from_le_bytes(*places) as usize).checked_mul(8)?)?;
    Some((key, places, rest))
}

/// The pages of all tables.
#[derive(Debug)]
pub(super) enum Pages {
    /// Just made.
    Memory(Vec<u8>),
    /// In this file, from this offset on.
    File(PathBuf, u64),
}

impl Pages {
    /// The directories in a file, if it was made from what `stamp` says.
    pub(super) fn open(disk: &dyn Disk, path: &Path, stamp: &[u8]) -> Option<([Directory; TABLES], Self)> {
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
        let (stamp_len, rest) = head.split_first_chunk::<8>()?;
        if u64::from_le_bytes(*stamp_len) != stamp.len() as u64 {
            return None;
        }
        let mut rest = rest.strip_prefix(stamp)?;
        let mut tables = [(); TABLES].map(|()| Directory::default());
        for table in &mut tables {
            (*table, rest) = Directory::parse(rest)?;
        }
        rest.is_empty().then(|| (tables, Self::File(path.to_owned(), PREFIX_BYTES as u64 + len)))
    }

    /// What [`Pages::open`] reads; `None` when it is too large, or in a file already.
    pub(super) fn to_file(&self, stamp: &[u8], tables: [&Directory; TABLES]) -> Option<Vec<u8>> {
        let Self::Memory(pages) = self else { return None };
        let mut head = (stamp.len() as u64).to_le_bytes().to_vec();
        head.extend_from_slice(stamp);
        tables.iter().for_each(|table| table.to_bytes(&mut head));
        let len = u32::try_from(head.len()).ok().filter(|len| u64::from(*len) <= HEAD_BYTES_MAX)?;
        let mut out = MAGIC.to_vec();
        out.extend_from_slice(&len.to_le_bytes());
        out.extend_from_slice(&crc32c::crc32c(&head).to_le_bytes());
        out.append(&mut head);
        out.extend_from_slice(pages);
        Some(out)
    }

    fn page(&self, disk: &dyn Disk, entry: Entry) -> Option<Vec<u8>> {
        let len = entry.len as usize;
        let mut page = Vec::new();
        match self {
            Self::Memory(pages) => {
                let start = usize::try_from(entry.offset).ok()?;
                page.extend_from_slice(pages.get(start..start.checked_add(len)?)?);
            }
            Self::File(path, start) => {
                let reader = disk.read(path, start.checked_add(entry.offset)?).ok()?;
                reader.take(len as u64).read_to_end(&mut page).ok()?;
            }
        }
        (page.len() == len && crc32c::crc32c(&page) == entry.crc).then_some(page)
    }
}
