//! Edits that succeed, edits that are refused and with what, and files that must survive both. It never edits anything
//! but its own fixtures.

use super::*;
use crate::native::{Failing, Fault, Workspace};
use std::fs;

#[track_caller]
fn edited(file: &[u8], arguments: Value, result: &[u8]) {
    let workspace = Workspace::new([("f", file)]);
    let answer = call(&workspace, arguments).expect("it can be edited");
    assert_eq!(String::from_utf8_lossy(&workspace.get("f")), String::from_utf8_lossy(result), "{}", answer.text);
    assert_eq!(workspace.get("f"), result);
    assert_eq!(workspace.names(), ["f"]);
}

#[track_caller]
fn refused(file: &[u8], arguments: Value, said: &str) {
    let workspace = Workspace::new([("f", file)]);
    let failure = call(&workspace, arguments).expect_err("it cannot be edited");
    assert!(failure.text().contains(said), "{}", failure.text());
    assert_eq!(workspace.get("f"), file, "a refused edit changes nothing");
    assert_eq!(workspace.names(), ["f"]);
}

fn call(workspace: &Workspace, mut arguments: Value) -> Result<Answer, Failure> {
    arguments["file_path"] = json!("f");
    run(&arguments.to_string(), workspace)
}

fn one(old: &str, new: &str) -> Value {
    json!({ "old_string": old, "new_string": new })
}

#[test]
fn a_text_that_is_there_once_is_replaced() {
    edited(b"a b c\n", one("b", "x"), b"a x c\n");
    edited(b"a\nb\nc", one("b\nc", "x"), b"a\nx");
    edited(b"a\nb\n", one("b\n", ""), b"a\n");
    edited("gr\u{fc}n\n".as_bytes(), one("\u{fc}", "\u{1f600}"), "gr\u{1f600}n\n".as_bytes());
    edited(b"aXaXa", json!({ "old_string": "X", "new_string": "--", "replace_all": true }), b"a--a--a");
    edited(b"aaa", json!({ "old_string": "aa", "new_string": "b", "replace_all": true }), b"ba");
}

#[test]
fn several_edits_follow_each_other_all_or_none() {
    let both =
        json!({ "edits": [one("a", "b b"), json!({ "old_string": "b", "new_string": "c", "replace_all": true })] });
    edited(b"a\n", both, b"c c\n");
    let second_fails = json!({ "edits": [one("a", "b"), one("a", "c")] });
    refused(b"a\n", second_fails, "edit 2 of 2: \"old_string\" is not in the file");
    refused(b"a\n", json!({ "edits": [one("a", "b"), one("b", "a")] }), "undo each other");
}

#[test]
fn line_endings_survive() {
    edited(b"a\r\nb\r\nc\r\n", one("a\nb", "x\ny\nz"), b"x\r\ny\r\nz\r\nc\r\n");
    edited(b"a\r\nb\r\n", one("b", "x\ny"), b"a\r\nx\r\ny\r\n");
    edited(b"a\nb\r\nc\n", one("b\n", "x\ny\n"), b"a\nx\r\ny\r\nc\n");
    edited(b"a\nb\r\nc\n", one("a\nb\nc", "x"), b"x\n");
    refused(b"a\r\nb\n", one("\n", "!\n"), "is there 2 times, at lines 1, 2");
}

#[test]
fn marks_and_encodings_survive() {
    edited(b"\xef\xbb\xbfa\n", one("a", "b"), b"\xef\xbb\xbfb\n");
    edited(b"\xff\xfea\0\n\0", one("a", "\u{1f600}"), b"\xff\xfe\x3d\xd8\x00\xde\n\0");
    edited(b"caf\xe9 a\n", one("\u{e9} a", "\u{fc}"), b"caf\xfc\n");
    edited(b"\xc3\xa4\xc3\xb6\xff\n", one("\u{e4}", "a"), b"a\xc3\xb6\xff\n");
    refused(b"caf\xe9\n", one("caf", "\u{20ac}"), "latin-1, which has no");
    refused(b"a\0b\n", one("a", "c"), "is binary data, not text");
    refused(b"\x89PNG\r\n\x1a\n", one("P", "c"), "is a picture");
}

#[test]
fn a_place_that_is_not_one_is_refused_with_all_places() {
    refused(b"x\nx\ny\nx\n", one("x", "z"), "is there 3 times, at lines 1, 2, 4: add lines around it");
    refused("x\n".repeat(20).as_bytes(), one("x", "z"), "is there 20 times, at lines 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, …");
}

