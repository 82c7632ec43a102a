//! The one byte form of a profile, to be hashed into a log and compared by it.
//! It never depends on the order in which files were joined, nor on where they lie.
//!
//! The form is text: a first line with its version, then one line per statement, sorted bytewise. A line is a kind and
//! fields `name=value`, separated by tabs; in values `\`, tab, line feed and carriage return are escaped with `\`.

use crate::backend::Asked;
use crate::component::ComponentRule;
use crate::guard::Guard;
use crate::path::RulePath;
use crate::profile::Profile;
use crate::rule::{EnvGrant, Grant, Matter, Method, NetMatch, Only, Place, Presence, Secret, SecretPlace, ToolMatch};
use alloc::format;
use alloc::string::{String, ToString as _};
use alloc::vec::Vec;

/// First line of the form.
const VERSION: &str = "stockade-profile/1\n";

/// One line in the making.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Line(Vec<u8>);

impl Line {
    fn of(kind: &str) -> Self {
        Self(kind.as_bytes().to_vec())
    }

    fn with(mut self, name: &str, value: impl AsRef<[u8]>) -> Self {
        self.0.push(b'\t');
        self.0.extend_from_slice(name.as_bytes());
        self.0.push(b'=');
        for &byte in value.as_ref() {
            match byte {
                b'\\' => self.0.extend_from_slice(b"\\\\"),
                b'\t' => self.0.extend_from_slice(b"\\t"),
                b'\n' => self.0.extend_from_slice(b"\\n"),
                b'\r' => self.0.extend_from_slice(b"\\r"),
                other => self.0.push(other),
            }
        }
        self
    }

    fn with_all<V: AsRef<[u8]>>(self, name: &str, values: impl IntoIterator<Item = V>) -> Self {
        let mut values: Vec<V> = values.into_iter().collect();
        values.sort_by(|a, b| a.as_ref().cmp(b.as_ref()));
        values.into_iter().fold(self, |line, value| line.with(name, value))
    }
}

impl<P: RulePath> Profile<P> {
    /// The form. Two profiles that differ in anything that is judged, enforced or shown as a reason differ in it.
    pub fn canonical_bytes(&self) -> Vec<u8> {
        let mut lines = Vec::new();
        for rule in &self.grants {
            lines.push(said(grant(&rule.subject), &rule.id, rule.reason.as_str()));
        }
        for rule in &self.restrictions {
            let line = matter(rule.subject.verb.as_str(), &rule.subject.matter);
            lines.push(said(line, &rule.id, rule.reason.as_str()));
        }
        for rule in &self.secrets {
            lines.push(said(secret(&rule.subject), &rule.id, rule.reason.as_str()));
        }
        for rule in &self.components {
            lines.push(said(component(&rule.subject), &rule.id, rule.reason.as_str()));
        }
        lines.extend(self.protect.iter().map(|of| guard("protect", of).with("rule", of.id.to_string())));
        lines.extend(self.hold.iter().map(|of| guard("hold", of).with("rule", of.id.to_string())));
        for (limit, value) in self.limits.iter() {
            lines.push(Line::of("limit").with(limit.key(), value.to_string()));
        }
        lines.push(Line::of("name").with("name", self.name.as_str()));
        lines.push(Line::of("floor").with("floor", self.floor.as_str()));
        lines.push(Line::of("durability").with("durability", self.durability.as_str()));
        lines.push(Line::of("record").with("record", self.recording.as_str()));
        lines.push(Line::of("record_floor").with("record_floor", self.record_floor.as_str()));
        lines.extend(wall(&self.wall));
        lines.sort();
        let mut out = VERSION.as_bytes().to_vec();
        for line in lines {
            out.extend_from_slice(&line.0);
            out.push(b'\n');
        }
        out
    }
}

/// What a profile says of its wall. Of the process wall nothing: that is what a profile means that does not speak of it.
fn wall(wall: &Asked) -> Option<Line> {
    let line = match wall {
        Asked::Process => return None,
        Asked::Container { .. } | Asked::Unnamed { .. } => Line::of("backend").with("backend", wall.name().as_str()),
    };
    let line = line.with_all("image", wall.image().map(|image| image.value.as_str()));
    Some(line.with_all("runtime", wall.runtime().map(|runtime| runtime.value.as_str())))
}

fn said(line: Line, id: &crate::name::RuleId, reason: &str) -> Line {
    line.with("rule", id.to_string()).with("reason", reason)
}

