//! `stockade diff`, `apply`, `discard` and `undo`: what a session changed, and what becomes of it.
//! It never takes anything that was not asked for.

use crate::cli::args::{ApplyArgs, DiffArgs, OneSession};
use crate::cli::style::{Colour, Tone, visible};
use crate::cli::{Context, print, print_bytes, print_json, tell};
use crate::config::profiles::{self, Sources};
use crate::config::state::State;
use crate::error::{Error, Result};
use crate::journal::{self, After};
use crate::session::remove_layer_directory;
use crate::session::review::Review;
use crate::workspace::{Applied, Change, Controls, Layer, Node, Plan, RelPath, Render, Selection, Treatment, Why};
use serde::Serialize;
use std::io::IsTerminal as _;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use stockade_audit::record::SessionId;

/// Everything was taken.
const EXIT_ALL: u8 = 0;
/// Something was left out, and why was said.
const EXIT_LEFT_OUT: u8 = 1;

/// A session whose changes are looked at.
struct Opened {
    state: State,
    user: String,
    id: SessionId,
    review: Review,
}

fn open(session: &str, context: &Context) -> Result<Opened> {
    let state = State::open(&context.environment)?;
    let id = state.find(session)?;
    let directory = state.layer(&id);
    let sources = Sources::kept(&directory)?;
    // The workspace is the layer's: where the session took place, wherever we are now.
    let layer = Layer::open(&directory).map_err(crate::session::settle::failed)?;
    let profile = profiles::placed(&sources.profile()?, layer.workspace(), &context.environment)?;
    let review = Review::of(layer, profile.profile().clone())?;
    Ok(Opened { state, user: context.environment.user.clone(), id, review })
}

/// The changes of a session that has ended, and the log of what happens to them.
///
/// # Errors
/// Operator: no such session, or it still runs.
pub(super) fn of(session: &str, context: &Context) -> Result<(Review, After)> {
    let opened = open(session, context)?;
    let log = opened.log()?;
    Ok((opened.review, log))
}

impl Opened {
    fn log(&self) -> Result<After> {
        After::open(&self.state.log(&self.id), journal::ledger(self.state.root(), &self.user)?)
    }

    /// Paths as the person wrote them, relative to the workspace.
    fn relative(&self, paths: &[PathBuf]) -> Result<Vec<RelPath>> {
        let workspace = self.review.layer().workspace();
        paths.iter().map(|path| relative(path, workspace)).collect()
    }
}

/// A path of the workspace: written relative to it, or absolute.
fn relative(path: &Path, workspace: &Path) -> Result<RelPath> {
    let inside = path.strip_prefix(workspace).unwrap_or(path);
    let clean: PathBuf = inside.components().filter(|part| *part != std::path::Component::CurDir).collect();
    RelPath::parse(clean.as_os_str().as_bytes()).map_err(|fault| {
        Error::operator(format!("path \"{}\" is not one of the workspace: {fault}", path.display()))
            .hint(format!("write it relative to \"{}\"", workspace.display()))
    })
}

/// What `diff --json` says of one change.
#[derive(Serialize)]
struct ChangeLine {
    path: String,
    kind: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    before: Option<NodeLine>,
    #[serde(skip_serializing_if = "Option::is_none")]
    after: Option<NodeLine>,
    #[serde(skip_serializing_if = "Option::is_none")]
    needs: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rule: Option<String>,
    conflict: bool,
}

#[derive(Serialize)]
struct NodeLine {
    mode: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    sha256: Option<String>,
}

impl NodeLine {
    fn of(node: &Node) -> Self {
        Self { mode: format!("{:04o}", node.mode), sha256: node.sha256().map(|digest| digest.to_string()) }
    }
}

