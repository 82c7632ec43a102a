//! What is refused before anything runs, with the whole message that a person reads.
//! It never accepts a refusal after which the command ran all the same.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt as _, chown};
use stockade_tests::stage::Stage;
use stockade_tests::story::{Stop, Story, Told, must, same};

/// Something wrong, and what is said about it.
struct Case {
    name: &'static str,
    arrange: fn(&mut Stage) -> Told,
    options: &'static [&'static str],
    command: &'static [&'static str],
    code: i32,
    lines: &'static [&'static str],
}

const RAN: &[&str] = &["/bin/bash", "-c", "echo ran > ran; echo ran"];

fn nothing(_: &mut Stage) -> Told {
    Ok(())
}

fn mode(stage: &Stage, path: &str, bits: u32) -> Told {
    Ok(fs::set_permissions(stage.scene.path(path), Permissions::from_mode(bits))?)
}

/// Gives a path to somebody who is neither root nor whoever runs the test.
fn foreign(stage: &Stage, path: &str) -> Told {
    const NOBODY: u32 = 65_534;
    chown(stage.scene.path(path), Some(NOBODY), Some(NOBODY))
        .map_err(|_| Stop::Skip("only root can give files to somebody else".to_owned()))
}

/// A profile file's rules, in `{root}/own.toml`.
fn own(stage: &Stage, body: &str) -> Told {
    stage.profile("own", body).map(drop)
}

const PROFILES: &[Case] = &[
    Case {
        name: "an_unknown_profile",
        arrange: nothing,
        options: &["-p", "nosuch"],
        command: RAN,
        code: 125,
        lines: &[
            "error: there is no profile \"nosuch\"",
            "hint: built-in profiles are base, shell, git, rust-dev, node-dev, python-dev, review-only, ci, container, locked",
        ],
    },
    Case {
        name: "a_profile_file_that_is_not_there",
        arrange: nothing,
        options: &["-p", "{root}/nosuch.toml"],
        command: RAN,
        code: 125,
        lines: &["error: read the profile \"{root}/nosuch.toml\": no such file or directory"],
    },
    Case {
        name: "an_unknown_key",
        arrange: |stage| own(stage, "extends = [\"shell\"]\ncolour = \"red\"\n[limits]\nwalls_s = 3\n"),
        options: &["-p", "{root}/own.toml"],
        command: RAN,
        code: 125,
        lines: &[
            "error: profile \"{root}/own.toml\", line 4: unknown key \"colour\" in profile",
            "hint: known keys: profile, name, description, extends, guard, floor, durability, record, record_floor, backend, image, runtime, grant, ask, deny, protect, hold, limits, secret, tool",
            "error: profile \"{root}/own.toml\", line 6: unknown key \"walls_s\" in limits",
            "hint: did you mean \"wall_s\"?",
        ],
    },
    Case {
        name: "a_grant_without_a_reason",
        arrange: |stage| own(stage, "[[grant.read]]\npath = \"/etc\"\n"),
        options: &["-p", "{root}/own.toml"],
        command: RAN,
        code: 125,
        lines: &[
            "error: profile \"{root}/own.toml\", line 3: grant has no reason",
            "hint: add reason = \"why this tool needs it\"",
        ],
    },
    Case {
        name: "an_authority_that_is_not_there",
        arrange: |stage| {
            let grant =
                "[[grant.net]]\nhost = \"example.com\"\nports = [443]\ntrust = \"nosuch.pem\"\nreason = \"r\"\n";
            own(stage, &format!("extends = [\"shell\"]\n{grant}"))
        },
        options: &["-p", "{root}/own.toml"],
        command: RAN,
        code: 125,
        lines: &["error: open the authority that a rule trusts, \"{root}/nosuch.pem\": no such file or directory"],
    },
    Case {
        name: "an_address_that_is_none",
        arrange: |stage| {
            let grant = "[[grant.net]]\nhost = \"example.com\"\nports = [443]\nresolve = [\"a:x\"]\nreason = \"r\"\n";
            own(stage, &format!("extends = [\"shell\"]\n{grant}"))
        },
        options: &["-p", "{root}/own.toml"],
        command: RAN,
        code: 125,
        lines: &[
            "error: profile \"{root}/own.toml\", line 7: \"a:x\" is not an address with a port",
            "hint: write \"10.0.0.7:8443\" or \"[fd00::7]:8443\"",
        ],
    },
    Case {
        name: "a_secret_without_a_value",
        arrange: |stage| {
            own(
                stage,
                "extends = [\"shell\"]\n[[grant.net]]\nhost = \"example.com\"\nports = [443]\nsecret = \"k\"\nreason = \"r\"\n\
                    [[secret]]\nname = \"k\"\nenv = \"K\"\nshape = \"opaque\"\nplace = { header = \"a\", format = \"{}\" }\n\
                    hosts = [\"example.com\"]\nreason = \"r\"\n",
            )
        },
        options: &["-p", "{root}/own.toml"],
        command: RAN,
        code: 125,
        lines: &[
            "error: the profile uses the secret \"k\", and there is none",
            "hint: give it a value: stockade secret set k",
        ],
    },
    Case {
        name: "a_profile_that_others_can_write",
        arrange: |stage| own(stage, "extends = [\"shell\"]\n").and_then(|()| mode(stage, "{root}/own.toml", 0o646)),
        options: &["-p", "{root}/own.toml"],
        command: RAN,
        code: 125,
        lines: &["error: profile \"{root}/own.toml\" can be written by others", "hint: chmod go-w {root}/own.toml"],
    },
    Case {
        name: "a_profile_of_somebody_else",
        arrange: |stage| own(stage, "extends = [\"shell\"]\n").and_then(|()| foreign(stage, "{root}/own.toml")),
        options: &["-p", "{root}/own.toml"],
        command: RAN,
        code: 125,
        lines: &[
            "error: profile \"{root}/own.toml\" belongs to user 65534",
            "hint: copy it to a file of your own, and read it before you use it",
        ],
    },
    Case {
        name: "a_directory_as_a_profile",
        arrange: |stage| Ok(stage.scene.folder("{root}/own.toml")?),
        options: &["-p", "{root}/own.toml"],
        command: RAN,
        code: 125,
        lines: &["error: profile \"{root}/own.toml\" is not a regular file"],
    },
    Case {
        name: "a_profile_that_is_not_utf8",
        arrange: |stage| {
            fs::write(stage.scene.path("{root}/own.toml"), b"profile = 1\nname = \"\xff\"\n")?;
            chown(stage.scene.path("{root}/own.toml"), Some(stage.scene.person().uid()), None)?;
            Ok(())
        },
        options: &["-p", "{root}/own.toml"],
        command: RAN,
        code: 125,
        lines: &["error: profile \"{root}/own.toml\" is not UTF-8", "hint: save it as UTF-8"],
    },
    Case {
        name: "rules_of_the_project_that_widen",
        arrange: |stage| {
            let rules = "profile = 1\n[[grant.read]]\npath = \"/var\"\nreason = \"r\"\n";
            Ok(stage.scene.file("{ws}/stockade.toml", rules)?)
        },
        options: &[],
        command: RAN,
        code: 125,
        lines: &["error: profile \"stockade.toml\", line 2: ", "hint: "],
    },
    Case {
        name: "rules_of_the_project_that_are_a_link",
        arrange: |stage| {
            stage.scene.file("{hidden}/rules.toml", "profile = 1\n")?;
            Ok(stage.scene.link("{ws}/stockade.toml", "{hidden}/rules.toml")?)
        },
        options: &[],
        command: RAN,
        code: 125,
        lines: &["error: \"{ws}/stockade.toml\" is a symbolic link", "hint: put the file itself there, or remove it"],
    },
];

