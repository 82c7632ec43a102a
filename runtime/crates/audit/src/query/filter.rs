//! Filters: `k=fs.* path=src/** tc=c17`, all of which must hold.
//! It never reads a log.

use super::path_of;
use crate::record::{Head, Leaf};
use std::fmt;

/// A pattern: `?` is one character and `*` any number, both without `/`; `**` is any number with `/`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Glob(Vec<u8>);

impl Glob {
    /// A pattern. Every text is one.
    pub fn new(pattern: impl AsRef<[u8]>) -> Self {
        Self(pattern.as_ref().to_vec())
    }

    /// The bytes before the first `*` or `?`.
    #[must_use]
    pub fn literal_prefix(&self) -> &[u8] {
        let end = self.0.iter().position(|b| matches!(b, b'*' | b'?')).unwrap_or(self.0.len());
        &self.0[..end]
    }

    /// Whether it has neither `*` nor `?`.
    #[must_use]
    pub fn is_literal(&self) -> bool {
        self.literal_prefix().len() == self.0.len()
    }

    /// The bytes after the last `*` or `?` with which every text that it matches ends.
    fn literal_suffix(&self) -> &[u8] {
        let start = self.0.iter().rposition(|b| matches!(b, b'*' | b'?')).map_or(0, |last| last + 1);
        let (head, suffix) = self.0.split_at(start);
        // `**/` also stands for no directory at all.
        if head.ends_with(b"**") { suffix.strip_prefix(b"/").unwrap_or(suffix) } else { suffix }
    }

    /// Whether it matches all of `text`.
    #[must_use]
    pub fn matches(&self, text: &[u8]) -> bool {
        if self.is_literal() {
            return text == self.0;
        }
        let Some(rest) = text.strip_prefix(self.literal_prefix()) else { return false };
        let pattern = self.0.get(self.literal_prefix().len()..).unwrap_or_default();
        pattern == b"**" || (text.ends_with(self.literal_suffix()) && matches(pattern, rest))
    }
}

/// Runs all ways through the pattern at once, so that no pattern takes more than pattern × text steps.
fn matches(pattern: &[u8], text: &[u8]) -> bool {
    let mut here = vec![false; pattern.len() + 1];
    let mut next = here.clone();
    enter(&mut here, pattern, 0);
    for c in text {
        next.fill(false);
        for p in (0..pattern.len()).filter(|p| here[*p]) {
            let rest = &pattern[p..];
            if rest.starts_with(b"**") {
                // It goes on; that it is `**/` and stands for no directory was decided where it began.
                next[p] = true;
                enter(&mut next, pattern, p + 2);
            } else if rest[0] == b'*' && *c != b'/' {
                enter(&mut next, pattern, p);
            } else if rest[0] != b'*' && (rest[0] == *c || (rest[0] == b'?' && *c != b'/')) {
                enter(&mut next, pattern, p + 1);
            }
        }
        std::mem::swap(&mut here, &mut next);
    }
    here[pattern.len()]
}

/// Marks position `p` of the pattern, and all that follow from it without reading anything.
fn enter(states: &mut [bool], pattern: &[u8], p: usize) {
    if std::mem::replace(&mut states[p], true) {
        return;
    }
    let rest = &pattern[p..];
    if rest.starts_with(b"**/") {
        // `**/` also stands for no directory at all.
        enter(states, pattern, p + 3);
    }
    if rest.starts_with(b"**") {
        enter(states, pattern, p + 2);
    } else if rest.first() == Some(&b'*') {
        enter(states, pattern, p + 1);
    }
}

/// Why a text is no filter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FilterError {
    /// The part that is wrong.
    pub part: String,
}

impl fmt::Display for FilterError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} is no filter; there are k=, ev=, tc=, path= and n=FROM..TO", self.part)
    }
}

impl std::error::Error for FilterError {}

