//! File systems that refuse: full, without overlays, without room for a log.
//! It never mounts anything that it does not unmount, and skips where only root could.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt as _, chown};
use stockade_tests::stage::Stage;
use stockade_tests::story::{Stop, Story, Told, must, same};

/// A mount of the test's own; dropping it takes it away.
struct Mounted(String);

impl Drop for Mounted {
    fn drop(&mut self) {
        #[expect(
            clippy::disallowed_methods,
            reason = "the tests' door to starting programs; a mount must not outlive its test"
        )]
        let ended = std::process::Command::new("/bin/umount").args(["--lazy", &self.0]).status();
        // What cannot be unmounted shows as left behind.
        drop(ended);
    }
}

/// Mounts something as root, for whoever runs the test.
fn mounted(stage: &Stage, kind: &str, options: &str, at: &str) -> Result<Mounted, Stop> {
    use stockade_tests::people::Person;
    if !Person::myself().is_root() {
        return Err(Stop::Skip("only root can mount".to_owned()));
    }
    let at = stage.scene.fill(at);
    let mut program = stage.program(&["/bin/mount", "-t", kind, "-o", options, "stockade-test", &at]);
    program.person = Person::myself();
    let ended = stage.go(&program)?;
    if ended.code() != 0 {
        return Err(Stop::Skip(format!("{kind} cannot be mounted here: {}", ended.err())));
    }
    let mount = Mounted(at.clone());
    chown(&at, Some(stage.scene.person().uid()), None)?;
    Ok(mount)
}

/// What a run changes, so that every kind of change is among it.
const WORK: &str = "echo changed > changed; rm gone; mkdir -p d/e; echo new > d/e/new; ln -s new d/e/link; touch empty; \
    chmod 755 script; mv from to; printf 'a\\0b' > binary; exit 3";

pub(crate) fn stories() -> Vec<Story> {
    vec![
        Story::new("disks::a_workspace_on_an_overlay_does_not_change_the_result", |stage| without(stage, "{ws}")),
        Story::new("disks::a_state_on_an_overlay_does_not_change_the_result", |stage| without(stage, "{state}")),
        Story::new("disks::a_state_on_tmpfs_does_not_change_the_result", |stage| {
            let expected = result(stage)?;
            let _mount = mounted(stage, "tmpfs", "size=64m,mode=700", "{state}")?;
            same("on tmpfs", result(stage)?, expected)
        }),
        Story::new("disks::a_disk_that_fills_during_a_run_loses_nothing_acknowledged", full_in_run),
        Story::new("disks::a_full_disk_does_not_let_a_run_begin", full_before),
        Story::new("disks::a_full_disk_does_not_let_an_apply_begin", full_at_apply),
        Story::new("disks::a_full_disk_is_not_told_without_a_hint", |stage| {
            let _mount = mounted(stage, "tmpfs", "size=2m,mode=700", "{state}")?;
            let ended = stage.run(&["-q"], &["/bin/bash", "-c", "head -c 9000000 /dev/zero > big 2>/dev/null"])?;
            let err = ended.err();
            let lines: Vec<&str> = err.lines().collect();
            let [error, hint] = lines[..] else { return must(false, || ended.told()) };
            must(error.ends_with("no space left on device") && hint.starts_with("hint: "), || ended.told())
        }),
        Story::new("disks::a_workspace_that_a_killed_root_showed_is_not_removed_with_the_layer", shown),
        Story::new("disks::a_full_disk_is_not_taken_for_a_forgery", |stage| {
            let _mount = filled(stage)?;
            let ended = stage.stockade(&["verify", "last"])?;
            same("exit", ended.code(), 3)
        }),
    ]
}

/// Root shows a container the workspace by a mount in the session's own directory, for a moment; who is killed in that
/// moment leaves it there.
fn shown(stage: &mut Stage) -> Told {
    if !stage.scene.person().is_root() {
        return Err(Stop::Skip("only root shows it so".to_owned()));
    }
    same("exit", stage.run(&["-q"], &["/bin/bash", "-c", "true"])?.code(), 0)?;
    stage.scene.file("{ws}/kept", "kept\n")?;
    stage.scene.file("{ws}/d/deep", "deep\n")?;
    let mut mounts = Vec::new();
    for name in ["staged-0", "staged-1"] {
        let place = format!("{{state}}/w/01M82DKBEP54SKQRF8GAZRFAFR/{name}");
        stage.scene.folder(&place)?;
        let (ws, place) = (stage.scene.fill("{ws}"), stage.scene.fill(&place));
        let ended = stage.plain(&["/bin/mount", "--bind", &ws, &place])?;
        must(ended.code() == 0, || ended.told())?;
        mounts.push(Mounted(place));
    }
    let ended = stage.answers(0, &["gc"])?;
    must(ended.out().contains("removed the layer"), || ended.told())?;
    same("the workspace", stage.text("{ws}/kept") + &stage.text("{ws}/d/deep"), "kept\ndeep\n".to_owned())?;
    must(!stage.exists("{state}/w/01M82DKBEP54SKQRF8GAZRFAFR"), || "the layer is there".to_owned())
}

