//! What cannot be done in a container: each told in words that a person can act upon, with nothing left over.
//! It never waits for a registry: names that are not here lead to this machine.

use crate::{Engine, GVISOR, engines, image, run, with_each};
use stockade_tests::stage::Stage;
use stockade_tests::story::{Stop, Story, Told, must};

pub(crate) fn stories() -> Vec<Story> {
    vec![
        with_each("a_missing_image_is_not_a_riddle", |stage, engine| {
            let words = ["-q", "-p", "container", "--image", "localhost:1/nothing:1", "--engine", &engine.address];
            says(stage, &words, 125, &["localhost:1/nothing:1"])
        }),
        with_each("an_image_of_another_architecture_is_not_started", |stage, engine| {
            let ended = run(stage, engine, "arm64", &["-p", "container"], &["/sleep", "0"])?;
            must(ended.code() == 125 && ended.err().contains("arm64") && ended.err().contains("hint: "), || {
                ended.told()
            })
        }),
        with_each("a_program_that_the_image_lacks_is_not_another_error", |stage, engine| {
            let ended = run(stage, engine, "distroless", &["-p", "container"], &["/bin/sh", "-c", "true"])?;
            must(ended.code() == 127 && ended.err().contains("/bin/sh"), || ended.told())
        }),
        with_each("a_runtime_that_there_is_not_is_not_replaced", |stage, engine| {
            let image = image("busybox");
            let words =
                ["-q", "-p", "container", "--image", &image, "--engine", &engine.address, "--runtime", "nosuch"];
            says(stage, &words, 125, &["nosuch", "hint: "])
        }),
        on_gvisor("a_gvisor_that_is_too_old_is_not_half_a_wall", |stage, engine| {
            refused(stage, engine, "runsc-old", "", &["gVisor (runsc) is too old"])
        }),
        on_gvisor("a_gvisor_that_is_closed_to_sockets_is_not_a_riddle", |stage, engine| {
            refused(stage, engine, "runsc-closed", "", &["--host-uds=open", "\"runsc-closed\""])
        }),
        on_gvisor("gvisor_does_not_pass_for_a_whole_wall", |stage, engine| {
            refused(stage, engine, "runsc", "floor = \"full\"\n", &["enforcement is \"partial\"", "landlock: absent"])
        }),
        on_gvisor("what_needs_a_recorder_does_not_run_without_one_on_gvisor", |stage, engine| {
            refused(stage, engine, "runsc", "record_floor = \"observed\"\n", &["record_floor", "gVisor"])
        }),
        Story::new("inside::an_engine_that_is_not_there_is_not_a_riddle", |stage| {
            let image = image("busybox");
            let words = ["-q", "-p", "container", "--image", &image, "--engine", "unix:///nowhere/engine.sock"];
            says(stage, &words, 125, &["/nowhere/engine.sock", "no such file", "hint: "])
        }),
        Story::new("inside::an_engine_on_another_machine_is_not_used", |stage| {
            let image = image("busybox");
            let words = ["-q", "-p", "container", "--image", &image, "--engine", "tcp://example.com:2375"];
            says(stage, &words, 125, &["tcp://example.com:2375", "unix"])
        }),
        Story::new("inside::an_engine_is_not_named_for_nothing", |stage| {
            says(stage, &["-q", "-p", "shell", "--engine", "docker"], 125, &["--engine", "hint: "])
        }),
        Story::new("inside::a_container_without_an_image_is_not_guessed", |stage| {
            says(stage, &["-q", "-p", "container"], 125, &["image", "hint: "])
        }),
        with_each("the_engines_socket_is_not_shown", |stage, engine| {
            let socket = engine.address.trim_start_matches("unix://").to_owned();
            let grant =
                format!("extends = [\"container\"]\n[[grant.unix]]\npath = \"{socket}\"\nreason = \"an attack\"\n");
            let profile = stage.profile("socket", &grant)?;
            let image = image("busybox");
            let words = ["-q", "-p", &profile, "--image", &image, "--engine", &engine.address];
            says(stage, &words, 125, &["socket"])
        }),
    ]
}

/// The run ends so, and its error holds these words.
fn says(stage: &Stage, options: &[&str], code: i32, words: &[&str]) -> Told {
    let ended = stage.run(options, &["/bin/true"])?;
    must(ended.code() == code && words.iter().all(|word| ended.err().contains(word)), || ended.told())
}

/// A story that is told where there is a gVisor.
fn on_gvisor(name: &str, tell: fn(&mut Stage, &Engine) -> Told) -> Story {
    Story::new(format!("inside::{name}"), move |stage| {
        let engine = engines(stage.scene.person())?.into_iter().find(Engine::is_gvisor);
        let engine = engine.ok_or_else(|| Stop::Skip(format!("no gVisor: {GVISOR} is not set")))?;
        tell(stage, &engine)?;
        stage.nothing_left()
    })
}

/// A run with this runtime, and these words in a profile, is refused in these.
fn refused(stage: &Stage, engine: &Engine, runtime: &str, body: &str, words: &[&str]) -> Told {
    let profile = stage.profile("refused", &format!("extends = [\"container\"]\n{body}"))?;
    let image = image("busybox");
    let chosen = ["-q", "-p", &profile, "--image", &image, "--engine", &engine.address, "--runtime", runtime];
    says(stage, &chosen, 125, words)
}
