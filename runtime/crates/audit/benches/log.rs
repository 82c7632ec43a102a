//! What the log costs: append, durable append, verify on one and two threads, proofs, questions by path.
//! It never mixes writing the test data into a measurement.

#![expect(clippy::print_stdout, reason = "a bench says what it measured")]

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use std::hint::black_box;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};
use stockade_audit::note::Vkey;
use stockade_audit::proof::TlogProof;
use stockade_audit::query::{Filter, Glob, Index, LogReader};
use stockade_audit::record::*;
use stockade_audit::verify::{Level, Trust, VerifyOptions, verify};
use stockade_audit::{Ledger, Machine, SessionLog};

const LEAVES: u64 = 1_000_000;
const GROUP: usize = 4096;

fn scratch(name: &str) -> PathBuf {
    let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("bench-{name}-{}", std::process::id()));
    drop(std::fs::remove_dir_all(&path));
    std::fs::create_dir_all(path.join("s")).expect("the build's directory is writable");
    path
}

fn sid(n: u8) -> SessionId {
    SessionId::new(1_700_000_000_000_000_000, [n; 10])
}

fn session(root: &Path, n: u8) -> (PathBuf, SessionLog) {
    let ledger = Ledger::open(Machine::system(), &root.join("ledger"), &root.join("keys"), "bench/agent-ledger");
    let dir = root.join("s").join(sid(n).as_str());
    let open = SessionOpen {
        sid: sid(n),
        tool: "stockade".into(),
        kernel: "6".into(),
        wall: "process".into(),
        grade: "full".into(),
        layers: Vec::new(),
        profile: "bench".into(),
        profile_h: Digest([0; 32]),
        plan_h: Digest([0; 32]),
        filter_h: None,
        mode: Mode::Review,
        durability: Durability::Group,
        recorder: None,
        container: None,
        from: None,
    };
    let log = SessionLog::create(&dir, Arc::new(ledger.expect("ledger")), open).expect("session");
    (dir, log)
}

/// A typical leaf: about 250 bytes.
fn change(n: u64) -> Record {
    let a = FileState { to_h: None, ty: FileType::File, mode: 0o644, z: Some(1234), h: None, g: None, to: None };
    let path = LogPath(format!("src/module{}/part{}/file{n}.rs", n % 97, n % 1009).into_bytes());
    let call = CallId::new("c1").expect("plain");
    Record::new(FsOutcome {
        path_h: None,
        path,
        op: Change::Modified,
        b: Some(a.clone()),
        a: Some(a),
        lines: None,
        ino: None,
        mark: None,
    })
    .of_call(&call)
}

fn append(c: &mut Criterion) {
    let root = scratch("append");
    let (dir, log) = session(&root, 1);
    let records: Vec<Record> = (0..GROUP as u64).map(change).collect();
    let mut group = c.benchmark_group("append");
    group.throughput(Throughput::Elements(1)).bench_function("one at a time", |b| {
        b.iter(|| log.append(black_box(records[0].clone())).expect("append"));
    });
    group.throughput(Throughput::Elements(GROUP as u64)).bench_function("in groups of 4096, to the file", |b| {
        b.iter(|| log.append_all(black_box(&records)).expect("append"));
    });
    group.throughput(Throughput::Elements(GROUP as u64)).bench_function("in groups of 4096, to the disk", |b| {
        b.iter(|| {
            log.append_all(black_box(&records)).expect("append");
            log.barrier().expect("barrier");
        });
    });
    group.throughput(Throughput::Elements(1)).bench_function("one, to the disk", |b| {
        b.iter(|| log.append_durable(black_box(records[0].clone())).expect("append"));
    });
    group.finish();
    println!(
        "leaf: {} bytes",
        LogReader::open(&dir).expect("log").record(5).expect("read").map_or(0, |(_, b)| b.len())
    );
    drop(log);
    drop(std::fs::remove_dir_all(root));
}

