//! Walks a tree in the order of its names, leaving out what ignore files name and what version control keeps for
//! itself. It never follows a link, so it comes to an end.

use super::Failure;
use super::files::{Entry, Files, Kind, Trouble};
use super::locate::{below_workspace, join, missing};
use ignore::Match;
use ignore::gitignore::{Gitignore, GitignoreBuilder};

/// How many entries one call looks at.
pub(crate) const VISITED_MAX: usize = 200_000;
/// How deep a tree may be.
const DEPTH_MAX: usize = 128;
/// Bytes of an ignore file that are looked at.
const IGNORE_BYTES_MAX: usize = 256 * 1024;
/// Version control's own directories.
const VERSION_CONTROL: [&str; 4] = [".git", ".hg", ".svn", ".jj"];
/// In the order of their weight, the weightier later.
const IGNORE_FILES: [&str; 2] = [".gitignore", ".ignore"];

/// Whether ignore files are heeded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ignored {
    /// What they name is left out.
    LeftOut,
    /// They are not read, and version control's directories are walked as well.
    Included,
}

/// Something that the walk came by.
#[derive(Debug, Clone)]
pub(crate) struct Found {
    /// As the caller would name it.
    pub(crate) path: String,
    /// Where its path below the beginning of the walk begins.
    below: usize,
    pub(crate) kind: Kind,
    /// Names in the beginning have 1.
    pub(crate) depth: usize,
}

impl Found {
    /// The path below the beginning of the walk.
    pub(crate) fn below(&self) -> &str {
        self.path.get(self.below..).unwrap_or(&self.path)
    }
}

/// What the walk could not do.
#[derive(Debug, Default)]
pub(crate) struct Left {
    /// Directories that could not be listed.
    pub(crate) unreadable: Vec<String>,
    /// Names that are not Unicode.
    pub(crate) unspeakable: usize,
    /// Whether there is more than one call looks at.
    pub(crate) cut: bool,
}

impl Left {
    /// What an answer should add, if anything.
    pub(crate) fn note(&self) -> String {
        let mut notes = String::new();
        if self.cut {
            notes += &format!("\n[stopped after {VISITED_MAX} entries or {DEPTH_MAX} levels; give a narrower path]");
        }
        if let Some(first) = self.unreadable.first() {
            notes += &format!("\n[{} directories could not be read, among them \"{first}\"]", self.unreadable.len());
        }
        if self.unspeakable > 0 {
            notes += &format!("\n[{} names are not Unicode and were left out; a shell reaches them]", self.unspeakable);
        }
        notes
    }
}

struct Level {
    path: String,
    entries: std::vec::IntoIter<Entry>,
    /// How many sets of rules there were before this directory's.
    rules_before: usize,
}

struct Rules {
    /// Length of the directory's path, in the text of the paths found.
    prefix: usize,
    rules: Gitignore,
}

/// A walk under way.
pub(crate) struct Walk<'f> {
    files: &'f dyn Files,
    ignored: Ignored,
    depth_max: usize,
    below: usize,
    levels: Vec<Level>,
    rules: Vec<Rules>,
    /// The rules of directories above the beginning: their paths lead to it.
    above: Vec<(String, Gitignore)>,
    single: Option<Found>,
    visited: usize,
    pub(crate) left: Left,
}

