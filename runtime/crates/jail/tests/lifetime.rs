//! What is left when sandboxes end, orderly or not: nothing.
//! It never kills a process that it did not start.

mod common;

use common::{
    Scratch, again_as_ordinary_user, again_below_a_listener, command, landlock_plan, options, plan, run, sh, start,
};
use std::collections::HashSet;
use std::io::{BufRead as _, BufReader};
use std::time::{Duration, Instant};
use stockade_jail::{Pool, Sandbox, Status, Stdio};

#[test]
fn as_an_ordinary_user() {
    again_as_ordinary_user("as_an_ordinary_user");
}

#[test]
fn where_the_recorder_traces_it_is_the_same() {
    again_below_a_listener(&["--skip", "as_an_ordinary_user", "--skip", "where_the_recorder_traces"]);
}

/// Every process of the machine that descends from one.
fn tree(root: u32) -> HashSet<u32> {
    let parents: Vec<(u32, u32)> = std::fs::read_dir("/proc")
        .expect("our own /proc")
        .filter_map(|entry| {
            let pid: u32 = entry.ok()?.file_name().to_str()?.parse().ok()?;
            let stat = std::fs::read(format!("/proc/{pid}/stat")).ok()?;
            let after = stat.iter().rposition(|byte| *byte == b')')?;
            let parent = std::str::from_utf8(&stat[after + 1..]).ok()?.split_whitespace().nth(1)?.parse().ok()?;
            Some((pid, parent))
        })
        .collect();
    let mut found = HashSet::from([root]);
    loop {
        let more: Vec<_> =
            parents.iter().filter(|(pid, parent)| found.contains(parent) && !found.contains(pid)).collect();
        if more.is_empty() {
            return found;
        }
        found.extend(more.into_iter().map(|(pid, _)| *pid));
    }
}

fn alive(pid: u32) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| !stat.contains(") Z "))
}

#[test]
fn a_hundred_sandboxes_leave_no_process_and_no_mount() {
    let scratch = Scratch::new();
    let plan = plan(scratch.path());
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").expect("our own /proc");
    let descriptors = || std::fs::read_dir("/proc/self/fd").expect("our own /proc").count();
    drop(start(&plan));
    let before = descriptors();
    let mut seen = HashSet::new();
    for _ in 0..100 {
        let sandbox = start(&plan);
        let running = sandbox.spawn(&command(&["sh", "-c", "setsid sleep 1000 & sleep 1000"]), Stdio::Pipes);
        seen.extend(tree(std::process::id()));
        drop(sandbox);
        drop(running);
    }
    seen.remove(&std::process::id());
    // Other tests of this process have sandboxes too: what counts is that each of ours ends.
    let until = Instant::now() + Duration::from_secs(30);
    while seen.iter().any(|pid| alive(*pid)) {
        assert!(Instant::now() < until, "left: {:?}", seen.iter().filter(|pid| alive(**pid)).collect::<Vec<_>>());
        std::thread::sleep(Duration::from_millis(10));
    }
    assert_eq!(std::fs::read_to_string("/proc/self/mountinfo").expect("our own /proc"), mounts);
    assert!(descriptors() < before + 60, "descriptors leak");
}

#[test]
#[ignore = "started by the tests below, which kill it"]
fn supervisor_to_be_killed() {
    let scratch = Scratch::new();
    be_killed(&plan(scratch.path()));
}

#[test]
#[ignore = "started by the tests below, which kill it"]
fn supervisor_without_namespaces_to_be_killed() {
    let scratch = Scratch::new();
    be_killed(&landlock_plan(scratch.path()));
}

#[expect(clippy::print_stdout, reason = "how it tells the test that it is ready")]
fn be_killed(plan: &stockade_jail::Plan) {
    let sandbox = start(plan);
    let line = "trap '' HUP TERM INT; setsid sh -c 'sleep 1000 & sleep 1000' & sleep 1000";
    let _running = sandbox.spawn(&command(&["sh", "-c", line]), Stdio::Pipes).expect("it starts");
    std::thread::sleep(Duration::from_millis(300));
    println!("\nready");
    std::thread::sleep(Duration::from_secs(1000));
}

