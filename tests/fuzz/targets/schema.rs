//! Schemas of components and what is held against them: neither makes a check endless, deep or long-winded.
//! It never judges whether a text fits: a suite of cases does.
#![no_main]

use libfuzzer_sys::fuzz_target;
use stockade::backend::wasm::schema::Schema;

/// What is said of a schema or a text at most, bytes.
const SAID_BYTES_MAX: usize = 8 * 1024;

fuzz_target!(|bytes: &[u8]| {
    // The schema, a line break, and what is held against it.
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let (schema, value) = text.split_once('\n').unwrap_or((text, "{}"));
    let Ok(schema) = serde_json::from_str(schema) else { return };
    let said = match Schema::new(schema) {
        Err(refused) => refused,
        Ok(schema) => {
            let first = schema.fits(value, "the object", &str::to_owned);
            assert_eq!(first, schema.fits(value, "the object", &str::to_owned), "the same is said twice");
            first.err().unwrap_or_default()
        }
    };
    assert!(said.len() <= SAID_BYTES_MAX && !said.contains('\n'), "what is said is short: {} bytes", said.len());
});
