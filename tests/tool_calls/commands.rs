//! Programs of `wasi:cli/run` as tools: arguments, input, output and status, each by grant and each in the log.
//! It never builds one: the program is `tools-wasm/guests/program`, built by `tools-wasm/build --guests`.

use crate::components::{put, repacked};
use crate::lines::{Session, tool};
use serde_json::{Value, json};
use std::fs;
use stockade_tests::stage::Stage;
use stockade_tests::story::{Stop, Story, Told, must, same};

/// A program for wasm32-wasip2 that knows nothing of tools, packed with its manifest.
pub(crate) const PROGRAM: &[u8] = include_bytes!("../../tools-wasm/guests/program.wasm");
const MANIFEST: &str = include_str!("../../tools-wasm/guests/program/manifest.json");

pub(crate) fn stories() -> Vec<Story> {
    vec![
        Story::new("commands::a_program_gets_its_arguments_and_input_and_answers_with_its_output", answers),
        Story::new("commands::a_status_of_its_own_is_no_breakdown", statuses),
        Story::new("commands::what_ends_a_program_ends_nothing_else", ends),
        Story::new("commands::no_output_is_longer_than_its_limit", bounded),
        Story::new("commands::what_is_not_granted_is_refused_before_it_runs_and_else_not_there", withheld),
        Story::new("commands::what_its_manifest_does_not_ask_for_is_not_there", unasked),
        Story::new("commands::arguments_that_are_none_of_a_command_do_not_run", wrong),
        Story::new("commands::files_and_variables_of_a_program_are_those_of_any_tool", files),
        Story::new("commands::a_manifest_makes_a_tool_of_a_program", packed),
        Story::new("commands::a_manifest_that_promises_what_a_program_is_not_is_refused", misfits),
        Story::new("commands::inspecting_shows_both_sides_of_arguments_and_input", inspected),
        Story::new("commands::no_secret_comes_back_out_of_a_program", secrets),
    ]
}

/// A profile in which the program is the tool `program`, with this in its grant.
fn profile(stage: &Stage, program: &[u8], gives: &str) -> Result<String, Stop> {
    put(stage, "{root}/program.wasm", program)?;
    let rules = format!(
        "extends = [\"shell\"]\n[[tool]]\nname = \"program\"\nfile = \"program.wasm\"\nreason = \"r\"\n\
         [[grant.tool]]\nname = \"program\"\n{gives}reason = \"r\"\n"
    );
    stage.profile("mine", &rules)
}

fn run(words: &[&str]) -> Value {
    tool("program", json!({ "args": words }))
}

/// What it answered, as JSON.
fn structured(session: &Session, n: usize) -> Value {
    session.answer(n).pointer("/reply/structured").cloned().unwrap_or_default()
}

fn answers(stage: &mut Stage) -> Told {
    let profile = profile(stage, PROGRAM, "")?;
    let cat = tool("program", json!({ "args": ["cat"], "stdin": "five\u{0}" }));
    let calls = [run(&["echo", "a", "b c", "", "é"]), cat, run(&["cat"]), tool("program", json!({}))];
    let session = Session::of(stage, &["--profile", &profile], &calls)?;
    let said = |stdout: &str, stderr: &str| json!({ "stdout": stdout, "stderr": stderr, "status": 0 });
    same("echo", structured(&session, 0), said("a|b c||é\n", ""))?;
    same("text", session.answer(0).pointer("/reply/text").cloned(), Some(json!("a|b c||é\n")))?;
    same("cat", structured(&session, 1), said("five\u{0}", "5 bytes\n"))?;
    same("nothing to read", structured(&session, 2), said("", "0 bytes\n"))?;
    same("its name alone", structured(&session, 3), said("1 arguments\n", ""))?;
    session.logged(&[
        &["\"k\":\"tool.use\"", "\"op\":\"args\"", "\"ev\":\"performed\"", "\"tc\":\"tc_1\""],
        &["\"k\":\"tool.use\"", "\"op\":\"stdin\"", "\"r\":5", "\"tc\":\"tc_2\""],
        &["\"k\":\"tool.end\"", "\"cause\":\"exit\"", "\"status\":0"],
    ])
}

