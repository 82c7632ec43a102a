//! Which component runs: those that are built in, and those that a profile names, as it names them.
//! It never takes a component that did not run for one that did nothing.

use crate::lines::{Session, tool};
use serde_json::json;
use sha2::{Digest as _, Sha256};
use std::fs;
use stockade_tests::stage::Stage;
use stockade_tests::story::{Stop, Story, Told, must};

/// A component that answers and does nothing: under another name it is somebody else's.
const COMPONENT: &[u8] = include_bytes!("../../tools-wasm/components/noop.wasm");

pub(crate) fn stories() -> Vec<Story> {
    vec![
        Story::new("components::a_file_that_the_profile_names_runs_and_no_other", by_file),
        Story::new("components::a_directory_does_not_give_what_its_pattern_does_not", by_directory),
        Story::new("components::a_digest_is_found_wherever_the_user_put_it", by_digest),
        Story::new("components::a_component_with_another_digest_does_not_run", another),
        Story::new("components::a_component_that_an_agent_could_write_does_not_run_unpinned", in_workspace),
        Story::new("components::a_component_where_an_agent_may_write_does_not_run_unpinned", in_granted),
        Story::new("components::a_component_that_others_can_write_does_not_run_unpinned", writable),
        Story::new("components::what_is_no_component_is_told_and_spoils_no_other_call", malformed),
        Story::new("components::a_built_in_name_is_not_taken_by_another", taken),
        Story::new("components::a_denial_says_what_is_allowed_instead", denied),
        Story::new("components::wrong_arguments_are_told_and_do_nothing", arguments),
        Story::new("components::arguments_that_do_not_fit_the_manifest_do_not_run", misfits),
        Story::new("components::a_reply_that_does_not_fit_the_manifest_is_the_components_fault", broken),
        Story::new("components::a_schema_that_nobody_can_keep_is_refused", hostile),
        Story::new("components::inspecting_shows_what_is_asked_for_and_what_is_given", inspected),
    ]
}

/// A profile with tools beside the shell's, each of which may be called.
fn profile(stage: &Stage, tools: &str) -> Result<String, Stop> {
    let grant = "[[grant.tool]]\nname = \"*\"\nreason = \"the tools of this test\"\n";
    stage.profile("mine", &format!("extends = [\"shell\"]\n{grant}{tools}"))
}

pub(crate) fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Puts a component somewhere, which only its user can write.
pub(crate) fn put(stage: &Stage, path: &str, bytes: &[u8]) -> Told {
    stage.scene.file_with_mode(path, "", 0o600)?;
    Ok(fs::write(stage.scene.path(path), bytes)?)
}

/// A component without its manifest, which our own build puts at its end; and that section.
pub(crate) fn unpacked(bytes: &[u8]) -> Result<(&[u8], &[u8]), Stop> {
    const NAME: &[u8] = b"\x0dstockade:tool{";
    // Before it: the number of the section, and its length in two bytes.
    let place = bytes.windows(NAME.len()).rposition(|window| window == NAME).and_then(|place| place.checked_sub(3));
    place.and_then(|place| bytes.split_at_checked(place)).ok_or_else(|| Stop::Fail("there is no manifest".to_owned()))
}

/// A component with another manifest.
pub(crate) fn repacked(bytes: &[u8], manifest: &str) -> Result<Vec<u8>, Stop> {
    let (bare, _) = unpacked(bytes)?;
    let body = [b"\x0dstockade:tool", manifest.as_bytes()].concat();
    let seven = |bits: usize| u8::try_from(bits & 0x7f).unwrap_or(0);
    // One byte is written in two as well: LEB128 may be longer than it need be.
    let length = [seven(body.len()) | 0x80, seven(body.len() >> 7)];
    must(body.len() < 128 * 128, || format!("{} bytes are not written in two", body.len()))?;
    Ok([bare, &[0], &length, &body].concat())
}

fn call(name: &str) -> serde_json::Value {
    tool(name, json!({}))
}

