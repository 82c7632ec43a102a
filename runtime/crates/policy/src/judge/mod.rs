//! Judges calls: deny beats ask, ask beats grant, and what is not granted is denied.
//! It never looks at anything but the profile and the call, and never at how often or in what order calls came.

mod decision;
mod reach;

pub use decision::{Approval, Approver, Ask, Asking, Decision, Denial, Grounds, Permit, Refusal};

use crate::call::{Action, Call, Command};
use crate::glob::last;
use crate::guard::Treatment;
use crate::host::Host;
use crate::limits::{Limit, Limits};
use crate::name::{Flaw, RuleId, SecretName, ToolName};
use crate::path::AbsolutePath;
use crate::profile::ExpandedProfile;
use crate::rule::{Access, Match, Matter, Method, NetGrant, SecretPlace, Verb};
use alloc::format;
use alloc::string::{String, ToString as _};
use alloc::vec::Vec;
use reach::Reach;
pub(crate) use reach::allows;

/// The session's private directory for temporary files, which every sandbox has.
pub const PRIVATE_TMP: &str = "/tmp";

/// What would become of an action: the same answer as `judge` gives, without the power to run anything.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// It would be allowed.
    Allowed(Grounds),
    /// Somebody would be asked.
    Asks(Vec<Asking>),
    /// It would be denied.
    Denied(Refusal),
}

/// What is known about connections to one port of a host before any request on them is seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Door {
    /// No connection can be allowed.
    Shut(Refusal),
    /// What it carries does not matter: one judgement, of [`Action::Connect`] without method and path, is enough.
    Whole,
    /// It depends on each request, or a secret may be put into one.
    Requests,
}

impl ExpandedProfile {
    /// What connections to a port of a host are worth. [`Door::Shut`] is final; the others only say what is to be judged.
    pub fn door(&self, host: &Host, port: u16) -> Door {
        let connect = || Action::Connect { host: host.clone(), port, method: None, path: None };
        let granted = || self.net_grants().filter(|(net, _)| net.allowed.test(host, port, None, None) != Match::No);
        if granted().next().is_none() {
            let call = Call::new(ToolName::net(), connect());
            return Door::Shut(self.not_granted(&call, None));
        }
        let mut depends = granted().any(|(net, _)| net.secret.is_some() || net.allowed.looks_inside())
            || self.secrets().iter().any(|secret| secret.subject.hosts.iter().any(|pattern| pattern.matches(host)));
        for rule in self.restrictions() {
            let Matter::Net(net) = &rule.subject.matter else { continue };
            match (net.test(host, port, None, None), rule.subject.verb) {
                (Match::Yes, Verb::Deny) => {
                    let call = Call::new(ToolName::net(), connect());
                    return Door::Shut(self.forbidden(&call, &rule.id, rule.reason.as_str()));
                }
                (Match::Open, _) => depends = true,
                (Match::Yes, Verb::Ask) | (Match::No, _) => {}
            }
        }
        if depends { Door::Requests } else { Door::Whole }
    }

    /// Decides about a call. Total and pure: the same profile and call give the same decision, forever.
    pub fn judge(&self, call: Call) -> Decision {
        match self.answer(&call, None, None) {
            Answer::Allowed(grounds) => Decision::Permit(Permit::new(call, grounds)),
            Answer::Asks(rules) => Decision::Ask(Ask::new(call, rules)),
            Answer::Denied(refusal) => Decision::Denial(Denial::new(call, refusal)),
        }
    }

