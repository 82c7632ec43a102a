//! Requests in the clear that a company's proxy sends on: in absolute form, with the credentials that it wants.
//! It never lets those credentials go to anybody else, and never passes on that they were refused.

use super::outgoing::Outgoing;
use super::{Inside, Result};
use crate::egress::dial::Forward;
use crate::error::Error;
use http::header::PROXY_AUTHORIZATION;
use http::uri::PathAndQuery;
use http::{Request, Response, StatusCode, Uri};

/// Makes a request one for the proxy (RFC 9112, 3.2.2).
pub(super) fn dress(forward: &Forward, inside: &Inside, request: &mut Request<Outgoing>) -> Result<()> {
    let target = request.uri().path_and_query().map_or("/", PathAndQuery::as_str);
    let uri = Uri::try_from(format!("{}://{}{target}", inside.to.channel.scheme(), inside.to.authority()));
    *request.uri_mut() = uri.map_err(|_| Error::bug("a target that is none"))?;
    if let Some(value) = forward.authorization()? {
        request.headers_mut().insert(PROXY_AUTHORIZATION, value);
    }
    Ok(())
}

/// Takes the credentials off: it is not known where the request goes next.
pub(super) fn undress(request: &mut Request<Outgoing>) {
    request.headers_mut().remove(PROXY_AUTHORIZATION);
}

/// Why the proxy does not send it on. Its other refusals look like the host's own, and pass as those.
pub(super) fn refusal<B>(forward: &Forward, inside: &Inside, response: &Response<B>) -> Option<String> {
    (response.status() == StatusCode::PROXY_AUTHENTICATION_REQUIRED).then(|| {
        let (proxy, host) = (&forward.proxy, &inside.to.host);
        format!("proxy \"{proxy}\" does not reach \"{host}\": it wants other credentials (407)")
    })
}
