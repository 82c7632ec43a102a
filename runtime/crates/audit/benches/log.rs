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
    let outcome = Outcome { cause: Cause::Stop, status: 0, wall_us: 0, cpu_us: 0, p: None, out: None, err: None };
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
    let glob = Glob::new("src/module48/part7/file500471.rs");
    let first = Instant::now();
    assert_eq!(log.why(&glob).expect("why").len(), 1);
    println!("why over {LEAVES} leaves, making the index: {:?}", first.elapsed());
    let mut group = c.benchmark_group("questions over 1M");
    group.sample_size(10);
    group.bench_function("why, index from its file", |b| b.iter(|| log.why(black_box(&glob)).expect("why")));
    let filter = |text: &str| Filter::parse(text).expect("filter");
    let path = filter("path=src/module48/part7/file500471.rs");
    group.bench_function("path, index from its file", |b| b.iter(|| log.query(black_box(&path)).expect("found")));
    let index = Index::open(&log).expect("index");
    group.bench_function("path, index open", |b| b.iter(|| index.find(&log, black_box(&glob)).expect("found")));
    for text in ["src/module48/**/file50047?.rs", "**/file500471.rs"] {
        let filter = filter(&format!("path={text}"));
        group.bench_function(format!("{text}, index from its file"), |b| {
            b.iter(|| log.query(black_box(&filter)).expect("found"));
        });
    }
    let filter = filter("k=session.*");
    group.bench_function("filter by kind, no index", |b| {
        b.iter_batched(|| filter.clone(), |filter| log.query(&filter).expect("found"), BatchSize::SmallInput);
    });
    group.finish();
    drop(std::fs::remove_dir_all(root));
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
    let first = Instant::now();
    let why = log.why(&Glob::new(&path)).expect("why");
    println!("questions to a recorded build of {LEAVES} leaves: making the index takes {:?}", first.elapsed());
    assert_eq!((why.len(), why[0].events.len(), why[0].who.len(), why[0].because.len()), (1, 1, 1, 1));
    let mut group = c.benchmark_group("recorded build of 1M");
    group.sample_size(10);
    group.bench_function("why: change, open, process and its makers, call", |b| {
        b.iter(|| log.why(black_box(&Glob::new(&path))).expect("why"));
    });
    for text in [format!("path={path}"), "p=236".into(), "p=236 path=src/**".into(), "path=**/file250235.rs".into()] {
        let filter = Filter::parse(&text).expect("filter");
        assert!(!log.query(&filter).expect("found").is_empty(), "{text}");
        group.bench_function(text, |b| b.iter(|| log.query(black_box(&filter)).expect("found")));
    }
    group.bench_function("tree of all", |b| b.iter(|| log.tree().expect("tree")));
    group.finish();
    drop(std::fs::remove_dir_all(root));
}

criterion_group!(benches, append, verify_and_ask, ask);
criterion_main!(benches);
