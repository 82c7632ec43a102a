//! The strict reader against the slow one, on every kind of record and on what becomes of it when somebody edits it.
//! It never asserts equality itself: [`Head::leaf`] does, wherever it runs with debug assertions or in a test.

use super::super::*;
use crate::record::leaf::{Place, write_leaf};

fn digest(byte: u8) -> Digest {
    Digest([byte; 32])
}

fn state(ty: FileType, path: Option<LogPath>) -> FileState {
    FileState {
        to_h: path.is_some().then_some(digest(0xef)),
        ty,
        mode: 0o7777,
        z: path.is_none().then_some(u64::MAX),
        h: Some(digest(0xab)),
        g: path.is_none().then_some(GitId([0xcd; 20])),
        to: path,
    }
}

fn sid() -> SessionId {
    SessionId::new(1_700_000_000_000_000_000, [4; 10])
}

/// Every text that has an escape, or almost one.
const TEXT: &str = "\u{0}\u{1}\u{8}\t\n\u{b}\u{c}\r\u{1f} \"\\/\u{7f}é日本😀\u{2028}";

fn blob() -> BlobRef {
    BlobRef { h: digest(1), c: digest(2), z: 0 }
}

fn changes() -> Vec<FsOutcome> {
    let strange = || LogPath(b"a/\xff\xfe".to_vec());
    let change = |path: &str, op, b, a, mark| FsOutcome {
        path_h: None,
        path: path.into(),
        op,
        b,
        a,
        lines: None,
        ino: None,
        mark,
    };
    vec![
        change("src/a.rs", Change::Created, None, Some(state(FileType::File, None)), None),
        change(
            TEXT.trim_start_matches('\0'),
            Change::Deleted,
            Some(state(FileType::Dir, None)),
            None,
            Some(Mark::Held),
        ),
        FsOutcome {
            path_h: None,
            path: strange(),
            op: Change::Retyped,
            b: Some(state(FileType::Symlink, Some(strange()))),
            a: Some(state(FileType::Fifo, Some("x".into()))),
            lines: Some(Lines { add: 0, del: u64::MAX }),
            ino: Some([0, u64::MAX]),
            mark: Some(Mark::Protected),
        },
    ]
}

fn ends() -> Vec<Body> {
    let stream = Stream { z: 5, cut: 7, blob: Some(blob()) };
    let none = Stream { cut: 0, blob: None, ..stream };
    let outcome =
        |cause, status, p, t, out, err| Outcome { cause, status, wall_us: 1, cpu_us: 0, p, t, out, err }.into();
    let exit = ProcExit {
        p: 1,
        pp: Some(0),
        pid: u32::MAX,
        exe: Some("/bin/x".into()),
        cause: Cause::Stop,
        status: -1,
        failed: Some(u64::MAX),
        cpu_us: Some(10),
        rss_kib: Some(0),
    };
    vec![
        outcome(Cause::Signal, i32::MIN, Some(3), None, Some(stream), Some(none)),
        outcome(Cause::Error, i32::MAX, None, None, None, None),
        outcome(Cause::Exit, 0, None, Some(u64::MAX), None, None),
        ProcExit { pp: None, exe: None, failed: None, cpu_us: None, rss_kib: None, ..exit.clone() }.into(),
        exit.into(),
        SessionClose { cause: Cause::Limit, status: 0, counts: [("a".into(), 1), ("b\"".into(), 0)].into(), lost: 2 }
            .into(),
        SessionClose { cause: Cause::Exit, status: 0, counts: [].into(), lost: 0 }.into(),
    ]
}

fn ledger() -> Vec<Body> {
    let (sid, text) = (sid(), || TEXT.to_owned());
    vec![
        LedgerInit { origin: text(), vkey: text() }.into(),
        LedgerOpen { sid: sid.clone(), vkey: text(), tool: text(), profile_h: digest(1), plan_h: digest(2) }.into(),
        LedgerBeat { sid: sid.clone(), size: 0, root: digest(1) }.into(),
        LedgerClose { sid: sid.clone(), size: 9, root: digest(1), cause: Cause::Exit, status: -7 }.into(),
        LedgerAfter { sid, size: 10, root: digest(3) }.into(),
    ]
}

fn forked() -> Forked {
    Forked { sid: SessionId::parse("01HF7YAT00040G2081040G2083").expect("an id"), changes: 3, changes_h: digest(4) }
}

