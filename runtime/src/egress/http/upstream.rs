//! Connections to the outside: each belongs to one connection from inside, one rule and one set of secrets.
//! It never lends one to a request of another kind, and never sends a request twice that may have arrived.

use super::interim::{Asked, Heads};
use super::meter::{Meter, Peer};
use super::outgoing::{Course, Outgoing};
use super::{HEAD_BYTES_MAX, Inside, Result, company, pace, said};
use crate::egress::canonical::{Channel, Kind};
use crate::egress::dial::{Forward, Load, Route};
use crate::egress::tasks::{Executor, Unheard};
use crate::egress::tls::Alpn;
use crate::error::{Error, Fault};
use crate::journal::Use;
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper::{Request, Response, Version};
use hyper_util::rt::{TokioIo, TokioTimer};
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use stockade_policy::{NetGrant, RuleId};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::Instant;

/// Idle connections that one connection from inside keeps.
const IDLE_MAX: usize = 8;
/// How long one is kept: servers end theirs after about as long, and a request that meets that end is lost.
const IDLE: Duration = Duration::from_secs(60);
/// Time for TLS and the beginning of HTTP/2 with an upstream.
const HANDSHAKE: Duration = Duration::from_secs(15);

/// What a connection may be used for again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Purpose {
    /// The grant, which says to which addresses and under whose authority.
    rule: RuleId,
    /// The secrets that have gone over it.
    secrets: Vec<(String, u64)>,
    /// What was offered to the upstream.
    alpn: Alpn,
}

/// The idle ones, and those that many requests share.
#[derive(Default)]
pub(super) struct Pool {
    all: Mutex<Vec<(Purpose, Upstream)>>,
    /// Held while a connection is made that many may share: a hundred requests at once need one, not a hundred.
    making: tokio::sync::Mutex<Made>,
}

/// What came of making one.
#[derive(Default)]
struct Made {
    /// The upstream speaks HTTP/1 alone, so there is nothing to share.
    is_alone: bool,
    /// When and why it failed, for those who waited for it.
    failed: Option<(Instant, Error)>,
}

/// A connection to an upstream.
pub(super) struct Upstream {
    sender: Sender,
    pub(super) address: SocketAddr,
    /// Where it is a company's proxy, which sends on each request by itself.
    forward: Option<Arc<Forward>>,
    /// Whether a request has gone over it before.
    pub(super) is_used: bool,
    /// Since when it is not used.
    idle: Instant,
}

enum Sender {
    One(http1::SendRequest<Outgoing>, Asked),
    Two(http2::SendRequest<Outgoing>),
}

/// Where a connection goes back to after its reply.
pub(super) struct Back {
    inside: Arc<Inside>,
    purpose: Purpose,
    upstream: Upstream,
}

impl Back {
    /// The reply was read to its end.
    pub(super) fn give(self) {
        let Self { inside, purpose, upstream } = self;
        inside.pool.put(purpose, upstream);
    }
}

impl Pool {
    fn take(&self, purpose: &Purpose) -> Option<Upstream> {
        let mut all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|(_, upstream)| upstream.is_good());
        let at = all.iter().position(|(its, _)| its == purpose)?;
        match &all.get(at)?.1 {
            // HTTP/2 is shared, so it stays.
            Upstream { sender: Sender::Two(sender), address, .. } => Some(Upstream {
                sender: Sender::Two(sender.clone()),
                address: *address,
                is_used: true,
                idle: Instant::now(),
                forward: None,
            }),
            Upstream { sender: Sender::One(..), .. } => Some(all.swap_remove(at).1),
        }
    }

    fn put(&self, purpose: Purpose, mut upstream: Upstream) {
        let mut all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|(_, upstream)| upstream.is_good());
        (upstream.is_used, upstream.idle) = (true, Instant::now());
        if all.len() < IDLE_MAX && upstream.is_good() {
            all.push((purpose, upstream));
        }
    }
}

impl Upstream {
    /// Whether a request may still be sent on it.
    fn is_good(&self) -> bool {
        match &self.sender {
            Sender::One(sender, _) => !sender.is_closed() && self.idle.elapsed() < IDLE,
            Sender::Two(sender) => !sender.is_closed(),
        }
    }

    /// Which version requests to it have.
    pub(super) fn version(&self) -> Version {
        match self.sender {
            Sender::One(..) => Version::HTTP_11,
            Sender::Two(_) => Version::HTTP_2,
        }
    }
}

/// What a request needs of a connection.
pub(super) struct Need<'a> {
    pub(super) grant: &'a NetGrant,
    pub(super) rule: &'a RuleId,
    pub(super) uses: &'a [Use],
    pub(super) kind: Kind,
    /// How the request came: it goes on in the same way where the upstream can.
    pub(super) version: Version,
}

