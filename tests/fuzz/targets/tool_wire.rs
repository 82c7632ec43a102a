//! Messages between the supervisor and a worker: what decodes encodes to a message that is the same, in either direction.
//! It never opens a descriptor.
#![no_main]

use libfuzzer_sys::fuzz_target;
use stockade::backend::wasm::wire::{Body, FromWorker, Message, ToWorker, body, decode, encode};

fn same<M: Message + PartialEq + std::fmt::Debug>(bytes: &[u8]) {
    let Ok(message) = decode::<M>(bytes) else { return };
    let encoded = encode(&message).expect("what was short enough is");
    let again = match (body(&encoded.datagram).expect("it is ours"), &encoded.body) {
        (Body::Inline(inline), None) => decode::<M>(inline),
        (Body::InMemory(length), Some(body)) if body.len() == length => decode::<M>(body),
        (place, body) => panic!("a body is in one place: {place:?}, {:?}", body.as_ref().map(Vec::len)),
    };
    assert_eq!(again.expect("what we encode decodes"), message, "a message that is sent is the message that arrives");
}

fuzz_target!(|bytes: &[u8]| {
    if let Ok(Body::Inline(inline)) = body(bytes) {
        same::<FromWorker>(inline);
        same::<ToWorker>(inline);
    }
});
