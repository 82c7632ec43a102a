//! What an answer is searched for: the plaintexts of the secrets that its request carried.
//! It never builds the same automaton twice while its plaintexts are in use.

use super::Vault;
use crate::journal::Use;
use crate::secrets::plain::Plain;
use crate::secrets::scrub::{Patterns, Watched};
use crate::secrets::sigv4::KeyPair;
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
        let place = |name: &str| all.iter().find(|held| held.name() == name).map(|held| &held.rule.subject.place);
        let watched = wanted.iter().flat_map(|(name, plain)| watched(name, plain, place(name)));
        let patterns = Arc::new(Patterns::new(watched));
        if built.len() >= SETS_MAX {
            built.remove(0);
        }
        built.push((wanted.iter().map(|(_, plain)| Arc::clone(plain)).collect(), Arc::clone(&patterns)));
        Some(patterns)
    }
}

/// A plaintext, and each part of it that is of use alone: whoever has the key of a key pair needs no more.
fn watched<'a>(name: &'a str, plain: &'a Plain, place: Option<&'a SecretPlace>) -> Vec<Watched<'a>> {
    let alone = |plain: &'a [u8], user: Option<&'a str>| Watched { name, plain, user };
    match place {
        Some(SecretPlace::Basic { user }) => vec![alone(plain.bytes(), Some(user))],
        Some(SecretPlace::Sigv4 { .. }) => {
            let pair = KeyPair::read(plain, name).ok();
            let parts = pair.iter().flat_map(KeyPair::confidential);
            [plain.bytes()].into_iter().chain(parts).map(|bytes| alone(bytes, None)).collect()
        }
        Some(
            SecretPlace::Header { .. }
            | SecretPlace::Query { .. }
            | SecretPlace::Path
            | SecretPlace::Body
            | SecretPlace::Oauth { .. },
        )
        | None => vec![alone(plain.bytes(), None)],
    }
}
