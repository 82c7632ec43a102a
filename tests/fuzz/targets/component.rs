//! Components from anywhere: what parses is what it says, whatever the bytes.
//! It never compiles one: that is done where a compiler that breaks breaks nothing.
#![no_main]

use libfuzzer_sys::fuzz_target;
use stockade::backend::wasm::Component;
use stockade::backend::wasm::component::{COMPONENT_BYTES_MAX, packed};
use stockade::backend::wasm::manifest::{MANIFEST_BYTES_MAX, Manifest};

fuzz_target!(|bytes: &[u8]| {
    if let Ok(component) = Component::parse(bytes.to_vec()) {
        assert_eq!(component.bytes().as_ref(), bytes, "a component is its bytes");
        assert!(bytes.len() <= COMPONENT_BYTES_MAX, "and has a limit");
        let known = |import: &&String| import.starts_with("wasi:") || import.starts_with("stockade:tool/");
        assert!(component.imports().iter().all(|import| known(&import)), "nothing else is given");
        let schema = component.manifest().input_schema.members();
        assert!(!component.manifest().name.is_empty() && schema.get("type").is_some_and(|kind| kind == "object"));
        assert!(packed(bytes, b"{}").is_err(), "it has a manifest already");
    }
    if Manifest::parse(bytes).is_ok() {
        assert!(bytes.len() <= MANIFEST_BYTES_MAX, "a manifest has a limit");
    }
});
