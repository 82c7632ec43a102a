//! `wasi:http`: a request goes over a stream that the supervisor gives for it, to the outlet, which judges it.
//! It never dials, knows no address and does no TLS: an `https` request leaves as one in absolute form.

use crate::backend::wasm::call::{Carries, Use, What};
use crate::backend::wasm::wire::FromWorker;
use crate::backend::wasm::worker::guest::Guest;
use crate::backend::wasm::worker::ledger::Ledger;
use crate::backend::wasm::worker::outgoing::Out;
use http_body_util::BodyExt as _;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::oneshot;
use wasmtime_wasi_http::{Error, RequestOptions, WasiBody, WasiHttpCtxView, WasiHttpHooks, WasiHttpView};

/// Requests and sockets of one call that wait for their streams at the same time.
const WAITING_MAX: usize = 32;
/// Streams that one call has at the same time.
const STREAMS_MAX: usize = 64;
/// Bytes of an address that is told.
const TOLD_BYTES_MAX: usize = 8 * 1024;

/// A stream to the outlet, or why there is none.
pub(super) type Stream = Result<OwnedFd, String>;

/// Requests that wait for their streams.
#[derive(Debug, Default)]
pub(super) struct Streams {
    waiting: Arc<Mutex<Waiting>>,
    /// As many more of it as there are requests that wait for their streams, or have one.
    open: Arc<()>,
}

/// A request, or a socket, that waits for its stream.
#[derive(Debug)]
pub(super) struct Expected {
    pub(super) turn: Turn,
    pub(super) stream: oneshot::Receiver<Stream>,
    pub(super) open: Arc<()>,
}

/// A turn among those that wait. Given up before its stream was asked for, it is free again; afterwards the answer frees
/// it, so that no more are on their way than have turns, whoever still waits for them.
#[derive(Debug)]
pub(super) struct Turn {
    request: u32,
    waiting: Arc<Mutex<Waiting>>,
    asked: bool,
}

impl Turn {
    /// Asks the supervisor for the stream.
    pub(super) async fn ask(&mut self, call: u64, carries: Carries, out: &Out) {
        out.send(&FromWorker::Connect { call, request: self.request, carries }, None).await;
        self.asked = true;
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        if !self.asked {
            self.waiting.lock().unwrap_or_else(PoisonError::into_inner).requests.remove(&self.request);
        }
    }
}

/// Who has a turn.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    next: u32,
    requests: HashMap<u32, oneshot::Sender<Stream>>,
}

impl Streams {
    /// A stream has come. One that nobody waits for any more is closed.
    pub(super) fn come(&self, request: u32, stream: Stream) {
        let waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner).requests.remove(&request);
        match waiting.map(|waiting| waiting.send(stream)) {
            Some(Ok(()) | Err(_)) | None => {}
        }
    }

    pub(super) fn expect(&self) -> Option<Expected> {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if waiting.requests.len() >= WAITING_MAX || Arc::strong_count(&self.open) > STREAMS_MAX {
            return None;
        }
        let request = waiting.next;
        waiting.next = request.checked_add(1)?;
        let (sender, receiver) = oneshot::channel();
        waiting.requests.insert(request, sender);
        let turn = Turn { request, waiting: Arc::clone(&self.waiting), asked: false };
        Some(Expected { turn, stream: receiver, open: Arc::clone(&self.open) })
    }
}

/// The requests of one call.
pub(super) struct Requests {
    call: u64,
    granted: bool,
    streams: Arc<Streams>,
    ledger: Arc<Ledger>,
    out: Out,
}

impl Requests {
    pub(super) const fn new(call: u64, granted: Granted, streams: Arc<Streams>, ledger: Arc<Ledger>, out: Out) -> Self {
        Self { call, granted: matches!(granted, Granted::Yes), streams, ledger, out }
    }
}

/// Whether a call may send requests at all, or connect sockets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Granted {
    Yes,
    No,
}

impl WasiHttpView for Guest {
    fn http(&mut self) -> WasiHttpCtxView<'_> {
        WasiHttpCtxView { hooks: &mut self.requests, table: &mut self.table, ctx: &mut self.http }
    }
}

type Answer = (http::Response<WasiBody>, Box<dyn Future<Output = Result<(), Error>> + Send>);

impl WasiHttpHooks for Requests {
    fn send_request(
        &mut self,
        request: http::Request<WasiBody>,
        options: Option<RequestOptions>,
        written: Box<dyn Future<Output = Result<(), Error>> + Send>,
    ) -> Box<dyn Future<Output = Result<Answer, Error>> + Send> {
        let (call, granted) = (self.call, self.granted);
        let (streams, ledger, out) = (Arc::clone(&self.streams), Arc::clone(&self.ledger), self.out.clone());
        Box::new(async move {
            drop(written);
            let mut address = request.uri().to_string().into_bytes();
            address.truncate(TOLD_BYTES_MAX);
            let mut told = Use::new(What::Request { method: request.method().to_string() }, address);
            if !granted {
                told.errno = Some(rustix::io::Errno::ACCESS.raw_os_error());
                ledger.push(told);
                ledger.make_room().await;
                return Err(Error::HttpRequestDenied);
            }
            let Some(Expected { mut turn, stream, open }) = streams.expect() else {
                told.errno = Some(rustix::io::Errno::AGAIN.raw_os_error());
                ledger.push(told);
                ledger.make_room().await;
                return Err(Error::ConnectionLimitReached);
            };
            // Whoever records the connection finds in the log already who asked for it.
            ledger.push(told);
            ledger.tell().await;
            turn.ask(call, Carries::Requests, &out).await;
            let stream = stream.await.map_err(|_| Error::ConnectionTerminated)?;
            let stream = stream.map_err(|why| Error::InternalError(Some(why)))?;
            exchange(stream, open, request, options).await
        })
    }
}

