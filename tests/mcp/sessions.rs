//! Calls over MCP and the session under them: order, cancelling, progress, pages, refusals, receipts, apply.
//! It never takes a result's word for what is in the log.

use crate::line::{APPLY, Client, TOOLS, text};
use serde_json::{Value, json};
use std::time::{Duration, Instant};
use stockade_tests::stage::Stage;
use stockade_tests::story::{Story, Told, must, same};

pub(crate) fn stories() -> Vec<Story> {
    order().into_iter().chain(results()).collect()
}

fn order() -> Vec<Story> {
    vec![
        Story::new("calls::results_fit_what_the_tools_say_of_them", fits),
        Story::new("calls::a_running_call_does_not_keep_the_protocol_waiting", responsive),
        Story::new("calls::a_cancelled_call_does_not_go_on", cancelled),
        Story::new("calls::a_cancelled_call_that_has_closed_its_outputs_does_not_go_on", |stage| {
            let mut client = Client::greeted(stage, &[])?;
            cancel(&mut client, "exec >/dev/null 2>&1; exec 1>&- 2>&-; sleep 1000 & sleep 1000")?;
            client.bye()
        }),
        Story::new("calls::a_call_that_waits_and_is_cancelled_is_not_begun", |stage| {
            let mut client = Client::greeted(stage, &[])?;
            let first = client.request("tools/call", bash("sleep 1"))?;
            let second = client.request("tools/call", bash("touch begun"))?;
            client.say(
                &json!({ "jsonrpc": "2.0", "method": "notifications/cancelled", "params": { "requestId": second } }),
            )?;
            client.answer(first)?;
            let list = client.bash("ls")?;
            same("files", list.pointer("/structuredContent/stdout").cloned(), Some(json!("")))?;
            client.bye()
        }),
        Story::new("calls::too_many_that_wait_are_told_so", |stage| {
            let mut client = Client::greeted(stage, &[])?;
            let first = client.request("tools/call", bash("sleep 2"))?;
            let ids: Vec<u64> =
                (0..70).map(|n| client.request("tools/call", bash(&format!("echo {n}")))).collect::<Result<_, _>>()?;
            client.answer(first)?;
            let mut refused = 0;
            let heard = std::mem::take(&mut client.heard);
            for message in &heard {
                let busy = text(message.get("result").unwrap_or(&Value::Null)).contains("calls wait already");
                refused += usize::from(busy);
            }
            // One is running and 64 wait.
            must((5..=7).contains(&refused), || format!("{refused} were refused: {heard:?}"))?;
            let last = client.bash("echo on")?;
            same("afterwards", last.pointer("/structuredContent/stdout").cloned(), Some(json!("on\n")))?;
            must(ids.len() == 70, || "all were sent".to_owned())?;
            client.bye()
        }),
    ]
}

fn results() -> Vec<Story> {
    vec![
        Story::new("calls::progress_does_not_go_to_who_did_not_ask", progress),
        Story::new("calls::long_output_does_not_reach_a_model_in_one_piece", pages),
        Story::new("calls::arguments_that_are_wrong_are_told_and_not_run", wrong),
        Story::new("calls::a_refusal_does_not_leave_a_model_without_words", denied),
        Story::new("calls::receipts_do_not_name_other_records", receipts),
        Story::new("calls::what_is_not_granted_is_not_applied", |stage| {
            let profile = stage.profile("looks", TOOLS)?;
            let mut client = Client::greeted(stage, &["--profile", &profile])?;
            client.bash("echo x > new")?;
            let told = client.call("apply", json!({}))?;
            must(told.get("isError") == Some(&json!(true)), || told.to_string())?;
            client.bye()?;
            must(!stage.exists("{ws}/new"), || "it came to the workspace".to_owned())
        }),
        Story::new("calls::an_apply_does_not_take_what_is_held", apply),
        Story::new("calls::a_session_that_drops_its_changes_does_not_apply_them", |stage| {
            let profile = stage.profile("drops", &format!("{TOOLS}{APPLY}"))?;
            let mut client = Client::greeted(stage, &["--profile", &profile, "--mode", "discard"])?;
            client.bash("echo x > new")?;
            let told = client.call("apply", json!({}))?;
            must(text(&told).contains("dropped"), || told.to_string())?;
            let diff = client.call("diff", json!({}))?;
            same("changes", diff.pointer("/structuredContent/total").cloned(), Some(json!(1)))?;
            client.bye()?;
            must(!stage.exists("{ws}/new"), || "it came to the workspace".to_owned())
        }),
    ]
}

