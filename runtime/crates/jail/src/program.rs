//! Runs one program of the host for its answer: no shell, a minimal environment, bounded output, a deadline.
//! It never runs anything that a guest or a project chose: its caller has the path from the operator.

use crate::error::{Fault, JailError};
use crate::locked::LockedBytes;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Pid, WaitId, WaitIdOptions, waitid};
use std::ffi::OsString;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Child, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// Most of its standard error that is kept, bytes; the rest is read and dropped.
const STDERR_BYTES_MAX: usize = 4096;

/// What to run.
#[derive(Debug)]
pub struct HostProgram {
    /// Absolute path.
    pub program: PathBuf,
    /// Its arguments.
    pub arguments: Vec<OsString>,
    /// Its whole environment.
    pub environment: Vec<(OsString, OsString)>,
    /// What it reads on standard input.
    pub input: Vec<u8>,
    /// Most that it may write on standard output, bytes.
    pub output_bytes_max: usize,
    /// Longest that it may take.
    pub timeout: Duration,
}

/// How it ended.
#[derive(Debug)]
pub struct HostAnswer {
    /// Its status.
    pub status: ExitStatus,
    /// What it wrote on standard output: it may be a key.
    pub output: Answered,
    /// The start of what it wrote on standard error.
    pub errors: Vec<u8>,
}

/// Bytes that may hold a key.
#[derive(Debug)]
pub struct Answered {
    held: LockedBytes,
    len: usize,
}

impl Answered {
    /// The bytes.
    pub fn as_slice(&self) -> &[u8] {
        self.held.as_slice().get(..self.len).expect("`len` counts what was read into `held`")
    }
}

/// Runs a program to its end, and ends its whole process group with it.
///
/// # Errors
/// Operator: it is not an absolute path, is not there, cannot be executed, writes too much or takes too long.
/// Host: a pipe failed.
pub fn run_host_program(wanted: HostProgram) -> Result<HostAnswer, JailError> {
    let named = wanted.program.display().to_string();
    if !wanted.program.is_absolute() {
        return Err(JailError::host("run", named).fault(Fault::Operator).hint("give the program's absolute path"));
    }
    // Made before anything starts: a program whose answer has no room must not run.
    let held = LockedBytes::zeroed(wanted.output_bytes_max.saturating_add(1))?;
    let mut run = Run { child: spawn(&wanted)?, named, deadline: Instant::now() + wanted.timeout, ended: None };
    let (output, errors) = run.talk(&wanted, held)?;
    let status = run.wait()?;
    Ok(HostAnswer { status, output, errors })
}

/// A descriptor that this process was started with, by its number, for reading a key from it. No program that is started
/// later gets it.
///
/// # Errors
/// Operator: it is not open.
pub fn inherited_descriptor(number: u32) -> Result<OwnedFd, JailError> {
    let fail = |errno: Errno| {
        JailError::os("use", format!("descriptor {number}"), errno.raw_os_error()).fault(Fault::Operator)
    };
    let raw = i32::try_from(number).map_err(|_| fail(Errno::BADF))?;
    // SAFETY: the borrow ends with this function, and fcntl(2) is all that is done with it: it answers EBADF if the
    // number is not open, and copies the reference if it is. Who owns the number keeps it.
    let inherited = unsafe { BorrowedFd::borrow_raw(raw) };
    rustix::io::fcntl_setfd(inherited, rustix::io::FdFlags::CLOEXEC).map_err(fail)?;
    rustix::io::fcntl_dupfd_cloexec(inherited, 3).map_err(fail)
}

#[expect(clippy::disallowed_methods, reason = "the door to programs of the operator's choice that hand out keys")]
fn spawn(wanted: &HostProgram) -> Result<Child, JailError> {
    let mut command = std::process::Command::new(&wanted.program);
    command.args(&wanted.arguments).env_clear().envs(wanted.environment.iter().map(|(name, value)| (name, value)));
    // A group of its own, so that what it started ends with it.
    command.process_group(0).current_dir("/");
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.spawn().map_err(|error| {
        JailError::io("run", wanted.program.display().to_string(), &error)
            .fault(Fault::Operator)
            .hint("check that the program is there and executable")
    })
}