    /// Decides about the request by which a secret is exchanged for tokens, at the one endpoint that its own rule names.
    /// That rule grants it, to whoever makes it for the sandbox and not to the sandbox, which needs no grant for the
    /// endpoint's host; what restricts requests there restricts this one too. `None` for a secret that is not exchanged.
    pub fn judge_exchange(&self, secret: &SecretName) -> Option<Decision> {
        let mut named = self.secrets().iter().filter(|rule| rule.subject.name == *secret);
        let (rule, url) = named.find_map(|rule| match &rule.subject.place {
            SecretPlace::Oauth { token_url, .. } => Some((&rule.id, token_url)),
            SecretPlace::Header { .. }
            | SecretPlace::Basic { .. }
            | SecretPlace::Query { .. }
            | SecretPlace::Path
            | SecretPlace::Body
            | SecretPlace::Sigv4 { .. } => None,
        })?;
        let method = Method::parse("POST").expect("a method, which token endpoints want (RFC 6749, 3.2)");
        let (host, port, path) = (url.host.clone(), url.port, Some(url.path.clone()));
        let call = Call::new(ToolName::net(), Action::Connect { host, port, method: Some(method), path });
        Some(match self.answer(&call, None, Some(rule)) {
            Answer::Allowed(grounds) => Decision::Permit(Permit::new(call, grounds)),
            Answer::Asks(rules) => Decision::Ask(Ask::new(call, rules)),
            Answer::Denied(refusal) => Decision::Denial(Denial::new(call, refusal)),
        })
    }

    /// Where a host is and who signs for it: the most specific grant that names host and port, whatever it allows there.
    pub fn net_grant_of(&self, host: &Host, port: u16) -> Option<(&NetGrant, &RuleId)> {
        let named = self.net_grants().filter(|(net, _)| net.allowed.test(host, port, None, None) != Match::No);
        named.max_by_key(|(net, _)| net.allowed.host.rank())
    }

    /// Decides again about a call to which somebody agreed. A rule that did not ask then still asks.
    pub fn judge_approved(&self, approval: Approval) -> Decision {
        let (call, rules, by) = approval.into_parts();
        match self.answer(&call, Some((&rules, &by)), None) {
            Answer::Allowed(grounds) => Decision::Permit(Permit::new(call, grounds)),
            Answer::Asks(rules) => Decision::Ask(Ask::new(call, rules)),
            Answer::Denied(refusal) => Decision::Denial(Denial::new(call, refusal)),
        }
    }

    /// What `judge` would say about a call.
    pub fn would(&self, call: &Call) -> Answer {
        self.answer(call, None, None)
    }

    /// `own` is a rule that grants the call by itself.
    fn answer(&self, call: &Call, approval: Option<(&[RuleId], &Approver)>, own: Option<&RuleId>) -> Answer {
        let target = match self.target(call.action()) {
            Ok(target) => target,
            Err(refusal) => return Answer::Denied(refusal),
        };
        let reach = Reach { profile: self, call, target: target.as_ref() };
        let mut asking = Vec::new();
        for rule in self.restrictions().iter().filter(|rule| reach.restricted_by(&rule.subject.matter)) {
            match rule.subject.verb {
                Verb::Deny => return Answer::Denied(self.forbidden(call, &rule.id, rule.reason.as_str())),
                Verb::Ask => asking.push(Asking { rule: rule.id.clone(), reason: rule.reason.to_string() }),
            }
        }
        let treatment = match self.write_treatment(call.action(), target.as_ref()) {
            Treatment::Protect { rule } => return Answer::Denied(self.protected(call, &rule)),
            free_or_held @ (Treatment::Free | Treatment::Hold { .. }) => free_or_held,
        };
        let mut rules: Vec<RuleId> = own.cloned().into_iter().chain(reach.granted_by()).collect();
        if rules.is_empty() {
            return Answer::Denied(self.not_granted(call, target.as_ref()));
        }
        let agreed = |rule: &RuleId| approval.is_some_and(|(rules, _)| rules.contains(rule));
        if asking.iter().any(|asking| !agreed(&asking.rule)) {
            return Answer::Asks(asking);
        }
        let approved_by = approval.filter(|_| !asking.is_empty()).map(|(_, by)| by.clone());
        rules.extend(asking.into_iter().map(|asking| asking.rule));
        let limits = self.limits_for(call.action());
        let place = match call.action() {
            Action::Command(command) => self.directory(command).ok(),
            Action::Read { .. } | Action::Write { .. } | Action::Unix { .. } => target,
            Action::Connect { .. } | Action::Port { .. } | Action::Tool { .. } => None,
        };
        Answer::Allowed(Grounds { rules, approved_by, limits, place, treatment })
    }

