//! What this machine can enforce, layer by layer, and the one command that mends what is missing.
//! It never changes the machine: what must be tried is tried in a helper process that ends afterwards.

mod experiment;
pub(crate) mod helper;
mod judge;
mod machine;

use crate::enforced::{self, Grade, Layer, LayerState, State};
use serde::{Deserialize, Serialize};
use std::fmt;

pub use experiment::{Experiment, Observation, in_helper};
pub use machine::{Container, Machine};

/// What a finding is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Subject {
    /// The running kernel.
    Kernel,
    /// A layer of a session.
    Layer(Layer),
    /// Copy-on-write workspaces without copying.
    Overlay,
    /// Workspaces that belong to somebody else than the guest.
    IdMappedMounts,
    /// A `/proc` of the session's own.
    Proc,
    /// Terminals inside (`run -t`).
    Terminals,
    /// Who may trace whom on the host.
    Yama,
}

/// What is known about one subject on this machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// About what.
    pub subject: Subject,
    /// How well it would hold.
    pub state: State,
    /// What was seen.
    pub detail: String,
    /// The one command that mends it, when there is one.
    pub fix: Option<String>,
}

/// Examines this machine. `run` carries an experiment out in a fresh, single-threaded process and returns what
/// [`in_helper`] said there: experiments change the namespaces of their process, and a threaded process must not fork.
/// `program` is the path of our own binary, for the commands.
pub fn examine(program: &str, run: &mut dyn FnMut(Experiment) -> Observation) -> Vec<Finding> {
    let machine = Machine::read(program);
    let observations: Vec<_> = Experiment::ALL.into_iter().map(|experiment| (experiment, run(experiment))).collect();
    judge::findings(&machine, &observations)
}

/// Examines this machine, each experiment in a process of its own.
pub fn examine_this_machine() -> Vec<Finding> {
    let program = std::env::current_exe().map_or_else(|_| "stockade".to_owned(), |path| path.display().to_string());
    examine(&program, &mut helper::in_process)
}

/// The grade that a session would reach with these findings.
pub fn grade(findings: &[Finding]) -> Grade {
    let layers: Vec<LayerState> = findings
        .iter()
        .filter_map(|finding| match finding.subject {
            Subject::Layer(layer) => Some(LayerState { layer, state: finding.state.clone(), detail: None }),
            Subject::Kernel
            | Subject::Overlay
            | Subject::IdMappedMounts
            | Subject::Proc
            | Subject::Terminals
            | Subject::Yama => None,
        })
        .collect();
    enforced::grade(&layers)
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Layer(layer) => layer.fmt(f),
            Self::Kernel => f.pad("kernel"),
            Self::Overlay => f.pad("overlay"),
            Self::IdMappedMounts => f.pad("id-mapped-mounts"),
            Self::Proc => f.pad("proc"),
            Self::Terminals => f.pad("terminals"),
            Self::Yama => f.pad("yama"),
        }
    }
}
