//! The standard input of a command: what its call has, and then its end.
//! It never makes a guest wait, and never gives a byte twice.

use crate::backend::wasm::call::{Use, What};
use crate::backend::wasm::worker::ledger::Ledger;
use bytes::Bytes;
use std::sync::{Arc, Mutex, PoisonError};
use wasmtime_wasi::p2::{InputStream, Pollable, StreamError, StreamResult};

/// Where the streams of one guest have come to.
#[derive(Debug, Clone, Default)]
pub(super) struct Input(Arc<Mutex<Bytes>>);

/// One stream of it.
#[derive(Debug)]
pub(super) struct InputOf {
    input: Input,
    read: u64,
    /// Who hears of it; nobody where nothing was granted, since nothing was given.
    ledger: Option<Arc<Ledger>>,
}

impl Input {
    pub(super) fn new(bytes: Vec<u8>) -> Self {
        Self(Arc::new(Mutex::new(bytes.into())))
    }

    pub(super) fn stream(&self, ledger: Option<Arc<Ledger>>) -> InputOf {
        InputOf { input: self.clone(), read: 0, ledger }
    }
}

#[wasmtime_wasi::async_trait]
impl Pollable for InputOf {
    async fn ready(&mut self) {}
}

#[wasmtime_wasi::async_trait]
impl InputStream for InputOf {
    fn read(&mut self, size: usize) -> StreamResult<Bytes> {
        let mut left = self.input.0.lock().unwrap_or_else(PoisonError::into_inner);
        if left.is_empty() {
            return Err(StreamError::Closed);
        }
        let size = size.min(left.len());
        self.read = self.read.saturating_add(u64::try_from(size).unwrap_or(u64::MAX));
        Ok(left.split_to(size))
    }
}

impl Drop for InputOf {
    fn drop(&mut self) {
        if let Some(ledger) = &self.ledger {
            ledger.push(Use { bytes_read: self.read, ..Use::new(What::Stdin, Vec::new()) });
        }
    }
}
