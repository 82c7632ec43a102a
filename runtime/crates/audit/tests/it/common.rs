//! What the tests share: a directory of their own, a session to write, a clock that counts.
//! It never writes outside the build's temporary directory.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use stockade_audit::record::*;
use stockade_audit::{Ledger, Machine, SessionLog};

/// A directory that goes away with the value.
pub(crate) struct Scratch(pub(crate) PathBuf);

impl Scratch {
    pub(crate) fn new() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let name = format!("audit-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
        std::fs::create_dir_all(&path).expect("the build's directory is writable");
        Self(path)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.0));
    }
}

pub(crate) fn ledger(root: &Path) -> Arc<Ledger> {
    ledger_on(Machine::system(), root)
}

pub(crate) fn ledger_on(machine: Machine, root: &Path) -> Arc<Ledger> {
    Arc::new(Ledger::open(machine, &root.join("ledger"), &root.join("keys"), "test/agent-ledger").expect("ledger"))
}

pub(crate) fn sid(n: u8) -> SessionId {
    SessionId::new(1_700_000_000_000_000_000, [n; 10])
}

pub(crate) fn open_record(sid: SessionId) -> SessionOpen {
    SessionOpen {
        sid,
        tool: "stockade 0.1.0".into(),
        kernel: "6.18.0".into(),
        wall: "process".into(),
        grade: "full".into(),
        layers: vec![
            Layer { name: "landlock".into(), state: LayerState::Active, why: String::new() },
            Layer { name: "cgroup".into(), state: LayerState::Absent, why: "not delegated".into() },
        ],
        profile: "shell".into(),
        profile_h: Digest([1; 32]),
        plan_h: Digest([2; 32]),
        filter_h: Some(Digest([3; 32])),
        mode: Mode::Review,
        durability: Durability::Group,
        recorder: None,
        container: None,
        from: None,
    }
}

/// The same, inside a container.
pub(crate) fn contained_record(sid: SessionId) -> SessionOpen {
    let container = Container {
        engine: "docker".into(),
        engine_v: "28.2.2".into(),
        api: "1.50".into(),
        rights: EngineRights::Rootful,
        runtime: "runc".into(),
        id: ContainerId(Digest([4; 32])),
        image: "debian:13".into(),
        image_id: Digest([5; 32]),
        repo_digest: Some(format!("docker.io/library/debian@sha256:{}", Digest([6; 32]))),
        uid: 1000,
        gid: 1000,
        spec_h: Digest([7; 32]),
    };
    SessionOpen { wall: "container".into(), container: Some(container), ..open_record(sid) }
}

pub(crate) fn call_id(n: u64) -> CallId {
    CallId::new(format!("c{n}")).expect("plain")
}

pub(crate) fn file(hash: u8) -> FileState {
    FileState {
        ty: FileType::File,
        mode: 0o644,
        z: Some(7),
        h: Some(Digest([hash; 32])),
        g: None,
        to: None,
        to_h: None,
    }
}

/// The records of one good call, in order.
pub(crate) fn call_records(n: u64) -> Vec<Record> {
    let call = call_id(n);
    let of = |body: Body| Record::new(body).of_call(&call);
    vec![
        of(Call { tool: "exec".into(), via: "cli".into(), input: None }.into())
            .disclosing(stockade_audit::disclose::Disclosed::argv(["cargo", "test"]))
            .disclosing(stockade_audit::disclose::Disclosed::cwd("/work")),
        of(Permit { rules: vec!["exec.cargo".into()] }.into()),
        of(ProcExit {
            p: n,
            pp: None,
            pid: 7,
            exe: Some("/usr/bin/cargo".into()),
            cause: Cause::Exit,
            status: 0,
            failed: None,
            cpu_us: Some(10),
            rss_kib: Some(900),
        }
        .into()),
        of(Outcome {
            cause: Cause::Exit,
            status: 0,
            wall_us: 20,
            cpu_us: 10,
            p: Some(n),
            t: None,
            out: None,
            err: None,
        }
        .into()),
        of(FsOutcome {
            path_h: None,
            path: LogPath(format!("src/f{n}.rs").into_bytes()),
            op: Change::Modified,
            b: Some(file(1)),
            a: Some(file(2)),
            lines: None,
            ino: None,
            mark: None,
        }
        .into()),
    ]
}

/// A closed session of `calls` calls in `root/s/<sid>`; its directory.
pub(crate) fn write_session(root: &Path, ledger: &Arc<Ledger>, sid: SessionId, calls: u64) -> PathBuf {
    let sessions = root.join("s");
    if !sessions.exists() {
        std::fs::create_dir(&sessions).expect("scratch is writable");
    }
    let dir = sessions.join(sid.as_str());
    let log = SessionLog::create(&dir, Arc::clone(ledger), open_record(sid)).expect("session");
    for n in 0..calls {
        log.append_all(&call_records(n)).expect("append");
    }
    log.close(Cause::Exit, 0).expect("close");
    dir
}

/// Every file below a directory.
pub(crate) fn files(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut out = BTreeMap::new();
    for entry in std::fs::read_dir(dir).expect("directory").map(|entry| entry.expect("entry").path()) {
        if entry.is_dir() {
            out.extend(files(&entry));
        } else {
            let bytes = std::fs::read(&entry).expect("file");
            out.insert(entry, bytes);
        }
    }
    out
}
