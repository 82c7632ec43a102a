//! The variables by which clients inside find whom to trust.
//! It never names a place that the sandbox does not have.

/// Where the merged bundle stands inside.
pub const BUNDLE_INSIDE: &str = "/run/stockade/ca-bundle.pem";

/// The variables by which clients find the bundle; most of them read no other place, or only their own.
///
/// Java has none that it takes silently; its store is covered instead, see [`super::java_store`]. `SSL_CERT_DIR` is left out: OpenSSL
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
