//! A container of an image, hardened, with our program as its first process, which waits for a plan.
//! It never judges a call, and never lets an engine say what was enforced: what it was asked for is read back.

use super::engine::{self, Container, Engine, Image, Mount, Spec, State};
use crate::backend::process::failed;
use crate::backend::process::host::{Host, Seen, ThisHost, is_system};
use crate::error::{Error, Result};
use sha2::{Digest as _, Sha256};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;
use stockade_jail::JailError;
use stockade_jail::container::{DOOR, Door, Inside, PROGRAM};
use stockade_jail::enforced::{Layer, LayerState};
use stockade_jail::plan::{self, Access, Shown};
use stockade_jail::seccomp;

/// How long a started container's first process may take to report. It opens one socket.
const REPORT_LIMIT: Duration = Duration::from_secs(60);
/// Label of every container of ours: the session that it belongs to.
pub const LABEL_SESSION: &str = "io.stockade.session";
/// Label of every container of ours: process id and start of who started it, by which leftovers are known.
pub const LABEL_SUPERVISOR: &str = "io.stockade.supervisor";
/// Label of every container of ours: the directory of all state that its session belongs to.
pub const LABEL_STATE: &str = "io.stockade.state";
/// Names of containers of ours begin so.
const NAME: &str = "stockade-";
/// One MiB, bytes.
const MIB: u64 = 1024 * 1024;

/// What a container is to be.
#[derive(Debug)]
pub struct Asked<'a> {
    /// The session.
    pub session: &'a str,
    /// The directory of all state.
    pub state: &'a Path,
    /// A directory of this session's own, for the socket.
    pub scratch: &'a Path,
    /// The OCI runtime, where it is not the engine's default.
    pub runtime: Option<&'a str>,
    /// User and group of everything in it.
    pub user: (u32, u32),
    /// Memory, MiB.
    pub memory_mib: Option<u64>,
    /// Processes and threads, ours included.
    pub pids: Option<u64>,
    /// What of the host is shown.
    pub mounts: Vec<Shown>,
}

/// A container whose first process waits for a plan. Dropped, both are gone.
#[derive(Debug)]
pub struct Outer {
    inside: Inside,
    held: Held,
    step: plan::Container,
    layer: LayerState,
}

/// A container that lives as long as this.
#[derive(Debug)]
pub struct Held {
    container: Container,
}

impl Held {
    /// Why it is no more, where the engine knows.
    pub fn cause(&self) -> Option<String> {
        self.container.state().ok().and_then(why_ended)
    }
}

impl Outer {
    /// Starts a container of an image.
    ///
    /// # Errors
    /// Operator: the engine lacks the runtime, or refuses what was asked for; our own program cannot be executed by the
    /// container's user. Host: the engine, or the first process, does not answer.
    pub fn start(engine: &Engine, image: &Image, asked: Asked<'_>) -> Result<Self> {
        let door_directory = asked.scratch.join("door");
        make_empty(&door_directory)?;
        let door = Door::open(&door_directory).map_err(|e| failed(&e))?;
        let mut mounts = vec![
            Shown { source: own_program()?, target: PROGRAM.into(), access: Access::ReadOnly },
            Shown { source: door_directory.clone(), target: DOOR.into(), access: Access::ReadWrite },
        ];
        mounts.extend(asked.mounts);
        let profile = seccomp::engine_profile();
        let step = plan::Container {
            image: image.id.clone(),
            runtime: asked.runtime.map(str::to_owned),
            uid: asked.user.0,
            gid: asked.user.1,
            memory_mib: asked.memory_mib,
            pids: asked.pids,
            mounts,
            seccomp_sha256: seccomp::engine_profile_sha256(),
        };
        let labels = BTreeMap::from([
            (LABEL_SESSION.to_owned(), asked.session.to_owned()),
            (LABEL_SUPERVISOR.to_owned(), supervisor()?),
            (LABEL_STATE.to_owned(), asked.state.display().to_string()),
        ]);
        let mut container = engine.create(&spec(&step, asked.session, profile, labels))?;
        let about = engine.about();
        let runtime = step.runtime.as_deref().unwrap_or(&about.default_runtime);
        let inside = report(&mut container, door).map_err(|error| match about.closes_sockets(runtime) {
            true => error.hint(format!(
                "gVisor keeps the host's sockets from its containers, and ours has to come to one: add \"--host-uds=open\" to the runtimeArgs of \"{runtime}\" in the engine's configuration",
            )),
            false => error,
        })?;
        let layer = read_back(&container)?;
        remove_door(&door_directory);
        Ok(Self { inside, held: Held { container }, step, layer })
    }

