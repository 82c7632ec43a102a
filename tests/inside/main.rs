//! Sessions in containers of real engines, as a person starts them: what works in every image, and what is told when it cannot.
//! It never starts an engine: `tests/containers/engines` does, and who has none skips aloud.

mod dying;
mod ends;
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
        [works::stories(), refused::stories(), ends::stories(), dying::stories()].into_iter().flatten().collect()
    })
}

/// An engine, as whoever is on the stage reaches it.
#[derive(Debug, Clone)]
pub(crate) struct Engine {
    /// What it is called in messages.
    pub(crate) name: &'static str,
    /// `unix://…`.
    pub(crate) address: String,
}

/// The engines of a person: root's, or an ordinary user's own.
fn engines(person: Person) -> Result<Vec<Engine>, Stop> {
    let known: &[(&'static str, &str)] = if person.is_root() {
        &[("docker", "STOCKADE_TEST_DOCKER"), ("podman", "STOCKADE_TEST_PODMAN")]
    } else {
        &[("rootless podman", "STOCKADE_TEST_PODMAN_ROOTLESS")]
    };
    let found: Vec<Engine> = known
        .iter()
        .filter_map(|(name, variable)| {
            let socket = binaries::variable(variable)?.into_string().ok()?;
            Some(Engine { name, address: format!("unix://{socket}") })
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
    let chosen = ["--image", &image, "--engine", &engine.address, "--quiet"];
    stage.run(&[&chosen[..], more].concat(), command)
}
