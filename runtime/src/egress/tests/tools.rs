//! Requests of tools: whole URLs on a stream of their own, judged as from anywhere, encrypted behind it.

use super::world::*;
use crate::egress::tool::Carries;
use http::Request;
use http_body_util::BodyExt as _;
use stockade_audit::record::CallId;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

/// A request of a tool.
fn ask(url: &str) -> http::request::Builder {
    Request::builder().uri(url)
}

/// The records of a log, whatever is between them.
fn records(log: &str) -> impl Iterator<Item = &str> {
    log.split("{\"v\":1,").skip(1)
}

/// The statuses of what is answered to these bytes.
async fn statuses(world: &World, bytes: &str) -> Vec<String> {
    let (stream, _wanted) = world.tool().await;
    let answer = raw(stream, bytes.as_bytes()).await;
    answer.split("HTTP/1.1 ").skip(1).map(|one| one.chars().take(3).collect()).collect()
}

// A stream that is dropped waits for the outlet, which has a thread of its own.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tool_asks_for_https_without_tls_and_gets_its_answer_without_the_secret() {
    let world = World::new().await;
    let auth = format!("Bearer {}", world.placeholder);
    for path in ["echo", "split", "gzip"] {
        let url = format!("https://api.test/v1/{path}");
        let request = ask(&url).header("host", "api.test").header("authorization", &auth).body(empty()).unwrap();
        let (stream, _wanted) = world.tool().await;
        let response = one(stream, request).await.unwrap();
        assert_eq!(response.status(), 200, "{path}");
        let shown = format!("{:?}", response.headers());
        let body = String::from_utf8(response.into_body().collect().await.unwrap().to_bytes().to_vec()).unwrap();
        assert!(!body.contains(SECRET) && !shown.contains(SECRET), "{path}: {shown} {body}");
        if path != "echo" {
            assert_eq!(body, format!("before Bearer {} after", "*".repeat(SECRET.len())));
        }
    }
    let seen = world.seen();
    // That they came at all says that they came under TLS: this upstream knows nothing else.
    assert!(seen.iter().all(|line| line.contains(SECRET) && !line.contains(&world.placeholder)), "{seen:?}");
    let log = world.log().await;
    assert_eq!(log.matches("secret.use").count(), 3, "{log}");
    assert!(log.contains("secret.scrub") && log.contains("\"status\":200"), "{log}");
    let opened = records(&log).filter(|line| line.contains("net.open")).collect::<Vec<_>>();
    assert_eq!(opened.len(), 3, "{log}");
    assert!(opened.iter().all(|line| line.contains("\"via\":\"wasi\"") && line.contains("\"tc\":\"tc_1\"")), "{log}");
    assert_eq!(log.matches("net.close").count(), 3, "{log}");
    assert!(!log.contains(SECRET) && !log.contains("given up"), "{log}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_request_on_a_tools_stream_is_judged_by_itself() {
    let world = World::new().await;
    let requests = "GET http://plain.test/v1/hello HTTP/1.1\r\nhost: plain.test\r\n\r\n\
                    GET https://api.test/v1/hello HTTP/1.1\r\nhost: api.test\r\n\r\n\
                    GET https://evil.test/v1/hello HTTP/1.1\r\nhost: evil.test\r\n\r\n\
                    GET https://api.test/admin HTTP/1.1\r\nhost: api.test\r\n\r\n\
                    DELETE https://api.test/v1/hello HTTP/1.1\r\nhost: api.test\r\n\r\n\
                    GET https://api.test/v1/hello HTTP/1.1\r\nhost: evil.test\r\n\r\n\
                    GET http://api.test/v1/hello HTTP/1.1\r\nhost: api.test\r\n\r\n\
                    GET https://plain.test/v1/hello HTTP/1.1\r\nhost: plain.test\r\n\r\n\
                    GET https://api.test:8443/v1/hello HTTP/1.1\r\nhost: api.test:8443\r\n\r\n\
                    GET https://bare.test/v1/hello HTTP/1.1\r\nhost: bare.test\r\nconnection: close\r\n\r\n";
    let found = statuses(&world, requests).await;
    assert_eq!(found, ["200", "200", "403", "403", "403", "421", "403", "403", "403", "200"]);
    assert_eq!(world.seen().len(), 3, "{:?}", world.seen());
    let log = world.log().await;
    let refused: Vec<&str> = records(&log).filter(|line| line.contains("net.refuse")).collect();
    assert_eq!(refused.len(), 7, "{log}");
    assert!(refused.iter().all(|line| line.contains("\"tc\":\"tc_1\"")), "{log}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_no_request_of_a_tool_goes_nowhere() {
    let world = World::new().await;
    for (request, status) in [
        ("GET /v1/hello HTTP/1.1\r\nhost: api.test\r\n\r\n", "400"),
        ("GET ftp://api.test/v1/hello HTTP/1.1\r\nhost: api.test\r\n\r\n", "400"),
        ("GET https://user@api.test/v1/hello HTTP/1.1\r\nhost: api.test\r\n\r\n", "400"),
        ("GET https://api.test/v1/%2e%2e/admin HTTP/1.1\r\nhost: api.test\r\n\r\n", "400"),
        ("CONNECT api.test:443 HTTP/1.1\r\nhost: api.test:443\r\n\r\n", "400"),
        (
            "GET https://api.test/v1/x HTTP/1.1\r\nhost: api.test\r\ncontent-length: 3\r\ntransfer-encoding: chunked\r\n\r\n",
            "400",
        ),
    ] {
        assert_eq!(statuses(&world, request).await.first().map(String::as_str), Some(status), "{request}");
    }
    let (mut tls, _wanted) = world.tool().await;
    tokio::io::AsyncWriteExt::write_all(&mut tls, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03").await.unwrap();
    let mut answer = Vec::new();
    tls.read_to_end(&mut answer).await.unwrap();
    assert!(answer.is_empty() || answer.starts_with(b"HTTP/1.1 400"), "{:?}", String::from_utf8_lossy(&answer));
    assert!(world.seen().is_empty(), "{:?}", world.seen());
    assert!(world.log().await.matches("net.refuse").count() >= 6);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refusal_tells_a_tool_what_would_be_allowed() {
    let world = World::new().await;
    let request = ask("https://evil.test/").header("host", "evil.test").body(empty()).unwrap();
    let (stream, _wanted) = world.tool().await;
    let (status, body) = read(one(stream, request).await.unwrap()).await;
    assert_eq!(status, 403);
    for part in ["refused by the sandbox", "evil.test", "allowed_instead", "api.test", "to_ask"] {
        assert!(body.contains(part), "{part}: {body}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_placeholder_that_a_tool_sends_elsewhere_is_refused_and_logged_and_never_sent() {
    let world = World::new().await;
    let placeholder = world.placeholder.clone();
    for request in [
        ask(&format!("https://api.test/v1/hello?x={placeholder}")).header("host", "api.test"),
        ask("https://bare.test/").header("host", "bare.test").header("authorization", format!("Bearer {placeholder}")),
    ] {
        let (stream, _wanted) = world.tool().await;
        let (status, body) = read(one(stream, request.body(empty()).unwrap()).await.unwrap()).await;
        assert_eq!(status, 403, "{body}");
    }
    assert!(world.seen().is_empty(), "{:?}", world.seen());
    assert_eq!(world.log().await.matches("secret.canary").count(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_that_is_dropped_has_ended_in_every_hand() {
    let world = World::new().await;
    let (mut kept, stream) = world.tool().await;
    let request = b"GET http://plain.test/v1/big?100000000000 HTTP/1.1\r\nhost: plain.test\r\n\r\n";
    tokio::io::AsyncWriteExt::write_all(&mut kept, request).await.unwrap();
    let mut begun = [0; 12];
    kept.read_exact(&mut begun).await.unwrap();
    assert_eq!(&begun, b"HTTP/1.1 200");
    drop(stream);
    // What was on its way is read, and then there is no more of it, and nothing can be asked.
    kept.read_to_end(&mut Vec::new()).await.unwrap();
    assert!(tokio::io::AsyncWriteExt::write_all(&mut kept, request).await.is_err());
    let log = world.log().await;
    assert_eq!((log.matches("net.reply").count(), log.matches("net.close").count()), (1, 1), "{log}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_that_a_tool_shuts_is_over() {
    let world = World::new().await;
    let (tools, stream) = world.tool().await;
    assert!(!stream.is_over());
    drop(tools);
    for _ in 0..500 {
        if stream.is_over() {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    panic!("nobody holds the other end, and the stream is served");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_that_never_came_is_in_the_log_too() {
    let world = World::new().await;
    let (tools, stream) = world.tool().await;
    drop((tools, stream));
    let log = world.log().await;
    let refused: Vec<&str> = records(&log).filter(|line| line.contains("net.refuse")).collect();
    assert_eq!(refused.len(), 1, "{log}");
    assert!(refused[0].contains("unheard") && refused[0].contains("tc_1"), "{log}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_outlet_that_has_closed_gives_no_stream() {
    let (streams, asked) = crate::egress::tool::Streams::new();
    let call = || CallId::new("tc_1").unwrap();
    let stream = streams.open(Carries::Requests, call()).unwrap();
    drop(asked);
    drop(stream);
    assert!(streams.open(Carries::Requests, call()).unwrap_err().to_string().contains("the outlet is closed"));
}

/// What the outlet says of a socket that wants to go there, and what comes afterwards of what is said on it.
async fn dialed(world: &World, head: &str, say: &str) -> (String, String) {
    use crate::egress::pieces::{Came, Pieces};
    let (mut stream, _wanted) = world.socket().await;
    stream.write_all(format!("{head}\r\n\r\n").as_bytes()).await.unwrap();
    stream.write_all(say.as_bytes()).await.unwrap();
    let (mut pieces, mut all) = (Pieces::default(), Vec::new());
    while stream.read_buf(pieces.room()).await.unwrap() > 0 {
        while let Came::Some(some) = pieces.take(usize::MAX) {
            all.extend_from_slice(&some);
        }
    }
    let all = String::from_utf8(all).unwrap();
    let (head, rest) = all.split_once("\r\n\r\n").unwrap_or_default();
    (head.get(9..12).unwrap_or_default().to_owned(), rest.to_owned())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_socket_goes_where_a_commands_connection_goes() {
    let world = World::new().await;
    // What commands were told to call it by is no name for a tool.
    let synthetic = world.context.names.address_of(&stockade_policy::Host::parse("api.test").unwrap()).unwrap().0;
    let ask = |host: &str| format!("GET /v1/hello HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n");
    for (target, status) in [
        ("whole.test:2222", "200"),
        ("whole.test:81", "403"),
        ("evil.test:443", "403"),
        ("127.0.0.1:2222", "403"),
        ("169.254.169.254:80", "403"),
        (&format!("{synthetic}:443"), "403"),
    ] {
        let head = format!("CONNECT {target} HTTP/1.1");
        let (found, answer) = dialed(&world, &head, &ask("whole.test:2222")).await;
        assert_eq!(found, status, "{target}: {answer}");
        assert_eq!(answer.contains("HTTP/1.1 200"), status == "200", "{target}: {answer}");
    }
    let (found, _) = dialed(&world, "GET http://plain.test/v1/hello HTTP/1.1", "").await;
    assert_eq!(found, "500", "a socket is no stream for requests");
    assert_eq!(dialed(&world, "hello", "").await.0, "", "nor anything else");
    let log = world.log().await;
    let opened: Vec<&str> = records(&log).filter(|line| line.contains("net.open")).collect();
    assert!(
        opened.iter().all(|line| line.contains("\"via\":\"wasi-tcp\"") && line.contains("\"tc\":\"tc_1\"")),
        "{log}"
    );
    assert_eq!((opened.len(), log.matches("net.close").count()), (1, 1), "{log}");
    let refused = records(&log).filter(|line| line.contains("net.refuse") && line.contains("\"tc\":\"tc_1\"")).count();
    assert_eq!(refused, 7, "{log}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_socket_that_nobody_wants_any_more_is_over_with_its_records() {
    let world = World::new().await;
    let (stream, wanted) = world.socket().await;
    drop(wanted);
    drop(stream);
    let (mut stream, wanted) = world.socket().await;
    stream.write_all(b"CONNECT whole.test:2222 HTTP/1.1\r\n\r\n").await.unwrap();
    let mut answer = [0; 64];
    assert!(stream.read(&mut answer).await.unwrap() > 0);
    drop(wanted);
    let log = world.log().await;
    assert_eq!(log.matches("net.close").count(), 1, "{log}");
    assert_eq!(log.matches("net.refuse").count(), 1, "{log}");
}

/// A socket is connected before it is known what goes over it: whatever that is, the log says to whom.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_socket_that_was_connected_is_never_said_to_have_reached_nobody() {
    let hello = "\x16\x03\x01\0\x05\x01\0\0\x01\x03";
    for say in ["", "GET /v1/hello HTTP/1.1\r\nhost: whole.test:2222\r\n\r\n", hello] {
        let world = World::new().await;
        let (mut stream, wanted) = world.socket().await;
        stream.write_all(b"CONNECT whole.test:2222 HTTP/1.1\r\n\r\n").await.unwrap();
        assert!(stream.read(&mut [0; 64]).await.unwrap() > 0);
        stream.write_all(say.as_bytes()).await.unwrap();
        drop((stream, wanted));
        let log = world.log().await;
        let closed: Vec<&str> = records(&log).filter(|line| line.contains("net.close")).collect();
        assert!(closed.len() == 1 && closed[0].contains("\"addr\":\"127.0.0.1:"), "{say:?}: {log}");
    }
}

/// What a socket's component had written goes out when the component is over, though its upstream talks meanwhile.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_socket_had_to_send_goes_out_to_an_upstream_that_talks() {
    // What any kernel takes for somebody who has not read it yet.
    const SENT_BYTES: usize = 40_000;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let upstream = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let (mut taken, mut piece) = (0, [0; 1000]);
        loop {
            let some = stream.read(&mut piece).await.unwrap_or_default();
            taken += some;
            if some == 0 {
                return taken;
            }
            // An echo, also for whoever has left.
            drop(stream.write_all(&piece[..some]).await);
        }
    });
    let rules = RULES.replace("PLAIN", &address.to_string()).replace("TLS", &address.to_string());
    let world = World::before(&rules, authority_outside().0, Seen::default());
    let (mut stream, wanted) = world.socket().await;
    stream.write_all(b"CONNECT whole.test:2222 HTTP/1.1\r\n\r\n").await.unwrap();
    // All of the answer: whoever leaves amid it was never told that it is connected.
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\n") {
        assert!(stream.read_buf(&mut answer).await.unwrap() > 0);
    }
    stream.write_all(&[0; SENT_BYTES]).await.unwrap();
    drop(wanted);
    let taken = upstream.await.unwrap();
    let log = world.log().await;
    assert_eq!(taken, SENT_BYTES, "{log}");
    assert!(log.contains(&format!("\"up\":{SENT_BYTES}")) && log.contains("\"why\":\"done\""), "{log}");
}
