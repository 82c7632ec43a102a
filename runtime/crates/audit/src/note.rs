//! C2SP signed notes and checkpoints: keys, signatures, the text of a tree head.
//! It never accepts a note that its own writer would have written differently.

use crate::merkle::{Hash, sha256};
use crate::text::{base64, hex, unbase64, unhex};
use ed25519_dalek::{Signature, Signer as _, SigningKey, VerifyingKey};
use std::fmt;
use zeroize::Zeroizing;

/// Bytes of a signed note at most.
pub const NOTE_BYTES_MAX: usize = 16 << 10;
/// Bytes of an origin (and so of a key name) at most.
pub const ORIGIN_BYTES_MAX: usize = 255;

const ED25519: u8 = 1;
const DASH: &str = "\u{2014} ";

/// Whether a text can be the origin of a log and the name of its key: printable, without space or plus.
#[must_use]
pub fn is_origin(text: &str) -> bool {
    (1..=ORIGIN_BYTES_MAX).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_' | b'/' | b':' | b'@'))
}

fn key_id(name: &str, key: &[u8; 32]) -> [u8; 4] {
    let mut input = Vec::with_capacity(name.len() + 34);
    input.extend_from_slice(name.as_bytes());
    input.extend_from_slice(&[b'\n', ED25519]);
    input.extend_from_slice(key);
    *sha256(&input).first_chunk().expect("a hash has 32 bytes")
}

/// A public key with its name: the C2SP `vkey`, `<name>+<id>+<base64(0x01 ‖ key)>`.
#[derive(Clone, PartialEq, Eq)]
pub struct Vkey {
    name: String,
    id: [u8; 4],
    key: VerifyingKey,
}

impl Vkey {
    /// The key in a vkey text (surrounding white space allowed). `None` when it is none, or not an Ed25519 one.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.trim().splitn(3, '+');
        let (name, id, key) = (parts.next()?, parts.next()?, parts.next()?);
        let key = unbase64(key)?;
        let (&algorithm, key) = key.split_first()?;
        let key: &[u8; 32] = key.try_into().ok()?;
        let id = unhex::<4>(id)?;
        if algorithm != ED25519 || !is_origin(name) || key_id(name, key) != id {
            return None;
        }
        Some(Self { name: name.to_owned(), id, key: VerifyingKey::from_bytes(key).ok()? })
    }

    /// The same key under another name: a ledger's key signs follow-up logs under their own origins.
    #[must_use]
    pub fn renamed(&self, name: &str) -> Option<Self> {
        is_origin(name).then(|| Self { name: name.to_owned(), id: key_id(name, self.key.as_bytes()), key: self.key })
    }

    /// Name of the key, which is the origin of its log.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }
}

impl fmt::Display for Vkey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut key = vec![ED25519];
        key.extend_from_slice(self.key.as_bytes());
        write!(f, "{}+{}+{}", self.name, hex(&self.id), base64(&key))
    }
}

impl fmt::Debug for Vkey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Vkey({self})")
    }
}

/// A private key with its name. The key is wiped from memory when this is dropped.
pub(crate) struct Signer {
    name: String,
    key: SigningKey,
}

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Signer({})", self.name)
    }
}

impl Signer {
    pub(crate) fn from_seed(name: &str, seed: &[u8; 32]) -> Self {
        assert!(is_origin(name), "origins are checked where they enter");
        Self { name: name.to_owned(), key: SigningKey::from_bytes(seed) }
    }

    /// The text of a key file, in the form that Go's `sumdb/note` reads: `PRIVATE+KEY+<name>+<id>+<base64>`.
    pub(crate) fn to_text(&self) -> Zeroizing<String> {
        let mut key = Zeroizing::new(vec![ED25519]);
        key.extend_from_slice(self.key.as_bytes());
        let id = hex(&self.vkey().id);
        Zeroizing::new(format!("PRIVATE+KEY+{}+{id}+{}\n", self.name, *Zeroizing::new(base64(&key))))
    }

