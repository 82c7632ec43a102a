//! `protect` and `hold`: which paths of a workspace a guest may not change, or only through review.
//! It never looks at a file: the answer follows from the path alone, also for paths that do not exist yet
//! (CVE-2026-25725).

use crate::glob::PathGlob;
use crate::name::{Flaw, NAME_BYTES_MAX, RuleId, plain};
use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;

/// What a change of a path of the workspace needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Treatment {
    /// Nothing more.
    Free,
    /// Consent for this path when it is applied; where there is no review (`direct`), it stays as it is.
    Hold {
        /// The rule that says so.
        rule: RuleId,
    },
    /// It may not change: read-only inside, refused when applied.
    Protect {
        /// The rule that says so.
        rule: RuleId,
    },
}

/// A pattern for paths of a workspace, with everything below what it matches.
///
/// A pattern with a `/` inside starts at the top of the workspace, one without matches at any depth; `**` is any
/// number of components. Letters match in either case, and the spellings that some file systems take for the same
/// name (`.GIT`, `.g\u{200c}it`, `.git.`, `git~1`) match too, since the workspace may lie on such a one
/// (CVE-2025-59944).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WorkspacePattern {
    written: String,
    /// Folded components, without the `**` that stands for everything below.
    exact: PathGlob,
    /// The same and everything below.
    subtree: PathGlob,
    /// Directories in which the pattern could match by name: `.git` for `**/.git/hooks`, but not every directory for
    /// the sake of `**`.
    ancestors: Vec<PathGlob>,
}

impl WorkspacePattern {
    /// Reads a pattern such as `**/.git/hooks`, `.envrc` or `/Makefile`.
    ///
    /// # Errors
    /// A pattern that cannot match a path of the workspace, or would match all of them.
    pub fn parse(text: &str) -> Result<Self, Flaw> {
        let text = plain(text, "pattern", NAME_BYTES_MAX)?;
        let refuse = |why: &str, hint: &str| Err(Flaw::new(format!("pattern \"{text}\" {why}"), hint));
        if text.starts_with('~') || text.starts_with('$') {
            return refuse("cannot match", "patterns are relative to the workspace");
        }
        let anchored = text.trim_end_matches('/').contains('/');
        let inner = text.strip_prefix("./").unwrap_or(text);
        let inner = inner.strip_prefix('/').unwrap_or(inner);
        let inner = inner.strip_suffix('/').unwrap_or(inner);
        let mut components: Vec<String> = Vec::new();
        for component in inner.split('/') {
            match component {
                "" | "." | ".." => {
                    return refuse("cannot match", "remove empty components, \".\" and \"..\"");
                }
                "**" => components.push("**".into()),
                part if part.contains("**") => {
                    return refuse("has \"**\" inside a component", "\"**\" stands alone between slashes");
                }
                part if part.contains(['[', ']', '{', '}', '\\']) => {
                    return refuse("has a character of another pattern language", "only *, ** and ? are special");
                }
                part => components.push(fold_text(part)),
            }
        }
        if components.iter().all(|part| matches!(part.as_str(), "**" | "*")) {
            return refuse("matches everything", "name what is meant");
        }
        if !anchored {
            components.insert(0, "**".into());
        }
        while components.last().is_some_and(|part| part == "**") {
            components.pop();
        }
        let ancestors = (1..components.len()).filter_map(|end| components.get(..end));
        let ancestors = ancestors.filter(|prefix| prefix.last().is_some_and(|part| part != "**" && part != "*"));
        let ancestors = ancestors.map(|prefix| PathGlob::new(&prefix.join("/"))).collect();
        let exact = components.join("/");
        let subtree = PathGlob::new(&format!("{exact}/**"));
        Ok(Self { written: text.into(), exact: PathGlob::new(&exact), subtree, ancestors })
    }

    /// The pattern as written.
    pub fn as_str(&self) -> &str {
        &self.written
    }

    /// The one path that the pattern means, in lower case and relative to the workspace, when it has no wildcard:
    /// a wall can keep it from being made even before it exists.
    pub fn literal(&self) -> Option<String> {
        let wild = self.exact.components().iter().any(|part| part.contains(['*', '?']));
        (!wild).then(|| self.exact.components().join("/"))
    }

    fn matches_subtree(&self, path: &FoldedPath) -> bool {
        self.subtree.matches(&path.0)
    }

