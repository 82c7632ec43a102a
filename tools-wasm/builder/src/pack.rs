//! One component from one build: a core module gets its component shell, and the manifest becomes a custom section.
//! It never judges a manifest's content beyond its form; the runtime does when it loads the component.

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;
use std::fs;
use std::path::Path;

/// The name of the section that the runtime reads.
const SECTION: &str = "stockade:tool";
/// What the runtime takes for a manifest.
const MANIFEST_BYTES_MAX: usize = 64 * 1024;
/// The manifest's keys, all of them wanted but for the schemas, which a command need not have.
const KEYS: [&str; 7] = ["name", "version", "description", "input_schema", "output_schema", "ceiling", "limits"];

/// Writes the component that belongs to a built wasm file and a manifest.
pub(crate) fn pack(wasm: &Path, manifest: &Path, out: &Path) -> Result<()> {
    let manifest_text = fs::read(manifest).with_context(|| format!("cannot read {}", manifest.display()))?;
    let manifest = minified(&manifest_text).with_context(|| format!("the manifest {} is wrong", manifest.display()))?;
    let bytes = fs::read(wasm).with_context(|| format!("cannot read {}", wasm.display()))?;
    let mut component = component(&bytes).with_context(|| format!("{} is no tool", wasm.display()))?;
    append(&mut component, manifest.as_bytes());
    wasmparser::Validator::new_with_features(wasmparser::WasmFeatures::default())
        .validate_all(&component)
        .context("the packed component is not valid")?;
    fs::write(out, component).with_context(|| format!("cannot write {}", out.display()))
}

/// A manifest without its line breaks, so that its formatting does not count.
fn minified(text: &[u8]) -> Result<String> {
    let value: Value = serde_json::from_slice(text).context("it is not JSON")?;
    let object = value.as_object().context("it is not an object")?;
    for key in KEYS.into_iter().filter(|key| !key.ends_with("_schema")) {
        ensure!(object.contains_key(key), "it has no \"{key}\"");
    }
    if let Some(key) = object.keys().find(|key| !KEYS.contains(&key.as_str())) {
        bail!("it has a \"{key}\", which no manifest has; there are: {}", KEYS.join(", "));
    }
    let text = value.to_string();
    ensure!(text.len() <= MANIFEST_BYTES_MAX, "it has {} bytes, {MANIFEST_BYTES_MAX} are allowed", text.len());
    Ok(text)
}

/// A core module that embeds its world becomes a component; a component stays one.
fn component(bytes: &[u8]) -> Result<Vec<u8>> {
    if wasmparser::Parser::is_component(bytes) {
        return Ok(bytes.to_vec());
    }
    ensure!(wasmparser::Parser::is_core_wasm(bytes), "it is no wasm file");
    wit_component::ComponentEncoder::default().validate(true).module(bytes)?.encode()
}

/// A custom section at the end: id 0, length, length of the name, name, data.
fn append(component: &mut Vec<u8>, data: &[u8]) {
    let mut body = Vec::with_capacity(SECTION.len() + 2 + data.len());
    leb128(&mut body, SECTION.len());
    body.extend_from_slice(SECTION.as_bytes());
    body.extend_from_slice(data);
    component.push(0);
    leb128(component, body.len());
    component.extend_from_slice(&body);
}

fn leb128(out: &mut Vec<u8>, mut value: usize) {
    while value >= 0x80 {
        out.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

#[cfg(test)]
mod tests {
    use super::*;

    const MANIFEST: &str = r#"{ "name": "a", "version": "1", "description": "d", "input_schema": { "type": "object" },
        "output_schema": {}, "ceiling": {}, "limits": {} }"#;

    #[test]
    fn a_section_is_found_again_by_a_parser() {
        for length in [0, 1, 127, 128, 20_000] {
            let mut component = wasmparser_empty_component();
            append(&mut component, &vec![7; length]);
            let sections: Vec<_> = wasmparser::Parser::new(0).parse_all(&component).collect::<Result<_, _>>().unwrap();
            let custom = sections.iter().filter_map(|payload| {
                if let wasmparser::Payload::CustomSection(section) = payload { Some(section) } else { None }
            });
            let found = custom.filter(|section| section.name() == SECTION).map(|section| section.data().len()).next();
            assert_eq!(found, Some(length));
        }
    }

    fn wasmparser_empty_component() -> Vec<u8> {
        b"\0asm\x0d\0\x01\0".to_vec()
    }

    #[test]
    fn a_manifest_with_a_missing_or_a_strange_key_is_refused() {
        assert!(minified(MANIFEST.as_bytes()).is_ok());
        let missing = minified(MANIFEST.replace("\"limits\": {}", "\"limit\": {}").as_bytes()).unwrap_err();
        assert!(missing.to_string().contains("no \"limits\""), "{missing}");
        let strange = minified(MANIFEST.replace("{ \"name\"", "{ \"x\": 1, \"name\"").as_bytes()).unwrap_err();
        assert!(strange.to_string().contains("has a \"x\""), "{strange}");
    }

    #[test]
    fn what_is_no_wasm_is_no_tool() {
        assert!(component(b"#!/bin/sh").is_err());
    }
}
