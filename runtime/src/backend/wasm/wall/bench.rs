//! One worker as the supervisor has it: its process, what it has loaded, how many calls it runs.
//! It never starts one: whoever has a place for it does.

use super::line::{About, Line, Next, message};
use super::{Kind, Life, Started};
use crate::backend::process::Outside;
use crate::backend::wasm::cache::Code;
use crate::backend::wasm::wire::{Flaw, FromWorker, ToWorker};
use crate::error::{Error, Result};
use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How long loading code may take: a large component takes some hundred milliseconds on a busy machine.
const LOAD_LIMIT: Duration = Duration::from_secs(60);

/// A worker.
pub(super) struct Bench {
    pub(super) kind: Kind,
    pub(super) line: Line,
    life: Mutex<Box<dyn Life>>,
    /// Components by their digests, with their numbers here. Locked while one is loaded.
    loaded: Mutex<HashMap<[u8; 32], u32>>,
    /// Numbers that were given to components: none of them twice, whatever came of loading it.
    components: AtomicU32,
    calls: AtomicU64,
    running: AtomicUsize,
    idle_since: Mutex<Instant>,
}

/// What came of loading.
pub(super) enum Load {
    /// Its number.
    Done(u32),
    /// The code is of another version, or broken: it has to be compiled again.
    Stale(String),
    /// The worker is gone; nothing was called.
    Lost(String),
    /// The caller does not want it any more.
    Cancelled,
}

/// A call's seat: while there is one, the worker is not idle.
pub(super) struct Seat<'a>(pub(super) &'a Bench);

impl Bench {
    pub(super) fn new(kind: Kind, started: Started) -> Self {
        Self {
            kind,
            line: Line::new(started.channel),
            life: Mutex::new(started.life),
            loaded: Mutex::default(),
            components: AtomicU32::new(0),
            calls: AtomicU64::new(0),
            running: AtomicUsize::new(0),
            idle_since: Mutex::new(Instant::now()),
        }
    }

    /// Takes a seat.
    pub(super) fn sit(&self) -> Seat<'_> {
        self.running.fetch_add(1, Ordering::SeqCst);
        Seat(self)
    }

    /// Calls that it runs.
    pub(super) fn running(&self) -> usize {
        self.running.load(Ordering::SeqCst)
    }

    /// Since when it runs none; `None` while it runs some.
    pub(super) fn idle_since(&self) -> Option<Instant> {
        let since = *self.idle_since.lock().unwrap_or_else(PoisonError::into_inner);
        (self.running() == 0).then_some(since)
    }

    /// The number of a new call.
    pub(super) fn next_call(&self) -> u64 {
        self.calls.fetch_add(1, Ordering::Relaxed)
    }

    /// Makes sure that the worker has a component.
    ///
    /// # Errors
    /// Operator: it is not of our world.
    pub(super) fn load(&self, digest: &[u8; 32], code: &Code, outside: &mut dyn Outside) -> Result<Load> {
        let mut loaded = self.loaded.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(component) = loaded.get(digest) {
            return Ok(Load::Done(*component));
        }
        // What comes late, about a component whose loading nobody waited for, is about no other.
        let component = self.components.fetch_add(1, Ordering::Relaxed);
        let place = self.line.expect(About::Component(component));
        if !self.line.say(&message(&ToWorker::Load { component }, Some(code.descriptor()?))?) {
            return Ok(Load::Lost(self.end()));
        }
        match place.next_if_wanted(outside, Instant::now() + LOAD_LIMIT) {
            Next::Message(FromWorker::Loaded { .. }, _) => {
                loaded.insert(*digest, component);
                Ok(Load::Done(component))
            }
            Next::Message(FromWorker::NotLoaded { flaw: Flaw::Code, why, .. }, _) => Ok(Load::Stale(why)),
            Next::Message(FromWorker::NotLoaded { flaw: Flaw::World, why, .. }, _) => {
                Err(Error::operator(format!("the component does not fit what tools are given: {why}"))
                    .hint("build it against the interfaces of tools-wasm/wit and WASI 0.2"))
            }
            Next::Lost(why) => {
                let ended = self.end();
                Ok(Load::Lost(format!("{why}: {ended}")))
            }
            Next::Late => {
                self.line.give_up("it takes too long to load a component");
                Ok(Load::Lost(self.end()))
            }
            Next::Woken => Ok(Load::Cancelled),
            Next::Message(_, _) => Err(Error::bug("a worker answers another question")),
        }
    }

    /// Ends its process, and says how that ended.
    pub(super) fn end(&self) -> String {
        self.line.give_up("it was ended");
        self.life.lock().unwrap_or_else(PoisonError::into_inner).end()
    }
}

impl Drop for Seat<'_> {
    fn drop(&mut self) {
        *self.0.idle_since.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
        self.0.running.fetch_sub(1, Ordering::SeqCst);
    }
}
