//! Exports against the schemas that others publish: OCSF 1.8 and the protocol buffers of OpenTelemetry.
//! It never passes where a schema could not be had; it says so, as a failure.

use crate::session::{End, State};
use std::ffi::OsString;
use std::fs;
use std::path::Path;
use std::time::Duration;
use stockade_tests::binaries::variable;

#[expect(clippy::print_stdout, reason = "a check that could not be made is said out loud")]
/// What `validate.py` says of an export; `None` where the schemas were not downloaded.
fn validated(format: &str, export: &str, state: &State) -> Option<String> {
    let Some(packages) = variable("STOCKADE_TEST_SCHEMAS") else {
        println!(
            "!! {format}: not validated: tests/reading/fetch DIR downloads the schemas, STOCKADE_TEST_SCHEMAS=DIR names them"
        );
        return None;
    };
    let file = state.root.join(format);
    fs::write(&file, export).expect("written");
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("reading/validate.py");
    let words = [OsString::from("python3"), script.into(), packages, format.into(), file.into()];
    let ended = state.run(words.to_vec(), Duration::from_secs(240));
    assert_eq!(ended.code(), 0, "{}", ended.told());
    Some(ended.out())
}

#[test]
fn the_ocsf_export_holds_against_the_published_schema() {
    let state = State::new(End::Closed);
    let plain = state.answer(&["log", "export", "last", "--ocsf"]);
    let records = state.answer(&["log", "export", "last", "--jsonl"]).lines().count();
    assert_eq!(plain.lines().count(), records, "one event a record");
    assert!(!plain.contains("-j2"), "values are not disclosed unless that is asked for");
    let disclosed = state.answer(&["log", "export", "last", "--ocsf", "--disclose"]);
    assert!(disclosed.contains("\"cmd_line\":\"cc -c src/main.c\""));
    for export in [plain, disclosed] {
        if let Some(said) = validated("ocsf", &export, &state) {
            assert!(said.contains(&format!("{records} events of OCSF 1.8.0 are valid")), "{said}");
        }
    }
}

#[test]
fn what_followed_a_session_is_in_its_exports() {
    let state = State::new(End::Closed);
    let before = ["--jsonl", "--ocsf"].map(|format| state.answer(&["log", "export", "last", format]).lines().count());
    state.answer(&["log", "redact", "last", "1", "--reason", "a name of a person"]);
    let exports = ["--jsonl", "--ocsf", "--otlp"].map(|format| state.answer(&["log", "export", "last", format]));
    let [jsonl, ocsf, otlp] = &exports;
    // Two values were taken out: the arguments and the directory. The name of the other log has a line of its own.
    assert_eq!([jsonl.lines().count(), ocsf.lines().count()], [before[0] + 3, before[1] + 2]);
    let name = format!("/s/{}/after\"", state.sid);
    assert!(jsonl.lines().any(|line| line.starts_with("{\"log\":") && line.contains(&name)), "{jsonl}");
    for export in &exports {
        let lines: Vec<&str> = export.lines().filter(|line| line.contains("a name of a person")).collect();
        let records: usize = lines.iter().map(|line| line.matches("a name of a person").count()).sum();
        assert!(records >= 2, "{export}");
    }
    assert!(ocsf.lines().last().is_some_and(|line| line.contains(&name)), "{ocsf}");
    if let Some(said) = validated("ocsf", ocsf, &state) {
        assert!(said.contains("of OCSF 1.8.0 are valid"), "{said}");
    }
    if let Some(said) = validated("otlp", otlp, &state) {
        assert!(said.contains("26 spans"), "{said}");
    }
}

#[test]
fn the_otlp_export_parses_as_the_protocol_and_its_spans_fit_together() {
    let state = State::new(End::Closed);
    let plain = state.answer(&["log", "export", "last", "--otlp"]);
    assert!(!plain.contains("-j2"));
    let disclosed = state.answer(&["log", "export", "last", "--otlp", "--disclose"]);
    assert!(disclosed.contains("make -j2 all"));
    for export in [plain, disclosed] {
        if let Some(said) = validated("otlp", &export, &state) {
            // A session, five calls, nineteen processes, a tool.
            assert!(said.contains("26 spans"), "{said}");
        }
    }
}

