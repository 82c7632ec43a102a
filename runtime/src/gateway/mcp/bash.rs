//! The tool `bash`: a command line in the session's process wall, and what became of it, for a model.
//! It never reads the command line: the sandbox's shell does.

use crate::backend::process::{NotStarted, Ran, Sink};
use crate::gateway::mcp::args::{Args, flaw};
use crate::gateway::mcp::desk::Progress;
use crate::gateway::mcp::pages::{Cursor, Page, Pages, Stream, Text};
use crate::session::Sealed;
use serde_json::{Map, Value, json};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io;
use std::num::NonZeroU64;
use std::time::{Duration, Instant};
use stockade_jail::Status;
use stockade_jail::watch::{LimitHit, LimitKind, Unit};
use stockade_policy::{Action, Call, Command, EnvName, Flaw, GuestPath, Stdin, ToolName, Word};

/// Its name.
pub(super) const NAME: &str = "bash";
/// What runs a command line: bash where there is one, for a model writes for it.
const SHELL: [&str; 2] = ["bash", "-c"];
const KNOWN: &str = "command, cwd, env, stdin, timeout_s; or cursor alone";
/// How often progress is taken note of while output comes.
const NOTE_EVERY: Duration = Duration::from_millis(100);

/// What a client asks of it.
#[derive(Debug)]
pub(super) enum Asked {
    /// A command, and what it reads.
    Run(Call, Option<Vec<u8>>),
    /// More of what an earlier one printed.
    More(Cursor),
}

/// Reads the arguments.
///
/// # Errors
/// Something that is wrong with them, and what would do.
pub(super) fn asked(args: Map<String, Value>) -> Result<Asked, Flaw> {
    let mut args = Args::new(args, KNOWN);
    if let Some(cursor) = args.text("cursor")? {
        args.finish().map_err(|_| flaw("\"cursor\" stands beside other arguments", "give it alone"))?;
        let cursor = Cursor::parse(&cursor);
        return cursor.map(Asked::More).ok_or_else(|| flaw("that is no cursor", "copy it from an earlier result"));
    }
    let Some(line) = args.text("command")? else {
        return Err(flaw("\"command\" is missing", format!("the arguments are: {KNOWN}")));
    };
    let (cwd, stdin, wall_s) = (args.text("cwd")?, args.text("stdin")?, args.count("timeout_s")?);
    let env = args.table("env")?;
    args.finish()?;
    let mut command = Command::from_words(SHELL.into_iter().chain([line.as_str()]))?;
    if let Some(cwd) = cwd {
        command = command.in_directory(GuestPath::parse(cwd)?);
    }
    if stdin.is_some() {
        command = command.with_stdin(Stdin::Stream);
    }
    if let Some(wall_s) = wall_s.and_then(NonZeroU64::new) {
        command = command.with_wall_s(wall_s);
    }
    let variable = |(name, value): (String, String)| Ok((EnvName::parse(&name)?, Word::parse(value)?));
    let env: BTreeMap<EnvName, Word> = env.into_iter().map(variable).collect::<Result<_, Flaw>>()?;
    let command = command.with_env(env)?;
    Ok(Asked::Run(Call::new(ToolName::parse(NAME)?, Action::Command(command)), stdin.map(String::into_bytes)))
}

/// Both streams of a command, in the order in which they come.
pub(super) struct Output<'a> {
    text: RefCell<Text>,
    noted: RefCell<Instant>,
    progress: &'a Progress,
}

impl<'a> Output<'a> {
    /// Takes note of what comes for whoever watches.
    pub(super) fn new(progress: &'a Progress) -> Self {
        Self { text: RefCell::default(), noted: RefCell::new(Instant::now()), progress }
    }

    /// One of the streams.
    pub(super) fn of(&self, stream: Stream) -> Printed<'_> {
        Printed { output: self, stream }
    }

    /// All that was kept.
    pub(super) fn into_text(self) -> Text {
        self.text.into_inner()
    }

    fn take(&self, stream: Stream, chunk: &[u8]) {
        let mut text = self.text.borrow_mut();
        text.push(stream, chunk);
        let mut noted = self.noted.borrow_mut();
        if noted.elapsed() >= NOTE_EVERY {
            *noted = Instant::now();
            self.progress.note(|| format!("{} lines: {}", text.lines(), text.last_line()));
        }
    }
}

/// One stream of a command.
pub(super) struct Printed<'a> {
    output: &'a Output<'a>,
    stream: Stream,
}

impl Sink for Printed<'_> {
    fn take(&mut self, chunk: &[u8]) -> io::Result<()> {
        self.output.take(self.stream, chunk);
        Ok(())
    }
}

/// What became of a command: text for a model, and the same by [`OUTPUT`].
#[derive(Debug)]
pub(super) struct Told {
    /// For a model.
    pub(super) text: String,
    /// By the schema.
    pub(super) structured: Value,
    /// Whether it is an error of the tool rather than a command's own failure.
    pub(super) is_error: bool,
}

