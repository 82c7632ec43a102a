//! Reads one profile's text into a `ProfileFile`, or a project's own into a `ProjectFile`, reporting everything wrong.
//! It never opens a file: the caller brings the bytes and says what to call them.

mod components;
mod fields;
mod net;
mod place;
mod rules;

use crate::backend::{BackendName, WallWords};
use crate::component::ComponentRule;
use crate::diagnostic::{Diagnostics, Findings};
use crate::document::{self, Entry, Item, Node};
use crate::guard::{Guard, WorkspacePattern};
use crate::image::{ImageReference, RuntimeName};
use crate::limits::{Durability, Floor, LIMIT_MAX, Limit, RecordFloor, Recording};
use crate::name::{Flaw, ProfileName, RuleId, TEXT_BYTES_MAX, plain};
use crate::path::WrittenPath;
use crate::rule::{Grant, Restriction, Rule, Secret, Verb};
use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use fields::Fields;

/// Most rules of one profile file: grants, restrictions, secrets and guards together.
pub const RULES_MAX: usize = 4096;
/// The version of the syntax that is read.
pub const PROFILE_VERSION: i64 = 1;

/// A value with its line, for findings that only show when profiles are joined.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct At<T> {
    pub(crate) line: u32,
    pub(crate) value: T,
}

/// One profile's text, read. What it extends is not yet joined.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProfileFile {
    pub(crate) file: Arc<str>,
    pub(crate) name: ProfileName,
    pub(crate) description: String,
    pub(crate) extends: Vec<At<ProfileName>>,
    pub(crate) guard: Vec<At<ProfileName>>,
    pub(crate) floor: Option<Floor>,
    pub(crate) durability: Option<Durability>,
    pub(crate) recording: Option<Recording>,
    pub(crate) record_floor: Option<At<RecordFloor>>,
    pub(crate) wall: WallWords,
    pub(crate) grants: Vec<Rule<Grant<WrittenPath>>>,
    pub(crate) secrets: Vec<Rule<Secret>>,
    pub(crate) components: Vec<Rule<ComponentRule>>,
    pub(crate) tightening: Tightening,
}

/// What both kinds of file can say: everything that takes away.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Tightening {
    pub(crate) restrictions: Vec<Rule<Restriction<WrittenPath>>>,
    pub(crate) protect: Vec<Guard>,
    pub(crate) hold: Vec<Guard>,
    pub(crate) limits: Vec<(Limit, At<u64>)>,
}

/// A project's own `stockade.toml`, read. It has no room for anything that widens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProjectFile {
    pub(crate) file: Arc<str>,
    pub(crate) floor: Option<At<Floor>>,
    pub(crate) durability: Option<At<Durability>>,
    pub(crate) recording: Option<At<Recording>>,
    pub(crate) record_floor: Option<At<RecordFloor>>,
    pub(crate) tightening: Tightening,
}

impl ProfileFile {
    /// The name that the file gives itself.
    pub const fn name(&self) -> &ProfileName {
        &self.name
    }

    /// One line about the profile; empty when it has none.
    pub fn description(&self) -> &str {
        &self.description
    }

    /// The file as the caller named it.
    pub fn file(&self) -> &str {
        &self.file
    }

    /// Profiles that must be known to resolve this one.
    pub fn needs(&self) -> impl Iterator<Item = &ProfileName> {
        self.extends.iter().chain(&self.guard).map(|at| &at.value)
    }
}

/// Reads a profile. `file` is what messages call it.
///
/// # Errors
/// Everything that is wrong with the text.
pub fn parse(file: &str, bytes: &[u8]) -> Result<ProfileFile, Diagnostics> {
    let mut findings = Findings::default();
    let value = read_profile(file, bytes, &mut findings);
    findings.finish(value)
}

/// Reads a project's own file, which can only take away.
///
/// # Errors
/// Everything that is wrong with the text, and everything in it that would widen a profile.
pub fn parse_project(file: &str, bytes: &[u8]) -> Result<ProjectFile, Diagnostics> {
    let mut findings = Findings::default();
    let value = read_project(file, bytes, &mut findings);
    findings.finish(value)
}

fn read_profile(file: &str, bytes: &[u8], findings: &mut Findings) -> Option<ProfileFile> {
    let entries = document::read(file, bytes, findings)?;
    let mut fields = Fields::new(file, "profile", 1, entries, findings);
    version(&mut fields)?;
    let name = fields.required("name", "add name = \"my-profile\"", ProfileName::parse);
    // A file without a usable name is refused in any case; the stand-in lets the rest of it be read.
    let source = name.clone().unwrap_or_else(ProfileName::of_project);
    let description = fields.parsed("description", |text| plain(text, "description", TEXT_BYTES_MAX).map(String::from));
    let extends = names(&mut fields, "extends");
    let guard = names(&mut fields, "guard");
    let floor = floor(&mut fields).map(|at| at.value);
    let durability = durability(&mut fields).map(|at| at.value);
    let recording = recording(&mut fields).map(|at| at.value);
    let record_floor = record_floor(&mut fields);
    let wall = wall(&mut fields);
    let mut scribe = Scribe { file: file.into(), source, on_line: BTreeMap::new(), rules: 0 };
    let grants = rules::grants(&mut fields, &mut scribe);
    let tightening = tightening(&mut fields, &mut scribe);
    let secrets = net::secrets(&mut fields, &mut scribe);
    let components = components::components(&mut fields, &mut scribe);
    scribe.check_count(&mut fields);
    fields.finish();
    Some(ProfileFile {
        file: scribe.file,
        name: name?,
        description: description.unwrap_or_default(),
        extends,
        guard,
        floor,
        durability,
        recording,
        record_floor,
        wall,
        grants,
        secrets,
        components,
        tightening,
    })
}

