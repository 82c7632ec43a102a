//! Requests of HTTP/1, cut where they end, or refused.

use super::*;

/// Requests one after the other: where each ends, or what is wrong. The same in pieces of any size.
#[track_caller]
fn check(bytes: &str, expected: Result<&[usize], &str>) {
    for cut in [1, 2, 3, 7, bytes.len().max(1)] {
        match (ends(bytes.as_bytes(), cut), expected) {
            (Ok(ends), Ok(expected)) => assert_eq!(ends, expected, "{bytes:.99?} in pieces of {cut}"),
            (Err(flaw), Err(part)) => assert!(flaw.what.contains(part), "{bytes:.99?} in pieces of {cut}: {flaw:?}"),
            (found, _) => panic!("{bytes:.99?} in pieces of {cut}: {found:?}"),
        }
    }
}

fn ends(bytes: &[u8], cut: usize) -> Result<Vec<usize>, Flaw> {
    let mut framing = Framing::default();
    let (mut ends, mut begin, mut at, mut have) = (Vec::new(), 0, 0, 0);
    while have < bytes.len() {
        have = (have + cut).min(bytes.len());
        loop {
            if framing.at_head() {
                let Some(length) = framing.head(&bytes[begin..have])? else { break };
                at = begin + length;
            } else {
                at += framing.body(&bytes[at..have]).map_err(|(_, flaw)| flaw)?;
            }
            if !framing.at_head() {
                if at == have {
                    break;
                }
                continue;
            }
            ends.push(at);
            begin = at;
        }
    }
    Ok(ends)
}

fn head(fields: &str) -> String {
    format!("POST / HTTP/1.1\r\nhost: a\r\n{fields}\r\n")
}

#[test]
fn requests_end_where_they_say() {
    let (plain, long, chunked) =
        (head(""), head("Content-Length: \t3 \r\n"), head("Transfer-Encoding: Chunked\r\nx: \u{e9}\t\r\n"));
    check(&plain, Ok(&[plain.len()]));
    check(&format!("\r\n{plain}"), Ok(&[plain.len() + 2]));
    check(&format!("{long}abc"), Ok(&[long.len() + 3]));
    check(&long, Ok(&[]));
    let both = format!("{long}abc{plain}");
    check(&both, Ok(&[long.len() + 3, both.len()]));
    for body in ["0\r\n\r\n", "3\r\nabc\r\n0\r\n\r\n", "00A;b=\"c\";d\r\n0123456789\r\n0;x\r\ny: z\r\nw:\r\n\r\n"] {
        let all = format!("{chunked}{body}{plain}");
        check(&all, Ok(&[chunked.len() + body.len(), all.len()]));
    }
}

