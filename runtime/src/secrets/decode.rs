//! Content encodings, decoded as they stream, within limits.
//! It never passes on what it cannot decode.
//!
//! What is decoded leaves at once: an encoder that flushes after each event is followed event by event. Memory is bounded by
//! the windows of the formats and one piece of output, whatever comes in.

mod codec;
mod gzip;

use self::codec::{Codec, Step};
use bytes::{Bytes, BytesMut};
use std::collections::VecDeque;
use std::fmt;

/// Most encodings on top of each other.
pub const STACKED_MAX: usize = 2;

/// Most bytes of one piece of output.
pub const PIECE_BYTES_MAX: usize = 64 * 1024;

/// Each layer may give so many bytes for each that it took: text and logs stay below 100, deflate alone can reach 1,032.
pub const RATIO_MAX: u64 = 250;

/// And so many whatever the ratio: a short answer may be all zeros.
pub const SLACK_BYTES: u64 = 32 * 1024 * 1024;

/// Largest window of a zstd frame, as a power of two: 8 MiB, which RFC 9659 asks of this encoding.
pub const ZSTD_WINDOW_LOG_MAX: u32 = 23;

/// Most bytes of one gzip member's header, with its name and comment.
pub const GZIP_HEADER_BYTES_MAX: usize = 64 * 1024;

// A full piece from a first byte is no bomb.
const _: () = assert!(PIECE_BYTES_MAX as u64 <= SLACK_BYTES);

/// An encoding that we cannot undo.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unknown {
    /// No name that we know, in lower case and cut to 64 bytes.
    Name(String),
    /// More than [`STACKED_MAX`].
    Stacked,
}

/// Why a stream cannot be decoded. The upstream's fault, but for `Memory`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// It is not what its header says.
    Malformed(&'static str),
    /// It ended in the middle.
    Truncated,
    /// Something stands behind its end.
    Trailing,
    /// It grows more than [`RATIO_MAX`] allows.
    Bomb,
    /// It needs a larger window than [`ZSTD_WINDOW_LOG_MAX`] or a longer header than [`GZIP_HEADER_BYTES_MAX`].
    Limit(&'static str),
    /// The machine has no memory for it.
    Memory,
}

impl fmt::Display for Unknown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => write!(f, "the content encoding \"{}\" is unknown", name.escape_debug()),
            Self::Stacked => write!(f, "there are more than {STACKED_MAX} content encodings"),
        }
    }
}

impl std::error::Error for Unknown {}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Malformed(format) => write!(f, "the body is not \"{format}\" although its header says so"),
            Self::Truncated => f.write_str("the encoded body ends in the middle"),
            Self::Trailing => f.write_str("something stands behind the end of the encoded body"),
            Self::Bomb => write!(f, "the encoded body grows to more than {RATIO_MAX} times its size"),
            Self::Limit(what) => write!(f, "the encoded body exceeds the limit \"{what}\""),
            Self::Memory => f.write_str("no memory for decoding the body"),
        }
    }
}

impl std::error::Error for Fault {}

/// Decodes one body. After a fault it gives that fault again and nothing else.
pub struct Decoder {
    /// The last encoding that was put on is the first.
    layers: Vec<Layer>,
    /// What came in and is not taken yet.
    waiting: VecDeque<Bytes>,
    fault: Option<Fault>,
}

/// One encoding.
struct Layer {
    codec: Codec,
    input: Bytes,
    taken: u64,
    given: u64,
}

impl fmt::Debug for Decoder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Decoder").field("layers", &self.layers.len()).finish_non_exhaustive()
    }
}

impl Decoder {
    /// A decoder for the value of a `Content-Encoding` header (several headers joined by commas); none where nothing is to
    /// be decoded.
    ///
    /// # Errors
    /// Something in the list is not gzip, x-gzip, deflate, br, zstd or identity, or the list is too long.
    pub fn for_encoding(value: &str) -> Result<Option<Self>, Unknown> {
        let mut layers = Vec::new();
        for name in value.split(',').map(|name| name.trim_matches([' ', '\t'])).filter(|name| !name.is_empty()) {
            if name.eq_ignore_ascii_case("identity") {
                continue;
            }
            if layers.len() == STACKED_MAX {
                return Err(Unknown::Stacked);
            }
            let codec = Codec::by_name(name)
                .ok_or_else(|| Unknown::Name(name.chars().take(64).collect::<String>().to_ascii_lowercase()))?;
            layers.insert(0, Layer { codec, input: Bytes::new(), taken: 0, given: 0 });
        }
        Ok((!layers.is_empty()).then_some(Self { layers, waiting: VecDeque::new(), fault: None }))
    }

