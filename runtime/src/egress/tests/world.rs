//! A world for one test: an upstream that does as its path says, an outlet before it, and a client's ends.
//! It never leaves this machine.

use crate::egress::outline::Outline;
use crate::egress::testing::{Logged, profile};
use crate::egress::tls::Authority;
use crate::egress::tool::{self, Carries, Streams, ToolStream};
use crate::egress::{Running, Settings, dial, front};
use crate::secrets::plain::Plain;
use crate::secrets::source::{Sources, Surroundings};
use crate::secrets::store::{Deposit, Store};
use crate::secrets::vault::Vault;
use bytes::{Bytes, BytesMut};
use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt as _, Full};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rcgen::{CertificateParams, IsCa, Issuer, KeyPair};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};
use stockade_audit::Machine;
use stockade_audit::record::CallId;
use stockade_policy::{Host, HostPattern, SecretName};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio::sync::watch;
use tokio_rustls::client::TlsStream;
use tokio_rustls::{TlsAcceptor, TlsConnector};

/// The secret of all tests. No artefact may have it.
pub(super) const SECRET: &str = "sk-live-0123456789abcdef";

pub(super) type Body = BoxBody<Bytes, std::io::Error>;

/// What an upstream has seen.
pub(super) type Seen = Arc<Mutex<Vec<String>>>;

pub(super) struct World {
    pub(super) logged: Logged,
    pub(super) context: Arc<crate::egress::Context>,
    pub(super) seen: Seen,
    pub(super) placeholder: String,
    close: watch::Sender<bool>,
    trusted: Arc<ClientConfig>,
    directory: PathBuf,
}

impl Drop for World {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.directory));
    }
}

/// Rules of most tests; `PLAIN` and `TLS` are the upstream's addresses.
pub(super) const RULES: &str = r#"
[[grant.net]]
host = "api.test"
ports = [443]
methods = ["GET", "POST", "HEAD"]
paths = ["/v1/**"]
secret = "key"
resolve = ["TLS"]
trust = "ca.pem"
reason = "r"
[[grant.net]]
host = "plain.test"
ports = [80]
methods = ["GET", "POST"]
paths = ["/v1/**"]
resolve = ["PLAIN"]
reason = "r"
[[grant.net]]
host = "bare.test"
ports = [443, 8443]
methods = ["GET", "POST"]
resolve = ["TLS"]
trust = "ca.pem"
reason = "r"
[[grant.net]]
host = "whole.test"
ports = [443, 8443]
resolve = ["TLS"]
trust = "ca.pem"
reason = "r"
[[grant.net]]
host = "whole.test"
ports = [80, 2222]
resolve = ["PLAIN"]
reason = "r"
[[secret]]
name = "key"
env = "KEY"
place = { header = "authorization", format = "Bearer {}" }
hosts = ["api.test"]
reason = "r"
"#;

impl World {
    pub(super) async fn new() -> Self {
        Self::with(RULES).await
    }

    pub(super) async fn with(rules: &str) -> Self {
        let seen = Seen::default();
        let (ca, tls) = authority_outside();
        let sealed = upstream(Some(tls), Arc::clone(&seen)).await;
        let plain = upstream(None, Arc::clone(&seen)).await;
        Self::before(&rules.replace("TLS", &sealed.to_string()).replace("PLAIN", &plain.to_string()), ca, seen)
    }

    /// An outlet before upstreams that are there.
    pub(super) fn before(rules: &str, ca: Vec<u8>, seen: Seen) -> Self {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let directory = std::env::temp_dir().join(format!(
            "stockade-outlet-{}-{}",
            std::process::id(),
            NUMBER.fetch_add(1, Ordering::Relaxed)
        ));
        std::fs::create_dir_all(&directory).unwrap();
        let profile = profile(rules);
        let machine = Machine::system();
        let uid = rustix::process::geteuid().as_raw();
        let store = Arc::new(Store::open(&directory, uid, None, &machine).unwrap());
        store.set(&SecretName::parse("key").unwrap(), Deposit::Value(Plain::new(SECRET.into()).unwrap())).unwrap();
        let carrier = &|| Err(crate::error::Error::bug("nobody reads from a server here"));
        let around = Surroundings { variable: &|_| None, credentials: None, descriptor: &|_| None, uid, carrier };
        let vault = Vault::load(profile.secrets(), &Sources { store: &store, around }, &machine).unwrap();
        let placeholder = vault.environment().first().map(|(_, text)| text.clone()).unwrap_or_default();
        let patterns: Vec<HostPattern> = profile.net_grants().map(|(net, _)| net.allowed.host.clone()).collect();
        let authority =
            Authority::new(&patterns, SystemTime::UNIX_EPOCH + Duration::from_nanos(machine.clock.wall_ns())).unwrap();
        let trusted = trusting(&[authority.certificate_pem().as_bytes(), &ca]);
        let trust = profile.net_grants().filter(|(net, _)| net.trust.is_some());
        let trust: BTreeMap<_, _> = trust.map(|(_, rule)| (rule.clone(), ca.clone())).collect();
        let logged = Logged::new();
        let mut outline = Outline::of(&profile).unwrap().unwrap();
        outline.sockets.clear();
        let settings = Settings {
            profile,
            outline,
            sockets: Vec::new(),
            account: logged.account(),
            vault: Arc::new(vault),
            authority,
            dialer: dial::Settings {
                servers: dial::Servers::These(Vec::new()),
                proxies: dial::Proxies::parse(None, None, None).unwrap(),
                tls: trusting(&[]),
                connect_timeout: Duration::from_secs(5),
            },
            trust,
            drops: Box::new(|_| Ok(0)),
        };
        let (close, closing) = watch::channel(false);
        let Running { context, .. } = Running::new(settings, closing).unwrap();
        Self { logged, context, seen, placeholder, close, trusted, directory }
    }

