//! The life of workers: what does not touch them, and what ends them for certain.
//! It never kills a process that it did not start.
#![expect(unsafe_code, reason = "one static that the loader calls, and system calls that have no wrapper")]

#[path = "worker/asking.rs"]
mod asking;
mod common;
#[path = "worker/ends.rs"]
mod ends;
#[path = "worker/inside.rs"]
mod inside;

use asking::{SOON, alive, compiler, does, layer_of, outside_test, try_ask, worker_of};
use common::{Scratch, again_as_ordinary_user, command, landlock_plan, plan, run, sh, start};
use rustix::net::SendFlags;
use rustix::process::{Pid, Signal};
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::time::{Duration, Instant};
use stockade_jail::enforced::{Layer, State};
use stockade_jail::plan::{HostStep, Limits, Wall};
use stockade_jail::{JailError, Kind, Sandbox, Status, Stdio, Worker, WorkerEnd};

#[test]
fn as_an_ordinary_user() {
    again_as_ordinary_user("as_an_ordinary_user");
}

#[test]
fn a_thread_is_bound_as_its_worker_is() {
    let scratch = Scratch::new();
    let sandbox = start(&plan(&scratch.dir("w")));
    let worker = worker_of(&sandbox, Kind::Read);
    let until = Instant::now() + SOON;
    while does(&worker, &["ticks"]).parse::<u64>().expect("a number") < 3 {
        assert!(Instant::now() < until, "its thread does not run");
    }
    assert_eq!(try_ask(&worker, &["attack-in-thread", "socket"]), None);
    assert_eq!(worker.wait(SOON), Ok(Some(WorkerEnd::Forbidden)));
}

#[test]
fn a_hundred_calls_do_not_touch_a_worker_and_do_not_see_it() {
    let scratch = Scratch::new();
    let sandbox = start(&plan(&scratch.dir("w")));
    untouched(&sandbox, "/w/x");
    let seen = sh(&sandbox, "cat /proc/[0-9]*/comm");
    assert!(!seen.contains("worker") && seen.contains("stockade-init"), "{seen}");
}

#[test]
fn a_hundred_calls_do_not_touch_a_worker_without_namespaces() {
    let scratch = Scratch::new();
    let w = scratch.dir("w");
    let sandbox = start(&landlock_plan(&w));
    untouched(&sandbox, w.join("x").to_str().expect("ASCII"));
    // It is there to be seen, as every process of the host's; a signal does not reach it.
    let worker = worker_of(&sandbox, Kind::Read);
    let kill = format!("import os\nos.kill({}, 9)", worker.id().expect("one of this kernel"));
    if matches!(layer_of(&sandbox, Layer::Landlock), State::Active) {
        assert_ne!(run(&sandbox, &["python3", "-c", &kill]).ended.status, Status::Exited(0));
        assert_eq!(worker.wait(Duration::ZERO), Ok(None));
    }
}

#[track_caller]
fn untouched(sandbox: &Sandbox, file: &str) {
    let (reader, writer) = (worker_of(sandbox, Kind::Read), worker_of(sandbox, Kind::Write));
    for number in 0..100 {
        // What it leaves behind is killed with the call; so is whoever it could reach by its own hand.
        run(sandbox, &["sh", "-c", "setsid sleep 1000 & kill -9 -1 2>/dev/null & kill -9 0"]);
        let text = number.to_string();
        does(&writer, &["write", file, &text]);
        assert_eq!(does(&reader, &["read", file]), text);
    }
    assert_eq!((reader.wait(Duration::ZERO), writer.wait(Duration::ZERO)), (Ok(None), Ok(None)));
}

#[track_caller]
fn gone(pid: u32) {
    let until = Instant::now() + SOON;
    while alive(pid) {
        assert!(Instant::now() < until, "{pid} is still there");
        std::thread::sleep(Duration::from_millis(2));
    }
}

