//! An answer on its way in: its secrets taken out, its end in the log.
//! It never passes on a last piece before the end is written down.

use super::outgoing::Course;
use super::pace::{Owed, Pace, Sender};
use super::upstream::Back;
use super::{Inside, Result, said};
use crate::egress::canonical;
use crate::journal::{Account, Admitted, Reply as Record, Scrubbed};
use crate::secrets::decode::Decoder;
use crate::secrets::scrub::{Hit, Patterns, Scrubber};
use bytes::Bytes;
use http::header::{ACCEPT_RANGES, CONTENT_ENCODING, CONTENT_LENGTH, ETAG, HeaderMap, HeaderName, HeaderValue};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};
use tokio::time::Sleep;

/// How long a stream rests before what is held of it is looked at again.
const REST: Duration = Duration::from_secs(2);

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// A request that is in the log, until its end is there too. Dropped before, it says that it was given up.
pub(super) struct Answer {
    account: Account,
    admitted: Option<Admitted>,
    course: Arc<Course>,
    pub(super) address: Option<SocketAddr>,
    status: Option<u16>,
    began: Instant,
    first: Duration,
    down_bytes: u64,
}

impl Answer {
    pub(super) fn new(account: Account, admitted: Admitted, course: Arc<Course>) -> Self {
        Self {
            account,
            admitted: Some(admitted),
            course,
            address: None,
            status: None,
            began: Instant::now(),
            first: Duration::ZERO,
            down_bytes: 0,
        }
    }

    /// Where what goes up is counted.
    pub(super) fn course(&self) -> Arc<Course> {
        Arc::clone(&self.course)
    }

    pub(super) fn admitted(&self) -> Option<&Admitted> {
        self.admitted.as_ref()
    }

    /// Its head came.
    pub(super) fn began(&mut self, status: http::StatusCode) {
        self.status = Some(status.as_u16());
        self.first = self.began.elapsed();
    }

    pub(super) fn count(&mut self, bytes: usize) {
        self.down_bytes += bytes as u64;
    }

    /// Writes down what was scrubbed.
    pub(super) fn scrubbed(&self, hits: Vec<Hit>, place: &str) -> Result<()> {
        if hits.is_empty() {
            return Ok(());
        }
        let hits = hits.into_iter().map(|hit| Scrubbed {
            name: hit.name,
            form: hit.form.as_str().to_owned(),
            count: hit.count,
            place: place.to_owned(),
        });
        self.account.scrubbed(self.admitted.as_ref(), hits.collect())
    }

    /// Writes its end.
    pub(super) fn end(&mut self, fault: Option<String>) -> Result<()> {
        let Some(admitted) = self.admitted.take() else { return Ok(()) };
        let record = Record {
            status: self.status,
            addr: self.address.map(|address| address.to_string()),
            up_bytes: self.course.up_bytes.load(Ordering::Relaxed),
            down_bytes: self.down_bytes,
            first: self.first,
            fault,
        };
        self.account.answered(admitted, record)
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        // Where it cannot be written, the log has ended, and with it the session.
        drop(self.end(Some("given up before its end".to_owned())));
    }
}

/// What a client gets.
pub(super) enum Reply {
    /// Words of ours, or none.
    Whole(Option<Bytes>),
    /// What an upstream sends.
    Streamed(Box<Streamed>),
}

/// An upstream's body. The order of its parts is the order of their ends: the answer before the connection.
pub(super) struct Streamed {
    incoming: Incoming,
    pace: Pace,
    scrub: Option<Scrub>,
    answer: Answer,
    back: Option<Back>,
    inside: Arc<Inside>,
    /// Came while something was held, which goes first.
    trailing: Option<HeaderMap>,
    /// The upstream has ended.
    is_finished: bool,
    /// The end is in the log.
    is_over: bool,
    _slot: crate::egress::rates::Slot,
}

/// How a body is scrubbed.
struct Scrub {
    decoder: Option<Decoder>,
    scrubber: Scrubber,
    patterns: Arc<Patterns>,
    rest: Pin<Box<Sleep>>,
}

/// What a body needs.
pub(super) struct Parts {
    pub(super) incoming: Incoming,
    pub(super) patterns: Option<Arc<Patterns>>,
    pub(super) decoder: Option<Decoder>,
    pub(super) answer: Answer,
    pub(super) back: Back,
    pub(super) inside: Arc<Inside>,
    pub(super) slot: crate::egress::rates::Slot,
}

impl Reply {
    pub(super) fn of(bytes: Bytes) -> Self {
        Self::Whole(Some(bytes).filter(|bytes| !bytes.is_empty()))
    }

