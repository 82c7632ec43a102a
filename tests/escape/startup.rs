//! Attacks before anything runs: profiles, the project's own rules, variables, arguments, and a kernel that lacks a layer.
//! It never edits a built-in profile.

use crate::table::Attack;
use stockade_tests::stage::Stage;
use stockade_tests::story::{Stop, Story, Told, must};

pub(crate) fn attacks() -> Vec<Attack> {
    vec![
        Attack::shell("7", "words_after_the_command_do_not_open_the_wall", "cat '{hidden}/secret' --mode direct --profile /dev/null --dangerously-disable-sandbox; cat '{hidden}/secret'")
            .file("{hidden}/secret", "{canary}"),
        Attack::shell("46", "variables_of_the_host_do_not_run_in_the_guest", "true")
            .env("BASH_ENV", "{hidden}/rc")
            .env("ENV", "{hidden}/rc")
            .file("{hidden}/rc", "echo {canary}"),
        Attack::shell("46", "a_preloaded_library_is_not_taken_along", "echo \"${LD_PRELOAD:-}\"").env("LD_PRELOAD", "{canary}"),
        Attack::shell("46, 88", "a_key_in_the_environment_is_not_taken_along", "env; cat /proc/self/environ | tr '\\0' '\\n'; ps e -p $$")
            .env("AWS_SECRET_ACCESS_KEY", "{canary}"),
        Attack::shell("46", "an_agent_socket_in_the_environment_is_not_taken_along", "echo $SSH_AUTH_SOCK").env("SSH_AUTH_SOCK", "{canary}"),
    ]
}

/// Why a filter around the supervisor takes nothing from the third wall.
const THE_ENGINES: &str =
    "a container's layers are those of the engine's processes, which are not the supervisor's children";

/// What a kernel may lack; each must be noticed, since the profile's floor is "full".
const LAYERS: [&str; 7] =
    ["landlock", "landlock-disabled", "landlock-half", "seccomp", "mount-api", "new-root", "user-namespaces"];

pub(crate) fn stories() -> Vec<Story> {
    let layers = LAYERS.iter().map(|layer| {
        Story::new(
            format!("startup::a_kernel_without_{}_is_not_taken_for_a_full_wall", layer.replace('-', "_")),
            move |stage| lacking(stage, layer),
        )
        .not_in_a_container(THE_ENGINES)
    });
    let widening = WIDENING.iter().map(|(name, rules)| {
        Story::new(format!("startup::a_projects_rules_do_not_{name}"), move |stage| project(stage, rules))
    });
    let wrong = WRONG
        .iter()
        .map(|(name, body)| Story::new(format!("startup::{name}"), move |stage| refused_profile(stage, body)));
    let cwds = CWDS.iter().map(|(name, cwd)| {
        Story::new(format!("startup::a_working_directory_{name}_widens_nothing"), move |stage| {
            working_directory(stage, cwd)
        })
    });
    let others = [
        Story::new("startup::a_projects_rules_that_are_a_link_are_not_obeyed", project_link),
        Story::new("startup::a_projects_rules_tighten", project_tightens),
        Story::new("startup::a_projects_variables_do_not_reach_the_supervisor", project_variables),
        Story::new("startup::a_profile_that_others_can_write_is_not_used", writable_profile),
        Story::new("startup::a_profile_of_somebody_else_is_not_used", foreign_profile),
        Story::new("startup::a_file_of_the_project_is_not_taken_for_a_built_in_profile", shadowed_profile),
        Story::new("startup::the_empty_profile_grants_nothing", empty_profile),
        Story::new("startup::a_grant_for_the_network_that_cannot_be_enforced_is_not_ignored", unenforceable),
        Story::new("startup::a_session_inside_a_session_is_not_wider", nested),
        Story::new("startup::setting_up_makes_no_file_through_a_planted_link", planted_mount_target),
        Story::new("startup::protecting_makes_no_file_through_a_planted_link", planted_protect_target),
        Story::new("startup::a_program_of_the_workspace_is_not_run_by_the_supervisor", program_of_the_workspace),
        Story::new("startup::the_report_is_not_written_through_a_planted_link", planted_report),
    ];
    layers.chain(widening).chain(wrong).chain(cwds).chain(others).collect()
}

