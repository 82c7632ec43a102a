//! What goes out of a container, and how: by name, through the outlet, and into the log.
//! It never reaches for another machine than this one's loopback.

use crate::{Engine, image, run, with_each};
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use stockade_tests::stage::Stage;
use stockade_tests::story::{Stop, Story, Told, must};

/// Bytes of the answer to a request for `/long`.
const LONG_BYTES: usize = 8 << 20;

pub(crate) fn stories() -> Vec<Story> {
    vec![
        with_each("a_granted_host_is_reached_and_no_other", reached),
        with_each("an_answer_that_is_cut_does_not_pass_for_a_whole_one", cut),
    ]
}

/// A server on the loopback, which ends with its test.
struct Server {
    port: u16,
    ends: Arc<AtomicBool>,
}

impl Server {
    /// Answers `/long` with many bytes, `/cut` with fewer than it says, and everything else with the request's first line.
    fn start() -> Result<Self, Stop> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let (port, ends) = (listener.local_addr()?.port(), Arc::new(AtomicBool::new(false)));
        listener.set_nonblocking(true)?;
        let over = Arc::clone(&ends);
        std::thread::spawn(move || {
            while !over.load(Ordering::Relaxed) {
                match listener.accept() {
                    // A client that goes away is the client's business.
                    Ok((stream, _)) => drop(stream.set_nonblocking(false).and_then(|()| answer(stream))),
                    Err(_) => std::thread::sleep(Duration::from_millis(5)),
                }
            }
        });
        Ok(Self { port, ends })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.ends.store(true, Ordering::Relaxed);
    }
}

fn answer(mut stream: std::net::TcpStream) -> std::io::Result<()> {
    let mut first = String::new();
    let mut reader = BufReader::new(stream.try_clone()?);
    reader.read_line(&mut first)?;
    for line in reader.lines() {
        if line?.is_empty() {
            break;
        }
    }
    let body = if first.contains("/long") { vec![b'x'; LONG_BYTES] } else { first.trim().as_bytes().to_vec() };
    let said = if first.contains("/cut") { body.len() + 1000 } else { body.len() };
    write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {said}\r\nConnection: close\r\n\r\n")?;
    stream.write_all(&body)
}

/// A profile that grants the server under a name, and runs a script with it.
fn through(stage: &Stage, engine: &Engine, server: &Server, script: &str) -> Result<String, Stop> {
    let body = format!(
        "extends = [\"container\"]\nimage = \"{}\"\n[[grant.net]]\nhost = \"web.test\"\nports = [80]\nmethods = [\"GET\"]\n\
         resolve = [\"127.0.0.1:{}\"]\nreason = \"a server of the tests\"\n",
        image("debian"),
        server.port
    );
    let profile = stage.profile("out", &body)?;
    let ended = run(stage, engine, "debian", &["-p", &profile], &["/bin/bash", "-c", script])?;
    must(ended.code() == 0, || ended.told())?;
    stage.answers(0, &["verify", "last"])?;
    Ok(ended.out())
}

fn reached(stage: &mut Stage, engine: &Engine) -> Told {
    let server = Server::start()?;
    let script = "
get() { curl -sS -m 30 \"$@\" 2>&1; echo \" = $?\"; }
get http://web.test/direct
get -x http://proxy.stockade.internal:3128 http://web.test/by-proxy
get http://web.test/long | tail -c 20 | tr -d x
get -X POST http://web.test/refused | head -c 200; echo
get http://web.test:8080/
get http://other.test/
get http://93.184.216.34:2222/
python3 -c 'import socket; socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b\"x\", (\"9.9.9.9\", 9999))'";
    let out = through(stage, engine, &server, script)?;
    let lines: Vec<&str> = out.lines().collect();
    must(lines.first() == Some(&"GET /direct HTTP/1.1 = 0"), || out.clone())?;
    must(lines.get(1) == Some(&"GET /by-proxy HTTP/1.1 = 0"), || out.clone())?;
    must(lines.get(2) == Some(&" = 0"), || out.clone())?;
    must(out.contains("refused by the sandbox"), || out.clone())?;
    // Refused at once, as by a host that is there, and not left to wait.
    must(out.matches("\n = 7\n").count() == 2, || out.clone())?;
    must(out.contains("Could not resolve host: other.test\n = 6\n"), || out.clone())?;
    let log = stage.answers(0, &["log", "export", "last", "--jsonl"])?.out();
    let has = |words: &[&str]| log.lines().any(|line| words.iter().all(|word| line.contains(word)));
    for words in [
        &["\"k\":\"net.request\"", "\"path\":\"/direct\"", "\"rules\":[\"out:"][..],
        &["\"k\":\"net.open\"", "\"via\":\"http\""],
        &["\"k\":\"net.reply\"", &format!("\"down\":{LONG_BYTES}")],
        &["\"k\":\"net.refuse\"", "\"host\":\"web.test\",\"port\":8080"],
        &["\"k\":\"net.name\"", "other.test"],
        &["\"k\":\"net.refuse\"", "\"host\":\"93.184.216.34\",\"port\":2222"],
        &["\"k\":\"net.refuse\"", "\"host\":\"9.9.9.9\",\"port\":9999"],
    ] {
        must(has(words), || format!("no record with {words:?} in {log}"))?;
    }
    Ok(())
}

fn cut(stage: &mut Stage, engine: &Engine) -> Told {
    let server = Server::start()?;
    let out = through(stage, engine, &server, "curl -s -m 30 http://web.test/cut; echo \" = $?\"")?;
    // Which of the two it is depends on who sees it first: a transfer that is short, or a connection that is reset.
    must(["= 18\n", "= 56\n"].iter().any(|end| out.ends_with(end)), || out.clone())
}
