//! A recorder that traces, where the kernel gives it no listener: what tracing could break, and what could break it.
//! It never forces the recorder's hand: its process is listened to by somebody else, as inside other sandboxes.
#![expect(clippy::wildcard_enum_match_arm, reason = "each test looks for one kind of event among all")]

mod common;

use common::{
    Output, Scratch, again_as_ordinary_user, again_below_a_listener, below_a_listener, collect, command, landlock_plan,
    plan, start,
};
use stockade_jail::plan::{Plan, Record};
use stockade_jail::recorder::{Event, Events, Grade, Happened, ProcessId};
use stockade_jail::{Sandbox, Status, Stdio};

#[test]
fn as_an_ordinary_user() {
    again_as_ordinary_user("as_an_ordinary_user");
}

#[test]
fn below_a_listener_the_recorder_traces() {
    again_below_a_listener(&["--ignored", "traced_"]);
}

#[test]
fn where_tracing_is_refused_too_there_is_no_recorder_and_all_else_is_as_it_was() {
    // The kernel refuses; and a list outside ends whoever tries.
    for answer in ["0x00050001", "0x80000000"] {
        below_a_listener(libc::SYS_ptrace, answer, &["--ignored", "unrecorded_"]);
    }
}

#[test]
fn a_tracer_that_is_not_told_of_all_is_none() {
    // Of what a listener outside is told, the kernel tells nobody else: and this one never answers.
    below_a_listener(libc::SYS_listen, "0x7fc00000", &["--ignored", "unrecorded_"]);
}

#[test]
#[ignore = "inside of the test above"]
fn unrecorded_sandboxes_work() {
    let scratch = Scratch::new();
    let mut sandbox = start(&plan(scratch.path()));
    let layers = sandbox.enforced().to_string();
    assert!(sandbox.take_recorder().expect("nothing to map").is_none(), "{layers}");
    assert!(layers.contains("recorder: absent: outcome-only: somebody outside listens"), "{layers}");
    let why = ["nobody may trace here", "a tracer is not told of what is told outside"];
    assert!(why.iter().any(|why| layers.contains(why)), "{layers}");
    assert_eq!(sandbox.enforced().record(&plan(scratch.path())), Record::Off);
    assert_eq!(sandbox.enforced().grade, stockade_jail::Grade::Full);
    common::sh(&sandbox, "true | false; echo x > /w/x; python3 -c 'import os; os.umask(0)'");
}

/// A sandbox whose recorder traces.
fn traced(plan: &Plan) -> (Sandbox, Events) {
    let mut sandbox = start(plan);
    let layers = sandbox.enforced().to_string();
    let events = sandbox.take_recorder().expect("a mapping").expect("a recorder");
    assert_eq!(events.grade(), Grade::Trace, "{layers}");
    assert!(layers.contains("recorder: degraded: trace: somebody outside listens"), "{layers}");
    (sandbox, events)
}

/// Runs a command in one; what it wrote and how it ended, and its events.
#[track_caller]
fn run(argv: &[&str]) -> (Output, Vec<Event>) {
    let scratch = Scratch::new();
    let (sandbox, events) = traced(&plan(scratch.path()));
    run_in(&sandbox, &events, argv)
}

#[track_caller]
fn run_in(sandbox: &Sandbox, events: &Events, argv: &[&str]) -> (Output, Vec<Event>) {
    let running = sandbox.spawn(&command(argv), Stdio::Pipes).expect("it starts");
    let collected = std::thread::spawn(move || collect(running));
    let mut found = Vec::new();
    while !collected.is_finished() {
        events.wait(std::time::Duration::from_millis(20)).expect("a wait");
        events.drain(|event| found.push(event)).expect("events");
    }
    let output = collected.join().expect("no panic").expect("it runs");
    events.drain(|event| found.push(event)).expect("events");
    (output, found)
}

/// Runs a program of Python that has to end well; what it printed, and its events.
#[track_caller]
fn python(lines: &[&str]) -> (String, Vec<Event>) {
    let (output, events) = run(&["python3", "-c", &lines.join("\n")]);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.ended.status, Status::Exited(0), "{}{stderr}", output.text());
    (output.text(), events)
}

fn started(events: &[Event]) -> usize {
    events.iter().filter(|event| matches!(event.what, Happened::Started { .. })).count()
}

fn ends(events: &[Event]) -> Vec<(ProcessId, Option<Status>)> {
    let end = |event: &Event| match event.what {
        Happened::Ended { status, .. } => Some((event.process, status)),
        _ => None,
    };
    events.iter().filter_map(end).collect()
}

