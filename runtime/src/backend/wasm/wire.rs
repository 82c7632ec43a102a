//! The messages between the supervisor and a worker: bounded, and strictly parsed.
//! It never reads or writes a descriptor; what does not parse to its last byte is refused.

use crate::backend::wasm::call::{
    CallGrant, Carries, Failure, Files, Limits, Printed, Progress, Reply, ToolUsage, Use,
};
use crate::error::{Error, Result};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::PathBuf;
use std::time::Duration;
use stockade_jail::watch::{LimitHit, LimitKind};

/// First byte of every message; both ends are the same binary, so another version is a bug or a forgery.
pub const VERSION: u8 = 2;
/// Bytes of one datagram at most: below the kernel's default send buffer (212,992 bytes).
pub const MESSAGE_BYTES_MAX: usize = 64 * 1024;
/// Bytes of a body at most: a call's arguments, and a reply with pictures. One that is longer than a datagram comes in parts.
pub const BODY_BYTES_MAX: usize = 128 * 1024 * 1024;
/// Descriptors that come with one message at most: what it is about.
pub const DESCRIPTORS_MAX: usize = 1;
/// Bytes of words that a worker says beside a reply, at most: why a call broke, what a tool is at.
pub const WORDS_BYTES_MAX: usize = 4 * 1024;
/// Bytes of a call's arguments at most.
pub const ARGUMENTS_BYTES_MAX: usize = 16 * 1024 * 1024;
const _: () = assert!(WORDS_BYTES_MAX < MESSAGE_BYTES_MAX && ARGUMENTS_BYTES_MAX < BODY_BYTES_MAX);

/// What the supervisor says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum ToWorker {
    /// Compile the component in the memfd that comes along.
    Compile,
    /// The code in the memfd that comes along is this component from now on.
    Load {
        /// Its number in this worker.
        component: u32,
    },
    /// Call a component.
    Call(Box<CallRequest>),
    /// End a call.
    Cancel {
        /// Its number.
        call: u64,
    },
    /// The stream that comes along is for this request.
    Stream {
        /// Of this call.
        call: u64,
        /// Its number in the call.
        request: u32,
    },
    /// There is no stream for this request.
    NoStream {
        /// Of this call.
        call: u64,
        /// Its number in the call.
        request: u32,
        /// Why, in words.
        why: String,
    },
}

/// A call.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CallRequest {
    /// Its number in this worker.
    pub call: u64,
    /// The component.
    pub component: u32,
    /// What it gets.
    pub grant: WireGrant,
    /// Its arguments: one JSON text.
    pub arguments: String,
}

/// A grant as it crosses.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[expect(clippy::struct_excessive_bools, reason = "as in the grant that crosses")]
pub struct WireGrant {
    files: Files,
    directory: Vec<u8>,
    network: bool,
    sockets: bool,
    clocks: bool,
    random: bool,
    env: Vec<(String, String)>,
    arguments: bool,
    stdin: bool,
    wall_us: u64,
    cpu_us: u64,
    memory_bytes: u64,
    output_bytes: u64,
}

/// What a worker says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum FromWorker {
    /// The code is in the memfd that comes along.
    Compiled,
    /// The component does not compile.
    NotCompiled {
        /// Why, in words.
        why: String,
    },
    /// A component can be called.
    Loaded {
        /// Its number.
        component: u32,
    },
    /// A component cannot be called.
    NotLoaded {
        /// Its number.
        component: u32,
        /// What is wrong with it.
        flaw: Flaw,
        /// Why, in words.
        why: String,
    },
    /// What a call did.
    Used {
        /// The call.
        call: u64,
        /// In this order.
        uses: Vec<Use>,
    },
    /// How far a call is.
    Progress {
        /// The call.
        call: u64,
        /// As it says.
        progress: Progress,
    },
    /// A call wants to send a request, or to connect a socket.
    Connect {
        /// The call.
        call: u64,
        /// The request's number in the call.
        request: u32,
        /// Which of the two.
        carries: Carries,
    },
    /// A call has ended.
    Ended {
        /// The call.
        call: u64,
        /// How.
        ended: Box<Ended>,
    },
}

/// What is wrong with a component that cannot be loaded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Flaw {
    /// Its code was compiled by or for another version.
    Code,
    /// The component is not of our world, or wants what no tool gets.
    World,
}

/// The end of a call.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ended {
    /// How it ended.
    pub ending: Ending,
    /// What it did, as far as that was not told before.
    pub uses: Vec<Use>,
    /// What it used.
    pub usage: ToolUsage,
    /// What it printed.
    pub printed: Printed,
}

