//! Watches a request's body for placeholders, whatever its chunks, and swaps those that are bound to it.
//! It never passes on the piece that would complete a placeholder which has no business there.

use super::canary::{Canary, Why};
use super::fill::push_encoded;
use super::slots::{Carried, Slots};
use super::{Shelf, Vault};
use crate::secrets::placeholder::{SPELLING_BYTES_MAX, Scanner, Sighting, Spelling};
use crate::secrets::plain::Plain;
use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use std::sync::Arc;
use zeroize::Zeroizing;

/// One body, on its way out.
#[derive(Debug)]
pub struct BodyFilter {
    scanner: Arc<Scanner>,
    held: Shelf,
    swapped: Vec<Carried>,
    dress: Dress,
    /// The last bytes that were looked at: a spelling can begin in them.
    seen: Vec<u8>,
    /// Bytes that begin a placeholder which is swapped, not yet passed on.
    kept: BytesMut,
}

/// How a plaintext has to be written to mean itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Dress {
    /// As it is.
    Bare,
    /// Inside a JSON string.
    Json,
    /// In a form: percent-encoded.
    Form,
}

impl Vault {
    /// The filter for the body of a request with these slots and headers.
    pub fn body_filter(&self, slots: &Slots, headers: &HeaderMap) -> BodyFilter {
        let content_type = headers.get("content-type").and_then(|value| value.to_str().ok()).unwrap_or_default();
        let media = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        let dress = match media.as_str() {
            "application/x-www-form-urlencoded" => Dress::Form,
            json if json == "application/json" || json.ends_with("+json") => Dress::Json,
            _ => Dress::Bare,
        };
        BodyFilter {
            scanner: Arc::clone(&self.scanner),
            held: self.held.clone(),
            swapped: slots.in_body.clone(),
            dress,
            seen: Vec::new(),
            kept: BytesMut::new(),
        }
    }
}

impl BodyFilter {
    /// Whether the body can come out longer or shorter: then its length must not be announced.
    pub fn changes_length(&self) -> bool {
        !self.swapped.is_empty()
    }

    /// Takes a piece; gives what can be passed on. Without something to swap, that is the piece itself.
    ///
    /// # Errors
    /// Guest: the piece completes a placeholder that is not bound to this body. Nothing more may be sent.
    pub fn push(&mut self, piece: Bytes) -> Result<Bytes, Canary> {
        self.look(&piece)?;
        if self.swapped.is_empty() {
            return Ok(piece);
        }
        self.kept.extend_from_slice(&piece);
        let whole = self.kept.split();
        // Only behind the last whole one can another have begun: one may end as it begins.
        let mut rest = &whole[..];
        while let Some((at, carried)) = self.next(rest) {
            rest = rest.get(at + carried.held.text.len()..).unwrap_or_default();
        }
        let keep = self.swapped.iter().map(|carried| begun(rest, carried.held.text.as_bytes())).max().unwrap_or(0);
        let (ready, begun) = whole.split_at(whole.len() - keep);
        let ready = self.swap(ready);
        self.kept.extend_from_slice(begun);
        Ok(ready)
    }

    /// Looks at a piece and passes nothing on: for the decoded form of a body that travels encoded.
    ///
    /// # Errors
    /// As [`BodyFilter::push`].
    pub fn look(&mut self, piece: &[u8]) -> Result<(), Canary> {
        let found = self.scanner.find(piece);
        let seam = piece.get(..SPELLING_BYTES_MAX.min(piece.len())).unwrap_or_default();
        self.seen.extend_from_slice(seam);
        let across = self.scanner.find(&self.seen);
        if let Some(canary) = found.iter().chain(&across).find_map(|sighting| self.canary(sighting)) {
            return Err(canary);
        }
        // The next seam begins with the last bytes of all that came so far.
        if piece.len() >= SPELLING_BYTES_MAX {
            self.seen.clear();
            self.seen.extend_from_slice(piece.get(piece.len() - SPELLING_BYTES_MAX..).unwrap_or_default());
        } else {
            let excess = self.seen.len().saturating_sub(SPELLING_BYTES_MAX);
            self.seen.drain(..excess);
        }
        Ok(())
    }

    /// The rest, at the body's end.
    ///
    /// # Errors
    /// As [`BodyFilter::push`].
    pub fn finish(&mut self) -> Result<Bytes, Canary> {
        Ok(self.kept.split().freeze())
    }

    fn canary(&self, sighting: &Sighting) -> Option<Canary> {
        let found = self.held.get(&sighting.core);
        let held = found.as_ref();
        let swapped = held.is_some_and(|held| self.swapped.iter().any(|other| Arc::ptr_eq(held, &other.held)));
        let why = match (held, swapped, sighting.spelling) {
            (_, true, Spelling::Raw) => return None,
            (_, true, _) => Why::Spelled,
            (Some(_), false, _) => Why::Elsewhere,
            (None, false, _) => Why::Foreign,
        };
        Some(Canary { secret: held.map(|held| held.name().to_owned()), place: "body".to_owned(), why })
    }

    /// The first placeholder to swap in bytes, and where it is.
    fn next(&self, bytes: &[u8]) -> Option<(usize, &Carried)> {
        let found = self.swapped.iter().filter_map(|carried| Some((find(bytes, &carried.held.text)?, carried)));
        found.min_by_key(|(at, _)| *at)
    }

    /// Swaps every placeholder in bytes that none runs out of.
    fn swap(&self, bytes: &[u8]) -> Bytes {
        let mut out = BytesMut::with_capacity(bytes.len());
        let mut rest = bytes;
        while let Some((at, carried)) = self.next(rest) {
            let (before, from) = rest.split_at(at);
            out.extend_from_slice(before);
            self.dress(&carried.value.plain, &mut out);
            rest = from.get(carried.held.text.len()..).unwrap_or_default();
        }
        out.extend_from_slice(rest);
        out.freeze()
    }

    fn dress(&self, secret: &Plain, out: &mut BytesMut) {
        let plain = secret.bytes();
        match self.dress {
            Dress::Bare => out.extend_from_slice(plain),
            Dress::Form => {
                let mut text = Zeroizing::new(String::with_capacity(3 * plain.len()));
                push_encoded(secret, &mut text);
                out.extend_from_slice(text.as_bytes());
            }
            Dress::Json => {
                for &byte in plain {
                    match byte {
                        b'"' | b'\\' => out.extend_from_slice(&[b'\\', byte]),
                        0..=31 => out.extend_from_slice(format!("\\u{byte:04x}").as_bytes()),
                        _ => out.extend_from_slice(&[byte]),
                    }
                }
            }
        }
    }
}

fn find(bytes: &[u8], text: &str) -> Option<usize> {
    let text = text.as_bytes();
    bytes.windows(text.len()).position(|window| window == text)
}

/// How many of the last bytes are the beginning of a text.
fn begun(bytes: &[u8], text: &[u8]) -> usize {
    let most = bytes.len().min(text.len() - 1);
    (1..=most).rev().find(|&count| bytes.ends_with(text.get(..count).unwrap_or_default())).unwrap_or(0)
}
