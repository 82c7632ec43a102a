//! Decides which secrets a request carries, and where: swapped for a placeholder, or attached.
//! It never touches a plaintext: what it decides is carried out once it is in the log.

use super::canary::{Canary, Why};
use super::{Held, Value, Vault, is_reflected};
use crate::journal::Use;
use crate::secrets::placeholder::{CORE_BYTES, Sighting, Spelling};
use crate::secrets::plain::Plain;
use crate::secrets::sigv4;
use base64ct::{Base64, Encoding as _};
use http::HeaderMap;
use std::sync::Arc;
use stockade_policy::{Host, Method, SecretName, SecretPlace, UrlPath};

/// A request on its way out, in the form in which it was judged.
#[derive(Debug, Clone, Copy)]
pub struct Outgoing<'a> {
    /// Host that it goes to.
    pub host: &'a Host,
    /// TCP port.
    pub port: u16,
    /// What it goes over.
    pub channel: Channel,
    /// Method.
    pub method: &'a Method,
    /// Canonical path.
    pub path: &'a UrlPath,
    /// Query, without `?`.
    pub query: Option<&'a str>,
    /// Headers.
    pub headers: &'a HeaderMap,
}

/// What a request goes over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Channel {
    /// TLS, with a certificate that was checked.
    Tls,
    /// In the clear: no secret goes there.
    Clear,
}

/// What is decided for one request: the secrets that go into the log, and then into the request.
#[derive(Debug)]
pub struct Slots {
    pub(super) acts: Vec<Act>,
    /// Secrets whose placeholder is swapped in the body.
    pub(super) in_body: Vec<Carried>,
    uses: Vec<Use>,
    payload: Payload,
}

/// A secret, and what it is for this request: it may be replaced before the request is filled.
#[derive(Debug, Clone)]
pub(super) struct Carried {
    pub(super) held: Arc<Held>,
    pub(super) value: Arc<Value>,
}

/// One secret that goes into a request.
#[derive(Debug)]
pub(super) struct Act {
    pub(super) held: Arc<Held>,
    pub(super) value: Arc<Value>,
    pub(super) put: Put,
    pub(super) used: Use,
    /// What the secret was exchanged for.
    pub(super) token: Option<Arc<Plain>>,
}

/// How it goes in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Put {
    /// A header, with text around it.
    Header { name: String, before: String, after: String },
    /// The password of Basic authentication.
    Basic { user: String },
    /// The value of the parameter that has the placeholder.
    Query,
    /// In the path, for the placeholder.
    Path,
    /// As a signature.
    Signature { service: String, region: String },
}

/// Whether a signature needs to know the body.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Payload {
    /// It does not, or the client's own hash is taken, which the server checks.
    Known(String),
    /// Nothing is signed.
    Unneeded,
    /// The body has to be hashed first.
    Wanted,
}

impl Slots {
    /// What the log has to say before the request is filled.
    pub fn uses(&self) -> &[Use] {
        &self.uses
    }

    /// Whether the request carries a secret.
    pub fn is_empty(&self) -> bool {
        self.uses.is_empty()
    }

    /// Whether a secret has to be exchanged before the request can be filled.
    pub fn wants_token(&self) -> bool {
        self.acts.iter().any(|act| act.held.exchange.is_some() && matches!(act.put, Put::Header { .. }))
    }

    /// Whether the whole body has to be read and hashed before the request can be signed.
    pub fn wants_payload_hash(&self) -> bool {
        self.payload == Payload::Wanted
    }

    /// SHA-256 of the whole body.
    pub fn set_payload_hash(&mut self, hash: &[u8; 32]) {
        self.payload = Payload::Known(sigv4::hex(hash));
    }

    pub(super) fn payload(&self) -> Option<&str> {
        match &self.payload {
            Payload::Known(hash) => Some(hash),
            Payload::Unneeded | Payload::Wanted => None,
        }
    }

