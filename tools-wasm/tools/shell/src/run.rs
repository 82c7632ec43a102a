//! Runs a checked script in the interpreter and makes an answer of what it did.
//! It never runs one that the check left to bash, and never returns more output than was asked for.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bashkit::{Bash, Error, ExecOptions, ExecutionLimits, LimitExceeded, MemoryLimits, SessionLimits, StreamData};
use serde::Serialize;

use crate::arguments::Arguments;
use crate::check::Beyond;
use crate::files::SessionFiles;

/// How many commands, and how many constructs, a refusal names.
const NAMED_MAX: usize = 20;
const NAME_CHARS_MAX: usize = 160;
/// A host shows no more of a refusal, and the beginning of JSON is none.
const REFUSAL_BYTES_MAX: usize = 4096;

/// Where a script runs.
pub struct Place {
    /// The workspace, by its own absolute path.
    pub workspace: PathBuf,
    /// The environment that was granted.
    pub environment: BTreeMap<String, String>,
}

/// What a script did.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct Answer {
    /// What it wrote to its standard output; bytes that are no text are replaced.
    pub stdout: String,
    /// What it wrote to its standard error output.
    pub stderr: String,
    /// As bash would give it; 124 after a time-out, 125 when a limit of the interpreter ended it.
    pub exit_code: i32,
    /// Whether one of the streams was longer than what is here.
    pub truncated: bool,
}

impl Answer {
    /// For the model: the output as a terminal shows it, and the exit code where it is not zero.
    pub fn text(&self) -> String {
        let mut text = self.stdout.clone();
        if !self.stderr.is_empty() {
            if !text.is_empty() && !text.ends_with('\n') {
                text.push('\n');
            }
            text.push_str(&self.stderr);
        }
        if self.truncated {
            text.push_str("\n[truncated: ask for more with output_bytes, or write to a file and read parts of it]");
        }
        if self.exit_code != 0 {
            if !text.is_empty() && !text.ends_with('\n') {
                text.push('\n');
            }
            text.push_str(&format!("[exit code {}]", self.exit_code));
        }
        text
    }
}

/// Says why a script is left to bash, as JSON that a caller can act on.
pub fn refusal(beyond: &Beyond) -> String {
    // Names may be long, and take more room as JSON: as many are said as fit.
    let some = |count: usize| refusal_of(beyond, count);
    (1..=NAMED_MAX).rev().map(some).find(|json| json.len() <= REFUSAL_BYTES_MAX).unwrap_or_else(|| some(0))
}

/// At most so many commands and so many constructs.
fn refusal_of(beyond: &Beyond, count: usize) -> String {
    let first = |names: &BTreeSet<String>| -> Vec<String> {
        names.iter().take(count).map(|name| name.chars().take(NAME_CHARS_MAX).collect()).collect()
    };
    let (commands, constructs) = (first(&beyond.commands), first(&beyond.constructs));
    let more = beyond.commands.len() + beyond.constructs.len() - commands.len() - constructs.len();
    let mut parts: Vec<String> = Vec::new();
    if !commands.is_empty() {
        let names: Vec<String> = commands.iter().map(|name| format!("`{name}`")).collect();
        parts.push(format!("no process is started here, and {} would need one", names.join(", ")));
    }
    if !constructs.is_empty() {
        parts.push(format!("this interpreter does not do {}", constructs.join("; ")));
    }
    if more > 0 {
        parts.push(format!("{more} more"));
    }
    let mut json = serde_json::json!({
        "error": "beyond_shell",
        "message": format!("nothing ran: {}", parts.join("; ")),
        "commands": commands,
        "constructs": constructs,
        "instead": "bash",
    });
    if more > 0 {
        json["more"] = more.into();
    }
    json.to_string()
}

/// Runs a script that the check found fit.
pub fn run(arguments: &Arguments, place: &Place) -> Result<Answer, String> {
    let start = start(arguments, place)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .map_err(|error| format!("could not start: {error}"))?;
    let mut bash = interpreter(arguments, place, start);
    let mut options = ExecOptions::new().arg0("bash");
    if let Some(stdin) = &arguments.stdin {
        options = options.stdin(stdin.as_str());
    }
    let ran = runtime.block_on(bash.exec_with_options(&arguments.command, options));
    // A pending timer of the script must not hold up the answer.
    runtime.shutdown_background();
    Ok(match ran {
        Ok(ran) => Answer {
            stdout: text_of(&ran.stdout),
            stderr: text_of(&ran.stderr),
            exit_code: ran.exit_code,
            truncated: ran.stdout_truncated || ran.stderr_truncated,
        },
        Err(error) => ended(&error, arguments),
    })
}

fn start(arguments: &Arguments, place: &Place) -> Result<PathBuf, String> {
    let start = match &arguments.cwd {
        Some(cwd) => place.workspace.join(cwd),
        None => place.workspace.clone(),
    };
    match std::fs::metadata(&start) {
        Ok(found) if found.is_dir() => Ok(start),
        Ok(_) => Err(format!("`cwd` \"{}\" is not a directory", start.display())),
        Err(error) => Err(format!("`cwd` \"{}\": {error}", start.display())),
    }
}

fn interpreter(arguments: &Arguments, place: &Place, start: PathBuf) -> Bash {
    let mut builder = Bash::builder()
        .fs(Arc::new(SessionFiles { workspace: place.workspace.clone() }))
        // The files are the session's own: no invented /etc, /proc or /usr/bin above them.
        .rootfs(false)
        .limits(limits(arguments))
        .session_limits(SessionLimits::unlimited())
        .memory_limits(memory())
        .env("HOME", home(&place.workspace))
        .env("PATH", "/usr/local/bin:/usr/bin:/bin");
    for (name, value) in &place.environment {
        builder = builder.env(name, value);
    }
    builder.cwd(start).build()
}

/// The component's memory, time and output are limited by its host; these only keep a script from a crash in between.
fn limits(arguments: &Arguments) -> ExecutionLimits {
    let mut limits = ExecutionLimits::cli()
        .timeout(Duration::from_secs(u64::from(arguments.timeout_s())))
        .max_stdout_bytes(arguments.output_bytes())
        .max_stderr_bytes(arguments.output_bytes())
        .max_work_units(u64::MAX / 4)
        .max_aggregate_input_bytes(u64::MAX / 4)
        .max_live_intermediate_bytes(1 << 30)
        .max_parser_operations(4_000_000);
    limits.max_word_split_fields = 1_000_000;
    limits.max_word_split_bytes = 256 << 20;
    limits
}

fn memory() -> MemoryLimits {
    MemoryLimits::new().max_variable_count(100_000).max_total_variable_bytes(128 << 20).max_array_entries(1_000_000)
}

fn home(workspace: &Path) -> String {
    workspace.display().to_string()
}

fn text_of(stream: &StreamData) -> String {
    String::from_utf8_lossy(stream.as_bytes()).into_owned()
}

/// The interpreter gave up while running: what the script did until then stays done, and the answer says so.
fn ended(error: &Error, arguments: &Arguments) -> Answer {
    let (exit_code, why) = if let Error::ResourceLimit(LimitExceeded::Timeout(_)) = error {
        (124, format!("timed out after {} s", arguments.timeout_s()))
    } else if let Error::ResourceLimit(limit) = error {
        (125, format!("a limit of the interpreter ended it ({limit}); use bash for this"))
    } else if let Error::Parse { .. } = error {
        (2, error.to_string())
    } else {
        (125, error.to_string())
    };
    Answer {
        stdout: String::new(),
        stderr: format!("shell: {why}; what it did until then stays done\n"),
        exit_code,
        truncated: true,
    }
}
