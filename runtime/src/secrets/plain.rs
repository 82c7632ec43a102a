//! The plaintext of a secret: locked memory, wiped when dropped.
//! It never prints, clones or serialises.

use crate::error::Error;
use std::fmt;
use stockade_jail::locked::LockedBytes;
use stockade_jail::{Fault, JailError};
use zeroize::Zeroize as _;

/// Longest secret, bytes: a private key in PEM fits sixteen times.
pub const PLAIN_BYTES_MAX: usize = 64 * 1024;
/// Shortest secret that can be taken out of what comes back, bytes: anything shorter is in every second answer by chance.
pub const SCRUBBED_BYTES_MIN: usize = 8;

/// A secret's bytes. There is no way to see them but [`Plain::reveal_into`], which says what it does.
pub struct Plain {
    bytes: LockedBytes,
}

/// Why bytes are no secret.
#[derive(Debug)]
pub enum Unfit {
    /// There are none.
    Empty,
    /// There are more than [`PLAIN_BYTES_MAX`].
    TooLong,
    /// There is a NUL among them, which no header, variable or URL can carry.
    Nul,
    /// There is no memory to keep them in.
    Memory(JailError),
}

impl Plain {
    /// Takes the bytes into locked memory, and wipes where they were, whether they fit or not.
    ///
    /// # Errors
    /// They are no secret, or there is no memory for them.
    pub fn new(mut bytes: Vec<u8>) -> Result<Self, Unfit> {
        let made = match bytes.as_slice() {
            [] => Err(Unfit::Empty),
            long if long.len() > PLAIN_BYTES_MAX => Err(Unfit::TooLong),
            some if some.contains(&0) => Err(Unfit::Nul),
            _ => LockedBytes::take(&mut bytes).map(|bytes| Self { bytes }).map_err(Unfit::Memory),
        };
        bytes.zeroize();
        made
    }

    /// Takes the bytes from memory that wipes itself.
    ///
    /// # Errors
    /// As [`Plain::new`].
    pub(super) fn copied(bytes: &[u8]) -> Result<Self, Unfit> {
        if bytes.len() > PLAIN_BYTES_MAX {
            return Err(Unfit::TooLong);
        }
        Self::new(bytes.to_vec())
    }

    /// Appends the secret to what is about to leave. Whoever calls this has a plaintext in ordinary memory, and wipes it.
    pub fn reveal_into(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.bytes.as_slice());
    }

    /// Its length, bytes.
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Whether it has no bytes: it never has not.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// The bytes, for the neighbours that encrypt, sign and look for them.
    pub(super) fn bytes(&self) -> &[u8] {
        self.bytes.as_slice()
    }
}

/// Says that there is one, and nothing about it.
impl fmt::Debug for Plain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Plain")
    }
}

impl Unfit {
    /// The error of the secret that has this name.
    pub fn of(self, name: &str) -> Error {
        let (why, hint) = match self {
            Self::Empty => {
                ("is empty", "the value may come with one newline at its end, and needs something before it")
            }
            Self::TooLong => ("has more than 65536 bytes", "keep files elsewhere, and the key to them here"),
            Self::Nul => ("has a NUL byte", "no header, variable or URL can carry one"),
            Self::Memory(error) => return jailed(&error),
        };
        Error::operator(format!("secret \"{name}\" {why}")).hint(hint)
    }
}

const _: () = assert!(PLAIN_BYTES_MAX == 65536, "the text above says so");

/// An error of the jail, in the runtime's words.
pub(super) fn jailed(error: &JailError) -> Error {
    let text = error.to_string();
    let made = match error.fault {
        Fault::Guest => Error::guest(text),
        Fault::Operator => Error::operator(text),
        Fault::Host => Error::host(text),
        Fault::Bug => Error::bug(text),
    };
    match &error.hint {
        Some(hint) => made.hint(hint.clone()),
        None => made,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_neither_printed_nor_taken_unfit() {
        let plain = Plain::new(b"open sesame".to_vec()).expect("it fits");
        assert_eq!(format!("{plain:?} {plain:#?}"), "Plain Plain");
        let mut out = b"Bearer ".to_vec();
        plain.reveal_into(&mut out);
        assert_eq!(out, b"Bearer open sesame");
        for (bytes, expect) in [
            (Vec::new(), "error: secret \"k\" is empty"),
            (vec![b'x'; PLAIN_BYTES_MAX + 1], "error: secret \"k\" has more than 65536 bytes"),
            (b"a\0b".to_vec(), "error: secret \"k\" has a NUL byte"),
        ] {
            let text = Plain::new(bytes).expect_err("it is unfit").of("k").to_string();
            assert!(text.starts_with(expect), "{text}");
        }
    }
}
