//! The tools of a session: what a name means, what a call of it gets, and the way of a call through its component.
//! It never runs a component that this program or the profile does not name, nor gives one what the profile does not.

mod built_in;
mod clean;
mod disk;
mod few;
mod given;
mod promises;
mod registry;
mod told;
mod workers;

pub use given::{Surroundings, given};
pub use registry::{Known, Origin, Registry};
pub use workers::compiler;

use crate::backend::process::{Outside, ProcessWall};
use crate::backend::wasm::{
    CallGrant, Carries, End, Failure, Files, Progress, Reply, ToolIo, ToolRan, ToolUsage, ToolWall, Use, What,
};
use crate::egress::{self, ToolStream};
use crate::error::{Error, Fault, Result};
use crate::journal::{Claim, Logged, Wanted};
use crate::secrets::scrub::Patterns;
use crate::session::open::Options;
use crate::session::settle::{self, Settled};
use crate::session::{Outcome, Session, told as hits_told};
use clean::Cleaner;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use stockade_audit::Receipt;
use stockade_audit::record::{self as log, CallId, Digest, Record};
use stockade_policy::{Permit, Refusal, ToolName};
use told::Teller;

/// Streams to the outlet that one call may have open.
const STREAMS_MAX: usize = 64;

/// A call of a tool that ran, was looked after and is in the log.
#[derive(Debug)]
pub struct Called {
    /// How it went; nothing in it has a secret.
    pub ran: ToolRan,
    /// What it changed.
    pub settled: Settled,
    /// What its component said that its replies have.
    pub promised: Promised,
    /// Where its result is in the log.
    pub receipt: Receipt,
}

/// What a component's manifest says of its replies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Promised {
    /// Structured content, by a schema.
    Structured,
    /// Nothing but text: what else comes, comes.
    Text,
}

/// What a session needs for its tools.
pub(super) struct Tools {
    registry: Registry,
    /// Made for the first call: most sessions have none.
    wall: OnceLock<ToolWall>,
    beside: Arc<ProcessWall>,
    state: PathBuf,
    around: Surroundings,
    /// Instances that were started.
    instances: AtomicU64,
}

impl fmt::Debug for Tools {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tools").field("registry", &self.registry).finish_non_exhaustive()
    }
}

impl Tools {
    /// Of a session whose workspace is `directory` inside, with these variables. Nothing is read or started yet.
    pub(super) fn new(
        options: &Options,
        wall: &Arc<ProcessWall>,
        directory: PathBuf,
        environment: BTreeMap<Vec<u8>, Vec<u8>>,
    ) -> Self {
        let paths = &options.paths;
        Self {
            registry: Registry::new(&paths.state, &paths.workspace, options.user.uid),
            wall: OnceLock::new(),
            beside: Arc::clone(wall),
            state: paths.state.clone(),
            around: Surroundings { directory, environment },
            instances: AtomicU64::new(0),
        }
    }

    /// The wall that tools run in, made for the first call of one.
    fn wall(&self) -> Result<&ToolWall> {
        if let Some(wall) = self.wall.get() {
            return Ok(wall);
        }
        let made = workers::wall(&self.beside, &self.state)?;
        Ok(self.wall.get_or_init(|| made))
    }

    /// Whether what a name means is known by now.
    pub(super) fn knows(&self, name: &ToolName) -> bool {
        self.registry.has(name)
    }

    /// The component that a call means, or why there is none, for whoever calls.
    pub(super) fn find(
        &self,
        profile: &stockade_policy::ExpandedProfile,
        name: &ToolName,
    ) -> std::result::Result<Known, Refusal> {
        self.registry.find(profile, name).map_err(|error| {
            let report = error.reports.into_iter().next();
            let (reason, hint) = report.map_or_else(Default::default, |report| (report.what, report.hint));
            let ask = hint.unwrap_or_else(|| "tell whoever runs the sandbox".to_owned());
            Refusal { rule: None, reason, instead: Vec::new(), ask }
        })
    }
}

/// Streams to the outlet of one call.
#[derive(Default)]
struct Streams {
    open: Vec<ToolStream>,
    /// How many were asked for.
    asked: u64,
}

