//! A session: a workspace layer, a sandbox and a log, opened together, and the way of a call through them.
//! It never decides what is allowed; it holds the order in which things happen.

mod control;
pub mod open;
mod outlet;
pub mod records;
pub mod review;
pub mod scrubbed;
pub mod settle;
mod tee;

pub use control::{Line, Opened};
pub use open::{Options, Paths, Prepared, User, make_layer_directory, method, prepare};

use crate::backend::process::{Io, ProcessWall, Ran};
use crate::egress::Outlet;
use crate::error::{Error, Result};
use crate::journal::{self, Claim, Journal, Logged};
use crate::secrets::scrub::Hit;
use crate::session::control::Control;
use crate::session::outlet::Secrets;
use crate::session::scrubbed::Scrubbed;
use crate::session::settle::{Known, Settled};
use crate::session::tee::Tee;
use crate::workspace::{Layer, Mode};
use std::sync::Arc;
use stockade_audit::Receipt;
use stockade_audit::record::{self as log, CallId, Digest, Record, SessionId};
use stockade_jail::Enforced;
use stockade_policy::{Ask, Call, Decision, ExpandedProfile, Refusal};

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
    secrets: Option<Secrets>,
    layer: Layer,
    known: Known,
    via: &'static str,
}

/// What became of a call.
#[derive(Debug)]
pub enum Outcome {
    /// It ran.
    Ran(Box<Sealed>),
    /// It was refused.
    Denied(Refusal),
    /// A person would have to agree, and there is nobody to ask.
    Unapproved(Ask),
}

/// A call that ran, was looked after and is in the log.
#[derive(Debug)]
pub struct Sealed {
    /// How it went.
    pub ran: Ran,
    /// What it changed.
    pub settled: Settled,
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

    /// What was enforced.
    pub fn enforced(&self) -> &Enforced {
        self.wall.enforced()
    }

    /// The way of a call: claimed, judged, logged, run, compared, sealed.
    ///
    /// # Errors
    /// Host: the log or the workspace cannot be written; then the call's effects are not trusted, and the session
    /// must end. Guest: the program could not be started.
    pub fn call(&mut self, call: Call, io: Io<'_>) -> Result<Outcome> {
        let claim = self.journal.claim(&call, self.via)?;
        let permit = match self.profile.judge(call) {
            Decision::Permit(permit) => permit,
            Decision::Ask(ask) => return self.unapproved(claim, ask),
            Decision::Denial(denial) => {
                let (_, refusal) = denial.into_parts();
                self.journal.deny(claim, &refusal)?;
                return Ok(Outcome::Denied(refusal));
            }
        };
        let logged = self.journal.commit(claim, permit)?;
        let before = settle::before(&self.layer)?;
        let (id, ran, output) = self.run(logged, io)?;
        let settled = settle::after(&self.layer, self.profile.profile(), before, &mut self.known)?;
        let receipt = self.seal(&id, &ran, &settled, output)?;
        Ok(Outcome::Ran(Box::new(Sealed { ran, settled, receipt })))
    }

    /// Closes the session: the sandbox ends, what is to be dropped is dropped, the log is sealed.
    ///
    /// # Errors
    /// Host: the log cannot be written; the session then counts as interrupted.
    pub fn close(self, cause: log::Cause, status: i32) -> Result<Left> {
        let Self { id, journal, wall, layer, outlet, control, .. } = self;
        // The kernel takes its time to end a sandbox; the log does not depend on it, since no call runs any more.
        wall.end();
        // Every connection and request has its end in the log before the log has its own.
        let control = control.map_or(Ok(()), Control::close);
        let outlet = outlet.map_or(Ok(()), Outlet::close);
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
        control.and(outlet)?;
        Ok(Left { id, checkpoint: closed?.checkpoint })
    }