/// Tells how a command went.
pub(super) fn told(sealed: &Sealed, text: Text, pages: &mut Pages) -> Told {
    let bytes = text.bytes();
    let page = pages.first(text);
    let mut structured = of_page(&page);
    let mut add = |name: &str, value: Value| {
        if let Value::Object(members) = &mut structured {
            members.insert(name.to_owned(), value);
        }
    };
    add("output_bytes", json!(bytes));
    let mut notes = Vec::new();
    let mut is_error = false;
    match &sealed.ran {
        Ran::NotStarted { code, why, .. } => {
            add("exit_code", json!(if *code == NotStarted::NotFound { 127 } else { 126 }));
            notes.push(format!("not started: {why}"));
            is_error = true;
        }
        Ran::Ended(run) => {
            match run.main.status {
                Status::Exited(code) => add("exit_code", json!(code)),
                Status::Signalled(signal) => add("signal", json!(signal)),
            }
            add("wall_ms", json!(run.usage.wall_us / 1000));
            notes.extend(ended(run.main.status, run.ended_by.as_ref()));
            notes.extend(run.refusals.iter().map(|hit| format!("the kernel refused more: {}", limit(hit))));
            if let Some(hit) = run.ended_by.or_else(|| run.refusals.first().copied()) {
                add("limit", json!(limit(&hit)));
            }
            is_error |= run.ended_by.is_some();
        }
    }
    let waiting = sealed.settled.waiting.changes;
    add("changes_waiting", json!(waiting));
    let notes: String = notes.iter().map(|note| format!("[{note}]\n")).collect();
    let gap = if page.text.is_empty() || page.text.ends_with('\n') { "" } else { "\n" };
    let text = match (page.text.is_empty(), notes.is_empty()) {
        (true, true) => "[no output, exit code 0]".to_owned(),
        (_, _) => format!("{}{gap}{notes}", page.text),
    };
    Told { text, structured, is_error }
}

/// A further page.
pub(super) fn more(page: &Page) -> Told {
    let next = page.cursor.map_or_else(
        || "[this is the end]\n".to_owned(),
        |cursor| format!("[{} more bytes: cursor \"{cursor}\"]\n", page.left_out),
    );
    let gap = if page.text.ends_with('\n') { "" } else { "\n" };
    Told { text: format!("{}{gap}{next}", page.text), structured: of_page(page), is_error: false }
}

fn of_page(page: &Page) -> Value {
    let mut structured = json!({ "stdout": page.out, "stderr": page.err, "left_out_bytes": page.left_out });
    if let (Some(cursor), Value::Object(members)) = (page.cursor, &mut structured) {
        members.insert("cursor".to_owned(), json!(cursor.to_string()));
    }
    structured
}

/// How it ended, where that needs words.
fn ended(status: Status, ended_by: Option<&LimitHit>) -> Option<String> {
    match (ended_by, status) {
        (Some(hit), _) => Some(format!("ended with all its processes: {}", limit(hit))),
        (None, Status::Exited(0)) => None,
        (None, Status::Exited(code)) => Some(format!("exit code {code}")),
        (None, Status::Signalled(signal)) => Some(format!("ended by signal {signal}")),
    }
}

/// A limit in words.
pub(super) fn limit(hit: &LimitHit) -> String {
    let name = match hit.limit {
        LimitKind::Memory => "memory_mib",
        LimitKind::Pids => "pids",
        LimitKind::Cpu => "cpu_s",
        LimitKind::Wall => "wall_s",
        LimitKind::Output => "output_mib",
        LimitKind::Disk => "disk_mib",
        LimitKind::OpenFiles => "open_files",
    };
    let shown = |value: u64| match hit.unit {
        Unit::Bytes => format!("{} MiB", value.div_ceil(1024 * 1024)),
        Unit::Milliseconds => format!("{}.{} s", value / 1000, value % 1000 / 100),
        Unit::Count => value.to_string(),
    };
    format!("limit {name} is {}, {} were used", shown(hit.value), shown(hit.observed))
}

/// Schema of its arguments. Nothing is required by it, since a cursor comes alone, and no client sends a model a choice
/// between two sets at the top of a schema.
pub(super) const INPUT: &str = r#"{
  "type": "object",
  "properties": {
    "command": {"type": "string", "description": "Command line for bash. Required, unless cursor is given."},
    "cwd": {"type": "string", "description": "Directory to start in: inside the workspace or /tmp. Default: the workspace."},
    "env": {"type": "object", "additionalProperties": {"type": "string"}, "description": "Variables for this command."},
    "stdin": {"type": "string", "description": "What the command reads on standard input. Default: nothing."},
    "timeout_s": {"type": "integer", "minimum": 1, "description": "End the command after this many seconds."},
    "cursor": {"type": "string", "description": "Read more of an earlier command's output: its cursor, and no other argument."}
  },
  "additionalProperties": false
}"#;

/// Schema of its results.
pub(super) const OUTPUT: &str = r#"{
  "type": "object",
  "properties": {
    "exit_code": {"type": "integer", "description": "Absent when a signal ended the command, and on further pages."},
    "signal": {"type": "integer", "description": "The signal that ended it."},
    "stdout": {"type": "string", "description": "Standard output, of this page."},
    "stderr": {"type": "string", "description": "Standard error, of this page."},
    "left_out_bytes": {"type": "integer", "minimum": 0, "description": "Output that is not shown here."},
    "cursor": {"type": "string", "description": "To read on: call bash with this cursor alone."},
    "output_bytes": {"type": "integer", "minimum": 0, "description": "All output together."},
    "wall_ms": {"type": "integer", "minimum": 0},
    "limit": {"type": "string", "description": "The limit that it ran into."},
    "changes_waiting": {"type": "integer", "minimum": 0, "description": "Changed files of the session that wait for review."}
  },
  "required": ["stdout", "stderr", "left_out_bytes"],
  "additionalProperties": false
}"#;
