//! A few things that take a while to start, kept ready: sandboxes of one plan, or whatever somebody else can start.
//! It never hands out one twice, and never keeps trying when a start is refused: the error goes to who asks.

use crate::error::JailError;
use crate::plan::Plan;
use crate::sandbox::{Options, Sandbox};
use std::collections::VecDeque;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

/// Things kept ready at most: each holds processes, a control group and some memory.
const READY_MAX: usize = 64;
/// Stack of the thread that starts them, bytes: starting a container reads an engine's answers.
const STACK_BYTES: usize = 2 * 1024 * 1024;

/// Started things of one kind, refilled by a thread that ends with the pool.
#[derive(Debug)]
pub struct Pool<T: Send + 'static = Sandbox, E: 'static = JailError> {
    shared: Arc<Shared<T, E>>,
    filler: Option<JoinHandle<()>>,
}

struct Shared<T, E> {
    start: Box<dyn Fn() -> Result<T, E> + Send + Sync>,
    wanted: usize,
    state: Mutex<State<T>>,
    changed: Condvar,
}

impl<T, E> fmt::Debug for Shared<T, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").field("wanted", &self.wanted).finish_non_exhaustive()
    }
}

#[derive(Debug)]
struct State<T> {
    ready: VecDeque<T>,
    phase: Phase,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Filling, or full.
    Filling,
    /// A start failed; the next one who takes tries again, and hears why if it fails again.
    Resting,
    /// The pool is being dropped.
    Closing,
}

impl Pool {
    /// A pool that keeps `wanted` sandboxes of this plan ready, 64 at most. Each gets the name of `options`
    /// with a number behind it.
    ///
    /// # Errors
    /// The machine has no room for another thread.
    pub fn new(plan: Plan, options: Options, wanted: usize) -> Result<Self, JailError> {
        let started = AtomicU64::new(0);
        let start = move || {
            let number = started.fetch_add(1, Ordering::Relaxed);
            let name = format!("{}-{number}", options.name);
            Sandbox::start(&plan, &Options { name, ..options.clone() })
        };
        Self::of(start, wanted)
    }
}

impl<T: Send + 'static, E: 'static> Pool<T, E> {
    /// A pool that keeps `wanted` of what `start` starts, 64 at most. What nobody took is dropped with the pool.
    ///
    /// # Errors
    /// The machine has no room for another thread.
    pub fn of(start: impl Fn() -> Result<T, E> + Send + Sync + 'static, wanted: usize) -> Result<Self, JailError> {
        let shared = Arc::new(Shared {
            start: Box::new(start),
            wanted: wanted.min(READY_MAX),
            state: Mutex::new(State { ready: VecDeque::new(), phase: Phase::Filling }),
            changed: Condvar::new(),
        });
        let filled = Arc::clone(&shared);
        let filler = std::thread::Builder::new()
            .name("pool".to_owned())
            .stack_size(STACK_BYTES)
            .spawn(move || filled.fill())
            .map_err(|error| JailError::io("start", "the thread of a pool", &error))?;
        Ok(Self { shared, filler: Some(filler) })
    }

    /// One of them: a ready one, or one started now.
    ///
    /// # Errors
    /// As starting one.
    pub fn take(&self) -> Result<T, E> {
        let mut state = self.shared.lock();
        let ready = state.ready.pop_front();
        if state.phase == Phase::Resting {
            state.phase = Phase::Filling;
        }
        drop(state);
        self.shared.changed.notify_all();
        match ready {
            Some(ready) => Ok(ready),
            None => (self.shared.start)(),
        }
    }

    /// How many are ready now.
    pub fn ready(&self) -> usize {
        self.shared.lock().ready.len()
    }
}

impl<T, E> Shared<T, E> {
    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn fill(&self) {
        loop {
            let full = |state: &mut State<T>| {
                state.phase == Phase::Resting || (state.phase == Phase::Filling && state.ready.len() >= self.wanted)
            };
            let state = self.changed.wait_while(self.lock(), full).unwrap_or_else(PoisonError::into_inner);
            if state.phase == Phase::Closing {
                return;
            }
            drop(state);
            let started = (self.start)();
            let mut state = self.lock();
            match started {
                Ok(ready) => state.ready.push_back(ready),
                Err(_) if state.phase == Phase::Filling => state.phase = Phase::Resting,
                Err(_) => {}
            }
        }
    }
}

impl<T: Send + 'static, E: 'static> Drop for Pool<T, E> {
    fn drop(&mut self) {
        self.shared.lock().phase = Phase::Closing;
        self.shared.changed.notify_all();
        if let Some(filler) = self.filler.take() {
            match filler.join() {
                // A panic of the filler was printed; what it had made is dropped with the pool.
                Ok(()) | Err(_) => {}
            }
        }
    }
}
