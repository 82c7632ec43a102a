//! The resolver inside: granted names have an address, and nothing else has.
//! It never asks anybody.

use super::front::Client;
use super::listener::Listener;
use super::names::{Lookup, Names, PROXY_NAME, PROXY_V4, Synthetic};
use crate::error::{Error, Result};
use crate::journal::{Account, Wanted};
use datagrams::Datagrams;
use message::{Answer, Asked, Kind, MESSAGE_BYTES_MAX, Question};
use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use std::time::Duration;
use stockade_jail::OutletEnd;
use stockade_policy::Host;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

mod datagrams;
pub mod message;
#[cfg(test)]
mod tests;

/// Connections to the resolver at a time; more wait.
pub const CONNECTIONS_MAX: usize = 64;
/// A connection without a question for so long is closed.
pub const IDLE_S_MAX: u64 = 10;
/// Longest datagram that is a question (the size that EDNS uses without fragments).
pub const DATAGRAM_BYTES_MAX: usize = 1232;
const _: () = assert!(DATAGRAM_BYTES_MAX <= MESSAGE_BYTES_MAX);

/// Finds placeholders of secrets in a text: one of this session's by its name, or one that somebody made up.
pub type Canaries = Arc<dyn Fn(&str) -> Option<Option<String>> + Send + Sync>;

/// Answers questions from inside. Each is in the log before its answer leaves; they are taken one after the other, so
/// that a flood waits in the kernel and not in our memory.
pub struct Resolver {
    names: Arc<Names>,
    account: Account,
    canaries: Canaries,
}

impl fmt::Debug for Resolver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Resolver").field("names", &self.names).finish_non_exhaustive()
    }
}

impl Resolver {
    /// A resolver of one session.
    pub fn new(names: Arc<Names>, account: Account, canaries: Canaries) -> Self {
        Self { names, account, canaries }
    }

    /// The reply to a message, if it gets one. Waits for the log.
    ///
    /// # Errors
    /// The log takes no more records.
    pub fn answer(&self, message: &[u8]) -> Result<Option<Vec<u8>>> {
        match message::read(message) {
            Asked::Nothing => Ok(None),
            Asked::Malformed(reply) => Ok(Some(reply)),
            Asked::Question(question) => {
                let answer = self.decide(&question)?;
                Ok(message::reply(&question, answer))
            }
        }
    }

    /// Decides about a question, and logs it.
    fn decide(&self, question: &Question) -> Result<Answer> {
        let text = question.text();
        // Labels are what a name can be split into: a placeholder may run over a dot.
        let joined = text.replace('.', "");
        let canary = (self.canaries)(text).or_else(|| (self.canaries)(&joined));
        let answer = match canary {
            Some(name) => {
                self.account.canary(None, name.as_deref(), text, "name query")?;
                Answer::Refused
            }
            None => self.look_up(question)?,
        };
        let address = match answer {
            Answer::Address(address) => Some(address.to_string()),
            Answer::NoData | Answer::NoName | Answer::Refused => None,
        };
        self.account.name(text, &question.kind_text(), address)?;
        Ok(answer)
    }

    fn look_up(&self, question: &Question) -> Result<Answer> {
        let addresses = |v4: Ipv4Addr, v6: Option<Ipv6Addr>| match (question.kind(), v6) {
            (Kind::A, _) => Answer::Address(IpAddr::V4(v4)),
            (Kind::Aaaa, Some(v6)) => Answer::Address(IpAddr::V6(v6)),
            (Kind::Aaaa, None) | (Kind::Other, _) => Answer::NoData,
            (Kind::Zone, _) => Answer::Refused,
        };
        if question.kind() == Kind::Zone {
            return Ok(Answer::Refused);
        }
        let Some(Ok(Host::Name(name))) = question.host_text().map(Host::parse) else { return Ok(Answer::NoName) };
        Ok(match name.as_str() {
            // RFC 6761, 6.3: a resolver knows this name without asking.
            "localhost" => addresses(Ipv4Addr::LOCALHOST, Some(Ipv6Addr::LOCALHOST)),
            PROXY_NAME => addresses(PROXY_V4, None),
            _ => match self.names.lookup(&name) {
                Lookup::Found(Synthetic { v4, v6 }) => addresses(v4, Some(v6)),
                Lookup::NotGranted => Answer::NoName,
                Lookup::Full => {
                    let wanted = Wanted { host: name.as_str().to_owned(), ..Wanted::default() };
                    let reason = format!("{} names have an address already", super::names::NAMES_MAX);
                    self.account.refused(None, wanted, "names", reason)?;
                    Answer::Refused
                }
            },
        })
    }

