//! Streams: passed on as they come, held back when nobody reads, ended when an end dies.

use super::world::*;
use http::Request;
use http_body_util::BodyExt as _;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

#[tokio::test]
async fn events_arrive_one_by_one() {
    let world = World::new().await;
    let mut body = world.api(get("/v1/sse").body(empty()).unwrap()).await.into_body();
    let mut last = Instant::now();
    for n in 0..3 {
        let frame = body.frame().await.unwrap().unwrap().into_data().unwrap();
        assert_eq!(frame, format!("data: {n}\n\n"));
        if n > 0 {
            assert!(last.elapsed() > Duration::from_millis(100), "events were collected");
        }
        last = Instant::now();
    }
}

#[tokio::test]
async fn a_gigabyte_passes_whole() {
    // What it takes of memory is asked of a process of its own, in tests/egress.
    let world = World::new().await;
    let mut body = world.api(get("/v1/big?1073741824").body(empty()).unwrap()).await.into_body();
    let mut all = 0;
    while let Some(frame) = body.frame().await {
        all += frame.unwrap().into_data().unwrap().len();
    }
    assert_eq!(all, 1 << 30);
}

#[tokio::test]
async fn an_upstream_that_dies_ends_its_answer_in_the_middle() {
    let world = World::new().await;
    let body = world.api(get("/v1/die").body(empty()).unwrap()).await.into_body();
    assert!(body.collect().await.is_err(), "half an answer is not a whole one");
    let log = world.log().await;
    assert!(log.contains("net.reply") && !log.contains("given up"), "{log}");
}

#[tokio::test]
async fn a_client_that_goes_away_leaves_its_end_in_the_log() {
    let world = World::new().await;
    let mut body = world.api(get("/v1/big?10737418240").body(empty()).unwrap()).await.into_body();
    drop(body.frame().await);
    drop(body);
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert!(world.logged.text().contains("given up before its end"));
}

#[tokio::test]
async fn a_client_that_never_finishes_its_head_is_given_up() {
    let world = World::new().await;
    let mut stream = world.connect("plain.test", 80).await;
    stream.write_all(b"GET /v1/hello HTTP/1.1\r\nhost: plain.test\r\n").await.unwrap();
    settled_and_paused().await;
    let mut rest = Vec::new();
    let ended = tokio::time::timeout(Duration::from_secs(120), stream.read_to_end(&mut rest)).await;
    assert!(ended.is_ok(), "it waits forever");
    assert!(world.seen().is_empty());
}

#[tokio::test]
async fn a_body_is_asked_for_only_when_its_request_is_allowed() {
    let world = World::new().await;
    for (path, told) in [("/v1/body", "HTTP/1.1 100 Continue"), ("/admin", "HTTP/1.1 403")] {
        let mut stream = world.connect("plain.test", 80).await;
        let head =
            format!("POST {path} HTTP/1.1\r\nhost: plain.test\r\nexpect: 100-continue\r\ncontent-length: 3\r\n\r\n");
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut answer = vec![0; told.len()];
        stream.read_exact(&mut answer).await.unwrap();
        assert_eq!(String::from_utf8_lossy(&answer), told);
    }
    let request =
        Request::builder().method("POST").uri("/v1/body").header("host", "plain.test").body(text("abc")).unwrap();
    assert_eq!(read(one(world.connect("plain.test", 80).await, request).await.unwrap()).await, (200, "3 bytes".into()));
}
