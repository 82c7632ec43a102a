//! Several real processes: one killed with SIGKILL while it writes, and several that share a ledger.
//! It never kills a process that it did not start.

use crate::common::*;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::num::NonZeroUsize;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use stockade_audit::merkle::leaf_hash;
use stockade_audit::query::LogReader;
use stockade_audit::record::*;
use stockade_audit::text::hex;
use stockade_audit::verify::verify_ledger;
use stockade_audit::{AfterLog, SessionLog};

/// Starts this test binary again, to run one ignored test of it as the other process. Its standard input says where.
#[expect(
    clippy::disallowed_methods,
    reason = "a test of several processes starts them; the product does so only in `jail`"
)]
fn other_process(test: &str, input: &str) -> Child {
    let binary = std::env::current_exe().expect("tests have a path");
    let mut command = Command::new(binary);
    command.args(["--ignored", "--exact", test, "--nocapture"]).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.stderr(Stdio::null()).spawn().expect("the binary runs");
    child.stdin.take().expect("piped").write_all(input.as_bytes()).expect("written");
    child
}

fn standard_input() -> String {
    let mut text = String::new();
    std::io::stdin().read_to_string(&mut text).expect("UTF-8");
    text
}

#[test]
#[ignore = "runs only as the process that others kill"]
fn the_process_that_writes_until_it_is_killed() {
    let input = standard_input();
    let root = Path::new(input.trim());
    let ledger = ledger(root);
    let log = SessionLog::create(&root.join("s").join(sid(1).as_str()), ledger, open_record(sid(1))).expect("session");
    for running in 0.. {
        let receipt = log.append(Heartbeat { running, lost: 0 }).expect("append");
        println!("ack {}", hex(&receipt.leaf_hash));
    }
}

#[test]
fn a_process_killed_while_it_writes_loses_nothing_acknowledged() {
    for round in 0..12u64 {
        let scratch = Scratch::new();
        std::fs::create_dir(scratch.0.join("s")).expect("scratch");
        let path = scratch.0.to_str().expect("the build's directory is UTF-8");
        let mut child = other_process("processes::the_process_that_writes_until_it_is_killed", path);
        let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines();
        let mut acknowledged: Vec<String> = Vec::new();
        let mut take = |line: std::io::Result<String>| {
            let line = line.unwrap_or_default();
            // A line cut by the kill has no whole hash, and was not acknowledged.
            if let Some(hash) = line.rsplit_once("ack ").map(|(_, hash)| hash).filter(|hash| hash.len() == 64) {
                acknowledged.push(hash.to_owned());
            }
        };
        for line in lines.by_ref().take(20 + usize::try_from(round * 177).expect("small")) {
            take(line);
        }
        child.kill().expect("it runs until now");
        lines.for_each(take);
        child.wait().expect("it ends");
        let log = LogReader::open(&scratch.0.join("s").join(sid(1).as_str())).expect("reader");
        let mut out = Vec::new();
        log.export_jsonl(None, &mut out, stockade_audit::query::Disclose::No).expect("export");
        let there: std::collections::HashSet<String> =
            out.split(|b| *b == b'\n').map(|leaf| hex(&leaf_hash(leaf))).collect();
        assert!(acknowledged.len() > 10, "{}", acknowledged.len());
        let lost = acknowledged.iter().filter(|hash| !there.contains(*hash)).count();
        assert_eq!(lost, 0, "round {round}: of {}", acknowledged.len());
        let ledger = ledger(&scratch.0);
        let after = AfterLog::open(&scratch.0.join("s").join(sid(1).as_str()), Arc::clone(&ledger)).expect("recovered");
        after.finish().expect("finish");
    }
}

#[test]
#[ignore = "runs only as one of several processes"]
fn the_process_that_opens_and_closes_sessions() {
    let input = standard_input();
    let (root, first) = input.trim().rsplit_once(' ').expect("a directory and a number");
    let (root, first): (&Path, u8) = (Path::new(root), first.parse().expect("a number"));
    let ledger = ledger(root);
    for n in first..first + 2 {
        let dir = root.join("s").join(sid(n).as_str());
        let log = SessionLog::create(&dir, Arc::clone(&ledger), open_record(sid(n))).expect("session");
        log.heartbeat(0).expect("heartbeat");
        log.close(Cause::Exit, 0).expect("close");
    }
}

#[test]
fn processes_that_share_a_ledger_keep_it_whole() {
    let scratch = Scratch::new();
    std::fs::create_dir(scratch.0.join("s")).expect("scratch");
    let path = scratch.0.to_str().expect("the build's directory is UTF-8");
    let start =
        |n: u32| other_process("processes::the_process_that_opens_and_closes_sessions", &format!("{path} {}", n * 2));
    let children: Vec<Child> = (0..4).map(start).collect();
    for mut child in children {
        assert!(child.wait().expect("it ends").success());
    }
    let verdict = verify_ledger(&scratch.0.join("ledger"), Some(&scratch.0.join("s")), None, NonZeroUsize::MIN);
    assert_eq!(verdict.exit_code(), 0, "{:?}", verdict.findings);
    assert_eq!(verdict.size, 1 + 8 * 3);
}
