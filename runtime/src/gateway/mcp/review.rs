//! The tools that look at the session itself: `diff`, `apply` and `audit_receipt`.
//! It never consents to a held path: a model could not be told from a person here.

use crate::backend::process::Sink;
use crate::error::{Error, Result};
use crate::gateway::mcp::args::{Args, flaw};
use crate::gateway::mcp::bash::Told;
use crate::gateway::mcp::pages::{Cursor, Page, Pages, Stream, Text};
use crate::journal::After;
use crate::session::Session;
use crate::session::own::{Clean, Sight};
use crate::session::review::Review as Ended;
use crate::workspace::{Applied, Mode, Plan, RelPath, Selection, Treatment, Why};
use serde_json::{Map, Value, json};
use std::io::{self, Write};
use std::time::{Duration, Instant};
use stockade_audit::Receipt;
use stockade_audit::record::{Digest, SessionId};
use stockade_policy::Flaw;

/// Changes that are listed by name at once.
const LISTED_MAX: usize = 200;
/// Reasons that an error gives.
const REASONS_MAX: usize = 10;
/// Earlier calls that a receipt lists when nothing is said.
const EARLIER: u64 = 10;
/// How long a receipt waits for a signature: one is due within 50 ms of the disk.
const SIGNED_LIMIT: Duration = Duration::from_secs(2);
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// What is asked of a session.
#[derive(Debug)]
pub(super) enum Review {
    /// What did it change?
    Diff(Diff),
    /// Take it into the workspace.
    Apply(Apply),
    /// Where is its log, with so many earlier calls?
    Receipt(usize),
}

/// What of the changes is to be seen.
#[derive(Debug)]
pub(super) struct Diff {
    paths: Vec<RelPath>,
    form: Form,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Patch,
    Names,
}

/// What is to be applied; everything when no path is named.
#[derive(Debug, Clone)]
pub(super) struct Apply(Vec<RelPath>);

/// Something to do, or a page that is there already.
#[derive(Debug)]
pub(super) enum Asked {
    /// To do.
    Do(Review),
    /// More of an earlier patch.
    More(Cursor),
}

/// Reads the arguments of `diff`.
///
/// # Errors
/// Something that is wrong with them, and what would do.
pub(super) fn diff_asked(args: Map<String, Value>) -> std::result::Result<Asked, Flaw> {
    let mut args = Args::new(args, "paths, names_only; or cursor alone");
    if let Some(cursor) = args.text("cursor")? {
        args.finish().map_err(|_| flaw("\"cursor\" stands beside other arguments", "give it alone"))?;
        let cursor = Cursor::parse(&cursor);
        return cursor.map(Asked::More).ok_or_else(|| flaw("that is no cursor", "copy it from an earlier result"));
    }
    let paths = paths(args.texts("paths")?)?;
    let form = if args.yes("names_only")? { Form::Names } else { Form::Patch };
    args.finish()?;
    Ok(Asked::Do(Review::Diff(Diff { paths, form })))
}

/// Reads the arguments of `apply`.
///
/// # Errors
/// As [`diff_asked`].
pub(super) fn apply_asked(args: Map<String, Value>) -> std::result::Result<Asked, Flaw> {
    let mut args = Args::new(args, "paths");
    let paths = paths(args.texts("paths")?)?;
    args.finish()?;
    Ok(Asked::Do(Review::Apply(Apply(paths))))
}

/// Reads the arguments of `audit_receipt`.
///
/// # Errors
/// As [`diff_asked`].
pub(super) fn receipt_asked(args: Map<String, Value>) -> std::result::Result<Asked, Flaw> {
    let mut args = Args::new(args, "calls");
    let calls = args.count("calls")?.unwrap_or(EARLIER);
    args.finish()?;
    Ok(Asked::Do(Review::Receipt(usize::try_from(calls).unwrap_or(usize::MAX))))
}

