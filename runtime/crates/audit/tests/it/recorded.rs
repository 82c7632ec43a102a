//! Double entry: a good log of a recorded session, and what the verifier says when one record of it is gone or another.
//! It never checks a verdict alone: each omission has words of its own, and a leaf that it points to.

use crate::common::*;
use crate::verify::by_ledger;
use stockade_audit::SessionLog;
use stockade_audit::record::*;
use stockade_audit::verify::*;

const NOTIFY: Recorder =
    Recorder { grade: RecorderGrade::NotifyAddfd, scope: RecorderScope::Changes, why: String::new() };

fn of(call: u64, body: impl Into<Body>) -> Record {
    Record::new(body).of_call(&call_id(call))
}

fn start(p: u64, pp: Option<u64>) -> ProcStart {
    ProcStart { p, pp, pid: 100 + u32::try_from(p).expect("small") }
}

fn exec(p: u64, exe: &str) -> ProcExec {
    ProcExec { p, exe: Some(exe.into()), h: Some(Digest([9; 32])), asked: None, cut: None }
}

fn exit(p: u64, pp: Option<u64>, exe: Option<&str>) -> ProcExit {
    let ProcStart { pid, .. } = start(p, pp);
    ProcExit {
        p,
        pp,
        pid,
        exe: exe.map(Into::into),
        cause: Cause::Exit,
        status: 0,
        failed: None,
        cpu_us: None,
        rss_kib: None,
    }
}

fn opened(p: u64, path: &str, fl: &str) -> FsOpen {
    let ino = Some([1, p * 1000 + path.len() as u64]);
    FsOpen {
        path_h: None,
        p,
        path: path.into(),
        fl: fl.into(),
        mode: None,
        errno: Some(0),
        ino,
        was: None,
        cut: None,
        times: None,
    }
}

fn changed(p: u64, op: FsOp, path: &str, to: Option<&str>) -> FsChange {
    FsChange {
        path_h: None,
        to_h: None,
        p,
        op,
        path: path.into(),
        to: to.map(Into::into),
        value: None,
        cut: None,
        times: None,
    }
}

fn outcome(path: &str, op: Change) -> FsOutcome {
    let (b, a) = match op {
        Change::Created => (None, Some(file(1))),
        Change::Deleted => (Some(file(1)), None),
        Change::Modified | Change::Metadata | Change::Retyped => (Some(file(1)), Some(file(2))),
    };
    FsOutcome { path_h: None, path: path.into(), op, b, a, lines: None, ino: None, mark: None }
}

fn ask(p: u64, op: SocketOp, addr: &str) -> NetAsk {
    NetAsk { p, op, addr: addr.into(), times: None }
}

fn connection(c: u64, addr: &str) -> NetOpen {
    let addr = Some(addr.to_owned());
    NetOpen { c, host: "a.org".into(), port: 443, via: Via::Direct, addr, rules: vec!["r".into()] }
}

/// One call of two processes that do one of each, in order.
fn good() -> Vec<Record> {
    let renamed = changed(2, FsOp::Rename, "old", Some("new"));
    let socket =
        FsOutcome { a: Some(FileState { ty: FileType::Socket, ..file(1) }), ..outcome("run/s", Change::Created) };
    let alias = |path| FsOutcome { ino: Some([7, 7]), ..outcome(path, Change::Modified) };
    let end = NetClose { c: 1, up: 1, down: 1, us: 1, addr: None, why: "done".into() };
    vec![
        of(1, Call { tool: "exec".into(), via: "cli".into(), input: None }),
        of(1, Permit { rules: vec!["r".into()] }),
        of(1, start(1, None)),
        of(1, exec(1, "/bin/sh")),
        of(1, start(2, Some(1))),
        of(1, exec(2, "/bin/tool")),
        of(1, FsOpen { was: Some(Was::Absent), ..opened(2, "made", "W|CREAT") }),
        of(1, opened(2, "held", "RW")),
        of(1, changed(2, FsOp::Mkdir, "run", None)),
        of(1, renamed),
        of(1, changed(2, FsOp::Unlink, "gone", None)),
        of(1, ask(2, SocketOp::Bind, "unix:/w/run/s")),
        of(1, ask(2, SocketOp::Connect, "198.18.0.9:443")),
        Record::new(connection(1, "198.18.0.9:443")),
        Record::new(end),
        of(1, ProcCall { p: 2, call: "ptrace".into(), args: vec![0, 1, 2], errno: Some(1), times: None }),
        of(1, exit(2, Some(1), Some("/bin/tool"))),
        of(1, exit(1, None, None)),
        of(1, outcome("gone", Change::Deleted)),
        of(1, alias("held")),
        of(1, alias("held.too")),
        of(1, outcome("made", Change::Created)),
        of(1, outcome("new/below", Change::Created)),
        of(1, outcome("old/below", Change::Deleted)),
        of(1, outcome("run", Change::Created)),
        of(1, socket),
        of(
            1,
            Outcome { cause: Cause::Exit, status: 0, wall_us: 9, cpu_us: 1, p: Some(1), t: None, out: None, err: None },
        ),
    ]
}

