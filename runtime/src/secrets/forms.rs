//! Every form in which a secret could come back.
//! It never keeps a form longer than its secret: each is wiped when it is dropped.
//!
//! What is left out on purpose: forms that change the order or the value of the bytes (reversed, rotated, encrypted, one
//! character a line), and mixtures (every second byte escaped). A host that wants to return a secret so can; it is bound
//! to that secret, so it has it already.

mod base64;
mod escape;

use zeroize::Zeroizing;

/// Secrets that are shorter than this many bytes are not looked for: they would be found in what is no secret.
pub const WATCHED_BYTES_MIN: usize = 8;

/// Secrets that are longer than this many bytes are not looked for: their forms would take more memory than they are worth.
pub const WATCHED_BYTES_MAX: usize = 16 * 1024;

/// A kind of spelling; its name is what the log has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Form {
    /// As it is.
    Raw,
    /// Base64 with `+` and `/` (RFC 4648, section 4), at any of three alignments, with and without padding.
    Base64,
    /// Base64 with `-` and `_` (RFC 4648, section 5).
    Base64Url,
    /// `user:secret` in base64, as basic authentication sends it (RFC 7617).
    Basic,
    /// Two digits a byte, in lower or upper case.
    Hex,
    /// Percent-encoded (RFC 3986, section 2.1), for any of the usual sets of characters that are kept, and wholly.
    Percent,
    /// Percent-encoded, and that once more.
    PercentTwice,
    /// As the inside of a JSON string (RFC 8259, section 7).
    Json,
    /// As HTML text: named, decimal and hexadecimal references.
    Html,
    /// UTF-16, in either order of bytes.
    Utf16,
}

impl Form {
    /// The name in the log.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Raw => "raw",
            Self::Base64 => "base64",
            Self::Base64Url => "base64url",
            Self::Basic => "basic",
            Self::Hex => "hex",
            Self::Percent => "percent",
            Self::PercentTwice => "percent-twice",
            Self::Json => "json",
            Self::Html => "html",
            Self::Utf16 => "utf-16",
        }
    }
}

/// Why a secret is not looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reason {
    /// It is shorter than [`WATCHED_BYTES_MIN`], white space around it not counted.
    Short,
    /// It is longer than [`WATCHED_BYTES_MAX`].
    Long,
    /// All the forms of all secrets would take more than [`super::scrub::FORM_BYTES_MAX`].
    Full,
}

/// One spelling of one secret. No `Debug`, no `Clone`.
pub(super) struct Spelling {
    pub(super) form: Form,
    pub(super) bytes: Zeroizing<Vec<u8>>,
}

impl Spelling {
    pub(super) fn new(form: Form, bytes: Zeroizing<Vec<u8>>) -> Self {
        Self { form, bytes }
    }
}

/// Every spelling of a secret, the plain one first; equal ones may occur more than once. `user` is who is named with it in
/// basic authentication.
///
/// # Errors
/// The secret is too short or too long to be looked for.
pub(super) fn spellings(plain: &[u8], user: Option<&str>) -> Result<Vec<Spelling>, Reason> {
    // A file's last newline is no part of what leaks.
    let core = plain.trim_ascii();
    if core.len() < WATCHED_BYTES_MIN {
        return Err(Reason::Short);
    }
    if core.len() > WATCHED_BYTES_MAX {
        return Err(Reason::Long);
    }
    let mut all = vec![Spelling::new(Form::Raw, copied(core))];
    escape::line_ends(core, &mut all);
    base64::every(core, &mut all);
    if let Some(user) = user {
        base64::basic(user, plain, &mut all);
    }
    escape::hex(core, &mut all);
    escape::percent(core, &mut all);
    escape::json(core, &mut all);
    escape::html(core, &mut all);
    escape::utf16(core, &mut all);
    Ok(all)
}

fn copied(bytes: &[u8]) -> Zeroizing<Vec<u8>> {
    Zeroizing::new(bytes.to_vec())
}

/// Writes each byte with `write`, which adds at most `each_max` bytes: the memory is taken once, since growing would leave
/// a copy behind that nobody wipes.
fn spelled(plain: &[u8], each_max: usize, mut write: impl FnMut(u8, &mut Vec<u8>)) -> Zeroizing<Vec<u8>> {
    let mut out = Zeroizing::new(Vec::with_capacity(plain.len() * each_max));
    let room = out.capacity();
    plain.iter().for_each(|byte| write(*byte, &mut out));
    debug_assert_eq!(room, out.capacity(), "a spelling grew beyond what was said");
    out
}

/// Digits of base 16.
#[derive(Clone, Copy)]
enum Digits {
    Lower,
    Upper,
}

impl Digits {
    const BOTH: [Self; 2] = [Self::Lower, Self::Upper];

    /// The digit of the lowest four bits.
    fn of(self, value: u32) -> u8 {
        let table: &[u8; 16] = match self {
            Self::Lower => b"0123456789abcdef",
            Self::Upper => b"0123456789ABCDEF",
        };
        table[(value & 15) as usize]
    }

    /// Two digits.
    fn pair(self, byte: u8, out: &mut Vec<u8>) {
        out.extend([self.of(u32::from(byte) >> 4), self.of(u32::from(byte))]);
    }
}

#[cfg(test)]
mod tests;