fn container() -> Container {
    Container {
        engine: "podman".into(),
        engine_v: "5.4.2+ds1\"-2".into(),
        api: "1.41".into(),
        rights: EngineRights::Rootful,
        runtime: "io.containerd.runsc.v1".into(),
        id: ContainerId(digest(8)),
        image: "registry.example.com:5000/a/b:1.0".into(),
        image_id: digest(9),
        repo_digest: Some(format!("registry.example.com:5000/a/b@sha256:{}", digest(10))),
        uid: 1000,
        gid: u32::MAX,
        spec_h: digest(11),
    }
}

fn session() -> Vec<Body> {
    let text = || TEXT.to_owned();
    let layer = |state, why: &str| Layer { name: "landlock".into(), state, why: why.into() };
    let open = SessionOpen {
        sid: sid(),
        tool: text(),
        kernel: "6".into(),
        wall: "process".into(),
        grade: "full".into(),
        layers: vec![layer(LayerState::Active, ""), layer(LayerState::Degraded, TEXT), layer(LayerState::Absent, "x")],
        profile: String::new(),
        profile_h: digest(1),
        plan_h: digest(2),
        filter_h: Some(digest(3)),
        mode: Mode::Review,
        durability: Durability::BeforeResult,
        recorder: Some(Recorder {
            grade: RecorderGrade::NotifyAddfd,
            scope: RecorderScope::Changes,
            why: String::new(),
        }),
        container: None,
        from: None,
    };
    let weaker = |grade, scope| SessionOpen { recorder: Some(Recorder { grade, scope, why: text() }), ..open.clone() };
    let contained = |of| SessionOpen { wall: "container".into(), container: Some(of), ..open.clone() };
    vec![
        SessionOpen { layers: Vec::new(), filter_h: None, mode: Mode::Discard, recorder: None, ..open.clone() }.into(),
        contained(container()).into(),
        SessionOpen { from: Some(Box::new(forked())), ..open.clone() }.into(),
        SessionOpen { from: Some(Box::new(forked())), mode: Mode::Discard, ..contained(container()) }.into(),
        contained(Container { repo_digest: None, rights: EngineRights::Rootless, uid: 0, ..container() }).into(),
        SessionOpen { recorder: None, filter_h: None, ..contained(container()) }.into(),
        weaker(RecorderGrade::OutcomeOnly, RecorderScope::Off).into(),
        weaker(RecorderGrade::Trace, RecorderScope::Changes).into(),
        weaker(RecorderGrade::Notify, RecorderScope::AllOpens).into(),
        open.into(),
        Call { tool: "exec".into(), via: "cli".into(), input: Some(blob()) }.into(),
        Call { tool: "exec".into(), via: "cli".into(), input: None }.into(),
        Permit { rules: vec![] }.into(),
        Permit { rules: vec!["a".into(), text()] }.into(),
        Deny { rule: "a".into(), reason: text() }.into(),
        Limit { which: "pids".into(), max: 10, seen: 11 }.into(),
        Heartbeat { running: 1, lost: 0 }.into(),
        Gap { lost: 1, why: text() }.into(),
        Redact { leaf: 1, field: "argv".into(), reason: text(), by: "ops".into() }.into(),
        Recovery { size: 1, root: digest(1), kept: 1, dropped: 1, tail_h: Some(digest(4)) }.into(),
        Recovery { size: 1, root: digest(1), kept: 1, dropped: 0, tail_h: None }.into(),
    ]
}

