//! What there is at a path where a plan will be carried out: the facts that the plan builder asks for, so that building is
//! pure.
//! It never opens a file for reading and never changes anything.

use std::path::Path;
pub use stockade_jail::Seen;

/// Looks at the host, at an image, or at a picture of one in tests.
pub trait Host {
    /// What is at this path, its last component not followed.
    fn look(&self, path: &Path) -> Seen;

    /// Whether a service of this machine may keep a socket at this path or below.
    fn has_sockets(&self, path: &Path) -> bool {
        !is_system(path)
    }

    /// Whether a path may be missing although a grant needs it: where the system is somebody else's to compose.
    fn may_lack(&self, _path: &Path) -> bool {
        false
    }
}

/// Directories that only the system's packages write: no service keeps its socket there.
const SYSTEM: [&str; 9] = ["/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32", "/etc", "/nix/store"];

/// Whether a path is in one of them.
pub fn is_system(path: &Path) -> bool {
    SYSTEM.iter().any(|system| path.starts_with(system))
}

/// The machine that we run on.
#[derive(Debug, Clone, Copy)]
pub struct ThisHost;

impl Host for ThisHost {
    fn look(&self, path: &Path) -> Seen {
        stockade_jail::look(path)
    }
}
