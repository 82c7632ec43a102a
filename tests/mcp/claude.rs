//! The real Claude Code, its own tools off, with a model that does what a script says: the harness that this wire is for.
//! It never reaches anybody but a server of the test on the loopback: no login, no key, no model.

use crate::clients::{outside, part};
use crate::line::TOOLS;
use serde_json::{Value, json};
use std::process::Child;
use std::time::{Duration, Instant};
use stockade_tests::process::end_group;
use stockade_tests::stage::Stage;
use stockade_tests::story::{Stop, Story, must, same};

/// Longest time until a server of the test listens, or has ended.
const START: Duration = Duration::from_secs(30);

pub(crate) fn stories() -> Vec<Story> {
    vec![
        Story::new("claude_code::works_with_our_tools_alone", |stage| {
            let steps = json!([
                ["mcp__stockade__bash", { "command": "echo made by a model > made; cat made" }],
                ["mcp__stockade__diff", {}],
                ["mcp__stockade__audit_receipt", {}],
            ]);
            let results = driven(stage, &steps, "bash,mcp__stockade__diff,mcp__stockade__audit_receipt")?;
            same("results", results.len(), 3)?;
            must(results[0].1.contains("made by a model"), || format!("{results:?}"))?;
            must(results[1].1.contains("+made by a model"), || format!("{results:?}"))?;
            must(results[2].1.contains("checkpoint"), || format!("{results:?}"))?;
            must(results.iter().all(|(is_error, _)| !is_error), || format!("{results:?}"))?;
            must(!stage.exists("{ws}/made"), || "it came to the workspace before it was applied".to_owned())?;
            stage.answers(0, &["verify", "last"])?;
            let diff = stage.answers(0, &["diff", "last"])?;
            must(diff.out().contains("+made by a model"), || diff.told())
        }),
        Story::new("claude_code::a_refusal_reaches_the_model_in_words", |stage| {
            let steps = json!([
                ["mcp__stockade__apply", {}],
                ["mcp__stockade__bash", { "command": "cat /etc/shadow; echo x > /usr/bin/x" }],
            ]);
            let results = driven(stage, &steps, "apply,mcp__stockade__bash")?;
            must(results.len() == 2 && results[0].0, || format!("{results:?}"))?;
            must(results[0].1.contains("denied:") && results[0].1.contains("to ask:"), || format!("{results:?}"))?;
            must(results[1].1.contains("denied") || results[1].1.contains("Read-only"), || format!("{results:?}"))?;
            stage.answers(0, &["verify", "last"]).map(drop)
        }),
    ]
}

/// A process of the test, which ends with it.
pub(crate) struct Server(pub(crate) Child);

impl Drop for Server {
    fn drop(&mut self) {
        end_group(&mut self.0, START);
        drop(self.0.wait());
    }
}

/// Waits until a server has written its port.
pub(crate) fn port(stage: &Stage, file: &str) -> Result<u16, Stop> {
    let until = Instant::now() + START;
    loop {
        if let Ok(text) = std::fs::read_to_string(stage.scene.path(file)) {
            return text.trim().parse().map_err(|e| Stop::Fail(format!("{text}: {e}")));
        }
        must(Instant::now() < until, || format!("{file} is not written"))?;
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Lets Claude Code do what the model says; what the tools answered, as the model got it: whether it is an error, and text.
fn driven(stage: &Stage, steps: &Value, allowed: &str) -> Result<Vec<(bool, String)>, Stop> {
    let claude = part("mcp-node")?.join("claude-code/node_modules/@anthropic-ai/claude-code-linux-x64/claude");
    if !claude.is_file() {
        return Err(Stop::Skip(format!("there is no Claude Code for this machine: {}", claude.display())));
    }
    if stockade_tests::binaries::under_test()?.is_none() {
        return Err(Stop::Skip("controls only".to_owned()));
    }
    let profile = stage.profile("claude", TOOLS)?;
    stage.scene.folder("{root}/model")?;
    let model = outside("model.py").display().to_string();
    let words = ["/usr/bin/python3", &model, "{root}/model/port", "{root}/model/heard"];
    let mut program = stage.program(&words);
    program.argv.push(steps.to_string().into());
    let _server = Server(program.start()?);
    let port = port(stage, "{root}/model/port")?;

    let servers = json!({ "mcpServers": { "stockade": {
        "command": stage.scene.fill("{bin}/stockade"),
        "args": ["mcp", "--workspace", stage.scene.fill("{ws}"), "--profile", profile],
    } } });
    let allowed = format!("mcp__stockade__{allowed}");
    let claude = claude.display().to_string();
    let mut program =
        stage.program(&[&claude, "--tools", "", "--strict-mcp-config", "--allowedTools", &allowed, "--mcp-config"]);
    program.argv.extend([servers.to_string().into(), "-p".into(), "do what has to be done".into()]);
    let base = format!("http://127.0.0.1:{port}");
    for (name, value) in [
        ("ANTHROPIC_BASE_URL", base.as_str()),
        ("ANTHROPIC_API_KEY", "none"),
        ("CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC", "1"),
        ("DISABLE_AUTOUPDATER", "1"),
    ] {
        program.environment.push((name.into(), value.into()));
    }
    let ended = stage.go(&program)?;
    must(ended.code() == 0 && ended.out().contains("finished"), || ended.told())?;
    // Whatever it keeps for itself is nothing that the binary under test left behind.
    drop(std::fs::remove_dir_all(stage.scene.path("{temporary}")));
    stage.scene.folder("{temporary}")?;
    results(&stage.text("{root}/model/heard"))
}

/// The results of tools in the longest conversation that the model saw.
fn results(heard: &str) -> Result<Vec<(bool, String)>, Stop> {
    let mut longest = Vec::new();
    for line in heard.lines() {
        let asked: Value = serde_json::from_str(line).map_err(|e| format!("{e}: {line}"))?;
        let offered = asked.pointer("/request/tools").and_then(Value::as_array).cloned().unwrap_or_default();
        let names = || offered.iter().filter_map(|tool| tool.get("name")?.as_str());
        // Its own tools are off: what the model could do, it could do through ours alone.
        let own = ["Bash", "Read", "Write", "Edit", "Glob", "Grep", "WebFetch", "Task"];
        must(!names().any(|name| own.contains(&name)), || format!("{:?}", names().collect::<Vec<_>>()))?;
        let messages = asked.pointer("/request/messages").and_then(Value::as_array).cloned().unwrap_or_default();
        let blocks = messages.iter().filter_map(|message| message.get("content")?.as_array()).flatten();
        let results: Vec<(bool, String)> = blocks
            .filter(|block| block.get("type") == Some(&json!("tool_result")))
            .map(|block| {
                let is_error = block.get("is_error") == Some(&json!(true));
                let content = block.get("content").cloned().unwrap_or_default();
                (is_error, content.as_str().map_or_else(|| content.to_string(), str::to_owned))
            })
            .collect();
        if results.len() > longest.len() {
            longest = results;
        }
    }
    Ok(longest)
}
