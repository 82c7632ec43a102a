//! TLS on both sides: the session's authority, certificates, what a client hello says, upstream trust.
//! It never writes a private key anywhere.

mod authority;
mod bundle;
mod hello;
mod java;
mod upstream;

pub use authority::Authority;
pub use bundle::{BUNDLE_INSIDE, environment};
pub use hello::{ClientHello, Encrypted, HELLO_BYTES_MAX, Hello};
pub use java::java_store;
#[cfg(feature = "vault")]
pub(super) use upstream::connect;
pub(super) use upstream::{Alpn, Trust};
pub use upstream::{Anchors, client};

use rustls::crypto::CryptoProvider;
use std::sync::Arc;

/// The one provider of cryptography. Two in one process make rustls panic when it has to choose, so nothing chooses.
fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}
