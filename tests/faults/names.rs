//! Names that are not text, deep trees and many files.
//! It never prints a name as it is: a terminal may be reading.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::chown;
use std::path::PathBuf;
use std::time::Duration;
use stockade_tests::stage::Stage;
use stockade_tests::story::{Stop, Story, Told, must, same};

/// Not UTF-8.
const ODD: &[u8] = b"odd-\xff\xfe";
/// A group that nobody is in.
const ANOTHER_GROUP: u32 = 54_321;

pub(crate) fn stories() -> Vec<Story> {
    [files(), elsewhere(), trees()].into_iter().flatten().collect()
}

fn files() -> Vec<Story> {
    vec![
        Story::new("names::a_file_whose_name_is_not_utf8_is_not_lost", |stage| {
            let name = OsStr::from_bytes(ODD);
            let text = "printf x > \"$1\"; cat \"$1\"";
            let ended =
                in_workspace(stage, "{ws}", &["/bin/bash".into(), "-c".into(), text.into(), "sh".into(), name.into()])?;
            must(ended.code() == 0 && ended.out() == "x", || ended.told())?;
            let diff = stage.answers(0, &["diff", "last", "--stat"])?;
            must(diff.out().contains("odd-") && diff.out.is_ascii(), || diff.told())?;
            stage.answers(0, &["apply", "last"])?;
            same("content", fs::read(stage.scene.path("{ws}").join(name))?, b"x".to_vec())?;
            stage.answers(0, &["undo", "last"])?;
            must(!stage.scene.path("{ws}").join(name).exists(), || "undo left it".to_owned())?;
            stage.answers(0, &["verify", "last"]).map(drop)
        }),
        Story::new("names::one_such_file_is_not_beyond_apply", |stage| {
            let name = OsStr::from_bytes(ODD);
            let text = "printf x > \"$1\"; printf y > other";
            in_workspace(stage, "{ws}", &["/bin/bash".into(), "-c".into(), text.into(), "sh".into(), name.into()])?;
            let mut program = stage.program(&["{bin}/stockade", "apply", "last"]);
            program.argv.push(name.into());
            let ended = stage.go(&program)?;
            must(ended.code() == 0, || ended.told())?;
            let there = (stage.scene.path("{ws}").join(name).exists(), stage.scene.path("{ws}/other").exists());
            same("applied", there, (true, false))
        }),
    ]
}

fn elsewhere() -> Vec<Story> {
    vec![
        Story::new("names::a_workspace_whose_name_is_not_utf8_is_not_refused", |stage| {
            let odd = stage.scene.path("{root}").join(OsStr::from_bytes(ODD));
            fs::create_dir(&odd)?;
            chown(&odd, Some(stage.scene.person().uid()), None)?;
            let mut program = stage.program(&["{bin}/stockade", "run", "-q", "--workspace"]);
            program.argv.extend([
                odd.clone().into(),
                "--".into(),
                "/bin/bash".into(),
                "-c".into(),
                "pwd; echo x > f".into(),
            ]);
            let ended = stage.go(&program)?;
            must(ended.code() == 0, || ended.told())?;
            same("pwd", ended.out, [odd.as_os_str().as_bytes(), b"\n"].concat())?;
            stage.answers(0, &["apply", "last"])?;
            same("f", fs::read(odd.join("f"))?, b"x\n".to_vec())?;
            stage.answers(0, &["verify", "last"]).map(drop)
        })
        .not_in_a_container("an engine takes paths in text (JSON, RFC 8259 section 8.1)"),
        Story::new("names::a_working_directory_whose_name_is_not_utf8_is_not_refused", |stage| {
            let odd = stage.scene.path("{ws}").join(OsStr::from_bytes(ODD));
            fs::create_dir(&odd)?;
            let mut program = stage.program(&["{bin}/stockade", "run", "-q", "--workspace", "{ws}", "--cwd"]);
            program.argv.extend([OsStr::from_bytes(ODD).into(), "--".into(), "/bin/pwd".into()]);
            let ended = stage.go(&program)?;
            same("pwd", ended.out, [odd.as_os_str().as_bytes(), b"\n"].concat())
        }),
        Story::new("names::words_and_variables_that_are_not_utf8_are_not_changed", |stage| {
            let mut program = stage.program(&["{bin}/stockade", "run", "-q", "--workspace", "{ws}", "--env"]);
            let setting = [b"A=", ODD].concat();
            let text = "printf '%s|%s' \"$A\" \"$1\"";
            let words = ["--", "/bin/bash", "-c", text, "sh"].map(OsString::from);
            program.argv.push(OsStr::from_bytes(&setting).into());
            program.argv.extend(words);
            program.argv.push(OsStr::from_bytes(ODD).into());
            let ended = stage.go(&program)?;
            same("out", ended.out, [ODD, b"|", ODD].concat())?;
            let shown = stage.answers(0, &["log", "show", "last"])?;
            must(shown.out.is_ascii() || std::str::from_utf8(&shown.out).is_ok(), || shown.told())
        }),
    ]
}

