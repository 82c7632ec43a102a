//! The ring: memory that the init writes frames of bytes to and the supervisor reads them from, in order.
//! It never loses a frame while a reader is attached: a full ring makes the writer wait, and so the guest that it speaks of.
//!
//! The reader takes nothing for granted: positions are checked against what it has read, each word is loaded once, and
//! what comes out is bytes that somebody else has to parse. The memory cannot be cut short under it (memfd seals).
//! All of it is atomics, since the other side is another process: a word that changes meanwhile is no undefined behaviour.

use crate::error::{ErrorKind, JailError};
use crate::sys;
use rustix::event::{EventfdFlags, eventfd};
use rustix::fs::{MemfdFlags, SealFlags};
use rustix::io::Errno;
use rustix::thread::futex;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

/// Room for frames, bytes.
pub(crate) const RING_BYTES: usize = 256 * 1024;
/// A frame has this many bytes at most, so that two always fit.
pub(crate) const FRAME_BYTES_MAX: usize = 64 * 1024;
const WORDS: usize = RING_BYTES / 8;
const _: () = assert!(WORDS.is_power_of_two() && FRAME_BYTES_MAX * 2 < RING_BYTES);
/// How long a writer that waits for room sleeps before it looks again, in case a wake-up went astray.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// What lies before the frames. Each position counts words since the beginning.
#[repr(C)]
struct Header {
    /// Where the next frame is written: the writer's.
    head: AtomicU64,
    /// The reader sleeps and wants to be woken: set by it, taken back by whoever wakes it.
    sleeps: AtomicU32,
    _apart: [u8; 52],
    /// Where the next frame is read: the reader's.
    tail: AtomicU64,
    /// The writer waits for room: set by it, taken back by the reader.
    full: AtomicU32,
    /// Counted up when there is room again; what the writer sleeps on.
    room: AtomicU32,
    /// Whether anybody reads at all.
    attached: AtomicU32,
    _to_a_page: [u8; 4096 - 84],
}
const _: () = assert!(size_of::<Header>() == 4096);

/// The memory, mapped.
#[derive(Debug)]
struct Memory(sys::SharedMemory);

impl Memory {
    const BYTES: usize = size_of::<Header>() + RING_BYTES;

    fn map(memfd: BorrowedFd<'_>) -> Result<Self, Errno> {
        sys::SharedMemory::map(memfd, Self::BYTES).map(Self)
    }

    fn header(&self) -> &Header {
        // SAFETY: the mapping is at least a `Header` long, aligned to a page, lives as long as `self`, and is sealed
        // against shrinking; a `Header` is atomics and padding, for which every bit pattern is valid and which other
        // processes may change.
        unsafe { &*self.0.start().cast::<Header>() }
    }

    /// The word at a position.
    fn word(&self, position: u64) -> &AtomicU64 {
        let index = usize::try_from(position).unwrap_or(usize::MAX) % WORDS;
        // SAFETY: the offset is below the length of the mapping, since `index` is below `WORDS`.
        let start = unsafe { self.0.start().add(size_of::<Header>() + index * 8) };
        // SAFETY: the address is a multiple of eight within the mapping, which lives as long as `self`; an atomic may
        // be changed by others.
        unsafe { &*start.cast::<AtomicU64>() }
    }
}

/// The descriptors by which a ring is passed on.
#[derive(Debug)]
pub(crate) struct Ends {
    /// The memory.
    pub(crate) memory: OwnedFd,
    /// Readable when a sleeping reader is woken.
    pub(crate) wake: OwnedFd,
}

/// The init's side.
#[derive(Debug)]
pub(crate) struct Writer {
    memory: Memory,
    wake: OwnedFd,
    head: u64,
    /// Events that nobody was there to read.
    lost: u64,
}

