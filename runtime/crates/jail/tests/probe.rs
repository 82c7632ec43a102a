//! The examination of this machine, its experiments carried out in processes of their own.
//! It never checks what a machine must have: only that what was found agrees with itself.
#![expect(clippy::disallowed_methods, reason = "tests start processes and read how they were started")]
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]
#![expect(clippy::print_stdout, reason = "this test runs without the harness that would allow it")]

use std::process::Command;
use stockade_jail::enforced::{Grade, Layer, State};
use stockade_jail::probe::{Experiment, Observation, Subject, examine, grade, in_helper};

/// Without the test harness, which has threads: experiments need a process with one.
fn main() {
    // What a runner of tests asks before it runs any: there is one, and none is ignored.
    if std::env::args().any(|argument| argument == "--list") {
        if !std::env::args().any(|argument| argument == "--ignored") {
            println!("what_is_found_agrees_with_itself: test");
        }
        return;
    }
    match std::env::var("JAIL_EXPERIMENT") {
        Ok(index) => {
            let experiment = Experiment::ALL[index.parse::<usize>().unwrap()];
            println!("{}", serde_json::to_string(&in_helper(experiment)).unwrap());
        }
        Err(_) => {
            what_is_found_agrees_with_itself();
            // This program has no harness, since it is re-executed; who counts tests counts this line.
            println!("test result: ok. 1 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out");
        }
    }
}

fn run(experiment: Experiment) -> Observation {
    let index = Experiment::ALL.iter().position(|one| *one == experiment).unwrap();
    let output =
        Command::new(std::env::current_exe().unwrap()).env("JAIL_EXPERIMENT", index.to_string()).output().unwrap();
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"))
}

fn what_is_found_agrees_with_itself() {
    let before = std::fs::read_link("/proc/self/ns/user").unwrap();
    let findings = examine("/usr/bin/stockade", &mut run);
    for finding in &findings {
        println!(
            "{:<20} {:<40} {} {}",
            finding.subject,
            finding.state,
            finding.detail,
            finding.fix.as_deref().unwrap_or("")
        );
        // What is whole needs no mending.
        assert!(finding.fix.is_none() || finding.state != State::Active, "{finding:?}");
    }
    let state = |subject| findings.iter().find(|finding| finding.subject == subject).unwrap().state.clone();
    let user = state(Subject::Layer(Layer::UserNamespace));
    assert_eq!(
        grade(&findings) == Grade::Full,
        user == State::Active && state(Subject::Layer(Layer::Root)) == State::Active
    );
    assert_eq!(std::fs::read_link("/proc/self/ns/user").unwrap(), before, "an experiment ran in this process");
}