impl Streams {
    /// Lets go of those that are over; refuses where there are too many others.
    fn room(&mut self) -> Result<()> {
        self.open.retain(|stream| !stream.is_over());
        if self.open.len() < STREAMS_MAX {
            return Ok(());
        }
        Err(Error::guest(format!("a call may have {STREAMS_MAX} requests on their way"))
            .hint("read the answers that are there before asking for more"))
    }
}

/// What runs, and in what place.
struct Instance {
    t: u64,
    id: CallId,
    name: ToolName,
    known: Known,
    grant: CallGrant,
}

impl Session {
    /// The component that a name means in this session, and what a call of it would get.
    ///
    /// # Errors
    /// Operator: as [`Registry::find`].
    pub fn tool(&self, name: &ToolName) -> Result<(Known, CallGrant)> {
        let known = self.tools.registry.find(&self.profile, name)?;
        let granted = self.profile.ambient_for(name, None);
        let grant =
            given(known.component.manifest(), &self.profile, granted, self.profile.limits(), &self.tools.around);
        Ok((known, grant))
    }

    /// Every tool that is a component, whether or not the profile grants it.
    ///
    /// # Errors
    /// Operator: a directory that the profile names cannot be read.
    pub fn tool_names(&self) -> Result<BTreeSet<ToolName>> {
        self.tools.registry.names(&self.profile)
    }

