//! C2SP `tlog-proof`: a leaf's index, its inclusion path and a signed checkpoint, in one text.
//! It never says yes without the leaf itself and a key from outside.

use crate::merkle::{Hash, leaf_hash, root_from_inclusion};
use crate::note::{Checkpoint, NOTE_BYTES_MAX, SignedCheckpoint, Vkey};
use crate::text::{base64, unbase64};

const MAGIC: &str = "c2sp.org/tlog-proof@v1";
/// A path has at most as many hashes as a tree size has bits.
const PATH_MAX: usize = 64;
/// Bytes of a proof's text at most.
pub const PROOF_BYTES_MAX: usize = NOTE_BYTES_MAX + 32 * 1024;

/// A proof that a leaf is in a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlogProof {
    /// The leaf itself, where it is carried along.
    pub extra: Option<Vec<u8>>,
    /// Index of the leaf.
    pub index: u64,
    /// Inclusion path, lowest sibling first.
    pub path: Vec<Hash>,
    /// The signed checkpoint, as text.
    pub checkpoint: String,
}

impl TlogProof {
    /// The text of the proof.
    #[must_use]
    pub fn to_text(&self) -> String {
        let mut out = format!("{MAGIC}\n");
        if let Some(extra) = &self.extra {
            out.push_str(&format!("extra {}\n", base64(extra)));
        }
        out.push_str(&format!("index {}\n", self.index));
        for hash in &self.path {
            out.push_str(&base64(hash));
            out.push('\n');
        }
        out.push('\n');
        out.push_str(&self.checkpoint);
        out
    }

    /// The proof in a text; `None` when it is none.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        if text.len() > PROOF_BYTES_MAX {
            return None;
        }
        let (head, checkpoint) = text.split_once("\n\n")?;
        let mut lines = head.split('\n');
        if lines.next()? != MAGIC {
            return None;
        }
        let mut line = lines.next()?;
        let mut extra = None;
        if let Some(text) = line.strip_prefix("extra ") {
            extra = Some(unbase64(text)?);
            line = lines.next()?;
        }
        let index: u64 = line.strip_prefix("index ")?.parse().ok()?;
        let path = lines.map(|line| unbase64(line)?.try_into().ok()).collect::<Option<Vec<Hash>>>()?;
        let proof = Self { extra, index, path, checkpoint: checkpoint.to_owned() };
        (proof.path.len() <= PATH_MAX && proof.to_text() == text).then_some(proof)
    }

    /// The checkpoint that covers `leaf`, if this proves that `leaf` is in the log of `vkey`.
    #[must_use]
    pub fn verify(&self, leaf: &[u8], vkey: &Vkey) -> Option<Checkpoint> {
        let signed = SignedCheckpoint::parse(&self.checkpoint)?;
        let checkpoint = signed.verify(vkey)?;
        let root = root_from_inclusion(leaf_hash(leaf), self.index, checkpoint.size, &self.path)?;
        (root == checkpoint.root).then(|| checkpoint.clone())
    }
}
