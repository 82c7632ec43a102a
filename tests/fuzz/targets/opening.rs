//! Openings of redactable values: what parses reveals, and its digest is that of its text.
//! It never sees a value that was not in the bytes.
#![no_main]

use libfuzzer_sys::fuzz_target;
use stockade_audit::disclose::Opening;
use stockade_audit::merkle::sha256;

fuzz_target!(|bytes: &[u8]| {
    let Ok(line) = std::str::from_utf8(bytes) else { return };
    if let Some(opening) = Opening::parse(line) {
        assert!(opening.reveal().is_some(), "an opening that parses reveals");
        assert_eq!(opening.digest(), sha256(line.as_bytes()), "the digest is that of the line");
    }
});
