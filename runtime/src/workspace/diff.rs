//! Renders changes for people and for `git apply`.
//! It never writes a guest's control characters to a terminal, and never reads a file beyond the limit.
//!
//! The header says `diff --git`, not a name of our own: that is what makes `git apply` honour modes, renames, empty
//! files and links.

use super::change::{Change, Changes};
use super::error::{Named, Result, WorkspaceError};
use super::layer::Layer;
use super::node::{self, Content, Lend, Node};
use super::path::{RelPath, quote};
use super::text::{self, Line};
use rustix::io::Errno;
use std::collections::{BTreeMap, HashMap};
use std::io::{self, Read, Write};

/// Whether lines are coloured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Colour {
    /// No.
    Never,
    /// Yes.
    Always,
}

/// What becomes of control characters in content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Controls {
    /// As they are: for files and programs, never for a terminal.
    Raw,
    /// Spelled out.
    Visible,
}

/// How to render. Colour implies visible controls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Render {
    /// Colour.
    pub colour: Colour,
    /// Control characters.
    pub controls: Controls,
    /// Unchanged lines around each change.
    pub context_lines: u32,
    /// A file with a side larger than this is named with its sizes only, bytes.
    pub text_bytes_max: u64,
}

impl Default for Render {
    /// A patch: no colour, raw, three lines of context, 8 MiB.
    fn default() -> Self {
        Self { colour: Colour::Never, controls: Controls::Raw, context_lines: 3, text_bytes_max: 8 * 1024 * 1024 }
    }
}

/// One line of `--stat`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stat {
    /// Where.
    pub path: RelPath,
    /// In one word.
    pub kind: super::ChangeKind,
    /// Lines added and removed; `None` for what is not text or too large.
    pub lines: Option<(u32, u32)>,
    /// Bytes before and after, of files.
    pub bytes: (u64, u64),
}

/// Which of the two trees of a layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Half {
    /// The workspace, as it is now.
    Before,
    /// What the session made of it.
    After,
}

/// One side of a file as a patch sees it.
enum Side {
    Absent,
    Text(Vec<u8>),
    Opaque(u64),
}

impl Layer {
    /// Writes the changes as a unified diff, those at or below `paths` only unless that is empty.
    ///
    /// # Errors
    /// A file cannot be read, or `out` cannot be written.
    pub fn render(&self, changes: &Changes, paths: &[RelPath], render: &Render, out: &mut dyn Write) -> Result<()> {
        let renames = changes.renames();
        let arrivals: HashMap<&RelPath, &RelPath> = renames.iter().map(|(from, to)| (to, from)).collect();
        let mut page = Page { out, render };
        let shown = |path: &RelPath| paths.is_empty() || paths.iter().any(|wanted| path.is_within(wanted));
        for change in changes.list.iter().filter(|change| shown(&change.path)) {
            let arrival = arrivals.get(&change.path).copied().filter(|from| shown(from));
            let departs = renames.get(&change.path).is_some_and(shown);
            if !departs {
                self.render_one(change, arrival, changes, &mut page)?;
            }
        }
        for path in changes.unnameable.iter().filter(|path| shown(path)) {
            page.note(&format!("{path} holds entries too deep to be named")).map_err(cannot_write)?;
        }
        Ok(())
    }

    /// The numbers of `--stat`, sorted by path; directories are left out.
    ///
    /// # Errors
    /// A file cannot be read.
    pub fn stat(&self, changes: &Changes, text_bytes_max: u64) -> Result<Vec<Stat>> {
        let leaves = changes.list.iter().filter(|change| !is_only_dir(change));
        leaves
            .map(|change| {
                let (before, after) = self.sides(change, text_bytes_max)?;
                let lines = match (&before, &after) {
                    (Side::Opaque(_), _) | (_, Side::Opaque(_)) => None,
                    (before, after) => Some(text::counts(before.bytes(), after.bytes())),
                };
                let bytes = (before.length(), after.length());
                Ok(Stat { path: change.path.clone(), kind: change.kind(), lines, bytes })
            })
            .collect()
    }

    /// Writes [`Self::stat`] as a table with a sum.
    ///
    /// # Errors
    /// A file cannot be read, or `out` cannot be written.
    pub fn render_stat(&self, changes: &Changes, render: &Render, out: &mut dyn Write) -> Result<()> {
        let stats = self.stat(changes, render.text_bytes_max)?;
        write_stat(&stats, out).map_err(cannot_write)
    }

