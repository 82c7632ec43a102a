//! The outlet's own requests: a secret is exchanged for a token at the endpoint that its profile names.
//! It never goes anywhere but where the secret's own rule says, never before the disk has the use, and never follows a
//! redirect.

use super::outgoing::{Course, Outgoing, Source};
use super::reply::Answer;
use super::upstream::{self, Age, Need, Sent};
use super::{Inside, Result};
use crate::egress::Context;
use crate::egress::canonical::{Channel, Destination, Kind};
use crate::error::Error;
use crate::journal::{Rotated, Way};
use crate::secrets::oauth::{REPLY_BYTES_MAX, TokenEndpoint, TokenForm, TokenReply, TokenRequest};
use crate::secrets::vault::Slots;
use bytes::Bytes;
use http::header::{ACCEPT, ACCEPT_ENCODING, AUTHORIZATION, CONTENT_TYPE, HOST, HeaderMap, HeaderValue};
use http::{Request, Uri, Version};
use http_body_util::{BodyExt as _, Limited};
use hyper::body::Incoming;
use std::sync::Arc;
use std::time::Duration;
use stockade_audit::record::Via;
use stockade_policy::{Decision, HostPattern, NetGrant, NetMatch, Only, Permit, RuleId, TokenUrl};
use zeroize::Zeroizing;

/// Time for one exchange.
const EXCHANGE: Duration = Duration::from_secs(30);

/// Gets the tokens that a request needs, in a task of its own: a client that goes away meanwhile would otherwise take with
/// it what replaces a secret that is good once.
pub(super) async fn prepared(inside: &Inside, mut slots: Slots) -> Result<Slots> {
    let (send, receive) = tokio::sync::oneshot::channel();
    let context = Arc::clone(&inside.context);
    let endpoint = Endpoint { context: Arc::clone(&context) };
    inside.context.tasks.spawn(async move {
        let prepared = context.vault.prepare(&mut slots, &endpoint).await;
        // Nobody waits any more: the tokens are there for the next request.
        drop(send.send(prepared.map(|()| slots)));
    });
    receive.await.map_err(|_| Error::host("the outlet closes"))?
}

/// Reaches token endpoints for one outlet.
struct Endpoint {
    context: Arc<Context>,
}

impl Endpoint {
    /// A permit for the exchange: the secret's own rule grants it, unless another forbids it.
    fn permit(&self, request: &TokenRequest) -> Result<Permit> {
        let refuse = |why: &str| {
            let what = format!("secret \"{}\" is not exchanged at \"{}\": {why}", request.secret, request.url);
            Error::operator(what).hint("a rule of the profile restricts requests there; see `stockade profile explain`")
        };
        match self.context.profile.judge_exchange(&request.secret) {
            Some(Decision::Permit(permit)) => Ok(permit),
            Some(Decision::Ask(_)) => Err(refuse("somebody would have to be asked")),
            Some(Decision::Denial(denial)) => Err(refuse(&denial.refusal().reason)),
            None => Err(Error::bug(format!("secret \"{}\" has no rule that exchanges it", request.secret))),
        }
    }

    async fn go(&self, request: TokenRequest) -> Result<TokenReply> {
        let permit = self.permit(&request)?;
        let rule = request.used.rule.clone();
        let to = Destination { host: request.url.host.clone(), port: request.url.port, channel: Channel::Tls };
        let account = &self.context.account;
        let way = Way { via: Via::Exchange, inside: None };
        let connection = account.open(to.host.clone(), to.port, way, None).await?;
        let inside = Inside::new(Arc::clone(&self.context), connection, to);
        // The disk has request and use when this returns.
        let admitted = account.admit(inside.connection()?, permit, None, vec![request.used.clone()]).await?;
        let form = request.fill(&admitted)?;
        let course = Arc::new(Course::default());
        let mut answer = Answer::new(account.clone(), admitted, Arc::clone(&course));
        let sent = self.send(&inside, &request, (&form, &rule), course, &mut answer).await;
        if let Err(error) = &sent {
            answer.end(Some(error.reports.first().map(|report| report.what.clone()).unwrap_or_default()))?;
        }
        sent
    }