/// Parameters of a call of bash.
pub(crate) fn bash(line: &str) -> Value {
    json!({ "name": "bash", "arguments": { "command": line } })
}

/// The last session's log is whole, and has a call that somebody ended.
pub(crate) fn stopped(stage: &Stage) -> Told {
    stage.answers(0, &["verify", "last"])?;
    let log = stage.answers(0, &["log", "query", "last", "k=result", "--json"])?;
    must(log.out().contains("\"cause\":\"stop\""), || format!("no call was stopped:\n{}", log.out()))
}

fn fits(stage: &mut Stage) -> Told {
    let profile = stage.profile("fits", &format!("{TOOLS}{APPLY}"))?;
    let mut client = Client::greeted(stage, &["--profile", &profile])?;
    let list = client.ask("tools/list", json!({}))?;
    let tools = list.pointer("/result/tools").and_then(Value::as_array).cloned().unwrap_or_default();
    let schema = |name: &str| {
        tools
            .iter()
            .find(|tool| tool.get("name") == Some(&json!(name)))
            .and_then(|tool| tool.get("outputSchema"))
            .cloned()
    };
    for (tool, arguments) in [
        ("bash", json!({ "command": "echo a; echo b >&2; exit 3" })),
        ("bash", json!({ "command": "kill -9 $$" })),
        (
            "bash",
            json!({ "command": "cat; pwd; echo $A", "stdin": "in", "cwd": "/tmp", "env": { "A": "b" }, "timeout_s": 30 }),
        ),
        ("bash", json!({ "command": "seq 100000" })),
        ("bash", json!({ "command": "printf '\\377\\000\\033[1m'" })),
        ("bash", json!({ "command": "echo x > f; mkdir d; ln -s f l" })),
        ("diff", json!({})),
        ("diff", json!({ "paths": ["./f", "d/"], "names_only": true })),
        ("audit_receipt", json!({})),
        ("apply", json!({ "paths": ["f"] })),
        ("apply", json!({})),
    ] {
        let told = client.call(tool, arguments.clone())?;
        let shape = schema(tool).ok_or_else(|| format!("{tool} has no schema"))?;
        let structured = told.get("structuredContent").cloned().unwrap_or(Value::Null);
        let wrong = misfit(&structured, &shape, tool);
        must(wrong.is_empty(), || format!("{tool} {arguments}: {wrong:?}\n{structured}"))?;
        must(told.get("isError") == Some(&json!(false)), || format!("{tool} {arguments}: {told}"))?;
        must(!text(&told).is_empty(), || format!("{tool} says nothing: {told}"))?;
    }
    client.bye()
}

/// Where a value does not fit a schema, of the kind that these tools have.
pub(crate) fn misfit(value: &Value, schema: &Value, at: &str) -> Vec<String> {
    let of = |kind: &str| match kind {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        "boolean" => value.is_boolean(),
        _ => false,
    };
    let mut wrong = Vec::new();
    if !schema.get("type").and_then(Value::as_str).is_none_or(of) {
        wrong.push(format!("{at} is no {}", schema["type"]));
    }
    if schema.get("enum").and_then(Value::as_array).is_some_and(|all| !all.contains(value)) {
        wrong.push(format!("{at} is {value}"));
    }
    let properties = schema.get("properties").and_then(Value::as_object);
    for (name, member) in value.as_object().into_iter().flatten() {
        match properties.and_then(|properties| properties.get(name)) {
            Some(schema) => wrong.extend(misfit(member, schema, &format!("{at}.{name}"))),
            None if schema.get("additionalProperties") == Some(&json!(false)) => {
                wrong.push(format!("{at}.{name} is unknown"))
            }
            None => {}
        }
    }
    for name in schema.get("required").and_then(Value::as_array).into_iter().flatten() {
        if name.as_str().is_some_and(|name| value.get(name).is_none()) {
            wrong.push(format!("{at}.{name} is missing"));
        }
    }
    for item in value.as_array().into_iter().flatten() {
        wrong.extend(schema.get("items").map(|schema| misfit(item, schema, &format!("{at}[]"))).unwrap_or_default());
    }
    wrong
}

