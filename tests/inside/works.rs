//! What works in a container: calls in any image, the workspace in every mode, terminals, tools, and a log that says where.
//! It never looks at the engine: streams, exit codes, files and the log are what a caller sees.

use crate::{Engine, image, run, with_each};
use serde_json::Value;
use stockade_tests::stage::Stage;
use stockade_tests::story::{Stop, Story, Told, must, same};

/// A profile that lets the one program of an image without a system run.
const ONE_PROGRAM: &str = "[[grant.read]]\npath = \".\"\nreason = \"the work\"\n\
[[grant.exec]]\npath = \"/sleep\"\nreason = \"the one program\"\n[[grant.read]]\npath = \"/sleep\"\nreason = \"the one program\"\n";

pub(crate) fn stories() -> Vec<Story> {
    vec![
        with_each("an_image_with_glibc_does_not_lack_anything", |stage, engine| {
            let ended =
                run(stage, engine, "debian", &["-p", "container"], &["/bin/sh", "-c", "git --version; id -un"])?;
            must(ended.code() == 0 && ended.out().starts_with("git version "), || ended.told())?;
            intact(stage, engine)
        }),
        with_each("an_image_without_usr_is_not_refused", |stage, engine| {
            let ended = run(stage, engine, "busybox", &["-p", "container"], &["/bin/sh", "-c", "echo $PATH; pwd"])?;
            same("out", ended.out(), stage.scene.fill("/bin\n{ws}\n"))?;
            intact(stage, engine)
        }),
        with_each("an_image_without_a_shell_is_not_refused", |stage, engine| {
            let ended = run(stage, engine, "distroless", &["-p", "container"], &["/usr/bin/sleep", "--version"])?;
            must(ended.code() == 0 && ended.out().starts_with("sleep (GNU"), || ended.told())?;
            intact(stage, engine)
        }),
        with_each("an_image_of_one_program_is_not_refused", |stage, engine| {
            let body = format!("floor = \"{}\"\n{ONE_PROGRAM}", engine.grade());
            let profile = stage.profile("one", &body)?;
            let ended = run(stage, engine, "scratch", &["-p", &profile], &["/sleep", "0"])?;
            must(ended.code() == 0, || ended.told())?;
            intact(stage, engine)
        }),
        with_each("exit_codes_and_streams_are_not_changed", |stage, engine| {
            let ended = run(
                stage,
                engine,
                "busybox",
                &["-p", "container"],
                &["/bin/sh", "-c", "echo out; echo err >&2; exit 42"],
            )?;
            same("code", ended.code(), 42)?;
            same("out and err", (ended.out().as_str(), ended.err().as_str()), ("out\n", "err\n"))
        }),
        with_each("a_terminal_is_not_missing", |stage, engine| {
            let ended =
                run(stage, engine, "busybox", &["-p", "container", "--tty"], &["/bin/sh", "-c", "test -t 0 && tty"])?;
            must(ended.code() == 0 && ended.out().contains("/dev/pts/0"), || ended.told())
        }),
        with_each("a_terminal_does_not_lose_what_is_printed_last", |stage, engine| {
            let script = "seq 1 20000; exit 3";
            let ended = run(stage, engine, "busybox", &["-p", "container", "--tty"], &["/bin/sh", "-c", script])?;
            must(ended.code() == 3 && ended.out().ends_with("19999\r\n20000\r\n"), || ended.told())
        }),
        with_each("review_does_not_touch_the_workspace_before_it_is_applied", review),
        with_each("a_workspace_that_is_used_directly_does_not_change_hands", direct),
        with_each("tools_do_not_see_other_files_than_commands", tools),
        with_each("what_may_be_read_is_not_emptied", emptied),
        with_each("the_hosts_system_is_not_seen", |stage, engine| {
            let script = "cat /etc/hostname; test -e /usr/bin/python3.11 && echo python; ls /home 2>/dev/null | grep -c . ; true";
            let ended = run(stage, engine, "busybox", &["-p", "container"], &["/bin/sh", "-c", script])?;
            must(ended.out().starts_with("stockade\n") && !ended.out().contains("python"), || ended.told())
        }),
        with_each("a_workspace_below_the_home_is_not_refused", below_home),
        with_each("the_log_does_not_keep_back_which_container_it_was", told),
        with_each("a_profile_does_not_need_a_word_on_the_command_line", |stage, engine| {
            let body = format!("extends = [\"container\"]\nimage = \"{}\"\n", image("busybox"));
            let profile = stage.profile("imaged", &body)?;
            let ended = stage.run(&[&["-q", "-p", &profile][..], &engine.words()].concat(), &["/bin/true"])?;
            must(ended.code() == 0, || ended.told())
        }),
    ]
}