    /// What the engine was asked for, as a step of the plan.
    pub fn step(&self) -> &plan::Container {
        &self.step
    }

    /// Whether it is on a kernel of its own, gVisor's.
    pub fn is_on_gvisor(&self) -> bool {
        self.inside.is_on_gvisor()
    }

    /// The engine's name for it.
    pub fn id(&self) -> &str {
        self.held.container.id()
    }

    /// Whether its first process still waits.
    pub fn is_alive(&self) -> bool {
        self.inside.is_alive()
    }

    /// For the sandbox that comes up inside: its first process, what is enforced around it, and what keeps it.
    pub fn into_parts(self) -> (Inside, LayerState, Held) {
        (self.inside, self.layer, self.held)
    }

    /// What there is inside, for a plan: the workspace is the host's.
    pub fn host<'a>(&'a self, workspace: &'a Path) -> ImageHost<'a> {
        ImageHost { inside: &self.inside, workspace, shown: &self.step.mounts, failure: RefCell::default() }
    }
}

/// Looks at an image, and at the host for what is the host's in any case.
#[derive(Debug)]
pub struct ImageHost<'a> {
    inside: &'a Inside,
    workspace: &'a Path,
    shown: &'a [Shown],
    /// The first look that failed: a plan that was made from then on is not to be carried out.
    failure: RefCell<Option<JailError>>,
}

impl ImageHost<'_> {
    /// # Errors
    /// A look failed: what was seen is not what is there.
    pub fn finish(self) -> Result<()> {
        self.failure.into_inner().map_or(Ok(()), |error| Err(failed(&error)))
    }
}

impl Host for ImageHost<'_> {
    fn look(&self, path: &Path) -> Seen {
        // A copy of the workspace is mounted by the plan only, and a layer's files are another user's to the container.
        if path.starts_with(self.workspace) {
            return ThisHost.look(path);
        }
        self.inside.look(path).unwrap_or_else(|error| {
            self.failure.borrow_mut().get_or_insert(error);
            Seen::Missing
        })
    }

    /// Which of a system's directories there are is up to the image: one with a single program has none of them.
    fn may_lack(&self, path: &Path) -> bool {
        is_system(path)
    }

    /// No service of the host listens at a socket of an image's.
    fn has_sockets(&self, path: &Path) -> bool {
        self.shown.iter().any(|shown| path.starts_with(&shown.target))
    }
}

fn spec(step: &plan::Container, session: &str, seccomp: String, labels: BTreeMap<String, String>) -> Spec {
    let mount = |shown: &Shown| Mount {
        source: shown.source.clone(),
        target: shown.target.clone(),
        access: match shown.access {
            Access::ReadOnly => engine::Access::ReadOnly,
            Access::ReadWrite => engine::Access::ReadWrite,
        },
    };
    Spec {
        name: format!("{NAME}{session}"),
        image_id: step.image.clone(),
        runtime: step.runtime.clone(),
        user: (step.uid, step.gid),
        entrypoint: vec![PROGRAM.to_owned()],
        mounts: step.mounts.iter().map(mount).collect(),
        memory_bytes: step.memory_mib.map(|mib| mib.saturating_mul(MIB)),
        pids: step.pids,
        seccomp,
        labels,
    }
}

/// Facts of a container that bound what it uses.
const LIMITS: [&str; 3] = ["memory, bytes", "memory and swap, bytes", "processes"];

/// The container's layer: whole only when the engine did everything that it was asked for.
fn read_back(container: &Container) -> Result<LayerState> {
    let read = container.read_back()?;
    let detail = read.facts.iter().map(|fact| format!("{} {}", fact.name, fact.is)).collect::<Vec<_>>().join(", ");
    // Limits are layers of their own, by what the kernel has: a rootless engine may have no control groups to set.
    let walls = read.gaps.iter().filter(|gap| !LIMITS.contains(&gap.name));
    let gaps: Vec<String> = walls.map(|gap| format!("{} is {}, not {}", gap.name, gap.is, gap.asked)).collect();
    Ok(match gaps.is_empty() {
        true => LayerState::active(Layer::Container).detail(detail),
        false => LayerState::degraded(Layer::Container, gaps.join("; ")).detail(detail),
    })
}

/// Starts a container, and waits for its first process.
fn report(container: &mut Container, door: Door) -> Result<Inside> {
    container.start()?;
    door.admit(container.first_process()?, REPORT_LIMIT).map_err(|e| unreported(container, &e))
}

