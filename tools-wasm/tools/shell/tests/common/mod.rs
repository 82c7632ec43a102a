//! The files that each case starts from, and the two ways to run a case on them.
//! It never runs a case outside of a directory made for it.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, SystemTime};

/// One script of the corpus.
pub(crate) struct Case {
    pub(crate) name: String,
    pub(crate) script: String,
    /// Why it is known to differ from bash.
    pub(crate) differs: Option<String>,
}

/// What a run left.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Outcome {
    pub(crate) stdout: String,
    pub(crate) stderr: String,
    pub(crate) exit_code: i32,
    pub(crate) truncated: bool,
    /// Each path, with its kind, mode and content.
    pub(crate) tree: BTreeMap<String, String>,
}

/// The whole corpus, in order.
pub(crate) fn cases() -> Vec<Case> {
    let texts = [
        include_str!("../corpus/text.sh"),
        include_str!("../corpus/search.sh"),
        include_str!("../corpus/shell.sh"),
        include_str!("../corpus/files.sh"),
        include_str!("../corpus/fast.sh"),
    ];
    let mut cases: Vec<Case> = Vec::new();
    for text in texts {
        for block in text.split("### ").skip(1) {
            let (name, body) = block.split_once('\n').expect("a name and a script");
            let (differs, script) = match body.strip_prefix("#! differs: ") {
                Some(rest) => {
                    rest.split_once('\n').map(|(why, script)| (Some(why.to_owned()), script)).expect("a script")
                }
                None => (None, body),
            };
            assert!(cases.iter().all(|case| case.name != name), "two cases named {name}");
            cases.push(Case { name: name.to_owned(), script: script.trim_end_matches('\n').to_owned(), differs });
        }
    }
    cases
}

