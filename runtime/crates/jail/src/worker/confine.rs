//! The steps by which a worker is confined, in their order; the list of system calls is the last.
//! It never goes on after a step that failed, and never keeps a right for later.

use super::task::{Changes, Errand, Task, rights};
use crate::channel::protocol;
use crate::enforced::{Layer, LayerState};
use crate::error::JailError;
use crate::idmap::{Ids, Starter};
use crate::kernel::Kernel;
use crate::mount::NewRoot;
use crate::namespaces::{NAMESPACES, Namespaces};
use crate::plan::{LandlockRule, Rlimit, Tcp, Wall};
use crate::sys::{self, MountChange};
use crate::{capabilities, cgroup, keyring, landlock, rlimit, seccomp};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::process::{DumpableBehavior, Signal};
use rustix::thread::UnshareFlags;
use std::fs::File;
use std::io::Write as _;
use std::os::fd::{AsFd as _, OwnedFd};

/// The user that a compiler is outside where root starts it: none of a session's guests, which are numbered from the same
/// base by what they are inside.
const COMPILER: (u32, u32) = (0xfff0, 0xfff0);
/// A compiler's processor time, memory and output, seconds and bytes.
const COMPILER_CPU_S: u64 = 60;
const COMPILER_WALL_S: u32 = 120;
const COMPILER_MEMORY_BYTES: u64 = 2 << 30;
const COMPILER_OUTPUT_BYTES: u64 = 512 << 20;
/// Files that a worker has open for all of its calls.
const OPEN_FILES: u64 = 16_384;
/// As the calls of a session (see `cgroup::victims`): ended before their init, and before the supervisor.
const OOM_SCORE: &str = "500";
/// Of a compiler's root, which nothing is ever put into.
const EMPTY_ROOT_MIB: u64 = 1;

/// Among those whom the kernel ends first when memory runs out, where we may say so.
pub(super) fn be_preferred_when_memory_runs_out() {
    let score = File::options().write(true).open("/proc/self/oom_score_adj");
    match score.and_then(|mut score| score.write_all(OOM_SCORE.as_bytes())) {
        // No more than the order in which the kernel chooses depends on it.
        Ok(()) | Err(_) => {}
    }
}

/// What would end the process by a signal is told by an error instead: a peer that is gone, a file that grew too large.
pub(super) fn take_refusals_for_signals() {
    sys::ignore_signal(libc::SIGPIPE);
    sys::ignore_signal(libc::SIGXFSZ);
}

/// Carries everything out. The root of the session's files, where there is one, and what is in force.
pub(super) fn irrevocably(
    errand: Errand,
    task: Task,
    mut descriptors: Vec<OwnedFd>,
    start: impl FnOnce() -> std::io::Result<()>,
) -> Result<(Option<OwnedFd>, Vec<LayerState>), JailError> {
    let mut layers = Vec::new();
    one_thread()?;
    let bond = match errand {
        Errand::Compile | Errand::Inside(_) => None,
        Errand::Beside(..) => Some(first(&mut descriptors)?),
    };
    rustix::process::setsid().map_err(|errno| failed("leave", "the supervisor's session", errno))?;
    let (root, landlock) = match errand {
        Errand::Compile => {
            let tcp = be_alone(&mut layers)?;
            (None, Some((Vec::new(), tcp)))
        }
        Errand::Beside(changes, wall) => {
            join(&task, wall, changes, &mut descriptors, &mut layers)?;
            (Some(root()?), task.landlock.map(|(rules, tcp)| (of(rules, changes), tcp)))
        }
        Errand::Inside(changes) => {
            layers.extend(of_its_own(changes));
            (Some(root()?), task.landlock.map(|(rules, tcp)| (of(rules, changes), tcp)))
        }
    };
    // Whatever directory it was started in is nobody's business here.
    rustix::process::chdir(c"/").map_err(|errno| failed("enter", "/", errno))?;
    layers.push(keyring::join_new()?);
    limit(errand, &task.limits)?;
    layers.push(capabilities::set_no_new_privileges()?);
    layers.push(match landlock {
        Some((rules, tcp)) => landlock::restrict_and_tell(&rules, tcp, task.objects.as_deref())?.0,
        None => LayerState::absent(Layer::Landlock, "the plan has no such step"),
    });
    layers.push(match errand.kernel() {
        Kernel::Host => capabilities::drop_all()?,
        Kernel::Gvisor => capabilities::drop_all_in_gvisor()?,
    });
    // After the last change of credentials, each of which takes both back (prctl(2)).
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))
        .map_err(|errno| failed("bind the life of", "a worker", errno))?;
    rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable)
        .map_err(|errno| failed("close", "a worker", errno))?;
    if let Some(bond) = bond {
        sys::end_when_closed(bond).map_err(|errno| failed("bind the life of", "a worker", errno))?;
    }
    layers.push(LayerState::active(Layer::Lifetime).detail(match errand.kernel() {
        Kernel::Host => "signals for the supervisor's end and the init's",
        Kernel::Gvisor => "a signal for the end of what started it, which ends with the init and the supervisor",
    }));
    start().map_err(|error| JailError::io("start", "a thread of a worker", &error))?;
    // No one of this user could make a process from here on, were it not refused by the list already.
    rlimit::set(Rlimit::Pids, 0)?;
    layers.push(LayerState::active(Layer::Descriptors).detail("a channel, and what it opened before it read from it"));
    let list = seccomp::compile_for_a_worker(errand.kind(), errand.kernel())?;
    layers.push(list.install_on_all_threads()?.detail(list.sha256_hex()));
    Ok((root, layers))
}

