//! Words that must not be in any file: promises to do it later, and paths of the machine that it was written on.
//! It never reads a file's meaning, so the words are spelled in two halves here.

use super::source::{Finding, Source};

/// Words and why they are refused.
const REFUSED: [(&str, &str); 6] = [
    (concat!("TO", "DO"), "say what is missing where a reader looks for it, or do it"),
    (concat!("FIX", "ME"), "say what is missing where a reader looks for it, or do it"),
    (concat!("XX", "X:"), "say what is missing where a reader looks for it, or do it"),
    (concat!("todo", "!("), "an unfinished function panics on a guest's input"),
    (concat!("unimplemented", "!("), "an unfinished function panics on a guest's input"),
    (concat!("github.com/", "OWNER"), "a placeholder is not an address"),
];

/// Beginnings of paths that exist on one machine only.
const MACHINE: [&str; 5] = [
    concat!("/wo", "rk/"),
    concat!("/ro", "ot/.cargo"),
    concat!("/ro", "ot/.rustup"),
    concat!("/ro", "ot/.pyenv"),
    concat!("/home/pro", "be"),
];

/// What is refused, in every file.
pub(crate) fn check(sources: &[Source]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for source in sources.iter().filter(|source| source.path != "Cargo.lock") {
        for (index, line) in source.text.lines().enumerate() {
            for (word, why) in REFUSED.iter().filter(|(word, _)| line.contains(word)) {
                findings.push(Finding::new(&source.path, index + 1, format!("`{word}`: {why}")));
            }
            if let Some(path) = MACHINE.iter().find(|path| begins(line, path)) {
                findings.push(Finding::new(&source.path, index + 1, format!("`{path}` is a path of one machine")));
            }
        }
    }
    findings
}

/// Whether the path stands in the line as an absolute one, and not as the tail of another.
fn begins(line: &str, path: &str) -> bool {
    line.match_indices(path).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        before.is_none_or(|c| !c.is_alphanumeric() && !matches!(c, '.' | '_' | '-' | '}' | '/' | '*' | '~'))
    })
}

#[test]
fn a_promise_and_a_machine_path_are_found() {
    let check = |text: String| check(&[Source::sample("runtime/src/error.rs", &text)]);
    super::source::one(&check(format!("\n// {}: later", REFUSED[0].0)), 2, REFUSED[0].0);
    super::source::one(&check(format!("{}\"x\")", REFUSED[3].0)), 1, REFUSED[3].0);
    super::source::one(&check(format!("let p = \"{}main\";", MACHINE[0])), 1, "one machine");
    super::source::none(&check(format!("let p = \"/proc/1{}\"; // method", MACHINE[1])));
}
