//! Workers on the kernel: what one can do beside guests is what a command can, less each thing that a worker never needs.
//! It never runs foreign code: the worker's side is in `worker/inside.rs`.
#![expect(unsafe_code, reason = "one static that the loader calls, and system calls that have no wrapper")]

mod common;
#[path = "worker/inside.rs"]
mod inside;

use common::{Scratch, again_as_ordinary_user, command, is_root, landlock_plan, plan, plan_with, run, sh, start};
use inside::{ATTACKS, EXECUTABLE, REFUSED};
use rustix::fs::OFlags;
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags};
use rustix::process::{Pid, Signal};
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::time::{Duration, Instant};
use stockade_jail::enforced::{Layer, State};
use stockade_jail::plan::{Exec, HostStep, LandlockRule, Limits, Owner, PathRights, Plan, SessionStep, Wall};
use stockade_jail::{JailError, Kind, Sandbox, Status, Stdio, Worker, WorkerEnd};

/// Called by the loader, as the init of `common` is.
#[used]
#[unsafe(link_section = ".init_array")]
static WORKER: extern "C" fn() = worker;

extern "C" fn worker() {
    stockade_jail::run_as_worker_if_asked(inside::serve);
}

const SOON: Duration = Duration::from_secs(10);

#[test]
fn as_an_ordinary_user() {
    again_as_ordinary_user("as_an_ordinary_user");
}

#[track_caller]
fn worker_of(sandbox: &Sandbox, kind: Kind) -> Worker {
    match sandbox.worker(kind) {
        Ok(worker) => worker,
        Err(error) => panic!("{error}; {error:?}"),
    }
}

/// Asks a worker for something: what it answers, or the error number. A worker that ended is an error of the test.
#[track_caller]
fn ask(worker: &Worker, words: &[&str]) -> Result<String, Errno> {
    match try_ask(worker, words) {
        Some(answer) => answer,
        None => panic!("{words:?}: {:?}", worker.wait(SOON)),
    }
}

fn try_ask(worker: &Worker, words: &[&str]) -> Option<Result<String, Errno>> {
    let channel = worker.channel().expect("nobody took it");
    rustix::net::send(channel, words.join("\u{1f}").as_bytes(), SendFlags::NOSIGNAL).ok()?;
    let mut bytes = vec![0; 1 << 16];
    let (length, _) = rustix::net::recv(channel, &mut bytes, RecvFlags::empty()).ok()?;
    let text = std::str::from_utf8(&bytes[..length]).expect("text");
    let (how, rest) = text.split_once(' ')?;
    Some(match how {
        "ok" => Ok(rest.to_owned()),
        _ => Err(Errno::from_raw_os_error(rest.parse().expect("a number"))),
    })
}

#[track_caller]
fn does(worker: &Worker, words: &[&str]) -> String {
    match ask(worker, words) {
        Ok(answer) => answer,
        Err(errno) => panic!("{words:?}: {errno}"),
    }
}

#[track_caller]
fn refused(worker: &Worker, words: &[&str], by: &[Errno]) {
    match ask(worker, words) {
        Ok(answer) => panic!("{words:?} was done: {answer}"),
        Err(errno) => assert!(by.contains(&errno), "{words:?}: {errno}, not one of {by:?}"),
    }
}

fn rights(mut plan: Plan, path: &str, rights: PathRights) -> Plan {
    for step in &mut plan.session {
        if let SessionStep::Landlock { rules, .. } = step {
            rules.push(LandlockRule { path: path.into(), rights });
        }
    }
    plan
}

/// A workspace with something of everything, and a plan that shows it: `/w` as it is, `/o` copy-on-write.
fn furnished(scratch: &Scratch) -> Plan {
    let (w, lower, layer) = (scratch.dir("w"), scratch.dir("lower"), scratch.dir("layer"));
    for name in ["upper", "work"] {
        std::fs::create_dir(layer.join(name)).expect("our own directory");
    }
    let write = |path: std::path::PathBuf, text: &str| std::fs::write(path, text).expect("our own directory");
    write(w.join("plain"), "plain");
    write(w.join("secret"), "secret");
    write(w.join("kept"), "kept");
    write(lower.join("below"), "below");
    std::os::unix::fs::symlink("/etc/hostname", w.join("out")).expect("our own directory");
    let overlay = SessionStep::Overlay { lower, layer, target: "/o".into(), exec: Exec::Allow, owner: Owner::Guest };
    let more =
        vec![SessionStep::Mask { path: "/w/secret".into() }, SessionStep::Protect { path: "/w/kept".into() }, overlay];
    rights(plan_with(&w, more), "/o", PathRights::ReadWriteExec)
}

