//! Calls: what an agent says it wants, parsed. Holding a `Call` says that it is well formed, not that it is allowed.
//! It never decides anything: `judge` does.

use crate::host::Host;
use crate::json::quoted;
use crate::name::{EnvName, Flaw, ToolName};
use crate::path::{PATH_BYTES_MAX, UrlPath};
use crate::rule::Method;
use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

/// Most words of a command.
pub const ARGV_WORDS_MAX: usize = 4096;
/// Longest word of a command, bytes; Linux takes no longer one either (`MAX_ARG_STRLEN`, execve(2)).
pub const WORD_BYTES_MAX: usize = 128 * 1024;
/// All words and variables of a command together, bytes: below the 2 MiB that Linux takes with the usual stack limit.
pub const COMMAND_BYTES_MAX: usize = 1024 * 1024;
/// Most variables of a call.
pub const ENV_MAX: usize = 1024;
const _: () = assert!(WORD_BYTES_MAX < COMMAND_BYTES_MAX && PATH_BYTES_MAX < WORD_BYTES_MAX);

/// A claim of an agent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    pub(crate) tool: ToolName,
    pub(crate) action: Action,
}

impl Call {
    /// A call under the name of `tool`.
    pub const fn new(tool: ToolName, action: Action) -> Self {
        Self { tool, action }
    }

    /// The name under which the agent called.
    pub const fn tool(&self) -> &ToolName {
        &self.tool
    }

    /// What it wants.
    pub const fn action(&self) -> &Action {
        &self.action
    }
}

/// What an agent wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Run a program.
    Command(Command),
    /// Read a file.
    Read {
        /// Absolute, or relative to the workspace.
        path: GuestPath,
    },
    /// Write a file.
    Write {
        /// Absolute, or relative to the workspace.
        path: GuestPath,
    },
    /// Connect to a host.
    Connect {
        /// The host.
        host: Host,
        /// TCP port.
        port: u16,
        /// HTTP method, where it is known.
        method: Option<Method>,
        /// HTTP path, where it is known.
        path: Option<UrlPath>,
    },
    /// Connect to a unix socket.
    Unix {
        /// Absolute, or relative to the workspace.
        path: GuestPath,
    },
    /// Reach a server on the sandbox's own loopback, from the host: what a person at the machine asks, never an agent.
    Port {
        /// TCP port.
        port: u16,
    },
    /// Call a tool of ours.
    Tool {
        /// Its name.
        name: ToolName,
        /// Its arguments.
        args: BTreeMap<String, Argument>,
    },
}

/// An argument of a tool: what conditions look at, and no less than what the tool gets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Argument {
    /// A string.
    Text(String),
    /// A number or boolean as JSON writes it, which conditions read like the string of that text.
    Scalar(String),
    /// Anything else, as compact JSON. No condition can be certain about it.
    Other(String),
}

impl Argument {
    /// What conditions read; `None` where there is nothing that they could be certain about.
    pub(crate) fn text(&self) -> Option<&str> {
        match self {
            Self::Text(text) | Self::Scalar(text) => Some(text),
            Self::Other(_) => None,
        }
    }
}

/// The arguments of a tool as one JSON object: what was judged, in one spelling, its members sorted by name. A tool gets
/// this and never the bytes that the agent sent, of which two readers could take two things.
pub fn arguments_json(args: &BTreeMap<String, Argument>) -> String {
    let mut out = String::from("{");
    for (n, (name, argument)) in args.iter().enumerate() {
        out.push_str(if n > 0 { "," } else { "" });
        out.push_str(&quoted(name));
        out.push(':');
        match argument {
            Argument::Text(text) => out.push_str(&quoted(text)),
            Argument::Scalar(json) | Argument::Other(json) => out.push_str(json),
        }
    }
    out.push('}');
    out
}

/// A program to run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Command {
    argv: Vec<Word>,
    cwd: Option<GuestPath>,
    env: BTreeMap<EnvName, Word>,
    stdin: Stdin,
    terminal: Terminal,
    wall_s: Option<u64>,
}

/// Where a command's standard input comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Stdin {
    /// Nowhere: end of file at once.
    Empty,
    /// From the caller, as it comes.
    Stream,
}

/// Whether a command gets a terminal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Terminal {
    /// No.
    None,
    /// A pseudo-terminal of this size at the start.
    Pty {
        /// Rows, from 1.
        rows: u16,
        /// Columns, from 1.
        columns: u16,
    },
}

/// Bytes without NUL: a word of a command or the value of a variable. Need not be UTF-8.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Word(Vec<u8>);

impl Word {
    /// # Errors
    /// A NUL, or more than [`WORD_BYTES_MAX`] bytes.
    pub fn parse(bytes: impl Into<Vec<u8>>) -> Result<Self, Flaw> {
        let bytes = bytes.into();
        if bytes.contains(&0) {
            let hint = "no program can be given a NUL: put the bytes into a file or standard input";
            return Err(Flaw::new("argument has a NUL byte", hint));
        }
        if bytes.len() >= WORD_BYTES_MAX {
            let what = format!("argument has {} bytes, Linux takes {}", bytes.len(), WORD_BYTES_MAX - 1);
            return Err(Flaw::new(what, "put the bytes into a file or standard input"));
        }
        Ok(Self(bytes))
    }