/// The verdict on a session with these records. Leaf 0 is its opening, so record n is leaf n + 1.
fn verdict_on(recorder: Option<Recorder>, records: &[Record]) -> Verdict {
    let scratch = Scratch::new();
    let ledger = ledger(&scratch.0);
    std::fs::create_dir(scratch.0.join("s")).expect("scratch");
    let dir = scratch.0.join("s").join(sid(1).as_str());
    let open = SessionOpen { recorder, ..open_record(sid(1)) };
    let log = SessionLog::create(&dir, ledger, open).expect("session");
    log.append_all(records).expect("append");
    log.close(Cause::Exit, 0).expect("close");
    let mut verdict = verify(&dir, &by_ledger(&scratch.0));
    // A ledger that is still open has no tiles, which is not what is looked at here.
    verdict.findings.retain(|finding| finding.log == "session");
    verdict
}

#[track_caller]
fn passes(records: &[Record]) {
    let verdict = verdict_on(Some(NOTIFY), records);
    assert_eq!((verdict.exit_code(), &verdict.findings[..]), (0, &[][..]));
}

/// The verdict is "incomplete", and one finding has these words at this leaf.
#[track_caller]
fn finds(records: &[Record], leaf: u64, words: &str) {
    let verdict = verdict_on(Some(NOTIFY), records);
    let text: Vec<String> = verdict.findings.iter().map(ToString::to_string).collect();
    assert_eq!(verdict.exit_code(), 3, "{text:#?}");
    let found = verdict.findings.iter().any(|finding| finding.leaf == Some(leaf) && finding.text.contains(words));
    assert!(found, "nothing at leaf {leaf} has {words:?}: {text:#?}");
}

/// The position of the only record that `pick` wants.
#[track_caller]
fn place(records: &[Record], pick: impl Fn(&Body) -> bool) -> usize {
    let found: Vec<usize> = (0..records.len()).filter(|n| pick(&records[*n].body)).collect();
    assert_eq!(found.len(), 1, "{found:?}");
    found[0]
}

fn is_open(body: &Body, of: &str) -> bool {
    matches!(body, Body::FsOpen(open) if open.path == of.into())
}

fn is_change(body: &Body, of: FsOp) -> bool {
    matches!(body, Body::FsChange(change) if change.op == of)
}

fn is_outcome(body: &Body, of: &str) -> bool {
    matches!(body, Body::FsOutcome(outcome) if outcome.path == of.into())
}

fn is_start(body: &Body, of: u64) -> bool {
    matches!(body, Body::ProcStart(start) if start.p == of)
}

fn is_exec(body: &Body, of: u64) -> bool {
    matches!(body, Body::ProcExec(exec) if exec.p == of)
}

fn is_exit(body: &Body, of: u64) -> bool {
    matches!(body, Body::ProcExit(exit) if exit.p == of)
}

fn is_ask(body: &Body, of: SocketOp) -> bool {
    matches!(body, Body::NetAsk(ask) if ask.op == of)
}

#[test]
fn a_good_log_has_no_findings() {
    passes(&good());
}

