//! Engines that break off, hang, flood or talk nonsense: each ends in a clear error, in time.
//! It never breaks a real one: they are played, from the first byte on.

use crate::house::{Ground, Tale, failed};
use std::collections::BTreeMap;
use std::io::{self, BufRead as _, BufReader, Write as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use stockade::backend::container::engine::{Engine, Pull, Wanted};
use stockade::error::{Error, Fault};
use stockade_tests::story::{Stop, Told, must};

/// Stories with engines that are played.
pub(crate) const STORIES: &[Tale] = &[
    ("an_engine_that_dies_in_a_request_is_told", an_engine_that_dies_is_told),
    ("an_engine_that_hangs_is_given_up", an_engine_that_hangs_is_given_up),
    ("an_answer_without_end_is_cut_off", an_answer_without_end_is_cut_off),
    ("nonsense_is_no_engine", nonsense_is_no_engine),
    ("what_an_engine_says_does_not_reach_the_terminal_as_it_is", what_it_says_is_bounded),
];

const VERSION: &str = r#"{"Version":"1","ApiVersion":"1.41","MinAPIVersion":"1.12","Components":[{"Name":"Engine"}]}"#;
const INFO: &str =
    r#"{"Architecture":"x86_64","Driver":"overlay2","DefaultRuntime":"runc","Runtimes":{"runc":{"path":"runc"}}}"#;

/// How an engine that is played goes on after it has said what it is.
type Part = fn(&mut UnixStream) -> io::Result<()>;

fn answer(stream: &mut UnixStream, status: &str, body: &str) -> io::Result<()> {
    let length = body.len();
    write!(
        stream,
        "HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
    )
}

/// Plays an engine at a socket below a directory. Its thread ends with the test program.
fn play(ground: &Ground, part: Part) -> Result<PathBuf, Stop> {
    let socket = ground.path().join("engine.sock");
    let listener = UnixListener::bind(&socket)?;
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            std::thread::spawn(move || converse(stream, part));
        }
    });
    Ok(socket)
}

fn converse(mut stream: UnixStream, part: Part) -> io::Result<()> {
    let mut line = String::new();
    let mut reader = BufReader::new(stream.try_clone()?);
    reader.read_line(&mut line)?;
    let mut head = String::new();
    while reader.read_line(&mut head)? > 2 {
        head.clear();
    }
    if line.contains("/version ") {
        answer(&mut stream, "200 OK", VERSION)
    } else if line.contains("/info ") {
        answer(&mut stream, "200 OK", INFO)
    } else {
        part(&mut stream)
    }
}

fn engine(socket: &Path) -> Result<Engine, Error> {
    Engine::find(&Wanted::Socket(socket.to_owned()), &BTreeMap::new())
}

/// What a request brings, and how long it took.
fn asked(part: Part) -> Result<(Error, Duration), Stop> {
    let ground = Ground::new()?;
    let engine = engine(&play(&ground, part)?).map_err(failed)?;
    let begun = Instant::now();
    let error = engine.image("a:1", Pull::Never, &mut |_| {}).expect_err("the engine is broken");
    Ok((error, begun.elapsed()))
}

fn an_engine_that_dies_is_told() -> Told {
    const PARTS: [Part; 3] = [
        |_| Ok(()),
        |stream| stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Type: appl"),
        |stream| stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n{\"Id\":"),
    ];
    for part in PARTS {
        let (error, took) = asked(part)?;
        let text = error.to_string();
        must(error.fault == Fault::Host && text.contains("engine.sock") && text.contains("gone"), || text.clone())?;
        must(took < Duration::from_secs(10), || format!("{took:?}"))?;
    }
    Ok(())
}

fn an_engine_that_hangs_is_given_up() -> Told {
    let ground = Ground::new()?;
    let socket = ground.path().join("engine.sock");
    // Connections are taken by the kernel, and nobody ever reads from one.
    let _listener = UnixListener::bind(&socket)?;
    let begun = Instant::now();
    let error = engine(&socket).expect_err("nobody answers").to_string();
    must(error.contains("did not answer within 10 s"), || error.clone())?;
    must(begun.elapsed() < Duration::from_secs(20), || format!("{:?}", begun.elapsed()))
}

fn an_answer_without_end_is_cut_off() -> Told {
    let (error, took) = asked(|stream| {
        stream.write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")?;
        let chunk = format!("10000\r\n{}\r\n", " ".repeat(0x10000));
        loop {
            stream.write_all(chunk.as_bytes())?;
        }
    })?;
    let text = error.to_string();
    must(error.fault == Fault::Host && text.contains("longer than 32 MiB"), || text.clone())?;
    must(took < Duration::from_secs(30), || format!("{took:?}"))
}

fn nonsense_is_no_engine() -> Told {
    const PARTS: [Part; 5] = [
        |stream| stream.write_all(b"SSH-2.0-OpenSSH_9.2\r\n"),
        |stream| answer(stream, "200 OK", "[]"),
        |stream| answer(stream, "200 OK", "{\"Id\": 7}"),
        |stream| answer(stream, "200 OK", &"[".repeat(1000)),
        |stream| answer(stream, "200 OK", "{\"Id\": \"sha256:../..\", \"Os\": \"linux\", \"Architecture\": \"amd64\"}"),
    ];
    for part in PARTS {
        let (error, _) = asked(part)?;
        must(error.fault == Fault::Host, || error.to_string())?;
    }
    Ok(())
}

fn what_it_says_is_bounded() -> Told {
    let (error, _) = asked(|stream| {
        let said = format!("{{\"message\": \"\\u001b[2J\\u202e\\n{}\"}}", "x ".repeat(5000));
        answer(stream, "500 Internal Server Error", &said)
    })?;
    let text = error.to_string();
    must(!text.contains(['\u{1b}', '\u{202e}']) && text.len() < 600, || text.clone())?;
    must(text.contains("[2J x x"), || text.clone())
}
