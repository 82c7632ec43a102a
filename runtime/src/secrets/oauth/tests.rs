//! Exchanges: what is asked, how often, and what is taken for a token.

use super::*;
use std::sync::atomic::{AtomicUsize, Ordering};

/// An endpoint that answers from a list, the last answer again and again.
struct Endpoint {
    answers: Vec<(u16, &'static str)>,
    asked: AtomicUsize,
    seen: Mutex<Vec<String>>,
}

impl Endpoint {
    fn new(answers: &[(u16, &'static str)]) -> Self {
        Self { answers: answers.to_vec(), asked: AtomicUsize::new(0), seen: Mutex::default() }
    }
}

impl TokenEndpoint for Endpoint {
    async fn exchange(&self, request: TokenRequest) -> Result<TokenReply> {
        let number = self.asked.fetch_add(1, Ordering::SeqCst);
        let authorization = request.authorization.as_ref().map_or("-", |text| text.as_str());
        let line = format!("{} {authorization} {}", request.url, *request.body);
        self.seen.lock().expect("no panic").push(line);
        // The others get to wait meanwhile.
        tokio::task::yield_now().await;
        let (status, body) = *self.answers.get(number).or(self.answers.last()).expect("an answer");
        Ok(TokenReply { status, body: Zeroizing::new(body.as_bytes().to_vec()) })
    }
}

fn exchange(grant: OauthGrant) -> Exchange {
    Exchange::new(TokenUrl::parse("https://login.test/token").expect("a url"), grant, "my client".to_owned())
}

fn secret() -> Plain {
    Plain::new(b"se cret&1".to_vec()).expect("it fits")
}

fn run<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().expect("a runtime").block_on(future)
}

const TOKEN: &str = r#"{"access_token":"tok\u0065n-1","token_type":"Bearer","expires_in":1000}"#;

#[test]
fn what_is_asked_follows_the_grant() {
    for (grant, expect) in [
        (
            OauthGrant::ClientCredentials,
            "https://login.test/token Basic bXkrY2xpZW50OnNlK2NyZXQlMjYx grant_type=client_credentials",
        ),
        (
            OauthGrant::RefreshToken,
            "https://login.test/token - grant_type=refresh_token&refresh_token=se+cret%261&client_id=my+client",
        ),
    ] {
        let endpoint = Endpoint::new(&[(200, TOKEN)]);
        let token = run(exchange(grant).token("k", &secret(), 0, &endpoint)).expect("a token");
        assert_eq!(token.bytes(), b"token-1");
        assert_eq!(*endpoint.seen.lock().expect("no panic"), [expect]);
    }
}

#[test]
fn many_requests_ask_once() {
    let endpoint = Endpoint::new(&[(200, TOKEN)]);
    let exchange = exchange(OauthGrant::ClientCredentials);
    let secret = secret();
    run(async {
        let one = || exchange.token("k", &secret, 0, &endpoint);
        let all = tokio::join!(one(), one(), one(), one());
        for token in [all.0, all.1, all.2, all.3] {
            assert_eq!(token.expect("a token").bytes(), b"token-1");
        }
    });
    assert_eq!(endpoint.asked.load(Ordering::SeqCst), 1);
}

#[test]
fn a_token_is_renewed_early_and_used_to_its_end() {
    let second = r#"{"access_token":"token-2","token_type":"bearer","expires_in":"1000"}"#;
    let endpoint = Endpoint::new(&[(200, TOKEN), (503, ""), (200, second), (503, "")]);
    let exchange = exchange(OauthGrant::ClientCredentials);
    let secret = secret();
    let at = |s: u64| run(exchange.token("k", &secret, s * NS, &endpoint)).map(|token| token.bytes().to_vec());
    assert_eq!(at(0).expect("a token"), b"token-1");
    assert_eq!(at(939).expect("a token"), b"token-1");
    assert_eq!(endpoint.asked.load(Ordering::SeqCst), 1, "fresh for all but the last minute");
    assert_eq!(at(941).expect("the old one is good"), b"token-1");
    assert_eq!(at(942).expect("a token"), b"token-2");
    assert_eq!(endpoint.asked.load(Ordering::SeqCst), 3);
    let error = at(5000).expect_err("there is none").to_string();
    assert!(error.starts_with("error: secret \"k\": \"https://login.test/token\" answered 503"), "{error}");
    assert_eq!(exchange.plaintexts().len(), 2, "both may still come back");
}

#[test]
fn a_refresh_token_that_is_replaced_is_used_from_then_on() {
    let first = r#"{"access_token":"token-1","token_type":"bearer","expires_in":10,"refresh_token":"new one"}"#;
    let endpoint = Endpoint::new(&[(200, first), (200, TOKEN)]);
    let exchange = exchange(OauthGrant::RefreshToken);
    let secret = secret();
    for at in [0, 100] {
        run(exchange.token("k", &secret, at * NS, &endpoint)).expect("a token");
    }
    assert!(endpoint.seen.lock().expect("no panic")[1].contains("refresh_token=new+one"));
    assert_eq!(exchange.rotated().expect("it was").bytes(), b"new one");
}

#[test]
fn what_is_no_bearer_token_is_refused_and_not_repeated() {
    for (status, body) in [
        (302, TOKEN),
        (400, r#"{"error":"invalid_client"}"#),
        (200, ""),
        (200, "[]"),
        (200, r#"{"access_token":"t","token_type":"mac"}"#),
        (200, r#"{"access_token":1,"token_type":"bearer"}"#),
        (200, r#"{"access_token":"","token_type":"bearer"}"#),
        (200, r#"{"access_token":"a\r\nb","token_type":"bearer"}"#),
        (200, r#"{"access_token":"t","token_type":"bearer","expires_in":-1}"#),
        (200, r#"{"access_token":"t","token_type":"bearer","expires_in":"NaN"}"#),
        (200, r#"{"token_type":"bearer"}"#),
    ] {
        let endpoint = Endpoint::new(&[(status, body)]);
        let error = run(exchange(OauthGrant::ClientCredentials).token("k", &secret(), 0, &endpoint));
        let error = error.expect_err(body).to_string();
        assert!(error.starts_with("error: secret \"k\": \"https://login.test/token\" "), "{error}");
        assert!(!error.contains("invalid_client"), "{error}");
    }
}
