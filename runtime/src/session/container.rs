//! Opens a session's sandbox in a container: the engine is found, the image resolved, the plan made for what is in it.
//! It never decides what is enforced: the container is one layer more around the sandbox of every wall.

use crate::backend::container::engine::{About, Engine, Image, Pull, Rights, Wanted};
use crate::backend::container::shown::{self, Workspace};
use crate::backend::container::wall::{Asked, Outer, step_digest};
use crate::backend::process::host::ThisHost;
use crate::backend::process::{self, ProcessWall, grants};
use crate::error::{Error, Result};
use crate::session::open::{
    Prepared, WayOut, above_floor, layered, make_private, outside, planned, remove_layer_directory,
};
use crate::session::outlet::Blueprint;
use crate::session::{Options, Paths};
use crate::session::{settle, site};
use crate::workspace::{Layer, Method, Mode};
use std::fs;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::PathBuf;
use stockade_audit::record::{self as log, Digest};
use stockade_jail::plan::{Access, CallStep, HostStep, Rlimit, Shown, Wall};
use stockade_jail::{ErrorKind, JailError, Staged, container::PROCESSES_OF_OURS_MAX};
use stockade_policy::{Backend, Container};

/// Starts a container, and makes the plan of what is to come up in it.
///
/// # Errors
/// As [`super::prepare`]. Operator: no engine, no such image or runtime. Host: the engine does not do what it is asked for.
pub(super) fn prepare(options: &Options, chosen: &Container, way_out: WayOut<'_>) -> Result<(Prepared, Outer)> {
    let way = Way::find(options, chosen)?;
    let method = way.method(options)?;
    let contained = way.contain(options, method, way_out.blueprint)?.map_err(|error| process::failed(&error))?;
    way.plan(options, contained, way_out)
}

/// A container that waits for a session, with that session's directories. Dropped, neither is left.
#[derive(Debug)]
pub struct Warm {
    options: Options,
    way: Way,
    /// Until it is taken.
    contained: Option<Contained>,
}

impl Warm {
    /// Starts a container for a session that is to be opened later. What the workspace has by then is what it begins with.
    ///
    /// # Errors
    /// As [`super::Session::open`]. Operator: the profile's wall is no container.
    pub fn up(options: Options) -> Result<Self> {
        let Backend::Container(chosen) = options.profile.backend() else {
            return Err(Error::bug("a container was warmed up for another wall"));
        };
        let way = Way::find(&options, chosen)?;
        let blueprint = Blueprint::of(&options.profile)?;
        let method = way.method(&options)?;
        let contained = way.contain(&options, method, blueprint.as_ref())?.map_err(|error| process::failed(&error))?;
        Ok(Self { options, way, contained: Some(contained) })
    }

    /// Whether a session may still be opened in it: its engine may have ended it, and a copy of the workspace is of the
    /// moment in which it was made.
    pub fn is_current(&self) -> bool {
        let current = |contained: &Contained| contained.layer.method() == Method::Overlay && contained.outer.is_alive();
        self.contained.as_ref().is_some_and(current)
    }

    /// The session's options.
    pub fn options(&self) -> &Options {
        &self.options
    }

    pub(super) fn into_parts(mut self) -> Result<(Options, Way, Contained)> {
        let mut contained = self.contained.take().ok_or_else(|| Error::bug("a warm container was taken twice"))?;
        if self.options.from.is_none() {
            contained.layer.begin_now().map_err(settle::failed)?;
        }
        Ok((self.options.clone(), self.way.clone(), contained))
    }
}

impl Drop for Warm {
    fn drop(&mut self) {
        if self.contained.take().is_none() {
            return;
        }
        if let Err(error) = remove_layer_directory(&self.options.paths.layer) {
            tracing::warn!("the layer of a session that was not opened stays until stockade gc: {error}");
        }
    }
}

