//! Secrets: put in where they are bound, taken out of all that comes back, and nowhere else.

use super::world::*;
use http::Request;
use http_body_util::BodyExt as _;
use tokio::io::AsyncReadExt as _;

#[tokio::test]
async fn the_secret_goes_out_in_place_of_its_placeholder_and_does_not_come_back() {
    let world = World::new().await;
    let auth = format!("Bearer {}", world.placeholder);
    for path in ["/v1/echo", "/v1/split", "/v1/gzip", "/v1/trailers"] {
        let response = world.api(get(path).header("authorization", &auth).body(empty()).unwrap()).await;
        assert_eq!(response.status(), 200, "{path}");
        let shown = format!("{:?}", response.headers());
        assert!(!shown.contains(SECRET) && !shown.contains("alt-svc"), "{shown}");
        let all = response.into_body().collect().await.unwrap();
        let trailers = format!("{:?}", all.trailers());
        let body = String::from_utf8_lossy(&all.to_bytes()).into_owned();
        assert!(!body.contains(SECRET) && !trailers.contains(SECRET), "{path}: {body} {trailers}");
        if matches!(path, "/v1/split" | "/v1/gzip") {
            assert_eq!(body, format!("before Bearer {} after", "*".repeat(SECRET.len())));
        }
    }
    let seen = world.seen();
    assert!(seen.iter().all(|line| line.contains(SECRET) && !line.contains(&world.placeholder)), "{seen:?}");
    assert!(seen.iter().all(|line| line.contains("\"accept-encoding\": \"identity\"")), "{seen:?}");
    let log = world.log().await;
    assert!(log.contains("secret.use") && log.contains("secret.scrub"), "{log}");
    assert!(!log.contains(SECRET) && !log.contains("given up"), "{log}");
}

#[tokio::test]
async fn a_grant_with_a_secret_attaches_it_where_the_client_sends_none() {
    let world = World::new().await;
    assert_eq!(read(world.api(get("/v1/hello").body(empty()).unwrap()).await).await.0, 200);
    assert!(world.seen()[0].contains(SECRET), "{:?}", world.seen());
}

#[tokio::test]
async fn a_placeholder_elsewhere_is_refused_and_logged_and_never_sent() {
    let world = World::new().await;
    let p = world.placeholder.clone();
    let encoded = percent(&p);
    let cases = [
        get("/v1/hello").header("user-agent", &p).body(empty()).unwrap(),
        get("/v1/hello").header("referer", format!("https://x/{p}")).body(empty()).unwrap(),
        get(&format!("/v1/{p}")).body(empty()).unwrap(),
        get(&format!("/v1/hello?x={p}")).body(empty()).unwrap(),
        get(&format!("/v1/hello?x={encoded}")).body(empty()).unwrap(),
    ];
    for request in cases {
        let shown = format!("{} {:?}", request.uri(), request.headers());
        let (status, body) = read(world.api(request).await).await;
        assert_eq!(status, 403, "{shown}: {body}");
    }
    // To a host that the secret is not bound to.
    let stream = world.tls(world.connect("bare.test", 443).await, "bare.test", &["http/1.1"]).await.unwrap();
    let request =
        Request::builder().uri("/").header("host", "bare.test").header("authorization", format!("Bearer {p}"));
    assert_eq!(read(one(stream, request.body(empty()).unwrap()).await.unwrap()).await.0, 403);
    // In a body, cut anywhere.
    for cut in [1, 7, p.len() - 1] {
        let (left, right) = p.split_at(cut);
        let parts = [left, right].map(|part| Ok(hyper::body::Frame::data(bytes::Bytes::from(part.to_owned()))));
        let body = frames(parts.into(), std::time::Duration::from_millis(20));
        let request = get("/v1/body").method("POST").body(body).unwrap();
        assert_eq!(read(world.api(request).await).await.0, 403, "cut at {cut}");
    }
    let seen = world.seen();
    assert!(seen.iter().all(|line| line.starts_with("POST /v1/body")), "{seen:?}");
    assert!(world.log().await.matches("secret.canary").count() >= 9);
}

fn percent(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02X}")).collect()
}

#[tokio::test]
async fn an_answer_that_cannot_be_looked_into_does_not_pass() {
    let world = World::new().await;
    assert_eq!(read(world.api(get("/v1/unknown-encoding").body(empty()).unwrap()).await).await.0, 502);
}

#[tokio::test]
async fn no_secret_goes_in_the_clear() {
    let rules = RULES.replace("hosts = [\"api.test\"]", "hosts = [\"api.test\", \"plain.test\"]");
    let world = World::with(&rules).await;
    let request = Request::builder().uri("/v1/hello").header("host", "plain.test");
    let request = request.header("authorization", format!("Bearer {}", world.placeholder)).body(empty()).unwrap();
    assert_eq!(read(one(world.connect("plain.test", 80).await, request).await.unwrap()).await.0, 403);
    assert!(world.seen().is_empty());
}

#[tokio::test]
async fn a_websocket_is_judged_as_its_request_and_its_frames_are_scrubbed() {
    let world = World::new().await;
    let request = get("/v1/ws")
        .header("connection", "Upgrade")
        .header("upgrade", "websocket")
        .header("sec-websocket-version", "13")
        .header("sec-websocket-key", "AAAAAAAAAAAAAAAAAAAAAA==")
        .header("sec-websocket-extensions", "permessage-deflate")
        .header("authorization", format!("Bearer {}", world.placeholder))
        .body(empty())
        .unwrap();
    let mut response = world.api(request).await;
    assert_eq!(response.status(), 101);
    let mut stream = hyper_util::rt::TokioIo::new(hyper::upgrade::on(&mut response).await.unwrap());
    let mut frame = vec![0; 2 + 7 + SECRET.len()];
    stream.read_exact(&mut frame).await.unwrap();
    assert_eq!(&frame[2..], format!("Bearer {}", "*".repeat(SECRET.len())).as_bytes());
    // A masked text frame with the placeholder: the connection ends, and it did not pass.
    let mut masked = vec![0x81, 0x80 | u8::try_from(world.placeholder.len()).unwrap(), 1, 2, 3, 4];
    masked.extend(world.placeholder.bytes().zip([1, 2, 3, 4].into_iter().cycle()).map(|(byte, mask)| byte ^ mask));
    let ended = raw(stream, &masked).await;
    assert_eq!(ended, "");
    let seen = world.seen();
    assert!(!seen[0].contains("permessage-deflate") && seen.iter().all(|line| !line.starts_with("frame")), "{seen:?}");
    let log = world.log().await;
    assert!(log.contains("secret.canary") && log.contains("websocket"), "{log}");
}
