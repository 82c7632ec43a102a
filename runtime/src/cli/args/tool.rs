//! The command line of `stockade tool` as data.
//! It never does anything.

use clap::{Args, Subcommand};
use std::path::PathBuf;

/// Arguments of `tool`.
#[derive(Debug, Args)]
pub struct ToolArgs {
    /// What to do.
    #[command(subcommand)]
    pub command: ToolCommand,
}

/// Subcommands of `tool`.
#[derive(Debug, Subcommand)]
pub enum ToolCommand {
    /// List the tools that a profile knows, and which of them it grants.
    List {
        /// For which session.
        #[command(flatten)]
        place: ToolPlace,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Say what a component is, what it asks for, and what of that a profile would give it.
    Inspect {
        /// Name of a tool, or a file.
        #[arg(value_name = "NAME|FILE")]
        tool: String,
        /// For which session.
        #[command(flatten)]
        place: ToolPlace,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Make a tool of a component from elsewhere: a program for wasm32-wasip2 gets its manifest.
    Pack {
        /// The component.
        #[arg(value_name = "PROGRAM.wasm")]
        program: PathBuf,
        /// Its manifest: JSON, as tools-wasm/README.md describes it.
        #[arg(short, long, value_name = "FILE")]
        manifest: PathBuf,
        /// Where the tool goes; a file that is there is replaced.
        #[arg(short, long, value_name = "OUT.wasm")]
        output: PathBuf,
    },
    /// Compile components ahead of their first call, again where that was done before.
    Compile {
        /// Names of tools, or files; all that the profile knows when none is given.
        #[arg(value_name = "NAME|FILE")]
        tools: Vec<String>,
        /// For which session.
        #[command(flatten)]
        place: ToolPlace,
    },
}

/// What tools are looked at for.
#[derive(Debug, Args)]
pub struct ToolPlace {
    /// Profile: the name of a built-in one, or a file.
    #[arg(short, long, default_value = "shell", value_name = "NAME|FILE")]
    pub profile: String,
    /// Directory that the session would work in [default: the current one].
    #[arg(short, long, value_name = "DIR")]
    pub workspace: Option<PathBuf>,
}
