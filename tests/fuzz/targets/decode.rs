//! Content encodings: any bytes decode or are refused, in any chunks to the same, and never without bound.
//! It never encodes: good input comes from the seeds.
#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use stockade::secrets::decode::{Decoder, PIECE_BYTES_MAX, RATIO_MAX, SLACK_BYTES};

const ENCODINGS: [&str; 6] = ["gzip", "deflate", "br", "zstd", "gzip, zstd", "deflate, gzip"];

// An encoding, a chunk size, then the body.
fuzz_target!(|input: &[u8]| {
    let [encoding, size, body @ ..] = input else { return };
    let name = ENCODINGS[usize::from(*encoding) % ENCODINGS.len()];
    let whole = decode(name, body, body.len().max(1));
    let chunked = decode(name, body, usize::from(*size).max(1));
    // Where it is refused depends on what was decoded before, whether it is refused does not.
    assert_eq!(whole.is_some(), chunked.is_some(), "chunks change nothing");
    if let (Some(whole), Some(chunked)) = (whole, chunked) {
        assert_eq!(whole, chunked, "chunks change nothing");
    }
});

fn decode(name: &str, body: &[u8], chunk_bytes: usize) -> Option<Vec<u8>> {
    let mut decoder = Decoder::for_encoding(name).ok()??;
    let (mut out, mut taken) = (Vec::new(), 0);
    for chunk in body.chunks(chunk_bytes) {
        decoder.feed(Bytes::copy_from_slice(chunk));
        taken += chunk.len() as u64;
        while let Some(piece) = decoder.next_piece().ok()? {
            assert!(!piece.is_empty() && piece.len() <= PIECE_BYTES_MAX, "a piece is bounded and says something");
            out.extend_from_slice(&piece);
        }
        // Two layers may each grow.
        let most = SLACK_BYTES + RATIO_MAX * (SLACK_BYTES + RATIO_MAX * taken);
        assert!(out.len() as u64 <= most, "growth is bounded");
    }
    decoder.finish().ok().map(|()| out)
}
