//! The door of a running session for whoever started it: connections from the host to the ports inside that are granted.
//! It never shows inside (the state that it lies in is masked), and never serves another user than its own.
//!
//! A client says one line, `connect PORT` or `watch PORT`, and is answered with one byte: [`GRANTED`], and then the stream
//! is the connection; or [`REFUSED`], and then why, to the end. A watch carries nothing: its end is the session's.

mod client;
mod relay;
#[cfg(test)]
mod tests;

pub use client::{Line, Opened};

use crate::backend::process::ProcessWall;
use crate::error::{Error, Result};
use crate::journal::{Account, Connection, INSIDE, Total, Wanted};
use crate::session::open::Options;
use relay::{Broken, Counts};
use std::fs::File;
use std::io;
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::FileTypeExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;
use stockade_jail::InnerStream;
use stockade_policy::{Action, Call, Decision, ExpandedProfile, Permit, ToolName};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;

/// Name of the socket in the session's directory.
const SOCKET: &str = "control";
/// First byte of an answer: it is granted, and was done.
const GRANTED: u8 = b'+';
/// First byte of an answer: it was not done, and this is why.
const REFUSED: u8 = b'-';
/// Longest request, bytes, its line end included.
const REQUEST_BYTES_MAX: usize = 32;
/// Longest reason, bytes.
const REASON_BYTES_MAX: u64 = 16 * 1024;
/// Connections and watches at once.
const OPEN_MAX: usize = 256;
/// How long a client may take to ask, or to take a refusal.
const REQUEST_LIMIT: Duration = Duration::from_secs(10);
/// How long a server inside may take to accept.
const CONNECT_LIMIT: Duration = Duration::from_secs(5);
/// How long to wait before accepting again when the process has no descriptor left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// How long tasks may take to write their last record when the session ends.
const END_LIMIT: Duration = Duration::from_secs(10);
// Who is still connecting at the end is waited for.
const _: () = assert!(CONNECT_LIMIT.as_secs() < END_LIMIT.as_secs());

/// What connects to a port inside: the sandbox, but for tests.
pub(super) type Connect = Box<dyn Fn(u16, Duration) -> Result<InnerStream> + Send + Sync>;

/// What a control socket is made of.
pub(super) struct Settings {
    /// What may be reached.
    pub(super) profile: ExpandedProfile,
    /// The way in.
    pub(super) connect: Connect,
    /// Where everything is written down.
    pub(super) account: Account,
    /// The one user who is served.
    pub(super) uid: u32,
}

/// The control socket of a session. It has a thread of its own, which ends with it.
#[derive(Debug)]
pub(super) struct Control {
    socket: PathBuf,
    close: watch::Sender<bool>,
    thread: Option<JoinHandle<Result<()>>>,
}

impl Control {
    /// Of a session; `None` where its profile grants nothing that is asked for there.
    ///
    /// # Errors
    /// As [`Control::start`].
    pub(super) fn of(options: &Options, wall: &Arc<ProcessWall>, account: Account) -> Result<Option<Self>> {
        if options.profile.port_grants().next().is_none() {
            return Ok(None);
        }
        let wall = Arc::clone(wall);
        let settings = Settings {
            profile: options.profile.clone(),
            connect: Box::new(move |port, within| wall.connect_inside(port, within)),
            account,
            uid: options.user.uid,
        };
        Self::start(&options.paths.layer, settings).map(Some)
    }

    /// Starts to listen in the session's directory, which nobody else may enter.
    ///
    /// # Errors
    /// Host: there is no socket or thread for it.
    pub(super) fn start(directory: &Path, settings: Settings) -> Result<Self> {
        let socket = directory.join(SOCKET);
        let failed = |e: io::Error| Error::io("listen on", &socket, &e);
        let held = File::open(directory).map_err(failed)?;
        let listener = std::os::unix::net::UnixListener::bind(place(&held)).map_err(failed)?;
        listener.set_nonblocking(true).map_err(failed)?;
        // One worker: it carries bytes of one agent's servers; what blocks has threads of its own.
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(failed)?;
        let (close, closing) = watch::channel(false);
        let served = Arc::new(Served { settings, closing });
        let thread = std::thread::Builder::new()
            .name("control".to_owned())
            .spawn(move || runtime.block_on(serve(served, listener)))
            .map_err(failed)?;
        Ok(Self { socket, close, thread: Some(thread) })
    }

    /// Serves nobody any more and ends what is open. Each connection has its last record when this returns, and no clone of
    /// the account is left, nor a way in.
    ///
    /// # Errors
    /// The log took no more records. Bug: the thread panicked.
    pub(super) fn close(mut self) -> Result<()> {
        self.end()
    }

    fn end(&mut self) -> Result<()> {
        let Some(thread) = self.thread.take() else { return Ok(()) };
        self.close.send_replace(true);
        let ended = thread.join().map_err(|_| Error::bug("the control socket's thread panicked"));
        // The session's directory may have been removed with it; where it stays, a socket that nobody serves is no use.
        drop(std::fs::remove_file(&self.socket));
        ended?
    }
}

