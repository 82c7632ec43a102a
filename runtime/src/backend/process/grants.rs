//! Reads a profile as the process wall needs it: granted paths, closed places, limits; and refuses what it cannot hold.
//! It never leaves a rule out without saying so.

use crate::backend::process::layout::Granted;
use crate::error::{Error, Report, Result};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::PathBuf;
use stockade_jail::plan::Limits;
use stockade_policy::{AbsolutePath, Access, ExpandedProfile, Limit, Place, RuleId, WorkspacePattern};

/// Lowest port that a command may listen on: a net namespace begins with the kernel's default
/// (`net.ipv4.ip_unprivileged_port_start`, ip(7)), and nothing inside may change it or is privileged.
const UNPRIVILEGED_PORT_MIN: u16 = 1024;

/// A policy path as a path of this machine.
pub fn path(path: &AbsolutePath) -> PathBuf {
    PathBuf::from(OsStr::from_bytes(path.as_bytes()))
}

/// Granted paths, those of sockets included: a socket that is bound in can be connected to.
pub fn granted(profile: &ExpandedProfile) -> Vec<Granted> {
    let paths = profile.path_grants().map(|grant| Granted {
        path: path(grant.path),
        right: grant.access,
        presence: grant.presence,
        rule: grant.rule.to_string(),
    });
    let sockets = profile.unix_grants().map(|(socket, presence, rule)| Granted {
        path: path(socket),
        right: Access::Write,
        presence,
        rule: rule.to_string(),
    });
    paths.chain(sockets).collect()
}

/// The limits that the process wall enforces.
pub fn limits(limits: &stockade_policy::Limits) -> Limits {
    Limits {
        wall_s: limits.get(Limit::WallS),
        cpu_s: limits.get(Limit::CpuS),
        memory_mib: limits.get(Limit::MemoryMib),
        pids: limits.get(Limit::Pids),
        open_files: limits.get(Limit::OpenFiles),
        disk_mib: limits.get(Limit::DiskMib),
        output_mib: limits.get(Limit::OutputMib),
    }
}

/// A place that a rule closes although a grant covers it.
#[derive(Debug, Clone)]
pub struct Closed {
    /// What is closed.
    pub access: Access,
    /// Where.
    pub place: ClosedPlace,
    /// By which rule.
    pub rule: RuleId,
}

/// Where something is closed.
#[derive(Debug, Clone)]
pub enum ClosedPlace {
    /// One path and everything below it.
    Path(PathBuf),
    /// Whatever matches in the workspace.
    Pattern(WorkspacePattern),
}

/// The closed places of a profile.
pub fn closed(profile: &ExpandedProfile) -> Vec<Closed> {
    profile
        .closed_places()
        .map(|(access, place, rule)| Closed {
            access,
            place: match place {
                Place::Subtree(subtree) => ClosedPlace::Path(path(subtree)),
                Place::Workspace(pattern) => ClosedPlace::Pattern(pattern.clone()),
            },
            rule: rule.clone(),
        })
        .collect()
}

/// Refuses what this wall cannot hold: a grant that would be ignored is a promise broken (invariant 4).
///
/// # Errors
/// Operator: every rule that is not enforceable, each with its place.
pub fn refuse_unenforceable(profile: &ExpandedProfile, wall: stockade_jail::plan::Wall) -> Result<()> {
    let mut reports = Vec::new();
    let mut refuse = |rule: &RuleId, what: &str, hint: &str| {
        reports.push(Report { what: format!("{rule}: {what}"), hint: Some(hint.to_owned()) });
    };
    if wall == stockade_jail::plan::Wall::Landlock {
        let hint = "remove the rule, or allow user namespaces on this machine (stockade doctor)";
        for (net, rule) in profile.net_grants() {
            let what =
                format!("a grant for the network (\"{}\") is not enforceable without user namespaces", net.allowed);
            refuse(rule, &what, hint);
        }
        for secret in profile.secrets() {
            refuse(&secret.id, "a secret is not enforceable without user namespaces: it would have no way out", hint);
        }
        for (_, _, rule) in profile.unix_grants() {
            refuse(rule, "a grant for a socket is not enforceable without user namespaces", hint);
        }
        for (_, rule) in profile.port_grants() {
            let what =
                "a grant for a port inside is not enforceable without user namespaces: the loopback is the host's";
            refuse(rule, what, hint);
        }
        for closed in profile.closed_places() {
            let hint = "grant smaller paths instead, or allow user namespaces on this machine (stockade doctor)";
            refuse(closed.2, "closing a place below a grant is not enforceable without user namespaces", hint);
        }
    }
    for (ports, rule) in profile.port_grants() {
        if let Some(port) = ports.iter().find(|port| **port < UNPRIVILEGED_PORT_MIN) {
            let what = format!("a grant for port {port} inside is not enforceable: no command may listen there");
            refuse(rule, &what, "let the server listen on a port from 1024 up");
        }
    }
    let executes = granted(profile);
    let executes = |place: &ClosedPlace| match place {
        ClosedPlace::Path(closed) => executes
            .iter()
            .any(|g| g.right == Access::Exec && (closed.starts_with(&g.path) || g.path.starts_with(closed))),
        ClosedPlace::Pattern(_) => executes.iter().any(|g| {
            let workspace = path(profile.workspace());
            g.right == Access::Exec && (g.path.starts_with(&workspace) || workspace.starts_with(&g.path))
        }),
    };
    // Where nothing grants execution there is nothing to close.
    for closed in closed(profile).iter().filter(|closed| closed.access == Access::Exec && executes(&closed.place)) {
        let hint = "grant exec on smaller paths instead";
        refuse(&closed.rule, "refusing execution below a path that is granted is not enforceable", hint);
    }
    if reports.is_empty() { Ok(()) } else { Err(Error { fault: crate::error::Fault::Operator, reports }) }
}