fn verify_and_ask(c: &mut Criterion) {
    let root = scratch("verify");
    let (dir, log) = session(&root, 1);
    let call = CallId::new("c1").expect("plain");
    let of = |body: Body| Record::new(body).of_call(&call);
    log.append(of(Call { tool: "exec".into(), via: "cli".into(), input: None }.into())).expect("append");
    log.append(of(Permit { rules: Vec::new() }.into())).expect("append");
    for start in (0..LEAVES).step_by(GROUP) {
        let records: Vec<Record> = (start..(start + GROUP as u64).min(LEAVES)).map(change).collect();
        log.append_all(&records).expect("append");
    }
    let outcome =
        Outcome { cause: Cause::Stop, status: 0, wall_us: 0, cpu_us: 0, p: None, t: None, out: None, err: None };
    log.append(of(outcome.into())).expect("append");
    let closing = Instant::now();
    log.close(Cause::Exit, 0).expect("close");
    println!("close with tiles of {LEAVES} leaves: {:?}", closing.elapsed());
    let vkey = Vkey::parse(&std::fs::read_to_string(dir.join("vkey")).expect("vkey")).expect("key");
    let mut group = c.benchmark_group("verify 1M");
    group.sample_size(10).warm_up_time(Duration::from_millis(500)).throughput(Throughput::Elements(LEAVES));
    for tiles in ["with tiles", "without tiles"] {
        if tiles == "without tiles" {
            std::fs::rename(dir.join("tile"), dir.join("no-tile")).expect("renamed");
        }
        for (level, word) in [(Level::Integrity, "integrity"), (Level::Completeness, "all levels")] {
            for threads in [1, 2] {
                let threads = NonZeroUsize::new(threads).expect("1 and 2");
                let options = VerifyOptions { level, threads, ..VerifyOptions::new(Trust::Session(vkey.clone())) };
                group.bench_function(format!("{word}, {threads} threads, {tiles}"), |b| {
                    b.iter(|| assert_eq!(verify(&dir, &options).exit_code(), 0));
                });
            }
        }
    }
    group.finish();
    let log = LogReader::open(&dir).expect("log");
    let (_, leaf) = log.record(4711).expect("read").expect("there");
    let proof = log.prove(4711).expect("proof").to_text();
    c.bench_function("check a proof", |b| {
        b.iter(|| TlogProof::parse(black_box(&proof)).and_then(|proof| proof.verify(&leaf, &vkey)).expect("right"));
    });
    let path = "src/module48/part7/file500471.rs";
    first_question(&log, &dir, path);
    let glob = Glob::new(path);
    question("why PATH", || assert_eq!(log.why(&glob).expect("why").len(), 1));
    let filter = |text: &str| Filter::parse(text).expect("filter");
    for (text, right) in [
        (format!("path={path}"), 1),
        ("path=src/module48/**/file50047?.rs".into(), 1),
        ("path=**/file500471.rs".into(), 1),
        ("path=**le50047?.rs".into(), 10),
        ("path=**/part7/*99.rs".into(), 10),
        ("path=**/*?z".into(), 0),
    ] {
        let filter = filter(&text);
        question(&text, || assert_eq!(log.query(&filter).expect("found").len(), right, "{text}"));
    }
    let index = Index::open(&log).expect("index");
    let mut group = c.benchmark_group("questions over 1M");
    group.sample_size(10);
    group.bench_function("path, index open", |b| b.iter(|| index.find(&log, black_box(&glob)).expect("found")));
    let filter = filter("k=session.*");
    group.bench_function("filter by kind, no index", |b| {
        b.iter_batched(|| filter.clone(), |filter| log.query(&filter).expect("found"), BatchSize::SmallInput);
    });
    group.finish();
    drop(std::fs::remove_dir_all(root));
}

/// Files that a tool changes in one call: each a use and an outcome.
const TOOL_FILES: u64 = 100_000;

