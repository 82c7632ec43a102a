//! Connections to the outside: each belongs to one connection from inside, one rule and one set of secrets.
//! It never lends one to a request of another kind, and never sends a request twice that may have arrived.

use super::outgoing::Outgoing;
use super::{HEAD_BYTES_MAX, Inside, Result, company, said};
use crate::egress::canonical::{Channel, Kind};
use crate::egress::dial::{Forward, Load, Route};
use crate::egress::tasks::Executor;
use crate::egress::tls::Alpn;
use crate::error::{Error, Fault};
use crate::journal::Use;
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper::{Request, Response, Version};
use hyper_util::rt::{TokioIo, TokioTimer};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use stockade_policy::{NetGrant, RuleId};
use tokio::io::{AsyncRead, AsyncWrite};

/// Idle connections that one connection from inside keeps.
const IDLE_MAX: usize = 8;
/// Time for TLS and the beginning of HTTP/2 with an upstream.
const HANDSHAKE: Duration = Duration::from_secs(15);
/// Fields of a reply.
const REPLY_FIELDS_MAX: usize = 256;

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
pub(super) struct Pool(Mutex<Vec<(Purpose, Upstream)>>);

/// A connection to an upstream.
pub(super) struct Upstream {
    sender: Sender,
    pub(super) address: SocketAddr,
    /// Where it is a company's proxy, which sends on each request by itself.
    forward: Option<Arc<Forward>>,
}

enum Sender {
    One(http1::SendRequest<Outgoing>),
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
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|(_, upstream)| !upstream.is_closed());
        let at = all.iter().position(|(its, _)| its == purpose)?;
        match &all.get(at)?.1 {
            // HTTP/2 is shared, so it stays.
            Upstream { sender: Sender::Two(sender), address, .. } => {
                Some(Upstream { sender: Sender::Two(sender.clone()), address: *address, forward: None })
            }
            Upstream { sender: Sender::One(_), .. } => Some(all.swap_remove(at).1),
        }
    }

    fn put(&self, purpose: Purpose, upstream: Upstream) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|(_, upstream)| !upstream.is_closed());
        if all.len() < IDLE_MAX && !upstream.is_closed() {
            all.push((purpose, upstream));
        }
    }
}

impl Upstream {
    fn is_closed(&self) -> bool {
        match &self.sender {
            Sender::One(sender) => sender.is_closed(),
            Sender::Two(sender) => sender.is_closed(),
        }
    }

    /// Which version requests to it have.
    pub(super) fn version(&self) -> Version {
        match self.sender {
            Sender::One(_) => Version::HTTP_11,
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
    if need.kind == Kind::Plain && age == Age::Any {
        while let Some(mut upstream) = inside.pool.take(&purpose) {
            let ready = match &mut upstream.sender {
                Sender::One(sender) => sender.ready().await,
                Sender::Two(sender) => sender.ready().await,
            };
            if ready.is_ok() {
                return Ok((upstream, purpose));
            }
        }
    }
    let upstream = dial(inside, need, purpose.alpn).await?;
    if let Sender::Two(sender) = &upstream.sender {
        let shared = Upstream { sender: Sender::Two(sender.clone()), address: upstream.address, forward: None };
        inside.pool.put(purpose.clone(), shared);
    }
    Ok((upstream, purpose))
}

/// Whether an idle connection will do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Age {
    /// Yes.
    Any,
    /// No: one was just found dead.
    New,
}

async fn dial(inside: &Arc<Inside>, need: &Need<'_>, alpn: Alpn) -> Result<Upstream> {
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
    Ok(Upstream { sender, address, forward })
}

async fn begin_one<S>(inside: &Arc<Inside>, stream: S, kind: Kind) -> Result<Sender>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let mut builder = http1::Builder::new();
    builder.max_headers(REPLY_FIELDS_MAX).max_header_size(4 * HEAD_BYTES_MAX).max_buf_size(8 * HEAD_BYTES_MAX);
    let (sender, connection) = builder.handshake(TokioIo::new(stream)).await.map_err(|e| failed(&e))?;
    // What ends them is said to the request that is on its way; without one, nobody has lost anything.
    match kind {
        Kind::Plain => inside.context.tasks.spawn(async move { drop(connection.await) }),
        Kind::WebSocket => inside.context.tasks.spawn(async move { drop(connection.with_upgrades().await) }),
    }
    Ok(Sender::One(sender))
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
        .initial_stream_window_size(super::STREAM_WINDOW_BYTES)
        .initial_connection_window_size(super::CONNECTION_WINDOW_BYTES)
        .keep_alive_interval(super::PING)
        .keep_alive_timeout(super::PONG);
    let (sender, connection) = builder.handshake(TokioIo::new(stream)).await.map_err(|e| failed(&e))?;
    tasks.spawn(async move { drop(connection.await) });
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
    let sent = match &mut upstream.sender {
        Sender::One(sender) => sender.try_send_request(request).await,
        Sender::Two(sender) => sender.try_send_request(request).await,
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
            None => Sent::Lost(said(error.error())),
        },
    }
}
