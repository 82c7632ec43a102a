//! What the tests of the jail share: a plan, a sandbox, a call; and the same tests again as an ordinary user.
//! It never weakens a plan: tests that need another one change it themselves.
#![expect(unsafe_code, reason = "one static that the loader calls, see INIT")]
#![allow(dead_code, reason = "each test binary uses a part of this")]

use std::ffi::CString;
use std::fs::File;
use std::io::Read as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;
use stockade_jail::plan::{
    Access, CallStep, Exec, HostStep, LandlockRule, Limits, Owner, PathRights, Plan, Record, Rlimit, SessionStep,
    Sockets, Tcp, Wall,
};
use stockade_jail::{Command, Ended, JailError, Options, Running, Sandbox, Status, Stdio};

/// Called by the loader, before the test harness starts a thread: a test binary is an init when it is asked to be one.
#[used]
#[unsafe(link_section = ".init_array")]
static INIT: extern "C" fn() = init;

extern "C" fn init() {
    stockade_jail::run_as_init_if_asked();
}

/// A directory of one test, removed with it.
pub(crate) struct Scratch(PathBuf);

impl Scratch {
    pub(crate) fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let path = loop {
            let number = NEXT.fetch_add(1, Ordering::Relaxed);
            let path = PathBuf::from(format!("/tmp/stockade-jail-{}-{number}", std::process::id()));
            match std::fs::create_dir(&path) {
                Ok(()) => break path,
                // A killed test of another process with our number left it.
                Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
                Err(error) => panic!("no directory in /tmp: {error}"),
            }
        };
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).expect("our own directory");
        Self(path)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    pub(crate) fn dir(&self, name: &str) -> PathBuf {
        let path = self.0.join(name);
        std::fs::create_dir_all(&path).expect("our own directory");
        path
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.0).ok();
    }
}

/// The usual root: the host's programs, a private `/tmp`, and this directory at `/w`.
pub(crate) fn plan(workspace: &Path) -> Plan {
    plan_with(workspace, Vec::new())
}

/// The same with more steps before the root is entered.
pub(crate) fn plan_with(workspace: &Path, more: Vec<SessionStep>) -> Plan {
    let bind = |source: &str| SessionStep::Bind {
        source: source.into(),
        target: source.into(),
        access: Access::ReadOnly,
        exec: Exec::Allow,
        owner: Owner::AsIs,
    };
    let (guest_uid, guest_gid) = guest();
    let mut session = vec![
        SessionStep::Namespaces { guest_uid, guest_gid },
        SessionStep::Hostname("stockade".to_owned()),
        SessionStep::LoopbackUp,
        SessionStep::Root { size_mib: 4 },
        bind("/usr"),
        bind("/etc"),
    ];
    for name in ["bin", "lib", "lib64", "sbin"] {
        let path = Path::new("/").join(name);
        match std::fs::read_link(&path) {
            Ok(target) => session.push(SessionStep::Symlink { path, target }),
            Err(_) if path.exists() => session.push(bind(path.to_str().expect("ASCII"))),
            Err(_) => {}
        }
    }
    session.extend([
        SessionStep::Tmpfs { path: "/tmp".into(), size_mib: 64, mode: 0o1777, exec: Exec::Allow },
        SessionStep::Proc,
        SessionStep::Dev { shm_mib: 16 },
        SessionStep::Bind {
            source: workspace.into(),
            target: "/w".into(),
            access: Access::ReadWrite,
            exec: Exec::Allow,
            owner: Owner::Guest,
        },
    ]);
    session.extend(more);
    session.extend([
        SessionStep::EnterRoot,
        SessionStep::Keyring,
        SessionStep::NoNewPrivs,
        SessionStep::Landlock {
            rules: vec![
                LandlockRule { path: "/".into(), rights: PathRights::ReadExec },
                LandlockRule { path: "/tmp".into(), rights: PathRights::ReadWriteExec },
                LandlockRule { path: "/dev".into(), rights: PathRights::ReadWriteExisting },
                LandlockRule { path: "/dev/shm".into(), rights: PathRights::ReadWrite },
                LandlockRule { path: "/proc".into(), rights: PathRights::ReadWriteExisting },
                LandlockRule { path: "/w".into(), rights: PathRights::ReadWriteExec },
            ],
            tcp: Tcp::LeftToNamespace,
        },
        SessionStep::Recorder(Record::Changes),
        SessionStep::DropCapabilities,
    ]);
    Plan { wall: Wall::Namespaces, host: vec![HostStep::Limits(Limits::default())], session, call: call_steps() }
}

