//! An authority of the tests' own, and a certificate for the names that they use.
//! It never leaves the directory that the tests made for it, and the authority's key leaves memory nowhere.

use crate::Failure;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use std::path::Path;
use std::sync::Arc;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;

/// Names that the servers answer to.
const NAMES: [&str; 7] =
    ["good.test", "*.good.test", "*.s3.good.test", "evil.test", "echo.test", "registry.test", "localhost"];

/// Accepts TLS under all names; writes the authority's certificate to `ca.pem`, and for servers that are none of ours the
/// names' certificate and key to `server.pem` and `server.key`.
pub(crate) fn acceptor(directory: &Path) -> Result<TlsAcceptor, Failure> {
    let mut params = CertificateParams::new(Vec::new())?;
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.distinguished_name.push(rcgen::DnType::CommonName, "Authority of the outlet's tests");
    let authority = CertifiedIssuer::self_signed(params, KeyPair::generate()?)?;
    std::fs::write(directory.join("ca.pem"), authority.pem())?;
    let key = KeyPair::generate()?;
    let names: Vec<String> = NAMES.iter().map(ToString::to_string).collect();
    let certificate = CertificateParams::new(names)?.signed_by(&key, &authority)?;
    std::fs::write(directory.join("server.pem"), certificate.pem())?;
    std::fs::write(directory.join("server.key"), key.serialize_pem())?;
    let key = PrivateKeyDer::try_from(key.serialize_der())?;
    let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], key)?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}
