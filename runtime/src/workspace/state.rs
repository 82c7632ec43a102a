//! The layer's own files: what it is, what was seen of the host, what is settled. Versioned, strict, bounded.
//! It never holds content of the workspace, and is never inside what a guest can reach.

use super::change::{Change, Changes, Delta, Stamp};
use super::door::Time;
use super::error::{Result, WorkspaceError};
use super::node::{Content, Digest};
use super::path::RelPath;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, BufWriter, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// Version of every file in the state; another one is refused.
pub(super) const VERSION: u32 = 1;
/// Longest `layer.json`, bytes.
const META_BYTES_MAX: u64 = 64 * 1024;
/// Longest line of a list: a path takes three bytes per byte at worst, and attributes come on top.
const LINE_BYTES_MAX: u64 = 1024 * 1024;
/// Most lines that a list may have.
pub(super) const LINES_MAX: usize = 4_000_000;
const _: () = assert!(LINE_BYTES_MAX > 3 * super::path::PATH_BYTES_MAX as u64 + 4096);

/// `layer.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Meta {
    pub(super) version: u32,
    pub(super) mode: super::Mode,
    pub(super) method: super::Method,
    pub(super) workspace: String,
    pub(super) started: (i64, u32),
}

pub(super) type StampRec = (u64, u64, u64, i64, u32, i64, u32);

pub(super) fn stamp_rec(stamp: &Stamp) -> StampRec {
    (stamp.dev, stamp.ino, stamp.size, stamp.mtime.s, stamp.mtime.ns, stamp.ctime.s, stamp.ctime.ns)
}

pub(super) fn stamp_of(rec: StampRec) -> Stamp {
    let (dev, ino, size, ms, mns, cs, cns) = rec;
    Stamp { dev, ino, size, mtime: Time { s: ms, ns: mns }, ctime: Time { s: cs, ns: cns } }
}

/// A line of `seen.jsonl`: the host as it was when a change of the path was first seen.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct SeenRec {
    path: String,
    host: Option<StampRec>,
    before: Option<String>,
    layer: Option<StampRec>,
    after: Option<String>,
    conflicting: bool,
}

/// A line of `settled.jsonl` and of `baseline.jsonl`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct SettledRec {
    path: String,
    layer: Option<StampRec>,
    host: Option<StampRec>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    reopened: bool,
}

/// See [`SeenRec`].
#[derive(Debug, Clone)]
pub(super) struct Seen {
    pub(super) host: Option<Stamp>,
    pub(super) before: Option<Digest>,
    pub(super) layer: Option<Stamp>,
    pub(super) after: Option<Digest>,
    pub(super) conflicting: bool,
}

impl Seen {
    /// The same for a layer whose entries were not looked at yet.
    pub(super) fn forgetting_the_layer(&self) -> Self {
        Self { layer: None, after: None, ..self.clone() }
    }
}

/// Both sides right after an apply: as long as the layer's is this, there is nothing to apply again.
#[derive(Debug, Clone)]
pub(super) struct Settled {
    pub(super) layer: Option<Stamp>,
    pub(super) host: Option<Stamp>,
}

/// Everything remembered of a layer.
#[derive(Debug, Default)]
pub(super) struct Memory {
    pub(super) seen: HashMap<RelPath, Seen>,
    pub(super) settled: HashMap<RelPath, Settled>,
    /// Host entries that an undo put there: ours, though younger than the session.
    pub(super) restored: HashMap<RelPath, Option<Stamp>>,
    /// Copy method only: every entry of the copy as it was made.
    pub(super) baseline: HashMap<RelPath, Option<Stamp>>,
}

impl Memory {
    pub(super) fn load(state: &Path) -> Result<Self> {
        let mut memory = Self::default();
        read_lines(&state.join("seen.jsonl"), |rec: SeenRec| {
            let digest = |text: Option<String>| text.map(|text| Digest::parse(&text).ok_or("digest")).transpose();
            let seen = Seen {
                host: rec.host.map(stamp_of),
                before: digest(rec.before)?,
                layer: rec.layer.map(stamp_of),
                after: digest(rec.after)?,
                conflicting: rec.conflicting,
            };
            memory.seen.insert(RelPath::decode(&rec.path).ok_or("path")?, seen);
            Ok(())
        })?;
        read_lines(&state.join("settled.jsonl"), |rec: SettledRec| {
            let path = RelPath::decode(&rec.path).ok_or("path")?;
            let settled = Settled { layer: rec.layer.map(stamp_of), host: rec.host.map(stamp_of) };
            if rec.reopened {
                memory.settled.remove(&path);
                memory.restored.insert(path, settled.host);
            } else {
                memory.restored.remove(&path);
                memory.settled.insert(path, settled);
            }
            Ok(())
        })?;
        read_lines(&state.join("baseline.jsonl"), |rec: SettledRec| {
            memory.baseline.insert(RelPath::decode(&rec.path).ok_or("path")?, rec.layer.map(stamp_of));
            Ok(())
        })?;
        Ok(memory)
    }
}

