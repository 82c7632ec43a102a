//! Index files that somebody wrote on purpose: right checksums, wrong content. Nothing is shown that is not so, and a
//! log that came from elsewhere, or was changed, is asked itself.
//! It knows of the layout what a forger must: where checksums are.

use crate::common::*;
use std::fs;
use std::path::{Path, PathBuf};
use stockade_audit::SessionLog;
use stockade_audit::query::*;
use stockade_audit::record::*;

/// Bytes before the head of an index, and of its mark: device, inode, length, change, and whether the segment is whole.
const PREFIX: usize = 24;
const CHANGES: u64 = 20_000;

/// A closed session large enough for an index, each of whose leaves is about the path that `name` gives; its directory.
fn write(root: &Path, number: u8, name: impl Fn(u64) -> String) -> PathBuf {
    let ledger = ledger(root);
    let dir = root.join("s").join(sid(number).as_str());
    fs::create_dir_all(root.join("s")).expect("scratch");
    let log = SessionLog::create(&dir, ledger, open_record(sid(number))).expect("session");
    let change = |n: u64| {
        let path = LogPath(name(n).into_bytes());
        let (op, a) = (Change::Created, Some(file(2)));
        Record::new(FsOutcome { path, path_h: None, op, b: None, a, lines: None, ino: None, mark: None })
            .of_call(&call_id(1))
    };
    for start in (0..CHANGES).step_by(1000) {
        log.append_all(&(start..start + 1000).map(change).collect::<Vec<_>>()).expect("append");
    }
    log.close(Cause::Exit, 0).expect("close");
    dir
}

fn index_of(dir: &Path) -> PathBuf {
    dir.join("idx/000000.idx")
}

fn word_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(*bytes[at..].first_chunk().expect("four bytes"))
}

fn number_at(bytes: &[u8], at: usize) -> usize {
    word_at(bytes, at) as usize
}

/// Changes the pages of an index, and makes every checksum right again.
fn forge(good: &[u8], edit: impl FnOnce(&mut [u8])) -> Vec<u8> {
    let head_len = number_at(good, 16);
    let (head, pages) = good.split_at(PREFIX + head_len);
    let (mut head, mut forged) = (head.to_vec(), pages.to_vec());
    edit(&mut forged);
    // An extent is offset, length and checksum: sixteen bytes of the head that are right about the pages.
    for at in PREFIX..head.len() - 16 {
        let offset = usize::try_from(u64::from_le_bytes(*head[at..].first_chunk().expect("eight"))).expect("64 bits");
        let part = |of: &[u8]| of.get(offset..offset.checked_add(number_at(&head, at + 8))?).map(crc32c::crc32c);
        if number_at(&head, at + 8) > 0 && part(pages) == Some(word_at(&head, at + 12)) {
            let crc = part(&forged).expect("of the same length");
            head[at + 12..at + 16].copy_from_slice(&crc.to_le_bytes());
        }
    }
    let crc = crc32c::crc32c(&head[PREFIX..]);
    head[20..24].copy_from_slice(&crc.to_le_bytes());
    [head, forged].concat()
}

/// Leaves about a path: by the index, and by looking at each.
fn both(dir: &Path, path: &str) -> (Vec<u64>, Vec<u64>) {
    let log = LogReader::open(dir).expect("reader");
    let why = log.why(&Glob::exactly(path)).expect("why");
    let by_index = why.iter().filter_map(|why| Some(why.change.as_ref()?.leaf.n)).collect();
    let mut by_walk = Vec::new();
    log.each(&mut |leaf| {
        by_walk.extend(path_of(&leaf.body).filter(|found| found.0 == path.as_bytes()).map(|_| leaf.n));
        Ok(())
    })
    .expect("walk");
    (by_index, by_walk)
}

fn position(bytes: &[u8], text: &[u8]) -> usize {
    bytes.windows(text.len()).position(|part| part == text).expect("it is in the file")
}