const PLACES: &[Case] = &[
    Case {
        name: "a_workspace_that_is_not_there",
        arrange: nothing,
        options: &["-w", "{root}/nosuch"],
        command: RAN,
        code: 125,
        lines: &[
            "error: workspace \"{root}/nosuch\": no such file or directory",
            "hint: name a directory that exists and that you may enter: --workspace DIR",
        ],
    },
    Case {
        name: "a_workspace_that_is_a_file",
        arrange: |stage| Ok(stage.scene.file("{root}/file", "")?),
        options: &["-w", "{root}/file"],
        command: RAN,
        code: 125,
        lines: &["error: workspace \"{root}/file\" is not a directory", "hint: name a directory: --workspace DIR"],
    },
    Case {
        name: "a_workspace_that_cannot_be_read",
        arrange: |stage| {
            if stage.scene.person().is_root() {
                return Err(Stop::Skip("root can read every directory".to_owned()));
            }
            stage.scene.folder("{root}/closed")?;
            mode(stage, "{root}/closed", 0o300)
        },
        options: &["-w", "{root}/closed"],
        command: RAN,
        code: 125,
        lines: &[
            "error: workspace \"{root}/closed\" cannot be read: permission denied",
            "hint: you need the right to read and enter it",
        ],
    },
    Case {
        name: "the_home_as_the_workspace",
        arrange: nothing,
        options: &["-w", "{home}"],
        command: RAN,
        code: 125,
        lines: &[
            "error: workspace \"{home}\" is your home directory",
            "hint: name the project's own directory: --workspace DIR",
        ],
    },
    Case {
        name: "a_state_that_is_a_relative_path",
        arrange: |stage| {
            stage.environment.push(("STOCKADE_STATE".into(), "relative".into()));
            Ok(())
        },
        options: &[],
        command: RAN,
        code: 125,
        lines: &[
            "error: state directory \"relative\" is not an absolute path",
            "hint: set STOCKADE_STATE to an absolute path",
        ],
    },
    Case {
        name: "a_state_that_others_can_write",
        arrange: |stage| mode(stage, "{state}", 0o777),
        options: &[],
        command: RAN,
        code: 125,
        lines: &["error: state directory \"{state}\" can be written by others", "hint: chmod go-w {state}"],
    },
    Case {
        name: "a_state_of_somebody_else",
        arrange: |stage| foreign(stage, "{state}").and_then(|()| mode(stage, "{state}", 0o755)),
        options: &[],
        command: RAN,
        code: 125,
        lines: &[
            "error: state directory \"{state}\" belongs to user 65534",
            "hint: set STOCKADE_STATE to a directory of your own",
        ],
    },
    Case {
        name: "logs_that_others_can_write",
        arrange: |stage| {
            stage.stockade(&["run", "-w", "{ws}", "--", "/bin/true"])?;
            mode(stage, "{state}/s", 0o777)
        },
        options: &[],
        command: RAN,
        code: 125,
        lines: &["error: state directory \"{state}/s\" can be written by others", "hint: chmod go-w {state}/s"],
    },
    Case {
        name: "a_ledger_that_others_can_write",
        arrange: |stage| {
            stage.stockade(&["run", "-w", "{ws}", "--", "/bin/true"])?;
            mode(stage, "{state}/ledger", 0o777)
        },
        options: &[],
        command: RAN,
        code: 125,
        lines: &[
            "error: log path \"{state}/ledger\" is writable by others",
            "hint: the log must lie in a directory that belongs to you and that only you can write: chmod 700",
        ],
    },
    Case {
        name: "a_report_in_a_place_that_is_not_there",
        arrange: nothing,
        options: &["--report", "{root}/nosuch/report"],
        command: RAN,
        code: 125,
        lines: &["error: write the report \"{root}/nosuch/report\": no such file or directory"],
    },
];