fn by_file(stage: &mut Stage) -> Told {
    put(stage, "{root}/mine.wasm", COMPONENT)?;
    put(stage, "{root}/yours.wasm", COMPONENT)?;
    let profile = profile(stage, "[[tool]]\nname = \"mine\"\nfile = \"mine.wasm\"\nreason = \"r\"\n")?;
    let session = Session::of(stage, &["--profile", &profile], &[call("mine"), call("yours"), call("mine")])?;
    session.says(0, "reply", &["text"])?;
    session.says(1, "denied", &["there is no tool", "yours", "mine"])?;
    session.says(2, "reply", &["text"])?;
    session.logged(&[&["tool.start", "\"tool\":\"mine\"", &sha256(COMPONENT)], &["\"k\":\"deny\"", "there is no tool"]])
}

fn by_directory(stage: &mut Stage) -> Told {
    for name in ["acme-a", "acme-b", "other"] {
        put(stage, &format!("{{home}}/tools/{name}.wasm"), COMPONENT)?;
    }
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    fs::set_permissions(stage.scene.path("{home}/tools"), mode)?;
    let profile = profile(stage, "[[tool]]\nname = \"acme-*\"\ndirectory = \"{home}/tools\"\nreason = \"r\"\n")?;
    let calls = [call("acme-a"), call("acme-b"), call("other"), call("acme-../acme-a"), call("acme-c")];
    let session = Session::of(stage, &["--profile", &profile], &calls)?;
    session.says(0, "reply", &["text"])?;
    session.says(1, "reply", &["text"])?;
    session.says(2, "denied", &["there is no tool"])?;
    session.says(3, "denied", &["cannot be the name of a file"])?;
    session.says(4, "denied", &["no such file"])
}

fn by_digest(stage: &mut Stage) -> Told {
    // What cannot be read keeps nobody from what can.
    stage.scene.link("{state}/tools/earlier.wasm", "nowhere")?;
    put(stage, "{state}/tools/first.wasm", b"something else")?;
    put(stage, "{state}/tools/second.wasm", COMPONENT)?;
    let known =
        |name: &str, digest: &str| format!("[[tool]]\nname = \"{name}\"\nsha256 = \"{digest}\"\nreason = \"r\"\n");
    let tools = known("mine", &sha256(COMPONENT)) + &known("unknown", &sha256(b"nowhere"));
    let profile = profile(stage, &tools)?;
    let session = Session::of(stage, &["--profile", &profile], &[call("mine"), call("unknown")])?;
    session.says(0, "reply", &["text"])?;
    session.says(1, "denied", &["no component in", &sha256(b"nowhere")])
}

fn another(stage: &mut Stage) -> Told {
    put(stage, "{root}/mine.wasm", COMPONENT)?;
    let wanted = sha256(b"what was looked at");
    let tools = format!("[[tool]]\nname = \"mine\"\nfile = \"mine.wasm\"\nsha256 = \"{wanted}\"\nreason = \"r\"\n");
    let profile = profile(stage, &tools)?;
    let session = Session::of(stage, &["--profile", &profile], &[call("mine")])?;
    session.says(0, "denied", &["is another than", &sha256(COMPONENT), &wanted])?;
    must(!session.log.contains("tool.start"), || session.told())
}

fn in_workspace(stage: &mut Stage) -> Told {
    put(stage, "{ws}/mine.wasm", COMPONENT)?;
    let file = |name: &str, more: &str| {
        format!("[[tool]]\nname = \"{name}\"\nfile = \"{{ws}}/mine.wasm\"\n{more}reason = \"r\"\n")
    };
    let pinned = format!("sha256 = \"{}\"\n", sha256(COMPONENT));
    let profile = profile(stage, &(file("unpinned", "") + &file("pinned", &pinned)))?;
    let session = Session::of(stage, &["--profile", &profile], &[call("unpinned"), call("pinned")])?;
    session.says(0, "denied", &["lies in the workspace", "sha256"])?;
    session.says(1, "reply", &["text"])
}

