//! Opens a session: a layer for the workspace, a plan, a sandbox that carries it out, and the log that says so.
//! It never opens one whose enforcement is below the profile's floor.

use crate::backend::container::engine::Progress;
use crate::backend::process::host::{Host, ThisHost};
use crate::backend::process::layout::Granted;
use crate::backend::process::plan::{self, View};
use crate::backend::process::{self, ProcessWall, grants};
use crate::error::{Error, Result};
use crate::journal::Draft;
use crate::session::container::{self, Warm};
use crate::session::control::Control;
use crate::session::outlet::{self, Blueprint, Secrets};
use crate::session::recorder::Recorder;
use crate::session::settle;
use crate::session::snapshot::{self, Begun, Origin};
use crate::session::tools::Tools;
use crate::session::{Session, digest, records, site};
use crate::workspace::{Layer, Method, Mode};
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use stockade_audit::record::{self as log, SessionId, SessionOpen};
use stockade_jail::enforced::{LayerState, State};
use stockade_jail::plan::{Plan, Wall};
use stockade_jail::recorder::{Events, Grade as RecorderGrade};
use stockade_jail::{ErrorKind, Helper, JailError};
use stockade_policy::{Access, Backend, ExpandedProfile, Floor, RecordFloor};

/// Everything that a session is made of, chosen by whoever starts it.
#[derive(Debug, Clone)]
pub struct Options {
    /// Name of the session.
    pub id: SessionId,
    /// Where it keeps what.
    pub paths: Paths,
    /// What it is judged by.
    pub profile: ExpandedProfile,
    /// How the workspace is used.
    pub mode: Mode,
    /// Who starts it.
    pub user: User,
    /// The host's environment, of which the profile lets some in.
    pub variables: BTreeMap<Vec<u8>, Vec<u8>>,
    /// Files of the workspace that say what is allowed: the profile itself.
    pub rule_files: Vec<PathBuf>,
    /// The container engine that was named: `docker`, `podman`, or its socket.
    pub engine: Option<String>,
    /// Shows how an engine gets on that has to pull the image first; `None` when it is done.
    pub watch: fn(Option<&Progress>),
    /// What it goes on from, where it does not begin with the workspace as it is.
    pub from: Option<Origin>,
    /// The wire that calls come over, as the log names it.
    pub via: &'static str,
}

/// Directories of a session.
#[derive(Debug, Clone)]
pub struct Paths {
    /// Its log; not there yet.
    pub log: PathBuf,
    /// Its workspace layer; not there yet.
    pub layer: PathBuf,
    /// The workspace, canonical.
    pub workspace: PathBuf,
    /// The user's home directory.
    pub home: PathBuf,
    /// The directory of all state: logs, keys, layers.
    pub state: PathBuf,
}

/// Who starts a session.
#[derive(Debug, Clone)]
pub struct User {
    /// Effective user id.
    pub uid: u32,
    /// Effective group id.
    pub gid: u32,
    /// Name.
    pub name: String,
}

/// A layer and the plan made for it: what `explain` shows and `open` carries out.
#[derive(Debug)]
pub struct Prepared {
    /// The layer of the workspace.
    pub layer: Layer,
    /// The plan.
    pub plan: Plan,
    /// Variables of the sandbox.
    pub(super) environment: BTreeMap<Vec<u8>, Vec<u8>>,
    /// Where the workspace is inside.
    pub(super) inside: PathBuf,
}

/// Makes the layer and the plan of a session on one wall.
///
/// # Errors
/// Operator: something that the profile grants is not there, cannot be enforced, or the workspace cannot be used.
/// Host: the layer cannot be made.
pub fn prepare(options: &Options, wall: Wall, method: Method) -> Result<Prepared> {
    let blueprint = Blueprint::of(&options.profile)?;
    let way_out = WayOut { blueprint: blueprint.as_ref(), secrets: None };
    match options.profile.backend() {
        Backend::Process => prepare_here(options, wall, method, way_out),
        Backend::Container(chosen) => container::prepare(options, chosen, way_out).map(|(prepared, _)| prepared),
    }
}

fn prepare_here(options: &Options, wall: Wall, method: Method, way_out: WayOut<'_>) -> Result<Prepared> {
    let layer = layered(options, wall, method, way_out.blueprint)?;
    planned(options, wall, layer, way_out, &ThisHost)
}