#[test]
fn a_container_is_in_every_export_by_the_names_that_its_schema_has() {
    let state = State::contained(End::Closed);
    let [image_id, digest] = ["5e", "6f"].map(|byte| format!("sha256:{}", byte.repeat(32)));
    let ocsf = state.answer(&["log", "export", "last", "--ocsf"]);
    let events = ocsf.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).expect("JSON"));
    let mut processes = 0;
    for event in events {
        let container = event.pointer("/device/container").or_else(|| event.pointer("/process/container"));
        if event["class_uid"] != 2004 {
            let container = container.unwrap_or_else(|| panic!("no container: {event}"));
            assert_eq!(container["uid"], "4d".repeat(32));
            assert_eq!(container["runtime"], "runsc");
            assert_eq!(container["image"]["uid"], image_id.as_str());
            assert_eq!(container["image"]["name"], "ghcr.io:443/acme/build");
            assert_eq!(container["image"]["tag"], "1.2");
        }
        processes += usize::from(event.pointer("/process/container").is_some());
    }
    assert!(processes > 10, "each process is in it");
    if let Some(said) = validated("ocsf", &ocsf, &state) {
        assert!(said.contains("of OCSF 1.8.0 are valid"), "{said}");
    }
    let otlp = state.answer(&["log", "export", "last", "--otlp"]);
    for (key, value) in [
        ("container.id", format!(r#"{{"stringValue":"{}"}}"#, "4d".repeat(32))),
        ("container.runtime.name", r#"{"stringValue":"docker"}"#.to_owned()),
        ("container.runtime.version", r#"{"stringValue":"28.2.2"}"#.to_owned()),
        ("container.image.id", format!(r#"{{"stringValue":"{image_id}"}}"#)),
        ("container.image.name", r#"{"stringValue":"ghcr.io:443/acme/build"}"#.to_owned()),
        ("container.image.tags", r#"{"arrayValue":{"values":[{"stringValue":"1.2"}]}}"#.to_owned()),
        (
            "container.image.repo_digests",
            format!(r#"{{"arrayValue":{{"values":[{{"stringValue":"ghcr.io:443/acme/build@{digest}"}}]}}}}"#),
        ),
    ] {
        let attribute = format!(r#"{{"key":"{key}","value":{value}}}"#);
        assert!(otlp.lines().all(|line| line.contains(&attribute)), "{key}");
    }
    if let Some(said) = validated("otlp", &otlp, &state) {
        assert!(said.contains("26 spans"), "{said}");
    }
    let page = state.answer(&["log", "report", "last"]);
    for words in
        ["container wall", "docker 28.2.2 (rootless, interface 1.50), runtime runsc, user 1000:100", &digest, &image_id]
    {
        assert!(page.contains(words), "{words}");
    }
}

#[test]
fn an_export_of_a_session_that_was_not_closed_is_whole_up_to_its_end() {
    let state = State::new(End::Interrupted);
    for format in ["--jsonl", "--ocsf", "--otlp"] {
        let export = state.answer(&["log", "export", "last", format]);
        for line in export.lines() {
            serde_json::from_str::<serde_json::Value>(line).expect("each line is JSON");
        }
    }
    let otlp = state.answer(&["log", "export", "last", "--otlp"]);
    assert!(otlp.contains("stockade.unfinished"), "the session's span has no end");
    validated("otlp", &otlp, &state);
    let two = state.stockade(&["log", "export", "last", "--ocsf", "--otlp"]);
    assert_ne!(two.code(), 0, "one format at a time");
    assert_ne!(state.stockade(&["log", "export", "last"]).code(), 0, "a format has to be named");
}
