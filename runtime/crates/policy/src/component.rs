//! What a profile says of tools beside who may call them: where components lie and which they must be, and what they get.
//! It never opens a file: it says what is to be found there.

use crate::call::Argument;
use crate::glob::WordGlob;
use crate::judge::allows;
use crate::name::{Flaw, ToolName, plain};
use crate::path::AbsolutePath;
use crate::profile::ExpandedProfile;
use crate::rule::{Access, Grant, Place, ToolMatch};
use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::String;
use core::fmt;

/// What a profile says about tools that are not built in (`[[tool]]`). It grants nothing: `grant.tool` does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ComponentRule {
    /// One tool, from a file.
    File {
        /// The name that calls use.
        name: ToolName,
        /// The component, beside the profile's own file unless it is absolute.
        path: String,
        /// What it must be, where the profile says so.
        digest: Option<ComponentDigest>,
    },
    /// One tool, wherever it was put for this user, by what it is.
    Known {
        /// The name that calls use.
        name: ToolName,
        /// What it must be.
        digest: ComponentDigest,
    },
    /// Every component in a directory, by the name of its file without the ending.
    Directory {
        /// Only those with such a name.
        names: WordGlob,
        /// The directory, beside the profile's own file unless it is absolute.
        path: String,
    },
}

impl ComponentRule {
    /// Whether a call of this name can mean it.
    pub fn is_about(&self, tool: &ToolName) -> bool {
        match self {
            Self::File { name, .. } | Self::Known { name, .. } => name == tool,
            Self::Directory { names, .. } => names.matches(tool.as_str().as_bytes()),
        }
    }

    /// The one name that it gives; `None` for a directory.
    pub const fn name(&self) -> Option<&ToolName> {
        match self {
            Self::File { name, .. } | Self::Known { name, .. } => Some(name),
            Self::Directory { .. } => None,
        }
    }
}

/// Tools that may be called, and what of their ceilings this grant gives. Files, hosts and variables have grants of their own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ToolGrant {
    /// Which tools, and with which arguments.
    pub allowed: ToolMatch,
    /// What those that ask for it get.
    pub gives: Ambient,
}

/// What a tool can ask for that no path, host or name of a variable stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[expect(clippy::struct_excessive_bools, reason = "each is a key of a grant, and given by itself")]
pub struct Ambient {
    /// The real time; a grant gives it unless it has `clocks = false`.
    pub clocks: bool,
    /// Randomness; a grant gives it unless it has `random = false`.
    pub random: bool,
    /// The arguments of a command; a grant gives them unless it has `arguments = false`.
    pub arguments: bool,
    /// The standard input of a command; a grant gives it unless it has `stdin = false`.
    pub stdin: bool,
    /// Sockets, each connection of which the outlet judges; a grant gives them only if it has `sockets = true`.
    pub sockets: bool,
}

impl Ambient {
    /// What a grant gives unless it says otherwise, by its keys.
    pub(crate) const fn by_key(self) -> [(&'static str, bool); 4] {
        [("clocks", self.clocks), ("random", self.random), ("arguments", self.arguments), ("stdin", self.stdin)]
    }
}

impl fmt::Display for ToolGrant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.allowed)?;
        let Ambient { clocks, random, arguments, stdin, sockets } = self.gives;
        let all = [("clocks", clocks), ("randomness", random), ("arguments", arguments), ("standard input", stdin)];
        let less = all.iter().filter(|(_, given)| !given).count();
        for (n, (what, _)) in all.iter().filter(|(_, given)| !given).enumerate() {
            let before = if n == 0 {
                ", without "
            } else if n + 1 == less {
                " and "
            } else {
                ", "
            };
            write!(f, "{before}{what}")?;
        }
        f.write_str(if sockets { ", with sockets" } else { "" })
    }
}

/// What of the files that a sandbox shows is open to something. The order is by how much; the lesser of two is what both give.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Files {
    /// None of them.
    None,
    /// To look at.
    Read,
    /// To look at and to change, as far as the wall lets commands.
    Write,
}

