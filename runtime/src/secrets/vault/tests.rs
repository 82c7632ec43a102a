//! Which requests carry which secrets, where, and which are refused: as tables.

use super::fill::Sent;
use super::*;
use crate::secrets::placeholder::HostKey;
use bytes::Bytes;
use http::HeaderMap;
use http::header::{HeaderName, HeaderValue};
use stockade_jail::locked::LockedBytes;
use stockade_policy::{Host, Method, UrlPath, parse, resolve};

const SECRETS: &str = r#"
[[secret]]
name = "key"
env = "KEY"
place = { header = "authorization", format = "Bearer {}" }
hosts = ["api.test"]
methods = ["GET", "POST"]
paths = ["/v1/**"]
reason = "r"
[[secret]]
name = "custom"
env = "CUSTOM"
place = { header = "x-api-key" }
hosts = ["api.test", "*.below.test"]
reason = "r"
[[secret]]
name = "git"
shape = "github"
env = "GIT"
place = { basic = "x-access-token" }
hosts = ["git.test"]
reason = "r"
[[secret]]
name = "query"
env = "QUERY"
place = { query = "key" }
hosts = ["api.test"]
reason = "r"
[[secret]]
name = "path"
env = "PATHKEY"
place = "path"
hosts = ["bot.test"]
reason = "r"
[[secret]]
name = "body"
env = "BODY"
shape = "jwt"
place = "body"
hosts = ["form.test"]
reason = "r"
[[secret]]
name = "aws"
env = "AWS_ACCESS_KEY_ID"
place = { sigv4 = { service = "s3", region = "eu-west-1" } }
hosts = ["s3.test"]
reason = "r"
"#;

fn value(name: &str) -> &'static str {
    match name {
        "key" => "sk-live-0123456789",
        "custom" => "custom+value/with=signs",
        "git" => "github-personal-access-token",
        "query" => "a b&c=d%",
        "path" => "123:abc def",
        "body" => "quote\"back\\slash",
        "aws" => "AKIAIOSFODNN7EXAMPLE:wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
        other => panic!("no value for {other}"),
    }
}

pub(super) fn rules(text: &str) -> Vec<Rule<Secret>> {
    let text = format!("profile = 1\nname = \"p\"\n{text}");
    let file = parse("p.toml", text.as_bytes()).unwrap_or_else(|all| panic!("{all}"));
    resolve(&file, &mut |_| Ok(None)).unwrap_or_else(|all| panic!("{all}")).secrets().to_vec()
}

pub(super) fn host_key() -> HostKey {
    HostKey::new(LockedBytes::take(&mut [9; 32]).expect("memory"))
}

fn load(text: &str, value: impl Fn(&str) -> &'static str) -> Result<Vault> {
    let rules = rules(text);
    let resolved = rules.iter().map(|rule| Resolved {
        source: Source::Store,
        version: 1,
        value: Plain::new(value(rule.subject.name.as_str()).as_bytes().to_vec()).expect("it fits"),
        previous: None,
        reader: None,
    });
    Vault::hold(&rules, resolved.collect(), Scanner::new(host_key()), None, &Machine::system())
}

fn vault() -> Vault {
    load(SECRETS, value).expect("it loads")
}

/// The placeholder of a secret.
fn held(vault: &Vault, name: &str) -> String {
    vault.named(&SecretName::parse(name).expect("a name")).expect("it is held").text.clone()
}

/// A request as a table has it: `METHOD scheme://host/path?query`, headers, and `<name>` for a placeholder.
struct Case {
    line: &'static str,
    headers: &'static [(&'static str, &'static str)],
    grant: &'static str,
}

fn case(line: &'static str, headers: &'static [(&'static str, &'static str)], grant: &'static str) -> Case {
    Case { line, headers, grant }
}

fn base64(text: &str) -> String {
    use base64ct::{Base64, Encoding as _};
    Base64::encode_string(text.as_bytes())
}

