//! Refusals in the words of each protocol.
//! It never says how to weaken a rule.

use super::canonical::Misfit;
use super::front::InnerEnd;
use super::rates::Over;
use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderName, HeaderValue, RETRY_AFTER};
use http::{Response, StatusCode};
use serde_json::json;
use std::time::Duration;
use stockade_policy::Refusal;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

/// The TLS alert `access_denied`, fatal (RFC 8446, 6.2).
const TLS_ACCESS_DENIED: [u8; 7] = [21, 3, 3, 0, 2, 2, 49];
/// How long a refused client is listened to, so that what it still sends does not reset the connection before it has read
/// the answer.
const LISTEN: Duration = Duration::from_millis(500);
/// Bytes that a refused client may still send.
const LISTEN_BYTES_MAX: usize = 256 * 1024;
/// The field by which an answer of a proxy's own is told from an upstream's (RFC 9209), and our name in it.
pub(super) const PROXY_STATUS: &str = "proxy-status";
pub(super) const PROXY_NAME: &str = "stockade";
/// `PERMISSION_DENIED`, as gRPC writes it.
const GRPC_DENIED: &str = "7";

/// What a client is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Told {
    pub(super) status: StatusCode,
    pub(super) reason: String,
    pub(super) rule: Option<String>,
    pub(super) instead: Vec<String>,
    pub(super) ask: String,
    pub(super) retry_after: Option<Duration>,
}

/// In whose words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Words {
    /// A status with a JSON body.
    Http,
    /// gRPC's: 200, and the refusal where a gRPC client looks for it.
    Grpc,
}

impl Told {
    /// A refusal without a rule.
    pub(super) fn new(status: StatusCode, reason: impl Into<String>, ask: impl Into<String>) -> Self {
        Self { status, reason: reason.into(), rule: None, instead: Vec::new(), ask: ask.into(), retry_after: None }
    }

    fn json(&self) -> Bytes {
        let told = json!({
            "error": "refused by the sandbox",
            "reason": self.reason,
            "rule": self.rule,
            "allowed_instead": self.instead,
            "to_ask": self.ask,
        });
        let mut text = told.to_string();
        text.push('\n');
        Bytes::from(text)
    }

    /// As the answer to a request.
    pub(super) fn response(&self, words: Words) -> Response<Bytes> {
        let mut made = match words {
            Words::Http => {
                let mut made = Response::new(self.json());
                *made.status_mut() = self.status;
                made.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
                made
            }
            Words::Grpc => {
                let mut made = Response::new(Bytes::new());
                let headers = made.headers_mut();
                headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
                headers.insert(HeaderName::from_static("grpc-status"), HeaderValue::from_static(GRPC_DENIED));
                let message: String = self.reason.chars().filter(|c| matches!(c, ' '..='~') && *c != '%').collect();
                if let Ok(message) = HeaderValue::from_str(&message) {
                    headers.insert(HeaderName::from_static("grpc-message"), message);
                }
                made
            }
        };
        made.headers_mut().insert(PROXY_STATUS, HeaderValue::from_static(self.proxy_status()));
        if let Some(after) = self.retry_after {
            let seconds = after.as_secs() + u64::from(after.subsec_nanos() > 0);
            made.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds.max(1)));
        }
        made
    }

    /// Whose fault it was, in the words of RFC 9209, 2.3.
    fn proxy_status(&self) -> &'static str {
        match self.status {
            StatusCode::FORBIDDEN | StatusCode::TOO_MANY_REQUESTS => "stockade; error=http_request_denied",
            status if status.is_client_error() => "stockade; error=http_request_error",
            StatusCode::BAD_GATEWAY => "stockade; error=destination_unavailable",
            StatusCode::GATEWAY_TIMEOUT => "stockade; error=connection_timeout",
            _ => "stockade; error=proxy_internal_error",
        }
    }

    /// As the last bytes of a connection that carried HTTP/1.
    fn last_words(&self) -> Vec<u8> {
        let body = self.json();
        let mut all = format!(
            "HTTP/1.1 {} Refused\r\ncontent-type: application/json\r\ncontent-length: {}\r\n{PROXY_STATUS}: {}\r\n\
             connection: close\r\n\r\n",
            self.status.as_u16(),
            body.len(),
            self.proxy_status()
        )
        .into_bytes();
        all.extend_from_slice(&body);
        all
    }
}

