//! Tiles and bundles: derived data, which may be missing and must not be another.
//! It never looks into a tile; it compares verdicts.

use crate::common::*;
use crate::verify::{by_ledger, expect_exit};
use std::fs;
use stockade_audit::verify::verify;

#[test]
fn a_full_tile_or_bundle_that_is_another_never_passes() {
    let scratch = Scratch::new();
    let ledger = ledger(&scratch.0);
    let dir = write_session(&scratch.0, &ledger, sid(1), 1000);
    expect_exit(&verify(&dir, &by_ledger(&scratch.0)), 0);
    for name in ["tile/entries/003", "tile/0/003", "tile/entries/000", "tile/0/018"] {
        let path = dir.join(name);
        let bytes = fs::read(&path).expect("a full tile");
        let mut flipped = bytes.clone();
        flipped[bytes.len() / 2] ^= 1;
        let longer = [&bytes[..], b"\0"].concat();
        for wrong in [flipped, longer, bytes[..bytes.len() - 1].to_vec(), Vec::new()] {
            fs::write(&path, wrong).expect("written");
            expect_exit(&verify(&dir, &by_ledger(&scratch.0)), 2);
        }
        fs::remove_file(&path).expect("removed");
        expect_exit(&verify(&dir, &by_ledger(&scratch.0)), 0);
        fs::write(&path, bytes).expect("put back");
    }
    assert!(!dir.join("tile.tmp").exists(), "what was unfinished has its name");
}
