//! Memory and processes of many idle sandboxes, from what the kernel accounts to their inits.
//! It never counts a page twice: shared pages are divided among those who share them (`Pss`).
#![expect(clippy::print_stdout, reason = "what a bench is for")]

#[path = "../tests/common/mod.rs"]
mod common;

use common::{Scratch, plan, run, start};
use std::time::Instant;

const SANDBOXES: usize = 1000;

fn main() {
    let scratch = Scratch::new();
    let plan = plan(scratch.path());
    let own = std::process::id();
    let free = available_kib();
    let before = smaps(own, "Pss:");
    let began = Instant::now();
    let sandboxes: Vec<_> = (0..SANDBOXES).map(|_| start(&plan)).collect();
    println!("{SANDBOXES} sandboxes started one after the other in {} ms", began.elapsed().as_millis());
    sandboxes.iter().take(3).for_each(|sandbox| drop(run(sandbox, &["true"])));
    let inits: Vec<u32> = children(own);
    let sum = |what: &str| inits.iter().map(|pid| smaps(*pid, what)).sum::<u64>() / SANDBOXES as u64;
    println!(
        "inits: {} processes; each: pss {} KiB, private dirty {} KiB, rss {} KiB",
        inits.len(),
        sum("Pss:"),
        sum("Private_Dirty:"),
        sum("Rss:")
    );
    println!("supervisor: {} KiB more for all", smaps(own, "Pss:").saturating_sub(before));
    println!(
        "machine: {} KiB less available for each, the kernel's own memory included",
        free.saturating_sub(available_kib()) / SANDBOXES as u64
    );
    let began = Instant::now();
    drop(sandboxes);
    println!("ended in {} ms, {} processes left", began.elapsed().as_millis(), children(own).len());
}

fn smaps(pid: u32, what: &str) -> u64 {
    field(&format!("/proc/{pid}/smaps_rollup"), what)
}

fn available_kib() -> u64 {
    field("/proc/meminfo", "MemAvailable:")
}

fn field(path: &str, name: &str) -> u64 {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    line.and_then(|rest| rest.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}

fn children(of: u32) -> Vec<u32> {
    let tasks = std::fs::read_dir(format!("/proc/{of}/task")).into_iter().flatten().flatten();
    tasks
        .filter_map(|task| std::fs::read_to_string(task.path().join("children")).ok())
        .flat_map(|text| text.split_whitespace().filter_map(|pid| pid.parse().ok()).collect::<Vec<_>>())
        .collect()
}