/// Verifies the call of a tool that changed many files: double entry is in memory until the call's result.
fn verify_a_tool(c: &mut Criterion) {
    let root = scratch("tool");
    let (dir, log) = session(&root, 1);
    let call = CallId::new("c1").expect("plain");
    let of = |body: Body| Record::new(body).of_call(&call);
    let (files, net) = (ToolFiles::Write, ToolNet::None);
    let start = ToolStart { t: 1, tool: "patch".into(), h: Digest([1; 32]), files, net };
    let end = ToolEnd {
        t: 1,
        cause: Cause::Exit,
        status: 0,
        why: None,
        wall_us: 0,
        cpu_us: 0,
        mem_bytes: 0,
        uses: TOOL_FILES,
    };
    let outcome =
        Outcome { cause: Cause::Exit, status: 0, wall_us: 0, cpu_us: 0, p: None, t: Some(1), out: None, err: None };
    let changes: Vec<Record> = (0..TOOL_FILES).map(change).collect();
    let uses = changes.iter().map(|record| {
        let Body::FsOutcome(outcome) = &record.body else { unreachable!("a change is an outcome") };
        let path = Some(outcome.path.clone());
        of(ToolUse { path, fl: Some("W|TRUNC".into()), ..ToolUse::new(1, ToolOp::Open) }.into())
    });
    let mut records = vec![
        of(Call { tool: "patch".into(), via: "mcp".into(), input: None }.into()),
        of(Permit { rules: Vec::new() }.into()),
        of(start.into()),
    ];
    records.extend(uses);
    records.push(of(end.into()));
    records.extend(changes);
    records.push(of(outcome.into()));
    for group in records.chunks(GROUP) {
        log.append_all(group).expect("append");
    }
    log.close(Cause::Exit, 0).expect("close");
    let vkey = Vkey::parse(&std::fs::read_to_string(dir.join("vkey")).expect("vkey")).expect("key");
    let options = VerifyOptions::new(Trust::Session(vkey));
    let mut group = c.benchmark_group("verify a tool's call");
    group.sample_size(10).warm_up_time(Duration::from_millis(500)).throughput(Throughput::Elements(2 * TOOL_FILES));
    group.bench_function("100k files, all levels, 1 thread", |b| {
        b.iter(|| assert_eq!(verify(&dir, &options).exit_code(), 0));
    });
    group.finish();
    drop(std::fs::remove_dir_all(root));
}

/// What a question may take over a log of a million leaves.
const QUESTION_MOST: Duration = Duration::from_millis(50);

/// Prints the median of one question, asked of files that are in memory, and whether that is fast enough.
fn question(name: &str, mut ask: impl FnMut()) {
    const TIMES: usize = 21;
    ask();
    let mut took: Vec<Duration> = (0..TIMES)
        .map(|_| {
            let begun = Instant::now();
            ask();
            begun.elapsed()
        })
        .collect();
    took.sort_unstable();
    let (middle, last) = (took[TIMES / 2], took[TIMES - 1]);
    let verdict = if middle <= QUESTION_MOST { "met" } else { "MISSED" };
    println!(
        "question over {LEAVES} leaves: {name:<50} p50 {middle:>10.2?}, most {last:>10.2?}, <= {QUESTION_MOST:?} {verdict}"
    );
}

