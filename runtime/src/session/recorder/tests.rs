//! Events as a recorder would give them, and the records that they become.
//! It never starts a sandbox.

use super::entries::{Entries, Entry};
use std::sync::Arc;
use stockade_audit::disclose::Value;
use stockade_audit::record::{Body, CallId, Cause, Digest, Evidence, FsOp, ProcExec, Record, Was};
use stockade_jail::recorder::{
    Asked, Bounded, CallNumber, Event, Executable, FileId, Happened, How, NameChange, Origin, Peer, ProcessId, Property,
};
use stockade_jail::{ProcessExit, Status};

fn bounded(text: &str) -> Bounded {
    Bounded { bytes: text.as_bytes().to_vec(), cut: false }
}

fn event(process: u64, what: Happened) -> Event {
    Event { at_ns: 1, process: ProcessId(process), call: ProcessId(1), how: How::Observed, what }
}

fn begun(process: u64, origin: Origin) -> Event {
    let pid = 100 + u32::try_from(process).expect("small");
    Event { how: How::Confirmed, ..event(process, Happened::Started { origin, pid }) }
}

fn main(process: u64, call: u64) -> Event {
    begun(process, Origin::Call(CallNumber(call)))
}

fn child(process: u64, parent: u64) -> Event {
    begun(process, Origin::Process(ProcessId(parent)))
}

fn ended(process: u64, code: u8) -> Event {
    let what = Happened::Ended { status: Some(Status::Exited(code)), failed_execs: 3 };
    Event { how: How::Confirmed, ..event(process, what) }
}

fn program(inode: u64) -> Executable {
    Executable { id: FileId { device: 1, inode }, size_bytes: 9, modified_ns: 1, changed_ns: 2 }
}

fn executed(process: u64, path: &str, argv: &str) -> Event {
    let (asked, argv, cwd) = (bounded("/w/x.sh"), bounded(argv), bounded("/w"));
    let what = Happened::Executed { running: Some((bounded(path), program(7))), asked, argv, cwd };
    Event { how: How::Confirmed, ..event(process, what) }
}

fn opened(process: u64, path: &str, made: bool) -> Event {
    let file = Some(FileId { device: 3, inode: 4 });
    let what = Happened::Opened { path: bounded(path), flags: 0o1101, mode: 0o666, errno: Some(0), file, made };
    Event { how: How::Performed, ..event(process, what) }
}

fn renamed(process: u64, path: &str, to: &str) -> Event {
    let what = Happened::Name { change: NameChange::Rename, path: bounded(path), to: Some(bounded(to)) };
    event(process, what)
}

fn call_id(n: u64) -> CallId {
    CallId::new(format!("tc_{n}")).expect("plain")
}

/// A session whose workspace is at `/w`, its first call begun.
fn session() -> Entries {
    let mut entries = Entries::new(b"/w".to_vec());
    entries.begin(CallNumber(1), call_id(1));
    entries
}

fn take(entries: &mut Entries, events: impl IntoIterator<Item = Event>) {
    for event in events {
        entries.take(event, &mut |executable| Some(Digest([u8::try_from(executable.id.inode).expect("small"); 32])));
    }
}

/// What came of it; nothing but records.
#[track_caller]
fn records(entries: &mut Entries) -> Vec<Record> {
    let record = |entry| match entry {
        Entry::Record(record, _) => *record,
        other @ (Entry::Gap(..) | Entry::Scrubbed(..)) => panic!("{other:?}"),
    };
    entries.drain().map(record).collect()
}

fn kinds(records: &[Record]) -> Vec<&'static str> {
    records.iter().map(|record| record.body.kind()).collect()
}

fn report(process: u64) -> ProcessExit {
    ProcessExit { process: ProcessId(process), pid: 101, status: Status::Exited(7), cpu_us: 10, max_rss_kib: 20 }
}

