//! Both sides of a call's streams: three pipes, three descriptors of somebody else's, or a terminal.
//! It never reads or writes one.

use crate::error::JailError;
use crate::kernel::Kernel;
use crate::sandbox::Stdio;
use crate::wire;
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType};
use rustix::process::{Gid, Uid};
use std::os::fd::OwnedFd;

/// The supervisor's ends of a call's streams.
#[derive(Debug)]
pub(crate) enum Streams {
    Pipes {
        stdin: Option<OwnedFd>,
        stdout: Option<OwnedFd>,
        stderr: Option<OwnedFd>,
    },
    Elsewhere,
    Terminal {
        master: Option<OwnedFd>,
    },
    /// A stream that stands for a terminal's master, which cannot come out.
    StandIn(OwnedFd),
}

/// The guest's ends.
#[derive(Debug)]
pub(crate) enum Inner {
    Descriptors([OwnedFd; 3]),
    Terminal { rows: u16, columns: u16, stand_in: Option<OwnedFd> },
}

impl Inner {
    pub(crate) fn request(&self) -> wire::Streams {
        match self {
            Self::Descriptors(_) => wire::Streams::Descriptors,
            Self::Terminal { rows, columns, .. } => wire::Streams::Terminal { rows: *rows, columns: *columns },
        }
    }

    pub(crate) fn descriptors(&self) -> &[OwnedFd] {
        match self {
            Self::Descriptors(descriptors) => descriptors,
            Self::Terminal { stand_in, .. } => stand_in.as_slice(),
        }
    }
}

impl Streams {
    /// Makes both sides. Pipes belong to the guest, so that it can open them again as `/dev/stdout`: as root we have to
    /// give them away, and as anybody else they are the guest's already.
    pub(crate) fn open(stdio: Stdio, owner: (u32, u32), kernel: Kernel) -> Result<(Self, Inner), JailError> {
        let ours = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
        let pipe = || {
            let (reader, writer) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
            if ours != owner {
                rustix::fs::fchown(&reader, Some(Uid::from_raw(owner.0)), Some(Gid::from_raw(owner.1)))?;
            }
            Ok((reader, writer))
        };
        let pipe = || pipe().map_err(|errno: Errno| JailError::os("make", "a pipe", errno.raw_os_error()));
        Ok(match stdio {
            Stdio::Pipes => {
                let ((inner_in, stdin), (stdout, inner_out), (stderr, inner_err)) = (pipe()?, pipe()?, pipe()?);
                let outer = Self::Pipes { stdin: Some(stdin), stdout: Some(stdout), stderr: Some(stderr) };
                (outer, Inner::Descriptors([inner_in, inner_out, inner_err]))
            }
            Stdio::Fds { stdin, stdout, stderr } => (Self::Elsewhere, Inner::Descriptors([stdin, stdout, stderr])),
            Stdio::Pty { rows, columns } => match kernel {
                Kernel::Host => (Self::Terminal { master: None }, Inner::Terminal { rows, columns, stand_in: None }),
                Kernel::Gvisor => {
                    let (ours, theirs) =
                        rustix::net::socketpair(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)
                            .map_err(|errno| JailError::os("make", "a socket pair", errno.raw_os_error()))?;
                    (Self::StandIn(ours), Inner::Terminal { rows, columns, stand_in: Some(theirs) })
                }
            },
        })
    }
}
