//! The session's net namespace, made beside the rest of the set-up: it takes the kernel as long as everything else.
//! It never leaves a thread behind: whoever waits for the namespace waits for the thread that makes it.

use crate::error::JailError;
use crate::sys;
use rustix::io::Errno;
use rustix::thread::{LinkNameSpaceType, UnshareFlags, move_into_link_name_space};
use std::fs::File;
use std::os::fd::{AsFd as _, OwnedFd};
use std::thread::JoinHandle;

/// Stack of the thread: a dozen frames, and what the standard library puts on it.
const STACK_BYTES: usize = 64 * 1024;

/// Whether the namespace gets a working loopback.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Loopback {
    /// It is brought up.
    Up,
    /// It stays down.
    Down,
}

/// A net namespace that is being made.
#[derive(Debug)]
pub(crate) struct Making(JoinHandle<Result<OwnedFd, JailError>>);

impl Making {
    /// Begins. The caller has one thread until now, and the capabilities of its user namespace; until
    /// [`Making::enter`] it must neither fork nor change what it is, since a thread has credentials of its own.
    pub(crate) fn begin(loopback: Loopback) -> Result<Self, JailError> {
        std::thread::Builder::new()
            .stack_size(STACK_BYTES)
            .spawn(move || make(loopback))
            .map(Self)
            .map_err(|error| JailError::io("start", "the thread that makes the net namespace", &error))
    }

    /// Waits for the namespace and enters it; the caller has one thread again.
    pub(crate) fn enter(self) -> Result<(), JailError> {
        let made = self.0.join().map_err(|_| JailError::bug("make", "the net namespace"))??;
        move_into_link_name_space(made.as_fd(), Some(LinkNameSpaceType::Network)).map_err(refused("enter"))
    }
}

/// In the thread, whose namespace it becomes; the descriptor outlives the thread.
fn make(loopback: Loopback) -> Result<OwnedFd, JailError> {
    // SAFETY: the flag gives this thread another net namespace, which no memory and no descriptor table depends on.
    unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWNET) }.map_err(refused("make"))?;
    match loopback {
        Loopback::Up => sys::loopback_up()
            .map_err(|errno| JailError::os("bring up", "the loopback of the net namespace", errno.raw_os_error()))?,
        Loopback::Down => {}
    }
    let made = File::open("/proc/thread-self/ns/net");
    made.map(OwnedFd::from).map_err(|error| JailError::io("open", "the net namespace", &error))
}

fn refused(act: &'static str) -> impl Fn(Errno) -> JailError {
    move |errno| JailError::os(act, "the net namespace", errno.raw_os_error())
}