/// The same plan with another recorder.
pub(crate) fn recording(mut plan: Plan, record: Record) -> Plan {
    for step in &mut plan.session {
        if let SessionStep::Recorder(present) = step {
            *present = record;
        }
    }
    plan
}

pub(crate) fn call_steps() -> Vec<CallStep> {
    vec![
        CallStep::OwnSession,
        CallStep::Rlimit { resource: Rlimit::Core, value: 0 },
        CallStep::CloseDescriptors,
        CallStep::Seccomp { sockets: Sockets::Loopback },
    ]
}

/// The wall for machines without user namespaces.
pub(crate) fn landlock_plan(workspace: &Path) -> Plan {
    let rule = |path: &Path, rights| LandlockRule { path: path.into(), rights };
    let mut call = call_steps();
    call.pop();
    call.push(CallStep::Seccomp { sockets: Sockets::PairsOnly });
    Plan {
        wall: Wall::Landlock,
        host: vec![HostStep::Limits(Limits::default())],
        session: vec![
            SessionStep::Keyring,
            SessionStep::NoNewPrivs,
            SessionStep::Recorder(Record::Changes),
            SessionStep::DropCapabilities,
            SessionStep::Landlock {
                rules: vec![
                    rule(Path::new("/usr"), PathRights::ReadExec),
                    rule(Path::new("/etc"), PathRights::Read),
                    rule(Path::new("/proc"), PathRights::Read),
                    rule(Path::new("/dev"), PathRights::ReadWriteExisting),
                    rule(workspace, PathRights::ReadWriteExec),
                ],
                tcp: Tcp::Refused,
            },
        ],
        call,
    }
}

pub(crate) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

pub(crate) fn guest() -> (u32, u32) {
    if is_root() { (1000, 1000) } else { (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw()) }
}

pub(crate) fn options() -> Options {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    Options { name: format!("jail-test-{}-{number}", std::process::id()), start_limit: Duration::from_secs(30) }
}

#[track_caller]
pub(crate) fn start(plan: &Plan) -> Sandbox {
    match Sandbox::start(plan, &options()) {
        Ok(sandbox) => sandbox,
        Err(error) => panic!("{error}; {error:?}"),
    }
}

pub(crate) fn c(text: impl AsRef<std::ffi::OsStr>) -> CString {
    CString::new(text.as_ref().as_bytes()).expect("no NUL in a test's text")
}

pub(crate) fn command(argv: &[&str]) -> Command {
    Command {
        argv: argv.iter().map(c).collect(),
        env: vec![(c("PATH"), c("/usr/local/bin:/usr/bin:/bin")), (c("LC_ALL"), c("C"))],
        cwd: "/".into(),
    }
}

/// What a call wrote and how it ended.
#[derive(Debug)]
pub(crate) struct Output {
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: Vec<u8>,
    pub(crate) ended: Ended,
}

impl Output {
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }
}

pub(crate) fn collect(mut running: Running) -> Result<Output, JailError> {
    drop(running.take_stdin());
    let read = |fd: Option<std::os::fd::OwnedFd>| {
        std::thread::spawn(move || {
            let mut bytes = Vec::new();
            fd.map(|fd| File::from(fd).read_to_end(&mut bytes).expect("a pipe reads"));
            bytes
        })
    };
    let (stdout, stderr) = (read(running.take_stdout()), read(running.take_stderr()));
    let ended = running.wait()?;
    let join = |thread: std::thread::JoinHandle<Vec<u8>>| thread.join().expect("a reader does not panic");
    Ok(Output { stdout: join(stdout), stderr: join(stderr), ended })
}