    /// The bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl AsRef<[u8]> for Word {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

/// A path as a guest says it: not empty, no NUL, short enough. Where it leads is not known.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GuestPath(Vec<u8>);

impl GuestPath {
    /// # Errors
    /// Empty, a NUL, or as long as [`PATH_BYTES_MAX`] bytes or longer.
    pub fn parse(bytes: impl Into<Vec<u8>>) -> Result<Self, Flaw> {
        let bytes = bytes.into();
        if bytes.is_empty() {
            return Err(Flaw::new("path is empty", "write \".\" for the workspace"));
        }
        if bytes.contains(&0) {
            return Err(Flaw::new("path has a NUL byte", "remove it"));
        }
        if bytes.len() >= PATH_BYTES_MAX {
            let what = format!("path has {} bytes, Linux takes {}", bytes.len(), PATH_BYTES_MAX - 1);
            return Err(Flaw::new(what, "make it shorter"));
        }
        Ok(Self(bytes))
    }

    /// The bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl Command {
    /// A command in the workspace, without additions, without standard input and terminal.
    ///
    /// # Errors
    /// No word, an empty first word, or too many of them.
    pub fn new(argv: Vec<Word>) -> Result<Self, Flaw> {
        if argv.first().is_none_or(|word| word.0.is_empty()) {
            return Err(Flaw::new("command names no program", "give the program as the first word"));
        }
        if argv.len() > ARGV_WORDS_MAX {
            let what = format!("command has {} words, more than {ARGV_WORDS_MAX}", argv.len());
            return Err(Flaw::new(what, "put the words into a file"));
        }
        let command =
            Self { argv, cwd: None, env: BTreeMap::new(), stdin: Stdin::Empty, terminal: Terminal::None, wall_s: None };
        command.within_limits()
    }

    /// From the words of a command line, which the caller's shell has split.
    ///
    /// # Errors
    /// As [`Word::parse`] and [`Command::new`].
    pub fn from_words<W: Into<Vec<u8>>>(words: impl IntoIterator<Item = W>) -> Result<Self, Flaw> {
        let words: Result<Vec<Word>, Flaw> = words.into_iter().map(Word::parse).collect();
        Self::new(words?)
    }

    /// In this directory; it must turn out to lie in the workspace or the private `/tmp`.
    #[must_use]
    pub fn in_directory(mut self, cwd: GuestPath) -> Self {
        self.cwd = Some(cwd);
        self
    }

    /// With these variables on top of the profile's. No name is special: a guest can set `LD_PRELOAD` with `env` in
    /// any case, it reaches only its own programs, and nothing on our side of the wall reads them.
    ///
    /// # Errors
    /// More than [`ENV_MAX`] variables, or more than [`COMMAND_BYTES_MAX`] bytes with the words.
    pub fn with_env(mut self, env: BTreeMap<EnvName, Word>) -> Result<Self, Flaw> {
        if env.len() > ENV_MAX {
            let what = format!("call sets {} variables, more than {ENV_MAX}", env.len());
            return Err(Flaw::new(what, "put the values into a file"));
        }
        self.env = env;
        self.within_limits()
    }

    /// With standard input from the caller.
    #[must_use]
    pub const fn with_stdin(mut self, stdin: Stdin) -> Self {
        self.stdin = stdin;
        self
    }

    /// On a terminal.
    #[must_use]
    pub const fn with_terminal(mut self, terminal: Terminal) -> Self {
        self.terminal = terminal;
        self
    }

    /// With at most this wall time, seconds; the profile's limit holds when it is lower.
    #[must_use]
    pub const fn with_wall_s(mut self, wall_s: core::num::NonZeroU64) -> Self {
        self.wall_s = Some(wall_s.get());
        self
    }

    fn within_limits(self) -> Result<Self, Flaw> {
        let words: usize = self.argv.iter().map(|word| word.0.len() + 1).sum();
        let variables: usize = self.env.iter().map(|(name, value)| name.as_str().len() + value.0.len() + 2).sum();
        if words + variables > COMMAND_BYTES_MAX {
            let what = format!("command has {} bytes, more than {COMMAND_BYTES_MAX}", words + variables);
            return Err(Flaw::new(what, "put the bytes into a file or standard input"));
        }
        Ok(self)
    }

    /// The words; the first is the program and not empty.
    pub fn argv(&self) -> &[Word] {
        &self.argv
    }

    /// The program.
    pub fn program(&self) -> &[u8] {
        self.argv.first().expect("new() refuses a command without words").as_bytes()
    }

    /// The directory that the call names.
    pub const fn cwd(&self) -> Option<&GuestPath> {
        self.cwd.as_ref()
    }

    /// Variables on top of the profile's.
    pub const fn env(&self) -> &BTreeMap<EnvName, Word> {
        &self.env
    }

    /// Standard input.
    pub const fn stdin(&self) -> Stdin {
        self.stdin
    }

    /// Terminal.
    pub const fn terminal(&self) -> Terminal {
        self.terminal
    }

    /// Wall time that the call asks to be held to, seconds.
    pub const fn wall_s(&self) -> Option<u64> {
        self.wall_s
    }
}