fn in_granted(stage: &mut Stage) -> Told {
    put(stage, "{root}/open/mine.wasm", COMPONENT)?;
    put(stage, "{root}/kept/mine.wasm", COMPONENT)?;
    // A link that could be turned is as good as a file that could be written.
    stage.scene.link("{root}/open/link.wasm", &stage.scene.fill("{root}/kept/mine.wasm"))?;
    stage.scene.link("{root}/elsewhere", &stage.scene.fill("{root}/open"))?;
    for directory in ["{root}/kept", "{root}/open"] {
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        fs::set_permissions(stage.scene.path(directory), mode)?;
    }
    let file = |name: &str, path: &str, more: &str| {
        format!("[[tool]]\nname = \"{name}\"\nfile = \"{{root}}/{path}\"\n{more}reason = \"r\"\n")
    };
    let pinned = format!("sha256 = \"{}\"\n", sha256(COMPONENT));
    let tools = [
        file("there", "open/mine.wasm", ""),
        file("linked", "open/link.wasm", ""),
        file("through", "elsewhere/mine.wasm", ""),
        file("pinned", "open/mine.wasm", &pinned),
        file("kept", "open/../kept/mine.wasm", ""),
    ];
    let write = "[[grant.write]]\npath = \"{root}/open\"\nreason = \"the agent's\"\n";
    let profile = profile(stage, &(tools.concat() + write))?;
    let calls = ["there", "linked", "through", "pinned", "kept"].map(call);
    let session = Session::of(stage, &["--profile", &profile], &calls)?;
    for n in 0..3 {
        session.says(n, "denied", &["where an agent can write", "sha256"])?;
    }
    session.says(3, "reply", &["text"])?;
    session.says(4, "reply", &["text"])
}

fn writable(stage: &mut Stage) -> Told {
    put(stage, "{root}/mine.wasm", COMPONENT)?;
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o666);
    fs::set_permissions(stage.scene.path("{root}/mine.wasm"), mode)?;
    let profile = profile(stage, "[[tool]]\nname = \"mine\"\nfile = \"mine.wasm\"\nreason = \"r\"\n")?;
    let session = Session::of(stage, &["--profile", &profile], &[call("mine")])?;
    session.says(0, "denied", &["can be written by others"])
}

fn malformed(stage: &mut Stage) -> Told {
    let cut = COMPONENT.get(..COMPONENT.len() / 2).unwrap_or_default();
    put(stage, "{root}/text.wasm", b"(component)")?;
    put(stage, "{root}/cut.wasm", cut)?;
    put(stage, "{root}/mine.wasm", COMPONENT)?;
    let file = |name: &str| format!("[[tool]]\nname = \"{name}\"\nfile = \"{name}.wasm\"\nreason = \"r\"\n");
    let profile = profile(stage, &(file("text") + &file("cut") + &file("gone") + &file("mine")))?;
    let calls = [call("text"), call("cut"), call("gone"), call("mine")];
    let session = Session::of(stage, &["--profile", &profile], &calls)?;
    session.says(0, "denied", &["text.wasm", "no WebAssembly component"])?;
    session.says(1, "denied", &["cut.wasm"])?;
    session.says(2, "denied", &["gone.wasm", "no such file"])?;
    session.says(3, "reply", &["text"])
}

fn taken(stage: &mut Stage) -> Told {
    put(stage, "{root}/read.wasm", COMPONENT)?;
    let profile = profile(stage, "[[tool]]\nname = \"read\"\nfile = \"read.wasm\"\nreason = \"r\"\n")?;
    let session = Session::of(stage, &["--profile", &profile], &[call("read")])?;
    session.says(0, "denied", &["built in", "mine:"])?;
    must(!session.log.contains("tool.start"), || session.told())
}

fn denied(stage: &mut Stage) -> Told {
    let calls = [tool("write", json!({ "file_path": "a", "content": "" })), call("nobody-has-this")];
    let session = Session::of(stage, &["--profile", "review-only"], &calls)?;
    session.says(
        0,
        "denied",
        &["calling tool", "write", "is not granted by profile", "allowed instead", "read, list"],
    )?;
    session.says(1, "denied", &["nobody-has-this", "to ask"])?;
    session.logged(&[&["\"k\":\"deny\"", "is not granted"]])?;
    session.says(0, "receipt", &["leaf_hash"])?;
    must(!session.log.contains("tool.start"), || session.told())
}

