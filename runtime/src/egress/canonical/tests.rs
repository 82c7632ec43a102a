//! Requests and the one form that they have, or why they have none.

use super::*;
use http::Request;

fn to() -> Destination {
    Destination { host: Host::parse("good.example").unwrap(), port: 443, channel: Channel::Tls }
}

fn request(target: &str, fields: &[(&str, &str)]) -> Parts {
    let mut made = Request::builder().uri(target);
    for (name, value) in fields {
        made = made.header(*name, *value);
    }
    made.body(()).unwrap().into_parts().0
}

/// A request with this path and, unless it has one, a good host.
#[track_caller]
fn path_is(target: &str, expected: Result<&str, &str>) {
    match (read(request(target, &[("host", "good.example")]), &to()), expected) {
        (Ok(read), Ok(path)) => assert_eq!(read.path.as_str(), path, "{target}"),
        (Err(misfit), Err(part)) => assert!(misfit.what.contains(part), "{target}: {}", misfit.what),
        (found, _) => panic!("{target}: {found:?}"),
    }
}

#[track_caller]
fn refused(fields: &[(&str, &str)], part: &str) {
    let mut all = fields.to_vec();
    if !fields.iter().any(|(name, _)| *name == "host") {
        all.push(("host", "good.example"));
    }
    let misfit = read(request("/", &all), &to()).expect_err("it is refused");
    assert!(misfit.what.contains(part), "{}", misfit.what);
}

fn taken(fields: &[(&str, &str)]) -> Canonical {
    let mut all = fields.to_vec();
    all.push(("host", "good.example"));
    read(request("/", &all), &to()).unwrap()
}

#[test]
fn plain_spellings_become_one() {
    path_is("/", Ok("/"));
    path_is("/v1/%41b%7e%2d", Ok("/v1/Ab~-"));
    path_is("/%e2%82%ac", Ok("/%E2%82%AC"));
    path_is("/a%3ab%40c", Ok("/a:b@c"));
    path_is("/a%2bb+c", Ok("/a%2Bb+c"));
    path_is("/a%3bb", Ok("/a%3Bb"));
    path_is("/{a}|\"", Ok("/%7Ba%7D%7C%22"));
    path_is("/100%25", Ok("/100%25"));
    path_is("/a/", Ok("/a/"));
    path_is("/@scope%2fname", Ok("/@scope%2Fname"));
}

#[test]
fn paths_with_two_meanings_are_refused() {
    for dots in ["/a/../b", "/a/%2e%2e/b", "/a/.%2E/b", "/./a", "/%2e", "/..", "/a/%2e."] {
        path_is(dots, Err("dot segment"));
    }
    path_is("//a", Err("empty segment"));
    path_is("/a//b", Err("empty segment"));
    path_is("/a;b=c", Err("\";\""));
    path_is("/public/..;/admin", Err("\";\""));
    path_is("/a%5cb", Err("escaped backslash"));
    path_is("/a/..%2f..%2fadmin", Err("dot segment"));
    path_is("/a%2f%2e%2e", Err("dot segment"));
    path_is("/a\\b", Err("\"\\\""));
    path_is("/a%00", Err("control"));
    path_is("/a%0d%0aHost:%20evil", Err("control"));
    path_is("/a%7f", Err("control"));
    path_is("/a%", Err("hex"));
    path_is("/a%4", Err("hex"));
    path_is("/a%zz", Err("hex"));
    path_is("/%252e%252e/b", Err("twice"));
    path_is("/a%252fb", Err("twice"));
    path_is("/a%25252f", Err("twice"));
}

#[test]
fn a_fragment_is_never_sent() {
    let parts = request("/a?b=c#d", &[("host", "good.example")]);
    let read = read(parts, &to()).unwrap();
    assert_eq!((read.path.as_str(), read.query.as_deref()), ("/a", Some("b=c")));
}

#[test]
fn every_word_about_the_host_must_be_the_same() {
    let check = |target: &str, host: Option<&str>, good: bool| {
        let fields: Vec<(&str, &str)> = host.map(|host| ("host", host)).into_iter().collect();
        assert_eq!(read(request(target, &fields), &to()).is_ok(), good, "{target} {host:?}");
    };
    check("/", Some("good.example"), true);
    check("/", Some("GOOD.example:443"), true);
    check("https://good.example/", Some("good.example"), true);
    check("https://good.example/", None, true);
    check("/", None, false);
    check("/", Some("evil.example"), false);
    check("/", Some("good.example:444"), false);
    check("/", Some("good.example."), false);
    check("/", Some("good.example.evil.example"), false);
    check("/", Some("user@good.example"), false);
    check("/", Some("good.example@evil.example"), false);
    check("/", Some(""), false);
    check("/", Some("good.example:+443"), false);
    check("/", Some("[good.example]"), false);
    check("https://evil.example/", Some("good.example"), false);
    check("https://good.example/", Some("evil.example"), false);
    check("https://good.example@evil.example/", Some("good.example"), false);
    check("https://user@good.example/", Some("good.example"), false);
    check("http://good.example/", Some("good.example"), false);
}

#[test]
fn two_hosts_are_refused_even_when_they_agree() {
    refused(&[("host", "good.example"), ("host", "good.example")], "two Host");
}

