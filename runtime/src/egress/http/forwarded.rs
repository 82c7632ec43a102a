//! Requests to the proxy itself: each names its host, and is treated as if it had come on a connection to it.
//! It never takes one for another host because an earlier one was allowed.

use super::reply::Reply;
use super::request;
use super::wire::{Notes, Wire};
use super::{Inside, Result, one};
use crate::egress::Context;
use crate::egress::canonical::{Channel, Destination};
use crate::egress::refuse::{Told, Words};
use crate::error::Error;
use crate::journal::{Wanted, Way};
use http::{Request, StatusCode, Uri};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use stockade_audit::record::Via;
use stockade_policy::{Action, Call, Decision, Door, Host, ToolName};
use tokio::io::{AsyncRead, AsyncWrite};

/// Hosts that one connection to the proxy is open to at a time; the oldest is closed for another.
const HOSTS_MAX: usize = 16;

/// The destinations of one connection to the proxy.
#[derive(Default)]
struct Hosts(Mutex<Vec<Arc<Inside>>>);

/// Serves requests in absolute form.
pub(in crate::egress) async fn forward<S>(context: Arc<Context>, stream: S, proxy: SocketAddr) -> Result<()>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let hosts = Arc::new(Hosts::default());
    let notes = Arc::<Notes>::default();
    let (of_requests, noted) = (Arc::clone(&context), Arc::clone(&notes));
    let service = service_fn(move |request: Request<Incoming>| {
        let (context, hosts, notes) = (Arc::clone(&of_requests), Arc::clone(&hosts), Arc::clone(&noted));
        let flaw = notes.next();
        async move {
            if let Some(flaw) = flaw {
                // A log that takes no more records has said so to all who wait for it.
                drop(context.account.refused(None, Wanted::default(), flaw.by, flaw.what));
                return Ok::<_, Infallible>(super::told(&flaw));
            }
            Ok(match hosts.inside(&context, request.uri(), proxy).await {
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
        Err(error) if error.is_parse() => {
            context.account.refused(None, Wanted::default(), "malformed", super::said(&error))
        }
        Ok(()) | Err(_) => Ok(()),
    }
}

impl Hosts {
    /// The connection that a request is on.
    async fn inside(&self, context: &Arc<Context>, uri: &Uri, proxy: SocketAddr) -> Result<Arc<Inside>, Told> {
        let to = destination(context, uri).map_err(|(what, hint)| {
            let logged = context.account.refused(None, Wanted::default(), "malformed", what.clone());
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
        let inside = open(context, to, proxy).await?;
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if all.len() >= HOSTS_MAX {
            all.remove(0);
        }
        all.push(Arc::clone(&inside));
        Ok(inside)
    }
}

/// Where a request in absolute form goes.
fn destination(context: &Context, uri: &Uri) -> Result<Destination, (String, &'static str)> {
    let Some(authority) = uri.authority() else {
        return Err(("a request to the proxy that names no host".to_owned(), "send an absolute URL, or CONNECT"));
    };
    if uri.scheme_str() != Some("http") {
        return Err(("a request to the proxy for another scheme than http".to_owned(), "use CONNECT for https"));
    }
    let (host, port) = crate::egress::proxy::authority(authority.as_str(), Some(80))
        .map_err(|what| (what, "write http://host:port/path"))?;
    let host = match host {
        Host::Address(address) => context.names.name_of(address).unwrap_or(Host::Address(address)),
        name @ Host::Name(_) => name,
    };
    Ok(Destination { host, port, channel: Channel::Clear })
}

/// Opens a destination, as if it were connected to; the client came to the proxy at this address.
async fn open(context: &Arc<Context>, to: Destination, proxy: SocketAddr) -> Result<Arc<Inside>, Told> {
    let account = &context.account;
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
    let way = Way { via: Via::Http, inside: Some(proxy) };
    let opening = account.open(to.host.clone(), to.port, way, whole);
    let connection = opening.await.map_err(|error| failed(&error))?;
    Ok(Inside::new(Arc::clone(context), connection, to))
}

fn failed(_: &Error) -> Told {
    Told::new(StatusCode::SERVICE_UNAVAILABLE, "the outlet cannot go on", "tell whoever runs the sandbox")
}
