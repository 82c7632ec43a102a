//! Which wall a profile asks for: ours around processes of this machine, or a container of an image around that.
//! It never asks whether there is such an engine, image or runtime: who opens a session does.
//!
//! How two files agree: of two backends the container holds, as of two floors the higher. No image is stricter than
//! another, and no runtime either, so there a file's own word holds against what it extends; where it has none, and
//! those that it extends have two, nobody can say which was meant, and that is an error.

use crate::diagnostic::Findings;
use crate::image::{ImageReference, RuntimeName};
use crate::name::{Flaw, ProfileName, RuleId};
use crate::parse::{At, ProfileFile};
use alloc::format;
use alloc::string::{String, ToString as _};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;

/// What a session runs behind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Backend {
    /// The process wall: files of this machine, as far as they are granted.
    Process,
    /// The same wall inside a container: files of an image, as far as they are granted.
    Container(Container),
}

/// A container, as far as the one who asks for it says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Container {
    /// The image whose files it has.
    pub image: ImageReference,
    /// The OCI runtime that starts it; none is the engine's own choice.
    pub runtime: Option<RuntimeName>,
}

impl Backend {
    /// As written in a profile.
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Process => BackendName::Process.as_str(),
            Self::Container(_) => BackendName::Container.as_str(),
        }
    }
}

/// The word of a profile. The order is by strength.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum BackendName {
    Process,
    Container,
}

impl BackendName {
    pub(crate) const ALL: [Self; 2] = [Self::Process, Self::Container];

    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Process => "process",
            Self::Container => "container",
        }
    }
}

/// What somebody who starts a session says of the wall, over whatever the profile says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WallChoice {
    /// Nothing: the profile's own.
    Profile,
    /// The process wall, and nothing of an image.
    Process,
    /// A container; what is not named here is the profile's.
    Container {
        /// The image.
        image: Option<ImageReference>,
        /// The OCI runtime.
        runtime: Option<RuntimeName>,
    },
}

impl WallChoice {
    /// Reads the words of a command line. An image or a runtime alone mean a container.
    ///
    /// # Errors
    /// A word that is none, or words that contradict each other.
    pub fn parse(backend: Option<&str>, image: Option<&str>, runtime: Option<&str>) -> Result<Self, Flaw> {
        let image = image.map(ImageReference::parse).transpose()?;
        let runtime = runtime.map(RuntimeName::parse).transpose()?;
        let of_container = match (&image, &runtime) {
            (Some(_), _) => Some("image"),
            (None, Some(_)) => Some("runtime"),
            (None, None) => None,
        };
        let named = backend.map(|word| {
            let known = BackendName::ALL.into_iter().find(|name| name.as_str() == word);
            known.ok_or_else(|| Flaw::new(format!("unknown backend \"{word}\""), "say process or container"))
        });
        match (named.transpose()?, of_container) {
            (None, None) => Ok(Self::Profile),
            (Some(BackendName::Process), None) => Ok(Self::Process),
            (Some(BackendName::Process), Some(key)) => Err(needs_container(key)),
            (Some(BackendName::Container), _) | (None, Some(_)) => Ok(Self::Container { image, runtime }),
        }
    }
}

fn needs_container(key: &str) -> Flaw {
    let what = format!("{key} belongs to the container wall, and the backend is \"process\"");
    Flaw::new(what, format!("choose the backend \"container\", or name no {key}"))
}

/// What to do when nobody has named an image.
const NAME_ONE: &str = "--image NAME, or image = \"…\" in a profile";

/// Where something was said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Line {
    /// The file, as the caller named it.
    pub(crate) file: Arc<str>,
    /// The line, as a log names it.
    pub(crate) rule: RuleId,
}

/// Something that was said, in a file or, without a line, by who starts the session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Stated<T> {
    pub(crate) value: T,
    pub(crate) line: Option<Line>,
}

