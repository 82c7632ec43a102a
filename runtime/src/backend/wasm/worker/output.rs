//! What a guest prints, kept up to a limit and counted beyond it.
//! It never makes a guest wait and never fails: what is too much is thrown away, and its reply says how much that was.

use bytes::Bytes;
use std::sync::{Arc, Mutex, PoisonError};
use wasmtime_wasi::p2::{OutputStream, Pollable, StreamResult};

/// Bytes that a guest can print at once.
const CHUNK_BYTES: usize = 64 * 1024;

/// One stream, as long as the call lives.
#[derive(Debug, Clone)]
pub(super) struct Output(Arc<Mutex<Kept>>);

#[derive(Debug, Default)]
struct Kept {
    bytes: Vec<u8>,
    room: usize,
    cut: u64,
}

impl Output {
    pub(super) fn new(bytes_max: u64) -> Self {
        let room = usize::try_from(bytes_max).unwrap_or(usize::MAX);
        Self(Arc::new(Mutex::new(Kept { room, ..Kept::default() })))
    }

    /// What was printed, and how many bytes more.
    pub(super) fn take(&self) -> (Vec<u8>, u64) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        (std::mem::take(&mut kept.bytes), std::mem::take(&mut kept.cut))
    }
}

#[wasmtime_wasi::async_trait]
impl Pollable for Output {
    async fn ready(&mut self) {}
}

#[wasmtime_wasi::async_trait]
impl OutputStream for Output {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (taken, cut) = bytes.split_at(bytes.len().min(kept.room));
        kept.bytes.extend_from_slice(taken);
        kept.room -= taken.len();
        kept.cut = kept.cut.saturating_add(u64::try_from(cut.len()).unwrap_or(u64::MAX));
        Ok(())
    }

    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        Ok(CHUNK_BYTES)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_too_much_is_counted() {
        let mut output = Output::new(5);
        for part in ["abc", "def", "ghi"] {
            output.write(Bytes::from_static(part.as_bytes())).expect("it never fails");
        }
        assert_eq!(output.take(), (b"abcde".to_vec(), 4));
    }
}
