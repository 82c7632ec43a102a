//! Servers for the tests of the outlet: one that is good, one that is evil, one that echoes, all on the loopback.
//! It never serves anybody but the tests: it listens on 127.0.0.1 and ends with its standard input.
//!
//! `stockade-upstream DIR` reads one line, the key that some of its answers are for; writes `DIR/ca.pem`, and a certificate
//! for servers beside it; prints one line `{"tls":PORT,"http":PORT,"raw":PORT}`, serves `DIR/www` as files, and appends
//! each request that it saw to `DIR/requests.jsonl`.

mod crates;
mod hostile;
mod replies;
mod tokens;
mod trust;

use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use replies::Body;
use std::io::Write as _;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncBufReadExt as _, AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// What all connections share.
struct Site {
    www: PathBuf,
    seen: Mutex<std::fs::File>,
    tokens: tokens::Tokens,
    crates: crates::Crates,
}

fn main() -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(serve())
}

async fn serve() -> Result<(), Failure> {
    let directory = PathBuf::from(std::env::args_os().nth(1).ok_or("usage: stockade-upstream DIR")?);
    let acceptor = trust::acceptor(&directory)?;
    let seen = std::fs::File::options().create(true).append(true).open(directory.join("requests.jsonl"))?;
    let mut stdin = BufReader::new(tokio::io::stdin());
    let mut key = String::new();
    stdin.read_line(&mut key).await?;
    let key = key.trim_end().to_owned();
    let site = Arc::new(Site {
        www: directory.join("www"),
        seen: Mutex::new(seen),
        tokens: tokens::Tokens::new(key.clone()),
        crates: crates::Crates::new(key),
    });
    let mut listeners = Vec::new();
    for _ in 0..3 {
        listeners.push(TcpListener::bind("127.0.0.1:0").await?);
    }
    let [tls, http, raw]: [TcpListener; 3] = listeners.try_into().map_err(|_| "three listeners were made")?;
    let ports = serde_json::json!({
        "tls": tls.local_addr()?.port(), "http": http.local_addr()?.port(), "raw": raw.local_addr()?.port(),
    });
    let mut out = std::io::stdout();
    writeln!(out, "{ports}")?;
    out.flush()?;
    let mut byte = [0; 64];
    tokio::select! {
        ended = secure(tls, acceptor, Arc::clone(&site)) => ended,
        ended = plain(http, site) => ended,
        ended = echo(raw) => ended,
        ended = async { while stdin.read(&mut byte).await? > 0 {} Ok(()) } => ended,
    }
}

async fn secure(listener: TcpListener, acceptor: TlsAcceptor, site: Arc<Site>) -> Result<(), Failure> {
    loop {
        let (stream, _) = listener.accept().await?;
        let (acceptor, site) = (acceptor.clone(), Arc::clone(&site));
        // The process ends all tasks when the tests are done with it.
        drop(tokio::spawn(async move {
            let Ok(stream) = acceptor.accept(stream).await else { return };
            let name = stream.get_ref().1.server_name().unwrap_or_default().to_owned();
            requests(stream, site, Some(name)).await;
        }));
    }
}

async fn plain(listener: TcpListener, site: Arc<Site>) -> Result<(), Failure> {
    loop {
        let (stream, _) = listener.accept().await?;
        drop(tokio::spawn(requests(stream, Arc::clone(&site), None)));
    }
}

/// Says hello first, as ssh(1) servers do, then sends back what comes.
async fn echo(listener: TcpListener) -> Result<(), Failure> {
    loop {
        let (mut stream, _): (TcpStream, _) = listener.accept().await?;
        drop(tokio::spawn(async move {
            if stream.write_all(b"hello\n").await.is_ok() {
                let (mut reader, mut writer) = stream.split();
                drop(tokio::io::copy(&mut reader, &mut writer).await);
            }
        }));
    }
}

async fn requests(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static, site: Arc<Site>, sni: Option<String>) {
    let service = service_fn(move |request| answer(request, Arc::clone(&site), sni.clone()));
    let mut server = auto::Builder::new(TokioExecutor::new());
    server.http2().enable_connect_protocol();
    // A client that goes away is its own business.
    drop(server.serve_connection_with_upgrades(TokioIo::new(stream), service).await);
}

async fn answer(request: Request<Incoming>, site: Arc<Site>, sni: Option<String>) -> Result<Response<Body>, Failure> {
    let headers: Vec<(String, String)> = request
        .headers()
        .iter()
        .map(|(name, value)| (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into_owned()))
        .collect();
    let seen = serde_json::json!({
        "sni": sni,
        "version": format!("{:?}", request.version()),
        "method": request.method().as_str(),
        "target": request.uri().to_string(),
        "headers": headers,
    });
    writeln!(site.seen.lock().map_err(|_| "a request panicked")?, "{seen}")?;
    if replies::wants_websocket(&request) {
        return replies::websocket(request);
    }
    let path = request.uri().path().to_owned();
    let query = request.uri().query().unwrap_or_default().to_owned();
    let credential = replies::credential(&request);
    match path.trim_start_matches('/').split('/').collect::<Vec<_>>().as_slice() {
        ["echo"] => {
            let body = request.into_body().collect().await?.to_bytes();
            let told = serde_json::json!({ "seen": seen, "body": String::from_utf8_lossy(&body) });
            Ok(replies::whole(200, "application/json", format!("{told}\n").into_bytes()))
        }
        ["reflect"] => Ok(replies::reflecting_header(&credential)),
        ["split"] => Ok(replies::by_bytes(&credential)),
        ["gzip"] => replies::gzipped(&credential),
        ["bomb"] => hostile::bomb(),
        ["sse"] => Ok(replies::events(&credential)),
        ["trailers"] => Ok(replies::with_trailers(&credential)),
        ["bytes", count] => Ok(replies::many(count.parse()?)),
        ["status", code] => Ok(replies::whole(code.parse()?, "text/plain", b"as asked\n".to_vec())),
        ["redirect"] => Ok(replies::redirect(&query)),
        ["count"] => {
            let mut body = request.into_body();
            let mut count = 0_u64;
            while let Some(frame) = body.frame().await {
                count += frame?.data_ref().map_or(0, |data| data.len() as u64);
            }
            Ok(replies::whole(200, "text/plain", format!("{count}\n").into_bytes()))
        }
        ["oauth", life_s, "token"] => site.tokens.give(life_s, request).await,
        ["oauth", "api"] => Ok(site.tokens.open(&credential)),
        ["crates", path @ ..] => site.crates.answer(path, request).await,
        ["token"] => Ok(replies::whole(
            200,
            "application/json",
            br#"{"access_token":"token-from-the-endpoint-0123456789","token_type":"bearer","expires_in":3600}"#
                .to_vec(),
        )),
        _ => replies::file(&site.www, &path),
    }
}
