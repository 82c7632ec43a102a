//! Messages between supervisor and init: what decodes encodes to the same bytes, so there is one form of each message.
//! It never opens a descriptor; the jail's own files are compiled in, since no door leads to them from outside.
#![no_main]

use libfuzzer_sys::fuzz_target;

#[expect(dead_code, reason = "the parser is compiled in with everything that stands beside it")]
#[rustfmt::skip]
#[path = "../../../runtime/crates/jail/src/enforced.rs"]
mod enforced;
#[expect(dead_code, reason = "the parser is compiled in with everything that stands beside it")]
#[rustfmt::skip]
#[path = "../../../runtime/crates/jail/src/error.rs"]
mod error;
#[expect(dead_code, reason = "the parser is compiled in with everything that stands beside it")]
#[rustfmt::skip]
#[path = "../../../runtime/crates/jail/src/wire.rs"]
mod wire;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(message) = wire::decode(bytes) {
        let again = wire::decode(&wire::encode(&message)).expect("what we encode decodes");
        assert_eq!(again, message, "a message that is sent is the message that arrives");
    }
});
