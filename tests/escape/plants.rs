//! Files that would run later on the host: planted in review they must wait for consent, in place they must be refused.
//! It never runs what was planted.

use stockade_tests::stage::Stage;
use stockade_tests::story::{Stop, Story, Told, must};

/// Groups of paths that some program on the host runs or obeys without being asked.
const GROUPS: &[(&str, &[&str])] = &[
    (
        "git_hooks",
        &[
            ".git/hooks/pre-commit",
            ".git/hooks/post-checkout",
            ".git/modules/m/hooks/post-checkout",
            ".git/worktrees/w/config.worktree",
        ],
    ),
    (
        "git_settings",
        &[".git/config", ".git/config.worktree", ".git/info/attributes", ".git/modules/m/config", ".gitmodules"],
    ),
    ("nested_repositories", &["sub/.git/hooks/post-checkout", "sub/.git/config", "a/b/c/.git/hooks/pre-commit"]),
    ("hook_managers", &[".husky/pre-commit", ".githooks/pre-commit", ".pre-commit-config.yaml", "lefthook.yml"]),
    ("shells", &[".envrc", "sub/.envrc", ".env", ".bashrc", ".profile", ".zshenv", ".tool-versions", ".mise.toml"]),
    (
        "node",
        &[
            ".npmrc",
            "sub/.npmrc",
            ".yarnrc.yml",
            ".yarn/releases/yarn.cjs",
            ".pnpmfile.cjs",
            "node_modules/.bin/tsc",
            "sub/node_modules/.bin/tsc",
        ],
    ),
    (
        "workflows",
        &[
            ".github/workflows/x.yml",
            ".github/actions/a/action.yml",
            ".gitlab-ci.yml",
            ".circleci/config.yml",
            "Jenkinsfile",
        ],
    ),
    (
        "python",
        &["conftest.py", "sub/conftest.py", "setup.py", "sitecustomize.py", "noxfile.py", "tox.ini", "evil.pth"],
    ),
    (
        "rust",
        &[
            "build.rs",
            "sub/build.rs",
            ".cargo/config.toml",
            "sub/.cargo/config.toml",
            ".cargo/config",
            "rust-toolchain.toml",
        ],
    ),
    ("make", &["Makefile", "sub/Makefile", "GNUmakefile", "CMakeLists.txt", "justfile", "Rakefile", "gradlew"]),
    (
        "editors",
        &[
            ".vscode/tasks.json",
            ".vscode/settings.json",
            ".idea/workspace.xml",
            ".devcontainer/devcontainer.json",
            "x.code-workspace",
            ".vimrc",
            ".exrc",
        ],
    ),
    (
        "agents",
        &[
            ".mcp.json",
            "CLAUDE.md",
            "AGENTS.md",
            "sub/AGENTS.md",
            ".claude/settings.json",
            ".claude/commands/x.md",
            ".codex/config.toml",
            ".cursor/mcp.json",
            ".cursorrules",
        ],
    ),
    (
        "lock_files",
        &[
            "Cargo.lock",
            "package-lock.json",
            "yarn.lock",
            "pnpm-lock.yaml",
            "poetry.lock",
            "uv.lock",
            "go.sum",
            "Gemfile.lock",
        ],
    ),
    ("its_own_rules", &["stockade.toml"]),
];

/// What the guest may not change even where it works in place.
const PROTECTED: &[(&str, &[&str])] = &[
    ("a_hook", &["write-here", ".git/hooks/pre-commit"]),
    ("a_hook_that_is_there", &["open-write", ".git/hooks/sample"]),
    ("the_settings_of_git", &["open-write", ".git/config"]),
    ("the_settings_of_git_by_replacing_them", &["rename-over", ".git/config"]),
    ("the_settings_of_git_by_removing_them", &["unlink", ".git/config"]),
    ("the_settings_of_git_by_a_link", &["link-in-and-write", ".git/config"]),
    ("the_repository_by_moving_it_aside", &["move-aside", ".git", "hooks/pre-commit"]),
    ("the_hooks_by_moving_them_aside", &["move-aside", ".git/hooks", "pre-commit"]),
    ("a_parent_by_moving_it_aside", &["move-aside", "sub", ".git/hooks/pre-commit"]),
    ("the_projects_rules", &["open-write", "stockade.toml"]),
    ("the_projects_rules_by_replacing_them", &["rename-over", "stockade.toml"]),
    ("the_mode_of_a_hook", &["chmod", ".git/hooks/sample"]),
    ("a_hook_of_a_nested_repository", &["write-here", "sub/.git/hooks/pre-commit"]),
];