/// A program that runs. Dropping it kills its group and reaps it.
struct Run {
    child: Child,
    named: String,
    deadline: Instant,
    ended: Option<ExitStatus>,
}

impl Run {
    /// Writes the input and reads both outputs until they close.
    fn talk(&mut self, wanted: &HostProgram, mut held: LockedBytes) -> Result<(Answered, Vec<u8>), JailError> {
        let mut stdin = self.child.stdin.take();
        let mut stdout = self.child.stdout.take();
        let mut stderr = self.child.stderr.take();
        for pipe in
            [stdin.as_ref().map(AsFd::as_fd), stdout.as_ref().map(AsFd::as_fd), stderr.as_ref().map(AsFd::as_fd)]
                .into_iter()
                .flatten()
        {
            rustix::io::ioctl_fionbio(pipe, true).map_err(|errno| self.failed("prepare a pipe to", errno))?;
        }
        let (mut written, mut read, mut errors) = (0, 0, Vec::new());
        while stdout.is_some() || stderr.is_some() {
            // An empty rest closes the input: that is how the program knows that it has all of it.
            let rest = wanted.input.get(written..).unwrap_or_default();
            stdin = stdin.filter(|_| !rest.is_empty());
            let ready = self.wait_ready([
                stdin.as_ref().map(AsFd::as_fd),
                stdout.as_ref().map(AsFd::as_fd),
                stderr.as_ref().map(AsFd::as_fd),
            ])?;
            if let (Some(pipe), [true, _, _]) = (&stdin, ready) {
                match rustix::io::write(pipe, rest) {
                    Ok(count) => written += count,
                    Err(Errno::AGAIN | Errno::INTR) => {}
                    // It does not want to hear it: whether that is a fault, its status says.
                    Err(Errno::PIPE) => stdin = None,
                    Err(errno) => return Err(self.failed("write to", errno)),
                }
            }
            if let (Some(pipe), [_, true, _]) = (&stdout, ready) {
                let room = held.as_mut_slice().get_mut(read..).unwrap_or_default();
                match self.read(pipe.as_fd(), room)? {
                    Some(0) => stdout = None,
                    Some(count) => read += count,
                    None => {}
                }
                if read > wanted.output_bytes_max {
                    return Err(JailError::host("take the output of", self.named.clone())
                        .fault(Fault::Operator)
                        .hint(format!("it may write at most {} bytes", wanted.output_bytes_max)));
                }
            }
            if let (Some(pipe), [_, _, true]) = (&stderr, ready) {
                let mut room = [0; STDERR_BYTES_MAX];
                match self.read(pipe.as_fd(), &mut room)? {
                    Some(0) => stderr = None,
                    Some(count) => errors.extend(room.iter().take(count)),
                    None => {}
                }
                errors.truncate(STDERR_BYTES_MAX);
            }
        }
        Ok((Answered { held, len: read }, errors))
    }

