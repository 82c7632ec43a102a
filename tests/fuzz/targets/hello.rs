//! What a TLS client says first: any bytes are a hello, none, or not yet one, whatever the pieces.
//! It never takes part in a handshake.
#![no_main]

use libfuzzer_sys::fuzz_target;
use stockade::egress::tls::{ClientHello, HELLO_BYTES_MAX, Hello};

/// Reads a stream that arrives in pieces of this size.
fn read(stream: &[u8], piece: usize) -> Result<Option<ClientHello>, &'static str> {
    let mut hello = Hello::default();
    let mut end = 0;
    while end < stream.len() {
        end = (end + piece).min(stream.len());
        if let Some(made) = hello.read(stream.get(..end).unwrap_or_default())? {
            return Ok(Some(made));
        }
    }
    Ok(None)
}

fuzz_target!(|stream: &[u8]| {
    let stream = stream.get(..HELLO_BYTES_MAX - 1).unwrap_or(stream);
    let whole = read(stream, stream.len().max(1));
    // One byte at a time is quadratic for nobody, but the harness slices; a few sizes show what pieces could change.
    for piece in [1, 5, 64] {
        assert_eq!(read(stream, piece), whole, "pieces change nothing");
    }
});
