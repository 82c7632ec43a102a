//! A person at a terminal: types, reads, resizes the window, leaves.
//! It never gives the terminal to anything but `stockade`, which it becomes the controlling terminal of.

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcgetattr, tcsetwinsize};
use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::process::{Child, Command};
use std::time::{Duration, Instant};
use stockade_tests::stage::Stage;
use stockade_tests::story::{Stop, Told};

/// Longest time that one word is waited for.
const PATIENCE: Duration = Duration::from_secs(60);
/// The prompt: nothing else says it, since it is put together from two parts.
const PROMPT: &str = "ready>";

/// A person at a terminal.
pub(crate) struct User {
    terminal: File,
    /// Kept open, so that the settings can be read when everybody else is gone.
    end: OwnedFd,
    child: Child,
    before: String,
    heard: String,
    /// How much of it has been waited for.
    upto: usize,
}

/// How it ended.
pub(crate) struct Left {
    /// Exit code, as a shell gives it.
    pub(crate) code: i32,
    /// Everything that came to the screen.
    pub(crate) heard: String,
    /// Settings of the terminal before.
    pub(crate) before: String,
    /// Settings of the terminal afterwards.
    pub(crate) after: String,
    /// What a shell of the person's would read next.
    pub(crate) waiting: String,
}

impl User {
    /// Starts `stockade run --tty -- bash` on a new terminal, and waits for its prompt.
    pub(crate) fn sit_down(stage: &Stage) -> Result<Self, Stop> {
        let failed = |act: &str, e: rustix::io::Errno| Stop::Fail(format!("{act}: {e}"));
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).map_err(|e| failed("openpt", e))?;
        grantpt(&master).and_then(|()| unlockpt(&master)).map_err(|e| failed("unlockpt", e))?;
        let name = ptsname(&master, Vec::new()).map_err(|e| failed("ptsname", e))?;
        let name = name.to_str().map_err(|e| e.to_string())?.to_owned();
        let end = File::options().read(true).write(true).open(&name)?;
        if let Some((uid, gid)) = stage.scene.person().switch() {
            std::os::unix::fs::chown(&name, Some(uid), Some(gid))?;
        }
        let size = Winsize { ws_row: 24, ws_col: 80, ws_xpixel: 0, ws_ypixel: 0 };
        tcsetwinsize(&end, size).map_err(|e| failed("tcsetwinsize", e))?;
        let before = settings(&end)?;
        let child = start(stage, &end)?;
        let (terminal, end) = (File::from(master), end.into());
        let mut user = Self { terminal, end, child, before, heard: String::new(), upto: 0 };
        user.hear(PROMPT)?;
        Ok(user)
    }

    /// Types a line.
    pub(crate) fn say(&mut self, line: &str) -> Told {
        self.press(&format!("{line}\r"))
    }

    /// Presses keys.
    pub(crate) fn press(&mut self, keys: &str) -> Told {
        Ok(self.terminal.write_all(keys.as_bytes())?)
    }

    /// Waits for a word that comes after everything that was waited for before.
    pub(crate) fn hear(&mut self, word: &str) -> Told {
        let until = Instant::now() + PATIENCE;
        loop {
            let rest = self.heard.get(self.upto..).unwrap_or_default();
            if let Some(at) = rest.find(word) {
                self.upto += at + word.len();
                return Ok(());
            }
            if Instant::now() > until || !self.read()? {
                return Err(Stop::Fail(format!("{word:?} never came; on the screen is {:?}", self.heard)));
            }
        }
    }

    /// Waits until a guest of this name runs.
    pub(crate) fn wait_for(&self, stage: &Stage, name: &str) -> Told {
        let text = format!(
            "for i in $(seq 600); do pgrep -x {name} -a -s 0 >/dev/null; \
            for p in /proc/[0-9]*; do [ \"$(cat $p/comm 2>/dev/null)\" = {name} ] && \
            tr '\\0' '\\n' < $p/environ 2>/dev/null | grep -qxF 'HOME={{home}}' && exit 0; done; sleep 0.1; done; exit 1"
        );
        let ended = stage.plain(&["/bin/bash", "-c", &stage.scene.fill(&text)])?;
        crate::must(ended.code() == 0, || format!("{name} never ran: {:?}", self.heard))
    }

    /// Changes the size of the window.
    pub(crate) fn resize(&self, rows: u16, columns: u16) -> Told {
        let size = Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
        tcsetwinsize(&self.terminal, size).map_err(|e| Stop::Fail(format!("tcsetwinsize: {e}")))
    }

    /// Sends `stockade` a signal.
    pub(crate) fn signal(&self, stage: &Stage, signal: &str) -> Told {
        stage.plain(&["/bin/kill", &format!("-{signal}"), &self.child.id().to_string()]).map(drop)
    }

    /// Waits for the end.
    pub(crate) fn leave(mut self) -> Result<Left, Stop> {
        let until = Instant::now() + PATIENCE;
        let status = loop {
            self.read()?;
            if let Some(status) = self.child.try_wait()? {
                break status;
            }
            if Instant::now() > until {
                return Err(Stop::Fail(format!("it does not end; on the screen is {:?}", self.heard)));
            }
        };
        while self.read()? {}
        let code = status.code().or_else(|| status.signal().map(|signal| 128 + signal)).unwrap_or(-1);
        let after = settings(&self.end)?;
        let mut waiting = Vec::new();
        if readable(&self.end)? {
            let mut line = [0; 4096];
            let count = File::from(self.end.try_clone()?).read(&mut line)?;
            waiting.extend_from_slice(line.get(..count).unwrap_or_default());
        }
        let waiting = String::from_utf8_lossy(&waiting).into_owned();
        Ok(Left {
            code,
            heard: std::mem::take(&mut self.heard),
            before: std::mem::take(&mut self.before),
            after,
            waiting,
        })
    }

    /// Reads what is there, within a tenth of a second; false when there was nothing.
    fn read(&mut self) -> Result<bool, Stop> {
        let mut chunk = [0; 4096];
        for _ in 0..if self.child.try_wait()?.is_some() { 1 } else { 50 } {
            if readable(&self.terminal)? {
                let count = self.terminal.read(&mut chunk)?;
                self.heard.push_str(&String::from_utf8_lossy(chunk.get(..count).unwrap_or_default()));
                return Ok(count > 0);
            }
            if self.child.try_wait()?.is_some() {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

impl Drop for User {
    fn drop(&mut self) {
        // Only after a failure it still runs.
        if matches!(self.child.try_wait(), Ok(None)) {
            drop(self.child.kill());
            drop(self.child.wait());
        }
    }
}

fn readable(descriptor: &impl std::os::fd::AsFd) -> Result<bool, Stop> {
    let mut polled = [PollFd::new(descriptor, PollFlags::IN)];
    let wait = Timespec { tv_sec: 0, tv_nsec: 100_000_000 };
    let count = poll(&mut polled, Some(&wait)).map_err(|e| Stop::Fail(format!("poll: {e}")))?;
    Ok(count > 0 && polled[0].revents().contains(PollFlags::IN))
}

/// Everything that `stty` would show, as text.
fn settings(end: &impl std::os::fd::AsFd) -> Result<String, Stop> {
    tcgetattr(end).map(|settings| format!("{settings:?}")).map_err(|e| Stop::Fail(format!("tcgetattr: {e}")))
}

/// `setsid` makes the terminal the controlling one, which takes no unsafe code of ours.
fn start(stage: &Stage, end: &File) -> Result<Child, Stop> {
    let shell = ["/bin/bash", "--norc", "--noprofile", "-i"];
    let words = [
        &["/usr/bin/setsid", "--ctty", "{bin}/stockade", "run", "-q", "-t", "-w", "{ws}"][..],
        &["--env", "PS1=ready>", "--"],
        &shell,
    ]
    .concat();
    let mut program = stage.program(&words);
    program.environment.push(("TERM".into(), "xterm-256color".into()));
    #[expect(clippy::disallowed_methods, reason = "the tests' door to starting programs; a terminal is no pipe")]
    let mut command = Command::new(&program.argv[0]);
    command.args(&program.argv[1..]).current_dir(&program.directory).env_clear().envs(program.environment);
    command.stdin(end.try_clone()?).stdout(end.try_clone()?).stderr(end.try_clone()?);
    if let Some((uid, gid)) = program.person.switch() {
        command.uid(uid).gid(gid);
    }
    Ok(command.spawn()?)
}