    /// The path that an action is about: for a command its program, when it is named by a path.
    fn target(&self, action: &Action) -> Result<Option<AbsolutePath>, Refusal> {
        match action {
            Action::Command(command) => {
                let directory = self.directory(command)?;
                if !command.program().contains(&b'/') {
                    return Ok(None);
                }
                directory.walk(command.program()).map(Some).map_err(malformed)
            }
            Action::Read { path } | Action::Write { path } | Action::Unix { path } => {
                self.workspace().walk(path.as_bytes()).map(Some).map_err(malformed)
            }
            Action::Connect { .. } | Action::Port { .. } | Action::Tool { .. } => Ok(None),
        }
    }

    /// The directory of a command. What a model names as its directory must not become a place that it can write to
    /// (CVE-2025-59532); here it could not, since grants alone decide that, but a command has no business elsewhere.
    fn directory(&self, command: &Command) -> Result<AbsolutePath, Refusal> {
        let Some(cwd) = command.cwd() else { return Ok(self.workspace().clone()) };
        let directory = self.workspace().walk(cwd.as_bytes()).map_err(malformed)?;
        let private_tmp = AbsolutePath::root().walk(PRIVATE_TMP.as_bytes()).map_err(malformed)?;
        if self.workspace().covers(&directory) || private_tmp.covers(&directory) {
            return Ok(directory);
        }
        Err(Refusal {
            rule: None,
            reason: format!("directory \"{directory}\" is outside the workspace"),
            instead: alloc::vec![self.workspace().to_string(), PRIVATE_TMP.into()],
            ask: "start the session with another --workspace".into(),
        })
    }

    fn limits_for(&self, action: &Action) -> Limits {
        let mut limits = *self.limits();
        if let Action::Command(command) = action
            && let Some(wall_s) = command.wall_s()
        {
            limits.lower(Limit::WallS, wall_s);
        }
        limits
    }

    fn write_treatment(&self, action: &Action, target: Option<&AbsolutePath>) -> Treatment {
        match (action, target) {
            (Action::Write { .. }, Some(path)) => match self.workspace().below(path) {
                Some(inside) => self.treatment_as_leaf(inside),
                None => Treatment::Free,
            },
            (Action::Write { .. }, None) => Treatment::Free,
            (
                Action::Command(_)
                | Action::Read { .. }
                | Action::Connect { .. }
                | Action::Unix { .. }
                | Action::Port { .. }
                | Action::Tool { .. },
                _,
            ) => Treatment::Free,
        }
    }

    fn forbidden(&self, call: &Call, rule: &RuleId, reason: &str) -> Refusal {
        Refusal {
            rule: Some(rule.clone()),
            reason: format!("{} is forbidden: {reason}", describe(call)),
            instead: self.alternatives(call),
            ask: "say what you need it for; the profile's owner can change the rule".into(),
        }
    }

    fn protected(&self, call: &Call, rule: &RuleId) -> Refusal {
        Refusal {
            rule: Some(rule.clone()),
            reason: format!("{} is forbidden: the file is protected", describe(call)),
            instead: self.alternatives(call),
            ask: "describe the change, so that a person can make it".into(),
        }
    }

    fn not_granted(&self, call: &Call, target: Option<&AbsolutePath>) -> Refusal {
        let at = match (call.action(), target) {
            (Action::Command(_), Some(path)) => format!(" (\"{path}\")"),
            _ => String::new(),
        };
        Refusal {
            rule: None,
            reason: format!("{}{at} is not granted by profile \"{}\"", describe(call), self.name()),
            instead: self.alternatives(call),
            ask: "say what you need it for; a grant with a reason in the profile allows it".into(),
        }
    }

