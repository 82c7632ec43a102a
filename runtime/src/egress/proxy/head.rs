//! The head of a request to an HTTP proxy: CONNECT and absolute form (RFC 9112, 3.2).
//! It never repairs: a head that two readers could read differently is refused.

use super::{Form, HEAD_BYTES_MAX, HEADERS_MAX, Misfit, Obstacle, Step, host};
use stockade_policy::Host;

/// Port of a URL that names none.
const HTTP_PORT: u16 = 80;

/// Status line of a refusal.
pub(super) const fn status(obstacle: Obstacle) -> &'static str {
    match obstacle {
        Obstacle::Forbidden => "403 Forbidden",
        Obstacle::Limited => "429 Too Many Requests",
        Obstacle::Unreachable => "502 Bad Gateway",
        Obstacle::Refused => "503 Service Unavailable",
        Obstacle::TimedOut => "504 Gateway Timeout",
        Obstacle::Failed => "500 Internal Server Error",
    }
}

/// A whole answer that ends the connection.
pub(super) fn reply(status: &str, text: &str) -> Vec<u8> {
    let length = text.len();
    let mut reply = format!(
        "HTTP/1.1 {status}\r\ncontent-type: text/plain; charset=utf-8\r\ncontent-length: {length}\r\n\
         connection: close\r\n\r\n"
    );
    reply.push_str(text);
    reply.into_bytes()
}

/// Reads the first request of a connection as far as needed to know what it is about. The first `seen` bytes were found
/// to have no end of a head and no stray characters.
pub(super) fn request(bytes: &[u8], seen: usize) -> Result<Step, Misfit> {
    let short = bytes.get(..HEAD_BYTES_MAX).unwrap_or(bytes);
    // The end may have begun among what was seen.
    let start = seen.saturating_sub(3);
    let end = short.get(start..).and_then(|new| new.windows(4).position(|four| four == b"\r\n\r\n"));
    let used = end.map(|end| start + end + 4);
    let head = short.get(..used.unwrap_or(short.len())).unwrap_or(short);
    plain(head, seen.min(head.len()))?;
    if used.is_none() {
        if bytes.len() >= HEAD_BYTES_MAX {
            let why = format!("the head of the request has more than {HEAD_BYTES_MAX} bytes");
            return Err(Misfit::new(why.clone(), reply("431 Request Header Fields Too Large", &line(&why))));
        }
        return Ok(Step::More);
    }
    whole(head)
}

/// Reads a head that ends where the bytes do.
fn whole(head: &[u8]) -> Result<Step, Misfit> {
    let used = head.len();
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut request = httparse::Request::new(&mut headers);
    match request.parse(head) {
        Ok(httparse::Status::Complete(length)) if length == used => {}
        Ok(_) => return Err(bad("the head of the request is malformed")),
        Err(error) => return Err(bad(&format!("the head of the request is malformed: {error}").to_lowercase())),
    }
    let (Some(method), Some(target)) = (request.method, request.path) else {
        return Err(bad("the head of the request is malformed"));
    };
    let (form, authority, port_default) = match method {
        "CONNECT" => (Form::Connect, target, None),
        _ => (Form::Absolute, absolute(target)?, Some(HTTP_PORT)),
    };
    let (host, port) = split(authority, port_default).map_err(|why| bad(&why).wanting(authority.as_bytes(), None))?;
    let misfit = |why: &str| bad(why).wanting(host.to_string().as_bytes(), Some(port));
    agrees(request.headers, &host, port, port_default).map_err(|why| misfit(&why))?;
    if form == Form::Connect {
        bodiless(request.headers).map_err(misfit)?;
    }
    Ok(Step::Done { host, port, form, used })
}

fn bad(why: &str) -> Misfit {
    Misfit::new(why, reply("400 Bad Request", &line(why)))
}

fn line(why: &str) -> String {
    format!("stockade: {why}\n")
}

