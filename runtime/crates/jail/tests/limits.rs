//! Limits on real processes: memory, processes, CPU, descriptors, disk and wall, with a control group and without.
//! It never uses more than a small part of the machine, whether or not a limit holds.
#![expect(clippy::disallowed_methods, reason = "tests start processes")]
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::process::{Child, Command, Stdio};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};
use stockade_jail::cgroup::{Group, Support, support};
use stockade_jail::enforced::{Layer, State};
use stockade_jail::plan::Limits;
use stockade_jail::recorder::CallNumber;
use stockade_jail::watch::{LimitHit, LimitKind, Scope, Watch};

/// Each test ends within this time, limit or not.
const PATIENCE: Duration = Duration::from_secs(20);

/// Who bounds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Means {
    Group,
    Samples,
}

/// Means of this machine.
fn means() -> Vec<Means> {
    match support() {
        Support::None(_) => vec![Means::Samples],
        Support::One(_) | Support::Two(_) => vec![Means::Group, Means::Samples],
    }
}

/// A process that waits until it is watched and then becomes the program: it stands for the init and the call.
fn start(program: &str) -> Child {
    Command::new("python3")
        .args(["-c", &format!("import sys, os, time\nsys.stdin.read(1)\n{program}")])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

/// Runs a program under limits and returns what was hit, and what had to end.
fn run(
    means: Means,
    limits: Limits,
    name: &str,
    program: &str,
    disk: Option<&std::path::Path>,
) -> (Vec<LimitHit>, Vec<LimitKind>) {
    let mut child = start(program);
    let group = match means {
        Means::Group => Group::create(&limits, name).0.map(Arc::new),
        Means::Samples => None,
    };
    assert_eq!(group.is_some(), means == Means::Group);
    if let Some(group) = &group {
        group.add(child.id()).unwrap();
    }
    let (sender, receiver) = mpsc::channel();
    let disk = disk.map(std::path::Path::to_path_buf).into_iter().collect();
    let scope = Scope { limits, init_pid: child.id(), group: group.clone(), disk, private: Vec::new() };
    let watch = Watch::start(scope, move |call, hit| sender.send((call, hit)).unwrap()).unwrap();
    watch.call_began(CallNumber(1));
    drop(child.stdin.take());
    let deadline = Instant::now() + PATIENCE;
    let mut ended = Vec::new();
    while child.try_wait().unwrap().is_none() && Instant::now() < deadline {
        if let Ok((call, hit)) = receiver.recv_timeout(Duration::from_millis(5)) {
            assert_eq!(call, CallNumber(1));
            ended.push(hit.limit);
            match &group {
                Some(group) => group.kill().unwrap(),
                None => child.kill().unwrap(),
            }
        }
    }
    assert!(child.try_wait().unwrap().is_some(), "{means:?} {name}: nothing ended it");
    (watch.call_ended(CallNumber(1)), ended)
}

#[track_caller]
fn expect(hits: &[LimitHit], limit: LimitKind) -> LimitHit {
    let hit = hits.iter().find(|hit| hit.limit == limit);
    let hit = hit.unwrap_or_else(|| panic!("{limit} was not hit: {hits:?}"));
    assert!(hit.observed >= hit.value, "{hit:?}");
    *hit
}

#[test]
fn a_memory_bomb_is_stopped_and_named() {
    let bomb = "a = []\nfor _ in range(20):\n  a.append(bytearray(os.urandom(1)) * (20 << 20)); time.sleep(0.03)\ntime.sleep(30)";
    for means in means() {
        let limits = Limits { memory_mib: Some(100), ..Limits::default() };
        let (hits, _) = run(means, limits, "memory", bomb, None);
        let hit = expect(&hits, LimitKind::Memory);
        assert!(hit.observed < 300 << 20, "{means:?} was late: {hit:?}");
    }
}

#[test]
fn a_program_within_its_limits_hits_nothing() {
    for means in means() {
        let limits = Limits {
            memory_mib: Some(200),
            pids: Some(64),
            cpu_s: Some(5),
            wall_s: Some(15),
            open_files: Some(100),
            ..Limits::default()
        };
        let fine = "import subprocess\na = bytearray(20 << 20)\nf = [open('/dev/null') for _ in range(30)]\n\
                    [os.fork() or (time.sleep(0.3), os._exit(0)) for _ in range(5)]\ntime.sleep(0.5)";
        let (hits, ended) = run(means, limits, "fine", fine, None);
        assert_eq!((hits, ended), (vec![], vec![]), "{means:?}");
    }
}

#[test]
fn a_fork_bomb_is_bounded_and_reported() {
    // Bounded by itself as well: at most forty children, each of which sleeps.
    let bomb = "import signal\nkids = []\nfor _ in range(40):\n  try:\n    pid = os.fork()\n  except OSError:\n    break\n  \
                if pid == 0:\n    time.sleep(2); os._exit(0)\n  kids.append(pid)\ntime.sleep(0.5)\n[os.kill(k, 9) for k in kids]\n[os.waitpid(k, 0) for k in kids]";
    for means in means() {
        let limits = Limits { pids: Some(20), ..Limits::default() };
        let (hits, ended) = run(means, limits, "pids", bomb, None);
        expect(&hits, LimitKind::Pids);
        assert!(ended.is_empty(), "processes are refused, not killed");
    }
}

#[test]
fn cpu_time_of_all_processes_ends_the_call() {
    // Two burn at once, and one of them is nobody's to wait for.
    let burn = "import signal\nsignal.signal(signal.SIGCHLD, signal.SIG_IGN)\nos.fork()\nend = time.time() + 15\nwhile time.time() < end: pass";
    for means in means() {
        let limits = Limits { cpu_s: Some(1), ..Limits::default() };
        let (hits, ended) = run(means, limits, "cpu", burn, None);
        let hit = expect(&hits, LimitKind::Cpu);
        assert!(hit.observed < 2500, "{means:?} was late: {hit:?}");
        assert_eq!(ended, [LimitKind::Cpu]);
    }
}

#[test]
fn wall_time_ends_the_call_on_time() {
    let limits = Limits { wall_s: Some(1), ..Limits::default() };
    let (hits, ended) = run(Means::Samples, limits, "wall", "time.sleep(30)", None);
    let hit = expect(&hits, LimitKind::Wall);
    assert!(hit.observed < 1200, "{hit:?}");
    assert_eq!(ended, [LimitKind::Wall]);
}

#[test]
fn running_out_of_descriptors_is_reported() {
    // In a child: what the init itself has open is no guest's.
    let open = "import resource\nif os.fork(): os.wait(); sys.exit()\nresource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))\n\
                f = []\ntry:\n  while True: f.append(os.dup(0))\nexcept OSError: time.sleep(1)";
    let limits = Limits { open_files: Some(64), ..Limits::default() };
    let (hits, ended) = run(Means::Samples, limits, "files", open, None);
    expect(&hits, LimitKind::OpenFiles);
    assert!(ended.is_empty());
}

#[test]
fn filling_the_layer_ends_the_call_even_with_unlinked_files() {
    for unlink in ["", "os.unlink(p)\n"] {
        let layer = std::env::temp_dir().join(format!("jail-limits-{}", std::process::id()));
        std::fs::create_dir(&layer).unwrap();
        let path = layer.join("big");
        let fill = format!(
            "p = '{}'\nf = open(p, 'wb')\n{unlink}for _ in range(60):\n  f.write(os.urandom(1 << 20)); f.flush(); time.sleep(0.02)\ntime.sleep(15)",
            path.display()
        );
        let limits = Limits { disk_mib: Some(16), ..Limits::default() };
        let (hits, ended) = run(Means::Samples, limits, "disk", &fill, Some(&layer));
        std::fs::remove_dir_all(&layer).unwrap();
        expect(&hits, LimitKind::Disk);
        assert_eq!(ended, [LimitKind::Disk]);
    }
}

#[test]
fn a_group_kills_what_left_its_session_and_vanishes() {
    if support_is_none() {
        return;
    }
    let limits = Limits { pids: Some(50), ..Limits::default() };
    let (group, layers) = Group::create(&limits, "gone");
    let group = group.unwrap();
    assert!(layers.iter().any(|layer| layer.layer == Layer::PidsLimit && layer.state == State::Active), "{layers:?}");
    let mut child = start("os.fork() or (os.setsid(), os.fork())\ntime.sleep(60)");
    group.add(child.id()).unwrap();
    drop(child.stdin.take());
    let deadline = Instant::now() + PATIENCE;
    while group.usage().pids.unwrap() < 3 && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(5));
    }
    // The program, its child, which left, and that one's child. (A wrapper around the interpreter may add its own.)
    assert!(group.usage().pids.unwrap() >= 3);
    drop(group);
    assert!(!child.wait().unwrap().success());
    let name = format!("stockade-{}-gone", std::process::id());
    let left = Command::new("find").args(["/sys/fs/cgroup", "-name", &name]).output().unwrap();
    assert!(left.stdout.is_empty(), "{}", String::from_utf8_lossy(&left.stdout));
}

