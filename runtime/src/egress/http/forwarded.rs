//! Requests in absolute form, to the proxy itself or from a tool: each names its host, and is treated as if it had come on
//! a connection to it.
//! It never takes one for another host because an earlier one was allowed.

use super::reply::Reply;
use super::request;
use super::wire::{Notes, Wire};
use super::{Inside, Result, one};
use crate::egress::Context;
use crate::egress::canonical::{Channel, Destination};
use crate::egress::refuse::{Told, Words};
use crate::error::Error;
use crate::journal::{Account, Wanted, Way};
use http::{Request, StatusCode, Uri};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use stockade_audit::record::{CallId, Via};
use stockade_policy::{Action, Call, Decision, Door, Host, ToolName};
use tokio::io::{AsyncRead, AsyncWrite};

/// Hosts that one connection to the proxy is open to at a time; the oldest is closed for another.
const HOSTS_MAX: usize = 16;

/// Who sends requests in absolute form.
#[derive(Debug, Clone)]
pub(in crate::egress) enum Sender {
    /// A client of the proxy, which came to it at this address. What is to be encrypted it encrypts itself, after CONNECT.
    Client(SocketAddr),
    /// A tool, whose requests its own host function writes: there is nothing to encrypt between it and here, and so its
    /// `https` is ours to begin.
    Tool {
        /// It does so for this call.
        call: CallId,
        /// Set with the first request that is read: from then on there is a record of it.
        heard: Arc<AtomicBool>,
    },
}

impl Sender {
    fn way(&self) -> Way {
        match self {
            Self::Client(proxy) => Way { via: Via::Http, inside: Some(*proxy) },
            Self::Tool { .. } => Way { via: Via::Wasi, inside: None },
        }
    }

    /// Where what it asks for is written down.
    fn account(&self, context: &Context) -> Account {
        match self {
            Self::Client(_) => context.account.clone(),
            Self::Tool { call, .. } => context.account.of_call(call.clone()),
        }
    }

    /// A request has been read.
    fn heard(&self) {
        if let Self::Tool { heard, .. } = self {
            heard.store(true, Ordering::Relaxed);
        }
    }

    /// What the scheme of a URL asks for; `None` where it is not for here.
    fn channel(&self, scheme: Option<&str>) -> Option<Channel> {
        match (self, scheme) {
            (Self::Client(_) | Self::Tool { .. }, Some("http")) => Some(Channel::Clear),
            (Self::Tool { .. }, Some("https")) => Some(Channel::Tls),
            (Self::Client(_) | Self::Tool { .. }, _) => None,
        }
    }

    /// What is wrong with a request that is for another scheme or for none, and what to do.
    fn misdirected(&self, uri: &Uri) -> (String, &'static str) {
        let (from, known) = match self {
            Self::Client(_) => ("a request to the proxy", "send an absolute URL, or CONNECT"),
            Self::Tool { .. } => ("a request of a tool", "write https://host/path or http://host/path"),
        };
        match (self, uri.scheme_str()) {
            (_, None) => (format!("{from} that names no host"), known),
            (Self::Client(_), Some(_)) => (format!("{from} for another scheme than http"), "use CONNECT for https"),
            (Self::Tool { .. }, Some(_)) => (format!("{from} for another scheme than http and https"), known),
        }
    }
}

/// Who asks on one connection, and where that is written down.
struct Asked {
    from: Sender,
    account: Account,
}

/// The destinations of one connection.
#[derive(Default)]
struct Hosts(Mutex<Vec<Arc<Inside>>>);

