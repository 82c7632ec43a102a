//! Requests of our own to a server that keeps secrets, which the operator named: one connection each.
//! It never carries anything of a guest's, never follows a redirect, and goes without TLS to this machine's loopback alone.

use super::dial::{self, Dialer, Stream};
use super::tls;
use crate::error::{Error, Result, plain};
use crate::secrets::source::keeper::KeeperChannel;
use crate::secrets::source::keeper::reader::{Carrier, KEEPER_REPLY_BYTES_MAX, KeeperReply, KeeperRequest};
use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_TYPE, HOST, HeaderValue};
use http::{Method, Request, Response};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use zeroize::Zeroizing;

/// Time for one request, with everything that it takes.
const ERRAND: Duration = Duration::from_secs(10);

/// Who carries such requests, by these ways.
pub(super) fn carrier(settings: impl Fn() -> Result<dial::Settings> + Send + Sync + 'static) -> Carrier {
    Arc::new(move |request| {
        let settings = settings();
        Box::pin(async move {
            let url = request.url.clone();
            let late = |_| Error::host(format!("\"{url}\" gives no whole answer within {} s", ERRAND.as_secs()));
            tokio::time::timeout(ERRAND, go(settings?, request)).await.map_err(late)?
        })
    })
}

async fn go(settings: dial::Settings, request: KeeperRequest) -> Result<KeeperReply> {
    let stream = dialed(settings, &request).await?;
    match request.url.channel {
        KeeperChannel::Loopback => converse(stream, request).await,
        KeeperChannel::Tls => {
            let stream = tls::connect(&request.url.host, request.ca.as_deref(), stream).await?;
            converse(stream, request).await
        }
    }
}

async fn dialed(settings: dial::Settings, request: &KeeperRequest) -> Result<Stream> {
    let (host, port) = (&request.url.host, request.url.port);
    let dialer = Dialer::new(settings);
    let dialed = match request.url.channel {
        KeeperChannel::Loopback => dialer.dial_loopback(host, port).await,
        KeeperChannel::Tls => dialer.dial_anywhere(host, port).await,
    };
    let dialed = dialed.map_err(|error| {
        let told = Error::host(error.to_string());
        error.hint().into_iter().fold(told, Error::hint)
    })?;
    Ok(dialed.stream)
}

async fn converse<S>(stream: S, request: KeeperRequest) -> Result<KeeperReply>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let url = request.url.to_string();
    let broken = |error: hyper::Error| {
        let cause = std::error::Error::source(&error).map(|cause| format!(": {cause}")).unwrap_or_default();
        Error::host(format!("\"{url}\" breaks off: {error}{cause}"))
    };
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(broken)?;
    let asking = async {
        let response = sender.send_request(made(request)?).await.map_err(broken)?;
        whole(response, &url).await
    };
    // The connection does the work; what ends it is told to whoever asks.
    let (mut asking, mut driving) = (std::pin::pin!(asking), std::pin::pin!(connection));
    tokio::select! {
        answered = &mut asking => return answered,
        ended = &mut driving => drop(ended),
    }
    asking.await
}

fn made(request: KeeperRequest) -> Result<Request<Full<Bytes>>> {
    let KeeperRequest { url, target, namespace, token, body, .. } = request;
    let unfit = |what: &str| Error::operator(format!("\"{url}\": {what} is nothing that a header can carry"));
    let mut made = Request::new(Full::default());
    *made.uri_mut() = target.parse().map_err(|_| Error::bug("a path that is none"))?;
    let headers = made.headers_mut();
    headers.insert(HOST, HeaderValue::from_str(&url.authority()).map_err(|_| unfit("its name"))?);
    headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
    // Agents of these servers may want it, so that a browser cannot be talked into a request.
    headers.insert("x-vault-request", HeaderValue::from_static("true"));
    if let Some(namespace) = &namespace {
        headers.insert("x-vault-namespace", HeaderValue::from_str(namespace).map_err(|_| unfit("the namespace"))?);
    }
    if let Some(token) = &token {
        let mut value = HeaderValue::from_str(token).map_err(|_| unfit("the token"))?;
        value.set_sensitive(true);
        headers.insert("x-vault-token", value);
    }
    if let Some(body) = &body {
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        *made.method_mut() = Method::POST;
        *made.body_mut() = Full::new(Bytes::copy_from_slice(body));
    }
    Ok(made)
}

async fn whole(response: Response<Incoming>, url: &str) -> Result<KeeperReply> {
    let status = response.status().as_u16();
    let collected = Limited::new(response.into_body(), KEEPER_REPLY_BYTES_MAX).collect().await;
    let collected = collected.map_err(|error| match error.downcast::<std::io::Error>() {
        Ok(error) => Error::host(format!("\"{url}\" breaks off: {}", plain(&error))),
        Err(_) => Error::host(format!("\"{url}\" gives an answer that is broken, or has more than 1 MiB")),
    })?;
    Ok(KeeperReply { status, body: Zeroizing::new(collected.to_bytes().to_vec()) })
}