#[test]
fn the_end_of_a_worker_is_told() {
    let scratch = Scratch::new();
    let sandbox = start(&plan(&scratch.dir("w")));
    ends::are_told(&sandbox);
    let (dropped, mut closed) = (worker_of(&sandbox, Kind::Read), worker_of(&sandbox, Kind::Read));
    let pid = dropped.id().expect("one of this kernel");
    drop(dropped);
    assert!(!Path::new(&format!("/proc/{pid}")).exists(), "not reaped");
    drop(closed.take_channel());
    assert_eq!(closed.wait(SOON), Ok(Some(WorkerEnd::Exited(0))), "its supervisor is gone");
    assert_eq!(sh(&sandbox, "echo alive"), "alive\n");
}

#[test]
fn the_end_of_the_sandbox_is_its_workers_end() {
    let scratch = Scratch::new();
    for plan in [plan(&scratch.dir("w")), landlock_plan(&scratch.dir("w"))] {
        let sandbox = start(&plan);
        let (reader, writer) = (worker_of(&sandbox, Kind::Read), worker_of(&sandbox, Kind::Write));
        if plan.wall == Wall::Namespaces {
            sandbox.kill().expect("it ends");
        }
        drop(sandbox);
        for worker in [&reader, &writer] {
            assert_eq!(worker.wait(Duration::ZERO), Ok(Some(WorkerEnd::Signalled(libc::SIGKILL))));
        }
    }
}

#[test]
fn an_init_that_dies_takes_its_workers_with_it() {
    let scratch = Scratch::new();
    for plan in [plan(&scratch.dir("w")), landlock_plan(&scratch.dir("w"))] {
        let sandbox = start(&plan);
        let (reader, writer) = (worker_of(&sandbox, Kind::Read), worker_of(&sandbox, Kind::Write));
        drop(worker_of(&sandbox, Kind::Read));
        let init = Pid::from_raw(init_of(&sandbox)).expect("a process id");
        rustix::process::kill_process(init, Signal::KILL).expect("our own child");
        for worker in [&reader, &writer] {
            assert_eq!(worker.wait(SOON), Ok(Some(WorkerEnd::Signalled(libc::SIGKILL))));
        }
    }
}

/// The parent of a call's own process.
fn init_of(sandbox: &Sandbox) -> i32 {
    let mark = format!("{}", 1_000_000 + std::process::id());
    let running = sandbox.spawn(&command(&["sleep", &mark]), Stdio::Pipes).expect("it starts");
    let until = Instant::now() + SOON;
    loop {
        assert!(Instant::now() < until, "the call does not run");
        let all = std::fs::read_dir("/proc").expect("our own /proc");
        let parent = all.filter_map(Result::ok).find_map(|entry| {
            let words = std::fs::read(entry.path().join("cmdline")).ok()?;
            (words == format!("sleep\0{mark}\0").as_bytes()).then_some(())?;
            let stat = std::fs::read_to_string(entry.path().join("stat")).ok()?;
            stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()
        });
        if let Some(parent) = parent {
            drop(running);
            return parent;
        }
    }
}

#[test]
#[ignore = "started by the test below, which kills it"]
fn supervisor_to_be_killed() {
    let scratch = Scratch::new();
    let sandbox = start(&plan(scratch.path()));
    let workers = [worker_of(&sandbox, Kind::Read), worker_of(&sandbox, Kind::Write), compiler()];
    for worker in &workers {
        println!("\nworker {}", worker.id().expect("one of this kernel"));
    }
    rustix::net::send(workers[0].channel().expect("there"), b"spin", SendFlags::NOSIGNAL).expect("it listens");
    println!("\nready");
    std::thread::sleep(Duration::from_secs(1000));
}