    /// The way of a permitted call of a tool: logged with its start, run, compared, sealed.
    pub(super) fn use_tool(
        &mut self,
        claim: Claim,
        permit: Permit,
        known: Known,
        outside: &mut dyn Outside,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<Outcome> {
        let stockade_policy::Action::Tool { name, args } = permit.call().action() else {
            return Err(Error::bug("a call that is not one of a tool came to a component"));
        };
        let (granted, limits) = (self.profile.ambient_for(name, Some(args)), &permit.grounds().limits);
        let grant = given(known.component.manifest(), &self.profile, granted, limits, &self.tools.around);
        let t = self.tools.instances.fetch_add(1, Ordering::Relaxed) + 1;
        let instance = Instance { t, id: claim.id().clone(), name: name.clone(), known, grant };
        // What only reads leaves nothing to look for: by the kernel, its worker can change nothing.
        let before = match instance.grant.files {
            Files::None | Files::Read => Ok(None),
            Files::Write => settle::before(&self.layer).map(Some),
        };
        // What cannot be looked at is not changed either: then nothing starts, and what was claimed is in the log all the same.
        let before = match before {
            Ok(before) => before,
            Err(error) => {
                let _undecided = self.journal.put_down(claim)?;
                return Err(error);
            }
        };
        let logged = self.journal.commit_with(claim, permit, Some(started(&instance)))?;
        // Asked for each call: a secret may have been replaced since the last one.
        let patterns = self.secrets.as_ref().and_then(|secrets| secrets.vault.all_patterns());
        let (ran, end) = self.run_tool(&instance, logged, patterns.clone(), outside, progress)?;
        let settled = match self.look_after(&instance, before) {
            Ok(settled) => settled,
            Err(error) => {
                // Its account is whole, whatever becomes of its effects.
                self.journal.saw(&[end])?;
                return Err(error);
            }
        };
        let receipt = self.seal_tool(&instance, &ran, end, &settled)?;
        let promised = match instance.known.component.manifest().output_schema {
            Some(_) => Promised::Structured,
            None => Promised::Text,
        };
        Ok(Outcome::Called(Box::new(Called { ran, settled, promised, receipt })))
    }

    /// What it changed.
    fn look_after(&mut self, instance: &Instance, before: Option<settle::Before>) -> Result<Settled> {
        let Some(before) = before else { return Ok(Settled { waiting: self.waiting, ..Settled::default() }) };
        let mut settled = settle::after(&self.layer, self.profile.profile(), before, &mut self.known)?;
        self.hide(&instance.id, &mut settled)?;
        self.waiting = settled.waiting;
        Ok(settled)
    }

    /// Runs it, with every use in the log when this returns, and gives its end, which is sealed with the result; what it
    /// answers has no secret any more.
    fn run_tool(
        &self,
        instance: &Instance,
        logged: Logged,
        patterns: Option<Arc<Patterns>>,
        outside: &mut dyn Outside,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<(ToolRan, Record)> {
        let cleaner = Cleaner::new(patterns.clone());
        let workspace = self.tools.around.directory.as_os_str().as_bytes().to_vec();
        let mut teller = Teller::new(instance.t, workspace, patterns);
        let mut streams = Streams::default();
        // What ends the session and not only this call.
        let mut broken: Option<Error> = None;
        // Requests and sockets that it told of, each of which has to be met by a record of the outlet.
        let mut wanting = 0;
        let mut connect = |carries| self.connect(&instance.id, &mut streams, carries);
        let written = disk::Written::default();
        let mut guard =
            disk::Guard::new(outside, instance.grant.files, &logged.grounds().limits, &self.tools.beside, &written)?;
        let mut used = |uses: Vec<Use>| {
            written.add(&uses);
            // Each is told by itself. A worker that says of one that it was many is not ours any more.
            wanting += uses.iter().filter(|used| is_sent(used)).count() as u64;
            self.used(instance, &mut teller, uses).inspect_err(|error| broken = Some(error.clone()))
        };
        let mut clean_progress = |said: Progress| progress(cleaner.progress(said));
        let io = ToolIo { connect: &mut connect, used: &mut used, progress: &mut clean_progress, outside: &mut guard };
        let ran = promises::asked(&instance.known, &logged, &cleaner)
            .and_then(|()| self.tools.wall()?.run(logged, &instance.known.component, &instance.grant, io));
        // What it asked for and did not wait for goes nowhere any more, and is in the log before its end is.
        let Streams { mut open, asked } = streams;
        open.iter_mut().for_each(ToolStream::shut);
        drop(open);
        if let Some(broken) = broken {
            return Err(broken);
        }
        let mut ran = ran.map(|(_, ran)| ran).or_else(failed)?;
        promises::kept(&instance.known, &mut ran, &cleaner);
        if let (Some(hit), false) = (guard.end(), matches!(ran.end, End::Limit(_))) {
            ran.end = End::Limit(hit);
        }
        for _ in asked..wanting {
            let account = self.journal.account(None).of_call(instance.id.clone());
            account.refused(None, Wanted::default(), "unheard", "it ended before its request was read")?;
        }
        let hits = cleaner.ran(&mut ran);
        self.journal.scribe().scrubbed(&instance.id, hits_told(hits, "the tool's answer"))?;
        let (last, uses, names) = teller.end();
        let last: Vec<Record> = last.into_iter().map(|used| Record::new(used).of_call(&instance.id)).collect();
        self.journal.saw(&last)?;
        self.journal.scribe().scrubbed(&instance.id, hits_told(names, "a name that the tool used"))?;
        if ran.uses_lost > 0 {
            self.journal.gap(ran.uses_lost, "a worker ended before it could tell what its tool did")?;
        }
        let (cause, status, why) = told::end(&ran.end);
        let end = log::ToolEnd {
            t: instance.t,
            cause,
            status,
            why,
            wall_us: ran.usage.wall_us,
            cpu_us: ran.usage.cpu_us,
            mem_bytes: ran.usage.memory_peak_bytes,
            uses,
        };
        Ok((ran, Record::new(end).of_call(&instance.id)))
    }

    /// A stream for one request or socket of a call. One that is not to be had is a refusal in the log.
    fn connect(&self, call: &CallId, streams: &mut Streams, carries: Carries) -> Result<OwnedFd> {
        streams.asked += 1;
        let made = match &self.outlet {
            None => Err(no_network(&self.profile)),
            Some(outlet) => streams.room().and_then(|()| match carries {
                Carries::Requests => outlet.tool_stream(call),
                Carries::Socket => outlet.tool_socket(call),
            }),
        };
        match made {
            Ok((stream, end)) => {
                streams.open.push(stream);
                Ok(end)
            }
            Err(error) => {
                let why = error.reports.first().map(|report| report.what.clone()).unwrap_or_default();
                let account = self.journal.account(None).of_call(call.clone());
                account.refused(None, Wanted::default(), "streams", why)?;
                Err(error)
            }
        }
    }

    /// What a tool did goes into the log; a request that nobody could take is refused there too.
    fn used(&self, instance: &Instance, teller: &mut Teller, uses: Vec<Use>) -> Result<()> {
        let refused: Vec<Wanted> = match &self.outlet {
            Some(_) => Vec::new(),
            None => uses.iter().filter_map(wanted).collect(),
        };
        let records: Vec<Record> =
            teller.tell(uses).into_iter().map(|used| Record::new(used).of_call(&instance.id)).collect();
        self.journal.saw(&records)?;
        for wanted in refused {
            let error = no_network(&self.profile);
            let reason = error.reports.into_iter().next().map(|report| report.what).unwrap_or_default();
            let account = self.journal.account(None).of_call(instance.id.clone());
            account.refused(None, wanted, "not granted", reason)?;
        }
        Ok(())
    }

    /// Everything that was seen, then the result.
    fn seal_tool(&self, instance: &Instance, ran: &ToolRan, end: Record, settled: &Settled) -> Result<Receipt> {
        let mut seen: Vec<Record> = Vec::new();
        if let End::Limit(hit) = &ran.end {
            seen.push(Record::new(super::records::limit(hit)));
        }
        seen.extend(settled.outcomes.iter().cloned().map(Record::new));
        let seen = seen.into_iter().map(|record| record.of_call(&instance.id));
        let seen: Vec<Record> = std::iter::once(end).chain(seen).collect();
        self.unnameable(settled)?;
        let answer = match &ran.end {
            End::Answered(Reply { text, structured, .. }) => structured.as_ref().map_or(text.as_str(), String::as_str),
            End::Refused(failure) => clean::why(failure),
            End::Trapped { why } | End::Died { why } => why,
            End::Limit(_) | End::Cancelled => "",
        };
        let printed = [ran.printed.stdout.as_slice(), &ran.printed.stderr].concat();
        let output = [self.keep_bytes(answer.as_bytes(), 0)?, self.keep_bytes(&printed, ran.printed.cut)?];
        self.journal.seal(&instance.id, seen, told::outcome(instance.t, ran, output))
    }
}

/// A call that no worker could take has failed; the session goes on. A bug of ours ends it.
fn failed(error: Error) -> Result<ToolRan> {
    let why = || {
        let said = error.reports.iter().map(|report| match &report.hint {
            Some(hint) => format!("{} ({hint})", report.what),
            None => report.what.clone(),
        });
        said.collect::<Vec<_>>().join("; ")
    };
    let end = match error.fault {
        Fault::Bug => return Err(error),
        // It asks for what no tool takes.
        Fault::Guest => End::Refused(Failure::InvalidArguments(why())),
        // Its component cannot run at all: trying again does not help.
        Fault::Operator => End::Trapped { why: why() },
        Fault::Host => End::Died { why: why() },
    };
    Ok(ToolRan { end, usage: ToolUsage::default(), printed: Default::default(), uses_lost: 0 })
}

fn no_network(profile: &stockade_policy::ExpandedProfile) -> Error {
    Error::guest(format!("profile \"{}\" grants no network", profile.name()))
        .hint("say what you need it for; a grant with a reason in the profile allows it")
}

/// That it starts, and with what.
fn started(instance: &Instance) -> Record {
    let start = log::ToolStart {
        t: instance.t,
        tool: instance.name.to_string(),
        h: Digest(*instance.known.component.digest()),
        files: told::files(instance.grant.files),
        net: told::net(&instance.grant),
    };
    Record::new(start).of_call(&instance.id)
}

/// Whether a use is a request or a socket for which the outlet was asked.
fn is_sent(used: &Use) -> bool {
    matches!(used.what, What::Request { .. } | What::Connect) && used.errno.is_none()
}

/// What a request wanted that was not made.
fn wanted(used: &Use) -> Option<Wanted> {
    let What::Request { method } = &used.what else { return None };
    used.errno?;
    let (host, port) = egress::target(&used.path).unzip();
    let host = host.unwrap_or_default();
    Some(Wanted { host, port, method: Some(method.clone()), path: None })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn end(error: Error) -> End {
        failed(error.hint("h")).unwrap_or_else(|error| panic!("{error}")).end
    }

    #[test]
    fn only_what_may_go_better_the_next_time_is_a_worker_that_ended() {
        let why = || "w (h)".to_owned();
        assert_eq!(end(Error::host("w")), End::Died { why: why() });
        assert_eq!(end(Error::operator("w")), End::Trapped { why: why() });
        assert_eq!(end(Error::guest("w")), End::Refused(Failure::InvalidArguments(why())));
        assert!(failed(Error::bug("w")).is_err());
    }
}
