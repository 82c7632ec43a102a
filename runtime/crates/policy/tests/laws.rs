//! The laws of profiles, on generated ones: less granted or more forbidden never permits more, whatever the call.
//! It never looks inside: profiles are written as text, judged through the door.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{select, subsequence};
use std::collections::BTreeMap;
use stockade_policy::{
    AbsolutePath, Action, Answer, Approver, Call, Decision, ExpandedProfile, HostFacts, Limit, Profile, ProfileName,
    RawCall, ToolName, parse, parse_project, resolve, tighten,
};

const GRANTS: [&str; 25] = [
    "[[grant.read]]\npath = \".\"",
    "[[grant.read]]\npath = \"./src\"",
    "[[grant.read]]\npath = \"/etc\"\noptional = true",
    "[[grant.read]]\npath = \"~/.cargo\"",
    "[[grant.write]]\npath = \".\"",
    "[[grant.write]]\npath = \"./out\"",
    "[[grant.exec]]\npath = \"/usr\"",
    "[[grant.exec]]\npath = \".\"",
    "[[grant.exec]]\npath = \"${CARGO_HOME:-~/.cargo}/bin\"",
    "[[grant.net]]\nhost = \"*.example.com\"",
    "[[grant.net]]\nhost = \"api.example.com\"\nmethods = [\"GET\"]\npaths = [\"/v1/**\"]",
    "[[grant.net]]\nhost = \"api.example.com\"\nports = [80, 443]\nmethods = [\"POST\"]",
    "[[grant.net]]\nhost = \"10.0.0.7\"\naddress = true",
    "[[grant.tool]]\nname = \"edit\"\nargs = { path = \"src/**\" }",
    "[[grant.tool]]\nname = \"*\"",
    "[[grant.tool]]\nname = \"edit\"\nclocks = false",
    "[[grant.tool]]\nname = \"edit\"\nsockets = true",
    "[[grant.tool]]\nname = \"*\"\nclocks = false\nrandom = false",
    "[[grant.tool]]\nname = \"fetch\"\nargs = { url = [\"https://example.com/**\"] }",
    "[[grant.env]]\nname = \"LC_*\"",
    "[[grant.env]]\nname = \"A\"\nvalue = \"1\"",
    "[[grant.unix]]\npath = \"/run/x.sock\"",
    "[[grant.unix]]\npath = \"/run/y.sock\"",
    "[[grant.port]]\nport = 3000",
    "[[grant.port]]\nports = [3000, 8080]",
];

const RESTRICTIONS: [&str; 20] = [
    "read]]\npath = \"./secret\"",
    "read]]\npath = \"**/.env\"",
    "read]]\npath = \"/etc/ssl\"",
    "write]]\npath = \"./src\"",
    "write]]\npath = \"*.lock\"",
    "exec]]\npath = \"/usr/bin/curl\"",
    "exec]]\npath = \".\"",
    "exec]]\nargv = [\"git\", \"push\", \"**\"]",
    "exec]]\npath = \"/usr/bin\"\nargv = [\"*\", \"-c\", \"**\"]",
    "net]]\nhost = \"api.example.com\"",
    "net]]\nhost = \"*.example.com\"\nmethods = [\"POST\"]",
    "net]]\nhost = \"*.example.com\"\nports = [80]",
    "net]]\nhost = \"api.example.com\"\npaths = [\"/v1/admin/**\"]",
    "tool]]\nname = \"edit\"",
    "tool]]\nname = \"*\"\nargs = { path = \"src/secret/**\" }",
    "env]]\nname = \"LD_*\"",
    "env]]\nname = \"LC_ALL\"",
    "unix]]\npath = \"/run/x.sock\"",
    "port]]\nports = [8080]",
    "port]]",
];

const GUARDS: [&str; 4] = ["**/.git/hooks", ".envrc", "/src", "*.lock"];

