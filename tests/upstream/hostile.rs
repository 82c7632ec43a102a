//! What an evil server answers: what looks small, and is not.
//! It never makes all of it: the larger part is one piece again and again.

use crate::Failure;
use crate::replies::{Body, whole};
use hyper::{Response, header};
use std::io::Write as _;

/// Zeros that a bomb is made of, MiB.
const BOMB_MIB: usize = 256;

/// A quarter of a megabyte that becomes a thousand times that: as much as this encoding can.
pub(crate) fn bomb() -> Result<Response<Body>, Failure> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    let zeros = vec![0; 1024 * 1024];
    for _ in 0..BOMB_MIB {
        encoder.write_all(&zeros)?;
    }
    let mut reply = whole(200, "text/plain", encoder.finish()?);
    reply.headers_mut().insert(header::CONTENT_ENCODING, header::HeaderValue::from_static("gzip"));
    Ok(reply)
}
