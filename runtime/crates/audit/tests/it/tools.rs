//! Double entry of tools: a good log of one, and what the verifier says when one record of it is gone or another; then what
//! questions say of it.
//! It never checks a verdict alone: each omission has words of its own, and a leaf that it points to.

use crate::common::*;
use crate::verify::by_ledger;
use std::path::{Path, PathBuf};
use stockade_audit::SessionLog;
use stockade_audit::query::{Disclose, Filter, Glob, LogReader};
use stockade_audit::record::*;
use stockade_audit::verify::*;

const NOTIFY: Recorder =
    Recorder { grade: RecorderGrade::NotifyAddfd, scope: RecorderScope::Changes, why: String::new() };

fn of(body: impl Into<Body>) -> Record {
    Record::new(body).of_call(&call_id(1))
}

fn start(files: ToolFiles, net: ToolNet) -> ToolStart {
    ToolStart { t: 1, tool: "edit".into(), h: Digest([5; 32]), files, net }
}

fn used(op: ToolOp, path: &str) -> ToolUse {
    ToolUse { path: Some(path.into()), ..ToolUse::new(1, op) }
}

fn opened(path: &str) -> ToolUse {
    ToolUse {
        fl: Some("W|CREAT".into()),
        ino: Some([1, path.bytes().map(u64::from).sum()]),
        ..used(ToolOp::Open, path)
    }
}

fn request(host: &str) -> ToolUse {
    ToolUse { host: Some(host.into()), port: Some(443), ..ToolUse::new(1, ToolOp::Request) }
}

fn end(uses: u64) -> ToolEnd {
    ToolEnd { t: 1, cause: Cause::Exit, status: 0, why: None, wall_us: 9, cpu_us: 8, mem_bytes: 65536, uses }
}

fn outcome(path: &str, op: Change) -> FsOutcome {
    let (b, a) = match op {
        Change::Created => (None, Some(file(1))),
        Change::Deleted => (Some(file(1)), None),
        Change::Modified | Change::Metadata | Change::Retyped => (Some(file(1)), Some(file(2))),
    };
    FsOutcome { path_h: None, path: path.into(), op, b, a, lines: None, ino: None, mark: None }
}

fn connection(c: u64, host: &str) -> NetOpen {
    NetOpen { c, host: host.into(), port: 443, via: Via::Wasi, addr: None, rules: Vec::new() }
}

fn closed(c: u64) -> NetClose {
    NetClose { c, up: 1, down: 1, us: 1, addr: None, why: "done".into() }
}

fn result(t: Option<u64>, status: i32) -> Outcome {
    Outcome { cause: Cause::Exit, status, wall_us: 9, cpu_us: 8, p: None, t, out: None, err: None }
}

/// One call of a tool that does one of each, in order.
fn good() -> Vec<Record> {
    vec![
        of(Call { tool: "edit".into(), via: "mcp".into(), input: None }),
        of(Permit { rules: vec!["r".into()] }),
        of(start(ToolFiles::Write, ToolNet::Requests)),
        of(ToolUse { was: Some(Was::Absent), ..opened("made") }),
        of(opened("held")),
        of(used(ToolOp::Mkdir, "d")),
        of(ToolUse { to: Some("new".into()), ..used(ToolOp::Rename, "old") }),
        of(ToolUse { to: Some("first".into()), ..used(ToolOp::Link, "second") }),
        of(used(ToolOp::Unlink, "gone")),
        of(request("a.org")),
        of(connection(1, "a.org")),
        of(closed(1)),
        of(ToolUse { errno: Some(13), fl: Some("R|CREAT".into()), ..used(ToolOp::Open, "/etc/shadow") }),
        of(ToolUse { below: Some(900), r: Some(4096), ..used(ToolOp::Read, "src") }),
        of(end(908)),
        of(outcome("d", Change::Created)),
        of(outcome("gone", Change::Deleted)),
        of(FsOutcome { ino: opened("held").ino, ..outcome("held.too", Change::Modified) }),
        of(outcome("made", Change::Created)),
        of(outcome("new/below", Change::Created)),
        of(outcome("old/below", Change::Deleted)),
        of(outcome("first", Change::Metadata)),
        of(outcome("second", Change::Created)),
        of(result(Some(1), 0)),
    ]
}