impl Need<'_> {
    fn purpose(&self) -> Purpose {
        let mut secrets: Vec<(String, u64)> = self.uses.iter().map(|used| (used.name.clone(), used.version)).collect();
        secrets.sort();
        let alpn = match (self.kind, self.version) {
            (Kind::Plain, Version::HTTP_2) => Alpn::TwoOrOne,
            (Kind::Plain | Kind::WebSocket, _) => Alpn::One,
        };
        Purpose { rule: self.rule.clone(), secrets, alpn }
    }
}

/// A connection that is ready, an old one or a new one, and how it is given back.
pub(super) async fn connect(inside: &Arc<Inside>, need: &Need<'_>, age: Age) -> Result<(Upstream, Purpose)> {
    let purpose = need.purpose();
    if need.kind == Kind::Plain
        && age == Age::Any
        && let Some(upstream) = old(inside, &purpose).await
    {
        return Ok((upstream, purpose));
    }
    if purpose.alpn == Alpn::One {
        return Ok((dial(inside, need, purpose.alpn).await?, purpose));
    }
    let asked = Instant::now();
    let mut made = inside.pool.making.lock().await;
    if age == Age::Any
        && let Some(upstream) = old(inside, &purpose).await
    {
        return Ok((upstream, purpose));
    }
    if let Some((_, error)) = made.failed.as_ref().filter(|(at, _)| *at > asked) {
        return Err(error.clone());
    }
    if made.is_alone {
        drop(made);
        return Ok((dial(inside, need, purpose.alpn).await?, purpose));
    }
    let upstream = match dial(inside, need, purpose.alpn).await {
        Ok(upstream) => upstream,
        Err(error) => {
            made.failed = Some((Instant::now(), error.clone()));
            return Err(error);
        }
    };
    match &upstream.sender {
        Sender::One(..) => made.is_alone = true,
        Sender::Two(sender) => {
            let shared = Upstream { sender: Sender::Two(sender.clone()), forward: None, ..upstream };
            inside.pool.put(purpose.clone(), shared);
        }
    }
    Ok((upstream, purpose))
}

/// One that was used before, and is ready.
async fn old(inside: &Inside, purpose: &Purpose) -> Option<Upstream> {
    while let Some(mut upstream) = inside.pool.take(purpose) {
        let ready = match &mut upstream.sender {
            Sender::One(sender, _) => sender.ready().await,
            Sender::Two(sender) => sender.ready().await,
        };
        if ready.is_ok() {
            return Some(upstream);
        }
    }
    None
}

/// Whether an idle connection will do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Age {
    /// Yes.
    Any,
    /// No: one was just found dead.
    New,
}

/// On the heap: every request would have room for the handshakes that few of them need.
async fn dial(inside: &Arc<Inside>, need: &Need<'_>, alpn: Alpn) -> Result<Upstream> {
    Box::pin(dialed(inside, need, alpn)).await
}

async fn dialed(inside: &Arc<Inside>, need: &Need<'_>, alpn: Alpn) -> Result<Upstream> {
    let (context, to) = (&inside.context, &inside.to);
    let load = match (to.channel, need.kind) {
        (Channel::Tls, _) => Load::Bytes,
        (Channel::Clear, Kind::Plain) => Load::Requests,
        (Channel::Clear, Kind::WebSocket) => Load::Upgrade,
    };
    let dialed = context.dialer.dial(&to.host, to.port, need.grant, load).await.map_err(|error| {
        let made = match error.fault() {
            Fault::Guest => Error::guest(error.to_string()),
            Fault::Host | Fault::Operator | Fault::Bug => Error::host(error.to_string()),
        };
        error.hint().into_iter().fold(made, Error::hint)
    })?;
    let address = dialed.address;
    let forward = match dialed.route {
        Route::Direct | Route::Company => None,
        Route::Forward(forward) => Some(Arc::new(forward)),
    };
    inside.reached(address);
    // It fails only on a socket that is gone, and then the request says so.
    drop(dialed.stream.socket().set_nodelay(true));
    let shaking = async {
        match to.channel {
            Channel::Tls => {
                let stream = context.trust.connect(Some(need.rule), &to.host, alpn, dialed.stream).await?;
                let two = stream.get_ref().1.alpn_protocol() == Some(b"h2");
                if two { begin_two(inside, stream).await } else { begin_one(inside, stream, need.kind).await }
            }
            // Proxies take HTTP/1.1, whatever came.
            Channel::Clear if forward.is_some() => begin_one(inside, dialed.stream, need.kind).await,
            Channel::Clear => match alpn {
                // There is nobody to ask: what came without TLS as HTTP/2 had prior knowledge, and so have we.
                Alpn::TwoOrOne => begin_two(inside, dialed.stream).await,
                Alpn::One => begin_one(inside, dialed.stream, need.kind).await,
            },
        }
    };
    let late =
        |_| Error::host(format!("\"{}\" does not finish its handshake within {} s", to.host, HANDSHAKE.as_secs()));
    let sender = tokio::time::timeout(HANDSHAKE, shaking).await.map_err(late)??;
    Ok(Upstream { sender, address, forward, is_used: false, idle: Instant::now() })
}

