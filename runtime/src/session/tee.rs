//! Keeps what a call prints for the log, on its way to whoever reads it.
//! It never keeps more than its limit, and never changes a byte.

use crate::backend::process::Sink;
use std::io;

/// Most bytes of one stream that go into the log; the record says how many more there were.
pub(super) const KEPT_BYTES_MAX: usize = 4 * 1024 * 1024;

/// One stream on its way out.
pub(super) struct Tee<'a> {
    to: Option<&'a mut dyn Sink>,
    kept: Vec<u8>,
    seen_bytes: u64,
}

impl<'a> Tee<'a> {
    /// Keeps what passes on to `to`.
    pub(super) fn new(to: &'a mut dyn Sink) -> Self {
        Self { to: Some(to), kept: Vec::new(), seen_bytes: 0 }
    }

    /// What was kept, and how many bytes there were.
    pub(super) fn into_kept(self) -> (Vec<u8>, u64) {
        (self.kept, self.seen_bytes)
    }
}

impl Sink for Tee<'_> {
    fn take(&mut self, chunk: &[u8]) -> io::Result<()> {
        let room = KEPT_BYTES_MAX.saturating_sub(self.kept.len()).min(chunk.len());
        self.kept.extend_from_slice(chunk.get(..room).unwrap_or_default());
        self.seen_bytes += chunk.len() as u64;
        // Who reads may go away; the log stays.
        if let Some(to) = &mut self.to
            && to.take(chunk).is_err()
        {
            self.to = None;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Reader(Vec<u8>, usize);
    impl Sink for Reader {
        fn take(&mut self, chunk: &[u8]) -> io::Result<()> {
            if self.1 == 0 {
                return Err(io::ErrorKind::BrokenPipe.into());
            }
            self.1 -= 1;
            self.0.extend(chunk);
            Ok(())
        }
    }

    #[test]
    fn a_reader_that_leaves_takes_nothing_from_the_log() {
        let mut reader = Reader(Vec::new(), 1);
        let mut tee = Tee::new(&mut reader);
        tee.take(b"one ").expect("the log takes everything");
        tee.take(b"two").expect("the log takes everything");
        assert_eq!(tee.into_kept(), (b"one two".to_vec(), 7));
        assert_eq!(reader.0, b"one ");
    }

    #[test]
    fn what_is_too_much_is_counted_and_passed_on() {
        let mut reader = Reader(Vec::new(), usize::MAX);
        let mut tee = Tee::new(&mut reader);
        for _ in 0..5 {
            tee.take(&vec![b'x'; 1 << 20]).expect("the log takes everything");
        }
        let (kept, seen) = tee.into_kept();
        assert_eq!((kept.len(), seen, reader.0.len()), (KEPT_BYTES_MAX, 5 << 20, 5 << 20));
    }
}
