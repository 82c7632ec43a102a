//! `stockade verify`: is a log whole and unaltered, and who vouches for that.
//! It never says yes when a check could not be made.

use crate::cli::args::VerifyArgs;
use crate::cli::style::{Tone, visible};
use crate::cli::{Context, print, print_json};
use crate::config::state::State;
use crate::error::{Error, Result};
use serde::Serialize;
use std::fmt::Write as _;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use stockade_audit::note::Vkey;
use stockade_audit::record::Digest;
use stockade_audit::verify::{Finding, Trust, Verdict, VerifyOptions, verify as check};

/// Findings shown to a person; `--json` has them all.
const SHOWN_MAX: usize = 15;
/// The check could not even begin.
pub(super) const EXIT_USAGE: u8 = 4;

#[derive(Serialize)]
struct VerdictLine<'a> {
    verdict: &'static str,
    exit: u8,
    origin: &'a str,
    size: u64,
    root: String,
    independence: &'static str,
    findings: Vec<FindingLine>,
}

#[derive(Serialize)]
struct FindingLine {
    severity: String,
    log: &'static str,
    leaf: Option<u64>,
    text: String,
}

/// Verifies a session's log.
///
/// # Errors
/// Host: standard output fails. Everything else is a verdict.
pub(super) fn verify(args: &VerifyArgs, context: &Context) -> Result<u8> {
    let (directory, trust) = match place(args, context) {
        Ok(place) => place,
        // Whoever scripts this must be able to tell "not checked" from "checked and bad".
        Err(error) => {
            crate::cli::tell(&error.to_string());
            return Ok(EXIT_USAGE);
        }
    };
    let threads = std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
    let verdict = check(&directory, &VerifyOptions { threads, ..VerifyOptions::new(trust) });
    let exit = verdict.exit_code();
    if args.json {
        print_json(&line(&verdict))?;
    } else {
        print(&shown(&verdict, &directory, context))?;
    }
    Ok(exit)
}

/// The log's directory, and what may be taken for true.
fn place(args: &VerifyArgs, context: &Context) -> Result<(PathBuf, Trust)> {
    let vkey = args.vkey.as_deref().map(parse_vkey).transpose()?;
    let path = Path::new(&args.session);
    if args.session.contains('/') || path.is_dir() {
        // A log that is gone is the ledger's to say, where there is one.
        if !path.is_dir() && own_ledger(path).is_none() {
            return Err(Error::operator(format!("there is no directory \"{}\"", path.display()))
                .hint("give the directory of a session's log, or a session"));
        }
        let trust = match (vkey, own_ledger(path)) {
            (Some(vkey), None) => Trust::Ledger(vkey),
            (vkey, Some(dir)) => Trust::LedgerDir { dir, vkey },
            (None, None) => Trust::Nothing,
        };
        return Ok((path.to_owned(), trust));
    }
    let state = State::open(&context.environment)?;
    let id = state.find(&args.session)?;
    Ok((state.log(&id), Trust::LedgerDir { dir: state.root().join("ledger"), vkey }))
}

/// The ledger beside a log that still lies where it was written: `STATE/s/ID` and `STATE/ledger`.
fn own_ledger(log: &Path) -> Option<PathBuf> {
    let logs = log.parent()?.canonicalize().ok()?;
    let ledger = logs.parent()?.join("ledger");
    ledger.is_dir().then_some(ledger)
}

fn parse_vkey(text: &str) -> Result<Vkey> {
    Vkey::parse(text).ok_or_else(|| {
        Error::operator(format!("\"{}\" is not a verifier key", visible(text)))
            .hint("it is the one line in the file \"ledger/vkey\" of the machine that wrote the log")
    })
}

fn word(verdict: &Verdict) -> &'static str {
    match verdict.exit_code() {
        0 => "pass",
        1 => "contract violated",
        2 => "broken",
        3 => "unproven",
        _ => "not checked",
    }
}

fn line(verdict: &Verdict) -> VerdictLine<'_> {
    let finding = |finding: &Finding| FindingLine {
        severity: format!("{:?}", finding.severity).to_lowercase(),
        log: finding.log,
        leaf: finding.leaf,
        text: finding.text.clone(),
    };
    VerdictLine {
        verdict: word(verdict),
        exit: verdict.exit_code(),
        origin: &verdict.origin,
        size: verdict.size,
        root: Digest(verdict.root).to_string(),
        independence: verdict.independence.text(),
        findings: verdict.findings.iter().map(finding).collect(),
    }
}

fn shown(verdict: &Verdict, directory: &Path, context: &Context) -> String {
    let tone = match verdict.exit_code() {
        0 => Tone::Good,
        2 => Tone::Bad,
        _ => Tone::Notice,
    };
    let headline = context.colour.paint(tone, &word(verdict).to_uppercase());
    let mut out = format!("{headline}  {}  {} records\n", visible(&verdict.origin), verdict.size);
    let facts = [
        ("log", directory.display().to_string()),
        ("root", Digest(verdict.root).to_string()),
        ("vouched", verdict.independence.text().to_owned()),
    ];
    for (name, value) in facts {
        writeln!(out, "  {name:8} {}", visible(&value)).expect("writing to a String cannot fail");
    }
    for finding in verdict.findings.iter().take(SHOWN_MAX) {
        writeln!(out, "  {finding}").expect("writing to a String cannot fail");
    }
    let more = verdict.findings.len().saturating_sub(SHOWN_MAX);
    if more > 0 {
        writeln!(out, "  and {more} more: --json shows all").expect("writing to a String cannot fail");
    }
    out
}