/// Prepares the workspace anew, works in it, and says what came of it: diff, exit code, applied tree.
fn result(stage: &Stage) -> Result<String, Stop> {
    let prepare = "rm -rf -- * ; echo before > changed; echo x > gone; echo '#!/bin/sh' > script; chmod 644 script; \
        echo moved > from; printf 'b\\0c' > binary";
    same("prepared", stage.plain(&["/bin/bash", "-c", prepare])?.code(), 0)?;
    let ended = stage.run(&["-q"], &["/bin/bash", "-c", WORK])?;
    must(ended.code() == 3 && ended.err.is_empty(), || ended.told())?;
    let untouched = stage.text("{ws}/changed");
    same("before apply", untouched.as_str(), "before\n")?;
    let diff = stage.answers(0, &["diff", "last"])?;
    let stat = stage.answers(0, &["diff", "last", "--stat"])?;
    stage.answers(0, &["apply", "last"])?;
    let list = "find . -mindepth 1 -printf '%P %y %m %l\\n' | sort; find . -type f | sort | xargs sha256sum";
    let tree = stage.plain(&["/bin/bash", "-c", list])?;
    stage.answers(0, &["verify", "last"])?;
    Ok(format!("{}\n{}\n{}", diff.out(), stat.out(), tree.out()))
}

/// The same, once on a plain file system and once on an overlay, which takes no overlay on top in a user namespace.
fn without(stage: &mut Stage, on: &str) -> Told {
    let expected = result(stage)?;
    for directory in ["lower", "upper", "work"] {
        stage.scene.folder(&format!("{{root}}/overlay-{directory}"))?;
    }
    let options = "lowerdir={root}/overlay-lower,upperdir={root}/overlay-upper,workdir={root}/overlay-work";
    let _mount = mounted(stage, "overlay", &stage.scene.fill(options), on)?;
    fs::set_permissions(stage.scene.path(on), Permissions::from_mode(0o700))?;
    same("on an overlay", result(stage)?, expected)
}

/// A state of two megabytes, which a run has filled.
fn filled(stage: &Stage) -> Result<Mounted, Stop> {
    let mount = mounted(stage, "tmpfs", "size=2m,mode=700", "{state}")?;
    let ended = stage.run(&["-q"], &["/bin/bash", "-c", "head -c 9000000 /dev/zero > big; echo tried"])?;
    must(ended.code() == 125 && tells_of_space(&ended.err()), || ended.told())?;
    Ok(mount)
}

/// An error of ours says why, in whatever spelling.
fn tells_of_space(err: &str) -> bool {
    let error = err.lines().find(|line| line.starts_with("error: ")).unwrap_or_default();
    error.to_lowercase().contains("no space left on device")
}

fn full_in_run(stage: &mut Stage) -> Told {
    stage.scene.file("{ws}/a", "host\n")?;
    let _mount = mounted(stage, "tmpfs", "size=2m,mode=700", "{state}")?;
    same("exit", stage.run(&["-q"], &["/bin/bash", "-c", "echo first > first"])?.code(), 0)?;
    let first = stage.report()?.text("session").unwrap_or_default().to_owned();
    let ended = stage.run(&["-q"], &["/bin/bash", "-c", "head -c 9000000 /dev/zero > big; echo tried"])?;
    must(ended.code() == 125 && tells_of_space(&ended.err()), || ended.told())?;
    same("the workspace", stage.text("{ws}/a").as_str(), "host\n")?;
    // What was acknowledged before is all there.
    stage.answers(0, &["verify", &first])?;
    let diff = stage.answers(0, &["diff", &first])?;
    must(diff.out().ends_with("+first\n"), || diff.told())?;
    let shown = stage.answers(0, &["log", "show", "last"])?;
    must(shown.out().contains("permit"), || shown.told())
}

fn full_before(stage: &mut Stage) -> Told {
    let _mount = filled(stage)?;
    let ended = stage.run(&["-q"], &["/bin/bash", "-c", "echo ran"])?;
    must(ended.code() == 125 && ended.out.is_empty(), || format!("it ran unlogged: {}", ended.told()))?;
    must(tells_of_space(&ended.err()), || ended.told())
}

fn full_at_apply(stage: &mut Stage) -> Told {
    let _mount = mounted(stage, "tmpfs", "size=2m,mode=700", "{state}")?;
    same("exit", stage.run(&["-q"], &["/bin/bash", "-c", "echo x > f"])?.code(), 0)?;
    let fill = "head -c 9000000 /dev/zero > '{state}/ballast'; true";
    stage.plain(&["/bin/bash", "-c", &stage.scene.fill(fill)])?;
    let ended = stage.answers(125, &["apply", "last"])?;
    must(tells_of_space(&ended.err()), || ended.told())?;
    must(!stage.scene.path("{ws}/f").exists(), || "applied without a word in the log".to_owned())?;
    fs::remove_file(stage.scene.path("{state}/ballast"))?;
    stage.answers(0, &["apply", "last"])?;
    same("f", stage.text("{ws}/f").as_str(), "x\n")?;
    stage.answers(0, &["verify", "last"]).map(drop)
}
