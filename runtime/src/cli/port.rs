//! `stockade port`: a server inside, on this machine's own loopback, for as long as its session runs.
//! It never listens on an address that another machine reaches, and never decides what is granted.

use crate::cli::args::PortArgs;
use crate::cli::{Context, EXIT_STOCKADE, print, tell};
use crate::config::state::State;
use crate::error::{Error, Result};
use crate::session::{Line, Opened};
use std::io::ErrorKind;
use std::net::{Ipv4Addr, TcpListener};
use stockade_audit::query::{SessionState, list_sessions};
use stockade_audit::record::SessionId;

/// Serves the port until the session ends, or a signal comes.
///
/// # Errors
/// Operator: there is no such session, it does not run, or the port here is taken. Host: there is no socket.
pub(super) fn port(args: &PortArgs, context: &Context) -> Result<u8> {
    let state = State::open(&context.environment)?;
    let id = state.find(&args.session)?;
    let line = match Line::open(&state.layer(&id), args.port.get())? {
        Opened::Line(line) => line,
        Opened::Refused(why) => {
            tell(&format!("stockade: {why}"));
            return Ok(EXIT_STOCKADE);
        }
        Opened::Nobody => return Err(nobody(&state, &id)),
    };
    let listener = listen(args)?;
    let place = listener.local_addr().map_err(|e| Error::host(format!("listen: {}", crate::error::plain(&e))))?;
    print(&format!("{place}\n"))?;
    tell(&format!("stockade: {place} leads to port {} of session {id}; Ctrl-C ends it", args.port));
    line.serve(listener, |what| tell(&format!("stockade: {what}")))?;
    tell(&format!("stockade: session {id} has ended, and port {} with it", args.port));
    Ok(0)
}

/// A listener on the loopback: on the port that was named, or the same number as inside, or any that is free.
fn listen(args: &PortArgs) -> Result<TcpListener> {
    let on = |port: u16| TcpListener::bind((Ipv4Addr::LOCALHOST, port));
    let failed = |port: u16, e: &std::io::Error| {
        let made = Error::operator(format!("listen on 127.0.0.1:{port}: {}", crate::error::plain(e)));
        made.hint("name a free one: --host-port N")
    };
    if let Some(named) = args.host_port {
        return on(named.get()).map_err(|e| failed(named.get(), &e));
    }
    match on(args.port.get()) {
        Err(e) if matches!(e.kind(), ErrorKind::AddrInUse | ErrorKind::PermissionDenied) => {
            on(0).map_err(|e| failed(0, &e))
        }
        listener => listener.map_err(|e| failed(args.port.get(), &e)),
    }
}

/// Why a session has nobody to ask.
fn nobody(state: &State, id: &SessionId) -> Error {
    let ledger = state.root().join("ledger");
    let sessions = list_sessions(&ledger, &state.root().join("s")).unwrap_or_default();
    let runs = sessions.iter().any(|session| session.sid == *id && session.state == SessionState::Running);
    if runs {
        return Error::operator(format!("the profile of session {id} grants no port"))
            .hint("a [[grant.port]] with port and reason in its profile lets a session's server be reached");
    }
    Error::operator(format!("session {id} does not run"))
        .hint("a server inside lives as long as its session; `stockade log list` shows those that run")
}
