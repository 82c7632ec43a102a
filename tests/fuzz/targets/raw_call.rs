//! Calls as an agent sends them: any bytes are a call or a refusal.
//! It never judges one.
#![no_main]

use libfuzzer_sys::fuzz_target;
use stockade_policy::RawCall;

fuzz_target!(|bytes: &[u8]| drop(RawCall::new(bytes).parse()));
