//! Calls in a sandbox: how they end, what they are given, what of them stays.
//! It never touches a process or a file that it did not make.

mod common;

use common::{
    Scratch, again_as_ordinary_user, again_below_a_listener, c, collect, command, guest, landlock_plan, plan, run, sh,
    start, try_run,
};
use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::fd::IntoRawFd as _;
use std::time::{Duration, Instant};
use stockade_jail::plan::{HostStep, Limits};
use stockade_jail::watch::LimitKind;
use stockade_jail::{ErrorKind, Fault, Status, Stdio};

#[test]
fn as_an_ordinary_user() {
    again_as_ordinary_user("as_an_ordinary_user");
}

#[test]
fn where_the_recorder_traces_it_is_the_same() {
    again_below_a_listener(&["--skip", "as_an_ordinary_user", "--skip", "where_the_recorder_traces"]);
}

#[test]
fn the_grade_is_full() {
    let scratch = Scratch::new();
    let sandbox = start(&plan(scratch.path()));
    assert_eq!(sandbox.enforced().grade, stockade_jail::Grade::Full, "{}", sandbox.enforced());
}

#[test]
fn calls_end_as_their_programs_do() {
    let scratch = Scratch::new();
    let sandbox = start(&plan(scratch.path()));
    for (line, status) in [
        ("true", Status::Exited(0)),
        ("exit 1", Status::Exited(1)),
        ("exit 255", Status::Exited(255)),
        ("kill -9 $$", Status::Signalled(9)),
        ("kill -TERM $$", Status::Signalled(15)),
        ("kill -PIPE $$", Status::Signalled(13)),
    ] {
        let ended = run(&sandbox, &["sh", "-c", line]).ended;
        assert_eq!(ended.status, status, "{line}");
        assert_eq!(ended.cause, None, "{line}");
        assert_eq!(ended.exits.first().map(|exit| exit.status), Some(status), "{line}");
    }
}

#[test]
fn what_cannot_be_executed_says_why() {
    let scratch = Scratch::new();
    std::fs::write(scratch.path().join("plain"), "text").expect("our own directory");
    std::fs::write(scratch.path().join("orphan"), "#!/no/such/interpreter\n").expect("our own directory");
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(scratch.path().join("orphan"), mode).expect("our own file");
    let sandbox = start(&plan(scratch.path()));
    for (program, kind) in [
        ("no-such-program", ErrorKind::ProgramNotFound),
        ("/no/such/program", ErrorKind::ProgramNotFound),
        ("", ErrorKind::ProgramNotFound),
        ("/w/orphan", ErrorKind::ProgramNotFound),
        ("/w/plain", ErrorKind::ProgramNotExecutable),
        ("/w", ErrorKind::ProgramNotExecutable),
        ("/w/plain/below", ErrorKind::ProgramNotFound),
    ] {
        let error = try_run(&sandbox, &[program]).expect_err(program);
        assert_eq!((error.kind, error.fault), (kind, Fault::Guest), "{program}: {error}");
    }
    let mut elsewhere = command(&["true"]);
    elsewhere.cwd = "/no/such/directory".into();
    let error = collect(sandbox.spawn(&elsewhere, Stdio::Pipes).expect("it is sent")).expect_err("no such directory");
    assert_eq!(error.kind, ErrorKind::WorkingDirectory);
    assert_eq!(run(&sandbox, &["true"]).ended.status, Status::Exited(0), "the sandbox goes on");
}

#[test]
fn a_call_that_makes_no_sense_is_refused() {
    let scratch = Scratch::new();
    let sandbox = start(&plan(scratch.path()));
    assert!(sandbox.spawn(&command(&[]), Stdio::Pipes).is_err());
    for name in ["", "A=B"] {
        let mut odd = command(&["true"]);
        odd.env.push((c(name), c("x")));
        assert_eq!(sandbox.spawn(&odd, Stdio::Pipes).expect_err(name).fault, Fault::Guest);
    }
}

#[test]
fn the_program_is_found_along_the_guests_path() {
    let scratch = Scratch::new();
    let tool = scratch.path().join("tool");
    std::fs::write(&tool, "#!/bin/sh\necho from the workspace\n").expect("our own directory");
    std::fs::set_permissions(&tool, std::os::unix::fs::PermissionsExt::from_mode(0o755)).expect("our own file");
    let sandbox = start(&plan(scratch.path()));
    let mut call = command(&["tool"]);
    call.env = vec![(c("PATH"), c("/nowhere:/w:/usr/bin"))];
    let output = collect(sandbox.spawn(&call, Stdio::Pipes).expect("it is sent")).expect("it runs");
    assert_eq!(output.text(), "from the workspace\n");
}

