//! Hellos whole, in pieces, and wrong.

use super::*;

/// A hello with these extensions.
fn hello(extensions: &[(u16, Vec<u8>)]) -> Vec<u8> {
    let mut body = vec![3, 3];
    body.extend([7; 32]);
    body.extend([0, 0, 2, 0x13, 0x01, 1, 0]);
    let mut all = Vec::new();
    for (kind, content) in extensions {
        all.extend(kind.to_be_bytes());
        all.extend(u16::try_from(content.len()).unwrap().to_be_bytes());
        all.extend(content);
    }
    body.extend(u16::try_from(all.len()).unwrap().to_be_bytes());
    body.extend(all);
    let mut message = vec![1, 0];
    message.extend(u16::try_from(body.len()).unwrap().to_be_bytes());
    message.extend(body);
    message
}

fn name(text: &str) -> (u16, Vec<u8>) {
    let length = u16::try_from(text.len()).unwrap();
    let mut content = (length + 3).to_be_bytes().to_vec();
    content.push(0);
    content.extend(length.to_be_bytes());
    content.extend(text.as_bytes());
    (0, content)
}

fn records(message: &[u8], size: usize) -> Vec<u8> {
    let mut all = Vec::new();
    for piece in message.chunks(size) {
        all.extend([22, 3, 1]);
        all.extend(u16::try_from(piece.len()).unwrap().to_be_bytes());
        all.extend(piece);
    }
    all
}

#[track_caller]
fn check(wire: &[u8], expected: Result<Option<&str>, &str>) {
    let read = Hello::default().read(wire);
    let shown = read.map(|hello| hello.and_then(|hello| hello.server_name).map(|name| name.to_string()));
    assert_eq!(shown.as_ref().map(|name| name.as_deref()), expected.as_ref().map(|name| *name));
}

#[test]
fn the_name_is_read_from_one_record_and_from_many() {
    let message = hello(&[(43, vec![2, 3, 4]), name("Good.example")]);
    check(&records(&message, 16_000), Ok(Some("good.example")));
    check(&records(&message, 1), Ok(Some("good.example")));
}

#[test]
fn bytes_that_come_one_by_one_give_the_same_name() {
    let wire = records(&hello(&[name("good.example")]), 16_000);
    let mut reader = Hello::default();
    for end in 0..wire.len() {
        assert_eq!(reader.read(&wire[..end]), Ok(None), "decided after {end} bytes");
    }
    assert!(reader.read(&wire).unwrap().is_some());
}

#[test]
fn a_hello_without_a_name_has_none() {
    check(&records(&hello(&[]), 16_000), Ok(None));
}

#[test]
fn two_names_are_not_one() {
    check(&records(&hello(&[name("a.example"), name("b.example")]), 16_000), Err("TLS hello with two server names"));
    let mut two = name("a.example").1;
    two.extend([0, 0, 1, b'b']);
    two[1] += 4;
    check(&records(&hello(&[(0, two)]), 16_000), Err("TLS hello with more than one server name"));
}

#[test]
fn names_in_disguise_are_refused() {
    for text in ["127.1", "good.example.", "a@b", "", "good.example\0.evil.example", "\u{ff0e}"] {
        check(&records(&hello(&[name(text)]), 16_000), Err("TLS hello with a server name that is none"));
    }
}

#[test]
fn an_encrypted_hello_is_seen() {
    let wire = records(&hello(&[name("good.example"), (0xfe0d, vec![0; 40])]), 16_000);
    assert_eq!(Hello::default().read(&wire).unwrap().unwrap().encrypted, Encrypted::Perhaps);
}

#[test]
fn lengths_that_lie_are_refused() {
    let good = hello(&[name("good.example")]);
    for at in 4..good.len() {
        let mut bad = good.clone();
        bad[at] = 0xff;
        // Whatever it says then, it says it without a panic, and what it says is a name or a refusal.
        let read = Hello::default().read(&records(&bad, 16_000));
        assert!(read != Ok(None), "byte {at} makes it wait for more than it said");
    }
    check(&[22, 3, 1, 0, 0], Err("TLS record of no possible length"));
    check(b"GET / HTTP/1.1\r\n", Err("no TLS handshake"));
    check(&records(&[2, 0, 0, 0], 4), Err("a TLS handshake that does not begin with a hello"));
    check(&records(&[1, 1, 0xff, 0xff], 4), Err("TLS hello of more than 64 KiB"));
}

#[test]
fn a_hello_that_never_ends_is_given_up() {
    let wire: Vec<u8> = records(&[1, 0, 0xff, 0xff, 0], 5).into_iter().chain([22, 3, 1, 0x40, 0]).collect();
    let mut long = wire;
    long.resize(HELLO_BYTES_MAX, 0);
    assert!(Hello::default().read(&long).is_err());
}
