//! Secrets: where they come from, what the sandbox holds instead, how they go out, how they are taken from what comes back.
//! It never prints, clones or serialises a plaintext, and parses nothing that an upstream or an agent sent but to find one.

pub mod decode;
pub mod forms;
pub mod oauth;
pub mod placeholder;
pub mod plain;
pub mod scrub;
pub mod sigv4;
pub mod source;
pub mod store;
pub mod vault;
pub mod websocket;
