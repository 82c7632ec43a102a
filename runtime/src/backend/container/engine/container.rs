//! One container, owned: made, started, looked at, and removed when its owner lets go of it.
//! It never leaves one behind without saying so.

use super::about::About;
use super::facts::ReadBack;
use super::place::Kind;
use super::reference::Reference;
use super::spec::{LABEL, Spec, check};
use super::trouble::{Trouble, bounded};
use super::wire::{Limits, Wire};
use super::{docker, image, podman};
use crate::error::{Error, Result};
use bollard::models::ContainerInspectResponse;
use bollard::query_parameters::{CreateContainerOptionsBuilder, RemoveContainerOptionsBuilder};
use bytes::Bytes;
use hyper::Method;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::time::Duration;

/// How long an engine may take to make or describe a container, seconds.
const REQUEST_S_MAX: u64 = 60;
/// How long a runtime may take to start one, seconds: some start a machine.
const START_S_MAX: u64 = 120;
/// How long a removal may take, seconds: the engine kills, waits, unmounts and deletes.
const REMOVE_S_MAX: u64 = 60;
/// How often a removal that somebody else began is looked at.
const REMOVING_EVERY: Duration = Duration::from_millis(50);

/// What a container is doing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    /// It was made, and not started.
    Created,
    /// It runs.
    Running,
    /// Its first process has ended.
    Ended {
        /// How.
        code: i64,
        /// Whether the kernel killed something in it for want of memory.
        oom_killed: bool,
        /// What the engine says of it.
        error: String,
    },
    /// It has ended, and the engine has removed it.
    Gone,
}

/// A container of ours, in the engine's list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ours {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// What it is doing, in the engine's word: `created`, `running`, `exited`, `dead`.
    pub state: String,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// When it was made, seconds since 1970.
    pub created_s: i64,
}

/// Whether a container is still there for us to remove.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Presence {
    Here,
    Removed,
}

/// A container; dropping it removes it.
#[derive(Debug)]
pub struct Container {
    wire: Wire,
    about: About,
    spec: Spec,
    id: String,
    /// Volumes that the image declares, which something lies over.
    volumes: Vec<String>,
    warnings: Vec<String>,
    presence: Presence,
}

/// Makes a container.
pub(super) fn create(wire: &Wire, about: &About, spec: &Spec) -> Result<Container> {
    check(spec, wire.socket())?;
    let reference = Reference::parse(&spec.image_id)?;
    let act = format!("make container \"{}\"", spec.name);
    let failed = |trouble: Trouble| explained(trouble, &act, wire, about);
    let inspected = image::inspect(wire, &reference).map_err(failed)?;
    let inspected =
        inspected.ok_or_else(|| Error::operator(format!("image \"{reference}\" is not on this machine")))?;
    let volumes = inspected.config.and_then(|config| config.volumes).unwrap_or_default();
    let (id, warnings) = match about.kind {
        Kind::Docker => create_docker(wire, about, spec, &volumes),
        Kind::Podman => create_podman(wire, about, spec, &podman::Profile::write(spec)?),
    }
    .map_err(failed)?;
    let warnings: Vec<String> = warnings.iter().map(|warning| bounded(warning)).collect();
    for warning in &warnings {
        tracing::info!("container \"{}\": the engine warns: {warning}", spec.name);
    }
    let presence = Presence::Here;
    let (wire, about, spec) = (wire.clone(), about.clone(), spec.clone());
    let made = Container { wire, about, spec, id, volumes, warnings, presence };
    if made.about.kind == Kind::Podman && made.spec.runtime.is_some() {
        podman::check_runtime(&made.spec, &made.described()?)?;
    }
    Ok(made)
}

fn create_docker(
    wire: &Wire,
    about: &About,
    spec: &Spec,
    volumes: &[String],
) -> std::result::Result<(String, Vec<String>), Trouble> {
    let options = CreateContainerOptionsBuilder::new().name(&spec.name).build();
    let body = docker::body(spec, about, volumes);
    let made = wire.ask(Limits::answer(REQUEST_S_MAX), |line| async move {
        Ok(line.docker()?.create_container(Some(options), body).await?)
    })?;
    Ok((made.id, made.warnings))
}

fn create_podman(
    wire: &Wire,
    about: &About,
    spec: &Spec,
    profile: &podman::Profile,
) -> std::result::Result<(String, Vec<String>), Trouble> {
    let body = podman::body(spec, about, profile).to_string();
    let made = wire.ask(Limits::answer(REQUEST_S_MAX), |line| async move {
        line.exchange(Method::POST, &format!("{}/containers/create", podman::API), Some(body)).await
    })?;
    let made: podman::Created = serde_json::from_slice(&made).map_err(|error| Trouble::Odd(error.to_string()))?;
    Ok((made.id, made.warnings.unwrap_or_default()))
}

