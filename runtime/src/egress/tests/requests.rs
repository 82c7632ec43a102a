//! Requests: what is granted arrives as it was judged, and nothing else arrives.

use super::world::*;
use http::Request;
use http_body_util::BodyExt as _;

#[tokio::test]
async fn a_granted_request_goes_and_is_in_the_log_from_beginning_to_end() {
    let world = World::new().await;
    assert_eq!(read(world.api(get("/v1/hello?a=b").body(empty()).unwrap()).await).await, (200, "hello".into()));
    let log = world.log().await;
    for part in ["net.open", "net.request", "/v1/hello", "net.reply", "\"status\":200", "net.close", "\"why\":\"done\""]
    {
        assert!(log.contains(part), "{part} is not in the log");
    }
    assert!(!log.contains("given up"), "{log}");
}

#[tokio::test]
async fn what_is_not_granted_is_told_and_never_sent() {
    let world = World::new().await;
    let (status, body) = read(world.api(get("/admin").body(empty()).unwrap()).await).await;
    assert_eq!(status, 403);
    assert!(body.contains("allowed_instead") && body.contains("api.test"), "{body}");
    let delete = get("/v1/hello").method("DELETE").body(empty()).unwrap();
    assert_eq!(read(world.api(delete).await).await.0, 403);
    let overridden = get("/v1/hello").header("x-http-method-override", "DELETE").body(empty()).unwrap();
    assert_eq!(read(world.api(overridden).await).await.0, 403);
    assert!(world.seen().is_empty(), "{:?}", world.seen());
    assert_eq!(world.log().await.matches("net.refuse").count(), 3);
}

#[tokio::test]
async fn what_is_judged_is_what_is_sent() {
    let world = World::new().await;
    assert_eq!(read(world.api(get("/v1/%68ello").body(empty()).unwrap()).await).await.0, 200);
    assert!(world.seen()[0].starts_with("GET /v1/hello "), "{:?}", world.seen());
    for path in ["/v1/%2e%2e/admin", "/v1/../admin", "//v1/hello", "/v1/..%2fb", "/v1;/hello"] {
        assert_eq!(read(world.api(get(path).body(empty()).unwrap()).await).await.0, 400, "{path}");
    }
    assert_eq!(world.seen().len(), 1);
}

#[tokio::test]
async fn a_host_that_differs_from_its_connection_is_refused_each_time() {
    let world = World::new().await;
    let other = Request::builder().uri("/v1/hello").header("host", "evil.test").body(empty()).unwrap();
    assert_eq!(read(world.api(other).await).await.0, 421);
    let stream = world.tls(world.connect("api.test", 443).await, "api.test", &["h2"]).await.unwrap();
    let mut sender = two(stream).await;
    for (host, status) in [("api.test", 200), ("evil.test", 421), ("whole.test", 421), ("api.test", 200)] {
        let request = Request::builder().uri(format!("https://{host}/v1/hello")).body(empty()).unwrap();
        assert_eq!(read(sender.send_request(request).await.unwrap()).await.0, status, "{host}");
    }
    assert_eq!(world.seen().len(), 2);
}

#[tokio::test]
async fn a_redirect_is_the_clients_to_follow() {
    let world = World::new().await;
    let response = world.api(get("/v1/redirect").body(empty()).unwrap()).await;
    assert_eq!(
        (response.status().as_u16(), &response.headers()["location"]),
        (302, &"https://evil.test/".parse().unwrap())
    );
    assert_eq!(world.seen().len(), 1);
}

#[tokio::test]
async fn smuggled_framing_ends_at_the_outlet() {
    let world = World::new().await;
    let cases: [(&str, &str); 8] = [
        ("content-length: 60\r\ntransfer-encoding: chunked\r\n", "400"),
        ("content-length: 5\r\ncontent-length: 5\r\n", "400"),
        ("transfer-encoding: gzip, chunked\r\n", "501"),
        ("content-length: 3\r\ncontent-length: 5\r\n", "400"),
        ("content-length: +5\r\n", "400"),
        ("transfer-encoding : chunked\r\n", "400"),
        ("x: a\r\n b: c\r\n", "400"),
        ("x: a\0b\r\n", "400"),
    ];
    for (fields, status) in cases {
        let request = format!("POST /v1/body HTTP/1.1\r\nhost: plain.test\r\n{fields}\r\n0\r\n\r\n");
        let answer = raw(world.connect("plain.test", 80).await, request.as_bytes()).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{fields:?}: {answer}");
    }
    assert!(world.seen().is_empty(), "{:?}", world.seen());
}

