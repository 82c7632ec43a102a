//! Reads rules about hosts, and secrets.
//! It never takes an address for a name, nor an empty list for "all".

use super::fields::Fields;
use super::rules::reason;
use super::{Scribe, place, unknown};
use crate::glob::PathGlob;
use crate::host::HostPattern;
use crate::limits::LIMIT_MAX;
use crate::name::{EnvName, Flaw, SecretName, TEXT_BYTES_MAX, plain};
use crate::rule::{Method, NetGrant, NetMatch, Only, Rate, Rule, Secret, Shape};
use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec;
use alloc::vec::Vec;
use core::net::SocketAddr;

/// The port of a grant that names none: the one where TLS is spoken.
const PORT_DEFAULT: u16 = 443;

/// `[[grant.net]]`
pub(super) fn grant(fields: &mut Fields<'_>) -> Option<NetGrant> {
    let allowed = net_match(fields, Only::These(vec![PORT_DEFAULT]));
    let rate = rate(fields);
    let secret = fields.parsed("secret", SecretName::parse);
    let resolve = fields.list("resolve", |text| {
        text.parse::<SocketAddr>().map_err(|_| {
            Flaw::new(
                format!("\"{text}\" is not an address with a port"),
                "write \"10.0.0.7:8443\" or \"[fd00::7]:8443\"",
            )
        })
    });
    let trust = fields.parsed("trust", |text| plain(text, "trust", TEXT_BYTES_MAX).map(String::from));
    Some(NetGrant { allowed: allowed?, rate, secret, resolve, trust })
}

/// `[[ask.net]]`, `[[deny.net]]`
pub(super) fn restriction(fields: &mut Fields<'_>) -> Option<NetMatch> {
    net_match(fields, Only::Any)
}

fn net_match(fields: &mut Fields<'_>, ports_default: Only<u16>) -> Option<NetMatch> {
    let line = fields.line_of("host");
    let host = fields.required("host", "add host = \"api.example.com\"", HostPattern::parse);
    let is_address = fields.boolean("address").unwrap_or(false);
    match (&host, is_address) {
        (Some(HostPattern::Address(address)), false) => {
            let hint = "add address = true if no name will do: an address says nothing about who answers";
            fields.note(line, format!("host \"{address}\" is an address"), hint);
        }
        (Some(HostPattern::Name(_) | HostPattern::Below(_)), true) => {
            fields.note(line, "\"address\" is true, but host is a name", "remove address = true");
        }
        (Some(HostPattern::Address(_)), true) | (Some(HostPattern::Name(_) | HostPattern::Below(_)), false) => {}
        (None, _) => {}
    }
    let ports = ports(fields, ports_default);
    let methods = only(fields, "methods", Method::parse);
    let paths = only(fields, "paths", url_glob);
    Some(NetMatch { host: host?, ports: ports?, methods: methods?, paths: paths? })
}

/// `None` when the key is there and wrong.
fn only<T: PartialEq>(
    fields: &mut Fields<'_>,
    key: &'static str,
    parse: impl Fn(&str) -> Result<T, Flaw>,
) -> Option<Only<T>> {
    if !fields.has(key) {
        // Asked for all the same, so that the key counts as known.
        fields.take(key);
        return Some(Only::Any);
    }
    fields.list(key, parse).map(Only::These)
}

fn ports(fields: &mut Fields<'_>, default: Only<u16>) -> Option<Only<u16>> {
    if !fields.has("ports") {
        fields.take("ports");
        return Some(default);
    }
    let mut ports = Vec::new();
    for item in fields.items("ports", "a list of numbers")? {
        let number = item.node.integer();
        let port = number.and_then(|number| u16::try_from(number).ok()).filter(|&port| port > 0);
        match port {
            Some(port) if ports.contains(&port) => {
                fields.note(item.line, format!("port {port} is twice"), "remove one")
            }
            Some(port) => ports.push(port),
            None => {
                fields.note(item.line, "\"ports\" has something that is no port", "give numbers from 1 to 65535");
                return None;
            }
        }
    }
    ports.sort_unstable();
    Some(Only::These(ports))
}

/// What a rule about ports inside means that names none.
#[derive(Clone, Copy)]
pub(super) enum Unsaid {
    /// Nothing: a grant says which.
    Missing,
    /// All of them: a restriction is as wide as its words.
    Any,
}