/// The error of an act on a container; where it is about a runtime, with the runtimes that there are.
fn explained(trouble: Trouble, act: &str, wire: &Wire, about: &About) -> Error {
    let about_runtime = match &trouble {
        Trouble::Refused { said, .. } => {
            let said = said.to_lowercase();
            said.contains("unknown runtime")
                || said.contains("invalid runtime")
                || said.contains("unknown or invalid runtime")
        }
        Trouble::Gone(_) | Trouble::Slow(_) | Trouble::Odd(_) | Trouble::Ours(_) => false,
    };
    let error = trouble.during(act, wire.socket());
    if about_runtime { error.hint(format!("this engine has the runtimes {}", about.runtime_names())) } else { error }
}

impl Container {
    /// Its id.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// What the engine warned of when it made it: of limits, mostly, that it cannot keep.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// Starts its first process.
    ///
    /// # Errors
    /// Operator: the engine has no such runtime. Host: the runtime cannot start it here.
    pub fn start(&mut self) -> Result<()> {
        let id = self.id.clone();
        let started = self.wire.ask(Limits::answer(START_S_MAX), |line| async move {
            Ok(line.docker()?.start_container(&id, None).await?)
        });
        let act = format!("start container \"{}\"", self.spec.name);
        started.map_err(|trouble| match &trouble {
            // Whatever status it has: the container was there a moment ago, and what it was asked for was taken.
            Trouble::Refused { said, .. } if !said.to_lowercase().contains("unknown runtime") => {
                Error::host(format!("{act}: the container engine says \"{said}\""))
            }
            Trouble::Refused { .. } | Trouble::Gone(_) | Trouble::Slow(_) | Trouble::Odd(_) | Trouble::Ours(_) => {
                explained(trouble, &act, &self.wire, &self.about)
            }
        })
    }

    /// Number of its first process on this machine. With some runtimes that is the process that plays the machine.
    ///
    /// # Errors
    /// Host: it does not run.
    pub fn first_process(&self) -> Result<u32> {
        let ended = |why: &str| Error::host(format!("container \"{}\" does not run: {why}", self.spec.name));
        let Some(state) = self.seen()? else { return Err(ended("it is gone")) };
        let pid = u32::try_from(state.pid).ok().filter(|pid| *pid > 0);
        pid.ok_or_else(|| match bounded(&state.error) {
            why if why.is_empty() => ended(&format!("its first process ended with {}", state.exit_code)),
            why => ended(&why),
        })
    }

    /// What it is doing.
    ///
    /// # Errors
    /// Host: the engine does not say.
    pub fn state(&self) -> Result<State> {
        Ok(self.seen()?.map_or(State::Gone, Seen::state))
    }

    /// What the engine says that it is, beside what was asked.
    ///
    /// # Errors
    /// Host: the engine does not say.
    pub fn read_back(&self) -> Result<ReadBack> {
        let facts = match self.about.kind {
            Kind::Docker => docker::facts(&self.spec, &self.about, &self.volumes, &self.inspected()?),
            Kind::Podman => podman::facts(&self.spec, &self.about, &self.described()?),
        };
        Ok(facts.read_back())
    }

    /// Removes it, running or not.
    ///
    /// # Errors
    /// Host: the engine could not.
    pub fn remove(mut self) -> Result<()> {
        self.presence = Presence::Removed;
        remove(&self.wire, &self.id)
    }

    /// What it is doing, in words that both engines have; none when it is gone. Not in the client's types: its list of
    /// words is Docker's, and Podman has one more, `stopped`.
    fn seen(&self) -> Result<Option<Seen>> {
        let path = format!("{}/containers/{}/json", self.wire.api(), self.id);
        let told = self
            .wire
            .ask(Limits::answer(REQUEST_S_MAX), |line| async move { line.exchange(Method::GET, &path, None).await });
        let read = |told: Bytes| serde_json::from_slice(&told).map_err(|error| Trouble::Odd(error.to_string()));
        match told.and_then(read) {
            Ok(Inspected { state }) => Ok(Some(state)),
            Err(trouble) if trouble.is_missing() => Ok(None),
            Err(trouble) => Err(self.unseen(trouble)),
        }
    }

