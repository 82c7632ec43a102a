//! A leaf: the bytes of one record in the log, and back.
//! The parser never panics, and never accepts a second spelling of the members that precede the object.

use super::strict::StrictError;
use super::{Body, CallId, Digest, Evidence, Record};
use crate::frame::LEAF_BYTES_MAX;
use crate::merkle::Hash;
use crate::text::{base64url, unbase64url};

/// A record with its place in the log.
#[derive(Debug, Clone, PartialEq)]
pub struct Leaf {
    /// Index in the tree.
    pub n: u64,
    /// Wall clock, ns since 1970; never less than in the leaf before.
    pub wall_ns: u64,
    /// Monotonic clock, ns since the log was opened; never less than in the leaf before.
    pub mono_ns: u64,
    /// How long before that it happened, ns.
    pub ago_ns: u64,
    /// How well it is known.
    pub evidence: Evidence,
    /// The call it belongs to.
    pub call: Option<CallId>,
    /// What happened.
    pub body: Body,
    /// Digests of values that are not in the log.
    pub disclosed: Vec<Digest>,
}

/// The members that every leaf starts with, unparsed beyond that.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head<'a> {
    /// Index in the tree.
    pub n: u64,
    /// Wall clock, ns since 1970.
    pub wall_ns: u64,
    /// Monotonic clock, ns since the log was opened.
    pub mono_ns: u64,
    /// How long before that it happened, ns.
    pub ago_ns: u64,
    /// Kind.
    pub kind: &'a str,
    /// Evidence level.
    pub evidence: Evidence,
    /// Call.
    pub call: Option<&'a str>,
    /// From the object on.
    pub(super) rest: &'a [u8],
}

impl Leaf {
    /// When it happened: ns since the log was opened.
    #[must_use]
    pub const fn happened_ns(&self) -> u64 {
        self.mono_ns.saturating_sub(self.ago_ns)
    }

    /// When it happened by the wall clock: ns since 1970.
    #[must_use]
    pub const fn happened_wall_ns(&self) -> u64 {
        self.wall_ns.saturating_sub(self.ago_ns)
    }
}

/// Why bytes are not a leaf.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LeafError {
    /// More than 8 KiB.
    TooLong,
    /// The leaf does not start with the members that each leaf starts with.
    Head,
    /// A later version of the format.
    Version(u64),
    /// A kind that this version does not have.
    Kind,
    /// The object is not one of its kind.
    Object(String),
    /// After the object comes something else than digests.
    Tail,
    /// The same record has another spelling, and only that one is allowed.
    Spelling,
}

impl std::fmt::Display for LeafError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::TooLong => f.write_str("longer than 8192 bytes"),
            Self::Head => f.write_str("it does not start with v, n, t, mt, k, ev"),
            Self::Version(v) => write!(f, "format version {v}"),
            Self::Kind => f.write_str("unknown kind"),
            Self::Object(why) => write!(f, "its object is not one of its kind: {}", crate::text::printable(why)),
            Self::Tail => f.write_str("something follows its object"),
            Self::Spelling => f.write_str("it is not in the one spelling that this record has"),
        }
    }
}

fn push_u64(out: &mut Vec<u8>, mut n: u64) {
    let mut digits = [0u8; 20];
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b'0' + u8::try_from(n % 10).expect("a digit");
        n /= 10;
        if n == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[at..]);
}

/// Appends the leaf of `record` at this place.
pub(crate) fn write_leaf(
    out: &mut Vec<u8>,
    record: &Record,
    place: Place,
    digests: &[Hash],
) -> Result<(), serde_json::Error> {
    if let Some(why) = super::sense::nonsense(&record.body) {
        return Err(serde::ser::Error::custom(why));
    }
    out.extend_from_slice(b"{\"v\":1,\"n\":");
    push_u64(out, place.n);
    out.extend_from_slice(b",\"t\":");
    push_u64(out, place.wall_ns);
    out.extend_from_slice(b",\"mt\":");
    push_u64(out, place.mono_ns);
    // Nothing happened before the log was opened.
    let ago_ns = place.ago_ns.min(place.mono_ns);
    if ago_ns > 0 {
        out.extend_from_slice(b",\"ago\":");
        push_u64(out, ago_ns);
    }
    out.extend_from_slice(b",\"k\":\"");
    out.extend_from_slice(record.body.kind().as_bytes());
    out.extend_from_slice(b"\",\"ev\":\"");
    out.extend_from_slice(record.evidence.word().as_bytes());
    out.push(b'"');
    if let Some(call) = &record.call {
        out.extend_from_slice(b",\"tc\":\"");
        out.extend_from_slice(call.as_str().as_bytes());
        out.push(b'"');
    }
    out.extend_from_slice(b",\"o\":");
    record.body.write_json(out)?;
    for (i, digest) in digests.iter().enumerate() {
        out.extend_from_slice(if i == 0 { b",\"_sd\":[\"" } else { b",\"" });
        out.extend_from_slice(base64url(digest).as_bytes());
        out.push(b'"');
    }
    if !digests.is_empty() {
        out.push(b']');
    }
    out.push(b'}');
    Ok(())
}

