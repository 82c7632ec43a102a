//! One request: read, judged, counted, armed, logged, sent; and its answer begun.
//! It never sends what is not in the log, and never puts a secret into what was not judged.

use super::outgoing::{Course, Filter, Outgoing, Source};
use super::reply::{Answer, Parts, Reply, decoded, scrub_fields};
use super::upstream::{self, Age, Back, Need, Sent};
use super::{Inside, Result, issued, signed, token, websocket};
use crate::egress::canonical::{self, Canonical, Kind, Trailers};
use crate::egress::refuse::{Told, Words};
use crate::error::{Error, Fault};
use crate::journal::Wanted;
use crate::secrets::decode::Decoder;
use crate::secrets::vault::{Canary, Slots};
use http::header::{
    ACCEPT_ENCODING, CONNECTION, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, HOST, HeaderMap, HeaderValue, RANGE,
    TE, UPGRADE,
};
use http::{Request, Response, StatusCode, Uri, Version};
use http_body::Body as _;
use hyper::body::Incoming;
use hyper::upgrade::OnUpgrade;
use std::sync::Arc;
use stockade_policy::{Action, Answer as Would, Call, Decision, Method, Permit, Refusal, RuleId, ToolName};

/// Why a request got no answer from outside.
pub(super) enum Stop {
    /// The client is told.
    Told(Box<Told>),
    /// The log takes no more, or we are wrong: the client is told no more than that.
    Failed(Error),
}

impl From<Error> for Stop {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

impl From<Told> for Stop {
    fn from(told: Told) -> Self {
        Self::Told(Box::new(told))
    }
}

/// Answers a request.
pub(super) async fn answer(inside: Arc<Inside>, mut request: Request<Incoming>) -> Response<Reply> {
    let is_grpc =
        request.headers().get(CONTENT_TYPE).is_some_and(|value| value.as_bytes().starts_with(b"application/grpc"));
    let words = if is_grpc { Words::Grpc } else { Words::Http };
    let upgrade = request.headers().contains_key(UPGRADE).then(|| hyper::upgrade::on(&mut request));
    match Box::pin(go(&inside, request, upgrade)).await {
        Ok(response) => response,
        Err(Stop::Told(told)) => told.response(words).map(Reply::of),
        Err(Stop::Failed(error)) => {
            drop(inside.broken(&error.reports.first().map(|report| report.what.clone()).unwrap_or_default()));
            let told =
                Told::new(StatusCode::SERVICE_UNAVAILABLE, "the outlet cannot go on", "tell whoever runs the sandbox");
            told.response(words).map(Reply::of)
        }
    }
}

async fn go(
    inside: &Arc<Inside>,
    request: Request<Incoming>,
    upgrade: Option<OnUpgrade>,
) -> Result<Response<Reply>, Stop> {
    let (parts, body) = request.into_parts();
    let version = parts.version;
    let read = match canonical::read(parts, &inside.to) {
        Ok(read) => read,
        Err(misfit) => {
            inside.refused(inside.wanted(), "malformed", &misfit.what)?;
            return Err(Told::from(misfit).into());
        }
    };
    let permit = judge(inside, &read)?;
    let rules = permit.grounds().rules.clone();
    let slot = count(inside, &read, &rules)?;
    let (grant, rule) = inside.context.grant(&rules)?;
    let mut slots = slots(inside, &read, grant.secret.as_ref())?;
    if slots.wants_token() {
        slots = token::prepared(inside, slots).await.map_err(|error| unreachable(&error))?;
    }
    let source = signed::source(inside, body, &mut slots).await?;
    let (account, uses) = (&inside.context.account, slots.uses().to_vec());
    let admitted = account.admit(inside.connection()?, permit, read.query.as_deref(), uses).await?;
    let course = Arc::new(Course::default());
    let mut answer = Answer::new(account.clone(), admitted, Arc::clone(&course));
    let filter = filter(inside, &read, &slots)?;
    let look = Look::at(inside, &read, &slots);
    let need = Need { grant, rule, uses: slots.uses(), kind: read.kind, version };
    let outgoing = Outgoing::new(source, filter, Arc::clone(inside), Arc::clone(&course));
    let sent = send(inside, &read, (&slots, look), &need, outgoing, &mut answer).await;
    let (response, back) = match sent {
        Ok(sent) => sent,
        Err(error) => return Err(lost(inside, &read, &course, &mut answer, &error)?),
    };
    answer.began(response.status());
    if response.status() == StatusCode::SWITCHING_PROTOCOLS {
        return websocket::begin(websocket::Begin {
            inside,
            read: &read,
            upgrade,
            response,
            slots: &slots,
            answer,
            slot,
        });
    }
    match look {
        Look::Tokens => issued::reply(inside, &shown(inside, &read), &slots, response, back, answer).await,
        Look::Scrub | Look::Nothing => reply(inside, &slots, response, back, answer, slot),
    }
}

/// What is done with the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Look {
    /// It passes as it comes.
    Nothing,
    /// Secrets are taken out.
    Scrub,
    /// It is read whole, and its tokens become placeholders.
    Tokens,
}

