//! A few started sandboxes of one plan, kept ready.
//! It never hands out a sandbox twice, and never keeps trying when the machine refuses: the error goes to who asks.

use crate::error::JailError;
use crate::plan::Plan;
use crate::sandbox::{Options, Sandbox};
use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

/// Sandboxes kept ready at most: each holds an init, a control group and some memory.
const READY_MAX: usize = 64;

/// Started sandboxes of one plan, refilled by a thread that ends with the pool.
#[derive(Debug)]
pub struct Pool {
    shared: Arc<Shared>,
    filler: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    plan: Plan,
    options: Options,
    wanted: usize,
    state: Mutex<State>,
    changed: Condvar,
    started: AtomicU64,
}

#[derive(Debug, Default)]
struct State {
    ready: VecDeque<Sandbox>,
    phase: Phase,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Filling, or full.
    #[default]
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
        let shared = Arc::new(Shared {
            plan,
            options,
            wanted: wanted.min(READY_MAX),
            state: Mutex::default(),
            changed: Condvar::new(),
            started: AtomicU64::new(0),
        });
        let filled = Arc::clone(&shared);
        let filler = std::thread::Builder::new()
            .name("jail-pool".to_owned())
            .stack_size(256 * 1024)
            .spawn(move || filled.fill())
            .map_err(|error| JailError::io("start", "the thread of a pool", &error))?;
        Ok(Self { shared, filler: Some(filler) })
    }

    /// A sandbox: a ready one, or one started now.
    ///
    /// # Errors
    /// As [`Sandbox::start`].
    pub fn take(&self) -> Result<Sandbox, JailError> {
        let mut state = self.shared.lock();
        let ready = state.ready.pop_front();
        if state.phase == Phase::Resting {
            state.phase = Phase::Filling;
        }
        drop(state);
        self.shared.changed.notify_all();
        match ready {
            Some(sandbox) => Ok(sandbox),
            None => self.shared.start(),
        }
    }

    /// How many are ready now.
    pub fn ready(&self) -> usize {
        self.shared.lock().ready.len()
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn start(&self) -> Result<Sandbox, JailError> {
        let number = self.started.fetch_add(1, Ordering::Relaxed);
        let name = format!("{}-{number}", self.options.name);
        Sandbox::start(&self.plan, &Options { name, ..self.options.clone() })
    }

    fn fill(&self) {
        loop {
            let full = |state: &mut State| {
                state.phase == Phase::Resting || (state.phase == Phase::Filling && state.ready.len() >= self.wanted)
            };
            let state = self.changed.wait_while(self.lock(), full).unwrap_or_else(PoisonError::into_inner);
            if state.phase == Phase::Closing {
                return;
            }
            drop(state);
            let started = self.start();
            let mut state = self.lock();
            match started {
                Ok(sandbox) => state.ready.push_back(sandbox),
                Err(_) if state.phase == Phase::Filling => state.phase = Phase::Resting,
                Err(_) => {}
            }
        }
    }
}

impl Drop for Pool {
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
