//! HTTP from inside: each request judged, logged, armed and sent; each reply scrubbed.
//! It never follows a redirect.

mod company;
mod forwarded;
mod frames;
pub mod framing;
mod interim;
mod issued;
mod meter;
mod outgoing;
mod pace;
mod reply;
mod request;
mod signed;
mod token;
mod upstream;
mod walk;
mod websocket;
mod wire;

pub(super) use forwarded::{Sender, forward};

use super::Context;
use super::canonical::{Channel, Destination};
use super::refuse::{Told, Words};
use super::tasks::Executor;
use super::tunnel::Counts;
use crate::error::Error;
use crate::journal::{Connection, Total, Wanted};
use framing::Flaw;
use http::header::{CONNECTION, HeaderValue};
use http::{Response, StatusCode};
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use meter::{Meter, Peer};
use reply::Reply;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use upstream::Pool;
use wire::{Notes, Wire};

/// Longest head of a request, bytes.
const HEAD_BYTES_MAX: usize = 64 * 1024;
/// Fields of a head: hyper's own number, see [`one`]; the canonical form counts again, for HTTP/2.
const FIELDS_MAX: usize = 100;
/// Streams of one HTTP/2 connection at a time.
const STREAMS_MAX: u32 = 128;
/// Streams that a client has reset and that are still worked on (CVE-2023-44487).
const RESETS_MAX: usize = 32;
/// Streams that were reset because of what a client did wrong (CVE-2025-8671).
const FAULTS_MAX: usize = 64;
/// Bytes of one stream, and of one connection, that may be on their way without being read: from inside, where the way is
/// short, and from outside.
const STREAM_WINDOW_BYTES: u32 = 256 * 1024;
const CONNECTION_WINDOW_BYTES: u32 = 512 * 1024;
const UPSTREAM_STREAM_WINDOW_BYTES: u32 = 512 * 1024;
const UPSTREAM_CONNECTION_WINDOW_BYTES: u32 = 1024 * 1024;
/// Between two questions whether an HTTP/2 client is still there, and time for its answer.
const PING: Duration = Duration::from_secs(60);
const PONG: Duration = Duration::from_secs(20);
/// How long an HTTP/2 connection is kept on which nobody asks for anything.
const REST: Duration = Duration::from_secs(300);
/// Between two looks whether anything has moved.
const LOOK: Duration = Duration::from_secs(30);
/// Time for the last words of a connection that is ended.
const LAST: Duration = Duration::from_secs(5);

const _: () = assert!(STREAM_WINDOW_BYTES <= CONNECTION_WINDOW_BYTES && PONG.as_secs() < PING.as_secs());
const _: () = assert!(UPSTREAM_STREAM_WINDOW_BYTES <= UPSTREAM_CONNECTION_WINDOW_BYTES);
const _: () = assert!(LAST.as_secs() < LOOK.as_secs() && LOOK.as_secs() < REST.as_secs());
const _: () = assert!(REST.as_secs() < pace::SILENCE.as_secs());

/// Results here, most of them with our own error.
type Result<T, E = Error> = std::result::Result<T, E>;

/// How requests come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Carried {
    /// HTTP/1.
    One,
    /// HTTP/2.
    Two,
}

/// A connection from inside to one destination.
pub(super) struct Inside {
    context: Arc<Context>,
    to: Destination,
    /// Connections to the outside that belong to this one and to no other.
    pool: Pool,
    open: Arc<Open>,
}

/// The part of a connection that is in the log: its last record is written when the last that uses it is gone.
struct Open {
    context: Arc<Context>,
    /// Empty only while it is dropped.
    connection: Option<Connection>,
    counts: Counts,
    address: OnceLock<SocketAddr>,
    fault: Mutex<Option<String>>,
}

impl Drop for Open {
    fn drop(&mut self) {
        let Some(connection) = self.connection.take() else { return };
        let total = Total {
            up_bytes: self.counts.up_bytes.load(Ordering::Relaxed),
            down_bytes: self.counts.down_bytes.load(Ordering::Relaxed),
            addr: self.address.get().map(ToString::to_string),
            fault: self.fault.lock().unwrap_or_else(PoisonError::into_inner).take(),
        };
        // Where it cannot be written, the log has ended, and with it the session.
        drop(self.context.account.close(connection, total));
    }
}

