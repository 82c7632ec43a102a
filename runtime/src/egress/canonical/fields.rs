//! Header fields: those about the connection end here, those that contradict the request are refused.
//! It never changes a field that an upstream may act on.

use super::{Destination, Kind, Misfit, Trailers, authority, path, short};
use crate::egress::refuse::{PROXY_NAME, PROXY_STATUS};
use http::header::{
    CONNECTION, CONTENT_LENGTH, COOKIE, EXPECT, HOST, HeaderMap, HeaderName, HeaderValue, SEC_WEBSOCKET_EXTENSIONS,
    SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_VERSION, TE, TRANSFER_ENCODING, UPGRADE,
};
use http::{StatusCode, Version};
use stockade_policy::Method;

/// Fields about one connection (RFC 9110, 7.6.1). Names that a client puts into `Connection` are no reason to drop
/// others: an upstream that got `Connection: authorization` would take away what was judged.
const HOP_BY_HOP: [&str; 11] = [
    "connection",
    "keep-alive",
    "proxy-connection",
    "proxy-authorization",
    "proxy-authenticate",
    "proxy-authentication-info",
    "te",
    "transfer-encoding",
    "upgrade",
    "http2-settings",
    "alt-used",
];

/// Fields that ask for another method than the request's.
const METHOD_OVERRIDES: [&str; 3] = ["x-http-method-override", "x-http-method", "x-method-override"];

/// Fields that ask for another path than the request's.
const PATH_OVERRIDES: [&str; 5] =
    ["x-original-url", "x-rewrite-url", "x-original-uri", "x-forwarded-uri", "x-override-url"];

/// Fields that ask for another host than the request's.
const HOST_OVERRIDES: [&str; 6] =
    ["x-forwarded-host", "x-host", "x-http-host-override", "x-original-host", "x-forwarded-server", "x-real-host"];

/// Fields that no trailer may bring (RFC 9110, 6.5.1): they are acted on before the body is read, or never again.
const NEVER_TRAILING: [&str; 27] = [
    "authorization",
    "age",
    "cache-control",
    "content-encoding",
    "content-length",
    "content-range",
    "content-type",
    "cookie",
    "date",
    "expect",
    "expires",
    "host",
    "if-match",
    "if-modified-since",
    "if-none-match",
    "if-range",
    "if-unmodified-since",
    "location",
    "max-forwards",
    "pragma",
    "range",
    "retry-after",
    "set-cookie",
    "trailer",
    "vary",
    "warning",
    "www-authenticate",
];

/// The fields of a request, and what they said about the connection.
pub(super) struct Fields {
    pub(super) headers: HeaderMap,
    pub(super) kind: Kind,
    pub(super) overrides: Vec<Method>,
    pub(super) trailers: Trailers,
}

/// Reads the fields of a request.
pub(super) fn request(
    mut headers: HeaderMap,
    to: &Destination,
    method: &Method,
    version: Version,
) -> Result<Fields, Misfit> {
    framing(&headers)?;
    let kind = kind(&headers, method, version)?;
    let wanted = headers.get_all(TE).iter().any(|value| value.as_bytes().eq_ignore_ascii_case(b"trailers"));
    let mut overrides = Vec::new();
    let mut cookies = 0;
    for (name, value) in &headers {
        cookies += usize::from(name == COOKIE);
        contradiction(name, value, to, &mut overrides)?;
    }
    for name in HOP_BY_HOP {
        headers.remove(name);
    }
    headers.remove(EXPECT);
    headers.remove(HOST);
    headers.remove(SEC_WEBSOCKET_EXTENSIONS);
    if cookies > 1 {
        join_cookies(&mut headers)?;
    }
    let trailers = if wanted { Trailers::Wanted } else { Trailers::Unsaid };
    Ok(Fields { headers, kind, overrides, trailers })
}

/// What says where the body ends must say it once. hyper has refused what is not even a number, and where both a length
/// and chunks were given it has taken the chunks, dropped the length and ends the connection afterwards.
fn framing(headers: &HeaderMap) -> Result<(), Misfit> {
    let mut codings = headers.get_all(TRANSFER_ENCODING).iter();
    let chunked = codings.next().map(|value| value.as_bytes().eq_ignore_ascii_case(b"chunked"));
    if chunked == Some(false) || codings.next().is_some() {
        let made = Misfit::new("a transfer coding other than chunked", "send the body as it is, or in chunks");
        return Err(made.with(StatusCode::NOT_IMPLEMENTED));
    }
    if chunked.is_some() && headers.contains_key(CONTENT_LENGTH) || headers.get_all(CONTENT_LENGTH).iter().count() > 1 {
        return Err(Misfit::new("a body with two lengths", "send Content-Length or Transfer-Encoding"));
    }
    match headers.get(EXPECT) {
        Some(value) if !value.as_bytes().eq_ignore_ascii_case(b"100-continue") => {
            Err(Misfit::new("an expectation other than 100-continue", "leave it out")
                .with(StatusCode::EXPECTATION_FAILED))
        }
        Some(_) | None => Ok(()),
    }
}

