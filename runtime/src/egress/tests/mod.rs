//! The outlet from outside: clients on one side, upstreams of ours on the other, and what passes between them.
//! Every case that is refused here has a neighbour that is not, so that nothing passes a test by being broken.

mod account;
mod connections;
mod requests;
mod secrets;
mod streams;
mod tools;
mod wire;
mod world;
