//! The test vectors of `LOG-FORMAT.md`: a session written with a fixed clock and fixed randomness.
//! It never computes what the document says; it compares.

use crate::common::*;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use stockade_audit::record::*;
use stockade_audit::system::{Clock, Random, SystemDisk};
use stockade_audit::text::hex;
use stockade_audit::{Machine, SessionLog, merkle};

const DOCUMENT: &str = include_str!("../../../../LOG-FORMAT.md");

struct Still;

impl Clock for Still {
    fn wall_ns(&self) -> u64 {
        1_700_000_000_000_000_000
    }

    fn mono_ns(&self) -> u64 {
        0
    }

    fn since_ns(&self, _moment: std::time::Instant) -> u64 {
        0
    }
}

/// Each draw is filled with one byte: 1 for the first, 2 for the second, and so on.
struct Counting(AtomicU8);

impl Random for Counting {
    fn fill(&self, out: &mut [u8]) -> std::io::Result<()> {
        out.fill(self.0.fetch_add(1, Ordering::Relaxed) + 1);
        Ok(())
    }
}

/// The first leaf of a session in a container: the same session, behind the other wall.
#[test]
fn the_document_says_what_the_writer_writes_of_a_container() {
    let scratch = Scratch::new();
    let random = Arc::new(Counting(AtomicU8::new(0)));
    let machine = Machine { disk: Arc::new(SystemDisk), clock: Arc::new(Still), random };
    let ledger = ledger_on(machine, &scratch.0);
    std::fs::create_dir(scratch.0.join("s")).expect("scratch");
    let dir = scratch.0.join("s").join(sid(1).as_str());
    let log = SessionLog::create(&dir, ledger, contained_record(sid(1))).expect("session");
    log.close(Cause::Exit, 0).expect("close");
    let segment = std::fs::read(dir.join("seg/000000.seg")).expect("segment");
    let (frames, _) = stockade_audit::frame::scan(&segment);
    let first = frames.iter().find(|frame| frame.kind == stockade_audit::frame::Kind::Entry).expect("a leaf");
    let leaf = String::from_utf8(first.payload.to_vec()).expect("JSON");
    for line in [leaf, hex(&merkle::leaf_hash(first.payload))] {
        assert!(DOCUMENT.lines().any(|said| said == line), "LOG-FORMAT.md lacks:\n{line}");
    }
}

#[test]
fn the_document_says_what_the_writer_writes() {
    let scratch = Scratch::new();
    let random = Arc::new(Counting(AtomicU8::new(0)));
    let machine = Machine { disk: Arc::new(SystemDisk), clock: Arc::new(Still), random };
    let ledger = ledger_on(machine, &scratch.0);
    std::fs::create_dir(scratch.0.join("s")).expect("scratch");
    let dir = scratch.0.join("s").join(sid(1).as_str());
    let log = SessionLog::create(&dir, Arc::clone(&ledger), open_record(sid(1))).expect("session");
    let mut records = call_records(1);
    let Body::FsOutcome(change) = &mut records[4].body else { unreachable!("the fifth record is a changed file") };
    change.path = LogPath(b"src/\xff.rs".to_vec());
    log.append_all(&records).expect("append");
    let closed = log.close(Cause::Exit, 0).expect("close");
    let segment = std::fs::read(dir.join("seg/000000.seg")).expect("segment");
    let (frames, _) = stockade_audit::frame::scan(&segment);
    let mut expected =
        vec![ledger.vkey().to_string(), std::fs::read_to_string(dir.join("vkey")).expect("vkey").trim().to_owned()];
    for frame in frames.iter().filter(|frame| frame.kind == stockade_audit::frame::Kind::Entry) {
        expected.push(String::from_utf8(frame.payload.to_vec()).expect("JSON"));
        expected.push(hex(&merkle::leaf_hash(frame.payload)));
    }
    expected.extend(closed.checkpoint.lines().filter(|line| !line.is_empty()).map(str::to_owned));
    expected.push(hex(&closed.root));
    expected.extend(std::fs::read_to_string(dir.join("open/openings")).expect("openings").lines().map(str::to_owned));
    expected.push(hex(segment.get(..48).expect("longer")));
    let missing: Vec<&String> = expected.iter().filter(|line| !DOCUMENT.contains(line.as_str())).collect();
    assert!(
        missing.is_empty(),
        "LOG-FORMAT.md lacks:\n{}",
        missing.iter().map(|line| format!("{line}\n")).collect::<String>()
    );
}
