//! A session to read: a build, a download with a secret, a refused upload, a tool, attacks in every name; written with the log's
//! own writer, in a state directory of its own, with the workspace and layer that it would have left.
//! It never writes a leaf by hand.

use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;
use stockade_audit::disclose::Disclosed;
use stockade_audit::merkle::sha256;
use stockade_audit::record::*;
use stockade_audit::{Ledger, Machine, SessionLog};
use stockade_tests::binaries::stockade;
use stockade_tests::people::Person;
use stockade_tests::process::{Ended, Program};

/// What an attacker would put into a name: markup, a handler, quotes, an escape sequence, a line break, text that runs
/// backwards, invisible characters, and bytes that are no text.
pub(crate) const HOSTILE: &[u8] = b"<script>document.title='owned'</script><img src=x onerror=document.title='owned'>\
    '\"`&amp;-->\x1b]0;owned\x07\x1b[31m\r\nforged line\xe2\x80\xae gnp.exe\xe2\x80\x8b\xc2\x9b2J\xff";

/// The same as text, for members that are strings.
pub(crate) fn hostile() -> String {
    String::from_utf8_lossy(HOSTILE).replace('\u{fffd}', "?")
}

/// A state directory with one session; it goes away with the value.
pub(crate) struct State {
    pub(crate) root: PathBuf,
    pub(crate) sid: SessionId,
    log: Option<SessionLog>,
}

/// How the session ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    Closed,
    Running,
    Interrupted,
}

impl Drop for State {
    fn drop(&mut self) {
        self.log = None;
        drop(fs::remove_dir_all(&self.root));
    }
}

impl State {
    /// A session of a few calls.
    pub(crate) fn new(end: End) -> Self {
        Self::with(end, &|log| {
            build(log);
            download(log);
            refused(log);
            edited(log);
        })
    }

    /// The same session, inside a container.
    pub(crate) fn contained(end: End) -> Self {
        Self::behind(&contained, end, &|log| {
            build(log);
            download(log);
            refused(log);
            edited(log);
        })
    }

    /// A session whose records are the caller's.
    pub(crate) fn with(end: End, fill: &dyn Fn(&SessionLog)) -> Self {
        Self::behind(&opening, end, fill)
    }

    fn behind(opening: &dyn Fn(&SessionId) -> SessionOpen, end: End, fill: &dyn Fn(&SessionLog)) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("reading-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let root = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        for directory in ["", "state", "state/s", "state/w"] {
            fs::DirBuilder::new().mode(0o700).create(root.join(directory)).expect("the build's directory is writable");
        }
        let root = root.canonicalize().expect("just made");
        let state = root.join("state");
        let sid = SessionId::new(1_763_712_012_000_000_000, [7; 10]);
        let ledger =
            Ledger::open(Machine::system(), &state.join("ledger"), &state.join("keys"), "ada.host/agent-ledger");
        let ledger = Arc::new(ledger.expect("a ledger"));
        let log = SessionLog::create(&state.join("s").join(sid.as_str()), ledger, opening(&sid)).expect("a session");
        fill(&log);
        let log = match end {
            End::Closed => {
                log.close(Cause::Exit, 0).expect("closed");
                None
            }
            End::Running => {
                log.barrier().expect("on disk");
                Some(log)
            }
            End::Interrupted => {
                log.barrier().expect("on disk");
                drop(log);
                None
            }
        };
        Self { root, sid, log }
    }

    /// Runs `stockade` with this state.
    #[track_caller]
    pub(crate) fn stockade(&self, words: &[&str]) -> Ended {
        let binary = stockade().expect("the binary is built");
        let argv = std::iter::once(binary.into_os_string()).chain(words.iter().map(OsString::from)).collect();
        self.run(argv, Duration::from_secs(120))
    }

    /// Runs it, and it must succeed; what it printed.
    #[track_caller]
    pub(crate) fn answer(&self, words: &[&str]) -> String {
        let ended = self.stockade(words);
        assert_eq!(ended.code(), 0, "{words:?}: {}", ended.told());
        ended.out()
    }

    #[track_caller]
    pub(crate) fn run(&self, argv: Vec<OsString>, limit: Duration) -> Ended {
        let environment = [
            ("STOCKADE_STATE", self.root.join("state").into_os_string()),
            ("HOME", self.root.clone().into_os_string()),
            ("PATH", OsString::from("/usr/local/bin:/usr/bin:/bin")),
        ];
        let environment = environment.map(|(name, value)| (OsString::from(name), value)).to_vec();
        let directory = self.root.clone();
        let program = Program { argv, directory, environment, person: Person::myself(), input: Vec::new(), limit };
        program.run().expect("it starts")
    }
}

