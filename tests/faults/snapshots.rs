//! Sessions that go on from others: what waits goes with them, what they do is their own, and the log tells it apart.
//! It never changes the original.

use std::fs;
use stockade_tests::stage::Stage;
use stockade_tests::story::{Stop, Story, Told, must, same};

pub(crate) fn stories() -> Vec<Story> {
    vec![
        Story::new("snapshots::a_session_goes_on_from_another_one_and_the_log_says_so", goes_on),
        Story::new("snapshots::a_snapshot_does_not_change_with_its_session", kept),
        Story::new("snapshots::what_the_host_changed_since_is_not_overwritten", conflict),
        Story::new("snapshots::one_of_another_workspace_is_not_taken_for_this_one", elsewhere),
        Story::new("snapshots::mistakes_are_not_riddles", mistakes),
        Story::new("snapshots::a_damaged_one_is_not_gone_on_from", damaged),
    ]
}

const WORK: &str = "echo one > kept; rm gone; mkdir -p d; echo new > d/new; ln -s new d/link";

fn begin(stage: &Stage) -> Told {
    stage.scene.file("{ws}/kept", "before\n")?;
    stage.scene.file("{ws}/gone", "x\n")?;
    same("work", stage.run(&["-q"], &["/bin/bash", "-c", WORK])?.code(), 0)
}

fn session(stage: &Stage) -> Result<String, Stop> {
    Ok(stage.report()?.text("session").unwrap_or_default().to_owned())
}

fn goes_on(stage: &mut Stage) -> Told {
    begin(stage)?;
    let first = session(stage)?;
    let script = "cat kept d/link; test ! -e gone && echo two > d/more";
    let ended = stage.run(&["-q", "--from", &first], &["/bin/bash", "-c", script])?;
    same("what it sees", (ended.code(), ended.out().as_str()), (0, "one\nnew\n"))?;
    let second = session(stage)?;
    stage.answers(0, &["verify", &second])?;
    let log = stage.answers(0, &["log", "show", &second, "--json"])?.out();
    let records: Vec<serde_json::Value> = log.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    let from = &records[0]["o"]["from"];
    same("from", (from["sid"].as_str(), from["changes"].as_u64()), (Some(first.as_str()), Some(5)))?;
    // Its one call did one thing; the rest was there.
    let paths: Vec<&str> =
        records.iter().filter(|one| one["k"] == "fs.outcome").filter_map(|one| one["o"]["path"].as_str()).collect();
    same("outcomes", paths, vec!["d/more"])?;
    stage.answers(0, &["apply", &second])?;
    same("applied", stage.text("{ws}/d/more") + &stage.text("{ws}/kept"), "two\none\n".to_owned())?;
    must(!stage.exists("{ws}/gone"), || "what the first session removed is there".to_owned())?;
    stage.answers(0, &["undo", &second])?;
    same("taken back", stage.text("{ws}/kept"), "before\n".to_owned())?;
    // The first one still has all of its own.
    stage.answers(0, &["apply", &first])?;
    must(!stage.exists("{ws}/d/more") && stage.exists("{ws}/d/new"), || "the wrong session was applied".to_owned())?;
    stage.answers(0, &["verify", &first]).map(drop)
}

fn kept(stage: &mut Stage) -> Told {
    begin(stage)?;
    let first = session(stage)?;
    stage.answers(0, &["snapshot", "take", "last", "base-1.0"])?;
    stage.answers(0, &["discard", &first])?;
    let listed = stage.answers(0, &["snapshot", "list", "--json"])?.out();
    let value: serde_json::Value = serde_json::from_str(&listed).map_err(|e| format!("{listed}: {e}"))?;
    let one = &value[0];
    same("name", (one["name"].as_str(), one["changes"].as_u64()), (Some("base-1.0"), Some(5)))?;
    same("session", one["session"].as_str(), Some(first.as_str()))?;
    for turn in ["a", "b"] {
        let script = format!("cat kept; ls; echo {turn} > {turn}");
        let ended = stage.run(&["-q", "--from", "base-1.0"], &["/bin/bash", "-c", &script])?;
        same("what it sees", ended.out().as_str(), "one\nd\nkept\n")?;
        stage.answers(0, &["verify", "last"])?;
    }
    stage.answers(0, &["snapshot", "remove", "base-1.0"])?;
    // Who went on from it has a layer of its own.
    stage.answers(0, &["apply", "last"])?;
    same("applied", stage.text("{ws}/b") + &stage.text("{ws}/kept"), "b\none\n".to_owned())?;
    let empty = stage.answers(0, &["snapshot", "list"])?;
    same("list", empty.out().as_str(), "")
}

