//! The input of `stockade session`: any bytes are lines, and each line is a command or one answer.
//! It never runs a command.
#![no_main]

use libfuzzer_sys::fuzz_target;
use stockade::gateway::{Asked, read};

fuzz_target!(|bytes: &[u8]| {
    let mut input = bytes;
    let mut asked = 0;
    while let Some(one) = read(&mut input).expect("reading memory works") {
        asked += 1;
        if let Asked::Refused(answer) = one {
            assert!(answer.get("error").is_some_and(|error| error.is_string()), "a refusal says why");
            assert!(!answer.to_string().contains('\n'), "an answer is one line");
        }
    }
    let lines = bytes.split(|byte| *byte == b'\n').count();
    assert!(asked <= lines, "{asked} answers to {lines} lines");
});