/// What making the index takes, for who asks first of a log whose writer could not make it; beside reading the same files.
fn first_question(log: &LogReader, dir: &Path, path: &str) {
    const TIMES: usize = 5;
    let idx = dir.join("idx");
    assert!(idx.is_dir(), "closing a large log makes its index");
    let (mut made, mut read) = (Vec::new(), Vec::new());
    for _ in 0..TIMES {
        let begun = Instant::now();
        for entry in std::fs::read_dir(dir.join("seg")).expect("segments") {
            let mut file = std::fs::File::open(entry.expect("entry").path()).expect("segment");
            let mut buffer = vec![0; 2 << 20];
            while std::io::Read::read(&mut file, &mut buffer).expect("read") > 0 {
                black_box(&buffer);
            }
        }
        read.push(begun.elapsed());
        std::fs::remove_dir_all(&idx).expect("removed");
        let begun = Instant::now();
        assert_eq!(log.why(&Glob::exactly(path)).expect("why").len(), 1);
        made.push(begun.elapsed());
    }
    made.sort_unstable();
    read.sort_unstable();
    let (made, read) = (made[TIMES / 2], read[TIMES / 2]);
    let ratio = made.as_secs_f64() / read.as_secs_f64();
    println!("why over {LEAVES} leaves, making the index: p50 {made:.2?}, {ratio:.1} x reading the files ({read:.2?})");
}

/// What a build leaves: 5000 processes, each opens a hundred files, and each file has an outcome.
fn recorded(n: u64) -> Record {
    const PROCESSES: u64 = 5000;
    let call = CallId::new("c1").expect("plain");
    let path = |n: u64| LogPath(format!("src/module{}/part{}/file{n}.rs", n % 97, n % 1009).into_bytes());
    let p = n / 2 % PROCESSES + 1;
    let body: Body = match n {
        _ if n < PROCESSES => {
            ProcStart { p: n + 1, pp: (n > 0).then_some(n / 3 + 1).filter(|pp| *pp <= n), pid: 7 }.into()
        }
        _ if n < 2 * PROCESSES => {
            ProcExec { p: n - PROCESSES + 1, exe: Some("/usr/bin/cc".into()), h: None, asked: None, cut: None }.into()
        }
        _ if n.is_multiple_of(2) => FsOpen {
            path_h: None,
            p,
            path: path(n / 2),
            fl: "W|CREAT|TRUNC".into(),
            mode: Some(0o644),
            errno: Some(0),
            ino: Some([66, n]),
            was: None,
            cut: None,
            times: None,
        }
        .into(),
        _ => return change(n / 2),
    };
    Record::new(body).of_call(&call)
}

/// Questions to the log of a large build.
fn ask(c: &mut Criterion) {
    let root = scratch("ask");
    let (dir, log) = session(&root, 1);
    let call = CallId::new("c1").expect("plain");
    let claimed = Call { tool: "exec".into(), via: "cli".into(), input: None };
    log.append(Record::new(claimed).of_call(&call)).expect("append");
    for start in (0..LEAVES).step_by(GROUP) {
        let records: Vec<Record> = (start..(start + GROUP as u64).min(LEAVES)).map(recorded).collect();
        log.append_all(&records).expect("append");
    }
    log.close(Cause::Exit, 0).expect("close");
    let log = LogReader::open(&dir).expect("log");
    let path = format!("src/module{}/part{}/file250235.rs", 250_235 % 97, 250_235 % 1009);
    first_question(&log, &dir, &path);
    let glob = Glob::new(&path);
    let why = log.why(&glob).expect("why");
    assert_eq!((why.len(), why[0].events.len(), why[0].who.len(), why[0].because.len()), (1, 1, 1, 1));
    question("why: change, open, process and its makers, call", || drop(log.why(black_box(&glob)).expect("why")));
    for text in [format!("path={path}"), "p=236".into(), "p=236 path=src/**".into(), "path=**/file250235.rs".into()] {
        let filter = Filter::parse(&text).expect("filter");
        question(&text, || assert!(!log.query(&filter).expect("found").is_empty(), "{text}"));
    }
    let mut group = c.benchmark_group("recorded build of 1M");
    group.sample_size(10);
    group.bench_function("tree of all", |b| b.iter(|| log.tree().expect("tree")));
    group.finish();
    drop(std::fs::remove_dir_all(root));
}

criterion_group!(benches, append, verify_and_ask, verify_a_tool, ask);
criterion_main!(benches);
