//! The verifier: given a log and a key from outside, says whether it is whole, and if not, where.
//! It reads no clock and no network, trusts no derived file, and says the same about the same bytes every time.

mod acts;
mod anchor;
mod blobs;
mod complete;
mod host;
mod log;
mod net;
mod recorded;
mod stream;
mod tiles;
mod tools;

use crate::disk::{Disk, read_file};
use crate::error::AuditError;
use crate::merkle::Hash;
use crate::note::{Checkpoint, NOTE_BYTES_MAX, Vkey};
use crate::record::SessionId;
use crate::session::session_origin;
use crate::system::SystemDisk;
use crate::text::printable;
use anchor::Vouched;
pub use host::{CloseFacts, LedgerFacts, Opened, SessionFacts};
use log::{LogKind, Point, check_log};
use std::fmt;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

/// What the verifier may take for true.
#[derive(Debug, Clone)]
pub enum Trust {
    /// Nothing: the log can only be checked against itself, which proves nothing to a stranger. Never passes.
    Nothing,
    /// This key of the session, known from elsewhere.
    Session(Vkey),
    /// This key of the ledger; the proofs that the session carries along do the rest.
    Ledger(Vkey),
    /// The ledger in this directory, with this key; with `None`, the key that lies in it.
    LedgerDir {
        /// Where the ledger is.
        dir: PathBuf,
        /// Its key, if it is known from elsewhere.
        vkey: Option<Vkey>,
    },
}

/// How deep to look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Frames, leaves, tiles, roots, signatures, the ledger.
    Integrity,
    /// And whether everything that must be there is.
    Completeness,
}

/// How to verify.
#[derive(Debug, Clone)]
pub struct VerifyOptions {
    /// What may be taken for true.
    pub trust: Trust,
    /// A checkpoint of this log that was seen before: the log must contain it.
    pub seen: Option<Checkpoint>,
    /// How deep to look. [`Level::Integrity`] alone never says more than "not altered".
    pub level: Level,
    /// Threads that hash.
    pub threads: NonZeroUsize,
}

impl VerifyOptions {
    /// All levels, one thread.
    #[must_use]
    pub fn new(trust: Trust) -> Self {
        Self { trust, seen: None, level: Level::Completeness, threads: NonZeroUsize::MIN }
    }
}

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// The log contradicts itself, its signatures or its ledger: exit code 2.
    Broken,
    /// The check itself could not be made: exit code 4.
    Failed,
    /// Something that should be there is not: exit code 3.
    Incomplete,
    /// Worth knowing; changes no verdict.
    Note,
}

/// One thing that was found.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Finding {
    /// How bad it is.
    pub severity: Severity,
    /// In which log: `session`, `after`, `ledger`.
    pub log: &'static str,
    /// At which leaf, if at one.
    pub leaf: Option<u64>,
    /// What it is, in words that are safe to show.
    pub text: String,
}

/// Who vouches for a verdict.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Independence {
    /// Only the log itself.
    SelfAttested,
    /// A session key from outside.
    SessionKey,
    /// A ledger whose key lies beside it.
    Ledger,
    /// A ledger key from outside.
    PinnedLedger,
}

impl Independence {
    /// The level as words.
    #[must_use]
    pub fn text(self) -> &'static str {
        match self {
            Self::SelfAttested => "self-attested",
            Self::SessionKey => "session key from outside",
            Self::Ledger => "ledger of the same host",
            Self::PinnedLedger => "ledger key from outside",
        }
    }
}

/// What the verifier says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// Origin of the log, as far as known.
    pub origin: String,
    /// Leaves that were checked.
    pub size: u64,
    /// Root over them.
    pub root: Hash,
    /// Who vouches for it.
    pub independence: Independence,
    /// Everything found, worst first, then by log and leaf.
    pub findings: Vec<Finding>,
}

impl Verdict {
    /// 0 pass, 2 broken, 3 incomplete or unproven, 4 could not be checked. (1 is for contracts.)
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self.findings.iter().map(|finding| finding.severity).min() {
            Some(Severity::Broken) => 2,
            Some(Severity::Failed) => 4,
            Some(Severity::Incomplete) => 3,
            Some(Severity::Note) | None => 0,
        }
    }
}

/// Findings that are worth listing one by one; beyond, they are counted.
const FINDINGS_MAX: usize = 1000;

/// Collects findings.
#[derive(Debug, Default)]
struct Findings {
    list: Vec<Finding>,
    more: u64,
}

impl Findings {
    fn add(&mut self, severity: Severity, log: LogKind, leaf: Option<u64>, text: impl AsRef<str>) {
        if self.list.len() < FINDINGS_MAX || severity == Severity::Broken && self.list.len() < 2 * FINDINGS_MAX {
            self.list.push(Finding { severity, log: log.word(), leaf, text: printable(text.as_ref()) });
        } else {
            self.more += 1;
        }
    }

    fn broken(&mut self, log: LogKind, leaf: impl Into<Option<u64>>, text: impl AsRef<str>) {
        self.add(Severity::Broken, log, leaf.into(), text);
    }

    fn incomplete(&mut self, log: LogKind, leaf: impl Into<Option<u64>>, text: impl AsRef<str>) {
        self.add(Severity::Incomplete, log, leaf.into(), text);
    }

    fn note(&mut self, log: LogKind, text: impl AsRef<str>) {
        self.add(Severity::Note, log, None, text);
    }

