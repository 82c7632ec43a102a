//! Streams of open files: each byte that goes through is counted, on this thread.
//! It never starts a thread: a worker may not, and a regular file makes nobody wait for anybody else.

use crate::backend::wasm::worker::ledger::OpenFile;
use bytes::{Bytes, BytesMut};
use rustix::io::{Errno, ReadWriteFlags};
use std::fs::File;
use std::io::{self, IoSlice};
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;
use wasmtime_wasi::p2::{InputStream, OutputStream, Pollable, StreamError, StreamResult};

/// Bytes that are moved at once.
pub(super) const CHUNK_BYTES: usize = 256 * 1024;

/// Reads a file from a place on.
pub(super) struct FileReader {
    pub(super) file: Arc<File>,
    pub(super) counted: Arc<OpenFile>,
    pub(super) position: u64,
}

#[wasmtime_wasi::async_trait]
impl Pollable for FileReader {
    async fn ready(&mut self) {}
}

#[wasmtime_wasi::async_trait]
impl InputStream for FileReader {
    fn read(&mut self, size: usize) -> StreamResult<Bytes> {
        if size == 0 {
            return Ok(Bytes::new());
        }
        let mut bytes = BytesMut::zeroed(size.min(CHUNK_BYTES));
        match read_at(&self.file, &mut bytes, self.position) {
            Ok(0) => Err(StreamError::Closed),
            Ok(count) => {
                self.counted.read(count);
                self.position = self.position.saturating_add(u64::try_from(count).unwrap_or(u64::MAX));
                bytes.truncate(count);
                Ok(bytes.freeze())
            }
            Err(error) => Err(StreamError::LastOperationFailed(error.into())),
        }
    }
}

/// Where a writer writes.
#[derive(Debug, Clone, Copy)]
pub(super) enum At {
    /// From here on.
    Position(u64),
    /// At the end, wherever that is by then.
    End,
}

/// Writes a file.
pub(super) struct FileWriter {
    pub(super) file: Arc<File>,
    pub(super) counted: Arc<OpenFile>,
    pub(super) at: At,
}

#[wasmtime_wasi::async_trait]
impl Pollable for FileWriter {
    async fn ready(&mut self) {}
}

#[wasmtime_wasi::async_trait]
impl OutputStream for FileWriter {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        let mut left: &[u8] = &bytes;
        while !left.is_empty() {
            let count = match self.write_some(left) {
                Ok(count) => count,
                Err(error) => return Err(StreamError::LastOperationFailed(error.into())),
            };
            self.counted.wrote(count);
            if let At::Position(position) = &mut self.at {
                *position = position.saturating_add(u64::try_from(count).unwrap_or(u64::MAX));
            }
            left = left.get(count..).unwrap_or_default();
        }
        Ok(())
    }

    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        Ok(CHUNK_BYTES)
    }
}

impl FileWriter {
    fn write_some(&self, bytes: &[u8]) -> io::Result<usize> {
        let written = match self.at {
            At::Position(position) => write_at(&self.file, bytes, position)?,
            At::End => loop {
                match rustix::io::pwritev2(&self.file, &[IoSlice::new(bytes)], 0, ReadWriteFlags::APPEND) {
                    Err(Errno::INTR) => {}
                    other => break other?,
                }
            },
        };
        // A regular file takes at least a byte or says why not.
        if written == 0 { Err(io::Error::from(io::ErrorKind::WriteZero)) } else { Ok(written) }
    }
}

/// pread(2), also when a signal comes.
pub(super) fn read_at(file: &File, bytes: &mut [u8], position: u64) -> io::Result<usize> {
    loop {
        match file.read_at(bytes, position) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            other => return other,
        }
    }
}

/// pwrite(2), also when a signal comes.
pub(super) fn write_at(file: &File, bytes: &[u8], position: u64) -> io::Result<usize> {
    loop {
        match file.write_at(bytes, position) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            other => return other,
        }
    }
}
