//! `stockade run`: one command in a session of its own, its streams and exit code passed through.
//! It never shows the guest our terminal, and never hides that something ended the command early.

use crate::backend::process::{Input, Io, NotStarted, Ran, Run, Sink};
use crate::backend::wasm::End;
use crate::cli::args::RunArgs;
use crate::cli::confine::{Started, start};
use crate::cli::report::{Place, Report};
use crate::cli::screen::Screen;
use crate::cli::terminal::{self, RawMode, Signals};
use crate::cli::{Context, EXIT_LIMIT, EXIT_NOT_EXECUTABLE, EXIT_NOT_FOUND, EXIT_STOCKADE, tell};
use crate::error::{Error, Result};
use crate::session::{Outcome, Sealed};
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::io::{self, IsTerminal as _};
use std::os::fd::AsFd as _;
use std::os::unix::ffi::OsStrExt as _;
use stockade_audit::record::Cause;
use stockade_jail::Status;
use stockade_jail::watch::{LimitHit, LimitKind, Unit};
use stockade_policy::{Action, Call, Command, EnvName, Flaw, GuestPath, Stdin, Terminal, ToolName, Word};

/// Runs the command; the exit code is its own.
///
/// # Errors
/// Whatever keeps the command from running, or its end from being told.
pub(super) fn run(args: &RunArgs, context: &Context) -> Result<u8> {
    let call = call(args)?;
    let place = args.report.as_deref().map(Place::open).transpose()?;
    // Before anything starts a thread: threads inherit the mask.
    let mut signals = Signals::block()?;
    let Started { mut session, id, log } = start(&args.confinement, &args.beginning, "cli", context)?;
    let mut report = Report::new(&id, &log, session.enforced(), session.recorder());
    let raw = if args.tty { RawMode::enter()? } else { None };
    let outcome = with_streams(&mut signals, |io| session.call(call, io));
    drop(raw);
    let code = match &outcome {
        Ok(outcome) => report.outcome(outcome, exit_code(outcome)),
        Err(_) => EXIT_STOCKADE,
    };
    let cause = if outcome.is_ok() { Cause::Exit } else { Cause::Error };
    let closed = session.close(cause, i32::from(code));
    let outcome = outcome?;
    report.closed(&closed?);
    if let Some(place) = place {
        report.write(place)?;
    }
    say(&outcome, id.as_str(), args.quiet);
    Ok(code)
}

/// The call that the command line describes.
fn call(args: &RunArgs) -> Result<Call> {
    let flawed = |flaw: Flaw| Error::operator(flaw.what).hint(flaw.hint);
    let words = args.argv.iter().map(|word| word.as_bytes().to_vec());
    let mut command = Command::from_words(words).map_err(flawed)?.with_stdin(Stdin::Stream);
    let mut env = BTreeMap::new();
    for setting in &args.env {
        let (name, value) = split_setting(setting)?;
        env.insert(EnvName::parse(name).map_err(flawed)?, Word::parse(value).map_err(flawed)?);
    }
    command = command.with_env(env).map_err(flawed)?;
    if let Some(cwd) = &args.cwd {
        command = command.in_directory(GuestPath::parse(cwd.as_os_str().as_bytes()).map_err(flawed)?);
    }
    if args.tty {
        let size = terminal::size();
        command = command.with_terminal(Terminal::Pty { rows: size.rows, columns: size.cols });
    }
    Ok(Call::new(ToolName::parse("exec").map_err(flawed)?, Action::Command(command)))
}

fn split_setting(setting: &OsStr) -> Result<(&str, &[u8])> {
    let wrong = || {
        Error::operator(format!("\"{}\" sets no variable", setting.to_string_lossy())).hint("write --env NAME=VALUE")
    };
    let bytes = setting.as_bytes();
    let at = bytes.iter().position(|byte| *byte == b'=').ok_or_else(wrong)?;
    let (name, value) = bytes.split_at(at);
    Ok((std::str::from_utf8(name).map_err(|_| wrong())?, value.get(1..).unwrap_or_default()))
}

/// Our own streams, filtered where a person's terminal is at the other end.
fn with_streams<T>(signals: &mut Signals, call: impl FnOnce(Io<'_>) -> Result<T>) -> Result<T> {
    let stdin = io::stdin().as_fd().try_clone_to_owned();
    let stdin = stdin.map_err(|e| Error::host(format!("pass standard input on: {}", crate::error::plain(&e))))?;
    let out = io::stdout().is_terminal();
    let mut stdout = Out { to: io::stdout(), screen: out.then(Screen::default), line: Line::Begins };
    let err = io::stderr().is_terminal();
    let mut stderr = Out { to: io::stderr(), screen: err.then(Screen::default), line: Line::Begins };
    let called =
        call(Io { input: Input::Descriptor(stdin), stdout: &mut stdout, stderr: &mut stderr, outside: signals });
    if called.is_err() && stderr.line == Line::Goes {
        // A command that was ended amid a line must not swallow the beginning of our own.
        tell("");
    }
    called
}

/// One of our output streams.
struct Out<W> {
    to: W,
    screen: Option<Screen>,
    line: Line,
}

/// Where in a line a stream is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Line {
    /// At its beginning.
    Begins,
    /// Within.
    Goes,
}