/// Where and when a leaf is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) n: u64,
    pub(crate) wall_ns: u64,
    pub(crate) mono_ns: u64,
    /// How long ago it happened.
    pub(crate) ago_ns: u64,
}

/// The decimal number below 2⁶⁴ without leading zeros at the start of `bytes`, and what follows it.
pub(super) fn number(bytes: &[u8]) -> Option<(u64, &[u8])> {
    /// So many digits always fit: 10¹⁹ is below 2⁶⁴.
    const SAFE_DIGITS: usize = 19;
    let (mut n, mut digits) = (0u64, 0);
    for byte in bytes {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            break;
        }
        let digit = u64::from(digit);
        n = if digits < SAFE_DIGITS { n * 10 + digit } else { n.checked_mul(10)?.checked_add(digit)? };
        digits += 1;
    }
    let (text, rest) = bytes.split_at(digits);
    let padded = digits > 1 && text.first() == Some(&b'0');
    (digits > 0 && !padded).then_some((n, rest))
}

/// A reader of the fixed part of a leaf.
struct Cursor<'a>(&'a [u8]);

impl<'a> Cursor<'a> {
    fn literal<const N: usize>(&mut self, text: &[u8; N]) -> Option<()> {
        let (start, rest) = self.0.split_first_chunk::<N>()?;
        (start == text).then(|| self.0 = rest)
    }

    fn number(&mut self) -> Option<u64> {
        let (n, rest) = number(self.0)?;
        self.0 = rest;
        Some(n)
    }

    /// A string of plain characters up to its closing quote.
    fn word(&mut self) -> Option<&'a str> {
        let plain = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b':' | b'-');
        let len = self.0.iter().take_while(|b| plain(b)).count();
        let (word, rest) = self.0.split_at(len);
        self.0 = rest.strip_prefix(b"\"")?;
        std::str::from_utf8(word).ok().filter(|word| (1..=64).contains(&word.len()))
    }
}

/// Reads the members that every leaf starts with.
///
/// # Errors
/// When the bytes do not start so.
pub fn parse_head(bytes: &[u8]) -> Result<Head<'_>, LeafError> {
    if bytes.len() > LEAF_BYTES_MAX {
        return Err(LeafError::TooLong);
    }
    let mut cursor = Cursor(bytes);
    cursor.literal(b"{\"v\":").ok_or(LeafError::Head)?;
    match cursor.number().ok_or(LeafError::Head)? {
        crate::FORMAT_VERSION => head_v1(cursor).ok_or(LeafError::Head),
        version => Err(LeafError::Version(version)),
    }
}

