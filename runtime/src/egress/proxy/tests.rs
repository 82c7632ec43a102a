//! Handshakes, good and hostile, whole and byte by byte.

use super::*;
use tokio::io::duplex;

const CONNECTED: (&str, u16, Form) = ("a.test", 443, Form::Connect);

/// Feeds a handshake as a client that waits for each answer would.
fn fed(bytes: &[u8], chunk: usize) -> Result<(Host, u16, Form, usize), Misfit> {
    let mut handshake = Handshake::default();
    let (mut start, mut end) = (0, 0);
    loop {
        match handshake.step(&bytes[start..end])? {
            Step::More if end == bytes.len() => return Err(Misfit::new("MORE", "")),
            Step::More => end = (end + chunk).min(bytes.len()),
            Step::Answer(_, used) => start += used,
            Step::Done { host, port, form, used } => return Ok((host, port, form, start + used)),
        }
    }
}

#[track_caller]
fn accepts(bytes: &[u8], (host, port, form): (&str, u16, Form)) {
    let host = Host::parse(host).expect("the table has hosts");
    for chunk in [1, 2, 7, bytes.len()] {
        let (got, at, how, used) = fed(bytes, chunk).expect("it is a handshake");
        assert_eq!((&got, at, how), (&host, port, form), "in chunks of {chunk}");
        assert_eq!(used, bytes.len(), "in chunks of {chunk}");
    }
}

#[track_caller]
fn refuses(bytes: &[u8], reason: &str, reply: &[u8]) {
    for chunk in [1, 7, bytes.len().max(1)] {
        let misfit = fed(bytes, chunk).expect_err("it is none");
        assert!(misfit.reason.contains(reason), "in chunks of {chunk}: {misfit}");
        assert!(misfit.reply.starts_with(reply), "{:?}", String::from_utf8_lossy(&misfit.reply));
        assert!(reply.is_empty() <= misfit.reply.is_empty());
    }
}

#[track_caller]
fn refuses_http(head: &str, reason: &str) {
    refuses(head.as_bytes(), reason, b"HTTP/1.1 4");
}

#[test]
fn connect_names_a_host_and_a_port() {
    accepts(b"CONNECT a.test:443 HTTP/1.1\r\n\r\n", CONNECTED);
    accepts(b"CONNECT A.Test:443 HTTP/1.1\r\nHost: a.TEST:443\r\nProxy-Connection: keep-alive\r\n\r\n", CONNECTED);
    accepts(b"CONNECT a.test:443 HTTP/1.0\r\nhost: a.test\r\nContent-Length: 0\r\n\r\n", CONNECTED);
    accepts(b"CONNECT [2606:4700::1]:443 HTTP/1.1\r\n\r\n", ("2606:4700::1", 443, Form::Connect));
    accepts(b"CONNECT [::ffff:1.2.3.4]:22 HTTP/1.1\r\n\r\n", ("1.2.3.4", 22, Form::Connect));
    accepts(b"CONNECT 198.18.1.0:443 HTTP/1.1\r\nHost: 198.18.1.0:443\r\n\r\n", ("198.18.1.0", 443, Form::Connect));
}

#[test]
fn absolute_form_names_a_host() {
    let head = b"GET http://a.test/x?y=http://b.test/ HTTP/1.1\r\nHost: a.test\r\n\r\n";
    accepts(head, ("a.test", 80, Form::Absolute));
    accepts(b"POST HTTP://a.test:8080 HTTP/1.1\r\nhost: a.test:8080\r\n\r\n", ("a.test", 8080, Form::Absolute));
    accepts(b"GET http://a.test?q HTTP/1.1\r\nhost: a.test:80\r\n\r\n", ("a.test", 80, Form::Absolute));
}

#[test]
fn targets_that_two_readers_could_read_differently_are_refused() {
    for target in [
        "user@a.test:443",
        "a.test:443@b.test:443",
        "a.test",
        "a.test:",
        "a.test:0",
        "a.test:0443",
        "a.test:+443",
        "a.test:65536",
        "a.test:443443443443443443443443",
        "a.test:https",
        "a.test:443:443",
        ":443",
        "[::1:443",
        "[::1]443",
        "[a.test]:443",
        "[]:443",
        "[1.2.3.4]:443",
        "::1:443",
        "[fe80::1%lo]:443",
        "[fe80::1%25lo]:443",
        "127.1:443",
        "0x7f.0.0.1:443",
        "2130706433:443",
        "0177.0.0.1:443",
        "017700000001:443",
        "1.2.3:443",
        "1.2.3.4.:443",
        "a.test.:443",
        "a..test:443",
        "-a.test:443",
        "a%2etest:443",
        "a.te\u{17f}t:443",
        "a\\b.test:443",
        "*.test:443",
        "a.test/:443",
        "http://a.test:443",
    ] {
        refuses_http(&format!("CONNECT {target} HTTP/1.1\r\n\r\n"), "");
        // Without a port it is a proper URL, and so is what has its slash early.
        if !matches!(target, "a.test" | "a.test/:443") {
            refuses_http(&format!("GET http://{target}/ HTTP/1.1\r\n\r\n"), "");
        }
    }
}