    fn matches_ancestor(&self, path: &FoldedPath) -> bool {
        self.ancestors.iter().any(|ancestor| ancestor.matches(&path.0))
    }

    /// Whether the pattern matches this path or one above it. `path` is relative to the workspace.
    pub fn matches(&self, path: &[u8]) -> bool {
        self.matches_subtree(&FoldedPath::of(path))
    }
}

impl fmt::Display for WorkspacePattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.written)
    }
}

/// One entry of `protect` or `hold`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Guard {
    /// Where it stands.
    pub id: RuleId,
    /// The file it stands in, as the caller named it.
    pub file: Arc<str>,
    /// What it covers.
    pub pattern: WorkspacePattern,
    /// What it leaves out. An exception belongs to its own entry: it never weakens another one.
    pub except: Vec<WorkspacePattern>,
}

impl Guard {
    fn covers(&self, path: &FoldedPath) -> bool {
        self.pattern.matches_subtree(path) && !self.leaves_out(path)
    }

    fn covers_ancestor(&self, path: &FoldedPath) -> bool {
        self.pattern.matches_ancestor(path) && !self.leaves_out(path)
    }

    fn leaves_out(&self, path: &FoldedPath) -> bool {
        self.except.iter().any(|except| except.matches_subtree(path))
    }
}

impl fmt::Display for Guard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.pattern)?;
        for (n, except) in self.except.iter().enumerate() {
            write!(f, "{}{except}", if n == 0 { " except " } else { ", " })?;
        }
        Ok(())
    }
}

/// The answer for what is at `path`.
pub(crate) fn treatment(protect: &[Guard], hold: &[Guard], path: &[u8]) -> Treatment {
    let path = FoldedPath::of(path);
    if let Some(guard) = protect.iter().find(|guard| guard.covers(&path)) {
        return Treatment::Protect { rule: guard.id.clone() };
    }
    match hold.iter().find(|guard| guard.covers(&path)) {
        Some(guard) => Treatment::Hold { rule: guard.id.clone() },
        None => Treatment::Free,
    }
}

/// The answer for a file, symbolic link or anything else that is no directory at `path`. Where a pattern expects a
/// directory (`.git`, for `.git/hooks`), such a thing stands in for it: a link or a `.git` file leads git to another
/// directory, whose name no pattern knows.
pub(crate) fn treatment_as_leaf(protect: &[Guard], hold: &[Guard], path: &[u8]) -> Treatment {
    let own = treatment(protect, hold, path);
    if own != Treatment::Free {
        return own;
    }
    let path = FoldedPath::of(path);
    match protect.iter().chain(hold).find(|guard| guard.covers_ancestor(&path)) {
        Some(guard) => Treatment::Hold { rule: guard.id.clone() },
        None => Treatment::Free,
    }
}

/// Components of a path in the form in which they are compared.
struct FoldedPath(Vec<String>);

impl FoldedPath {
    fn of(path: &[u8]) -> Self {
        let parts = path.split(|&byte| byte == b'/').filter(|part| !matches!(*part, b"" | b"."));
        Self(parts.map(|part| fold_text(&String::from_utf8_lossy(part))).collect())
    }
}

/// One name for all the spellings of a component that a file system may take for the same: letter case (ext4
/// casefold, vfat), ignored code points (HFS+), trailing dots and spaces (vfat), the short name of `.git` (vfat).
fn fold_text(part: &str) -> String {
    let kept = part.chars().filter(|&c| !is_ignored(c));
    let folded: String = kept.flat_map(char::to_uppercase).flat_map(char::to_lowercase).collect();
    let trimmed = folded.trim_end_matches(['.', ' ']);
    match trimmed {
        "" => folded,
        "git~1" => ".git".into(),
        other => other.into(),
    }
}

/// Code points that HFS+ ignores in names; git's list (utf8.c, `next_hfs_char`), with the soft hyphen and the
/// variation selectors, which casefolding directories of ext4 and f2fs ignore as well.
fn is_ignored(c: char) -> bool {
    matches!(c, '\u{ad}' | '\u{200c}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{206a}'..='\u{206f}')
        || matches!(c, '\u{feff}' | '\u{200b}' | '\u{2060}'..='\u{2064}' | '\u{fe00}'..='\u{fe0f}')
}
