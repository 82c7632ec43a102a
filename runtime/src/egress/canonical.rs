//! The one form of a request: what is judged is what is sent.
//! It never decides whether a request may go.

mod fields;
mod path;

pub(super) use fields::{reply, trailers};

use http::header::{HOST, HeaderMap};
use http::request::Parts;
use http::uri::Authority;
use http::{StatusCode, Version};
use stockade_policy::{Host, Method, UrlPath};

/// Fields of one request, at most; HTTP/2 counts bytes only, so it is counted here for both.
const FIELDS_MAX: usize = 100;

/// Whether what goes to an upstream is encrypted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Channel {
    /// Under TLS, verified.
    Tls,
    /// In the clear.
    Clear,
}

impl Channel {
    /// Scheme of its URLs.
    pub(super) const fn scheme(self) -> &'static str {
        match self {
            Self::Tls => "https",
            Self::Clear => "http",
        }
    }

    /// The port of its URLs that name none.
    pub(super) const fn port(self) -> u16 {
        match self {
            Self::Tls => 443,
            Self::Clear => 80,
        }
    }
}

/// Where a connection goes: the one authority that requests on it may be for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Destination {
    pub(super) host: Host,
    pub(super) port: u16,
    pub(super) channel: Channel,
}

impl Destination {
    /// As it stands in `Host` and `:authority`.
    pub(super) fn authority(&self) -> String {
        let host = match &self.host {
            Host::Address(std::net::IpAddr::V6(address)) => format!("[{address}]"),
            host @ (Host::Address(_) | Host::Name(_)) => host.to_string(),
        };
        if self.port == self.channel.port() { host } else { format!("{host}:{}", self.port) }
    }
}

/// What a request asks its connection to become.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Nothing else.
    Plain,
    /// A WebSocket (RFC 6455).
    WebSocket,
}

/// A request in its one form.
#[derive(Debug)]
pub(super) struct Canonical {
    pub(super) method: Method,
    pub(super) path: UrlPath,
    /// As it came: servers differ about the meaning of every escape in it.
    pub(super) query: Option<String>,
    /// Without those that were about the connection.
    pub(super) headers: HeaderMap,
    pub(super) kind: Kind,
    /// Methods that the request asks a server to take in place of its own: each must be granted too.
    pub(super) overrides: Vec<Method>,
    /// Whether the client reads trailers, which gRPC's servers want to be told.
    pub(super) trailers: Trailers,
}

/// Whether a client said that it reads trailers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Trailers {
    /// `TE: trailers`.
    Wanted,
    /// Not said.
    Unsaid,
}

/// What makes a request none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Misfit {
    pub(super) status: StatusCode,
    pub(super) what: String,
    pub(super) hint: String,
}

impl Misfit {
    fn new(what: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { status: StatusCode::BAD_REQUEST, what: what.into(), hint: hint.into() }
    }

    fn with(self, status: StatusCode) -> Self {
        Self { status, ..self }
    }
}

/// Reads a request that came on a connection to `to`.
///
/// # Errors
/// Two readers could take it for two requests, or for one to another host.
pub(super) fn read(parts: Parts, to: &Destination) -> Result<Canonical, Misfit> {
    if parts.headers.len() > FIELDS_MAX {
        let made = Misfit::new(format!("a request with more than {FIELDS_MAX} header fields"), "send fewer");
        return Err(made.with(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE));
    }
    let method = method(parts.method.as_str())?;
    one_authority(&parts, to)?;
    let path = path::canonical(parts.uri.path())?;
    let query = parts.uri.query().map(path::query).transpose()?;
    let mut overrides = path::overrides(query.as_deref())?;
    let read = fields::request(parts.headers, to, &method, parts.version)?;
    overrides.extend(read.overrides);
    Ok(Canonical { method, path, query, headers: read.headers, kind: read.kind, overrides, trailers: read.trailers })
}

/// What a request that came on a connection to a host comes to: method, path, query and fields as they are sent, `None`
/// where it is refused. For tests with hostile requests, which need no connection.
pub fn check(
    parts: Parts,
    (host, port, channel): (Host, u16, Channel),
) -> Option<(Method, UrlPath, Option<String>, HeaderMap)> {
    let read = read(parts, &Destination { host, port, channel }).ok()?;
    Some((read.method, read.path, read.query, read.headers))
}

