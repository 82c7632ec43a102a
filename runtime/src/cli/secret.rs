//! `stockade secret`: keeps secrets, lists them, forgets them, hands them to other programs on request.
//! It never takes a value from an argument, and never prints one but as the answer of `provide`.

use crate::cli::args::{SecretCommand, SecretDeposit};
use crate::cli::{Context, print, print_bytes, print_json, tell};
use crate::config::environment::Environment;
use crate::config::state::State;
use crate::egress;
use crate::egress::dial::Settings;
use crate::error::{Error, Result, plain};
use crate::secrets::plain::{PLAIN_BYTES_MAX, Plain, SCRUBBED_BYTES_MIN};
use crate::secrets::source::exec::{REQUEST_BYTES_MAX, provide};
use crate::secrets::source::{Source, Sources, Surroundings, one_line_less};
use crate::secrets::store::{Deposit, Listed, Store};
use rustix::termios::{LocalModes, OptionalActions, SpecialCodeIndex, Termios, tcgetattr, tcsetattr};
use std::collections::BTreeSet;
use std::io::IsTerminal as _;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::Path;
use std::sync::Arc;
use stockade_audit::Machine;
use stockade_jail::locked::never_dump_this_process;
use stockade_jail::program::inherited_descriptor;
use stockade_policy::SecretName;
use zeroize::{Zeroize as _, Zeroizing};

/// One line of `list --json`.
#[derive(serde::Serialize)]
struct Line {
    name: String,
    version: u64,
    previous: Option<u64>,
    source: String,
    made_s: u64,
    age_s: u64,
}

/// Does what `stockade secret` was asked for.
///
/// # Errors
/// Operator: the name, value or source is none; the store cannot be trusted. Host: it cannot be read or written.
pub(super) fn secret(command: &SecretCommand, context: &Context) -> Result<u8> {
    // Before any value is in this process.
    never_dump_this_process().map_err(|error| Error::host(error.to_string()))?;
    let environment = &context.environment;
    let state = State::open(environment)?;
    let credentials = environment.get("CREDENTIALS_DIRECTORY").map(Path::new);
    let store = Arc::new(Store::open(state.root(), environment.uid, credentials, &Machine::system())?);
    match command {
        SecretCommand::Set(deposit) => keep(deposit, &store, Store::set),
        SecretCommand::Rotate { deposit, back: false } => keep(deposit, &store, Store::rotate),
        SecretCommand::Rotate { deposit: SecretDeposit { name, .. }, back: true } => {
            let version = store.back(&parsed(name)?)?;
            tell(&format!("secret \"{name}\" has version {version}, which is the one before again"));
            Ok(0)
        }
        SecretCommand::List { json: true } => {
            let now_s = store.now_s();
            print_json(&store.list()?.iter().map(|listed| line(listed, now_s)).collect::<Vec<_>>())?;
            Ok(0)
        }
        SecretCommand::List { json: false } => {
            let (all, now_s) = (store.list()?, store.now_s());
            if all.is_empty() {
                tell("there is no secret yet; `stockade secret set NAME` makes one");
                return Ok(0);
            }
            print(&table(&all, now_s))?;
            Ok(0)
        }
        SecretCommand::Rm { name } => {
            store.remove(&parsed(name)?)?;
            tell(&format!("secret \"{name}\" is forgotten, with all its versions"));
            Ok(0)
        }
        SecretCommand::Check { names, json } => {
            let form = if *json { Form::Json } else { Form::Text };
            with_sources(environment, &store, |sources| check(names, sources, form))
        }
        SecretCommand::Provide { names } => with_sources(environment, &store, |sources| hand_out(names, sources)),
    }
}

/// Does something with the places where secrets can be, as a session of this user has them.
fn with_sources(
    environment: &Environment,
    store: &Arc<Store>,
    act: impl FnOnce(&Sources<'_>) -> Result<u8>,
) -> Result<u8> {
    let around = Surroundings {
        variable: &|name| environment.get(name).cloned(),
        credentials: environment.get("CREDENTIALS_DIRECTORY").map(Path::new),
        descriptor: &|number| inherited_descriptor(number).ok(),
        uid: environment.uid,
        carrier: &|| {
            let environment = environment.clone();
            let variable = move |name: &str| environment.get(name).and_then(|value| value.clone().into_string().ok());
            egress::carrier(move || Settings::of_operator(&variable))
        },
    };
    act(&Sources { store, around })
}

/// How an answer is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Text,
    Json,
}

