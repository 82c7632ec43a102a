//! What a wrong profile is answered, word by word: file, line, what, hint.
//! It never accepts a message without a hint.

use stockade_policy::{
    Diagnostics, PROFILE_BYTES_MAX, ProfileName, RULES_MAX, RecordFloor, Recording, parse, parse_project, resolve,
    tighten,
};

const HEAD: &str = "profile = 1\nname = \"web\"\n";

#[track_caller]
fn same(found: Diagnostics, expect: &str) {
    assert_eq!(found.to_string(), expect.trim());
}

/// `body` starts at line 3.
#[track_caller]
fn check(body: &str, expect: &str) {
    let text = format!("{HEAD}{body}");
    same(parse("web.toml", text.as_bytes()).expect_err("the profile is wrong"), expect);
}

#[track_caller]
fn check_whole(bytes: &[u8], expect: &str) {
    same(parse("web.toml", bytes).expect_err("the profile is wrong"), expect);
}

#[track_caller]
fn check_project(text: &str, expect: &str) {
    same(parse_project("stockade.toml", text.as_bytes()).expect_err("the file is wrong"), expect);
}

/// `files` are profiles by name; the first one is resolved.
#[track_caller]
fn check_joined(files: &[(&str, &str)], expect: &str) {
    let text = |name: &str, body: &str| format!("profile = 1\nname = \"{name}\"\n{body}");
    let load = |(name, body): &(&str, &str)| parse(&format!("{name}.toml"), text(name, body).as_bytes());
    let first = load(&files[0]).expect("it is well-formed alone");
    let mut lookup = |name: &ProfileName| files.iter().find(|(other, _)| *other == name.as_str()).map(load).transpose();
    same(resolve(&first, &mut lookup).expect_err("joining finds something"), expect);
}

#[test]
fn a_grant_without_reason_is_refused() {
    check(
        "\n\n\n\n[[grant.read]]\npath = \"/usr\"\n",
        "error: profile \"web.toml\", line 7: grant has no reason\nhint: add reason = \"why this tool needs it\"",
    );
    check(
        "[[grant.read]]\npath = \"/usr\"\nreason = \"\"\n",
        "error: profile \"web.toml\", line 5: reason is empty\nhint: give the reason, or leave the key out",
    );
    check(
        "[[deny.read]]\npath = \"/usr\"\nreason = \"  \"\n",
        "error: profile \"web.toml\", line 5: reason is blank\nhint: say why this tool needs it",
    );
}

#[test]
fn a_port_inside_is_named_once_and_exists() {
    check(
        "[[grant.port]]\nreason = \"r\"\n[[grant.port]]\nport = 70000\nreason = \"r\"\n[[grant.port]]\nport = 1\nports = [2]\nreason = \"r\"\n[[grant.port]]\nports = [0]\nreason = \"r\"\n[[grant.port]]\nport = 5\n",
        r#"
error: profile "web.toml", line 3: grant has no port
hint: add port = 3000, or ports = [3000, 3001]
error: profile "web.toml", line 6: port = 70000 is out of range
hint: give a number from 1 to 65535, or leave the key out
error: profile "web.toml", line 10: rule has both "port" and "ports"
hint: put all of them into ports = [3000, 3001]
error: profile "web.toml", line 13: "ports" has something that is no port
hint: give numbers from 1 to 65535
error: profile "web.toml", line 15: grant has no reason
hint: add reason = "why this tool needs it"
"#,
    );
}

#[test]
fn every_error_is_reported_not_only_the_first() {
    check(
        "flor = \"full\"\n[[grant.read]]\npath = \"/usr/*\"\n[[grant.red]]\nreason = \"r\"\n[[grant.net]]\nhost = \"\"\nports = []\nreason = \"r\"\n[limits]\nwall = 3\npids = 0\n",
        r#"
error: profile "web.toml", line 3: unknown key "flor" in profile
hint: did you mean "floor"?
error: profile "web.toml", line 4: grant has no reason
hint: add reason = "why this tool needs it"
error: profile "web.toml", line 5: path "/usr/*" has a pattern
hint: a grant is a path with everything below it: name the directory
error: profile "web.toml", line 6: unknown key "red" in grant
hint: did you mean "read"?
error: profile "web.toml", line 9: host is empty
hint: give the host, or leave the key out
error: profile "web.toml", line 10: "ports" is empty
hint: an empty list could mean all or none: fill it, or leave the key out
error: profile "web.toml", line 13: unknown key "wall" in limits
hint: did you mean "wall_s"?
error: profile "web.toml", line 14: pids = 0 is out of range
hint: give a number from 1 to 4294967295, or leave the key out
"#,
    );
}

