//! Which call gets which answer from which profile, and what the answer says.
//! It never tests the wall: a denial here is advice to a model, what holds is tested where the walls are.

use std::collections::BTreeMap;
use stockade_policy::{
    AbsolutePath, Action, Answer, Approver, Call, Decision, ExpandedProfile, HostFacts, Limit, Profile, RawCall,
    ToolName, Treatment, diff, parse, parse_project, resolve, tighten,
};

const WORK: &str = r#"
[[grant.exec]]
path = "/usr"
reason = "programs"
[[grant.write]]
path = "."
reason = "work"
"#;

fn profile(body: &str) -> Profile {
    let text = format!("profile = 1\nname = \"p\"\n{body}");
    let file = parse("p.toml", text.as_bytes()).unwrap_or_else(|all| panic!("{all}"));
    resolve(&file, &mut |_| Ok(None)).unwrap_or_else(|all| panic!("{all}"))
}

fn expanded(body: &str, variables: &[(&str, &[u8])]) -> Result<ExpandedProfile, String> {
    let variables: BTreeMap<Vec<u8>, Vec<u8>> =
        variables.iter().map(|(name, value)| (name.as_bytes().to_vec(), value.to_vec())).collect();
    let facts = HostFacts {
        home: AbsolutePath::parse(b"/home/ada").expect("clean"),
        workspace: AbsolutePath::parse(b"/home/ada/work").expect("clean"),
        variables: &variables,
    };
    profile(body).expand(&facts).map_err(|all| all.to_string())
}

fn judged(body: &str, call: &str) -> Decision {
    let call = RawCall::new(call.as_bytes()).parse().unwrap_or_else(|flaw| panic!("{flaw}: {call}"));
    expanded(body, &[]).expect("no variables").judge(call)
}

#[track_caller]
fn check(body: &str, call: &str, expect: &str) {
    let decision = judged(body, call);
    let is = match &decision {
        Decision::Permit(_) => "permit",
        Decision::Ask(_) => "ask",
        Decision::Denial(_) => "denial",
    };
    assert_eq!(is, expect, "{call}: {decision:?}");
}

