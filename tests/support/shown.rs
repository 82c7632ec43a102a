//! What a server inside answers, asked from this machine.
//! It never reaches for another machine than this one's loopback.

use crate::story::{Stop, must};
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

/// Between tries.
const PAUSE: Duration = Duration::from_millis(50);

/// The answer to a request, tried until the server listens.
///
/// # Errors
/// Nobody is at the address, or nothing is answered for as long as `patience`.
pub fn get(address: &str, path: &str, patience: Duration) -> Result<String, Stop> {
    let until = Instant::now() + patience;
    loop {
        let mut stream = TcpStream::connect(address)?;
        stream.set_read_timeout(Some(patience))?;
        let mut answer = Vec::new();
        // Before the server listens the connection ends, in whatever way.
        drop(stream.write_all(format!("GET {path} HTTP/1.0\r\n\r\n").as_bytes()));
        drop(stream.read_to_end(&mut answer));
        if !answer.is_empty() {
            return Ok(String::from_utf8_lossy(&answer).into_owned());
        }
        must(Instant::now() < until, || format!("{address} never answers"))?;
        std::thread::sleep(PAUSE);
    }
}
