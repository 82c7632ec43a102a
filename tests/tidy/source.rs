//! The repository as text: every file that could be committed, and what a check found in it.
//! It never decides what is wrong; the checks beside it do, on `Source`s that a self-test can make up.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

/// A file of the repository, or a sample that stands for one.
#[derive(Debug, Clone)]
pub(crate) struct Source {
    /// Path from the top of the repository, with `/`.
    pub(crate) path: String,
    /// Content; files that are not UTF-8 are not sources.
    pub(crate) text: String,
}

/// One thing that breaks a rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Finding {
    /// Path from the top of the repository.
    pub(crate) path: String,
    /// Line, from 1; 0 is the file as a whole.
    pub(crate) line: usize,
    /// The rule and what broke it.
    pub(crate) what: String,
}

impl Finding {
    /// A finding in a file.
    pub(crate) fn new(path: &str, line: usize, what: impl Into<String>) -> Self {
        Self { path: path.to_owned(), line, what: what.into() }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.path, self.line, self.what)
    }
}

impl Source {
    /// A made-up file, for self-tests.
    pub(crate) fn sample(path: &str, text: &str) -> Self {
        Self { path: path.to_owned(), text: text.to_owned() }
    }

    /// Whether the name ends so.
    pub(crate) fn is(&self, extension: &str) -> bool {
        Path::new(&self.path).extension().is_some_and(|found| found == extension)
    }
}

/// The top of the repository.
pub(crate) fn top() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("this package lies in the repository").to_owned()
}

/// Names that no walk enters: what builds, downloads and fuzzing leave behind, and the repository's own bookkeeping.
const SKIPPED: [&str; 7] = [".git", "target", "artifacts", "corpus", "vendor", "node_modules", "__pycache__"];

/// Every text file of the repository, in order of path.
pub(crate) fn all() -> Vec<Source> {
    let top = top();
    let mut found = Vec::new();
    walk(&top, &top, &mut found);
    found.sort_by(|a, b| a.path.cmp(&b.path));
    assert!(found.len() > 20, "the walk found {} files: it looked in the wrong place", found.len());
    found
}

/// The Rust files among them.
pub(crate) fn rust(sources: &[Source]) -> Vec<Source> {
    sources.iter().filter(|source| source.is("rs")).cloned().collect()
}

/// Fails the test that calls it, with one line for each finding.
#[track_caller]
pub(crate) fn none(findings: &[Finding]) {
    let lines: Vec<String> = findings.iter().map(ToString::to_string).collect();
    assert!(lines.is_empty(), "{} finding(s):\n{}", lines.len(), lines.join("\n"));
}

/// Fails unless the check found exactly one thing in a sample, at this line, saying this.
#[track_caller]
pub(crate) fn one(findings: &[Finding], line: usize, part: &str) {
    assert_eq!(findings.len(), 1, "expected one finding about \"{part}\", got {findings:#?}");
    let found = &findings[0];
    assert!(found.what.contains(part), "expected \"{part}\" in {found:?}");
    assert_eq!(found.line, line, "expected line {line} in {found:?}");
}

fn walk(top: &Path, dir: &Path, found: &mut Vec<Source>) {
    let entries = fs::read_dir(dir).unwrap_or_else(|error| panic!("cannot list {}: {error}", dir.display()));
    for entry in entries {
        let entry = entry.expect("a directory entry can be read");
        let kind = entry.file_type().expect("a directory entry has a type");
        let name = entry.file_name();
        if SKIPPED.iter().any(|skipped| name == *skipped) {
            continue;
        }
        if kind.is_dir() {
            walk(top, &entry.path(), found);
        } else if kind.is_file() {
            let Ok(text) = fs::read_to_string(entry.path()) else { continue };
            let path = entry.path();
            let path = path.strip_prefix(top).expect("the walk stays below the top").to_string_lossy().into_owned();
            found.push(Source { path, text });
        }
    }
}
