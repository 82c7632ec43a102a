//! The messages between the supervisor and a worker: one datagram each, bounded, strictly parsed.
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
pub const VERSION: u8 = 1;
/// Bytes of one datagram at most: below the kernel's default send buffer (212,992 bytes).
pub const MESSAGE_BYTES_MAX: usize = 64 * 1024;
/// Bytes of a body that comes in a memfd at most: a call's arguments, and a reply with pictures.
pub const BODY_BYTES_MAX: usize = 128 * 1024 * 1024;
/// Descriptors that come with one message at most: what it is about, and its body.
pub const DESCRIPTORS_MAX: usize = 2;
/// Bytes of words that a worker says beside a reply, at most: why a call broke, what a tool is at.
pub const WORDS_BYTES_MAX: usize = 4 * 1024;
/// Bytes of a call's arguments at most.
pub const ARGUMENTS_BYTES_MAX: usize = 16 * 1024 * 1024;
const _: () = assert!(WORDS_BYTES_MAX < MESSAGE_BYTES_MAX && ARGUMENTS_BYTES_MAX < BODY_BYTES_MAX);

/// The body is in the datagram.
const INLINE: u8 = 0;
/// The body is in a memfd, the last descriptor that comes along; its length follows.
const IN_MEMORY: u8 = 1;
/// Version, place of the body, and its length where it is in a memfd.
const HEADER_BYTES_MAX: usize = 2 + 8;

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
    /// How many descriptors come with it, without the one of its body.
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

/// A message, encoded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Encoded {
    /// The datagram.
    pub datagram: Vec<u8>,
    /// The body, where it has to come in a memfd.
    pub body: Option<Vec<u8>>,
}

/// Encodes a message.
///
/// # Errors
/// Guest: what a guest put into it makes it too long.
pub fn encode<M: Message>(message: &M) -> Result<Encoded> {
    let datagram = postcard::to_extend(message, vec![VERSION, INLINE])
        .map_err(|error| Error::bug(format!("a message to or from a worker has no bytes: {error}")))?;
    if datagram.len() <= MESSAGE_BYTES_MAX {
        return Ok(Encoded { datagram, body: None });
    }
    let body = datagram.get(2..).unwrap_or_default().to_vec();
    let longest = if body.first() == Some(&M::LONG_KIND) { BODY_BYTES_MAX } else { MESSAGE_BYTES_MAX };
    if body.len() > longest {
        return Err(Error::guest(format!("a message of {} bytes is too long", body.len()))
            .hint(format!("arguments and replies of tools have at most {BODY_BYTES_MAX} bytes, others {longest}")));
    }
    let mut datagram = vec![VERSION, IN_MEMORY];
    datagram.extend(u64::try_from(body.len()).unwrap_or(u64::MAX).to_le_bytes());
    Ok(Encoded { datagram, body: Some(body) })
}

/// Where the body of a datagram is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Body<'a> {
    /// Here.
    Inline(&'a [u8]),
    /// In a memfd, so long.
    InMemory(usize),
}

/// Reads the head of a datagram.
///
/// # Errors
/// Bug: it is none of ours.
pub fn body(datagram: &[u8]) -> Result<Body<'_>> {
    if datagram.len() > MESSAGE_BYTES_MAX {
        return Err(foreign("it is too long"));
    }
    match datagram {
        [VERSION, INLINE, body @ ..] => Ok(Body::Inline(body)),
        [VERSION, IN_MEMORY, length @ ..] if datagram.len() == HEADER_BYTES_MAX => {
            let length = length.try_into().map(u64::from_le_bytes).map_err(|_| foreign("its length is cut"))?;
            let length = usize::try_from(length).unwrap_or(usize::MAX);
            // A body that fits a datagram is in it: each message has one form.
            if !(MESSAGE_BYTES_MAX - 2..=BODY_BYTES_MAX).contains(&length) {
                return Err(foreign("its length cannot be"));
            }
            Ok(Body::InMemory(length))
        }
        [VERSION, ..] => Err(foreign("its head is malformed")),
        _ => Err(foreign("it is of another version")),
    }
}