#[test]
fn an_old_request_without_host_is_for_its_connection() {
    let mut parts = request("/", &[]);
    parts.version = Version::HTTP_10;
    assert!(read(parts, &to()).is_ok());
}

#[test]
fn methods_are_upper_case_and_none_reflects_or_tunnels() {
    for (method, good) in [("GET", true), ("PURGE", true), ("get", false), ("TRACE", false), ("CONNECT", false)] {
        let mut parts = request("/", &[("host", "good.example")]);
        parts.method = http::Method::from_bytes(method.as_bytes()).unwrap();
        assert_eq!(read(parts, &to()).is_ok(), good, "{method}");
    }
}

#[test]
fn fields_about_the_connection_end_here_and_the_others_stay() {
    let read = taken(&[
        ("connection", "authorization, x-mine, close"),
        ("authorization", "Bearer p"),
        ("x-mine", "1"),
        ("proxy-authorization", "Basic x"),
        ("keep-alive", "1"),
        ("upgrade", "h2c"),
        ("http2-settings", "AA"),
        ("te", "trailers"),
        ("expect", "100-continue"),
    ]);
    let mut left: Vec<&str> = read.headers.keys().map(HeaderName::as_str).collect();
    left.sort_unstable();
    assert_eq!(left, ["authorization", "x-mine"]);
    assert_eq!((read.kind, read.trailers), (Kind::Plain, Trailers::Wanted));
}

use http::header::HeaderName;

#[test]
fn framing_that_says_two_things_is_refused() {
    refused(&[("transfer-encoding", "chunked"), ("content-length", "5")], "two lengths");
    refused(&[("transfer-encoding", "gzip, chunked")], "transfer coding");
    refused(&[("transfer-encoding", "chunked"), ("transfer-encoding", "chunked")], "transfer coding");
    refused(&[("content-length", "5"), ("content-length", "5")], "two lengths");
    refused(&[("transfer_encoding", "chunked")], "looks like");
    refused(&[("expect", "200-ok")], "expectation");
}

#[test]
fn what_overrides_the_request_is_seen_or_refused() {
    let delete = Method::parse("DELETE").unwrap();
    assert_eq!(taken(&[("x-http-method-override", "delete")]).overrides, std::slice::from_ref(&delete));
    for target in ["/?_method=DELETE", "/?a=b&%5Fmethod=%44elete", "/?_METHOD=delete"] {
        let read = read(request(target, &[("host", "good.example")]), &to()).unwrap();
        assert_eq!(read.overrides, std::slice::from_ref(&delete), "{target}");
    }
    refused(&[("x-http-method-override", "de lete")], "overrides");
    refused(&[("x-original-url", "/admin")], "another path");
    refused(&[("x_original_url", "/admin")], "looks like");
    refused(&[("x-forwarded-host", "evil.example")], "another host");
    refused(&[("forwarded", "for=1;Host=evil.example")], "names a host");
    assert!(taken(&[("x-forwarded-host", "good.example")]).overrides.is_empty());
}

#[test]
fn websockets_are_seen_when_they_are_whole() {
    let whole = [
        ("connection", "keep-alive, Upgrade"),
        ("upgrade", "websocket"),
        ("sec-websocket-version", "13"),
        ("sec-websocket-key", "AAAAAAAAAAAAAAAAAAAAAA=="),
        ("sec-websocket-extensions", "permessage-deflate"),
    ];
    let read = taken(&whole);
    assert_eq!(read.kind, Kind::WebSocket);
    assert!(!read.headers.contains_key("sec-websocket-extensions"));
    refused(&whole[..3], "malformed WebSocket");
}

#[test]
fn trailers_bring_nothing_that_was_judged() {
    let mut found = HeaderMap::new();
    for name in ["authorization", "host", "content-length", "transfer-encoding", "cookie", "grpc-status"] {
        found.insert(HeaderName::from_static(name), http::HeaderValue::from_static("1"));
    }
    trailers(&mut found);
    assert_eq!(found.keys().collect::<Vec<_>>(), ["grpc-status"]);
}

#[test]
fn more_fields_than_a_request_needs_are_refused() {
    let names: Vec<String> = (0..FIELDS_MAX).map(|n| format!("x-{n}")).collect();
    let fields: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), "1")).collect();
    refused(&fields, "more than 100");
}

#[test]
fn split_cookies_are_one_field_again() {
    let read = taken(&[("cookie", "a=1"), ("cookie", "b=2")]);
    assert_eq!(read.headers.get_all("cookie").iter().collect::<Vec<_>>(), ["a=1; b=2"]);
}

#[test]
fn no_upstream_speaks_for_the_outlet() {
    let answered = |status: &'static str| {
        let mut fields = HeaderMap::new();
        fields.append("proxy-status", http::HeaderValue::from_static("cdn; received-status=403"));
        fields.append("proxy-status", http::HeaderValue::from_static(status));
        reply(&mut fields);
        fields.get_all("proxy-status").iter().count()
    };
    assert_eq!(answered("edge; error=dns_timeout"), 2);
    assert_eq!(answered("edge, stockade; error=http_request_denied"), 0);
}
