//! The profile: what resolving leaves, and what a wall reads. On one machine it is an `ExpandedProfile`.
//! It never changes once made; only `resolve` and `tighten` make one, and only the latter from a project's file.

use crate::backend::{Asked, Backend, WallChoice};
use crate::component::ComponentRule;
use crate::diagnostic::{Diagnostics, Findings};
use crate::guard::{Guard, Treatment, treatment, treatment_as_leaf};
use crate::limits::{Durability, Floor, Limit, Limits, RecordFloor, Recording};
use crate::name::{Flaw, ProfileName, RuleId, ToolName};
use crate::path::{AbsolutePath, HostFacts, WrittenPath};
use crate::rule::{
    Access, EnvGrant, Grant, Matter, NetGrant, Place, Presence, Restriction, Rule, Secret, ToolMatch, Verb,
};
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;

/// A resolved profile. `P` is how it knows paths: as written, or absolute on one machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Profile<P = WrittenPath> {
    pub(crate) name: ProfileName,
    pub(crate) description: String,
    pub(crate) sources: Vec<Source>,
    pub(crate) floor: Floor,
    pub(crate) durability: Durability,
    pub(crate) recording: Recording,
    pub(crate) record_floor: RecordFloor,
    pub(crate) wall: Asked,
    pub(crate) grants: Vec<Rule<Grant<P>>>,
    pub(crate) restrictions: Vec<Rule<Restriction<P>>>,
    pub(crate) secrets: Vec<Rule<Secret>>,
    pub(crate) components: Vec<Rule<ComponentRule>>,
    pub(crate) limits: Limits,
    /// Which rule set each limit, for those who ask where it comes from.
    pub(crate) limit_rules: Vec<(Limit, RuleId)>,
    pub(crate) protect: Vec<Guard>,
    pub(crate) hold: Vec<Guard>,
}

/// A file that went into a profile.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// The name under which its rules appear.
    pub name: ProfileName,
    /// The file as the caller named it.
    pub file: Arc<str>,
}

impl<P> Profile<P> {
    /// Its name.
    pub const fn name(&self) -> &ProfileName {
        &self.name
    }

    /// One line about it; empty when it has none.
    pub fn description(&self) -> &str {
        &self.description
    }

    /// The files that went into it, parents first, a project's own last.
    pub fn sources(&self) -> &[Source] {
        &self.sources
    }

    /// The weakest enforcement under which it may run.
    pub const fn floor(&self) -> Floor {
        self.floor
    }

    /// When records must be on disk.
    pub const fn durability(&self) -> Durability {
        self.durability
    }

    /// What is recorded of its sessions.
    pub const fn recording(&self) -> Recording {
        self.recording
    }

    /// The weakest recorder under which it may run.
    pub const fn record_floor(&self) -> RecordFloor {
        self.record_floor
    }

    /// Everything allowed.
    pub fn grants(&self) -> &[Rule<Grant<P>>] {
        &self.grants
    }

    /// Everything forbidden or in need of consent.
    pub fn restrictions(&self) -> &[Rule<Restriction<P>>] {
        &self.restrictions
    }

    /// Secrets.
    pub fn secrets(&self) -> &[Rule<Secret>] {
        &self.secrets
    }

    /// Components beside the built-in tools.
    pub fn components(&self) -> &[Rule<ComponentRule>] {
        &self.components
    }

    /// The component that a call of this name means, if a rule has one: a rule that names the tool before a directory.
    pub fn component(&self, tool: &ToolName) -> Option<&Rule<ComponentRule>> {
        let about = || self.components.iter().filter(|rule| rule.subject.is_about(tool));
        about().find(|rule| rule.subject.name().is_some()).or_else(|| about().next())
    }

    /// Limits.
    pub const fn limits(&self) -> &Limits {
        &self.limits
    }

    /// The line that set a limit.
    pub fn limit_rule(&self, limit: Limit) -> Option<&RuleId> {
        self.limit_rules.iter().find(|(of, _)| *of == limit).map(|(_, rule)| rule)
    }

