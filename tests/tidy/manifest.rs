//! What the manifests and the lock file say: targets, dependencies, doors, licences, the independence of the crates.
//! It never resolves dependencies itself; `cargo tree` does, offline and with the lock file as it is.

use super::lex;
use super::shape;
use super::source::{Finding, Source, top};
use std::collections::BTreeSet;
use std::process::Command;

/// Section and entry of a manifest, as written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    /// `dependencies`, `lib`, `[test]` (an array of tables keeps one pair of brackets)…
    pub(crate) section: String,
    /// Left of the `=`.
    pub(crate) key: String,
    /// Right of the `=`, on the same line.
    pub(crate) value: String,
    /// Line, from 1.
    pub(crate) line: usize,
}

/// The entries of a manifest: the small part of TOML that ours are written in.
pub(crate) fn entries(text: &str) -> Vec<Entry> {
    let mut section = String::new();
    let mut found = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let line = line.trim();
        if let Some(name) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            name.clone_into(&mut section);
        } else if let Some((key, value)) = line.split_once('=').filter(|_| !line.starts_with('#')) {
            let (key, value) = (key.trim().to_owned(), value.trim().to_owned());
            found.push(Entry { section: section.clone(), key, value, line: index + 1 });
        }
    }
    found
}

fn unquoted(value: &str) -> &str {
    value.trim_matches('"')
}

/// The members of the workspace, as directories.
pub(crate) fn members(sources: &[Source]) -> Vec<String> {
    let manifest = sources.iter().find(|source| source.path == "Cargo.toml").expect("the workspace has a manifest");
    let members = entries(&manifest.text).into_iter().find(|entry| entry.key == "members");
    let members = members.expect("the workspace names its members");
    members.value.trim_matches(['[', ']']).split(',').map(|name| unquoted(name.trim()).to_owned()).collect()
}

/// Every file that a manifest makes the root of a target.
pub(crate) fn roots(sources: &[Source]) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for manifest in sources.iter().filter(|source| source.path.ends_with("Cargo.toml")) {
        let dir = manifest.path.trim_end_matches("Cargo.toml");
        for entry in entries(&manifest.text).iter().filter(|entry| entry.key == "path") {
            found.insert(format!("{dir}{}", unquoted(&entry.value)));
        }
        found.extend(["src/lib.rs", "src/main.rs", "build.rs"].map(|root| format!("{dir}{root}")));
        let automatic = ["tests/", "benches/", "examples/", "src/bin/"].map(|auto| format!("{dir}{auto}"));
        for source in sources {
            let direct = |auto: &String| {
                let rest = source.path.strip_prefix(auto);
                rest.is_some_and(|rest| {
                    !rest.contains('/') || rest.split_once('/').is_some_and(|(_, file)| file == "main.rs")
                })
            };
            if automatic.iter().any(direct) {
                found.insert(source.path.clone());
            }
        }
    }
    found
}

/// A member that does not inherit the workspace's lints escapes all of them.
pub(crate) fn lints(sources: &[Source], members: &[String]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for member in members {
        let path = format!("{member}/Cargo.toml");
        let manifest = sources.iter().find(|source| source.path == path);
        let inherits = manifest.is_some_and(|manifest| {
            let entries = entries(&manifest.text);
            entries.iter().any(|entry| entry.section == "lints" && entry.key == "workspace" && entry.value == "true")
        });
        if !inherits {
            findings.push(Finding::new(&path, 0, "does not inherit the workspace's lints"));
        }
    }
    findings
}

/// The three crates do not know each other, and nothing of ours stands below them.
pub(crate) fn independence(sources: &[Source]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for manifest in sources.iter().filter(|s| s.path.starts_with("runtime/crates/") && s.path.ends_with("/Cargo.toml"))
    {
        for entry in entries(&manifest.text) {
            let name = entry.key.split('.').next().unwrap_or_default();
            if entry.section.contains("dependencies") && (name == "stockade" || name.starts_with("stockade-")) {
                let what = format!("depends on `{name}`: the three crates do not know each other");
                findings.push(Finding::new(&manifest.path, entry.line, what));
            }
        }
    }
    findings
}