/// Makes the layer of a session, once its profile can be held.
pub(super) fn layered(options: &Options, wall: Wall, method: Method, blueprint: Option<&Blueprint>) -> Result<Layer> {
    grants::refuse_unenforceable(&options.profile, wall)?;
    blueprint.map_or(Ok(()), |blueprint| blueprint.leaves_ports(&options.profile))?;
    keep_state(options)?;
    let Paths { layer: state, workspace, .. } = &options.paths;
    make_private(state)?;
    let layer = match &options.from {
        Some(origin) => snapshot::fork(options, origin, method)?,
        None => Layer::create(state, workspace, options.mode, method).map_err(settle::failed)?,
    };
    if options.user.uid == 0 && layer.mode() != Mode::Direct && layer.method() == Method::Copy {
        let (uid, gid) = outside(options, &layer)?;
        layer.give_copy_to(uid, gid).map_err(settle::failed)?;
    }
    Ok(layer)
}

/// User and group that the guest is out here.
pub(super) fn outside(options: &Options, layer: &Layer) -> Result<(u32, u32)> {
    let guest = site::guest(options, layer)?;
    stockade_jail::guest_ids_outside(guest.uid, guest.gid).map_err(|e| process::failed(&e))
}

/// Makes the plan over a layer, for files as this host has them.
pub(super) fn planned(
    options: &Options,
    wall: Wall,
    layer: Layer,
    way_out: WayOut<'_>,
    host: &dyn Host,
) -> Result<Prepared> {
    let site = site::site(options, wall, &layer, host)?;
    let granted = grants::granted(&options.profile);
    let limits = grants::limits(options.profile.limits());
    let plan = match way_out.blueprint {
        Some(blueprint) => plan::build_with_outlet(&granted, limits, &site, &blueprint.view, host)?,
        None => plan::build(&granted, limits, &site, host)?,
    };
    let inside = match (wall, &site.view) {
        (Wall::Landlock, View::Directory { source }) => source.clone(),
        (Wall::Landlock | Wall::Namespaces, _) => options.paths.workspace.clone(),
    };
    let mut environment = site::environment(options, &site, wall);
    for (name, value) in way_out.secrets.into_iter().flat_map(outlet::environment) {
        environment.entry(name).or_insert(value);
    }
    Ok(Prepared { layer, plan, environment, inside })
}

/// What a session's way out is made of, where it has one.
#[derive(Debug, Clone, Copy)]
pub(super) struct WayOut<'a> {
    pub(super) blueprint: Option<&'a Blueprint>,
    pub(super) secrets: Option<&'a Secrets>,
}

/// Refuses a grant that would let the guest write, or move aside, the logs and keys. Read grants above them are no harm:
/// the state is masked there.
fn keep_state(options: &Options) -> Result<()> {
    let state = &options.paths.state;
    let holds = |granted: &&Granted| granted.right == Access::Write && state.starts_with(&granted.path);
    match grants::granted(&options.profile).iter().find(holds) {
        None => Ok(()),
        Some(granted) => Err(Error::operator(format!(
            "{} grants writing below \"{}\", which holds Stockade's own state",
            granted.rule,
            granted.path.display()
        ))
        .hint("grant smaller paths, or set STOCKADE_STATE to a directory outside them")),
    }
}

impl Session {
    /// Opens a session. `helper` is to become its sandbox, and `draft` gives its log, which is made meanwhile: it is asked
    /// for when the sandbox is there.
    ///
    /// # Errors
    /// As [`prepare`]; Host: the machine cannot enforce what the profile's floor asks for, or the log cannot be written.
    pub fn open(options: Options, helper: Helper, draft: impl FnOnce() -> Result<Draft>) -> Result<Self> {
        let blueprint = Blueprint::of(&options.profile)?;
        let secrets = Secrets::load(&options)?;
        let way_out = WayOut { blueprint: blueprint.as_ref(), secrets: secrets.as_ref() };
        let place = match options.profile.backend() {
            Backend::Process => {
                let (prepared, wall) = start(&options, helper, way_out)?;
                (prepared, wall, None)
            }
            Backend::Container(chosen) => container::start(&options, chosen, way_out)?,
        };
        Self::open_in(place, options, blueprint, secrets, draft)
    }

    /// The same in a container that waits for it.
    ///
    /// # Errors
    /// As [`Session::open`].
    pub fn open_warm(warm: Warm, draft: impl FnOnce() -> Result<Draft>) -> Result<Self> {
        let (options, way, contained) = warm.into_parts()?;
        let blueprint = Blueprint::of(&options.profile)?;
        let secrets = Secrets::load(&options)?;
        let way_out = WayOut { blueprint: blueprint.as_ref(), secrets: secrets.as_ref() };
        let place = container::start_in(&options, &way, Some(contained), way_out)?;
        Self::open_in(place, options, blueprint, secrets, draft)
    }

