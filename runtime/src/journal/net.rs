//! The outlet's account: every name, connection, request, refusal, secret and its end goes into the log here.
//! It never lets a request out that is not in the log, nor a secret or a first word to a host before the disk has it.

mod told;

pub use told::{Kept, Reply, Rotated, Scrubbed, Total, Use, Wanted};

use super::{Before, failed};
use crate::error::{Error, Result};
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use stockade_audit::merkle::sha256;
use stockade_audit::record::{self as log, CallId, Digest, Record, Via};
use stockade_audit::{Durable, SessionLog};
use stockade_policy::{Action, Approver, Ask, Call, Host, Method, Permit, Refusal, RuleId, UrlPath};

/// Longest text of a record that somebody outside of us may have chosen, such as the names in an upstream's certificate:
/// a record must fit a leaf, or the thing that it is about could not be recorded at all.
const TEXT_BYTES_MAX: usize = 512;

/// Where connections from the host to a port inside arrive: its loopback.
pub const INSIDE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// The account of one session's outlet. Its clones write into the same log.
#[derive(Debug, Clone)]
pub struct Account {
    log: Arc<SessionLog>,
    before: Option<Before>,
    shared: Arc<Shared>,
    /// The call of a tool that all of it is for.
    call: Option<CallId>,
}

/// Counters of all clones.
#[derive(Debug, Default)]
struct Shared {
    connections: AtomicU64,
    requests: AtomicU64,
    /// Hosts that were reached before, by port: the first time waits for the disk.
    reached: Mutex<BTreeMap<u16, BTreeSet<Host>>>,
}

/// What is in the log and waits for the disk. Given up before, its end goes into the log as well: it never began.
struct Waiting<'a, T> {
    account: &'a Account,
    begun: Option<T>,
    give_up: fn(&Account, T) -> Result<()>,
}

impl<T> Waiting<'_, T> {
    /// What has begun, once the disk has it; at once where nobody needs the disk.
    async fn settled(mut self, durable: Option<Durable>) -> Result<T> {
        if let Some(durable) = durable {
            durable.await.map_err(failed)?;
        }
        self.begun.take().ok_or_else(|| Error::bug("something begins twice"))
    }
}

impl<T> Drop for Waiting<'_, T> {
    fn drop(&mut self) {
        if let Some(begun) = self.begun.take() {
            // Where it cannot be written, the log has ended, and with it the session.
            drop((self.give_up)(self.account, begun));
        }
    }
}

/// How a connection came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Way {
    /// By which door.
    pub via: Via,
    /// The address inside that the client connected to; `None` where no client did.
    pub inside: Option<SocketAddr>,
}

/// A connection that is in the log. It is given back to [`Account::close`] at its end, once.
#[derive(Debug)]
#[must_use = "a connection that is never closed leaves the log incomplete"]
pub struct Connection {
    number: u64,
    host: Host,
    port: u16,
    began: Instant,
    /// The call of a tool that it belongs to.
    call: Option<CallId>,
}

/// A request that was judged, and whose permit is in the log: the only thing that is sent. It cannot be copied.
#[derive(Debug)]
#[must_use = "a request that is logged and never answered leaves the log incomplete"]
pub struct Admitted {
    number: u64,
    call: Call,
    rules: Vec<RuleId>,
    uses: Vec<Use>,
    began: Instant,
}

impl Connection {
    /// Host that it is for.
    pub fn host(&self) -> &Host {
        &self.host
    }

    /// TCP port that it is for.
    pub fn port(&self) -> u16 {
        self.port
    }
}

impl Admitted {
    /// What may be sent: an [`Action::Connect`] with method and path.
    pub fn call(&self) -> &Call {
        &self.call
    }

    /// The rules that allow it, the most specific grant first.
    pub fn rules(&self) -> &[RuleId] {
        &self.rules
    }

    /// The secrets that it may carry: those that are in the log, and no other.
    pub fn uses(&self) -> &[Use] {
        &self.uses
    }
}

impl Account {
    pub(super) fn new(log: Arc<SessionLog>, before: Option<Before>) -> Self {
        Self { log, before, shared: Arc::default(), call: None }
    }

    /// The same account, for what one call of a tool asks for: connections and refusals are then records of that call.
    pub fn of_call(&self, call: CallId) -> Self {
        Self { call: Some(call), ..self.clone() }
    }

