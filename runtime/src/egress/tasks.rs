//! The tasks of one outlet: each has an owner here, and none outlives it.
//! It never forgets a task that runs, nor keeps one that has ended.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Mutex, PoisonError};
use std::task::{Context, Poll};
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
                    Poll::Ready(Some(_)) => {}
                    Poll::Ready(None) => return Poll::Ready(()),
                    Poll::Pending => return Poll::Pending,
                }
            }
        })
        .await;
    }
}

/// A task whose end tells nobody anything. An `async` block around it would hold it twice, as what it was given and as what
/// it waits for, which is KiBs for each connection.
#[derive(Debug)]
pub(super) struct Unheard<F>(pub(super) F);

impl<F: Future + Unpin> Future for Unheard<F> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        Pin::new(&mut self.0).poll(cx).map(drop)
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
