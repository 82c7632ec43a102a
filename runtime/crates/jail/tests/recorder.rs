//! The recorder against real programs: what they do is told, by the right process, in order, with how they end.
//! It never looks at how the recorder works: what counts is what comes out of [`Events`].
#![expect(clippy::wildcard_enum_match_arm, reason = "each test looks for one kind of event among all")]

mod common;

use common::{
    Output, Scratch, again_as_ordinary_user, again_below_a_listener, collect, command, landlock_plan, plan, recording,
    start,
};
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};
use stockade_jail::plan::{Plan, Record};
use stockade_jail::recorder::{
    Asked, Event, Events, Grade, Happened, How, NameChange, Origin, Peer, ProcessId, Property, now_ns,
};
use stockade_jail::{Running, Sandbox, Status, Stdio};

#[test]
fn as_an_ordinary_user() {
    again_as_ordinary_user("as_an_ordinary_user");
}

#[test]
fn where_the_recorder_traces_it_tells_the_same() {
    again_below_a_listener(&["--skip", "as_an_ordinary_user", "--skip", "where_the_recorder_traces"]);
}

/// A sandbox that records, and what it recorded.
struct Recorded {
    sandbox: Sandbox,
    events: Events,
}

impl Recorded {
    #[track_caller]
    fn start(plan: &Plan) -> Self {
        let mut sandbox = start(plan);
        let events = sandbox.take_recorder().expect("a mapping").expect("a recorder");
        Self { sandbox, events }
    }

    /// Runs a command to its end; its status, what it wrote, and every event of it.
    #[track_caller]
    fn run(&self, argv: &[&str]) -> (Status, String, Vec<Event>) {
        let running = self.sandbox.spawn(&command(argv), Stdio::Pipes).expect("it starts");
        let number = running.number();
        let (output, events) = self.take(running);
        let main = events.iter().find_map(|event| match event.what {
            Happened::Started { origin: Origin::Call(of), .. } if of == number => Some(event.process),
            _ => None,
        });
        assert_eq!(main, output.ended.exits.first().map(|exit| exit.process), "{events:?}");
        let stdout = format!("{}{}", output.text(), String::from_utf8_lossy(&output.stderr));
        check_lives(&events);
        (output.ended.status, stdout, events)
    }

    /// Takes what is told of a call until it has ended.
    #[track_caller]
    fn take(&self, running: Running) -> (Output, Vec<Event>) {
        let collected = std::thread::spawn(move || collect(running));
        let mut events = Vec::new();
        while !collected.is_finished() {
            self.events.wait(Duration::from_millis(20)).expect("a wait");
            self.events.drain(|event| events.push(event)).expect("events");
        }
        let output = collected.join().expect("no panic").expect("it runs");
        // Everything of the call is there once its end was told.
        self.events.drain(|event| events.push(event)).expect("events");
        (output, events)
    }

    #[track_caller]
    fn sh(&self, line: &str) -> Vec<Event> {
        let (status, output, events) = self.run(&["sh", "-c", line]);
        assert_eq!(status, Status::Exited(0), "{line}: {output}");
        events
    }
}

