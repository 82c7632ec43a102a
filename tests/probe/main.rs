//! `stockade-probe`: one attack per sub-command, tried once; says in one line whether it succeeded.
//! It never attacks anything that its arguments do not name, and never more than the bounded amount they allow.
#![expect(unsafe_code, reason = "attacks are raw system calls; every unsafe block lies in `sys`")]

mod bombs;
mod contact;
mod descriptors;
mod files;
mod hosts;
mod ipc;
mod kernel;
mod omit;
mod packets;
mod processes;
mod reach;
mod reading;
mod sys;
mod terminal;
mod unix;
mod walk;
mod weaken;

use std::process::ExitCode;
use stockade_tests::said::{EXIT_BROKEN, EXIT_REFUSED, EXIT_SUCCEEDED, Outcome, Said};

/// Why an attempt did not succeed.
#[derive(Debug)]
enum Miss {
    /// The kernel said no.
    Errno(sys::Errno),
    /// There was nothing to be gained.
    Nothing(String),
    /// The probe could not even try: neither a success nor a refusal.
    Broken(String),
}

impl From<sys::Errno> for Miss {
    fn from(errno: sys::Errno) -> Self {
        Self::Errno(errno)
    }
}

impl From<std::io::Error> for Miss {
    fn from(error: std::io::Error) -> Self {
        error.raw_os_error().map_or_else(|| Self::Nothing(error.to_string()), Self::Errno)
    }
}

/// What an attempt gained, or why it gained nothing.
type Attempt = Result<String, Miss>;

/// Arguments of a sub-command.
#[derive(Debug)]
struct Args(Vec<String>);

impl Args {
    fn text(&self, index: usize) -> Result<&str, Miss> {
        self.0.get(index).map(String::as_str).ok_or_else(|| Miss::Broken(format!("argument {index} is missing")))
    }

    fn number(&self, index: usize) -> Result<i64, Miss> {
        let text = self.text(index)?;
        text.parse().map_err(|_| Miss::Broken(format!("argument {index}, \"{text}\", is not a number")))
    }

    fn rest(&self, from: usize) -> &[String] {
        self.0.get(from..).unwrap_or_default()
    }
}

/// A sub-command: its name, and what it does.
type Entry = (&'static str, fn(&Args) -> Attempt);

fn main() -> ExitCode {
    let mut words = std::env::args().skip(1);
    let name = words.next().unwrap_or_default();
    let args = Args(words.collect());
    if let Some(code) = hosts::run(&name, &args) {
        return code;
    }
    if name == "walk" {
        return match walk::run(&args) {
            Ok(()) => ExitCode::SUCCESS,
            Err(miss) => broken(&name, &format!("{miss:?}")),
        };
    }
    let tables: [&[Entry]; 14] = [
        files::TABLE,
        reading::TABLE,
        descriptors::TABLE,
        contact::TABLE,
        packets::TABLE,
        unix::TABLE,
        processes::TABLE,
        kernel::TABLE,
        reach::TABLE,
        ipc::TABLE,
        bombs::TABLE,
        terminal::TABLE,
        weaken::TABLE,
        omit::TABLE,
    ];
    let Some((_, attack)) = tables.iter().flat_map(|table| table.iter()).find(|(known, _)| *known == name) else {
        return broken(&name, "no such attack");
    };
    let (outcome, detail, code) = match attack(&args) {
        Ok(gain) => (Outcome::Succeeded, gain, EXIT_SUCCEEDED),
        Err(Miss::Errno(errno)) => {
            (Outcome::Refused, std::io::Error::from_raw_os_error(errno).to_string(), EXIT_REFUSED)
        }
        Err(Miss::Nothing(why)) => (Outcome::Refused, why, EXIT_REFUSED),
        Err(Miss::Broken(why)) => return broken(&name, &why),
    };
    say(&Said { attack: name, outcome, detail }.line());
    ExitCode::from(code)
}

fn broken(name: &str, why: &str) -> ExitCode {
    #[expect(clippy::print_stderr, reason = "the probe's own failure; nothing parses it")]
    {
        eprintln!("stockade-probe {name}: {why}");
    }
    ExitCode::from(EXIT_BROKEN)
}

/// Prints a line at once: a probe may be killed before its buffers would be flushed.
fn say(line: &str) {
    use std::io::Write as _;
    let mut out = std::io::stdout().lock();
    // A closed standard output is the reader's choice; the exit code still tells.
    drop(writeln!(out, "{line}").and_then(|()| out.flush()));
}