/// Replaces `<name>` by its placeholder, `<<64:text>>` by base64, `<%name>` by a percent-encoded placeholder.
fn expand(vault: &Vault, text: &str) -> String {
    let mut out = text.to_owned();
    for held in vault.held.all() {
        let percent: String = held.text.bytes().map(|byte| format!("%{byte:02X}")).collect();
        out = out.replace(&format!("<%{}>", held.name()), &percent);
        out = out.replace(&format!("<{}>", held.name()), &held.text);
    }
    while let Some((before, rest)) = out.clone().split_once("<<64:") {
        let (inner, after) = rest.split_once(">>").expect("it ends");
        out = format!("{before}{}{after}", base64(inner));
    }
    out
}

/// What is sent, or the refusal: the whole of what leaves the door.
fn send(vault: &Vault, case: &Case) -> std::result::Result<String, String> {
    let line = expand(vault, case.line);
    let (method, url) = line.split_once(' ').expect("a method");
    let (scheme, rest) = url.split_once("://").expect("a scheme");
    let (host, target) = rest.split_at(rest.find('/').expect("a path"));
    let (path, query) = target.split_once('?').map_or((target, None), |(path, query)| (path, Some(query)));
    let mut headers = HeaderMap::new();
    for (name, value) in case.headers {
        let value = HeaderValue::from_str(&expand(vault, value)).expect("a value");
        headers.append(HeaderName::from_bytes(name.as_bytes()).expect("a name"), value);
    }
    let request = Outgoing {
        host: &Host::parse(host).expect("a host"),
        port: 443,
        channel: if scheme == "https" { Channel::Tls } else { Channel::Clear },
        method: &Method::parse(method).expect("a method"),
        path: &UrlPath::parse(path).expect("a path"),
        query,
        headers: &headers.clone(),
    };
    let grant = SecretName::parse(case.grant).ok();
    let slots = vault.slots(&request, grant.as_ref()).map_err(|canary| canary.reason())?;
    let mut target = target.to_owned();
    let sent = Sent { authority: host, method };
    vault.put(&slots, slots.uses(), sent, &mut headers, &mut target).map_err(|error| error.to_string())?;
    let mut out = target;
    for (name, value) in &headers {
        out.push_str(&format!(" | {name}: {}", value.to_str().expect("text")));
    }
    let uses: Vec<String> = slots.uses().iter().map(|used| format!("{} in {}", used.name, used.place)).collect();
    if !uses.is_empty() {
        out.push_str(&format!(" [{}]", uses.join(", ")));
    }
    Ok(out)
}

#[track_caller]
fn sends(case: Case, expect: &str) {
    let vault = vault();
    assert_eq!(send(&vault, &case).as_deref(), Ok(expand(&vault, expect).as_str()), "{}", case.line);
}

#[track_caller]
fn refuses(case: Case, expect: &str) {
    let error = send(&vault(), &case).expect_err(case.line);
    assert_eq!(error, expect, "{} {:?}", case.line, case.headers);
}

