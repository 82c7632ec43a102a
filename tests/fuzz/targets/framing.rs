//! Requests of HTTP/1, one after the other: the bytes cut where they end are the same in one piece and byte by byte, and
//! what is refused in one is refused in the other.
//! It never sees a socket.

#![no_main]

use libfuzzer_sys::fuzz_target;
use stockade::egress::http::framing::{Flaw, Framing};

fuzz_target!(|bytes: &[u8]| {
    assert_eq!(ends(bytes, bytes.len().max(1)), ends(bytes, 1));
});

/// Where requests end, and why what follows is none.
fn ends(bytes: &[u8], piece: usize) -> (Vec<usize>, Option<Flaw>) {
    let mut framing = Framing::default();
    let (mut ends, mut begin, mut at, mut have) = (Vec::new(), 0, 0, 0);
    while have < bytes.len() {
        have = (have + piece).min(bytes.len());
        loop {
            if framing.at_head() {
                match framing.head(&bytes[begin..have]) {
                    Ok(None) => break,
                    Ok(Some(length)) => at = begin + length,
                    Err(flaw) => return (ends, Some(flaw)),
                }
            } else {
                match framing.body(&bytes[at..have]) {
                    Ok(passed) => at += passed,
                    Err((_, flaw)) => return (ends, Some(flaw)),
                }
            }
            assert!(at <= have, "a request ends beyond what came");
            if framing.at_head() {
                ends.push(at);
                begin = at;
            } else if at == have {
                break;
            }
        }
    }
    (ends, None)
}
