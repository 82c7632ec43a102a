//! The way into a container that an engine started: a socket that its first process, which is ours, comes to.
//! It never lets anybody in but that process, and never starts or ends a container.
//!
//! The container is the outer wall, and the engine's. Inside, its first process carries out the same plan as on the host,
//! as an ordinary user would: namespaces of its own in those of the container, a root of its own made of the image's files,
//! the same lists and rules. So a guest stands behind both, and nothing of what it is given depends on the engine.

use crate::channel::{Channel, protocol};
use crate::error::{ErrorKind, Fault, JailError};
use crate::kernel::Kernel;
use crate::look::Seen;
use crate::sandbox::{lost, open_handle, wait_readable};
use crate::tree;
use crate::wire::Message;
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
use rustix::process::Pid;
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::{Duration, Instant};

/// Where this program is in a container: its first process is started by this name, and by it knows what to be.
pub const PROGRAM: &str = "/.stockade/stockade-init";
/// Where the directory of a [`Door`] is in a container.
pub const DOOR: &str = "/.stockade/door";
/// Processes and threads of ours in a container at most, which its engine counts along with the guests': the first one, the
/// init, the recorder's, and what makes namespaces meanwhile.
pub const PROCESSES_OF_OURS_MAX: u64 = 8;
/// The socket's name in that directory.
const SOCKET: &str = "socket";
/// Connections that wait at one time: only one is expected.
const WAITING_MAX: i32 = 4;
/// How long an answer to a look may take: it touches a few inodes.
const LOOK_LIMIT: Duration = Duration::from_secs(10);

/// A socket in a directory that is to be shown in a container at [`DOOR`].
#[derive(Debug)]
pub struct Door {
    listener: OwnedFd,
}

impl Door {
    /// Makes the socket in this directory, which is ours and empty. Who may reach the socket is up to the directory's
    /// parents: the directory and the socket themselves are open to everybody, since a container's user is not ours.
    ///
    /// # Errors
    /// The kernel's answer.
    pub fn open(directory: &Path) -> Result<Self, JailError> {
        let named = || directory.display().to_string();
        let failed = |errno: Errno| JailError::os("make a container's door in", named(), errno.raw_os_error());
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let place = rustix::fs::open(directory, flags, Mode::empty()).map_err(failed)?;
        // By the descriptor: the path itself may be longer than an address can be (unix(7): 108 bytes).
        let path = format!("/proc/self/fd/{}/{SOCKET}", place.as_raw_fd());
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let listener =
            rustix::net::socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None).map_err(failed)?;
        let address = SocketAddrUnix::new(path.as_str()).map_err(failed)?;
        rustix::net::bind(&listener, &address).map_err(failed)?;
        let open = |path: &Path, mode: u32| {
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode))
                .map_err(|error| JailError::io("open a container's door in", named(), &error))
        };
        open(&directory.join(SOCKET), 0o666)?;
        open(directory, 0o711)?;
        rustix::net::listen(&listener, WAITING_MAX).map_err(failed)?;
        Ok(Self { listener })
    }

    /// Waits for the first process of the container, which the engine says to have this process id here. Anybody else who
    /// comes is turned away.
    ///
    /// # Errors
    /// It ended, or did not come in time.
    pub fn admit(self, first_process: u32, within: Duration) -> Result<Inside, JailError> {
        let deadline = Instant::now() + within;
        let first = open_handle(first_process)?;
        loop {
            match readable(&self.listener, &first, deadline)? {
                Event::Ended => return Err(lost("the container's first process ended before it reported")),
                Event::Visitor => {}
            }
            let visitor = match rustix::net::accept_with(&self.listener, SocketFlags::CLOEXEC) {
                Ok(visitor) => visitor,
                // It left again.
                Err(Errno::AGAIN | Errno::INTR | Errno::CONNABORTED) => continue,
                Err(errno) => return Err(JailError::os("accept", "a container", errno.raw_os_error())),
            };
            let who = rustix::net::sockopt::socket_peercred(&visitor)
                .map_err(|errno| JailError::os("ask who came from", "a container", errno.raw_os_error()))?;
            let control = Channel::new(visitor);
            // The handle is held, so that the number cannot have come to mean another process.
            if who.pid.as_raw_nonzero().get().unsigned_abs() == first_process {
                let owner = Some((who.uid.as_raw(), who.gid.as_raw()));
                return Ok(Inside { control, first, first_process, owner, kernel: Kernel::Host });
            }
            if is_beside(who.pid, first_process) {
                control.send(&Message::OnGvisor, &[])?;
                return Ok(Inside { control, first, first_process, owner: None, kernel: Kernel::Gvisor });
            }
        }
    }
}