#[test]
fn a_placeholder_at_its_place_is_swapped() {
    let auth = |value| -> &'static [(&'static str, &'static str)] { Box::leak(Box::new([("authorization", value)])) };
    let bearer = "/v1/x | authorization: Bearer sk-live-0123456789 [key in header authorization]";
    sends(case("GET https://api.test/v1/x", auth("Bearer <key>"), "key"), bearer);
    sends(case("GET https://api.test/v1/x", auth("Bearer <key>"), ""), bearer);
    let token = "/v1/x | authorization: token sk-live-0123456789 [key in header authorization]";
    sends(case("GET https://api.test/v1/x", auth("token <key>"), ""), token);
    sends(
        case("GET https://api.test/v1/x", auth("Basic <<64:me:<key>>>"), ""),
        "/v1/x | authorization: Basic <<64:me:sk-live-0123456789>> [key in header authorization]",
    );
    sends(
        case("DELETE https://a.below.test/", &[("x-api-key", "<custom>"), ("user-agent", "curl")], ""),
        "/ | x-api-key: custom+value/with=signs | user-agent: curl [custom in header x-api-key]",
    );
    sends(
        case("GET https://git.test/a.git", auth("basic <<64:anyone:<git>>>"), ""),
        "/a.git | authorization: Basic <<64:x-access-token:github-personal-access-token>> [git in header authorization]",
    );
    sends(
        case("GET https://api.test/v2?a=1&key=<query>&b=", &[], ""),
        "/v2?a=1&key=a%20b%26c%3Dd%25&b= [query in query key]",
    );
    sends(case("GET https://bot.test/bot<path>/send?x=y", &[], ""), "/bot123%3Aabc%20def/send?x=y [path in path]");
    sends(
        case("GET https://api.test/v1/x?key=<query>", auth("Bearer <key>"), ""),
        "/v1/x?key=a%20b%26c%3Dd%25 | authorization: Bearer sk-live-0123456789 [query in query key, key in header authorization]",
    );
}

#[test]
fn a_secret_of_the_grant_is_attached_where_the_client_sends_none() {
    sends(
        case("GET https://git.test/a.git", &[], "git"),
        "/a.git | authorization: Basic <<64:x-access-token:github-personal-access-token>> [git in header authorization]",
    );
    sends(
        case("GET https://api.test/", &[], "custom"),
        "/ | x-api-key: custom+value/with=signs [custom in header x-api-key]",
    );
    // Not bound to the method or path, in the clear, or not named: nothing is attached.
    sends(case("PUT https://api.test/v1/x", &[], "key"), "/v1/x");
    sends(case("GET https://api.test/v2/x", &[], "key"), "/v2/x");
    sends(case("GET http://git.test/a.git", &[], "git"), "/a.git");
    sends(case("GET https://git.test/a.git", &[], ""), "/a.git");
    sends(case("GET https://api.test/v2", &[], "query"), "/v2");
    refuses(
        case("GET https://git.test/a.git", &[("authorization", "Basic bWU6bWU=")], "git"),
        "header authorization belongs to secret \"git\": send its placeholder, or nothing",
    );
    refuses(
        case("GET https://api.test/v2?key=mine", &[], "query"),
        "query key belongs to secret \"query\": send its placeholder, or nothing",
    );
}

#[test]
fn a_placeholder_anywhere_else_is_a_canary() {
    let unbound =
        |place: &str| format!("secret \"key\" is not bound to such a request, and its placeholder is in {place}");
    let elsewhere = |place: &str| format!("the placeholder of secret \"key\" is in {place}, where it is not swapped");
    refuses(
        case("GET https://evil.test/v1/x", &[("authorization", "Bearer <key>")], ""),
        &unbound("header authorization"),
    );
    refuses(
        case("PUT https://api.test/v1/x", &[("authorization", "Bearer <key>")], ""),
        &unbound("header authorization"),
    );
    refuses(
        case("GET https://api.test/v2", &[("authorization", "Bearer <key>")], ""),
        &unbound("header authorization"),
    );
    refuses(
        case("GET https://xapi.test/v1/", &[("authorization", "Bearer <key>")], ""),
        &unbound("header authorization"),
    );
    refuses(case("GET https://evil.test/<key>", &[], ""), &unbound("path"));
    refuses(case("GET https://evil.test/?q=<%key>", &[], ""), &unbound("query"));
    refuses(case("GET https://api.test/v1/<key>", &[], ""), &elsewhere("path"));
    refuses(case("GET https://api.test/v1/?key=<key>", &[], ""), &elsewhere("query"));
    for name in [
        "user-agent",
        "referer",
        "origin",
        "cookie",
        "x-request-id",
        "accept-language",
        "x-forwarded-for",
        "sec-websocket-key",
    ] {
        let headers: &'static [(&'static str, &'static str)] = Box::leak(Box::new([(name, "a <key> b")]));
        refuses(case("GET https://api.test/v1/x", headers, ""), &elsewhere(&format!("header {name}")));
    }
    refuses(case("GET https://api.test/v1/x", &[("x-api-key", "<key>")], ""), &elsewhere("header x-api-key"));
    refuses(
        case("GET http://api.test/v1/x", &[("authorization", "Bearer <key>")], "key"),
        "secret \"key\" is sent over TLS alone, and its placeholder is in header authorization",
    );
    for spelled in ["Bearer <%key>", "Bearer <<64:<key>>>", "Bearer <<64:x<key>>>", "Basic <<64:<key>:x>>"] {
        let headers: &'static [(&'static str, &'static str)] = Box::leak(Box::new([("authorization", spelled)]));
        refuses(
            case("GET https://api.test/v1/x", headers, ""),
            "the placeholder of secret \"key\" is encoded in header authorization: send it as it is",
        );
    }
    refuses(
        case("GET https://api.test/v1/x", &[("authorization", "Bearer x <key>")], ""),
        &elsewhere("header authorization"),
    );
    refuses(
        case("GET https://api.test/v1/x", &[("authorization", "Bearer <key>x")], ""),
        &elsewhere("header authorization"),
    );
}