fn outlet() -> Vec<Body> {
    let text = || TEXT.to_owned();
    let (some, none) = (|| Some(text()), || None::<String>);
    let open =
        NetOpen { c: 1, host: text(), port: u16::MAX, via: Via::Direct, addr: some(), rules: vec!["a".into(), text()] };
    let request = NetRequest {
        r: u64::MAX,
        c: 1,
        method: "GET".into(),
        host: text(),
        port: 0,
        path: text(),
        query_h: Some(digest(1)),
        rules: vec![text()],
    };
    let close = NetClose { c: 1, up: 0, down: 9, us: 1, addr: some(), why: text() };
    let reply =
        NetReply { r: 1, status: Some(200), addr: some(), up: 0, down: 1, first_us: 2, us: 3, why: "done".into() };
    let (host, port) = (text(), Some(443));
    let refuse = NetRefuse { c: Some(1), host, port, method: some(), path: some(), rule: text(), reason: text() };
    let canary = SecretCanary { c: Some(1), name: some(), host: text(), place: text() };
    let scrub = SecretScrub { r: Some(1), name: text(), form: "raw".into(), count: 2, place: "body".into() };
    vec![
        NetName { name: text(), ty: "A".into(), addr: some() }.into(),
        NetName { name: String::new(), ty: "TYPE65".into(), addr: none() }.into(),
        NetOpen { via: Via::Http, ..open.clone() }.into(),
        NetOpen { via: Via::Socks, ..open.clone() }.into(),
        NetOpen { via: Via::Wasi, addr: none(), ..open.clone() }.into(),
        NetOpen { via: Via::WasiTcp, addr: none(), ..open.clone() }.into(),
        NetOpen { via: Via::Exchange, addr: none(), ..open.clone() }.into(),
        NetOpen { via: Via::Port, rules: Vec::new(), ..open.clone() }.into(),
        open.into(),
        NetClose { addr: none(), ..close.clone() }.into(),
        close.into(),
        NetRequest { query_h: None, rules: Vec::new(), ..request.clone() }.into(),
        request.into(),
        NetReply { status: None, addr: none(), ..reply.clone() }.into(),
        reply.into(),
        NetRefuse { c: None, port: None, method: none(), path: none(), ..refuse.clone() }.into(),
        refuse.into(),
        SecretUse { r: 1, name: text(), v: 1 << 32, host: text(), place: text(), rule: text() }.into(),
        SecretRotate { name: text(), was: 1, v: 2, kept: Kept::Store, why: None }.into(),
        SecretRotate { name: text(), was: 1, v: 1 << 32, kept: Kept::Session, why: some() }.into(),
        SecretRotate { name: text(), was: 7, v: 9, kept: Kept::Source, why: None }.into(),
        SecretCanary { c: None, name: none(), ..canary.clone() }.into(),
        canary.into(),
        SecretScrub { r: None, ..scrub.clone() }.into(),
        scrub.into(),
    ]
}

fn recorded() -> Vec<Body> {
    let strange = || LogPath(b"a/\xff\xfe".to_vec());
    let exec = ProcExec { p: 1, exe: Some("/bin/sh".into()), h: Some(digest(1)), asked: Some(strange()), cut: Some(4) };
    let call = ProcCall { p: 1, call: "ptrace".into(), args: vec![0, u64::MAX, 2], errno: Some(1), times: Some(2) };
    let open = FsOpen {
        path_h: Some(digest(3)),
        p: 1,
        path: strange(),
        fl: "RW|APPEND|CREAT|EXCL|TRUNC|TMPFILE|NOFOLLOW".into(),
        mode: Some(0o7777),
        errno: Some(0),
        ino: Some([0, u64::MAX]),
        was: Some(Was::Absent),
        cut: Some(1),
        times: Some(u64::MAX),
    };
    let change = FsChange {
        path_h: Some(digest(3)),
        to_h: Some(digest(4)),
        p: 1,
        op: FsOp::Rename,
        path: "a".into(),
        to: Some(strange()),
        value: Some(0),
        cut: Some(2),
        times: Some(2),
    };
    let bare = FsChange { path_h: None, to: None, to_h: None, value: None, cut: None, times: None, ..change.clone() };
    let op = |op| FsChange { op, ..bare.clone() }.into();
    let ask = |op, addr: &str, times| NetAsk { p: 1, op, addr: addr.into(), times }.into();
    let mut bodies = vec![
        ProcStart { p: 1, pp: None, pid: 0 }.into(),
        ProcStart { p: 2, pp: Some(1), pid: u32::MAX }.into(),
        ProcExec { exe: None, h: None, asked: None, cut: None, ..exec.clone() }.into(),
        exec.into(),
        ProcCall { args: vec![], errno: None, times: None, ..call.clone() }.into(),
        call.into(),
        FsOpen {
            path_h: None,
            mode: None,
            errno: None,
            ino: None,
            was: None,
            cut: None,
            times: None,
            fl: "R".into(),
            ..open.clone()
        }
        .into(),
        FsOpen { fl: "W|TRUNC".into(), ..open.clone() }.into(),
        open.into(),
        change.into(),
        ask(SocketOp::Connect, "[::1]:443", None),
        ask(SocketOp::Bind, TEXT, Some(2)),
        ask(SocketOp::Listen, "unknown", None),
        ask(SocketOp::Send, "family:16", None),
    ];
    let ops = [FsOp::Unlink, FsOp::Rmdir, FsOp::Exchange, FsOp::Link, FsOp::Symlink, FsOp::Mkdir, FsOp::Mknod];
    bodies.extend(ops.map(op));
    let ops = [FsOp::Chmod, FsOp::Chown, FsOp::Utimes, FsOp::Truncate, FsOp::Setxattr, FsOp::Removexattr];
    bodies.extend(ops.map(op));
    bodies
}

