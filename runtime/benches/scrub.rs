//! What scrubbing costs beside copying: large chunks, events of a stream, with one secret, a few and many.
//! It never judges: it prints throughputs, and for each how many copies of the same bytes the scrub costs.
//!
//! `cargo bench -p stockade --bench scrub`; under `chrt -f 10` where others use the machine too.
#![expect(clippy::print_stdout, reason = "what a bench is for")]

use bytes::Bytes;
use criterion::{BenchmarkId, Criterion, Throughput};
use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};
use stockade::secrets::scrub::{Patterns, Scrubber, Watched};

const CHUNK_BYTES: usize = 64 * 1024;

/// Makes a body.
type Make = fn() -> Vec<u8>;

/// What comes back, without a secret in it.
const BODIES: [(&str, Make); 4] = [
    ("json", json),
    ("base64", || letters(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/")),
    ("hex", || letters(b"0123456789abcdef")),
    ("binary", || random().take(CHUNK_BYTES).collect()),
];

/// How many secrets, of how many bytes.
const SECRETS: [(usize, usize); 5] = [(1, 40), (1, 8), (10, 40), (64, 40), (1, 3200)];

fn main() {
    let mut criterion = Criterion::default().configure_from_args().measurement_time(Duration::from_secs(1));
    criterion = criterion.warm_up_time(Duration::from_millis(300)).sample_size(20);
    for (kind, make) in BODIES {
        let body = Bytes::from(make());
        let mut group = criterion.benchmark_group(format!("64 KiB of {kind}"));
        group.throughput(Throughput::Bytes(body.len() as u64));
        group.bench_function("memcpy", |bencher| bencher.iter(|| black_box(body.to_vec())));
        for (count, bytes) in SECRETS {
            let patterns = patterns(count, bytes);
            let mut scrubber = Scrubber::new(patterns);
            let id = BenchmarkId::new("scrub", format!("{count} secrets of {bytes}"));
            group.bench_function(id, |bencher| bencher.iter(|| scrubber.push_parts(black_box(body.clone()))));
        }
        group.finish();
    }
    events(&mut criterion);
    ratios();
    criterion.final_summary();
}

/// Events as a model's answer has them, one chunk each.
fn events(criterion: &mut Criterion) {
    let event = Bytes::from_static(
        b"event: delta\ndata: {\"type\":\"delta\",\"index\":0,\"delta\":{\"type\":\"text\",\"text\":\" hello\"}}\n\n",
    );
    let mut group = criterion.benchmark_group("one event");
    group.throughput(Throughput::Bytes(event.len() as u64));
    group.bench_function("memcpy", |bencher| bencher.iter(|| black_box(event.to_vec())));
    for (count, bytes) in SECRETS {
        let mut scrubber = Scrubber::new(patterns(count, bytes));
        let id = BenchmarkId::new("scrub", format!("{count} secrets of {bytes}"));
        group.bench_function(id, |bencher| bencher.iter(|| scrubber.push_parts(black_box(event.clone()))));
    }
    group.finish();
}

/// Scrub and copy in turns, so that the machine's moods hit both alike; the medians.
fn ratios() {
    for (kind, make) in BODIES {
        let body = Bytes::from(make());
        for (count, bytes) in SECRETS {
            let mut scrubber = Scrubber::new(patterns(count, bytes));
            let (mut copied, mut scrubbed) = (Vec::new(), Vec::new());
            for _ in 0..2_000 {
                let began = Instant::now();
                black_box(body.to_vec());
                copied.push(began.elapsed());
                let began = Instant::now();
                black_box(scrubber.push_parts(black_box(body.clone())));
                scrubbed.push(began.elapsed());
            }
            copied.sort();
            scrubbed.sort();
            let (copy, scrub) = (copied[copied.len() / 2], scrubbed[scrubbed.len() / 2]);
            println!(
                "64 KiB of {kind:<7} {count:>3} secrets of {bytes:>4} bytes: scrub {:>6.2} GB/s, memcpy {:>6.2} GB/s, ratio {:.1}",
                rate(scrub),
                rate(copy),
                scrub.as_secs_f64() / copy.as_secs_f64()
            );
        }
    }
}

fn rate(time: Duration) -> f64 {
    CHUNK_BYTES as f64 / time.as_secs_f64() / 1e9
}

fn patterns(count: usize, bytes: usize) -> Arc<Patterns> {
    let base: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut source = random();
    let mut one = || (0..bytes).zip(&mut source).map(|(_, byte)| base[usize::from(byte & 63)]).collect::<Vec<u8>>();
    let secrets: Vec<_> = (0..count).map(|_| one()).collect();
    Arc::new(Patterns::new(secrets.iter().map(|plain| Watched { name: "key", plain, user: Some("user") })))
}

fn json() -> Vec<u8> {
    let mut text = Vec::new();
    for number in 0.. {
        let row = format!(
            "{{\"id\":{number},\"name\":\"person number {number}\",\"email\":\"p{number}@example.test\",\"active\":true}},\n"
        );
        text.extend(row.bytes());
        if text.len() >= CHUNK_BYTES {
            break;
        }
    }
    text.truncate(CHUNK_BYTES);
    text
}

fn letters(set: &[u8]) -> Vec<u8> {
    random().take(CHUNK_BYTES).map(|byte| set[usize::from(byte) % set.len()]).collect()
}

/// Marsaglia's xorshift: the same bytes each time.
fn random() -> impl Iterator<Item = u8> {
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    std::iter::repeat_with(move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[7]
    })
}
