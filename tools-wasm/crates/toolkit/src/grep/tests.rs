//! Searching trees that are ordinary and trees that are not. It never writes but its own fixtures.

use super::*;
use crate::native::Workspace;
use std::os::unix::fs::symlink;

fn tree() -> Workspace {
    Workspace::new([
        (".gitignore", &b"/target\n"[..]),
        ("target/out.rs", b"needle\n"),
        (".git/HEAD", b"needle\n"),
        ("src/a.rs", b"one\ntwo needle\nthree\nfour\nfive\nsix needle\nseven\n"),
        ("src/b.py", b"Needle = 'needle'\n"),
        ("doc/c.md", b"nothing\n"),
        ("bin", b"needle\n\0\0"),
    ])
}

#[track_caller]
fn grep(workspace: &Workspace, arguments: Value) -> Answer {
    run(&arguments.to_string(), workspace).expect("it can be searched")
}

#[test]
fn files_counts_and_lines() {
    let workspace = tree();
    let answer = grep(&workspace, json!({ "pattern": "needle" }));
    assert_eq!(answer.structured["files"], json!(["src/a.rs", "src/b.py"]), "{}", answer.text);
    let answer = grep(&workspace, json!({ "pattern": "needle", "output_mode": "count" }));
    assert!(answer.text.starts_with("src/a.rs:2\nsrc/b.py:1\n[3 matches in 2 files]"), "{}", answer.text);
    let answer = grep(&workspace, json!({ "pattern": "needle", "output_mode": "content", "path": "src" }));
    assert_eq!(
        answer.text,
        "src/a.rs:2:two needle\nsrc/a.rs:6:six needle\nsrc/b.py:1:Needle = 'needle'\n[3 matches in 2 files]"
    );
    let line = json!({ "path": "src/a.rs", "line": 2, "text": "two needle", "match": true });
    assert_eq!(answer.structured["lines"][0], line);
    let answer =
        grep(&workspace, json!({ "pattern": "needle", "output_mode": "content", "path": "src/a.rs", "-n": false }));
    assert_eq!(answer.text, "src/a.rs:two needle\nsrc/a.rs:six needle\n[2 matches in 1 files]");
}

#[test]
fn context_is_shown_with_gaps() {
    let workspace = tree();
    let answer = grep(&workspace, json!({ "pattern": "needle", "output_mode": "content", "glob": "*.rs", "-C": 1 }));
    let lines = "src/a.rs-1-one\nsrc/a.rs:2:two needle\nsrc/a.rs-3-three\n--\nsrc/a.rs-5-five\nsrc/a.rs:6:six needle\nsrc/a.rs-7-seven\n";
    assert_eq!(answer.text, format!("{lines}[2 matches in 1 files]"));
    let answer = grep(&workspace, json!({ "pattern": "six", "output_mode": "content", "-A": 1, "-B": 2 }));
    assert!(answer.text.starts_with("src/a.rs-4-four\nsrc/a.rs-5-five\nsrc/a.rs:6:six needle\nsrc/a.rs-7-seven\n"));
}

#[test]
fn globs_types_and_cases() {
    let workspace = tree();
    let files = |arguments: Value| grep(&workspace, arguments).structured["files"].clone();
    assert_eq!(files(json!({ "pattern": "needle", "type": "py" })), json!(["src/b.py"]));
    assert_eq!(files(json!({ "pattern": "needle", "type": "rust" })), json!(["src/a.rs"]));
    assert_eq!(files(json!({ "pattern": "needle", "glob": "*.{py,md}" })), json!(["src/b.py"]));
    assert_eq!(files(json!({ "pattern": "needle", "glob": "src/*.rs" })), json!(["src/a.rs"]));
    assert_eq!(files(json!({ "pattern": "^needle", "-i": true })), json!(["src/b.py"]));
    assert_eq!(files(json!({ "pattern": "= 'need", "fixed_strings": true })), json!(["src/b.py"]));
    assert_eq!(files(json!({ "pattern": "two.*\\nthree", "multiline": true })), json!(["src/a.rs"]));
    let all = files(json!({ "pattern": "needle", "include_ignored": true }));
    assert_eq!(all, json!([".git/HEAD", "src/a.rs", "src/b.py", "target/out.rs"]));
}

#[test]
fn a_wrong_question_is_answered_with_the_right_one() {
    let workspace = tree();
    for (arguments, said) in [
        (json!({ "pattern": "fn main(" }), "escape special characters"),
        (json!({ "pattern": "(?=x)" }), "neither look-around"),
        (json!({ "pattern": "a\\nb" }), "set \"multiline\""),
        (json!({ "pattern": "x", "type": "rs" }), "there is no type \"rs\"; there are, among others: "),
        (json!({ "pattern": "x", "path": "scr" }), "there is: \"src\""),
        (json!({ "pattern": "x", "output_mode": "lines" }), "must be one of: files_with_matches, content, count"),
        (json!({ "pattern": "(a{1000}){1000}" }), "the pattern is wrong"),
    ] {
        let failure = run(&arguments.to_string(), &workspace).unwrap_err();
        assert!(failure.text().contains(said), "{failure:?}");
    }
    assert!(grep(&workspace, json!({ "pattern": "absent" })).text.starts_with("[no match; "));
}

