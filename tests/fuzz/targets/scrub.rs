//! Scrubbing: whatever the secrets and the chunks, what goes out is what scrubbing the whole gives, and no secret is in it.
//! It never trusts the scrubber with the check: the plain secret is looked for here.
#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use std::sync::Arc;
use stockade::secrets::scrub::{FILLER, Patterns, Scrubber};

// A count of secrets, a chunk size, then the secrets and the text, each ended by a 0xFF.
fuzz_target!(|input: &[u8]| {
    let [count, size, rest @ ..] = input else { return };
    let mut parts = rest.splitn(usize::from(count % 4) + 2, |byte| *byte == 0xFF);
    let text = parts.next().unwrap_or_default();
    let secrets: Vec<&[u8]> = parts.filter(|secret| secret.len() <= 256).collect();
    let patterns = Arc::new(Patterns::new(secrets.iter().map(|secret| ("key", *secret))));

    let mut whole = text.to_vec();
    let mut hits: Vec<_> = patterns.scrub_whole(&mut whole);
    for secret in secrets.iter().map(|secret| secret.trim_ascii()).filter(|secret| secret.len() >= 8) {
        // One that has the filler in it may come to stand where others were taken out.
        assert!(
            secret.contains(&FILLER) || !whole.windows(secret.len()).any(|window| window == secret),
            "a secret came through"
        );
    }

    let mut scrubber = Scrubber::new(Arc::clone(&patterns));
    let mut out = Vec::new();
    for chunk in text.chunks(usize::from(*size).max(1)) {
        let before = (out.len(), scrubber.held());
        out.extend_from_slice(&scrubber.push(Bytes::copy_from_slice(chunk)));
        assert_eq!(out.len() + scrubber.held(), before.0 + before.1 + chunk.len(), "every byte is given or held");
    }
    out.extend_from_slice(&scrubber.finish());
    assert_eq!(out, whole, "chunks change nothing");
    let mut streamed = scrubber.take_hits();
    hits.sort();
    streamed.sort();
    assert_eq!(streamed, hits, "nor what is counted");
});