    /// A name was asked for, and answered with this synthetic address, or with nothing.
    ///
    /// # Errors
    /// The log takes no more records: the question must not be answered.
    pub fn name(&self, name: &str, ty: &str, addr: Option<String>) -> Result<()> {
        self.append(log::NetName { name: name.to_owned(), ty: ty.to_owned(), addr })
    }

    /// A connection from inside is let through: wholly under a permit, or up to its requests, each of which is judged.
    /// Where the permit is for the whole connection and this is the first to its host, it is on disk when this is ready.
    /// Dropped before, it has ended in the log too.
    ///
    /// # Errors
    /// The log takes no more records: the connection must end. Bug: the permit is for something else.
    pub async fn open(&self, host: Host, port: u16, way: Way, whole: Option<Permit>) -> Result<Connection> {
        let number = self.shared.connections.fetch_add(1, Ordering::Relaxed) + 1;
        let is_whole = whole.is_some();
        let mut rules = Vec::new();
        if let Some(permit) = whole {
            let (call, grounds) = permit.into_parts();
            let wanted = Action::Connect { host: host.clone(), port, method: None, path: None };
            if *call.action() != wanted {
                return Err(Error::bug("a permit for something else came with a connection"));
            }
            rules = grounds.rules.iter().map(ToString::to_string).collect();
        }
        let Way { via, inside } = way;
        // Who asked the kernel for it did so before it came here, and is in the log before it.
        if let (Some(before), Some(_)) = (&self.before, inside) {
            before.write()?;
        }
        let is_first = is_whole && self.is_first(&host, port);
        let record = log::NetOpen { c: number, host: host.to_string(), port, via, addr: inside.map(address), rules };
        let call = self.call.clone();
        let durable = self.begin(is_first, &[of(call.as_ref(), Record::new(record))])?;
        let connection = Connection { number, host, port, began: Instant::now(), call };
        let give_up: fn(&Self, Connection) -> Result<()> = |account, connection| {
            account.close(connection, Total { fault: Some("given up before it began".to_owned()), ..Total::default() })
        };
        let waiting = Waiting { account: self, begun: Some(connection), give_up };
        let connection = waiting.settled(durable).await?;
        if is_first {
            self.reached(&connection.host, port);
        }
        Ok(connection)
    }

    /// A connection from the host to a port inside is let through, under its permit. The first to its port is on disk
    /// when this returns: it blocks.
    ///
    /// # Errors
    /// The log takes no more records: nothing may be connected. Bug: the permit is for something else.
    pub fn reach(&self, permit: Permit) -> Result<Connection> {
        let (call, grounds) = permit.into_parts();
        let Action::Port { port } = *call.action() else {
            return Err(Error::bug("a permit for something else came with a port"));
        };
        let (number, host) = (self.shared.connections.fetch_add(1, Ordering::Relaxed) + 1, Host::Address(INSIDE));
        let rules = grounds.rules.iter().map(ToString::to_string).collect();
        let record = log::NetOpen { c: number, host: host.to_string(), port, via: Via::Port, addr: None, rules };
        self.append(record)?;
        if self.is_first(&host, port) {
            self.log.barrier().map_err(failed)?;
            self.reached(&host, port);
        }
        Ok(Connection { number, host, port, began: Instant::now(), call: None })
    }

    /// A connection ended.
    ///
    /// # Errors
    /// The log takes no more records; it takes none either after an end that it could not take.
    pub fn close(&self, connection: Connection, total: Total) -> Result<()> {
        self.end(log::NetClose {
            c: connection.number,
            up: total.up_bytes,
            down: total.down_bytes,
            us: micros(connection.began.elapsed()),
            addr: total.addr,
            why: total.fault.map_or_else(|| "done".to_owned(), clipped),
        })
    }

