//! Sudden deaths of `stockade`, and several of it at once.
//! It never kills a process that the test did not start.

use std::io::{BufRead as _, BufReader};
use stockade_tests::stage::{Stage, run_words};
use stockade_tests::story::{Stop, Story, Told, must, same};

pub(crate) fn stories() -> Vec<Story> {
    let follow_ups = [("diff", "diff"), ("apply", "apply"), ("discard", "discard"), ("gc", "gc")];
    let after = follow_ups.map(|(name, word)| {
        Story::new(format!("killed::{name}_does_not_fail_after_a_kill"), move |stage| {
            kill(stage, "echo made > made; echo ready; setsid sleep 1000 & sleep 1000")?;
            follow_up(stage, word)
        })
    });
    let others = [
        Story::new("killed::guests_do_not_survive_a_killed_stockade", |stage| {
            kill(
                stage,
                "setsid sleep 1000 & (trap '' HUP INT TERM; while :; do sleep 1; done) & echo ready; sleep 1000",
            )?;
            // Looked at once more after every test, with the control groups that the next run removes.
            same("exit", stage.run(&["-q"], &["/bin/true"])?.code(), 0)
        }),
        Story::new("killed::a_session_is_not_lost_with_its_stockade", |stage| {
            kill(stage, "echo made > made; echo ready; sleep 1000")?;
            let listed = stage.answers(0, &["log", "list"])?;
            must(listed.out().contains("interrupted"), || listed.told())?;
            let shown = stage.answers(0, &["log", "show", "last"])?;
            must(shown.out().contains("permit"), || shown.told())?;
            sweep(stage)
        }),
        Story::new("killed::two_runs_at_once_do_not_mix", two_at_once),
        Story::new("killed::many_runs_at_once_do_not_break_the_ledger", many_at_once),
    ];
    after.into_iter().chain(others).collect()
}

/// Starts a text, waits for its word, and kills `stockade` itself.
fn kill(stage: &Stage, text: &str) -> Told {
    let words = run_words(&["-q"], &["/bin/bash", "-c", text]);
    let mut child = stage.program(&[&["{bin}/stockade"], &words[..]].concat()).start()?;
    let out = child.stdout.take().ok_or_else(|| Stop::Fail("no output".to_owned()))?;
    let mut ready = String::new();
    BufReader::new(out).read_line(&mut ready)?;
    child.kill()?;
    child.wait()?;
    same("the guest's word", ready.as_str(), "ready\n")?;
    let verified = stage.answers(3, &["verify", "last"])?;
    let told = "  incomplete: session: the session was not closed: it was interrupted, or it still runs\n";
    must(verified.out().starts_with("UNPROVEN  ") && verified.out().contains(told), || verified.told())
}

/// The next run removes the control groups that the dead one could not.
fn sweep(stage: &Stage) -> Told {
    same("exit of the next run", stage.run(&["-q"], &["/bin/true"])?.code(), 0)
}

fn follow_up(stage: &Stage, word: &str) -> Told {
    match word {
        "diff" => {
            let diff = stage.answers(0, &["diff", "last"])?;
            must(diff.out().ends_with("+++ b/made\n@@ -0,0 +1 @@\n+made\n"), || diff.told())?;
        }
        "apply" => {
            stage.answers(0, &["apply", "last"])?;
            same("made", stage.text("{ws}/made").as_str(), "made\n")?;
            stage.answers(0, &["undo", "last"])?;
            must(!stage.scene.path("{ws}/made").exists(), || "undo left it".to_owned())?;
        }
        "discard" => {
            let dropped = stage.answers(0, &["discard", "last"])?;
            must(dropped.out().starts_with("discarded 1 changes of session "), || dropped.told())?;
            stage.answers(125, &["diff", "last"])?;
        }
        _ => {
            let kept = stage.answers(0, &["gc"])?;
            must(kept.out.is_empty(), || format!("gc removed what waits: {}", kept.told()))?;
            stage.answers(0, &["apply", "last"])?;
        }
    }
    // The log of the dead session stays what it is, and says so.
    stage.answers(3, &["verify", "last"])?;
    sweep(stage)
}

fn two_at_once(stage: &mut Stage) -> Told {
    stage.scene.file("{ws}/shared", "host\n")?;
    let text = "'{bin}/stockade' run -q -w '{ws}' --report '{root}/N.json' -- /bin/bash -c \
        'echo N >> shared; echo N > N; sleep 0.5; cat shared; ls' > '{root}/N.out' & ";
    let both = format!("{}{}wait", text.replace('N', "1"), text.replace('N', "2"));
    stage.plain(&["/bin/bash", "-c", &stage.scene.fill(&both)])?;
    for n in ["1", "2"] {
        same(n, stage.text(&format!("{{root}}/{n}.out")), format!("host\n{n}\n{n}\nshared\n"))?;
    }
    let session = |n: &str| -> Result<String, Stop> {
        let report = stockade_tests::report::Report::read(&stage.scene.path(&format!("{{root}}/{n}.json")))?;
        Ok(report.text("session").unwrap_or_default().to_owned())
    };
    let (one, two) = (session("1")?, session("2")?);
    stage.answers(0, &["apply", &one])?;
    same("shared", stage.text("{ws}/shared").as_str(), "host\n1\n")?;
    // The second began from what the first has changed by now: its change is not laid over it.
    let refused = stage.answers(1, &["apply", &two])?;
    must(refused.err().starts_with("conflict shared: ") && refused.out() == "nothing was applied\n", || {
        refused.told()
    })?;
    same("shared after the refusal", stage.text("{ws}/shared").as_str(), "host\n1\n")?;
    must(!stage.scene.path("{ws}/2").exists(), || "part of it was applied".to_owned())?;
    stage.answers(0, &["verify", &one])?;
    stage.answers(0, &["verify", &two]).map(drop)
}

fn many_at_once(stage: &mut Stage) -> Told {
    const RUNS: usize = 6;
    let text =
        "for i in $(seq RUNS); do '{bin}/stockade' run -q -w '{ws}' -- /bin/bash -c \"echo $i > f$i\" & done; wait";
    let text = text.replace("RUNS", &RUNS.to_string());
    let ended = stage.plain(&["/bin/bash", "-c", &stage.scene.fill(&text)])?;
    must(ended.err.is_empty(), || ended.told())?;
    let listed = stage.answers(0, &["log", "list"])?;
    same("sessions", listed.out().lines().count(), RUNS)?;
    for line in listed.out().lines() {
        stage.answers(0, &["verify", line.split(' ').next().unwrap_or_default()])?;
    }
    Ok(())
}