impl Drop for Control {
    fn drop(&mut self) {
        // A session that is dropped has already told why; a thread that outlives it would be nobody's.
        drop(self.end());
    }
}

/// The socket below a directory that is held open: its path always fits into an address (108 bytes, unix(7)), and is what was
/// opened.
fn place(directory: &File) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}/{SOCKET}", directory.as_raw_fd()))
}

/// Whether a session has a control socket.
fn is_there(directory: &Path) -> bool {
    directory.join(SOCKET).symlink_metadata().is_ok_and(|found| found.file_type().is_socket())
}

/// What every client needs.
struct Served {
    settings: Settings,
    closing: watch::Receiver<bool>,
}

/// What a client asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Request {
    Connect(u16),
    Watch(u16),
}

impl Request {
    /// A line without its end. One spelling for each: no sign, no zeros ahead.
    fn parse(line: &str) -> Option<Self> {
        let (word, number) = line.split_once(' ')?;
        let port: u16 = number.parse().ok().filter(|port: &u16| *port > 0 && port.to_string() == number)?;
        match word {
            "connect" => Some(Self::Connect(port)),
            "watch" => Some(Self::Watch(port)),
            _ => None,
        }
    }

    fn line(self) -> String {
        match self {
            Self::Connect(port) => format!("connect {port}\n"),
            Self::Watch(port) => format!("watch {port}\n"),
        }
    }
}

/// Why a client is not given what it asks: what it is told.
enum Unserved {
    /// In these words.
    Because(String),
    /// The log takes no more records: nothing goes on.
    Unlogged(Error),
}

impl From<Error> for Unserved {
    fn from(error: Error) -> Self {
        Self::Unlogged(error)
    }
}

async fn serve(served: Arc<Served>, listener: std::os::unix::net::UnixListener) -> Result<()> {
    let listener = UnixListener::from_std(listener)
        .map_err(|e| Error::host(format!("listen on the control socket: {}", crate::error::plain(&e))))?;
    let slots = Arc::new(Semaphore::new(OPEN_MAX));
    let mut tasks: JoinSet<Result<()>> = JoinSet::new();
    let mut ended = Ok(());
    loop {
        tokio::select! {
            () = served.closed() => break,
            Some(task) = tasks.join_next(), if !tasks.is_empty() => {
                // One that cannot be written down is the last: fail closed.
                ended = task.unwrap_or_else(|_| Err(Error::bug("a connection to a port inside panicked")));
                if ended.is_err() { break }
            }
            accepted = listener.accept() => match accepted {
                Ok((mut stream, _)) => {
                    let (served, slots) = (Arc::clone(&served), Arc::clone(&slots));
                    tasks.spawn(async move {
                        // Another user cannot come here, the directory is closed to them; this holds where it is not.
                        if !stream.peer_cred().is_ok_and(|peer| peer.uid() == served.settings.uid) {
                            return Ok(());
                        }
                        let Ok(_slot) = slots.try_acquire() else {
                            let why = format!("{OPEN_MAX} connections to ports of the session are open already");
                            refuse(&mut stream, &why).await;
                            return Ok(());
                        };
                        served.client(stream).await
                    });
                }
                Err(_) => tokio::time::sleep(ACCEPT_PAUSE).await,
            }
        }
    }
    drop(listener);
    let all = async {
        while let Some(task) = tasks.join_next().await {
            let task = task.unwrap_or_else(|_| Err(Error::bug("a connection to a port inside panicked")));
            ended = std::mem::replace(&mut ended, Ok(())).and(task);
        }
    };
    if tokio::time::timeout(END_LIMIT, all).await.is_err() {
        return Err(Error::bug("a connection to a port inside did not end with its session"));
    }
    ended
}

impl Served {
    /// Waits until the session ends.
    async fn closed(&self) {
        let mut closing = self.closing.clone();
        // An error is a session that is gone, which is as ended as can be.
        drop(closing.wait_for(|closing| *closing).await);
    }

    /// One client, from its request to its end.
    async fn client(self: Arc<Self>, mut stream: UnixStream) -> Result<()> {
        let request = tokio::select! {
            () = self.closed() => return Ok(()),
            request = tokio::time::timeout(REQUEST_LIMIT, read_request(&mut stream)) => request,
        };
        let Ok(Some(request)) = request else { return Ok(()) };
        match request {
            Request::Watch(port) => self.watch(stream, port).await,
            Request::Connect(port) => self.connect(stream, port).await,
        }
    }

    async fn watch(&self, mut stream: UnixStream, port: u16) -> Result<()> {
        match self.judge(port) {
            Ok(_permit) => {}
            Err(unserved) => return unserved.tell(&mut stream).await,
        }
        if stream.write_all(&[GRANTED]).await.is_ok() {
            let mut more = [0; 1];
            // What a watcher says has no meaning; that it goes ends this as the session's end does.
            tokio::select! {
                () = self.closed() => {}
                _gone = stream.read(&mut more) => {}
            }
        }
        Ok(())
    }

