//! One connection of a component: over a stream that the supervisor gives for it, to the outlet, which judges it.
//! It never dials and asks nobody for an address; what it says of where it goes is one line, and the outlet believes none of it.

use crate::backend::wasm::call::{Carries, Use, What};
use crate::backend::wasm::worker::http::{Expected, Stream};
use crate::backend::wasm::worker::ledger::Ledger;
use crate::backend::wasm::worker::outgoing::Out;
use crate::egress::pieces::{Came, Pieces};
use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use std::io;
use std::net::Shutdown;
use std::os::unix::net::UnixStream as Ends;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use wasmtime_wasi::p2::bindings::sockets::network::ErrorCode;
use wasmtime_wasi::p2::{InputStream, OutputStream, Pollable, StreamError, StreamResult};
use wasmtime_wasi::runtime::{AbortOnDropJoinHandle, spawn};

/// Bytes that a connection holds at most that its component has not read.
const READ_BYTES: usize = 64 * 1024;
/// Bytes that a connection takes before the outlet has taken the last ones.
const WRITE_BYTES: usize = 64 * 1024;
/// Bytes of the outlet's answer to CONNECT, at most.
const HEAD_BYTES_MAX: usize = 16 * 1024;
/// How long what was written may still take to reach the outlet, when the component is over.
const REST: Duration = Duration::from_secs(1);

/// Where a component wants to go, and what is needed to get there.
pub(super) struct Wanted {
    pub(super) call: u64,
    /// `host:port`, as the outlet and the log write it.
    pub(super) target: String,
    pub(super) expected: Expected,
    pub(super) ledger: Arc<Ledger>,
    pub(super) out: Out,
    pub(super) lingering: Lingering,
}

/// What goes on whether or not the component waits for it: to ask for a connection, and the last words of one. Of the
/// first there are as many as may wait for their streams, of the second one for each that is open.
#[derive(Debug, Clone, Default)]
pub(super) struct Lingering(Arc<Mutex<JoinSet<()>>>);

impl Lingering {
    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let mut tasks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // What has ended is kept until somebody asks for it.
        while tasks.try_join_next().is_some() {}
        tasks.spawn(task);
    }

    /// Gives what was written a little time to go out. What is left then goes nowhere.
    pub(super) async fn settle(self) {
        let mut tasks = std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
        if tasks.is_empty() {
            return;
        }
        drop(tokio::time::timeout(REST, async { while tasks.join_next().await.is_some() {} }).await);
        // The late ones are waited for too, though not for what they do: dropped, each tells what it has moved.
        tasks.shutdown().await;
    }
}

/// Where a component wants to go, once its stream is asked for.
struct Asked {
    target: String,
    stream: oneshot::Receiver<Stream>,
    open: Arc<()>,
    ledger: Arc<Ledger>,
    lingering: Lingering,
}

/// A connection that the outlet has let through.
#[derive(Debug)]
pub(super) struct Wire {
    stream: UnixStream,
    incoming: Mutex<Incoming>,
    outgoing: Mutex<Outgoing>,
    target: String,
    read: AtomicU64,
    written: AtomicU64,
    ledger: Arc<Ledger>,
    lingering: Lingering,
    /// Somebody waits until the outlet has taken all that was written.
    lingers: AtomicBool,
    /// One of those that a call may have.
    _open: Arc<()>,
}

#[derive(Debug, Default)]
struct Incoming {
    pieces: Pieces,
    /// It ended without its last piece.
    cut: bool,
    /// The component does not want any more.
    deaf: bool,
}

#[derive(Debug, Default)]
struct Outgoing {
    /// What the outlet has not taken yet.
    pending: BytesMut,
    /// The component writes no more.
    ended: bool,
    /// And the outlet has been told.
    shut: bool,
    /// Nobody takes anything any more.
    broken: bool,
}

/// Asks for a stream, says on it where to go, and hears whether that may be. Given up, it was asked for all the same: a
/// component that begins and gives up without end meets the limit of those, and each is told.
pub(super) fn connect(wanted: Wanted) -> AbortOnDropJoinHandle<Result<Arc<Wire>, ErrorCode>> {
    let Wanted { call, target, expected, ledger, out, lingering } = wanted;
    let Expected { mut turn, stream, open } = expected;
    let telling = Arc::clone(&ledger);
    lingering.spawn(async move {
        // Whoever records the connection finds in the log already who asked for it.
        telling.tell().await;
        turn.ask(call, Carries::Socket, &out).await;
    });
    spawn(connected(Asked { target, stream, open, ledger, lingering }))
}

