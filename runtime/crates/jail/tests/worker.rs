//! Workers on the kernel: what one can do beside guests is what a command can, less each thing that a worker never needs.
//! It never runs foreign code: the worker's side is in `worker/inside.rs`.
#![expect(unsafe_code, reason = "one static that the loader calls, and system calls that have no wrapper")]

#[path = "worker/asking.rs"]
mod asking;
mod common;
#[path = "worker/inside.rs"]
mod inside;

use asking::{SOON, ask, compiler, does, layer, layer_of, outside_test, refused, try_ask, worker_of};
use common::{Scratch, again_as_ordinary_user, command, is_root, landlock_plan, plan, plan_with, run, sh, start};
use inside::{ATTACKS, EXECUTABLE, REFUSED};
use rustix::fs::OFlags;
use rustix::io::Errno;
use std::path::Path;
use std::time::Instant;
use stockade_jail::enforced::{Layer, State};
use stockade_jail::plan::{Exec, LandlockRule, Owner, PathRights, Plan, SessionStep};
use stockade_jail::{Kind, Sandbox, Status, Stdio, WorkerEnd};

#[test]
fn as_an_ordinary_user() {
    again_as_ordinary_user("as_an_ordinary_user");
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
        let status = std::fs::read_to_string(format!("/proc/{}/status", compiler.id().expect("one of this kernel")))
            .expect("it runs");
        let uid = status.lines().find(|line| line.starts_with("Uid:")).expect("a process has one");
        assert_eq!(uid, format!("Uid:\t{0}\t{0}\t{0}\t{0}", 0x7000_fff0_u32), "nobody else's");
        let limits = std::fs::read_to_string(format!("/proc/{}/limits", compiler.id().expect("one of this kernel")))
            .expect("it runs");
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
        let status = std::fs::read_to_string(format!("/proc/{}/status", worker.id().expect("one of this kernel")))
            .expect("it runs");
        for line in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
            assert!(status.contains(&format!("{line}:\t0000000000000000")), "{status}");
        }
        assert!(status.contains("NoNewPrivs:\t1") && status.contains("Seccomp:\t2"), "{status}");
    }
}