/// One line of `check --json`.
#[derive(serde::Serialize)]
struct Checked {
    name: String,
    version: Option<u64>,
    error: Option<String>,
}

/// Says of each whether it can be had. The exit code is that of the first that cannot.
fn check(names: &[String], sources: &Sources<'_>, form: Form) -> Result<u8> {
    let names: Vec<SecretName> = match names {
        [] => sources.store.list()?.into_iter().map(|listed| listed.name).collect(),
        some => some.iter().map(|name| parsed(name)).collect::<Result<_>>()?,
    };
    let mut failed = None;
    let mut lines = Vec::new();
    for name in names {
        let (version, error) = match sources.resolve(&name) {
            Ok(resolved) => (Some(resolved.version), None),
            Err(error) => {
                let told = error.reports.first().map(|report| report.what.clone());
                failed = failed.or(Some(error));
                (None, told)
            }
        };
        lines.push(Checked { name: name.to_string(), version, error });
    }
    match form {
        Form::Json => print_json(&lines)?,
        Form::Text => {
            let line = |one: &Checked| match (&one.version, &one.error) {
                (Some(version), _) => format!("secret \"{}\" can be had: version {version}\n", one.name),
                (None, why) => format!("secret \"{}\" cannot be had: {}\n", one.name, why.as_deref().unwrap_or("?")),
            };
            print(&lines.iter().map(line).collect::<String>())?;
        }
    }
    // Said above, but for what to do about it.
    failed.map_or(Ok(0), Err)
}

fn keep(
    wanted: &SecretDeposit,
    store: &Store,
    put: impl Fn(&Store, &SecretName, Deposit) -> Result<u64>,
) -> Result<u8> {
    let name = parsed(&wanted.name)?;
    let deposit = match (&wanted.from, wanted.fd) {
        (Some(text), _) => Deposit::Reference(Source::parse(text, &wanted.arguments)?),
        (None, Some(number)) => {
            let fd = inherited_descriptor(number).map_err(|error| Error::operator(error.to_string()))?;
            Deposit::Value(one_line_less(read_all(&fd, PLAIN_BYTES_MAX + 2)?, &name)?)
        }
        (None, None) => Deposit::Value(typed_or_piped(&name)?),
    };
    if let Deposit::Value(value) = &deposit
        && value.len() < SCRUBBED_BYTES_MIN
    {
        tell(&format!(
            "warning: secret \"{name}\" has fewer than {SCRUBBED_BYTES_MIN} bytes: it cannot be taken out of what comes back"
        ));
    }
    let version = put(store, &name, deposit)?;
    tell(&format!("secret \"{name}\" has version {version}"));
    Ok(0)
}

fn hand_out(names: &[String], sources: &Sources<'_>) -> Result<u8> {
    if std::io::stdout().is_terminal() {
        return Err(Error::operator("standard output is a terminal, and the answer has plaintexts")
            .hint("name this command as the program of the one that asks"));
    }
    let allowed: BTreeSet<SecretName> = names.iter().map(|name| parsed(name)).collect::<Result<_>>()?;
    let request = read_all(&own_stdin()?, REQUEST_BYTES_MAX)?;
    let fetch = |name: &SecretName| {
        let resolved = sources.resolve(name);
        // Who asks learns that it cannot be had; why is the business of who runs this.
        resolved.map(|resolved| resolved.value).inspect_err(|error| tell(&error.to_string()))
    };
    let answer = provide(&request, &allowed, fetch)?;
    print_bytes(&answer)?;
    Ok(0)
}

/// The value from standard input: what is piped in, or what a person types, without echo.
fn typed_or_piped(name: &SecretName) -> Result<Plain> {
    let stdin = own_stdin()?;
    let bytes =
        if std::io::stdin().is_terminal() { typed(&stdin, name)? } else { read_all(&stdin, PLAIN_BYTES_MAX + 2)? };
    one_line_less(bytes, name)
}

/// Standard input without the library's buffer, which would keep a copy.
fn own_stdin() -> Result<OwnedFd> {
    let cloned = std::io::stdin().as_fd().try_clone_to_owned();
    cloned.map_err(|error| Error::host(format!("use standard input: {}", plain(&error))))
}

