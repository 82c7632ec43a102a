//! Every other subcommand: help, completions, manual, explain, profiles, doctor; and `--json` that parses.
//! It never compares prose: only that it is there, is whole, and that scripts can read what is for them.

use serde_json::Value;
use stockade_tests::stage::Stage;
use stockade_tests::story::{Story, Told, must, same};
use stockade_tests::wall::is_container;

const SUBCOMMANDS: &[&str] = &[
    "run",
    "session",
    "diff",
    "apply",
    "discard",
    "undo",
    "verify",
    "log",
    "profile",
    "explain",
    "doctor",
    "gc",
    "completions",
    "man",
    "log list",
    "log show",
    "log tail",
    "log query",
    "log tree",
    "log why",
    "log prove",
    "log export",
    "log redact",
    "profile list",
    "profile check",
    "profile explain",
    "profile diff",
    "profile show",
    "image",
    "image build",
    "image list",
    "image pull",
];

const PROFILES: &[&str] =
    &["base", "shell", "git", "rust-dev", "node-dev", "python-dev", "review-only", "ci", "container", "locked"];

/// Commands whose standard output is one JSON value, after a run that changed one file.
const JSON: &[&str] = &[
    "diff last --json",
    "apply last --dry-run --json",
    "apply last --json",
    "undo last --json",
    "discard last --json",
    "verify last --json",
    "log list --json",
    "log tree last --json",
    "log why last f --json",
    "profile list --json",
    "profile check shell --json",
    "profile explain shell --json",
    "profile diff shell locked --json",
    "explain --json -- true",
    "doctor --json",
];

/// Commands whose standard output has a JSON value on every line.
const JSON_LINES: &[&str] = &["log show last --json", "log query last k=* --json", "log export last --jsonl"];

/// Command lines that are wrong, and how each ends: `verify` has an exit code of its own for that.
const WRONG: &[(&str, i32)] = &[
    ("", 125),
    ("nosuch", 125),
    ("--nosuch", 125),
    ("run", 125),
    ("run --nosuch -- true", 125),
    ("run true", 125),
    ("run --mode nosuch -- true", 125),
    ("run --", 125),
    ("diff last --stat --json", 125),
    ("log", 125),
    ("log show last x", 125),
    ("log export last", 125),
    ("completions nosuch", 125),
    ("profile check", 125),
    ("verify --nosuch", 4),
    ("verify a b", 4),
    ("verify last --vkey nosuch", 4),
];

pub(crate) fn stories() -> Vec<Story> {
    let help = SUBCOMMANDS.iter().map(|words| {
        Story::new(format!("commands::{}_is_not_without_help", words.replace(' ', "_")), move |stage| {
            help(stage, words)
        })
    });
    let profiles = PROFILES.iter().map(|name| {
        let story = format!("commands::the_profile_{}_is_not_useless", name.replace('-', "_"));
        Story::new(story, move |stage| profile(stage, name))
    });
    let others = [
        Story::new("commands::completions_are_not_broken", completions),
        Story::new("commands::the_manual_is_not_empty", manual),
        Story::new("commands::explain_leaves_nothing_and_runs_nothing", explain),
        Story::new("commands::json_is_not_anything_else", json),
        Story::new("commands::wrong_words_are_not_taken_for_a_result", wrong),
        Story::new("commands::mistakes_in_a_profile_are_not_passed_over_by_check", check),
        Story::new("commands::a_profile_does_not_differ_from_itself", |stage| {
            let ended = stage.answers(0, &["profile", "diff", "shell", "shell"])?;
            same("out", ended.out().as_str(), "the two grant and refuse the same\n")
        }),
        Story::new("commands::a_prefix_that_means_two_sessions_does_not_choose_one", prefix),
    ];
    help.chain(profiles).chain(others).collect()
}

fn words(text: &str) -> Vec<&str> {
    text.split_whitespace().collect()
}

fn help(stage: &mut Stage, name: &str) -> Told {
    let long = stage.answers(0, &[&words(name)[..], &["--help"]].concat())?;
    let short = stage.answers(0, &[&words(name)[..], &["-h"]].concat())?;
    for ended in [&long, &short] {
        must(ended.out().contains(&format!("Usage: stockade {name}")) && ended.err.is_empty(), || ended.told())?;
        must(ended.out().lines().all(|line| line.chars().count() <= 110), || format!("too wide: {}", ended.told()))?;
    }
    Ok(())
}

fn profile(stage: &mut Stage, name: &str) -> Told {
    stage.scene.file("{ws}/a", "x\n")?;
    let out = stage.answers(0, &["profile", "check", name])?;
    same("check", out.out(), format!("{name}: ok\n"))?;
    must(stage.answers(0, &["profile", "explain", name])?.out().lines().count() > 10, || {
        "explains nothing".to_owned()
    })?;
    let text = stage.answers(0, &["profile", "show", name])?;
    must(text.out().contains(&format!("name        = \"{name}\"")), || text.told())?;
    let listed = stage.answers(0, &["profile", "list"])?;
    must(listed.out().lines().any(|line| line.starts_with(&format!("{name} "))), || listed.told())?;
    // The one for containers has no image of its own: where no engine is, its grants mean this machine's files.
    let wall: &[&str] = if name == "container" && !is_container() { &["--backend", "process"] } else { &[] };
    let plan = stage.answers(0, &[&["explain", "-p", name, "-w", "{ws}"], wall, &["--", "/bin/cat", "a"]].concat())?;
    must(plan.out().contains("verdict   permitted by "), || plan.told())?;
    let ended = stage.run(&[&["-q", "-p", name], wall].concat(), &["/bin/cat", "a"])?;
    must(ended.code() == 0 && ended.out() == "x\n", || ended.told())?;
    stage.answers(0, &["verify", "last"]).map(drop)
}

