//! A container as it is asked for: what there is to choose, and no more; how it is hardened is not among it.
//! It never asks an engine: what is wrong with a spec is said before anything is made.

use crate::error::{Error, Result, plain};
use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Component, Path, PathBuf};

/// Least memory that a container is made with, bytes: engines refuse less than 6 MiB.
const MEMORY_BYTES_MIN: u64 = 6 * 1024 * 1024;
/// Longest seccomp profile, bytes.
const SECCOMP_BYTES_MAX: usize = 1024 * 1024;
/// Label of every container of ours, by which they are found again.
pub const LABEL: &str = "io.stockade.container";

/// Sockets that engines and what they are made of usually serve: who reaches one has the machine.
const ENGINE_SOCKETS: [&str; 6] = [
    "/run/docker.sock",
    "/run/podman/podman.sock",
    "/run/containerd/containerd.sock",
    "/run/docker/containerd/containerd.sock",
    "/run/crio/crio.sock",
    "/run/buildkit/buildkitd.sock",
];

/// What may be done with a mount.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Reading. What is mounted below the source is not there: older engines would leave it writable.
    ReadOnly,
    /// Writing too.
    ReadWrite,
}

/// A directory, file or socket of this machine, inside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mount {
    /// Where it is here.
    pub source: PathBuf,
    /// Where it is inside.
    pub target: PathBuf,
    /// What may be done with it.
    pub access: Access,
}

/// A container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spec {
    /// Its name, which no other container of the engine has.
    pub name: String,
    /// The image, by its id.
    pub image_id: String,
    /// OCI runtime; the engine's default when it is none.
    pub runtime: Option<String>,
    /// User and group of its first process, inside.
    pub user: (u32, u32),
    /// Its first process: program and arguments.
    pub entrypoint: Vec<String>,
    /// What of this machine is inside.
    pub mounts: Vec<Mount>,
    /// Memory without swap, bytes.
    pub memory_bytes: Option<u64>,
    /// Processes and threads.
    pub pids: Option<u64>,
    /// Seccomp profile in the JSON that OCI engines take.
    pub seccomp: String,
    /// Labels, beside our own.
    pub labels: BTreeMap<String, String>,
}

/// What is wrong with a spec, as an error of the operator's.
pub(super) fn check(spec: &Spec, socket: &Path) -> Result<()> {
    let is_word = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-');
    let (first, rest) = spec.name.as_bytes().split_at_checked(1).unwrap_or_default();
    if !first.iter().all(u8::is_ascii_alphanumeric) || rest.is_empty() || !rest.iter().copied().all(is_word) {
        return Err(Error::operator("container: its name has characters that engines refuse"));
    }
    if spec.user.0 == 0 || spec.user.1 == 0 {
        return Err(Error::operator(format!("container \"{}\": it would run as root", spec.name))
            .hint("take an image and a user that are not root"));
    }
    let Some(id) = spec.image_id.strip_prefix("sha256:").filter(|hex| super::reference::is_hex(hex)) else {
        return Err(Error::operator(format!("container \"{}\": its image is not named by its id", spec.name)));
    };
    debug_assert_eq!(id.len(), 64);
    if spec.entrypoint.first().is_none_or(|program| !program.starts_with('/')) {
        return Err(Error::operator(format!("container \"{}\": its program is not an absolute path", spec.name)));
    }
    if spec.memory_bytes.is_some_and(|bytes| bytes < MEMORY_BYTES_MIN) || spec.pids == Some(0) {
        return Err(Error::operator(format!("container \"{}\": its limits are below what can start", spec.name)));
    }
    check_seccomp(spec)?;
    spec.mounts.iter().try_for_each(|mount| check_mount(mount, socket))
}

fn check_seccomp(spec: &Spec) -> Result<()> {
    let is_object = spec.seccomp.len() <= SECCOMP_BYTES_MAX
        && serde_json::from_str::<serde_json::Map<String, serde_json::Value>>(&spec.seccomp)
            .is_ok_and(|profile| profile.contains_key("defaultAction"));
    // Engines take the word `unconfined` in the same place.
    if is_object { Ok(()) } else { Err(Error::operator("the seccomp profile of a container is none")) }
}

