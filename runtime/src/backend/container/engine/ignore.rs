//! What `.dockerignore` leaves out of a build: patterns in the order of the file, of which the last that matches counts.
//! It never opens anything: it is given a text and names.

/// Longest file of patterns, bytes.
pub(super) const IGNORE_BYTES_MAX: u64 = 256 * 1024;
/// Most patterns of a file.
const PATTERNS_MAX: usize = 4096;
/// Longest pattern, bytes. A comparison takes as many steps as the product of two lengths.
const PATTERN_BYTES_MAX: usize = 1024;

/// Whether a pattern leaves out or takes back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sense {
    Out,
    Back,
}

#[derive(Debug, Clone)]
struct Pattern {
    sense: Sense,
    parts: Vec<String>,
}

/// The patterns of a file.
#[derive(Debug, Clone, Default)]
pub struct Ignore(Vec<Pattern>);

impl Ignore {
    /// Reads a file's text, as the docker command does: comments, `!`, paths from the top, and `**`.
    ///
    /// # Errors
    /// Which line is no pattern, and why.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut patterns = Vec::new();
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        for (index, line) in text.lines().enumerate() {
            let wrong = |why: &str| Err(format!("line {}: {why}", index + 1));
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let (sense, path) = match line.strip_prefix('!') {
                Some(path) => (Sense::Back, path.trim()),
                None => (Sense::Out, line),
            };
            if path.is_empty() {
                return wrong("a ! with nothing after it");
            }
            if path.len() > PATTERN_BYTES_MAX {
                return wrong("the pattern is too long");
            }
            let parts = cleaned(path);
            if parts.iter().any(|part| !is_well_formed(part)) {
                return wrong("a [ that is not closed, or a \\ with nothing after it");
            }
            if patterns.len() == PATTERNS_MAX {
                return wrong("there are too many patterns");
            }
            // `.` and `/` are the directory itself, which is not left out.
            if !parts.is_empty() {
                patterns.push(Pattern { sense, parts });
            }
        }
        Ok(Self(patterns))
    }

    /// Whether a path, from the top and without dots, is left out.
    pub fn leaves_out(&self, path: &str) -> bool {
        let parts: Vec<&str> = path.split('/').collect();
        // A pattern matches what it names and everything below: any beginning of the path will do.
        let matches = |pattern: &Pattern| (1..=parts.len()).any(|length| matches(&pattern.parts, &parts[..length]));
        self.0.iter().rev().find(|pattern| matches(pattern)).is_some_and(|pattern| pattern.sense == Sense::Out)
    }

    /// Whether something below a directory that is left out could be taken back: else nobody need look into it.
    pub fn takes_back(&self) -> bool {
        self.0.iter().any(|pattern| pattern.sense == Sense::Back)
    }
}

/// The parts of a path without empty ones and dots; `..` goes up, and not above the top.
fn cleaned(path: &str) -> Vec<String> {
    let mut parts: Vec<String> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part.to_owned()),
        }
    }
    parts
}

fn is_well_formed(part: &str) -> bool {
    let mut chars = part.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' if chars.next().is_none() => return false,
            '[' => {
                let mut members = 0;
                loop {
                    match chars.next() {
                        None => return false,
                        Some(']') if members > 0 => break,
                        Some('\\') if chars.next().is_none() => return false,
                        Some(_) => members += 1,
                    }
                }
            }
            _ => {}
        }
    }
    true
}

/// Whether parts of a pattern match parts of a path, all of both. One row of a table for each part of the pattern, so that
/// no pattern takes longer than the product of the lengths.
fn matches(pattern: &[String], path: &[&str]) -> bool {
    let mut row = vec![false; path.len() + 1];
    row[0] = true;
    for part in pattern {
        let mut next = vec![false; path.len() + 1];
        if part == "**" {
            let mut reached = false;
            for (at, from) in row.iter().enumerate() {
                reached |= *from;
                next[at] = reached;
            }
        } else {
            for (at, name) in path.iter().enumerate() {
                next[at + 1] = row[at] && part_matches(part, name);
            }
        }
        row = next;
    }
    row[path.len()]
}

/// One step of a part's pattern.
enum Step<'a> {
    Any,
    One,
    Char(char),
    Class(&'a [char]),
}

/// Whether a part matches a name, with `*`, `?`, `[a-z]`, `[^a]` and `\`, as Go's filepath.Match has it. `*` inside a part
/// that has `**` in it means the same.
fn part_matches(part: &str, name: &str) -> bool {
    let pattern: Vec<char> = part.chars().collect();
    let name: Vec<char> = name.chars().collect();
    let mut row = vec![false; name.len() + 1];
    row[0] = true;
    let mut at = 0;
    while at < pattern.len() {
        let (step, length) = step(&pattern[at..]);
        at += length;
        let mut next = vec![false; name.len() + 1];
        let mut reached = false;
        for (place, from) in row.iter().enumerate() {
            reached |= *from;
            match step {
                Step::Any => next[place] = reached,
                Step::One | Step::Char(_) | Step::Class(_) => {
                    if let Some(c) = name.get(place) {
                        next[place + 1] = *from && is_taken(&step, *c);
                    }
                }
            }
        }
        row = next;
    }
    row[name.len()]
}

