//! Joins a profile with what it extends, and with a project's own file.
//! It never looks for a file (the caller's lookup does), and no order of files makes the result weaker.

use crate::backend::Walls;
use crate::component::ComponentRule;
use crate::diagnostic::{Diagnostics, Findings};
use crate::guard::Guard;
use crate::limits::{Durability, Floor, Limit, Limits, RecordFloor, Recording};
use crate::name::{ProfileName, RuleId};
use crate::parse::{At, ProfileFile, ProjectFile, Tightening};
use crate::path::WrittenPath;
use crate::profile::{Profile, Source};
use crate::rule::{EnvGrant, Grant, Restriction, Rule, Secret};
use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;

/// Longest chain of `extends` and `guard`, the profile itself not counted.
pub const EXTENDS_DEPTH_MAX: usize = 8;
/// Most files of one profile.
pub const SOURCES_MAX: usize = 64;

/// Joins `file` with the profiles it names. Grants, restrictions and guards add up; of two limits, floors,
/// durabilities, recordings or backends the stricter holds; a file's own image and runtime hold against those of what it
/// extends. `lookup` finds a profile by name: `Ok(None)` when there is none.
///
/// # Errors
/// Unknown profiles, cycles, what `lookup` reports, and what only shows when files are joined.
pub fn resolve(
    file: &ProfileFile,
    lookup: &mut dyn FnMut(&ProfileName) -> Result<Option<ProfileFile>, Diagnostics>,
) -> Result<Profile, Diagnostics> {
    let mut joiner =
        Joiner { lookup, path: Vec::new(), seen: Vec::new(), joined: Joined::default(), findings: Findings::default() };
    joiner.visit(file, Take::All);
    let Joiner { mut joined, mut findings, .. } = joiner;
    check_names(&joined, &mut findings);
    let wall = core::mem::take(&mut joined.walls).asked(&file.name, &mut findings);
    let record_floor = joined.record_floor.as_ref().map_or(RecordFloor::OutcomeOnly, |(_, at)| at.value);
    let recording = joined.recording.unwrap_or(Recording::Changes);
    if let Some((file, at)) = &joined.record_floor {
        check_recorder(recording, file, at, &mut findings);
    }
    findings.finish(Some(Profile {
        name: file.name.clone(),
        description: file.description.clone(),
        sources: joined.sources,
        // Nobody said anything: the strongest wall, the cheapest promise about the disk.
        floor: joined.floor.unwrap_or(Floor::Full),
        durability: joined.durability.unwrap_or(Durability::Group),
        recording,
        record_floor,
        wall,
        grants: joined.grants,
        restrictions: joined.restrictions,
        secrets: joined.secrets,
        components: joined.components,
        limits: joined.limits,
        limit_rules: joined.limit_rules,
        protect: joined.protect,
        hold: joined.hold,
    }))
}

/// What of a file is taken.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Take {
    /// Its restrictions and guards (`guard = […]`).
    Restrictions,
    /// Everything (`extends = […]`).
    All,
}

#[derive(Default)]
struct Joined {
    sources: Vec<Source>,
    floor: Option<Floor>,
    durability: Option<Durability>,
    recording: Option<Recording>,
    /// With the file that demands it.
    record_floor: Option<(Arc<str>, At<RecordFloor>)>,
    walls: Walls,
    grants: Vec<Rule<Grant<WrittenPath>>>,
    restrictions: Vec<Rule<Restriction<WrittenPath>>>,
    secrets: Vec<Rule<Secret>>,
    components: Vec<Rule<ComponentRule>>,
    limits: Limits,
    limit_rules: Vec<(Limit, RuleId)>,
    protect: Vec<Guard>,
    hold: Vec<Guard>,
}

struct Joiner<'l> {
    lookup: &'l mut dyn FnMut(&ProfileName) -> Result<Option<ProfileFile>, Diagnostics>,
    /// From the profile itself down to the one being visited.
    path: Vec<ProfileName>,
    /// Visited, and how much of each was taken.
    seen: Vec<(ProfileName, Take)>,
    joined: Joined,
    findings: Findings,
}

