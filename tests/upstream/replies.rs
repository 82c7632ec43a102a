//! What the servers answer: echoes of a credential in every disguise, streams, large bodies, files.
//! It never keeps anything of a request.

use crate::Failure;
use bytes::Bytes;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::{HeaderMap, Request, Response, header};
use hyper_util::rt::TokioIo;
use std::io::Write as _;
use std::path::{Component, Path};
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

/// Body of an answer.
pub(crate) type Body = BoxBody<Bytes, Failure>;

/// What one chunk of a large body has.
const CHUNK_BYTES: usize = 64 * 1024;

/// The credential that came: the value of `authorization` without its scheme, else of `x-api-key`, else the query.
pub(crate) fn credential(request: &Request<Incoming>) -> String {
    let text = |name: &str| request.headers().get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
    let bare = |value: String| value.split_once(' ').map_or_else(|| value.clone(), |(_, rest)| rest.to_owned());
    text("authorization")
        .map(bare)
        .or_else(|| text("x-api-key"))
        .or_else(|| request.uri().query().map(str::to_owned))
        .unwrap_or_default()
}

pub(crate) fn whole(status: u16, kind: &str, content: Vec<u8>) -> Response<Body> {
    let mut reply = Response::new(boxed(Full::new(Bytes::from(content))));
    *reply.status_mut() = hyper::StatusCode::from_u16(status).unwrap_or(hyper::StatusCode::IM_A_TEAPOT);
    set(&mut reply, header::CONTENT_TYPE, kind);
    reply
}

/// The credential comes back in a header, an error text and a cookie.
pub(crate) fn reflecting_header(credential: &str) -> Response<Body> {
    let mut reply = whole(401, "text/plain", format!("bad credential {credential:?}\n").into_bytes());
    set(&mut reply, header::HeaderName::from_static("x-echo"), credential);
    set(&mut reply, header::SET_COOKIE, &format!("token={credential}"));
    reply
}

/// One byte at a time, each a chunk of its own.
pub(crate) fn by_bytes(credential: &str) -> Response<Body> {
    let bytes: Vec<Bytes> = format!("<{credential}>\n").bytes().map(|byte| Bytes::copy_from_slice(&[byte])).collect();
    streamed("text/plain", bytes, Duration::from_millis(1))
}

pub(crate) fn gzipped(credential: &str) -> Result<Response<Body>, Failure> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    encoder.write_all(format!("{{\"token\": \"{credential}\", \"rest\": \"{}\"}}\n", "x".repeat(4096)).as_bytes())?;
    let mut reply = whole(200, "application/json", encoder.finish()?);
    set(&mut reply, header::CONTENT_ENCODING, "gzip");
    Ok(reply)
}

/// Server-sent events, twenty a second, the credential in the middle one.
pub(crate) fn events(credential: &str) -> Response<Body> {
    let event = |n: usize| Bytes::from(format!("data: {n} {}\n\n", if n == 5 { credential } else { "tick" }));
    streamed("text/event-stream", (0..10).map(event).collect(), Duration::from_millis(50))
}

pub(crate) fn with_trailers(credential: &str) -> Response<Body> {
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", header::HeaderValue::from_static("0"));
    if let Ok(value) = header::HeaderValue::from_str(credential) {
        trailers.insert("grpc-message", value);
    }
    let frames = [Ok::<_, Failure>(Frame::data(Bytes::from_static(b"body\n"))), Ok(Frame::trailers(trailers))];
    let mut reply = Response::new(BodyExt::boxed(StreamBody::new(futures_util::stream::iter(frames))));
    set(&mut reply, header::CONTENT_TYPE, "application/grpc");
    set(&mut reply, header::TRAILER, "grpc-status, grpc-message");
    reply
}

/// So many bytes, streamed.
pub(crate) fn many(count: u64) -> Response<Body> {
    let chunks = futures_util::stream::unfold(count, |left| async move {
        let now = usize::try_from(left).unwrap_or(usize::MAX).min(CHUNK_BYTES);
        (now > 0).then(|| (Ok::<_, Failure>(Frame::data(Bytes::from(vec![b'.'; now]))), left - now as u64))
    });
    Response::new(BodyExt::boxed(StreamBody::new(chunks)))
}

