//! Rules as one line of text each, for explanations, differences and refusals.
//! It never serves as an identity: texts of two rules can be equal, their canonical forms cannot.

use crate::rule::{
    EnvGrant, Grant, Matter, Method, NetMatch, Only, Place, Presence, Restriction, Secret, SecretPlace, ToolMatch,
};
use alloc::format;
use core::fmt;

impl fmt::Display for NetMatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.host)?;
        list(f, " ports ", self.ports.these().iter())?;
        list(f, " methods ", self.methods.these().iter().map(Method::as_str))?;
        list(f, " paths ", self.paths.these().iter().map(|glob| format!("/{}", glob.components().join("/"))))
    }
}

impl fmt::Display for ToolMatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name.as_str())?;
        for condition in &self.conditions {
            let globs = condition.any_of.iter().map(|glob| format!("\"{}\"", glob.as_str()));
            list(f, &format!(" with {} ", condition.argument), globs)?;
        }
        Ok(())
    }
}

fn list<D: fmt::Display>(f: &mut fmt::Formatter<'_>, start: &str, items: impl Iterator<Item = D>) -> fmt::Result {
    for (n, item) in items.enumerate() {
        write!(f, "{}{item}", if n == 0 { start } else { "," })?;
    }
    Ok(())
}

impl<P: fmt::Display> fmt::Display for Grant<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let optional = |presence: &Presence| match presence {
            Presence::Required => "",
            Presence::Optional => " (optional)",
        };
        match self {
            Self::Path { access, path, presence } => write!(f, "{} {path}{}", access.as_str(), optional(presence)),
            Self::Net(net) => {
                write!(f, "net {}", net.allowed)?;
                if let Some(rate) = &net.rate {
                    write!(f, " rate {}/s burst {}", rate.requests_per_s, rate.burst)?;
                }
                if let Some(secret) = &net.secret {
                    write!(f, " secret {secret}")?;
                }
                list(f, " resolve ", net.resolve.iter().flatten())?;
                list(f, " trust ", net.trust.iter())
            }
            Self::Tool(tool) => write!(f, "tool {tool}"),
            Self::Env(EnvGrant::Pass(name)) => write!(f, "env {}", name.as_str()),
            Self::Env(EnvGrant::Set { name, value }) => write!(f, "env {name}={value}"),
            Self::Unix { path, presence } => write!(f, "unix {path}{}", optional(presence)),
            Self::Port(ports) => {
                f.write_str("port")?;
                list(f, " ", ports.iter())
            }
        }
    }
}

impl<P: fmt::Display> fmt::Display for Matter<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Path { access, place } => match place {
                Place::Subtree(path) => write!(f, "{} {path}", access.as_str()),
                Place::Workspace(pattern) => write!(f, "{} {pattern} in the workspace", access.as_str()),
            },
            Self::Command { program, argv } => {
                f.write_str("exec")?;
                list(f, " ", program.iter())?;
                f.write_str(" argv")?;
                argv.words().iter().try_for_each(|word| write!(f, " {}", word.as_str()))
            }
            Self::Net(net) => write!(f, "net {net}"),
            Self::Tool(tool) => write!(f, "tool {tool}"),
            Self::Env(name) => write!(f, "env {}", name.as_str()),
            Self::Unix(path) => write!(f, "unix {path}"),
            Self::Port(Only::Any) => f.write_str("port, any"),
            Self::Port(Only::These(ports)) => {
                f.write_str("port")?;
                list(f, " ", ports.iter())
            }
        }
    }
}

impl<P: fmt::Display> fmt::Display for Restriction<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.verb.as_str(), self.matter)
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "secret {} as {}", self.name, self.shape.as_str())?;
        list(f, " in variable ", self.env.iter())?;
        match &self.place {
            SecretPlace::Header { name, format } => write!(f, " placed in header {name} \"{format}\"")?,
            SecretPlace::Basic { user } => write!(f, " placed in basic \"{user}\"")?,
            SecretPlace::Query { name } => write!(f, " placed in query \"{name}\"")?,
            SecretPlace::Path => f.write_str(" placed in path")?,
            SecretPlace::Body => f.write_str(" placed in body")?,
            SecretPlace::Sigv4 { service, region } => write!(f, " signing for {service} in {region}")?,
            SecretPlace::Oauth { token_url, grant, client_id } => {
                write!(f, " exchanged at {token_url} as {} of \"{client_id}\"", grant.as_str())?;
            }
        }
        list(f, " for ", self.hosts.iter())?;
        list(f, " methods ", self.methods.these().iter().map(Method::as_str))?;
        list(f, " paths ", self.paths.these().iter().map(|glob| format!("/{}", glob.components().join("/"))))
    }
}
