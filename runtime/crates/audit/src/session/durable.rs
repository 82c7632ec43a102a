//! Waiting for the disk without a thread: a future that is ready once what was appended before it is durable.
//! It never says so before the disk did, and a dropped one leaves nothing behind.

use super::Shared;
use crate::error::Result;
use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

/// Those who wait for the disk without a thread, by the size of the log that each waits for and a ticket of its own.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    tickets: u64,
    wakers: BTreeMap<(u64, u64), Waker>,
}

impl Waiting {
    /// Takes out who waits for a log of at most `size` leaves.
    pub(super) fn release(&mut self, size: u64) -> BTreeMap<(u64, u64), Waker> {
        let later = self.wakers.split_off(&(size.saturating_add(1), 0));
        std::mem::replace(&mut self.wakers, later)
    }

    fn ticket(&mut self) -> u64 {
        self.tickets += 1;
        self.tickets
    }
}

/// Ready when the disk has all that was appended before it was made, or can have no more. It needs no runtime: whoever
/// waits for the disk wakes it. Dropped, it takes its waker along; the disk is written to all the same.
#[derive(Debug)]
#[must_use = "what waits for the disk must not go on before this is ready"]
pub struct Durable {
    shared: Arc<Shared>,
    /// Leaves that must be on disk.
    wanted: u64,
    stage: Stage,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// It was not polled yet.
    New,
    /// It lets the tasks that were woken with its own have their turn, so that all of them ask for the disk together: each
    /// time that the disk is asked costs the system calls of two threads and a wait, whoever is in it.
    Lingering,
    /// It has asked for the disk, under this ticket.
    Asked(u64),
}

impl Durable {
    pub(super) fn new(shared: &Arc<Shared>, wanted: u64) -> Self {
        Self { shared: Arc::clone(shared), wanted, stage: Stage::New }
    }
}

impl Future for Durable {
    type Output = Result<()>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        if self.stage == Stage::New {
            self.stage = Stage::Lingering;
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let shared = Arc::clone(&self.shared);
        let mut state = shared.lock();
        if state.durable.0 >= self.wanted {
            return Poll::Ready(Ok(()));
        }
        state.chain.alive()?;
        let ticket = match self.stage {
            Stage::New | Stage::Lingering => state.waiting.ticket(),
            Stage::Asked(ticket) => ticket,
        };
        self.stage = Stage::Asked(ticket);
        // Under the same lock as the size: nobody can make it durable between the look and this.
        state.waiting.wakers.insert((self.wanted, ticket), cx.waker().clone());
        shared.want(&mut state, self.wanted);
        Poll::Pending
    }
}

impl Drop for Durable {
    fn drop(&mut self) {
        if let Stage::Asked(ticket) = self.stage {
            let waker = self.shared.lock().waiting.wakers.remove(&(self.wanted, ticket));
            // Outside of the lock: what a waker's end does is its runtime's affair.
            drop(waker);
        }
    }
}