impl Look {
    fn at(inside: &Inside, read: &Canonical, slots: &Slots) -> Self {
        match (inside.context.vault.gives_tokens(&shown(inside, read)), slots.is_empty()) {
            (true, _) => Self::Tokens,
            (false, false) => Self::Scrub,
            (false, true) => Self::Nothing,
        }
    }
}

fn judge(inside: &Inside, read: &Canonical) -> Result<Permit, Stop> {
    let call = |method: &Method| {
        let (host, port) = (inside.to.host.clone(), inside.to.port);
        let (method, path) = (Some(method.clone()), Some(read.path.clone()));
        Call::new(ToolName::net(), Action::Connect { host, port, method, path })
    };
    let account = &inside.context.account;
    let connection = inside.connection()?;
    for method in &read.overrides {
        let told = match inside.context.profile.would(&call(method)) {
            Would::Allowed(_) => continue,
            Would::Denied(refusal) => refusal,
            Would::Asks(_) => Refusal {
                rule: None,
                reason: format!(
                    "the request overrides its method with {}, about which somebody would be asked",
                    method.as_str()
                ),
                instead: Vec::new(),
                ask: "send the method itself".to_owned(),
            },
        };
        account.refuse(Some(connection), wanted(inside, read), &told)?;
        return Err(Told::from(&told).into());
    }
    let refusal = match inside.context.profile.judge(call(&read.method)) {
        Decision::Permit(permit) => return Ok(permit),
        Decision::Ask(ask) => account.unapproved(Some(connection), wanted(inside, read), ask)?,
        Decision::Denial(denial) => {
            let (_, refusal) = denial.into_parts();
            account.refuse(Some(connection), wanted(inside, read), &refusal)?;
            refusal
        }
    };
    Err(Told::from(&refusal).into())
}

/// Limits: of requests, and of bytes, to which a head counts as its body does.
fn count(inside: &Inside, read: &Canonical, rules: &[RuleId]) -> Result<crate::egress::rates::Slot, Stop> {
    let fields: usize = read.headers.iter().map(|(name, value)| name.as_str().len() + value.len()).sum();
    let bytes = fields + read.path.as_str().len() + read.query.as_ref().map_or(0, String::len);
    let rates = &inside.context.rates;
    let (_, rule) = inside.context.grant(rules)?;
    let counted = rates.in_flight().and_then(|slot| {
        rates.request(rule)?;
        rates.spend(bytes as u64)?;
        Ok(slot)
    });
    match counted {
        Ok(slot) => {
            inside.counts().up_bytes.fetch_add(bytes as u64, std::sync::atomic::Ordering::Relaxed);
            Ok(slot)
        }
        Err(over) => {
            inside.refused(wanted(inside, read), over.limit, &over.to_string())?;
            Err(Told::from(&over).into())
        }
    }
}

fn slots(inside: &Inside, read: &Canonical, secret: Option<&stockade_policy::SecretName>) -> Result<Slots, Stop> {
    inside.context.vault.slots(&shown(inside, read), secret).map_err(|canary| match seen(inside, read, &canary) {
        Ok(told) => told.into(),
        Err(error) => error.into(),
    })
}

/// The request as the secrets see it.
fn shown<'a>(inside: &'a Inside, read: &'a Canonical) -> crate::secrets::vault::Outgoing<'a> {
    crate::secrets::vault::Outgoing {
        host: &inside.to.host,
        port: inside.to.port,
        channel: super::channel(inside.to.channel),
        method: &read.method,
        path: &read.path,
        query: read.query.as_deref(),
        headers: &read.headers,
    }
}

/// A placeholder where it has no business: into the log, and out of the client's mouth.
fn seen(inside: &Inside, read: &Canonical, canary: &Canary) -> Result<Told> {
    let reason = canary.reason();
    let account = &inside.context.account;
    if canary.is_sighting() {
        let host = inside.to.host.to_string();
        account.canary(inside.open.connection.as_ref(), canary.secret.as_deref(), &host, canary.place.clone())?;
    }
    inside.refused(wanted(inside, read), "secret", &reason)?;
    Ok(Told::new(StatusCode::FORBIDDEN, reason, "send the placeholder where its secret is bound, and nowhere else"))
}