/// Nobody joins a user namespace with others in the process (setns(2)), and what is done to one thread is not done to
/// another.
fn one_thread() -> Result<(), JailError> {
    match std::fs::read_dir("/proc/self/task").map_or(1, Iterator::count) {
        0 | 1 => Ok(()),
        more => Err(JailError::bug("confine", format!("a worker with {more} threads"))
            .hint("its threads are started by what `irrevocably_confine_with` is given")),
    }
}

/// What comes along first.
fn first(descriptors: &mut Vec<OwnedFd>) -> Result<OwnedFd, JailError> {
    if descriptors.is_empty() {
        return Err(protocol("a task without what binds a worker's life"));
    }
    Ok(descriptors.remove(0))
}

/// Joins the guests: their groups, their ids, their namespaces.
fn join(
    task: &Task,
    wall: Wall,
    changes: Changes,
    descriptors: &mut Vec<OwnedFd>,
    layers: &mut Vec<LayerState>,
) -> Result<(), JailError> {
    let (guest, namespaces) = match (wall, task.guest) {
        (Wall::Landlock, None) => (None, Vec::new()),
        (Wall::Namespaces, Some(guest)) if descriptors.len() >= NAMESPACES => {
            (Some(guest), descriptors.drain(..NAMESPACES).collect())
        }
        (Wall::Namespaces | Wall::Landlock, _) => return Err(protocol("a task that does not fit its wall")),
    };
    // While it still has the rights for it.
    descriptors.drain(..).try_for_each(cgroup::enter)?;
    let Some((uid, gid)) = guest else {
        layers.extend(crate::setup::without_namespaces());
        return Ok(());
    };
    let ids = Ids::choose(uid, gid)?;
    ids.irrevocably_take()?;
    Namespaces::from_descriptors(namespaces)?.join(&ids)?;
    let of_guests = [
        Layer::UserNamespace,
        Layer::MountNamespace,
        Layer::NetNamespace,
        Layer::IpcNamespace,
        Layer::UtsNamespace,
        Layer::CgroupNamespace,
    ];
    layers.extend(of_guests.map(|layer| LayerState::active(layer).detail("the guests'")));
    layers.push(LayerState::degraded(
        Layer::PidNamespace,
        "outside of the guests', who cannot see it; that it reaches no process is up to the other layers",
    ));
    let view = LayerState::active(Layer::Root);
    layers.push(match changes {
        Changes::AsGuests => view.detail("the guests'"),
        Changes::Never => {
            see_read_only()?;
            view.detail("the guests', all of it mounted read-only")
        }
    });
    Ok(())
}

fn root() -> Result<OwnedFd, JailError> {
    let root = rustix::fs::open(c"/", OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty());
    root.map_err(|errno| failed("open", "/", errno))
}

/// What a worker on gVisor has been since before its program was executed (see [`super::apart`]), which it would not be
/// otherwise.
fn of_its_own(changes: Changes) -> Vec<LayerState> {
    let mut layers = vec![
        LayerState::active(Layer::Gvisor).detail("the guests'"),
        LayerState::active(Layer::UserNamespace).detail("its own, below the guests' and with their ids"),
        LayerState::active(Layer::PidNamespace).detail("its own, which holds nobody else and which no guest sees"),
        LayerState::active(Layer::NetNamespace).detail("its own, and empty"),
        LayerState::absent(Layer::CgroupNamespace, "gVisor has none, and shows none of the host's groups"),
    ];
    layers.extend(
        [Layer::MountNamespace, Layer::IpcNamespace, Layer::UtsNamespace]
            .map(|layer| LayerState::active(layer).detail("its own")),
    );
    layers.push(LayerState::active(Layer::Root).detail(match changes {
        Changes::AsGuests => "the guests', without their /proc",
        Changes::Never => "the guests', without their /proc, all of it mounted read-only",
    }));
    layers
}

