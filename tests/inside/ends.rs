//! How containers end: with their sessions, with whoever supervises them, and by whoever cleans up.
//! It never leaves one: each story asks the engine afterwards.

use crate::{Engine, image, run, with_each};
use std::time::{Duration, Instant};
use stockade_tests::people::Person;
use stockade_tests::process::Program;
use stockade_tests::stage::Stage;
use stockade_tests::story::{Stop, Story, Told, must};

/// Longest time for an engine to notice; a bound against hanging, not a measurement.
const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) fn stories() -> Vec<Story> {
    vec![
        with_each("a_container_does_not_outlive_its_session", |stage, engine| {
            let ended = run(stage, engine, "busybox", &["-p", "container"], &["/bin/sh", "-c", "sleep 1000 & true"])?;
            must(ended.code() == 0, || ended.told())?;
            none_left(stage, engine)
        }),
        with_each("a_container_does_not_outlive_its_supervisor", |stage, engine| {
            let (mut child, _) = sleeping(stage, engine)?;
            child.kill()?;
            child.wait()?;
            none_left(stage, engine)
        }),
        with_each("a_container_that_is_killed_does_not_leave_its_call_open", |stage, engine| {
            let (child, id) = sleeping(stage, engine)?;
            ask(engine, "POST", &format!("/containers/{id}/kill"))?;
            let ended = child.wait_with_output()?;
            let err = String::from_utf8_lossy(&ended.stderr);
            must(ended.status.code() == Some(125) && err.contains("init of the sandbox"), || err.to_string())?;
            let log = stage.answers(0, &["log", "show", "last"])?.out();
            must(log.contains("session.close"), || log.clone())?;
            none_left(stage, engine)
        }),
        with_each("gc_does_not_leave_what_an_engine_forgot", gc),
    ]
}

/// A session whose call sleeps, and the engine's name for its container.
fn sleeping(stage: &Stage, engine: &Engine) -> Result<(std::process::Child, String), Stop> {
    let image = image("busybox");
    let words = ["{bin}/stockade", "run", "-q", "-w", "{ws}", "-p", "container", "--image", &image];
    let child = stage.program(&[&words[..], &engine.words(), &["--", "/bin/sleep", "1000"]].concat()).start()?;
    let until = Instant::now() + PATIENCE;
    loop {
        // Started is said by the log; that the container is there comes before. Without a recorder nobody tells of the program.
        let begun = if engine.is_gvisor() { "permit" } else { "proc.exec" };
        let started = stage.stockade(&["log", "show", "last"])?.out().contains(begun);
        if let (true, [id]) = (started, ours(stage, engine)?.as_slice()) {
            return Ok((child, id.clone()));
        }
        must(Instant::now() < until, || "the call does not begin".to_owned())?;
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// A container that a supervisor left which is no more, as a killed engine would.
fn gc(stage: &mut Stage, engine: &Engine) -> Told {
    let body = serde_json::json!({
        "Image": image("busybox"),
        "Cmd": ["/bin/true"],
        "Labels": {
            "io.stockade.container": "1",
            "io.stockade.session": "left-over",
            "io.stockade.supervisor": "1.1",
            "io.stockade.state": stage.scene.fill("{state}"),
        },
    });
    send(engine, "POST", "/containers/create", &body.to_string())?;
    must(ours(stage, engine)?.len() == 1, || "it was not made".to_owned())?;
    let named = ["gc", "--engine", &engine.address];
    let dry = stage.answers(0, &[&named[..], &["--dry-run"]].concat())?;
    must(dry.out().contains("would remove the container of session left-over"), || dry.told())?;
    must(ours(stage, engine)?.len() == 1, || "it was removed".to_owned())?;
    let ended = stage.answers(0, &named)?;
    must(ended.out().contains("removed the container of session left-over"), || ended.told())?;
    none_left(stage, engine)
}

pub(crate) fn none_left(stage: &Stage, engine: &Engine) -> Told {
    let until = Instant::now() + PATIENCE;
    loop {
        let left = ours(stage, engine)?;
        if left.is_empty() {
            return Ok(());
        }
        must(Instant::now() < until, || format!("left behind: {left:?}"))?;
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Containers of this stage.
pub(crate) fn ours(stage: &Stage, engine: &Engine) -> Result<Vec<String>, Stop> {
    let filter = format!("{{\"label\":[\"io.stockade.state={}\"]}}", stage.scene.fill("{state}"));
    let encoded: String = filter.bytes().map(|byte| format!("%{byte:02x}")).collect();
    let answer = ask(engine, "GET", &format!("/containers/json?all=true&filters={encoded}"))?;
    let list: Vec<serde_json::Value> = serde_json::from_str(&answer).map_err(|e| format!("{answer}: {e}"))?;
    Ok(list.iter().filter_map(|one| Some(one["Id"].as_str()?.to_owned())).collect())
}

fn ask(engine: &Engine, method: &str, path: &str) -> Result<String, Stop> {
    send(engine, method, path, "")
}

/// One request to the engine, by somebody else's client.
pub(crate) fn send(engine: &Engine, method: &str, path: &str, body: &str) -> Result<String, Stop> {
    let socket = engine.address.trim_start_matches("unix://");
    let address = format!("http://engine/v1.40{path}");
    let words = [
        "/usr/bin/curl",
        "-sS",
        "--unix-socket",
        socket,
        "-X",
        method,
        "-H",
        "Content-Type: application/json",
        "-d",
        body,
        &address,
    ];
    let program = Program {
        argv: words.iter().map(Into::into).collect(),
        directory: "/".into(),
        environment: Vec::new(),
        person: Person::myself(),
        input: Vec::new(),
        limit: PATIENCE,
    };
    let ended = program.run()?;
    must(ended.code() == 0, || ended.told())?;
    Ok(ended.out())
}