impl Inside {
    pub(super) fn new(context: Arc<Context>, connection: Connection, to: Destination) -> Arc<Self> {
        let open = Open {
            context: Arc::clone(&context),
            connection: Some(connection),
            counts: Counts::default(),
            address: OnceLock::new(),
            fault: Mutex::default(),
        };
        Arc::new(Self { context, to, pool: Pool::default(), open: Arc::new(open) })
    }

    /// The same connection, now that it is known what it goes over.
    pub(super) fn under(&self, to: Destination) -> Arc<Self> {
        let (context, open) = (Arc::clone(&self.context), Arc::clone(&self.open));
        Arc::new(Self { context, to, pool: Pool::default(), open })
    }

    pub(super) fn counts(&self) -> &Counts {
        &self.open.counts
    }

    /// Notes which address answered; the first one stays.
    pub(super) fn reached(&self, address: SocketAddr) {
        self.open.address.get_or_init(|| address);
    }

    /// It ended because of this.
    pub(super) fn broken(&self, why: &str) -> Result<()> {
        self.open.fault.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert_with(|| why.to_owned());
        Ok(())
    }

    /// Something on it was refused by no rule.
    pub(super) fn refused(&self, wanted: Wanted, by: &str, why: &str) -> Result<()> {
        self.context.account.refused(self.open.connection.as_ref(), wanted, by, why)
    }

    fn connection(&self) -> Result<&Connection> {
        self.open.connection.as_ref().ok_or_else(|| Error::bug("a connection is used after its end"))
    }

    fn wanted(&self) -> Wanted {
        Wanted { host: self.to.host.to_string(), port: Some(self.to.port), ..Wanted::default() }
    }
}

/// Serves all requests of a connection.
pub(super) async fn serve<S>(inside: Arc<Inside>, stream: S, carried: Carried) -> Result<()>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let context = Arc::clone(&inside.context);
    let notes = Arc::<Notes>::default();
    let (of_requests, noted) = (Arc::clone(&inside), Arc::clone(&notes));
    let service = service_fn(move |request| {
        let (inside, notes) = (Arc::clone(&of_requests), Arc::clone(&noted));
        let flaw = notes.next();
        async move {
            Ok::<_, Infallible>(match flaw {
                None => answered(request::answer(inside, request).await, &notes),
                Some(flaw) => {
                    // A log that takes no more records has said so to all who wait for it.
                    drop(inside.refused(inside.wanted(), flaw.by, flaw.what));
                    drop(inside.broken(flaw.what));
                    told(&flaw)
                }
            })
        }
    });
    // Each on the heap by itself: a task with room for both would be as large as the larger for as long as it is idle.
    let ended = match carried {
        Carried::One => {
            let stream = Wire::new(stream, notes);
            let mut serving = Box::pin(one().serve_connection(TokioIo::new(stream), service).with_upgrades());
            tokio::select! {
                ended = &mut serving => ended,
                () = context.closed() => {
                    serving.as_mut().graceful_shutdown();
                    serving.await
                }
            }
        }
        Carried::Two => {
            let stream = Meter::new(stream, Peer::Client);
            let faults = stream.faults();
            let builder = two(Executor(Arc::clone(&context.tasks)));
            let mut serving = Box::pin(builder.serve_connection(TokioIo::new(stream), service));
            // Besides this function, its service has one.
            let holders = Arc::strong_count(&inside);
            let ended = tokio::select! {
                ended = &mut serving => ended,
                stood = stands_still(&inside, &notes, holders) => {
                    if let Still::Stuck = stood {
                        return inside.broken(&format!("nothing moved for {} s", pace::SILENCE.as_secs()));
                    }
                    serving.as_mut().graceful_shutdown();
                    // Whoever does not say goodbye is not waited for.
                    tokio::time::timeout(LAST, serving).await.unwrap_or(Ok(()))
                }
                () = context.closed() => {
                    serving.as_mut().graceful_shutdown();
                    serving.await
                }
            };
            let faults = faults.load(Ordering::Relaxed);
            if faults > 0 {
                let why = format!("{faults} streams of http/2 that are no requests");
                inside.refused(inside.wanted(), "malformed", &why)?;
            }
            ended
        }
    };
    match ended {
        Ok(()) => Ok(()),
        Err(error) => ended_by(&inside, &error),
    }
}

