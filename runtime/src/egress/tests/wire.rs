//! Bytes that are no HTTP: refused with a reason on their own connection, and felt on no other.

use super::world::*;
use http::Request;
use http_body_util::BodyExt as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;
use tokio::io::AsyncWriteExt as _;

/// Requests with one flaw each, in the head or in the body, and the reason that the log has.
const MALFORMED: [(&str, &str, &str); 14] = [
    ("content-length: 4\r\ntransfer-encoding: chunked\r\n", "0\r\n\r\n", "a length and in chunks"),
    ("transfer-encoding: chunked\r\ncontent-length: 4\r\n", "0\r\n\r\n", "a length and in chunks"),
    ("transfer-encoding: chunked\r\ntransfer-encoding: x\r\n", "0\r\n\r\n", "a transfer coding other"),
    ("transfer-encoding: xchunked\r\n", "0\r\n\r\n", "a transfer coding other"),
    ("content-length: 3\r\ncontent-length: 3\r\n", "abc", "two lengths"),
    ("content-length : 3\r\n", "abc", "followed by a space"),
    ("x: a\r\n b\r\n", "", "a folded line"),
    ("x: a\ny: b\r\n", "", "without a carriage return"),
    ("x: a\ry: b\r\n", "", "within a line"),
    ("transfer-encoding: chunked\r\n", "3;a\nb\r\nabc\r\n0\r\n\r\n", "extension of a chunk"),
    ("transfer-encoding: chunked\r\n", "3\r\nabcd\r\n0\r\n\r\n", "longer than its size"),
    ("transfer-encoding: chunked\r\n", "fffffffffffffffff\r\nabc\r\n", "no plain number"),
    ("transfer-encoding: chunked\r\n", "3\nabc\n0\n\n", "no plain number"),
    ("transfer-encoding: chunked\r\n", "0\r\nx : y\r\n\r\n", "a trailer without a name"),
];

