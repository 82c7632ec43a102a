//! The journal of one session: what is claimed, allowed, done and seen goes into the log here, in that order.
//! It never decides and never runs anything; but nothing runs that it has not logged.

mod after;
mod net;
mod scribe;

pub use after::{Act, After};
pub use net::address;
pub use net::{Account, Admitted, Connection, INSIDE, Kept, Reply, Rotated, Scrubbed, Total, Use, Wanted, Way};
pub use scribe::{Before, Scribe};

use crate::error::{Error, Result, plain};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;
use stockade_audit::disclose::Disclosed;
use stockade_audit::note::Vkey;
use stockade_audit::record::{self as log, CallId, Record, SessionId, SessionOpen};
use stockade_audit::{AuditError, Closed, Ledger, Machine, Receipt, SessionLog};
use stockade_policy::{Call, Grounds, Permit, Refusal, arguments_json};

/// Time between two heartbeats: a session that dies is known to be dead after two of them.
const HEARTBEAT: Duration = Duration::from_secs(30);

/// It writes two small records.
const HEART_STACK_BYTES: usize = 256 * 1024;

/// A call that waits for its decision: it is used up by [`Journal::commit`] or [`Journal::deny`], so that each call has
/// one. What is claimed goes into the log before the decision, with the same write: judging touches nothing. Where more is
/// to be done than to judge, [`Journal::put_down`] comes first.
#[derive(Debug)]
#[must_use = "a call that is never decided is in no log"]
pub struct Claim {
    id: CallId,
    /// `None`: it is in the log.
    claimed: Option<Record>,
}

impl Claim {
    /// The call's name in the log.
    pub fn id(&self) -> &CallId {
        &self.id
    }
}

/// A permit that is in the log, with the call that it is for. Only [`Journal::commit`] makes one, and only this runs.
#[derive(Debug)]
#[must_use = "a permit that is logged and not run leaves the log without a result"]
pub struct Logged {
    call: Call,
    grounds: Grounds,
    id: CallId,
    receipt: Receipt,
}

impl Logged {
    /// What may run.
    pub fn call(&self) -> &Call {
        &self.call
    }

    /// Why, and within which limits.
    pub fn grounds(&self) -> &Grounds {
        &self.grounds
    }

    /// The call's name in the log.
    pub fn id(&self) -> &CallId {
        &self.id
    }

    /// Where its permit is in the log.
    pub fn receipt(&self) -> Receipt {
        self.receipt
    }

    /// What is left once it has run: its name, for the records of what happened.
    pub fn into_id(self) -> CallId {
        self.id
    }
}

/// Opens the ledger of a state directory; `user` is in the name of one that is made now.
///
/// # Errors
/// Operator: others could write it, or it is broken. Host: it cannot be written.
pub fn ledger(state: &Path, user: &str) -> Result<Arc<Ledger>> {
    let directory = state.join("ledger");
    // A ledger keeps the name that it was born with, whatever the machine is called by now.
    let own = std::fs::read_to_string(directory.join("vkey")).ok().and_then(|text| Vkey::parse(&text));
    let origin = own.map_or_else(|| new_origin(user), |vkey| vkey.name().to_owned());
    let opened = Ledger::open(Machine::system(), &directory, &state.join("keys"), &origin);
    Ok(Arc::new(opened.map_err(failed)?))
}

/// Name of a ledger that is made now: user and machine.
fn new_origin(user: &str) -> String {
    let host = nix::sys::utsname::uname().map(|names| names.nodename().to_string_lossy().into_owned());
    let host = host.ok().filter(|host| !host.is_empty()).unwrap_or_else(|| "host".to_owned());
    // Origins take no spaces and no plus signs (C2SP signed-note); names of users and hosts could have them.
    let clean = |text: &str| -> String {
        text.chars().map(|c| if c.is_ascii_alphanumeric() || "-._".contains(c) { c } else { '_' }).collect()
    };
    format!("{}.{}/agent-ledger", clean(user), clean(&host))
}

/// A name for a session that starts now.
///
/// # Errors
/// Host: the machine has no randomness.
pub fn new_session_id() -> Result<SessionId> {
    let machine = Machine::system();
    let mut random = [0; 10];
    machine.random.fill(&mut random).map_err(|e| Error::host(format!("draw a session's name: {e}")))?;
    Ok(SessionId::new(machine.clock.wall_ns(), random))
}