#[test]
fn a_host_header_that_names_another_is_refused() {
    refuses_http("CONNECT a.test:443 HTTP/1.1\r\nHost: b.test:443\r\n\r\n", "names \"b.test\" port 443");
    refuses_http("CONNECT a.test:443 HTTP/1.1\r\nHost: a.test:80\r\n\r\n", "names \"a.test\" port 80");
    refuses_http("GET http://a.test/ HTTP/1.1\r\nHost: b.test\r\n\r\n", "names \"b.test\"");
    refuses_http("GET http://a.test:8080/ HTTP/1.1\r\nHost: a.test\r\n\r\n", "port 80");
    refuses_http("GET http://a.test/ HTTP/1.1\r\nHost: a.test\r\nhost: a.test\r\n\r\n", "two Host");
    refuses_http("GET http://a.test/ HTTP/1.1\r\nHost:\r\n\r\n", "malformed");
    refuses_http("GET http://a.test/ HTTP/1.1\r\nHost: a.test, b.test\r\n\r\n", "malformed");
    refuses_http("GET http://a.test/ HTTP/1.1\r\nHost: x@a.test\r\n\r\n", "malformed");
}

#[test]
fn heads_with_stray_characters_are_refused() {
    for head in [
        "CONNECT a.test:443 HTTP/1.1\n\n",
        "CONNECT a.test:443 HTTP/1.1\nx: y\r\n\r\n",
        "CONNECT a.test:443 HTTP/1.1\r\nx: y\rz: w\r\n\r\n",
        "CONNECT a.test:443 HTTP/1.1\r\nx: y\r\n z\r\n\r\n",
        "CONNECT a.test:443 HTTP/1.1\r\nx: \0\r\n\r\n",
        "CONNECT a.test\0.b.test:443 HTTP/1.1\r\n\r\n",
        "CONNECT a.test:443\r\nHost: b.test HTTP/1.1\r\n\r\n",
        "CONNECT  a.test:443 HTTP/1.1\r\n\r\n",
        "CONNECT a.test:443  HTTP/1.1\r\n\r\n",
        "CONNECT a.test:443 HTTP/1.1 x\r\n\r\n",
        "CONNECT a.test:443 HTTP/1.1\r\nx : y\r\n\r\n",
        "CONNECT a.test:443 HTTP/1.1\r\n: y\r\n\r\n",
        "CONNECT a.test:443 HTTP/1.1\r\nx\r\n\r\n",
        "CONNECT a.test:443 HTTP/2.0\r\n\r\n",
        "CONNECT a.test:443\r\n\r\n",
        "CONNECT\ta.test:443 HTTP/1.1\r\n\r\n",
    ] {
        refuses_http(head, "");
    }
    refuses_http("PRI * HTTP/2.0\r\n\r\n", "");
}

#[test]
fn a_connect_with_a_body_is_refused() {
    for header in ["Content-Length: 5", "content-length: 00", "Content-Length: 0, 5", "Transfer-Encoding: chunked"] {
        refuses_http(&format!("CONNECT a.test:443 HTTP/1.1\r\n{header}\r\n\r\n"), "no body");
    }
}

#[test]
fn requests_that_are_not_for_a_proxy_are_told_so() {
    refuses_http("GET / HTTP/1.1\r\nHost: a.test\r\n\r\n", "this is a proxy");
    refuses_http("OPTIONS * HTTP/1.1\r\nHost: a.test\r\n\r\n", "this is a proxy");
    refuses_http("GET https://a.test/ HTTP/1.1\r\nHost: a.test\r\n\r\n", "CONNECT");
    refuses_http("GET ftp://a.test/ HTTP/1.1\r\nHost: a.test\r\n\r\n", "only http");
    refuses_http("GET a.test HTTP/1.1\r\nHost: a.test\r\n\r\n", "no URL");
    refuses_http("GET http://a.test#b.test/ HTTP/1.1\r\n\r\n", "fragment");
    refuses_http("GET http://a.test\\@b.test/ HTTP/1.1\r\n\r\n", "");
    refuses_http("GET http:///x HTTP/1.1\r\n\r\n", "");
    refuses(b"\x16\x03\x01\x02\x00\x01", "TLS", b"");
    refuses(b"get http://a.test/ HTTP/1.1\r\n\r\n", "first byte", b"");
    refuses(b"\r\nCONNECT a.test:443 HTTP/1.1\r\n\r\n", "first byte", b"");
    refuses(b"\0", "first byte", b"");
}

