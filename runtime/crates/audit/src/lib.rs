//! The log of a stockade: records, an append-only Merkle log per session, a ledger per host, and the verifier.
//! It starts no process, opens no connection and reads no environment; it needs nothing else of this project.

mod after;
mod blob;
mod chain;

pub mod disclose;
pub mod disk;
mod error;
pub mod frame;
mod ledger;
pub mod merkle;
pub mod note;
pub mod proof;
mod publish;
pub mod query;
pub mod record;
mod recover;
mod redact;
mod scan;
mod session;
mod small;
pub mod system;
pub mod text;
pub mod tiles;
pub mod verify;

pub use after::{AfterLog, after_origin};
pub use blob::{BLOB_BYTES_MAX, BLOBS_BYTES_MAX};
pub use chain::{Receipt, SegmentHeader};
pub use error::{AuditError, Fault, Result};
pub use ledger::{Ledger, Machine};
pub use redact::{Erase, redact};
pub use scan::parse_segment_header;
pub use session::{Closed, Draft, Durable, SessionLog, session_origin};
pub use small::parse_small_blobs;

/// Version of the format that this crate reads and writes.
pub const FORMAT_VERSION: u64 = 1;
