//! The WASI wall from outside: calls of components that work, and of those that were made to break it.
//! The workers are threads here; that a broken one breaks nothing else is what most of these tests say.

mod commands;
mod components;
mod files;
mod guests;
mod handles;
mod hostile;
mod life;
mod ready;
mod stage;
