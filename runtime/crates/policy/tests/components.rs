//! Components that a profile names: how they are read, joined, shown and compared, and what is left to a tool of files.
//! It never opens one.

use std::collections::BTreeMap;
use stockade_policy::{
    AbsolutePath, Action, Ambient, ComponentDigest, ComponentRule, ExpandedProfile, Files, HostFacts, Profile,
    ProfileName, RawCall, ToolName, diff, parse, parse_project, resolve,
};

const HEX: &str = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";

#[track_caller]
fn profile(body: &str) -> Profile {
    let text = format!("profile = 1\nname = \"p\"\n{body}");
    let file = parse("p.toml", text.as_bytes()).unwrap_or_else(|all| panic!("\n{all}"));
    resolve(&file, &mut |_: &ProfileName| Ok(None)).unwrap_or_else(|all| panic!("\n{all}"))
}

#[track_caller]
fn placed(body: &str) -> ExpandedProfile {
    let variables = BTreeMap::new();
    let path = |text: &str| AbsolutePath::parse(text.as_bytes()).expect("a clean path");
    let facts = HostFacts { home: path("/home/ada"), workspace: path("/home/ada/work"), variables: &variables };
    profile(body).expand(&facts).unwrap_or_else(|all| panic!("\n{all}"))
}

/// The finding of a text whose tool begins on line 3.
#[track_caller]
fn check(body: &str, expect: &str) {
    let text = format!("profile = 1\nname = \"p\"\n[[tool]]\n{body}");
    let parsed = parse("p.toml", text.as_bytes());
    let joined = parsed.and_then(|file| resolve(&file, &mut |_: &ProfileName| Ok(None)));
    assert_eq!(joined.expect_err("the profile is wrong").to_string(), expect.replace("HEX", HEX));
}

fn tool(name: &str) -> ToolName {
    ToolName::parse(name).expect("a tool's name")
}

#[test]
fn a_component_is_named_by_its_place_by_what_it_is_or_by_both() {
    let body = format!(
        "[[tool]]\nname = \"a\"\nfile = \"tools/a.wasm\"\nreason = \"r\"\n\
         [[tool]]\nname = \"b\"\nsha256 = \"{HEX}\"\nreason = \"r\"\n\
         [[tool]]\nname = \"c\"\nfile = \"/opt/c.wasm\"\nsha256 = \"{HEX}\"\nreason = \"r\"\n\
         [[tool]]\nname = \"acme-*\"\ndirectory = \"tools\"\nreason = \"r\"\n"
    );
    let profile = profile(&body);
    let digest = ComponentDigest::parse(HEX).expect("a digest");
    assert_eq!(digest.to_string(), HEX);
    assert_eq!(digest.0[..3], [0, 0x11, 0x22]);
    let rules: Vec<&ComponentRule> = profile.components().iter().map(|rule| &rule.subject).collect();
    assert_eq!(
        rules[..3],
        [
            &ComponentRule::File { name: tool("a"), path: "tools/a.wasm".into(), digest: None },
            &ComponentRule::Known { name: tool("b"), digest },
            &ComponentRule::File { name: tool("c"), path: "/opt/c.wasm".into(), digest: Some(digest) },
        ]
    );
    let found = |name: &str| profile.component(&tool(name)).map(|rule| rule.id.line());
    assert_eq!(["a", "b", "acme-x", "acme", "d"].map(found), [Some(3), Some(7), Some(16), None, None]);
}

#[test]
fn a_tool_that_is_named_for_itself_is_meant_before_a_directorys() {
    let directory = "[[tool]]\nname = \"*\"\ndirectory = \"tools\"\nreason = \"r\"\n";
    let file = "[[tool]]\nname = \"a\"\nfile = \"a.wasm\"\nreason = \"r\"\n";
    for (body, line) in [(format!("{directory}{file}"), 7), (format!("{file}{directory}"), 3)] {
        assert_eq!(profile(&body).component(&tool("a")).map(|rule| rule.id.line()), Some(line));
    }
}