#[test]
fn arguments_and_environment_arrive_byte_for_byte() {
    let scratch = Scratch::new();
    let sandbox = start(&plan(scratch.path()));
    let odd: std::ffi::OsString = std::os::unix::ffi::OsStringExt::from_vec(b"\xff\xfe a\n\"$(x)".to_vec());
    let mut call = command(&["printf", "%s|"]);
    call.argv.push(c(&odd));
    call.argv.push(c(""));
    let output = collect(sandbox.spawn(&call, Stdio::Pipes).expect("it is sent")).expect("it runs");
    assert_eq!(output.stdout, b"\xff\xfe a\n\"$(x)||");
    let mut call = command(&["/usr/bin/env"]);
    call.env = vec![(c("ONLY"), c(&odd))];
    let output = collect(sandbox.spawn(&call, Stdio::Pipes).expect("it is sent")).expect("it runs");
    assert_eq!(output.stdout, b"ONLY=\xff\xfe a\n\"$(x)\n");
}

#[test]
fn long_argument_lists_pass_and_too_long_ones_are_refused() {
    let scratch = Scratch::new();
    let sandbox = start(&plan(scratch.path()));
    let long = "x".repeat(100_000);
    let mut call = command(&["sh", "-c", "echo $# ${#1}", "sh"]);
    call.argv.extend((0..10).map(|_| c(&long)));
    call.env.extend((0..5).map(|number| (c(format!("V{number}")), c(&long))));
    let output = collect(sandbox.spawn(&call, Stdio::Pipes).expect("it is sent")).expect("it runs");
    assert_eq!(output.text(), "10 100000\n");
    for count in [100, 400] {
        let mut call = command(&["true"]);
        call.argv.extend((0..count).map(|_| c(&long)));
        let error = sandbox.spawn(&call, Stdio::Pipes).and_then(collect).expect_err("longer than the kernel takes");
        assert_eq!((error.errno, error.fault), (Some(libc_e2big()), Fault::Guest), "{error}");
    }
    assert_eq!(run(&sandbox, &["true"]).ended.status, Status::Exited(0), "the sandbox goes on");
}

fn libc_e2big() -> i32 {
    rustix::io::Errno::TOOBIG.raw_os_error()
}

#[test]
fn streams_carry_100_mb_both_ways() {
    const BYTES: usize = 100_000_000;
    let scratch = Scratch::new();
    let sandbox = start(&plan(scratch.path()));
    let mut running = sandbox.spawn(&command(&["cat"]), Stdio::Pipes).expect("cat starts");
    let mut stdin = File::from(running.take_stdin().expect("a pipe"));
    let mut stdout = File::from(running.take_stdout().expect("a pipe"));
    let writer = std::thread::spawn(move || {
        let block: Vec<u8> = (0..=255).cycle().take(1_000_000).collect();
        (0..BYTES / block.len()).for_each(|_| stdin.write_all(&block).expect("cat reads"));
    });
    let (mut total, mut sum, mut buffer) = (0, 0_u64, vec![0; 1 << 16]);
    loop {
        let count = stdout.read(&mut buffer).expect("cat writes");
        if count == 0 {
            break;
        }
        total += count;
        sum += buffer[..count].iter().map(|byte| u64::from(*byte)).sum::<u64>();
    }
    writer.join().expect("it wrote all");
    let block: u64 = (0..=255_u64).cycle().take(1_000_000).sum();
    assert_eq!((total, sum), (BYTES, block * 100));
    assert_eq!(running.wait().expect("cat ends").status, Status::Exited(0));
}

#[test]
fn no_descriptor_leaks_into_a_call() {
    let scratch = Scratch::new();
    // The control: a descriptor that our own children would inherit.
    let leaky = File::open("/etc/passwd").expect("a readable file");
    let leaky = rustix::io::fcntl_dupfd_cloexec(&leaky, 20).expect("a free number");
    rustix::io::fcntl_setfd(&leaky, rustix::io::FdFlags::empty()).expect("our own descriptor");
    let sandbox = start(&plan(scratch.path()));
    let list = "for n in $(seq 0 200); do [ -h /proc/$$/fd/$n ] && echo $n; done; true";
    assert_eq!(sh(&sandbox, list), "0\n1\n2\n");
    assert!(leaky.into_raw_fd() >= 20);
}