/// How a call ended, in a worker that lives.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Ending {
    /// It answered.
    Answered(Reply),
    /// It said why it does not.
    Refused(Failure),
    /// It broke.
    Trapped {
        /// What happened, in words.
        why: String,
    },
    /// It ran into a limit.
    Limit {
        /// Which.
        limit: Limited,
        /// The limit, in its unit.
        value: u64,
        /// What was seen.
        observed: u64,
    },
    /// It was cancelled.
    Cancelled,
}

/// The limits of a call that a worker holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Limited {
    /// Milliseconds from its start.
    Wall,
    /// Milliseconds of a processor.
    Cpu,
    /// Bytes of memory.
    Memory,
    /// Bytes of its reply.
    Output,
}

impl Limited {
    /// A hit of it.
    pub const fn hit(self, value: u64, observed: u64) -> LimitHit {
        let kind = match self {
            Self::Wall => LimitKind::Wall,
            Self::Cpu => LimitKind::Cpu,
            Self::Memory => LimitKind::Memory,
            Self::Output => LimitKind::Output,
        };
        LimitHit::new(kind, value, observed)
    }
}

impl WireGrant {
    /// A grant, to be sent.
    pub fn new(grant: &CallGrant) -> Self {
        let us = |time: Duration| u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        Self {
            files: grant.files,
            directory: grant.directory.as_os_str().as_bytes().to_vec(),
            network: grant.network,
            sockets: grant.sockets,
            clocks: grant.clocks,
            random: grant.random,
            env: grant.env.clone(),
            arguments: grant.arguments,
            stdin: grant.stdin,
            wall_us: us(grant.limits.wall),
            cpu_us: us(grant.limits.cpu),
            memory_bytes: grant.limits.memory_bytes,
            output_bytes: grant.limits.output_bytes,
        }
    }

    /// The grant that was sent.
    pub fn into_grant(self) -> CallGrant {
        CallGrant {
            files: self.files,
            directory: PathBuf::from(OsString::from_vec(self.directory)),
            network: self.network,
            sockets: self.sockets,
            clocks: self.clocks,
            random: self.random,
            env: self.env,
            arguments: self.arguments,
            stdin: self.stdin,
            limits: Limits {
                wall: Duration::from_micros(self.wall_us),
                cpu: Duration::from_micros(self.cpu_us),
                memory_bytes: self.memory_bytes,
                output_bytes: self.output_bytes,
            },
        }
    }
}

/// One direction of the channel.
pub trait Message: Serialize + DeserializeOwned {
    /// How many descriptors come with it.
    fn descriptors(&self) -> usize;

    /// The number of the kind whose body may be longer than a datagram: the first byte of such a message. A worker that
    /// somebody took over gets no memory of the supervisor for any other.
    const LONG_KIND: u8;
}

impl Message for ToWorker {
    fn descriptors(&self) -> usize {
        match self {
            Self::Compile | Self::Load { .. } | Self::Stream { .. } => 1,
            Self::Call(_) | Self::Cancel { .. } | Self::NoStream { .. } => 0,
        }
    }

    /// [`ToWorker::Call`].
    const LONG_KIND: u8 = 2;
}

impl Message for FromWorker {
    fn descriptors(&self) -> usize {
        match self {
            Self::Compiled => 1,
            Self::NotCompiled { .. }
            | Self::Loaded { .. }
            | Self::NotLoaded { .. }
            | Self::Used { .. }
            | Self::Progress { .. }
            | Self::Connect { .. }
            | Self::Ended { .. } => 0,
        }
    }

    /// [`FromWorker::Ended`].
    const LONG_KIND: u8 = 7;
}

/// Decodes a body to its last byte.
///
/// # Errors
/// Bug: it is none of ours.
pub fn decode<M: Message>(body: &[u8]) -> Result<M> {
    match postcard::take_from_bytes(body) {
        Ok((message, [])) => Ok(message),
        Ok((_, _)) => Err(foreign("bytes follow it")),
        Err(error) => Err(foreign(&error.to_string())),
    }
}

/// A message that the other end should not have sent.
pub fn foreign(why: &str) -> Error {
    Error::bug(format!("a message of a worker is none of ours: {why}"))
}

/// Words, cut to [`WORDS_BYTES_MAX`] at a character.
pub fn cut(mut words: String) -> String {
    if words.len() > WORDS_BYTES_MAX {
        let end = (0..=WORDS_BYTES_MAX).rev().find(|end| words.is_char_boundary(*end)).unwrap_or(0);
        words.truncate(end);
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_cut_between_characters() {
        let long = cut("\u{e9}".repeat(WORDS_BYTES_MAX));
        assert!(long.len() <= WORDS_BYTES_MAX && long.ends_with('\u{e9}'));
        assert_eq!(cut("short".to_owned()), "short");
    }
}
