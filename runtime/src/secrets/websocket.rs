//! WebSocket frames (RFC 6455), as far as scrubbing needs them.
//! It never passes on a frame that it could not read.
//!
//! From the server, payloads are scrubbed with one state across the fragments of a message and across messages. What a
//! fragment holds back goes out at the front of the next: an intermediary may cut a message into other fragments where no
//! extension is in use (section 5.4), and none is, since we negotiate none. So a control frame between fragments waits for
//! nothing, nothing is collected, and the length of a message stays as it was. At the end of a message nothing is held; of a
//! secret that is spread over messages, what comes after the first is still replaced.
//!
//! From the client, frames pass as they are; their payloads are searched before they do.

mod head;

use self::head::{Head, Opcode, Way};
use super::scrub::{Hit, Scrubber};
use bytes::{Buf as _, Bytes, BytesMut};
use std::fmt;

pub use self::head::{FRAME_BYTES_MAX, HEAD_BYTES_MAX};

/// Why a connection is closed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// A frame breaks the protocol; the rule that it breaks.
    Protocol(&'static str),
    /// A frame is longer than [`FRAME_BYTES_MAX`].
    TooLong,
    /// The client sent a placeholder: of this secret, if that is known.
    Placeholder {
        /// Name of the secret.
        secret: Option<String>,
    },
    /// The connection ended in the middle of a frame or a message.
    Truncated,
}

impl Fault {
    /// What a close frame says (RFC 6455, section 7.4.1).
    pub fn close_code(&self) -> u16 {
        match self {
            Self::Protocol(_) | Self::Truncated => 1002,
            Self::Placeholder { .. } => 1008,
            Self::TooLong => 1009,
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Protocol(rule) => write!(f, "a websocket frame breaks the protocol: {rule}"),
            Self::TooLong => write!(f, "a websocket frame is longer than {FRAME_BYTES_MAX} bytes"),
            Self::Placeholder { secret: Some(name) } => {
                write!(f, "a websocket message has the placeholder of \"{}\"", name.escape_debug())
            }
            Self::Placeholder { secret: None } => f.write_str("a websocket message has a placeholder"),
            Self::Truncated => f.write_str("a websocket connection ended in the middle of a message"),
        }
    }
}

impl std::error::Error for Fault {}

/// Cuts a stream into heads and payloads, and holds the order of frames.
#[derive(Debug)]
struct Reader {
    way: Way,
    /// The bytes of a head that is not whole, or of a control frame.
    partial: BytesMut,
    /// The frame whose payload comes, and how much of it is left.
    frame: Option<(Head, u64)>,
    /// In the middle of a message of several fragments.
    is_fragmented: bool,
    is_closed: bool,
}

/// What the reader found: a part of the payload of a frame. A frame without payload has one empty part.
struct Part {
    head: Head,
    payload: Bytes,
    /// Where in the frame's payload it begins.
    from: u64,
    is_last: bool,
}

/// Where in a message a fragment stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Within,
    End,
}

impl Reader {
    fn new(way: Way) -> Self {
        Self { way, partial: BytesMut::new(), frame: None, is_fragmented: false, is_closed: false }
    }

    /// The next part of what came; none where more has to come first.
    fn next(&mut self, input: &mut Bytes) -> Result<Option<Part>, Fault> {
        if self.frame.is_none() {
            let Some(head) = self.head(input)? else { return Ok(None) };
            self.accept(&head)?;
            self.frame = Some((head, head.payload_bytes));
        }
        let Some((head, left)) = self.frame else { return Ok(None) };
        if left > 0 && input.is_empty() {
            return Ok(None);
        }
        let bytes = usize::try_from(left).map_or(input.len(), |left| left.min(input.len()));
        let payload = input.split_to(bytes);
        let rest = left - bytes as u64;
        self.frame = (rest > 0).then_some((head, rest));
        Ok(Some(Part { head, payload, from: head.payload_bytes - left, is_last: rest == 0 }))
    }

