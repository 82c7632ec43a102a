//! The doors: for each external dependency of the product, the modules through which it enters, and why.
//! It never lists what tests use; a test's dependency is not in the binary.

use super::manifest::Door;

/// Crates whose dependencies need a door.
pub(crate) const MEMBERS: [&str; 4] =
    ["runtime", "runtime/crates/audit", "runtime/crates/jail", "runtime/crates/policy"];

/// Every door.
pub(crate) const DOORS: &[Door] = &[];
