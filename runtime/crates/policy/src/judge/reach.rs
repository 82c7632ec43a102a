//! Whether a rule is about a call: a grant must be certain of it, a restriction only not excluded.
//! It never combines rules: `judge` does.

use super::{bare_name_may_be, closes, gives, names};
use crate::call::{Action, Argument, Call, Command};
use crate::name::{RuleId, ToolName};
use crate::path::AbsolutePath;
use crate::profile::ExpandedProfile;
use crate::rule::{Access, Grant, Match, Matter, Place, ToolMatch};
use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;

/// A call beside the profile that judges it.
pub(super) struct Reach<'a> {
    pub(super) profile: &'a ExpandedProfile,
    pub(super) call: &'a Call,
    /// The path that the call is about, absolute.
    pub(super) target: Option<&'a AbsolutePath>,
}

impl Reach<'_> {
    /// Whether a restriction is, or may be, about the call.
    pub(super) fn restricted_by(&self, matter: &Matter<AbsolutePath>) -> bool {
        let action = self.call.action();
        match matter {
            Matter::Path { access, place } => self.path_restricted(*access, place),
            Matter::Command { program, argv } => match action {
                Action::Command(command) => {
                    argv.matches(command.argv()) && program.as_ref().is_none_or(|path| self.may_be(command, path))
                }
                Action::Read { .. }
                | Action::Write { .. }
                | Action::Connect { .. }
                | Action::Unix { .. }
                | Action::Port { .. }
                | Action::Tool { .. } => false,
            },
            Matter::Net(net) => match action {
                Action::Connect { host, port, method, path } => {
                    net.test(host, *port, method.as_ref(), path.as_ref()) != Match::No
                }
                Action::Command(_)
                | Action::Read { .. }
                | Action::Write { .. }
                | Action::Unix { .. }
                | Action::Port { .. }
                | Action::Tool { .. } => false,
            },
            Matter::Tool(tool) => match action {
                Action::Tool { args, .. } => tool_test(tool, self.call, Some(args)) != Match::No,
                Action::Command(_)
                | Action::Read { .. }
                | Action::Write { .. }
                | Action::Connect { .. }
                | Action::Unix { .. }
                | Action::Port { .. } => tool_test(tool, self.call, None) != Match::No,
            },
            Matter::Env(glob) => match action {
                Action::Command(command) => command.env().keys().any(|name| glob.matches(name.as_str().as_bytes())),
                Action::Read { .. }
                | Action::Write { .. }
                | Action::Connect { .. }
                | Action::Unix { .. }
                | Action::Port { .. }
                | Action::Tool { .. } => false,
            },
            Matter::Unix(socket) => match (action, self.target) {
                (Action::Unix { .. }, Some(path)) => socket.covers(path),
                _ => false,
            },
            Matter::Port(ports) => match action {
                Action::Port { port } => ports.is_any() || ports.these().contains(port),
                Action::Command(_)
                | Action::Read { .. }
                | Action::Write { .. }
                | Action::Connect { .. }
                | Action::Unix { .. }
                | Action::Tool { .. } => false,
            },
        }
    }

    fn path_restricted(&self, closed: Access, place: &Place<AbsolutePath>) -> bool {
        let Some(wanted) = self.wanted() else { return false };
        if !closes(closed, wanted) {
            return false;
        }
        match (place, self.target, self.call.action()) {
            (Place::Subtree(path), Some(target), _) => path.covers(target),
            (Place::Workspace(pattern), Some(target), _) => {
                self.profile.workspace().below(target).is_some_and(|inside| pattern.matches(inside))
            }
            (Place::Subtree(path), None, Action::Command(command)) => bare_name_may_be(command, path),
            (Place::Workspace(_) | Place::Subtree(_), None, _) => false,
        }
    }

    fn may_be(&self, command: &Command, path: &AbsolutePath) -> bool {
        match self.target {
            Some(target) => path.covers(target),
            // A bare name is looked up where the profile cannot see: it may be any program of that place.
            None => bare_name_may_be(command, path) || !command.program().contains(&b'/'),
        }
    }

    /// The right on its path that the action needs.
    const fn wanted(&self) -> Option<Access> {
        match self.call.action() {
            Action::Command(_) => Some(Access::Exec),
            Action::Read { .. } => Some(Access::Read),
            Action::Write { .. } => Some(Access::Write),
            Action::Connect { .. } | Action::Unix { .. } | Action::Port { .. } | Action::Tool { .. } => None,
        }
    }

    /// The grants that allow the call; none means that it is not allowed. Grants add up and never take away: of two
    /// on a host, the more specific one does not narrow the other (a deny does that), but it comes first and thereby
    /// says which secret and rate apply.
    pub(super) fn granted_by(&self) -> Vec<RuleId> {
        let mut found: Vec<((u8, usize), &RuleId)> = Vec::new();
        for rule in self.profile.grants() {
            if let Some(rank) = self.granted(&rule.subject) {
                found.push((rank, &rule.id));
            }
        }
        found.sort_by_key(|&(rank, _)| core::cmp::Reverse(rank));
        found.into_iter().map(|(_, id)| id.clone()).collect()
    }

    /// How specific the grant is, if it allows the call.
    fn granted(&self, grant: &Grant<AbsolutePath>) -> Option<(u8, usize)> {
        let yes = |is: bool, rank: (u8, usize)| is.then_some(rank);
        match (grant, self.call.action()) {
            (Grant::Path { access, path, .. }, Action::Command(_)) => match self.target {
                Some(target) => yes(*access == Access::Exec && path.covers(target), (0, path.as_bytes().len())),
                // Which file a bare name is, the kernel finds out, behind the wall.
                None => yes(*access == Access::Exec, (0, 0)),
            },
            (Grant::Path { access, path, .. }, Action::Read { .. } | Action::Write { .. }) => {
                let wanted = self.wanted()?;
                yes(gives(*access, wanted) && path.covers(self.target?), (0, path.as_bytes().len()))
            }
            (Grant::Net(net), Action::Connect { host, port, method, path }) => {
                let test = net.allowed.test(host, *port, method.as_ref(), path.as_ref());
                yes(test == Match::Yes, net.allowed.host.rank())
            }
            (Grant::Tool(tool), Action::Tool { name, args }) => {
                yes(allows(&tool.allowed, name, args), (0, tool.allowed.name.as_str().len()))
            }
            (Grant::Port(ports), Action::Port { port }) => yes(ports.contains(port), (0, 0)),
            (Grant::Unix { path, .. }, Action::Unix { .. }) => yes(path == self.target?, (0, 0)),
            _ => None,
        }
    }
}

