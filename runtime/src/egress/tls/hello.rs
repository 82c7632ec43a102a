//! Reads what a TLS client says first (RFC 8446, 4.1.2), without taking part in the handshake.
//! It never decides, and never looks beyond that one message.

use stockade_policy::Host;

/// Longest hello that is read, bytes; post-quantum key shares make hellos of 2 KiB, nothing makes one of 64.
pub const HELLO_BYTES_MAX: usize = 64 * 1024;

const RECORD_HANDSHAKE: u8 = 22;
const RECORD_BYTES_MAX: usize = 16 * 1024;
const MESSAGE_CLIENT_HELLO: u8 = 1;
const EXTENSION_SERVER_NAME: u16 = 0;
const EXTENSION_ECH: u16 = 0xfe0d;
/// The draft's way to say the same.
const EXTENSION_ESNI: u16 = 0xffce;
const NAME_TYPE_HOST: u8 = 0;

const _: () = assert!(RECORD_BYTES_MAX < HELLO_BYTES_MAX);

/// What a hello says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientHello {
    /// The name that the client wants to reach; `None` where it says none, as for an address.
    pub server_name: Option<Host>,
    /// Whether it says another name where only the server can read it.
    pub encrypted: Encrypted,
}

/// Whether a hello has an encrypted one inside (ECH). Browsers send one that is noise (RFC 8701), and no reader can
/// tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encrypted {
    /// No.
    No,
    /// Perhaps.
    Perhaps,
}

/// A hello that arrives in pieces. Each byte is looked at once, so that one byte a segment costs no more than one read.
#[derive(Debug, Default)]
pub struct Hello {
    /// Where the next record begins.
    at: usize,
    /// The handshake message, without the records around it.
    message: Vec<u8>,
}

impl Hello {
    /// Goes on with everything that came so far; `None` until the hello is complete.
    ///
    /// # Errors
    /// It is no client hello, or is longer than [`HELLO_BYTES_MAX`].
    pub fn read(&mut self, so_far: &[u8]) -> Result<Option<ClientHello>, &'static str> {
        while let Some(record) = self.next_record(so_far)? {
            self.message.extend_from_slice(record);
            if let Some(body) = self.body()? {
                return client_hello(body).ok_or("malformed TLS hello").and_then(|made| made).map(Some);
            }
        }
        if so_far.len() >= HELLO_BYTES_MAX { Err("TLS hello of more than 64 KiB") } else { Ok(None) }
    }

    fn next_record<'a>(&mut self, so_far: &'a [u8]) -> Result<Option<&'a [u8]>, &'static str> {
        let mut rest = Rest(so_far.get(self.at..).unwrap_or_default());
        let (Some(kind), Some(major), Some(_minor)) = (rest.byte(), rest.byte(), rest.byte()) else { return Ok(None) };
        if kind != RECORD_HANDSHAKE || major != 3 {
            return Err("no TLS handshake");
        }
        let Some(length) = rest.two() else { return Ok(None) };
        if length == 0 || usize::from(length) > RECORD_BYTES_MAX {
            return Err("TLS record of no possible length");
        }
        let Some(record) = rest.take(usize::from(length)) else { return Ok(None) };
        self.at += 5 + record.len();
        Ok(Some(record))
    }

    /// The message's body, once it is complete.
    fn body(&self) -> Result<Option<&[u8]>, &'static str> {
        let mut rest = Rest(&self.message);
        match rest.byte() {
            Some(MESSAGE_CLIENT_HELLO) => {}
            Some(_) => return Err("a TLS handshake that does not begin with a hello"),
            None => return Ok(None),
        }
        let (Some(high), Some(low)) = (rest.byte(), rest.two()) else { return Ok(None) };
        let length = usize::from(high) << 16 | usize::from(low);
        if length > HELLO_BYTES_MAX {
            return Err("TLS hello of more than 64 KiB");
        }
        Ok(rest.take(length))
    }
}

/// `None`: it ends before it should.
fn client_hello(body: &[u8]) -> Option<Result<ClientHello, &'static str>> {
    let mut rest = Rest(body);
    rest.take(2 + 32)?;
    let session = rest.byte()?;
    rest.take(usize::from(session))?;
    let suites = rest.two()?;
    rest.take(usize::from(suites))?;
    let compressions = rest.byte()?;
    rest.take(usize::from(compressions))?;
    let mut hello = ClientHello { server_name: None, encrypted: Encrypted::No };
    if rest.0.is_empty() {
        return Some(Ok(hello));
    }
    let length = rest.two()?;
    let mut extensions = Rest(rest.take(usize::from(length))?);
    let mut named = false;
    while !extensions.0.is_empty() {
        let kind = extensions.two()?;
        let length = extensions.two()?;
        let content = extensions.take(usize::from(length))?;
        match kind {
            EXTENSION_SERVER_NAME if named => return Some(Err("TLS hello with two server names")),
            EXTENSION_SERVER_NAME => {
                named = true;
                match server_name(content)? {
                    Ok(name) => hello.server_name = Some(name),
                    Err(why) => return Some(Err(why)),
                }
            }
            EXTENSION_ECH | EXTENSION_ESNI => hello.encrypted = Encrypted::Perhaps,
            _ => {}
        }
    }
    Some(Ok(hello))
}

/// The one name of the extension (RFC 6066, 3).
fn server_name(content: &[u8]) -> Option<Result<Host, &'static str>> {
    let mut rest = Rest(content);
    let length = rest.two()?;
    let mut list = Rest(rest.take(usize::from(length))?);
    if !rest.0.is_empty() {
        return None;
    }
    let kind = list.byte()?;
    let length = list.two()?;
    let name = list.take(usize::from(length))?;
    if kind != NAME_TYPE_HOST || !list.0.is_empty() {
        return Some(Err("TLS hello with more than one server name"));
    }
    let host = std::str::from_utf8(name).ok().and_then(|name| Host::parse(name).ok());
    Some(host.ok_or("TLS hello with a server name that is none"))
}

/// What is left to read.
struct Rest<'a>(&'a [u8]);

impl<'a> Rest<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    fn byte(&mut self) -> Option<u8> {
        self.take(1)?.first().copied()
    }

    fn two(&mut self) -> Option<u16> {
        self.take(2)?.try_into().ok().map(u16::from_be_bytes)
    }
}

#[cfg(test)]
#[path = "hello_tests.rs"]
mod tests;