    /// Takes encoded bytes; [`Decoder::next_piece`] gives what they decode to, and is called until it gives nothing.
    pub fn feed(&mut self, encoded: Bytes) {
        if !encoded.is_empty() {
            self.waiting.push_back(encoded);
        }
    }

    /// The next decoded bytes, at most [`PIECE_BYTES_MAX`]; none where more has to come in first.
    ///
    /// # Errors
    /// The stream is malformed, too large for its size, or has something behind its end.
    pub fn next_piece(&mut self) -> Result<Option<Bytes>, Fault> {
        if let Some(fault) = self.fault {
            return Err(fault);
        }
        let piece = pull(&mut self.layers, &mut self.waiting);
        self.fault = piece.as_ref().err().copied();
        piece
    }

    /// Takes encoded bytes and gives all that they decode to: at once up to [`SLACK_BYTES`] and [`RATIO_MAX`] times their
    /// size, so a proxy uses [`Decoder::feed`].
    ///
    /// # Errors
    /// As [`Decoder::next_piece`].
    pub fn push(&mut self, encoded: &[u8]) -> Result<Bytes, Fault> {
        self.feed(Bytes::copy_from_slice(encoded));
        let mut out = BytesMut::new();
        while let Some(piece) = self.next_piece()? {
            out.extend_from_slice(&piece);
        }
        Ok(out.freeze())
    }

    /// The stream ended. A body without a byte (the answer to HEAD, a 304) is whole.
    ///
    /// # Errors
    /// It ended in the middle, or was faulty before.
    pub fn finish(&mut self) -> Result<(), Fault> {
        while self.next_piece()?.is_some() {
            debug_assert!(false, "what was decoded was not fetched");
        }
        let is_whole = |layer: &Layer| layer.input.is_empty() && layer.codec.is_whole();
        let is_empty = self.layers.first().is_none_or(|first| first.taken == 0);
        if is_empty || self.layers.iter().all(is_whole) { Ok(()) } else { Err(Fault::Truncated) }
    }
}

/// One piece from the last of `layers`, which takes from those before it, and the first from `waiting`.
fn pull(layers: &mut [Layer], waiting: &mut VecDeque<Bytes>) -> Result<Option<Bytes>, Fault> {
    let Some((last, before)) = layers.split_last_mut() else { return Ok(waiting.pop_front()) };
    loop {
        if let Some(piece) = last.step()? {
            return Ok(Some(piece));
        }
        match pull(before, waiting)? {
            Some(more) => last.input = more,
            None => return Ok(None),
        }
    }
}

impl Layer {
    /// Decodes as much of `input` as fits into one piece; none when all of it is used up.
    fn step(&mut self) -> Result<Option<Bytes>, Fault> {
        let mut piece = BytesMut::zeroed(self.room());
        loop {
            let Step { taken, given } = self.codec.step(&self.input, &mut piece)?;
            let _rest = self.input.split_to(taken.min(self.input.len()));
            self.taken += taken as u64;
            self.given += given as u64;
            if self.given > SLACK_BYTES.saturating_add(self.taken.saturating_mul(RATIO_MAX)) {
                return Err(Fault::Bomb);
            }
            if given > 0 {
                piece.truncate(given);
                return Ok(Some(piece.freeze()));
            }
            if taken == 0 {
                // No progress with input left would be an endless loop; no codec stops there without a fault.
                return if self.input.is_empty() { Ok(None) } else { Err(Fault::Malformed("itself")) };
            }
        }
    }

    /// How much to make room for: small answers get small pieces.
    fn room(&self) -> usize {
        self.input.len().saturating_mul(8).clamp(4096, PIECE_BYTES_MAX)
    }
}

#[cfg(test)]
mod tests;