#[test]
fn heads_have_limits() {
    let padding = |bytes: usize| format!("CONNECT a.test:443 HTTP/1.1\r\nx: {}\r\n\r\n", "y".repeat(bytes));
    let rest = padding(0).len();
    accepts(padding(HEAD_BYTES_MAX - rest).as_bytes(), CONNECTED);
    refuses_http(&padding(HEAD_BYTES_MAX - rest + 1), "more than 16384 bytes");
    refuses_http(&padding(10 * HEAD_BYTES_MAX), "more than 16384 bytes");
    let headers = |count: usize| format!("CONNECT a.test:443 HTTP/1.1\r\n{}\r\n", "x: y\r\n".repeat(count));
    accepts(headers(HEADERS_MAX).as_bytes(), CONNECTED);
    refuses_http(&headers(HEADERS_MAX + 1), "too many headers");
}

#[test]
fn socks_names_a_host_and_a_port() {
    accepts(b"\x05\x01\x00\x05\x01\x00\x03\x06a.test\x01\xbb", ("a.test", 443, Form::Socks5));
    accepts(b"\x05\x03\x02\x01\x00\x05\x01\x00\x03\x06A.TEST\x01\xbb", ("a.test", 443, Form::Socks5));
    accepts(b"\x05\x01\x00\x05\x01\x00\x01\x01\x02\x03\x04\x00\x16", ("1.2.3.4", 22, Form::Socks5));
    let v6 =
        [b"\x05\x01\x00\x05\x01\x00\x04".as_slice(), &[0x26, 6, 0x47, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1], &[0, 22]];
    accepts(&v6.concat(), ("2606:4700::1", 22, Form::Socks5));
    let mapped =
        [b"\x05\x01\x00\x05\x01\x00\x04".as_slice(), &[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 255, 255, 1, 2, 3, 4], &[0, 22]];
    accepts(&mapped.concat(), ("1.2.3.4", 22, Form::Socks5));
    accepts(b"\x05\x01\x00\x05\x01\x00\x03\x071.2.3.4\x01\xbb", ("1.2.3.4", 443, Form::Socks5));
    accepts(b"\x04\x01\x01\xbb\x00\x00\x00\x01\x00a.test\x00", ("a.test", 443, Form::Socks4));
    accepts(b"\x04\x01\x01\xbb\x00\x00\x00\xffuser\x00a.test\x00", ("a.test", 443, Form::Socks4));
    accepts(b"\x04\x01\x00\x16\x01\x02\x03\x04me\x00", ("1.2.3.4", 22, Form::Socks4));
}

#[test]
fn socks_that_is_malformed_or_asks_for_more_is_refused() {
    let five = |request: &[u8], reason: &str, code: u8| {
        refuses(&[b"\x05\x01\x00", request].concat(), reason, &[5, code, 0, 1]);
    };
    five(b"\x05\x02\x00\x03\x06a.test\x01\xbb", "command 2", 7);
    five(b"\x05\x03\x00\x03\x06a.test\x01\xbb", "command 3", 7);
    five(b"\x05\xf0\x00\x03\x06a.test\x01\xbb", "command 240", 7);
    five(b"\x05\x01\x00\x02\x06a.test\x01\xbb", "address type 2", 8);
    five(b"\x05\x01\x01\x03\x06a.test\x01\xbb", "malformed", 1);
    five(b"\x04\x01\x00\x03\x06a.test\x01\xbb", "malformed", 1);
    five(b"\x05\x01\x00\x03\x00\x01\xbb", "empty", 2);
    five(b"\x05\x01\x00\x03\x06a.test\x00\x00", "port 0", 2);
    five(b"\x05\x01\x00\x03\x07a.test\x00\x01\xbb", "", 2);
    five(b"\x05\x01\x00\x03\x09a.test\r\nx\x01\xbb", "", 2);
    five(b"\x05\x01\x00\x03\x08u@a.test\x01\xbb", "", 2);
    five(b"\x05\x01\x00\x03\x0b[::1]a.test\x01\xbb", "", 2);
    five(b"\x05\x01\x00\x03\x0afe80::1%lo\x01\xbb", "", 2);
    five(b"\x05\x01\x00\x03\x05127.1\x01\xbb", "", 2);
    five(b"\x05\x01\x00\x03\x0a0x7f000001\x01\xbb", "", 2);
    five(b"\x05\x01\x00\x03\x04\xff\xfe.a\x01\xbb", "ASCII", 2);
    refuses(b"\x05\x00", "authentication", &[5, 0xff]);
    refuses(b"\x05\x02\x02\x01", "authentication", &[5, 0xff]);
    let four = |request: &[u8], reason: &str| refuses(request, reason, &[0, 0x5b, 0, 0]);
    four(b"\x04\x02\x01\xbb\x01\x02\x03\x04\x00", "command 2");
    four(b"\x04\x01\x00\x00\x01\x02\x03\x04\x00", "port 0");
    four(b"\x04\x01\x01\xbb\x00\x00\x00\x01\x00\x00", "empty");
    four(b"\x04\x01\x01\xbb\x00\x00\x00\x01\x00a\nb\x00", "");
    four(&[b"\x04\x01\x01\xbb\x01\x02\x03\x04".as_slice(), &[b'u'; 256]].concat(), "user name");
    four(&[b"\x04\x01\x01\xbb\x00\x00\x00\x01\x00".as_slice(), &[b'n'; 256]].concat(), "host name");
    refuses(b"\x05\x01\x00\x05\x01\x00\x03\xffa", "MORE", b"");
    refuses(b"\x04\x01\x01\xbb\x01\x02\x03\x04", "MORE", b"");
}

