//! What a rule can say: grants, restrictions (ask and deny), secrets.
//! It never decides: `judge` does, and a wall reads the same data.

use crate::glob::{ArgvGlob, PathGlob, WordGlob};
use crate::guard::WorkspacePattern;
use crate::host::{Host, HostPattern};
use crate::name::{EnvName, Flaw, Reason, RuleId, SecretName, plain};
use crate::path::UrlPath;
use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::net::SocketAddr;

/// Something that a profile says, with where and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule<S> {
    /// Where it stands; what a log names.
    pub id: RuleId,
    /// The file it stands in, as the caller named it.
    pub file: Arc<str>,
    /// Why it is there.
    pub reason: Reason,
    /// What it says.
    pub subject: S,
}

impl<S> Rule<S> {
    pub(crate) fn map<T, E>(&self, f: impl FnOnce(&S) -> Result<T, E>) -> Result<Rule<T>, E> {
        let subject = f(&self.subject)?;
        Ok(Rule { id: self.id.clone(), file: Arc::clone(&self.file), reason: self.reason.clone(), subject })
    }
}

/// A right on a path and everything below it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Access {
    /// Read files, list directories.
    Read,
    /// Read, and change, make and remove files.
    Write,
    /// Read, and execute files.
    Exec,
}

impl Access {
    /// The key in a profile.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::Exec => "exec",
        }
    }
}

/// What happens when the path of a grant does not exist.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Presence {
    /// The session is refused.
    Required,
    /// The grant is skipped (`optional = true`).
    Optional,
}

/// What is allowed. `P` is how a path is known: as written, or absolute on one machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Grant<P> {
    /// A right on a subtree.
    Path {
        /// Which right.
        access: Access,
        /// Where.
        path: P,
        /// Whether it must exist.
        presence: Presence,
    },
    /// A host.
    Net(NetGrant),
    /// Tools.
    Tool(crate::component::ToolGrant),
    /// Environment variables.
    Env(EnvGrant),
    /// A unix socket.
    Unix {
        /// Path of the socket.
        path: P,
        /// Whether it must exist.
        presence: Presence,
    },
    /// TCP ports of the sandbox's own loopback that may be reached from the host's; sorted, never empty.
    Port(Vec<u16>),
}

/// A variable that the sandbox gets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EnvGrant {
    /// The host's value, for every name that matches.
    Pass(WordGlob),
    /// This value.
    Set {
        /// Name of the variable.
        name: EnvName,
        /// Its value.
        value: String,
    },
}

/// Which of the two restrictions. Deny beats ask.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Verb {
    /// A person must agree.
    Ask,
    /// Never.
    Deny,
}

impl Verb {
    /// The key in a profile.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ask => "ask",
            Self::Deny => "deny",
        }
    }
}

/// What needs consent or is forbidden.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Restriction<P> {
    /// Consent or never.
    pub verb: Verb,
    /// To what.
    pub matter: Matter<P>,
}

/// What a restriction is about. Where a call leaves open whether it matches, it matches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Matter<P> {
    /// A right on paths. Without `read` there is no write and no exec either.
    Path {
        /// Which right.
        access: Access,
        /// Where.
        place: Place<P>,
    },
    /// Commands by their words. A courtesy to the model and a gate for the honest, not a wall: a shell can spell
    /// any command in a hundred ways. What must not happen is kept out by grants.
    Command {
        /// Only programs in this place, when given.
        program: Option<P>,
        /// The words.
        argv: ArgvGlob,
    },
    /// Hosts.
    Net(NetMatch),
    /// Tools.
    Tool(ToolMatch),
    /// Environment variables by name.
    Env(WordGlob),
    /// A unix socket.
    Unix(P),
    /// Ports of the sandbox's loopback.
    Port(Only<u16>),
}

/// Where a restriction on paths applies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place<P> {
    /// A path and everything below it.
    Subtree(P),
    /// Paths of the workspace by pattern, present and future ones.
    Workspace(WorkspacePattern),
}

/// Either anything, or some of it. There is no empty list that could mean either (CVE-2025-66479).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Only<T> {
    /// No condition.
    Any,
    /// One of these; never empty.
    These(Vec<T>),
}

impl<T> Only<T> {
    /// Whether there is a condition.
    pub const fn is_any(&self) -> bool {
        matches!(self, Self::Any)
    }

    /// The alternatives; none when there is no condition.
    pub fn these(&self) -> &[T] {
        match self {
            Self::Any => &[],
            Self::These(these) => these,
        }
    }
}

