//! Checks that a blob which is there is the one that the log names.
//! It never needs its content: the name is the hash of what is stored.

use super::Findings;
use super::log::LogKind;
use crate::blob::{blob_path, hash_file};
use crate::disk::Disk;
use crate::record::{BlobRef, Body, Leaf};
use std::path::Path;

pub(super) struct Blobs<'a> {
    disk: &'a dyn Disk,
    dir: &'a Path,
}

impl<'a> Blobs<'a> {
    pub(super) fn new(disk: &'a dyn Disk, dir: &'a Path) -> Self {
        Self { disk, dir }
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
        match hash_file(self.disk, &blob_path(self.dir, blob)) {
            Ok(Some(hash)) if hash == blob.h.0 => {}
            Ok(Some(_)) => findings.broken(LogKind::Session, n, format!("blob {} has another content", blob.h)),
            Ok(None) => findings.note(LogKind::Session, format!("blob {} of leaf {n} is gone", blob.h)),
            Err(error) => findings.error(LogKind::Session, &error),
        }
    }
}
