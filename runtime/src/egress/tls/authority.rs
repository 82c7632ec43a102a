//! The authority of one session: signs one certificate for each name that is reached, and can sign for no other.
//! It never leaves memory but for its certificate.

use super::provider;
use crate::error::{Error, Result};
use rcgen::{
    BasicConstraints, CertificateParams, CidrSubnet, DnType, ExtendedKeyUsagePurpose, GeneralSubtree, IsCa, Issuer,
    KeyPair, KeyUsagePurpose, NameConstraints, SanType,
};
use rustls::ServerConfig;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};
use stockade_policy::{Host, HostPattern};

/// Certificates that are kept; a wildcard lets a guest ask for any number of names.
const LEAVES_MAX: usize = 1024;
/// How long a session's authority is valid. Clients refuse leaves that live longer than 398 days.
const LIFETIME: Duration = Duration::from_secs(90 * 24 * 3600);
/// Clocks inside and outside are the same; a client's may still be a little behind.
const BEFORE: Duration = Duration::from_secs(24 * 3600);

/// The authority of one session. Its private key is in memory only and ends with it.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    certificate: CertificateDer<'static>,
    pem: String,
    /// One for all leaves: making a key costs half of making a certificate, and all of them live and die together.
    leaf_key: KeyPair,
    not_before: SystemTime,
    leaves: Mutex<Leaves>,
}

impl std::fmt::Debug for Authority {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Authority").finish_non_exhaustive()
    }
}

/// The certificates in use, the least recently used given up first. Written only under its lock.
#[derive(Default)]
struct Leaves {
    turn: u64,
    made: HashMap<Host, (u64, Arc<ServerConfig>)>,
}

impl Authority {
    /// An authority for these hosts and, by its own certificate, for no others; valid from a day before `now`.
    ///
    /// # Errors
    /// Host: the machine has no randomness. Bug: a name that no certificate can hold.
    pub fn new(names: &[HostPattern], now: SystemTime) -> Result<Self> {
        let failed = |e: rcgen::Error| Error::host(format!("make the session's certificate authority: {e}"));
        let not_before = now.checked_sub(BEFORE).unwrap_or(now);
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, "Stockade session authority");
        params.not_before = not_before.into();
        params.not_after = (not_before + LIFETIME).into();
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.name_constraints = Some(constraints(names));
        let key = KeyPair::generate().map_err(failed)?;
        let certificate = params.self_signed(&key).map_err(failed)?;
        Ok(Self {
            pem: certificate.pem(),
            certificate: certificate.der().clone(),
            issuer: Issuer::new(params, key),
            leaf_key: KeyPair::generate().map_err(failed)?,
            not_before,
            leaves: Mutex::default(),
        })
    }

    /// The certificate, for the trust bundle inside.
    pub fn certificate_pem(&self) -> &str {
        &self.pem
    }

    /// What answers a TLS client that wants to reach `host`; made at the first need.
    ///
    /// # Errors
    /// Host, Bug: no certificate could be made.
    pub(in crate::egress) fn server_config(&self, host: &Host) -> Result<Arc<ServerConfig>> {
        if let Some(known) = self.leaves.lock().unwrap_or_else(PoisonError::into_inner).get(host) {
            return Ok(known);
        }
        let made = Arc::new(self.make(host)?);
        self.leaves.lock().unwrap_or_else(PoisonError::into_inner).put(host, &made);
        Ok(made)
    }

    fn make(&self, host: &Host) -> Result<ServerConfig> {
        let failed = |e: rustls::Error| Error::bug(format!("prepare TLS for \"{host}\": {e}"));
        let leaf = self.sign(host)?;
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(self.leaf_key.serialize_der()));
        let provider = provider();
        let signer = provider.key_provider.load_private_key(key).map_err(failed)?;
        let certified = CertifiedKey::new(vec![leaf, self.certificate.clone()], signer);
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
            .map_err(failed)?
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(SingleCertAndKey::from(certified)));
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        // Each name has its own tickets: one of another name opens nothing.
        config.ticketer = rustls::crypto::ring::Ticketer::new().map_err(failed)?;
        config.send_tls13_tickets = 2;
        Ok(config)
    }

    fn sign(&self, host: &Host) -> Result<CertificateDer<'static>> {
        let failed = |e: rcgen::Error| Error::bug(format!("make a certificate for \"{host}\": {e}"));
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, "Stockade");
        params.subject_alt_names = vec![match host {
            Host::Name(name) => SanType::DnsName(name.as_str().try_into().map_err(failed)?),
            Host::Address(address) => SanType::IpAddress(*address),
        }];
        params.not_before = self.not_before.into();
        params.not_after = (self.not_before + LIFETIME).into();
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.use_authority_key_identifier_extension = true;
        Ok(params.signed_by(&self.leaf_key, &self.issuer).map_err(failed)?.der().clone())
    }
}

impl Leaves {
    fn get(&mut self, host: &Host) -> Option<Arc<ServerConfig>> {
        self.turn += 1;
        let (turn, config) = self.made.get_mut(host)?;
        *turn = self.turn;
        Some(Arc::clone(config))
    }

    fn put(&mut self, host: &Host, config: &Arc<ServerConfig>) {
        if self.made.len() >= LEAVES_MAX
            && let Some(oldest) = self.made.iter().min_by_key(|(_, (turn, _))| *turn).map(|(host, _)| host.clone())
        {
            self.made.remove(&oldest);
        }
        self.turn += 1;
        self.made.insert(host.clone(), (self.turn, Arc::clone(config)));
    }
}

/// What the authority may sign for. A permitted name permits the names below it too (RFC 5280, 4.2.1.10), so both kinds
/// of pattern are written alike: the form with a leading dot is not in the RFC and makes Java refuse the certificate.
/// A kind of name without any permitted one is unconstrained, so what is not granted at all is excluded.
fn constraints(names: &[HostPattern]) -> NameConstraints {
    let mut permitted_subtrees = Vec::new();
    let mut excluded_subtrees = Vec::new();
    let (mut any_name, mut any_v4, mut any_v6) = (false, false, false);
    for name in names {
        permitted_subtrees.push(match name {
            HostPattern::Below(name) | HostPattern::Name(name) => {
                any_name = true;
                GeneralSubtree::DnsName(name.as_str().to_owned())
            }
            HostPattern::Address(address @ IpAddr::V4(_)) => {
                any_v4 = true;
                GeneralSubtree::IpAddress(CidrSubnet::from_addr_prefix(*address, 32))
            }
            HostPattern::Address(address @ IpAddr::V6(_)) => {
                any_v6 = true;
                GeneralSubtree::IpAddress(CidrSubnet::from_addr_prefix(*address, 128))
            }
        });
    }
    if !any_name {
        excluded_subtrees.push(GeneralSubtree::DnsName(String::new()));
    }
    // A granted address of one family constrains both: the subtrees are of one kind, whatever their length.
    if !any_v4 && !any_v6 {
        excluded_subtrees.push(GeneralSubtree::IpAddress(CidrSubnet::from_v4_prefix([0; 4], 0)));
        excluded_subtrees.push(GeneralSubtree::IpAddress(CidrSubnet::from_v6_prefix([0; 16], 0)));
    }
    NameConstraints { permitted_subtrees, excluded_subtrees }
}

#[cfg(test)]
#[path = "authority_tests.rs"]
mod tests;