#[test]
fn the_init_is_closed_to_its_guests() {
    let scratch = Scratch::new();
    let sandbox = start(&plan(scratch.path()));
    for path in ["environ", "mem", "maps", "fd/0", "cwd/", "root/etc/passwd", "exe", "auxv", "syscall"] {
        let output = run(&sandbox, &["dd", &format!("if=/proc/1/{path}"), "of=/dev/null", "count=1"]);
        assert_ne!(output.ended.status, Status::Exited(0), "/proc/1/{path} is readable");
    }
    let output = run(&sandbox, &["sh", "-c", "kill -9 1; kill -TERM 1; kill -STOP 1; true"]);
    assert_eq!(output.ended.status, Status::Exited(0));
    assert_eq!(sh(&sandbox, "echo alive"), "alive\n");
}

#[test]
fn the_guest_is_one_ordinary_user_inside() {
    let scratch = Scratch::new();
    let sandbox = start(&plan(scratch.path()));
    let (uid, gid) = guest();
    assert_eq!(sh(&sandbox, "id -u; id -g"), format!("{uid}\n{gid}\n"));
    assert_eq!(sh(&sandbox, "grep -c '^Cap.*0000000000000000' /proc/self/status"), "5\n");
    assert_eq!(sh(&sandbox, "ulimit -c; hostname"), "0\nstockade\n");
}

#[test]
fn signals_reach_the_call_and_its_group() {
    let scratch = Scratch::new();
    let sandbox = start(&plan(scratch.path()));
    let line = "trap 'echo got it; exit 7' USR1; echo ready; while :; do sleep 0.01; done";
    let mut running = sandbox.spawn(&command(&["sh", "-c", line]), Stdio::Pipes).expect("sh starts");
    let mut stdout = File::from(running.take_stdout().expect("a pipe"));
    let mut ready = [0; 6];
    stdout.read_exact(&mut ready).expect("sh says that it is ready");
    running.signal(10).expect("the sandbox is there");
    let mut rest = String::new();
    stdout.read_to_string(&mut rest).expect("text");
    assert_eq!(rest, "got it\n");
    assert_eq!(running.wait().expect("sh ends").status, Status::Exited(7));
    running.signal(10).expect("a late signal is no error");
}

#[test]
fn many_calls_run_at_once_and_do_not_mix() {
    let scratch = Scratch::new();
    let sandbox = start(&plan(scratch.path()));
    std::thread::scope(|scope| {
        for number in 0..24_u8 {
            let sandbox = &sandbox;
            scope.spawn(move || {
                for round in 0..5 {
                    let line = format!("sleep 0.0{}; echo {number} {round}; exit {number}", number % 5);
                    let output = run(sandbox, &["sh", "-c", &line]);
                    assert_eq!(output.ended.status, Status::Exited(number));
                    assert_eq!(output.text(), format!("{number} {round}\n"));
                }
            });
        }
    });
}

/// Processes inside besides the init, the asking shell and what it starts.
#[track_caller]
fn assert_empty(sandbox: &stockade_jail::Sandbox) {
    let others = sh(sandbox, "for p in /proc/[0-9]*; do p=${p#/proc/}; [ $p = 1 ] || [ $p = $$ ] || echo $p; done");
    assert_eq!(others, "", "processes outlived their call");
}

#[test]
fn a_daemon_does_not_survive_its_call() {
    let scratch = Scratch::new();
    let sandbox = start(&plan(scratch.path()));
    let line = "(setsid nohup sleep 1000 &) ; setsid setsid sh -c 'sleep 1000 & sleep 1000' & sleep 0.1; echo done";
    let output = run(&sandbox, &["sh", "-c", line]);
    assert!(output.text().contains("done"));
    assert!(output.ended.exits.len() > 1, "the daemons are reported: {:?}", output.ended.exits);
    assert_empty(&sandbox);
}

#[test]
fn a_fork_storm_does_not_survive_its_call() {
    let scratch = Scratch::new();
    let sandbox = start(&plan(scratch.path()));
    let storm = "f() { sleep 0.001; f & f & }; f & sleep 0.2; exit 3";
    let output = run(&sandbox, &["bash", "-c", &format!("ulimit -u 300; {storm}")]);
    assert_eq!(output.ended.status, Status::Exited(3));
    assert_empty(&sandbox);
}