/// The journal of a session that nobody runs, in a directory of its own: for tests and benches, which need a log and no
/// sandbox.
///
/// # Errors
/// As [`ledger`], [`Journal::draft`] and [`Draft::begin`].
pub fn trial(state: &Path, tool: &str) -> Result<Journal> {
    let ledger = ledger(state, tool)?;
    let open = SessionOpen {
        sid: new_session_id()?,
        tool: tool.to_owned(),
        kernel: tool.to_owned(),
        wall: "process".to_owned(),
        grade: "full".to_owned(),
        layers: Vec::new(),
        profile: tool.to_owned(),
        profile_h: log::Digest([0; 32]),
        plan_h: log::Digest([0; 32]),
        filter_h: None,
        mode: log::Mode::Review,
        durability: log::Durability::Group,
        recorder: None,
        container: None,
        from: None,
    };
    let logs = state.join("logs");
    std::fs::create_dir(&logs).map_err(|e| Error::io("make the directory", &logs, &e))?;
    Journal::draft(&logs.join(open.sid.as_str()), ledger, &open.sid)?.begin(open)
}

/// An error of the log as one of ours.
pub fn failed(error: AuditError) -> Error {
    let what = if let AuditError::Io { act, path, source } = &error {
        format!("cannot {act} {path:?}: {}", plain(source))
    } else {
        // std appends the number of the error to what the system says; nobody acts on it.
        error.to_string().split(" (os error").next().unwrap_or_default().to_owned()
    };
    let made = match error.fault() {
        stockade_audit::Fault::Guest => Error::guest(what),
        stockade_audit::Fault::Operator => Error::operator(what),
        stockade_audit::Fault::Host => Error::host(what),
        stockade_audit::Fault::Bug => Error::bug(what),
    };
    error.hint().into_iter().fold(made, Error::hint)
}

/// The journal of one session.
#[derive(Debug)]
pub struct Journal {
    log: Arc<SessionLog>,
    durability: log::Durability,
    calls: AtomicU64,
    running: Arc<AtomicU64>,
    heart: Option<Heart>,
}

/// The files of a journal that has no record yet. Dropped, they are removed.
#[derive(Debug)]
pub struct Draft(stockade_audit::Draft);

impl Draft {
    /// Begins the log with its first record.
    ///
    /// # Errors
    /// As [`stockade_audit::Draft::open`].
    pub fn begin(self, open: SessionOpen) -> Result<Journal> {
        let durability = open.durability;
        let log = Arc::new(self.0.open(open).map_err(failed)?);
        let running = Arc::new(AtomicU64::new(0));
        let heart = Some(Heart::start(Arc::clone(&log), Arc::clone(&running))?);
        Ok(Journal { log, durability, calls: AtomicU64::new(0), running, heart })
    }
}

/// The thread that writes heartbeats; it ends when `stop` is dropped.
#[derive(Debug)]
struct Heart {
    stop: mpsc::Sender<()>,
    thread: JoinHandle<()>,
}

impl Journal {
    /// Makes the files of a session's log, whose directory's name is the session's id.
    ///
    /// # Errors
    /// As [`stockade_audit::Draft::make`].
    pub fn draft(directory: &Path, ledger: Arc<Ledger>, id: &SessionId) -> Result<Draft> {
        Ok(Draft(stockade_audit::Draft::make(directory, ledger, id).map_err(failed)?))
    }

    /// What is asked for, as the log will have it, before anybody judges it.
    ///
    /// # Errors
    /// Bug: a number is not a name.
    pub fn claim(&self, call: &Call, via: &str) -> Result<Claim> {
        let number = self.calls.fetch_add(1, Ordering::Relaxed) + 1;
        let id = CallId::new(format!("tc_{number}")).map_err(|_| Error::bug("a call's number is not a name"))?;
        let claimed = log::Call { tool: call.tool().to_string(), via: via.to_owned(), input: None };
        let claimed = disclosures(call).into_iter().fold(Record::new(claimed).of_call(&id), Record::disclosing);
        Ok(Claim { id, claimed: Some(claimed) })
    }

    /// Writes down what is claimed before its decision is known.
    ///
    /// # Errors
    /// The log takes no more records: nothing may run.
    pub fn put_down(&self, Claim { id, claimed }: Claim) -> Result<Claim> {
        self.saw(claimed.as_slice())?;
        Ok(Claim { id, claimed: None })
    }

    /// Puts a permit into the log. What comes back is the only thing that a backend runs.
    ///
    /// # Errors
    /// The log takes no more records: nothing may run.
    pub fn commit(&self, claim: Claim, permit: Permit) -> Result<Logged> {
        self.commit_with(claim, permit, None)
    }

