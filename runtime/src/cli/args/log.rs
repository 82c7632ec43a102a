//! The command line of `stockade log` as data.
//! It never does anything.

use clap::{ArgGroup, Args, Subcommand};
use std::ffi::OsString;
use std::path::PathBuf;

/// The terms of a question.
const TERMS: &str = "Terms, all of which must hold; != for what must not be:
  k=GLOB           kind of the record: k=fs.* k=proc.exit k!=net.*
  tc=GLOB          call: tc=tc_3; call=GLOB is the same
  p=N              process
  path=GLOB        path of a file, either one of a rename: path=src/**
  exe=GLOB         program
  host=GLOB        host or address
  ev=LEVEL         evidence: claimed, observed, confirmed, performed, outcome
  ev>=LEVEL        at least that evidence
  n=FROM..TO       numbers of records; the end is not included
  since=, until=   1.5s, 200ms, 3m after the start, or 2026-01-31T12:00:00Z
In a GLOB, * and ? stop at a slash and ** does not.";

/// Arguments of `log`.
#[derive(Debug, Args)]
pub struct LogArgs {
    /// What to read.
    #[command(subcommand)]
    pub command: LogCommand,
}

/// Subcommands of `log`. A session is an id, an unambiguous prefix of one, or `last`.
#[derive(Debug, Subcommand)]
pub enum LogCommand {
    /// List the sessions.
    List {
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Show a session's records, or one of them.
    Show {
        /// Session.
        #[arg(default_value = "last")]
        session: String,
        /// Number of the record.
        number: Option<u64>,
        /// Print JSON; `export` has the bytes as they are on disk.
        #[arg(long)]
        json: bool,
    },
    /// Show the newest records, and follow.
    Tail {
        /// Session.
        #[arg(default_value = "last")]
        session: String,
        /// Go on as records are written, until the session closes.
        #[arg(short, long)]
        follow: bool,
        /// How many to begin with.
        #[arg(short = 'n', long, default_value_t = 20)]
        lines: u64,
    },
    /// Show the records that match every term: `k=fs.* path=src/** p=4`.
    #[command(after_help = TERMS)]
    Query {
        /// Session.
        session: String,
        /// Terms FIELD=VALUE.
        #[arg(required = true, value_name = "TERM")]
        terms: Vec<OsString>,
        /// Print JSON; `export` has the bytes as they are on disk.
        #[arg(long)]
        json: bool,
    },
    /// Tell what happened, one line a record: when, in which call, which process, what, and how well that is known.
    #[command(after_help = TERMS)]
    Timeline {
        /// Session.
        #[arg(default_value = "last")]
        session: String,
        /// Terms FIELD=VALUE, as in `query`.
        #[arg(value_name = "TERM")]
        terms: Vec<OsString>,
        /// Print JSON, one object a line.
        #[arg(long)]
        json: bool,
    },
    /// Show calls and processes as a tree: times, exits, what they ran, wrote and connected to.
    Tree {
        /// Session.
        #[arg(default_value = "last")]
        session: String,
        /// Only this call.
        call: Option<String>,
        /// Every name, not only the first few.
        #[arg(short, long)]
        all: bool,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Say why a path is as it is: who changed it, for which call, through which open, from what to what, how well known.
    Why {
        /// Session.
        session: String,
        /// Path in the workspace, or a pattern: `src/**`.
        path: PathBuf,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Write a report for people: one HTML file, without scripts and without anything from elsewhere.
    Report {
        /// Session.
        #[arg(default_value = "last")]
        session: String,
        /// Records in its timeline at most.
        #[arg(long, default_value_t = 5000, value_name = "N")]
        records: usize,
        /// Leave out values that can be erased from the log: arguments, directories, output.
        #[arg(long)]
        redacted: bool,
    },
    /// Print the proof that a record is in the log (C2SP tlog-proof).
    Prove {
        /// Session.
        session: String,
        /// Number of the record.
        number: u64,
    },
    /// Write all records out, for other programs.
    Export {
        /// Session.
        session: String,
        /// How.
        #[command(flatten)]
        format: ExportFormat,
        /// With the openings of redactable fields: arguments, environments, directories.
        #[arg(long)]
        disclose: bool,
    },
    /// Delete the opening of a sensitive field: the value is gone, every proof stays valid.
    Redact {
        /// Session.
        session: String,
        /// Number of the record.
        number: u64,
        /// Why: it is written to the ledger.
        #[arg(long)]
        reason: String,
    },
}

/// Formats of `log export`.
#[derive(Debug, Args)]
#[command(group = ArgGroup::new("format").required(true))]
pub struct ExportFormat {
    /// As JSON lines, the bytes that were hashed.
    #[arg(long, group = "format")]
    pub jsonl: bool,
    /// As events of the Open Cybersecurity Schema Framework 1.8, JSON lines.
    #[arg(long, group = "format")]
    pub ocsf: bool,
    /// As OpenTelemetry traces and logs (OTLP/JSON), one request a line.
    #[arg(long, group = "format")]
    pub otlp: bool,
}
