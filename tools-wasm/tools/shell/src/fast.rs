//! The commonest uses of the commonest text tools, over whole buffers of bytes: `sort`, `uniq`, `cut`, `tr`, and the plain uses of
//! `grep`, `sed` and `awk`. The interpreter's own tools do the rest, and everything that is out of the ordinary.
//! It never changes a file, and never answers where it is not sure of every byte: then the interpreter's own tool runs.

mod letters;
mod lines;
mod search;

pub(crate) use letters::can_replace;

use std::fs::File;
use std::io::Read as _;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use bashkit::{Builtin, BuiltinContext, BuiltinRegistry, ExecResult, ExecutionPlan, Result, SubCommand, async_trait};

/// Bytes that are read of a file at first.
const SMALL_BYTES: usize = 64 << 10;
/// Bytes of a larger file that are taken into memory at once.
const FILE_BYTES_MAX: usize = 256 << 20;

/// What a tool is asked to do.
pub(crate) struct Asked<'a> {
    args: &'a [String],
    stdin: &'a [u8],
    cwd: PathBuf,
}

/// Puts the tools before the interpreter's own.
pub(crate) fn registry() -> BuiltinRegistry {
    let registry = BuiltinRegistry::new();
    for name in ["sort", "uniq", "cut", "tr", "grep", "sed", "awk"] {
        registry.insert(name, Arc::new(Fast { name, registry: registry.clone(), done: Mutex::default() }));
    }
    registry
}

struct Fast {
    name: &'static str,
    registry: BuiltinRegistry,
    /// The answer, from when the interpreter asks for a plan until it takes the answer instead of one.
    done: Mutex<Option<ExecResult>>,
}

#[async_trait]
impl Builtin for Fast {
    async fn execution_plan(&self, context: &BuiltinContext<'_>) -> Result<Option<ExecutionPlan>> {
        let asked =
            Asked { args: context.args, stdin: context.stdin_bytes().unwrap_or_default(), cwd: context.cwd.clone() };
        if let Some((output, exit_code)) = run(self.name, &asked) {
            let mut result = ExecResult::ok_bytes(output);
            result.exit_code = exit_code;
            *self.done.lock().unwrap_or_else(PoisonError::into_inner) = Some(result);
            return Ok(None);
        }
        // From here on the script's tool of this name is the interpreter's own.
        self.registry.remove(self.name);
        // The script may have a function of this name, which whoever called `command` did not mean.
        let command = SubCommand {
            name: "command".to_owned(),
            args: [self.name.to_owned()].iter().chain(context.args).cloned().collect(),
            stdin: context.stdin.cloned(),
            assignments: Vec::new(),
        };
        Ok(Some(ExecutionPlan::Batch { commands: vec![command] }))
    }

    async fn execute(&self, _context: BuiltinContext<'_>) -> Result<ExecResult> {
        let done = self.done.lock().unwrap_or_else(PoisonError::into_inner).take();
        Ok(done.unwrap_or_else(|| ExecResult::err(format!("{}: nothing was done\n", self.name), 1)))
    }
}

fn run(name: &str, asked: &Asked<'_>) -> Option<(Vec<u8>, i32)> {
    match name {
        "sort" => lines::sort(asked),
        "uniq" => lines::uniq(asked),
        "cut" => lines::cut(asked),
        "tr" => letters::tr(asked),
        "grep" => search::grep(asked),
        "sed" => search::sed(asked),
        "awk" => search::awk(asked),
        _ => None,
    }
}

impl Asked<'_> {
    /// A file as a tool names it, or the standard input for `-`.
    fn content(&self, name: &str) -> Option<Vec<u8>> {
        if name == "-" {
            return Some(self.stdin.to_vec());
        }
        // What is no file of the session's, or behind a link that the host does not follow, is an error here.
        let mut file = File::open(self.path(name)?).ok()?;
        let mut content = Vec::with_capacity(SMALL_BYTES);
        // Most files are small: how large one is, is asked only of those that are not.
        let small = file.by_ref().take(SMALL_BYTES as u64).read_to_end(&mut content).ok()?;
        if small == SMALL_BYTES {
            let more = usize::try_from(file.metadata().ok()?.len()).ok()?.checked_sub(small)?;
            if more > FILE_BYTES_MAX {
                return None;
            }
            content.reserve_exact(more + 1);
            file.read_to_end(&mut content).ok()?;
        }
        Some(content)
    }

    /// What a name means. A way through a parent's link is the interpreter's to walk, and so is what is no file of the session.
    fn path(&self, name: &str) -> Option<PathBuf> {
        let plain = !name.is_empty() && !name.split('/').any(|part| part == "..") && !name.starts_with("/dev/");
        plain.then(|| self.cwd.join(name))
    }

    /// All that the operands name, or the standard input where there are none, one after the other.
    fn input(&self, operands: &[&str]) -> Option<Vec<u8>> {
        if operands.is_empty() {
            return Some(self.stdin.to_vec());
        }
        let mut all = Vec::new();
        for name in operands {
            // Where a file ends without an end of line, tools differ in what they make of the next.
            if !all.is_empty() && !all.ends_with(b"\n") {
                return None;
            }
            let content = self.content(name)?;
            if all.is_empty() { all = content } else { all.extend_from_slice(&content) }
        }
        Some(all)
    }
}

/// The lines of a text, without their ends; what is after the last end is a line if it is anything.
fn lines(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    let text = text.strip_suffix(b"\n").map_or((text, !text.is_empty()), |text| (text, true));
    text.0.split(|byte| *byte == b'\n').filter(move |_| text.1)
}

/// A number, as it is printed.
fn decimal(output: &mut Vec<u8>, mut number: usize) {
    let start = output.len();
    loop {
        output.push(b'0' + u8::try_from(number % 10).unwrap_or(0));
        number /= 10;
        if number == 0 {
            break;
        }
    }
    output.get_mut(start..).unwrap_or_default().reverse();
}

/// A whole number, of nothing but digits.
fn whole(text: &str) -> Option<usize> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok()).flatten()
}

/// Options as single letters, and operands. `None` where there is anything else.
fn options<'a>(args: &'a [String], known: &str) -> Option<(String, Vec<&'a str>)> {
    let (mut options, mut operands) = (String::new(), Vec::new());
    for argument in args {
        match argument.strip_prefix('-') {
            Some("") | None => operands.push(argument.as_str()),
            // An option after an operand is an option to GNU's tools, and a file to others.
            Some(cluster) if operands.is_empty() && cluster.chars().all(|letter| known.contains(letter)) => {
                options.push_str(cluster);
            }
            Some(_) => return None,
        }
    }
    Some((options, operands))
}
