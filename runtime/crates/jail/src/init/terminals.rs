//! Bytes between terminals inside and streams that came from the supervisor, where no terminal can be handed out (gVisor).
//! It never waits, holds at most one chunk for each direction, and never looks into the bytes.

use crate::recorder::ProcessId;
use rustix::event::{PollFd, PollFlags};
use rustix::fs::OFlags;
use rustix::io::Errno;
use rustix::net::SendFlags;
use std::os::fd::{AsFd as _, OwnedFd};

/// Bytes moved at once.
const CHUNK_BYTES: usize = 64 * 1024;

/// Every terminal whose bytes are moved.
#[derive(Debug, Default)]
pub(super) struct Relay {
    pairs: Vec<Pair>,
}

/// A terminal's master, and the stream that stands for it out there.
#[derive(Debug)]
struct Pair {
    call: ProcessId,
    master: OwnedFd,
    stream: OwnedFd,
    outwards: Way,
    inwards: Way,
}

/// Writes what there is room for.
type Write = fn(&OwnedFd, &[u8]) -> Result<usize, Errno>;

/// Without the signal that nobody reads, by which gVisor would end an init.
fn to_stream(stream: &OwnedFd, bytes: &[u8]) -> Result<usize, Errno> {
    rustix::net::send(stream, bytes, SendFlags::NOSIGNAL)
}

fn to_terminal(master: &OwnedFd, bytes: &[u8]) -> Result<usize, Errno> {
    rustix::io::write(master, bytes)
}

/// One direction: what was read and not written yet, and whether more is to come.
#[derive(Debug, Default)]
struct Way {
    pending: Vec<u8>,
    ended: bool,
}

impl Relay {
    /// Moves bytes of this call's terminal from now on.
    pub(super) fn add(&mut self, call: ProcessId, master: OwnedFd, stream: OwnedFd) -> Result<(), Errno> {
        for descriptor in [&master, &stream] {
            let flags = rustix::fs::fcntl_getfl(descriptor)?;
            rustix::fs::fcntl_setfl(descriptor, flags | OFlags::NONBLOCK)?;
        }
        let (outwards, inwards) = (Way::default(), Way::default());
        self.pairs.push(Pair { call, master, stream, outwards, inwards });
        Ok(())
    }

    /// What to wait for.
    pub(super) fn watch<'a>(&'a self, fds: &mut Vec<PollFd<'a>>) {
        for pair in &self.pairs {
            let of_master = interest(&pair.outwards, &pair.inwards);
            let of_stream = interest(&pair.inwards, &pair.outwards);
            for (descriptor, interest) in [(&pair.master, of_master), (&pair.stream, of_stream)] {
                // One that nothing is asked of would tell of its end all the time.
                if !interest.is_empty() {
                    fds.push(PollFd::from_borrowed_fd(descriptor.as_fd(), interest));
                }
            }
        }
    }

    /// Moves what can be moved. A pair whose terminal has ended, and whose reader has it all or is gone, is let go of.
    pub(super) fn serve(&mut self) {
        for pair in &mut self.pairs {
            pair.outwards.step(&pair.master, &pair.stream, to_stream);
            pair.inwards.step(&pair.stream, &pair.master, to_terminal);
        }
        self.pairs.retain(|pair| !pair.outwards.is_over());
    }

    /// A call's processes are gone. What its terminal still holds is moved as far as there is room for it, and the rest as
    /// soon as there is.
    pub(super) fn end(&mut self, call: ProcessId) {
        let is_its = |pair: &&mut Pair| pair.call == call;
        for pair in self.pairs.iter_mut().filter(is_its) {
            while pair.outwards.step(&pair.master, &pair.stream, to_stream) == Moved::Something {}
            // Nobody is left who could print.
            pair.outwards.ended |= pair.outwards.pending.is_empty();
        }
        self.pairs.retain(|pair| !pair.outwards.is_over());
    }
}

/// What is to be known of a descriptor that one way begins at and the other leads to.
fn interest(begins: &Way, leads: &Way) -> PollFlags {
    let mut interest = PollFlags::empty();
    interest.set(PollFlags::IN, !begins.ended && begins.pending.is_empty());
    interest.set(PollFlags::OUT, !leads.pending.is_empty());
    interest
}

/// What a step came to.
#[derive(Debug, PartialEq, Eq)]
enum Moved {
    Something,
    Nothing,
}

impl Way {
    fn is_over(&self) -> bool {
        self.ended && self.pending.is_empty()
    }

    fn step(&mut self, from: &OwnedFd, to: &OwnedFd, write: Write) -> Moved {
        if self.pending.is_empty() && !self.ended {
            let mut chunk = vec![0; CHUNK_BYTES];
            match rustix::io::read(from, &mut chunk) {
                Ok(count @ 1..) => {
                    chunk.truncate(count);
                    self.pending = chunk;
                }
                Err(Errno::AGAIN | Errno::INTR) => {}
                // The end; a terminal whose last user is gone answers EIO.
                Ok(0) | Err(_) => self.ended = true,
            }
        }
        if self.pending.is_empty() {
            return Moved::Nothing;
        }
        match write(to, &self.pending) {
            Ok(count) => {
                drop(self.pending.drain(..count));
                Moved::Something
            }
            Err(Errno::AGAIN | Errno::INTR) => Moved::Nothing,
            // Nobody is there to take it.
            Err(_) => {
                self.pending.clear();
                self.ended = true;
                Moved::Nothing
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::net::{AddressFamily, SocketFlags, SocketType};

    fn pair() -> (OwnedFd, OwnedFd) {
        rustix::net::socketpair(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None).expect("a pair")
    }

    #[test]
    fn what_was_printed_before_the_end_is_not_lost() {
        let (terminal, master) = pair();
        let (stream, ours) = pair();
        let mut relay = Relay::default();
        relay.add(ProcessId(7), master, stream).expect("flags can be set");
        rustix::io::write(&terminal, b"last words").expect("room");
        relay.end(ProcessId(8));
        relay.end(ProcessId(7));
        assert!(relay.pairs.is_empty());
        let mut read = [0; 32];
        assert_eq!(rustix::io::read(&ours, &mut read), Ok(10));
        assert_eq!(rustix::io::read(&ours, &mut read), Ok(0));
    }

    #[test]
    fn a_reader_that_is_gone_or_slow_holds_up_nobody() {
        let (terminal, master) = pair();
        let (stream, ours) = pair();
        let mut relay = Relay::default();
        relay.add(ProcessId(7), master, stream).expect("flags can be set");
        rustix::fs::fcntl_setfl(&terminal, OFlags::NONBLOCK).expect("ours");
        while rustix::io::write(&terminal, &[0; 4096]).is_ok() {
            relay.serve();
        }
        relay.end(ProcessId(7));
        assert_eq!(relay.pairs.len(), 1, "its reader has not taken all of it");
        drop(ours);
        relay.serve();
        assert!(relay.pairs.is_empty());
    }
}