    /// What may not change in the workspace.
    pub fn protect(&self) -> &[Guard] {
        &self.protect
    }

    /// What may change in the workspace only with consent.
    pub fn hold(&self) -> &[Guard] {
        &self.hold
    }

    /// Grants on paths.
    pub fn path_grants(&self) -> impl Iterator<Item = PathGrant<'_, P>> {
        self.grants.iter().filter_map(|rule| match &rule.subject {
            Grant::Path { access, path, presence } => Some(PathGrant {
                access: *access,
                path,
                presence: *presence,
                rule: &rule.id,
                reason: rule.reason.as_str(),
            }),
            Grant::Net(_) | Grant::Tool(_) | Grant::Env(_) | Grant::Unix { .. } | Grant::Port(_) => None,
        })
    }

    /// Grants on unix sockets.
    pub fn unix_grants(&self) -> impl Iterator<Item = (&P, Presence, &RuleId)> {
        self.grants.iter().filter_map(|rule| match &rule.subject {
            Grant::Unix { path, presence } => Some((path, *presence, &rule.id)),
            Grant::Path { .. } | Grant::Net(_) | Grant::Tool(_) | Grant::Env(_) | Grant::Port(_) => None,
        })
    }

    /// Grants on ports inside, to be reached from the host.
    pub fn port_grants(&self) -> impl Iterator<Item = (&[u16], &RuleId)> {
        self.grants.iter().filter_map(|rule| match &rule.subject {
            Grant::Port(ports) => Some((ports.as_slice(), &rule.id)),
            Grant::Path { .. } | Grant::Net(_) | Grant::Tool(_) | Grant::Env(_) | Grant::Unix { .. } => None,
        })
    }

    /// Grants on tools.
    pub fn tool_grants(&self) -> impl Iterator<Item = &ToolMatch> {
        self.grants.iter().filter_map(|rule| match &rule.subject {
            Grant::Tool(tool) => Some(&tool.allowed),
            Grant::Path { .. } | Grant::Net(_) | Grant::Env(_) | Grant::Unix { .. } | Grant::Port(_) => None,
        })
    }

    /// Grants on variables. A later one beats an earlier one; denied names are for the caller to leave out, see
    /// [`Profile::environment`].
    pub fn env_grants(&self) -> impl Iterator<Item = (&EnvGrant, &RuleId)> {
        self.grants.iter().filter_map(|rule| match &rule.subject {
            Grant::Env(env) => Some((env, &rule.id)),
            Grant::Path { .. } | Grant::Net(_) | Grant::Tool(_) | Grant::Unix { .. } | Grant::Port(_) => None,
        })
    }

    /// Grants on hosts.
    pub fn net_grants(&self) -> impl Iterator<Item = (&NetGrant, &RuleId)> {
        self.grants.iter().filter_map(|rule| match &rule.subject {
            Grant::Net(net) => Some((net, &rule.id)),
            Grant::Path { .. } | Grant::Tool(_) | Grant::Env(_) | Grant::Unix { .. } | Grant::Port(_) => None,
        })
    }

    /// The environment of the sandbox, made from the host's: what is granted by name, then what is set, without
    /// what a rule denies or wants asked about. Sorted by name.
    pub fn environment<'h>(
        &self,
        host: impl IntoIterator<Item = (&'h [u8], &'h [u8])>,
    ) -> alloc::collections::BTreeMap<Vec<u8>, Vec<u8>> {
        let mut out = alloc::collections::BTreeMap::new();
        for (name, value) in host {
            let passes = |env: &EnvGrant| matches!(env, EnvGrant::Pass(glob) if glob.matches(name));
            if self.env_grants().any(|(env, _)| passes(env)) {
                out.insert(name.to_vec(), value.to_vec());
            }
        }
        for (env, _) in self.env_grants() {
            if let EnvGrant::Set { name, value } = env {
                out.insert(name.as_str().as_bytes().to_vec(), value.as_bytes().to_vec());
            }
        }
        out.retain(|name, _| self.env_restrictions().all(|(_, glob, _)| !glob.matches(name)));
        out
    }

    pub(crate) fn env_restrictions(&self) -> impl Iterator<Item = (Verb, &crate::glob::WordGlob, &RuleId)> {
        self.restrictions.iter().filter_map(|rule| match &rule.subject.matter {
            Matter::Env(glob) => Some((rule.subject.verb, glob, &rule.id)),
            Matter::Path { .. }
            | Matter::Command { .. }
            | Matter::Net(_)
            | Matter::Tool(_)
            | Matter::Unix(_)
            | Matter::Port(_) => None,
        })
    }

    /// Places that a wall must close for commands, whatever is granted: those denied, and those that need consent,
    /// since a wall cannot ask in the middle of a system call.
    pub fn closed_places(&self) -> impl Iterator<Item = (Access, &Place<P>, &RuleId)> {
        self.restrictions.iter().filter_map(|rule| match &rule.subject.matter {
            Matter::Path { access, place } => Some((*access, place, &rule.id)),
            Matter::Command { .. }
            | Matter::Net(_)
            | Matter::Tool(_)
            | Matter::Env(_)
            | Matter::Unix(_)
            | Matter::Port(_) => None,
        })
    }

    /// What changing what lies at `path`, relative to the workspace, needs.
    pub fn treatment(&self, path: &[u8]) -> Treatment {
        treatment(&self.protect, &self.hold, path)
    }

    /// The same, when what lies there (or shall lie there) is anything but a directory: a link or file in the place
    /// of a directory that holds guarded files is held too.
    pub fn treatment_as_leaf(&self, path: &[u8]) -> Treatment {
        treatment_as_leaf(&self.protect, &self.hold, path)
    }

    /// The treatment of `inside` in a bare repository at `repository`: that of the same file in a `.git` directory.
    /// Whether a directory is a bare repository only its content tells (`HEAD`, `objects` and `refs`), so the caller
    /// finds them.
    pub fn treatment_in_bare_repository(&self, repository: &[u8], inside: &[u8]) -> Treatment {
        let own: Vec<u8> = [repository, inside].join(&b'/');
        match self.treatment_as_leaf(&own) {
            Treatment::Free => self.treatment_as_leaf(&[repository, b".git", inside].join(&b'/')),
            decided @ (Treatment::Hold { .. } | Treatment::Protect { .. }) => decided,
        }
    }
}