    /// Runs the call, and keeps what it prints for the log.
    fn run(&self, logged: Logged, io: Io<'_>) -> Result<(CallId, Ran, Output)> {
        let Io { input, stdout, stderr, outside } = io;
        let (mut out, mut err) = (Tee::new(stdout), Tee::new(stderr));
        // Asked for each call: a secret may have been replaced since the last one.
        let Some(patterns) = self.secrets.as_ref().and_then(|secrets| secrets.vault.all_patterns()) else {
            let (id, ran) = self.wall.run(logged, Io { input, stdout: &mut out, stderr: &mut err, outside })?;
            return Ok((id, ran, [self.keep(out)?, self.keep(err)?]));
        };
        let mut scrubbed = [&mut out, &mut err].map(|tee| Scrubbed::new(tee, Arc::clone(&patterns)));
        let [clean_out, clean_err] = &mut scrubbed;
        let (id, ran) = self.wall.run(logged, Io { input, stdout: clean_out, stderr: clean_err, outside })?;
        for (scrubbed, place) in scrubbed.into_iter().zip(["stdout", "stderr"]) {
            let (_, hits) = scrubbed.finish();
            let told = |hit: Hit| journal::Scrubbed {
                name: hit.name,
                form: hit.form.as_str().to_owned(),
                count: hit.count,
                place: place.to_owned(),
            };
            self.journal.scrubbed(&id, hits.into_iter().map(told).collect())?;
        }
        Ok((id, ran, [self.keep(out)?, self.keep(err)?]))
    }

    /// A stream as its record has it; `None` when nothing came.
    fn keep(&self, tee: Tee<'_>) -> Result<Option<log::Stream>> {
        let (kept, z) = tee.into_kept();
        if z == 0 {
            return Ok(None);
        }
        let cut = z - kept.len() as u64;
        let blob = self.journal.keep(&kept)?;
        Ok(Some(match blob {
            Some(blob) => log::Stream { z, cut, blob: Some(blob) },
            None => log::Stream { z, cut: z, blob: None },
        }))
    }

    /// Nobody is there to be asked: the call is refused, and the log says what would have been asked.
    fn unapproved(&self, claim: Claim, ask: Ask) -> Result<Outcome> {
        let rules = ask.rules();
        let refusal = Refusal {
            rule: rules.first().map(|asking| asking.rule.clone()),
            reason: rules.iter().map(|asking| asking.reason.as_str()).collect::<Vec<_>>().join("; "),
            instead: Vec::new(),
            ask: "a person has to approve this".to_owned(),
        };
        self.journal.deny(claim, &refusal)?;
        Ok(Outcome::Unapproved(ask))
    }

    /// Everything that was seen, then the result: a result in the log has all its records before it.
    fn seal(&self, id: &CallId, ran: &Ran, settled: &Settled, output: Output) -> Result<Receipt> {
        let mut seen: Vec<Record> = Vec::new();
        let mut main = 0;
        if let Ran::Ended(run) = ran {
            seen.extend(run.refusals.iter().chain(&run.ended_by).map(|hit| Record::new(records::limit(hit))));
            main = self.journal.process_number();
            seen.push(Record::new(records::process(main, None, &run.main)));
            let others = run.others.iter();
            seen.extend(others.map(|exit| Record::new(records::process(self.journal.process_number(), None, exit))));
        }
        seen.extend(settled.outcomes.iter().cloned().map(Record::new));
        let seen: Vec<Record> = seen.into_iter().map(|record| record.of_call(id)).collect();
        self.journal.saw(&seen)?;
        if let Ran::Ended(run) = ran
            && run.unlisted > 0
        {
            self.journal.gap(run.unlisted, "more processes ended than a call's report can list")?;
        }
        self.journal.seal(id, records::outcome(ran, main, output))
    }
}

/// SHA-256 of bytes, as the log writes it.
pub fn digest(bytes: &[u8]) -> Digest {
    Digest(stockade_audit::merkle::sha256(bytes))
}