pub(crate) fn stories() -> Vec<Story> {
    let groups = GROUPS.iter().flat_map(|(name, paths)| {
        [
            Story::new(format!("plants::new_{name}_do_not_reach_the_host_unasked"), move |stage| {
                held(stage, paths, Before::Absent, Then::Consent)
            }),
            Story::new(format!("plants::changed_{name}_do_not_reach_the_host_unasked"), move |stage| {
                held(stage, paths, Before::There, Then::Consent)
            }),
        ]
    });
    let protected = PROTECTED.iter().map(|(name, words)| {
        Story::new(format!("plants::{name}_is_not_changed_in_place"), move |stage| protected(stage, words))
    });
    let others = [
        Story::new("plants::a_bare_repository_does_not_reach_the_host_unasked", bare_repository),
        Story::new("plants::a_worktree_file_does_not_reach_the_host_unasked", |stage| {
            held(stage, &["sub/.git"], Before::Absent, Then::Consent)
        }),
        Story::new("plants::a_held_file_under_another_case_does_not_reach_the_host_unasked", other_case),
        Story::new("plants::applying_does_not_follow_a_planted_link", planted_link),
        Story::new("plants::applying_does_not_follow_a_directory_turned_into_a_link", turned_into_link),
        Story::new("plants::applying_does_not_follow_a_link_that_the_host_has", hosts_link),
        Story::new("plants::applying_makes_no_set_user_id_program", set_user_id),
        Story::new("plants::what_was_not_applied_does_not_reach_the_host", unapplied),
    ];
    groups.chain(protected).chain(others).collect()
}

/// What the workspace had before the guest came.
#[derive(Clone, Copy)]
enum Before {
    Absent,
    There,
}

/// What the person does after the changes were left out.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Then {
    /// Consents to each path: it must then arrive.
    Consent,
    /// Nothing: some of the paths are protected, and no consent helps.
    Nothing,
}

/// Plants files in review; applying must leave them out, and put them in once each is consented to.
fn held(stage: &mut Stage, paths: &[&str], before: Before, then: Then) -> Told {
    let write = "for p in \"$@\"; do mkdir -p \"$(dirname \"$p\")\" && echo planted > \"$p\" || exit 9; done";
    let script = [&["/bin/bash", "-c", write, "plant"], paths].concat();
    let planted = |stage: &Stage, path: &str| {
        std::fs::read_to_string(stage.scene.path("{ws}").join(path)).is_ok_and(|text| text.contains("planted"))
    };
    let control = stage.plain(&script)?;
    must(paths.iter().all(|path| planted(stage, path)), || format!("the control planted nothing\n{}", control.told()))?;
    for path in paths {
        let place = stage.scene.path("{ws}").join(path);
        match before {
            Before::Absent => std::fs::remove_file(place)?,
            Before::There => std::fs::write(place, "the host's\n")?,
        }
    }
    let profile = planting_profile(stage)?;
    let ran = stage.run(&["--profile", &profile], &[&script[..], &["ordinary"]].concat())?;
    let refused = ran.code() != 0;
    // A change that was refused inside is as good as one that is held; the rest of the list is then planted singly.
    if refused {
        for path in paths {
            stage.run(&["--profile", &profile], &["/bin/bash", "-c", write, "plant", path])?;
            stage.stockade(&["apply", "last"])?;
        }
    } else {
        let applied = stage.stockade(&["apply", "last"])?;
        must(applied.code() != 125, || format!("apply failed\n{}", applied.told()))?;
    }
    let slipped: Vec<&&str> = paths.iter().filter(|path| planted(stage, path)).collect();
    must(slipped.is_empty(), || format!("ESCAPED: applied without consent: {slipped:?}"))?;
    if refused || then == Then::Nothing {
        return Ok(());
    }
    let consent: Vec<&str> = paths.iter().flat_map(|path| ["--yes-hold", path]).collect();
    let applied = stage.stockade(&[&["apply", "last"], &consent[..]].concat())?;
    let missing: Vec<&&str> = paths.iter().filter(|path| !planted(stage, path)).collect();
    must(missing.is_empty(), || format!("not applied though consented to: {missing:?}\n{}", applied.told()))?;
    must(planted(stage, "ordinary"), || format!("an ordinary file was not applied\n{}", applied.told()))
}