#[test]
fn a_component_that_could_be_anything_is_refused() {
    check(
        "name = \"a\"\nreason = \"r\"\n",
        "error: profile \"p.toml\", line 3: tool does not say which component it is\n\
         hint: add file = \"tool.wasm\", sha256 = \"…\", or both; or directory = \"tools\"",
    );
    check(
        "name = \"a\"\nfile = \"a.wasm\"\n",
        "error: profile \"p.toml\", line 3: tool has no reason\nhint: add reason = \"why this tool needs it\"",
    );
    check(
        "name = \"a\"\nfile = \"a.so\"\nreason = \"r\"\n",
        "error: profile \"p.toml\", line 5: file \"a.so\" is no component\nhint: name a file that ends in \".wasm\"",
    );
    check(
        "name = \"a\"\nsha256 = \"00ff\"\nreason = \"r\"\n",
        "error: profile \"p.toml\", line 5: \"00ff\" is not a SHA-256\n\
         hint: write 64 lower-case hexadecimal digits, as `sha256sum` and `stockade tool inspect` print them",
    );
    let upper = HEX.to_uppercase();
    check(
        &format!("name = \"a\"\nsha256 = \"{upper}\"\nreason = \"r\"\n"),
        &format!(
            "error: profile \"p.toml\", line 5: \"{upper}\" is not a SHA-256\n\
             hint: write 64 lower-case hexadecimal digits, as `sha256sum` and `stockade tool inspect` print them"
        ),
    );
    check(
        &format!("name = \"*\"\ndirectory = \"d\"\nsha256 = \"{HEX}\"\nreason = \"r\"\n"),
        "error: profile \"p.toml\", line 6: tool has both \"directory\" and \"sha256\"\n\
         hint: pin a tool with a [[tool]] of its own: name, file and sha256",
    );
    check(
        "name = \"a\"\nfile = \"a.wasm\"\nreason = \"r\"\n[[tool]]\nname = \"a\"\nfile = \"b.wasm\"\nreason = \"r\"\n",
        "error: profile \"p.toml\", line 7: tool a from \"b.wasm\" is also in p:3\nhint: remove one, or rename it",
    );
    check(
        "name = \"a\"\nfile = \"a.wasm\"\nsha265 = \"HEX\"\nreason = \"r\"\n",
        "error: profile \"p.toml\", line 6: unknown key \"sha265\" in tool\nhint: did you mean \"sha256\"?",
    );
}

#[test]
fn a_project_brings_no_component() {
    let text = "profile = 1\n[[tool]]\nname = \"a\"\nfile = \"a.wasm\"\nreason = \"r\"\n";
    let found = parse_project("stockade.toml", text.as_bytes()).expect_err("it would widen the profile");
    assert_eq!(
        found.to_string(),
        "error: profile \"stockade.toml\", line 2: \"tool\" could widen the profile, a project cannot\n\
         hint: components belong into the profile of the person who starts the session"
    );
}

#[test]
fn another_component_is_another_profile_and_shows() {
    let with = |digest: &str| {
        profile(&format!("[[tool]]\nname = \"a\"\nfile = \"a.wasm\"\nsha256 = \"{digest}\"\nreason = \"counts\"\n"))
    };
    let (before, after) = (with(HEX), with(&HEX.replace('f', "e")));
    let canonical = String::from_utf8(before.canonical_bytes()).expect("it is text");
    let line = format!("tool\tname=a\tfile=a.wasm\tsha256={HEX}\trule=p:3\treason=counts\n");
    assert!(canonical.contains(&line), "{canonical}");
    assert_ne!(before.canonical_bytes(), after.canonical_bytes());
    let differences: Vec<String> = diff(&before, &after).iter().map(ToString::to_string).collect();
    assert_eq!(
        differences,
        [
            format!("wider: + tool a from \"a.wasm\" sha256 {} (p:3)", HEX.replace('f', "e")),
            format!("tighter: - tool a from \"a.wasm\" sha256 {HEX} (p:3)"),
        ]
    );
    let shown = before.explain().to_string();
    assert!(
        shown.contains(&format!(
            "tools beside the built-in ones\n  tool a from \"a.wasm\" sha256 {HEX}  [p.toml:3]\n      counts\n"
        )),
        "{shown}"
    );
}

