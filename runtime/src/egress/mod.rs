//! The only way out of a sandbox: what it may reach, by name, request by request.
//! It never holds a secret's plaintext longer than one outgoing request.

pub mod address;
pub mod canonical;
pub mod dial;
mod ebb;
#[cfg(feature = "vault")]
mod errand;
pub mod front;
pub mod http;
mod listener;
pub mod names;
pub mod outline;
pub mod pieces;
pub mod proxy;
pub mod rates;
pub mod refusals;
pub mod refuse;
pub mod resolver;
mod tasks;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
pub mod tls;
mod tool;
pub mod tunnel;

use crate::error::{Error, Result};
use crate::journal::Account;
use crate::secrets::source::keeper::reader::Carrier;
use crate::secrets::vault::Vault;
use dial::Dialer;
use ebb::Ebb;
use listener::Listener;
use names::Names;
use outline::{Outline, Socket};
use rates::Rates;
use refusals::{Drops, Judge, Refusals};
use resolver::Resolver;
use std::collections::BTreeMap;
use std::fmt;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;
use stockade_audit::record::CallId;
use stockade_jail::OutletEnd;
use stockade_policy::{ExpandedProfile, NetGrant, RuleId};
use tasks::Tasks;
use tls::{Authority, Trust};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::mpsc::Receiver;
use tokio::sync::watch;
use tool::Streams;
pub use tool::ToolStream;

/// Time that connections have to end by themselves when the outlet closes.
const DRAIN: Duration = Duration::from_secs(2);
/// Time for those that were then ended to write their last record.
const ABORT: Duration = Duration::from_secs(5);
const _: () = assert!(DRAIN.as_secs() < ABORT.as_secs());

/// What an outlet is made of.
pub struct Settings {
    /// What it may let out.
    pub profile: ExpandedProfile,
    /// The sockets, as planned.
    pub outline: Outline,
    /// The same, as made inside, in this order.
    pub sockets: Vec<OutletEnd>,
    /// Where everything is written down.
    pub account: Account,
    /// The secrets.
    pub vault: Arc<Vault>,
    /// The session's certificate authority, whose certificate the inside trusts.
    pub authority: Authority,
    /// How the outside is reached.
    pub dialer: dial::Settings,
    /// For rules that name one: the PEM file with the authority of their host.
    pub trust: BTreeMap<RuleId, Vec<u8>>,
    /// How many packets the socket for refusals lost.
    pub drops: Drops,
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings").field("outline", &self.outline).finish_non_exhaustive()
    }
}

/// Who carries requests to a server that keeps secrets, by the operator's ways.
///
/// # Errors
/// Operator: this program was built without the feature `vault`.
pub fn carrier(settings: impl Fn() -> Result<dial::Settings> + Send + Sync + 'static) -> Result<Carrier> {
    #[cfg(feature = "vault")]
    return Ok(errand::carrier(settings));
    #[cfg(not(feature = "vault"))]
    {
        drop(settings);
        Err(Error::operator("a secret is in a server, and this program was built without the feature \"vault\"")
            .hint("build it with the feature, or keep the secret elsewhere"))
    }
}

/// Host and port that a URL leads to, as the log names them; `None` where it is none that is served here.
pub fn target(url: &[u8]) -> Option<(String, u16)> {
    let uri = ::http::Uri::try_from(url).ok()?;
    let channel = match uri.scheme_str() {
        Some("https") => canonical::Channel::Tls,
        Some("http") => canonical::Channel::Clear,
        Some(_) | None => return None,
    };
    let (host, port) = proxy::authority(uri.authority()?.as_str(), Some(channel.port())).ok()?;
    Some((host.to_string(), port))
}

/// Host and port of `host:port`, as the log names them; `None` where it is none.
pub fn authority(text: &[u8]) -> Option<(String, u16)> {
    let (host, port) = proxy::authority(str::from_utf8(text).ok()?, None).ok()?;
    Some((host.to_string(), port))
}

/// What every connection of one outlet needs.
pub(crate) struct Context {
    profile: Arc<ExpandedProfile>,
    names: Arc<Names>,
    rates: Rates,
    dialer: Dialer,
    account: Account,
    authority: Authority,
    vault: Arc<Vault>,
    trust: Trust,
    tasks: Arc<Tasks>,
    ebb: Arc<Ebb>,
    /// True once the outlet closes.
    closing: watch::Receiver<bool>,
}

impl fmt::Debug for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Context").field("profile", self.profile.name()).finish_non_exhaustive()
    }
}

