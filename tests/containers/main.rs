//! Container engines as they are, with real ones: finding them, their images, and what every container of ours is made with.
//! It never starts one: `tests/containers/engines` does, and whatever is not there is a skip that is told.

mod broken;
mod commands;
mod finding;
mod house;
mod images;
mod made;

use house::{HOUSES, House};
use libtest_mimic::{Completion, Failed, Trial};
use std::process::ExitCode;
use stockade_tests::people::Person;
use stockade_tests::story::{BARE, Stop, Told, run_trials, skip};

fn main() -> ExitCode {
    run_trials("containers", trials)
}

fn trials(person: Person) -> Vec<Trial> {
    let commands = commands::stories().into_iter().map(|story| story.trial(person, BARE));
    // Engines do not ask who asks: their own tests are of whoever runs them.
    if person.switch().is_some() {
        return commands.collect();
    }
    let promises = made::PROMISES.iter().chain(images::PROMISES);
    let kept = HOUSES.iter().flat_map(|house| promises.clone().map(move |promise| of_house(*house, *promise)));
    let found = finding::STORIES.iter().map(|(name, story)| trial(format!("finding::{name}"), *story));
    let broken = broken::STORIES.iter().map(|(name, story)| trial(format!("broken::{name}"), *story));
    commands.chain(found).chain(broken).chain(kept).collect()
}

fn of_house(house: House, (name, promise): (&str, fn(&House) -> Told)) -> Trial {
    trial(format!("{}::{name}", house.name), move || promise(&house))
}

fn trial(name: String, test: impl FnOnce() -> Told + Send + 'static) -> Trial {
    let own = name.clone();
    Trial::ignorable_test(name, move || ended(&own, test()))
}

fn ended(name: &str, told: Told) -> Result<Completion, Failed> {
    match told {
        Ok(()) => Ok(Completion::Completed),
        Err(Stop::Skip(why)) => Ok(skip(name, &why)),
        Err(Stop::Fail(why)) => Err(why.into()),
    }
}
