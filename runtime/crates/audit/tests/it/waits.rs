//! Waiting for the disk without a thread, and how soon what is on disk is signed.
//! It never takes a waiter's word for what the disk has: it cuts the power and looks.

use crate::common::*;
use crate::memdisk::{Dice, Fail, MemDisk};
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;
use std::time::{Duration, Instant};
use stockade_audit::disk::Disk;
use stockade_audit::note::SignedCheckpoint;
use stockade_audit::query::LogReader;
use stockade_audit::record::*;
use stockade_audit::system::{SystemClock, SystemRandom};
use stockade_audit::{AuditError, Durable, Ledger, Machine, SessionLog};

const DIR: &str = "/s/01HF7YAT00040G2081040G2081";

/// A session's log on a disk of the test's.
fn session(disk: &MemDisk) -> SessionLog {
    let machine =
        Machine { disk: Arc::new(disk.clone()), clock: Arc::new(SystemClock::new()), random: Arc::new(SystemRandom) };
    let ledger = Ledger::open(machine, Path::new("/ledger"), Path::new("/keys"), "test/agent-ledger").expect("ledger");
    let log = SessionLog::create(Path::new(DIR), Arc::new(ledger), open_record(sid(1))).expect("session");
    log.barrier().expect("it is opened");
    log
}

fn beat() -> Record {
    Record::new(Heartbeat { running: 0, lost: 0 })
}

/// Wakes a thread, and counts how often.
struct Counting(Thread, AtomicUsize);

impl Wake for Counting {
    fn wake(self: Arc<Self>) {
        self.1.fetch_add(1, Ordering::SeqCst);
        self.0.unpark();
    }
}

fn counting() -> Arc<Counting> {
    Arc::new(Counting(std::thread::current(), AtomicUsize::new(0)))
}

fn poll(durable: &mut Durable, counting: &Arc<Counting>) -> Poll<Result<(), AuditError>> {
    Pin::new(durable).poll(&mut Context::from_waker(&Waker::from(Arc::clone(counting))))
}

/// Waits as a runtime does: asleep until woken.
fn wait(mut durable: Durable) -> Result<(), AuditError> {
    let counting = counting();
    loop {
        match poll(&mut durable, &counting) {
            Poll::Ready(done) => return done,
            Poll::Pending => std::thread::park_timeout(Duration::from_secs(20)),
        }
    }
}

/// How many leaves a power cut leaves for sure.
fn kept(disk: &MemDisk) -> u64 {
    let rest: Arc<dyn Disk> = Arc::new(disk.after_power_cut(&mut Dice(0)));
    let log = LogReader::open_on(rest, Path::new(DIR)).expect("it is on disk");
    let mut out = Vec::new();
    log.export_jsonl(None, &mut out, stockade_audit::query::Disclose::No).expect("it can be read");
    out.iter().filter(|byte| **byte == b'\n').count() as u64
}

#[test]
fn a_waiter_goes_on_when_the_disk_has_it_and_not_before() {
    let disk = MemDisk::new(Fail::Never);
    let log = session(&disk);
    disk.hold_syncs(true);
    let counting = counting();
    let mut durable = log.append_to_disk(&[beat(), beat()]).expect("it fits");
    for _ in 0..50 {
        assert!(poll(&mut durable, &counting).is_pending(), "ready while the disk is still working");
        std::thread::sleep(Duration::from_millis(1));
    }
    disk.hold_syncs(false);
    wait(durable).expect("the disk works");
    assert!(counting.1.load(Ordering::SeqCst) <= 1, "woken more than once");
    assert_eq!(kept(&disk), 3, "what was said to be on disk is not");
}

#[test]
fn many_waiters_share_one_wait_for_the_disk() {
    let disk = MemDisk::new(Fail::Never);
    let log = session(&disk);
    disk.hold_syncs(true);
    let all: Vec<Durable> = (0..100).map(|_| log.append_to_disk(&[beat()]).expect("it fits")).collect();
    let before = disk.ops();
    disk.hold_syncs(false);
    all.into_iter().for_each(|durable| wait(durable).expect("the disk works"));
    // Two groups at the most: what was there when the first began, and the rest; and a signature.
    assert!(disk.ops() - before < 20, "{} operations for one hundred waiters", disk.ops() - before);
    assert_eq!(kept(&disk), 101);
}

#[test]
fn a_waiter_that_is_dropped_leaves_nothing_behind() {
    let disk = MemDisk::new(Fail::Never);
    let log = session(&disk);
    disk.hold_syncs(true);
    let counting = counting();
    let mut dropped = log.append_to_disk(&[beat()]).expect("it fits");
    let kept_on = log.append_to_disk(&[beat()]).expect("it fits");
    assert!(poll(&mut dropped, &counting).is_pending(), "at first it lets others ask with it");
    assert!(poll(&mut dropped, &counting).is_pending());
    assert_eq!(Arc::strong_count(&counting), 2, "the log has its waker");
    drop(dropped);
    assert_eq!(Arc::strong_count(&counting), 1, "the log kept the waker of one that waits no more");
    disk.hold_syncs(false);
    wait(kept_on).expect("another goes on");
    assert_eq!(counting.1.load(Ordering::SeqCst), 1, "woken after its end");
    assert_eq!(kept(&disk), 3, "its record stays");
}