/// A use with what its operation must have.
fn used(op: ToolOp) -> ToolUse {
    let named = !matches!(op.of(), ToolUseOf::Net | ToolUseOf::Aside | ToolUseOf::Other);
    let other = matches!(op, ToolOp::Rename | ToolOp::Link | ToolOp::Symlink);
    let asked = op.of() == ToolUseOf::Net || op == ToolOp::Moved;
    ToolUse {
        path: named.then(|| "a/b".into()),
        to: other.then(|| LogPath(b"a/\xff".to_vec())),
        host: (asked || op == ToolOp::Lookup).then(|| TEXT.to_owned()),
        port: asked.then_some(u16::MAX),
        fl: (op == ToolOp::Open).then(|| "RW|CREAT|EXCL".to_owned()),
        value: matches!(op, ToolOp::Chmod | ToolOp::Truncate).then_some(0),
        ..ToolUse::new(7, op)
    }
}

fn tools() -> Vec<Body> {
    let start = |files, net| ToolStart { t: 0, tool: TEXT.to_owned(), h: digest(5), files, net }.into();
    let end = ToolEnd {
        t: u64::MAX,
        cause: Cause::Error,
        status: 0,
        why: Some(TEXT.to_owned()),
        wall_us: 1,
        cpu_us: 2,
        mem_bytes: 3,
        uses: 0,
    };
    let mut bodies = vec![
        start(ToolFiles::None, ToolNet::None),
        start(ToolFiles::Read, ToolNet::Requests),
        start(ToolFiles::Write, ToolNet::Sockets),
        start(ToolFiles::Write, ToolNet::Both),
        ToolEnd { why: None, cause: Cause::Exit, ..end.clone() }.into(),
        end.into(),
        ToolUse {
            path_h: Some(digest(1)),
            ino: Some([0, u64::MAX]),
            was: Some(Was::Absent),
            times: Some(2),
            ..used(ToolOp::Open)
        }
        .into(),
        ToolUse { to_h: Some(digest(1)), times: Some(u64::MAX), ..used(ToolOp::Rename) }.into(),
        ToolUse { r: Some(9), below: Some(1), ..used(ToolOp::Read) }.into(),
        ToolUse { r: Some(0), w: Some(u64::MAX), below: Some(7), ..used(ToolOp::Write) }.into(),
        ToolUse { w: Some(0), times: Some(7), ..used(ToolOp::Write) }.into(),
        ToolUse { errno: Some(13), below: Some(9), fl: None, ..used(ToolOp::Open) }.into(),
        ToolUse { errno: Some(13), fl: Some("R|CREAT".to_owned()), ..used(ToolOp::Open) }.into(),
        ToolUse { r: Some(9), times: Some(9), ..used(ToolOp::Random) }.into(),
        ToolUse { r: Some(9), w: Some(0), times: Some(2), ..used(ToolOp::Moved) }.into(),
        ToolUse { errno: Some(24), ..ToolUse::new(7, ToolOp::Connect) }.into(),
        ToolUse { errno: Some(i32::MAX), ..used(ToolOp::Request) }.into(),
        ToolUse { errno: Some(22), ..ToolUse::new(7, ToolOp::Request) }.into(),
        ToolUse { errno: Some(2), to: None, ..used(ToolOp::Symlink) }.into(),
    ];
    bodies.extend(ToolOp::ALL.map(|op| used(op).into()));
    bodies
}

