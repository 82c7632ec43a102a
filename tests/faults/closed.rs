//! Streams that are closed or go away, and more output than anybody wants.
//! It never takes the absence of a reader for a failure of the command.

use std::io::Read as _;
use std::time::Duration;
use stockade_tests::process::kill_group;
use stockade_tests::stage::{Stage, run_words};
use stockade_tests::story::{Stop, Story, Told, must, same};

/// Most memory of ours while a gigabyte passes, KiB.
const PEAK_KIB_MAX: u64 = 128 * 1024;

pub(crate) fn stories() -> Vec<Story> {
    vec![
        Story::new("closed::a_closed_input_is_not_an_error", |stage| shell(stage, "<&-", "cat; echo $?", 0, "0\n")),
        Story::new("closed::a_closed_output_does_not_fail_the_command", |stage| {
            shell(stage, ">&-", "echo lost && echo x > f && echo lost too && exit 3", 3, "")?;
            same("changes", stage.report()?.changed_paths(), vec!["f".to_owned()])
        }),
        Story::new("closed::closed_errors_do_not_fail_the_command", |stage| {
            shell(stage, "2>&-", "echo a; nosuch; exit 3", 3, "a\n")
        }),
        Story::new("closed::all_streams_closed_do_not_leak_a_descriptor_into_the_guest", |stage| {
            shell(stage, "<&- >&- 2>&-", "ls -l /proc/self/fd > f; exit 4", 4, "")?;
            let diff = stage.answers(0, &["diff", "last"])?;
            let state = stage.scene.fill("{state}");
            must(diff.out().contains("+++ b/f") && !diff.out().contains(&state), || diff.told())
        }),
        Story::new("closed::a_full_output_does_not_fail_the_command", |stage| {
            shell(stage, "> /dev/full", "echo lost; exit 5", 5, "")
        }),
        Story::new("closed::a_reader_of_diff_that_leaves_is_not_an_error", |stage| {
            same("exit", stage.run(&["-q"], &["/bin/bash", "-c", "seq 200000 > f"])?.code(), 0)?;
            let text = "'{bin}/stockade' diff last | head -1; exit ${PIPESTATUS[0]}";
            let ended = stage.plain(&["/bin/bash", "-c", &stage.scene.fill(text)])?;
            must(ended.code() == 0 && ended.err.is_empty() && ended.out() == "diff --git a/f b/f\n", || ended.told())
        }),
        Story::new("closed::a_gigabyte_of_output_does_not_fill_memory", gigabyte),
    ]
}

/// Runs with a redirection of our own streams.
fn shell(stage: &Stage, redirection: &str, text: &str, code: i32, out: &str) -> Told {
    let line = format!(
        "'{{bin}}/stockade' run -q -w '{{ws}}' --report '{{root}}/report.json' -- /bin/bash -c '{text}' {redirection}"
    );
    let ended = stage.plain(&["/bin/bash", "-c", &stage.scene.fill(&line)])?;
    must(ended.code() == code && ended.out() == out, || ended.told())?;
    stage.answers(0, &["verify", "last"]).map(drop)
}

fn gigabyte(stage: &mut Stage) -> Told {
    let words = run_words(&["-q"], &["/usr/bin/head", "-c", "1073741824", "/dev/zero"]);
    let mut child = stage.program(&[&["{bin}/stockade"], &words[..]].concat()).start()?;
    drop(child.stdin.take());
    let mut out = child.stdout.take().ok_or_else(|| Stop::Fail("no output".to_owned()))?;
    let reader = std::thread::spawn(move || std::io::copy(&mut out, &mut std::io::sink()));
    let status = format!("/proc/{}/status", child.id());
    let mut peak_kib = 0;
    let mut looks = 0;
    let ended = loop {
        if let Some(ended) = child.try_wait()? {
            break ended;
        }
        let text = std::fs::read_to_string(&status).unwrap_or_default();
        let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap_or_default();
        peak_kib = line.split_whitespace().next().and_then(|word| word.parse().ok()).unwrap_or(peak_kib);
        looks += 1;
        if looks > 24_000 {
            kill_group(child.id());
            return Err(Stop::Fail("a gigabyte takes more than two minutes".to_owned()));
        }
        std::thread::sleep(Duration::from_millis(5));
    };
    let passed = reader.join().map_err(|_| Stop::Fail("the reader panicked".to_owned()))??;
    let mut err = String::new();
    child.stderr.take().ok_or_else(|| Stop::Fail("no errors".to_owned()))?.read_to_string(&mut err)?;
    same("exit", ended.code(), Some(124))?;
    // The limit of the built-in profiles, all of it and no more.
    same("bytes", passed, 256 * 1024 * 1024)?;
    let told = "stockade: limit output: output_mib is 256.0 MiB, 256.0 MiB were used; the command and all its processes were ended\n";
    same("stderr", err.as_str(), told)?;
    must(peak_kib > 0 && peak_kib < PEAK_KIB_MAX, || format!("a peak of {peak_kib} KiB"))?;
    stage.answers(0, &["verify", "last"]).map(drop)
}
