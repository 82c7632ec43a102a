//! A token endpoint that rotates, and what its tokens open.
//! It never takes a credential twice that is good for once, as RFC 9700, 4.14.2 wants it.

use crate::Failure;
use crate::replies::{Body, whole};
use base64ct::{Base64, Encoding as _};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper::{Request, Response, header};
use std::sync::{Mutex, PoisonError};

/// Part of every token: what looks for leaks knows them by it.
const STEM: &str = "tk-egress-4Hn8sW1cYp6Jx0Gd5Ze3Vu9M";
/// Who may ask.
const CLIENT: &str = "egress client";

/// What was given out.
pub(crate) struct Tokens {
    /// The client's secret, and the first refresh token.
    key: String,
    given: Mutex<Given>,
}

#[derive(Default)]
struct Given {
    count: u32,
    access: Option<String>,
    /// The one that is good; none was given before the first exchange.
    refresh: Option<String>,
    /// One came back that was used up: everything is void.
    revoked: bool,
}

impl Tokens {
    pub(crate) fn new(key: String) -> Self {
        Self { key, given: Mutex::default() }
    }

    /// Answers `POST …/token`.
    pub(crate) async fn give(&self, life_s: &str, request: Request<Incoming>) -> Result<Response<Body>, Failure> {
        let authorization = request.headers().get(header::AUTHORIZATION).cloned();
        let body = String::from_utf8(request.into_body().collect().await?.to_bytes().to_vec())?;
        let field = |name: &str| body.split('&').filter_map(|pair| pair.split_once('=')).find(|(key, _)| *key == name);
        let field = |name: &str| field(name).map(|(_, value)| decoded(value)).unwrap_or_default();
        let basic = authorization.and_then(|value| pair(value.to_str().ok()?)).map(|(user, password)| {
            // RFC 6749, 2.3.1: both halves are encoded as in a form. Not every client does; neither name has a percent.
            (decoded(&user), decoded(&password))
        });
        let (id, secret) = basic.unwrap_or_else(|| (field("client_id"), field("client_secret")));
        let refuse = |status: u16, error: &str| {
            Ok(whole(status, "application/json", format!("{{\"error\":\"{error}\"}}").into_bytes()))
        };
        let mut given = self.given.lock().unwrap_or_else(PoisonError::into_inner);
        match field("grant_type").as_str() {
            "client_credentials" if id != CLIENT || secret != self.key => return refuse(401, "invalid_client"),
            "client_credentials" => {}
            "refresh_token" => {
                let good = given.refresh.clone().unwrap_or_else(|| self.key.clone());
                if given.revoked || field("refresh_token") != good {
                    given.revoked = true;
                    return refuse(400, "invalid_grant");
                }
            }
            _ => return refuse(400, "unsupported_grant_type"),
        }
        given.count += 1;
        let (access, refresh) = (format!("at{}.{STEM}", given.count), format!("rt{}.{STEM}", given.count));
        let reply = serde_json::json!({
            "access_token": access, "token_type": "Bearer", "expires_in": life_s.parse::<u32>()?,
            "refresh_token": refresh, "scope": "egress", "note": STEM.len(),
        });
        (given.access, given.refresh) = (Some(access), Some(refresh));
        Ok(whole(200, "application/json", reply.to_string().into_bytes()))
    }

    /// Answers what the newest access token alone opens, and sends it back.
    pub(crate) fn open(&self, credential: &str) -> Response<Body> {
        let given = self.given.lock().unwrap_or_else(PoisonError::into_inner);
        if given.access.as_deref() != Some(credential) {
            return whole(401, "text/plain", b"no such token\n".to_vec());
        }
        whole(200, "text/plain", format!("opened by token {} <{credential}>\n", given.count).into_bytes())
    }
}

/// User and password of Basic authentication.
fn pair(value: &str) -> Option<(String, String)> {
    let decoded = Base64::decode_vec(value.strip_prefix("Basic ")?).ok()?;
    let (user, password) = std::str::from_utf8(&decoded).ok()?.split_once(':')?;
    Some((user.to_owned(), password.to_owned()))
}

/// A text as a form has it.
fn decoded(text: &str) -> String {
    let mut out = Vec::new();
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        match byte {
            b'+' => out.push(b' '),
            b'%' => {
                let digits = [bytes.next().unwrap_or_default(), bytes.next().unwrap_or_default()];
                let digits = String::from_utf8_lossy(&digits).into_owned();
                out.push(u8::from_str_radix(&digits, 16).unwrap_or(b'?'));
            }
            _ => out.push(byte),
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}
