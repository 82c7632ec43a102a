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
use stockade_tests::people::{Person, everybody};
use stockade_tests::stage::Stage;
use stockade_tests::story::{Theatre, run_trials};
use stockade_tests::wall;
use table::Attack;

/// Stories are told where the attack program is at hand; what a control leaves behind is the control's.
const WITH_PROBE: Theatre = Theatre { stage: |person| check::stage(person).map(Stage::on), afterwards: |_| Ok(()) };

fn main() -> ExitCode {
    if wall::is_container() && everybody().0.len() > 1 {
        say(
            "in a container each attack is one person's: root's and the ordinary user's in turn, root's where only root can try",
        );
    }
    run_trials("escape", trials)
}

#[expect(clippy::print_stdout, reason = "what a test program does not show is said")]
fn say(text: &str) {
    println!("{text}");
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
        let (kind, certainty) = (format!("attack {}", attack.number), attack.certainty);
        let trial = Trial::ignorable_test(name.clone(), move || check::check(&attack, person, &name)).with_kind(kind);
        (trial, certainty)
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
    let stories = stories.into_iter().flatten().map(|story| (story.trial(person, WITH_PROBE), table::Control::Certain));
    let all = attacks.chain(stories).enumerate();
    all.filter(|(number, (_, certainty))| is_of(person, *number, *certainty)).map(|(_, (trial, _))| trial).collect()
}

/// Whether an attack is this person's: everybody's on the host, one person's on the third wall, where a container takes fifty
/// times as long to begin as a sandbox does. What not everybody can do even unconfined is root's there.
fn is_of(person: Person, number: usize, certainty: table::Control) -> bool {
    let people = everybody().0;
    if !wall::is_container() || people.len() < 2 {
        return true;
    }
    let turn = match certainty {
        table::Control::WherePossible => 0,
        table::Control::Certain => turn(number),
    };
    people.iter().position(|one| *one == person) == Some(turn)
}

/// Whose turn the attack of this number is. Not simply every other one, since tables have pairs: this sequence (Thue and
/// Morse's) gives each of two persons as many firsts of pairs as seconds.
fn turn(number: usize) -> usize {
    (number.count_ones() % 2) as usize
}
