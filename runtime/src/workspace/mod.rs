//! The workspace of a session: a layer that takes the guest's writes, what changed in it, and taking that over.
//! It never judges a path (the treatment of each is an argument), never mounts, and never starts a process.
//!
//! ```text
//! Layer::create ─▶ (the session runs, its writes land in the layer) ─▶ changes ─▶ record
//!                                                                         │
//!        discard ◀─ Layer::open ─▶ plan(selection, treatment, consents) ──┴─▶ Plan ─execute▶ Applied ─▶ undo
//! ```
//!
//! Four rules hold everywhere:
//! - entries are opened by name in an open directory, without following symlinks (`door`);
//! - what the host has now is compared before it is replaced, and kept until the session is discarded;
//! - an apply that was interrupted is undone if it had not finished preparing, and finished if it had (`apply`);
//! - the layer is read-only to us: what was applied is recognised by comparison, so a running session is not disturbed.

mod apply;
mod change;
mod copy;
mod diff;
mod direct;
mod door;
mod error;
mod fork;
mod hidden;
mod intent;
mod layer;
mod lent;
mod measure;
mod node;
mod path;
mod plan;
mod scan;
mod state;
#[cfg(test)]
mod tests;
mod text;
mod transaction;

pub use apply::{Applied, AppliedFile, Recovered};
pub use change::{Change, ChangeKind, Changes, Conflict, Delta, Newer};
pub use diff::{Colour, Controls, Half, Render, Stat as DiffStat};
pub use direct::{DirectReport, Match, Matches, Snapshot};
pub use door::Time;
pub use error::{Fault, Result, WorkspaceError};
pub use hidden::Hidden;
pub use layer::{Layer, Method, Mode};
pub use measure::{GitId, Measures};
pub use node::{Content, Digest, Node};
pub use path::{PathFault, RelPath};
pub use plan::{LeftOut, Plan, Selection, Treatment, Why};
pub use scan::Freshness;
pub use text::{Line as DiffLine, hunks, is_text};
