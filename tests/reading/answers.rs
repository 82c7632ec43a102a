//! What a person gets in a terminal, and scripts as JSON, from a log whose names were chosen by an attacker.
//! It never takes a printed byte for harmless that a terminal would obey.

use crate::session::{End, HOSTILE, State};
use serde_json::Value;

/// What no line may contain: control characters, and those that reorder or hide text.
#[track_caller]
fn commands_nothing(text: &str) {
    let steers = |c: char| {
        c.is_control() && c != '\n'
            || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    let bad: Vec<&str> = text.lines().filter(|line| line.contains(steers)).collect();
    assert!(bad.is_empty(), "{bad:#?}");
    assert!(!text.lines().any(|line| line.starts_with("forged line")), "a name made a line of its own");
}

#[track_caller]
fn has(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "{part:?} is not in\n{text}");
    }
}

#[test]
fn no_reader_lets_a_hostile_log_command_the_terminal() {
    let state = State::new(End::Closed);
    let (glob, sid) = ("**", state.sid.as_str());
    for words in [
        &["log", "list"][..],
        &["log", "show", sid],
        &["log", "show", sid, "--json"],
        &["log", "tail", sid, "-n", "500"],
        &["log", "timeline", sid],
        &["log", "timeline", sid, "--json"],
        &["log", "tree", sid],
        &["log", "tree", sid, "--all"],
        &["log", "tree", sid, "--json"],
        &["log", "why", sid, glob],
        &["log", "why", sid, glob, "--json"],
        &["log", "query", sid, "k=*"],
        &["log", "query", sid, "k=*", "--json"],
        &["log", "report", sid],
    ] {
        let out = state.answer(words);
        assert!(!out.is_empty(), "{words:?}");
        commands_nothing(&out);
    }
    let colours = state.answer(&["log", "timeline", sid, "--color", "always"]);
    assert!(colours.contains("\u{1b}[1m"), "colours are ours");
    let stripped = ["\u{1b}[1m", "\u{1b}[2m", "\u{1b}[31m", "\u{1b}[32m", "\u{1b}[33m", "\u{1b}[0m"];
    commands_nothing(&stripped.iter().fold(colours, |text, colour| text.replace(colour, "")));
}

#[test]
fn the_tree_shows_who_made_whom_and_what_each_did() {
    let state = State::new(End::Closed);
    let tree = state.answer(&["log", "tree", "last"]);
    has(
        &tree,
        &[
            "tc_1 exec make -j2 all",
            "├─ p2 /usr/bin/cc -c src/main.c  exit 0",
            "killed by SIGSEGV",
            "ptrace → EPERM",
            "rename src/sedXYZ → src/main.c",
            "connect api.example.com:443 (198.18.0.7:443)",
            "DENIED ask.exec@git.toml:61: a push cannot be taken back",
            "limit pids: 257 of 256",
            " cpu  ",
        ],
    );
    let lines: Vec<&str> = tree.lines().collect();
    let at = |text: &str| {
        lines.iter().position(|line| line.contains(text)).unwrap_or_else(|| panic!("{text} is not in {tree}"))
    };
    assert!(at("p1 ") < at("p4 ") && at("p4 ") < at("p5 "), "{tree}");
    assert!(
        lines[at("p5 ")].starts_with("   │  └─ ") || lines[at("p5 ")].starts_with("      └─ "),
        "{}",
        lines[at("p5 ")]
    );
    let one = state.answer(&["log", "tree", "last", "tc_2"]);
    assert!(one.contains("curl") && !one.contains("make"), "{one}");
    let wrong = state.stockade(&["log", "tree", "last", "tc_99"]);
    assert_eq!(wrong.code(), 125, "{}", wrong.told());
    has(&wrong.err(), &["there is no call \"tc_99\"", "hint: ", "tc_1"]);
    let json: Value = serde_json::from_str(&state.answer(&["log", "tree", "last", "--json"])).expect("JSON");
    assert_eq!(json["processes"].as_array().map(Vec::len), Some(19));
    assert_eq!(json["processes"][1]["execs"][0]["argv"], "cc -c src/main.c");
    assert_eq!(json["calls"][2]["decision"]["denied"]["rule"], "ask.exec@git.toml:61");
}

#[test]
fn why_names_process_program_call_rule_open_hashes_and_evidence() {
    let state = State::new(End::Closed);
    let why = state.answer(&["log", "why", "last", "src/main.c"]);
    has(
        &why,
        &[
            "src/main.c modified in call tc_1",
            "before",
            "after",
            "sha256 ",
            "through  p5 opens src/sedXYZ  RW|CREAT|EXCL",
            "performed",
            "rename src/sedXYZ → src/main.c",
            "by       p5 /usr/bin/sed: sed -i s/a/b/ src/main.c",
            "made by  p4 /bin/sh ← p1 /usr/bin/make",
            "asks     exec by cli: make -j2 all",
            "permitted by exec./usr@base.toml:341",
            "outcome",
        ],
    );
    assert_eq!(state.answer(&["log", "why", "last", "no/such"]), "nothing in this session changed no/such\n");
    let json: Value =
        serde_json::from_str(&state.answer(&["log", "why", "last", "src/main.c", "--json"])).expect("JSON");
    assert_eq!(json["why"][0]["who"][0][0]["p"], 5);
    assert_eq!(json["why"][0]["change"]["k"], "fs.outcome");
    assert_eq!(json["why"][0]["events"].as_array().map(Vec::len), Some(2));
}

