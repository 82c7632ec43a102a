//! Calls that the session answers itself: what it has changed so far, and where its log stands.
//! It never answers one that was not judged and logged like any other, and shows no secret that commands may not print.

use crate::backend::process::Sink;
use crate::error::{Error, Report, Result};
use crate::secrets::scrub::{Patterns, Scrubber};
use crate::session::scrubbed::Scrubbed;
use crate::session::settle::{Guards, failed};
use crate::session::tee::Tee;
use crate::session::{Session, told};
use crate::workspace::{Changes, DiffStat, Freshness, Mode, Plan, RelPath, Render, Selection, Treatment};
use std::collections::BTreeMap;
use std::fmt;
use std::io::{self, Write};
use std::sync::Arc;
use std::time::Instant;
use stockade_audit::Receipt;
use stockade_audit::record as log;
use stockade_policy::{Action, Answer, Ask, Call, Decision, Refusal, ToolName};

/// What became of a call that the session answers itself.
#[derive(Debug)]
pub enum Own<T> {
    /// It was answered.
    Answered(T, Receipt),
    /// It was allowed, and what it asks for cannot be had.
    Failed(Error, Receipt),
    /// It was refused.
    Denied(Refusal, Receipt),
    /// A person would have to agree, and there is nobody to ask.
    Unapproved(Ask, Receipt),
}

/// What such a call may look at.
#[derive(Debug)]
pub struct Sight<'a> {
    session: &'a Session,
}

/// What a session has changed so far.
#[derive(Debug)]
pub struct Seen<'a> {
    session: &'a Session,
    changes: Changes,
}

/// Takes the secrets that a session knew out of what is said of it, also after its end.
#[derive(Clone)]
pub struct Clean(Option<Arc<Patterns>>);

impl Clean {
    /// A text without them.
    pub fn text(&self, text: &str) -> String {
        let Some(patterns) = &self.0 else { return text.to_owned() };
        let mut scrubber = Scrubber::new(Arc::clone(patterns));
        let mut clean = scrubber.push_slice(text.as_bytes()).into_owned();
        clean.extend(scrubber.finish());
        String::from_utf8_lossy(&clean).into_owned()
    }

    /// An error without them: it may name a file.
    #[must_use]
    pub fn error(&self, error: Error) -> Error {
        let clean =
            |Report { what, hint }: Report| Report { what: self.text(&what), hint: hint.map(|hint| self.text(&hint)) };
        Error { fault: error.fault, reports: error.reports.into_iter().map(clean).collect() }
    }
}

impl fmt::Debug for Clean {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Clean").finish_non_exhaustive()
    }
}

impl Session {
    /// What takes out the secrets of this moment.
    pub fn clean(&self) -> Clean {
        Clean(self.secrets.as_ref().and_then(|secrets| secrets.vault.all_patterns()))
    }

    /// The way of a call that needs no backend: claimed, judged, logged, answered, sealed. What is written to the `Write` goes
    /// to `to`, and into the log as what the call printed; in both without secrets.
    ///
    /// # Errors
    /// Host: the log cannot be written; the session must end.
    pub fn own<T>(
        &mut self,
        call: Call,
        to: &mut dyn Sink,
        answer: impl FnOnce(&Sight<'_>, &mut dyn Write) -> Result<T>,
    ) -> Result<Own<T>> {
        let claim = self.journal.claim(&call, self.via)?;
        let permit = match self.profile.judge(call) {
            Decision::Permit(permit) => permit,
            Decision::Ask(ask) => {
                let receipt = self.unapproved(claim, &ask)?;
                return Ok(Own::Unapproved(ask, receipt));
            }
            Decision::Denial(denial) => {
                let (_, refusal) = denial.into_parts();
                let receipt = self.journal.deny(claim, &refusal)?;
                return Ok(Own::Denied(refusal, receipt));
            }
        };
        let logged = self.journal.commit(claim, permit)?;
        let began = Instant::now();
        let mut tee = Tee::new(to);
        let clean = self.clean();
        let patterns = clean.0.clone();
        let sight = Sight { session: self };
        let answered = match patterns {
            None => answer(&sight, &mut Page(&mut tee)),
            Some(patterns) => {
                let mut clean = Scrubbed::new(&mut tee, Arc::clone(&patterns));
                let answered = answer(&sight, &mut Page(&mut clean));
                let (_, hits) = clean.finish();
                self.journal.scribe().scrubbed(logged.id(), told(hits, "stdout"))?;
                answered
            }
        };
        let wall_us = u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX);
        // No process and no component ran, so neither `exit` nor `signal` would be true of its end.
        let cause = if answered.is_ok() { log::Cause::Stop } else { log::Cause::Error };
        let out = self.keep(tee)?;
        let outcome = log::Outcome { cause, status: 0, wall_us, cpu_us: 0, p: None, t: None, out, err: None };
        let receipt = self.journal.seal(&logged.into_id(), Vec::new(), outcome)?;
        Ok(match answered {
            Ok(answer) => Own::Answered(answer, receipt),
            Err(error) => Own::Failed(clean.error(error), receipt),
        })
    }

