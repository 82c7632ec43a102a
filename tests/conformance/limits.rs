//! Limits: what goes beyond is stopped, and said on standard error, in the report and in the log.
//! It never measures how fast.

use serde_json::Value;
use stockade_tests::stage::Stage;
use stockade_tests::story::{Stop, Story, Told, must};

/// A limit and a text that goes beyond it.
struct Case {
    name: &'static str,
    limits: &'static str,
    text: &'static str,
    end: End,
    gap: Option<&'static str>,
}

/// What becomes of the command.
#[derive(Clone, Copy)]
enum End {
    /// It is ended, for this limit.
    Ended(&'static str),
    /// The kernel refuses it more, which it can tell by itself and ends with this code; stockade names the limit too.
    Refused(&'static str, i32),
}

const UNTOLD: &str = "the kernel does not count what it refuses for this limit, and a sample comes too late";

const CASES: &[Case] = &[
    Case {
        name: "memory_of_one_process",
        limits: "memory_mib = 64",
        text: "head -c 300000000 /dev/zero | tail -c 290000000 > /dev/null; wait",
        end: End::Ended("memory_mib"),
        gap: None,
    },
    Case {
        name: "memory_in_files_of_shm",
        limits: "memory_mib = 64",
        text: "head -c 40000000 /dev/zero > /dev/shm/a; x=$(head -c 60000000 /dev/zero | tr '\\0' x); sleep 5",
        end: End::Ended("memory_mib"),
        gap: None,
    },
    Case {
        name: "processor_time",
        limits: "cpu_s = 1",
        text: "while :; do :; done",
        end: End::Ended("cpu_s"),
        gap: None,
    },
    Case {
        name: "processor_time_of_children",
        limits: "cpu_s = 1",
        text: "for i in 1 2; do (while :; do :; done) & done; wait",
        end: End::Ended("cpu_s"),
        gap: None,
    },
    Case { name: "wall_time", limits: "wall_s = 1", text: "sleep 1000", end: End::Ended("wall_s"), gap: None },
    Case {
        name: "wall_time_of_what_ignores_signals",
        limits: "wall_s = 1",
        text: "trap '' TERM INT HUP; while :; do sleep 1; done",
        end: End::Ended("wall_s"),
        gap: None,
    },
    Case {
        name: "wall_time_of_what_left_its_session",
        limits: "wall_s = 1",
        text: "setsid sleep 1000 & setsid sleep 1001",
        end: End::Ended("wall_s"),
        gap: None,
    },
    Case { name: "output", limits: "output_mib = 1", text: "yes", end: End::Ended("output_mib"), gap: None },
    Case { name: "errors", limits: "output_mib = 1", text: "yes >&2", end: End::Ended("output_mib"), gap: None },
    Case {
        name: "disk_in_many_files",
        limits: "disk_mib = 8",
        text: "for i in $(seq 30); do head -c 1000000 /dev/zero > f$i; done; sleep 1000",
        end: End::Ended("disk_mib"),
        gap: None,
    },
    Case {
        name: "disk_in_one_file",
        limits: "disk_mib = 8",
        text: "exec head -c 30000000 /dev/zero > f",
        end: End::Ended("disk_mib"),
        gap: None,
    },
    Case {
        name: "processes",
        limits: "pids = 12",
        text: "for i in $(seq 30); do sleep 1000 & done 2>/dev/null; exit 9",
        end: End::Refused("pids", 254),
        gap: None,
    },
    Case {
        name: "open_files",
        limits: "open_files = 16",
        text: "for i in $(seq 5 40); do eval \"exec $i</dev/null\" || exit 9; done 2>/dev/null",
        end: End::Refused("open_files", 9),
        gap: Some(UNTOLD),
    },
];

pub(crate) fn stories() -> Vec<Story> {
    let cases = CASES.iter().map(|case| {
        let story = Story::new(format!("limits::{}_beyond_the_limit_is_not_kept_quiet", case.name), move |stage| {
            beyond(stage, case)
        });
        case.gap.into_iter().fold(story, Story::gap)
    });
    let held = CASES.iter().filter(|case| case.gap.is_some()).map(|case| {
        Story::new(format!("limits::{}_beyond_the_limit_is_not_given", case.name), move |stage| refused(stage, case))
    });
    let within = CASES.iter().map(|case| {
        Story::new(format!("limits::{}_within_the_limit_is_not_stopped", case.name), move |stage| {
            let profile = limited(stage, case.limits)?;
            let ended = stage.run(&["-q", "-p", &profile], &["/bin/bash", "-c", "echo x > f; cat f; (exit 3)"])?;
            must(ended.code() == 3 && ended.err.is_empty() && ended.out() == "x\n", || ended.told())?;
            must(stage.report()?.printed("limit").is_empty(), || "the report names a limit".to_owned())
        })
    });
    cases.chain(held).chain(within).collect()
}

fn limited(stage: &Stage, limits: &str) -> Result<String, Stop> {
    stage.profile("limited", &format!("extends = [\"shell\"]\n[limits]\n{limits}\n"))
}

fn beyond(stage: &Stage, case: &Case) -> Told {
    let profile = limited(stage, case.limits)?;
    let ended = stage.run(&["-q", "-p", &profile], &["/bin/bash", "-c", case.text])?;
    let (limit, code, how) = match case.end {
        End::Ended(limit) => (limit, 124, "; the command and all its processes were ended\n"),
        End::Refused(limit, code) => (limit, code, "; the kernel refused the command more\n"),
    };
    must(ended.code() == code, || format!("not {code} but {}", ended.told()))?;
    let err = ended.err();
    let word = limit.trim_end_matches("_mib").trim_end_matches("_s").replace('_', "-");
    // The command's own complaints may come before.
    let line = err.lines().find(|line| line.starts_with("stockade: ")).unwrap_or_default();
    let whole = line.starts_with(&format!("stockade: limit {word}: {limit} is ")) && line.ends_with(how.trim_end());
    must(whole, || format!("not the line of the limit: {line:?}\n{}", ended.told()))?;
    let told = stage.report()?.printed("limit");
    must(told.contains(&format!("\"{word}\"")), || format!("the report's limit is {told}"))?;
    let records = stage.answers(0, &["log", "query", "last", "k=limit", "--json"])?;
    let text = records.out();
    let record: Value = serde_json::from_str(text.lines().next().unwrap_or_default()).unwrap_or_default();
    let which = record.pointer("/o/which").and_then(Value::as_str);
    let numbers = |pointer| record.pointer(pointer).and_then(Value::as_u64).unwrap_or_default();
    must(which == Some(limit) && numbers("/o/max") > 0 && numbers("/o/seen") > 0, || format!("logged: {text}"))?;
    stage.answers(0, &["verify", "last"]).map(drop)
}

/// The limit holds, whether it is told or not.
fn refused(stage: &Stage, case: &Case) -> Told {
    let profile = limited(stage, case.limits)?;
    let ended = stage.run(&["-q", "-p", &profile], &["/bin/bash", "-c", case.text])?;
    let code = if let End::Refused(_, code) = case.end { code } else { 124 };
    must(ended.code() == code || ended.code() == 124, || ended.told())?;
    stage.answers(0, &["verify", "last"]).map(drop)
}
