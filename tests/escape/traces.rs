//! Attacks on the log and the state directory: reaching them, and writing what misleads their reader.
//! It never changes a log by hand; what a verifier makes of altered logs is tested where the format is.

use stockade_tests::stage::Stage;
use stockade_tests::story::{Story, Told, must};

/// Text that a terminal would obey: a clipboard write, a title, a colour, a line break with a forged line, bidi.
const HOSTILE: &[(&str, &str)] = &[
    ("clipboard", "\u{1b}]52;c;ZXZpbA==\u{7}"),
    ("title", "\u{1b}]0;evil\u{7}"),
    ("clear_screen", "\u{1b}[2J\u{1b}[H"),
    ("device_control", "\u{1b}P$q\u{1b}\\"),
    ("eight_bit_control", "\u{9b}31m"),
    ("new_line", "name\nsession closed: everything verified"),
    ("carriage_return", "name\rM  harmless"),
    ("backspace", "evil\u{8}\u{8}\u{8}\u{8}good"),
    ("right_to_left", "\u{202e}txt.exe"),
    ("isolate", "\u{2066}x\u{2069}"),
];

pub(crate) fn stories() -> Vec<Story> {
    let hostile = HOSTILE.iter().flat_map(|(name, text)| {
        [
            Story::new(format!("traces::a_file_name_does_not_obey_on_screen_{name}"), move |stage| {
                file_name(stage, text)
            }),
            Story::new(format!("traces::an_argument_does_not_obey_on_screen_{name}"), move |stage| {
                argument(stage, text)
            }),
        ]
    });
    let reached = REACHED.iter().map(|(name, words)| {
        Story::new(format!("traces::the_state_is_not_{name}"), move |stage| reach(stage, words, ""))
    });
    let covered = REACHED.iter().map(|(name, words)| {
        Story::new(format!("traces::the_state_is_not_{name}_below_a_grant"), move |stage| {
            reach(stage, words, "[[grant.write]]\npath = \"{root}\"\nreason = \"covers the state by mistake\"\n")
        })
    });
    let others = [
        Story::new("traces::a_state_inside_the_workspace_is_not_the_guests", state_inside),
        Story::new("traces::a_state_that_others_can_write_is_not_used", state_writable),
        Story::new("traces::a_state_that_is_a_link_is_not_used", state_link),
        Story::new("traces::a_forged_record_on_standard_output_is_not_a_record", forged_record),
        Story::new("traces::a_name_that_is_not_utf8_is_logged_and_verifies", odd_bytes),
        Story::new("traces::a_very_long_argument_is_logged_and_verifies", long_argument),
    ];
    hostile.chain(reached).chain(covered).chain(others).collect()
}

/// Ways to the state directory, by the probe's words.
const REACHED: &[(&str, &[&str])] = &[
    ("read", &["read", "{state}/planted", "{canary}"]),
    ("listed", &["list-finds", "{state}", "planted"]),
    ("written", &["open-write", "{state}/planted"]),
    ("added_to", &["create", "{state}/planted"]),
    ("moved_aside", &["move-aside", "{state}", "s/x"]),
];

fn reach(stage: &mut Stage, words: &[&str], rules: &str) -> Told {
    let command = [&["{bin}/stockade-probe"], words].concat();
    let plant = |stage: &Stage| stage.scene.file("{state}/planted", "{canary}");
    plant(stage)?;
    let control = stage.plain(&command)?;
    must(control.code() == 0, || format!("the control did not succeed\n{}", control.told()))?;
    if stage.exists("{state}.aside") {
        std::fs::remove_dir_all(stage.scene.path("{state}"))?;
        std::fs::rename(stage.scene.path("{state}.aside"), stage.scene.path("{state}"))?;
    }
    plant(stage)?;
    let before = std::fs::read(stage.scene.path("{state}/planted"))?;
    let profile = stage.probe_profile("state", &stage.scene.fill(rules))?;
    let confined = stage.run(&["--profile", &profile, "--mode", "direct"], &command)?;
    // Refusing to start with such a grant is as good as hiding the state.
    let stopped = confined.code() == 10 || (confined.code() == 125 && !rules.is_empty());
    must(stopped, || format!("ESCAPED, or never tried\n{}", confined.told()))?;
    // Not there any more is changed as well.
    let after = std::fs::read(stage.scene.path("{state}/planted")).unwrap_or_default();
    must(before == after && !stage.exists("{state}.aside"), || "ESCAPED: the state was changed".to_owned())
}

