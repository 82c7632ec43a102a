//! What shows that a guest tried to reach somebody: messages of an init that relays packets, and packets themselves.
//! It never sends one.
#![no_main]

use libfuzzer_sys::fuzz_target;
use stockade::egress::refusals::packet::read;
use stockade_jail::outlet::relayed::{ADDRESS_BYTES, Refused, address};

fuzz_target!(|bytes: &[u8]| {
    match Refused::read(bytes) {
        Some(Refused::Packet(packet)) => {
            assert_eq!(packet, bytes, "a packet is the whole message");
            if let Some(attempt) = read(packet) {
                assert_eq!(attempt.address, attempt.address.to_canonical(), "an address has one form");
            }
        }
        Some(Refused::Lost(_)) => assert_eq!(bytes.len(), 9, "a count has one length"),
        None => {}
    }
    if let Some(bytes) = bytes.first_chunk::<ADDRESS_BYTES>() {
        assert_eq!(address(bytes).ip(), address(bytes).ip().to_canonical(), "an address has one form");
    }
});