    /// Docker's description.
    fn inspected(&self) -> Result<ContainerInspectResponse> {
        let id = self.id.clone();
        let found = self.wire.ask(Limits::answer(REQUEST_S_MAX), |line| async move {
            Ok(line.docker()?.inspect_container(&id, None).await?)
        });
        found.map_err(|trouble| self.unseen(trouble))
    }

    fn unseen(&self, trouble: Trouble) -> Error {
        trouble.during(&format!("look at container \"{}\"", self.spec.name), self.wire.socket())
    }

    /// Podman's own description.
    fn described(&self) -> Result<podman::Described> {
        let path = format!("{}/containers/{}/json", podman::API, self.id);
        let told = self
            .wire
            .ask(Limits::answer(REQUEST_S_MAX), |line| async move { line.exchange(Method::GET, &path, None).await });
        let read = told.and_then(|told| serde_json::from_slice(&told).map_err(|error| Trouble::Odd(error.to_string())));
        read.map_err(|trouble| self.unseen(trouble))
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        if self.presence == Presence::Removed {
            return;
        }
        if let Err(error) = remove(&self.wire, &self.id) {
            let name = &self.spec.name;
            tracing::warn!("container \"{name}\" could not be removed, and stays until stockade gc: {error}");
        }
    }
}

#[derive(Deserialize)]
struct Inspected {
    #[serde(rename = "State")]
    state: Seen,
}

/// What an engine says that a container is doing.
#[derive(Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct Seen {
    status: String,
    running: bool,
    pid: i64,
    exit_code: i64,
    #[serde(rename = "OOMKilled")]
    oom_killed: bool,
    error: String,
}

impl Seen {
    fn state(self) -> State {
        match self.status.as_str() {
            "created" | "configured" | "initialized" => State::Created,
            "removing" => State::Gone,
            "running" | "paused" | "restarting" | "stopping" => State::Running,
            _ if self.running => State::Running,
            _ => State::Ended { code: self.exit_code, oom_killed: self.oom_killed, error: bounded(&self.error) },
        }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Listed {
    id: String,
    #[serde(default)]
    names: Option<Vec<String>>,
    #[serde(default)]
    state: String,
    #[serde(default)]
    labels: Option<BTreeMap<String, String>>,
    #[serde(default)]
    created: i64,
}

/// Every container with our label, whatever it is doing.
pub(super) fn ours(wire: &Wire) -> Result<Vec<Ours>> {
    // `{"label":["…"]}`, as an address has it.
    let path = format!("{}/containers/json?all=1&filters=%7B%22label%22%3A%5B%22{LABEL}%22%5D%7D", wire.api());
    let told = wire.ask(Limits::answer(REQUEST_S_MAX), |line| async move {
        let told = line.exchange(Method::GET, &path, None).await?;
        serde_json::from_slice::<Vec<Listed>>(&told).map_err(|error| Trouble::Odd(error.to_string()))
    });
    let listed = told.map_err(|trouble| trouble.during("list containers", wire.socket()))?;
    let name = |names: Option<Vec<String>>| names.and_then(|names| names.into_iter().next()).unwrap_or_default();
    let mut found: Vec<Ours> = listed
        .into_iter()
        .map(|container| Ours {
            name: name(container.names).trim_start_matches('/').to_owned(),
            id: container.id,
            state: container.state,
            labels: container.labels.unwrap_or_default(),
            created_s: container.created,
        })
        // The filter is the engine's; what is removed is ours to be sure of.
        .filter(|container| !container.id.is_empty() && container.labels.contains_key(LABEL))
        .collect();
    found.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(found)
}

/// Removes a container by force, with its volumes; one that is not there is removed.
pub(super) fn remove(wire: &Wire, id: &str) -> Result<()> {
    let is_id =
        !id.is_empty() && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-'));
    if !is_id {
        return Err(Error::bug(format!("\"{}\" is no id of a container", bounded(id))));
    }
    let removed = wire.ask(Limits::answer(REMOVE_S_MAX), |line| async move {
        let docker = line.docker()?;
        loop {
            let options = RemoveContainerOptionsBuilder::new().force(true).v(true).build();
            match docker.remove_container(id, Some(options)).await.map_err(Trouble::from) {
                Ok(()) => return Ok(()),
                Err(trouble) if trouble.is_missing() => return Ok(()),
                // It has ended by itself, and the engine is removing it.
                Err(Trouble::Refused { status: 409, .. }) => tokio::time::sleep(REMOVING_EVERY).await,
                Err(trouble) => return Err(trouble),
            }
        }
    });
    removed.map_err(|trouble| trouble.during(&format!("remove container \"{id}\""), wire.socket()))
}
