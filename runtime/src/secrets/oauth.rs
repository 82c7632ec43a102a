//! OAuth tokens: client credentials and refresh, one flight at a time.
//! It never gives a token to anything but a request that it is bound to.

use crate::error::{Error, Result};
use crate::journal::{Admitted, Rotated, Use};
use crate::secrets::plain::{PLAIN_BYTES_MAX, Plain};
use crate::secrets::source::exec::unquote;
use base64ct::{Base64, Encoding as _};
use serde::Deserialize;
use serde_json::value::RawValue;
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use stockade_policy::{OauthGrant, RuleId, SecretName, TokenUrl};
use zeroize::Zeroizing;

/// Longest reply of a token endpoint, bytes.
pub const REPLY_BYTES_MAX: usize = 4 * PLAIN_BYTES_MAX;
/// How long a token is good that does not say so (RFC 6749, 5.1 leaves it to the server), seconds.
const LIFETIME_DEFAULT_S: u64 = 300;
/// Longest that a token is used without a new one, seconds.
const LIFETIME_MAX_S: u64 = 24 * 3600;
/// A token is renewed so long before its end, or in the last tenth of its life, whichever is shorter, seconds.
const EARLY_MAX_S: u64 = 60;
/// Tokens that are still scrubbed: the current one, and those before that may come back.
const TOKENS_KEPT: usize = 4;
const NS: u64 = 1_000_000_000;

/// Who carries a request to a token endpoint: the outlet, over TLS, with the address checked as for any other.
pub trait TokenEndpoint: Sync {
    /// Sends it once it is in the log and on disk, and gives the whole reply, at most [`REPLY_BYTES_MAX`] long.
    /// Redirects are replies.
    fn exchange(&self, request: TokenRequest) -> impl Future<Output = Result<TokenReply>> + Send;

    /// Writes into the log that a secret was replaced.
    ///
    /// # Errors
    /// The log takes no more records.
    fn rotated(&self, rotated: Rotated) -> Result<()>;
}

/// A `POST` of a form that carries a secret, not yet filled in.
#[derive(Debug)]
pub struct TokenRequest {
    /// Name of the secret whose rule grants it.
    pub secret: SecretName,
    /// Where to.
    pub url: TokenUrl,
    /// What the log has to say before it is filled.
    pub used: Use,
    grant: OauthGrant,
    client_id: String,
    plain: Arc<Plain>,
}

/// A filled form. It holds plaintexts, which wipe themselves.
#[derive(Debug)]
pub struct TokenForm {
    /// The header `authorization`, if there is one.
    pub authorization: Option<Zeroizing<String>>,
    /// The body, `application/x-www-form-urlencoded`.
    pub body: Zeroizing<String>,
}

/// What came back.
#[derive(Debug)]
pub struct TokenReply {
    /// Status code.
    pub status: u16,
    /// The body: it holds plaintexts.
    pub body: Zeroizing<Vec<u8>>,
}

/// The exchange of one secret for tokens.
#[derive(Debug)]
pub struct Exchange {
    url: TokenUrl,
    grant: OauthGrant,
    client_id: String,
    state: Mutex<State>,
    /// Held by who asks the endpoint; the others wait for the answer, or use the token that they have.
    flight: tokio::sync::Mutex<()>,
}

#[derive(Debug, Default)]
struct State {
    /// The newest last.
    tokens: Vec<Arc<Plain>>,
    renew_ns: u64,
    end_ns: u64,
}

/// How usable the newest token is.
enum Supply {
    Fresh(Arc<Plain>),
    /// Good, and soon to end.
    Ageing(Arc<Plain>),
    None,
}

#[derive(Deserialize)]
struct Reply<'a> {
    #[serde(borrow)]
    access_token: &'a RawValue,
    #[serde(borrow)]
    token_type: &'a RawValue,
    #[serde(borrow)]
    expires_in: Option<&'a RawValue>,
    #[serde(borrow)]
    refresh_token: Option<&'a RawValue>,
}