fn conflict(stage: &mut Stage) -> Told {
    begin(stage)?;
    stage.answers(0, &["snapshot", "take", "last", "mine"])?;
    stage.scene.file("{ws}/kept", "by the host\n")?;
    same("next", stage.run(&["-q", "--from", "mine"], &["/bin/bash", "-c", "echo more > more"])?.code(), 0)?;
    let ended = stage.answers(1, &["apply", "last"])?;
    must(ended.err().contains("kept") || ended.out().contains("kept"), || ended.told())?;
    same("kept", stage.text("{ws}/kept").as_str(), "by the host\n")
}

fn elsewhere(stage: &mut Stage) -> Told {
    begin(stage)?;
    stage.scene.folder("{root}/other")?;
    let other = stage.scene.fill("{root}/other");
    let words = ["run", "-q", "-w", &other, "--from", "last", "--", "/bin/bash", "-c", "echo ran"];
    let ended = stage.answers(125, &words)?;
    must(ended.out.is_empty() && ended.err().contains("hint: ") && ended.err().contains("--workspace"), || ended.told())
}

fn mistakes(stage: &mut Stage) -> Told {
    begin(stage)?;
    let first = session(stage)?;
    stage.answers(0, &["snapshot", "take", "last", "one"])?;
    let checks: [(&[&str], &str); 8] = [
        (&["snapshot", "take", "last", "one"], "already"),
        (&["snapshot", "take", "last", "../out"], "no name"),
        (&["snapshot", "take", "last", "last"], "no name"),
        (&["snapshot", "take", "last", &first], "no name"),
        (&["snapshot", "take", "nosuch", "two"], "no session"),
        (&["snapshot", "remove", "two"], "no snapshot"),
        (&["run", "-w", "{ws}", "--from", "two", "--", "/bin/bash", "-c", "true"], "no session"),
        (&["run", "-w", "{ws}", "--mode", "direct", "--from", "one", "--", "/bin/bash", "-c", "true"], "direct"),
    ];
    for (words, part) in checks {
        let ended = stage.answers(125, words)?;
        must(ended.err().contains(part) && ended.err().contains("hint: "), || ended.told())?;
    }
    let left = stage.answers(0, &["snapshot", "list"])?;
    same("snapshots", left.out().lines().count(), 1)
}

fn damaged(stage: &mut Stage) -> Told {
    begin(stage)?;
    stage.answers(0, &["snapshot", "take", "last", "one"])?;
    let file = stage.scene.path("{state}/n/one/snapshot.json");
    for text in ["{", "{\"version\":2,\"session\":\"x\"}", &"x".repeat(70_000)] {
        fs::write(&file, text)?;
        let ended = stage.run(&["-q", "--from", "one"], &["/bin/bash", "-c", "echo ran"])?;
        must(ended.code() == 125 && ended.out.is_empty() && ended.err().contains("snapshot.json"), || ended.told())?;
    }
    // One that was not taken to its end is none.
    fs::remove_file(&file)?;
    let ended = stage.run(&["-q", "--from", "one"], &["/bin/bash", "-c", "echo ran"])?;
    must(ended.code() == 125 && ended.out.is_empty(), || ended.told())?;
    stage.answers(0, &["snapshot", "remove", "one"])?;
    must(!stage.exists("{state}/n/one"), || "it is there".to_owned())
}
