//! A client of the tests' own, line by line: what real ones never send can be sent with it.
//! It never waits for an answer without a limit.

use serde_json::{Value, json};
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::process::{Child, ChildStdin};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};
use stockade_tests::stage::Stage;
use stockade_tests::story::{Stop, must};

/// Longest time for an answer; a bound against hanging, not a measurement.
const PATIENCE: Duration = Duration::from_secs(60);

/// Tools of the session itself are granted: what they do is tested here, not who may.
pub(crate) const TOOLS: &str = "extends = [\"shell\"]\n\
    [[grant.tool]]\nname = \"diff\"\nreason = \"the test looks\"\n\
    [[grant.tool]]\nname = \"audit_receipt\"\nreason = \"the test looks\"\n";
/// And changes may be applied.
pub(crate) const APPLY: &str = "[[grant.tool]]\nname = \"apply\"\nreason = \"the test applies\"\n";

/// A server, and the lines that it says.
pub(crate) struct Client {
    child: Child,
    input: Option<ChildStdin>,
    lines: Receiver<String>,
    errors: std::thread::JoinHandle<String>,
    next: u64,
    /// What came before an answer that was waited for.
    pub(crate) heard: Vec<Value>,
}

/// How a server ended.
pub(crate) struct Ended {
    /// Its exit code.
    pub(crate) code: Option<i32>,
    /// What it said on standard error.
    pub(crate) err: String,
    /// Lines that nobody had waited for.
    pub(crate) rest: Vec<Value>,
}

impl Client {
    /// Starts a server with these options.
    pub(crate) fn start(stage: &Stage, options: &[&str]) -> Result<Self, Stop> {
        if stockade_tests::binaries::under_test()?.is_none() {
            return Err(Stop::Skip("controls only".to_owned()));
        }
        let words = [&["{bin}/stockade", "mcp", "--workspace", "{ws}"], options].concat();
        let mut child = stage.program(&words).start()?;
        let output = child.stdout.take().ok_or_else(|| "no standard output".to_owned())?;
        let mut errors = child.stderr.take().ok_or_else(|| "no standard error".to_owned())?;
        let (put, lines) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                if put.send(line).is_err() {
                    return;
                }
            }
        });
        let errors = std::thread::spawn(move || {
            let mut text = Vec::new();
            drop(errors.read_to_end(&mut text));
            String::from_utf8_lossy(&text).into_owned()
        });
        let input = child.stdin.take();
        Ok(Self { child, input, lines, errors, next: 100, heard: Vec::new() })
    }

    /// Starts a server and greets it as a client of the handshake's era does.
    pub(crate) fn greeted(stage: &Stage, options: &[&str]) -> Result<Self, Stop> {
        let mut client = Self::start(stage, options)?;
        let answer = client.ask("initialize", hello("2025-11-25"))?;
        must(answer.pointer("/result/serverInfo/name") == Some(&json!("stockade")), || answer.to_string())?;
        client.say(&json!({ "jsonrpc": "2.0", "method": "notifications/initialized" }))?;
        Ok(client)
    }

    /// Process id of the server.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends bytes as they are.
    pub(crate) fn send(&mut self, bytes: &[u8]) -> Result<(), Stop> {
        let input = self.input.as_mut().ok_or_else(|| "its input is closed".to_owned())?;
        Ok(input.write_all(bytes).and_then(|()| input.flush())?)
    }

    /// Sends one message.
    pub(crate) fn say(&mut self, message: &Value) -> Result<(), Stop> {
        self.send(format!("{message}\n").as_bytes())
    }

    /// Sends a request and gives its id.
    pub(crate) fn request(&mut self, method: &str, params: Value) -> Result<u64, Stop> {
        self.next += 1;
        self.say(&json!({ "jsonrpc": "2.0", "id": self.next, "method": method, "params": params }))?;
        Ok(self.next)
    }

    /// Sends a request and waits for its answer.
    pub(crate) fn ask(&mut self, method: &str, params: Value) -> Result<Value, Stop> {
        let id = self.request(method, params)?;
        self.answer(id)
    }

    /// Calls a tool and waits for its result.
    pub(crate) fn call(&mut self, tool: &str, arguments: Value) -> Result<Value, Stop> {
        let answer = self.ask("tools/call", json!({ "name": tool, "arguments": arguments }))?;
        let result = answer.get("result").cloned();
        result.ok_or_else(|| Stop::Fail(format!("{tool} did not answer with a result: {answer}")))
    }

    /// Runs a command line and waits for its result.
    pub(crate) fn bash(&mut self, line: &str) -> Result<Value, Stop> {
        self.call("bash", json!({ "command": line }))
    }

    /// The next message, whatever it is.
    pub(crate) fn next(&mut self) -> Result<Value, Stop> {
        self.within(PATIENCE)?.ok_or_else(|| Stop::Fail("no message in time, or no more at all".to_owned()))
    }

    /// The next message, if one comes in time.
    pub(crate) fn within(&mut self, limit: Duration) -> Result<Option<Value>, Stop> {
        match self.lines.recv_timeout(limit) {
            Ok(line) => {
                let parsed = serde_json::from_str(&line);
                parsed.map(Some).map_err(|e| Stop::Fail(format!("no JSON on standard output: {e}: {line}")))
            }
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => Ok(None),
        }
    }

    /// The answer to a request; what comes before it is kept in `heard`.
    pub(crate) fn answer(&mut self, id: u64) -> Result<Value, Stop> {
        loop {
            let message = self.next()?;
            if message.get("id") == Some(&json!(id)) {
                return Ok(message);
            }
            self.heard.push(message);
        }
    }

    /// Closes the server's input and waits for its end.
    pub(crate) fn close(mut self) -> Result<Ended, Stop> {
        drop(self.input.take());
        self.ended()
    }

    /// Waits for the server's end.
    pub(crate) fn ended(mut self) -> Result<Ended, Stop> {
        let until = Instant::now() + PATIENCE;
        let code = loop {
            if let Some(status) = self.child.try_wait()? {
                break status.code();
            }
            if Instant::now() >= until {
                self.child.kill()?;
                return Err(Stop::Fail("the server does not end".to_owned()));
            }
            std::thread::sleep(Duration::from_millis(5));
        };
        let mut rest = std::mem::take(&mut self.heard);
        while let Some(message) = self.within(Duration::from_secs(5))? {
            rest.push(message);
        }
        let err = self.errors.join().map_err(|_| "the reader of standard error panicked".to_owned())?;
        Ok(Ended { code, err, rest })
    }

    /// Closes the server, which must end well.
    pub(crate) fn bye(self) -> Result<(), Stop> {
        let ended = self.close()?;
        must(ended.code == Some(0), || format!("exit {:?}\n{}", ended.code, ended.err))
    }
}

/// Parameters of `initialize`.
pub(crate) fn hello(version: &str) -> Value {
    json!({ "protocolVersion": version, "capabilities": {}, "clientInfo": { "name": "test", "version": "1" } })
}

/// `_meta` of a request of the era without a handshake.
pub(crate) fn meta(version: &str) -> Value {
    json!({
        "io.modelcontextprotocol/protocolVersion": version,
        "io.modelcontextprotocol/clientCapabilities": {},
        "io.modelcontextprotocol/clientInfo": { "name": "test", "version": "1" },
    })
}

/// The text of a result.
pub(crate) fn text(result: &Value) -> String {
    let blocks = result.get("content").and_then(Value::as_array).cloned().unwrap_or_default();
    blocks.iter().filter_map(|block| block.get("text").and_then(Value::as_str)).collect()
}
