//! Records as they are on disk: what parses has one place, the head agrees with the whole, and the strict reader with the
//! slow one: the crate itself compares the two in builds with debug assertions, which these are.
//! It never writes a record.
#![no_main]

use libfuzzer_sys::fuzz_target;
use stockade_audit::record::{parse_head, parse_leaf};

const _: () = assert!(cfg!(debug_assertions), "without them nothing holds the strict reader against the slow one");

fuzz_target!(|bytes: &[u8]| {
    let (head, leaf) = (parse_head(bytes), parse_leaf(bytes));
    assert!(leaf.is_err() || head.is_ok(), "a leaf that parses has a head that does");
});
