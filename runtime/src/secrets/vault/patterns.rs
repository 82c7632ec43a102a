//! What an answer is searched for: the plaintexts of the secrets that its request carried.
//! It never builds the same automaton twice while its plaintexts are in use.

use super::Vault;
use crate::journal::Use;
use crate::secrets::plain::Plain;
use crate::secrets::scrub::{Patterns, Watched};
use std::sync::{Arc, Mutex, PoisonError};
use stockade_policy::SecretPlace;

/// Sets of plaintexts that are remembered.
const SETS_MAX: usize = 16;

/// Automata by the plaintexts that they look for. The plaintexts are held, so that no other can have their place.
#[derive(Default)]
pub(super) struct Built(Mutex<Vec<Known>>);

/// Plaintexts, and what looks for them.
type Known = (Vec<Arc<Plain>>, Arc<Patterns>);

impl std::fmt::Debug for Built {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Built").finish_non_exhaustive()
    }
}

impl Vault {
    /// What to take out of the answer to a request with these uses; `None` where there is nothing.
    pub fn patterns(&self, uses: &[Use]) -> Option<Arc<Patterns>> {
        if uses.is_empty() { None } else { self.built(&self.plaintexts(uses)) }
    }

    /// What to take out of anything that a command shows; `None` where there is nothing.
    pub fn all_patterns(&self) -> Option<Arc<Patterns>> {
        self.built(&self.all_plaintexts())
    }

    fn built(&self, wanted: &[(String, Arc<Plain>)]) -> Option<Arc<Patterns>> {
        if wanted.is_empty() {
            return None;
        }
        let mut built = self.built.0.lock().unwrap_or_else(PoisonError::into_inner);
        let same = |plains: &[Arc<Plain>]| {
            plains.len() == wanted.len() && plains.iter().zip(wanted).all(|(left, (_, right))| Arc::ptr_eq(left, right))
        };
        if let Some((_, patterns)) = built.iter().find(|(plains, _)| same(plains)) {
            return Some(Arc::clone(patterns));
        }
        let all = self.held.all();
        let user = |name: &str| {
            all.iter().find(|held| held.name() == name).and_then(|held| match &held.rule.subject.place {
                SecretPlace::Basic { user } => Some(user.as_str()),
                SecretPlace::Header { .. }
                | SecretPlace::Query { .. }
                | SecretPlace::Path
                | SecretPlace::Body
                | SecretPlace::Sigv4 { .. }
                | SecretPlace::Oauth { .. } => None,
            })
        };
        let watched = wanted.iter().map(|(name, plain)| Watched { name, plain: plain.bytes(), user: user(name) });
        let patterns = Arc::new(Patterns::new(watched));
        if built.len() >= SETS_MAX {
            built.remove(0);
        }
        built.push((wanted.iter().map(|(_, plain)| Arc::clone(plain)).collect(), Arc::clone(&patterns)));
        Some(patterns)
    }
}
