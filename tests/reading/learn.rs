//! A profile that is learned from a run lets the same run pass, and little else.
//! It never takes a profile for learned whose reasons nobody has written.

use std::fs;
use stockade_tests::people::{Person, everybody};
use stockade_tests::stage::Stage;

/// Each command, and a file that it has no business with.
const COMMANDS: [&str; 4] = [
    "cat in.txt && sort in.txt | uniq -c > out/sorted && cp out/sorted out/again && rm out/again && cat out/sorted",
    "mkdir -p out/deep/deeper && for n in 1 2 3 4 5 6 7 8; do echo $n > out/deep/deeper/$n; done && ls out/deep/deeper",
    "./script.sh; echo $?",
    "printf x >> in.txt; wc -c < in.txt",
];

fn stage(person: Person) -> Stage {
    let stage = Stage::new(person).expect("a stage");
    stage.scene.file("{ws}/in.txt", "b\na\nb\n").expect("written");
    stage
        .scene
        .file_with_mode("{ws}/script.sh", "#!/bin/sh\necho from a script > out/said; cat out/said\n", 0o755)
        .expect("written");
    stage.scene.folder("{ws}/out").expect("made");
    stage.scene.folder("{ws}/other").expect("made");
    stage
}

/// The lines of a profile but those that name the session.
fn lasting(text: &str) -> String {
    text.lines().filter(|line| !line.contains("in session")).collect::<Vec<_>>().join("\n")
}

#[test]
fn a_learned_profile_lets_the_run_pass_and_refuses_what_it_did_not_do() {
    let (people, _) = everybody();
    for person in people {
        for command in COMMANDS {
            let stage = stage(person);
            let learn =
                |file: &str| stage.stockade(&["profile", "learn", "-w", "{ws}", "-o", file, "--", "sh", "-c", command]);
            let learned = learn("{home}/one.toml").expect("it starts");
            assert_eq!(learned.code(), 0, "{command}: {}", learned.told());
            learn("{home}/two.toml").expect("it starts");
            let text = stage.text("{home}/one.toml");
            assert_eq!(lasting(&text), lasting(&stage.text("{home}/two.toml")), "the same run gives the same profile");
            let blanks = text.matches("reason = \"\"").count();
            assert!(blanks > 0, "{text}");
            let refused = stage.stockade(&["profile", "check", "{home}/one.toml"]).expect("it starts");
            assert_eq!(
                (refused.code(), refused.err().matches("reason is empty").count()),
                (1, blanks),
                "{}",
                refused.told()
            );

            fs::write(stage.scene.path("{home}/filled.toml"), text.replace("reason = \"\"", "reason = \"because\""))
                .expect("written");
            let checked = stage.stockade(&["profile", "check", "{home}/filled.toml"]).expect("it starts");
            assert_eq!(checked.code(), 0, "{}\n{text}", checked.told());
            let run = |command: &str| {
                let words =
                    ["run", "-q", "-w", "{ws}", "-m", "discard", "-p", "{home}/filled.toml", "--", "sh", "-c", command];
                stage.stockade(&words).expect("it starts")
            };
            let again = run(command);
            assert_eq!((again.code(), again.out()), (0, learned.out()), "{command}: {}\n{text}", again.told());
            let more = run("echo x > other/x");
            assert_ne!(more.code(), 0, "{command}: what it did not write, it may not write:\n{text}");
        }
    }
}

#[test]
fn a_command_that_does_not_run_is_not_learned_from() {
    let stage = stage(Person::myself());
    let ended =
        stage.stockade(&["profile", "learn", "-w", "{ws}", "--", "/usr/bin/no-such-program"]).expect("it starts");
    assert_ne!(ended.code(), 0, "{}", ended.told());
    assert!(ended.err().contains("hint: "), "{}", ended.told());
    let name =
        stage.stockade(&["profile", "learn", "--name", "No Name", "-w", "{ws}", "--", "true"]).expect("it starts");
    assert!(name.err().contains("not a profile name"), "{}", name.told());
}