#[test]
fn what_nobody_waits_for_comes_to_disk_all_the_same() {
    let disk = MemDisk::new(Fail::Never);
    let log = session(&disk);
    // Long enough that the thread of the log sleeps until it is told.
    std::thread::sleep(Duration::from_millis(200));
    drop(log.append_to_disk(&[beat()]).expect("it fits"));
    let dropped = Instant::now();
    while kept(&disk) < 2 {
        assert!(dropped.elapsed() < Duration::from_secs(5), "it is not on disk after five seconds");
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn a_disk_that_fails_wakes_and_fails_all_waiters() {
    let disk = MemDisk::new(Fail::Never);
    let log = session(&disk);
    disk.hold_syncs(true);
    let all: Vec<Durable> = (0..10).map(|_| log.append_to_disk(&[beat()]).expect("it fits")).collect();
    disk.fail(Fail::SyncFrom(0));
    disk.hold_syncs(false);
    for durable in all {
        let error = wait(durable).expect_err("nothing is on disk");
        assert!(error.to_string().contains("EIO"), "{error}");
    }
    assert!(log.append(beat()).is_err(), "a log that failed takes more");
    assert!(log.append_to_disk(&[beat()]).is_err(), "a log that failed takes more");
    assert!(log.close(Cause::Exit, 0).is_err(), "a log that failed closes as if nothing had been");
}

#[test]
fn a_log_that_is_told_of_a_loss_fails_at_once_and_for_all() {
    let disk = MemDisk::new(Fail::Never);
    let log = session(&disk);
    disk.hold_syncs(true);
    let waiting = log.append_to_disk(&[beat()]).expect("it fits");
    log.fail(&AuditError::Invalid { what: "an end", why: "it does not fit".to_owned() });
    assert!(wait(waiting).is_err(), "one waits on for a log that has failed");
    disk.hold_syncs(false);
    assert!(log.append(beat()).is_err());
    assert!(log.close(Cause::Exit, 0).is_err());
}

#[test]
fn the_end_of_a_log_readies_its_waiters() {
    let disk = MemDisk::new(Fail::Never);
    let log = session(&disk);
    let (closed, dropped) = (log.append_to_disk(&[beat()]), log.append_to_disk(&[beat()]));
    log.close(Cause::Exit, 0).expect("it closes");
    wait(closed.expect("it fits")).expect("it was on disk before the end");
    drop(dropped);
    let disk = MemDisk::new(Fail::Never);
    let log = session(&disk);
    let waiting = log.append_to_disk(&[beat()]).expect("it fits");
    drop(log);
    wait(waiting).expect("a log that is given up writes what it has");
}

#[test]
fn of_records_that_do_not_fit_those_before_are_in_the_file() {
    let disk = MemDisk::new(Fail::Never);
    let log = session(&disk);
    let large = Record::new(Gap { lost: 1, why: "x".repeat(9000) });
    let refused = log.append_to_disk(&[beat(), large]);
    assert!(matches!(refused, Err(AuditError::TooLarge { .. })), "{refused:?}");
    let killed: Arc<dyn Disk> = Arc::new(disk.after_kill());
    let mut out = Vec::new();
    let log = LogReader::open_on(killed, Path::new(DIR)).expect("it can be read");
    log.export_jsonl(None, &mut out, stockade_audit::query::Disclose::No).expect("it can be read");
    assert_eq!(out.iter().filter(|byte| **byte == b'\n').count(), 2);
}

#[test]
fn a_barrier_is_signed_soon_and_many_are_signed_together() {
    /// Fifty milliseconds, and what a busy machine may add.
    const SOON: Duration = Duration::from_secs(5);
    let disk = MemDisk::new(Fail::Never);
    let log = session(&disk);
    let began = Instant::now();
    let mut barriers = 0;
    while began.elapsed() < Duration::from_millis(500) {
        log.append_durable(beat()).expect("the disk works");
        barriers += 1;
    }
    let last = Instant::now();
    let signed = || SignedCheckpoint::parse(&log.checkpoint()).expect("it is ours").checkpoint.size;
    while signed() < barriers + 1 {
        assert!(last.elapsed() < SOON, "{} of {} leaves are signed after {SOON:?}", signed(), barriers + 1);
        std::thread::sleep(Duration::from_millis(1));
    }
    let notes = disk.text(&Path::new(DIR).join("checkpoints")).matches("\n\n").count();
    assert!(barriers > 20, "{barriers} barriers are too few to say anything");
    assert!(notes <= 2 + 12, "{notes} signatures within half a second");
}