#[test]
fn each_record_belongs_to_its_call_and_names_its_process() {
    let mut entries = session();
    take(&mut entries, [main(1, 1), executed(1, "/bin/sh", "sh\0x.sh\0"), child(2, 1), opened(2, "/w/a", true)]);
    take(&mut entries, [renamed(2, "/w/a", "/tmp/b"), ended(2, 0)]);
    let told = entries.settle(CallNumber(1), Some(&report(1)));
    assert_eq!(told, (2, Some(1)));
    let all = records(&mut entries);
    let expected = ["proc.start", "proc.exec", "proc.start", "fs.open", "fs.change", "proc.exit", "proc.exit"];
    assert_eq!(kinds(&all), expected);
    assert!(all.iter().all(|record| record.call == Some(call_id(1))));
    let Body::ProcExec(ProcExec { exe, h, asked, .. }) = &all[1].body else { panic!("{:?}", all[1]) };
    assert_eq!((exe, h, asked), (&Some("/bin/sh".into()), &Some(Digest([7; 32])), &Some("x.sh".into())));
    let values: Vec<&Value> = all[1].disclosed.iter().map(|disclosed| &disclosed.value).collect();
    let list = Value::List(vec!["sh".into(), "x.sh".into()]);
    assert_eq!(values, [&list, &Value::Bytes("/w".into())]);
    let Body::FsOpen(open) = &all[3].body else { panic!("{:?}", all[3]) };
    assert_eq!((open.p, &open.path, open.fl.as_str(), open.mode), (2, &"a".into(), "W|CREAT|TRUNC", Some(0o666)));
    assert_eq!((open.ino, open.was, open.errno), (Some([3, 4]), Some(Was::Absent), Some(0)));
    assert_eq!(all[3].evidence, Evidence::Performed);
    let Body::FsChange(change) = &all[4].body else { panic!("{:?}", all[4]) };
    assert_eq!((change.op, &change.path, &change.to), (FsOp::Rename, &"a".into(), &Some("/tmp/b".into())));
    let Body::ProcExit(exit) = &all[5].body else { panic!("{:?}", all[5]) };
    assert_eq!((exit.p, exit.pp, exit.pid, exit.failed, exit.cpu_us), (2, Some(1), 102, Some(3), None));
    let Body::ProcExit(exit) = &all[6].body else { panic!("{:?}", all[6]) };
    let used = (exit.cpu_us, exit.rss_kib, exit.cause, exit.status);
    assert_eq!((exit.p, used), (1, (Some(10), Some(20), Cause::Exit, 7)));
}

#[test]
fn what_is_of_no_call_that_was_begun_is_a_gap() {
    let mut entries = Entries::new(b"/w".to_vec());
    take(&mut entries, [main(1, 1), opened(1, "/w/a", false)]);
    let gaps = entries.drain().filter(|entry| matches!(entry, Entry::Gap(1, "it is of a call that nobody started")));
    assert_eq!(gaps.count(), 2);
}

#[test]
fn what_is_done_again_is_counted_until_the_process_ends() {
    let mut entries = session();
    take(&mut entries, [main(1, 1)]);
    for _ in 0..5 {
        take(&mut entries, [renamed(1, "/w/a", "/w/b"), renamed(1, "/w/b", "/w/a"), opened(1, "/w/a", false)]);
    }
    take(&mut entries, [opened(1, "/w/a", true)]);
    let listen = Happened::Socket { asked: Asked::Listen, peer: Peer::Unknown };
    take(&mut entries, [event(1, listen.clone()), event(1, listen)]);
    entries.settle(CallNumber(1), Some(&report(1)));
    let all = records(&mut entries);
    let times = |record: &Record| {
        let of_open = if let Body::FsOpen(open) = &record.body { open.times } else { None };
        let of_change = if let Body::FsChange(change) = &record.body { change.times } else { None };
        let of_ask = if let Body::NetAsk(ask) = &record.body { ask.times } else { None };
        of_open.or(of_change).or(of_ask)
    };
    let first = ["proc.start", "fs.change", "fs.change", "fs.open", "fs.open", "net.ask"];
    assert_eq!(kinds(&all)[..6], first);
    assert!(all[..6].iter().all(|record| times(record).is_none()));
    let mut again: Vec<(&str, Option<u64>)> = all[6..10].iter().map(|r| (r.body.kind(), times(r))).collect();
    again.sort_unstable();
    // Once more is a record like the first.
    assert_eq!(again, [("fs.change", Some(4)), ("fs.change", Some(4)), ("fs.open", Some(4)), ("net.ask", None)]);
    assert_eq!(kinds(&all)[10..], ["proc.exit"]);
}