/// Rewrites `seen.jsonl` with what `changes` saw, keeping the older view of the host where there is one.
///
/// A call that changed nothing new costs no write: replacing the file waits for the disk.
pub(super) fn write_seen(state: &Path, changes: &Changes, memory: &Memory) -> Result<()> {
    let path = state.join("seen.jsonl");
    let mut lines = Vec::new();
    let mut records = changes.list.iter().map(|change| seen_rec(change, memory.seen.get(&change.path)));
    records.try_for_each(|record| write_line(&mut lines, &record)).map_err(|error| io("write", &path, &error))?;
    let kept = match std::fs::read(&path) {
        Ok(kept) => kept,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Vec::new(),
        Err(error) => return Err(io("read", &path, &error)),
    };
    if kept == lines { Ok(()) } else { replace(&path, |out| out.write_all(&lines)) }
}

/// Writes `seen.jsonl` of a layer that has none yet.
pub(super) fn write_remembered<'a>(state: &Path, seen: impl Iterator<Item = (&'a RelPath, Seen)>) -> Result<()> {
    let text = |digest: Option<Digest>| digest.map(|digest| digest.to_string());
    replace(&state.join("seen.jsonl"), |out| {
        for (path, seen) in seen {
            let rec = SeenRec {
                path: path.encode(),
                host: seen.host.as_ref().map(stamp_rec),
                before: text(seen.before),
                layer: seen.layer.as_ref().map(stamp_rec),
                after: text(seen.after),
                conflicting: seen.conflicting,
            };
            write_line(out, &rec)?;
        }
        Ok(())
    })
}

fn seen_rec(change: &Change, older: Option<&Seen>) -> SeenRec {
    let text = |digest: Option<Digest>| digest.map(|digest| digest.to_string());
    let now = change.before().and_then(super::node::Node::sha256);
    let (host, before, conflicting) = match older {
        Some(seen) => (seen.host, seen.before, seen.conflicting),
        None => (change.host, now, change.conflict.is_some()),
    };
    let after = match &change.delta {
        Delta::Created(node) | Delta::Changed { after: node, .. } => match &node.content {
            Content::File { sha256, .. } => *sha256,
            Content::Directory | Content::Symlink { .. } | Content::Fifo | Content::Socket | Content::Device => None,
        },
        Delta::Deleted(_) => None,
    };
    SeenRec {
        path: change.path.encode(),
        host: host.as_ref().map(stamp_rec),
        before: text(before),
        layer: change.layer.as_ref().map(stamp_rec),
        after: text(after),
        conflicting,
    }
}

/// Whether paths become settled or pending again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Settle {
    Settled,
    Reopened,
}

/// Appends to `settled.jsonl`, durably. A torn last line is what a crash leaves, and is cut off by the next reader.
pub(super) fn append_settled(
    state: &Path,
    settle: Settle,
    entries: impl Iterator<Item = (RelPath, Settled)>,
) -> Result<()> {
    let path = state.join("settled.jsonl");
    let mut options = OpenOptions::new();
    let file = options.append(true).create(true).mode(0o600).open(&path).map_err(|e| io("open", &path, &e))?;
    let mut out = BufWriter::new(&file);
    // A torn line of a crash must not swallow the first line of ours; readers skip empty lines.
    out.write_all(b"\n").map_err(|e| io("write", &path, &e))?;
    for (entry, settled) in entries {
        let rec = SettledRec {
            path: entry.encode(),
            layer: settled.layer.as_ref().map(stamp_rec),
            host: settled.host.as_ref().map(stamp_rec),
            reopened: settle == Settle::Reopened,
        };
        write_line(&mut out, &rec).map_err(|e| io("write", &path, &e))?;
    }
    out.flush().map_err(|e| io("write", &path, &e))?;
    drop(out);
    file.sync_data().map_err(|e| io("sync", &path, &e))
}

/// Writes `baseline.jsonl`.
pub(super) fn write_baseline(state: &Path, entries: &[(RelPath, Stamp)]) -> Result<()> {
    replace(&state.join("baseline.jsonl"), |out| {
        entries.iter().try_for_each(|(path, stamp)| {
            let rec = SettledRec { path: path.encode(), layer: Some(stamp_rec(stamp)), host: None, reopened: false };
            write_line(out, &rec)
        })
    })
}

