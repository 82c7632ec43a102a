//! Signed notes, checkpoints and keys: what is accepted is what our own writer would have written.
//! It never has a private key: a note that verifies here would be a forgery.
#![no_main]

use libfuzzer_sys::fuzz_target;
use stockade_audit::note::{SignedCheckpoint, Vkey, split_notes};

fuzz_target!(|bytes: &[u8]| {
    let (notes, rest) = split_notes(bytes);
    let whole: usize = notes.iter().map(|note| note.len()).sum();
    assert_eq!(whole + rest.len(), bytes.len(), "notes and the torn rest are all there is");
    for note in notes {
        if let Some(signed) = SignedCheckpoint::parse(note) {
            let line = format!("{}\n{}\n", signed.checkpoint.origin, signed.checkpoint.size);
            assert!(note.starts_with(&line), "what was parsed is what stands there");
        }
    }
    if let Ok(text) = std::str::from_utf8(bytes)
        && let Some(vkey) = Vkey::parse(text)
    {
        let again = Vkey::parse(&vkey.to_string());
        assert_eq!(again, Some(vkey), "a key that is written and read is the same key");
    }
});
