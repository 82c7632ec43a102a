//! The store of secrets: any lines, under a seal that holds or none, are a file without entries or refused.
//! It never seals an entry: one that opens would be a forgery.
#![no_main]

use libfuzzer_sys::fuzz_target;
use stockade::secrets::store::check_file;
use stockade_audit::merkle::sha256;

const KEY: [u8; 32] = [7; 32];

/// HMAC-SHA256 (RFC 2104) with a key of at most a block; by hand, so that the harness is no second user of the store's.
fn mac(key: &[u8; 32], message: &[u8]) -> [u8; 32] {
    let padded = |with: u8| key.iter().copied().chain([0; 32]).map(move |byte| byte ^ with);
    let inner: Vec<u8> = padded(0x36).chain(message.iter().copied()).collect();
    let outer: Vec<u8> = padded(0x5c).chain(sha256(&inner)).collect();
    sha256(&outer)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

// The lines between the first one and the seal; with an odd first byte, the whole file.
fuzz_target!(|input: &[u8]| {
    let Some((kind, lines)) = input.split_first() else { return };
    if kind % 2 == 1 {
        assert!(!matches!(check_file(&KEY, lines), Ok(1..)), "an entry was opened that nobody sealed");
        return;
    }
    let which = mac(&KEY, b"which key");
    let mut file = format!("{{\"stockade_secrets\":1,\"key\":\"{}\"}}\n", hex(&which[..8])).into_bytes();
    file.extend_from_slice(lines);
    if !lines.is_empty() && !lines.ends_with(b"\n") {
        file.push(b'\n');
    }
    let seal = mac(&mac(&KEY, b"seal the file"), &file);
    file.extend_from_slice(format!("{{\"seal\":\"{}\"}}\n", hex(&seal)).as_bytes());
    let opened = check_file(&KEY, &file);
    if lines.is_empty() {
        assert_eq!(opened.as_ref().ok(), Some(&0), "a file that is sealed is opened: {opened:?}");
    }
    assert!(!matches!(opened, Ok(1..)), "an entry was opened that nobody sealed");
    assert!(check_file(&[8; 32], &file).is_err(), "a file was opened with another key");
});
