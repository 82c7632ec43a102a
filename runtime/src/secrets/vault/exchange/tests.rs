//! What becomes of a refresh token that its server replaced: kept, taken over by other sessions, or said to be lost.

use super::super::Vault;
use super::super::tests::{host_key, rules};
use super::*;
use crate::secrets::oauth::{TokenReply, TokenRequest};
use crate::secrets::placeholder::Scanner;
use crate::secrets::source::Resolved;
use crate::secrets::store::Deposit;
use crate::secrets::vault::{Channel, Outgoing};
use http::HeaderMap;
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use stockade_audit::Machine;
use stockade_policy::{Host, Method, SecretName, UrlPath};
use zeroize::Zeroizing;

const RULES: &str = r#"
[[secret]]
name = "key"
place = { oauth = { token_url = "https://login.test/token", grant = "refresh_token", client_id = "c" } }
hosts = ["api.test"]
reason = "r"
"#;

/// A server whose refresh tokens are good once: it gives `refresh-2` for `refresh-1`, and so on.
#[derive(Default)]
struct Server {
    number: AtomicUsize,
    said: Mutex<Vec<String>>,
    /// Done in the middle of an exchange.
    meanwhile: Mutex<Option<Box<dyn FnOnce() + Send>>>,
}

impl TokenEndpoint for Server {
    async fn exchange(&self, request: TokenRequest) -> Result<TokenReply> {
        tokio::task::yield_now().await;
        let number = self.number.fetch_add(1, Ordering::SeqCst) + 1;
        let (good, next) = (format!("refresh_token=refresh-{number}&"), number + 1);
        let sent = request.form_of_a_test();
        self.said.lock().expect("no panic").push(format!("use v{} {sent}", request.used.version));
        if let Some(meanwhile) = self.meanwhile.lock().expect("no panic").take() {
            meanwhile();
        }
        if !sent.contains(&good) {
            return Ok(TokenReply { status: 400, body: Zeroizing::new(b"{\"error\":\"invalid_grant\"}".to_vec()) });
        }
        let body = format!(
            r#"{{"access_token":"token-{number}","token_type":"bearer","expires_in":60,"refresh_token":"refresh-{next}"}}"#
        );
        Ok(TokenReply { status: 200, body: Zeroizing::new(body.into_bytes()) })
    }

    fn rotated(&self, rotated: Rotated) -> Result<()> {
        let Rotated { name, was, version, kept } = rotated;
        self.said.lock().expect("no panic").push(format!("{name} {was}->{version} {kept:?}"));
        Ok(())
    }
}

struct Place(PathBuf);

impl Place {
    fn new(what: &str) -> Self {
        let place = Self(std::env::temp_dir().join(format!("stockade-exchange-{}-{what}", std::process::id())));
        std::fs::create_dir_all(&place.0).expect("a directory");
        place
    }

    fn store(&self) -> Arc<Store> {
        let uid = nix::unistd::geteuid().as_raw();
        Arc::new(Store::open(&self.0, uid, None, &Machine::system()).expect("it opens"))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.0));
    }
}

fn name() -> SecretName {
    SecretName::parse("key").expect("a name")
}

fn plain(text: &str) -> Plain {
    Plain::new(text.as_bytes().to_vec()).expect("it fits")
}

/// A session that begins now, with what is stored or, where nothing is, with what a variable had.
fn session(store: &Arc<Store>) -> Vault {
    let stored = store.get(&name()).expect("it can be trusted");
    let (source, version, value) = match stored {
        Some(stored) => (stored.source, stored.version, stored.value.expect("it holds it")),
        None => (Source::Env("REFRESH".to_owned()), 1, plain("refresh-1")),
    };
    let resolved = Resolved { source, version, value, previous: None, reader: None };
    let scanner = Scanner::new(host_key());
    Vault::hold(&rules(RULES), vec![resolved], scanner, Some(Arc::clone(store)), &Machine::system()).expect("it loads")
}

/// The token that a request of this session would carry.
async fn token(vault: &Vault, server: &Server) -> Result<Vec<u8>> {
    let (host, path) = (Host::parse("api.test").expect("a host"), UrlPath::parse("/").expect("a path"));
    let (method, headers) = (Method::parse("GET").expect("a method"), HeaderMap::new());
    let request = Outgoing {
        host: &host,
        port: 443,
        channel: Channel::Tls,
        method: &method,
        path: &path,
        query: None,
        headers: &headers,
    };
    let mut slots = vault.slots(&request, Some(&name())).expect("it is bound");
    vault.prepare(&mut slots, server).await?;
    let act = slots.acts_mut().next().expect("it is attached");
    Ok(act.token.as_ref().expect("it was exchanged").bytes().to_vec())
}

