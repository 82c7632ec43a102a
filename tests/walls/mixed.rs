//! Commands and tools in one session, each meeting what the other left.
//! It never lets a tool hang on what a command planted.

use crate::world::{Act, SIGN, Verdict, session, verdict, words};
use serde_json::Value;
use stockade_tests::stage::Stage;
use stockade_tests::story::{Stop, Story, Told, must, same};

/// What a command leaves, what a tool then does, and what its answer must hold and must not.
struct Meeting {
    name: &'static str,
    plants: &'static str,
    tool: &'static str,
    args: &'static str,
    verdict: Verdict,
    holds: &'static str,
    /// The same without a wall, after the same was planted: it shows [`SIGN`]. Empty where nothing outside is aimed at.
    control: &'static str,
}

const fn meeting(
    name: &'static str,
    plants: &'static str,
    (tool, args): (&'static str, &'static str),
    verdict: Verdict,
    holds: &'static str,
) -> Meeting {
    Meeting { name, plants, tool, args, verdict, holds, control: "" }
}

impl Meeting {
    const fn where_without_a_wall(mut self, control: &'static str) -> Self {
        self.control = control;
        self
    }
}

const MEETINGS: &[Meeting] = &[
    meeting(
        "a_file_of_a_command_is_read",
        "echo made > made",
        ("read", r#"{"file_path":"made"}"#),
        Verdict::Allowed,
        "made",
    ),
    meeting(
        "a_planted_link_does_not_read_outside",
        "ln -s {root}/outside/secret l",
        ("read", r#"{"file_path":"l"}"#),
        Verdict::Refused,
        "",
    )
    .where_without_a_wall("cat l"),
    meeting(
        "a_planted_relative_link_does_not_read_outside",
        "ln -s ../outside/secret l",
        ("read", r#"{"file_path":"l"}"#),
        Verdict::Refused,
        "",
    )
    .where_without_a_wall("cat l"),
    meeting(
        "a_planted_directory_does_not_read_outside",
        "ln -s .. up",
        ("read", r#"{"file_path":"up/outside/secret"}"#),
        Verdict::Refused,
        "",
    )
    .where_without_a_wall("cat up/outside/secret"),
    meeting(
        "a_chain_of_links_does_not_read_outside",
        "ln -s b a; ln -s c b; ln -s ../outside c",
        ("read", r#"{"file_path":"a/secret"}"#),
        Verdict::Refused,
        "",
    )
    .where_without_a_wall("cat a/secret"),
    meeting(
        "a_link_to_the_root_does_not_read_outside",
        "ln -s / r",
        ("read", r#"{"file_path":"r{root}/outside/secret"}"#),
        Verdict::Refused,
        "",
    )
    .where_without_a_wall("cat r{root}/outside/secret"),
    meeting(
        "a_link_into_proc_does_not_read_outside",
        "ln -s /proc/self/root r",
        ("read", r#"{"file_path":"r{root}/outside/secret"}"#),
        Verdict::Refused,
        "",
    )
    .where_without_a_wall("cat r{root}/outside/secret"),
    meeting(
        "searching_does_not_follow_a_planted_link",
        "ln -s ../outside o",
        ("grep", r#"{"pattern":"sign-of"}"#),
        Verdict::Allowed,
        "",
    )
    .where_without_a_wall("grep -R sign-of ."),
    meeting(
        "globbing_does_not_follow_a_planted_link",
        "ln -s ../outside o",
        ("glob", r#"{"pattern":"**/sign-of*"}"#),
        Verdict::Allowed,
        "",
    )
    .where_without_a_wall("find -L . -name 'sign-of*'"),
    meeting(
        "a_planted_pipe_does_not_hang_a_reader",
        "mkfifo p",
        ("read", r#"{"file_path":"p"}"#),
        Verdict::Refused,
        "p",
    ),
    meeting(
        "a_planted_pipe_does_not_hang_a_search",
        "mkfifo p; echo needle > f",
        ("grep", r#"{"pattern":"needle"}"#),
        Verdict::Allowed,
        "f",
    ),
    meeting(
        "an_odd_name_does_not_break_a_listing",
        "touch $'a\\nb' $'\\xff\\xfe' ./-rf ' '",
        ("list", r#"{"path":"."}"#),
        Verdict::Allowed,
        "-rf",
    ),
    meeting(
        "a_deep_tree_does_not_break_a_glob",
        "d=.; for i in $(seq 200); do d=$d/d; done; mkdir -p $d; touch $d/deep",
        ("glob", r#"{"pattern":"**/deep"}"#),
        Verdict::Allowed,
        "deep",
    ),
    meeting(
        "a_loop_of_links_does_not_hang_a_glob",
        "mkdir x; ln -s .. x/up; ln -s x y",
        ("glob", r#"{"pattern":"**/file"}"#),
        Verdict::Allowed,
        "file",
    ),
    meeting(
        "a_file_that_nobody_may_read_is_told",
        "echo x > n; chmod 000 n",
        ("read", r#"{"file_path":"n"}"#),
        Verdict::Refused,
        "n",
    ),
    meeting(
        "a_huge_sparse_file_does_not_fill_the_memory",
        "truncate -s 1G big",
        ("read", r#"{"file_path":"big"}"#),
        Verdict::Refused,
        "big",
    ),
    meeting("a_directory_is_no_file", "mkdir dir", ("read", r#"{"file_path":"dir"}"#), Verdict::Refused, "dir"),
];

pub(crate) fn stories() -> Vec<Story> {
    let meetings = MEETINGS
        .iter()
        .map(|meeting| Story::new(format!("mixed::{}", meeting.name), move |stage| meet(stage, meeting)));
    let others = [
        Story::new("mixed::an_edit_is_seen_by_the_next_command", an_edit),
        Story::new("mixed::a_mode_survives_an_edit", a_mode),
        Story::new("mixed::a_tool_sees_no_other_system_than_a_command", same_system),
        Story::new("mixed::what_a_tool_changed_is_explained_by_its_own_records", explained),
    ];
    meetings.chain(others).collect()
}

fn scene(stage: &Stage) -> Told {
    stage.scene.folder("{root}/outside")?;
    stage.scene.file("{root}/outside/secret", SIGN)?;
    stage.scene.file(&format!("{{root}}/outside/{SIGN}"), "")?;
    Ok(stage.scene.file("{ws}/file", "one\ntwo\nthree\n")?)
}

fn answers(stage: &Stage, acts: &[Act]) -> Result<Vec<Value>, Stop> {
    let answers = session(stage, &["--profile", "shell"], acts)?;
    stage.answers(0, &["verify", "last"])?;
    Ok(answers)
}

fn meet(stage: &mut Stage, meeting: &Meeting) -> Told {
    scene(stage)?;
    control(stage, meeting)?;
    let args = stage.scene.fill(meeting.args);
    let acts = [Act::command(&stage.scene.fill(meeting.plants)), Act::tool(meeting.tool, &args), Act::command("true")];
    let answers = answers(stage, &acts)?;
    let [planted, told, after] = &answers[..] else { return must(false, || "three acts".to_owned()) };
    same("planted", verdict(planted), Verdict::Allowed)?;
    let said = words(told);
    must(verdict(told) == meeting.verdict && said.contains(meeting.holds), || said.clone())?;
    must(!said.contains(SIGN), || format!("it shows what lies outside: {said}"))?;
    same("the session goes on", verdict(after), Verdict::Allowed)
}

/// What is planted leads outside where no wall is.
fn control(stage: &Stage, meeting: &Meeting) -> Told {
    if meeting.control.is_empty() {
        return Ok(());
    }
    let script =
        format!("mkdir {{root}}/beside && cd {{root}}/beside || exit; {}; {}", meeting.plants, meeting.control);
    let ended = stage.plain(&["/bin/bash", "-c", &stage.scene.fill(&script)])?;
    must(ended.out().contains(SIGN), || format!("the control does nothing: {}", ended.told()))
}

fn an_edit(stage: &mut Stage) -> Told {
    scene(stage)?;
    let edit = r#"{"file_path":"file","edits":[{"old_string":"two","new_string":"2"}]}"#;
    let acts = [
        Act::tool("edit", edit),
        Act::command("cat file; echo four >> file"),
        Act::tool("read", r#"{"file_path":"file"}"#),
    ];
    let answers = answers(stage, &acts)?;
    let [edited, seen, read] = &answers[..] else { return must(false, || "three acts".to_owned()) };
    same("edited", verdict(edited), Verdict::Allowed)?;
    must(words(seen).contains("one\\n2\\nthree"), || words(seen))?;
    must(words(read).contains("four"), || words(read))?;
    same("the host's file", stage.text("{ws}/file").as_str(), "one\ntwo\nthree\n")?;
    let diff = stage.answers(0, &["diff", "last"])?;
    must(diff.out().contains("-two\n+2\n"), || diff.told())
}

/// In a container both see the image's: what the host alone has there is in neither answer.
fn same_system(stage: &mut Stage) -> Told {
    const PLACE: &str = "/usr/share";
    let list = Act::tool("list", &serde_json::json!({ "path": PLACE }).to_string());
    let answers = answers(stage, &[Act::command(&format!("ls {PLACE}")), list])?;
    let [command, tool] = &answers[..] else { return must(false, || "two acts".to_owned()) };
    let names: Vec<&str> = command.get("stdout").and_then(Value::as_str).unwrap_or_default().lines().collect();
    let told = tool.pointer("/reply/text").and_then(Value::as_str).unwrap_or_default();
    must(names.len() > 5, || words(command))?;
    let listed: Vec<&str> = told.lines().filter_map(|line| line.split([' ', '/', '@']).next()).collect();
    let has = |name: &str| listed.contains(&name);
    // What a project does not mean by its files the tool lists nowhere.
    let missing: Vec<&&str> = names.iter().filter(|name| **name != "node_modules" && !has(name)).collect();
    must(missing.is_empty(), || format!("the tool does not see {missing:?}\n{told}"))?;
    let hosts: Vec<String> =
        std::fs::read_dir(PLACE)?.flatten().filter_map(|entry| entry.file_name().into_string().ok()).collect();
    let more: Vec<&String> = hosts.iter().filter(|name| !names.contains(&name.as_str()) && has(name)).collect();
    must(more.is_empty(), || format!("the tool sees the host's {more:?}\n{told}"))
}

fn a_mode(stage: &mut Stage) -> Told {
    scene(stage)?;
    stage.scene.file_with_mode("{ws}/tool.sh", "#!/bin/sh\necho one\n", 0o755)?;
    let edit = r#"{"file_path":"tool.sh","edits":[{"old_string":"one","new_string":"two"}]}"#;
    let answers = answers(stage, &[Act::tool("edit", edit), Act::command("./tool.sh; stat -c %a tool.sh")])?;
    let said = answers.last().map(words).unwrap_or_default();
    must(said.contains("two\\n755"), || said)
}

fn explained(stage: &mut Stage) -> Told {
    scene(stage)?;
    let write = r#"{"file_path":"by-a-tool","content":"x\n"}"#;
    answers(stage, &[Act::tool("write", write), Act::tool("read", r#"{"file_path":"file"}"#)])?;
    let why = stage.answers(0, &["log", "why", "last", "by-a-tool"])?;
    must(why.out().contains("write"), || why.told())?;
    let shown = stage.answers(0, &["log", "show", "last"])?;
    let out = shown.out();
    let lines = |kind: &str| out.lines().filter(|line| line.contains(&format!(" {kind} "))).count();
    must(lines("tool.start") == 2 && lines("tool.end") == 2, || shown.told())
}
