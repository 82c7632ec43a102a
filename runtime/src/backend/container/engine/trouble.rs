//! What can go wrong with an engine, and whose fault that is.
//! It never passes on what an engine says as it came: it is bounded, and has no control characters.

use crate::error::{Error, plain};
use bollard::errors::Error as Answered;
use std::path::Path;
use std::time::Duration;

/// Longest text of an engine's that is passed on, characters.
pub(super) const SAID_CHARS_MAX: usize = 300;

/// Why a request to an engine brought nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Trouble {
    /// Nobody answers at the socket, or stopped to; the text says what the system told.
    Gone(String),
    /// The engine answered, and refused.
    Refused {
        /// Status of HTTP.
        status: u16,
        /// What it said.
        said: String,
    },
    /// It took longer than this.
    Slow(Duration),
    /// It answered what we do not understand, or more than we take.
    Odd(String),
    /// We could not even ask.
    Ours(String),
}

impl Trouble {
    /// Whether the engine says that there is no such thing.
    pub(super) fn is_missing(&self) -> bool {
        match self {
            Self::Refused { status: 404, .. } => true,
            // Podman, when a container goes between two of its own looks at it.
            Self::Refused { status: 500, said } => said.ends_with("no such container"),
            Self::Refused { .. } | Self::Gone(_) | Self::Slow(_) | Self::Odd(_) | Self::Ours(_) => false,
        }
    }

    /// The error of an act on an engine at a socket.
    pub(super) fn during(self, act: &str, socket: &Path) -> Error {
        let at = socket.display();
        match self {
            Self::Gone(why) => Error::host(format!("{act}: the container engine at \"{at}\" is gone: {why}"))
                .hint("look whether it runs: docker info, podman info"),
            Self::Slow(limit) => Error::host(format!(
                "{act}: the container engine at \"{at}\" did not answer within {} s",
                limit.as_secs()
            )),
            Self::Refused { status, said } => {
                let what = format!("{act}: the container engine says \"{said}\"");
                // 4xx is about what was asked for, but for a conflict with what it does itself at this moment.
                if (400..500).contains(&status) && status != 409 { Error::operator(what) } else { Error::host(what) }
            }
            Self::Odd(why) => {
                Error::host(format!("{act}: the container engine at \"{at}\" answered what cannot be read: {why}"))
            }
            Self::Ours(why) => Error::host(format!("{act}: {why}")),
        }
    }

    /// One phrase about it, for a list of places that were tried.
    pub(super) fn phrase(&self) -> String {
        match self {
            Self::Gone(why) => why.clone(),
            Self::Slow(limit) => format!("did not answer within {} s", limit.as_secs()),
            Self::Refused { said, .. } => format!("said \"{said}\""),
            Self::Odd(why) => format!("is no container engine: {why}"),
            Self::Ours(why) => why.clone(),
        }
    }
}

impl From<Answered> for Trouble {
    #[expect(clippy::wildcard_enum_match_arm, reason = "which other errors the client has depends on its features")]
    fn from(error: Answered) -> Self {
        match error {
            Answered::DockerResponseServerError { status_code, message } => {
                Self::Refused { status: status_code, said: bounded(&message) }
            }
            // What a build or a pull says in the middle of a stream that began well.
            Answered::DockerStreamError { error } => Self::Refused { status: 400, said: bounded(&error) },
            Answered::IOError { err } => Self::from(err),
            Answered::HyperResponseError { err } => Self::from(err),
            other => Self::Odd(bounded(&other.to_string())),
        }
    }
}

impl From<std::io::Error> for Trouble {
    fn from(error: std::io::Error) -> Self {
        // A stream that is read through hyper carries our own limit, or hyper's error, as its source.
        match error.get_ref() {
            Some(inner) if inner.is::<TooLong>() => Self::Odd(inner.to_string()),
            Some(_) | None => Self::Gone(bounded(&plain(&error))),
        }
    }
}

impl From<hyper::Error> for Trouble {
    fn from(error: hyper::Error) -> Self {
        let mut cause = std::error::Error::source(&error);
        while let Some(inner) = cause {
            if let Some(io) = inner.downcast_ref::<std::io::Error>() {
                let too_long = io.get_ref().is_some_and(|own| own.is::<TooLong>());
                return if too_long { Self::Odd(io.to_string()) } else { Self::Gone(bounded(&plain(io))) };
            }
            cause = inner.source();
        }
        if error.is_parse() || error.is_parse_too_large() {
            return Self::Odd(bounded(&error.to_string()));
        }
        Self::Gone(format!("the connection ended: {}", bounded(&error.to_string())))
    }
}

/// An answer was longer than what we take.
#[derive(Debug, Clone, Copy)]
pub(super) struct TooLong {
    /// What we take.
    pub(super) bytes_max: u64,
}

impl std::fmt::Display for TooLong {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "its answer is longer than {} MiB", self.bytes_max / (1024 * 1024))
    }
}

impl std::error::Error for TooLong {}

/// Text of an engine's in one line, without control characters, and not too long.
pub(super) fn bounded(text: &str) -> String {
    let mut words = String::new();
    for word in text.split(|c: char| c.is_whitespace() || c.is_control()).filter(|word| !word.is_empty()) {
        if !words.is_empty() {
            words.push(' ');
        }
        // Characters that turn the direction of writing would let a message show what it does not say.
        words.extend(
            word.chars()
                .filter(|c| !matches!(c, '\u{200e}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')),
        );
        if words.chars().count() > SAID_CHARS_MAX {
            break;
        }
    }
    match words.char_indices().nth(SAID_CHARS_MAX) {
        Some((at, _)) => format!("{}…", &words[..at]),
        None => words,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Fault;

    #[test]
    fn what_an_engine_says_cannot_reach_a_terminal_as_it_came() {
        assert_eq!(bounded("a\u{1b}[2Jb\r\nc\0d\u{202e}e"), "a [2Jb c de");
        let long = bounded(&"x".repeat(10_000));
        assert_eq!(long.chars().count(), SAID_CHARS_MAX + 1);
        assert!(long.ends_with('…'));
        assert_eq!(bounded(&"ü ".repeat(10_000)).chars().count(), SAID_CHARS_MAX + 1);
        assert_eq!(bounded(" \n "), "");
    }

    #[test]
    fn whose_fault_it_is_follows_from_what_was_answered() {
        let fault = |trouble: Trouble| trouble.during("ask", Path::new("/s")).fault;
        assert_eq!(fault(Trouble::Refused { status: 404, said: String::new() }), Fault::Operator);
        assert_eq!(fault(Trouble::Refused { status: 409, said: String::new() }), Fault::Host);
        assert_eq!(fault(Trouble::Refused { status: 500, said: String::new() }), Fault::Host);
        assert_eq!(fault(Trouble::Gone("reset".into())), Fault::Host);
        assert_eq!(fault(Trouble::Slow(Duration::from_secs(1))), Fault::Host);
    }
}