fn responsive(stage: &mut Stage) -> Told {
    let mut client = Client::greeted(stage, &[])?;
    let call = client.request("tools/call", bash("sleep 2; echo slept"))?;
    for method in ["ping", "tools/list", "ping"] {
        let begun = Instant::now();
        let answer = client.ask(method, json!({}))?;
        must(answer.get("result").is_some() && begun.elapsed() < Duration::from_millis(1500), || {
            format!("{method}: {:?}", begun.elapsed())
        })?;
    }
    must(client.heard.is_empty(), || "the call was over before the questions".to_owned())?;
    let answer = client.answer(call)?;
    same("the call", answer.pointer("/result/structuredContent/stdout").cloned(), Some(json!("slept\n")))?;
    client.bye()
}

/// Cancels a command once it runs; the next one is served at once, and finds none of its processes.
fn cancel(client: &mut Client, line: &str) -> Told {
    let id = client.request("tools/call", bash(line))?;
    std::thread::sleep(Duration::from_millis(500));
    client.say(&json!({ "jsonrpc": "2.0", "method": "notifications/cancelled", "params": { "requestId": id, "reason": "test" } }))?;
    let begun = Instant::now();
    let next = client.bash("ps ax 2>/dev/null | grep -c '[s]leep 1000'")?;
    must(begun.elapsed() < Duration::from_secs(20), || format!("it took {:?}", begun.elapsed()))?;
    same("sleepers", next.pointer("/structuredContent/stdout").cloned(), Some(json!("0\n")))?;
    let answered = client.heard.iter().any(|message| message.get("id") == Some(&json!(id)));
    must(!answered, || format!("a cancelled call was answered: {:?}", client.heard))
}

fn cancelled(stage: &mut Stage) -> Told {
    let mut client = Client::greeted(stage, &[])?;
    cancel(&mut client, "trap '' TERM INT HUP; sleep 1000 & while :; do sleep 1000; done")?;
    client.bye()?;
    stopped(stage)
}

fn progress(stage: &mut Stage) -> Told {
    let mut client = Client::greeted(stage, &[])?;
    let line = "for i in 1 2 3 4 5; do echo step $i; sleep 0.3; done";
    client.bash(line)?;
    same("unasked", std::mem::take(&mut client.heard), Vec::new())?;
    let mut params = bash(line);
    params["_meta"] = json!({ "progressToken": "mine" });
    client.ask("tools/call", params)?;
    let heard = std::mem::take(&mut client.heard);
    let told: Vec<(f64, String)> = heard
        .iter()
        .filter(|message| message.pointer("/params/progressToken") == Some(&json!("mine")))
        .map(|message| {
            let progress = message.pointer("/params/progress").and_then(Value::as_f64).unwrap_or_default();
            (progress, message.pointer("/params/message").and_then(Value::as_str).unwrap_or_default().to_owned())
        })
        .collect();
    must(told.len() >= 2 && told.len() == heard.len(), || format!("{heard:?}"))?;
    must(told.windows(2).all(|pair| pair[0].0 < pair[1].0), || format!("it does not grow: {told:?}"))?;
    must(told.iter().any(|(_, message)| message.contains("step")), || format!("{told:?}"))?;
    client.bye()
}

