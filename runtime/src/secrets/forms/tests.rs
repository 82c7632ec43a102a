//! The forms, beside what other programs write.

use super::*;

/// A secret with every character that some encoder treats in its own way.
const PLAIN: &str = "pä\"ss/w+rd <&'> ~!*\\n";

/// A form, who writes it so, and what it writes. From Python 3.13 unless it says otherwise.
const ROWS: [(Form, &str, &str); 26] = [
    (Form::Raw, "itself", PLAIN),
    (Form::Base64, "b64encode", "cMOkInNzL3crcmQgPCYnPiB+ISpcbg=="),
    (Form::Base64, "quote(b64encode)", "cMOkInNzL3crcmQgPCYnPiB%2BISpcbg%3D%3D"),
    (Form::Base64, "b64encode, one byte before and one behind", "DDpCJzcy93K3JkIDwmJz4gfiEqXG"),
    (Form::Base64, "b64encode, two bytes before and one behind", "ww6Qic3MvdytyZCA8Jic+IH4hKlxu"),
    (Form::Base64Url, "urlsafe_b64encode", "cMOkInNzL3crcmQgPCYnPiB-ISpcbg=="),
    (Form::Base64Url, "JWT (RFC 7515, appendix C)", "cMOkInNzL3crcmQgPCYnPiB-ISpcbg"),
    (Form::Basic, "curl --user", "cm9ib3Q6cMOkInNzL3crcmQgPCYnPiB+ISpcbg=="),
    (Form::Hex, "hex", "70c3a42273732f772b7264203c26273e207e212a5c6e"),
    (Form::Hex, "hex().upper()", "70C3A42273732F772B7264203C26273E207E212A5C6E"),
    (Form::Percent, "quote", "p%C3%A4%22ss/w%2Brd%20%3C%26%27%3E%20~%21%2A%5Cn"),
    (Form::Percent, "quote(safe='')", "p%C3%A4%22ss%2Fw%2Brd%20%3C%26%27%3E%20~%21%2A%5Cn"),
    (Form::Percent, "quote(safe='').lower()", "p%c3%a4%22ss%2fw%2brd%20%3c%26%27%3e%20~%21%2a%5cn"),
    (Form::Percent, "quote_plus", "p%C3%A4%22ss%2Fw%2Brd+%3C%26%27%3E+~%21%2A%5Cn"),
    (Form::Percent, "Node, encodeURIComponent", "p%C3%A4%22ss%2Fw%2Brd%20%3C%26'%3E%20~!*%5Cn"),
    (Form::Percent, "Node, encodeURI", "p%C3%A4%22ss/w+rd%20%3C&'%3E%20~!*%5Cn"),
    (Form::Percent, "Node, URLSearchParams", "p%C3%A4%22ss%2Fw%2Brd+%3C%26%27%3E+%7E%21*%5Cn"),
    (
        Form::PercentTwice,
        "quote twice",
        "p%25C3%25A4%2522ss%252Fw%252Brd%2520%253C%2526%2527%253E%2520~%2521%252A%255Cn",
    ),
    (Form::Json, "json.dumps", "p\\u00e4\\\"ss/w+rd <&'> ~!*\\\\n"),
    (Form::Json, "json.dumps(ensure_ascii=False)", "pä\\\"ss/w+rd <&'> ~!*\\\\n"),
    (Form::Json, "json.dumps twice", "pä\\\\\\\"ss/w+rd <&'> ~!*\\\\\\\\n"),
    (Form::Json, "PHP, json_encode", "p\\u00e4\\\"ss\\/w+rd <&'> ~!*\\\\n"),
    (Form::Json, "Go, json.Marshal", "pä\\\"ss/w+rd \\u003c\\u0026'\\u003e ~!*\\\\n"),
    (Form::Json, ".NET, JsonSerializer", "p\\u00E4\\u0022ss/w\\u002Brd \\u003C\\u0026\\u0027\\u003E ~!*\\\\n"),
    (Form::Html, "html.escape", "pä&quot;ss/w+rd &lt;&amp;&#x27;&gt; ~!*\\n"),
    (Form::Html, "Go, html.EscapeString", "pä&#34;ss/w+rd &lt;&amp;&#39;&gt; ~!*\\n"),
];

#[test]
fn what_other_programs_write_is_among_the_forms() {
    let all = spellings(PLAIN.as_bytes(), Some("robot")).unwrap_or_else(|_| panic!("it is long enough"));
    for (form, who, text) in ROWS {
        let found = all.iter().find(|one| &one.bytes[..] == text.as_bytes());
        assert_eq!(found.map(|one| one.form), Some(form), "{who}: {text}");
    }
}