fn layer(worker: &Worker, wanted: Layer) -> State {
    worker.layers().iter().find(|state| state.layer == wanted).expect("every layer is reported").state.clone()
}

#[test]
fn a_worker_sees_what_a_command_sees() {
    let scratch = Scratch::new();
    let sandbox = start(&furnished(&scratch));
    for kind in [Kind::Write, Kind::Read] {
        let worker = worker_of(&sandbox, kind);
        for directory in ["/", "/w", "/o", "/tmp", "/dev/shm"] {
            let seen = sh(&sandbox, &format!("ls -A {directory} | LC_ALL=C sort | tr '\\n' ' '"));
            assert_eq!(does(&worker, &["list", directory]), seen.trim_end(), "{directory}");
        }
        assert_eq!(does(&worker, &["read", "/w/plain"]), "plain");
        assert_eq!(does(&worker, &["read", "/o/below"]), "below");
        refused(&worker, &["read", "/w/secret"], &[Errno::ACCESS]);
        assert_ne!(run(&sandbox, &["cat", "/w/secret"]).ended.status, Status::Exited(0));
        refused(&worker, &["read", scratch.path().join("w/plain").to_str().expect("ASCII")], &[Errno::NOENT]);
        refused(&worker, &["read", "/proc/self/status"], &[Errno::NOENT]);
        let own = sh(&sandbox, "printf %s:%s $(id -u) $(id -g)");
        assert_eq!(does(&worker, &["ids"]), own);
    }
}

#[test]
fn what_one_writes_the_other_reads() {
    let scratch = Scratch::new();
    let sandbox = start(&furnished(&scratch));
    let (writer, reader) = (worker_of(&sandbox, Kind::Write), worker_of(&sandbox, Kind::Read));
    for directory in ["/w", "/o", "/tmp", "/dev/shm"] {
        let at = |name: &str| format!("{directory}/{name}");
        sh(&sandbox, &format!("echo command > {}", at("by-command")));
        assert_eq!(does(&writer, &["read", &at("by-command")]), "command\n");
        assert_eq!(does(&reader, &["read", &at("by-command")]), "command\n");
        does(&writer, &["write", &at("by-worker"), "worker"]);
        assert_eq!(sh(&sandbox, &format!("cat {0}; [ -O {0} ]", at("by-worker"))), "worker");
        assert_eq!(does(&reader, &["read", &at("by-worker")]), "worker");
        does(&writer, &["append", &at("by-command")]);
        does(&writer, &["mkdir", &at("directory")]);
        does(&writer, &["rename", &at("by-worker"), &at("directory/moved")]);
        assert_eq!(does(&reader, &["list", &at("directory")]), "moved");
    }
    does(&writer, &["write", "/o/below", "above"]);
    assert_eq!(sh(&sandbox, "cat /o/below"), "above");
    assert_eq!(std::fs::read_to_string(scratch.path().join("lower/below")).expect("there"), "below");
    assert_eq!(std::fs::read_to_string(scratch.path().join("layer/upper/below")).expect("there"), "above");
    for words in [["write", "/w/kept", "x"], ["write", "/etc/x", "x"], ["write", "/usr/x", "x"], ["write", "/x", "x"]] {
        refused(&writer, &words, &[Errno::ROFS, Errno::ACCESS]);
    }
    refused(&writer, &["unlink", "/w/kept"], &[Errno::BUSY]);
    assert_eq!(does(&writer, &["path", "/w/kept"]), "/w/kept");
}

/// Each change of a file or of what stands beside it, of files that are there.
const CHANGES: [&[&str]; 14] = [
    &["write", "D/new", "x"],
    &["write", "D/file", "x"],
    &["append", "D/file"],
    &["truncate", "D/file"],
    &["reread", "D/file"],
    &["mkdir", "D/directory"],
    &["link", "D/file", "D/second"],
    &["symlink", "file", "D/link"],
    &["chmod", "D/file"],
    &["fchmod", "D/file"],
    &["utimes", "D/file"],
    &["futimes", "D/file"],
    &["rename", "D/file", "D/other"],
    &["unlink", "D/file"],
];

