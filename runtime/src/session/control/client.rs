//! The other end of a control socket: asks a running session for connections, and passes them on to a listener's clients.
//! It never decides what is granted: the session does, for each connection.

use super::{GRANTED, OPEN_MAX, REASON_BYTES_MAX, REFUSED, REQUEST_LIMIT, Request, is_there, place};
use crate::error::{Error, Result};
use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

/// How long to wait before accepting again when the process has no descriptor left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// A line to a running session, for one port.
#[derive(Debug)]
pub struct Line {
    directory: PathBuf,
    port: u16,
    /// Ends when the session does.
    watch: std::os::unix::net::UnixStream,
}

/// What became of asking for a line.
#[derive(Debug)]
pub enum Opened {
    /// The port is granted.
    Line(Line),
    /// It is not; the session's words.
    Refused(String),
    /// The session has no control socket: it has ended, or grants no port.
    Nobody,
}

impl Line {
    /// Asks a session, by its directory, whether a port is granted.
    ///
    /// # Errors
    /// Host: the socket cannot be used, or the answer is none.
    pub fn open(directory: &Path, port: u16) -> Result<Opened> {
        if !is_there(directory) {
            return Ok(Opened::Nobody);
        }
        let failed = |e: io::Error| Error::io("ask the session in", directory, &e);
        let held = File::open(directory).map_err(failed)?;
        let mut watch = match std::os::unix::net::UnixStream::connect(place(&held)) {
            // A session that was killed leaves its socket behind.
            Err(e) if matches!(e.kind(), io::ErrorKind::ConnectionRefused | io::ErrorKind::NotFound) => {
                return Ok(Opened::Nobody);
            }
            connected => connected.map_err(failed)?,
        };
        watch.set_read_timeout(Some(REQUEST_LIMIT)).map_err(failed)?;
        watch.set_write_timeout(Some(REQUEST_LIMIT)).map_err(failed)?;
        match watch.write_all(Request::Watch(port).line().as_bytes()) {
            // A session that serves too many may have answered already, and closed its end.
            Err(e) if e.kind() == io::ErrorKind::BrokenPipe => {}
            written => written.map_err(failed)?,
        }
        let mut answer = [0; 1];
        watch.read_exact(&mut answer).map_err(failed)?;
        match answer {
            [GRANTED] => Ok(Opened::Line(Self { directory: directory.to_owned(), port, watch })),
            [REFUSED] => {
                let mut why = Vec::new();
                // A session that serves too many has not read the request: after its words comes a reset.
                drop(watch.take(REASON_BYTES_MAX).read_to_end(&mut why));
                Ok(Opened::Refused(String::from_utf8_lossy(&why).into_owned()))
            }
            _ => Err(Error::bug("a session's control socket answers in another language")),
        }
    }

    /// Passes the clients of a listener on until the session ends. `tell` hears of those that could not be.
    ///
    /// # Errors
    /// Host: the listener or the socket fails.
    pub fn serve(self, listener: TcpListener, tell: impl Fn(&str) + Send + Sync + 'static) -> Result<()> {
        let failed = |e: io::Error| Error::host(format!("serve a port of the session: {}", crate::error::plain(&e)));
        listener.set_nonblocking(true).map_err(failed)?;
        self.watch.set_nonblocking(true).map_err(failed)?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(failed)?;
        runtime.block_on(async {
            let listener = tokio::net::TcpListener::from_std(listener).map_err(failed)?;
            let watch = UnixStream::from_std(self.watch).map_err(failed)?;
            pass_on(watch, listener, self.directory.into(), self.port, Arc::new(tell)).await;
            Ok(())
        })
    }
}

/// Returns when the session has ended; connections that are open then end with it.
async fn pass_on(
    mut watch: UnixStream,
    listener: tokio::net::TcpListener,
    directory: Arc<Path>,
    port: u16,
    tell: Arc<impl Fn(&str) + Send + Sync + 'static>,
) {
    // One less than the session gives: the watch is one of them.
    let slots = Arc::new(Semaphore::new(OPEN_MAX - 1));
    let mut tasks = JoinSet::new();
    let mut end = [0; 1];
    loop {
        tokio::select! {
            _ended = watch.read(&mut end) => return,
            Some(_) = tasks.join_next(), if !tasks.is_empty() => {}
            accepted = listener.accept() => match accepted {
                Ok((client, from)) => {
                    let Ok(slot) = Arc::clone(&slots).try_acquire_owned() else {
                        tell(&format!("connection from {from}: {OPEN_MAX} are open already"));
                        continue;
                    };
                    let (directory, tell) = (Arc::clone(&directory), Arc::clone(&tell));
                    tasks.spawn(async move {
                        let _slot = slot;
                        if let Err(why) = one(client, &directory, port).await {
                            tell(&format!("connection from {from}: {why}"));
                        }
                    });
                }
                Err(_) => tokio::time::sleep(ACCEPT_PAUSE).await,
            }
        }
    }
}

/// One client, to its end.
async fn one(mut client: TcpStream, directory: &Path, port: u16) -> std::result::Result<(), String> {
    let failed = |e: io::Error| crate::error::plain(&e);
    let held = File::open(directory).map_err(failed)?;
    let mut inside = UnixStream::connect(place(&held)).await.map_err(failed)?;
    drop(held);
    inside.write_all(Request::Connect(port).line().as_bytes()).await.map_err(failed)?;
    // The session connects within its own limit; a session that has ended has closed this.
    match inside.read_u8().await.map_err(failed)? {
        GRANTED => {}
        REFUSED => {
            let mut why = Vec::new();
            // A session that serves too many has not read the request: after its words comes a reset.
            drop(inside.take(REASON_BYTES_MAX).read_to_end(&mut why).await);
            return Err(String::from_utf8_lossy(&why).into_owned());
        }
        _ => return Err("the session answers in another language".to_owned()),
    }
    // It fails only on a socket that is gone.
    drop(client.set_nodelay(true));
    match tokio::io::copy_bidirectional(&mut client, &mut inside).await {
        // Whoever goes in the middle of it has seen enough, or will say so itself; the session's log has it.
        Ok(_) | Err(_) => Ok(()),
    }
}
