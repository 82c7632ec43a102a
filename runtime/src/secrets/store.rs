//! The encrypted local store.
//! It never writes a plaintext.