/// Makes a ring: the writer, and what the reader is made of.
pub(crate) fn make() -> Result<(Writer, Ends), Errno> {
    let memory = rustix::fs::memfd_create(c"stockade-ring", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
    rustix::fs::ftruncate(&memory, u64::try_from(Memory::BYTES).map_err(|_| Errno::FBIG)?)?;
    rustix::fs::fcntl_add_seals(&memory, SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL)?;
    let wake = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
    let mapped = Memory::map(memory.as_fd())?;
    // A copy of the init is a guest soon.
    mapped.0.keep_from_children()?;
    let writer = Writer { memory: mapped, wake: wake.try_clone().map_err(io)?, head: 0, lost: 0 };
    Ok((writer, Ends { memory, wake }))
}

fn io(error: std::io::Error) -> Errno {
    Errno::from_io_error(&error).unwrap_or(Errno::IO)
}

impl Writer {
    /// Writes a frame, waiting for room while there is a reader. `false`: there is none, and no room.
    pub(crate) fn push(&mut self, frame: &[u8]) -> bool {
        debug_assert!(frame.len() <= FRAME_BYTES_MAX, "whoever makes frames bounds them");
        let words = 1 + frame.len().div_ceil(8);
        if !self.until_room(u64::try_from(words).unwrap_or(u64::MAX)) {
            return false;
        }
        let length = u64::try_from(frame.len()).unwrap_or(u64::MAX);
        self.memory.word(self.head).store(length, Ordering::Relaxed);
        let mut position = self.head + 1;
        for chunk in frame.chunks(8) {
            let mut bytes = [0; 8];
            bytes[..chunk.len()].copy_from_slice(chunk);
            self.memory.word(position).store(u64::from_le_bytes(bytes), Ordering::Relaxed);
            position += 1;
        }
        let header = self.memory.header();
        let half = u64::try_from(WORDS / 2).unwrap_or(u64::MAX);
        let before = self.head - header.tail.load(Ordering::Acquire).min(self.head);
        self.head = position;
        // Sequentially consistent, as the reader's two are: one of both sees the other (it a new frame, we that it sleeps).
        header.head.store(position, Ordering::SeqCst);
        let crossed = before < half && before + u64::try_from(words).unwrap_or(u64::MAX) >= half;
        if header.sleeps.swap(0, Ordering::SeqCst) == 1 || crossed {
            self.wake();
        }
        true
    }

    /// Counts events that there was no room for.
    pub(crate) fn lose(&mut self, count: u64) {
        self.lost = self.lost.saturating_add(count);
    }

    /// Events that were lost since this was asked last.
    pub(crate) fn take_lost(&mut self) -> u64 {
        std::mem::take(&mut self.lost)
    }

    fn wake(&self) {
        match rustix::io::write(&self.wake, &1_u64.to_ne_bytes()) {
            // EAGAIN: the counter is full, and the descriptor readable since long.
            Ok(_) | Err(_) => {}
        }
    }

    fn until_room(&self, words: u64) -> bool {
        let header = self.memory.header();
        let capacity = u64::try_from(WORDS).unwrap_or(0);
        let fits = || self.head + words <= header.tail.load(Ordering::SeqCst).saturating_add(capacity);
        while !fits() {
            if header.attached.load(Ordering::Relaxed) == 0 {
                return false;
            }
            let seen = header.room.load(Ordering::SeqCst);
            header.full.store(1, Ordering::SeqCst);
            if fits() {
                break;
            }
            self.wake();
            let limit = rustix::thread::Timespec { tv_sec: 0, tv_nsec: i64::from(LOOK_AGAIN.subsec_nanos()) };
            match futex::wait(&header.room, futex::Flags::empty(), seen, Some(&limit)) {
                // Whatever woke us: it is looked at again.
                Ok(()) | Err(_) => {}
            }
        }
        true
    }
}

/// The supervisor's side.
#[derive(Debug)]
pub(crate) struct Reader {
    memory: Memory,
    wake: OwnedFd,
    tail: u64,
}

impl Reader {
    /// Attaches to a ring: from now on its writer waits for room.
    pub(crate) fn attach(ends: Ends) -> Result<Self, JailError> {
        let memory = Memory::map(ends.memory.as_fd())
            .map_err(|errno| JailError::os("map", "the recorder's ring", errno.raw_os_error()))?;
        memory.header().attached.store(1, Ordering::SeqCst);
        Ok(Self { memory, wake: ends.wake, tail: 0 })
    }

    /// The next frame, if there is one, into `frame`.
    ///
    /// # Errors
    /// The writer broke the protocol: it is ours, so it was taken over.
    pub(crate) fn next(&mut self, frame: &mut Vec<u8>) -> Result<bool, JailError> {
        let head = self.memory.header().head.load(Ordering::Acquire);
        let there = head.wrapping_sub(self.tail);
        if there == 0 {
            return Ok(false);
        }
        let length = usize::try_from(self.memory.word(self.tail).load(Ordering::Relaxed)).unwrap_or(usize::MAX);
        let words = if length <= FRAME_BYTES_MAX { length.div_ceil(8) } else { usize::MAX };
        let fits = u64::try_from(words).is_ok_and(|words| words < there);
        if there > u64::try_from(WORDS).unwrap_or(0) || !fits {
            return Err(broken());
        }
        frame.clear();
        let mut position = self.tail + 1;
        for _ in 0..words {
            frame.extend(self.memory.word(position).load(Ordering::Relaxed).to_le_bytes());
            position += 1;
        }
        frame.truncate(length);
        self.tail = position;
        Ok(true)
    }

    /// Gives the room of what was read back to the writer.
    pub(crate) fn release(&self) {
        let header = self.memory.header();
        header.tail.store(self.tail, Ordering::SeqCst);
        if header.full.swap(0, Ordering::SeqCst) == 1 {
            header.room.fetch_add(1, Ordering::SeqCst);
            match futex::wake(&header.room, futex::Flags::empty(), u32::MAX >> 1) {
                // Nobody sleeps: whoever was to looks again first.
                Ok(_) | Err(_) => {}
            }
        }
    }

    /// Whether there is anything to read; where not, the writer will make the descriptor readable when there is.
    pub(crate) fn is_empty_and_sleeps(&self) -> bool {
        let header = self.memory.header();
        if header.head.load(Ordering::SeqCst) != self.tail {
            return false;
        }
        header.sleeps.store(1, Ordering::SeqCst);
        header.head.load(Ordering::SeqCst) == self.tail
    }

    /// Takes back what made the descriptor readable.
    pub(crate) fn awake(&self) {
        let mut count = [0; 8];
        match rustix::io::read(&self.wake, &mut count) {
            // EAGAIN: it was not.
            Ok(_) | Err(_) => {}
        }
    }
}

/// Detached: the writer waits for nobody any more.
impl Drop for Reader {
    fn drop(&mut self) {
        self.memory.header().attached.store(0, Ordering::SeqCst);
        self.release();
    }
}

/// What the init wrote is not what our init writes.
pub(crate) fn broken() -> JailError {
    JailError::bug("read", "the recorder's ring").kind(ErrorKind::Protocol)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair() -> (Writer, Reader) {
        let (writer, ends) = make().expect("a memfd");
        (writer, Reader::attach(ends).expect("a mapping"))
    }

    #[test]
    fn frames_come_out_as_they_went_in_and_in_order() {
        let (mut writer, mut reader) = pair();
        let mut frame = Vec::new();
        for round in 0..2000_usize {
            let sent: Vec<u8> =
                (0..round % 700).map(|index| u8::try_from((index + round) % 251).unwrap_or(0)).collect();
            assert!(writer.push(&sent));
            assert!(reader.next(&mut frame).expect("a frame"));
            assert_eq!(frame, sent);
            reader.release();
        }
        assert!(!reader.next(&mut frame).expect("nothing"));
    }

    #[test]
    fn a_full_ring_makes_the_writer_wait_and_loses_nothing() {
        let (mut writer, mut reader) = pair();
        let thread = std::thread::spawn(move || {
            (0..20_000_u64).for_each(|number| assert!(writer.push(&[&number.to_le_bytes()[..], &[7; 100]].concat())));
        });
        let (mut frame, mut expected) = (Vec::new(), 0_u64);
        while expected < 20_000 {
            while reader.next(&mut frame).expect("a frame") {
                assert_eq!(frame.first_chunk(), Some(&expected.to_le_bytes()));
                expected += 1;
            }
            reader.release();
        }
        thread.join().expect("each frame found room");
    }

    #[test]
    fn without_a_reader_the_writer_goes_on() {
        let (mut writer, ends) = make().expect("a memfd");
        let frame = [1; 1000];
        let written = (0..1000).filter(|_| writer.push(&frame)).count();
        assert!(written > 200 && written < 300, "{written}");
        let mut reader = Reader::attach(ends).expect("a mapping");
        let mut out = Vec::new();
        let read = std::iter::from_fn(|| reader.next(&mut out).expect("a frame").then_some(())).count();
        assert_eq!(read, written);
    }

    #[test]
    fn a_detached_reader_lets_a_waiting_writer_go() {
        let (mut writer, reader) = pair();
        let thread = std::thread::spawn(move || (0..2000).filter(|_| writer.push(&[0; 1000])).count());
        std::thread::sleep(Duration::from_millis(20));
        drop(reader);
        assert!(thread.join().expect("it ends") < 2000);
    }

    #[test]
    fn a_forged_position_or_length_is_an_error() {
        let (mut writer, mut reader) = pair();
        assert!(writer.push(&[1, 2, 3]));
        writer.memory.header().head.store(u64::MAX / 2, Ordering::SeqCst);
        assert!(reader.next(&mut Vec::new()).is_err());
        for length in [u64::MAX, 1 << 40, 17, 100_000] {
            let (mut writer, mut reader) = pair();
            assert!(writer.push(&[1, 2, 3]));
            writer.memory.word(0).store(length, Ordering::SeqCst);
            assert!(reader.next(&mut Vec::new()).is_err(), "{length}");
        }
    }

    #[test]
    fn a_sleeping_reader_is_woken() {
        let (mut writer, reader) = pair();
        assert!(reader.is_empty_and_sleeps());
        let readable = |reader: &Reader| {
            let mut fds = [rustix::event::PollFd::new(&reader.wake, rustix::event::PollFlags::IN)];
            rustix::event::poll(&mut fds, Some(&rustix::event::Timespec::default())) == Ok(1)
        };
        assert!(!readable(&reader));
        assert!(writer.push(&[1]));
        assert!(readable(&reader) && !reader.is_empty_and_sleeps());
        reader.awake();
        assert!(writer.push(&[2]));
        assert!(!readable(&reader), "it did not say that it sleeps");
    }
}
