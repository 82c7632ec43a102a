//! Images: finding one by its reference, pulling it where that is allowed, and listing what is there.
//! It never takes an image for another: a digest or an id that was asked for is compared with what is there.

use super::about::{About, architecture};
use super::reference::Reference;
use super::trouble::{Trouble, bounded};
use super::wire::{Limits, Wire};
use crate::error::{Error, Result};
use bollard::models::{CreateImageInfo, ErrorDetail, ImageInspect, ProgressDetail};
use bollard::query_parameters::{CreateImageOptionsBuilder, ListImagesOptions};
use futures_util::StreamExt as _;
use std::sync::mpsc::{Receiver, Sender, channel};

/// How long an engine may take to look at its images, seconds.
const LOOK_S_MAX: u64 = 30;
/// How long a pull may take, seconds.
const PULL_S_MAX: u64 = 3600;

/// Whether an image that is not here may be asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pull {
    /// It must be here.
    Never,
    /// The engine pulls it when it is not.
    WhenMissing,
    /// The engine looks for a newer one first.
    Always,
}

/// An image that is on this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    /// Hash of its configuration: `sha256:…`.
    pub id: String,
    /// What pins it on every machine: `name@sha256:…`; one that was built here and never pushed may have none.
    pub digest: Option<String>,
    /// How it was asked for.
    pub reference: String,
    /// Architecture, as images name it: `amd64`.
    pub architecture: String,
    /// Operating system.
    pub os: String,
    /// User that it wants to run as; empty is root.
    pub user: String,
    /// Its variables, `NAME=value`.
    pub env: Vec<String>,
    /// Its working directory.
    pub working_dir: String,
    /// Its size on disk, bytes.
    pub size_bytes: u64,
}

/// An image in a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageSummary {
    /// Hash of its configuration: `sha256:…`.
    pub id: String,
    /// Its names with tags.
    pub tags: Vec<String>,
    /// Its names with digests.
    pub digests: Vec<String>,
    /// Its size on disk, bytes.
    pub size_bytes: u64,
    /// When it was made, seconds since 1970.
    pub created_s: i64,
}

/// How far a pull or a build is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Progress {
    /// Layer that this is about.
    pub layer: Option<String>,
    /// What happens, in the engine's words, in one line.
    pub text: String,
    /// How much of it is done, bytes.
    pub bytes: Option<u64>,
    /// Of how much.
    pub bytes_total: Option<u64>,
}

/// Finds an image, and has it pulled first where that is said.
pub(super) fn resolve(
    wire: &Wire,
    about: &About,
    text: &str,
    pull: Pull,
    progress: &mut dyn FnMut(Progress),
) -> Result<Image> {
    let reference = Reference::parse(text)?;
    let act = format!("look for image \"{reference}\"");
    let mut inspected = match pull {
        Pull::Always => None,
        Pull::Never | Pull::WhenMissing => inspect(wire, &reference).map_err(|e| e.during(&act, wire.socket()))?,
    };
    let may_pull = matches!(pull, Pull::Always | Pull::WhenMissing) && matches!(reference, Reference::Name { .. });
    if inspected.is_none() && may_pull {
        pull_image(wire, about, &reference, progress)?;
        inspected = inspect(wire, &reference).map_err(|e| e.during(&act, wire.socket()))?;
    }
    let inspected = inspected.ok_or_else(|| missing(about, &reference))?;
    checked(about, &reference, inspected)
}

/// What the engine knows of an image; none when it has none.
pub(super) fn inspect(wire: &Wire, reference: &Reference) -> std::result::Result<Option<ImageInspect>, Trouble> {
    let name = reference.to_string();
    let found =
        wire.ask(Limits::answer(LOOK_S_MAX), |line| async move { Ok(line.docker()?.inspect_image(&name).await?) });
    match found {
        Ok(image) => Ok(Some(image)),
        Err(trouble) if trouble.is_missing() => Ok(None),
        Err(trouble) => Err(trouble),
    }
}

fn missing(about: &About, reference: &Reference) -> Error {
    let made = Error::operator(format!("image \"{reference}\" is not on this machine"));
    match reference {
        Reference::Name { .. } => {
            made.hint(format!("{} pull {reference}, or build one: stockade image build --tag {reference}", about.kind))
        }
        Reference::Id { .. } => made.hint("an id is of one machine: build the image here with stockade image build"),
    }
}

/// The image, if it is the one that was asked for and can run here.
pub(super) fn checked(about: &About, reference: &Reference, inspected: ImageInspect) -> Result<Image> {
    let text = |text: Option<String>| bounded(&text.unwrap_or_default());
    let id = inspected.id.unwrap_or_default();
    let hex = id.strip_prefix("sha256:").unwrap_or(&id);
    if !super::reference::is_hex(hex) {
        return Err(Error::host(format!("the container engine gives image \"{reference}\" an id that is none")));
    }
    let digests = inspected.repo_digests.unwrap_or_default();
    let digests: Vec<String> = digests.into_iter().filter(|digest| Reference::parse(digest).is_ok()).collect();
    let is_asked_for = match reference {
        Reference::Id { hex: asked } => asked == hex,
        Reference::Name { digest: None, .. } => true,
        Reference::Name { digest: Some(asked), .. } => digests.iter().any(|digest| ends_with(digest, asked)),
    };
    if !is_asked_for {
        return Err(Error::host(format!(
            "the container engine has another image for \"{reference}\": \"sha256:{hex}\""
        )));
    }
    let architecture = architecture(&text(inspected.architecture)).to_owned();
    let os = text(inspected.os);
    if os != "linux" || architecture != about.architecture {
        let what = format!(
            "image \"{reference}\" is for {os} on {architecture}, and this machine has linux on {}",
            about.architecture
        );
        return Err(Error::operator(what).hint("take an image that was made for this architecture"));
    }
    let config = inspected.config.unwrap_or_default();
    Ok(Image {
        id: format!("sha256:{hex}"),
        digest: pinned(reference, &digests),
        reference: reference.to_string(),
        architecture,
        os,
        user: text(config.user),
        env: config.env.unwrap_or_default(),
        working_dir: config.working_dir.unwrap_or_default(),
        size_bytes: u64::try_from(inspected.size.unwrap_or_default()).unwrap_or_default(),
    })
}