/// Takes a copy of the mounts, which nobody else has, and makes each of them read-only. The files are the same ones.
fn see_read_only() -> Result<(), JailError> {
    let failed = |errno| failed("mount read-only", "the worker's own view", errno);
    // SAFETY: no memory and no descriptor table depends on the mount namespace.
    unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWNS) }.map_err(failed)?;
    let root = rustix::fs::open(c"/", OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty());
    let change = MountChange { set: libc::MOUNT_ATTR_RDONLY, recursive: true, ..MountChange::default() };
    sys::mount_setattr(root.map_err(failed)?.as_fd(), change).map_err(failed)
}

/// The guests' rules, as this worker takes them.
fn of(rules: Vec<LandlockRule>, changes: Changes) -> Vec<LandlockRule> {
    rules.into_iter().map(|rule| LandlockRule { rights: rights(rule.rights, changes), ..rule }).collect()
}

/// Nobody's user, in namespaces of its own with an empty root. Where the machine refuses those, Landlock has to hold files
/// and TCP alone, and has to be there.
fn be_alone(layers: &mut Vec<LayerState>) -> Result<Tcp, JailError> {
    let ids = Ids::choose(COMPILER.0, COMPILER.1)?;
    ids.irrevocably_take()?;
    let alone = [
        Layer::UserNamespace,
        Layer::MountNamespace,
        Layer::NetNamespace,
        Layer::IpcNamespace,
        Layer::UtsNamespace,
        Layer::Root,
    ];
    let flags = UnshareFlags::NEWUSER
        | UnshareFlags::NEWNS
        | UnshareFlags::NEWNET
        | UnshareFlags::NEWIPC
        | UnshareFlags::NEWUTS;
    // SAFETY: no memory and no descriptor table depends on these namespaces.
    let unshared =
        unsafe { rustix::thread::unshare_unsafe(flags) }.map_err(|errno| failed("make", "namespaces", errno));
    match unshared.and_then(|()| NewRoot::new(Kernel::Host, EMPTY_ROOT_MIB)?.enter()) {
        Ok(()) => {
            layers.extend(alone.map(|layer| LayerState::active(layer).detail("empty, and its own")));
            Ok(Tcp::LeftToNamespace)
        }
        // Root that stayed root, without a wall of mounts: it is not tried.
        Err(error) if ids.starter == Starter::Ordinary && rustix::process::geteuid().is_root() => Err(error),
        Err(error) => {
            layers.extend(alone.map(|layer| LayerState::absent(layer, error.to_string())));
            Ok(Tcp::Refused)
        }
    }
}

/// Limits of the process: the guests' of files, and a compiler's of everything. Memory is not among a session's: the
/// addresses that pools take are terabytes, and its group counts what is behind them.
fn limit(errand: Errand, guests: &[(Rlimit, u64)]) -> Result<(), JailError> {
    rlimit::set(Rlimit::Core, 0)?;
    rlimit::set_number(libc::RLIMIT_NOFILE, OPEN_FILES, "OpenFiles")?;
    guests.iter().try_for_each(|(resource, value)| rlimit::set(*resource, *value))?;
    // Files are made with the caller's mask, and nothing is everybody's to write unasked: as calls do it.
    let callers = rustix::process::umask(Mode::empty());
    rustix::process::umask(callers | Mode::WOTH);
    match errand {
        Errand::Beside(..) | Errand::Inside(_) => Ok(()),
        Errand::Compile => {
            rlimit::set(Rlimit::FileSize, COMPILER_OUTPUT_BYTES)?;
            rlimit::set_number(libc::RLIMIT_CPU, COMPILER_CPU_S, "Cpu")?;
            rlimit::set_number(libc::RLIMIT_AS, COMPILER_MEMORY_BYTES, "AddressSpace")?;
            sys::end_after(COMPILER_WALL_S);
            Ok(())
        }
    }
}

fn failed(act: &'static str, object: &'static str, errno: Errno) -> JailError {
    JailError::os(act, object, errno.raw_os_error())
}
