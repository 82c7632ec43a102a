//! Words for a server that keeps secrets, what it is asked, and its answers, good and evil, as tables.

use super::reader::{Carrier, KEEPER_REPLY_BYTES_MAX, KeeperReply, Reader, Unread};
use super::*;
use crate::secrets::source::Surroundings;
use std::os::unix::fs::PermissionsExt as _;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use stockade_policy::SecretName;
use zeroize::Zeroizing;

fn words(text: &str) -> (String, Vec<String>) {
    let mut words = text.split_whitespace().map(str::to_owned);
    (words.next().expect("a url"), words.collect())
}

#[test]
fn a_source_is_read_as_it_is_written() {
    for (text, target) in [
        ("https://vault.test path=app token=env:T", "/v1/secret/data/app"),
        ("https://vault.test:443 mount=team/kv path=a/b/c field=key kv=1 token=file:/t", "/v1/team/kv/a/b/c"),
        ("http://localhost:8200 path=a version=3 namespace=x/y every=5 role-id=r secret-id=fd:7", "/v1/secret/data/a"),
        ("http://[::1]:1 path=a+b%20c login=k8s/prod role=r jwt=file:/j ca=/ca.pem", "/v1/secret/data/a%2Bb%2520c"),
        ("https://10.0.0.1 path=a role=r jwt=credential:j", "/v1/secret/data/a"),
    ] {
        let (url, rest) = words(text);
        let keeper = Keeper::parse(&url, &rest).expect(text);
        let source = Source::Vault(Box::new(keeper.clone()));
        assert_eq!(Source::from_words(&source.words()), Some(source), "{text}");
        assert_eq!(keeper.target(None), target);
    }
}

#[test]
fn a_source_that_says_too_little_or_too_much_is_refused() {
    for (text, expect) in [
        ("vault.test path=a token=env:T", "does not begin with https://"),
        ("http://vault.test path=a token=env:T", "http goes to this machine's loopback alone"),
        ("http://127.0.0.1.nip.test path=a token=env:T", "http goes to this machine's loopback alone"),
        ("https://vault.test:0 path=a token=env:T", "there is no port"),
        ("https://vault.test/v1 path=a token=env:T", "host"),
        ("https://u@vault.test path=a token=env:T", "host"),
        ("https://vault.test token=env:T", "it has no path="),
        ("https://vault.test path=a/../b token=env:T", "path has an empty part, or one of dots"),
        ("https://vault.test path=/a token=env:T", "path has an empty part"),
        ("https://vault.test path=a mount=./x token=env:T", "mount has an empty part"),
        ("https://vault.test path=a", "one of the three"),
        ("https://vault.test path=a token=env:T role=r jwt=env:J", "one of the three"),
        ("https://vault.test path=a role-id=r", "one of the three"),
        ("https://vault.test path=a login=x token=env:T", "one of the three"),
        ("https://vault.test path=a token=hvs.CAESIJ", "and never the value itself"),
        ("https://vault.test path=a token=exec:/bin/sh", "and never the value itself"),
        ("https://vault.test path=a token=file:relative", "and never the value itself"),
        ("https://vault.test path=a token=env:T kv=3", "kv is 1 or 2"),
        ("https://vault.test path=a token=env:T kv=1 version=2", "version 1 of the engine has no versions"),
        ("https://vault.test path=a token=env:T version=0", "version is a number"),
        ("https://vault.test path=a token=env:T version=4294967296", "version is a number"),
        ("https://vault.test path=a token=env:T every=0", "every is 1 to 86400 seconds"),
        ("https://vault.test path=a token=env:T ca=ca.pem", "ca has no absolute path"),
        ("https://vault.test path=a path=b token=env:T", "path is there twice"),
        ("https://vault.test path=a token=env:T colour=red", "\"colour=\" is unknown"),
        ("https://vault.test path=a token=env:T field=", "is no word like mount=secret"),
    ] {
        let (url, rest) = words(text);
        let error = Keeper::parse(&url, &rest).expect_err(text).to_string();
        assert!(error.contains(expect), "{text}: {error}");
        assert!(!error.contains("hvs."), "a value that was given by mistake is not repeated: {error}");
    }
}