/// Whether a process was started by who started the container's first one. gVisor comes to what is the host's by a process of
/// its own (its gofer), beside the one that the engine knows: the engine's shim starts both, and nothing else. Who could come
/// otherwise is us, the real root, and what runs in the container: the directories above the door are closed to all others,
/// and in the container there is nothing but our own program until it has a plan.
fn is_beside(visitor: Pid, first_process: u32) -> bool {
    let shim = i32::try_from(first_process).ok().and_then(tree::parent_of).filter(|shim| *shim > 1);
    shim.is_some() && tree::parent_of(visitor.as_raw_nonzero().get()) == shim
}

enum Event {
    Visitor,
    Ended,
}

fn readable(listener: &OwnedFd, first: &OwnedFd, deadline: Instant) -> Result<Event, JailError> {
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let limit = Timespec::try_from(left).map_err(|_| JailError::bug("wait", "a constant time"))?;
        let mut fds = [
            PollFd::from_borrowed_fd(listener.as_fd(), PollFlags::IN),
            PollFd::from_borrowed_fd(first.as_fd(), PollFlags::IN),
        ];
        match rustix::event::poll(&mut fds, Some(&limit)) {
            Ok(0) => return Err(lost("the container's first process did not report in time")),
            // Who came before the end is heard: it says why it ends.
            Ok(_) if !fds[0].revents().is_empty() => return Ok(Event::Visitor),
            Ok(_) => return Ok(Event::Ended),
            Err(Errno::INTR) => {}
            Err(errno) => return Err(JailError::os("wait for", "a container", errno.raw_os_error())),
        }
    }
}

/// The first process of a container, which waits for a plan. Dropped without one, it ends, and with it the container.
#[derive(Debug)]
pub struct Inside {
    pub(crate) control: Channel,
    pub(crate) first: OwnedFd,
    pub(crate) first_process: u32,
    /// Its user and group, as they are out here; `None` where they are the same inside.
    pub(crate) owner: Option<(u32, u32)>,
    pub(crate) kernel: Kernel,
}

impl Inside {
    /// What is at a path in there, among the image's files and what the engine mounted over them.
    ///
    /// # Errors
    /// The container is gone, or the path holds a NUL.
    pub fn look(&self, path: &Path) -> Result<Seen, JailError> {
        let path = path.as_os_str().as_bytes().to_vec();
        if path.contains(&0) {
            return Err(JailError::host("look at", "a path that holds a NUL").fault(Fault::Operator));
        }
        self.control.send(&Message::Look(path), &[])?;
        wait_readable(self.control.as_fd(), Some(Instant::now() + LOOK_LIMIT))?;
        let received = self.control.receive()?.ok_or_else(|| lost("the container ended"))?;
        if let Message::Failed(error) = received.message {
            return Err(error);
        }
        let Message::Seen(seen) = received.message else { return Err(protocol("another answer than what was seen")) };
        Ok(seen)
    }

    /// Whether it is on a kernel of its own.
    pub fn is_on_gvisor(&self) -> bool {
        self.kernel == Kernel::Gvisor
    }

    /// Whether it is still there.
    pub fn is_alive(&self) -> bool {
        let mut fds = [PollFd::from_borrowed_fd(self.first.as_fd(), PollFlags::IN)];
        let now = Timespec { tv_sec: 0, tv_nsec: 0 };
        matches!(rustix::event::poll(&mut fds, Some(&now)), Ok(0))
    }
}

/// Connects to the door from inside.
pub(crate) fn come_to_the_door() -> Result<Channel, JailError> {
    let failed = |errno: Errno| JailError::os("come to", "the door", errno.raw_os_error());
    let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
        .map_err(failed)?;
    let address = SocketAddrUnix::new(format!("{DOOR}/{SOCKET}").as_str()).map_err(failed)?;
    rustix::net::connect(&socket, &address).map_err(failed)?;
    Ok(Channel::new(socket))
}

/// The process id, as this process sees it, of what a handle from elsewhere stands for.
pub(crate) fn id_of(handle: BorrowedFd<'_>) -> Result<u32, JailError> {
    let path = format!("/proc/self/fdinfo/{}", handle.as_raw_fd());
    let text = std::fs::read_to_string(&path).map_err(|error| JailError::io("read", path, &error))?;
    // -1 for one that ended, 0 for one in a pid namespace that is not below ours.
    let id = text.lines().find_map(|line| line.strip_prefix("Pid:")?.trim().parse::<u32>().ok());
    id.filter(|id| *id > 0).ok_or_else(|| {
        JailError::host("find", "the init of the sandbox")
            .kind(ErrorKind::SandboxLost)
            .hint("the engine's containers have to run on this machine, in a pid namespace below ours")
    })
}