fn lacking(stage: &mut Stage, layer: &str) -> Told {
    let works = ["{bin}/stockade-probe", "layer-works", layer];
    let control = stage.plain(&works)?;
    must(control.code() == 0, || format!("the layer does not work here at all\n{}", control.told()))?;
    let taken = stage.plain(&[&["{bin}/stockade-probe", "without", layer], &works[..]].concat())?;
    must(taken.code() == 10, || format!("the layer was not taken away\n{}", taken.told()))?;
    let profile = stage.probe_profile("floor", "floor = \"full\"\n").or_else(|_| stage.profile("floor", ""))?;
    stage.stockade(&["--version"])?;
    let run =
        ["{bin}/stockade-probe", "without", layer, "{bin}/stockade", "run", "--workspace", "{ws}", "--mode", "direct"];
    let run = [&run[..], &["--profile", &profile, "--", "{bin}/stockade-probe", "write-here", "{ws}/ran"]].concat();
    let ended = stage.plain(&run)?;
    must(!stage.exists("{ws}/ran"), || format!("it ran with a layer missing\n{}", ended.told()))?;
    must(ended.code() == 125, || format!("not refused by stockade itself\n{}", ended.told()))?;
    must(!ended.err().trim().is_empty(), || "refused without a word".to_owned())
}

/// Lines that would widen: each in the project's own file, then as the person's profile for the control.
const WIDENING: &[(&str, &str)] = &[
    ("grant_reading", "[[grant.read]]\npath = \"{hidden}\"\nreason = \"because\"\n"),
    ("grant_writing", "[[grant.write]]\npath = \"{hidden}\"\nreason = \"because\"\n"),
    ("grant_running", "[[grant.exec]]\npath = \"{hidden}\"\nreason = \"because\"\n"),
    ("extend_a_wider_profile", "extends = [\"rust-dev\"]\n[[grant.read]]\npath = \"{hidden}\"\nreason = \"because\"\n"),
];

fn project(stage: &mut Stage, rules: &str) -> Told {
    stage.scene.file("{hidden}/secret", "{canary}")?;
    let rules = stage.scene.fill(rules);
    let read = ["/bin/cat", "{hidden}/secret"];
    let canary = stage.scene.fill("{canary}");
    // The control: as the person's own profile the same lines open the directory (those that can).
    let top: String = rules.lines().take_while(|line| line.starts_with("extends")).collect();
    let extends =
        if top.is_empty() { "extends = [\"shell\"]".to_owned() } else { top.replace("[\"rust-dev\"]", "[\"shell\"]") };
    let grants: String =
        rules.lines().skip_while(|line| line.starts_with("extends")).map(|line| format!("{line}\n")).collect();
    let own = stage.profile("own", &format!("{extends}\n{grants}"))?;
    let control = stage.run(&["--profile", &own], &read)?;
    must(control.out().contains(&canary), || format!("the control does not read it\n{}", control.told()))?;
    stage.scene.file("{ws}/stockade.toml", &format!("profile = 1\n{rules}"))?;
    let ended = stage.run(&["--profile", "shell"], &read)?;
    must(!ended.out().contains(&canary), || format!("ESCAPED: the project widened its profile\n{}", ended.told()))?;
    must(ended.code() == 125, || format!("not refused loudly\n{}", ended.told()))
}

fn project_link(stage: &mut Stage) -> Told {
    let run = |stage: &Stage| stage.run(&["--profile", "shell"], &["/bin/echo", "ran"]);
    stage.scene.file("{ws}/stockade.toml", "profile = 1\n")?;
    let control = run(stage)?;
    must(control.code() == 0, || format!("the control did not run\n{}", control.told()))?;
    std::fs::remove_file(stage.scene.path("{ws}/stockade.toml"))?;
    stage.scene.file("{hidden}/rules.toml", "profile = 1\n")?;
    for target in ["{hidden}/rules.toml", "{hidden}/absent.toml", "/dev/zero"] {
        stage.scene.link("{ws}/stockade.toml", target)?;
        let ended = run(stage)?;
        must(ended.code() == 125 && !ended.out().contains("ran"), || {
            format!("a link to {target} was passed over\n{}", ended.told())
        })?;
        std::fs::remove_file(stage.scene.path("{ws}/stockade.toml"))?;
    }
    Ok(())
}