    /// An upstream's body.
    ///
    /// # Errors
    /// The log takes no more records.
    pub(super) fn streamed(parts: Parts) -> Result<Self> {
        let Parts { incoming, patterns, decoder, mut answer, back, inside, slot } = parts;
        if incoming.is_end_stream() {
            answer.end(None)?;
            back.give();
            return Ok(Self::Whole(None));
        }
        let scrub = patterns.map(|patterns| Scrub {
            decoder,
            scrubber: Scrubber::new(Arc::clone(&patterns)),
            patterns,
            rest: Box::pin(tokio::time::sleep(REST)),
        });
        let owed = if incoming.size_hint().exact().is_some() { Owed::Yes } else { Owed::No };
        Ok(Self::Streamed(Box::new(Streamed {
            incoming,
            pace: Pace::of(Sender::Upstream, owed),
            scrub,
            answer,
            back: Some(back),
            inside,
            trailing: None,
            is_finished: false,
            is_over: false,
            _slot: slot,
        })))
    }
}

impl Streamed {
    /// The next piece, whatever it takes; empty pieces are left out. `None` is the end.
    fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Failure>>> {
        loop {
            if let Some(trailers) = self.trailing.take() {
                return Poll::Ready(Some(Ok(Frame::trailers(trailers))));
            }
            if self.is_finished {
                return Poll::Ready(None);
            }
            if let Some(Scrub { decoder: Some(decoder), scrubber, .. }) = &mut self.scrub {
                match decoder.next_piece() {
                    Ok(Some(plain)) => {
                        let out = scrubber.push(plain);
                        if out.is_empty() {
                            continue;
                        }
                        return Poll::Ready(Some(Ok(Frame::data(out))));
                    }
                    Ok(None) => {}
                    Err(fault) => return Poll::Ready(Some(Err(fault.into()))),
                }
            }
            let frame = match Pin::new(&mut self.incoming).poll_frame(cx) {
                Poll::Ready(frame) => frame,
                Poll::Pending => {
                    if let Poll::Ready(late) = self.pace.poll_late(cx) {
                        return Poll::Ready(Some(Err(late.to_string().into())));
                    }
                    return self.poll_rest(cx);
                }
            };
            if let Some(Ok(frame)) = &frame {
                self.pace.came(frame.data_ref().map_or(1, Bytes::len));
            }
            match frame {
                None => return Poll::Ready(self.finish().transpose()),
                Some(Err(error)) => return Poll::Ready(Some(Err(said(&error).into()))),
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(piece) => {
                        let out = match &mut self.scrub {
                            None => piece,
                            Some(Scrub { decoder: Some(decoder), .. }) => {
                                decoder.feed(piece);
                                continue;
                            }
                            Some(Scrub { scrubber, rest, .. }) => {
                                let out = scrubber.push(piece);
                                if scrubber.held() > 0 {
                                    rest.as_mut().reset(tokio::time::Instant::now() + REST);
                                }
                                out
                            }
                        };
                        if !out.is_empty() {
                            return Poll::Ready(Some(Ok(Frame::data(out))));
                        }
                    }
                    Err(frame) => {
                        let Ok(trailers) = frame.into_trailers() else { continue };
                        let last = self.finish()?;
                        self.trailing = Some(self.trailers(trailers)?);
                        if let Some(last) = last {
                            return Poll::Ready(Some(Ok(last)));
                        }
                    }
                },
            }
        }
    }

    /// Nothing comes at present: somebody may wait for what is held.
    fn poll_rest(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Failure>>> {
        let Some(Scrub { scrubber, rest, .. }) = &mut self.scrub else { return Poll::Pending };
        if scrubber.held() == 0 {
            return Poll::Pending;
        }
        ready!(rest.as_mut().poll(cx));
        match scrubber.idle() {
            Some(out) => Poll::Ready(Some(Ok(Frame::data(out)))),
            None => Poll::Pending,
        }
    }

    /// What is left when the upstream has ended.
    fn finish(&mut self) -> Result<Option<Frame<Bytes>>, Failure> {
        self.is_finished = true;
        let Some(Scrub { decoder, scrubber, .. }) = &mut self.scrub else { return Ok(None) };
        if let Some(decoder) = decoder {
            decoder.finish()?;
        }
        let last = scrubber.finish();
        Ok((!last.is_empty()).then(|| Frame::data(last)))
    }

    fn trailers(&mut self, mut found: HeaderMap) -> Result<HeaderMap, Failure> {
        canonical::trailers(&mut found);
        if let Some(patterns) = self.scrub.as_ref().map(|scrub| Arc::clone(&scrub.patterns)) {
            scrub_fields(&mut found, &patterns, &self.answer, "trailer").map_err(|e| e.to_string())?;
        }
        Ok(found)
    }

    /// Writes down what was found so far, and the end.
    fn over(&mut self, fault: Option<String>) -> Result<()> {
        self.is_over = true;
        if let Some(scrub) = &mut self.scrub {
            let hits = scrub.scrubber.take_hits();
            self.answer.scrubbed(hits, "body")?;
        }
        let ended_well = fault.is_none();
        self.answer.end(fault)?;
        if let Some(back) = self.back.take().filter(|_| ended_well) {
            back.give();
        }
        Ok(())
    }

    /// The piece with what was held behind it, where it is the last: whoever knows the length asks for no more after it,
    /// so the end is written before it goes.
    fn with_end(&mut self, frame: Frame<Bytes>) -> Result<Frame<Bytes>, Failure> {
        let decodes = matches!(self.scrub, Some(Scrub { decoder: Some(_), .. }));
        let ends = self.trailing.is_none() && (self.is_finished || !decodes && self.incoming.is_end_stream());
        let last = if ends && !self.is_finished { self.finish()? } else { None };
        let frame = match (last.and_then(|last| last.into_data().ok()), frame.into_data()) {
            (Some(last), Ok(first)) => Frame::data([first, last].concat().into()),
            (None, Ok(first)) => Frame::data(first),
            (_, Err(frame)) => frame,
        };
        let bytes = frame.data_ref().map_or(0, Bytes::len);
        self.answer.count(bytes);
        self.inside.counts().down_bytes.fetch_add(bytes as u64, Ordering::Relaxed);
        if ends {
            self.over(None).map_err(|e| e.to_string())?;
        }
        Ok(frame)
    }
}

