//! The wire: JSON-RPC messages as lines on two descriptors, whatever stands in a line.
//! It never keeps a line that is too long, gives no parser one, and lives on after a line that is wrong.

use crate::backend::process::{Event, Outside};
use crate::error::{Error, Result, plain};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use rmcp::RoleServer;
use rmcp::model::{
    ClientJsonRpcMessage, ClientRequest, ErrorData, GetMeta as _, ProtocolVersion, RequestId, ServerJsonRpcMessage,
};
use rmcp::transport::Transport;
use serde_json::Value;
use std::io::{self, PipeReader, Write};
use std::os::fd::{AsFd, BorrowedFd};
use stockade_policy::CALL_BYTES_MAX;
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;

/// Longest line, bytes: a call of the longest kind, each byte of which may be escaped, and what is around it.
pub(super) const LINE_BYTES_MAX: usize = 4 * CALL_BYTES_MAX;
/// Bytes read at once: the capacity of a pipe (pipe(7)).
const CHUNK_BYTES: usize = 64 * 1024;
/// Messages on their way in or out.
const MESSAGES_MAX: usize = 64;
/// How often is asked whether there is room for one more.
const ROOM_EVERY_MS: u16 = 10;

/// The protocol's end of the wire.
#[derive(Debug)]
pub(super) struct Wire {
    incoming: mpsc::Receiver<ClientJsonRpcMessage>,
    outgoing: Option<mpsc::Sender<Vec<u8>>>,
}

/// What reads a client's lines.
#[derive(Debug)]
pub(super) struct Reading {
    incoming: mpsc::Sender<ClientJsonRpcMessage>,
    outgoing: mpsc::Sender<Vec<u8>>,
    phase: Phase,
}

/// What writes our answers.
#[derive(Debug)]
pub(super) struct Writing {
    outgoing: mpsc::Receiver<Vec<u8>>,
}

/// Why reading ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// The client closed its end.
    Closed,
    /// We were told to stop, or nobody reads our answers.
    Told,
}

/// Whether a client has said yet which protocol it speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Unknown,
    Begun,
}

/// A wire, and what has to be run for it.
pub(super) fn wire() -> (Wire, Reading, Writing) {
    let (put, incoming) = mpsc::channel(MESSAGES_MAX);
    let (say, outgoing) = mpsc::channel(MESSAGES_MAX);
    let reading = Reading { incoming: put, outgoing: say.clone(), phase: Phase::Unknown };
    (Wire { incoming, outgoing: Some(say) }, reading, Writing { outgoing })
}

impl Transport<RoleServer> for Wire {
    type Error = io::Error;

    fn send(
        &mut self,
        message: ServerJsonRpcMessage,
    ) -> impl Future<Output = std::result::Result<(), io::Error>> + Send + 'static {
        let outgoing = self.outgoing.clone();
        async move {
            let line = line(&message)?;
            let outgoing = outgoing.ok_or(io::ErrorKind::NotConnected)?;
            outgoing.send(line).await.map_err(|_| io::ErrorKind::BrokenPipe.into())
        }
    }

    async fn receive(&mut self) -> Option<ClientJsonRpcMessage> {
        self.incoming.recv().await
    }

    async fn close(&mut self) -> std::result::Result<(), io::Error> {
        self.outgoing = None;
        Ok(())
    }
}

fn line(message: &ServerJsonRpcMessage) -> io::Result<Vec<u8>> {
    let mut line = serde_json::to_vec(message)?;
    line.push(b'\n');
    Ok(line)
}

impl Writing {
    /// Writes messages until there are none to come. What cannot be written any more is dropped.
    ///
    /// # Errors
    /// Host: the other side is gone.
    pub(super) fn run(mut self, output: &mut dyn Write) -> Result<()> {
        while let Some(line) = self.outgoing.blocking_recv() {
            let written = output.write_all(&line).and_then(|()| output.flush());
            written.map_err(|e| Error::host(format!("write an answer: {}", plain(&e))))?;
        }
        Ok(())
    }
}

