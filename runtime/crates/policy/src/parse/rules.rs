//! Reads grants and restrictions on paths, commands, tools, variables and sockets.
//! It never accepts a rule without a reason, nor one that cannot match.

use super::fields::Fields;
use super::{Scribe, net};
use crate::component::{Ambient, ToolGrant};
use crate::document::{Entry, Item, Node};
use crate::glob::{ArgvGlob, WordGlob};
use crate::guard::WorkspacePattern;
use crate::name::{EnvName, Flaw, NAME_BYTES_MAX, Reason, TEXT_BYTES_MAX, env_pattern, plain, tool_pattern};
use crate::path::WrittenPath;
use crate::rule::{
    Access, ArgumentGlob, Condition, EnvGrant, Grant, Matter, Place, Presence, Restriction, Rule, ToolMatch, Verb,
};
use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;

/// What a rule can be about, as the keys below `grant`, `ask` and `deny`.
#[derive(Clone, Copy)]
enum Kind {
    Path(Access),
    Net,
    Tool,
    Env,
    Unix,
    Port,
}

const KINDS: [(&str, Kind); 8] = [
    ("read", Kind::Path(Access::Read)),
    ("write", Kind::Path(Access::Write)),
    ("exec", Kind::Path(Access::Exec)),
    ("net", Kind::Net),
    ("tool", Kind::Tool),
    ("env", Kind::Env),
    ("unix", Kind::Unix),
    ("port", Kind::Port),
];

/// `[[grant.X]]`
pub(super) fn grants(fields: &mut Fields<'_>, scribe: &mut Scribe) -> Vec<Rule<Grant<WrittenPath>>> {
    rules(fields, scribe, "grant", |fields, kind| match kind {
        Kind::Path(access) => {
            let hint = "add path = \"/dir\", \"~/dir\" or \"./dir\"";
            let path = fields.required("path", hint, WrittenPath::parse);
            let presence = presence(fields);
            Some(Grant::Path { access, path: path?, presence })
        }
        Kind::Net => net::grant(fields).map(Grant::Net),
        Kind::Tool => {
            let allowed = tool(fields);
            let mut gives = |key, unsaid| fields.boolean(key).unwrap_or(unsaid);
            let gives = Ambient {
                clocks: gives("clocks", true),
                random: gives("random", true),
                arguments: gives("arguments", true),
                stdin: gives("stdin", true),
                // The others are harmless beside what a socket is: that one is said, or not given.
                sockets: gives("sockets", false),
            };
            Some(Grant::Tool(ToolGrant { allowed: allowed?, gives }))
        }
        Kind::Env => env_grant(fields).map(Grant::Env),
        Kind::Unix => {
            let path = fields.required("path", "add path = \"/run/x.sock\"", WrittenPath::parse);
            let presence = presence(fields);
            Some(Grant::Unix { path: path?, presence })
        }
        Kind::Port => net::inside(fields, net::Unsaid::Missing).map(|ports| Grant::Port(ports.these().to_vec())),
    })
}

/// `[[ask.X]]`, `[[deny.X]]`
pub(super) fn restrictions(
    fields: &mut Fields<'_>,
    scribe: &mut Scribe,
    verb: Verb,
) -> Vec<Rule<Restriction<WrittenPath>>> {
    rules(fields, scribe, verb.as_str(), |fields, kind| {
        let matter = match kind {
            Kind::Path(Access::Exec) if fields.has("argv") => command(fields)?,
            Kind::Path(access) => {
                let hint = "add path = \"/dir\", \"./dir\" or a pattern such as \"**/.env\"";
                Matter::Path { access, place: fields.required("path", hint, place)? }
            }
            Kind::Net => Matter::Net(net::restriction(fields)?),
            Kind::Tool => Matter::Tool(tool(fields)?),
            Kind::Env => Matter::Env(fields.required("name", "add name = \"VARIABLE\"", env_pattern)?),
            Kind::Unix => Matter::Unix(fields.required("path", "add path = \"/run/x.sock\"", WrittenPath::parse)?),
            Kind::Port => Matter::Port(net::inside(fields, net::Unsaid::Any)?),
        };
        Some(Restriction { verb, matter })
    })
}

