//! Patterns for paths, kinds and names, matched in bounded time whatever the pattern.
//! It never takes a pattern for a regular expression.

use super::pages::{Gram, grams};

/// A pattern: `?` is one character and `*` any number, both without `/`; `**` is any number with `/`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Glob {
    pattern: Vec<u8>,
    /// How many of its bytes stand for themselves before the first `*` or `?`.
    literal: usize,
}

impl Glob {
    /// A pattern. Every text is one.
    pub fn new(pattern: impl AsRef<[u8]>) -> Self {
        let pattern = pattern.as_ref().to_vec();
        let literal = pattern.iter().position(|b| matches!(b, b'*' | b'?')).unwrap_or(pattern.len());
        Self { pattern, literal }
    }

    /// What matches this text alone, whatever is in it.
    pub fn exactly(text: impl AsRef<[u8]>) -> Self {
        let pattern = text.as_ref().to_vec();
        Self { literal: pattern.len(), pattern }
    }

    /// The bytes before the first `*` or `?`.
    #[must_use]
    pub fn literal_prefix(&self) -> &[u8] {
        &self.pattern[..self.literal]
    }

    /// Whether it has neither `*` nor `?`.
    #[must_use]
    pub fn is_literal(&self) -> bool {
        self.literal == self.pattern.len()
    }

    /// The bytes after the last `*` or `?` with which every text that it matches ends.
    fn literal_suffix(&self) -> &[u8] {
        let start = self.pattern.iter().rposition(|b| matches!(b, b'*' | b'?')).map_or(0, |last| last + 1);
        let (head, suffix) = self.pattern.split_at(start);
        // `**/` also stands for no directory at all.
        if head.ends_with(b"**") { suffix.strip_prefix(b"/").unwrap_or(suffix) } else { suffix }
    }

    /// What stands for itself between stars and question marks: every text that it matches has these parts, in this order.
    fn parts(&self) -> impl Iterator<Item = &[u8]> {
        let mut after_star = false;
        let stands = |byte: &u8| !matches!(byte, b'*' | b'?');
        let same = move |one: &u8, next: &u8| stands(one) && stands(next);
        let (literal, rest) = self.pattern.split_at(self.literal);
        let parts = rest.chunk_by(same).filter_map(move |part| {
            // After a star, for `**/` also stands for no directory at all.
            let found = if after_star { part.strip_prefix(b"/").unwrap_or(part) } else { part };
            after_star = part == b"*";
            stands(&part[0]).then_some(found)
        });
        std::iter::once(literal).chain(parts)
    }

    /// Each four bytes that stand together in every text that it matches.
    pub(super) fn grams(&self) -> Vec<Gram> {
        self.parts().flat_map(grams).collect()
    }

    fn has_parts(&self, text: &[u8]) -> bool {
        self.parts().try_fold(text, after).is_some()
    }

    /// Whether it matches all of `text`.
    #[must_use]
    pub fn matches(&self, text: &[u8]) -> bool {
        if self.is_literal() {
            return text == self.pattern;
        }
        let Some(rest) = text.strip_prefix(self.literal_prefix()) else { return false };
        let pattern = self.pattern.get(self.literal..).unwrap_or_default();
        // Most texts are told apart by what must be in them, and need no automaton.
        pattern == b"**" || text.ends_with(self.literal_suffix()) && self.has_parts(text) && matches(pattern, rest)
    }
}

/// What follows the first `part` in `text`.
fn after<'a>(text: &'a [u8], part: &[u8]) -> Option<&'a [u8]> {
    let Some(first) = part.first() else { return Some(text) };
    let starts = text.iter().enumerate().filter(|(_, byte)| *byte == first);
    starts.map(|(at, _)| &text[at..]).find_map(|rest| rest.strip_prefix(part))
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
        for (pattern, text, _) in cases.iter().filter(|(_, _, matched)| *matched) {
            let there: Vec<_> = grams(text.as_bytes()).collect();
            let glob = Glob::new(pattern);
            assert!(glob.grams().iter().all(|gram| there.contains(gram)), "{pattern} {text}");
        }
        assert_eq!(Glob::new("src/**/main.*s?abcd").grams(), [*b"src/", *b"main", *b"ain.", *b"abcd"]);
        assert!(Glob::exactly("a*").matches(b"a*") && !Glob::exactly("a*").matches(b"ab"));
    }
}
