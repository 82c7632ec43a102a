//! What really happened, from the outside: work of every kind leaves a log in which nothing is unexplained.
//! It never judges by what a command says of itself; `verify` and the records say it.

use std::io::{BufRead as _, BufReader};
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
        Story::new("witness::a_secret_in_a_name_is_nowhere_in_what_is_kept_of_a_session", named_after_a_secret),
        Story::new("witness::a_name_longer_than_a_record_keeps_is_told_from_others", long_names),
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
    let profile = recording(stage)?;
    stage.answers(0, &["--version"])?;
    let run = ["{bin}/stockade", "run", "-q", "-p", &profile, "-m", "direct", "-w", "{ws}", "--"];
    let command = ["/bin/sh", "-c", "echo begun; exec sleep 2"];
    let mut session = stage.program(&[&run[..], &command].concat()).start()?;
    // While the call runs: how long a wall takes to come up is its own affair.
    let mut said = String::new();
    if let Some(out) = session.stdout.take() {
        BufReader::new(out).read_line(&mut said)?;
    }
    std::fs::write(stage.scene.path("{ws}/host"), "two, and longer\n")?;
    same("exit", session.wait()?.code(), Some(0))?;
    same("said", said.as_str(), "begun\n")?;
    let verdict = stage.answers(3, &["verify", "last"])?;
    must(verdict.out().contains("did anything to files, and this one changed"), || verdict.told())
}

/// What a session knows as a secret.
const SECRET: &str = "sk-live-Xy7/Qq93KdmWzz81";
/// The same in base64: another form of it.
const ENCODED: &str = "c2stbGl2ZS1YeTcvUXE5M0tkbVd6ejgx";

/// Every kind of name that a guest can give, with the secret in it: it reads the secret from a file of the workspace.
const LEAK: &str = r#"S=$(cat leak); E=$(printf %s "$S" | base64)
mkdir -p "$S"; echo x > "$S/in"; ln -s "$S/in" link; mv link moved; ln -s "$E" "$E.link"
echo 1 > "$E"; mv "$E" "$E.moved"; mkdir "d$E"; mv "d$E" d; touch d/a; mv d "d$E"; echo gone > "gone$E"; rm "gone$E"
printf '#!/bin/sh\nexit 0\n' > "run$E"; chmod 700 "run$E"; "./run$E" "$S"; mkfifo "fifo$E"
python3 -c "import socket; socket.socket(socket.AF_UNIX).bind('$E.sock')"; echo "out $S"; echo "err $E" >&2"#;