/// The shell's profile with nothing protected that is only to be held.
fn planting_profile(stage: &Stage) -> Result<String, Stop> {
    stage.probe_profile("plants", "")
}

/// Works in place on a repository: the control succeeds, the confined attempt must not change it.
fn protected(stage: &mut Stage, words: &[&str]) -> Told {
    let command = [&["{bin}/stockade-probe"], words].concat();
    let build = |stage: &Stage| -> std::io::Result<()> {
        for path in [
            "{ws}/.git/hooks/sample",
            "{ws}/.git/config",
            "{ws}/.git/HEAD",
            "{ws}/sub/.git/hooks/sample",
            "{ws}/sub/.git/HEAD",
        ] {
            stage.scene.file(path, "[core]\n")?;
        }
        stage.scene.file("{ws}/stockade.toml", "profile = 1\n")
    };
    build(stage)?;
    let control = stage.plain(&command)?;
    must(control.code() == 0, || format!("the control did not succeed\n{}", control.told()))?;
    for entry in std::fs::read_dir(stage.scene.path("{ws}"))?.flatten() {
        let path = entry.path();
        if path.is_dir() { std::fs::remove_dir_all(path)? } else { std::fs::remove_file(path)? }
    }
    build(stage)?;
    let prints = |stage: &Stage| ["{ws}/.git", "{ws}/sub", "{ws}/stockade.toml"].map(|path| stage.scene.print(path));
    let before = prints(stage);
    let profile = planting_profile(stage)?;
    let confined = stage.run(&["--profile", &profile, "--mode", "direct"], &command)?;
    must(confined.code() == 10, || format!("ESCAPED, or never tried\n{}", confined.told()))?;
    must(before == prints(stage), || format!("ESCAPED: changed though refused\n{}", confined.told()))
}

/// A directory with HEAD, config, objects and refs is a repository by itself, and git obeys its settings.
fn bare_repository(stage: &mut Stage) -> Told {
    let paths = ["data/HEAD", "data/config", "data/objects/x", "data/refs/x", "data/hooks/post-update"];
    let write = "for p in \"$@\"; do mkdir -p \"$(dirname \"$p\")\" && echo planted > \"$p\" || exit 9; done";
    let profile = planting_profile(stage)?;
    let script = [&["/bin/bash", "-c", write, "plant"], &paths[..]].concat();
    let control = stage.plain(&script)?;
    must(stage.exists("{ws}/data/config"), || format!("the control planted nothing\n{}", control.told()))?;
    std::fs::remove_dir_all(stage.scene.path("{ws}/data"))?;
    let ran = stage.run(&["--profile", &profile], &script)?;
    must(ran.code() == 0, || format!("not even tried\n{}", ran.told()))?;
    stage.stockade(&["apply", "last"])?;
    must(!stage.exists("{ws}/data/config") && !stage.exists("{ws}/data/hooks/post-update"), || {
        "ESCAPED: a bare repository was applied without consent".to_owned()
    })
}

/// Held names are matched as a file system that ignores case would.
fn other_case(stage: &mut Stage) -> Told {
    held(
        stage,
        &[".ENVRC", ".Github/workflows/x.yml", ".GIT/hooks/pre-commit", ".VSCode/tasks.json"],
        Before::Absent,
        Then::Nothing,
    )
}

fn planted_link(stage: &mut Stage) -> Told {
    stage.scene.file("{hidden}/file", "content of the host\n")?;
    let script = "ln -s {hidden} out; ln -s {hidden}/file f; ln -s ../hidden up; echo x > ordinary";
    let ran = stage.run(&["--profile", "shell"], &["/bin/bash", "-c", script])?;
    must(ran.code() == 0, || format!("not even tried\n{}", ran.told()))?;
    let before = stage.scene.print("{hidden}");
    stage.stockade(&["apply", "last"])?;
    must(before == stage.scene.print("{hidden}"), || "ESCAPED: applying wrote outside".to_owned())?;
    // A link that leads out of the workspace makes a later program of the host's write there: it needs consent.
    let slipped: Vec<&str> =
        ["out", "f", "up"].into_iter().filter(|name| stage.exists(&format!("{{ws}}/{name}"))).collect();
    must(slipped.is_empty(), || format!("ESCAPED: links that lead out were applied without consent: {slipped:?}"))
}

