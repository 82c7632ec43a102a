//! Index files: whatever is in one whose head has a right checksum and the mark of its segment, what a question shows is in
//! the log and is what was asked for, and a file that cannot be used changes no answer.
//! It never writes to a disk: but for the log itself, files are in memory.
#![no_main]

use libfuzzer_sys::fuzz_target;
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::{self, Cursor, ErrorKind, Read};
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock, Mutex};
use stockade_audit::disk::{Disk, DiskFile, FileMark, Held, Wait};
use stockade_audit::query::{Filter, Glob, LogReader, paths_of};
use stockade_audit::record::{
    Body, Call, CallId, Cause, Digest, Durability, FsChange, FsOp, FsOpen, Mode, ProcStart, Record, SessionId,
    SessionOpen,
};
use stockade_audit::{Ledger, Machine, SessionLog};

const INDEX: &str = "/log/idx/000000.idx";
const SEGMENT: &str = "/log/seg/000000.seg";
/// What the segment says of itself. Its length is a lie: so short a log would have no index.
const MARK: FileMark = FileMark { device: 1, inode: 2, bytes: 8 << 20, changed: [3, 4] };
const QUESTIONS: [&str; 6] = ["path=src/a.rs", "path=**/b.rs", "path=src/**", "path=**", "p=2", "p=3 path=src/sub/*"];

type Files = BTreeMap<PathBuf, Vec<u8>>;

/// Files in memory; what is written is lost.
#[derive(Debug)]
struct Memory(Mutex<Files>);

#[derive(Debug)]
struct Nothing;

impl DiskFile for Nothing {
    fn write(&self, bytes: &[u8]) -> io::Result<usize> {
        Ok(bytes.len())
    }

    fn sync(&self) -> io::Result<()> {
        Ok(())
    }
}

impl Held for Nothing {}

impl Memory {
    fn bytes(&self, path: &Path) -> io::Result<Vec<u8>> {
        self.0.lock().expect("one thread at a time").get(path).cloned().ok_or_else(|| ErrorKind::NotFound.into())
    }
}

impl Disk for Memory {
    fn check_dir(&self, _: &Path) -> stockade_audit::Result<()> {
        Ok(())
    }
    fn create_dir(&self, _: &Path) -> io::Result<()> {
        Ok(())
    }
    fn create(&self, _: &Path) -> io::Result<Arc<dyn DiskFile>> {
        Ok(Arc::new(Nothing))
    }
    fn append(&self, _: &Path) -> io::Result<Arc<dyn DiskFile>> {
        Ok(Arc::new(Nothing))
    }
    fn read(&self, path: &Path, offset: u64) -> io::Result<Box<dyn Read + Send>> {
        let mut reader = Cursor::new(self.bytes(path)?);
        reader.set_position(offset);
        Ok(Box::new(reader))
    }
    fn len(&self, path: &Path) -> io::Result<u64> {
        Ok(self.bytes(path)?.len() as u64)
    }
    fn mark(&self, path: &Path) -> io::Result<FileMark> {
        self.bytes(path).map(|_| MARK)
    }
    fn truncate(&self, _: &Path, _: u64) -> io::Result<()> {
        Ok(())
    }
    fn rename(&self, _: &Path, _: &Path) -> io::Result<()> {
        Ok(())
    }
    fn remove(&self, _: &Path) -> io::Result<()> {
        Ok(())
    }
    fn remove_dir(&self, _: &Path) -> io::Result<()> {
        Ok(())
    }
    fn list(&self, _: &Path) -> io::Result<Vec<OsString>> {
        Ok(Vec::new())
    }
    fn sync_dir(&self, _: &Path) -> io::Result<()> {
        Ok(())
    }
    fn sync_tree(&self, _: &Path) -> io::Result<()> {
        Ok(())
    }
    fn lock(&self, _: &Path, _: Wait) -> io::Result<Box<dyn Held>> {
        Ok(Box::new(Nothing))
    }
}