/// Crates that the verifier must do without, in the tree of what `audit` is built from.
pub(crate) fn unwanted(tree: &str) -> Vec<Finding> {
    let unwanted = ["tokio", "wasmtime", "hyper", "stockade", "stockade-policy", "stockade-jail"];
    let names = tree.lines().filter_map(|line| line.split(' ').next());
    let found = names.filter(|name| unwanted.contains(name));
    found.map(|name| Finding::new("runtime/crates/audit/Cargo.toml", 0, format!("pulls in `{name}`"))).collect()
}

/// What `cargo tree` prints, one crate a line; `--offline` so that a test never depends on a registry.
#[expect(clippy::disallowed_methods, reason = "a test asks cargo, which knows what is built; no guest is near")]
pub(crate) fn tree(arguments: &[&str]) -> String {
    let mut command = Command::new("cargo");
    command.args(["tree", "--offline", "--locked", "--prefix", "none"]).args(arguments).current_dir(top());
    let output = command.output().expect("cargo runs: it built this test");
    assert!(output.status.success(), "cargo tree {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("cargo prints UTF-8")
}

/// Crates whose licence the allow-list in `deny.toml` does not cover. `lines` are `name version|licence`.
pub(crate) fn licences(lines: &str, deny: &str) -> Vec<Finding> {
    let allowed = allowed(deny);
    let mut findings = BTreeSet::new();
    for line in lines.lines().map(|line| line.trim_end_matches(" (*)")).filter(|line| !line.is_empty()) {
        let Some((krate, licence)) = line.rsplit_once('|') else { continue };
        let words = licence.replace('/', " OR ").replace('(', " ( ").replace(')', " ) ");
        let words: Vec<&str> = words.split_whitespace().collect();
        if words.is_empty() || !satisfied(&words, &allowed) {
            findings.insert(format!("`{krate}` has licence \"{licence}\""));
        }
    }
    findings.into_iter().map(|what| Finding::new("Cargo.lock", 0, what)).collect()
}

/// The strings of `allow = […]` below `[licenses]`.
fn allowed(deny: &str) -> BTreeSet<String> {
    let section = deny.split("[licenses]").nth(1).expect("deny.toml has a section of licences");
    let list = section.split("allow = [").nth(1).and_then(|rest| rest.split(']').next());
    let list = list.expect("deny.toml allows some licences");
    list.split('"').skip(1).step_by(2).map(str::to_owned).collect()
}

/// Whether an SPDX expression can be met with allowed licences: OR binds weakest, WITH strongest.
fn satisfied(words: &[&str], allowed: &BTreeSet<String>) -> bool {
    let parts = |operator: &str| -> Option<(usize, usize)> {
        let mut depth = 0_i32;
        words.iter().enumerate().find_map(|(at, word)| {
            depth += i32::from(*word == "(") - i32::from(*word == ")");
            (depth == 0 && *word == operator).then_some((at, at + 1))
        })
    };
    if let Some((left, right)) = parts("OR") {
        satisfied(&words[..left], allowed) || satisfied(&words[right..], allowed)
    } else if let Some((left, right)) = parts("AND") {
        satisfied(&words[..left], allowed) && satisfied(&words[right..], allowed)
    } else if let ["(", inner @ .., ")"] = words {
        satisfied(inner, allowed)
    } else {
        allowed.contains(&words.join(" "))
    }
}

/// A file of tests that no `[[test]]` names would never run.
pub(crate) fn unlisted(sources: &[Source]) -> Vec<Finding> {
    let roots = roots(sources);
    let mains = sources.iter().filter(|source| {
        source.path.strip_prefix("tests/").is_some_and(|rest| rest.split('/').nth(1) == Some("main.rs"))
    });
    let lost = mains.filter(|source| !roots.contains(&source.path));
    lost.map(|source| Finding::new(&source.path, 0, "no `[[test]]`, `[[bin]]` or `[[bench]]` lists it")).collect()
}

/// One external dependency of one crate, and the modules through which it enters.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Door {
    /// Directory of the crate.
    pub(crate) member: &'static str,
    /// Name of the dependency, as in the manifest.
    pub(crate) dependency: &'static str,
    /// Top-level modules that may name it; `*` is every one.
    pub(crate) modules: &'static [&'static str],
    /// Why there, and why more than one.
    #[expect(dead_code, reason = "read by people: a door without a reason does not compile")]
    pub(crate) reason: &'static str,
}

