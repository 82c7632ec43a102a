//! The plan: what will be done to confine a command, as a printable list of steps with no decision left in it.
//! It never looks at the machine; it is data that `stockade explain` prints, golden tests compare and the log hashes.

use serde::{Deserialize, Serialize};
use std::net::{Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;

mod container;
mod display;
mod outlet;
pub(crate) mod path_text;

pub use container::{Container, Shown};
pub use outlet::{Content, Cover, OUTLET_SOCKETS_MAX, OutletSocket};

/// Everything that will be done for one session, in order: by the supervisor, by the init of the session, and by
/// each call between fork and exec.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// Which wall carries the plan.
    pub wall: Wall,
    /// Done by the supervisor, on the host's side.
    pub host: Vec<HostStep>,
    /// Done once a session, inside its new namespaces (in its init).
    pub session: Vec<SessionStep>,
    /// Done for each call, in its own process, before exec.
    pub call: Vec<CallStep>,
}

impl Plan {
    /// The session's limits.
    pub fn limits(&self) -> Limits {
        let limits = |step: &HostStep| if let HostStep::Limits(limits) = step { Some(*limits) } else { None };
        self.host.iter().find_map(limits).unwrap_or_default()
    }

    /// What is recorded.
    pub fn record(&self) -> Record {
        let step = |step: &SessionStep| if let SessionStep::Recorder(record) = step { Some(*record) } else { None };
        self.session.iter().find_map(step).unwrap_or(Record::Off)
    }
}

/// Which mechanism confines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Wall {
    /// Namespaces, a new root, Landlock and seccomp: grade `full`.
    Namespaces,
    /// Landlock and seccomp alone, for machines that forbid user namespaces: grade `partial`.
    Landlock,
}

/// Steps on the host's side.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum HostStep {
    /// Have an engine start a container, in which the session's steps are then carried out.
    Container(Container),
    /// Bound the session with a control group where there is one, else with the watcher.
    Limits(Limits),
}

/// Limits of a session. `None` is no limit of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Limits {
    /// Wall time of one call, seconds.
    pub wall_s: Option<u64>,
    /// CPU time of one call, user and system of all its processes, seconds.
    pub cpu_s: Option<u64>,
    /// Memory of the session, MiB.
    pub memory_mib: Option<u64>,
    /// Processes and threads of guests at one time.
    pub pids: Option<u64>,
    /// Open descriptors of one process.
    pub open_files: Option<u64>,
    /// What the session may write to its layer, and to each private tmpfs, MiB.
    pub disk_mib: Option<u64>,
    /// Standard output and error of one call together, MiB.
    pub output_mib: Option<u64>,
}

/// Whether a mount may be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Access {
    /// Read only, by mount flag and by Landlock.
    ReadOnly,
    /// Writable.
    ReadWrite,
}

/// Whether files of a mount may be executed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Exec {
    /// May be executed.
    Allow,
    /// Mounted `noexec`.
    Deny,
}

/// Whose files a mount shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Owner {
    /// Owners as they are on the host (unmapped owners show as `nobody`).
    AsIs,
    /// Id-mapped: the owner of the source directory appears as the guest. Only used when root starts the session.
    Guest,
}