/// The twin of the attacks above: what a project may say is heard.
fn project_tightens(stage: &mut Stage) -> Told {
    stage.scene.file("{ws}/stockade.toml", "profile = 1\n[limits]\nopen_files = 77\n")?;
    let ended = stage.run(&["--profile", "shell"], &["/bin/bash", "-c", "ulimit -n"])?;
    must(ended.out().trim() == "77", || format!("the project's limit is not in force\n{}", ended.told()))?;
    stage.scene.file("{ws}/stockade.toml", "profile = 1\n[limits]\nopen_files = 1000000\n")?;
    let ended = stage.run(&["--profile", "shell"], &["/bin/bash", "-c", "ulimit -n"])?;
    must(ended.out().trim() != "1000000", || format!("the project raised a limit\n{}", ended.told()))
}

fn project_variables(stage: &mut Stage) -> Told {
    stage
        .scene
        .file("{ws}/.env", "STOCKADE_STATE={hidden}/evil\nHOME={hidden}/evil\nSTOCKADE_PROFILE={hidden}/evil.toml\n")?;
    let control = stage.plain(&["/bin/bash", "-c", ". ./.env && mkdir -p $STOCKADE_STATE"])?;
    must(stage.exists("{hidden}/evil"), || format!("the control did not succeed\n{}", control.told()))?;
    std::fs::remove_dir(stage.scene.path("{hidden}/evil"))?;
    let ended = stage.run(&["--profile", "shell"], &["/bin/true"])?;
    must(ended.code() == 0, || format!("it did not run\n{}", ended.told()))?;
    must(!stage.exists("{hidden}/evil"), || "ESCAPED: the project chose the state directory".to_owned())
}

fn writable_profile(stage: &mut Stage) -> Told {
    use std::os::unix::fs::PermissionsExt as _;
    let path = stage.profile("mine", "extends = [\"shell\"]\n")?;
    let run = |stage: &Stage| stage.run(&["--profile", &path], &["/bin/echo", "ran"]);
    let control = run(stage)?;
    must(control.code() == 0, || format!("the control did not run\n{}", control.told()))?;
    for mode in [0o666, 0o664, 0o646] {
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode))?;
        let ended = run(stage)?;
        must(ended.code() == 125 && !ended.out().contains("ran"), || {
            format!("used with mode {mode:o}\n{}", ended.told())
        })?;
    }
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644))?;
    // In a directory that others can write, anybody can put another file in its place.
    stage.scene.file_with_mode("{hidden}/p.toml", "profile = 1\nname = \"p\"\nextends = [\"shell\"]\n", 0o644)?;
    let ended = stage.run(&["--profile", "{hidden}/p.toml"], &["/bin/echo", "ran"])?;
    must(ended.code() == 125 && !ended.out().contains("ran"), || {
        format!("used from a directory that others can write\n{}", ended.told())
    })
}

fn foreign_profile(stage: &mut Stage) -> Told {
    use stockade_tests::people::Person;
    let path = stage.profile("theirs", "extends = [\"shell\"]\n")?;
    if !Person::myself().is_root() {
        return Err(Stop::Skip("only root can make a file that belongs to somebody else".to_owned()));
    }
    const NOBODY: u32 = 65_534;
    std::os::unix::fs::chown(&path, Some(NOBODY), Some(NOBODY))?;
    let ended = stage.run(&["--profile", &path], &["/bin/echo", "ran"])?;
    must(ended.code() == 125 && !ended.out().contains("ran"), || format!("used\n{}", ended.told()))
}

fn shadowed_profile(stage: &mut Stage) -> Told {
    stage.scene.file("{hidden}/secret", "{canary}")?;
    let text = "profile = 1\nname = \"shell\"\nextends = [\"base\"]\n[[grant.read]]\npath = \"{hidden}\"\nreason = \"because\"\n";
    for name in ["shell", "shell.toml", "sandbox-profiles/shell.toml", ".stockade/shell.toml", "profiles/shell.toml"] {
        stage.scene.file_with_mode(&format!("{{ws}}/{name}"), text, 0o644)?;
    }
    let ended = stage.run(&["--profile", "shell"], &["/bin/cat", "{hidden}/secret"])?;
    must(!ended.out().contains(&stage.scene.fill("{canary}")), || {
        format!("ESCAPED: the project's file was used\n{}", ended.told())
    })?;
    must(ended.code() == 1, || format!("cat did not run to its end\n{}", ended.told()))
}

