//! The list of system calls that a guest may make, compiled to BPF once and installed between fork and exec.
//! It never decides on memory that a pointer leads to: only the number, the architecture and register values.

use crate::enforced::LayerState;
use crate::error::JailError;
use crate::plan::Sockets;

/// A compiled filter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Filter {
    program: Vec<u8>,
}

/// Compiles the list.
///
/// # Errors
/// A bug of ours: a rule that the compiler does not accept, or a program beyond the kernel's 4096 instructions.
pub fn compile(sockets: Sockets) -> Result<Filter, JailError> {
    Err(JailError::bug("compile seccomp list", format!("{sockets:?}")))
}

impl Filter {
    /// Installs the filter on the calling thread; allocates nothing unless it fails.
    ///
    /// # Errors
    /// The kernel's answer of seccomp(2).
    pub fn install(&self) -> Result<LayerState, JailError> {
        Err(JailError::bug("install seccomp list", ""))
    }

    /// The program as the kernel reads it: little-endian `sock_filter` structures.
    pub fn bytes(&self) -> &[u8] {
        &self.program
    }

    /// SHA-256 of [`Filter::bytes`], for the log.
    pub fn sha256_hex(&self) -> String {
        String::new()
    }
}
