//! What is committed about the components: their digests, the digest of what they are built from, the toolchain.
//! It never repairs anything while it compares.

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

const FILE: &str = "manifest.json";
/// What every component depends on, beside its own directory below `tools` and the crates that it names.
const SHARED: [&str; 3] = ["Cargo.lock", "Cargo.toml", "wit"];
/// How a crate of this workspace is called, before the name of its directory below `crates`.
const CRATE: &str = "stockade-";

/// Writes `manifest.json` for the components that lie in `components`; others' entries stay.
pub(crate) fn record(root: &Path, components: &Path, toolchain: &Path, names: &[String]) -> Result<()> {
    let path = components.join(FILE);
    let known = if path.exists() { read(&path)? } else { json!({}) };
    let mut entries = known.get("components").and_then(Value::as_object).cloned().unwrap_or_default();
    entries.retain(|name, _| root.join("tools").join(name).is_dir());
    for name in names {
        entries.insert(name.clone(), entry(root, components, name)?);
    }
    let entries: Map<String, Value> = sorted(entries);
    let text = serde_json::to_string_pretty(&json!({ "toolchain": read(toolchain)?, "components": entries }))?;
    fs::write(&path, text + "\n").with_context(|| format!("cannot write {}", path.display()))
}

/// Holds what was just built, and the sources, against what is committed. Exit status 0: the same bytes. An error says
/// what differs; another toolchain than the committed one's is no error, and is said on standard output.
pub(crate) fn compare(root: &Path, built: &Path, toolchain: &Path, names: &[String]) -> Result<()> {
    let committed = root.join("components");
    let known = read(&committed.join(FILE))?;
    let entries = known.get("components").and_then(Value::as_object).context("manifest.json has no components")?;
    if let Some(name) = entries.keys().find(|name| !names.contains(name)) {
        bail!("manifest.json names \"{name}\", which no directory below tools builds");
    }
    let same = known.get("toolchain") == Some(&read(toolchain)?);
    let mut wrong = Vec::new();
    for name in names {
        let Some(wanted) = entries.get(name) else {
            wrong.push(format!("\"{name}\" is not in manifest.json"));
            continue;
        };
        let there = entry(root, &committed, name)?;
        if wanted.get("sha256") != there.get("sha256") {
            wrong.push(format!("components/{name}.wasm is not the file that manifest.json names"));
        }
        if wanted.get("source") != there.get("source") {
            wrong.push(format!("the sources of \"{name}\" changed after it was built"));
        }
        let rebuilt = entry(root, built, name)?;
        if same && rebuilt.get("sha256") != wanted.get("sha256") {
            wrong.push(format!("building \"{name}\" again gives other bytes: {}", rebuilt["sha256"]));
        }
    }
    ensure!(
        wrong.is_empty(),
        "{}\nhint: tools-wasm/build builds them, then commit tools-wasm/components",
        wrong.join("\n")
    );
    say(if same { "the same bytes" } else { "another toolchain than the committed components'" });
    Ok(())
}

#[expect(clippy::print_stdout, reason = "this program's one answer, read by the script that runs it")]
fn say(what: &str) {
    println!("{what}");
}

fn entry(root: &Path, components: &Path, name: &str) -> Result<Value> {
    let path = components.join(format!("{name}.wasm"));
    let bytes = fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
    Ok(json!({ "sha256": hex(&Sha256::digest(&bytes)), "bytes": bytes.len(), "source": source(root, name)? }))
}

/// One digest over paths and contents of everything that a component is made of.
fn source(root: &Path, name: &str) -> Result<String> {
    let mut files = Vec::new();
    let own = root.join("tools").join(name);
    let shared = SHARED.iter().map(|place| root.join(place));
    for place in shared.chain(crates(root, &own)?).chain([own]) {
        collect(&place, &mut files)?;
    }
    let mut names: Vec<(String, PathBuf)> = Vec::new();
    for path in files {
        let short = path.strip_prefix(root).context("a source lies outside of the workspace")?;
        names.push((short.to_string_lossy().into_owned(), path));
    }
    names.sort();
    let mut hash = Sha256::new();
    for (short, path) in names {
        let content = fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
        hash.update(format!("{short}\0{}\n", hex(&Sha256::digest(&content))));
    }
    Ok(hex(&hash.finalize()))
}

/// The crates of this workspace that a crate is made with, those of its crates included.
fn crates(root: &Path, own: &Path) -> Result<BTreeSet<PathBuf>> {
    let (mut found, mut open) = (BTreeSet::new(), vec![own.to_owned()]);
    while let Some(directory) = open.pop() {
        let path = directory.join("Cargo.toml");
        let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let names = text.lines().filter_map(|line| line.strip_prefix(CRATE)?.split(['.', ' ', '=']).next());
        for name in names {
            let directory = root.join("crates").join(name);
            if found.insert(directory.clone()) {
                open.push(directory);
            }
        }
    }
    Ok(found)
}

/// Regular files below a place; tests do not enter a component.
fn collect(place: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    if place.is_file() {
        files.push(place.to_owned());
        return Ok(());
    }
    let entries = fs::read_dir(place).with_context(|| format!("cannot list {}", place.display()))?;
    for entry in entries {
        let entry = entry.with_context(|| format!("cannot list {}", place.display()))?;
        if !["tests", "tests.rs", "target"].iter().any(|skipped| entry.file_name() == *skipped) {
            collect(&entry.path(), files)?;
        }
    }
    Ok(())
}

fn read(path: &Path) -> Result<Value> {
    let text = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    serde_json::from_slice(&text).with_context(|| format!("{} is not JSON", path.display()))
}

fn sorted(entries: Map<String, Value>) -> Map<String, Value> {
    let mut pairs: Vec<_> = entries.into_iter().collect();
    pairs.sort_by(|a, b| a.0.cmp(&b.0));
    pairs.into_iter().collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