impl Exchange {
    /// An exchange that has not yet asked.
    pub fn new(url: TokenUrl, grant: OauthGrant, client_id: String) -> Self {
        Self { url, grant, client_id, state: Mutex::default(), flight: tokio::sync::Mutex::new(()) }
    }

    /// What the secret is exchanged as.
    pub fn grant(&self) -> OauthGrant {
        self.grant
    }

    /// A token that is good now: the one at hand, or a new one. Of many that need a new one, one asks.
    ///
    /// A future that is dropped leaves the exchange as it was; the next one asks again. What the server gave meanwhile is
    /// lost then, so who exchanges refresh tokens lets it come to its end.
    ///
    /// # Errors
    /// Those of asking.
    pub async fn token<F>(&self, now_ns: u64, ask: impl FnOnce() -> F + Send) -> Result<Arc<Plain>>
    where
        F: Future<Output = Result<Granted>> + Send,
    {
        let ageing = match self.supply(now_ns) {
            Supply::Fresh(token) => return Ok(token),
            Supply::Ageing(token) => Some(token),
            Supply::None => None,
        };
        let _flight = match (&ageing, self.flight.try_lock()) {
            (_, Ok(flight)) => flight,
            // Somebody is renewing it.
            (Some(token), Err(_)) => return Ok(Arc::clone(token)),
            (None, Err(_)) => self.flight.lock().await,
        };
        // Somebody may have renewed it while this one waited.
        if let Supply::Fresh(token) = self.supply(now_ns) {
            return Ok(token);
        }
        match (ask().await, ageing) {
            (Ok(granted), _) => Ok(self.take(granted, now_ns)),
            // The one at hand is good for a while: the next request tries again.
            (Err(_), Some(token)) => Ok(token),
            (Err(error), None) => Err(error),
        }
    }

    /// Every token that could come back.
    pub fn plaintexts(&self) -> Vec<Arc<Plain>> {
        self.locked().tokens.clone()
    }

    /// The request for a token, with this version of the secret.
    pub fn request(&self, secret: &SecretName, version: u64, rule: &RuleId, plain: Arc<Plain>) -> TokenRequest {
        let place = match self.grant {
            OauthGrant::ClientCredentials => "header authorization",
            OauthGrant::RefreshToken => "body",
        };
        TokenRequest {
            used: Use { name: secret.to_string(), version, place: place.to_owned(), rule: rule.clone() },
            secret: secret.clone(),
            url: self.url.clone(),
            grant: self.grant,
            client_id: self.client_id.clone(),
            plain,
        }
    }

    /// What a reply grants.
    ///
    /// # Errors
    /// Host: it gives no token. Nothing of it is repeated.
    pub fn read(&self, secret: &SecretName, reply: &TokenReply) -> Result<Granted> {
        let refuse = |why: String| {
            Error::host(format!("secret \"{secret}\": \"{}\" {why}", self.url))
                .hint("check the client and the secret with its provider")
        };
        if reply.status != 200 {
            return Err(refuse(format!("answered {}", reply.status)));
        }
        Granted::read(&reply.body).ok_or_else(|| refuse("gave no bearer token".to_owned()))
    }

    fn take(&self, granted: Granted, now_ns: u64) -> Arc<Plain> {
        let life_s = granted.life_s.min(LIFETIME_MAX_S);
        let token = Arc::new(granted.token);
        let mut state = self.locked();
        state.end_ns = now_ns.saturating_add(life_s.saturating_mul(NS));
        state.renew_ns = state.end_ns.saturating_sub(EARLY_MAX_S.min(life_s / 10).saturating_mul(NS));
        if state.tokens.len() == TOKENS_KEPT {
            state.tokens.remove(0);
        }
        state.tokens.push(Arc::clone(&token));
        token
    }

    fn supply(&self, now_ns: u64) -> Supply {
        let state = self.locked();
        match state.tokens.last() {
            Some(token) if now_ns < state.renew_ns => Supply::Fresh(Arc::clone(token)),
            Some(token) if now_ns < state.end_ns => Supply::Ageing(Arc::clone(token)),
            Some(_) | None => Supply::None,
        }
    }

