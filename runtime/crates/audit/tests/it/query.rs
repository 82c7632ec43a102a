//! Questions to a log: records, filters, processes, reasons, proofs, values and their erasure.
//! It never looks into a file where the reader can be asked.

use crate::common::*;
use crate::verify::{by_ledger, expect_exit};
use std::sync::Arc;
use stockade_audit::disclose::Value;
use stockade_audit::merkle::leaf_hash;
use stockade_audit::note::Vkey;
use stockade_audit::proof::TlogProof;
use stockade_audit::query::*;
use stockade_audit::record::*;
use stockade_audit::verify::verify;
use stockade_audit::{Erase, SessionLog, redact};

#[test]
fn filters_reasons_and_processes_come_from_the_log() {
    let scratch = Scratch::new();
    let ledger = ledger(&scratch.0);
    let dir = write_session(&scratch.0, &ledger, sid(1), 3);
    let log = LogReader::open(&dir).expect("reader");
    let count = |text: &str| log.query(&Filter::parse(text).expect("filter")).expect("query").len();
    assert_eq!(count("k=fs.* path=src/**"), 3);
    assert_eq!(count("tc=c1"), 5);
    assert_eq!(count("k=permit n=..8"), 2);
    assert_eq!(count("path=other/**"), 0);
    assert!(Filter::parse("colour=red").is_err());
    let why = log.why(&Glob::new("src/f2.rs")).expect("why");
    assert_eq!(why.len(), 1);
    let kinds: Vec<_> = why[0].because.iter().map(|found| found.leaf.body.kind()).collect();
    assert_eq!(kinds, ["call", "permit", "result"]);
    assert_eq!(log.tree().expect("tree").0.processes.len(), 3);
    assert_eq!(log.record(2).expect("record").map(|(leaf, _)| leaf.body.kind()), Some("permit"));
    assert_eq!(log.record(999).expect("record"), None);
}

#[test]
fn a_proof_convinces_for_its_leaf_and_for_no_other() {
    let scratch = Scratch::new();
    let dir = write_session(&scratch.0, &ledger(&scratch.0), sid(1), 60);
    let log = LogReader::open(&dir).expect("reader");
    let vkey = Vkey::parse(&std::fs::read_to_string(dir.join("vkey")).expect("vkey")).expect("key");
    let (_, leaf) = log.record(257).expect("record").expect("there");
    let (_, other) = log.record(256).expect("record").expect("there");
    let text = log.prove(257).expect("proof").to_text();
    let proof = TlogProof::parse(&text).expect("own proof parses");
    assert!(proof.verify(&leaf, &vkey).is_some());
    assert!(proof.verify(&other, &vkey).is_none());
    for at in 0..text.len() {
        let mut bytes = text.clone().into_bytes();
        bytes[at] ^= 1;
        let flipped = String::from_utf8(bytes).ok().and_then(|text| TlogProof::parse(&text));
        let accepted =
            flipped.is_some_and(|proof| proof.verify(&leaf, &vkey).is_some() && proof.extra == Some(leaf.clone()));
        assert!(!accepted, "byte {at} flipped and still accepted");
    }
}

#[test]
fn an_erased_value_is_gone_said_to_be_gone_and_the_log_still_passes() {
    let scratch = Scratch::new();
    let ledger = ledger(&scratch.0);
    let dir = write_session(&scratch.0, &ledger, sid(1), 2);
    let log = LogReader::open(&dir).expect("reader");
    let (call, _) = log.record(1).expect("record").expect("there");
    let values = |log: &LogReader| -> Vec<Value> {
        let open = log.disclosed().expect("openings");
        call.disclosed.iter().filter_map(|digest| open.get(&digest.0)).map(|d| d.value.clone()).collect()
    };
    assert_eq!(values(&log).len(), 2);
    let before = std::fs::read(dir.join("seg/000000.seg")).expect("segment");
    let erase = Erase::Value { leaf: 1, name: "argv" };
    redact(&dir, Arc::clone(&ledger), erase, "contained a name", "ops").expect("redacted");
    assert_eq!(values(&log), [Value::Bytes("/work".into())]);
    assert_eq!(before, std::fs::read(dir.join("seg/000000.seg")).expect("segment"));
    let verdict = verify(&dir, &by_ledger(&scratch.0));
    expect_exit(&verdict, 0);
    assert!(verdict.findings.iter().any(|finding| finding.text.contains("was erased")), "{verdict:?}");
    assert!(redact(&dir, ledger, erase, "again", "ops").is_err());
}