#[test]
fn a_head_that_readers_cut_differently_is_refused() {
    check(&head("content-length: 3\r\ntransfer-encoding: chunked\r\n"), Err("a length and in chunks"));
    check(&head("transfer-encoding: chunked\r\ncontent-length: 3\r\n"), Err("a length and in chunks"));
    check(&head("transfer-encoding: chunked\r\ncontent-length: 0\r\n"), Err("a length and in chunks"));
    check(&head("content-length: 3\r\ncontent-length: 3\r\n"), Err("two lengths"));
    check(&head("content-length: 3\r\nContent-Length: 5\r\n"), Err("two lengths"));
    for length in ["+3", "-3", "3, 3", "0x3", "3 3", "", "three", "99999999999999999999"] {
        check(&head(&format!("content-length: {length}\r\n")), Err("no plain number"));
    }
    for coding in ["gzip, chunked", "chunked, chunked", "xchunked", "identity", "\"chunked\"", "chunked;a", ""] {
        check(&head(&format!("transfer-encoding: {coding}\r\n")), Err("transfer coding"));
    }
    check(&head("transfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n"), Err("transfer coding"));
    check(&head("transfer-encoding: chunked\r\ntransfer-encoding: identity\r\n"), Err("transfer coding"));
    check(&head("transfer-encoding: \u{b}chunked\r\n"), Err("control character"));
    check(&head("transfer-encoding : chunked\r\n"), Err("followed by a space"));
    check(&head("content-length\t: 3\r\n"), Err("followed by a space"));
    check(&head(" content-length: 3\r\n"), Err("a folded line"));
    check(&head("x: a\r\n\tb\r\n"), Err("a folded line"));
    check(&head(": a\r\n"), Err("name is none"));
    check(&head("no colon\r\n"), Err("no field"));
    check("GET / HTTP/1.1\nhost: a\n\n", Err("without a carriage return"));
    check("GET / HTTP/1.1\r\nhost: a\nx: b\r\n\r\n", Err("without a carriage return"));
    check("GET / HTTP/1.1\r\nhost: a\rx: b\r\n\r\n", Err("within a line"));
    check("GET / HTTP/1.1\r\nhost: a\r\r\n\r\n", Err("within a line"));
    check("GET / HTTP/1.1\r\nhost: a\0\r\n\r\n", Err("control character"));
    check("POST / HTTP/1.0\r\ntransfer-encoding: chunked\r\n\r\n", Err("before HTTP/1.1"));
    check(&"\r\n".repeat(3), Err("empty lines"));
    check(&head(&"x: a\r\n".repeat(FIELDS_MAX)), Err("more than 100 fields"));
    check(&head(&format!("x: {}\r\n", "a".repeat(HEAD_BYTES_MAX))), Err("more than 64 KiB"));
}

#[test]
fn a_body_that_readers_cut_differently_is_refused() {
    let chunked = head("transfer-encoding: chunked\r\n");
    for (body, part) in [
        ("\r\n", "no plain number"),
        ("0x3\r\nabc\r\n", "no plain number"),
        ("+3\r\nabc\r\n", "no plain number"),
        (" 3\r\nabc\r\n", "no plain number"),
        ("3 \r\nabc\r\n", "no plain number"),
        ("3\nabc\r\n", "no plain number"),
        ("10000000000000007\r\n", "no plain number"),
        ("3\rabc\r\n", "carriage return and a line feed"),
        ("3;a\nbc\r\n", "control character"),
        ("3;a\rb\r\n", "carriage return and a line feed"),
        ("3;a\0b\r\n", "control character"),
        ("3;\u{e9}\r\n", "control character"),
        ("3\r\nabcd\r\n", "longer than its size"),
        ("3\r\nabc\n0\r\n\r\n", "longer than its size"),
        ("0\r\n x: y\r\n\r\n", "folded"),
        ("0\r\nx : y\r\n\r\n", "without a name"),
        ("0\r\nx\r\n\r\n", "without a name"),
        ("0\r\nx: y\n\r\n", "stray control"),
        ("0\r\nx: \0\r\n\r\n", "stray control"),
        ("0\r\n\n", "without a name"),
        ("0\r\n\rx", "stray control"),
    ] {
        check(&format!("{chunked}{body}"), Err(part));
    }
    check(&format!("{chunked}3;{}\r\n", "a".repeat(EXTENSIONS_BYTES_MAX + 1)), Err("extensions"));
    check(&format!("{chunked}{}", format!("1;{}\r\na\r\n", "b".repeat(99)).repeat(50)), Err("extensions"));
    check(&format!("{chunked}0\r\n{}", "a: b\r\n".repeat(TRAILERS_BYTES_MAX / 6 + 1)), Err("trailers of more"));
}

#[test]
fn what_comes_before_a_flaw_is_known() {
    let chunked = head("transfer-encoding: chunked\r\n");
    let mut framing = Framing::default();
    assert_eq!(framing.head(chunked.as_bytes()), Ok(Some(chunked.len())));
    assert_eq!(framing.body(b"3\r\nabc\r\nzz\r\n").unwrap_err().0, 8);
}
