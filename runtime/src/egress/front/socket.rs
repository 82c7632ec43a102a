//! Sockets of tools: a component says where it wants to go as a client of the proxy does, and is then one as any other.
//! It never takes an address for a name that somebody else was told.

use super::client::Client;
use super::{Arrival, refuse, wanted};
use crate::egress::Context;
use crate::egress::pieces::Pieced;
use crate::egress::proxy::{self, Form, Obstacle};
use crate::error::Result;
use crate::journal::{Account, Way};
use bytes::BytesMut;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use stockade_audit::record::Via;
use tokio::net::UnixStream;

/// Serves the socket of a component. `heard` is set when what it wants is about to be in the log.
pub(in crate::egress) async fn socket(
    context: Arc<Context>,
    stream: UnixStream,
    account: Account,
    heard: Arc<AtomicBool>,
) -> Result<()> {
    let mut stream = Client::Right(Pieced::new(stream));
    let target = match proxy::negotiate(&mut stream).await {
        Ok(target) => target,
        Err(misfit) => {
            heard.store(true, Ordering::Relaxed);
            account.refused(None, misfit.wanted(), "malformed", misfit.reason)?;
            refuse::last(&mut stream, &misfit.reply).await;
            return Ok(());
        }
    };
    heard.store(true, Ordering::Relaxed);
    let way = Way { via: Via::WasiTcp, inside: None };
    if target.form != Form::Connect {
        let why = "a socket of a tool begins with CONNECT";
        account.refused(None, wanted(&target.host, target.port), "malformed", why)?;
        refuse::last(&mut stream, &Form::Connect.refused(Obstacle::Failed, why)).await;
        return Ok(());
    }
    let ahead = BytesMut::from(&target.rest[..]);
    let (host, port, form) = (target.host, target.port, Some(Form::Connect));
    Arrival { context, account, stream, ahead, host, port, way, form }.open().await
}

/// Tells a component that no more connections are served now. That is in the log already.
pub(in crate::egress) async fn overfull(stream: UnixStream, why: String) {
    let mut stream = Client::Right(Pieced::new(stream));
    refuse::last(&mut stream, &Form::Connect.refused(Obstacle::Limited, &why)).await;
}
