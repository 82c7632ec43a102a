//! The wall where user namespaces are forbidden: Landlock and seccomp alone, with its lower grade.
//! It never changes the machine: the tests start inside a user namespace whose own limit is 0.

use stockade_tests::process::Ended;
use stockade_tests::stage::Stage;
use stockade_tests::story::{Stop, Story, Told, must, same};

/// What the weaker wall must stop: name and text; it prints REACHED when it was not stopped.
const STOPPED: &[(&str, &str)] = &[
    ("the_home_is_not_read", "cat '{home}/secret' && echo REACHED"),
    ("the_home_is_not_listed", "ls '{home}' && echo REACHED"),
    ("the_home_is_not_written", "echo x > '{home}/new' && echo REACHED"),
    ("what_no_profile_names_is_not_read", "cat '{hidden}/secret' && echo REACHED"),
    ("what_no_profile_names_is_not_written", "echo x > '{hidden}/new' && echo REACHED"),
    ("the_workspace_itself_is_not_written", "echo x > '{ws}/new' && echo REACHED"),
    ("the_state_is_not_read", "ls '{state}/s' && echo REACHED; ls '{state}/keys' && echo REACHED"),
    ("the_shared_tmp_is_not_written", "echo x > /tmp/stockade-test-new && echo REACHED"),
    ("tcp_is_not_connected", "exec 3<>/dev/tcp/127.0.0.1/{port} && echo REACHED"),
    ("udp_is_not_sent", "echo x > /dev/udp/127.0.0.1/53 && echo REACHED"),
    ("namespaces_are_not_made", "unshare -U true && echo REACHED; unshare -Ur true && echo REACHED"),
    ("strangers_are_not_signalled", "kill -0 {stranger} && echo REACHED"),
    ("strangers_are_not_looked_into", "cat /proc/{stranger}/environ && echo REACHED"),
];

pub(crate) fn stories() -> Vec<Story> {
    let stopped =
        STOPPED.iter().map(|(name, text)| Story::new(format!("fallback::{name}"), move |stage| attack(stage, text)));
    let others = [
        Story::new("fallback::the_weaker_wall_is_not_passed_off_as_the_full_one", graded),
        Story::new("fallback::the_weaker_wall_is_not_used_below_the_floor", floor),
        Story::new("fallback::a_weaker_recorder_is_not_passed_off_as_a_better_one", recorder),
        Story::new("fallback::the_weaker_wall_does_not_hinder_work", work),
        Story::new("fallback::children_do_not_survive_the_weaker_wall", |stage| {
            let ended =
                weak(stage, &["run", "-q", "-w", "{ws}", "--", "/bin/bash", "-c", "setsid sleep 1000 & echo out"])?;
            must(ended.code() == 0 && ended.out() == "out\n", || ended.told())
        }),
        Story::new("fallback::limits_are_not_forgotten_on_the_weaker_wall", |stage| {
            let profile = stage.profile("limited", "extends = [\"shell\"]\n[limits]\nwall_s = 1\n")?;
            let ended = weak(stage, &["run", "-q", "-p", &profile, "-w", "{ws}", "--", "/bin/sleep", "1000"])?;
            must(ended.code() == 124 && ended.err().starts_with("stockade: limit wall: "), || ended.told())
        }),
        Story::new("fallback::doctor_does_not_call_the_machine_whole", doctor),
    ];
    stopped.chain(others).collect()
}

fn weak(stage: &Stage, words: &[&str]) -> Result<Ended, Stop> {
    stage.without_user_namespaces(words)
}

fn attack(stage: &mut Stage, text: &str) -> Told {
    stage.scene.file("{home}/secret", "secret")?;
    stage.scene.file("{hidden}/secret", "secret")?;
    let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
    stage.scene.name("port", &listener.local_addr()?.port().to_string());
    let mut stranger = stage.program(&["/bin/sleep", "1000"]).start()?;
    stage.scene.name("stranger", &stranger.id().to_string());
    let told = attempt(stage, text);
    stranger.kill()?;
    stranger.wait()?;
    told
}

fn attempt(stage: &Stage, text: &str) -> Told {
    let text = stage.scene.fill(text);
    // The state is there before it is looked for.
    weak(stage, &["run", "-q", "-w", "{ws}", "--", "/bin/true"])?;
    let control = stage.plain(&["/bin/bash", "-c", &text])?;
    must(control.out().contains("REACHED"), || format!("the control does not reach it: {}", control.told()))?;
    for path in ["{home}/new", "{hidden}/new", "{ws}/new", "/tmp/stockade-test-new"] {
        // Only one of them was made.
        drop(std::fs::remove_file(stage.scene.path(path)));
    }
    let ended = weak(stage, &["run", "-q", "-w", "{ws}", "--", "/bin/bash", "-c", &format!("{text}; echo tried")])?;
    must(ended.code() == 0 && ended.out().contains("tried"), || format!("never tried: {}", ended.told()))?;
    must(!ended.out().contains("REACHED"), || format!("ESCAPED: {}", ended.told()))?;
    let new = ["{home}/new", "{hidden}/new", "{ws}/new", "/tmp/stockade-test-new"];
    must(new.iter().all(|path| !stage.scene.path(path).exists()), || "ESCAPED: a file was written".to_owned())
}

