//! Things that only trying can tell: carried out in a helper process that ends afterwards.
//! It never changes anything outside that process: each experiment enters namespaces of its own first.

use crate::seccomp::{self, Wait};
use rustix::fs::CWD;
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MountPropagationFlags, MoveMountFlags, fsconfig_create,
    fsconfig_set_flag, fsconfig_set_string, fsmount, fsopen, mount_change, move_mount,
};
use rustix::process::{getgid, getuid};
use rustix::thread::{UnshareFlags, unshare_unsafe};
use serde::{Deserialize, Serialize};
use std::fs;

/// What is tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Experiment {
    /// Enter a user namespace and become an id in it.
    UserNamespace,
    /// Enter all other kinds of namespaces from there.
    OtherNamespaces,
    /// Make a file system and mount it.
    Mount,
    /// Mount an overlay.
    Overlay,
    /// Mount a `/proc` of a new pid namespace.
    Proc,
    /// Mount a devpts.
    Terminals,
    /// Be told of system calls, and have signals wait for the answer.
    Listener,
}

/// What came of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Observation {
    /// It works.
    Works,
    /// The kernel refused.
    Refused {
        /// At which step.
        step: String,
        /// With which error number.
        errno: i32,
    },
}

impl Experiment {
    /// Each of them.
    pub const ALL: [Self; 7] = [
        Self::UserNamespace,
        Self::OtherNamespaces,
        Self::Mount,
        Self::Overlay,
        Self::Proc,
        Self::Terminals,
        Self::Listener,
    ];
}

/// Carries an experiment out in this process, which is of no use for anything else afterwards: only for a fresh,
/// single-threaded helper that reports the observation and exits.
pub fn in_helper(experiment: Experiment) -> Observation {
    let result = match experiment {
        Experiment::UserNamespace => enter_user_namespace(),
        Experiment::OtherNamespaces => enter_all(),
        Experiment::Mount => enter_all().and_then(|()| mount_private()),
        Experiment::Overlay => enter_all().and_then(|()| overlay()),
        Experiment::Proc => enter_all().and_then(|()| in_child(|| mount_new("proc", &[]))),
        Experiment::Terminals => enter_all().and_then(|()| mount_new("devpts", &[("newinstance", None)])),
        Experiment::Listener => listen(),
    };
    match result {
        Ok(()) => Observation::Works,
        Err((step, errno)) => Observation::Refused { step: step.to_owned(), errno },
    }
}

/// A step and the error number that ended it.
type Tried = Result<(), (&'static str, i32)>;

/// Puts a name to an error.
fn at<T>(step: &'static str, result: Result<T, Errno>) -> Result<T, (&'static str, i32)> {
    result.map_err(|errno| (step, errno.raw_os_error()))
}

/// Enters a new user namespace and maps the caller's id to itself.
fn enter_user_namespace() -> Tried {
    // The kernel refuses this to threads, and we would blame the machine.
    if fs::read_dir("/proc/self/task").map_or(0, Iterator::count) > 1 {
        return Err(("start a helper with one thread", libc::EINVAL));
    }
    let (uid, gid) = (getuid().as_raw(), getgid().as_raw());
    unshare("unshare(CLONE_NEWUSER)", UnshareFlags::NEWUSER)?;
    write("/proc/self/setgroups", "deny")?;
    write("/proc/self/gid_map", &format!("{gid} {gid} 1"))?;
    write("/proc/self/uid_map", &format!("{uid} {uid} 1"))
}

/// Enters namespaces of every kind that a session has.
fn enter_all() -> Tried {
    enter_user_namespace()?;
    for (step, flag) in [
        ("unshare(CLONE_NEWNS)", UnshareFlags::NEWNS),
        ("unshare(CLONE_NEWPID)", UnshareFlags::NEWPID),
        ("unshare(CLONE_NEWNET)", UnshareFlags::NEWNET),
        ("unshare(CLONE_NEWIPC)", UnshareFlags::NEWIPC),
        ("unshare(CLONE_NEWUTS)", UnshareFlags::NEWUTS),
        ("unshare(CLONE_NEWCGROUP)", UnshareFlags::NEWCGROUP),
    ] {
        unshare(step, flag)?;
    }
    Ok(())
}

/// unshare(2).
fn unshare(step: &'static str, flags: UnshareFlags) -> Tried {
    // SAFETY: of what unshare can take away, only the table of descriptors would break promises of safe code, and no
    // caller in this file passes that flag.
    at(step, unsafe { unshare_unsafe(flags) })
}

/// Cuts the mounts off from the host's and mounts a tmpfs over /tmp.
fn mount_private() -> Tried {
    at("make mounts private", mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC))?;
    mount_new("tmpfs", &[])
}

