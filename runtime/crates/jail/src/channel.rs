//! One end of a datagram channel: messages with descriptors, whole or not at all.
//! It never blocks on a message that is half there, and never keeps a descriptor of a message that it refuses.

use crate::error::{ErrorKind, JailError};
use crate::wire::{self, BODY_BYTES_MAX, DESCRIPTORS_MAX, MESSAGE_BYTES_MAX, Message};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType,
};
use std::fs::File;
use std::io::{IoSlice, IoSliceMut, Read as _, Seek as _, Write as _};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// One end of a `SOCK_SEQPACKET` pair.
#[derive(Debug)]
pub(crate) struct Channel(OwnedFd);

/// A message and what came with it.
#[derive(Debug)]
pub(crate) struct Received {
    pub(crate) message: Message,
    pub(crate) descriptors: Vec<OwnedFd>,
}

impl Channel {
    /// Two connected ends, both close-on-exec.
    pub(crate) fn pair() -> Result<(Self, OwnedFd), JailError> {
        let (ours, theirs) =
            rustix::net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
                .map_err(|errno| JailError::os("make", "a socket pair", errno.raw_os_error()))?;
        Ok((Self(ours), theirs))
    }

    /// An end that came from elsewhere.
    pub(crate) fn new(end: OwnedFd) -> Self {
        Self(end)
    }

    /// The end itself.
    pub(crate) fn into_end(self) -> OwnedFd {
        self.0
    }

    /// Sends, waiting for room. A message that is too long for a datagram goes along in a memfd.
    pub(crate) fn send(&self, message: &Message, descriptors: &[BorrowedFd<'_>]) -> Result<(), JailError> {
        let bytes = wire::encode(message);
        if bytes.len() <= MESSAGE_BYTES_MAX {
            return self.send_bytes(&bytes, descriptors, SendFlags::NOSIGNAL).map_err(broken);
        }
        let body = in_memory(&bytes)?;
        let length = u64::try_from(bytes.len()).expect("a length fits 64 bits");
        let mut all = descriptors.to_vec();
        all.push(body.as_fd());
        self.send_bytes(&wire::encode(&Message::InMemory(length)), &all, SendFlags::NOSIGNAL).map_err(broken)
    }

    /// Sends a short message now, or says that there is no room or no peer.
    pub(crate) fn try_send(&self, message: &Message, descriptors: &[BorrowedFd<'_>]) -> Result<(), Errno> {
        self.send_bytes(&wire::encode(message), descriptors, SendFlags::NOSIGNAL | SendFlags::DONTWAIT)
    }

    fn send_bytes(&self, bytes: &[u8], descriptors: &[BorrowedFd<'_>], flags: SendFlags) -> Result<(), Errno> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS_MAX))];
        let mut ancillary = SendAncillaryBuffer::new(&mut space);
        if !descriptors.is_empty() && !ancillary.push(SendAncillaryMessage::ScmRights(descriptors)) {
            return Err(Errno::TOOBIG);
        }
        rustix::io::retry_on_intr(|| rustix::net::sendmsg(&self.0, &[IoSlice::new(bytes)], &mut ancillary, flags))
            .map(drop)
    }

    /// Waits for a message; `None` when the other end is closed.
    pub(crate) fn receive(&self) -> Result<Option<Received>, JailError> {
        let mut bytes = vec![0; MESSAGE_BYTES_MAX];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS_MAX))];
        let mut ancillary = RecvAncillaryBuffer::new(&mut space);
        let mut slices = [IoSliceMut::new(&mut bytes)];
        let mut once = || {
            rustix::io::retry_on_intr(|| {
                rustix::net::recvmsg(&self.0, &mut slices, &mut ancillary, RecvFlags::CMSG_CLOEXEC)
            })
        };
        let received = match once() {
            // The other end closed with a message of ours unread. The kernel says so once, and only then gives out
            // what the other end had sent before: the report of a call that was killed twice.
            Err(Errno::CONNRESET) => once().map_err(broken)?,
            other => other.map_err(broken)?,
        };
        let mut descriptors = Vec::new();
        for message in ancillary.drain() {
            if let RecvAncillaryMessage::ScmRights(rights) = message {
                descriptors.extend(rights);
            }
        }
        if received.bytes == 0 {
            return Ok(None);
        }
        if received.flags.intersects(ReturnFlags::TRUNC | ReturnFlags::CTRUNC) {
            return Err(JailError::bug("receive", "a message that was cut").kind(ErrorKind::Protocol));
        }
        let message = wire::decode(bytes.get(..received.bytes).unwrap_or_default())?;
        if descriptors.len() > message.descriptors_max() {
            return Err(protocol("more descriptors than such a message brings"));
        }
        Ok(Some(Received { message, descriptors }))
    }

    /// The same, for an end that trusts the other: reads a long message out of its memfd.
    pub(crate) fn receive_any_length(&self) -> Result<Option<Received>, JailError> {
        let Some(mut received) = self.receive()? else { return Ok(None) };
        if let Message::InMemory(length) = received.message {
            let body = received.descriptors.pop().ok_or_else(|| protocol("a long message without its body"))?;
            received.message = wire::decode(&from_memory(body, length)?)?;
        }
        Ok(Some(received))
    }
}

impl AsFd for Channel {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// A message that the other end should not have sent.
pub(crate) fn protocol(what: &str) -> JailError {
    JailError::bug("accept", what).kind(ErrorKind::Protocol)
}

fn broken(errno: Errno) -> JailError {
    JailError::os("talk to", "the init of the sandbox", errno.raw_os_error()).kind(ErrorKind::SandboxLost)
}

fn in_memory(bytes: &[u8]) -> Result<File, JailError> {
    if bytes.len() > BODY_BYTES_MAX {
        return Err(JailError::os("pass", "arguments and environment", libc::E2BIG)
            .fault(crate::error::Fault::Guest)
            .hint(format!("together they may have {BODY_BYTES_MAX} bytes")));
    }
    let memfd = rustix::fs::memfd_create(c"stockade-message", rustix::fs::MemfdFlags::CLOEXEC)
        .map_err(|errno| JailError::os("make", "a memfd", errno.raw_os_error()))?;
    let mut file = File::from(memfd);
    let written = file.write_all(bytes).and_then(|()| file.rewind());
    written.map_err(|error| JailError::io("write", "a memfd", &error))?;
    Ok(file)
}

fn from_memory(body: OwnedFd, length: u64) -> Result<Vec<u8>, JailError> {
    let limit = u64::try_from(BODY_BYTES_MAX).expect("a constant below 4 GiB");
    if length > limit {
        return Err(protocol("a message that is too long"));
    }
    let mut bytes = Vec::new();
    let read = File::from(body).take(length).read_to_end(&mut bytes);
    read.map_err(|error| JailError::io("read", "a memfd", &error))?;
    Ok(bytes)
}
