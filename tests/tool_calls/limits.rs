//! Limits of a session as tools meet them: what commands may not take of the disk, tools may not either.
//! It never measures a limit that no larger call has passed before: each has its control.

use crate::lines::{Session, tool};
use serde_json::{Value, json};
use stockade_tests::stage::Stage;
use stockade_tests::story::{Story, Told, must};

pub(crate) fn stories() -> Vec<Story> {
    let modes = ["review", "direct", "discard"];
    let filled = modes.map(|mode| {
        Story::new(format!("limits::{mode}::files_of_a_tool_do_not_pass_the_limit_of_the_disk"), move |stage| {
            filled(stage, mode)
        })
    });
    filled.into_iter().collect()
}

/// Writes so many files of almost one MiB each.
fn fill(files: u32) -> Value {
    let script = format!("x=$(seq 150000); for n in $(seq {files}); do printf '%s' \"$x\" > f$n; done; echo all");
    tool("shell", json!({ "command": script }))
}

fn filled(stage: &mut Stage, mode: &str) -> Told {
    let control = Session::of(stage, &["--mode", mode], &[fill(96), tool("shell", json!({ "command": "rm f*" }))])?;
    control.says(0, "reply", &["all"])?;
    let profile = stage.profile("small", "extends = [\"shell\"]\n[limits]\ndisk_mib = 32\n")?;
    let session = Session::of(stage, &["--mode", mode, "--profile", &profile], &[fill(1000)])?;
    session.says(0, "failed", &["limit"])?;
    session.says(0, "limit", &["disk"])?;
    session.logged(&[&["\"k\":\"limit\"", "disk_mib"], &["\"k\":\"tool.end\"", "\"cause\":\"limit\""]])?;
    // It was ended, and did not only hear of it afterwards.
    let files = session.log.lines().filter(|line| line.contains("\"k\":\"fs.outcome\"")).count();
    must((30..900).contains(&files), || format!("{files} files were made"))
}
