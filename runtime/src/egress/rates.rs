//! Token buckets and budgets; both fail closed.
//! It never waits: it answers at once.
//!
//! The buckets are ours rather than a crate's: a request takes a token of its session *and* of its endpoint or of none,
//! which needs one look at both under one lock, and that is most of what there is (GCRA, one number a bucket).

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use stockade_policy::{ExpandedProfile, Limit, Rate, RuleId};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

#[cfg(test)]
mod tests;

/// Connections of one session at a time.
pub const CONNECTIONS_MAX: usize = 1024;
/// Requests of one session at a time, over all its connections.
pub const REQUESTS_MAX: usize = 4096;
const _: () = assert!(CONNECTIONS_MAX <= REQUESTS_MAX);

const NS_PER_S: u64 = 1_000_000_000;

/// A limit is reached: what wanted to pass must not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Over {
    /// Name of the limit, as in a profile where it stands there.
    pub limit: &'static str,
    /// The rule that set it; `None` for a limit of the session or of our own.
    pub rule: Option<RuleId>,
    /// Its value, in the unit of its name.
    pub value: u64,
    /// When to try again; `None` when that depends on others, or it will never pass.
    pub retry_after: Option<Duration>,
}

impl fmt::Display for Over {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "limit \"{}\" of {} is reached", self.limit, self.value)?;
        if let Some(rule) = &self.rule {
            write!(f, " (rule {rule})")?;
        }
        match self.retry_after {
            Some(wait) => write!(f, ", try again in {} ms", wait.as_millis().max(1)),
            None => Ok(()),
        }
    }
}

/// A place among the connections or requests that there may be at a time; free again when dropped.
#[derive(Debug)]
#[must_use = "a slot that is dropped is free for somebody else"]
pub struct Slot(#[expect(dead_code, reason = "held for its drop alone")] OwnedSemaphorePermit);

/// Time since some moment, which never goes back.
type Clock = Box<dyn Fn() -> Duration + Send + Sync>;

/// The limits of one session's outlet.
pub struct Rates {
    clock: Clock,
    buckets: Mutex<Buckets>,
    /// Bytes that may still go out; `None` is no limit.
    budget: Option<Budget>,
    connections: Arc<Semaphore>,
    requests: Arc<Semaphore>,
}

#[derive(Debug)]
struct Budget {
    mib: u64,
    left: AtomicU64,
}

#[derive(Debug)]
struct Buckets {
    session: Option<Bucket>,
    endpoints: BTreeMap<RuleId, Bucket>,
}

/// The generic cell rate algorithm (ITU-T I.371): a bucket is the time at which it would be full again.
#[derive(Debug, Clone, Copy)]
struct Bucket {
    rate: Rate,
    /// Nanoseconds since the clock's beginning. Written only by `take`.
    full_ns: u64,
}

impl fmt::Debug for Rates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rates").field("buckets", &self.buckets).field("budget", &self.budget).finish_non_exhaustive()
    }
}

impl Rates {
    /// The limits of a profile.
    pub fn new(profile: &ExpandedProfile) -> Self {
        let began = Instant::now();
        Self::with_clock(profile, move || began.elapsed())
    }

    /// The same with another clock, which must never go back.
    pub fn with_clock(profile: &ExpandedProfile, clock: impl Fn() -> Duration + Send + Sync + 'static) -> Self {
        let limits = profile.limits();
        let endpoints = profile.net_grants().filter_map(|(net, rule)| Some((rule.clone(), Bucket::new(net.rate?))));
        let session = session_rate(limits.get(Limit::RequestsPerS), limits.get(Limit::Burst)).map(Bucket::new);
        let budget = limits.get(Limit::EgressMib).map(|mib| Budget { mib, left: AtomicU64::new(mib << 20) });
        Self {
            clock: Box::new(clock),
            buckets: Mutex::new(Buckets { session, endpoints: endpoints.collect() }),
            budget,
            connections: Arc::new(Semaphore::new(CONNECTIONS_MAX)),
            requests: Arc::new(Semaphore::new(REQUESTS_MAX)),
        }
    }

