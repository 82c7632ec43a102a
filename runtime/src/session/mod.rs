//! A session: a workspace layer, a sandbox and a log, opened together, and the way of a call through them.
//! It never decides what is allowed; it holds the order in which things happen.

mod container;
mod control;
mod names;
pub mod open;
mod outlet;
pub mod own;
mod recorder;
pub mod records;
pub mod review;
pub mod scrubbed;
pub mod settle;
mod site;
pub mod snapshot;
mod tee;
pub mod tools;

pub use container::Warm;
pub use control::{Line, Opened};
pub use open::{Options, Paths, Prepared, User, make_layer_directory, method, prepare, remove_layer_directory};

use crate::backend::process::{Io, ProcessWall, Ran};
use crate::backend::wasm::Progress;
use crate::egress::Outlet;
use crate::error::{Error, Result};
use crate::journal::{self, Claim, Journal, Logged};
use crate::secrets::scrub::Hit;
use crate::session::control::Control;
use crate::session::outlet::Secrets;
use crate::session::recorder::{Recorder, Told};
use crate::session::scrubbed::Scrubbed;
use crate::session::settle::{Known, Settled, Waiting};
use crate::session::tee::{KEPT_BYTES_MAX, Tee};
use crate::session::tools::{Called, Tools};
use crate::workspace::{Hidden, Layer, Mode};
use std::sync::Arc;
use stockade_audit::Receipt;
use stockade_audit::record::{self as log, CallId, Digest, Record, SessionId};
use stockade_jail::Enforced;
use stockade_jail::recorder::CallNumber;
use stockade_policy::{Action, Ask, Backend, Call, Decision, ExpandedProfile, Refusal};

/// Standard output and error as the log has them.
type Output = [Option<log::Stream>; 2];

/// An open session.
#[derive(Debug)]
pub struct Session {
    id: SessionId,
    profile: ExpandedProfile,
    journal: Journal,
    wall: Arc<ProcessWall>,
    /// The door for whoever started it, where the profile grants a port. It ends before the log and the wall do.
    control: Option<Control>,
    /// The way out, where the profile grants one. It ends before the log does.
    outlet: Option<Outlet>,
    /// What its processes do, where that is recorded. It ends after the outlet, which asks it, and before the log.
    recorder: Option<Recorder>,
    watched: log::Recorder,
    secrets: Option<Secrets>,
    /// Its tools. Their workers end with the wall.
    tools: Tools,
    layer: Layer,
    known: Known,
    /// What waited to be applied after the last call that could change anything.
    waiting: Waiting,
    /// Names in the layer that have a secret in them, and how the log tells them.
    hidden: Hidden,
    via: &'static str,
}

/// What became of a call.
#[derive(Debug)]
pub enum Outcome {
    /// It ran.
    Ran(Box<Sealed>),
    /// It was refused.
    Denied(Refusal, Receipt),
    /// A tool was called and ran.
    Called(Box<Called>),
    /// A person would have to agree, and there is nobody to ask.
    Unapproved(Ask, Receipt),
}

/// A call that ran, was looked after and is in the log.
#[derive(Debug)]
pub struct Sealed {
    /// How it went.
    pub ran: Ran,
    /// What it changed.
    pub settled: Settled,
    /// How many processes it had, as far as that is known.
    pub processes: u64,
    /// Where its result is in the log.
    pub receipt: Receipt,
}

/// What a closed session leaves behind.
#[derive(Debug)]
pub struct Left {
    /// The session.
    pub id: SessionId,
    /// The last signed checkpoint of its log.
    pub checkpoint: String,
}

impl Session {
    /// Name of the session.
    pub fn id(&self) -> &SessionId {
        &self.id
    }

    /// Whether its wall is a container.
    pub fn is_in_a_container(&self) -> bool {
        matches!(self.profile.backend(), Backend::Container(_))
    }

    /// What was enforced.
    pub fn enforced(&self) -> &Enforced {
        self.wall.enforced()
    }

    /// What watches its processes, as the log's first record says.
    pub fn recorder(&self) -> &log::Recorder {
        &self.watched
    }

    /// The way of a call: claimed, judged, logged, run, compared, sealed.
    ///
    /// # Errors
    /// Host: the log or the workspace cannot be written; then the call's effects are not trusted, and the session
    /// must end. Guest: the program could not be started.
    pub fn call(&mut self, call: Call, io: Io<'_>) -> Result<Outcome> {
        self.call_and_hear(call, io, &mut |_| {})
    }