/// Serves requests in absolute form.
pub(in crate::egress) async fn forward<S>(context: Arc<Context>, stream: S, from: Sender) -> Result<()>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (hosts, account) = (Arc::new(Hosts::default()), from.account(&context));
    let notes = Arc::<Notes>::default();
    let (of_requests, noted) = (Arc::clone(&context), Arc::clone(&notes));
    let asked = Arc::new(Asked { from, account: account.clone() });
    let service = service_fn(move |request: Request<Incoming>| {
        let (context, hosts, notes) = (Arc::clone(&of_requests), Arc::clone(&hosts), Arc::clone(&noted));
        let asked = Arc::clone(&asked);
        let flaw = notes.next();
        async move {
            if let Some(flaw) = flaw {
                // A log that takes no more records has said so to all who wait for it.
                drop(asked.account.refused(None, Wanted::default(), flaw.by, flaw.what));
                return Ok::<_, Infallible>(super::told(&flaw));
            }
            Ok(match hosts.inside(&context, request.uri(), &asked).await {
                Ok(inside) => super::answered(request::answer(inside, request).await, &notes),
                Err(told) => told.response(Words::Http).map(Reply::of),
            })
        }
    });
    let stream = Wire::new(stream, notes);
    let mut serving = Box::pin(one().serve_connection(TokioIo::new(stream), service).with_upgrades());
    let ended = tokio::select! {
        ended = &mut serving => ended,
        () = context.closed() => {
            serving.as_mut().graceful_shutdown();
            serving.await
        }
    };
    match ended {
        Err(error) if error.is_parse() => account.refused(None, Wanted::default(), "malformed", super::said(&error)),
        Ok(()) | Err(_) => Ok(()),
    }
}

impl Hosts {
    /// The connection that a request is on.
    async fn inside(&self, context: &Arc<Context>, uri: &Uri, asked: &Asked) -> Result<Arc<Inside>, Told> {
        asked.from.heard();
        let to = destination(context, uri, &asked.from).map_err(|(what, hint)| {
            let logged = asked.account.refused(None, Wanted::default(), "malformed", what.clone());
            match logged {
                Ok(()) => Told::new(StatusCode::BAD_REQUEST, what, hint),
                Err(error) => failed(&error),
            }
        })?;
        let known = {
            let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            all.iter().find(|inside| inside.to == to).map(Arc::clone)
        };
        if let Some(inside) = known {
            return Ok(inside);
        }
        let inside = open(context, to, asked).await?;
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if all.len() >= HOSTS_MAX {
            all.remove(0);
        }
        all.push(Arc::clone(&inside));
        Ok(inside)
    }
}

/// Where a request in absolute form goes.
fn destination(context: &Context, uri: &Uri, from: &Sender) -> Result<Destination, (String, &'static str)> {
    let (Some(channel), Some(authority)) = (from.channel(uri.scheme_str()), uri.authority()) else {
        return Err(from.misdirected(uri));
    };
    let (host, port) = crate::egress::proxy::authority(authority.as_str(), Some(channel.port()))
        .map_err(|what| (what, "write http://host:port/path"))?;
    let host = match (from, host) {
        (Sender::Client(_), Host::Address(address)) => context.names.name_of(address).unwrap_or(Host::Address(address)),
        // No tool was told such an address: of one it means the address, and so does its account of it.
        (Sender::Tool { .. }, address @ Host::Address(_)) => address,
        (_, name @ Host::Name(_)) => name,
    };
    Ok(Destination { host, port, channel })
}

/// Opens a destination, as if it were connected to.
async fn open(context: &Arc<Context>, to: Destination, asked: &Asked) -> Result<Arc<Inside>, Told> {
    let account = &asked.account;
    let wanted = Wanted { host: to.host.to_string(), port: Some(to.port), ..Default::default() };
    let refused = |refusal: &stockade_policy::Refusal| match account.refuse(None, wanted.clone(), refusal) {
        Ok(()) => Told::from(refusal),
        Err(error) => failed(&error),
    };
    let whole = match context.profile.door(&to.host, to.port) {
        Door::Shut(refusal) => return Err(refused(&refusal)),
        Door::Requests => None,
        Door::Whole => {
            let action = Action::Connect { host: to.host.clone(), port: to.port, method: None, path: None };
            match context.profile.judge(Call::new(ToolName::net(), action)) {
                Decision::Permit(permit) => Some(permit),
                Decision::Ask(ask) => {
                    let refusal = account.unapproved(None, wanted, ask).map_err(|error| failed(&error))?;
                    return Err(Told::from(&refusal));
                }
                Decision::Denial(denial) => return Err(refused(denial.refusal())),
            }
        }
    };
    let opening = account.open(to.host.clone(), to.port, asked.from.way(), whole);
    let connection = opening.await.map_err(|error| failed(&error))?;
    Ok(Inside::new(Arc::clone(context), connection, to))
}

fn failed(_: &Error) -> Told {
    Told::new(StatusCode::SERVICE_UNAVAILABLE, "the outlet cannot go on", "tell whoever runs the sandbox")
}