    async fn send(
        &self,
        inside: &Arc<Inside>,
        request: &TokenRequest,
        (form, rule): (&TokenForm, &RuleId),
        course: Arc<Course>,
        answer: &mut Answer,
    ) -> Result<TokenReply> {
        let elsewhere = anywhere(&request.url)?;
        let (grant, rule) =
            self.context.profile.net_grant_of(&request.url.host, request.url.port).unwrap_or((&elsewhere, rule));
        let uses = std::slice::from_ref(&request.used);
        let need = Need { grant, rule, uses, kind: Kind::Plain, version: Version::HTTP_11 };
        let (upstream, purpose) = upstream::connect(inside, &need, Age::New).await?;
        answer.address = Some(upstream.address);
        let filled = filled(inside, request, form, course)?;
        match upstream::send(inside, upstream, purpose, filled).await {
            Sent::Answered(answered) => {
                let (response, _) = *answered;
                answer.began(response.status());
                let status = response.status().as_u16();
                let body = whole(response.into_body()).await?;
                answer.count(body.len());
                answer.end(None)?;
                Ok(TokenReply { status, body })
            }
            Sent::Unsent(_) => Err(Error::host("the token endpoint takes no request")),
            Sent::Closed(why) | Sent::Lost(why) => Err(Error::host(why)),
        }
    }
}

/// An endpoint that no grant names: its name is resolved as any other, and the machine's authorities sign for it.
fn anywhere(url: &TokenUrl) -> Result<NetGrant> {
    let host = HostPattern::parse(&url.host.to_string()).map_err(|_| Error::bug("a host that is no pattern"))?;
    let allowed = NetMatch { host, ports: Only::These(vec![url.port]), methods: Only::Any, paths: Only::Any };
    Ok(NetGrant { allowed, rate: None, secret: None, resolve: None, trust: None })
}

impl TokenEndpoint for Endpoint {
    async fn exchange(&self, request: TokenRequest) -> Result<TokenReply> {
        let late = |_| Error::host(format!("a token endpoint gives no answer within {} s", EXCHANGE.as_secs()));
        tokio::time::timeout(EXCHANGE, Box::pin(self.go(request))).await.map_err(late)?
    }

    fn rotated(&self, rotated: Rotated) -> Result<()> {
        self.context.account.rotated(rotated)
    }
}

fn filled(
    inside: &Arc<Inside>,
    request: &TokenRequest,
    form: &TokenForm,
    course: Arc<Course>,
) -> Result<Request<Outgoing>> {
    let unfit = |_| Error::operator("a token endpoint or its client has a name that no header can carry");
    let mut headers = HeaderMap::new();
    headers.insert(HOST, HeaderValue::from_str(&inside.to.authority()).map_err(unfit)?);
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded"));
    headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
    headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    if let Some(authorization) = &form.authorization {
        let mut value = HeaderValue::from_str(authorization).map_err(unfit)?;
        value.set_sensitive(true);
        headers.insert(AUTHORIZATION, value);
    }
    let body = Bytes::copy_from_slice(form.body.as_bytes());
    let body = Outgoing::new(Source::Whole(Some(body)), None, Arc::clone(inside), course);
    let mut made = Request::new(body);
    *made.method_mut() = http::Method::POST;
    *made.uri_mut() = Uri::try_from(request.url.path.as_str()).map_err(|_| Error::bug("a path that is none"))?;
    *made.headers_mut() = headers;
    Ok(made)
}

/// The whole answer, wiped when it is dropped.
pub(super) async fn whole(body: Incoming) -> Result<Zeroizing<Vec<u8>>> {
    let collected = Limited::new(body, REPLY_BYTES_MAX).collect().await;
    let collected = collected.map_err(|_| Error::host("a token endpoint's answer is broken or too long"))?;
    Ok(Zeroizing::new(collected.to_bytes().to_vec()))
}