#[test]
fn versions_and_names() {
    check_whole(
        b"profile = 2\nname = \"x\"\nfuture = true\n",
        "error: profile \"web.toml\", line 1: profile = 2 is from a newer version\nhint: this stockade reads profile = 1: update it",
    );
    check_whole(
        b"",
        "error: profile \"web.toml\", line 1: file does not say which version of the syntax it has\nhint: add profile = 1\n\
         error: profile \"web.toml\", line 1: profile has no name\nhint: add name = \"my-profile\"",
    );
    check_whole(
        b"profile = \"1\"\n",
        "error: profile \"web.toml\", line 1: \"profile\" is a string\nhint: write profile = 1",
    );
    check_whole(
        b"profile = 1\nname = \"My Profile\"\n",
        "error: profile \"web.toml\", line 2: \"My Profile\" is not a profile name\nhint: use lower-case letters, digits and \"-\", starting with a letter",
    );
}

#[test]
fn bytes_that_are_no_text() {
    check_whole(
        b"profile = 1\r\n",
        "error: profile \"web.toml\", line 1: file has a carriage return\nhint: save it with unix line ends",
    );
    check_whole(
        b"profile = 1\nname = \"a\0b\"\n",
        "error: profile \"web.toml\", line 2: file has a NUL byte\nhint: a profile is plain text",
    );
    check_whole(
        b"profile = 1\n\xff\n",
        "error: profile \"web.toml\", line 2: file is not UTF-8\nhint: save it as UTF-8",
    );
    check_whole(
        "profile = 1\n# \u{202e}evil\n".as_bytes(),
        "error: profile \"web.toml\", line 2: file has the invisible character U+202E\nhint: remove it: a profile must read as it acts",
    );
    check(
        "description = \"a\\u0000b\"\n",
        "error: profile \"web.toml\", line 3: description has the control or invisible character U+0000\nhint: remove it",
    );
    check(
        "\"a\\u001b[31m\" = 1\n",
        "error: profile \"web.toml\", line 3: unknown key \"a\\u{1b}[31m\" in profile\nhint: known keys: profile, name, description, extends, guard, floor, durability, record, record_floor, backend, image, runtime, grant, ask, deny, protect, hold, limits, secret, tool",
    );
    check_whole(
        &vec![b'#'; PROFILE_BYTES_MAX + 1],
        "error: profile \"web.toml\", line 1: file has 262145 bytes, more than 262144\nhint: split it, and join the parts with extends",
    );
    let many = format!("{HEAD}protect = [{}]\n", (0..=RULES_MAX).map(|n| format!("\"a{n}\",")).collect::<String>());
    check_whole(
        many.as_bytes(),
        "error: profile \"web.toml\", line 1: profile has 4097 rules, more than 4096\nhint: grant directories instead of files, or split the profile",
    );
}

#[test]
fn broken_toml_has_its_line() {
    let found = parse("web.toml", format!("{HEAD}floor = full\nname = \"again\"\n").as_bytes()).expect_err("broken");
    assert!(found.iter().any(|one| one.line == 3), "{found}");
    assert!(found.iter().any(|one| one.line == 4 && one.what.contains("duplicate key")), "{found}");
    assert!(found.iter().all(|one| one.hint == "see https://toml.io for the syntax"), "{found}");
}

