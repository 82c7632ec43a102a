//! Tools that are components, as clients of MCP have them: offered by what they say of themselves, judged, logged.
//! It never tests what a tool does with a file: its own tests do.

use crate::line::{Client, text};
use crate::sessions::misfit;
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
        Story::new("components::what_a_component_calls_itself_is_no_tool_of_a_client", renamed),
        Story::new("components::a_profile_whose_components_cannot_be_listed_does_not_serve_without_them", unlisted),
        Story::new("components::no_structured_content_misses_its_schema", fits),
        Story::new("components::a_program_of_somebody_else_is_offered_with_what_it_takes_and_answers", program),
        Story::new("components::what_is_denied_is_not_offered_as_granted", denied),
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
            let tools = tools(&mut client)?;
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

fn denied(stage: &mut Stage) -> Told {
    let rules = "extends = [\"shell\"]\n[[deny.tool]]\nname = \"write\"\nreason = \"nobody writes here\"\n";
    let profile = stage.profile("denies", rules)?;
    let mut client = Client::greeted(stage, &["--profile", &profile])?;
    for (name, granted) in [("write", false), ("edit", true), ("read", true), ("apply", false)] {
        let tool = tools(&mut client)?.into_iter().find(|tool| tool.get("name") == Some(&json!(name)));
        let tool = tool.ok_or_else(|| format!("there is no {name}"))?;
        let says = tool["description"].to_string().contains("Not granted by this session's profile");
        must(says != granted, || format!("{name}: {}", tool["description"]))?;
    }
    client.bye()
}

fn tools(client: &mut Client) -> Result<Vec<Value>, Stop> {
    let list = client.ask("tools/list", json!({}))?;
    Ok(list.pointer("/result/tools").and_then(Value::as_array).cloned().unwrap_or_default())
}

fn names(client: &mut Client) -> Result<Vec<String>, Stop> {
    Ok(tools(client)?.iter().filter_map(|tool| Some(tool.get("name")?.as_str()?.to_owned())).collect())
}

/// A component that answers and does nothing.
const COMPONENT: &[u8] = include_bytes!("../../tools-wasm/components/noop.wasm");

/// Puts the component somewhere, under a name of as many letters that it calls itself.
fn put(stage: &Stage, path: &str, calls_itself: &str) -> Told {
    let (own, other) = (b"{\"name\":\"noop\"", format!("{{\"name\":\"{calls_itself}\""));
    let place = COMPONENT.windows(own.len()).position(|window| window == own);
    let place = place.ok_or_else(|| "the component says its name elsewhere".to_owned())?;
    let mut bytes = COMPONENT.to_vec();
    bytes.splice(place..place + own.len(), other.bytes());
    stage.scene.file_with_mode(path, "", 0o600)?;
    Ok(std::fs::write(stage.scene.path(path), bytes)?)
}

fn renamed(stage: &mut Stage) -> Told {
    put(stage, "{root}/first.wasm", "noop")?;
    put(stage, "{root}/second.wasm", "read")?;
    let tool = |name: &str, file: &str| {
        format!(
            "[[tool]]\nname = \"{name}\"\nfile = \"{file}.wasm\"\nreason = \"r\"\n\
             [[grant.tool]]\nname = \"{name}\"\nreason = \"r\"\n"
        )
    };
    let rules = format!("extends = [\"shell\"]\n{}{}", tool("mine", "first"), tool("yours", "second"));
    let profile = stage.profile("renamed", &rules)?;
    let mut client = Client::greeted(stage, &["--profile", &profile])?;
    let listed = tools(&mut client)?;
    for (name, title) in [("mine", "mine"), ("yours", "yours"), ("read", "Read a file")] {
        let of: Vec<&Value> = listed.iter().filter(|tool| tool.get("name") == Some(&json!(name))).collect();
        must(of.len() == 1 && of[0].get("title") == Some(&json!(title)), || format!("{name}: {of:?}"))?;
    }
    must(!names(&mut client)?.contains(&"noop".to_owned()), || format!("{listed:?}"))?;
    for name in ["mine", "yours"] {
        let told = client.call(name, json!({}))?;
        must(told.get("isError") == Some(&json!(false)), || format!("{name}: {told}"))?;
    }
    client.bye()?;
    let started = stage.answers(0, &["log", "query", "last", "k=tool.start", "--json"])?;
    same("started", started.out().lines().count(), 2)
}

