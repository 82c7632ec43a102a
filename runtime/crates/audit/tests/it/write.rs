//! Writing: what the caller is told is what is in the files.
//! It never looks inside the writer.

use crate::common::*;
use std::sync::Arc;
use stockade_audit::record::*;
use stockade_audit::{AfterLog, SessionLog};

#[test]
fn a_session_is_written_closed_and_readable() {
    let scratch = Scratch::new();
    let ledger = ledger(&scratch.0);
    let dir = write_session(&scratch.0, &ledger, sid(1), 3);
    for (path, bytes) in files(&dir) {
        println!("{} {}", path.strip_prefix(&dir).expect("below").display(), bytes.len());
    }
    let segment = std::fs::read(dir.join("seg/000000.seg")).expect("segment");
    let (frames, error) = stockade_audit::frame::scan(&segment);
    assert_eq!(error, None);
    let leaves: Vec<_> = frames.iter().filter(|f| f.kind == stockade_audit::frame::Kind::Entry).collect();
    for leaf in &leaves {
        println!("{}", String::from_utf8_lossy(leaf.payload));
        parse_leaf(leaf.payload).expect("own leaf parses");
    }
    assert_eq!(leaves.len(), 1 + 15 + 1);
}

#[test]
fn an_act_after_the_session_reaches_the_ledger() {
    let scratch = Scratch::new();
    let ledger = ledger(&scratch.0);
    let dir = write_session(&scratch.0, &ledger, sid(1), 1);
    for _ in 0..2 {
        let mut after = AfterLog::open(&dir, Arc::clone(&ledger)).expect("after");
        after.append(Apply(Act::Begin(1))).expect("append");
        after.barrier().expect("barrier");
        after.append(Apply(Act::End(1))).expect("append");
        after.finish().expect("finish");
    }
    assert!(dir.join("after/checkpoint").exists());
}

#[test]
fn a_running_session_cannot_be_applied() {
    let scratch = Scratch::new();
    let ledger = ledger(&scratch.0);
    std::fs::create_dir(scratch.0.join("s")).expect("scratch");
    let dir = scratch.0.join("s").join(sid(1).as_str());
    let log = SessionLog::create(&dir, Arc::clone(&ledger), open_record(sid(1))).expect("session");
    let receipt = log.append_durable(Heartbeat { running: 0, lost: 0 }).expect("append");
    assert!(receipt.durable);
    let error = AfterLog::open(&dir, Arc::clone(&ledger)).expect_err("busy");
    assert!(error.to_string().contains("in use"), "{error}");
    log.heartbeat(0).expect("heartbeat");
    drop(log);
    let after = AfterLog::open(&dir, ledger).expect("recovered");
    after.finish().expect("finish");
}