impl Reading {
    /// Reads messages until the input ends, or something is heard from `stop` or `signals`.
    ///
    /// # Errors
    /// Host: the input fails.
    pub(super) fn run(mut self, input: BorrowedFd<'_>, stop: &PipeReader, signals: &mut dyn Outside) -> Result<End> {
        let mut lines = Lines::default();
        let mut chunk = vec![0; CHUNK_BYTES];
        let failed = |e: io::Error| Error::host(format!("read a message: {}", plain(&e)));
        loop {
            match wait(Some(input), stop, signals, PollTimeout::NONE).map_err(|e| failed(e.into()))? {
                Ready::Told => return Ok(End::Told),
                Ready::Nothing => continue,
                Ready::Input => {}
            }
            let (read, ended) = match rustix::io::read(input, &mut chunk) {
                // What stands before the end without an end of its line is a line too.
                Ok(0) => (lines.rest(), Some(End::Closed)),
                Ok(read) => (lines.take(chunk.get(..read).unwrap_or_default()), None),
                Err(rustix::io::Errno::INTR | rustix::io::Errno::AGAIN) => continue,
                Err(errno) => return Err(failed(errno.into())),
            };
            for line in read {
                let put = match self.read(&line) {
                    Read::Nothing => Put::Done,
                    Read::Message(message) => put(&self.incoming, *message, stop, signals).map_err(failed)?,
                    Read::Wrong(answer) => {
                        put(&self.outgoing, self::line(&answer).map_err(failed)?, stop, signals).map_err(failed)?
                    }
                };
                if put == Put::Told {
                    return Ok(End::Told);
                }
            }
            if let Some(end) = ended {
                return Ok(end);
            }
        }
    }

    /// What one line says.
    fn read(&mut self, line: &Line) -> Read {
        let line = match line {
            Line::Whole(line) => line.trim_ascii(),
            Line::TooLong => {
                let why = format!("the message has more than {LINE_BYTES_MAX} bytes");
                return Read::wrong(None, ErrorData::invalid_request(why, None));
            }
        };
        if line.is_empty() {
            return Read::Nothing;
        }
        match serde_json::from_slice::<ClientJsonRpcMessage>(line) {
            Ok(message) => self.judge(message),
            Err(_) => wrong(line),
        }
    }

    /// Whether a message may come at this point. Before the first request that says which protocol is spoken, anything but
    /// that request would end the library's handshake, and the server with it.
    fn judge(&mut self, message: ClientJsonRpcMessage) -> Read {
        if self.phase == Phase::Begun {
            return Read::Message(Box::new(message));
        }
        let ClientJsonRpcMessage::Request(request) = &message else {
            tracing::info!("a message that is no request came before the protocol had begun: ignored");
            return Read::Nothing;
        };
        let asked = &request.request;
        if matches!(asked, ClientRequest::InitializeRequest(_)) {
            self.phase = Phase::Begun;
        } else if !matches!(asked, ClientRequest::PingRequest(_) | ClientRequest::DiscoverRequest(_)) {
            let meta = asked.get_meta();
            let missing = meta.missing_required_keys(&ProtocolVersion::V_2026_07_28);
            if !missing.is_empty() {
                let method: String = asked.method().chars().filter(|c| !c.is_control()).take(60).collect();
                let missing = missing.join(", ");
                let why = format!("{method} came before initialize, and its _meta does not say {missing} either");
                return Read::wrong(Some(request.id.clone()), ErrorData::invalid_params(why, None));
            }
            if meta.protocol_version().is_some_and(|version| ProtocolVersion::KNOWN_VERSIONS.contains(&version)) {
                self.phase = Phase::Begun;
            }
        }
        Read::Message(Box::new(message))
    }
}

