//! A connection of HTTP/2 whose frames are counted: those that carry nothing must stay in proportion to those that do.
//! It never changes a byte, and holds none.
//!
//! h2 bounds what a peer can make it keep: streams that it resets (CVE-2023-44487, CVE-2025-8671), CONTINUATION frames
//! (CVE-2024-27316), header lists. What a peer can make it do without end stays: answer pings and settings
//! (CVE-2019-9512, CVE-2019-9515), shuffle priorities (CVE-2019-9513), take empty frames (CVE-2019-9518), read interim
//! answers. Here each such frame costs one of a credit, which grows with time and with what we send: who is sent data may
//! well ping, open windows and answer.

use super::walk::Walk;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;

/// Frames without content that a peer may send at once.
const CREDIT_MAX: u64 = 2048;
/// How many it may send for each frame of a request, an answer or data that it was sent.
const ANSWERS_MAX: u64 = 3;
/// How long it takes until it may send one more.
const REFILL: Duration = Duration::from_millis(10);
/// What a client sends before its first frame, bytes (RFC 9113, 3.4).
const PREFACE_BYTES: u64 = 24;

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const CONTINUATION: u8 = 9;
/// With the code of a reset, which is all its payload, bytes.
const RESET_BYTES: usize = 13;
/// That code where a stream is none (RFC 9113, 7).
const PROTOCOL_ERROR: u32 = 1;
/// A flag of DATA and HEADERS: the last frame of its stream has content however long it is.
const END_STREAM: u8 = 1;

/// On whose connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Peer {
    Client,
    Upstream,
}

/// The connection.
#[derive(Debug)]
pub(super) struct Meter<S> {
    stream: S,
    peer: Peer,
    read: Walk<RESET_BYTES>,
    written: Walk<RESET_BYTES>,
    credit: u64,
    refilled: Instant,
    is_over: bool,
    faults: Faults,
}

/// How many streams we have reset because they were no requests: nobody else hears of them.
pub(super) type Faults = Arc<AtomicU64>;

/// Takes bytes, wherever they were cut; `each` gets kind, flags, length and, of a reset, code of each frame.
fn passed(walk: &mut Walk<RESET_BYTES>, bytes: &[u8], mut each: impl FnMut(u8, u8, u64, u32)) {
    walk.passed(bytes, |head| {
        let [high, middle, low, kind, flags, _, _, _, _, code @ ..] = head else { return None };
        let length = u64::from(u32::from_be_bytes([0, *high, *middle, *low]));
        let is_reset = *kind == RST_STREAM && length == 4;
        let code = code.first_chunk().copied();
        if is_reset && code.is_none() {
            return None;
        }
        each(*kind, *flags, length, code.map_or(0, u32::from_be_bytes));
        Some(if is_reset { 0 } else { length })
    });
}

impl<S> Meter<S> {
    pub(super) fn new(stream: S, peer: Peer) -> Self {
        let (read, written) = match peer {
            Peer::Client => (PREFACE_BYTES, 0),
            Peer::Upstream => (0, PREFACE_BYTES),
        };
        Self {
            stream,
            peer,
            read: Walk::after(read),
            written: Walk::after(written),
            credit: CREDIT_MAX,
            refilled: Instant::now(),
            is_over: false,
            faults: Faults::default(),
        }
    }

    pub(super) fn faults(&self) -> Faults {
        Arc::clone(&self.faults)
    }

    fn read(&mut self, bytes: &[u8]) {
        let (peer, mut cost) = (self.peer, 0_u64);
        passed(&mut self.read, bytes, |kind, flags, length, _| {
            let has_content = match kind {
                DATA => length > 0 || flags & END_STREAM != 0,
                // An upstream may begin an answer more than once: those are interim.
                HEADERS => peer == Peer::Client || flags & END_STREAM != 0,
                CONTINUATION => length > 0,
                _ => false,
            };
            cost += u64::from(!has_content);
        });
        if cost == 0 {
            return;
        }
        let periods = u64::try_from(self.refilled.elapsed().as_millis() / REFILL.as_millis()).unwrap_or(u64::MAX);
        if periods > 0 {
            self.refilled = Instant::now();
            self.credit = self.credit.saturating_add(periods).min(CREDIT_MAX);
        }
        self.is_over |= cost > self.credit;
        self.credit = self.credit.saturating_sub(cost);
    }

