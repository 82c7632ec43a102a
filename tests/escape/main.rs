//! The attacks of every class, each with its control, and the harmless twins that must keep working.
//! It never counts an attack that could not be carried out as one that was stopped.

mod check;
mod files;
mod helper;
mod kernel;
mod later;
mod limits;
mod network;
mod plants;
mod processes;
mod startup;
mod table;
mod traces;
mod twins;
mod unix;

use libtest_mimic::Trial;
use std::process::ExitCode;
use stockade_tests::people::Person;
use stockade_tests::stage::Stage;
use stockade_tests::story::{Theatre, run_trials};
use table::Attack;

/// Stories are told where the attack program is at hand; what a control leaves behind is the control's.
const WITH_PROBE: Theatre = Theatre { stage: |person| check::stage(person).map(Stage::on), afterwards: |_| Ok(()) };

fn main() -> ExitCode {
    run_trials("escape", trials)
}

fn trials(person: Person) -> Vec<Trial> {
    let classes: [(&str, Vec<Attack>); 6] = [
        ("files", files::attacks()),
        ("network", network::attacks()),
        ("unix", unix::attacks()),
        ("processes", processes::attacks()),
        ("kernel", kernel::attacks()),
        ("startup", startup::attacks()),
    ];
    let attacks =
        classes.into_iter().flat_map(|(class, attacks)| attacks.into_iter().map(move |attack| (class, attack)));
    let attacks = attacks.map(|(class, attack)| {
        let name = format!("{class}::{}::{}", attack.name, person.label());
        let kind = format!("attack {}", attack.number);
        Trial::ignorable_test(name.clone(), move || check::check(&attack, person, &name)).with_kind(kind)
    });
    let stories = [
        startup::stories(),
        plants::stories(),
        later::stories(),
        limits::stories(),
        processes::stories(),
        traces::stories(),
        twins::stories(),
    ];
    let stories = stories.into_iter().flatten().map(|story| story.trial(person, WITH_PROBE));
    attacks.chain(stories).collect()
}