#[test]
fn a_flood_of_names_does_not_grow_what_is_remembered() {
    let mut entries = session();
    take(&mut entries, [main(1, 1)]);
    for n in 0..40_000 {
        take(&mut entries, [renamed(1, &format!("/w/{n}"), "/w/x"), renamed(1, "/w/same", "/w/x")]);
    }
    entries.settle(CallNumber(1), Some(&report(1)));
    let all = records(&mut entries);
    let of = |record: &Record| {
        let Body::FsChange(change) = &record.body else { return 0 };
        if change.path == "same".into() { change.times.unwrap_or(1) } else { 0 }
    };
    assert_eq!(all.iter().map(of).sum::<u64>(), 40_000);
    assert!(all.len() < 40_010, "{}", all.len());
}

#[test]
fn a_record_is_told_of_the_time_of_its_event() {
    let mut entries = session();
    let at = |at_ns, event| Event { at_ns, ..event };
    take(&mut entries, [at(10, main(1, 1)), at(20, child(2, 1)), at(30, opened(2, "/w/a", false))]);
    take(&mut entries, [at(40, opened(2, "/w/a", false)), at(50, opened(2, "/w/a", false)), at(60, ended(2, 0))]);
    take(&mut entries, [at(70, ended(1, 0)), at(80, child(3, 1))]);
    // The main process' end waits for the report, and is still told of its own time; of a child without an end nobody
    // knows one.
    entries.settle(CallNumber(1), Some(&report(1)));
    entries.close();
    let time = |entry| if let Entry::Record(record, at_ns) = entry { (record.body.kind(), at_ns) } else { panic!() };
    let told: Vec<_> = entries.drain().map(time).collect();
    let expected = [
        ("proc.start", 10),
        ("proc.start", 20),
        ("fs.open", 30),
        // Twice more.
        ("fs.open", 60),
        ("proc.exit", 60),
        ("proc.start", 80),
        ("proc.exit", 70),
        ("proc.exit", u64::MAX),
    ];
    assert_eq!(told, expected);
}

#[test]
fn a_daemon_is_told_of_behind_the_end_of_its_call() {
    let mut entries = session();
    take(&mut entries, [main(1, 1), child(2, 1), ended(1, 0)]);
    entries.settle(CallNumber(1), Some(&report(1)));
    assert_eq!(kinds(&records(&mut entries)), ["proc.start", "proc.start", "proc.exit"]);
    entries.begin(CallNumber(2), call_id(2));
    take(&mut entries, [main(3, 2), opened(2, "/w/late", true), child(4, 2), ended(2, 0)]);
    let late = records(&mut entries);
    assert_eq!(kinds(&late), ["proc.start", "fs.open", "proc.start", "proc.exit"]);
    let calls: Vec<&str> = late.iter().filter_map(|record| record.call.as_ref()).map(CallId::as_str).collect();
    assert_eq!(calls, ["tc_2", "tc_1", "tc_1", "tc_1"]);
    entries.close();
    let left = records(&mut entries);
    assert_eq!(kinds(&left), ["proc.exit", "proc.exit"]);
    let unseen = |record: &Record| {
        let Body::ProcExit(exit) = &record.body else { panic!("{record:?}") };
        (exit.cause, exit.status)
    };
    assert!(left.iter().all(|record| unseen(record) == (Cause::Error, 0) && record.evidence == Evidence::Observed));
}