#[track_caller]
fn is_not_written(body: impl Into<Record> + std::fmt::Debug + Clone) {
    let mut leaf = Vec::new();
    let place = Place { n: 0, wall_ns: 0, mono_ns: 0, ago_ns: 0 };
    assert!(write_leaf(&mut leaf, &body.clone().into(), place, &[]).is_err(), "{body:?}");
}

#[test]
fn a_session_goes_on_from_another_one_in_a_layer() {
    let open = session().into_iter().find_map(|body| {
        let Body::SessionOpen(open) = body else { return None };
        open.from.is_some().then_some(open)
    });
    let open = open.expect("one of them goes on from another");
    is_not_written(SessionOpen { mode: Mode::Direct, ..open.clone() });
    is_not_written(SessionOpen { from: Some(Box::new(Forked { sid: open.sid.clone(), ..forked() })), ..open.clone() });
}

#[test]
fn a_container_is_behind_its_own_wall_and_says_what_it_is() {
    let open = session().into_iter().find_map(|body| {
        let Body::SessionOpen(open) = body else { return None };
        open.container.is_some().then_some(open)
    });
    let open = open.expect("one of them is in a container");
    is_not_written(SessionOpen { container: None, ..open.clone() });
    for wall in ["process", "wasm", "Container", ""] {
        is_not_written(SessionOpen { wall: wall.into(), ..open.clone() });
    }
    let long = |bytes: usize| "a".repeat(bytes);
    let digits = digest(1).to_string();
    for wrong in [
        Container { engine: String::new(), ..container() },
        Container { engine: "docker engine".into(), ..container() },
        Container { engine_v: long(129), ..container() },
        Container { api: "1.50\n".into(), ..container() },
        Container { runtime: "r\u{fc}nc".into(), ..container() },
        Container { runtime: String::new(), ..container() },
        Container { image: String::new(), ..container() },
        Container { image: long(513), ..container() },
        Container { image: "a\u{202e}b".into(), ..container() },
        Container { repo_digest: Some(String::new()), ..container() },
        Container { repo_digest: Some("a:latest".into()), ..container() },
        Container { repo_digest: Some(format!("sha256:{digits}")), ..container() },
        Container { repo_digest: Some(format!("@sha256:{digits}")), ..container() },
        Container { repo_digest: Some(format!("a@b@sha256:{digits}")), ..container() },
        Container { repo_digest: Some(format!("a@sha256:{}", digits.to_uppercase().replace('0', "A"))), ..container() },
        Container { repo_digest: Some(format!("a@sha256:{digits}0")), ..container() },
        Container { repo_digest: Some(format!("{}@sha256:{digits}", long(512))), ..container() },
    ] {
        is_not_written(SessionOpen { container: Some(wrong), ..open.clone() });
    }
}

#[test]
fn an_image_has_the_name_and_tag_that_it_was_asked_by() {
    let digits = digest(1).to_string();
    for (image, name, tag) in [
        ("debian", Some("debian"), None),
        ("debian:13", Some("debian"), Some("13")),
        ("host:5000/a", Some("host:5000/a"), None),
        ("[::1]:5000/a:b", Some("[::1]:5000/a"), Some("b")),
        (&format!("host:5000/a:b@sha256:{digits}"), Some("host:5000/a"), Some("b")),
        (&format!("a@sha256:{digits}"), Some("a"), None),
        (&format!("sha256:{digits}"), None, None),
    ] {
        let container = Container { image: image.into(), ..container() };
        assert_eq!(container.image_name(), (name, tag), "{image}");
    }
}

