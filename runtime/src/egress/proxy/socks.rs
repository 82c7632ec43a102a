//! SOCKS 4, 4a (its memos) and 5 (RFC 1928): the request to connect, nothing else.
//! It never takes a password: whoever is inside is known by the socket.

use super::{Form, Misfit, Obstacle, Step, host};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use stockade_policy::Host;

pub(super) const GRANTED_4: &[u8] = &[0, 0x5a, 0, 0, 0, 0, 0, 0];
pub(super) const REFUSED_4: &[u8] = &[0, 0x5b, 0, 0, 0, 0, 0, 0];
pub(super) const GRANTED_5: &[u8] = &refused_5(0);
const NO_PASSWORD: &[u8] = &[5, 0];
const NO_METHOD: &[u8] = &[5, 0xff];

/// Longest user name of version 4, which is thrown away.
const USER_BYTES_MAX: usize = 255;
/// Longest host name that version 4a can carry here; version 5 has one byte for the length.
const NAME_BYTES_MAX: usize = 255;

const FAILED: u8 = 1;
const FORBIDDEN: u8 = 2;
const UNREACHABLE: u8 = 4;
const REFUSED: u8 = 5;
const NO_SUCH_COMMAND: u8 = 7;
const NO_SUCH_ADDRESS: u8 = 8;

/// A reply of version 5 with no address bound.
pub(super) const fn refused_5(code: u8) -> [u8; 10] {
    [5, code, 0, 1, 0, 0, 0, 0, 0, 0]
}

pub(super) const fn code(obstacle: Obstacle) -> u8 {
    match obstacle {
        Obstacle::Forbidden | Obstacle::Limited => FORBIDDEN,
        Obstacle::Unreachable | Obstacle::TimedOut => UNREACHABLE,
        Obstacle::Refused => REFUSED,
        Obstacle::Failed => FAILED,
    }
}

/// The methods that a client offers: one of them must be to need none.
pub(super) fn greeting_5(bytes: &[u8]) -> Result<Step, Misfit> {
    let [_, count, rest @ ..] = bytes else { return Ok(Step::More) };
    let Some(methods) = rest.get(..usize::from(*count)) else { return Ok(Step::More) };
    if methods.contains(&0) {
        return Ok(Step::Answer(NO_PASSWORD, 2 + methods.len()));
    }
    Err(Misfit::new("the SOCKS client insists on authentication, which this proxy does not take", NO_METHOD))
}

/// `05 CMD 00 ATYP … PORT`
pub(super) fn request_5(bytes: &[u8]) -> Result<Step, Misfit> {
    let refuse = |code: u8, why: String| Err(Misfit::new(why, refused_5(code)));
    let [version, command, reserved, kind, rest @ ..] = bytes else { return Ok(Step::More) };
    if (*version, *reserved) != (5, 0) {
        return refuse(FAILED, "the SOCKS request is malformed".to_owned());
    }
    if *command != 1 {
        return refuse(NO_SUCH_COMMAND, format!("SOCKS command {command} was asked for, only connecting is possible"));
    }
    let (named, after) = match (kind, rest) {
        (1, [a, b, c, d, after @ ..]) => (Ok(Host::Address(Ipv4Addr::new(*a, *b, *c, *d).into())), after),
        (3, [length, rest @ ..]) => match rest.split_at_checked(usize::from(*length)) {
            Some((name, after)) => (named(name), after),
            None => return Ok(Step::More),
        },
        (4, rest) => match rest.split_first_chunk::<16>() {
            Some((octets, after)) => (Ok(Host::Address(IpAddr::V6(Ipv6Addr::from(*octets)).to_canonical())), after),
            None => return Ok(Step::More),
        },
        (1 | 3, _) => return Ok(Step::More),
        (kind, _) => return refuse(NO_SUCH_ADDRESS, format!("SOCKS address type {kind} does not exist")),
    };
    let [high, low, ..] = after else { return Ok(Step::More) };
    let port = u16::from_be_bytes([*high, *low]);
    let used = bytes.len() - after.len() + 2;
    done(named, port, Form::Socks5, used, &refused_5(FORBIDDEN))
}

/// `04 CMD PORT ADDRESS USER 00 [NAME 00]`
pub(super) fn request_4(bytes: &[u8]) -> Result<Step, Misfit> {
    let refuse = |why: String| Err(Misfit::new(why, REFUSED_4));
    let [_, command, high, low, a, b, c, d, rest @ ..] = bytes else { return Ok(Step::More) };
    if *command != 1 {
        return refuse(format!("SOCKS command {command} was asked for, only connecting is possible"));
    }
    let port = u16::from_be_bytes([*high, *low]);
    let after = match until_nul(rest, USER_BYTES_MAX) {
        Text::Whole(_, after) => after,
        Text::Open => return Ok(Step::More),
        Text::TooLong => return refuse(format!("the SOCKS user name has more than {USER_BYTES_MAX} bytes")),
    };
    // 0.0.0.x with x other than zero announces a name (SOCKS 4a).
    let (named, after) = match [*a, *b, *c, *d] {
        [0, 0, 0, 1..=255] => match until_nul(after, NAME_BYTES_MAX) {
            Text::Whole(name, after) => (named(name), after),
            Text::Open => return Ok(Step::More),
            Text::TooLong => return refuse(format!("the SOCKS host name has more than {NAME_BYTES_MAX} bytes")),
        },
        octets => (Ok(Host::Address(Ipv4Addr::from(octets).into())), after),
    };
    done(named, port, Form::Socks4, bytes.len() - after.len(), REFUSED_4)
}

fn done(named: Result<Host, Unnamed>, port: u16, form: Form, used: usize, refusal: &[u8]) -> Result<Step, Misfit> {
    match named {
        Ok(host) if port > 0 => Ok(Step::Done { host, port, form, used }),
        Ok(host) => Err(Misfit::new("port 0 is no port", refusal).wanting(host.to_string().as_bytes(), Some(0))),
        Err(Unnamed { why, name }) => Err(Misfit::new(why, refusal).wanting(&name, Some(port))),
    }
}

/// Bytes that name no host.
struct Unnamed {
    why: String,
    name: Vec<u8>,
}

fn named(name: &[u8]) -> Result<Host, Unnamed> {
    let text = std::str::from_utf8(name).map_err(|_| "the host is not ASCII".to_owned());
    text.and_then(host).map_err(|why| Unnamed { why, name: name.to_vec() })
}

/// A text that ends with NUL.
enum Text<'a> {
    Whole(&'a [u8], &'a [u8]),
    Open,
    TooLong,
}

fn until_nul(bytes: &[u8], max: usize) -> Text<'_> {
    match bytes.iter().take(max + 1).position(|byte| *byte == 0) {
        Some(end) => match bytes.split_at_checked(end) {
            Some((text, [_, after @ ..])) => Text::Whole(text, after),
            Some((_, [])) | None => Text::Open,
        },
        None if bytes.len() > max => Text::TooLong,
        None => Text::Open,
    }
}
