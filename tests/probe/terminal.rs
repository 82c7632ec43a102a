//! Ways to act on the terminal of the person who started the guest.
//! It never uses a terminal but the one that it has as a stream or as its controlling one.

use crate::sys::{Arg, call, unheeded};
use crate::{Args, Attempt, Entry, Miss};
use std::fs::OpenOptions;
use std::os::fd::AsRawFd;

pub(crate) const TABLE: &[Entry] = &[
    ("type-ahead", type_ahead),
    ("type-ahead-high-bits", type_ahead_high_bits),
    ("paste-selection", paste_selection),
    ("controlling-terminal", controlling_terminal),
    ("steal-terminal", steal_terminal),
];

const TIOCSTI: i64 = 0x5412;
const TIOCLINUX: i64 = 0x541c;
const TIOCSCTTY: i64 = 0x540e;

/// Descriptors to try: the streams, and the controlling terminal opened anew.
fn terminals() -> Vec<i64> {
    let controlling = OpenOptions::new().read(true).write(true).open("/dev/tty");
    let mut all = vec![0, 1, 2];
    if let Ok(file) = controlling {
        all.push(file.as_raw_fd().into());
        // It stays open until the probe ends.
        drop(std::thread::Builder::new().spawn(move || {
            std::thread::sleep(std::time::Duration::from_secs(2));
            drop(file);
        }));
    }
    all
}

fn each(request: i64, bytes: &[u8]) -> Attempt {
    let mut last = libc::ENOTTY;
    for fd in terminals() {
        match call(libc::SYS_ioctl, &mut [Arg::Int(fd), Arg::Int(request), Arg::In(bytes)]) {
            Ok(_) => return Ok(format!("on descriptor {fd}")),
            Err(errno) => last = errno,
        }
    }
    Err(Miss::Errno(last))
}

/// TIOCSTI: as if the person had typed it.
fn type_ahead(_args: &Args) -> Attempt {
    each(TIOCSTI, b"x")
}

/// The kernel looks at the low half of the request only; a filter that compares all of it is passed by (CVE-2019-10063).
fn type_ahead_high_bits(_args: &Args) -> Attempt {
    each((0xdead_beef_i64 << 32) | TIOCSTI, b"x")
}

/// TIOCLINUX 3: pastes the selection of a virtual console.
fn paste_selection(_args: &Args) -> Attempt {
    each(TIOCLINUX, &[3])
}

fn controlling_terminal(_args: &Args) -> Attempt {
    OpenOptions::new().write(true).open("/dev/tty")?;
    Ok("opened the controlling terminal".to_owned())
}

fn steal_terminal(_args: &Args) -> Attempt {
    unheeded(call(libc::SYS_setsid, &mut []));
    for fd in 0..3 {
        if call(libc::SYS_ioctl, &mut [Arg::Int(fd), Arg::Int(TIOCSCTTY), Arg::Int(1)]).is_ok() {
            return Ok(format!("took the terminal of descriptor {fd}"));
        }
    }
    Err(Miss::Errno(libc::EPERM))
}