impl From<&Refusal> for Told {
    fn from(refusal: &Refusal) -> Self {
        Self {
            status: StatusCode::FORBIDDEN,
            reason: refusal.reason.clone(),
            rule: refusal.rule.as_ref().map(ToString::to_string),
            instead: refusal.instead.clone(),
            ask: refusal.ask.clone(),
            retry_after: None,
        }
    }
}

impl From<Misfit> for Told {
    fn from(misfit: Misfit) -> Self {
        Self::new(misfit.status, misfit.what, misfit.hint)
    }
}

impl From<&Over> for Told {
    fn from(over: &Over) -> Self {
        let status = match over.retry_after {
            Some(_) => StatusCode::TOO_MANY_REQUESTS,
            None => StatusCode::FORBIDDEN,
        };
        let made = Self::new(status, over.to_string(), "send less, or say why more is needed");
        Self { rule: over.rule.as_ref().map(ToString::to_string), retry_after: over.retry_after, ..made }
    }
}

/// Which words a connection that is refused as a whole understands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tongue {
    /// TLS: an alert.
    Tls,
    /// HTTP/1: a status.
    Http,
    /// None that we speak.
    Other,
}

/// Ends a connection with what its client can understand.
pub(super) async fn end<S: InnerEnd>(stream: &mut S, tongue: Tongue, told: &Told) {
    let words = match tongue {
        Tongue::Tls => TLS_ACCESS_DENIED.to_vec(),
        Tongue::Http => told.last_words(),
        Tongue::Other => return stream.reset(),
    };
    last(stream, &words).await;
}

/// Says the last words of a connection, and gives the client time to read them. Whoever does not is not waited for.
pub(super) async fn last<S: InnerEnd>(stream: &mut S, words: &[u8]) {
    let said = async {
        stream.write_all(words).await?;
        stream.shutdown().await?;
        // On the heap: every connection's task would have room for it, and few are refused.
        let mut sink = vec![0; 4096];
        let mut left = LISTEN_BYTES_MAX;
        while left > 0 {
            match stream.read(&mut sink).await? {
                0 => break,
                some => left = left.saturating_sub(some),
            }
        }
        std::io::Result::Ok(())
    };
    if !matches!(tokio::time::timeout(LISTEN, said).await, Ok(Ok(()))) {
        stream.reset();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_says_rule_reason_alternatives_and_whom_to_ask() {
        let refusal = Refusal {
            rule: None,
            reason: "connecting to \"evil.example\" port 443 is not granted".into(),
            instead: vec!["good.example".into()],
            ask: "say why".into(),
        };
        let response = Told::from(&refusal).response(Words::Http);
        assert_eq!(response.status(), StatusCode::FORBIDDEN);
        let body: serde_json::Value = serde_json::from_slice(response.body()).unwrap();
        assert_eq!(body["allowed_instead"][0], "good.example");
        assert_eq!(body["to_ask"], "say why");
        assert!(body["reason"].as_str().unwrap().contains("evil.example"));
        assert_eq!(response.headers()[PROXY_STATUS], "stockade; error=http_request_denied");
        let last = String::from_utf8(Told::from(&refusal).last_words()).unwrap();
        assert!(last.contains("\r\nproxy-status: stockade; error=http_request_denied\r\nconnection: close\r\n\r\n"));
    }

    #[test]
    fn a_refusal_of_grpc_is_one_that_its_client_reads() {
        let response = Told::new(StatusCode::FORBIDDEN, "no\r\nmore", "ask").response(Words::Grpc);
        assert_eq!(response.headers()["grpc-status"], "7");
        assert_eq!(response.headers()["grpc-message"], "nomore");
    }
}
