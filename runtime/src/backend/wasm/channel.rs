//! One end of a worker's channel: datagrams with descriptors, whole or not at all, without ever waiting.
//! It never trusts a length or a descriptor of the other end, and keeps none of a message that it refuses.

use crate::backend::wasm::parts::{self, Begun, Encoded};
use crate::backend::wasm::wire::{self, DESCRIPTORS_MAX, MESSAGE_BYTES_MAX, Message};
use crate::error::{Error, Result};
use rustix::fs::{MemfdFlags, SealFlags};
use rustix::io::Errno;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags,
};
use std::fs::File;
use std::io::{IoSlice, IoSliceMut, Write as _};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileExt as _;
use std::time::Duration;

/// How long either end looks for the next message before it sleeps.
const LOOK_FOR: Duration = Duration::from_micros(60);

/// [`LOOK_FOR`], or nothing where there is but one processor, which the other end needs.
pub(super) fn look_for() -> Duration {
    let is_alone = std::thread::available_parallelism().is_ok_and(|processors| processors.get() == 1);
    if is_alone { Duration::ZERO } else { LOOK_FOR }
}

/// A message that is ready to be sent.
#[derive(Debug)]
pub(super) struct Outgoing {
    encoded: Encoded,
    /// Its datagrams that were sent.
    sent: usize,
    descriptors: Vec<OwnedFd>,
}

impl Outgoing {
    /// Makes a message ready; `descriptor` comes with it.
    pub(super) fn new<M: Message>(message: &M, descriptor: Option<OwnedFd>) -> Result<Self> {
        let descriptors: Vec<OwnedFd> = descriptor.into_iter().collect();
        debug_assert_eq!(descriptors.len(), message.descriptors(), "a message comes with what it says");
        Ok(Self { encoded: parts::encode(message)?, sent: 0, descriptors })
    }

    /// Whether it takes several datagrams, among which no other such message may come.
    pub(super) fn is_long(&self) -> bool {
        self.encoded.datagrams() > 1
    }

    /// Sends it now, or says that there is no room ([`Errno::AGAIN`]; what was sent is not sent again) or nobody.
    pub(super) fn try_send(&mut self, channel: impl AsFd) -> std::result::Result<(), Errno> {
        while self.sent < self.encoded.datagrams() {
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS_MAX))];
            let mut ancillary = SendAncillaryBuffer::new(&mut space);
            let descriptors: Vec<BorrowedFd<'_>> = self.descriptors.iter().map(AsFd::as_fd).collect();
            if !descriptors.is_empty() && !ancillary.push(SendAncillaryMessage::ScmRights(&descriptors)) {
                return Err(Errno::TOOBIG);
            }
            let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
            let (head, part) = self.encoded.datagram(self.sent);
            let bytes = [IoSlice::new(&head), IoSlice::new(part)];
            rustix::io::retry_on_intr(|| rustix::net::sendmsg(&channel, &bytes, &mut ancillary, flags))?;
            self.sent += 1;
        }
        Ok(())
    }
}

/// Where messages come to.
#[derive(Debug, Default)]
pub(super) struct Inbox {
    buffer: Vec<u8>,
    begun: Begun,
}

/// What came.
#[derive(Debug)]
pub(super) enum Incoming<M> {
    /// A message, and the descriptor that it is about.
    Message(M, Option<OwnedFd>),
    /// The other end is closed.
    Closed,
}

/// Takes the next message, if there is one now.
///
/// # Errors
/// Bug: it is none of ours. Host: the channel is broken.
pub(super) fn try_receive<M: Message>(channel: impl AsFd, inbox: &mut Inbox) -> Result<Option<Incoming<M>>> {
    // Until none is there: whoever waits is told of new ones alone. Parts are as many as the longest message has, at most.
    loop {
        let Some((length, mut descriptors)) = try_receive_datagram(&channel, &mut inbox.buffer)? else {
            return Ok(None);
        };
        if length == 0 {
            return Ok(Some(Incoming::Closed));
        }
        let message = inbox.begun.take::<M>(inbox.buffer.get(..length).unwrap_or_default())?;
        if descriptors.len() != message.as_ref().map_or(0, Message::descriptors) {
            return Err(wire::foreign("other descriptors came than such a message brings"));
        }
        if let Some(message) = message {
            return Ok(Some(Incoming::Message(message, descriptors.pop())));
        }
    }
}

