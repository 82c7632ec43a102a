//! Files: tools and commands see the same ones, in every mode, and what a tool changed is in the log from both sides.
//! It never asks a tool what it changed.

use crate::lines::{Session, shell, tool};
use serde_json::json;
use stockade_tests::stage::Stage;
use stockade_tests::story::{Story, Told, must, same};

pub(crate) fn stories() -> Vec<Story> {
    let mut stories = vec![
        Story::new("files::a_tool_does_not_write_where_commands_may_not", protected),
        Story::new("files::a_tool_that_reads_changes_nothing_and_has_no_outcome", reading),
        Story::new("files::a_tool_does_not_see_what_commands_do_not", masked),
        Story::new("files::a_link_that_a_command_planted_leads_a_tool_nowhere_else", planted),
    ];
    for (name, mode) in [("review", "review"), ("direct", "direct"), ("discard", "discard")] {
        stories.push(Story::new(format!("files::{name}::no_edit_is_hidden_from_the_other_side"), move |stage| {
            shared(stage, mode)
        }));
    }
    stories
}

fn shared(stage: &mut Stage, mode: &str) -> Told {
    stage.scene.file("{ws}/old", "one\ntwo\n")?;
    let session = Session::of(
        stage,
        &["--mode", mode],
        &[
            shell("printf 'by a command\\n' > made && mkdir sub"),
            tool("read", json!({ "file_path": "made" })),
            tool("write", json!({ "file_path": "sub/new", "content": "by a tool\n" })),
            tool("edit", json!({ "file_path": "old", "old_string": "two", "new_string": "three" })),
            shell("cat sub/new old && mv sub/new sub/moved && rm made"),
            tool("read", json!({ "file_path": "{ws}/sub/moved" })),
            tool("read", json!({ "file_path": "made" })),
        ],
    )?;
    session.says(1, "reply", &["by a command"])?;
    session.says(4, "stdout", &["by a tool", "one", "three"])?;
    session.says(5, "reply", &["by a tool"])?;
    session.says(6, "refused", &["made"])?;
    // Double entry: what the tool asked for, and what is different afterwards.
    session.logged(&[
        &["\"k\":\"tool.start\"", "\"tool\":\"read\"", "\"files\":\"read\""],
        &["\"k\":\"tool.start\"", "\"tool\":\"write\"", "\"files\":\"write\""],
        &["\"k\":\"tool.use\"", "\"op\":\"read\"", "\"path\":\"made\""],
        &["\"k\":\"fs.outcome\"", "\"path\":\"sub/new\"", "\"op\":\"created\"", "\"tc\":\"tc_3\""],
        &["\"k\":\"fs.outcome\"", "\"path\":\"old\"", "\"op\":\"modified\"", "\"tc\":\"tc_4\""],
        &["\"k\":\"tool.end\"", "\"cause\":\"exit\"", "\"status\":1"],
    ])?;
    let after = if mode == "direct" { "one\nthree\n" } else { "one\ntwo\n" };
    same("the host's file", stage.text("{ws}/old"), after.to_owned())
}

fn reading(stage: &mut Stage) -> Told {
    stage.scene.file("{ws}/a/b", "needle\n")?;
    let session = Session::of(
        stage,
        &[],
        &[
            tool("list", json!({})),
            tool("glob", json!({ "pattern": "**/b" })),
            tool("grep", json!({ "pattern": "needle" })),
            tool("read", json!({ "file_path": "a/b" })),
        ],
    )?;
    session.says(1, "reply", &["a/b"])?;
    session.says(2, "reply", &["a/b"])?;
    must(!session.log.contains("fs.outcome"), || session.told())?;
    must(!session.log.contains("\"files\":\"write\""), || session.told())
}

fn protected(stage: &mut Stage) -> Told {
    stage.scene.file("{ws}/.git/config", "[core]\n")?;
    stage.scene.file("{hidden}/a", "kept\n")?;
    stage.scene.file("{readable}/a", "kept\n")?;
    let readable = "[[grant.read]]\npath = \"{readable}\"\nreason = \"to look at\"\n";
    let profile = stage.profile("shown", &format!("extends = [\"shell\"]\n{readable}"))?;
    let write = |path: &str| tool("write", json!({ "file_path": path, "content": "mine\n" }));
    let session = Session::of(
        stage,
        &["--profile", &profile],
        &[
            write("{readable}/a"),
            write("{hidden}/a"),
            write("{hidden}/new"),
            write(".git/config"),
            write("/etc/passwd"),
            write("{ws}/../escaped"),
            tool("read", json!({ "file_path": "{readable}/a" })),
        ],
    )?;
    for n in 0..6 {
        must(session.answer(n).get("reply").is_none(), || format!("answer {n} is a reply: {}", session.told()))?;
    }
    session.says(6, "reply", &["kept"])?;
    same("granted to be read", stage.text("{readable}/a"), "kept\n".to_owned())?;
    same("hidden", stage.text("{hidden}/a"), "kept\n".to_owned())?;
    must(!stage.exists("{hidden}/new") && !stage.exists("{root}/escaped"), || session.told())
}

fn masked(stage: &mut Stage) -> Told {
    stage.scene.file("{ws}/.env", "KEY=hidden-value-of-the-test\n")?;
    stage.scene.file("{hidden}/a", "hidden-value-of-the-test\n")?;
    let read = |path: &str| tool("read", json!({ "file_path": path }));
    let calls =
        [read(".env"), read("{hidden}/a"), read("{state}/keys"), tool("grep", json!({ "pattern": "hidden-value" }))];
    let session = Session::of(stage, &["--profile", "review-only"], &calls)?;
    for n in 0..calls.len() {
        let answer = session.answer(n).to_string();
        must(!answer.contains("value-of-the-test"), || session.told())?;
    }
    Ok(())
}

fn planted(stage: &mut Stage) -> Told {
    stage.scene.file("{hidden}/a", "hidden-value-of-the-test\n")?;
    let session = Session::of(
        stage,
        &[],
        &[
            shell(
                "echo inside > real && ln -s real good && ln -s {hidden}/a bad && ln -s ../../../../../../../../{hidden}/a worse",
            ),
            tool("read", json!({ "file_path": "good" })),
            tool("read", json!({ "file_path": "bad" })),
            tool("read", json!({ "file_path": "worse" })),
            tool("write", json!({ "file_path": "bad", "content": "mine" })),
        ],
    )?;
    session.says(1, "reply", &["inside"])?;
    for n in [2, 3] {
        must(session.answer(n).get("reply").is_none(), || format!("answer {n} is a reply: {}", session.told()))?;
    }
    same("behind the link", stage.text("{hidden}/a"), "hidden-value-of-the-test\n".to_owned())
}
