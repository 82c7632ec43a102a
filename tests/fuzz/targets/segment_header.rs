//! Headers of segments: any payload is a header or is not one.
//! It never needs a file: a header is bytes.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| drop(stockade_audit::parse_segment_header(bytes)));