fn write(root: &Path, recorder: Option<Recorder>, records: &[Record]) -> PathBuf {
    let ledger = ledger(root);
    std::fs::create_dir(root.join("s")).expect("scratch");
    let dir = root.join("s").join(sid(1).as_str());
    let log = SessionLog::create(&dir, ledger, SessionOpen { recorder, ..open_record(sid(1)) }).expect("session");
    log.append_all(records).expect("append");
    log.close(Cause::Exit, 0).expect("close");
    dir
}

fn verdict_on(recorder: Option<Recorder>, records: &[Record]) -> Verdict {
    let scratch = Scratch::new();
    let mut verdict = verify(&write(&scratch.0, recorder, records), &by_ledger(&scratch.0));
    // A ledger that is still open has no tiles, which is not what is looked at here.
    verdict.findings.retain(|finding| finding.log == "session" && finding.severity != Severity::Note);
    verdict
}

/// With a recorder and without, the verdict is "incomplete", and one finding has these words at this leaf.
#[track_caller]
fn finds(records: &[Record], leaf: u64, words: &str) {
    for recorder in [None, Some(NOTIFY)] {
        let verdict = verdict_on(recorder, records);
        let text: Vec<String> = verdict.findings.iter().map(ToString::to_string).collect();
        assert_eq!(verdict.exit_code(), 3, "{text:#?}");
        let found = verdict.findings.iter().any(|finding| finding.leaf == Some(leaf) && finding.text.contains(words));
        assert!(found, "nothing at leaf {leaf} has {words:?}: {text:#?}");
    }
}

#[track_caller]
fn passes(records: &[Record]) {
    for recorder in [None, Some(NOTIFY)] {
        let verdict = verdict_on(recorder, records);
        assert_eq!((verdict.exit_code(), &verdict.findings[..]), (0, &[][..]));
    }
}

/// The position of the only record that `pick` wants.
#[track_caller]
fn place(records: &[Record], pick: impl Fn(&Body) -> bool) -> usize {
    let found: Vec<usize> = (0..records.len()).filter(|n| pick(&records[*n].body)).collect();
    assert_eq!(found.len(), 1, "{found:?}");
    found[0]
}

fn is_use(body: &Body, op: ToolOp, of: &str) -> bool {
    matches!(body, Body::ToolUse(used) if used.op == op && used.path == Some(of.into()))
}

fn is_outcome(body: &Body, of: &str) -> bool {
    matches!(body, Body::FsOutcome(outcome) if outcome.path == of.into())
}

fn is_end(body: &Body) -> bool {
    matches!(body, Body::ToolEnd(_))
}

fn is_request(body: &Body) -> bool {
    matches!(body, Body::ToolUse(used) if used.op == ToolOp::Request)
}

fn is_result(body: &Body) -> bool {
    matches!(body, Body::Outcome(_))
}

/// The uses of the end are those of the records again.
fn counted(mut records: Vec<Record>) -> Vec<Record> {
    let uses = |record: &Record| if let Body::ToolUse(used) = &record.body { used.uses() } else { 0 };
    let sum = records.iter().map(uses).sum();
    for record in &mut records {
        if let Body::ToolEnd(end) = &mut record.body {
            end.uses = sum;
        }
    }
    records
}

/// Drops the one record; the finding is at the leaf of the record that `at` picks.
#[track_caller]
fn dropped(gone: impl Fn(&Body) -> bool, at: impl Fn(&Body) -> bool, words: &str) {
    let mut records = good();
    records.remove(place(&records, gone));
    let records = counted(records);
    finds(&records, place(&records, at) as u64 + 1, words);
}

/// Makes another of the one record; the finding is at that leaf.
#[track_caller]
fn altered(which: impl Fn(&Body) -> bool, body: impl Into<Body>, words: &str) {
    let mut records = good();
    let n = place(&records, which);
    records[n].body = body.into();
    finds(&counted(records), n as u64 + 1, words);
}

#[test]
fn a_good_log_of_a_tool_has_no_findings() {
    passes(&good());
}

