//! RFC 6962 Merkle trees over SHA-256: hashing, a compact range that grows leaf by leaf, proofs and their checks.
//! It never touches a file and trusts no proof.

use sha2::block_api::compress256;
use sha2::{Digest as _, Sha256};

/// A SHA-256 value.
pub type Hash = [u8; 32];

/// SHA-256 of bytes.
#[must_use]
pub fn sha256(bytes: &[u8]) -> Hash {
    Sha256::digest(bytes).into()
}

/// State that SHA-256 starts with, FIPS 180-4 §5.3.3.
const START: [u32; 8] =
    [0x6a09_e667, 0xbb67_ae85, 0x3c6e_f372, 0xa54f_f53a, 0x510e_527f, 0x9b05_688c, 0x1f83_d9ab, 0x5be0_cd19];
const BLOCK_BYTES: usize = 64;
/// Room for a message that is laid out and hashed at once; few leaves are longer.
const AT_ONCE_BYTES: usize = 8 * BLOCK_BYTES;
/// A bit and the length, in bits, end every message.
const PADDING_BYTES_MIN: usize = 9;

/// SHA-256 of the first `len` bytes of `message`, which are followed by zeros. It is padded in place (FIPS 180-4 §5.1.1), so
/// that all blocks go through the compression function in one call: a hasher that is given a prefix and then a leaf calls it
/// three times, and copies the parts of the leaf that do not fill a block into a buffer of its own.
fn hash_padded<const BYTES: usize>(mut message: [u8; BYTES], len: usize) -> Hash {
    const { assert!(BYTES.is_multiple_of(BLOCK_BYTES)) };
    let end = (len + PADDING_BYTES_MIN).next_multiple_of(BLOCK_BYTES);
    message[len] = 0x80;
    message[end - 8..end].copy_from_slice(&(len as u64 * 8).to_be_bytes());
    let mut state = START;
    compress256(&mut state, message[..end].as_chunks::<BLOCK_BYTES>().0);
    let mut hash = [0; 32];
    hash.as_chunks_mut::<4>().0.iter_mut().zip(state).for_each(|(bytes, word)| *bytes = word.to_be_bytes());
    hash
}

/// Hash of a leaf: SHA-256(0x00 ‖ leaf), RFC 6962 §2.1.
#[must_use]
pub fn leaf_hash(leaf: &[u8]) -> Hash {
    let len = 1 + leaf.len();
    if len + PADDING_BYTES_MIN > AT_ONCE_BYTES {
        return Sha256::new().chain_update([0u8]).chain_update(leaf).finalize().into();
    }
    let mut message = [0; AT_ONCE_BYTES];
    message[1..len].copy_from_slice(leaf);
    hash_padded(message, len)
}

/// Hash of an inner node: SHA-256(0x01 ‖ left ‖ right), RFC 6962 §2.1.
#[must_use]
pub fn node_hash(left: &Hash, right: &Hash) -> Hash {
    let mut message = [0; 2 * BLOCK_BYTES];
    message[0] = 1;
    message[1..33].copy_from_slice(left);
    message[33..65].copy_from_slice(right);
    hash_padded(message, 65)
}

/// The roots of the perfect subtrees that cover the first `size` leaves, largest first. Enough to append, and to give
/// the root at any moment, in O(log n) space.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Range {
    size: u64,
    nodes: Vec<Hash>,
}

impl Range {
    /// A range that was stored: `nodes` must have one hash per set bit of `size`.
    #[must_use]
    pub fn restore(size: u64, nodes: Vec<Hash>) -> Option<Self> {
        (nodes.len() == size.count_ones() as usize).then_some(Self { size, nodes })
    }

    /// Leaves so far.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Subtree roots, largest subtree first.
    #[must_use]
    pub fn nodes(&self) -> &[Hash] {
        &self.nodes
    }

    /// Appends one leaf.
    pub fn push(&mut self, leaf: Hash) {
        self.push_subtree(0, leaf);
    }