    /// What would be allowed in place of a denied call; at most a handful, since a model reads it.
    fn alternatives(&self, call: &Call) -> Vec<String> {
        const SHOWN_MAX: usize = 8;
        let paths = |wanted: &[Access]| -> Vec<String> {
            let fits = self.path_grants().filter(|grant| wanted.contains(&grant.access));
            fits.map(|grant| format!("{} below \"{}\"", grant.access.as_str(), grant.path)).take(SHOWN_MAX).collect()
        };
        match call.action() {
            Action::Command(_) => paths(&[Access::Exec]),
            Action::Read { .. } => paths(&[Access::Read, Access::Write, Access::Exec]),
            Action::Write { .. } => paths(&[Access::Write]),
            Action::Connect { .. } => {
                self.net_grants().map(|(net, _)| net.allowed.to_string()).take(SHOWN_MAX).collect()
            }
            Action::Unix { .. } => self.unix_grants().map(|(path, ..)| path.to_string()).take(SHOWN_MAX).collect(),
            Action::Port { .. } => {
                let ports = self.port_grants().flat_map(|(ports, _)| ports);
                ports.map(|port| format!("port {port}")).take(SHOWN_MAX).collect()
            }
            Action::Tool { .. } => self.tool_grants().map(|tool| tool.to_string()).take(SHOWN_MAX).collect(),
        }
    }
}

fn malformed(flaw: Flaw) -> Refusal {
    Refusal { rule: None, reason: flaw.what, instead: Vec::new(), ask: flaw.hint }
}

/// The call in a few words, shortened: its text is the agent's.
fn describe(call: &Call) -> String {
    const SHOWN_BYTES_MAX: usize = 200;
    let shorten = |bytes: &[u8]| -> String {
        let shown = bytes.get(..SHOWN_BYTES_MAX).unwrap_or(bytes);
        let dots = if shown.len() < bytes.len() { "…" } else { "" };
        format!("{}{dots}", crate::diagnostic::PrintableBytes(shown))
    };
    match call.action() {
        Action::Command(command) => format!("running \"{}\"", shorten(command.program())),
        Action::Read { path } => format!("reading \"{}\"", shorten(path.as_bytes())),
        Action::Write { path } => format!("writing \"{}\"", shorten(path.as_bytes())),
        Action::Connect { host, port, .. } => format!("connecting to \"{host}\" port {port}"),
        Action::Unix { path } => format!("connecting to socket \"{}\"", shorten(path.as_bytes())),
        Action::Port { port } => format!("reaching port {port} inside"),
        Action::Tool { name, .. } => format!("calling tool \"{name}\""),
    }
}

/// Whether a bare name could stand for the program at `path`.
fn bare_name_may_be(command: &Command, path: &AbsolutePath) -> bool {
    !command.program().contains(&b'/') && path.file_name() == last(command.program())
}

/// The names that a call goes by: the tool it calls, and the label under which it came.
fn names(call: &Call) -> impl Iterator<Item = &ToolName> {
    let called = match call.action() {
        Action::Tool { name, .. } => Some(name),
        Action::Command(_)
        | Action::Read { .. }
        | Action::Write { .. }
        | Action::Connect { .. }
        | Action::Unix { .. }
        | Action::Port { .. } => None,
    };
    called.into_iter().chain([call.tool()])
}

/// Kept here so that the two sides of a rule about paths stay side by side.
const fn closes(closed: Access, wanted: Access) -> bool {
    matches!((closed, wanted), (Access::Read, _) | (Access::Write, Access::Write) | (Access::Exec, Access::Exec))
}

/// Whether a grant of `granted` gives `wanted`: who may write or execute may read.
const fn gives(granted: Access, wanted: Access) -> bool {
    matches!((granted, wanted), (_, Access::Read) | (Access::Write, Access::Write) | (Access::Exec, Access::Exec))
}
