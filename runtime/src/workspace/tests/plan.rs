//! What is taken and what is not: conflicts, held and protected paths, planted links, special files.

use super::super::*;
use super::support::{Place, Times, apply_all, free, path, tree};
use std::fs;

/// Holds and protects by simple rules.
fn rules(path: &RelPath) -> Treatment {
    let bytes = path.as_bytes();
    if path.components().any(|part| part == b".git") && bytes.windows(5).any(|part| part == b"hooks") {
        return Treatment::Protect { rule: "git-hooks".into() };
    }
    if path.name() == b".envrc" || path.components().any(|part| part == b".vscode") {
        return Treatment::Hold { rule: "runs-later".into() };
    }
    Treatment::Free
}

#[track_caller]
fn check(place: &Place, layer: &Layer, script: &str, expected: &[(&str, &str)]) {
    place.guest(script);
    let plan = layer.plan(&Selection::All, &rules, &[]).unwrap();
    let why = |why: &Why| match why {
        Why::Held { rule } => format!("held {rule}"),
        Why::Protected { rule } => format!("protected {rule}"),
        Why::Conflict(_) => "conflict".to_owned(),
        Why::NeverApplied { what } => (*what).to_owned(),
        Why::Needs(other) => format!("needs {other}"),
    };
    let left: Vec<_> = plan.left_out().iter().map(|left| (left.path.to_string(), why(&left.why))).collect();
    let expected: Vec<_> = expected.iter().map(|(path, why)| ((*path).to_owned(), (*why).to_owned())).collect();
    assert_eq!(left, expected);
}

fn fresh(files: &[&str]) -> (Place, Layer) {
    let place = Place::new("plan");
    for file in files {
        place.write(file, file);
    }
    let layer = place.layer();
    (place, layer)
}

#[test]
fn a_held_file_is_not_taken_without_consent_to_its_very_path() {
    let (place, layer) = fresh(&["a"]);
    check(
        &place,
        &layer,
        "echo x > .envrc; echo x > a; mkdir s; echo y > s/.ENVRC",
        &[(".envrc", "held runs-later"), ("s/.ENVRC", "held runs-later")],
    );
    let plan = layer.plan(&Selection::All, &rules, &[path(".envrc")]).unwrap();
    assert_eq!(plan.consented(), [(path(".envrc"), "runs-later".to_owned())]);
    layer.execute(&plan).unwrap();
    assert_eq!(fs::read_to_string(place.ws().join(".envrc")).unwrap(), "x\n");
    assert!(!place.ws().join("s/.ENVRC").exists());
    let left: Vec<_> = layer.changes(Freshness::Rehash).unwrap().list().iter().map(|c| c.path.clone()).collect();
    assert_eq!(left, [path("s/.ENVRC")], "what was held stays pending, and nothing else");
}

#[test]
fn a_protected_file_is_never_taken_nor_moved_aside() {
    let (place, layer) = fresh(&[".git/hooks/pre-commit", ".git/x"]);
    check(
        &place,
        &layer,
        "mv .git/hooks .git/h2; echo x > .git/h2/pre-commit; rm .git/x",
        &[(".git/hooks", "protected git-hooks"), (".git/hooks/pre-commit", "protected git-hooks")],
    );
    let plan = layer.plan(&Selection::All, &rules, &[path(".git/hooks/pre-commit")]).unwrap();
    layer.execute(&plan).unwrap();
    assert_eq!(fs::read_to_string(place.ws().join(".git/hooks/pre-commit")).unwrap(), ".git/hooks/pre-commit");
}

#[test]
fn a_link_is_judged_by_what_is_reached_through_it() {
    let (place, layer) = fresh(&["conf/tasks.json"]);
    check(
        &place,
        &layer,
        "ln -s /etc o; ln -s ../x up; ln -s conf/../.. tricky; ln -s conf .vscode; ln -s conf fine; \
        ln -s . self; mkdir p; echo > p/.envrc; ln -s p q",
        &[
            (".vscode", "held runs-later"),
            ("o", "held symlink-outside"),
            ("p/.envrc", "held runs-later"),
            ("q", "held runs-later"),
            ("self", "held symlink-outside"),
            ("tricky", "held symlink-outside"),
            ("up", "held symlink-outside"),
        ],
    );
}

#[test]
fn a_bare_repository_is_held_where_it_could_run_something() {
    let (place, layer) = fresh(&["sub/objects/x"]);
    check(
        &place,
        &layer,
        "cd sub; mkdir refs; echo > HEAD; echo > config; echo > readme",
        &[
            ("sub/HEAD", "held bare-repository"),
            ("sub/config", "held bare-repository"),
            ("sub/refs", "held bare-repository"),
        ],
    );
}

