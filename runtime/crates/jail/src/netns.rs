//! The session's net namespace, made beside the rest of the set-up: it takes the kernel as long as everything else.
//! It never leaves a thread behind: whoever waits for the namespace waits for the thread that makes it.

use crate::error::JailError;
use crate::kernel::Kernel;
use crate::outlet::{self, Made, Wanted};
use crate::plan::{Plan, SessionStep};
use crate::sys;
use rustix::io::Errno;
use rustix::thread::{LinkNameSpaceType, UnshareFlags, move_into_link_name_space};
use std::fs::File;
use std::os::fd::{AsFd as _, OwnedFd};
use std::thread::JoinHandle;

/// Stack of the thread: a dozen frames, and what the standard library puts on it.
const STACK_BYTES: usize = 64 * 1024;

/// What the namespace gets.
#[derive(Debug, Clone)]
pub(crate) enum Interior {
    /// A loopback that stays down.
    Nothing,
    /// A loopback that is up.
    Loopback,
    /// The same, and a way out.
    Outlet(Wanted),
}

impl Interior {
    /// What a plan says.
    pub(crate) fn of(plan: &Plan, kernel: Kernel) -> Result<Self, JailError> {
        plan.session.iter().try_fold(Self::Nothing, |interior, step| match (step, interior) {
            (SessionStep::LoopbackUp, Self::Nothing) => Ok(Self::Loopback),
            (SessionStep::Outlet { address, address_v6, sockets }, Self::Loopback) => {
                let (address, address_v6, sockets) = (*address, *address_v6, sockets.clone());
                Ok(Self::Outlet(Wanted { address, address_v6, sockets, kernel }))
            }
            (SessionStep::LoopbackUp | SessionStep::Outlet { .. }, _) => {
                Err(JailError::bug("carry out", "an outlet without a loopback, or one of them twice"))
            }
            (_, same) => Ok(same),
        })
    }
}

/// A net namespace that is being made.
#[derive(Debug)]
pub(crate) struct Making(JoinHandle<Result<(OwnedFd, Option<Made>), JailError>>);

impl Making {
    /// Begins. The caller has one thread until now, and the capabilities of its user namespace; until
    /// [`Making::enter`] it must neither fork nor change what it is, since a thread has credentials of its own.
    pub(crate) fn begin(interior: Interior) -> Result<Self, JailError> {
        std::thread::Builder::new()
            .stack_size(STACK_BYTES)
            .spawn(move || make(&interior))
            .map(Self)
            .map_err(|error| JailError::io("start", "the thread that makes the net namespace", &error))
    }

    /// Waits for the namespace and enters it; the caller has one thread again. What was made in it comes back.
    pub(crate) fn enter(self) -> Result<Option<Made>, JailError> {
        let (namespace, made) = self.0.join().map_err(|_| JailError::bug("make", "the net namespace"))??;
        move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network)).map_err(refused("enter"))?;
        Ok(made)
    }
}

/// In the thread, whose namespace it becomes; the descriptors outlive the thread.
fn make(interior: &Interior) -> Result<(OwnedFd, Option<Made>), JailError> {
    // SAFETY: the flag gives this thread another net namespace, which no memory and no descriptor table depends on.
    unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWNET) }.map_err(refused("make"))?;
    let up = || {
        sys::loopback_up()
            .map_err(|errno| JailError::os("bring up", "the loopback of the net namespace", errno.raw_os_error()))
    };
    let made = match interior {
        Interior::Nothing => None,
        Interior::Loopback => up().map(|()| None)?,
        Interior::Outlet(wanted) => up().and_then(|()| outlet::make(wanted)).map(Some)?,
    };
    let namespace = File::open("/proc/thread-self/ns/net");
    let namespace = namespace.map_err(|error| JailError::io("open", "the net namespace", &error))?;
    Ok((namespace.into(), made))
}

fn refused(act: &'static str) -> impl Fn(Errno) -> JailError {
    move |errno| JailError::os(act, "the net namespace", errno.raw_os_error())
}
