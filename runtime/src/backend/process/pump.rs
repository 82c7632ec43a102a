//! Moves bytes between a running call and those who feed and watch it: one loop over poll(2), no threads.
//! It never looks into the bytes, holds at most one chunk for each direction, and stops at the output limit.

use crate::error::{Error, Result, plain};
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

/// Bytes moved at once: the capacity of a pipe (pipe(7)).
const CHUNK_BYTES: usize = 64 * 1024;

/// What ends the input of a terminal in its usual mode: Ctrl-D (termios(3), VEOF).
const END_OF_INPUT: &[u8] = &[4];

/// Takes what a call prints, in order.
pub trait Sink {
    /// Takes one chunk; it may block, and the call waits.
    ///
    /// # Errors
    /// The other side is gone or full; nothing more is given to this sink, and the call goes on unheard.
    fn take(&mut self, chunk: &[u8]) -> io::Result<()>;
}

/// Where a call's standard input comes from.
#[derive(Debug)]
pub enum Input {
    /// Nowhere: it reads an end of file.
    Empty,
    /// These bytes, then an end of file.
    Bytes(Vec<u8>),
    /// A descriptor of ours.
    Descriptor(OwnedFd),
}

/// The ends that the supervisor holds of a running call.
#[derive(Debug)]
pub enum Ends {
    /// Three pipes.
    Pipes {
        /// Where its input is written; `None` when it has none.
        stdin: Option<OwnedFd>,
        /// Where its output is read.
        stdout: OwnedFd,
        /// Where its errors are read.
        stderr: OwnedFd,
    },
    /// The master side of its terminal.
    Terminal(OwnedFd),
}

/// Looks after a call while its bytes are moved.
pub trait Overseer {
    /// A descriptor that becomes readable when [`Overseer::attend`] has something to do.
    fn descriptor(&self) -> Option<BorrowedFd<'_>>;
    /// The descriptor is readable.
    fn attend(&mut self);
    /// When [`Overseer::expire`] is to be called.
    fn deadline(&self) -> Option<Instant>;
    /// The deadline has passed; the next one, if any, is asked for afterwards.
    fn expire(&mut self);
}

/// How the moving ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pumped {
    /// Everything was moved: so many bytes of output.
    All(u64),
    /// The output limit was reached after so many bytes; what came after it was not moved.
    OverLimit(u64),
}

/// Moves bytes until the call has closed all its outputs, or has printed more than `output_bytes_max`.
///
/// # Errors
/// Host: poll(2) or a read fails in a way that is not an end of file.
pub fn pump(
    ends: Ends,
    input: Input,
    stdout: &mut dyn Sink,
    stderr: &mut dyn Sink,
    output_bytes_max: u64,
    overseer: &mut dyn Overseer,
) -> Result<Pumped> {
    let (mut feed, mut outputs) = match ends {
        Ends::Pipes { stdin, stdout: out, stderr: err } => {
            (Feed::new(stdin, input, &[])?, vec![Output::new(out, stdout), Output::new(err, stderr)])
        }
        Ends::Terminal(master) => {
            let feed = master.try_clone().map_err(|e| failed("copy the terminal's descriptor", &e))?;
            (Feed::new(Some(feed), input, END_OF_INPUT)?, vec![Output::new(master, stdout)])
        }
    };
    let mut budget = Budget { moved: 0, max: output_bytes_max };
    let mut chunk = vec![0; CHUNK_BYTES];
    while !outputs.is_empty() {
        let ready = wait(&feed, &outputs, &*overseer)?;
        if ready.overseer {
            overseer.attend();
        }
        if overseer.deadline().is_some_and(|deadline| deadline <= Instant::now()) {
            overseer.expire();
        }
        feed.step(ready.source, ready.feed);
        for (output, ready) in outputs.iter_mut().zip(ready.outputs) {
            if ready && output.step(&mut chunk, &mut budget)? == Step::Limit {
                return Ok(Pumped::OverLimit(budget.moved));
            }
        }
        outputs.retain(|output| !output.ended);
    }
    Ok(Pumped::All(budget.moved))
}

fn failed(act: &str, error: &io::Error) -> Error {
    Error::host(format!("{act} of a call: {}", plain(error)))
}

/// Which descriptors can be served.
struct Ready {
    outputs: Vec<bool>,
    source: bool,
    feed: bool,
    overseer: bool,
}