#[track_caller]
fn only_a_writer_changes(sandbox: &Sandbox, directories: &[&str]) {
    let (writer, reader) = (worker_of(sandbox, Kind::Write), worker_of(sandbox, Kind::Read));
    for directory in directories {
        let make = format!("cd {directory}; rm -rf file new directory second link other; echo text > file");
        let look =
            format!("cd {directory}; stat -c '%n %s %a %i %y %h' * | grep -v '^[^ ]*directory'; cat file; ls -A");
        for words in CHANGES {
            let words: Vec<_> = words.iter().map(|word| word.replace('D', directory)).collect();
            let words: Vec<_> = words.iter().map(String::as_str).collect();
            sh(sandbox, &make);
            let before = sh(sandbox, &look);
            refused(&reader, &words, &[Errno::ROFS, Errno::ACCESS]);
            assert_eq!(sh(sandbox, &look), before, "{words:?}");
            // The control: the same of a worker that may.
            does(&writer, &words);
        }
        sh(sandbox, &make);
    }
}

#[test]
fn a_reading_worker_changes_nothing() {
    let scratch = Scratch::new();
    let sandbox = start(&furnished(&scratch));
    only_a_writer_changes(&sandbox, &["/w", "/o", "/tmp", "/dev/shm"]);
    let reader = worker_of(&sandbox, Kind::Read);
    assert_eq!(layer(&reader, Layer::Root), State::Active);
}

#[test]
fn a_reading_worker_changes_nothing_without_namespaces() {
    let scratch = Scratch::new();
    let sandbox = start(&landlock_plan(&scratch.dir("w")));
    only_a_writer_changes(&sandbox, &[scratch.path().join("w").to_str().expect("ASCII")]);
}

#[test]
fn without_landlock_a_reading_worker_still_changes_nothing() {
    let scratch = Scratch::new();
    let mut plan = furnished(&scratch);
    plan.session.retain(|step| !matches!(step, SessionStep::Landlock { .. }));
    let sandbox = start(&plan);
    only_a_writer_changes(&sandbox, &["/w", "/o", "/tmp"]);
    assert!(matches!(layer(&worker_of(&sandbox, Kind::Read), Layer::Landlock), State::Absent(_)));
}

#[test]
fn without_namespaces_a_worker_has_the_paths_of_a_command() {
    let scratch = Scratch::new();
    let (w, beside) = (scratch.dir("w"), scratch.dir("beside"));
    std::fs::write(w.join("file"), "text").expect("our own directory");
    std::fs::write(beside.join("file"), "text").expect("our own directory");
    let sandbox = start(&landlock_plan(&w));
    let worker = worker_of(&sandbox, Kind::Write);
    let (inside, outside) = (w.join("file"), beside.join("file"));
    let (inside, outside) = (inside.to_str().expect("ASCII"), outside.to_str().expect("ASCII"));
    assert_eq!(does(&worker, &["read", inside]), "text");
    assert_eq!(does(&worker, &["path", inside]), inside);
    refused(&worker, &["read", outside], &[Errno::ACCESS]);
    assert_ne!(run(&sandbox, &["cat", outside]).ended.status, Status::Exited(0));
    assert!(std::fs::read_to_string(outside).is_ok(), "the control: it is there to be read");
    assert!(matches!(layer(&worker, Layer::MountNamespace), State::Absent(_)));
    assert_eq!(layer(&worker, Layer::Landlock), layer_of(&sandbox, Layer::Landlock));
}

fn layer_of(sandbox: &Sandbox, wanted: Layer) -> State {
    let state = sandbox.enforced().layers.iter().find(|state| state.layer == wanted);
    state.expect("every layer is reported").state.clone()
}

#[test]
fn an_open_descriptor_says_its_path_inside() {
    let scratch = Scratch::new();
    let sandbox = start(&furnished(&scratch));
    sh(&sandbox, "echo x > /tmp/file; echo x > /dev/shm/file; mkdir /o/sub; echo x > /o/sub/file; ln -s sub /o/link");
    for kind in [Kind::Write, Kind::Read] {
        let worker = worker_of(&sandbox, kind);
        for (asked, name) in [
            ("/w/plain", "/w/plain"),
            ("/o/below", "/o/below"),
            ("/o/link/../link/file", "/o/sub/file"),
            ("/tmp/file", "/tmp/file"),
            ("/dev/shm/file", "/dev/shm/file"),
            ("/", "/"),
        ] {
            assert_eq!(does(&worker, &["path", asked]), name, "{asked}");
        }
        // The root that was handed out is the guests', and from there the same.
        assert_eq!(does(&worker, &["from-root", "o/sub/file"]), "/o/sub/file");
        assert_eq!(does(&worker, &["from-root", "../../o/below"]), "/o/below");
    }
}

