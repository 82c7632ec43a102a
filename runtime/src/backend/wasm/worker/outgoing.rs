//! What a worker says: messages of many calls over one channel, each whole.
//! It never keeps one back: a channel without room makes the call wait that wants to speak.

use crate::backend::wasm::channel::Outgoing;
use crate::backend::wasm::wire::FromWorker;
use rustix::io::Errno;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use tokio::io::Interest;
use tokio::net::UnixDatagram;

/// Our end of the channel, for whoever has something to say.
#[derive(Debug, Clone)]
pub(super) struct Out(Arc<UnixDatagram>);

impl Out {
    pub(super) const fn new(channel: Arc<UnixDatagram>) -> Self {
        Self(channel)
    }

    /// Says something. A supervisor that is gone hears nothing, and the next look for its messages ends this process.
    pub(super) async fn send(&self, message: &FromWorker, descriptor: Option<OwnedFd>) {
        let outgoing = match Outgoing::new(message, descriptor) {
            Ok(outgoing) => outgoing,
            Err(error) => {
                tracing::error!(%error, "a message of a worker could not be made");
                return;
            }
        };
        match outgoing.try_send(&*self.0) {
            Err(Errno::AGAIN) => {}
            Ok(()) | Err(_) => return,
        }
        let again = || outgoing.try_send(&*self.0).map_err(io::Error::from);
        match self.0.async_io(Interest::WRITABLE, again).await {
            Ok(()) | Err(_) => {}
        }
    }
}
