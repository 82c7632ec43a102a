//! One request to an engine: a connection over its unix socket, a limit of time, and a limit of what is read.
//! It never keeps a connection, and knows no meaning of what is asked.

use super::trouble::{TooLong, Trouble, bounded};
use bollard::{BollardRequest, ClientVersion, Docker};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::{Method, Request, Response};
use hyper_util::rt::TokioIo;
use std::future::Future;
use std::io;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::UnixStream;
use tokio::task::JoinSet;

/// Longest answer that is held whole, bytes: a list of thousands of containers.
const ANSWER_BYTES_MAX: u64 = 32 * 1024 * 1024;
/// Most that is read of an answer that comes in pieces, bytes: what a long build says.
const STREAM_BYTES_MAX: u64 = 256 * 1024 * 1024;
const _: () = assert!(ANSWER_BYTES_MAX < STREAM_BYTES_MAX);

/// How long one request may take, and how much may be read.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    time: Duration,
    bytes_max: u64,
}

impl Limits {
    /// For an answer that is held whole.
    pub(super) const fn answer(seconds: u64) -> Self {
        Self { time: Duration::from_secs(seconds), bytes_max: ANSWER_BYTES_MAX }
    }

    /// For one that comes in pieces.
    pub(super) const fn stream(seconds: u64) -> Self {
        Self { time: Duration::from_secs(seconds), bytes_max: STREAM_BYTES_MAX }
    }
}

/// The way to an engine.
#[derive(Debug, Clone)]
pub(super) struct Wire {
    socket: PathBuf,
    version: ClientVersion,
}

impl Wire {
    /// The way to the engine at a socket, in a version of its interface.
    pub(super) fn new(socket: &Path, version: ClientVersion) -> Self {
        Self { socket: socket.to_owned(), version }
    }

    /// The socket.
    pub(super) fn socket(&self) -> &Path {
        &self.socket
    }

    /// Where Docker's interface begins in an address, in the version that is spoken.
    pub(super) fn api(&self) -> String {
        format!("/v{}.{}", self.version.major_version, self.version.minor_version)
    }

    /// Asks. A thread of its own waits for the answer, so that this can be called anywhere, also below another runtime; the
    /// runtime of the request and its connections end with it.
    pub(super) fn ask<T, F>(&self, limits: Limits, make: impl FnOnce(Line) -> F + Send) -> Result<T, Trouble>
    where
        T: Send,
        F: Future<Output = Result<T, Trouble>>,
    {
        let ours = |error: io::Error| Trouble::Ours(format!("start a request: {}", crate::error::plain(&error)));
        std::thread::scope(|scope| {
            let asking = std::thread::Builder::new().name("engine".to_owned()).spawn_scoped(scope, || {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(ours)?;
                let line = Line::new(self, limits);
                let connections = Arc::clone(&line.connections);
                let answer = runtime.block_on(async {
                    tokio::time::timeout(limits.time, make(line)).await.unwrap_or(Err(Trouble::Slow(limits.time)))
                });
                connections.lock().unwrap_or_else(PoisonError::into_inner).abort_all();
                answer
            });
            let panicked = || Trouble::Ours("the thread of a request panicked".to_owned());
            asking.map_err(ours)?.join().unwrap_or_else(|_| Err(panicked()))
        })
    }
}

/// The connections of one request; what drives each has its owner here.
type Connections = Arc<Mutex<JoinSet<()>>>;

/// What a request is made with.
#[derive(Debug)]
pub(super) struct Line {
    socket: PathBuf,
    version: ClientVersion,
    limits: Limits,
    connections: Connections,
}

impl Line {
    fn new(wire: &Wire, limits: Limits) -> Self {
        let connections = Connections::default();
        Self { socket: wire.socket.clone(), version: wire.version, limits, connections }
    }