    /// The bytes of a regular file of a tree, when it is there, can be read and is not larger than `bytes_max`. In the
    /// tree of an overlay only what was changed is there.
    ///
    /// # Errors
    /// The tree or the file cannot be read.
    pub fn content(&self, half: Half, path: &RelPath, bytes_max: u64) -> Result<Option<Vec<u8>>> {
        let read = |root: &super::door::Dir| {
            let dir = root.walk_to_parent(path)?;
            let stat = dir.stat(path.name())?.filter(|stat| stat.kind == super::door::Kind::File);
            let Some(stat) = stat else { return Ok(None) };
            let mut bytes = Vec::new();
            let mut file =
                super::door::file(node::open_lending(&dir, path.name(), &stat, Lend::Never)?).take(bytes_max + 1);
            file.read_to_end(&mut bytes).map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))?;
            Ok((bytes.len() as u64 <= bytes_max).then_some(bytes))
        };
        let found = match half {
            Half::Before => read(&self.host),
            Half::After => read(&self.tree()?),
        };
        match found {
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::ACCESS | Errno::XDEV) => Ok(None),
            other => other.named("read", || path),
        }
    }

    fn render_one(
        &self,
        change: &Change,
        arrival: Option<&RelPath>,
        changes: &Changes,
        page: &mut Page<'_>,
    ) -> Result<()> {
        page.remarks(change).map_err(cannot_write)?;
        if is_only_dir(change) {
            return Ok(());
        }
        let (before, after) = self.sides(change, page.render.text_bytes_max)?;
        let rendered = match (change.before(), change.after(), arrival) {
            (_, Some(node), Some(from)) => {
                let source = changes.get(from).and_then(Change::before);
                page.rename(from, &change.path, source, node)
            }
            (Some(old), Some(new), None) if file_type(old) == file_type(new) => {
                page.modified(&change.path, old, new, &before, &after)
            }
            (old, new, None) | (old, new @ None, Some(_)) => {
                let gone = old.filter(|node| file_type(node).is_some());
                let come = new.filter(|node| file_type(node).is_some());
                gone.map_or(Ok(()), |node| page.deleted(&change.path, node, &before))
                    .and_then(|()| come.map_or(Ok(()), |node| page.created(&change.path, node, &after)))
            }
        };
        rendered.map_err(cannot_write)
    }

    fn sides(&self, change: &Change, limit: u64) -> Result<(Side, Side)> {
        let read = |root: &super::door::Dir, node: Option<&Node>, lend: Lend| {
            node.map_or(Ok(Side::Absent), |node| side(root, &change.path, node, limit, lend))
                .named("read", || &change.path)
        };
        Ok((read(&self.host, change.before(), Lend::Never)?, read(&self.tree()?, change.after(), Lend::Allowed)?))
    }
}

fn side(
    root: &super::door::Dir,
    path: &RelPath,
    node: &Node,
    limit: u64,
    lend: Lend,
) -> std::result::Result<Side, Errno> {
    match &node.content {
        Content::Symlink { target } => Ok(Side::Text(target.clone())),
        Content::File { size, .. } if *size > limit => Ok(Side::Opaque(*size)),
        Content::File { size, .. } => {
            let dir = root.walk_to_parent(path)?;
            let Some(stat) = dir.stat(path.name())? else { return Ok(Side::Absent) };
            let handle = match node::open_lending(&dir, path.name(), &stat, lend) {
                Err(Errno::ACCESS) => return Ok(Side::Opaque(*size)),
                other => other?,
            };
            let mut bytes = Vec::new();
            let mut file = super::door::file(handle).take(limit);
            file.read_to_end(&mut bytes).map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))?;
            Ok(if text::is_text(&bytes) { Side::Text(bytes) } else { Side::Opaque(*size) })
        }
        Content::Directory | Content::Fifo | Content::Socket | Content::Device => Ok(Side::Absent),
    }
}

impl Side {
    fn bytes(&self) -> &[u8] {
        match self {
            Self::Text(bytes) => bytes,
            Self::Absent | Self::Opaque(_) => &[],
        }
    }
    fn length(&self) -> u64 {
        match self {
            Self::Absent => 0,
            Self::Text(bytes) => bytes.len() as u64,
            Self::Opaque(size) => *size,
        }
    }
}

