//! A company's proxy: which one, for which host, and how it is asked.
//! It never shows its password, and never falls back to another way.

use super::Load;
use super::stream::{Stream, Way};
use crate::egress::proxy::{HEAD_BYTES_MAX, authority};
use crate::egress::tls::Anchors;
use crate::error::{Error, Result};
use base64ct::{Base64, Encoding as _};
use bytes::BytesMut;
use http::HeaderValue;
use ipnet::IpNet;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use std::fmt;
use std::sync::Arc;
use stockade_policy::Host;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use zeroize::Zeroizing;

/// Port of clear HTTP, for which another proxy is taken than for all else.
const HTTP_PORT: u16 = 80;
/// What curl takes when a proxy's URL has no port.
const PORT_DEFAULT: u16 = 1080;
const TLS_PORT_DEFAULT: u16 = 443;

/// The proxies of a company, as its environment names them. The default is none.
#[derive(Debug, Default)]
pub struct Proxies {
    /// `HTTPS_PROXY`: for all that is not clear HTTP.
    https: Option<Company>,
    /// `HTTP_PROXY`: for clear HTTP, and for what cannot be read at its port.
    http: Option<Company>,
    except: Except,
}

impl Proxies {
    /// What has to be trusted to speak with them.
    pub fn anchors(&self) -> Anchors {
        let by_tls = |company: &Option<Company>| company.as_ref().is_some_and(|one| one.channel == Channel::Tls);
        if by_tls(&self.https) || by_tls(&self.http) { Anchors::System } else { Anchors::None }
    }
}

/// `NO_PROXY`, as curl reads it.
#[derive(Debug, Default, PartialEq, Eq)]
enum Except {
    /// Nothing goes around the proxy.
    #[default]
    Nothing,
    /// `*`
    All,
    These {
        /// Without dot at either end, lower case: the name and everything below it.
        names: Vec<String>,
        nets: Vec<IpNet>,
    },
}

/// One proxy.
pub(super) struct Company {
    channel: Channel,
    host: Host,
    port: u16,
    /// Value of `Proxy-Authorization`.
    authorization: Option<Zeroizing<String>>,
}

/// How requests in the clear are handed to a proxy, which sends them on itself (RFC 9112, 3.2.2): with whom they are for in
/// their target, and with the proxy's own credentials.
pub struct Forward {
    /// The proxy, without its credentials.
    pub proxy: String,
    authorization: Option<Zeroizing<String>>,
}

impl Forward {
    /// The value of `Proxy-Authorization`, where it wants one.
    ///
    /// # Errors
    /// Operator: no header can carry it.
    pub fn authorization(&self) -> Result<Option<HeaderValue>> {
        let value = self.authorization.as_ref().map(|value| HeaderValue::from_str(value));
        let mut value = value.transpose().map_err(|_| {
            Error::operator(format!("the credentials for proxy \"{}\" are none that a header can carry", self.proxy))
        })?;
        value.iter_mut().for_each(|value| value.set_sensitive(true));
        Ok(value)
    }
}

impl fmt::Debug for Forward {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Forward").field("proxy", &self.proxy).finish_non_exhaustive()
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Channel {
    Clear,
    Tls,
}

impl fmt::Display for Company {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = match self.channel {
            Channel::Clear => "http",
            Channel::Tls => "https",
        };
        write!(f, "{scheme}://{}", target(&self.host, self.port))
    }
}

impl fmt::Debug for Company {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Proxies {
    /// Reads the values of `HTTPS_PROXY`, `HTTP_PROXY` and `NO_PROXY`; an empty one counts as absent.
    ///
    /// # Errors
    /// Operator: a proxy's URL is none, or of a kind that we do not speak. The message does not repeat it: it can hold a
    /// password.
    pub fn parse(https: Option<&str>, http: Option<&str>, except: Option<&str>) -> Result<Self> {
        let company = |variable: &str, text: Option<&str>| {
            let text = text.map(str::trim).filter(|text| !text.is_empty());
            text.map(|text| Company::parse(variable, text)).transpose()
        };
        Ok(Self {
            https: company("HTTPS_PROXY", https)?,
            http: company("HTTP_PROXY", http)?,
            except: Except::parse(except.unwrap_or_default()),
        })
    }

