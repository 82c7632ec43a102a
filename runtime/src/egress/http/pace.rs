//! Holds whoever owes bytes to a pace, and everybody to a sign of life.
//! It never counts time in which nobody waited for the bytes.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::time::{Instant, Sleep};

/// Bytes that must come within a window, of a body whose length was said.
const WINDOW_BYTES_MIN: usize = 1024;
/// The window for a client.
const CLIENT_WINDOW: Duration = Duration::from_secs(60);
/// The window for an upstream, which may have to make what it said.
const UPSTREAM_WINDOW: Duration = Duration::from_secs(300);
/// How long a stream without a length may be silent: events, long polls, calls in both directions.
pub(super) const SILENCE: Duration = Duration::from_secs(3600);

const _: () =
    assert!(CLIENT_WINDOW.as_secs() <= UPSTREAM_WINDOW.as_secs() && UPSTREAM_WINDOW.as_secs() < SILENCE.as_secs());

/// Whose bytes are waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sender {
    Client,
    Upstream,
}

/// Whether the bytes that are waited for were promised.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Owed {
    /// Their number was said.
    Yes,
    /// They come when there are some.
    No,
}

/// Bytes did not come in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Late {
    sender: Sender,
    limit: Duration,
    owed: Owed,
}

impl fmt::Display for Late {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let who = match self.sender {
            Sender::Client => "the client",
            Sender::Upstream => "the upstream",
        };
        match self.owed {
            Owed::Yes => write!(f, "{who} owes a body and sends less than 1 KiB of it in {} s", self.limit.as_secs()),
            Owed::No => write!(f, "{who} sends nothing for {} s", self.limit.as_secs()),
        }
    }
}

/// The pace of one body.
#[derive(Debug)]
pub(super) struct Pace {
    sender: Sender,
    owed: Owed,
    /// Of the window.
    left: Duration,
    came_bytes: usize,
    since: Option<Instant>,
    /// Made at the first wait: most bodies are there at once.
    sleep: Option<Pin<Box<Sleep>>>,
}

impl Pace {
    pub(super) fn of(sender: Sender, owed: Owed) -> Self {
        Self { sender, owed, left: window(sender, owed), came_bytes: 0, since: None, sleep: None }
    }

    /// So many bytes came.
    pub(super) fn came(&mut self, bytes: usize) {
        if let Some(since) = self.since.take() {
            self.left = self.left.saturating_sub(since.elapsed());
        }
        self.came_bytes = self.came_bytes.saturating_add(bytes);
        let enough = match self.owed {
            Owed::Yes => WINDOW_BYTES_MIN,
            Owed::No => 1,
        };
        if self.came_bytes >= enough {
            (self.left, self.came_bytes) = (window(self.sender, self.owed), 0);
        }
    }

    /// None came.
    pub(super) fn poll_late(&mut self, cx: &mut Context<'_>) -> Poll<Late> {
        let sleep = self.sleep.get_or_insert_with(|| Box::pin(tokio::time::sleep(Duration::ZERO)));
        if self.since.is_none() {
            let now = Instant::now();
            self.since = Some(now);
            sleep.as_mut().reset(now + self.left);
        }
        ready!(sleep.as_mut().poll(cx));
        Poll::Ready(Late { sender: self.sender, limit: window(self.sender, self.owed), owed: self.owed })
    }
}

const fn window(sender: Sender, owed: Owed) -> Duration {
    match (sender, owed) {
        (Sender::Client, Owed::Yes) => CLIENT_WINDOW,
        (Sender::Upstream, Owed::Yes) => UPSTREAM_WINDOW,
        (_, Owed::No) => SILENCE,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::poll_fn;

    async fn late(pace: &mut Pace, within: u64) -> Option<Late> {
        tokio::time::timeout(Duration::from_secs(within), poll_fn(|cx| pace.poll_late(cx))).await.ok()
    }

    #[tokio::test(start_paused = true)]
    async fn who_owes_bytes_and_dribbles_them_is_given_up() {
        let mut pace = Pace::of(Sender::Client, Owed::Yes);
        assert_eq!(late(&mut pace, 50).await, None);
        pace.came(1);
        let told = late(&mut pace, 11).await.expect("one byte buys no time").to_string();
        assert!(told.contains("owes") && told.contains("60 s"), "{told}");
    }

    #[tokio::test(start_paused = true)]
    async fn who_sends_enough_may_go_on_for_ever() {
        let mut pace = Pace::of(Sender::Client, Owed::Yes);
        for _ in 0..100 {
            assert_eq!(late(&mut pace, 50).await, None);
            pace.came(WINDOW_BYTES_MIN);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn time_in_which_nobody_waits_does_not_count() {
        let mut pace = Pace::of(Sender::Client, Owed::Yes);
        assert_eq!(late(&mut pace, 50).await, None);
        pace.came(1);
        tokio::time::sleep(Duration::from_secs(1000)).await;
        assert_eq!(late(&mut pace, 5).await, None);
        assert!(late(&mut pace, 10).await.is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn a_stream_may_be_silent_for_long_and_not_for_ever() {
        for sender in [Sender::Client, Sender::Upstream] {
            let mut pace = Pace::of(sender, Owed::No);
            for _ in 0..10 {
                assert_eq!(late(&mut pace, 3500).await, None);
                pace.came(1);
            }
            assert!(late(&mut pace, 3601).await.is_some());
        }
    }
}