#[test]
fn each_record_of_a_tool_that_is_left_out_is_missed_by_another() {
    let is_start = |b: &Body| matches!(b, Body::ToolStart(_));
    dropped(is_start, is_end, "tool 1 did not begin before");
    dropped(is_start, is_result, "tool 1 is not the one of its call, leaf 1");
    dropped(is_end, is_start, "tool 1 has no end");
    dropped(is_end, is_result, "tool 1 has no end before the result of its call");
    for (op, of, outcome) in [
        (ToolOp::Open, "made", "made"),
        (ToolOp::Open, "held", "held.too"),
        (ToolOp::Mkdir, "d", "d"),
        (ToolOp::Rename, "old", "old/below"),
        (ToolOp::Rename, "old", "new/below"),
        (ToolOp::Link, "second", "first"),
        (ToolOp::Link, "second", "second"),
        (ToolOp::Unlink, "gone", "gone"),
    ] {
        dropped(|b| is_use(b, op, of), |b| is_outcome(b, outcome), "none explains this change");
    }
    let is_open = |b: &Body| matches!(b, Body::NetOpen(_));
    dropped(is_request, is_open, "1 connections to a.org:443 by tool 1, which asked 0 times");
    for (outcome, op, of) in
        [("made", ToolOp::Open, "made"), ("d", ToolOp::Mkdir, "d"), ("second", ToolOp::Link, "second")]
    {
        dropped(|b| is_outcome(b, outcome), |b| is_use(b, op, of), "it made a file that is in no outcome of its call");
    }
    dropped(
        |b| is_outcome(b, "gone"),
        |b| is_use(b, ToolOp::Unlink, "gone"),
        "it removed a name that is in no outcome",
    );
}

#[test]
fn a_use_that_only_looked_cannot_be_left_out_either() {
    let mut records = good();
    records.remove(place(&records, |b| is_use(b, ToolOp::Read, "src")));
    let n = place(&records, is_end) as u64 + 1;
    finds(&records, n, "tool 1 used 908 things, and its records are of 8");
}

#[test]
fn a_use_that_was_refused_explains_nothing() {
    for (which, refused) in [
        ("made", ToolUse { errno: Some(13), ino: None, ..opened("made") }),
        ("held", ToolUse { errno: Some(30), ino: None, ..opened("held") }),
        ("d", ToolUse { errno: Some(17), ..used(ToolOp::Mkdir, "d") }),
        ("gone", ToolUse { errno: Some(2), ..used(ToolOp::Unlink, "gone") }),
        ("d", used(ToolOp::Stat, "d")),
        ("made", ToolUse { w: Some(9), ..used(ToolOp::Write, "made") }),
    ] {
        let mut records = good();
        let n =
            (0..records.len()).find(|n| matches!(&records[*n].body, Body::ToolUse(u) if u.path == Some(which.into())));
        records[n.expect("it is there")].body = refused.into();
        let outcome = if which == "held" { "held.too" } else { which };
        let records = counted(records);
        finds(&records, place(&records, |b| is_outcome(b, outcome)) as u64 + 1, "none explains this change");
    }
}

#[test]
fn a_tool_that_may_only_look_leaves_no_change() {
    let looks = |b: &Body| !matches!(b, Body::FsOutcome(_)) && !matches!(b, Body::ToolUse(used) if used.can_change());
    let mut records: Vec<Record> = good().into_iter().filter(|record| looks(&record.body)).collect();
    records[2].body = start(ToolFiles::Read, ToolNet::Requests).into();
    passes(&counted(records.clone()));
    let mut changed = records.clone();
    changed.insert(3, of(used(ToolOp::Utimes, "x")));
    finds(&counted(changed), 4, "tool 1 was not given what it used here");
    let last = records.len() - 1;
    records.insert(last, of(outcome("x", Change::Modified)));
    finds(&counted(records), last as u64 + 1, "a change in the call of tool 1, which may change nothing");
}

#[test]
fn a_tool_without_files_or_network_used_neither() {
    let mut records = good();
    records[2].body = start(ToolFiles::None, ToolNet::Requests).into();
    let n = place(&records, |b| is_use(b, ToolOp::Read, "src")) as u64 + 1;
    finds(&records, n, "tool 1 was not given what it used here");
    records[2].body = start(ToolFiles::Write, ToolNet::None).into();
    finds(&records, place(&records, is_request) as u64 + 1, "tool 1 was not given what it used here");
}

