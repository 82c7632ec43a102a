//! An instance that is made before its call comes: its component's own `prepare` has run, while nobody waited for it.
//! It never serves two calls, and never has files, variables or requests before there is a call that was given them.

use crate::backend::wasm::call::{CallGrant, Files, Limits};
use crate::backend::wasm::worker::guest::Guest;
use crate::backend::wasm::worker::http::{Granted, Requests};
use crate::backend::wasm::worker::ledger::Ledger;
use crate::backend::wasm::worker::outgoing::Out;
use crate::backend::wasm::worker::resolve::Tree;
use crate::backend::wasm::worker::run::{Loaded, Shared, store, within};
use crate::backend::wasm::worker::sockets::Sockets;
use std::path::PathBuf;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::oneshot;
use wasmtime::component::{ComponentExportIndex, Instance};
use wasmtime::{Store, Trap};

/// Instances of a worker that wait for their calls, at most: one of a component.
pub(super) const READY_MAX: u32 = 4;
/// How long a component may prepare itself, at most.
const PREPARE: Duration = Duration::from_secs(1);
/// How long a call waits for the instance that is prepared at that moment, at most: a new one takes about as long.
const WAIT: Duration = Duration::from_millis(25);
/// Bytes that the memories of an instance without a call may have together.
const MEMORY_BYTES_MAX: u64 = 64 << 20;
/// How long an instance waits for its call at least before another component's takes its room: where many are called in
/// turn, none of them would find its own otherwise.
const KEPT: Duration = Duration::from_secs(10);
/// Of the time that a component takes with what comes to nothing, so many times as much passes until it is tried again.
const AGAIN: u32 = 64;

/// Where the next instance of a component waits for its call.
pub(super) struct Place {
    /// The component's `prepare`.
    function: ComponentExportIndex,
    /// Locked while it is made.
    next: tokio::sync::Mutex<Next>,
}

enum Next {
    Unmade,
    Ready(Ready),
    /// It came to nothing, by what another time or another call's limits may change.
    NotBefore(Instant),
    /// It trapped. It is not asked again.
    Never,
}

/// An instance that no call has had.
pub(super) struct Ready {
    pub(super) store: Store<Guest>,
    pub(super) instance: Instance,
    /// The processor time that it took: its call's.
    pub(super) cpu: Duration,
    /// What it was given of what only shows while running.
    given: Given,
}

/// Who has room for an instance that waits, the longest first, and since when.
#[derive(Default)]
pub(super) struct Room(Mutex<Vec<(Arc<Place>, Instant)>>);

/// What an instance can have before its call: the same that the call will have, or it is another call's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Given {
    clocks: bool,
    random: bool,
}

/// What is known of the next call by the last one.
#[derive(Debug, Clone, Copy)]
pub(super) struct Like {
    given: Given,
    limits: Limits,
}

impl Like {
    pub(super) fn of(grant: &CallGrant) -> Self {
        let given = Given { clocks: grant.clocks, random: grant.random };
        Self { given, limits: grant.limits }
    }

    fn grant(self) -> CallGrant {
        let memory_bytes = self.limits.memory_bytes.min(MEMORY_BYTES_MAX);
        CallGrant {
            files: Files::None,
            directory: PathBuf::from("/"),
            network: false,
            sockets: false,
            clocks: self.given.clocks,
            random: self.given.random,
            env: Vec::new(),
            arguments: false,
            stdin: false,
            limits: Limits { memory_bytes, ..self.limits },
        }
    }

    /// The processor time that may be gone when the call begins: at least half of its own is left.
    fn cpu_max(self) -> Duration {
        PREPARE.min(self.limits.cpu / 2)
    }

    fn wall_max(self) -> Duration {
        PREPARE.min(self.limits.wall)
    }

    fn wait_max(self) -> Duration {
        WAIT.min(self.limits.wall / 2)
    }
}

impl Place {
    pub(super) fn new(function: ComponentExportIndex) -> Self {
        Self { function, next: tokio::sync::Mutex::new(Next::Unmade) }
    }

    /// The instance that waits, as this call's; one that is about to be ready is waited for, for a moment.
    pub(super) async fn take(self: &Arc<Self>, room: &Room, like: Like) -> Option<Ready> {
        let mut next = tokio::time::timeout(like.wait_max(), self.next.lock()).await.ok()?;
        match std::mem::replace(&mut *next, Next::Unmade) {
            Next::Ready(ready) => {
                room.leave(self);
                ready.suits(like).then_some(ready)
            }
            other @ (Next::Unmade | Next::NotBefore(_) | Next::Never) => {
                *next = other;
                None
            }
        }
    }
}

impl Ready {
    /// Whether the call would have made the same instance: with no more memory than it may have, and in its time.
    fn suits(&self, like: Like) -> bool {
        let fits = self.store.data().limiter.memory_bytes() <= like.limits.memory_bytes;
        self.given == like.given && fits && self.cpu <= like.cpu_max()
    }
}

