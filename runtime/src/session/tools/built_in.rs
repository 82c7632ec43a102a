//! The components that are part of this program, as `tools-wasm/components` has them, and what each of them must be.
//! It never hands out one that is another than the manifest beside them says.

use crate::backend::wasm::Component;
use crate::error::{Error, Result};
use serde::Deserialize;
use std::collections::BTreeMap;
use stockade_policy::ComponentDigest;

/// Which component is what, written by the build of `tools-wasm`.
const MANIFEST: &str = include_str!("../../../../tools-wasm/components/manifest.json");

macro_rules! components {
    ($($name:literal)*) => {
        /// Name and bytes of each.
        const COMPONENTS: &[(&str, &[u8])] =
            &[$(($name, include_bytes!(concat!("../../../../tools-wasm/components/", $name, ".wasm")))),*];
    };
}

components! { "edit" "fetch" "glob" "grep" "list" "noop" "patch" "read" "shell" "write" }

/// What is read of the manifest.
#[derive(Deserialize)]
struct Manifest {
    components: BTreeMap<String, Entry>,
}

#[derive(Deserialize)]
struct Entry {
    sha256: String,
}

/// Their names.
pub(super) fn names() -> impl Iterator<Item = &'static str> {
    COMPONENTS.iter().map(|(name, _)| *name)
}

/// The component of this name, if there is one.
///
/// # Errors
/// Bug: it is another than its manifest says.
pub(super) fn component(name: &str) -> Result<Option<Component>> {
    let Some((_, bytes)) = COMPONENTS.iter().find(|(known, _)| *known == name) else { return Ok(None) };
    let component = Component::parse(bytes.to_vec())?;
    let wrong = |why: &str| Error::bug(format!("the component \"{name}\" of this program {why}"));
    let manifest: Manifest = serde_json::from_str(MANIFEST).map_err(|error| wrong(&error.to_string()))?;
    let entry = manifest.components.get(name).ok_or_else(|| wrong("is in no manifest"))?;
    let digest = ComponentDigest::parse(&entry.sha256).map_err(|flaw| wrong(&flaw.what))?;
    if digest.0 != *component.digest() {
        return Err(wrong("is another than the manifest says"));
    }
    Ok(Some(component))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_component_that_was_built_is_here_and_is_what_it_is_said_to_be() {
        let manifest: Manifest = serde_json::from_str(MANIFEST).expect("it is written by a program");
        let built: Vec<&str> = manifest.components.keys().map(String::as_str).collect();
        let mut here: Vec<&str> = names().collect();
        here.sort_unstable();
        assert_eq!(here, built);
        for name in here {
            let component = component(name).unwrap_or_else(|error| panic!("{error}")).expect("it is listed");
            assert_eq!(component.manifest().name, name);
        }
        assert!(component("unheard-of").expect("nothing is wrong with none").is_none());
    }
}