fn paths(texts: Vec<String>) -> std::result::Result<Vec<RelPath>, Flaw> {
    let path = |text: String| {
        let clean = text.trim_start_matches("./").trim_end_matches('/');
        let wrong = |fault| flaw(format!("path \"{text}\": {fault}"), "write paths relative to the workspace");
        RelPath::parse(clean.as_bytes()).map_err(wrong)
    };
    texts.into_iter().map(path).collect()
}

/// Keeps what is written for its pages.
#[derive(Debug, Default)]
pub(super) struct Kept(Text);

impl Kept {
    /// All that was kept.
    pub(super) fn into_text(self) -> Text {
        self.0
    }
}

impl Sink for Kept {
    fn take(&mut self, chunk: &[u8]) -> io::Result<()> {
        self.0.push(Stream::Out, chunk);
        Ok(())
    }
}

/// The changes by name.
#[derive(Debug)]
pub(super) struct Entries {
    list: Vec<Value>,
    total: usize,
    /// How many more wait at other paths.
    elsewhere: usize,
}

/// Writes the patch, and lists what it is about.
///
/// # Errors
/// As [`Sight::changes`].
pub(super) fn diff(asked: &Diff, sight: &Sight<'_>, out: &mut dyn Write) -> Result<Entries> {
    let seen = sight.changes()?;
    let wanted = |path: &RelPath| asked.paths.is_empty() || asked.paths.iter().any(|of| path.is_within(of));
    let stats = seen.stat()?;
    let wanted: Vec<_> = stats.iter().filter(|stat| wanted(&stat.path)).collect();
    let entry = |stat: &&crate::workspace::DiffStat| {
        let mut entry = json!({ "path": seen.name(&stat.path), "kind": stat.kind.as_str() });
        let members = entry.as_object_mut().expect("an object was written on the line before");
        if let Some((added, removed)) = stat.lines {
            members.insert("lines_added".to_owned(), json!(added));
            members.insert("lines_removed".to_owned(), json!(removed));
        }
        match seen.treatment(&stat.path) {
            Treatment::Free => {}
            Treatment::Hold { .. } => drop(members.insert("needs".to_owned(), json!("consent"))),
            Treatment::Protect { .. } => drop(members.insert("needs".to_owned(), json!("never applied"))),
        }
        entry
    };
    let list = wanted.iter().take(LISTED_MAX).map(entry).collect();
    match asked.form {
        Form::Patch => seen.patch(&asked.paths, out)?,
        Form::Names => {
            for stat in &wanted {
                let failed = |e: io::Error| Error::host(format!("write names: {}", crate::error::plain(&e)));
                writeln!(out, "{:12} {}", stat.kind.as_str(), stat.path.encode()).map_err(failed)?;
            }
        }
    }
    Ok(Entries { list, total: wanted.len(), elsewhere: stats.len() - wanted.len() })
}

/// What changed, for a model.
pub(super) fn diff_told(Entries { list, total, elsewhere }: Entries, text: Text, pages: &mut Pages) -> Told {
    let page = pages.first(text);
    let head = match (total, elsewhere) {
        (0, 0) => "no changes wait\n".to_owned(),
        (0, _) => format!("nothing changed at these paths; changes at others: {elsewhere}\n"),
        (1, _) => "1 change waits\n".to_owned(),
        (_, _) => format!("{total} changes wait\n"),
    };
    let mut structured = of_page(&page);
    structured["changes"] = Value::Array(list);
    structured["total"] = json!(total);
    Told { text: format!("{head}{}", page.text), structured, is_error: false }
}

/// A further page of a patch.
pub(super) fn more(page: &Page) -> Told {
    let next = match page.cursor {
        None => "[this is the end]\n".to_owned(),
        Some(cursor) => format!("[{} more bytes: cursor \"{cursor}\"]\n", page.left_out),
    };
    Told { text: format!("{}{next}", page.text), structured: of_page(page), is_error: false }
}

