//! Takes connections from inside and finds out what they are.
//! It never reads more than its limits before it knows.

mod client;
mod sniff;
mod socket;

pub(super) use client::InnerEnd;
pub(super) use sniff::Prefixed;
pub(super) use socket::{overfull, socket};

use super::Context;
use super::canonical::{Channel, Destination};
use super::dial::{Dialed, Load};
use super::http::{Carried, Inside, Sender, forward, serve};
use super::listener::Listener;
use super::names::{self, Place};
use super::proxy::{self, Form, Obstacle};
use super::refuse::{self, Told, Tongue};
use super::tls::{ClientHello, Encrypted};
use super::tunnel::{self, Broken};
use crate::error::Result;
use crate::journal::{Account, Wanted, Way};
use bytes::BytesMut;
pub(super) use client::Client;
use http::StatusCode;
use sniff::{First, sniff};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use stockade_audit::record::Via;
use stockade_policy::{Action, Call, Decision, Door, Host, Permit, RuleId, ToolName};
use tokio::io::AsyncWriteExt as _;
use tokio_rustls::TlsAcceptor;

/// A client that says nothing for so long, where anything may be said, waits for the server to begin.
const SILENCE: Duration = Duration::from_millis(100);
/// How long the first word of a request is waited for; browsers connect ahead.
const REQUEST_SILENCE: Duration = Duration::from_secs(60);
/// Time for a TLS handshake with a client.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// After a failed accept (no descriptors left), before the next.
const PAUSE: Duration = Duration::from_millis(50);

/// A connection from inside, on its way to being understood.
struct Arrival {
    context: Arc<Context>,
    /// Where it is written down: for whom, if it is for a call.
    account: Account,
    stream: Client,
    /// What was read of it.
    ahead: BytesMut,
    host: Host,
    port: u16,
    way: Way,
    /// For clients of the proxy: in whose words refusals go until the handshake is answered.
    form: Option<Form>,
}

/// Takes connections of one listener for as long as the outlet is open.
pub(super) async fn accept(context: Arc<Context>, listener: Listener) -> Result<()> {
    loop {
        let Ok((stream, local)) = listener.accept().await else {
            tokio::time::sleep(PAUSE).await;
            continue;
        };
        let slot = match context.rates.connection() {
            Ok(slot) => slot,
            Err(over) => {
                stream.reset();
                let wanted = wanted(&named(&context, local.ip()), local.port());
                context.account.refused(None, wanted, over.limit, over.to_string())?;
                continue;
            }
        };
        let task_context = Arc::clone(&context);
        let afloat = context.ebb.rise();
        context.tasks.spawn(async move {
            let _until_the_end = (slot, afloat);
            // An error is a log that takes no more records: the connection ends, and so will the session.
            drop(arrive(task_context, stream, local).await);
        });
    }
}

pub(super) async fn arrive(context: Arc<Context>, stream: Client, local: SocketAddr) -> Result<()> {
    let host = match context.names.place(local.ip()) {
        Place::Loopback => {
            // The inside talks to itself: on this port that is us, and nobody else is there.
            stream.reset();
            return Ok(());
        }
        Place::Proxy if local.port() == names::PROXY_PORT => return ask(context, stream, local).await,
        Place::Proxy | Place::Resolver => Host::Address(local.ip().to_canonical()),
        Place::Name(name) => Host::Name(name),
        Place::Vacant(address) | Place::Address(address) => Host::Address(address),
    };
    let (ahead, way) = (BytesMut::new(), Way { via: Via::Direct, inside: Some(local) });
    let account = context.account.clone();
    Arrival { context, account, stream, ahead, host, port: local.port(), way, form: None }.open().await
}