fn is_taken(step: &Step<'_>, c: char) -> bool {
    match step {
        Step::Any | Step::One => true,
        Step::Char(wanted) => *wanted == c,
        Step::Class(members) => class_has(members, c),
    }
}

/// The first step of a pattern, and its length. Parsing has seen that classes are closed.
fn step(pattern: &[char]) -> (Step<'_>, usize) {
    match pattern {
        ['*', ..] => (Step::Any, 1),
        ['?', ..] => (Step::One, 1),
        ['\\', c, ..] => (Step::Char(*c), 2),
        ['[', rest @ ..] => {
            let mut end = 0;
            let mut members = 0;
            while let Some(c) = rest.get(end) {
                match c {
                    ']' if members > 0 => break,
                    '\\' => end += 2,
                    _ => end += 1,
                }
                members += 1;
            }
            let end = end.min(rest.len());
            (Step::Class(&rest[..end]), (end + 2).min(pattern.len()))
        }
        [c, ..] => (Step::Char(*c), 1),
        [] => (Step::Any, 1),
    }
}

fn class_has(members: &[char], c: char) -> bool {
    let (negated, mut rest) = match members {
        ['^', rest @ ..] if !rest.is_empty() => (true, rest),
        all => (false, all),
    };
    let mut found = false;
    while let Some((low, after)) = one(rest) {
        let (high, after) = match after {
            ['-', more @ ..] => one(more).map_or((low, more), |(high, after)| (high, after)),
            _ => (low, after),
        };
        found |= (low..=high).contains(&c);
        rest = after;
    }
    found != negated
}

/// The first character of a class, and what comes after it.
fn one(members: &[char]) -> Option<(char, &[char])> {
    match members {
        ['\\', c, rest @ ..] | [c, rest @ ..] => Some((*c, rest)),
        [] => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, out: &[&str], not: &[&str]) {
        let ignore = Ignore::parse(text).expect("patterns");
        let wrong: Vec<&&str> = out.iter().filter(|path| !ignore.leaves_out(path)).collect();
        assert!(wrong.is_empty(), "{text:?} does not leave out {wrong:?}");
        let wrong: Vec<&&str> = not.iter().filter(|path| ignore.leaves_out(path)).collect();
        assert!(wrong.is_empty(), "{text:?} leaves out {wrong:?}");
    }

    #[test]
    fn patterns_mean_what_the_docker_command_means() {
        check("node_modules", &["node_modules", "node_modules/a/b"], &["a/node_modules", "node_modules2"]);
        check("**/node_modules", &["node_modules", "a/b/node_modules/c"], &["a/node_modules2"]);
        check("*.md\n!README.md", &["a.md"], &["README.md", "a/b.md", "a.mdx"]);
        check("a/**/z", &["a/z", "a/b/c/z", "a/b/z/y"], &["z", "b/a/z"]);
        check("**", &["a", "a/b"], &[]);
        check("**\n!keep/**", &["a"], &["keep/b"]);
        check("/src/./x/../y/", &["src/y"], &["src/x"]);
        check("# comment\n\n  spaced  ", &["spaced"], &["# comment", "comment"]);
        check("tem?/[a-c]x\n[^q]\n\\*", &["temp/bx", "r", "*"], &["temp/dx", "q", "tem/bx", "ab"]);
        check("\u{feff}a", &["a"], &[]);
        check(".\n/", &[], &["a", "b/c"]);
        check("../../a", &["a"], &["b"]);
    }

    #[test]
    fn the_last_pattern_that_matches_counts() {
        check("a\n!a/b\na/b/c", &["a/x", "a/b/c/d"], &["a/b", "a/b/d"]);
        check("!a\na", &["a"], &[]);
    }

    #[test]
    fn hostile_patterns_are_an_error_or_cheap() {
        for text in ["!", "! ", "[a", "a\\", "[]", "[\\", &"x".repeat(1025), &"a\n".repeat(4097)] {
            Ignore::parse(text).expect_err("an error");
        }
        let deep = "**/".repeat(300) + "x";
        assert!(!Ignore::parse(&deep).expect("a pattern").leaves_out(&"a/".repeat(500)));
        let stars = "*a".repeat(500);
        assert!(!Ignore::parse(&stars).expect("a pattern").leaves_out(&"a".repeat(499)));
        assert!(Ignore::parse("[]a]").expect("a class").leaves_out("a"));
    }
}
