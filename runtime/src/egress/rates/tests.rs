//! Buckets against a model that counts in the plainest way, with a clock that the test turns.

use super::*;
use crate::egress::testing::profile;
use proptest::prelude::*;

/// Two endpoints with rates, one without.
const GRANTS: &str = "
[[grant.net]]
host = \"a.test\"
rate = { requests_per_s = 2, burst = 3 }
reason = \"a test\"
[[grant.net]]
host = \"b.test\"
rate = { requests_per_s = 7, burst = 1 }
reason = \"a test\"
[[grant.net]]
host = \"c.test\"
reason = \"a test\"
";

struct Bench {
    rates: Rates,
    rules: Vec<RuleId>,
    now_ns: Arc<AtomicU64>,
}

fn bench(limits: &str) -> Bench {
    let profile = profile(&format!("{GRANTS}[limits]\n{limits}"));
    let now_ns = Arc::new(AtomicU64::new(0));
    let clock = Arc::clone(&now_ns);
    let rates = Rates::with_clock(&profile, move || Duration::from_nanos(clock.load(Ordering::Relaxed)));
    Bench { rates, rules: profile.net_grants().map(|(_, rule)| rule.clone()).collect(), now_ns }
}

/// A bucket in whole billionths of a token, filled second by second's share: what the words "rate" and "burst" say.
struct Model {
    rate: u128,
    burst: u128,
    tokens: u128,
    last_ns: u64,
}

const WHOLE: u128 = 1_000_000_000;

impl Model {
    fn new(rate: u64, burst: u64) -> Self {
        Self { rate: rate.into(), burst: burst.into(), tokens: u128::from(burst) * WHOLE, last_ns: 0 }
    }

    fn has_token(&mut self, now_ns: u64) -> bool {
        self.tokens += u128::from(now_ns - self.last_ns) * self.rate;
        self.tokens = self.tokens.min(self.burst * WHOLE);
        self.last_ns = now_ns;
        self.tokens >= WHOLE
    }

    fn take(&mut self) {
        self.tokens -= WHOLE;
    }
}

proptest! {
    #[test]
    fn no_more_passes_than_the_model_allows(
        steps in prop::collection::vec((0_usize..3, 0_u64..400), 1..300),
        rate in 1_u64..20,
        burst in 1_u64..10,
    ) {
        // Rates that divide a second evenly, so that rounding in our favour cannot hide a difference.
        let rate = [1, 2, 4, 5, 8, 10, 16, 20][usize::try_from(rate % 8).expect("it is small")];
        let bench = bench(&format!("requests_per_s = {rate}\nburst = {burst}"));
        let mut session = Model::new(rate, burst);
        let mut endpoints = [Some(Model::new(2, 3)), None, None];
        let mut now_ns = 0;
        for (endpoint, wait_ms) in steps {
            // The endpoint with 7 a second is left out: a seventh of a second is no whole number of nanoseconds.
            let endpoint = if endpoint == 1 { 2 } else { endpoint };
            now_ns += wait_ms * 1_000_000;
            bench.now_ns.store(now_ns, Ordering::Relaxed);
            let session_has = session.has_token(now_ns);
            let endpoint_has = endpoints[endpoint].as_mut().is_none_or(|model| model.has_token(now_ns));
            let passed = bench.rates.request(&bench.rules[endpoint]).is_ok();
            prop_assert_eq!(passed, session_has && endpoint_has);
            if passed {
                session.take();
                if let Some(model) = endpoints[endpoint].as_mut() {
                    model.take();
                }
            }
        }
    }

    #[test]
    fn a_rate_that_divides_unevenly_never_lets_more_through(waits_us in prop::collection::vec(0_u64..300_000, 1..300)) {
        let bench = bench("");
        let mut model = Model::new(7, 1);
        let mut now_ns = 0;
        for wait_us in waits_us {
            now_ns += wait_us * 1000;
            bench.now_ns.store(now_ns, Ordering::Relaxed);
            let has = model.has_token(now_ns);
            if bench.rates.request(&bench.rules[1]).is_ok() {
                prop_assert!(has);
                model.take();
            }
        }
    }

    #[test]
    fn the_time_to_wait_is_long_enough_and_no_longer(waits_us in prop::collection::vec(0_u64..900_000, 1..100)) {
        let bench = bench("requests_per_s = 3\nburst = 2");
        for wait_us in waits_us {
            bench.now_ns.fetch_add(wait_us * 1000, Ordering::Relaxed);
            if let Err(over) = bench.rates.request(&bench.rules[0]) {
                let wait = u64::try_from(over.retry_after.expect("a rate recovers").as_nanos()).expect("it is short");
                bench.now_ns.fetch_add(wait - 1, Ordering::Relaxed);
                prop_assert!(bench.rates.request(&bench.rules[0]).is_err());
                bench.now_ns.fetch_add(1, Ordering::Relaxed);
                let again = bench.rates.request(&bench.rules[0]);
                // The other of the two buckets may be the next to say no.
                prop_assert!(again.is_ok() || again.err().map(|again| again.rule) != Some(over.rule));
            }
        }
    }

    #[test]
    fn a_budget_is_never_overdrawn(sizes in prop::collection::vec(0_u64..400_000, 1..40)) {
        let bench = bench("egress_mib = 2");
        let mut left = 2_u64 << 20;
        for bytes in sizes {
            let passed = bench.rates.spend(bytes).is_ok();
            prop_assert_eq!(passed, bytes <= left);
            left -= if passed { bytes } else { 0 };
            prop_assert_eq!(bench.rates.left_bytes(), Some(left));
        }
    }
}

