//! Commands in a worker: how they are entered, whichever version of WASI 0.2 they were built for, and how they end.
//! It never runs a compiled program: the black-box tests do.

use crate::guests::assembled;
use crate::stage::{Stage, nothing};
use stockade::backend::wasm::{CallGrant, Component, End, What};

const MANIFEST: &str = r#"{"name":"plain","version":"1","description":"d","ceiling":{"arguments":true,"stdin":true}}"#;

/// A command whose `run` is this body; `$exit` ends it with a status.
fn command(version: &str, body: &str) -> Component {
    let text = format!(
        r#"(component
        (import "wasi:cli/exit@{version}" (instance $exit (export "exit-with-code" (func (param "status-code" u8)))))
        (core func $exit (canon lower (func $exit "exit-with-code")))
        (core instance $host (export "exit" (func $exit)))
        (core module $m (import "host" "exit" (func $exit (param i32))) (func (export "run") (result i32) {body}))
        (core instance $i (instantiate $m (with "host" (instance $host))))
        (func $run (result (result)) (canon lift (core func $i "run")))
        (instance $cli (export "run" (func $run))) (export "wasi:cli/run@{version}" (instance $cli)))"#
    );
    Component::parse(assembled(&text, MANIFEST)).unwrap_or_else(|error| panic!("{error}"))
}

/// The status of a command, as it answers it.
#[track_caller]
fn status(stage: &Stage, command: &Component) -> i64 {
    let (ran, _) = stage.call(command, "{}", &nothing());
    let End::Answered(reply) = &ran.end else { panic!("{ran:?}") };
    let said: serde_json::Value =
        serde_json::from_str(reply.structured.as_deref().expect("it has some")).expect("JSON");
    said["status"].as_i64().expect("it has a status")
}

#[test]
fn a_status_is_an_answer_of_every_version() {
    let stage = Stage::new();
    for version in ["0.2.0", "0.2.6", "0.2.9"] {
        assert_eq!(status(&stage, &command(version, "(i32.const 0)")), 0, "{version}");
        assert_eq!(status(&stage, &command(version, "(i32.const 1)")), 1, "{version}");
        assert_eq!(status(&stage, &command(version, "(call $exit (i32.const 7)) (i32.const 0)")), 7, "{version}");
    }
}

#[test]
fn what_breaks_is_no_status() {
    let stage = Stage::new();
    let (ran, _) = stage.call(&command("0.2.6", "unreachable"), "{}", &nothing());
    assert!(matches!(&ran.end, End::Trapped { why } if why.contains("unreachable")), "{ran:?}");
}

#[test]
fn what_a_call_has_and_was_not_granted_is_refused_before_a_worker_starts() {
    let stage = Stage::new();
    let plain = command("0.2.6", "(i32.const 0)");
    for (arguments, grant, says) in [
        (r#"{"args":["a"]}"#, CallGrant { stdin: true, ..nothing() }, "arguments = false"),
        (r#"{"stdin":"a"}"#, CallGrant { arguments: true, ..nothing() }, "stdin = false"),
        (r#"{"argv":["a"]}"#, CallGrant { arguments: true, stdin: true, ..nothing() }, "argv"),
        (r#"{"args":["a\u0000"]}"#, CallGrant { arguments: true, ..nothing() }, "character of value 0"),
    ] {
        let error = stage.try_call(&plain, arguments, &grant).expect_err("it is refused").to_string();
        assert!(error.contains(says), "{arguments}: {error}");
    }
    assert!(stage.started.lock().expect("nobody panicked").is_empty());
    let granted = CallGrant { arguments: true, stdin: true, ..nothing() };
    let (ran, seen) = stage.call(&plain, r#"{"args":["a"],"stdin":"b"}"#, &granted);
    assert!(matches!(ran.end, End::Answered(_)), "{ran:?}");
    // What it did not ask for it was not given.
    assert!(!seen.uses.iter().any(|used| matches!(used.what, What::Args | What::Stdin)), "{:?}", seen.uses);
}