const COMMANDS: &[Case] = &[
    Case {
        name: "a_command_that_is_not_there",
        arrange: nothing,
        options: &[],
        command: &["nosuch"],
        code: 127,
        lines: &["stockade: cannot run \"nosuch\": no such file or directory"],
    },
    Case {
        name: "a_path_that_is_not_there",
        arrange: nothing,
        options: &[],
        command: &["./nosuch"],
        code: 127,
        lines: &["stockade: cannot run \"./nosuch\": no such file or directory"],
    },
    Case {
        name: "a_file_that_is_not_executable",
        arrange: |stage| Ok(stage.scene.file_with_mode("{ws}/plain", "#!/bin/sh\necho ran\n", 0o644)?),
        options: &[],
        command: &["./plain"],
        code: 126,
        lines: &["stockade: cannot run \"./plain\": permission denied"],
    },
    Case {
        name: "a_directory_as_a_command",
        arrange: nothing,
        options: &[],
        command: &["/usr"],
        code: 126,
        lines: &["stockade: cannot run \"/usr\": permission denied"],
    },
    Case {
        name: "a_script_whose_interpreter_is_not_there",
        arrange: |stage| Ok(stage.scene.file_with_mode("{ws}/script", "#!/nosuch\n", 0o755)?),
        options: &[],
        command: &["./script"],
        code: 127,
        lines: &["stockade: cannot run \"./script\": no such file or directory"],
    },
    Case {
        name: "a_setting_that_sets_nothing",
        arrange: nothing,
        options: &["--env", "A"],
        command: RAN,
        code: 125,
        lines: &["error: \"A\" sets no variable", "hint: write --env NAME=VALUE"],
    },
];