fn run(words: &str) -> String {
    let words: Vec<String> = words.split(' ').map(|word| format!("\"{word}\"")).collect();
    format!(r#"{{"tool":"sh","command":{{"argv":[{}]}}}}"#, words.join(","))
}

#[test]
fn deny_beats_ask_beats_grant() {
    let ask = "[[ask.exec]]\nargv = [\"git\", \"**\"]\nreason = \"r\"\n";
    let deny = "[[deny.exec]]\nargv = [\"git\", \"push\", \"**\"]\nreason = \"r\"\n";
    check(WORK, &run("git push"), "permit");
    check(&format!("{WORK}{ask}"), &run("git push"), "ask");
    check(&format!("{WORK}{ask}{deny}"), &run("git push"), "denial");
    check(&format!("{WORK}{deny}{ask}"), &run("git push"), "denial");
    check(&format!("{WORK}{ask}{deny}"), &run("git log"), "ask");
    // Consent cannot stand in for a grant.
    check(ask, &run("git log"), "denial");
}

#[test]
fn the_length_of_a_command_does_not_lose_a_rule() {
    let deny = format!("{WORK}[[deny.exec]]\nargv = [\"git\", \"**\", \"--force\", \"**\"]\nreason = \"r\"\n");
    let long = format!("git {}--force x", "a ".repeat(4000));
    check(&deny, &run(&long), "denial");
    check(&deny, &run(&format!("git {}x", "a ".repeat(4000))), "permit");
}

#[test]
fn a_program_outside_the_grants_is_denied_however_it_is_spelled() {
    for program in
        ["/opt/x", "./x", "/usr/../opt/x", "/home/ada/work/x", "//opt//x", "/usrx/y", "../../../opt/x", "/usr/.."]
    {
        check(WORK, &run(program), "denial");
    }
    for program in ["ls", "/usr/bin/ls", "../../../usr/bin/ls", "/opt/../usr/bin/ls"] {
        check(WORK, &run(program), "permit");
    }
    check("[[grant.read]]\npath = \"/usr\"\nreason = \"r\"\n", &run("ls"), "denial");
}

#[test]
fn a_denied_program_is_denied_by_path_and_by_name() {
    let deny = format!("{WORK}[[deny.exec]]\npath = \"/usr/bin/curl\"\nreason = \"r\"\n");
    check(&deny, &run("/usr/bin/curl x"), "denial");
    check(&deny, &run("curl x"), "denial");
    check(&deny, &run("/usr/bin/curlx"), "permit");
    let deny = format!("{WORK}[[deny.exec]]\npath = \"/usr/bin\"\nargv = [\"*\", \"-c\", \"**\"]\nreason = \"r\"\n");
    check(&deny, &run("sh -c x"), "denial");
    check(&deny, &run("/usr/bin/sh -c x"), "denial");
    check(&deny, &run("/usr/sbin/sh -c x"), "permit");
}

#[test]
fn a_directory_of_a_call_stays_in_the_workspace() {
    let call = |cwd: &str| format!(r#"{{"tool":"sh","command":{{"argv":["ls"],"cwd":"{cwd}"}}}}"#);
    for cwd in ["/", "/home/ada", "..", "src/../..", "/home/ada/workx", "/tmpx", "/tmp/../etc"] {
        check(WORK, &call(cwd), "denial");
    }
    for cwd in [".", "src", "/home/ada/work/src", "src/../lib", "/tmp", "/tmp/x"] {
        check(WORK, &call(cwd), "permit");
    }
}

#[test]
fn hosts_match_by_label_and_never_the_apex() {
    let body = "[[grant.net]]\nhost = \"*.github.com\"\nreason = \"r\"\n";
    let call = |host: &str| format!(r#"{{"tool":"n","connect":{{"host":"{host}","port":443}}}}"#);
    for host in ["github.com", "evilgithub.com", "github.com.evil.com", "x.evilgithub.com", "10.0.0.1"] {
        check(body, &call(host), "denial");
    }
    for host in ["api.github.com", "A.B.GitHub.com"] {
        check(body, &call(host), "permit");
    }
    check(body, r#"{"tool":"n","connect":{"host":"api.github.com","port":22}}"#, "denial");
}

#[test]
fn http_rules_need_a_request_to_judge() {
    let grant = "[[grant.net]]\nhost = \"a.org\"\nmethods = [\"GET\"]\npaths = [\"/v1/**\"]\nreason = \"r\"\n";
    let deny = "[[grant.net]]\nhost = \"a.org\"\nreason = \"r\"\n[[deny.net]]\nhost = \"a.org\"\nmethods = [\"POST\"]\nreason = \"r\"\n";
    let call = |rest: &str| format!(r#"{{"tool":"n","connect":{{"host":"a.org","port":443{rest}}}}}"#);
    check(grant, &call(r#","method":"GET","path":"/v1/x/y""#), "permit");
    check(grant, &call(r#","method":"GET","path":"/v1x""#), "denial");
    check(grant, &call(r#","method":"POST","path":"/v1/x""#), "denial");
    // A tunnel says neither, so it could be anything.
    check(grant, &call(""), "denial");
    check(deny, &call(""), "denial");
    check(deny, &call(r#","method":"GET""#), "permit");
}

#[test]
fn an_escaped_slash_gets_past_no_rule_about_paths() {
    let any = "[[grant.net]]\nhost = \"a.org\"\nreason = \"r\"\n";
    let some = "[[grant.net]]\nhost = \"a.org\"\npaths = [\"/**\"]\nreason = \"r\"\n";
    let deny = format!("{any}[[deny.net]]\nhost = \"a.org\"\npaths = [\"/admin/**\"]\nreason = \"r\"\n");
    let call = r#"{"tool":"n","connect":{"host":"a.org","port":443,"method":"GET","path":"/@scope%2Fname"}}"#;
    check(any, call, "permit");
    check(some, call, "denial");
    check(&deny, call, "denial");
}

#[test]
fn a_tunnel_is_not_granted_by_methods_alone() {
    let grant = "[[grant.net]]\nhost = \"a.org\"\nmethods = [\"GET\"]\nreason = \"r\"\n";
    check(grant, r#"{"tool":"n","connect":{"host":"a.org","port":443}}"#, "denial");
    check(grant, r#"{"tool":"n","connect":{"host":"a.org","port":443,"method":"GET"}}"#, "permit");
}

#[test]
fn what_may_not_be_read_may_not_be_written_or_run_either() {
    let exec = "[[grant.exec]]\npath = \".\"\nreason = \"r\"\n";
    let body = format!("{WORK}{exec}[[deny.read]]\npath = \"./keys\"\nreason = \"r\"\n");
    check(&body, r#"{"tool":"r","read":{"path":"keys/a"}}"#, "denial");
    check(&body, r#"{"tool":"w","write":{"path":"keys/a"}}"#, "denial");
    check(&body, &run("./keys/a"), "denial");
    check(&body, &run("./keysafe"), "permit");
    let body = format!("{WORK}{exec}[[deny.write]]\npath = \"./keys\"\nreason = \"r\"\n");
    check(&body, r#"{"tool":"r","read":{"path":"keys/a"}}"#, "permit");
    check(&body, r#"{"tool":"w","write":{"path":"keys/a"}}"#, "denial");
}

#[test]
fn everything_that_a_project_takes_away_is_taken() {
    let project = "profile = 1\ndurability = \"before-run\"\nrecord = \"all-opens\"\nrecord_floor = \"observed\"\nprotect = [\"a\"]\nhold = [\"b\"]\n[limits]\npids = 5\n\
                   [[deny.read]]\npath = \"./keys\"\nreason = \"r\"\n";
    let project = parse_project("stockade.toml", project.as_bytes()).unwrap_or_else(|all| panic!("{all}"));
    let tightened = tighten(&profile(WORK), &project).unwrap_or_else(|all| panic!("{all}"));
    let lines: Vec<String> = diff(&profile(WORK), &tightened).iter().map(ToString::to_string).collect();
    assert_eq!(
        lines,
        [
            "tighter: + deny read ./keys (stockade.toml:9)",
            "tighter: + protect a (stockade.toml:5)",
            "tighter: + hold b (stockade.toml:6)",
            "tighter: + pids = 5 (stockade.toml:8)",
            "tighter: durability = \"group\" -> durability = \"before-run\"",
            "tighter: record = \"changes\" -> record = \"all-opens\"",
            "tighter: record_floor = \"outcome-only\" -> record_floor = \"observed\"",
        ]
    );
}

#[test]
fn the_most_specific_grant_on_a_host_comes_first() {
    let body = "[[grant.net]]\nhost = \"*.a.org\"\nreason = \"r\"\n[[grant.net]]\nhost = \"x.a.org\"\nreason = \"r\"\n";
    let Decision::Permit(permit) = judged(body, r#"{"tool":"n","connect":{"host":"x.a.org","port":443}}"#) else {
        panic!("it is granted twice")
    };
    let lines: Vec<u32> = permit.grounds().rules.iter().map(|rule| rule.line()).collect();
    assert_eq!(lines, [6, 3]);
}

#[test]
fn conditions_on_arguments_grant_only_what_is_certain() {
    let grant = "[[grant.tool]]\nname = \"edit\"\nargs = { path = [\"src/**\", \"*.md\"] }\nreason = \"r\"\n";
    let deny = "[[grant.tool]]\nname = \"*\"\nreason = \"r\"\n[[deny.tool]]\nname = \"edit\"\nargs = { path = \"src/**\" }\nreason = \"r\"\n";
    for (args, granted, denied) in [
        (r#"{"path":"src/a"}"#, "permit", "denial"),
        (r#"{"path":"README.md"}"#, "permit", "permit"),
        (r#"{"path":"docs/x.md"}"#, "denial", "permit"),
        (r#"{"path":"/src/a"}"#, "denial", "permit"),
        (r#"{"path":"src/../x"}"#, "denial", "denial"),
        (r#"{"path":["src/a"]}"#, "denial", "denial"),
        (r#"{}"#, "denial", "denial"),
    ] {
        let call = format!(r#"{{"tool":"edit","args":{args}}}"#);
        check(grant, &call, granted);
        check(deny, &call, denied);
    }
    // Another kind of call under the tool's name does not slip past the rule on it.
    let deny = format!("{WORK}[[deny.tool]]\nname = \"edit\"\nreason = \"r\"\n");
    check(&deny, r#"{"tool":"edit","write":{"path":"a"}}"#, "denial");
}

#[test]
fn a_call_can_lower_its_time_but_not_raise_it() {
    let body = format!("{WORK}[limits]\nwall_s = 60\n");
    for (asked, expect) in [(5, 5), (600, 60)] {
        let call = format!(r#"{{"tool":"sh","command":{{"argv":["ls"],"wall_s":{asked}}}}}"#);
        let Decision::Permit(permit) = judged(&body, &call) else { panic!("it is granted") };
        assert_eq!(permit.grounds().limits.get(Limit::WallS), Some(expect));
    }
}

#[test]
fn writing_protected_files_is_denied_and_held_ones_are_marked() {
    let body = format!("protect = [\"/.git/hooks\"]\nhold = [\".envrc\"]\n{WORK}");
    check(&body, r#"{"tool":"w","write":{"path":"src/../.GIT/hooks/x"}}"#, "denial");
    let Decision::Permit(permit) = judged(&body, r#"{"tool":"w","write":{"path":"a/.envrc"}}"#) else {
        panic!("it is held, not denied")
    };
    assert!(matches!(permit.grounds().treatment, Treatment::Hold { .. }));
    assert_eq!(permit.grounds().place.as_ref().map(AbsolutePath::as_bytes), Some(&b"/home/ada/work/a/.envrc"[..]));
}

#[test]
fn a_bare_repository_is_treated_as_a_git_directory() {
    let profile = profile("protect = [\"/.git/config\"]\nhold = [\"**/.git/config\", \"**/.git/hooks\"]\n");
    assert_eq!(profile.treatment(b"store/config"), Treatment::Free);
    assert!(matches!(profile.treatment_in_bare_repository(b"store", b"config"), Treatment::Hold { .. }));
    assert!(matches!(profile.treatment_in_bare_repository(b"store", b"hooks/update"), Treatment::Hold { .. }));
    assert_eq!(profile.treatment_in_bare_repository(b"store", b"refs/heads/main"), Treatment::Free);
}

#[test]
fn variables_in_paths_are_the_users_and_must_be_paths() {
    let body = "[[grant.exec]]\npath = \"${CARGO_HOME:-~/.cargo}/bin\"\nreason = \"r\"\n";
    let place = |variables: &[(&str, &[u8])]| {
        let profile = expanded(body, variables)?;
        Ok(profile.path_grants().map(|grant| grant.path.to_string()).collect::<String>())
    };
    assert_eq!(place(&[]), Ok("/home/ada/.cargo/bin".into()));
    assert_eq!(place(&[("CARGO_HOME", b"")]), Ok("/home/ada/.cargo/bin".into()));
    assert_eq!(place(&[("CARGO_HOME", b"/opt/cargo/")]), Ok("/opt/cargo/bin".into()));
    assert_eq!(place(&[("CARGO_HOME", b"/o\xffpt")]), Ok("/o\\xffpt/bin".into()));
    let refused: Result<String, String> = Err("error: profile \"p.toml\", line 3: variable \"CARGO_HOME\": path \"cargo\" is not absolute\nhint: set CARGO_HOME to an absolute path".into());
    assert_eq!(place(&[("CARGO_HOME", b"cargo")]), refused);
    assert!(place(&[("CARGO_HOME", b"/a/../..")]).is_err());
    let whole = "[[grant.read]]\npath = \"${X:-/opt}\"\nreason = \"r\"\n";
    assert!(expanded(whole, &[("X", b"/")]).is_err_and(|text| text.contains("the whole host")));
}

#[test]
fn the_environment_is_what_is_granted_and_not_denied() {
    let body = "[[grant.env]]\nname = \"LC_*\"\nreason = \"r\"\n[[grant.env]]\nname = \"LANG\"\nvalue = \"C\"\nreason = \"r\"\n[[deny.env]]\nname = \"LC_ALL\"\nreason = \"r\"\n";
    let host: [(&[u8], &[u8]); 5] =
        [(b"LC_ALL", b"x"), (b"LC_TIME", b"de"), (b"LANG", b"de"), (b"AWS_SECRET_ACCESS_KEY", b"k"), (b"XLC_", b"x")];
    let environment = profile(body).environment(host);
    let expect = [(b"LANG".to_vec(), b"C".to_vec()), (b"LC_TIME".to_vec(), b"de".to_vec())];
    assert_eq!(environment.into_iter().collect::<Vec<_>>(), expect);
}

#[test]
fn consent_is_to_one_call_and_shows_in_the_permit() {
    let body = format!("{WORK}[[ask.exec]]\nargv = [\"git\", \"push\", \"**\"]\nreason = \"it is final\"\n");
    let Decision::Ask(ask) = judged(&body, &run("git push")) else { panic!("it asks") };
    assert_eq!(ask.rules()[0].reason, "it is final");
    let approval = ask.approve(Approver::parse("ada").expect("a name"));
    let Decision::Permit(permit) = expanded(&body, &[]).expect("clean").judge_approved(approval) else {
        panic!("ada agreed")
    };
    assert_eq!(permit.grounds().approved_by.as_ref().map(ToString::to_string).as_deref(), Some("ada"));
    assert_eq!(permit.grounds().rules.len(), 2);
    let Decision::Ask(ask) = judged(&body, &run("git push")) else { panic!("it asks each time") };
    let denial = ask.refuse(&Approver::parse("ada").expect("a name"));
    assert!(denial.to_string().starts_with("denied: ada was asked and refused: it is final"), "{denial}");
}

#[test]
fn a_denial_says_why_and_what_instead() {
    let body = format!("{WORK}[[deny.read]]\npath = \"**/.env\"\nreason = \"keys stay out\"\n");
    let Decision::Denial(denial) = judged(&body, r#"{"tool":"r","read":{"path":"a/.env"}}"#) else { panic!("denied") };
    assert_eq!(
        denial.to_string(),
        "denied: reading \"a/.env\" is forbidden: keys stay out\nrule: p:10\nallowed instead: exec below \"/usr\", write below \"/home/ada/work\"\nto ask: say what you need it for; the profile's owner can change the rule"
    );
    let Decision::Denial(denial) = judged(WORK, r#"{"tool":"w","write":{"path":"/etc/\u001b[2Jx"}}"#) else {
        panic!("denied")
    };
    assert_eq!(
        denial.to_string(),
        "denied: writing \"/etc/\\u{1b}[2Jx\" is not granted by profile \"p\"\nallowed instead: write below \"/home/ada/work\"\nto ask: say what you need it for; a grant with a reason in the profile allows it"
    );
}

#[test]
fn a_port_inside_is_reached_by_grant_alone() {
    let reach = |body: &str, port: u16| {
        let call = Call::new(ToolName::port(), Action::Port { port });
        match expanded(body, &[]).expect("clean").judge(call) {
            Decision::Permit(permit) => format!("permit {}", permit.grounds().rules[0]),
            Decision::Ask(ask) => format!("ask {}", ask.rules()[0].reason),
            Decision::Denial(denial) => denial.to_string(),
        }
    };
    let granted = "[[grant.port]]\nports = [8080, 3000]\nreason = \"the dev server\"\n";
    assert_eq!(reach(granted, 3000), "permit p:3");
    assert_eq!(reach(granted, 8080), "permit p:3");
    assert_eq!(
        reach(granted, 3001),
        "denied: reaching port 3001 inside is not granted by profile \"p\"\nallowed instead: port 3000, port 8080\nto ask: say what you need it for; a grant with a reason in the profile allows it"
    );
    let net = "[[grant.net]]\nhost = \"127.0.0.1\"\naddress = true\nports = [3000]\nreason = \"r\"\n";
    assert!(reach(net, 3000).starts_with("denied: "), "a grant for the network is another thing");
    for (rule, expect) in [
        ("[[ask.port]]\nport = 3000", "ask why"),
        ("[[deny.port]]\nport = 3000", "denied: reaching port 3000 inside is forbidden: why\nrule: p:6"),
        ("[[deny.port]]", "denied: reaching port 3000 inside is forbidden: why\nrule: p:6"),
        ("[[deny.port]]\nport = 8080", "permit p:3"),
        ("[[deny.tool]]\nname = \"port\"", "denied: reaching port 3000 inside is forbidden: why\nrule: p:6"),
    ] {
        let answer = reach(&format!("{granted}{rule}\nreason = \"why\"\n"), 3000);
        assert!(answer.starts_with(expect), "{rule}: {answer}");
    }
    let explained = profile(granted).explain().to_string();
    assert!(
        explained.contains("may be reached from this machine\n  port 3000,8080  [p.toml:3]\n      the dev server\n")
    );
    let wider: Vec<String> = diff(&profile(""), &profile(granted)).iter().map(ToString::to_string).collect();
    assert_eq!(wider, ["wider: + grant port 3000,8080 (p:3)"]);
    let bytes = profile(granted).canonical_bytes();
    let text = String::from_utf8(bytes).expect("this one is text");
    assert!(text.contains("\ngrant\tinside=3000\tinside=8080\trule=p:3\treason=the dev server\n"), "{text}");
    assert!(parse_project("stockade.toml", format!("profile = 1\n{granted}").as_bytes()).is_err());
}

#[test]
fn differences_have_a_direction() {
    let before = profile("hold = [\"a\"]\n[limits]\npids = 10\n[[grant.read]]\npath = \"/usr\"\nreason = \"r\"\n");
    let after = profile(
        "floor = \"partial\"\nhold = [\"b\"]\n[limits]\npids = 5\nwall_s = 9\n[[grant.read]]\npath = \"/usr\"\nreason = \"s\"\n[[grant.net]]\nhost = \"a.org\"\nreason = \"r\"\n",
    );
    let lines: Vec<String> = diff(&before, &after).iter().map(ToString::to_string).collect();
    assert_eq!(
        lines,
        [
            "wider: + grant net a.org ports 443 (p:11)",
            "wider: - hold a (p:3)",
            "wider: floor = \"full\" -> floor = \"partial\"",
            "tighter: + hold b (p:4)",
            "tighter: + wall_s = 9 (p:7)",
            "tighter: pids = 10 -> pids = 5 (p:6)",
            "changed: grant read /usr: r -> grant read /usr: s (p:8)",
        ]
    );
    assert!(diff(&after, &after).is_empty());
}

#[test]
fn an_explanation_names_reason_file_and_line() {
    let text = profile(&format!("protect = [\"/x\"]\n{WORK}[limits]\npids = 5\n")).explain().to_string();
    assert_eq!(
        text,
        "profile p\n\nmay read and write\n  write .  [p.toml:8]\n      work\n\nmay read and execute\n  exec /usr  [p.toml:5]\n      programs\n\nprotected files of the workspace\n  /x  [p.toml:3]\n\nlimits\n  pids = 5  [p.toml:12]\n  backend = \"process\"\n  floor = \"full\"\n  durability = \"group\"\n  record = \"changes\"\n  record_floor = \"outcome-only\"\n"
    );
}

#[test]
fn the_canonical_form_is_fixed() {
    let bytes =
        profile("description = \"not judged\"\n[[grant.env]]\nname = \"A\"\nvalue = \"x\\\\y\"\nreason = \"r\"\n")
            .canonical_bytes();
    let expect = "stockade-profile/1\ndurability\tdurability=group\nfloor\tfloor=full\ngrant\tenv=A\tvalue=x\\\\y\trule=p:4\treason=r\nname\tname=p\nrecord\trecord=changes\nrecord_floor\trecord_floor=outcome-only\n";
    assert_eq!(String::from_utf8(bytes).expect("text"), expect);
}

#[test]
fn would_is_the_same_answer_without_a_permit() {
    let call = RawCall::new(run("ls").as_bytes()).parse().expect("well-formed");
    let profile = expanded(WORK, &[]).expect("clean");
    assert!(matches!(profile.would(&call), Answer::Allowed(grounds) if grounds.rules.len() == 1));
}

#[test]
fn a_secret_is_exchanged_at_its_own_endpoint_and_opens_it_to_nobody_else() {
    let secret = "[[secret]]\nname = \"k\"\nplace = { oauth = { token_url = \"https://login.test/token\", grant = \"refresh_token\", client_id = \"c\" } }\nhosts = [\"api.test\"]\nreason = \"r\"\n[[secret]]\nname = \"plain\"\nplace = \"body\"\nhosts = [\"login.test\"]\nreason = \"r\"\n";
    let net = |verb: &str| format!("[[{verb}.net]]\nhost = \"login.test\"\nreason = \"r\"\n");
    let named = |name: &str| stockade_policy::SecretName::parse(name).expect("a name");
    for (body, expect) in [
        (secret.to_owned(), "p:3"),
        (format!("{secret}{}", net("grant")), "p:3 p:13"),
        (format!("{secret}{}", net("ask")), "asks"),
        (format!("{secret}{}{}", net("deny"), net("grant")), "denied"),
    ] {
        let profile = expanded(&body, &[]).expect("clean");
        let found = match profile.judge_exchange(&named("k")).expect("it is exchanged") {
            Decision::Permit(permit) => {
                assert!(matches!(permit.call().action(), Action::Connect { port: 443, method: Some(method), .. }
                    if method.as_str() == "POST"));
                let rules: Vec<String> = permit.grounds().rules.iter().map(ToString::to_string).collect();
                rules.join(" ")
            }
            Decision::Ask(_) => "asks".to_owned(),
            Decision::Denial(_) => "denied".to_owned(),
        };
        assert_eq!(found, expect, "{body}");
        assert!(profile.judge_exchange(&named("plain")).is_none() && profile.judge_exchange(&named("none")).is_none());
    }
    // The sandbox's own request there is one like any other.
    check(
        secret,
        r#"{"tool":"net","connect":{"host":"login.test","port":443,"method":"POST","path":"/token"}}"#,
        "denial",
    );
}