/// Drops the one record; the finding is at the leaf of the record that `at` picks.
#[track_caller]
fn dropped(gone: impl Fn(&Body) -> bool, at: impl Fn(&Body) -> bool, words: &str) {
    let mut records = good();
    records.remove(place(&records, gone));
    finds(&records, place(&records, at) as u64 + 1, words);
}

#[test]
fn each_record_that_is_left_out_is_missed_by_another() {
    dropped(|b| is_start(b, 1), |b| is_exec(b, 1), "process 1 did not begin before");
    dropped(|b| is_start(b, 2), |b| is_exec(b, 2), "process 2 did not begin before");
    dropped(|b| is_start(b, 1), |b| is_start(b, 2), "made by process 1, which did not begin");
    dropped(|b| is_exec(b, 1), |b| matches!(b, Body::Outcome(_)), "process 1 exits, and executed nothing");
    dropped(|b| is_exec(b, 2), |b| is_exit(b, 2), "ends as a program that it did not execute");
    dropped(|b| is_exit(b, 2), |b| is_start(b, 2), "process 2 has no end");
    dropped(|b| is_exit(b, 1), |b| is_start(b, 1), "process 1 has no end");
    dropped(|b| is_open(b, "made"), |b| is_outcome(b, "made"), "none explains this change");
    dropped(|b| is_open(b, "held"), |b| is_outcome(b, "held"), "none explains this change");
    dropped(|b| is_open(b, "held"), |b| is_outcome(b, "held.too"), "none explains this change");
    dropped(|b| is_change(b, FsOp::Mkdir), |b| is_outcome(b, "run"), "none explains this change");
    dropped(|b| is_change(b, FsOp::Unlink), |b| is_outcome(b, "gone"), "leaves 7 to 11, and none explains");
    dropped(|b| is_change(b, FsOp::Rename), |b| is_outcome(b, "new/below"), "its call, leaf 1, did 5 things to files");
    dropped(|b| is_change(b, FsOp::Rename), |b| is_outcome(b, "old/below"), "none explains this change");
    dropped(|b| is_ask(b, SocketOp::Bind), |b| is_outcome(b, "run/s"), "none explains this change");
    let asked = "a connection to 198.18.0.9:443, and no process asked for one before";
    dropped(|b| is_ask(b, SocketOp::Connect), |b| matches!(b, Body::NetOpen(_)), asked);
    let lost = "it made a file that is in no outcome of its call, which ends at leaf 26";
    dropped(|b| is_outcome(b, "made"), |b| is_open(b, "made"), lost);
}

/// Makes another of the one record; the finding is at that leaf.
#[track_caller]
fn altered(which: impl Fn(&Body) -> bool, body: impl Into<Body>, words: &str) {
    let mut records = good();
    let n = place(&records, which);
    records[n].body = body.into();
    finds(&records, n as u64 + 1, words);
}

#[test]
fn each_record_that_says_something_else_contradicts_another() {
    altered(|b| is_start(b, 2), start(1, Some(1)), "process 1 began before, at leaf 3");
    altered(|b| is_start(b, 2), start(2, Some(9)), "made by process 9, which did not begin before");
    altered(|b| is_start(b, 2), start(2, None), "made by none, and so was process 1 of the same call");
    altered(|b| is_exec(b, 2), exec(3, "/bin/tool"), "process 3 did not begin before");
    altered(|b| is_exit(b, 2), exit(2, None, None), "another pid or parent than it began with, at leaf 5");
    altered(|b| is_exit(b, 2), ProcExit { pid: 9, ..exit(2, Some(1), None) }, "another pid or parent");
    altered(|b| is_exit(b, 2), exit(2, Some(1), Some("/bin/other")), "another program than it executed, at leaf 6");
    altered(|b| is_exit(b, 1), exit(2, Some(1), None), "process 2 ended before, at leaf 17");
    altered(|b| is_outcome(b, "gone"), outcome("kept", Change::Deleted), "none explains this change");
    altered(|b| is_outcome(b, "made"), outcome("made.not", Change::Created), "none explains this change");
    let strange = FsOutcome { ino: Some([7, 8]), ..outcome("held.too", Change::Modified) };
    altered(|b| is_outcome(b, "held.too"), strange, "none explains this change");
    altered(|b| matches!(b, Body::NetOpen(_)), connection(1, "198.18.0.8:443"), "and no process asked for one before");
    let silent = NetOpen { addr: None, ..connection(1, "") };
    altered(|b| matches!(b, Body::NetOpen(_)), silent, "does not say to which address it was made");
    let result =
        |p| Outcome { cause: Cause::Exit, status: 0, wall_us: 9, cpu_us: 1, p: Some(p), t: None, out: None, err: None };
    altered(|b| matches!(b, Body::Outcome(_)), result(2), "process 2 is not the one that its call, leaf 1, began with");
    // What a call read, or could not open, explains nothing; nor does a name that is not there to its end.
    let at = |records: &[Record]| place(records, |b| is_outcome(b, "made")) as u64 + 1;
    for open in [
        opened(2, "made", "R"),
        FsOpen { errno: Some(13), ..opened(2, "made", "W|CREAT") },
        FsOpen { cut: Some(1), ..opened(2, "made", "W|CREAT") },
        opened(2, "./made", "W|CREAT"),
    ] {
        let mut records = good();
        let n = place(&records, |b| is_open(b, "made"));
        records[n].body = open.into();
        finds(&records, at(&records), "none explains this change");
    }
}

