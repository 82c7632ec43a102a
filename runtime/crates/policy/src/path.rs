//! Paths: as a profile writes them, as they are on this machine, as a guest claims them inside the workspace.
//! It never looks at a file system; where a symbolic link leads is decided by the wall, on descriptors.

use crate::diagnostic::PrintableBytes;
use crate::glob::PathGlob;
use crate::name::{EnvName, Flaw, TEXT_BYTES_MAX, plain};
use crate::rule::Match;
use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

/// Longest path that Linux takes in one system call, with its final NUL (`PATH_MAX`, limits.h).
pub const PATH_BYTES_MAX: usize = 4096;
const _: () = assert!(TEXT_BYTES_MAX <= PATH_BYTES_MAX);

/// Where a written path starts.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Base {
    /// `/…`
    Root,
    /// `~/…`
    Home,
    /// `.` or `./…`
    Workspace,
    /// `${NAME:-default}/…`; the default is never a variable again.
    Variable {
        /// The variable.
        name: EnvName,
        /// Used when the variable is unset or empty.
        default: HostPath,
    },
}

/// An absolute path or one in the home directory.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum HostPath {
    /// `/…`
    Root(Vec<String>),
    /// `~/…`
    Home(Vec<String>),
}

/// A path as a profile writes it: a subtree, never a pattern.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WrittenPath {
    base: Base,
    components: Vec<String>,
}

impl WrittenPath {
    /// Reads `/…`, `~/…`, `.`, `./…` or `${NAME:-default}/…`.
    ///
    /// # Errors
    /// Patterns, `..`, relative paths, and `/` itself, which would be the whole host.
    pub fn parse(text: &str) -> Result<Self, Flaw> {
        let text = plain(text, "path", TEXT_BYTES_MAX)?;
        let (base, rest) = match text.strip_prefix("${") {
            Some(rest) => variable(text, rest)?,
            None => match host_path(text)? {
                Some(HostPath::Root(components)) => return Ok(Self { base: Base::Root, components }),
                Some(HostPath::Home(components)) => return Ok(Self { base: Base::Home, components }),
                None => match text.strip_prefix('.') {
                    Some(rest) if rest.is_empty() || rest.starts_with('/') => (Base::Workspace, rest),
                    Some(_) | None => {
                        components(text, text)?;
                        let hint = format!("write \"./{text}\" for the workspace, or an absolute path");
                        return Err(Flaw::new(format!("path \"{text}\" is relative to nothing"), hint));
                    }
                },
            },
        };
        Ok(Self { base, components: components(text, rest)? })
    }

    /// Where the path starts.
    pub const fn base(&self) -> &Base {
        &self.base
    }

    /// The absolute path on the machine of `facts`.
    pub(crate) fn place(&self, facts: &HostFacts<'_>) -> Result<AbsolutePath, Flaw> {
        let base = match &self.base {
            Base::Root => AbsolutePath::root(),
            Base::Home => facts.home.clone(),
            Base::Workspace => facts.workspace.clone(),
            Base::Variable { name, default } => match facts.variables.get(name.as_str().as_bytes()) {
                Some(value) if !value.is_empty() => AbsolutePath::parse(value).map_err(|flaw| {
                    Flaw::new(format!("variable \"{name}\": {}", flaw.what), format!("set {name} to an absolute path"))
                })?,
                Some(_) | None => match default {
                    HostPath::Root(components) => AbsolutePath::root().join(components),
                    HostPath::Home(components) => facts.home.join(components),
                },
            },
        };
        let path = base.join(&self.components);
        if path.is_root() {
            return Err(Flaw::new(format!("path \"{self}\" is \"/\" here, the whole host"), "name the directories"));
        }
        Ok(path)
    }
}

impl fmt::Display for WrittenPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.base {
            Base::Root if self.components.is_empty() => f.write_str("/")?,
            Base::Root => {}
            Base::Home => f.write_str("~")?,
            Base::Workspace => f.write_str(".")?,
            Base::Variable { name, default } => {
                let (start, components) = match default {
                    HostPath::Root(components) => ("", components),
                    HostPath::Home(components) => ("~", components),
                };
                write!(f, "${{{name}:-{start}")?;
                components.iter().try_for_each(|component| write!(f, "/{component}"))?;
                f.write_str("}")?;
            }
        }
        self.components.iter().try_for_each(|component| write!(f, "/{component}"))
    }
}

