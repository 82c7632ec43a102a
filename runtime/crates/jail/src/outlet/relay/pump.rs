//! One connection of a guest's, and the stream that stands for it out there.
//! It never waits, never looks into the bytes, and never lets a connection that was cut look like one that ended.

use super::visit;
use crate::channel::Channel;
use crate::outlet::relayed::LENGTH_BYTES;
use rustix::event::epoll::EventFlags as Interest;
use rustix::io::Errno;
use rustix::net::{SendFlags, Shutdown, sockopt};
use std::os::fd::OwnedFd;
use std::time::Duration;

/// Bytes moved at once; what was read and not written yet is no more for each direction.
const CHUNK_BYTES: usize = 64 * 1024;

/// A connection whose bytes are moved.
#[derive(Debug)]
pub(super) struct Pump {
    guest: OwnedFd,
    stream: OwnedFd,
    up: Flow,
    down: Flow,
    /// `None` where bytes come as they are, and the stream's end is an end.
    pieces: Option<Pieces>,
    /// Until it is connected: whom to tell.
    answer: Option<Channel>,
}

/// One direction.
#[derive(Debug, Default)]
struct Flow {
    /// Read, and not written yet.
    pending: Vec<u8>,
    source: Source,
}

/// Whether more is to come.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Source {
    #[default]
    Open,
    /// No more, which the other end was not told yet.
    Ended,
    /// And it was.
    Told,
}

/// What became of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    /// More may come.
    Alive,
    /// Both ends have ended.
    Over,
    /// One end was reset: so is the other.
    Cut,
}

/// A reset of either end.
struct Reset;

impl Pump {
    /// Of a guest that was taken: it says this first, and what comes back is in pieces. Neither descriptor may block.
    pub(super) fn of_guest(guest: OwnedFd, stream: OwnedFd, first: &[u8]) -> Self {
        let up = Flow { pending: first.to_vec(), ..Flow::default() };
        Self { guest, stream, up, down: Flow::default(), pieces: Some(Pieces::default()), answer: None }
    }

    /// To a server inside, whose socket is being connected; bytes come as they are. Neither descriptor may block.
    pub(super) fn on_its_way(server: OwnedFd, stream: OwnedFd, answer: Channel) -> Self {
        let (up, down) = (Flow::default(), Flow::default());
        Self { guest: server, stream, up, down, pieces: None, answer: Some(answer) }
    }

    /// What to wait for, of the guest's end and of the stream; nothing where nothing is asked of one, which would tell of
    /// its end all the time.
    pub(super) fn interests(&self) -> [(&OwnedFd, Interest); 2] {
        if self.answer.is_some() {
            return [(&self.guest, Interest::OUT), (&self.stream, Interest::empty())];
        }
        [(&self.guest, interest(&self.up, &self.down)), (&self.stream, interest(&self.down, &self.up))]
    }

    /// Moves what can be moved.
    pub(super) fn step(&mut self) -> Outcome {
        if let Some(answer) = self.answer.take() {
            let connected = sockopt::socket_error(&self.guest).and_then(|result| result);
            visit::tell(&answer, connected);
            if connected.is_err() {
                return Outcome::Over;
            }
        }
        match self.downwards().and_then(|()| self.upwards()) {
            Err(Reset) => Outcome::Cut,
            Ok(()) if self.up.source == Source::Told && self.down.source == Source::Told => Outcome::Over,
            Ok(()) => Outcome::Alive,
        }
    }

    /// Ends it for the guest as the network would: by a reset.
    pub(super) fn reset(self) {
        match sockopt::set_socket_linger(&self.guest, Some(Duration::ZERO)) {
            // It is gone already.
            Ok(()) | Err(_) => {}
        }
    }