/// A directory for one run; the same path each time, because scripts print it.
pub(crate) fn fresh() -> PathBuf {
    let root = PathBuf::from(env!("CARGO_TARGET_TMPDIR"))
        .join(format!("{:?}", std::thread::current().id()).replace(['(', ')'], "-"));
    if root.exists() {
        fs::remove_dir_all(&root).expect("the last run's files go");
    }
    let work = root.join("work");
    fs::create_dir_all(work.join("src/lib")).expect("directories");
    let put = |path: &str, content: &[u8]| fs::write(work.join(path), content).expect(path);
    put("README.md", b"# Fixture\n\nA small project. It has a README, some sources and an ini file.\n\n## TASKS\n\n- tasks: write the docs\n- read the sources a second time\n");
    put("words.txt", b"apple\nbanana\ncherry\nbanana\ndate\napple\nbanana\n");
    put("numbers.txt", b"10\n9\n100\n1\n25\n3\n7\n12\n42\n8\n77\n5\n");
    put("data.csv", b"name,dept,age\nann,eng,31\nbob,ops,25\ncid,eng,44\ndora,hr,38\n");
    put("data.json", br#"{"name":"fixture","version":1,"items":[{"id":1,"label":"widget","price":9.5},{"id":2,"label":"gadget","price":3},{"id":3,"label":"wheel","price":12}],"meta":{"owner":"qa","level":3}}"#);
    put("log.txt", b"2024-01-01 10:00:00 INFO start level=1\n2024-01-01 10:00:05 WARN slow level=2\n2024-01-01 10:01:00 INFO ok level=1\n2024-01-01 10:02:00 ERROR failed code=500 level=9\n2024-01-01 10:03:00 INFO stop level=1\n");
    put(
        "config.ini",
        b"[main]\nversion = 2\nname=fixture\n\n[server]\nhost=localhost\nport=8080\n\n[client]\nretries=3\n",
    );
    put("crlf.txt", b"one\r\ntwo\r\n");
    put("nonewline.txt", b"first\nlast without newline");
    put("unicode.txt", "héllo wörld\nnaïve café\nplain\n".as_bytes());
    put("empty.txt", b"");
    put("with space.txt", b"spaced\n");
    put("binary.bin", b"\x00\x01\x02text inside\x00\xff\xfemore text\x00");
    put(".env", b"TOKEN=x\n");
    put("run.sh", b"#!/bin/sh\necho run\n");
    fs::set_permissions(work.join("run.sh"), fs::Permissions::from_mode(0o755)).expect("a mode");
    put(
        "src/main.rs",
        b"use std::env;\n\nfn main() {\n    let args = env::args();\n    println!(\"{}\", args.count());\n}\n",
    );
    put("src/lib.rs", b"//! Library.\npub mod util;\n\npub fn add(a: i32, b: i32) -> i32 {\n    a + b\n}\n");
    put("src/lib/util.rs", b"pub fn id(x: i32) -> i32 {\n    x\n}\n");
    std::os::unix::fs::symlink("README.md", work.join("link.txt")).expect("a link");
    std::os::unix::fs::symlink("src", work.join("dirlink")).expect("a link");
    settle_times(&work);
    work
}

/// Every file a minute apart and long ago: orders by time are the same in both runs.
fn settle_times(work: &Path) {
    let mut paths = Vec::new();
    walk(work, &mut paths);
    for (place, path) in (0u64..).zip(&paths) {
        if !path.is_symlink() {
            let time = SystemTime::UNIX_EPOCH + Duration::from_secs(1_600_000_000 + 60 * place);
            fs::File::open(path).and_then(|file| file.set_modified(time)).expect("a time");
        }
    }
}

fn walk(directory: &Path, paths: &mut Vec<PathBuf>) {
    let mut entries: Vec<PathBuf> =
        fs::read_dir(directory).expect("a directory").map(|entry| entry.expect("an entry").path()).collect();
    entries.sort();
    for path in entries {
        if path.is_dir() && !path.is_symlink() {
            walk(&path, paths);
        }
        paths.push(path);
    }
}

pub(crate) fn tree(work: &Path) -> BTreeMap<String, String> {
    let mut paths = Vec::new();
    walk(work, &mut paths);
    paths
        .iter()
        .map(|path| {
            let name = path.strip_prefix(work).expect("below").display().to_string();
            let found = fs::symlink_metadata(path).expect("found");
            let state = if found.is_symlink() {
                format!("link to {}", fs::read_link(path).expect("a target").display())
            } else if found.is_dir() {
                "directory".to_owned()
            } else {
                let content = fs::read(path).expect("content");
                format!("{:o} {}", found.permissions().mode() & 0o777, String::from_utf8_lossy(&content))
            };
            (name, state)
        })
        .collect()
}

/// The environment of both.
pub(crate) fn environment(work: &Path) -> BTreeMap<String, String> {
    let home = work.display().to_string();
    [("HOME", home.as_str()), ("LC_ALL", "C.UTF-8"), ("TZ", "UTC"), ("PATH", "/usr/local/bin:/usr/bin:/bin")]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into()
}

#[expect(clippy::disallowed_methods, reason = "the other side of the comparison is the machine's bash")]
pub(crate) fn in_bash(case: &Case) -> Outcome {
    let work = fresh();
    let ran = Command::new("bash")
        .args(["-c", &case.script, "bash"])
        .current_dir(&work)
        .env_clear()
        .envs(environment(&work))
        .stdin(Stdio::null())
        .output()
        .expect("bash runs");
    Outcome {
        stdout: String::from_utf8_lossy(&ran.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&ran.stderr).into_owned(),
        exit_code: ran.status.code().expect("bash ends on its own"),
        truncated: false,
        tree: tree(&work),
    }
}

/// How two runs differ.
pub(crate) fn differs(bash: &Outcome, shell: &Outcome) -> Option<String> {
    let mut how = String::new();
    if bash.stdout != shell.stdout {
        how += &format!("  stdout of bash:  {:?}\n  stdout of shell: {:?}\n", bash.stdout, shell.stdout);
    }
    if bash.exit_code != shell.exit_code {
        how += &format!("  exit code {} and {}\n", bash.exit_code, shell.exit_code);
    }
    if bash.stderr.is_empty() != shell.stderr.is_empty() {
        how += &format!("  stderr of bash:  {:?}\n  stderr of shell: {:?}\n", bash.stderr, shell.stderr);
    }
    for (path, found) in &bash.tree {
        if shell.tree.get(path) != Some(found) {
            how += &format!("  {path}: bash {found:?}, shell {:?}\n", shell.tree.get(path));
        }
    }
    for path in shell.tree.keys().filter(|path| !bash.tree.contains_key(*path)) {
        how += &format!("  {path}: only after shell\n");
    }
    (!how.is_empty()).then_some(how)
}