fn of_page(page: &Page) -> Value {
    let mut structured = json!({ "patch": page.text, "left_out_bytes": page.left_out });
    if let Some(cursor) = page.cursor {
        structured["cursor"] = json!(cursor.to_string());
    }
    structured
}

/// How many changes wait, some of which this would apply: asked before the session ends for it.
///
/// # Errors
/// Operator: the session's changes are to be dropped, or there are none apart from the workspace; nothing changed at a path,
/// or nothing of it could be applied here.
pub(super) fn may_apply(Apply(paths): &Apply, sight: &Sight<'_>) -> Result<usize> {
    if sight.mode() == Mode::Discard {
        return Err(Error::operator("this session's changes are to be dropped at its end: none is ever applied")
            .hint("the person chose --mode discard; say what you would have applied"));
    }
    let seen = sight.changes()?;
    let list = seen.changes().list();
    if let Some(path) = paths.iter().find(|path| !list.iter().any(|change| change.path.is_within(path))) {
        return Err(Error::operator(format!("nothing changed at \"{}\"", path.encode()))
            .hint("nothing was applied and the session goes on; the tool diff shows what changed"));
    }
    let plan = seen.plan(&selection(paths))?;
    if list.is_empty() || plan.blocked().is_empty() && !plan.takes().is_empty() {
        return Ok(list.len());
    }
    let reasons = plan.left_out().iter().take(REASONS_MAX);
    let reasons: Vec<String> = reasons.map(|left| format!("\"{}\": {}", left.path.encode(), why(&left.why))).collect();
    let more = plan.left_out().len().saturating_sub(REASONS_MAX);
    let more = if more > 0 { format!("; and {more} more") } else { String::new() };
    Err(Error::operator(format!("nothing of it can be applied here: {}{more}", reasons.join("; ")))
        .hint("nothing was applied and the session goes on; apply other paths, or say what a person should look at"))
}

fn selection(paths: &[RelPath]) -> Selection {
    if paths.is_empty() { Selection::All } else { Selection::Paths(paths.to_vec()) }
}

/// Nothing was changed.
pub(super) fn nothing_to_apply() -> Told {
    let structured = json!({ "applied": [], "left_out": [], "blocked": false });
    Told { text: "nothing to apply\n".to_owned(), structured, is_error: false }
}

/// What an apply did, or would not.
#[derive(Debug)]
pub(super) struct Taken {
    plan: Plan,
    applied: Option<Applied>,
}

/// Applies what the plan takes.
///
/// # Errors
/// Operator: a path that nothing changed at. Host: the log or the workspace cannot be written.
pub(super) fn apply(Apply(paths): &Apply, review: &Ended, log: After) -> Result<Taken> {
    let plan = review.plan(&selection(paths), &[])?;
    let applied = match plan.blocked().is_empty() && !plan.takes().is_empty() {
        true => Some(review.apply(&plan, log)?),
        false => None,
    };
    Ok(Taken { plan, applied })
}

