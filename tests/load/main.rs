//! A load for the bench of the outlet, and the server that it is for: HTTP/1.1 over TLS, and little else.
//! It never measures in two ways: what runs inside a stockade, without one and through another proxy is this same program.
//!
//! `stockade-load serve CERT KEY` prints `{"port":PORT}`, answers on the loopback, and ends with its standard input.
//! `stockade-load drive to=ADDRESS name=HOST ca=FILE [via=ADDRESS] [bearer=VARIABLE]` takes a command from each line and
//! answers it by a line of JSON; see [`driver`].

mod client;
mod driver;
mod server;

type Failure = Box<dyn std::error::Error + Send + Sync>;

const USAGE: &str =
    "usage: stockade-load serve CERT KEY | drive to=ADDRESS name=HOST ca=FILE [via=ADDRESS] [bearer=VARIABLE]";

fn main() -> Result<(), Failure> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    // One thread on each side: a machine of few cores has to hold the proxy between them too.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    match words.as_slice() {
        ["serve", certificate, key] => runtime.block_on(server::serve(certificate.as_ref(), key.as_ref())),
        ["drive", settings @ ..] => runtime.block_on(driver::drive(client::Target::parse(settings)?)),
        _ => Err(USAGE.into()),
    }
}
