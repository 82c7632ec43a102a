//! Calls as agents send them, well-formed and hostile.
//! It never judges: that is `judging`.

use stockade_policy::{Action, Argument, Command, RawCall, Stdin, Terminal, arguments_json};

#[track_caller]
fn refused(text: impl AsRef<[u8]>, expect: &str) {
    let flaw = RawCall::new(text.as_ref()).parse().expect_err("the call is refused");
    let text = flaw.to_string();
    assert!(text.contains(expect), "{text}");
    assert!(text.len() < 600 && !text.chars().any(char::is_control), "{text}");
}

#[track_caller]
fn command(text: &str) -> Command {
    let call = RawCall::new(text.as_bytes()).parse().expect("the call is well-formed");
    let Action::Command(command) = call.action() else { panic!("{call:?}") };
    command.clone()
}

#[test]
fn a_full_command_is_read() {
    let command = command(
        r#"{"tool":"bash","command":{"argv":["sh","-c",{"b64":"/wA="}],"cwd":"a","env":{"A":"1"},
            "stdin":"stream","terminal":{"rows":24,"columns":80},"wall_s":60}}"#
            .replace("/wA=", "/w==")
            .as_str(),
    );
    assert_eq!(command.argv()[2].as_bytes(), b"\xff");
    assert_eq!(command.cwd().map(|cwd| cwd.as_bytes()), Some(&b"a"[..]));
    assert_eq!(command.stdin(), Stdin::Stream);
    assert_eq!(command.terminal(), Terminal::Pty { rows: 24, columns: 80 });
    assert_eq!((command.env().len(), command.wall_s()), (1, Some(60)));
}

#[test]
fn words_that_are_not_utf_8_survive_from_a_command_line() {
    let words = [&b"printf"[..], b"\xff\xfe", b"", b"a\nb"];
    let command = Command::from_words(words).expect("no NUL");
    let back: Vec<&[u8]> = command.argv().iter().map(|word| word.as_bytes()).collect();
    assert_eq!(back, words);
}

#[test]
fn arguments_of_tools_keep_their_kind() {
    let text = r#"{"tool":"t","args":{"a":"x","b":1.5,"c":true,"d":null,"e":[1,{"k":"\u0000"}]}}"#;
    let call = RawCall::new(text.as_bytes()).parse().expect("well-formed");
    let Action::Tool { args, .. } = call.action() else { panic!("{call:?}") };
    assert_eq!(args["a"], Argument::Text("x".into()));
    assert_eq!(args["b"], Argument::Scalar("1.5".into()));
    assert_eq!(args["c"], Argument::Scalar("true".into()));
    assert_eq!(args["d"], Argument::Other("null".into()));
    assert_eq!(args["e"], Argument::Other("[1,{\"k\":\"\\u0000\"}]".into()));
}