/// Profiles that must be refused rather than taken for something wider.
const WRONG: &[(&str, &str)] = &[
    (
        "an_empty_host_does_not_mean_every_host",
        "extends = [\"shell\"]\n[[grant.net]]\nhost = \"\"\nports = [443]\nreason = \"r\"\n",
    ),
    (
        "a_lone_star_does_not_mean_every_host",
        "extends = [\"shell\"]\n[[grant.net]]\nhost = \"*\"\nports = [443]\nreason = \"r\"\n",
    ),
    ("a_profile_above_the_own_directory_is_not_included", "extends = [\"../hidden/wide\"]\n"),
    ("a_profile_by_absolute_path_is_not_included", "extends = [\"{hidden}/wide.toml\"]\n"),
    ("a_profile_by_file_name_is_not_included", "extends = [\"wide.toml\"]\n"),
    ("an_unknown_key_is_not_passed_over", "extends = [\"shell\"]\nprotekt = [\".git\"]\n"),
    ("a_grant_without_a_reason_is_not_used", "extends = [\"shell\"]\n[[grant.read]]\npath = \"/srv\"\n"),
    (
        "a_grant_with_dots_is_not_used",
        "extends = [\"shell\"]\n[[grant.read]]\npath = \"/usr/../srv\"\nreason = \"r\"\n",
    ),
    (
        "a_grant_of_the_parent_of_the_workspace_by_dots_is_not_used",
        "extends = [\"shell\"]\n[[grant.read]]\npath = \"./..\"\nreason = \"r\"\n",
    ),
];

fn refused_profile(stage: &mut Stage, body: &str) -> Told {
    stage.scene.file_with_mode("{hidden}/wide.toml", "profile = 1\nname = \"wide\"\nextends = [\"shell\"]\n", 0o644)?;
    stage.scene.file_with_mode("{root}/wide.toml", "profile = 1\nname = \"wide\"\nextends = [\"shell\"]\n", 0o644)?;
    let control = stage.profile("right", "extends = [\"shell\"]\n")?;
    let control = stage.run(&["--profile", &control], &["/bin/echo", "ran"])?;
    must(control.code() == 0, || format!("the control did not run\n{}", control.told()))?;
    let wrong = stage.profile("wrong", body)?;
    let ended = stage.run(&["--profile", &wrong], &["/bin/echo", "ran"])?;
    must(ended.code() == 125 && !ended.out().contains("ran"), || format!("not refused\n{}", ended.told()))?;
    must(ended.err().contains("hint"), || format!("refused without a hint\n{}", ended.told()))
}

/// Without a namespace of its own there is no outlet, and a grant that would have to go through one is refused.
fn unenforceable(stage: &mut Stage) -> Told {
    const NET: &str = "[[grant.net]]\nhost = \"example.com\"\nports = [443]\n";
    let secret = "[[secret]]\nname = \"k\"\nenv = \"K\"\nplace = { header = \"a\" }\nhosts = [\"example.com\"]\nreason = \"r\"\n";
    let bodies = [format!("{NET}reason = \"r\"\n"), format!("{NET}secret = \"k\"\nreason = \"r\"\n{secret}")];
    let control = stage.profile("control", "extends = [\"shell\"]\n")?;
    let run = |stage: &Stage, path: &str| {
        stage.without_user_namespaces(&["run", "-w", "{ws}", "-p", path, "--", "/bin/echo", "ran"])
    };
    let control = run(stage, &control)?;
    must(control.code() == 0 && control.out() == "ran\n", || format!("the control did not run\n{}", control.told()))?;
    let mut deposit = stage.program(&["{bin}/stockade", "secret", "set", "k"]);
    deposit.input = b"value-of-a-test".to_vec();
    let kept = stage.go(&deposit)?;
    must(kept.code() == 0, || kept.told())?;
    for body in bodies {
        let path = stage.profile("net", &format!("extends = [\"shell\"]\n{body}"))?;
        let ended = run(stage, &path)?;
        must(ended.code() == 125 && ended.out.is_empty(), || format!("not refused\n{}", ended.told()))?;
        let what = "error: net:4: a grant for the network (\"example.com ports 443\") is not enforceable without user namespaces\n";
        must(ended.err().starts_with(what), || format!("refused for something else\n{}", ended.told()))?;
        let both = ended.err().contains(": a secret is not enforceable without user namespaces");
        must(both == body.contains("[[secret]]"), || format!("the secret is passed over\n{}", ended.told()))?;
    }
    Ok(())
}

