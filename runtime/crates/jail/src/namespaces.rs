//! The namespaces of a session as descriptors: opened by its init while it may, handed out, joined by a worker.
//! It never has the pid namespace among them: whom guests could see, they could signal.

use crate::enforced::{Layer, LayerState};
use crate::error::{ErrorKind, JailError};
use crate::idmap::Ids;
use crate::kernel::Kernel;
use rustix::io::Errno;
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use std::fs::File;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};

/// Names below `/proc/self/ns`, in the order in which they are joined: the user namespace gives the rights for the rest.
const JOINED: [(&str, LinkNameSpaceType); NAMESPACES] = [
    ("user", LinkNameSpaceType::User),
    ("mnt", LinkNameSpaceType::Mount),
    ("net", LinkNameSpaceType::Network),
    ("ipc", LinkNameSpaceType::InterProcessCommunication),
    ("uts", LinkNameSpaceType::HostNameAndNISDomainName),
    ("cgroup", LinkNameSpaceType::ControlGroup),
];
/// How many there are.
pub(crate) const NAMESPACES: usize = 6;

/// Descriptors of them, in the order of [`JOINED`].
#[derive(Debug)]
pub(crate) struct Namespaces([OwnedFd; NAMESPACES]);

impl Namespaces {
    /// Those of the calling process. It has to see a `/proc` that knows it, and not be closed to itself yet
    /// (`PR_SET_DUMPABLE`); later it could not, and nobody else can at any time.
    pub(crate) fn of_this_process() -> Result<Self, JailError> {
        let open = |name: &str| {
            let path = format!("/proc/self/ns/{name}");
            File::open(&path).map(OwnedFd::from).map_err(|error| JailError::io("open", path, &error))
        };
        let all = JOINED.iter().map(|(name, _)| open(name)).collect::<Result<Vec<_>, _>>()?;
        Self::from_descriptors(all)
    }

    /// As they came in a message.
    pub(crate) fn from_descriptors(all: Vec<OwnedFd>) -> Result<Self, JailError> {
        let wrong = |_| JailError::bug("accept", "another number of namespaces").kind(ErrorKind::Protocol);
        all.try_into().map(Self).map_err(wrong)
    }

    /// For a message.
    pub(crate) fn descriptors(&self) -> [BorrowedFd<'_>; NAMESPACES] {
        self.0.each_ref().map(|namespace| namespace.as_fd())
    }

    /// Joins them all. The caller has one thread, and is who owns the user namespace; its root and working directory
    /// are the session's afterwards, and it has every capability in there.
    pub(crate) fn join(self, ids: &Ids) -> Result<(), JailError> {
        for ((name, kind), namespace) in JOINED.iter().zip(&self.0) {
            move_into_link_name_space(namespace.as_fd(), Some(*kind)).map_err(|errno: Errno| {
                JailError::os("join a namespace of the sandbox", *name, errno.raw_os_error())
            })?;
        }
        let (uid, gid) = (rustix::process::getuid().as_raw(), rustix::process::getgid().as_raw());
        if (uid, gid) == (ids.inner_uid, ids.inner_gid) {
            Ok(())
        } else {
            Err(JailError::bug("join", format!("the sandbox as {uid}:{gid}, which is not its guest")))
        }
    }
}

/// What a new set of them is, for a guest with these ids.
pub(crate) fn layers(ids: &Ids, kernel: Kernel) -> Vec<LayerState> {
    let groups = rustix::process::getgroups().map_or(0, |groups| groups.len());
    let mut who =
        format!("uid {} is {} outside, gid {} is {}", ids.inner_uid, ids.outer_uid, ids.inner_gid, ids.outer_gid);
    if groups > 0 {
        who.push_str(&format!("; {groups} supplementary groups remain, which an ordinary user cannot drop"));
    }
    let mut layers = vec![LayerState::active(Layer::UserNamespace).detail(who)];
    layers.extend(
        [Layer::MountNamespace, Layer::PidNamespace, Layer::IpcNamespace, Layer::UtsNamespace].map(LayerState::active),
    );
    layers.push(match kernel {
        Kernel::Host => LayerState::active(Layer::CgroupNamespace),
        Kernel::Gvisor => {
            LayerState::absent(Layer::CgroupNamespace, "gVisor has none, and shows none of the host's groups")
        }
    });
    layers
}
