//! Verifying honest logs: they pass, whoever vouches, and what is missing is named.
//! It never changes a byte of a log.

use crate::common::*;
use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::Arc;
use stockade_audit::note::Vkey;
use stockade_audit::record::*;
use stockade_audit::verify::*;
use stockade_audit::{AfterLog, SessionLog};

pub(crate) fn by_ledger(root: &Path) -> VerifyOptions {
    VerifyOptions::new(Trust::LedgerDir { dir: root.join("ledger"), vkey: None })
}

#[track_caller]
pub(crate) fn expect_exit(verdict: &Verdict, code: u8) {
    let findings: Vec<String> = verdict.findings.iter().map(ToString::to_string).collect();
    assert_eq!(verdict.exit_code(), code, "{findings:#?}");
}

fn vkey_in(dir: &Path) -> Vkey {
    Vkey::parse(&std::fs::read_to_string(dir.join("vkey")).expect("vkey")).expect("key")
}

#[test]
fn an_honest_session_passes_whoever_vouches() {
    let scratch = Scratch::new();
    let ledger = ledger(&scratch.0);
    let dir = write_session(&scratch.0, &ledger, sid(1), 5);
    expect_exit(&verify(&dir, &by_ledger(&scratch.0)), 0);
    expect_exit(&verify(&dir, &VerifyOptions::new(Trust::Session(vkey_in(&dir)))), 0);
    expect_exit(&verify(&dir, &VerifyOptions::new(Trust::Ledger(ledger.vkey()))), 0);
    expect_exit(&verify_ledger(&scratch.0.join("ledger"), Some(&scratch.0.join("s")), None, NonZeroUsize::MIN), 0);
}

#[test]
fn a_log_that_nobody_vouches_for_is_never_a_pass() {
    let scratch = Scratch::new();
    let dir = write_session(&scratch.0, &ledger(&scratch.0), sid(1), 1);
    expect_exit(&verify(&dir, &VerifyOptions::new(Trust::Nothing)), 3);
}

#[test]
fn an_interrupted_session_is_incomplete_before_and_after_recovery() {
    let scratch = Scratch::new();
    let ledger = ledger(&scratch.0);
    std::fs::create_dir(scratch.0.join("s")).expect("scratch");
    let dir = scratch.0.join("s").join(sid(1).as_str());
    let log = SessionLog::create(&dir, Arc::clone(&ledger), open_record(sid(1))).expect("session");
    log.append_all(&call_records(1)).expect("append");
    log.heartbeat(0).expect("heartbeat");
    drop(log);
    expect_exit(&verify(&dir, &by_ledger(&scratch.0)), 3);
    let after = AfterLog::open(&dir, Arc::clone(&ledger)).expect("recovered");
    after.finish().expect("finish");
    expect_exit(&verify(&dir, &by_ledger(&scratch.0)), 3);
}

#[test]
fn acts_after_the_close_are_verified_too() {
    let scratch = Scratch::new();
    let ledger = ledger(&scratch.0);
    let dir = write_session(&scratch.0, &ledger, sid(1), 2);
    let mut after = AfterLog::open(&dir, Arc::clone(&ledger)).expect("after");
    let change = FsOutcome {
        path_h: None,
        path: "a".into(),
        op: Change::Created,
        b: None,
        a: Some(file(1)),
        lines: None,
        ino: None,
        mark: None,
    };
    after.append(Apply(Act::Begin(1))).expect("append");
    after.append(Apply(Act::File(Box::new(change)))).expect("append");
    after.barrier().expect("barrier");
    after.append(Apply(Act::End(1))).expect("append");
    after.finish().expect("finish");
    expect_exit(&verify(&dir, &by_ledger(&scratch.0)), 0);
    expect_exit(&verify(&dir, &VerifyOptions::new(Trust::Ledger(ledger.vkey()))), 0);
    let mut after = AfterLog::open(&dir, Arc::clone(&ledger)).expect("after");
    after.append(Undo(Act::Begin(1))).expect("append");
    after.finish().expect("finish");
    expect_exit(&verify(&dir, &by_ledger(&scratch.0)), 3);
    std::fs::remove_dir_all(dir.join("after")).expect("removed");
    expect_exit(&verify(&dir, &by_ledger(&scratch.0)), 2);
}

#[test]
fn two_threads_say_what_one_says() {
    let scratch = Scratch::new();
    let ledger = ledger(&scratch.0);
    let dir = write_session(&scratch.0, &ledger, sid(1), 4000);
    let one = verify(&dir, &by_ledger(&scratch.0));
    let two = VerifyOptions { threads: NonZeroUsize::new(2).expect("2"), ..by_ledger(&scratch.0) };
    assert_eq!(one, verify(&dir, &two));
    expect_exit(&one, 0);
}

#[test]
fn every_missing_piece_of_a_call_is_named() {
    let gone: &[(&str, usize)] =
        &[("without a call", 0), ("permitted call", 1), ("process", 2), ("without a result", 3)];
    for (n, (words, drop)) in gone.iter().enumerate() {
        let scratch = Scratch::new();
        let ledger = ledger(&scratch.0);
        std::fs::create_dir(scratch.0.join("s")).expect("scratch");
        let dir = scratch.0.join("s").join(sid(1).as_str());
        let log = SessionLog::create(&dir, Arc::clone(&ledger), open_record(sid(1))).expect("session");
        let mut records = call_records(n as u64);
        records.remove(*drop);
        log.append_all(&records).expect("append");
        log.close(Cause::Exit, 0).expect("close");
        let verdict = verify(&dir, &by_ledger(&scratch.0));
        expect_exit(&verdict, 3);
        assert!(verdict.findings.iter().any(|finding| finding.text.contains(words)), "{verdict:#?}");
    }
}

#[test]
fn a_gap_is_never_a_pass() {
    let scratch = Scratch::new();
    let ledger = ledger(&scratch.0);
    std::fs::create_dir(scratch.0.join("s")).expect("scratch");
    let dir = scratch.0.join("s").join(sid(1).as_str());
    let log = SessionLog::create(&dir, Arc::clone(&ledger), open_record(sid(1))).expect("session");
    log.gap(3, "the queue of the recorder was full").expect("append");
    log.close(Cause::Exit, 0).expect("close");
    expect_exit(&verify(&dir, &by_ledger(&scratch.0)), 3);
}

#[test]
fn what_is_not_there_cannot_be_checked_and_is_never_a_pass() {
    let scratch = Scratch::new();
    let ledger = ledger(&scratch.0);
    let dir = scratch.0.join("nothing");
    expect_exit(&verify(&dir, &by_ledger(&scratch.0)), 4);
    expect_exit(&verify(&dir, &VerifyOptions::new(Trust::Ledger(ledger.vkey()))), 4);
    expect_exit(&verify(&dir, &VerifyOptions::new(Trust::Nothing)), 4);
}
