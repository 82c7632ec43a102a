//! Diffs: real git takes them, and no terminal is moved by them.

use super::super::*;
use super::support::{Place, Times, path, run, tree};
use std::fs;

fn rendered(layer: &Layer, render: &Render) -> Vec<u8> {
    let changes = layer.changes(Freshness::Rehash).unwrap();
    let mut out = Vec::new();
    layer.render(&changes, &[], render, &mut out).unwrap();
    out
}

#[test]
fn git_applies_the_diff_and_gets_the_same_tree() {
    let place = Place::new("render");
    let lines: String = (0..100).map(|n| format!("line {n}\n")).collect();
    for (name, text) in [
        ("a", lines.as_str()),
        ("no-newline", "x\ny"),
        ("gone", "bye\n"),
        ("moved", "some text\n"),
        ("exec", "#!/bin/sh\n"),
    ] {
        place.write(name, text);
    }
    place.write("with space", "1\n");
    place.write("qu\"ote\\\n\u{e9}", "1\n");
    run("cp", &["-a", "ws", "copy"], &place.0, "");
    let layer = place.layer();
    place.guest(
        "sed -i -e 's/line 10$/LINE 10/' -e '/line 50$/d' -e 's/line 90$/a\\nb/' a; printf 'x\\nz' > no-newline; rm gone; \
         mkdir sub; mv moved sub/to; chmod 755 exec; echo 2 >> 'with space'; echo 2 >> qu*; printf '' > empty; \
         echo new > sub/new; ln -s a link; printf 'tab\\there' > 't\tab'",
    );
    let patch = rendered(&layer, &Render::default());
    fs::write(place.0.join("patch"), &patch).unwrap();
    run("git", &["apply", "--verbose", "../patch"], &place.0.join("copy"), "");
    let plan = layer.plan(&Selection::All, &super::support::free, &[]).unwrap();
    layer.execute(&plan).unwrap();
    assert_eq!(tree(&place.0.join("copy"), Times::Ignored), tree(&place.ws(), Times::Ignored));
}

#[test]
fn nothing_in_a_file_or_a_name_reaches_the_terminal_as_a_control() {
    let place = Place::new("render");
    place.write("a", "old\n");
    let layer = place.layer();
    place.guest(r"printf '\033]52;c;eA==\007 \302\233 \342\200\256 \377 \r\n' > a; echo > $(printf 'n\033[31m')");
    for colour in [Colour::Never, Colour::Always] {
        let render = Render { colour, controls: Controls::Visible, ..Render::default() };
        let text = String::from_utf8(rendered(&layer, &render)).expect("all of it is valid UTF-8");
        for sequence in text.split('\x1b').skip(1) {
            assert!(sequence.starts_with('['), "only our own colours: {sequence:?}");
            assert!(sequence[1..].chars().take_while(|c| *c != 'm').all(|c| c.is_ascii_digit()), "{sequence:?}");
        }
        assert!(!text.contains(['\x07', '\r', '\u{9b}', '\u{202e}']));
        assert!(text.contains("^[]52;c;eA==^G <U+009B> <U+202E> <FF> ^M"), "{text}");
    }
}

#[test]
fn large_and_binary_files_are_named_and_not_shown() {
    let place = Place::new("render");
    let layer = place.layer();
    place.guest("head -c 5000 /dev/zero > zero; yes | head -c 5000 > big; mkdir e; mkfifo f");
    let render = Render { text_bytes_max: 4096, ..Render::default() };
    let text = String::from_utf8(rendered(&layer, &render)).unwrap();
    for expected in [
        "Binary files /dev/null and b/zero differ",
        "Binary files /dev/null and b/big differ",
        "# 0 bytes -> 5000 bytes",
        "# new directory e",
        "# new fifo f",
    ] {
        assert!(text.contains(expected), "{expected}: {text}");
    }
    let changes = layer.changes(Freshness::Rehash).unwrap();
    let mut out = Vec::new();
    layer.render_stat(&changes, &render, &mut out).unwrap();
    assert!(String::from_utf8(out).unwrap().contains(" big  | "));
    let mut out = Vec::new();
    layer.render(&changes, &[path("e")], &render, &mut out).unwrap();
    assert_eq!(out, b"# new directory e\n");
}