/// Opens the sandbox of a session in a container.
///
/// # Errors
/// As [`prepare`]; Host: what comes up is below the profile's floor.
pub(super) fn start(
    options: &Options,
    chosen: &Container,
    way_out: WayOut<'_>,
) -> Result<(Prepared, ProcessWall, Option<log::Container>)> {
    let way = Way::find(options, chosen)?;
    start_in(options, &way, None, way_out)
}

/// The same in a container that was started before, where there is one.
pub(super) fn start_in(
    options: &Options,
    way: &Way,
    mut warm: Option<Contained>,
    way_out: WayOut<'_>,
) -> Result<(Prepared, ProcessWall, Option<log::Container>)> {
    let mut method = way.method(options)?;
    loop {
        let contained =
            match warm.take().map_or_else(|| way.contain(options, method, way_out.blueprint), |warm| Ok(Ok(warm)))? {
                Ok(contained) => contained,
                Err(error) => {
                    method = next(options, method, &error)?;
                    continue;
                }
            };
        let (prepared, outer) = way.plan(options, contained, way_out)?;
        let described = way.describe(&outer)?;
        let moved = process::Moved { from: options.paths.workspace.clone(), to: prepared.inside.clone() };
        let environment = prepared.environment.clone();
        let started = ProcessWall::start_inside(outer, &prepared.plan, options.id.as_str(), moved, environment);
        let error = match started {
            Ok(wall) => {
                let (prepared, wall) = above_floor(options, prepared, wall)?;
                return Ok((prepared, wall, Some(described)));
            }
            Err(error) => error,
        };
        method = next(options, method, &error)?;
        prepared.layer.discard().map_err(settle::failed)?;
    }
}

/// What to try when the machine refused one way: a copy of the workspace instead of an overlay.
fn next(options: &Options, method: Method, error: &JailError) -> Result<Method> {
    let copyable = matches!(error.kind, ErrorKind::OverlayRefused | ErrorKind::IdmapRefused);
    if !copyable || method == Method::Copy || options.mode == Mode::Direct {
        return Err(process::failed(error));
    }
    tracing::info!(%error, "the workspace cannot be shown copy-on-write in a container here: it gets a copy");
    Ok(Method::Copy)
}

/// An engine, and an image that it has.
#[derive(Debug, Clone)]
pub(super) struct Way {
    chosen: Container,
    engine: Engine,
    image: Image,
}

/// A layer, and a container that is shown it.
#[derive(Debug)]
pub(super) struct Contained {
    layer: Layer,
    outer: Outer,
}

impl Way {
    fn find(options: &Options, chosen: &Container) -> Result<Self> {
        let wanted = options.engine.as_deref().map_or(Ok(Wanted::Any), Wanted::parse)?;
        let engine = Engine::find(&wanted, &options.variables)?;
        let mut heard = false;
        let image = engine.image(chosen.image.as_str(), Pull::WhenMissing, &mut |progress| {
            heard = true;
            (options.watch)(Some(&progress));
        });
        if heard {
            (options.watch)(None);
        }
        let image = image?;
        Ok(Self { chosen: chosen.clone(), engine, image })
    }

    /// How to show the workspace at first. gVisor has no overlay that could lie over files of the host; where the runtime's
    /// name does not tell, the container does, once it is there.
    fn method(&self, options: &Options) -> Result<Method> {
        let method = super::method(options)?;
        let named = self.chosen.runtime.as_ref().map(stockade_policy::RuntimeName::as_str);
        let runtime = named.unwrap_or(&self.engine.about().default_runtime);
        Ok(if About::is_gvisor(runtime) && options.mode != Mode::Direct { Method::Copy } else { method })
    }

