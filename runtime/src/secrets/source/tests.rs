//! Sources, and the exec protocol in both directions, with hostile answers as a table.

use super::exec::{provide, read_reply};
use super::*;
use std::collections::BTreeSet;
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;

fn name(text: &str) -> SecretName {
    SecretName::parse(text).expect("a name")
}

fn uid() -> u32 {
    nix::unistd::geteuid().as_raw()
}

#[test]
fn sources_are_read_as_they_are_written() {
    let arguments = ["read".to_owned(), "a b".to_owned()];
    for (text, arguments, shown) in [
        ("file:/run/key", &[][..], "file:/run/key"),
        ("env:API_KEY", &[], "env:API_KEY"),
        ("fd:7", &[], "fd:7"),
        ("credential:api.key", &[], "credential:api.key"),
        ("exec:/usr/bin/op", &arguments, "exec:/usr/bin/op read a b"),
    ] {
        let source = Source::parse(text, arguments).expect(text);
        assert_eq!(source.to_string(), shown);
        assert_eq!(Source::from_words(&source.words()), Some(source));
    }
    for text in [
        "",
        "store",
        "store:",
        "file:",
        "file:relative",
        "file:~/x",
        "env:",
        "env:A B",
        "env:A=B",
        "fd:",
        "fd:2",
        "fd:-1",
        "fd:07",
        "fd:99999999999",
        "credential:",
        "credential:..",
        "credential:../x",
        "credential:/x",
        "exec:sh",
        "exec:",
        "vault:x",
        "literal:abc",
        "file:/a\0b",
    ] {
        assert!(Source::parse(text, &[]).is_err(), "{text}");
    }
    assert!(Source::parse("env:A", &arguments).is_err(), "only programs have arguments");
}

/// Fetches from a source, with a file of these bytes and mode where it names one.
fn fetch(source: &str, arguments: &[&str], file: Option<(&[u8], u32)>) -> core::result::Result<Vec<u8>, String> {
    let path =
        std::env::temp_dir().join(format!("stockade-source-{}-{:?}", std::process::id(), std::thread::current().id()));
    if let Some((bytes, mode)) = file {
        fs::write(&path, bytes).expect("it is written");
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("it is ours");
    }
    let text = source.replace("<FILE>", path.to_str().expect("text"));
    let arguments: Vec<String> = arguments.iter().map(|word| (*word).to_owned()).collect();
    let around = Surroundings {
        variable: &|name| (name == "SET").then(|| "from env".into()),
        credentials: None,
        descriptor: &|number| {
            (number == 9).then(|| {
                let (read, write) = std::io::pipe().expect("a pipe");
                File::from(OwnedFd::from(write)).write_all(b"from fd\n").expect("there is room");
                read.into()
            })
        },
        uid: uid(),
        carrier: &|| Err(Error::bug("nobody reads from a server here")),
    };
    let fetched = Source::parse(&text, &arguments).and_then(|source| around.fetch(&source, &name("k")));
    drop(fs::remove_file(&path));
    fetched
        .map(|plain| plain.bytes().to_vec())
        .map_err(|error| error.to_string().replace(path.to_str().expect("text"), "<FILE>"))
}

#[test]
fn a_value_is_fetched_from_where_it_is() {
    for (source, file, expect) in [
        ("env:SET", None, &b"from env"[..]),
        ("fd:9", None, b"from fd"),
        ("file:<FILE>", Some((&b"from file\n"[..], 0o600)), b"from file"),
        ("file:<FILE>", Some((b"from file\r\n", 0o640)), b"from file"),
        ("file:<FILE>", Some((b"two\n\n", 0o400)), b"two\n"),
    ] {
        assert_eq!(fetch(source, &[], file).as_deref(), Ok(expect), "{source}");
    }
    let script = r#"read -r line; case "$line" in *'"ids":["k"]'*) printf '{"protocolVersion":1,"values":{"k":"from \\u0065xec"}}';; esac"#;
    assert_eq!(fetch("exec:/bin/sh", &["-c", script], None).as_deref(), Ok(&b"from exec"[..]));
}

#[test]
fn a_source_that_has_no_value_is_an_error_without_one() {
    for (source, arguments, file, expect) in [
        ("env:UNSET", &[][..], None, "error: secret \"k\": \"env:UNSET\" is not set"),
        ("fd:8", &[], None, "error: secret \"k\": \"fd:8\" is not open"),
        (
            "credential:c",
            &[],
            None,
            "error: secret \"k\": \"credential:c\" cannot be had: CREDENTIALS_DIRECTORY is not set",
        ),
        ("file:<FILE>", &[], None, "error: open \"<FILE>\": no such file or directory"),
        (
            "file:<FILE>",
            &[],
            Some((&b"value"[..], 0o644)),
            "error: file \"<FILE>\" can be written by its group, or used by others",
        ),
        (
            "file:<FILE>",
            &[],
            Some((b"value", 0o660)),
            "error: file \"<FILE>\" can be written by its group, or used by others",
        ),
        ("file:<FILE>", &[], Some((b"\n", 0o600)), "error: secret \"k\" is empty"),
        ("file:<FILE>", &[], Some((b"a\0b", 0o600)), "error: secret \"k\" has a NUL byte"),
        (
            "file:<FILE>",
            &[],
            Some((&[b'x'; PLAIN_BYTES_MAX + 1], 0o600)),
            "error: secret \"k\" has more than 65536 bytes",
        ),
        (
            "file:<FILE>",
            &[],
            Some((&[b'x'; PLAIN_BYTES_MAX + 9], 0o600)),
            "error: file \"<FILE>\" has more than 65538 bytes",
        ),
        ("file:/dev/zero", &[], None, "error: file \"/dev/zero\" is not a regular file"),
        ("exec:/bin/false", &[], None, "error: secret \"k\": \"/bin/false\" ended with exit status: 1"),
        (
            "exec:/bin/sh",
            &["-c", "echo hunter2 >&2; exit 3"],
            None,
            "error: secret \"k\": \"/bin/sh\" ended with exit status: 3\nhint: run it by hand to see why",
        ),
    ] {
        let error = fetch(source, arguments, file).expect_err(source);
        assert!(error.starts_with(expect), "{error}");
        assert!(!error.contains("hunter2"), "{error}");
    }
}

