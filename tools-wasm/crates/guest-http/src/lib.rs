//! The network as a tool reaches it through WASI: a request goes to the host, which judges it. It never opens a socket
//! and never sees a secret: where the profile has one for the host, it is put in outside.

/// WASI's own words, as Rust.
#[expect(missing_docs, clippy::mem_forget, reason = "generated from WASI's interfaces")]
mod bindings {
    wit_bindgen::generate!({ path: "wit", world: "requests", generate_all });
}

use bindings::wasi::http::outgoing_handler::handle;
use bindings::wasi::http::types::{ErrorCode, Fields, IncomingResponse, OutgoingRequest, Scheme};
use bindings::wasi::io::streams::StreamError;
use stockade_toolkit::fetch::{BODY_BYTES_MAX, Response, Target, Web};

/// What one read of a body asks for.
const READ_BYTES: u64 = 64 * 1024;

/// The host's requests.
pub struct Granted;

impl Web for Granted {
    fn get(&self, target: &Target<'_>, headers: &[(String, String)]) -> Result<Response, String> {
        let request = OutgoingRequest::new(fields(headers)?);
        let scheme = if target.tls { Scheme::Https } else { Scheme::Http };
        let formed = request.set_scheme(Some(&scheme)).is_ok()
            && request.set_authority(Some(target.authority)).is_ok()
            && request.set_path_with_query(Some(target.path)).is_ok();
        if !formed {
            return Err("the host does not take this address".to_owned());
        }
        let coming = handle(request, None).map_err(|error| why(&error))?;
        coming.subscribe().block();
        match coming.get() {
            Some(Ok(Ok(response))) => read(&response),
            Some(Ok(Err(error))) => Err(why(&error)),
            Some(Err(())) | None => Err("the host gave no response".to_owned()),
        }
    }
}

fn fields(headers: &[(String, String)]) -> Result<Fields, String> {
    let given = |name: &str| headers.iter().any(|(known, _)| known == name);
    let usual = [("accept", "text/html, text/*, application/json, */*;q=0.5"), ("user-agent", "stockade-fetch/0.1")];
    let usual =
        usual.into_iter().filter(|(name, _)| !given(name)).map(|(name, value)| (name.to_owned(), value.to_owned()));
    let all: Vec<(String, Vec<u8>)> =
        usual.chain(headers.iter().cloned()).map(|(name, value)| (name, value.into_bytes())).collect();
    Fields::from_list(&all).map_err(|error| format!("the host does not take these headers: {error:?}"))
}

/// The whole of it, or as much as is taken.
fn read(response: &IncomingResponse) -> Result<Response, String> {
    let status = response.status();
    let headers =
        response.headers().entries().into_iter().map(|(name, value)| (name.to_ascii_lowercase(), value)).collect();
    let mut body = Vec::new();
    let mut complete = true;
    let incoming = response.consume().map_err(|()| "the response has no body that can be read".to_owned())?;
    let stream = incoming.stream().map_err(|()| "the response has no body that can be read".to_owned())?;
    loop {
        match stream.blocking_read(READ_BYTES) {
            Ok(part) => body.extend_from_slice(&part),
            Err(StreamError::Closed) => break,
            Err(StreamError::LastOperationFailed(error)) => {
                return Err(format!("the response broke off after {} bytes: {}", body.len(), error.to_debug_string()));
            }
        }
        if body.len() > BODY_BYTES_MAX {
            body.truncate(BODY_BYTES_MAX);
            complete = false;
            break;
        }
    }
    Ok(Response { status, headers, body, complete })
}

#[expect(clippy::wildcard_enum_match_arm, reason = "WASI's enumeration; what is not told apart is told by its name")]
fn why(error: &ErrorCode) -> String {
    match error {
        ErrorCode::HttpRequestDenied | ErrorCode::DestinationIpProhibited => {
            "the profile does not let this session request that; it needs a grant for the host and the path".to_owned()
        }
        ErrorCode::DnsError(_) | ErrorCode::DestinationNotFound => "there is no such host".to_owned(),
        ErrorCode::DnsTimeout | ErrorCode::ConnectionTimeout | ErrorCode::HttpResponseTimeout => {
            "the host did not answer in time; try again later".to_owned()
        }
        ErrorCode::ConnectionRefused => "the host refused the connection".to_owned(),
        ErrorCode::InternalError(Some(text)) => text.clone(),
        other => format!("{other:?}"),
    }
}