fn arguments(stage: &mut Stage) -> Told {
    let calls = [
        tool("read", json!({})),
        tool("read", json!({ "file_path": 7 })),
        tool("write", json!({ "file_path": "a", "content": "b", "unheard_of": true })),
        tool("write", json!({ "file_path": ["a"], "content": "b" })),
    ];
    let session = Session::of(stage, &[], &calls)?;
    for n in 0..calls.len() {
        session.says(n, "refused", &["invalid-arguments"])?;
    }
    must(!session.log.contains("fs.outcome"), || session.told())
}

/// The component that answers and does nothing, with these schemas in its manifest.
fn with_schemas(stage: &Stage, input: serde_json::Value, output: serde_json::Value) -> Result<String, Stop> {
    let mut manifest = json!({ "name": "mine", "version": "1", "description": "d", "input_schema": input });
    if let (Some(members), false) = (manifest.as_object_mut(), output.is_null()) {
        members.insert("output_schema".to_owned(), output);
    }
    put(stage, "{root}/mine.wasm", &repacked(COMPONENT, &manifest.to_string())?)?;
    profile(stage, "[[tool]]\nname = \"mine\"\nfile = \"mine.wasm\"\nreason = \"r\"\n")
}

fn misfits(stage: &mut Stage) -> Told {
    let entry = json!({ "type": "object", "properties": { "line": { "type": "integer", "minimum": 1 } }, "required": ["line"] });
    let input = json!({
        "type": "object",
        "properties": { "places": { "type": "array", "items": { "$ref": "#/$defs/entry" }, "maxItems": 3 },
                        "how": { "enum": ["fast", "well"] }, "name": { "pattern": "^[a-z]+$" } },
        "required": ["places"],
        "additionalProperties": false,
        "$defs": { "entry": entry },
    });
    let profile = with_schemas(stage, input, serde_json::Value::Null)?;
    let mine = |args: serde_json::Value| tool("mine", args);
    let deep = format!("{}{}", "[".repeat(60), "]".repeat(60));
    let deep: serde_json::Value = serde_json::from_str(&deep).unwrap_or_default();
    let calls = [
        mine(json!({ "places": [{ "line": 1 }], "how": "well", "name": "a" })),
        mine(json!({})),
        mine(json!({ "places": [{ "line": 1 }, { "line": "2" }] })),
        mine(json!({ "places": [{ "line": 0 }] })),
        mine(json!({ "places": [{}] })),
        mine(json!({ "places": [], "how": "cheap" })),
        mine(json!({ "places": [], "name": "A" })),
        mine(json!({ "places": [], "more\u{1b}[31m": 1 })),
        mine(json!({ "places": deep })),
        mine(json!({ "places": [{ "line": 1 }], "name": "x".repeat(900_000) })),
    ];
    let session = Session::of(stage, &["--profile", &profile], &calls)?;
    session.says(0, "reply", &["text"])?;
    for (n, words) in [
        (1, &["/places", "is missing"][..]),
        (2, &["/places/1/line", "has to be a whole number"]),
        (3, &["/places/0/line", "is 0, and has to be at least 1"]),
        (4, &["/places/0/line", "is missing"]),
        (5, &["/how", "fast", "well"]),
        (6, &["/name", "pattern", "^[a-z]+$"]),
        (7, &["is not known: there are how, name, places"]),
        (8, &["/places/0", "has to be an object"]),
        (9, &["too much to be held against the schema"]),
    ] {
        session.says(n, "refused", &["invalid-arguments", "tool inspect"])?;
        session.says(n, "refused", words)?;
        must(session.answer(n).to_string().len() < 3000, || session.told())?;
    }
    // They were permitted, and did not run: each ends as a refusal of the tool does.
    session.logged(&[&["\"k\":\"tool.end\"", "\"status\":1", "\"uses\":0", "\"tc\":\"tc_2\""]])
}

