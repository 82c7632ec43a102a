//! WebSockets: upgraded as their request was judged, then frame by frame.
//! It never passes on a frame that it could not read, where there is a secret to look for.

use super::Inside;
use super::frames::Frames;
use super::outgoing::Course;
use super::reply::{Answer, Reply, scrub_fields};
use super::request::Stop;
use crate::egress::canonical::{self, Canonical, Kind};
use crate::egress::rates::Slot;
use crate::egress::refuse::Told;
use crate::secrets::placeholder::SPELLING_BYTES_MAX;
use crate::secrets::scrub::{Patterns, Scrubber};
use crate::secrets::vault::Slots;
use crate::secrets::websocket::{ToClient, ToServer};
use bytes::{Bytes, BytesMut};
use http::header::{CONNECTION, HeaderValue, UPGRADE};
use http::{Response, StatusCode};
use hyper::body::Incoming;
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, ReadHalf, WriteHalf};

/// How long a message rests before what is held of it is looked at again.
const REST: Duration = Duration::from_secs(2);
/// Bytes that are read at a time.
const READ_BYTES_MAX: usize = 32 * 1024;

/// An upgrade that the upstream has agreed to.
pub(super) struct Begin<'a> {
    pub(super) inside: &'a Arc<Inside>,
    pub(super) read: &'a Canonical,
    pub(super) upgrade: Option<OnUpgrade>,
    pub(super) response: Response<Incoming>,
    pub(super) slots: &'a Slots,
    pub(super) answer: Answer,
    pub(super) slot: Slot,
}

/// Both ends after the upgrade.
struct Relay {
    inside: Arc<Inside>,
    answer: Answer,
    patterns: Option<Arc<Patterns>>,
    _slot: Slot,
}

/// Passes the upgrade on, and what comes after it.
pub(super) fn begin(begin: Begin<'_>) -> Result<Response<Reply>, Stop> {
    let Begin { inside, read, upgrade, mut response, slots, mut answer, slot } = begin;
    let agreed =
        response.headers().get(UPGRADE).is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"websocket"));
    let (Kind::WebSocket, Some(client), true) = (read.kind, upgrade, agreed) else {
        let why = "the upstream changes to a protocol that nobody asked for";
        answer.end(Some(why.to_owned()))?;
        return Err(Told::new(StatusCode::BAD_GATEWAY, why, "tell whoever runs the upstream").into());
    };
    let server = hyper::upgrade::on(&mut response);
    let mut headers = response.into_parts().0.headers;
    canonical::reply(&mut headers);
    let patterns = inside.context.vault.patterns(slots.uses());
    if let Some(patterns) = &patterns {
        scrub_fields(&mut headers, patterns, &answer, "header")?;
    }
    headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    let relay = Relay { inside: Arc::clone(inside), answer, patterns, _slot: slot };
    inside.context.tasks.spawn(async move {
        let context = Arc::clone(&relay.inside.context);
        tokio::select! {
            () = relay.run(client, server) => {}
            () = context.closed() => {}
        }
    });
    let mut made = Response::new(Reply::of(Bytes::new()));
    *made.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    *made.headers_mut() = headers;
    Ok(made)
}

impl Relay {
    async fn run(mut self, client: OnUpgrade, server: OnUpgrade) {
        let fault = match tokio::try_join!(client, server) {
            Ok((client, server)) => self.pass(client, server).await.err(),
            Err(error) => Some(super::said(&error)),
        };
        // A log that takes no more records has said so to all who wait for it.
        drop(self.answer.end(fault));
    }

    async fn pass(&mut self, client: Upgraded, server: Upgraded) -> Result<(), String> {
        let (from_client, to_client) = tokio::io::split(TokioIo::new(client));
        let (from_server, to_server) = tokio::io::split(TokioIo::new(server));
        let (inside, course) = (Arc::clone(&self.inside), self.answer.course());
        let closing = Closing::default();
        let up = upward(&inside, &course, &closing, from_client, to_server);
        let down = self.downward(&closing, from_server, to_client);
        tokio::try_join!(up, down).map(drop)
    }

