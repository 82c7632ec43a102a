//! The command line of `stockade snapshot` as data.
//! It never does anything.

use clap::{Args, Subcommand};

/// Arguments of `snapshot`.
#[derive(Debug, Args)]
pub struct SnapshotArgs {
    /// What to do.
    #[command(subcommand)]
    pub command: SnapshotCommand,
}

/// Subcommands of `snapshot`.
#[derive(Debug, Subcommand)]
pub enum SnapshotCommand {
    /// Take one of a session that has ended.
    Take {
        /// Session: an id, an unambiguous prefix of one, or `last`.
        #[arg(value_name = "SESSION")]
        session: String,
        /// What it is called: letters, digits, dots, dashes and underscores.
        #[arg(value_name = "NAME")]
        name: String,
    },
    /// List the snapshots, with the sessions that they are of.
    List {
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Remove one. Sessions that went on from it have layers of their own.
    Remove {
        /// Its name.
        #[arg(value_name = "NAME")]
        name: String,
    },
}
