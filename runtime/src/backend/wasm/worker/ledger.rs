//! What one call did with what it was given, in order, until the supervisor has heard it.
//! It never drops a use: where the supervisor is slow, the guest waits.

use crate::backend::wasm::call::{Use, What};
use crate::backend::wasm::wire::{FromWorker, MESSAGE_BYTES_MAX};
use crate::backend::wasm::worker::outgoing::Out;
use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
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
    /// Held while something is told: what one tells has arrived before another's next word.
    telling: tokio::sync::Mutex<()>,
    clock: AtomicU64,
    random: AtomicU64,
    /// Something was done beside reading clocks and drawing randomness.
    used: AtomicBool,
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
        let (waiting, telling) = (Mutex::default(), tokio::sync::Mutex::default());
        Self {
            call,
            out,
            waiting,
            telling,
            clock: AtomicU64::new(0),
            random: AtomicU64::new(0),
            used: AtomicBool::new(false),
        }
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
        self.used.store(true, Ordering::Relaxed);
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
        let _alone = self.telling.lock().await;
        let mut untold = Untold { ledger: self, batches: batches(self.take()).collect() };
        while let Some(batch) = untold.batches.front() {
            let message = FromWorker::Used { call: self.call, uses: batch.clone() };
            // Given up here, it is not sent: whoever sends waits for nothing but room.
            self.out.send(&message, None).await;
            untold.batches.pop_front();
        }
    }

    /// What is left for the message that ends the call, when nobody acts for its guest any more; of much, most is told
    /// before.
    pub(super) async fn close(&self) -> Vec<Use> {
        // Whoever was kept from telling has put back what it had when it lets go of this.
        drop(self.telling.lock().await);
        self.make_room().await;
        self.take()
    }

    /// What waits.
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

    /// Whether nothing was done but reading clocks and drawing randomness, ever: also what was told is remembered.
    pub(super) fn is_unused(&self) -> bool {
        !self.used.load(Ordering::Relaxed)
    }

    /// What was read of clocks and drawn of randomness for this call before it came.
    pub(super) fn add_before(&self, before: &Self) {
        self.clock.fetch_add(before.clock.swap(0, Ordering::Relaxed), Ordering::Relaxed);
        self.random.fetch_add(before.random.swap(0, Ordering::Relaxed), Ordering::Relaxed);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What is being told. Whoever tells it may be given up at any moment, and then the rest waits again.
struct Untold<'a> {
    ledger: &'a Ledger,
    batches: VecDeque<Vec<Use>>,
}

impl Drop for Untold<'_> {
    fn drop(&mut self) {
        let uses: Vec<Use> = self.batches.drain(..).flatten().collect();
        if !uses.is_empty() {
            self.ledger.lock().put_back(uses);
        }
    }
}

impl Waiting {
    /// These came before all that waits.
    fn put_back(&mut self, mut uses: Vec<Use>) {
        self.bytes += uses.iter().map(bytes).sum::<usize>();
        uses.append(&mut self.uses);
        self.uses = uses;
        // Their places are others now.
        self.known.clear();
    }