fn empty_profile(stage: &mut Stage) -> Told {
    stage.scene.file("{ws}/file", "{canary}")?;
    let empty = stage.profile("empty", "")?;
    for command in [&["/bin/cat", "{ws}/file"][..], &["/bin/echo", "{canary}"], &["{ws}/file"]] {
        let ended = stage.run(&["--profile", &empty], command)?;
        let out = ended.out();
        must(!out.contains(&stage.scene.fill("{canary}")), || format!("ESCAPED: {command:?} ran\n{}", ended.told()))?;
        must(matches!(ended.code(), 125..=127), || format!("an exit code of its own\n{}", ended.told()))?;
    }
    Ok(())
}

const CWDS: &[(&str, &str)] = &[
    ("above", ".."),
    ("outside", "{hidden}"),
    ("through_a_link", "link"),
    ("through_dots", "sub/../../hidden"),
    ("at_the_root", "/"),
];

fn working_directory(stage: &mut Stage, cwd: &str) -> Told {
    stage.scene.file("{hidden}/file", "content of the host\n")?;
    stage.scene.link("{ws}/link", "{hidden}")?;
    stage.scene.folder("{ws}/sub")?;
    let write = ["/bin/bash", "-c", "pwd; echo guest > file"];
    let control = stage.run(&["--profile", "shell", "--mode", "direct", "--cwd", "sub"], &write)?;
    must(stage.exists("{ws}/sub/file"), || format!("the control did not write\n{}", control.told()))?;
    let before = stage.scene.print("{hidden}");
    let ended = stage.run(&["--profile", "shell", "--mode", "direct", "--cwd", cwd], &write)?;
    must(before == stage.scene.print("{hidden}"), || {
        format!("ESCAPED: a working directory widened\n{}", ended.told())
    })?;
    must(ended.code() != 0, || format!("written somewhere\n{}", ended.told()))
}

/// The guest starts the binary itself, with a profile that would be wider.
fn nested(stage: &mut Stage) -> Told {
    stage.scene.file("{hidden}/secret", "{canary}")?;
    let wide = "extends = [\"shell\"]\n[[grant.read]]\npath = \"{hidden}\"\nreason = \"because\"\n";
    let path = stage.profile("wide", &stage.scene.fill(wide))?;
    let control = stage.run(&["--profile", &path], &["/bin/cat", "{hidden}/secret"])?;
    let canary = stage.scene.fill("{canary}");
    must(control.out().contains(&canary), || format!("the control does not read it\n{}", control.told()))?;
    stage.scene.file_with_mode("{ws}/wide.toml", &format!("profile = 1\nname = \"wide\"\n{wide}"), 0o644)?;
    let profile = stage.probe_profile("outer", "")?;
    let script = "export STOCKADE_STATE=/tmp/state; {bin}/stockade run --profile {ws}/wide.toml --workspace {ws} -- cat {hidden}/secret; echo inner-ended-$?";
    let ended = stage.run(&["--profile", &profile], &["/bin/bash", "-c", script])?;
    must(ended.out().contains("inner-ended"), || format!("not even tried\n{}", ended.told()))?;
    must(!ended.out().contains(&canary), || format!("ESCAPED: a session inside is wider\n{}", ended.told()))
}

