//! What the recorder costs: single calls of a guest, programs that it starts, and warm calls of a sandbox, with and
//! without it, on a disk and on a tmpfs. Names as arguments choose among them.
//! It never judges: it prints the fastest tenth and the median, and what the recorder adds and multiplies by, of one run
//! and interleaved, so that the machine's moods hit all alike.
#![expect(clippy::print_stdout, reason = "what a bench is for")]

#[path = "../tests/common/mod.rs"]
mod common;

use common::{Scratch, collect, command, plan, recording, start};
use rustix::fs::{Mode, OFlags};
use std::ffi::CString;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};
use stockade_jail::plan::Record;
use stockade_jail::{Sandbox, Stdio};

/// Batches of a guest's life, lives of a guest.
const BATCHES: usize = 20;
const LIVES: usize = 10;
/// Warm calls.
const CALLS: usize = 400;
/// What a program is that starts and ends.
const TRUE: &str = "/usr/bin/true";
/// Where a guest works: on the disk of the host, and on a tmpfs of the sandbox.
const PLACES: [&str; 2] = ["/w", "/tmp"];
/// The bench that is no act of a guest.
const WARM: &str = "warm call";

/// What a guest does, and how often in a batch.
const ACTS: [(&str, usize, fn()); 7] = [
    ("open for writing", 200, || drop(open(OFlags::WRONLY))),
    ("open to truncate", 200, || drop(open(OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC))),
    ("open to make, unlink", 100, || {
        drop(rustix::fs::open("made", OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL, Mode::RUSR | Mode::WUSR));
        rustix::fs::unlink("made").expect("it was made");
    }),
    ("open for reading", 200, || drop(open(OFlags::RDONLY))),
    ("unlink of nothing", 200, || rustix::fs::unlink("nothing").unwrap_or_default()),
    ("umask", 200, || {
        rustix::process::umask(Mode::from_bits_retain(0o22));
    }),
    ("fork, exec, wait", 10, || {
        #[expect(clippy::disallowed_methods, reason = "a guest may, and nobody else is measured by it")]
        let status = std::process::Command::new(TRUE).status();
        assert!(status.expect("it starts").success());
    }),
];

fn open(flags: OFlags) -> OwnedFd {
    rustix::fs::open("file", flags, Mode::from_bits_retain(0o644)).expect("it is ours")
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| !argument.starts_with("--")).collect();
    if let [guest, place, acts @ ..] = arguments.as_slice()
        && guest == "guest"
    {
        return live(place, acts);
    }
    let chosen = |name: &str| arguments.is_empty() || arguments.iter().any(|part| name.contains(part.as_str()));
    let scratch = Scratch::new();
    std::fs::copy(std::env::current_exe().expect("a running bench has a file"), scratch.path().join("guest"))
        .expect("room in /tmp");
    let off = start(&recording(plan(scratch.path()), Record::Off));
    let changes = recorded(&recording(plan(scratch.path()), Record::Changes));
    let all = recorded(&recording(plan(scratch.path()), Record::AllOpens));
    let sides = [("off", &off), ("changes", &changes), ("all-opens", &all)];
    println!("us, fastest tenth / median; what is added to the fastest tenth, and the ratio");
    println!("{:<28} {:>17} {:>35} {:>35}", "", sides[0].0, sides[1].0, sides[2].0);
    let acts: Vec<&str> = ACTS.iter().map(|(name, ..)| *name).filter(|name| chosen(name)).collect();
    for place in PLACES.iter().filter(|_| !acts.is_empty()) {
        let mut times = vec![[const { Vec::new() }; 3]; acts.len()];
        for _ in 0..LIVES {
            for (side, (_, sandbox)) in sides.iter().enumerate() {
                let words: Vec<&str> = ["/w/guest", "guest", place].iter().chain(&acts).copied().collect();
                let running = sandbox.spawn(&command(&words), Stdio::Pipes).expect("it starts");
                for (act, line) in collect(running).expect("it runs").text().lines().enumerate() {
                    times[act][side].extend(line.split(' ').filter_map(|number| number.parse::<f64>().ok()));
                }
            }
        }
        acts.iter().zip(times).for_each(|(name, times)| tell(&format!("{name} ({place})"), times));
    }
    if !chosen(WARM) {
        return;
    }
    let mut times = [const { Vec::new() }; 3];
    for _ in 0..CALLS {
        for (side, (_, sandbox)) in sides.iter().enumerate() {
            let began = Instant::now();
            let running = sandbox.spawn(&command(&[TRUE]), Stdio::Pipes).expect("it starts");
            running.wait().expect("it ends");
            times[side].push(began.elapsed().as_secs_f64() * 1e6);
        }
    }
    tell(WARM, times);
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

/// A line for each side: the first one is what the others are compared with.
fn tell(name: &str, times: [Vec<f64>; 3]) {
    let sides = times.map(|mut times| {
        times.sort_unstable_by(f64::total_cmp);
        [10, 2].map(|part| times.get(times.len() / part).copied().unwrap_or(f64::NAN))
    });
    let [[base, base_median], others @ ..] = sides;
    let others = others.map(|[fast, median]| {
        let plain = format!("{fast:.2} / {median:.2}");
        format!("{plain:>18} {:>+8.2} {:>5.2} x", fast - base, fast / base)
    });
    println!("{name:<28} {:>17} {:>35} {:>35}", format!("{base:.2} / {base_median:.2}"), others[0], others[1]);
}

/// In the sandbox: one line for each act, the time of one call in each batch.
fn live(place: &str, names: &[String]) {
    let directory = CString::new(place).expect("no NUL");
    rustix::process::chdir(&directory).expect("it is there");
    std::fs::write("file", "x").expect("it is ours");
    for (_, batch, act) in ACTS.iter().filter(|(name, ..)| names.iter().any(|chosen| chosen == name)) {
        let times = (0..BATCHES).map(|_| {
            let began = Instant::now();
            (0..*batch).for_each(|_| act());
            format!("{:.3}", began.elapsed().as_secs_f64() * 1e6 / *batch as f64)
        });
        println!("{}", times.collect::<Vec<_>>().join(" "));
    }
}