#[test]
fn what_comes_behind_the_result_of_its_call_is_late() {
    for pick in [is_late_start, is_late_open] {
        let mut records = good();
        let n = place(&records, pick);
        let late = records.remove(n);
        records.push(late);
        finds(&records, records.len() as u64, "behind the result of its call, leaf 26");
    }
    let mut records = good();
    let daemon = start(3, Some(2));
    let n = place(&records, |b| is_exit(b, 2));
    records.insert(n, of(1, daemon));
    records.push(of(1, exit(3, Some(2), None)));
    finds(&records, records.len() as u64, "the end of a process behind the result of its call, leaf 28");
}

fn is_late_start(body: &Body) -> bool {
    is_exit(body, 1)
}

fn is_late_open(body: &Body) -> bool {
    is_outcome(body, "run")
}

#[test]
fn records_of_one_call_explain_nothing_of_another() {
    let mut records = good();
    let second: Vec<Record> = vec![
        of(2, Call { tool: "exec".into(), via: "cli".into(), input: None }),
        of(2, Permit { rules: vec!["r".into()] }),
        of(2, start(3, None)),
        of(2, exec(3, "/bin/sh")),
        of(2, exit(3, None, None)),
        of(2, outcome("made", Change::Modified)),
        of(
            2,
            Outcome { cause: Cause::Exit, status: 0, wall_us: 9, cpu_us: 1, p: Some(3), t: None, out: None, err: None },
        ),
    ];
    records.extend(second);
    let n = place(&records, |b| matches!(b, Body::FsOutcome(o) if o.path == "made".into() && o.op == Change::Modified));
    finds(&records, n as u64 + 1, "nothing in its call, leaf 28, did anything to files");
    // And a process does not change sides.
    records[n] = of(2, opened(2, "x", "W"));
    finds(&records, n as u64 + 1, "process 2 ended before");
    records[n] = of(2, exec(1, "x"));
    let m = place(&records, |b| is_exit(b, 1));
    let ended = records.remove(m);
    records.insert(n, ended);
    finds(&records, n as u64, "process 1 began in another call, at leaf 3");
}

#[test]
fn a_file_that_was_made_and_taken_away_needs_no_outcome() {
    for change in [
        changed(2, FsOp::Unlink, "made", None),
        changed(2, FsOp::Rename, "made", Some("elsewhere")),
        changed(2, FsOp::Rename, "other", Some("made")),
        changed(2, FsOp::Exchange, "other", Some("made")),
    ] {
        let mut records = good();
        records.remove(place(&records, |b| is_outcome(b, "made")));
        let n = place(&records, |b| is_exit(b, 2));
        records.insert(n, of(1, change));
        passes(&records);
    }
    // Outside of the workspace nobody compares, and an open that was only seen made nothing that we know of.
    for made in [
        FsOpen { was: Some(Was::Absent), ..opened(2, "/tmp/made", "W|CREAT") },
        FsOpen { was: None, ..opened(2, "made", "W|CREAT") },
    ] {
        let mut records = good();
        records.remove(place(&records, |b| is_outcome(b, "made")));
        let n = place(&records, |b| is_open(b, "made"));
        records[n].body = made.into();
        passes(&records);
    }
}