/// Dependencies without a door, doors without a dependency, and uses beside the door.
pub(crate) fn doors(sources: &[Source], members: &[&str], doors: &[Door]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for member in members {
        let path = format!("{member}/Cargo.toml");
        let manifest = sources.iter().find(|source| source.path == path).expect("a member has a manifest");
        let names = dependencies(&manifest.text);
        for door in doors.iter().filter(|door| door.member == *member && !names.contains(door.dependency)) {
            findings.push(Finding::new(&path, 0, format!("the door for `{}` leads nowhere", door.dependency)));
        }
        for name in names.iter().filter(|name| !name.starts_with("stockade") && !FREE.contains(&name.as_str())) {
            match doors.iter().find(|door| door.member == *member && door.dependency == name) {
                Some(door) => findings.extend(beside(sources, door)),
                None => findings.push(Finding::new(&path, 0, format!("`{name}` has no door in tests/tidy/doors.rs"))),
            }
        }
    }
    findings
}

/// Vocabulary rather than machinery: derives that any module's types may carry.
const FREE: [&str; 2] = ["serde", "thiserror"];

/// Names below `[dependencies]`, of this target too; those of tests are nobody's door.
fn dependencies(manifest: &str) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for entry in entries(manifest) {
        let section = entry.section.rsplit_once("'.").map_or(entry.section.as_str(), |(_, rest)| rest);
        if section == "dependencies" {
            names.insert(entry.key.split('.').next().unwrap_or_default().to_owned());
        } else if let Some(name) = section.strip_prefix("dependencies.") {
            names.insert(name.to_owned());
        }
    }
    names
}

/// Uses of a dependency in modules that are not its door; tests may name what they need.
fn beside(sources: &[Source], door: &Door) -> Vec<Finding> {
    if door.modules == ["*"] {
        return Vec::new();
    }
    let root = format!("{}/src/", door.member);
    let krate = door.dependency.replace('-', "_");
    let mut findings = Vec::new();
    for source in sources.iter().filter(|source| source.path.starts_with(&root) && source.is("rs")) {
        let module = source.path[root.len()..].trim_end_matches(".rs").split('/').next().unwrap_or_default();
        if door.modules.contains(&module) || shape::is_test_file(&source.path) {
            continue;
        }
        let code = lex::without_tests(&lex::code(&source.text));
        let paths = lex::paths(&code);
        // A module of ours may carry the name of the crate that it is the door of; `::name` is the crate even there.
        let declared = code.windows(2).any(|pair| pair[0].text == "mod" && pair[1].text == krate);
        let imported = paths.iter().any(|used| used.segments.len() > 1 && used.segments.last() == Some(&krate));
        let own = declared || imported;
        let uses = paths.into_iter();
        let uses = uses.filter(|used| used.segments.first() == Some(&krate) && (used.rooted || !own));
        let what = |used: lex::Used| {
            Finding::new(&source.path, used.line, format!("names `{krate}`, whose door is {:?}", door.modules))
        };
        findings.extend(uses.map(what));
    }
    findings
}

#[cfg(test)]
#[path = "manifest_tests.rs"]
mod tests;
