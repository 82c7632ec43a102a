//! A sandbox inside a container of a real engine: the same init, by the same plan, among an image's files.
//! It never uses a registry: the image is there when the test begins.
#![expect(clippy::disallowed_methods, reason = "a test that drives an engine's command line")]
#![expect(unsafe_code, reason = "one static that the loader calls, and system calls that have no wrapper")]

#[path = "worker/asking.rs"]
mod asking;
mod common;
#[path = "worker/ends.rs"]
mod ends;
#[path = "container/gvisor.rs"]
mod gvisor;
#[path = "worker/inside.rs"]
mod inside;
#[path = "container/workers.rs"]
mod workers;

use common::{Scratch, collect, command, guest, is_root, plan, run, sh};
use std::path::Path;
use std::process::Command;
use std::time::Duration;
use stockade_jail::container::{DOOR, Door, Inside, PROGRAM};
use stockade_jail::enforced::{Layer, LayerState};
use stockade_jail::plan::{HostStep, Limits, OutletSocket, Plan, SessionStep};
use stockade_jail::recorder::Grade;
use stockade_jail::{ErrorKind, Options, OutletEnd, Sandbox, Seen, Status, Stdio, guest_ids_outside};

/// The engine's socket, and an image with a shell and coreutils.
const ENGINE: &str = "STOCKADE_TEST_DOCKER";
const IMAGE: &str = "STOCKADE_TEST_IMAGE";

/// A container that is removed with it, engine's way.
struct Container {
    id: String,
    scratch: Scratch,
}

impl Drop for Container {
    fn drop(&mut self) {
        Command::new("docker").args(["-H", &engine(), "rm", "-f", &self.id]).output().ok();
    }
}

fn engine() -> String {
    format!("unix://{}", std::env::var(ENGINE).expect("tests of containers need an engine's socket"))
}

