//! One connection to the server of the bench, direct or by a proxy, and the requests on it, one after the other.
//! It never resumes a session of TLS: each connection pays for its whole handshake.

use crate::Failure;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::client::Resumption;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

/// Longest head of an answer, and longest body of which the end is searched, bytes.
const ANSWER_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Time for anything on a connection.
const PATIENCE: Duration = Duration::from_secs(20);

/// Whom to ask, and how to get there.
pub(crate) struct Target {
    to: SocketAddr,
    name: String,
    /// A proxy that is asked for a tunnel to `to`.
    via: Option<SocketAddr>,
    /// What each request carries in `authorization`.
    bearer: Option<String>,
    tls: TlsConnector,
}

impl Target {
    /// From words `key=value`.
    pub(crate) fn parse(words: &[&str]) -> Result<Self, Failure> {
        let value = |key: &str| words.iter().find_map(|word| word.strip_prefix(key)?.strip_prefix('='));
        let wanted = |key: &'static str| value(key).ok_or(crate::USAGE);
        let bearer = value("bearer").map(variable).transpose()?;
        let via = value("via").map(str::parse).transpose()?;
        let tls = connector(wanted("ca")?.as_ref())?;
        Ok(Self { to: wanted("to")?.parse()?, name: wanted("name")?.to_owned(), via, bearer, tls })
    }

    /// A new connection, its handshake done.
    pub(crate) async fn connect(&self) -> Result<Client, Failure> {
        tokio::time::timeout(PATIENCE, self.connected()).await?
    }

    async fn connected(&self) -> Result<Client, Failure> {
        let mut stream = TcpStream::connect(self.via.unwrap_or(self.to)).await?;
        stream.set_nodelay(true)?;
        if self.via.is_some() {
            // By its name: an address would have to be in the certificate that a proxy makes.
            let wanted = format!("{}:{}", self.name, self.to.port());
            stream.write_all(format!("CONNECT {wanted} HTTP/1.1\r\nHost: {wanted}\r\n\r\n").as_bytes()).await?;
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                head.push(stream.read_u8().await?);
            }
            if !head.starts_with(b"HTTP/1.1 200") {
                return Err(format!("no tunnel: {}", String::from_utf8_lossy(&head)).into());
            }
        }
        let name = ServerName::try_from(self.name.clone())?;
        Ok(Client { stream: self.tls.connect(name, stream).await?, read: Vec::new() })
    }

    /// The bytes of a request for a path.
    pub(crate) fn request(&self, path: &str) -> Vec<u8> {
        let bearer = self.bearer.as_ref().map(|bearer| format!("authorization: Bearer {bearer}\r\n"));
        let (name, bearer) = (&self.name, bearer.unwrap_or_default());
        let port = if self.via.is_some() { format!(":{}", self.to.port()) } else { String::new() };
        format!("GET {path} HTTP/1.1\r\nhost: {name}{port}\r\nuser-agent: load\r\naccept: */*\r\n{bearer}\r\n")
            .into_bytes()
    }
}

/// A connection.
pub(crate) struct Client {
    stream: TlsStream<TcpStream>,
    /// What came and was not looked at yet.
    read: Vec<u8>,
}

impl Client {
    /// Sends a request and takes in its whole answer; fails unless that is a success.
    pub(crate) async fn ask(&mut self, request: &[u8]) -> Result<(), Failure> {
        tokio::time::timeout(PATIENCE, self.asked(request)).await?
    }

    async fn asked(&mut self, request: &[u8]) -> Result<(), Failure> {
        let body = self.head(request).await?;
        let end = match body {
            Body::Length(length) => length,
            Body::Chunked => loop {
                if let Some(at) = find(&self.read, b"\r\n0\r\n\r\n") {
                    break at + 7;
                }
                self.more().await?;
            },
        };
        while self.read.len() < end {
            self.more().await?;
        }
        self.read.drain(..end);
        Ok(())
    }

    /// Sends a request for events, and tells of each how long after its making it came.
    pub(crate) async fn events(&mut self, request: &[u8]) -> Result<Vec<Duration>, Failure> {
        let Body::Chunked = self.head(request).await? else { return Err("events whose end is known".into()) };
        let mut delays = Vec::new();
        loop {
            while let Some(at) = find(&self.read, b"\n\n") {
                let now = wall();
                let event: Vec<u8> = self.read.drain(..at + 2).collect();
                let event = String::from_utf8_lossy(&event);
                let (_, made) = event.split_once("data: ").ok_or("no event")?;
                delays.push(now.saturating_sub(Duration::from_nanos(made.trim().parse()?)));
            }
            if find(&self.read, b"\r\n0\r\n\r\n").is_some() || self.read == b"0\r\n\r\n" {
                self.read.clear();
                return Ok(delays);
            }
            tokio::time::timeout(PATIENCE, self.more()).await??;
        }
    }

    /// Sends a request and takes in the head of its answer.
    async fn head(&mut self, request: &[u8]) -> Result<Body, Failure> {
        self.stream.write_all(request).await?;
        self.stream.flush().await?;
        let end = loop {
            if let Some(at) = find(&self.read, b"\r\n\r\n") {
                break at + 4;
            }
            self.more().await?;
        };
        let head: Vec<u8> = self.read.drain(..end).collect();
        let head = String::from_utf8(head)?.to_ascii_lowercase();
        if !head.starts_with("http/1.1 200") {
            return Err(format!("an answer of another kind: {head}").into());
        }
        match head.split_once("\r\ncontent-length:") {
            Some((_, rest)) => Ok(Body::Length(rest.split("\r\n").next().unwrap_or_default().trim().parse()?)),
            None if head.contains("\r\ntransfer-encoding: chunked\r\n") => Ok(Body::Chunked),
            None => Err(format!("an answer of no known length: {head}").into()),
        }
    }

    async fn more(&mut self) -> Result<(), Failure> {
        if self.read.len() > ANSWER_BYTES_MAX {
            return Err("an answer that is too long".into());
        }
        if self.stream.read_buf(&mut self.read).await? == 0 {
            return Err("the connection ended within an answer".into());
        }
        Ok(())
    }
}

/// How the end of an answer is found.
enum Body {
    Length(usize),
    Chunked,
}

fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes.windows(wanted.len()).position(|window| window == wanted)
}

/// The machine's wall clock: the one that a server and a client in two namespaces share.
#[expect(clippy::disallowed_methods, reason = "a clock is what a bench is about")]
pub(crate) fn wall() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

#[expect(clippy::disallowed_methods, reason = "a sandbox tells its placeholder in a variable that the caller names")]
fn variable(name: &str) -> Result<String, Failure> {
    Ok(std::env::var(name)?)
}

fn connector(authorities: &Path) -> Result<TlsConnector, Failure> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(authorities)? {
        // A system's bundle may have what this library does not read; the one that matters is ours.
        drop(roots.add(certificate?));
    }
    let mut config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.resumption = Resumption::disabled();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(TlsConnector::from(Arc::new(config)))
}
