//! Whose kernel a sandbox comes up on: the host's, or one of a container's own.
//! It never asks a kernel: the way by which a container's first process came in tells.

/// Whose kernel it is, on which the whole of a sandbox depends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kernel {
    /// The host's.
    Host,
    /// gVisor's, a program between a container and the host's kernel. It takes descriptors of the host's and gives none of
    /// its own, mounts by name alone, makes namespaces one after the other, and has no Landlock, no handles of processes
    /// and nobody to tell of system calls.
    Gvisor,
}

/// Why a container on gVisor has no recorder.
pub(crate) const NOTHING_LEAVES: &str = "gVisor lets no descriptor out of a container";

/// What is wrong with a gVisor that makes no mount namespaces.
pub(crate) const GVISOR_TOO_OLD: &str =
    "this gVisor (runsc) is too old: it has no mount namespaces; use a release of 2024 or later";