#[test]
fn special_files_and_set_ids_are_not_taken() {
    let (place, layer) = fresh(&["a"]);
    check(&place, &layer, "mkfifo f; echo x > s; chmod 6755 s", &[("f", "a fifo")]);
    apply_all(&layer);
    assert!(!place.ws().join("f").exists());
    assert!(tree(&place.ws(), Times::Ignored)[b"s".as_slice()].contains(" 755 "));
}

#[test]
fn a_conflict_blocks_everything_but_paths_named_by_hand() {
    let (place, layer) = fresh(&["a", "b", "c", "d/x"]);
    place.guest("echo guest > a; echo guest > b; rm c; rm -r d; echo new > n");
    std::thread::sleep(std::time::Duration::from_millis(20));
    place.write("a", "host");
    place.write("c", "host");
    place.write("n", "host");
    let before = tree(&place.ws(), Times::Ignored);
    let plan = layer.plan(&Selection::All, &free, &[]).unwrap();
    assert_eq!(plan.blocked(), [path("a"), path("c"), path("n")]);
    let error = layer.execute(&plan).unwrap_err();
    assert_eq!(error.fault(), Fault::Operator);
    assert_eq!(tree(&place.ws(), Times::Ignored), before);
    let changes = layer.changes(Freshness::Rehash).unwrap();
    let conflict = changes.get(&path("a")).unwrap().conflict.clone().unwrap();
    assert_eq!(conflict.newer, Newer::Host);
    assert_eq!(conflict.host.unwrap().sha256(), Some(Digest::of(b"host")));
    let plan = layer.plan(&Selection::Paths(vec![path("b"), path("d")]), &free, &[]).unwrap();
    layer.execute(&plan).unwrap();
    assert_eq!(fs::read_to_string(place.ws().join("b")).unwrap(), "guest\n");
    assert!(!place.ws().join("d").exists());
    let named = layer.plan(&Selection::Paths(vec![path("a")]), &free, &[]).unwrap();
    layer.execute(&named).unwrap_err();
}

#[test]
fn a_host_change_after_a_recorded_call_is_a_conflict() {
    let (place, layer) = fresh(&["a"]);
    place.guest("echo guest > a");
    assert!(layer.record().unwrap().list().iter().all(|change| change.conflict.is_none()));
    place.write("a", "host");
    let reopened = Layer::open(&place.state()).unwrap();
    let changes = reopened.changes(Freshness::Reuse).unwrap();
    let conflict = changes.get(&path("a")).unwrap().conflict.clone().unwrap();
    assert_eq!(conflict.expected, Some(Digest::of(b"a")));
}

#[test]
fn a_host_change_between_plan_and_apply_is_refused() {
    let (place, layer) = fresh(&["a"]);
    place.guest("echo guest > a; echo n > new");
    let plan = layer.plan(&Selection::All, &free, &[]).unwrap();
    place.write("a", "host!");
    layer.execute(&plan).unwrap_err();
    assert_eq!(fs::read_to_string(place.ws().join("a")).unwrap(), "host!");
    assert!(!place.ws().join("new").exists());
}

#[test]
fn a_host_directory_that_became_a_link_is_not_followed() {
    let (place, layer) = fresh(&["d/f"]);
    place.guest("echo guest > d/f; echo new > d/g");
    fs::create_dir(place.0.join("outside")).unwrap();
    fs::write(place.0.join("outside/f"), "d/f").unwrap();
    let plan = layer.plan(&Selection::All, &free, &[]).unwrap();
    fs::rename(place.ws().join("d"), place.ws().join("d2")).unwrap();
    std::os::unix::fs::symlink(place.0.join("outside"), place.ws().join("d")).unwrap();
    layer.execute(&plan).unwrap_err();
    let plan = layer.plan(&Selection::All, &free, &[]).unwrap();
    layer.execute(&plan).unwrap_err();
    assert_eq!(fs::read_to_string(place.0.join("outside/f")).unwrap(), "d/f");
    assert!(!place.0.join("outside/g").exists());
}

#[test]
fn an_undo_is_refused_where_the_host_went_on() {
    let (place, layer) = fresh(&["a", "b"]);
    place.guest("echo guest > a; mkdir d; echo x > d/x");
    let number = apply_all(&layer).number;
    place.write("d/mine", "mine");
    layer.undo(number).unwrap_err();
    fs::remove_file(place.ws().join("d/mine")).unwrap();
    layer.undo(number).unwrap();
    layer.undo(number).unwrap_err();
    assert_eq!(fs::read_to_string(place.ws().join("a")).unwrap(), "a");
}