fn head_v1(mut cursor: Cursor<'_>) -> Option<Head<'_>> {
    cursor.literal(b",\"n\":")?;
    let n = cursor.number()?;
    cursor.literal(b",\"t\":")?;
    let wall_ns = cursor.number()?;
    cursor.literal(b",\"mt\":")?;
    let mono_ns = cursor.number()?;
    let ago_ns = match cursor.literal(b",\"ago\":") {
        Some(()) => cursor.number().filter(|ago| (1..=mono_ns).contains(ago))?,
        None => 0,
    };
    cursor.literal(b",\"k\":\"")?;
    let kind = cursor.word()?;
    cursor.literal(b",\"ev\":\"")?;
    let evidence = Evidence::parse(cursor.word()?)?;
    let call = match cursor.literal(b",\"tc\":\"") {
        Some(()) => Some(cursor.word()?),
        None => None,
    };
    cursor.literal(b",\"o\":")?;
    Some(Head { n, wall_ns, mono_ns, ago_ns, kind, evidence, call, rest: cursor.0 })
}

/// The leaf in these bytes.
///
/// # Errors
/// When the bytes are not exactly what this version would write for some record: an unknown or repeated member, white
/// space, another order. So a leaf has one meaning, for every JSON parser.
pub fn parse_leaf(bytes: &[u8]) -> Result<Leaf, LeafError> {
    parse_head(bytes)?.leaf()
}

impl Head<'_> {
    /// The leaf that starts so; [`parse_leaf`] for who has read the head already.
    pub(crate) fn leaf(&self) -> Result<Leaf, LeafError> {
        let leaf = self.strictly();
        #[cfg(any(test, debug_assertions))]
        assert_eq!(leaf.as_ref().ok(), super::respell::leaf(self).as_ref(), "a leaf is what writing it again gives");
        #[cfg(any(test, debug_assertions))]
        assert!(
            leaf.as_ref().map_or(true, |leaf| super::glance::agrees(self, leaf)),
            "a glance sees what reading finds"
        );
        leaf
    }

    fn strictly(&self) -> Result<Leaf, LeafError> {
        let rest = std::str::from_utf8(self.rest).map_err(|_| LeafError::Spelling)?;
        let (body, tail) = Body::read(self.kind, rest).ok_or(LeafError::Kind)?.map_err(|error| match error {
            StrictError::Spelling => LeafError::Spelling,
            StrictError::Value(why) => LeafError::Object(why),
        })?;
        if let Some(why) = super::sense::nonsense(&body) {
            return Err(LeafError::Object(why.to_owned()));
        }
        let disclosed = parse_tail(tail).ok_or(LeafError::Tail)?;
        Ok(self.with(body, disclosed))
    }

    pub(super) fn with(&self, body: Body, disclosed: Vec<Digest>) -> Leaf {
        let Self { n, wall_ns, mono_ns, ago_ns, evidence, .. } = *self;
        let call = self.call.map(|call| CallId::new(call).expect("a word is a call's name"));
        Leaf { n, wall_ns, mono_ns, ago_ns, evidence, call, body, disclosed }
    }
}

/// `}`, or `,"_sd":["…","…"]}`.
pub(super) fn parse_tail(tail: &str) -> Option<Vec<Digest>> {
    if tail == "}" {
        return Some(Vec::new());
    }
    let list = tail.strip_prefix(",\"_sd\":[\"")?.strip_suffix("\"]}")?;
    list.split("\",\"").map(|text| Some(Digest(unbase64url(text)?.try_into().ok()?))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Permit;

    fn written(ago_ns: u64, mono_ns: u64) -> Vec<u8> {
        let permit = Permit { rules: vec!["r".to_owned()] };
        let mut leaf = Vec::new();
        let place = Place { n: 1, wall_ns: 1000, mono_ns, ago_ns };
        write_leaf(&mut leaf, &Record::new(permit), place, &[]).expect("it is written");
        leaf
    }

    #[test]
    fn what_happened_earlier_happened_after_the_log_was_opened() {
        for (ago_ns, mono_ns, happened) in [(0, 0, 0), (0, 9, 9), (4, 9, 5), (9, 9, 0), (10, 9, 0), (u64::MAX, 9, 0)] {
            let leaf = written(ago_ns, mono_ns);
            let leaf = parse_leaf(&leaf).expect("it is read");
            assert_eq!((leaf.mono_ns, leaf.happened_ns()), (mono_ns, happened));
            assert_eq!(leaf.happened_wall_ns(), 1000 - (mono_ns - happened));
        }
    }

    #[test]
    fn a_time_that_cannot_be_is_no_leaf() {
        let right = String::from_utf8(written(4, 9)).expect("text");
        assert!(parse_leaf(right.as_bytes()).is_ok() && right.contains(",\"mt\":9,\"ago\":4,"));
        for wrong in ["\"ago\":0", "\"ago\":10", "\"ago\":04", "\"ago\":-4", "\"ago\":4,\"ago\":4"] {
            let leaf = right.replace("\"ago\":4", wrong);
            assert_eq!(parse_leaf(leaf.as_bytes()), Err(LeafError::Head), "{leaf}");
        }
    }
}
