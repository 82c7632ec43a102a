//! What really happened, from the outside: work of every kind leaves a log in which nothing is unexplained.
//! It never judges by what a command says of itself; `verify` and the records say it.

use stockade_tests::stage::Stage;
use stockade_tests::story::{Story, Told, must, same};

/// Name, how the workspace is used, what is done in it, and words of the log that it must have.
type Work = (&'static str, &'static str, &'static str, &'static [&'static str]);

const WORK: &[Work] = &[
    (
        "names_and_directories",
        "review",
        "mkdir -p a/b; touch a/b/c; mv a d; ln -s d l; touch l/b/x; rm -r d/b; mkdir l/../e",
        &[r#""op":"rename""#, r#""path":"d/b/x""#, r#""path":"e""#],
    ),
    (
        "names_and_directories_in_place",
        "direct",
        "mkdir -p a/b; touch a/b/c; mv a d; ln -s d l; touch l/b/x; rm -r d/b; mkdir l/../e",
        &[r#""op":"rename""#, r#""path":"d/b/x""#, r#""path":"e""#],
    ),
    (
        "properties",
        "direct",
        "echo one > f; ln -s f l; chmod 600 l; truncate -s 9 f; ln f g; echo two >> g; cat f",
        &[r#""op":"chmod","path":"f""#, r#""op":"link""#, r#""op":"truncate""#],
    ),
    ("other_names_of_a_file", "direct", "echo more >> twin", &[r#""path":"twin""#, r#""path":"host""#, r#""ino":["#]),
    (
        "pipelines_and_exits",
        "review",
        "seq 9 | sort -r | head -1 > out; /bin/false; (exit 7); sh -c 'kill -9 $$'; true",
        &[r#""cause":"signal","status":9"#, r#""cause":"exit","status":7"#, r#""cause":"exit","status":1"#],
    ),
    (
        "daemons",
        "review",
        "setsid sh -c 'sleep 0.1; echo d > d' & setsid sleep 1000 & sleep 0.3; echo out",
        &[r#""path":"d""#],
    ),
    ("repeats", "review", "for i in $(seq 40); do echo $i >> log; done; wc -l < log", &[r#""times":38"#]),
    (
        "archives",
        "review",
        "mkdir s; for i in $(seq 60); do echo $i > s/$i; done; tar cf t.tar s; mkdir x; tar xf t.tar -C x; rm -r s",
        &[r#""path":"x/s/60""#, r#""was":"absent""#],
    ),
    (
        "scripts",
        "review",
        "printf '#!/bin/sh\\necho s > s.out\\n' > s.sh; chmod +x s.sh; ./s.sh",
        &[r#""asked":"s.sh""#, r#""exe":"/usr/bin/"#],
    ),
    (
        "sockets_and_pipes",
        "review",
        "mkfifo p; python3 -c 'import socket; socket.socket(socket.AF_UNIX).bind(\"s\")'",
        &[r#""op":"mknod","path":"p""#, r#""op":"bind","addr":"unix:s""#],
    ),
];

pub(crate) fn stories() -> Vec<Story> {
    let explained = WORK.iter().map(|(name, mode, text, words)| {
        Story::new(format!("witness::nothing_is_unexplained_after_{name}"), move |stage| work(stage, mode, text, words))
    });
    let others = [
        Story::new("witness::the_report_names_processes_and_recorder", reported),
        Story::new("witness::a_session_without_a_recorder_says_so", unrecorded),
        Story::new("witness::who_else_writes_into_the_workspace_is_found", stranger),
    ];
    explained.chain(others).collect()
}

fn work(stage: &mut Stage, mode: &str, text: &str, words: &[&str]) -> Told {
    stage.scene.file("{ws}/host", "one\n")?;
    let (host, twin) = (stage.scene.path("{ws}/host"), stage.scene.path("{ws}/twin"));
    std::fs::hard_link(&host, &twin).map_err(|e| format!("link {}: {e}", twin.display()))?;
    let profile = recording(stage)?;
    stage.answers(0, &["run", "-q", "-p", &profile, "-m", mode, "-w", "{ws}", "--", "/bin/bash", "-c", text])?;
    let log = stage.answers(0, &["log", "show", "last", "--json"])?;
    must(log.out().contains(r#""recorder":{"grade":"notify+addfd","scope":"changes"}"#), || log.told())?;
    for word in words {
        must(log.out().contains(word), || format!("no record has {word}: {}", log.told()))?;
    }
    stage.answers(0, &["verify", "last"]).map(drop)
}

fn reported(stage: &mut Stage) -> Told {
    let profile = recording(stage)?;
    let report = ["--report", "{root}/report.json", "--"];
    let run = ["run", "-q", "-p", &profile, "-w", "{ws}"];
    stage.answers(0, &[&run[..], &report, &["/bin/bash", "-c", "true | cat; (true)"]].concat())?;
    let report = stage.report()?;
    same("processes", report.printed("processes"), "4".to_owned())?;
    same("recorder", report.printed("recorder"), r#"{"grade":"notify+addfd","scope":"changes"}"#.to_owned())
}

/// A profile whose sessions are recorded.
fn recording(stage: &mut Stage) -> Result<String, stockade_tests::story::Stop> {
    stage.profile("watched", "extends = [\"shell\"]\nrecord = \"changes\"\n")
}

fn unrecorded(stage: &mut Stage) -> Told {
    let profile = stage.profile("blind", "extends = [\"shell\"]\nrecord = \"off\"\n")?;
    stage.answers(0, &["run", "-q", "-p", &profile, "-w", "{ws}", "--", "/bin/bash", "-c", "echo a > a"])?;
    let log = stage.answers(0, &["log", "show", "last", "--json"])?;
    must(!log.out().contains("proc.start") && log.out().contains("proc.exit"), || log.told())?;
    let verdict = stage.answers(0, &["verify", "last"])?;
    let words =
        "no recorder watched its processes: who made a change is not in the log (the profile has record = \"off\")";
    must(verdict.out().contains(words), || verdict.told())
}

/// A change that no process of the call made is nobody's.
fn stranger(stage: &mut Stage) -> Told {
    stage.scene.file("{ws}/host", "one\n")?;
    let host = stage.scene.path("{ws}/host");
    let writer = std::thread::spawn(move || {
        std::thread::sleep(std::time::Duration::from_millis(700));
        std::fs::write(host, "two, and longer\n")
    });
    let profile = recording(stage)?;
    let ended = stage.answers(0, &["run", "-q", "-p", &profile, "-m", "direct", "-w", "{ws}", "--", "/bin/sleep", "2"]);
    let written = writer.join().map_err(|_| "the writer panicked".to_owned())?;
    written.map_err(|e| format!("write beside the call: {e}"))?;
    ended?;
    let verdict = stage.answers(3, &["verify", "last"])?;
    must(verdict.out().contains("did anything to files, and this one changed"), || verdict.told())
}