    /// The proxy for a host, if there is one.
    pub(super) fn of(&self, host: &Host, port: u16, load: Load) -> Option<&Company> {
        let company = match load {
            Load::Requests | Load::Upgrade => &self.http,
            Load::Bytes if port == HTTP_PORT => &self.http,
            Load::Bytes => &self.https,
        };
        company.as_ref().filter(|_| !self.except.has(host))
    }
}

impl Except {
    fn parse(text: &str) -> Self {
        if text.trim() == "*" {
            return Self::All;
        }
        let (mut names, mut nets) = (Vec::new(), Vec::new());
        for word in text.split([',', ' ', '\t']).filter(|word| !word.is_empty()) {
            let bare = word.strip_prefix('[').and_then(|word| word.strip_suffix(']')).unwrap_or(word);
            match (bare.parse::<IpNet>(), bare.parse()) {
                (Ok(net), _) => nets.push(net),
                (Err(_), Ok(address)) => nets.push(IpNet::from(std::net::IpAddr::to_canonical(&address))),
                (Err(_), Err(_)) => {
                    let name = word.strip_suffix('.').unwrap_or(word);
                    names.push(name.strip_prefix('.').unwrap_or(name).to_ascii_lowercase());
                }
            }
        }
        names.retain(|name| !name.is_empty());
        if names.is_empty() && nets.is_empty() { Self::Nothing } else { Self::These { names, nets } }
    }

    fn has(&self, host: &Host) -> bool {
        match (self, host) {
            (Self::Nothing, _) => false,
            (Self::All, _) => true,
            (Self::These { nets, .. }, Host::Address(address)) => nets.iter().any(|net| net.contains(address)),
            (Self::These { names, .. }, Host::Name(host)) => names.iter().any(|name| {
                let before = host.as_str().strip_suffix(name.as_str());
                before.is_some_and(|before| before.is_empty() || before.ends_with('.'))
            }),
        }
    }
}

impl Company {
    fn parse(variable: &str, text: &str) -> Result<Self> {
        let refuse = |why: &str| {
            Error::operator(format!("{variable} {why}")).hint("write it as http://USER:PASSWORD@proxy.example:3128")
        };
        let (channel, rest) = match text.split_once("://") {
            None => (Channel::Clear, text),
            Some((scheme, rest)) if scheme.eq_ignore_ascii_case("http") => (Channel::Clear, rest),
            Some((scheme, rest)) if scheme.eq_ignore_ascii_case("https") => (Channel::Tls, rest),
            Some(_) => return Err(refuse("names a proxy that is neither http:// nor https://")),
        };
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        let (user, place) = match rest.rsplit_once('@') {
            Some((user, place)) => (Some(user), place),
            None => (None, rest),
        };
        let port_default = match channel {
            Channel::Clear => PORT_DEFAULT,
            Channel::Tls => TLS_PORT_DEFAULT,
        };
        let (host, port) = authority(place, Some(port_default)).map_err(|_| refuse("names no host and port"))?;
        let authorization =
            user.map(|user| basic(user).ok_or_else(|| refuse("has a user that is not percent-encoded")));
        Ok(Self { channel, host, port, authorization: authorization.transpose()? })
    }

    /// What each request to it has to have.
    pub(super) fn forward(&self) -> Forward {
        Forward { proxy: self.to_string(), authorization: self.authorization.clone() }
    }

    pub(super) fn host(&self) -> &Host {
        &self.host
    }

    pub(super) fn port(&self) -> u16 {
        self.port
    }

    /// A way to the proxy, to which `stream` is connected.
    pub(super) async fn way(&self, stream: TcpStream, tls: &Arc<ClientConfig>) -> std::result::Result<Way, String> {
        Ok(match self.channel {
            Channel::Clear => Way::Left(stream),
            Channel::Tls => {
                let name = ServerName::try_from(self.host.to_string()).map_err(|e| e.to_string())?;
                let connector = TlsConnector::from(Arc::clone(tls));
                let sealed = connector.connect(name, stream).await.map_err(|e| format!("TLS: {e}"))?;
                Way::Right(Box::new(sealed))
            }
        })
    }

