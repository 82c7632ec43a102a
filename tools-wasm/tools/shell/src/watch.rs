//! The time that a script may take, without asking what time it is at each step: the interpreter would, some thousand times for
//! a page of text, and each question leaves the component. Here every few thousandth allocation asks.
//! It never ends anything itself: it raises the flag that the interpreter looks at anyway, and what does not allocate for that
//! long is left to the limit of a loop's turns, and to the host's own.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// Allocations between two looks at the clock: less than a millisecond's.
const EVERY: u32 = 4096;

static LEFT: AtomicU32 = AtomicU32::new(EVERY);
static WATCH: Mutex<Option<(Instant, Arc<AtomicBool>)>> = Mutex::new(None);

/// From now on the flag is raised when the time is over.
pub(crate) fn watch(time: Duration, flag: Arc<AtomicBool>) {
    if let (Some(end), Ok(mut watch)) = (Instant::now().checked_add(time), WATCH.lock()) {
        *watch = Some((end, flag));
    }
}

struct Allocator;

#[global_allocator]
static ALLOCATOR: Allocator = Allocator;

fn count() {
    // A component has one thread: this is a decrement.
    if LEFT.fetch_sub(1, Ordering::Relaxed) == 1 {
        LEFT.store(EVERY, Ordering::Relaxed);
        look();
    }
}

#[cold]
fn look() {
    if let Ok(watch) = WATCH.try_lock()
        && let Some((end, flag)) = &*watch
        && Instant::now() >= *end
    {
        flag.store(true, Ordering::Relaxed);
    }
}

#[expect(unsafe_code, reason = "an allocator is nothing else; this one hands each call on, unchanged, to the system's")]
// SAFETY: every method passes its arguments on to `System`, which keeps the contract; what is done before allocates nothing.
unsafe impl GlobalAlloc for Allocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller's promise is the one that `System` wants.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: `pointer` came from `System`, by the methods beside this one, for this layout.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: as in `alloc`.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count();
        // SAFETY: as in `dealloc`; the caller promises that `size` is sound.
        unsafe { System.realloc(pointer, layout, size) }
    }
}