/// Everything up to the end.
fn read_all(fd: &OwnedFd, bytes_max: usize) -> Result<Zeroizing<Vec<u8>>> {
    // Room for all of it at once: a vector that grows leaves copies behind.
    let mut bytes = Zeroizing::new(vec![0; bytes_max + 1]);
    let mut length = 0;
    loop {
        let room = bytes.get_mut(length..).unwrap_or_default();
        match rustix::io::read(fd, room) {
            Ok(0) => break,
            Ok(count) => length += count,
            Err(rustix::io::Errno::INTR) => {}
            Err(errno) => return Err(Error::host(format!("read the value: {}", plain(&errno.into())))),
        }
        if length > bytes_max {
            return Err(Error::operator(format!("standard input has more than {bytes_max} bytes")));
        }
    }
    bytes.truncate(length);
    Ok(bytes)
}

/// A terminal that does not show what is typed; dropping it restores what was before.
struct Silent<'a> {
    terminal: &'a OwnedFd,
    before: Termios,
}

impl Drop for Silent<'_> {
    fn drop(&mut self) {
        match tcsetattr(self.terminal, OptionalActions::Flush, &self.before) {
            Ok(()) => tell(""),
            Err(_) => tell("the terminal could not be restored; run `reset`"),
        }
    }
}

/// One line, typed without echo. Signals of the keyboard are taken as text, so that none leaves the terminal silent.
fn typed(terminal: &OwnedFd, name: &SecretName) -> Result<Zeroizing<Vec<u8>>> {
    let failed = |errno: rustix::io::Errno| Error::host(format!("silence the terminal: {}", plain(&errno.into())));
    let before = tcgetattr(terminal).map_err(failed)?;
    let mut silent = before.clone();
    silent.local_modes -= LocalModes::ECHO | LocalModes::ECHONL | LocalModes::ICANON | LocalModes::ISIG;
    silent.special_codes[SpecialCodeIndex::VMIN] = 1;
    silent.special_codes[SpecialCodeIndex::VTIME] = 0;
    tcsetattr(terminal, OptionalActions::Flush, &silent).map_err(failed)?;
    let _restores = Silent { terminal, before };
    tell(&format!("value of secret \"{name}\" (not shown; Ctrl-C gives up):"));
    let mut bytes = Zeroizing::new(Vec::with_capacity(PLAIN_BYTES_MAX + 1));
    loop {
        let mut key = [0; 1];
        match rustix::io::read(terminal, &mut key) {
            Ok(0) => return Ok(bytes),
            Ok(_) => {}
            Err(rustix::io::Errno::INTR) => continue,
            Err(errno) => return Err(Error::host(format!("read the value: {}", plain(&errno.into())))),
        }
        match key {
            [b'\r' | b'\n' | 4] => return Ok(bytes),
            [3] => return Err(Error::operator("given up")),
            [8 | 127] => {
                bytes.pop();
            }
            [byte] if bytes.len() <= PLAIN_BYTES_MAX => bytes.push(byte),
            [_] => {}
        }
        key.zeroize();
    }
}

fn parsed(name: &str) -> Result<SecretName> {
    SecretName::parse(name).map_err(|flaw| Error::operator(flaw.what).hint(flaw.hint))
}

fn line(listed: &Listed, now_s: u64) -> Line {
    let Listed { name, version, previous, source, made_s } = listed;
    Line {
        name: name.to_string(),
        version: *version,
        previous: *previous,
        source: source.to_string(),
        made_s: *made_s,
        age_s: now_s.saturating_sub(*made_s),
    }
}

/// Columns for people.
fn table(all: &[Listed], now_s: u64) -> String {
    let mut rows = vec![["NAME".to_owned(), "VERSION".to_owned(), "AGE".to_owned(), "SOURCE".to_owned()]];
    rows.extend(all.iter().map(|listed| {
        let version = match listed.previous {
            Some(previous) => format!("{} (scrubs {previous} too)", listed.version),
            None => listed.version.to_string(),
        };
        [listed.name.to_string(), version, age(now_s.saturating_sub(listed.made_s)), listed.source.to_string()]
    }));
    let mut widths = [0; 4];
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = cell.chars().count().max(*width);
        }
    }
    let line = |row: &[String; 4]| {
        let cells: Vec<String> = row.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}")).collect();
        cells.join("  ").trim_end().to_owned() + "\n"
    };
    rows.iter().map(line).collect()
}

/// Seconds in the largest unit that fits.
fn age(seconds: u64) -> String {
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3600 => format!("{} min", seconds / 60),
        3600..172_800 => format!("{} h", seconds / 3600),
        _ => format!("{} d", seconds / 86_400),
    }
}
