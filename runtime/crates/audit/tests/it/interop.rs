//! Public crates that nobody here wrote accept our checkpoints, tiles and proofs.
//! It never uses our own hashing to check our own hashing.

use crate::common::*;
use signed_note::{Note, StandardVerifier, VerifierList};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use stockade_audit::SessionLog;
use stockade_audit::merkle::Range;
use stockade_audit::query::LogReader;
use stockade_audit::record::*;
use tlog_tiles::{Checkpoint, EMPTY_HASH, Hash, Tile, TileHashReader, TileReader};

/// Serves the tiles of a directory as C2SP `tlog-tiles` says.
struct Files(PathBuf);

impl TileReader for Files {
    fn height(&self) -> u8 {
        8
    }

    fn read_tiles(&self, tiles: &[Tile]) -> Result<Vec<Vec<u8>>, tlog_tiles::Error> {
        let path = |tile: &Tile| self.0.join(tile.path().replacen("tile/8/", "tile/", 1));
        let read = |tile| std::fs::read(path(tile)).map_err(|error| tlog_tiles::Error::InvalidInput(error.to_string()));
        tiles.iter().map(read).collect()
    }

    fn save_tiles(&self, _: &[Tile], _: &[Vec<u8>]) {}
}

/// The checkpoint in a note, if the public crate says that the log's key signed it.
fn checked(dir: &Path, note: &str) -> Checkpoint {
    let vkey = std::fs::read_to_string(dir.join("vkey")).expect("vkey");
    let verifier = StandardVerifier::new(vkey.trim()).expect("a C2SP vkey");
    let note = Note::from_bytes(note.as_bytes()).expect("a C2SP note");
    let (verified, unknown) = note.verify(&VerifierList::new(vec![Box::new(verifier)])).expect("signed");
    assert_eq!((verified.len(), unknown.len()), (1, 0));
    Checkpoint::from_bytes(note.text()).expect("a C2SP checkpoint")
}

/// The entries of a log, from its C2SP bundles.
fn entries(dir: &Path, size: u64) -> Vec<Vec<u8>> {
    let mut entries = Vec::new();
    for number in 0..size.div_ceil(256) {
        let width = (size - number * 256).min(256);
        let tile = Tile::new(8, 0, number, u32::try_from(width).expect("256"), false);
        let path = tile.path().replacen("tile/8/0/", "tile/entries/", 1);
        let bundle = std::fs::read(dir.join(path)).expect("bundle");
        let mut rest = &bundle[..];
        while let Some((len, tail)) = rest.split_first_chunk::<2>() {
            let (entry, tail) = tail.split_at(usize::from(u16::from_be_bytes(*len)));
            entries.push(entry.to_vec());
            rest = tail;
        }
    }
    entries
}

fn log_of_size(root: &Path, size: u64) -> PathBuf {
    let ledger = ledger(root);
    std::fs::create_dir(root.join("s")).expect("scratch");
    let dir = root.join("s").join(sid(1).as_str());
    let log = SessionLog::create(&dir, Arc::clone(&ledger), open_record(sid(1))).expect("session");
    let beats: Vec<Record> = (2..size).map(|running| Heartbeat { running, lost: 0 }.into()).collect();
    beats.chunks(1000).for_each(|chunk| drop(log.append_all(chunk).expect("append")));
    log.close(Cause::Exit, 0).expect("close");
    dir
}

#[test]
fn other_implementations_accept_checkpoints_tiles_bundles_and_proofs_of_every_shape() {
    assert_eq!(Range::default().root(), EMPTY_HASH.0, "size 0");
    for size in [2, 3, 255, 256, 257, 511, 513, 65_535, 65_536, 65_537, 70_000] {
        let scratch = Scratch::new();
        let dir = log_of_size(&scratch.0, size);
        let note = std::fs::read_to_string(dir.join("checkpoint")).expect("checkpoint");
        let checkpoint = checked(&dir, &note);
        assert_eq!(checkpoint.size(), size);
        let files = Files(dir.clone());
        let reader = TileHashReader::new(size, *checkpoint.hash(), &files);
        assert_eq!(tlog_tiles::tree_hash(size, &reader).expect("tiles lead to the root"), *checkpoint.hash());
        let entries = entries(&dir, size);
        assert_eq!(entries.len() as u64, size);
        let log = LogReader::open(&dir).expect("reader");
        for n in [0, 1, size / 2, size - 1] {
            let hash = tlog_tiles::record_hash(&entries[usize::try_from(n).expect("small")]);
            let theirs = tlog_tiles::prove_record(size, n, &reader).expect("their proof");
            tlog_tiles::check_record(&theirs, size, *checkpoint.hash(), n, hash).expect("their proof of our leaf");
            let ours = log.prove(n).expect("our proof");
            let path: Vec<Hash> = ours.path.iter().map(|hash| Hash(*hash)).collect();
            tlog_tiles::check_record(&path, size, *checkpoint.hash(), n, hash).expect("our proof, checked by them");
            assert_eq!(checked(&dir, &ours.checkpoint), checkpoint);
        }
        let notes = std::fs::read(dir.join("checkpoints")).expect("checkpoints");
        for note in stockade_audit::note::split_notes(&notes).0 {
            let old = checked(&dir, note);
            let proof = tlog_tiles::prove_tree(size, old.size(), &reader).expect("consistency");
            tlog_tiles::check_tree(&proof, size, *checkpoint.hash(), old.size(), *old.hash()).expect("consistent");
            if old.size() == 1 {
                assert_eq!(tlog_tiles::record_hash(&entries[0]), *old.hash(), "size 1");
            }
        }
    }
}
