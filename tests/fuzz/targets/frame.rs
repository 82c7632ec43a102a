//! Segments of a log: the scan ends, loses no byte, and stops where it says.
//! It never needs a file: a segment is bytes.
#![no_main]

use libfuzzer_sys::fuzz_target;
use stockade_audit::frame::{self, Commit, Seal};

fuzz_target!(|bytes: &[u8]| {
    let (frames, stopped) = frame::scan(bytes);
    let read: usize = frames.iter().map(|frame| frame::HEADER_BYTES + frame.payload.len()).sum();
    assert!(read <= bytes.len(), "frames are as long as the bytes that they were read from");
    assert_eq!(stopped.is_none(), read == bytes.len(), "the scan stops at the end or says why");
    for frame in frames {
        // Both parsers take any payload; only one length and form is theirs.
        let _ = (Commit::parse(frame.payload), Seal::parse(frame.payload));
    }
});
