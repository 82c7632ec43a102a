//! A request's body on its way out: counted, within the budget, watched for placeholders.
//! It never holds more than a piece.

use super::Inside;
use super::pace::{Late, Owed, Pace, Sender};
use crate::egress::canonical;
use crate::egress::rates::Over;
use crate::egress::refuse::Told;
use crate::secrets::decode::Decoder;
use crate::secrets::vault::{BodyFilter, Canary};
use bytes::Bytes;
use http::StatusCode;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Why a body was stopped.
#[derive(Debug, Clone)]
pub(super) enum Stopped {
    /// A limit is reached.
    Over(Over),
    /// A placeholder was in it.
    Canary(Canary),
    /// It is not what it says it is.
    Malformed(String),
    /// It does not come.
    Late(Late),
    /// Its connection ended before it did.
    Cut(String),
}

impl std::fmt::Display for Stopped {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Over(over) => over.fmt(f),
            Self::Canary(canary) => f.write_str(&canary.reason()),
            Self::Malformed(why) | Self::Cut(why) => f.write_str(why),
            Self::Late(late) => late.fmt(f),
        }
    }
}

impl std::error::Error for Stopped {}

impl Stopped {
    /// Why hyper gives no more of a body.
    pub(super) fn of(error: &hyper::Error) -> Self {
        let cause = std::error::Error::source(error).and_then(|cause| cause.downcast_ref::<std::io::Error>());
        match cause.filter(|cause| cause.kind() == std::io::ErrorKind::InvalidData) {
            Some(cause) => Self::Malformed(cause.to_string()),
            None => Self::Cut(super::said(error)),
        }
    }

    /// What refuses it, and what the client is told.
    ///
    /// # Errors
    /// It was a placeholder, of which more is to be said.
    pub(super) fn refusal(&self) -> Result<(&'static str, Told), &Canary> {
        let told = |status, ask| Told::new(status, self.to_string(), ask);
        match self {
            Self::Over(over) => Ok((over.limit, Told::from(over))),
            Self::Canary(canary) => Err(canary),
            Self::Malformed(_) => Ok(("malformed", told(StatusCode::BAD_REQUEST, "send the body as it says it is"))),
            Self::Cut(_) => Ok(("body", told(StatusCode::BAD_REQUEST, "send the whole body"))),
            Self::Late(_) => Ok(("slow", told(StatusCode::REQUEST_TIMEOUT, "send the body without delay"))),
        }
    }
}

/// What is known about a body from outside of it.
#[derive(Debug, Default)]
pub(super) struct Course {
    pub(super) up_bytes: AtomicU64,
    stopped: Mutex<Option<Stopped>>,
}

impl Course {
    /// Why it was stopped, once.
    pub(super) fn stopped(&self) -> Option<Stopped> {
        self.stopped.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// Where the bytes come from.
pub(super) enum Source {
    /// From the client, as they come.
    Streamed(Incoming),
    /// All of them, read before, because a signature covers them.
    Whole(Option<Bytes>),
}

/// A body that watches itself.
pub(super) struct Outgoing {
    source: Source,
    filter: Option<Box<Filter>>,
    inside: Arc<Inside>,
    course: Arc<Course>,
    pace: Pace,
    state: State,
}

/// How far a body is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Nothing came yet.
    Untouched,
    /// Something came, and what looks into it may hold some of it back until the end.
    Begun,
    /// Nothing more goes out.
    Over,
}

/// What looks into a body.
pub(super) struct Filter {
    pub(super) body: BodyFilter,
    /// Where it travels encoded: it is decoded to look at, and sent as it came.
    pub(super) decoder: Option<Decoder>,
}

impl Outgoing {
    pub(super) fn new(source: Source, filter: Option<Filter>, inside: Arc<Inside>, course: Arc<Course>) -> Self {
        let owed = match &source {
            Source::Streamed(incoming) if incoming.size_hint().exact().is_some() => Owed::Yes,
            Source::Streamed(_) | Source::Whole(_) => Owed::No,
        };
        let pace = Pace::of(Sender::Client, owed);
        Self { source, filter: filter.map(Box::new), inside, course, pace, state: State::Untouched }
    }

    /// What it may be counted by, from outside.
    pub(super) fn course(&self) -> Arc<Course> {
        Arc::clone(&self.course)
    }

