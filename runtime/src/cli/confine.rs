//! From the command line's words to the options of a session: profile, workspace, mode, user.
//! It never starts anything.

use crate::cli::args::{Beginning, Confinement, Mode, WallArgs};
use crate::cli::{Context, image, snapshot};
use crate::config::environment::Environment;
use crate::config::profiles::{self, Sources, WallWords};
use crate::config::state::State;
use crate::error::{Error, Result};
use crate::journal::{self, Journal};
use crate::session::{self, Options, Paths, Session, User, Warm};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use stockade_audit::record::SessionId;
use stockade_jail::Helper;
use stockade_policy::Backend;

/// A session's options, and the texts of its profile.
#[derive(Debug)]
pub(super) struct Confined {
    /// The options.
    pub(super) options: Options,
    /// The profile's texts, which the session keeps.
    pub(super) sources: Sources,
}

/// A session that was opened for a command line.
#[derive(Debug)]
pub(super) struct Started {
    /// The session.
    pub(super) session: Session,
    /// Its name.
    pub(super) id: SessionId,
    /// Directory of its log.
    pub(super) log: PathBuf,
}

/// Opens a session as the command line asks for it. `via` is the wire that its calls come over.
///
/// # Errors
/// Operator: no such profile or workspace, or mistakes in the profile. Host: as [`Session::open`].
pub(super) fn start(
    args: &Confinement,
    beginning: &Beginning,
    via: &'static str,
    context: &Context,
) -> Result<Started> {
    // First of all: the helper comes up while the profile is read, and the log's files are made beside both.
    let helper = Helper::begin().map_err(|e| crate::backend::process::failed(&e))?;
    let state = State::open(&context.environment)?;
    // Before there is a newer session for `last` to mean.
    let from = beginning.from.as_deref().map(|named| snapshot::origin(&state, named)).transpose()?;
    let id = journal::new_session_id()?;
    let (log, layer) = (state.log(&id), state.layer(&id));
    let opened: Result<Session> = std::thread::scope(|scope| {
        let drafted = scope.spawn(|| {
            let ledger = journal::ledger(state.root(), &context.environment.user)?;
            Journal::draft(&log, ledger, &id)
        });
        let draft = || drafted.join().map_err(|_| Error::bug("making the log's files panicked"))?;
        let Confined { options, sources } = confined(args, id.clone(), &state, via, context)?;
        let options = Options { from, ..options };
        session::make_layer_directory(&options)?;
        sources.keep(&layer)?;
        Session::open(options, helper, draft)
    });
    Ok(Started { session: opened?, id, log })
}

/// Starts the container of a session that is to be opened later.
///
/// # Errors
/// As [`start`]. Operator: what confines is no container.
pub(super) fn warm_up(args: &Confinement, via: &'static str, context: &Context) -> Result<Warm> {
    let state = State::open(&context.environment)?;
    let id = journal::new_session_id()?;
    let Confined { options, sources } = confined(args, id, &state, via, context)?;
    session::make_layer_directory(&options)?;
    sources.keep(&options.paths.layer)?;
    Warm::up(options)
}

/// Whether a container that waits was made for what confines now: profiles are read again for each session.
///
/// # Errors
/// As [`start`].
pub(super) fn is_for(warm: &Warm, args: &Confinement, via: &'static str, context: &Context) -> Result<bool> {
    let theirs = warm.options();
    let state = State::open(&context.environment)?;
    let Confined { options, .. } = confined(args, theirs.id.clone(), &state, via, context)?;
    Ok(options.profile.canonical_bytes() == theirs.profile.canonical_bytes())
}

/// Opens a session in a container that waits for one.
///
/// # Errors
/// As [`start`].
pub(super) fn start_warm(warm: Warm, context: &Context) -> Result<Started> {
    let (id, log, state) = {
        let options = warm.options();
        (options.id.clone(), options.paths.log.clone(), options.paths.state.clone())
    };
    let ledger = journal::ledger(&state, &context.environment.user)?;
    let session = Session::open_warm(warm, || Journal::draft(&log, ledger, &id))?;
    Ok(Started { session, id, log })
}