    /// The same, and what is about to start by it, with one write.
    ///
    /// # Errors
    /// As [`Journal::commit`].
    pub fn commit_with(&self, Claim { id, claimed }: Claim, permit: Permit, start: Option<Record>) -> Result<Logged> {
        let (call, grounds) = permit.into_parts();
        let rules = grounds.rules.iter().map(ToString::to_string).collect();
        let permitted = Record::new(log::Permit { rules }).of_call(&id);
        let before = claimed.iter().count();
        let records: Vec<Record> = claimed.into_iter().chain([permitted]).chain(start).collect();
        let is_durable = self.durability == log::Durability::BeforeRun;
        let receipts = self.append(&records, is_durable)?;
        let receipt = *receipts.get(before).ok_or_else(|| Error::bug("a record has no receipt"))?;
        self.running.fetch_add(1, Ordering::Relaxed);
        Ok(Logged { call, grounds, id, receipt })
    }

    /// Writes down that a call was refused.
    ///
    /// # Errors
    /// The log takes no more records.
    pub fn deny(&self, Claim { id, claimed }: Claim, refusal: &Refusal) -> Result<Receipt> {
        let rule = refusal.rule.as_ref().map_or_else(|| "not granted".to_owned(), ToString::to_string);
        let denied = Record::new(log::Deny { rule, reason: refusal.reason.clone() }).of_call(&id);
        let records: Vec<Record> = claimed.into_iter().chain([denied]).collect();
        last(&self.append(&records, false)?)
    }

    /// Writes down things that were seen, with one write, in order.
    ///
    /// # Errors
    /// The log takes no more records.
    pub fn saw(&self, records: &[Record]) -> Result<()> {
        self.scribe().saw(records)
    }

    /// Writes down that something happened which is not in the log: the session can no longer be proved complete.
    ///
    /// # Errors
    /// The log takes no more records.
    pub fn gap(&self, lost: u64, why: &str) -> Result<()> {
        self.scribe().gap(lost, why)
    }

    /// A hand on this journal. It must be gone when the log is closed.
    pub fn scribe(&self) -> Scribe {
        Scribe { log: Arc::clone(&self.log) }
    }

    /// The account of the session's outlet; `before` has to be in the log before a connection is. All clones of it must be
    /// gone when the log is closed.
    pub fn account(&self, before: Option<Before>) -> Account {
        Account::new(Arc::clone(&self.log), before)
    }

    /// Keeps content beside the log, encrypted; `None` when the session's share of the disk is used up, and then the
    /// record says that nothing was kept.
    ///
    /// # Errors
    /// Host: the disk refuses.
    pub fn keep(&self, content: &[u8]) -> Result<Option<log::BlobRef>> {
        match self.log.put_blob(content) {
            Ok(blob) => Ok(Some(blob)),
            Err(AuditError::TooLarge { .. }) => Ok(None),
            Err(error) => Err(failed(error)),
        }
    }

    /// Seals a call with what was seen last of it and how it went, in one write. The receipt is of the latter: what its
    /// caller can show to an auditor.
    ///
    /// # Errors
    /// The log takes no more records.
    pub fn seal(&self, id: &CallId, mut seen: Vec<Record>, outcome: log::Outcome) -> Result<Receipt> {
        self.running.fetch_sub(1, Ordering::Relaxed);
        seen.push(Record::new(outcome).of_call(id));
        let is_durable = match self.durability {
            log::Durability::Group => false,
            log::Durability::BeforeResult | log::Durability::BeforeRun => true,
        };
        last(&self.append(&seen, is_durable)?)
    }

    /// The latest signed checkpoint.
    pub fn checkpoint(&self) -> String {
        self.log.checkpoint()
    }

    /// Closes the log: the last record, the seal, and the word to the ledger.
    ///
    /// # Errors
    /// As [`SessionLog::close`]; the session then counts as interrupted.
    pub fn close(mut self, cause: log::Cause, status: i32) -> Result<Closed> {
        if let Some(heart) = self.heart.take() {
            heart.stop()?;
        }
        let log = Arc::try_unwrap(self.log).map_err(|_| Error::bug("the log is still in use at its end"))?;
        log.close(cause, status).map_err(failed)
    }

    fn append(&self, records: &[Record], is_durable: bool) -> Result<Vec<Receipt>> {
        let appended = if is_durable { self.log.append_all_durable(records) } else { self.log.append_all(records) };
        appended.map_err(failed)
    }
}

/// What a caller gets of several records.
fn last(receipts: &[Receipt]) -> Result<Receipt> {
    receipts.last().copied().ok_or_else(|| Error::bug("a record has no receipt"))
}

