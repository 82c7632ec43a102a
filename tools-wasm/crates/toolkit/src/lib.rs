//! What the built-in tools do, apart from how they reach files and the network: those are arguments. It never opens a
//! file itself, and every answer has a limit.

pub mod args;
pub mod edit;
pub mod fetch;

pub mod files;
pub mod glob;
pub mod grep;
pub mod list;
mod locate;
mod markdown;
pub mod patch;

pub mod read;
mod store;
pub mod text;
mod walk;
pub mod write;

#[cfg(test)]
mod native;

use serde_json::Value;

/// How much text one answer holds; what is more is on the next page.
pub const ANSWER_BYTES_MAX: usize = 64 * 1024;
/// The largest file that is held in memory as a whole.
pub const WHOLE_FILE_BYTES_MAX: u64 = 32 * 1024 * 1024;

const _: () = assert!((ANSWER_BYTES_MAX as u64) < WHOLE_FILE_BYTES_MAX);

/// What a call came to.
#[derive(Debug)]
pub struct Answer {
    /// For the model.
    pub text: String,
    /// Holds to the output schema of the tool's manifest.
    pub structured: Value,
    /// Media types and bytes.
    pub images: Vec<(String, Vec<u8>)>,
}

impl Answer {
    fn new(text: String, structured: Value) -> Answer {
        Answer { text, structured, images: Vec::new() }
    }
}

/// Why there is no answer; each text says what would work.
#[derive(Debug, PartialEq, Eq)]
pub enum Failure {
    /// The arguments do not hold to the schema, or contradict each other.
    InvalidArguments(String),
    /// What the arguments ask for cannot be done; nothing was changed, or the text names what could not be taken back.
    Refused(String),
}

impl Failure {
    fn invalid(text: impl Into<String>) -> Failure {
        Failure::InvalidArguments(text.into())
    }

    fn refused(text: impl Into<String>) -> Failure {
        Failure::Refused(text.into())
    }

    /// What the failure says.
    pub fn text(&self) -> &str {
        match self {
            Failure::InvalidArguments(text) | Failure::Refused(text) => text,
        }
    }
}
