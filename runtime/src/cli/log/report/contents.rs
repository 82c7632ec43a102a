//! The bytes behind the hashes of a log, where they can still be found: in the session's layer and in the workspace.
//! It never shows bytes whose hash is not the recorded one.

use crate::workspace::{Half, Layer, RelPath};
use std::path::Path;
use stockade_audit::merkle::sha256;
use stockade_audit::record::{FileState, FileType, LogPath};

/// Larger files are not looked into.
const FILE_BYTES_MAX: u64 = 512 * 1024;

/// Where content can be found.
#[derive(Debug)]
pub(super) struct Contents {
    layer: Option<Layer>,
}

/// What is known of a file's content at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Known {
    /// It was not there.
    Absent,
    /// These bytes, whose hash is the recorded one.
    Bytes(Vec<u8>),
    /// Not, and why.
    No(&'static str),
}

impl Contents {
    /// Of the session with this layer, if it is still there.
    pub(super) fn of(layer: &Path) -> Self {
        Self { layer: Layer::open(layer).ok() }
    }

    /// The content of a path at a moment that the log knows.
    pub(super) fn find(&self, path: &LogPath, state: Option<&FileState>) -> Known {
        let Some(state) = state else { return Known::Absent };
        match (state.ty, &state.to) {
            (FileType::Symlink, Some(target)) => return Known::Bytes(target.0.clone()),
            (FileType::File, _) => {}
            (FileType::Dir | FileType::Symlink | FileType::Fifo | FileType::Socket | FileType::Device, _) => {
                return Known::No("it is not a regular file");
            }
        }
        let Some(digest) = state.h else { return Known::No("the log has no hash of it") };
        if state.z.is_some_and(|length| length > FILE_BYTES_MAX) {
            return Known::No("it is too large to be shown");
        }
        let Some(layer) = &self.layer else { return Known::No("the session's layer is not there any more") };
        let Ok(path) = RelPath::parse(&path.0) else { return Known::No("it is outside of the workspace") };
        for half in [Half::After, Half::Before] {
            // What cannot be read is not the content that is looked for.
            if let Ok(Some(bytes)) = layer.content(half, &path, FILE_BYTES_MAX)
                && sha256(&bytes) == digest.0
            {
                return Known::Bytes(bytes);
            }
        }
        Known::No("neither the layer nor the workspace has these bytes any more")
    }
}
