//! Opens a session: a layer for the workspace, a plan, a sandbox that carries it out, and the log that says so.
//! It never opens one whose enforcement is below the profile's floor.

use crate::backend;
use crate::backend::process::grants::{self, ClosedPlace};
use crate::backend::process::host::{Host as _, Seen, ThisHost};
use crate::backend::process::layout::{Granted, Grants, Screens};
use crate::backend::process::plan::{self, Guest, Site, View};
use crate::backend::process::{self, ProcessWall};
use crate::error::{Error, Result};
use crate::journal::Draft;
use crate::session::control::Control;
use crate::session::outlet::{self, Blueprint, Secrets};
use crate::session::recorder::Recorder;
use crate::session::settle::{self, Guards, Known, Waiting};
use crate::session::tools::Tools;
use crate::session::{Session, digest, records};
use crate::workspace::{Changes, Hidden, Layer, Method, Mode, Treatment};
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use stockade_audit::record::{self as log, SessionId, SessionOpen};
use stockade_jail::enforced::{LayerState, State};
use stockade_jail::plan::{Owner, Plan, Record, Wall};
use stockade_jail::recorder::{Events, Grade as RecorderGrade};
use stockade_jail::{ErrorKind, Helper, JailError};
use stockade_policy::{Access, ExpandedProfile, Floor, RecordFloor, Recording};

/// Everything that a session is made of, chosen by whoever starts it.
#[derive(Debug)]
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

/// User id inside when root starts a session in a workspace of its own: root inside is nobody outside, and programs
/// that behave otherwise as root should not.
const GUEST_ID: u32 = 1000;

/// A layer and the plan made for it: what `explain` shows and `open` carries out.
#[derive(Debug)]
pub struct Prepared {
    /// The layer of the workspace.
    pub layer: Layer,
    /// The plan.
    pub plan: Plan,
    /// Variables of the sandbox.
    environment: BTreeMap<Vec<u8>, Vec<u8>>,
    /// Where the workspace is inside.
    inside: PathBuf,
}

/// Makes the layer and the plan of a session on one wall.
///
/// # Errors
/// Operator: something that the profile grants is not there, cannot be enforced, or the workspace cannot be used.
/// Host: the layer cannot be made.
pub fn prepare(options: &Options, wall: Wall, method: Method) -> Result<Prepared> {
    backend::refuse_unbuilt(options.profile.backend())?;
    let blueprint = Blueprint::of(&options.profile)?;
    prepare_with(options, wall, method, blueprint.as_ref(), None)
}

