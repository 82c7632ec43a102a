//! The tasks of one outlet: each has an owner here, and none outlives it.
//! It never forgets a task that runs, nor keeps one that has ended.

use std::future::Future;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tokio::task::JoinSet;

/// Tasks that run beside the ones that started them.
#[derive(Debug, Default)]
pub(super) struct Tasks(Mutex<JoinSet<()>>);

impl Tasks {
    /// Starts one. What it leaves when it is dropped is its own affair: its guards write its last record.
    pub(super) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // A task that panicked has been reported by the panic itself, and its guards have run.
        while all.try_join_next().is_some() {}
        all.spawn(task);
    }

    /// Waits for all, and ends those that take too long.
    pub(super) async fn drain(&self, patience: Duration, abort: Duration) {
        if tokio::time::timeout(patience, self.empty()).await.is_err() {
            self.0.lock().unwrap_or_else(PoisonError::into_inner).abort_all();
            drop(tokio::time::timeout(abort, self.empty()).await);
        }
    }

    /// Tasks may start others while they end, so the set is taken again until it is empty.
    async fn empty(&self) {
        std::future::poll_fn(|cx| {
            let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            loop {
                match all.poll_join_next(cx) {
                    std::task::Poll::Ready(Some(_)) => {}
                    std::task::Poll::Ready(None) => return std::task::Poll::Ready(()),
                    std::task::Poll::Pending => return std::task::Poll::Pending,
                }
            }
        })
        .await;
    }
}

/// Lets hyper start its tasks here.
#[derive(Debug, Clone)]
pub(super) struct Executor(pub(super) std::sync::Arc<Tasks>);

impl<F> hyper::rt::Executor<F> for Executor
where
    F: Future + Send + 'static,
{
    fn execute(&self, future: F) {
        self.0.spawn(async move {
            future.await;
        });
    }
}
