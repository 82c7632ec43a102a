//! What counts as a hit, without processes: the ones with processes stand beside the crate.

use super::*;

fn running(base: Seen) -> Running {
    Running { began: Instant::now(), base, hits: Vec::new() }
}

#[track_caller]
fn check(limits: Limits, base: Seen, seen: Seen, after: Duration, expected: &[LimitKind]) {
    let running = running(base);
    let found: Vec<_> = hits(&limits, &running, &seen, running.began + after).iter().map(|hit| hit.limit).collect();
    assert_eq!(found, expected);
}

#[test]
fn nothing_is_hit_without_limits() {
    let seen = Seen { oom_kills: 9, pids_max_hits: 9, cpu_ms: u64::MAX, descriptors: u64::MAX, ..Seen::default() };
    check(Limits::default(), Seen::default(), seen, Duration::from_secs(1_000_000), &[]);
}

#[test]
fn each_limit_is_hit_by_what_it_counts_and_only_since_the_call_began() {
    let limits = Limits {
        wall_s: Some(10),
        cpu_s: Some(2),
        memory_mib: Some(1),
        pids: Some(5),
        open_files: Some(8),
        ..Limits::default()
    };
    let base = Seen { oom_kills: 1, pids_max_hits: 1, cpu_ms: 5000, ..Seen::default() };
    let now = Duration::ZERO;
    check(limits, base, base, now, &[]);
    check(limits, base, Seen { oom_kills: 2, ..base }, now, &[LimitKind::Memory]);
    check(limits, base, Seen { sampled_memory_bytes: Some(1 << 20), ..base }, now, &[]);
    check(limits, base, Seen { sampled_memory_bytes: Some((1 << 20) + 1), ..base }, now, &[LimitKind::Memory]);
    check(limits, base, Seen { pids_max_hits: 2, ..base }, now, &[LimitKind::Pids]);
    check(limits, base, Seen { sampled_threads: Some(5), ..base }, now, &[LimitKind::Pids]);
    check(limits, base, Seen { cpu_ms: 6999, ..base }, now, &[]);
    check(limits, base, Seen { cpu_ms: 7000, ..base }, now, &[LimitKind::Cpu]);
    check(limits, base, Seen { descriptors: 8, ..base }, now, &[LimitKind::OpenFiles]);
    check(limits, base, base, Duration::from_secs(10), &[LimitKind::Wall]);
}

#[test]
fn a_limit_is_noted_once() {
    let mut running = running(Seen::default());
    assert!(running.note(LimitHit::new(LimitKind::Cpu, 1, 2)));
    assert!(!running.note(LimitHit::new(LimitKind::Cpu, 1, 3)));
    assert!(running.note(LimitHit::new(LimitKind::Wall, 1, 2)));
    assert_eq!(running.hits.len(), 2);
}

/// A worker is no child of the init: what it holds open and has unlinked is found all the same, and only where it is named.
#[test]
fn files_of_a_worker_count_though_no_walk_finds_them() {
    use std::io::Write as _;
    let layer = std::env::temp_dir().join(format!("jail-worker-files-{}", std::process::id()));
    std::fs::create_dir(&layer).expect("the test has a directory of its own");
    let hidden = layer.join("hidden");
    let mut file = std::fs::File::create(&hidden).expect("it can be made");
    std::fs::remove_file(&hidden).expect("it can be unlinked");
    file.write_all(&vec![b'x'; 2 << 20]).and_then(|()| file.sync_all()).expect("it can be written");
    // A process that has ended stands for the init: nothing is below it.
    let look = || LayerLook::new(LastLook::new(vec![layer.clone()], 1 << 20, u32::MAX));
    assert_eq!(look().exceeded(&[]), None);
    let hit = look().exceeded(&[std::process::id()]);
    std::fs::remove_dir(&layer).expect("it is empty");
    assert!(hit.is_some_and(|hit| hit.limit == LimitKind::Disk && hit.observed >= 2 << 20), "{hit:?}");
}
