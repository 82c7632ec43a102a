//! Exchanges: what is asked, how often, and what is taken for a token.

use super::*;
use std::sync::atomic::{AtomicUsize, Ordering};

/// An endpoint that answers from a list, the last answer again and again.
struct Endpoint {
    answers: Vec<(u16, &'static str)>,
    asked: AtomicUsize,
}

impl Endpoint {
    fn new(answers: &[(u16, &'static str)]) -> Self {
        Self { answers: answers.to_vec(), asked: AtomicUsize::new(0) }
    }

    /// Asks it, as the vault does.
    async fn ask(&self, exchange: &Exchange) -> Result<Granted> {
        let number = self.asked.fetch_add(1, Ordering::SeqCst);
        // The others get to wait meanwhile.
        tokio::task::yield_now().await;
        let (status, body) = *self.answers.get(number).or(self.answers.last()).expect("an answer");
        exchange.read(&name(), &TokenReply { status, body: Zeroizing::new(body.as_bytes().to_vec()) })
    }

    async fn token(&self, exchange: &Exchange, now_ns: u64) -> Result<Arc<Plain>> {
        exchange.token(now_ns, || self.ask(exchange)).await
    }
}

fn name() -> SecretName {
    SecretName::parse("k").expect("a name")
}

fn exchange(grant: OauthGrant) -> Exchange {
    Exchange::new(TokenUrl::parse("https://login.test/token").expect("a url"), grant, "my client".to_owned())
}

fn run<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().expect("a runtime").block_on(future)
}

const TOKEN: &str = r#"{"access_token":"tok\u0065n-1","token_type":"Bearer","expires_in":1000}"#;

#[test]
fn what_is_asked_follows_the_grant() {
    let text = "profile = 1\nname = \"p\"\n[[grant.net]]\nhost = \"a.test\"\nreason = \"r\"\n";
    let file = stockade_policy::parse("p.toml", text.as_bytes()).unwrap_or_else(|all| panic!("{all}"));
    let profile = stockade_policy::resolve(&file, &mut |_| Ok(None)).unwrap_or_else(|all| panic!("{all}"));
    let rule = profile.net_grants().next().expect("a grant").1.clone();
    for (grant, expect) in [
        (
            OauthGrant::ClientCredentials,
            "header authorization: Basic bXkrY2xpZW50OnNlK2NyZXQlMjYx grant_type=client_credentials",
        ),
        (OauthGrant::RefreshToken, "body: - grant_type=refresh_token&refresh_token=se+cret%261&client_id=my+client"),
    ] {
        let secret = Arc::new(Plain::new(b"se cret&1".to_vec()).expect("it fits"));
        let request = exchange(grant).request(&name(), 7, &rule, secret);
        let form = request.form();
        let authorization = form.authorization.as_ref().map_or("-", |text| text.as_str());
        assert_eq!(format!("{}: {authorization} {}", request.used.place, *form.body), expect);
        assert_eq!((request.used.name.as_str(), request.used.version, &request.used.rule), ("k", 7, &rule));
        assert_eq!(request.url.to_string(), "https://login.test/token");
    }
}

#[test]
fn many_requests_ask_once() {
    let endpoint = Endpoint::new(&[(200, TOKEN)]);
    let exchange = exchange(OauthGrant::ClientCredentials);
    run(async {
        let one = || endpoint.token(&exchange, 0);
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
    let at = |s: u64| run(endpoint.token(&exchange, s * NS)).map(|token| token.bytes().to_vec());
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
        let error = run(endpoint.token(&exchange(OauthGrant::ClientCredentials), 0));
        let error = error.expect_err(body).to_string();
        assert!(error.starts_with("error: secret \"k\": \"https://login.test/token\" "), "{error}");
        assert!(!error.contains("invalid_client"), "{error}");
    }
}