/// `${NAME:-default}` and what follows it.
fn variable<'a>(text: &str, rest: &'a str) -> Result<(Base, &'a str), Flaw> {
    let form = "write \"${NAME:-/default}/rest\" or \"${NAME:-~/default}/rest\"";
    let Some((inside, after)) = rest.split_once('}') else {
        return Err(Flaw::new(format!("path \"{text}\" has \"${{\" without \"}}\""), form));
    };
    let Some((name, default)) = inside.split_once(":-") else {
        return Err(Flaw::new(format!("variable in path \"{text}\" has no default"), form));
    };
    if !after.is_empty() && !after.starts_with('/') {
        return Err(Flaw::new(format!("path \"{text}\" goes on after \"}}\" without \"/\""), form));
    }
    let name = EnvName::parse(name)?;
    match host_path(default)? {
        Some(default) => Ok((Base::Variable { name, default }, after)),
        None => Err(Flaw::new(format!("default \"{default}\" is neither absolute nor in \"~\""), form)),
    }
}

fn host_path(text: &str) -> Result<Option<HostPath>, Flaw> {
    if text.starts_with('/') {
        let components = components(text, text)?;
        if components.is_empty() {
            return Err(Flaw::new("path \"/\" is the whole host", "name the directories that are needed"));
        }
        return Ok(Some(HostPath::Root(components)));
    }
    match text.strip_prefix('~') {
        Some(rest) if rest.is_empty() || rest.starts_with('/') => Ok(Some(HostPath::Home(components(text, rest)?))),
        Some(_) => {
            let hint = "write \"~/…\" for the home directory, or an absolute path";
            Err(Flaw::new(format!("path \"{text}\" names another user's home"), hint))
        }
        None => Ok(None),
    }
}

/// Components of the part of a written path after its base.
fn components(text: &str, rest: &str) -> Result<Vec<String>, Flaw> {
    let mut out = Vec::new();
    for component in rest.split('/').filter(|component| !component.is_empty() && *component != ".") {
        if component == ".." {
            return Err(Flaw::new(format!("path \"{text}\" has \"..\""), "write the path it leads to"));
        }
        if component.contains(['*', '?', '[', ']', '{', '}']) {
            let hint = "a grant is a path with everything below it: name the directory";
            return Err(Flaw::new(format!("path \"{text}\" has a pattern"), hint));
        }
        if component.contains('$') {
            let hint = "a variable can only stand at the start, as \"${NAME:-default}\"";
            return Err(Flaw::new(format!("path \"{text}\" has \"$\" inside"), hint));
        }
        out.push(component.into());
    }
    Ok(out)
}

/// An absolute path without `.`, `..`, empty components or NUL. It says nothing about symbolic links.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AbsolutePath(Vec<u8>);

impl AbsolutePath {
    /// Takes a path that is already clean, but for doubled and trailing slashes and `.`.
    ///
    /// # Errors
    /// It is relative, has `..` or a NUL, or is longer than [`PATH_BYTES_MAX`].
    pub fn parse(bytes: &[u8]) -> Result<Self, Flaw> {
        let shown = PrintableBytes(bytes);
        if bytes.first() != Some(&b'/') {
            return Err(Flaw::new(format!("path \"{shown}\" is not absolute"), "start it with \"/\""));
        }
        if bytes.split(|&byte| byte == b'/').any(|component| component == b"..") {
            return Err(Flaw::new(format!("path \"{shown}\" has \"..\""), "write the path it leads to"));
        }
        Self::root().walk(bytes)
    }

    /// `/`
    pub(crate) const fn root() -> Self {
        Self(Vec::new())
    }

    pub(crate) const fn is_root(&self) -> bool {
        self.0.is_empty()
    }

    fn join<C: AsRef<str>>(&self, components: &[C]) -> Self {
        let mut out = self.0.clone();
        for component in components {
            out.push(b'/');
            out.extend_from_slice(component.as_ref().as_bytes());
        }
        Self(out)
    }

    /// Where `path` leads from here, taking `..` for the parent as text. The kernel's answer differs where a
    /// component is a symbolic link; the wall holds in either case, this is for answers in advance.
    pub(crate) fn walk(&self, path: &[u8]) -> Result<Self, Flaw> {
        if path.contains(&0) {
            return Err(Flaw::new("path has a NUL byte", "remove it"));
        }
        if path.len() >= PATH_BYTES_MAX {
            let what = format!("path has {} bytes, Linux takes {}", path.len(), PATH_BYTES_MAX - 1);
            return Err(Flaw::new(what, "make it shorter"));
        }
        let mut out = if path.first() == Some(&b'/') { Vec::new() } else { self.0.clone() };
        for component in path.split(|&byte| byte == b'/') {
            match component {
                b"" | b"." => {}
                b".." => out.truncate(out.iter().rposition(|&byte| byte == b'/').unwrap_or(0)),
                name => {
                    out.push(b'/');
                    out.extend_from_slice(name);
                }
            }
        }
        Ok(Self(out))
    }

    /// The bytes, starting with `/`.
    pub fn as_bytes(&self) -> &[u8] {
        if self.0.is_empty() { b"/" } else { &self.0 }
    }