    fn upwards(&mut self) -> Result<(), Reset> {
        if self.up.wants_more()
            && let Some(bytes) = read(&self.guest)?
        {
            self.up.take(bytes);
        }
        match write(&self.stream, &mut self.up.pending) {
            Ok(()) => {}
            // Nobody takes it any more; what was answered before is still to be told.
            Err(Reset) => self.up = Flow { pending: Vec::new(), source: Source::Told },
        }
        self.up.tell(&self.stream);
        Ok(())
    }

    fn downwards(&mut self) -> Result<(), Reset> {
        if self.down.wants_more()
            && let Some(bytes) = read(&self.stream)?
        {
            match &mut self.pieces {
                None => self.down.take(bytes),
                // It ended before it said that it does.
                Some(_) if bytes.is_empty() => return Err(Reset),
                Some(pieces) => {
                    self.down.pending = pieces.join(&bytes)?;
                    if pieces.ended {
                        self.down.source = Source::Ended;
                    }
                }
            }
        }
        write(&self.guest, &mut self.down.pending)?;
        self.down.tell(&self.guest);
        Ok(())
    }
}

impl Flow {
    fn wants_more(&self) -> bool {
        self.source == Source::Open && self.pending.is_empty()
    }

    /// None are the end.
    fn take(&mut self, bytes: Vec<u8>) {
        if bytes.is_empty() {
            self.source = Source::Ended;
        }
        self.pending = bytes;
    }

    fn tell(&mut self, to: &OwnedFd) {
        if self.source == Source::Ended && self.pending.is_empty() {
            self.source = Source::Told;
            match rustix::net::shutdown(to, Shutdown::Write) {
                // It is gone already.
                Ok(()) | Err(_) => {}
            }
        }
    }
}

fn interest(begins: &Flow, leads: &Flow) -> Interest {
    let mut interest = Interest::empty();
    interest.set(Interest::IN, begins.wants_more());
    interest.set(Interest::OUT, !leads.pending.is_empty());
    interest
}

/// What there is; no bytes are the end.
fn read(from: &OwnedFd) -> Result<Option<Vec<u8>>, Reset> {
    let mut chunk = vec![0; CHUNK_BYTES];
    match rustix::io::read(from, &mut chunk) {
        Ok(count) => {
            chunk.truncate(count);
            Ok(Some(chunk))
        }
        Err(Errno::AGAIN | Errno::INTR) => Ok(None),
        Err(_) => Err(Reset),
    }
}

fn write(to: &OwnedFd, pending: &mut Vec<u8>) -> Result<(), Reset> {
    while !pending.is_empty() {
        match rustix::net::send(to, pending, SendFlags::NOSIGNAL) {
            Ok(count) => drop(pending.drain(..count)),
            Err(Errno::AGAIN | Errno::INTR) => return Ok(()),
            Err(_) => return Err(Reset),
        }
    }
    Ok(())
}

/// Where in the pieces the stream stands.
#[derive(Debug, Default)]
struct Pieces {
    /// Of a length, what came of it.
    length: Vec<u8>,
    /// Bytes of the piece that has begun and did not come yet.
    left: usize,
    ended: bool,
}