    /// A connection from inside to a host as its name is resolved there.
    pub(super) async fn connect(&self, host: &str, port: u16) -> TcpStream {
        let host = Host::parse(host).unwrap();
        let address = match &host {
            Host::Address(address) => *address,
            Host::Name(_) => self.context.names.address_of(&host).expect("the name is granted").0.into(),
        };
        self.arrive(SocketAddr::new(address, port)).await
    }

    /// A connection to the proxy.
    pub(super) async fn proxy(&self) -> TcpStream {
        self.arrive((crate::egress::names::PROXY_V4, crate::egress::names::PROXY_PORT).into()).await
    }

    /// A stream for a tool's requests, and what is there as long as it is wanted.
    pub(super) async fn tool(&self) -> (UnixStream, ToolStream) {
        self.for_tool(Carries::Requests).await
    }

    /// A socket of a tool's, before it has said where it wants to go.
    pub(super) async fn socket(&self) -> (UnixStream, ToolStream) {
        self.for_tool(Carries::Socket).await
    }

    async fn for_tool(&self, carries: Carries) -> (UnixStream, ToolStream) {
        let (streams, mut asked) = Streams::new();
        let (stream, end) = streams.open(carries, CallId::new("tc_1").unwrap()).unwrap();
        tool::serve(&self.context, asked.recv().await.unwrap()).unwrap();
        let end = std::os::unix::net::UnixStream::from(end);
        end.set_nonblocking(true).unwrap();
        (UnixStream::from_std(end).unwrap(), stream)
    }

    async fn arrive(&self, local: SocketAddr) -> TcpStream {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (stream, _) = listener.accept().await.unwrap();
        let context = Arc::clone(&self.context);
        self.context.tasks.spawn(async move {
            let _slot = context.rates.connection().unwrap();
            front::arrive(Arc::clone(&context), front::Client::Left(stream), local).await.unwrap();
        });
        client
    }

    /// TLS as a client would do it, whose server name is `name`.
    pub(super) async fn tls(
        &self,
        stream: TcpStream,
        name: &str,
        alpn: &[&str],
    ) -> std::io::Result<TlsStream<TcpStream>> {
        let mut config = (*self.trusted).clone();
        config.alpn_protocols = alpn.iter().map(|one| one.as_bytes().to_vec()).collect();
        TlsConnector::from(Arc::new(config)).connect(ServerName::try_from(name.to_owned()).unwrap(), stream).await
    }

    /// One request of HTTP/1 to `api.test`, over TLS.
    pub(super) async fn api(&self, request: Request<Body>) -> Response<Incoming> {
        let stream = self.tls(self.connect("api.test", 443).await, "api.test", &["http/1.1"]).await.unwrap();
        one(stream, request).await.unwrap()
    }

    /// Ends all that is open, and gives the whole log.
    pub(super) async fn log(&self) -> String {
        self.close.send_replace(true);
        self.context.tasks.drain(Duration::from_secs(2), Duration::from_secs(2)).await;
        self.logged.text()
    }

    pub(super) fn seen(&self) -> Vec<String> {
        self.seen.lock().unwrap().clone()
    }
}

fn trusting(pems: &[&[u8]]) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    for pem in pems {
        for one in CertificateDer::pem_slice_iter(pem) {
            roots.add(one.unwrap()).unwrap();
        }
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    Arc::new(config.with_root_certificates(roots).with_no_client_auth())
}

