//! `stockade log export`: all records of a session and of what followed it, for other programs.
//! It never sends a terminal what could command it.

use super::show::visible_json;
use crate::cli::args::ExportFormat;
use crate::cli::print;
use crate::error::Result;
use crate::journal::failed;
use std::io::{BufWriter, IsTerminal as _, Write};
use stockade_audit::query::{Disclose, LogReader};

/// Writes all records out.
///
/// # Errors
/// Host: the log cannot be read, or standard output fails.
pub(super) fn export(log: &LogReader, after: Option<&LogReader>, format: &ExportFormat, disclose: bool) -> Result<()> {
    let disclose = if disclose { Disclose::Yes } else { Disclose::No };
    let write = |out: &mut dyn Write| {
        if format.ocsf {
            log.export_ocsf(after, out, disclose)
        } else if format.otlp {
            log.export_otlp(after, out, disclose)
        } else {
            log.export_jsonl(after, out, disclose)
        }
    };
    // A file or a program gets the bytes that were hashed; a screen gets what cannot command it.
    if std::io::stdout().is_terminal() {
        let mut exported = Vec::new();
        write(&mut exported).map_err(failed)?;
        let lines = exported.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
        return lines.map(visible_json).try_for_each(|line| print(&line));
    }
    let mut out = BufWriter::new(std::io::stdout().lock());
    write(&mut out).map_err(failed)?;
    out.flush().map_err(|e| crate::error::Error::host(format!("write to standard output: {}", crate::error::plain(&e))))
}
