//! Sessions in containers of real engines, as a person starts them: what works in every image, and what is told when it cannot.
//! It never starts an engine: `tests/containers/engines` does, and who has none skips aloud.

mod dying;
mod ends;
mod reach;
mod refused;
mod works;

use std::process::ExitCode;
use stockade_tests::binaries;
use stockade_tests::people::Person;
use stockade_tests::process::Ended;
use stockade_tests::stage::Stage;
use stockade_tests::story::{Stop, Story, Told};

fn main() -> ExitCode {
    stockade_tests::story::run_all("inside", || {
        [works::stories(), reach::stories(), refused::stories(), ends::stories(), dying::stories()]
            .into_iter()
            .flatten()
            .collect()
    })
}

/// An engine, as whoever is on the stage reaches it.
#[derive(Debug, Clone)]
pub(crate) struct Engine {
    /// What it is called in messages.
    pub(crate) name: &'static str,
    /// `unix://…`.
    pub(crate) address: String,
    /// The runtime that is asked for, where it is not the engine's own choice.
    pub(crate) runtime: Option<&'static str>,
}

impl Engine {
    /// How it is asked for on the command line.
    pub(crate) fn words(&self) -> Vec<&str> {
        let runtime = self.runtime.map(|runtime| ["--runtime", runtime]);
        ["--engine", &self.address].into_iter().chain(runtime.into_iter().flatten()).collect()
    }

    /// Whether its containers are on a kernel of their own.
    pub(crate) fn is_gvisor(&self) -> bool {
        self.runtime == Some("runsc")
    }

    /// What sessions in its containers are worth.
    pub(crate) fn grade(&self) -> &'static str {
        if self.is_gvisor() { "partial" } else { "full" }
    }
}

/// The runtime of gVisor that is new enough and told what it needs, where the machine has one.
pub(crate) const GVISOR: &str = "STOCKADE_TEST_GVISOR";
/// crun, as the tests' engine has it.
const CRUN: &str = "STOCKADE_TEST_CRUN";

/// The engines of a person: root's, or an ordinary user's own.
fn engines(person: Person) -> Result<Vec<Engine>, Stop> {
    let mut known = if person.is_root() {
        vec![("docker", "STOCKADE_TEST_DOCKER", None), ("podman", "STOCKADE_TEST_PODMAN", None)]
    } else {
        vec![("rootless podman", "STOCKADE_TEST_PODMAN_ROOTLESS", None)]
    };
    for (variable, name, runtime) in [(GVISOR, "docker with gVisor", "runsc"), (CRUN, "docker with crun", "crun")] {
        if binaries::variable(variable).is_some() {
            known.push((name, "STOCKADE_TEST_DOCKER", Some(runtime)));
        }
    }
    let found: Vec<Engine> = known
        .into_iter()
        .filter_map(|(name, variable, runtime)| {
            let socket = binaries::variable(variable)?.into_string().ok()?;
            Some(Engine { name, address: format!("unix://{socket}"), runtime })
        })
        .collect();
    match found.is_empty() {
        true => Err(Stop::Skip("no engine: tests/containers/engines starts some".to_owned())),
        false => Ok(found),
    }
}

/// A story that is told with each engine of a person.
pub(crate) fn with_each(name: &str, tell: fn(&mut Stage, &Engine) -> Told) -> Story {
    Story::new(format!("inside::{name}"), move |stage| {
        for engine in engines(stage.scene.person())? {
            tell(stage, &engine).map_err(|stop| match stop {
                Stop::Fail(why) => Stop::Fail(format!("with {}: {why}", engine.name)),
                Stop::Skip(why) => Stop::Skip(format!("with {}: {why}", engine.name)),
            })?;
            stage.nothing_left()?;
        }
        Ok(())
    })
}

/// An image of `tests/containers/images`.
pub(crate) fn image(name: &str) -> String {
    format!("localhost/stockade-test/{name}:1")
}

/// Runs a command in a container of an image.
pub(crate) fn run(stage: &Stage, engine: &Engine, name: &str, more: &[&str], command: &[&str]) -> Result<Ended, Stop> {
    let image = image(name);
    let chosen = ["--image", &image, "--quiet"];
    stage.run(&[&chosen[..], &engine.words(), more].concat(), command)
}
