//! Container engines, Docker and Podman, over their sockets: finding one, its images, and containers that are always hardened.
//! It never decides what a container may do: it is given a `Spec`, and has no way to loosen one.
//!
//! `place` and `settings` say where an engine may be, `wire` carries a request, `about` says what answers; `docker` and
//! `podman` each write the request that makes a container, and compare what was made with what was asked.

mod about;
mod build;
mod container;
mod docker;
mod facts;
pub mod ignore;
mod image;
pub mod place;
mod podman;
pub mod reference;
pub mod settings;
mod spec;
mod trouble;
mod wire;

pub use about::{About, Ids, Rights};
pub use container::{Container, Ours, State};
pub use facts::{Fact, ReadBack};
pub use image::{Image, ImageSummary, Progress, Pull};
pub use place::{Kind, Wanted};
pub use spec::{Access, LABEL, Mount, Spec};

use crate::error::{Error, Report, Result};
use place::{Place, Weight, places};
use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use trouble::Trouble;
use wire::Wire;

/// An engine that answers. Its calls wait; each makes a connection of its own, and has a limit of time.
#[derive(Debug, Clone)]
pub struct Engine {
    wire: Wire,
    about: About,
}

/// One place where an engine may be, and what was found there.
#[derive(Debug, Clone)]
pub struct Sighting {
    /// Who names the place, in words.
    pub by: String,
    /// Its socket, where it has one.
    pub socket: Option<PathBuf>,
    /// The engine, or why there is none.
    pub found: std::result::Result<Engine, Report>,
}

impl Engine {
    /// Finds an engine. One that is named, by whoever asks or by the operator's variables and settings, is the only one that
    /// is asked, unless another make is wanted.
    ///
    /// # Errors
    /// Operator: none answers; the error lists every place, and what there is.
    pub fn find(wanted: &Wanted, variables: &BTreeMap<Vec<u8>, Vec<u8>>) -> Result<Self> {
        let mut tried = Vec::new();
        for place in places(wanted, variables) {
            let is_final = place.weight == Weight::Named && !matches!(wanted, Wanted::Kind(_));
            let sighting = look(place);
            match sighting.found {
                Ok(engine) if is_wanted(wanted, engine.about.kind) => return Ok(engine),
                Ok(engine) => {
                    let what =
                        format!("\"{}\" ({}): is {}", engine.about.socket.display(), sighting.by, engine.about.kind);
                    tried.push(Report { what, hint: None });
                }
                Err(report) => tried.push(report),
            }
            if is_final {
                break;
            }
        }
        Err(none_found(wanted, tried))
    }

    /// Looks at every place where an engine may be.
    pub fn survey(variables: &BTreeMap<Vec<u8>, Vec<u8>>) -> Vec<Sighting> {
        let mut found: Vec<Sighting> = Vec::new();
        for place in places(&Wanted::Any, variables) {
            found.push(look(place));
        }
        found
    }

    /// What it is.
    pub fn about(&self) -> &About {
        &self.about
    }

    /// Finds an image on this machine, and has the engine pull it first where `pull` says so.
    ///
    /// # Errors
    /// Operator: there is no such image, or it is for another architecture. Host: what is there has another digest.
    pub fn image(&self, reference: &str, pull: Pull, progress: &mut dyn FnMut(Progress)) -> Result<Image> {
        image::resolve(&self.wire, &self.about, reference, pull, progress)
    }

    /// Builds an image of a directory and gives it a tag, if one is wanted. The Dockerfile lies in the directory.
    ///
    /// # Errors
    /// Operator: the directory cannot be read or is too large, or a step of the build failed. Host: the engine cannot.
    pub fn build(
        &self,
        directory: &Path,
        dockerfile: &Path,
        tag: Option<&str>,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<Image> {
        build::build(&self.wire, &self.about, directory, dockerfile, tag, progress)
    }

    /// Every image.
    ///
    /// # Errors
    /// Host: the engine does not answer.
    pub fn images(&self) -> Result<Vec<ImageSummary>> {
        image::list(&self.wire)
    }

    /// Makes a container, which does not run yet.
    ///
    /// # Errors
    /// Operator: something is wrong with the spec, or the engine has no such image or runtime. Host: the engine cannot.
    pub fn create(&self, spec: &Spec) -> Result<Container> {
        container::create(&self.wire, &self.about, spec)
    }

    /// Every container that was made here, by whichever session: created, running or dead.
    ///
    /// # Errors
    /// Host: the engine does not answer.
    pub fn ours(&self) -> Result<Vec<Ours>> {
        container::ours(&self.wire)
    }

    /// Kills and removes a container; one that is not there is removed.
    ///
    /// # Errors
    /// Host: the engine could not.
    pub fn remove(&self, id: &str) -> Result<()> {
        container::remove(&self.wire, id)
    }
}

fn is_wanted(wanted: &Wanted, kind: Kind) -> bool {
    match wanted {
        Wanted::Any | Wanted::Socket(_) => true,
        Wanted::Kind(wanted) => *wanted == kind,
    }
}

fn look(place: Place) -> Sighting {
    let Place { by, weight: _, socket } = place;
    let socket = match socket {
        Ok(socket) => socket,
        Err(why) => {
            return Sighting { found: Err(Report { what: format!("{by}: {why}"), hint: None }), by, socket: None };
        }
    };
    let found = about::ask(&socket).map(|(wire, about)| Engine { wire, about }).map_err(|trouble| Report {
        what: format!("\"{}\" ({by}): {}", socket.display(), trouble.phrase()),
        hint: hint(&trouble, &socket),
    });
    Sighting { by, socket: Some(socket), found }
}

/// What to do about a place that does not answer, where it is known.
fn hint(trouble: &Trouble, socket: &Path) -> Option<String> {
    /// Root's group, and the permission to write that a group needs to ask.
    const ROOT: u32 = 0;
    const GROUP_WRITES: u32 = 0o020;
    let Trouble::Gone(why) = trouble else { return None };
    why.contains("permission denied").then(|| {
        let has_group =
            std::fs::metadata(socket).is_ok_and(|file| file.gid() != ROOT && file.mode() & GROUP_WRITES != 0);
        let way = match has_group {
            true => "join its group (for Docker: sudo usermod -aG docker \"$USER\"), which is as much as root",
            false => "only root may ask it: run as root",
        };
        format!("{way}, or use a rootless engine")
    })
}

fn none_found(wanted: &Wanted, tried: Vec<Report>) -> Error {
    let what = match wanted {
        Wanted::Any => "no container engine answers".to_owned(),
        Wanted::Socket(path) => format!("no container engine answers at \"{}\"", path.display()),
        Wanted::Kind(kind) => format!("no container engine that is {kind} answers"),
    };
    let start = match wanted {
        Wanted::Kind(Kind::Podman) => {
            "start one: systemctl --user start podman.socket, or podman system service --time=0"
        }
        Wanted::Kind(Kind::Docker) => "start one: sudo systemctl start docker",
        Wanted::Any | Wanted::Socket(_) => {
            "start one: sudo systemctl start docker, or systemctl --user start podman.socket; or name it in DOCKER_HOST"
        }
    };
    let mut error = Error::operator(what).hint(start);
    error.reports.extend(tried);
    error
}
