//! Signals to `stockade` are signals to the command, and its end is told as a shell tells it.
//! It never waits by the clock: the guest says when it is ready.

use std::io::{BufRead as _, BufReader, Read as _};
use stockade_tests::process::kill_group;
use stockade_tests::stage::{Stage, run_words};
use stockade_tests::story::{Stop, Story, Told, must};

/// Signal, number, whether the guest handles it.
const SENT: &[(&str, i32)] = &[("INT", 2), ("TERM", 15), ("HUP", 1), ("QUIT", 3)];

pub(crate) fn stories() -> Vec<Story> {
    let plain = SENT.iter().map(|(name, number)| {
        Story::new(format!("signals::{}_does_not_stop_at_stockade", name.to_lowercase()), move |stage| {
            // bash(1) itself ignores SIGQUIT; what says that it is ready must not.
            sent(stage, name, "exec /bin/sh -c 'echo ready; exec sleep 1000'", 128 + number, "")
        })
    });
    let handled = SENT.iter().map(|(name, _)| {
        Story::new(format!("signals::{}_is_not_decided_over_the_commands_head", name.to_lowercase()), move |stage| {
            let text = format!("trap 'echo handled {name}; exit 7' {name}; echo ready; while :; do sleep 0.05; done");
            sent(stage, name, &text, 7, &format!("handled {name}\n"))
        })
    });
    let others = [
        Story::new("signals::children_do_not_survive_a_term", |stage| {
            sent(stage, "TERM", "sleep 1000 & setsid sleep 1001 & echo ready; wait", 128 + 15, "")
        }),
        Story::new("signals::a_command_that_ignores_a_signal_is_not_ended_by_it", |stage| {
            sent(stage, "TERM", "trap '' TERM; echo ready; sleep 1; echo went on; exit 5", 5, "went on\n")
        }),
    ];
    plain.chain(handled).chain(others).collect()
}

/// Runs a text, sends a signal once it says that it is ready, and looks at its end.
fn sent(stage: &Stage, signal: &str, text: &str, code: i32, said: &str) -> Told {
    let words = run_words(&["--quiet"], &["/bin/bash", "-c", text]);
    let program = stage.program(&[&["{bin}/stockade"], &words[..]].concat());
    let mut child = program.start()?;
    drop(child.stdin.take());
    let out = child.stdout.take().ok_or_else(|| Stop::Fail("no output".to_owned()))?;
    let mut out = BufReader::new(out);
    let mut ready = String::new();
    out.read_line(&mut ready)?;
    let pid = child.id();
    stage.plain(&["/bin/kill", &format!("-{signal}"), &pid.to_string()])?;
    let (done, watched) = std::sync::mpsc::channel::<()>();
    let guard = std::thread::spawn(move || {
        // Only when the channel stays open: the test did not get to its end.
        if watched.recv_timeout(std::time::Duration::from_secs(60)) == Err(std::sync::mpsc::RecvTimeoutError::Timeout) {
            kill_group(pid);
        }
    });
    let mut rest = String::new();
    out.read_to_string(&mut rest)?;
    let status = child.wait()?;
    drop(done);
    guard.join().map_err(|_| Stop::Fail("the guard panicked".to_owned()))?;
    must(ready == "ready\n", || format!("the guest began with {ready:?}"))?;
    must(status.code() == Some(code), || format!("not {code} but {status}; it said {rest:?}"))?;
    must(rest == said, || format!("it said {rest:?} and not {said:?}"))?;
    must(stage.report()?.printed("exit") == code.to_string(), || "the report says otherwise".to_owned())?;
    stage.answers(0, &["verify", "last"]).map(drop)
}
