//! A server that keeps secrets (HashiCorp Vault, OpenBao): where it is, who we are there, and what is read from it.
//! It never holds a credential, only where one is.

pub mod reader;

use super::Source;
use crate::error::{Error, Result};
use std::fmt::Write as _;
use std::net::IpAddr;
use std::path::PathBuf;
use stockade_policy::Host;

/// Shortest and longest time between two readings of one session, seconds; and the usual one.
const EVERY_S: std::ops::RangeInclusive<u64> = 1..=86_400;
const EVERY_S_DEFAULT: u64 = 300;
/// Versions from here on are no server's: the session's own begin there.
const VERSION_MAX: u64 = (1 << 32) - 1;

/// One secret in a server that keeps secrets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Keeper {
    pub(super) url: KeeperUrl,
    /// The authority that signs for it, instead of the machine's.
    pub(super) ca: Option<PathBuf>,
    pub(super) namespace: Option<String>,
    pub(super) login: Login,
    pub(super) engine: Engine,
    mount: String,
    path: String,
    pub(super) field: String,
    every_s: u64,
}

/// Where it listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeeperUrl {
    /// What is spoken with it.
    pub channel: KeeperChannel,
    /// Its host.
    pub host: Host,
    /// Its TCP port.
    pub port: u16,
}

/// What requests to it go over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeeperChannel {
    /// TLS, with a certificate that is checked.
    Tls,
    /// In the clear, to this machine's own loopback and no further.
    Loopback,
}

/// Who we are there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Login {
    /// Who has this token.
    Token(Source),
    /// An application: `auth/<mount>/login` with `role_id` and `secret_id`.
    AppRole { mount: String, role_id: String, secret_id: Source },
    /// A workload with a token of its platform: `auth/<mount>/login` with `role` and `jwt` (Kubernetes, JWT).
    Jwt { mount: String, role: String, jwt: Source },
}

/// Which engine has the secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Engine {
    /// Key-value, version 1: one value.
    One,
    /// Key-value, version 2: versions, of which the newest is read, or always this one.
    Two { version: Option<u64> },
}

/// What is wrong with words that should say all this.
type Misfit = String;

impl Keeper {
    /// Reads `https://HOST[:PORT]` and words like `mount=secret`.
    ///
    /// # Errors
    /// Operator: a word is missing, unknown or twice, or says something that cannot be.
    pub fn parse(url: &str, words: &[String]) -> Result<Self> {
        Self::read(url, words).map_err(|misfit| {
            Error::operator(format!("source \"vault:{}\": {misfit}", url.escape_default())).hint(
                "vault:https://HOST:8200 -- path=P [mount=secret] [field=value] [kv=2] [version=N] [namespace=N] [ca=/FILE] \
                 [every=300], and token=SOURCE, or role-id=ID secret-id=SOURCE, or role=NAME jwt=SOURCE [login=MOUNT]; \
                 a SOURCE is file:/PATH, env:NAME, fd:N or credential:NAME",
            )
        })
    }

    fn read(url: &str, words: &[String]) -> std::result::Result<Self, Misfit> {
        let mut words = Words::read(words)?;
        let engine = match (words.take("kv").as_deref(), words.take("version")) {
            (Some("1"), None) => Engine::One,
            (Some("1"), Some(_)) => return Err("version 1 of the engine has no versions".to_owned()),
            (Some("2") | None, version) => Engine::Two { version: version.map(|text| version_of(&text)).transpose()? },
            (Some(_), _) => return Err("kv is 1 or 2".to_owned()),
        };
        let every_s = match words.take("every") {
            Some(text) => {
                number(&text).filter(|every_s| EVERY_S.contains(every_s)).ok_or("every is 1 to 86400 seconds")?
            }
            None => EVERY_S_DEFAULT,
        };
        let ca = words.take("ca").map(PathBuf::from);
        if ca.as_ref().is_some_and(|ca| !ca.is_absolute()) {
            return Err("ca has no absolute path".to_owned());
        }
        let read = Self {
            url: KeeperUrl::read(url)?,
            ca,
            namespace: words.take("namespace").map(|text| path(text, "namespace")).transpose()?,
            login: Login::read(&mut words)?,
            engine,
            mount: path(words.take("mount").unwrap_or_else(|| "secret".to_owned()), "mount")?,
            path: path(words.take("path").ok_or("it has no path=")?, "path")?,
            field: words.take("field").unwrap_or_else(|| "value".to_owned()),
            every_s,
        };
        words.end()?;
        Ok(read)
    }