#[test]
fn blobs_are_not_in_the_clear_and_give_back_what_went_in() {
    let scratch = Scratch::new();
    let ledger = ledger(&scratch.0);
    std::fs::create_dir(scratch.0.join("s")).expect("scratch");
    let dir = scratch.0.join("s").join(sid(1).as_str());
    let session = SessionLog::create(&dir, Arc::clone(&ledger), open_record(sid(1))).expect("session");
    let content = b"a line that must not be on the disk";
    let blob = session.put_blob(content).expect("blob");
    let large = session.put_blob(&[b'x'; 5000]).expect("blob");
    let mut records = call_records(1);
    let Body::Outcome(outcome) = &mut records[3].body else { unreachable!("the fourth record is the result") };
    outcome.out = Some(Stream { z: content.len() as u64, cut: 0, blob: Some(blob) });
    outcome.err = Some(Stream { z: 5000, cut: 0, blob: Some(large) });
    session.append_all(&records).expect("append");
    session.close(Cause::Exit, 0).expect("close");
    expect_exit(&verify(&dir, &by_ledger(&scratch.0)), 0);
    for (path, bytes) in files(&dir) {
        assert!(!bytes.windows(content.len()).any(|window| window == content), "{path:?}");
    }
    let log = LogReader::open(&dir).expect("reader");
    assert_eq!(log.blob(&blob).expect("blob").as_deref(), Some(&content[..]));
    assert_eq!(log.blob(&large).expect("blob").as_deref(), Some(&[b'x'; 5000][..]));
    let own = dir.join("blobs").join(&large.h.to_string()[..2]).join(&large.h.to_string()[2..]);
    for (stored, blob) in [(dir.join("blobs").join("small"), &blob), (own, &large)] {
        let whole = std::fs::read(&stored).expect("stored");
        let mut bytes = whole.clone();
        bytes[40] ^= 1;
        std::fs::write(&stored, bytes).expect("written");
        assert!(log.blob(blob).is_err());
        expect_exit(&verify(&dir, &by_ledger(&scratch.0)), 2);
        std::fs::write(&stored, whole).expect("written");
        expect_exit(&verify(&dir, &by_ledger(&scratch.0)), 0);
    }
    redact(&dir, Arc::clone(&ledger), Erase::Blobs, "asked for", "ops").expect("erased");
    assert_eq!(log.blob(&blob).expect("no key"), None);
}

#[test]
fn small_blobs_that_are_cut_short_are_missed() {
    let scratch = Scratch::new();
    let ledger = ledger(&scratch.0);
    std::fs::create_dir(scratch.0.join("s")).expect("scratch");
    let dir = scratch.0.join("s").join(sid(1).as_str());
    let session = SessionLog::create(&dir, ledger, open_record(sid(1))).expect("session");
    let log = LogReader::open(&dir).expect("reader");
    let mut blobs = Vec::new();
    let mut records = call_records(1);
    for at in ["out", "err"] {
        let blob = session.put_blob(at.as_bytes()).expect("blob");
        // A log that is being written has more of them each time.
        assert_eq!(log.blob(&blob).expect("blob").as_deref(), Some(at.as_bytes()));
        blobs.push(Stream { z: 3, cut: 0, blob: Some(blob) });
    }
    let Body::Outcome(outcome) = &mut records[3].body else { unreachable!("the fourth record is the result") };
    (outcome.err, outcome.out) = (blobs.pop(), blobs.pop());
    session.append_all(&records).expect("append");
    session.close(Cause::Exit, 0).expect("close");
    let small = dir.join("blobs").join("small");
    let whole = std::fs::read(&small).expect("stored");
    let entry = whole.len() / 2;
    for (cut, exit) in [(whole.len(), 0), (whole.len() - 1, 3), (entry, 3), (entry - 1, 3), (0, 3)] {
        std::fs::write(&small, &whole[..cut]).expect("written");
        expect_exit(&verify(&dir, &by_ledger(&scratch.0)), exit);
    }
    std::fs::remove_file(&small).expect("removed");
    expect_exit(&verify(&dir, &by_ledger(&scratch.0)), 0);
}

