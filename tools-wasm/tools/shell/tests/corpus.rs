//! The commands that agents type (`corpus/*.sh`), each run by this interpreter and by bash with the GNU tools on the same
//! files: what is printed, the exit code and the files afterwards must be the same.
//!
//! A case may carry `#! differs: WHY`; then it must really differ. It never compares the words of error messages, only that
//! there are some.

mod common;

use common::{Case, Outcome, cases, differs, environment, fresh, in_bash, tree};
use shell::{Arguments, Place};

/// More than a person keeps in mind.
const DIFFERENCES_MAX: usize = 12;

#[test]
fn what_agents_type_does_what_bash_does() {
    let cases = cases();
    assert!(cases.len() >= 300, "the corpus has {} cases", cases.len());
    let mut wrong = Vec::new();
    let mut differences = 0;
    for case in &cases {
        let refused = shell::beyond(&case.script);
        if !refused.is_nothing() {
            wrong.push(format!("{}: refused: {}", case.name, shell::refusal(&refused)));
            continue;
        }
        let bash = in_bash(case);
        let shell = in_shell(case);
        match (&case.differs, differs(&bash, &shell)) {
            (None, None) => {}
            (None, Some(how)) => wrong.push(format!("{}:\n  {}\n{how}", case.name, case.script.replace('\n', "\n  "))),
            (Some(_), Some(_)) => differences += 1,
            (Some(why), None) => wrong.push(format!("{}: no longer differs ({why})", case.name)),
        }
    }
    assert!(wrong.is_empty(), "{} of {} cases:\n\n{}", wrong.len(), cases.len(), wrong.join("\n\n"));
    assert!(differences <= DIFFERENCES_MAX, "{differences} known differences are too many to keep in mind");
}

fn in_shell(case: &Case) -> Outcome {
    let work = fresh();
    let arguments = serde_json::json!({ "command": case.script, "timeout_s": 20 }).to_string();
    let arguments = Arguments::parse(&arguments).expect("sound arguments");
    let place = Place { workspace: work.clone(), environment: environment(&work) };
    let ran = shell::run(&arguments, &place).expect("it starts");
    Outcome {
        stdout: ran.stdout,
        stderr: ran.stderr,
        exit_code: ran.exit_code,
        truncated: ran.truncated,
        tree: tree(&work),
    }
}

#[test]
fn what_it_cannot_do_is_refused_by_name_before_anything_ran() {
    let text = include_str!("corpus/refused.toml");
    let table: toml::Table = toml::from_str(text).expect("refused.toml is TOML");
    let list = table["refused"].as_array().expect("an array of tables");
    assert!(list.len() >= 60, "{} scripts are refused", list.len());
    for entry in list {
        let script = entry["script"].as_str().expect("a script");
        let names = entry["names"].as_str().expect("what the refusal names");
        let beyond = shell::beyond(script);
        let refusal = shell::refusal(&beyond);
        assert!(!beyond.is_nothing(), "{script:?} would run");
        let parsed: serde_json::Value = serde_json::from_str(&refusal).expect("a refusal is JSON");
        let message = parsed["message"].as_str().expect("a message");
        assert!(message.contains(names), "{script:?} is refused without {names:?}: {refusal}");
        assert_eq!(parsed["instead"], "bash");
    }
}

#[test]
fn a_refusal_is_whole_json_however_much_is_in_the_way() {
    let many: String = (0..1000).map(|n| format!("program{n}; ${{v{n}@P}}; ")).collect();
    let long: String = (0..30).map(|n| format!("'{}{n}'; ", "\u{20ac}".repeat(5000))).collect();
    for script in [many, long] {
        let beyond = shell::beyond(&script);
        let refusal = shell::refusal(&beyond);
        assert!(refusal.len() <= 4096, "{} bytes", refusal.len());
        let parsed: serde_json::Value = serde_json::from_str(&refusal).expect("a refusal is JSON");
        let count = |list: &str| parsed[list].as_array().expect("a list").len();
        let left = beyond.commands.len() + beyond.constructs.len() - count("commands") - count("constructs");
        assert!(count("commands") > 0 && left > 0, "{refusal}");
        assert_eq!(parsed["more"], left);
        assert!(parsed["message"].as_str().expect("a message").ends_with(&format!("{left} more")), "{refusal}");
    }
}