#[test]
fn refusals_say_why_where_there_is_room() {
    let reply = Form::Connect.refused(Obstacle::Forbidden, "denied: not granted\r\nx: y");
    let reply = String::from_utf8(reply).expect("it is text");
    let (head, body) = reply.split_once("\r\n\r\n").expect("it has a head");
    assert!(head.starts_with("HTTP/1.1 403 Forbidden\r\n") && !head.contains("x: y"), "{head}");
    assert_eq!(body, "denied: not granted\r\nx: y");
    for (obstacle, http, socks) in [
        (Obstacle::Forbidden, "403", 2),
        (Obstacle::Limited, "429", 2),
        (Obstacle::Unreachable, "502", 4),
        (Obstacle::Failed, "500", 1),
    ] {
        let reply = Form::Absolute.refused(obstacle, "");
        assert!(String::from_utf8_lossy(&reply).starts_with(&format!("HTTP/1.1 {http} ")));
        assert_eq!(Form::Socks5.refused(obstacle, "why"), [5, socks, 0, 1, 0, 0, 0, 0, 0, 0]);
        assert_eq!(Form::Socks4.refused(obstacle, "why"), [0, 0x5b, 0, 0, 0, 0, 0, 0]);
    }
    assert_eq!(Form::Socks5.granted(), [5, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
}

#[test]
fn what_a_guest_named_is_quoted_short_and_harmless() {
    let misfit = fed(b"\x05\x01\x00\x05\x01\x00\x03\x08\x1b[31mx\xc2\x9b\x01\xbb", 99).expect_err("it is none");
    assert!(misfit.host.chars().all(|c| !c.is_control()), "{misfit:?}");
    assert_eq!(misfit.port, Some(443));
    let long = format!("CONNECT {}:443 HTTP/1.1\r\n\r\n", "a".repeat(9000));
    assert!(fed(long.as_bytes(), 999).expect_err("it is none").host.len() <= QUOTED_BYTES_MAX);
}

#[tokio::test]
async fn what_follows_a_handshake_is_kept() {
    for (sent, answer, form, rest) in [
        (b"CONNECT a.test:443 HTTP/1.1\r\n\r\nmore".as_slice(), b"".as_slice(), Form::Connect, b"more".as_slice()),
        (b"\x05\x01\x00\x05\x01\x00\x03\x06a.test\x01\xbbmore", b"\x05\x00", Form::Socks5, b"more"),
        (b"\x04\x01\x01\xbb\x00\x00\x00\x01\x00a.test\x00more", b"", Form::Socks4, b"more"),
        (
            b"GET http://a.test:443/ HTTP/1.1\r\n\r\nmore",
            b"",
            Form::Absolute,
            b"GET http://a.test:443/ HTTP/1.1\r\n\r\nmore",
        ),
    ] {
        let (mut ours, mut theirs) = duplex(1024);
        theirs.write_all(sent).await.expect("there is room");
        let target = negotiate(&mut ours).await.expect("it is a handshake");
        drop(ours);
        assert_eq!((target.form, target.port, target.rest.as_ref()), (form, 443, rest));
        let mut answered = Vec::new();
        theirs.read_to_end(&mut answered).await.expect("it ends");
        assert_eq!(answered, answer);
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_that_dawdles_or_leaves_is_let_go() {
    let (mut ours, mut theirs) = duplex(1024);
    theirs.write_all(b"CONNECT a.te").await.expect("there is room");
    let misfit = negotiate(&mut ours).await.expect_err("it never ends");
    assert!(misfit.reason.contains("longer than 10 s"), "{misfit}");
    drop(theirs);
    let misfit = negotiate(&mut ours).await.expect_err("nobody is there");
    assert!(misfit.reason.contains("went away"), "{misfit}");
}
