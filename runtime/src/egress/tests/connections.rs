//! Connections: told apart by their first words, held to one host, refused in their own tongue.

use super::world::*;
use http::Request;
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

#[tokio::test]
async fn a_server_name_that_differs_from_the_destination_is_refused_with_an_alert() {
    let world = World::new().await;
    for (host, good) in [("whole.test", true), ("api.test", false), ("evil.test", false)] {
        let made = world.tls(world.connect("whole.test", 443).await, host, &["http/1.1"]).await;
        assert_eq!(made.is_ok(), good, "{host}");
        if let Err(error) = made {
            assert!(error.to_string().contains("AccessDenied"), "{error}");
        }
    }
    for (host, good) in [("api.test", true), ("evil.test", false)] {
        assert_eq!(world.tls(world.connect("api.test", 443).await, host, &["h2"]).await.is_ok(), good, "{host}");
    }
    assert!(world.log().await.contains("asks for"), "the log says why");
}

#[tokio::test]
async fn a_whole_connection_is_passed_through_unopened() {
    let world = World::new().await;
    let stream = world.tls(world.connect("whole.test", 443).await, "whole.test", &["http/1.1"]).await.unwrap();
    let request = Request::builder().uri("/anything/../else").header("host", "another.test").body(empty()).unwrap();
    assert_eq!(read(one(stream, request).await.unwrap()).await.0, 200);
    let log = world.log().await;
    assert!(!log.contains("net.request") && log.contains("net.open"), "{log}");
}

#[tokio::test]
async fn clear_http_on_a_whole_connection_is_still_for_its_host() {
    let world = World::new().await;
    for (host, status) in [("whole.test", "200"), ("evil.test", "421")] {
        let request = format!("GET / HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n");
        let answer = raw(world.connect("whole.test", 80).await, request.as_bytes()).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{answer}");
    }
    // Waiting before the first word does not change who is meant.
    let mut stream = world.connect("whole.test", 80).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    stream.write_all(b"GET / HTTP/1.1\r\nhost: evil.test\r\nconnection: close\r\n\r\n").await.unwrap();
    assert!(raw(stream, b"").await.starts_with("HTTP/1.1 421"));
    assert_eq!(world.seen().len(), 1);
}

#[tokio::test]
async fn a_server_that_speaks_first_is_heard() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        stream.write_all(b"SSH-2.0-test\r\n").await.unwrap();
        let mut line = [0; 6];
        stream.read_exact(&mut line).await.unwrap();
        stream.write_all(&line).await.unwrap();
        // Half-closed by the client: what comes afterwards still arrives.
        assert_eq!(stream.read(&mut line).await.unwrap(), 0);
        stream.write_all(b"late").await.unwrap();
    });
    let rules = RULES.replace("PLAIN", &address.to_string()).replace("TLS", &address.to_string());
    let world = World::before(&rules, authority_outside().0, Seen::default());
    let mut stream = world.connect("whole.test", 2222).await;
    let mut banner = [0; 14];
    stream.read_exact(&mut banner).await.unwrap();
    assert_eq!(&banner, b"SSH-2.0-test\r\n");
    stream.write_all(b"hello\n").await.unwrap();
    stream.shutdown().await.unwrap();
    let mut rest = String::new();
    stream.read_to_string(&mut rest).await.unwrap();
    assert_eq!(rest, "hello\nlate");
    let log = world.log().await;
    assert!(log.contains("\"up\":6") && log.contains("\"down\":24"), "{log}");
}

#[tokio::test]
async fn what_is_shut_is_told_in_its_own_tongue() {
    let world = World::new().await;
    let answer = raw(world.connect("93.184.216.34", 80).await, b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 403") && answer.contains("allowed_instead"), "{answer}");
    let made = world.tls(world.connect("93.184.216.34", 443).await, "api.test", &[]).await;
    assert!(made.unwrap_err().to_string().contains("AccessDenied"));
    let mut silent = world.connect("93.184.216.34", 22).await;
    let reset = tokio::time::timeout(Duration::from_secs(1), silent.read(&mut [0])).await.expect("at once");
    assert!(reset.is_err(), "{reset:?}");
    assert_eq!(world.log().await.matches("net.refuse").count(), 3);
}

#[tokio::test]
async fn what_is_no_request_does_not_pass_where_requests_are_judged() {
    let world = World::new().await;
    for bytes in [&b"SSH-2.0-evil\r\n"[..], b"\x00\x01\x02\x03", b"*1\r\n$4\r\nPING\r\n", &[22, 3, 1, 0, 0]] {
        assert_eq!(raw(world.connect("plain.test", 80).await, bytes).await, "");
    }
    let stream = world.tls(world.connect("api.test", 443).await, "api.test", &[]).await.unwrap();
    let answer = raw(stream, b"EHLO evil\r\n").await;
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 400"), "{answer}");
    assert!(world.seen().is_empty());
}

#[tokio::test]
async fn clients_of_the_proxy_are_judged_alike() {
    let world = World::new().await;
    let mut stream = world.proxy().await;
    stream.write_all(b"CONNECT api.test:443 HTTP/1.1\r\nhost: api.test:443\r\n\r\n").await.unwrap();
    let mut told = [0; 39];
    stream.read_exact(&mut told).await.unwrap();
    assert!(told.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&told));
    let stream = world.tls(stream, "api.test", &["http/1.1"]).await.unwrap();
    assert_eq!(read(one(stream, get("/v1/hello").body(empty()).unwrap()).await.unwrap()).await.0, 200);
    let answer = raw(world.proxy().await, b"CONNECT evil.test:443 HTTP/1.1\r\nhost: evil.test:443\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 403"), "{answer}");
    let absolute = "GET http://plain.test/v1/hello HTTP/1.1\r\nhost: plain.test\r\n\r\n\
                    GET http://evil.test/ HTTP/1.1\r\nhost: evil.test\r\n\r\n\
                    GET http://plain.test/v1/hello HTTP/1.1\r\nhost: evil.test\r\n\r\n\
                    GET http://plain.test/admin HTTP/1.1\r\nhost: plain.test\r\nconnection: close\r\n\r\n";
    let answer = raw(world.proxy().await, absolute.as_bytes()).await;
    let statuses: Vec<&str> = answer.split("HTTP/1.1 ").skip(1).map(|one| &one[..3]).collect();
    assert_eq!(statuses, ["200", "403", "421", "403"], "{answer}");
    let answer = raw(world.proxy().await, b"\x05\x01\x00").await;
    assert_eq!(answer.as_bytes(), [5, 0]);
}

#[tokio::test]
async fn an_outlet_that_closes_leaves_no_end_unwritten() {
    let world = World::new().await;
    let stream = world.tls(world.connect("api.test", 443).await, "api.test", &["http/1.1"]).await.unwrap();
    let response = one(stream, get("/v1/big?100000000000").body(empty()).unwrap()).await.unwrap();
    let _tunnel = world.tls(world.connect("whole.test", 443).await, "whole.test", &["http/1.1"]).await.unwrap();
    let log = world.log().await;
    drop(response);
    assert_eq!(log.matches("net.open").count(), log.matches("net.close").count(), "{log}");
    assert_eq!(log.matches("net.request").count(), log.matches("net.reply").count(), "{log}");
}
