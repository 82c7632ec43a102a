//! Starts programs for the tests, with a time limit, and collects what they say.
//! It never lets one outlive its limit, and never passes its own environment on.

use std::ffi::OsString;
use std::io::{self, Read, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::people::Person;

/// Most bytes of an output stream that a test keeps.
pub const OUTPUT_BYTES_MAX: usize = 64 * 1024 * 1024;

/// A program that a test starts.
#[derive(Debug, Clone)]
pub struct Program {
    /// Program and arguments.
    pub argv: Vec<OsString>,
    /// Working directory.
    pub directory: PathBuf,
    /// The whole environment.
    pub environment: Vec<(OsString, OsString)>,
    /// As whom.
    pub person: Person,
    /// What it reads.
    pub input: Vec<u8>,
    /// Killed after this.
    pub limit: Duration,
}

/// How a program ended and what it said.
#[derive(Debug, Clone)]
pub struct Ended {
    /// Exit status.
    pub status: ExitStatus,
    /// Standard output.
    pub out: Vec<u8>,
    /// Standard error.
    pub err: Vec<u8>,
    /// It ran into our time limit.
    pub late: bool,
    /// How long it took.
    pub took: Duration,
}

impl Ended {
    /// Exit code as a shell gives it: 128 + n for signal n.
    pub fn code(&self) -> i32 {
        self.status.code().or_else(|| self.status.signal().map(|signal| 128 + signal)).unwrap_or(-1)
    }

    /// Standard output as text.
    pub fn out(&self) -> String {
        String::from_utf8_lossy(&self.out).into_owned()
    }

    /// Standard error as text.
    pub fn err(&self) -> String {
        String::from_utf8_lossy(&self.err).into_owned()
    }

    /// Everything that matters about it, for a failure message.
    pub fn told(&self) -> String {
        let late = if self.late { " (killed: over the test's time limit)" } else { "" };
        let cut = |text: String| text.chars().take(4_000).collect::<String>();
        format!("exit {}{late}\n--- stdout\n{}\n--- stderr\n{}", self.code(), cut(self.out()), cut(self.err()))
    }
}

impl Program {
    fn command(&self) -> io::Result<Command> {
        let program = self.argv.first().ok_or_else(|| io::Error::other("empty command"))?;
        #[expect(clippy::disallowed_methods, reason = "the tests' door to starting programs")]
        let mut command = Command::new(program);
        command.args(self.argv.iter().skip(1)).current_dir(&self.directory).env_clear();
        command.envs(self.environment.iter().map(|(name, value)| (name, value))).process_group(0);
        if let Some((uid, gid)) = self.person.switch() {
            command.uid(uid).gid(gid);
        }
        Ok(command)
    }

    /// Starts it with a pipe on each stream and leaves it running.
    ///
    /// # Errors
    /// The system's, when it cannot be started.
    pub fn start(&self) -> io::Result<Child> {
        self.command()?.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()
    }

    /// Runs it to its end or its limit.
    ///
    /// # Errors
    /// The system's, when it cannot be started.
    pub fn run(&self) -> io::Result<Ended> {
        let begun = Instant::now();
        let mut child = self.start()?;
        let out = collect(child.stdout.take());
        let err = collect(child.stderr.take());
        let input = self.input.clone();
        let feeder = child.stdin.take().map(|mut stdin| {
            // A program that does not read its input closes the pipe; that is its right.
            std::thread::spawn(move || drop(stdin.write_all(&input)))
        });
        let (status, late) = wait(&mut child, begun + self.limit)?;
        if late {
            kill_group(child.id());
        }
        let took = begun.elapsed();
        let ended = Ended { status, out: joined(out, late), err: joined(err, late), late, took };
        if let Some(feeder) = feeder
            && !late
        {
            feeder.join().map_err(|_| io::Error::other("input thread panicked"))?;
        }
        Ok(ended)
    }
}

/// Ends a process and the group that it leads; used for what a test started itself and nothing else.
pub fn kill_group(pid: u32) {
    signal_group("-KILL", pid);
}

/// Asks a process that a test started, and the group that it leads, to end; kills what does not within the time given.
pub fn end_group(child: &mut Child, limit: Duration) {
    signal_group("-TERM", child.id());
    let until = Instant::now() + limit;
    while matches!(child.try_wait(), Ok(None)) && Instant::now() < until {
        std::thread::sleep(Duration::from_millis(2));
    }
    kill_group(child.id());
}

fn signal_group(signal: &str, pid: u32) {
    #[expect(clippy::disallowed_methods, reason = "the tests' door to starting programs; std cannot signal a group")]
    let sent = Command::new("/bin/kill").args([signal, "--", &format!("-{pid}")]).stderr(Stdio::null()).status();
    // A group that has already gone is what we want.
    drop(sent);
}

fn wait(child: &mut Child, until: Instant) -> io::Result<(ExitStatus, bool)> {
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok((status, false));
        }
        if Instant::now() >= until {
            child.kill()?;
            return Ok((child.wait()?, true));
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}

fn collect(stream: Option<impl Read + Send + 'static>) -> JoinHandle<Vec<u8>> {
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        if let Some(stream) = stream {
            let most = u64::try_from(OUTPUT_BYTES_MAX).expect("64 MiB fit");
            // What was read before an error is kept: the stream of a killed program may end with one.
            drop(stream.take(most).read_to_end(&mut bytes));
        }
        bytes
    })
}

/// What a collector read. After a kill a stray descendant may still hold the pipe, so the wait has an end.
fn joined(collector: JoinHandle<Vec<u8>>, late: bool) -> Vec<u8> {
    let until = Instant::now() + Duration::from_secs(if late { 2 } else { 20 });
    while !collector.is_finished() && Instant::now() < until {
        std::thread::sleep(Duration::from_millis(1));
    }
    if collector.is_finished() { collector.join().unwrap_or_default() } else { b"(stream still held open)".to_vec() }
}

/// Whether a program is somewhere in this search path.
pub fn found_in(path: &str, program: &str) -> Option<PathBuf> {
    path.split(':').map(|directory| Path::new(directory).join(program)).find(|candidate| candidate.is_file())
}
