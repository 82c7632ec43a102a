//! The handshakes of clients that know proxies: CONNECT, absolute form, SOCKS.
//! It never connects: it says where a client wants to go.

use crate::journal::Wanted;
use bytes::{Bytes, BytesMut};
use std::fmt;
use std::time::Duration;
use stockade_audit::record::Via;
use stockade_policy::Host;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

mod head;
mod socks;
#[cfg(test)]
mod tests;

/// Longest head of an HTTP request, bytes.
pub const HEAD_BYTES_MAX: usize = 16 * 1024;
/// Headers of a request.
pub const HEADERS_MAX: usize = 100;
/// Time for a whole handshake.
pub const HANDSHAKE_S_MAX: u64 = 10;
/// Longest text of a guest's that a refusal repeats, bytes.
const QUOTED_BYTES_MAX: usize = 255;

/// Where a client wants to go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// Host as the client named it, in its one spelling. A synthetic address is not resolved to its name here.
    pub host: Host,
    /// TCP port.
    pub port: u16,
    /// How it asked.
    pub form: Form,
    /// What the client sent beyond its handshake. For [`Form::Absolute`] all of it, the head included: the request is
    /// yet to be read, and so is each further one on the connection, which can name another host.
    pub rest: Bytes,
}

/// How a client asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// `CONNECT host:port`
    Connect,
    /// `GET http://host/path`
    Absolute,
    /// SOCKS version 4 and 4a.
    Socks4,
    /// SOCKS version 5.
    Socks5,
}

/// Why a target is not reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Obstacle {
    /// It may not be.
    Forbidden,
    /// A limit is reached.
    Limited,
    /// It does not answer.
    Unreachable,
    /// Its machine answers, and nothing listens there.
    Refused,
    /// Nobody knows in time whether it does.
    TimedOut,
    /// We failed.
    Failed,
}

/// A handshake that is none. The connection ends after `reply`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Misfit {
    /// What is wrong: lower case, no full stop.
    pub reason: String,
    /// Host that the client named, as far as it got; short, and harmless to print.
    pub host: String,
    /// Port that it named.
    pub port: Option<u16>,
    /// What the client is told, in its own protocol; empty where there is no word to say.
    pub reply: Vec<u8>,
}

impl fmt::Display for Misfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.reason)
    }
}

impl std::error::Error for Misfit {}

impl Form {
    /// The same in the log's words.
    pub const fn via(self) -> Via {
        match self {
            Self::Connect | Self::Absolute => Via::Http,
            Self::Socks4 | Self::Socks5 => Via::Socks,
        }
    }

    /// What the client waits for before it sends; nothing for a request, whose answer is the upstream's.
    pub const fn granted(self) -> &'static [u8] {
        match self {
            Self::Connect => b"HTTP/1.1 200 Connection established\r\n\r\n",
            Self::Absolute => b"",
            Self::Socks4 => socks::GRANTED_4,
            Self::Socks5 => socks::GRANTED_5,
        }
    }

    /// A refusal; `text` is for protocols that have room for one.
    pub fn refused(self, obstacle: Obstacle, text: &str) -> Vec<u8> {
        match self {
            Self::Connect | Self::Absolute => head::reply(head::status(obstacle), text),
            Self::Socks4 => socks::REFUSED_4.to_vec(),
            Self::Socks5 => socks::refused_5(socks::code(obstacle)).to_vec(),
        }
    }
}

impl Misfit {
    /// The same for the log.
    pub fn wanted(&self) -> Wanted {
        Wanted { host: self.host.clone(), port: self.port, ..Wanted::default() }
    }

    fn new(reason: impl Into<String>, reply: impl Into<Vec<u8>>) -> Self {
        Self { reason: reason.into(), host: String::new(), port: None, reply: reply.into() }
    }

    fn wanting(mut self, host: &[u8], port: Option<u16>) -> Self {
        self.host = quoted(host);
        self.port = port;
        self
    }
}

/// Bytes of a guest's, short enough and without anything that acts on a terminal.
fn quoted(bytes: &[u8]) -> String {
    let short = bytes.get(..QUOTED_BYTES_MAX).unwrap_or(bytes);
    String::from_utf8_lossy(short).escape_debug().to_string()
}

/// How far a handshake is, given all bytes that came so far.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Not far enough.
    More,
    /// This is to be sent; so many bytes are used up.
    Answer(&'static [u8], usize),
    /// It is complete; so many bytes are used up.
    Done {
        /// Where to.
        host: Host,
        /// TCP port.
        port: u16,
        /// How it asked.
        form: Form,
        /// Bytes of the handshake.
        used: usize,
    },
}

