//! Random file operations, once on a plain copy and once behind the layer: after an apply both are the same, and after
//! an undo the workspace is as it was.

use super::super::*;
use super::support::{Place, Times, apply_all, run, tree};
use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

const DRIVER: &str = include_str!("driver.py");

/// A small tree with everything that a workspace may have.
fn populate(root: &Path) {
    for dir in ["dir", "dir/sub", "empty", "deep/er/est"] {
        fs::create_dir_all(root.join(dir)).unwrap();
    }
    for (path, text) in
        [("a", "one\n"), ("dir/b", "two\n"), ("dir/sub/c", "three\n"), ("deep/er/est/x", ""), ("big", "")]
    {
        fs::write(root.join(path), text).unwrap();
    }
    fs::write(root.join("big"), vec![7_u8; 300_000]).unwrap();
    fs::write(root.join("linked1"), "shared\n").unwrap();
    fs::hard_link(root.join("linked1"), root.join("linked2")).unwrap();
    std::os::unix::fs::symlink("dir/b", root.join("to-b")).unwrap();
    std::os::unix::fs::symlink("dir", root.join("to-dir")).unwrap();
    fs::set_permissions(root.join("dir/b"), fs::Permissions::from_mode(0o755)).unwrap();
    fs::set_permissions(root.join("empty"), fs::Permissions::from_mode(0o700)).unwrap();
}

fn sequences(count: u64, first: u64, method: Method) {
    let places: Vec<(Place, u64)> = (first..first + count).map(|seed| (Place::new("reference"), seed)).collect();
    let mut jobs = String::new();
    let mut layers = Vec::new();
    for (place, seed) in &places {
        populate(&place.ws());
        run("cp", &["-a", "ws", "plain"], &place.0, "");
        fs::create_dir(place.0.join("mnt")).unwrap();
        layers.push(Layer::create(&place.state(), &place.ws(), Mode::Review, method).unwrap());
        let steps = 3 + seed % 40;
        let at = place.0.display();
        writeln!(jobs, r#"{{"seed":{seed},"steps":{steps},"root":"{at}/plain"}}"#).unwrap();
        let guest = match method {
            Method::Copy => format!(r#""root":"{at}/state/layer/tree""#),
            Method::Overlay => format!(
                r#""root":"{at}/mnt","lower":"{at}/ws","upper":"{at}/state/layer/upper","work":"{at}/state/layer/work""#
            ),
        };
        writeln!(jobs, r#"{{"seed":{seed},"steps":{steps},{guest}}}"#).unwrap();
    }
    let stale = String::from_utf8(run("unshare", &["-Urm", "python3", "-c", DRIVER], Path::new("/"), &jobs)).unwrap();
    assert!(stale.lines().count() <= 2, "too many sequences that overlayfs itself broke off: {stale}");
    for ((place, seed), layer) in places.iter().zip(layers) {
        if stale.lines().all(|line| line != seed.to_string()) {
            check(place, *seed, &layer);
        }
    }
}

fn check(place: &Place, seed: u64, layer: &Layer) {
    let original = tree(&place.ws(), Times::Compared);
    let strip = |text: String| text.replace(" 4755 ", " 755 ");
    let wanted: Vec<_> = tree(&place.0.join("plain"), Times::Ignored).into_iter().map(|(k, v)| (k, strip(v))).collect();
    let recorded = layer.record().unwrap();
    let fresh = layer.changes(Freshness::Rehash).unwrap();
    let seen = |changes: &Changes| changes.list().iter().map(|c| (c.path.clone(), c.delta.clone())).collect::<Vec<_>>();
    assert_eq!(seen(&recorded), seen(&fresh), "seed {seed}: a recorded scan differs from a fresh one");
    let applied = apply_all(layer);
    assert_eq!(applied.skipped, [], "seed {seed}");
    let now: Vec<_> = tree(&place.ws(), Times::Ignored).into_iter().map(|(k, v)| (k, strip(v))).collect();
    assert_eq!(now, wanted, "seed {seed}: applied (left) differs from the reference (right)");
    let again = layer.changes(Freshness::Rehash).unwrap();
    assert_eq!(again.list(), [], "seed {seed}: something is still pending after everything was applied");
    if applied.number != 0 {
        layer.undo(applied.number).unwrap();
        let mut undone = tree(&place.ws(), Times::Compared);
        let mut wanted = original.clone();
        undone.retain(|path, entry| wanted.get(path) != Some(entry));
        wanted.retain(|path, entry| undone.contains_key(path) || original.get(path) != Some(entry));
        assert_eq!(undone, Default::default(), "seed {seed}: undone (left) is not the original: {wanted:?}");
        assert_eq!(tree(&place.ws(), Times::Compared).len(), original.len(), "seed {seed}: entries are missing");
        let pending = layer.changes(Freshness::Rehash).unwrap();
        let paths = |changes: &Changes| changes.list().iter().map(|c| (c.path.clone(), c.kind())).collect::<Vec<_>>();
        assert_eq!(paths(&pending), paths(&fresh), "seed {seed}: an undo makes changes pending again");
        assert!(pending.list().iter().all(|change| change.conflict.is_none()), "seed {seed}");
    }
}

#[test]
fn overlay_sequences_end_as_the_plain_copy_does() {
    for batch in 0..10 {
        sequences(50, batch * 50, Method::Overlay);
    }
}

#[test]
fn copy_sequences_end_as_the_plain_copy_does() {
    for batch in 0..4 {
        sequences(50, 10_000 + batch * 50, Method::Copy);
    }
}

#[test]
#[ignore = "long: some minutes; the number of sequences is a constant here"]
fn many_sequences() {
    for batch in 0..200 {
        sequences(50, 100_000 + batch * 50, Method::Overlay);
    }
}
