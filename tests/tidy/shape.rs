//! Small enough to hold: sizes of files and functions, the opening `//!`, where `unsafe` may stand, no attribute
//! that silences a lint without saying why, no file that no module declares. It never judges what the code does.

use super::lex::{self, Kind, Token};
use super::source::{Finding, Source};
use std::collections::BTreeSet;

/// Lines of a file before its tests.
const FILE_LINES_MAX: usize = 500;
/// Lines of a function, signature and braces included.
const FUNCTION_LINES_MAX: usize = 70;

/// Where `unsafe` may stand, and why.
const UNSAFE: [(&str, &str); 4] = [
    ("runtime/crates/jail/", "the crate whose purpose it is: kernel calls that no safe wrapper covers"),
    ("runtime/src/backend/wasm/worker/engine.rs", "one line: code that our own compiler made becomes callable"),
    (
        "tools-wasm/tools/shell/src/watch.rs",
        "an allocator inside the component, which hands each call on to the system's",
    ),
    ("tests/probe/", "the attacks themselves: system calls that a safe wrapper refuses to make"),
];

/// Every rule of this module, on every Rust file.
pub(crate) fn check(sources: &[Source]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for source in sources {
        header(source, &mut findings);
        file_size(source, &mut findings);
        let code = lex::code(&source.text);
        function_sizes(source, &code, &mut findings);
        unsafe_places(source, &code, &mut findings);
        silenced(source, &code, &mut findings);
    }
    findings
}

fn header(source: &Source, findings: &mut Vec<Finding>) {
    let words =
        source.text.lines().next().and_then(|line| line.strip_prefix("//!")).map_or(0, |l| l.split(' ').count());
    if words < 4 {
        findings.push(Finding::new(&source.path, 1, "opens without a `//!` sentence"));
    }
}

/// A sibling file of tests is as long as its tests are.
pub(crate) fn is_test_file(path: &str) -> bool {
    path.ends_with("/tests.rs") || path.contains("/src/") && path.contains("/tests/")
}

fn file_size(source: &Source, findings: &mut Vec<Finding>) {
    if is_test_file(&source.path) {
        return;
    }
    let code = lex::code(&source.text);
    let tests = (0..code.len())
        .find(|at| lex::test_item(&code, *at).is_some_and(|item| code[item].iter().any(|token| token.text == "mod")));
    let lines = tests.map_or_else(|| source.text.lines().count(), |at| code[at].line - 1);
    if lines > FILE_LINES_MAX {
        let what = format!("{lines} lines before its tests, {FILE_LINES_MAX} are allowed");
        findings.push(Finding::new(&source.path, 0, what));
    }
}