#[test]
fn the_table_of_descriptors_leads_nowhere_else() {
    let scratch = Scratch::new();
    let sandbox = start(&plan(&scratch.dir("w")));
    let worker = worker_of(&sandbox, Kind::Write);
    let here = does(&worker, &["up", "."]);
    for path in ["..", "../..", "../../..", "../../../..", "./../../../../.."] {
        assert_eq!(does(&worker, &["up", path]), here, "{path}");
    }
    refused(&worker, &["up", "../../../../etc/passwd"], &[Errno::NOENT]);
    refused(&worker, &["up", "../status"], &[Errno::NOENT]);
    // The control: from a directory of the host's `/proc` it leads to the host's root.
    let flags = OFlags::PATH | OFlags::DIRECTORY;
    let plain = rustix::fs::open("/proc/self/fd", flags, rustix::fs::Mode::empty()).expect("our own /proc");
    rustix::fs::openat(plain, "../../../etc/passwd", OFlags::RDONLY, rustix::fs::Mode::empty()).expect("it leads out");
}

#[test]
fn a_path_beneath_a_directory_is_resolved_by_the_kernel() {
    let scratch = Scratch::new();
    let sandbox = start(&furnished(&scratch));
    let worker = worker_of(&sandbox, Kind::Read);
    assert_eq!(does(&worker, &["beneath", "/w", "plain"]), "plain");
    refused(&worker, &["beneath", "/w", "out"], &[Errno::XDEV]);
    refused(&worker, &["beneath", "/w", "../o/below"], &[Errno::XDEV]);
    // The control: without that, both are there.
    assert_eq!(does(&worker, &["read", "/w/../o/below"]), "below");
}

#[test]
fn a_link_in_place_of_a_granted_directory_grants_nothing() {
    let scratch = Scratch::new();
    let w = scratch.dir("w");
    for name in ["out", "closed"] {
        std::fs::create_dir(w.join(name)).expect("our own directory");
    }
    let mut plan = plan(&w);
    for step in &mut plan.session {
        if let SessionStep::Landlock { rules, .. } = step {
            let rule = |path: &str, rights| LandlockRule { path: path.into(), rights };
            rules.retain(|rule| rule.path != Path::new("/") && rule.path != Path::new("/w"));
            rules.extend([
                rule("/usr", PathRights::ReadExec),
                rule("/bin", PathRights::ReadExec),
                rule("/lib", PathRights::ReadExec),
                rule("/lib64", PathRights::ReadExec),
                rule("/etc", PathRights::Read),
                rule("/w/out", PathRights::ReadWriteExec),
            ]);
        }
    }
    let sandbox = start(&plan);
    let before = worker_of(&sandbox, Kind::Write);
    does(&before, &["write", "/w/out/file", "x"]);
    refused(&before, &["write", "/w/closed/file", "x"], &[Errno::ACCESS]);
    // Somebody outside, or a guest with more rights than this one, puts a link where the granted directory was.
    std::fs::rename(w.join("out"), w.join("moved")).expect("our own directory");
    std::os::unix::fs::symlink("closed", w.join("out")).expect("our own directory");
    let after = worker_of(&sandbox, Kind::Write);
    refused(&after, &["write", "/w/out/file", "x"], &[Errno::ACCESS]);
    refused(&after, &["write", "/w/closed/file", "x"], &[Errno::ACCESS]);
    assert_ne!(run(&sandbox, &["sh", "-c", "echo x > /w/out/file"]).ended.status, Status::Exited(0));
}

/// Runs in a process of its own, which is no worker: the control of each attack.
#[test]
#[ignore = "the control of the attacks, in a process of its own"]
#[expect(clippy::disallowed_methods, reason = "how the test says which")]
fn attack_outside() {
    let name = std::env::var("JAIL_ATTACK").expect("the test says which");
    println!("\nresult {:?}", inside::attack(&name).map_err(|errno| errno.raw_os_error()));
}

