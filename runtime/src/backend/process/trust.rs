//! The authorities that the system trusts, and ours beside them.
//! It never judges a certificate: what it reads is passed on as text.

use crate::error::{Error, Result};
use std::fs::File;
use std::io::Read as _;
use std::path::Path;

/// Where systems keep their authorities in one file: Debian and Arch, Fedora, Red Hat, openSUSE, Alpine and the BSDs'
/// habits, in the order in which Go looks.
pub const BUNDLES: [&str; 8] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/pki/tls/cacert.pem",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/ssl/cert.pem",
    "/etc/ssl/certs/ca-bundle.crt",
    "/var/lib/ca-certificates/ca-bundle.pem",
];

/// Where systems keep them for Java: Debian, Fedora.
pub const JAVA_STORES: [&str; 2] = ["/etc/ssl/certs/java/cacerts", "/etc/pki/ca-trust/extracted/java/cacerts"];

/// A bundle's largest size, bytes: twenty times Mozilla's list.
const BUNDLE_BYTES_MAX: u64 = 4 * 1024 * 1024;

/// The system's authorities, PEM; empty where it has none.
///
/// # Errors
/// Host: the file cannot be read. Operator: it is too large to be one.
pub fn system_bundle() -> Result<Vec<u8>> {
    for path in BUNDLES.map(Path::new) {
        let file = match File::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
            Err(error) => return Err(Error::io("open the trusted authorities in", path, &error)),
        };
        let mut bytes = Vec::new();
        let read = file.take(BUNDLE_BYTES_MAX + 1).read_to_end(&mut bytes);
        read.map_err(|error| Error::io("read the trusted authorities in", path, &error))?;
        if u64::try_from(bytes.len()).is_ok_and(|length| length > BUNDLE_BYTES_MAX) {
            return Err(Error::operator(format!("\"{}\" is larger than {BUNDLE_BYTES_MAX} bytes", path.display()))
                .hint("a file of trusted authorities is some hundred kilobytes; is this one?"));
        }
        return Ok(bytes);
    }
    Ok(Vec::new())
}

/// The session's authority, then the system's.
pub fn merged(authority: &[u8], system: &[u8]) -> Vec<u8> {
    let mut all = authority.to_vec();
    if !all.ends_with(b"\n") {
        all.push(b'\n');
    }
    all.extend_from_slice(system);
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_certificate_runs_into_the_next() {
        assert_eq!(merged(b"-----END CERTIFICATE-----", b"-----BEGIN"), b"-----END CERTIFICATE-----\n-----BEGIN");
        assert_eq!(merged(b"ours\n", b""), b"ours\n");
    }
}
