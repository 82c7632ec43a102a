//! What is no tool is refused before anything is compiled, each with a reason that says what to do.
//! Never is a refusal a panic, whatever the bytes.

use crate::guests::{CALL, CORE, TYPES, assembled, custom, echo, manifest, pure_text};
use stockade::backend::wasm::command::Entry;
use stockade::backend::wasm::component::packed;
use stockade::backend::wasm::{Component, Files};

#[track_caller]
fn refused(bytes: Vec<u8>, wanted: &str) {
    let error = Component::parse(bytes).expect_err("it is no tool").to_string();
    assert!(error.contains(wanted), "{error}");
    assert!(error.contains("hint: ") || wanted.contains("more than"), "a hint: {error}");
}

#[test]
fn a_tool_says_what_it_is() {
    let component = Component::parse(echo()).expect("it is a tool");
    assert_eq!(component.manifest().name, "echo");
    assert_eq!(component.imports(), ["stockade:tool/tool-types@0.1.0"]);
    assert_eq!(component.manifest().ceiling.files, Files::None);
}

#[test]
fn a_text_is_refused() {
    refused(b"(component)".to_vec(), "no WebAssembly component");
    refused(Vec::new(), "no WebAssembly component");
}

#[test]
fn a_core_module_is_refused() {
    let module = wat::parse_str("(module (func (export \"call\")))").expect("it is one");
    refused(module, "core module");
}

#[test]
fn another_world_is_refused() {
    let text = r#"(component (core module $m (func (export "f"))) (core instance $i (instantiate $m))
        (func $f (canon lift (core func $i "f"))) (export "run" (func $f)))"#;
    refused(assembled(text, &manifest("other", "{}")), "another world");
}

/// A command that ends at once, with a manifest in its module, as a linker that knows of no component leaves one.
fn command(inner: &[&str], version: &str) -> Vec<u8> {
    let sections: String =
        inner.iter().map(|manifest| format!("(@custom \"stockade:tool\" {:?})", manifest.replace(' ', ""))).collect();
    let text = format!(
        r#"(component (core module $m {sections} (func (export "run") (result i32) (i32.const 0)))
        (core instance $i (instantiate $m)) (func $run (result (result)) (canon lift (core func $i "run")))
        (instance $cli (export "run" (func $run))) (export "wasi:cli/run@{version}" (instance $cli)))"#
    );
    wat::parse_str(&text).unwrap_or_else(|error| panic!("{error}"))
}

const COMMAND: &str = r#"{"name":"plain","version":"1","description":"d","ceiling":{"stdin":true}}"#;

#[test]
fn a_program_has_its_manifest_in_its_module_or_behind_it() {
    for version in ["0.2.0", "0.2.3", "0.2.11"] {
        let inner = Component::parse(command(&[COMMAND], version)).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(inner.manifest().entry, Entry::Command);
        assert!(inner.manifest().input_schema.members()["properties"].get("stdin").is_some());
        assert!(inner.manifest().input_schema.members()["properties"].get("args").is_none());
        assert!(inner.manifest().output_schema.is_some());
    }
    // Who packed it says what it is: what a compiler was given counts where nobody said more.
    let outer = [command(&[COMMAND], "0.2.3"), custom("stockade:tool", COMMAND.replace("plain", "packed").as_bytes())];
    assert_eq!(Component::parse(outer.concat()).expect("it is a tool").manifest().name, "packed");
    refused(command(&[COMMAND, COMMAND], "0.2.3"), "two manifests");
    refused(command(&[], "0.2.3"), "no manifest");
    refused(command(&[COMMAND], "0.3.0"), "another world");
    refused([pure_bare(), custom("stockade:tool", COMMAND.as_bytes())].concat(), "no input_schema");
    let asks = manifest("asks", r#"{"stdin":true}"#);
    refused([pure_bare(), custom("stockade:tool", asks.as_bytes())].concat(), "ceiling.stdin is for commands");
}

/// What a component inside of a program says is about that one: it neither makes the program a tool, nor keeps it from
/// being one.
#[test]
fn a_component_inside_of_a_program_does_not_speak_for_it() {
    let section =
        |name: &str| format!("(@custom \"stockade:tool\" {:?})", COMMAND.replace("plain", name).replace(' ', ""));
    let others = |own: &str| {
        let (first, second) = (section("first"), section("second"));
        let inner = format!("(component {first} (core module {second})) (component (component {first} {second}))");
        let text = format!(
            r#"(component {inner} (core module $m {own} (func (export "run") (result i32) (i32.const 0)))
            (core instance $i (instantiate $m)) (func $run (result (result)) (canon lift (core func $i "run")))
            (instance $cli (export "run" (func $run))) (export "wasi:cli/run@0.2.3" (instance $cli)))"#
        );
        wat::parse_str(&text).unwrap_or_else(|error| panic!("{error}"))
    };
    refused(others(""), "no manifest");
    let named =
        |bytes: Vec<u8>| Component::parse(bytes).unwrap_or_else(|error| panic!("{error}")).manifest().name.clone();
    assert_eq!(named(others(&section("own"))), "own");
    let made = packed(&others(""), COMMAND.as_bytes()).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(named(made), "plain");
    let again = packed(&others(&section("own")), COMMAND.as_bytes()).expect_err("it is a tool already").to_string();
    assert!(again.contains("has a manifest already"), "{again}");
    // Two of its own modules contradict each other, and whoever packed it is asked first.
    let two = command(&[COMMAND, COMMAND], "0.2.3");
    let outer = custom("stockade:tool", COMMAND.replace("plain", "packed").as_bytes());
    assert_eq!(named([two, outer].concat()), "packed");
}

