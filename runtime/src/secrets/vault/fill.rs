//! Puts plaintexts into a request that is in the log.
//! It never decides where: it carries out what was decided, and only what was logged.

use super::slots::{Act, Put, Slots, parameter};
use super::{Held, Vault};
use crate::error::{Error, Result};
use crate::journal::{Admitted, Use};
use crate::secrets::plain::Plain;
use crate::secrets::sigv4::{self, KeyPair, Scope, Unsigned};
use base64ct::{Base64, Encoding as _};
use http::HeaderMap;
use http::header::{AUTHORIZATION, HeaderName, HeaderValue};
use std::collections::BTreeMap;
use stockade_policy::Action;
use zeroize::{Zeroize as _, Zeroizing};

impl Vault {
    /// Puts the plaintexts into headers and target (`path?query`, as sent). Last of all that is done to a request: a
    /// signature covers what it finds. Header values are marked sensitive, so that they are not printed or indexed.
    ///
    /// What this leaves behind is the outgoing request: it holds plaintexts until it is sent and dropped.
    ///
    /// # Errors
    /// Operator: the secret does not fit its place. Guest: the request has changed since it was judged. Bug: a use is not
    /// in the log. Then nothing may be sent.
    pub fn fill(&self, slots: &Slots, admitted: &Admitted, headers: &mut HeaderMap, target: &mut String) -> Result<()> {
        let Action::Connect { host, port, method: Some(method), .. } = admitted.call().action() else {
            return Err(Error::bug("what is not a request is to be filled"));
        };
        let authority = if *port == 443 { host.to_string() } else { format!("{host}:{port}") };
        let sent = Sent { authority: &authority, method: method.as_str() };
        self.put(slots, admitted.uses(), sent, headers, target)
    }

    /// As [`Vault::fill`], with what the log has.
    pub(super) fn put(
        &self,
        slots: &Slots,
        logged: &[Use],
        sent: Sent<'_>,
        headers: &mut HeaderMap,
        target: &mut String,
    ) -> Result<()> {
        if let Some(unlogged) = slots.uses().iter().find(|used| !logged.contains(used)) {
            return Err(Error::bug(format!("a use of secret \"{}\" is not in the log", unlogged.name)));
        }
        for act in &slots.acts {
            let plain = act.token.as_deref().unwrap_or(&act.value.plain);
            let is_exchanged = act.held.exchange.is_some() && matches!(act.put, Put::Header { .. });
            if is_exchanged && act.token.is_none() {
                return Err(Error::bug(format!("secret \"{}\" was not exchanged before it is used", act.held.name())));
            }
            match &act.put {
                Put::Header { name, before, after } => put_header(act, plain, (name, before, after), headers)?,
                Put::Basic { user } => put_basic(act, plain, user, headers)?,
                Put::Query => put_query(&act.held, plain, target)?,
                Put::Path => put_path(&act.held, plain, target)?,
                Put::Signature { service, region } => {
                    let date = sigv4::time_text(self.machine.clock.wall_ns() / 1_000_000_000);
                    let scope = Scope { day: date.get(..8).unwrap_or_default(), region, service };
                    put_signature((&act.held, plain), scope, &date, slots.payload(), sent, headers, target)?;
                }
            }
        }
        Ok(())
    }
}

/// What a signature covers beside headers and target.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sent<'a> {
    /// Host, with the port where it is not the usual one.
    pub(super) authority: &'a str,
    pub(super) method: &'a str,
}

fn put_header(
    act: &Act,
    plain: &Plain,
    (name, before, after): (&str, &str, &str),
    headers: &mut HeaderMap,
) -> Result<()> {
    let mut value = Zeroizing::new(Vec::with_capacity(before.len() + plain.len() + after.len()));
    value.extend_from_slice(before.as_bytes());
    plain.reveal_into(&mut value);
    value.extend_from_slice(after.as_bytes());
    let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| misfit(&act.held))?;
    headers.insert(name, sensitive(&act.held, &value)?);
    Ok(())
}

fn put_basic(act: &Act, plain: &Plain, user: &str, headers: &mut HeaderMap) -> Result<()> {
    let mut pair = Zeroizing::new(Vec::with_capacity(user.len() + 1 + plain.len()));
    pair.extend_from_slice(user.as_bytes());
    pair.push(b':');
    plain.reveal_into(&mut pair);
    let mut value = Zeroizing::new(vec![0; 6 + Base64::encoded_len(&pair)]);
    let (scheme, encoded) = value.split_at_mut(6);
    scheme.copy_from_slice(b"Basic ");
    Base64::encode(&pair, encoded).map_err(|_| Error::bug("base64 is longer than it says"))?;
    headers.insert(AUTHORIZATION, sensitive(&act.held, &value)?);
    Ok(())
}