fn completions(stage: &mut Stage) -> Told {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let ended = stage.answers(0, &["completions", shell])?;
        for word in ["stockade", "verify", "completions", "workspace"] {
            must(ended.out().contains(word), || format!("{shell} does not complete {word}"))?;
        }
    }
    let script = stage.answers(0, &["completions", "bash"])?;
    let mut parse = stage.program(&["/bin/bash", "-n"]);
    parse.input = script.out;
    let parsed = stage.go(&parse)?;
    must(parsed.code() == 0 && parsed.err.is_empty(), || parsed.told())
}

fn manual(stage: &mut Stage) -> Told {
    let page = stage.answers(0, &["man"])?;
    must(page.out().contains(".TH stockade 1") && page.out().contains("SUBCOMMANDS"), || page.told())?;
    stage.scene.folder("{root}/man")?;
    stage.answers(0, &["man", "--out", "{root}/man"])?;
    for name in SUBCOMMANDS {
        let text = stage.text(&format!("{{root}}/man/stockade-{}.1", name.replace(' ', "-")));
        must(text.contains(".SH NAME"), || format!("{name}: {text}"))?;
    }
    let refused = stage.answers(125, &["man", "--out", "{root}/nosuch"])?;
    must(refused.err().starts_with("error: write manual pages to "), || refused.told())
}

fn explain(stage: &mut Stage) -> Told {
    let before = stage.scene.print("{ws}");
    let ended = stage.answers(0, &["explain", "-w", "{ws}", "--", "/bin/bash", "-c", "echo ran > ran"])?;
    for part in ["profile   shell\n", "\nwall: ", "\non the host, once:\n", "\ninside, once:\n"] {
        must(ended.out().contains(part), || format!("{part:?} is missing: {}", ended.told()))?;
    }
    must(before == stage.scene.print("{ws}"), || "the workspace was changed".to_owned())?;
    let sessions = std::fs::read_dir(stage.scene.path("{state}/s")).into_iter().flatten().count();
    must(sessions == 0, || "a session was made".to_owned())
}

fn json(stage: &mut Stage) -> Told {
    for line in JSON {
        // Each begins with the same: some of them change what the next would see.
        same("exit", stage.run(&["-q"], &["/bin/bash", "-c", "echo x > f"])?.code(), 0)?;
        if line.starts_with("undo") {
            stage.answers(0, &["apply", "last"])?;
        }
        let ended = stage.stockade(&words(line))?;
        must(matches!(ended.code(), 0 | 1) && ended.err.is_empty(), || format!("{line}: {}", ended.told()))?;
        let parsed: Result<Value, _> = serde_json::from_slice(&ended.out);
        must(parsed.is_ok(), || format!("{line}: {parsed:?}: {}", ended.told()))?;
        drop(std::fs::remove_file(stage.scene.path("{ws}/f")));
    }
    for line in JSON_LINES {
        let ended = stage.answers(0, &words(line))?;
        must(ended.out().lines().count() > 4, || ended.told())?;
        for record in ended.out().lines() {
            let parsed: Result<Value, _> = serde_json::from_str(record);
            must(parsed.is_ok(), || format!("{line}: {record}"))?;
        }
    }
    Ok(())
}

fn wrong(stage: &mut Stage) -> Told {
    stage.run(&["-q"], &["/bin/true"])?;
    for (line, code) in WRONG {
        let ended = stage.answers(*code, &words(line))?;
        must(ended.out.is_empty() && !ended.err.is_empty(), || format!("{line}: {}", ended.told()))?;
    }
    Ok(())
}

fn check(stage: &mut Stage) -> Told {
    let bad = stage.profile("bad", "colour = \"red\"\n[[grant.read]]\npath = \"/etc\"\n")?;
    let ended = stage.answers(1, &["profile", "check", "shell", &bad, "nosuch"])?;
    same("good", ended.out().as_str(), "shell: ok\n")?;
    let known = "known keys: profile, name, description, extends, guard, floor, durability, record, record_floor, \
        backend, image, runtime, grant, ask, deny, protect, hold, limits, secret, tool";
    let names = "base, shell, git, rust-dev, node-dev, python-dev, review-only, ci, container, locked";
    let expected = format!(
        "error: profile \"{bad}\", line 3: unknown key \"colour\" in profile\nhint: {known}\n\
         error: profile \"{bad}\", line 4: grant has no reason\nhint: add reason = \"why this tool needs it\"\n\
         error: there is no profile \"nosuch\"\nhint: built-in profiles are {names}\n"
    );
    same("bad", ended.err(), expected)
}

fn prefix(stage: &mut Stage) -> Told {
    for _ in 0..2 {
        stage.run(&["-q"], &["/bin/true"])?;
    }
    let ended = stage.answers(125, &["diff", "0"])?;
    let told = "error: \"0\" could be any of 2 sessions\nhint: give more of the id; `stockade log list` shows them\n";
    same("stderr", ended.err().as_str(), told)?;
    let session = stage.report()?.text("session").unwrap_or_default().to_owned();
    let part = session.get(..25).unwrap_or_default().to_lowercase();
    stage.answers(0, &["verify", &part])?;
    let none = stage.answers(125, &["diff", "zzz"])?;
    let hint = "hint: `stockade log list` shows the sessions; `last` is the newest\n";
    same("stderr", none.err(), format!("error: there is no session \"zzz\"\n{hint}"))
}