    fn written(&mut self, bytes: &[u8]) {
        let (mut earned, mut faults) = (0_u64, 0);
        passed(&mut self.written, bytes, |kind, _, _, code| {
            earned += if kind <= HEADERS { ANSWERS_MAX } else { 0 };
            faults += u64::from(kind == RST_STREAM && code == PROTOCOL_ERROR);
        });
        self.faults.fetch_add(faults, Ordering::Relaxed);
        self.credit = self.credit.saturating_add(earned).min(CREDIT_MAX);
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Meter<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buffer.filled().len();
        ready!(Pin::new(&mut this.stream).poll_read(cx, buffer))?;
        let came = buffer.filled().get(before..).unwrap_or_default();
        this.read(came);
        if !this.is_over {
            return Poll::Ready(Ok(()));
        }
        buffer.set_filled(before);
        Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, FLOOD)))
    }
}

/// What a connection that ends for this ends with.
pub(super) const FLOOD: &str = "a flood of http/2 frames without content";

impl<S: AsyncWrite + Unpin> AsyncWrite for Meter<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let some = ready!(Pin::new(&mut this.stream).poll_write(cx, bytes))?;
        this.written(bytes.get(..some).unwrap_or(bytes));
        Poll::Ready(Ok(some))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let some = ready!(Pin::new(&mut this.stream).poll_write_vectored(cx, slices))?;
        let mut left = some;
        for slice in slices {
            let part = slice.get(..left.min(slice.len())).unwrap_or_default();
            this.written(part);
            left -= part.len();
        }
        Poll::Ready(Ok(some))
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PING: [u8; 17] = [0, 0, 8, 6, 0, 0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8];
    const ANSWER: [u8; 10] = [0, 0, 1, 1, 4, 0, 0, 0, 1, 0x88];

    fn meter(peer: Peer) -> Meter<()> {
        let mut meter = Meter::new((), peer);
        meter.read = Walk::after(0);
        meter.written = Walk::after(0);
        meter
    }

    #[tokio::test(start_paused = true)]
    async fn frames_without_content_have_an_end_however_they_are_cut() {
        for cut in [1, 5, 17, 1000] {
            let mut meter = meter(Peer::Client);
            let flood = PING.repeat(usize::try_from(CREDIT_MAX).unwrap());
            flood.chunks(cut).for_each(|piece| meter.read(piece));
            assert!(!meter.is_over, "{cut}");
            meter.read(&PING);
            assert!(meter.is_over, "{cut}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn who_is_sent_something_may_answer_and_time_forgives() {
        let mut meter = meter(Peer::Client);
        for _ in 0..10 * CREDIT_MAX {
            meter.written(&ANSWER);
            (0..ANSWERS_MAX).for_each(|_| meter.read(&PING));
        }
        for _ in 0..10 * CREDIT_MAX {
            tokio::time::advance(REFILL).await;
            meter.read(&PING);
        }
        assert!(!meter.is_over);
    }

    #[tokio::test(start_paused = true)]
    async fn streams_that_were_none_are_counted_however_they_are_cut() {
        let reset = |code: u8| [0, 0, 4, RST_STREAM, 0, 0, 0, 0, 1, 0, 0, 0, code];
        let frames = [&ANSWER[..], &reset(1), &PING, &reset(8), &reset(1), &ANSWER].concat();
        for cut in [1, 3, 9, 100] {
            let mut meter = meter(Peer::Client);
            frames.chunks(cut).for_each(|piece| meter.written(piece));
            assert_eq!(meter.faults().load(Ordering::Relaxed), 2, "{cut}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn content_costs_a_client_nothing_and_interim_answers_cost_an_upstream() {
        for (peer, over) in [(Peer::Client, false), (Peer::Upstream, true)] {
            let mut meter = meter(peer);
            (0..=CREDIT_MAX).for_each(|_| meter.read(&ANSWER));
            assert_eq!(meter.is_over, over, "{peer:?}");
        }
    }
}
