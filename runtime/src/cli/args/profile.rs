//! The command line of `stockade profile` as data.
//! It never does anything.

use clap::{Args, Subcommand};
use std::ffi::OsString;
use std::path::PathBuf;

/// Arguments of `profile`.
#[derive(Debug, Args)]
pub struct ProfileArgs {
    /// What to do.
    #[command(subcommand)]
    pub command: ProfileCommand,
}

/// Subcommands of `profile`.
#[derive(Debug, Subcommand)]
pub enum ProfileCommand {
    /// List the built-in profiles.
    List {
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Check profile files; every error has a file, a line and a hint.
    Check {
        /// Names of built-in profiles, or files.
        #[arg(required = true)]
        profiles: Vec<String>,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Say in words what a profile grants, and why.
    Explain {
        /// Name of a built-in profile, or a file.
        profile: String,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Say what one profile grants, refuses or limits that another does not.
    Diff {
        /// The one.
        from: String,
        /// The other.
        to: String,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Print a built-in profile's text, to start one of your own.
    Show {
        /// Name of a built-in profile, or a file.
        profile: String,
    },
    /// Run a command under the recorder and print the smallest profile that lets it pass.
    Learn(LearnArgs),
}

/// How `learn` runs, and what is left to do.
const LEARN: &str = "The command runs with the rights to read and execute what its user may, in a copy of the \
    workspace that is dropped at the end, with the network of --from alone. Every reason in the printed profile is empty, \
    and `stockade profile check` refuses it, line by line, until somebody has said why each grant is needed. Learned are programs, files that are read and written, and hosts. Not \
    learned, and said so in the profile, is what no recorder sees: which variables of the environment were looked at \
    (pass on what is needed with [[grant.env]]), secrets, limits, and what another run would do.";

/// Arguments of `profile learn`.
#[derive(Debug, Args)]
#[command(after_help = LEARN)]
pub struct LearnArgs {
    /// Name of the profile that is written.
    #[arg(long, default_value = "learned", value_name = "NAME")]
    pub name: String,
    /// Profile whose grants the command has meanwhile, beside reading and executing: for its network, secrets and limits.
    #[arg(long, value_name = "NAME")]
    pub from: Option<String>,
    /// Directory that the command works in [default: the current one].
    #[arg(short, long, value_name = "DIR")]
    pub workspace: Option<PathBuf>,
    /// Write the profile to this file instead of standard output.
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// The command and its arguments.
    #[arg(last = true, required = true, value_name = "CMD")]
    pub argv: Vec<OsString>,
}