fn ends_with(digest: &str, hex: &str) -> bool {
    digest.rsplit_once("@sha256:").is_some_and(|(_, found)| found == hex)
}

/// What pins the image: the digest that was asked for, else the one of the name that was asked for, else any.
fn pinned(reference: &Reference, digests: &[String]) -> Option<String> {
    let of_name = |wanted: &str| {
        digests.iter().find(|digest| {
            let name = digest.split('@').next().unwrap_or_default();
            // Podman writes out what Docker leaves away.
            name == wanted
                || name.strip_prefix("docker.io/").is_some_and(|rest| rest.trim_start_matches("library/") == wanted)
        })
    };
    let found = match reference {
        Reference::Name { digest: Some(asked), .. } => digests.iter().find(|digest| ends_with(digest, asked)),
        Reference::Name { name, digest: None, .. } => of_name(name),
        Reference::Id { .. } => None,
    };
    found.or_else(|| digests.first()).cloned()
}

fn pull_image(wire: &Wire, about: &About, reference: &Reference, progress: &mut dyn FnMut(Progress)) -> Result<()> {
    let Reference::Name { name, tag, digest } = reference else { return Ok(()) };
    // Without a tag an engine pulls all tags that there are.
    let tag = match (tag, digest) {
        (_, Some(digest)) => format!("sha256:{digest}"),
        (Some(tag), None) => tag.clone(),
        (None, None) => "latest".to_owned(),
    };
    let options = CreateImageOptionsBuilder::new().from_image(name).tag(&tag).build();
    let pulled = with_progress(progress, |said| {
        wire.ask(Limits::stream(PULL_S_MAX), move |line| async move {
            let docker = line.docker()?;
            let mut stream = std::pin::pin!(docker.create_image(Some(options), None, None));
            while let Some(info) = stream.next().await {
                drop(said.send(pulling(info?)?));
            }
            Ok(())
        })
    });
    pulled.map_err(|trouble| {
        let hint = format!("look whether the registry can be reached and knows you: {} pull {reference}", about.kind);
        trouble.during(&format!("pull image \"{reference}\""), wire.socket()).hint(hint)
    })
}

fn pulling(info: CreateImageInfo) -> std::result::Result<Progress, Trouble> {
    let CreateImageInfo { id, error_detail, status, progress_detail } = info;
    progress_of(id, status, progress_detail, error_detail)
}

/// One line of what an engine says while it pulls or builds.
pub(super) fn progress_of(
    layer: Option<String>,
    text: Option<String>,
    detail: Option<ProgressDetail>,
    error: Option<ErrorDetail>,
) -> std::result::Result<Progress, Trouble> {
    if let Some(error) = error.and_then(|error| error.message) {
        return Err(Trouble::Refused { status: 400, said: bounded(&error) });
    }
    let size = |number: Option<i64>| number.and_then(|number| u64::try_from(number).ok()).filter(|number| *number > 0);
    Ok(Progress {
        layer: layer.as_deref().map(bounded),
        text: bounded(&text.unwrap_or_default()),
        bytes: detail.as_ref().and_then(|detail| size(detail.current)),
        bytes_total: detail.as_ref().and_then(|detail| size(detail.total)),
    })
}

/// Does something that says how far it is, and tells that on the thread of whoever called.
pub(super) fn with_progress<T: Send>(
    progress: &mut dyn FnMut(Progress),
    act: impl FnOnce(Sender<Progress>) -> std::result::Result<T, Trouble> + Send,
) -> std::result::Result<T, Trouble> {
    let (said, heard): (Sender<Progress>, Receiver<Progress>) = channel();
    std::thread::scope(|scope| {
        let acting = std::thread::Builder::new().name("engine".to_owned()).spawn_scoped(scope, move || act(said));
        let acting = acting.map_err(|error| Trouble::Ours(crate::error::plain(&error)))?;
        // It ends when the last sender is gone, which is when the act has ended.
        heard.iter().for_each(progress);
        acting.join().unwrap_or_else(|_| Err(Trouble::Ours("the thread of a request panicked".to_owned())))
    })
}

/// Every image with a name, and those without.
pub(super) fn list(wire: &Wire) -> Result<Vec<ImageSummary>> {
    let listed = wire.ask(Limits::answer(LOOK_S_MAX), |line| async move {
        Ok(line.docker()?.list_images(None::<ListImagesOptions>).await?)
    });
    let listed = listed.map_err(|trouble| trouble.during("list images", wire.socket()))?;
    let mut images: Vec<ImageSummary> = listed
        .into_iter()
        .map(|image| ImageSummary {
            id: bounded(&image.id),
            tags: named(&image.repo_tags),
            digests: named(&image.repo_digests),
            size_bytes: u64::try_from(image.size).unwrap_or_default(),
            created_s: image.created,
        })
        .collect();
    images.sort_by(|a, b| (&a.tags, &a.id).cmp(&(&b.tags, &b.id)));
    Ok(images)
}

/// Names that are references: an engine writes `<none>` for a name that there is not.
fn named(names: &[String]) -> Vec<String> {
    names.iter().filter(|name| Reference::parse(name).is_ok()).cloned().collect()
}
