//! The house style, as far as a machine can check it: each rule is a pure check with self-tests that must go red.
//! It never runs the product and never changes a file.

mod docs;
mod doors;
mod lex;
mod manifest;
mod order;
mod shape;
mod source;
mod words;

use source::{all, none, rust, top};
use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

#[test]
fn modules_import_only_to_the_right() {
    none(&order::check(&all()));
}

#[test]
fn files_and_functions_keep_their_shape() {
    none(&shape::check(&rust(&all())));
}

#[test]
fn no_file_is_left_out_of_the_build() {
    let sources = all();
    none(&shape::orphans(&rust(&sources), &manifest::roots(&sources)));
}

#[test]
fn every_test_is_listed() {
    none(&manifest::unlisted(&all()));
}

#[test]
fn every_member_inherits_the_lints() {
    let sources = all();
    none(&manifest::lints(&sources, &manifest::members(&sources)));
}

#[test]
fn the_three_crates_do_not_know_each_other() {
    none(&manifest::independence(&all()));
}

#[test]
fn the_verifier_stands_alone() {
    none(&manifest::unwanted(&manifest::tree(&["-p", "stockade-audit", "-e", "normal,build"])));
}

#[test]
fn every_dependency_has_a_door() {
    none(&manifest::doors(&all(), &doors::MEMBERS, doors::DOORS));
}

#[test]
fn every_licence_is_on_the_list() {
    let deny = fs::read_to_string(top().join("deny.toml")).expect("the repository has a deny.toml");
    let lines = manifest::tree(&["--workspace", "-e", "all", "--format", "{p}|{l}"]);
    assert!(lines.lines().count() > 10, "cargo tree printed next to nothing:\n{lines}");
    none(&manifest::licences(&lines, &deny));
}

#[test]
fn no_file_holds_a_refused_word() {
    none(&words::check(&all()));
}

#[test]
fn the_top_level_is_as_drawn() {
    let names = fs::read_dir(top())
        .expect("the top level can be listed")
        .map(|entry| entry.expect("a directory entry can be read").file_name().to_string_lossy().into_owned());
    let names: BTreeSet<String> = names.filter(|name| name != ".git" && name != "target").collect();
    none(&docs::top_level(&names));
}

#[test]
fn every_link_leads_somewhere() {
    none(&docs::links(&all()));
}

#[test]
fn every_threat_names_a_test_or_a_reason() {
    let sources = all();
    let document = sources.iter().find(|source| source.path == "runtime/THREATS.md");
    let document = document.expect("there is a runtime/THREATS.md");
    assert!(document.text.lines().filter(|line| line.starts_with('|')).count() > 40, "the table is not there");
    let attacks = listed(&SUITES);
    let tests = [docs::functions(&sources), listed(&OTHERS), attacks.clone()].into_iter().flatten().collect();
    none(&docs::threats(document, &tests));
    none(&docs::unnamed(document, &attacks));
}

/// Suites of attacks, and how a name in each begins: another program may be called the same. Their tests are rows of
/// tables, so their names stand in no source.
const SUITES: [(&str, &str); 4] =
    [("escape", "files::"), ("egress", "walls::"), ("recorder", "walks::"), ("walls", "acts::")];

/// Suites that have tests of attacks among others: a row may name them, and need not.
const OTHERS: [(&str, &str); 2] = [("faults", "disks::"), ("inside", "inside::")];

/// What these suites list.
#[expect(clippy::disallowed_methods, reason = "a test asks another test program for its list; no guest is near")]
fn listed(suites: &[(&str, &str)]) -> BTreeSet<String> {
    let own = std::env::current_exe().expect("a running program has a path");
    let mut all = BTreeSet::new();
    for (suite, begin) in suites {
        let entries = fs::read_dir(own.parent().expect("it lies in a directory")).expect("its directory can be listed");
        let paths = entries.filter_map(|entry| entry.ok().map(|entry| entry.path()));
        let named = |path: &PathBuf| {
            let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
            path.extension().is_none() && name.strip_prefix(suite).is_some_and(|rest| rest.starts_with('-'))
        };
        let mut built: Vec<PathBuf> = paths.filter(named).collect();
        built.sort_by_key(|path| Reverse(path.metadata().and_then(|data| data.modified()).ok()));
        // Newest first.
        let listed = built.iter().find_map(|path| {
            let output = Command::new(path).arg("--list").output().expect("a test program can be started");
            let listed = docs::listed(&String::from_utf8_lossy(&output.stdout));
            Some(listed).filter(|listed| listed.iter().any(|name| name.starts_with(*begin)))
        });
        all.extend(listed.unwrap_or_else(|| panic!("{suite} is not built: cargo build -p stockade-tests --tests")));
    }
    all
}

#[test]
fn every_grant_of_a_built_in_profile_has_a_reason() {
    let sources = all();
    let profiles = sources.iter().filter(|s| s.path.starts_with("sandbox-profiles/") && s.is("toml"));
    let profiles: Vec<_> = profiles.cloned().collect();
    assert!(profiles.len() >= 9, "only {} built-in profiles", profiles.len());
    none(&profiles.iter().flat_map(docs::reasons).collect::<Vec<_>>());
}