#[test]
fn a_placeholder_twice_is_a_canary() {
    let twice = |place: &str| format!("secret \"key\" has more than one place in {place}");
    let doubled = &[("authorization", "Bearer <key>"), ("authorization", "Bearer <key>")];
    refuses(case("GET https://api.test/v1/x", doubled, ""), &twice("header authorization"));
    let one_other = &[("authorization", "Bearer <key>"), ("authorization", "Bearer other")];
    refuses(case("GET https://api.test/v1/x", one_other, ""), &twice("header authorization"));
    refuses(
        case("GET https://api.test/v1/x", &[("authorization", "Bearer <key><key>")], ""),
        &twice("header authorization"),
    );
    refuses(
        case("GET https://api.test/v1?key=<query>&key=<query>", &[], ""),
        "secret \"query\" has more than one place in query",
    );
    refuses(case("GET https://bot.test/<path>/<path>", &[], ""), "secret \"path\" has more than one place in path");
}

#[test]
fn a_placeholder_of_another_session_is_a_canary() {
    let (ours, other) = (vault(), vault());
    let text = held(&other, "key");
    let host = Host::parse("api.test").expect("a host");
    let method = Method::parse("GET").expect("a method");
    let path = UrlPath::parse("/v1/x").expect("a path");
    let mut headers = HeaderMap::new();
    headers.insert("authorization", HeaderValue::from_str(&format!("Bearer {text}")).expect("a value"));
    let request = Outgoing {
        host: &host,
        port: 443,
        channel: Channel::Tls,
        method: &method,
        path: &path,
        query: None,
        headers: &headers,
    };
    let canary = ours.slots(&request, None).expect_err("it is refused");
    assert_eq!((canary.secret.as_deref(), canary.why.clone(), canary.is_sighting()), (None, Why::Foreign, true));
    assert_eq!(ours.find(text.as_bytes()), [Found { secret: None, range: 0..36 }]);
}

#[test]
fn a_placeholder_in_a_hosts_name_is_known_in_either_case_and_across_labels() {
    let (vault, other) = (vault(), vault());
    let text = held(&vault, "key");
    let (first, rest) = text.split_at(20);
    for name in [format!("{text}.evil.test"), format!("x{}y.test", text.to_lowercase()), format!("{first}.{rest}.test")]
    {
        assert_eq!(vault.in_name(&name), Some(Some("key".to_owned())), "{name}");
    }
    assert_eq!(vault.in_name(&format!("{}.test", held(&other, "key"))), Some(None));
    assert_eq!(vault.in_name("api.example.com"), None);
}