/// Shows what a session changed.
///
/// # Errors
/// Operator: no such session or path.
pub(super) fn diff(args: &DiffArgs, context: &Context) -> Result<u8> {
    let opened = open(&args.session, context)?;
    let paths = opened.relative(&args.paths)?;
    let review = &opened.review;
    let changes = review.changes();
    if args.json {
        let guards = review.guards();
        let wanted = |change: &&Change| paths.is_empty() || paths.iter().any(|path| change.path.is_within(path));
        let lines: Vec<ChangeLine> = changes.list().iter().filter(wanted).map(|change| line(change, &guards)).collect();
        print_json(&lines)?;
        return Ok(EXIT_ALL);
    }
    let render = render(context.colour);
    let mut out = Vec::new();
    let rendered = match args.stat {
        true => review.layer().render_stat(changes, &render, &mut out),
        false => review.layer().render(changes, &paths, &render, &mut out),
    };
    rendered.map_err(crate::session::settle::failed)?;
    print_bytes(&out)?;
    Ok(EXIT_ALL)
}

fn line(change: &Change, guards: &crate::session::settle::Guards<'_>) -> ChangeLine {
    let (needs, rule) = match guards.treatment(&change.path) {
        Treatment::Free => (None, None),
        Treatment::Hold { rule } => (Some("consent"), Some(rule)),
        Treatment::Protect { rule } => (Some("never"), Some(rule)),
    };
    ChangeLine {
        path: change.path.encode(),
        kind: change.kind().as_str(),
        before: change.before().map(NodeLine::of),
        after: change.after().map(NodeLine::of),
        needs,
        rule,
        conflict: change.conflict.is_some(),
    }
}

fn render(colour: Colour) -> Render {
    let terminal = std::io::stdout().is_terminal();
    let colour = match colour {
        Colour::On => crate::workspace::Colour::Always,
        Colour::Off => crate::workspace::Colour::Never,
    };
    let controls = if terminal { Controls::Visible } else { Controls::Raw };
    Render { colour, controls, ..Render::default() }
}

/// Takes changes into the workspace.
///
/// # Errors
/// Operator: no such session or path, or a conflict. Host: the log or the workspace cannot be written.
pub(super) fn apply(args: &ApplyArgs, context: &Context) -> Result<u8> {
    let opened = open(&args.session, context)?;
    let paths = opened.relative(&args.paths)?;
    let selection = if paths.is_empty() { Selection::All } else { Selection::Paths(paths) };
    let consents = opened.relative(&args.yes_hold)?;
    let plan = opened.review.plan(&selection, &consents)?;
    if !args.json {
        say_left_out(&plan, context.colour, &opened.id);
    }
    let blocked = !plan.blocked().is_empty();
    let applied = match (args.dry_run || blocked, plan.takes().is_empty()) {
        (true, _) | (_, true) => None,
        (false, false) => Some(opened.review.apply(&plan, opened.log()?)?),
    };
    if args.json {
        print_json(&ApplyReport::of(&opened.id, &plan, applied.as_ref()))?;
    } else {
        print(&summary(args, &plan, applied.as_ref(), &opened.id))?;
    }
    let whole = plan.left_out().is_empty() && applied.as_ref().is_none_or(|applied| applied.skipped.is_empty());
    Ok(if whole { EXIT_ALL } else { EXIT_LEFT_OUT })
}

fn summary(args: &ApplyArgs, plan: &Plan, applied: Option<&Applied>, id: &SessionId) -> String {
    match applied {
        Some(applied) => {
            let skipped =
                applied.skipped.iter().map(|(path, why)| format!("left as it is: {}: {why}\n", path.quoted()));
            let skipped: String = skipped.collect();
            format!("{skipped}applied {} changes; take them back with: stockade undo {id}\n", applied.files.len())
        }
        None if !plan.blocked().is_empty() => "nothing was applied\n".to_owned(),
        None if args.dry_run => {
            let lines: String =
                plan.takes().iter().map(|c| format!("{:12} {}\n", c.kind().as_str(), c.path.quoted())).collect();
            format!("{lines}would apply {} changes\n", plan.takes().len())
        }
        None => "nothing to apply\n".to_owned(),
    }
}

