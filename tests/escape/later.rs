//! What the host changes while the guest is at work: a wall that was right at the start must still be right.
//! It never waits by the clock: host and guest give each other the word.

use stockade_tests::process::Ended;
use stockade_tests::stage::{Stage, run_words};
use stockade_tests::story::{Stop, Story, Told, must};

/// Starts a guest, lets the host act once it is ready, gives it the word, and passes its output on.
const MEANWHILE: &str = r#"
host=$1; shift
coproc guest { exec "$@" 2>&1; }
exec 3<&"${guest[0]}" 4>&"${guest[1]}"
pid=$guest_PID
read -r line <&3; echo "$line"
bash -c "$host" || echo "the host failed"
echo go >&4; exec 4>&-
cat <&3
wait "$pid"
"#;

/// What the guest must not learn.
const SECRET: &str = "{canary}";
/// As editors and `sed -i` write: another file takes the name.
const REPLACES: &str = "echo {canary} > new && mv new .env";
const ADDS: &str = "mkdir -p sub && echo {canary} > sub/new && mv sub/new sub/.env";

const UNMOUNTED: &str = "a file that is replaced on the host loses what was mounted over it (rename(2)), and in a \
    workspace that is used directly nothing else hides or protects it";
const SHOWN: &str = "a pattern hides what exists when the session begins; the workspace below shows what the host adds";

/// Files that the shell's profile protects; where the workspace is used directly, the first one's directory with it.
const CONFIG: &str = ".git/config";
const RULES: &str = "stockade.toml";
/// What a workspace with something to protect holds.
const THERE: &[&str] = &[".git/HEAD", CONFIG, RULES];
const PLAIN: &str = "profile = 1\n";

/// Profiles that hide the name: of who may write and of who may not.
const WRITING: &str =
    "extends = [\"shell\"]\n[[deny.read]]\npath = \"**/.env\"\nreason = \"keys are not part of the work\"\n";
const READING: &str = "extends = [\"review-only\"]\n";

pub(crate) fn stories() -> Vec<Story> {
    let replaced = |label: &str, mode: &'static str, base: &'static str| {
        Story::new(format!("later::a_hidden_file_that_the_host_replaces_is_not_read_{label}"), move |stage| {
            stage.scene.file("{ws}/.env", "before\n")?;
            hidden(stage, mode, base, REPLACES, ".env")
        })
    };
    let added = |label: &str, mode: &'static str| {
        Story::new(format!("later::a_hidden_file_that_the_host_adds_is_not_read_{label}"), move |stage| {
            hidden(stage, mode, WRITING, ADDS, "sub/.env")
        })
    };
    let kept = |name: &str, mode: &'static str, file: &'static str, there: &'static [&'static str]| {
        Story::new(name, move |stage| protected(stage, mode, file, there))
    };
    vec![
        replaced("in_review", "review", WRITING),
        replaced("in_review_by_who_may_only_read", "review", READING),
        replaced("in_discard", "discard", WRITING),
        replaced("in_place", "direct", WRITING).gap(UNMOUNTED),
        added("in_review", "review").gap(SHOWN),
        added("in_place", "direct").gap(SHOWN),
        kept("later::a_protected_file_that_the_host_replaces_is_not_changed_in_review", "review", CONFIG, THERE),
        kept("later::a_protected_file_that_the_host_adds_is_not_changed_in_review", "review", CONFIG, &[]),
        kept(
            "later::a_protected_directory_whose_files_the_host_replaces_is_not_changed_in_place",
            "direct",
            CONFIG,
            THERE,
        ),
        kept("later::a_protected_file_that_the_host_replaces_is_not_changed_in_place", "direct", RULES, THERE)
            .gap(UNMOUNTED),
        Story::new("later::a_hidden_file_that_the_host_adds_is_not_read_by_the_next_session", next_session),
    ]
}

/// Runs a guest's script beside the host's; both in the workspace.
fn meanwhile(stage: &Stage, host: &str, command: &[&str]) -> Result<Ended, Stop> {
    let host = stage.scene.fill(host);
    stage.plain(&[&["/bin/bash", "-c", MEANWHILE, "meanwhile", &host], command].concat())
}

