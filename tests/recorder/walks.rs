//! Random sequences of file operations, recorded and not: the same answers, the same descriptors, the same trees.
//! It never compares more than what the program was told: the sandbox is the same on both sides, the recorder is not.

use crate::account::{Record, account, profile};
use stockade_tests::binaries;
use stockade_tests::stage::Stage;
use stockade_tests::story::{Story, Told, must};

/// Sequences for each place and person, and steps of each.
const WALKS: u64 = 350;
const STEPS: u64 = 40;
/// Sequences in one run.
const AT_ONCE: u64 = 175;

/// Where a walk takes place: a way of using the workspace, and how to get to a directory of one's own.
const PLACES: [(&str, &str, &str); 3] = [
    ("in_the_workspace_itself", "direct", "mkdir -p w && cd w"),
    ("in_a_layer", "review", "mkdir -p w && cd w"),
    ("in_a_private_tmpfs", "direct", "mkdir /tmp/w && cd /tmp/w"),
];

pub(crate) fn stories() -> Vec<Story> {
    let mut all: Vec<Story> = PLACES
        .into_iter()
        .map(|(name, mode, enter)| {
            Story::new(format!("walks::a_program_is_told_the_same_on_record_{name}"), move |stage| {
                compare(stage, mode, enter, Record::Changes)
            })
        })
        .collect();
    all.push(Story::new("walks::a_program_is_told_the_same_while_all_opens_are_recorded", |stage| {
        compare(stage, "direct", "mkdir -p w && cd w", Record::AllOpens)
    }));
    all
}

/// One of them.
pub(crate) fn here() -> Vec<Story> {
    stories().into_iter().take(1).collect()
}

fn compare(stage: &mut Stage, mode: &str, enter: &str, record: Record) -> Told {
    let wished = binaries::variable("STOCKADE_WALKS").and_then(|count| count.to_str()?.parse().ok());
    let count: u64 = wished.unwrap_or(WALKS);
    let mut from = 0;
    while from < count {
        let some = AT_ONCE.min(count - from);
        // A directory that is empty each time: what is in it would be in the way of the other side.
        let script = format!("rm -rf w; {enter} && {{bin}}/stockade-probe walk {from} {some} {STEPS}");
        let plain = walk(stage, mode, Record::Off, &script)?;
        let recorded = walk(stage, mode, record, &script)?;
        same_walks(&plain, &recorded)?;
        must(plain.matches("walk ").count() as u64 == some, || format!("not {some} walks:\n{plain}"))?;
        from += some;
    }
    Ok(())
}

fn walk(stage: &Stage, mode: &str, record: Record, script: &str) -> Result<String, stockade_tests::story::Stop> {
    let script = stage.scene.fill(script);
    let profile = profile(stage, "shell", record, "")?;
    let ended = stage.run(&["-q", "--profile", &profile, "--mode", mode], &["/bin/sh", "-c", &script])?;
    must(ended.code() == 0, || ended.told())?;
    Ok(account(stage, ended)?.ended.out())
}

/// Names the first step that differs, with those before it.
fn same_walks(plain: &str, recorded: &str) -> Told {
    let mut before: Vec<&str> = Vec::new();
    for (one, other) in plain.lines().zip(recorded.lines()) {
        if one.starts_with("walk ") {
            before.clear();
        }
        must(one == other, || {
            let shown = before.join("\n");
            format!("{shown}\n--- here they part\nwithout a recorder: {one}\nwith a recorder:    {other}")
        })?;
        before.push(one);
    }
    let lines = (plain.lines().count(), recorded.lines().count());
    must(lines.0 == lines.1, || format!("one of them ended early: {lines:?} lines"))
}