/// Its length, 0 at the end of the channel, and what came along.
fn try_receive_datagram(channel: &impl AsFd, buffer: &mut Vec<u8>) -> Result<Option<(usize, Vec<OwnedFd>)>> {
    buffer.resize(MESSAGE_BYTES_MAX, 0);
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS_MAX))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let flags = RecvFlags::CMSG_CLOEXEC | RecvFlags::DONTWAIT;
    let mut slices = [IoSliceMut::new(buffer)];
    let received = match rustix::io::retry_on_intr(|| rustix::net::recvmsg(channel, &mut slices, &mut ancillary, flags))
    {
        Ok(received) => received,
        Err(Errno::AGAIN) => return Ok(None),
        Err(Errno::CONNRESET) => return Ok(Some((0, Vec::new()))),
        Err(errno) => return Err(Error::host(format!("receive from a worker: {}", plain(errno)))),
    };
    let mut descriptors = Vec::new();
    for message in ancillary.drain() {
        if let RecvAncillaryMessage::ScmRights(rights) = message {
            descriptors.extend(rights);
        }
    }
    if received.flags.intersects(ReturnFlags::TRUNC | ReturnFlags::CTRUNC) {
        return Err(wire::foreign("it was cut"));
    }
    Ok(Some((received.bytes, descriptors)))
}

/// A memfd with these bytes, which nobody can change any more.
pub(super) fn sealed(name: &std::ffi::CStr, parts: &[&[u8]]) -> Result<OwnedFd> {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    let memory = rustix::fs::memfd_create(name, flags)
        .map_err(|errno| Error::host(format!("make memory for a worker: {}", plain(errno))))?;
    let mut file = File::from(memory);
    for part in parts {
        let failed = |error| Error::host(format!("fill memory for a worker: {}", crate::error::plain(&error)));
        file.write_all(part).map_err(failed)?;
    }
    let seals = SealFlags::WRITE | SealFlags::GROW | SealFlags::SHRINK | SealFlags::SEAL;
    rustix::fs::fcntl_add_seals(&file, seals)
        .map_err(|errno| Error::host(format!("seal memory for a worker: {}", plain(errno))))?;
    Ok(file.into())
}

/// The bytes of a memfd that a worker made.
pub(super) fn contents(memory: OwnedFd, bytes_max: usize) -> Result<Vec<u8>> {
    whole(&unchanging(memory)?, bytes_max)
}

/// The bytes of what the supervisor handed over, whom a worker believes that they stay. (gVisor would not tell of a memfd of the
/// host's whether it is sealed.)
#[cfg(feature = "engine")]
pub(super) fn handed_over(memory: OwnedFd, bytes_max: usize) -> Result<Vec<u8>> {
    whole(&File::from(memory), bytes_max)
}

/// Only a memfd whose size and bytes stay as they are: reading it can neither wait for anybody nor see two things.
fn unchanging(memory: OwnedFd) -> Result<File> {
    let seals = rustix::fs::fcntl_get_seals(&memory).map_err(|_| wire::foreign("its body is no memory"))?;
    if !seals.contains(SealFlags::WRITE | SealFlags::GROW | SealFlags::SHRINK) {
        return Err(wire::foreign("its body could still change"));
    }
    Ok(File::from(memory))
}