    /// A whole head, from what was set aside and what came. That of a control frame is whole with its payload, which is
    /// short: so it has one part.
    fn head(&mut self, input: &mut Bytes) -> Result<Option<Head>, Fault> {
        if !self.partial.is_empty() {
            self.partial.extend_from_slice(input);
            *input = self.partial.split().freeze();
        }
        if self.is_closed && !input.is_empty() {
            return Err(Fault::Protocol("something follows the close frame"));
        }
        let is_whole =
            |head: &Head| !head.opcode.is_control() || (input.len() - head.bytes()) as u64 >= head.payload_bytes;
        match Head::parse(input, self.way)?.filter(is_whole) {
            Some(head) => {
                input.advance(head.bytes());
                Ok(Some(head))
            }
            None => {
                self.partial.extend_from_slice(input);
                input.clear();
                Ok(None)
            }
        }
    }

    /// Holds the order of frames (section 5.4).
    fn accept(&mut self, head: &Head) -> Result<(), Fault> {
        match head.opcode {
            Opcode::Continuation if !self.is_fragmented => Err(Fault::Protocol("a continuation without a beginning")),
            Opcode::Text | Opcode::Binary if self.is_fragmented => Err(Fault::Protocol("a message inside another one")),
            Opcode::Continuation | Opcode::Text | Opcode::Binary => {
                self.is_fragmented = !head.is_final;
                Ok(())
            }
            Opcode::Close => {
                self.is_closed = true;
                Ok(())
            }
            Opcode::Ping | Opcode::Pong => Ok(()),
        }
    }

    fn finish(&self) -> Result<(), Fault> {
        let is_whole = self.partial.is_empty() && self.frame.is_none() && !self.is_fragmented;
        if is_whole { Ok(()) } else { Err(Fault::Truncated) }
    }
}

/// Frames on their way from the server to the client, scrubbed.
#[derive(Debug)]
pub struct ToClient {
    reader: Reader,
    scrubber: Scrubber,
    /// What the next data frame that goes out begins with; none where its message has begun.
    opens: Option<Opcode>,
    hits: Vec<Hit>,
    fault: Option<Fault>,
}

impl ToClient {
    /// At the beginning of the connection, behind the answer that upgrades it.
    pub fn new(scrubber: Scrubber) -> Self {
        Self { reader: Reader::new(Way::ToClient), scrubber, opens: None, hits: Vec::new(), fault: None }
    }

    /// Takes what came and gives what goes on. After a fault it gives that fault again.
    ///
    /// # Errors
    /// A frame breaks the protocol or is too long: the connection is closed, and what came with it does not go on.
    pub fn push(&mut self, mut input: Bytes) -> Result<Bytes, Fault> {
        if let Some(fault) = &self.fault {
            return Err(fault.clone());
        }
        let mut out = BytesMut::with_capacity(input.len() + HEAD_BYTES_MAX);
        loop {
            match self.reader.next(&mut input) {
                Ok(Some(part)) => self.pass(part, &mut out),
                Ok(None) => return Ok(out.freeze()),
                Err(fault) => return Err(self.fault.insert(fault).clone()),
            }
        }
    }

    /// The stream has paused in the middle of a message: gives what is held if it is too short to be worth anything.
    pub fn idle(&mut self) -> Option<Bytes> {
        let held = self.scrubber.idle()?;
        let mut out = BytesMut::new();
        self.data(&held, Place::Within, &mut out);
        Some(out.freeze())
    }

    /// The connection ended.
    ///
    /// # Errors
    /// In the middle of a frame or a message.
    pub fn finish(&mut self) -> Result<(), Fault> {
        let _empty = self.scrubber.finish();
        self.reader.finish()
    }

    /// What was found since the last time; complete after [`ToClient::finish`].
    pub fn take_hits(&mut self) -> Vec<Hit> {
        let mut hits = std::mem::take(&mut self.hits);
        hits.extend(self.scrubber.take_hits());
        hits
    }

    fn pass(&mut self, part: Part, out: &mut BytesMut) {
        if part.head.opcode.is_control() {
            return self.control(&part, out);
        }
        if part.from == 0 && part.head.opcode != Opcode::Continuation {
            self.opens = Some(part.head.opcode);
        }
        let place = if part.is_last && part.head.is_final { Place::End } else { Place::Within };
        let [held, body] = self.scrubber.push_parts(part.payload);
        let rest = if place == Place::End { self.scrubber.release() } else { Bytes::new() };
        match (held.is_empty(), rest.is_empty()) {
            (true, true) => self.data(&body, place, out),
            (_, _) => self.data(&[held, body, rest].concat(), place, out),
        }
    }

