//! What one call did with what it was given, in order, until the supervisor has heard it.
//! It never drops a use: where the supervisor is slow, the guest waits.

use crate::backend::wasm::call::{Use, What};
use crate::backend::wasm::wire::{FromWorker, MESSAGE_BYTES_MAX};
use crate::backend::wasm::worker::outgoing::Out;
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// Bytes of uses that wait for the end of a call, or for this many.
const BATCH_BYTES: usize = 16 * 1024;
/// Bytes that a use takes beside its names: three counts of ten, an error, lengths, and what it is.
const USE_BYTES: usize = 64;
/// Bytes of a name that is kept: a directory's own name and what a guest said below it, each as long as the kernel takes
/// one, and a slash between them. No name of anything that was done is longer.
const NAME_BYTES_MAX: usize = 2 * 4096 + 1;
/// Bytes of a method that are kept.
const METHOD_BYTES_MAX: usize = 64;
// Whatever a guest did, a batch of it is one datagram: nothing that it says can keep its uses from being told.
const _: () = assert!(BATCH_BYTES + 2 * (USE_BYTES + 2 * NAME_BYTES_MAX) <= MESSAGE_BYTES_MAX);

/// The uses of one call.
#[derive(Debug)]
pub(super) struct Ledger {
    call: u64,
    out: Out,
    waiting: Mutex<Waiting>,
    clock: AtomicU64,
    random: AtomicU64,
}

#[derive(Debug, Default)]
struct Waiting {
    uses: Vec<Use>,
    bytes: usize,
    /// Where a use like this one is in `uses`. Emptied by each change, so that nothing is told before it that came after.
    known: HashMap<(What, Vec<u8>, Option<i32>), usize>,
}

impl Ledger {
    pub(super) fn new(call: u64, out: Out) -> Self {
        Self { call, out, waiting: Mutex::default(), clock: AtomicU64::new(0), random: AtomicU64::new(0) }
    }

    /// A clock was read.
    pub(super) fn clock(&self) {
        self.clock.fetch_add(1, Ordering::Relaxed);
    }

    /// Random bytes were drawn.
    pub(super) fn random(&self) {
        self.random.fetch_add(1, Ordering::Relaxed);
    }

    /// Something was done.
    pub(super) fn push(&self, done: Use) {
        self.lock().push(done);
    }

    /// Tells the supervisor what waits, if that has become much. Whoever acts for the guest waits for this first.
    pub(super) async fn make_room(&self) {
        if self.lock().bytes >= BATCH_BYTES {
            self.tell().await;
        }
    }

    /// Tells the supervisor what waits: before something that it will record as well.
    pub(super) async fn tell(&self) {
        for uses in batches(self.take()) {
            self.out.send(&FromWorker::Used { call: self.call, uses }, None).await;
        }
    }