fn opening(sid: &SessionId) -> SessionOpen {
    let layer = |name: &str, state, why: &str| Layer { name: name.into(), state, why: why.into() };
    SessionOpen {
        sid: sid.clone(),
        tool: "stockade 0.1.0".into(),
        kernel: "6.18.0".into(),
        wall: "process".into(),
        grade: "full".into(),
        layers: vec![
            layer("namespaces", LayerState::Active, ""),
            layer("landlock", LayerState::Active, ""),
            layer("seccomp", LayerState::Active, ""),
            layer("recorder", LayerState::Active, ""),
            layer("cgroup", LayerState::Degraded, "memory is watched, not limited"),
        ],
        profile: "rust-dev".into(),
        profile_h: Digest([0x1a; 32]),
        plan_h: Digest([0x2b; 32]),
        filter_h: Some(Digest([0x3c; 32])),
        mode: Mode::Review,
        durability: Durability::Group,
        recorder: Some(Recorder {
            grade: RecorderGrade::NotifyAddfd,
            scope: RecorderScope::Changes,
            why: String::new(),
        }),
        container: None,
        from: None,
    }
}

fn contained(sid: &SessionId) -> SessionOpen {
    let container = Container {
        engine: "docker".into(),
        engine_v: "28.2.2".into(),
        api: "1.50".into(),
        rights: EngineRights::Rootless,
        runtime: "runsc".into(),
        id: ContainerId(Digest([0x4d; 32])),
        image: "ghcr.io:443/acme/build:1.2".into(),
        image_id: Digest([0x5e; 32]),
        repo_digest: Some(format!("ghcr.io:443/acme/build@sha256:{}", Digest([0x6f; 32]))),
        uid: 1000,
        gid: 100,
        spec_h: Digest([0x70; 32]),
    };
    SessionOpen { wall: "container".into(), container: Some(container), ..opening(sid) }
}

/// Writes the records of one call.
pub(crate) struct Scribe<'a> {
    log: &'a SessionLog,
    call: CallId,
}

impl<'a> Scribe<'a> {
    pub(crate) fn new(log: &'a SessionLog, call: &str, argv: &[&[u8]]) -> Self {
        let scribe = Self { log, call: CallId::new(call).expect("plain") };
        let claimed = Record::new(Call { tool: "exec".into(), via: "cli".into(), input: None });
        scribe.record(claimed.disclosing(Disclosed::argv(argv)).disclosing(Disclosed::cwd("/home/ada/project")));
        scribe
    }

    /// The same for a tool, with its arguments.
    pub(crate) fn of_tool(log: &'a SessionLog, call: &str, tool: &str, args: &str) -> Self {
        let scribe = Self { log, call: CallId::new(call).expect("plain") };
        let claimed = Record::new(Call { tool: tool.into(), via: "mcp".into(), input: None });
        scribe.record(claimed.disclosing(Disclosed::bytes("args", args)));
        scribe
    }

    pub(crate) fn record(&self, record: Record) {
        // So that bars and times are not all the same.
        std::thread::sleep(Duration::from_millis(2));
        self.log.append(record.of_call(&self.call)).expect("appended");
    }