const WALLS: &[Case] = &[
    Case {
        name: "a_container_without_an_image",
        arrange: nothing,
        options: &["-p", "container"],
        command: RAN,
        code: 125,
        lines: &[
            "error: profile \"container.toml\", line 10: backend = \"container\" has no image",
            "hint: --image NAME, or image = \"…\" in a profile",
        ],
    },
    Case {
        name: "a_container_that_nobody_named_an_image_for",
        arrange: nothing,
        options: &["--backend", "container"],
        command: RAN,
        code: 125,
        lines: &["error: the container wall has no image", "hint: --image NAME, or image = \"…\" in a profile"],
    },
    Case {
        name: "an_image_that_is_no_name",
        arrange: nothing,
        options: &["--image", "Debian"],
        command: RAN,
        code: 125,
        lines: &[
            "error: name of the image \"Debian\" has an upper-case letter",
            "hint: names of images are in lower case; a tag may have upper case",
        ],
    },
    Case {
        name: "an_image_for_processes",
        arrange: nothing,
        options: &["--image", "debian:13", "--backend", "process"],
        command: RAN,
        code: 125,
        lines: &[
            "error: image belongs to the container wall, and the backend is \"process\"",
            "hint: choose the backend \"container\", or name no image",
        ],
    },
    Case {
        name: "an_engine_for_processes",
        arrange: nothing,
        options: &["--engine", "podman"],
        command: RAN,
        code: 125,
        lines: &[
            "error: --engine \"podman\" is for containers, and the backend is \"process\"",
            "hint: name an image: --image NAME, or a profile with backend = \"container\"",
        ],
    },
    Case {
        name: "an_image_that_a_project_chooses",
        arrange: |stage| {
            Ok(stage.scene.file("{ws}/stockade.toml", "profile = 1\nbackend = \"container\"\nimage = \"evil\"\n")?)
        },
        options: &[],
        command: RAN,
        code: 125,
        lines: &[
            "error: profile \"stockade.toml\", line 2: \"backend\" could widen the profile, a project cannot",
            "hint: choose the wall with stockade run --backend …",
            "error: profile \"stockade.toml\", line 3: \"image\" could widen the profile, a project cannot",
            "hint: choose the image with stockade run --image …",
        ],
    },
];

pub(crate) fn stories() -> Vec<Story> {
    let cases = [PROFILES, PLACES, COMMANDS, WALLS].into_iter().flatten();
    let cases = cases.map(|case| {
        let story = Story::new(format!("refused::{}_is_not_passed_over", case.name), move |stage| tell(stage, case));
        match case.options {
            ["--engine", ..] | ["-p", "container"] => story.not_in_a_container("it names its wall itself"),
            _ => story,
        }
    });
    let others = [Story::new("refused::the_whole_host_is_not_a_workspace", |stage| {
        let ended = stage.answers(125, &["run", "-w", "/", "--", "/bin/true"])?;
        let err = ended.err();
        must(err.lines().any(|line| line.ends_with("path \".\" is \"/\" here, the whole host")), || ended.told())?;
        formed(&err)
    })];
    cases.chain(others).collect()
}

fn tell(stage: &mut Stage, case: &Case) -> Told {
    (case.arrange)(stage)?;
    let workspace: &[&str] = if case.options.contains(&"-w") { &[] } else { &["-w", "{ws}"] };
    let ended = stage.stockade(&[&["run"], workspace, case.options, &["--"], case.command].concat());
    // What was closed is opened again, for the stage to be taken down.
    for (path, bits) in [("{state}", 0o700), ("{root}/closed", 0o700)] {
        drop(mode(stage, path, bits));
    }
    drop(chown(stage.scene.path("{state}"), Some(stage.scene.person().uid()), None));
    let ended = ended?;
    same("exit", ended.code(), case.code)?;
    let err = ended.err();
    let expected: Vec<String> = case.lines.iter().map(|line| stage.scene.fill(line)).collect();
    let lines: Vec<&str> = err.lines().collect();
    // A line that ends in a blank is the beginning of one.
    let equal = |(found, expected): (&&str, &String)| {
        if expected.ends_with(' ') { found.starts_with(expected.as_str()) } else { *found == expected }
    };
    let all = lines.len() == expected.len() && lines.iter().zip(&expected).all(equal);
    must(all, || format!("stderr\n   found {lines:#?}\nexpected {expected:#?}"))?;
    formed(&err)?;
    must(ended.out.is_empty(), || format!("it ran: {}", ended.told()))?;
    must(!stage.scene.path("{ws}/ran").exists(), || "it ran in the workspace".to_owned())
}

/// The form of every message: lower case, no full stop, a hint after its error.
fn formed(err: &str) -> Told {
    for line in err.lines() {
        let text = line.strip_prefix("error: ").or(line.strip_prefix("hint: ")).or(line.strip_prefix("stockade: "));
        let text = text.ok_or_else(|| format!("neither error nor hint: {line:?}"))?;
        must(!text.ends_with('.'), || format!("a full stop: {line:?}"))?;
        must(!text.contains("os error") && !text.contains("Os {"), || format!("a number for a reason: {line:?}"))?;
    }
    Ok(())
}