fn put_query(held: &Held, plain: &Plain, target: &mut String) -> Result<()> {
    let (path, query) = target.split_once('?').ok_or_else(|| changed(held))?;
    let mut out = Zeroizing::new(String::with_capacity(target.len() + 3 * plain.len()));
    out.push_str(path);
    let mut swapped = 0;
    for (place, pair) in query.split('&').enumerate() {
        out.push(if place == 0 { '?' } else { '&' });
        let (name, value) = parameter(pair);
        if value == held.text {
            out.push_str(name);
            out.push('=');
            push_encoded(plain, &mut out);
            swapped += 1;
        } else {
            out.push_str(pair);
        }
    }
    replace_target(held, swapped, target, out)
}

fn put_path(held: &Held, plain: &Plain, target: &mut String) -> Result<()> {
    let (path, query) = target.split_at(target.find('?').unwrap_or(target.len()));
    let mut out = Zeroizing::new(String::with_capacity(target.len() + 3 * plain.len()));
    let mut swapped = 0;
    let mut parts = path.split(held.text.as_str());
    out.push_str(parts.next().unwrap_or_default());
    for part in parts {
        push_encoded(plain, &mut out);
        out.push_str(part);
        swapped += 1;
    }
    out.push_str(query);
    replace_target(held, swapped, target, out)
}

fn replace_target(held: &Held, swapped: usize, target: &mut String, mut out: Zeroizing<String>) -> Result<()> {
    if swapped != 1 {
        return Err(changed(held));
    }
    target.zeroize();
    *target = std::mem::take(&mut *out);
    Ok(())
}

/// Percent-encodes everything but what RFC 3986 leaves unreserved.
pub(super) fn push_encoded(plain: &Plain, out: &mut String) {
    const HEX: [char; 16] = ['0', '1', '2', '3', '4', '5', '6', '7', '8', '9', 'A', 'B', 'C', 'D', 'E', 'F'];
    let digit = |nibble: u8| *HEX.get(usize::from(nibble)).expect("a nibble");
    for &byte in plain.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.extend(['%', digit(byte >> 4), digit(byte & 15)]);
        }
    }
}

/// Signs what is in `headers` and `target` now.
fn put_signature(
    (held, plain): (&Held, &Plain),
    scope: Scope<'_>,
    date: &str,
    payload: Option<&str>,
    sent: Sent<'_>,
    headers: &mut HeaderMap,
    target: &str,
) -> Result<()> {
    let payload = payload
        .ok_or_else(|| Error::bug(format!("secret \"{}\" signs a request whose body nobody hashed", held.name())))?;
    let pair = KeyPair::read(plain, held.name())?;
    headers.remove(AUTHORIZATION);
    let value = |text: &str| HeaderValue::from_str(text).map_err(|_| misfit(held));
    headers.insert("x-amz-date", value(date)?);
    match pair.token {
        Some(token) => drop(headers.insert("x-amz-security-token", sensitive(held, token.as_bytes())?)),
        None => drop(headers.remove("x-amz-security-token")),
    }
    if scope.service == "s3" {
        headers.insert("x-amz-content-sha256", value(payload)?);
    }
    let mut signed = BTreeMap::from([("host".to_owned(), sent.authority.to_owned())]);
    for name in headers.keys() {
        let is_signed = name.as_str().starts_with("x-amz-") || matches!(name.as_str(), "content-type" | "content-md5");
        if is_signed {
            let values: Option<Vec<&str>> = headers.get_all(name).iter().map(|value| value.to_str().ok()).collect();
            let values =
                values.ok_or_else(|| Error::guest(format!("header \"{name}\" is no text and cannot be signed")))?;
            signed.insert(name.as_str().to_owned(), values.join(","));
        }
    }
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let request = Unsigned { method: sent.method, path, query, headers: signed, payload };
    let authorization = sigv4::authorization(&pair, scope, &request);
    headers.insert(AUTHORIZATION, sensitive(held, authorization.as_bytes())?);
    Ok(())
}

fn sensitive(held: &Held, value: &[u8]) -> Result<HeaderValue> {
    let mut value = HeaderValue::from_bytes(value).map_err(|_| misfit(held))?;
    value.set_sensitive(true);
    Ok(value)
}

fn misfit(held: &Held) -> Error {
    Error::operator(format!("secret \"{}\" does not fit into {}", held.name(), held.place()))
        .hint("headers carry no line breaks and no control characters")
}

fn changed(held: &Held) -> Error {
    Error::bug(format!("the placeholder of secret \"{}\" is no longer where it was judged to be", held.name()))
}