    /// What waits, for the message that ends the call.
    pub(super) fn take(&self) -> Vec<Use> {
        let mut waiting = std::mem::take(&mut *self.lock());
        for (count, what) in [(&self.clock, What::Clock), (&self.random, What::Random)] {
            let times = count.swap(0, Ordering::Relaxed);
            if times > 0 {
                waiting.uses.push(Use { times, ..Use::new(what, Vec::new()) });
            }
        }
        waiting.uses
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Waiting {
    fn push(&mut self, mut done: Use) {
        clip(&mut done);
        if changes(&done.what) {
            self.known.clear();
        } else {
            let key = (done.what.clone(), done.path.clone(), done.errno);
            if let Some(known) = self.known.get(&key).and_then(|place| self.uses.get_mut(*place)) {
                known.times += done.times;
                known.bytes_read = known.bytes_read.saturating_add(done.bytes_read);
                return;
            }
            self.known.insert(key, self.uses.len());
        }
        self.bytes += bytes(&done);
        self.uses.push(done);
    }
}

/// Cuts what is longer than any name of the kernel's: a guest can say such a name, and be refused it, and no more.
fn clip(done: &mut Use) {
    done.path.truncate(NAME_BYTES_MAX);
    match &mut done.what {
        What::Rename { to } | What::Link { to } | What::Symlink { to } => to.truncate(NAME_BYTES_MAX),
        What::Request { method } => method.truncate(method.floor_char_boundary(METHOD_BYTES_MAX)),
        What::Read
        | What::Open(_)
        | What::Wrote
        | What::List
        | What::Stat
        | What::ReadLink
        | What::Unlink
        | What::RemoveDirectory
        | What::MakeDirectory
        | What::SetSize { .. }
        | What::SetTimes
        | What::Env
        | What::Clock
        | What::Random
        | What::Socket => {}
    }
}

/// Bytes of a use in a message, at most.
fn bytes(done: &Use) -> usize {
    let second = match &done.what {
        What::Rename { to } | What::Link { to } | What::Symlink { to } => to.len(),
        What::Request { method } => method.len(),
        What::Read
        | What::Open(_)
        | What::Wrote
        | What::List
        | What::Stat
        | What::ReadLink
        | What::Unlink
        | What::RemoveDirectory
        | What::MakeDirectory
        | What::SetSize { .. }
        | What::SetTimes
        | What::Env
        | What::Clock
        | What::Random
        | What::Socket => 0,
    };
    USE_BYTES + done.path.len() + second
}

/// The same uses in their order, in parts each of which is one datagram.
fn batches(uses: Vec<Use>) -> impl Iterator<Item = Vec<Use>> {
    let mut left = uses.into_iter().peekable();
    std::iter::from_fn(move || {
        let (mut batch, mut room) = (Vec::new(), BATCH_BYTES);
        while let Some(done) = left.next_if(|_| room > 0) {
            room = room.saturating_sub(bytes(&done));
            batch.push(done);
        }
        (!batch.is_empty()).then_some(batch)
    })
}

/// Whether the order of this use and others matters.
const fn changes(what: &What) -> bool {
    match what {
        What::Read
        | What::List
        | What::Stat
        | What::ReadLink
        | What::Env
        | What::Clock
        | What::Random
        | What::Socket => false,
        What::Open(_)
        | What::Wrote
        | What::Unlink
        | What::RemoveDirectory
        | What::MakeDirectory
        | What::Rename { .. }
        | What::Link { .. }
        | What::Symlink { .. }
        | What::SetSize { .. }
        | What::SetTimes
        | What::Request { .. } => true,
    }
}

/// An open file of a guest: told when the last of its descriptor and streams is gone.
#[derive(Debug)]
pub(super) struct OpenFile {
    ledger: Arc<Ledger>,
    /// As the kernel had it when it was opened.
    pub(super) path: Vec<u8>,
    for_writing: bool,
    read: AtomicU64,
    written: AtomicU64,
    /// One of those that a call may hold: a descriptor or a stream, whichever goes last.
    _held: Arc<()>,
}

impl OpenFile {
    /// A file that was opened to be read.
    pub(super) const fn reading(ledger: Arc<Ledger>, path: Vec<u8>, held: Arc<()>) -> Self {
        Self { ledger, path, for_writing: false, read: AtomicU64::new(0), written: AtomicU64::new(0), _held: held }
    }

    /// A file that was opened to be written, or both, which was told already.
    pub(super) const fn writing(ledger: Arc<Ledger>, path: Vec<u8>, held: Arc<()>) -> Self {
        Self { ledger, path, for_writing: true, read: AtomicU64::new(0), written: AtomicU64::new(0), _held: held }
    }

    /// Bytes were read from it.
    pub(super) fn read(&self, bytes: usize) {
        self.read.fetch_add(u64::try_from(bytes).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// Bytes were written to it.
    pub(super) fn wrote(&self, bytes: usize) {
        self.written.fetch_add(u64::try_from(bytes).unwrap_or(u64::MAX), Ordering::Relaxed);
    }
}

impl Drop for OpenFile {
    fn drop(&mut self) {
        let path = std::mem::take(&mut self.path);
        let (bytes_read, bytes_written) = (*self.read.get_mut(), *self.written.get_mut());
        if self.for_writing && bytes_read == 0 && bytes_written == 0 {
            return;
        }
        let what = if self.for_writing { What::Wrote } else { What::Read };
        self.ledger.push(Use { bytes_read, bytes_written, ..Use::new(what, path) });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::wasm::channel::{self, Incoming};
    use rustix::net::{AddressFamily, SocketFlags, SocketType};
    use std::os::fd::OwnedFd;

    /// What the supervisor hears of a call that does these things, with its room asked for before each.
    fn heard(done: impl IntoIterator<Item = Use>) -> Vec<Use> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build().expect("a runtime");
        let pair = rustix::net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None);
        let (ours, theirs) = pair.expect("a socket pair");
        let hear = std::thread::spawn(move || all(&theirs));
        runtime.block_on(async {
            let channel = std::os::unix::net::UnixDatagram::from(ours);
            channel.set_nonblocking(true).expect("it can");
            let channel = tokio::net::UnixDatagram::from_std(channel).expect("it registers");
            let ledger = Ledger::new(7, Out::new(Arc::new(channel)));
            for done in done {
                ledger.make_room().await;
                ledger.push(done);
            }
            ledger.tell().await;
        });
        hear.join().expect("it hears")
    }

    fn all(channel: &OwnedFd) -> Vec<Use> {
        let (mut buffer, mut heard) = (Vec::new(), Vec::new());
        loop {
            let mut ends = [rustix::event::PollFd::new(channel, rustix::event::PollFlags::IN)];
            rustix::event::poll(&mut ends, None).expect("it waits");
            match channel::try_receive::<FromWorker>(channel, &mut buffer).expect("it is ours") {
                Some(Incoming::Message(FromWorker::Used { call: 7, uses }, None)) => heard.extend(uses),
                Some(Incoming::Closed) => return heard,
                other => panic!("{other:?}"),
            }
        }
    }

    /// However long a name is that a guest says, what it did before is told.
    #[test]
    fn enormous_names_erase_no_use() {
        let long = || vec![b'x'; 70 << 20];
        let refused = |what, path| Use { errno: Some(36), ..Use::new(what, path) };
        let before = (0..100).map(|n| Use::new(What::Unlink, format!("/ws/{n}")));
        let large = [
            refused(What::Symlink { to: long() }, b"/ws/a".to_vec()),
            refused(What::Symlink { to: long() }, b"/ws/b".to_vec()),
            refused(What::Rename { to: long() }, long()),
            refused(What::Request { method: "M".repeat(70 << 20) }, b"http://a/".to_vec()),
        ];
        let after = (0..300).map(|n| Use::new(What::Stat, format!("/ws/s{n}")));
        let told = heard(before.chain(large).chain(after));
        assert_eq!(told.len(), 404);
        for (n, done) in told.iter().take(100).enumerate() {
            assert_eq!((&done.what, done.path.as_slice()), (&What::Unlink, format!("/ws/{n}").as_bytes()));
        }
        assert!(told.iter().all(|done| bytes(done) <= USE_BYTES + 2 * NAME_BYTES_MAX));
    }

    /// What is told all at once, since nobody could ask for room in between, comes in parts that each fit a message.
    #[test]
    fn many_long_names_at_once_are_told_in_parts() {
        let name = |n: usize| format!("/ws/{n:04}{}", "y".repeat(NAME_BYTES_MAX));
        let uses: Vec<Use> = (0..300).map(|n| Use::new(What::Unlink, name(n))).collect();
        let mut waiting = Waiting::default();
        uses.into_iter().for_each(|done| waiting.push(done));
        let parts: Vec<Vec<Use>> = batches(waiting.uses).collect();
        assert_eq!(parts.iter().map(Vec::len).sum::<usize>(), 300);
        for uses in parts {
            let encoded = crate::backend::wasm::wire::encode(&FromWorker::Used { call: u64::MAX, uses });
            assert_eq!(encoded.expect("it has bytes").body, None, "it is a datagram");
        }
    }
}