    /// The same, and how far a tool says that it is.
    ///
    /// # Errors
    /// As [`Session::call`].
    pub fn call_and_hear(&mut self, call: Call, io: Io<'_>, progress: &mut dyn FnMut(Progress)) -> Result<Outcome> {
        let claim = self.journal.claim(&call, self.via)?;
        let permit = match self.profile.judge(call) {
            Decision::Permit(permit) => permit,
            Decision::Ask(ask) => {
                let receipt = self.unapproved(claim, &ask)?;
                return Ok(Outcome::Unapproved(ask, receipt));
            }
            Decision::Denial(denial) => {
                let (_, refusal) = denial.into_parts();
                let receipt = self.journal.deny(claim, &refusal)?;
                return Ok(Outcome::Denied(refusal, receipt));
            }
        };
        let Action::Tool { name, .. } = permit.call().action() else {
            let logged = self.journal.commit(claim, permit)?;
            return self.command(logged, io);
        };
        // A component that is read for the first time may be anybody's bytes: first it is in the log who wanted it.
        let claim = if self.tools.knows(name) { claim } else { self.journal.put_down(claim)? };
        // Before the permit is in the log: it is for something that there is.
        match self.tools.find(&self.profile, name) {
            Ok(known) => self.use_tool(claim, permit, known, io.outside, progress),
            Err(refusal) => {
                let receipt = self.journal.deny(claim, &refusal)?;
                Ok(Outcome::Denied(refusal, receipt))
            }
        }
    }

    /// The way of a logged command: run, compared, sealed.
    fn command(&mut self, logged: Logged, io: Io<'_>) -> Result<Outcome> {
        let before = settle::before(&self.layer)?;
        let Run { id, number, ran, output } = self.run(logged, io).map_err(|error| self.cause(error))?;
        let mut settled = settle::after(&self.layer, self.profile.profile(), before, &mut self.known)?;
        self.hide(&id, &mut settled)?;
        self.waiting = settled.waiting;
        let told = self.told(number, &ran)?;
        let processes = told.processes;
        let receipt = self.seal(&id, &ran, told, &settled, output)?;
        Ok(Outcome::Ran(Box::new(Sealed { ran, settled, processes, receipt })))
    }

    /// Closes the session: the sandbox ends, what is to be dropped is dropped, the log is sealed.
    ///
    /// # Errors
    /// Host: the log cannot be written; the session then counts as interrupted.
    pub fn close(self, cause: log::Cause, status: i32) -> Result<Left> {
        let Self { id, journal, wall, layer, outlet, control, recorder, tools, .. } = self;
        // Its workers are beside the sandbox's processes, and hold the wall.
        drop(tools);
        // The kernel takes its time to end a sandbox; the log does not depend on it, since no call runs any more.
        wall.end();
        // Every connection and request has its end in the log before the log has its own.
        let control = control.map_or(Ok(()), Control::close);
        let outlet = outlet.map_or(Ok(()), Outlet::close);
        let recorder = recorder.map_or(Ok(()), Recorder::close);
        let (closed, left) = std::thread::scope(|scope| {
            let ending = scope.spawn(|| {
                let kept = layer.keep();
                drop(wall);
                kept.and_then(|()| if layer.mode() == Mode::Discard { layer.discard() } else { Ok(()) })
            });
            let closed = journal.close(cause, status);
            (closed, ending.join().map_err(|_| Error::bug("ending the sandbox panicked")))
        });
        left?.map_err(settle::failed)?;
        control.and(outlet).and(recorder)?;
        Ok(Left { id, checkpoint: closed?.checkpoint })
    }

    /// Runs the call, and keeps what it prints for the log.
    fn run(&self, logged: Logged, io: Io<'_>) -> Result<Run> {
        let mut number = None;
        let mut begins = |begun: CallNumber, id: &CallId| {
            number = Some(begun);
            if let Some(recorder) = &self.recorder {
                recorder.begin(begun, id.clone());
            }
        };
        let Io { input, stdout, stderr, outside } = io;
        let (mut out, mut err) = (Tee::new(stdout), Tee::new(stderr));
        // Asked for each call: a secret may have been replaced since the last one.
        let Some(patterns) = self.secrets.as_ref().and_then(|secrets| secrets.vault.all_patterns()) else {
            let io = Io { input, stdout: &mut out, stderr: &mut err, outside };
            let (id, ran) = self.wall.run(logged, io, &mut begins)?;
            return Ok(Run { id, number, ran, output: [self.keep(out)?, self.keep(err)?] });
        };
        let mut scrubbed = [&mut out, &mut err].map(|tee| Scrubbed::new(tee, Arc::clone(&patterns)));
        let [clean_out, clean_err] = &mut scrubbed;
        let io = Io { input, stdout: clean_out, stderr: clean_err, outside };
        let (id, ran) = self.wall.run(logged, io, &mut begins)?;
        for (scrubbed, place) in scrubbed.into_iter().zip(["stdout", "stderr"]) {
            let (_, hits) = scrubbed.finish();
            self.journal.scribe().scrubbed(&id, told(hits, place))?;
        }
        Ok(Run { id, number, ran, output: [self.keep(out)?, self.keep(err)?] })
    }

    /// A stream as its record has it; `None` when nothing came.
    fn keep(&self, tee: Tee<'_>) -> Result<Option<log::Stream>> {
        let (kept, z) = tee.into_kept();
        self.keep_bytes(&kept, z - kept.len() as u64)
    }

