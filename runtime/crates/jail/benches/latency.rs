//! Latency of cold sandboxes and warm calls, side by side with bubblewrap and with a bare start of the same program.
//! It never judges: it prints medians and ratios; `ROUNDS` rounds, interleaved, so that the machine's moods hit all alike.
#![expect(clippy::disallowed_methods, reason = "a bench that starts the programs it compares with")]
#![expect(clippy::print_stdout, reason = "what a bench is for")]

#[path = "../tests/common/mod.rs"]
mod common;

use common::{Scratch, command, options, plan, start};
use std::process::Stdio as Std;
use std::time::{Duration, Instant};
use stockade_jail::{Sandbox, Status, Stdio};

const ROUNDS: usize = 200;

fn main() {
    let scratch = Scratch::new();
    let plan = plan(scratch.path());
    let warm = start(&plan);
    let bwrap = timed(bubblewrap).is_some();
    let mut series: [(&str, Vec<Duration>); 7] = [
        ("bare fork+exec", Vec::new()),
        ("bwrap", Vec::new()),
        ("warm call", Vec::new()),
        ("cold, to first result", Vec::new()),
        ("of that, start", Vec::new()),
        ("end of a sandbox", Vec::new()),
        ("bwrap, / and no more", Vec::new()),
    ];
    for _ in 0..ROUNDS {
        let mut push = |index: usize, time: Duration| series[index].1.push(time);
        push(0, timed(bare).expect("true runs"));
        if bwrap {
            push(1, timed(bubblewrap).expect("bwrap ran before"));
            push(6, timed(lean_bubblewrap).expect("bwrap ran before"));
        }
        push(2, timed(|| call(&warm)).expect("a call runs"));
        let began = Instant::now();
        let cold = Sandbox::start(&plan, &options()).expect("a sandbox starts");
        let started = began.elapsed();
        call(&cold);
        push(3, began.elapsed());
        push(4, started);
        let ending = Instant::now();
        drop(cold);
        push(5, ending.elapsed());
    }
    let bare = median(&mut series[0].1);
    let fresh = if bwrap { Some(median(&mut series[1].1)) } else { None };
    for (name, times) in &mut series {
        if times.is_empty() {
            println!("{name:<24} SKIPPED: no bwrap");
            continue;
        }
        let p50 = median(times);
        let p95 = times[times.len() * 95 / 100];
        let ratio = |other: Duration| p50.as_secs_f64() / other.as_secs_f64();
        let to_bwrap = fresh.map(|fresh| format!("{:>6.2} x bwrap", ratio(fresh))).unwrap_or_default();
        println!(
            "{name:<24} p50 {:>7} us  p95 {:>7} us  {:>6.2} x bare {to_bwrap}",
            p50.as_micros(),
            p95.as_micros(),
            ratio(bare)
        );
    }
}

fn timed(work: impl FnOnce() -> bool) -> Option<Duration> {
    let began = Instant::now();
    work().then(|| began.elapsed())
}

fn median(times: &mut [Duration]) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}

fn call(sandbox: &Sandbox) -> bool {
    let running = sandbox.spawn(&command(&["/usr/bin/true"]), Stdio::Pipes).expect("a call starts");
    running.wait().expect("a call ends").status == Status::Exited(0)
}

fn bare() -> bool {
    std::process::Command::new("/usr/bin/true")
        .env_clear()
        .stdin(Std::piped())
        .stdout(Std::piped())
        .stderr(Std::piped())
        .status()
        .is_ok_and(|status| status.success())
}

/// What a sandbox of ours has at the least: namespaces, the system read-only, its own `/proc`, `/dev` and `/tmp`.
const BWRAP: [&str; 12] = [
    "--unshare-all",
    "--die-with-parent",
    "--ro-bind",
    "/",
    "/",
    "--proc",
    "/proc",
    "--dev",
    "/dev",
    "--tmpfs",
    "/tmp",
    "/usr/bin/true",
];

fn bubblewrap() -> bool {
    bwrap(&BWRAP)
}

/// The least that bwrap can do.
fn lean_bubblewrap() -> bool {
    bwrap(&["--unshare-all", "--ro-bind", "/", "/", "/usr/bin/true"])
}

fn bwrap(arguments: &[&str]) -> bool {
    std::process::Command::new("bwrap")
        .args(arguments)
        .stdout(Std::null())
        .stderr(Std::null())
        .status()
        .is_ok_and(|status| status.success())
}
