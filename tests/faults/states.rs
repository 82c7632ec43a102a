//! What lies beside a layer, altered by a disk, a crash or another program of the same user: each is refused by name.
//! It never accepts a change outside of the workspace, nor one in it that was not asked for.

use std::path::PathBuf;
use stockade_tests::stage::Stage;
use stockade_tests::story::{Stop, Story, Told, must};

/// Name, file, content, and what the error says. `INTENT` is the first line of an intent with so many entries.
const ALTERED: &[(&str, &str, &str, &str)] = &[
    ("a_layer_that_is_no_json", "layer.json", "{", "EOF"),
    ("a_layer_of_a_later_version", "layer.json", "{\"version\":2}", "its version is 2"),
    ("a_layer_with_more_to_say", "layer.json", LAYER_AND, "unknown field"),
    ("a_layer_of_a_relative_workspace", "layer.json", LAYER_RELATIVE, "not an absolute path"),
    ("a_layer_of_a_workspace_that_is_gone", "layer.json", LAYER_GONE, "no such file"),
    ("a_seen_path_that_climbs", "seen.jsonl", SEEN_CLIMBS, "bad path"),
    ("a_seen_digest_that_is_none", "seen.jsonl", SEEN_DIGEST, "bad digest"),
    ("a_seen_line_that_is_an_array", "seen.jsonl", "[[[[[[[[[[\n", "line 1"),
    (
        "a_settled_path_that_is_absolute",
        "settled.jsonl",
        "{\"path\":\"/etc/passwd\",\"layer\":null,\"host\":null}\n",
        "bad path",
    ),
    ("an_intent_without_a_header", "apply/1/intent.jsonl", "", "no header"),
    ("an_intent_that_lost_entries", "apply/1/intent.jsonl", "INTENT 7", "entries are missing"),
    ("an_intent_with_two_headers", "apply/1/intent.jsonl", "INTENT 0\nINTENT 0", "bad header"),
    ("an_intent_of_another_version", "apply/1/intent.jsonl", HEADER_NEWER, "bad header"),
    ("an_intent_whose_nonce_climbs", "apply/1/intent.jsonl", NONCE_CLIMBS, "bad nonce"),
    ("an_intent_whose_path_climbs", "apply/1/intent.jsonl", WANT_CLIMBS, "bad entry"),
    ("an_intent_that_unlocks_above", "apply/1/intent.jsonl", UNLOCKS_ABOVE, "bad path"),
];

const LAYER_AND: &str =
    r#"{"version":1,"mode":"review","method":"overlay","workspace":"{ws}","started":[0,0],"trusted":true}"#;
const LAYER_RELATIVE: &str = r#"{"version":1,"mode":"review","method":"overlay","workspace":"ws","started":[0,0]}"#;
const LAYER_GONE: &str =
    r#"{"version":1,"mode":"review","method":"overlay","workspace":"{root}/gone","started":[0,0]}"#;
const SEEN_CLIMBS: &str =
    "{\"path\":\"../hidden/f\",\"host\":null,\"before\":null,\"layer\":null,\"after\":null,\"conflicting\":false}\n";
const SEEN_DIGEST: &str =
    "{\"path\":\"f\",\"host\":null,\"before\":\"00\",\"layer\":null,\"after\":null,\"conflicting\":false}\n";
const HEADER_NEWER: &str = r#"{"version":2,"nonce":"0123456789abcdef","undoes":null,"unlocked":[],"wants":0}"#;
const NONCE_CLIMBS: &str = r#"{"version":1,"nonce":"/../../hidden/f","undoes":null,"unlocked":[],"wants":0}"#;
const WANT_CLIMBS: &str = "INTENT 1\n{\"path\":\"../hidden/f\",\"old\":null,\"new\":{\"kind\":\"symlink\",\"mode\":511,\
    \"target\":\"x\",\"mtime\":[0,0],\"owner\":null,\"stamp\":null},\"source\":\"layer\",\"group\":null,\"anchor\":null,\
    \"layer\":null}";
const UNLOCKS_ABOVE: &str =
    r#"{"version":1,"nonce":"0123456789abcdef","undoes":null,"unlocked":[["../hidden",448]],"wants":0}"#;

pub(crate) fn stories() -> Vec<Story> {
    let cases = ALTERED.iter().map(|(name, file, content, why)| {
        Story::new(format!("states::{name}_is_not_obeyed"), move |stage| altered(stage, file, content, why))
    });
    let long = [("seen.jsonl", 2), ("layer.json", 1), ("apply/1/intent.jsonl", 2)].into_iter().map(|(file, mib)| {
        let name = file.rsplit('/').next().unwrap_or(file).replace(['.', '-'], "_");
        Story::new(format!("states::an_endless_line_in_{name}_is_not_kept"), move |stage| {
            altered(stage, file, &"x".repeat(mib << 20), "too long")
        })
    });
    cases.chain(long).collect()
}

/// Applies something, alters one file of the state as if the apply had been interrupted, and asks for all that reads it.
fn altered(stage: &Stage, file: &str, content: &str, why: &str) -> Told {
    stage.scene.file("{ws}/f", "before\n")?;
    stage.scene.file("{hidden}/f", "outside\n")?;
    let ran = stage.run(&["-q"], &["/bin/bash", "-c", "echo after > f; echo new > g"])?;
    must(ran.code() == 0, || ran.told())?;
    stage.answers(0, &["apply", "last", "f"])?;
    let layer = layer(stage)?;
    if file.starts_with("apply/") {
        for mark in ["apply/1/done", "apply/1/staged"] {
            std::fs::remove_file(layer.join(mark))?;
        }
    }
    let header = |wants: &str| {
        format!(r#"{{"version":1,"nonce":"0123456789abcdef","undoes":null,"unlocked":[],"wants":{wants}}}"#)
    };
    let line = |line: &str| line.strip_prefix("INTENT ").map_or_else(|| line.to_owned(), header);
    let lines: Vec<String> = content.lines().map(line).collect();
    let end = if lines.is_empty() { "" } else { "\n" };
    std::fs::write(layer.join(file), stage.scene.fill(&lines.join("\n")) + end)?;
    let before = (stage.scene.print("{ws}"), stage.scene.print("{hidden}"));
    for words in [&["diff", "last"][..], &["apply", "last", "g"], &["undo", "last"]] {
        let ended = stage.answers(125, words)?;
        let told = ended.err();
        must(told.starts_with("error: ") && told.to_lowercase().contains(&why.to_lowercase()), || {
            format!("{words:?} does not say {why:?}\n{}", ended.told())
        })?;
        must(before == (stage.scene.print("{ws}"), stage.scene.print("{hidden}")), || {
            format!("{words:?} changed something\n{}", ended.told())
        })?;
    }
    Ok(())
}

/// The directory of the stage's one layer.
fn layer(stage: &Stage) -> Result<PathBuf, Stop> {
    let mut layers = std::fs::read_dir(stage.scene.path("{state}/w"))?;
    let layer = layers.next().ok_or_else(|| Stop::Fail("there is no layer".to_owned()))??;
    Ok(layer.path())
}
