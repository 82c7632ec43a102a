//! What the kernel refuses inside, because nobody listens there: into the log.
//! It never answers, and never reads more of a packet than where it goes.

use super::names::{Names, Place, RESOLVER_PORT};
use super::outline::Outline;
use super::watched;
use crate::error::{Error, Result, plain};
use crate::journal::{Account, Wanted};
use nix::errno::Errno;
use nix::sys::socket::{LinkAddr, recvfrom};
use packet::{Attempt, Protocol};
use std::collections::HashMap;
use std::fmt;
use std::future::Future;
use std::io;
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use stockade_jail::OutletEnd;
use stockade_jail::outlet::relayed::Refused;
use stockade_policy::{Door, ExpandedProfile, Host};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::time::{MissedTickBehavior, interval};

pub mod packet;
#[cfg(test)]
mod tests;

/// Attempts for the same address, port and protocol within this time are one record with a count.
pub const WINDOW: Duration = Duration::from_secs(1);
/// Different attempts that are counted at a time; with more, the window ends early. None is dropped.
pub const ATTEMPTS_MAX: usize = 1024;
/// Bytes of a packet that are read: the longest headers that are looked at.
const PACKET_BYTES_MAX: usize = 256;

/// What stands for a host in the record of packets that were counted by the kernel alone. No host's name.
const EVERY_HOST: &str = "*";

/// Packets that the socket lost since the last question (`PACKET_STATISTICS`, packet(7)).
pub type Drops = Box<dyn Fn(BorrowedFd<'_>) -> io::Result<u64> + Send + Sync>;

/// Watches one session's inside.
pub struct Refusals {
    source: Source,
    judge: Judge,
    /// Attempts of this window and how often.
    seen: HashMap<Attempt, u64>,
}

/// Where packets come from.
struct Source {
    socket: AsyncFd<OwnedFd>,
    count: Count,
}

/// How what was lost is counted.
enum Count {
    /// By the kernel, which is asked.
    Asked(Drops),
    /// By the init that relays the packets, which says it: so many since they were last written down.
    Said(AtomicU64),
}

/// What is needed to say why nobody listens.
pub struct Judge {
    /// The session's profile.
    pub profile: Arc<ExpandedProfile>,
    /// Its sockets.
    pub outline: Arc<Outline>,
    /// Its names.
    pub names: Arc<Names>,
    /// Its log.
    pub account: Account,
}

impl fmt::Debug for Refusals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Refusals")
            .field("socket", &self.source.socket)
            .field("seen", &self.seen)
            .finish_non_exhaustive()
    }
}

impl Refusals {
    /// Watches with a packet socket of the inside, which hands out packets without the link's header (`SOCK_DGRAM`), or
    /// with the line by which its init relays one; what the first lost, `drops` tells. Must be called within a runtime.
    ///
    /// # Errors
    /// Host: the socket cannot be waited for.
    pub fn new(end: OutletEnd, drops: Drops, judge: Judge) -> Result<Self> {
        let (socket, count) = match end {
            OutletEnd::Socket(socket) => (socket, Count::Asked(drops)),
            OutletEnd::Relayed(line) => (line, Count::Said(AtomicU64::new(0))),
        };
        let prepared = || -> io::Result<AsyncFd<OwnedFd>> {
            let flags = rustix::fs::fcntl_getfl(&socket)?;
            rustix::fs::fcntl_setfl(&socket, flags | rustix::fs::OFlags::NONBLOCK)?;
            watched(socket, Interest::READABLE)
        };
        let socket = prepared().map_err(|error| failed(&error))?;
        Ok(Self { source: Source { socket, count }, judge, seen: HashMap::new() })
    }

    /// Writes refusals into the log until `stop` is ready; what came before is in the log when this returns.
    ///
    /// # Errors
    /// The log takes no more records. Host: the socket fails.
    pub async fn serve(self, stop: impl Future<Output = ()>) -> Result<()> {
        let Self { source, judge, mut seen } = self;
        let judge = Arc::new(judge);
        let mut window = interval(WINDOW);
        window.set_missed_tick_behavior(MissedTickBehavior::Delay);
        tokio::pin!(stop);
        loop {
            tokio::select! {
                biased;
                () = &mut stop => break,
                _ = window.tick() => settle(&source, &judge, &mut seen).await?,
                ready = source.socket.readable() => {
                    let mut ready = ready.map_err(|error| failed(&error))?;
                    match source.drain(&judge, &mut seen)? {
                        // What is over is always ready; at the next window it is looked at again.
                        Drained::Empty | Drained::Over => ready.clear_ready(),
                        Drained::Full => settle(&source, &judge, &mut seen).await?,
                    }
                }
            }
        }
        while let Drained::Full = source.drain(&judge, &mut seen)? {
            settle(&source, &judge, &mut seen).await?;
        }
        settle(&source, &judge, &mut seen).await
    }
}

/// How reading ended.
enum Drained {
    /// The socket holds nothing more.
    Empty,
    /// The window has as many attempts as it may.
    Full,
    /// The init is gone: no more will come.
    Over,
}

