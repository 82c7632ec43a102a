//! What a worker costs: from asking for one to its being confined, a word there and back, and its memory.
//! It never judges: it prints medians and tails; `ROUNDS` rounds, interleaved, so that the machine's moods hit all alike.
//!
//! `chrt -f 10 cargo bench -p stockade-jail --bench worker`
#![expect(clippy::disallowed_methods, reason = "a bench that starts the program it compares with")]
#![expect(clippy::print_stdout, reason = "what a bench is for")]
#![expect(unsafe_code, reason = "one static that the loader calls")]

#[path = "../tests/common/mod.rs"]
mod common;

use common::{Scratch, is_root, plan, start};
use rustix::net::{RecvFlags, SendFlags};
use std::time::{Duration, Instant};
use stockade_jail::{Kind, Sandbox, Unconfined, Worker};

const ROUNDS: usize = 200;
const WORKERS: usize = 50;

/// Called by the loader, as the init of `common` is.
#[used]
#[unsafe(link_section = ".init_array")]
static WORKER: extern "C" fn() = worker;

extern "C" fn worker() {
    stockade_jail::run_as_worker_if_asked(echo);
}

/// Says back what it hears.
fn echo(unconfined: Unconfined) -> i32 {
    let Ok(confined) = unconfined.irrevocably_confine() else { return 1 };
    let mut word = [0; 64];
    loop {
        match rustix::net::recv(&confined.channel, &mut word, RecvFlags::empty()) {
            Ok((0, _)) => return 0,
            Ok((length, _)) if rustix::net::send(&confined.channel, &word[..length], SendFlags::NOSIGNAL).is_ok() => {}
            Ok(_) | Err(_) => return 2,
        }
    }
}

fn main() {
    let scratch = Scratch::new();
    let sandbox = start(&plan(scratch.path()));
    let of = |kind: Kind| match kind {
        Kind::Compile => Worker::compiler(),
        Kind::Read | Kind::Write => sandbox.worker(kind),
    };
    let kinds = [Kind::Write, Kind::Read, Kind::Compile];
    let mut starts: [Vec<Duration>; 3] = Default::default();
    let (mut ends, mut words, mut bare) = (Vec::new(), Vec::new(), Vec::new());
    let steady = of(Kind::Write).expect("it starts");
    for _ in 0..ROUNDS {
        let began = Instant::now();
        std::process::Command::new("/bin/true").status().expect("true runs");
        bare.push(began.elapsed());
        for (kind, starts) in kinds.into_iter().zip(&mut starts) {
            let began = Instant::now();
            let worker = of(kind).expect("it starts");
            starts.push(began.elapsed());
            let began = Instant::now();
            drop(worker);
            ends.push(began.elapsed());
        }
        for _ in 0..20 {
            let began = Instant::now();
            say(&steady);
            words.push(began.elapsed());
        }
    }
    print("bare fork+exec", bare);
    for (kind, starts) in kinds.into_iter().zip(starts) {
        print(&format!("start, {kind}"), starts);
    }
    print("end, reaped", ends);
    print("a word there and back", words);
    if is_root() {
        memory(&sandbox);
    }
}

fn say(worker: &Worker) {
    let channel = worker.channel().expect("nobody took it");
    rustix::net::send(channel, b"x", SendFlags::NOSIGNAL).expect("it listens");
    rustix::net::recv(channel, &mut [0; 8], RecvFlags::empty()).expect("it answers");
}

/// A worker is closed to everybody of its user: only root reads what it takes.
fn memory(sandbox: &Sandbox) {
    let workers: Vec<_> = (0..WORKERS).map(|_| sandbox.worker(Kind::Read).expect("it starts")).collect();
    let sum = |what: &str| {
        workers.iter().map(|worker| field(worker.id().expect("one of this kernel"), what)).sum::<u64>() / WORKERS as u64
    };
    let (pss, dirty, rss) = (sum("Pss:"), sum("Private_Dirty:"), sum("Rss:"));
    println!("each of {WORKERS} workers: pss {pss} KiB, private dirty {dirty} KiB, rss {rss} KiB");
}

fn field(pid: u32, name: &str) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).expect("we are root");
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    line.and_then(|rest| rest.split_whitespace().next()?.parse().ok()).expect("the kernel's own text")
}

fn print(name: &str, mut times: Vec<Duration>) {
    times.sort_unstable();
    let at = |percent: usize| times[(times.len() - 1) * percent / 100].as_micros();
    println!("{name:>24}: p50 {:>6} us, p90 {:>6} us, p99 {:>6} us", at(50), at(90), at(99));
}