    fn held(&self) -> impl Iterator<Item = &Arc<Held>> {
        self.acts.iter().map(|act| &act.held).chain(self.in_body.iter().map(|carried| &carried.held))
    }

    pub(super) fn acts_mut(&mut self) -> impl Iterator<Item = &mut Act> {
        self.acts.iter_mut()
    }
}

/// A place of a request where a placeholder was seen.
#[derive(Debug, Clone, Copy)]
enum Where<'a> {
    Path,
    Query(&'a str),
    Header { name: &'a str, value: &'a [u8] },
}

impl Where<'_> {
    fn text(self) -> String {
        match self {
            Where::Path => "path".to_owned(),
            Where::Query(_) => "query".to_owned(),
            Where::Header { name, .. } => format!("header {name}"),
        }
    }
}

impl Vault {
    /// Decides which secrets a request carries. `grant_secret` is the one that its grant names: it is attached where the
    /// client sends none.
    ///
    /// # Errors
    /// Guest: a placeholder is where it has no business, or the agent sent a credential of its own in the place of the
    /// grant's secret. Nothing of the request may go.
    pub fn slots(&self, request: &Outgoing<'_>, grant_secret: Option<&SecretName>) -> Result<Slots, Canary> {
        let mut slots = Slots { acts: Vec::new(), in_body: Vec::new(), uses: Vec::new(), payload: Payload::Unneeded };
        let mut places = vec![(Where::Path, request.path.as_str().as_bytes())];
        places.extend(request.query.map(|query| (Where::Query(query), query.as_bytes())));
        for (name, value) in request.headers {
            // Names of fields are folded, so they are looked at as hosts' names are; most are too short to hold anything.
            if name.as_str().len() >= CORE_BYTES
                && let Some(secret) = self.in_name(name.as_str())
            {
                let why = if secret.is_some() { Why::Elsewhere } else { Why::Foreign };
                return Err(Canary { secret, place: "header name".to_owned(), why });
            }
            places.push((Where::Header { name: name.as_str(), value: value.as_bytes() }, value.as_bytes()));
        }
        for (place, bytes) in places {
            for sighting in self.scanner.find(bytes) {
                self.swap(request, place, &sighting, &mut slots)?;
            }
        }
        if let Some(held) = grant_secret.and_then(|name| self.named(name)) {
            attach(request, &held, &mut slots)?;
        }
        // An agent that does the exchange itself sends the secret in a form.
        let exchanged = self.held.all().into_iter().filter(|held| is_endpoint(request, held));
        slots.in_body.extend(exchanged.map(Carried::now));
        if let Some((held, why)) = slots.held().find_map(|held| Some((held, held.gone()?))) {
            return Err(Canary { secret: Some(held.name().to_owned()), place: held.place(), why: Why::Gone(why) });
        }
        slots.payload = payload(request, &slots)?;
        // Signatures last: they cover what the others put in.
        slots.acts.sort_by_key(|act| matches!(act.put, Put::Signature { .. }));
        slots.uses = slots.acts.iter().map(|act| act.used.clone()).collect();
        slots.uses.extend(slots.in_body.iter().map(|carried| used(&carried.held, &carried.value)));
        Ok(slots)
    }

