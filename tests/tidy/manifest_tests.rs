//! Self-tests of `manifest`: each rule, on a sample that breaks it and one that keeps it.
//! They never read the repository; the checks themselves do.

use super::*;
use crate::source::{none, one};

const DENY: &str = "[licenses]\nallow = [\"MIT\", \"Apache-2.0\"]\n";

#[test]
fn a_licence_off_the_list_is_found() {
    for bad in ["GPL-3.0", "MIT AND GPL-3.0", "GPL-2.0 OR GPL-3.0", "", "Apache-2.0 WITH LLVM-exception"] {
        one(&licences(&format!("x v1.0.0|{bad}"), DENY), 0, "`x v1.0.0`");
    }
    for good in ["MIT", "MIT/GPL-3.0", "MIT AND (GPL-3.0 OR Apache-2.0)", "(MIT)", "(GPL-3.0 OR MIT) AND MIT"] {
        none(&licences(&format!("x v1.0.0|{good} (*)"), DENY));
    }
}

#[test]
fn a_crate_that_knows_another_is_found() {
    let path = "runtime/crates/audit/Cargo.toml";
    let text = "[package]\nname = \"stockade-audit\"\n[dev-dependencies]\nstockade-policy = { path = \"../policy\" }\n";
    one(&independence(&[Source::sample(path, text)]), 4, "`stockade-policy`");
    none(&independence(&[Source::sample(path, "[dependencies]\nserde = \"1\"\n")]));
}

#[test]
fn an_unwanted_crate_is_found() {
    one(&unwanted("stockade-audit v0.1.0\ntokio v1.0.0\nserde v1.0.0"), 0, "`tokio`");
    none(&unwanted("stockade-audit v0.1.0 (/x)\nserde v1.0.0"));
}

#[test]
fn a_member_without_lints_is_found() {
    let member = |text: &str| lints(&[Source::sample("a/Cargo.toml", text)], &["a".to_owned()]);
    one(&member("[package]\nname = \"a\"\n"), 0, "lints");
    none(&member("[lints]\nworkspace = true\n"));
}

#[test]
fn a_test_that_nobody_lists_is_found() {
    let listed = Source::sample("tests/Cargo.toml", "[[test]]\nname = \"a\"\npath = \"a/main.rs\"\n");
    let sources = [listed, Source::sample("tests/a/main.rs", ""), Source::sample("tests/b/main.rs", "")];
    let found = unlisted(&sources);
    one(&found, 0, "lists it");
    assert_eq!(found[0].path, "tests/b/main.rs");
}

#[test]
fn a_use_beside_the_door_is_found() {
    let table = [Door { member: "a", dependency: "big-dep", modules: &["door"], reason: "a sample" }];
    let manifest = Source::sample("a/Cargo.toml", "[dependencies]\nbig-dep = \"1\"\nserde.workspace = true\n");
    let check = |path: &str, text: &str| doors(&[manifest.clone(), Source::sample(path, text)], &["a"], &table);
    one(&check("a/src/other.rs", "\nuse big_dep::X;"), 2, "names `big_dep`");
    one(&check("a/src/other/inner.rs", "fn f() { ::big_dep::x() }"), 1, "names `big_dep`");
    one(&check("a/src/other.rs", "use crate::big_dep; fn f() { ::big_dep::x() }"), 1, "names `big_dep`");
    none(&check("a/src/other.rs", "use crate::{big_dep, x}; fn f() { big_dep::x() }"));
    none(&check("a/src/door.rs", "use big_dep::X;"));
    none(&check("a/src/door/inner.rs", "use big_dep::X;"));
    none(&check("a/src/other.rs", "#[cfg(test)] mod tests { use big_dep::X; }"));
}

#[test]
fn a_dependency_without_a_door_and_a_door_without_a_dependency_are_found() {
    let manifest = Source::sample("a/Cargo.toml", "[dependencies.big]\nversion = \"1\"\n");
    one(&doors(&[manifest], &["a"], &[]), 0, "`big` has no door");
    let table = [Door { member: "a", dependency: "gone", modules: &["*"], reason: "a sample" }];
    one(&doors(&[Source::sample("a/Cargo.toml", "[dependencies]\n")], &["a"], &table), 0, "`gone` leads nowhere");
}
