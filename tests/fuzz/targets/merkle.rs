//! Proofs of inclusion and consistency: any bytes as a path are judged without a panic, and only the true path holds.
//! It never reads a proof's text; `note` and `leaf` do.
#![no_main]

use libfuzzer_sys::fuzz_target;
use stockade_audit::merkle::{
    Hash, consistency_holds, consistency_path, inclusion_path, leaf_hash, root_from_inclusion, root_of,
};

fuzz_target!(|input: (u8, u8, u64, u64, Vec<Hash>)| {
    let (count, place, size, index, path) = input;
    let leaves: Vec<Hash> = (0..=count).map(|leaf| leaf_hash(&[leaf])).collect();
    let (root, all) = (root_of(&leaves), u64::from(count) + 1);
    let at = usize::from(place) % leaves.len();

    let honest = inclusion_path(&leaves, at).expect("the leaf is in the tree");
    assert_eq!(root_from_inclusion(leaves[at], at as u64, all, &honest), Some(root), "the true path leads to the root");
    if path != honest {
        assert_ne!(root_from_inclusion(leaves[at], at as u64, all, &path), Some(root), "no other path does");
    }
    let old = at + 1;
    let honest = consistency_path(&leaves, old).expect("the old tree is a front of the new one");
    let old_root = root_of(&leaves[..old]);
    assert!(consistency_holds(old as u64, &old_root, all, &root, &honest), "the true path holds");
    // Sizes and places out of any range must be refused, not computed with.
    let _ = root_from_inclusion(leaves[at], index, size, &path);
    let _ = consistency_holds(index, &old_root, size, &root, &path);
});