#[test]
fn export_shows_values_only_when_told_to() {
    let scratch = Scratch::new();
    let dir = write_session(&scratch.0, &ledger(&scratch.0), sid(1), 1);
    let log = LogReader::open(&dir).expect("reader");
    let export = |disclose| {
        let mut out = Vec::new();
        log.export_jsonl(None, &mut out, disclose).expect("export");
        String::from_utf8(out).expect("JSON is UTF-8")
    };
    assert!(!export(Disclose::No).contains("\"cargo\""));
    assert!(export(Disclose::Yes).contains("[\"cargo\",\"test\"]"));
    let first = export(Disclose::No);
    let (_, bytes) = log.record(0).expect("record").expect("there");
    assert_eq!(leaf_hash(first.lines().next().expect("a line").as_bytes()), leaf_hash(&bytes));
}

#[test]
fn a_tail_gives_each_leaf_once_and_ends_with_the_log() {
    let scratch = Scratch::new();
    let ledger = ledger(&scratch.0);
    std::fs::create_dir(scratch.0.join("s")).expect("scratch");
    let dir = scratch.0.join("s").join(sid(1).as_str());
    let session = SessionLog::create(&dir, Arc::clone(&ledger), open_record(sid(1))).expect("session");
    let mut tail = LogReader::open(&dir).expect("reader").tail();
    let mut seen = 0;
    for n in 0..5 {
        session.append_all(&call_records(n)).expect("append");
        seen += tail.next().expect("tail").expect("not over").len();
    }
    session.close(Cause::Exit, 0).expect("close");
    while let Some(leaves) = tail.next().expect("tail") {
        seen += leaves.len();
    }
    assert_eq!(seen, 27);
}

#[test]
fn the_list_says_how_each_session_stands() {
    let scratch = Scratch::new();
    let ledger = ledger(&scratch.0);
    write_session(&scratch.0, &ledger, sid(1), 1);
    let interrupted = scratch.0.join("s").join(sid(2).as_str());
    drop(SessionLog::create(&interrupted, Arc::clone(&ledger), open_record(sid(2))).expect("session"));
    let running = scratch.0.join("s").join(sid(3).as_str());
    let running = SessionLog::create(&running, Arc::clone(&ledger), open_record(sid(3))).expect("session");
    // The ledger lists it from here on, behind those before.
    running.barrier().expect("barrier");
    let gone = write_session(&scratch.0, &ledger, sid(4), 0);
    std::fs::remove_dir_all(gone).expect("removed");
    let list = list_sessions(&scratch.0.join("ledger"), &scratch.0.join("s")).expect("list");
    let states: Vec<_> = list.iter().map(|session| session.state).collect();
    let closed = SessionState::Closed { cause: Cause::Exit, status: 0 };
    assert_eq!(states, [closed, SessionState::Interrupted, SessionState::Running, SessionState::Gone]);
    assert_eq!(list[0].open.as_ref().map(|open| open.profile.as_str()), Some("shell"));
    drop(running);
}

#[test]
fn a_large_log_answers_through_its_index_and_a_stale_index_is_not_used() {
    let scratch = Scratch::new();
    let dir = write_session(&scratch.0, &ledger(&scratch.0), sid(1), 5000);
    let log = LogReader::open(&dir).expect("reader");
    assert_eq!(log.why(&Glob::new("src/f4711.rs")).expect("why").len(), 1);
    assert!(dir.join("idx/000000.idx").exists());
    assert_eq!(log.why(&Glob::new("src/f471?.rs")).expect("why").len(), 10);
    let other = write_session(&scratch.0, &ledger(&scratch.0), sid(2), 1);
    std::fs::create_dir(other.join("idx")).expect("made");
    std::fs::copy(dir.join("idx/000000.idx"), other.join("idx/000000.idx")).expect("copied");
    let log = LogReader::open(&other).expect("reader");
    assert_eq!(log.why(&Glob::new("src/f4711.rs")).expect("why").len(), 0);
    assert_eq!(log.why(&Glob::new("src/f0.rs")).expect("why").len(), 1);
}
