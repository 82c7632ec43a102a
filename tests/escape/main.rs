//! The attacks of every class, each with its control, and the harmless twins that must keep working.
//! It never counts an attack that could not be carried out as one that was stopped.

mod check;
mod files;
mod helper;
mod kernel;
mod limits;
mod network;
mod plants;
mod processes;
mod startup;
mod story;
mod table;
mod traces;
mod twins;
mod unix;

use libtest_mimic::{Arguments, Trial};
use std::process::ExitCode;
use stockade_tests::people::{Person, everybody};
use stockade_tests::scene;
use table::Attack;

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let (people, missing) = everybody();
    let trials: Vec<Trial> = people.iter().flat_map(|person| trials(*person)).collect();
    let conclusion = libtest_mimic::run(&arguments, trials);
    scene::clean_up();
    if !arguments.list {
        tell(&conclusion, missing.as_deref());
    }
    conclusion.exit_code()
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
        limits::stories(),
        processes::stories(),
        traces::stories(),
        twins::stories(),
    ];
    let stories = stories.into_iter().flatten().map(|story| {
        let name = format!("{}::{}", story.name, person.label());
        Trial::ignorable_test(name.clone(), move || story.run(person, &name))
    });
    attacks.chain(stories).collect()
}

/// Says what was not shown, so that nobody takes it for shown.
#[expect(clippy::print_stdout, reason = "the summary of a test program")]
fn tell(conclusion: &libtest_mimic::Conclusion, missing: Option<&str>) {
    let skipped = check::skipped();
    for (name, reason) in &skipped {
        println!("SKIPPED {name}: {reason}");
    }
    if let Some(missing) = missing {
        println!("SKIPPED everything for other people: {missing}");
    }
    println!(
        "escape: {} stopped or working, {} FAILED, {} SKIPPED (not carried out here: nothing is shown about them)",
        conclusion.num_passed,
        conclusion.num_failed,
        skipped.len()
    );
}