/// What looks into the body; nothing where there are no secrets to look for.
fn filter(inside: &Inside, read: &Canonical, slots: &Slots) -> Result<Option<Filter>, Stop> {
    if inside.context.vault.is_empty() {
        return Ok(None);
    }
    let body = inside.context.vault.body_filter(slots, &read.headers);
    let encodings = read.headers.get_all(CONTENT_ENCODING).iter().map(|value| value.to_str().unwrap_or("?"));
    let encodings = encodings.collect::<Vec<_>>().join(",");
    let is_in_pieces = encodings == "aws-chunked"; // with their lengths between them: looked at as they are
    let decoder = match Decoder::for_encoding(if is_in_pieces { "" } else { &encodings }) {
        Ok(decoder) => decoder,
        Err(unknown) => {
            let why = format!("the body's encoding cannot be looked into: {unknown}");
            inside.refused(wanted(inside, read), "body", &why)?;
            return Err(Told::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, why, "send the body as it is").into());
        }
    };
    if (decoder.is_some() || is_in_pieces) && body.changes_length() {
        let why = "a secret is put into bodies, and this one is encoded";
        inside.refused(wanted(inside, read), "body", why)?;
        return Err(Told::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, why, "send the body as it is").into());
    }
    Ok(Some(Filter { body, decoder }))
}

/// Connects, fills and sends; on another connection once, where nothing of it was sent on the first, or where that one had
/// been used before and ended without a word, which a request that may come twice survives (RFC 9110, 9.2.2).
async fn send(
    inside: &Arc<Inside>,
    read: &Canonical,
    (slots, look): (&Slots, Look),
    need: &Need<'_>,
    outgoing: Outgoing,
    answer: &mut Answer,
) -> Result<(Response<Incoming>, Back)> {
    let (upstream, purpose) = upstream::connect(inside, need, Age::Any).await?;
    answer.address = Some(upstream.address);
    let may_repeat = matches!(read.method.as_str(), "GET" | "HEAD" | "OPTIONS" | "PUT" | "DELETE");
    let again = upstream.is_used && may_repeat && outgoing.is_end_stream();
    let mut request = head(inside, read, (slots, look), answer, upstream.version())?.map(|()| outgoing);
    if request.body().size_hint().exact().is_none() {
        request.headers_mut().remove(CONTENT_LENGTH);
    }
    let unsent = match upstream::send(inside, upstream, purpose, request).await {
        Sent::Answered(answered) => return Ok(*answered),
        Sent::Unsent(request) => Some(request),
        Sent::Closed(_) if again => None,
        Sent::Closed(why) | Sent::Lost(why) => return Err(Error::host(why)),
    };
    let (upstream, purpose) = upstream::connect(inside, need, Age::New).await?;
    answer.address = Some(upstream.address);
    let request = match unsent {
        Some(unsent) if unsent.version() == upstream.version() => *unsent,
        Some(_) => return Err(Error::host("the upstream has changed its protocol")),
        None => {
            let nothing = Outgoing::new(Source::Whole(None), None, Arc::clone(inside), answer.course());
            head(inside, read, (slots, look), answer, upstream.version())?.map(|()| nothing)
        }
    };
    match upstream::send(inside, upstream, purpose, request).await {
        Sent::Answered(answered) => Ok(*answered),
        Sent::Closed(why) | Sent::Lost(why) => Err(Error::host(why)),
        Sent::Unsent(_) => Err(Error::host("the upstream takes no request")),
    }
}