impl Context {
    /// The grant that says how a permitted request goes: its rate, its secret, its addresses, its authority.
    fn grant(&self, rules: &[RuleId]) -> Result<(&NetGrant, &RuleId)> {
        let mut grants = self.profile.net_grants();
        let first = rules.iter().find_map(|rule| grants.by_ref().find(|(_, id)| *id == rule));
        first
            .or_else(|| self.profile.net_grants().find(|(_, id)| rules.contains(id)))
            .ok_or_else(|| Error::bug("a permit without a grant"))
    }

    /// Waits until the outlet closes.
    async fn closed(&self) {
        let mut closing = self.closing.clone();
        // An error is an outlet that is gone, which is as closed as can be.
        drop(closing.wait_for(|closing| *closing).await);
    }
}

/// An outlet at work. It has a thread of its own, which ends with it.
pub struct Outlet {
    close: watch::Sender<bool>,
    streams: Streams,
    thread: JoinHandle<Result<()>>,
}

impl fmt::Debug for Outlet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Outlet").finish_non_exhaustive()
    }
}

impl Outlet {
    /// Starts to take connections.
    ///
    /// # Errors
    /// Operator: an authority in `trust` cannot be read. Host: no thread or no sockets. Bug: sockets and outline differ.
    pub fn start(settings: Settings) -> Result<Self> {
        let (close, closing) = watch::channel(false);
        let failed = |e: std::io::Error| Error::host(format!("start the outlet: {}", crate::error::plain(&e)));
        // One worker: a session is one agent, many sessions share the cores, and one thread hands nothing over.
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(failed)?;
        let (ready, started) = std::sync::mpsc::sync_channel(1);
        let (streams, asked) = Streams::new();
        let run = move || {
            let made = {
                let _entered = runtime.enter();
                Running::new(settings, closing)
            };
            match made {
                Ok(running) => {
                    drop(ready.send(Ok(())));
                    runtime.block_on(running.run(asked))
                }
                Err(error) => {
                    drop(ready.send(Err(error)));
                    Ok(())
                }
            }
        };
        let thread = std::thread::Builder::new().name("outlet".to_owned()).spawn(run).map_err(failed)?;
        started.recv().map_err(|_| Error::bug("the outlet ended before it began"))??;
        Ok(Self { close, streams, thread })
    }

    /// A stream on which the requests of one call of a tool are served, until it is dropped, and the tool's end of it. It
    /// carries HTTP/1.1, each request with its whole URL, `https` as well as `http`, and no TLS: what goes out is encrypted
    /// behind it. Each is judged, armed, logged, sent and scrubbed as if it had come on a connection from inside.
    ///
    /// # Errors
    /// Host: no descriptors are left, or the outlet has ended.
    pub fn tool_stream(&self, call: &CallId) -> Result<(ToolStream, OwnedFd)> {
        self.streams.open(tool::Carries::Requests, call.clone())
    }

    /// A stream for one connection of a call's: what the tool writes on it begins with `CONNECT host:port`, as to the
    /// proxy, and is judged, logged, opened, filled and scrubbed as what a process connects. What comes to it is in
    /// [`pieces`].
    ///
    /// # Errors
    /// Host: no descriptors are left, or the outlet has ended.
    pub fn tool_socket(&self, call: &CallId) -> Result<(ToolStream, OwnedFd)> {
        self.streams.open(tool::Carries::Socket, call.clone())
    }

    /// Takes no more connections, gives the open ones a little time, and ends them. Each has its last record when this
    /// returns, and no clone of the account is left.
    ///
    /// # Errors
    /// The log took no more records. Bug: a part of the outlet panicked.
    pub fn close(self) -> Result<()> {
        self.close.send_replace(true);
        self.thread.join().map_err(|_| Error::bug("the outlet panicked"))?
    }
}

/// The outlet on its thread.
struct Running {
    context: Arc<Context>,
    listeners: Vec<Listener>,
    services: Vec<Service>,
}

/// A part that runs beside the listeners.
enum Service {
    Names(Arc<Resolver>, OutletEnd),
    NamesOverTcp(Arc<Resolver>, Listener),
    Refusals(Refusals),
    /// Secrets that are read again while the session runs.
    Readings,
}

