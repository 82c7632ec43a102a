//! Calls with a terminal: size, job control, keys that are signals.
//! It never touches the terminal that the tests run in.

mod common;

use common::{Scratch, again_as_ordinary_user, again_below_a_listener, command, plan, start};
use std::fs::File;
use std::io::{Read as _, Write as _};
use std::time::{Duration, Instant};
use stockade_jail::{Running, Sandbox, Status, Stdio};

#[test]
fn as_an_ordinary_user() {
    again_as_ordinary_user("as_an_ordinary_user");
}

#[test]
fn where_the_recorder_traces_it_is_the_same() {
    again_below_a_listener(&["--skip", "as_an_ordinary_user", "--skip", "where_the_recorder_traces"]);
}

/// Somebody at a terminal.
struct Typist {
    running: Running,
    master: File,
    seen: String,
}

impl Typist {
    fn at(sandbox: &Sandbox, argv: &[&str]) -> Self {
        let mut call = command(argv);
        call.env.push((common::c("PS1"), common::c("> ")));
        call.env.push((common::c("TERM"), common::c("dumb")));
        let running = sandbox.spawn(&call, Stdio::Pty { rows: 33, columns: 99 }).expect("a terminal opens");
        let master = running.terminal().expect("a terminal").try_clone_to_owned().expect("a descriptor is left");
        Self { running, master: File::from(master), seen: String::new() }
    }

    fn types(&mut self, text: &str) {
        self.master.write_all(text.as_bytes()).expect("the terminal is open");
    }

    /// Reads until this appears; what came before is forgotten.
    #[track_caller]
    fn sees(&mut self, text: &str) {
        let until = Instant::now() + Duration::from_secs(10);
        let mut buffer = [0; 4096];
        loop {
            if let Some(at) = self.seen.find(text) {
                self.seen.drain(..at + text.len());
                return;
            }
            let left = until.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "no {text:?} in {:?}", self.seen);
            let mut fds = [rustix::event::PollFd::new(&self.master, rustix::event::PollFlags::IN)];
            let limit = rustix::event::Timespec::try_from(left).expect("ten seconds");
            if rustix::event::poll(&mut fds, Some(&limit)).expect("a poll") > 0 {
                let count = self.master.read(&mut buffer).unwrap_or(0);
                assert!(count > 0, "closed without {text:?}: {:?}", self.seen);
                self.seen.push_str(&String::from_utf8_lossy(&buffer[..count]));
            }
        }
    }
}

#[test]
fn a_terminal_has_its_size_and_is_the_controlling_one() {
    let scratch = Scratch::new();
    let sandbox = start(&plan(scratch.path()));
    let line = "trap 'stty size; exit 4' WINCH; tty; stty size; echo x > /dev/tty; while :; do sleep 0.01; done";
    let mut typist = Typist::at(&sandbox, &["sh", "-c", line]);
    typist.sees("/dev/pts/0");
    typist.sees("33 99");
    typist.sees("x");
    typist.running.resize(44, 111).expect("it is open");
    typist.sees("44 111");
    assert_eq!(typist.running.wait().expect("it ends").status, Status::Exited(4));
}

#[test]
fn an_interactive_shell_has_job_control() {
    let scratch = Scratch::new();
    let sandbox = start(&plan(scratch.path()));
    let mut typist = Typist::at(&sandbox, &["bash", "--norc", "--noediting", "-i"]);
    typist.sees("> ");
    typist.types("sleep 100\n");
    typist.sees("sleep 100");
    std::thread::sleep(Duration::from_millis(200));
    typist.types("\x1a");
    typist.sees("Stopped");
    typist.types("bg; jobs; echo after-bg\n");
    typist.sees("Running");
    typist.sees("after-bg\r\n");
    typist.types("fg\n");
    typist.sees("sleep 100");
    std::thread::sleep(Duration::from_millis(200));
    typist.types("\x03");
    typist.types("echo code $?\n");
    typist.sees("code 130");
    typist.types("exit 5\n");
    assert_eq!(typist.running.wait().expect("it ends").status, Status::Exited(5));
}

#[test]
fn a_signal_goes_to_the_foreground_and_not_to_the_shell() {
    let scratch = Scratch::new();
    let sandbox = start(&plan(scratch.path()));
    let mut typist = Typist::at(&sandbox, &["bash", "--norc", "--noediting", "-i"]);
    typist.sees("> ");
    typist.types("sleep 100\n");
    typist.sees("sleep 100");
    std::thread::sleep(Duration::from_millis(200));
    typist.running.signal(15).expect("it runs");
    typist.types("echo code $?\n");
    typist.sees("code 143");
    drop(typist);
}

#[test]
fn two_terminals_are_two() {
    let scratch = Scratch::new();
    let sandbox = start(&plan(scratch.path()));
    let mut first = Typist::at(&sandbox, &["sh", "-c", "tty; read line; echo got $line"]);
    let mut second = Typist::at(&sandbox, &["sh", "-c", "tty; read line; echo got $line"]);
    first.sees("/dev/pts/0");
    second.sees("/dev/pts/1");
    second.types("two\n");
    first.types("one\n");
    first.sees("got one");
    second.sees("got two");
    assert_eq!(first.running.wait().expect("it ends").status, Status::Exited(0));
    assert_eq!(second.running.wait().expect("it ends").status, Status::Exited(0));
}