#[tokio::test]
async fn each_request_on_a_connection_is_judged() {
    let world = World::new().await;
    let two = "GET /v1/hello HTTP/1.1\r\nhost: plain.test\r\n\r\nGET /admin HTTP/1.1\r\nhost: plain.test\r\nconnection: close\r\n\r\n";
    let answer = raw(world.connect("plain.test", 80).await, two.as_bytes()).await;
    assert!(answer.contains("200 OK") && answer.contains("403 Forbidden"), "{answer}");
    assert_eq!(world.seen().len(), 1);
}

#[tokio::test]
async fn a_giant_head_is_refused_within_its_limit() {
    let world = World::new().await;
    let head = format!("GET /v1/hello HTTP/1.1\r\nhost: plain.test\r\nx: {}\r\n\r\n", "a".repeat(200_000));
    let answer = raw(world.connect("plain.test", 80).await, head.as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 431") || answer.is_empty(), "{answer}");
    let head = format!("GET /v1/hello HTTP/1.1\r\nhost: plain.test\r\n{}\r\n", "x: a\r\n".repeat(150));
    let answer = raw(world.connect("plain.test", 80).await, head.as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 431"), "{answer}");
    assert!(world.seen().is_empty());
}

#[tokio::test]
async fn rates_say_when_to_come_back() {
    let rules =
        RULES.replace("host = \"plain.test\"", "host = \"plain.test\"\nrate = { requests_per_s = 1, burst = 2 }");
    let world = World::with(&rules).await;
    let mut last = None;
    for _ in 0..3 {
        let request = Request::builder().uri("/v1/hello").header("host", "plain.test").body(empty()).unwrap();
        last = Some(one(world.connect("plain.test", 80).await, request).await.unwrap());
    }
    let last = last.unwrap();
    assert_eq!((last.status().as_u16(), last.headers()["retry-after"].to_str().unwrap()), (429, "1"));
    assert_eq!(world.seen().len(), 2);
}

#[tokio::test]
async fn a_budget_of_bytes_ends_an_upload_in_its_middle() {
    let world = World::with(&format!("limits = {{ egress_mib = 1 }}\n{RULES}")).await;
    let request = Request::builder().method("POST").uri("/v1/body").header("host", "plain.test");
    let request = request.body(text(vec![0; 3 << 20])).unwrap();
    let response = one(world.connect("plain.test", 80).await, request).await;
    if let Ok(response) = response {
        assert_eq!(response.status().as_u16(), 403);
    }
    let log = world.log().await;
    assert!(log.contains("egress_mib"), "{log}");
}

#[tokio::test]
async fn trailers_pass_without_what_they_may_not_bring() {
    let world = World::new().await;
    let stream = world.tls(world.connect("api.test", 443).await, "api.test", &["h2"]).await.unwrap();
    let request =
        Request::builder().uri("https://api.test/v1/trailers").header("te", "trailers").body(empty()).unwrap();
    let response = two(stream).await.send_request(request).await.unwrap();
    let all = response.into_body().collect().await.unwrap();
    let trailers = all.trailers().unwrap();
    assert_eq!(trailers["grpc-status"], "0");
    assert!(!trailers.contains_key("content-length"));
    assert!(
        world.seen()[0].contains("\"te\": \"trailers\"") && world.seen()[0].contains("HTTP/2"),
        "{:?}",
        world.seen()
    );
}

#[tokio::test]
async fn an_upstream_that_is_not_who_it_should_be_gets_nothing() {
    let rules = RULES.replace("host = \"bare.test\"", "host = \"stranger.test\"");
    let world = World::with(&rules).await;
    let stream = world.tls(world.connect("stranger.test", 443).await, "stranger.test", &["http/1.1"]).await.unwrap();
    let request = Request::builder().uri("/v1/hello").header("host", "stranger.test").body(empty()).unwrap();
    let (status, body) = read(one(stream, request).await.unwrap()).await;
    assert_eq!(status, 502, "{body}");
    assert!(body.contains("stranger.test"), "{body}");
    assert!(world.seen().is_empty());
}

#[tokio::test]
async fn requests_on_one_connection_are_all_answered() {
    let world = World::new().await;
    let (mut sender, connection) = {
        let stream = world.connect("plain.test", 80).await;
        hyper::client::conn::http1::handshake::<_, Body>(hyper_util::rt::TokioIo::new(stream)).await.unwrap()
    };
    tokio::spawn(connection);
    for _ in 0..3 {
        sender.ready().await.unwrap();
        let request = Request::builder().uri("/v1/hello").header("host", "plain.test").body(empty()).unwrap();
        assert_eq!(read(sender.send_request(request).await.unwrap()).await.0, 200);
    }
    assert_eq!(world.seen().len(), 3);
}
