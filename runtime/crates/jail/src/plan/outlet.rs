//! What a plan says about a way out: sockets that are made inside and handed out, and files that lead to them.
//! It never opens or makes anything.

use super::path_text;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};
use sha2::{Digest as _, Sha256};
use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;

/// Sockets of one outlet at most. They travel in one message, which the kernel lets carry 253 descriptors (unix(7)).
pub const OUTLET_SOCKETS_MAX: usize = 128;

/// A socket that is made inside and handed out. Each is close-on-exec and never blocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OutletSocket {
    /// A TCP listener. `getsockname` of what it accepts is where the client wanted to go.
    Tcp {
        /// The one address that it listens on; `None`: every address, of both families (v4-mapped on one socket).
        address: Option<IpAddr>,
        /// Its port.
        port: u16,
    },
    /// A UDP socket on every address, of both families. Each datagram comes with the address that it was sent to
    /// (`IPV6_PKTINFO`, v4-mapped; `IP_PKTINFO` where the machine has no IPv6), and can be answered from there.
    Udp {
        /// Its port.
        port: u16,
    },
    /// A packet socket: from the network header on, the first 128 bytes of each TCP segment that opens a connection and
    /// of each UDP datagram, to any address but the sandbox's own. (IPv6 with extension headers: whatever it carries.)
    Refusals,
}

/// A file of ours over paths inside.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cover {
    /// Paths inside that show it; none leads through a symbolic link.
    #[serde(with = "path_text::list")]
    pub paths: Vec<PathBuf>,
    /// What they show.
    pub content: Content,
    /// Permission bits.
    pub mode: u32,
}

/// The content of a covering file: as text it is its length and SHA-256.
#[derive(Clone, PartialEq, Eq)]
pub struct Content(Vec<u8>);

impl Content {
    /// These bytes.
    pub fn new(bytes: impl Into<Vec<u8>>) -> Self {
        Self(bytes.into())
    }

    /// The bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Display for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes, SHA-256 ", self.0.len())?;
        Sha256::digest(&self.0).iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Content({self})")
    }
}

impl Serialize for Content {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&path_text::escape_bytes(&self.0))
    }
}

impl<'de> Deserialize<'de> for Content {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        path_text::unescape(&text).map(Self).ok_or_else(|| D::Error::custom("a content with a broken escape"))
    }
}

impl fmt::Display for OutletSocket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp { address: None, port } => write!(f, "tcp port {port} of every address"),
            Self::Tcp { address: Some(address), port } => write!(f, "tcp port {port} of {address}"),
            Self::Udp { port } => write!(f, "udp port {port} of every address"),
            Self::Refusals => f.write_str("copies of what opens a connection, and of datagrams"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::{Plan, SessionStep, Wall};

    fn plan(content: &[u8]) -> Plan {
        let file = Cover { paths: vec!["/a".into(), "/\\b".into()], content: Content::new(content), mode: 0o444 };
        let sockets = vec![OutletSocket::Tcp { address: None, port: 443 }, OutletSocket::Refusals];
        let outlet = SessionStep::Outlet {
            address: std::net::Ipv4Addr::new(198, 18, 0, 3),
            address_v6: std::net::Ipv6Addr::LOCALHOST,
            sockets,
        };
        let session = vec![outlet, SessionStep::Cover { files: vec![file] }];
        Plan { wall: Wall::Namespaces, host: Vec::new(), session, call: Vec::new() }
    }

    #[test]
    fn a_plan_with_covers_is_read_back_whole() {
        for content in [&b""[..], b"text\n", b"\xff\\x00\0", b"-----BEGIN CERTIFICATE-----\n"] {
            let plan = plan(content);
            let read: Plan = serde_json::from_slice(&plan.whole_bytes()).expect("it parses");
            assert_eq!(read, plan);
        }
    }

    #[test]
    fn contents_show_by_their_digest_alone_and_still_tell_plans_apart() {
        let (one, other) = (plan(b"the content"), plan(b"another content"));
        for text in [one.to_string(), format!("{one:?}"), String::from_utf8_lossy(&one.canonical_bytes()).into()] {
            assert!(!text.contains("the content"), "{text}");
            assert!(text.contains("11 bytes, SHA-256 "), "{text}");
        }
        assert_ne!(one.canonical_bytes(), other.canonical_bytes());
        assert_ne!(one.to_string(), other.to_string());
        // A content that is the digest of another.
        let posing = plan(Content::new(b"the content".to_vec()).to_string().as_bytes());
        assert_ne!(posing.canonical_bytes(), one.canonical_bytes());
    }
}
