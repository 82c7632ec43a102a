//! What the recorder costs: single calls of a guest, and warm calls of a sandbox, with and without it.
//! It never judges: it prints the fastest tenth and the median, interleaved, so that the machine's moods hit all alike.
#![expect(clippy::print_stdout, reason = "what a bench is for")]

#[path = "../tests/common/mod.rs"]
mod common;

use common::{Scratch, collect, command, plan, recording, start};
use rustix::fs::{Mode, OFlags};
use std::time::{Duration, Instant};
use stockade_jail::plan::Record;
use stockade_jail::{Sandbox, Stdio};

/// Calls that are timed together.
const BATCH: usize = 200;
/// Batches of a guest's life, lives of a guest.
const BATCHES: usize = 20;
const LIVES: usize = 10;
/// Warm calls.
const CALLS: usize = 400;

/// What a guest does.
const ACTS: [(&str, fn()); 5] = [
    ("open for writing, close", || drop(open(OFlags::WRONLY))),
    ("open to create, close", || drop(open(OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC))),
    ("open for reading, close", || drop(open(OFlags::RDONLY))),
    ("unlink of nothing", || rustix::fs::unlink("/w/nothing").unwrap_or_default()),
    ("umask", || {
        rustix::process::umask(Mode::from_bits_retain(0o22));
    }),
];

fn open(flags: OFlags) -> Option<std::os::fd::OwnedFd> {
    rustix::fs::open("/w/file", flags, Mode::from_bits_retain(0o644)).ok()
}

fn main() {
    if std::env::args().nth(1).as_deref() == Some("guest") {
        return guest();
    }
    let scratch = Scratch::new();
    std::fs::copy(std::env::current_exe().expect("a running bench has a file"), scratch.path().join("guest"))
        .expect("room in /tmp");
    std::fs::write(scratch.path().join("file"), "x").expect("ours");
    let off = start(&recording(plan(scratch.path()), Record::Off));
    let changes = recorded(&recording(plan(scratch.path()), Record::Changes));
    let all = recorded(&recording(plan(scratch.path()), Record::AllOpens));
    let sides = [("off", &off), ("changes", &changes), ("all-opens", &all)];
    let mut acts: Vec<Vec<Vec<f64>>> = vec![vec![Vec::new(); sides.len()]; ACTS.len()];
    for _ in 0..LIVES {
        for (side, (_, sandbox)) in sides.iter().enumerate() {
            let running = sandbox.spawn(&command(&["/w/guest", "guest"]), Stdio::Pipes).expect("it starts");
            for (act, line) in collect(running).expect("it runs").text().lines().enumerate() {
                acts[act][side].extend(line.split(' ').filter_map(|number| number.parse::<f64>().ok()));
            }
        }
    }
    println!("{:<26} {:>28} {:>28} {:>28}", "us, fastest tenth / median", sides[0].0, sides[1].0, sides[2].0);
    for ((name, _), mut times) in ACTS.iter().zip(acts) {
        let [a, b, c] = [0, 1, 2].map(|side| quantiles(&mut times[side]));
        println!("{name:<26} {a:>28} {b:>28} {c:>28}");
    }
    let mut calls: Vec<Vec<f64>> = vec![Vec::new(); sides.len()];
    for _ in 0..CALLS {
        for (side, (_, sandbox)) in sides.iter().enumerate() {
            let began = Instant::now();
            let running = sandbox.spawn(&command(&["/usr/bin/true"]), Stdio::Pipes).expect("it starts");
            running.wait().expect("it ends");
            calls[side].push(began.elapsed().as_secs_f64() * 1e6);
        }
    }
    let [a, b, c] = [0, 1, 2].map(|side| quantiles(&mut calls[side]));
    println!("{:<26} {a:>28} {b:>28} {c:>28}", "warm call of true");
}

/// A sandbox whose events are taken every few milliseconds, as a supervisor does while a call runs.
fn recorded(plan: &stockade_jail::Plan) -> Sandbox {
    let mut sandbox = start(plan);
    let events = sandbox.take_recorder().expect("a mapping").expect("a recorder");
    std::thread::spawn(move || {
        while events.drain(drop).is_ok() {
            std::thread::sleep(Duration::from_millis(5));
        }
    });
    sandbox
}

fn quantiles(times: &mut [f64]) -> String {
    times.sort_unstable_by(f64::total_cmp);
    let at = |part: usize| times.get(times.len() / part).copied().unwrap_or(f64::NAN);
    format!("{:.2} / {:.2}", at(10), at(2))
}

/// In the sandbox: one line for each act, the time of one call in each batch.
fn guest() {
    for (_, act) in ACTS {
        let times = (0..BATCHES).map(|_| {
            let began = Instant::now();
            (0..BATCH).for_each(|_| act());
            format!("{:.3}", began.elapsed().as_secs_f64() * 1e6 / BATCH as f64)
        });
        println!("{}", times.collect::<Vec<_>>().join(" "));
    }
}