impl Joiner<'_> {
    /// Parents first, each file once.
    fn visit(&mut self, file: &ProfileFile, take: Take) {
        let before = self.seen.iter().find(|(name, _)| *name == file.name).map(|(_, take)| *take);
        if before.is_some_and(|before| before >= take) {
            return;
        }
        self.path.push(file.name.clone());
        for at in &file.extends {
            self.parent(file, at, take);
        }
        for at in &file.guard {
            self.parent(file, at, Take::Restrictions);
        }
        self.path.pop();
        if before.is_none() {
            self.joined.sources.push(Source { name: file.name.clone(), file: Arc::clone(&file.file) });
            self.joined.take_restrictions(&file.tightening);
        }
        if take == Take::All {
            self.joined.take_grants(file);
            self.joined.walls.take(file, &mut self.findings);
        }
        self.seen.retain(|(name, _)| *name != file.name);
        self.seen.push((file.name.clone(), take));
    }

    fn parent(&mut self, child: &ProfileFile, at: &At<ProfileName>, take: Take) {
        let name = &at.value;
        let mut note = |what: String, hint: &str| self.findings.add(&child.file, at.line, what, hint);
        if self.path.contains(name) {
            let chain: Vec<&str> = self.path.iter().chain([name]).map(ProfileName::as_str).collect();
            return note(format!("profile extends itself: {}", chain.join(" -> ")), "remove one of these");
        }
        if self.path.len() > EXTENDS_DEPTH_MAX {
            return note(format!("profiles are nested deeper than {EXTENDS_DEPTH_MAX}"), "extend them directly");
        }
        if self.joined.sources.len() >= SOURCES_MAX {
            return note(format!("profile has more than {SOURCES_MAX} files"), "join some of them");
        }
        match (self.lookup)(name) {
            Ok(Some(parent)) if parent.name == *name => self.visit(&parent, take),
            Ok(Some(parent)) => {
                note(
                    format!("profile \"{name}\" calls itself \"{}\"", parent.name),
                    "give the file the name it has inside",
                );
            }
            Ok(None) => note(format!("unknown profile \"{name}\""), "stockade profile list shows those there are"),
            Err(diagnostics) => self.findings.extend(diagnostics),
        }
    }
}

impl Joined {
    fn take_restrictions(&mut self, from: &Tightening) {
        self.restrictions.extend(from.restrictions.iter().cloned());
        self.protect.extend(from.protect.iter().cloned());
        self.hold.extend(from.hold.iter().cloned());
    }

    fn take_grants(&mut self, file: &ProfileFile) {
        self.grants.extend(file.grants.iter().cloned());
        self.secrets.extend(file.secrets.iter().cloned());
        self.components.extend(file.components.iter().cloned());
        self.floor = self.floor.max(file.floor);
        self.durability = self.durability.max(file.durability);
        self.recording = self.recording.max(file.recording);
        let weaker = |at: &At<RecordFloor>| self.record_floor.as_ref().is_none_or(|(_, now)| now.value < at.value);
        if let Some(at) = file.record_floor.clone().filter(weaker) {
            self.record_floor = Some((Arc::clone(&file.file), at));
        }
        for (limit, at) in &file.tightening.limits {
            let id = RuleId::new(file.name.clone(), at.line, 0);
            lower(&mut self.limits, &mut self.limit_rules, *limit, at.value, id);
        }
    }
}

/// A demand on a recorder that is switched off is one that no machine meets.
fn check_recorder(recording: Recording, file: &str, at: &At<RecordFloor>, findings: &mut Findings) {
    if !at.value.fits(recording) {
        let what = format!("record_floor = \"{}\" demands a recorder, and record = \"{recording}\"", at.value);
        let hint = "write record = \"changes\", or record_floor = \"outcome-only\"";
        findings.add(file, at.line, what, hint);
    }
}

/// Lowers a limit and remembers who did.
fn lower(limits: &mut Limits, rules: &mut Vec<(Limit, RuleId)>, limit: Limit, value: u64, id: RuleId) {
    if limits.get(limit).is_none_or(|now| value < now) {
        limits.lower(limit, value);
        rules.retain(|(of, _)| *of != limit);
        rules.push((limit, id));
    }
}