impl Room {
    /// Room for an instance of this component, if need be that of the one which has waited the longest.
    fn enter(&self, place: &Arc<Place>, now: Instant) -> bool {
        let mut taken = self.lock();
        if taken.len() >= READY_MAX as usize {
            let waits_long = |since: &Instant| now.saturating_duration_since(*since) >= KEPT;
            let old = taken.iter().position(|(place, since)| waits_long(since) && place.next.try_lock().is_ok());
            let Some(old) = old else { return false };
            let (old, _) = taken.remove(old);
            // Nobody makes or takes it: it could be locked, and this thread is the only one.
            if let Ok(mut next) = old.next.try_lock() {
                *next = Next::Unmade;
            }
        }
        taken.push((Arc::clone(place), now));
        true
    }

    fn leave(&self, place: &Arc<Place>) {
        self.lock().retain(|(taken, _)| !Arc::ptr_eq(taken, place));
    }

    /// A panic of another thread leaves the list whole.
    fn lock(&self) -> MutexGuard<'_, Vec<(Arc<Place>, Instant)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Makes the next instance of a component, when a call of it has ended. Nobody waits for it.
pub(super) async fn prepare(shared: &Shared, loaded: &Loaded, like: Like) {
    let Some(place) = &loaded.place else { return };
    // Another call has ended as well, and does it.
    let Ok(mut next) = place.next.try_lock() else { return };
    let began = Instant::now();
    match *next {
        Next::Unmade => {}
        Next::NotBefore(then) if began >= then => {}
        Next::Ready(_) | Next::NotBefore(_) | Next::Never => return,
    }
    if !shared.room.enter(place, began) {
        return;
    }
    *next = made(shared, loaded, place, like).await.unwrap_or_else(|| {
        let now = Instant::now();
        Next::NotBefore(now + (now - began) * AGAIN)
    });
    if !matches!(*next, Next::Ready(_)) {
        shared.room.leave(place);
    }
}

/// `None`: it came to nothing, by what another time may change.
async fn made(shared: &Shared, loaded: &Loaded, place: &Place, like: Like) -> Option<Next> {
    let mut store = store(shared, nobodys(&shared.tree, like));
    let mut cpu = Duration::ZERO;
    let outcome = {
        let _ticking = shared.ticker.ticking();
        let work = pin!(async {
            let instance = loaded.instance.instantiate_async(&mut store).await?;
            let function = instance.get_typed_func::<(), ()>(&mut store, place.function)?;
            function.call_async(&mut store, ()).await?;
            Ok::<_, wasmtime::Error>(instance)
        });
        // Nobody cancels it.
        let (_sender, mut cancelled) = oneshot::channel();
        let over = Instant::now().checked_add(like.wall_max());
        within(work, like.cpu_max(), over, &mut cancelled, &mut cpu).await.ok()?
    };
    let guest = store.data();
    // Who may have more memory would have made another one.
    if guest.limiter.refused_bytes().is_some() {
        return None;
    }
    match outcome {
        Ok(instance) if guest.table.is_empty() && guest.ledger.is_unused() && cpu <= like.cpu_max() => {
            Some(Next::Ready(Ready { store, instance, cpu, given: like.given }))
        }
        Err(error) if error.is::<Trap>() => Some(Next::Never),
        Ok(_) | Err(_) => None,
    }
}

/// Whose instance it is before there is a call: somebody without anything, of whom nothing is heard.
fn nobodys(tree: &Arc<Tree>, like: Like) -> Guest {
    let ledger = Arc::new(Ledger::new(0, Out::nobody()));
    let requests = Requests::new(0, Granted::No, Arc::default(), Arc::clone(&ledger), Out::nobody());
    let sockets = Sockets::new(0, Granted::No, Arc::default(), Arc::clone(&ledger), Out::nobody());
    Guest::new(0, like.grant(), Arc::clone(tree), requests, sockets, ledger, Out::nobody())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is made before a call takes no more than the call might.
    #[test]
    fn what_is_made_before_a_call_is_within_its_limits() {
        let given = Given { clocks: false, random: false };
        let like = |ms, memory_bytes| {
            let time = Duration::from_millis(ms);
            Like { given, limits: Limits { wall: time, cpu: time, memory_bytes, output_bytes: 1 } }
        };
        let short = like(100, 1 << 20);
        let half = Duration::from_millis(50);
        assert_eq!((short.cpu_max(), short.wall_max()), (half, Duration::from_millis(100)));
        assert_eq!(short.grant().limits.memory_bytes, 1 << 20);
        assert_eq!(like(10, 0).wait_max(), Duration::from_millis(5));
        let long = like(600_000, 1 << 30);
        assert_eq!((long.cpu_max(), long.wall_max(), long.wait_max()), (PREPARE, PREPARE, WAIT));
        assert_eq!(long.grant().limits.memory_bytes, MEMORY_BYTES_MAX);
    }
}