#[test]
fn a_timeline_and_a_query_take_the_same_terms() {
    let state = State::new(End::Closed);
    let count = |words: &[&str]| state.answer(words).lines().count();
    for (terms, right) in [
        (&["k=fs.outcome"][..], 7),
        (&["k=fs.*", "p=5"], 2),
        (&["call=tc_2", "k=net.*", "ev>=performed"], 6),
        (&["path=src/**"], 3),
        (&["host=api.*"], 4),
        (&["k=proc.exit", "exe!=*", "since=1h"], 0),
        (&["n=0..3"], 3),
        (&["t=1"], 11),
        (&["t=1", "k=tool.use", "path=docs"], 1),
    ] {
        for verb in ["timeline", "query"] {
            let words: Vec<&str> = [&["log", verb, "last"], terms].concat();
            assert_eq!(count(&words), right, "{words:?}\n{}", state.answer(&words));
        }
    }
    let timeline = state.answer(&["log", "timeline", "last"]);
    has(
        &timeline,
        &["opens      out/main.o", "secret     example (version 3) goes to api.example.com", "CANARY", "p5"],
    );
    for (term, hint) in [("colour=red", "no such field"), ("since=soon", "write a time"), ("p", "no = in it")] {
        let wrong = state.stockade(&["log", "query", "last", term]);
        assert_eq!(wrong.code(), 125);
        has(&wrong.err(), &[hint, "hint: terms are k=GLOB"]);
    }
    let path = String::from_utf8_lossy(HOSTILE).into_owned();
    assert!(!path.is_empty());
    has(&state.answer(&["log", "query", "last", "path=out/<script>**"]), &["fs.open", "fs.outcome"]);
}

#[test]
fn sessions_that_were_not_closed_can_be_read_and_say_so() {
    for (end, word) in [(End::Running, "still running"), (End::Interrupted, "was interrupted")] {
        let state = State::new(end);
        for words in [&["log", "tree", "last"][..], &["log", "timeline", "last"]] {
            let ended = state.stockade(words);
            assert_eq!(ended.code(), 0, "{}", ended.told());
            has(&ended.err(), &[word]);
            has(&ended.out(), &["make"]);
        }
        has(&state.answer(&["log", "report", "last"]), &[word, "src/main.c"]);
        has(&state.answer(&["log", "why", "last", "src/main.c"]), &["by       p5"]);
    }
}

#[test]
fn an_empty_session_has_nothing_to_tell_and_no_error() {
    let state = State::with(End::Closed, &|_| ());
    assert_eq!(state.answer(&["log", "tree", "last"]), "");
    has(
        &state.answer(&["log", "report", "last"]),
        &["No call was made", "Nothing was refused", "Nothing left the sandbox"],
    );
    assert_eq!(state.answer(&["log", "timeline", "last"]).lines().count(), 2);
}

#[test]
fn help_and_completions_know_the_readers() {
    let state = State::with(End::Closed, &|_| ());
    has(&state.answer(&["log", "query", "--help"]), &["ev>=LEVEL", "since=", "path=GLOB"]);
    has(&state.answer(&["completions", "bash"]), &["timeline", "report", "learn"]);
}

#[test]
fn a_tool_is_told_of_beside_the_processes() {
    let state = State::new(End::Closed);
    let tree = state.answer(&["log", "tree", "last", "tc_5"]);
    has(
        &tree,
        &[
            "tc_5 edit",
            "refused",
            "└─ t1 edit (component 5e5e5e5e5e5e), files to write, requests",
            "wrote    notes.tmp",
            "rename notes.tmp → notes.md",
            "looked   reads docs and below, 10000 times",
            "refused  opens /etc/passwd → EACCES",
            "moved    5.0 MiB read, 9 B written",
            "10009 uses",
        ],
    );
    let why = state.answer(&["log", "why", "last", "notes.md"]);
    has(
        &why,
        &[
            "notes.md modified in call tc_5",
            "through  t1 opens notes.tmp  W|CREAT|EXCL  new",
            "through  t1 rename notes.tmp → notes.md",
            "asks     edit by mcp: '{\"path\":\"notes.md\",",
            "runs     edit (component 5e5e5e5e5e5e), files to write, requests",
            "ends     refused: ",
        ],
    );
    assert_eq!(state.answer(&["log", "why", "last", "/etc/passwd"]), "nothing in this session changed /etc/passwd\n");
    let json: Value = serde_json::from_str(&state.answer(&["log", "tree", "last", "tc_5", "--json"])).expect("JSON");
    assert_eq!(json["tools"][0]["looked"][0]["below"], 10_000);
    assert_eq!(json["tools"][0]["refused"][0]["errno"], 13);
    let report = state.answer(&["log", "report", "last"]);
    has(
        &report,
        &["<b>t1</b> edit (component 5e5e5e5e5e5e), files to write, requests", "reads docs and below, 10000 times"],
    );
}