const CALLS: [&str; 34] = [
    r#"{"tool":"sh","command":{"argv":["ls"]}}"#,
    r#"{"tool":"sh","command":{"argv":["/usr/bin/curl","x"]}}"#,
    r#"{"tool":"sh","command":{"argv":["curl","x"]}}"#,
    r#"{"tool":"sh","command":{"argv":["git","push"]}}"#,
    r#"{"tool":"sh","command":{"argv":["/usr/bin/git","push","-f"]}}"#,
    r#"{"tool":"sh","command":{"argv":["/usr/bin/sh","-c","x"]}}"#,
    r#"{"tool":"sh","command":{"argv":["./run"],"cwd":"src"}}"#,
    r#"{"tool":"sh","command":{"argv":["../../../usr/bin/curl"],"cwd":"src"}}"#,
    r#"{"tool":"sh","command":{"argv":["/home/ada/.cargo/bin/cargo"],"cwd":"/tmp"}}"#,
    r#"{"tool":"sh","command":{"argv":["ls"],"cwd":"/etc"}}"#,
    r#"{"tool":"sh","command":{"argv":["ls"],"env":{"LD_PRELOAD":"x"}}}"#,
    r#"{"tool":"edit","command":{"argv":["ls"],"wall_s":5}}"#,
    r#"{"tool":"r","read":{"path":"src/a"}}"#,
    r#"{"tool":"r","read":{"path":"secret/a"}}"#,
    r#"{"tool":"r","read":{"path":"src/../secret/a"}}"#,
    r#"{"tool":"r","read":{"path":".ENV"}}"#,
    r#"{"tool":"r","read":{"path":"/etc/ssl/x"}}"#,
    r#"{"tool":"r","read":{"path":"/etc/passwd"}}"#,
    r#"{"tool":"r","read":{"path":"../.cargo/config.toml"}}"#,
    r#"{"tool":"w","write":{"path":"src/a"}}"#,
    r#"{"tool":"w","write":{"path":"out/Cargo.lock"}}"#,
    r#"{"tool":"w","write":{"path":".git/hooks/x"}}"#,
    r#"{"tool":"w","write":{"path":".envrc"}}"#,
    r#"{"tool":"n","connect":{"host":"api.example.com","port":443}}"#,
    r#"{"tool":"n","connect":{"host":"API.example.com","port":443,"method":"GET","path":"/v1/admin/x"}}"#,
    r#"{"tool":"n","connect":{"host":"api.example.com","port":80,"method":"POST","path":"/v2"}}"#,
    r#"{"tool":"n","connect":{"host":"example.com","port":443}}"#,
    r#"{"tool":"n","connect":{"host":"10.0.0.7","port":443}}"#,
    r#"{"tool":"edit","args":{"path":"src/secret/a"}}"#,
    r#"{"tool":"edit","args":{"path":["src/a"]}}"#,
    r#"{"tool":"fetch","args":{"url":"https://example.com/../x"}}"#,
    r#"{"tool":"u","unix":{"path":"/run/x.sock"}}"#,
    "port 3000",
    "port 8080",
];

/// A profile as parts of text.
#[derive(Debug, Clone)]
struct Parts {
    grants: Vec<&'static str>,
    tightening: Tightening,
}

#[derive(Debug, Clone, Default)]
struct Tightening {
    restrictions: Vec<(&'static str, &'static str)>,
    protect: Vec<&'static str>,
    hold: Vec<&'static str>,
    wall_s: Option<u64>,
    floor: Option<&'static str>,
    record: Option<&'static str>,
}

impl Tightening {
    fn head(&self) -> String {
        let list = |key: &str, of: &[&str]| {
            if of.is_empty() { String::new() } else { format!("{key} = {of:?}\n") }
        };
        let floor = self.floor.map(|floor| format!("floor = \"{floor}\"\n")).unwrap_or_default();
        let record = self.record.map(|record| format!("record = \"{record}\"\n")).unwrap_or_default();
        format!("profile = 1\n{}{}{floor}{record}", list("protect", &self.protect), list("hold", &self.hold))
    }

    fn body(&self) -> String {
        let wall = self.wall_s.map(|wall_s| format!("[limits]\nwall_s = {wall_s}\n")).unwrap_or_default();
        let rules = self.restrictions.iter().map(|(verb, rule)| format!("[[{verb}.{rule}\nreason = \"a test\"\n"));
        wall + &rules.collect::<String>()
    }

    fn project(&self) -> String {
        self.head() + &self.body()
    }