/// Lines end with CR LF and nothing else: servers differ in what they make of either alone, and of NUL. httparse takes
/// a bare LF for a line's end. What comes before `start` was found to be plain.
fn plain(head: &[u8], start: usize) -> Result<(), Misfit> {
    let mut before = start.checked_sub(1).and_then(|last| head.get(last)).copied().unwrap_or_default();
    for &byte in head.get(start..).unwrap_or_default() {
        let is_stray = byte == 0 || (before == b'\r') != (byte == b'\n');
        if is_stray {
            return Err(bad("the head of the request has a stray control character"));
        }
        before = byte;
    }
    Ok(())
}

/// The authority of a target in absolute form.
fn absolute(target: &str) -> Result<&str, Misfit> {
    if target.starts_with('/') || target == "*" {
        return Err(bad("this is a proxy: requests name a whole URL, or connect to the host's own name"));
    }
    let Some((scheme, rest)) = target.split_once("://") else {
        return Err(bad("the target of the request is no URL"));
    };
    if scheme.eq_ignore_ascii_case("https") {
        return Err(bad("an https URL is asked for with CONNECT, so that its key stays between two ends"));
    }
    if !scheme.eq_ignore_ascii_case("http") {
        return Err(bad("only http URLs can be asked for"));
    }
    if target.contains(['#', '\\']) {
        return Err(bad("the target of the request has a fragment or a backslash"));
    }
    Ok(rest.split(['/', '?']).next().unwrap_or(rest))
}

/// Host and port of `host:port`, `host` or `[v6]:port`.
pub(super) fn split(authority: &str, port_default: Option<u16>) -> Result<(Host, u16), String> {
    let (name, port) = match authority.strip_prefix('[') {
        Some(rest) => {
            let (address, after) = rest.split_once(']').ok_or("the host has an open bracket")?;
            let port = match after.strip_prefix(':') {
                Some(port) => Some(port),
                None if after.is_empty() => None,
                None => return Err("something follows the host's bracket".to_owned()),
            };
            if !address.contains(':') {
                return Err("there is no IPv6 address in brackets".to_owned());
            }
            (address, port)
        }
        None => match authority.rsplit_once(':') {
            Some((name, _)) if name.contains(':') => return Err("an IPv6 address needs brackets".to_owned()),
            Some((name, port)) => (name, Some(port)),
            None => (authority, None),
        },
    };
    let port = match port {
        Some(text) => number(text).ok_or("the port is no number from 1 to 65535")?,
        None => port_default.ok_or("the port is missing")?,
    };
    Ok((host(name)?, port))
}

/// A port in its one spelling.
fn number(text: &str) -> Option<u16> {
    let plain = text.bytes().all(|byte| byte.is_ascii_digit()) && !text.starts_with('0');
    plain.then(|| text.parse().ok()).flatten()
}

/// There is at most one `Host`, and it means the target. Without a port it means the default one; in CONNECT, any.
fn agrees(headers: &[httparse::Header<'_>], host: &Host, port: u16, port_default: Option<u16>) -> Result<(), String> {
    let mut hosts = headers.iter().filter(|header| header.name.eq_ignore_ascii_case("host"));
    let Some(first) = hosts.next() else { return Ok(()) };
    if hosts.next().is_some() {
        return Err("the request has two Host headers".to_owned());
    }
    let text = std::str::from_utf8(first.value).map_err(|_| "the Host header is not ASCII".to_owned())?;
    match split(text.trim_matches([' ', '\t']), Some(port_default.unwrap_or(port))) {
        Ok(same) if same == (host.clone(), port) => Ok(()),
        Ok((other, at)) => Err(format!("the Host header names \"{other}\" port {at}, the target another")),
        Err(why) => Err(format!("the Host header is malformed: {why}")),
    }
}

/// A CONNECT has no body (RFC 9110, 9.3.6); one that says so would be read as the tunnel's first bytes by one reader and
/// be skipped by another.
fn bodiless(headers: &[httparse::Header<'_>]) -> Result<(), &'static str> {
    let is = |header: &httparse::Header<'_>, name: &str| header.name.eq_ignore_ascii_case(name);
    for header in headers {
        if is(header, "transfer-encoding") || (is(header, "content-length") && header.value != b"0") {
            return Err("a CONNECT has no body");
        }
    }
    Ok(())
}
