//! The only way out of a sandbox: what it may reach, by name, request by request.
//! It never holds a secret's plaintext longer than one outgoing request.

pub mod address;
pub mod canonical;
pub mod dial;
pub mod front;
pub mod http;
pub mod names;
pub mod outline;
pub mod proxy;
pub mod rates;
pub mod refusals;
pub mod refuse;
pub mod resolver;
pub mod tls;
pub mod tunnel;

#[cfg(test)]
mod testing;
