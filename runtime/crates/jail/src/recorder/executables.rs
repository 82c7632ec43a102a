//! The side channel on which files that are executed go to the supervisor, to be hashed there: each once.
//! It never waits: a file that finds no room is sent with its next execution.

use super::event::{Executable, FileId};
use rustix::fs::{AtFlags, StatxFlags};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, SocketFlags, SocketType,
};
use std::collections::{HashMap, HashSet};
use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// Files that either side remembers at most; then it begins anew.
const REMEMBERED_MAX: usize = 4096;
/// Bytes of a message: the five numbers of an [`Executable`].
const MESSAGE_BYTES: usize = 40;

/// The init's end.
#[derive(Debug)]
pub(crate) struct Sender {
    socket: OwnedFd,
    sent: HashSet<Executable>,
}

/// The supervisor's end.
#[derive(Debug)]
pub(crate) struct Receiver {
    socket: OwnedFd,
    come: HashMap<Executable, OwnedFd>,
}

/// Both ends; the supervisor's as a descriptor that is passed on.
pub(crate) fn pair() -> Result<(Sender, OwnedFd), rustix::io::Errno> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let (socket, theirs) = rustix::net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?;
    Ok((Sender { socket, sent: HashSet::new() }, theirs))
}

impl Sender {
    /// Whether a file is with the supervisor already.
    pub(super) fn has_sent(&self, executable: &Executable) -> bool {
        self.sent.contains(executable)
    }

    /// Sends a file, if the open one is that file still.
    pub(super) fn send(&mut self, executable: &Executable, file: BorrowedFd<'_>) {
        if identity(file) != Some(executable.id) {
            return;
        }
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut ancillary = SendAncillaryBuffer::new(&mut space);
        let files = [file];
        let pushed = ancillary.push(SendAncillaryMessage::ScmRights(&files));
        let message = encode(executable);
        let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
        if pushed && rustix::net::sendmsg(&self.socket, &[IoSlice::new(&message)], &mut ancillary, flags).is_ok() {
            if self.sent.len() >= REMEMBERED_MAX {
                self.sent.clear();
            }
            self.sent.insert(*executable);
        }
    }
}

fn identity(file: BorrowedFd<'_>) -> Option<FileId> {
    let status = rustix::fs::statx(file, "", AtFlags::EMPTY_PATH, StatxFlags::INO).ok()?;
    let device = rustix::fs::makedev(status.stx_dev_major, status.stx_dev_minor);
    Some(FileId { device, inode: status.stx_ino })
}

impl Receiver {
    /// An end that came with a sandbox.
    pub(crate) fn new(socket: OwnedFd) -> Self {
        Self { socket, come: HashMap::new() }
    }

    /// The file, once: whoever asks keeps what it learns from it.
    pub(crate) fn take(&mut self, executable: &Executable) -> Option<OwnedFd> {
        while let Some((told, file)) = self.receive() {
            if self.come.len() >= REMEMBERED_MAX {
                self.come.clear();
            }
            self.come.insert(told, file);
        }
        // What a file was when it was sent is the init's word; which file it is can be asked of it.
        self.come.remove(executable).filter(|file| identity(file.as_fd()) == Some(executable.id))
    }

    fn receive(&self) -> Option<(Executable, OwnedFd)> {
        let mut bytes = [0; MESSAGE_BYTES];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut ancillary = RecvAncillaryBuffer::new(&mut space);
        let mut slices = [IoSliceMut::new(&mut bytes)];
        let flags = RecvFlags::CMSG_CLOEXEC | RecvFlags::DONTWAIT;
        let received = rustix::net::recvmsg(&self.socket, &mut slices, &mut ancillary, flags).ok()?;
        let mut file = None;
        for message in ancillary.drain() {
            if let RecvAncillaryMessage::ScmRights(rights) = message {
                file = rights.last();
            }
        }
        (received.bytes == MESSAGE_BYTES).then_some(())?;
        Some((decode(&bytes), file?))
    }
}

fn encode(executable: &Executable) -> [u8; MESSAGE_BYTES] {
    let Executable { id, size_bytes, modified_ns, changed_ns } = *executable;
    let numbers = [id.device, id.inode, size_bytes, modified_ns.cast_unsigned(), changed_ns.cast_unsigned()];
    let mut bytes = [0; MESSAGE_BYTES];
    for (place, number) in bytes.chunks_exact_mut(8).zip(numbers) {
        place.copy_from_slice(&number.to_le_bytes());
    }
    bytes
}

fn decode(bytes: &[u8; MESSAGE_BYTES]) -> Executable {
    let mut numbers =
        bytes.chunks_exact(8).map(|chunk| chunk.iter().rev().fold(0, |all, byte| all << 8 | u64::from(*byte)));
    let mut next = || numbers.next().unwrap_or(0);
    Executable {
        id: FileId { device: next(), inode: next() },
        size_bytes: next(),
        modified_ns: next().cast_signed(),
        changed_ns: next().cast_signed(),
    }
}