/// Whether a body that came in a memfd may: by its first byte, before there is memory for the rest.
///
/// # Errors
/// Bug: its kind is never so long.
pub fn may_be_long<M: Message>(first: u8) -> Result<()> {
    if first == M::LONG_KIND { Ok(()) } else { Err(foreign("its kind is never so long")) }
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
    use crate::backend::wasm::call::What;

    fn ended(text: String) -> FromWorker {
        let reply = Reply { text, structured: Some("{}".to_owned()), images: vec![("image/png".to_owned(), vec![1])] };
        let uses = vec![Use::new(What::Rename { to: b"/b".to_vec() }, *b"/a")];
        let (usage, printed) = (ToolUsage { cpu_us: 7, ..ToolUsage::default() }, Printed::default());
        FromWorker::Ended { call: 3, ended: Box::new(Ended { ending: Ending::Answered(reply), uses, usage, printed }) }
    }

    #[test]
    fn a_message_comes_back_in_either_form() {
        for text in [String::new(), "x".repeat(MESSAGE_BYTES_MAX)] {
            let message = ended(text.clone());
            let encoded = encode(&message).expect("it is short enough");
            assert_eq!(encoded.body.is_some(), !text.is_empty());
            let inline = match body(&encoded.datagram).expect("it is ours") {
                Body::Inline(inline) => inline.to_vec(),
                Body::InMemory(length) => {
                    let body = encoded.body.expect("it was said to be there");
                    assert_eq!(body.len(), length);
                    body
                }
            };
            assert_eq!(decode::<FromWorker>(&inline).expect("it is ours"), message);
        }
    }

    #[test]
    fn what_is_not_a_whole_message_is_refused() {
        let Encoded { datagram, .. } = encode(&ended("x".to_owned())).expect("it is short");
        for cut in 0..datagram.len() {
            let short = datagram.get(..cut).expect("it is longer");
            let decoded = body(short).and_then(|body| match body {
                Body::Inline(body) => decode::<FromWorker>(body).map(drop),
                Body::InMemory(_) => Ok(()),
            });
            decoded.expect_err("a part is no message");
        }
        let mut long = datagram;
        long.push(0);
        let Ok(Body::Inline(body)) = body(&long) else { panic!("the head is whole") };
        decode::<FromWorker>(body).expect_err("bytes follow");
    }

    #[test]
    fn a_body_elsewhere_has_a_length_that_can_be() {
        let head = |length: u64| [&[VERSION, IN_MEMORY][..], &length.to_le_bytes()].concat();
        body(&head(0)).expect_err("it would fit here");
        body(&head(u64::MAX)).expect_err("nobody has so much");
        body(&head(1 << 20)).expect("that can be");
        body(&[9, 0]).expect_err("another version");
    }

    #[test]
    fn only_calls_and_their_ends_may_be_long() {
        let first = |encoded: Result<Encoded>| encoded.expect("it is short").datagram.get(2).copied();
        assert_eq!(first(encode(&ended(String::new()))), Some(FromWorker::LONG_KIND));
        let grant = WireGrant::new(&CallGrant {
            files: Files::None,
            directory: PathBuf::new(),
            network: false,
            sockets: false,
            clocks: false,
            random: false,
            env: Vec::new(),
            arguments: false,
            stdin: false,
            limits: Limits::default(),
        });
        let request = CallRequest { call: 1, component: 1, grant, arguments: String::new() };
        assert_eq!(first(encode(&ToWorker::Call(Box::new(request)))), Some(ToWorker::LONG_KIND));
        let uses = vec![Use::new(What::Unlink, vec![b'x'; MESSAGE_BYTES_MAX])];
        encode(&FromWorker::Used { call: 1, uses }).expect_err("it is never so long");
        let why = "x".repeat(MESSAGE_BYTES_MAX);
        encode(&ToWorker::NoStream { call: 1, request: 1, why }).expect_err("it is never so long");
        for kind in (0..=u8::MAX).filter(|kind| *kind != FromWorker::LONG_KIND) {
            may_be_long::<FromWorker>(kind).expect_err("it is never so long");
        }
    }

    #[test]
    fn words_are_cut_between_characters() {
        let long = cut("\u{e9}".repeat(WORDS_BYTES_MAX));
        assert!(long.len() <= WORDS_BYTES_MAX && long.ends_with('\u{e9}'));
        assert_eq!(cut("short".to_owned()), "short");
    }
}
