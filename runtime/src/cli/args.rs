//! The command line as data: every subcommand, option and help text, defined once for parsing, completions and man pages.
//! It never does anything.

mod image;
mod log;
mod profile;
mod snapshot;
mod tool;

use clap::{Args, Parser, Subcommand, ValueEnum};
pub use image::{ImageArgs, ImageCommand, ImagePlace};
pub use log::{ExportFormat, LogArgs, LogCommand};
pub use profile::{LearnArgs, ProfileArgs, ProfileCommand};
pub use snapshot::{SnapshotArgs, SnapshotCommand};
use std::ffi::OsString;
use std::num::NonZeroU16;
use std::path::PathBuf;
pub use tool::{ToolArgs, ToolCommand, ToolPlace};

/// Run an agent's commands behind walls, review what they changed, and prove what happened.
#[derive(Debug, Parser)]
#[command(name = "stockade", version, propagate_version = true, max_term_width = 110, arg_required_else_help = true)]
#[command(after_help = "Exit codes: the command's own; 128+N when signal N ended it; 124 when a limit ended it; \
    125 when Stockade refused or failed; 126 and 127 when the command could not be executed or found.")]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
    /// Say more on standard error; twice for everything.
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub verbose: u8,
    /// Use colour.
    #[arg(long, global = true, value_enum, default_value_t = When::Auto, value_name = "WHEN")]
    pub color: When,
}

/// When to do something that depends on the terminal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum When {
    /// On a terminal, and when NO_COLOR is not set.
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// The subcommands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run one command in a stockade.
    Run(RunArgs),
    /// Run many calls in one warm stockade: JSON lines in, JSON lines out.
    Session(SessionArgs),
    /// Serve MCP on standard input and output: an agent's tools, in one warm stockade.
    Mcp(McpArgs),
    /// Reach a server inside a running session from this machine, where its profile grants the port.
    Port(PortArgs),
    /// Show what a session changed.
    Diff(DiffArgs),
    /// Take a session's changes into the workspace: all, or these paths.
    Apply(ApplyArgs),
    /// Drop what a session changed and has not been applied.
    Discard(OneSession),
    /// Take back the newest apply of a session.
    Undo(OneSession),
    /// Keep what waits in a session as it is now, for sessions that go on from it (--from).
    Snapshot(SnapshotArgs),
    /// Check a session's log: that nothing was altered, and that nothing is missing.
    Verify(VerifyArgs),
    /// Read the log.
    Log(LogArgs),
    /// Look at profiles.
    Profile(ProfileArgs),
    /// Look at tools: components that run without a process, with what they ask for and the profile gives.
    Tool(ToolArgs),
    /// Build, pull and list images for the container wall, with the engine of this machine.
    Image(ImageArgs),
    /// Keep secrets: sandboxes hold placeholders, and the values go into the requests that a profile binds them to.
    Secret(SecretArgs),
    /// Print, step by step, what would be done to confine a command. Runs nothing.
    Explain(ExplainArgs),
    /// Say what this machine can enforce, layer by layer, and how to mend what is missing.
    Doctor(DoctorArgs),
    /// Remove the layers of sessions that have nothing left to apply, and what crashed sessions left over.
    Gc(GcArgs),
    /// Print a completion script for a shell.
    Completions {
        /// Which shell.
        shell: clap_complete::Shell,
    },
    /// Print the manual page, or write one per subcommand.
    Man {
        /// Write `stockade.1` and one page per subcommand into this directory.
        #[arg(long, value_name = "DIR")]
        out: Option<PathBuf>,
    },
}

/// How the workspace is given to the command.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Mode {
    /// Copy-on-write; the changes wait for `apply`.
    Review,
    /// The workspace itself.
    Direct,
    /// Copy-on-write; the changes are dropped at the end.
    Discard,
}

/// What confines: shared by every command that starts or explains a session.
#[derive(Debug, Clone, Args)]
pub struct Confinement {
    /// Profile: the name of a built-in one, or a file.
    #[arg(short, long, default_value = "shell", value_name = "NAME|FILE")]
    pub profile: String,
    /// Directory that the command works in [default: the current one].
    #[arg(short, long, value_name = "DIR")]
    pub workspace: Option<PathBuf>,
    /// How the workspace is given to the command.
    #[arg(short, long, value_enum, default_value_t = Mode::Review)]
    pub mode: Mode,
    /// Which wall, where the profile's is not meant.
    #[command(flatten)]
    pub wall: WallArgs,
}

/// What a session begins with: shared by every command that starts one.
#[derive(Debug, Clone, Default, Args)]
pub struct Beginning {
    /// Go on from what waits in a session that has ended, or in a snapshot of one, in a layer of its own.
    #[arg(long, value_name = "SESSION|SNAPSHOT")]
    pub from: Option<String>,
}

