//! What happens to a session's changes after it: looked at, applied, discarded, taken back; each act in the log first.
//! It never takes a change that the session's profile holds or protects without the consent that it needs.

use crate::error::Result;
use crate::journal::{Act, After};
use crate::session::settle::{Guards, failed};
use crate::session::{names, records};
use crate::workspace::{Applied, AppliedFile, Changes, Freshness, Hidden, Layer, Plan, RelPath, Selection};
use stockade_audit::record::FsOutcome;
use stockade_policy::{AbsolutePath, Profile};

/// The changes of a session that has ended, with what its profile says of them.
#[derive(Debug)]
pub struct Review {
    layer: Layer,
    profile: Profile<AbsolutePath>,
    changes: Changes,
    /// Names that the session's log tells without a secret.
    hidden: Hidden,
}

impl Review {
    /// Looks at the changes in a session's layer; every changed file is read.
    ///
    /// # Errors
    /// Host: something cannot be read.
    pub fn of(layer: Layer, profile: Profile<AbsolutePath>) -> Result<Self> {
        let changes = layer.changes(Freshness::Rehash).map_err(failed)?;
        let hidden = layer.hidden().map_err(failed)?;
        Ok(Self { layer, profile, changes, hidden })
    }

    /// The layer.
    pub fn layer(&self) -> &Layer {
        &self.layer
    }

    /// Everything that waits.
    pub fn changes(&self) -> &Changes {
        &self.changes
    }

    /// What the profile says of these changes.
    pub fn guards(&self) -> Guards<'_> {
        Guards::new(&self.profile, &self.layer, &self.changes)
    }

    /// What applying these paths would do.
    ///
    /// # Errors
    /// Operator: a path that nothing changed at. Host: something cannot be read.
    pub fn plan(&self, selection: &Selection, consents: &[RelPath]) -> Result<Plan> {
        let guards = self.guards();
        self.layer.plan_of(&self.changes, selection, &|path| guards.treatment(path), consents).map_err(failed)
    }

    /// Does what a plan says: written to the log before the first file is touched, and after the last.
    ///
    /// # Errors
    /// Operator: the plan is blocked by a conflict. Host: the log or the workspace cannot be written.
    pub fn apply(&self, plan: &Plan, log: After) -> Result<Applied> {
        let guards = self.guards();
        let outcome = |change: &crate::workspace::Change| {
            records::file_outcome(&change.path, change.before(), change.after(), guards.mark(&change.path))
        };
        let files = self.told(plan.takes().iter().filter_map(outcome));
        carry_out(log, Act::Apply, &files, || self.layer.execute(plan).map_err(failed))
    }

    /// Takes back the newest apply; `None` when there is none.
    ///
    /// # Errors
    /// Operator: the host changed the files since. Host: the log or the workspace cannot be written.
    pub fn undo(&self, log: After) -> Result<Option<Applied>> {
        let Some(number) = self.layer.last_apply().map_err(failed)? else { return Ok(None) };
        let back =
            |file: AppliedFile| records::file_outcome(&file.path, file.after.as_ref(), file.before.as_ref(), None);
        let files = self.told(self.layer.applied(number).map_err(failed)?.into_iter().filter_map(back));
        carry_out(log, Act::Undo, &files, || self.layer.undo(number).map_err(failed)).map(Some)
    }

    fn told(&self, files: impl Iterator<Item = FsOutcome>) -> Vec<FsOutcome> {
        files.map(|file| names::recall(file, &self.hidden)).collect()
    }

    /// Drops what was not applied, and everything kept for undoing.
    ///
    /// # Errors
    /// Host: the log cannot be written, or the layer not be removed.
    pub fn discard(self, mut log: After) -> Result<usize> {
        let outcome = |change: &crate::workspace::Change| {
            records::file_outcome(&change.path, change.after(), change.before(), None)
        };
        let files = self.told(self.changes.list().iter().filter_map(outcome));
        log.begin(Act::Discard, &files)?;
        self.layer.discard().map_err(failed)?;
        log.end(Act::Discard, files.len())?;
        Ok(files.len())
    }
}

/// Logs an act, does it, and logs its end. When it fails the log keeps an act without an end, which `verify` reports.
fn carry_out(mut log: After, act: Act, files: &[FsOutcome], run: impl FnOnce() -> Result<Applied>) -> Result<Applied> {
    log.begin(act, files)?;
    let applied = run()?;
    log.end(act, applied.files.len())?;
    Ok(applied)
}
