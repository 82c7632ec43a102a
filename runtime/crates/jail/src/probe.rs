//! What this machine can enforce, layer by layer, and the one command that mends what is missing.
//! It never changes the machine.

use crate::enforced::{Grade, Layer, State};
use serde::{Deserialize, Serialize};

/// What is known about one layer on this machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// Which layer.
    pub layer: Layer,
    /// How well it would hold.
    pub state: State,
    /// What was seen.
    pub detail: String,
    /// The one command that mends it, when there is one.
    pub fix: Option<String>,
}

/// The grade that these findings would lead to.
pub fn grade(_findings: &[Finding]) -> Grade {
    Grade::None
}