/// Whether a grant on these tools allows this call of one.
pub(crate) fn allows(tools: &ToolMatch, name: &ToolName, args: &BTreeMap<String, Argument>) -> bool {
    tools.name.matches(name.as_str().as_bytes()) && conditions_test(tools, args) == Match::Yes
}

fn tool_test(tool: &ToolMatch, call: &Call, args: Option<&BTreeMap<String, Argument>>) -> Match {
    if !names(call).any(|name| tool.name.matches(name.as_str().as_bytes())) {
        return Match::No;
    }
    match args {
        Some(args) => conditions_test(tool, args),
        // Under the tool's name came something else than its call: its arguments are not known.
        None if tool.conditions.is_empty() => Match::Yes,
        None => Match::Open,
    }
}

fn conditions_test(tool: &ToolMatch, args: &BTreeMap<String, Argument>) -> Match {
    tool.conditions.iter().fold(Match::Yes, |so_far, condition| {
        let this = match args.get(&condition.argument).and_then(Argument::text) {
            // `..` can undo what a pattern says about the start of a path, and a default is not known here.
            Some(text) if text.split(['/', '\\']).any(|part| part == "..") => Match::Open,
            Some(text) => Match::certain(condition.any_of.iter().any(|glob| glob.matches(text))),
            None => Match::Open,
        };
        so_far.and(this)
    })
}