/// Connections and requests that a rule is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NetMatch {
    /// Which hosts.
    pub host: HostPattern,
    /// Which TCP ports.
    pub ports: Only<u16>,
    /// Which HTTP methods.
    pub methods: Only<Method>,
    /// Which HTTP paths.
    pub paths: Only<PathGlob>,
}

/// Whether a match is certain, given what a call says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Match {
    Yes,
    /// The call does not say enough: no grant, but a restriction.
    Open,
    No,
}

impl Match {
    pub(crate) fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::No, _) | (_, Self::No) => Self::No,
            (Self::Open, _) | (_, Self::Open) => Self::Open,
            (Self::Yes, Self::Yes) => Self::Yes,
        }
    }

    pub(crate) const fn certain(yes: bool) -> Self {
        if yes { Self::Yes } else { Self::No }
    }
}

impl NetMatch {
    /// Whether a match depends on what a connection carries.
    pub(crate) const fn looks_inside(&self) -> bool {
        !self.methods.is_any() || !self.paths.is_any()
    }

    pub(crate) fn test(&self, host: &Host, port: u16, method: Option<&Method>, path: Option<&UrlPath>) -> Match {
        let ports = Match::certain(self.ports.is_any() || self.ports.these().contains(&port));
        let methods = match (&self.methods, method) {
            (Only::Any, _) => Match::Yes,
            (Only::These(_), None) => Match::Open,
            (Only::These(these), Some(method)) => Match::certain(these.contains(method)),
        };
        let paths = match (&self.paths, path) {
            (Only::Any, _) => Match::Yes,
            (Only::These(_), None) => Match::Open,
            (Only::These(globs), Some(path)) => path.test(globs),
        };
        Match::certain(self.host.matches(host)).and(ports).and(methods).and(paths)
    }
}

/// A host that may be reached, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NetGrant {
    /// What is allowed.
    pub allowed: NetMatch,
    /// At most so often.
    pub rate: Option<Rate>,
    /// The secret that requests carry.
    pub secret: Option<SecretName>,
    /// Pinned addresses, private ones included; none leaves it to the resolver. Never empty when given.
    pub resolve: Option<Vec<SocketAddr>>,
    /// File with the authority that signs the host's certificate, beside the profile.
    pub trust: Option<String>,
}

/// A token bucket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// Requests per second, from 1.
    pub requests_per_s: u64,
    /// Requests at once, from 1.
    pub burst: u64,
}

/// An HTTP method: upper-case letters and `-`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Method(String);

impl Method {
    /// # Errors
    /// The text is not a method in upper case. Methods distinguish case (RFC 9110, 9.1), servers often do not: one
    /// spelling leaves no doubt.
    pub fn parse(text: &str) -> Result<Self, Flaw> {
        let text = plain(text, "method", 32)?;
        if text.chars().all(|c| c.is_ascii_uppercase() || c == '-') {
            return Ok(Self(text.into()));
        }
        let hint = format!("write \"{}\"", text.to_ascii_uppercase());
        Err(Flaw::new(format!("method \"{text}\" is not in upper case"), hint))
    }

    /// The method.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Tools by name, with conditions on their arguments.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ToolMatch {
    /// Which tools.
    pub name: WordGlob,
    /// All must hold; sorted by argument, each argument once.
    pub conditions: Vec<Condition>,
}

/// A condition on one argument of a tool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Condition {
    /// Name of the argument, at the top of the arguments' object.
    pub argument: String,
    /// One of these must match its text; never empty. `*` stays within a component, `**` does not.
    pub any_of: Vec<ArgumentGlob>,
}

/// A pattern for the text of an argument: components between slashes, as in a path; or one word without any.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ArgumentGlob {
    written: String,
}

impl ArgumentGlob {
    /// The caller has checked the text.
    pub(crate) fn new(text: &str) -> Self {
        Self { written: text.into() }
    }

    /// The pattern as written.
    pub fn as_str(&self) -> &str {
        &self.written
    }

    /// Whether the whole text matches. Empty components count, so `/etc` is not `etc`.
    pub(crate) fn matches(&self, text: &str) -> bool {
        let text: Vec<&str> = text.split('/').collect();
        PathGlob::whole(&self.written).matches(&text)
    }
}

