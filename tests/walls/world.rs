//! What the stories of two walls stand on: a session that takes calls as lines, and what an answer says.
//! It never judges an answer: it says what was allowed, what was refused, and in which words.

use serde_json::{Value, json};
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::time::Duration;
use stockade_tests::stage::Stage;
use stockade_tests::story::{Stop, must};

/// What stands in files that an act may not read, and in files that it may.
pub(crate) const SIGN: &str = "sign-of-the-host-5Tq8";

/// How an act ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    Allowed,
    Refused,
}

/// One call of a session.
#[derive(Debug, Clone)]
pub(crate) enum Act {
    /// A script for bash.
    Command(String),
    /// A tool and its arguments.
    Tool(String, Value),
}

impl Act {
    pub(crate) fn command(script: &str) -> Self {
        Self::Command(script.to_owned())
    }

    /// `args` is JSON.
    pub(crate) fn tool(name: &str, args: &str) -> Self {
        Self::Tool(name.to_owned(), serde_json::from_str(args).expect("arguments of a test are JSON"))
    }

    fn line(&self, id: usize) -> Value {
        match self {
            Self::Command(script) => {
                json!({"id": id, "call": {"tool": "bash", "command": {"argv": ["/bin/bash", "-c", script]}}})
            }
            Self::Tool(name, args) => json!({"id": id, "call": {"tool": name, "args": args}}),
        }
    }
}

/// Carries out acts in one session, one after the other, and gives the answer to each.
pub(crate) fn session(stage: &Stage, options: &[&str], acts: &[Act]) -> Result<Vec<Value>, Stop> {
    session_in(stage, &[], options, acts)
}

/// The same of a session that this launcher starts, in a poorer world.
pub(crate) fn session_in(stage: &Stage, launcher: &[&str], options: &[&str], acts: &[Act]) -> Result<Vec<Value>, Stop> {
    let lines: Vec<String> =
        acts.iter().enumerate().map(|(id, act)| stage.scene.fill(&act.line(id).to_string())).collect();
    let words = [launcher, &["{bin}/stockade", "session"], options].concat();
    let mut program = stage.program(&words);
    program.input = (lines.join("\n") + "\n").into_bytes();
    let ended = stage.go(&program)?;
    let answers: Result<Vec<Value>, _> = ended.out().lines().map(serde_json::from_str).collect();
    let answers = answers.map_err(|e| Stop::Fail(format!("an answer is no JSON: {e}\n{}", ended.told())))?;
    must(answers.len() == acts.len(), || {
        format!("{} answers to {} calls\n{}", answers.len(), acts.len(), ended.told())
    })?;
    Ok(answers)
}

/// Whether an answer says that its act was carried out.
pub(crate) fn verdict(answer: &Value) -> Verdict {
    let exit = answer.get("exit");
    let code = exit.and_then(|exit| exit.get("code")).and_then(Value::as_i64);
    let replied = exit.is_none() && answer.get("reply").is_some();
    let carried_out = code == Some(0) || replied;
    if carried_out { Verdict::Allowed } else { Verdict::Refused }
}

/// Everything that an answer says, in one text.
pub(crate) fn words(answer: &Value) -> String {
    answer.to_string()
}

/// An HTTP server on the loopback that answers each request with [`SIGN`]; it lives as long as the test program.
pub(crate) fn server() -> Result<u16, Stop> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let port = listener.local_addr()?.port();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            std::thread::spawn(move || drop(serve(stream)));
        }
    });
    Ok(port)
}

fn serve(mut stream: TcpStream) -> std::io::Result<()> {
    stream.set_read_timeout(Some(Duration::from_secs(20)))?;
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut line = String::new();
    while reader.read_line(&mut line)? > 2 {
        line.clear();
    }
    let head = "HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\nconnection: close\r\n";
    write!(stream, "{head}content-length: {}\r\n\r\n{SIGN}", SIGN.len())
}
