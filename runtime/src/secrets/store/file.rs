//! The store's file: lines of JSON under one seal, each secret sealed on its own.
//! It never holds a plaintext, and never opens what its key did not seal.
//!
//! ```text
//! {"stockade_secrets":1,"key":"<which key, 16 hex digits>"}
//! {"name":…,"version":…,"made_s":…,"source":[…],"nonce":"<hex>","sealed":"<base64>"}     one per version
//! {"seal":"<HMAC-SHA256 over every byte before this line, hex>"}
//! ```
//!
//! `sealed` is XChaCha20-Poly1305 of the value (of nothing, where the source is elsewhere) with everything else that its
//! line says as associated data: an entry can be given another name, version or source only with the key. The last line
//! holds the entries together: none can be taken out, doubled or brought in from an older file.

use crate::error::{Error, Result};
use crate::secrets::plain::{PLAIN_BYTES_MAX, Plain};
use crate::secrets::source::Source;
use base64ct::{Base64, Encoding as _};
use chacha20poly1305::aead::{Aead as _, KeyInit as _, Payload};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};
use hmac::{Hmac, Mac as _};
use serde::{Deserialize, Serialize};
use sha2::Sha256;
use stockade_audit::Machine;
use stockade_jail::locked::LockedBytes;
use stockade_policy::SecretName;
use zeroize::Zeroizing;

/// Largest file, bytes: it is read whole.
pub(super) const FILE_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Most entries: two versions of a thousand names.
pub(super) const ENTRIES_MAX: usize = 2048;
const FORMAT: u64 = 1;
const NONCE_BYTES: usize = 24;
const SEALED_TEXT_BYTES_MAX: usize = (PLAIN_BYTES_MAX + 16).div_ceil(3) * 4;
const _: () = assert!(SEALED_TEXT_BYTES_MAX < FILE_BYTES_MAX);