/// What must be true of any call: each process is born once, before it does anything, of one that was born before; ends
/// once, after everything that it did; and nothing is lost.
#[track_caller]
fn check_lives(events: &[Event]) {
    let (mut born, mut ended) = (BTreeSet::new(), BTreeSet::new());
    for event in events {
        assert!(!ended.contains(&event.process), "after its end: {event:?}\n{events:?}");
        match &event.what {
            Happened::Started { origin, .. } => {
                assert!(born.insert(event.process), "born twice: {event:?}");
                if let Origin::Process(parent) = origin {
                    assert!(born.contains(parent), "born of nobody: {event:?}\n{events:?}");
                }
            }
            Happened::Ended { .. } => assert!(ended.insert(event.process), "ended twice: {event:?}"),
            Happened::Lost(count) => panic!("{count} events were lost"),
            _ => assert!(born.contains(&event.process), "before it was born: {event:?}\n{events:?}"),
        }
    }
    assert_eq!(born, ended, "who was born has ended: {events:?}");
    assert!(events.windows(2).all(|pair| pair[0].at_ns <= pair[1].at_ns), "time goes forwards");
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Base name of the program, arguments, status: of each process that executed something, in order.
fn programs(events: &[Event]) -> Vec<(String, Vec<String>, Option<Status>)> {
    let ends: BTreeMap<ProcessId, Option<Status>> = events
        .iter()
        .filter_map(|event| match event.what {
            Happened::Ended { status, .. } => Some((event.process, status)),
            _ => None,
        })
        .collect();
    let executed = |event: &Event| match &event.what {
        Happened::Executed { running: Some((path, _)), argv, .. } => {
            let arguments = text(&argv.bytes).split_terminator('\0').skip(1).map(str::to_owned).collect();
            let name = text(&path.bytes).rsplit('/').next().unwrap_or_default().to_owned();
            Some((name, arguments, ends.get(&event.process).copied().flatten()))
        }
        _ => None,
    };
    events.iter().filter_map(executed).collect()
}

fn paths_opened(events: &[Event]) -> Vec<String> {
    let opened = |event: &Event| match &event.what {
        Happened::Opened { path, .. } => Some(text(&path.bytes)),
        _ => None,
    };
    events.iter().filter_map(opened).collect()
}

#[test]
fn a_call_is_told_from_its_birth_to_its_end() {
    let scratch = Scratch::new();
    let recorded = Recorded::start(&plan(scratch.path()));
    assert!(recorded.events.grade() >= Grade::Trace);
    let (status, _, events) = recorded.run(&["/usr/bin/true"]);
    assert_eq!(status, Status::Exited(0));
    let [started, executed, ended] = events.as_slice() else { panic!("{events:?}") };
    assert!(matches!(started.what, Happened::Started { origin: Origin::Call(_), .. }));
    let Happened::Executed { running: Some((path, executable)), asked, argv, cwd } = &executed.what else {
        panic!("{executed:?}")
    };
    assert_eq!(executed.how, How::Confirmed);
    assert_eq!(text(&asked.bytes), "/usr/bin/true");
    assert_eq!(text(&argv.bytes), "/usr/bin/true\0");
    assert_eq!(text(&cwd.bytes), "/");
    assert!(text(&path.bytes).ends_with("/true") || text(&path.bytes).ends_with("/coreutils"), "{path:?}");
    let file = recorded.events.executable(executable).expect("it comes along once");
    let length = rustix::fs::fstat(&file).expect("a file").st_size;
    assert_eq!(u64::try_from(length), Ok(executable.size_bytes));
    assert!(recorded.events.executable(executable).is_none(), "once");
    assert!(matches!(ended.what, Happened::Ended { status: Some(Status::Exited(0)), failed_execs: 0 }));
    let (_, _, again) = recorded.run(&["/usr/bin/true"]);
    assert!(again.iter().all(|event| event.process > ended.process), "numbers are never used again");
}

#[test]
fn each_process_of_a_pipeline_has_its_own_end() {
    let scratch = Scratch::new();
    let recorded = Recorded::start(&plan(scratch.path()));
    let events = recorded.sh("sh -c 'exit 3' | cat | sh -c 'kill -9 $$' | sh -c 'cat; exit 0'");
    let ends: Vec<_> = programs(&events).into_iter().filter(|program| program.0 != "cat").collect();
    let status = |line: &str| {
        let found = ends.iter().find(|(_, arguments, _)| arguments.last().is_some_and(|last| last == line));
        found.unwrap_or_else(|| panic!("{line}: {ends:?}")).2
    };
    assert_eq!(status("exit 3"), Some(Status::Exited(3)));
    assert_eq!(status("kill -9 $$"), Some(Status::Signalled(9)));
    assert_eq!(status("cat; exit 0"), Some(Status::Exited(0)));
    assert_eq!(programs(&events).iter().filter(|program| program.0 == "cat").count(), 2);
}

#[test]
fn a_search_along_the_path_is_counted_and_not_told() {
    let scratch = Scratch::new();
    let recorded = Recorded::start(&plan(scratch.path()));
    let events = recorded.sh("env PATH=/no:/nowhere:/usr/bin /usr/bin/env true; env no-such-program || true");
    let failed: u64 = events
        .iter()
        .map(|event| if let Happened::Ended { failed_execs, .. } = event.what { failed_execs } else { 0 })
        .sum();
    assert!(failed >= 3, "{failed}: {events:?}");
    let names: Vec<_> = programs(&events).into_iter().map(|program| program.0).collect();
    assert!(names.iter().any(|name| name == "true" || name == "coreutils"), "{names:?}");
}

#[test]
fn changes_of_files_are_told_with_names_and_values() {
    let scratch = Scratch::new();
    let recorded = Recorded::start(&plan(scratch.path()));
    let events = recorded
        .sh("cd /w && echo a > made && mkdir dir && mv made dir/moved && ln dir/moved hard && ln -s target soft && \
         chmod 600 hard && touch -d 2020-01-01 hard && truncate -s 7 hard && rm hard soft && rm -r dir && mkfifo pipe");
    let made =
        events.iter().find(|event| matches!(&event.what, Happened::Opened { path, .. } if path.bytes == b"/w/made"));
    let made = made.unwrap_or_else(|| panic!("{events:?}"));
    if recorded.events.grade() == Grade::NotifyAndOpen {
        assert_eq!(made.how, How::Performed);
        assert!(matches!(made.what, Happened::Opened { errno: Some(0), file: Some(_), made: true, .. }), "{made:?}");
    }
    let names: Vec<_> = events
        .iter()
        .filter_map(|event| match &event.what {
            Happened::Name { change, path, to } => {
                Some((*change, text(&path.bytes), to.as_ref().map(|to| text(&to.bytes))))
            }
            _ => None,
        })
        .collect();
    let name = |change, path: &str, to: Option<&str>| {
        let wanted = (change, path.to_owned(), to.map(str::to_owned));
        assert!(names.contains(&wanted), "{wanted:?}: {names:#?}");
    };
    name(NameChange::MakeDirectory, "/w/dir", None);
    name(NameChange::Rename, "/w/made", Some("/w/dir/moved"));
    name(NameChange::Link, "/w/hard", Some("/w/dir/moved"));
    name(NameChange::Symlink, "/w/soft", Some("target"));
    name(NameChange::Unlink, "/w/hard", None);
    name(NameChange::MakeNode, "/w/pipe", None);
    assert!(names.iter().any(|(change, ..)| *change == NameChange::RemoveDirectory), "{names:#?}");
    let property = |wanted: Property, value: Option<u64>| {
        let same = |event: &&Event| {
            matches!(&event.what, Happened::Property { property, path, value: found }
                if *property == wanted && text(&path.bytes) == "/w/hard" && *found == value)
        };
        assert!(events.iter().any(|event| same(&event)), "{wanted:?}: {events:?}");
    };
    property(Property::Mode, Some(0o600));
    property(Property::Length, Some(7));
    property(Property::Times, None);
}

#[test]
fn refused_calls_are_refused_and_told() {
    let scratch = Scratch::new();
    let recorded = Recorded::start(&plan(scratch.path()));
    let line = "import ctypes, os\nc = ctypes.CDLL(None, use_errno=True)\nfor n in (101, 165, 272, 321):\n  r = \
                c.syscall(n, 0x10000000, 0, 0, 0, 0)\n  print(n, r, ctypes.get_errno())\nos.kill(os.getpid(), 0)\n";
    let (status, output, events) = recorded.run(&["python3", "-c", line]);
    assert_eq!(status, Status::Exited(0), "{output}");
    assert_eq!(output, "101 -1 1\n165 -1 1\n272 -1 1\n321 -1 1\n");
    for wanted in ["ptrace", "mount", "unshare", "bpf"] {
        let told = |event: &Event| matches!(event.what, Happened::Call { name, arguments: [0x1000_0000, 0, 0], errno: Some(1) } if name == wanted);
        assert!(events.iter().any(told), "{wanted}: {events:?}");
    }
}

#[test]
fn what_is_asked_of_sockets_is_told() {
    let scratch = Scratch::new();
    let recorded = Recorded::start(&plan(scratch.path()));
    let line = "import socket\ns = socket.socket(); s.bind(('127.0.0.1', 0)); s.listen()\nc = socket.socket(); \
                c.connect(('127.0.0.1', s.getsockname()[1]))\nu = socket.socket(socket.AF_UNIX); \
                u.bind('/w/sock')\nd = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM); d.sendto(b'x', ('::1', 53))\n\
                c.send(b'y')\n";
    let (status, output, events) = recorded.run(&["python3", "-c", line]);
    assert_eq!(status, Status::Exited(0), "{output}");
    let asked: Vec<_> = events
        .iter()
        .filter_map(|event| match &event.what {
            // The C library asks a daemon for names of users first.
            Happened::Socket { peer: Peer::Unix(path), .. } if path.bytes.ends_with(b"nscd/socket") => None,
            Happened::Socket { asked, peer } => Some((*asked, peer.clone())),
            _ => None,
        })
        .collect();
    let [bind, listen, connect, unix, send] = asked.as_slice() else { panic!("{asked:#?}") };
    assert_eq!(*bind, (Asked::Bind, Peer::Internet("127.0.0.1:0".parse().expect("an address"))));
    assert_eq!(listen.0, Asked::Listen);
    assert!(matches!(connect, (Asked::Connect, Peer::Internet(address)) if address.port() != 0));
    assert!(matches!(unix, (Asked::Bind, Peer::Unix(path)) if path.bytes == b"/w/sock"));
    assert_eq!(*send, (Asked::Send, Peer::Internet("[::1]:53".parse().expect("an address"))));
}

#[test]
fn daemons_scripts_and_static_programs_leave_their_record() {
    let scratch = Scratch::new();
    std::fs::write(scratch.path().join("script"), "#!/bin/sh\necho from a script > /w/by-script\n").expect("ours");
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(scratch.path().join("script"), mode).expect("ours");
    let recorded = Recorded::start(&plan(scratch.path()));
    let events = recorded.sh("/w/script; setsid sh -c 'sleep 0.05; echo late > /w/late' & sleep 0.3");
    let opened = paths_opened(&events);
    assert!(opened.contains(&"/w/by-script".to_owned()) && opened.contains(&"/w/late".to_owned()), "{opened:?}");
    let script = events.iter().find_map(|event| match &event.what {
        Happened::Executed { running: Some((path, _)), asked, argv, .. } if asked.bytes == b"/w/script" => {
            Some((text(&path.bytes), text(&argv.bytes)))
        }
        _ => None,
    });
    let (path, argv) = script.expect("the script was asked for");
    assert!(path.contains("sh") && argv == "/bin/sh\0/w/script\0", "{path} {argv:?}");
}

#[test]
fn a_process_that_dies_at_once_is_known_all_the_same() {
    let scratch = Scratch::new();
    let recorded = Recorded::start(&plan(scratch.path()));
    let line = "import os, signal\nfor i in range(50):\n  p = os.fork()\n  if p == 0:\n    \
                os.kill(os.getpid(), signal.SIGSEGV)\n  assert os.waitpid(p, 0)[1] & 0x7f == 11\n";
    let (status, output, events) = recorded.run(&["python3", "-c", line]);
    assert_eq!(status, Status::Exited(0), "{output}");
    let died = |event: &&Event| matches!(event.what, Happened::Ended { status: Some(Status::Signalled(11)), .. });
    assert_eq!(events.iter().filter(died).count(), 50);
}

#[test]
fn a_storm_of_processes_and_threads_loses_nothing() {
    let scratch = Scratch::new();
    let recorded = Recorded::start(&plan(scratch.path()));
    let events = recorded.sh("for i in $(seq 200); do /usr/bin/true & done; wait; for i in $(seq 200); do (:); done");
    let programs = programs(&events);
    assert_eq!(programs.iter().filter(|program| program.2 == Some(Status::Exited(0))).count(), programs.len());
    let started = events.iter().filter(|event| matches!(event.what, Happened::Started { .. })).count();
    assert_eq!(started, 1 + 2 + 400, "the shell, two seqs, each program and each subshell");
    let line = "import threading, os\ndef f(i):\n  for n in range(5): open(f'/w/t{i}-{n}', 'w').close()\nts = \
                [threading.Thread(target=f, args=(i,)) for i in range(200)]\n[t.start() for t in ts]; [t.join() for t in ts]\n";
    let (status, output, events) = recorded.run(&["python3", "-c", line]);
    assert_eq!(status, Status::Exited(0), "{output}");
    let opened: BTreeSet<_> = paths_opened(&events).into_iter().filter(|path| path.starts_with("/w/t")).collect();
    assert_eq!(opened.len(), 1000);
    let by: BTreeSet<_> = events.iter().map(|event| event.process).collect();
    assert_eq!(by.len(), 1, "threads are their process");
}

#[test]
fn reading_is_told_when_it_is_asked_for() {
    let scratch = Scratch::new();
    std::fs::write(scratch.path().join("secret"), "x").expect("ours");
    let read = |events: &[Event]| {
        let is = |event: &Event| matches!(&event.what, Happened::Read { path } if path.bytes == b"/w/secret");
        events.iter().any(is)
    };
    let changes = Recorded::start(&plan(scratch.path()));
    assert!(!read(&changes.sh("cat /w/secret")));
    let all = Recorded::start(&recording(plan(scratch.path()), Record::AllOpens));
    assert!(read(&all.sh("cat /w/secret")));
}

#[test]
fn without_a_recorder_there_are_no_events_and_the_layer_says_so() {
    let scratch = Scratch::new();
    let mut sandbox = start(&recording(plan(scratch.path()), Record::Off));
    assert!(sandbox.take_recorder().expect("nothing to map").is_none());
    let layers = sandbox.enforced().to_string();
    assert!(layers.contains("recorder: absent: outcome-only"), "{layers}");
    common::sh(&sandbox, "true | false; echo x > /w/x");
}

#[test]
fn the_wall_without_namespaces_records_too() {
    let scratch = Scratch::new();
    if !common::is_root() {
        let recorded = Recorded::start(&landlock_plan(scratch.path()));
        let line = format!("echo x > {}/made; sh -c 'exit 4' || true", scratch.path().display());
        let events = recorded.sh(&line);
        let made = format!("{}/made", scratch.path().display());
        assert!(paths_opened(&events).contains(&made), "{events:?}");
        assert!(programs(&events).iter().any(|program| program.2 == Some(Status::Exited(4))));
    }
}

#[test]
fn a_guest_whose_events_nobody_takes_goes_on() {
    let scratch = Scratch::new();
    let sandbox = start(&plan(scratch.path()));
    let began = Instant::now();
    common::sh(&sandbox, "i=0; while [ $i -lt 4000 ]; do : > /w/$i; i=$((i+1)); done");
    assert!(began.elapsed() < Duration::from_secs(60));
}

#[test]
fn a_full_ring_holds_the_guest_and_loses_nothing() {
    let scratch = Scratch::new();
    let recorded = Recorded::start(&plan(scratch.path()));
    let line = "i=0; while [ $i -lt 6000 ]; do : > /w/$i; i=$((i+1)); done";
    let running = recorded.sandbox.spawn(&command(&["sh", "-c", line]), Stdio::Pipes).expect("it starts");
    // Nobody drains: it stops where the ring is full.
    assert!(running.wait_timeout(Duration::from_secs(3)).expect("it runs").is_none());
    let (output, events) = recorded.take(running);
    assert_eq!(output.ended.status, Status::Exited(0));
    check_lives(&events);
    assert_eq!(paths_opened(&events).len(), 6000);
}

#[test]
fn a_call_is_announced_before_anything_of_it_happens() {
    let scratch = Scratch::new();
    let recorded = Recorded::start(&plan(scratch.path()));
    let mut announced = None;
    let announce = |number| {
        std::thread::sleep(Duration::from_millis(50));
        announced = Some((number, now_ns()));
    };
    let running = recorded.sandbox.spawn_announced(&command(&["true"]), Stdio::Pipes, announce).expect("it starts");
    let (number, at_ns) = announced.expect("it was announced");
    assert_eq!(number, running.number());
    let (_, events) = recorded.take(running);
    assert!(events.len() > 2 && events.iter().all(|event| event.at_ns > at_ns), "{at_ns}: {events:?}");
}

/// Killed while a file was made on its behalf, a process is not said to have ended before the file is told of.
#[test]
fn a_call_that_is_killed_has_every_file_told_that_it_made() {
    let scratch = Scratch::new();
    let recorded = Recorded::start(&plan(scratch.path()));
    let mut made = 0;
    for turn in 0..150 {
        let line = format!("i=0; while :; do : > /w/{turn}-$i; i=$((i+1)); done");
        let running = recorded.sandbox.spawn(&command(&["sh", "-c", &line]), Stdio::Pipes).expect("it starts");
        assert!(running.wait_timeout(Duration::from_millis(2 + turn % 7)).expect("it runs").is_none());
        running.kill(None);
        let (_, events) = recorded.take(running);
        check_lives(&events);
        let told: BTreeSet<String> = paths_opened(&events).into_iter().collect();
        for entry in std::fs::read_dir(scratch.path()).expect("a directory") {
            let entry = entry.expect("an entry");
            let name = format!("/w/{}", entry.file_name().display());
            assert!(told.contains(&name), "turn {turn}: {name} is there, and nothing told of it");
            std::fs::remove_file(entry.path()).expect("removed");
            made += 1;
        }
    }
    assert!(made > 150, "they were killed while they made files: {made}");
}

#[test]
fn calls_at_the_same_time_are_told_apart() {
    let scratch = Scratch::new();
    let recorded = Recorded::start(&plan(scratch.path()));
    let line = |name: &str| format!("for i in 1 2 3 4 5; do (: > /w/{name}$i); /usr/bin/true; done");
    let spawn =
        |name: &str| recorded.sandbox.spawn(&command(&["sh", "-c", &line(name)]), Stdio::Pipes).expect("it starts");
    let running: Vec<_> = ["a", "b", "c"].iter().map(|name| spawn(name)).collect();
    let numbers: Vec<_> = running.iter().map(Running::number).collect();
    for running in running {
        assert_eq!(collect(running).expect("it runs").ended.status, Status::Exited(0));
    }
    let mut events = Vec::new();
    recorded.events.drain(|event| events.push(event)).expect("events");
    check_lives(&events);
    for (number, name) in numbers.into_iter().zip(["a", "b", "c"]) {
        let main = events.iter().find_map(|event| match event.what {
            Happened::Started { origin: Origin::Call(of), .. } if of == number => Some(event.process),
            _ => None,
        });
        let of_call: Vec<_> = events.iter().filter(|event| Some(event.call) == main).cloned().collect();
        let opened = paths_opened(&of_call);
        let expected: Vec<_> = (1..=5).map(|number| format!("/w/{name}{number}")).collect();
        assert_eq!(opened, expected);
    }
}

#[test]
fn a_process_that_is_stopped_or_killed_while_it_waits_holds_nobody_up() {
    let scratch = Scratch::new();
    let recorded = Recorded::start(&plan(scratch.path()));
    let line = "for i in 1 2 3 4 5 6 7 8; do (while :; do : > /w/$i; done) & pids=\"$pids $!\"; done; sleep 0.2; \
                kill -STOP $pids; : > /w/while-they-are-stopped; kill -CONT $pids; sleep 0.1; kill -9 $pids; \
                wait; : > /w/after";
    let events = recorded.sh(line);
    let opened = paths_opened(&events);
    assert!(opened.contains(&"/w/while-they-are-stopped".to_owned()) && opened.contains(&"/w/after".to_owned()));
    let killed = |event: &&Event| matches!(event.what, Happened::Ended { status: Some(Status::Signalled(9)), .. });
    let ends: Vec<_> = events.iter().filter(|event| matches!(event.what, Happened::Ended { .. })).collect();
    assert_eq!(events.iter().filter(killed).count(), 8, "{ends:?}");
}

#[test]
fn a_listener_of_the_guests_own_is_refused_and_told() {
    let scratch = Scratch::new();
    let recorded = Recorded::start(&plan(scratch.path()));
    let (status, output, events) = recorded.run(&[
        "python3",
        "-c",
        &common::listening(libc::SYS_listen, "0x7fff0000", "print(fd, ctypes.get_errno())"),
    ]);
    assert_eq!((status, output.as_str()), (Status::Exited(0), "-1 1\n"));
    let told = |event: &Event| matches!(event.what, Happened::Call { name: "seccomp", errno: Some(1), .. });
    assert!(events.iter().any(told), "{events:?}");
}

#[test]
fn a_reader_that_goes_away_lets_the_guest_go_on() {
    let scratch = Scratch::new();
    let Recorded { sandbox, events } = Recorded::start(&plan(scratch.path()));
    let line = "i=0; while [ $i -lt 6000 ]; do : > /w/$i; i=$((i+1)); done";
    let running = sandbox.spawn(&command(&["sh", "-c", line]), Stdio::Pipes).expect("it starts");
    assert!(running.wait_timeout(Duration::from_millis(300)).expect("it runs").is_none());
    drop(events);
    assert_eq!(collect(running).expect("it runs").ended.status, Status::Exited(0));
}