/// What a line is.
enum Read {
    /// Empty, or to be ignored.
    Nothing,
    /// A message.
    Message(Box<ClientJsonRpcMessage>),
    /// Wrong, and this is the answer.
    Wrong(Box<ServerJsonRpcMessage>),
}

impl Read {
    fn wrong(id: Option<RequestId>, error: ErrorData) -> Self {
        Self::Wrong(Box::new(ServerJsonRpcMessage::error(error, id)))
    }
}

/// The answer to a line that is no message.
fn wrong(line: &[u8]) -> Read {
    let value: Value = match serde_json::from_slice(line) {
        Ok(value) => value,
        Err(error) => return Read::wrong(None, ErrorData::parse_error(format!("not JSON: {error}"), None)),
    };
    let Value::Object(members) = value else {
        let batch = if value.is_array() { ": batches are not taken, send one message a line" } else { "" };
        let why = format!("the message is not an object{batch}");
        return Read::wrong(None, ErrorData::invalid_request(why, None));
    };
    let id = members.get("id").and_then(|id| serde_json::from_value::<RequestId>(id.clone()).ok());
    let method = members.get("method").and_then(Value::as_str);
    // What needs no answer gets none, whatever is wrong with it (JSON-RPC 2.0, section 4.1).
    if method.is_some() && !members.contains_key("id") && members.get("jsonrpc").is_some_and(|v| v == "2.0") {
        return Read::Nothing;
    }
    let why = match (members.get("jsonrpc").and_then(Value::as_str), method, &id) {
        (Some("2.0"), Some(_), Some(_)) => "\"params\" is not an object, or \"_meta\" in it is none",
        (Some("2.0"), Some(_), None) => "\"id\" is neither a string nor a whole number",
        (Some("2.0"), None, _) => "the message has neither a method nor a result that was asked for",
        (_, _, _) => "\"jsonrpc\" is not \"2.0\"",
    };
    Read::wrong(id, ErrorData::invalid_request(why, None))
}

/// What became of something that was put where somebody takes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Put {
    Done,
    /// Nobody takes it any more, or we were told to stop meanwhile.
    Told,
}

/// Puts something where there is room, as soon as there is: a client that reads nothing fills everything up to here, and must
/// not keep us from hearing that we are to stop.
fn put<T>(to: &mpsc::Sender<T>, mut what: T, stop: &PipeReader, signals: &mut dyn Outside) -> io::Result<Put> {
    loop {
        what = match to.try_send(what) {
            Ok(()) => return Ok(Put::Done),
            Err(TrySendError::Closed(_)) => return Ok(Put::Told),
            Err(TrySendError::Full(back)) => back,
        };
        match wait(None, stop, signals, PollTimeout::from(ROOM_EVERY_MS))? {
            Ready::Told => return Ok(Put::Told),
            Ready::Input | Ready::Nothing => {}
        }
    }
}

/// What can be done now.
enum Ready {
    Input,
    Told,
    Nothing,
}

/// Waits until something can be done, this long at most. Without an input there is none to be read now.
fn wait(
    input: Option<BorrowedFd<'_>>,
    stop: &PipeReader,
    signals: &mut dyn Outside,
    within: PollTimeout,
) -> nix::Result<Ready> {
    let told = {
        let signal = signals.descriptor();
        let all = [Some(stop.as_fd()), signal, input];
        let mut watched: Vec<PollFd<'_>> =
            all.into_iter().flatten().map(|one| PollFd::new(one, PollFlags::POLLIN)).collect();
        match poll(&mut watched, within) {
            Ok(_) | Err(nix::errno::Errno::EINTR) => {}
            Err(errno) => return Err(errno),
        }
        let mut ready = watched.iter().map(|one| one.revents().is_some_and(|events| !events.is_empty()));
        let mut next = |is_there: bool| is_there && ready.next() == Some(true);
        let (stop, signal, input) = (next(true), next(signal.is_some()), next(input.is_some()));
        match (stop, signal, input) {
            (true, _, _) => return Ok(Ready::Told),
            (_, true, _) => true,
            (_, _, true) => return Ok(Ready::Input),
            (_, _, _) => return Ok(Ready::Nothing),
        }
    };
    let mut ended = false;
    while let Some(event) = signals.next_event().filter(|_| told) {
        ended |= matches!(event, Event::Signal(_));
    }
    Ok(if ended { Ready::Told } else { Ready::Nothing })
}