fn statuses(stage: &mut Stage) -> Told {
    let profile = profile(stage, PROGRAM, "")?;
    let calls = [run(&["exit", "7"]), run(&["fail"]), run(&["nothing", "that it knows"])];
    let session = Session::of(stage, &["--profile", &profile], &calls)?;
    // The library that it was built with says of an exit only whether all went well.
    same("exit", structured(&session, 0), json!({ "stdout": "", "stderr": "", "status": 1 }))?;
    session.says(0, "reply", &["[exit status 1]"])?;
    same("fail", structured(&session, 1), json!({ "stdout": "", "stderr": "it went wrong\n", "status": 1 }))?;
    session.says(1, "reply", &["it went wrong", "[exit status 1]"])?;
    same("of main", structured(&session, 2).get("status").cloned(), Some(json!(1)))?;
    must(!session.log.contains("\"cause\":\"error\""), || session.told())
}

fn ends(stage: &mut Stage) -> Told {
    let profile = profile(stage, PROGRAM, "")?;
    let session =
        Session::of(stage, &["--profile", &profile], &[run(&["panic"]), run(&["loop"]), run(&["echo", "alive"])])?;
    session.says(0, "failed", &["a panic or an abort of its own"])?;
    session.says(1, "limit", &["wall"])?;
    session.says(2, "reply", &["alive"])
}

fn bounded(stage: &mut Stage) -> Told {
    let profile = profile(stage, PROGRAM, "")?;
    let session = Session::of(stage, &["--profile", &profile], &[run(&["much", "1000"]), run(&["much", "3000000"])])?;
    let length = |n: usize| structured(&session, n).get("stdout").and_then(Value::as_str).map_or(0, str::len);
    same("the control is whole", length(0), 1000)?;
    must((10_000..64 * 1024).contains(&length(1)), || format!("{} bytes", length(1)))?;
    let cut = structured(&session, 1).get("cut").and_then(Value::as_u64);
    same("cut", cut, Some(3_000_000 - u64::try_from(length(1)).unwrap_or(0)))?;
    session.says(1, "reply", &["bytes are left out"])
}

fn withheld(stage: &mut Stage) -> Told {
    let cat = tool("program", json!({ "args": ["cat"], "stdin": "kept" }));
    let no_stdin = profile(stage, PROGRAM, "stdin = false\n")?;
    let session = Session::of(stage, &["--profile", &no_stdin], &[cat.clone(), run(&["cat"])])?;
    session.says(0, "refused", &["invalid-arguments", "stdin", "the profile does not grant it", "stdin = false"])?;
    same("its end, at once", structured(&session, 1), json!({ "stdout": "", "stderr": "0 bytes\n", "status": 0 }))?;
    must(!session.log.contains("\"op\":\"stdin\""), || session.told())?;
    let no_arguments = profile(stage, PROGRAM, "arguments = false\n")?;
    let session = Session::of(stage, &["--profile", &no_arguments], &[cat, tool("program", json!({ "stdin": "x" }))])?;
    session.says(0, "refused", &["args", "the profile does not grant it", "arguments = false"])?;
    session.says(1, "reply", &["0 arguments"])?;
    must(!session.log.contains("\"op\":\"args\""), || session.told())
}

fn unasked(stage: &mut Stage) -> Told {
    let manifest = MANIFEST.replace("\"arguments\": true, \"stdin\": true", "\"clocks\": false");
    let profile = profile(stage, &repacked(PROGRAM, &manifest)?, "")?;
    let calls = [run(&["cat"]), tool("program", json!({ "stdin": "x" })), tool("program", json!({}))];
    let session = Session::of(stage, &["--profile", &profile], &calls)?;
    session.says(0, "refused", &["invalid-arguments", "/args", "is not known"])?;
    session.says(1, "refused", &["/stdin", "is not known"])?;
    session.says(2, "reply", &["0 arguments"])
}