#[test]
fn all_output_that_can_be_asked_for_fits_into_an_answer() {
    let most = Arguments::parse(r#"{"command":"ls","output_bytes":524288}"#).expect("sound");
    Arguments::parse(r#"{"command":"ls","output_bytes":524289}"#).expect_err("more than fits");
    // What takes most room as JSON, and what takes most room as text.
    for worst in ["\u{1}".repeat(524_288), "\u{fffd}".repeat(524_288)] {
        let answer = shell::Answer { stdout: worst.clone(), stderr: worst, exit_code: 1, truncated: true };
        let bytes = answer.text().len() + serde_json::to_string(&answer).expect("it is JSON").len();
        assert!(bytes < 16 << 20, "{bytes} bytes of {:?}", most.output_bytes);
    }
}

#[test]
fn long_output_is_cut_and_says_so() {
    let case = Case { name: "long".into(), script: "seq 100000".into(), differs: None };
    let ran = in_shell(&case);
    assert!(ran.truncated);
    assert!(ran.stdout.len() <= 256 << 10, "{} bytes", ran.stdout.len());
    assert!(ran.stdout.starts_with("1\n2\n"));
}

#[test]
fn an_endless_loop_ends_with_the_code_of_a_time_out() {
    let begun = std::time::Instant::now();
    let arguments = Arguments::parse(r#"{"command":"while :; do :; done","timeout_s":1}"#).expect("sound");
    let place = Place { workspace: "/".into(), environment: Default::default() };
    let answer = shell::run(&arguments, &place).expect("it starts");
    assert_eq!(answer.exit_code, 124, "{answer:?}");
    assert!(begun.elapsed().as_secs() < 20);
}

#[test]
fn an_endless_loop_of_awk_without_a_body_ends_as_well() {
    for program in ["while(1);", "for(;;);", "do ; while(1)", "while(1) for(i=0;i<9;i++);", "while(1) {}"] {
        let begun = std::time::Instant::now();
        let command = format!("awk 'BEGIN{{{program}}}'; echo then");
        let arguments = serde_json::json!({ "command": command, "timeout_s": 1 }).to_string();
        let arguments = Arguments::parse(&arguments).expect("sound");
        let place = Place { workspace: "/".into(), environment: Default::default() };
        let answer = shell::run(&arguments, &place).expect("it starts");
        let ended = answer.exit_code == 124 || answer.stderr.contains("loop iteration limit");
        assert!(ended, "{program}: {answer:?}");
        assert!(begun.elapsed().as_secs() < 60, "{program}");
    }
}

#[test]
fn wrong_arguments_say_what_is_right() {
    for (text, says) in [
        ("{}", "command"),
        (r#"{"command":""}"#, "empty"),
        (r#"{"command":"ls","shell":"zsh"}"#, "unknown field"),
        (r#"{"command":"ls","timeout_s":0}"#, "from 1 to 600"),
        (r#"{"command":"ls","output_bytes":0}"#, "output_bytes"),
        ("[", "arguments are"),
    ] {
        let error = Arguments::parse(text).expect_err(text);
        assert!(error.contains(says), "{text}: {error}");
    }
}

#[test]
fn a_directory_that_is_not_there_is_the_callers_error() {
    let arguments = Arguments::parse(r#"{"command":"pwd","cwd":"nowhere/at/all"}"#).expect("sound");
    let place = Place { workspace: "/".into(), environment: Default::default() };
    let error = shell::run(&arguments, &place).expect_err("no such directory");
    assert!(error.contains("nowhere/at/all"), "{error}");
}
