//! Tiles and bundles: derived data, which may be missing and must not be another.
//! It never looks into a tile; it compares verdicts.

use crate::common::*;
use crate::verify::{by_ledger, expect_exit};
use std::fs;
use std::num::NonZeroUsize;
use std::path::Path;
use stockade_audit::SessionLog;
use stockade_audit::record::*;
use stockade_audit::verify::{Severity, Verdict, verify};

/// The verdict, which is the same on any number of threads.
#[track_caller]
fn verdict(root: &Path, dir: &Path) -> Verdict {
    let mut options = by_ledger(root);
    let one = verify(dir, &options);
    options.threads = NonZeroUsize::new(3).expect("3");
    assert_eq!(verify(dir, &options), one);
    one
}

#[test]
fn a_full_tile_or_bundle_that_is_another_never_passes() {
    let scratch = Scratch::new();
    let ledger = ledger(&scratch.0);
    let dir = write_session(&scratch.0, &ledger, sid(1), 1000);
    expect_exit(&verdict(&scratch.0, &dir), 0);
    for name in ["tile/entries/003", "tile/0/003", "tile/entries/000", "tile/0/018"] {
        let path = dir.join(name);
        let bytes = fs::read(&path).expect("a full tile");
        let mut flipped = bytes.clone();
        flipped[bytes.len() / 2] ^= 1;
        let longer = [&bytes[..], b"\0"].concat();
        for wrong in [flipped, longer, bytes[..bytes.len() - 1].to_vec(), Vec::new()] {
            fs::write(&path, wrong).expect("written");
            expect_exit(&verdict(&scratch.0, &dir), 2);
        }
        fs::remove_file(&path).expect("removed");
        expect_exit(&verdict(&scratch.0, &dir), 0);
        fs::write(&path, bytes).expect("put back");
    }
    assert!(!dir.join("tile.tmp").exists(), "what was unfinished has its name");
}

/// Blocks of a log of long leaves start anywhere in a tile.
#[test]
fn a_tile_of_long_leaves_that_is_another_never_passes() {
    let scratch = Scratch::new();
    fs::create_dir(scratch.0.join("s")).expect("scratch");
    let dir = scratch.0.join("s").join(sid(1).as_str());
    let log = SessionLog::create(&dir, ledger(&scratch.0), open_record(sid(1))).expect("session");
    let long = "x".repeat(2900);
    let gaps: Vec<Record> = (0..1900).map(|_| Record::new(Heartbeat { running: 0, lost: 0 })).collect();
    let denials = (0..1900).flat_map(|n| {
        let call = CallId::new(format!("l{n}")).expect("plain");
        let asked = Call { tool: "exec".into(), via: "cli".into(), input: None };
        let denied = Deny { rule: "r".into(), reason: long.clone() };
        [Record::new(asked).of_call(&call), Record::new(denied).of_call(&call)]
    });
    log.append_all(&gaps).expect("append");
    log.append_all(&denials.collect::<Vec<_>>()).expect("append");
    log.close(Cause::Exit, 0).expect("close");
    expect_exit(&verdict(&scratch.0, &dir), 0);
    for number in (0..22).step_by(5) {
        for level in ["entries", "0"] {
            let path = dir.join(format!("tile/{level}/{number:03}"));
            let mut bytes = fs::read(&path).expect("a full tile");
            let last = bytes.len() - 1;
            bytes[last] ^= 1;
            fs::write(&path, &bytes).expect("written");
            let broken = verdict(&scratch.0, &dir);
            expect_exit(&broken, 2);
            let named = format!("tile/{level}/{number:03} does not match the leaves");
            let wrong = broken.findings.iter().filter(|f| f.severity == Severity::Broken);
            let texts: Vec<&str> = wrong.map(|f| &*f.text).collect();
            assert_eq!(texts, [named]);
            bytes[last] ^= 1;
            fs::write(&path, &bytes).expect("put back");
        }
    }
}

/// An earlier, shorter tile beside the full one is compared too.
#[test]
fn a_part_of_a_tile_that_is_another_never_passes() {
    let scratch = Scratch::new();
    let dir = write_session(&scratch.0, &ledger(&scratch.0), sid(1), 1000);
    let part = dir.join("tile/0/003.p");
    fs::create_dir(&part).expect("made");
    let hashes = fs::read(dir.join("tile/0/003")).expect("a full tile");
    fs::write(part.join("9"), &hashes[..9 * 32]).expect("written");
    expect_exit(&verdict(&scratch.0, &dir), 0);
    fs::write(part.join("10"), &hashes[32..11 * 32]).expect("written");
    expect_exit(&verdict(&scratch.0, &dir), 2);
}