    pub(crate) fn add(&self, body: impl Into<Body>) {
        self.record(Record::new(body));
    }

    pub(crate) fn permit(&self, rule: &str) {
        self.add(Permit { rules: vec![rule.into()] });
    }

    pub(crate) fn start(&self, p: u64, pp: Option<u64>, exe: &[u8], argv: &[&[u8]]) {
        self.add(ProcStart { p, pp, pid: u32::try_from(p).expect("small") + 100 });
        let h = Some(Digest(sha256(exe)));
        let exec = ProcExec { p, exe: Some(LogPath(exe.to_vec())), h, asked: None, cut: None };
        self.record(Record::new(exec).disclosing(Disclosed::argv(argv)));
    }

    pub(crate) fn open(&self, p: u64, path: &[u8], fl: &str) {
        self.add(FsOpen {
            path_h: None,
            p,
            path: LogPath(path.to_vec()),
            fl: fl.into(),
            mode: Some(0o644),
            errno: Some(0),
            ino: Some([66, 4711]),
            was: None,
            cut: None,
            times: None,
        });
    }

    pub(crate) fn change(&self, p: u64, op: FsOp, path: &[u8], to: Option<&[u8]>) {
        let to = to.map(|to| LogPath(to.to_vec()));
        self.add(FsChange {
            path_h: None,
            to_h: None,
            p,
            op,
            path: LogPath(path.to_vec()),
            to,
            value: None,
            cut: None,
            times: None,
        });
    }

    pub(crate) fn exit(&self, p: u64, pp: Option<u64>, cause: Cause, status: i32) {
        let pid = u32::try_from(p).expect("small") + 100;
        self.add(ProcExit {
            p,
            pp,
            pid,
            exe: None,
            failed: None,
            cause,
            status,
            cpu_us: Some(1200 * p),
            rss_kib: Some(2048 * p),
        });
    }

    pub(crate) fn outcome(
        &self,
        path: &[u8],
        op: Change,
        before: Option<&[u8]>,
        after: Option<&[u8]>,
        mark: Option<Mark>,
    ) {
        let lines = Some(Lines { add: 2, del: 1 });
        let (b, a) = (before.map(file), after.map(file));
        self.add(FsOutcome { path_h: None, path: LogPath(path.to_vec()), op, b, a, lines, ino: None, mark });
    }

    pub(crate) fn end(&self, p: Option<u64>, status: i32, out: &[u8]) {
        self.end_by(p, Cause::Exit, status, out);
    }

    pub(crate) fn end_by(&self, p: Option<u64>, cause: Cause, status: i32, out: &[u8]) {
        let blob = (!out.is_empty()).then(|| self.log.put_blob(out).expect("a blob"));
        let out = Some(Stream { z: out.len() as u64, cut: 0, blob });
        let wall_us = 230_000;
        self.add(Outcome { cause, status, wall_us, cpu_us: 120_000, p, t: None, out, err: None });
    }
}

/// A file with this content.
fn file(content: &[u8]) -> FileState {
    FileState {
        to_h: None,
        ty: FileType::File,
        mode: 0o644,
        z: Some(content.len() as u64),
        h: Some(Digest(sha256(content))),
        g: None,
        to: None,
    }
}

