//! `stockade profile learn`: a command runs under the recorder with wide rights to read, and what it used becomes a profile.
//! It never keeps what the command changed, and never gives it a network that no profile grants.

use super::observed::Observed;
use super::propose::{Facts, Title, propose};
use crate::backend::process::{Input, Io, Ran, Sink};
use crate::cli::args::{Backend, Beginning, Confinement, LearnArgs, Mode, WallArgs};
use crate::cli::confine::{Started, start};
use crate::cli::terminal::Signals;
use crate::cli::{Context, print, tell};
use crate::config::profiles::{Sources, placed};
use crate::config::state::State;
use crate::error::{Error, Result, plain};
use crate::journal::failed;
use crate::session::Outcome;
use std::fs;
use std::io::{self, Write as _};
use std::os::fd::AsFd as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use stockade_audit::query::LogReader;
use stockade_audit::record::{Body, Cause, Recorder, RecorderGrade, RecorderScope};
use stockade_jail::Status;
use stockade_policy::{Action, Answer, Call, Command, ExpandedProfile, Flaw, GuestPath, ProfileName, Stdin, ToolName};

/// What the profile that is written extends.
const BASE: &str = "base";
/// Directories of the root that are the kernel's, the sandbox's own, or nobody's business.
const NOT_SHOWN: [&str; 8] = ["proc", "sys", "dev", "run", "tmp", "boot", "lost+found", "var"];

/// Runs the command and writes the profile.
///
/// # Errors
/// Operator: no such profile or workspace. Host: nothing records on this machine, or the session cannot be opened.
pub(super) fn learn(args: &LearnArgs, context: &Context) -> Result<u8> {
    let flawed = |flaw: Flaw| Error::operator(flaw.what).hint(flaw.hint);
    ProfileName::parse(&args.name).map_err(flawed)?;
    let state = State::open(&context.environment)?;
    let mut signals = Signals::block()?;
    let wide = Wide::write(&state, args.from.as_deref())?;
    let confinement = Confinement {
        profile: wide.0.display().to_string(),
        workspace: args.workspace.clone(),
        mode: Mode::Discard,
        // What is learned is what a program needs of this machine's files.
        wall: WallArgs { backend: Some(Backend::Process), ..WallArgs::default() },
    };
    let Started { mut session, id, log } = start(&confinement, &Beginning::default(), "cli", context)?;
    let workspace = args.workspace.as_deref().unwrap_or_else(|| Path::new("."));
    let workspace = workspace.canonicalize().map_err(|e| Error::io("find", workspace, &e))?;
    let words = args.argv.iter().map(|word| word.as_bytes().to_vec());
    let command = Command::from_words(words).map_err(flawed)?.with_stdin(Stdin::Stream);
    let call = Call::new(ToolName::parse("exec").map_err(flawed)?, Action::Command(command));
    let outcome = with_streams(&mut signals, args.output.is_none(), |io| session.call(call, io));
    let cause = if outcome.is_ok() { Cause::Exit } else { Cause::Error };
    session.close(cause, 0)?;
    drop(wide);
    let ended = ending(outcome?)?;
    let (observed, recorder) = observe(&log)?;
    enough(recorder.as_ref())?;
    let base = placed(&Sources::gather(BASE, &context.environment)?.profile()?, &workspace, &context.environment)?;
    let home = context.environment.home.canonicalize().unwrap_or_else(|_| context.environment.home.clone());
    let facts = Facts {
        base: BASE,
        workspace: &workspace,
        home: &home,
        reads: &|path| would(&base, path, |path| Action::Read { path }),
        executes: &|path| executes(&base, path),
        is_directory: &|path| path.is_dir(),
    };
    let command = args.argv.iter().map(|word| word.to_string_lossy().into_owned()).collect::<Vec<_>>().join(" ");
    let from = args.from.as_deref().unwrap_or(BASE);
    let title = Title { name: &args.name, command: &command, from, session: id.as_str() };
    let text = propose(&title, &observed, &facts);
    put(&text, args.output.as_deref())?;
    if ended != 0 {
        tell(&format!(
            "stockade: the command ended with {ended}: what it would have done otherwise is not in the profile"
        ));
    }
    Ok(ended)
}

/// The profile of the run: reading and executing whatever the user may, writing the workspace. Its file goes away with it.
struct Wide(PathBuf);

impl Wide {
    fn write(state: &State, from: Option<&str>) -> Result<Self> {
        let path = state.root().join(format!("learn-{}.toml", std::process::id()));
        let from = match from {
            Some(from) => from.to_owned(),
            None => BASE.to_owned(),
        };
        let failed = |e: &io::Error| Error::io("write", &path, e);
        let text = wide(&from)?;
        let mut file =
            fs::File::options().write(true).create_new(true).mode(0o600).open(&path).map_err(|e| failed(&e))?;
        file.write_all(text.as_bytes()).map_err(|e| failed(&e))?;
        Ok(Self(path))
    }
}

impl Drop for Wide {
    fn drop(&mut self) {
        // What stays behind grants nothing by itself.
        drop(fs::remove_file(&self.0));
    }
}

