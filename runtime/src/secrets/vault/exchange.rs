//! Secrets that are exchanged for tokens before they are of use, and what replaces them when they are good once.
//! It never sends an exchange that is not in the log, and never loses what replaced a secret without saying so there.

use super::slots::{Put, Slots};
use super::{Held, Origin, Value, Vault};
use crate::error::{Error, Result};
use crate::journal::{Kept, Rotated};
use crate::secrets::oauth::{Exchange, Granted, TokenEndpoint};
use crate::secrets::plain::Plain;
use crate::secrets::source::Source;
use crate::secrets::store::{Store, Turn};
use std::sync::Arc;
use stockade_policy::OauthGrant;

impl Vault {
    /// Gets what has to be had before a request can be filled: tokens that a secret is exchanged for. Many requests wait
    /// for one exchange.
    ///
    /// It must come to its end: what the server gives in the place of a refresh token is kept by the one who asked.
    ///
    /// # Errors
    /// The endpoint's own, or Host: it gave no token. Then the request must not go.
    pub async fn prepare(&self, slots: &mut Slots, endpoint: &impl TokenEndpoint) -> Result<()> {
        for act in slots.acts_mut() {
            if let (Some(exchange), Put::Header { .. }) = (&act.held.exchange, &act.put) {
                let now_ns = self.machine.clock.mono_ns();
                let held = Arc::clone(&act.held);
                act.token = Some(exchange.token(now_ns, || self.ask(held, exchange, endpoint)).await?);
            }
        }
        Ok(())
    }

    async fn ask(&self, held: Arc<Held>, exchange: &Exchange, endpoint: &impl TokenEndpoint) -> Result<Granted> {
        let turn = match (exchange.grant(), &held.origin, &self.store) {
            (OauthGrant::RefreshToken, Origin::Source(Source::Store), Some(store)) => {
                Some(begin_turn(Arc::clone(store), Arc::clone(&held)).await?)
            }
            (OauthGrant::RefreshToken | OauthGrant::ClientCredentials, Origin::Source(_) | Origin::Token, _) => None,
        };
        let value = held.value();
        let name = &held.rule.subject.name;
        let request = exchange.request(name, value.version, &held.rule.id, Arc::clone(&value.plain));
        let reply = endpoint.exchange(request).await?;
        let mut granted = exchange.read(name, &reply)?;
        // Some servers repeat the one that they were sent: then nothing was replaced.
        let replaced = granted.refresh.take().filter(|refresh| refresh.bytes() != value.plain.bytes());
        if let (OauthGrant::RefreshToken, Some(refresh)) = (exchange.grant(), replaced) {
            self.keep(&held, &value, refresh, endpoint).await?;
        }
        drop(turn);
        Ok(granted)
    }

    /// Keeps what the server gave in the place of a refresh token, which it may take no more: in the store, before the
    /// token that came along is used, or else in the session, which the log says.
    async fn keep(&self, held: &Arc<Held>, was: &Value, refresh: Plain, endpoint: &impl TokenEndpoint) -> Result<()> {
        let refresh = Arc::new(refresh);
        let kept = match (&held.origin, &self.store) {
            (Origin::Source(Source::Store), Some(store)) => {
                let (store, held, was, refresh) =
                    (Arc::clone(store), Arc::clone(held), was.version, Arc::clone(&refresh));
                let name = move || store.succeed(&held.rule.subject.name, was, &refresh);
                match tokio::task::spawn_blocking(name).await.map_err(|_| Error::bug("the store's thread ended"))? {
                    Ok(Some(version)) => Ok(version),
                    Ok(None) => Err("the store has another version meanwhile".to_owned()),
                    // The session goes on with it; the next one cannot.
                    Err(error) => {
                        Err(error.reports.into_iter().map(|report| report.what).collect::<Vec<_>>().join("; "))
                    }
                }
            }
            (Origin::Source(source), _) => Err(format!("its source \"{source}\" is not ours to write to")),
            (Origin::Token, _) => Err("it came back while the session ran".to_owned()),
        };
        let (version, kept) = match kept {
            Ok(version) => (version, Kept::Store),
            Err(why) => {
                let name = held.name();
                tracing::warn!(
                    "secret \"{name}\" was replaced by its server, and only this session has the new one: {why}"
                );
                (self.own_version(), Kept::Session(why))
            }
        };
        held.replace(version, refresh);
        endpoint.rotated(Rotated { name: held.name().to_owned(), was: was.version, version, kept })
    }
}

/// Waits for the turn to exchange a secret of the store, and takes over what another session was given in its place.
async fn begin_turn(store: Arc<Store>, held: Arc<Held>) -> Result<Turn> {
    let begin = move || {
        let name = &held.rule.subject.name;
        let turn = store.turn(name)?;
        let stored = store.get(name)?;
        if let Some((version, value)) = stored.and_then(|stored| Some((stored.version, stored.value?)))
            && version != held.value().version
        {
            held.replace(version, Arc::new(value));
        }
        Ok(turn)
    };
    tokio::task::spawn_blocking(begin).await.map_err(|_| Error::bug("the store's thread ended"))?
}

#[cfg(test)]
mod tests;
