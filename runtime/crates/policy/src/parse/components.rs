//! Reads `[[tool]]`: components that are not built in.
//! It never accepts one that could be any file: it says where it lies or what it is.

use super::Scribe;
use super::fields::Fields;
use super::rules::reason;
use crate::component::{ComponentDigest, ComponentRule};
use crate::name::{Flaw, TEXT_BYTES_MAX, ToolName, plain, tool_pattern};
use crate::rule::Rule;
use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;

/// `[[tool]]`
pub(super) fn components(fields: &mut Fields<'_>, scribe: &mut Scribe) -> Vec<Rule<ComponentRule>> {
    let mut out: Vec<Rule<ComponentRule>> = Vec::new();
    for (line, entries) in fields.tables("tool", "tool") {
        let mut tool = Fields::new(fields.file, "tool", line, entries, fields.findings);
        let reason = reason(&mut tool);
        let subject = component(&mut tool);
        tool.finish();
        let id = scribe.id(line);
        if let (Some(reason), Some(subject)) = (reason, subject) {
            out.push(Rule { id, file: Arc::clone(&scribe.file), reason, subject });
        }
    }
    out
}

fn component(fields: &mut Fields<'_>) -> Option<ComponentRule> {
    const NAME: &str = "add name = \"tool\"";
    let line = fields.line;
    if fields.has("directory") {
        let names = fields.required("name", "add name = \"*\", or a pattern for the names of the files", tool_pattern);
        let path = fields.parsed("directory", |text| plain(text, "directory", TEXT_BYTES_MAX).map(String::from));
        for (key, hint) in [
            ("file", "name one of both; a directory's tools have the names of their files"),
            ("sha256", "pin a tool with a [[tool]] of its own: name, file and sha256"),
        ] {
            if let Some(entry) = fields.take(key) {
                fields.note(entry.line, format!("tool has both \"directory\" and \"{key}\""), hint);
            }
        }
        return Some(ComponentRule::Directory { names: names?, path: path? });
    }
    let name = fields.required("name", NAME, ToolName::parse);
    let (has_file, has_digest) = (fields.has("file"), fields.has("sha256"));
    let path = fields.parsed("file", file);
    let digest = fields.parsed("sha256", ComponentDigest::parse);
    // Asked for, so that the key is among those that a wrong one is compared with.
    fields.take("directory");
    if !has_file && !has_digest {
        let hint = "add file = \"tool.wasm\", sha256 = \"…\", or both; or directory = \"tools\"";
        fields.note(line, "tool does not say which component it is", hint);
    }
    match (path, digest) {
        (Some(path), digest) if !has_digest || digest.is_some() => {
            Some(ComponentRule::File { name: name?, path, digest })
        }
        (None, Some(digest)) if !has_file => Some(ComponentRule::Known { name: name?, digest }),
        (Some(_) | None, _) => None,
    }
}

fn file(text: &str) -> Result<String, Flaw> {
    let text = plain(text, "file", TEXT_BYTES_MAX)?;
    if text.ends_with(".wasm") {
        return Ok(text.into());
    }
    Err(Flaw::new(format!("file \"{text}\" is no component"), "name a file that ends in \".wasm\""))
}