fn read_project(file: &str, bytes: &[u8], findings: &mut Findings) -> Option<ProjectFile> {
    let entries = document::read(file, bytes, findings)?;
    let mut fields = Fields::new(file, "project file", 1, entries, findings);
    version(&mut fields)?;
    for (key, hint) in [
        ("grant", "ask for a profile that has the grant: stockade run --profile …"),
        ("secret", "secrets belong into the profile of the person who starts the session"),
        ("tool", "components belong into the profile of the person who starts the session"),
        ("extends", "choose the profile with stockade run --profile …"),
        ("guard", "copy the patterns into protect and hold"),
        ("backend", "choose the wall with stockade run --backend …"),
        ("image", "choose the image with stockade run --image …"),
        ("runtime", "choose the runtime with stockade run --runtime …"),
    ] {
        if let Some(entry) = fields.take(key) {
            fields.note(entry.line, format!("\"{key}\" could widen the profile, a project cannot"), hint);
        }
    }
    fields.parsed("name", |text| plain(text, "name", TEXT_BYTES_MAX).map(String::from));
    fields.parsed("description", |text| plain(text, "description", TEXT_BYTES_MAX).map(String::from));
    let floor = floor(&mut fields);
    let durability = durability(&mut fields);
    let recording = recording(&mut fields);
    let record_floor = record_floor(&mut fields);
    let source = ProfileName::of_project();
    let mut scribe = Scribe { file: file.into(), source, on_line: BTreeMap::new(), rules: 0 };
    let tightening = tightening(&mut fields, &mut scribe);
    scribe.check_count(&mut fields);
    fields.finish();
    Some(ProjectFile { file: scribe.file, floor, durability, recording, record_floor, tightening })
}

/// Numbers the rules of a file.
pub(crate) struct Scribe {
    file: Arc<str>,
    source: ProfileName,
    /// Rules so far that begin on a line.
    on_line: BTreeMap<u32, u32>,
    rules: usize,
}

impl Scribe {
    fn id(&mut self, line: u32) -> RuleId {
        let count = self.on_line.entry(line).or_default();
        let id = RuleId::new(self.source.clone(), line, *count);
        *count += 1;
        self.rules += 1;
        id
    }

    fn check_count(&self, fields: &mut Fields<'_>) {
        if self.rules > RULES_MAX {
            let what = format!("profile has {} rules, more than {RULES_MAX}", self.rules);
            fields.note(1, what, "grant directories instead of files, or split the profile");
        }
    }
}

/// `None` when the file cannot be read any further.
fn version(fields: &mut Fields<'_>) -> Option<()> {
    let hint = format!("add profile = {PROFILE_VERSION}");
    let Some(entry) = fields.take("profile") else {
        fields.note(1, "file does not say which version of the syntax it has", hint);
        return Some(());
    };
    let what = match entry.value.node.integer() {
        Some(PROFILE_VERSION) => return Some(()),
        Some(newer) if newer > PROFILE_VERSION => {
            let hint = format!("this stockade reads profile = {PROFILE_VERSION}: update it");
            fields.note(entry.value.line, format!("profile = {newer} is from a newer version"), hint);
            return None;
        }
        Some(other) => format!("profile = {other} is no version"),
        None => format!("\"profile\" is {}", entry.value.node.kind()),
    };
    fields.note(entry.value.line, what, format!("write profile = {PROFILE_VERSION}"));
    None
}

fn names(fields: &mut Fields<'_>, key: &'static str) -> Vec<At<ProfileName>> {
    let line = fields.line_of(key);
    let names = fields.list(key, ProfileName::parse).unwrap_or_default();
    names.into_iter().map(|value| At { line, value }).collect()
}

fn one_of<T: Copy>(
    fields: &mut Fields<'_>,
    key: &'static str,
    values: &[T],
    as_str: impl Fn(T) -> &'static str,
) -> Option<At<T>> {
    let text = fields.text(key)?;
    if let Some(&value) = values.iter().find(|&&value| as_str(value) == text.text) {
        return Some(At { line: text.line, value });
    }
    let known: Vec<_> = values.iter().map(|&value| format!("\"{}\"", as_str(value))).collect();
    fields.note(text.line, format!("unknown {key} \"{}\"", text.text), format!("write {}", known.join(" or ")));
    None
}

