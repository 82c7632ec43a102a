//! From a fresh process to the init of a session: the plan is received, and carried out up to the first call.
//! It never goes on without the supervisor's word, and never keeps a descriptor that it was started with.

use super::nursery::{Means, Nursery};
use super::{Init, keeper};
use crate::cgroup::{self, victims::Victims};
use crate::channel::{Channel, protocol};
use crate::error::{ErrorKind, JailError};
use crate::idmap::{self, Ids, Starter, USER_NAMESPACE_HINT};
use crate::kernel::{GVISOR_TOO_OLD, Kernel};
use crate::look::look;
use crate::plan::{Plan, SessionStep, Wall};
use crate::setup::{self, Built, Sources};
use crate::sys::{self, Side};
use crate::wire::Message;
use rustix::io::Errno;
use rustix::thread::UnshareFlags;
use std::ffi::{CStr, OsStr};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

/// All namespaces of a session but the net namespace (see `netns`). In one clone: each comes up inside the new user
/// namespace.
const NAMESPACES: i32 = libc::CLONE_NEWUSER
    | libc::CLONE_NEWNS
    | libc::CLONE_NEWPID
    | libc::CLONE_NEWIPC
    | libc::CLONE_NEWUTS
    | libc::CLONE_NEWCGROUP;

/// What gVisor gets at first: the others follow one after the other, and that of processes with the init itself.
const NAMESPACES_AT_FIRST: i32 = libc::CLONE_NEWUSER;

/// Moves the control channel away from descriptor 0 and closes everything else that was inherited. 0, 1 and 2 are
/// `/dev/null` afterwards, so that no descriptor of ours ever has one of these numbers.
pub(crate) fn take_control(name: &CStr) -> Result<Channel, Errno> {
    take_streams(name).map(|(control, _)| control)
}

/// The same, and what descriptor 2 was.
pub(crate) fn take_streams(name: &CStr) -> Result<(Channel, OwnedFd), Errno> {
    sys::close_range(3, 0)?;
    let inherited = std::io::stdin();
    let control = rustix::io::fcntl_dupfd_cloexec(&inherited, 3)?;
    let other = rustix::io::fcntl_dupfd_cloexec(std::io::stderr(), 3)?;
    let null = std::io::stdout();
    rustix::stdio::dup2_stdin(&null)?;
    rustix::stdio::dup2_stderr(&null)?;
    sys::default_signals();
    rustix::thread::set_name(name)?;
    Ok((Channel::new(control), other))
}

/// What this process is after the set-up.
pub(super) enum Next {
    /// The helper, which forked the init and has nothing left to do.
    Helper,
    /// The first process of a container, which forked the init of this number and has to outlive it.
    Keeper(i32),
    /// On gVisor, the process that forked the init and starts workers: its keeper keeps this one instead.
    Nursery(Nursery),
    /// The init.
    Init(Box<Init>),
}

/// What a process is told before it begins.
struct Told {
    plan: Plan,
    kernel: Kernel,
    /// Of the outlet's sockets, where they cannot come out.
    lines: Vec<OwnedFd>,
}

/// Waits for the plan, and does what is asked before.
fn told(control: &Channel) -> Result<Told, JailError> {
    let (mut kernel, mut lines) = (Kernel::Host, Vec::new());
    loop {
        let received = control.receive_any_length()?.ok_or_else(|| protocol("a channel closed before the plan"))?;
        if let Message::Look(path) = received.message {
            let seen = look(Path::new(OsStr::from_bytes(&path)));
            control.send(&Message::Seen(seen), &[])?;
            continue;
        }
        if let Message::Umask(mask) = received.message {
            rustix::process::umask(rustix::fs::Mode::from_bits_truncate(mask));
            continue;
        }
        if let Message::OnGvisor = received.message {
            kernel = Kernel::Gvisor;
            continue;
        }
        if let Message::Lines = received.message {
            lines = received.descriptors;
            continue;
        }
        let Message::Setup(json) = received.message else { return Err(protocol("a message before the plan")) };
        let plan = serde_json::from_slice(&json).map_err(|_| protocol("a plan that does not parse"))?;
        return Ok(Told { plan, kernel, lines });
    }
}

