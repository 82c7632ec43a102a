//! `stockade session`: calls as JSON lines in one warm session.
//! It never takes an answer for another's: ids and order are looked at in every test.

use serde_json::{Value, json};
use stockade_tests::stage::Stage;
use stockade_tests::story::{Stop, Story, Told, must, same};

/// A line and what its answer must hold; a key with null must be absent.
type Line = (&'static str, &'static str, &'static str);

/// Name, line, and members of the answer.
const ANSWERED: &[Line] = &[
    (
        "exit_code",
        r#"{"id":1,"call":{"tool":"t","command":{"argv":["sh","-c","echo o; echo e >&2; exit 3"]}}}"#,
        r#"{"id":1,"exit":{"code":3},"stdout":"o\n","stderr":"e\n","changes":0,"denied":null,"error":null,"limit":null,"cut":null}"#,
    ),
    (
        "signal",
        r#"{"id":1,"call":{"tool":"t","command":{"argv":["sh","-c","kill -9 $$"]}}}"#,
        r#"{"id":1,"exit":{"signal":9}}"#,
    ),
    (
        "missing_program",
        r#"{"id":1,"call":{"tool":"t","command":{"argv":["nosuch"]}}}"#,
        r#"{"id":1,"exit":{"code":127,"why":"cannot run \"nosuch\": no such file or directory"},"stdout":"","stderr":""}"#,
    ),
    (
        "program_that_is_none",
        r#"{"id":1,"call":{"tool":"t","command":{"argv":["/usr/lib/os-release"]}}}"#,
        r#"{"id":1,"exit":{"code":126,"why":"cannot run \"/usr/lib/os-release\": permission denied"}}"#,
    ),
    (
        "output_that_is_no_text",
        r#"{"id":1,"call":{"tool":"t","command":{"argv":["printf","\\377\\n"]}}}"#,
        r#"{"id":1,"exit":{"code":0},"stdout":{"b64":"/wo="},"stderr":""}"#,
    ),
    (
        "long_output",
        r#"{"id":1,"call":{"tool":"t","command":{"argv":["head","-c","3000000","/dev/zero"]}}}"#,
        r#"{"id":1,"exit":{"code":0},"cut":1951424}"#,
    ),
    (
        "absent_input",
        r#"{"id":1,"call":{"tool":"t","command":{"argv":["cat"]}}}"#,
        r#"{"id":1,"exit":{"code":0},"stdout":""}"#,
    ),
    (
        "variables",
        r#"{"id":1,"call":{"tool":"t","command":{"argv":["sh","-c","echo $A"],"env":{"A":"b c"}}}}"#,
        r#"{"id":1,"stdout":"b c\n"}"#,
    ),
    (
        "bytes_as_words",
        r#"{"id":1,"call":{"tool":"t","command":{"argv":["printf",{"b64":"/w=="}]}}}"#,
        r#"{"id":1,"stdout":{"b64":"/w=="}}"#,
    ),
    (
        "terminal",
        r#"{"id":1,"call":{"tool":"t","command":{"argv":["sh","-c","stty size; test -t 0 && test -t 1 && test -t 2"],"terminal":{"rows":33,"columns":44}}}}"#,
        r#"{"id":1,"exit":{"code":0},"stdout":"33 44\r\n"}"#,
    ),
    (
        "own_limit",
        r#"{"id":1,"call":{"tool":"t","command":{"argv":["sleep","1000"],"wall_s":1}}}"#,
        r#"{"id":1,"exit":{"signal":9}}"#,
    ),
    ("text_id", r#"{"id":"abc","call":{"tool":"t","command":{"argv":["true"]}}}"#, r#"{"id":"abc","exit":{"code":0}}"#),
    ("absent_id", r#"{"call":{"tool":"t","command":{"argv":["true"]}}}"#, r#"{"exit":{"code":0}}"#),
    (
        "working_directory_outside",
        r#"{"id":1,"call":{"tool":"t","command":{"argv":["pwd"],"cwd":"/etc"}}}"#,
        r#"{"id":1,"exit":null,"stdout":null}"#,
    ),
    (
        "nul_in_a_word",
        r#"{"id":1,"call":{"tool":"t","command":{"argv":["echo","a\u0000b"]}}}"#,
        r#"{"id":1,"exit":null,"error":"argument has a NUL byte","hint":"no program can be given a NUL: put the bytes into a file or standard input"}"#,
    ),
    (
        "nul_in_a_variable",
        r#"{"id":1,"call":{"tool":"t","command":{"argv":["true"],"env":{"A":"a\u0000b"}}}}"#,
        r#"{"id":1,"exit":null,"error":"argument has a NUL byte"}"#,
    ),
    (
        "call_for_nothing",
        r#"{"id":5,"call":{"tool":"t"}}"#,
        r#"{"id":5,"exit":null,"error":"call wants nothing","hint":"give exactly one of: command, read, write, connect, unix, args"}"#,
    ),
    (
        "call_for_two_things",
        r#"{"id":5,"call":{"tool":"t","command":{"argv":["true"]},"read":{"path":"x"}}}"#,
        r#"{"id":5,"exit":null,"error":"call wants more than one thing"}"#,
    ),
    ("empty_command", r#"{"id":5,"call":{"tool":"t","command":{"argv":[]}}}"#, r#"{"id":5,"exit":null}"#),
    (
        "key_that_stands_twice",
        r#"{"id":5,"call":{"tool":"t","command":{"argv":["true"],"argv":["false"]}}}"#,
        r#"{"id":5,"exit":null}"#,
    ),
    (
        "unknown_key_of_a_call",
        r#"{"id":5,"call":{"tool":"t","command":{"argv":["true"],"shell":true}}}"#,
        r#"{"id":5,"exit":null,"error":"unknown key \"shell\" in command","hint":"remove it"}"#,
    ),
    (
        "unknown_key_of_a_line",
        r#"{"id":5,"more":1,"call":{"tool":"t","command":{"argv":["true"]}}}"#,
        r#"{"id":null,"exit":null}"#,
    ),
    ("line_that_is_no_json", "not json", r#"{"id":null,"exit":null}"#),
    ("line_that_is_no_object", "[1,2]", r#"{"id":null,"exit":null}"#),
    ("line_that_ends_early", r#"{"id":1,"call":{"tool":"t","#, r#"{"id":null,"exit":null}"#),
    (
        "structured_id",
        r#"{"id":{"a":1},"call":{"tool":"t","command":{"argv":["true"]}}}"#,
        r#"{"id":null,"exit":null,"error":"the id is not a number or a short string"}"#,
    ),
    (
        "act_that_this_wall_does_not_do",
        r#"{"id":5,"call":{"tool":"t","read":{"path":"x"}}}"#,
        r#"{"id":5,"exit":null}"#,
    ),
    (
        "network_that_is_not_granted",
        r#"{"id":5,"call":{"tool":"t","connect":{"host":"example.com","port":443}}}"#,
        r#"{"id":5,"exit":null}"#,
    ),
];

pub(crate) fn stories() -> Vec<Story> {
    let answered = ANSWERED.iter().map(|(name, line, answer)| {
        Story::new(format!("lines::{name}_does_not_confuse_the_session"), move |stage| one(stage, line, answer))
    });
    let others = [
        Story::new("lines::calls_of_a_session_do_not_lose_each_others_files", shared),
        Story::new("lines::processes_of_one_call_do_not_reach_the_next", |stage| {
            let input = calls(&["setsid sleep 1000 & echo $!", "ps ax 2>/dev/null | grep -c '[s]leep 1000'"]);
            let answers = session(stage, input.as_bytes())?;
            same("answers", answers.len(), 2)?;
            same("sleepers", answers[1].get("stdout").cloned(), Some(json!("0\n")))
        }),
        Story::new("lines::many_calls_do_not_get_out_of_order", order),
        Story::new("lines::a_line_of_any_length_is_not_kept", huge),
        Story::new("lines::a_line_that_is_not_utf8_does_not_end_the_session", |stage| {
            let input = [b"\xff\xfe\n\n  \n", calls(&["echo on"]).as_bytes()].concat();
            let answers = session(stage, &input)?;
            same("answers", answers.len(), 2)?;
            same("id", answers[0].get("id").cloned(), Some(Value::Null))?;
            same("second", answers[1].get("stdout").cloned(), Some(json!("on\n")))
        }),
        Story::new("lines::a_last_line_without_its_newline_is_not_lost", |stage| {
            let input = calls(&["echo last"]);
            let answers = session(stage, input.trim_end().as_bytes())?;
            same("answers", answers.len(), 1)?;
            same("answer", answers[0].get("stdout").cloned(), Some(json!("last\n")))
        }),
        Story::new("lines::a_session_without_calls_is_not_an_error", |stage| {
            same("answers", session(stage, b"")?, Vec::new())?;
            stage.answers(0, &["verify", "last"]).map(drop)
        }),
        Story::new("lines::receipts_do_not_name_other_records", receipts),
    ];
    answered.chain(others).collect()
}

/// `stockade session`, fed with these bytes; its answers, one a line.
fn session(stage: &Stage, input: &[u8]) -> Result<Vec<Value>, Stop> {
    let mut program = stage.program(&["{bin}/stockade", "session", "--workspace", "{ws}"]);
    program.input = input.to_vec();
    let ended = stage.go(&program)?;
    must(ended.code() == 0, || format!("the session failed: {}", ended.told()))?;
    let parse = |line: &str| serde_json::from_str(line).map_err(|e| Stop::Fail(format!("{e}: {line}")));
    ended.out().lines().map(parse).collect()
}

/// One call a text, ids from 0.
fn calls(texts: &[&str]) -> String {
    let line = |(id, text): (usize, &&str)| {
        let call = json!({ "id": id, "call": { "tool": "bash", "command": { "argv": ["/bin/bash", "-c", text] } } });
        format!("{call}\n")
    };
    texts.iter().enumerate().map(line).collect()
}

/// One line, and after it one that shows that the session goes on.
fn one(stage: &mut Stage, line: &str, expected: &str) -> Told {
    let next = r#"{"id":99,"call":{"tool":"bash","command":{"argv":["echo","on"]}}}"#;
    let answers = session(stage, format!("{line}\n{next}\n").as_bytes())?;
    must(answers.len() == 2, || format!("{} answers: {answers:?}", answers.len()))?;
    let expected: serde_json::Map<String, Value> =
        serde_json::from_str(expected).map_err(|e| format!("{expected}: {e}"))?;
    for (key, value) in expected {
        let found = answers[0].get(&key).cloned().unwrap_or(Value::Null);
        must(found == value, || format!("{key} is {found} and not {value} in {}", answers[0]))?;
    }
    let spoke = ["exit", "denied", "error"].iter().filter(|key| answers[0].get(*key).is_some()).count();
    must(spoke == 1, || format!("not exactly one of exit, denied, error: {}", answers[0]))?;
    must(answers[1].get("stdout") == Some(&json!("on\n")), || format!("the session does not go on: {}", answers[1]))?;
    stage.answers(0, &["verify", "last"]).map(drop)
}

fn shared(stage: &mut Stage) -> Told {
    let texts = ["echo t > /tmp/t; echo w > w; export A=b; cd /tmp", "cat /tmp/t w; echo ${A-unset}; pwd", "rm w; ls"];
    let answers = session(stage, calls(&texts).as_bytes())?;
    same("answers", answers.len(), 3)?;
    let changes: Vec<Option<u64>> =
        answers.iter().map(|answer| answer.get("changes").and_then(Value::as_u64)).collect();
    same("changes", changes, vec![Some(1), Some(1), Some(0)])?;
    let pwd = stage.scene.fill("t\nw\nunset\n{ws}\n");
    same("what the second sees", answers[1].get("stdout").cloned(), Some(json!(pwd)))?;
    must(!stage.scene.path("{ws}/w").exists(), || "a change came to the workspace before it was applied".to_owned())
}

fn order(stage: &mut Stage) -> Told {
    const CALLS: usize = 40;
    let texts: Vec<String> = (0..CALLS).map(|n| format!("echo {n}; echo {n} >> all")).collect();
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    let answers = session(stage, calls(&texts).as_bytes())?;
    same("answers", answers.len(), CALLS)?;
    for (n, answer) in answers.iter().enumerate() {
        same("id", answer.get("id").cloned(), Some(json!(n)))?;
        same("stdout", answer.get("stdout").cloned(), Some(json!(format!("{n}\n"))))?;
    }
    for kind in ["call", "permit", "result"] {
        let records = stage.answers(0, &["log", "query", "last", &format!("k={kind}"), "--json"])?;
        same(kind, records.out().lines().count(), CALLS)?;
    }
    stage.answers(0, &["verify", "last"]).map(drop)
}

fn huge(stage: &mut Stage) -> Told {
    let mut input = vec![b'x'; 200_000_000];
    input.extend_from_slice(b"\n");
    input.extend_from_slice(calls(&["echo on"]).as_bytes());
    let answers = session(stage, &input)?;
    same("answers", answers.len(), 2)?;
    let error = answers[0].get("error").and_then(Value::as_str).unwrap_or_default();
    must(error.starts_with("line has more than "), || format!("{}", answers[0]))?;
    same("second", answers[1].get("stdout").cloned(), Some(json!("on\n")))
}

fn receipts(stage: &mut Stage) -> Told {
    let answers = session(stage, calls(&["true", "echo x > f", "exit 4"]).as_bytes())?;
    for answer in &answers {
        let n = answer.pointer("/receipt/n").and_then(Value::as_u64).ok_or_else(|| format!("no receipt: {answer}"))?;
        let shown = stage.answers(0, &["log", "show", "last", &n.to_string(), "--json"])?;
        let record: Value = serde_json::from_str(&shown.out()).map_err(|e| format!("{e}: {}", shown.out()))?;
        must(record.get("k") == Some(&json!("result")), || format!("record {n} is {record}"))?;
        let proof = stage.answers(0, &["log", "prove", "last", &n.to_string()])?;
        must(proof.out().contains(&format!("index {n}\n")), || proof.told())?;
    }
    same("answers", answers.len(), 3)
}