    /// A request may go, with these secrets. The first to a host, and each that carries a secret, is on disk when this is
    /// ready. Dropped before, it has ended in the log too.
    ///
    /// # Errors
    /// The log takes no more records: the request must not go. Bug: the permit is not for a request.
    pub async fn admit(
        &self,
        connection: &Connection,
        permit: Permit,
        query: Option<&str>,
        uses: Vec<Use>,
    ) -> Result<Admitted> {
        let (call, grounds) = permit.into_parts();
        let (host, port, method, path) = request(&call)?;
        let number = self.shared.requests.fetch_add(1, Ordering::Relaxed) + 1;
        let asked = log::NetRequest {
            r: number,
            c: connection.number,
            method: method.as_str().to_owned(),
            host: host.to_string(),
            port,
            path: path.as_str().to_owned(),
            query_h: query.map(|query| Digest(sha256(query.as_bytes()))),
            rules: grounds.rules.iter().map(ToString::to_string).collect(),
        };
        let mut records = Vec::with_capacity(1 + uses.len());
        records.push(Record::new(asked));
        records.extend(uses.iter().map(|used| {
            Record::new(log::SecretUse {
                r: number,
                name: used.name.clone(),
                v: used.version,
                host: host.to_string(),
                place: used.place.clone(),
                rule: used.rule.to_string(),
            })
        }));
        let is_first = self.is_first(host, port);
        let durable = self.begin(is_first || !uses.is_empty(), &records)?;
        let admitted = Admitted { number, call, rules: grounds.rules, uses, began: Instant::now() };
        let give_up: fn(&Self, Admitted) -> Result<()> = |account, admitted| {
            account
                .answered(admitted, Reply { fault: Some("given up before it was sent".to_owned()), ..Reply::default() })
        };
        let admitted = Waiting { account: self, begun: Some(admitted), give_up }.settled(durable).await?;
        if is_first {
            let (host, port, ..) = request(&admitted.call)?;
            self.reached(host, port);
        }
        Ok(admitted)
    }

    /// A request ended.
    ///
    /// # Errors
    /// The log takes no more records; it takes none either after an end that it could not take.
    pub fn answered(&self, admitted: Admitted, reply: Reply) -> Result<()> {
        self.end(log::NetReply {
            r: admitted.number,
            status: reply.status,
            addr: reply.addr,
            up: reply.up_bytes,
            down: reply.down_bytes,
            first_us: micros(reply.first),
            us: micros(admitted.began.elapsed()),
            why: reply.fault.map_or_else(|| "done".to_owned(), clipped),
        })
    }

    /// A connection or request was refused.
    ///
    /// # Errors
    /// The log takes no more records.
    pub fn refuse(&self, connection: Option<&Connection>, wanted: Wanted, refusal: &Refusal) -> Result<()> {
        let rule = refusal.rule.as_ref().map_or_else(|| "not granted".to_owned(), ToString::to_string);
        self.refused(connection, wanted, rule, refusal.reason.clone())
    }

    /// A connection or request was refused by no rule: because it is malformed, or a limit was reached; `by` says which.
    ///
    /// # Errors
    /// The log takes no more records.
    pub fn refused(
        &self,
        connection: Option<&Connection>,
        wanted: Wanted,
        by: impl Into<String>,
        reason: impl Into<String>,
    ) -> Result<()> {
        let record = Record::new(log::NetRefuse {
            c: connection.map(|connection| connection.number),
            host: clipped(wanted.host),
            port: wanted.port,
            method: wanted.method.map(clipped),
            path: wanted.path,
            rule: by.into(),
            reason: clipped(reason.into()),
        });
        let call = connection.map_or(self.call.as_ref(), |connection| connection.call.as_ref());
        self.log.append(of(call, record)).map(drop).map_err(failed)
    }

    /// Nobody is there to be asked, so it is refused; the log says what would have been asked.
    ///
    /// # Errors
    /// The log takes no more records.
    pub fn unapproved(&self, connection: Option<&Connection>, wanted: Wanted, ask: Ask) -> Result<Refusal> {
        let nobody = Approver::parse("nobody").map_err(|_| Error::bug("\"nobody\" is not an approver's name"))?;
        let (_, refusal) = ask.refuse(&nobody).into_parts();
        self.refuse(connection, wanted, &refusal)?;
        Ok(refusal)
    }

    /// A placeholder was seen where it has no business; `name` where it is one of this session's.
    ///
    /// # Errors
    /// The log takes no more records.
    pub fn canary(
        &self,
        connection: Option<&Connection>,
        name: Option<&str>,
        host: &str,
        place: impl Into<String>,
    ) -> Result<()> {
        self.append(log::SecretCanary {
            c: connection.map(|connection| connection.number),
            name: name.map(str::to_owned),
            host: clipped(host.to_owned()),
            place: clipped(place.into()),
        })
    }