    /// A request to the endpoint that `rule` grants: takes a token of the session and of the endpoint, or of neither.
    ///
    /// # Errors
    /// One of them has none left.
    pub fn request(&self, rule: &RuleId) -> Result<(), Over> {
        let now = u64::try_from((self.clock)().as_nanos()).unwrap_or(u64::MAX);
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        let Buckets { session, endpoints } = &mut *buckets;
        let endpoint = endpoints.get_mut(rule);
        let over = |rule: Option<&RuleId>, full: Full| Over {
            limit: Limit::RequestsPerS.key(),
            rule: rule.cloned(),
            value: full.rate.requests_per_s,
            retry_after: Some(full.wait),
        };
        let next_session = session.map(|bucket| bucket.take(now)).transpose().map_err(|full| over(None, full))?;
        let next_endpoint = endpoint.as_ref().map(|bucket| bucket.take(now)).transpose();
        let next_endpoint = next_endpoint.map_err(|full| over(Some(rule), full))?;
        *session = next_session;
        if let (Some(slot), Some(next)) = (endpoint, next_endpoint) {
            *slot = next;
        }
        Ok(())
    }

    /// Bytes want to go out. They count at once, whether or not they are sent in the end.
    ///
    /// # Errors
    /// The budget has fewer left; then none of them may go, and the budget stays as it is.
    pub fn spend(&self, bytes: u64) -> Result<(), Over> {
        let Some(Budget { mib, left }) = &self.budget else { return Ok(()) };
        let taken = left.fetch_update(Ordering::AcqRel, Ordering::Acquire, |left| left.checked_sub(bytes));
        let over = |_| Over { limit: Limit::EgressMib.key(), rule: None, value: *mib, retry_after: None };
        taken.map(drop).map_err(over)
    }

    /// Bytes of the budget that are left; `None` is no limit.
    #[cfg(test)]
    fn left_bytes(&self) -> Option<u64> {
        self.budget.as_ref().map(|budget| budget.left.load(Ordering::Acquire))
    }

    /// A place for a connection.
    ///
    /// # Errors
    /// [`CONNECTIONS_MAX`] are open.
    pub fn connection(&self) -> Result<Slot, Over> {
        slot(&self.connections, "connections", CONNECTIONS_MAX)
    }

    /// A place for a request that is on its way.
    ///
    /// # Errors
    /// [`REQUESTS_MAX`] are on their way.
    pub fn in_flight(&self) -> Result<Slot, Over> {
        slot(&self.requests, "requests in flight", REQUESTS_MAX)
    }
}

fn slot(semaphore: &Arc<Semaphore>, limit: &'static str, max: usize) -> Result<Slot, Over> {
    let value = u64::try_from(max).unwrap_or(u64::MAX);
    let taken = Arc::clone(semaphore).try_acquire_owned();
    taken.map(Slot).map_err(|_| Over { limit, rule: None, value, retry_after: None })
}

/// A burst without a rate refills itself once a second, a rate without a burst lets one second's requests come at once:
/// as for an endpoint.
fn session_rate(requests_per_s: Option<u64>, burst: Option<u64>) -> Option<Rate> {
    let requests_per_s = requests_per_s.or(burst)?;
    Some(Rate { requests_per_s, burst: burst.unwrap_or(requests_per_s) })
}

/// No token is left.
struct Full {
    rate: Rate,
    wait: Duration,
}

impl Bucket {
    const fn new(rate: Rate) -> Self {
        Self { rate, full_ns: 0 }
    }

    /// The bucket with one token less. Each division rounds so that no more passes than the rate says.
    fn take(self, now_ns: u64) -> Result<Self, Full> {
        let each_ns = NS_PER_S.div_ceil(self.rate.requests_per_s.max(1));
        let depth_ns = each_ns.saturating_mul(self.rate.burst.max(1));
        let full_ns = self.full_ns.max(now_ns).saturating_add(each_ns);
        let ahead_ns = full_ns - now_ns;
        if ahead_ns > depth_ns || full_ns == u64::MAX {
            let wait = Duration::from_nanos(ahead_ns.saturating_sub(depth_ns).max(1));
            return Err(Full { rate: self.rate, wait });
        }
        Ok(Self { full_ns, ..self })
    }
}