/// Hears from a client of the proxy where it wants to go.
async fn ask(context: Arc<Context>, mut stream: Client, local: SocketAddr) -> Result<()> {
    let target = match proxy::negotiate(&mut stream).await {
        Ok(target) => target,
        Err(misfit) => {
            context.account.refused(None, misfit.wanted(), "malformed", misfit.reason)?;
            refuse::last(&mut stream, &misfit.reply).await;
            return Ok(());
        }
    };
    let way = Way { via: target.form.via(), inside: Some(local) };
    let ahead = BytesMut::from(&target.rest[..]);
    if target.form == Form::Absolute {
        let stream = Prefixed::new(ahead.freeze(), stream);
        return forward(context, stream, Sender::Client(local)).await;
    }
    let host = match &target.host {
        Host::Address(address) => named(&context, *address),
        Host::Name(_) => target.host,
    };
    let account = context.account.clone();
    Arrival { context, account, stream, ahead, host, port: target.port, way, form: Some(target.form) }.open().await
}

/// What an address stands for: a name of ours, or itself.
fn named(context: &Context, address: std::net::IpAddr) -> Host {
    context.names.name_of(address).unwrap_or_else(|| Host::Address(address.to_canonical()))
}

fn wanted(host: &Host, port: u16) -> Wanted {
    Wanted { host: host.to_string(), port: Some(port), ..Wanted::default() }
}

impl Arrival {
    /// What the profile says about it, and then what it says itself.
    async fn open(mut self) -> Result<()> {
        if let Host::Name(name) = &self.host
            && let Some(secret) = self.context.vault.in_name(name.as_str())
        {
            let account = &self.account;
            account.canary(None, secret.as_deref(), name.as_str(), "name of the host")?;
            let why = "the name of the host has the placeholder of a secret";
            account.refused(None, wanted(&self.host, self.port), "secret", why)?;
            let ask = "send the placeholder where its secret is bound, and nowhere else";
            return self.turn_away(&Told::new(StatusCode::FORBIDDEN, why, ask)).await;
        }
        match self.context.profile.door(&self.host, self.port) {
            Door::Shut(refusal) => {
                self.account.refuse(None, wanted(&self.host, self.port), &refusal)?;
                self.turn_away(&Told::from(&refusal)).await
            }
            Door::Whole => self.whole().await,
            Door::Requests => self.requests().await,
        }
    }

    /// Ends it with a word that it understands. The refusal is in the log already.
    async fn turn_away(&mut self, told: &Told) -> Result<()> {
        if let Some(form) = self.form {
            let reply = form.refused(Obstacle::Forbidden, &told.reason);
            refuse::last(&mut self.stream, &reply).await;
            return Ok(());
        }
        let tongue = match sniff(&mut self.stream, &mut self.ahead, SILENCE).await {
            First::Tls(_) => Tongue::Tls,
            First::Http => Tongue::Http,
            First::Http2 | First::Opaque | First::Silent | First::Gone | First::Wrong(_) => Tongue::Other,
        };
        refuse::end(&mut self.stream, tongue, told).await;
        Ok(())
    }

    /// Tells a client of the proxy to go on.
    async fn granted(&mut self) -> std::io::Result<()> {
        match self.form.take() {
            Some(form) => self.stream.write_all(form.granted()).await,
            None => Ok(()),
        }
    }

