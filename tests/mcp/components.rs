//! Tools that are components, as clients of MCP have them: offered by what they say of themselves, judged, logged.
//! It never tests what a tool does with a file: its own tests do.

use crate::line::{Client, text};
use serde_json::{Value, json};
use stockade_tests::stage::Stage;
use stockade_tests::story::{Stop, Story, Told, must, same};

/// Tools that a session of the profile "shell" has, where this build has them.
const BUILT_IN: [&str; 8] = ["read", "write", "edit", "patch", "glob", "grep", "list", "fetch"];

pub(crate) fn stories() -> Vec<Story> {
    vec![
        Story::new("components::a_call_of_one_is_in_the_log_with_its_instance", |stage| {
            let rules = "extends = [\"shell\"]\n[[grant.tool]]\nname = \"noop\"\nreason = \"it is tried\"\n";
            let profile = stage.profile("noop", rules)?;
            let mut client = Client::greeted(stage, &["--profile", &profile])?;
            let told = client.call("noop", json!({ "any": ["thing", 1, null] }))?;
            must(told.get("isError") == Some(&json!(false)), || told.to_string())?;
            same("structured", told.get("structuredContent").cloned(), Some(json!({})))?;
            let n = told.pointer("/_meta/stockade~1receipt/position").and_then(Value::as_u64);
            let n = n.ok_or_else(|| format!("no receipt: {told}"))?;
            client.bye()?;
            for kind in ["tool.start", "tool.end"] {
                let records = stage.answers(0, &["log", "query", "last", &format!("k={kind}"), "--json"])?;
                same(kind, records.out().lines().count(), 1)?;
            }
            stage.answers(0, &["log", "prove", "last", &n.to_string()])?;
            stage.answers(0, &["verify", "last"]).map(drop)
        }),
        Story::new("components::what_is_measured_with_is_not_offered", |stage| {
            let mut client = Client::greeted(stage, &[])?;
            must(!names(&mut client)?.contains(&"noop".to_owned()), || "a model is offered noop".to_owned())?;
            client.bye()
        }),
        Story::new("components::a_tool_that_is_not_granted_does_not_run_and_says_so", |stage| {
            let mut client = Client::greeted(stage, &["--profile", "locked"])?;
            there(&mut client, &["write"])?;
            let told = client.call("write", json!({ "file_path": "new", "content": "x" }))?;
            must(told.get("isError") == Some(&json!(true)), || told.to_string())?;
            must(text(&told).contains("denied") && text(&told).contains("to ask:"), || text(&told))?;
            client.bye()?;
            let started = stage.answers(0, &["log", "query", "last", "k=tool.start", "--json"])?;
            same("started", started.out(), String::new())?;
            stage.answers(0, &["verify", "last"]).map(drop)
        }),
        Story::new("components::tools_and_commands_do_not_see_different_files", shared),
        Story::new("components::wrong_arguments_of_each_tool_are_told", |stage| {
            let mut client = Client::greeted(stage, &[])?;
            there(&mut client, &BUILT_IN)?;
            for tool in BUILT_IN {
                let told = client.call(tool, json!({ "nobody": "knows this" }))?;
                must(told.get("isError") == Some(&json!(true)), || format!("{tool}: {told}"))?;
                must(text(&told).contains("invalid arguments"), || format!("{tool}: {}", text(&told)))?;
            }
            client.bye()?;
            stage.answers(0, &["verify", "last"]).map(drop)
        }),
        Story::new("components::each_tool_says_what_a_client_needs", |stage| {
            let mut client = Client::greeted(stage, &[])?;
            there(&mut client, &BUILT_IN)?;
            let list = client.ask("tools/list", json!({}))?;
            let tools = list.pointer("/result/tools").and_then(Value::as_array).cloned().unwrap_or_default();
            for name in BUILT_IN {
                let tool =
                    tools.iter().find(|tool| tool.get("name") == Some(&json!(name))).cloned().unwrap_or_default();
                for key in ["title", "description", "inputSchema", "outputSchema", "annotations"] {
                    must(tool.get(key).is_some(), || format!("{name} has no {key}"))?;
                }
                let reads = tool.pointer("/annotations/readOnlyHint") == Some(&json!(true));
                let looks = ["read", "glob", "grep", "list"].contains(&name);
                must(reads == looks, || format!("{name}: {}", tool["annotations"]))?;
            }
            client.bye()
        }),
    ]
}

fn names(client: &mut Client) -> Result<Vec<String>, Stop> {
    let list = client.ask("tools/list", json!({}))?;
    let tools = list.pointer("/result/tools").and_then(Value::as_array).cloned().unwrap_or_default();
    Ok(tools.iter().filter_map(|tool| Some(tool.get("name")?.as_str()?.to_owned())).collect())
}

/// Skips a story whose tools this build does not have.
fn there(client: &mut Client, wanted: &[&str]) -> Told {
    let names = names(client)?;
    match wanted.iter().find(|wanted| !names.iter().any(|name| name == *wanted)) {
        None => Ok(()),
        Some(missing) => Err(Stop::Skip(format!("this build has no tool \"{missing}\""))),
    }
}

fn shared(stage: &mut Stage) -> Told {
    let mut client = Client::greeted(stage, &[])?;
    there(&mut client, &["read", "write", "edit", "grep"])?;
    client.bash("printf 'one\\ntwo\\n' > by-command")?;
    let read = client.call("read", json!({ "file_path": "by-command" }))?;
    must(text(&read).contains("two"), || read.to_string())?;
    let wrote = client.call("write", json!({ "file_path": "by-tool", "content": "three\n" }))?;
    must(wrote.get("isError") == Some(&json!(false)), || wrote.to_string())?;
    let cat = client.bash("cat by-tool")?;
    same("a command sees", cat.pointer("/structuredContent/stdout").cloned(), Some(json!("three\n")))?;
    let found = client.call("grep", json!({ "pattern": "thr.e" }))?;
    must(text(&found).contains("by-tool"), || found.to_string())?;
    let diff = client.call("diff", json!({}))?;
    same("changes", diff.pointer("/structuredContent/total").cloned(), Some(json!(2)))?;
    client.bye()?;
    must(!stage.exists("{ws}/by-tool"), || "it came to the workspace before it was applied".to_owned())?;
    stage.answers(0, &["verify", "last"]).map(drop)
}
