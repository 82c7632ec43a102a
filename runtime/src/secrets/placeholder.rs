//! Placeholders: what the sandbox holds instead of a secret.
//! It never holds anything of the secret itself.
//!
//! ```text
//! [lead] stkD9 iiiiiiiiiiiiiiiiiiiiii ttttttttt
//!        mark  id: 128 bits           tag: 53 bits
//! ```
//!
//! The id is an HMAC under a key that lives as long as the session, over the secret's name, version and shape: so it is
//! bound to all four, cannot be guessed, and says nothing. The tag is an HMAC of the id under a key of the host: so a
//! placeholder of another session, even a past one, is known to be one, and text that only looks like one is not taken
//! for it. The lead is what a shape needs in front; it is always the same.

mod scan;
mod spelling;

pub use scan::{SPELLING_BYTES_MAX, Scanner, Sighting};
pub use spelling::Spelling;

use crate::error::{Error, Result};
use crate::secrets::plain::jailed;
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;
use stockade_audit::Machine;
use stockade_jail::locked::LockedBytes;
use stockade_policy::{SecretName, Shape};

/// What every placeholder's core begins with; letters and digits, so that no encoding but a deliberate one changes it.
pub const MARK: &[u8; 5] = b"stkD9";
/// Length of a placeholder without its lead, bytes: what follows `ghp_` in a token of GitHub's.
pub const CORE_BYTES: usize = 36;
const ID_BYTES: usize = 22;
const TAG_BYTES: usize = 9;
const _: () = assert!(MARK.len() + ID_BYTES + TAG_BYTES == CORE_BYTES);
/// Bytes of a key.
pub const KEY_BYTES: usize = 32;

const ALPHABET: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// `{"alg":"HS256","typ":"JWT"}` and `{"iss":"stockade","exp":4102444800}`: what clients read before they send one.
const JWT_LEAD: &str = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJpc3MiOiJzdG9ja2FkZSIsImV4cCI6NDEwMjQ0NDgwMH0.";

/// Longest placeholder, bytes.
pub const PLACEHOLDER_BYTES_MAX: usize = JWT_LEAD.len() + CORE_BYTES;

/// The part of a placeholder by which it is known.
pub type Core = [u8; CORE_BYTES];

/// A placeholder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Placeholder {
    core: Core,
    shape: Shape,
}

impl Placeholder {
    /// The part by which it is known.
    pub fn core(&self) -> &Core {
        &self.core
    }

    /// The whole of it, as the sandbox holds it.
    pub fn text(&self) -> String {
        let core = str::from_utf8(&self.core).expect("letters and digits");
        format!("{}{core}", lead(self.shape))
    }
}

/// What stands in front of a core.
fn lead(shape: Shape) -> &'static str {
    match shape {
        Shape::Opaque => "",
        Shape::Github => "ghp_",
        Shape::Jwt => JWT_LEAD,
    }
}

/// The key of this session: gone with it.
#[derive(Debug)]
pub struct SessionKey(LockedBytes);

impl SessionKey {
    /// Draws one.
    ///
    /// # Errors
    /// Host: the machine has no randomness, or no memory.
    pub fn draw(machine: &Machine) -> Result<Self> {
        let mut key = LockedBytes::zeroed(KEY_BYTES).map_err(|error| jailed(&error))?;
        machine.random.fill(key.as_mut_slice()).map_err(|error| Error::host(format!("draw a key: {error}")))?;
        Ok(Self(key))
    }
}

/// The key of this host: by it, what any session ever made is known.
#[derive(Debug)]
pub struct HostKey(LockedBytes);

impl HostKey {
    /// Takes the key from the state directory.
    pub fn new(key: LockedBytes) -> Self {
        Self(key)
    }

    /// Makes the placeholder of a secret.
    pub fn placeholder(&self, session: &SessionKey, name: &SecretName, version: u64, shape: Shape) -> Placeholder {
        let parts = [name.as_str().as_bytes(), &[0], &version.to_le_bytes(), shape.as_str().as_bytes()];
        let id = digest(&session.0, b"placeholder id", &parts);
        let mut core = *b"stkD9iiiiiiiiiiiiiiiiiiiiiittttttttt";
        let (mark_and_id, tag) = core.split_at_mut(MARK.len() + ID_BYTES);
        let (_mark, id_text) = mark_and_id.split_at_mut(MARK.len());
        write_number(id_text, u128::from_le_bytes(first(&id)));
        self.write_tag(id_text, tag);
        Placeholder { core, shape }
    }

    /// Whether any session of this host made this core.
    pub fn made(&self, core: &Core) -> bool {
        let (mark, rest) = core.split_at(MARK.len());
        let (id, tag) = rest.split_at(ID_BYTES);
        let mut expected = [0; TAG_BYTES];
        self.write_tag(id, &mut expected);
        // No secret is compared here: a tag only tells ours from chance, so time may tell.
        mark == MARK && tag == expected
    }

    fn write_tag(&self, id: &[u8], tag: &mut [u8]) {
        let digest = digest(&self.0, b"placeholder tag", &[id]);
        write_number(tag, u128::from(u64::from_le_bytes(first(&digest))));
    }
}

fn digest(key: &LockedBytes, purpose: &[u8], parts: &[&[u8]]) -> [u8; 32] {
    let mut mac = Hmac::<Sha256>::new_from_slice(key.as_slice()).expect("HMAC takes keys of any length");
    mac.update(purpose);
    mac.update(&[0]);
    for part in parts {
        mac.update(part);
    }
    mac.finalize().into_bytes().into()
}

fn first<const N: usize>(digest: &[u8; 32]) -> [u8; N] {
    *digest.first_chunk().expect("N is at most 16")
}

/// Writes the number to base 62, as much of it as there is room for, the lowest digit first.
fn write_number(out: &mut [u8], mut number: u128) {
    for place in out {
        let digit = usize::try_from(number % 62).expect("below 62");
        *place = *ALPHABET.get(digit).expect("62 digits");
        number /= 62;
    }
}

#[cfg(test)]
pub(in crate::secrets) mod tests;