#[test]
fn what_is_not_in_the_log_is_not_sent() {
    let vault = vault();
    let host = Host::parse("api.test").expect("a host");
    let method = Method::parse("GET").expect("a method");
    let path = UrlPath::parse("/").expect("a path");
    let mut headers = HeaderMap::new();
    let request = Outgoing {
        host: &host,
        port: 443,
        channel: Channel::Tls,
        method: &method,
        path: &path,
        query: None,
        headers: &headers,
    };
    let slots = vault.slots(&request, Some(&SecretName::parse("custom").expect("a name"))).expect("it is attached");
    let sent = Sent { authority: "api.test", method: "GET" };
    let mut target = "/".to_owned();
    let error = vault.put(&slots, &[], sent, &mut headers, &mut target).expect_err("it is refused");
    assert_eq!(error.fault, crate::error::Fault::Bug);
    assert!(headers.is_empty());
    vault.put(&slots, slots.uses(), sent, &mut headers, &mut target).expect("it is logged");
    assert!(headers.get("x-api-key").expect("it is there").is_sensitive());
}

#[test]
fn a_signature_is_made_for_its_service_alone() {
    let signed = |scope: &str| {
        format!("AWS4-HMAC-SHA256 Credential=<aws>/{scope}/aws4_request, SignedHeaders=host, Signature=00")
    };
    let headers = |scope: &str, extra: &[(&'static str, &'static str)]| -> &'static [(&'static str, &'static str)] {
        let authorization: &'static str = Box::leak(signed(scope).into_boxed_str());
        let all: Vec<(&'static str, &'static str)> =
            [("authorization", authorization)].into_iter().chain(extra.iter().copied()).collect();
        Vec::leak(all)
    };
    let vault = vault();
    let hash = ("x-amz-content-sha256", "UNSIGNED-PAYLOAD");
    let token = ("x-amz-security-token", "<aws>");
    let sent = send(&vault, &case("PUT https://s3.test/b/k", headers("20150830/eu-west-1/s3", &[hash, token]), ""));
    let sent = sent.expect("it is signed");
    assert!(sent.contains("Credential=AKIAIOSFODNN7EXAMPLE/20"), "{sent}");
    assert!(
        sent.contains("/eu-west-1/s3/aws4_request, SignedHeaders=host;x-amz-content-sha256;x-amz-date, "),
        "{sent}"
    );
    assert!(!sent.contains("stkD9") && !sent.contains("x-amz-security-token"), "{sent}");
    let unsignable = |why: &str| format!("secret \"aws\" cannot sign: {why}");
    let bound = "it is bound to service \"s3\" in region \"eu-west-1\", and the client signed for another";
    for scope in ["20150830/us-east-1/s3", "20150830/eu-west-1/iam"] {
        refuses(case("GET https://s3.test/", headers(scope, &[]), ""), &unsignable(bound));
    }
    let chunked = ("x-amz-content-sha256", "STREAMING-AWS4-HMAC-SHA256-PAYLOAD");
    refuses(
        case("PUT https://s3.test/b/k", headers("20150830/eu-west-1/s3", &[chunked]), ""),
        &unsignable("payload signing \"STREAMING-AWS4-HMAC-SHA256-PAYLOAD\" is not supported"),
    );
    refuses(
        case("GET https://s3.test/k?X-Amz-Signature=0", headers("20150830/eu-west-1/s3", &[]), ""),
        &unsignable("a presigned url cannot be signed again"),
    );
    refuses(
        case("GET https://s3.test/k?X-Amz-Credential=<aws>%2F20150830", &[], ""),
        "the placeholder of secret \"aws\" is in query, where it is not swapped",
    );
    let without_hash = send(&vault, &case("PUT https://s3.test/b/k", headers("20150830/eu-west-1/s3", &[]), ""));
    assert!(without_hash.expect_err("nobody hashed the body").contains("whose body nobody hashed"));
}

