//! The wire: whatever stands in a line gets the answer that the protocol has for it, and the server lives on.
//! It never uses a library of MCP: a library would not send most of this.

use crate::line::{Client, TOOLS, hello, meta};
use serde_json::{Value, json};
use std::time::Duration;
use stockade_tests::stage::Stage;
use stockade_tests::story::{Story, Told, must, same};

/// Name, line, and the answer's error code; none where nothing is answered.
const LINES: &[(&str, &str, Option<i64>)] = &[
    ("no_json", "not json", Some(-32700)),
    ("half_an_object", r#"{"jsonrpc":"2.0","id":1,"method":"#, Some(-32700)),
    ("a_nul", "\0", Some(-32700)),
    ("a_batch", r#"[{"jsonrpc":"2.0","id":1,"method":"ping"}]"#, Some(-32600)),
    ("a_number", "7", Some(-32600)),
    ("another_version_of_json_rpc", r#"{"jsonrpc":"1.0","id":1,"method":"ping"}"#, Some(-32600)),
    ("no_version_of_json_rpc", r#"{"id":1,"method":"ping"}"#, Some(-32600)),
    ("an_id_that_is_an_object", r#"{"jsonrpc":"2.0","id":{},"method":"ping"}"#, Some(-32600)),
    ("neither_question_nor_answer", r#"{"jsonrpc":"2.0","id":1}"#, Some(-32600)),
    ("an_unknown_method", r#"{"jsonrpc":"2.0","id":1,"method":"no/such","params":{}}"#, Some(-32601)),
    ("a_method_that_is_not_declared", r#"{"jsonrpc":"2.0","id":1,"method":"resources/list"}"#, Some(-32601)),
    ("prompts", r#"{"jsonrpc":"2.0","id":1,"method":"prompts/list"}"#, Some(-32601)),
    (
        "a_level_of_logging",
        r#"{"jsonrpc":"2.0","id":1,"method":"logging/setLevel","params":{"level":"info"}}"#,
        Some(-32601),
    ),
    ("a_call_without_a_name", r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{}}"#, Some(-32602)),
    (
        "arguments_that_are_a_list",
        r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"bash","arguments":[]}}"#,
        Some(-32602),
    ),
    (
        "a_tool_that_there_is_not",
        r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"rm -rf","arguments":{}}}"#,
        Some(-32602),
    ),
    (
        "a_cursor_of_another_list",
        r#"{"jsonrpc":"2.0","id":1,"method":"tools/list","params":{"cursor":"x"}}"#,
        Some(-32602),
    ),
    ("an_unknown_notification", r#"{"jsonrpc":"2.0","method":"notifications/nosuch"}"#, None),
    ("an_answer_that_nobody_waits_for", r#"{"jsonrpc":"2.0","id":77,"result":{}}"#, None),
    ("an_error_that_nobody_waits_for", r#"{"jsonrpc":"2.0","id":77,"error":{"code":1,"message":"x"}}"#, None),
    (
        "a_cancellation_of_nothing",
        r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":4711}}"#,
        None,
    ),
    ("an_empty_line", " \t\r", None),
];

pub(crate) fn stories() -> Vec<Story> {
    let mut stories = Vec::new();
    for (name, line, code) in LINES {
        stories.push(Story::new(format!("wire::{name}_does_not_end_the_server"), move |stage| {
            let mut client = Client::greeted(stage, &[])?;
            one(&mut client, line, *code)?;
            client.bye()
        }));
    }
    stories.extend([
        Story::new("wire::nothing_before_the_handshake_ends_the_server", early),
        Story::new("wire::a_line_of_any_length_is_not_kept", |stage| {
            let mut client = Client::greeted(stage, &[])?;
            for _ in 0..64 {
                client.send(&vec![b'x'; 1 << 20])?;
            }
            // Answered before the line ends: who waits for an answer may never end it.
            let answer = client.next()?;
            same("code", answer.pointer("/error/code").cloned(), Some(json!(-32600)))?;
            client.send(b"\n")?;
            alive(&mut client)?;
            let status = std::fs::read_to_string(format!("/proc/{}/status", client.pid()))?;
            let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap_or_default();
            let kib: u64 = peak.trim().trim_end_matches(" kB").parse().map_err(|e| format!("{e}: {peak}"))?;
            must(kib < 256 * 1024, || format!("64 MiB of a line made it use {kib} KiB"))?;
            client.bye()
        }),
        Story::new("wire::a_deep_nest_is_not_followed", |stage| {
            let mut client = Client::greeted(stage, &[])?;
            let deep = format!(
                "{{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"ping\",\"params\":{}{}}}\n",
                "[".repeat(100_000),
                "]".repeat(100_000)
            );
            client.send(deep.as_bytes())?;
            same("code", client.next()?.pointer("/error/code").cloned(), Some(json!(-32700)))?;
            alive(&mut client)?;
            client.bye()
        }),
        Story::new("wire::every_version_is_answered_with_one_that_both_know", versions),
        Story::new("wire::requests_without_a_handshake_need_their_metadata", stateless),
        Story::new("wire::standard_output_has_nothing_but_the_protocol", |stage| {
            let mut client = Client::greeted(stage, &["-vv"])?;
            client.bash("echo x; echo y >&2")?;
            let ended = client.close()?;
            same("exit", ended.code, Some(0))?;
            must(ended.err.contains("stockade: session "), || ended.err.clone())?;
            same("lines that nobody asked for", ended.rest, Vec::new())
        }),
    ]);
    stories
}

fn one(client: &mut Client, line: &str, code: Option<i64>) -> Told {
    client.send(line.as_bytes())?;
    client.send(b"\n")?;
    if let Some(code) = code {
        let answer = client.next()?;
        must(answer.pointer("/error/code") == Some(&json!(code)), || format!("not {code}: {answer}"))?;
        let message = answer.pointer("/error/message").and_then(Value::as_str).unwrap_or_default();
        must(!message.is_empty() && !message.contains('\0'), || answer.to_string())?;
    }
    alive(client)
}

/// The next answer is to this question: nothing else was said in between.
fn alive(client: &mut Client) -> Told {
    client.heard.clear();
    let answer = client.ask("ping", json!({}))?;
    must(answer.get("result") == Some(&json!({})), || answer.to_string())?;
    same("said meanwhile", std::mem::take(&mut client.heard), Vec::new())
}

fn early(stage: &mut Stage) -> Told {
    let mut client = Client::start(stage, &[])?;
    for line in [
        r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#,
        r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":1}}"#,
        r#"{"jsonrpc":"2.0","id":1,"result":{}}"#,
    ] {
        one(&mut client, line, None)?;
    }
    one(&mut client, "junk", Some(-32700))?;
    for method in ["tools/list", "tools/call", "no/such"] {
        let line = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": { "name": "bash" } }).to_string();
        one(&mut client, &line, Some(-32602))?;
    }
    let answer = client.ask("tools/list", json!({}))?;
    let message = answer.pointer("/error/message").and_then(Value::as_str).unwrap_or_default();
    must(message.contains("before initialize"), || answer.to_string())?;
    let answer = client.ask("initialize", json!({ "protocolVersion": 7 }))?;
    same("a broken greeting", answer.pointer("/error/code").cloned(), Some(json!(-32602)))?;
    let answer = client.ask("initialize", hello("2025-06-18"))?;
    same("version", answer.pointer("/result/protocolVersion").cloned(), Some(json!("2025-06-18")))?;
    let answer = client.ask("tools/list", json!({}))?;
    must(answer.pointer("/result/tools/0/name").is_some(), || answer.to_string())?;
    client.bye()
}

fn versions(stage: &mut Stage) -> Told {
    let known = ["2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25"];
    for (asked, told) in
        known.iter().map(|known| (*known, *known)).chain([("2026-07-28", "2025-11-25"), ("1999-01-01", "2025-11-25")])
    {
        let mut client = Client::start(stage, &[])?;
        let answer = client.ask("initialize", hello(asked))?;
        same(asked, answer.pointer("/result/protocolVersion").cloned(), Some(json!(told)))?;
        let list = client.ask("tools/list", json!({}))?;
        for key in ["resultType", "ttlMs", "cacheScope"] {
            must(list.pointer(&format!("/result/{key}")).is_none(), || format!("{asked} has no {key}: {list}"))?;
        }
        client.bye()?;
    }
    Ok(())
}

fn stateless(stage: &mut Stage) -> Told {
    let profile = stage.profile("stateless", TOOLS)?;
    let mut client = Client::start(stage, &["--profile", &profile])?;
    let with = |mut params: Value, meta: Value| {
        params["_meta"] = meta;
        params
    };
    let answer = client.ask("server/discover", with(json!({}), meta("2026-07-28")))?;
    let supported = answer.pointer("/result/supportedVersions").cloned().unwrap_or_default();
    must(supported.as_array().is_some_and(|all| all.contains(&json!("2026-07-28"))), || answer.to_string())?;
    must(answer.pointer("/result/capabilities/tools").is_some(), || answer.to_string())?;
    must(answer.pointer("/result/capabilities/prompts").is_none(), || answer.to_string())?;
    let answer = client.ask("tools/list", with(json!({}), meta("2099-01-01")))?;
    same("a version of the future", answer.pointer("/error/code").cloned(), Some(json!(-32022)))?;
    let answer = client.ask("tools/list", with(json!({}), meta("2026-07-28")))?;
    same("resultType", answer.pointer("/result/resultType").cloned(), Some(json!("complete")))?;
    must(answer.pointer("/result/ttlMs").is_some_and(Value::is_u64), || answer.to_string())?;
    same("cacheScope", answer.pointer("/result/cacheScope").cloned(), Some(json!("private")))?;
    for missing in ["io.modelcontextprotocol/protocolVersion", "io.modelcontextprotocol/clientCapabilities"] {
        let mut short = meta("2026-07-28");
        short.as_object_mut().ok_or_else(|| "an object".to_owned())?.remove(missing);
        let answer = client.ask("tools/list", with(json!({}), short))?;
        same(missing, answer.pointer("/error/code").cloned(), Some(json!(-32602)))?;
    }
    for removed in ["ping", "logging/setLevel", "resources/subscribe"] {
        let params = with(json!({ "level": "info", "uri": "x:y" }), meta("2026-07-28"));
        let answer = client.ask(removed, params)?;
        same(removed, answer.pointer("/error/code").cloned(), Some(json!(-32601)))?;
    }
    let call = json!({ "name": "bash", "arguments": { "command": "echo stateless" } });
    let answer = client.ask("tools/call", with(call, meta("2026-07-28")))?;
    same("stdout", answer.pointer("/result/structuredContent/stdout").cloned(), Some(json!("stateless\n")))?;
    same("resultType", answer.pointer("/result/resultType").cloned(), Some(json!("complete")))?;
    must(client.within(Duration::from_millis(100))?.is_none(), || "something was said unasked".to_owned())?;
    client.bye()
}
