//! The three small pattern languages of a profile: names, words of a command, paths.
//! Matching takes time linear in pattern times text: it never backtracks more than one star, so no pattern and no
//! hostile text can make it exponential.

use alloc::string::String;
use alloc::vec::Vec;

/// Matches `text` against `pattern`, element by element; `is_star` elements match any run, `fits` decides the others.
/// Remembering the last star alone is complete: whatever an earlier star could still take, the last one can take too.
fn run<P, T>(pattern: &[P], text: &[T], is_star: impl Fn(&P) -> bool, fits: impl Fn(&P, &T) -> bool) -> bool {
    let (mut p, mut t) = (0, 0);
    let mut last_star: Option<(usize, usize)> = None;
    while let Some(have) = text.get(t) {
        match pattern.get(p) {
            Some(want) if is_star(want) => {
                last_star = Some((p, t));
                p += 1;
            }
            Some(want) if fits(want, have) => {
                p += 1;
                t += 1;
            }
            Some(_) | None => match last_star {
                Some((star, from)) => {
                    last_star = Some((star, from + 1));
                    p = star + 1;
                    t = from + 1;
                }
                None => return false,
            },
        }
    }
    pattern.get(p..).is_some_and(|rest| rest.iter().all(is_star))
}

/// Matches bytes: `*` any run, `?` any one byte.
pub(crate) fn word_matches(pattern: &[u8], text: &[u8]) -> bool {
    run(pattern, text, |&byte| byte == b'*', |&want, &have| want == b'?' || want == have)
}

/// A pattern for one word: `*` is any run of bytes (slashes included), `?` any one byte.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WordGlob(String);

impl WordGlob {
    /// The caller has checked the text.
    pub(crate) fn new(text: &str) -> Self {
        Self(text.into())
    }

    /// The pattern as written.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether the pattern matches the whole of `text`.
    pub fn matches(&self, text: &[u8]) -> bool {
        word_matches(self.0.as_bytes(), text)
    }
}

/// A pattern for a command's words: each a [`WordGlob`], `**` for any number of words.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ArgvGlob(Vec<WordGlob>);

impl ArgvGlob {
    /// The caller has checked the words.
    pub(crate) fn new(words: Vec<WordGlob>) -> Self {
        Self(words)
    }

    /// The words as written.
    pub fn words(&self) -> &[WordGlob] {
        &self.0
    }

    /// Whether the pattern matches all words; the first one also by its last path component, so that `git` in a
    /// pattern matches `/usr/bin/git` too.
    pub fn matches<W: AsRef<[u8]>>(&self, argv: &[W]) -> bool {
        let words: Vec<(usize, &[u8])> = argv.iter().map(AsRef::as_ref).enumerate().collect();
        let is_star = |glob: &WordGlob| glob.as_str() == "**";
        run(&self.0, &words, is_star, |glob, &(at, word)| glob.matches(word) || (at == 0 && glob.matches(last(word))))
    }
}

/// A pattern for a path of `/`-separated components: `*` and `?` stay within one, `**` is any number of them.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PathGlob(Vec<String>);

impl PathGlob {
    /// The caller has checked the text; empty components are dropped.
    pub(crate) fn new(text: &str) -> Self {
        Self(text.split('/').filter(|part| !part.is_empty()).map(Into::into).collect())
    }

    /// Keeps empty components: for texts in which they mean something.
    pub(crate) fn whole(text: &str) -> Self {
        Self(text.split('/').map(Into::into).collect())
    }

    /// The components of the pattern.
    pub fn components(&self) -> &[String] {
        &self.0
    }

    /// Whether the pattern matches the whole path.
    pub fn matches<C: AsRef<[u8]>>(&self, path: &[C]) -> bool {
        run(&self.0, path, |part| part == "**", |part, component| word_matches(part.as_bytes(), component.as_ref()))
    }
}

/// The last component of a path.
pub(crate) fn last(path: &[u8]) -> &[u8] {
    path.rsplit(|&byte| byte == b'/').next().unwrap_or(path)
}
