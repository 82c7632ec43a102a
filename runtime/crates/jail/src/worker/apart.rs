//! What a worker on gVisor is before its program runs: apart from the guests, in namespaces of its own below theirs.
//! It never leaves the program a capability: what takes one is done before it is executed.
//!
//! The process begins as a child of the nursery (`init::nursery`), in a user namespace and a pid namespace of its own. The
//! guests' `/proc` would let it open what guests have open, also for writing, so there is another one in its place, with
//! nothing in it.

use super::Kind;
use super::inside::NAME;
use super::task::{Changes, Errand};
use crate::capabilities;
use crate::error::JailError;
use crate::idmap::{Ids, Starter};
use crate::mount::OwnProc;
use crate::sys;
use rustix::io::Errno;
use rustix::process::DumpableBehavior;
use rustix::thread::UnshareFlags;
use std::ffi::CString;
use std::os::fd::{BorrowedFd, OwnedFd};

/// Takes its place beside the guests, whose user and group are `guest`, and executes the program as the worker. What comes back
/// is why it could not.
pub(crate) fn execute(kind: Kind, guest: (u32, u32), control: BorrowedFd<'_>, program: BorrowedFd<'_>) -> JailError {
    let prepared = Errand::inside(kind).and_then(|(errand, changes)| Ok((errand, take_place(changes, guest)?)));
    let (errand, own_table) = match prepared {
        Ok(prepared) => prepared,
        Err(error) => return error,
    };
    let words: Vec<CString> = [NAME]
        .into_iter()
        .chain(errand.words())
        .map(|word| CString::new(word).expect("our own words hold no NUL"))
        .collect();
    // As the standard streams, which alone are not closed: 1 is /dev/null already.
    let handed = rustix::stdio::dup2_stdin(control).and_then(|()| rustix::stdio::dup2_stderr(&own_table));
    let errno = match handed {
        Ok(()) => sys::execute(program, &words),
        Err(errno) => errno,
    };
    failed("execute the program of")(errno)
}

/// In namespaces that nobody else is in. The worker's descriptors, as a directory.
fn take_place(changes: Changes, (uid, gid): (u32, u32)) -> Result<OwnedFd, JailError> {
    sys::set_signal_mask(&sys::signal_set(None)).map_err(failed("prepare"))?;
    // The nursery is closed to itself as well, and a copy of it could not write its maps.
    rustix::process::set_dumpable_behavior(DumpableBehavior::Dumpable).map_err(failed("prepare"))?;
    let rest = UnshareFlags::NEWNS | UnshareFlags::NEWIPC | UnshareFlags::NEWUTS | UnshareFlags::NEWNET;
    // SAFETY: this process was forked a moment ago and has one thread; no memory and no descriptor table depends on these.
    unsafe { rustix::thread::unshare_unsafe(rest) }.map_err(failed("make namespaces for"))?;
    // The guests' does not know this process.
    let proc = OwnProc::mount()?;
    let (starter, outer_uid, outer_gid) = (Starter::Ordinary, uid, gid);
    Ids { inner_uid: uid, inner_gid: gid, outer_uid, outer_gid, starter }.write_maps()?;
    let table = proc.descriptors()?;
    match changes {
        Changes::Never => proc.make_everything_read_only()?,
        Changes::AsGuests => {}
    }
    proc.leave_nothing()?;
    capabilities::set_no_new_privileges()?;
    capabilities::drop_all_in_gvisor()?;
    Ok(table)
}

fn failed(act: &'static str) -> impl Fn(Errno) -> JailError {
    move |errno| JailError::os(act, "a worker in gVisor", errno.raw_os_error())
}
