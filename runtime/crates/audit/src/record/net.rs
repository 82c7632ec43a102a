//! What can be recorded about the network and secrets, with the member names of the disk format.
//! It never holds a query, a header, a body or a secret's value.

use super::strict::kept;
use super::values::Digest;
use serde::{Deserialize, Serialize};

/// How a connection came to the outlet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Via {
    /// The client connected to the address of a name.
    Direct,
    /// The client asked with CONNECT, or with an absolute URL.
    Http,
    /// The client asked with SOCKS.
    Socks,
    /// A component asked through its host function: a `tool.use` of the same call says so.
    Wasi,
    /// A component connected a socket: likewise.
    WasiTcp,
    /// The other way: from the host to a port inside.
    Port,
    /// The outlet itself: it exchanges a secret at the endpoint that the secret's rule names.
    Exchange,
}

/// Who keeps the new version of a secret that was replaced while a session ran.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kept {
    /// The store: the next session begins with it.
    Store,
    /// The session alone: it is lost at its end.
    Session,
    /// Where it came from: it was replaced there, and read again.
    Source,
}

/// `net.name`: a name was asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NetName {
    /// The name, as far as it is one.
    pub name: String,
    /// Type of the question: `A`, `AAAA`, `TYPE65`…
    pub ty: String,
    /// The synthetic address that was answered. Left out when there was none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub addr: Option<String>,
}

/// `net.open`: a connection from inside was let through.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NetOpen {
    /// Number of the connection within the session.
    pub c: u64,
    /// Host that it is for.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// How it came.
    pub via: Via,
    /// Address and port inside that the client connected to. Left out where no client did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub addr: Option<String>,
    /// The rules that let it through; none where each request is judged.
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "kept")]
    pub rules: Vec<String>,
}

/// `net.close`: a connection ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NetClose {
    /// Number of the connection.
    pub c: u64,
    /// Bytes from inside.
    pub up: u64,
    /// Bytes to the inside.
    pub down: u64,
    /// How long it was open, µs.
    pub us: u64,
    /// Address that was connected to, with the port. Left out where none was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub addr: Option<String>,
    /// Why it ended: `done`, or the fault.
    pub why: String,
}

/// `net.request`: a request was allowed. It leaves after this record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NetRequest {
    /// Number of the request within the session.
    pub r: u64,
    /// Number of its connection.
    pub c: u64,
    /// Method.
    pub method: String,
    /// Host.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// Canonical path, without query.
    pub path: String,
    /// SHA-256 of the query, where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub query_h: Option<Digest>,
    /// The rules that allow it.
    pub rules: Vec<String>,
}

/// `net.reply`: how a request ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NetReply {
    /// Number of the request.
    pub r: u64,
    /// Status code. Left out when no answer came.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// Address that answered, with the port. Left out where none did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub addr: Option<String>,
    /// Bytes of the request's body.
    pub up: u64,
    /// Bytes of the answer's body.
    pub down: u64,
    /// To the answer's first byte, µs.
    pub first_us: u64,
    /// To its last, µs.
    pub us: u64,
    /// Why it ended: `done`, or the fault.
    pub why: String,
}

/// `net.refuse`: a connection or request was refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NetRefuse {
    /// Number of the connection. Left out where none came about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub c: Option<u64>,
    /// Host or address that was wanted, as far as it is known.
    pub host: String,
    /// Port, where it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// Method, where it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub method: Option<String>,
    /// Canonical path, where it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// The rule that stopped it, or `not granted`, or `malformed`, or the limit.
    pub rule: String,
    /// What the client was told.
    pub reason: String,
}

/// `secret.use`: a secret goes out with a request. On disk before its first byte leaves.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SecretUse {
    /// Number of the request.
    pub r: u64,
    /// Name of the secret.
    pub name: String,
    /// Its version: the store's, or its source's where that counts versions; from 2^32 on, one that only the session has.
    pub v: u64,
    /// Host that it goes to.
    pub host: String,
    /// Where in the request: `header authorization`, `query key`, `path`…
    pub place: String,
    /// The rule that binds it.
    pub rule: String,
}

/// `secret.rotate`: a secret has a new version, in the middle of a session.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SecretRotate {
    /// Name of the secret.
    pub name: String,
    /// The version before.
    pub was: u64,
    /// The new one.
    pub v: u64,
    /// Who keeps it.
    pub kept: Kept,
    /// Why nobody but the session does. Left out where somebody does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
}

/// `secret.canary`: a placeholder was seen where it has no business.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SecretCanary {
    /// Number of the connection. Left out where it was not one: a name that was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub c: Option<u64>,
    /// Name of the secret, where the placeholder is one of this session's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Where it was going.
    pub host: String,
    /// Where it stood: `header user-agent`, `path`, `body`…
    pub place: String,
}

/// `secret.scrub`: a secret came back, and was taken out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SecretScrub {
    /// Number of the request. Left out for the output of a command.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub r: Option<u64>,
    /// Name of the secret.
    pub name: String,
    /// In which form: `raw`, `base64`, `hex`…
    pub form: String,
    /// How many times.
    pub count: u64,
    /// Where it stood: `header x-echo`, `body`, `stdout`…
    pub place: String,
}
