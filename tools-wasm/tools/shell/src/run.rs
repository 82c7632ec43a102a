//! Runs a checked script in the interpreter and makes an answer of what it did.
//! It never runs one that the check left to bash, and never returns more output than was asked for.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bashkit::{Bash, Error, ExecOptions, ExecutionLimits, LimitExceeded, MemoryLimits, SessionLimits, StreamData};
use serde::Serialize;

use crate::arguments::{Arguments, TIMEOUT_S_MAX};
use crate::check::Beyond;
use crate::files::SessionFiles;
use crate::finite::is_finite;

/// What agents' scripts are made of, on nothing but words.
const WARMING: &str = r#"
words=$(printf 'fn one\nuse two\nfn three\n' | grep -n fn | sort -r | head -2)
for word in $words; do
  [ -n "$word" ] && echo "${word%:*}" | tr a-z A-Z | sed 's/F/f/' | cut -d' ' -f1 | sort | uniq -c | awk '{ print $1 }'
done | wc -l
case "$words" in *fn*) echo "$((1 + 2))" ;; esac | xargs echo | cat
"#;
/// How many commands, and how many constructs, a refusal names.
const NAMED_MAX: usize = 20;
const NAME_CHARS_MAX: usize = 160;
/// Turns of loops that nothing reaches in a second but loops without a body, which look neither at the time nor at anything else.
const TURNS_PER_S: usize = 5_000_000;
// A count of turns is as wide as a pointer: on the component's target, 32 bits.
const _: () = assert!(TURNS_PER_S as u64 * (TIMEOUT_S_MAX as u64) < u32::MAX as u64);
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

/// What every script does, done once before there is one: the interpreter's tables are made, and its memory is touched, so
/// that the next script finds both. No file is looked at, and no variable: a standard library keeps what it was told of
/// either, and the call that comes is given others.
pub fn prepare() {
    let Ok(arguments) = Arguments::parse(r#"{"command":"","timeout_s":1}"#) else { return };
    let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_time().build() else { return };
    drop(crate::beyond(WARMING));
    let mut bash = Bash::builder()
        .rootfs(false)
        .limits(limits(&arguments))
        .session_limits(SessionLimits::unlimited())
        .memory_limits(memory())
        .concurrent_jobs(false)
        .builtin_registry(crate::fast::registry())
        .build();
    // What does not succeed here is done by the first script.
    let ran = runtime.block_on(bash.exec_with_options(WARMING, ExecOptions::new().arg0("bash")));
    if let Ok(ran) = ran {
        drop(text_of(&ran.stdout));
    }
    runtime.shutdown_background();
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
    let over = bash.cancellation_token();
    #[cfg(target_os = "wasi")]
    crate::watch::watch(time(arguments), Arc::clone(&over));
    let ran = runtime.block_on(async {
        // What waits is ended here, and what computes by the flag.
        tokio::time::timeout(time(arguments), bash.exec_with_options(&arguments.command, options)).await
    });
    // A pending timer of the script must not hold up the answer.
    runtime.shutdown_background();
    let late = || Error::ResourceLimit(LimitExceeded::Timeout(time(arguments)));
    Ok(match ran {
        Err(_) => ended(&late(), arguments),
        Ok(_) if over.load(Ordering::Relaxed) => ended(&late(), arguments),
        Ok(Ok(ran)) => Answer {
            stdout: text_of(&ran.stdout),
            stderr: text_of(&ran.stderr),
            exit_code: ran.exit_code,
            truncated: ran.stdout_truncated || ran.stderr_truncated,
        },
        Ok(Err(error)) => ended(&error, arguments),
    })
}

fn time(arguments: &Arguments) -> Duration {
    Duration::from_secs(u64::from(arguments.timeout_s()))
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
    if is_finite(&arguments.command) {
        // Each command of a pipeline runs to its end before the next: nothing is handed over in pieces.
        builder = builder.concurrent_jobs(false).builtin_registry(crate::fast::registry());
    }
    builder.cwd(start).build()
}

/// The component's memory, time and output are limited by its host; these only keep a script from a crash in between.
fn limits(arguments: &Arguments) -> ExecutionLimits {
    let turns = TURNS_PER_S.saturating_mul(arguments.timeout_s() as usize);
    let mut limits = ExecutionLimits::cli()
        .max_loop_iterations(turns)
        .max_total_loop_iterations(turns)
        // Where somebody else watches the time, the interpreter need not: it would look at the clock at each step.
        .timeout(if cfg!(target_os = "wasi") { Duration::MAX } else { time(arguments) })
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
