//! A request's body where a signature covers it: read whole before it goes.
//! It never holds more than its limit, and leaves every other body alone.

use super::Inside;
use super::outgoing::Source;
use super::request::Stop;
use crate::egress::refuse::Told;
use crate::secrets::vault::Slots;
use bytes::Bytes;
use http::StatusCode;
use http_body_util::{BodyExt as _, Limited};
use hyper::body::Incoming;
use sha2::{Digest as _, Sha256};

/// Longest body that a signature is made over, bytes: it has to be read before it can be sent.
const SIGNED_BYTES_MAX: usize = 16 * 1024 * 1024;

/// The body: as it comes, or all of it where a signature covers it.
pub(super) async fn source(inside: &Inside, body: Incoming, slots: &mut Slots) -> Result<Source, Stop> {
    if !slots.wants_payload_hash() {
        return Ok(Source::Streamed(body));
    }
    let whole = Limited::new(body, SIGNED_BYTES_MAX).collect().await;
    let Ok(whole) = whole else {
        let why = format!("a body of more than {} MiB is not signed", SIGNED_BYTES_MAX >> 20);
        inside.refused(inside.wanted(), "body", &why)?;
        let ask = "send it in parts, or with its hash in x-amz-content-sha256";
        return Err(Told::new(StatusCode::PAYLOAD_TOO_LARGE, why, ask).into());
    };
    let bytes: Bytes = whole.to_bytes();
    slots.set_payload_hash(&Sha256::digest(&bytes).into());
    Ok(Source::Whole(Some(bytes).filter(|bytes| !bytes.is_empty())))
}