async fn connected(asked: Asked) -> Result<Arc<Wire>, ErrorCode> {
    let Asked { target, stream, open, ledger, lingering } = asked;
    let stream = stream.await.map_err(|_| ErrorCode::ConnectionAborted)?;
    let stream = Ends::from(stream.map_err(|_| ErrorCode::NewSocketLimit)?);
    let broken = |_: io::Error| ErrorCode::ConnectionAborted;
    stream.set_nonblocking(true).map_err(broken)?;
    let mut stream = UnixStream::from_std(stream).map_err(broken)?;
    let head = format!("CONNECT {target} HTTP/1.1\r\nhost: {target}\r\n\r\n");
    stream.write_all(head.as_bytes()).await.map_err(broken)?;
    let pieces = answered(&mut stream).await?;
    Ok(Arc::new(Wire {
        stream,
        incoming: Mutex::new(Incoming { pieces, ..Incoming::default() }),
        outgoing: Mutex::default(),
        target,
        read: AtomicU64::new(0),
        written: AtomicU64::new(0),
        ledger,
        lingering,
        lingers: AtomicBool::default(),
        _open: open,
    }))
}

/// Reads the outlet's answer: it comes in pieces of its own, so that what follows is what the host says.
async fn answered(stream: &mut UnixStream) -> Result<Pieces, ErrorCode> {
    let (mut pieces, mut head) = (Pieces::default(), Vec::new());
    loop {
        match pieces.take(HEAD_BYTES_MAX) {
            Came::Some(some) => head.extend_from_slice(&some),
            Came::Nothing if head.len() > HEAD_BYTES_MAX => return Err(ErrorCode::ConnectionAborted),
            Came::Nothing => {
                let read = stream.read_buf(pieces.room()).await;
                if !read.is_ok_and(|bytes| bytes > 0) {
                    return Err(ErrorCode::ConnectionAborted);
                }
            }
            Came::End => return verdict(&head).and(Err(ErrorCode::ConnectionAborted)),
        }
        if head.windows(4).any(|end| end == b"\r\n\r\n") {
            return verdict(&head).map(|()| pieces);
        }
    }
}

/// What an answer means.
fn verdict(head: &[u8]) -> Result<(), ErrorCode> {
    Err(match head.get(b"HTTP/1.1 ".len()..).and_then(|status| status.first_chunk::<3>()) {
        Some(b"200") => return Ok(()),
        Some(b"403") => ErrorCode::AccessDenied,
        Some(b"429") => ErrorCode::NewSocketLimit,
        Some(b"502") => ErrorCode::RemoteUnreachable,
        Some(b"503") => ErrorCode::ConnectionRefused,
        Some(b"504") => ErrorCode::Timeout,
        Some(_) | None => ErrorCode::ConnectionAborted,
    })
}

impl Wire {
    /// Half of it ends, or all of it.
    pub(super) fn shut(self: &Arc<Self>, way: Shutdown) {
        if matches!(way, Shutdown::Read | Shutdown::Both) {
            // The outlet is not told: it would take that for the end of both directions.
            self.incoming().deaf = true;
        }
        if matches!(way, Shutdown::Write | Shutdown::Both) {
            self.outgoing().ended = true;
            self.left_behind();
        }
    }

    /// Its component does not wait for what it wrote.
    fn left_behind(self: &Arc<Self>) {
        // One is enough, however often this is said: nothing is written any more, and it ends when all is taken.
        if !self.push() && !self.lingers.swap(true, Ordering::Relaxed) {
            let wire = Arc::clone(self);
            self.lingering.spawn(async move { wire.drained().await });
        }
    }

    fn incoming(&self) -> MutexGuard<'_, Incoming> {
        self.incoming.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn outgoing(&self) -> MutexGuard<'_, Outgoing> {
        self.outgoing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes what has come, until the component has something to read. `false`: there is nothing yet.
    fn fill(&self) -> bool {
        let mut incoming = self.incoming();
        loop {
            if incoming.deaf || incoming.cut || incoming.pieces.has_some() {
                return true;
            }
            let room = incoming.pieces.room();
            // Of a length, one byte may be there already.
            let more = READ_BYTES.saturating_sub(room.len());
            room.reserve(more);
            match self.stream.try_read_buf(&mut room.limit(more)) {
                Ok(0) => incoming.cut = true,
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return false,
                Err(_) => incoming.cut = true,
            }
        }
    }