#[test]
fn a_tool_gets_no_more_of_files_than_commands_do() {
    let rule = |rule: &str, path: &str| format!("[[{rule}]]\npath = \"{path}\"\nreason = \"r\"\n");
    let (read, write) = (rule("grant.read", "."), rule("grant.write", "."));
    for (body, files) in [
        (String::new(), Files::None),
        ("[[grant.tool]]\nname = \"*\"\nreason = \"r\"\n".to_owned(), Files::None),
        (read.clone(), Files::Read),
        (rule("grant.exec", "/usr"), Files::Read),
        (write.clone(), Files::Write),
        (rule("grant.write", "./out"), Files::Write),
        (write.clone() + &rule("deny.write", "."), Files::Read),
        (write.clone() + &rule("ask.write", "."), Files::Read),
        (write.clone() + &rule("deny.write", "./src"), Files::Write),
        (write.clone() + &rule("deny.write", "**/.env"), Files::Write),
        (write.clone() + &rule("deny.exec", "."), Files::Write),
        (write + &rule("deny.read", "."), Files::None),
        (read + &rule("deny.read", "."), Files::None),
    ] {
        assert_eq!(placed(&body).files_for_tools(), files, "{body}");
    }
}

#[test]
fn a_grant_gives_what_no_other_grant_can_unless_it_says_otherwise() {
    let grant = |name: &str, more: &str| format!("[[grant.tool]]\nname = \"{name}\"\n{more}reason = \"r\"\n");
    let both = Ambient { clocks: true, random: true, arguments: true, stdin: true, sockets: false };
    let neither = Ambient::default();
    let (no_clocks, no_random) = ("clocks = false\n", "random = false\n");
    let no_words = "arguments = false\nstdin = false\n";
    let only_src = "args = { path = \"src/**\" }\n";
    let args = |path: &str| {
        let call = format!("{{\"tool\":\"t\",\"args\":{{\"path\":\"{path}\"}}}}");
        let call = RawCall::new(call.as_bytes()).parse().expect("a call");
        let Action::Tool { args, .. } = call.action() else { panic!("it is one of a tool") };
        args.clone()
    };
    let tool = tool("t");
    for (body, given) in [
        (String::new(), neither),
        (grant("other", ""), neither),
        (grant("t", ""), both),
        (grant("*", ""), both),
        (grant("t", "clocks = true\nrandom = true\n"), both),
        (grant("t", no_clocks), Ambient { clocks: false, ..both }),
        (grant("t", no_random), Ambient { random: false, ..both }),
        (grant("t", "arguments = false\n"), Ambient { arguments: false, ..both }),
        (grant("t", "stdin = false\n"), Ambient { stdin: false, ..both }),
        (grant("t", &[no_clocks, no_random, no_words].concat()), neither),
        (grant("t", no_clocks) + &grant("*", no_random), both),
        (grant("t", only_src), neither),
        (grant("t", &[only_src, no_random].concat()) + &grant("*", no_clocks), Ambient { clocks: false, ..both }),
    ] {
        assert_eq!(placed(&body).ambient_for(&tool, Some(&args("docs/a"))), given, "{body}");
    }
    let conditional = placed(&grant("t", only_src));
    assert_eq!(conditional.ambient_for(&tool, Some(&args("src/a"))), both);
    assert_eq!(conditional.ambient_for(&tool, None), both, "some call of it gets them");
}