/// What only shows when files are joined: names that mean two things, and names that mean nothing.
fn check_names(joined: &Joined, findings: &mut Findings) {
    for (n, secret) in joined.secrets.iter().enumerate() {
        let twin = joined.secrets.iter().take(n).find(|other| other.subject.name == secret.subject.name);
        if let Some(twin) = twin {
            let what = format!("secret \"{}\" is also in {}", secret.subject.name, twin.id);
            findings.add(&secret.file, secret.id.line(), what, "rename one");
        }
    }
    for (n, tool) in joined.components.iter().enumerate() {
        let same = |other: &&Rule<ComponentRule>| match (tool.subject.name(), other.subject.name()) {
            (Some(name), Some(other)) => name == other,
            (None, None) => tool.subject == other.subject,
            // A tool that is named for itself is meant rather than the directory's.
            (Some(_), None) | (None, Some(_)) => false,
        };
        if let Some(twin) = joined.components.iter().take(n).find(same) {
            let what = format!("{} is also in {}", tool.subject, twin.id);
            findings.add(&tool.file, tool.id.line(), what, "remove one, or rename it");
        }
    }
    for grant in &joined.grants {
        match &grant.subject {
            Grant::Net(net) => {
                let Some(name) = &net.secret else { continue };
                check_secret(grant, name, &net.allowed.host, joined, findings);
            }
            Grant::Env(EnvGrant::Set { name, value }) => {
                let twin = joined.grants.iter().take_while(|other| other.id != grant.id).find(|other| {
                    matches!(&other.subject, Grant::Env(EnvGrant::Set { name: n, value: v }) if n == name && v != value)
                });
                if let Some(twin) = twin {
                    let what = format!("variable \"{name}\" has another value in {}", twin.id);
                    findings.add(&grant.file, grant.id.line(), what, "set it once");
                }
            }
            Grant::Path { .. }
            | Grant::Tool(_)
            | Grant::Env(EnvGrant::Pass(_))
            | Grant::Unix { .. }
            | Grant::Port(_) => {}
        }
    }
}

fn check_secret(
    grant: &Rule<Grant<WrittenPath>>,
    name: &crate::name::SecretName,
    host: &crate::host::HostPattern,
    joined: &Joined,
    findings: &mut Findings,
) {
    let Some(secret) = joined.secrets.iter().find(|secret| secret.subject.name == *name) else {
        let what = format!("grant uses the unknown secret \"{name}\"");
        return findings.add(&grant.file, grant.id.line(), what, format!("add a [[secret]] with name = \"{name}\""));
    };
    if !secret.subject.hosts.iter().any(|bound| bound.covers(host)) {
        let what = format!("secret \"{name}\" is not bound to host \"{host}\"");
        let hint = format!("add \"{host}\" to the hosts of the secret ({})", secret.id);
        findings.add(&grant.file, grant.id.line(), what, hint);
    }
}

/// What to do about a line of a project's file that would weaken a profile.
const ONLY_TIGHTENS: &str = "a project can only tighten the profile: remove the line";

/// Raises a value of which the greater is the stricter.
fn raise<T: Copy + Ord + fmt::Display>(
    key: &str,
    value: &mut T,
    project: Option<&At<T>>,
    file: &str,
    findings: &mut Findings,
) {
    let Some(at) = project else { return };
    if at.value < *value {
        let what = format!("{key} = \"{}\" is weaker than the profile's \"{value}\"", at.value);
        findings.add(file, at.line, what, ONLY_TIGHTENS);
    }
    *value = (*value).max(at.value);
}

/// Tightens `profile` by a project's own file.
///
/// # Errors
/// What would weaken the profile: a higher limit, a weaker floor or durability, a smaller record. Grants are refused when the file is
/// read. They are errors rather than ignored, so that a project never seems to have a right that it has not.
pub fn tighten(profile: &Profile, project: &ProjectFile) -> Result<Profile, Diagnostics> {
    let mut findings = Findings::default();
    let mut out = profile.clone();
    out.sources.push(Source { name: ProfileName::of_project(), file: Arc::clone(&project.file) });
    let file = &project.file;
    raise("floor", &mut out.floor, project.floor.as_ref(), file, &mut findings);
    raise("durability", &mut out.durability, project.durability.as_ref(), file, &mut findings);
    raise("record", &mut out.recording, project.recording.as_ref(), file, &mut findings);
    raise("record_floor", &mut out.record_floor, project.record_floor.as_ref(), file, &mut findings);
    if let Some(at) = &project.record_floor {
        check_recorder(out.recording, file, at, &mut findings);
    }
    for (limit, at) in &project.tightening.limits {
        if let Some(now) = out.limits.get(*limit).filter(|now| at.value > *now) {
            let what = format!("{limit} = {} is higher than the profile's {now}", at.value);
            findings.add(file, at.line, what, ONLY_TIGHTENS);
        }
        let id = RuleId::new(ProfileName::of_project(), at.line, 0);
        lower(&mut out.limits, &mut out.limit_rules, *limit, at.value, id);
    }
    out.restrictions.extend(project.tightening.restrictions.iter().cloned());
    out.protect.extend(project.tightening.protect.iter().cloned());
    out.hold.extend(project.tightening.hold.iter().cloned());
    findings.finish(Some(out))
}