#[test]
fn near_misses_are_shown_with_their_lines() {
    let code = b"fn main() {\n\tlet value = 1;\n\tprintln!(\"{value}\");\n}\n";
    refused(
        code,
        one("    let value = 1;\n    println!(\"{value}\");", "x"),
        "only in indentation (tabs or spaces):\n     2\t\tlet value = 1;\n     3\t",
    );
    refused(b"a  \nb\n", one("a\nb", "x"), "only in spaces at line ends:\n     1\ta  \n     2\tb");
    refused(code, one("     2\t\tlet value = 1;", "x"), "without the line numbers");
    refused(code, one("fn main() {\\n", "x"), "escaped twice");
    refused("say \u{201c}hello\u{201d}\n".as_bytes(), one("say \"hello\"", "x"), "look alike:\n     1\t");
    refused(code, one("FN MAIN()", "x"), "upper and lower case:\n     1\tfn main() {");
    refused(code, one("let valve = 2;", "y"), "nearest to it is:\n     2\t\tlet value = 1;");
    refused(code, one("nothing of the kind", "y"), "nor is anything like it; read the file again");
    refused(code, one("let other = 7;", "let value = 1;"), "at line 2: perhaps this was done before");
    refused(b"a\nb\n", one("a\r\nb", "x"), "its line endings are lf");
    refused(b"a\nb\nc\n", one("\n\n\na\nb", "x"), "without the empty lines");
}

#[test]
fn a_call_that_cannot_be_meant_is_refused() {
    refused(b"a", one("", "x"), "\"old_string\" is empty");
    refused(b"a", one("a", "a"), "are the same");
    refused(b"a", json!({ "old_string": "a" }), "give \"old_string\" and \"new_string\"");
    refused(b"a", json!({ "edits": [], }), "has 0 entries");
    refused(b"a", json!({ "edits": [one("a", "b")], "old_string": "a" }), "exclude each other");
    refused(
        b"a",
        json!({ "edits": [{ "old_str": "a", "new_string": "" }] }),
        "write \"old_string\" instead of \"old_str\"",
    );
    refused(b"a", json!({ "edits": vec![one("a", "b"); 101] }), "from 1 to 100");
}

#[test]
fn hostile_files_are_no_trouble() {
    let long = vec![b'x'; 5_000_000];
    refused(&long, one("y", "z"), "nor is anything like it");
    refused(&long, one("x", "z"), "is there 5000000 times");
    let many = "line of text\n".repeat(60_000);
    refused(many.as_bytes(), one("lime of test", "z"), "nor is anything like it");
    let mut file = many.clone().into_bytes();
    file.extend_from_slice(b"end");
    let mut result = many.into_bytes();
    result.extend_from_slice(b"END");
    edited(&file, one("end", "END"), &result);
}

#[test]
fn an_edit_answers_with_the_difference() {
    let workspace = Workspace::new([("f", &b"1\n2\n3\n4\n5\n6\n7\n8\n9\n"[..])]);
    let answer = call(&workspace, one("5", "five")).unwrap();
    assert_eq!(answer.text, "1 replacement in \"f\"\n@@ -2,7 +2,7 @@\n 2\n 3\n 4\n-5\n+five\n 6\n 7\n 8\n");
    assert_eq!(answer.structured["edits"], json!([{ "line": 5, "replacements": 1 }]));
}

#[test]
fn a_file_that_changes_meanwhile_is_not_overwritten() {
    let workspace = Workspace::new([("f", &b"a\n"[..])]);
    let place = store::place(&workspace, "f").unwrap();
    let staged = store::stage(&workspace, place, b"mine\n", 0).unwrap();
    fs::write(workspace.at("f"), b"theirs, longer\n").unwrap();
    let failure = staged.commit(&workspace).unwrap_err().why();
    assert!(failure.text().contains("changed by somebody else meanwhile"), "{failure:?}");
    assert_eq!(workspace.get("f"), b"theirs, longer\n");
    assert_eq!(workspace.names(), ["f"]);
}

#[test]
fn an_edit_in_place_that_breaks_off_leaves_what_was_there() {
    let workspace = Workspace::new([("f", &b"one two\n"[..])]);
    fs::hard_link(workspace.at("f"), workspace.at("g")).unwrap();
    let arguments = json!({ "file_path": "f", "old_string": "one", "new_string": "another" }).to_string();
    let failure = run(&arguments, &Failing::new(&workspace, [Fault::Overwrite(0)])).unwrap_err();
    assert!(failure.text().ends_with("there is no space left for it"), "{failure:?}");
    assert_eq!(workspace.get("g"), b"one two\n");
}

#[test]
fn a_refusal_with_long_lines_ends_as_it_should() {
    let line = "\u{20ac}".repeat(300);
    let file = format!("  a{line}\n  b{line}\n  c{line}\n  d{line}\n  e{line}\n  f{line}\n  g{line}\n");
    let workspace = Workspace::new([("f", file.as_bytes())]);
    let failure = call(&workspace, one(&file.replace("  ", ""), "x")).unwrap_err();
    assert!(failure.text().len() < 4096 && failure.text().ends_with(" …; \"f\" was not changed"), "{failure:?}");
}
