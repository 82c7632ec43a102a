//! What clients inside are told to trust: the system's authorities and the session's, in one file that all of them find.
//! It never takes an authority away from the system's.

/// Where the merged bundle stands inside.
pub const BUNDLE_INSIDE: &str = "/run/stockade/ca-bundle.pem";

/// The system's bundle with the session's authority after it. Both are PEM.
pub fn merged_bundle(system: &[u8], session: &str) -> Vec<u8> {
    let mut merged = Vec::with_capacity(system.len() + session.len() + 1);
    merged.extend_from_slice(system);
    if !merged.is_empty() && !merged.ends_with(b"\n") {
        merged.push(b'\n');
    }
    merged.extend_from_slice(session.as_bytes());
    merged
}

/// The variables by which clients find the bundle; most of them read no other place, or only their own.
///
/// Java has none: it reads a PKCS #12 or JKS store and no PEM, so it is missing here. `SSL_CERT_DIR` is left out: OpenSSL
/// reads a directory by hashed file names and would find the system's there, without ours.
pub fn environment() -> Vec<(&'static str, &'static str)> {
    let mut all: Vec<(&str, &str)> = [
        "SSL_CERT_FILE",                      // OpenSSL, Python's ssl and httpx, Go, Ruby, rustls-native-certs
        "CURL_CA_BUNDLE",                     // curl, and requests
        "REQUESTS_CA_BUNDLE",                 // requests
        "NODE_EXTRA_CA_CERTS",                // Node: added to those that are compiled in
        "DENO_CERT",                          // Deno
        "GIT_SSL_CAINFO",                     // git
        "PIP_CERT",                           // pip
        "CARGO_HTTP_CAINFO",                  // cargo
        "AWS_CA_BUNDLE",                      // AWS CLI and SDKs
        "npm_config_cafile",                  // npm
        "GRPC_DEFAULT_SSL_ROOTS_FILE_PATH",   // gRPC's C core
        "CLOUDSDK_CORE_CUSTOM_CA_CERTS_FILE", // gcloud
        "NIX_SSL_CERT_FILE",                  // programs from Nix
        "BUNDLE_SSL_CA_CERT",                 // Ruby's bundler
        "COMPOSER_CAFILE",                    // PHP's composer
    ]
    .map(|name| (name, BUNDLE_INSIDE))
    .into();
    // These read the system's store, which the bundle is mounted over, only when told to.
    all.extend([("UV_NATIVE_TLS", "true"), ("UV_SYSTEM_CERTS", "true"), ("NODE_USE_SYSTEM_CA", "1")]);
    all.extend([("DENO_TLS_CA_STORE", "system,mozilla")]);
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_merged_bundle_has_both_and_no_line_runs_into_another() {
        assert_eq!(merged_bundle(b"A", "B\n"), b"A\nB\n");
        assert_eq!(merged_bundle(b"A\n", "B\n"), b"A\nB\n");
        assert_eq!(merged_bundle(b"", "B\n"), b"B\n");
    }
}