type Answers = Vec<(u16, String)>;

/// A server that answers from a list and remembers what it was asked.
fn server(answers: Answers) -> (Carrier, Arc<Mutex<Vec<String>>>) {
    let said: Arc<Mutex<Vec<String>>> = Arc::default();
    let (asked, answers) = (Arc::clone(&said), Mutex::new(answers.into_iter()));
    let carrier: Carrier = Arc::new(move |request| {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let token = request.token.as_ref().map_or("-", |token| token.as_str());
        let body = request.body.as_ref().map_or_else(String::new, |body| text(body));
        let namespace = request.namespace.as_deref().unwrap_or("");
        asked.lock().expect("no panic").push(format!("{namespace}{} {token} {body}", request.target));
        let next = answers.lock().expect("no panic").next();
        Box::pin(async move {
            let (status, body) = next.ok_or_else(|| Error::host("nobody answers"))?;
            Ok(KeeperReply { status, body: Zeroizing::new(body.into_bytes()) })
        })
    });
    (carrier, said)
}

fn reader(text: &str, carrier: &Carrier) -> Result<Reader> {
    let (url, rest) = words(text);
    let around = Surroundings {
        variable: &|name| (name == "T").then(|| "token-of-ours".into()),
        credentials: None,
        descriptor: &|_| None,
        uid: nix::unistd::geteuid().as_raw(),
        carrier: &|| Ok(Arc::clone(carrier)),
    };
    Reader::new(&Keeper::parse(&url, &rest)?, &around, &SecretName::parse("key").expect("a name"))
}

fn run<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime").block_on(future)
}

