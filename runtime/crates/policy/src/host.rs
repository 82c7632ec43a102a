//! Hosts and the patterns that grant them.
//! It never resolves a name; text that some resolver could read as an address in disguise is refused.

use crate::name::{Flaw, plain};
use alloc::format;
use alloc::string::String;
use core::fmt;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Longest host name, bytes (RFC 1035, without the root's dot).
pub const HOST_BYTES_MAX: usize = 253;

/// A host: a name in lower case, or an address.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Host {
    /// A DNS name, ASCII, lower case, without trailing dot.
    Name(HostName),
    /// An IPv4 or IPv6 address.
    Address(IpAddr),
}

/// A DNS name, ASCII, lower case, without trailing dot.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HostName(String);

impl HostName {
    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Host {
    /// Reads a name or an address; letters become lower case, since names do not distinguish them (RFC 4343).
    ///
    /// # Errors
    /// Anything that two readers could take for two hosts: `127.1`, `0x7f.1`, `2130706433`, a trailing dot, user
    /// information, a zone, Unicode, NUL.
    pub fn parse(text: &str) -> Result<Self, Flaw> {
        let text = plain(text, "host", HOST_BYTES_MAX)?;
        if let Ok(address) = text.parse::<Ipv4Addr>() {
            return Ok(Self::Address(IpAddr::V4(address)));
        }
        if text.contains(':') {
            return match text.parse::<Ipv6Addr>() {
                Ok(address) => Ok(Self::Address(IpAddr::V6(address))),
                Err(_) => {
                    let hint = "a port belongs into ports, an IPv6 address is written without brackets and zone";
                    Err(Flaw::new(format!("host \"{text}\" is neither a name nor an address"), hint))
                }
            };
        }
        Ok(Self::Name(host_name(text)?))
    }
}

fn host_name(text: &str) -> Result<HostName, Flaw> {
    let refuse = |why: &str, hint: &str| Err(Flaw::new(format!("host \"{text}\" {why}"), hint));
    if !text.is_ascii() {
        return refuse("is not ASCII", "write the name in its \"xn--\" form");
    }
    if text.ends_with('.') {
        return refuse("has a trailing dot", "remove the dot");
    }
    for label in text.split('.') {
        if label.is_empty() {
            return refuse("has an empty label", "write one dot between labels");
        }
        if label.len() > 63 {
            return refuse("has a label of more than 63 bytes", "no such name can exist");
        }
        if label.starts_with('-') || label.ends_with('-') {
            return refuse("has a label with \"-\" at its edge", "no such name can exist");
        }
        if let Some(c) = label.chars().find(|&c| !(c.is_ascii_alphanumeric() || matches!(c, '-' | '_'))) {
            return refuse(&format!("has the character \"{c}\""), "write the bare name: no scheme, port, path or user");
        }
    }
    // WHATWG URL: a host whose last label is a number is an address in one of its many spellings.
    let last = text.rsplit('.').next().unwrap_or(text).to_ascii_lowercase();
    let hex = last.strip_prefix("0x").is_some_and(|digits| digits.chars().all(|c| c.is_ascii_hexdigit()));
    if hex || last.chars().all(|c| c.is_ascii_digit()) {
        return refuse("ends in a number, but is no plain address", "write four decimal numbers without leading zeros");
    }
    Ok(HostName(text.to_ascii_lowercase()))
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => f.write_str(&name.0),
            Self::Address(address) => address.fmt(f),
        }
    }
}

/// Which hosts a rule is about. The order is by how specific a pattern is, the most specific last.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum HostPattern {
    /// `*.example.com`: every name below, at any depth, never `example.com` itself.
    Below(HostName),
    /// One name.
    Name(HostName),
    /// One address.
    Address(IpAddr),
}

impl HostPattern {
    /// Reads an exact host or `*.suffix`.
    ///
    /// # Errors
    /// `*` elsewhere, and what [`Host::parse`] refuses.
    pub fn parse(text: &str) -> Result<Self, Flaw> {
        let text = plain(text, "host", HOST_BYTES_MAX)?;
        if text == "*" {
            let hint = "name the hosts: a policy for all of them would be none";
            return Err(Flaw::new("host \"*\" is the whole network", hint));
        }
        match text.strip_prefix("*.") {
            Some(suffix) if !suffix.contains('*') => match Host::parse(suffix)? {
                Host::Name(name) => Ok(Self::Below(name)),
                Host::Address(_) => {
                    Err(Flaw::new(format!("host \"{text}\" cannot match"), "an address has no names below it"))
                }
            },
            None if !text.contains('*') => Ok(match Host::parse(text)? {
                Host::Name(name) => Self::Name(name),
                Host::Address(address) => Self::Address(address),
            }),
            Some(_) | None => {
                let hint = "\"*.\" can stand once, at the start, for every name below the rest";
                Err(Flaw::new(format!("host \"{text}\" has \"*\" where none can be"), hint))
            }
        }
    }

    /// Whether the pattern names `host`.
    pub fn matches(&self, host: &Host) -> bool {
        match (self, host) {
            (Self::Below(suffix), Host::Name(name)) => {
                name.0.strip_suffix(suffix.as_str()).is_some_and(|rest| rest.len() > 1 && rest.ends_with('.'))
            }
            (Self::Name(want), Host::Name(name)) => want == name,
            (Self::Address(want), Host::Address(address)) => want == address,
            (Self::Below(_) | Self::Name(_), Host::Address(_)) | (Self::Address(_), Host::Name(_)) => false,
        }
    }

    /// Whether every host of `other` is one of this pattern.
    pub fn covers(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Below(_), Self::Name(name)) => self.matches(&Host::Name(name.clone())),
            (Self::Below(suffix), Self::Below(name)) => suffix == name || self.matches(&Host::Name(name.clone())),
            _ => self == other,
        }
    }

    /// Length of the name, so that of two patterns that match, the longer is the more specific.
    pub(crate) fn rank(&self) -> (u8, usize) {
        match self {
            Self::Below(name) => (0, name.0.len()),
            Self::Name(_) | Self::Address(_) => (1, 0),
        }
    }
}

impl fmt::Display for HostPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Below(name) => write!(f, "*.{}", name.0),
            Self::Name(name) => f.write_str(&name.0),
            Self::Address(address) => address.fmt(f),
        }
    }
}