    fn open_in(
        (prepared, mut wall, outer): (Prepared, ProcessWall, Option<log::Container>),
        options: Options,
        blueprint: Option<Blueprint>,
        secrets: Option<Secrets>,
        draft: impl FnOnce() -> Result<Draft>,
    ) -> Result<Self> {
        let events = recorded(&options, &mut wall)?;
        let watched = records::recorder(wall.enforced(), options.profile.recording(), events.as_ref());
        let begun = Begun::with(&prepared.layer, options.profile.profile(), options.from.as_ref())?;
        let record =
            SessionOpen { from: begun.from, ..opening(&options, &prepared.plan, &wall, watched.clone(), outer)? };
        let journal = draft()?.begin(record)?;
        let sockets = wall.take_outlet();
        let wall = Arc::new(wall);
        let recorder = events.map(|events| {
            let vault = secrets.as_ref().map(|secrets| Arc::clone(&secrets.vault));
            let workspace = prepared.inside.as_os_str().as_bytes().to_vec();
            Recorder::start(events, Arc::clone(&wall), journal.scribe(), workspace, vault)
        });
        let recorder = recorder.transpose()?;
        // Both write into one account: its connections have one numbering.
        let account = journal.account(recorder.as_ref().map(Recorder::before));
        let outlet = match (blueprint, &secrets) {
            (Some(blueprint), Some(secrets)) => {
                let vault = Arc::clone(&secrets.vault);
                Some(blueprint.start(&options, sockets, vault, account.clone())?)
            }
            (None, _) | (_, None) => None,
        };
        let control = Control::of(&options, &wall, account)?;
        let tools = Tools::new(&options, &wall, prepared.inside, prepared.environment);
        let Options { id, profile, via, .. } = options;
        Ok(Self {
            id,
            profile,
            journal,
            wall,
            control,
            outlet,
            recorder,
            watched,
            secrets,
            tools,
            layer: prepared.layer,
            via,
            known: begun.known,
            waiting: begun.waiting,
            hidden: begun.hidden,
        })
    }
}

/// Makes the directory of a session's layer, if it is not there.
///
/// # Errors
/// Host: it cannot be made.
pub fn make_layer_directory(options: &Options) -> Result<()> {
    make_private(&options.paths.layer)
}