#[test]
fn a_use_has_what_its_operation_has() {
    let read = || used(ToolOp::Read);
    let open = || used(ToolOp::Open);
    for wrong in [
        ToolUse { path: None, ..read() },
        ToolUse { fl: Some("R".to_owned()), ..read() },
        ToolUse { w: Some(1), ..read() },
        ToolUse { host: Some("a".to_owned()), ..read() },
        ToolUse { errno: Some(0), ..read() },
        ToolUse { errno: Some(2), r: Some(1), ..read() },
        ToolUse { below: Some(0), ..read() },
        ToolUse { below: Some(2), times: Some(2), ..read() },
        ToolUse { times: Some(1), ..read() },
        ToolUse { path: None, path_h: Some(digest(1)), ..used(ToolOp::Clock) },
        ToolUse { to_h: Some(digest(1)), ..read() },
        ToolUse { w: Some(1), ..open() },
        ToolUse { fl: None, ..open() },
        ToolUse { fl: Some("R".to_owned()), ..open() },
        ToolUse { fl: Some("R|CREAT".to_owned()), ..open() },
        ToolUse { fl: Some("CREAT|W".to_owned()), ..open() },
        ToolUse { fl: None, below: Some(2), ..open() },
        ToolUse { errno: Some(2), below: Some(2), ..open() },
        ToolUse { errno: Some(2), ino: Some([1, 1]), ..open() },
        ToolUse { to: None, ..used(ToolOp::Rename) },
        ToolUse { to: Some("x".into()), ..used(ToolOp::Mkdir) },
        ToolUse { value: None, ..used(ToolOp::Truncate) },
        ToolUse { port: None, ..used(ToolOp::Request) },
        ToolUse { path: Some("a".into()), ..used(ToolOp::Request) },
        ToolUse { host: None, ..used(ToolOp::Connect) },
        ToolUse { r: Some(1), ..used(ToolOp::Connect) },
        ToolUse { port: Some(1), ..used(ToolOp::Lookup) },
        ToolUse { path: Some("a".into()), below: Some(2), host: None, port: None, ..used(ToolOp::Moved) },
        ToolUse { path: Some("a".into()), ..used(ToolOp::Clock) },
        ToolUse { below: Some(2), ..used(ToolOp::Clock) },
    ] {
        let mut leaf = Vec::new();
        let place = Place { n: 0, wall_ns: 0, mono_ns: 0, ago_ns: 0 };
        assert!(write_leaf(&mut leaf, &Record::new(wrong.clone()), place, &[]).is_err(), "{wrong:?}");
    }
}

#[test]
fn flags_have_one_order_and_one_way_to_access() {
    for fl in ["", "CREAT", "W|W", "R|W", "W|EXCL|CREAT", "W|CREAT|CREAT", "W|", "W|APPEND|", "W|PATH", "rw"] {
        let open = FsOpen {
            path_h: None,
            p: 1,
            path: "a".into(),
            fl: fl.into(),
            mode: None,
            errno: None,
            ino: None,
            was: None,
            cut: None,
            times: None,
        };
        let mut leaf = Vec::new();
        let place = Place { n: 0, wall_ns: 0, mono_ns: 0, ago_ns: 0 };
        assert!(write_leaf(&mut leaf, &Record::new(open), place, &[]).is_err(), "{fl:?}");
    }
}

/// Leaves of every kind, each optional member there and not there.
fn leaves() -> Vec<Vec<u8>> {
    let mut bodies = [ends(), ledger(), session(), outlet(), recorded(), tools()].concat();
    bodies.extend(changes().into_iter().map(Body::from));
    for change in changes() {
        let change = Box::new(change);
        bodies.extend([Apply(Act::File(change.clone())).into(), Discard(Act::File(change)).into()]);
    }
    bodies.extend([Apply(Act::Begin(3)).into(), Undo(Act::End(u64::MAX)).into()]);
    let mut kinds: Vec<_> = bodies.iter().map(Body::kind).collect();
    kinds.sort_unstable();
    kinds.dedup();
    assert_eq!(kinds.len(), Body::KINDS.len(), "a kind has no sample: {kinds:?}");
    let mut out = Vec::new();
    for (n, body) in (0..).zip(bodies) {
        let mut record = Record::new(body);
        for digests in [&[][..], &[[7; 32]], &[[8; 32], [9; 32]]] {
            let mut leaf = Vec::new();
            write_leaf(&mut leaf, &record, Place { n, wall_ns: u64::MAX, mono_ns: n * 5, ago_ns: n % 3 * 7 }, digests)
                .expect("it has a meaning");
            out.push(leaf);
            record.call = Some(CallId::new("c.1_:-").expect("plain"));
        }
    }
    out
}

#[test]
fn what_is_written_is_read_whatever_it_says() {
    for leaf in leaves() {
        assert!(parse_leaf(&leaf).is_ok(), "{} {:?}", String::from_utf8_lossy(&leaf), parse_leaf(&leaf));
    }
}