    pub(crate) fn parse(text: &str) -> Option<Self> {
        let mut parts = text.trim().strip_prefix("PRIVATE+KEY+")?.splitn(3, '+');
        let (name, id, key) = (parts.next()?, parts.next()?, parts.next()?);
        let key = Zeroizing::new(unbase64(key)?);
        let (&algorithm, seed) = key.split_first()?;
        let seed: &[u8; 32] = seed.try_into().ok()?;
        if algorithm != ED25519 || !is_origin(name) {
            return None;
        }
        let signer = Self::from_seed(name, seed);
        (hex(&signer.vkey().id) == id).then_some(signer)
    }

    pub(crate) fn renamed(&self, name: &str) -> Self {
        Self::from_seed(name, self.key.as_bytes())
    }

    pub(crate) fn vkey(&self) -> Vkey {
        let key = self.key.verifying_key();
        Vkey { name: self.name.clone(), id: key_id(&self.name, key.as_bytes()), key }
    }

    /// A signed checkpoint of the log whose origin is this key's name.
    pub(crate) fn sign(&self, size: u64, root: &Hash) -> String {
        let body = checkpoint_body(&self.name, size, root);
        let mut signature = key_id(&self.name, self.key.verifying_key().as_bytes()).to_vec();
        signature.extend_from_slice(&self.key.sign(body.as_bytes()).to_bytes());
        format!("{body}\n{DASH}{} {}\n", self.name, base64(&signature))
    }
}

fn checkpoint_body(origin: &str, size: u64, root: &Hash) -> String {
    format!("{origin}\n{size}\n{}\n", base64(root))
}

/// A tree head, as its text says; signed or not is another question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkpoint {
    /// Identity of the log.
    pub origin: String,
    /// Leaves.
    pub size: u64,
    /// Root.
    pub root: Hash,
}

/// A checkpoint with its signature lines, not yet checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedCheckpoint {
    /// What was signed.
    pub checkpoint: Checkpoint,
    signatures: Vec<(String, [u8; 4], Vec<u8>)>,
}

impl SignedCheckpoint {
    /// Parses a signed note that is a checkpoint. Extension lines are refused: this format has none.
    #[must_use]
    pub fn parse(note: &str) -> Option<Self> {
        if note.len() > NOTE_BYTES_MAX {
            return None;
        }
        let (body, signatures) = note.split_once("\n\n")?;
        let mut lines = body.split('\n');
        let (origin, size, root) = (lines.next()?, lines.next()?, lines.next()?);
        let checkpoint = Checkpoint {
            origin: Some(origin).filter(|o| is_origin(o))?.to_owned(),
            size: size.parse().ok()?,
            root: unbase64(root)?.try_into().ok()?,
        };
        let canonical = checkpoint_body(&checkpoint.origin, checkpoint.size, &checkpoint.root);
        if lines.next().is_some() || canonical.strip_suffix('\n') != Some(body) {
            return None;
        }
        let signatures = signatures.strip_suffix('\n')?.split('\n').map(signature_line).collect::<Option<Vec<_>>>()?;
        Some(Self { checkpoint, signatures })
    }

    /// Size and root that it names, whoever signed it.
    pub(crate) fn claims(&self) -> (u64, Hash) {
        (self.checkpoint.size, self.checkpoint.root)
    }

    /// The checkpoint, if `vkey` has signed it, its name is the origin, and no line pretends to be from the same key.
    #[must_use]
    pub fn verify(&self, vkey: &Vkey) -> Option<&Checkpoint> {
        if self.checkpoint.origin != vkey.name {
            return None;
        }
        let mut ours = self.signatures.iter().filter(|(name, id, _)| *name == vkey.name && *id == vkey.id);
        let (_, _, signature) = ours.next()?;
        if ours.next().is_some() {
            return None;
        }
        let signature = Signature::from_slice(signature).ok()?;
        let Checkpoint { origin, size, root } = &self.checkpoint;
        let body = checkpoint_body(origin, *size, root);
        vkey.key.verify_strict(body.as_bytes(), &signature).ok()?;
        Some(&self.checkpoint)
    }
}