async fn exchange(
    stream: OwnedFd,
    open: Arc<()>,
    request: http::Request<WasiBody>,
    options: Option<RequestOptions>,
) -> Result<Answer, Error> {
    let stream = UnixStream::from(stream);
    stream.set_nonblocking(true).map_err(Error::Connect)?;
    let stream = tokio::net::UnixStream::from_std(stream).map_err(Error::Connect)?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let connection = wasmtime_wasi::runtime::spawn(async move {
        let ended = connection.await;
        drop(open);
        ended
    });
    let answer = sender.send_request(request);
    let limit = options.and_then(|options| options.first_byte_timeout);
    let answer = match limit {
        Some(limit) => tokio::time::timeout(limit, answer).await.map_err(|_| Error::HttpResponseTimeout)??,
        None => answer.await?,
    };
    let driven = async move {
        // As long as somebody reads the body; the sender only so that the connection is not closed under it.
        let ended = connection.await;
        drop(sender);
        ended.map_err(Error::from)
    };
    Ok((answer.map(|body| body.map_err(Error::from).boxed_unsync()), Box::new(driven)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use http_body_util::Full;
    use std::io::{BufRead as _, BufReader, Read as _, Write as _};

    /// Sends a request to somebody who answers this, and gives what he was asked and what came back.
    fn ask(uri: &str, body: &'static str, answer: &'static str) -> (String, Result<(u16, Bytes), Error>) {
        let (ours, theirs) = UnixStream::pair().expect("a pair");
        let outlet = std::thread::spawn(move || {
            let mut reader = BufReader::new(theirs);
            let mut head = String::new();
            while !head.ends_with("\r\n\r\n") {
                assert_ne!(reader.read_line(&mut head).expect("it is text"), 0, "the head is whole");
            }
            let mut sent = vec![0; body.len()];
            reader.read_exact(&mut sent).expect("the body comes");
            assert_eq!(sent, body.as_bytes());
            reader.get_mut().write_all(answer.as_bytes()).expect("somebody listens");
            head
        });
        let request = http::Request::post(uri).header("host", "example.com").header("content-length", body.len());
        let body = Full::new(Bytes::from_static(body.as_bytes())).map_err(|never| match never {}).boxed_unsync();
        let request = request.body(body).expect("a request");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let answered = runtime.block_on(async move {
            let (answer, driven) = exchange(ours.into(), Arc::default(), request, None).await?;
            let (head, body) = answer.into_parts();
            let driven = tokio::spawn(Box::into_pin(driven));
            let body = body.collect().await?.to_bytes();
            drop(driven);
            Ok((head.status.as_u16(), body))
        });
        (outlet.join().expect("the outlet was asked"), answered)
    }

    #[test]
    fn a_request_leaves_in_absolute_form_with_its_scheme_and_without_tls() {
        let answer = "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello";
        for uri in ["https://example.com/a?b=c", "http://example.com:8080/"] {
            let (head, answered) = ask(uri, "body", answer);
            assert!(head.starts_with(&format!("POST {uri} HTTP/1.1\r\n")), "{head}");
            let (status, body) = answered.expect("it was answered");
            assert_eq!((status, &body[..]), (200, &b"hello"[..]));
        }
    }

    #[test]
    fn an_answer_that_is_none_is_an_error_and_no_end_of_the_worker() {
        for answer in ["", "nonsense\r\n\r\n", "HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhello"] {
            let (_, answered) = ask("http://example.com/", "", answer);
            answered.expect_err("it is cut");
        }
    }

    impl Streams {
        fn waiting(&self) -> usize {
            self.waiting.lock().expect("nobody panicked").requests.len()
        }
    }

    #[test]
    fn streams_are_for_those_who_asked_and_not_without_end() {
        let streams = Streams::default();
        streams.come(7, Err("nobody asked".to_owned()));
        let mut asked: Vec<_> = (0..WAITING_MAX).map(|_| streams.expect().expect("there is room")).collect();
        assert!(streams.expect().is_none(), "no more at once");
        // Nobody will answer it.
        drop(asked.pop());
        asked.push(streams.expect().expect("one was given up before it was asked for"));
        streams.come(3, Err("refused".to_owned()));
        assert_eq!(asked.remove(3).stream.try_recv().expect("it came").expect_err("it was refused"), "refused");
    }

    /// What has come and is still open counts as well: each is a descriptor of the worker.
    #[test]
    fn a_call_has_an_end_of_streams() {
        let streams = Streams::default();
        let mut open = Vec::new();
        for number in 0..STREAMS_MAX {
            let Expected { mut turn, open: one, .. } = streams.expect().expect("there is room");
            turn.asked = true;
            drop(turn);
            open.push(one);
            assert_eq!(streams.waiting(), 1, "what was asked for is waited for until it comes");
            streams.come(u32::try_from(number).expect("few"), Err("the test has none".to_owned()));
        }
        assert!(streams.expect().is_none(), "no more at once");
        open.pop();
        streams.expect().expect("one was closed");
    }
}