#[test]
fn more_connections_than_were_asked_for_are_counted() {
    let mut records = good();
    let n = place(&records, |b| matches!(b, Body::NetClose(_)));
    let end = |c| NetClose { c, up: 1, down: 1, us: 1, addr: None, why: "done".into() };
    records.insert(n + 1, Record::new(connection(2, "198.18.0.9:443")));
    records.insert(n + 2, Record::new(end(2)));
    let words = "2 connections to 198.18.0.9:443, and processes asked 1 times, first at leaf 13";
    finds(&records, n as u64 + 2, words);
    let asked = place(&records, |b| is_ask(b, SocketOp::Connect));
    records[asked].body = NetAsk { times: Some(2), ..ask(2, SocketOp::Connect, "198.18.0.9:443") }.into();
    passes(&records);
    // Over the proxy, several may share one connection.
    for n in [1, 2] {
        let n = place(&records, |b| matches!(b, Body::NetOpen(open) if open.c == n));
        if let Body::NetOpen(open) = &mut records[n].body {
            open.via = Via::Http;
        }
    }
    records[asked].body = ask(2, SocketOp::Connect, "198.18.0.9:443").into();
    passes(&records);
}

#[test]
fn an_end_that_nobody_saw_is_an_end() {
    let mut records = good();
    let n = place(&records, |b| is_exit(b, 2));
    records[n].body = ProcExit { cause: Cause::Error, ..exit(2, Some(1), None) }.into();
    passes(&records);
}

#[test]
fn without_a_recorder_nothing_is_missed_and_that_is_said() {
    let bare: Vec<Record> = good().into_iter().filter(|record| !is_recorders(&record.body)).collect();
    let off = Recorder {
        grade: RecorderGrade::OutcomeOnly,
        scope: RecorderScope::Off,
        why: "the profile has record = \"off\"".into(),
    };
    for recorder in [None, Some(off.clone())] {
        let verdict = verdict_on(recorder, &bare);
        assert_eq!(verdict.exit_code(), 0, "{:?}", verdict.findings);
        assert!(verdict.findings[0].text.starts_with("no recorder watched its processes"), "{:?}", verdict.findings);
    }
    let verdict = verdict_on(Some(off), &good());
    assert_eq!(verdict.exit_code(), 3);
    let words = "a record of a recorder, and the session had none";
    assert_eq!(verdict.findings.iter().filter(|finding| finding.text == words).count(), 12, "{:#?}", verdict.findings);
}

fn is_recorders(body: &Body) -> bool {
    matches!(
        body,
        Body::ProcStart(_)
            | Body::ProcExec(_)
            | Body::ProcCall(_)
            | Body::FsOpen(_)
            | Body::FsChange(_)
            | Body::NetAsk(_)
    )
}

#[test]
fn nobody_performs_at_a_lower_grade() {
    let lower = |grade| Recorder { grade, scope: RecorderScope::Changes, why: "the kernel is old".into() };
    for grade in [RecorderGrade::Trace, RecorderGrade::Notify] {
        let verdict = verdict_on(Some(lower(grade)), &good());
        let words = "an open that was performed, by a recorder that performs none";
        assert_eq!(verdict.findings.iter().filter(|finding| finding.text == words).count(), 2, "{verdict:?}");
        let mut seen = good();
        for record in &mut seen {
            if let Body::FsOpen(open) = &mut record.body {
                (record.evidence, open.errno) = (Evidence::Observed, None);
                (open.ino, open.was) = (None, None);
            }
        }
        let verdict = verdict_on(Some(lower(grade)), &seen);
        assert_eq!((verdict.exit_code(), &verdict.findings[..]), (0, &[][..]));
        // What such a recorder leaves out is missed as well.
        seen.retain(|record| !matches!(record.body, Body::FsOpen(_)));
        let verdict = verdict_on(Some(lower(grade)), &seen);
        assert!(verdict.exit_code() == 3 && !verdict.findings.is_empty(), "{verdict:?}");
    }
}