fn function_sizes(source: &Source, code: &[Token<'_>], findings: &mut Vec<Finding>) {
    for (at, token) in code.iter().enumerate() {
        if token.text != "fn" || code.get(at + 1).is_none_or(|name| name.kind != Kind::Word) {
            continue;
        }
        let mut end = at;
        while end < code.len() && !matches!(code[end].text, "{" | ";") {
            end = if matches!(code[end].text, "(" | "[") { lex::close(code, end) + 1 } else { end + 1 };
        }
        if code.get(end).is_none_or(|token| token.text == ";") {
            continue;
        }
        let lines = code[lex::close(code, end)].line - token.line + 1;
        if lines > FUNCTION_LINES_MAX {
            let name = code[at + 1].text;
            let what = format!("function `{name}` has {lines} lines, {FUNCTION_LINES_MAX} are allowed");
            findings.push(Finding::new(&source.path, token.line, what));
        }
    }
}

fn unsafe_places(source: &Source, code: &[Token<'_>], findings: &mut Vec<Finding>) {
    if UNSAFE.iter().any(|(place, _)| source.path.starts_with(place)) {
        return;
    }
    for token in code.iter().filter(|token| token.kind == Kind::Word && token.text == "unsafe") {
        findings.push(Finding::new(&source.path, token.line, "`unsafe` outside `jail`"));
    }
}

/// Clippy says the same of a crate that inherits the workspace's lints; this also reads crates that do not.
fn silenced(source: &Source, code: &[Token<'_>], findings: &mut Vec<Finding>) {
    for at in 0..code.len() {
        let text = |index: usize| code.get(index).map_or("", |token| token.text);
        let open = if text(at + 1) == "!" { at + 2 } else { at + 1 };
        if text(at) != "#" || text(open) != "[" {
            continue;
        }
        for inner in open..lex::close(code, open) {
            if !matches!(text(inner), "allow" | "expect") || text(inner + 1) != "(" {
                continue;
            }
            let reasons = code[inner..lex::close(code, inner + 1)].iter().filter(|token| token.text == "reason");
            if reasons.count() == 0 {
                let what = format!("`#[{}(…)]` without a reason", text(inner));
                findings.push(Finding::new(&source.path, code[inner].line, what));
            }
        }
    }
}

/// Files that neither a manifest nor a module declares: they would never be compiled, and their tests never run.
pub(crate) fn orphans(sources: &[Source], roots: &BTreeSet<String>) -> Vec<Finding> {
    let declared: BTreeSet<String> = sources.iter().flat_map(|source| declarations(source, roots)).collect();
    let lost = sources.iter().filter(|source| !roots.contains(&source.path) && !declared.contains(&source.path));
    lost.map(|source| Finding::new(&source.path, 0, "no module declares this file")).collect()
}

/// Where the files may be that the `mod name;` of a file declare.
fn declarations(parent: &Source, roots: &BTreeSet<String>) -> Vec<String> {
    let (dir, file) = parent.path.rsplit_once('/').unwrap_or(("", &parent.path));
    let stem = file.trim_end_matches(".rs");
    let below = if stem == "mod" || roots.contains(&parent.path) { dir.to_owned() } else { format!("{dir}/{stem}") };
    let code = lex::code(&parent.text);
    let mut found = Vec::new();
    for at in 0..code.len() {
        let text = |ahead: usize| code.get(at + ahead).map_or("", |token| token.text);
        if text(0) != "mod" || text(2) != ";" {
            continue;
        }
        let name = text(1);
        found.extend([format!("{below}/{name}.rs"), format!("{below}/{name}/mod.rs")]);
        // `#[path = "…"]` stands before the declaration, with nothing but a visibility between them.
        let attribute = code[at.saturating_sub(6)..at].iter().rev().find(|token| token.kind == Kind::Text);
        found.extend(attribute.map(|token| joined(dir, token.text.trim_matches('"'))));
    }
    found
}

/// A relative path, from a directory, without `..`.
fn joined(dir: &str, path: &str) -> String {
    let mut parts: Vec<&str> = dir.split('/').collect();
    for part in path.split('/') {
        if part == ".." {
            parts.pop();
        } else {
            parts.push(part);
        }
    }
    parts.join("/")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::{none, one};

    const HEAD: &str = "//! What it does, and what it never does.\n";

    fn sample(text: &str) -> Vec<Finding> {
        check(&[Source::sample("runtime/src/error.rs", &format!("{HEAD}{text}"))])
    }

    #[test]
    fn a_missing_header_is_found() {
        one(&check(&[Source::sample("a.rs", "// a comment\nfn f() {}\n")]), 1, "opens without");
        one(&check(&[Source::sample("a.rs", "")]), 1, "opens without");
    }

    #[test]
    fn a_long_file_is_found_and_its_tests_do_not_count() {
        one(&sample(&"// line\n".repeat(FILE_LINES_MAX)), 0, "501 lines");
        none(&sample(&"// line\n".repeat(FILE_LINES_MAX - 1)));
        let tests = format!("#[cfg(test)]\nmod tests {{\n{}}}\n", "// line\n".repeat(FILE_LINES_MAX));
        none(&sample(&tests));
    }

    #[test]
    fn a_long_function_is_found() {
        let long = |lines: usize| format!("fn f(x: [u8; 3]) -> u8 {{\n{}}}\n", "// line\n".repeat(lines - 2));
        one(&sample(&long(FUNCTION_LINES_MAX + 1)), 2, "`f` has 71 lines");
        none(&sample(&long(FUNCTION_LINES_MAX)));
        none(&sample("trait T { fn f(&self); fn g(f: fn(u8) -> u8); }"));
    }

    #[test]
    fn unsafe_outside_the_jail_is_found() {
        one(&sample("fn f() { unsafe { g() } }"), 2, "`unsafe`");
        none(&sample("#![deny(unsafe_code)] // unsafe\nconst A: &str = \"unsafe\";"));
        let jail = Source::sample("runtime/crates/jail/src/a.rs", &format!("{HEAD}fn f() {{ unsafe {{ g() }} }}"));
        none(&check(&[jail]));
    }

    #[test]
    fn a_silenced_lint_without_a_reason_is_found() {
        one(&sample("#[allow(dead_code)]\nfn f() {}"), 2, "#[allow(…)]");
        one(&sample("#![expect(dead_code)]"), 2, "#[expect(…)]");
        one(&sample("#[cfg_attr(test, allow(dead_code))]\nfn f() {}"), 2, "#[allow(…)]");
        none(&sample("#[expect(dead_code, reason = \"why\")]\nfn f() { x.expect(\"why it holds\"); [1, allow(2)]; }"));
    }

    #[test]
    fn an_orphan_is_found() {
        let files = ["a/src/lib.rs", "a/src/b.rs", "a/src/b/c.rs", "a/src/lost.rs"];
        let texts = ["mod b;", "mod c;", "", ""];
        let sources: Vec<Source> = files.iter().zip(texts).map(|(path, text)| Source::sample(path, text)).collect();
        let found = orphans(&sources, &BTreeSet::from(["a/src/lib.rs".to_owned()]));
        one(&found, 0, "no module declares");
        assert_eq!(found[0].path, "a/src/lost.rs");
    }
}