#[test]
fn paths_that_cannot_be_granted() {
    let grant = |path: &str| format!("[[grant.read]]\npath = \"{path}\"\nreason = \"r\"\n");
    for (path, expect) in [
        ("/", "path \"/\" is the whole host\nhint: name the directories that are needed"),
        ("/usr/../etc", "path \"/usr/../etc\" has \"..\"\nhint: write the path it leads to"),
        ("src", "path \"src\" is relative to nothing\nhint: write \"./src\" for the workspace, or an absolute path"),
        (".git", "path \".git\" is relative to nothing\nhint: write \"./.git\" for the workspace, or an absolute path"),
        (
            "~root/x",
            "path \"~root/x\" names another user's home\nhint: write \"~/…\" for the home directory, or an absolute path",
        ),
        (
            "${X}/y",
            "variable in path \"${X}/y\" has no default\nhint: write \"${NAME:-/default}/rest\" or \"${NAME:-~/default}/rest\"",
        ),
        (
            "${X:-y}",
            "default \"y\" is neither absolute nor in \"~\"\nhint: write \"${NAME:-/default}/rest\" or \"${NAME:-~/default}/rest\"",
        ),
        (
            "${X:-/y",
            "path \"${X:-/y\" has \"${\" without \"}\"\nhint: write \"${NAME:-/default}/rest\" or \"${NAME:-~/default}/rest\"",
        ),
        (
            "/a/${X:-/b}",
            "path \"/a/${X:-/b}\" has a pattern\nhint: a grant is a path with everything below it: name the directory",
        ),
        (
            "/a/$X",
            "path \"/a/$X\" has \"$\" inside\nhint: a variable can only stand at the start, as \"${NAME:-default}\"",
        ),
        (
            "**/.env",
            "path \"**/.env\" has a pattern\nhint: a grant is a path with everything below it: name the directory",
        ),
    ] {
        check(&grant(path), &format!("error: profile \"web.toml\", line 4: {expect}"));
    }
    check(
        "[[deny.read]]\npath = \"/home/*/x\"\nreason = \"r\"\n",
        "error: profile \"web.toml\", line 4: path \"/home/*/x\" has a pattern outside the workspace\nhint: patterns are for the workspace, such as \"**/.env\"; elsewhere name the directory",
    );
    check(
        "[[grant.read]]\npath = 1\noptional = \"yes\"\nreason = \"r\"\n",
        "error: profile \"web.toml\", line 4: \"path\" is an integer\nhint: give a string\n\
         error: profile \"web.toml\", line 5: \"optional\" is a string\nhint: give true or false",
    );
    check(
        "[grant.read]\npath = \"/usr\"\nreason = \"r\"\n",
        "error: profile \"web.toml\", line 3: \"grant.read\" is one table\nhint: write [[grant.read]]",
    );
}

#[test]
fn a_thing_said_twice() {
    check(
        "[[grant.read]]\npath = \"/usr\"\nreason = \"a\"\n[[grant.read]]\npath = \"/usr/\"\nreason = \"b\"\n",
        "error: profile \"web.toml\", line 6: grant repeats line 3\nhint: remove one",
    );
    check(
        "protect = [\n\"a\",\n\"a\",\n]\n",
        "error: profile \"web.toml\", line 5: pattern \"a\" repeats line 4\nhint: remove one",
    );
    let secret = "[[secret]]\nname = \"k\"\nplace = \"path\"\nhosts = [\"a.b\"]\nreason = \"r\"\n";
    check(
        &format!("{secret}{secret}"),
        "error: profile \"web.toml\", line 8: secret \"k\" repeats line 3\nhint: rename one",
    );
}

#[test]
fn hosts_that_cannot_match_or_match_too_much() {
    let grant = |host: &str| format!("[[grant.net]]\nhost = \"{host}\"\nreason = \"r\"\n");
    for (host, expect) in [
        ("*", "host \"*\" is the whole network\nhint: name the hosts: a policy for all of them would be none"),
        (
            "a.*.b",
            "host \"a.*.b\" has \"*\" where none can be\nhint: \"*.\" can stand once, at the start, for every name below the rest",
        ),
        (
            "10.0.0.1",
            "host \"10.0.0.1\" is an address\nhint: add address = true if no name will do: an address says nothing about who answers",
        ),
        (
            "127.1",
            "host \"127.1\" ends in a number, but is no plain address\nhint: write four decimal numbers without leading zeros",
        ),
        (
            "0x7f.0x1",
            "host \"0x7f.0x1\" ends in a number, but is no plain address\nhint: write four decimal numbers without leading zeros",
        ),
        (
            "2130706433",
            "host \"2130706433\" ends in a number, but is no plain address\nhint: write four decimal numbers without leading zeros",
        ),
        ("example.com.", "host \"example.com.\" has a trailing dot\nhint: remove the dot"),
        ("a..b", "host \"a..b\" has an empty label\nhint: write one dot between labels"),
        (
            "ok.com@evil.com",
            "host \"ok.com@evil.com\" has the character \"@\"\nhint: write the bare name: no scheme, port, path or user",
        ),
        (
            "example.com:443",
            "host \"example.com:443\" is neither a name nor an address\nhint: a port belongs into ports, an IPv6 address is written without brackets and zone",
        ),
        ("exämple.com", "host \"exämple.com\" is not ASCII\nhint: write the name in its \"xn--\" form"),
        ("*.10.0.0.1", "host \"*.10.0.0.1\" cannot match\nhint: an address has no names below it"),
    ] {
        check(&grant(host), &format!("error: profile \"web.toml\", line 4: {expect}"));
    }
    check(
        "[[grant.net]]\nhost = \"a.b\"\naddress = true\nmethods = [\"get\"]\npaths = [\"v1/**\"]\nports = [0]\nreason = \"r\"\n",
        "error: profile \"web.toml\", line 4: \"address\" is true, but host is a name\nhint: remove address = true\n\
         error: profile \"web.toml\", line 6: method \"get\" is not in upper case\nhint: write \"GET\"\n\
         error: profile \"web.toml\", line 7: path \"v1/**\" cannot match\nhint: paths start with \"/\": write \"/v1/**\"\n\
         error: profile \"web.toml\", line 8: \"ports\" has something that is no port\nhint: give numbers from 1 to 65535",
    );
}