fn run<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime").block_on(future)
}

fn stored(store: &Store) -> (u64, Vec<u8>, Vec<u8>) {
    let stored = store.get(&name()).expect("it can be trusted").expect("it is there");
    let bytes = |plain: Option<Plain>| plain.map(|plain| plain.bytes().to_vec()).unwrap_or_default();
    (stored.version, bytes(stored.value), bytes(stored.previous))
}

#[test]
fn what_replaces_a_refresh_token_is_stored_before_the_token_is_used() {
    let (place, server) = (Place::new("stored"), Server::default());
    let store = place.store();
    store.set(&name(), Deposit::Value(plain("refresh-1"))).expect("it is new");
    let vault = session(&store);
    assert_eq!(run(token(&vault, &server)).expect("a token"), b"token-1");
    assert_eq!(stored(&store), (2, b"refresh-2".to_vec(), b"refresh-1".to_vec()));
    let said = server.said.lock().expect("no panic").join("\n");
    assert_eq!(said, "use v1 grant_type=refresh_token&refresh_token=refresh-1&client_id=c\nkey 1->2 Store");
    let known: Vec<Vec<u8>> = vault.all_plaintexts().iter().map(|(_, plain)| plain.bytes().to_vec()).collect();
    for plain in ["refresh-1", "refresh-2", "token-1"] {
        assert!(known.iter().any(|known| known == plain.as_bytes()), "{plain} could come back");
    }
}

#[test]
fn sessions_that_share_a_refresh_token_do_not_use_it_twice() {
    let (place, server) = (Place::new("shared"), Server::default());
    place.store().set(&name(), Deposit::Value(plain("refresh-1"))).expect("it is new");
    // Three that began with the same version, each with descriptors of its own, as processes have.
    let sessions: Vec<Vault> = (0..3).map(|_| session(&place.store())).collect();
    let tokens = run(async {
        let [a, b, c] = [&sessions[0], &sessions[1], &sessions[2]].map(|vault| token(vault, &server));
        let (a, b, c) = tokio::join!(a, b, c);
        [a, b, c].map(|token| String::from_utf8(token.expect("a token")).expect("text"))
    });
    let mut tokens = tokens.to_vec();
    tokens.sort();
    assert_eq!(tokens, ["token-1", "token-2", "token-3"]);
    assert_eq!(stored(&place.store()).0, 4);
}

#[test]
fn what_an_operator_stored_meanwhile_is_not_overwritten() {
    let (place, server) = (Place::new("meanwhile"), Server::default());
    let store = place.store();
    store.set(&name(), Deposit::Value(plain("refresh-1"))).expect("it is new");
    let vault = session(&store);
    let operator = Arc::clone(&store);
    let rotate = move || {
        operator.rotate(&name(), Deposit::Value(plain("the operator's"))).expect("it is there");
    };
    *server.meanwhile.lock().expect("no panic") = Some(Box::new(rotate));
    assert_eq!(run(token(&vault, &server)).expect("a token"), b"token-1");
    assert_eq!(stored(&store), (2, b"the operator's".to_vec(), b"refresh-1".to_vec()));
    let said = server.said.lock().expect("no panic").join("\n");
    let expect = format!("key 1->{} Session(\"the store has another version meanwhile\")", 1_u64 << 32);
    assert!(said.ends_with(&expect), "{said}");
}

#[test]
fn a_source_that_cannot_be_written_to_leaves_it_to_the_session_and_says_so() {
    let (place, server) = (Place::new("source"), Server::default());
    let vault = session(&place.store());
    assert_eq!(run(token(&vault, &server)).expect("a token"), b"token-1");
    let said = server.said.lock().expect("no panic").join("\n");
    assert!(said.ends_with("Session(\"its source \\\"env:REFRESH\\\" is not ours to write to\")"), "{said}");
    // The session itself goes on with what it was given.
    let held = vault.named(&name()).expect("it is held");
    assert_eq!(held.value().plain.bytes(), b"refresh-2");
    assert!(place.store().get(&name()).expect("it can be trusted").is_none());
}