    /// Gives the outlet what it takes now. `false`: something is left.
    fn push(&self) -> bool {
        let mut outgoing = self.outgoing();
        let Outgoing { pending, ended, shut, broken } = &mut *outgoing;
        while !pending.is_empty() {
            match self.stream.try_write(pending) {
                Ok(some) => pending.advance(some),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return false,
                Err(_) => {
                    *broken = true;
                    pending.clear();
                }
            }
        }
        if *ended && !std::mem::replace(shut, true) {
            match rustix::net::shutdown(&self.stream, rustix::net::Shutdown::Write) {
                // Or the other end is gone.
                Ok(()) | Err(_) => {}
            }
        }
        true
    }

    async fn drained(&self) {
        while !self.push() && self.stream.writable().await.is_ok() {}
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        let target = std::mem::take(&mut self.target);
        let (bytes_read, bytes_written) = (*self.read.get_mut(), *self.written.get_mut());
        self.ledger.push(Use { bytes_read, bytes_written, ..Use::new(What::Moved, target) });
    }
}

fn counted(counter: &AtomicU64, bytes: usize) {
    counter.fetch_add(u64::try_from(bytes).unwrap_or(u64::MAX), Ordering::Relaxed);
}

/// What a component reads of a connection.
pub(super) struct Reader(pub(super) Arc<Wire>);

#[wasmtime_wasi::async_trait]
impl Pollable for Reader {
    async fn ready(&mut self) {
        while !self.0.fill() && self.0.stream.readable().await.is_ok() {}
    }
}

#[wasmtime_wasi::async_trait]
impl InputStream for Reader {
    fn read(&mut self, size: usize) -> StreamResult<Bytes> {
        if size == 0 {
            return Ok(Bytes::new());
        }
        self.0.fill();
        let mut incoming = self.0.incoming();
        if incoming.deaf {
            return Err(StreamError::Closed);
        }
        match incoming.pieces.take(size) {
            Came::Some(bytes) => {
                counted(&self.0.read, bytes.len());
                Ok(bytes)
            }
            Came::End => Err(StreamError::Closed),
            Came::Nothing if incoming.cut => {
                Err(StreamError::LastOperationFailed(io::Error::from(io::ErrorKind::ConnectionReset).into()))
            }
            Came::Nothing => Ok(Bytes::new()),
        }
    }
}

/// What a component writes to a connection.
pub(super) struct Writer(pub(super) Arc<Wire>);

#[wasmtime_wasi::async_trait]
impl Pollable for Writer {
    async fn ready(&mut self) {
        self.0.drained().await;
    }
}

