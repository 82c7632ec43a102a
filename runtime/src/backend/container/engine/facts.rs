//! What was asked of an engine beside what it says it did, as text, one line for each restriction.
//! It never rounds up: what an engine does not confirm in the words that are expected is a gap.

use super::spec::{Access, Spec};
use sha2::{Digest as _, Sha256};
use std::fmt::{Display, Write as _};

/// One restriction: what was asked, and what the engine says is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fact {
    /// What it is about.
    pub name: &'static str,
    /// What was asked.
    pub asked: String,
    /// What is.
    pub is: String,
}

/// A container as its engine describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReadBack {
    /// Everything that was compared.
    pub facts: Vec<Fact>,
    /// Those of them that are not as asked.
    pub gaps: Vec<Fact>,
}

/// Facts while they are gathered.
#[derive(Debug, Default)]
pub(super) struct Facts(Vec<Fact>);

impl Facts {
    /// Adds one.
    pub(super) fn add(&mut self, name: &'static str, asked: impl Display, is: impl Display) {
        self.0.push(Fact { name, asked: asked.to_string(), is: is.to_string() });
    }

    /// Adds one whose restriction is that there is none of something.
    pub(super) fn none(&mut self, name: &'static str, found: &[String]) {
        self.add(name, "none", list(found));
    }

    /// All, and the gaps among them.
    pub(super) fn read_back(self) -> ReadBack {
        let gaps = self.0.iter().filter(|fact| fact.asked != fact.is).cloned().collect();
        ReadBack { facts: self.0, gaps }
    }
}

/// A list in one line; an empty one is `none`.
pub(super) fn list(found: &[String]) -> String {
    if found.is_empty() { "none".to_owned() } else { found.join(", ") }
}

/// A limit, of which engines write "unlimited" as nothing, zero or a negative number.
pub(super) fn limit(found: Option<i64>) -> String {
    found.filter(|number| *number > 0).map_or_else(|| "unlimited".to_owned(), |number| number.to_string())
}

/// The same, as asked.
pub(super) fn asked_limit(asked: Option<u64>) -> String {
    limit(asked.map(|number| i64::try_from(number).unwrap_or(i64::MAX)))
}

/// A mount as one word of a list.
pub(super) fn mount(kind: &str, source: &str, target: &str, access: Access) -> String {
    let access = match access {
        Access::ReadOnly => "read-only",
        Access::ReadWrite => "writable",
    };
    format!("{kind} {source} at {target} {access}")
}

/// The mounts that a spec asks for, in order.
pub(super) fn asked_mounts(spec: &Spec) -> Vec<String> {
    let text = |mount: &super::spec::Mount| {
        self::mount("bind", &mount.source.display().to_string(), &mount.target.display().to_string(), mount.access)
    };
    let mut mounts: Vec<String> = spec.mounts.iter().map(text).collect();
    mounts.sort();
    mounts
}

/// A name for a text that is too long to be shown.
pub(super) fn digest(text: &str) -> String {
    let mut name = "sha256:".to_owned();
    for byte in Sha256::digest(text.as_bytes()) {
        write!(name, "{byte:02x}").expect("writing to a String cannot fail");
    }
    name
}

/// What the kernel says of a container's first process. Of its lines only two cannot be loosened by the process itself,
/// so that they still tell what the runtime did: whether it may gain privileges, and whether a filter is on it.
pub(super) struct Process {
    /// `NoNewPrivs`.
    pub(super) no_new_privileges: &'static str,
    /// `Seccomp`.
    pub(super) seccomp: &'static str,
}

impl Process {
    /// Reads them; none when there is no such process, or `/proc` does not show it.
    pub(super) fn of(pid: u32) -> Option<Self> {
        let text = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        let value = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
        Some(Self {
            no_new_privileges: if value("NoNewPrivs:") == Some("1") { "yes" } else { "no" },
            seccomp: if value("Seccomp:") == Some("2") { "a filter" } else { "none" },
        })
    }

    /// Adds what it says.
    pub(super) fn tell(&self, facts: &mut Facts) {
        facts.add("first process without new privileges", "yes", self.no_new_privileges);
        facts.add("first process under seccomp", "a filter", self.seccomp);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_is_not_as_asked_is_a_gap() {
        let mut facts = Facts::default();
        facts.add("root", "read-only", "read-only");
        facts.none("devices", &["/dev/kvm".to_owned()]);
        facts.add("memory", asked_limit(Some(1024)), limit(Some(0)));
        let read = facts.read_back();
        assert_eq!(read.facts.len(), 3);
        let gaps: Vec<&str> = read.gaps.iter().map(|gap| gap.name).collect();
        assert_eq!(gaps, ["devices", "memory"]);
        assert_eq!(read.gaps[1].is, "unlimited");
    }

    #[test]
    fn a_limit_that_no_engine_can_keep_is_not_taken_for_none() {
        assert_eq!(asked_limit(None), "unlimited");
        assert_eq!(asked_limit(Some(u64::MAX)), i64::MAX.to_string());
        assert_eq!(limit(Some(-1)), "unlimited");
    }
}