fn versioned(version: u64, value: &str) -> (u16, String) {
    (
        200,
        format!(r#"{{"data":{{"data":{{"value":"{value}"}},"metadata":{{"version":{version},"x":1}}}},"auth":null}}"#),
    )
}

fn login(life_s: u64, renewable: bool) -> (u16, String) {
    (200, format!(r#"{{"auth":{{"client_token":"tok{life_s}","lease_duration":{life_s},"renewable":{renewable}}}}}"#))
}

const BY_ROLE: &str = "https://vault.test path=app namespace=n role-id=r secret-id=env:T every=1";
const BY_TOKEN: &str = "https://vault.test path=app token=env:T";

#[test]
fn the_newest_version_is_read_and_the_one_before_is_known() {
    let (carrier, said) = server(vec![login(60, true), versioned(7, "ne\\u0077"), versioned(6, "old")]);
    let (reading, before) = run(reader(BY_ROLE, &carrier).expect("it is whole").first()).expect("a secret");
    assert_eq!(
        (reading.version, reading.value.bytes(), before.expect("it is there").bytes()),
        (Some(7), &b"new"[..], &b"old"[..])
    );
    assert_eq!(
        *said.lock().expect("no panic"),
        [
            "n/v1/auth/approle/login - {\"role_id\":\"r\",\"secret_id\":\"token-of-ours\"}",
            "n/v1/secret/data/app tok60 ",
            "n/v1/secret/data/app?version=6 tok60 ",
        ]
    );
    // Without versions there is nothing before.
    let one = (200, r#"{"data":{"value":"v"},"lease_duration":3600}"#.to_owned());
    let (carrier, _) = server(vec![one]);
    let (reading, before) =
        run(reader(&format!("{BY_TOKEN} kv=1"), &carrier).expect("it is whole").first()).expect("a secret");
    assert!((reading.version, before.is_none()) == (None, true) && reading.value.bytes() == b"v");
}

#[test]
fn a_life_beyond_all_time_does_not_end_us() {
    let (carrier, _) = server(vec![login(u64::MAX, true), versioned(1, "v")]);
    let mut reader = reader(BY_ROLE, &carrier).expect("it is whole");
    let (reading, _) = run(reader.first()).expect("a secret");
    assert_eq!(reading.value.bytes(), b"v");
    assert_eq!(reader.pause(), Some(Duration::from_secs(1)), "it is read as often as the source says");
}

#[test]
fn a_platforms_token_is_read_from_its_file_each_time() {
    let path = std::env::temp_dir().join(format!("stockade-keeper-{}", std::process::id()));
    let put = |text: &str, mode: u32| {
        std::fs::write(&path, text).expect("it is written");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).expect("it is ours");
    };
    let text = format!("https://vault.test path=app role=web every=1 jwt=file:{}", path.display());
    let answers = vec![login(0, false), versioned(1, "a"), (403, String::new()), login(0, false), versioned(2, "b")];
    let (carrier, said) = server(answers);
    put("jwt-1\n", 0o644);
    let mut reader = reader(&text, &carrier).expect("it is whole");
    run(reader.first()).expect("a secret");
    put("jwt-2\n", 0o644);
    assert_eq!(run(reader.again()).expect("a secret").version, Some(2), "it logs in anew when it is refused");
    let said = said.lock().expect("no panic").join("\n");
    assert!(said.contains(r#"/v1/auth/kubernetes/login - {"role":"web","jwt":"jwt-1"}"#), "{said}");
    assert!(said.contains(r#"{"role":"web","jwt":"jwt-2"}"#), "{said}");
    put("jwt-3\n", 0o666);
    let (carrier, _) = server(Vec::new());
    let (url, rest) = words(&text);
    assert!(Keeper::parse(&url, &rest).is_ok());
    let mut reader = tests::reader(&text, &carrier).expect("it is whole");
    let error = run(reader.first()).expect_err("anybody could have written it").to_string();
    std::fs::remove_file(&path).expect("it is there");
    assert!(error.contains("can be written by its group, or used by others"), "{error}");
}

#[test]
fn a_token_is_renewed_before_its_end_or_got_anew() {
    for (first, answers, expect, token) in [
        (login(1, true), vec![login(60, true), versioned(1, "a")], "renew-self", "tok1"),
        (login(1, true), vec![(403, String::new()), login(60, false), versioned(1, "a")], "login", "tok60"),
        (login(1, false), vec![login(60, false), versioned(1, "a")], "login", "tok60"),
    ] {
        let answers = [vec![first, versioned(1, "a")], answers].concat();
        let (carrier, said) = server(answers);
        let mut reader = reader(BY_ROLE, &carrier).expect("it is whole");
        run(reader.first()).expect("a secret");
        std::thread::sleep(Duration::from_millis(700));
        said.lock().expect("no panic").clear();
        run(reader.again()).expect("a secret");
        let said = said.lock().expect("no panic").join("\n");
        assert!(said.contains(expect) && said.contains(&format!("/v1/secret/data/app {token} ")), "{said}");
    }
    // Of a token that was given, the server knows how long it lives.
    let own = (200, r#"{"data":{"ttl":3600,"renewable":true}}"#.to_owned());
    let (carrier, said) = server(vec![versioned(1, "a"), own, versioned(1, "a"), versioned(1, "a")]);
    let mut reader = reader(BY_TOKEN, &carrier).expect("it is whole");
    run(reader.first()).expect("a secret");
    run(reader.again()).expect("a secret");
    run(reader.again()).expect("a secret");
    assert_eq!(said.lock().expect("no panic").iter().filter(|line| line.contains("lookup-self")).count(), 1);
}

#[test]
fn what_is_no_secret_is_an_error_that_repeats_nothing() {
    let answer = |status: u16, body: &str| vec![(status, body.to_owned())];
    let leak = "hvs.value-that-nobody-may-print";
    let told = format!(r#"{{"errors":["{leak}"]}}"#);
    for (text, answers, expect) in [
        (BY_TOKEN, Vec::new(), "nobody answers"),
        (BY_TOKEN, answer(400, &told), "it does not take the request"),
        (BY_TOKEN, answer(403, &told), "does not read the secret at \"/v1/secret/data/app\": permission denied"),
        (BY_TOKEN, answer(404, &told), "there is nothing"),
        (BY_TOKEN, answer(307, &told), "it sends us elsewhere"),
        (BY_TOKEN, answer(429, &told), "too many requests"),
        (BY_TOKEN, answer(500, &told), "it answers 500"),
        (BY_TOKEN, answer(503, &told), "it is sealed"),
        (BY_TOKEN, answer(204, ""), "it answers 204"),
        (BY_TOKEN, answer(200, ""), "something else than a secret"),
        (BY_TOKEN, answer(200, leak), "something else than a secret"),
        (BY_TOKEN, answer(200, r#"{"data":null}"#), "something else than a secret"),
        (BY_TOKEN, answer(200, &format!(r#"{{"data":{{"value":"{leak}"}}}}"#)), "answers as version 1"),
        (BY_TOKEN, answer(200, r#"{"data":{"data":null,"metadata":{"version":3}}}"#), "has deleted that version"),
        (BY_TOKEN, answer(200, r#"{"data":{"data":{},"metadata":{"version":0}}}"#), "another version than"),
        (BY_TOKEN, answer(200, r#"{"data":{"data":{},"metadata":{"version":4294967296}}}"#), "another version than"),
        (
            BY_TOKEN,
            answer(200, &format!(r#"{{"data":{{"data":{{"x":"{leak}"}},"metadata":{{"version":3}}}}}}"#)),
            "has no field \"value\"",
        ),
        (
            BY_TOKEN,
            answer(200, r#"{"data":{"data":{"value":{"a":1}},"metadata":{"version":3}}}"#),
            "has no text in field \"value\"",
        ),
        (
            BY_TOKEN,
            answer(200, r#"{"data":{"data":{"value":""},"metadata":{"version":3}}}"#),
            "secret \"key\" is empty",
        ),
        (BY_TOKEN, answer(200, &"x".repeat(KEEPER_REPLY_BYTES_MAX + 1)), "the answer is too long"),
        (BY_ROLE, answer(400, &told), "does not log in at \"/v1/auth/approle/login\""),
        (BY_ROLE, answer(200, r#"{"auth":null}"#), "answers the login with something else than a token"),
        (BY_ROLE, answer(200, r#"{"auth":{"client_token":"a\r\nb"}}"#), "a token that no header can carry"),
    ] {
        let (carrier, _) = server(answers);
        let error = run(reader(text, &carrier).expect("it is whole").first()).expect_err(expect).to_string();
        assert!(error.starts_with("error: secret \"key\"") && error.contains(expect), "{expect}: {error}");
        assert!(!error.contains("hvs.") && !error.contains("token-of-ours"), "{error}");
    }
}

#[test]
fn a_server_that_takes_a_secret_back_is_told_from_one_that_is_away() {
    for (answers, gone) in [
        (vec![(404, String::new()), (404, String::new())], true),
        (vec![(403, String::new()), (403, String::new())], true),
        (vec![(503, String::new())], false),
        (vec![(500, String::new())], false),
        (vec![], false),
    ] {
        let own = (200, r#"{"data":{"ttl":0}}"#.to_owned());
        let (carrier, _) = server([vec![versioned(1, "a"), own], answers].concat());
        let mut reader = reader(BY_TOKEN, &carrier).expect("it is whole");
        run(reader.first()).expect("a secret");
        let unread = run(reader.again()).expect_err("there is none");
        assert_eq!(matches!(unread, Unread::Refused(_)), gone, "{unread:?}");
    }
}
