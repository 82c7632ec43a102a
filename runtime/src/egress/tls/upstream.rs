//! What is trusted outside: the machine's authorities, and those that a rule names for its host.
//! It never trusts the session's own authority, and never goes on without verification.

use super::provider;
use crate::error::{Error, Result};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};
use stockade_policy::{Host, RuleId};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// Which protocols are offered to an upstream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::egress) enum Alpn {
    /// HTTP/1.1 alone.
    One,
    /// HTTP/2, else HTTP/1.1.
    TwoOrOne,
}

impl Alpn {
    fn protocols(self) -> Vec<Vec<u8>> {
        match self {
            Self::One => vec![b"http/1.1".to_vec()],
            Self::TwoOrOne => vec![b"h2".to_vec(), b"http/1.1".to_vec()],
        }
    }
}

/// What is trusted outside.
#[derive(Debug)]
pub(in crate::egress) struct Trust {
    /// The authorities that a rule adds, checked when made.
    added: BTreeMap<RuleId, (Vec<CertificateDer<'static>>, OnceLock<Arc<ClientConfig>>)>,
    /// Made at the first need: reading a hundred authorities takes milliseconds.
    plain: OnceLock<Arc<ClientConfig>>,
}

impl Trust {
    /// The machine's authorities and, for connections under each rule, those of its PEM file.
    ///
    /// # Errors
    /// Operator: a file has no certificate, or one that cannot be read.
    pub(in crate::egress) fn new(files: &BTreeMap<RuleId, Vec<u8>>) -> Result<Self> {
        let mut added = BTreeMap::new();
        for (rule, pem) in files {
            let unreadable = |why: String| {
                Error::operator(format!("rule \"{rule}\": read the authority in trust: {why}"))
                    .hint("trust names a PEM file with the authority's certificate")
            };
            let certificates: Vec<CertificateDer<'static>> =
                CertificateDer::pem_slice_iter(pem).try_fold(Vec::new(), |mut all, one| match one {
                    Ok(one) => {
                        all.push(one);
                        Ok(all)
                    }
                    Err(e) => Err(unreadable(e.to_string())),
                })?;
            if certificates.is_empty() {
                return Err(unreadable("it has no certificate".to_owned()));
            }
            let mut store = RootCertStore::empty();
            certificates.iter().try_for_each(|one| store.add(one.clone())).map_err(|e| unreadable(e.to_string()))?;
            added.insert(rule.clone(), (certificates, OnceLock::new()));
        }
        Ok(Self { added, plain: OnceLock::new() })
    }

    /// TLS to `host`, verified for exactly that name, under what `rule` trusts.
    ///
    /// # Errors
    /// Host: the machine's authorities cannot be read, or the upstream is not who it should be. The text goes to the log
    /// and to the guest.
    pub(in crate::egress) async fn connect<S>(
        &self,
        rule: Option<&RuleId>,
        host: &Host,
        alpn: Alpn,
        stream: S,
    ) -> Result<TlsStream<S>>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let config = self.config(rule)?;
        let connector = TlsConnector::from(config);
        let connecting = connector.with_alpn(alpn.protocols()).connect(server_name(host)?, stream);
        connecting.await.map_err(|e| Error::host(format!("TLS with \"{host}\": {e}")))
    }

    fn config(&self, rule: Option<&RuleId>) -> Result<Arc<ClientConfig>> {
        let (added, slot) = match rule.and_then(|rule| self.added.get(rule)) {
            Some((added, slot)) => (added.as_slice(), slot),
            None => (&[][..], &self.plain),
        };
        if let Some(config) = slot.get() {
            return Ok(Arc::clone(config));
        }
        let made = Arc::new(make(added)?);
        Ok(Arc::clone(slot.get_or_init(|| made)))
    }
}

/// TLS to a server that the operator named: under this authority alone, or else under the machine's.
///
/// # Errors
/// Operator: the authority cannot be read. Host: the server is not who it should be.
#[cfg(feature = "vault")]
pub(in crate::egress) async fn connect<S>(host: &Host, authority: Option<&[u8]>, stream: S) -> Result<TlsStream<S>>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let config = match authority {
        None => make(&[])?,
        Some(pem) => {
            let unreadable = |why: String| {
                Error::operator(format!("read the authority of \"{host}\": {why}"))
                    .hint("ca names a PEM file with the authority's certificate")
            };
            let mut roots = RootCertStore::empty();
            for one in CertificateDer::pem_slice_iter(pem) {
                let added = one.map_err(|e| e.to_string()).and_then(|one| roots.add(one).map_err(|e| e.to_string()));
                added.map_err(unreadable)?;
            }
            if roots.is_empty() {
                return Err(unreadable("it has no certificate".to_owned()));
            }
            trusting(roots)?
        }
    };
    let connector = TlsConnector::from(Arc::new(config));
    let connecting = connector.with_alpn(Alpn::One.protocols()).connect(server_name(host)?, stream);
    connecting.await.map_err(|e| Error::host(format!("TLS with \"{host}\": {e}")))
}

fn server_name(host: &Host) -> Result<ServerName<'static>> {
    match host {
        Host::Name(name) => ServerName::try_from(name.as_str().to_owned())
            .map_err(|_| Error::guest(format!("\"{host}\" is a name that no certificate can have"))),
        Host::Address(address) => Ok(ServerName::IpAddress((*address).into())),
    }
}

/// Whom a client trusts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Anchors {
    /// The machine's authorities. Reading them takes milliseconds.
    System,
    /// Nobody: for a client that will never need TLS.
    None,
}

/// A client for TLS that is no upstream's: that of a company's proxy.
///
/// # Errors
/// Host: the machine has no authorities.
pub fn client(anchors: Anchors) -> Result<Arc<ClientConfig>> {
    match anchors {
        Anchors::System => make(&[]).map(Arc::new),
        Anchors::None => trusting(RootCertStore::empty()).map(Arc::new),
    }
}

fn make(added: &[CertificateDer<'static>]) -> Result<ClientConfig> {
    let mut roots = RootCertStore::empty();
    let found = rustls_native_certs::load_native_certs();
    roots.add_parsable_certificates(found.certs);
    for one in added {
        roots.add(one.clone()).map_err(|e| Error::operator(format!("an authority in trust: {e}")))?;
    }
    if roots.is_empty() {
        return Err(Error::host("this machine has no certificate authorities, so nobody outside can be verified")
            .hint("install ca-certificates"));
    }
    trusting(roots)
}

fn trusting(roots: RootCertStore) -> Result<ClientConfig> {
    let config = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
        .map_err(|e| Error::bug(format!("prepare TLS to the outside: {e}")))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(config)
}