    fn push(&mut self, mut done: Use) {
        clip(&mut done);
        if changes(&done) {
            self.known.clear();
        } else {
            let key = (done.what.clone(), done.path.clone(), done.errno);
            if let Some(known) = self.known.get(&key).and_then(|place| self.uses.get_mut(*place)) {
                known.times += done.times;
                known.bytes_read = known.bytes_read.saturating_add(done.bytes_read);
                known.bytes_written = known.bytes_written.saturating_add(done.bytes_written);
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
        | What::Args
        | What::Stdin
        | What::Clock
        | What::Random
        | What::Socket
        | What::Connect
        | What::Moved
        | What::Lookup => {}
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
        | What::Args
        | What::Stdin
        | What::Clock
        | What::Random
        | What::Socket
        | What::Connect
        | What::Moved
        | What::Lookup => 0,
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
const fn changes(done: &Use) -> bool {
    match &done.what {
        // Refused, nobody else records it. A guest can be refused as many as it likes without ever waiting.
        What::Connect => done.errno.is_none(),
        What::Read
        | What::List
        | What::Stat
        | What::ReadLink
        | What::Env
        | What::Args
        | What::Stdin
        | What::Clock
        | What::Random
        | What::Socket
        | What::Moved
        | What::Lookup => false,
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
        let (mut inbox, mut heard) = (channel::Inbox::default(), Vec::new());
        loop {
            let mut ends = [rustix::event::PollFd::new(channel, rustix::event::PollFlags::IN)];
            rustix::event::poll(&mut ends, None).expect("it waits");
            match channel::try_receive::<FromWorker>(channel, &mut inbox).expect("it is ours") {
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

    /// However much somebody does of whom nothing is heard, it is remembered that something was done.
    #[test]
    fn what_nobody_hears_of_is_not_forgotten() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        let ledger = Ledger::new(0, Out::nobody());
        ledger.clock();
        ledger.random();
        assert!(ledger.is_unused(), "the control: those are the next call's");
        let request = |n| Use::new(What::Request { method: "GET".to_owned() }, format!("http://{n}.example/"));
        for done in (0..2_000).map(request) {
            ledger.push(done);
            runtime.block_on(ledger.make_room());
        }
        assert!(!ledger.is_unused());
    }

    /// Whoever tells may be given up at any moment, as a component gives up a connection: nothing of that goes missing.
    #[test]
    fn whoever_is_kept_from_telling_takes_no_use_away() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let pair = rustix::net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None);
        let (ours, theirs) = pair.expect("a socket pair");
        let name = |n: usize| format!("/ws/{n:05}{}", "y".repeat(4000)).into_bytes();
        let (told, done) = runtime.block_on(async {
            let channel = std::os::unix::net::UnixDatagram::from(ours);
            channel.set_nonblocking(true).expect("it can");
            let channel = tokio::net::UnixDatagram::from_std(channel).expect("it registers");
            let ledger = Arc::new(Ledger::new(7, Out::new(Arc::new(channel))));
            let (mut done, mut given_up) = (0, 0);
            while given_up < 3 {
                for _ in 0..20 {
                    ledger.push(Use::new(What::Unlink, name(done)));
                    done += 1;
                }
                let limit = std::time::Duration::from_millis(20);
                given_up += usize::from(tokio::time::timeout(limit, ledger.tell()).await.is_err());
            }
            let telling = Arc::clone(&ledger);
            let telling = tokio::spawn(async move { telling.tell().await });
            tokio::task::yield_now().await;
            assert!(ledger.lock().uses.is_empty(), "it has all of them in its hands");
            // It is gone when its runtime has time for that, and the call may end before.
            telling.abort();
            let hear = std::thread::spawn(move || all(&theirs));
            let rest = ledger.close().await;
            assert!(telling.await.is_err(), "it was given up");
            drop(ledger);
            let mut told = hear.join().expect("it hears");
            told.extend(rest);
            (told, done)
        });
        assert_eq!(told.len(), done);
        assert!(told.iter().enumerate().all(|(n, one)| one.path == name(n)), "in their order");
    }

    /// A component is refused a connection without waiting for anything.
    #[test]
    fn connections_that_are_refused_without_end_are_one_use() {
        let ledger = Ledger::new(7, Out::nobody());
        for _ in 0..10_000 {
            ledger.push(Use { errno: Some(24), ..Use::new(What::Connect, Vec::new()) });
            ledger.push(Use { errno: Some(22), ..Use::new(What::Connect, Vec::new()) });
        }
        assert_eq!(ledger.take().iter().map(|one| one.times).collect::<Vec<_>>(), [10_000; 2]);
        for host in ["a.test:1", "a.test:1"] {
            ledger.push(Use::new(What::Connect, host));
        }
        assert_eq!(ledger.take().len(), 2, "those that are made are each one");
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
            let encoded = crate::backend::wasm::parts::encode(&FromWorker::Used { call: u64::MAX, uses });
            assert_eq!(encoded.expect("it has bytes").datagrams(), 1);
        }
    }
}