    /// One placeholder that was seen: it is swapped at its place, and refused anywhere else.
    fn swap(
        &self,
        request: &Outgoing<'_>,
        place: Where<'_>,
        sighting: &Sighting,
        slots: &mut Slots,
    ) -> Result<(), Canary> {
        let refuse = |held: Option<&Arc<Held>>, why: Why| {
            Err(Canary { secret: held.map(|held| held.name().to_owned()), place: place.text(), why })
        };
        let found = self.held.get(&sighting.core);
        let Some(held) = &found else { return refuse(None, Why::Foreign) };
        if !held.rule.subject.is_bound_to(request.host, request.method, request.path) {
            return refuse(Some(held), Why::Unbound);
        }
        if request.channel == Channel::Clear {
            return refuse(Some(held), Why::Clear);
        }
        if let Where::Header { name, .. } = place {
            if is_reflected(name) {
                return refuse(Some(held), Why::Elsewhere);
            }
            if request.headers.get_all(name).iter().count() > 1 {
                return refuse(Some(held), Why::Twice);
            }
        }
        let signs = |act: &Act| Arc::ptr_eq(&act.held, held) && matches!(act.put, Put::Signature { .. });
        let put = match place_of(request, held, place, sighting) {
            Ok(put) => put,
            Err(why) => return refuse(Some(held), why),
        };
        match put {
            // The token of a signature comes in a header of its own; the same act sets it.
            Some(Put::Signature { .. }) | None if slots.acts.iter().any(signs) => Ok(()),
            None => Ok(()),
            Some(_) if slots.acts.iter().any(|act| Arc::ptr_eq(&act.held, held)) => refuse(Some(held), Why::Twice),
            Some(put) => {
                slots.acts.push(Act::new(held, put));
                Ok(())
            }
        }
    }
}

impl Carried {
    fn now(held: Arc<Held>) -> Self {
        Self { value: held.value(), held }
    }
}

impl Act {
    fn new(held: &Arc<Held>, put: Put) -> Self {
        let value = held.value();
        Self { held: Arc::clone(held), put, used: used(held, &value), value, token: None }
    }
}

fn used(held: &Held, value: &Value) -> Use {
    Use { name: held.name().to_owned(), version: value.version, place: held.place(), rule: held.rule.id.clone() }
}

/// How a placeholder that was seen here is swapped; `None` where it goes along with a signature.
fn place_of(request: &Outgoing<'_>, held: &Held, place: Where<'_>, sighting: &Sighting) -> Result<Option<Put>, Why> {
    match (&held.rule.subject.place, place) {
        (SecretPlace::Header { name, format }, Where::Header { name: seen, value }) if name == seen => {
            in_header(held, name, format, value).map(Some)
        }
        (SecretPlace::Oauth { .. }, Where::Header { name: "authorization", value }) if is_endpoint(request, held) => {
            let (user, password) = basic(value).ok_or(Why::Elsewhere)?;
            (password == held.text).then_some(Some(Put::Basic { user })).ok_or(Why::Spelled)
        }
        (SecretPlace::Oauth { .. }, Where::Header { name: "authorization", value }) => {
            in_header(held, "authorization", "Bearer {}", value).map(Some)
        }
        (SecretPlace::Basic { user }, Where::Header { name: "authorization", value }) => {
            let (_, password) = basic(value).ok_or(Why::Elsewhere)?;
            // The profile's user, not the client's: clients send whatever a URL had.
            (password == held.text).then(|| Some(Put::Basic { user: user.clone() })).ok_or(Why::Spelled)
        }
        (SecretPlace::Query { name }, Where::Query(query)) => {
            let mut named = query.split('&').filter(|pair| parameter(pair).0 == name);
            match (named.next().map(parameter), named.next()) {
                (Some((_, value)), None) if value == held.text => Ok(Some(Put::Query)),
                (Some(_), Some(_)) => Err(Why::Twice),
                (Some(_), None) if sighting.spelling != Spelling::Raw => Err(Why::Spelled),
                (Some(_) | None, None) | (None, Some(_)) => Err(Why::Elsewhere),
            }
        }
        (SecretPlace::Path, Where::Path) if sighting.spelling == Spelling::Raw => Ok(Some(Put::Path)),
        (SecretPlace::Path, Where::Path) => Err(Why::Spelled),
        (SecretPlace::Sigv4 { service, region }, Where::Header { name: "authorization", value }) => {
            let claimed = str::from_utf8(value).ok().and_then(sigv4::Claimed::read).ok_or(Why::Elsewhere)?;
            if claimed.id != held.text {
                return Err(Why::Spelled);
            }
            if (claimed.scope.service, claimed.scope.region) != (service.as_str(), region.as_str()) {
                let why = format!(
                    "it is bound to service \"{service}\" in region \"{region}\", and the client signed for another"
                );
                return Err(Why::Unsignable(why));
            }
            Ok(Some(Put::Signature { service: service.clone(), region: region.clone() }))
        }
        (SecretPlace::Sigv4 { .. }, Where::Header { name: "x-amz-security-token", value }) => {
            (value == held.text.as_bytes()).then_some(None).ok_or(Why::Elsewhere)
        }
        (
            SecretPlace::Header { .. }
            | SecretPlace::Oauth { .. }
            | SecretPlace::Basic { .. }
            | SecretPlace::Query { .. }
            | SecretPlace::Path
            | SecretPlace::Sigv4 { .. }
            | SecretPlace::Body,
            Where::Path | Where::Query(_) | Where::Header { .. },
        ) => Err(Why::Elsewhere),
    }
}

