//! Reading what is on disks: ranges, encodings, and files that are hostile. It never writes but its own fixtures.

use super::*;
use crate::native::Workspace;
use std::os::unix::fs::symlink;

#[track_caller]
fn read(file: &[u8], more: &str) -> Answer {
    let workspace = Workspace::new([("f", file)]);
    run(&format!("{{\"file_path\":\"f\"{more}}}"), &workspace).expect("it can be read")
}

#[track_caller]
fn refused(file: &[u8], more: &str, said: &str) {
    let workspace = Workspace::new([("f", file)]);
    let failure = run(&format!("{{\"file_path\":\"f\"{more}}}"), &workspace).expect_err("it cannot be read");
    assert!(failure.text().contains(said), "{failure:?}");
}

#[test]
fn lines_are_numbered_and_counted() {
    let answer = read(b"a\nb\nc\n", "");
    assert_eq!(answer.text, "     1\ta\n     2\tb\n     3\tc\n");
    assert_eq!(answer.structured["total_lines"], 3);
    assert_eq!(answer.structured["next_offset"], Value::Null);
    assert_eq!(answer.structured["content"], "a\nb\nc\n");
}

#[test]
fn a_range_says_where_to_read_on() {
    let answer = read(b"a\nb\nc\nd", ",\"offset\":2,\"limit\":2");
    assert_eq!(answer.text, "     2\tb\n     3\tc\n[lines 2 to 3 of 4; read on with offset 4]\n");
    assert_eq!(answer.structured["next_offset"], 4);
    let answer = read(b"a\nb\nc\nd", ",\"offset\":4");
    assert_eq!(answer.text, "     4\td\n[the last line has no line end]\n");
    assert_eq!(answer.structured["content"], "d");
    refused(b"a\nb\n", ",\"offset\":3", "has no line 3: it has 2 lines");
}

#[test]
fn an_empty_file_is_said_to_be_empty() {
    let answer = read(b"", "");
    assert_eq!(answer.text, "[the file is empty]\n");
    assert_eq!(answer.structured["total_lines"], 0);
    refused(b"", ",\"offset\":2", "has no line 2: it has 0 lines");
}

#[test]
fn endings_and_encodings_are_told() {
    let answer = read(b"\xef\xbb\xbfa\r\nb\r\n", "");
    assert_eq!(answer.text, "     1\ta\n     2\tb\n[line endings: crlf; encoding: utf-8 with a byte order mark]\n");
    assert_eq!(read(b"a\r\nb\n", "").structured["line_endings"], "mixed");
    let answer = read(b"\xff\xfeh\0i\0\r\0\n\0", "");
    assert_eq!(answer.text, "     1\thi\n[line endings: crlf; encoding: utf-16le with a byte order mark]\n");
    let answer = read(b"caf\xe9\n", "");
    assert_eq!(answer.text, "     1\tcaf\u{e9}\n[encoding: latin-1]\n");
    let answer = read("ä ö ü\n\u{0}".replace('\0', "").as_bytes(), ",\"encoding\":\"latin-1\"");
    assert!(answer.text.contains("Ã¤"), "{}", answer.text);
}

#[test]
fn a_line_end_between_two_blocks_is_seen() {
    // The fixture's source gives 4096 bytes at a time: the CR is the last of one block and the LF the first of the next.
    let mut file = vec![b'x'; 4095];
    file.extend_from_slice(b"\r\ny\r\n");
    let answer = read(&file, ",\"offset\":2");
    assert_eq!(answer.structured["line_endings"], "crlf");
    assert_eq!(answer.structured["content"], "y\n");
}

#[test]
fn a_huge_line_is_cut_and_does_not_fill_the_answer() {
    let mut file = vec![b'x'; 3_000_000];
    file.extend_from_slice(b"\nend\n");
    let answer = read(&file, "");
    assert!(answer.text.len() < 3000, "{}", answer.text.len());
    assert!(answer.text.contains("x… [the line has 3000001 bytes]\n     2\tend\n"), "{}", &answer.text[1990..]);
    assert_eq!(answer.structured["lines_cut"], true);
    // Characters are counted, not bytes, and none is cut in two.
    let answer = read("ä".repeat(2001).as_bytes(), "");
    assert!(answer.text.contains("ä… [the line has 4002 bytes]"), "{}", answer.text);
    assert!(!read("ä".repeat(2000).as_bytes(), "").text.contains('…'));
    let mut latin = vec![0xe9; 20_000];
    latin.push(b'\n');
    assert!(read(&latin, "").text.contains("é… [the line has 20001 bytes]"));
}

#[test]
fn an_answer_has_a_limit_and_pages_cover_everything() {
    let file: String = (0..9000).map(|n| format!("{n:0>60}\n")).collect();
    let workspace = Workspace::new([("f", file.as_bytes())]);
    let (mut offset, mut content, mut pages) = (1, String::new(), 0);
    loop {
        let answer = run(&format!("{{\"file_path\":\"f\",\"offset\":{offset}}}"), &workspace).unwrap();
        assert!(answer.text.len() <= ANSWER_BYTES_MAX, "{}", answer.text.len());
        content += answer.structured["content"].as_str().unwrap();
        pages += 1;
        match answer.structured["next_offset"].as_u64() {
            Some(next) => offset = next,
            None => break,
        }
    }
    assert_eq!(content, file);
    assert!(pages > 8, "{pages}");
}

#[test]
fn pictures_are_shown_and_other_binaries_refused() {
    let answer = read(b"\x89PNG\r\n\x1a\n123", "");
    assert_eq!(answer.images, [("image/png".to_owned(), b"\x89PNG\r\n\x1a\n123".to_vec())]);
    refused(b"\x7fELF\0\0", "", "is a program or library of 6 bytes, not text");
    refused(b"a\0b", "", "binary data");
    let forced = read(b"a\0b", ",\"encoding\":\"latin-1\"");
    assert_eq!(forced.structured["content"], "a\u{0}b");
    let mut large = b"\xff\xd8\xff".to_vec();
    large.resize(5 * 1024 * 1024 + 1, 0);
    refused(&large, "", "make it smaller first");
}

#[test]
fn what_is_no_file_is_refused_with_what_to_do() {
    let workspace = Workspace::new([("src/main.rs", &b""[..]), ("src/lib.rs", b"")]);
    symlink("b", workspace.at("a")).unwrap();
    symlink("a", workspace.at("b")).unwrap();
    symlink("nowhere", workspace.at("dangling")).unwrap();
    #[track_caller]
    fn check(workspace: &Workspace, path: &str, said: &str) {
        let failure = run(&json!({ "file_path": path }).to_string(), workspace).unwrap_err();
        assert!(failure.text().contains(said), "{failure:?}");
    }
    check(&workspace, "src", "is a directory; list shows");
    check(&workspace, "src/mian.rs", "it does not exist; there is: \"src/main.rs\"");
    check(&workspace, "src/main.py", "it does not exist; there is: \"src/main.rs\"");
    check(&workspace, "nothing/like/it", "it does not exist; glob or list show");
    check(&workspace, "a", "lead to each other");
    check(&workspace, "dangling", "it does not exist");
    check(&workspace, "src/main.rs/x", "not a directory");
    check(&workspace, "/dev/null", "neither a file nor a directory");
}

#[test]
fn encodings_asked_for_are_those_of_the_schema() {
    assert_eq!(encodings(), json!(["auto", "utf-8", "utf-16le", "utf-16be", "latin-1"]));
}
