//! The command line of `stockade image` as data.
//! It never does anything.

use clap::{Args, Subcommand};
use std::path::PathBuf;

/// Arguments of `image`.
#[derive(Debug, Args)]
pub struct ImageArgs {
    /// What to do.
    #[command(subcommand)]
    pub command: ImageCommand,
}

/// Which engine, and how to say what it did.
#[derive(Debug, Args)]
pub struct ImagePlace {
    /// Engine: docker, podman, or unix:///PATH of its socket [default: the one that DOCKER_HOST, CONTAINER_HOST or the
    /// docker context names, else the first that answers].
    #[arg(long, value_name = "ENGINE")]
    pub engine: Option<String>,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}

/// Subcommands of `image`.
#[derive(Debug, Subcommand)]
pub enum ImageCommand {
    /// Have the engine build an image of a directory, and print the line that names it in a profile.
    Build {
        /// What the image is called.
        #[arg(short, long, value_name = "NAME:TAG")]
        tag: Option<String>,
        /// Dockerfile, in the directory [default: its Dockerfile, else its Containerfile].
        #[arg(short, long, value_name = "FILE")]
        file: Option<PathBuf>,
        /// Where, and how.
        #[command(flatten)]
        place: ImagePlace,
        /// The directory. What its .dockerignore lists is not sent.
        #[arg(default_value = ".", value_name = "DIR")]
        directory: PathBuf,
    },
    /// List the images of the engine.
    List {
        /// Where, and how.
        #[command(flatten)]
        place: ImagePlace,
    },
    /// Have the engine pull an image from its registry, and print the line that pins it in a profile.
    Pull {
        /// name:tag or name@sha256:…
        #[arg(value_name = "IMAGE")]
        reference: String,
        /// Where, and how.
        #[command(flatten)]
        place: ImagePlace,
    },
}
