//! Tokens that an agent gets for a placeholder: it gets placeholders for them.
//! It never passes on the reply of a token endpoint that it could not read.

use super::slots::{Outgoing, is_endpoint};
use super::{Held, Origin, Value, Vault};
use crate::error::{Error, Result};
use crate::secrets::oauth::REPLY_BYTES_MAX;
use crate::secrets::plain::Plain;
use crate::secrets::source::exec::unquote;
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::RwLock;
use stockade_policy::{Only, SecretPlace};
use zeroize::Zeroizing;

/// Most tokens of one session.
const TOKENS_MAX: usize = 1024;

impl Vault {
    /// Whether the reply to a request has tokens for one of the secrets: then it is read whole, at most
    /// [`REPLY_BYTES_MAX`] long and without content encoding, and passed on as [`Vault::reply_tokens`] gives it.
    pub fn gives_tokens(&self, request: &Outgoing<'_>) -> bool {
        self.held.all().iter().any(|held| is_endpoint(request, held))
    }

    /// The reply of a token endpoint, with a placeholder for each token: bound to what the secret is bound to, an access
    /// token as a bearer, a refresh token to the endpoint alone. A reply without tokens is given as it came.
    ///
    /// # Errors
    /// Host: the reply is too long, or no JSON object: it must not be passed on. Guest: the session has too many tokens.
    pub fn reply_tokens(&self, request: &Outgoing<'_>, reply: &[u8]) -> Result<Vec<u8>> {
        let all = self.held.all();
        let secret = all.iter().find(|held| is_endpoint(request, held) && !held.is_minted());
        let secret = secret.ok_or_else(|| Error::bug("a reply of no token endpoint came for its tokens"))?;
        let unread =
            || Error::host(format!("secret \"{}\": its token endpoint gave something that is no JSON", secret.name()));
        if reply.len() > REPLY_BYTES_MAX {
            return Err(unread());
        }
        let members: BTreeMap<Cow<'_, str>, &RawValue> = serde_json::from_slice(reply).map_err(|_| unread())?;
        let mut out = BTreeMap::new();
        for (name, raw) in members {
            let token = match name.as_ref() {
                "access_token" | "id_token" => {
                    Some(SecretPlace::Header { name: "authorization".to_owned(), format: "Bearer {}".to_owned() })
                }
                "refresh_token" => Some(SecretPlace::Body),
                _ => None,
            };
            let text = token.is_some().then(|| unquote(raw.get())).flatten();
            let value = match (token, text) {
                (Some(place), Some(text)) => {
                    let placeholder = self.mint(secret, place, &text)?;
                    RawValue::from_string(format!("\"{placeholder}\"")).map_err(|_| unread())?
                }
                (Some(_) | None, None) => raw.to_owned(),
                (None, Some(_)) => return Err(Error::bug("a member that is no token was read as one")),
            };
            out.insert(name, value);
        }
        serde_json::to_vec(&out).map_err(|error| Error::bug(format!("write JSON: {error}")))
    }

    /// Keeps a token, and makes its placeholder; the same token gets the same one.
    fn mint(&self, secret: &Held, place: SecretPlace, token: &Zeroizing<Vec<u8>>) -> Result<String> {
        let all = self.held.all();
        if let Some(known) = all.iter().find(|held| held.is_minted() && held.value().plain.bytes() == token.as_slice())
        {
            return Ok(known.text.clone());
        }
        let minted = all.iter().filter(|held| held.is_minted()).count();
        if minted >= TOKENS_MAX {
            return Err(Error::guest(format!("the session has {TOKENS_MAX} tokens already")).hint("reuse tokens"));
        }
        let version = self.own_version();
        let mut rule = secret.rule.clone();
        rule.subject.env = None;
        let endpoint = match place {
            SecretPlace::Body => secret.endpoint.clone(),
            SecretPlace::Header { .. }
            | SecretPlace::Basic { .. }
            | SecretPlace::Query { .. }
            | SecretPlace::Path
            | SecretPlace::Sigv4 { .. }
            | SecretPlace::Oauth { .. } => None,
        };
        rule.subject.place = place;
        if endpoint.is_some() {
            rule.subject.methods = Only::Any;
        }
        let subject = &rule.subject;
        let placeholder = self.scanner.key().placeholder(&self.session, &subject.name, version, subject.shape);
        let text = placeholder.text();
        let plain = Plain::copied(token).map_err(|unfit| unfit.of(secret.name()))?;
        let (origin, value, exchange) = (Origin::Token, Value::first(version, plain, None), None);
        let (reader, gone) = (None, RwLock::default());
        let text_of = text.clone();
        self.held.put(Held { rule, origin, value, reader, gone, placeholder, text: text_of, exchange, endpoint });
        Ok(text)
    }
}
