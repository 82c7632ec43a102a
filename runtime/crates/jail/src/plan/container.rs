//! What a container's engine is asked for, as a step of the plan.
//! It never says more than the engine is told: hardening that is the same for every container is not a choice, and not here.

use super::{Access, path_text};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::path::PathBuf;

/// A container of this image, with our program as its first process, and nothing of the host but these mounts. Always: a
/// read-only root, no capability, `no_new_privs`, no network, ipc and control group namespaces of its own, no device but
/// the harmless ones, no restart.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Container {
    /// The engine's id of the image: the digest of its configuration, and by that of its content.
    pub image: String,
    /// The OCI runtime, where it is not to be the engine's default.
    pub runtime: Option<String>,
    /// User of every process in it.
    pub uid: u32,
    /// Group of every process in it.
    pub gid: u32,
    /// Memory of the container, MiB.
    pub memory_mib: Option<u64>,
    /// Processes and threads in it, ours included.
    pub pids: Option<u64>,
    /// What of the host is shown.
    pub mounts: Vec<Shown>,
    /// SHA-256 of the list of system calls that the engine installs, hex.
    pub seccomp_sha256: String,
}

/// A path of the host in a container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shown {
    /// On the host.
    #[serde(with = "path_text")]
    pub source: PathBuf,
    /// In the container.
    #[serde(with = "path_text")]
    pub target: PathBuf,
    /// Writable or not.
    pub access: Access,
}

impl fmt::Display for Container {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a container of {}, by ", self.image)?;
        match &self.runtime {
            Some(runtime) => write!(f, "{runtime}")?,
            None => f.write_str("the engine's default runtime")?,
        }
        write!(f, ", as {}:{}", self.uid, self.gid)?;
        if let Some(memory_mib) = self.memory_mib {
            write!(f, ", memory {memory_mib} MiB")?;
        }
        if let Some(pids) = self.pids {
            write!(f, ", pids {pids}")?;
        }
        write!(f, "; seccomp {}", self.seccomp_sha256)?;
        self.mounts.iter().try_for_each(|shown| write!(f, "\n        {shown}"))
    }
}

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let access = match self.access {
            Access::ReadOnly => "read-only",
            Access::ReadWrite => "writable",
        };
        let (source, target) = (path_text::escape(&self.source), path_text::escape(&self.target));
        if source == target {
            write!(f, "\"{source}\", {access}")
        } else {
            write!(f, "\"{source}\" at \"{target}\", {access}")
        }
    }
}
