//! What is no tool is refused before anything is compiled, each with a reason that says what to do.
//! Never is a refusal a panic, whatever the bytes.

use crate::guests::{CALL, CORE, TYPES, assembled, custom, echo, manifest, pure_text};
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
