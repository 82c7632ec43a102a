//! A layer that begins as a copy of another's: the same changes, apart from then on.

use super::super::*;
use super::support::{Place, Times, apply_all, free, path, tree};
use std::fs;
use std::path::PathBuf;

/// What a guest does that an overlay has to say in its own way.
const WORK: &str = "echo changed > changed; rm gone; rm -r hidden; mkdir hidden; echo new > hidden/new; mkdir -p d/e; \
    ln -s new d/e/link; echo one > first; ln first second; chmod 640 first; mv from to; mkdir -m 700 own; \
    echo secret > own/closed; chmod 000 own/closed; setfattr -n user.note -v text first";

fn place(name: &str) -> Place {
    let place = Place::new(name);
    for file in ["changed", "gone", "hidden/old", "from", "kept"] {
        place.write(file, file);
    }
    place
}

fn second(place: &Place) -> PathBuf {
    let state = place.0.join("second");
    fs::create_dir_all(&state).unwrap();
    state
}

fn described(layer: &Layer) -> Vec<String> {
    let changes = layer.changes(Freshness::Rehash).unwrap();
    let told = |change: &Change| {
        format!("{} {:?} {:?} {:?}", change.path, change.kind(), change.after(), change.conflict.is_some())
    };
    changes.list().iter().map(told).collect()
}

#[test]
fn a_fork_has_the_same_changes_and_applies_the_same() {
    let place = place("fork");
    let layer = place.layer();
    place.guest(WORK);
    layer.record().unwrap();
    let fork = layer.fork(&second(&place), Mode::Review).unwrap();
    assert_eq!(described(&fork), described(&layer));
    drop(fork);
    let fork = Layer::open(&second(&place)).unwrap();
    apply_all(&fork);
    let applied = tree(&place.ws(), Times::Compared);
    fork.undo(fork.last_apply().unwrap().unwrap()).unwrap();
    apply_all(&layer);
    assert_eq!(tree(&place.ws(), Times::Compared), applied);
}

#[test]
fn a_fork_and_its_original_go_apart() {
    let place = place("fork-apart");
    let layer = place.layer();
    place.guest("echo first > changed");
    let fork = layer.fork(&second(&place), Mode::Review).unwrap();
    let before = described(&fork);
    place.guest("echo second > changed; echo x > more");
    assert_eq!(described(&fork), before);
    assert_eq!(described(&layer).len(), 2);
    layer.discard().unwrap();
    assert_eq!(described(&fork), before);
}

#[test]
fn what_was_applied_before_does_not_wait_in_the_fork() {
    let place = place("fork-applied");
    let layer = place.layer();
    place.guest("echo x > changed; echo y > new; rm gone");
    let plan = layer.plan(&Selection::Paths(vec![path("changed"), path("gone")]), &free, &[]).unwrap();
    layer.execute(&plan).unwrap();
    let fork = layer.fork(&second(&place), Mode::Review).unwrap();
    assert_eq!(described(&fork), described(&layer));
    assert_eq!(fork.changes(Freshness::Reuse).unwrap().list().len(), 1);
    assert_eq!(fork.last_apply().unwrap(), None);
}

#[test]
fn what_the_host_changed_since_conflicts_in_the_fork() {
    let place = place("fork-conflict");
    let layer = place.layer();
    place.guest("echo guest > changed; echo guest > kept");
    layer.record().unwrap();
    place.write("changed", "host");
    let fork = layer.fork(&second(&place), Mode::Review).unwrap();
    let conflicting = |layer: &Layer| {
        let changes = layer.changes(Freshness::Rehash).unwrap();
        changes.list().iter().map(|change| change.conflict.is_some()).collect::<Vec<_>>()
    };
    assert_eq!(conflicting(&fork), [true, false]);
    assert_eq!(conflicting(&fork), conflicting(&layer));
}

#[test]
fn a_copy_is_forked_as_a_copy() {
    let place = place("fork-copy");
    let layer = Layer::create(&place.state(), &place.ws(), Mode::Review, Method::Copy).unwrap();
    let tree = layer.mount_source();
    fs::write(tree.join("changed"), "x").unwrap();
    fs::remove_file(tree.join("gone")).unwrap();
    let fork = layer.fork(&second(&place), Mode::Discard).unwrap();
    assert_eq!((fork.method(), fork.mode()), (Method::Copy, Mode::Discard));
    assert_eq!(described(&fork), described(&layer));
    assert_eq!(described(&fork).len(), 2);
    fs::write(fork.mount_source().join("kept"), "y").unwrap();
    assert_eq!((described(&fork).len(), described(&layer).len()), (3, 2));
}

#[test]
fn there_is_nothing_to_fork_in_direct_mode() {
    let place = place("fork-direct");
    let layer = Layer::create(&place.state(), &place.ws(), Mode::Direct, Method::Overlay).unwrap();
    let error = layer.fork(&second(&place), Mode::Review).unwrap_err();
    assert!(error.to_string().contains("no layer"), "{error}");
}
