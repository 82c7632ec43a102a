//! Calls, processes and reasons of a session as the recorder writes it: builds, pipelines, moved directories, hard links.
//! It never writes a leaf by hand: records go in through the writer.

use crate::common::*;
use std::path::{Path, PathBuf};
use stockade_audit::SessionLog;
use stockade_audit::disclose::Disclosed;
use stockade_audit::query::*;
use stockade_audit::record::*;

/// Records of one call.
struct Story {
    call: CallId,
    records: Vec<Record>,
}

impl Story {
    fn new(n: u64, argv: &[&str]) -> Self {
        let mut story = Self { call: call_id(n), records: Vec::new() };
        story.record(
            Record::new(Call { tool: "exec".into(), via: "cli".into(), input: None }).disclosing(Disclosed::argv(argv)),
        );
        story.add(Permit { rules: vec!["exec.sh".into()] });
        story
    }

    fn record(&mut self, record: Record) {
        self.records.push(record.of_call(&self.call.clone()));
    }

    fn add(&mut self, body: impl Into<Body>) {
        self.record(Record::new(body));
    }

    fn start(&mut self, p: u64, pp: Option<u64>, exe: &str) {
        self.add(ProcStart { p, pp, pid: u32::try_from(p).expect("small") + 10 });
        let exec = ProcExec { p, exe: Some(exe.into()), h: Some(Digest([9; 32])), asked: None, cut: None };
        self.record(Record::new(exec).disclosing(Disclosed::argv([exe])));
    }

    fn open(&mut self, p: u64, path: &str, fl: &str) {
        let open = FsOpen {
            path_h: None,
            p,
            path: path.into(),
            fl: fl.into(),
            mode: None,
            errno: Some(0),
            ino: None,
            was: None,
            cut: None,
            times: None,
        };
        self.add(open);
    }

    fn change(&mut self, p: u64, op: FsOp, path: &str, to: Option<&str>) {
        let to = to.map(LogPath::from);
        self.add(FsChange {
            path_h: None,
            to_h: None,
            p,
            op,
            path: path.into(),
            to,
            value: None,
            cut: None,
            times: None,
        });
    }

    fn exit(&mut self, p: u64, pp: Option<u64>) {
        let pid = u32::try_from(p).expect("small") + 10;
        self.add(ProcExit {
            p,
            pp,
            pid,
            exe: None,
            failed: None,
            cause: Cause::Exit,
            status: 0,
            cpu_us: Some(1),
            rss_kib: Some(1),
        });
    }

    fn outcome(&mut self, path: &str) {
        self.add(FsOutcome {
            path_h: None,
            path: path.into(),
            op: Change::Created,
            b: None,
            a: Some(file(1)),
            lines: None,
            ino: None,
            mark: None,
        });
    }

    fn end(mut self, p: u64) -> Vec<Record> {
        self.add(Outcome {
            cause: Cause::Exit,
            status: 0,
            wall_us: 5,
            cpu_us: 1,
            p: Some(p),
            t: None,
            out: None,
            err: None,
        });
        self.records
    }
}

fn write(root: &Path, stories: Vec<Vec<Record>>) -> PathBuf {
    let ledger = ledger(root);
    std::fs::create_dir(root.join("s")).expect("scratch");
    let dir = root.join("s").join(sid(1).as_str());
    let log = SessionLog::create(&dir, ledger, open_record(sid(1))).expect("session");
    stories.iter().for_each(|records| drop(log.append_all(records).expect("append")));
    log.close(Cause::Exit, 0).expect("close");
    dir
}

/// `make`, which starts `cc` and `mv`, and then a second call.
fn build() -> Vec<Vec<Record>> {
    let mut first = Story::new(1, &["make"]);
    first.start(1, None, "/usr/bin/make");
    first.start(2, Some(1), "/usr/bin/cc");
    first.open(2, "out/a.o", "W|CREAT|TRUNC");
    first.open(2, "out/read.h", "R");
    first.open(2, "notes", "W|CREAT");
    first.change(2, FsOp::Unlink, "notes", None);
    first.exit(2, Some(1));
    first.start(3, Some(1), "/usr/bin/mv");
    first.change(3, FsOp::Rename, "out", Some("lib"));
    first.change(3, FsOp::Rename, "lib/a.o", Some("lib/b.o"));
    first.change(3, FsOp::Link, "lib/c.o", Some("lib/b.o"));
    first.exit(3, Some(1));
    first.exit(1, None);
    first.outcome("lib/b.o");
    first.outcome("lib/c.o");
    let mut second = Story::new(2, &["sh"]);
    second.start(4, None, "/bin/sh");
    second.open(4, "lib/b.o", "RW");
    second.add(NetName { name: "example.com".into(), ty: "A".into(), addr: Some("198.18.0.7".into()) });
    second.add(NetAsk { p: 4, op: SocketOp::Connect, addr: "198.18.0.7:443".into(), times: None });
    second.exit(4, None);
    second.outcome("lib/b.o");
    vec![first.end(1), second.end(4)]
}

fn processes(line: &[Process]) -> Vec<u64> {
    line.iter().map(|process| process.p).collect()
}

