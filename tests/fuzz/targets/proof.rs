//! Proofs of inclusion as text (C2SP tlog-proof): what parses is written back as it was.
//! It never has a private key: a proof that verifies here would be a forgery.
#![no_main]

use libfuzzer_sys::fuzz_target;
use stockade_audit::proof::TlogProof;

fuzz_target!(|bytes: &[u8]| {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Some(proof) = TlogProof::parse(text) {
        assert_eq!(proof.to_text(), text, "there is one way to write a proof");
    }
});