fn graded(stage: &mut Stage) -> Told {
    let report = ["--report", "{root}/report.json"];
    let ended = weak(stage, &[&["run", "-w", "{ws}"], &report[..], &["--", "/bin/true"]].concat())?;
    same("exit", ended.code(), 0)?;
    let enforced = stage.report()?.printed("enforced");
    must(enforced.contains("\"grade\":\"partial\""), || enforced.clone())?;
    must(enforced.contains("\"user-namespace\""), || enforced.clone())?;
    let first = stage.answers(0, &["log", "show", "last", "0", "--json"])?;
    must(first.out().contains("\"grade\":\"partial\""), || first.told())?;
    stage.answers(0, &["verify", "last"]).map(drop)
}

fn floor(stage: &mut Stage) -> Told {
    let profile = stage.profile("floor", "extends = [\"shell\"]\nfloor = \"full\"\n")?;
    let ended = weak(stage, &["run", "-p", &profile, "-w", "{ws}", "--", "/bin/bash", "-c", "echo RAN"])?;
    same("exit", ended.code(), 125)?;
    let err = ended.err();
    let lines: Vec<&str> = err.lines().collect();
    let [error, hint] = lines[..] else { return must(false, || ended.told()) };
    must(error.starts_with("error: ") && error.ends_with("profile \"floor\" has floor = \"full\""), || ended.told())?;
    must(hint.starts_with("hint: ") && hint.contains("floor = \"partial\""), || ended.told())?;
    must(ended.out.is_empty(), || format!("it ran: {}", ended.told()))
}

/// Without namespaces nothing is opened on behalf of a guest.
fn recorder(stage: &mut Stage) -> Told {
    let profile = stage.profile("witness", "extends = [\"shell\"]\nrecord_floor = \"performed\"\n")?;
    let run = ["run", "-p", &profile, "-w", "{ws}", "--", "/bin/bash", "-c", "echo RAN"];
    // The control: where there are namespaces, the same is done.
    let strong = stage.answers(0, &run)?;
    must(strong.out() == "RAN\n", || strong.told())?;
    let ended = weak(stage, &run)?;
    same("exit", ended.code(), 125)?;
    let err = ended.err();
    let lines: Vec<&str> = err.lines().collect();
    let [error, hint] = lines[..] else { return must(false, || ended.told()) };
    let said = "error: records would be \"observed\", and profile \"witness\" has record_floor = \"performed\": ";
    must(error.starts_with(said) && error.len() > said.len(), || ended.told())?;
    must(hint.ends_with("or accept less with record_floor = \"observed\""), || ended.told())?;
    must(ended.out.is_empty(), || format!("it ran: {}", ended.told()))
}

fn work(stage: &mut Stage) -> Told {
    stage.scene.file("{ws}/a", "one\n")?;
    let text = "echo two >> a; mkdir d; echo n > d/n; t=$(mktemp); echo t > $t; cat $t a; echo ~ | wc -l; \
        seq 3 | sort -r | head -1; echo h > ~/h && cat ~/h; exit 3";
    let ended = weak(stage, &["run", "-q", "-w", "{ws}", "--", "/bin/bash", "-c", text])?;
    must(ended.code() == 3 && ended.out() == "t\none\ntwo\n1\n3\nh\n", || ended.told())?;
    same("the workspace before", stage.text("{ws}/a").as_str(), "one\n")?;
    stage.answers(0, &["apply", "last"])?;
    same("the workspace after", stage.text("{ws}/a") + &stage.text("{ws}/d/n"), "one\ntwo\nn\n".to_owned())
}

fn doctor(stage: &mut Stage) -> Told {
    let ended = weak(stage, &["doctor"])?;
    let out = ended.out();
    must(ended.code() == 1, || ended.told())?;
    must(out.contains("mend it: sudo sysctl -w user.max_user_namespaces="), || out.clone())?;
    must(out.contains("\ngrade of a session here: partial\n"), || out.clone())?;
    let json = weak(stage, &["doctor", "--json"])?;
    let value: serde_json::Value = serde_json::from_str(&json.out()).map_err(|e| format!("{e}: {}", json.told()))?;
    same("grade", value.get("grade").cloned(), Some("partial".into()))
}
