//! Crashes: a killed writer loses nothing that was acknowledged, a power cut nothing that was said to be durable, and no
//! failure of the disk goes unnoticed.
//! It never asks the writer what it wrote; it keeps its own list of what was acknowledged.

use crate::common::*;
use crate::memdisk::{Dice, Fail, MemDisk};
use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::Arc;
use stockade_audit::disk::Disk;
use stockade_audit::merkle::{Hash, leaf_hash};
use stockade_audit::query::LogReader;
use stockade_audit::record::*;
use stockade_audit::system::{SystemClock, SystemRandom};
use stockade_audit::verify::{Trust, VerifyOptions, verify_on};
use stockade_audit::{AfterLog, AuditError, Ledger, Machine, SessionLog};

const DIR: &str = "/s/01HF7YAT00040G2081040G2081";

/// What the caller was told before the end.
#[derive(Default)]
struct Told {
    /// `create` returned: the first leaf is in the file.
    opened: bool,
    /// A barrier returned: it is on disk, and in the ledger.
    kept: bool,
    /// Leaves that `append` acknowledged.
    appended: Vec<Hash>,
    /// How many of them a barrier covered.
    durable: usize,
    /// `close` returned.
    closed: bool,
}

fn machine(disk: &MemDisk) -> Machine {
    Machine { disk: Arc::new(disk.clone()), clock: Arc::new(SystemClock::new()), random: Arc::new(SystemRandom) }
}

fn open_ledger(disk: &MemDisk) -> Result<Arc<Ledger>, AuditError> {
    Ledger::open(machine(disk), Path::new("/ledger"), Path::new("/keys"), "test/agent-ledger").map(Arc::new)
}

/// A session with barriers and a heartbeat here and there, until the disk fails or it is over.
fn live(disk: &MemDisk, dice: &mut Dice, told: &mut Told) -> Result<(), AuditError> {
    let ledger = open_ledger(disk)?;
    let log = SessionLog::create(Path::new(DIR), ledger, open_record(sid(1)))?;
    told.opened = true;
    for n in 0..6 {
        for record in call_records(n) {
            told.appended.push(log.append(record)?.leaf_hash);
        }
        let told_so_far = told.appended.len();
        match dice.below(4) {
            0 => log.barrier()?,
            1 => {
                log.heartbeat(0)?;
                // The heartbeat is a leaf of its own; what was appended before it is durable with it.
                told.appended.truncate(told_so_far);
            }
            _ => continue,
        }
        (told.durable, told.kept) = (told_so_far, true);
    }
    log.close(Cause::Exit, 0)?;
    (told.closed, told.kept) = (true, true);
    Ok(())
}

/// Looks at what a crash left: nothing acknowledged is missing, no verdict is better than the truth, and life goes on.
/// `there` says whether what was told means that there is a log.
#[track_caller]
fn check_rest(disk: &MemDisk, told: &Told, there: bool, acknowledged: usize, what: &str) {
    let mut hashes = Vec::new();
    if there {
        let shared: Arc<dyn Disk> = Arc::new(disk.clone());
        let log = LogReader::open_on(shared, Path::new(DIR)).unwrap_or_else(|error| panic!("{what}: {error}"));
        let mut out = Vec::new();
        let exported = log.export_jsonl(None, &mut out, stockade_audit::query::Disclose::No);
        exported.unwrap_or_else(|error| panic!("{what}: {error}"));
        hashes = out.split(|b| *b == b'\n').map(leaf_hash).collect();
    }
    for (i, hash) in told.appended[..acknowledged].iter().enumerate() {
        assert!(hashes.contains(hash), "{what}: acknowledged leaf {i} is lost");
    }
    let ledger = open_ledger(disk).unwrap_or_else(|error| panic!("{what}: {error}"));
    let trust = Trust::LedgerDir { dir: "/ledger".into(), vkey: Some(ledger.vkey()) };
    let options = VerifyOptions { threads: NonZeroUsize::MIN, ..VerifyOptions::new(trust) };
    let verdict = verify_on(disk, Path::new(DIR), &options);
    let code = verdict.exit_code();
    if told.closed {
        assert_eq!(code, 0, "{what}: {:?}", verdict.findings);
    } else {
        assert!(matches!(code, 0 | 3 | 4), "{what}: {code} {:?}", verdict.findings);
    }
    if there {
        let after =
            AfterLog::open(Path::new(DIR), Arc::clone(&ledger)).unwrap_or_else(|error| panic!("{what}: {error}"));
        after.finish().unwrap_or_else(|error| panic!("{what}: {error}"));
        let verdict = verify_on(disk, Path::new(DIR), &options);
        assert!(matches!(verdict.exit_code(), 0 | 3), "{what}: {:?}", verdict.findings);
    }
}

