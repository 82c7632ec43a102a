//! The server that all sides of the bench ask: `/N` is N bytes, `/events/COUNT/MS` a stream of the times of its events.
//! It never does more than it must: what it costs stands in each number of the bench.

use crate::Failure;
use crate::client::wall;
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::server::TlsStream;

/// Longest body, and longest request, bytes.
const BODY_BYTES_MAX: usize = 1024 * 1024;
const REQUEST_BYTES_MAX: usize = 16 * 1024;

/// Serves until the standard input ends.
pub(crate) async fn serve(certificate: &Path, key: &Path) -> Result<(), Failure> {
    let certificates = CertificateDer::pem_file_iter(certificate)?.collect::<Result<Vec<_>, _>>()?;
    let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(certificates, PrivateKeyDer::from_pem_file(key)?)?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let mut out = std::io::stdout();
    writeln!(out, "{}", serde_json::json!({ "port": listener.local_addr()?.port() }))?;
    out.flush()?;
    let text: Arc<[u8]> = text().into();
    let mut tasks = JoinSet::new();
    let mut stdin = tokio::io::stdin();
    let mut byte = [0; 64];
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let (stream, _) = accepted?;
                tasks.spawn(connection(acceptor.clone(), stream, Arc::clone(&text)));
            }
            // A client that goes away is its own business.
            Some(_) = tasks.join_next() => {}
            read = stdin.read(&mut byte) => if read? == 0 { return Ok(()) },
        }
    }
}

async fn connection(acceptor: TlsAcceptor, stream: TcpStream, text: Arc<[u8]>) -> Result<(), Failure> {
    stream.set_nodelay(true)?;
    let mut stream = acceptor.accept(stream).await?;
    let (mut read, mut reply) = (Vec::new(), Vec::new());
    loop {
        while let Some(end) = read.windows(4).position(|window| window == b"\r\n\r\n").map(|at| at + 4) {
            let head: Vec<u8> = read.drain(..end).collect();
            let head = String::from_utf8(head)?;
            let path = head.split(' ').nth(1).ok_or("a request without a path")?;
            match path.trim_start_matches('/').split('/').collect::<Vec<_>>().as_slice() {
                ["events", count, pause] => {
                    events(&mut stream, count.parse()?, Duration::from_millis(pause.parse()?)).await?;
                }
                [count] => {
                    let body = text.get(..count.parse()?).ok_or("a body that is too long")?;
                    reply.clear();
                    write!(
                        reply,
                        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
                        body.len()
                    )?;
                    reply.extend_from_slice(body);
                    stream.write_all(&reply).await?;
                    stream.flush().await?;
                }
                _ => return Err("a path of no kind".into()),
            }
        }
        if read.len() > REQUEST_BYTES_MAX || stream.read_buf(&mut read).await? == 0 {
            return Ok(());
        }
    }
}

/// Each event is the time of its making, so that whoever takes it in knows its delay.
async fn events(stream: &mut TlsStream<TcpStream>, count: usize, pause: Duration) -> Result<(), Failure> {
    let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";
    stream.write_all(head.as_bytes()).await?;
    stream.flush().await?;
    for _ in 0..count {
        tokio::time::sleep(pause).await;
        let event = format!("data: {}\n\n", wall().as_nanos());
        stream.write_all(format!("{:x}\r\n{event}\r\n", event.len()).as_bytes()).await?;
        stream.flush().await?;
    }
    stream.write_all(b"0\r\n\r\n").await?;
    Ok(stream.flush().await?)
}

/// What bodies are made of: text as interfaces answer it, the same in each run.
fn text() -> Vec<u8> {
    let mut text = String::with_capacity(BODY_BYTES_MAX + 128);
    let mut number = 0x9e37_79b9_7f4a_7c15_u64;
    while text.len() < BODY_BYTES_MAX {
        // Xorshift (Marsaglia, 2003): the scrubber must not meet the same line again and again.
        number ^= number << 13;
        number ^= number >> 7;
        number ^= number << 17;
        let (id, name) = (number % 100_000, number >> 24);
        let line = writeln!(text, r#"{{"id":{id},"name":"item {name:x}","tags":["a","of"],"note":"a line of text"}},"#);
        line.expect("a String takes all");
    }
    text.truncate(BODY_BYTES_MAX);
    text.into_bytes()
}
