//! Changes that meet another truth on the host: conflicts, held and protected files, paths that are none.
//! It never accepts an apply that took part of what it refused.

use stockade_tests::stage::{Stage, masked};
use stockade_tests::story::{Story, Told, must, same};

/// What the host does between the run and the apply.
const CONFLICTS: &[(&str, &str)] = &[
    ("changed", "echo host > f"),
    ("deleted", "rm f"),
    ("turned_into_a_directory", "rm f; mkdir f; echo x > f/x"),
    ("turned_into_a_link", "rm f; ln -s /etc/hostname f"),
    ("made_meanwhile", "echo host > new"),
];

pub(crate) fn stories() -> Vec<Story> {
    let conflicts = CONFLICTS.iter().map(|(name, text)| {
        Story::new(format!("review::a_file_that_the_host_has_{name}_is_not_overwritten"), move |stage| {
            conflict(stage, text)
        })
    });
    let others = [
        Story::new("review::a_held_file_is_not_taken_without_consent", held),
        Story::new("review::a_protected_file_is_not_taken_at_all", protected),
        Story::new("review::a_path_that_is_none_of_the_workspace_is_not_applied", |stage| {
            same("exit", stage.run(&["-q"], &["/bin/bash", "-c", "echo x > f"])?.code(), 0)?;
            for (path, why) in [("/etc/passwd", "it is absolute"), ("../f", "it contains `..`")] {
                let ended = stage.answers(125, &["apply", "last", path])?;
                let told = format!(
                    "error: path \"{path}\" is not one of the workspace: {why}\nhint: write it relative to \"{{ws}}\"\n"
                );
                same("stderr", ended.err(), stage.scene.fill(&told))?;
            }
            must(!stage.scene.path("{ws}/f").exists(), || "it was applied".to_owned())
        }),
        Story::new("review::an_undo_of_nothing_is_not_done", |stage| {
            same("exit", stage.run(&["-q"], &["/bin/true"])?.code(), 0)?;
            let ended = stage.answers(125, &["undo", "last"])?;
            let told = "error: nothing of session SESSION was applied\nhint: `stockade diff` shows what waits\n";
            same("stderr", masked(&ended.err()).as_str(), told)
        }),
        Story::new("review::an_undo_does_not_overwrite_what_came_after", |stage| {
            stage.scene.file("{ws}/f", "before\n")?;
            same("exit", stage.run(&["-q"], &["/bin/bash", "-c", "echo after > f"])?.code(), 0)?;
            stage.answers(0, &["apply", "last"])?;
            stage.scene.file("{ws}/f", "the host's\n")?;
            let ended = stage.stockade(&["undo", "last"])?;
            same("content", stage.text("{ws}/f").as_str(), "the host's\n")?;
            must(ended.code() != 0, || ended.told())
        }),
        Story::new("review::a_second_apply_does_not_do_it_twice", |stage| {
            same("exit", stage.run(&["-q"], &["/bin/bash", "-c", "echo x > f"])?.code(), 0)?;
            stage.answers(0, &["apply", "last"])?;
            let again = stage.answers(0, &["apply", "last"])?;
            same("out", again.out().as_str(), "nothing to apply\n")?;
            stage.answers(0, &["verify", "last"]).map(drop)
        }),
        Story::new("review::a_session_that_is_not_there_is_not_guessed", |stage| {
            for words in [&["diff"][..], &["apply"], &["discard"], &["undo"], &["log", "show"]] {
                let ended = stage.answers(125, words)?;
                let told = "error: there is no session yet\nhint: start one: stockade run -- COMMAND\n";
                same("stderr", ended.err().as_str(), told)?;
            }
            stage.answers(4, &["verify"]).map(drop)
        }),
    ];
    conflicts.chain(others).collect()
}

fn conflict(stage: &mut Stage, text: &str) -> Told {
    stage.scene.file("{ws}/f", "before\n")?;
    let ended = stage.run(&["-q"], &["/bin/bash", "-c", "echo guest > f; echo guest > new; echo guest > other"])?;
    same("exit", ended.code(), 0)?;
    stage.plain(&["/bin/bash", "-c", text])?;
    let before = stage.scene.print("{ws}");
    let refused = stage.answers(1, &["apply", "last"])?;
    must(refused.err().lines().any(|line| line.starts_with("conflict ")), || refused.told())?;
    same("out", refused.out().as_str(), "nothing was applied\n")?;
    must(before == stage.scene.print("{ws}"), || "the workspace was touched".to_owned())?;
    // What has no conflict can still be taken by name.
    stage.answers(0, &["apply", "last", "other"])?;
    same("other", stage.text("{ws}/other").as_str(), "guest\n")?;
    stage.answers(0, &["verify", "last"]).map(drop)
}

fn held(stage: &mut Stage) -> Told {
    let text = "echo free > free; mkdir -p .github/workflows; echo x > .github/workflows/ci.yml; echo x > .envrc";
    let ended = stage.run(&[], &["/bin/bash", "-c", text])?;
    must(ended.err().contains("held or protected: stockade diff "), || ended.told())?;
    let left = stage.answers(1, &["apply", "last"])?;
    let lines = left.err();
    must(lines.lines().any(|line| line.starts_with("held .envrc: ") && line.contains("--yes-hold .envrc")), || {
        left.told()
    })?;
    same("free", stage.text("{ws}/free").as_str(), "free\n")?;
    must(!stage.scene.path("{ws}/.envrc").exists(), || "a held file was taken".to_owned())?;
    stage.answers(1, &["apply", "last", "--yes-hold", ".envrc"])?;
    same("held", stage.text("{ws}/.envrc").as_str(), "x\n")?;
    must(!stage.scene.path("{ws}/.github/workflows/ci.yml").exists(), || "another held file was taken".to_owned())?;
    stage.answers(0, &["verify", "last"]).map(drop)
}

fn protected(stage: &mut Stage) -> Told {
    stage.scene.file("{ws}/.git/config", "[core]\n")?;
    let ended = stage.run(&["-q"], &["/bin/bash", "-c", "echo evil >> .git/config"])?;
    must(ended.code() != 0, || format!("it could be written: {}", ended.told()))?;
    same("early", stage.text("{ws}/.git/config").as_str(), "[core]\n")?;
    // By another way: the directory moved aside and made anew.
    stage.run(&["-q"], &["/bin/bash", "-c", "cp -r .git g; rm -rf .git; mv g .git; echo evil >> .git/config"])?;
    stage.stockade(&["apply", "last", "--yes-hold", ".git/config"])?;
    same("late", stage.text("{ws}/.git/config").as_str(), "[core]\n")
}
