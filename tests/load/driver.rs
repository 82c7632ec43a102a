//! Carries out the commands of the bench on connections that stay open between them.
//! It never opens or closes a connection while it measures requests.
//!
//! | Line | Does | Answers |
//! | --- | --- | --- |
//! | `open N` | opens N connections, at most 32 at a time, with a request on each | `opened`, `failed`, `why`, `seconds` |
//! | `load PATH SECONDS` | asks on all connections at once | `requests`, `failed`, `seconds`, `p50_us`, `p99_us` |
//! | `ask PATH` | asks once on each connection | `requests`, `failed` |
//! | `tunnels SECONDS N` | opens, asks once, closes, N at a time | `tunnels`, `failed`, `seconds`, `p50_us`, `p99_us` |
//! | `events COUNT MS` | takes in events on the first connection | `events`, `p50_us`, `p99_us` |
//! | `close` | closes all connections | `closed` |

use crate::Failure;
use crate::client::{Client, Target};
use serde_json::{Value, json};
use std::io::Write as _;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::task::JoinSet;

/// Connections that are being opened at a time.
const OPENING_MAX: usize = 32;
/// What the first request on a connection is for.
const SMALL: &str = "/256";

/// Obeys lines until there are no more.
pub(crate) async fn drive(target: Target) -> Result<(), Failure> {
    let mut driver = Driver { target: Arc::new(target), clients: Vec::new() };
    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    let mut out = std::io::stdout();
    while let Some(line) = lines.next_line().await? {
        let told = driver.obey(&line).await.unwrap_or_else(|failure| json!({ "error": failure.to_string() }));
        writeln!(out, "{told}")?;
        out.flush()?;
    }
    Ok(())
}

struct Driver {
    target: Arc<Target>,
    clients: Vec<Client>,
}

/// What one task found: its connection if that still works, and the time of each request.
struct Found {
    client: Option<Client>,
    times: Vec<Duration>,
    failure: Option<String>,
}

impl Driver {
    async fn obey(&mut self, line: &str) -> Result<Value, Failure> {
        match line.split_whitespace().collect::<Vec<_>>().as_slice() {
            ["open", count] => self.open(count.parse()?).await,
            ["load", path, seconds] => self.load(path, Some(seconds_of(seconds)?)).await,
            ["ask", path] => self.load(path, None).await,
            ["tunnels", seconds, count] => self.tunnels(seconds_of(seconds)?, count.parse()?).await,
            ["events", count, pause] => self.events(&format!("/events/{count}/{pause}")).await,
            ["close"] => Ok(json!({ "closed": std::mem::take(&mut self.clients).len() })),
            _ => Err(format!("no command: {line:?}").into()),
        }
    }

    async fn open(&mut self, count: usize) -> Result<Value, Failure> {
        let begun = Instant::now();
        let mut tasks = JoinSet::new();
        let (mut asked, mut failures) = (0, Vec::new());
        while asked < count || !tasks.is_empty() {
            while asked < count && tasks.len() < OPENING_MAX {
                tasks.spawn(opened(Arc::clone(&self.target)));
                asked += 1;
            }
            let Some(found) = tasks.join_next().await else { break };
            let found = found?;
            self.clients.extend(found.client);
            failures.extend(found.failure);
        }
        Ok(json!({
            "opened": self.clients.len(), "failed": failures.len(), "why": failures.first(),
            "seconds": begun.elapsed().as_secs_f64(),
        }))
    }

    /// Asks on all connections until the time is over, or once.
    async fn load(&mut self, path: &str, lasting: Option<Duration>) -> Result<Value, Failure> {
        let request: Arc<[u8]> = self.target.request(path).into();
        let begun = Instant::now();
        let mut tasks = JoinSet::new();
        for mut client in std::mem::take(&mut self.clients) {
            let request = Arc::clone(&request);
            tasks.spawn(async move {
                let mut times = Vec::new();
                loop {
                    let asked = Instant::now();
                    if let Err(failure) = client.ask(&request).await {
                        return Found { client: None, times, failure: Some(failure.to_string()) };
                    }
                    times.push(asked.elapsed());
                    if lasting.is_none_or(|lasting| begun.elapsed() >= lasting) {
                        return Found { client: Some(client), times, failure: None };
                    }
                }
            });
        }
        let mut all = Vec::new();
        let mut failures = Vec::new();
        while let Some(found) = tasks.join_next().await {
            let found = found?;
            self.clients.extend(found.client);
            all.extend(found.times);
            failures.extend(found.failure);
        }
        Ok(told("requests", begun, all, &failures))
    }

    async fn tunnels(&self, lasting: Duration, count: usize) -> Result<Value, Failure> {
        let begun = Instant::now();
        let mut tasks = JoinSet::new();
        for _ in 0..count {
            let target = Arc::clone(&self.target);
            tasks.spawn(async move {
                let mut times = Vec::new();
                while begun.elapsed() < lasting {
                    let asked = Instant::now();
                    if let Some(failure) = opened(Arc::clone(&target)).await.failure {
                        return (times, Some(failure));
                    }
                    times.push(asked.elapsed());
                }
                (times, None)
            });
        }
        let (mut all, mut failures) = (Vec::new(), Vec::new());
        while let Some(found) = tasks.join_next().await {
            let (times, failure) = found?;
            all.extend(times);
            failures.extend(failure);
        }
        Ok(told("tunnels", begun, all, &failures))
    }

    async fn events(&mut self, path: &str) -> Result<Value, Failure> {
        let begun = Instant::now();
        let request = self.target.request(path);
        let delays = self.clients.first_mut().ok_or("no connection is open")?.events(&request).await?;
        Ok(told("events", begun, delays, &[]))
    }
}

/// A new connection, with one request done on it.
async fn opened(target: Arc<Target>) -> Found {
    let done = async {
        let mut client = target.connect().await?;
        client.ask(&target.request(SMALL)).await?;
        Ok::<_, Failure>(client)
    };
    match done.await {
        Ok(client) => Found { client: Some(client), times: Vec::new(), failure: None },
        Err(failure) => Found { client: None, times: Vec::new(), failure: Some(failure.to_string()) },
    }
}

fn told(what: &str, begun: Instant, mut times: Vec<Duration>, failures: &[String]) -> Value {
    let seconds = begun.elapsed().as_secs_f64();
    times.sort_unstable();
    let at = |percent: usize| {
        let index = (times.len() * percent / 100).min(times.len().saturating_sub(1));
        times.get(index).map(|time| time.as_secs_f64() * 1e6)
    };
    json!({
        what: times.len(), "failed": failures.len(), "why": failures.first(), "seconds": seconds,
        "p50_us": at(50), "p99_us": at(99),
    })
}

fn seconds_of(word: &str) -> Result<Duration, Failure> {
    Ok(Duration::try_from_secs_f64(word.parse()?)?)
}
