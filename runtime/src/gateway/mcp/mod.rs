//! MCP over standard input and output, both of its eras: a client's tool calls become calls of one warm session.
//! It never lets a client wait for the session to be told that it is there, nor a call outlive the client that asked.
//!
//! The protocol has a thread with an event loop, the session has a thread of its own (`desk`), and two more move
//! lines (`wire`). A client that closes its end, is not there to read any more, or a signal to us ends it all: what runs is
//! ended, what waits is not begun, the session is closed and its log sealed.
//!
//! What a client sees: a call that the profile refuses is a result with `isError`, the rule, what would be allowed and how
//! to ask; a sandbox that died or a disk that is full ends the session, which that call and every later one is told, with
//! the command that shows what was changed; a request that is none is a JSON-RPC error.

mod args;
mod bash;
mod components;
mod desk;
mod pages;
mod review;
mod server;
mod tools;
mod wire;
mod words;

pub use desk::House;

use crate::backend::process::Outside;
use crate::error::{Error, Result, plain};
use crate::session::Session;
use rmcp::service::ServerInitializeError;
use server::Server;
use std::io::{PipeReader, PipeWriter, Write};
use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use stockade_audit::record::Cause;
use tokio::sync::watch;
use wire::{End, Reading, Wire, Writing};

/// How long a client that has closed its end may take to read what was answered before.
const UNREAD_LIMIT: Duration = Duration::from_secs(5);

/// What a server of MCP needs besides a session.
pub struct Ends<'a> {
    /// Where a client's messages are read.
    pub input: BorrowedFd<'a>,
    /// Where answers are written. A client that reads none keeps this at most `UNREAD_LIMIT` longer than itself.
    pub output: Box<dyn Write + Send>,
    /// Signals to us: each but a resized terminal ends the server.
    pub signals: &'a mut (dyn Outside + Send),
    /// Where the next session comes from.
    pub house: &'a mut dyn House,
}

/// Serves a client until it goes, and closes the session.
///
/// # Errors
/// Operator: the profile's components cannot be offered. Host: the input fails, the session ended before its time, or its
/// log cannot be closed.
pub fn serve(session: Session, ends: Ends<'_>) -> Result<()> {
    let Ends { input, output, signals, house } = ends;
    let tools = match tools::all(&session) {
        Ok(tools) => tools,
        // As any other mistake in a profile: before the protocol begins, and with a log that is closed.
        Err(error) => return session.close(Cause::Error, 0).and(Err(error)),
    };
    let instructions = instructions(&session);
    let abandoned = Arc::new(AtomicBool::new(false));
    let (desk, door) = desk::desk(session, house, Arc::clone(&abandoned));
    let (wire, reading, writing) = wire::wire();
    let failed = |e: std::io::Error| Error::host(format!("make a pipe: {}", plain(&e)));
    let (stopped, stop) = std::io::pipe().map_err(failed)?;
    let mut over = stop.try_clone().map_err(failed)?;
    let (go, gone) = watch::channel(false);
    let written = write(writing, output, stop)?;
    let server = Server { door, tools, instructions, gone };
    let (read, worked) = std::thread::scope(|scope| {
        let read = scope.spawn(move || read(reading, input, &stopped, signals, &go, &abandoned));
        let worked = scope.spawn(move || desk.work());
        let spoken = speak(server, wire);
        // Whoever still reads need not: there is nobody to understand it. A reader that has ended does not hear this.
        drop(over.write_all(b"."));
        (spoken.and(joined(read.join())), joined(worked.join()))
    });
    wait_for(&written);
    worked.and(read)
}

/// Reads until the end, then lets everybody know: at once where nobody is to hear an answer.
fn read(
    reading: Reading,
    input: BorrowedFd<'_>,
    stop: &PipeReader,
    signals: &mut dyn Outside,
    go: &watch::Sender<bool>,
    abandoned: &AtomicBool,
) -> Result<()> {
    let ended = reading.run(input, stop, signals);
    match ended {
        // What was asked before is still answered, if it does not take long: a script may close its end at once.
        Ok(End::Closed) => {}
        Ok(End::Told) | Err(_) => {
            abandoned.store(true, Ordering::Relaxed);
            go.send_replace(true);
        }
    }
    ended.map(drop)
}

/// The thread that writes. It is not waited for without a limit: a client may be there and not read.
fn write(writing: Writing, mut output: Box<dyn Write + Send>, mut stop: PipeWriter) -> Result<Arc<AtomicBool>> {
    let done = Arc::new(AtomicBool::new(false));
    let at_the_end = Arc::clone(&done);
    let run = move || {
        if let Err(error) = writing.run(&mut *output) {
            tracing::info!(%error, "nobody reads our answers");
        }
        at_the_end.store(true, Ordering::Release);
        // Heard by whoever reads: without answers there is no point in questions.
        drop(stop.write_all(b"."));
    };
    let spawned = std::thread::Builder::new().name("mcp-write".to_owned()).spawn(run);
    spawned.map_err(|e| Error::host(format!("start a thread: {}", plain(&e))))?;
    Ok(done)
}

fn wait_for(done: &AtomicBool) {
    let until = Instant::now() + UNREAD_LIMIT;
    while !done.load(Ordering::Acquire) && Instant::now() < until {
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn joined(ended: std::thread::Result<Result<()>>) -> Result<()> {
    ended.unwrap_or_else(|_| Err(Error::bug("a thread of the MCP server panicked")))
}

/// Speaks the protocol until the wire ends.
fn speak(server: Server, wire: Wire) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
    let runtime = runtime.map_err(|e| Error::host(format!("start the event loop: {}", plain(&e))))?;
    runtime.block_on(async {
        match rmcp::serve_server(server, wire).await {
            Ok(running) => running.waiting().await.map(drop).map_err(|_| Error::bug("the protocol panicked")),
            // A client that goes before it has said anything has not done anything wrong.
            Err(ServerInitializeError::ConnectionClosed(_)) => Ok(()),
            Err(error) => Err(Error::host(format!("begin the protocol: {error}"))),
        }
    })
    // Dropping the runtime drops what still waits for answers, and that ends their calls.
}

/// What a model is told of the server as a whole.
fn instructions(session: &Session) -> String {
    let mode = match session.mode() {
        crate::workspace::Mode::Review => {
            "What you change in the workspace waits for review: the host's files stay as they are until a person, or the tool \
             apply where the profile grants it, takes your changes over. diff shows them."
        }
        crate::workspace::Mode::Direct => "What you change in the workspace is changed at once.",
        crate::workspace::Mode::Discard => "What you change in the workspace is dropped at the end of the session.",
    };
    format!(
        "These tools act inside a Stockade sandbox, judged by the profile \"{}\", and each call is logged. {mode} A refusal says \
         the rule, the reason and what is allowed instead: do not try to get around it, say what you need it for.",
        session.profile_name()
    )
}
