//! Limits on calls in a sandbox, each bomb bounded by itself: as root, where the kernel counts, and as an ordinary user,
//! where we sample. It never uses more than half a GiB, whether or not a limit holds.

mod common;

use common::{Output, Scratch, again_as_ordinary_user, plan_with, run, start};
use std::time::Duration;
use stockade_jail::plan::{CallStep, Exec, HostStep, Limits, Plan, Rlimit, SessionStep};
use stockade_jail::watch::LimitKind;
use stockade_jail::{Sandbox, Status};

const MIB: u64 = 1 << 20;

#[test]
fn as_an_ordinary_user() {
    again_as_ordinary_user("as_an_ordinary_user");
}

/// The usual plan with limits, and a tmpfs that is larger than the memory that any test allows.
fn limited(scratch: &Scratch, limits: Limits) -> Plan {
    let large = SessionStep::Tmpfs { path: "/large".into(), size_mib: 400, mode: 0o1777, exec: Exec::Deny };
    let mut plan = plan_with(scratch.path(), vec![large]);
    for step in &mut plan.session {
        if let SessionStep::Landlock { rules, .. } = step {
            let rights = stockade_jail::plan::PathRights::ReadWrite;
            rules.push(stockade_jail::plan::LandlockRule { path: "/large".into(), rights });
        }
    }
    plan.host = vec![HostStep::Limits(limits)];
    plan
}

fn memory(mib: u64) -> Limits {
    Limits { memory_mib: Some(mib), wall_s: Some(30), ..Limits::default() }
}

fn python(sandbox: &Sandbox, program: &str) -> Output {
    run(sandbox, &["python3", "-c", program])
}

#[track_caller]
fn ends(limits: Limits, program: &str, limit: LimitKind) -> Output {
    let scratch = Scratch::new();
    let sandbox = start(&limited(&scratch, limits));
    let output = python(&sandbox, program);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.ended.cause.map(|hit| hit.limit), Some(limit), "{:?} {stderr}", output.ended);
    output
}

/// Writes this many MiB, one after another, to something that is open.
fn write(open: &str, mib: u64, after: &str) -> String {
    format!(
        "import os, time\nb = bytes(1 << 20)\n{open}\nfor _ in range({mib}):\n  f.write(b); f.flush(); \
         time.sleep(0.004)\n{after}\ntime.sleep(20)"
    )
}

#[test]
fn memory_in_files_that_nobody_maps_does_not_pass_the_limit() {
    let memfd = "f = os.fdopen(os.memfd_create('bomb'), 'wb')";
    let hidden = "f = os.fdopen(os.memfd_create('x/../../w (deleted)', os.MFD_ALLOW_SEALING), 'wb')";
    let unlinked = "f = open('/large/bomb', 'wb'); os.unlink('/large/bomb')";
    for open in [memfd, hidden, unlinked, "f = open('/large/bomb', 'wb')"] {
        ends(memory(128), &write(open, 320, ""), LimitKind::Memory);
    }
}

#[test]
fn memory_in_many_small_files_does_not_pass_the_limit() {
    let many = "import os, time\nb = bytes(1 << 20)\nfds = []\nfor _ in range(320):\n  fds.append(os.memfd_create('x')); \
                os.write(fds[-1], b); time.sleep(0.004)\ntime.sleep(20)";
    ends(memory(128), many, LimitKind::Memory);
}

#[test]
fn memory_of_a_process_whose_first_thread_ended_does_not_pass_the_limit() {
    let bomb = "import ctypes, threading, time\n\
                def bomb():\n  a = []\n  for _ in range(80):\n    a.append(b'x' * (4 << 20)); time.sleep(0.016)\n  time.sleep(20)\n\
                threading.Thread(target=bomb, daemon=True).start()\ntime.sleep(0.1)\n\
                ctypes.CDLL(None).syscall(ctypes.c_long(60), ctypes.c_long(0))";
    ends(memory(128), bomb, LimitKind::Memory);
}

#[test]
fn memory_that_is_mapped_and_open_counts_once() {
    let scratch = Scratch::new();
    let sandbox = start(&limited(&scratch, memory(220)));
    // 80 MiB that two processes map and one has open, and 60 that both inherited: 300 if each counted for itself.
    let fine = "import os, mmap, time\nf = os.memfd_create('shared')\nos.ftruncate(f, 80 << 20)\nm = mmap.mmap(f, 80 << 20)\n\
                m[:] = b'x' * (80 << 20)\na = b'y' * (60 << 20)\npid = os.fork()\nn = sum(m[::4096]) and len(a)\ntime.sleep(1.5)\n\
                pid and os.waitpid(pid, 0)";
    let output = python(&sandbox, fine);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!((output.ended.status, output.ended.cause), (Status::Exited(0), None), "{stderr}");
}