    fn and(&self, other: &Self) -> Self {
        let mut out = self.clone();
        out.restrictions.extend(other.restrictions.iter().filter(|rule| !self.restrictions.contains(rule)));
        out.protect.extend(other.protect.iter().filter(|of| !self.protect.contains(of)));
        out.hold.extend(other.hold.iter().filter(|of| !self.hold.contains(of)));
        out.wall_s = self.wall_s.into_iter().chain(other.wall_s).min();
        out
    }
}

impl Parts {
    fn text(&self, name: &str, extends: &str) -> String {
        let grants = self.grants.iter().map(|grant| format!("{grant}\nreason = \"a test\"\n"));
        let head = self.tightening.head();
        format!("{head}name = \"{name}\"\n{extends}\n{}{}", grants.collect::<String>(), self.tightening.body())
    }
}

fn grants() -> impl Strategy<Value = Vec<&'static str>> {
    subsequence(GRANTS.to_vec(), 0..=GRANTS.len())
}

fn tightening() -> impl Strategy<Value = Tightening> {
    (
        subsequence(RESTRICTIONS.to_vec(), 0..6),
        vec(select(vec!["ask", "deny"]), 6),
        subsequence(GUARDS.to_vec(), 0..2),
        subsequence(GUARDS.to_vec(), 0..2),
        proptest::option::of(1_u64..100),
        proptest::option::of(select(vec!["full", "partial"])),
        proptest::option::of(select(vec!["off", "changes", "all-opens"])),
    )
        .prop_map(|(restrictions, verbs, protect, hold, wall_s, floor, record)| Tightening {
            restrictions: verbs.into_iter().zip(restrictions).collect(),
            protect,
            hold,
            wall_s,
            floor,
            record,
        })
}

fn parts() -> impl Strategy<Value = Parts> {
    (grants(), tightening()).prop_map(|(grants, tightening)| Parts { grants, tightening })
}

fn profile_of(text: &str, others: &[(&str, String)]) -> Profile {
    let file = parse("p.toml", text.as_bytes()).unwrap_or_else(|all| panic!("{all}\n{text}"));
    let mut lookup = |name: &ProfileName| {
        let found = others.iter().find(|(other, _)| *other == name.as_str());
        found.map(|(name, text)| parse(name, text.as_bytes())).transpose()
    };
    resolve(&file, &mut lookup).unwrap_or_else(|all| panic!("{all}\n{text}"))
}

fn at_home(profile: &Profile) -> ExpandedProfile {
    let variables = BTreeMap::new();
    let facts = HostFacts {
        home: AbsolutePath::parse(b"/home/ada").expect("clean"),
        workspace: AbsolutePath::parse(b"/home/ada/work").expect("clean"),
        variables: &variables,
    };
    profile.expand(&facts).expect("no variables are used")
}

fn call(text: &str) -> Call {
    // No agent can ask for a port: it is not among the calls that come as text.
    if let Some(port) = text.strip_prefix("port ") {
        return Call::new(ToolName::port(), Action::Port { port: port.parse().expect("a port") });
    }
    RawCall::new(text.as_bytes()).parse().unwrap_or_else(|flaw| panic!("{flaw}: {text}"))
}

fn rank(answer: &Answer) -> u8 {
    match answer {
        Answer::Denied(_) => 0,
        Answer::Asks(_) => 1,
        Answer::Allowed(_) => 2,
    }
}

/// Nothing that `less` permits is refused by `more`, within limits that are no wider.
#[track_caller]
fn permits_no_more(less: &ExpandedProfile, more: &ExpandedProfile) {
    for text in CALLS {
        let call = call(text);
        let (small, large) = (less.would(&call), more.would(&call));
        assert!(rank(&small) <= rank(&large), "{text}: {small:?} but {large:?}");
        if let (Answer::Allowed(small), Answer::Allowed(large)) = (small, large) {
            let wall = |limits: &stockade_policy::Limits| limits.get(Limit::WallS).unwrap_or(u64::MAX);
            assert!(wall(&small.limits) <= wall(&large.limits), "{text}");
        }
    }
    assert!(less.floor() >= more.floor() && less.durability() >= more.durability());
    assert!(less.recording() >= more.recording() && less.record_floor() >= more.record_floor());
}

/// Both readers come to an end, and whatever they find has a line and a hint.
#[track_caller]
fn reads_to_the_end(bytes: &[u8]) {
    let findings = [parse("x", bytes).err(), parse_project("x", bytes).err()];
    for finding in findings.iter().flatten().flatten() {
        assert!(finding.line > 0 && !finding.what.is_empty() && !finding.hint.is_empty(), "{finding}");
    }
}