/// What an apply did, for a model: nothing in it has a secret. `begun` is the session that goes on, if one does.
pub(super) fn applied_told(
    taken: Result<Taken>,
    ended: &SessionId,
    begun: std::result::Result<&SessionId, &Error>,
    clean: &Clean,
) -> Told {
    let now = match begun {
        Ok(begun) => format!("session {ended} has ended; a new one, {begun}, has begun on the workspace as it is now"),
        Err(error) => format!(
            "session {ended} has ended, and no new session could be opened:\n{}\nno tool can be called any more; to go on, the \
             person has to restart this MCP server",
            clean.text(&error.to_string())
        ),
    };
    let after = format!(
        "{now}. what was not applied waits for a person: stockade diff {ended}; to take the apply back: stockade undo {ended}\n"
    );
    let structured = |applied: &[String], left: &[Value], blocked: bool| {
        let mut structured = json!({
            "applied": applied, "left_out": left, "blocked": blocked, "ended_session": ended.as_str(),
        });
        if let Ok(begun) = begun {
            structured["session"] = json!(begun.as_str());
        }
        structured
    };
    let Taken { plan, applied } = match taken {
        Ok(taken) => taken,
        Err(error) => {
            let text = format!("nothing was applied\n{}\n{after}", clean.text(&error.to_string()));
            return Told { text, structured: structured(&[], &[], true), is_error: true };
        }
    };
    let name = |path: &RelPath| clean.text(&path.encode());
    let files: Vec<String> = applied.iter().flat_map(|applied| &applied.files).map(|file| name(&file.path)).collect();
    let left = plan.left_out().iter().map(|left| (name(&left.path), clean.text(&why(&left.why))));
    let skipped = applied.iter().flat_map(|applied| &applied.skipped);
    let skipped = skipped.map(|(path, why)| (name(path), clean.text(&why.to_string())));
    let left: Vec<(String, String)> = left.chain(skipped).collect();
    let lines: String = left.iter().take(LISTED_MAX).map(|(path, why)| format!("left out: {path}: {why}\n")).collect();
    let blocked = !plan.blocked().is_empty();
    let head = match (blocked, files.len()) {
        (true, _) => "nothing was applied: the workspace changed meanwhile\n".to_owned(),
        (false, count) => format!("applied {count} changes\n"),
    };
    let entries: Vec<Value> =
        left.iter().take(LISTED_MAX).map(|(path, why)| json!({ "path": path, "why": why })).collect();
    let shown: Vec<String> = files.iter().take(LISTED_MAX).cloned().collect();
    let is_error = blocked || begun.is_err();
    Told { text: format!("{head}{lines}{after}"), structured: structured(&shown, &entries, blocked), is_error }
}

fn why(why: &Why) -> String {
    match why {
        Why::Held { rule } => format!("held by {rule}: it would run later on the host, so a person has to consent"),
        Why::Protected { rule } => format!("protected by {rule}: never applied"),
        Why::Conflict(_) => "conflict: the file in the workspace changed since the session began".to_owned(),
        Why::NeverApplied { what } => (*what).to_owned(),
        Why::Needs(other) => format!("needs {}", other.encode()),
    }
}

/// Where the session's log stands, for a model: waits for a signature that covers this call.
pub(super) fn receipt_told(session: &Session, receipt: Receipt, earlier: &[(String, Receipt)]) -> Told {
    let until = Instant::now() + SIGNED_LIMIT;
    let mut checkpoint = session.checkpoint();
    while size(&checkpoint).is_none_or(|size| size <= receipt.n) && Instant::now() < until {
        std::thread::sleep(LOOK_EVERY);
        checkpoint = session.checkpoint();
    }
    let covered = size(&checkpoint).is_some_and(|size| size > receipt.n);
    let id = session.id();
    let one = |(tool, receipt): &(String, Receipt)| json!({ "tool": tool, "position": receipt.n, "leaf_hash": Digest(receipt.leaf_hash).to_string() });
    let structured = json!({
        "log": id.as_str(),
        "position": receipt.n,
        "leaf_hash": Digest(receipt.leaf_hash).to_string(),
        "covered": covered,
        "checkpoint": checkpoint,
        "calls": earlier.iter().map(one).collect::<Vec<_>>(),
        "verify": format!("stockade verify {id}"),
    });
    let lines: String = earlier
        .iter()
        .map(|(tool, receipt)| format!("{:>6} {tool} {}\n", receipt.n, Digest(receipt.leaf_hash)))
        .collect();
    let signed = if covered { "signed up to here" } else { "not signed yet" };
    let text = format!(
        "log {id}, position {}, leaf {}, {signed}\n{lines}checkpoint:\n{}\nto check it: stockade verify {id}\n",
        receipt.n,
        Digest(receipt.leaf_hash),
        checkpoint.trim_end()
    );
    Told { text, structured, is_error: false }
}

/// The size that a checkpoint is about: its second line (C2SP tlog-checkpoint).
fn size(checkpoint: &str) -> Option<u64> {
    checkpoint.lines().nth(1)?.parse().ok()
}