/// A log of a few leaves, and for each question the leaves that answer it.
static LOG: LazyLock<(Files, Vec<Vec<u64>>)> = LazyLock::new(|| {
    let root = PathBuf::from(std::env::var_os("STOCKADE_FUZZ_SCRATCH").expect("the script says where"));
    let root = root.join(format!("index-{}", std::process::id()));
    let dir = root.join("s");
    std::fs::create_dir_all(&root).expect("scratch");
    let ledger = Ledger::open(Machine::system(), &root.join("ledger"), &root.join("keys"), "fuzz/agent-ledger");
    let log = SessionLog::create(&dir, Arc::new(ledger.expect("ledger")), opening()).expect("session");
    let call = CallId::new("c1").expect("plain");
    for body in bodies() {
        log.append(Record::new(body).of_call(&call)).expect("append");
    }
    log.close(Cause::Exit, 0).expect("close");
    let mut files = Files::new();
    files.insert("/log/vkey".into(), std::fs::read(dir.join("vkey")).expect("key"));
    files.insert(SEGMENT.into(), std::fs::read(dir.join("seg/000000.seg")).expect("segment"));
    std::fs::remove_dir_all(&root).expect("scratch");
    let answers = QUESTIONS.iter().map(|question| ask(&files, question)).collect();
    (files, answers)
});

fn opening() -> SessionOpen {
    SessionOpen {
        sid: SessionId::new(1_700_000_000_000_000_000, [1; 10]),
        tool: "fuzz".into(),
        kernel: "6".into(),
        wall: "process".into(),
        grade: "full".into(),
        layers: Vec::new(),
        profile: "fuzz".into(),
        profile_h: Digest([0; 32]),
        plan_h: Digest([0; 32]),
        filter_h: None,
        mode: Mode::Review,
        durability: Durability::Group,
        recorder: None,
        container: None,
        from: None,
    }
}

fn bodies() -> Vec<Body> {
    let open = |p: u64, path: &str| -> Body {
        let (mode, errno, ino, was, cut, times) = (None, Some(0), None, None, None, None);
        FsOpen { p, path: path.into(), path_h: None, fl: "W".into(), mode, errno, ino, was, cut, times }.into()
    };
    let rename = FsChange {
        p: 3,
        op: FsOp::Rename,
        path: "src/sub/b.rs".into(),
        path_h: None,
        to: Some("src/a.rs".into()),
        to_h: None,
        value: None,
        cut: None,
        times: None,
    };
    vec![
        Call { tool: "exec".into(), via: "cli".into(), input: None }.into(),
        ProcStart { p: 2, pp: None, pid: 7 }.into(),
        ProcStart { p: 3, pp: Some(2), pid: 8 }.into(),
        open(2, "src/a.rs"),
        open(3, "src/sub/b.rs"),
        open(3, "b.rs"),
        rename.into(),
    ]
}

fn reader(files: &Files) -> LogReader {
    LogReader::open_on(Arc::new(Memory(Mutex::new(files.clone()))), Path::new("/log")).expect("a log")
}

/// Numbers of the leaves that answer a question; each must.
fn ask(files: &Files, question: &str) -> Vec<u64> {
    let filter = Filter::parse(question).expect("a filter");
    reader(files).query(&filter).expect("the log is whole").iter().map(|found| found.leaf.n).collect()
}

// From the byte in the head that says whether the segment is whole: two bytes of length, so much of the head, the pages.
fuzz_target!(|input: &[u8]| {
    let (files, answers) = &*LOG;
    let Some((len, rest)) = input.split_first_chunk::<2>() else { return };
    let (rest_of_head, pages) = rest.split_at(usize::from(u16::from_le_bytes(*len)).min(rest.len()));
    let FileMark { device, inode, bytes, changed } = MARK;
    let mut head: Vec<u8> = [device, inode, bytes].iter().flat_map(|number| number.to_le_bytes()).collect();
    changed.iter().for_each(|part| head.extend_from_slice(&part.to_le_bytes()));
    head.extend_from_slice(rest_of_head);
    let mut file = b"stockade-index4\n".to_vec();
    file.extend_from_slice(&u32::try_from(head.len()).expect("short").to_le_bytes());
    file.extend_from_slice(&crc32c::crc32c(&head).to_le_bytes());
    file.extend_from_slice(&head);
    file.extend_from_slice(pages);
    let mut files = files.clone();
    files.insert(INDEX.into(), file);
    for (question, right) in QUESTIONS.iter().zip(answers) {
        let found = ask(&files, question);
        assert!(found.iter().all(|n| right.contains(n)), "{question}: {found:?} where {right:?} is right");
    }
    let glob = Glob::new("src/*.rs");
    for why in reader(&files).why(&glob).expect("the log is whole") {
        let told = why.events.iter().all(|found| paths_of(&found.leaf.body).count() > 0);
        assert!(glob.matches(&why.path.0) && told, "an event is about a path");
    }
});
