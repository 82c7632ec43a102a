//! The one door through which this crate, and with it the whole of Stockade, starts a process: a helper of its own.
//! It never starts any other program, and never forks: the standard library spawns without a copy of this process.

use crate::channel::Channel;
use crate::error::JailError;
use crate::init::NAME;
use crate::worker::inside;
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Stdio};
use std::sync::OnceLock;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

/// Requests that wait for the spawner at one time; more wait at the door.
const WAITING_MAX: usize = 64;

struct Request {
    words: Vec<&'static str>,
    control: OwnedFd,
    answer: SyncSender<std::io::Result<Child>>,
}

/// A helper on its way up: it waits for a plan. Started before the plan is made, it comes up meanwhile. Dropped without
/// one, it ends.
#[derive(Debug)]
pub struct Helper {
    control: Option<Channel>,
    answered: Receiver<std::io::Result<Child>>,
}

impl Helper {
    /// Lets a helper be started, and does not wait for it.
    ///
    /// A thread of its own does it, which lives as long as the process: the death signal that binds an init to its
    /// supervisor is sent when the *thread* that started it ends (prctl(2), `PR_SET_PDEATHSIG`), and callers come from
    /// thread pools.
    ///
    /// # Errors
    /// The machine has no room for a socket or a thread.
    pub fn begin() -> Result<Self, JailError> {
        Self::begin_with(vec![NAME])
    }

    /// The same, for a process that is to be a helper of this name.
    pub(crate) fn begin_for(name: &'static str) -> Result<Self, JailError> {
        Self::begin_with(vec![name])
    }

    /// The same, for a process that is to be a worker with this errand.
    pub(crate) fn begin_as(errand: [&'static str; 2]) -> Result<Self, JailError> {
        Self::begin_with([&[inside::NAME], &errand[..]].concat())
    }

    fn begin_with(words: Vec<&'static str>) -> Result<Self, JailError> {
        static SPAWNER: OnceLock<std::io::Result<SyncSender<Request>>> = OnceLock::new();
        let spawner = SPAWNER.get_or_init(|| {
            let (requests, incoming) = sync_channel(WAITING_MAX);
            std::thread::Builder::new()
                .name("jail-spawner".to_owned())
                .stack_size(128 * 1024)
                .spawn(move || spawn_all(&incoming))
                .map(|_owned_by_the_process| requests)
        });
        let spawner = spawner.as_ref().map_err(failed)?;
        let (control, theirs) = Channel::pair()?;
        let (answer, answered) = sync_channel(1);
        spawner.send(Request { words, control: theirs, answer }).map_err(|_| gone())?;
        Ok(Self { control: Some(control), answered })
    }

    /// The channel to it, and the process.
    ///
    /// # Errors
    /// The machine could not start it.
    pub(crate) fn wait(mut self) -> Result<(Channel, Child), JailError> {
        let child = self.answered.recv().map_err(|_| gone())?.map_err(|error| failed(&error))?;
        let control = self.control.take().ok_or_else(gone)?;
        Ok((control, child))
    }
}

impl Drop for Helper {
    fn drop(&mut self) {
        // It reads the end of the channel, and ends.
        if self.control.take().is_some()
            && let Ok(Ok(mut child)) = self.answered.recv()
        {
            drop(child.wait());
        }
    }
}

fn failed(error: &std::io::Error) -> JailError {
    JailError::io("start", "the helper that becomes the sandbox's init", error)
}

fn gone() -> JailError {
    JailError::bug("reach", "the spawner thread")
}

fn spawn_all(incoming: &Receiver<Request>) {
    for Request { words, control, answer } in incoming {
        match answer.send(spawn(&words, control)) {
            // The asking thread is gone only if it panicked; its channel closed, and the helper ends by that.
            Ok(()) | Err(_) => {}
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "the one door: our own executable, as the helper")]
fn spawn(words: &[&str], control: OwnedFd) -> std::io::Result<Child> {
    let (name, arguments) = words.split_first().ok_or(std::io::ErrorKind::InvalidInput)?;
    // By the kernel's link, so that it is this very program even if its file was replaced meanwhile. No `pre_exec`, no
    // change of ids: that keeps the standard library on posix_spawn(3).
    std::process::Command::new("/proc/self/exe")
        .arg0(name)
        .args(arguments)
        .env_clear()
        .stdin(control)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
}

/// Runs our own program under this name with one argument, and returns what it printed.
///
/// # Errors
/// It could not be started, or ended badly.
#[expect(clippy::disallowed_methods, reason = "the one door: our own executable, as the probe")]
pub(crate) fn output_of(name: &str, argument: &std::ffi::OsStr) -> std::io::Result<Vec<u8>> {
    let mut command = std::process::Command::new("/proc/self/exe");
    command.arg0(name).arg(argument).env_clear().stdin(Stdio::null()).stderr(Stdio::null());
    let output = command.output()?;
    if output.status.success() { Ok(output.stdout) } else { Err(std::io::Error::other("it ended badly")) }
}