fn build(log: &SessionLog) {
    let call = Scribe::new(log, "tc_1", &[b"make", b"-j2", b"all"]);
    call.permit("exec./usr@base.toml:341");
    call.start(1, None, b"/usr/bin/make", &[b"make", b"-j2", b"all"]);
    call.start(2, Some(1), b"/usr/bin/cc", &[b"cc", b"-c", b"src/main.c"]);
    call.open(2, b"out/main.o", "W|CREAT|TRUNC");
    call.start(3, Some(1), b"/usr/bin/cc", &[b"cc", b"-c", HOSTILE]);
    call.open(3, &[b"out/", HOSTILE].concat(), "W|CREAT|TRUNC");
    call.exit(2, Some(1), Cause::Exit, 0);
    call.add(ProcCall { p: 3, call: "ptrace".into(), args: vec![16, 1, 0], errno: Some(1), times: Some(3) });
    call.exit(3, Some(1), Cause::Signal, 11);
    call.start(4, Some(1), b"/bin/sh", &[b"sh", b"-c", b"sed -i s/a/b/ src/main.c"]);
    call.start(5, Some(4), b"/usr/bin/sed", &[b"sed", b"-i", b"s/a/b/", b"src/main.c"]);
    call.open(5, b"src/sedXYZ", "RW|CREAT|EXCL");
    call.change(5, FsOp::Rename, b"src/sedXYZ", Some(b"src/main.c"));
    call.exit(5, Some(4), Cause::Exit, 0);
    call.exit(4, Some(1), Cause::Exit, 0);
    call.exit(1, None, Cause::Exit, 2);
    call.outcome(b"out/main.o", Change::Created, None, Some(b"\x7fELF"), None);
    call.outcome(&[b"out/", HOSTILE].concat(), Change::Created, None, Some(b"x"), None);
    call.outcome(b"src/main.c", Change::Modified, Some(b"int a;\n"), Some(b"int b;\n"), None);
    call.outcome(
        b".github/workflows/ci.yml",
        Change::Modified,
        Some(b"on: push\n"),
        Some(b"on: pull_request\n"),
        Some(Mark::Held),
    );
    call.end(Some(1), 2, b"cc -c src/main.c\nmake: *** [all] Error 139\n<script>document.title='owned'</script>\n");
}

fn download(log: &SessionLog) {
    let call = Scribe::new(log, "tc_2", &[b"curl", b"-fsS", b"https://api.example.com/v1/items"]);
    call.permit("exec./usr@base.toml:341");
    call.start(6, None, b"/usr/bin/curl", &[b"curl", b"-fsS", b"https://api.example.com/v1/items"]);
    call.add(NetName { name: "api.example.com".into(), ty: "A".into(), addr: Some("198.18.0.7".into()) });
    call.add(NetAsk { p: 6, op: SocketOp::Connect, addr: "198.18.0.7:443".into(), times: None });
    let (host, rule) = ("api.example.com", "net.api.example.com@web.toml:7");
    call.add(NetOpen {
        c: 1,
        host: host.into(),
        port: 443,
        via: Via::Direct,
        addr: Some("198.18.0.7:443".into()),
        rules: Vec::new(),
    });
    let path = "/v1/items".to_owned();
    call.add(NetRequest {
        r: 1,
        c: 1,
        method: "GET".into(),
        host: host.into(),
        port: 443,
        path,
        query_h: None,
        rules: vec![rule.into()],
    });
    let place = "header authorization".to_owned();
    call.add(SecretUse {
        r: 1,
        name: "example".into(),
        v: 3,
        host: host.into(),
        place,
        rule: "secret.example@web.toml:15".into(),
    });
    call.add(SecretScrub { r: Some(1), name: "example".into(), form: "base64".into(), count: 1, place: "body".into() });
    let addr = Some("93.184.216.34:443".to_owned());
    call.add(NetReply {
        r: 1,
        status: Some(200),
        addr: addr.clone(),
        up: 0,
        down: 4711,
        first_us: 41_000,
        us: 52_000,
        why: "done".into(),
    });
    call.add(NetClose { c: 1, up: 640, down: 5200, us: 61_000, addr, why: "done".into() });
    let evil = hostile();
    call.add(NetRefuse {
        c: Some(2),
        host: evil.clone(),
        port: Some(443),
        method: Some("POST".into()),
        path: Some(evil.clone()),
        rule: "not granted".into(),
        reason: evil.clone(),
    });
    call.add(SecretCanary {
        c: Some(2),
        name: Some("example".into()),
        host: "evil.example".into(),
        place: "body".into(),
    });
    call.open(6, b"items.json", "W|CREAT|TRUNC");
    call.exit(6, None, Cause::Exit, 0);
    call.outcome(b"items.json", Change::Created, None, Some(b"[]\n"), None);
    call.end(Some(6), 0, b"");
}

