//! Profiles: any text is read, or refused with a place and a hint for each thing that is wrong.
//! It never resolves a profile against a machine.
#![no_main]

use libfuzzer_sys::fuzz_target;
use stockade_policy::{parse, parse_project, resolve};

fuzz_target!(|bytes: &[u8]| {
    match parse("profile.toml", bytes) {
        Ok(file) => drop(resolve(&file, &mut |_| Ok(None))),
        Err(found) => assert!(!found.to_string().is_empty(), "a refusal says why"),
    }
    if let Err(found) = parse_project("stockade.toml", bytes) {
        assert!(!found.to_string().is_empty(), "a refusal says why");
    }
});
