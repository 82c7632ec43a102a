//! What there is at a path where a plan will be carried out: the facts that the plan builder asks for, so that building is
//! pure.
//! It never opens a file for reading and never changes anything.

use std::path::Path;
pub use stockade_jail::Seen;

/// Looks at the host, at an image, or at a picture of one in tests.
pub trait Host {
    /// What is at this path, its last component not followed.
    fn look(&self, path: &Path) -> Seen;
}

/// The machine that we run on.
#[derive(Debug, Clone, Copy)]
pub struct ThisHost;

impl Host for ThisHost {
    fn look(&self, path: &Path) -> Seen {
        stockade_jail::look(path)
    }
}
