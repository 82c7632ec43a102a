//! What one call did with what it was given, in order, until the supervisor has heard it.
//! It never drops a use: where the supervisor is slow, the guest waits.

use crate::backend::wasm::call::{Use, What};
use crate::backend::wasm::wire::FromWorker;
use crate::backend::wasm::worker::outgoing::Out;
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// Bytes of uses that wait for the end of a call, or for this many.
const BATCH_BYTES: usize = 16 * 1024;
/// Bytes that a use takes beside its names.
const USE_BYTES: usize = 48;

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
        let uses = self.take();
        if !uses.is_empty() {
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
    fn push(&mut self, done: Use) {
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
        self.bytes += USE_BYTES + done.path.len();
        self.uses.push(done);
    }
}

/// Whether the order of this use and others matters.
const fn changes(what: &What) -> bool {
    match what {
        What::Read | What::List | What::Stat | What::ReadLink | What::Env | What::Clock | What::Random => false,
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
}

impl OpenFile {
    /// A file that was opened to be read.
    pub(super) const fn reading(ledger: Arc<Ledger>, path: Vec<u8>) -> Self {
        Self { ledger, path, for_writing: false, read: AtomicU64::new(0), written: AtomicU64::new(0) }
    }

    /// A file that was opened to be written, or both, which was told already.
    pub(super) const fn writing(ledger: Arc<Ledger>, path: Vec<u8>) -> Self {
        Self { ledger, path, for_writing: true, read: AtomicU64::new(0), written: AtomicU64::new(0) }
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
