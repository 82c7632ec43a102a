//! OAuth tokens: client credentials and refresh, one flight at a time.
//! It never gives a token to anything but a request that it is bound to.

use crate::error::{Error, Result};
use crate::secrets::plain::{PLAIN_BYTES_MAX, Plain};
use crate::secrets::source::exec::unquote;
use base64ct::{Base64, Encoding as _};
use serde::Deserialize;
use serde_json::value::RawValue;
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use stockade_policy::{OauthGrant, TokenUrl};
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
    /// Sends it, and gives the whole reply, at most [`REPLY_BYTES_MAX`] long. Redirects are replies.
    fn exchange(&self, request: TokenRequest) -> impl Future<Output = Result<TokenReply>> + Send;
}

/// A `POST` of a form. It holds plaintexts, which wipe themselves.
#[derive(Debug)]
pub struct TokenRequest {
    /// Where to.
    pub url: TokenUrl,
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
    /// A refresh token that the server gave in place of the stored one.
    refresh: Option<Arc<Plain>>,
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

    /// A token that is good now: the one at hand, or a new one. Of many that need a new one, one asks.
    ///
    /// A future that is dropped leaves the exchange as it was; the next one asks again.
    ///
    /// # Errors
    /// The endpoint's, or Host: it gave no token.
    pub async fn token(
        &self,
        name: &str,
        secret: &Plain,
        now_ns: u64,
        endpoint: &impl TokenEndpoint,
    ) -> Result<Arc<Plain>> {
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
        let asked = self.ask(name, secret, now_ns, endpoint).await;
        match (asked, ageing) {
            (Ok(token), _) => Ok(token),
            // The one at hand is good for a while: the next request tries again.
            (Err(_), Some(token)) => Ok(token),
            (Err(error), None) => Err(error),
        }
    }

    /// Everything that could come back.
    pub fn plaintexts(&self) -> Vec<Arc<Plain>> {
        let state = self.locked();
        state.tokens.iter().cloned().chain(state.refresh.clone()).collect()
    }

    /// The refresh token that the server gave in place of the stored one, if it did: it has to be stored, or the next
    /// session finds the old one used up.
    pub fn rotated(&self) -> Option<Arc<Plain>> {
        self.locked().refresh.clone()
    }

    async fn ask(&self, name: &str, secret: &Plain, now_ns: u64, endpoint: &impl TokenEndpoint) -> Result<Arc<Plain>> {
        let request = {
            let state = self.locked();
            self.request(state.refresh.as_deref().unwrap_or(secret))
        };
        let reply = endpoint.exchange(request).await?;
        let refuse = |why: String| {
            Error::host(format!("secret \"{name}\": \"{}\" {why}", self.url))
                .hint("check the client and the secret with its provider")
        };
        if reply.status != 200 {
            return Err(refuse(format!("answered {}", reply.status)));
        }
        let granted = Granted::read(&reply.body).ok_or_else(|| refuse("gave no bearer token".to_owned()))?;
        let life_s = granted.life_s.min(LIFETIME_MAX_S);
        let token = Arc::new(granted.token);
        let mut state = self.locked();
        state.end_ns = now_ns.saturating_add(life_s.saturating_mul(NS));
        state.renew_ns = state.end_ns.saturating_sub(EARLY_MAX_S.min(life_s / 10).saturating_mul(NS));
        if state.tokens.len() == TOKENS_KEPT {
            state.tokens.remove(0);
        }
        state.tokens.push(Arc::clone(&token));
        state.refresh = granted.refresh.map(Arc::new).or(state.refresh.take());
        Ok(token)
    }

    fn request(&self, secret: &Plain) -> TokenRequest {
        let mut body = Zeroizing::new(String::with_capacity(256 + 3 * secret.len() + 3 * self.client_id.len()));
        body.push_str("grant_type=");
        body.push_str(self.grant.as_str());
        let authorization = match self.grant {
            OauthGrant::ClientCredentials => Some(self.basic(secret)),
            OauthGrant::RefreshToken => {
                body.push_str("&refresh_token=");
                push_form(secret.bytes(), &mut body);
                body.push_str("&client_id=");
                push_form(self.client_id.as_bytes(), &mut body);
                None
            }
        };
        TokenRequest { url: self.url.clone(), authorization, body }
    }

    /// Basic authentication of a client: both halves are encoded as in a form first (RFC 6749, 2.3.1).
    fn basic(&self, secret: &Plain) -> Zeroizing<String> {
        let mut pair = Zeroizing::new(String::with_capacity(3 * (self.client_id.len() + secret.len()) + 1));
        push_form(self.client_id.as_bytes(), &mut pair);
        pair.push(':');
        push_form(secret.bytes(), &mut pair);
        let mut value = Zeroizing::new(String::with_capacity(6 + Base64::encoded_len(pair.as_bytes())));
        value.push_str("Basic ");
        value.push_str(&Zeroizing::new(Base64::encode_string(pair.as_bytes())));
        value
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

/// What a token endpoint granted.
struct Granted {
    token: Plain,
    life_s: u64,
    refresh: Option<Plain>,
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