/// One grant on a path, as a wall reads it.
#[derive(Debug)]
pub struct PathGrant<'a, P> {
    /// Which right.
    pub access: Access,
    /// Where, with everything below.
    pub path: &'a P,
    /// Whether it must exist.
    pub presence: Presence,
    /// The rule.
    pub rule: &'a RuleId,
    /// Why it is there.
    pub reason: &'a str,
}

impl Profile<WrittenPath> {
    /// The profile on the machine of `facts`.
    ///
    /// # Errors
    /// A path that cannot be placed there: a variable that holds no absolute path, or one that comes out as `/`. A container
    /// of which nobody has said which image it has.
    pub fn expand(&self, facts: &HostFacts<'_>) -> Result<ExpandedProfile, Diagnostics> {
        let mut findings = Findings::default();
        let grants = place_all(&self.grants, &mut findings, |grant| place_grant(grant, facts));
        let restrictions = place_all(&self.restrictions, &mut findings, |restriction| {
            Ok(Restriction { verb: restriction.verb, matter: place_matter(&restriction.matter, facts)? })
        });
        let profile = Profile {
            name: self.name.clone(),
            description: self.description.clone(),
            sources: self.sources.clone(),
            floor: self.floor,
            durability: self.durability,
            recording: self.recording,
            record_floor: self.record_floor,
            wall: self.wall.clone(),
            grants,
            restrictions,
            secrets: self.secrets.clone(),
            components: self.components.clone(),
            limits: self.limits,
            limit_rules: self.limit_rules.clone(),
            protect: self.protect.clone(),
            hold: self.hold.clone(),
        };
        let backend = self.wall.complete(&mut findings);
        let (home, workspace) = (facts.home.clone(), facts.workspace.clone());
        findings.finish(backend.map(|backend| ExpandedProfile { profile, backend, home, workspace }))
    }

