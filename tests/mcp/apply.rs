//! Applying over MCP where it does not go well: what cannot be applied, what cannot go on afterwards, and what may not be told.
//! It never takes an answer's word for what is in the workspace.

use crate::line::{APPLY, Client, TOOLS, text};
use serde_json::{Value, json};
use stockade_tests::stage::Stage;
use stockade_tests::story::{Stop, Story, Told, must, same};

pub(crate) fn stories() -> Vec<Story> {
    vec![
        Story::new("apply::a_path_where_nothing_changed_does_not_end_the_session", mistyped),
        Story::new("apply::what_a_person_has_to_take_does_not_end_the_session", held),
        Story::new("apply::what_was_applied_is_told_where_no_session_can_follow", alone),
        Story::new("apply::a_secret_in_a_name_is_not_told", secret),
        Story::new("apply::paths_at_which_nothing_changed_are_not_taken_for_no_changes", elsewhere),
    ]
}

fn applying(stage: &Stage) -> Result<(Client, String), Stop> {
    let profile = stage.profile("applying", &format!("{TOOLS}{APPLY}"))?;
    Ok((Client::greeted(stage, &["--profile", &profile])?, profile))
}

/// The session that a call was in, and where its log has it.
fn receipt(told: &Value) -> Result<(String, u64), Stop> {
    let receipt = told.pointer("/_meta/stockade~1receipt").cloned().unwrap_or_default();
    let log = receipt.get("log").and_then(Value::as_str).map(str::to_owned);
    let position = receipt.get("position").and_then(Value::as_u64);
    log.zip(position).ok_or_else(|| Stop::Fail(format!("no receipt: {told}")))
}

/// The answer is an error with these words, and the session goes on.
fn refused(client: &mut Client, arguments: Value, words: &[&str]) -> Told {
    let told = client.call("apply", arguments)?;
    must(told.get("isError") == Some(&json!(true)), || told.to_string())?;
    words.iter().try_for_each(|word| must(text(&told).contains(word), || format!("not {word:?}: {}", text(&told))))?;
    let (before, _) = receipt(&told)?;
    let (after, _) = receipt(&client.bash("true")?)?;
    same("the session", after, before)
}

fn mistyped(stage: &mut Stage) -> Told {
    let (mut client, _) = applying(stage)?;
    client.bash("mkdir -p src && echo one > src/main")?;
    refused(
        &mut client,
        json!({ "paths": ["src/mian"] }),
        &["nothing changed at \"src/mian\"", "the session goes on"],
    )?;
    refused(&mut client, json!({ "paths": ["src/main", "doc"] }), &["nothing changed at \"doc\""])?;
    must(!stage.exists("{ws}/src"), || "something was applied".to_owned())?;
    let told = client.call("apply", json!({ "paths": ["src"] }))?;
    same("applied", told.pointer("/structuredContent/applied").cloned(), Some(json!(["src", "src/main"])))?;
    let (log, position) = receipt(&told)?;
    client.bye()?;
    // The call is in the log of the session that ended with it.
    same("the log", told.pointer("/structuredContent/ended_session").cloned(), Some(json!(log)))?;
    stage.answers(0, &["log", "prove", &log, &position.to_string()])?;
    stage.answers(0, &["verify", &log]).map(drop)
}

fn held(stage: &mut Stage) -> Told {
    let (mut client, _) = applying(stage)?;
    client.bash("echo 'echo hi' > .envrc")?;
    let words = ["nothing of it can be applied here", ".envrc", "a person has to consent", "the session goes on"];
    refused(&mut client, json!({}), &words)?;
    client.bash("echo one > free")?;
    refused(&mut client, json!({ "paths": ["free", ".envrc"] }), &words)?;
    // What the host changed meanwhile is in the way of everything.
    client.bash("echo two > both")?;
    stage.scene.file("{ws}/both", "the host's\n")?;
    refused(&mut client, json!({}), &["conflict", "both"])?;
    same("the host's", stage.text("{ws}/both"), "the host's\n".to_owned())?;
    must(!stage.exists("{ws}/free") && !stage.exists("{ws}/.envrc"), || "something was applied".to_owned())?;
    client.bye()?;
    stage.answers(0, &["verify", "last"]).map(drop)
}

