//! Tools where a kernel, or a filter around us, has no `openat2`: paths are then walked, and lead no further.
//! It never takes a session for one of such a world whose world was not seen to be so.

use crate::world::{Act, SIGN, Verdict, session_in, verdict, words};
use std::os::unix::fs::PermissionsExt as _;
use stockade_tests::stage::Stage;
use stockade_tests::story::{Story, Told, must, same};

pub(crate) fn stories() -> Vec<Story> {
    // The last as container engines answer whose lists are older than the call.
    let worlds: [(&str, &[&str]); 3] =
        [("that_has_it", &[]), ("without_openat2", &["openat2"]), ("that_forbids_openat2", &["openat2-forbidden"])];
    let story = |(name, lacks): (&str, &'static [&'static str])| {
        Story::new(format!("poorer::tools_work_and_no_path_leads_out_on_a_kernel_{name}"), move |stage| {
            paths(stage, lacks)
        })
    };
    worlds.into_iter().map(story).collect()
}

/// What takes layers away, where whoever the stage is for can run it.
const PROBE: &str = "{root}/stockade-probe";

/// What starts a command in a world that lacks these layers; each was seen to be taken away.
fn launcher(stage: &Stage, lacks: &[&'static str]) -> Result<Vec<&'static str>, stockade_tests::story::Stop> {
    let probe = stage.scene.path(PROBE);
    std::fs::copy(env!("CARGO_BIN_EXE_stockade-probe"), &probe)?;
    std::fs::set_permissions(&probe, std::fs::Permissions::from_mode(0o755))?;
    let mut launcher = Vec::new();
    for layer in lacks {
        let works = [PROBE, "layer-works", layer];
        let control = stage.plain(&works)?;
        must(control.code() == 0, || format!("the layer does not work here at all\n{}", control.told()))?;
        let without = [PROBE, "without", layer];
        let taken = stage.plain(&[&without[..], &works[..]].concat())?;
        must(taken.code() == 10, || format!("the layer was not taken away\n{}", taken.told()))?;
        launcher.extend(without);
    }
    Ok(launcher)
}

/// Paths that lead outside, if they are followed as the host follows them.
const OUT: [&str; 6] =
    ["../outside/secret", "out/secret", "absolute", "twice", "up/outside/secret", "magic/{root}/outside/secret"];

fn paths(stage: &mut Stage, lacks: &[&'static str]) -> Told {
    let launcher = launcher(stage, lacks)?;
    stage.scene.file("{root}/outside/secret", SIGN)?;
    stage.scene.file("{ws}/src/file", "one\ntwo\n")?;
    for (link, target) in [
        ("in", "src/../src"),
        ("out", "../outside"),
        ("absolute", "{root}/outside/secret"),
        ("twice", "absolute"),
        ("up", ".."),
        ("magic", "/proc/self/root"),
    ] {
        stage.scene.link(&format!("{{ws}}/{link}"), target)?;
    }
    for path in OUT {
        let control = stage.plain(&["/bin/cat", &format!("{{ws}}/{path}")])?;
        must(control.out().contains(SIGN), || format!("the control does nothing: {}", control.told()))?;
    }
    let mut acts = vec![
        Act::tool("read", r#"{"file_path":"in/file"}"#),
        Act::tool("edit", r#"{"file_path":"src/../in/file","old_string":"two","new_string":"three"}"#),
        Act::tool("grep", r#"{"pattern":"thr.e"}"#),
        Act::tool("write", r#"{"file_path":"new/deep","content":"new\n"}"#),
        Act::command("echo by-bash > made && cat src/file new/deep made"),
    ];
    let work = acts.len();
    for path in OUT {
        acts.push(Act::tool("read", &format!(r#"{{"file_path":"{path}"}}"#)));
        acts.push(Act::tool("edit", &format!(r#"{{"file_path":"{path}","old_string":"sign","new_string":"x"}}"#)));
    }
    let answers = session_in(stage, &launcher, &["--profile", "shell"], &acts)?;
    let (worked, escapes) = answers.split_at(work);
    let said: Vec<String> = worked.iter().map(words).collect();
    for (said, wanted) in said.iter().zip(["two", "", "src/file", "", "three\\nnew\\nby-bash"]) {
        must(said.contains(wanted), || said.clone())?;
    }
    must(worked.iter().all(|answer| verdict(answer) == Verdict::Allowed), || said.join("\n"))?;
    for answer in escapes {
        must(verdict(answer) == Verdict::Refused && !words(answer).contains(SIGN), || words(answer))?;
    }
    same("the file outside", stage.text("{root}/outside/secret").as_str(), SIGN)
}
