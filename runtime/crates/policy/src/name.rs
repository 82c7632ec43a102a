//! Small texts of a profile as types: names, reasons, patterns for names. Whoever holds one holds a checked one.
//! It never cleans up what it is given: a text is right or it is refused.

use crate::diagnostic::is_deceptive;
use crate::glob::WordGlob;
use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;
use core::fmt;

/// Longest name, pattern component or other short text, bytes.
pub const NAME_BYTES_MAX: usize = 255;
/// Longest text of any key, bytes (reasons, values of variables, paths).
pub const TEXT_BYTES_MAX: usize = 4096;
const _: () = assert!(NAME_BYTES_MAX < TEXT_BYTES_MAX && TEXT_BYTES_MAX < crate::document::PROFILE_BYTES_MAX);

/// Why a text was refused; the reader adds file and line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Flaw {
    /// What is wrong.
    pub what: String,
    /// What to do.
    pub hint: String,
}

impl Flaw {
    pub(crate) fn new(what: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { what: what.into(), hint: hint.into() }
    }
}

impl fmt::Display for Flaw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}; {}", self.what, self.hint)
    }
}

impl core::error::Error for Flaw {}

/// Refuses what no text of a profile may be: empty, too long, with deceptive characters.
pub(crate) fn plain<'a>(text: &'a str, idea: &str, bytes_max: usize) -> Result<&'a str, Flaw> {
    if text.is_empty() {
        return Err(Flaw::new(format!("{idea} is empty"), format!("give the {idea}, or leave the key out")));
    }
    if text.len() > bytes_max {
        let what = format!("{idea} has {} bytes, more than {bytes_max}", text.len());
        return Err(Flaw::new(what, "make it shorter"));
    }
    if let Some(c) = text.chars().find(|&c| is_deceptive(c)) {
        let what = format!("{idea} has the control or invisible character U+{:04X}", u32::from(c));
        return Err(Flaw::new(what, "remove it"));
    }
    Ok(text)
}

macro_rules! text_type {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Arc<str>);

        impl $name {
            /// The text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

text_type! {
    /// Name of a profile: lower-case letters, digits and `-`, starting with a letter.
    ProfileName
}
text_type! {
    /// Why a rule is there: one line for the person who reviews the profile.
    Reason
}
text_type! {
    /// Name of a secret: lower-case letters, digits, `-` and `_`, starting with a letter.
    SecretName
}
text_type! {
    /// Name of an environment variable.
    EnvName
}
text_type! {
    /// Name of a tool: letters, digits and `_ . : / -`.
    ToolName
}

fn starts_with_lower(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_lowercase())
}

impl ProfileName {
    /// # Errors
    /// The text is not a profile's name.
    pub fn parse(text: &str) -> Result<Self, Flaw> {
        let text = plain(text, "profile name", 64)?;
        let fits = text.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-');
        if fits && starts_with_lower(text) {
            return Ok(Self(text.into()));
        }
        let hint = "use lower-case letters, digits and \"-\", starting with a letter";
        Err(Flaw::new(format!("\"{text}\" is not a profile name"), hint))
    }

    /// The name under which the rules of a project's own file appear; no profile can have it.
    pub(crate) fn of_project() -> Self {
        Self("stockade.toml".into())
    }
}

impl Reason {
    pub(crate) fn parse(text: &str) -> Result<Self, Flaw> {
        let text = plain(text, "reason", TEXT_BYTES_MAX)?;
        if text.trim().is_empty() {
            return Err(Flaw::new("reason is blank", "say why this tool needs it"));
        }
        Ok(Self(text.into()))
    }
}

impl SecretName {
    /// # Errors
    /// The text is not a secret's name.
    pub fn parse(text: &str) -> Result<Self, Flaw> {
        let text = plain(text, "secret name", 64)?;
        let fits = text.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '_'));
        if fits && starts_with_lower(text) {
            return Ok(Self(text.into()));
        }
        let hint = "use lower-case letters, digits, \"-\" and \"_\", starting with a letter";
        Err(Flaw::new(format!("\"{text}\" is not a secret's name"), hint))
    }
}