fn broken(stage: &mut Stage) -> Told {
    let any = json!({ "type": "object" });
    let strict = json!({ "type": "object", "required": ["lines"] });
    let profile = with_schemas(stage, any.clone(), strict)?;
    let session = Session::of(stage, &["--profile", &profile], &[call("mine")])?;
    session.says(0, "failed", &["not what its manifest promises", "/lines", "is missing"])?;
    must(session.answer(0).get("reply").is_none(), || session.told())?;
    session.logged(&[&["\"k\":\"tool.end\"", "\"cause\":\"error\"", "output_schema"]])?;
    // The control: the same reply, where nothing else was promised.
    let profile = with_schemas(stage, any.clone(), any)?;
    let session = Session::of(stage, &["--profile", &profile], &[call("mine")])?;
    session.says(0, "reply", &["structured"])
}

fn hostile(stage: &mut Stage) -> Told {
    let of = |a: serde_json::Value| json!({ "type": "object", "properties": { "a": a } });
    let nested = (0..100).fold(json!({}), |inner, _| json!({ "not": inner }));
    for (schema, says) in [
        (of(json!({ "$ref": "https://example.com/schema" })), "lead to a place in the same schema"),
        (of(json!({ "$ref": "file:///etc/passwd" })), "lead to a place in the same schema"),
        (json!({ "type": "object", "$ref": "#" }), "leads back to itself"),
        (of(json!({ "pattern": "^(a+)\\1$" })), "linear time"),
        (of(json!({ "pattern": "((((a{99}){99}){99}){99})" })), "too large"),
        (of(json!({ "unevaluatedProperties": false })), "is not kept here"),
        (of(json!({ "type": "any" })), "is one of"),
    ] {
        let profile = with_schemas(stage, schema.clone(), serde_json::Value::Null)?;
        let told = stage.answers(125, &["tool", "inspect", "mine", "--workspace", "{ws}", "--profile", &profile])?;
        must(told.err().contains(says) && told.err().contains("hint: "), || format!("{schema}: {}", told.told()))?;
        let session = Session::of(stage, &["--profile", &profile], &[call("mine")])?;
        session.says(0, "denied", &[says])?;
    }
    // The control: what is deep and large, and can be kept.
    let profile = with_schemas(stage, of(nested), serde_json::Value::Null)?;
    let session = Session::of(stage, &["--profile", &profile], &[call("mine")])?;
    session.says(0, "reply", &["text"])
}

fn inspected(stage: &mut Stage) -> Told {
    put(stage, "{root}/mine.wasm", COMPONENT)?;
    let profile = profile(stage, "[[tool]]\nname = \"mine\"\nfile = \"mine.wasm\"\nreason = \"r\"\n")?;
    let inspect = |tool: &str, profile: &str| -> Result<serde_json::Value, Stop> {
        let ended =
            stage.answers(0, &["tool", "inspect", tool, "--json", "--workspace", "{ws}", "--profile", profile])?;
        serde_json::from_str(&ended.out()).map_err(|error| Stop::Fail(format!("{error}: {}", ended.told())))
    };
    let of = |value: &serde_json::Value, pointer: &str| value.pointer(pointer).cloned().unwrap_or_default();
    let mine = inspect("mine", &profile)?;
    must(of(&mine, "/sha256") == json!(sha256(COMPONENT)), || mine.to_string())?;
    must(of(&mine, "/verdict").to_string().contains("granted by mine:"), || mine.to_string())?;
    // Another one of the same name: a section more makes it another component.
    put(stage, "{root}/another.wasm", &[COMPONENT, b"\0\x05\x04more"].concat())?;
    let file = inspect("{root}/another.wasm", "shell")?;
    must(of(&file, "/origin").to_string().contains("would not run"), || file.to_string())?;
    for (profile, files) in [("shell", "write"), ("review-only", "read")] {
        let write = inspect("write", profile)?;
        must(of(&write, "/ceiling/files") == json!("write"), || write.to_string())?;
        must(of(&write, "/given/files") == json!(files), || write.to_string())?;
    }
    let listed = stage.answers(0, &["tool", "list", "--workspace", "{ws}", "--profile", &profile])?;
    must(["mine", "read", "grep"].iter().all(|name| listed.out().contains(name)), || listed.told())?;
    let none = stage.answers(125, &["tool", "inspect", "unheard-of", "--workspace", "{ws}"])?;
    must(none.err().contains("there is no tool \"unheard-of\""), || none.told())
}