    /// One judgement is enough for all that it carries; but where we can read whom it is for, that must agree.
    async fn whole(mut self) -> Result<()> {
        let Some(permit) = self.permit().await? else { return Ok(()) };
        let grounds = permit.grounds().clone();
        let connection = self.account.open(self.host.clone(), self.port, self.way, Some(permit)).await?;
        let inside = Inside::new(Arc::clone(&self.context), connection, self.destination(Channel::Clear));
        // The kernel has told a process already that it is connected. A component hears whether anybody is there.
        let mut outside = None;
        if self.way.via == Via::WasiTcp {
            let Some(dialed) = self.dial(&inside, &grounds.rules).await? else { return Ok(()) };
            outside = Some(dialed);
        }
        if self.granted().await.is_err() {
            return inside.broken("the client went away");
        }
        let mut first = sniff(&mut self.stream, &mut self.ahead, SILENCE).await;
        if first == First::Silent {
            if outside.is_none() {
                outside = self.dial(&inside, &grounds.rules).await?;
            }
            let Some(mut dialed) = outside.take() else { return Ok(()) };
            // Who speaks first? A server that does speaks neither HTTP nor TLS; a client that does is read as any other.
            let spoke = tokio::select! {
                biased;
                () = dialed.stream.speaks() => Spoke::Server,
                first = sniff(&mut self.stream, &mut self.ahead, IDLE_START) => Spoke::Client(first),
            };
            first = match spoke {
                Spoke::Server => First::Opaque,
                Spoke::Client(first) => first,
            };
            outside = Some(dialed);
        }
        match first {
            First::Tls(hello) => {
                if let Some(why) = disagreement(&hello, &self.host) {
                    return self.misled(inside, Tongue::Tls, &why).await;
                }
            }
            First::Http | First::Http2 => {
                // Requests have connections of their own, each as its answer leaves it.
                drop(outside);
                let carried = if first == First::Http { Carried::One } else { Carried::Two };
                return serve(inside, Prefixed::new(self.ahead.freeze(), self.stream), carried).await;
            }
            First::Wrong(why) => return self.misled(inside, Tongue::Other, why).await,
            First::Gone => return Ok(()),
            First::Opaque | First::Silent => {}
        }
        if outside.is_none() {
            outside = self.dial(&inside, &grounds.rules).await?;
        }
        let Some(mut dialed) = outside else { return Ok(()) };
        self.pass(inside, &mut dialed.stream).await
    }

    /// Connects to where it goes. `None` where nobody is there, and then it has ended.
    async fn dial(&mut self, inside: &Inside, rules: &[RuleId]) -> Result<Option<Dialed>> {
        let (grant, _) = self.context.grant(rules)?;
        match self.context.dialer.dial(&self.host, self.port, grant, Load::Bytes).await {
            Ok(dialed) => {
                // Whatever becomes of it, the log says that somebody was connected to.
                inside.reached(dialed.address);
                Ok(Some(dialed))
            }
            Err(error) => {
                inside.broken(&error.to_string())?;
                match self.form {
                    Some(form) => {
                        let reply = form.refused(error.obstacle(), &error.to_string());
                        refuse::last(&mut self.stream, &reply).await;
                    }
                    None => self.stream.reset(),
                }
                Ok(None)
            }
        }
    }

    async fn pass(mut self, inside: Arc<Inside>, outside: &mut super::dial::Stream) -> Result<()> {
        let counts = inside.counts();
        let ahead = self.ahead.split().freeze();
        let sent = match self.context.rates.spend(ahead.len() as u64) {
            Err(over) => Err(Broken::Over(over)),
            Ok(()) => {
                counts.up_bytes.fetch_add(ahead.len() as u64, Ordering::Relaxed);
                let sent = outside.write_all(&ahead).await;
                sent.map_err(|e| Broken::Failed(crate::error::plain(&e)))
            }
        };
        let moved = match sent {
            Ok(()) => tokio::select! {
                moved = tunnel::run(&mut self.stream, outside, &self.context.rates, counts) => moved,
                () = self.context.closed() => Err(Broken::Failed("the session ended".to_owned())),
            },
            broken @ Err(_) => broken,
        };
        match moved {
            Ok(()) => Ok(()),
            Err(broken) => {
                self.stream.reset();
                if let Broken::Over(over) = &broken {
                    inside.refused(wanted(&self.host, self.port), over.limit, &over.to_string())?;
                }
                inside.broken(&broken.to_string())
            }
        }
    }