/// CVE-2026-87766: a link in the workspace, and a grant below it.
fn planted_mount_target(stage: &mut Stage) -> Told {
    stage.scene.link("{ws}/a", "{hidden}")?;
    let control = stage.plain(&["/bin/mkdir", "-p", "{ws}/a/b"])?;
    must(stage.exists("{hidden}/b"), || format!("the control did not succeed\n{}", control.told()))?;
    std::fs::remove_dir(stage.scene.path("{hidden}/b"))?;
    for (kind, mode) in [("write", "direct"), ("read", "direct"), ("write", "review"), ("read", "review")] {
        for optional in ["", "optional = true\n"] {
            let body =
                format!("extends = [\"shell\"]\n[[grant.{kind}]]\npath = \"./a/b\"\nreason = \"because\"\n{optional}");
            let profile = stage.profile("below", &body)?;
            let before = stage.scene.print("{hidden}");
            let ended = stage.run(&["--profile", &profile, "--mode", mode], &["/bin/true"])?;
            must(before == stage.scene.print("{hidden}"), || {
                format!("ESCAPED: setting up wrote outside\n{}", ended.told())
            })?;
        }
    }
    Ok(())
}

fn planted_protect_target(stage: &mut Stage) -> Told {
    stage.scene.link("{ws}/.git", "{hidden}")?;
    stage.scene.link("{ws}/.vscode", "{hidden}/absent")?;
    let control = stage.plain(&["/bin/mkdir", "-p", "{ws}/.git/hooks"])?;
    must(stage.exists("{hidden}/hooks"), || format!("the control did not succeed\n{}", control.told()))?;
    std::fs::remove_dir(stage.scene.path("{hidden}/hooks"))?;
    let before = stage.scene.print("{hidden}");
    for mode in ["direct", "review", "discard"] {
        let ended = stage.run(&["--profile", "shell", "--mode", mode], &["/bin/true"])?;
        must(before == stage.scene.print("{hidden}"), || {
            format!("ESCAPED: setting up wrote outside\n{}", ended.told())
        })?;
    }
    Ok(())
}

/// Programs named like those that a careless supervisor would call by name, in the directory that it starts in.
fn program_of_the_workspace(stage: &mut Stage) -> Told {
    const NAMES: [&str; 12] =
        ["sh", "git", "mount", "ip", "newuidmap", "newgidmap", "unshare", "bwrap", "diff", "cp", "tar", "fusermount"];
    for name in NAMES {
        stage.scene.file_with_mode(
            &format!("{{ws}}/{name}"),
            &format!("#!/bin/bash\ntouch {{hidden}}/{name}\n"),
            0o755,
        )?;
    }
    let path = stage.scene.fill("{ws}:.:/usr/bin:/bin");
    stage.environment.push(("PATH".into(), path.into()));
    let control = stage.plain(&["/bin/bash", "-c", "git"])?;
    must(stage.exists("{hidden}/git"), || format!("the control did not succeed\n{}", control.told()))?;
    std::fs::remove_file(stage.scene.path("{hidden}/git"))?;
    stage.run(&["--profile", "shell"], &["/bin/bash", "-c", "echo x > new; echo y >> sh"])?;
    for words in [&["diff", "last"][..], &["apply", "last"], &["undo", "last"], &["verify", "last"], &["doctor"]] {
        stage.stockade(words)?;
    }
    let ran: Vec<&&str> = NAMES.iter().filter(|name| stage.exists(&format!("{{hidden}}/{name}"))).collect();
    must(ran.is_empty(), || format!("ESCAPED: the supervisor ran {ran:?} of the workspace"))
}

/// `--report` names a file of the operator's; a link that a guest planted in the workspace must not redirect it.
fn planted_report(stage: &mut Stage) -> Told {
    stage.scene.file("{hidden}/file", "content of the host\n")?;
    let profile = stage.probe_profile("report", "")?;
    let before = stage.scene.print("{hidden}/file");
    let run =
        ["run", "--workspace", "{ws}", "--mode", "direct", "--profile", &profile, "--report", "{ws}/report.json", "--"];
    let plant = ["/bin/bash", "-c", "ln -sfn {hidden}/file report.json"];
    // The control: a shell's redirection follows the link.
    stage.scene.link("{ws}/control", "{hidden}/control")?;
    stage.plain(&["/bin/bash", "-c", "echo x > {ws}/control"])?;
    must(stage.exists("{hidden}/control"), || "the control did not succeed".to_owned())?;
    let ended = stage.stockade(&[&run[..], &plant[..]].concat())?;
    must(before == stage.scene.print("{hidden}/file"), || {
        format!("ESCAPED: the report went through a link\n{}", ended.told())
    })
}