#[test]
fn pages_follow_each_other() {
    let workspace = Workspace::new([("f", "x\n".repeat(1000).as_bytes())]);
    let (mut offset, mut lines) = (0, Vec::new());
    loop {
        let page = json!({ "pattern": "x", "output_mode": "content", "head_limit": 300, "offset": offset });
        let answer = grep(&workspace, page);
        lines.extend(answer.structured["lines"].as_array().unwrap().iter().map(|line| line["line"].as_u64().unwrap()));
        match answer.structured["next_offset"].as_u64() {
            Some(next) => offset = next,
            None => break,
        }
    }
    assert_eq!(lines, (1..=1000).collect::<Vec<u64>>());
}

#[test]
fn encodings_are_searched_and_binaries_counted() {
    let workspace = Workspace::new([
        ("wide", &b"\xff\xfen\0e\0e\0d\0l\0e\0\n\0"[..]),
        ("latin", b"caf\xe9 needle\n"),
        ("crlf", b"needle\r\nneedle"),
        ("later", &[&b"needle\n".repeat(100_000)[..], b"\0"].concat()),
    ]);
    let answer = grep(&workspace, json!({ "pattern": "needle$", "output_mode": "count" }));
    // A zero that comes after much text is met too late to make a file binary, as in ripgrep.
    assert!(answer.text.starts_with("crlf:2\nlater:100000\nlatin:1\n"), "{}", answer.text);
    assert!(answer.text.contains("wide:1\n"), "{}", answer.text);
    let workspace = Workspace::new([("latin", &b"caf\xe9\n"[..])]);
    let answer = grep(&workspace, json!({ "pattern": "caf", "output_mode": "content" }));
    assert!(answer.text.starts_with("latin:1:caf\u{fffd}\n"), "{}", answer.text);
}

#[test]
fn hostile_trees_and_lines_are_no_trouble() {
    let mut line = vec![b'x'; 3_000_000];
    line.extend_from_slice("ä needle ä\n".as_bytes());
    let workspace = Workspace::new([("f", &line[..])]);
    symlink("f", workspace.at("link")).unwrap();
    symlink("loop", workspace.at("loop")).unwrap();
    symlink(".", workspace.at("up")).unwrap();
    let answer = grep(&workspace, json!({ "pattern": "needle", "output_mode": "content" }));
    assert!(answer.text.len() < 1200, "{}", answer.text.len());
    assert!(answer.text.contains("needle ä… [the line has 3000012 bytes; column 3000004]"), "{}", answer.text);
    let through = grep(&workspace, json!({ "pattern": "needle", "path": "link" }));
    assert_eq!(through.structured["files"], json!(["link"]));
    let many = Workspace::new([]);
    many.put("f", "needle in a line of some length\n".repeat(100_000).as_bytes());
    let answer = grep(&many, json!({ "pattern": "needle", "output_mode": "content", "head_limit": 2000 }));
    assert!(answer.text.len() <= ANSWER_BYTES_MAX + 200, "{}", answer.text.len());
    assert_eq!(answer.structured["complete"], false);
}

#[test]
fn binary_files_are_told() {
    let answer = grep(&tree(), json!({ "pattern": "needle" }));
    assert!(answer.text.ends_with("[2 files]\n[1 binary files were not searched]"), "{}", answer.text);
    let answer = grep(&tree(), json!({ "pattern": "needle", "path": "bin" }));
    assert!(answer.text.ends_with("\n[1 binary files were not searched]"), "{}", answer.text);
}

#[test]
fn long_ignore_files_are_heeded_to_their_last_whole_line() {
    let long = format!("{}out\n", "# a comment\n".repeat(1000));
    let workspace = Workspace::new([(".gitignore", long.as_bytes()), ("out", b"needle\n"), ("in", b"needle\n")]);
    assert_eq!(grep(&workspace, json!({ "pattern": "needle" })).structured["files"], json!(["in"]));
    // The limit cuts the last pattern to "in".
    let line = "# a comment, 32 bytes with its end\n";
    let mut cut = line.repeat(256 * 1024 / line.len());
    cut += &"\n".repeat(256 * 1024 - 2 - cut.len());
    cut += "inner\n";
    let workspace = Workspace::new([(".gitignore", cut.as_bytes()), ("in", b"needle\n")]);
    assert_eq!(grep(&workspace, json!({ "pattern": "needle" })).structured["files"], json!(["in"]));
}