    /// Bytes as a record has them, of which so many more were thrown away before; `None` where there are none at all.
    fn keep_bytes(&self, bytes: &[u8], lost: u64) -> Result<Option<log::Stream>> {
        let kept = bytes.get(..KEPT_BYTES_MAX).unwrap_or(bytes);
        let z = lost + bytes.len() as u64;
        if z == 0 {
            return Ok(None);
        }
        let cut = z - kept.len() as u64;
        let blob = self.journal.keep(kept)?;
        Ok(Some(match blob {
            Some(blob) => log::Stream { z, cut, blob: Some(blob) },
            None => log::Stream { z, cut: z, blob: None },
        }))
    }

    /// Nobody is there to be asked: the call is refused, and the log says what would have been asked.
    fn unapproved(&self, claim: Claim, ask: &Ask) -> Result<Receipt> {
        let rules = ask.rules();
        let refusal = Refusal {
            rule: rules.first().map(|asking| asking.rule.clone()),
            reason: rules.iter().map(|asking| asking.reason.as_str()).collect::<Vec<_>>().join("; "),
            instead: Vec::new(),
            ask: "a person has to approve this".to_owned(),
        };
        self.journal.deny(claim, &refusal)
    }

    /// Why a call found no sandbox any more: a recorder that cannot write ends it, and its reason is the one to be told.
    fn cause(&self, error: Error) -> Error {
        self.recorder.as_ref().and_then(Recorder::broken).unwrap_or(error)
    }

    /// Everything that the recorder saw of a call is in the log, or what the init reaped where there is none.
    fn told(&self, number: Option<CallNumber>, ran: &Ran) -> Result<Told> {
        let run = if let Ran::Ended(run) = ran { Some(run) } else { None };
        match (&self.recorder, number) {
            (Some(recorder), Some(number)) => recorder.settle(number, run.map(|run| &run.main)),
            (Some(_), None) => Ok(Told { processes: 0, main: None }),
            (None, _) => Ok(run.map_or(Told { processes: 0, main: None }, |run| Told {
                processes: 1 + run.others.len() as u64 + run.unlisted,
                main: Some(run.main.process.0).filter(|main| *main > 0),
            })),
        }
    }

    /// What changed, in the names that the log has for it: asked with the secrets of this moment, as for what is recorded.
    fn hide(&mut self, id: &CallId, settled: &mut Settled) -> Result<()> {
        let patterns = self.secrets.as_ref().and_then(|secrets| secrets.vault.all_patterns());
        let hits = names::hide(&mut settled.outcomes, patterns.as_ref(), &mut self.hidden);
        // Before any record has them, so that an act after the session tells them as the session did.
        self.layer.keep_hidden(&mut self.hidden).map_err(settle::failed)?;
        self.journal.scribe().scrubbed(id, told(hits, "the name of a changed file"))
    }

    /// Everything that was seen, then the result: a result in the log has all its records before it.
    fn seal(&self, id: &CallId, ran: &Ran, told: Told, settled: &Settled, output: Output) -> Result<Receipt> {
        let mut seen: Vec<Record> = Vec::new();
        if let Ran::Ended(run) = ran {
            seen.extend(run.refusals.iter().chain(&run.ended_by).map(|hit| Record::new(records::limit(hit))));
            if self.recorder.is_none() {
                // Where nobody was left to say which process it was, there is no number to say it of.
                let reaped = [&run.main].into_iter().chain(&run.others).filter(|exit| exit.process.0 > 0);
                seen.extend(reaped.map(|exit| Record::new(records::process(exit))));
            }
        }
        seen.extend(settled.outcomes.iter().cloned().map(Record::new));
        let seen: Vec<Record> = seen.into_iter().map(|record| record.of_call(id)).collect();
        if let Ran::Ended(run) = ran
            && run.unlisted > 0
            && self.recorder.is_none()
        {
            self.journal.gap(run.unlisted, "more processes ended than a call's report can list")?;
        }
        self.unnameable(settled)?;
        self.journal.seal(id, seen, records::outcome(ran, told.main, output))
    }

    /// Says of what nobody can say what changed there.
    fn unnameable(&self, settled: &Settled) -> Result<()> {
        if settled.unnameable == 0 {
            return Ok(());
        }
        let why = "directories have entries too deep to be named: what changed there is not known";
        self.journal.gap(settled.unnameable as u64, why)
    }
}

/// A call that ran.
#[derive(Debug)]
struct Run {
    id: CallId,
    /// Its number in the sandbox, if it came so far.
    number: Option<CallNumber>,
    ran: Ran,
    output: Output,
}

/// Secrets that were taken out of something, as the journal has them.
fn told(hits: Vec<Hit>, place: &str) -> Vec<journal::Scrubbed> {
    let told = |hit: Hit| journal::Scrubbed {
        name: hit.name,
        form: hit.form.as_str().to_owned(),
        count: hit.count,
        place: place.to_owned(),
    };
    hits.into_iter().map(told).collect()
}

/// SHA-256 of bytes, as the log writes it.
pub fn digest(bytes: &[u8]) -> Digest {
    Digest(stockade_audit::merkle::sha256(bytes))
}