#[test]
fn each_part_of_a_key_pair_is_taken_out() {
    const KEY: &str = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY";
    const TOKEN: &str = "FwoGZXIvYXdzEXAMPLEtoken==";
    let lasting = vault();
    let temporary = load(SECRETS, |name| match name {
        "aws" => "AKIAIOSFODNN7EXAMPLE:wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY:FwoGZXIvYXdzEXAMPLEtoken==",
        other => value(other),
    });
    let temporary = temporary.expect("it loads");
    let scrubbed = |vault: &Vault, text: &str| {
        let mut bytes = text.as_bytes().to_vec();
        let names: Vec<_> = vault.all_patterns().expect("there are some").scrub_whole(&mut bytes);
        let names = names.into_iter().map(|hit| hit.name).collect::<Vec<_>>().join(",");
        (String::from_utf8(bytes).expect("stars are text"), names)
    };
    for text in [KEY.to_owned(), base64(KEY), KEY.replace('/', "%2F")] {
        let (left, names) = scrubbed(&lasting, &format!("<{text}>"));
        assert!(left.contains("****") && !left.contains("EXAMPLEKEY") && !left.contains(&text), "{left}");
        assert_eq!(names, "aws");
    }
    assert_eq!(scrubbed(&temporary, &format!("<{KEY}>")).0, format!("<{}>", "*".repeat(KEY.len())));
    assert_eq!(scrubbed(&temporary, &format!("<{TOKEN}>")).0, format!("<{}>", "*".repeat(TOKEN.len())));
    // The identifier is sent in every request, and tells nobody anything.
    assert_eq!(scrubbed(&temporary, "AKIAIOSFODNN7EXAMPLE"), ("AKIAIOSFODNN7EXAMPLE".to_owned(), String::new()));
}

/// Sends a body in pieces of these sizes.
fn body(
    vault: &Vault,
    host: &str,
    content_type: &str,
    bytes: &[u8],
    sizes: &mut dyn FnMut() -> usize,
) -> std::result::Result<Vec<u8>, String> {
    let mut headers = HeaderMap::new();
    headers.insert("content-type", HeaderValue::from_str(content_type).expect("a value"));
    let host = Host::parse(host).expect("a host");
    let method = Method::parse("POST").expect("a method");
    let path = UrlPath::parse("/").expect("a path");
    let request = Outgoing {
        host: &host,
        port: 443,
        channel: Channel::Tls,
        method: &method,
        path: &path,
        query: None,
        headers: &headers,
    };
    let grant = SecretName::parse("body").expect("a name");
    let slots = vault.slots(&request, Some(&grant)).map_err(|canary| canary.reason())?;
    let mut filter = vault.body_filter(&slots, &headers);
    let mut out = Vec::new();
    let mut rest = bytes;
    while !rest.is_empty() {
        let (piece, after) = rest.split_at(sizes().clamp(1, rest.len()));
        out.extend_from_slice(&filter.push(Bytes::copy_from_slice(piece)).map_err(|canary| canary.reason())?);
        rest = after;
    }
    out.extend_from_slice(&filter.finish().map_err(|canary| canary.reason())?);
    Ok(out)
}

#[test]
fn a_body_is_swapped_in_its_own_dress_whatever_the_chunks() {
    let vault = vault();
    let placeholder = held(&vault, "body");
    for (content_type, dressed) in [
        ("application/json; charset=utf-8", "quote\\\"back\\\\slash"),
        ("application/x-www-form-urlencoded", "quote%22back%5Cslash"),
        ("text/plain", "quote\"back\\slash"),
    ] {
        let sent = format!("a={placeholder}&b={placeholder}&c={}", &placeholder[..20]);
        let expect = format!("a={dressed}&b={dressed}&c={}", &placeholder[..20]);
        for size in [1, 2, 3, 7, 35, 36, 120, 500] {
            let out = body(&vault, "form.test", content_type, sent.as_bytes(), &mut || size);
            assert_eq!(
                out.map(|out| String::from_utf8(out).expect("text")),
                Ok(expect.clone()),
                "{content_type} by {size}"
            );
        }
    }
}

