//! Streams for the requests of tools, which have no socket of their own: what comes on one is judged as from anywhere.
//! It never opens one for anybody but a caller in this process.

use super::Context;
use super::http::{Sender, forward};
use crate::error::{Error, Result, plain};
use crate::journal::Wanted;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream as Ends;
use std::sync::Arc;
use tokio::net::UnixStream;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::mpsc::{Receiver, Sender as Queue};

/// Streams that may wait for the outlet's thread, which takes them at once.
const WAITING_MAX: usize = 256;

/// Where streams for tools are asked for.
#[derive(Debug, Clone)]
pub(super) struct Streams(Queue<Ends>);

/// A stream for one call of a tool. Dropped, it is at its end, in whoever's hands a copy of it still is.
#[derive(Debug)]
#[must_use = "a stream that is dropped is shut"]
pub struct ToolStream(Ends);

impl Streams {
    /// A place to ask, and what is asked for.
    pub(super) fn new() -> (Self, Receiver<Ends>) {
        let (queue, asked) = tokio::sync::mpsc::channel(WAITING_MAX);
        (Self(queue), asked)
    }

    pub(super) fn open(&self) -> Result<ToolStream> {
        let failed = |e: std::io::Error| Error::host(format!("make a stream for a tool's requests: {}", plain(&e)));
        let (tools, ours) = Ends::pair().map_err(failed)?;
        ours.set_nonblocking(true).map_err(failed)?;
        self.0.try_send(ours).map_err(|error| match error {
            TrySendError::Full(_) => Error::host("the outlet takes no more streams of tools"),
            TrySendError::Closed(_) => Error::host("the outlet is closed"),
        })?;
        Ok(ToolStream(tools))
    }
}

impl ToolStream {
    /// The end for the tool. It carries HTTP/1.1, each request with its whole URL, `https` as well as `http`: what goes out
    /// is encrypted behind it.
    ///
    /// # Errors
    /// Host: no descriptors are left.
    pub fn end(&self) -> Result<OwnedFd> {
        let copied = self.0.try_clone();
        copied.map(OwnedFd::from).map_err(|e| Error::host(format!("copy a tool's stream: {}", plain(&e))))
    }
}

impl Drop for ToolStream {
    fn drop(&mut self) {
        // It fails only where the outlet has shut it before.
        drop(self.0.shutdown(std::net::Shutdown::Both));
    }
}

/// Takes streams for as long as the outlet is open.
pub(super) async fn accept(context: Arc<Context>, mut asked: Receiver<Ends>) -> Result<()> {
    loop {
        let Some(stream) = asked.recv().await else {
            // Nobody is left who could ask; the outlet goes on without.
            return std::future::pending().await;
        };
        serve(&context, stream)?;
    }
}

/// Serves one stream, in a task of its own.
pub(super) fn serve(context: &Arc<Context>, stream: Ends) -> Result<()> {
    let slot = match context.rates.connection() {
        Ok(slot) => slot,
        Err(over) => return context.account.refused(None, Wanted::default(), over.limit, over.to_string()),
    };
    let stream = UnixStream::from_std(stream);
    let stream = stream.map_err(|e| Error::host(format!("serve a tool's stream: {}", plain(&e))))?;
    let (of_task, afloat) = (Arc::clone(context), context.ebb.rise());
    context.tasks.spawn(async move {
        let _until_the_end = (slot, afloat);
        // An error is a log that takes no more records: the stream ends, and so will the session.
        drop(forward(of_task, stream, Sender::Tool).await);
    });
    Ok(())
}