fn whole(file: &File, bytes_max: usize) -> Result<Vec<u8>> {
    let failed = |error: std::io::Error| Error::host(format!("read memory: {}", crate::error::plain(&error)));
    // By fstat(2), which looks at no path: a worker that compiles may ask for nothing that could.
    let about = rustix::fs::fstat(file).map_err(|errno| failed(errno.into()))?;
    let length = usize::try_from(about.st_size).unwrap_or(usize::MAX);
    if length > bytes_max {
        return Err(wire::foreign("its body has another length"));
    }
    let mut bytes = vec![0; length];
    file.read_exact_at(&mut bytes, 0).map_err(failed)?;
    Ok(bytes)
}

/// An error of the kernel in our style.
pub(super) fn plain(errno: Errno) -> String {
    crate::error::plain(&std::io::Error::from(errno))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::wasm::call::Printed;
    use crate::backend::wasm::wire::{Ended, Ending, FromWorker};
    use rustix::net::{AddressFamily, SocketFlags, SocketType};

    fn pair() -> (OwnedFd, OwnedFd) {
        rustix::net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None).expect("a pair")
    }

    fn long(bytes: usize) -> FromWorker {
        let ending = Ending::Trapped { why: "x".repeat(bytes) };
        let (uses, usage, printed) = (Vec::new(), crate::backend::wasm::call::ToolUsage::default(), Printed::default());
        FromWorker::Ended { call: 1, ended: Box::new(Ended { ending, uses, usage, printed }) }
    }

    /// More than the channel holds at one time, as far as there is room.
    #[test]
    fn a_long_message_comes_whole_however_often_the_channel_is_full() {
        let ((ours, theirs), message) = (pair(), long(5 << 20));
        let mut outgoing = Outgoing::new(&message, None).expect("it is short enough");
        assert!(outgoing.is_long());
        let (mut inbox, mut pauses) = (Inbox::default(), 0);
        while let Err(errno) = outgoing.try_send(&theirs) {
            assert_eq!(errno, Errno::AGAIN);
            assert!(try_receive::<FromWorker>(&ours, &mut inbox).expect("it is ours").is_none(), "it is not whole yet");
            pauses += 1;
        }
        assert!(pauses > 2, "the control: it does not fit");
        let Ok(Some(Incoming::Message(came, None))) = try_receive::<FromWorker>(&ours, &mut inbox) else {
            panic!("it came")
        };
        assert_eq!(came, message);
        assert!(try_receive::<FromWorker>(&ours, &mut inbox).expect("it is open").is_none());
    }

    #[test]
    fn a_part_brings_no_descriptor() {
        let (ours, theirs) = pair();
        let mut outgoing = Outgoing::new(&long(100_000), None).expect("it is short enough");
        outgoing.descriptors.push(sealed(c"test", &[b"x"]).expect("there is room"));
        outgoing.try_send(&theirs).expect("there is room");
        let error = try_receive::<FromWorker>(&ours, &mut Inbox::default()).expect_err("it is none of ours");
        assert!(error.to_string().contains("other descriptors"), "{error}");
    }

    #[test]
    fn a_worker_that_ends_amid_a_message_has_said_nothing() {
        let (ours, theirs) = pair();
        let mut outgoing = Outgoing::new(&long(5 << 20), None).expect("it is short enough");
        outgoing.try_send(&theirs).expect_err("there is no room for all of it");
        drop(theirs);
        let came = try_receive::<FromWorker>(&ours, &mut Inbox::default()).expect("it is ours as far as it goes");
        assert!(matches!(came, Some(Incoming::Closed)));
    }

    #[test]
    fn what_a_worker_made_is_read_once_it_cannot_change() {
        let memory = rustix::fs::memfd_create(c"test", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING);
        let error = contents(memory.expect("there is memory"), 10).expect_err("it could change").to_string();
        assert!(error.contains("could still change"), "{error}");
        let made = || sealed(c"test", &[b"words"]).expect("there is memory");
        assert_eq!(contents(made(), 5).expect("it is sealed"), b"words");
        contents(made(), 4).expect_err("it is too long");
    }
}