/// Why nobody came to the door, with what the engine knows of it.
fn unreported(container: &Container, error: &JailError) -> Error {
    let why = container.state().ok().and_then(why_ended);
    let error = failed(error);
    match why {
        Some(why) => error.hint(format!("the engine says of the container: {why}")),
        None => error,
    }
}

/// Why a container is no more; `None` while it is.
fn why_ended(state: State) -> Option<String> {
    match state {
        State::Created | State::Running => None,
        State::Gone => Some("it has ended and was removed".to_owned()),
        State::Ended { oom_killed: true, .. } => Some("it ran out of memory".to_owned()),
        State::Ended { code, error, .. } if error.is_empty() => Some(format!("it ended with {code}")),
        State::Ended { code, error, .. } => Some(format!("it ended with {code}: {error}")),
    }
}

/// This program's own file, which a container's user has to be able to execute.
fn own_program() -> Result<PathBuf> {
    const LINK: &str = "/proc/self/exe";
    let link = Path::new(LINK);
    let refused = |what: String| Error::operator(what).hint("install it again, readable and executable by everybody");
    let path = std::fs::read_link(link).map_err(|e| Error::io("find", link, &e))?;
    let running = std::fs::metadata(link).map_err(|e| Error::io("look at", link, &e))?;
    let same = |file: std::fs::Metadata| (file.dev(), file.ino()) == (running.dev(), running.ino());
    if !std::fs::metadata(&path).is_ok_and(same) {
        return Err(refused(format!("\"{}\", which is running, was replaced or removed", path.display())));
    }
    if running.permissions().mode() & 0o005 != 0o005 {
        return Err(refused(format!("\"{}\" may not be executed by a container's user", path.display())));
    }
    Ok(path)
}

/// Who holds the container: a process id, and when that process began, so that no later one is taken for it.
fn supervisor() -> Result<String> {
    let own = std::process::id();
    let began = started_at(own).ok_or_else(|| Error::host("cannot read when this process began"))?;
    Ok(format!("{own}.{began}"))
}

/// Whether whoever this label of a container names is still there.
pub fn is_supervised(label: &str) -> bool {
    let parts = label.split_once('.').and_then(|(pid, began)| Some((pid.parse().ok()?, began.parse::<u64>().ok()?)));
    parts.is_some_and(|(pid, began)| started_at(pid) == Some(began))
}

/// When a process began, in ticks since the machine did (proc_pid_stat(5), the 22nd field).
fn started_at(pid: u32) -> Option<u64> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name may hold anything, and ends with the last bracket.
    text.rsplit_once(')')?.1.split_ascii_whitespace().nth(19)?.parse().ok()
}

fn make_empty(directory: &Path) -> Result<()> {
    match std::fs::remove_dir_all(directory) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            return Err(Error::io("empty", directory, &error));
        }
        Ok(()) | Err(_) => {}
    }
    let made = std::fs::DirBuilder::new().mode(0o711).create(directory);
    made.map_err(|e| Error::io("make the directory", directory, &e))
}

/// Nobody is to come through it any more; what is left goes with the session's directory.
fn remove_door(directory: &Path) {
    match std::fs::remove_file(directory.join("socket")) {
        Ok(()) | Err(_) => {}
    }
}

/// SHA-256 of what an engine was asked for: JSON without white space, members in ascending order.
pub fn step_digest(step: &plan::Container) -> [u8; 32] {
    Sha256::digest(in_order(step)).into()
}

fn in_order(step: &plan::Container) -> String {
    // The members of a `Value` are in order, those of a struct as they are declared.
    let value = serde_json::to_value(step).expect("plain data serialises to memory");
    value.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_asked_for_is_written_in_order() {
        let show = Shown { source: "/s".into(), target: "/t".into(), access: Access::ReadOnly };
        let step = plan::Container {
            image: "sha256:00".to_owned(),
            runtime: None,
            uid: 1,
            gid: 2,
            memory_mib: Some(3),
            pids: None,
            mounts: vec![show],
            seccomp_sha256: "ff".to_owned(),
        };
        let text = r#"{"gid":2,"image":"sha256:00","memory_mib":3,"mounts":[{"access":"read-only","source":"/s","target":"/t"}],"pids":null,"runtime":null,"seccomp_sha256":"ff","uid":1}"#;
        assert_eq!(in_order(&step), text);
    }

    #[test]
    fn only_this_very_process_supervises() {
        let own = supervisor().expect("it can be read");
        assert!(is_supervised(&own));
        let (pid, began) = own.split_once('.').expect("two parts");
        for other in [format!("{pid}.{began}0"), format!("0.{began}"), pid.to_owned(), String::new(), "x.y".to_owned()]
        {
            assert!(!is_supervised(&other), "{other}");
        }
    }
}