impl Running {
    fn new(settings: Settings, closing: watch::Receiver<bool>) -> Result<Self> {
        let Settings { profile, outline, sockets, account, vault, authority, dialer, trust, drops } = settings;
        if outline.sockets.len() != sockets.len() {
            return Err(Error::bug("the outlet got other sockets than were planned"));
        }
        let (profile, outline) = (Arc::new(profile), Arc::new(outline));
        let may = Arc::clone(&profile);
        let names = Arc::new(Names::new(outline.names.iter().cloned(), move |host| outline::names_host(&may, host)));
        let find = Arc::clone(&vault);
        let canaries = Arc::new(move |text: &str| find.in_name(text));
        let resolver = Arc::new(Resolver::new(Arc::clone(&names), account.clone(), canaries));
        let judge = Judge {
            profile: Arc::clone(&profile),
            outline: Arc::clone(&outline),
            names: Arc::clone(&names),
            account: account.clone(),
        };
        let (mut listeners, mut services) = (Vec::new(), Vec::new());
        let mut watch = Some((judge, drops));
        for (planned, socket) in outline.sockets.iter().zip(sockets) {
            match planned {
                Socket::Tcp { port: names::RESOLVER_PORT, address: None } => {
                    services.push(Service::NamesOverTcp(Arc::clone(&resolver), Listener::new(socket)?));
                }
                Socket::Tcp { .. } => listeners.push(Listener::new(socket)?),
                Socket::Udp { .. } => services.push(Service::Names(Arc::clone(&resolver), socket)),
                Socket::Refusals => {
                    let (judge, drops) = watch.take().ok_or_else(|| Error::bug("two sockets for refusals"))?;
                    services.push(Service::Refusals(Refusals::new(socket, drops, judge)?));
                }
            }
        }
        services.push(Service::Readings);
        let context = Context {
            rates: Rates::new(&profile),
            dialer: Dialer::new(dialer),
            trust: Trust::new(&trust)?,
            profile,
            names,
            account,
            authority,
            vault,
            tasks: Arc::default(),
            ebb: Arc::default(),
            closing,
        };
        Ok(Self { context: Arc::new(context), listeners, services })
    }

    async fn run(self, tools: Receiver<tool::Asked>) -> Result<()> {
        let Self { context, listeners, services } = self;
        let mut parts = tokio::task::JoinSet::new();
        for service in services {
            let closing = Arc::clone(&context);
            parts.spawn(async move {
                match service {
                    Service::Names(resolver, socket) => until_closed(&closing, resolver.serve_udp(socket)).await,
                    Service::NamesOverTcp(resolver, listener) => {
                        until_closed(&closing, resolver.serve_tcp(listener)).await
                    }
                    Service::Readings => until_closed(&closing, closing.vault.keep_reading(&closing.account)).await,
                    Service::Refusals(refusals) => refusals.serve(closing.closed()).await,
                }
            });
        }
        for listener in listeners {
            let context = Arc::clone(&context);
            parts.spawn(async move { until_closed(&context, front::accept(Arc::clone(&context), listener)).await });
        }
        let of_tools = Arc::clone(&context);
        parts.spawn(async move { until_closed(&of_tools, tool::accept(Arc::clone(&of_tools), tools)).await });
        let ebbing = Arc::clone(&context);
        parts.spawn(async move { until_closed(&ebbing, ebbing.ebb.give_back()).await });
        let mut first = Ok(());
        let mut closed = std::pin::pin!(context.closed());
        loop {
            tokio::select! {
                () = &mut closed => break,
                Some(ended) = parts.join_next() => {
                    // A part that ends before its time leaves a hole that nobody watches: all ends, and says why.
                    first = first.and(ended.unwrap_or_else(|_| Err(Error::bug("a part of the outlet panicked"))));
                    if first.is_err() { break }
                }
            }
        }
        while let Some(ended) = parts.join_next().await {
            first = first.and(ended.unwrap_or_else(|_| Err(Error::bug("a part of the outlet panicked"))));
            if first.is_err() {
                parts.abort_all();
            }
        }
        context.tasks.drain(DRAIN, ABORT).await;
        first
    }
}

/// Runs a part that has no end until the outlet closes.
async fn until_closed(context: &Context, part: impl Future<Output = Result<()>>) -> Result<()> {
    tokio::select! {
        () = context.closed() => Ok(()),
        ended = part => ended,
    }
}

/// A descriptor to wait for; it must not block, or be asked so that it does not.
#[expect(deprecated, reason = "what replaces it is unsafe, since a type may change its descriptor; this one does not")]
fn watched(socket: OwnedFd, interest: Interest) -> std::io::Result<AsyncFd<OwnedFd>> {
    AsyncFd::with_interest(socket, interest)
}