/// What a grant says, without where and why.
pub(crate) fn grant<P: RulePath>(grant: &Grant<P>) -> Line {
    let optional = |presence: &Presence| match presence {
        Presence::Required => "false",
        Presence::Optional => "true",
    };
    match grant {
        Grant::Path { access, path, presence } => Line::of("grant")
            .with("access", access.as_str())
            .with("path", path.to_bytes())
            .with("optional", optional(presence)),
        Grant::Unix { path, presence } => {
            Line::of("grant").with("unix", path.to_bytes()).with("optional", optional(presence))
        }
        Grant::Env(EnvGrant::Pass(name)) => Line::of("grant").with("env", name.as_str()),
        Grant::Env(EnvGrant::Set { name, value }) => Line::of("grant").with("env", name.as_str()).with("value", value),
        Grant::Tool(of) => {
            // What every grant gives that says nothing of it is not said here either.
            let less = of.gives.by_key().into_iter().filter(|(_, given)| !given);
            let line = less.fold(tool(Line::of("grant"), &of.allowed), |line, (name, _)| line.with(name, "false"));
            if of.gives.sockets { line.with("sockets", "true") } else { line }
        }
        // Another name than the ports of a net rule have: the two must never read alike.
        Grant::Port(ports) => Line::of("grant").with_all("inside", ports.iter().map(|port| port.to_string())),
        Grant::Net(of) => {
            let mut line = net(Line::of("grant"), &of.allowed);
            if let Some(rate) = &of.rate {
                line =
                    line.with("requests_per_s", rate.requests_per_s.to_string()).with("burst", rate.burst.to_string());
            }
            line = line.with_all("secret", of.secret.iter().map(|name| name.as_str()));
            line = line.with_all("resolve", of.resolve.iter().flatten().map(|address| address.to_string()));
            line.with_all("trust", of.trust.iter())
        }
    }
}

/// What a restriction says.
pub(crate) fn matter<P: RulePath>(verb: &str, matter: &Matter<P>) -> Line {
    let line = Line::of(verb);
    match matter {
        Matter::Path { access, place } => {
            let line = line.with("access", access.as_str());
            match place {
                Place::Subtree(path) => line.with("path", path.to_bytes()),
                Place::Workspace(pattern) => line.with("pattern", pattern.as_str()),
            }
        }
        Matter::Command { program, argv } => {
            let line = line.with_all("program", program.iter().map(RulePath::to_bytes));
            // In their order, which means something.
            argv.words().iter().fold(line, |line, word| line.with("word", word.as_str()))
        }
        Matter::Net(of) => net(line, of),
        Matter::Tool(of) => tool(line, of),
        Matter::Env(name) => line.with("env", name.as_str()),
        Matter::Unix(path) => line.with("unix", path.to_bytes()),
        Matter::Port(Only::Any) => line.with("inside", "any"),
        Matter::Port(Only::These(ports)) => line.with_all("inside", ports.iter().map(|port| port.to_string())),
    }
}

/// What a secret says.
pub(crate) fn secret(secret: &Secret) -> Line {
    let line = Line::of("secret").with("name", secret.name.as_str()).with("shape", secret.shape.as_str());
    let line = line.with_all("env", secret.env.iter().map(|name| name.as_str()));
    let line = match &secret.place {
        SecretPlace::Header { name, format } => line.with("header", name).with("format", format),
        SecretPlace::Basic { user } => line.with("basic", user),
        SecretPlace::Query { name } => line.with("query", name),
        SecretPlace::Path => line.with("place", "path"),
        SecretPlace::Body => line.with("place", "body"),
        SecretPlace::Sigv4 { service, region } => line.with("service", service).with("region", region),
        SecretPlace::Oauth { token_url, grant, client_id } => {
            line.with("token_url", token_url.to_string()).with("oauth", grant.as_str()).with("client_id", client_id)
        }
    };
    let line = line.with_all("host", secret.hosts.iter().map(|host| host.to_string()));
    requests(line, &secret.methods, &secret.paths)
}

/// What a component is said to be.
pub(crate) fn component(component: &ComponentRule) -> Line {
    let line = Line::of("tool");
    match component {
        ComponentRule::File { name, path, digest } => {
            let line = line.with("name", name.as_str()).with("file", path);
            line.with_all("sha256", digest.iter().map(|digest| digest.to_string()))
        }
        ComponentRule::Known { name, digest } => line.with("name", name.as_str()).with("sha256", digest.to_string()),
        ComponentRule::Directory { names, path } => line.with("name", names.as_str()).with("directory", path),
    }
}

/// What an entry of `protect` or `hold` says.
pub(crate) fn guard(kind: &str, guard: &Guard) -> Line {
    let line = Line::of(kind).with("pattern", guard.pattern.as_str());
    line.with_all("except", guard.except.iter().map(|pattern| pattern.as_str()))
}

fn net(line: Line, of: &NetMatch) -> Line {
    let line = line.with("host", of.host.to_string());
    let line = line.with_all("port", of.ports.these().iter().map(|port| port.to_string()));
    requests(line, &of.methods, &of.paths)
}

fn requests(line: Line, methods: &Only<Method>, paths: &Only<crate::glob::PathGlob>) -> Line {
    let line = line.with_all("method", methods.these().iter().map(Method::as_str));
    line.with_all("url", paths.these().iter().map(|glob| format!("/{}", glob.components().join("/"))))
}

fn tool(line: Line, of: &ToolMatch) -> Line {
    let mut line = line.with("tool", of.name.as_str());
    for condition in &of.conditions {
        line = line.with("argument", &condition.argument);
        let globs: Vec<String> = condition.any_of.iter().map(|glob| glob.as_str().to_string()).collect();
        line = line.with_all("like", globs);
    }
    line
}