fn signature_line(line: &str) -> Option<(String, [u8; 4], Vec<u8>)> {
    let (name, signature) = line.strip_prefix(DASH)?.split_once(' ')?;
    let signature = unbase64(signature)?;
    let (id, signature) = signature.split_first_chunk::<4>()?;
    // A name has no Unicode space and no plus sign (C2SP signed-note).
    if name.is_empty() || name.contains(|c: char| c.is_whitespace() || c == '+') || signature.is_empty() {
        return None;
    }
    Some((name.to_owned(), *id, signature.to_vec()))
}

/// Splits the content of a `checkpoints` file into notes. The second value is what is left: the start of a note whose write
/// was torn, or, see [`is_foreign`], something that no writer wrote.
#[must_use]
pub fn split_notes(text: &[u8]) -> (Vec<&str>, &[u8]) {
    let (mut notes, mut rest) = (Vec::new(), text);
    while let Some(end) = note_end(rest) {
        let (note, tail) = rest.split_at(end);
        let Ok(note) = std::str::from_utf8(note) else { break };
        notes.push(note);
        rest = tail;
    }
    (notes, rest)
}

/// Whether what [`split_notes`] left is more than a torn write: a whole note, and not UTF-8.
#[must_use]
pub fn is_foreign(rest: &[u8]) -> bool {
    note_end(rest).is_some()
}

/// Where the note at the start of `bytes` ends: after the last of the signature lines that follow its empty line.
fn note_end(bytes: &[u8]) -> Option<usize> {
    let mut at = bytes.windows(2).take(NOTE_BYTES_MAX).position(|pair| pair == b"\n\n")? + 2;
    let start = at;
    while bytes[at..].starts_with(DASH.as_bytes()) {
        at += bytes[at..].iter().position(|b| *b == b'\n')? + 1;
    }
    (at > start).then_some(at)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_note_signed_here_verifies_and_any_changed_byte_does_not() {
        let signer = Signer::from_seed("example.com/log", &[7; 32]);
        let vkey = Vkey::parse(&signer.vkey().to_string()).expect("own vkey parses");
        let note = signer.sign(5, &[9; 32]);
        let signed = SignedCheckpoint::parse(&note).expect("own note parses");
        assert_eq!(signed.verify(&vkey).map(|c| c.size), Some(5));
        for at in 0..note.len() {
            let mut bytes = note.clone().into_bytes();
            bytes[at] ^= 1;
            let verified = String::from_utf8(bytes)
                .ok()
                .and_then(|note| SignedCheckpoint::parse(&note))
                .is_some_and(|signed| signed.verify(&vkey).is_some());
            assert!(!verified, "byte {at} flipped and still verified");
        }
    }

    #[test]
    fn notes_in_a_row_split_and_a_torn_one_stays_behind() {
        let signer = Signer::from_seed("example.com/log", &[7; 32]);
        let (a, b) = (signer.sign(1, &[1; 32]), signer.sign(2, &[2; 32]));
        let both = format!("{a}{b}");
        assert_eq!(split_notes(both.as_bytes()), (vec![a.as_str(), b.as_str()], &b""[..]));
        for cut in 1..b.len() {
            let (notes, rest) = split_notes(&both.as_bytes()[..both.len() - cut]);
            assert_eq!((notes.len(), rest.len()), (1, b.len() - cut));
        }
    }

    #[test]
    fn a_key_file_round_trips() {
        let signer = Signer::from_seed("host/agent-ledger", &[3; 32]);
        let again = Signer::parse(&signer.to_text()).expect("own key file parses");
        assert_eq!(again.vkey(), signer.vkey());
    }
}