fn support_is_none() -> bool {
    means() == [Means::Samples]
}

#[test]
fn without_a_group_each_limit_says_that_it_is_sampled() {
    let limits = Limits {
        memory_mib: Some(1),
        pids: Some(1),
        cpu_s: Some(1),
        disk_mib: Some(1),
        open_files: Some(1),
        ..Limits::default()
    };
    let (group, layers) = Group::create(&limits, "says");
    assert_eq!(layers.len(), 3);
    assert!(group.is_some() || layers.iter().all(|layer| matches!(layer.state, State::Degraded(_))), "{layers:?}");
    assert!(Group::create(&Limits::default(), "nothing").1.is_empty());
}

#[test]
#[ignore = "a measurement: what a group costs, and a watcher that has nothing to do"]
fn measure() {
    let limits = Limits { memory_mib: Some(500), pids: Some(100), cpu_s: Some(100), ..Limits::default() };
    let began = Instant::now();
    for index in 0..100 {
        drop(Group::create(&limits, &format!("bench-{index}")).0);
    }
    println!("group made and removed: {:?}", began.elapsed() / 100);
    let mut child = start("[os.fork() or (time.sleep(60), os._exit(0)) for _ in range(20)]\ntime.sleep(60)");
    drop(child.stdin.take());
    for (what, calls) in [("idle", 0), ("with a call, sampling 21 processes", 1)] {
        let scope = Scope { limits, init_pid: child.id(), group: None, disk: Vec::new(), private: Vec::new() };
        let watch = Watch::start(scope, |_, _| ()).unwrap();
        (0..calls).for_each(|call| watch.call_began(CallNumber(call)));
        let before = own_cpu();
        std::thread::sleep(Duration::from_secs(5));
        println!("watcher {what}: {:.2} % of a core", (own_cpu() - before).as_secs_f64() / 5.0 * 100.0);
    }
    let watch = Watch::start(
        Scope { limits, init_pid: child.id(), group: None, disk: Vec::new(), private: Vec::new() },
        |_, _| (),
    )
    .unwrap();
    let began = Instant::now();
    for call in 0..1000 {
        watch.call_began(CallNumber(call));
        watch.call_ended(CallNumber(call));
    }
    println!("a call began and ended, without a group: {:?}", began.elapsed() / 1000);
    let group = Group::create(&limits, "bench").0.map(Arc::new);
    let watch =
        Watch::start(Scope { limits, init_pid: child.id(), group, disk: Vec::new(), private: Vec::new() }, |_, _| ())
            .unwrap();
    let began = Instant::now();
    for call in 0..1000 {
        watch.call_began(CallNumber(call));
        watch.call_ended(CallNumber(call));
    }
    println!("a call began and ended, with a group: {:?}", began.elapsed() / 1000);
    Command::new("pkill").args(["-P", &child.id().to_string()]).status().unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
}

/// CPU time of this process's living threads.
fn own_cpu() -> Duration {
    let tasks = std::fs::read_dir("/proc/self/task").unwrap();
    let nanoseconds = |task: std::fs::DirEntry| {
        let text = std::fs::read_to_string(task.path().join("schedstat")).unwrap_or_default();
        text.split(' ').next().and_then(|first| first.parse::<u64>().ok()).unwrap_or(0)
    };
    Duration::from_nanos(tasks.map(|task| nanoseconds(task.unwrap())).sum())
}