/// Which wall confines, over what the profile says.
#[derive(Debug, Clone, Default, Args)]
pub struct WallArgs {
    /// What confines: processes of this machine, or the same inside a container [default: the profile's].
    #[arg(long, value_enum, value_name = "WALL")]
    pub backend: Option<Backend>,
    /// Image of the container: a name with tag or digest, or an id. Implies --backend container.
    #[arg(long, value_name = "REF")]
    pub image: Option<String>,
    /// OCI runtime of the container, by the name that the engine has for it: runc, crun, runsc (gVisor: graded "partial")…
    #[arg(long, value_name = "NAME")]
    pub runtime: Option<String>,
    /// Container engine: docker, podman, or its socket as unix:///PATH [default: the one that is there].
    #[arg(long, value_name = "ENGINE")]
    pub engine: Option<String>,
}

/// What confines a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Backend {
    /// Processes of this machine, which see what is granted of its files.
    Process,
    /// A container, whose processes see what is granted of an image's files.
    Container,
}

impl Backend {
    /// As written in a profile.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Process => "process",
            Self::Container => "container",
        }
    }
}

/// Arguments of `run`.
#[derive(Debug, Args)]
pub struct RunArgs {
    /// What confines the command.
    #[command(flatten)]
    pub confinement: Confinement,
    /// What it begins with.
    #[command(flatten)]
    pub beginning: Beginning,
    /// Give the command a terminal of its own: job control, colours, Ctrl-C.
    #[arg(short, long)]
    pub tty: bool,
    /// Directory to start in, inside the workspace.
    #[arg(long, value_name = "DIR")]
    pub cwd: Option<PathBuf>,
    /// Set a variable for the command, where the profile does not say otherwise.
    #[arg(short, long, value_name = "NAME=VALUE")]
    pub env: Vec<OsString>,
    /// Write what happened to this file, as one JSON object.
    #[arg(long, value_name = "FILE")]
    pub report: Option<PathBuf>,
    /// Say nothing on standard error at the end.
    #[arg(short, long)]
    pub quiet: bool,
    /// The command and its arguments.
    #[arg(last = true, required = true, value_name = "CMD")]
    pub argv: Vec<OsString>,
}

/// The lines of `session`.
const SESSION_LINES: &str = r#"Each line in:
  {"id": 1, "call": {"tool": "bash", "command": {"argv": ["cargo", "test"], "cwd": "sub", "env": {"A": "b"}, "wall_s": 60}}}
  {"id": 2, "call": {"tool": "grep", "args": {"pattern": "fn main"}}}
Each line out, one of:
  {"id": 1, "exit": {"code": 0}, "stdout": …, "stderr": …, "changes": …, "receipt": …}
  {"id": 2, "reply": {"text": …, "structured": …, "images": […]}, "changes": …, "receipt": …}
  {"id": 2, "refused": {"why": "invalid-arguments" or "refused", "text": …}, "changes": …, "receipt": …}
  {"id": 2, "failed": {"why": "trapped", "limit", "died" or "cancelled", "text": …}, "changes": …, "receipt": …}
  {"id": 1, "denied": …}
  {"id": 1, "error": …}"#;

/// Arguments of `session`.
#[derive(Debug, Args)]
#[command(after_help = SESSION_LINES)]
pub struct SessionArgs {
    /// What confines the calls.
    #[command(flatten)]
    pub confinement: Confinement,
    /// What the session begins with.
    #[command(flatten)]
    pub beginning: Beginning,
}

/// How clients are told of `mcp`.
const MCP_CLIENTS: &str = r#"Add it to a client (take the paths of your machine; each client starts it by itself):
  Claude Code   claude mcp add stockade -- stockade mcp --workspace "$PWD"
                its own tools off, so that nothing runs outside:
                claude --tools "" --strict-mcp-config --mcp-config '{"mcpServers": {"stockade":
                {"command": "stockade", "args": ["mcp", "--profile", "shell"]}}}'
  Codex         codex mcp add stockade -- stockade mcp --workspace "$PWD"
  Inspector     npx @modelcontextprotocol/inspector --cli stockade mcp --method tools/list
  others        {"mcpServers": {"stockade": {"command": "stockade", "args": ["mcp", "--workspace", "/path/to/project"]}}}

Tools: bash, diff, apply, audit_receipt, and the WASI tools that this build has. Each answer has a receipt in _meta."#;

/// Arguments of `mcp`.
#[derive(Debug, Args)]
#[command(after_help = MCP_CLIENTS)]
pub struct McpArgs {
    /// What confines the calls.
    #[command(flatten)]
    pub confinement: Confinement,
    /// What the session begins with.
    #[command(flatten)]
    pub beginning: Beginning,
}

/// Arguments of `port`.
#[derive(Debug, Args)]
pub struct PortArgs {
    /// Session: an id, an unambiguous prefix of one, or `last`.
    #[arg(value_name = "SESSION")]
    pub session: String,
    /// TCP port that the server listens on, on the loopback inside.
    #[arg(value_name = "PORT")]
    pub port: NonZeroU16,
    /// TCP port here, on 127.0.0.1 [default: the same number, or any that is free].
    #[arg(long, value_name = "N")]
    pub host_port: Option<NonZeroU16>,
}

