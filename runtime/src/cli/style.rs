//! How the command line looks: colour or none, JSON, and text of a guest made safe to show.
//! It never decides what is said.

use crate::cli::args::When;
use std::fmt::Write as _;
use std::io::IsTerminal as _;
use stockade_audit::text::deceives;

/// Whether to colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Colour {
    /// Plain text.
    Off,
    /// ANSI colours.
    On,
}

/// What a piece of text is, for colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tone {
    /// Good.
    Good,
    /// Bad.
    Bad,
    /// To be noticed.
    Notice,
    /// Less important.
    Faint,
    /// A heading.
    Strong,
}

impl Colour {
    /// What `--color`, `NO_COLOR` and the terminal say together.
    pub fn choose(when: When, no_color: bool) -> Self {
        match when {
            When::Always => Self::On,
            When::Never => Self::Off,
            When::Auto if !no_color && std::io::stdout().is_terminal() => Self::On,
            When::Auto => Self::Off,
        }
    }

    /// Paints text.
    pub fn paint(self, tone: Tone, text: &str) -> String {
        let code = match tone {
            Tone::Good => "32",
            Tone::Bad => "31",
            Tone::Notice => "33",
            Tone::Faint => "2",
            Tone::Strong => "1",
        };
        match self {
            Self::Off => text.to_owned(),
            Self::On => format!("\x1b[{code}m{text}\x1b[0m"),
        }
    }
}

/// Text that a guest may have chosen, on one line: control characters, and the characters that reorder or hide text
/// (CVE-2021-42574), are shown as escapes.
pub fn visible(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            c if deceives(c) => {
                write!(out, "\\u{{{:x}}}", u32::from(c)).expect("writing to a String cannot fail");
            }
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_a_guest_cannot_forge_lines_or_colours() {
        assert_eq!(visible("a\nb\x1b[31m\u{202e}c"), "a\\nb\\u{1b}[31m\\u{202e}c");
        assert_eq!(visible("ünïcode ok"), "ünïcode ok");
    }
}