    /// Appends a perfect subtree of 2^`level` leaves; the size so far must be a multiple of that.
    pub fn push_subtree(&mut self, level: u32, root: Hash) {
        assert!(self.size.trailing_zeros() >= level, "a subtree is appended only at a multiple of its width");
        let mut hash = root;
        let mut rest = self.size >> level;
        while rest & 1 == 1 {
            let left = self.nodes.pop().expect("one node per set bit of the size");
            hash = node_hash(&left, &hash);
            rest >>= 1;
        }
        self.nodes.push(hash);
        self.size += 1 << level;
    }

    /// Appends one leaf; the root of the subtree of 2^`level` leaves that it completes, if it completes one.
    pub(crate) fn push_completing(&mut self, leaf: Hash, level: u32) -> Option<Hash> {
        let (mut hash, mut at, mut completed) = (leaf, 0, None);
        let mut rest = self.size;
        while rest & 1 == 1 {
            let left = self.nodes.pop().expect("one node per set bit of the size");
            hash = node_hash(&left, &hash);
            (rest, at) = (rest >> 1, at + 1);
            if at == level {
                completed = Some(hash);
            }
        }
        self.nodes.push(hash);
        self.size += 1;
        completed
    }

    /// Appends a range that starts where this one ends, at a multiple of its own width.
    pub fn push_range(&mut self, other: &Self) {
        let mut rest = other.size;
        for node in &other.nodes {
            let level = u64::BITS - 1 - rest.leading_zeros();
            self.push_subtree(level, *node);
            rest &= !(1 << level);
        }
    }

    /// Root of the tree so far; of the empty tree, SHA-256 of nothing.
    #[must_use]
    pub fn root(&self) -> Hash {
        let mut nodes = self.nodes.iter().rev();
        match nodes.next() {
            None => sha256(&[]),
            Some(first) => nodes.fold(*first, |right, left| node_hash(left, &right)),
        }
    }

    /// Inclusion path of the leaf that the *next* push will add, in the tree that ends with it.
    #[must_use]
    pub fn path_of_next(&self) -> Vec<Hash> {
        self.nodes.iter().rev().copied().collect()
    }
}

/// Root of the tree over these leaf hashes.
#[must_use]
pub fn root_of(leaves: &[Hash]) -> Hash {
    let mut range = Range::default();
    leaves.iter().for_each(|leaf| range.push(*leaf));
    range.root()
}

/// Largest power of two below `n`, for n ≥ 2.
fn split(n: usize) -> usize {
    1 << (usize::BITS - 1 - (n - 1).leading_zeros())
}

/// Inclusion path of leaf `index` in the tree over `leaves` (RFC 6962 §2.1.1), lowest sibling first.
/// `None` when there is no such leaf.
#[must_use]
pub fn inclusion_path(leaves: &[Hash], index: usize) -> Option<Vec<Hash>> {
    let (mut leaves, mut index) = (leaves, index);
    if index >= leaves.len() {
        return None;
    }
    let mut path = Vec::new();
    while leaves.len() > 1 {
        let (left, right) = leaves.split_at(split(leaves.len()));
        if index < left.len() {
            path.push(root_of(right));
            leaves = left;
        } else {
            path.push(root_of(left));
            index -= left.len();
            leaves = right;
        }
    }
    path.reverse();
    Some(path)
}

/// Root that an inclusion path leads to (RFC 9162 §2.1.3.2). `None` when the path has the wrong length.
#[must_use]
pub fn root_from_inclusion(leaf: Hash, index: u64, size: u64, path: &[Hash]) -> Option<Hash> {
    if index >= size {
        return None;
    }
    let (mut node, mut last, mut hash) = (index, size - 1, leaf);
    for sibling in path {
        if last == 0 {
            return None;
        }
        if node & 1 == 1 || node == last {
            hash = node_hash(sibling, &hash);
            while node & 1 == 0 && node != 0 {
                node >>= 1;
                last >>= 1;
            }
        } else {
            hash = node_hash(&hash, sibling);
        }
        node >>= 1;
        last >>= 1;
    }
    (last == 0).then_some(hash)
}