/// The wall of a profile, whose image may still be to be named: a base is extended by profiles that have one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Asked {
    Process,
    Container {
        image: Stated<ImageReference>,
        runtime: Option<Stated<RuntimeName>>,
    },
    /// A container of an image that nobody has named; the line that asks for it.
    Unnamed {
        line: Line,
        runtime: Option<Stated<RuntimeName>>,
    },
}

impl Asked {
    pub(crate) const fn name(&self) -> BackendName {
        match self {
            Self::Process => BackendName::Process,
            Self::Container { .. } | Self::Unnamed { .. } => BackendName::Container,
        }
    }

    pub(crate) const fn image(&self) -> Option<&Stated<ImageReference>> {
        match self {
            Self::Container { image, .. } => Some(image),
            Self::Process | Self::Unnamed { .. } => None,
        }
    }

    pub(crate) const fn runtime(&self) -> Option<&Stated<RuntimeName>> {
        match self {
            Self::Container { runtime, .. } | Self::Unnamed { runtime, .. } => runtime.as_ref(),
            Self::Process => None,
        }
    }

    /// The wall to build. `None` after a finding.
    pub(crate) fn complete(&self, findings: &mut Findings) -> Option<Backend> {
        match self {
            Self::Process => Some(Backend::Process),
            Self::Container { image, runtime } => {
                let runtime = runtime.as_ref().map(|runtime| runtime.value.clone());
                Some(Backend::Container(Container { image: image.value.clone(), runtime }))
            }
            Self::Unnamed { line, .. } => {
                findings.add(&line.file, line.rule.line(), "backend = \"container\" has no image", NAME_ONE);
                None
            }
        }
    }

    /// The same, with what somebody chose.
    pub(crate) fn choose(&self, choice: &WallChoice) -> Result<Self, Flaw> {
        let (image, runtime) = match choice {
            WallChoice::Profile => return Ok(self.clone()),
            WallChoice::Process => return Ok(Self::Process),
            WallChoice::Container { image, runtime } => (image, runtime),
        };
        let image = image.clone().map(chosen).or_else(|| self.image().cloned());
        let runtime = runtime.clone().map(chosen).or_else(|| self.runtime().cloned());
        let image = image.ok_or_else(|| Flaw::new("the container wall has no image", NAME_ONE))?;
        Ok(Self::Container { image, runtime })
    }
}

const fn chosen<T>(value: T) -> Stated<T> {
    Stated { value, line: None }
}

/// What one file says.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct WallWords {
    pub(crate) backend: Option<At<BackendName>>,
    pub(crate) image: Option<At<ImageReference>>,
    pub(crate) runtime: Option<At<RuntimeName>>,
}

impl WallWords {
    /// What belongs to another wall than the one that the same file names.
    pub(crate) fn contradiction(&self) -> Option<(u32, Flaw)> {
        self.backend.as_ref().filter(|at| at.value == BackendName::Process)?;
        let image = self.image.as_ref().map(|at| (at.line, needs_container("image")));
        image.or_else(|| self.runtime.as_ref().map(|at| (at.line, needs_container("runtime"))))
    }
}

/// What a file and all that it extends say.
#[derive(Debug, Clone, Default)]
struct Heard {
    backend: Option<Stated<BackendName>>,
    image: Option<Stated<ImageReference>>,
    runtime: Option<Stated<RuntimeName>>,
}

/// What the files of a profile say of its wall, as they are joined: what a file extends comes before it.
#[derive(Debug, Default)]
pub(crate) struct Walls(Vec<(ProfileName, Heard)>);

