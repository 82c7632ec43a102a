//! Latency of cold sandboxes and warm calls, side by side with bubblewrap and with a bare start of the same program.
//! It never judges: it prints medians and ratios; `ROUNDS` rounds, interleaved, so that the machine's moods hit all alike.
#![expect(clippy::disallowed_methods, reason = "a bench that starts the programs it compares with")]
#![expect(clippy::print_stdout, reason = "what a bench is for")]

#[path = "../tests/common/mod.rs"]
mod common;

use common::{Scratch, command, options, plan, recording, start};
use std::path::{Path, PathBuf};
use std::process::Stdio as Std;
use std::time::{Duration, Instant};
use stockade_jail::plan::{Content, Cover, OutletSocket, Plan, Record, SessionStep};
use stockade_jail::{Sandbox, Status, Stdio};

const ROUNDS: usize = 200;

fn main() {
    let scratch = Scratch::new();
    let plan = plan(scratch.path());
    let reaching = with_outlet(&plan);
    let mut warm = start(&plan);
    let events = warm.take_recorder().expect("a mapping").expect("a recorder");
    // As a supervisor does: a thread of its own takes the events.
    std::thread::spawn(move || while events.wait(Duration::from_secs(3600)).is_ok() && events.drain(drop).is_ok() {});
    let unrecorded = start(&recording(plan.clone(), Record::Off));
    let bare_plan = recording(plan.clone(), Record::Off);
    let bwrap = timed(bubblewrap).is_some();
    let mut series: [(&str, Vec<Duration>); 10] = [
        ("bare fork+exec", Vec::new()),
        ("bwrap", Vec::new()),
        ("warm call", Vec::new()),
        ("cold, to first result", Vec::new()),
        ("of that, start", Vec::new()),
        ("end of a sandbox", Vec::new()),
        ("bwrap, / and no more", Vec::new()),
        ("start with an outlet", Vec::new()),
        ("warm call, no recorder", Vec::new()),
        ("start, no recorder", Vec::new()),
    ];
    for _ in 0..ROUNDS {
        let mut push = |index: usize, time: Duration| series[index].1.push(time);
        push(0, timed(bare).expect("true runs"));
        if bwrap {
            push(1, timed(bubblewrap).expect("bwrap ran before"));
            push(6, timed(lean_bubblewrap).expect("bwrap ran before"));
        }
        push(2, timed(|| call(&warm)).expect("a call runs"));
        push(8, timed(|| call(&unrecorded)).expect("a call runs"));
        let began = Instant::now();
        let cold = Sandbox::start(&plan, &options()).expect("a sandbox starts");
        let started = began.elapsed();
        call(&cold);
        push(3, began.elapsed());
        push(4, started);
        let ending = Instant::now();
        drop(cold);
        push(5, ending.elapsed());
        let began = Instant::now();
        let outlet = Sandbox::start(&reaching, &options()).expect("a sandbox starts");
        push(7, began.elapsed());
        drop(outlet);
        let began = Instant::now();
        let plain = Sandbox::start(&bare_plan, &options()).expect("a sandbox starts");
        push(9, began.elapsed());
        drop(plain);
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

/// The same plan with what a session of a few grants has: a resolver, a proxy, two ports, and trust bundles.
fn with_outlet(plan: &Plan) -> Plan {
    let tcp = |address, port| OutletSocket::Tcp { address, port };
    let sockets = vec![
        OutletSocket::Udp { port: 53 },
        tcp(None, 53),
        tcp(Some([198, 18, 0, 1].into()), 3128),
        tcp(None, 80),
        tcp(None, 443),
        OutletSocket::Refusals,
    ];
    let outlet = SessionStep::Outlet {
        address: [198, 18, 0, 3].into(),
        address_v6: [0xfd73, 0, 0, 0, 0, 0, 0, 3].into(),
        sockets,
    };
    let paths = ["/run/stockade/ca-bundle.pem", "/etc/ssl/certs/ca-certificates.crt"];
    let paths = paths.iter().filter(|path| path.starts_with("/run") || Path::new(path).exists()).map(PathBuf::from);
    let bundle = Cover { paths: paths.collect(), content: Content::new(vec![b'x'; 220 * 1024]), mode: 0o444 };
    let own = Cover { paths: vec!["/run/stockade/ca.pem".into()], content: Content::new(vec![b'x'; 700]), mode: 0o444 };
    let mut plan = plan.clone();
    let at =
        |plan: &Plan, wanted: fn(&SessionStep) -> bool| plan.session.iter().position(wanted).expect("the usual plan");
    let enter = at(&plan, |step| matches!(step, SessionStep::EnterRoot));
    plan.session.insert(enter, SessionStep::Cover { files: vec![bundle, own] });
    let up = at(&plan, |step| matches!(step, SessionStep::LoopbackUp));
    plan.session.insert(up + 1, outlet);
    plan
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