fn pages(stage: &mut Stage) -> Told {
    const PAGE_BYTES_MAX: usize = 64 * 1024;
    let mut client = Client::greeted(stage, &[])?;
    let mut told = client.bash("seq 200000")?;
    let first = text(&told);
    must(first.starts_with("1\n2\n") && first.contains("200000\n"), || "the first page has neither end".to_owned())?;
    let head = first.split("\n…").next().unwrap_or_default().to_owned() + "\n";
    let mut whole = head;
    while let Some(cursor) = told.pointer("/structuredContent/cursor").and_then(Value::as_str).map(str::to_owned) {
        must(text(&told).len() < PAGE_BYTES_MAX, || format!("a page of {} bytes", text(&told).len()))?;
        told = client.call("bash", json!({ "cursor": cursor }))?;
        whole += told.pointer("/structuredContent/stdout").and_then(Value::as_str).unwrap_or_default();
    }
    let expected: String = (1..=200_000).map(|n| format!("{n}\n")).collect();
    must(whole == expected, || format!("{} bytes of {}", whole.len(), expected.len()))?;
    for forged in ["", "x", "0", "0.99999999", "9.0", "-1.0"] {
        let told = client.call("bash", json!({ "cursor": forged }))?;
        must(told.get("isError") == Some(&json!(true)) && text(&told).contains("hint"), || {
            format!("{forged}: {told}")
        })?;
    }
    // The log has the bytes, and reading pages of them is no call.
    let id = client.call("bash", json!({ "command": "head -c 9000000 /dev/zero | tr '\\0' x" }))?;
    must(text(&id).contains("not kept"), || text(&id).chars().take(300).collect())?;
    client.bye()?;
    let calls = stage.answers(0, &["log", "query", "last", "k=call", "--json"])?;
    same("calls in the log", calls.out().lines().count(), 2)
}

fn wrong(stage: &mut Stage) -> Told {
    let profile = stage.profile("wrong", TOOLS)?;
    let mut client = Client::greeted(stage, &["--profile", &profile])?;
    for (tool, arguments, says) in [
        ("bash", json!({}), "\"command\" is missing"),
        ("bash", json!({ "comand": "ls" }), "\"command\" is missing"),
        ("bash", json!({ "command": "ls", "comand": "ls" }), "there is no argument \"comand\""),
        ("bash", json!({ "command": ["ls"] }), "give a string"),
        ("bash", json!({ "command": "ls", "timeout_s": 0 }), "whole number"),
        ("bash", json!({ "command": "ls", "timeout_s": "1" }), "whole number"),
        ("bash", json!({ "command": "ls", "env": { "A": 1 } }), "values are strings"),
        ("bash", json!({ "command": "ls", "env": { "A=B": "1" } }), "hint"),
        ("bash", json!({ "command": "a\u{0}b" }), "NUL"),
        ("bash", json!({ "command": "ls", "cursor": "0.0" }), "alone"),
        ("bash", json!({ "command": "x".repeat(200_000) }), "hint"),
        ("diff", json!({ "paths": "a" }), "list of strings"),
        ("diff", json!({ "paths": ["../x"] }), "relative to the workspace"),
        ("diff", json!({ "paths": ["/etc"] }), "relative to the workspace"),
        ("audit_receipt", json!({ "calls": -1 }), "whole number"),
    ] {
        let told = client.call(tool, arguments.clone())?;
        must(told.get("isError") == Some(&json!(true)), || format!("{tool} {arguments}: {told}"))?;
        must(text(&told).contains(says), || format!("{tool}: not {says:?}: {}", text(&told)))?;
    }
    client.bye()?;
    let calls = stage.answers(0, &["log", "query", "last", "k=call", "--json"])?;
    same("calls in the log", calls.out(), String::new())
}

fn denied(stage: &mut Stage) -> Told {
    let rules =
        "extends = [\"shell\"]\n[[deny.exec]]\nargv = [\"bash\", \"**\"]\nreason = \"nobody runs shells here\"\n";
    let profile = stage.profile("denies", rules)?;
    let mut client = Client::greeted(stage, &["--profile", &profile])?;
    let told = client.bash("echo no")?;
    must(told.get("isError") == Some(&json!(true)), || told.to_string())?;
    for says in ["denied:", "nobody runs shells here", "rule: denies:", "to ask:"] {
        must(text(&told).contains(says), || format!("not {says:?}: {}", text(&told)))?;
    }
    let why = told.pointer("/_meta/stockade~1denial").cloned().unwrap_or_default();
    must(why.get("rule").is_some_and(Value::is_string) && why.get("ask").is_some_and(Value::is_string), || {
        told.to_string()
    })?;
    // A refusal is in the log as well, and its answer says where.
    let n = told.pointer("/_meta/stockade~1receipt/position").and_then(Value::as_u64);
    let n = n.ok_or_else(|| format!("no receipt: {told}"))?;
    let outside = client.call("bash", json!({ "command": "pwd", "cwd": "/etc" }))?;
    must(text(&outside).contains("denied"), || outside.to_string())?;
    client.bye()?;
    let shown = stage.answers(0, &["log", "show", "last", &n.to_string(), "--json"])?;
    must(shown.out().contains("\"k\":\"deny\""), || shown.told())?;
    stage.answers(0, &["log", "prove", "last", &n.to_string()])?;
    let refusals = stage.answers(0, &["log", "query", "last", "k=deny", "--json"])?;
    same("refusals in the log", refusals.out().lines().count(), 2)?;
    stage.answers(0, &["verify", "last"]).map(drop)
}