/// What a leaf must be like. Empty: anything.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    kind: Option<Glob>,
    evidence: Option<Glob>,
    call: Option<Glob>,
    path: Option<Glob>,
    range: Option<(u64, u64)>,
}

impl Filter {
    /// The filter in a text of `key=glob` parts, separated by spaces.
    ///
    /// # Errors
    /// When a part has another key, or none.
    pub fn parse(text: &str) -> Result<Self, FilterError> {
        let mut filter = Self::default();
        for part in text.split_ascii_whitespace() {
            let wrong = || FilterError { part: part.to_owned() };
            let (key, value) = part.split_once('=').ok_or_else(wrong)?;
            match key {
                "k" => filter.kind = Some(Glob::new(value)),
                "ev" => filter.evidence = Some(Glob::new(value)),
                "tc" => filter.call = Some(Glob::new(value)),
                "path" => filter.path = Some(Glob::new(value)),
                "n" => filter.range = Some(range(value).ok_or_else(wrong)?),
                _ => return Err(wrong()),
            }
        }
        Ok(filter)
    }

    /// Whether the members that every leaf starts with let it through.
    pub(super) fn head(&self, head: &Head<'_>) -> bool {
        let fits = |glob: &Option<Glob>, text: &str| glob.as_ref().is_none_or(|glob| glob.matches(text.as_bytes()));
        fits(&self.kind, head.kind)
            && fits(&self.evidence, head.evidence.word())
            && self.call.as_ref().is_none_or(|glob| head.call.is_some_and(|call| glob.matches(call.as_bytes())))
            && self.range.is_none_or(|(from, to)| (from..to).contains(&head.n))
    }

    /// The paths that it lets through, if it asks for some.
    pub(super) fn path(&self) -> Option<&Glob> {
        self.path.as_ref()
    }

    /// Whether its path does.
    pub(super) fn path_of(&self, leaf: &Leaf) -> bool {
        self.path.as_ref().is_none_or(|glob| path_of(&leaf.body).is_some_and(|path| glob.matches(&path.0)))
    }
}

/// `5`, `5..`, `..9` or `5..9`; the end is not included.
fn range(text: &str) -> Option<(u64, u64)> {
    match text.split_once("..") {
        None => text.parse().ok().map(|n: u64| (n, n.saturating_add(1))),
        Some((from, to)) => {
            let from = if from.is_empty() { 0 } else { from.parse().ok()? };
            let to = if to.is_empty() { u64::MAX } else { to.parse().ok()? };
            Some((from, to))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stars_do_not_cross_a_slash_and_double_stars_do() {
        let cases: &[(&str, &str, bool)] = &[
            ("src/*.rs", "src/a.rs", true),
            ("src/*.rs", "src/a/b.rs", false),
            ("src/**", "src/a/b.rs", true),
            ("src/**/b.rs", "src/b.rs", true),
            ("src/**/b.rs", "src/x/y/b.rs", true),
            ("**/*.rs", "a.rs", true),
            ("**/*.rs", "x/a.rs", true),
            ("**/*.rs", "x/a.py", false),
            ("a?c", "abc", true),
            ("a?c", "a/c", false),
            ("fs.*", "fs.outcome", true),
            ("*", "", true),
            ("", "", true),
            ("", "a", false),
            ("a**b*c", "a/x/bzzc", true),
            ("a**b*c", "a/x/b/c", false),
            ("**/b.rs", "b.rs", true),
            ("**/b.rs", "xb.rs", false),
            ("src/**/b.rs", "src/xb.rs", false),
            ("*a**/b", "aab", true),
            ("src/**", "src/", true),
            ("src/**", "src", false),
            ("src/*", "src/a/b", false),
            ("ab*ba", "aba", false),
            ("a*?", "a", false),
            ("a/**/**/b", "a/b", true),
        ];
        for (pattern, text, expected) in cases {
            assert_eq!(Glob::new(pattern).matches(text.as_bytes()), *expected, "{pattern} {text}");
        }
    }
}
