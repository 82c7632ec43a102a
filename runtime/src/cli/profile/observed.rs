//! What a recorded run did, as far as a profile could grant it: files read, written and executed, hosts.
//! It never takes a refused act for one that a profile has to allow.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Component, Path, PathBuf};
use stockade_audit::query::{can_change, change_of, paths_of, program_of};
use stockade_audit::record::{Body, Evidence, FsOp, Leaf, LogPath, SocketOp, ToolOp, ToolUse, ToolUseOf, Was};

/// What is asked of a host: ports, and where requests were seen, methods and first parts of paths.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Host {
    pub(super) ports: BTreeSet<u16>,
    pub(super) methods: BTreeSet<String>,
    pub(super) paths: BTreeSet<String>,
}

/// How a file was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Write {
    /// It was there, and its content was changed.
    InPlace,
    /// A directory was to be made; where there is one, nothing was.
    Directory,
    /// Its name, or the name of one beside it, was made, moved or removed.
    Named,
}

/// What a run did. Paths are absolute, or relative to the workspace.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Observed {
    pub(super) reads: BTreeSet<PathBuf>,
    pub(super) writes: BTreeMap<PathBuf, Write>,
    pub(super) execs: BTreeSet<PathBuf>,
    pub(super) hosts: BTreeMap<String, Host>,
    /// What was asked for and not granted, and how often.
    pub(super) refused: BTreeMap<String, u64>,
}

impl Observed {
    /// Takes over what a record says.
    pub(super) fn take(&mut self, leaf: &Leaf) {
        if paths_of(&leaf.body).chain(program_of(&leaf.body)).any(|path| path.printable().as_bytes() != path.0) {
            // A profile takes no such name, and an attacker chose it: whoever reads the profile is told of it.
            self.refuse("a file whose name no profile can have".to_owned());
            return;
        }
        if let Body::FsOpen(open) = &leaf.body {
            let Some(path) = plain(&open.path) else { return };
            match (open.errno.is_none_or(|errno| errno == 0), can_change(open)) {
                (true, false) => drop(self.reads.insert(path)),
                (true, true) => {
                    // Where the recorder opened it, it says whether the file was made; where it did not, it could have been.
                    let asked = |flags: &[&str]| open.fl.split('|').any(|flag| flags.contains(&flag));
                    let unknown = leaf.evidence < Evidence::Performed && asked(&["CREAT"]);
                    let made = open.was == Some(Was::Absent) || asked(&["EXCL", "TMPFILE"]) || unknown;
                    self.write(path, if made { Write::Named } else { Write::InPlace });
                }
                // Files that are not there are looked for all the time.
                (false, false) => {}
                (false, true) => self.refuse(format!("write {}", path.display())),
            }
        } else if let Some((op, path, to)) = change_of(&leaf.body) {
            let how = match op {
                FsOp::Chmod | FsOp::Chown | FsOp::Utimes | FsOp::Truncate | FsOp::Setxattr | FsOp::Removexattr => {
                    Write::InPlace
                }
                FsOp::Mkdir => Write::Directory,
                FsOp::Unlink
                | FsOp::Rmdir
                | FsOp::Rename
                | FsOp::Exchange
                | FsOp::Link
                | FsOp::Symlink
                | FsOp::Mknod => Write::Named,
            };
            let other = to.filter(|_| matches!(op, FsOp::Rename | FsOp::Exchange));
            for path in [Some(path), other].into_iter().flatten().filter_map(plain) {
                self.write(path, how);
            }
        } else if let Body::ToolUse(used) = &leaf.body {
            self.take_use(used);
        } else if let Body::ProcExec(exec) = &leaf.body {
            let paths = [exec.exe.as_ref(), exec.exe.as_ref().and(exec.asked.as_ref())];
            self.execs.extend(paths.into_iter().flatten().filter_map(plain));
        } else {
            self.take_network(leaf);
        }
    }

    /// A tool's use that is not a change of names or properties.
    fn take_use(&mut self, used: &ToolUse) {
        let Some(path) = used.path.as_ref().and_then(plain) else { return };
        match (used.op.of(), used.errno, used.op) {
            // A directory stands for all that was read below it.
            (ToolUseOf::Reading, None, _) => drop(self.reads.insert(path)),
            (ToolUseOf::Change, None, ToolOp::Open) => {
                self.write(path, if used.was.is_some() { Write::Named } else { Write::InPlace });
            }
            // Files that are not there, or may not be written, are asked for only by who wants to write.
            (ToolUseOf::Change, Some(_), _) => self.refuse(format!("write {}", path.display())),
            (ToolUseOf::Reading | ToolUseOf::Writing | ToolUseOf::Change, _, _)
            | (ToolUseOf::Net | ToolUseOf::Aside | ToolUseOf::Other, _, _) => {}
        }
    }

    fn take_network(&mut self, leaf: &Leaf) {
        if let Body::NetOpen(open) = &leaf.body {
            self.hosts.entry(open.host.clone()).or_default().ports.insert(open.port);
        } else if let Body::NetRequest(request) = &leaf.body {
            let host = self.hosts.entry(request.host.clone()).or_default();
            host.ports.insert(request.port);
            host.methods.insert(request.method.clone());
            host.paths.insert(first_part(&request.path));
        } else if let Body::NetRefuse(refuse) = &leaf.body {
            let port = refuse.port.map_or_else(String::new, |port| format!(":{port}"));
            self.refuse(format!("connect {}{port}", refuse.host));
        } else if let Body::NetAsk(ask) = &leaf.body
            && ask.op == SocketOp::Connect
            && ask.addr.starts_with("unix:/")
            && !ask.addr.starts_with("unix:/tmp/")
        {
            self.refuse(format!("connect {}", ask.addr));
        }
    }

    fn write(&mut self, path: PathBuf, how: Write) {
        let known = self.writes.entry(path).or_insert(how);
        *known = (*known).max(how);
    }

    fn refuse(&mut self, what: String) {
        *self.refused.entry(what).or_default() += 1;
    }
}

/// A path that a profile could name: UTF-8, without `..`, and not of the kernel's own file systems.
fn plain(path: &LogPath) -> Option<PathBuf> {
    let path = Path::new(std::str::from_utf8(&path.0).ok()?);
    let kernel = ["/proc", "/sys", "/dev", "/tmp", "/var/tmp", "/run"].iter().any(|own| path.starts_with(own));
    let whole =
        path.components().all(|part| matches!(part, Component::Normal(_) | Component::RootDir | Component::CurDir));
    let memory =
        path.as_os_str().to_string_lossy().contains("memfd:") || path.to_string_lossy().ends_with(" (deleted)");
    (whole && !kernel && !memory).then(|| path.components().filter(|part| *part != Component::CurDir).collect())
}

/// `/v1/items/7` as `/v1/**`: the requests of the next run have other numbers.
fn first_part(path: &str) -> String {
    let mut parts = path.trim_start_matches('/').splitn(2, '/');
    let first = parts.next().unwrap_or_default();
    if parts.next().is_some() { format!("/{first}/**") } else { format!("/{first}") }
}
