//! What the authority signs, judged by a verifier that knows nothing of it but its certificate.

use super::*;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier as _;
use rustls::pki_types::{ServerName, UnixTime};
use rustls::{ClientConfig, RootCertStore};

fn now() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_790_000_000)
}

fn host(text: &str) -> Host {
    Host::parse(text).unwrap()
}

/// Whether a client that trusts the authority would talk to a server that shows its certificate for `shown`.
#[track_caller]
fn check(granted: &[&str], shown: &str, trusted: bool) {
    let patterns: Vec<HostPattern> = granted.iter().map(|text| HostPattern::parse(text).unwrap()).collect();
    let authority = Authority::new(&patterns, now()).unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(authority.certificate.clone()).unwrap();
    let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider()).build().unwrap();
    let leaf = authority.sign(&host(shown)).unwrap();
    let name = ServerName::try_from(shown.to_owned()).unwrap();
    let at = UnixTime::since_unix_epoch(Duration::from_secs(1_790_000_000));
    let found = verifier.verify_server_cert(&leaf, &[], &name, &[], at);
    assert_eq!(found.is_ok(), trusted, "\"{shown}\" under {granted:?}: {found:?}");
}

#[test]
fn granted_names_are_trusted() {
    check(&["good.example"], "good.example", true);
    check(&["*.good.example"], "a.b.good.example", true);
    check(&["10.0.0.7"], "10.0.0.7", true);
    check(&["fd00::7"], "fd00::7", true);
    check(&["good.example", "10.0.0.7"], "10.0.0.7", true);
}

#[test]
fn a_stolen_authority_signs_for_nobody_else() {
    check(&["good.example"], "evil.example", false);
    check(&["good.example"], "notgood.example", false);
    check(&["good.example"], "10.0.0.7", false);
    check(&["10.0.0.7"], "10.0.0.8", false);
    check(&["10.0.0.7"], "good.example", false);
    check(&["10.0.0.7"], "fd00::7", false);
    check(&[], "good.example", false);
}

#[test]
fn leaves_are_bounded_and_the_used_ones_stay() {
    let authority = Authority::new(&[HostPattern::parse("*.good.example").unwrap()], now()).unwrap();
    let first = authority.server_config(&host("first.good.example")).unwrap();
    for n in 0..LEAVES_MAX + 10 {
        authority.leaves.lock().unwrap().put(&host(&format!("n{n}.good.example")), &first);
        assert!(Arc::ptr_eq(&authority.server_config(&host("first.good.example")).unwrap(), &first));
    }
    assert_eq!(authority.leaves.lock().unwrap().made.len(), LEAVES_MAX);
}

#[test]
fn a_client_of_another_authority_is_not_fooled() {
    let patterns = [HostPattern::parse("good.example").unwrap()];
    let (one, other) = (Authority::new(&patterns, now()).unwrap(), Authority::new(&patterns, now()).unwrap());
    assert_ne!(one.certificate_pem(), other.certificate_pem());
    let mut roots = RootCertStore::empty();
    roots.add(one.certificate.clone()).unwrap();
    let config = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let server = other.server_config(&host("good.example")).unwrap();
    let name = ServerName::try_from("good.example").unwrap();
    let mut client = rustls::ClientConnection::new(Arc::new(config), name).unwrap();
    let mut server = rustls::ServerConnection::new(server).unwrap();
    let mut wire = Vec::new();
    client.write_tls(&mut wire).unwrap();
    server.read_tls(&mut wire.as_slice()).unwrap();
    server.process_new_packets().unwrap();
    wire.clear();
    server.write_tls(&mut wire).unwrap();
    client.read_tls(&mut wire.as_slice()).unwrap();
    assert!(client.process_new_packets().is_err(), "the client trusts a stranger");
}