/// Not on disk before [`sync_meta`]: until the session's end, the layer is of no use after a power cut.
pub(super) fn write_meta(state: &Path, meta: &Meta) -> Result<()> {
    replace_as(&state.join("layer.json"), Sync::Later, |out| write_line(out, meta))
}

pub(super) fn sync_meta(state: &Path) -> Result<()> {
    let path = state.join("layer.json");
    File::open(&path).and_then(|file| file.sync_data()).map_err(|e| io("sync", &path, &e))
}

pub(super) fn read_meta(state: &Path) -> Result<Meta> {
    let path = state.join("layer.json");
    let file = File::open(&path).map_err(|e| io("open", &path, &e))?;
    let mut text = String::new();
    file.take(META_BYTES_MAX + 1).read_to_string(&mut text).map_err(|e| io("read", &path, &e))?;
    if text.len() as u64 > META_BYTES_MAX {
        return Err(corrupt(&path, "it is too long"));
    }
    /// Read before anything else, so that a newer version gets its own message.
    #[derive(Deserialize)]
    struct Version {
        version: u32,
    }
    let version: Version = serde_json::from_str(&text).map_err(|e| corrupt(&path, e))?;
    if version.version != VERSION {
        return Err(corrupt(&path, format!("its version is {}, this program knows {VERSION}", version.version)));
    }
    serde_json::from_str(&text).map_err(|e| corrupt(&path, e))
}

pub(super) fn write_line(out: &mut impl Write, rec: &impl Serialize) -> std::io::Result<()> {
    serde_json::to_writer(&mut *out, rec)?;
    out.write_all(b"\n")
}

/// Writes a file beside `path`, makes it durable, and puts it in place.
pub(super) fn replace(path: &Path, fill: impl FnOnce(&mut BufWriter<&File>) -> std::io::Result<()>) -> Result<()> {
    replace_as(path, Sync::Now, fill)
}

/// When a replaced file is to be on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sync {
    Now,
    Later,
}

fn replace_as(path: &Path, sync: Sync, fill: impl FnOnce(&mut BufWriter<&File>) -> std::io::Result<()>) -> Result<()> {
    let temporary = path.with_extension("new");
    let mut options = OpenOptions::new();
    let file = options
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&temporary)
        .map_err(|e| io("create", &temporary, &e))?;
    let mut out = BufWriter::new(&file);
    fill(&mut out).and_then(|()| out.flush()).map_err(|e| io("write", &temporary, &e))?;
    drop(out);
    if sync == Sync::Now {
        file.sync_data().map_err(|e| io("sync", &temporary, &e))?;
    }
    std::fs::rename(&temporary, path).map_err(|e| io("replace", path, &e))
}

/// Reads a list line by line; an absent file is empty, a torn last line is dropped.
pub(super) fn read_lines<R: DeserializeOwned>(
    path: &Path,
    mut each: impl FnMut(R) -> std::result::Result<(), &'static str>,
) -> Result<()> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(io("open", path, &error)),
    };
    let mut input = BufReader::new(file);
    let mut line = Vec::new();
    for count in 0.. {
        line.clear();
        let read =
            input.by_ref().take(LINE_BYTES_MAX).read_until(b'\n', &mut line).map_err(|e| io("read", path, &e))?;
        if read == 0 {
            break;
        }
        if count >= LINES_MAX || (read as u64 >= LINE_BYTES_MAX && line.last() != Some(&b'\n')) {
            return Err(corrupt(path, "it is too long"));
        }
        match serde_json::from_slice(&line) {
            _ if line == b"\n" => {}
            Ok(rec) => each(rec).map_err(|what| corrupt(path, format!("line {}: bad {what}", count + 1)))?,
            Err(error) if error.is_eof() => {}
            Err(error) => return Err(corrupt(path, format!("line {}: {error}", count + 1))),
        }
    }
    Ok(())
}

pub(super) fn corrupt(path: &Path, why: impl std::fmt::Display) -> WorkspaceError {
    WorkspaceError::Corrupt { act: "read", object: path.display().to_string(), why: why.to_string() }
}

pub(super) fn io(act: &'static str, path: &Path, error: &std::io::Error) -> WorkspaceError {
    let errno = rustix::io::Errno::from_io_error(error).unwrap_or(rustix::io::Errno::IO);
    WorkspaceError::System { act, object: path.display().to_string(), errno }
}
