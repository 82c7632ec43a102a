//! Workers of a sandbox on gVisor, which are started inside: confined as elsewhere, and nobody's to see.
//! It never runs foreign code: the worker's side is in `worker/inside.rs`.

use super::asking::{SOON, does, layer, refused, try_ask, worker_of};
use super::common::{command, run, sh};
use super::ends;
use super::gvisor::{GVISOR, on_gvisor};
use super::inside::{ATTACKS, REFUSED};
use super::{container, docker, gone, options, plan};
use rustix::io::Errno;
use std::io::{Read as _, Write as _};
use std::os::fd::AsFd as _;
use std::os::unix::fs::PermissionsExt as _;
use std::time::{Duration, Instant};
use stockade_jail::enforced::{Layer, State};
use stockade_jail::{Kind, Sandbox, Stdio, WorkerEnd};

#[test]
#[ignore = "needs an engine"]
fn on_gvisor_a_worker_sees_the_guests_files_and_only_a_writer_changes_them() {
    let Some((container, sandbox)) = on_gvisor() else { return };
    let (reader, writer) = (worker_of(&sandbox, Kind::Read), worker_of(&sandbox, Kind::Write));
    for worker in [&reader, &writer] {
        for layer in worker.layers() {
            let absent = [Layer::Landlock, Layer::CgroupNamespace].contains(&layer.layer);
            assert_eq!(matches!(layer.state, State::Absent(_)), absent, "{layer}");
            assert!(absent || layer.state == State::Active, "{layer}");
        }
        assert_eq!(layer(worker, Layer::PidNamespace), State::Active);
        assert_eq!(does(worker, &["ids"]), sh(&sandbox, "printf %s:%s $(id -u) $(id -g)"));
        for directory in ["/", "/w", "/tmp", "/dev/shm"] {
            let seen = sh(&sandbox, &format!("ls -A {directory} | LC_ALL=C sort | tr '\\n' ' '"));
            assert_eq!(does(worker, &["list", directory]), seen.trim_end(), "{directory}");
        }
    }
    for directory in ["/w", "/tmp", "/dev/shm"] {
        let at = |name: &str| format!("{directory}/{name}");
        sh(&sandbox, &format!("echo command > {}", at("by-command")));
        assert_eq!(does(&reader, &["read", &at("by-command")]), "command\n");
        does(&writer, &["write", &at("by-worker"), "worker"]);
        assert_eq!(sh(&sandbox, &format!("cat {0}; [ -O {0} ]", at("by-worker"))), "worker");
        assert_eq!(does(&reader, &["path", &at("by-worker")]), at("by-worker"));
        for words in [
            &["write", "D/new", "x"][..],
            &["write", "D/by-command", "x"],
            &["append", "D/by-command"],
            &["truncate", "D/by-command"],
            &["reread", "D/by-command"],
            &["mkdir", "D/directory"],
            &["link", "D/by-command", "D/second"],
            &["symlink", "file", "D/link"],
            &["chmod", "D/by-command"],
            &["fchmod", "D/by-command"],
            &["utimes", "D/by-command"],
            &["futimes", "D/by-command"],
            &["rename", "D/by-command", "D/other"],
            &["unlink", "D/by-command"],
        ] {
            let words: Vec<_> = words.iter().map(|word| word.replace('D', directory)).collect();
            let words: Vec<_> = words.iter().map(String::as_str).collect();
            sh(&sandbox, &format!("cd {directory}; rm -rf new directory second link other; echo x > by-command"));
            let look = format!("cd {directory}; stat -c '%n %s %a %i %y %h' *; cat by-command");
            let before = sh(&sandbox, &look);
            refused(&reader, &words, &[Errno::ROFS, Errno::ACCESS]);
            assert_eq!(sh(&sandbox, &look), before, "{words:?}");
            // The control: the same of a worker that may.
            does(&writer, &words);
        }
    }
    assert!(container.scratch.path().join("w/by-worker").exists());
    for worker in [&reader, &writer] {
        refused(worker, &["write", "/usr/x", "x"], &[Errno::ROFS, Errno::ACCESS]);
    }
}