impl Heart {
    fn start(log: Arc<SessionLog>, running: Arc<AtomicU64>) -> Result<Self> {
        let (stop, stopped) = mpsc::channel();
        let beat = move || {
            while stopped.recv_timeout(HEARTBEAT) == Err(mpsc::RecvTimeoutError::Timeout) {
                // A log that cannot be written refuses the next call by itself; here is nobody to tell but operators.
                if let Err(error) = log.heartbeat(running.load(Ordering::Relaxed)) {
                    tracing::error!(%error, "the session's heartbeat could not be written");
                    return;
                }
            }
        };
        let thread = std::thread::Builder::new()
            .name("heartbeat".to_owned())
            .stack_size(HEART_STACK_BYTES)
            .spawn(beat)
            .map_err(|e| Error::host(format!("start the heartbeat: {}", plain(&e))))?;
        Ok(Self { stop, thread })
    }

    fn stop(self) -> Result<()> {
        drop(self.stop);
        self.thread.join().map_err(|_| Error::bug("the heartbeat panicked"))
    }
}

/// What of a call is written as salted digests: words, variables and directory may hold what nobody should keep.
fn disclosures(call: &Call) -> Vec<Disclosed> {
    use stockade_policy::Action;
    match call.action() {
        Action::Command(command) => {
            let mut disclosed = vec![Disclosed::argv(command.argv())];
            if !command.env().is_empty() {
                let pairs = command.env().iter().map(|(name, value)| (name.as_str(), value));
                disclosed.push(Disclosed::env(pairs));
            }
            disclosed.extend(command.cwd().map(|cwd| Disclosed::cwd(log::LogPath(cwd.as_bytes().to_vec()))));
            disclosed
        }
        Action::Read { path } | Action::Write { path } | Action::Unix { path } => {
            vec![Disclosed::bytes("args", path.as_bytes().to_vec())]
        }
        Action::Connect { host, port, .. } => vec![Disclosed::bytes("args", format!("{host}:{port}"))],
        Action::Port { port } => vec![Disclosed::bytes("args", port.to_string())],
        Action::Tool { args, .. } => vec![Disclosed::bytes("args", arguments_json(args))],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::DirBuilderExt as _;

    #[test]
    fn a_ledger_is_not_lost_when_its_user_or_machine_is_renamed() {
        let state = std::env::temp_dir().join(format!("stockade-journal-{}", std::process::id()));
        std::fs::DirBuilder::new().mode(0o700).create(&state).expect("the test has a directory of its own");
        let born = ledger(&state, "ada").expect("it is made").vkey();
        let later = ledger(&state, "grace").expect("it opens under any name").vkey();
        assert_eq!(born.to_string(), later.to_string());
        assert!(born.name().starts_with("ada."), "{born}");
        std::fs::remove_dir_all(&state).expect("it is ours to remove");
    }

    #[test]
    fn what_is_put_down_early_is_in_the_log_once_and_before_its_decision() {
        let state = std::env::temp_dir().join(format!("stockade-journal-claims-{}", std::process::id()));
        std::fs::DirBuilder::new().mode(0o700).create(&state).expect("the test has a directory of its own");
        let journal = trial(&state, "claims").expect("it begins");
        let call = || {
            let command = stockade_policy::Command::from_words([b"/bin/true".to_vec()]).expect("a program's name");
            Call::new(
                stockade_policy::ToolName::parse("exec").expect("a name"),
                stockade_policy::Action::Command(command),
            )
        };
        let refusal = Refusal { rule: None, reason: "r".to_owned(), instead: Vec::new(), ask: "a".to_owned() };
        let early = journal.put_down(journal.claim(&call(), "test").expect("it has a name")).expect("it is written");
        let first = journal.deny(early, &refusal).expect("it is written");
        let late = journal.claim(&call(), "test").expect("it has a name");
        let second = journal.deny(late, &refusal).expect("it is written");
        // The opening, the claim, the denial; and again a claim and a denial.
        assert_eq!((first.n, second.n), (2, 4));
        // Its committer writes on until the log is closed.
        drop(journal.close(log::Cause::Exit, 0).expect("it is closed"));
        std::fs::remove_dir_all(&state).expect("it is ours to remove");
    }

    #[test]
    fn names_of_users_cannot_break_an_origin() {
        let origin = new_origin("a b+c/\u{e9}");
        assert!(origin.starts_with("a_b_c__."), "{origin}");
        assert!(origin.ends_with("/agent-ledger") && !origin.contains([' ', '+']), "{origin}");
    }
}
