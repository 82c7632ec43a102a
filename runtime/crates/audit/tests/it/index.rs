//! The index against a walk: the same answers, whatever is in its file.
//! It never looks at the file's layout.

use crate::common::*;
use std::fs;
use std::path::{Path, PathBuf};
use stockade_audit::SessionLog;
use stockade_audit::query::*;
use stockade_audit::record::*;

/// A log that is large enough for an index, with paths that start alike, repeat, nest and are not UTF-8; its directory.
fn write_paths(root: &Path, changes: u64) -> PathBuf {
    let ledger = ledger(root);
    fs::create_dir(root.join("s")).expect("scratch");
    let dir = root.join("s").join(sid(1).as_str());
    let log = SessionLog::create(&dir, ledger, open_record(sid(1))).expect("session");
    log.append_all(&call_records(1)).expect("append");
    let change = |n: u64| {
        let path = match n % 5 {
            0 => format!("src/module{}/file{n}.rs", n % 7).into_bytes(),
            1 => format!("src/module{}", n % 700).into_bytes(),
            2 => [b"src/\xff", n.to_string().as_bytes()].concat(),
            3 => b"src/again.rs".to_vec(),
            _ => format!("{n}/b.rs").into_bytes(),
        };
        let change = FsOutcome {
            path_h: None,
            path: LogPath(path),
            op: Change::Created,
            b: None,
            a: Some(file(2)),
            lines: None,
            ino: None,
            mark: None,
        };
        Record::new(change).of_call(&call_id(1))
    };
    for start in (0..changes).step_by(1000) {
        log.append_all(&(start..start + 1000).map(change).collect::<Vec<_>>()).expect("append");
    }
    log.close(Cause::Exit, 0).expect("close");
    dir
}

/// Every path of the log, with its leaf.
fn paths(log: &LogReader) -> Vec<(u64, LogPath)> {
    let mut found = Vec::new();
    log.each(&mut |leaf| {
        found.extend(path_of(&leaf.body).map(|path| (leaf.n, path.clone())));
        Ok(())
    })
    .expect("walk");
    found
}

/// The leaves that a path filter must find, by looking at each.
fn matching(paths: &[(u64, LogPath)], glob: &Glob) -> Vec<u64> {
    paths.iter().filter(|(_, path)| glob.matches(&path.0)).map(|(n, _)| *n).collect()
}

const GLOBS: &[&str] = &[
    "src/again.rs",
    "src/module6",
    "src/module6/*.rs",
    "src/module6/file1*5.rs",
    "src/module69?",
    "src/module3/**",
    "**/b.rs",
    "*/b.rs",
    "**/again.rs",
    "src/\u{fffd}1",
    "src/?1?2",
    "src",
    "src/zzz",
    "",
    "?",
    "1999/b.rs",
    "**9.rs",
    "9**",
    "zzz",
    "src/module6/file15.rs/x",
];

#[track_caller]
fn check(log: &LogReader) {
    let paths = paths(log);
    for text in GLOBS {
        let glob = Glob::new(text);
        let right = matching(&paths, &glob);
        let by_why: Vec<u64> =
            log.why(&glob).expect("why").iter().filter_map(|why| Some(why.change.as_ref()?.leaf.n)).collect();
        assert_eq!(by_why, right, "why {text:?}");
        if !text.is_empty() {
            let filter = |more: &str| Filter::parse(&format!("path={text}{more}")).expect("filter");
            let numbers = |found: Vec<Found>| found.iter().map(|found| found.leaf.n).collect::<Vec<_>>();
            assert_eq!(numbers(log.query(&filter("")).expect("query")), right, "query {text:?}");
            let below: Vec<u64> = right.iter().copied().filter(|n| *n < 5000).collect();
            assert_eq!(numbers(log.query(&filter(" n=..5000 k=fs.* tc=c1")).expect("query")), below, "query {text:?}");
            assert!(log.query(&filter(" k=call")).expect("query").is_empty());
        }
    }
}

#[test]
fn an_index_gives_what_a_walk_gives() {
    let scratch = Scratch::new();
    let dir = write_paths(&scratch.0, 20_000);
    let log = LogReader::open(&dir).expect("reader");
    check(&log);
    assert!(dir.join("idx/000000.idx").exists());
    check(&log);
    let why = log.why(&Glob::new("1999/b.rs")).expect("why");
    assert_eq!(
        why[0].because.iter().map(|found| found.leaf.body.kind()).collect::<Vec<_>>(),
        ["call", "permit", "result"]
    );
}

#[test]
fn a_damaged_or_exchanged_index_changes_no_answer() {
    let scratch = Scratch::new();
    let dir = write_paths(&scratch.0, 20_000);
    let log = LogReader::open(&dir).expect("reader");
    let glob = Glob::new("src/module69?");
    let right = matching(&paths(&log), &glob);
    let answer = || {
        log.why(&glob).expect("why").iter().filter_map(|why| Some(why.change.as_ref()?.leaf.n)).collect::<Vec<u64>>()
    };
    assert_eq!(answer(), right);
    let path = dir.join("idx/000000.idx");
    let good = fs::read(&path).expect("index");
    let places = [0, 20, 40, 400].into_iter().chain((1000..good.len()).step_by(good.len() / 12));
    let mut wrong: Vec<Vec<u8>> = places
        .map(|at| {
            let mut bytes = good.clone();
            bytes[at] ^= 1;
            bytes
        })
        .collect();
    wrong.extend([Vec::new(), good[..30].to_vec(), good[..good.len() / 2].to_vec(), vec![0xff; 4096]]);
    for bytes in wrong {
        fs::write(&path, bytes).expect("written");
        assert_eq!(answer(), right);
    }
    fs::write(&path, &good).expect("put back");
    let index = Index::open(&log).expect("index");
    // Another process replaces the file between the look at its directory and the look at a page.
    fs::write(&path, good[..good.len() / 3].iter().rev().copied().collect::<Vec<u8>>()).expect("written");
    let found: Vec<u64> = index.find(&log, &glob).expect("found").iter().map(|found| found.leaf.n).collect();
    assert_eq!(found, right);
}
