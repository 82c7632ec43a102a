//! Completions and manual pages, generated from the one definition of the command line.
//! It never describes anything that the parser does not take.

use crate::cli::args::Cli;
use crate::cli::print_bytes;
use crate::error::{Error, Result};
use clap::CommandFactory as _;
use std::path::Path;

/// Prints the completion script of a shell.
///
/// # Errors
/// Host: standard output fails.
pub(super) fn completions(shell: clap_complete::Shell) -> Result<u8> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "stockade", &mut script);
    print_bytes(&script)?;
    Ok(0)
}

/// Prints the manual page, or writes all of them into a directory.
///
/// # Errors
/// Host: standard output fails. Operator: the directory cannot be written.
pub(super) fn man(directory: Option<&Path>) -> Result<u8> {
    let Some(directory) = directory else {
        let mut page = Vec::new();
        let rendered = clap_mangen::Man::new(Cli::command()).render(&mut page);
        rendered.map_err(|e| Error::bug(format!("render the manual page: {e}")))?;
        print_bytes(&page)?;
        return Ok(0);
    };
    clap_mangen::generate_to(Cli::command(), directory)
        .map_err(|e| Error::io("write manual pages to", directory, &e))?;
    Ok(0)
}