    /// Each request is judged, so each must be one that can be read.
    async fn requests(mut self) -> Result<()> {
        let connection = self.account.open(self.host.clone(), self.port, self.way, None).await?;
        let inside = Inside::new(Arc::clone(&self.context), connection, self.destination(Channel::Clear));
        if self.granted().await.is_err() {
            return inside.broken("the client went away");
        }
        match sniff(&mut self.stream, &mut self.ahead, REQUEST_SILENCE).await {
            First::Tls(hello) => match disagreement(&hello, &self.host) {
                Some(why) => self.misled(inside, Tongue::Tls, &why).await,
                None => self.opened(inside).await,
            },
            First::Http => serve(inside, Prefixed::new(self.ahead.freeze(), self.stream), Carried::One).await,
            First::Http2 => serve(inside, Prefixed::new(self.ahead.freeze(), self.stream), Carried::Two).await,
            First::Gone => Ok(()),
            First::Opaque | First::Silent => {
                let why =
                    format!("\"{}\" port {} is granted for HTTP requests, and this is none", self.host, self.port);
                self.misled(inside, Tongue::Other, &why).await
            }
            First::Wrong(why) => self.misled(inside, Tongue::Other, why).await,
        }
    }

    /// Ends TLS here, as the destination.
    async fn opened(self, inside: Arc<Inside>) -> Result<()> {
        let config = self.context.authority.server_config(&self.host)?;
        let accepting = TlsAcceptor::from(config).accept(Prefixed::new(self.ahead.freeze(), self.stream));
        let stream = match tokio::time::timeout(HANDSHAKE, accepting).await {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => {
                let why = format!("TLS with the client: {}", crate::error::plain(&error));
                let why = why.replace("received fatal alert", "it sent the alert");
                return inside.broken(&why);
            }
            Err(_) => return inside.broken("the client does not finish its TLS handshake"),
        };
        let carried = match stream.get_ref().1.alpn_protocol() {
            Some(b"h2") => Carried::Two,
            Some(_) | None => Carried::One,
        };
        let to = Destination { host: self.host, port: self.port, channel: Channel::Tls };
        serve(inside.under(to), stream, carried).await
    }

    /// It says two things about whom it is for.
    async fn misled(mut self, inside: Arc<Inside>, tongue: Tongue, why: &str) -> Result<()> {
        inside.refused(wanted(&self.host, self.port), "malformed", why)?;
        let ask = "connect to each host by its own name";
        refuse::end(&mut self.stream, tongue, &Told::new(StatusCode::MISDIRECTED_REQUEST, why, ask)).await;
        inside.broken(why)
    }

    fn destination(&self, channel: Channel) -> Destination {
        Destination { host: self.host.clone(), port: self.port, channel }
    }

    /// The permit for all that it carries; `None` where it was turned away.
    async fn permit(&mut self) -> Result<Option<Permit>> {
        let action = Action::Connect { host: self.host.clone(), port: self.port, method: None, path: None };
        let account = &self.account;
        let refusal = match self.context.profile.judge(Call::new(ToolName::net(), action)) {
            Decision::Permit(permit) => return Ok(Some(permit)),
            Decision::Ask(ask) => account.unapproved(None, wanted(&self.host, self.port), ask)?,
            Decision::Denial(denial) => {
                let (_, refusal) = denial.into_parts();
                account.refuse(None, wanted(&self.host, self.port), &refusal)?;
                refusal
            }
        };
        self.turn_away(&Told::from(&refusal)).await?;
        Ok(None)
    }
}

/// How long both sides of a connection may be silent at its beginning.
const IDLE_START: Duration = Duration::from_secs(3600);

enum Spoke {
    Server,
    Client(First),
}

/// Why a hello is not one for `host`.
fn disagreement(hello: &ClientHello, host: &Host) -> Option<String> {
    match (&hello.server_name, hello.encrypted) {
        (Some(name), _) if name != host => {
            Some(format!("a TLS connection to \"{host}\" asks for \"{name}\" in its server name"))
        }
        (Some(_), _) => None,
        (None, Encrypted::Perhaps) => Some(format!("a TLS connection to \"{host}\" hides whom it is for")),
        (None, Encrypted::No) => None,
    }
}