#[test]
fn a_placeholder_that_ends_as_it_begins_is_not_passed_over() {
    // One in sixty-two does.
    let drawn = (0..2000).map(|_| vault()).find(|vault| {
        let text = held(vault, "body");
        text.as_bytes().first() == text.as_bytes().last()
    });
    let vault = drawn.expect("one of two thousand");
    let sent = format!("a={}&", held(&vault, "body"));
    for size in [1, 2, 7, 36, 500] {
        let out = body(&vault, "form.test", "text/plain", sent.as_bytes(), &mut || size);
        assert_eq!(out, Ok(b"a=quote\"back\\slash&".to_vec()), "by {size}");
    }
}

#[test]
fn a_body_with_a_placeholder_that_is_not_bound_never_leaves_whole() {
    let vault = vault();
    let key = held(&vault, "key");
    let hex: String = key.bytes().map(|byte| format!("{byte:02x}")).collect();
    let json: String = key.bytes().map(|byte| format!("\\u{byte:04x}")).collect();
    let mut dice = crate::secrets::placeholder::tests::Dice::new(5);
    for spelled in [key.clone(), hex, json, base64(&format!("x:{key}")), held(&vault, "body").replace('.', "%2E")] {
        let is_own = !spelled.contains(&key) && spelled.contains("%2E");
        for round in 0..40 {
            let before = dice.below(3000);
            let sent = format!("{}{spelled}{}", " ".repeat(before), " ".repeat(dice.below(2000)));
            let out =
                body(&vault, "form.test", "text/plain", sent.as_bytes(), &mut || 1 + dice.below(1 << (round % 12)));
            if is_own {
                assert!(out.is_err() || out.is_ok_and(|out| !out.is_empty()), "it has no core of another");
            } else {
                assert_eq!(
                    out,
                    Err("the placeholder of secret \"key\" is in body, where it is not swapped".to_owned())
                );
            }
        }
    }
    let noise = dice.bytes(100_000);
    assert_eq!(body(&vault, "plain.test", "text/plain", &noise, &mut || 1500), Ok(noise.clone()));
    assert_eq!(body(&vault, "form.test", "text/plain", &noise, &mut || 1500), Ok(noise));
}