    /// Starts a container that is shown a new layer. The inner error is the kernel's, for which there may be another way.
    fn contain(
        &self,
        options: &Options,
        method: Method,
        blueprint: Option<&Blueprint>,
    ) -> Result<std::result::Result<Contained, JailError>> {
        let layer = layered(options, Wall::Namespaces, method, blueprint)?;
        let (shown, staged) = match workspace(options, &layer) {
            Ok(shown) => shown,
            Err(Refused::Mount(error)) => {
                layer.discard().map_err(settle::failed)?;
                return Ok(Err(error));
            }
            Err(Refused::Other(error)) => return Err(error),
        };
        let limits = grants::limits(options.profile.limits());
        let asked = Asked {
            session: options.id.as_str(),
            state: &options.paths.state,
            scratch: &options.paths.layer,
            runtime: self.chosen.runtime.as_ref().map(stockade_policy::RuntimeName::as_str),
            user: outside(options, &layer)?,
            memory_mib: limits.memory_mib,
            pids: limits.pids.map(|pids| pids.saturating_add(PROCESSES_OF_OURS_MAX)),
            mounts: with_home(options, [of_host(options)?, shown].concat())?,
        };
        let outer = Outer::start(&self.engine, &self.image, asked)?;
        // The container has its own mounts of it by now.
        let is_mapped = !staged.is_empty();
        drop(staged);
        if outer.is_on_gvisor()
            && let Some(error) = unshowable_by_gvisor(&layer, is_mapped)
        {
            drop(outer);
            layer.discard().map_err(settle::failed)?;
            return Ok(Err(error));
        }
        Ok(Ok(Contained { layer, outer }))
    }

    /// Makes the plan of what is to come up in it.
    fn plan(&self, options: &Options, contained: Contained, way_out: WayOut<'_>) -> Result<(Prepared, Outer)> {
        let Contained { layer, outer } = contained;
        let host = outer.host(&options.paths.workspace);
        let mut prepared = planned(options, Wall::Namespaces, layer, way_out, &host)?;
        host.finish()?;
        prepared.plan.host.insert(0, HostStep::Container(outer.step().clone()));
        for step in &mut prepared.plan.call {
            if let (CallStep::Rlimit { resource: Rlimit::Pids, value }, Some(pids)) = (step, outer.step().pids) {
                // As on the host, one more than the control group allows: the kernel counts the refusals of a group only.
                *value = pids.saturating_add(1);
            }
        }
        self.add_variables(options, &mut prepared);
        Ok((prepared, outer))
    }

    /// The image's own variables, where nobody set another value: where programs are is the image's to say, whatever the
    /// host's search path is.
    fn add_variables(&self, options: &Options, prepared: &mut Prepared) {
        let set = options.profile.environment(std::iter::empty());
        for (name, value) in self.image.env.iter().filter_map(|variable| variable.split_once('=')) {
            if name == "PATH" && !set.contains_key(name.as_bytes()) {
                prepared.environment.insert(name.into(), value.into());
            } else {
                prepared.environment.entry(name.into()).or_insert_with(|| value.into());
            }
        }
    }

    fn describe(&self, outer: &Outer) -> Result<log::Container> {
        let about = self.engine.about();
        let step = outer.step();
        Ok(log::Container {
            engine: about.kind.to_string(),
            engine_v: about.version.clone(),
            api: about.api_version.clone(),
            rights: match about.rights {
                Rights::Rootful => log::EngineRights::Rootful,
                Rights::Rootless => log::EngineRights::Rootless,
            },
            runtime: step.runtime.clone().unwrap_or_else(|| about.default_runtime.clone()),
            id: log::ContainerId(digest("container", outer.id())?),
            image: self.chosen.image.to_string(),
            image_id: digest("image", &step.image)?,
            repo_digest: self.image.digest.clone(),
            uid: step.uid,
            gid: step.gid,
            spec_h: Digest(step_digest(step)),
        })
    }
}

/// A digest that an engine gave as a name.
fn digest(of: &str, text: &str) -> Result<Digest> {
    let digits = text.strip_prefix("sha256:").unwrap_or(text);
    let unreadable = || Error::host(format!("the engine's name for the {of}, \"{text}\", is no SHA-256"));
    stockade_audit::text::unhex(digits).map(Digest).ok_or_else(unreadable)
}

/// Why a workspace cannot be shown.
enum Refused {
    /// By the kernel: another way may do.
    Mount(JailError),
    /// By something else.
    Other(Error),
}

