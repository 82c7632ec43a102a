//! The file of small blobs: entries are counted, whatever the bytes are.
//! It never gives out more than there was.
#![no_main]

use libfuzzer_sys::fuzz_target;
use stockade_audit::parse_small_blobs;

fuzz_target!(|bytes: &[u8]| {
    let (entries, sound, is_whole) = parse_small_blobs(bytes);
    assert!(sound <= entries, "more sound entries than there are");
    assert!(entries * (32 + 2 + 72) <= bytes.len(), "more entries than bytes have room for");
    assert!(entries > 0 || !is_whole || bytes.is_empty(), "bytes without an entry are not whole");
    // A whole file stays whole with itself behind it.
    if is_whole {
        let twice = [bytes, bytes].concat();
        assert_eq!(
            parse_small_blobs(&twice),
            (2 * entries, 2 * sound, true),
            "entries do not depend on what is before them"
        );
    }
});