    /// The same on a thread that may wait, whatever runtime this is.
    async fn answer_aside(self: &Arc<Self>, message: Vec<u8>) -> Result<Option<Vec<u8>>> {
        let this = Arc::clone(self);
        let answered = tokio::task::spawn_blocking(move || this.answer(&message)).await;
        answered.map_err(|error| Error::bug(format!("the resolver ended: {error}")))?
    }

    /// Answers datagrams until the future is dropped, each from the address that was asked. What arrives meanwhile waits
    /// in the socket.
    ///
    /// # Errors
    /// The log takes no more records. Host: the socket fails.
    pub async fn serve_udp(self: Arc<Self>, end: OutletEnd) -> Result<()> {
        let datagrams = Datagrams::new(end).map_err(|e| socket_failed(&e))?;
        loop {
            let Some(datagram) = datagrams.next().await.map_err(|e| socket_failed(&e))? else { continue };
            if let Some(reply) = self.answer_aside(datagram.bytes.clone()).await? {
                // A reply that the inside does not take is one that it lost: it asks again.
                if let Err(error) = datagrams.answer(&datagram, &reply) {
                    tracing::debug!(%error, "a resolver's reply was not sent");
                }
            }
        }
    }

    /// Answers connections until the future is dropped; those that are open end with it.
    ///
    /// # Errors
    /// The log takes no more records. Host: the socket fails.
    pub(super) async fn serve_tcp(self: Arc<Self>, listener: Listener) -> Result<()> {
        let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        let mut connections = JoinSet::new();
        loop {
            let place =
                Arc::clone(&places).acquire_owned().await.map_err(|_| Error::bug("the resolver has no places"))?;
            let stream = tokio::select! {
                accepted = listener.accept() => accepted.map_err(|e| socket_failed(&e))?.0,
                Some(ended) = connections.join_next() => {
                    ended.map_err(|error| Error::bug(format!("the resolver ended: {error}")))??;
                    continue;
                }
            };
            let this = Arc::clone(&self);
            connections.spawn(async move {
                let _place = place;
                this.converse(stream).await
            });
        }
    }

    /// Questions of one connection, in order. Ends when the client does, is idle, or sends what is no message.
    async fn converse(self: Arc<Self>, mut stream: Client) -> Result<()> {
        let answered = self.answer_all(&mut stream).await;
        // It fails only where the client is gone.
        drop(stream.shutdown().await);
        answered
    }

    async fn answer_all(self: &Arc<Self>, stream: &mut Client) -> Result<()> {
        let idle = Duration::from_secs(IDLE_S_MAX);
        loop {
            let Ok(Ok(message)) = tokio::time::timeout(idle, read_message(stream)).await else { return Ok(()) };
            let Some(reply) = self.answer_aside(message).await? else { return Ok(()) };
            let Ok(length) = u16::try_from(reply.len()) else { return Ok(()) };
            let framed = [&length.to_be_bytes(), reply.as_slice()].concat();
            let Ok(Ok(())) = tokio::time::timeout(idle, stream.write_all(&framed)).await else { return Ok(()) };
        }
    }
}

/// A message behind its length (RFC 1035, 4.2.2).
async fn read_message(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Vec<u8>> {
    let length = usize::from(stream.read_u16().await?);
    if length > MESSAGE_BYTES_MAX {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mut message = vec![0; length];
    stream.read_exact(&mut message).await?;
    Ok(message)
}

fn socket_failed(error: &io::Error) -> Error {
    Error::host(format!("the resolver's socket: {}", crate::error::plain(error)))
}