/// The guest turns a directory of the host's into a link, and puts files "below" it in another session.
fn turned_into_link(stage: &mut Stage) -> Told {
    stage.scene.file("{ws}/dir/file", "content of the host\n")?;
    stage.scene.file("{hidden}/file", "content of the host\n")?;
    let before = stage.scene.print("{hidden}");
    let first =
        stage.run(&["--profile", "shell"], &["/bin/bash", "-c", "echo changed > dir/file; echo new > dir/new"])?;
    must(first.code() == 0, || format!("not even tried\n{}", first.told()))?;
    // Meanwhile, on the host, the directory has become a link: applying must notice.
    std::fs::rename(stage.scene.path("{ws}/dir"), stage.scene.path("{ws}/dir.old"))?;
    stage.scene.link("{ws}/dir", "{hidden}")?;
    // The control: a plain copy follows the link.
    let control = stage.plain(&["/bin/bash", "-c", "echo control > {ws}/dir/control"])?;
    must(stage.exists("{hidden}/control"), || format!("the control did not succeed\n{}", control.told()))?;
    std::fs::remove_file(stage.scene.path("{hidden}/control"))?;
    stage.stockade(&["apply", "last"])?;
    let strip = |print: &str| print.lines().skip(1).map(str::to_owned).collect::<Vec<_>>();
    must(strip(&before) == strip(&stage.scene.print("{hidden}")), || "ESCAPED: applying followed a link".to_owned())
}

/// A link that the host itself has in its workspace, leading out: the guest's file of that name must not go through it.
fn hosts_link(stage: &mut Stage) -> Told {
    stage.scene.file("{hidden}/file", "content of the host\n")?;
    stage.scene.link("{ws}/link", "{hidden}/file")?;
    let before = stage.scene.print("{hidden}");
    let script = "rm link; echo guest > link";
    let ran = stage.run(&["--profile", "shell"], &["/bin/bash", "-c", script])?;
    must(ran.code() == 0, || format!("not even tried\n{}", ran.told()))?;
    stage.stockade(&["apply", "last"])?;
    must(before == stage.scene.print("{hidden}"), || "ESCAPED: applying wrote through a link".to_owned())
}

fn set_user_id(stage: &mut Stage) -> Told {
    use std::os::unix::fs::PermissionsExt as _;
    let script = "cp /bin/true tool && chmod 6755 tool";
    let control = stage.plain(&["/bin/bash", "-c", script])?;
    let mode =
        |stage: &Stage| std::fs::metadata(stage.scene.path("{ws}/tool")).map_or(0, |data| data.permissions().mode());
    must(mode(stage) & 0o6000 != 0, || format!("the control did not succeed\n{}", control.told()))?;
    std::fs::remove_file(stage.scene.path("{ws}/tool"))?;
    stage.run(&["--profile", "shell"], &["/bin/bash", "-c", script])?;
    stage.stockade(&["apply", "last"])?;
    must(mode(stage) & 0o6000 == 0, || format!("ESCAPED: applied with mode {:o}", mode(stage)))
}

fn unapplied(stage: &mut Stage) -> Told {
    stage.scene.file("{ws}/file", "content of the host\n")?;
    let before = stage.scene.print("{ws}");
    let script = "echo x > file; echo y > new; mkdir d; ln -s / root; chmod 600 file; rm -rf .git";
    let ran = stage.run(&["--profile", "shell"], &["/bin/bash", "-c", script])?;
    must(ran.code() == 0, || format!("not even tried\n{}", ran.told()))?;
    must(before == stage.scene.print("{ws}"), || "ESCAPED: review changed the workspace".to_owned())?;
    stage.stockade(&["discard", "last"])?;
    must(before == stage.scene.print("{ws}"), || "discarding changed the workspace".to_owned())
}