/// Mounts a new file system over /tmp, in this process's mount namespace.
fn mount_new(kind: &'static str, options: &[(&'static str, Option<&'static str>)]) -> Tried {
    at("make mounts private", mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC))?;
    let context = at("fsopen", fsopen(kind, FsOpenFlags::FSOPEN_CLOEXEC))?;
    for (key, value) in options {
        let set = match value {
            Some(value) => fsconfig_set_string(&context, *key, *value),
            None => fsconfig_set_flag(&context, *key),
        };
        // The option `newinstance` has no effect since Linux 4.7, where it became the only way, and may be gone.
        if !matches!(set, Err(Errno::INVAL) if *key == "newinstance") {
            at("fsconfig", set)?;
        }
    }
    at("create the file system", fsconfig_create(&context))?;
    let mount = at("fsmount", fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::empty()))?;
    at("move_mount", move_mount(&mount, "", CWD, "/tmp", MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH))
}

/// Mounts an overlay of directories in a tmpfs.
fn overlay() -> Tried {
    mount_private()?;
    for directory in ["/tmp/lower", "/tmp/upper", "/tmp/work"] {
        fs::create_dir(directory)
            .map_err(|error| ("make directories in a tmpfs", error.raw_os_error().unwrap_or(0)))?;
    }
    let options = [
        ("lowerdir", Some("/tmp/lower")),
        ("upperdir", Some("/tmp/upper")),
        ("workdir", Some("/tmp/work")),
        ("userxattr", None),
    ];
    mount_new("overlay", &options)
}

/// The step of [`listen`] that fails where only the second half is missing.
pub(super) const SIGNALS_WAIT: &str = "have signals wait for the answer";

/// The same for what the recorder opens files with.
pub(super) const FILES_OPEN: &str = "open files on behalf of guests";

/// Asks for a listener.
fn listen() -> Tried {
    let can_open = crate::recorder::can_open();
    match seccomp::try_listener(Wait::Killable) {
        Ok(_) if !can_open => Err((FILES_OPEN, libc::ENOSYS)),
        Err(Errno::INVAL) if seccomp::try_listener(Wait::Interruptible).is_ok() => Err((SIGNALS_WAIT, libc::EINVAL)),
        other => at("listen to system calls", other),
    }
}

/// Carries a step out in a child, which is in the new pid namespace where this process is not.
fn in_child(step: fn() -> Tried) -> Tried {
    // SAFETY: the helper has one thread, so that the child inherits no lock that a thread of its parent held.
    let pid = unsafe { libc::fork() };
    match pid {
        -1 => Err(("fork", errno())),
        0 => {
            let status = step().err().map_or(0, |(_, errno)| errno);
            // SAFETY: ends the child at once, without handlers that belong to the parent.
            unsafe { libc::_exit(status) }
        }
        pid => {
            let mut status = 0;
            // SAFETY: `status` is a live integer that the kernel writes once.
            if unsafe { libc::waitpid(pid, &raw mut status, 0) } != pid {
                return Err(("wait", errno()));
            }
            match libc::WEXITSTATUS(status) {
                0 if libc::WIFEXITED(status) => Ok(()),
                errno => Err(("mount in a new pid namespace", errno)),
            }
        }
    }
}

/// Writes a small file of /proc.
fn write(path: &'static str, text: &str) -> Tried {
    fs::write(path, text).map_err(|error| (path, error.raw_os_error().unwrap_or(0)))
}

/// The calling thread's last error number.
fn errno() -> i32 {
    std::io::Error::last_os_error().raw_os_error().unwrap_or(0)
}