    /// As the store writes it, and [`Keeper::parse`] reads it.
    pub(super) fn words(&self) -> Vec<String> {
        let mut words = vec![self.url.to_string()];
        let mut say = |name: &str, value: &str| words.push(format!("{name}={value}"));
        say("mount", &self.mount);
        say("path", &self.path);
        say("field", &self.field);
        match self.engine {
            Engine::One => say("kv", "1"),
            Engine::Two { version: None } => {}
            Engine::Two { version: Some(version) } => say("version", &version.to_string()),
        }
        let ca = self.ca.as_ref().map(|ca| ca.to_str().expect("sources are made of text alone"));
        for (name, value) in [("namespace", self.namespace.as_deref()), ("ca", ca)] {
            value.into_iter().for_each(|value| say(name, value));
        }
        if self.every_s != EVERY_S_DEFAULT {
            say("every", &self.every_s.to_string());
        }
        match &self.login {
            Login::Token(token) => say("token", &token.words().join(":")),
            Login::AppRole { mount, role_id, secret_id } => {
                say("login", mount);
                say("role-id", role_id);
                say("secret-id", &secret_id.words().join(":"));
            }
            Login::Jwt { mount, role, jwt } => {
                say("login", mount);
                say("role", role);
                say("jwt", &jwt.words().join(":"));
            }
        }
        words
    }

    /// Time between two readings in one session; `None` for a version that cannot change.
    pub(super) fn every_s(&self) -> Option<u64> {
        match self.engine {
            Engine::One | Engine::Two { version: None } => Some(self.every_s),
            Engine::Two { version: Some(_) } => None,
        }
    }

    /// What is asked for, as a URL has it.
    pub(super) fn target(&self, version: Option<u64>) -> String {
        let (mount, path) = (encoded(&self.mount), encoded(&self.path));
        match (self.engine, version) {
            (Engine::One, _) => format!("/v1/{mount}/{path}"),
            (Engine::Two { .. }, None) => format!("/v1/{mount}/data/{path}"),
            (Engine::Two { .. }, Some(version)) => format!("/v1/{mount}/data/{path}?version={version}"),
        }
    }
}

impl Login {
    fn read(words: &mut Words) -> std::result::Result<Self, Misfit> {
        let mut source = |name: &str| -> std::result::Result<Option<Source>, Misfit> {
            let Some(text) = words.take(name) else { return Ok(None) };
            let (kind, rest) = text.split_once(':').unwrap_or((&text, ""));
            let read = Source::from_words(&[kind.to_owned(), rest.to_owned()]);
            match read {
                Some(Source::File(_) | Source::Env(_) | Source::Fd(_) | Source::Credential(_)) => Ok(read),
                Some(Source::Store | Source::Exec { .. } | Source::Vault(_)) | None => {
                    Err(format!("{name} is file:/PATH, env:NAME, fd:N or credential:NAME, and never the value itself"))
                }
            }
        };
        let (token, secret_id, jwt) = (source("token")?, source("secret-id")?, source("jwt")?);
        let (role_id, role, mount) = (words.take("role-id"), words.take("role"), words.take("login"));
        let mount = mount.map(|text| path(text, "login")).transpose()?;
        match (token, (role_id, secret_id), (role, jwt)) {
            (Some(token), (None, None), (None, None)) if mount.is_none() => Ok(Self::Token(token)),
            (None, (Some(role_id), Some(secret_id)), (None, None)) => {
                Ok(Self::AppRole { mount: mount.unwrap_or_else(|| "approle".to_owned()), role_id, secret_id })
            }
            (None, (None, None), (Some(role), Some(jwt))) => {
                Ok(Self::Jwt { mount: mount.unwrap_or_else(|| "kubernetes".to_owned()), role, jwt })
            }
            _ => Err("it needs token=, or role-id= and secret-id=, or role= and jwt=: one of the three".to_owned()),
        }
    }
}