/// Removes the directory of a session's layer with all that is in it, and nothing that is mounted there: what a root that was
/// killed showed to a container is the workspace itself.
///
/// # Errors
/// Host: something cannot be unmounted or removed. A directory that is not there is no error.
pub fn remove_layer_directory(directory: &Path) -> Result<()> {
    stockade_jail::detach_all(directory).map_err(|e| process::failed(&e))?;
    match fs::remove_dir_all(directory) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(Error::io("remove", directory, &error)),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// How a session's layer is made where its state lies; makes the layer's directory.
///
/// # Errors
/// Host: the directory cannot be made.
pub fn method(options: &Options) -> Result<Method> {
    make_private(&options.paths.layer)?;
    match &options.from {
        // A copy of an overlay's layer is one, and a copy of a copy.
        Some(origin) => Layer::open(&origin.layer).map(|layer| layer.method()).map_err(settle::failed),
        None => Layer::method_for(&options.paths.layer).map_err(settle::failed),
    }
}

/// Starts the strongest wall that the machine has, down to the profile's floor.
fn start(options: &Options, helper: Helper, way_out: WayOut<'_>) -> Result<(Prepared, ProcessWall)> {
    let mut attempt = (Wall::Namespaces, method(options)?);
    let mut helper = Some(helper);
    loop {
        let (wall, method) = attempt;
        let prepared = prepare_here(options, wall, method, way_out)?;
        let Prepared { plan, environment, inside, .. } = &prepared;
        let moved = process::Moved { from: options.paths.workspace.clone(), to: inside.clone() };
        let helper = helper.take().map_or_else(Helper::begin, Ok).map_err(|e| process::failed(&e))?;
        let error = match ProcessWall::start(helper, plan, options.id.as_str(), moved, environment.clone()) {
            Ok(started) => return above_floor(options, prepared, started),
            Err(error) => error,
        };
        tracing::info!(%error, ?wall, ?method, "this way of starting the sandbox is not to be had");
        attempt = next_attempt(options, attempt, &error)?;
        prepared.layer.discard().map_err(settle::failed)?;
    }
}

/// What to try when the machine refused one way: a copy instead of an overlay, the weaker wall where the floor allows.
fn next_attempt(options: &Options, (wall, method): (Wall, Method), error: &JailError) -> Result<(Wall, Method)> {
    let copyable = matches!(error.kind, ErrorKind::OverlayRefused | ErrorKind::IdmapRefused);
    if copyable && method == Method::Overlay && options.mode != Mode::Direct {
        return Ok((wall, Method::Copy));
    }
    let refused = matches!(error.kind, ErrorKind::NamespacesRefused | ErrorKind::ProcRefused);
    match (wall, options.profile.floor()) {
        (Wall::Namespaces, Floor::Partial) if refused => Ok((Wall::Landlock, Method::Copy)),
        (Wall::Namespaces, Floor::Full) if refused => {
            let hint = error.hint.clone().unwrap_or_else(|| "`stockade doctor` says what is missing".to_owned());
            Err(Error::host(format!("{error}; profile \"{}\" has floor = \"full\"", options.profile.name()))
                .hint(format!("{hint}; or accept the weaker wall with floor = \"partial\" in a profile")))
        }
        (Wall::Namespaces | Wall::Landlock, _) => Err(process::failed(error)),
    }
}

pub(super) fn above_floor(options: &Options, prepared: Prepared, wall: ProcessWall) -> Result<(Prepared, ProcessWall)> {
    use stockade_jail::Grade;
    let needed = match options.profile.floor() {
        Floor::Partial => Grade::Partial,
        Floor::Full => Grade::Full,
    };
    let reached = wall.enforced().grade;
    if reached >= needed {
        return Ok((prepared, wall));
    }
    let not_whole = |layer: &&LayerState| layer.state != State::Active;
    let missing: Vec<String> = wall.enforced().layers.iter().filter(not_whole).map(ToString::to_string).collect();
    Err(Error::host(format!(
        "enforcement is \"{reached}\", and profile \"{}\" has floor = \"{}\": {}",
        options.profile.name(),
        options.profile.floor(),
        missing.join("; ")
    ))
    .hint("`stockade doctor` says what is missing and how to mend it"))
}

/// What the sandbox's recorder tells, which must be worth what the profile asks for.
fn recorded(options: &Options, wall: &mut ProcessWall) -> Result<Option<Events>> {
    let events = wall.take_recorder()?;
    let reached = match events.as_ref().map_or(RecorderGrade::OutcomeOnly, Events::grade) {
        RecorderGrade::OutcomeOnly => RecordFloor::OutcomeOnly,
        RecorderGrade::Trace => RecordFloor::Traced,
        RecorderGrade::Notify => RecordFloor::Observed,
        RecorderGrade::NotifyAndOpen => RecordFloor::Performed,
    };
    let needed = options.profile.record_floor();
    if reached >= needed {
        return Ok(events);
    }
    let why = records::recorder(wall.enforced(), options.profile.recording(), events.as_ref()).why;
    let name = options.profile.name();
    let what = format!("records would be \"{reached}\", and profile \"{name}\" has record_floor = \"{needed}\": {why}");
    let hint = format!("`stockade doctor` says what is missing; or accept less with record_floor = \"{reached}\"");
    Err(Error::host(what).hint(hint))
}

/// The first record of the log.
fn opening(
    options: &Options,
    plan: &Plan,
    wall: &ProcessWall,
    watched: log::Recorder,
    container: Option<log::Container>,
) -> Result<SessionOpen> {
    let enforced = wall.enforced();
    let kernel = nix::sys::utsname::uname().map_err(|e| Error::host(format!("ask the kernel for its release: {e}")))?;
    Ok(SessionOpen {
        sid: options.id.clone(),
        tool: concat!("stockade ", env!("CARGO_PKG_VERSION")).to_owned(),
        kernel: kernel.release().to_string_lossy().into_owned(),
        wall: options.profile.backend().as_str().to_owned(),
        grade: enforced.grade.to_string(),
        layers: records::layers(enforced),
        profile: options.profile.name().to_string(),
        profile_h: digest(&options.profile.canonical_bytes()),
        plan_h: digest(&plan.canonical_bytes()),
        filter_h: records::filter_digest(plan, enforced, watched.grade)?,
        mode: match options.mode {
            Mode::Review => log::Mode::Review,
            Mode::Direct => log::Mode::Direct,
            Mode::Discard => log::Mode::Discard,
        },
        recorder: Some(watched),
        container,
        from: None,
        durability: match options.profile.durability() {
            stockade_policy::Durability::Group => log::Durability::Group,
            stockade_policy::Durability::BeforeResult => log::Durability::BeforeResult,
            stockade_policy::Durability::BeforeRun => log::Durability::BeforeRun,
        },
    })
}

/// Makes a directory of ours, 0700, if it is not there.
pub(super) fn make_private(directory: &Path) -> Result<()> {
    let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(directory);
    made.map_err(|e| Error::io("make the directory", directory, &e))
}