#[test]
fn who_was_made_by_one_that_has_ended_is_still_of_its_call() {
    let mut entries = session();
    take(&mut entries, [main(1, 1), child(2, 1), ended(2, 0), child(3, 2), ended(3, 0)]);
    let all = records(&mut entries);
    assert_eq!(kinds(&all), ["proc.start", "proc.start", "proc.exit", "proc.start", "proc.exit"]);
}

#[test]
fn a_sandbox_that_is_gone_takes_every_process_of_the_call_with_it() {
    let mut entries = session();
    take(&mut entries, [main(1, 1), child(2, 1)]);
    let killed = ProcessExit { process: ProcessId(0), status: Status::Signalled(9), ..report(0) };
    assert_eq!(entries.settle(CallNumber(1), Some(&killed)), (2, Some(1)));
    let all = records(&mut entries);
    let ends: Vec<(u64, Cause, i32)> = all[2..]
        .iter()
        .map(|record| {
            let Body::ProcExit(exit) = &record.body else { panic!("{record:?}") };
            (exit.p, exit.cause, exit.status)
        })
        .collect();
    assert_eq!(ends, [(2, Cause::Error, 0), (1, Cause::Signal, 9)]);
}

#[test]
fn what_is_lost_or_of_nobody_is_a_gap() {
    let mut entries = session();
    take(&mut entries, [event(0, Happened::Lost(4)), opened(9, "/w/a", false), child(5, 9)]);
    let gaps: Vec<u64> = entries
        .drain()
        .map(|entry| match entry {
            Entry::Gap(lost, _) => lost,
            other @ (Entry::Record(..) | Entry::Scrubbed(..)) => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(gaps, [4, 1, 1]);
    take(&mut entries, [main(1, 7)]);
    entries.close();
    assert!(matches!(entries.drain().next(), Some(Entry::Gap(1, _))));
}

#[test]
fn a_program_is_hashed_once_and_asked_for_again_where_it_could_not_be_read() {
    let mut entries = session();
    let mut asked = 0;
    for (n, found) in [None, Some(Digest([1; 32])), Some(Digest([2; 32]))].into_iter().enumerate() {
        let process = n as u64 + 1;
        let begun = if n == 0 { main(1, 1) } else { child(process, 1) };
        for event in [begun, executed(process, "/bin/sh", "")] {
            entries.take(event, &mut |_| {
                asked += 1;
                found
            });
        }
    }
    assert_eq!(asked, 2);
    let hashes: Vec<Option<Digest>> = records(&mut entries)
        .iter()
        .filter_map(|record| if let Body::ProcExec(exec) = &record.body { Some(exec.h) } else { None })
        .collect();
    assert_eq!(hashes, [None, Some(Digest([1; 32])), Some(Digest([1; 32]))]);
}

#[test]
fn a_secret_in_an_argument_or_a_name_does_not_reach_the_log() {
    let patterns = Arc::new(crate::secrets::scrub::Patterns::new([("key", &b"correct horse battery"[..])]));
    let mut entries = Entries::new(b"/w".to_vec());
    entries.hide(Some(patterns));
    entries.begin(CallNumber(1), call_id(1));
    take(&mut entries, [main(1, 1), executed(1, "/bin/sh", "sh\0--key=correct horse battery\0")]);
    take(&mut entries, [renamed(1, "/w/correct horse battery", "/w/b")]);
    let mode = Happened::Property { property: Property::Mode, path: bounded("/w/b"), value: Some(0o600) };
    take(&mut entries, [event(1, mode)]);
    let text = format!("{:?}", entries.drain().collect::<Vec<_>>());
    assert!(
        !text.contains("horse") && text.contains("Scrubbed(") && text.contains("--key=*********************"),
        "{text}"
    );
}