#[test]
#[expect(clippy::disallowed_methods, reason = "a supervisor that can be killed is another process")]
fn a_killed_supervisor_takes_its_workers_with_it() {
    let mut supervisor = std::process::Command::new(std::env::current_exe().expect("a running test has a file"))
        .args(["--ignored", "--exact", "supervisor_to_be_killed", "--nocapture"])
        .stdout(std::process::Stdio::piped())
        .spawn()
        .expect("we run ourselves");
    let lines = BufReader::new(supervisor.stdout.take().expect("a pipe")).lines();
    let lines: Vec<_> = lines.map(|line| line.expect("text")).take_while(|line| line != "ready").collect();
    let workers: Vec<u32> = lines
        .iter()
        .filter_map(|line| line.strip_prefix("worker "))
        .map(|pid| pid.parse().expect("a number"))
        .collect();
    assert!(workers.len() == 3 && workers.iter().all(|pid| alive(*pid)), "{workers:?}");
    supervisor.kill().expect("our own child");
    supervisor.wait().expect("our own child");
    workers.into_iter().for_each(gone);
}

#[test]
fn a_worker_is_none_of_the_guests() {
    let scratch = Scratch::new();
    let mut plan = plan(&scratch.dir("w"));
    plan.host =
        vec![HostStep::Limits(Limits { pids: Some(12), memory_mib: Some(512), cpu_s: Some(1), ..Limits::default() })];
    let sandbox = start(&plan);
    let most = |sandbox: &Sandbox| {
        let count = "import os, time\nmade = 0\ntry:\n    while made < 64:\n        if os.fork() == 0: time.sleep(20)\n        made += 1\nexcept OSError: pass\nprint(made)";
        run(sandbox, &["python3", "-c", count]).text()
    };
    let alone = most(&sandbox);
    let workers = [worker_of(&sandbox, Kind::Read), worker_of(&sandbox, Kind::Write)];
    assert_eq!(most(&sandbox), alone, "workers take guests' processes");
    drop(workers);
    assert_eq!(most(&sandbox), alone, "room for workers is left to guests");
}

#[test]
fn a_worker_that_cannot_be_says_why() {
    let scratch = Scratch::new();
    let sandbox = start(&plan(&scratch.dir("w")));
    let error: JailError = sandbox.worker(Kind::Compile).expect_err("it belongs to no sandbox");
    assert!(error.to_string().contains("compiles"), "{error}");
    sandbox.kill().expect("it ends");
    sandbox.worker(Kind::Read).expect_err("there is nothing to join");
}

/// In a process of its own, since what it asks for is asked of all its workers.
#[test]
#[ignore = "the inside of the next test"]
fn threaded_workers() {
    let own = i32::try_from(std::process::id()).expect("a process id");
    let scratch = Scratch::new();
    let sandbox = start(&plan(&scratch.dir("w")));
    let mark = inside::mark_of_threads(own);
    std::fs::write(&mark, "").expect("room in /tmp");
    let results = [sandbox.worker(Kind::Read), sandbox.worker(Kind::Write), Worker::compiler()];
    std::fs::remove_file(&mark).expect("our own file");
    for result in results {
        let error = result.expect_err("it has threads");
        assert!(error.to_string().contains("2 threads") && error.hint.is_some(), "{error}");
    }
}

#[test]
fn a_worker_with_threads_is_not_confined_by_halves() {
    outside_test("threaded_workers", "");
}

#[test]
fn many_workers_beside_many_calls() {
    let scratch = Scratch::new();
    let sandbox = start(&plan(&scratch.dir("w")));
    std::thread::scope(|scope| {
        for number in 0..4 {
            let sandbox = &sandbox;
            scope.spawn(move || {
                for _ in 0..5 {
                    let worker = worker_of(sandbox, Kind::Write);
                    let path = format!("/w/{number}");
                    does(&worker, &["write", &path, "x"]);
                    let running = sandbox.spawn(&command(&["cat", &path]), Stdio::Pipes).expect("it starts");
                    assert_eq!(common::collect(running).expect("it ends").text(), "x");
                }
            });
        }
    });
}
