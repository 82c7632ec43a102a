//! The person's own terminal and the signals that reach us: raw mode while a guest has a terminal, size, Ctrl-C.
//! It never hands the terminal itself to a guest.

use crate::backend::process::{Event, Outside};
use crate::error::{Error, Result, plain};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use rustix::termios::{OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr};
use std::io::IsTerminal as _;
use std::os::fd::{AsFd as _, BorrowedFd};

/// Rows and columns of a terminal, characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Size {
    /// Rows.
    pub rows: u16,
    /// Columns.
    pub cols: u16,
}

/// What a terminal has when it does not say.
const SIZE_UNKNOWN: Size = Size { rows: 24, cols: 80 };

/// Size of the terminal that standard input is.
pub fn size() -> Size {
    match tcgetwinsize(std::io::stdin()) {
        Ok(size) if size.ws_row > 0 && size.ws_col > 0 => Size { rows: size.ws_row, cols: size.ws_col },
        Ok(_) | Err(_) => SIZE_UNKNOWN,
    }
}

/// Raw mode of standard input; dropping it restores what was before.
#[derive(Debug)]
pub struct RawMode {
    before: Termios,
}

impl RawMode {
    /// Switches to raw mode, when standard input is a terminal.
    ///
    /// # Errors
    /// Host: the terminal refuses.
    pub fn enter() -> Result<Option<Self>> {
        let stdin = std::io::stdin();
        if !stdin.is_terminal() {
            return Ok(None);
        }
        let failed = |e: rustix::io::Errno| Error::host(format!("set the terminal to raw mode: {}", plain(&e.into())));
        let before = tcgetattr(&stdin).map_err(failed)?;
        let mut raw = before.clone();
        raw.make_raw();
        tcsetattr(&stdin, OptionalActions::Flush, &raw).map_err(failed)?;
        Ok(Some(Self { before }))
    }
}

impl Drop for RawMode {
    fn drop(&mut self) {
        if let Err(error) = tcsetattr(std::io::stdin(), OptionalActions::Flush, &self.before) {
            tracing::error!(%error, "the terminal could not be restored; run `reset`");
        }
    }
}

/// Receives signals as data. Made before any thread starts, since the mask is inherited by threads.
#[derive(Debug)]
pub struct Signals {
    descriptor: SignalFd,
}

impl Signals {
    /// Blocks the signals that we pass on, in this thread and all that it starts.
    ///
    /// # Errors
    /// Host: the kernel gives no descriptor.
    pub fn block() -> Result<Self> {
        let mut mask = SigSet::empty();
        for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP, Signal::SIGQUIT, Signal::SIGWINCH] {
            mask.add(signal);
        }
        let failed = |e: nix::Error| Error::host(format!("receive signals: {}", plain(&e.into())));
        mask.thread_block().map_err(failed)?;
        let descriptor = SignalFd::with_flags(&mask, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK).map_err(failed)?;
        Ok(Self { descriptor })
    }
}

impl Outside for Signals {
    fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        Some(self.descriptor.as_fd())
    }

    fn next_event(&mut self) -> Option<Event> {
        let info = self.descriptor.read_signal().ok().flatten()?;
        let number = i32::try_from(info.ssi_signo).expect("signal numbers are small");
        let Size { rows, cols } = size();
        let resized = number == Signal::SIGWINCH as i32;
        Some(if resized { Event::Resized { rows, columns: cols } } else { Event::Signal(number) })
    }
}