/// `port = 3000` or `ports = [3000, 3001]`: ports of the sandbox's loopback.
pub(super) fn inside(fields: &mut Fields<'_>, unsaid: Unsaid) -> Option<Only<u16>> {
    let (one, several) = (fields.has("port"), fields.has("ports"));
    let line = fields.line_of("ports");
    let port = fields.count("port", u64::from(u16::MAX)).and_then(|port| u16::try_from(port).ok());
    let listed = ports(fields, Only::Any);
    match (one, several, unsaid) {
        (true, true, _) => {
            fields.note(line, "rule has both \"port\" and \"ports\"", "put all of them into ports = [3000, 3001]");
            None
        }
        (true, false, _) => port.map(|port| Only::These(vec![port])),
        (false, true, _) | (false, false, Unsaid::Any) => listed,
        (false, false, Unsaid::Missing) => {
            fields.note(fields.line, "grant has no port", "add port = 3000, or ports = [3000, 3001]");
            None
        }
    }
}

/// A pattern for the path of a URL.
fn url_glob(text: &str) -> Result<PathGlob, Flaw> {
    let text = plain(text, "path", TEXT_BYTES_MAX)?;
    let refuse = |why: &str, hint: &str| Err(Flaw::new(format!("path \"{text}\" {why}"), hint));
    let Some(rest) = text.strip_prefix('/') else {
        return refuse("cannot match", &format!("paths start with \"/\": write \"/{text}\""));
    };
    if text.contains(['?', '#', ';', '\\', ' ']) || !text.is_ascii() {
        return refuse("cannot match", "write the path alone, percent-encoded, without query and fragment");
    }
    for part in rest.split('/') {
        if matches!(part, "." | "..") {
            return refuse("cannot match", "requests are judged without \".\" and \"..\"");
        }
        if part != "**" && part.contains("**") {
            return refuse("has \"**\" inside a segment", "\"**\" stands alone between slashes");
        }
    }
    if rest.trim_end_matches('/').contains("//") || rest.starts_with('/') {
        return refuse("cannot match", "requests are judged without empty segments");
    }
    Ok(PathGlob::new(rest))
}

fn rate(fields: &mut Fields<'_>) -> Option<Rate> {
    let (line, entries) = fields.table("rate")?;
    let mut fields = Fields::new(fields.file, "rate", line, entries, fields.findings);
    let requests_per_s = fields.count("requests_per_s", LIMIT_MAX);
    let burst = fields.count("burst", LIMIT_MAX);
    if requests_per_s.is_none() && burst.is_none() {
        fields.note(line, "rate limits nothing", "add requests_per_s = 5");
    }
    fields.finish();
    let requests_per_s = requests_per_s.or(burst)?;
    Some(Rate { requests_per_s, burst: burst.unwrap_or(requests_per_s) })
}

/// `[[secret]]`
pub(super) fn secrets(fields: &mut Fields<'_>, scribe: &mut Scribe) -> Vec<Rule<Secret>> {
    let mut out: Vec<Rule<Secret>> = Vec::new();
    for (line, entries) in fields.tables("secret", "secret") {
        let mut secret = Fields::new(fields.file, "secret", line, entries, fields.findings);
        let reason = reason(&mut secret);
        let subject = secret_subject(&mut secret);
        if let Some(twin) = subject.as_ref().and_then(|new| out.iter().find(|rule| rule.subject.name == new.name)) {
            secret.note(
                line,
                format!("secret \"{}\" repeats line {}", twin.subject.name, twin.id.line()),
                "rename one",
            );
        }
        secret.finish();
        let id = scribe.id(line);
        if let (Some(reason), Some(subject)) = (reason, subject) {
            out.push(Rule { id, file: Arc::clone(&scribe.file), reason, subject });
        }
    }
    out
}

fn secret_subject(fields: &mut Fields<'_>) -> Option<Secret> {
    let name = fields.required("name", "add name = \"example\"", SecretName::parse);
    let env = fields.parsed("env", EnvName::parse);
    let shapes = [Shape::Opaque, Shape::Github, Shape::Jwt];
    let shape = fields.parsed("shape", |text| {
        let known = shapes.iter().find(|shape| shape.as_str() == text).copied();
        known.ok_or_else(|| unknown("shape", text, &shapes.map(Shape::as_str)))
    });
    let place = place::read(fields);
    if !fields.has("hosts") {
        fields.note(fields.line, "secret has no hosts", "add hosts = [\"api.example.com\"]");
    }
    let hosts = fields.list("hosts", HostPattern::parse);
    let methods = only(fields, "methods", Method::parse);
    let paths = only(fields, "paths", url_glob);
    let shape = shape.unwrap_or(Shape::Opaque);
    Some(Secret { name: name?, env, shape, place: place?, hosts: hosts?, methods: methods?, paths: paths? })
}
