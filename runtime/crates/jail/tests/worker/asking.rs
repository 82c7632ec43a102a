//! The supervisor's side of these tests: asking workers for things, and what came of it.
//! It never takes an answer for granted: a worker that ended instead is an error of the test.
#![allow(dead_code, reason = "each test binary uses a part of this")]

use crate::inside;
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags};
use std::time::Duration;
use stockade_jail::enforced::{Layer, State};
use stockade_jail::{Kind, Sandbox, Worker};

/// Called by the loader, as the init of `common` is.
#[used]
#[unsafe(link_section = ".init_array")]
static WORKER: extern "C" fn() = worker;

extern "C" fn worker() {
    stockade_jail::run_as_worker_if_asked(inside::serve);
}

pub(crate) const SOON: Duration = Duration::from_secs(10);

#[track_caller]
pub(crate) fn worker_of(sandbox: &Sandbox, kind: Kind) -> Worker {
    match sandbox.worker(kind) {
        Ok(worker) => worker,
        Err(error) => panic!("{error}; {error:?}"),
    }
}

/// Asks a worker for something: what it answers, or the error number. A worker that ended is an error of the test.
#[track_caller]
pub(crate) fn ask(worker: &Worker, words: &[&str]) -> Result<String, Errno> {
    match try_ask(worker, words) {
        Some(answer) => answer,
        None => panic!("{words:?}: {:?}", worker.wait(SOON)),
    }
}

pub(crate) fn try_ask(worker: &Worker, words: &[&str]) -> Option<Result<String, Errno>> {
    let channel = worker.channel().expect("nobody took it");
    rustix::net::send(channel, words.join("\u{1f}").as_bytes(), SendFlags::NOSIGNAL).ok()?;
    let mut bytes = vec![0; 1 << 16];
    let (length, _) = rustix::net::recv(channel, &mut bytes, RecvFlags::empty()).ok()?;
    let text = std::str::from_utf8(&bytes[..length]).expect("text");
    let (how, rest) = text.split_once(' ')?;
    Some(match how {
        "ok" => Ok(rest.to_owned()),
        _ => Err(Errno::from_raw_os_error(rest.parse().expect("a number"))),
    })
}

#[track_caller]
pub(crate) fn does(worker: &Worker, words: &[&str]) -> String {
    match ask(worker, words) {
        Ok(answer) => answer,
        Err(errno) => panic!("{words:?}: {errno}"),
    }
}

#[track_caller]
pub(crate) fn refused(worker: &Worker, words: &[&str], by: &[Errno]) {
    match ask(worker, words) {
        Ok(answer) => panic!("{words:?} was done: {answer}"),
        Err(errno) => assert!(by.contains(&errno), "{words:?}: {errno}, not one of {by:?}"),
    }
}

pub(crate) fn layer(worker: &Worker, wanted: Layer) -> State {
    worker.layers().iter().find(|state| state.layer == wanted).expect("every layer is reported").state.clone()
}

pub(crate) fn layer_of(sandbox: &Sandbox, wanted: Layer) -> State {
    let state = sandbox.enforced().layers.iter().find(|state| state.layer == wanted);
    state.expect("every layer is reported").state.clone()
}

/// Runs one of the ignored tests in a process of its own; what it printed.
#[track_caller]
#[expect(clippy::disallowed_methods, reason = "a control is a process without a wall")]
pub(crate) fn outside_test(test: &str, attack: &str) -> String {
    let output = std::process::Command::new(std::env::current_exe().expect("a running test has a file"))
        .args(["--ignored", "--exact", test, "--nocapture"])
        .env("JAIL_ATTACK", attack)
        .output()
        .expect("we run ourselves");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{test} {attack}: {text}{}", String::from_utf8_lossy(&output.stderr));
    text
}

#[track_caller]
pub(crate) fn compiler() -> Worker {
    match Worker::compiler() {
        Ok(worker) => worker,
        Err(error) => panic!("{error}; {error:?}"),
    }
}

pub(crate) fn alive(pid: u32) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| !stat.contains(") Z "))
}