fn wrong(stage: &mut Stage) -> Told {
    let profile = profile(stage, PROGRAM, "")?;
    let calls = [
        json!({ "args": "echo a" }),
        json!({ "args": ["echo", 7] }),
        json!({ "args": ["echo"], "argv": [] }),
        json!({ "args": ["echo", "a\u{0}b"] }),
    ];
    let calls = calls.map(|args| tool("program", args));
    let session = Session::of(stage, &["--profile", &profile], &calls)?;
    session.says(0, "refused", &["/args", "has to be an array"])?;
    session.says(1, "refused", &["/args/1", "is 7", "has to be a string"])?;
    session.says(2, "refused", &["/argv", "is not known: there are args, stdin"])?;
    session.says(3, "refused", &["/args/1", "character of value 0"])?;
    must(!session.log.contains("\"op\":\"args\""), || session.told())
}

fn files(stage: &mut Stage) -> Told {
    stage.scene.file("{ws}/old", "by hand\n")?;
    let profile = profile(stage, PROGRAM, "")?;
    let profile_text = fs::read_to_string(&profile)?;
    fs::write(&profile, profile_text + "[[grant.env]]\nname = \"LANG\"\nvalue = \"xx\"\nreason = \"r\"\n")?;
    let calls = [
        run(&["read", "old"]),
        run(&["write", "new", "mine"]),
        run(&["read", "/etc/passwd"]),
        run(&["read", "{ws}/old"]),
        run(&["env"]),
    ];
    let session = Session::of(stage, &["--profile", &profile], &calls)?;
    session.says(0, "reply", &["by hand"])?;
    session.says(2, "reply", &["no: "])?;
    session.says(3, "reply", &["by hand"])?;
    same("variables", structured(&session, 4).get("stdout").cloned(), Some(json!("LANG=xx\n")))?;
    session.logged(&[&["\"k\":\"fs.outcome\"", "\"path\":\"new\"", "\"op\":\"created\""]])
}

fn packed(stage: &mut Stage) -> Told {
    let (bare, _) = crate::components::unpacked(PROGRAM)?;
    put(stage, "{root}/bare.wasm", bare)?;
    put(stage, "{root}/manifest.json", MANIFEST.as_bytes())?;
    let pack = |program: &str, code: i32| {
        stage.answers(
            code,
            &["tool", "pack", program, "--manifest", "{root}/manifest.json", "--output", "{root}/out.wasm"],
        )
    };
    let told = pack("{root}/bare.wasm", 0)?;
    let out = fs::read(stage.scene.path("{root}/out.wasm"))?;
    let (program, section) = crate::components::unpacked(&out)?;
    must(program == bare, || "the program is another".to_owned())?;
    let manifest = section.split_at_checked(b"\0..\x0dstockade:tool".len()).map_or(&[][..], |(_, manifest)| manifest);
    let read = |text: &[u8]| serde_json::from_slice::<Value>(text).unwrap_or_default();
    same("manifest", read(manifest), read(MANIFEST.as_bytes()))?;
    must(told.out().contains(&crate::components::sha256(&out)), || told.told())?;
    let again = pack("{root}/out.wasm", 125)?;
    must(again.err().contains("has a manifest already"), || again.told())?;
    let none = stage.answers(125, &["tool", "inspect", "{root}/bare.wasm", "--workspace", "{ws}"])?;
    must(none.err().contains("stockade tool pack"), || none.told())?;
    put(stage, "{root}/manifest.json", b"{")?;
    let text = pack("{root}/bare.wasm", 125)?;
    must(text.err().contains("the manifest is no JSON"), || text.told())
}