impl Body for Reply {
    type Data = Bytes;
    type Error = Failure;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Failure>>> {
        let this = match self.get_mut() {
            Self::Whole(bytes) => return Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Self::Streamed(this) => this,
        };
        if this.is_over {
            return Poll::Ready(None);
        }
        let logged = |done: Result<()>| done.map_err(|e| Failure::from(e.to_string()));
        match ready!(this.poll_piece(cx)) {
            Some(Ok(frame)) => {
                let frame = this.with_end(frame)?;
                Poll::Ready(Some(Ok(frame)))
            }
            Some(Err(error)) => {
                logged(this.over(Some(error.to_string())))?;
                Poll::Ready(Some(Err(error)))
            }
            None => {
                logged(this.over(None))?;
                Poll::Ready(None)
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Whole(bytes) => bytes.is_none(),
            Self::Streamed(this) => this.is_over,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64)),
            Self::Streamed(this) => match &this.scrub {
                Some(Scrub { decoder: Some(_), .. }) => SizeHint::default(),
                Some(_) | None => this.incoming.size_hint(),
            },
        }
    }
}

/// Takes secrets out of fields. A field whose name has one is dropped: there is no name of the same length.
pub(super) fn scrub_fields(fields: &mut HeaderMap, patterns: &Patterns, answer: &Answer, place: &str) -> Result<()> {
    let mut dropped: Vec<HeaderName> = Vec::new();
    for (name, value) in fields.iter_mut() {
        let mut bytes = name.as_str().as_bytes().to_vec();
        let hits = patterns.scrub_whole(&mut bytes);
        if !hits.is_empty() {
            answer.scrubbed(hits, &format!("{place}'s name"))?;
            dropped.push(name.clone());
            continue;
        }
        let mut bytes = value.as_bytes().to_vec();
        let hits = patterns.scrub_whole(&mut bytes);
        if !hits.is_empty() {
            answer.scrubbed(hits, &format!("{place} {name}"))?;
            *value = HeaderValue::from_bytes(&bytes).unwrap_or(HeaderValue::from_static("*"));
        }
    }
    for name in dropped {
        fields.remove(name);
    }
    Ok(())
}

/// Makes a head fit a body that is decoded on the way: what was said about its encoded form is no longer true.
pub(super) fn decoded(head: &mut HeaderMap) {
    for name in [CONTENT_ENCODING, CONTENT_LENGTH, ACCEPT_RANGES] {
        head.remove(name);
    }
    for name in ["content-md5", "digest", "content-digest", "repr-digest"] {
        head.remove(name);
    }
    if let Some(tag) = head.get(ETAG).filter(|tag| !tag.as_bytes().starts_with(b"W/")) {
        let weak = [b"W/", tag.as_bytes()].concat();
        if let Ok(weak) = HeaderValue::from_bytes(&weak) {
            head.insert(ETAG, weak);
        }
    }
}