/// Where and how the diff is written.
struct Page<'a> {
    out: &'a mut dyn Write,
    render: &'a Render,
}

impl Page<'_> {
    /// What a patch cannot say: directories, special files, permissions beyond "executable", attributes, conflicts.
    fn remarks(&mut self, change: &Change) -> io::Result<()> {
        let path = &change.path;
        if change.conflict.is_some() {
            self.note(&format!("conflict: the host's {path} was changed meanwhile"))?;
        }
        for (node, what) in [(change.before(), "removed"), (change.after(), "new")] {
            let kind = node.and_then(|node| match node.content {
                Content::Directory => Some("directory"),
                Content::Fifo => Some("fifo"),
                Content::Socket => Some("socket"),
                Content::Device => Some("device"),
                Content::File { .. } | Content::Symlink { .. } => None,
            });
            let stays = change.before().is_some_and(Node::is_dir) && change.after().is_some_and(Node::is_dir);
            if let (Some(kind), false) = (kind, stays) {
                self.note(&format!("{what} {kind} {path}"))?;
            }
        }
        if let (Some(old), Some(new)) = (change.before(), change.after()) {
            if old.mode != new.mode && !old.same_metadata(new) {
                self.note(&format!("permissions {:04o} -> {:04o} of {path}", old.mode, new.mode))?;
            }
            if old.xattrs != new.xattrs {
                self.note(&format!("attributes of {path}"))?;
            }
        }
        Ok(())
    }

    fn modified(&mut self, path: &RelPath, old: &Node, new: &Node, before: &Side, after: &Side) -> io::Result<()> {
        let (old_mode, new_mode) = (git_mode(old), git_mode(new));
        if old_mode == new_mode && old.same_content(new) {
            return Ok(());
        }
        self.git_header(path, path)?;
        if old_mode != new_mode {
            self.header(&format!("old mode {old_mode}\nnew mode {new_mode}\n"))?;
        }
        if old.same_content(new) { Ok(()) } else { self.content(Some(path), Some(path), before, after) }
    }

    fn created(&mut self, path: &RelPath, node: &Node, after: &Side) -> io::Result<()> {
        self.git_header(path, path)?;
        self.header(&format!("new file mode {}\n", git_mode(node)))?;
        self.content(None, Some(path), &Side::Absent, after)
    }

    fn deleted(&mut self, path: &RelPath, node: &Node, before: &Side) -> io::Result<()> {
        self.git_header(path, path)?;
        self.header(&format!("deleted file mode {}\n", git_mode(node)))?;
        self.content(Some(path), None, before, &Side::Absent)
    }

    fn rename(&mut self, from: &RelPath, to: &RelPath, old: Option<&Node>, new: &Node) -> io::Result<()> {
        self.git_header(from, to)?;
        if let Some(old) = old.filter(|old| git_mode(old) != git_mode(new)) {
            self.header(&format!("old mode {}\nnew mode {}\n", git_mode(old), git_mode(new)))?;
        }
        self.header(&format!("similarity index 100%\nrename from {from}\nrename to {to}\n"))
    }

    fn content(&mut self, old: Option<&RelPath>, new: Option<&RelPath>, before: &Side, after: &Side) -> io::Result<()> {
        let name = |prefix: &[u8], path: Option<&RelPath>| {
            path.map_or_else(|| "/dev/null".to_owned(), |path| quote(prefix, path.as_bytes()))
        };
        let (a, b) = (name(b"a/", old), name(b"b/", new));
        if let (Side::Opaque(_), _) | (_, Side::Opaque(_)) = (before, after) {
            self.header(&format!("Binary files {a} and {b} differ\n"))?;
            return self.note(&format!("{} bytes -> {} bytes", before.length(), after.length()));
        }
        if before.bytes() == after.bytes() {
            return Ok(());
        }
        // A tab ends a name with spaces, as in git's own diffs; other tools stop at the space otherwise.
        let end = |name: &str| if name.contains(' ') && !name.starts_with('"') { "\t\n" } else { "\n" };
        self.header(&format!("--- {a}{}+++ {b}{}", end(&a), end(&b)))?;
        let context = self.render.context_lines;
        text::hunks(before.bytes(), after.bytes(), context, &mut |line, bytes| self.line(line, bytes))
    }

    fn git_header(&mut self, old: &RelPath, new: &RelPath) -> io::Result<()> {
        let (a, b) = (quote(b"a/", old.as_bytes()), quote(b"b/", new.as_bytes()));
        self.header(&format!("diff --git {a} {b}\n"))
    }

    fn header(&mut self, text: &str) -> io::Result<()> {
        text.split_inclusive('\n').try_for_each(|line| self.line(Line::Header, line.as_bytes()))
    }

    /// Starts with `#`: `git apply` passes over it, and nobody takes it for content.
    fn note(&mut self, text: &str) -> io::Result<()> {
        self.line(Line::Note, format!("# {text}\n").as_bytes())
    }

    fn line(&mut self, line: Line, bytes: &[u8]) -> io::Result<()> {
        let (sign, colour) = match line {
            Line::Header => ("", "\x1b[1m"),
            Line::Hunk => ("", "\x1b[36m"),
            Line::Context => (" ", ""),
            Line::Added => ("+", "\x1b[32m"),
            Line::Removed => ("-", "\x1b[31m"),
            Line::Note => ("", "\x1b[33m"),
        };
        let coloured = self.render.colour == Colour::Always && !colour.is_empty();
        let (text, ended) = match bytes.strip_suffix(b"\n") {
            Some(text) => (text, true),
            None => (bytes, false),
        };
        if coloured {
            self.out.write_all(colour.as_bytes())?;
        }
        self.out.write_all(sign.as_bytes())?;
        match (self.render.colour, self.render.controls) {
            (Colour::Never, Controls::Raw) => self.out.write_all(text)?,
            (Colour::Always, _) | (_, Controls::Visible) => text::write_visible(self.out, text)?,
        }
        if coloured {
            self.out.write_all(b"\x1b[m")?;
        }
        self.out.write_all(if ended { b"\n" } else { b"\n\\ No newline at end of file\n" })
    }
}