/// The last session's log verifies, and its enforcement is as whole as it can be there.
fn intact(stage: &Stage, engine: &Engine) -> Told {
    stage.answers(0, &["verify", "last"])?;
    let report = stage.text("{root}/report.json");
    let report: Value = serde_json::from_str(&report).map_err(|e| format!("{report}: {e}"))?;
    same("grade", report["enforced"]["grade"].as_str().unwrap_or("none"), engine.grade())
}

fn review(stage: &mut Stage, engine: &Engine) -> Told {
    stage.scene.file("{ws}/kept", "before\n")?;
    let script = "echo after > kept; mkdir d; echo new > d/new; rm -f gone";
    stage.scene.file("{ws}/gone", "x\n")?;
    let ended = run(stage, engine, "busybox", &["-p", "container"], &["/bin/sh", "-c", script])?;
    must(ended.code() == 0, || ended.told())?;
    same("before it is applied", stage.text("{ws}/kept"), "before\n".to_owned())?;
    let shown = stage.answers(0, &["diff", "last"])?.out();
    must(shown.contains("+after") && shown.contains("d/new"), || shown.clone())?;
    stage.answers(0, &["apply", "last"])?;
    same("applied", stage.text("{ws}/kept") + &stage.text("{ws}/d/new"), "after\nnew\n".to_owned())?;
    must(!stage.exists("{ws}/gone"), || "a removed file is there".to_owned())?;
    stage.answers(0, &["undo", "last"])?;
    same("taken back", stage.text("{ws}/kept"), "before\n".to_owned())?;
    intact(stage, engine)
}

fn direct(stage: &mut Stage, engine: &Engine) -> Told {
    use std::os::unix::fs::MetadataExt as _;
    let more = ["-p", "container", "--mode", "direct"];
    let ended = run(stage, engine, "busybox", &more, &["/bin/sh", "-c", "echo x > made; id -u"])?;
    if engine.is_gvisor() && stage.scene.person().is_root() {
        // Told before anything runs: gVisor makes files as root, and gives them to whom a mapping does not know.
        return must(ended.code() == 125 && ended.err().contains("--mode review"), || ended.told());
    }
    must(ended.code() == 0, || ended.told())?;
    let owner = |path: &str| std::fs::metadata(stage.scene.path(path)).map(|file| (file.uid(), file.gid()));
    same("owner", owner("{ws}/made")?, owner("{ws}")?)?;
    must(ended.out() != "0\n", || "it ran as root".to_owned())?;
    intact(stage, engine)
}

/// gVisor empties a file of the host that is opened so, before it asks its mount.
fn emptied(stage: &mut Stage, engine: &Engine) -> Told {
    // What is below the home is the host's, and not the image's.
    stage.environment.push(("HOME".into(), stage.scene.path("{root}").into()));
    // The first engine's story makes them.
    for folder in ["{root}/kept", "{root}/kept/in", "{ws}/.git"] {
        if !stage.exists(folder) {
            stage.scene.folder(folder)?;
        }
    }
    let files = ["{root}/kept/in/a", "{root}/alone", "{ws}/.git/config"];
    for file in files {
        stage.scene.file(file, "kept\n")?;
    }
    let body = stage.scene.fill(&format!(
        "extends = [\"container\"]\nimage = \"{}\"\n\
         [[grant.read]]\npath = \"{{root}}/kept\"\nreason = \"a directory\"\n\
         [[grant.read]]\npath = \"{{root}}/alone\"\nreason = \"a file\"\n",
        image("debian")
    ));
    let profile = stage.profile("reader", &body)?;
    let script = "import os, sys
for path in sys.argv[1:]:
    assert open(path).read() == 'kept\\n', path
    for how in (os.O_WRONLY | os.O_TRUNC, os.O_RDONLY | os.O_TRUNC, os.O_RDWR, os.O_WRONLY | os.O_CREAT | os.O_TRUNC):
        try: os.close(os.open(path, how)); print('opened', path, how)
        except OSError: pass
    try: os.truncate(path, 0); print('truncated', path)
    except OSError: pass
    assert open(path).read() == 'kept\\n', path
print('done')";
    let paths = files.map(|file| stage.scene.fill(file));
    let command = ["/usr/bin/python3", "-c", script, &paths[0], &paths[1], &paths[2]];
    let ended = run(stage, engine, "debian", &["-p", &profile], &command)?;
    same("what was said", ended.out(), "done\n".to_owned()).map_err(|_| Stop::Fail(ended.told()))?;
    for file in files {
        same(file, stage.text(file), "kept\n".to_owned())?;
    }
    same("changes", stage.answers(0, &["diff", "last"])?.out(), String::new())?;
    intact(stage, engine)
}