/// Waits until something can be moved, the overseer is wanted, or its deadline passes.
fn wait(feed: &Feed, outputs: &[Output<'_>], overseer: &dyn Overseer) -> Result<Ready> {
    let others = [
        feed.wants_source().map(|descriptor| (descriptor, PollFlags::POLLIN)),
        feed.wants_sink().map(|descriptor| (descriptor, PollFlags::POLLOUT)),
        overseer.descriptor().map(|descriptor| (descriptor, PollFlags::POLLIN)),
    ];
    let mut watched: Vec<PollFd<'_>> =
        outputs.iter().map(|output| PollFd::new(output.from.as_fd(), PollFlags::POLLIN)).collect();
    watched.extend(others.iter().flatten().map(|(descriptor, events)| PollFd::new(*descriptor, *events)));
    match poll(&mut watched, timeout(overseer.deadline())) {
        Ok(_) | Err(Errno::EINTR) => {}
        Err(e) => return Err(failed("wait for the output", &e.into())),
    }
    let mut ready = watched.iter().map(|one| one.revents().is_some_and(|events| !events.is_empty()));
    let outputs = ready.by_ref().take(outputs.len()).collect();
    let [source, feed, overseer] = others.map(|other| other.is_some() && ready.next().unwrap_or(false));
    Ok(Ready { outputs, source, feed, overseer })
}

/// The time until a deadline, rounded up, so that a wait never ends just before it.
fn timeout(deadline: Option<Instant>) -> PollTimeout {
    let Some(deadline) = deadline else { return PollTimeout::NONE };
    let left = deadline.saturating_duration_since(Instant::now()) + Duration::from_millis(1);
    PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX)
}

/// Counts output against its limit.
struct Budget {
    moved: u64,
    max: u64,
}

/// What one step of an output came to.
#[derive(PartialEq, Eq)]
enum Step {
    On,
    Limit,
}

/// One output of the call and who takes it.
struct Output<'a> {
    from: OwnedFd,
    to: Option<&'a mut dyn Sink>,
    ended: bool,
}

impl<'a> Output<'a> {
    fn new(from: OwnedFd, to: &'a mut dyn Sink) -> Self {
        Self { from, to: Some(to), ended: false }
    }

    fn step(&mut self, chunk: &mut [u8], budget: &mut Budget) -> Result<Step> {
        let count = match nix::unistd::read(&self.from, chunk) {
            // A terminal whose last user is gone answers EIO, a pipe answers 0, and a stream in place of a terminal either 0 or,
            // where input was left unread, ECONNRESET.
            Ok(0) | Err(Errno::EIO | Errno::ECONNRESET) => {
                self.ended = true;
                return Ok(Step::On);
            }
            Ok(count) => count,
            Err(Errno::EINTR | Errno::EAGAIN) => return Ok(Step::On),
            Err(e) => return Err(failed("read the output", &e.into())),
        };
        let room = usize::try_from(budget.max.saturating_sub(budget.moved)).unwrap_or(usize::MAX);
        let taken = chunk.get(..count.min(room)).unwrap_or_default();
        budget.moved += taken.len() as u64;
        // A sink that fails is dropped: a watcher that went away (`| head`) must not change what the call does.
        let gone = self.to.as_mut().is_some_and(|sink| sink.take(taken).is_err());
        if gone {
            self.to = None;
        }
        Ok(if count > room { Step::Limit } else { Step::On })
    }
}

/// The input of the call and where it comes from.
struct Feed {
    sink: Option<OwnedFd>,
    source: Option<OwnedFd>,
    pending: Vec<u8>,
    /// Sent once after everything else; a pipe needs none, since closing it says the same.
    last: &'static [u8],
}

impl Feed {
    fn new(sink: Option<OwnedFd>, input: Input, last: &'static [u8]) -> Result<Self> {
        if let Some(sink) = &sink {
            let flags = fcntl(sink, FcntlArg::F_GETFL).map_err(|e| failed("set up the input", &e.into()))?;
            let flags = OFlag::from_bits_retain(flags) | OFlag::O_NONBLOCK;
            fcntl(sink, FcntlArg::F_SETFL(flags)).map_err(|e| failed("set up the input", &e.into()))?;
        }
        let (source, pending) = match input {
            Input::Empty => (None, Vec::new()),
            Input::Bytes(bytes) => (None, bytes),
            Input::Descriptor(descriptor) => (Some(descriptor), Vec::new()),
        };
        let mut feed = Self { sink, source, pending, last };
        feed.close_when_done();
        Ok(feed)
    }