    /// Asks the proxy for a host.
    pub(super) async fn connect(&self, mut way: Way, host: &Host, port: u16) -> std::result::Result<Stream, String> {
        let ahead = self.ask(&mut way, host, port).await?;
        Ok(Stream::behind(way, ahead.freeze()))
    }

    /// What came behind the proxy's consent.
    async fn ask<S>(&self, stream: &mut S, host: &Host, port: u16) -> std::result::Result<BytesMut, String>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let plain = |error: std::io::Error| crate::error::plain(&error);
        let target = target(host, port);
        let line =
            self.authorization.as_ref().map(|value| Zeroizing::new(format!("proxy-authorization: {}\r\n", **value)));
        let line = line.as_ref().map_or("", |line| line.as_str());
        let ask = Zeroizing::new(format!("CONNECT {target} HTTP/1.1\r\nhost: {target}\r\n{line}\r\n"));
        stream.write_all(ask.as_bytes()).await.map_err(plain)?;
        stream.flush().await.map_err(plain)?;
        let mut buffer = BytesMut::with_capacity(1024);
        loop {
            if let Some(used) = consent(&buffer)? {
                return Ok(buffer.split_off(used));
            }
            if buffer.len() >= HEAD_BYTES_MAX {
                return Err(format!("its answer has a head of more than {HEAD_BYTES_MAX} bytes"));
            }
            if stream.read_buf(&mut buffer).await.map_err(plain)? == 0 {
                return Err("it closed the connection without an answer".to_owned());
            }
        }
    }
}

/// The length of an answer that lets us through, once it is whole.
fn consent(bytes: &[u8]) -> std::result::Result<Option<usize>, String> {
    let mut headers = [httparse::EMPTY_HEADER; crate::egress::proxy::HEADERS_MAX];
    let mut response = httparse::Response::new(&mut headers);
    match response.parse(bytes) {
        Ok(httparse::Status::Partial) => Ok(None),
        Ok(httparse::Status::Complete(used)) => match response.code {
            Some(200..=299) => Ok(Some(used)),
            // Some say that they are the server, tinyproxy among them.
            Some(code @ (401 | 407)) => Err(format!("it wants other credentials ({code})")),
            code => Err(format!("it answers {}", code.unwrap_or_default())),
        },
        Err(error) => Err(format!("its answer is malformed: {error}")),
    }
}

fn target(host: &Host, port: u16) -> String {
    match host {
        Host::Address(std::net::IpAddr::V6(address)) => format!("[{address}]:{port}"),
        Host::Address(std::net::IpAddr::V4(_)) | Host::Name(_) => format!("{host}:{port}"),
    }
}

/// The value of `Proxy-Authorization` for `user:password`, each percent-encoded.
fn basic(user: &str) -> Option<Zeroizing<String>> {
    let (user, password) = user.split_once(':').unwrap_or((user, ""));
    let (user, password) = (decoded(user)?, decoded(password)?);
    let mut pair = Zeroizing::new(Vec::with_capacity(user.len() + 1 + password.len()));
    pair.extend_from_slice(&user);
    pair.push(b':');
    pair.extend_from_slice(&password);
    let encoded = Zeroizing::new(Base64::encode_string(&pair));
    Some(Zeroizing::new(format!("Basic {}", *encoded)))
}

fn decoded(text: &str) -> Option<Zeroizing<Vec<u8>>> {
    let mut out = Zeroizing::new(Vec::with_capacity(text.len()));
    let mut rest = text.as_bytes();
    loop {
        match rest {
            [] => return Some(out),
            [b'%', high, low, after @ ..] => {
                let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
                out.push((digit(*high)? << 4) | digit(*low)?);
                rest = after;
            }
            [b'%', ..] => return None,
            [byte, after @ ..] => {
                out.push(*byte);
                rest = after;
            }
        }
    }
}