/// Runs one of the ignored tests in a process of its own; what it printed.
#[track_caller]
#[expect(clippy::disallowed_methods, reason = "a control is a process without a wall")]
fn outside_test(test: &str, attack: &str) -> String {
    let output = std::process::Command::new(std::env::current_exe().expect("a running test has a file"))
        .args(["--ignored", "--exact", test, "--nocapture"])
        .env("JAIL_ATTACK", attack)
        .output()
        .expect("we run ourselves");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{test} {attack}: {text}{}", String::from_utf8_lossy(&output.stderr));
    text
}

#[track_caller]
fn outside(name: &str) -> Result<String, i32> {
    let text = outside_test("attack_outside", name);
    let result = text.lines().find_map(|line| line.strip_prefix("result ")).unwrap_or_else(|| panic!("{name}: {text}"));
    match result.strip_prefix("Err(") {
        Some(errno) => Err(errno.trim_end_matches(')').parse().expect("a number")),
        None => Ok(result.to_owned()),
    }
}

#[test]
fn what_the_list_does_not_have_ends_a_worker() {
    let scratch = Scratch::new();
    let sandbox = start(&plan(&scratch.dir("w")));
    for attack in &ATTACKS {
        assert_ne!(outside(attack.name), Err(libc::ENOSYS), "{}: this kernel does not know it", attack.name);
        for kind in [Kind::Read, Kind::Write] {
            let worker = worker_of(&sandbox, kind);
            assert_eq!(try_ask(&worker, &["attack", attack.name]), None, "{} was answered", attack.name);
            assert_eq!(worker.wait(SOON), Ok(Some(WorkerEnd::Forbidden)), "{}", attack.name);
        }
    }
    assert_eq!(sh(&sandbox, "echo alive"), "alive\n");
}

#[test]
fn what_a_runtime_may_try_is_refused_without_an_end() {
    let scratch = Scratch::new();
    let sandbox = start(&plan(&scratch.dir("w")));
    let worker = worker_of(&sandbox, Kind::Write);
    for attack in &REFUSED {
        let inside = ask(&worker, &["attack", attack.name]).map_err(Errno::raw_os_error);
        assert!(inside.is_err(), "{}: {inside:?}", attack.name);
        assert_ne!(inside.err(), outside(attack.name).err(), "{}: the list has no part in it", attack.name);
    }
    does(&worker, &["attack", EXECUTABLE.name]);
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
    let kill = format!("import os\nos.kill({}, 9)", worker.id());
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

#[test]
fn a_worker_has_no_hand_in_a_guest() {
    let scratch = Scratch::new();
    let sandbox = start(&plan(&scratch.dir("w")));
    let guest = sandbox.spawn(&command(&["sh", "-c", "echo $$ > /w/pid; exec sleep 1000"]), Stdio::Pipes);
    let guest = guest.expect("it starts");
    let until = Instant::now() + SOON;
    while sh(&sandbox, "cat /w/pid 2>/dev/null || true").is_empty() {
        assert!(Instant::now() < until, "the guest does not run");
    }
    let pid = sh(&sandbox, "cat /w/pid");
    let of_guest = |name: &str| format!("/proc/{}/{name}", pid.trim_end());
    for kind in [Kind::Read, Kind::Write] {
        let worker = worker_of(&sandbox, kind);
        assert_eq!(does(&worker, &["read", &of_guest("comm")]), "sleep\n", "it is there");
        if layer(&worker, Layer::Landlock) == State::Active {
            for name in ["environ", "maps", "mem", "root/w/pid", "fd/0", "cwd/w/pid"] {
                refused(&worker, &["read", &of_guest(name)], &[Errno::ACCESS, Errno::PERM]);
            }
            refused(&worker, &["append", &of_guest("mem")], &[Errno::ACCESS, Errno::PERM, Errno::ROFS]);
        }
        for name in ["environ", "mem"] {
            refused(&worker, &["read", &format!("/proc/1/{name}")], &[Errno::ACCESS, Errno::PERM]);
        }
    }
    // The control: a guest may look at its like.
    sh(&sandbox, &format!("cat {} > /dev/null && cat {}", of_guest("environ"), of_guest("root/w/pid")));
    drop(guest);
}

fn alive(pid: u32) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| !stat.contains(") Z "))
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
    let worker = worker_of(&sandbox, Kind::Write);
    assert_eq!(worker.wait(Duration::from_millis(1)), Ok(None));
    assert_eq!(try_ask(&worker, &["exit", "7"]), None);
    assert_eq!(worker.wait(SOON), Ok(Some(WorkerEnd::Exited(7))));
    assert_eq!(worker.wait(SOON), Ok(Some(WorkerEnd::Exited(7))), "asked again");
    let worker = worker_of(&sandbox, Kind::Read);
    let channel = worker.channel().expect("nobody took it");
    rustix::net::send(channel, b"spin", SendFlags::NOSIGNAL).expect("it listens");
    worker.kill();
    assert_eq!(worker.wait(SOON), Ok(Some(WorkerEnd::Signalled(libc::SIGKILL))));
    let (dropped, mut closed) = (worker_of(&sandbox, Kind::Read), worker_of(&sandbox, Kind::Read));
    let pid = dropped.id();
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
        println!("\nworker {}", worker.id());
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