fn env_character(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_'
}

impl EnvName {
    /// # Errors
    /// The text is not a variable's name.
    pub fn parse(text: &str) -> Result<Self, Flaw> {
        let text = plain(text, "variable name", NAME_BYTES_MAX)?;
        if text.chars().all(env_character) && !text.starts_with(|c: char| c.is_ascii_digit()) {
            return Ok(Self(text.into()));
        }
        let hint = "use letters, digits and \"_\", not starting with a digit";
        Err(Flaw::new(format!("\"{text}\" is not a variable's name"), hint))
    }
}

fn tool_character(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | ':' | '/' | '-')
}

impl ToolName {
    /// The name under which connections and requests to the network are judged; rules about tools can mean it.
    pub fn net() -> Self {
        Self("net".into())
    }

    /// The name under which reaching ports of the sandbox is judged; rules about tools can mean it.
    pub fn port() -> Self {
        Self("port".into())
    }

    /// # Errors
    /// The text is not a tool's name.
    pub fn parse(text: &str) -> Result<Self, Flaw> {
        let text = plain(text, "tool name", NAME_BYTES_MAX)?;
        if text.chars().all(tool_character) {
            return Ok(Self(text.into()));
        }
        let hint = "use letters, digits and \"_ . : / -\"";
        Err(Flaw::new(format!("\"{text}\" is not a tool's name"), hint))
    }
}

/// A pattern for names of variables, such as `LC_*`; `*` alone is refused, since it would hand over every key that
/// happens to be in the environment.
pub(crate) fn env_pattern(text: &str) -> Result<WordGlob, Flaw> {
    let text = plain(text, "variable name", NAME_BYTES_MAX)?;
    if !text.chars().any(|c| c.is_ascii_alphanumeric()) && text.contains(['*', '?']) {
        let hint = "name the variables, or a group of them such as \"LC_*\"";
        return Err(Flaw::new(format!("\"{text}\" would pass the whole environment"), hint));
    }
    if !text.chars().all(|c| env_character(c) || matches!(c, '*' | '?'))
        || text.starts_with(|c: char| c.is_ascii_digit())
    {
        let hint = "variables have letters, digits and \"_\"; \"*\" stands for any of them";
        return Err(Flaw::new(format!("\"{text}\" cannot match a variable's name"), hint));
    }
    Ok(WordGlob::new(text))
}

/// A pattern for names of tools, such as `mcp:files:*`.
pub(crate) fn tool_pattern(text: &str) -> Result<WordGlob, Flaw> {
    let text = plain(text, "tool name", NAME_BYTES_MAX)?;
    if text.chars().all(|c| tool_character(c) || matches!(c, '*' | '?')) {
        return Ok(WordGlob::new(text));
    }
    let hint = "tools have letters, digits and \"_ . : / -\"; \"*\" stands for any of them";
    Err(Flaw::new(format!("\"{text}\" cannot match a tool's name"), hint))
}

/// Which rule decided: the profile it stands in, and its line there.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RuleId {
    source: ProfileName,
    line: u32,
    /// From 0, counting rules that begin on the same line (inline tables, lists of patterns).
    nth: u32,
}

impl RuleId {
    pub(crate) const fn new(source: ProfileName, line: u32, nth: u32) -> Self {
        Self { source, line, nth }
    }

    /// The profile that has the rule; `stockade.toml` for the project's own.
    pub const fn source(&self) -> &ProfileName {
        &self.source
    }

    /// Line in the profile's file, from 1.
    pub const fn line(&self) -> u32 {
        self.line
    }
}

impl fmt::Display for RuleId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.source, self.line)?;
        if self.nth > 0 {
            write!(f, ".{}", self.nth + 1)?;
        }
        Ok(())
    }
}
