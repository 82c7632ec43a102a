//! The list of calls, Landlock and the capability sets on real processes: each attack succeeds without and fails with.
//! It never relies on what the table says; the attacks are written in Python against the kernel.
#![expect(clippy::disallowed_methods, reason = "tests start processes and read how they were started")]
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::collections::BTreeMap;
use std::os::unix::process::CommandExt as _;
use std::process::{Command, Output};
use stockade_jail::plan::{LandlockRule, PathRights, Record, Sockets, Tcp};
use stockade_jail::{capabilities, keyring, landlock, seccomp};

const ATTACKS: &str = include_str!("seccomp_attacks.py");
const TWINS: &str = include_str!("seccomp_twins.py");

/// How a program is started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wall {
    /// As it is: the control.
    None,
    Loopback,
    PairsOnly,
    /// No list of calls, but Landlock: read and execute everywhere, write below `$JAIL_WRITABLE`.
    Landlock,
    /// Landlock without namespaces.
    LandlockTcp,
    /// All capabilities dropped.
    Capabilities,
}

/// Confines this process and becomes the program: run by [`start`] in a process of its own, never as a test.
#[test]
#[ignore = "the inside of the other tests: it turns its process into a confined program"]
fn helper() {
    let argv: Vec<String> = std::env::var("JAIL_ARGV").unwrap().split('\u{1f}').map(str::to_owned).collect();
    // Rights add up along a path, so the directory for temporary files must not lie below a rule for execution.
    let rules = |writable: String| {
        let mut rules = vec![
            LandlockRule { path: writable.into(), rights: PathRights::ReadWrite },
            LandlockRule { path: "/dev".into(), rights: PathRights::ReadWriteExisting },
        ];
        let top = std::fs::read_dir("/").unwrap().map(|entry| entry.unwrap().path());
        let rest = top.filter(|path| !std::env::temp_dir().starts_with(path) && !path.ends_with("dev"));
        rules.extend(rest.map(|path| LandlockRule { path, rights: PathRights::ReadExec }));
        rules
    };
    let writable = || std::env::var("JAIL_WRITABLE").unwrap();
    match std::env::var("JAIL_WALL").unwrap().as_str() {
        "Loopback" => list(Sockets::Loopback),
        "PairsOnly" => list(Sockets::PairsOnly),
        "Landlock" => drop(landlock::restrict_self(&rules(writable()), Tcp::LeftToNamespace).unwrap()),
        "LandlockTcp" => drop(landlock::restrict_self(&rules(writable()), Tcp::Refused).unwrap()),
        "Capabilities" => {
            keyring::join_new().unwrap();
            capabilities::set_no_new_privileges().unwrap();
            capabilities::drop_all().unwrap();
        }
        other => assert_eq!(other, "None"),
    }
    panic!("cannot start {argv:?}: {}", Command::new(&argv[0]).args(&argv[1..]).exec());
}

fn list(sockets: Sockets) {
    capabilities::set_no_new_privileges().unwrap();
    seccomp::compile(sockets, Record::Off).unwrap().install().unwrap();
}

fn start(wall: Wall, argv: &[&str]) -> Output {
    let scratch = scratch();
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "helper", "--ignored", "--nocapture", "--test-threads=1"])
        .env("JAIL_WALL", format!("{wall:?}"))
        .env("JAIL_ARGV", argv.join("\u{1f}"))
        .env("JAIL_WRITABLE", &scratch)
        .current_dir(&scratch)
        .output()
        .unwrap();
    std::fs::remove_dir_all(scratch).unwrap();
    output
}