/// What a guest has open, and pipes and terminals, are no files of a mount that could be read-only.
#[test]
#[ignore = "needs an engine"]
fn on_gvisor_a_worker_reaches_no_guest_and_no_guest_a_worker() {
    let Some((_container, sandbox)) = on_gvisor() else { return };
    let (reader, writer) = (worker_of(&sandbox, Kind::Read), worker_of(&sandbox, Kind::Write));
    sh(&sandbox, "mkfifo /w/pipe; echo kept > /w/open");
    let guest = "exec 5<>/w/pipe 6<>/w/open; echo $$ > /w/pid; cat <&5 > /w/came & sleep 1000";
    let guest = sandbox.spawn(&command(&["sh", "-c", guest]), Stdio::Pipes).expect("it starts");
    let until = Instant::now() + SOON;
    let pid = loop {
        assert!(Instant::now() < until, "the guest does not run");
        let pid = sh(&sandbox, "cat /w/pid 2>/dev/null || true");
        if !pid.is_empty() {
            break pid.trim().to_owned();
        }
    };
    for worker in [&reader, &writer] {
        assert_eq!(does(worker, &["list", "/proc"]), "");
        refused(worker, &["write", &format!("/proc/{pid}/fd/6"), "x"], &[Errno::NOENT, Errno::ROFS]);
        for path in ["..", "../..", "../../..", "./../../../../.."] {
            assert_eq!(does(worker, &["up", path]), does(worker, &["up", "."]), "{path}");
        }
        refused(worker, &["up", "../status"], &[Errno::NOENT]);
    }
    refused(&reader, &["write", "/w/pipe", "x"], &[Errno::ROFS]);
    refused(&reader, &["append", "/w/pipe"], &[Errno::ROFS]);
    refused(&reader, &["append", "/dev/null"], &[Errno::ROFS]);
    // The control: the same of a worker that may comes to the guest.
    does(&writer, &["write", "/w/pipe", "words"]);
    let until = Instant::now() + SOON;
    while sh(&sandbox, "cat /w/came") != "words" {
        assert!(Instant::now() < until, "nothing came");
    }
    let seen = sh(&sandbox, "cat /proc/[0-9]*/comm");
    assert!(!seen.contains("worker") && seen.lines().filter(|name| name.contains("stockade")).count() == 1, "{seen}");
    guest.kill(None);
    guest.wait().expect("it ends");
    // What it leaves behind is killed with each call; so is whoever it could reach by its own hand.
    for number in 0..20 {
        run(&sandbox, &["sh", "-c", "setsid sleep 1000 & kill -9 -1 2>/dev/null & kill -9 0"]);
        does(&writer, &["write", "/w/x", &number.to_string()]);
        assert_eq!(does(&reader, &["read", "/w/x"]), number.to_string());
    }
    assert_eq!((reader.wait(Duration::ZERO), writer.wait(Duration::ZERO)), (Ok(None), Ok(None)));
}

#[test]
#[ignore = "needs an engine"]
fn on_gvisor_the_end_of_a_worker_is_told_whyever_it_comes() {
    let Some((_container, sandbox)) = on_gvisor() else { return };
    ends::are_told(&sandbox);
    let mut closed = worker_of(&sandbox, Kind::Read);
    drop(closed.take_channel());
    assert_eq!(closed.wait(SOON), Ok(Some(WorkerEnd::Exited(0))), "its supervisor is gone");
    // A dropped one leaves its process to the nursery: it makes room for others, however many.
    for _ in 0..20 {
        drop(worker_of(&sandbox, Kind::Read));
    }
    let error = sandbox.worker(Kind::Compile).expect_err("it belongs to no sandbox");
    assert!(error.to_string().contains("compiles"), "{error}");
    assert_eq!(sh(&sandbox, "echo alive"), "alive\n");
}

#[test]
#[ignore = "needs an engine"]
fn on_gvisor_a_worker_ends_with_its_sandbox() {
    let Some((container, sandbox)) = on_gvisor() else { return };
    let (reader, writer) = (worker_of(&sandbox, Kind::Read), worker_of(&sandbox, Kind::Write));
    sandbox.kill().expect("it ends");
    for worker in [&reader, &writer] {
        assert_eq!(worker.wait(Duration::ZERO), Ok(Some(WorkerEnd::Signalled(libc::SIGKILL))));
    }
    gone(&container.id);
    assert!(sandbox.worker(Kind::Read).is_err(), "nobody is left to start one");
    drop(sandbox);
    let Some((container, sandbox)) = on_gvisor() else { return };
    let worker = worker_of(&sandbox, Kind::Read);
    docker(&["kill", &container.id]);
    assert_eq!(worker.wait(SOON), Ok(Some(WorkerEnd::Signalled(libc::SIGKILL))), "its container was killed");
    assert!(sandbox.worker(Kind::Read).is_err(), "nobody is left to start one");
}

#[test]
#[ignore = "needs an engine"]
fn on_gvisor_what_the_list_does_not_have_ends_a_worker() {
    let Some((_container, sandbox)) = on_gvisor() else { return };
    for (number, attack) in ATTACKS.iter().enumerate() {
        let kind = if number % 2 == 0 { Kind::Read } else { Kind::Write };
        let worker = worker_of(&sandbox, kind);
        assert_eq!(try_ask(&worker, &["attack", attack.name]), None, "{} was answered", attack.name);
        assert_eq!(worker.wait(SOON), Ok(Some(WorkerEnd::Forbidden)), "{}", attack.name);
    }
    let worker = worker_of(&sandbox, Kind::Write);
    for attack in &REFUSED {
        assert!(try_ask(&worker, &["attack", attack.name]).is_some_and(|answer| answer.is_err()), "{}", attack.name);
    }
    // A thread that it made before is bound as well.
    assert_eq!(try_ask(&worker, &["attack-in-thread", "socket"]), None);
    assert_eq!(worker.wait(SOON), Ok(Some(WorkerEnd::Forbidden)));
}