fn say_left_out(plan: &Plan, colour: Colour, id: &SessionId) {
    for left in plan.left_out() {
        let path = left.path.quoted();
        let (tone, word, why) = match &left.why {
            Why::Held { rule } => {
                (Tone::Notice, "held", format!("{rule}; to take it: stockade apply {id} --yes-hold {path}"))
            }
            Why::Protected { rule } => (Tone::Bad, "protected", rule.clone()),
            Why::Conflict(conflict) => {
                let digest = |digest: Option<crate::workspace::Digest>| {
                    digest.map_or_else(|| "none".to_owned(), |digest| digest.to_string().chars().take(12).collect())
                };
                let host = digest(conflict.host.as_ref().and_then(Node::sha256));
                let expected = digest(conflict.expected);
                let newer = format!("{:?}", conflict.newer).to_lowercase();
                (
                    Tone::Bad,
                    "conflict",
                    format!("the host has {host}, the session began with {expected}; newer: {newer}"),
                )
            }
            Why::NeverApplied { what } => (Tone::Notice, "left out", (*what).to_owned()),
            Why::Needs(other) => (Tone::Faint, "left out", format!("needs {}", other.quoted())),
        };
        tell(&format!("{} {path}: {}", colour.paint(tone, word), visible(&why)));
    }
}

/// What `apply --json` says.
#[derive(Serialize)]
struct ApplyReport {
    session: String,
    applied: Vec<String>,
    left_out: Vec<LeftOutLine>,
    blocked: bool,
}

#[derive(Serialize)]
struct LeftOutLine {
    path: String,
    why: &'static str,
    rule: Option<String>,
}

impl ApplyReport {
    fn of(id: &SessionId, plan: &Plan, applied: Option<&Applied>) -> Self {
        let left_out = plan.left_out().iter().map(|left| {
            let (why, rule) = match &left.why {
                Why::Held { rule } => ("held", Some(rule.clone())),
                Why::Protected { rule } => ("protected", Some(rule.clone())),
                Why::Conflict(_) => ("conflict", None),
                Why::NeverApplied { what } => (*what, None),
                Why::Needs(_) => ("needs another change", None),
            };
            LeftOutLine { path: left.path.encode(), why, rule }
        });
        Self {
            session: id.to_string(),
            applied: applied.iter().flat_map(|applied| &applied.files).map(|file| file.path.encode()).collect(),
            left_out: left_out.collect(),
            blocked: !plan.blocked().is_empty(),
        }
    }
}

/// Drops what a session changed and has not been applied.
///
/// # Errors
/// Operator: no such session, or it still runs. Host: the layer cannot be removed.
pub(super) fn discard(args: &OneSession, context: &Context) -> Result<u8> {
    let opened = open(&args.session, context)?;
    let log = opened.log()?;
    let Opened { state, id, review, .. } = opened;
    let dropped = review.discard(log)?;
    let directory = state.layer(&id);
    remove_layer_directory(&directory)?;
    done(args, &id, "discarded", dropped)
}

/// Takes back the newest apply.
///
/// # Errors
/// Operator: nothing was applied, or the host's files changed since.
pub(super) fn undo(args: &OneSession, context: &Context) -> Result<u8> {
    let opened = open(&args.session, context)?;
    let undone = opened.review.undo(opened.log()?)?;
    let undone = undone.ok_or_else(|| {
        Error::operator(format!("nothing of session {} was applied", opened.id))
            .hint("`stockade diff` shows what waits")
    })?;
    done(args, &opened.id, "took back", undone.files.len())
}

fn done(args: &OneSession, id: &SessionId, what: &str, count: usize) -> Result<u8> {
    match args.json {
        true => print_json(&serde_json::json!({ "session": id.to_string(), "changes": count }))?,
        false => print(&format!("{what} {count} changes of session {id}\n"))?,
    }
    Ok(EXIT_ALL)
}