pub(super) fn set_up(control: &Channel) -> Result<Next, JailError> {
    let Told { plan, kernel, lines } = told(control)?;
    // Set-up makes what the plan says; calls begin with the caller's mask, yet nothing is everybody's to write unasked.
    let callers = rustix::process::umask(rustix::fs::Mode::empty());
    let ids = plan.session.iter().find_map(|step| {
        if let SessionStep::Namespaces { guest_uid, guest_gid } = step { Some((*guest_uid, *guest_gid)) } else { None }
    });
    let next = match (plan.wall, ids) {
        (Wall::Namespaces, Some((uid, gid))) => in_namespaces(control, &plan, Ids::choose(uid, gid)?, (kernel, lines)),
        (Wall::Landlock, None) => {
            told_to_go_on(control)?.into_iter().try_for_each(cgroup::enter)?;
            rustix::process::set_child_subreaper(Some(rustix::process::getpid()))
                .map_err(|errno| JailError::os("adopt", "orphans", errno.raw_os_error()))?;
            let pid = rustix::process::getpid().as_raw_nonzero().get().unsigned_abs();
            control.send(&Message::Forked(pid), &[])?;
            let victims = Victims::of_this_process();
            let built = setup::carry_out(&plan, None, Sources::default(), kernel)?;
            Init::new(control, &plan, None, built, victims, kernel).map(|init| Next::Init(Box::new(init)))
        }
        (Wall::Namespaces, None) | (Wall::Landlock, Some(_)) => {
            Err(JailError::bug("carry out", "a plan whose wall and steps disagree"))
        }
    };
    rustix::process::umask(callers | rustix::fs::Mode::WOTH);
    next
}

fn in_namespaces(
    control: &Channel,
    plan: &Plan,
    ids: Ids,
    (kernel, lines): (Kernel, Vec<OwnedFd>),
) -> Result<Next, JailError> {
    let early = match ids.starter {
        Starter::Root => Some(Sources::open(plan, &ids, kernel)?),
        Starter::Ordinary => None,
    };
    let came = told_to_go_on(control)?;
    let nursery = match kernel {
        Kernel::Host => came.into_iter().try_for_each(cgroup::enter).map(|()| None)?,
        Kernel::Gvisor => Some(Means::take(came)?),
    };
    ids.irrevocably_take()?;
    // The init becomes the supervisor's child (CLONE_PARENT), which can so wait for it; this helper then ends. The first
    // process of a pid namespace has no parent in there to give a child to, and stays.
    let first = rustix::process::getpid().is_init();
    let relation = if first { libc::SIGCHLD } else { libc::CLONE_PARENT };
    let namespaces = match kernel {
        Kernel::Host => NAMESPACES,
        Kernel::Gvisor => NAMESPACES_AT_FIRST,
    };
    // SAFETY: this process was executed a moment ago and has one thread; the flags are without CLONE_VM.
    let side = unsafe { sys::fork(namespaces | relation) }.map_err(|errno| {
        JailError::os("make", "namespaces", errno.raw_os_error())
            .kind(ErrorKind::NamespacesRefused)
            .hint(USER_NAMESPACE_HINT)
    })?;
    if let Side::Parent(pid) = side {
        if first {
            keeper::tell_of(control, pid, kernel)?;
            return Ok(Next::Keeper(pid));
        }
        control.send(&Message::Forked(pid.unsigned_abs()), &[])?;
        idmap::reap_all();
        return Ok(Next::Helper);
    }
    ids.write_maps()?;
    if let Some(means) = nursery {
        make_the_other_namespaces()?;
        // SAFETY: as above.
        let side = unsafe { sys::fork(libc::CLONE_NEWPID | libc::SIGCHLD) };
        match side.map_err(|errno| JailError::os("make", "the init", errno.raw_os_error()))? {
            Side::Parent(init) => return Nursery::open(means, init).map(Next::Nursery),
            Side::Child => drop(means),
        }
    }
    let sources = match early {
        Some(sources) => sources,
        None => Sources::open(plan, &ids, kernel)?,
    };
    let victims = Victims::of_this_process();
    let built = setup::carry_out(plan, Some(&ids), sources, kernel)?;
    let built = Built { lines, ..built };
    Init::new(control, plan, Some(&ids), built, victims, kernel).map(|init| Next::Init(Box::new(init)))
}

/// Those that gVisor does not make along with a user namespace: it gives them to the one before, whose capabilities we do
/// not have.
fn make_the_other_namespaces() -> Result<(), JailError> {
    let rest = UnshareFlags::NEWNS | UnshareFlags::NEWIPC | UnshareFlags::NEWUTS;
    // SAFETY: this process was forked a moment ago and has one thread; no memory and no descriptor table depends on these.
    unsafe { rustix::thread::unshare_unsafe(rest) }.map_err(|errno| {
        JailError::os("make", "namespaces in gVisor", errno.raw_os_error())
            .kind(ErrorKind::NamespacesRefused)
            .hint(GVISOR_TOO_OLD)
    })
}

/// Waits for the word to go on. What came along: the session's groups, where it has any to join by itself, or on gVisor the
/// nursery's channel.
fn told_to_go_on(control: &Channel) -> Result<Vec<OwnedFd>, JailError> {
    let received = control.receive()?.ok_or_else(|| protocol("a channel closed before the word to go on"))?;
    let Message::Enter = received.message else { return Err(protocol("a message instead of the word to go on")) };
    Ok(received.descriptors)
}