/// What a tool's request or socket goes by.
#[test]
#[ignore = "needs an engine"]
fn on_gvisor_a_stream_that_is_handed_in_carries_both_ways() {
    use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags};
    let Some((_container, sandbox)) = on_gvisor() else { return };
    let worker = worker_of(&sandbox, Kind::Read);
    let channel = worker.channel().expect("nobody took it");
    let (mut ours, theirs) = std::os::unix::net::UnixStream::pair().expect("a pair");
    rustix::net::send(channel, b"stream", SendFlags::NOSIGNAL).expect("it listens");
    let rights = [theirs.as_fd()];
    let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    assert!(ancillary.push(SendAncillaryMessage::ScmRights(&rights)));
    let bytes = [std::io::IoSlice::new(b"here")];
    rustix::net::sendmsg(channel, &bytes, &mut ancillary, SendFlags::NOSIGNAL).expect("it listens");
    drop(theirs);
    std::thread::sleep(Duration::from_millis(200));
    ours.write_all(b"words").expect("it is open");
    let mut answer = [0; 64];
    let (length, _) = rustix::net::recv(channel, &mut answer, rustix::net::RecvFlags::empty()).expect("it answers");
    assert_eq!(&answer[..length], b"ok words");
    let mut back = String::new();
    ours.read_to_string(&mut back).expect("the worker let go of its end");
    assert_eq!(back, "words");
}

/// What a plan protects from guests is protected from their workers; mounts below others are found.
#[test]
#[ignore = "needs an engine"]
fn on_gvisor_mounts_below_mounts_are_read_only_for_a_reader() {
    use stockade_jail::plan::{Exec, SessionStep};
    if std::env::var_os(GVISOR).is_none() {
        return;
    }
    let (container, inside) = container(&["--runtime=runsc"]);
    let w = container.scratch.path().join("w");
    for name in ["a b", "kept", "secret"] {
        std::fs::create_dir_all(w.join(name)).expect("our own directory");
        let file = w.join(name).join("file");
        std::fs::write(&file, name).expect("our own directory");
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o666)).expect("our own file");
    }
    std::fs::write(w.join("free"), "free").expect("our own directory");
    std::fs::set_permissions(w.join("free"), std::fs::Permissions::from_mode(0o666)).expect("our own file");
    let mut plan = plan(&w);
    let at = plan.session.iter().position(|step| *step == SessionStep::EnterRoot).expect("it is there");
    let tmpfs = SessionStep::Tmpfs { path: "/w/a b".into(), size_mib: 1, mode: 0o777, exec: Exec::Deny };
    let more = [
        tmpfs,
        SessionStep::Pin { path: "/w/kept".into() },
        SessionStep::Protect { path: "/w/kept/file".into() },
        SessionStep::Mask { path: "/w/secret".into() },
    ];
    plan.session.splice(at..at, more);
    let sandbox = match Sandbox::start_inside(inside, &plan, &options(), Vec::new()) {
        Ok(sandbox) => sandbox,
        Err(error) => panic!("{error}; {error:?}"),
    };
    let (reader, writer) = (worker_of(&sandbox, Kind::Read), worker_of(&sandbox, Kind::Write));
    for worker in [&reader, &writer] {
        refused(worker, &["list", "/w/secret"], &[Errno::ACCESS]);
        refused(worker, &["append", "/w/kept/file"], &[Errno::ROFS]);
        assert_eq!(does(worker, &["read", "/w/kept/file"]), "kept");
    }
    // gVisor cuts a file before it finds that the mount is read-only: a reader does not come that far.
    for words in [["truncate", "/w/kept/file"], ["truncate-to-read", "/w/kept/file"], ["truncate-to-read", "/w/free"]] {
        refused(&reader, &words, &[Errno::ROFS]);
    }
    assert_eq!(does(&reader, &["read", "/w/kept/file"]), "kept");
    assert_eq!(does(&reader, &["read", "/w/free"]), "free");
    does(&writer, &["truncate-to-read", "/w/free"]);
    assert_eq!(does(&reader, &["read", "/w/free"]), "", "the control: it can be cut");
    for path in ["/w/a b/new", "/w/new"] {
        refused(&reader, &["mkdir", path], &[Errno::ROFS]);
        does(&writer, &["mkdir", path]);
        sh(&sandbox, &format!("rmdir '{path}'"));
    }
}