fn is_only_dir(change: &Change) -> bool {
    [change.before(), change.after()].into_iter().flatten().all(|node| file_type(node).is_none())
}

/// The type bits of a mode that git knows; `None` for what it does not track.
fn file_type(node: &Node) -> Option<&'static str> {
    match node.content {
        Content::File { .. } => Some("100"),
        Content::Symlink { .. } => Some("120"),
        Content::Directory | Content::Fifo | Content::Socket | Content::Device => None,
    }
}

/// git knows three modes.
fn git_mode(node: &Node) -> &'static str {
    match node.content {
        Content::Symlink { .. } => "120000",
        Content::File { .. } if node.is_executable() => "100755",
        Content::File { .. } | Content::Directory | Content::Fifo | Content::Socket | Content::Device => "100644",
    }
}

fn write_stat(stats: &[Stat], out: &mut dyn Write) -> io::Result<()> {
    const BAR_MAX: u32 = 40;
    let names: Vec<String> = stats.iter().map(|stat| stat.path.quoted()).collect();
    let width = names.iter().map(String::len).max().unwrap_or(0);
    let most = stats.iter().filter_map(|stat| stat.lines).map(|(a, r)| a.saturating_add(r)).max().unwrap_or(0);
    let scaled = |count: u32| {
        if most <= BAR_MAX {
            count
        } else {
            u32::try_from((u64::from(count) * u64::from(BAR_MAX)).div_ceil(u64::from(most))).unwrap_or(BAR_MAX)
        }
    };
    let mut sums: BTreeMap<&str, u64> = BTreeMap::new();
    for (stat, name) in stats.iter().zip(&names) {
        match stat.lines {
            Some((added, removed)) => {
                *sums.entry("+").or_default() += u64::from(added);
                *sums.entry("-").or_default() += u64::from(removed);
                let bar = "+".repeat(scaled(added) as usize) + &"-".repeat(scaled(removed) as usize);
                writeln!(out, " {name:width$} | {:>5} {bar}", added.saturating_add(removed))?;
            }
            None => writeln!(out, " {name:width$} |   Bin {} -> {} bytes", stat.bytes.0, stat.bytes.1)?,
        }
    }
    let sum = |sign| sums.get(sign).copied().unwrap_or(0);
    let files = stats.len();
    writeln!(out, " {files} changed, {} insertions(+), {} deletions(-)", sum("+"), sum("-"))
}

fn cannot_write(error: io::Error) -> WorkspaceError {
    let errno = Errno::from_io_error(&error).unwrap_or(Errno::IO);
    WorkspaceError::System { act: "write", object: "the diff".to_owned(), errno }
}
