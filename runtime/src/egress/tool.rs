//! Streams for the requests and the sockets of tools: what comes on one is judged as from anywhere.
//! It never opens one for anybody but a caller in this process.

use super::Context;
use super::front;
use super::http::{Sender, forward};
use crate::error::{Error, Result, plain};
use crate::journal::{Account, Wanted};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream as Ends;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{RecvTimeoutError, TryRecvError};
use std::sync::{Arc, mpsc};
use std::time::Duration;
use stockade_audit::record::CallId;
use tokio::net::UnixStream;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::mpsc::{Receiver, Sender as Queue};
use tokio::sync::oneshot;

/// Streams that may wait for the outlet's thread, which takes them at once.
const WAITING_MAX: usize = 256;

/// How long the outlet may take to leave a stream alone: it only has to let go of what it is doing.
const LAST: Duration = Duration::from_secs(5);

/// How long what a component has written to a socket may still take to go out, when the component is over. Whoever closes
/// a socket of the kernel's is not asked to wait for its last bytes either.
const REST: Duration = Duration::from_secs(1);
const _: () = assert!(REST.as_millis() < LAST.as_millis());

/// What a stream carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Carries {
    /// Requests, each with its whole URL.
    Requests,
    /// A connection: CONNECT, and what is said on it.
    Socket,
}

/// Where streams for tools are asked for.
#[derive(Debug, Clone)]
pub(super) struct Streams(Queue<Asked>);

/// What is asked for.
#[derive(Debug)]
pub(super) struct Asked {
    stream: Ends,
    carries: Carries,
    call: CallId,
    /// Ready when nobody wants it any more.
    unwanted: oneshot::Receiver<()>,
    /// Gone when nothing is served on it any more.
    served: mpsc::Sender<()>,
}

/// A stream for one call of a tool. Dropped, it is at its end, in whoever's hands its other end is, and nothing more that
/// came on it goes out or into the log, but for what a socket's component had written: that has until `REST`.
#[derive(Debug)]
#[must_use = "a stream that is dropped is shut"]
pub struct ToolStream {
    /// The outlet's end, to shut it.
    ours: Ends,
    /// `None` once it is shut.
    wanted: Option<oneshot::Sender<()>>,
    served: mpsc::Receiver<()>,
}

impl Streams {
    /// A place to ask, and what is asked for.
    pub(super) fn new() -> (Self, Receiver<Asked>) {
        let (queue, asked) = tokio::sync::mpsc::channel(WAITING_MAX);
        (Self(queue), asked)
    }

    pub(super) fn open(&self, carries: Carries, call: CallId) -> Result<(ToolStream, OwnedFd)> {
        let failed = |e: std::io::Error| Error::host(format!("make a stream for a tool: {}", plain(&e)));
        let (tools, stream) = Ends::pair().map_err(failed)?;
        stream.set_nonblocking(true).map_err(failed)?;
        let ours = stream.try_clone().map_err(failed)?;
        let ((wanted, unwanted), (serving, served)) = (oneshot::channel(), mpsc::channel());
        self.0.try_send(Asked { stream, carries, call, unwanted, served: serving }).map_err(|error| match error {
            TrySendError::Full(_) => Error::host("the outlet takes no more streams of tools"),
            TrySendError::Closed(_) => Error::host("the outlet is closed"),
        })?;
        Ok((ToolStream { ours, wanted: Some(wanted), served }, tools.into()))
    }
}

impl ToolStream {
    /// Whether nothing is served on it any more: the tool has shut it, or the outlet.
    pub fn is_over(&self) -> bool {
        self.served.try_recv() == Err(TryRecvError::Disconnected)
    }

    /// Nobody wants it any more. What is dropped after that does not wait longer than for the slowest of them.
    pub fn shut(&mut self) {
        // It fails only where the outlet has shut it before.
        drop(self.ours.shutdown(std::net::Shutdown::Both));
        drop(self.wanted.take());
    }
}

impl Drop for ToolStream {
    fn drop(&mut self) {
        self.shut();
        if self.served.recv_timeout(LAST) == Err(RecvTimeoutError::Timeout) {
            tracing::error!("the outlet does not leave a stream of a tool that has ended");
        }
    }
}

/// Takes streams for as long as the outlet is open.
pub(super) async fn accept(context: Arc<Context>, mut asked: Receiver<Asked>) -> Result<()> {
    loop {
        let Some(asked) = asked.recv().await else {
            // Nobody is left who could ask; the outlet goes on without.
            return std::future::pending().await;
        };
        serve(&context, asked)?;
    }
}

/// Serves one stream, in a task of its own.
pub(super) fn serve(context: &Arc<Context>, asked: Asked) -> Result<()> {
    let Asked { stream, carries, call, unwanted, served } = asked;
    let slot = context.rates.connection();
    let stream = UnixStream::from_std(stream);
    let stream = stream.map_err(|e| Error::host(format!("serve a tool's stream: {}", plain(&e))))?;
    let slot = match slot {
        Ok(slot) => slot,
        Err(over) => {
            let account = context.account.of_call(call);
            account.refused(None, Wanted::default(), over.limit, over.to_string())?;
            match carries {
                Carries::Requests => drop(stream),
                Carries::Socket => context.tasks.spawn(front::overfull(stream, over.to_string())),
            }
            return Ok(());
        }
    };
    let (of_task, afloat) = (Arc::clone(context), context.ebb.rise());
    let heard = Arc::<AtomicBool>::default();
    let account = context.account.of_call(call.clone());
    let unheard = Unheard { account: account.clone(), heard: Arc::clone(&heard) };
    context.tasks.spawn(async move {
        // In this order: whoever waits for the end finds its records in the log.
        let _until_the_end = (unheard, slot, afloat, served);
        // An error is a log that takes no more records: the stream ends, and so will the session.
        match carries {
            Carries::Requests => tokio::select! {
                // Given up, what is on its way ends in the log too.
                _ = unwanted => {}
                _ = forward(of_task, stream, Sender::Tool { call, heard }) => {}
            },
            Carries::Socket => {
                let mut serving = Box::pin(front::socket(of_task, stream, account, heard));
                tokio::select! {
                    _ = unwanted => drop(tokio::time::timeout(REST, &mut serving).await),
                    _ = &mut serving => {}
                }
            }
        }
    });
    Ok(())
}

/// What asked for a stream and ended before its request was read: the tool's account has the request, and so has this one.
struct Unheard {
    account: Account,
    heard: Arc<AtomicBool>,
}

impl Drop for Unheard {
    fn drop(&mut self) {
        if !self.heard.load(Ordering::Relaxed) {
            // Where it cannot be written, the log has ended, and with it the session.
            drop(self.account.refused(None, Wanted::default(), "unheard", "it ended before its request was read"));
        }
    }
}