impl<'f> Walk<'f> {
    /// Begins at a directory, or is that one file.
    pub(crate) fn new(
        files: &'f dyn Files,
        base: &str,
        ignored: Ignored,
        depth_max: usize,
    ) -> Result<Walk<'f>, Failure> {
        let base = if base == "/" { base } else { base.trim_end_matches('/') };
        let meta = files.meta(base).map_err(|trouble| missing(files, "search", base, trouble))?;
        let below = match base {
            "." => 0,
            "/" => 1,
            _ => base.len() + 1,
        };
        let mut walk = Walk {
            files,
            ignored,
            depth_max: depth_max.min(DEPTH_MAX),
            below,
            levels: Vec::new(),
            rules: Vec::new(),
            above: Vec::new(),
            single: None,
            visited: 0,
            left: Left::default(),
        };
        if meta.kind == Kind::Directory {
            if ignored == Ignored::LeftOut {
                walk.rules_above(base);
            }
            walk.enter(base.to_owned()).map_err(|trouble| missing(files, "list", base, trouble))?;
        } else {
            let below = base.rfind('/').map_or(0, |at| at + 1);
            walk.single = Some(Found { path: base.to_owned(), below, kind: meta.kind, depth: 1 });
        }
        Ok(walk)
    }

    /// Rules from the workspace's top down to the beginning; what lies above the workspace has no say.
    fn rules_above(&mut self, base: &str) {
        let Some(below) = below_workspace(self.files, base).map(|below| below.trim_start_matches("./")) else { return };
        let mut directory = ".".to_owned();
        let mut parts = below.split('/').filter(|part| !matches!(*part, "" | "."));
        let mut rest: Vec<&str> = parts.by_ref().collect();
        while !rest.is_empty() {
            for name in IGNORE_FILES {
                if let Some(rules) = self.read_rules(&join(&directory, name)) {
                    self.above.push((rest.join("/"), rules));
                }
            }
            directory = join(&directory, rest.remove(0));
        }
    }

    fn read_rules(&self, path: &str) -> Option<Gitignore> {
        let mut source = self.files.open(path).ok()?;
        let mut bytes = Vec::new();
        while bytes.len() < IGNORE_BYTES_MAX {
            let part = source.read_at(bytes.len() as u64, IGNORE_BYTES_MAX - bytes.len()).ok()?;
            if part.is_empty() {
                break;
            }
            bytes.extend_from_slice(&part);
        }
        if bytes.len() >= IGNORE_BYTES_MAX {
            // The beginning of a line is another pattern than the line.
            bytes.truncate(memchr::memrchr(b'\n', &bytes).unwrap_or(0));
        }
        let mut builder = GitignoreBuilder::new("");
        for line in String::from_utf8_lossy(&bytes).lines() {
            // A line that is no pattern rules nothing out, as in git.
            let _understood = builder.add_line(None, line);
        }
        builder.build().ok().filter(|rules| !rules.is_empty())
    }

    fn enter(&mut self, path: String) -> Result<(), Trouble> {
        let listing = self.files.list(&path)?;
        self.left.unspeakable += listing.unspeakable;
        let rules_before = self.rules.len();
        if self.ignored == Ignored::LeftOut {
            let prefix = if path == "." { 0 } else { join(&path, "").len() };
            for name in IGNORE_FILES {
                if listing.entries.iter().any(|entry| entry.name == name && entry.kind == Kind::File) {
                    let rules = self.read_rules(&join(&path, name));
                    self.rules.extend(rules.map(|rules| Rules { prefix, rules }));
                }
            }
        }
        self.levels.push(Level { path, entries: listing.entries.into_iter(), rules_before });
        Ok(())
    }

    fn is_ignored(&self, found: &Found) -> bool {
        let directory = found.kind == Kind::Directory;
        for Rules { prefix, rules } in self.rules.iter().rev() {
            match rules.matched(found.path.get(*prefix..).unwrap_or_default(), directory) {
                Match::None => {}
                Match::Ignore(_) => return true,
                Match::Whitelist(_) => return false,
            }
        }
        for (lead, rules) in self.above.iter().rev() {
            match rules.matched(format!("{lead}/{}", found.below()), directory) {
                Match::None => {}
                Match::Ignore(_) => return true,
                Match::Whitelist(_) => return false,
            }
        }
        false
    }
}

impl Iterator for Walk<'_> {
    type Item = Found;

    fn next(&mut self) -> Option<Found> {
        if let Some(single) = self.single.take() {
            return Some(single);
        }
        loop {
            let depth = self.levels.len();
            let level = self.levels.last_mut()?;
            let Some(entry) = level.entries.next() else {
                self.rules.truncate(level.rules_before);
                self.levels.pop();
                continue;
            };
            self.visited += 1;
            if self.visited > VISITED_MAX {
                self.left.cut = true;
                self.levels.clear();
                return None;
            }
            let found = Found { path: join(&level.path, &entry.name), below: self.below, kind: entry.kind, depth };
            if self.ignored == Ignored::LeftOut
                && (VERSION_CONTROL.contains(&entry.name.as_str()) || self.is_ignored(&found))
            {
                continue;
            }
            if found.kind == Kind::Directory {
                if depth >= self.depth_max {
                    self.left.cut |= depth >= DEPTH_MAX;
                } else if self.enter(found.path.clone()).is_err() {
                    self.left.unreadable.push(found.path.clone());
                }
            }
            return Some(found);
        }
    }
}