/// An upgrade to anything but a WebSocket is not taken, which a client must expect (RFC 9110, 7.8): it is sent without.
fn kind(headers: &HeaderMap, method: &Method, version: Version) -> Result<Kind, Misfit> {
    let has = |field: HeaderName, token: &str| {
        let values = headers.get_all(field);
        values
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(|text| text.split(','))
            .any(|one| one.trim().eq_ignore_ascii_case(token))
    };
    if !has(UPGRADE, "websocket") || !has(CONNECTION, "upgrade") || version != Version::HTTP_11 {
        return Ok(Kind::Plain);
    }
    let is_whole = method.as_str() == "GET"
        && headers.get(SEC_WEBSOCKET_VERSION).is_some_and(|value| value == "13")
        && headers.contains_key(SEC_WEBSOCKET_KEY)
        && !headers.contains_key(TRANSFER_ENCODING)
        && headers.get(CONTENT_LENGTH).is_none_or(|value| value == "0");
    if is_whole { Ok(Kind::WebSocket) } else { Err(Misfit::new("a malformed WebSocket request", "see RFC 6455, 4.1")) }
}

fn contradiction(
    name: &HeaderName,
    value: &HeaderValue,
    to: &Destination,
    overrides: &mut Vec<Method>,
) -> Result<(), Misfit> {
    let text = name.as_str();
    let one_of = |names: &[&str], text: &str| names.contains(&text);
    // Servers behind CGI or WSGI see no difference between the two characters (CVE-2015-0219 and its kin).
    if text.contains('_') {
        let meant = text.replace('_', "-");
        let known = [&METHOD_OVERRIDES[..], &PATH_OVERRIDES, &HOST_OVERRIDES, &HOP_BY_HOP, &NEVER_TRAILING];
        if known.iter().any(|names| one_of(names, &meant)) {
            return Err(Misfit::new(
                format!("the field \"{}\" looks like another", short(text)),
                "write it with \"-\"",
            ));
        }
    }
    if !text.starts_with('x') && text != "forwarded" {
        return Ok(());
    }
    if one_of(&METHOD_OVERRIDES, text) {
        overrides.push(path::overriding(value.to_str().unwrap_or_default().trim())?);
    } else if one_of(&PATH_OVERRIDES, text) {
        return Err(Misfit::new(format!("the field \"{text}\" asks for another path"), "send the path itself"));
    } else if one_of(&HOST_OVERRIDES, text) {
        let said = value.to_str().ok().and_then(|text| authority(text.trim()).ok());
        if said.is_none_or(|(host, _)| host != to.host) {
            return Err(Misfit::new(format!("the field \"{text}\" names another host"), "connect to that host"));
        }
    } else if text == "forwarded" && value.as_bytes().to_ascii_lowercase().windows(5).any(|part| part == b"host=") {
        return Err(Misfit::new("the field \"forwarded\" names a host", "leave the host out"));
    }
    Ok(())
}

/// HTTP/2 may split cookies, HTTP/1 may not (RFC 9113, 8.2.3).
fn join_cookies(headers: &mut HeaderMap) -> Result<(), Misfit> {
    let all: Vec<&[u8]> = headers.get_all(COOKIE).iter().map(HeaderValue::as_bytes).collect();
    let joined = HeaderValue::from_bytes(&all.join(&b"; "[..]));
    let joined = joined.map_err(|_| Misfit::new("a cookie that is none", "send fewer or shorter cookies"))?;
    headers.insert(COOKIE, joined);
    Ok(())
}

/// Takes from an answer what was about the upstream's connection, and what would lead clients past this outlet.
pub(in crate::egress) fn reply(headers: &mut HeaderMap) {
    for name in HOP_BY_HOP {
        headers.remove(name);
    }
    // It names other hosts and ports for the same authority (RFC 7838); in here there are none.
    headers.remove("alt-svc");
    headers.remove(SEC_WEBSOCKET_EXTENSIONS);
    // Nobody outside speaks for this outlet.
    let ours =
        |value: &HeaderValue| value.as_bytes().windows(PROXY_NAME.len()).any(|part| part == PROXY_NAME.as_bytes());
    if headers.get_all(PROXY_STATUS).iter().any(ours) {
        headers.remove(PROXY_STATUS);
    }
}

/// The trailers that may pass.
pub(in crate::egress) fn trailers(found: &mut HeaderMap) {
    for name in NEVER_TRAILING.into_iter().chain(HOP_BY_HOP).chain(METHOD_OVERRIDES).chain(PATH_OVERRIDES) {
        found.remove(name);
    }
    for name in HOST_OVERRIDES {
        found.remove(name);
    }
}