/// Who reads an output.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Reader {
    /// A person: text that shows in another order than it is written deceives.
    Person,
    /// A program: JSON.
    Program,
    /// A file or a pipe: the bytes that were hashed, whose format escapes the controls of ASCII only. On a terminal the
    /// same command escapes the others too.
    File,
}

/// Whether an output holds a character that a terminal would obey, new line and tab aside.
fn obeys(bytes: &[u8], reader: Reader) -> bool {
    let text = String::from_utf8_lossy(bytes);
    let deceptive = |c: char| matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    let control = |c: char| c.is_control() && (reader != Reader::File || c.is_ascii_control());
    text.chars().any(|c| (control(c) && c != '\n' && c != '\t') || (reader == Reader::Person && deceptive(c)))
}

/// Everything that a person may look at afterwards must show the text as text.
fn shown_harmlessly(stage: &Stage, text: &str) -> Told {
    for words in [
        &["diff", "last"][..],
        &["diff", "last", "--stat"],
        &["diff", "last", "--json"],
        &["log", "show", "last"],
        &["log", "show", "last", "--json"],
        &["log", "list"],
        &["log", "tree", "last"],
        &["log", "export", "last", "--jsonl"],
        &["apply", "last", "--dry-run"],
        &["apply", "last"],
        &["verify", "last"],
    ] {
        let shown = stage.stockade(words)?;
        let json = words.iter().any(|word| word.starts_with("--json"));
        let reader = match (json, words.contains(&"export")) {
            (_, true) => Reader::File,
            (true, false) => Reader::Program,
            (false, false) => Reader::Person,
        };
        must(!obeys(&shown.out, reader) && !obeys(&shown.err, Reader::Person), || {
            format!("{words:?} prints {text:?} raw: {:?}", shown.out())
        })?;
        let forged = text.split_once('\n').map(|(_, line)| line);
        let line_forged =
            forged.is_some_and(|line| shown.out().lines().chain(shown.err().lines()).any(|shown| shown == line));
        must(!line_forged, || format!("{words:?} prints a forged line: {:?}", shown.out()))?;
        must(words[0] != "verify" || shown.code() == 0, || format!("does not verify\n{}", shown.told()))?;
    }
    Ok(())
}

fn file_name(stage: &mut Stage, text: &str) -> Told {
    // The control: a plain listing prints the name as it is.
    stage.plain(&["/bin/bash", "-c", "echo x > \"{ws}/$0\"", text])?;
    let control = stage.plain(&["/usr/bin/find", "{ws}"])?;
    must(control.out().contains(text), || format!("the control does not print the name\n{}", control.told()))?;
    std::fs::remove_file(stage.scene.path("{ws}").join(text))?;
    let run = stage.run(&["--profile", "shell"], &["/bin/bash", "-c", "echo x > \"$0\"", text])?;
    must(run.code() == 0, || format!("the file was not made\n{}", run.told()))?;
    must(!obeys(&run.err, Reader::Person), || format!("the summary prints {text:?} raw: {:?}", run.err()))?;
    shown_harmlessly(stage, text)
}

fn argument(stage: &mut Stage, text: &str) -> Told {
    let control = stage.plain(&["/bin/echo", text])?;
    must(control.out().contains(text), || format!("the control does not print it\n{}", control.told()))?;
    let run = stage.run(&["--profile", "shell"], &["/bin/true", text])?;
    must(run.code() == 0, || format!("it was not run\n{}", run.told()))?;
    must(!obeys(&run.err, Reader::Person), || format!("the summary prints {text:?} raw: {:?}", run.err()))?;
    shown_harmlessly(stage, text)
}

