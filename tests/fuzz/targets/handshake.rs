//! Handshakes of clients that know proxies: any bytes come to an end, and the same one in whatever pieces they arrive.
//! It never opens a connection.
#![no_main]

use libfuzzer_sys::fuzz_target;
use stockade::egress::proxy::{Handshake, Misfit, Step};

/// Feeds a handshake in pieces; `None` where more bytes are needed than there are.
fn end(bytes: &[u8], piece: usize) -> Option<Result<(Step, usize), Misfit>> {
    let mut handshake = Handshake::default();
    let (mut start, mut end) = (0, 0);
    loop {
        match handshake.step(bytes.get(start..end).expect("a step uses no more than it was given")) {
            Ok(Step::More) if end == bytes.len() => return None,
            Ok(Step::More) => end = (end + piece).min(bytes.len()),
            Ok(Step::Answer(_, used)) => start += used,
            Ok(done @ Step::Done { .. }) => return Some(Ok((done, start))),
            Err(misfit) => return Some(Err(misfit)),
        }
    }
}

fuzz_target!(|bytes: &[u8]| {
    let whole = end(bytes, bytes.len().max(1));
    let pieces = end(bytes, 1);
    match (whole, pieces) {
        // Bytes behind a handshake, or behind what is wrong with it, can hide from a reader of pieces what one of the
        // whole sees first; but what one accepts the other never takes for another target.
        (Some(Ok(whole)), Some(Ok(pieces))) => assert_eq!(whole, pieces),
        (Some(Ok(whole)), other) => panic!("{whole:?} in one piece, {other:?} in many"),
        (_, Some(Ok(pieces))) => panic!("{pieces:?} in many pieces only"),
        (Some(Err(_)), Some(Err(_))) | (None, None) => {}
        (whole, pieces) => panic!("{whole:?} in one piece, {pieces:?} in many"),
    }
});