    /// The client's next frame. One that does not come in time, or is none, stops the body.
    fn poll_source(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Failure>>> {
        let incoming = match &mut self.source {
            Source::Whole(bytes) => return Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Source::Streamed(incoming) => incoming,
        };
        let frame = ready!(self.pace.poll_frame(cx, incoming));
        Poll::Ready(frame.map(|frame| {
            frame.map_err(|why| match why {
                // Who went away is told nothing, and was refused nothing.
                Stopped::Cut(why) => why.into(),
                Stopped::Over(_) | Stopped::Canary(_) | Stopped::Malformed(_) | Stopped::Late(_) => {
                    self.stop(why).into()
                }
            })
        }))
    }

    fn stop(&mut self, why: Stopped) -> Stopped {
        self.state = State::Over;
        *self.course.stopped.lock().unwrap_or_else(PoisonError::into_inner) = Some(why.clone());
        why
    }

    /// One piece, on its way.
    fn piece(&mut self, piece: Bytes) -> Result<Bytes, Stopped> {
        let bytes = piece.len() as u64;
        self.inside.context.rates.spend(bytes).map_err(Stopped::Over)?;
        let Some(filter) = &mut self.filter else { return Ok(piece) };
        match &mut filter.decoder {
            None => filter.body.push(piece).map_err(Stopped::Canary),
            Some(decoder) => {
                decoder.feed(piece.clone());
                while let Some(plain) = decoder.next_piece().map_err(|e| Stopped::Malformed(e.to_string()))? {
                    filter.body.look(&plain).map_err(Stopped::Canary)?;
                }
                // Encoded or not, a placeholder that stands in it as it is was put there.
                Ok(piece)
            }
        }
    }

    /// The end.
    fn last(&mut self) -> Result<Bytes, Stopped> {
        let Some(filter) = &mut self.filter else { return Ok(Bytes::new()) };
        if let Some(decoder) = &mut filter.decoder {
            decoder.finish().map_err(|e| Stopped::Malformed(e.to_string()))?;
        }
        filter.body.finish().map_err(Stopped::Canary)
    }

    /// Trailers, without what they may not bring.
    fn trailers(&mut self, mut found: http::HeaderMap) -> Result<http::HeaderMap, Stopped> {
        canonical::trailers(&mut found);
        for (name, value) in &found {
            self.inside.context.rates.spend((name.as_str().len() + value.len()) as u64).map_err(Stopped::Over)?;
            if let Some(seen) = self.inside.context.vault.find(value.as_bytes()).into_iter().next() {
                let why = crate::secrets::vault::Why::Elsewhere;
                let place = format!("trailer {name}");
                return Err(Stopped::Canary(Canary { secret: seen.secret, place, why }));
            }
        }
        Ok(found)
    }

    fn count(&self, bytes: usize) {
        self.course.up_bytes.fetch_add(bytes as u64, Ordering::Relaxed);
        self.inside.counts().up_bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }
}

impl Body for Outgoing {
    type Data = Bytes;
    type Error = Failure;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        let this = self.get_mut();
        loop {
            if this.state == State::Over {
                return Poll::Ready(None);
            }
            let Some(frame) = ready!(this.poll_source(cx)) else {
                let last = match this.last() {
                    Ok(last) => last,
                    Err(why) => return Poll::Ready(Some(Err(this.stop(why).into()))),
                };
                this.state = State::Over;
                if last.is_empty() {
                    return Poll::Ready(None);
                }
                this.count(last.len());
                return Poll::Ready(Some(Ok(Frame::data(last))));
            };
            this.state = State::Begun;
            let passed = match frame?.into_data() {
                Ok(piece) => match this.piece(piece) {
                    Ok(piece) if piece.is_empty() => continue,
                    Ok(piece) => {
                        this.count(piece.len());
                        Ok(Frame::data(piece))
                    }
                    Err(why) => Err(why),
                },
                Err(frame) => match frame.into_trailers() {
                    Ok(trailers) => this.trailers(trailers).map(Frame::trailers),
                    Err(_) => continue,
                },
            };
            return Poll::Ready(Some(passed.map_err(|why| this.stop(why).into())));
        }
    }

    fn is_end_stream(&self) -> bool {
        let has_all = match &self.source {
            Source::Streamed(incoming) => incoming.is_end_stream(),
            Source::Whole(bytes) => bytes.is_none(),
        };
        match (self.state, &self.filter) {
            (State::Over, _) => true,
            (State::Untouched, _) | (State::Begun, None) => has_all,
            // Who is told that nothing follows asks no more, and the last bytes would be lost.
            (State::Begun, Some(_)) => false,
        }
    }

    fn size_hint(&self) -> SizeHint {
        if self.filter.as_ref().is_some_and(|filter| filter.body.changes_length()) {
            return SizeHint::default();
        }
        match &self.source {
            Source::Streamed(incoming) => incoming.size_hint(),
            Source::Whole(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64)),
        }
    }
}