fn docker(arguments: &[&str]) -> String {
    let output = Command::new("docker").args(["-H", &engine()]).args(arguments).output().expect("docker is installed");
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

/// The user of everything in the container: nobody of this machine.
fn user() -> (u32, u32) {
    let (uid, gid) = guest();
    guest_ids_outside(uid, gid).expect("maps can be read")
}

/// A container as the engine module makes it, with more arguments; its first process waits.
fn container(more: &[&str]) -> (Container, Inside) {
    let scratch = Scratch::new();
    let door = Door::open(&scratch.dir("door")).expect("a door");
    let workspace = scratch.dir("w");
    let profile = scratch.path().join("seccomp.json");
    std::fs::write(&profile, stockade_jail::seccomp::engine_profile()).expect("room in /tmp");
    let (uid, gid) = user();
    if is_root() {
        std::os::unix::fs::chown(&workspace, Some(uid), Some(gid)).expect("root may");
    }
    let show = |from: &Path, to: &str, how: &str| format!("{}:{to}{how}", from.display());
    let own = std::env::current_exe().expect("a running test has a file");
    let (own, door_there) = (show(&own, PROGRAM, ":ro"), show(&scratch.path().join("door"), DOOR, ""));
    let there = show(&workspace, &workspace.display().to_string(), "");
    let user = format!("{uid}:{gid}");
    let seccomp = format!("seccomp={}", profile.display());
    let image = std::env::var(IMAGE).unwrap_or_else(|_| "localhost/stockade-test/debian:1".to_owned());
    let mut arguments = vec!["create", "--cap-drop=ALL", "--network=none", "--read-only", "--rm", "--log-driver=none"];
    arguments.extend(["--security-opt=no-new-privileges", "--security-opt=systempaths=unconfined"]);
    arguments.extend(["--security-opt", &seccomp, "--user", &user, "-v", &own, "-v", &door_there, "-v", &there]);
    arguments.extend(more);
    arguments.extend(["--entrypoint", PROGRAM, &image]);
    let id = docker(&arguments);
    let container = Container { id, scratch };
    docker(&["start", &container.id]);
    let first: u32 = docker(&["inspect", "-f", "{{.State.Pid}}", &container.id]).parse().expect("a number");
    let inside = door.admit(first, Duration::from_secs(30)).expect("the container's first process comes");
    (container, inside)
}

fn options() -> Options {
    common::options()
}

fn start(more: &[&str], change: impl FnOnce(&mut Plan)) -> (Container, Sandbox) {
    let (container, inside) = container(more);
    let mut plan = plan(&container.scratch.path().join("w"));
    change(&mut plan);
    let outer = vec![LayerState::active(Layer::Container).detail("by its digest")];
    match Sandbox::start_inside(inside, &plan, &options(), outer) {
        Ok(sandbox) => (container, sandbox),
        Err(error) => panic!("{error}; {error:?}"),
    }
}

/// Calls run as the guest, among files that are shared where they should be, and see nobody but themselves.
#[track_caller]
fn works_apart(container: &Container, sandbox: &Sandbox) {
    assert_eq!(sh(sandbox, "echo $((6*7)); id -u").lines().collect::<Vec<_>>(), ["42", &guest().0.to_string()]);
    sh(sandbox, "echo from inside >/w/file");
    let told = std::fs::read_to_string(container.scratch.path().join("w/file")).expect("it was written");
    assert_eq!(told, "from inside\n");
    // Neither the engine's files nor ours are there.
    assert_eq!(sh(sandbox, "ls -d /.stockade /.dockerenv 2>/dev/null; true"), "");
    // The init and the shell: the container's first process is not among them.
    assert_eq!(sh(sandbox, "cd /proc && set -- [0-9]* && echo $#"), "2\n");
}

#[test]
#[ignore = "needs an engine"]
fn calls_run_among_the_images_files_and_the_workspace_is_the_hosts() {
    let (container, sandbox) = start(&[], |_| ());
    assert_eq!(sandbox.enforced().grade, stockade_jail::Grade::Full, "{}", sandbox.enforced());
    works_apart(&container, &sandbox);
    let ended = run(&sandbox, &["sh", "-c", "exit 7"]).ended;
    assert_eq!(ended.status, Status::Exited(7));
}

#[test]
#[ignore = "needs an engine"]
fn a_terminal_and_signals_work() {
    let (_container, sandbox) = start(&[], |_| ());
    let running = sandbox.spawn(&command(&["sh", "-c", "stty size; sleep 60"]), Stdio::Pty { rows: 11, columns: 22 });
    let running = running.expect("it starts");
    let mut text = [0; 64];
    let read = rustix::io::read(running.terminal().expect("a terminal"), &mut text).expect("it reads");
    assert_eq!(&text[..read], b"11 22\r\n");
    running.signal(libc::SIGTERM).expect("it is there");
    assert_eq!(running.wait().expect("it ends").status, Status::Signalled(libc::SIGTERM));
}

#[test]
#[ignore = "needs an engine"]
fn the_recorder_tells_what_happens() {
    let (_container, mut sandbox) = start(&[], |_| ());
    let events = sandbox.take_recorder().expect("a mapping").expect("a recorder");
    assert_eq!(events.grade(), Grade::NotifyAndOpen, "{}", sandbox.enforced());
    let output = collect(sandbox.spawn(&command(&["sh", "-c", "mkdir /w/made"]), Stdio::Pipes).expect("it starts"));
    assert_eq!(output.expect("it runs").ended.status, Status::Exited(0));
    let mut told = Vec::new();
    events.drain(|event| told.push(format!("{event:?}"))).expect("the ring reads");
    assert!(told.iter().any(|event| event.contains("MakeDirectory")), "{told:?}");
}

/// Gives a plan an outlet.
fn with_outlet(sockets: Vec<OutletSocket>) -> impl FnOnce(&mut Plan) {
    |plan| {
        let at = plan.session.iter().position(|step| *step == SessionStep::LoopbackUp).expect("it is there") + 1;
        let (address, address_v6) =
            ("198.18.0.3".parse().expect("one"), "fd73:746f:636b::c612:3".parse().expect("one"));
        plan.session.insert(at, SessionStep::Outlet { address, address_v6, sockets });
    }
}

#[test]
#[ignore = "needs an engine"]
fn the_sockets_of_the_outlet_are_of_the_inner_network() {
    let (_container, mut sandbox) = start(&[], with_outlet(vec![OutletSocket::Tcp { address: None, port: 80 }]));
    let Some(OutletEnd::Socket(socket)) = sandbox.take_outlet().into_iter().flatten().next() else {
        panic!("one was planned, and it can come out");
    };
    let listener = std::net::TcpListener::from(socket);
    listener.set_nonblocking(false).expect("it is ours");
    let call = sandbox.spawn(&command(&["bash", "-c", "exec 3<>/dev/tcp/93.184.216.34/80; echo hi >&3"]), Stdio::Pipes);
    let call = call.expect("it starts");
    let (stream, _) = listener.accept().expect("it connects");
    assert_eq!(stream.local_addr().expect("one").to_string(), "[::ffff:93.184.216.34]:80");
    assert_eq!(call.wait().expect("it ends").status, Status::Exited(0));
}

#[test]
#[ignore = "needs an engine"]
fn what_is_there_is_seen_before_the_plan() {
    let (container, inside) = container(&[]);
    assert_eq!(inside.look(Path::new("/usr")).expect("an answer"), Seen::Directory);
    assert_eq!(inside.look(Path::new("/etc/passwd")).expect("an answer"), Seen::File);
    assert_eq!(inside.look(Path::new("/nowhere")).expect("an answer"), Seen::Missing);
    assert_eq!(inside.look(&container.scratch.path().join("w")).expect("an answer"), Seen::Directory);
    let link = Seen::Link { text: "usr/bin".into(), resolved: Some("/usr/bin".into()) };
    assert_eq!(inside.look(Path::new("/bin")).expect("an answer"), link);
    assert!(inside.look(Path::new("/a\0b")).is_err());
    assert!(inside.is_alive());
}

#[test]
#[ignore = "needs an engine"]
fn nobody_but_the_containers_first_process_is_let_in() {
    let scratch = Scratch::new();
    let directory = scratch.dir("door");
    let door = Door::open(&directory).expect("a door");
    let visitor = rustix::net::socket(rustix::net::AddressFamily::UNIX, rustix::net::SocketType::SEQPACKET, None);
    let visitor = visitor.expect("a socket");
    let address = rustix::net::SocketAddrUnix::new(directory.join("socket")).expect("short");
    rustix::net::connect(&visitor, &address).expect("the door is open");
    let mut other = Command::new("sleep").arg("60").spawn().expect("sleep is installed");
    let refused = door.admit(other.id(), Duration::from_millis(300)).expect_err("that was somebody else");
    assert_eq!(refused.kind, ErrorKind::SandboxLost, "{refused}");
    other.kill().and_then(|()| other.wait().map(drop)).expect("it is ours");
    let door = Door::open(&scratch.dir("another")).expect("a door");
    let gone = door.admit(other.id(), Duration::from_secs(30)).expect_err("it ended");
    assert!(gone.errno == Some(libc::ESRCH) || gone.kind == ErrorKind::SandboxLost, "{gone}");
}

#[test]
#[ignore = "needs an engine"]
fn the_container_ends_with_its_sandbox_and_the_sandbox_with_its_container() {
    let (container, sandbox) = start(&[], |_| ());
    drop(sandbox);
    gone(&container.id);
    let (container, sandbox) = start(&[], |_| ());
    let call = sandbox.spawn(&command(&["sleep", "60"]), Stdio::Pipes).expect("it starts");
    docker(&["kill", &container.id]);
    let lost = call.wait().expect_err("its container was killed");
    assert_eq!(lost.kind, ErrorKind::SandboxLost, "{lost}");
    // Nobody asked for anything yet: the first process ends when the other side does.
    let (container, inside) = self::container(&[]);
    drop(inside);
    gone(&container.id);
}

/// Waits until the engine has removed it by itself.
fn gone(id: &str) {
    for _ in 0..200 {
        let inspected = Command::new("docker").args(["-H", &engine(), "inspect", id]).output().expect("it runs");
        if !inspected.status.success() {
            return;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    panic!("the container is still there");
}

#[test]
#[ignore = "needs an engine"]
fn limits_are_the_engines_groups_and_their_hits_are_told() {
    let limits = Limits { memory_mib: Some(64), pids: Some(20), cpu_s: Some(60), ..Limits::default() };
    let (_container, sandbox) = start(&["--memory=64m", "--memory-swap=64m", "--pids-limit=28"], |plan| {
        plan.host = vec![HostStep::Limits(limits)];
    });
    let layers = sandbox.enforced().to_string();
    assert!(layers.contains("memory-limit: active (the engine's control group"), "{layers}");
    assert!(layers.contains("pids-limit: active (the engine's control group"), "{layers}");
    let ended = run(&sandbox, &["sh", "-c", "x=$(head -c 200000000 /dev/zero | tr '\\0' x); echo $x >/dev/null"]).ended;
    let hits = ended.cause.iter().chain(&ended.refusals).map(|hit| hit.limit.to_string()).collect::<Vec<_>>();
    assert!(hits.contains(&"memory".to_owned()), "{ended:?}");
    // Without the engine's bounds the same plan says that they are missing.
    let (_container, sandbox) = start(&[], |plan| plan.host = vec![HostStep::Limits(limits)]);
    let layers = sandbox.enforced().to_string();
    assert!(layers.contains("memory-limit: degraded") && layers.contains("pids-limit: degraded"), "{layers}");
}

#[test]
#[ignore = "needs an engine"]
fn root_in_a_container_is_refused() {
    let scratch = Scratch::new();
    let door = Door::open(&scratch.dir("door")).expect("a door");
    let own = std::env::current_exe().expect("a running test has a file");
    let own = format!("{}:{PROGRAM}:ro", own.display());
    let there = format!("{}:{DOOR}", scratch.path().join("door").display());
    let image = std::env::var(IMAGE).unwrap_or_else(|_| "localhost/stockade-test/debian:1".to_owned());
    let run = [
        "run",
        "-d",
        "--rm",
        "--network=none",
        "--cap-drop=ALL",
        "--cap-add=DAC_OVERRIDE",
        "-v",
        &own,
        "-v",
        &there,
        "--entrypoint",
        PROGRAM,
        &image,
    ];
    let id = docker(&run);
    let container = Container { id, scratch };
    let first: u32 = docker(&["inspect", "-f", "{{.State.Pid}}", &container.id]).parse().expect("a number");
    let inside = door.admit(first, Duration::from_secs(30)).expect("it comes");
    let refused = inside.look(Path::new("/")).expect_err("it is root");
    assert!(refused.to_string().contains("as root of a container"), "{refused}");
}

#[test]
fn what_root_stages_shows_its_owner_as_the_guest_until_it_is_dropped() {
    use std::os::unix::fs::MetadataExt as _;
    if !is_root() {
        let error = stockade_jail::Staged::show(Path::new("/usr"), Path::new("/usr"), guest()).expect_err("not root");
        assert!(error.to_string().contains("somebody else"), "{error}");
        return;
    }
    let scratch = Scratch::new();
    let (source, place) = (scratch.dir("source"), scratch.dir("place"));
    std::fs::write(source.join("file"), "text").expect("our own directory");
    let staged = stockade_jail::Staged::show(&source, &place, guest()).expect("root may");
    let owner = |path: &Path| std::fs::metadata(path).map(|file| (file.uid(), file.gid())).expect("it is there");
    assert_eq!((owner(&place), owner(&place.join("file"))), (user(), user()));
    assert_eq!(owner(&source), (0, 0));
    drop(staged);
    assert_eq!(owner(&place), (0, 0));
    assert!(!place.join("file").exists());
}
