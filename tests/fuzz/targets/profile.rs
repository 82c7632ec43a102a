//! Profiles: any text is read or refused with places and hints, and a profile is not refused for a project's reasons.
//! It never resolves a profile against a machine.
#![no_main]

use libfuzzer_sys::fuzz_target;
use stockade_policy::parse;

fuzz_target!(|bytes: &[u8]| {
    if let Err(diagnostics) = parse::parse("profile.toml", bytes) {
        assert!(!diagnostics.to_string().is_empty(), "a refusal says why");
    }
    if let Err(diagnostics) = parse::parse_project("stockade.toml", bytes) {
        assert!(!diagnostics.to_string().is_empty(), "a refusal says why");
    }
});