/// Whether a request goes to the place that exchanges this secret, so that it may be sent there as it is.
pub(super) fn is_endpoint(request: &Outgoing<'_>, held: &Held) -> bool {
    let Outgoing { host, port, channel, method, path, .. } = request;
    let at = held.endpoint.as_ref().is_some_and(|url| (&url.host, url.port, &url.path) == (*host, *port, *path));
    at && *channel == Channel::Tls && method.as_str() == "POST" && held.rule.subject.is_bound_to(host, method, path)
}

/// The placeholder in its own header: as the format says, or after one other scheme where the format has a scheme, since
/// clients of one host say `token` and `Bearer`, and git says `Basic`.
fn in_header(held: &Held, name: &str, format: &str, value: &[u8]) -> Result<Put, Why> {
    let text = held.text.as_str();
    let value = str::from_utf8(value).map_err(|_| Why::Spelled)?;
    let put = |before: &str, after: &str| Put::Header { name: name.into(), before: before.into(), after: after.into() };
    let Some((before, after)) = value.split_once(text) else {
        let is_authorization = name == "authorization";
        let (user, password) = basic(value.as_bytes()).filter(|_| is_authorization).ok_or(Why::Spelled)?;
        return (password == text).then_some(Put::Basic { user }).ok_or(Why::Spelled);
    };
    if after.contains(text) {
        return Err(Why::Twice);
    }
    let (wanted_before, wanted_after) = format.split_once("{}").unwrap_or((format, ""));
    let same = before.eq_ignore_ascii_case(wanted_before) && after.eq_ignore_ascii_case(wanted_after);
    let is_scheme = |text: &str| {
        let scheme = text.strip_suffix(' ');
        scheme.is_some_and(|scheme| !scheme.is_empty() && scheme.bytes().all(|byte| byte.is_ascii_alphabetic()))
    };
    let other_scheme = after.is_empty() && wanted_after.is_empty() && is_scheme(before) && is_scheme(wanted_before);
    if same || other_scheme { Ok(put(before, after)) } else { Err(Why::Elsewhere) }
}

/// User and password of Basic authentication (RFC 7617).
fn basic(value: &[u8]) -> Option<(String, String)> {
    let value = str::from_utf8(value).ok()?;
    let (scheme, encoded) = value.split_once(' ').filter(|(scheme, _)| scheme.eq_ignore_ascii_case("basic"))?;
    debug_assert!(!scheme.is_empty(), "it equals \"basic\"");
    let decoded = Base64::decode_vec(encoded.trim()).ok()?;
    let text = String::from_utf8(decoded).ok()?;
    let (user, password) = text.split_once(':')?;
    user.bytes().all(|byte| !byte.is_ascii_control()).then(|| (user.to_owned(), password.to_owned()))
}

/// Name and value of a parameter, as written: a name that has to be decoded to be known is not the one that is bound.
pub(super) fn parameter(pair: &str) -> (&str, &str) {
    pair.split_once('=').unwrap_or((pair, ""))
}