/// One line.
#[derive(Debug, PartialEq, Eq)]
enum Line {
    Whole(Vec<u8>),
    TooLong,
}

/// Cuts a stream into lines.
#[derive(Debug, Default)]
struct Lines {
    kept: Vec<u8>,
    skipping: bool,
}

impl Lines {
    /// The lines that end in this chunk; of one that is too long the rest is skipped, not kept.
    fn take(&mut self, mut chunk: &[u8]) -> Vec<Line> {
        let mut lines = Vec::new();
        while let Some(end) = chunk.iter().position(|byte| *byte == b'\n') {
            let (part, rest) = chunk.split_at(end);
            chunk = rest.get(1..).unwrap_or_default();
            self.keep(part, &mut lines);
            if !std::mem::take(&mut self.skipping) {
                lines.push(Line::Whole(std::mem::take(&mut self.kept)));
            }
        }
        self.keep(chunk, &mut lines);
        lines
    }

    /// What stands at the end of the stream without an end of its own.
    fn rest(&mut self) -> Vec<Line> {
        let line = std::mem::take(&mut self.kept);
        if line.is_empty() { Vec::new() } else { vec![Line::Whole(line)] }
    }

    fn keep(&mut self, part: &[u8], lines: &mut Vec<Line>) {
        if self.skipping {
            return;
        }
        if self.kept.len() + part.len() > LINE_BYTES_MAX {
            // Told at once: a client that waits for an answer may never end the line.
            lines.push(Line::TooLong);
            self.kept = Vec::new();
            self.skipping = true;
            return;
        }
        self.kept.extend_from_slice(part);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::process::Alone;
    use std::time::{Duration, Instant};

    const PING: &str = r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#;

    /// Reads this much input to its end, with nobody who takes anything.
    #[track_caller]
    fn read(input: &[u8], stop: &PipeReader) -> (End, Wire, Writing) {
        let (wire, reading, writing) = wire();
        let (from, mut to) = io::pipe().expect("a pipe");
        to.write_all(input).expect("the pipe has room");
        drop(to);
        let end = reading.run(from.as_fd(), stop, &mut Alone).unwrap_or_else(|error| panic!("{error}"));
        (end, wire, writing)
    }

    #[test]
    fn the_last_line_needs_no_end_of_its_own() {
        let (stop, _still) = io::pipe().expect("a pipe");
        for (input, messages, answers) in [
            (PING.to_owned(), 1, 0),
            (format!("{PING}\n"), 1, 0),
            (format!("{PING}\n{PING}"), 2, 0),
            (format!("{PING}\nnonsense"), 1, 1),
            (String::new(), 0, 0),
        ] {
            let (end, wire, writing) = read(input.as_bytes(), &stop);
            assert_eq!((end, wire.incoming.len(), writing.outgoing.len()), (End::Closed, messages, answers), "{input}");
        }
    }

    #[test]
    fn who_reads_nothing_does_not_keep_us_from_hearing_that_we_are_to_stop() {
        let (stop, mut told) = io::pipe().expect("a pipe");
        let teller = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(200));
            told.write_all(b".")
        });
        let begun = Instant::now();
        let (end, ..) = read(format!("{PING}\n").repeat(MESSAGES_MAX * 2).as_bytes(), &stop);
        assert_eq!(end, End::Told);
        assert!(begun.elapsed() < Duration::from_secs(20), "it took {:?}", begun.elapsed());
        assert!(teller.join().is_ok_and(|told| told.is_ok()));
    }
}