/// The host puts a secret under a name that the profile hides; the guest looks.
fn hidden(stage: &Stage, mode: &str, base: &str, host: &str, name: &str) -> Told {
    let look =
        format!("echo ready; read -r _; for i in 1 2 3; do cat {name}; done; cat < {name}; ls -l {name}; echo looked");
    let guest = ["/bin/bash", "-c", &look];
    let secret = stage.scene.fill(SECRET);
    let before = std::fs::read(stage.scene.path("{ws}/.env"));
    let control = meanwhile(stage, host, &guest)?;
    must(control.out().contains(&secret), || format!("the control did not succeed\n{}", control.told()))?;
    match before {
        Ok(before) => std::fs::write(stage.scene.path("{ws}/.env"), before)?,
        Err(_) => std::fs::remove_dir_all(stage.scene.path("{ws}/sub"))?,
    }
    let profile = stage.profile("hides", base)?;
    let run = run_words(&["--quiet", "--profile", &profile, "--mode", mode], &guest);
    let confined = meanwhile(stage, host, &[&["{bin}/stockade"], &run[..]].concat())?;
    must(confined.out().contains("ready") && confined.out().contains("looked"), || {
        format!("not even tried\n{}", confined.told())
    })?;
    must(!confined.out().contains(&secret), || format!("ESCAPED: the guest read it\n{}", confined.told()))
}

/// The host replaces or makes a file that the profile protects; the guest, which had its eye on it, adds a line.
fn protected(stage: &Stage, mode: &str, file: &str, there: &[&str]) -> Told {
    let host = format!("mkdir -p .git && printf 'profile = 1\\n# host\\n' > .git/new && mv .git/new {file}");
    let plant = format!("echo ready; read -r _; echo '# planted' >> {file}; cat {file}; echo tried");
    let guest = ["/bin/bash", "-c", &plant];
    let path = format!("{{ws}}/{file}");
    let build = || there.iter().try_for_each(|name| stage.scene.file(&format!("{{ws}}/{name}"), PLAIN));
    build()?;
    let control = meanwhile(stage, &host, &guest)?;
    must(stage.text(&path).contains("planted"), || format!("the control did not succeed\n{}", control.told()))?;
    for name in [".git", RULES] {
        let place = stage.scene.path(&format!("{{ws}}/{name}"));
        drop(std::fs::remove_dir_all(&place).or_else(|_| std::fs::remove_file(&place)));
    }
    build()?;
    let run = run_words(&["--quiet", "--profile", "shell", "--mode", mode], &guest);
    let confined = meanwhile(stage, &host, &[&["{bin}/stockade"], &run[..]].concat())?;
    must(confined.out().contains("tried"), || format!("not even tried\n{}", confined.told()))?;
    // In place, what the guest sees is what the host has: it must not be there for a moment.
    let written = mode == "direct" && confined.out().contains("# planted");
    must(!written, || format!("ESCAPED: written in place\n{}", confined.told()))?;
    stage.stockade(&["apply", "last"])?;
    let text = stage.text(&path);
    must(!text.contains("planted"), || format!("ESCAPED: the host has {text:?}\n{}", confined.told()))
}

/// What was added between two sessions is hidden from the second.
fn next_session(stage: &mut Stage) -> Told {
    let profile = stage.profile("hides", WRITING)?;
    let look = ["/bin/bash", "-c", "cat sub/.env; echo looked"];
    stage.run(&["--profile", &profile], &look)?;
    stage.scene.file("{ws}/sub/.env", SECRET)?;
    let secret = stage.scene.fill(SECRET);
    let control = stage.plain(&look)?;
    must(control.out().contains(&secret), || format!("the control did not succeed\n{}", control.told()))?;
    for mode in ["review", "discard", "direct"] {
        let confined = stage.run(&["--profile", &profile, "--mode", mode], &look)?;
        must(confined.out().contains("looked"), || format!("not even tried\n{}", confined.told()))?;
        must(!confined.out().contains(&secret), || {
            format!("ESCAPED in {mode}: the guest read it\n{}", confined.told())
        })?;
    }
    Ok(())
}
