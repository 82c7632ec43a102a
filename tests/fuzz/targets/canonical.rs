//! Requests in their one form: any request is refused or has one, and that form is its own form.
//! It never opens a connection.
#![no_main]

use http::header::{HOST, HeaderName, HeaderValue};
use http::request::Parts;
use http::{HeaderMap, Method, Request, Uri, Version};
use libfuzzer_sys::fuzz_target;
use stockade::egress::canonical::{Channel, check};
use stockade_policy::Host;

const AUTHORITY: &str = "api.example.com";

fn to() -> (Host, u16, Channel) {
    (Host::parse(AUTHORITY).expect("a host"), 443, Channel::Tls)
}

/// A version, then lines: method, target, fields `name:value`.
fn request(input: &[u8]) -> Option<Parts> {
    let (version, rest) = input.split_first()?;
    let mut lines = rest.split(|&byte| byte == b'\n');
    let (mut parts, ()) = Request::new(()).into_parts();
    parts.version = if version % 2 == 0 { Version::HTTP_11 } else { Version::HTTP_2 };
    parts.method = Method::from_bytes(lines.next()?).ok()?;
    parts.uri = Uri::try_from(lines.next()?).ok()?;
    for line in lines {
        let colon = line.iter().position(|&byte| byte == b':')?;
        let (name, value) = line.split_at(colon);
        let name = HeaderName::from_bytes(name).ok()?;
        parts.headers.append(name, HeaderValue::from_bytes(value.get(1..)?).ok()?);
    }
    Some(parts)
}

fuzz_target!(|input: &[u8]| {
    let Some(parts) = request(input) else { return };
    let version = parts.version;
    let Some((method, path, query, headers)) = check(parts, to()) else { return };

    let target = query.iter().fold(path.as_str().to_owned(), |target, query| target + "?" + query);
    let (mut again, ()) = Request::new(()).into_parts();
    again.version = version;
    again.method = Method::from_bytes(method.as_str().as_bytes()).expect("a method that was read can be sent");
    again.headers = HeaderMap::clone(&headers);
    // Where HTTP/2 has it, the authority is no field: one more than were read could be one too many.
    if version == Version::HTTP_2 && target.starts_with('/') {
        again.uri = format!("https://{AUTHORITY}{target}").parse().expect("a target that was read can be sent");
    } else {
        again.uri = target.parse().expect("a target that was read can be sent");
        again.headers.insert(HOST, HeaderValue::from_static(AUTHORITY));
    }
    let again = check(again, to()).expect("what is sent would be let through");
    assert_eq!((again.0, again.1, again.2), (method, path, query), "what is sent is what was judged");
    let without = |mut headers: HeaderMap| {
        headers.remove(HOST);
        headers
    };
    assert_eq!(without(again.3), without(headers), "fields that were kept are kept");
});
