//! Names of changed files as the log keeps them: without the secrets that the session knows, and no longer than a record
//! has room for. It never tells a name in another way than the recorder does: what changed a file is found by its name.

use crate::secrets::scrub::{Hit, Patterns, Scrubber};
use crate::workspace::Hidden;
use std::sync::Arc;
use stockade_audit::record::{FsOutcome, LogPath, PATH_BYTES_MAX, TARGET_BYTES_MAX};

/// Names without these secrets, and what was found in them.
pub(super) fn without(patterns: &Arc<Patterns>, name: &[u8]) -> (Vec<u8>, Vec<Hit>) {
    let mut scrubber = Scrubber::new(Arc::clone(patterns));
    let mut bytes = scrubber.push_slice(name).into_owned();
    bytes.extend_from_slice(&scrubber.finish());
    (bytes, scrubber.take_hits())
}

/// What a call changed, in the log's names. What was taken out of them is remembered for acts on the same files.
pub(super) fn hide(outcomes: &mut [FsOutcome], patterns: Option<&Arc<Patterns>>, hidden: &mut Hidden) -> Vec<Hit> {
    let mut found: Vec<Hit> = Vec::new();
    for outcome in outcomes {
        keep(outcome, &mut |name| {
            let Some(patterns) = patterns else { return name.to_vec() };
            let (shown, hits) = without(patterns, name);
            if !hits.is_empty() {
                hidden.remember(name, &shown);
                found.extend(hits);
            }
            shown
        });
    }
    sum(found)
}

/// What an act changes, in the names that the session's log has for it.
pub(super) fn recall(outcome: FsOutcome, hidden: &Hidden) -> FsOutcome {
    let mut outcome = outcome;
    keep(&mut outcome, &mut |name| hidden.shown(name).to_vec());
    outcome
}

fn keep(outcome: &mut FsOutcome, tell: &mut dyn FnMut(&[u8]) -> Vec<u8>) {
    (outcome.path, outcome.path_h) = LogPath::kept(&tell(&outcome.path.0), PATH_BYTES_MAX);
    for state in [&mut outcome.b, &mut outcome.a].into_iter().flatten() {
        if let Some(to) = state.to.take() {
            let (to, whole) = LogPath::kept(&tell(&to.0), TARGET_BYTES_MAX);
            (state.to, state.to_h) = (Some(to), whole);
        }
    }
}

/// The same, each form of each secret once.
fn sum(mut found: Vec<Hit>) -> Vec<Hit> {
    found.sort_unstable();
    found.dedup_by(|next, kept| {
        let same = (&next.name, &next.form) == (&kept.name, &kept.form);
        if same {
            kept.count += next.count;
        }
        same
    });
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use stockade_audit::record::{Change, FileState, FileType};

    fn created(path: &[u8], target: &[u8]) -> FsOutcome {
        let to = Some(LogPath(target.to_vec()));
        let state = FileState { ty: FileType::Symlink, mode: 0o777, z: None, h: None, g: None, to, to_h: None };
        let path = LogPath(path.to_vec());
        let (b, a) = (Some(state.clone()), Some(state));
        FsOutcome { path, path_h: None, op: Change::Modified, b, a, lines: None, ino: None, mark: None }
    }

    #[test]
    fn an_act_has_the_names_of_the_log_of_its_session() {
        let patterns = Arc::new(Patterns::new([("key", &b"correct horse battery"[..])]));
        let told = |raw: FsOutcome| {
            let (mut told, mut hidden) = ([raw.clone()], Hidden::default());
            let hits = hide(&mut told, Some(&patterns), &mut hidden);
            assert_eq!(told, [recall(raw, &hidden)]);
            let [told] = told;
            (told, hits)
        };
        let (plain, hits) = told(created(b"a", b"b"));
        assert_eq!((plain, hits.len()), (created(b"a", b"b"), 0));
        let (clean, hits) = told(created(b"x/correct horse battery.txt", b"../correct horse battery"));
        assert_eq!(clean, created(b"x/*********************.txt", b"../*********************"));
        assert_eq!(hits.iter().map(|hit| hit.count).collect::<Vec<_>>(), [3]);
    }

    #[test]
    fn the_longest_names_have_room_in_a_record() {
        let mut long = [created(&[0xff; 4095], &[1; 4095])];
        assert!(hide(&mut long, None, &mut Hidden::default()).is_empty());
        let [long] = long;
        let states = [&long.b, &long.a].map(|state| state.as_ref().is_some_and(|state| state.to_h.is_some()));
        assert!(long.path_h.is_some() && states == [true, true]);
        assert!(serde_json::to_vec(&long).expect("it is written").len() < 8192 - 512);
    }
}