impl<W: io::Write> Sink for Out<W> {
    fn take(&mut self, chunk: &[u8]) -> io::Result<()> {
        self.line = match chunk.last() {
            None => self.line,
            Some(b'\n') => Line::Begins,
            Some(_) => Line::Goes,
        };
        match &mut self.screen {
            Some(screen) => self.to.write_all(&screen.filter(chunk))?,
            None => self.to.write_all(chunk)?,
        }
        self.to.flush()
    }
}

/// The exit code, as a shell gives it.
fn exit_code(outcome: &Outcome) -> u8 {
    match outcome {
        Outcome::Denied(..) | Outcome::Unapproved(..) => EXIT_STOCKADE,
        Outcome::Ran(sealed) => match &sealed.ran {
            Ran::NotStarted { code: NotStarted::NotFound, .. } => EXIT_NOT_FOUND,
            Ran::NotStarted { code: NotStarted::NotExecutable, .. } => EXIT_NOT_EXECUTABLE,
            Ran::Ended(run) => code_of(run),
        },
        Outcome::Called(called) => match &called.ran.end {
            End::Answered(_) => 0,
            End::Refused(_) => 1,
            End::Limit(_) => EXIT_LIMIT,
            End::Trapped { .. } | End::Died { .. } | End::Cancelled => EXIT_STOCKADE,
        },
    }
}

fn code_of(run: &Run) -> u8 {
    match (run.ended_by, run.main.status) {
        (Some(_), _) => EXIT_LIMIT,
        (None, Status::Exited(code)) => code,
        // Signal numbers end at 64.
        (None, Status::Signalled(signal)) => u8::try_from(signal & 0x7f).unwrap_or(0).saturating_add(128),
    }
}

/// Says on standard error what the command itself could not say.
fn say(outcome: &Outcome, session: &str, quiet: bool) {
    match outcome {
        Outcome::Denied(refusal, _) => tell(&format!("stockade: {refusal}")),
        Outcome::Unapproved(ask, _) => {
            let reasons: Vec<&str> = ask.rules().iter().map(|asking| asking.reason.as_str()).collect();
            tell(&format!("stockade: denied: a person has to approve this: {}", reasons.join("; ")));
        }
        // What it says is in its answer.
        Outcome::Called(_) => {}
        Outcome::Ran(sealed) => {
            say_end(&sealed.ran);
            if !quiet {
                say_changes(sealed, session);
            }
        }
    }
}

fn say_end(ran: &Ran) {
    match ran {
        Ran::NotStarted { why, .. } => tell(&format!("stockade: {why}")),
        Ran::Ended(run) => {
            if let Some(hit) = &run.ended_by {
                tell(&format!(
                    "stockade: limit {}: {}; the command and all its processes were ended",
                    hit.limit,
                    limit(hit)
                ));
            }
            for hit in &run.refusals {
                tell(&format!("stockade: limit {}: {}; the kernel refused the command more", hit.limit, limit(hit)));
            }
        }
    }
}

/// A limit in a person's units.
fn limit(hit: &LimitHit) -> String {
    let name = match hit.limit {
        LimitKind::Memory => "memory_mib",
        LimitKind::Pids => "pids",
        LimitKind::Cpu => "cpu_s",
        LimitKind::Wall => "wall_s",
        LimitKind::Output => "output_mib",
        LimitKind::Disk => "disk_mib",
        LimitKind::OpenFiles => "open_files",
    };
    let shown = |value: u64| match hit.unit {
        Unit::Bytes => format!("{:.1} MiB", value as f64 / (1024.0 * 1024.0)),
        Unit::Milliseconds => format!("{:.1} s", value as f64 / 1000.0),
        Unit::Count => value.to_string(),
    };
    format!("{name} is {}, {} were used", shown(hit.value), shown(hit.observed))
}

fn say_changes(sealed: &Sealed, session: &str) {
    let waiting = sealed.settled.waiting;
    if waiting.changes == 0 {
        return;
    }
    let marked =
        if waiting.marked > 0 { format!(", {} of them held or protected", waiting.marked) } else { String::new() };
    let plural = if waiting.changes == 1 { "change waits" } else { "changes wait" };
    tell(&format!(
        "stockade: {} {plural} for review{marked}: stockade diff {session} · stockade apply {session}",
        waiting.changes
    ));
}