    /// A secret was replaced: what begins afterwards uses the new version.
    ///
    /// # Errors
    /// The log takes no more records.
    pub fn rotated(&self, rotated: Rotated) -> Result<()> {
        let (kept, why) = match rotated.kept {
            Kept::Store => (log::Kept::Store, None),
            Kept::Session(why) => (log::Kept::Session, Some(clipped(why))),
            Kept::Source => (log::Kept::Source, None),
        };
        self.append(log::SecretRotate { name: rotated.name, was: rotated.was, v: rotated.version, kept, why })
    }

    /// Secrets came back, with the answer to a request, or in a command's output where there is none, and were taken out.
    ///
    /// # Errors
    /// The log takes no more records: what came back must not be passed on.
    pub fn scrubbed(&self, request: Option<&Admitted>, hits: Vec<Scrubbed>) -> Result<()> {
        let request = request.map(|admitted| admitted.number);
        let records: Vec<Record> = hits.into_iter().map(|hit| scrub(request, hit)).collect();
        self.log.append_all(&records).map(drop).map_err(failed)
    }

    /// Whether the disk has no word to this host yet.
    fn is_first(&self, host: &Host, port: u16) -> bool {
        let reached = self.shared.reached.lock().unwrap_or_else(PoisonError::into_inner);
        !reached.get(&port).is_some_and(|hosts| hosts.contains(host))
    }

    /// The disk has a first word to this host: from now on, none waits for it.
    fn reached(&self, host: &Host, port: u16) {
        let mut reached = self.shared.reached.lock().unwrap_or_else(PoisonError::into_inner);
        reached.entry(port).or_default().insert(host.clone());
    }

    fn append(&self, body: impl Into<log::Body>) -> Result<()> {
        self.log.append(Record::new(body)).map(drop).map_err(failed)
    }

    /// Something begins; where it has to wait for the disk, this says for what.
    fn begin(&self, waits: bool, records: &[Record]) -> Result<Option<Durable>> {
        if waits {
            return self.log.append_to_disk(records).map(Some).map_err(failed);
        }
        self.log.append_all(records).map(|_| None).map_err(failed)
    }

    /// Something ended. Many an end is written where nobody is left to hear of a failure, and the log would go on without
    /// it to a proper end: so a log that cannot take one takes nothing any more.
    fn end(&self, body: impl Into<log::Body>) -> Result<()> {
        self.log.append(Record::new(body)).map(drop).map_err(|error| {
            tracing::error!(%error, "the end of a connection or request could not be written");
            self.log.fail(&error);
            failed(error)
        })
    }
}

/// A record of a call, where it is for one.
fn of(call: Option<&CallId>, record: Record) -> Record {
    match call {
        Some(call) => record.of_call(call),
        None => record,
    }
}

/// A text that fits a record, cut where it is too long.
fn clipped(mut text: String) -> String {
    if text.len() > TEXT_BYTES_MAX {
        text.truncate(text.floor_char_boundary(TEXT_BYTES_MAX));
        text.push('…');
    }
    text
}

/// A secret that came back, as a record.
pub(super) fn scrub(request: Option<u64>, hit: Scrubbed) -> Record {
    let Scrubbed { name, form, count, place } = hit;
    Record::new(log::SecretScrub { r: request, name, form, count, place: clipped(place) })
}

/// The request that a call is.
fn request(call: &Call) -> Result<(&Host, u16, &Method, &UrlPath)> {
    match call.action() {
        Action::Connect { host, port, method: Some(method), path: Some(path) } => Ok((host, *port, method, path)),
        Action::Connect { .. }
        | Action::Command(_)
        | Action::Read { .. }
        | Action::Write { .. }
        | Action::Unix { .. }
        | Action::Port { .. }
        | Action::Tool { .. } => Err(Error::bug("a permit that is not for a request came to the outlet")),
    }
}

/// An address as records have it: one spelling, whichever family a client used for it.
pub fn address(address: SocketAddr) -> String {
    SocketAddr::new(address.ip().to_canonical(), address.port()).to_string()
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}