fn wide(from: &str) -> Result<String> {
    let mut text = String::from("profile = 1\nname = \"learning\"\nrecord = \"all-opens\"\n");
    let named = ProfileName::parse(from).map_err(|flaw| {
        Error::operator(flaw.what)
            .hint("name a profile: a built-in one, or one of your own in ~/.config/stockade/profiles")
    })?;
    text += &format!("extends = [\"{}\"]\n", named.as_str());
    let reason = "reason = \"a run that is learned from, whose changes are dropped\"\n";
    let entries = fs::read_dir("/").map_err(|e| Error::io("list", Path::new("/"), &e))?;
    let mut names: Vec<String> = entries
        .flatten()
        .filter(|entry| entry.path().is_dir())
        .filter_map(|entry| entry.file_name().into_string().ok())
        .collect();
    names.sort();
    let plain = |name: &&String| name.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b));
    let known = ["usr", "bin", "sbin", "lib", "lib32", "lib64", "libx32"];
    for name in
        names.iter().filter(plain).filter(|name| !NOT_SHOWN.contains(&name.as_str()) && !known.contains(&name.as_str()))
    {
        text += &format!("[[grant.exec]]\npath = \"/{name}\"\noptional = true\n{reason}");
    }
    text += &format!("[[grant.write]]\npath = \".\"\n{reason}[[grant.exec]]\npath = \".\"\n{reason}");
    Ok(text)
}

/// Our streams; what the command prints stays out of a profile that goes to standard output.
fn with_streams<T>(signals: &mut Signals, to_stderr: bool, call: impl FnOnce(Io<'_>) -> Result<T>) -> Result<T> {
    struct Out<W>(W);
    impl<W: io::Write> Sink for Out<W> {
        fn take(&mut self, chunk: &[u8]) -> io::Result<()> {
            self.0.write_all(chunk)?;
            self.0.flush()
        }
    }
    let stdin = io::stdin().as_fd().try_clone_to_owned();
    let stdin = stdin.map_err(|e| Error::host(format!("pass standard input on: {}", plain(&e))))?;
    let stdout: Box<dyn io::Write> = if to_stderr { Box::new(io::stderr()) } else { Box::new(io::stdout()) };
    let (mut stdout, mut stderr) = (Out(stdout), Out(io::stderr()));
    call(Io { input: Input::Descriptor(stdin), stdout: &mut stdout, stderr: &mut stderr, outside: signals })
}

/// Exit code of the command.
fn ending(outcome: Outcome) -> Result<u8> {
    match outcome {
        Outcome::Ran(sealed) => match sealed.ran {
            Ran::Ended(run) => Ok(match run.main.status {
                Status::Exited(code) => code,
                Status::Signalled(signal) => u8::try_from(signal & 0x7f).unwrap_or(0).saturating_add(128),
            }),
            Ran::NotStarted { why, .. } => {
                Err(Error::operator(why).hint("only a command that runs can be learned from"))
            }
        },
        Outcome::Called(_) => Err(Error::bug("a command ran as a tool")),
        Outcome::Denied(refusal, _) => Err(Error::operator(refusal.to_string())),
        Outcome::Unapproved(..) => Err(Error::operator("a person has to approve this command")
            .hint("learn with a profile that does not ask: --from")),
    }
}

/// What the log says.
fn observe(log: &Path) -> Result<(Observed, Option<Recorder>)> {
    let (mut observed, mut recorder) = (Observed::default(), None);
    let walked = LogReader::open(log).and_then(|log| {
        log.each(&mut |leaf| {
            if let Body::SessionOpen(open) = &leaf.body {
                recorder.clone_from(&open.recorder);
            }
            observed.take(&leaf);
            Ok(())
        })
    });
    walked.map_err(failed)?;
    Ok((observed, recorder))
}

/// Refuses to learn from a log in which not every open is.
fn enough(recorder: Option<&Recorder>) -> Result<()> {
    let why = match recorder {
        Some(recorder) if recorder.grade == RecorderGrade::OutcomeOnly => recorder.why.clone(),
        Some(recorder) if recorder.scope != RecorderScope::AllOpens => "it was not asked for all opens".to_owned(),
        Some(_) => return Ok(()),
        None => "there is none".to_owned(),
    };
    Err(Error::host(format!("nothing could be learned, since nothing recorded what the command opened: {why}"))
        .hint("`stockade doctor` says what the recorder needs on this machine"))
}

fn would(profile: &ExpandedProfile, path: &Path, action: impl FnOnce(GuestPath) -> Action) -> bool {
    let (Ok(path), Ok(tool)) = (GuestPath::parse(path.as_os_str().as_bytes()), ToolName::parse("exec")) else {
        return false;
    };
    matches!(profile.would(&Call::new(tool, action(path))), Answer::Allowed(_))
}

fn executes(profile: &ExpandedProfile, path: &Path) -> bool {
    let (Ok(command), Ok(tool)) =
        (Command::from_words([path.as_os_str().as_bytes().to_vec()]), ToolName::parse("exec"))
    else {
        return false;
    };
    matches!(profile.would(&Call::new(tool, Action::Command(command))), Answer::Allowed(_))
}

fn put(text: &str, output: Option<&Path>) -> Result<()> {
    let Some(path) = output else { return print(text) };
    let failed = |e: &io::Error| Error::io("write the profile", path, e);
    let mut file =
        fs::File::options().write(true).create(true).truncate(true).mode(0o644).open(path).map_err(|e| failed(&e))?;
    file.write_all(text.as_bytes()).map_err(|e| failed(&e))?;
    tell(&format!(
        "stockade: wrote {}; fill in the reasons, then: stockade profile check {}",
        path.display(),
        path.display()
    ));
    Ok(())
}