/// Bits of JSON that an editor of a leaf would put in, each of which has another spelling somewhere.
const BITS: &[&str] = &[
    " ",
    "\n",
    ",",
    "null",
    "\"\"",
    "0",
    "-0",
    "00",
    "-1",
    "1.0",
    "1e0",
    "+1",
    "[]",
    "{}",
    "true",
    "\\/",
    "\\u0000",
    "\\u0009",
    "\\u001F",
    "\\u001f",
    "\\u007f",
    "\\ud83d\\ude00",
    "\\u0061",
    "\\b",
    "\"a\":1,",
    ",\"lost\":0",
    "\"why\":\"\",",
    ",\"why\":\"\"",
    ",\"cut\":0",
    ",\"cut\":1",
    ",\"p\":null",
    ",\"mark\":null",
    ",\"blob\":null",
    ",\"_sd\":[]",
    "18446744073709551615",
    "18446744073709551616",
    "4294967296",
    "-2147483649",
    "-9223372036854775808",
    "\"exit\"",
    "{\"exit\":null}",
    "\"begin\"",
    "{\"b64\":\"YQ\"}",
    "{\"b64\":\"_w\"}",
    "{\"b64\":\"_x\"}",
    "\u{feff}",
    "😀",
    "\"a\":1,\"a\":1",
];

/// A small generator, the same on every run: xorshift64.
struct Dice(u64);

impl Dice {
    fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % n.max(1) as u64).expect("below n")
    }
}

/// Where a token starts, so that an edit is likely to leave JSON.
fn seams(leaf: &[u8]) -> Vec<usize> {
    (0..=leaf.len())
        .filter(|at| {
            leaf[..*at].last().is_none_or(|b| b"{}[],:\"".contains(b))
                || leaf.get(*at).is_none_or(|b| b"{}[],:\"".contains(b))
        })
        .collect()
}

fn edit(leaf: &mut Vec<u8>, others: &[Vec<u8>], dice: &mut Dice) {
    let seams = seams(leaf);
    let seam = |dice: &mut Dice| seams[dice.below(seams.len())];
    let (a, b) = (seam(dice), seam(dice));
    let (low, high) = (a.min(b), a.max(b));
    match dice.below(7) {
        0 => drop(leaf.splice(a..a, BITS[dice.below(BITS.len())].bytes())),
        1 => drop(leaf.splice(low..high.min(low + 30), BITS[dice.below(BITS.len())].bytes())),
        2 => drop(leaf.drain(low..high.min(low + 60))),
        3 => {
            let part = leaf[low..high.min(low + 60)].to_vec();
            drop(leaf.splice(b..b, part));
        }
        4 => {
            let other = &others[dice.below(others.len())];
            let from = dice.below(other.len());
            let to = (from + dice.below(80)).min(other.len());
            drop(leaf.splice(low..high.min(low + 40), other[from..to].iter().copied()));
        }
        5 => {
            let at = dice.below(leaf.len());
            if let Some(byte) = leaf.get_mut(at) {
                *byte ^= 1 << dice.below(8);
            }
        }
        _ => {
            let at = dice.below(leaf.len());
            if at < leaf.len() {
                leaf.remove(at);
            }
        }
    }
}

#[test]
fn an_edited_leaf_is_read_as_the_slow_way_reads_it() {
    let leaves = leaves();
    let mut dice = Dice(0x9e37_79b9_7f4a_7c15);
    let (mut accepted, mut rounds) = (0, 0);
    while rounds < 60_000 {
        let mut leaf = leaves[dice.below(leaves.len())].clone();
        for _ in 0..=dice.below(3) {
            edit(&mut leaf, &leaves, &mut dice);
            accepted += usize::from(parse_leaf(&leaf).is_ok());
            rounds += 1;
        }
    }
    assert!(accepted > 500, "edits that leave a leaf are among them: {accepted}");
}

/// Each bit at each seam, and each member left out: what a careful editor would try first.
#[test]
fn a_second_spelling_of_any_member_is_refused() {
    // One of each record; its call and digests are read by the head's and the tail's own readers.
    for leaf in leaves().into_iter().step_by(3) {
        let seams = seams(&leaf);
        for at in &seams {
            for bit in BITS {
                let mut edited = leaf.clone();
                drop(edited.splice(at..at, bit.bytes()));
                drop(parse_leaf(&edited));
            }
        }
        for byte in 0..leaf.len() {
            let edited = [&leaf[..byte], &leaf[byte + 1..]].concat();
            drop(parse_leaf(&edited));
        }
    }
}
