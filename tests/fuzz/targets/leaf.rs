//! Records as they are on disk: what parses has one place, and the head agrees with the whole.
//! It never writes a record.
#![no_main]

use libfuzzer_sys::fuzz_target;
use stockade_audit::record::{parse_head, parse_leaf};

fuzz_target!(|bytes: &[u8]| {
    let (head, leaf) = (parse_head(bytes), parse_leaf(bytes));
    assert!(leaf.is_err() || head.is_ok(), "a leaf that parses has a head that does");
});