fn prepare_with(
    options: &Options,
    wall: Wall,
    method: Method,
    blueprint: Option<&Blueprint>,
    secrets: Option<&Secrets>,
) -> Result<Prepared> {
    grants::refuse_unenforceable(&options.profile, wall)?;
    blueprint.map_or(Ok(()), |blueprint| blueprint.leaves_ports(&options.profile))?;
    keep_state(options)?;
    let Paths { layer: state, workspace, .. } = &options.paths;
    make_private(state)?;
    let layer = Layer::create(state, workspace, options.mode, method).map_err(settle::failed)?;
    let site = site(options, wall, &layer)?;
    if options.user.uid == 0 && layer.mode() != Mode::Direct && layer.method() == Method::Copy {
        let outside = stockade_jail::guest_ids_outside(site.guest.uid, site.guest.gid);
        let (uid, gid) = outside.map_err(|e| process::failed(&e))?;
        layer.give_copy_to(uid, gid).map_err(settle::failed)?;
    }
    let granted = grants::granted(&options.profile);
    let limits = grants::limits(options.profile.limits());
    let plan = match blueprint {
        Some(blueprint) => plan::build_with_outlet(&granted, limits, &site, &blueprint.view, &ThisHost)?,
        None => plan::build(&granted, limits, &site, &ThisHost)?,
    };
    let inside = match (wall, &site.view) {
        (Wall::Landlock, View::Directory { source }) => source.clone(),
        (Wall::Landlock | Wall::Namespaces, _) => workspace.clone(),
    };
    let mut environment = environment(options, &site, wall);
    for (name, value) in secrets.into_iter().flat_map(outlet::environment) {
        environment.entry(name).or_insert(value);
    }
    Ok(Prepared { layer, plan, environment, inside })
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
        backend::refuse_unbuilt(options.profile.backend())?;
        let blueprint = Blueprint::of(&options.profile)?;
        let secrets = Secrets::load(&options)?;
        let (prepared, mut wall) = start(&options, helper, blueprint.as_ref(), secrets.as_ref())?;
        let events = recorded(&options, &mut wall)?;
        let watched = records::recorder(wall.enforced(), options.profile.recording(), events.as_ref());
        let record = opening(&options, &prepared.plan, &wall, watched.clone())?;
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
            known: Known::default(),
            waiting: Waiting::default(),
            hidden: Hidden::default(),
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

/// How a session's layer is made where its state lies; makes the layer's directory.
///
/// # Errors
/// Host: the directory cannot be made.
pub fn method(options: &Options) -> Result<Method> {
    make_private(&options.paths.layer)?;
    Layer::method_for(&options.paths.layer).map_err(settle::failed)
}

/// Starts the strongest wall that the machine has, down to the profile's floor.
fn start(
    options: &Options,
    helper: Helper,
    blueprint: Option<&Blueprint>,
    secrets: Option<&Secrets>,
) -> Result<(Prepared, ProcessWall)> {
    let mut attempt = (Wall::Namespaces, method(options)?);
    let mut helper = Some(helper);
    loop {
        let (wall, method) = attempt;
        let prepared = prepare_with(options, wall, method, blueprint, secrets)?;
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

fn above_floor(options: &Options, prepared: Prepared, wall: ProcessWall) -> Result<(Prepared, ProcessWall)> {
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
fn opening(options: &Options, plan: &Plan, wall: &ProcessWall, watched: log::Recorder) -> Result<SessionOpen> {
    let enforced = wall.enforced();
    let kernel = nix::sys::utsname::uname().map_err(|e| Error::host(format!("ask the kernel for its release: {e}")))?;
    Ok(SessionOpen {
        sid: options.id.clone(),
        tool: concat!("stockade ", env!("CARGO_PKG_VERSION")).to_owned(),
        kernel: kernel.release().to_string_lossy().into_owned(),
        wall: "process".to_owned(),
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
        container: None,
        durability: match options.profile.durability() {
            stockade_policy::Durability::Group => log::Durability::Group,
            stockade_policy::Durability::BeforeResult => log::Durability::BeforeResult,
            stockade_policy::Durability::BeforeRun => log::Durability::BeforeRun,
        },
    })
}

/// Where the session takes place.
fn site(options: &Options, wall: Wall, layer: &Layer) -> Result<Site> {
    let Paths { layer: state, workspace, home, .. } = &options.paths;
    let view = match (layer.mode(), layer.method()) {
        (Mode::Direct, _) => View::Directory { source: workspace.clone() },
        (Mode::Review | Mode::Discard, Method::Copy) => View::Directory { source: layer.mount_source() },
        (Mode::Review | Mode::Discard, Method::Overlay) => View::Overlay { layer: layer.mount_source() },
    };
    let scratch = state.join("scratch");
    if wall == Wall::Landlock {
        for directory in [scratch.clone(), scratch.join("home"), scratch.join("tmp")] {
            make_private(&directory)?;
        }
    }
    let (mut protected, pinned) = protected(options, layer)?;
    let mut masked = masked(options, layer)?;
    // Inside there is only what is granted: elsewhere nothing can be hidden or kept from writing.
    let granted = grants::granted(&options.profile);
    let shown = |path: &PathBuf| {
        Grants::new(&granted).shows(path) && matches!(ThisHost.look(path), Seen::File | Seen::Directory)
    };
    for paths in [&mut protected, &mut masked] {
        paths.retain(shown);
        paths.sort();
        paths.dedup();
    }
    let screens = match layer.method() {
        Method::Overlay => Screens::Available,
        Method::Copy => Screens::Missing,
    };
    Ok(Site {
        wall,
        screens,
        workspace: workspace.clone(),
        view,
        home: home.clone(),
        scratch,
        guest: guest(options, layer)?,
        protected,
        pinned,
        masked,
        record: match options.profile.recording() {
            Recording::Off => Record::Off,
            Recording::Changes => Record::Changes,
            Recording::AllOpens => Record::AllOpens,
        },
    })
}

/// Who the guest is: who started it; under root the workspace's owner, but never root. A copy belongs to the guest
/// outright, so that file systems without id-mapped mounts (overlayfs, as in most containers) will do.
fn guest(options: &Options, layer: &Layer) -> Result<Guest> {
    let User { uid, gid, name } = &options.user;
    if *uid != 0 {
        return Ok(Guest { uid: *uid, gid: *gid, name: name.clone(), owner: Owner::AsIs });
    }
    let workspace = &options.paths.workspace;
    let metadata = fs::metadata(workspace).map_err(|e| Error::io("look at", workspace, &e))?;
    let not_root = |id: u32| if id == 0 { GUEST_ID } else { id };
    let (uid, gid) = (not_root(metadata.uid()), not_root(metadata.gid()));
    let copied = layer.mode() != Mode::Direct && layer.method() == Method::Copy;
    let owner = if copied { Owner::AsIs } else { Owner::Guest };
    Ok(Guest { uid, gid, name: "agent".to_owned(), owner })
}

/// Paths to mount read-only, and directories above them that must stay in place.
fn protected(options: &Options, layer: &Layer) -> Result<(Vec<PathBuf>, Vec<PathBuf>)> {
    let workspace = &options.paths.workspace;
    let mut protected: Vec<PathBuf> =
        options.rule_files.iter().filter(|file| file.starts_with(workspace)).cloned().collect();
    let mut pinned = Vec::new();
    for closed in grants::closed(&options.profile).into_iter().filter(|closed| closed.access == Access::Write) {
        protected.extend(places(&closed.place, workspace, layer)?);
    }
    match options.mode {
        // What may not change is refused when it is applied; here the guest is told early, at no cost for the rest.
        Mode::Review | Mode::Discard => {
            let literal = options.profile.protect().iter().filter_map(|guard| guard.pattern.literal());
            protected.extend(literal.map(|path| workspace.join(path)));
        }
        Mode::Direct => {
            let none = Changes::default();
            let guards = Guards::new(&options.profile, layer, &none);
            let matches = layer.existing_matches(&|path| guards.treatment(path)).map_err(settle::failed)?;
            protected.extend(matches.found.iter().map(|found| found.path.below(workspace)));
            pinned.extend(matches.pins.iter().map(|pin| pin.below(workspace)));
        }
    }
    Ok((protected, pinned))
}

/// Paths that the guest may not see.
fn masked(options: &Options, layer: &Layer) -> Result<Vec<PathBuf>> {
    let mut masked = Vec::new();
    masked.push(options.paths.state.clone());
    for closed in grants::closed(&options.profile).into_iter().filter(|closed| closed.access == Access::Read) {
        masked.extend(places(&closed.place, &options.paths.workspace, layer)?);
    }
    Ok(masked)
}

/// The existing paths of a closed place.
fn places(place: &ClosedPlace, workspace: &Path, layer: &Layer) -> Result<Vec<PathBuf>> {
    match place {
        ClosedPlace::Path(path) => Ok(vec![path.clone()]),
        ClosedPlace::Pattern(pattern) => {
            let matching = |path: &crate::workspace::RelPath| match pattern.matches(path.as_bytes()) {
                true => Treatment::Protect { rule: pattern.to_string() },
                false => Treatment::Free,
            };
            let matches = layer.existing_matches(&matching).map_err(settle::failed)?;
            Ok(matches.found.iter().map(|found| found.path.below(workspace)).collect())
        }
    }
}

/// Variables of the sandbox: what the profile lets in and sets, and what every program expects.
fn environment(options: &Options, site: &Site, wall: Wall) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let host = options.variables.iter().map(|(name, value)| (name.as_slice(), value.as_slice()));
    let mut variables = options.profile.environment(host);
    let (home, tmp) = match wall {
        Wall::Namespaces => (site.home.clone(), PathBuf::from(stockade_policy::PRIVATE_TMP)),
        Wall::Landlock => (site.scratch.join("home"), site.scratch.join("tmp")),
    };
    let always: [(&str, &OsStr); 6] = [
        ("HOME", home.as_os_str()),
        ("TMPDIR", tmp.as_os_str()),
        ("USER", OsStr::new(&site.guest.name)),
        ("LOGNAME", OsStr::new(&site.guest.name)),
        ("STOCKADE_SESSION", OsStr::new(options.id.as_str())),
        ("PATH", OsStr::new("/usr/local/bin:/usr/bin:/bin")),
    ];
    for (name, value) in always {
        let value = value.as_bytes().to_vec();
        if name == "PATH" {
            variables.entry(name.into()).or_insert(value);
        } else {
            variables.insert(name.into(), value);
        }
    }
    variables
}

/// Makes a directory of ours, 0700, if it is not there.
fn make_private(directory: &Path) -> Result<()> {
    let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(directory);
    made.map_err(|e| Error::io("make the directory", directory, &e))
}