fn refused(log: &SessionLog) {
    let call = Scribe::new(log, "tc_3", &[b"git", b"push", b"origin", b"main"]);
    call.add(Deny { rule: "ask.exec@git.toml:61".into(), reason: "a push cannot be taken back".into() });
    let call = Scribe::new(log, "tc_4", &[b"python3", b"fork.py"]);
    call.permit("exec./usr@base.toml:341");
    call.start(7, None, b"/usr/bin/python3.11", &[b"python3", b"fork.py"]);
    for p in 8..20 {
        call.add(ProcStart { p, pp: Some(7), pid: u32::try_from(p).expect("small") + 100 });
    }
    call.open(9, b"log.txt", "W|APPEND");
    call.add(Limit { which: "pids".into(), max: 256, seen: 257 });
    for p in 8..20 {
        call.exit(p, Some(7), Cause::Exit, 0);
    }
    call.exit(7, None, Cause::Signal, 9);
    call.end_by(Some(7), Cause::Signal, 9, b"");
}

/// A tool that looks for something, and changes what it finds.
fn edited(log: &SessionLog) {
    let call = Scribe::of_tool(log, "tc_5", "edit", r#"{"path":"notes.md","old":"a","new":"b"}"#);
    call.permit("tool.edit@base.toml:12");
    let h = Digest([0x5e; 32]);
    call.add(ToolStart { t: 1, tool: "edit".into(), h, files: ToolFiles::Write, net: ToolNet::Requests });
    let used = |op, path: &[u8]| ToolUse { path: Some(LogPath(path.to_vec())), ..ToolUse::new(1, op) };
    let evil = [b"docs/", HOSTILE].concat();
    call.add(ToolUse { fl: Some("W|CREAT|EXCL".into()), was: Some(Was::Absent), ..used(ToolOp::Open, b"notes.tmp") });
    call.add(ToolUse { to: Some("notes.md".into()), ..used(ToolOp::Rename, b"notes.tmp") });
    call.add(used(ToolOp::Mkdir, &evil));
    call.add(ToolUse { host: Some(hostile()), port: Some(443), ..ToolUse::new(1, ToolOp::Request) });
    call.add(NetRefuse {
        c: None,
        host: hostile(),
        port: Some(443),
        method: Some("GET".into()),
        path: None,
        rule: "not granted".into(),
        reason: "no rule grants it".into(),
    });
    call.add(ToolUse { fl: Some("W".into()), errno: Some(13), ..used(ToolOp::Open, b"/etc/passwd") });
    call.add(ToolUse { below: Some(10_000), r: Some(5 << 20), ..used(ToolOp::Read, b"docs") });
    call.add(ToolUse { w: Some(9), ..used(ToolOp::Write, b"notes.tmp") });
    call.add(ToolUse { times: Some(3), ..ToolUse::new(1, ToolOp::Clock) });
    let end = ToolEnd {
        t: 1,
        cause: Cause::Exit,
        status: 1,
        why: None,
        wall_us: 900,
        cpu_us: 800,
        mem_bytes: 1 << 20,
        uses: 10_009,
    };
    call.add(ToolEnd { why: Some(hostile()), ..end });
    call.outcome(b"notes.md", Change::Modified, Some(b"a\n"), Some(b"b\n"), None);
    call.add(FsOutcome {
        path_h: None,
        path: LogPath(evil),
        op: Change::Created,
        b: None,
        a: Some(FileState { ty: FileType::Dir, mode: 0o755, z: None, h: None, g: None, to: None, to_h: None }),
        lines: None,
        ino: None,
        mark: None,
    });
    let (cause, status) = (Cause::Exit, 1);
    call.add(Outcome { cause, status, wall_us: 1000, cpu_us: 800, p: None, t: Some(1), out: None, err: None });
}