/// The usual place for both, workspace and state.
fn below_home(stage: &mut Stage, engine: &Engine) -> Told {
    stage.environment.push(("HOME".into(), stage.scene.path("{root}").into()));
    let script = "echo x > made && ls -A $HOME && cd && pwd";
    let ended = run(stage, engine, "busybox", &["-p", "container"], &["/bin/sh", "-c", script])?;
    must(ended.code() == 0 && ended.out().ends_with(&stage.scene.fill("{root}\n")), || ended.told())?;
    intact(stage, engine)
}

fn tools(stage: &mut Stage, engine: &Engine) -> Told {
    // Longer than a datagram, which a channel to a worker carries.
    let long = "x".repeat(200_000);
    let long = format!(r#"{{"id":4,"call":{{"tool":"write","args":{{"file_path":"long","content":"{long}"}}}}}}"#);
    let calls = [
        r#"{"id":1,"call":{"tool":"write","args":{"file_path":"by-tool","content":"from the tool\n"}}}"#,
        r#"{"id":2,"call":{"tool":"bash","command":{"argv":["/bin/sh","-c","cat by-tool; echo from the command > by-command"]}}}"#,
        r#"{"id":3,"call":{"tool":"read","args":{"file_path":"by-command"}}}"#,
        &long,
        r#"{"id":5,"call":{"tool":"bash","command":{"argv":["/bin/sh","-c","echo there are $(wc -c < long)"]}}}"#,
    ];
    let image = image("busybox");
    let words = ["{bin}/stockade", "session", "-p", "container", "--image", &image, "-w", "{ws}"];
    let mut program = stage.program(&[&words[..], &engine.words()].concat());
    program.input = (calls.join("\n") + "\n").into_bytes();
    let ended = stage.go(&program)?;
    let out = ended.out();
    must(ended.code() == 0 && out.contains("from the tool") && out.contains("from the command"), || ended.told())?;
    must(out.contains("there are 200000"), || ended.told())?;
    stage.answers(0, &["verify", "last"]).map(drop)
}

fn told(stage: &mut Stage, engine: &Engine) -> Told {
    let ended = run(stage, engine, "busybox", &["-p", "container"], &["/bin/true"])?;
    must(ended.code() == 0, || ended.told())?;
    let log = stage.answers(0, &["log", "show", "last", "--json"])?.out();
    let first: Value = serde_json::from_str(log.lines().next().unwrap_or_default()).map_err(|e| e.to_string())?;
    let (open, container) = (&first["o"], &first["o"]["container"]);
    same("wall", open["wall"].as_str().unwrap_or_default(), "container")?;
    same("image", container["image"].as_str().unwrap_or_default(), image("busybox").as_str())?;
    let id = container["image_id"].as_str().unwrap_or_default();
    must(id.len() == 64, || container.to_string())?;
    must(engine.name.contains(container["engine"].as_str().unwrap_or("?")), || container.to_string())?;
    must(engine.runtime.is_none_or(|runtime| container["runtime"] == runtime), || container.to_string())?;
    let layers = open["layers"].as_array().cloned().unwrap_or_default();
    let around: Vec<&Value> = layers.iter().filter(|layer| layer["name"] == "container").collect();
    must(around.len() == 1 && around[0]["state"] == "active", || format!("{around:?}"))?;
    let kernels = layers.iter().filter(|layer| layer["name"] == "gvisor" && layer["state"] == "active").count();
    same("kernels of its own", kernels, usize::from(engine.is_gvisor()))?;
    let words = ["explain", "-p", "container", "--image", &image("busybox")];
    let plan = stage.answers(0, &[&words[..], &engine.words(), &["--", "/bin/true"]].concat())?;
    must(plan.out().contains(&format!("a container of sha256:{id}")), || plan.told())
}
