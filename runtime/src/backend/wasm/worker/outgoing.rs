//! What a worker says: messages of many calls over one channel, each whole.
//! It never keeps one back: a channel without room makes the call wait that wants to speak.

use crate::backend::wasm::channel::Outgoing;
use crate::backend::wasm::wire::FromWorker;
use crate::error::{Error, Result, plain};
use rustix::io::Errno;
use rustix::net::Shutdown;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use tokio::io::Interest;
use tokio::net::UnixDatagram;
use tokio::sync::Mutex;

/// Our end of the channel, for whoever has something to say.
#[derive(Debug, Clone)]
pub(super) struct Out(Option<Arc<Mouth>>);

#[derive(Debug)]
struct Mouth {
    channel: Arc<UnixDatagram>,
    /// Held while a message is said that comes in parts.
    long: Mutex<()>,
}

impl Out {
    pub(super) fn new(channel: Arc<UnixDatagram>) -> Self {
        Self(Some(Arc::new(Mouth { channel, long: Mutex::default() })))
    }

    /// Whom nobody hears: there is no call to speak of.
    pub(super) const fn nobody() -> Self {
        Self(None)
    }

    /// Says something, or nothing any more: where a message is lost, the channel ends and this process with it, and the
    /// supervisor counts each of its calls among those that gave no whole account.
    pub(super) async fn send(&self, message: &FromWorker, descriptor: Option<OwnedFd>) {
        let Some(mouth) = &self.0 else { return };
        if let Err(error) = try_send(mouth, message, descriptor).await {
            tracing::error!(%error, "a message of a worker is lost: it ends");
            match rustix::net::shutdown(&*mouth.channel, Shutdown::Both) {
                // It was closed before.
                Ok(()) | Err(_) => {}
            }
        }
    }
}

async fn try_send(mouth: &Mouth, message: &FromWorker, descriptor: Option<OwnedFd>) -> Result<()> {
    let channel = &*mouth.channel;
    let mut outgoing = Outgoing::new(message, descriptor)?;
    let _alone = if outgoing.is_long() { Some(mouth.long.lock().await) } else { None };
    let broken = |error: io::Error| Error::host(format!("talk to the supervisor: {}", plain(&error)));
    match outgoing.try_send(channel) {
        Ok(()) => return Ok(()),
        Err(Errno::AGAIN) => {}
        Err(errno) => return Err(broken(errno.into())),
    }
    let again = move || outgoing.try_send(channel).map_err(io::Error::from);
    channel.async_io(Interest::WRITABLE, again).await.map_err(broken)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::wasm::call::{Use, What};
    use rustix::net::{AddressFamily, RecvFlags, SocketFlags, SocketType};

    /// A worker that cannot say something says nothing more, so that nobody takes its silence for innocence.
    #[test]
    fn a_message_that_cannot_be_sent_ends_the_channel() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build().expect("a runtime");
        let pair = rustix::net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None);
        let (ours, theirs) = pair.expect("a socket pair");
        runtime.block_on(async {
            let channel = std::os::unix::net::UnixDatagram::from(ours);
            channel.set_nonblocking(true).expect("it can");
            let out = Out::new(Arc::new(UnixDatagram::from_std(channel).expect("it registers")));
            let uses = |bytes| vec![Use::new(What::Unlink, vec![b'x'; bytes])];
            let message = |bytes| FromWorker::Used { call: 1, uses: uses(bytes) };
            let mut buffer = [0; 64 * 1024];
            out.send(&message(10), None).await;
            let (_, first) = rustix::net::recv(&theirs, &mut buffer, RecvFlags::empty()).expect("it is open");
            assert!(first > 10, "the control: what can be sent comes");
            out.send(&message(1 << 20), None).await;
            out.send(&message(10), None).await;
            let (_, after) = rustix::net::recv(&theirs, &mut buffer, RecvFlags::empty()).expect("it is open");
            assert_eq!(after, 0, "nothing comes after what was lost");
        });
    }
}
