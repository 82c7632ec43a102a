//! Messages between supervisor and init: what decodes encodes to a message that is the same.
//! It never opens a descriptor.
#![no_main]

use libfuzzer_sys::fuzz_target;
use stockade_jail::wire::{decode, encode};

fuzz_target!(|bytes: &[u8]| {
    if let Ok(message) = decode(bytes) {
        let again = decode(&encode(&message)).expect("what we encode decodes");
        assert_eq!(again, message, "a message that is sent is the message that arrives");
    }
});
