//! Takes secrets out of what comes back, exactly, whatever the chunks.
//! It never delays a byte that cannot be part of a secret.
//!
//! Every byte that stands in any form of any secret becomes `*`, also where forms overlap: a rule that took the leftmost
//! match alone would leave the end of a secret that begins inside another. With bytes replaced one for one, lengths, ranges
//! and framing survive; and a byte is decided as soon as no form that is still open begins at or before it. So a short match
//! inside an open longer one is kept back with it, and no part of the longer one is ever sent ahead.

mod automaton;
mod sieve;

pub use self::automaton::Patterns;
use self::automaton::{Found, ROOT};
use super::forms::{Form, Reason};
use bytes::{Bytes, BytesMut};
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use zeroize::Zeroizing;

/// What stands in the place of each byte of a secret.
pub const FILLER: u8 = b'*';

/// Most bytes that the forms of all secrets of one [`Patterns`] have together; each takes at most 21 bytes of memory.
pub const FORM_BYTES_MAX: usize = 4 * 1024 * 1024;

/// An idle stream gets a held prefix only if it is shorter than this many bytes, and than half of the shortest secret.
pub const IDLE_BYTES_MAX: usize = 8;

/// A secret to look for. It borrows the plaintext, and has no `Debug`.
#[derive(Clone, Copy)]
pub struct Watched<'a> {
    /// Name of the secret; the log has it.
    pub name: &'a str,
    /// The plaintext.
    pub plain: &'a [u8],
    /// Who is named with it in basic authentication, if it is used so.
    pub user: Option<&'a str>,
}

impl<'a> From<(&'a str, &'a [u8])> for Watched<'a> {
    fn from((name, plain): (&'a str, &'a [u8])) -> Self {
        Self { name, plain, user: None }
    }
}

/// A secret that has no pattern, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unwatched {
    /// Name of the secret.
    pub name: String,
    /// Why it is not looked for.
    pub reason: Reason,
}

/// A form of a secret that came back, and how often. What stands inside the form of another secret counts as that one.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Hit {
    /// Name of the secret.
    pub name: String,
    /// In which form.
    pub form: Form,
    /// How many times.
    pub count: u64,
}

/// Bytes that are replaced, counted from the first one that is held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Span {
    start: usize,
    end: usize,
}

/// One stream on its way: an answer's body, a message, what a command prints.
pub struct Scrubber {
    patterns: Arc<Patterns>,
    /// The longest suffix of what was seen that is a prefix of a form.
    node: u32,
    /// What was taken and not yet given.
    held: Zeroizing<Vec<u8>>,
    /// Apart from each other, in order.
    spans: Vec<Span>,
    /// Bytes of the stream before `held`.
    given: u64,
    tally: Tally,
}

impl fmt::Debug for Scrubber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scrubber").field("held", &self.held.len()).finish_non_exhaustive()
    }
}

impl Scrubber {
    /// At the beginning of a stream.
    pub fn new(patterns: Arc<Patterns>) -> Self {
        let tally = Tally::new(patterns.secrets());
        Self { patterns, node: ROOT, held: Zeroizing::default(), spans: Vec::new(), given: 0, tally }
    }

    /// Takes a chunk and gives what is decided: the same bytes, not copied, where nothing is held and nothing was found.
    pub fn push(&mut self, chunk: Bytes) -> Bytes {
        let [first, second] = self.push_parts(chunk);
        match (first.is_empty(), second.is_empty()) {
            (true, _) => second,
            (false, true) => first,
            (false, false) => [first, second].concat().into(),
        }
    }

    /// As [`Scrubber::push`], in two parts: what was held, and of the chunk what is decided. Where a chunk before ended
    /// inside a candidate, this spares the copy of the whole next one.
    pub fn push_parts(&mut self, chunk: Bytes) -> [Bytes; 2] {
        let decided = self.advance(&chunk);
        let before = self.held.len();
        if decided < before {
            self.held.extend_from_slice(&chunk);
            return [self.give(decided), Bytes::new()];
        }
        let mut body = chunk;
        let rest = body.split_off(decided - before);
        let rest = Zeroizing::new(rest.to_vec());
        if self.spans.iter().any(|span| before < span.end && span.start < decided) {
            body = self.filled(body, before);
        }
        let front = self.give(before);
        self.settle(body.len());
        self.keep(&rest);
        [front, body]
    }

