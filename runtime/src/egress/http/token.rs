//! The outlet's own requests: a secret is exchanged for a token at the endpoint that its profile names.
//! It never goes where no rule allows it, and never follows a redirect.

use super::outgoing::{Course, Outgoing, Source};
use super::reply::Answer;
use super::upstream::{self, Age, Need, Sent};
use super::{Inside, Result};
use crate::egress::Context;
use crate::egress::canonical::{Channel, Destination, Kind};
use crate::error::Error;
use crate::secrets::oauth::{REPLY_BYTES_MAX, TokenEndpoint, TokenReply, TokenRequest};
use bytes::Bytes;
use http::header::{ACCEPT, ACCEPT_ENCODING, AUTHORIZATION, CONTENT_TYPE, HOST, HeaderMap, HeaderValue};
use http::{Request, Uri, Version};
use http_body_util::{BodyExt as _, Limited};
use hyper::body::Incoming;
use std::sync::Arc;
use std::time::Duration;
use stockade_audit::record::Via;
use stockade_policy::{Action, Call, Decision, Method, Permit, ToolName};
use zeroize::Zeroizing;

/// Time for one exchange.
const EXCHANGE: Duration = Duration::from_secs(30);

/// Reaches token endpoints for one outlet.
pub(super) struct Endpoint {
    context: Arc<Context>,
}

impl Endpoint {
    pub(super) fn new(inside: &Inside) -> Self {
        Self { context: Arc::clone(&inside.context) }
    }

    /// A permit for the exchange: what a profile does not grant, the outlet does not do either.
    fn permit(&self, request: &TokenRequest) -> Result<Permit> {
        let method = Method::parse("POST").map_err(|_| Error::bug("\"POST\" is no method"))?;
        let (host, port, path) = (request.url.host.clone(), request.url.port, request.url.path.clone());
        let action = Action::Connect { host, port, method: Some(method), path: Some(path) };
        match self.context.profile.judge(Call::new(ToolName::net(), action)) {
            Decision::Permit(permit) => Ok(permit),
            Decision::Ask(_) | Decision::Denial(_) => {
                let what = format!("a secret is exchanged at \"{}\", which the profile does not grant", request.url);
                Err(Error::operator(what).hint("grant POST to it in a rule of its own"))
            }
        }
    }

    async fn go(&self, request: TokenRequest) -> Result<TokenReply> {
        let permit = self.permit(&request)?;
        let rules = permit.grounds().rules.clone();
        let to = Destination { host: request.url.host.clone(), port: request.url.port, channel: Channel::Tls };
        let account = &self.context.account;
        let connection = account.open(to.host.clone(), to.port, Via::Tool, None).await?;
        let inside = Inside::new(Arc::clone(&self.context), connection, to);
        let admitted = account.admit(inside.connection()?, permit, None, Vec::new()).await?;
        let course = Arc::new(Course::default());
        let mut answer = Answer::new(account.clone(), admitted, Arc::clone(&course));
        let (grant, rule) = self.context.grant(&rules)?;
        let need = Need { grant, rule, uses: &[], kind: Kind::Plain, version: Version::HTTP_11 };
        let (upstream, purpose) = upstream::connect(&inside, &need, Age::New).await?;
        answer.address = Some(upstream.address);
        let request = filled(&inside, &request, course)?;
        match upstream::send(&inside, upstream, purpose, request).await {
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

impl TokenEndpoint for Endpoint {
    async fn exchange(&self, request: TokenRequest) -> Result<TokenReply> {
        let late = |_| Error::host(format!("a token endpoint gives no answer within {} s", EXCHANGE.as_secs()));
        tokio::time::timeout(EXCHANGE, Box::pin(self.go(request))).await.map_err(late)?
    }
}

fn filled(inside: &Arc<Inside>, request: &TokenRequest, course: Arc<Course>) -> Result<Request<Outgoing>> {
    let unfit = |_| Error::operator("a token endpoint or its client has a name that no header can carry");
    let mut headers = HeaderMap::new();
    headers.insert(HOST, HeaderValue::from_str(&inside.to.authority()).map_err(unfit)?);
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded"));
    headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
    headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    if let Some(authorization) = &request.authorization {
        let mut value = HeaderValue::from_str(authorization).map_err(unfit)?;
        value.set_sensitive(true);
        headers.insert(AUTHORIZATION, value);
    }
    let body = Bytes::copy_from_slice(request.body.as_bytes());
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
