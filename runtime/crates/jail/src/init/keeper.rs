//! The first process of a container: it comes to the door, makes the init of the session, and ends when that ends.
//! It never serves a call, and keeps nothing open by which the supervisor could miss the init's end.

use super::{NOT_AN_INIT, Next, set_up};
use crate::channel::Channel;
use crate::container::come_to_the_door;
use crate::error::{Fault, JailError};
use crate::kernel::Kernel;
use crate::wire::Message;
use crate::{heap, sys};
use rustix::fs::{Mode, OFlags};
use rustix::process::DumpableBehavior;
use std::os::fd::AsFd as _;

/// Its life; its exit code, with which the engine ends the container.
pub(super) fn run() -> i32 {
    heap::keep_one_heap();
    if prepare().is_err() {
        return NOT_AN_INIT;
    }
    let Ok(control) = come_to_the_door() else { return NOT_AN_INIT };
    let made = refuse_root(&control).and_then(|()| set_up(&control));
    match made {
        Ok(Next::Helper) => NOT_AN_INIT,
        Ok(Next::Init(init)) => match init.serve(&control) {
            Ok(()) => 0,
            Err(_) => NOT_AN_INIT,
        },
        Ok(Next::Keeper(init)) => {
            drop(control);
            keep(init)
        }
        Ok(Next::Nursery(nursery)) => {
            drop(control);
            nursery.serve()
        }
        // Where even this cannot be said, the supervisor sees the channel close.
        Err(error) => i32::from(control.send(&Message::Failed(error), &[]).is_err()) + 1,
    }
}

/// Nothing of what the engine gave along stays open.
fn prepare() -> Result<(), rustix::io::Errno> {
    sys::close_range(3, 0)?;
    let null = rustix::fs::open(c"/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())?;
    rustix::stdio::dup2_stdin(&null)?;
    rustix::stdio::dup2_stdout(&null)?;
    rustix::stdio::dup2_stderr(&null)?;
    sys::default_signals();
    rustix::thread::set_name(c"stockade-keeper")
}

/// The engine was told to use another user. One that does not is not to be trusted with the rest. It is said once somebody
/// asks for something: until then the supervisor may not know yet whom to listen to.
fn refuse_root(control: &Channel) -> Result<(), JailError> {
    if rustix::process::geteuid().is_root() || rustix::process::getegid().as_raw() == 0 {
        crate::sandbox::wait_readable(control.as_fd(), None)?;
        return Err(JailError::host("go on", "as root of a container").fault(Fault::Host));
    }
    Ok(())
}

/// Waits for the init's end. Ending the first process of a container's pid namespace ends whatever else is in it.
fn keep(init: i32) -> i32 {
    // Nobody inside sees this process at all; this holds for what the container's user could do from outside.
    if rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable).is_err() {
        return NOT_AN_INIT;
    }
    loop {
        match sys::reap(None, 0) {
            Ok(Some(ended)) if ended.pid == init => return 0,
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(_) => return 0,
        }
    }
}

/// Passes the init's handle on: its number in here means nothing out there. Where there are no handles, or none can be passed,
/// the supervisor holds on to the whole container.
pub(super) fn tell_of(control: &Channel, init: i32, kernel: Kernel) -> Result<(), JailError> {
    let message = Message::Forked(init.unsigned_abs());
    match kernel {
        Kernel::Host => control.send(&message, &[crate::sandbox::open_handle(init.unsigned_abs())?.as_fd()]),
        Kernel::Gvisor => control.send(&message, &[]),
    }
}