#[test]
fn a_killed_supervisor_takes_everything_with_it() {
    nothing_survives("supervisor_to_be_killed");
}

#[test]
fn a_killed_supervisor_takes_everything_with_it_without_namespaces() {
    nothing_survives("supervisor_without_namespaces_to_be_killed");
}

#[track_caller]
#[expect(clippy::disallowed_methods, reason = "a supervisor that can be killed is another process")]
fn nothing_survives(supervisor: &str) {
    let mut supervisor = std::process::Command::new(std::env::current_exe().expect("a running test has a file"))
        .args(["--ignored", "--exact", supervisor, "--nocapture"])
        .stdout(std::process::Stdio::piped())
        .spawn()
        .expect("we run ourselves");
    let mut lines = BufReader::new(supervisor.stdout.take().expect("a pipe")).lines();
    while lines.next().expect("it gets ready").expect("text") != "ready" {}
    let mut tree = tree(supervisor.id());
    tree.remove(&supervisor.id());
    assert!(tree.len() >= 4, "an init, two shells and sleeps: {tree:?}");
    supervisor.kill().expect("our own child");
    supervisor.wait().expect("our own child");
    let until = Instant::now() + Duration::from_secs(5);
    while tree.iter().any(|pid| alive(*pid)) {
        assert!(Instant::now() < until, "survived: {:?}", tree.iter().filter(|pid| alive(**pid)).collect::<Vec<_>>());
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn a_sandbox_outlives_the_thread_that_started_it() {
    let scratch = Scratch::new();
    let plan = plan(scratch.path());
    let sandbox = std::thread::scope(|scope| scope.spawn(|| start(&plan)).join().expect("it starts"));
    std::thread::sleep(Duration::from_millis(50));
    assert_eq!(sh(&sandbox, "echo alive"), "alive\n");
}

#[test]
fn a_failed_start_leaves_nothing() {
    let scratch = Scratch::new();
    let mut plan = plan(scratch.path());
    plan.call.clear();
    plan.session.push(stockade_jail::plan::SessionStep::Proc);
    for _ in 0..20 {
        Sandbox::start(&plan, &options()).expect_err("a step after the root was entered");
    }
    let mut limits = options();
    limits.start_limit = Duration::ZERO;
    Sandbox::start(&common::plan(scratch.path()), &limits).expect_err("no time at all");
}

#[test]
fn sandboxes_start_and_run_side_by_side() {
    let scratch = Scratch::new();
    let plan = plan(scratch.path());
    std::thread::scope(|scope| {
        for number in 0..8 {
            let plan = &plan;
            scope.spawn(move || {
                for _ in 0..5 {
                    let sandbox = start(plan);
                    sh(&sandbox, &format!("echo {number} > /tmp/x; [ $(cat /tmp/x) = {number} ]"));
                }
            });
        }
    });
}

#[test]
fn a_pool_hands_out_fresh_sandboxes() {
    let scratch = Scratch::new();
    let pool = Pool::new(plan(scratch.path()), options(), 2).expect("a thread");
    let until = Instant::now() + Duration::from_secs(10);
    while pool.ready() < 2 {
        assert!(Instant::now() < until, "the pool stays empty");
        std::thread::sleep(Duration::from_millis(2));
    }
    for _ in 0..6 {
        let sandbox = pool.take().expect("a sandbox");
        sh(&sandbox, "[ ! -e /tmp/mark ] && echo x > /tmp/mark");
        assert_eq!(run(&sandbox, &["true"]).ended.status, Status::Exited(0));
    }
}

#[test]
fn a_pool_of_a_broken_plan_says_why() {
    let scratch = Scratch::new();
    let missing = stockade_jail::plan::SessionStep::Protect { path: "/w/none".into() };
    let pool = Pool::new(common::plan_with(scratch.path(), vec![missing]), options(), 2).expect("a thread");
    let error = pool.take().expect_err("the plan cannot be carried out");
    assert!(error.to_string().contains("/w/none"), "{error}");
}