#[wasmtime_wasi::async_trait]
impl OutputStream for Writer {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        let mut outgoing = self.0.outgoing();
        if outgoing.ended {
            return Err(StreamError::Closed);
        }
        if outgoing.pending.len() + bytes.len() > WRITE_BYTES {
            return Err(StreamError::trap("it wrote more to a socket than it was allowed"));
        }
        counted(&self.0.written, bytes.len());
        outgoing.pending.extend_from_slice(&bytes);
        drop(outgoing);
        self.0.push();
        Ok(())
    }

    fn flush(&mut self) -> StreamResult<()> {
        self.0.push();
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        let is_taken = self.0.push();
        let outgoing = self.0.outgoing();
        match (&*outgoing, is_taken) {
            (Outgoing { ended: true, .. }, _) => Err(StreamError::Closed),
            (Outgoing { broken: true, .. }, _) => {
                Err(StreamError::LastOperationFailed(io::Error::from(io::ErrorKind::ConnectionReset).into()))
            }
            (_, true) => Ok(WRITE_BYTES),
            (_, false) => Ok(0),
        }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.0.left_behind();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_refusal_of_the_outlet_is_an_error_of_its_own() {
        for (status, code) in [
            ("403 Forbidden", ErrorCode::AccessDenied),
            ("429 Too Many Requests", ErrorCode::NewSocketLimit),
            ("502 Bad Gateway", ErrorCode::RemoteUnreachable),
            ("503 Service Unavailable", ErrorCode::ConnectionRefused),
            ("504 Gateway Timeout", ErrorCode::Timeout),
            ("500 Internal Server Error", ErrorCode::ConnectionAborted),
            ("", ErrorCode::ConnectionAborted),
        ] {
            assert_eq!(verdict(format!("HTTP/1.1 {status}\r\n\r\n").as_bytes()), Err(code), "{status}");
        }
        assert_eq!(verdict(b"HTTP"), Err(ErrorCode::ConnectionAborted));
        assert_eq!(verdict(b"HTTP/1.1 200 Connection established\r\n\r\n"), Ok(()));
    }

    fn runtime() -> tokio::runtime::Runtime {
        tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime")
    }

    /// A connection, and the outlet's end of it.
    fn wire() -> (Arc<Wire>, UnixStream) {
        let (stream, theirs) = UnixStream::pair().expect("a pair");
        let channel = tokio::net::UnixDatagram::unbound().expect("a socket");
        let ledger = Arc::new(Ledger::new(1, Out::new(Arc::new(channel))));
        let wire = Wire {
            stream,
            incoming: Mutex::default(),
            outgoing: Mutex::default(),
            target: "a.test:1".to_owned(),
            read: AtomicU64::new(0),
            written: AtomicU64::new(0),
            ledger,
            lingering: Lingering::default(),
            lingers: AtomicBool::default(),
            _open: Arc::default(),
        };
        (Arc::new(wire), theirs)
    }

    /// Whoever writes and closes has sent what it wrote, also what the outlet had no room for yet.
    #[test]
    fn what_was_written_before_a_close_goes_out() {
        runtime().block_on(async {
            let (wire, mut theirs) = wire();
            let (lingering, ledger) = (wire.lingering.clone(), Arc::clone(&wire.ledger));
            let mut writer = Writer(Arc::clone(&wire));
            let mut sent = 0;
            loop {
                let room = writer.check_write().expect("it is open");
                if room == 0 {
                    break;
                }
                writer.write(vec![b'x'; room].into()).expect("there is room");
                sent += room;
            }
            assert!(writer.write(vec![0; WRITE_BYTES].into()).is_err(), "no more than it was allowed");
            drop((writer, wire));
            let reading = tokio::spawn(async move {
                let mut all = Vec::new();
                theirs.read_to_end(&mut all).await.map(|_| all.len())
            });
            lingering.settle().await;
            assert_eq!(reading.await.expect("it reads").expect("it ends"), sent);
            let [told] = &ledger.take()[..] else { panic!("one use") };
            assert_eq!(
                (&told.what, told.bytes_written, told.path.as_slice()),
                (&What::Moved, sent as u64, &b"a.test:1"[..])
            );
        });
    }

    /// Fills a connection until the outlet takes nothing more.
    fn full(wire: &Arc<Wire>) -> (Writer, u64) {
        let (mut writer, mut sent) = (Writer(Arc::clone(wire)), 0);
        loop {
            let room = writer.check_write().expect("it is open");
            if room == 0 {
                return (writer, sent);
            }
            writer.write(vec![b'x'; room].into()).expect("there is room");
            sent += room as u64;
        }
    }

    fn waiting(lingering: &Lingering) -> usize {
        lingering.0.lock().expect("nobody panicked").len()
    }

    #[test]
    fn however_often_a_connection_is_shut_one_waits_for_its_end() {
        runtime().block_on(async {
            let (wire, theirs) = wire();
            let (writer, _) = full(&wire);
            for _ in 0..1000 {
                wire.shut(Shutdown::Write);
            }
            drop(writer);
            wire.shut(Shutdown::Both);
            assert_eq!(waiting(&wire.lingering), 1);
            drop(theirs);
            for _ in 0..1000 {
                wire.lingering.spawn(async {});
                tokio::task::yield_now().await;
            }
            assert!(waiting(&wire.lingering) < 5, "nobody keeps those that have ended");
        });
    }

    /// What is on its way when its time is over goes nowhere, and is told.
    #[test]
    fn a_connection_whose_end_is_not_waited_for_is_told() {
        runtime().block_on(async {
            tokio::time::pause();
            let (wire, theirs) = wire();
            let (lingering, ledger) = (wire.lingering.clone(), Arc::clone(&wire.ledger));
            let (writer, sent) = full(&wire);
            drop((writer, wire));
            lingering.settle().await;
            let [told] = &ledger.close().await[..] else { panic!("one use") };
            assert_eq!((&told.what, told.bytes_written), (&What::Moved, sent));
            drop(theirs);
        });
    }

    #[test]
    fn a_connection_holds_no_more_than_it_may_of_what_is_not_read() {
        runtime().block_on(async {
            let (wire, mut theirs) = wire();
            let piece = [&[0xff; 2][..], &[b'x'; 0xffff]].concat();
            let filling = async { while theirs.write_all(&piece).await.is_ok() {} };
            let looking = async {
                for _ in 0..100 {
                    wire.fill();
                    tokio::task::yield_now().await;
                }
            };
            tokio::select! {
                () = filling => panic!("it takes all"),
                () = looking => {}
            }
            let held = wire.incoming().pieces.room().len();
            assert!((1..=READ_BYTES).contains(&held), "{held}");
        });
    }

    /// A component that begins connections and gives them up: each is told and asked for, and they are not without end.
    #[test]
    fn connections_that_are_given_up_are_asked_for_all_the_same() {
        use crate::backend::wasm::channel::{self, Incoming as Message};
        use crate::backend::wasm::wire::FromWorker;
        use crate::backend::wasm::worker::http::Streams;
        use rustix::net::{AddressFamily, SocketFlags, SocketType};
        let pair = rustix::net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None);
        let (ours, theirs) = pair.expect("a socket pair");
        let (mut begun, mut asked, mut told) = (0_u64, 0, 0);
        runtime().block_on(async {
            let channel = std::os::unix::net::UnixDatagram::from(ours);
            channel.set_nonblocking(true).expect("it can");
            let channel = tokio::net::UnixDatagram::from_std(channel).expect("it registers");
            let out = Out::new(Arc::new(channel));
            let (streams, lingering) = (Streams::default(), Lingering::default());
            let ledger = Arc::new(Ledger::new(1, out.clone()));
            while let Some(expected) = streams.expect() {
                begun += 1;
                assert!(begun < 1000, "they are not without end");
                let target = format!("{begun}.test:1");
                ledger.push(Use::new(What::Connect, target.as_str()));
                let (ledger, out, lingering) = (Arc::clone(&ledger), out.clone(), lingering.clone());
                drop(connect(Wanted { call: 1, target, expected, ledger, out, lingering }));
            }
            lingering.settle().await;
            assert!(ledger.close().await.is_empty());
        });
        let mut inbox = channel::Inbox::default();
        loop {
            match channel::try_receive::<FromWorker>(&theirs, &mut inbox).expect("it is ours") {
                Some(Message::Message(FromWorker::Used { uses, .. }, None)) => told += uses.len() as u64,
                Some(Message::Message(FromWorker::Connect { .. }, None)) => {
                    asked += 1;
                    assert!(told >= asked, "each is told before it is asked for");
                }
                Some(Message::Closed) => break,
                other => panic!("{other:?}"),
            }
        }
        assert_eq!((told, asked), (begun, begun));
    }

    #[test]
    fn an_answer_that_is_cut_is_an_error_and_one_that_ends_is_not() {
        runtime().block_on(async {
            for whole in [true, false] {
                let (wire, mut theirs) = wire();
                let mut reader = Reader(wire);
                assert_eq!(reader.read(10).expect("nothing yet"), Bytes::new());
                theirs.write_all(b"\0\x05hello").await.expect("it is open");
                if whole {
                    theirs.write_all(b"\0\0").await.expect("it is open");
                }
                drop(theirs);
                reader.ready().await;
                assert_eq!(reader.read(3).expect("it came"), "hel");
                assert_eq!(reader.read(30).expect("it came"), "lo");
                reader.ready().await;
                let end = reader.read(30).expect_err("no more comes");
                assert_eq!(matches!(end, StreamError::Closed), whole, "{end:?}");
            }
        });
    }

    #[test]
    fn half_of_a_connection_ends_alone() {
        runtime().block_on(async {
            let (wire, mut theirs) = wire();
            let (mut reader, mut writer) = (Reader(Arc::clone(&wire)), Writer(Arc::clone(&wire)));
            writer.write("bye".into()).expect("it is open");
            wire.shut(Shutdown::Write);
            assert!(matches!(writer.check_write(), Err(StreamError::Closed)));
            let mut all = String::new();
            theirs.read_to_string(&mut all).await.expect("it ends");
            assert_eq!(all, "bye");
            theirs.write_all(b"\0\x02ok").await.expect("it still listens");
            reader.ready().await;
            assert_eq!(reader.read(9).expect("it came"), "ok");
            wire.shut(Shutdown::Read);
            assert!(matches!(reader.read(9), Err(StreamError::Closed)));
        });
    }
}
