//! What is wrong with a profile, as data and as a compiler would print it; all of it, not the first find.
//! It never prints: `Display` makes the text, the command line chooses where it goes.

use alloc::string::{String, ToString as _};
use alloc::vec::Vec;
use core::fmt;

/// More than this many findings help nobody; the rest is counted.
pub const DIAGNOSTICS_MAX: usize = 100;

/// One finding.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Diagnostic {
    /// The file as the caller named it.
    pub file: String,
    /// Line, from 1.
    pub line: u32,
    /// What is wrong: lower case, no full stop.
    pub what: String,
    /// What to do about it.
    pub hint: String,
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "error: profile \"{}\", line {}: {}", Printable(&self.file), self.line, Printable(&self.what))?;
        write!(f, "hint: {}", Printable(&self.hint))
    }
}

/// All findings of one reading, sorted by file and line. Made only when there is at least one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostics {
    /// Findings; never empty, at most [`DIAGNOSTICS_MAX`].
    found: Vec<Diagnostic>,
    /// Findings beyond the limit.
    omitted: usize,
}

impl Diagnostics {
    /// The findings, by file and line.
    pub fn iter(&self) -> core::slice::Iter<'_, Diagnostic> {
        self.found.iter()
    }

    /// How many findings were left out because there are more than [`DIAGNOSTICS_MAX`].
    pub const fn omitted(&self) -> usize {
        self.omitted
    }
}

impl<'a> IntoIterator for &'a Diagnostics {
    type Item = &'a Diagnostic;
    type IntoIter = core::slice::Iter<'a, Diagnostic>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl fmt::Display for Diagnostics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, diagnostic) in self.found.iter().enumerate() {
            if n > 0 {
                writeln!(f)?;
            }
            write!(f, "{diagnostic}")?;
        }
        if self.omitted > 0 {
            write!(f, "\nand {} more", self.omitted)?;
        }
        Ok(())
    }
}

impl core::error::Error for Diagnostics {}

/// Collects findings while a file is read on to its end.
#[derive(Debug, Default)]
pub(crate) struct Findings {
    found: Vec<Diagnostic>,
    omitted: usize,
}

impl Findings {
    /// Notes one finding.
    pub(crate) fn add(&mut self, file: &str, line: u32, what: impl fmt::Display, hint: impl fmt::Display) {
        if self.found.len() >= DIAGNOSTICS_MAX {
            self.omitted += 1;
            return;
        }
        self.found.push(Diagnostic { file: file.into(), line, what: what.to_string(), hint: hint.to_string() });
    }

    /// Takes over what another reading found.
    pub(crate) fn extend(&mut self, other: Diagnostics) {
        self.omitted += other.omitted;
        for diagnostic in other.found {
            self.add(&diagnostic.file, diagnostic.line, diagnostic.what, diagnostic.hint);
        }
    }

    /// The value if nothing was found; else all findings. A value that is absent without a finding is our bug.
    pub(crate) fn finish<T>(mut self, value: Option<T>) -> Result<T, Diagnostics> {
        self.found.sort();
        self.found.dedup();
        match (value, self.found.is_empty()) {
            (Some(value), true) => Ok(value),
            (None, true) => unreachable!("a value was dropped without saying why"),
            (_, false) => Err(Diagnostics { found: self.found, omitted: self.omitted }),
        }
    }
}

/// Text for a person's terminal: control and direction-changing characters are escaped, since a message quotes
/// files that somebody else may have written.
pub(crate) struct Printable<'a>(pub(crate) &'a str);

impl fmt::Display for Printable<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for c in self.0.chars() {
            if is_deceptive(c) {
                write!(f, "{}", c.escape_unicode())?;
            } else {
                write!(f, "{c}")?;
            }
        }
        Ok(())
    }
}

/// Bytes for a person's terminal: what is not UTF-8 appears as `\xNN`, deceptive characters are escaped.
pub(crate) struct PrintableBytes<'a>(pub(crate) &'a [u8]);

impl fmt::Display for PrintableBytes<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for chunk in self.0.utf8_chunks() {
            write!(f, "{}", Printable(chunk.valid()))?;
            for byte in chunk.invalid() {
                write!(f, "\\x{byte:02x}")?;
            }
        }
        Ok(())
    }
}

/// Characters that act on a terminal or change what a reader sees: controls, line and paragraph separators,
/// bidirectional overrides (CVE-2021-42574), invisible joiners.
pub(crate) fn is_deceptive(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}