fn method(text: &str) -> Result<Method, Misfit> {
    let refuse = |what: &str, hint: &str| Err(Misfit::new(what, hint).with(StatusCode::METHOD_NOT_ALLOWED));
    match text {
        "CONNECT" => refuse("CONNECT inside a connection", "connect to the host itself: its name resolves in here"),
        // It gives back what was sent, with the secret that was put in (RFC 9110, 9.3.8).
        "TRACE" | "TRACK" => refuse("a request to send back what was sent", "use another method"),
        text => Method::parse(text).map_err(|flaw| Misfit::new(flaw.what, flaw.hint)),
    }
}

/// Holds the request's target, its `Host` and its connection together.
fn one_authority(parts: &Parts, to: &Destination) -> Result<(), Misfit> {
    let mut hosts = parts.headers.get_all(HOST).iter();
    let host = hosts.next();
    if hosts.next().is_some() {
        return Err(Misfit::new("a request with two Host fields", "send one"));
    }
    let target = parts.uri.authority().map(Authority::as_str);
    let host = match host.map(|value| value.to_str()) {
        Some(Ok(text)) => Some(text),
        Some(Err(_)) => {
            return Err(Misfit::new("a Host field that is not ASCII", "write the name in its \"xn--\" form"));
        }
        None => None,
    };
    if target.is_none() && host.is_none() && parts.version >= Version::HTTP_11 {
        return Err(Misfit::new("a request without Host", "say which host it is for"));
    }
    for said in [target, host].into_iter().flatten() {
        let (said_host, said_port) = authority(said)?;
        if said_host != to.host || said_port.is_some_and(|port| port != to.port) {
            let what = format!("a request for \"{}\" on a connection to \"{}\"", short(said), to.authority());
            let hint = "open a connection to each host; what a name leads to is decided when it is connected to";
            return Err(Misfit::new(what, hint).with(StatusCode::MISDIRECTED_REQUEST));
        }
    }
    match parts.uri.scheme_str() {
        Some(scheme) if scheme != to.channel.scheme() => {
            let what = format!("a URL with \"{}\" on a connection that speaks {}", short(scheme), to.channel.scheme());
            Err(Misfit::new(what, "say what it is"))
        }
        Some(_) | None => Ok(()),
    }
}

/// Host and port of an authority. User information is refused: it is how one host is dressed as another.
fn authority(text: &str) -> Result<(Host, Option<u16>), Misfit> {
    let wrong = |hint: String| Misfit::new(format!("the host \"{}\" is none", short(text)), hint);
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let (host, rest) = rest.split_once(']').ok_or_else(|| wrong("close the bracket".to_owned()))?;
            if !host.contains(':') {
                return Err(wrong("only IPv6 addresses have brackets".to_owned()));
            }
            match rest.strip_prefix(':') {
                Some(port) => (host, Some(port)),
                None if rest.is_empty() => (host, None),
                None => return Err(wrong("write host:port".to_owned())),
            }
        }
        None => match text.rsplit_once(':') {
            Some((host, _)) if host.contains(':') => return Err(wrong("put brackets around IPv6".to_owned())),
            Some((host, port)) => (host, Some(port)),
            None => (text, None),
        },
    };
    let host = Host::parse(host).map_err(|flaw| wrong(flaw.hint))?;
    let port = match port {
        None | Some("") => None,
        Some(digits) if digits.bytes().all(|c| c.is_ascii_digit()) => {
            Some(digits.parse().map_err(|_| wrong("a port is at most 65535".to_owned()))?)
        }
        Some(_) => return Err(wrong("a port is a number".to_owned())),
    };
    Ok((host, port))
}

/// A guest's text as far as a message needs it.
fn short(text: &str) -> String {
    const SHOWN_CHARS_MAX: usize = 120;
    match text.char_indices().nth(SHOWN_CHARS_MAX) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text.to_owned(),
    }
}

#[cfg(test)]
#[path = "canonical/tests.rs"]
mod tests;