#[test]
fn why_follows_a_file_through_its_names_to_the_process_that_wrote_it() {
    let scratch = Scratch::new();
    let log = LogReader::open(&write(&scratch.0, build())).expect("reader");
    let why = log.why(&Glob::new("lib/b.o")).expect("why");
    assert_eq!(why.len(), 2, "one for each call: {why:#?}");
    let kinds = |why: &Why| why.events.iter().map(|found| found.leaf.body.kind()).collect::<Vec<_>>();
    assert_eq!(kinds(&why[0]), ["fs.open", "fs.change", "fs.change", "fs.change"]);
    assert!(matches!(&why[0].events[0].leaf.body, Body::FsOpen(open) if open.path == LogPath::from("out/a.o")));
    assert_eq!(why[0].who.iter().map(|line| processes(line)).collect::<Vec<_>>(), [[2, 1], [3, 1]]);
    assert_eq!(why[0].who[0][0].program(), Some(&LogPath::from("/usr/bin/cc")));
    assert_eq!(why[0].because.len(), 3);
    assert_eq!(kinds(&why[1]), ["fs.open"], "the second change has only what came after the first");
    assert_eq!(processes(&why[1].who[0]), [4]);
    assert_eq!(why[1].because[0].leaf.call, Some(call_id(2)));
    let linked = log.why(&Glob::new("lib/c.o")).expect("why");
    assert!(kinds(&linked[0]).contains(&"fs.open"), "what was written through its other name: {linked:#?}");
}

#[test]
fn why_tells_what_was_done_to_a_path_of_which_nothing_is_left() {
    let scratch = Scratch::new();
    let log = LogReader::open(&write(&scratch.0, build())).expect("reader");
    let why = log.why(&Glob::new("notes")).expect("why");
    assert_eq!((why.len(), why[0].change.is_none(), why[0].events.len()), (1, true, 2));
    assert!(log.why(&Glob::new("out/read.h")).expect("why").is_empty(), "a read changes nothing");
}

#[test]
fn the_tree_knows_who_made_whom_what_they_wrote_and_where_they_connected() {
    let scratch = Scratch::new();
    let (tree, end) = LogReader::open(&write(&scratch.0, build())).expect("reader").tree().expect("tree");
    assert_eq!(end, End::Sealed);
    let shape: Vec<(usize, u64)> =
        tree.below(Some(&call_id(1))).iter().map(|(depth, process)| (*depth, process.p)).collect();
    assert_eq!(shape, [(0, 1), (1, 2), (1, 3)]);
    assert!(tree.below(None).is_empty());
    let cc = &tree.processes[&2];
    assert_eq!(cc.opened.kept.len(), 2);
    assert_eq!(cc.read.kept.len(), 1);
    assert_eq!(cc.ended.as_ref().map(|(_, exit)| exit.status), Some(0));
    let (_, addr) = tree.processes[&4].asked.kept.first().expect("a connection").clone();
    assert_eq!(tree.named(&addr).as_deref(), Some("example.com:443"));
    assert!(matches!(&tree.calls[0].decided, Some(Decided::Permitted(_, rules)) if rules == &["exec.sh"]));
}

#[test]
fn a_log_in_which_processes_make_each_other_or_a_very_deep_chain_ends_all_the_same() {
    let scratch = Scratch::new();
    let mut story = Story::new(1, &["sh"]);
    story.add(ProcStart { p: 1, pp: Some(2), pid: 1 });
    story.add(ProcStart { p: 2, pp: Some(1), pid: 2 });
    story.add(ProcStart { p: 3, pp: Some(3), pid: 3 });
    for p in 4..10_000 {
        story.add(ProcStart { p, pp: Some(p - 1), pid: 4 });
    }
    story.open(9_999, "deep", "W");
    story.outcome("deep");
    let log = LogReader::open(&write(&scratch.0, vec![story.end(1)])).expect("reader");
    let (tree, _) = log.tree().expect("tree");
    assert_eq!(tree.below(Some(&call_id(1))).len(), 9_999);
    let why = log.why(&Glob::new("deep")).expect("why");
    assert!(why[0].who[0].len() < 100, "ancestors are limited");
}

#[test]
fn questions_by_process_and_by_either_path_give_the_same_with_an_index_as_without() {
    let scratch = Scratch::new();
    let mut stories = build();
    let mut long = Story::new(3, &["sh"]);
    long.start(5, None, "/bin/sh");
    for n in 0..30_000 {
        long.open(5, &format!("many/{n}"), "W|CREAT");
    }
    stories.push(long.end(5));
    let log = LogReader::open(&write(&scratch.0, stories)).expect("reader");
    let count = |text: &str| log.query(&Filter::parse(text).expect("filter")).expect("query").len();
    for (text, right) in [
        ("p=2", 7),
        ("p=5 k=fs.*", 30_000),
        ("p=5 path=many/17", 1),
        ("path=lib/b.o", 5),
        ("path=lib/b.o k=fs.change", 2),
        ("p=99", 0),
        ("host=198.*", 1),
        ("exe=/usr/bin/*", 3),
        ("tc=c2 ev>=performed", 5),
    ] {
        assert_eq!(count(text), right, "{text}");
    }
    assert!(scratch.0.join("s").join(sid(1).as_str()).join("idx/000000.idx").exists());
}