async fn begin_one<S>(inside: &Arc<Inside>, stream: S, kind: Kind) -> Result<Sender>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let mut builder = http1::Builder::new();
    let asked = Asked::default();
    let stream = Heads::new(stream, asked.clone());
    // Fields: a hundred, as from inside.
    builder.max_header_size(4 * HEAD_BYTES_MAX).max_buf_size(8 * HEAD_BYTES_MAX);
    let (sender, connection) = builder.handshake(TokioIo::new(stream)).await.map_err(|e| failed(&e))?;
    // What ends them is said to the request that is on its way; without one, nobody has lost anything.
    match kind {
        Kind::Plain => inside.context.tasks.spawn(Unheard(connection)),
        Kind::WebSocket => inside.context.tasks.spawn(Unheard(connection.with_upgrades())),
    }
    Ok(Sender::One(sender, asked))
}

async fn begin_two<S>(inside: &Arc<Inside>, stream: S) -> Result<Sender>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let tasks = &inside.context.tasks;
    let mut builder = http2::Builder::new(Executor(Arc::clone(tasks)));
    builder
        .timer(TokioTimer::new())
        .max_header_list_size(4 * u32::try_from(HEAD_BYTES_MAX).unwrap_or(u32::MAX))
        .initial_stream_window_size(super::UPSTREAM_STREAM_WINDOW_BYTES)
        .initial_connection_window_size(super::UPSTREAM_CONNECTION_WINDOW_BYTES)
        .keep_alive_interval(super::PING)
        .keep_alive_timeout(super::PONG);
    let stream = Meter::new(stream, Peer::Upstream);
    let (sender, connection) = builder.handshake(TokioIo::new(stream)).await.map_err(|e| failed(&e))?;
    tasks.spawn(Unheard(connection));
    Ok(Sender::Two(sender))
}

fn failed(error: &hyper::Error) -> Error {
    Error::host(said(error))
}

/// What came of sending.
pub(super) enum Sent {
    /// An answer begins.
    Answered(Box<(Response<Incoming>, Back)>),
    /// Nothing of it was sent: another connection may take it.
    Unsent(Box<Request<Outgoing>>),
    /// The connection ended without an answer, which says nothing about what became of it.
    Closed(String),
    /// It was lost on its way, or afterwards.
    Lost(String),
}

/// Sends a request.
pub(super) async fn send(
    inside: &Arc<Inside>,
    mut upstream: Upstream,
    purpose: Purpose,
    mut request: Request<Outgoing>,
) -> Sent {
    if let Some(forward) = &upstream.forward
        && let Err(error) = company::dress(forward, inside, &mut request)
    {
        return Sent::Lost(error.to_string());
    }
    let course = request.body().course();
    let sent = match &mut upstream.sender {
        Sender::One(sender, asked) => {
            asked.ask();
            patiently(sender.try_send_request(request), &course).await
        }
        Sender::Two(sender) => patiently(sender.try_send_request(request), &course).await,
    };
    let Some(sent) = sent else {
        return Sent::Lost(format!("the upstream does not answer for {} s", pace::SILENCE.as_secs()));
    };
    match sent {
        Ok(response) => {
            let refused = upstream.forward.as_ref().and_then(|forward| company::refusal(forward, inside, &response));
            if let Some(why) = refused {
                return Sent::Lost(why);
            }
            let back = Back { inside: Arc::clone(inside), purpose, upstream };
            Sent::Answered(Box::new((response, back)))
        }
        Err(mut error) => match error.take_message() {
            Some(mut request) => {
                company::undress(&mut request);
                Sent::Unsent(Box::new(request))
            }
            None if is_end(error.error()) => Sent::Closed(said(error.error())),
            None => Sent::Lost(said(error.error())),
        },
    }
}

/// Whether an error is the end of a connection and nothing else.
fn is_end(error: &hyper::Error) -> bool {
    let cause = std::error::Error::source(error).and_then(|cause| cause.downcast_ref::<std::io::Error>());
    let ends =
        [ErrorKind::BrokenPipe, ErrorKind::ConnectionReset, ErrorKind::ConnectionAborted, ErrorKind::UnexpectedEof];
    error.is_incomplete_message() || cause.is_some_and(|cause| ends.contains(&cause.kind()))
}

/// Waits for an answer for as long as a stream may be silent, from the last byte of the request that was sent.
async fn patiently<T>(answer: impl Future<Output = T>, course: &Course) -> Option<T> {
    let mut answer = pin!(answer);
    let mut seen = 0;
    loop {
        if let Ok(answer) = tokio::time::timeout(pace::SILENCE, &mut answer).await {
            return Some(answer);
        }
        let sent = course.up_bytes.load(Ordering::Relaxed);
        if sent == seen {
            return None;
        }
        seen = sent;
    }
}