#[test]
fn an_agent_that_exchanges_a_secret_gets_placeholders_for_the_tokens() {
    const OAUTH: &str = r#"
[[secret]]
name = "key"
place = { oauth = { token_url = "https://login.test/token", grant = "refresh_token", client_id = "c" } }
hosts = ["login.test", "api.test"]
reason = "r"
"#;
    let vault = load(OAUTH, |_| "the refresh token").expect("it loads");
    let text = held(&vault, "key");
    let (host, path) = (Host::parse("login.test").expect("a host"), UrlPath::parse("/token").expect("a path"));
    let post = Method::parse("POST").expect("a method");
    let mut headers = HeaderMap::new();
    headers.insert("content-type", HeaderValue::from_static("application/x-www-form-urlencoded"));
    let request = Outgoing {
        host: &host,
        port: 443,
        channel: Channel::Tls,
        method: &post,
        path: &path,
        query: None,
        headers: &headers,
    };
    assert!(vault.gives_tokens(&request));
    assert!(!vault.gives_tokens(&Outgoing { port: 8443, ..request }));
    let post_form = |vault: &Vault, text: &str| {
        let slots = vault.slots(&request, None).expect("it is bound");
        let mut filter = vault.body_filter(&slots, &headers);
        let body = filter.push(Bytes::from(format!("refresh_token={text}&x=y"))).expect("it is swapped");
        [body, filter.finish().expect("it ends")].concat()
    };
    assert_eq!(post_form(&vault, &text), b"refresh_token=the%20refresh%20token&x=y");
    let reply = br#"{"access_token":"token-1\u0041","expires_in":60,"refresh_token":"another one","scope":"a b"}"#;
    let shown = String::from_utf8(vault.reply_tokens(&request, reply).expect("it is read")).expect("text");
    assert!(!shown.contains("token-1") && !shown.contains("another") && shown.contains("\"scope\":\"a b\""), "{shown}");
    let tokens: BTreeMap<String, serde_json::Value> = serde_json::from_str(&shown).expect("JSON");
    let refresh = tokens["refresh_token"].as_str().expect("text");
    assert_eq!(post_form(&vault, refresh), b"refresh_token=another%20one&x=y");
    let case = |host: &'static str, value: String| Case {
        line: host,
        headers: Box::leak(Box::new([("authorization", &*value.leak())])),
        grant: "",
    };
    let access = format!("Bearer {}", tokens["access_token"].as_str().expect("text"));
    let sent = send(&vault, &case("GET https://api.test/x", access.clone()));
    assert_eq!(sent.as_deref(), Ok("/x | authorization: Bearer token-1A [key in header authorization]"));
    assert!(send(&vault, &case("GET https://evil.test/x", access)).is_err());
    let misused = send(&vault, &case("GET https://api.test/x", format!("Bearer {refresh}")));
    assert_eq!(
        misused,
        Err("the placeholder of secret \"key\" is in header authorization, where it is not swapped".to_owned())
    );
    assert_eq!(vault.all_plaintexts().len(), 3, "all of them are scrubbed");
    for hostile in ["", "[]", "token-1", "{\"access_token\":"] {
        assert!(vault.reply_tokens(&request, hostile.as_bytes()).is_err(), "{hostile}");
    }
}

#[test]
fn the_sandbox_holds_placeholders_and_nothing_else() {
    let vault = vault();
    let environment = vault.environment();
    let names: Vec<&str> = environment.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(
        names,
        ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "BODY", "CUSTOM", "GIT", "KEY", "PATHKEY", "QUERY"]
    );
    for (name, text) in &environment {
        assert_eq!(vault.find(text.as_bytes()).len(), 1, "{name}");
        assert!(!vault.all_plaintexts().iter().any(|(_, plain)| text.as_bytes() == plain.bytes()), "{name}");
    }
    let shown = format!("{vault:?}");
    assert!(
        vault
            .all_plaintexts()
            .iter()
            .all(|(_, plain)| !shown.contains(&String::from_utf8_lossy(plain.bytes()).into_owned()))
    );
}

#[test]
fn a_secret_that_does_not_fit_its_place_is_refused_before_anything_runs() {
    let place =
        |place: &str| format!("[[secret]]\nname = \"k\"\nplace = {place}\nhosts = [\"a.test\"]\nreason = \"r\"\n");
    for (text, value, expect) in [
        (place("{ header = \"x-key\" }"), "a\r\nb: c", "error: secret \"k\" has a control character"),
        (place("{ basic = \"u\" }"), "a\nb", "error: secret \"k\" has a control character"),
        (
            place("{ header = \"cookie\" }"),
            "abcdefgh",
            "error: secret \"k\" has its place in header \"cookie\", which servers repeat",
        ),
        (
            place("{ header = \"accept-profile\" }"),
            "abcdefgh",
            "error: secret \"k\" has its place in header \"accept-profile\"",
        ),
        (place("\"path\""), "a/b", "error: secret \"k\" has a character that ends a segment of a path"),
        (place("\"path\""), "a?b", "error: secret \"k\" has a character that ends a segment of a path"),
        (place("\"path\""), "..", "error: secret \"k\" begins with a dot"),
        (place("{ sigv4 = { service = \"s3\", region = \"r\" } }"), "x", "error: secret \"k\" is no key pair of AWS"),
    ] {
        let error = load(&text, |_| value).expect_err("it is refused").to_string();
        assert!(error.starts_with(expect), "{error}");
        assert!(!error.contains(value) || value.len() < 3, "{error}");
    }
}
