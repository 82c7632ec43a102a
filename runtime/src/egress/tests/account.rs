//! What happens to what has begun, and to a log that cannot take its end.

use crate::egress::testing::profile;
use crate::journal::{Journal, Reply, Total, Use, Wanted, Way, trial};
use std::path::PathBuf;
use std::pin::pin;
use std::task::{Context, Waker};
use stockade_audit::record::{Cause, Via};
use stockade_policy::{Action, Call, Decision, Host, Method, Permit, ToolName, UrlPath};

const GRANT: &str = "[[grant.net]]\nhost = \"api.test\"\nports = [443]\nreason = \"r\"\n";

const DIRECT: Way = Way { via: Via::Direct, inside: None };

/// A journal in a directory that goes with it.
struct Kept(PathBuf);

impl Kept {
    fn new(name: &str) -> (Self, Journal) {
        let directory = std::env::temp_dir().join(format!("stockade-journal-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&directory).expect("the test has a directory of its own");
        let journal = trial(&directory, "test").expect("it begins");
        (Self(directory), journal)
    }

    fn text(&self) -> String {
        let sessions = std::fs::read_dir(self.0.join("logs")).expect("it is there");
        let segments = sessions.flatten().map(|session| session.path().join("seg/000000.seg"));
        segments.map(|path| String::from_utf8_lossy(&std::fs::read(path).expect("it is there")).into_owned()).collect()
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.0));
    }
}

fn host() -> Host {
    Host::parse("api.test").expect("it is one")
}

/// The permit of a profile for a connection to the host, or for a request on it.
fn permit(request: Option<&str>) -> Permit {
    let method = request.map(|_| Method::parse("GET").expect("it is one"));
    let path = request.map(|path| UrlPath::parse(path).expect("it is one"));
    let action = Action::Connect { host: host(), port: 443, method, path };
    match profile(GRANT).judge(Call::new(ToolName::net(), action)) {
        Decision::Permit(permit) => permit,
        refused @ (Decision::Ask(_) | Decision::Denial(_)) => panic!("it is granted: {refused:?}"),
    }
}

fn block_on<F: Future>(future: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread().build().expect("a runtime").block_on(future)
}

fn used() -> Use {
    let profile = profile(GRANT);
    let rule = profile.net_grants().next().expect("it has one").1.clone();
    Use { name: "key".to_owned(), version: 1, place: "header authorization".to_owned(), rule }
}

#[test]
fn an_end_that_cannot_be_written_ends_the_session() {
    let (kept, journal) = Kept::new("end");
    let account = journal.account(None);
    let connection = block_on(account.open(host(), 443, DIRECT, None)).expect("it is let through");
    // No address is as long as this: what is tested is the way that any record takes which does not fit.
    let total = Total { addr: Some("x".repeat(9000)), ..Total::default() };
    assert!(account.close(connection, total).is_err());
    assert!(account.name("api.test", "A", None).is_err(), "a log that lost an end goes on");
    assert!(block_on(account.open(host(), 443, DIRECT, None)).is_err(), "a connection begins after a loss");
    drop(account);
    let closed = journal.close(Cause::Exit, 0);
    let error = closed.expect_err("a session that lost an end closes as if nothing had been");
    assert!(error.to_string().contains("a record has"), "it does not say why: {error}");
    assert!(!kept.text().contains("session.close"), "{}", kept.text());
}

#[test]
fn a_request_that_is_given_up_before_the_disk_has_it_has_an_end() {
    let (kept, journal) = Kept::new("request");
    let account = journal.account(None);
    let connection = block_on(account.open(host(), 443, DIRECT, None)).expect("it is let through");
    {
        let mut admitting = pin!(account.admit(&connection, permit(Some("/v1")), None, vec![used()]));
        let polled = admitting.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        assert!(polled.is_pending(), "its secret's use waits for the disk");
    }
    account.close(connection, Total::default()).expect("it ends");
    drop(account);
    journal.close(Cause::Exit, 0).expect("it closes");
    let text = kept.text();
    assert!(text.contains("\"k\":\"secret.use\"") && text.contains("given up before it was sent"), "{text}");
    assert_eq!(text.matches("\"k\":\"net.request\"").count(), text.matches("\"k\":\"net.reply\"").count(), "{text}");
}

#[test]
fn a_connection_that_is_given_up_before_the_disk_has_it_has_an_end_and_the_next_waits_too() {
    let (kept, journal) = Kept::new("connection");
    let account = journal.account(None);
    for _ in 0..2 {
        let mut opening = pin!(account.open(host(), 443, DIRECT, Some(permit(None))));
        let polled = opening.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        assert!(polled.is_pending(), "the first word to a host waits for the disk");
    }
    drop(account);
    journal.close(Cause::Exit, 0).expect("it closes");
    let text = kept.text();
    assert_eq!(text.matches("given up before it began").count(), 2, "{text}");
    assert_eq!(text.matches("\"k\":\"net.open\"").count(), 2, "{text}");
}

#[test]
fn words_of_others_never_keep_an_end_out_of_the_log() {
    let (kept, journal) = Kept::new("words");
    let account = journal.account(None);
    let connection = block_on(account.open(host(), 443, DIRECT, None)).expect("it is let through");
    let admitting = account.admit(&connection, permit(Some("/v1")), None, vec![used()]);
    let admitted = block_on(admitting).expect("it may go");
    let long = "\u{1}ü".repeat(20_000);
    account
        .refused(Some(&connection), Wanted { host: long.clone(), ..Wanted::default() }, "malformed", &long)
        .expect("it fits");
    account.canary(Some(&connection), None, &long, &long).expect("it fits");
    account.answered(admitted, Reply { fault: Some(long.clone()), ..Reply::default() }).expect("it fits");
    account.close(connection, Total { fault: Some(long), ..Total::default() }).expect("it fits");
    drop(account);
    journal.close(Cause::Exit, 0).expect("it closes");
    assert!(kept.text().contains('…'), "what was cut does not show it");
}