fn receipts(stage: &mut Stage) -> Told {
    let profile = stage.profile("receipts", TOOLS)?;
    let mut client = Client::greeted(stage, &["--profile", &profile])?;
    let mut told = Vec::new();
    for line in ["true", "echo x > f", "exit 4"] {
        told.push(client.bash(line)?);
    }
    told.push(client.call("diff", json!({}))?);
    let proof = client.call("audit_receipt", json!({ "calls": 4 }))?;
    told.push(proof.clone());
    client.bye()?;
    for result in &told {
        let receipt =
            result.pointer("/_meta/stockade~1receipt").cloned().ok_or_else(|| format!("no receipt: {result}"))?;
        let n = receipt.get("position").and_then(Value::as_u64).ok_or_else(|| receipt.to_string())?;
        let shown = stage.answers(0, &["log", "show", "last", &n.to_string(), "--json"])?;
        let record: Value = serde_json::from_str(&shown.out()).map_err(|e| format!("{e}: {}", shown.out()))?;
        must(record.get("k") == Some(&json!("result")), || format!("record {n} is {record}"))?;
        stage.answers(0, &["log", "prove", "last", &n.to_string()])?;
    }
    let listed: Vec<u64> = proof
        .pointer("/structuredContent/calls")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(|call| call.get("position").and_then(Value::as_u64))
        .collect();
    let mut given: Vec<u64> = told
        .iter()
        .take(4)
        .filter_map(|result| result.pointer("/_meta/stockade~1receipt/position").and_then(Value::as_u64))
        .collect();
    given.reverse();
    same("positions", listed, given)?;
    must(proof.pointer("/structuredContent/covered") == Some(&json!(true)), || proof.to_string())?;
    stage.answers(0, &["verify", "last"]).map(drop)
}

fn apply(stage: &mut Stage) -> Told {
    let profile = stage.profile("applies", &format!("{TOOLS}{APPLY}"))?;
    let mut client = Client::greeted(stage, &["--profile", &profile])?;
    let nothing = client.call("apply", json!({}))?;
    must(text(&nothing).contains("nothing to apply"), || nothing.to_string())?;
    client.bash("echo one > taken; echo two > left; echo 'echo hi' > .envrc")?;
    let told = client.call("apply", json!({}))?;
    let applied = told.pointer("/structuredContent/applied").cloned();
    same("applied", applied, Some(json!(["left", "taken"])))?;
    must(text(&told).contains(".envrc") && text(&told).contains("a person has to consent"), || text(&told))?;
    must(stage.text("{ws}/taken") == "one\n" && !stage.exists("{ws}/.envrc"), || "not what was said".to_owned())?;
    let ended = told.pointer("/structuredContent/ended_session").and_then(Value::as_str).unwrap_or_default().to_owned();
    let again = client.bash("cat taken left; ls -a .envrc; echo three > later")?;
    must(text(&again).starts_with("one\ntwo\n"), || text(&again))?;
    let now = again.pointer("/_meta/stockade~1receipt/log").and_then(Value::as_str).unwrap_or_default().to_owned();
    must(now != ended && !now.is_empty(), || format!("{now} is {ended}"))?;
    client.bye()?;
    for session in [&ended, &now] {
        stage.answers(0, &["verify", session])?;
    }
    stage.answers(0, &["undo", &ended])?;
    must(!stage.exists("{ws}/taken"), || "it was not taken back".to_owned())
}