#[test]
fn patterns_that_cannot_match() {
    for (pattern, expect) in [
        ("../x", "pattern \"../x\" cannot match\nhint: remove empty components, \".\" and \"..\""),
        ("a//b", "pattern \"a//b\" cannot match\nhint: remove empty components, \".\" and \"..\""),
        ("~/x", "pattern \"~/x\" cannot match\nhint: patterns are relative to the workspace"),
        ("**", "pattern \"**\" matches everything\nhint: name what is meant"),
        ("a/**b", "pattern \"a/**b\" has \"**\" inside a component\nhint: \"**\" stands alone between slashes"),
        ("{a,b}", "pattern \"{a,b}\" has a character of another pattern language\nhint: only *, ** and ? are special"),
    ] {
        check(&format!("hold = [\"{pattern}\"]\n"), &format!("error: profile \"web.toml\", line 3: {expect}"));
    }
    check(
        "[[grant.env]]\nname = \"*\"\nreason = \"r\"\n",
        "error: profile \"web.toml\", line 4: \"*\" would pass the whole environment\nhint: name the variables, or a group of them such as \"LC_*\"",
    );
    check(
        "[[grant.tool]]\nname = \"a b\"\nreason = \"r\"\n",
        "error: profile \"web.toml\", line 4: \"a b\" cannot match a tool's name\nhint: tools have letters, digits and \"_ . : / -\"; \"*\" stands for any of them",
    );
    check(
        "[[deny.exec]]\nargv = [\"**\"]\nreason = \"r\"\n",
        "error: profile \"web.toml\", line 3: \"argv\" does not name a program\nhint: start it with a program's name",
    );
}

#[test]
fn secrets_without_bounds() {
    check(
        "[[secret]]\nname = \"k\"\nplace = { header = \"X-Key\" }\nshape = \"jtw\"\nreason = \"r\"\n",
        "error: profile \"web.toml\", line 3: secret has no hosts\nhint: add hosts = [\"api.example.com\"]\n\
         error: profile \"web.toml\", line 5: \"X-Key\" is not a header in lower case\nhint: write it as \"x-api-key\"\n\
         error: profile \"web.toml\", line 5: place is not exactly one\nhint: write { header = \"authorization\", format = \"Bearer {}\" }, { basic = \"user\" }, { query = \"key\" }, { sigv4 = { … } }, { oauth = { … } }, \"path\" or \"body\"\n\
         error: profile \"web.toml\", line 6: unknown shape \"jtw\"\nhint: did you mean \"jwt\"?",
    );
}