/// Names one session.
#[derive(Debug, Args)]
pub struct OneSession {
    /// Session: an id, an unambiguous prefix of one, or `last`.
    #[arg(default_value = "last", value_name = "SESSION")]
    pub session: String,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `diff`.
#[derive(Debug, Args)]
pub struct DiffArgs {
    /// Session: an id, an unambiguous prefix of one, or `last`.
    #[arg(default_value = "last", value_name = "SESSION")]
    pub session: String,
    /// Count lines instead of showing them.
    #[arg(long)]
    pub stat: bool,
    /// Print JSON: path, kind, sizes and hashes before and after.
    #[arg(long, conflicts_with = "stat")]
    pub json: bool,
    /// Only these paths, and what lies below them.
    #[arg(value_name = "PATH")]
    pub paths: Vec<PathBuf>,
}

/// Arguments of `apply`.
#[derive(Debug, Args)]
pub struct ApplyArgs {
    /// Session: an id, an unambiguous prefix of one, or `last`.
    #[arg(default_value = "last", value_name = "SESSION")]
    pub session: String,
    /// Only these paths, and what lies below them.
    #[arg(value_name = "PATH")]
    pub paths: Vec<PathBuf>,
    /// Consent to a held path: one that would run later on this machine.
    #[arg(long, value_name = "PATH")]
    pub yes_hold: Vec<PathBuf>,
    /// Say what would be done, and do nothing.
    #[arg(short = 'n', long)]
    pub dry_run: bool,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `verify`.
#[derive(Debug, Args)]
#[command(after_help = "Exit codes: 0 pass; 1 contract violated; 2 integrity broken; 3 unproven or incomplete; \
    4 usage or input/output error.")]
pub struct VerifyArgs {
    /// Session, or the directory of a session's log.
    #[arg(default_value = "last", value_name = "SESSION|DIR")]
    pub session: String,
    /// The ledger's public key that you trust (a verifier key as in signed notes) [default: this machine's].
    #[arg(long, value_name = "VKEY")]
    pub vkey: Option<String>,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `secret`.
#[derive(Debug, Args)]
pub struct SecretArgs {
    /// What to do.
    #[command(subcommand)]
    pub command: SecretCommand,
}

/// Subcommands of `secret`.
#[derive(Debug, Subcommand)]
pub enum SecretCommand {
    /// Keep a new secret: its value from standard input, or where it can be had.
    Set(SecretDeposit),
    /// Give a secret a new version. The one before is still taken out of what comes back.
    Rotate {
        /// What it becomes.
        #[command(flatten)]
        deposit: SecretDeposit,
        /// Take the version before again, as a new version: undoes the last rotation.
        #[arg(long, conflicts_with_all = ["fd", "from"])]
        back: bool,
    },
    /// Fetch secrets as a session would, and say of each whether it can be had. No value is shown.
    Check {
        /// Their names; all that there are when none is given.
        #[arg(value_name = "NAME")]
        names: Vec<String>,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// List the secrets: name, version, source and age, never a value.
    List {
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Forget a secret, all versions of it. It cannot be brought back.
    Rm {
        /// Its name.
        name: String,
    },
    /// Hand these secrets to another program: one request on standard input, one answer with their values on standard
    /// output (the exec protocol, version 1).
    Provide {
        /// Names that may be asked for; no other is given.
        #[arg(required = true, value_name = "NAME")]
        names: Vec<String>,
    },
}

/// What to keep, and under which name. A value is never an argument: arguments are there for everybody to see.
#[derive(Debug, Args)]
pub struct SecretDeposit {
    /// Its name, as in a profile.
    pub name: String,
    /// Read the value from this descriptor instead of standard input.
    #[arg(long, value_name = "N", conflicts_with = "from")]
    pub fd: Option<u32>,
    /// Do not keep the value, but where sessions find it: file:/PATH, env:NAME, fd:N, credential:NAME, exec:/PROGRAM, or
    /// vault:https://HOST (HashiCorp Vault, OpenBao).
    #[arg(long, value_name = "SOURCE")]
    pub from: Option<String>,
    /// Arguments of the program, after `exec:/PROGRAM`; words like path=app and token=file:/PATH, after `vault:URL`.
    #[arg(last = true, requires = "from", value_name = "ARG")]
    pub arguments: Vec<String>,
}

/// Arguments of `explain`.
#[derive(Debug, Args)]
pub struct ExplainArgs {
    /// What would confine the command.
    #[command(flatten)]
    pub confinement: Confinement,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
    /// The command.
    #[arg(last = true, required = true, value_name = "CMD")]
    pub argv: Vec<OsString>,
}

/// Arguments of `doctor`.
#[derive(Debug, Args)]
pub struct DoctorArgs {
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `gc`.
#[derive(Debug, Args)]
pub struct GcArgs {
    /// Say what would be removed, and remove nothing.
    #[arg(short = 'n', long)]
    pub dry_run: bool,
    /// Look for containers there: docker, podman, or unix:///path/of/its/socket.
    #[arg(long, value_name = "ENGINE")]
    pub engine: Option<String>,
}