/// The authority of the outside, and a server under it for all names of the tests but `stranger.test`.
pub(super) fn authority_outside() -> (Vec<u8>, Arc<ServerConfig>) {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let ca = params.self_signed(&key).unwrap();
    let issuer = Issuer::new(params, key);
    let leaf_key = KeyPair::generate().unwrap();
    let names: Vec<String> = ["api.test", "bare.test", "whole.test", "plain.test"].map(str::to_owned).into();
    let leaf = CertificateParams::new(names).unwrap().signed_by(&leaf_key, &issuer).unwrap();
    let key = PrivateKeyDer::try_from(leaf_key.serialize_der()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let mut config = config.with_no_client_auth().with_single_cert(vec![leaf.der().clone()], key).unwrap();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    (ca.pem().into_bytes(), Arc::new(config))
}

async fn upstream(tls: Option<Arc<ServerConfig>>, seen: Seen) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let (seen, tls) = (Arc::clone(&seen), tls.clone());
            tokio::spawn(async move {
                match tls {
                    None => serve(stream, false, seen).await,
                    Some(tls) => {
                        let Ok(stream) = TlsAcceptor::from(tls).accept(stream).await else { return };
                        let two = stream.get_ref().1.alpn_protocol() == Some(b"h2");
                        serve(stream, two, seen).await;
                    }
                }
            });
        }
    });
    address
}

async fn serve<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(stream: S, two: bool, seen: Seen) {
    let service = service_fn(move |request| {
        let seen = Arc::clone(&seen);
        async move { Ok::<_, Infallible>(act(request, seen).await) }
    });
    if two {
        let builder = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
        drop(builder.serve_connection(TokioIo::new(stream), service).await);
    } else {
        let builder = hyper::server::conn::http1::Builder::new();
        drop(builder.serve_connection(TokioIo::new(stream), service).with_upgrades().await);
    }
}

pub(super) fn text(text: impl Into<Bytes>) -> Body {
    Full::new(text.into()).map_err(|never| match never {}).boxed()
}

pub(super) fn empty() -> Body {
    text("")
}

/// A body of these frames, a little apart.
pub(super) fn frames(frames: Vec<std::io::Result<Frame<Bytes>>>, apart: Duration) -> Body {
    let (sender, receiver) = tokio::sync::mpsc::channel(1);
    tokio::spawn(async move {
        for frame in frames {
            tokio::time::sleep(apart).await;
            if sender.send(frame).await.is_err() {
                break;
            }
        }
    });
    Received(receiver).boxed()
}

struct Received(tokio::sync::mpsc::Receiver<std::io::Result<Frame<Bytes>>>);