fn misfits(stage: &mut Stage) -> Told {
    let noop = include_bytes!("../../tools-wasm/components/noop.wasm");
    let schema = |properties: Value| json!({ "type": "object", "properties": properties });
    let command = |more: Value| {
        let mut manifest: Value = serde_json::from_str(MANIFEST).unwrap_or_default();
        if let (Some(members), Value::Object(more)) = (manifest.as_object_mut(), more) {
            members.extend(more);
        }
        repacked(PROGRAM, &manifest.to_string())
    };
    let call = |ceiling: &str| {
        let manifest = json!({ "name": "t", "version": "1", "description": "d", "input_schema": { "type": "object" }, "ceiling": { ceiling: true } });
        repacked(noop, &manifest.to_string())
    };
    for (bytes, says) in [
        (command(json!({ "input_schema": schema(json!({ "args": true })) }))?, "does not have \"stdin\""),
        (command(json!({ "input_schema": schema(json!({ "args": true, "stdin": true, "n": true })) }))?, "has \"n\""),
        (command(json!({ "output_schema": schema(json!({})) }))?, "output_schema is for components with `call`"),
        (call("stdin")?, "ceiling.stdin is for commands"),
        (call("arguments")?, "ceiling.arguments is for commands"),
    ] {
        put(stage, "{root}/t.wasm", &bytes)?;
        let told = stage.answers(125, &["tool", "inspect", "{root}/t.wasm", "--workspace", "{ws}"])?;
        must(told.err().contains(says) && told.err().contains("hint: "), || format!("{says}: {}", told.told()))?;
    }
    // The control: a schema of its own that is about the same two members, and narrower.
    let own = schema(json!({ "args": { "type": "array", "maxItems": 1 }, "stdin": { "type": "string" } }));
    let profile = profile(stage, &command(json!({ "input_schema": own }))?, "")?;
    let session = Session::of(stage, &["--profile", &profile], &[run(&["cat"]), run(&["echo", "a"])])?;
    session.says(0, "reply", &["0 bytes"])?;
    session.says(1, "refused", &["/args", "has 2 items, and has to have at most 1"])
}

fn inspected(stage: &mut Stage) -> Told {
    for (gives, arguments, stdin) in
        [("", true, true), ("arguments = false\n", false, true), ("stdin = false\n", true, false)]
    {
        let profile = profile(stage, PROGRAM, gives)?;
        let told = stage
            .answers(0, &["tool", "inspect", "program", "--json", "--workspace", "{ws}", "--profile", &profile])?;
        let said: Value = serde_json::from_str(&told.out()).map_err(|error| Stop::Fail(error.to_string()))?;
        let of = |pointer: &str| said.pointer(pointer).cloned().unwrap_or_default();
        same("entry", of("/entry"), json!("command"))?;
        same("asks", [of("/ceiling/arguments"), of("/ceiling/stdin")], [json!(true), json!(true)])?;
        same(gives, [of("/given/arguments"), of("/given/stdin")], [json!(arguments), json!(stdin)])?;
        must(of("/input_schema/properties/args").is_object(), || told.told())?;
        must(of("/output_schema/properties/status").is_object(), || told.told())?;
        let text = stage.answers(0, &["tool", "inspect", "program", "--workspace", "{ws}", "--profile", &profile])?;
        must(text.out().contains("arguments") && text.out().contains("stdin"), || text.told())?;
    }
    Ok(())
}

fn secrets(stage: &mut Stage) -> Told {
    const SECRET: &str = "a-secret-of-the-test-0123456789";
    let profile = profile(stage, PROGRAM, "")?;
    let rules = "[[grant.net]]\nhost = \"good.test\"\nreason = \"r\"\n\
                 [[secret]]\nname = \"key\"\nenv = \"API_KEY\"\nshape = \"opaque\"\nhosts = [\"good.test\"]\n\
                 place = { header = \"authorization\", format = \"Bearer {}\" }\nreason = \"a secret of the test\"\n";
    fs::write(&profile, fs::read_to_string(&profile)? + rules)?;
    let mut set = stage.program(&["{bin}/stockade", "secret", "set", "key"]);
    set.input = SECRET.as_bytes().to_vec();
    let set = stage.go(&set)?;
    must(set.code() == 0, || set.told())?;
    // Whoever calls happens to know it: neither the answer nor what is kept of it says it again.
    let cat = tool("program", json!({ "args": ["cat"], "stdin": format!("<{SECRET}>") }));
    let session = Session::of(stage, &["--profile", &profile], &[cat, run(&["echo", SECRET])])?;
    session.says(0, "reply", &["<***"])?;
    session.says(1, "reply", &["***"])?;
    session.logged(&[&["\"k\":\"secret.scrub\"", "\"name\":\"key\""]])?;
    must(!session.told().contains(SECRET), || session.told())
}