#[test]
fn no_tool_has_a_socket_whatever_it_was_given() {
    let wanted = |errno| of(ToolUse { errno, ..ToolUse::new(1, ToolOp::Socket) });
    let mut records = good();
    let at = place(&records, |b| is_use(b, ToolOp::Mkdir, "d"));
    records.insert(at, wanted(Some(13)));
    passes(&counted(records.clone()));
    records[at] = wanted(None);
    finds(&counted(records), at as u64 + 1, "tool 1 was not given what it used here");
}

/// Unlike a request, each socket is one connection.
#[test]
fn a_socket_and_a_connection_need_each_other_one_for_one() {
    let (host, port) = (Some("a.org".to_owned()), Some(443));
    let asked = |times| of(ToolUse { host: host.clone(), port, times, ..ToolUse::new(1, ToolOp::Connect) });
    let opened = |c| of(NetOpen { via: Via::WasiTcp, ..connection(c, "a.org") });
    let with = |more: Vec<Record>| {
        let mut records = good();
        records[2].body = start(ToolFiles::Write, ToolNet::Both).into();
        let at = place(&records, |b| is_use(b, ToolOp::Mkdir, "d"));
        records.splice(at..at, more);
        (counted(records), at as u64 + 1)
    };
    let moved = || of(ToolUse { host: host.clone(), port, r: Some(5), ..ToolUse::new(1, ToolOp::Moved) });
    passes(&with(vec![asked(None), opened(7), moved(), of(closed(7))]).0);
    let unheard = "1 requests and sockets of tool 1 for which it has no connection, and 0 refusals";
    let (records, at) = with(vec![asked(None)]);
    finds(&records, at, unheard);
    let (records, at) = with(vec![asked(Some(2)), opened(7), of(closed(7))]);
    finds(&records, at, unheard);
    let (records, at) = with(vec![opened(7), of(closed(7))]);
    finds(&records, at, "1 connections to a.org:443 by tool 1, which asked 0 times");
    let (mut records, at) = with(vec![asked(None), opened(7), of(closed(7))]);
    records[2].body = start(ToolFiles::Write, ToolNet::Requests).into();
    finds(&records, at, "tool 1 was not given what it used here");
}

#[test]
fn a_request_and_a_connection_need_each_other() {
    altered(
        is_request,
        request("b.org"),
        "1 requests and sockets of tool 1 for which it has no connection, and 0 refusals",
    );
    let mut records = good();
    let at = place(&records, |b| matches!(b, Body::NetOpen(_)));
    records[at].call = None;
    finds(&records, at as u64 + 1, "a connection by a tool, in no call of one");
    let mut records = good();
    records.splice(at + 2..at + 2, [of(connection(2, "a.org")), of(closed(2))]);
    finds(&records, at as u64 + 3, "2 connections to a.org:443 by tool 1, which asked 1 times");
    // What the outlet refused it has heard of.
    let mut records = good();
    let (host, rule, reason) = ("a.org".to_owned(), "not granted".to_owned(), "no".to_owned());
    let refuse = NetRefuse { c: None, host, port: Some(443), method: None, path: None, rule, reason };
    records.splice(at..at + 2, [of(refuse)]);
    passes(&records);
}

#[test]
fn each_record_of_a_tool_that_says_something_else_contradicts_another() {
    let other = ToolStart { tool: "grep".into(), ..start(ToolFiles::Write, ToolNet::Requests) };
    altered(|b| matches!(b, Body::ToolStart(_)), other, "tool 1 is another than its call asked for");
    altered(
        |b| is_use(b, ToolOp::Mkdir, "d"),
        ToolUse { t: 2, ..used(ToolOp::Mkdir, "d") },
        "tool 2 did not begin before",
    );
    altered(is_result, result(None, 0), "it does not name tool 1, which ran in its call, leaf 1");
    altered(is_result, result(Some(2), 0), "tool 2 is not the one of its call, leaf 1");
    altered(is_result, result(Some(1), 1), "the result says something else than the end of tool 1, leaf 15");
    for late in [of(used(ToolOp::Stat, "x")), of(end(0))] {
        let mut records = good();
        records.push(late);
        finds(&records, records.len() as u64, "what a tool did behind the result of its call, leaf 24");
    }
    let mut records = good();
    let outcome = records.remove(place(&records, |b| is_outcome(b, "d")));
    records.insert(2, outcome);
    finds(&records, 4, "a tool begins behind a change in its call, leaf 3");
}

