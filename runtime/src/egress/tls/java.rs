//! Java's trust store: what it reads instead of PEM files.
//! It never holds a private key.

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use sha1::{Digest as _, Sha1};

/// First bytes of a store (`sun.security.provider.JavaKeyStore`; the format is as old as Java 2 and read by all later ones).
const MAGIC: u32 = 0xfeed_feed;
const VERSION: u32 = 2;
/// Tag of an entry that is a trusted certificate.
const TRUSTED: u32 = 2;
/// The password that every Java has for its own store. It keeps nothing secret: it salts a checksum.
const PASSWORD: &str = "changeit";
/// What Sun's engineers salted the checksum with.
const SALT: &[u8] = b"Mighty Aphrodite";

/// A store with the certificates of a PEM bundle. What is no certificate in it is left out, as every reader does.
pub fn java_store(bundle: &[u8]) -> Vec<u8> {
    let certificates: Vec<CertificateDer<'_>> = CertificateDer::pem_slice_iter(bundle).filter_map(Result::ok).collect();
    let mut store = Vec::with_capacity(bundle.len());
    number(&mut store, MAGIC);
    number(&mut store, VERSION);
    number(&mut store, length(certificates.len()));
    for (position, certificate) in certificates.iter().enumerate() {
        number(&mut store, TRUSTED);
        text(&mut store, &format!("authority-{position}"));
        // When it was put in, ms since 1970: nobody reads it.
        store.extend_from_slice(&[0; 8]);
        text(&mut store, "X.509");
        number(&mut store, length(certificate.len()));
        store.extend_from_slice(certificate);
    }
    let mut checksum = Sha1::new();
    for unit in PASSWORD.encode_utf16() {
        checksum.update(unit.to_be_bytes());
    }
    checksum.update(SALT);
    checksum.update(&store);
    store.extend_from_slice(&checksum.finalize());
    store
}

fn number(store: &mut Vec<u8>, value: u32) {
    store.extend_from_slice(&value.to_be_bytes());
}

fn length(count: usize) -> u32 {
    u32::try_from(count).expect("a bundle has at most some megabytes")
}

/// As `java.io.DataOutput.writeUTF` writes ASCII.
fn text(store: &mut Vec<u8>, text: &str) {
    let length = u16::try_from(text.len()).expect("names of ours are short");
    store.extend_from_slice(&length.to_be_bytes());
    store.extend_from_slice(text.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_store_has_its_certificates_and_a_checksum_over_them() {
        let pem = b"-----BEGIN CERTIFICATE-----\nAQID\n-----END CERTIFICATE-----\n";
        let store = java_store(pem);
        let expected = b"\xfe\xed\xfe\xed\0\0\0\x02\0\0\0\x01\0\0\0\x02\0\x0bauthority-0\0\0\0\0\0\0\0\0\0\x05X.509\0\0\0\x03\x01\x02\x03";
        assert_eq!(store.strip_suffix(store.last_chunk::<20>().expect("a checksum")), Some(&expected[..]));
        assert_eq!(java_store(b"").len(), 12 + 20);
    }
}
