//! The component: its export, and the few calls of WASI that the standard library does not offer.
//! It never decides anything: it reads the place, and hands on.

use std::io;
use std::path::{Path, PathBuf};

use crate::{Arguments, Place};
use stockade_guest::{Failure, Reply};

stockade_guest::tool!(call);

#[expect(unsafe_code, reason = "generated from the world in here, as the export of every tool is from its own")]
mod prepared {
    wit_bindgen::generate!({
        inline: "package stockade:shell@0.1.0; world prepared { export prepare: func(); }",
    });

    struct Prepared;

    impl Guest for Prepared {
        fn prepare() {
            crate::prepare();
        }
    }

    export!(Prepared);
}

fn call(arguments: &str) -> Result<Reply, Failure> {
    let arguments = Arguments::parse(arguments).map_err(Failure::InvalidArguments)?;
    let beyond = crate::beyond(&arguments.command);
    if !beyond.is_nothing() {
        return Err(Failure::Refused(crate::refusal(&beyond)));
    }
    let answer = crate::run(&arguments, &place()).map_err(Failure::InvalidArguments)?;
    let structured = serde_json::to_string(&answer).map_err(|error| Failure::Refused(error.to_string()))?;
    Ok(Reply { text: answer.text(), structured: Some(structured), images: Vec::new() })
}

/// The workspace is the preopened directory that has a path of its own; where a host gives none, the directory it starts in.
fn place() -> Place {
    let preopened = wasip2::filesystem::preopens::get_directories();
    let own = preopened.iter().map(|(_, path)| path).find(|path| path.len() > 1 && path.starts_with('/'));
    let workspace = own.cloned().or_else(wasip2::cli::environment::initial_cwd).unwrap_or_else(|| "/".to_owned());
    Place { workspace: PathBuf::from(workspace), environment: std::env::vars().collect() }
}

/// The standard library makes links only behind an unstable door on this target.
pub(crate) fn make_link(target: &Path, link: &Path) -> io::Result<()> {
    let not_given = || io::Error::from(io::ErrorKind::PermissionDenied);
    let preopened = wasip2::filesystem::preopens::get_directories();
    let (directory, below) = preopened
        .iter()
        .filter_map(|(directory, path)| Some((directory, path, link.strip_prefix(path).ok()?)))
        .max_by_key(|(_, path, _)| path.len())
        .map(|(directory, _, below)| (directory, below))
        .ok_or_else(not_given)?;
    let target = target.to_str().ok_or_else(not_given)?;
    let below = below.to_str().ok_or_else(not_given)?;
    directory.symlink_at(target, below).map_err(|code| {
        use wasip2::filesystem::types::ErrorCode;
        match code {
            ErrorCode::Exist => io::Error::from(io::ErrorKind::AlreadyExists),
            ErrorCode::NoEntry => io::Error::from(io::ErrorKind::NotFound),
            ErrorCode::Access | ErrorCode::NotPermitted => not_given(),
            ErrorCode::ReadOnly => io::Error::from(io::ErrorKind::ReadOnlyFilesystem),
            other => io::Error::other(other.message()),
        }
    })
}
