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
/// signs for the disk wakes it. Dropped, it takes its waker along; the disk is written to all the same.
#[derive(Debug)]
#[must_use = "what waits for the disk must not go on before this is ready"]
pub struct Durable {
    shared: Arc<Shared>,
    /// Leaves that must be on disk.
    wanted: u64,
    ticket: u64,
}

impl Durable {
    pub(super) fn new(shared: &Arc<Shared>, waiting: &mut Waiting, wanted: u64) -> Self {
        Self { shared: Arc::clone(shared), wanted, ticket: waiting.ticket() }
    }
}

impl Future for Durable {
    type Output = Result<()>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut state = self.shared.lock();
        if state.durable.0 >= self.wanted {
            return Poll::Ready(Ok(()));
        }
        state.chain.alive()?;
        // Under the same lock as the size: nobody can make it durable between the look and this.
        state.waiting.wakers.insert((self.wanted, self.ticket), cx.waker().clone());
        Poll::Pending
    }
}

impl Drop for Durable {
    fn drop(&mut self) {
        let waker = self.shared.lock().waiting.wakers.remove(&(self.wanted, self.ticket));
        // Outside of the lock: what a waker's end does is its runtime's affair.
        drop(waker);
    }
}