    /// How the workspace is used.
    pub fn mode(&self) -> Mode {
        self.layer.mode()
    }

    /// Whether the profile allows a call of this tool as such: what it restricts of its arguments is said call by call.
    pub fn grants_tool(&self, name: &ToolName) -> bool {
        let call = Call::new(name.clone(), Action::Tool { name: name.clone(), args: BTreeMap::new() });
        matches!(self.profile.would(&call), Answer::Allowed(_))
    }

    /// Name of the profile that judges its calls.
    pub fn profile_name(&self) -> String {
        self.profile.name().to_string()
    }

    /// The latest signed checkpoint of its log.
    pub fn checkpoint(&self) -> String {
        self.journal.checkpoint()
    }
}

impl Sight<'_> {
    /// What the session has changed so far; every changed file is read.
    ///
    /// # Errors
    /// Operator: the workspace is used directly, and nothing waits. Host: something cannot be read.
    pub fn changes(&self) -> Result<Seen<'_>> {
        if self.session.layer.mode() == Mode::Direct {
            let what = "this session works in the workspace itself: there is nothing that waits to be looked at";
            return Err(Error::operator(what).hint("ask the version control of the project, if it has one"));
        }
        let changes = self.session.layer.changes(Freshness::Rehash).map_err(failed)?;
        Ok(Seen { session: self.session, changes })
    }

    /// How the workspace is used.
    pub fn mode(&self) -> Mode {
        self.session.layer.mode()
    }
}

impl Seen<'_> {
    /// Everything that waits.
    pub fn changes(&self) -> &Changes {
        &self.changes
    }

    /// What applying a change of this path needs.
    pub fn treatment(&self, path: &RelPath) -> Treatment {
        Guards::new(&self.session.profile, &self.session.layer, &self.changes).treatment(path)
    }

    /// The name of a changed file, without a secret that is in it.
    pub fn name(&self, path: &RelPath) -> String {
        self.session.clean().text(&path.encode())
    }

    /// What taking these changes into the workspace would do, as far as it is known while the session runs.
    ///
    /// # Errors
    /// Operator: a path that nothing changed at.
    pub fn plan(&self, selection: &Selection) -> Result<Plan> {
        let guards = Guards::new(&self.session.profile, &self.session.layer, &self.changes);
        self.session.layer.plan_ahead(&self.changes, selection, &|path| guards.treatment(path)).map_err(failed)
    }

    /// Lines and bytes of each file.
    ///
    /// # Errors
    /// Host: a file cannot be read.
    pub fn stat(&self) -> Result<Vec<DiffStat>> {
        self.session.layer.stat(&self.changes, Render::default().text_bytes_max).map_err(failed)
    }

    /// Writes them as a unified diff, those at or below `paths` only unless that is empty.
    ///
    /// # Errors
    /// Host: a file cannot be read.
    pub fn patch(&self, paths: &[RelPath], out: &mut dyn Write) -> Result<()> {
        self.session.layer.render(&self.changes, paths, &Render::default(), out).map_err(failed)
    }
}

/// A sink as something to write to.
struct Page<'a>(&'a mut dyn Sink);

impl Write for Page<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.take(bytes)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