impl Files {
    /// The word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Read => "read",
            Self::Write => "write",
        }
    }
}

impl fmt::Display for Files {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl ExpandedProfile {
    /// The most that a tool can get beside files, hosts and variables: what any grant gives that allows the call with these
    /// arguments; without arguments, any that allows some call of it.
    pub fn ambient_for(&self, tool: &ToolName, args: Option<&BTreeMap<String, Argument>>) -> Ambient {
        let grants = self.grants().iter().filter_map(|rule| match &rule.subject {
            Grant::Tool(grant) => Some(grant),
            Grant::Path { .. } | Grant::Net(_) | Grant::Env(_) | Grant::Unix { .. } | Grant::Port(_) => None,
        });
        let allowing = grants.filter(|grant| match args {
            Some(args) => allows(&grant.allowed, tool, args),
            None => grant.allowed.name.matches(tool.as_str().as_bytes()),
        });
        allowing.fold(Ambient::default(), |all, grant| Ambient {
            clocks: all.clocks || grant.gives.clocks,
            random: all.random || grant.gives.random,
            arguments: all.arguments || grant.gives.arguments,
            stdin: all.stdin || grant.gives.stdin,
            sockets: all.sockets || grant.gives.sockets,
        })
    }

    /// The most that a tool can get of files. Which of them, the wall decides: the one that is built from the same grants.
    pub fn files_for_tools(&self) -> Files {
        let open = |wanted: Access, path: &AbsolutePath| {
            self.closed_places().all(|(closed, place, _)| match place {
                Place::Subtree(place) => !((closed == Access::Read || closed == wanted) && place.covers(path)),
                // It closes some, and never the directory itself.
                Place::Workspace(_) => true,
            })
        };
        let may = |right: Access, wanted: Access| {
            self.path_grants().any(|grant| grant.access == right && open(wanted, grant.path))
        };
        if may(Access::Write, Access::Write) {
            return Files::Write;
        }
        let looks = [Access::Read, Access::Write, Access::Exec].into_iter().any(|right| may(right, Access::Read));
        if looks { Files::Read } else { Files::None }
    }
}

/// SHA-256 of a component's bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ComponentDigest(pub [u8; 32]);

impl ComponentDigest {
    /// # Errors
    /// The text is not 64 lower-case hexadecimal digits.
    pub fn parse(text: &str) -> Result<Self, Flaw> {
        let text = plain(text, "sha256", crate::name::TEXT_BYTES_MAX)?;
        let value = |digit: u8| match digit {
            b'0'..=b'9' => Some(digit - b'0'),
            b'a'..=b'f' => Some(digit - b'a' + 10),
            _ => None,
        };
        let (pairs, rest) = text.as_bytes().as_chunks::<2>();
        let mut digest = [0; 32];
        let read = rest.is_empty() && pairs.len() == digest.len();
        let read = read.then(|| {
            digest.iter_mut().zip(pairs).try_for_each(|(byte, [high, low])| {
                *byte = value(*high)? << 4 | value(*low)?;
                Some(())
            })
        });
        if read.flatten().is_some() {
            return Ok(Self(digest));
        }
        let hint = "write 64 lower-case hexadecimal digits, as `sha256sum` and `stockade tool inspect` print them";
        Err(Flaw::new(format!("\"{text}\" is not a SHA-256"), hint))
    }
}

impl fmt::Display for ComponentDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Display for ComponentRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { name, path, digest: None } => write!(f, "tool {name} from \"{path}\""),
            Self::File { name, path, digest: Some(digest) } => write!(f, "tool {name} from \"{path}\" sha256 {digest}"),
            Self::Known { name, digest } => write!(f, "tool {name} sha256 {digest}"),
            Self::Directory { names, path } => write!(f, "tools {} from directory \"{path}\"", names.as_str()),
        }
    }
}