#[test]
fn a_place_of_another_leaf_or_of_none_is_seen_through() {
    let scratch = Scratch::new();
    let dir = write(&scratch.0, 1, |n| format!("{n:05}/long-enough-a-name-for-a-large-log"));
    let path = index_of(&dir);
    let good = fs::read(&path).expect("made when the session was closed");
    let pages = |bytes: &[u8]| PREFIX + number_at(bytes, 16);
    // The key is written up to what it shares with the one before: its end, then its places.
    let key = "12345/long-enough-a-name-for-a-large-log";
    let of_key = position(&good[pages(&good)..], b"5/long-enough-a-name-for-a-large-log");
    let place = of_key + b"5/long-enough-a-name-for-a-large-log".len();
    assert_eq!(forge(&good, |_| ()), good, "what was not edited is as it was");
    let right = both(&dir, key);
    assert_eq!((right.0.len(), &right.0), (1, &right.1));
    let other = *good[pages(&good) + place..].first_chunk::<4>().expect("a place");
    for wrong in [other, [0; 4], [1, 0, 0, 0], [0xff; 4]] {
        // All keys of this ending in the first page, so that the one that is asked for is among them.
        let forged = forge(&good, |pages| {
            let end = b"/long-enough-a-name-for-a-large-log";
            for at in 0..pages.len() - end.len() - 4 {
                if pages[at..].starts_with(end) {
                    pages[at + end.len()..at + end.len() + 4].copy_from_slice(&wrong);
                }
            }
        });
        assert_ne!(forged, good);
        fs::write(&path, forged).expect("written");
        assert_eq!(both(&dir, key), right, "{wrong:?}");
    }
}

#[test]
fn an_index_of_another_log_is_not_believed() {
    let scratch = Scratch::new();
    let [one, other] = [(1, "secret"), (2, "public")].map(|(number, word)| {
        write(&scratch.0, number, |n| format!("{word}/{n:05}/long-enough-a-name-for-a-large-log"))
    });
    let path = "secret/00007/long-enough-a-name-for-a-large-log";
    let right = both(&one, path);
    assert_eq!((right.0.len(), &right.0), (1, &right.1));
    // The other's pages under this one's mark is what only somebody on this machine can write; its own file is another's.
    fs::copy(index_of(&other), index_of(&one)).expect("copied");
    assert_eq!(both(&one, path), right);
}

#[test]
fn an_index_that_came_with_a_copy_is_not_believed() {
    let scratch = Scratch::new();
    let dir = write(&scratch.0, 1, |n| format!("{n:05}/long-enough-a-name-for-a-large-log"));
    let copy = scratch.0.join("copy");
    for (from, bytes) in files(&dir) {
        let to = copy.join(from.strip_prefix(&dir).expect("below it"));
        fs::create_dir_all(to.parent().expect("in a directory")).expect("made");
        fs::write(to, bytes).expect("copied");
    }
    let key = "00007/long-enough-a-name-for-a-large-log";
    // It leaves out a path: the one that is asked for has another name in it.
    let end = b"7/long-enough-a-name-for-a-large-log";
    let forged = forge(&fs::read(index_of(&copy)).expect("copied"), |pages| {
        for at in 0..pages.len() - end.len() {
            if pages[at..].starts_with(end) {
                pages[at + 2] = b'X';
            }
        }
    });
    fs::write(index_of(&copy), &forged).expect("written");
    let (by_index, by_walk) = both(&copy, key);
    assert_eq!((by_index.len(), &by_index), (1, &by_walk));
    assert_ne!(fs::read(index_of(&copy)).expect("index"), forged, "it was made again");
}

#[test]
fn a_log_that_was_changed_in_place_is_indexed_again() {
    let scratch = Scratch::new();
    let dir = write(&scratch.0, 1, |n| format!("{n:05}/long-enough-a-name-for-a-large-log"));
    let log = LogReader::open(&dir).expect("reader");
    let (before, after) = ("00007/long-enough-a-name-for-a-large-log", "00007/long-enough-a-name-for-a-large-lie");
    let made = fs::read(index_of(&dir)).expect("made when the session was closed");
    let segment = dir.join("seg/000000.seg");
    let mut bytes = fs::read(&segment).expect("segment");
    let name = position(&bytes, before.as_bytes());
    // The frame: length, type, checksum, then the leaf.
    let leaf = bytes[..name].windows(6).rposition(|part| part == b"{\"v\":1").expect("the leaf with that name");
    let len = number_at(&bytes, leaf - 9);
    let crc_before = crc32c::crc32c_append(crc32c::crc32c(&bytes[leaf - 9..leaf - 4]), &bytes[leaf..leaf + len]);
    assert_eq!(word_at(&bytes, leaf - 4), crc_before, "that is where the checksum is");
    bytes[name..name + after.len()].copy_from_slice(after.as_bytes());
    let crc = crc32c::crc32c_append(crc32c::crc32c(&bytes[leaf - 9..leaf - 4]), &bytes[leaf..leaf + len]);
    bytes[leaf - 4..leaf].copy_from_slice(&crc.to_le_bytes());
    // Of the same length, and with the same end.
    fs::write(&segment, bytes).expect("changed");
    assert_eq!(log.why(&Glob::exactly(after)).expect("why").len(), 1);
    assert_eq!(log.why(&Glob::exactly(before)).expect("why").len(), 0);
    assert_ne!(fs::read(index_of(&dir)).expect("index"), made, "it was made again");
}
