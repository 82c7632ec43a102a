//! Messages between the supervisor and a worker: what decodes encodes to a message that is the same, in either direction.
//! It never opens a descriptor.
#![no_main]

use libfuzzer_sys::fuzz_target;
use stockade::backend::wasm::parts::{Begun, encode};
use stockade::backend::wasm::wire::{FromWorker, Message, ToWorker};

fn same<M: Message + PartialEq + std::fmt::Debug>(bytes: &[u8]) {
    let Ok(Some(message)) = Begun::default().take::<M>(bytes) else { return };
    let encoded = encode(&message).expect("what was short enough is");
    let (mut begun, mut again) = (Begun::default(), None);
    for number in 0..encoded.datagrams() {
        assert!(again.is_none(), "the last part ends it");
        let (head, part) = encoded.datagram(number);
        again = begun.take::<M>(&[&head, part].concat()).expect("it is ours");
    }
    assert_eq!(again, Some(message), "a message that is sent is the message that arrives");
}

fuzz_target!(|bytes: &[u8]| {
    same::<FromWorker>(bytes);
    same::<ToWorker>(bytes);
});