#[test]
fn signers_without_bounds() {
    let secret =
        |place: &str| format!("[[secret]]\nname = \"k\"\nplace = {{ {place} }}\nhosts = [\"a.b\"]\nreason = \"r\"\n");
    check(
        &secret("sigv4 = { service = \"S3/\" }"),
        "error: profile \"web.toml\", line 5: \"S3/\" is not a service\nhint: use lower-case letters, digits and \"-\"\n\
         error: profile \"web.toml\", line 5: sigv4 has no region\nhint: add region = \"eu-west-1\"",
    );
    check(
        &secret("oauth = { token_url = \"http://a.b/t\", grant = \"password\", client_id = \"c\" }"),
        "error: profile \"web.toml\", line 5: token url \"http://a.b/t\" does not start with \"https://\"\nhint: write it as \"https://login.example.com/oauth/token\"\n\
         error: profile \"web.toml\", line 5: unknown grant \"password\"\nhint: write one of: client_credentials, refresh_token",
    );
    check(
        &secret("basic = \"a:b\""),
        "error: profile \"web.toml\", line 5: place is not exactly one\nhint: write { header = \"authorization\", format = \"Bearer {}\" }, { basic = \"user\" }, { query = \"key\" }, { sigv4 = { … } }, { oauth = { … } }, \"path\" or \"body\"\n\
         error: profile \"web.toml\", line 5: user \"a:b\" has a \":\"\nhint: a colon ends the user's name (RFC 7617)",
    );
    check(
        &secret("query = \"k\", sigv4 = { service = \"s3\", region = \"eu-west-1\" }"),
        "error: profile \"web.toml\", line 5: place is not exactly one\nhint: write { header = \"authorization\", format = \"Bearer {}\" }, { basic = \"user\" }, { query = \"key\" }, { sigv4 = { … } }, { oauth = { … } }, \"path\" or \"body\"",
    );
}

#[test]
fn joining_reports_what_no_file_alone_shows() {
    check_joined(
        &[("a", "extends = [\"b\"]\n"), ("b", "extends = [\"a\"]\n")],
        "error: profile \"b.toml\", line 3: profile extends itself: a -> b -> a\nhint: remove one of these",
    );
    check_joined(
        &[("a", "\nextends = [\"missing\"]\n")],
        "error: profile \"a.toml\", line 4: unknown profile \"missing\"\nhint: stockade profile list shows those there are",
    );
    let chain: Vec<(String, String)> =
        (0..10).map(|n| (format!("p{n}"), format!("extends = [\"p{}\"]\n", n + 1))).collect();
    let chain: Vec<(&str, &str)> = chain.iter().map(|(name, body)| (name.as_str(), body.as_str())).collect();
    check_joined(
        &chain,
        "error: profile \"p8.toml\", line 3: profiles are nested deeper than 8\nhint: extend them directly",
    );
    check_joined(
        &[("a", "[[grant.net]]\nhost = \"x.org\"\nsecret = \"k\"\nreason = \"r\"\n")],
        "error: profile \"a.toml\", line 3: grant uses the unknown secret \"k\"\nhint: add a [[secret]] with name = \"k\"",
    );
    let secret = "[[secret]]\nname = \"k\"\nplace = \"path\"\nhosts = [\"y.org\"]\nreason = \"r\"\n";
    check_joined(
        &[("a", "extends = [\"b\"]\n[[grant.net]]\nhost = \"x.org\"\nsecret = \"k\"\nreason = \"r\"\n"), ("b", secret)],
        "error: profile \"a.toml\", line 4: secret \"k\" is not bound to host \"x.org\"\nhint: add \"x.org\" to the hosts of the secret (b:3)",
    );
    check_joined(
        &[
            ("a", "extends = [\"b\"]\n[[grant.env]]\nname = \"X\"\nvalue = \"1\"\nreason = \"r\"\n"),
            ("b", "[[grant.env]]\nname = \"X\"\nvalue = \"2\"\nreason = \"r\"\n"),
        ],
        "error: profile \"a.toml\", line 4: variable \"X\" has another value in b:3\nhint: set it once",
    );
}

#[test]
fn a_recorder_that_is_switched_off_is_not_demanded() {
    let why = "demands a recorder, and record = \"off\"\nhint: write record = \"changes\", or record_floor = \"outcome-only\"";
    check_joined(
        &[("a", "record = \"off\"\nrecord_floor = \"performed\"\n")],
        &format!("error: profile \"a.toml\", line 4: record_floor = \"performed\" {why}"),
    );
    // Whoever demands it is the one to say so, and the strictest demand is the one that is told.
    check_joined(
        &[
            ("a", "extends = [\"b\"]\nrecord_floor = \"observed\"\n"),
            ("b", "record_floor = \"performed\"\nrecord = \"off\"\n"),
        ],
        &format!("error: profile \"b.toml\", line 3: record_floor = \"performed\" {why}"),
    );
    let off = parse("p.toml", b"profile = 1\nname = \"p\"\nrecord = \"off\"\n").expect("well-formed");
    let off = resolve(&off, &mut |_| Ok(None)).expect("it stands alone");
    let demand = |more: &str| {
        let text = format!("profile = 1\nrecord_floor = \"observed\"\n{more}");
        tighten(&off, &parse_project("stockade.toml", text.as_bytes()).expect("well-formed"))
    };
    let found = demand("").expect_err("nobody records");
    same(found, &format!("error: profile \"stockade.toml\", line 2: record_floor = \"observed\" {why}"));
    let recorded = demand("record = \"changes\"\n").expect("it is switched on as well");
    assert_eq!(recorded.recording(), Recording::Changes);
}

