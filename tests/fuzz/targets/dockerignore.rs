//! Patterns of a directory that somebody else wrote: none makes a comparison endless, and a file that is named is left out.
//! It never opens a file.
#![no_main]

use libfuzzer_sys::fuzz_target;
use stockade::backend::container::engine::ignore::Ignore;

fuzz_target!(|bytes: &[u8]| {
    // The patterns, a zero, and a path.
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let (patterns, path) = text.split_once('\0').unwrap_or((text, "a/b/c"));
    if path.len() > 4096 {
        return;
    }
    let Ok(ignore) = Ignore::parse(patterns) else { return };
    let out = ignore.leaves_out(path);
    assert_eq!(out, ignore.leaves_out(path), "the same is said twice");
    // Without a way back, what lies below something that is left out is left out too.
    if out && !ignore.takes_back() {
        assert!(ignore.leaves_out(&format!("{path}/below")), "what lies below is left out");
    }
});