fn trees() -> Vec<Story> {
    vec![
        Story::new("names::a_deep_tree_is_not_too_deep", |stage| deep(stage, 12)),
        Story::new("names::a_very_deep_tree_does_not_hold_stockade_up", |stage| deep(stage, 400)),
        Story::new("names::a_file_of_another_group_is_not_beyond_change", |stage| {
            stage.scene.file("{ws}/f", "before\n")?;
            chown(stage.scene.path("{ws}/f"), None, Some(ANOTHER_GROUP))
                .map_err(|_| Stop::Skip("only root can give files to a group of others".to_owned()))?;
            let ended = stage.run(&["-q"], &["/bin/bash", "-c", "echo after > f; cat f"])?;
            must(ended.code() == 0 && ended.out() == "after\n", || ended.told())
        })
        .gap("a file whose group is not the user's own cannot be changed in the overlay"),
        Story::new("names::a_crowded_workspace_does_not_hide_a_change", |stage| {
            for n in 0..5000 {
                fs::write(stage.scene.path(&format!("{{ws}}/f{n}")), format!("{n}\n"))?;
                if let Some((uid, gid)) = stage.scene.person().switch() {
                    chown(stage.scene.path(&format!("{{ws}}/f{n}")), Some(uid), Some(gid))?;
                }
            }
            let ended = stage.run(&["-q"], &["/bin/bash", "-c", "echo new > f2500; rm f2501; ls | wc -l"])?;
            same("files", ended.out().as_str(), "4999\n")?;
            same("changes", stage.report()?.changed_paths(), vec!["f2500".to_owned(), "f2501".to_owned()])?;
            stage.answers(0, &["apply", "last"])?;
            same("changed", stage.text("{ws}/f2500").as_str(), "new\n")?;
            must(!stage.scene.path("{ws}/f2501").exists(), || "not removed".to_owned())
        }),
        Story::new("names::four_thousand_new_files_are_not_too_many", |stage| {
            let text = "for i in $(seq 4000); do echo $i > n$i; done";
            same("exit", stage.run(&["-q"], &["/bin/bash", "-c", text])?.code(), 0)?;
            let applied = stage.answers(0, &["apply", "last"])?;
            must(applied.out().starts_with("applied 4000 changes; "), || applied.told())?;
            stage.answers(0, &["verify", "last"])?;
            stage.answers(0, &["undo", "last"])?;
            must(!stage.scene.path("{ws}/n1").exists(), || "undo left it".to_owned())
        }),
    ]
}

fn deep(stage: &Stage, levels: usize) -> Told {
    let deep: PathBuf = std::iter::repeat_n("d", levels).collect();
    let text = format!("mkdir -p {0} && echo x > {0}/f; cat {0}/f", deep.display());
    let mut program = stage.program(&["{bin}/stockade", "run", "-q", "-w", "{ws}", "--", "/bin/bash", "-c", &text]);
    program.limit = Duration::from_secs(60);
    let ended = program.run()?;
    must(ended.code() == 0 && ended.out() == "x\n", || format!("late: {}, {}", ended.late, ended.told()))?;
    stage.answers(0, &["apply", "last"])?;
    same("f", fs::read(stage.scene.path("{ws}").join(deep).join("f"))?, b"x\n".to_vec())?;
    stage.answers(0, &["undo", "last"])?;
    must(!stage.scene.path("{ws}/d").exists(), || "undo left it".to_owned())?;
    stage.answers(0, &["verify", "last"]).map(drop)
}

fn in_workspace(stage: &Stage, workspace: &str, command: &[OsString]) -> Result<stockade_tests::process::Ended, Stop> {
    let mut program = stage.program(&["{bin}/stockade", "run", "-q", "--workspace", workspace, "--"]);
    program.argv.extend(command.iter().cloned());
    stage.go(&program)
}