impl Source {
    /// Reads what the socket holds, but no more different attempts than a window may have.
    fn drain(&self, judge: &Judge, seen: &mut HashMap<Attempt, u64>) -> Result<Drained> {
        let mut buffer = [0; PACKET_BYTES_MAX];
        while seen.len() < ATTEMPTS_MAX {
            // The jail keeps a packet's copy on its way out alone: the loopback shows each twice.
            let length = match recvfrom::<LinkAddr>(self.socket.get_ref().as_raw_fd(), &mut buffer) {
                Ok((length, _)) => length,
                Err(Errno::EAGAIN) => return Ok(Drained::Empty),
                Err(Errno::EINTR) => continue,
                Err(error) => return Err(failed(&error.into())),
            };
            let message = buffer.get(..length.min(PACKET_BYTES_MAX)).unwrap_or_default();
            let packet = match &self.count {
                Count::Asked(_) => message,
                Count::Said(lost) => match Refused::read(message) {
                    Some(Refused::Packet(packet)) => packet,
                    Some(Refused::Lost(more)) => {
                        lost.fetch_add(more, Ordering::Relaxed);
                        continue;
                    }
                    None if message.is_empty() => return Ok(Drained::Over),
                    None => return Err(Error::bug("what the init relays of refusals does not parse")),
                },
            };
            if let Some(attempt) = packet::read(packet).filter(|attempt| judge.is_refused(attempt)) {
                *seen.entry(attempt).or_default() += 1;
            }
        }
        Ok(Drained::Full)
    }

    /// How many packets were lost since this was last asked.
    fn lost(&self) -> Result<u64> {
        match &self.count {
            Count::Asked(drops) => drops(self.socket.get_ref().as_fd()).map_err(|error| failed(&error)),
            Count::Said(lost) => Ok(lost.swap(0, Ordering::Relaxed)),
        }
    }
}

/// Ends a window: everything that was seen goes into the log, and how much was not.
async fn settle(source: &Source, judge: &Arc<Judge>, seen: &mut HashMap<Attempt, u64>) -> Result<()> {
    let lost = source.lost()?;
    if seen.is_empty() && lost == 0 {
        return Ok(());
    }
    let mut seen: Vec<(Attempt, u64)> = seen.drain().collect();
    seen.sort();
    let judge = Arc::clone(judge);
    // The log may make us wait, which is what holds a flood back.
    let written = tokio::task::spawn_blocking(move || {
        seen.iter().try_for_each(|(attempt, times)| judge.write(attempt, *times))?;
        if lost > 0 { judge.write_unread(lost) } else { Ok(()) }
    });
    written.await.map_err(|error| Error::bug(format!("the watch over refusals ended: {error}")))?
}

impl Judge {
    /// Whether the kernel refuses it: nobody of ours listens there. What goes to the loopback is the inside's own.
    ///
    /// A program inside that listens on another address of the inside is not known here: attempts to reach it are
    /// reported, and succeed.
    fn is_refused(&self, attempt: &Attempt) -> bool {
        if attempt.address.is_loopback() {
            return false;
        }
        match attempt.protocol {
            Protocol::Tcp => !self.outline.takes(attempt.address, attempt.port),
            // Our own resolver answers from its port, which nobody else inside can have.
            Protocol::Udp { from } => from != Some(RESOLVER_PORT) && !self.outline.takes_datagrams(attempt.port),
        }
    }

    fn write(&self, attempt: &Attempt, times: u64) -> Result<()> {
        let host = match self.names.place(attempt.address) {
            Place::Name(name) => Host::Name(name),
            Place::Proxy | Place::Resolver | Place::Vacant(_) | Place::Loopback | Place::Address(_) => {
                Host::Address(attempt.address)
            }
        };
        let (rule, mut reason) = match attempt.protocol {
            Protocol::Udp { .. } => {
                (None, format!("no UDP is let out, also not to \"{host}\" port {}: connect over TCP", attempt.port))
            }
            Protocol::Tcp => match self.profile.door(&host, attempt.port) {
                Door::Shut(refusal) if refusal.instead.is_empty() => (refusal.rule, refusal.reason),
                Door::Shut(refusal) => {
                    (refusal.rule, format!("{}; allowed instead: {}", refusal.reason, refusal.instead.join(", ")))
                }
                Door::Whole | Door::Requests => {
                    (None, format!("nobody listens at {} port {}: use the name", attempt.address, attempt.port))
                }
            },
        };
        if times > 1 {
            reason = format!("{reason} ({times} attempts within {} s)", WINDOW.as_secs());
        }
        let by = rule.map_or_else(|| "not granted".to_owned(), |rule| rule.to_string());
        let wanted = Wanted { host: host.to_string(), port: Some(attempt.port), ..Wanted::default() };
        self.account.refused(None, wanted, by, reason)
    }

    /// The kernel counts what the socket had no room for, so that of a flood the log has how much, and not to where. It is
    /// no gap: a packet socket cannot hold a sender back, but nothing happens by a packet that nobody listens for, and
    /// what somebody listens for has records of its own.
    fn write_unread(&self, lost: u64) -> Result<()> {
        let reason = format!(
            "{lost} packets that open a connection or are none came faster than they were looked at; those that somebody \
             listens for have records of their own"
        );
        let wanted = Wanted { host: EVERY_HOST.to_owned(), ..Wanted::default() };
        self.account.refused(None, wanted, "not granted".to_owned(), reason)
    }
}

fn failed(error: &io::Error) -> Error {
    Error::host(format!("the packet socket of the inside: {}", plain(error)))
}