fn unlisted(stage: &mut Stage) -> Told {
    put(stage, "{root}/mine.wasm", "noop")?;
    for (name, rule, says) in [
        (
            "nowhere",
            "[[tool]]\nname = \"*\"\ndirectory = \"{root}/nowhere\"\nreason = \"r\"\n",
            "list the components in",
        ),
        (
            "taken",
            "[[tool]]\nname = \"diff\"\nfile = \"mine.wasm\"\nreason = \"r\"\n",
            "give the component another name",
        ),
    ] {
        let profile = stage.profile(name, &format!("extends = [\"shell\"]\n{rule}"))?;
        let ended = Client::start(stage, &["--profile", &profile])?.ended()?;
        same("exit", ended.code, Some(125))?;
        same("messages", ended.rest, Vec::new())?;
        must(ended.err.contains(says), || ended.err.clone())?;
        // The session that was begun for it is closed.
        stage.answers(0, &["verify", "last"])?;
    }
    Ok(())
}

fn fits(stage: &mut Stage) -> Told {
    let mut client = Client::greeted(stage, &[])?;
    there(&mut client, &BUILT_IN)?;
    let listed = tools(&mut client)?;
    client.bash(
        "printf 'one\\ntwo\\n' > a; mkdir d; ln -s ../a d/l; printf '\\211PNG\\r\\n\\032\\n' > i.png; : > empty",
    )?;
    let patch = "--- a/a\n+++ b/a\n@@ -1,2 +1,2 @@\n one\n-two\n+three\n";
    for (name, arguments) in [
        ("read", json!({ "file_path": "a" })),
        ("read", json!({ "file_path": "empty" })),
        ("read", json!({ "file_path": "i.png" })),
        ("write", json!({ "file_path": "d/new", "content": "new\n" })),
        ("edit", json!({ "file_path": "d/new", "old_string": "new", "new_string": "newer" })),
        ("patch", json!({ "patch": patch })),
        ("glob", json!({ "pattern": "**/*" })),
        ("glob", json!({ "pattern": "nothing*" })),
        ("grep", json!({ "pattern": "o" })),
        ("grep", json!({ "pattern": "nothing at all" })),
        ("list", json!({})),
        ("shell", json!({ "command": "cat a | wc -l; echo err >&2; exit 3" })),
    ] {
        let told = client.call(name, arguments.clone())?;
        let schema = listed.iter().find(|tool| tool.get("name") == Some(&json!(name)));
        let schema = schema.and_then(|tool| tool.get("outputSchema")).ok_or_else(|| format!("{name} has no schema"))?;
        let wrong = misfit(told.get("structuredContent").unwrap_or(&Value::Null), schema, name);
        must(wrong.is_empty(), || format!("{name} {arguments}: {wrong:?}\n{told}"))?;
        must(told.get("isError") == Some(&json!(false)), || format!("{name} {arguments}: {told}"))?;
    }
    client.bye()
}

/// A program for wasm32-wasip2, packed as a tool.
const PROGRAM: &[u8] = include_bytes!("../../tools-wasm/guests/program.wasm");

fn program(stage: &mut Stage) -> Told {
    stage.scene.file_with_mode("{root}/program.wasm", "", 0o600)?;
    std::fs::write(stage.scene.path("{root}/program.wasm"), PROGRAM)?;
    let rules = "extends = [\"shell\"]\n[[tool]]\nname = \"say\"\nfile = \"program.wasm\"\nreason = \"r\"\n\
                 [[grant.tool]]\nname = \"say\"\nstdin = false\nreason = \"r\"\n";
    let profile = stage.profile("program", rules)?;
    let mut client = Client::greeted(stage, &["--profile", &profile])?;
    let tool = tools(&mut client)?.into_iter().find(|tool| tool.get("name") == Some(&json!("say")));
    let tool = tool.ok_or_else(|| "it is not offered".to_owned())?;
    must(tool.pointer("/inputSchema/properties/args/type") == Some(&json!("array")), || tool.to_string())?;
    let output = tool.get("outputSchema").cloned().unwrap_or_default();
    for (words, status) in [(json!(["echo", "a", "b"]), 0), (json!(["fail"]), 1)] {
        let told = client.call("say", json!({ "args": words }))?;
        must(told.get("isError") == Some(&json!(false)), || told.to_string())?;
        let said = told.get("structuredContent").cloned().unwrap_or_default();
        let wrong = misfit(&said, &output, "say");
        must(wrong.is_empty(), || format!("{wrong:?}\n{told}"))?;
        same("status", said.get("status").cloned(), Some(json!(status)))?;
        must(text(&told).contains(if status == 0 { "a|b" } else { "[exit status 1]" }), || text(&told))?;
    }
    for (arguments, says) in [
        (json!({ "args": "echo" }), "\"/args\" is \"echo\", and has to be an array"),
        (json!({ "words": [] }), "\"/words\" is not known: there are args, stdin"),
        (json!({ "args": ["cat"], "stdin": "x" }), "the profile does not grant it"),
    ] {
        let told = client.call("say", arguments)?;
        must(told.get("isError") == Some(&json!(true)), || told.to_string())?;
        must(text(&told).contains("invalid arguments: ") && text(&told).contains(says), || text(&told))?;
    }
    client.bye()?;
    stage.answers(0, &["verify", "last"]).map(drop)
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