    /// As [`Scrubber::push`] for borrowed bytes.
    pub fn push_slice<'a>(&mut self, chunk: &'a [u8]) -> Cow<'a, [u8]> {
        let decided = self.advance(chunk);
        let is_clean = self.held.is_empty() && self.spans.first().is_none_or(|span| span.start >= decided);
        let (sure, rest) = chunk.split_at_checked(decided).unwrap_or_default();
        if is_clean {
            self.settle(decided);
            self.keep(rest);
            return Cow::Borrowed(sure);
        }
        self.held.extend_from_slice(chunk);
        Cow::Owned(self.give(decided).into())
    }

    /// The stream ended: gives what was held. What is pushed afterwards is another stream.
    pub fn finish(&mut self) -> Bytes {
        let last = self.release();
        self.node = ROOT;
        self.tally.settle(u64::MAX);
        last
    }

    /// Gives what is held although it may be the beginning of a secret, and goes on: of a form that is completed later, what
    /// comes later is still replaced.
    pub fn release(&mut self) -> Bytes {
        self.give(self.held.len())
    }

    /// The stream has paused: gives what is held if it is too short to be worth anything, since somebody may wait for it.
    pub fn idle(&mut self) -> Option<Bytes> {
        // The length of the whole open prefix counts, with what was given in an earlier pause: drop by drop, a secret would
        // otherwise get through.
        let open = self.patterns.open_bytes(self.node);
        (!self.held.is_empty() && open < self.patterns.idle_bytes()).then(|| self.release())
    }

    /// What was found since the last time; complete after [`Scrubber::finish`].
    pub fn take_hits(&mut self) -> Vec<Hit> {
        self.tally.take(&self.patterns)
    }

    /// What is looked for.
    pub(super) fn patterns(&self) -> &Patterns {
        &self.patterns
    }

    /// How many bytes are held.
    pub fn held(&self) -> usize {
        self.held.len()
    }

    /// Looks through a chunk, and says how many bytes are decided, those that were held included.
    fn advance(&mut self, chunk: &[u8]) -> usize {
        let (before, given) = (self.held.len(), self.given);
        let (spans, tally) = (&mut self.spans, &mut self.tally);
        self.node = self.patterns.scan(self.node, chunk, |found, end_in_chunk| {
            let end = before + end_in_chunk;
            // A match may begin in what was given, as filler or in a pause.
            join(spans, Span { start: end.saturating_sub(found.bytes), end });
            tally.add(found, given + end as u64);
        });
        let (total, open) = (before + chunk.len(), self.patterns.open_bytes(self.node));
        tally.settle((given + total as u64).saturating_sub(open as u64));
        let undecided = total.saturating_sub(open);
        // What stands in a whole match is decided, whatever else begins there.
        let covering = spans.iter().find(|span| span.start <= undecided && undecided < span.end);
        covering.map_or(undecided, |span| span.end)
    }

    /// Takes the first bytes out of `held`, filled.
    fn give(&mut self, bytes: usize) -> Bytes {
        if bytes == 0 {
            return Bytes::new();
        }
        let mut out = BytesMut::from(self.held.get(..bytes).unwrap_or_default());
        self.fill(&mut out, 0);
        self.held.drain(..out.len());
        self.settle(out.len());
        out.freeze()
    }

    /// A chunk that stands `before` bytes behind the first span's zero, filled; in its own memory where nobody shares it.
    fn filled(&self, chunk: Bytes, before: usize) -> Bytes {
        let mut own = chunk.try_into_mut().unwrap_or_else(|shared| BytesMut::from(&shared[..]));
        self.fill(&mut own, before);
        own.freeze()
    }

    fn fill(&self, out: &mut [u8], before: usize) {
        for span in &self.spans {
            let (start, end) = (span.start.saturating_sub(before), span.end.saturating_sub(before).min(out.len()));
            out.get_mut(start..end).unwrap_or_default().fill(FILLER);
        }
    }

    /// So many bytes were given: what is counted from the first held byte moves.
    fn settle(&mut self, bytes: usize) {
        self.given += bytes as u64;
        self.spans.retain_mut(|span| {
            *span = Span { start: span.start.saturating_sub(bytes), end: span.end.saturating_sub(bytes) };
            span.end > 0
        });
    }

    fn keep(&mut self, rest: &[u8]) {
        if !rest.is_empty() {
            // Never more than the longest form, taken once: growing would leave a copy behind.
            let room = self.patterns.longest_bytes().saturating_sub(self.held.len());
            self.held.reserve_exact(room);
            self.held.extend_from_slice(rest);
        }
    }
}

impl Patterns {
    /// Takes secrets out of a whole: a header, a trailer, a name.
    pub fn scrub_whole(&self, whole: &mut [u8]) -> Vec<Hit> {
        let (mut spans, mut tally) = (Vec::new(), Tally::new(self.secrets()));
        self.scan(ROOT, whole, |found, end| {
            join(&mut spans, Span { start: end.saturating_sub(found.bytes), end });
            tally.add(found, end as u64);
        });
        for span in spans {
            whole.get_mut(span.start..span.end).unwrap_or_default().fill(FILLER);
        }
        tally.settle(u64::MAX);
        tally.take(self)
    }
}

/// Adds a span that ends after all others, and joins those that it touches.
fn join(spans: &mut Vec<Span>, mut new: Span) {
    while let Some(last) = spans.pop_if(|last| new.start <= last.end) {
        new.start = new.start.min(last.start);
    }
    spans.push(new);
}

/// Counts what was found: of the matches of one secret that overlap, the longest.
struct Tally {
    counts: BTreeMap<(u32, Form), u64>,
    /// For each secret the last match, with its end in the stream.
    last: Vec<Option<(Found, u64)>>,
}

impl Tally {
    fn new(secrets: usize) -> Self {
        Self { counts: BTreeMap::new(), last: vec![None; secrets] }
    }

    fn add(&mut self, found: Found, end: u64) {
        let Some(last) = self.last.get_mut(found.secret as usize) else { return };
        match last {
            Some((before, before_end)) if end.saturating_sub(found.bytes as u64) < *before_end => {
                *before_end = end;
                if before.bytes < found.bytes {
                    *before = found;
                }
            }
            Some(_) | None => {
                if let Some((before, _)) = last.replace((found, end)) {
                    *self.counts.entry((before.secret, before.form)).or_default() += 1;
                }
            }
        }
    }

    /// Nothing that comes begins before `until`.
    fn settle(&mut self, until: u64) {
        for last in &mut self.last {
            if let Some((found, _)) = last.take_if(|(_, end)| *end <= until) {
                *self.counts.entry((found.secret, found.form)).or_default() += 1;
            }
        }
    }

    fn take(&mut self, patterns: &Patterns) -> Vec<Hit> {
        let hit = |((secret, form), count)| Hit { name: patterns.name(secret).to_owned(), form, count };
        std::mem::take(&mut self.counts).into_iter().map(hit).collect()
    }
}

#[cfg(test)]
mod tests;
