//! The command line: it talks to people and to scripts, and holds no policy.
//! It is the only module that prints.

pub mod args;
mod confine;
mod doctor;
mod events;
mod explain;
mod gc;
mod image;
mod log;
mod manual;
mod mcp;
mod port;
mod profile;
mod report;
mod review;
mod run;
pub mod screen;
mod secret;
mod session;
mod snapshot;
pub mod style;
pub mod terminal;
mod tool;
mod verify;

use crate::config::environment::Environment;
use crate::error::Error;
use args::{Cli, Command};
use clap::Parser as _;
use std::io::Write as _;
use std::process::ExitCode;
use style::Colour;

/// Stockade refused or failed; no command of the guest's ran, or its result cannot be told.
pub const EXIT_STOCKADE: u8 = 125;
/// A limit ended the command.
pub const EXIT_LIMIT: u8 = 124;
/// The command could not be executed.
pub const EXIT_NOT_EXECUTABLE: u8 = 126;
/// There is no such command.
pub const EXIT_NOT_FOUND: u8 = 127;

/// What every subcommand needs.
#[derive(Debug, Clone)]
pub struct Context {
    /// The operator's environment.
    pub environment: Environment,
    /// How standard output may look.
    pub colour: Colour,
}

/// Reads the command line and does what it says.
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return misread(&error),
    };
    let environment = Environment::of_process();
    let colour = Colour::choose(cli.color, environment.get("NO_COLOR").is_some());
    log_to_stderr(cli.verbose);
    let context = Context { environment, colour };
    match dispatch(cli.command, &context) {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            tell(&error.to_string());
            ExitCode::from(EXIT_STOCKADE)
        }
    }
}

/// Tells what is wrong with the command line, or shows the help that it asks for.
fn misread(error: &clap::Error) -> ExitCode {
    // Closed streams leave nobody to tell.
    drop(error.print());
    if !error.use_stderr() {
        return ExitCode::SUCCESS;
    }
    // clap's own code is 2, which is a command's to give, and `verify`'s for a log that was altered.
    let first = std::env::args_os().skip(1).find(|word| !word.as_encoded_bytes().starts_with(b"-"));
    let of_verify = first.is_some_and(|word| word == "verify");
    ExitCode::from(if of_verify { verify::EXIT_USAGE } else { EXIT_STOCKADE })
}

fn dispatch(command: Command, context: &Context) -> Result<u8, Error> {
    match command {
        Command::Run(args) => run::run(&args, context),
        Command::Explain(args) => explain::explain(&args, context),
        Command::Diff(args) => review::diff(&args, context),
        Command::Apply(args) => review::apply(&args, context),
        Command::Discard(args) => review::discard(&args, context),
        Command::Undo(args) => review::undo(&args, context),
        Command::Snapshot(args) => snapshot::snapshot(&args.command, context),
        Command::Verify(args) => verify::verify(&args, context),
        Command::Log(args) => log::log(&args.command, context),
        Command::Profile(args) => profile::profile(&args.command, context),
        Command::Tool(args) => tool::tool(&args.command, context),
        Command::Image(args) => image::image(&args.command, context),
        Command::Secret(args) => secret::secret(&args.command, context),
        Command::Port(args) => port::port(&args, context),
        Command::Session(args) => session::session(&args, context),
        Command::Mcp(args) => mcp::serve(&args, context),
        Command::Doctor(args) => doctor::doctor(&args, context),
        Command::Gc(args) => gc::gc(&args, context),
        Command::Completions { shell } => manual::completions(shell),
        Command::Man { out } => manual::man(out.as_deref()),
    }
}

/// Operators see what the library traces: warnings, more with `-v`.
fn log_to_stderr(verbose: u8) {
    let level = match verbose {
        0 => tracing::Level::WARN,
        1 => tracing::Level::INFO,
        _ => tracing::Level::TRACE,
    };
    let subscriber = tracing_subscriber::fmt().with_max_level(level).with_writer(std::io::stderr).without_time();
    subscriber.compact().init();
}

/// Says something to the person, on standard error. When even that is closed there is nobody left to tell.
pub fn tell(text: &str) {
    let mut stderr = std::io::stderr().lock();
    drop(writeln!(stderr, "{text}"));
}

/// Prints a result on standard output.
///
/// # Errors
/// Host: standard output is closed or full.
pub fn print(text: &str) -> Result<(), Error> {
    print_bytes(text.as_bytes())
}

/// Prints a result that need not be text: a patch is bytes.
///
/// # Errors
/// As [`print()`].
pub fn print_bytes(bytes: &[u8]) -> Result<(), Error> {
    let mut stdout = std::io::stdout().lock();
    match stdout.write_all(bytes).and_then(|()| stdout.flush()) {
        // A broken pipe is `stockade log show | head`: who reads has seen enough.
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(Error::host(format!("write to standard output: {}", crate::error::plain(&error))))
        }
        Ok(()) | Err(_) => Ok(()),
    }
}

/// Prints a value as JSON, for scripts: one object, indented.
///
/// # Errors
/// As [`print()`].
pub fn print_json(value: &impl serde::Serialize) -> Result<(), Error> {
    let text = serde_json::to_string_pretty(value).map_err(|e| Error::bug(format!("write JSON: {e}")))?;
    print(&(text + "\n"))
}