#[test]
fn a_refused_request_takes_nothing() {
    let bench = bench("requests_per_s = 1\nburst = 2");
    bench.rates.request(&bench.rules[1]).expect("the first of b");
    let over = bench.rates.request(&bench.rules[1]).expect_err("b has one at a time");
    assert_eq!(over.rule.as_ref(), Some(&bench.rules[1]));
    assert_eq!((over.limit, over.value), ("requests_per_s", 7));
    bench.rates.request(&bench.rules[2]).expect("the session still has the token that b did not take");
    let over = bench.rates.request(&bench.rules[0]).expect_err("the session has none");
    assert_eq!((over.rule, over.value), (None, 1));
    bench.now_ns.store(NS_PER_S, Ordering::Relaxed);
    for _ in 0..3 {
        bench.now_ns.fetch_add(NS_PER_S, Ordering::Relaxed);
        bench.rates.request(&bench.rules[0]).expect("a kept its three");
    }
}

#[test]
fn what_is_not_limited_passes() {
    let bench = bench("");
    for _ in 0..10_000 {
        bench.rates.request(&bench.rules[2]).expect("nothing limits c");
        bench.rates.spend(u64::MAX).expect("nothing limits bytes");
    }
    assert_eq!(bench.rates.left_bytes(), None);
}

#[test]
fn a_clock_at_its_end_refuses() {
    let bench = bench("requests_per_s = 5");
    bench.now_ns.store(u64::MAX, Ordering::Relaxed);
    bench.rates.request(&bench.rules[2]).expect_err("there is no time left to count in");
}

#[test]
fn slots_come_back_and_no_more_than_there_are() {
    let bench = bench("");
    let mut held: Vec<_> = (0..CONNECTIONS_MAX).map(|_| bench.rates.connection().expect("there is room")).collect();
    let over = bench.rates.connection().expect_err("there is none left");
    assert_eq!((over.limit, over.value, over.retry_after), ("connections", 1024, None));
    drop(bench.rates.in_flight().expect("requests are counted apart"));
    held.pop();
    drop(bench.rates.connection().expect("one came back"));
}

#[test]
fn many_threads_do_not_overdraw() {
    let bench = bench("egress_mib = 1\nburst = 100\nrequests_per_s = 1");
    let count = |act: &(dyn Fn() -> bool + Sync)| -> usize {
        std::thread::scope(|scope| {
            let threads: Vec<_> = (0..8).map(|_| scope.spawn(|| (0..1000).filter(|_| act()).count())).collect();
            threads.into_iter().map(|thread| thread.join().expect("it does not panic")).sum()
        })
    };
    assert_eq!(count(&|| bench.rates.spend(1024).is_ok()), 1024);
    assert_eq!(count(&|| bench.rates.request(&bench.rules[2]).is_ok()), 100);
}