#[test]
fn a_tool_gets_the_arguments_that_were_judged_and_each_as_what_it_was() {
    for (sent, got) in [
        ("{}", "{}"),
        (r#" { "b" : "1" , "a" : 1 } "#, r#"{"a":1,"b":"1"}"#),
        (
            r#"{"a":"true","b":true,"c":null,"d":[1,{"z":0,"y":"\u0041"}],"e":-0.5,"f":18446744073709551615}"#,
            r#"{"a":"true","b":true,"c":null,"d":[1,{"y":"A","z":0}],"e":-0.5,"f":18446744073709551615}"#,
        ),
        ("{\"q\":\"a\\\"b\\\\c\\n\\u0000\u{e9}\"}", "{\"q\":\"a\\\"b\\\\c\\n\\u0000\u{e9}\"}"),
    ] {
        let text = format!("{{\"tool\":\"t\",\"args\":{sent}}}");
        let call = RawCall::new(text.as_bytes()).parse().expect("well-formed");
        let Action::Tool { args, .. } = call.action() else { panic!("{call:?}") };
        assert_eq!(arguments_json(args), got, "{sent}");
        // What came out goes in again and is the same.
        let again = format!("{{\"tool\":\"t\",\"args\":{got}}}");
        let again = RawCall::new(again.as_bytes()).parse().expect("well-formed");
        assert_eq!(again.action(), call.action(), "{sent}");
    }
}

#[test]
fn malformed_calls_are_refused() {
    for (text, expect) in [
        ("", "not well-formed JSON"),
        ("[]", "\"call\" is an array"),
        ("{} {}", "not well-formed JSON"),
        ("{\"tool\":\"t\"}", "call wants nothing"),
        (r#"{"tool":"t","read":{"path":"a"},"write":{"path":"a"}}"#, "more than one thing"),
        (r#"{"tool":"t","tool":"u","read":{"path":"a"}}"#, "stands twice"),
        (r#"{"tool":"t","read":{"path":"a","path":"b"}}"#, "stands twice"),
        (r#"{"tool":"t","to\u006fl":"u","read":{"path":"b"}}"#, "stands twice"),
        (r#"{"tool":"t","args":{"a":{"b":1,"b":2}}}"#, "stands twice"),
        (
            r#"{"tool":"t","command":{"argv":["a"],"dangerouslyDisableSandbox":true}}"#,
            "unknown key \"dangerouslyDisable",
        ),
        (r#"{"tool":"t","read":{"path":"a"},"profile":"none"}"#, "unknown key \"profile\" in call"),
        (r#"{"tool":"t","command":{"argv":[]}}"#, "names no program"),
        (r#"{"tool":"t","command":{"argv":[""]}}"#, "names no program"),
        (r#"{"tool":"t","command":{"argv":"ls"}}"#, "\"argv\" is a string"),
        (r#"{"tool":"t","command":{"argv":["a",1]}}"#, "\"argv\" has a number"),
        (r#"{"tool":"t","command":{"argv":["a\u0000b"]}}"#, "argument has a NUL byte"),
        (r#"{"tool":"t","command":{"argv":[{"b64":"YQBi"}]}}"#, "argument has a NUL byte"),
        (r#"{"tool":"t","command":{"argv":[{"b64":"YQ"}]}}"#, "base64 that is not canonical"),
        (r#"{"tool":"t","command":{"argv":[{"b64":"YR=="}]}}"#, "base64 that is not canonical"),
        (r#"{"tool":"t","command":{"argv":[{"b64":"===="}]}}"#, "base64 that is not canonical"),
        (r#"{"tool":"t","command":{"argv":[{"b64":"Y=Q="}]}}"#, "base64 that is not canonical"),
        (r#"{"tool":"t","command":{"argv":["a"],"cwd":""}}"#, "path is empty"),
        (r#"{"tool":"t","command":{"argv":["a"],"env":{"A=B":"1"}}}"#, "not a variable's name"),
        (r#"{"tool":"t","command":{"argv":["a"],"env":{"":"1"}}}"#, "variable name is empty"),
        (r#"{"tool":"t","command":{"argv":["a"],"stdin":"file"}}"#, "none that is known"),
        (r#"{"tool":"t","command":{"argv":["a"],"terminal":{"rows":0,"columns":80}}}"#, "\"rows\" is no count"),
        (r#"{"tool":"t","command":{"argv":["a"],"terminal":{"rows":70000,"columns":80}}}"#, "too large"),
        (r#"{"tool":"t","command":{"argv":["a"],"wall_s":-1}}"#, "\"wall_s\" is no count"),
        (r#"{"tool":"t","command":{"argv":["a"],"wall_s":1e99}}"#, "\"wall_s\" is no count"),
        (r#"{"tool":"t\u001b]52;c;x","read":{"path":"a"}}"#, "control or invisible"),
        (r#"{"tool":"","read":{"path":"a"}}"#, "tool name is empty"),
        (r#"{"tool":"t","connect":{"host":"google.com\u0000.evil.com","port":443}}"#, "control or invisible"),
        (r#"{"tool":"t","connect":{"host":"a.b","port":443,"method":"GET","path":"/a/%2e%2e/b"}}"#, "not canonical"),
        (r#"{"tool":"t","connect":{"host":"a.b","port":443,"method":"GET","path":"/a/%2fb"}}"#, "not canonical"),
        (r#"{"tool":"t","connect":{"host":"a.b","port":443,"method":"GET","path":"/a/..%2Fb"}}"#, "dot segment"),
        (r#"{"tool":"t","connect":{"host":"a.b","port":443,"method":"GET","path":"/a/%41"}}"#, "not canonical"),
        (r#"{"tool":"t","connect":{"host":"a.b","port":443,"method":"GET","path":"/a//b"}}"#, "empty segment"),
        (r#"{"tool":"t","connect":{"host":"a.b","port":443,"method":"GET","path":"/a/../b"}}"#, "dot segment"),
        (r#"{"tool":"t","connect":{"host":"a.b","port":443,"method":"get","path":"/"}}"#, "not in upper case"),
        (r#"{"tool":"t","connect":{"host":"0177.0.0.1","port":443}}"#, "no plain address"),
        (r#"{"tool":"t","connect":{"host":"a.b","port":0}}"#, "\"port\" is no count"),
    ] {
        refused(text, expect);
    }
    refused(b"{\"tool\":\"\xff\"}", "not well-formed JSON");
}

#[test]
fn calls_beyond_the_limits_are_refused() {
    refused(vec![b' '; (1 << 20) + 1], "more than 1048576");
    refused("[".repeat(100_000), "not well-formed JSON");
    let words = vec!["\"a\""; 4097].join(",");
    refused(format!("{{\"tool\":\"t\",\"command\":{{\"argv\":[{words}]}}}}"), "4097 words, more than 4096");
    let word = "a".repeat(128 * 1024);
    refused(format!("{{\"tool\":\"t\",\"command\":{{\"argv\":[\"{word}\"]}}}}"), "Linux takes 131071");
    let env: Vec<String> = (0..1025).map(|n| format!("\"A{n}\":\"\"")).collect();
    let env = env.join(",");
    refused(format!("{{\"tool\":\"t\",\"command\":{{\"argv\":[\"a\"],\"env\":{{{env}}}}}}}"), "more than 1024");
    refused(format!("{{\"tool\":\"t\",\"read\":{{\"path\":\"{}\"}}}}", "a/".repeat(2048)), "Linux takes 4095");
    refused(format!("{{\"tool\":\"t\",\"{}\":1}}", "k".repeat(100_000)), "unknown key");
    refused(format!("{{\"{0}\":1,\"{0}\":2}}", "k".repeat(100_000)), "not well-formed JSON");
    let big = Command::from_words(std::iter::repeat_n("a".repeat(100_000), 11)).expect_err("too much");
    assert!(big.to_string().contains("more than 1048576"), "{big}");
}
