//! The public conformance scenarios of MCP, as far as they are about a server and not about HTTP.
//! It never leaves one out without a reason: each that the scenarios have is in one of the two tables.
//!
//! They speak HTTP alone, so a relay of the tests (`outside/relay.mjs`) stands between them and our standard input and
//! output. What is then HTTP's (statuses, headers, sessions, streams) is the relay's own doing and shows nothing of ours.

use crate::claude::{Server, port};
use crate::clients::{outside, part};
use crate::line::TOOLS;
use stockade_tests::stage::Stage;
use stockade_tests::story::{Stop, Story, Told, must, same};

/// A scenario, and its checks that do not hold, with the reason for each.
const APPLY: &[(&str, &[(&str, &str)])] = &[
    ("server-initialize", &[]),
    ("ping", &[]),
    ("tools-list", &[]),
    (
        "caching",
        &[
            ("sep-2549-prompts-list-caching-hints", "prompts are not declared"),
            ("sep-2549-resources-list-caching-hints", "resources are not declared"),
            ("sep-2549-resources-templates-list-caching-hints", "resources are not declared"),
        ],
    ),
    ("input-required-result-unsupported-methods", &[]),
    ("input-required-result-ignore-extra-params", &[]),
    ("sep-2164-resource-not-found", &[]),
    (
        "server-stateless",
        &[
            ("sep-2575-http-server-header-mismatch-400", "a header of HTTP, which the relay does not compare"),
            (
                "sep-2575-server-rejects-undeclared-capability",
                "asks for a fixture tool; no tool of ours needs a capability",
            ),
            ("sep-2575-missing-capability-http-400", "asks for the same fixture tool"),
            (
                "sep-2575-http-server-method-not-found-404-initialize",
                "both eras are served: initialize is a method here",
            ),
            ("sep-2575-http-server-no-independent-requests-on-stream", "asks for a fixture tool that elicits"),
            ("sep-2575-server-no-log-without-loglevel", "asks for a fixture tool that logs"),
        ],
    ),
];

/// Scenarios that cannot apply, by the beginning of their names, and why.
const DO_NOT: &[(&str, &str)] = &[
    ("server-session-lifecycle", "sessions of HTTP"),
    ("server-sse-", "streams of HTTP"),
    ("dns-rebinding-protection", "headers of HTTP"),
    ("http-", "headers of HTTP"),
    ("logging-set-level", "logging is not declared: a tool's output is its result, and the log is for auditors"),
    ("completion-complete", "completion is not declared"),
    ("tools-call-", "fixture tools of the scenarios (test_simple_text…), which a sandbox has not"),
    ("json-schema-2020-12", "a fixture tool with that schema"),
    ("elicitation-", "fixture tools that elicit; elicitation is not used"),
    ("resources-", "resources are not declared: pages of long results have cursors"),
    ("prompts-", "prompts are not declared"),
    ("sep-2640-", "the extension for skills is not declared"),
    ("tasks-", "the extension for tasks is not declared"),
    ("input-required-result-", "fixture tools that ask back; no tool of ours does"),
];

pub(crate) fn stories() -> Vec<Story> {
    let mut stories = vec![Story::new("conformance::no_scenario_is_left_out_without_a_reason", |stage| {
        let listed = scenarios(stage, &["list"])?;
        let names = listed.lines().filter_map(|line| line.strip_prefix("  - ")?.split(' ').next());
        let mut count = 0;
        for name in names.take_while(|name| *name != "initialize") {
            count += 1;
            let applies = APPLY.iter().any(|(known, _)| *known == name);
            let does_not = DO_NOT.iter().any(|(prefix, _)| name.starts_with(prefix));
            must(applies || does_not, || format!("{name} is in no table"))?;
        }
        must(count > 50, || format!("only {count} scenarios: {listed}"))
    })];
    for (scenario, known) in APPLY {
        stories.push(Story::new(format!("conformance::{}", scenario.replace('-', "_")), move |stage| {
            one(stage, scenario, known)
        }));
    }
    stories
}

/// Runs one scenario; the checks that fail must be those that are known to.
fn one(stage: &mut Stage, scenario: &str, known: &[(&str, &str)]) -> Told {
    if stockade_tests::binaries::under_test()?.is_none() {
        return Err(Stop::Skip("controls only".to_owned()));
    }
    part("mcp-node")?;
    let profile = stage.profile("scenarios", TOOLS)?;
    stage.scene.folder("{root}/relay")?;
    let relay = outside("relay.mjs").display().to_string();
    let server = ["{bin}/stockade", "mcp", "--workspace", "{ws}", "--profile", &profile];
    let relay = stage.program(&[&["/usr/bin/node", relay.as_str(), "{root}/relay/port"], &server[..]].concat());
    let relay = Server(relay.start()?);
    let url = format!("http://127.0.0.1:{}/mcp", port(stage, "{root}/relay/port")?);
    let said = scenarios(stage, &["server", "--url", &url, "--scenario", scenario])?;
    drop(relay);
    let mut held = 0;
    let mut failed: Vec<&str> = Vec::new();
    for line in said.lines() {
        let check = line.split('[').nth(1).and_then(|rest| rest.split(']').next()).unwrap_or_default().trim();
        held += usize::from(line.contains("] SUCCESS "));
        if line.contains("] FAILURE ") {
            failed.push(check);
        }
    }
    must(held > 0, || format!("no check held:\n{said}"))?;
    failed.sort_unstable();
    let mut expected: Vec<&str> = known.iter().map(|(check, _)| *check).collect();
    expected.sort_unstable();
    same(&said, failed, expected)
}

/// What the scenarios' command says, without colours.
fn scenarios(stage: &Stage, words: &[&str]) -> Result<String, Stop> {
    let package = part("mcp-node")?.join("conformance/node_modules/@modelcontextprotocol/conformance/dist/index.js");
    let (package, shim) = (package.display().to_string(), outside("globsync.mjs").display().to_string());
    let command = ["/usr/bin/node", "--import", shim.as_str(), package.as_str()];
    let ended = stage.plain(&[&command[..], words].concat())?;
    let mut text = String::new();
    let mut colour = false;
    for c in ended.out().chars() {
        match (colour, c) {
            (false, '\u{1b}') => colour = true,
            (true, 'm') => colour = false,
            (true, _) => {}
            (false, c) => text.push(c),
        }
    }
    Ok(text)
}
