//! A registry of crates for those who have its token, as cargo's book describes one: index, downloads, publishing.
//! It never gives anything to who has no token, and keeps what was published in memory alone.

use crate::Failure;
use crate::replies::{Body, whole};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper::{Method, Request, Response, header};
use sha2::{Digest as _, Sha256};
use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

/// Where it says that it is.
const HERE: &str = "https://good.test/crates";

/// What was published.
pub(crate) struct Crates {
    token: String,
    /// By name: a line of the index, and the archive. One version each.
    published: Mutex<BTreeMap<String, (String, Vec<u8>)>>,
}

impl Crates {
    pub(crate) fn new(token: String) -> Self {
        Self { token, published: Mutex::default() }
    }

    /// Answers a request below `/crates/`.
    pub(crate) async fn answer(&self, path: &[&str], request: Request<Incoming>) -> Result<Response<Body>, Failure> {
        let token = request.headers().get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        if token != Some(self.token.as_str()) {
            let mut refusal = whole(401, "text/plain", b"who are you\n".to_vec());
            let challenge = format!("Cargo login_url=\"{HERE}/me\"");
            refusal.headers_mut().insert(header::WWW_AUTHENTICATE, challenge.parse()?);
            return Ok(refusal);
        }
        let known = |name: &str| self.published.lock().unwrap_or_else(PoisonError::into_inner).get(name).cloned();
        let found = match (request.method(), path) {
            (&Method::GET, ["index", "config.json"]) => {
                let config = serde_json::json!({ "dl": format!("{HERE}/dl"), "api": HERE, "auth-required": true });
                Some(config.to_string().into_bytes())
            }
            (&Method::GET, ["index", .., name]) => known(name).map(|(line, _)| line.into_bytes()),
            (&Method::GET, ["dl", name, _, "download"]) => known(name).map(|(_, archive)| archive),
            (&Method::PUT, ["api", "v1", "crates", "new"]) => {
                let body = request.into_body().collect().await?.to_bytes();
                self.publish(&body)?;
                Some(br#"{"warnings":{"invalid_categories":[],"invalid_badges":[],"other":[]}}"#.to_vec())
            }
            _ => None,
        };
        Ok(match found {
            Some(content) => whole(200, "application/json", content),
            None => whole(404, "text/plain", b"no such crate\n".to_vec()),
        })
    }

    /// Two pieces, each behind its length: what cargo says of the crate, and the archive.
    fn publish(&self, body: &[u8]) -> Result<(), Failure> {
        let (said, rest) = piece(body)?;
        let (archive, _) = piece(rest)?;
        let said: serde_json::Value = serde_json::from_slice(said)?;
        let name = said.get("name").and_then(serde_json::Value::as_str).ok_or("a crate without a name")?;
        let sum: String = Sha256::digest(archive).iter().map(|byte| format!("{byte:02x}")).collect();
        let line = serde_json::json!({
            "name": name, "vers": said.get("vers"), "deps": [], "cksum": sum, "features": {}, "yanked": false,
        });
        let mut published = self.published.lock().unwrap_or_else(PoisonError::into_inner);
        published.insert(name.to_owned(), (format!("{line}\n"), archive.to_vec()));
        Ok(())
    }
}

fn piece(bytes: &[u8]) -> Result<(&[u8], &[u8]), Failure> {
    let (length, rest) = bytes.split_first_chunk::<4>().ok_or("a piece without a length")?;
    let length = usize::try_from(u32::from_le_bytes(*length))?;
    Ok(rest.split_at_checked(length).ok_or("a piece that is too short")?)
}