#[test]
fn of_two_recordings_the_larger_holds() {
    let joined = |child: &str, parent: &str| {
        let read = |name: &str, text: &str| parse(name, format!("profile = 1\nname = \"{name}\"\n{text}").as_bytes());
        let child = read("child", &format!("extends = [\"parent\"]\n{child}")).expect("well-formed");
        let profile = resolve(&child, &mut |_| Ok(Some(read("parent", parent)?))).expect("they fit");
        (profile.recording(), profile.record_floor())
    };
    let none = RecordFloor::OutcomeOnly;
    assert_eq!(joined("", ""), (Recording::Changes, none));
    assert_eq!(joined("", "record = \"off\"\n"), (Recording::Off, none));
    assert_eq!(joined("record = \"off\"\n", "record = \"changes\"\n"), (Recording::Changes, none));
    assert_eq!(joined("record = \"all-opens\"\n", "record = \"off\"\n"), (Recording::AllOpens, none));
    let floors = joined("record_floor = \"observed\"\n", "record_floor = \"performed\"\n");
    assert_eq!(floors, (Recording::Changes, RecordFloor::Performed));
    let floors = joined("record_floor = \"traced\"\n", "record_floor = \"outcome-only\"\n");
    assert_eq!(floors, (Recording::Changes, RecordFloor::Traced));
    let floors = joined("record_floor = \"traced\"\n", "record_floor = \"observed\"\n");
    assert_eq!(floors, (Recording::Changes, RecordFloor::Observed));
}

#[test]
fn a_project_cannot_widen() {
    check_project(
        "profile = 1\nextends = [\"shell\"]\n[[grant.read]]\npath = \"/\"\n[[secret]]\nname = \"k\"\n",
        "error: profile \"stockade.toml\", line 2: \"extends\" could widen the profile, a project cannot\nhint: choose the profile with stockade run --profile …\n\
         error: profile \"stockade.toml\", line 3: \"grant\" could widen the profile, a project cannot\nhint: ask for a profile that has the grant: stockade run --profile …\n\
         error: profile \"stockade.toml\", line 5: \"secret\" could widen the profile, a project cannot\nhint: secrets belong into the profile of the person who starts the session",
    );
    let profile = parse(
        "p.toml",
        b"profile = 1\nname = \"p\"\ndurability = \"before-run\"\nrecord_floor = \"performed\"\n[limits]\npids = 10\n",
    );
    let profile = resolve(&profile.expect("well-formed"), &mut |_| Ok(None)).expect("it stands alone");
    let project = b"profile = 1\nfloor = \"partial\"\ndurability = \"group\"\nrecord = \"off\"\nrecord_floor = \"observed\"\n[limits]\npids = 11\nwall_s = 5\n";
    let project = parse_project("stockade.toml", project).expect("well-formed");
    same(
        tighten(&profile, &project).expect_err("it would weaken"),
        "error: profile \"stockade.toml\", line 2: floor = \"partial\" is weaker than the profile's \"full\"\nhint: a project can only tighten the profile: remove the line\n\
         error: profile \"stockade.toml\", line 3: durability = \"group\" is weaker than the profile's \"before-run\"\nhint: a project can only tighten the profile: remove the line\n\
         error: profile \"stockade.toml\", line 4: record = \"off\" is weaker than the profile's \"changes\"\nhint: a project can only tighten the profile: remove the line\n\
         error: profile \"stockade.toml\", line 5: record_floor = \"observed\" is weaker than the profile's \"performed\"\nhint: a project can only tighten the profile: remove the line\n\
         error: profile \"stockade.toml\", line 7: pids = 11 is higher than the profile's 10\nhint: a project can only tighten the profile: remove the line",
    );
}

#[test]
fn a_flood_of_findings_is_counted() {
    let body: String = (0..500).map(|n| format!("unknown{n} = 1\n")).collect();
    let found = parse("web.toml", format!("{HEAD}{body}").as_bytes()).expect_err("nothing of it is known");
    assert_eq!((found.iter().count(), found.omitted()), (100, 400));
    assert!(found.to_string().ends_with("and 400 more"));
}