/// Reads what confines, for a session that begins with the workspace as it is.
///
/// # Errors
/// Operator: no such profile or workspace, or mistakes in the profile.
pub(super) fn confined(
    args: &Confinement,
    id: SessionId,
    state: &State,
    via: &'static str,
    context: &Context,
) -> Result<Confined> {
    let environment = &context.environment;
    let (log, layer, state) = (state.log(&id), state.layer(&id), state.root().to_owned());
    let workspace = workspace(args.workspace.as_deref())?;
    let sources = Sources::gather(&args.profile, environment)?.in_workspace(&workspace)?.behind(words(&args.wall));
    let profile = profiles::placed(&sources.profile()?, &workspace, environment)?;
    refuse_idle_engine(args.wall.engine.as_deref(), profile.backend())?;
    let bytes = |text: &std::ffi::OsString| text.as_bytes().to_vec();
    let options = Options {
        from: None,
        watch: image::watch,
        id,
        paths: Paths { log, layer, workspace: workspace.clone(), home: home(environment), state },
        profile,
        mode: mode(args.mode),
        user: user(environment),
        variables: environment.all().map(|(name, value)| (bytes(name), bytes(value))).collect(),
        rule_files: rule_files(&args.profile, &workspace),
        engine: args.wall.engine.clone(),
        via,
    };
    Ok(Confined { options, sources })
}

/// What the command line says of the wall, to be kept with the profile's texts.
fn words(args: &WallArgs) -> WallWords {
    let backend = args.backend.map(|backend| backend.as_str().to_owned());
    WallWords { backend, image: args.image.clone(), runtime: args.runtime.clone() }
}

/// Whoever names an engine expects a container; that there would be none must not come as a surprise.
fn refuse_idle_engine(engine: Option<&str>, backend: &Backend) -> Result<()> {
    match (engine, backend) {
        (Some(engine), Backend::Process) => {
            Err(Error::operator(format!("--engine \"{engine}\" is for containers, and the backend is \"process\""))
                .hint("name an image: --image NAME, or a profile with backend = \"container\""))
        }
        (None, Backend::Process) | (_, Backend::Container(_)) => Ok(()),
    }
}

/// The workspace, canonical.
fn workspace(named: Option<&Path>) -> Result<PathBuf> {
    let named = named.unwrap_or_else(|| Path::new("."));
    let canonical = named.canonicalize().map_err(|e| {
        Error::operator(format!("workspace \"{}\": {}", named.display(), crate::error::plain(&e)))
            .hint("name a directory that exists and that you may enter: --workspace DIR")
    })?;
    if !canonical.is_dir() {
        return Err(Error::operator(format!("workspace \"{}\" is not a directory", named.display()))
            .hint("name a directory: --workspace DIR"));
    }
    // Listing it is what every command in it begins with; better told here than by the first of them.
    std::fs::read_dir(&canonical).map_err(|e| {
        Error::operator(format!("workspace \"{}\" cannot be read: {}", named.display(), crate::error::plain(&e)))
            .hint("you need the right to read and enter it")
    })?;
    Ok(canonical)
}

/// The home directory as the kernel names it, so that paths below it compare.
fn home(environment: &Environment) -> PathBuf {
    environment.home.canonicalize().unwrap_or_else(|_| environment.home.clone())
}

fn mode(mode: Mode) -> crate::workspace::Mode {
    match mode {
        Mode::Review => crate::workspace::Mode::Review,
        Mode::Direct => crate::workspace::Mode::Direct,
        Mode::Discard => crate::workspace::Mode::Discard,
    }
}

fn user(environment: &Environment) -> User {
    // A name goes into the sandbox's passwd file, where a colon or a newline would make another entry.
    let plain = |name: &String| name.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b));
    let name = if plain(&environment.user) { environment.user.clone() } else { "agent".to_owned() };
    User { uid: environment.uid, gid: environment.gid, name }
}

/// Files in the workspace that say what is allowed there.
fn rule_files(profile: &str, workspace: &Path) -> Vec<PathBuf> {
    let named = Path::new(profile).canonicalize().ok();
    named.into_iter().chain([workspace.join(profiles::PROJECT_FILE)]).collect()
}