    async fn downward(
        &mut self,
        closing: &Closing,
        mut from: ReadHalf<TokioIo<Upgraded>>,
        mut to: WriteHalf<TokioIo<Upgraded>>,
    ) -> Result<(), String> {
        let mut seen = Frames::default();
        let mut frames = self.patterns.clone().map(|patterns| ToClient::new(Scrubber::new(patterns)));
        let mut buffer = BytesMut::new();
        loop {
            buffer.reserve(READ_BYTES_MAX);
            let read = tokio::time::timeout(REST, closing.read(&mut from, &mut buffer)).await;
            let out = match (read, &mut frames) {
                (Err(_), None) => continue,
                (Err(_), Some(frames)) => frames.idle().unwrap_or_default(),
                (Ok(Err(error)), _) => return Err(crate::error::plain(&error)),
                (Ok(Ok(0)), frames) => {
                    if let Some(frames) = frames {
                        let hits = frames.take_hits();
                        self.answer.scrubbed(hits, "websocket").map_err(|e| e.to_string())?;
                        frames.finish().map_err(|fault| fault.to_string())?;
                    }
                    return closing.end(&mut to).await;
                }
                (Ok(Ok(_)), None) => buffer.split().freeze(),
                (Ok(Ok(_)), Some(frames)) => {
                    let out = frames.push(buffer.split().freeze()).map_err(|fault| fault.to_string())?;
                    self.answer.scrubbed(frames.take_hits(), "websocket").map_err(|e| e.to_string())?;
                    out
                }
            };
            self.answer.count(out.len());
            self.inside.counts().down_bytes.fetch_add(out.len() as u64, Ordering::Relaxed);
            seen.passed(&out);
            closing.note(&seen);
            closing.write(&mut to, &out).await?;
        }
    }
}

/// Whether either end has closed the WebSocket. Then its connection is over however it ends: many servers close theirs
/// at once, without the last words of TLS, and take nothing more.
#[derive(Default)]
struct Closing(AtomicBool);

impl Closing {
    fn note(&self, frames: &Frames) {
        self.0.fetch_or(frames.is_closed(), Ordering::Relaxed);
    }

    fn forgives<T: Default>(&self, done: std::io::Result<T>) -> std::io::Result<T> {
        match done {
            Err(_) if self.0.load(Ordering::Relaxed) => Ok(T::default()),
            done => done,
        }
    }

    async fn read(&self, from: &mut ReadHalf<TokioIo<Upgraded>>, buffer: &mut BytesMut) -> std::io::Result<usize> {
        self.forgives(from.read_buf(buffer).await)
    }

    async fn write(&self, to: &mut WriteHalf<TokioIo<Upgraded>>, bytes: &[u8]) -> Result<(), String> {
        self.forgives(to.write_all(bytes).await).map_err(|e| crate::error::plain(&e))
    }

    async fn end(&self, to: &mut WriteHalf<TokioIo<Upgraded>>) -> Result<(), String> {
        self.forgives(to.shutdown().await).map_err(|e| crate::error::plain(&e))
    }
}

async fn upward(
    inside: &Inside,
    course: &Course,
    closing: &Closing,
    mut from: ReadHalf<TokioIo<Upgraded>>,
    mut to: WriteHalf<TokioIo<Upgraded>>,
) -> Result<(), String> {
    let vault = &inside.context.vault;
    let find = |bytes: &[u8]| vault.find(bytes).into_iter().next().map(|found| found.secret);
    let mut frames = (!vault.is_empty()).then(|| ToServer::new(SPELLING_BYTES_MAX, find));
    let mut buffer = BytesMut::new();
    let mut seen = Frames::default();
    loop {
        buffer.reserve(READ_BYTES_MAX);
        let read = closing.read(&mut from, &mut buffer).await.map_err(|e| crate::error::plain(&e))?;
        if read == 0 {
            return closing.end(&mut to).await;
        }
        let out = match &mut frames {
            None => buffer.split().freeze(),
            Some(frames) => match frames.push(buffer.split().freeze()) {
                Ok(out) => out,
                Err(fault) => {
                    if let crate::secrets::websocket::Fault::Placeholder { secret } = &fault {
                        let (account, host) = (&inside.context.account, inside.to.host.to_string());
                        let connection = inside.open.connection.as_ref();
                        let logged = account.canary(connection, secret.as_deref(), &host, "websocket");
                        logged.map_err(|e| e.to_string())?;
                    }
                    return Err(fault.to_string());
                }
            },
        };
        inside.context.rates.spend(out.len() as u64).map_err(|over| over.to_string())?;
        course.up_bytes.fetch_add(out.len() as u64, Ordering::Relaxed);
        inside.counts().up_bytes.fetch_add(out.len() as u64, Ordering::Relaxed);
        seen.passed(&out);
        closing.note(&seen);
        closing.write(&mut to, &out).await?;
    }
}