/// The head as it is sent, with its secrets.
fn head(
    inside: &Inside,
    read: &Canonical,
    (slots, look): (&Slots, Look),
    answer: &Answer,
    version: Version,
) -> Result<Request<()>> {
    let mut headers = HeaderMap::with_capacity(read.headers.len() + 4);
    let authority = inside.to.authority();
    let value = |text: &str| HeaderValue::from_str(text).map_err(|_| Error::bug("an authority that is no text"));
    if version != Version::HTTP_2 {
        headers.insert(HOST, value(&authority)?);
    }
    headers.extend(read.headers.iter().map(|(name, value)| (name.clone(), value.clone())));
    if look != Look::Nothing {
        // Pieces of an answer, or one that nobody can read, could not be scrubbed.
        headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        headers.remove(RANGE);
        headers.remove("if-range");
    }
    match read.kind {
        Kind::Plain if read.trailers == Trailers::Wanted => {
            headers.insert(TE, HeaderValue::from_static("trailers"));
            if version != Version::HTTP_2 {
                headers.insert(CONNECTION, HeaderValue::from_static("TE"));
            }
        }
        Kind::Plain => {}
        Kind::WebSocket => {
            headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
            headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
        }
    }
    let mut target = match &read.query {
        Some(query) => format!("{}?{query}", read.path.as_str()),
        None => read.path.as_str().to_owned(),
    };
    if !slots.is_empty() {
        let admitted = answer.admitted().ok_or_else(|| Error::bug("a request is sent after its end"))?;
        inside.context.vault.fill(slots, admitted, &mut headers, &mut target)?;
    }
    let uri = match version {
        Version::HTTP_2 => format!("{}://{authority}{target}", inside.to.channel.scheme()),
        _ => target,
    };
    let uri = Uri::try_from(uri).map_err(|_| Error::bug("a target that is none"))?;
    let mut request = Request::new(());
    *request.method_mut() =
        http::Method::from_bytes(read.method.as_str().as_bytes()).map_err(|_| Error::bug("a method that is none"))?;
    *request.uri_mut() = uri;
    *request.version_mut() = version;
    *request.headers_mut() = headers;
    Ok(request)
}

/// What the client is told when no answer came.
fn lost(inside: &Inside, read: &Canonical, course: &Course, answer: &mut Answer, error: &Error) -> Result<Stop> {
    if let Some(stopped) = course.stopped() {
        answer.end(Some(stopped.to_string()))?;
        return Ok(match stopped.refusal() {
            Err(canary) => seen(inside, read, canary)?.into(),
            Ok((by, told)) => {
                inside.refused(wanted(inside, read), by, &stopped.to_string())?;
                told.into()
            }
        });
    }
    answer.end(Some(error.reports.first().map(|report| report.what.clone()).unwrap_or_default()))?;
    Ok(unreachable(error))
}

/// An error of the outside in the client's words.
pub(super) fn unreachable(error: &Error) -> Stop {
    let status = match error.fault {
        Fault::Guest => StatusCode::FORBIDDEN,
        Fault::Host | Fault::Operator => StatusCode::BAD_GATEWAY,
        Fault::Bug => StatusCode::INTERNAL_SERVER_ERROR,
    };
    let report = error.reports.first();
    let what = report.map(|report| report.what.clone()).unwrap_or_default();
    let ask = report.and_then(|report| report.hint.clone()).unwrap_or_else(|| "try again later".to_owned());
    Told::new(status, what, ask).into()
}

/// The answer, on its way in.
fn reply(
    inside: &Arc<Inside>,
    slots: &Slots,
    response: Response<Incoming>,
    back: Back,
    mut answer: Answer,
    slot: crate::egress::rates::Slot,
) -> Result<Response<Reply>, Stop> {
    let (parts, incoming) = response.into_parts();
    let mut headers = parts.headers;
    canonical::reply(&mut headers);
    let patterns = inside.context.vault.patterns(slots.uses());
    let mut decoder = None;
    if let Some(patterns) = &patterns {
        scrub_fields(&mut headers, patterns, &answer, "header")?;
        let encodings: Vec<&str> =
            headers.get_all(CONTENT_ENCODING).iter().map(|value| value.to_str().unwrap_or("?")).collect();
        decoder = match Decoder::for_encoding(&encodings.join(",")) {
            Ok(decoder) => decoder,
            Err(unknown) => {
                let why = format!("the answer's encoding cannot be looked into: {unknown}");
                answer.end(Some(why.clone()))?;
                return Err(Told::new(StatusCode::BAD_GATEWAY, why, "tell whoever runs the upstream").into());
            }
        };
        if decoder.is_some() && !incoming.is_end_stream() {
            decoded(&mut headers);
        }
    }
    let body = Reply::streamed(Parts { incoming, patterns, decoder, answer, back, inside: Arc::clone(inside), slot })?;
    let mut made = Response::new(body);
    *made.status_mut() = parts.status;
    *made.headers_mut() = headers;
    Ok(made)
}

fn wanted(inside: &Inside, read: &Canonical) -> Wanted {
    Wanted {
        method: Some(read.method.as_str().to_owned()),
        path: Some(read.path.as_str().to_owned()),
        ..inside.wanted()
    }
}
