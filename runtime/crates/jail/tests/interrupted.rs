//! Signals that come while the recorder is told of a call.
//! It never looks at events: what counts is what the guest sees.

mod common;

use common::{Scratch, again_as_ordinary_user, again_below_a_listener, collect, command, plan, start};
use stockade_jail::{Status, Stdio};

#[test]
fn as_an_ordinary_user() {
    again_as_ordinary_user("as_an_ordinary_user");
}

#[test]
fn where_the_recorder_traces_it_is_the_same() {
    again_below_a_listener(&["--skip", "as_an_ordinary_user", "--skip", "where_the_recorder_traces"]);
}

#[test]
fn a_background_job_that_ends_interrupts_no_shell() {
    // A shell's handler for the end of a child does not restart calls. Starting and ending processes is not told of.
    check("(exit 0) & (exit 0) & i=$((i+1))");
}

#[test]
#[ignore = "the kernel lets a signal interrupt a call until the recorder has received it (seccomp_unotify(2)); for a handler \
            without SA_RESTART that is EINTR"]
fn a_background_job_that_ends_interrupts_no_open() {
    check("(exit 0) & (exit 0) & : > /w/$i; i=$((i+1))");
}

#[track_caller]
fn check(body: &str) {
    let scratch = Scratch::new();
    let mut sandbox = start(&plan(scratch.path()));
    let events = sandbox.take_recorder().expect("a mapping").expect("a recorder");
    let line = format!("trap : CHLD; i=0; while [ $i -lt 300 ]; do {body}; done; wait; exit 7");
    let running = sandbox.spawn(&command(&["sh", "-c", &line]), Stdio::Pipes).expect("it starts");
    // Nobody takes the events: the guest goes on all the same.
    drop(events);
    let output = collect(running).expect("it runs");
    assert_eq!((output.ended.status, output.text()), (Status::Exited(7), String::new()));
}