    /// Which of them can be used without waiting; a closed end counts, since reading tells.
    fn wait_ready(&self, pipes: [Option<BorrowedFd<'_>>; 3]) -> Result<[bool; 3], JailError> {
        let left = self.deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(self.late());
        }
        let events = [PollFlags::OUT, PollFlags::IN, PollFlags::IN];
        let mut places = Vec::new();
        let mut asked = Vec::new();
        for (place, (pipe, events)) in pipes.into_iter().zip(events).enumerate() {
            if let Some(pipe) = pipe {
                places.push(place);
                asked.push(PollFd::from_borrowed_fd(pipe, events));
            }
        }
        let timeout = Timespec::try_from(left).ok();
        match poll(&mut asked, timeout.as_ref()) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(errno) => return Err(self.failed("wait for", errno)),
        }
        let mut ready = [false; 3];
        for (place, fd) in places.into_iter().zip(&asked) {
            if let Some(ready) = ready.get_mut(place) {
                *ready = !fd.revents().is_empty();
            }
        }
        Ok(ready)
    }

    fn read(&self, pipe: BorrowedFd<'_>, room: &mut [u8]) -> Result<Option<usize>, JailError> {
        match rustix::io::read(pipe, room) {
            Ok(count) => Ok(Some(count)),
            Err(Errno::AGAIN | Errno::INTR) => Ok(None),
            Err(errno) => Err(self.failed("read from", errno)),
        }
    }

    /// Waits for its status: outputs can close before the end.
    fn wait(&mut self) -> Result<ExitStatus, JailError> {
        while !self.is_over()? {
            if Instant::now() >= self.deadline {
                return Err(self.late());
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        self.end_group();
        let status = self.child.wait().map_err(|error| JailError::io("wait for", self.named.clone(), &error))?;
        self.ended = Some(status);
        Ok(status)
    }

    /// Whether it ended; it is not reaped by this, so that its number, and its group's, stays its own.
    fn is_over(&self) -> Result<bool, JailError> {
        let Some(pid) = self.pid() else { return Ok(true) };
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        match waitid(WaitId::Pid(pid), options) {
            Ok(status) => Ok(status.is_some()),
            Err(errno) => Err(self.failed("wait for", errno)),
        }
    }

    /// Ends it and what it started. What cannot be ended this way is gone already.
    fn end_group(&self) {
        if let Some(group) = self.pid() {
            match rustix::process::kill_process_group(group, rustix::process::Signal::KILL) {
                Ok(()) | Err(_) => {}
            }
        }
    }

    fn pid(&self) -> Option<Pid> {
        i32::try_from(self.child.id()).ok().and_then(Pid::from_raw)
    }

    fn failed(&self, act: &str, errno: Errno) -> JailError {
        JailError::os(act, self.named.clone(), errno.raw_os_error())
    }

    fn late(&self) -> JailError {
        JailError::host("wait for", self.named.clone()).fault(Fault::Operator).hint("it took too long, and was ended")
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        if self.ended.is_none() {
            self.end_group();
            drop(self.child.wait());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn program(script: &str, input: &[u8]) -> HostProgram {
        HostProgram {
            program: "/bin/sh".into(),
            arguments: vec!["-c".into(), script.into()],
            environment: vec![("PATH".into(), "/usr/bin:/bin".into())],
            input: input.to_vec(),
            output_bytes_max: 100_000,
            timeout: Duration::from_secs(20),
        }
    }

    #[test]
    fn a_program_reads_all_and_answers_all() {
        let input = vec![b'x'; 90_000];
        let answer = run_host_program(program("cat; echo told >&2; exit 3", &input)).expect("it runs");
        assert_eq!(answer.output.as_slice(), input);
        assert_eq!((answer.errors.as_slice(), answer.status.code()), (&b"told\n"[..], Some(3)));
    }

    #[test]
    fn a_program_sees_no_other_environment() {
        let answer =
            run_host_program(program("/usr/bin/env | cut -d= -f1 | grep -v '^_' | sort | tr '\\n' ' '; pwd", b""))
                .expect("it runs");
        assert_eq!(String::from_utf8_lossy(answer.output.as_slice()), "PATH PWD /\n");
    }

    #[test]
    fn what_says_too_much_takes_too_long_or_is_not_there_is_refused() {
        let refused = |wanted: HostProgram| {
            let error = run_host_program(wanted).expect_err("it is refused");
            assert_eq!(error.fault, Fault::Operator, "{error}");
            format!("{error}: {}", error.hint.as_deref().unwrap_or_default())
        };
        let endless = refused(program("yes", b""));
        assert_eq!(endless, "cannot take the output of \"/bin/sh\": it may write at most 100000 bytes");
        let late = HostProgram { timeout: Duration::from_millis(100), ..program("sleep 60 & sleep 60", b"") };
        let began = Instant::now();
        assert_eq!(refused(late), "cannot wait for \"/bin/sh\": it took too long, and was ended");
        assert!(began.elapsed() < Duration::from_secs(30), "its whole group was ended");
        let relative = HostProgram { program: "sh".into(), ..program("", b"") };
        assert_eq!(refused(relative), "cannot run \"sh\": give the program's absolute path");
        let missing = HostProgram { program: "/nowhere/sh".into(), ..program("", b"") };
        assert!(refused(missing).starts_with("cannot run \"/nowhere/sh\": no such file or directory"));
    }
}
