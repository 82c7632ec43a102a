//! A client in Rust, static and without the C library's resolver: what a program that was built elsewhere brings along.
//! It never learns of an outlet but by `/etc/resolv.conf` and what `rustls-native-certs` finds.
//!
//! `stockade-client HOST PATH…` gets each path over TLS, with the key of its environment, and prints the answers.

use hickory_resolver::TokioResolver;
use std::io::Write as _;
use std::sync::Arc;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

type Failure = Box<dyn std::error::Error + Send + Sync>;

fn main() -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let mut words = std::env::args().skip(1);
    let host = words.next().ok_or("usage: stockade-client HOST PATH…")?;
    runtime.block_on(async {
        for path in words {
            std::io::stdout().write_all(&get(&host, &path).await?)?;
        }
        Ok(())
    })
}

async fn get(host: &str, path: &str) -> Result<Vec<u8>, Failure> {
    let mut roots = RootCertStore::empty();
    for certificate in rustls_native_certs::load_native_certs().certs {
        // The machine's store may hold some that rustls does not take.
        drop(roots.add(certificate));
    }
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    let found = TokioResolver::builder_tokio()?.build()?.lookup_ip(format!("{host}.")).await?;
    let address = found.iter().next().ok_or("the name has no address")?;
    let stream = TcpStream::connect((address, 443)).await?;
    let name = ServerName::try_from(host.to_owned())?;
    let mut stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await?;
    #[expect(clippy::disallowed_methods, reason = "the key is where a sandbox has its placeholder")]
    let key = std::env::var("API_KEY").unwrap_or_default();
    let head =
        format!("GET {path} HTTP/1.1\r\nhost: {host}\r\nauthorization: Bearer {key}\r\nconnection: close\r\n\r\n");
    stream.write_all(head.as_bytes()).await?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await?;
    Ok(answer)
}