/// The answers to questions about a session with one tool.
fn reader(scratch: &Scratch) -> LogReader {
    LogReader::open(&write(&scratch.0, None, &good())).expect("reader")
}

#[test]
fn why_names_the_tool_and_follows_what_it_renamed() {
    let scratch = Scratch::new();
    let log = reader(&scratch);
    let whys = log.why(&Glob::exactly(b"new/below")).expect("why");
    assert_eq!(whys.len(), 1);
    let kinds = |found: &[stockade_audit::query::Found]| -> Vec<&str> {
        found.iter().map(|found| found.leaf.body.kind()).collect()
    };
    assert_eq!(kinds(&whys[0].events), ["tool.use"]);
    assert!(is_use(&whys[0].events[0].leaf.body, ToolOp::Rename, "old"));
    assert_eq!(kinds(&whys[0].because), ["call", "permit", "tool.start", "tool.end", "result"]);
    // What it was refused, or only looked at, explains nothing.
    assert!(log.why(&Glob::exactly(b"/etc/shadow")).expect("why").is_empty());
    assert!(log.why(&Glob::exactly(b"src")).expect("why").is_empty());
}

#[test]
fn the_tree_has_the_tool_below_its_call() {
    let scratch = Scratch::new();
    let (tree, _) = reader(&scratch).tree().expect("tree");
    let tool = tree.tools_of(Some(&call_id(1))).next().expect("it ran");
    assert_eq!((tool.t, tool.name(), tree.tools_of(None).count()), (1, Some("edit"), 0));
    assert_eq!(tool.opened.kept.iter().map(LogPath::printable).collect::<Vec<_>>(), ["held", "made"]);
    assert_eq!(tool.looked.kept.iter().next(), Some(&(ToolOp::Read, "src".into(), Some(900))));
    assert_eq!(tool.asked.kept.iter().next(), Some(&("a.org".to_owned(), 443)));
    assert_eq!(tool.refused.kept.iter().next(), Some(&(ToolOp::Open, "/etc/shadow".to_owned(), 13)));
    assert_eq!((tool.changed.kept.len(), tool.bytes), (4, [4096, 0]));
    assert_eq!(tool.ended.as_ref().map(|(_, end)| end.uses), Some(908));
}

#[test]
fn a_filter_finds_what_a_tool_did() {
    let scratch = Scratch::new();
    let log = reader(&scratch);
    for (terms, count) in [
        ("t=1", 12),
        ("t=2", 0),
        ("k=tool.use t=1", 9),
        ("k=tool.* path=old", 1),
        ("k=tool.use path=new", 1),
        ("k=tool.use host=a.org", 1),
        ("t!=1 k=tool.*", 0),
    ] {
        let found = log.query(&Filter::parse(terms).expect("terms")).expect("query");
        assert_eq!(found.len(), count, "{terms}");
    }
}

#[test]
fn exports_have_every_record_of_a_tool() {
    let scratch = Scratch::new();
    let log = reader(&scratch);
    let export = |write: &dyn Fn(&mut Vec<u8>)| {
        let mut out = Vec::new();
        write(&mut out);
        String::from_utf8(out).expect("text")
    };
    let ocsf = export(&|out| log.export_ocsf(None, out, Disclose::No).expect("export"));
    let codes = ocsf.matches(r#""event_code":"tool."#).count();
    assert_eq!(codes, 11);
    let otlp = export(&|out| log.export_otlp(None, out, Disclose::No).expect("export"));
    assert!(otlp.contains(r#""stockade.component.sha256""#) && otlp.contains(r#""gen_ai.tool.name""#));
    let jsonl = export(&|out| log.export_jsonl(None, out, Disclose::No).expect("export"));
    assert_eq!(jsonl.matches(r#""k":"tool."#).count(), 11);
}