/// Why gVisor cannot show the workspace this way.
fn unshowable_by_gvisor(layer: &Layer, is_mapped: bool) -> Option<JailError> {
    let refused =
        |why: &str, kind| JailError::host("show the workspace in", "a container on gVisor").kind(kind).hint(why);
    match (layer.mode(), layer.method()) {
        (Mode::Review | Mode::Discard, Method::Overlay) => {
            Some(refused("its overlays do not lie over files of the host", ErrorKind::OverlayRefused))
        }
        // It makes each file as root and gives it away, which no mapping of another owner's files allows.
        (Mode::Direct, _) if is_mapped => {
            let why = "root cannot show another's files as the guest's there: run as the workspace's owner, or with --mode review";
            Some(refused(why, ErrorKind::IdmapRefused))
        }
        (_, _) => None,
    }
}

/// What shows the workspace, and what stands in for it until the container has it: root's files are shown as the guest's.
fn workspace(options: &Options, layer: &Layer) -> std::result::Result<(Vec<Shown>, Vec<Staged>), Refused> {
    let workspace = &options.paths.workspace;
    let source = layer.mount_source();
    let (mut shown, owned) = match (layer.mode(), layer.method()) {
        (Mode::Direct, _) => (Workspace::Direct(workspace).shown(), false),
        // Given to the guest when it was made.
        (Mode::Review | Mode::Discard, Method::Copy) => (Workspace::Copy { workspace, copy: &source }.shown(), true),
        (Mode::Review | Mode::Discard, Method::Overlay) => {
            (Workspace::Overlay { workspace, layer: &source }.shown(), false)
        }
    };
    let mut staged = Vec::new();
    if options.user.uid == 0 && !owned {
        let guest = site::guest(options, layer).map_err(Refused::Other)?;
        for (number, one) in shown.iter_mut().enumerate() {
            let place = options.paths.layer.join(format!("staged-{number}"));
            make_private(&place).map_err(Refused::Other)?;
            staged.push(Staged::show(&one.source, &place, (guest.uid, guest.gid)).map_err(Refused::Mount)?);
            one.source = place;
        }
    }
    Ok((shown, staged))
}

/// The same with an empty directory for the private home: the image may lack the place. Where something is shown below it, as
/// a workspace mostly is, the engine makes the place itself, and could make none below a directory that is read-only.
fn with_home(options: &Options, mut shown: Vec<Shown>) -> Result<Vec<Shown>> {
    let Paths { layer, home, .. } = &options.paths;
    if shown.iter().any(|one| one.target.starts_with(home)) {
        return Ok(shown);
    }
    let empty = layer.join("home");
    let made = fs::DirBuilder::new().recursive(true).mode(0o755).create(&empty);
    made.map_err(|e| Error::io("make the directory", &empty, &e))?;
    shown.push(Shown { source: empty, target: home.clone(), access: Access::ReadOnly });
    Ok(shown)
}

/// What else of the host the container is shown, and what covers the state where that would show it.
fn of_host(options: &Options) -> Result<Vec<Shown>> {
    let Paths { layer, workspace, home, state, .. } = &options.paths;
    let granted = grants::granted(&options.profile);
    let sockets: Vec<PathBuf> = options.profile.unix_grants().map(|(socket, _, _)| grants::path(socket)).collect();
    let mut shown = shown::of_host(&granted, &sockets, home, workspace, &ThisHost);
    let cover = layer.join("cover");
    if let Some(over) = shown::over_state(&shown, state, &cover) {
        // With the places for this session's own layer in it: an engine makes none in what is read-only.
        let below = layer.strip_prefix(state).map_err(|_| Error::bug("a session's layer lies outside of the state"))?;
        let places = fs::DirBuilder::new().recursive(true).mode(0o755).create(cover.join(below).join("layer/tree"));
        places.map_err(|e| Error::io("make the directory", &cover, &e))?;
        shown.push(over);
    }
    Ok(shown)
}