    /// The profile behind the wall that somebody who starts a session chose. A project's own file has no such choice.
    ///
    /// # Errors
    /// A container that no image is named for, here or in the profile.
    pub fn behind(&self, choice: &WallChoice) -> Result<Self, Flaw> {
        Ok(Self { wall: self.wall.choose(choice)?, ..self.clone() })
    }
}

fn place_all<S, T>(rules: &[Rule<S>], findings: &mut Findings, f: impl Fn(&S) -> Result<T, Flaw>) -> Vec<Rule<T>> {
    let mut out = Vec::with_capacity(rules.len());
    for rule in rules {
        match rule.map(&f) {
            Ok(placed) => out.push(placed),
            Err(flaw) => findings.add(&rule.file, rule.id.line(), flaw.what, flaw.hint),
        }
    }
    out
}

fn place_grant(grant: &Grant<WrittenPath>, facts: &HostFacts<'_>) -> Result<Grant<AbsolutePath>, Flaw> {
    Ok(match grant {
        Grant::Path { access, path, presence } => {
            Grant::Path { access: *access, path: path.place(facts)?, presence: *presence }
        }
        Grant::Unix { path, presence } => Grant::Unix { path: path.place(facts)?, presence: *presence },
        Grant::Net(net) => Grant::Net(net.clone()),
        Grant::Port(ports) => Grant::Port(ports.clone()),
        Grant::Tool(tool) => Grant::Tool(tool.clone()),
        Grant::Env(env) => Grant::Env(env.clone()),
    })
}

fn place_matter(matter: &Matter<WrittenPath>, facts: &HostFacts<'_>) -> Result<Matter<AbsolutePath>, Flaw> {
    Ok(match matter {
        Matter::Path { access, place } => {
            let place = match place {
                Place::Subtree(path) => Place::Subtree(path.place(facts)?),
                Place::Workspace(pattern) => Place::Workspace(pattern.clone()),
            };
            Matter::Path { access: *access, place }
        }
        Matter::Command { program, argv } => {
            let program = program.as_ref().map(|path| path.place(facts)).transpose()?;
            Matter::Command { program, argv: argv.clone() }
        }
        Matter::Net(net) => Matter::Net(net.clone()),
        Matter::Tool(tool) => Matter::Tool(tool.clone()),
        Matter::Env(name) => Matter::Env(name.clone()),
        Matter::Unix(path) => Matter::Unix(path.place(facts)?),
        Matter::Port(ports) => Matter::Port(ports.clone()),
    })
}

/// A profile on one machine, for one workspace: what calls are judged by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExpandedProfile {
    pub(crate) profile: Profile<AbsolutePath>,
    /// What the profile's wall came to; made of it, and only by `expand`.
    backend: Backend,
    pub(crate) home: AbsolutePath,
    pub(crate) workspace: AbsolutePath,
}

impl ExpandedProfile {
    /// The profile, its paths absolute.
    pub const fn profile(&self) -> &Profile<AbsolutePath> {
        &self.profile
    }

    /// What its sessions run behind.
    pub const fn backend(&self) -> &Backend {
        &self.backend
    }

    /// Home directory of the user who starts the session.
    pub const fn home(&self) -> &AbsolutePath {
        &self.home
    }

    /// The workspace.
    pub const fn workspace(&self) -> &AbsolutePath {
        &self.workspace
    }
}

impl core::ops::Deref for ExpandedProfile {
    type Target = Profile<AbsolutePath>;

    fn deref(&self) -> &Self::Target {
        &self.profile
    }
}