impl Pieces {
    /// The bytes in what came.
    fn join(&mut self, mut came: &[u8]) -> Result<Vec<u8>, Reset> {
        let mut bytes = Vec::with_capacity(came.len());
        while !came.is_empty() {
            if self.ended {
                return Err(Reset);
            }
            let wanted = if self.left > 0 { self.left } else { LENGTH_BYTES - self.length.len() };
            let (some, rest) = came.split_at(wanted.min(came.len()));
            came = rest;
            if self.left > 0 {
                self.left -= some.len();
                bytes.extend_from_slice(some);
                continue;
            }
            self.length.extend_from_slice(some);
            if let Ok(length) = <[u8; LENGTH_BYTES]>::try_from(self.length.as_slice()) {
                self.length.clear();
                self.left = u16::from_be_bytes(length).into();
                self.ended = self.left == 0;
            }
        }
        Ok(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::net::{AddressFamily, SocketFlags, SocketType};

    fn pair() -> (OwnedFd, OwnedFd) {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        rustix::net::socketpair(AddressFamily::UNIX, SocketType::STREAM, flags, None).expect("a pair")
    }

    /// A pump, the guest and the outlet.
    fn pumped() -> (Pump, OwnedFd, OwnedFd) {
        let ((guest, inner), (stream, outer)) = (pair(), pair());
        (Pump::of_guest(inner, stream, b""), guest, outer)
    }

    /// The same for a server inside, which is connected.
    fn plain() -> (Pump, OwnedFd, OwnedFd) {
        let (pump, guest, outer) = pumped();
        (Pump { pieces: None, ..pump }, guest, outer)
    }

    fn all(from: &OwnedFd) -> Vec<u8> {
        let mut bytes = vec![0; 1000];
        let count = rustix::io::read(from, &mut bytes).expect("something is there, if only an end");
        bytes.truncate(count);
        bytes
    }

    #[test]
    fn bytes_go_both_ways_and_each_end_is_told_of_the_others() {
        let ((guest, inner), (stream, outer)) = (pair(), pair());
        let mut pump = Pump::of_guest(inner, stream, b"to:");
        rustix::io::write(&guest, b"hello").expect("room");
        for byte in b"\0\x03you\0\x01!" {
            rustix::io::write(&outer, &[*byte]).expect("room");
            assert_eq!(pump.step(), Outcome::Alive);
        }
        assert_eq!(all(&outer), b"to:hello");
        assert_eq!(all(&guest), b"you!");
        rustix::net::shutdown(&guest, Shutdown::Write).expect("it is open");
        assert_eq!(pump.step(), Outcome::Alive);
        assert_eq!(all(&outer), b"");
        rustix::io::write(&outer, b"\0\x05still\0\0").expect("it is open");
        assert_eq!(pump.step(), Outcome::Over);
        assert_eq!((all(&guest), all(&guest)), (b"still".to_vec(), Vec::new()));
    }

    #[test]
    fn a_stream_that_ends_within_a_piece_or_before_the_last_is_cut() {
        for said in [&b""[..], b"\0", b"\0\x02a", b"\0\x01a", b"\0\0more"] {
            let (mut pump, _guest, outer) = pumped();
            rustix::io::write(&outer, said).expect("room");
            drop(outer);
            let outcome = [pump.step(), pump.step()];
            assert!(outcome.contains(&Outcome::Cut), "{said:?}: {outcome:?}");
        }
        let (mut pump, guest, outer) = plain();
        rustix::io::write(&outer, b"plain").expect("room");
        drop(outer);
        assert_eq!((pump.step(), pump.step()), (Outcome::Alive, Outcome::Alive));
        assert_eq!((all(&guest), all(&guest)), (b"plain".to_vec(), Vec::new()));
        drop(guest);
        assert_eq!(pump.step(), Outcome::Over);
    }

    #[test]
    fn an_answer_reaches_a_guest_that_talks_to_nobody_any_more() {
        let (mut pump, guest, outer) = pumped();
        rustix::io::write(&guest, b"a long request").expect("room");
        rustix::io::write(&outer, b"\0\x02no\0\0").expect("room");
        drop(outer);
        assert_eq!(pump.step(), Outcome::Over);
        assert_eq!((all(&guest), all(&guest)), (b"no".to_vec(), Vec::new()));
    }

    #[test]
    fn a_slow_end_holds_its_direction_up_and_not_the_other() {
        let (mut pump, guest, outer) = plain();
        while rustix::io::write(&outer, &[7; 4096]).is_ok() {
            assert_eq!(pump.step(), Outcome::Alive);
        }
        let [(_, of_guest), (_, of_stream)] = pump.interests();
        assert_eq!((of_guest, of_stream), (Interest::IN | Interest::OUT, Interest::empty()));
        rustix::io::write(&guest, b"up").expect("room");
        assert_eq!(pump.step(), Outcome::Alive);
        assert_eq!(all(&outer), b"up");
    }
}