/// A handshake as a function of bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Handshake {
    /// Nothing is known.
    #[default]
    Begun,
    /// A client of SOCKS 5 was told that it needs no password.
    Greeted,
    /// A head of HTTP has begun; so many of its bytes were looked at, and are not looked at again: a client that sends
    /// one by one would else cost the square of what it sends.
    Head(usize),
}

impl Handshake {
    /// What the bytes amount to. They are those that no earlier step used up.
    ///
    /// # Errors
    /// They are no handshake, or one that nobody gets.
    pub fn step(&mut self, bytes: &[u8]) -> Result<Step, Misfit> {
        match (*self, bytes.first()) {
            (_, None) => Ok(Step::More),
            (Self::Greeted, Some(_)) => socks::request_5(bytes),
            (Self::Begun, Some(5)) => {
                let step = socks::greeting_5(bytes)?;
                if matches!(step, Step::Answer(..)) {
                    *self = Self::Greeted;
                }
                Ok(step)
            }
            (Self::Begun, Some(4)) => socks::request_4(bytes),
            (Self::Head(seen), Some(_)) => self.head(bytes, seen),
            (Self::Begun, Some(byte)) if byte.is_ascii_uppercase() => self.head(bytes, 0),
            (Self::Begun, Some(0x16)) => Err(Misfit::new("TLS was spoken to the proxy, which speaks in clear", "")),
            (Self::Begun, Some(byte)) => {
                Err(Misfit::new(format!("the first byte 0x{byte:02x} begins neither HTTP nor SOCKS"), ""))
            }
        }
    }
}

impl Handshake {
    fn head(&mut self, bytes: &[u8], seen: usize) -> Result<Step, Misfit> {
        let step = head::request(bytes, seen)?;
        *self = Self::Head(bytes.len());
        Ok(step)
    }
}

/// Finds out where a client wants to go. Reads no more than a handshake can have, and no longer than it may take.
///
/// # Errors
/// The client sent something else, too much, too slowly, or went away. Its reply is not sent yet.
pub async fn negotiate<S: AsyncRead + AsyncWrite + Unpin>(stream: &mut S) -> Result<Target, Misfit> {
    let limit = Duration::from_secs(HANDSHAKE_S_MAX);
    match tokio::time::timeout(limit, converse(stream)).await {
        Ok(target) => target,
        Err(_) => Err(Misfit::new(format!("the handshake took longer than {HANDSHAKE_S_MAX} s"), "")),
    }
}

async fn converse<S: AsyncRead + AsyncWrite + Unpin>(stream: &mut S) -> Result<Target, Misfit> {
    let gone = |error: &std::io::Error| {
        Misfit::new(format!("the client went away in its handshake: {}", crate::error::plain(error)), "")
    };
    let mut buffer = BytesMut::with_capacity(1024);
    let mut handshake = Handshake::default();
    loop {
        match handshake.step(&buffer)? {
            Step::Answer(answer, used) => {
                drop(buffer.split_to(used.min(buffer.len())));
                stream.write_all(answer).await.map_err(|e| gone(&e))?;
                continue;
            }
            Step::Done { host, port, form, used } => {
                let rest = match form {
                    Form::Absolute => buffer,
                    Form::Connect | Form::Socks4 | Form::Socks5 => buffer.split_off(used.min(buffer.len())),
                };
                return Ok(Target { host, port, form, rest: rest.freeze() });
            }
            Step::More => {}
        }
        // Every step decides at this length at the latest; the check keeps a mistake there from being a leak here.
        if buffer.len() > HEAD_BYTES_MAX {
            return Err(Misfit::new("the handshake is too long", ""));
        }
        if stream.read_buf(&mut buffer).await.map_err(|e| gone(&e))? == 0 {
            return Err(Misfit::new("the client went away in its handshake", ""));
        }
    }
}

/// Host and port of `host:port`, `host` or `[v6]:port`, each in its one spelling.
///
/// # Errors
/// It is none; or it has no port and there is no default.
pub(super) fn authority(text: &str, port_default: Option<u16>) -> Result<(Host, u16), String> {
    head::split(text, port_default)
}

/// A host in its one spelling: an IPv4 address that is written as IPv6 is the IPv4 address.
fn host(text: &str) -> Result<Host, String> {
    match Host::parse(text) {
        Ok(Host::Address(address)) => Ok(Host::Address(address.to_canonical())),
        Ok(name @ Host::Name(_)) => Ok(name),
        Err(flaw) => Err(flaw.what),
    }
}