/// A secret that the sandbox holds a placeholder for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Secret {
    /// Its name in the store.
    pub name: SecretName,
    /// Variable that holds the placeholder inside.
    pub env: Option<EnvName>,
    /// What the placeholder looks like.
    pub shape: Shape,
    /// Where in a request it is put.
    pub place: SecretPlace,
    /// Hosts it may go to; never empty.
    pub hosts: Vec<HostPattern>,
    /// Methods it may go with.
    pub methods: Only<Method>,
    /// Paths it may go to.
    pub paths: Only<PathGlob>,
}

impl Secret {
    /// Whether the secret may go into such a request. What is not bound to it must never see more than a placeholder.
    pub fn is_bound_to(&self, host: &Host, method: &Method, path: &UrlPath) -> bool {
        self.hosts.iter().any(|pattern| pattern.matches(host))
            && (self.methods.is_any() || self.methods.these().contains(method))
            && (self.paths.is_any() || path.test(self.paths.these()) == Match::Yes)
    }
}

/// What a placeholder looks like, for clients that check.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Shape {
    /// Letters and digits.
    Opaque,
    /// `ghp_…`
    Github,
    /// Three base64 parts with dots.
    Jwt,
}

impl Shape {
    /// As written in a profile.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Opaque => "opaque",
            Self::Github => "github",
            Self::Jwt => "jwt",
        }
    }
}

/// Where a secret goes in a request.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SecretPlace {
    /// A header.
    Header {
        /// Name, lower case.
        name: String,
        /// Its value, with `{}` once for the secret.
        format: String,
    },
    /// The password of Basic authentication.
    Basic {
        /// The user name.
        user: String,
    },
    /// A parameter of the query.
    Query {
        /// Name of the parameter.
        name: String,
    },
    /// Wherever the placeholder stands in the path.
    Path,
    /// Wherever the placeholder stands in the body.
    Body,
    /// A signature of AWS (version 4): the secret never leaves, it signs.
    Sigv4 {
        /// The one service that it signs for, such as `s3`.
        service: String,
        /// The one region, such as `eu-west-1`.
        region: String,
    },
    /// A bearer token that the secret is exchanged for (RFC 6749).
    Oauth {
        /// Where tokens come from; always `https`.
        token_url: TokenUrl,
        /// What the secret is.
        grant: OauthGrant,
        /// The client's name there.
        client_id: String,
    },
}

/// Where an authorization server gives tokens out: `https://host[:port]/path`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TokenUrl {
    /// Its host.
    pub host: Host,
    /// Its TCP port.
    pub port: u16,
    /// Its path, canonical.
    pub path: UrlPath,
}

impl TokenUrl {
    /// # Errors
    /// The text is no `https` URL in canonical form, or has a user, a query or a fragment.
    pub fn parse(text: &str) -> Result<Self, Flaw> {
        let text = plain(text, "token url", crate::name::TEXT_BYTES_MAX)?;
        let hint = "write it as \"https://login.example.com/oauth/token\"";
        let refuse = |why: &str| Flaw::new(format!("token url \"{text}\" {why}"), hint);
        let rest = text.strip_prefix("https://").ok_or_else(|| refuse("does not start with \"https://\""))?;
        let (authority, path) = rest.split_once('/').ok_or_else(|| refuse("has no path"))?;
        let (host, port) = match authority.rsplit_once(':') {
            Some((host, port)) if !authority.ends_with(']') => {
                (host, port.parse().ok().filter(|&port| port > 0).ok_or_else(|| refuse("has no port after \":\""))?)
            }
            Some(_) | None => (authority, 443),
        };
        let host = Host::parse(host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host))?;
        Ok(Self { host, port, path: UrlPath::parse(&format!("/{path}"))? })
    }
}

impl core::fmt::Display for TokenUrl {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match &self.host {
            Host::Address(core::net::IpAddr::V6(address)) => write!(f, "https://[{address}]")?,
            Host::Address(_) | Host::Name(_) => write!(f, "https://{}", self.host)?,
        }
        if self.port != 443 {
            write!(f, ":{}", self.port)?;
        }
        f.write_str(self.path.as_str())
    }
}

/// What a secret is exchanged as.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum OauthGrant {
    /// It is the client's own (RFC 6749, 4.4).
    ClientCredentials,
    /// It is a refresh token (RFC 6749, 6).
    RefreshToken,
}

impl OauthGrant {
    /// As written in a profile, and sent.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ClientCredentials => "client_credentials",
            Self::RefreshToken => "refresh_token",
        }
    }
}