#[test]
fn a_hostile_answer_is_refused_and_not_repeated() {
    for (reply, expect) in [
        ("", "answers no JSON of the protocol"),
        ("hunter2hunter2", "answers no JSON of the protocol"),
        ("[]", "answers no JSON of the protocol"),
        ("{}", "answers no JSON of the protocol"),
        (r#"{"protocolVersion":"1","values":{"k":"hunter2hunter2"}}"#, "answers no JSON of the protocol"),
        (r#"{"protocolVersion":1,"values":{"k":"hunter2hunter2"}} x"#, "answers no JSON of the protocol"),
        (r#"{"protocolVersion":2,"values":{"k":"hunter2hunter2"}}"#, "speaks version 2 of the protocol, not 1"),
        (r#"{"protocolVersion":1,"values":{"other":"hunter2hunter2"}}"#, "does not know it"),
        (r#"{"protocolVersion":1,"values":{"k":["hunter2hunter2"]}}"#, "answers with something that is no text"),
        (r#"{"protocolVersion":1,"values":{"k":null}}"#, "answers with something that is no text"),
        (r#"{"protocolVersion":1,"values":{"k":"\ud800hunter2"}}"#, "answers"),
        (
            r#"{"protocolVersion":1,"values":{"k":"hunter2hunter2"},"errors":{"k":{"message":"locked\u001b[31m"}}}"#,
            "has none: locked[31m",
        ),
        (r#"{"protocolVersion":1,"errors":{"k":"not signed in"}}"#, "has none: not signed in"),
        (r#"{"protocolVersion":1,"errors":{"k":7}}"#, "has none: it does not say why"),
    ] {
        let error = read_reply(reply.as_bytes(), &name("k")).expect_err(reply).to_string();
        assert!(error.starts_with("error: secret \"k\": its program ") && error.contains(expect), "{reply}: {error}");
        assert!(!error.contains("hunter2"), "{error}");
    }
    let nul = read_reply(br#"{"protocolVersion":1,"values":{"k":"a\u0000b"}}"#, &name("k")).expect_err("it has a NUL");
    assert!(nul.to_string().starts_with("error: secret \"k\" has a NUL byte"), "{nul}");
}

#[test]
fn text_is_unquoted_as_a_parser_does() {
    for raw in [r#""""#, r#""plain""#, r#""\"\\\/\b\f\n\r\t""#, r#""\u0041\u00e9\u20ac\ud83d\ude00é😀""#] {
        let ours = exec::unquote(raw).expect("a string");
        assert_eq!(*ours, serde_json::from_str::<String>(raw).expect("a string").into_bytes(), "{raw}");
    }
    for raw in ["1", "\"", r#""\ud83d""#, r#""\ude00""#, r#""\x""#, r#""\u00""#] {
        assert!(exec::unquote(raw).is_none(), "{raw}");
    }
}

#[test]
fn what_we_provide_is_what_was_named_and_no_more() {
    let allowed: BTreeSet<SecretName> = ["a", "b", "gone"].map(name).into();
    let value = |of: &SecretName| match of.as_str() {
        "gone" => Err(Error::operator("the store says more than others may know")),
        other => Ok(Plain::new(format!("value\"of\\{other}\n").into_bytes()).expect("it fits")),
    };
    let request = br#"{"protocolVersion":1,"provider":"stockade","ids":["a","b","c","gone","../x","a"]}"#;
    let reply = provide(request, &allowed, value).expect("a reply");
    let text = str::from_utf8(&reply).expect("text");
    assert_eq!(
        text,
        "{\"protocolVersion\":1,\"values\":{\"a\":\"value\\\"of\\\\a\\n\",\"b\":\"value\\\"of\\\\b\\n\"},\"errors\":\
         {\"../x\":{\"message\":\"it is not provided\"},\"c\":{\"message\":\"it is not provided\"},\"gone\":{\"message\":\"it cannot be had\"}}}\n"
    );
    // Both ends of the protocol fit together.
    assert_eq!(read_reply(&reply, &name("b")).expect("a value").bytes(), b"value\"of\\b\n");
    for request in ["", "{}", "[]", r#"{"protocolVersion":2,"ids":["a"]}"#, r#"{"protocolVersion":1,"ids":"a"}"#] {
        assert!(provide(request.as_bytes(), &allowed, value).is_err(), "{request}");
    }
}