/// Why a connection of HTTP/2 is to be ended.
enum Still {
    /// Nobody asks for anything.
    Idle,
    /// There are requests, and nothing of them moves.
    Stuck,
}

/// Waits until a connection has stood still for too long. Each request on its way holds it once more than `holders`.
async fn stands_still(inside: &Arc<Inside>, notes: &Notes, holders: usize) -> Still {
    let counts = inside.counts();
    let (mut seen, mut still) = (0, Duration::ZERO);
    loop {
        tokio::time::sleep(LOOK).await;
        let moved =
            [counts.up_bytes.load(Ordering::Relaxed), counts.down_bytes.load(Ordering::Relaxed), notes.served()];
        let moved = moved.iter().fold(0_u64, |sum, part| sum.wrapping_add(*part));
        still = if moved == seen { still + LOOK } else { Duration::ZERO };
        seen = moved;
        match Arc::strong_count(inside) > holders {
            true if still >= pace::SILENCE => return Still::Stuck,
            false if still >= REST => return Still::Idle,
            true | false => {}
        }
    }
}

/// An answer on its way: after this one the connection may be no HTTP any more.
fn answered(response: Response<Reply>, notes: &Notes) -> Response<Reply> {
    if response.status() == StatusCode::SWITCHING_PROTOCOLS {
        notes.upgraded();
    }
    response
}

/// The answer to what is no request.
fn told(flaw: &Flaw) -> Response<Reply> {
    let told = Told::new(flaw.status, flaw.what, "send requests as RFC 9112 writes them, without delay");
    let mut response = told.response(Words::Http).map(Reply::of);
    response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    response
}

/// Notes why hyper gave a connection up. It has answered what can be answered.
fn ended_by(inside: &Inside, error: &hyper::Error) -> Result<()> {
    let why = said(error);
    if error.is_parse() || is_misuse(&why) {
        inside.refused(inside.wanted(), "malformed", &why)?;
    }
    inside.broken(&why)
}

/// Whether it was what a peer sent over HTTP/2, and not that it went away. h2 says which by these words alone.
fn is_misuse(why: &str) -> bool {
    why.contains("error detected") || why.contains(meter::FLOOD)
}

/// An error of hyper's with its cause, in our style.
fn said(error: &hyper::Error) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(inner) = cause {
        text.push_str(": ");
        text.push_str(&inner.to_string());
        cause = inner.source();
    }
    text.split(" (os error").next().unwrap_or_default().to_lowercase()
}

/// How HTTP/1 is read. Of fields, hyper takes a hundred in each head unless it is told another number; told any number, it
/// takes room for them from the heap for each. The canonical form counts again, for HTTP/2.
fn one() -> http1::Builder {
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        // The connection under it knows whether a head has begun ([`wire`]).
        .header_read_timeout(None)
        .max_header_size(HEAD_BYTES_MAX)
        .max_buf_size(2 * HEAD_BYTES_MAX)
        .half_close(true)
        .auto_date_header(false);
    builder
}

fn two(executor: Executor) -> http2::Builder<Executor> {
    let mut builder = http2::Builder::new(executor);
    builder
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS_MAX)
        .max_pending_accept_reset_streams(RESETS_MAX)
        .max_local_error_reset_streams(FAULTS_MAX)
        .max_header_list_size(u32::try_from(HEAD_BYTES_MAX).unwrap_or(u32::MAX))
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .keep_alive_interval(PING)
        .keep_alive_timeout(PONG)
        .auto_date_header(false);
    builder
}

/// The channel as the secrets know it.
fn channel(channel: Channel) -> crate::secrets::vault::Channel {
    match channel {
        Channel::Tls => crate::secrets::vault::Channel::Tls,
        Channel::Clear => crate::secrets::vault::Channel::Clear,
    }
}