#[test]
fn beside_another_call_a_session_ends_with_its_own() {
    let scratch = Scratch::new();
    let sandbox = start(&plan(scratch.path()));
    let other = sandbox.spawn(&command(&["sleep", "1000"]), Stdio::Pipes).expect("sleep starts");
    let output = run(&sandbox, &["sh", "-c", "sleep 777 & sleep 778 & sleep 0.05; echo x"]);
    assert!(output.ended.exits.len() >= 3, "{:?}", output.ended.exits);
    let left = sh(&sandbox, "cat /proc/[0-9]*/cmdline 2>&1 | tr '\\0' ' '");
    assert!(left.contains("sleep 1000") && !left.contains("sleep 77"), "{left}");
    other.kill(None);
    assert_eq!(other.wait().expect("it ends").status, Status::Signalled(9));
    assert_empty(&sandbox);
}

#[test]
fn a_dropped_call_is_killed() {
    let scratch = Scratch::new();
    let sandbox = start(&plan(scratch.path()));
    drop(sandbox.spawn(&command(&["sh", "-c", "sleep 1000 & sleep 1000"]), Stdio::Pipes).expect("it starts"));
    let until = Instant::now() + Duration::from_secs(5);
    while sh(&sandbox, "cat /proc/[0-9]*/cmdline; true").contains("1000") {
        assert!(Instant::now() < until, "the dropped call still runs");
    }
}

#[test]
fn the_wall_time_ends_the_whole_tree() {
    let scratch = Scratch::new();
    let mut plan = plan(scratch.path());
    plan.host = vec![HostStep::Limits(Limits { wall_s: Some(1), ..Limits::default() })];
    let sandbox = start(&plan);
    let began = Instant::now();
    let ended = run(&sandbox, &["sh", "-c", "trap '' TERM; setsid sleep 1000 & sleep 1000"]).ended;
    assert_eq!(ended.status, Status::Signalled(9));
    assert_eq!(ended.cause.map(|hit| (hit.limit, hit.value)), Some((LimitKind::Wall, 1000)));
    assert!(began.elapsed() < Duration::from_secs(5));
    assert_empty(&sandbox);
}

#[test]
fn usage_counts_the_whole_tree() {
    let scratch = Scratch::new();
    let sandbox = start(&plan(scratch.path()));
    let spin = "i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done";
    let usage = run(&sandbox, &["sh", "-c", &format!("({spin}) & ({spin}) & wait")]).ended.usage;
    assert!(usage.cpu_us > 20_000 && usage.wall_us > 10_000 && usage.max_rss_kib > 500, "{usage:?}");
}

#[test]
fn waiting_with_a_limit_comes_back() {
    let scratch = Scratch::new();
    let sandbox = start(&plan(scratch.path()));
    let running = sandbox.spawn(&command(&["sleep", "1000"]), Stdio::Pipes).expect("sleep starts");
    assert_eq!(running.wait_timeout(Duration::from_millis(20)), Ok(None));
    sandbox.kill().expect("it ends");
    assert_eq!(running.wait().expect_err("it is gone").kind, ErrorKind::SandboxLost);
    assert_eq!(sandbox.spawn(&command(&["true"]), Stdio::Pipes).expect_err("gone").kind, ErrorKind::SandboxLost);
}

#[test]
fn without_namespaces_calls_run_and_daemons_end() {
    let scratch = Scratch::new();
    let sandbox = start(&landlock_plan(scratch.path()));
    assert_eq!(sandbox.enforced().grade, stockade_jail::Grade::Partial, "{}", sandbox.enforced());
    assert_eq!(sh(&sandbox, "echo hello"), "hello\n");
    let denied = run(&sandbox, &["sh", "-c", "echo x > /tmp/stockade-jail-escape"]);
    assert_ne!(denied.ended.status, Status::Exited(0));
    let line = "setsid setsid sleep 4711 & (setsid sleep 4711 &); sleep 0.1";
    sh(&sandbox, line);
    let alive = std::fs::read_dir("/proc")
        .expect("our own /proc")
        .filter_map(|entry| std::fs::read(entry.ok()?.path().join("cmdline")).ok())
        .any(|line| line == b"sleep\x004711\x00");
    assert!(!alive, "a daemon survived");
}
