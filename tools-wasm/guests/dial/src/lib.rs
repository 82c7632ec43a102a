//! A component that connects sockets as it is told, by nothing but the standard library. It never hides an error: what it
//! answers is one line for each step.

use serde_json::Value;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream, ToSocketAddrs, UdpSocket};
use stockade_guest::{Failure, Reply};

stockade_guest::tool!(answer);

fn answer(arguments: &str) -> Result<Reply, Failure> {
    let wrong = |error: String| Failure::InvalidArguments(error);
    let arguments: Value = serde_json::from_str(arguments).map_err(|error| wrong(error.to_string()))?;
    let steps = arguments.get("steps").and_then(Value::as_array).ok_or_else(|| wrong("no steps".to_owned()))?;
    let mut held = Vec::new();
    let lines: Vec<String> = steps.iter().map(|step| said(step, &mut held)).collect();
    // What is still open here is never closed by its owner.
    std::mem::forget(held);
    let text = lines.join("\n");
    let strict = arguments.get("strict").and_then(Value::as_bool).unwrap_or(false);
    if strict && lines.iter().any(|line| line.starts_with("error")) {
        return Err(Failure::Refused(text));
    }
    Ok(Reply { text, structured: None, images: Vec::new() })
}

/// One step in words: what it brought, or the kind of its error.
fn said(step: &Value, held: &mut Vec<TcpStream>) -> String {
    let text = |key: &str| step.get(key).and_then(Value::as_str).unwrap_or_default();
    let to = text("to");
    let done = match text("do") {
        "lookup" => to.to_socket_addrs().map(|all| {
            let all: Vec<String> = all.map(|address| address.ip().to_string()).collect();
            all.join(" ")
        }),
        "talk" => talk(to, &filled(text("say"))),
        "close" => TcpStream::connect(to).and_then(|mut stream| {
            // Says something and goes: nobody waits for it.
            stream.write_all(filled(text("say")).as_bytes())?;
            Ok("gone".to_owned())
        }),
        "read" => TcpStream::connect(to).and_then(|mut stream| {
            let mut first = [0; 64];
            let count = stream.read(&mut first)?;
            Ok(String::from_utf8_lossy(first.get(..count).unwrap_or_default()).into_owned())
        }),
        "hold" => hold(to, step.get("times").and_then(Value::as_u64).unwrap_or(1), held),
        "again" => {
            let times = step.get("times").and_then(Value::as_u64).unwrap_or(1);
            (0..times).try_for_each(|_| TcpStream::connect(to).map(drop)).map(|()| format!("{times} times"))
        }
        "options" => options(to),
        "listen" => TcpListener::bind(to).map(|_| "listens".to_owned()),
        "udp" => UdpSocket::bind(to).map(|_| "bound".to_owned()),
        other => return format!("no step {other:?}"),
    };
    match done {
        Ok(said) => format!("ok: {said}"),
        Err(error) => format!("error: {:?}: {error}", error.kind()),
    }
}

/// With the variable that the call was given in the place of its name.
#[expect(clippy::disallowed_methods, reason = "a guest: its environment is what it was granted")]
fn filled(text: &str) -> String {
    text.replace("{API_KEY}", &std::env::var("API_KEY").unwrap_or_default())
}

/// Says something, ends its half, and reads until the other end does.
fn talk(to: &str, say: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(to)?;
    stream.write_all(say.as_bytes())?;
    stream.shutdown(Shutdown::Write)?;
    let mut all = Vec::new();
    stream.read_to_end(&mut all)?;
    Ok(String::from_utf8_lossy(&all).into_owned())
}

/// Keeps as many connections as it gets.
fn hold(to: &str, times: u64, held: &mut Vec<TcpStream>) -> std::io::Result<String> {
    let (mut got, mut last) = (0, None);
    for _ in 0..times {
        match TcpStream::connect(to) {
            Ok(stream) => {
                got += 1;
                held.push(stream);
            }
            Err(error) => last = Some(error),
        }
    }
    Ok(format!("{got} of {times}, then {:?}", last.map(|error| error.kind())))
}

/// What it sets and reads back, and the addresses that it has.
fn options(to: &str) -> std::io::Result<String> {
    let stream = TcpStream::connect(to)?;
    stream.set_nodelay(true)?;
    stream.set_ttl(42)?;
    let (local, peer) = (stream.local_addr()?.ip(), stream.peer_addr()?.ip());
    Ok(format!("ttl {} from {local} to {peer}", stream.ttl()?))
}
