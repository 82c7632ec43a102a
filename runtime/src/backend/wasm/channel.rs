//! One end of a worker's channel: datagrams with descriptors, whole or not at all, without ever waiting.
//! It never trusts a length or a descriptor of the other end, and keeps none of a message that it refuses.

use crate::backend::wasm::wire::{self, BODY_BYTES_MAX, Body, DESCRIPTORS_MAX, MESSAGE_BYTES_MAX, Message};
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
    datagram: Vec<u8>,
    descriptors: Vec<OwnedFd>,
}

impl Outgoing {
    /// Makes a message ready; `descriptor` comes with it.
    pub(super) fn new<M: Message>(message: &M, descriptor: Option<OwnedFd>) -> Result<Self> {
        let encoded = wire::encode(message)?;
        let mut descriptors: Vec<OwnedFd> = descriptor.into_iter().collect();
        debug_assert_eq!(descriptors.len(), message.descriptors(), "a message comes with what it says");
        if let Some(body) = encoded.body {
            descriptors.push(sealed(c"stockade-message", &[&body])?);
        }
        Ok(Self { datagram: encoded.datagram, descriptors })
    }

    /// Sends it now, or says that there is no room ([`Errno::AGAIN`]) or nobody.
    pub(super) fn try_send(&self, channel: impl AsFd) -> std::result::Result<(), Errno> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS_MAX))];
        let mut ancillary = SendAncillaryBuffer::new(&mut space);
        let descriptors: Vec<BorrowedFd<'_>> = self.descriptors.iter().map(AsFd::as_fd).collect();
        if !descriptors.is_empty() && !ancillary.push(SendAncillaryMessage::ScmRights(&descriptors)) {
            return Err(Errno::TOOBIG);
        }
        let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
        let bytes = [IoSlice::new(&self.datagram)];
        rustix::io::retry_on_intr(|| rustix::net::sendmsg(&channel, &bytes, &mut ancillary, flags)).map(drop)
    }
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
pub(super) fn try_receive<M: Message>(channel: impl AsFd, buffer: &mut Vec<u8>) -> Result<Option<Incoming<M>>> {
    buffer.resize(MESSAGE_BYTES_MAX, 0);
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS_MAX))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let flags = RecvFlags::CMSG_CLOEXEC | RecvFlags::DONTWAIT;
    let mut slices = [IoSliceMut::new(buffer)];
    let received =
        match rustix::io::retry_on_intr(|| rustix::net::recvmsg(&channel, &mut slices, &mut ancillary, flags)) {
            Ok(received) => received,
            Err(Errno::AGAIN) => return Ok(None),
            Err(Errno::CONNRESET) => return Ok(Some(Incoming::Closed)),
            Err(errno) => return Err(Error::host(format!("receive from a worker: {}", plain(errno)))),
        };
    let mut descriptors = Vec::new();
    for message in ancillary.drain() {
        if let RecvAncillaryMessage::ScmRights(rights) = message {
            descriptors.extend(rights);
        }
    }
    if received.bytes == 0 {
        return Ok(Some(Incoming::Closed));
    }
    if received.flags.intersects(ReturnFlags::TRUNC | ReturnFlags::CTRUNC) {
        return Err(wire::foreign("it was cut"));
    }
    let message: M = match wire::body(buffer.get(..received.bytes).unwrap_or_default())? {
        Body::Inline(body) => wire::decode(body)?,
        Body::InMemory(length) => {
            let memory = descriptors.pop().ok_or_else(|| wire::foreign("its body did not come"))?;
            let memory = unchanging(memory)?;
            // Before there is memory for all of it.
            let mut first = [0];
            memory.read_exact_at(&mut first, 0).map_err(|_| wire::foreign("its body has another length"))?;
            wire::may_be_long::<M>(first[0])?;
            wire::decode(&whole(&memory, BODY_BYTES_MAX, Some(length))?)?
        }
    };
    if descriptors.len() != message.descriptors() {
        return Err(wire::foreign("other descriptors came than such a message brings"));
    }
    Ok(Some(Incoming::Message(message, descriptors.pop())))
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

/// The bytes of a memfd that another process made.
pub(super) fn contents(memory: OwnedFd, bytes_max: usize, expected: Option<usize>) -> Result<Vec<u8>> {
    whole(&unchanging(memory)?, bytes_max, expected)
}

/// Only a memfd whose size and bytes stay as they are: reading it can neither wait for anybody nor see two things.
fn unchanging(memory: OwnedFd) -> Result<File> {
    let seals = rustix::fs::fcntl_get_seals(&memory).map_err(|_| wire::foreign("its body is no memory"))?;
    if !seals.contains(SealFlags::WRITE | SealFlags::GROW | SealFlags::SHRINK) {
        return Err(wire::foreign("its body could still change"));
    }
    Ok(File::from(memory))
}

fn whole(file: &File, bytes_max: usize, expected: Option<usize>) -> Result<Vec<u8>> {
    let failed = |error: std::io::Error| Error::host(format!("read memory: {}", crate::error::plain(&error)));
    // By fstat(2), which looks at no path: a worker that compiles may ask for nothing that could.
    let about = rustix::fs::fstat(file).map_err(|errno| failed(errno.into()))?;
    let length = usize::try_from(about.st_size).unwrap_or(usize::MAX);
    if length > bytes_max || expected.is_some_and(|expected| expected != length) {
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
    use crate::backend::wasm::wire::FromWorker;
    use rustix::net::{AddressFamily, SocketFlags, SocketType};

    /// The supervisor's answer to a message that says that its body, this one, is elsewhere.
    fn received(body: &[u8]) -> Result<Option<Incoming<FromWorker>>> {
        let pair = rustix::net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None);
        let (ours, theirs) = pair.expect("a socket pair");
        let mut datagram = vec![wire::VERSION, 1];
        datagram.extend((body.len() as u64).to_le_bytes());
        let descriptors = vec![sealed(c"test", &[body]).expect("there is room")];
        Outgoing { datagram, descriptors }.try_send(&theirs).expect("there is room");
        try_receive(&ours, &mut Vec::new())
    }

    /// Uses, progress and words fit a datagram. A worker that somebody took over gets no more memory for them.
    #[test]
    fn a_worker_gets_no_memory_for_what_is_never_long() {
        let uses = |kind: u8| {
            // Of a call, very many: each is some bytes here and a hundred in memory.
            let mut body = vec![kind, 1, 0x80, 0x80, 0x80, 0x08];
            body.resize(8 << 20, 0);
            body
        };
        let ended = received(&uses(FromWorker::LONG_KIND)).expect_err("it is malformed").to_string();
        assert!(!ended.contains("never so long"), "the control is refused by what it says: {ended}");
        for kind in (0..FromWorker::LONG_KIND).chain([8, 255]) {
            let error = received(&uses(kind)).expect_err("it is none of ours").to_string();
            assert!(error.contains("its kind is never so long"), "{kind}: {error}");
        }
    }
}
