//! What the operator chose: environment, state directory, profiles, and the facts of the host that a plan needs.
//! It never starts anything and never reads a file of the workspace other than the project's `stockade.toml`.

pub mod environment;
#[cfg(test)]
mod golden;
pub mod profiles;
pub mod state;