    /// An error while looking: damage is a finding about the log, anything else about the check.
    fn error(&mut self, log: LogKind, error: &AuditError) {
        match error {
            AuditError::Corrupt { .. } => self.broken(log, None, error.to_string()),
            AuditError::Io { .. }
            | AuditError::Exposed { .. }
            | AuditError::Newer { .. }
            | AuditError::Poisoned { .. }
            | AuditError::TooLarge { .. }
            | AuditError::Busy { .. }
            | AuditError::Invalid { .. } => self.add(Severity::Failed, log, None, error.to_string()),
        }
    }

    fn into_sorted(mut self) -> Vec<Finding> {
        if self.more > 0 {
            let text = format!("{} more findings are not listed", self.more);
            self.list.push(Finding { severity: Severity::Incomplete, log: "session", leaf: None, text });
        }
        self.list.sort();
        self.list
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = match self.severity {
            Severity::Broken => "broken",
            Severity::Failed => "not checked",
            Severity::Incomplete => "incomplete",
            Severity::Note => "note",
        };
        match self.leaf {
            Some(leaf) => write!(f, "{word}: {} leaf {leaf}: {}", self.log, self.text),
            None => write!(f, "{word}: {}: {}", self.log, self.text),
        }
    }
}

/// Verifies the session in `dir`.
#[must_use]
pub fn verify(dir: &Path, options: &VerifyOptions) -> Verdict {
    verify_on(&SystemDisk, dir, options)
}

/// Verifies a ledger, and that every session it knows is still in `sessions`.
#[must_use]
pub fn verify_ledger(dir: &Path, sessions: Option<&Path>, vkey: Option<&Vkey>, threads: NonZeroUsize) -> Verdict {
    host::verify_ledger_on(&SystemDisk, dir, sessions, vkey, threads)
}

/// [`verify`] on any disk.
#[must_use]
pub fn verify_on(disk: &dyn Disk, dir: &Path, options: &VerifyOptions) -> Verdict {
    let mut findings = Findings::default();
    let mut verdict = Verdict {
        origin: String::new(),
        size: 0,
        root: crate::merkle::Range::default().root(),
        independence: Independence::SelfAttested,
        findings: Vec::new(),
    };
    let own = own_vkey(disk, dir, &mut findings);
    let vouched = anchor::vouch(disk, dir, own.as_ref(), options, &mut findings);
    verdict.independence = vouched.independence;
    if vouched.gone {
        findings.broken(LogKind::Session, None, "the ledger knows this session, and it is gone");
    } else if let Err(error) = disk.list(dir) {
        findings.add(Severity::Failed, LogKind::Session, None, format!("cannot list {}: {error}", dir.display()));
    } else if let Some(vkey) = vouched.vkey.clone().or(own) {
        verdict.origin = vkey.name().to_owned();
        if let Err(error) = check_session(disk, dir, &vkey, &vouched, options, &mut verdict, &mut findings) {
            findings.error(LogKind::Session, &error);
        }
    } else if findings.list.is_empty() {
        findings.incomplete(LogKind::Session, None, "there is no key to check it with");
    }
    verdict.findings = findings.into_sorted();
    verdict
}

fn own_vkey(disk: &dyn Disk, dir: &Path, findings: &mut Findings) -> Option<Vkey> {
    let path = dir.join("vkey");
    match read_file(disk, &path, NOTE_BYTES_MAX) {
        Ok(Some(text)) => {
            // As it was written, byte for byte: what verifies is what is there.
            let vkey = std::str::from_utf8(&text).ok().and_then(Vkey::parse);
            let vkey = vkey.filter(|vkey| format!("{vkey}\n").as_bytes() == text);
            if vkey.is_none() {
                // What a power cut during the opening can leave. A key that is another one is a different matter.
                findings.incomplete(LogKind::Session, None, "its vkey file holds no key");
            }
            vkey
        }
        Ok(None) => None,
        Err(error) => {
            findings.error(LogKind::Session, &error);
            None
        }
    }
}

fn check_session(
    disk: &dyn Disk,
    dir: &Path,
    vkey: &Vkey,
    vouched: &Vouched,
    options: &VerifyOptions,
    verdict: &mut Verdict,
    findings: &mut Findings,
) -> Result<(), AuditError> {
    let mut points = vouched.points.clone();
    if let Some(seen) = options.seen.as_ref().filter(|seen| seen.origin == vkey.name()) {
        points.push(Point { size: seen.size, root: seen.root, what: "a checkpoint seen before" });
    }
    let mut rules = complete::Rules::new(vkey.name(), vouched);
    let mut blobs = blobs::Blobs::new(disk, dir, findings);
    let facts = check_log(
        disk,
        dir,
        vkey,
        LogKind::Session,
        points,
        options,
        &mut |leaf, findings| {
            blobs.leaf(&leaf, findings);
            rules.leaf(leaf, findings);
        },
        findings,
    )?;
    (verdict.size, verdict.root) = (facts.size, facts.root);
    if options.level >= Level::Completeness {
        rules.end(&facts, findings);
    }
    acts::check_after(disk, dir, vkey, (facts.size, facts.root), vouched, options, findings)
}

/// The session that a log's origin names.
fn session_of(origin: &str) -> Option<(&str, SessionId)> {
    let (rest, sid) = origin.rsplit_once('/')?;
    let sid = SessionId::parse(sid).ok()?;
    let ledger = rest.strip_suffix("/s")?;
    (session_origin(ledger, &sid) == origin).then_some((ledger, sid))
}