#[track_caller]
fn compiler() -> Worker {
    match Worker::compiler() {
        Ok(worker) => worker,
        Err(error) => panic!("{error}; {error:?}"),
    }
}

#[test]
fn a_compiler_has_nothing_of_the_host() {
    let compiler = compiler();
    for path in ["/", "/etc/passwd", "/proc/self/status", "/tmp"] {
        refused(&compiler, &["read", path], &[Errno::ACCESS]);
        assert!(std::fs::metadata(path).is_ok(), "the control: {path} is there");
    }
    refused(&compiler, &["write", "/tmp/x", "x"], &[Errno::ACCESS]);
    refused(&compiler, &["list", "/"], &[Errno::ACCESS]);
    for wanted in [Layer::UserNamespace, Layer::NetNamespace, Layer::Root, Layer::Landlock, Layer::Capabilities] {
        assert_eq!(layer(&compiler, wanted), State::Active, "{wanted}");
    }
    assert_eq!(does(&compiler, &["allocate", "256"]), (256_u64 << 20).to_string());
    refused(&compiler, &["allocate", "3072"], &[Errno::NOMEM]);
    if is_root() {
        let status = std::fs::read_to_string(format!("/proc/{}/status", compiler.id())).expect("it runs");
        let uid = status.lines().find(|line| line.starts_with("Uid:")).expect("a process has one");
        assert_eq!(uid, format!("Uid:\t{0}\t{0}\t{0}\t{0}", 0x7000_fff0_u32), "nobody else's");
        let limits = std::fs::read_to_string(format!("/proc/{}/limits", compiler.id())).expect("it runs");
        for (name, value) in [("Max cpu time", "60"), ("Max address space", "2147483648"), ("Max processes", "0")] {
            let line = limits.lines().find(|line| line.starts_with(name)).expect("the kernel names it");
            assert_eq!(line[name.len()..].split_whitespace().next(), Some(value), "{line}");
        }
    }
}

#[test]
fn what_a_compilers_list_does_not_have_ends_it() {
    for name in ["socket", "clone", "execve", "kill", "ptrace", "mmap", "mprotect", EXECUTABLE.name] {
        let compiler = compiler();
        assert_ne!(outside(name), Err(libc::ENOSYS), "{name}: this kernel does not know it");
        assert_eq!(try_ask(&compiler, &["attack", name]), None, "{name} was answered");
        assert_eq!(compiler.wait(SOON), Ok(Some(WorkerEnd::Forbidden)), "{name}");
    }
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
fn what_is_enforced_is_told() {
    let scratch = Scratch::new();
    let sandbox = start(&plan(&scratch.dir("w")));
    let worker = worker_of(&sandbox, Kind::Write);
    for wanted in [
        Layer::UserNamespace,
        Layer::MountNamespace,
        Layer::NetNamespace,
        Layer::IpcNamespace,
        Layer::UtsNamespace,
        Layer::Root,
        Layer::Capabilities,
        Layer::NoNewPrivileges,
        Layer::Seccomp,
        Layer::Descriptors,
        Layer::Lifetime,
    ] {
        assert_eq!(layer(&worker, wanted), State::Active, "{wanted}");
    }
    assert!(matches!(layer(&worker, Layer::PidNamespace), State::Degraded(_)));
    assert_eq!(layer(&worker, Layer::Landlock), layer_of(&sandbox, Layer::Landlock));
    if is_root() {
        let status = std::fs::read_to_string(format!("/proc/{}/status", worker.id())).expect("it runs");
        for line in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
            assert!(status.contains(&format!("{line}:\t0000000000000000")), "{status}");
        }
        assert!(status.contains("NoNewPrivs:\t1") && status.contains("Seccomp:\t2"), "{status}");
    }
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