fn check_mount(mount: &Mount, socket: &Path) -> Result<()> {
    let source = mount.source.display();
    let is_plain = |path: &Path| {
        path.is_absolute()
            && path.to_str().is_some_and(|text| !text.contains(|c: char| c.is_control()))
            && path.components().all(|part| matches!(part, Component::RootDir | Component::Normal(_)))
    };
    if !is_plain(&mount.target) || mount.target == Path::new("/") || !is_plain(&mount.source) {
        return Err(Error::operator(format!(
            "mount of \"{source}\" at \"{}\": both are absolute paths in text, without dots",
            mount.target.display()
        )));
    }
    let real = mount.source.canonicalize().map_err(|error| {
        Error::operator(format!("mount of \"{source}\": {}", plain(&error)))
            .hint("a source has to be there before the container is")
    })?;
    let is_own = |path: &Path| is_socket_within(path, &real);
    if let Some(reached) = std::iter::once(socket).chain(ENGINE_SOCKETS.iter().map(Path::new)).find(|path| is_own(path))
    {
        let what = format!(
            "mount of \"{source}\": it would bring the container engine's socket \"{}\" inside",
            reached.display()
        );
        return Err(Error::operator(what).hint("who reaches that socket has this machine: mount less"));
    }
    Ok(())
}

/// Whether a socket is a mount's source, by whatever name, or lies below it.
fn is_socket_within(socket: &Path, source: &Path) -> bool {
    let Ok(real) = socket.canonicalize() else { return false };
    let same = |a: &Path, b: &Path| match (a.metadata(), b.metadata()) {
        (Ok(a), Ok(b)) => (a.dev(), a.ino()) == (b.dev(), b.ino()),
        (Ok(_) | Err(_), _) => false,
    };
    // By inode too: a directory may be reached by a bind mount, and a socket by a hard link.
    real.ancestors().any(|above| above == source || same(above, source))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec() -> Spec {
        Spec {
            name: "stockade-1".to_owned(),
            image_id: format!("sha256:{}", "a".repeat(64)),
            runtime: None,
            user: (1000, 1000),
            entrypoint: vec!["/init".to_owned()],
            mounts: Vec::new(),
            memory_bytes: None,
            pids: None,
            seccomp: r#"{"defaultAction":"SCMP_ACT_ERRNO"}"#.to_owned(),
            labels: BTreeMap::new(),
        }
    }

    #[track_caller]
    fn refused(change: impl FnOnce(&mut Spec), part: &str) {
        let mut changed = spec();
        change(&mut changed);
        let error = check(&changed, Path::new("/nowhere")).expect_err("it is refused").to_string();
        assert!(error.contains(part), "{error}");
    }

    fn mount(source: &str, target: &str) -> Mount {
        Mount { source: source.into(), target: target.into(), access: Access::ReadOnly }
    }

    #[test]
    fn a_spec_that_would_be_weaker_is_refused() {
        check(&spec(), Path::new("/nowhere")).expect("a good one");
        refused(|spec| spec.user.0 = 0, "root");
        refused(|spec| spec.user.1 = 0, "root");
        refused(|spec| spec.seccomp = "unconfined".to_owned(), "seccomp");
        refused(|spec| spec.seccomp = "{}".to_owned(), "seccomp");
        refused(|spec| spec.image_id = "debian".to_owned(), "id");
        refused(|spec| spec.name = "../x".to_owned(), "name");
        refused(|spec| spec.name = String::new(), "name");
        refused(|spec| spec.entrypoint = vec!["init".to_owned()], "absolute");
        refused(|spec| spec.entrypoint.clear(), "absolute");
        refused(|spec| spec.memory_bytes = Some(0), "limits");
        refused(|spec| spec.pids = Some(0), "limits");
    }

    #[test]
    fn a_mount_that_is_missing_or_misleading_is_refused() {
        refused(|spec| spec.mounts.push(mount("/no/such/place", "/x")), "no such file");
        refused(|spec| spec.mounts.push(mount("/tmp", "/x/../..")), "without dots");
        refused(|spec| spec.mounts.push(mount("tmp", "/x")), "absolute");
        refused(|spec| spec.mounts.push(mount("/tmp", "/")), "absolute");
        refused(|spec| spec.mounts.push(mount("/tmp", "/a\nb")), "absolute");
    }
}