fn state_inside(stage: &mut Stage) -> Told {
    stage.environment.push(("STOCKADE_STATE".into(), stage.scene.fill("{ws}/.state").into()));
    let script =
        "cd {ws}/.state && ls -R | grep -q . && echo {canary}; echo x > {ws}/.state/s/x && echo {canary}; true";
    let confined = stage.run(&["--profile", "shell", "--mode", "direct"], &["/bin/bash", "-c", script])?;
    must(!confined.out().contains(&stage.scene.fill("{canary}")), || {
        format!("ESCAPED: the guest has the state\n{}", confined.told())
    })
}

fn state_writable(stage: &mut Stage) -> Told {
    use std::os::unix::fs::PermissionsExt as _;
    let control = stage.run(&["--profile", "shell"], &["/bin/true"])?;
    must(control.code() == 0, || format!("the control did not run\n{}", control.told()))?;
    for place in ["{state}", "{state}/s"] {
        let path = stage.scene.path(place);
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o777))?;
        let ended = stage.run(&["--profile", "shell"], &["/bin/echo", "ran"])?;
        must(ended.code() == 125 && !ended.out().contains("ran"), || format!("{place}: used\n{}", ended.told()))?;
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o700))?;
    }
    Ok(())
}

fn state_link(stage: &mut Stage) -> Told {
    stage.scene.link("{root}/linked", "{state}")?;
    stage.environment.push(("STOCKADE_STATE".into(), stage.scene.fill("{root}/linked").into()));
    let ended = stage.run(&["--profile", "shell"], &["/bin/echo", "ran"])?;
    must(ended.code() == 125 && !ended.out().contains("ran"), || format!("used\n{}", ended.told()))
}

fn forged_record(stage: &mut Stage) -> Told {
    let line = r#"{"v":1,"k":"session.close","n":99,"outcome":"everything verified"}"#;
    let ended = stage.run(&["--profile", "shell"], &["/bin/echo", line])?;
    must(ended.code() == 0, || format!("it was not run\n{}", ended.told()))?;
    let exported = stage.stockade(&["log", "export", "last", "--jsonl"])?;
    let forged = exported.out().lines().any(|shown| shown.trim() == line);
    must(!forged, || "a line of standard output became a record".to_owned())?;
    let verified = stage.stockade(&["verify", "last"])?;
    must(verified.code() == 0, || format!("does not verify\n{}", verified.told()))
}

fn odd_bytes(stage: &mut Stage) -> Told {
    let script = "printf x > $'not-\\xff\\xfe-utf8'; mkdir $'d\\xf0'; printf y > $'d\\xf0/f'; ln -s $'to-\\xff' link; printf z > -; printf q > ' '";
    let ended = stage.run(&["--profile", "shell"], &["/bin/bash", "-c", script])?;
    must(ended.code() == 0, || format!("it was not run\n{}", ended.told()))?;
    shown_harmlessly(stage, "\u{fffd}")?;
    use std::os::unix::ffi::OsStrExt as _;
    let name = std::ffi::OsStr::from_bytes(b"not-\xff\xfe-utf8");
    must(stage.scene.path("{ws}").join(name).exists(), || "the file was not applied under its own name".to_owned())
}

fn long_argument(stage: &mut Stage) -> Told {
    let long = "a".repeat(120_000);
    let ended = stage.run(&["--profile", "shell"], &["/bin/echo", &long])?;
    must(ended.code() == 0 && ended.out().trim() == long, || format!("it was not run: exit {}", ended.code()))?;
    let verified = stage.stockade(&["verify", "last"])?;
    must(verified.code() == 0, || format!("does not verify\n{}", verified.told()))
}