fn floor(fields: &mut Fields<'_>) -> Option<At<Floor>> {
    one_of(fields, "floor", &[Floor::Full, Floor::Partial], Floor::as_str)
}

fn durability(fields: &mut Fields<'_>) -> Option<At<Durability>> {
    let values = [Durability::Group, Durability::BeforeResult, Durability::BeforeRun];
    one_of(fields, "durability", &values, Durability::as_str)
}

fn recording(fields: &mut Fields<'_>) -> Option<At<Recording>> {
    let values = [Recording::Changes, Recording::AllOpens, Recording::Off];
    one_of(fields, "record", &values, Recording::as_str)
}

fn record_floor(fields: &mut Fields<'_>) -> Option<At<RecordFloor>> {
    let values = [RecordFloor::Performed, RecordFloor::Observed, RecordFloor::Traced, RecordFloor::OutcomeOnly];
    one_of(fields, "record_floor", &values, RecordFloor::as_str)
}

fn wall(fields: &mut Fields<'_>) -> WallWords {
    let backend = one_of(fields, "backend", &BackendName::ALL, BackendName::as_str);
    let image = placed(fields, "image", ImageReference::parse);
    let runtime = placed(fields, "runtime", RuntimeName::parse);
    let words = WallWords { backend, image, runtime };
    if let Some((line, flaw)) = words.contradiction() {
        fields.note(line, flaw.what, flaw.hint);
    }
    words
}

/// A string, read by `parse`, with its line.
fn placed<T>(fields: &mut Fields<'_>, key: &'static str, parse: impl Fn(&str) -> Result<T, Flaw>) -> Option<At<T>> {
    let text = fields.text(key)?;
    let value = fields.check(text.line, parse(&text.text))?;
    Some(At { line: text.line, value })
}

fn tightening(fields: &mut Fields<'_>, scribe: &mut Scribe) -> Tightening {
    let mut restrictions = rules::restrictions(fields, scribe, Verb::Ask);
    restrictions.extend(rules::restrictions(fields, scribe, Verb::Deny));
    Tightening {
        restrictions,
        protect: guards(fields, scribe, "protect"),
        hold: guards(fields, scribe, "hold"),
        limits: limits(fields),
    }
}

fn limits(fields: &mut Fields<'_>) -> Vec<(Limit, At<u64>)> {
    let Some((line, entries)) = fields.table("limits") else { return Vec::new() };
    let mut fields = Fields::new(fields.file, "limits", line, entries, fields.findings);
    let mut out = Vec::new();
    for limit in Limit::ALL {
        let line = fields.line_of(limit.key());
        if let Some(value) = fields.count(limit.key(), LIMIT_MAX) {
            out.push((limit, At { line, value }));
        }
    }
    fields.finish();
    out
}

/// `protect` and `hold`: lists of patterns, or of tables with a pattern and its exceptions.
fn guards(fields: &mut Fields<'_>, scribe: &mut Scribe, key: &'static str) -> Vec<Guard> {
    let items = fields.items(key, "a list of patterns").unwrap_or_default();
    let mut out: Vec<Guard> = Vec::new();
    for Item { line, node } in items {
        let read = match node.into_table() {
            Ok(entries) => guard_with_exceptions(fields, key, line, entries),
            Err(Node::String(text)) => {
                fields.check(line, WorkspacePattern::parse(&text)).map(|pattern| (pattern, Vec::new()))
            }
            Err(other) => {
                let what = format!("\"{key}\" has {} among its patterns", other.kind());
                fields.note(line, what, "write \"pattern\" or { pattern = \"…\", except = [\"…\"] }");
                None
            }
        };
        let Some((pattern, except)) = read else { continue };
        if let Some(twin) = out.iter().find(|guard| guard.pattern == pattern) {
            let what = format!("pattern \"{pattern}\" repeats line {}", twin.id.line());
            fields.note(line, what, "remove one");
        }
        out.push(Guard { id: scribe.id(line), file: Arc::clone(&scribe.file), pattern, except });
    }
    out
}

fn guard_with_exceptions(
    fields: &mut Fields<'_>,
    key: &'static str,
    line: u32,
    entries: Vec<Entry>,
) -> Option<(WorkspacePattern, Vec<WorkspacePattern>)> {
    let mut fields = Fields::new(fields.file, key, line, entries, fields.findings);
    let pattern = fields.required("pattern", "add pattern = \"…\"", WorkspacePattern::parse);
    let except = fields.list("except", WorkspacePattern::parse).unwrap_or_default();
    fields.finish();
    Some((pattern?, except))
}

/// A flaw for a word that is not among those known.
fn unknown(idea: &str, text: &str, known: &[&str]) -> Flaw {
    let hint = match fields::nearest(text, known) {
        Some(near) => format!("did you mean \"{near}\"?"),
        None => format!("write one of: {}", known.join(", ")),
    };
    Flaw::new(format!("unknown {idea} \"{text}\""), hint)
}