fn scratch() -> std::path::PathBuf {
    use std::sync::atomic::{AtomicU32, Ordering};
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let name = format!("jail-seccomp-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
    let path = std::env::temp_dir().join(name);
    std::fs::create_dir(&path).unwrap();
    path
}

/// Runs a script that prints lines of the form `RESULT name outcome`.
fn outcomes(wall: Wall, script: &str) -> BTreeMap<String, String> {
    let output = start(wall, &["python3", "-c", script]);
    let text = String::from_utf8_lossy(&output.stdout);
    let found: BTreeMap<_, _> = text
        .lines()
        .filter_map(|line| line.split_once("RESULT ")?.1.split_once(' '))
        .map(|(name, outcome)| (name.to_owned(), outcome.trim().to_owned()))
        .collect();
    assert!(!found.is_empty(), "{wall:?}: {}", String::from_utf8_lossy(&output.stderr));
    found
}

/// Attacks that a machine may not know at all (an option of its kernel's build): their controls may fail.
const MAY_BE_UNKNOWN: [&str; 12] =
    ["x32", "i386", "mptcp", "sctp", "alg", "vsock", "keyctl", "perf", "userfaultfd", "io_uring", "kcmp", "packet"];

#[test]
fn attacks_succeed_without_the_list_and_fail_with_it() {
    let control = outcomes(Wall::None, ATTACKS);
    for wall in [Wall::Loopback, Wall::PairsOnly] {
        let confined = outcomes(wall, ATTACKS);
        assert_eq!(confined.keys().collect::<Vec<_>>(), control.keys().collect::<Vec<_>>());
        for (name, outcome) in &confined {
            assert_ne!(outcome, "ok", "{wall:?}: {name}");
            let unknown = MAY_BE_UNKNOWN.contains(&name.as_str());
            assert!(control[name] == "ok" || unknown, "the control of {name} failed: {}", control[name]);
        }
        for died in ["x32", "i386"] {
            assert_eq!(confined[died], "signal 31", "{wall:?}: {died}");
        }
    }
}

#[test]
fn harmless_twins_work_under_the_list() {
    let control = outcomes(Wall::None, TWINS);
    let confined = outcomes(Wall::Loopback, TWINS);
    for (name, outcome) in &control {
        assert_eq!(outcome, "ok", "{name} without the list");
        assert_eq!(confined[name], "ok", "{name} with the list");
    }
    let pairs = outcomes(Wall::PairsOnly, TWINS);
    for name in ["asyncio", "threads", "subprocess", "files", "multiprocessing_pipe", "terminal", "executor"] {
        assert_eq!(pairs[name], "ok", "{name} without namespaces");
    }
}

#[test]
fn programs_that_people_use_run_under_the_list() {
    let programs: [&[&str]; 9] = [
        &["git", "--version"],
        &[
            "sh",
            "-c",
            "git init -q r && cd r && git -c user.name=a -c user.email=a@b commit -q --allow-empty -m x && git log -1",
        ],
        &["sh", "-c", "printf 'int main(void){return 0;}' >a.c && cc a.c -o a && ./a"],
        &["sh", "-c", "printf 'all:\\n\\ttrue\\n' >Makefile && make -s"],
        &["ps", "-ef"],
        &["bash", "-c", "set -o pipefail; cat <(echo a) | sort | uniq -c; sleep 0 & wait"],
        &[
            "node",
            "-e",
            "require('http').createServer((q,r)=>r.end('x')).listen(0,'127.0.0.1',function(){require('http').get({port:this.address().port,host:'127.0.0.1'},r=>process.exit(0))})",
        ],
        &["java", "-version"],
        &["tar", "-cf", "x.tar", "/etc/hostname"],
    ];
    for argv in programs {
        if !start(Wall::None, argv).status.success() {
            // A machine without this program has no control; the others still count.
            continue;
        }
        let confined = start(Wall::Loopback, argv);
        assert!(confined.status.success(), "{argv:?}: {}", String::from_utf8_lossy(&confined.stderr));
    }
}

#[test]
fn landlock_refuses_what_no_rule_grants() {
    let script = r##"
import os, socket, tempfile
def result(name, act):
    try: act(); print("RESULT", name, "ok")
    except OSError as error: print("RESULT", name, error.errno)
outside = tempfile.mktemp(dir="/var/tmp")
def inside():
    open("f", "w").write("x"); os.mkdir("d"); os.rename("f", "d/f"); os.truncate("d/f", 0); os.unlink("d/f"); os.rmdir("d")
def write_outside():
    open(outside, "w").close(); os.unlink(outside)
def execute_inside():
    open("p", "w").write("#!/bin/sh\n"); os.chmod("p", 0o755)
    pid = os.fork()
    if pid == 0:
        try: os.execv("./p", ["p"])
        except OSError as error: os._exit(error.errno)
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    if status: raise OSError(status, "")
def connect():
    server = socket.socket(); server.bind(("127.0.0.1", 0)); server.listen()
    socket.create_connection(server.getsockname())
result("inside", inside); result("write-outside", write_outside); result("execute-inside", execute_inside); result("connect", connect)
result("read", lambda: open("/etc/passwd").read())
result("signal", lambda: os.kill(os.getppid(), 0))
"##;
    let control = outcomes(Wall::None, script);
    assert!(control.values().all(|outcome| outcome == "ok"), "{control:?}");
    let confined = outcomes(Wall::Landlock, script);
    let tcp = outcomes(Wall::LandlockTcp, script);
    let eacces = libc::EACCES.to_string();
    for found in [&confined, &tcp] {
        assert_eq!(found["inside"], "ok");
        assert_eq!(found["read"], "ok");
        assert_eq!(found["write-outside"], eacces);
        assert_eq!(found["execute-inside"], eacces);
        if landlock::level().unwrap() >= 6 {
            assert_eq!(found["signal"], libc::EPERM.to_string());
        }
    }
    assert_eq!(confined["connect"], "ok", "the loopback is left to the namespace");
    assert_eq!(tcp["connect"], eacces);
}

#[test]
fn a_rule_for_a_path_that_is_not_there_is_an_error() {
    let rule = LandlockRule { path: "/nonexistent/for/sure".into(), rights: PathRights::Read };
    // The error comes before anything is applied: this test's thread stays free.
    let error = landlock::restrict_self(&[rule], Tcp::LeftToNamespace).unwrap_err();
    assert!(error.to_string().contains("/nonexistent/for/sure"), "{error}");
    std::fs::read_dir("/").unwrap();
}

#[test]
fn no_capability_is_left_in_any_set() {
    let output = start(Wall::Capabilities, &["grep", "-E", "^(Cap|NoNewPrivs)", "/proc/self/status"]);
    let text = String::from_utf8_lossy(&output.stdout);
    let sets: Vec<&str> = text.lines().filter(|line| line.contains("Cap")).collect();
    assert_eq!(sets.len(), 5, "{text} {}", String::from_utf8_lossy(&output.stderr));
    let is_root = rustix::process::geteuid().is_root();
    for set in sets {
        // Only who has CAP_SETPCAP can empty the bounding set; with no_new_privs it gives nothing to anybody.
        assert!(set.ends_with("\t0000000000000000") || (!is_root && set.contains("CapBnd")), "{set}");
    }
    assert!(text.contains("NoNewPrivs:\t1"));
}

#[test]
#[ignore = "a measurement: what the list costs"]
fn measure() {
    use std::time::Instant;
    let began = Instant::now();
    for _ in 0..100 {
        std::hint::black_box(seccomp::compile(Sockets::Loopback, Record::Off).unwrap());
    }
    println!(
        "compiled: {:?}, {} instructions",
        began.elapsed() / 100,
        seccomp::compile(Sockets::Loopback, Record::Off).unwrap().bytes().len() / 8
    );
    let filter = seccomp::compile(Sockets::Loopback, Record::Off).unwrap();
    capabilities::set_no_new_privileges().unwrap();
    let bare = costs();
    let began = Instant::now();
    filter.install().unwrap();
    println!("installed: {:?}", began.elapsed());
    let listed = costs();
    for ((what, bare), (_, listed)) in bare.into_iter().zip(listed) {
        println!("{what}: {bare} ns without, {listed} ns with the list");
    }
}

/// Nanoseconds of one call: one that is always allowed, and two that are looked at by argument.
fn costs() -> Vec<(&'static str, u128)> {
    const ROUNDS: u128 = 1_000_000;
    let null = std::fs::File::open("/dev/null").unwrap();
    let time = |act: &dyn Fn()| {
        let began = std::time::Instant::now();
        (0..ROUNDS).for_each(|_| act());
        began.elapsed().as_nanos() / ROUNDS
    };
    vec![
        ("getppid, always allowed", time(&|| _ = std::hint::black_box(rustix::process::getppid()))),
        ("fcntl, two cases", time(&|| _ = std::hint::black_box(rustix::io::fcntl_getfd(&null)))),
        ("ioctl, seventeen cases", time(&|| _ = std::hint::black_box(rustix::termios::isatty(&null)))),
    ]
}