/// What no grant says, no tool gets: a socket is a way out.
#[test]
fn a_grant_gives_no_sockets_unless_it_says_so() {
    let grant = |name: &str, more: &str| format!("[[grant.tool]]\nname = \"{name}\"\n{more}reason = \"r\"\n");
    let sockets = "sockets = true\n";
    for (body, given) in [
        (grant("t", ""), false),
        (grant("t", "sockets = false\n"), false),
        (grant("t", sockets), true),
        (grant("other", sockets), false),
        (grant("t", "") + &grant("*", sockets), true),
    ] {
        assert_eq!(placed(&body).ambient_for(&tool("t"), None).sockets, given, "{body}");
    }
    let with = |more: &str| profile(&grant("t", more));
    let (plain, more) = (with(""), with(sockets));
    assert_eq!(plain.canonical_bytes(), with("sockets = false\n").canonical_bytes());
    let canonical = String::from_utf8(more.canonical_bytes()).expect("it is text");
    assert!(canonical.contains("grant\ttool=t\tsockets=true\trule=p:3\treason=r\n"), "{canonical}");
    let differences: Vec<String> = diff(&plain, &more).iter().map(ToString::to_string).collect();
    assert_eq!(differences, ["wider: + grant tool t, with sockets (p:3)", "tighter: - grant tool t (p:3)"]);
    let shown = with("clocks = false\nsockets = true\n").explain().to_string();
    assert!(shown.contains("may call tools\n  tool t, without clocks, with sockets  [p.toml:3]\n"), "{shown}");
}

#[test]
fn a_grant_that_gives_less_is_another_and_shows() {
    let with = |more: &str| profile(&format!("[[grant.tool]]\nname = \"t\"\n{more}reason = \"r\"\n"));
    let (all, less) = (with(""), with("clocks = false\n"));
    assert_eq!(
        all.canonical_bytes(),
        with("clocks = true\nrandom = true\narguments = true\nstdin = true\n").canonical_bytes()
    );
    let canonical = String::from_utf8(less.canonical_bytes()).expect("it is text");
    assert!(canonical.contains("grant\ttool=t\tclocks=false\trule=p:3\treason=r\n"), "{canonical}");
    let differences: Vec<String> = diff(&less, &all).iter().map(ToString::to_string).collect();
    assert_eq!(differences, ["wider: + grant tool t (p:3)", "tighter: - grant tool t, without clocks (p:3)"]);
    let shown = with("clocks = false\nrandom = false\n").explain().to_string();
    assert!(shown.contains("may call tools\n  tool t, without clocks and randomness  [p.toml:3]\n"), "{shown}");
    let shown = with("random = false\narguments = false\nstdin = false\n").explain().to_string();
    assert!(shown.contains("tool t, without randomness, arguments and standard input  ["), "{shown}");
    // A restriction takes a tool away as a whole: there these keys are none.
    let text = "profile = 1\nname = \"p\"\n[[deny.tool]]\nname = \"t\"\nclocks = false\nreason = \"r\"\n";
    let found = parse("p.toml", text.as_bytes()).expect_err("it is unknown").to_string();
    assert!(found.contains("\"clocks\""), "{found}");
}

/// As where a profile and one that it extends grant the same.
#[test]
fn what_is_granted_twice_by_two_reasons_does_not_differ_from_itself() {
    let grant = |reason: &str| format!("[[grant.tool]]\nname = \"t\"\nreason = \"{reason}\"\n");
    let text = format!("profile = 1\nname = \"q\"\n{}", grant("one"));
    let extended = parse("q.toml", text.as_bytes()).unwrap_or_else(|all| panic!("\n{all}"));
    let text = format!("profile = 1\nname = \"p\"\nextends = [\"q\"]\n{}", grant("two"));
    let file = parse("p.toml", text.as_bytes()).unwrap_or_else(|all| panic!("\n{all}"));
    let twice = resolve(&file, &mut |_: &ProfileName| Ok(Some(extended.clone())));
    let twice: Profile = twice.unwrap_or_else(|all| panic!("\n{all}"));
    assert_eq!(diff(&twice, &twice), []);
    let once = profile(&grant("three"));
    let differences: Vec<String> = diff(&twice, &once).iter().map(ToString::to_string).collect();
    assert_eq!(differences[..1], ["changed: grant tool t: one -> grant tool t: three (p:3)".to_owned()]);
}