/// Consistency path between the first `old` leaves and all of them (RFC 6962 §2.1.2).
/// `None` unless 0 < old ≤ number of leaves.
#[must_use]
pub fn consistency_path(leaves: &[Hash], old: usize) -> Option<Vec<Hash>> {
    if old == 0 || old > leaves.len() {
        return None;
    }
    let (mut leaves, mut old, mut whole, mut path) = (leaves, old, true, Vec::new());
    while old != leaves.len() {
        let (left, right) = leaves.split_at(split(leaves.len()));
        if old <= left.len() {
            path.push(root_of(right));
            leaves = left;
        } else {
            path.push(root_of(left));
            leaves = right;
            old -= left.len();
            whole = false;
        }
    }
    if !whole {
        path.push(root_of(leaves));
    }
    path.reverse();
    Some(path)
}

/// Whether `path` proves that the tree (`old_size`, `old_root`) is a prefix of (`size`, `root`); RFC 9162 §2.1.4.2.
#[must_use]
pub fn consistency_holds(old_size: u64, old_root: &Hash, size: u64, root: &Hash, path: &[Hash]) -> bool {
    if old_size == 0 || old_size > size {
        return false;
    }
    if old_size == size {
        return path.is_empty() && old_root == root;
    }
    let mut path = path.iter();
    let (mut node, mut last) = (old_size - 1, size - 1);
    while node & 1 == 1 {
        node >>= 1;
        last >>= 1;
    }
    let first = if old_size.is_power_of_two() { Some(old_root) } else { path.next() };
    let Some(first) = first else { return false };
    let (mut old_hash, mut new_hash) = (*first, *first);
    for sibling in path {
        if last == 0 {
            return false;
        }
        if node & 1 == 1 || node == last {
            old_hash = node_hash(sibling, &old_hash);
            new_hash = node_hash(sibling, &new_hash);
            while node & 1 == 0 && node != 0 {
                node >>= 1;
                last >>= 1;
            }
        } else {
            new_hash = node_hash(&new_hash, sibling);
        }
        node >>= 1;
        last >>= 1;
    }
    last == 0 && old_hash == *old_root && new_hash == *root
}

#[cfg(test)]
mod tests {
    use super::*;

    fn leaves(n: usize) -> Vec<Hash> {
        (0..n).map(|i| leaf_hash(&i.to_le_bytes())).collect()
    }

    #[test]
    fn what_is_padded_here_has_the_hash_of_any_other_implementation() {
        let bytes: Vec<u8> = (0..1200u32).map(|i| i.to_le_bytes()[0] ^ 0x5a).collect();
        for len in 0..bytes.len() {
            assert_eq!(leaf_hash(&bytes[..len]), sha256(&[&[0], &bytes[..len]].concat()), "{len} bytes");
        }
        for at in 0..100 {
            let (left, right) = (sha256(&bytes[at..]), sha256(&bytes[..at]));
            assert_eq!(node_hash(&left, &right), sha256(&[&[1], &left[..], &right[..]].concat()));
        }
    }

    #[test]
    fn every_inclusion_path_leads_to_the_root_and_no_other_index_does() {
        for n in 1..70 {
            let leaves = leaves(n);
            let root = root_of(&leaves);
            for i in 0..n {
                let path = inclusion_path(&leaves, i).expect("index below size");
                let check = |index: usize| root_from_inclusion(leaves[i], index as u64, n as u64, &path);
                assert_eq!(check(i), Some(root));
                for other in (0..n).filter(|o| *o != i) {
                    assert_ne!(check(other), Some(root), "leaf {i} of {n} passes as {other}");
                }
            }
        }
    }

    #[test]
    fn consistency_holds_for_prefixes_and_for_nothing_else() {
        for n in 1..70 {
            let leaves = leaves(n);
            let root = root_of(&leaves);
            for old in 1..=n {
                let path = consistency_path(&leaves, old).expect("0 < old <= n");
                let old_root = root_of(&leaves[..old]);
                assert!(consistency_holds(old as u64, &old_root, n as u64, &root, &path), "{old} of {n}");
                assert!(!consistency_holds(old as u64, &leaf_hash(b"other"), n as u64, &root, &path));
            }
        }
    }

    #[test]
    fn a_range_appended_in_blocks_has_the_same_root() {
        let leaves = leaves(1000);
        let mut whole = Range::default();
        for block in leaves.chunks(256) {
            let mut part = Range::default();
            block.iter().for_each(|leaf| part.push(*leaf));
            whole.push_range(&part);
        }
        assert_eq!(whole.root(), root_of(&leaves));
    }
}