#[test]
fn a_writer_killed_at_any_write_loses_nothing_acknowledged() {
    let whole = MemDisk::new(Fail::Never);
    live(&whole, &mut Dice(0), &mut Told::default()).expect("an untroubled life");
    let ops = whole.ops();
    assert!(ops > 100, "{ops}");
    for at in 0..ops + 20 {
        let disk = MemDisk::new(Fail::From(at)).writing_short(Dice(at));
        let mut told = Told::default();
        let _ended = live(&disk, &mut Dice(0), &mut told);
        let acknowledged = told.appended.len();
        check_rest(&disk.after_kill(), &told, told.opened, acknowledged, &format!("killed at operation {at}"));
    }
}

/// Seeds of the power-cut test; more with `cargo test … -- --ignored power` .
const SEEDS: u64 = 1000;

fn cut_power(seeds: std::ops::Range<u64>) {
    for seed in seeds {
        let mut dice = Dice(seed);
        let disk = MemDisk::new(Fail::From(dice.below(260)));
        let mut told = Told::default();
        let _ended = live(&disk, &mut dice, &mut told);
        check_rest(&disk.after_power_cut(&mut dice), &told, told.kept, told.durable, &format!("seed {seed}"));
    }
}

#[test]
fn a_power_cut_loses_nothing_durable() {
    cut_power(0..SEEDS);
}

#[test]
#[ignore = "takes minutes; the same with ten times as many seeds"]
fn a_power_cut_loses_nothing_durable_ten_thousand_times() {
    cut_power(SEEDS..11 * SEEDS);
}

#[test]
fn a_full_disk_ends_the_log_and_is_never_silent() {
    for at in 60..140 {
        let disk = MemDisk::new(Fail::FullFrom(at)).writing_short(Dice(at));
        let mut told = Told::default();
        let ended = live(&disk, &mut Dice(at), &mut told);
        assert_eq!(ended.is_err(), !told.closed);
        let acknowledged = told.appended.len();
        check_rest(&disk.after_kill(), &told, told.opened, acknowledged, &format!("full at operation {at}"));
    }
}

#[test]
fn after_a_failed_write_nothing_can_be_appended() {
    let disk = MemDisk::new(Fail::FullFrom(90));
    let ledger = open_ledger(&disk).expect("ledger");
    let log = SessionLog::create(Path::new(DIR), ledger, open_record(sid(1))).expect("session");
    let beat = || Record::new(Heartbeat { running: 0, lost: 0 });
    let first = (0..1000).find_map(|_| log.append(beat()).err()).expect("the disk fills up");
    assert!(first.to_string().contains("write"), "{first}");
    for _ in 0..3 {
        let again = log.append(beat()).expect_err("poisoned");
        assert!(matches!(again, AuditError::Poisoned { .. }), "{again}");
    }
    assert!(log.barrier().is_err());
    assert!(log.close(Cause::Exit, 0).is_err());
}

#[test]
fn after_a_failed_sync_nothing_is_durable_and_nothing_can_be_appended() {
    let disk = MemDisk::new(Fail::SyncFrom(80));
    let ledger = open_ledger(&disk).expect("ledger");
    let log = SessionLog::create(Path::new(DIR), ledger, open_record(sid(1))).expect("session");
    let beat = || Record::new(Heartbeat { running: 0, lost: 0 });
    let failed = (0..1000).find_map(|_| log.append_durable(beat()).err());
    assert!(failed.is_some(), "a barrier after a failed sync must not succeed");
    assert!(matches!(log.append(beat()), Err(AuditError::Poisoned { .. })));
}

#[test]
fn a_record_that_does_not_fit_is_refused_and_leaves_no_trace() {
    let scratch = Scratch::new();
    let ledger = ledger(&scratch.0);
    std::fs::create_dir(scratch.0.join("s")).expect("scratch");
    let dir = scratch.0.join("s").join(sid(1).as_str());
    let log = SessionLog::create(&dir, Arc::clone(&ledger), open_record(sid(1))).expect("session");
    let error = log.append(Gap { lost: 0, why: "x".repeat(9000) }).expect_err("too long");
    assert!(matches!(error, AuditError::TooLarge { .. }), "{error}");
    log.close(Cause::Exit, 0).expect("close");
    let trust = Trust::LedgerDir { dir: scratch.0.join("ledger"), vkey: None };
    let verdict = stockade_audit::verify::verify(&dir, &VerifyOptions::new(trust));
    assert_eq!(verdict.exit_code(), 0, "{:?}", verdict.findings);
}