    /// Nothing panics while it is held, so that a poisoned state is a whole one.
    fn locked(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl TokenRequest {
    /// The form, filled in: for a request that is in the log with this use, and on disk.
    ///
    /// # Errors
    /// Bug: the log does not have the use. Then nothing may be sent.
    pub fn fill(&self, admitted: &Admitted) -> Result<TokenForm> {
        if !admitted.uses().contains(&self.used) {
            return Err(Error::bug(format!("the exchange of secret \"{}\" is not in the log", self.used.name)));
        }
        Ok(self.form())
    }

    /// The body, for tests of who asks: they have no log.
    #[cfg(test)]
    pub(super) fn form_of_a_test(&self) -> String {
        self.form().body.to_string()
    }

    fn form(&self) -> TokenForm {
        let secret = &self.plain;
        let mut body = Zeroizing::new(String::with_capacity(256 + 3 * secret.len() + 3 * self.client_id.len()));
        body.push_str("grant_type=");
        body.push_str(self.grant.as_str());
        let authorization = match self.grant {
            OauthGrant::ClientCredentials => Some(self.basic()),
            OauthGrant::RefreshToken => {
                body.push_str("&refresh_token=");
                push_form(secret.bytes(), &mut body);
                body.push_str("&client_id=");
                push_form(self.client_id.as_bytes(), &mut body);
                None
            }
        };
        TokenForm { authorization, body }
    }

    /// Basic authentication of a client: both halves are encoded as in a form first (RFC 6749, 2.3.1).
    fn basic(&self) -> Zeroizing<String> {
        let mut pair = Zeroizing::new(String::with_capacity(3 * (self.client_id.len() + self.plain.len()) + 1));
        push_form(self.client_id.as_bytes(), &mut pair);
        pair.push(':');
        push_form(self.plain.bytes(), &mut pair);
        let mut value = Zeroizing::new(String::with_capacity(6 + Base64::encoded_len(pair.as_bytes())));
        value.push_str("Basic ");
        value.push_str(&Zeroizing::new(Base64::encode_string(pair.as_bytes())));
        value
    }
}

/// What a token endpoint granted.
#[derive(Debug)]
pub struct Granted {
    token: Plain,
    life_s: u64,
    /// What is to be exchanged next time, in the place of what was exchanged now.
    pub refresh: Option<Plain>,
}

impl Granted {
    /// Reads a reply (RFC 6749, 5.1); `None` for anything that is no bearer token which a header can carry.
    fn read(body: &[u8]) -> Option<Self> {
        if body.len() > REPLY_BYTES_MAX {
            return None;
        }
        let reply: Reply<'_> = serde_json::from_slice(body).ok()?;
        let plain = |raw: &RawValue| {
            let text = unquote(raw.get())?;
            let fits = text.iter().all(|byte| (b' '..=b'~').contains(byte));
            fits.then(|| Plain::copied(&text).ok()).flatten()
        };
        let kind = unquote(reply.token_type.get())?;
        kind.eq_ignore_ascii_case(b"bearer").then_some(())?;
        // Some servers write the number as a text.
        let life_s = match reply.expires_in {
            Some(raw) => raw.get().trim_matches('"').parse::<f64>().ok().filter(|life| *life >= 1.0)?,
            None => f64::from(u16::try_from(LIFETIME_DEFAULT_S).ok()?),
        };
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it saturates, and is from 1")]
        let life_s = life_s as u64;
        Some(Self { token: plain(reply.access_token)?, life_s, refresh: reply.refresh_token.and_then(plain) })
    }
}

/// Appends text as a form has it: a blank is `+`.
fn push_form(bytes: &[u8], out: &mut String) {
    for &byte in bytes {
        match byte {
            b' ' => out.push('+'),
            _ if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) => out.push(char::from(byte)),
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
}

#[cfg(test)]
mod tests;