pub(crate) fn try_run(sandbox: &Sandbox, argv: &[&str]) -> Result<Output, JailError> {
    collect(sandbox.spawn(&command(argv), Stdio::Pipes)?)
}

#[track_caller]
pub(crate) fn run(sandbox: &Sandbox, argv: &[&str]) -> Output {
    match try_run(sandbox, argv) {
        Ok(output) => output,
        Err(error) => panic!("{argv:?}: {error}; {error:?}"),
    }
}

/// Runs a shell line that must succeed; what it wrote.
#[track_caller]
pub(crate) fn sh(sandbox: &Sandbox, line: &str) -> String {
    let output = run(sandbox, &["sh", "-c", line]);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.ended.status, Status::Exited(0), "{line}: {}{stderr}", output.text());
    output.text()
}

/// Runs every test of this binary again as a user without any privilege. Called by one test of each binary.
#[expect(clippy::disallowed_methods, reason = "a test that runs itself as somebody else")]
#[expect(clippy::print_stderr, reason = "what was not tested must be seen")]
pub(crate) fn again_as_ordinary_user(this_test: &str) {
    if !is_root() {
        return;
    }
    let scratch = Scratch::new();
    let copy = scratch.path().join("again");
    std::fs::copy(std::env::current_exe().expect("a running test has a file"), &copy).expect("room in /tmp");
    std::fs::set_permissions(&copy, std::fs::Permissions::from_mode(0o755)).expect("our own file");
    let output = std::process::Command::new("setpriv")
        .args(["--reuid=54321", "--regid=54321", "--clear-groups", "--"])
        .arg(&copy)
        .args(["--skip", this_test])
        // Without it the harness asks NSS, which a static binary cannot.
        .env("HOME", "/")
        .output();
    match output {
        Ok(output) => assert!(
            output.status.success(),
            "as an ordinary user: {}\n{}{}",
            output.status,
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        ),
        Err(error) => eprintln!("SKIPPED: the tests as an ordinary user need setpriv: {error}"),
    }
}

/// A program of Python that takes on a list which answers a call so and allows all else, with a listener, and then does
/// this.
pub(crate) fn listening(number: libc::c_long, answer: &str, then: &str) -> String {
    let seccomp = libc::SYS_seccomp;
    format!(
        "import ctypes, os, sys\nc = ctypes.CDLL(None, use_errno=True)\n\
         class F(ctypes.Structure): _fields_ = [('c', ctypes.c_ushort), ('t', ctypes.c_ubyte), ('f', ctypes.c_ubyte), ('k', ctypes.c_uint)]\n\
         class P(ctypes.Structure): _fields_ = [('n', ctypes.c_ushort), ('p', ctypes.POINTER(F))]\n\
         f = (F * 4)(F(0x20, 0, 0, 0), F(0x15, 0, 1, {number}), F(6, 0, 0, {answer}), F(6, 0, 0, 0x7fff0000))\n\
         c.prctl(38, 1, 0, 0, 0)\n\
         fd = c.syscall({seccomp}, 1, 8, ctypes.byref(P(4, f)))\n{then}\n"
    )
}

/// Runs tests of this binary again in a process that somebody listens to already: the kernel gives no listener there, and
/// its recorders trace.
pub(crate) fn again_below_a_listener(arguments: &[&str]) {
    below_a_listener(libc::SYS_listen, "0x7fff0000", arguments);
}

/// The same where a call is answered so.
#[expect(clippy::disallowed_methods, reason = "a test that runs itself below a listener")]
pub(crate) fn below_a_listener(number: libc::c_long, answer: &str, arguments: &[&str]) {
    let exec = "assert fd > 0\nos.set_inheritable(fd, True)\nos.execv(sys.argv[1], sys.argv[1:])";
    let output = std::process::Command::new("python3")
        .args(["-c", &listening(number, answer, exec)])
        .arg(std::env::current_exe().expect("a running test has a file"))
        .args(arguments)
        .output()
        .expect("python3 runs");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    assert!(!text.contains(" 0 passed"), "nothing was tried: {text}");
}