/// What is in a name is no more in the log than what is in a stream: not in events, outcomes, acts, nor in what is made
/// of them; and the double entry still matches them.
fn named_after_a_secret(stage: &mut Stage) -> Told {
    let more = "extends = [\"shell\"]\nrecord = \"changes\"\n[[secret]]\nname = \"key\"\nenv = \"KEY\"\nshape = \"opaque\"\n\
         place = { header = \"authorization\", format = \"Bearer {}\" }\nhosts = [\"api.example.com\"]\nreason = \"a test\"\n\
         [[grant.net]]\nhost = \"api.example.com\"\nports = [443]\nsecret = \"key\"\nreason = \"a test\"\n";
    let mut set = stage.program(&["{bin}/stockade", "secret", "set", "key"]);
    set.input = SECRET.into();
    let set = stage.go(&set)?;
    must(set.code() == 0, || set.told())?;
    let profile = stage.profile("secretive", more)?;
    for mode in ["review", "direct"] {
        stage.scene.file("{ws}/leak", SECRET)?;
        let run = ["run", "-p", &profile, "-m", mode, "-w", "{ws}", "--report", "{root}/report.json"];
        let ran = stage.answers(0, &[&run[..], &["--", "/bin/sh", "-c", LEAK]].concat())?;
        let mut told = vec![ran.out(), ran.err(), stage.text("{root}/report.json")];
        must(told.iter().all(|text| text.contains('*')), || format!("nothing was taken out: {}", ran.told()))?;
        if mode == "review" {
            // Sockets and fifos are left out, which is said.
            stage.answers(1, &["apply", "last"])?;
            stage.answers(0, &["undo", "last"])?;
        }
        stage.answers(0, &["verify", "last"])?;
        let readings: [&[&str]; 10] = [
            &["log", "show", "last"],
            &["log", "show", "last", "--json"],
            &["log", "tree", "last", "--all"],
            &["log", "timeline", "last"],
            &["log", "why", "last", "**"],
            &["log", "why", "last", "**", "--json"],
            &["log", "report", "last"],
            &["log", "export", "last", "--jsonl", "--disclose"],
            &["log", "export", "last", "--ocsf", "--disclose"],
            &["log", "export", "last", "--otlp", "--disclose"],
        ];
        for words in readings {
            told.push(stage.answers(0, words)?.out());
        }
        let kept = files_below(&stage.scene.path("{state}/s")).chain(files_below(&stage.scene.path("{state}/ledger")));
        told.extend(kept.map(|file| String::from_utf8_lossy(&std::fs::read(file).unwrap_or_default()).into_owned()));
        for (n, text) in told.iter().enumerate() {
            for form in [SECRET, ENCODED] {
                let line = text.lines().find(|line| line.contains(form));
                must(line.is_none(), || format!("{mode}: {form} is in part {n}: {}", line.unwrap_or_default()))?;
            }
        }
        let log = told.get(4).map(String::as_str).unwrap_or_default();
        // In the workspace itself there are other people's sockets: a guest with a network makes none.
        let socket = [r#""op":"created","a":{"ty":"socket""#, r#""op":"bind","addr":"unix:****"#];
        let made = socket.into_iter().filter(|_| mode == "review");
        for words in made.chain([r#""secret.scrub""#, r#""path":"********************************.moved""#]) {
            must(log.contains(words), || format!("no record has {words}: {log}"))?;
        }
        if mode == "review" {
            stage.answers(0, &["discard", "last"])?;
        }
    }
    Ok(())
}

/// Every file below a directory.
fn files_below(directory: &std::path::Path) -> Box<dyn Iterator<Item = std::path::PathBuf>> {
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten().map(|entry| entry.path());
    Box::new(entries.flat_map(|path| if path.is_dir() { files_below(&path) } else { Box::new(std::iter::once(path)) }))
}

/// Directories within each other, each with a name of 201 bytes, and what is in the last: named by one component at a time,
/// as no system call takes such a path whole.
const DEEP: &str = "import os, sys
for n in range(int(sys.argv[1])):
    d = '%03d' % n + 'd' * 198
    os.mkdir(d); os.chdir(d)
open('file', 'w').write('x'); os.symlink('t' * 4000, 'link'); os.mkdir('old'); open('old/in', 'w').close()
os.rename('old', 'new'); open('gone', 'w').close(); os.remove('gone')
";

/// A name has no length at which it is mistaken for another, or at which a change is nobody's.
fn long_names(stage: &mut Stage) -> Told {
    let profile = recording(stage)?;
    for mode in ["review", "direct"] {
        // Whole; longer than a record keeps; about as long as the kernel tells. Beyond, no change can be named: a gap.
        for (levels, code) in [(16, 0), (18, 0), (19, 0), (24, 3)] {
            stage.scene.folder("{ws}/deep")?;
            let script = stage.scene.fill("cd {ws}/deep && exec /usr/bin/python3 -c \"$0\" $1");
            let count = format!("{levels}");
            let run = ["run", "-q", "-p", &profile, "-m", mode, "-w", "{ws}", "--", "/bin/sh", "-c", &script];
            stage.answers(0, &[&run[..], &[DEEP, &count]].concat())?;
            let verdict = stage.answers(code, &["verify", "last"])?;
            let log = stage.answers(0, &["log", "show", "last", "--json"])?.out();
            must(log.contains(r#""op":"created""#), || format!("{mode}, {levels}: {}", verdict.told()))?;
            let hashed = log.lines().any(|line| line.contains("fs.outcome") && line.contains(r#""path_h":""#));
            same("a hash of a long name", hashed, levels > 16)?;
            if code == 3 {
                must(verdict.out().contains("too deep to be named"), || verdict.told())?;
            }
            let ended = stage.run(&["-q", "--mode", "direct"], &["/bin/rm", "-rf", "{ws}/deep"])?;
            must(ended.code() == 0, || ended.told())?;
        }
    }
    Ok(())
}