/// A component with `call`, and without a manifest.
fn pure_bare() -> Vec<u8> {
    let text = pure_text("(call $answer (i32.const 0) (i32.const 0))", "");
    wat::parse_str(&text).unwrap_or_else(|error| panic!("{error}"))
}

#[test]
fn another_version_of_the_contract_is_refused() {
    let old = pure_text("(call $answer (i32.const 0) (i32.const 0))", "").replace("types@0.1.0", "types@0.0.9");
    refused(assembled(&old, &manifest("old", "{}")), "tool-types@0.0.9");
}

#[test]
fn an_import_that_nobody_gives_is_refused() {
    let text = format!(
        r#"(component {TYPES} (import "host:secret/keys@1.0.0" (instance)) (core module $m (memory (export "memory") 1) {CORE}
        (func (export "call") (param i32 i32) (result i32) (i32.const 0))) (core instance $i (instantiate $m)) {CALL})"#
    );
    refused(assembled(&text, &manifest("greedy", "{}")), "host:secret/keys@1.0.0");
    let preview3 = text.replace("host:secret/keys@1.0.0", "wasi:cli/stdout@0.3.0");
    refused(assembled(&preview3, &manifest("new", "{}")), "wasi:cli/stdout@0.3.0");
}

#[test]
fn a_request_that_the_ceiling_does_not_name_is_refused() {
    let text = format!(
        r#"(component {TYPES} (import "wasi:http/outgoing-handler@0.2.6" (instance)) (core module $m
        (memory (export "memory") 1) {CORE} (func (export "call") (param i32 i32) (result i32) (i32.const 0)))
        (core instance $i (instantiate $m)) {CALL})"#
    );
    refused(assembled(&text, &manifest("caller", "{}")), "ceiling has no network");
    Component::parse(assembled(&text, &manifest("caller", r#"{"network":true}"#))).expect("it says so");
}

#[test]
fn a_cut_component_is_refused_wherever_it_is_cut() {
    let whole = echo();
    for end in 0..whole.len() - 1 {
        let cut = whole.get(..end).expect("it is longer").to_vec();
        Component::parse(cut).expect_err("a part is no tool");
    }
}

#[test]
fn a_component_with_any_byte_changed_never_panics() {
    let whole = echo();
    for at in 0..whole.len() {
        for change in [0xff, 0x01, 0x80] {
            let mut other = whole.clone();
            if let Some(byte) = other.get_mut(at) {
                *byte ^= change;
            }
            drop(Component::parse(other));
        }
    }
}

#[test]
fn a_manifest_is_there_once_and_right() {
    let bare = wat::parse_str(pure_text("(i32.const 0)", "")).expect("it is a component");
    refused(bare.clone(), "no manifest");
    let with = |text: &str| [bare.clone(), custom("stockade:tool", text.as_bytes())].concat();
    let good = manifest("m", "{}");
    refused([with(&good), custom("stockade:tool", good.as_bytes())].concat(), "two manifests");
    refused(with("{"), "not one of a tool");
    refused(with(&good.replace("\"name\"", "\"nome\"")), "unknown field `nome`");
    refused(with(&good.replace("\"m\"", "\"M M\"")), "name cannot be");
    refused(with(&manifest("m", r#"{"files":"all"}"#)), "files = \"all\"");
    refused(with(&good.replace(r#"{"type":"object"}"#, "7")), "a schema is a JSON object");
    refused(with(&" ".repeat(70 * 1024)), "65536 are allowed");
    refused(with(&good.replace("A guest of a test.", " ")), "description");
}