fn alone(stage: &mut Stage) -> Told {
    let (mut client, profile) = applying(stage)?;
    client.bash("echo one > taken")?;
    std::fs::remove_file(stage.scene.path(&profile))?;
    let told = client.call("apply", json!({}))?;
    same("applied", told.pointer("/structuredContent/applied").cloned(), Some(json!(["taken"])))?;
    same("on the host", stage.text("{ws}/taken"), "one\n".to_owned())?;
    must(text(&told).contains("applied 1 changes") && text(&told).contains("no new session could be opened"), || {
        text(&told)
    })?;
    must(told.pointer("/structuredContent/session").is_none(), || told.to_string())?;
    let (log, position) = receipt(&told)?;
    let after = client.bash("true")?;
    must(after.get("isError") == Some(&json!(true)) && text(&after).contains("has ended"), || after.to_string())?;
    let ended = client.close()?;
    must(ended.code == Some(125), || format!("exit {:?}: {}", ended.code, ended.err))?;
    stage.answers(0, &["log", "prove", &log, &position.to_string()])?;
    stage.answers(0, &["verify", &log]).map(drop)
}

fn secret(stage: &mut Stage) -> Told {
    const SECRET: &str = "correct-horse-battery-staple-7193";
    let rules = "[[grant.net]]\nhost = \"good.test\"\nreason = \"the secret's\"\n\
        [[secret]]\nname = \"key\"\nenv = \"API_KEY\"\nshape = \"opaque\"\nhosts = [\"good.test\"]\n\
        place = { header = \"authorization\", format = \"Bearer {}\" }\nreason = \"a secret of the test\"\n";
    let profile = stage.profile("secret", &format!("{TOOLS}{APPLY}{rules}"))?;
    let mut set = stage.program(&["{bin}/stockade", "secret", "set", "key"]);
    set.input = SECRET.as_bytes().to_vec();
    let set = stage.go(&set)?;
    must(set.code() == 0, || set.told())?;
    let mut client = Client::greeted(stage, &["--profile", &profile])?;
    // The sandbox gets it in pieces, as something that a test made up.
    let named = |before: &str| format!("\"{before}$(printf '%s-' correct horse battery)staple-7193\"");
    client.bash(&format!("mkdir -p .git/hooks; echo held > {}", named(".git/hooks/")))?;
    for arguments in
        [json!({ "paths": [format!(".git/hooks/{SECRET}")] }), json!({ "paths": [format!("no-{SECRET}")] })]
    {
        let told = client.call("apply", arguments)?;
        must(told.get("isError") == Some(&json!(true)), || told.to_string())?;
        must(!told.to_string().contains(SECRET), || format!("it is told: {told}"))?;
    }
    client.bash(&format!("echo free > {}", named("free-")))?;
    let told = client.call("apply", json!({}))?;
    must(text(&told).contains("applied") && text(&told).contains("left out: .git/hooks/***"), || text(&told))?;
    // The control: it is there under that name.
    must(stage.exists(&format!("{{ws}}/free-{SECRET}")), || told.to_string())?;
    must(!told.to_string().contains(SECRET) && told.to_string().contains("free-***"), || {
        format!("it is told: {told}")
    })?;
    client.bye()
}

fn elsewhere(stage: &mut Stage) -> Told {
    let (mut client, _) = applying(stage)?;
    let none = client.call("diff", json!({ "paths": ["src"] }))?;
    must(text(&none).contains("no changes wait"), || text(&none))?;
    client.bash("echo one > here")?;
    let told = client.call("diff", json!({ "paths": ["there"] }))?;
    must(text(&told).contains("nothing changed at these paths; changes at others: 1"), || text(&told))?;
    same("total", told.pointer("/structuredContent/total").cloned(), Some(json!(0)))?;
    client.bye()
}