impl hyper::body::Body for Received {
    type Data = Bytes;
    type Error = std::io::Error;
    fn poll_frame(
        mut self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<std::io::Result<Frame<Bytes>>>> {
        self.0.poll_recv(cx)
    }
}

/// Does as the path says.
async fn act(request: Request<Incoming>, seen: Seen) -> Response<Body> {
    let line = format!("{} {} {:?} {:?}", request.method(), request.uri(), request.version(), request.headers());
    seen.lock().unwrap().push(line);
    let header = |name: &str, headers: &HeaderMap| {
        headers.get(name).map(|value| value.to_str().unwrap().to_owned()).unwrap_or_default()
    };
    let secret = header("authorization", request.headers());
    match request.uri().path() {
        "/v1/echo" => {
            let told = format!("{:?}", request.headers());
            let mut response = Response::new(text(told));
            response.headers_mut().insert("x-echo", secret.parse().unwrap());
            response.headers_mut().insert("alt-svc", "h3=\":443\"".parse().unwrap());
            response
        }
        "/v1/body" => {
            let whole = request.into_body().collect().await.map(|all| all.to_bytes()).unwrap_or_default();
            Response::new(text(format!("{} bytes", whole.len())))
        }
        "/v1/split" => {
            let bytes = format!("before {secret} after").into_bytes();
            let pieces = bytes.chunks(1).map(|one| Ok(Frame::data(Bytes::copy_from_slice(one))));
            Response::new(frames(pieces.collect(), Duration::ZERO))
        }
        "/v1/gzip" => {
            use std::io::Write as _;
            let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            packed.write_all(format!("before {secret} after").as_bytes()).unwrap();
            let mut response = Response::new(text(packed.finish().unwrap()));
            response.headers_mut().insert("content-encoding", "gzip".parse().unwrap());
            response
        }
        "/v1/unknown-encoding" => {
            let mut response = Response::new(text(secret));
            response.headers_mut().insert("content-encoding", "rot13".parse().unwrap());
            response
        }
        "/v1/sse" => {
            let events = (0..3).map(|n| Ok(Frame::data(Bytes::from(format!("data: {n}\n\n")))));
            Response::new(frames(events.collect(), Duration::from_millis(150)))
        }
        "/v1/trailers" => {
            let mut trailers = HeaderMap::new();
            trailers.insert("grpc-status", "0".parse().unwrap());
            trailers.insert("grpc-message", secret.parse().unwrap());
            trailers.insert("content-length", "1".parse().unwrap());
            let parts = vec![Ok(Frame::data(Bytes::from_static(b"data"))), Ok(Frame::trailers(trailers))];
            let mut response = Response::new(frames(parts, Duration::ZERO));
            response.headers_mut().insert("trailer", "grpc-status, grpc-message".parse().unwrap());
            response
        }
        "/v1/die" => {
            let parts = vec![Ok(Frame::data(Bytes::from_static(b"half"))), Err(std::io::Error::other("it dies"))];
            Response::new(frames(parts, Duration::from_millis(20)))
        }
        "/v1/redirect" => {
            let mut response = Response::new(empty());
            *response.status_mut() = StatusCode::FOUND;
            response.headers_mut().insert("location", "https://evil.test/".parse().unwrap());
            response
        }
        "/v1/big" => {
            let bytes = request.uri().query().and_then(|query| query.parse::<u64>().ok()).unwrap_or(0);
            Response::new(Zeros { left: bytes }.boxed())
        }
        "/v1/ws" => websocket(request, secret, seen),
        _ => Response::new(text("hello")),
    }
}

/// Sends a text frame with the secret first, then notes whatever comes, as it came.
fn websocket(mut request: Request<Incoming>, secret: String, seen: Seen) -> Response<Body> {
    tokio::spawn(async move {
        let upgraded = hyper::upgrade::on(&mut request).await.unwrap();
        let mut stream = TokioIo::new(upgraded);
        let mut buffer = BytesMut::new();
        let mut hello = vec![0x81, u8::try_from(secret.len()).unwrap()];
        hello.extend(secret.as_bytes());
        stream.write_all(&hello).await.unwrap();
        while stream.read_buf(&mut buffer).await.unwrap_or(0) > 0 {
            seen.lock().unwrap().push(format!("frame {:?}", &buffer.split()[..]));
        }
    });
    let mut response = Response::new(empty());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    response.headers_mut().insert("upgrade", "websocket".parse().unwrap());
    response.headers_mut().insert("connection", "upgrade".parse().unwrap());
    response
}

/// So many zeros, without having them.
struct Zeros {
    left: u64,
}

impl hyper::body::Body for Zeros {
    type Data = Bytes;
    type Error = std::io::Error;
    fn poll_frame(
        mut self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<std::io::Result<Frame<Bytes>>>> {
        static PIECE: [u8; 64 * 1024] = [0; 64 * 1024];
        let some = self.left.min(PIECE.len() as u64);
        self.left -= some;
        let piece = Bytes::from_static(&PIECE[..usize::try_from(some).unwrap()]);
        std::task::Poll::Ready((some > 0).then(|| Ok(Frame::data(piece))))
    }
    fn size_hint(&self) -> hyper::body::SizeHint {
        hyper::body::SizeHint::with_exact(self.left)
    }
}

/// One request on a connection of HTTP/1.
pub(super) async fn one<S>(stream: S, request: Request<Body>) -> hyper::Result<Response<Incoming>>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection.with_upgrades());
    sender.send_request(request).await
}

/// A connection of HTTP/2.
pub(super) async fn two<S>(stream: S) -> hyper::client::conn::http2::SendRequest<Body>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let builder = hyper::client::conn::http2::Builder::new(TokioExecutor::new());
    let (sender, connection) = builder.handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    sender
}

/// A GET to `api.test`.
pub(super) fn get(path: &str) -> http::request::Builder {
    Request::builder().uri(path).header("host", "api.test")
}

/// Status and whole body.
pub(super) async fn read(response: Response<Incoming>) -> (u16, String) {
    let status = response.status().as_u16();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    (status, String::from_utf8_lossy(&body).into_owned())
}

/// Writes all of it and reads to the end, or until nothing has come for a while.
pub(super) async fn raw<S: AsyncRead + AsyncWrite + Unpin>(mut stream: S, bytes: &[u8]) -> String {
    drop(stream.write_all(bytes).await);
    let mut all = Vec::new();
    while let Ok(Ok(some)) = tokio::time::timeout(Duration::from_secs(2), stream.read_buf(&mut all)).await {
        if some == 0 {
            break;
        }
    }
    String::from_utf8_lossy(&all).into_owned()
}

/// From here on, time passes where nobody has anything to do. It must not before: whoever waits for the disk has nothing
/// to do either, and would find its limits passed.
pub(super) async fn settled_and_paused() {
    tokio::time::sleep(Duration::from_millis(100)).await;
    tokio::time::pause();
}