    async fn connect(self: Arc<Self>, mut stream: UnixStream, port: u16) -> Result<()> {
        let opening = Arc::clone(&self);
        // It waits for the disk and for the sandbox, each within its own limit.
        let opened = tokio::task::spawn_blocking(move || opening.open(port)).await;
        let opened = opened.unwrap_or_else(|_| Err(Unserved::Unlogged(Error::bug("opening a port inside panicked"))));
        let (mut logged, inside) = match opened {
            Ok(opened) => opened,
            Err(unserved) => return unserved.tell(&mut stream).await,
        };
        let carrying = async {
            let failed = |e: io::Error| Broken::Failed(crate::error::plain(&e));
            match inside {
                InnerStream::Tcp(inside) => {
                    let inside = tokio::net::TcpStream::from_std(inside).map_err(failed)?;
                    // It fails only on a socket that is gone.
                    drop(inside.set_nodelay(true));
                    stream.write_all(&[GRANTED]).await.map_err(failed)?;
                    relay::carry(inside, stream, &logged.counts).await
                }
                InnerStream::Relayed(inside) => {
                    let inside = UnixStream::from_std(inside).map_err(failed)?;
                    stream.write_all(&[GRANTED]).await.map_err(failed)?;
                    relay::carry(inside, stream, &logged.counts).await
                }
            }
        };
        let fault = tokio::select! {
            () = self.closed() => Some("the session ended".to_owned()),
            carried = carrying => carried.err().map(|broken| broken.to_string()),
        };
        logged.close(fault)
    }

    /// Judges, writes down and connects, in this order.
    fn open(self: Arc<Self>, port: u16) -> std::result::Result<(Logged, InnerStream), Unserved> {
        let permit = self.judge(port)?;
        let account = &self.settings.account;
        let connection = account.reach(permit)?;
        let mut logged = Logged { account: account.clone(), connection: Some(connection), counts: Counts::default() };
        match (self.settings.connect)(port, CONNECT_LIMIT) {
            Ok(inside) => Ok((logged, inside)),
            Err(error) => {
                let why = error.reports.first().map(|report| report.what.clone()).unwrap_or_default();
                logged.close(Some(why))?;
                Err(Unserved::Because(error.to_string()))
            }
        }
    }

    /// What the profile says; a refusal is in the log when this returns.
    fn judge(&self, port: u16) -> std::result::Result<Permit, Unserved> {
        let Settings { profile, account, .. } = &self.settings;
        let wanted = Wanted { host: INSIDE.to_string(), port: Some(port), ..Wanted::default() };
        let refusal = match profile.judge(Call::new(ToolName::port(), Action::Port { port })) {
            Decision::Permit(permit) => return Ok(permit),
            Decision::Ask(ask) => account.unapproved(None, wanted, ask)?,
            Decision::Denial(denial) => {
                let (_, refusal) = denial.into_parts();
                account.refuse(None, wanted, &refusal)?;
                refusal
            }
        };
        Err(Unserved::Because(refusal.to_string()))
    }
}

impl Unserved {
    /// Tells the client.
    async fn tell(self, stream: &mut UnixStream) -> Result<()> {
        match self {
            Self::Because(why) => {
                refuse(stream, &why).await;
                Ok(())
            }
            Self::Unlogged(error) => {
                refuse(stream, "the session's log takes no more records").await;
                Err(error)
            }
        }
    }
}

/// A connection that is in the log: its end will be too, however it comes.
struct Logged {
    account: Account,
    connection: Option<Connection>,
    counts: Counts,
}

impl Logged {
    fn close(&mut self, fault: Option<String>) -> Result<()> {
        let Some(connection) = self.connection.take() else { return Ok(()) };
        let (up_bytes, down_bytes) = self.counts.get();
        self.account.close(connection, Total { up_bytes, down_bytes, addr: None, fault })
    }
}

impl Drop for Logged {
    fn drop(&mut self) {
        // Where it cannot be written, the log has ended, and with it the session.
        drop(self.close(Some("aborted".to_owned())));
    }
}

/// Reads a request; `None` where it is none. Byte by byte: what follows a line is the connection's.
async fn read_request(stream: &mut UnixStream) -> Option<Request> {
    let mut line = Vec::new();
    while line.len() < REQUEST_BYTES_MAX {
        match stream.read_u8().await.ok()? {
            b'\n' => return Request::parse(std::str::from_utf8(&line).ok()?),
            byte => line.push(byte),
        }
    }
    None
}

/// Says why not, to a client that may have gone.
async fn refuse(stream: &mut UnixStream, why: &str) {
    let said = async {
        stream.write_all(&[&[REFUSED], why.as_bytes()].concat()).await?;
        stream.shutdown().await
    };
    // One that does not take it within its time will see the end.
    drop(tokio::time::timeout(REQUEST_LIMIT, said).await);
}