/// Steps inside the session, in the order in which the init does them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SessionStep {
    /// New user, mount, pid, net, ipc, uts and cgroup namespaces; one id inside.
    Namespaces {
        /// User id that the guest sees itself as.
        guest_uid: u32,
        /// Group id that the guest sees itself as.
        guest_gid: u32,
    },
    /// Name of the machine inside.
    Hostname(String),
    /// Bring up the loopback: the only interface there is.
    LoopbackUp,
    /// The only way out: every address leads to the loopback, and these sockets, made inside while there are the
    /// capabilities for it, are handed out. After [`SessionStep::LoopbackUp`], at most once.
    Outlet {
        /// The sandbox's own address beside the loopback's: where its connections come from.
        address: Ipv4Addr,
        /// The same for IPv6.
        address_v6: Ipv6Addr,
        /// The sockets, [`OUTLET_SOCKETS_MAX`] at most, in the order in which they are handed out.
        sockets: Vec<OutletSocket>,
    },
    /// A new, empty root on a private tmpfs of this size.
    Root {
        /// MiB.
        size_mib: u64,
    },
    /// An empty directory.
    Dir {
        /// Path inside.
        #[serde(with = "path_text")]
        path: PathBuf,
        /// Permission bits.
        mode: u32,
    },
    /// A symbolic link.
    Symlink {
        /// Path inside.
        #[serde(with = "path_text")]
        path: PathBuf,
        /// What it points to.
        #[serde(with = "path_text")]
        target: PathBuf,
    },
    /// A small read-only file with this content.
    File {
        /// Path inside.
        #[serde(with = "path_text")]
        path: PathBuf,
        /// Content.
        content: String,
        /// Permission bits.
        mode: u32,
    },
    /// A host path, shown inside.
    Bind {
        /// Path on the host; resolved without following a symlink in its last component.
        #[serde(with = "path_text")]
        source: PathBuf,
        /// Path inside.
        #[serde(with = "path_text")]
        target: PathBuf,
        /// Writable or not.
        access: Access,
        /// Executable or not.
        exec: Exec,
        /// Ownership.
        owner: Owner,
    },
    /// A host directory, shown copy-on-write: writes go to the layer.
    Overlay {
        /// Host directory that is shown and never changed.
        #[serde(with = "path_text")]
        lower: PathBuf,
        /// Host directory that holds `upper/` and `work/`; both exist.
        #[serde(with = "path_text")]
        layer: PathBuf,
        /// Path inside.
        #[serde(with = "path_text")]
        target: PathBuf,
        /// Executable or not.
        exec: Exec,
        /// Ownership, of lower and layer alike.
        owner: Owner,
    },
    /// A host directory, shown read-only through an overlay without a layer: the inodes inside are the overlay's own,
    /// so that a socket of the host's in it cannot be connected to. A read-only bind does not hold that.
    Screen {
        /// Host directory.
        #[serde(with = "path_text")]
        lower: PathBuf,
        /// Path inside.
        #[serde(with = "path_text")]
        target: PathBuf,
        /// Executable or not.
        exec: Exec,
    },
    /// Files of ours, read-only, in place of what these paths show. A path that is missing is made; where it is missing
    /// in a directory of the host that is shown read-only, that directory is shown again with the file in it, so that
    /// nothing may have been mounted below it before.
    Cover {
        /// The files.
        files: Vec<Cover>,
    },
    /// Make an existing path inside read-only, and keep it from being renamed or removed.
    Protect {
        /// Path inside.
        #[serde(with = "path_text")]
        path: PathBuf,
    },
    /// Keep a directory from being renamed or removed (it holds a protected path), without making it read-only.
    Pin {
        /// Path inside.
        #[serde(with = "path_text")]
        path: PathBuf,
    },
    /// Put an empty, unreadable file or directory over an existing path inside.
    Mask {
        /// Path inside.
        #[serde(with = "path_text")]
        path: PathBuf,
    },
    /// A private tmpfs.
    Tmpfs {
        /// Path inside.
        #[serde(with = "path_text")]
        path: PathBuf,
        /// MiB.
        size_mib: u64,
        /// Permission bits of its root.
        mode: u32,
        /// Executable or not.
        exec: Exec,
    },
    /// A `/proc` of the session's own pid namespace, its dangerous parts masked.
    Proc,
    /// `/dev` with null, zero, full, random, urandom, tty, `shm`, and a devpts instance of its own.
    Dev {
        /// Size of `/dev/shm`, MiB.
        shm_mib: u64,
    },
    /// Make the new root the root, detach the old one.
    EnterRoot,
    /// Join a new, empty session keyring.
    Keyring,
    /// Start the recorder: what changes something, starts or leaves is told to it. After [`SessionStep::Landlock`], so
    /// that it is confined as its guests are, and before the capabilities are dropped, of which it keeps the one to read
    /// a guest's arguments.
    Recorder(Record),
    /// Drop every Linux capability from every set, lock the secure bits.
    DropCapabilities,
    /// `no_new_privs`.
    NoNewPrivs,
    /// Landlock: nothing but these rights; scopes of the running ABI for signals and abstract sockets.
    Landlock {
        /// Rights by path inside.
        rules: Vec<LandlockRule>,
        /// Handle TCP too, granting nothing: only where there is no network namespace.
        tcp: Tcp,
    },
}

/// What is recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Record {
    /// Nothing: outcomes alone.
    Off,
    /// Processes and programs, changes of files, what is asked of sockets, refused calls.
    Changes,
    /// The same, and each file that is opened for reading.
    AllOpens,
}

impl Record {
    /// Threads of the init, which the kernel counts along with the guests'.
    pub const fn threads_of_the_init(self) -> u64 {
        match self {
            Self::Off => 1,
            Self::Changes | Self::AllOpens => 2,
        }
    }
}

/// What Landlock does about TCP.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Tcp {
    /// Left to the network namespace, whose loopback a dev server may use.
    LeftToNamespace,
    /// Every bind and connect refused.
    Refused,
}

/// Rights below one path.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LandlockRule {
    /// Path inside.
    #[serde(with = "path_text")]
    pub path: PathBuf,
    /// Rights.
    pub rights: PathRights,
}

/// Sets of Landlock rights, by what they are for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PathRights {
    /// Read files, list directories.
    Read,
    /// Read and execute.
    ReadExec,
    /// Read, and write to files that exist (device nodes).
    ReadWriteExisting,
    /// Everything but execute.
    ReadWrite,
    /// Everything.
    ReadWriteExec,
}

/// Steps of a call's own process, in order, the last being exec.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CallStep {
    /// A session of its own (`setsid`), with the PTY as controlling terminal when there is one.
    OwnSession,
    /// Soft and hard limit.
    Rlimit {
        /// Which.
        resource: Rlimit,
        /// Value, in the unit of setrlimit(2).
        value: u64,
    },
    /// Mark every descriptor but 0, 1 and 2 close-on-exec.
    CloseDescriptors,
    /// The syscall allow-list, architecture and x32 checked. The init takes it on before the first call, and every call
    /// is born with it; what the init and the other call steps do is on the list.
    Seccomp {
        /// Which sockets the list lets be made.
        sockets: Sockets,
    },
}

/// Resources of setrlimit(2) that plans use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Rlimit {
    /// `RLIMIT_CORE`, bytes.
    Core,
    /// `RLIMIT_NOFILE`.
    OpenFiles,
    /// `RLIMIT_NPROC`.
    Pids,
    /// `RLIMIT_FSIZE`, bytes.
    FileSize,
    /// `RLIMIT_MEMLOCK`, bytes.
    LockedMemory,
}

/// Socket families that the seccomp list lets through.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Sockets {
    /// AF_UNIX, AF_INET and AF_INET6 stream and datagram: the namespace has a loopback only.
    Loopback,
    /// AF_INET and AF_INET6 as above, of AF_UNIX stream socketpairs only: some mount shows a directory of the host as it
    /// is, and a socket in it could be connected to, also through a read-only mount (unix(7) asks the inode alone).
    Internet,
    /// Stream socketpairs of AF_UNIX only: there is no namespace to hold anything else.
    PairsOnly,
}