impl KeeperUrl {
    fn read(text: &str) -> std::result::Result<Self, Misfit> {
        let (channel, rest) = match text.split_once("://") {
            Some(("https", rest)) => (KeeperChannel::Tls, rest),
            Some(("http", rest)) => (KeeperChannel::Loopback, rest),
            Some(_) | None => return Err("it does not begin with https://".to_owned()),
        };
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        let (host, port) = match rest.rsplit_once(':') {
            Some((host, port)) if !rest.ends_with(']') => {
                let port = port.parse().ok().filter(|port: &u16| *port > 0);
                (host, port.ok_or("there is no port after \":\"")?)
            }
            Some(_) | None => (rest, 8200),
        };
        let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        let host = Host::parse(bare).map_err(|flaw| flaw.what)?;
        let near = match &host {
            Host::Address(address) => address.is_loopback(),
            Host::Name(name) => name.as_str() == "localhost",
        };
        if channel == KeeperChannel::Loopback && !near {
            return Err("http goes to this machine's loopback alone; elsewhere https".to_owned());
        }
        Ok(Self { channel, host, port })
    }

    /// Host and port, as a request names them.
    pub fn authority(&self) -> String {
        match &self.host {
            Host::Address(IpAddr::V6(address)) => format!("[{address}]:{}", self.port),
            Host::Address(IpAddr::V4(_)) | Host::Name(_) => format!("{}:{}", self.host, self.port),
        }
    }
}

impl std::fmt::Display for KeeperUrl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let scheme = match self.channel {
            KeeperChannel::Tls => "https",
            KeeperChannel::Loopback => "http",
        };
        write!(f, "{scheme}://{}", self.authority())
    }
}

/// `name=value` words, each name once.
struct Words(Vec<(String, String)>);

impl Words {
    fn read(words: &[String]) -> std::result::Result<Self, Misfit> {
        let mut read: Vec<(String, String)> = Vec::new();
        for word in words {
            let (name, value) = word
                .split_once('=')
                .filter(|(_, value)| !value.is_empty())
                .ok_or_else(|| format!("\"{}\" is no word like mount=secret", word.escape_default()))?;
            if value.chars().any(char::is_control) {
                return Err(format!("{} has a control character", name.escape_default()));
            }
            if read.iter().any(|(known, _)| known == name) {
                return Err(format!("{} is there twice", name.escape_default()));
            }
            read.push((name.to_owned(), value.to_owned()));
        }
        Ok(Self(read))
    }

    fn take(&mut self, name: &str) -> Option<String> {
        let at = self.0.iter().position(|(known, _)| known == name)?;
        Some(self.0.swap_remove(at).1)
    }

    fn end(self) -> std::result::Result<(), Misfit> {
        match self.0.first() {
            Some((name, _)) => Err(format!("\"{}=\" is unknown", name.escape_default())),
            None => Ok(()),
        }
    }
}

/// A path within the server, without steps that a server could take for another one.
fn path(text: String, what: &str) -> std::result::Result<String, Misfit> {
    let clean = text.split('/').all(|part| !matches!(part, "" | "." | ".."));
    if clean { Ok(text) } else { Err(format!("{what} has an empty part, or one of dots, between its slashes")) }
}

fn number(text: &str) -> Option<u64> {
    text.parse().ok().filter(|number: &u64| number.to_string() == *text)
}

fn version_of(text: &str) -> std::result::Result<u64, Misfit> {
    number(text).filter(|version| (1..=VERSION_MAX).contains(version)).ok_or_else(|| "version is a number".to_owned())
}

/// Percent-encodes everything but slashes and what RFC 3986 leaves unreserved.
fn encoded(path: &str) -> String {
    path.bytes().fold(String::with_capacity(path.len()), |mut out, byte| {
        if byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte) {
            out.push(char::from(byte));
        } else {
            write!(out, "%{byte:02X}").expect("a String takes all");
        }
        out
    })
}

#[cfg(test)]
mod tests;