impl Walls {
    /// Takes what `file` says, over what it extends.
    pub(crate) fn take(&mut self, file: &ProfileFile, findings: &mut Findings) {
        let parents = || {
            file.extends.iter().filter_map(|at| {
                let found = self.0.iter().find(|(name, _)| *name == at.value)?;
                Some((at.line, &found.1))
            })
        };
        let words = &file.wall;
        let backends = parents().filter_map(|(_, heard)| heard.backend.clone());
        let strictest =
            backends.chain(stated(file, words.backend.as_ref())).reduce(|a, b| if b.value > a.value { b } else { a });
        let images = parents().filter_map(|(line, heard)| Some((line, heard.image.as_ref()?)));
        let image = stated(file, words.image.as_ref()).or_else(|| agreed("image", file, images, findings));
        let runtimes = parents().filter_map(|(line, heard)| Some((line, heard.runtime.as_ref()?)));
        let runtime = stated(file, words.runtime.as_ref()).or_else(|| agreed("runtime", file, runtimes, findings));
        self.0.push((file.name.clone(), Heard { backend: strictest, image, runtime }));
    }

    /// What `file`, of which everything was taken, asks for.
    pub(crate) fn asked(mut self, file: &ProfileName, findings: &mut Findings) -> Asked {
        let heard = self.0.iter().position(|(name, _)| name == file).map(|at| self.0.swap_remove(at).1);
        let Heard { backend, image, runtime } = heard.unwrap_or_default();
        let container = backend.filter(|backend| backend.value == BackendName::Container);
        let Some(line) = container.and_then(|backend| backend.line) else {
            let lines = [("image", image.and_then(|of| of.line)), ("runtime", runtime.and_then(|of| of.line))];
            for (key, line) in lines.into_iter().filter_map(|(key, line)| Some((key, line?))) {
                let hint = "add backend = \"container\", or extends = [\"container\"]";
                findings.add(&line.file, line.rule.line(), format!("{key} without backend = \"container\""), hint);
            }
            return Asked::Process;
        };
        match image {
            Some(image) => Asked::Container { image, runtime },
            None => Asked::Unnamed { line, runtime },
        }
    }
}

fn stated<T: Clone>(file: &ProfileFile, at: Option<&At<T>>) -> Option<Stated<T>> {
    let at = at?;
    let rule = RuleId::new(file.name.clone(), at.line, 0);
    Some(Stated { value: at.value.clone(), line: Some(Line { file: Arc::clone(&file.file), rule }) })
}

/// The one value that the profiles have which `file` extends; several are a finding.
fn agreed<'h, T: Clone + PartialEq + fmt::Display + 'h>(
    key: &str,
    file: &ProfileFile,
    mut heard: impl Iterator<Item = (u32, &'h Stated<T>)>,
    findings: &mut Findings,
) -> Option<Stated<T>> {
    let (_, first) = heard.next()?;
    if let Some((line, other)) = heard.find(|(_, other)| other.value != first.value) {
        let place = |of: &Stated<T>| of.line.as_ref().map_or_else(String::new, |line| line.rule.to_string());
        let what =
            format!("{key} is \"{}\" in {} and \"{}\" in {}", first.value, place(first), other.value, place(other));
        findings.add(&file.file, line, what, format!("say which: {key} = \"{}\"", first.value));
    }
    Some(first.clone())
}

/// For people: what the wall is, line by line, why where there is something to say, and who said it.
pub(crate) fn said(asked: &Asked) -> Vec<(String, &'static str, Option<&Line>)> {
    let line = match asked {
        Asked::Unnamed { line, .. } => Some(line),
        Asked::Process | Asked::Container { .. } => None,
    };
    let mut out = Vec::from([(format!("backend = \"{}\"", asked.name().as_str()), "", line)]);
    if let Asked::Unnamed { .. } = asked {
        out.push(("image, which is still to be named".to_string(), NAME_ONE, None));
    }
    if let Some(image) = asked.image() {
        let why = match image.value.pin() {
            crate::image::Pin::Id(_) | crate::image::Pin::Digest(_) => "",
            crate::image::Pin::Tag(_) => "by a tag, which can come to mean another image; a digest cannot",
        };
        out.push((format!("image = \"{}\"", image.value), why, image.line.as_ref()));
    }
    if let Some(runtime) = asked.runtime() {
        out.push((format!("runtime = \"{}\"", runtime.value), "", runtime.line.as_ref()));
    }
    out
}
