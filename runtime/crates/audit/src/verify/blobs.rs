//! Checks that a blob which is there is the one that the log names.
//! It never needs its content: the name is the hash of what is stored.

use super::Findings;
use super::log::LogKind;
use crate::blob::{blob_path, hash_file};
use crate::disk::Disk;
use crate::error::{At as _, Result};
use crate::merkle::{Hash, sha256};
use crate::record::{BlobRef, Body, Leaf};
use crate::small::{Next, SMALL_BYTES_MAX, entries, small_path};
use std::collections::HashSet;
use std::path::Path;

pub(super) struct Blobs<'a> {
    disk: &'a dyn Disk,
    dir: &'a Path,
    /// The small ones; `None` when their file is not there.
    small: Option<HashSet<Hash>>,
}

impl<'a> Blobs<'a> {
    /// Looks at the small ones: each has the hash that it says, and the last one is whole.
    pub(super) fn new(disk: &'a dyn Disk, dir: &'a Path, findings: &mut Findings) -> Self {
        let small = small(disk, dir, findings).unwrap_or_else(|error| {
            findings.error(LogKind::Session, &error);
            None
        });
        Self { disk, dir, small }
    }

    pub(super) fn leaf(&mut self, leaf: &Leaf, findings: &mut Findings) {
        if let Body::Outcome(outcome) = &leaf.body {
            let streams = [&outcome.out, &outcome.err];
            for blob in streams.into_iter().filter_map(|stream| stream.as_ref()?.blob.as_ref()) {
                self.check(leaf.n, blob, findings);
            }
        } else if let Body::Call(call) = &leaf.body
            && let Some(blob) = &call.input
        {
            self.check(leaf.n, blob, findings);
        }
    }

    fn check(&self, n: u64, blob: &BlobRef, findings: &mut Findings) {
        if self.small.as_ref().is_some_and(|small| small.contains(&blob.h.0)) {
            return;
        }
        match hash_file(self.disk, &blob_path(self.dir, blob)) {
            Ok(Some(hash)) if hash == blob.h.0 => {}
            Ok(Some(_)) => findings.broken(LogKind::Session, n, format!("blob {} has another content", blob.h)),
            Ok(None) if self.small.is_some() && blob.z <= SMALL_BYTES_MAX as u64 => {
                findings.incomplete(
                    LogKind::Session,
                    n,
                    format!("blob {} of leaf {n} is not among the small ones", blob.h),
                );
            }
            Ok(None) => findings.note(LogKind::Session, format!("blob {} of leaf {n} is gone", blob.h)),
            Err(error) => findings.error(LogKind::Session, &error),
        }
    }
}

fn small(disk: &dyn Disk, dir: &Path, findings: &mut Findings) -> Result<Option<HashSet<Hash>>> {
    let Some(mut entries) = entries(disk, dir, 0)? else { return Ok(None) };
    let mut names = HashSet::new();
    loop {
        match entries.next().at("read", &small_path(dir))? {
            Next::Entry(entry) => {
                if sha256(&entry.stored) != entry.hash {
                    findings.broken(
                        LogKind::Session,
                        None,
                        format!("the small blob at byte {} has another content", entry.at),
                    );
                }
                names.insert(entry.hash);
            }
            Next::End => return Ok(Some(names)),
            Next::Cut => {
                findings.incomplete(LogKind::Session, None, "the small blobs do not end with a whole one");
                return Ok(Some(names));
            }
        }
    }
}