#[test]
#[ignore = "below a listener"]
fn traced_on_the_wall_without_namespaces_too() {
    if common::is_root() {
        return;
    }
    let scratch = Scratch::new();
    let (sandbox, events) = traced(&landlock_plan(scratch.path()));
    let line = format!("echo x > {}/made; sh -c 'exit 4'; setsid sh -c 'kill -9 $$'", scratch.path().display());
    let (_, events) = run_in(&sandbox, &events, &["sh", "-c", &line]);
    let statuses: Vec<_> = ends(&events).into_iter().map(|(_, status)| status).collect();
    assert!(
        statuses.contains(&Some(Status::Exited(4))) && statuses.contains(&Some(Status::Signalled(9))),
        "{events:?}"
    );
}

#[test]
#[ignore = "below a listener"]
fn traced_a_program_that_a_thread_begins_is_its_process() {
    let (output, events) = python(&[
        "import os, sys, threading, time",
        "for n in range(50):",
        "  if os.fork() == 0:",
        "    for m in range(8): threading.Thread(target=lambda: [time.sleep(0.001) for _ in range(99999)], daemon=True).start()",
        "    t = threading.Thread(target=lambda: os.execv('/bin/sh', ['sh', '-c', 'exit 5']))",
        "    t.start(); time.sleep(60)",
        "  assert os.waitstatus_to_exitcode(os.wait()[1]) == 5",
        "print('done')",
    ]);
    assert_eq!(output, "done\n");
    let executed = |event: &&Event| {
        matches!(&event.what, Happened::Executed { running: Some(_), asked, argv, .. }
            if asked.bytes == b"/bin/sh" && argv.bytes == b"sh\0-c\0exit 5\0")
    };
    assert_eq!(events.iter().filter(executed).count(), 50);
    assert_eq!(started(&events), 51, "{events:?}");
    assert_eq!(ends(&events).iter().filter(|(_, status)| *status == Some(Status::Exited(5))).count(), 50);
}

#[test]
#[ignore = "below a listener"]
fn traced_a_thousand_threads_change_files_and_are_one_process() {
    let (output, events) = python(&[
        "import os, threading",
        "threading.stack_size(65536)",
        "go = threading.Event()",
        "def f(n):",
        "  go.wait()",
        "  os.close(os.open(f'/w/t{n}', os.O_CREAT | os.O_WRONLY))",
        "ts = [threading.Thread(target=f, args=(n,)) for n in range(1000)]",
        "[t.start() for t in ts]; go.set(); [t.join() for t in ts]",
        "print(len(os.listdir('/w')))",
    ]);
    assert_eq!(output, "1000\n");
    let opened =
        |event: &&Event| matches!(&event.what, Happened::Opened { path, .. } if path.bytes.starts_with(b"/w/t"));
    assert_eq!(events.iter().filter(opened).count(), 1000);
    assert_eq!(started(&events), 1);
}

#[test]
#[ignore = "below a listener"]
fn traced_a_stopped_process_is_stopped_and_goes_on() {
    let (output, _) = python(&[
        "import os, signal, time",
        "def state(p): return open(f'/proc/{p}/stat').read().rpartition(')')[2].split()[0]",
        "for stop in (signal.SIGSTOP, signal.SIGTSTP):",
        "  r, w = os.pipe()",
        "  p = os.fork()",
        "  if p == 0:",
        "    os.setpgid(0, 0)",
        "    while True: os.write(w, b'x'); time.sleep(0.001)",
        "  os.read(r, 1)",
        "  os.kill(p, stop)",
        "  _, s = os.waitpid(p, os.WUNTRACED)",
        "  print(os.WIFSTOPPED(s), os.WSTOPSIG(s) == stop)",
        "  os.set_blocking(r, False)",
        "  time.sleep(0.05)",
        "  try:",
        "    while os.read(r, 4096): pass",
        "  except BlockingIOError: pass",
        "  time.sleep(0.1)",
        "  try: print('it ran', os.read(r, 1))",
        "  except BlockingIOError: print('stopped', state(p) in 'Tt')",
        "  os.kill(p, signal.SIGCONT)",
        "  _, s = os.waitpid(p, os.WCONTINUED)",
        "  print(os.WIFCONTINUED(s))",
        "  os.set_blocking(r, True)",
        "  print(os.read(r, 1))",
        "  os.kill(p, stop); os.waitpid(p, os.WUNTRACED); os.kill(p, signal.SIGKILL)",
        "  print(os.WTERMSIG(os.waitpid(p, 0)[1]))",
    ]);
    assert_eq!(output, "True True\nstopped True\nTrue\nb'x'\n9\n".repeat(2));
}