proptest! {
    #[test]
    fn a_profile_that_is_wider_in_nothing_permits_nothing_more(
        large in parts(),
        keep in vec(any::<bool>(), GRANTS.len()),
        extra in tightening(),
    ) {
        let grants = large.grants.iter().zip(keep).filter(|(_, keep)| *keep).map(|(grant, _)| *grant).collect();
        let small = Parts { grants, tightening: large.tightening.and(&extra) };
        let (small, large) = (profile_of(&small.text("p", ""), &[]), profile_of(&large.text("p", ""), &[]));
        permits_no_more(&at_home(&small), &at_home(&large));
    }

    #[test]
    fn a_tightened_profile_permits_nothing_that_its_parent_refused(parent in parts(), project in tightening()) {
        let parent = profile_of(&parent.text("p", ""), &[]);
        let project = parse_project("stockade.toml", project.project().as_bytes()).expect("it only tightens");
        match tighten(&parent, &project) {
            Ok(tightened) => {
                permits_no_more(&at_home(&tightened), &at_home(&parent));
                let wider = stockade_policy::diff(&parent, &tightened);
                prop_assert!(wider.iter().all(|one| one.direction == stockade_policy::Direction::Tighter), "{wider:?}");
            }
            Err(diagnostics) => prop_assert!(diagnostics.iter().all(|one| one.hint.contains("can only tighten"))),
        }
    }

    #[test]
    fn joining_restrictions_permits_no_more_and_joining_grants_permits_no_less(
        child in parts(),
        other in parts(),
        only in grants(),
    ) {
        let alone = at_home(&profile_of(&child.text("p", ""), &[]));
        let others = [("q", other.text("q", ""))];
        let guarded = at_home(&profile_of(&child.text("p", "guard = [\"q\"]"), &others));
        permits_no_more(&guarded, &alone);
        let others = [("q", Parts { grants: only, tightening: Tightening::default() }.text("q", ""))];
        let extended = at_home(&profile_of(&child.text("p", "extends = [\"q\"]"), &others));
        permits_no_more(&alone, &extended);
    }

    #[test]
    fn the_order_of_joining_changes_nothing(child in parts(), a in parts(), b in parts()) {
        let others = [("a", a.text("a", "")), ("b", b.text("b", ""))];
        let one = profile_of(&child.text("p", "extends = [\"a\", \"b\"]"), &others);
        let two = profile_of(&child.text("p", "extends = [\"b\", \"a\"]"), &others);
        prop_assert_eq!(one.canonical_bytes(), two.canonical_bytes());
        prop_assert_eq!(at_home(&one).canonical_bytes(), at_home(&two).canonical_bytes());
        let (one, two) = (at_home(&one), at_home(&two));
        for text in CALLS {
            prop_assert_eq!(rank(&one.would(&call(text))), rank(&two.would(&call(text))));
        }
    }

    #[test]
    fn the_same_call_gets_the_same_answer_and_judge_agrees_with_would(parts in parts(), text in select(CALLS.to_vec())) {
        let profile = at_home(&profile_of(&parts.text("p", ""), &[]));
        let again = at_home(&profile_of(&parts.text("p", ""), &[]));
        prop_assert_eq!(&profile, &again);
        let answer = profile.would(&call(text));
        prop_assert_eq!(&answer, &again.would(&call(text)));
        match (profile.judge(call(text)), &answer) {
            (Decision::Permit(permit), Answer::Allowed(grounds)) => prop_assert_eq!(permit.grounds(), grounds),
            (Decision::Denial(denial), Answer::Denied(refusal)) => prop_assert_eq!(denial.refusal(), refusal),
            (Decision::Ask(ask), Answer::Asks(rules)) => {
                prop_assert_eq!(ask.rules(), rules.as_slice());
                // Consent to all that asked permits, and the permit says who agreed.
                let approval = ask.approve(Approver::parse("ada").expect("a name"));
                let Decision::Permit(permit) = profile.judge_approved(approval) else { panic!("still not permitted") };
                prop_assert!(permit.grounds().approved_by.is_some());
            }
            (decision, answer) => prop_assert!(false, "{decision:?} but {answer:?}"),
        }
    }

    #[test]
    fn consent_under_one_profile_never_passes_a_denial_of_another(parts in parts(), more in tightening(), text in select(CALLS.to_vec())) {
        let profile = at_home(&profile_of(&parts.text("p", ""), &[]));
        if let Decision::Ask(ask) = profile.judge(call(text)) {
            let tighter = Parts { grants: parts.grants.clone(), tightening: parts.tightening.and(&more) };
            let tighter = at_home(&profile_of(&tighter.text("other", ""), &[]));
            let before = rank(&tighter.would(&call(text)));
            // Rules of another profile have other names: none of them was agreed to.
            let permitted = matches!(tighter.judge_approved(ask.approve(Approver::parse("ada").expect("a name"))), Decision::Permit(_));
            prop_assert_eq!(permitted, before == 2);
        }
    }

    #[test]
    fn arbitrary_bytes_are_refused_without_a_panic(bytes in vec(any::<u8>(), 0..400)) {
        reads_to_the_end(&bytes);
        if let Err(flaw) = RawCall::new(&bytes).parse() {
            prop_assert!(!flaw.hint.is_empty());
        }
    }

    #[test]
    fn shuffled_pieces_of_profiles_are_read_without_a_panic(
        pieces in vec(select(vec![
            "profile = 1\n", "name = \"x\"\n", "[[grant.read]]\n", "path = \"./a\"\n", "reason = \"r\"\n", "[limits]\n",
            "wall_s = -1\n", "[grant]\n", "read = [{}]\n", "hold = [{pattern = \"a\"}, 1]\n", "= 1\n", "[[deny.exec]]\n",
            "argv = [\"**\"]\n", "extends = [\"x\", 3]\n", "[[secret]]\n", "place = {}\n", "\"\\u0000\" = 1\n", "'''\n",
            "x = 1e9\n", "y = 99999999999999999999\n", "[[ask.net]]\n", "host = \"*\"\n", "[[grant]]\n", "grant = 1\n",
        ]), 0..12),
    ) {
        let text = pieces.concat();
        reads_to_the_end(text.as_bytes());
    }

    #[test]
    fn paths_never_climb_out_by_text(path in "[a./]{0,12}") {
        let text = format!("profile = 1\nname = \"p\"\n{}\nreason = \"r\"\n", GRANTS[0]);
        let profile = at_home(&profile_of(&text, &[]));
        let Ok(path) = stockade_policy::GuestPath::parse(path.as_bytes()) else { return Ok(()) };
        let call = Call::new(
            ToolName::parse("r").expect("a name"),
            Action::Read { path: path.clone() },
        );
        // The standard library's components are an independent reading of the same path.
        let mut depth = if path.as_bytes().starts_with(b"/") { i64::MIN / 2 } else { 0 };
        let mut inside = depth >= 0;
        for component in std::path::Path::new(std::str::from_utf8(path.as_bytes()).expect("ascii")).components() {
            match component {
                std::path::Component::ParentDir => depth -= 1,
                std::path::Component::Normal(_) => depth += 1,
                std::path::Component::CurDir | std::path::Component::RootDir | std::path::Component::Prefix(_) => {}
            }
            inside = inside && depth >= 0;
        }
        if rank(&profile.would(&call)) == 2 {
            prop_assert!(inside, "{:?}", path);
        }
    }
}

#[test]
fn the_empty_profile_permits_nothing() {
    let empty = at_home(&profile_of("profile = 1\nname = \"empty\"\n", &[]));
    for text in CALLS {
        assert_eq!(rank(&empty.would(&call(text))), 0, "{text}");
    }
    assert!(empty.environment([(&b"PATH"[..], &b"/usr/bin"[..])]).is_empty());
}

#[test]
fn every_call_of_the_table_is_permitted_by_some_profile_but_those_that_none_may() {
    let all = Parts { grants: GRANTS.to_vec(), tightening: Tightening::default() };
    let all = at_home(&profile_of(&all.text("p", ""), &[]));
    let refused: Vec<_> = CALLS.iter().filter(|text| rank(&all.would(&call(text))) == 0).collect();
    // A table in which too much is refused anyway would prove nothing.
    assert_eq!(refused.len(), 3, "{refused:#?}");
}
