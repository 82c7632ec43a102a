//! TLS on both sides: the session's authority, certificates, what a client hello says, upstream trust.
//! It never writes a private key anywhere.

mod authority;
mod bundle;
mod hello;
mod upstream;

pub use authority::Authority;
pub use bundle::{BUNDLE_INSIDE, environment, merged_bundle};
pub(super) use hello::{ClientHello, Encrypted, HELLO_BYTES_MAX, Hello};
pub use upstream::{Anchors, client};
pub(super) use upstream::{Alpn, Trust};

use rustls::crypto::CryptoProvider;
use std::sync::Arc;

/// The one provider of cryptography. Two in one process make rustls panic when it has to choose, so nothing chooses.
fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}