#[test]
#[ignore = "below a listener"]
fn traced_signals_come_as_they_were_sent() {
    let (output, _) = python(&[
        "import os, signal",
        "signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1, signal.SIGCHLD, signal.SIGTRAP, signal.SIGRTMIN})",
        "for sent in (signal.SIGUSR1, signal.SIGTRAP, signal.SIGRTMIN):",
        "  p = os.fork()",
        "  if p == 0: os.kill(os.getppid(), sent); os._exit(3)",
        "  i = signal.sigwaitinfo({sent}); print(i.si_signo == sent, i.si_pid == p, i.si_code)",
        "  i = signal.sigwaitinfo({signal.SIGCHLD}); print(i.si_pid == p, i.si_status, i.si_code)",
        "  os.waitpid(p, 0)",
        "for fatal in (signal.SIGTRAP, signal.SIGSEGV, signal.SIGSYS, signal.SIGRTMAX):",
        "  p = os.fork()",
        "  if p == 0:",
        "    signal.pthread_sigmask(signal.SIG_SETMASK, ())",
        "    os.kill(os.getpid(), fatal)",
        "  print(os.WTERMSIG(os.waitpid(p, 0)[1]) == fatal)",
    ]);
    assert_eq!(output, "True True 0\nTrue 3 1\n".repeat(3) + &"True\n".repeat(4));
}

#[test]
#[ignore = "below a listener"]
fn traced_no_signal_interrupts_a_call_that_is_told_of() {
    // Of a listener the kernel lets one: `a_background_job_that_ends_interrupts_no_open` in `interrupted.rs`.
    let line =
        "trap : CHLD; i=0; while [ $i -lt 300 ]; do (exit 0) & (exit 0) & : > /w/$i; i=$((i+1)); done; wait; exit 7";
    let (output, events) = run(&["sh", "-c", line]);
    assert_eq!((output.ended.status, String::from_utf8_lossy(&output.stderr).as_ref()), (Status::Exited(7), ""));
    assert_eq!(started(&events), 601);
}

#[test]
#[ignore = "below a listener"]
fn traced_a_daemons_end_is_known_though_nobody_waits_for_it() {
    let (_, events) = python(&[
        "import os, time",
        "for code in range(40, 60):",
        "  if os.fork() == 0:",
        "    os.setsid()",
        "    if os.fork() == 0: time.sleep(0.05); os._exit(code)",
        "    os._exit(0)",
        "time.sleep(0.5)",
    ]);
    let mut codes: Vec<_> = ends(&events)
        .into_iter()
        .filter_map(|(_, status)| if let Some(Status::Exited(code @ 40..)) = status { Some(code) } else { None })
        .collect();
    codes.sort_unstable();
    assert_eq!(codes, (40..60).collect::<Vec<_>>());
}

#[test]
#[ignore = "below a listener"]
fn traced_processes_killed_in_the_middle_of_a_fork_leave_nobody_untold() {
    let (_, events) = python(&[
        "import os, signal, time",
        "for n in range(150):",
        "  p = os.fork()",
        "  if p == 0:",
        "    while True:",
        "      if os.fork() == 0: os._exit(0)",
        "  time.sleep(0.0003 * (n % 7)); os.kill(p, signal.SIGKILL); os.waitpid(p, 0)",
        "time.sleep(0.3)",
    ]);
    let all = ends(&events);
    assert_eq!(started(&events), all.len());
    assert!(all.iter().all(|(_, status)| status.is_some()), "{all:?}");
    assert!(all.iter().filter(|(_, status)| *status == Some(Status::Signalled(9))).count() >= 150);
}

#[cfg(target_arch = "x86_64")]
#[test]
#[ignore = "below a listener"]
fn traced_nobody_makes_a_process_that_is_not_traced() {
    let (output, events) = python(&[
        "import ctypes, os",
        "c = ctypes.CDLL(None, use_errno=True)",
        "print(c.syscall(56, 0x00800011, 0, 0, 0, 0), ctypes.get_errno())",
    ]);
    assert_eq!(output, "-1 1\n");
    let told = |event: &Event| matches!(event.what, Happened::Call { name: "clone", errno: Some(1), .. });
    assert!(events.iter().any(told), "{events:?}");
    assert_eq!(started(&events), 1);
}

#[test]
#[ignore = "below a listener"]
fn traced_calls_begin_while_others_storm() {
    let scratch = Scratch::new();
    let (sandbox, events) = traced(&plan(scratch.path()));
    let storm = "while :; do (:) & /usr/bin/true & : > /w/x; wait; done";
    let storms: Vec<_> =
        (0..3).map(|_| sandbox.spawn(&command(&["sh", "-c", storm]), Stdio::Pipes).expect("it starts")).collect();
    for _ in 0..60 {
        assert_eq!(run_in(&sandbox, &events, &["/usr/bin/true"]).0.ended.status, Status::Exited(0));
        let refused = common::try_run(&sandbox, &["/no/such/program"]).expect_err("there is none");
        assert_eq!(refused.errno, Some(libc::ENOENT), "{refused:?}");
    }
    drop(storms);
    assert_eq!(run_in(&sandbox, &events, &["/usr/bin/true"]).0.ended.status, Status::Exited(0));
}
