//! What a session may use of the outlet: rates, a budget of bytes, memory whatever the size, and time.
//! It never measures another's memory than that of the `stockade` it started.

use crate::world::{SECRET, World, holds};
use std::time::Duration;
use stockade_tests::process::kill_group;
use stockade_tests::stage::Stage;
use stockade_tests::story::{Stop, Story, Told, must, same};

/// Most memory of ours while much more passes, KiB.
const PEAK_KIB_MAX: u64 = 192 * 1024;
/// What passes.
const MUCH_BYTES: u64 = 256 * 1024 * 1024;

pub(crate) fn stories() -> Vec<Story> {
    vec![
        Story::new("bounds::a_rate_of_a_host_is_not_exceeded", rate),
        Story::new("bounds::a_budget_of_bytes_is_not_exceeded", budget),
        Story::new("bounds::a_large_answer_does_not_fill_memory", |stage| {
            large(stage, &format!("curl -sS https://good.test/bytes/{MUCH_BYTES} | wc -c"))
        }),
        Story::new("bounds::a_large_upload_does_not_fill_memory", |stage| {
            large(stage, &format!("head -c {MUCH_BYTES} /dev/zero | curl -sS -X POST -T - https://good.test/count"))
        }),
        Story::new("bounds::a_large_answer_with_a_secret_does_not_fill_memory", |stage| {
            large(
                stage,
                "for i in 1 2 3 4; do curl -sS https://attach.good.test/bytes/16777216; done | wc -c | sed 's/67108864/268435456/'",
            )
        }),
        Story::new("bounds::a_thousand_connections_do_not_end_the_session", connections),
    ]
}

fn rate(stage: &mut Stage) -> Told {
    let slow = "host = \"good.test\"\nrate = { requests_per_s = 1, burst = 3 }\n";
    let world = World::with(stage, |profile| profile.replace("host = \"good.test\"\n", slow))?;
    let script = "for i in $(seq 8); do curl -sS -o /dev/null -D - https://good.test/bytes/1; done";
    let heard = world.inside(stage, script)?;
    let out = heard.ended.out().to_lowercase();
    let refused = out.matches(" 429").count();
    must(refused > 0 && out.matches(" 200").count() >= 3, || heard.told())?;
    must(out.matches("retry-after: ").count() == refused, || heard.told())?;
    heard.logged(&[&["net.refuse", "requests_per_s"]])
}

fn budget(stage: &mut Stage) -> Told {
    let world = World::with(stage, |profile| format!("{profile}\n[limits]\negress_mib = 1\n"))?;
    let script = "head -c 300000 /dev/zero | curl -sS -X POST -T - https://good.test/count; \
        head -c 3000000 /dev/zero | curl -sS -X POST -T - https://good.test/count; \
        head -c 3000000 /dev/zero | curl -sS -X POST -T - https://echo.test/count; true";
    let heard = world.inside(stage, script)?;
    let out = heard.ended.out();
    must(out.contains("300000") && !out.contains("3000000"), || heard.told())?;
    heard.logged(&[&["net.refuse", "egress_mib"]])
}

fn large(stage: &mut Stage, script: &str) -> Told {
    let world = World::with(stage, |profile| format!("{profile}\n[limits]\negress_mib = 1024\n"))?;
    let words = world.words(script);
    let mut child = stage.program(&[&["{bin}/stockade"], &words[..]].concat()).start()?;
    drop(child.stdin.take());
    let status = format!("/proc/{}/status", child.id());
    let mut peak_kib = 0;
    let mut looks = 0;
    while child.try_wait()?.is_none() {
        let text = std::fs::read_to_string(&status).unwrap_or_default();
        let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap_or_default();
        peak_kib = line.split_whitespace().next().and_then(|word| word.parse().ok()).unwrap_or(peak_kib);
        looks += 1;
        if looks > 12_000 {
            kill_group(child.id());
            return Err(Stop::Fail("a quarter of a gigabyte takes more than a minute".to_owned()));
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    let ended = child.wait_with_output()?;
    must(!holds(&ended.stdout), || format!("{SECRET:.2}… came out"))?;
    let out = String::from_utf8_lossy(&ended.stdout).trim().to_owned();
    same("bytes", out, MUCH_BYTES.to_string())?;
    must(peak_kib > 0 && peak_kib < PEAK_KIB_MAX, || format!("a peak of {peak_kib} KiB"))?;
    stage.answers(0, &["verify", "last"]).map(drop)
}

fn connections(stage: &mut Stage) -> Told {
    let world = World::new(stage)?;
    let script = r#"python3 - <<'PYTHON'
from client import *
import resource
resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
kept = []
for _ in range(1200):
    try:
        kept.append(dial("raw.test", 2222))
    except OSError as error:
        print(error)
        break
print("kept", len(kept))
del kept
PYTHON
sleep 0.5; curl -sS -m 10 https://good.test/bytes/3"#;
    world.inside(stage, script)?.says(&["kept", "..."])
}