    /// Whether `other` is this path or lies below it.
    pub fn covers(&self, other: &Self) -> bool {
        self.below(other).is_some()
    }

    /// `other` relative to this path, without a leading `/`; `None` when it does not lie here.
    pub fn below<'a>(&self, other: &'a Self) -> Option<&'a [u8]> {
        match other.0.strip_prefix(self.0.as_slice())? {
            [] => Some(b""),
            [b'/', rest @ ..] => Some(rest),
            _ => None,
        }
    }

    /// The last component; empty for `/`.
    pub(crate) fn file_name(&self) -> &[u8] {
        crate::glob::last(&self.0)
    }
}

impl fmt::Display for AbsolutePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        PrintableBytes(self.as_bytes()).fmt(f)
    }
}

impl fmt::Debug for AbsolutePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{self}\"")
    }
}

/// A path of a rule, in either of the two forms in which a profile can know it.
pub trait RulePath: Clone + Ord + fmt::Display + sealed::Sealed {
    /// Exactly the path, as the bytes that canonical forms use.
    fn to_bytes(&self) -> Vec<u8>;
}

impl RulePath for WrittenPath {
    fn to_bytes(&self) -> Vec<u8> {
        format!("{self}").into_bytes()
    }
}

impl RulePath for AbsolutePath {
    fn to_bytes(&self) -> Vec<u8> {
        self.as_bytes().to_vec()
    }
}

mod sealed {
    /// Two forms, and no third one from outside.
    pub trait Sealed {}
    impl Sealed for super::WrittenPath {}
    impl Sealed for super::AbsolutePath {}
}

/// What a profile's paths depend on, as the caller read it. The environment meant is the one of the person who
/// starts the session; nothing of the workspace may be in it (CVE-2025-61260).
#[derive(Debug, Clone)]
pub struct HostFacts<'a> {
    /// Home directory of the user who starts the session.
    pub home: AbsolutePath,
    /// The workspace.
    pub workspace: AbsolutePath,
    /// Environment of the user who starts the session, names and values as bytes.
    pub variables: &'a BTreeMap<Vec<u8>, Vec<u8>>,
}

/// Path of an HTTP request in the one form that is judged and sent: each segment between single slashes, no
/// `.` and `..`, percent signs only where they must be. An escaped slash (`%2F`, as npm writes the names of scoped packages)
/// is a slash to some servers and a character to others: such a path matches no rule with certainty.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UrlPath(String);

impl UrlPath {
    /// Takes a canonical path, without query and fragment.
    ///
    /// # Errors
    /// The path has another spelling (`//`, `%2e`, `%41`, `..`, `\`…), so that two readers could take it for two
    /// places; a query or fragment; or more than [`PATH_BYTES_MAX`] bytes.
    pub fn parse(text: &str) -> Result<Self, Flaw> {
        let text = plain(text, "url path", PATH_BYTES_MAX)?;
        let hint = "send the path in its canonical form";
        let refuse = |why: &str| Err(Flaw::new(format!("url path \"{text}\" {why}"), hint));
        let Some(rest) = text.strip_prefix('/') else { return refuse("does not start with \"/\"") };
        if !text.chars().all(|c| c.is_ascii_alphanumeric() || "/-._~!$&'()*+,=:@%".contains(c)) {
            return refuse("has a character that must be percent-encoded, or is \"?\", \"#\" or \";\"");
        }
        let last = rest.split('/').count() - 1;
        for (at, segment) in rest.split('/').enumerate() {
            if segment.is_empty() && at < last {
                return refuse("has an empty segment");
            }
            if segment.split("%2F").any(|part| matches!(part, "." | "..")) {
                return refuse("has a dot segment");
            }
            let mut parts = segment.split('%');
            parts.next();
            for part in parts {
                if !part.get(..2).is_some_and(canonical_escape) {
                    return refuse("has a percent escape that is not canonical");
                }
            }
        }
        Ok(Self(text.into()))
    }

    /// The path as sent.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether the whole path matches one of these; a trailing slash counts as nothing.
    pub(crate) fn test(&self, globs: &[PathGlob]) -> Match {
        if self.0.contains("%2F") {
            return Match::Open;
        }
        let segments: Vec<&str> = self.0.split('/').filter(|segment| !segment.is_empty()).collect();
        Match::certain(globs.iter().any(|glob| glob.matches(&segments)))
    }
}

/// Upper-case hex of a byte that may not stand for itself, and is no backslash or control character.
fn canonical_escape(code: &str) -> bool {
    let upper = code.chars().all(|c| c.is_ascii_digit() || matches!(c, 'A'..='F'));
    let Ok(byte) = u8::from_str_radix(code, 16) else { return false };
    upper && !byte.is_ascii_control() && !byte.is_ascii_alphanumeric() && !b"-._~\\".contains(&byte)
}
