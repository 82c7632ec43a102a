//! WebSocket frames, both ways: any bytes pass, wait or close, and what passes does not depend on the chunks.
//! It never opens a connection.
#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use std::sync::Arc;
use stockade::secrets::scrub::{Patterns, Scrubber};
use stockade::secrets::websocket::{ToClient, ToServer};

const SECRET: &[u8] = b"correct horse";
const PLACEHOLDER: &[u8] = b"stk_holder";

// A chunk size, then the stream.
fuzz_target!(|input: &[u8]| {
    let [size, stream @ ..] = input else { return };
    let patterns = Arc::new(Patterns::new([("key", SECRET)]));

    let mut frames = ToClient::new(Scrubber::new(Arc::clone(&patterns)));
    let (mut out, mut is_open) = (Vec::new(), true);
    for chunk in stream.chunks(usize::from(*size).max(1)) {
        let passed = frames.push(Bytes::copy_from_slice(chunk));
        assert!(is_open || passed.is_err(), "what is closed stays closed");
        is_open = passed.is_ok();
        out.extend_from_slice(&passed.unwrap_or_default());
    }
    assert!(!out.windows(SECRET.len()).any(|window| window == SECRET), "a secret came through");
    // What we wrote, we would read, and it is scrubbed already.
    let mut again = ToClient::new(Scrubber::new(patterns));
    assert!(again.push(out.into()).is_ok(), "what goes on is well-formed");
    let _end = again.finish();
    assert!(again.take_hits().is_empty(), "nothing is left to take out");

    let find = |bytes: &[u8]| bytes.windows(PLACEHOLDER.len()).any(|window| window == PLACEHOLDER).then_some(None);
    let mut frames = ToServer::new(PLACEHOLDER.len(), find);
    let mut out = Vec::new();
    for chunk in stream.chunks(usize::from(*size).max(1)) {
        match frames.push(Bytes::copy_from_slice(chunk)) {
            Ok(passed) => out.extend_from_slice(&passed),
            Err(_) => break,
        }
    }
    assert!(stream.starts_with(&out), "what goes on is what came");
});