/// The grant names a secret: it is attached where the client sent none, and its place is nobody else's.
fn attach(request: &Outgoing<'_>, held: &Arc<Held>, slots: &mut Slots) -> Result<(), Canary> {
    let secret = &held.rule.subject;
    if slots.acts.iter().any(|act| Arc::ptr_eq(&act.held, held)) {
        return Ok(());
    }
    let (taken, put) = match &secret.place {
        SecretPlace::Header { name, format } => {
            let (before, after) = format.split_once("{}").unwrap_or((format, ""));
            let put = Put::Header { name: name.clone(), before: before.to_owned(), after: after.to_owned() };
            (request.headers.contains_key(name), put)
        }
        // What exchanges it gets it in a form or as a password, and only from who has the placeholder.
        SecretPlace::Oauth { .. } if is_endpoint(request, held) => return Ok(()),
        SecretPlace::Oauth { .. } => {
            let (name, before) = ("authorization".to_owned(), "Bearer ".to_owned());
            (request.headers.contains_key("authorization"), Put::Header { name, before, after: String::new() })
        }
        SecretPlace::Basic { user } => {
            (request.headers.contains_key("authorization"), Put::Basic { user: user.clone() })
        }
        SecretPlace::Sigv4 { service, region } => {
            let put = Put::Signature { service: service.clone(), region: region.clone() };
            (request.headers.contains_key("authorization"), put)
        }
        // What stands in a query or path is part of what is asked for: without a placeholder there is no place.
        SecretPlace::Query { name } => {
            let mut pairs = request.query.unwrap_or_default().split('&');
            if pairs.any(|pair| parameter(pair).0 == name) {
                return own_credential(held);
            }
            return Ok(());
        }
        SecretPlace::Path => return Ok(()),
        SecretPlace::Body => {
            if request.channel == Channel::Tls && secret.is_bound_to(request.host, request.method, request.path) {
                slots.in_body.push(Carried::now(Arc::clone(held)));
            }
            return Ok(());
        }
    };
    if taken {
        return own_credential(held);
    }
    if request.channel == Channel::Tls && secret.is_bound_to(request.host, request.method, request.path) {
        slots.acts.push(Act::new(held, put));
    }
    Ok(())
}

/// Which account a host sees is the operator's choice: an agent that was talked into sending somebody else's key would
/// hand over its work.
fn own_credential(held: &Held) -> Result<(), Canary> {
    Err(Canary { secret: Some(held.name().to_owned()), place: held.place(), why: Why::OwnCredential })
}

/// What a signature says of the body.
fn payload(request: &Outgoing<'_>, slots: &Slots) -> Result<Payload, Canary> {
    let Some(act) = slots.acts.iter().find(|act| matches!(act.put, Put::Signature { .. })) else {
        return Ok(Payload::Unneeded);
    };
    let refuse = |why: String| Canary {
        secret: Some(act.held.name().to_owned()),
        place: act.held.place(),
        why: Why::Unsignable(why),
    };
    let stated = request.headers.get("x-amz-content-sha256").map(|value| value.to_str());
    let stated = stated.transpose().map_err(|_| refuse("x-amz-content-sha256 is no text".to_owned()))?;
    sigv4::check_form(request.query, stated)
        .map_err(|error| refuse(error.reports.into_iter().map(|report| report.what).collect::<Vec<_>>().join("; ")))?;
    // HTTP/2 needs no length: there the method tells whether something may follow.
    let has_body = match request.headers.get("content-length") {
        Some(length) => length.as_bytes() != b"0",
        None => {
            let bodiless = matches!(request.method.as_str(), "GET" | "HEAD" | "DELETE" | "OPTIONS");
            !bodiless || request.headers.contains_key("transfer-encoding")
        }
    };
    Ok(match stated {
        Some(hash) => Payload::Known(hash.to_owned()),
        None if has_body => Payload::Wanted,
        None => Payload::Known(sigv4::EMPTY_PAYLOAD.to_owned()),
    })
}