    /// A fragment of our own. One that says nothing is left out.
    fn data(&mut self, payload: &[u8], place: Place, out: &mut BytesMut) {
        let is_final = place == Place::End;
        if payload.is_empty() && !is_final {
            return;
        }
        let opcode = self.opens.take().unwrap_or(Opcode::Continuation);
        Head { opcode, is_final, payload_bytes: payload.len() as u64, mask: None }.encode(out);
        out.extend_from_slice(payload);
    }

    /// A control frame, scrubbed by itself: the code of a close frame is no text.
    fn control(&mut self, part: &Part, out: &mut BytesMut) {
        let mut payload = part.payload.to_vec();
        let code = if part.head.opcode == Opcode::Close { payload.len().min(2) } else { 0 };
        let found = self.scrubber.patterns().scrub_whole(payload.get_mut(code..).unwrap_or_default());
        self.hits.extend(found);
        part.head.encode(out);
        out.extend_from_slice(&payload);
    }
}

/// Frames on their way from the client to the server, searched for placeholders.
pub struct ToServer<F> {
    reader: Reader,
    find: F,
    /// Most bytes of a spelling, less one: so much of what went before is searched again with what comes.
    overlap_bytes: usize,
    /// Unmasked, the last `overlap_bytes` of data.
    seen: Vec<u8>,
    fault: Option<Fault>,
}

impl<F> fmt::Debug for ToServer<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ToServer").field("reader", &self.reader).finish_non_exhaustive()
    }
}

impl<F: FnMut(&[u8]) -> Option<Option<String>>> ToServer<F> {
    /// At the beginning of the connection. `find` says whether bytes have a placeholder in any spelling, and of which secret
    /// if that is known; `longest_bytes` is the length of the longest spelling.
    pub fn new(longest_bytes: usize, find: F) -> Self {
        let reader = Reader::new(Way::ToServer);
        Self { reader, find, overlap_bytes: longest_bytes.saturating_sub(1), seen: Vec::new(), fault: None }
    }

    /// Takes what came and gives it on as it is. After a fault it gives that fault again.
    ///
    /// # Errors
    /// A frame breaks the protocol or is too long, or a message has a placeholder, fragments or not: the connection is
    /// closed, and nothing of what came with the end of the placeholder goes on.
    pub fn push(&mut self, input: Bytes) -> Result<Bytes, Fault> {
        if let Some(fault) = &self.fault {
            return Err(fault.clone());
        }
        let (mut rest, aside) = (input.clone(), self.reader.partial.clone());
        loop {
            let searched = match self.reader.next(&mut rest) {
                Ok(Some(part)) => self.search(&part),
                Ok(None) => break,
                Err(fault) => Err(fault),
            };
            if let Err(fault) = searched {
                return Err(self.fault.insert(fault).clone());
            }
        }
        // A head goes on when it is whole.
        let all = if aside.is_empty() { input } else { [&aside[..], &input].concat().into() };
        Ok(all.slice(..all.len() - self.reader.partial.len()))
    }

    /// The connection ended.
    ///
    /// # Errors
    /// In the middle of a frame or a message.
    pub fn finish(&self) -> Result<(), Fault> {
        self.reader.finish()
    }

    fn search(&mut self, part: &Part) -> Result<(), Fault> {
        if part.head.opcode.is_control() {
            // By itself: it stands between the fragments, not in them.
            let payload: Vec<u8> = part.head.unmasked(&part.payload, part.from).collect();
            return self.refuse_if(payload.as_slice());
        }
        let mut text = std::mem::take(&mut self.seen);
        text.extend(part.head.unmasked(&part.payload, part.from));
        self.refuse_if(&text)?;
        text.drain(..text.len().saturating_sub(self.overlap_bytes));
        self.seen = text;
        Ok(())
    }

    fn refuse_if(&mut self, text: &[u8]) -> Result<(), Fault> {
        (self.find)(text).map_or(Ok(()), |secret| Err(Fault::Placeholder { secret }))
    }
}

#[cfg(test)]
mod tests;
