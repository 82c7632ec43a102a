//! The shell's corpus through the component: the same scripts, the same comparison with bash.
//! It never runs another set of scripts than the library's own test.

use crate::common::{Outcome, cases, differs, environment, fresh, in_bash, tree};
use crate::host::{Answer, Tool};
use serde_json::json;
use std::sync::LazyLock;

/// It compiles for seconds: once for all tests.
static SHELL: LazyLock<Tool> = LazyLock::new(|| Tool::load("shell"));

#[test]
fn the_component_does_what_bash_does() {
    let mut wrong = Vec::new();
    for case in cases() {
        let bash = in_bash(&case);
        let work = fresh();
        let answer = SHELL.call(&work, &environment(&work), &json!({ "command": case.script }));
        let Answer::Reply { structured, .. } = answer else {
            wrong.push(format!("{}: {answer:?}", case.name));
            continue;
        };
        let text = |name: &str| structured[name].as_str().expect("text").to_owned();
        let shell = Outcome {
            stdout: text("stdout"),
            stderr: text("stderr"),
            exit_code: i32::try_from(structured["exit_code"].as_i64().expect("a number")).expect("small"),
            truncated: structured["truncated"].as_bool().expect("a truth"),
            tree: tree(&work),
        };
        match (&case.differs, differs(&bash, &shell)) {
            (None, Some(how)) => wrong.push(format!("{}:\n  {}\n{how}", case.name, case.script)),
            (Some(why), None) => wrong.push(format!("{}: no longer differs ({why})", case.name)),
            (None, None) | (Some(_), Some(_)) => {}
        }
    }
    assert!(wrong.is_empty(), "{} cases:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn what_is_beyond_it_is_refused_and_changes_nothing() {
    let work = fresh();
    let before = tree(&work);
    let script = "echo x > made.txt; rm words.txt; git status; kill $$ &";
    let answer = SHELL.call(&work, &environment(&work), &json!({ "command": script }));
    let Answer::Refused(why) = answer else { panic!("{answer:?}") };
    let why: serde_json::Value = serde_json::from_str(&why).expect("JSON");
    assert_eq!(why["error"], "beyond_shell");
    assert_eq!(why["commands"], json!(["git", "kill"]));
    assert_eq!(why["instead"], "bash");
    assert_eq!(before, tree(&work));
}

#[test]
fn a_link_that_leads_out_of_what_was_given_leads_nowhere() {
    let work = fresh();
    std::os::unix::fs::symlink("/etc/passwd", work.join("out")).expect("a link");
    let answer = SHELL.call(
        &work,
        &environment(&work),
        &json!({ "command": "cat out; cat /etc/passwd; cat ../../../../etc/passwd" }),
    );
    let structured = answer.structured();
    assert_eq!(structured["stdout"], "", "{structured}");
    assert_eq!(structured["exit_code"], 1, "{structured}");
}

/// A host that does not say where such a link leads, as this one, leaves a clear error; the runtime's own host resolves it.
#[test]
fn a_link_by_an_absolute_path_is_no_silent_nothing() {
    let work = fresh();
    std::os::unix::fs::symlink(work.join("words.txt"), work.join("own")).expect("a link");
    let structured = SHELL.call(&work, &environment(&work), &json!({ "command": "head -1 own" })).structured();
    assert_eq!(structured["exit_code"], 1, "{structured}");
    assert_eq!(structured["stderr"], "head: own: Operation not permitted\n");
}

#[test]
fn a_script_starts_where_it_is_told_and_reads_what_it_is_given() {
    let work = fresh();
    let arguments = json!({ "command": "ls; cat", "cwd": "src", "stdin": "given\n" });
    let structured = SHELL.call(&work, &environment(&work), &arguments).structured();
    assert_eq!(structured["stdout"], "lib\nlib.rs\nmain.rs\ngiven\n", "{structured}");
}

#[test]
fn arguments_that_do_not_hold_are_named() {
    let work = fresh();
    for (arguments, says) in [
        (json!({}), "command"),
        (json!({ "command": "ls", "x": 1 }), "unknown field"),
        (json!({ "command": "ls", "cwd": "nowhere" }), "nowhere"),
    ] {
        let why = SHELL.call(&work, &environment(&work), &arguments).invalid();
        assert!(why.contains(says), "{why}");
    }
}
