//! `stockade image`: images for the container wall, built, pulled and listed by the engine of this machine.
//! It never starts a container of ours, and pins what it prints: a line for a profile names one image and no other.

use crate::backend::container::engine::{Engine, Image, ImageSummary, Progress, Pull, Wanted};
use crate::cli::args::{ImageCommand, ImagePlace};
use crate::cli::style::{Tone, visible};
use crate::cli::{Context, print, print_json, tell};
use crate::error::{Error, Result};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{IsTerminal as _, Write as _};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

/// Columns of a line that is written over: what is longer would leave its rest behind.
const LINE_CHARS_MAX: usize = 76;

/// Does what the subcommand says.
///
/// # Errors
/// Operator: there is no engine or no such image, or a step of a build failed. Host: the engine cannot.
pub(super) fn image(command: &ImageCommand, context: &Context) -> Result<u8> {
    match command {
        ImageCommand::Build { tag, file, place, directory } => {
            let file = dockerfile(directory, file.as_deref())?;
            let engine = engine(place, context)?;
            let built = watched(|progress| engine.build(directory, &file, tag.as_deref(), progress))?;
            show(&built, place)?;
        }
        ImageCommand::Pull { reference, place } => {
            let engine = engine(place, context)?;
            let pulled = watched(|progress| engine.image(reference, Pull::Always, progress))?;
            show(&pulled, place)?;
        }
        ImageCommand::List { place } => list(&engine(place, context)?.images()?, place, context)?,
    }
    Ok(0)
}

fn engine(place: &ImagePlace, context: &Context) -> Result<Engine> {
    let wanted = place.engine.as_deref().map_or(Ok(Wanted::Any), Wanted::parse)?;
    Engine::find(&wanted, &variables(context))
}

/// The operator's variables, of which those that name an engine are read.
pub(super) fn variables(context: &Context) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let bytes = |text: &std::ffi::OsString| text.as_bytes().to_vec();
    let mut variables: BTreeMap<_, _> =
        context.environment.all().map(|(name, value)| (bytes(name), bytes(value))).collect();
    // Settings of the docker command lie at home, also where no variable says which that is.
    variables.entry(b"HOME".to_vec()).or_insert_with(|| context.environment.home.as_os_str().as_bytes().to_vec());
    variables
}

fn dockerfile(directory: &Path, file: Option<&Path>) -> Result<PathBuf> {
    if let Some(file) = file {
        return Ok(file.to_owned());
    }
    let found =
        ["Dockerfile", "Containerfile"].map(|name| directory.join(name)).into_iter().find(|path| path.is_file());
    found.ok_or_else(|| {
        Error::operator(format!("directory \"{}\" has no Dockerfile", directory.display()))
            .hint("name one: --file FILE")
    })
}

/// Does something that takes a while, and shows on a terminal what it does.
fn watched<T>(act: impl FnOnce(&mut dyn FnMut(Progress)) -> Result<T>) -> Result<T> {
    let done = act(&mut |progress| watch(Some(&progress)));
    watch(None);
    done
}

/// Shows on a terminal how an engine gets on, over what was shown before; `None` takes that away.
pub(super) fn watch(progress: Option<&Progress>) {
    if !std::io::stderr().is_terminal() {
        return;
    }
    match progress {
        Some(progress) if progress.text.is_empty() => {}
        Some(progress) => over(&line(progress)),
        None => over(""),
    }
}

/// Writes over the line before. When standard error is closed there is nobody to tell.
fn over(text: &str) {
    let mut stderr = std::io::stderr().lock();
    drop(write!(stderr, "\r\x1b[K{text}").and_then(|()| stderr.flush()));
}

fn line(progress: &Progress) -> String {
    let mut line = progress.layer.as_ref().map_or_else(String::new, |layer| format!("{layer}: "));
    line.push_str(&progress.text);
    if let (Some(done), Some(total)) = (progress.bytes, progress.bytes_total) {
        write!(line, " {} of {}", size(done), size(total)).expect("writing to a String cannot fail");
    }
    visible(&line).chars().take(LINE_CHARS_MAX).collect()
}

fn size(bytes: u64) -> String {
    const KIB: u64 = 1024;
    match bytes {
        0..KIB => format!("{bytes} B"),
        KIB..1_048_576 => format!("{} KiB", bytes / KIB),
        _ => format!("{} MiB", bytes / (KIB * KIB)),
    }
}

/// What pins an image in a profile: its digest, which means the same everywhere, else its id, which means it here.
fn pin(image: &Image) -> &str {
    image.digest.as_deref().unwrap_or(&image.id)
}

fn show(image: &Image, place: &ImagePlace) -> Result<()> {
    if place.json {
        return print_json(&serde_json::json!({
            "id": image.id,
            "digest": image.digest,
            "reference": image.reference,
            "architecture": image.architecture,
            "os": image.os,
            "user": image.user,
            "size_bytes": image.size_bytes,
            "image": pin(image),
        }));
    }
    tell(&format!("{} for {} on {}, {}", image.reference, image.os, image.architecture, size(image.size_bytes)));
    print(&format!("image = \"{}\"\n", pin(image)))
}

fn list(images: &[ImageSummary], place: &ImagePlace, context: &Context) -> Result<()> {
    if place.json {
        let images = images.iter().map(|image| {
            serde_json::json!({
                "id": image.id,
                "tags": image.tags,
                "digests": image.digests,
                "size_bytes": image.size_bytes,
                "created_s": image.created_s,
            })
        });
        return print_json(&images.collect::<Vec<_>>());
    }
    let mut out = String::new();
    for image in images {
        let pin = visible(image.digests.first().unwrap_or(&image.id));
        let nameless = image.tags.is_empty().then_some("(no name)");
        for name in image.tags.iter().map(String::as_str).chain(nameless) {
            let name = context.colour.paint(Tone::Strong, &format!("{:44}", visible(name)));
            writeln!(out, "{name} {:>9}  {pin}", size(image.size_bytes)).expect("writing to a String cannot fail");
        }
    }
    print(&out)
}