#[test]
fn every_character_as_a_number_is_among_the_forms() {
    let all = spellings(PLAIN.as_bytes(), None).unwrap_or_else(|_| panic!("it is long enough"));
    let is_there = |wanted: &[u8]| all.iter().any(|one| &one.bytes[..] == wanted);
    let by_byte = |write: fn(u8) -> String| PLAIN.bytes().map(write).collect::<String>();
    let by_char = |write: fn(char) -> String| PLAIN.chars().map(write).collect::<String>();
    let texts = [
        by_byte(|byte| format!("%{byte:02x}")),
        by_byte(|byte| format!("%{byte:02X}")),
        by_byte(|byte| format!("%25{byte:02X}")),
        by_char(|one| format!("\\u{:04x}", u32::from(one))),
        by_char(|one| format!("\\u{:04X}", u32::from(one))),
        by_char(|one| format!("&#{};", u32::from(one))),
        by_char(|one| format!("&#x{:x};", u32::from(one))),
        by_char(|one| format!("&#x{:X};", u32::from(one))),
    ];
    for text in texts {
        assert!(is_there(text.as_bytes()), "{text}");
    }
    let wide = |write: fn(u16) -> [u8; 2]| PLAIN.encode_utf16().flat_map(write).collect::<Vec<u8>>();
    assert!(is_there(&wide(u16::to_le_bytes)) && is_there(&wide(u16::to_be_bytes)[1..]));
}

/// Base64 from the definition: a row of bits, cut into sixes.
fn bits_base64(bytes: &[u8]) -> String {
    let mut bits: String = bytes.iter().map(|byte| format!("{byte:08b}")).collect();
    while !bits.len().is_multiple_of(6) {
        bits.push('0');
    }
    let letters: Vec<char> = ('A'..='Z').chain('a'..='z').chain('0'..='9').chain(['+', '/']).collect();
    let six = |at: usize| usize::from_str_radix(&bits[at..at + 6], 2).expect("six bits");
    let mut text: String = (0..bits.len()).step_by(6).map(|at| letters[six(at)]).collect();
    while !text.len().is_multiple_of(4) {
        text.push('=');
    }
    text
}

/// Base64 by a decoder's rules: each form, put where it belongs, decodes to the secret.
#[test]
fn base64_at_each_alignment_is_what_an_encoder_writes() {
    let plain = b"\x00\xff secret \xfe\x01 of any bytes \x80";
    for length in WATCHED_BYTES_MIN..plain.len() {
        let plain = &plain[..length];
        let Ok(all) = spellings(plain, None) else { continue };
        for before in 0..6 {
            for behind in 0..4 {
                let whole = [&vec![b'<'; before], plain.trim_ascii(), &vec![b'>'; behind]].concat();
                let text = bits_base64(&whole);
                let covered = all.iter().filter(|one| one.form == Form::Base64).filter_map(|one| {
                    let at = text.as_bytes().windows(one.bytes.len()).position(|window| window == &one.bytes[..])?;
                    Some((at, at + one.bytes.len()))
                });
                let (start, end) = covered.max_by_key(|(start, end)| end - start).expect("some form is in it");
                // What is left has less than one character's bits of the secret on each side.
                assert!(
                    start * 6 < before * 8 + 6 && (end + 1) * 6 > (before + length.min(plain.trim_ascii().len())) * 8
                );
                assert!(behind > 0 || end == text.len(), "the padding belongs to it");
            }
        }
    }
}

#[test]
fn long_base64_is_found_in_lines() {
    let plain: Vec<u8> = (0..100).map(|one| b'!' + one % 90).collect();
    let all = spellings(&plain, None).unwrap_or_else(|_| panic!("it is long enough"));
    let text = bits_base64(&plain);
    for (columns, line_end) in [(76, "\n"), (64, "\r\n")] {
        let lines: Vec<&str> =
            text.as_bytes().chunks(columns).map(|line| str::from_utf8(line).expect("ASCII")).collect();
        let wanted = lines.join(line_end);
        assert!(all.iter().any(|one| &one.bytes[..] == wanted.as_bytes()), "{wanted}");
    }
}

#[test]
fn new_lines_of_either_kind_are_among_the_forms() {
    for plain in [&b"line one\nline two\n"[..], b"line one\r\nline two\r\n"] {
        let all = spellings(plain, None).unwrap_or_else(|_| panic!("it is long enough"));
        for wanted in [&b"line one\nline two"[..], b"line one\r\nline two", b"line one\\nline two"] {
            let is_json_of_dos = wanted.contains(&b'\\') && plain.contains(&b'\r');
            assert!(is_json_of_dos || all.iter().any(|one| &one.bytes[..] == wanted), "{wanted:?} of {plain:?}");
        }
    }
}

#[test]
fn no_form_is_shorter_than_what_is_looked_for() {
    for plain in [&b"12345678"[..], b"\xff\xfe\xfd\xfc\xfb\xfa\xf9\xf8", b"        12345678   "] {
        for one in spellings(plain, Some("")).unwrap_or_else(|_| panic!("it is long enough")) {
            assert!(one.bytes.len() >= WATCHED_BYTES_MIN, "{:?} {}", one.form, one.bytes.len());
        }
    }
}