/// Reads all rules below `key`, giving each an id and its reason.
fn rules<S: PartialEq>(
    fields: &mut Fields<'_>,
    scribe: &mut Scribe,
    key: &'static str,
    read: impl Fn(&mut Fields<'_>, Kind) -> Option<S>,
) -> Vec<Rule<S>> {
    let Some((line, entries)) = fields.table(key) else { return Vec::new() };
    let mut kinds = Fields::new(fields.file, key, line, entries, fields.findings);
    let mut out: Vec<Rule<S>> = Vec::new();
    for (name, kind) in KINDS {
        for (line, entries) in kinds.tables(name, &format!("{key}.{name}")) {
            let mut rule = Fields::new(kinds.file, key, line, entries, kinds.findings);
            let reason = reason(&mut rule);
            let subject = read(&mut rule, kind);
            let id = scribe.id(line);
            if let Some(twin) = subject.as_ref().and_then(|new| out.iter().find(|rule| &rule.subject == new)) {
                rule.note(line, format!("{key} repeats line {}", twin.id.line()), "remove one");
            }
            rule.finish();
            if let (Some(reason), Some(subject)) = (reason, subject) {
                out.push(Rule { id, file: Arc::clone(&scribe.file), reason, subject });
            }
        }
    }
    kinds.finish();
    out.sort_by(|a, b| a.id.cmp(&b.id));
    out
}

pub(super) fn reason(fields: &mut Fields<'_>) -> Option<Reason> {
    fields.required("reason", "add reason = \"why this tool needs it\"", Reason::parse)
}

fn presence(fields: &mut Fields<'_>) -> Presence {
    match fields.boolean("optional") {
        Some(true) => Presence::Optional,
        Some(false) | None => Presence::Required,
    }
}

/// A path as in a grant, or a pattern for the workspace.
fn place(text: &str) -> Result<Place<WrittenPath>, Flaw> {
    let starts_elsewhere = text.starts_with(['/', '~', '$']);
    if text.contains(['*', '?']) && !starts_elsewhere {
        return Ok(Place::Workspace(WorkspacePattern::parse(text)?));
    }
    if text.contains(['*', '?']) {
        let hint = "patterns are for the workspace, such as \"**/.env\"; elsewhere name the directory";
        return Err(Flaw::new(format!("path \"{text}\" has a pattern outside the workspace"), hint));
    }
    Ok(Place::Subtree(WrittenPath::parse(text)?))
}

fn command(fields: &mut Fields<'_>) -> Option<Matter<WrittenPath>> {
    let program = if fields.has("path") { Some(fields.parsed("path", WrittenPath::parse)) } else { None };
    let items = fields.items("argv", "a list of words");
    let mut words = Vec::new();
    for Item { line, node } in items? {
        match node.into_string() {
            Ok(text) => {
                // An empty word is a word of a command like any other.
                let checked = if text.is_empty() { Ok("") } else { plain(&text, "word", NAME_BYTES_MAX) };
                words.push(WordGlob::new(fields.check(line, checked)?));
            }
            Err(other) => {
                fields.note(line, format!("\"argv\" has {} among its words", other.kind()), "write strings");
                return None;
            }
        }
    }
    if words.first().is_some_and(|word| word.as_str() == "**") {
        fields.note(fields.line, "\"argv\" does not name a program", "start it with a program's name");
        return None;
    }
    match program {
        Some(None) => None,
        Some(program) => Some(Matter::Command { program, argv: ArgvGlob::new(words) }),
        None => Some(Matter::Command { program: None, argv: ArgvGlob::new(words) }),
    }
}

fn env_grant(fields: &mut Fields<'_>) -> Option<EnvGrant> {
    let hint = "add name = \"VARIABLE\"";
    if !fields.has("value") {
        return fields.required("name", hint, env_pattern).map(EnvGrant::Pass);
    }
    let name = fields.required("name", hint, EnvName::parse);
    // An empty value is one that programs distinguish from none.
    let value = fields.parsed("value", |text| {
        if text.is_empty() { Ok(String::new()) } else { plain(text, "value", TEXT_BYTES_MAX).map(String::from) }
    });
    Some(EnvGrant::Set { name: name?, value: value? })
}

fn tool(fields: &mut Fields<'_>) -> Option<ToolMatch> {
    let name = fields.required("name", "add name = \"tool\"", tool_pattern);
    let mut conditions = Vec::new();
    if let Some((line, entries)) = fields.table("args") {
        if entries.is_empty() {
            fields.note(line, "\"args\" is empty", "give a condition, or leave the key out");
        }
        for entry in entries {
            conditions.push(condition(fields, entry)?);
        }
        conditions.sort_by(|a: &Condition, b| a.argument.cmp(&b.argument));
    }
    Some(ToolMatch { name: name?, conditions })
}

/// `argument = "pattern"` or `argument = ["pattern", …]`
fn condition(fields: &mut Fields<'_>, entry: Entry) -> Option<Condition> {
    let checked = plain(&entry.key, "argument name", NAME_BYTES_MAX).map(String::from);
    let argument = fields.check(entry.line, checked)?;
    let Item { line, node } = entry.value;
    let items = match node.into_array() {
        Ok(items) if !items.is_empty() => items,
        Err(Node::String(text)) => alloc::vec![Item { line, node: Node::String(text) }],
        Ok(_) | Err(_) => {
            fields.note(line, format!("condition on \"{argument}\" is no pattern"), "give a string, or a list of them");
            return None;
        }
    };
    let mut any_of = Vec::new();
    for Item { line, node } in items {
        let Node::String(text) = node else {
            fields.note(line, format!("condition on \"{argument}\" has {}", node.kind()), "give strings");
            return None;
        };
        let checked = plain(&text, "pattern", TEXT_BYTES_MAX).and_then(|text| {
            if text.split('/').any(|part| part == "..") {
                return Err(Flaw::new(format!("pattern \"{text}\" has \"..\""), "no text with \"..\" is ever granted"));
            }
            Ok(ArgumentGlob::new(text))
        });
        any_of.push(fields.check(line, checked)?);
    }
    Some(Condition { argument, any_of })
}
