//! Terminals of the sandbox's own devpts instance: opened inside, the master passed out.
//! It never touches a terminal of the host.

use crate::sys;
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::termios::Winsize;
use std::os::fd::{AsFd, FromRawFd as _, OwnedFd};

/// Both ends of a new terminal.
#[derive(Debug)]
pub(crate) struct Terminal {
    /// The end that the supervisor reads and writes.
    pub(crate) master: OwnedFd,
    /// The end that becomes 0, 1 and 2.
    pub(crate) slave: OwnedFd,
}

/// Opens a terminal of this size in the calling process's `/dev/pts`.
pub(crate) fn open(rows: u16, columns: u16) -> Result<Terminal, Errno> {
    let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
    let master = rustix::fs::open(c"/dev/pts/ptmx", flags, Mode::empty())?;
    rustix::pty::unlockpt(&master)?;
    // By the ioctl and not by name: the name could be another instance's (ioctl_tty(2)).
    let number = (libc::O_RDWR | libc::O_NOCTTY | libc::O_CLOEXEC).unsigned_abs();
    let slave = match sys::ioctl_number(&master, libc::TIOCGPTPEER, libc::c_ulong::from(number)) {
        // SAFETY: TIOCGPTPEER returns a new descriptor, which nobody else knows.
        Ok(slave) => unsafe { OwnedFd::from_raw_fd(slave) },
        // gVisor lacks it, and has one instance, which nobody but this sandbox sees.
        Err(Errno::NOTTY) => rustix::fs::open(rustix::pty::ptsname(&master, Vec::new())?, flags, Mode::empty())?,
        Err(errno) => return Err(errno),
    };
    resize(&master, rows, columns)?;
    Ok(Terminal { master, slave })
}

/// Sets the size of the terminal and, by the kernel, tells its foreground (SIGWINCH).
pub(crate) fn resize<F: AsFd>(master: F, rows: u16, columns: u16) -> Result<(), Errno> {
    let size = Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
    rustix::termios::tcsetwinsize(master, size)
}