pub(crate) fn redirect(to: &str) -> Response<Body> {
    let mut reply = whole(302, "text/plain", b"elsewhere\n".to_vec());
    set(&mut reply, header::LOCATION, to);
    reply
}

/// A file below `www`; a directory is its `index.html`.
pub(crate) fn file(www: &Path, path: &str) -> Result<Response<Body>, Failure> {
    let relative = Path::new(path.trim_start_matches('/'));
    if relative.components().any(|part| !matches!(part, Component::Normal(_))) {
        return Ok(whole(404, "text/plain", b"no such file\n".to_vec()));
    }
    let mut found = www.join(relative);
    if found.is_dir() {
        found = found.join("index.html");
    }
    Ok(match std::fs::read(&found) {
        Ok(content) => {
            let kind = match found.extension().and_then(|extension| extension.to_str()) {
                Some("html") => "text/html",
                Some("json") => "application/json",
                _ => "application/octet-stream",
            };
            whole(200, kind, content)
        }
        Err(_) => whole(404, "text/plain", b"no such file\n".to_vec()),
    })
}

pub(crate) fn wants_websocket(request: &Request<Incoming>) -> bool {
    request.headers().get(header::UPGRADE).is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"websocket"))
}

/// A WebSocket that sends the credential, then each text message back. Frames of at most 125 bytes.
pub(crate) fn websocket(mut request: Request<Incoming>) -> Result<Response<Body>, Failure> {
    let key = request.headers().get("sec-websocket-key").ok_or("no key")?.as_bytes().to_vec();
    let accept = {
        use base64ct::{Base64, Encoding as _};
        use sha1::{Digest as _, Sha1};
        Base64::encode_string(&Sha1::digest([key.as_slice(), b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"].concat()))
    };
    let hello = credential(&request);
    let upgrade = hyper::upgrade::on(&mut request);
    drop(tokio::spawn(async move {
        let Ok(upgraded) = upgrade.await else { return };
        drop(converse(TokioIo::new(upgraded), hello).await);
    }));
    let mut reply = whole(101, "text/plain", Vec::new());
    reply.headers_mut().clear();
    set(&mut reply, header::UPGRADE, "websocket");
    set(&mut reply, header::CONNECTION, "Upgrade");
    set(&mut reply, header::HeaderName::from_static("sec-websocket-accept"), &accept);
    Ok(reply)
}

async fn converse(mut stream: TokioIo<hyper::upgrade::Upgraded>, hello: String) -> Result<(), Failure> {
    send(&mut stream, 0x81, hello.as_bytes()).await?;
    loop {
        let mut head = [0; 6];
        stream.read_exact(&mut head).await?;
        let [opcode, length, mask @ ..] = head;
        let mut payload = vec![0; usize::from(length & 0x7f)];
        stream.read_exact(&mut payload).await?;
        payload.iter_mut().zip(mask.iter().cycle()).for_each(|(byte, mask)| *byte ^= mask);
        send(&mut stream, opcode, &payload).await?;
        if opcode == 0x88 {
            return Ok(());
        }
    }
}

async fn send(stream: &mut TokioIo<hyper::upgrade::Upgraded>, opcode: u8, payload: &[u8]) -> Result<(), Failure> {
    let length = u8::try_from(payload.len()).ok().filter(|length| *length < 126).ok_or("a short message")?;
    stream.write_all(&[&[opcode, length], payload].concat()).await?;
    Ok(stream.flush().await?)
}

fn streamed(kind: &str, chunks: Vec<Bytes>, pause: Duration) -> Response<Body> {
    let stream = futures_util::stream::unfold(chunks.into_iter(), move |mut chunks| async move {
        let chunk = chunks.next()?;
        tokio::time::sleep(pause).await;
        Some((Ok::<_, Failure>(Frame::data(chunk)), chunks))
    });
    let mut reply = Response::new(BodyExt::boxed(StreamBody::new(stream)));
    set(&mut reply, header::CONTENT_TYPE, kind);
    reply
}

fn boxed(body: Full<Bytes>) -> Body {
    body.map_err(|never| match never {}).boxed()
}

fn set(reply: &mut Response<Body>, name: header::HeaderName, value: &str) {
    if let Ok(value) = header::HeaderValue::from_str(value) {
        reply.headers_mut().append(name, value);
    }
}
