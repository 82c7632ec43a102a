//! Every way in which a server of MCP ends: its client goes, reads nothing, or sends a signal; its sandbox dies.
//! It never takes a server that has gone for one that has closed its session: the log has to be whole.

use crate::line::{Client, hello, text};
use crate::sessions::{bash, stopped};
use serde_json::json;
use std::time::{Duration, Instant};
use stockade_tests::stage::Stage;
use stockade_tests::story::{Story, Told, must, same};

pub(crate) fn stories() -> Vec<Story> {
    vec![
        Story::new("ends::a_client_that_goes_does_not_leave_its_call_behind", |stage| {
            let mut client = Client::greeted(stage, &[])?;
            let id = client.request("tools/call", bash("sleep 1000"))?;
            std::thread::sleep(Duration::from_millis(300));
            let begun = Instant::now();
            let ended = client.close()?;
            same("exit", ended.code, Some(0))?;
            must(begun.elapsed() < Duration::from_secs(20), || format!("it took {:?}", begun.elapsed()))?;
            must(
                !ended
                    .rest
                    .iter()
                    .any(|message| message.get("id") == Some(&json!(id)) && message.get("result").is_some()),
                || format!("{:?}", ended.rest),
            )?;
            stopped(stage)
        }),
        Story::new("ends::a_client_that_asks_and_goes_at_once_is_still_answered", |stage| {
            let mut client = Client::greeted(stage, &[])?;
            let id = client.request("tools/call", bash("sleep 0.3; echo late"))?;
            let ended = client.close()?;
            same("exit", ended.code, Some(0))?;
            let answer = ended.rest.iter().find(|message| message.get("id") == Some(&json!(id)));
            let stdout = answer.and_then(|answer| answer.pointer("/result/structuredContent/stdout")).cloned();
            same("answer", stdout, Some(json!("late\n")))
        }),
        Story::new("ends::a_signal_does_not_leave_the_log_open", |stage| {
            let mut client = Client::greeted(stage, &[])?;
            client.request("tools/call", bash("sleep 1000"))?;
            std::thread::sleep(Duration::from_millis(300));
            stage.plain(&["/bin/kill", "-TERM", &client.pid().to_string()])?;
            let ended = client.ended()?;
            same("exit", ended.code, Some(0))?;
            stopped(stage)
        }),
        Story::new("ends::a_client_that_reads_nothing_does_not_keep_the_server", |stage| {
            let words = ["{bin}/stockade", "mcp", "--workspace", "{ws}"];
            let mut program = stage
                .program(&["/bin/sh", "-c", "\"$0\" \"$@\" | sleep 0.5"].into_iter().chain(words).collect::<Vec<_>>());
            program.limit = Duration::from_secs(60);
            let mut input = format!(
                "{}\n",
                json!({ "jsonrpc": "2.0", "id": 1, "method": "initialize", "params": hello("2025-11-25") })
            );
            for id in 2..2000 {
                input.push_str(&format!(
                    "{}\n",
                    json!({ "jsonrpc": "2.0", "id": id, "method": "tools/list", "params": {} })
                ));
            }
            program.input = input.into_bytes();
            let ended = stage.go(&program)?;
            same("exit", ended.code(), 0)?;
            stage.answers(0, &["verify", "last"]).map(drop)
        }),
        Story::new("ends::a_sandbox_that_dies_is_told_and_no_call_is_run_after_it", died)
            .not_in_a_container("a container's processes are its engine's, not the server's"),
        Story::new("ends::a_mistake_in_a_profile_is_told_before_the_protocol_begins", |stage| {
            let profile = stage.profile("broken", "[[grant.tool]]\nname = \"diff\"\n")?;
            let ended = Client::start(stage, &["--profile", &profile])?.ended()?;
            same("exit", ended.code, Some(125))?;
            same("messages", ended.rest, Vec::new())?;
            must(ended.err.contains("reason"), || ended.err.clone())
        }),
    ]
}

fn died(stage: &mut Stage) -> Told {
    let mut client = Client::greeted(stage, &[])?;
    client.bash("echo kept > kept")?;
    // The sandbox's init and its helper are children of the server: what kills them is the machine, as the test sees it.
    let tasks = std::fs::read_dir(format!("/proc/{}/task", client.pid()))?.flatten();
    let children: String =
        tasks.filter_map(|task| std::fs::read_to_string(task.path().join("children")).ok()).collect();
    must(!children.trim().is_empty(), || "the server has no children".to_owned())?;
    for child in children.split_whitespace() {
        stage.plain(&["/bin/kill", "-KILL", child])?;
    }
    for _ in 0..2 {
        let told = client.bash("echo on")?;
        must(told.get("isError") == Some(&json!(true)), || told.to_string())?;
        for says in ["has ended", "stockade diff ", "restart this MCP server"] {
            must(text(&told).contains(says), || format!("not {says:?}: {}", text(&told)))?;
        }
    }
    same("still there", client.ask("ping", json!({}))?.get("result").cloned(), Some(json!({})))?;
    let ended = client.close()?;
    must(ended.code == Some(125), || format!("exit {:?}: {}", ended.code, ended.err))?;
    let diff = stage.answers(0, &["diff", "last"])?;
    must(diff.out().contains("+kept"), || diff.told())
}