#[tokio::test]
async fn what_is_malformed_ends_its_connection_with_a_reason_and_touches_no_other() {
    let world = Arc::new(World::new().await);
    let (over, good) = (Arc::new(AtomicBool::new(false)), Arc::clone(&world));
    let ended = Arc::clone(&over);
    let passed = AtomicUsize::new(0);
    let traffic = async {
        let stream = good.tls(good.connect("api.test", 443).await, "api.test", &["h2"]).await.unwrap();
        let mut sender = two(stream).await;
        while !ended.load(Ordering::Relaxed) {
            let request = Request::builder().uri("https://api.test/v1/hello").body(empty()).unwrap();
            assert_eq!(read(sender.send_request(request).await.unwrap()).await, (200, "hello".into()));
            passed.fetch_add(1, Ordering::Relaxed);
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    let attacks = async {
        for (fields, body, _) in MALFORMED.into_iter().cycle().take(5 * MALFORMED.len()) {
            let mut stream = world.connect("plain.test", 80).await;
            let all = format!(
                "POST /v1/body HTTP/1.1\r\nhost: plain.test\r\n{fields}\r\n{body}GET /v1/smuggled HTTP/1.1\r\n\r\n"
            );
            stream.write_all(all.as_bytes()).await.unwrap();
            let answer = raw(stream, b"").await;
            assert!(answer.starts_with("HTTP/1.1 400") || answer.starts_with("HTTP/1.1 501"), "{fields:?}: {answer}");
            assert!(answer.contains("refused by the sandbox"), "{fields:?}: {answer}");
            assert_eq!(answer.matches("HTTP/1.1").count(), 1, "{fields:?}: {answer}");
            // The other connection goes on, behind each of them.
            let before = passed.load(Ordering::Relaxed);
            while passed.load(Ordering::Relaxed) == before {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        }
        over.store(true, Ordering::Relaxed);
    };
    let both = Box::pin(async { tokio::join!(traffic, attacks) });
    tokio::time::timeout(Duration::from_secs(60), both).await.expect("it stands still");
    assert!(world.seen().iter().all(|line| !line.contains("smuggled")), "{:?}", world.seen());
    let log = world.log().await;
    for (fields, _, reason) in MALFORMED {
        let refused = log.lines().filter(|line| line.contains("net.refuse") && line.contains("malformed"));
        assert!(refused.into_iter().any(|line| line.contains(reason)), "{fields:?}: no {reason:?} in the log");
    }
    assert_eq!(log.matches("net.open").count(), log.matches("net.close").count());
}

#[tokio::test]
async fn what_is_malformed_waits_for_its_turn() {
    let world = World::new().await;
    let all = "GET /v1/hello HTTP/1.1\r\nhost: plain.test\r\n\r\nPOST /v1/body HTTP/1.1\r\nhost: plain.test\r\n\
               content-length: 3\r\n\r\nabcGET / HTTP/1.1\nhost: plain.test\n\nGET /v1/smuggled HTTP/1.1\r\nhost: plain.test\r\n\r\n";
    for cut in [1, 50, all.len()] {
        let (mut near, mut far) = world.connect("plain.test", 80).await.into_split();
        let sending = async {
            for piece in all.as_bytes().chunks(cut) {
                if far.write_all(piece).await.is_err() {
                    break;
                }
                tokio::task::yield_now().await;
            }
        };
        let mut answer = String::new();
        let reading = tokio::io::AsyncReadExt::read_to_string(&mut near, &mut answer);
        drop(tokio::join!(sending, reading));
        let statuses: Vec<&str> = answer.split("HTTP/1.1 ").skip(1).map(|one| &one[..3]).collect();
        assert_eq!(statuses, ["200", "200", "400"], "{answer}");
        assert!(answer.contains("hello") && answer.contains("3 bytes"), "{answer}");
    }
    assert_eq!(world.seen().len(), 6);
}

#[tokio::test]
async fn the_same_requests_without_their_flaws_arrive() {
    let world = World::new().await;
    for (fields, body, told) in [
        ("transfer-encoding: chunked\r\n", "3;a=\"b\"\r\nabc\r\n0\r\nx: y\r\n\r\n", "3 bytes"),
        ("Transfer-Encoding:\tChunked \r\n", "A\r\n0123456789\r\n000\r\n\r\n", "10 bytes"),
        ("content-length: 3\r\n", "abc", "3 bytes"),
        ("content-length: 0\r\n", "", "0 bytes"),
    ] {
        let all = format!("\r\nPOST /v1/body HTTP/1.1\r\nhost: plain.test\r\nconnection: close\r\n{fields}\r\n{body}");
        let answer = raw(world.connect("plain.test", 80).await, all.as_bytes()).await;
        assert!(answer.starts_with("HTTP/1.1 200") && answer.contains(told), "{fields:?}: {answer}");
    }
    let log = world.log().await;
    assert!(!log.contains("malformed"), "{log}");
}

#[tokio::test]
async fn a_request_to_the_proxy_that_is_none_is_refused_in_its_turn() {
    let world = World::new().await;
    let all = "GET http://plain.test/v1/hello HTTP/1.1\r\nhost: plain.test\r\n\r\nGET http://plain.test/v1/hello HTTP/1.1\r\n\
               host: plain.test\r\ncontent-length: 1\r\ncontent-length: 1\r\n\r\nx";
    let answer = raw(world.proxy().await, all.as_bytes()).await;
    let statuses: Vec<&str> = answer.split("HTTP/1.1 ").skip(1).map(|one| &one[..3]).collect();
    assert_eq!(statuses, ["200", "400"], "{answer}");
    assert!(world.log().await.contains("two lengths"));
}

#[tokio::test]
async fn trailers_pass_from_http_1_to_http_1() {
    let world = World::new().await;
    let stream = world.tls(world.connect("api.test", 443).await, "api.test", &["http/1.1"]).await.unwrap();
    let request = get("/v1/trailers").header("te", "trailers").header("connection", "te").body(empty()).unwrap();
    let all = one(stream, request).await.unwrap().into_body().collect().await.unwrap();
    let trailers = all.trailers().expect("there are trailers");
    assert_eq!(trailers["grpc-status"], "0");
    assert_eq!(trailers["grpc-message"].as_bytes(), [b"Bearer ", "*".repeat(SECRET.len()).as_bytes()].concat());
    assert!(!trailers.contains_key("content-length"));
    assert!(world.seen()[0].contains("\"te\": \"trailers\"") && world.seen()[0].contains("HTTP/1.1"));
}

#[tokio::test]
async fn a_body_that_is_owed_and_does_not_come_is_given_up() {
    let world = World::new().await;
    let mut stream = world.connect("plain.test", 80).await;
    let head = b"POST /v1/body HTTP/1.1\r\nhost: plain.test\r\ncontent-length: 100000\r\n\r\nab";
    stream.write_all(head).await.unwrap();
    while !world.logged.text().contains("net.request") {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    settled_and_paused().await;
    let mut answer = Vec::new();
    let ended = tokio::io::AsyncReadExt::read_to_end(&mut stream, &mut answer);
    tokio::time::timeout(Duration::from_secs(90), ended).await.expect("it waits for ever").unwrap();
    let answer = String::from_utf8_lossy(&answer).into_owned();
    assert!(answer.starts_with("HTTP/1.1 408") && answer.contains("owes a body"), "{answer}");
    let log = world.logged.text();
    assert!(log.contains("\"slow\""), "{log}");
}

#[tokio::test]
async fn a_connection_that_asks_for_nothing_is_ended_without_a_fault() {
    for alpn in ["http/1.1", "h2"] {
        let world = World::new().await;
        let stream = world.tls(world.connect("api.test", 443).await, "api.test", &[alpn]).await.unwrap();
        if alpn == "h2" {
            let mut sender = two(stream).await;
            settled_and_paused().await;
            pass(200).await;
            assert!(sender.ready().await.is_ok());
            pass(200).await;
            assert!(sender.ready().await.is_err(), "it is kept for ever");
        } else {
            settled_and_paused().await;
            let answer = tokio::time::timeout(Duration::from_secs(70), raw_to_end(stream)).await.expect("it is kept");
            assert_eq!(answer, "");
        }
        let log = world.logged.text();
        assert!(log.contains("net.close") && !log.contains("slow"), "{log}");
        tokio::time::resume();
    }
}

/// Lets time pass in steps in which both ends can answer each other's pings.
async fn pass(seconds: u64) {
    for _ in 0..seconds / 10 {
        tokio::time::sleep(Duration::from_secs(10)).await;
        for _ in 0..20 {
            std::thread::sleep(Duration::from_micros(100));
            tokio::task::yield_now().await;
        }
    }
}

async fn raw_to_end<S: tokio::io::AsyncRead + Unpin>(mut stream: S) -> String {
    let mut all = String::new();
    drop(tokio::io::AsyncReadExt::read_to_string(&mut stream, &mut all).await);
    all
}