    /// A client of Docker's interface, which Podman speaks too.
    pub(super) fn docker(&self) -> Result<Docker, Trouble> {
        let (socket, connections, bytes_max) =
            (self.socket.clone(), Arc::clone(&self.connections), self.limits.bytes_max);
        let transport = move |request: BollardRequest| {
            let (socket, connections) = (socket.clone(), Arc::clone(&connections));
            async move { Ok(send(&socket, &connections, bytes_max, request).await?) }
        };
        // Its own limit is never the first: `ask` has the one that counts.
        let seconds = self.limits.time.as_secs().saturating_add(1);
        Ok(Docker::connect_with_custom_transport(transport, Some("http://engine"), seconds, &self.version)?)
    }

    /// A request that the client does not know: JSON in, JSON out.
    pub(super) async fn exchange(&self, method: Method, path: &str, body: Option<String>) -> Result<Bytes, Trouble> {
        let odd = |error: http::Error| Trouble::Odd(error.to_string());
        let request = Request::builder().method(method).uri(path);
        let request = match body {
            Some(body) => request.header(http::header::CONTENT_TYPE, "application/json").body(Full::new(body.into())),
            None => request.body(Full::default()),
        };
        let response = send(&self.socket, &self.connections, self.limits.bytes_max, request.map_err(odd)?).await?;
        let status = response.status();
        let body = response.into_body().collect().await?.to_bytes();
        if status.is_success() { Ok(body) } else { Err(refusal(status.as_u16(), &body)) }
    }
}

/// What an engine says when it refuses: JSON with a message, of which Podman has a cause beside it.
fn refusal(status: u16, body: &[u8]) -> Trouble {
    #[derive(serde::Deserialize)]
    struct Said {
        message: String,
    }
    let said = serde_json::from_slice::<Said>(body).map(|said| said.message);
    let said = said.unwrap_or_else(|_| String::from_utf8_lossy(body).into_owned());
    Trouble::Refused { status, said: bounded(&said) }
}

/// Why a request did not get its head of an answer.
enum Unsent {
    Io(io::Error),
    Hyper(hyper::Error),
}

impl From<Unsent> for bollard::errors::Error {
    fn from(unsent: Unsent) -> Self {
        match unsent {
            Unsent::Io(err) => Self::IOError { err },
            Unsent::Hyper(err) => Self::HyperResponseError { err },
        }
    }
}

impl From<Unsent> for Trouble {
    fn from(unsent: Unsent) -> Self {
        match unsent {
            Unsent::Io(error) => error.into(),
            Unsent::Hyper(error) => error.into(),
        }
    }
}

async fn send<B>(
    socket: &Path,
    connections: &Connections,
    bytes_max: u64,
    request: Request<B>,
) -> Result<Response<Incoming>, Unsent>
where
    B: hyper::body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let stream = UnixStream::connect(socket).await.map_err(Unsent::Io)?;
    let stream = Bounded { inner: stream, left: bytes_max, bytes_max };
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(Unsent::Hyper)?;
    connections.lock().unwrap_or_else(PoisonError::into_inner).spawn(async move {
        // Its error is the request's as well, which tells it.
        drop(connection.await);
    });
    sender.send_request(local(request)).await.map_err(Unsent::Hyper)
}

/// The request as a server of a socket wants it: a path, and a host that means nothing.
fn local<B>(mut request: Request<B>) -> Request<B> {
    if let Some(path) = request.uri().path_and_query().cloned() {
        *request.uri_mut() = path.into();
    }
    request.headers_mut().insert(http::header::HOST, http::HeaderValue::from_static("engine"));
    request
}

/// A stream of which no more than so many bytes are read.
struct Bounded {
    inner: UnixStream,
    left: u64,
    bytes_max: u64,
}

impl AsyncRead for Bounded {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.left == 0 {
            return Poll::Ready(Err(io::Error::other(TooLong { bytes_max: self.bytes_max })));
        }
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.inner).poll_read(cx, buffer);
        let count = buffer.filled().len().saturating_sub(before);
        self.left = self.left.saturating_sub(count as u64);
        read
    }
}

impl AsyncWrite for Bounded {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}