    /// The source is only read when everything before has been written: back-pressure.
    fn wants_source(&self) -> Option<BorrowedFd<'_>> {
        let idle = self.pending.is_empty() && self.sink.is_some();
        self.source.as_ref().filter(|_| idle).map(|source| source.as_fd())
    }

    fn wants_sink(&self) -> Option<BorrowedFd<'_>> {
        self.sink.as_ref().filter(|_| !self.pending.is_empty()).map(|sink| sink.as_fd())
    }

    fn step(&mut self, source_ready: bool, sink_ready: bool) {
        if source_ready && let Some(source) = &self.source {
            let mut chunk = vec![0; CHUNK_BYTES];
            match nix::unistd::read(source, &mut chunk) {
                Ok(0) => self.source = None,
                Ok(count) => {
                    chunk.truncate(count);
                    self.pending = chunk;
                }
                Err(Errno::EINTR | Errno::EAGAIN) => {}
                // Our own input cannot be read (a terminal in the background): the call sees an end of file.
                Err(_) => self.source = None,
            }
        }
        if (sink_ready || !self.pending.is_empty())
            && let Some(sink) = &self.sink
        {
            match nix::unistd::write(sink, &self.pending) {
                Ok(count) => drop(self.pending.drain(..count)),
                Err(Errno::EINTR | Errno::EAGAIN) => {}
                // The call closed its input: what is left has no reader.
                Err(_) => {
                    self.pending.clear();
                    self.source = None;
                }
            }
        }
        self.close_when_done();
    }

    /// The end of our input is the end of the call's.
    fn close_when_done(&mut self) {
        if self.source.is_some() || !self.pending.is_empty() {
            return;
        }
        self.pending = std::mem::take(&mut self.last).to_vec();
        if self.pending.is_empty() {
            self.sink = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;

    struct Kept(Vec<u8>);
    impl Sink for Kept {
        fn take(&mut self, chunk: &[u8]) -> io::Result<()> {
            self.0.extend(chunk);
            Ok(())
        }
    }

    struct Nobody;
    impl Overseer for Nobody {
        fn descriptor(&self) -> Option<BorrowedFd<'_>> {
            None
        }
        fn attend(&mut self) {
            unreachable!("nobody asked for it");
        }
        fn deadline(&self) -> Option<Instant> {
            None
        }
        fn expire(&mut self) {
            unreachable!("there is no deadline");
        }
    }

    fn pipe() -> (OwnedFd, OwnedFd) {
        nix::unistd::pipe().expect("the test may open pipes")
    }

    /// A call that copies its input to its output and prints one line of errors.
    #[track_caller]
    fn echo(input: Input, max: u64) -> (Pumped, Vec<u8>, Vec<u8>) {
        let (guest_in, stdin) = pipe();
        let (stdout, guest_out) = pipe();
        let (stderr, guest_err) = pipe();
        let guest = std::thread::spawn(move || {
            std::fs::File::from(guest_err).write_all(b"oops\n").expect("the error pipe is open");
            // Ends with an error when the pump stops reading at the limit, as a real guest would.
            io::copy(&mut std::fs::File::from(guest_in), &mut std::fs::File::from(guest_out)).is_ok()
        });
        let (mut out, mut err) = (Kept(Vec::new()), Kept(Vec::new()));
        let ends = Ends::Pipes { stdin: Some(stdin), stdout, stderr };
        let pumped = pump(ends, input, &mut out, &mut err, max, &mut Nobody).expect("pumping pipes works");
        guest.join().expect("the guest ends");
        (pumped, out.0, err.0)
    }

    #[test]
    fn large_input_comes_back_whole() {
        let bytes: Vec<u8> = (0..3_000_000_u32).map(|n| n.to_le_bytes()[0]).collect();
        let (pumped, out, err) = echo(Input::Bytes(bytes.clone()), u64::MAX);
        assert_eq!(pumped, Pumped::All(3_000_005));
        assert!(out == bytes && err == b"oops\n");
    }

    #[test]
    fn input_of_a_descriptor_ends_with_it() {
        let (source, writer) = pipe();
        std::fs::File::from(writer).write_all(b"hello").expect("the pipe is open");
        let (pumped, out, _) = echo(Input::Descriptor(source), 1000);
        assert_eq!((pumped, out.as_slice()), (Pumped::All(10), &b"hello"[..]));
    }

    #[test]
    fn output_past_the_limit_is_not_moved() {
        let (pumped, out, err) = echo(Input::Bytes(vec![b'x'; 1_000_000]), 1000);
        assert_eq!(pumped, Pumped::OverLimit(1000));
        assert_eq!(out.len() + err.len(), 1000);
    }

    #[test]
    fn a_sink_that_went_away_does_not_stop_the_call() {
        struct Gone;
        impl Sink for Gone {
            fn take(&mut self, _: &[u8]) -> io::Result<()> {
                Err(io::ErrorKind::BrokenPipe.into())
            }
        }
        let (stdout, guest_out) = pipe();
        let (stderr, guest_err) = pipe();
        let guest = std::thread::spawn(move || std::fs::File::from(guest_out).write_all(&vec![0; 1_000_000]).is_ok());
        drop(guest_err);
        let ends = Ends::Pipes { stdin: None, stdout, stderr };
        let pumped =
            pump(ends, Input::Empty, &mut Gone, &mut Gone, u64::MAX, &mut Nobody).expect("pumping pipes works");
        assert_eq!(pumped, Pumped::All(1_000_000));
        assert!(guest.join().expect("the guest ends"), "every byte was read");
    }
}