#[test]
fn a_session_survives_a_call_that_memory_ended() {
    let scratch = Scratch::new();
    let sandbox = start(&limited(&scratch, memory(128)));
    let bomb = write("f = os.fdopen(os.memfd_create('bomb'), 'wb')", 320, "");
    for _ in 0..5 {
        assert_eq!(python(&sandbox, &bomb).ended.cause.map(|hit| hit.limit), Some(LimitKind::Memory));
        let after = run(&sandbox, &["true"]).ended;
        assert_eq!((after.status, after.cause), (Status::Exited(0), None));
    }
}

#[test]
fn the_init_is_the_last_that_the_kernel_ends_for_memory() {
    let scratch = Scratch::new();
    let sandbox = start(&limited(&scratch, memory(128)));
    // A moment later: the init takes its own score back when the kernel lets it run again after the exec.
    let line = "sleep 0.5; cat /proc/1/oom_score_adj /proc/self/oom_score_adj";
    let scores = run(&sandbox, &["sh", "-c", line]).text();
    let scores: Vec<i32> = scores.lines().map(|line| line.parse().expect("a number")).collect();
    let own: i32 =
        std::fs::read_to_string("/proc/self/oom_score_adj").expect("a file").trim().parse().expect("a number");
    assert_eq!(scores, [own, (own + 500).min(1000)]);
}

#[test]
fn processor_time_of_children_that_were_reaped_counts() {
    let limits = Limits { cpu_s: Some(2), wall_s: Some(30), ..Limits::default() };
    let children = "import os, time\nfor _ in range(8):\n  pid = os.fork()\n  if pid == 0:\n    end = time.process_time() + 1\n    \
                    while time.process_time() < end: pass\n    os._exit(0)\n  os.waitpid(pid, 0)";
    let output = ends(limits, children, LimitKind::Cpu);
    assert!(output.ended.usage.cpu_us < 4_000_000, "{:?}", output.ended);
}

#[test]
fn processor_time_of_a_thousand_short_children_counts() {
    let limits = Limits { cpu_s: Some(1), wall_s: Some(30), ..Limits::default() };
    let children = "import os, time\nfor _ in range(1000):\n  pid = os.fork()\n  if pid == 0:\n    end = time.process_time() + 0.004\n    \
                    while time.process_time() < end: pass\n    os._exit(0)\n  os.waitpid(pid, 0)";
    ends(limits, children, LimitKind::Cpu);
}

#[test]
fn a_file_at_its_limit_is_reported() {
    let scratch = Scratch::new();
    let mut plan = limited(&scratch, Limits::default());
    plan.call.insert(1, CallStep::Rlimit { resource: Rlimit::FileSize, value: 4 * MIB });
    let sandbox = start(&plan);
    // Python ignores the signal by itself; a shell does not.
    let ended = run(&sandbox, &["sh", "-c", "exec head -c 8000000 /dev/zero > /tmp/large"]).ended;
    let hit = ended.cause.unwrap_or_else(|| panic!("{ended:?}"));
    assert_eq!((hit.limit, hit.value, ended.status), (LimitKind::Disk, 4 * MIB, Status::Signalled(libc::SIGXFSZ)));
    let fine = run(&sandbox, &["sh", "-c", "exec head -c 4000000 /dev/zero > /tmp/fine"]).ended;
    assert_eq!((fine.status, fine.cause), (Status::Exited(0), None));
}

#[test]
fn calls_within_their_limits_are_left_alone() {
    let scratch = Scratch::new();
    let limits = Limits { pids: Some(64), cpu_s: Some(5), ..memory(200) };
    let sandbox = start(&limited(&scratch, limits));
    let began = std::time::Instant::now();
    while began.elapsed() < Duration::from_millis(1500) {
        let fine = run(
            &sandbox,
            &[
                "sh",
                "-c",
                "head -c 30000000 /dev/zero > /tmp/a; head -c 5000000 /dev/zero > /dev/shm/b; ls -l /tmp | cat",
            ],
        );
        assert_eq!((fine.ended.status, fine.ended.cause), (Status::Exited(0), None));
    }
}