/// One version of a secret, as the file has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Entry {
    pub(super) name: String,
    pub(super) version: u64,
    /// Seconds since 1970.
    pub(super) made_s: u64,
    pub(super) source: Vec<String>,
    nonce: String,
    sealed: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Head {
    stockade_secrets: u64,
    key: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Foot {
    seal: String,
}

/// The store's key, and what is derived from it.
#[derive(Debug)]
pub(super) struct Keys {
    seal: LockedBytes,
    whole: LockedBytes,
    id: String,
}

impl Keys {
    pub(super) fn derive(key: &[u8]) -> Result<Self> {
        let part = |purpose: &[u8]| {
            let mut bytes: [u8; 32] = mac(key, purpose).finalize().into_bytes().into();
            LockedBytes::take(&mut bytes).map_err(|error| crate::secrets::plain::jailed(&error))
        };
        let id = mac(key, b"which key").finalize().into_bytes();
        Ok(Self { seal: part(b"seal a secret")?, whole: part(b"seal the file")?, id: hex(id.iter().take(8)) })
    }

    fn cipher(&self) -> XChaCha20Poly1305 {
        XChaCha20Poly1305::new_from_slice(self.seal.as_slice()).expect("32 bytes")
    }

    /// Seals a value, or a reference to one.
    pub(super) fn seal(
        &self,
        (name, version, made_s): (&SecretName, u64, u64),
        source: &Source,
        value: Option<&Plain>,
        machine: &Machine,
    ) -> Result<Entry> {
        let mut nonce = [0; NONCE_BYTES];
        machine.random.fill(&mut nonce).map_err(|error| Error::host(format!("draw a nonce: {error}")))?;
        let mut entry = Entry {
            name: name.as_str().to_owned(),
            version,
            made_s,
            source: source.words(),
            nonce: hex(nonce.iter()),
            sealed: String::new(),
        };
        let payload = Payload { msg: value.map_or(&[], Plain::bytes), aad: &entry.associated() };
        let sealed = self.cipher().encrypt(&XNonce::from(nonce), payload);
        let sealed = sealed.map_err(|_| Error::bug("64 KiB are more than the cipher takes"))?;
        entry.sealed = Base64::encode_string(&sealed);
        Ok(entry)
    }

    /// Opens an entry: its value, where the store holds it.
    pub(super) fn open(&self, entry: &Entry) -> Result<(Source, Option<Plain>)> {
        let broken = || tampered(&format!("its entry \"{}\" was altered", shown(&entry.name)));
        let source = Source::from_words(&entry.source).ok_or_else(broken)?;
        let nonce: [u8; NONCE_BYTES] =
            unhex(&entry.nonce).and_then(|nonce| nonce.try_into().ok()).ok_or_else(broken)?;
        let sealed = Base64::decode_vec(&entry.sealed).map_err(|_| broken())?;
        let payload = Payload { msg: &sealed, aad: &entry.associated() };
        let opened = self.cipher().decrypt(&XNonce::from(nonce), payload).map_err(|_| broken())?;
        let mut opened = Zeroizing::new(opened);
        match (&source, opened.is_empty()) {
            (Source::Store, _) => {
                let value = Plain::new(std::mem::take(&mut *opened)).map_err(|unfit| unfit.of(&entry.name))?;
                Ok((source, Some(value)))
            }
            (_, true) => Ok((source, None)),
            (_, false) => Err(broken()),
        }
    }

    /// The whole file.
    pub(super) fn write(&self, entries: &[Entry]) -> Result<Vec<u8>> {
        let mut out = Vec::new();
        line(&mut out, &Head { stockade_secrets: FORMAT, key: self.id.clone() })?;
        for entry in entries {
            line(&mut out, entry)?;
        }
        let seal = mac(self.whole.as_slice(), &out).finalize().into_bytes();
        line(&mut out, &Foot { seal: hex(seal.iter()) })?;
        if entries.len() > ENTRIES_MAX || out.len() > FILE_BYTES_MAX {
            return Err(Error::operator("the store is full").hint("remove secrets: stockade secret rm NAME"));
        }
        Ok(out)
    }

    /// Reads the whole file, and takes nothing from it before its seal holds.
    pub(super) fn read(&self, bytes: &[u8]) -> Result<Vec<Entry>> {
        let unsealed = bytes.strip_suffix(b"\n").ok_or_else(|| tampered("its end is missing"))?;
        let body_end =
            unsealed.iter().rposition(|&byte| byte == b'\n').ok_or_else(|| tampered("its end is missing"))?;
        let (body, foot) = bytes.split_at_checked(body_end + 1).ok_or_else(|| tampered("its end is missing"))?;
        let mut lines = body.strip_suffix(b"\n").unwrap_or_default().split(|&byte| byte == b'\n');
        let head: Head =
            json(lines.next().unwrap_or_default()).ok_or_else(|| tampered("its first line is none of ours"))?;
        if head.stockade_secrets != FORMAT {
            let found = head.stockade_secrets;
            return Err(Error::operator(format!("the store has format {found}, this stockade reads {FORMAT}"))
                .hint("use the newer stockade"));
        }
        if head.key != self.id {
            return Err(Error::operator("the store was sealed with another key")
                .hint("start with the key that it was made with: the file \"key\" beside it, or the same credential"));
        }
        let foot: Foot = json(foot).ok_or_else(|| tampered("its seal is missing"))?;
        let seal = unhex(&foot.seal).ok_or_else(|| tampered("its seal is missing"))?;
        mac(self.whole.as_slice(), body).verify_slice(&seal).map_err(|_| tampered("its seal is broken"))?;
        let entries: Option<Vec<Entry>> = lines.map(json).collect();
        let entries = entries.ok_or_else(|| tampered("a line is none of ours"))?;
        if entries.len() > ENTRIES_MAX {
            return Err(tampered("it has too many entries"));
        }
        Ok(entries)
    }
}

impl Entry {
    /// What the seal of an entry binds it to.
    fn associated(&self) -> Vec<u8> {
        let all = ("stockade secret", FORMAT, &self.name, self.version, self.made_s, &self.source);
        serde_json::to_vec(&all).expect("texts and numbers are JSON")
    }
}

fn mac(key: &[u8], bytes: &[u8]) -> Hmac<Sha256> {
    let mut mac = <Hmac<Sha256> as hmac::KeyInit>::new_from_slice(key).expect("HMAC takes keys of any length");
    mac.update(bytes);
    mac
}

fn line(out: &mut Vec<u8>, value: &impl Serialize) -> Result<()> {
    serde_json::to_writer(&mut *out, value).map_err(|error| Error::bug(format!("write JSON: {error}")))?;
    out.push(b'\n');
    Ok(())
}

fn json<'de, T: Deserialize<'de>>(line: &'de [u8]) -> Option<T> {
    serde_json::from_slice(line).ok()
}

fn hex<'a>(bytes: impl Iterator<Item = &'a u8>) -> String {
    bytes.map(|byte| format!("{byte:02x}")).collect()
}

/// One spelling only: lower case.
fn unhex(text: &str) -> Option<Vec<u8>> {
    let is_hex = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    if !text.len().is_multiple_of(2) || !text.bytes().all(is_hex) {
        return None;
    }
    let pairs = text.as_bytes().chunks_exact(2);
    pairs.map(|pair| str::from_utf8(pair).ok().and_then(|pair| u8::from_str_radix(pair, 16).ok())).collect()
}

/// A name from a file that may be hostile, for a message.
fn shown(name: &str) -> String {
    name.chars().filter(char::is_ascii_graphic).take(64).collect()
}

fn tampered(why: &str) -> Error {
    Error::operator(format!("the store cannot be trusted: {why}"))
        .hint("restore it from a backup, or remove it and set the secrets again, with new values")
}
