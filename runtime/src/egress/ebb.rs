//! Gives memory back to the machine when many connections have gone.
//! It never does so for a few, nor more than once in a while: what is free is what the next connections take.

use crate::error::Result;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;

/// So many connections fewer than there were are worth it: each has left about 50 KiB.
const FEWER: usize = 32;
/// Others are likely to go with them.
const REST: Duration = Duration::from_secs(1);

/// How many connections there are, and how many there were.
#[derive(Default)]
pub(super) struct Ebb {
    level: Mutex<Level>,
    fell: Notify,
}

#[derive(Debug, Default, Clone, Copy)]
struct Level {
    now: usize,
    /// Since memory was last given back.
    highest: usize,
}

/// A connection that is there until this is dropped.
#[must_use = "a connection that is not counted leaves its memory behind"]
pub(super) struct Afloat(Arc<Ebb>);

impl Ebb {
    /// One more.
    pub(super) fn rise(self: &Arc<Self>) -> Afloat {
        let mut level = self.level.lock().unwrap_or_else(PoisonError::into_inner);
        level.now += 1;
        level.highest = level.highest.max(level.now);
        Afloat(Arc::clone(self))
    }

    /// Gives back for as long as the outlet is open: it has no end.
    pub(super) async fn give_back(&self) -> Result<()> {
        loop {
            self.fell.notified().await;
            tokio::time::sleep(REST).await;
            if self.settle() {
                stockade_jail::give_back_what_is_free();
            }
        }
    }

    /// Whether it has fallen enough; then it counts from here.
    fn settle(&self) -> bool {
        let mut level = self.level.lock().unwrap_or_else(PoisonError::into_inner);
        let has_fallen = level.has_fallen();
        if has_fallen {
            level.highest = level.now;
        }
        has_fallen
    }
}

impl Level {
    fn has_fallen(self) -> bool {
        self.highest - self.now >= FEWER
    }
}

impl Drop for Afloat {
    fn drop(&mut self) {
        let mut level = self.0.level.lock().unwrap_or_else(PoisonError::into_inner);
        level.now -= 1;
        if level.has_fallen() {
            self.0.fell.notify_one();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_many_that_go_are_worth_it_and_only_once() {
        let ebb = Arc::new(Ebb::default());
        let mut all: Vec<Afloat> = (0..2 * FEWER).map(|_| ebb.rise()).collect();
        all.truncate(FEWER + 1);
        assert!(!ebb.settle(), "one fewer than is worth it");
        all.truncate(FEWER);
        assert!(ebb.settle(), "as many as are worth it");
        assert!(!ebb.settle(), "they are worth it twice");
        for _ in 0..10 * FEWER {
            drop(ebb.rise());
        }
        assert!(!ebb.settle(), "connections that follow each other are many");
        all.clear();
        assert!(ebb.settle(), "the rest");
    }
}
