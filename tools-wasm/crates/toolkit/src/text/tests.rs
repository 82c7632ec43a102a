//! Texts as they are found on disks, there and back. It never touches a disk.

use super::*;

#[track_caller]
fn there_and_back(file: &[u8], encoding: Encoding, mark: bool, text: &str) {
    let decoded = Text::decode(file).expect("it is text");
    assert_eq!((decoded.encoding, decoded.mark), (encoding, mark));
    assert_eq!(String::from_utf8_lossy(&decoded.bytes), text);
    assert_eq!(decoded.encode().expect("what was read can be written"), file);
}

#[test]
fn every_encoding_survives_there_and_back() {
    there_and_back(b"", Encoding::Utf8, false, "");
    there_and_back("gr\u{fc}n\r\n".as_bytes(), Encoding::Utf8, false, "gr\u{fc}n\r\n");
    there_and_back(b"\xef\xbb\xbfa\n", Encoding::Utf8, true, "a\n");
    there_and_back(b"\xff\xfea\0\n\0", Encoding::Utf16Le, true, "a\n");
    there_and_back(b"\xfe\xff\0a\xd8\x3d\xde\x00", Encoding::Utf16Be, true, "a\u{1f600}");
    there_and_back(b"h\0e\0l\0l\0o\0\n\0", Encoding::Utf16Le, false, "hello\n");
    there_and_back(b"\0h\0e\0l\0l\0o", Encoding::Utf16Be, false, "hello");
    there_and_back(b"caf\xe9 \x80\n", Encoding::Latin1, false, "caf\u{e9} \u{80}\n");
    there_and_back("é é é é \u{fffd}".as_bytes(), Encoding::Utf8, false, "é é é é \u{fffd}");
    let mut broken = "ä ö ü\n".as_bytes().to_vec();
    broken.extend_from_slice(b"\xff\n");
    there_and_back(&broken, Encoding::BrokenUtf8, false, "ä ö ü\n\u{fffd}\n");
    there_and_back(b"\xef\xbb\xbfa\xff", Encoding::BrokenUtf8, true, "a\u{fffd}");
}

#[test]
fn damage_after_the_beginning_is_kept() {
    let mut file = "ä".repeat(HEAD_BYTES).into_bytes();
    file.push(0xff);
    let decoded = Text::decode(&file).unwrap();
    assert_eq!(decoded.encoding, Encoding::BrokenUtf8);
    assert_eq!(decoded.encode().unwrap(), file);
}

#[test]
fn a_character_that_is_cut_by_the_window_is_no_damage() {
    let file = "ä".repeat(HEAD_BYTES);
    let head = &file.as_bytes()[..HEAD_BYTES - 1];
    assert_eq!(detect(head, false), Content::Text(Encoding::Utf8, 0));
    assert_ne!(detect(head, true), Content::Text(Encoding::Utf8, 0));
}

#[test]
fn what_is_no_text_is_told_apart() {
    assert_eq!(Text::decode(b"\x89PNG\r\n\x1a\n...").unwrap_err(), Content::Image("image/png"));
    assert_eq!(Text::decode(b"RIFF\0\0\0\0WEBPVP8 ").unwrap_err(), Content::Image("image/webp"));
    assert_eq!(Text::decode(b"\x7fELF\x02").unwrap_err(), Content::Binary("a program or library"));
    assert_eq!(Text::decode(b"a\0b").unwrap_err(), Content::Binary("binary data"));
    assert_eq!(Text::decode(&[0; 100]).unwrap_err(), Content::Binary("binary data"));
    assert_eq!(Text::decode(&[1, 2, 3, 4, 200, 201]).unwrap_err(), Content::Binary("binary data"));
    assert!(matches!(Text::decode(b"\xff\xfe\0\xd8").unwrap_err(), Content::Binary(_)), "half a surrogate pair");
    assert!(matches!(Text::decode(b"\xff\xfea").unwrap_err(), Content::Binary(_)), "half a unit");
}

#[test]
fn latin_1_refuses_what_it_has_not() {
    let text = Text { encoding: Encoding::Latin1, mark: false, bytes: "a \u{20ac}".into() };
    assert!(text.encode().unwrap_err().text().contains("no \"\u{20ac}\""));
}

#[test]
fn endings_are_told() {
    assert_eq!(Endings::of(b"a"), Endings::None);
    assert_eq!(Endings::of(b"a\nb\n"), Endings::Lf);
    assert_eq!(Endings::of(b"a\r\nb\r\n"), Endings::Crlf);
    assert_eq!(Endings::of(b"a\r\nb\r\nc\n"), Endings::Mixed { mostly_crlf: true });
    assert_eq!(Endings::of(b"a\rb"), Endings::None);
    assert_eq!(Endings::of(b"\n"), Endings::Lf);
}

#[test]
fn lines_keep_what_they_end_with() {
    let split: Vec<_> = lines(b"a\r\n\nb").collect();
    assert_eq!(split, [&b"a\r\n"[..], b"\n", b"b"]);
    assert_eq!(lines(b"").count(), 0);
    assert_eq!([chomp(b"a\r\n"), chomp(b"\n"), chomp(b"b"), chomp(b"c\r")], [&b"a"[..], b"", b"b", b"c"]);
}

#[test]
fn a_long_line_is_cut_at_a_character() {
    assert_eq!(shown("äöü".as_bytes(), 3), "äöü");
    assert_eq!(shown("äöüß".as_bytes(), 3), "äöü… [the line has 8 bytes]");
    let long = "x".repeat(1_000_000);
    assert_eq!(shown(long.as_bytes(), 4), "xxxx… [the line has 1000000 bytes]");
    assert_eq!(cut("äö", 3), "ä");
}

#[test]
fn a_text_may_begin_like_a_format() {
    for text in ["ID3 tags are described here\n", "BZh is how it begins\n", "OggS pages\n"] {
        there_and_back(text.as_bytes(), Encoding::Utf8, false, text);
    }
    assert_eq!(Text::decode(b"ID3\x03\0\0").unwrap_err(), Content::Binary("an MP3 file"));
    assert_eq!(Text::decode(b"BZh91AY&SY\xb5\xff").unwrap_err(), Content::Binary("bzip2 data"));
    assert_eq!(Text::decode(b"%PDF-1.7\n").unwrap_err(), Content::Binary("a PDF document"));
}
