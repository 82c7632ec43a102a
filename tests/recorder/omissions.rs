//! Ways to change a file, start a program or end without being seen: each happens, and each is in the log.
//! It never accepts a record of something that did not happen: unconfined and confined, the change is there.

use crate::account::{Account, Record, account, on_record, text};
use serde_json::Value;
use stockade_tests::stage::Stage;
use stockade_tests::story::{Stop, Story, Told, must, same};

/// A way to write `changed` into `out`, and what the log says of it.
struct Omission {
    name: &'static str,
    script: &'static str,
    shows: &'static [&'static [&'static str]],
}

/// What is written, by all of them.
const TEXT: &str = "changed";

const OMISSIONS: &[Omission] = &[
    Omission {
        name: "a_file_written_through_memory",
        script: "{bin}/stockade-probe write-mapped out",
        shows: &[OPENED],
    },
    Omission {
        name: "a_file_written_by_sendfile",
        script: "{bin}/stockade-probe write-sendfile from out",
        shows: &[OPENED],
    },
    Omission {
        name: "a_file_written_by_splice",
        script: "{bin}/stockade-probe write-splice from out",
        shows: &[OPENED],
    },
    Omission {
        name: "a_file_written_by_copy_file_range",
        script: "{bin}/stockade-probe write-copy-range from out",
        shows: &[OPENED],
    },
    Omission {
        name: "a_nameless_file_that_is_named_by_its_descriptor",
        script: "{bin}/stockade-probe write-nameless . out descriptor",
        shows: &[&["fs.open observed", "TMPFILE"], &["fs.change", "op=\"link\"", "path=\"out\""]],
    },
    Omission {
        name: "a_nameless_file_that_is_named_through_proc",
        script: "{bin}/stockade-probe write-nameless . out proc",
        shows: &[&["fs.open observed", "TMPFILE"], &["fs.change", "op=\"link\"", "path=\"out\""]],
    },
    Omission {
        name: "a_file_opened_by_a_library_that_prefers_openat2",
        script: "{bin}/stockade-probe write-how out",
        shows: &[OPENED],
    },
    Omission {
        name: "a_file_that_is_renamed_into_place",
        script: "cp from other && mv other out",
        shows: &[&["fs.change", "op=\"rename\"", "path=\"other\"", "to=\"out\""]],
    },
    Omission {
        name: "a_program_in_memory",
        script: "{bin}/stockade-probe run-from-memory write-mapped out",
        shows: &[OPENED, &["proc.exec confirmed", "memfd:copy"]],
    },
    Omission {
        name: "a_chain_of_scripts",
        script: "printf '#!./two\\n' > one && printf '#!/bin/sh\\nprintf changed > out\\n' > two && chmod 755 one two && ./one",
        shows: &[OPENED, &["proc.exec confirmed", "sh\"", "one"]],
    },
    Omission {
        name: "a_program_started_by_the_loader",
        script: "set -- /lib64/ld-linux-*.so.2 /lib/ld-linux-*.so.1; for l; do [ -x $l ] && break; done; \
            $l /bin/sh -c 'printf changed > out'",
        shows: &[OPENED, &["proc.exec confirmed", "ld-linux"]],
    },
    Omission {
        name: "an_interpreter_that_runs_text",
        script: "/usr/bin/python3 -c 'open(\"out\", \"w\").write(\"changed\")'",
        shows: &[OPENED, &["proc.exec confirmed", "python3"]],
    },
    Omission {
        name: "a_program_started_by_its_own_link_in_proc",
        script: "/proc/self/exe -c 'printf changed > out' || /bin/sh -c 'exec /proc/self/exe write-mapped out'",
        shows: &[OPENED, &["proc.exec confirmed", "/proc/self/exe"]],
    },
];

/// The recorder opened `out` itself.
const OPENED: &[&str] = &["fs.open performed", "path=\"out\""];

pub(crate) fn stories() -> Vec<Story> {
    let mut all: Vec<Story> = OMISSIONS
        .iter()
        .map(|omission| {
            Story::new(format!("omissions::{}_is_on_record", omission.name), move |stage| {
                let account = both(stage, omission.script)?;
                account.shows(omission.shows)?;
                account.shows(&[&["fs.outcome", "path=\"out\""]])
            })
        })
        .collect();
    all.extend([
        Story::new("omissions::a_daemon_is_on_record_with_its_end", a_daemon),
        Story::new("omissions::a_process_with_the_number_of_another_is_not_taken_for_it", a_number_again),
        Story::new("omissions::a_program_without_a_library_is_on_record", without_a_library),
        Story::new("omissions::the_end_of_each_process_of_a_pipeline_is_on_record", a_pipeline),
        Story::new("omissions::what_is_written_down_late_is_told_of_its_own_time", its_own_time),
        Story::new("omissions::a_storm_of_programs_is_on_record_one_by_one", a_storm_of_programs),
        Story::new("omissions::a_storm_of_processes_is_on_record_one_by_one", a_storm_of_processes),
        Story::new("omissions::a_storm_of_opens_is_on_record_one_by_one", a_storm_of_opens),
        Story::new("omissions::what_is_on_record_is_what_was_opened_while_links_are_swapped", swapped_links),
        Story::new("omissions::a_ring_of_operations_is_not_to_be_had", no_ring),
        Story::new("omissions::calls_of_another_architecture_end_a_process_on_record", another_architecture),
        Story::new("omissions::refused_calls_are_on_record", refused_calls),
    ]);
    all
}

/// Runs a script unconfined, then on record; both leave the text in `out`.
fn both(stage: &mut Stage, script: &str) -> Result<Account, Stop> {
    let script = stage.scene.fill(script);
    let prepare = |stage: &Stage| -> Told {
        for left in std::fs::read_dir(stage.scene.path("{ws}"))?.flatten() {
            std::fs::remove_file(left.path())?;
        }
        Ok(stage.scene.file("{ws}/from", TEXT)?)
    };
    prepare(stage)?;
    let control = stage.plain(&["/bin/sh", "-c", &script])?;
    must(control.code() == 0 && stage.text("{ws}/out") == TEXT, || format!("unconfined: {}", control.told()))?;
    prepare(stage)?;
    let account = on_record(stage, Record::Changes, &["/bin/sh", "-c", &script])?;
    must(account.ended.code() == 0, || account.told())?;
    same("what was written", stage.text("{ws}/out"), TEXT.to_owned())?;
    Ok(account)
}

fn number(object: &Value, name: &str) -> Option<u64> {
    object.get(name).and_then(Value::as_u64)
}

/// The process that opened `out`, and how it ended.
fn writer(account: &Account) -> Result<(u64, &Value), Stop> {
    let missing = |what: &str| Stop::Fail(format!("{what}: {}", account.told()));
    let open = account.of("fs.open").find(|open| text(open, "path") == "out").ok_or_else(|| missing("no open"))?;
    let process = number(open, "p").ok_or_else(|| missing("an open without a process"))?;
    let exit = account.of("proc.exit").find(|exit| number(exit, "p") == Some(process));
    Ok((process, exit.ok_or_else(|| missing("a process without an end"))?))
}

fn a_daemon(stage: &mut Stage) -> Told {
    let account = both(stage, "{bin}/stockade-probe write-from-daemon out; sleep 0.3")?;
    let (_, exit) = writer(&account)?;
    same("how the daemon ended", (text(exit, "cause"), number(exit, "status")), ("exit".to_owned(), Some(3)))
}

fn its_own_time(stage: &mut Stage) -> Told {
    const SLEPT_NS: u64 = 300_000_000;
    // Programs that nobody hashed yet, so that what comes behind them waits to be written.
    let script = "python3 -c pass; perl -e 0; sleep 0.3; bash -c true";
    let account = on_record(stage, Record::Changes, &["/bin/sh", "-c", script])?;
    must(account.ended.code() == 0, || account.told())?;
    let exit = account.of("proc.exit").find(|exit| text(exit, "exe").ends_with("/sleep"));
    let process = exit.and_then(|exit| number(exit, "p")).ok_or_else(|| Stop::Fail(account.told()))?;
    let times = account.happened_ns("proc.start", process).zip(account.happened_ns("proc.exit", process));
    must(times.is_some_and(|(began, ended)| ended >= began + SLEPT_NS), || format!("{times:?} {}", account.told()))
}

fn a_number_again(stage: &mut Stage) -> Told {
    // Since Linux 6.14 each pid namespace counts by itself, up to four million.
    let most = on_record(stage, Record::Changes, &["/bin/cat", "/proc/sys/kernel/pid_max"])?.ended.out();
    if most.trim().parse().unwrap_or(u64::MAX) > 100_000 {
        return Err(Stop::Skip(format!("{} processes until a number comes again", most.trim())));
    }
    let script = stage.scene.fill("{bin}/stockade-probe write-after-reuse out");
    let account = on_record(stage, Record::Changes, &["/bin/sh", "-c", &script])?;
    must(account.ended.code() == 0, || account.told())?;
    let (process, exit) = writer(&account)?;
    same("its end", number(exit, "status"), Some(9))?;
    let pid = number(exit, "pid");
    let others =
        account.of("proc.exit").filter(|exit| number(exit, "pid") == pid && number(exit, "p") != Some(process));
    let others: Vec<_> = others.map(|exit| number(exit, "status")).collect();
    same("ends of others with its number", others, vec![Some(0)])
}

fn without_a_library(stage: &mut Stage) -> Told {
    if !cfg!(target_arch = "x86_64") {
        return Err(Stop::Skip("the program is one of x86-64".to_owned()));
    }
    let script = "{bin}/stockade-probe write-program program out && { ./program; [ $? = 5 ]; } && printf changed > out";
    let account = both(stage, script)?;
    account.shows(&[&["proc.exec confirmed", "program\""], OPENED])?;
    let (_, exit) = writer(&account)?;
    same("its end", (text(exit, "cause"), number(exit, "status")), ("exit".to_owned(), Some(5)))
}

fn a_pipeline(stage: &mut Stage) -> Told {
    let script = "sh -c 'kill -KILL $$' | sh -c 'exit 7' | sh -c 'kill -TERM $$' | cat; printf changed > out";
    let account = both(stage, script)?;
    for (cause, status) in [("signal", "9"), ("exit", "7"), ("signal", "15")] {
        same(cause, account.count("proc.exit", &[("cause", cause), ("status", status)]), 1)?;
    }
    every_process_ended(&account)
}

/// As many ends as beginnings, and each its own.
fn every_process_ended(account: &Account) -> Told {
    let mut began: Vec<_> = account.of("proc.start").map(|start| number(start, "p")).collect();
    let mut ended: Vec<_> = account.of("proc.exit").map(|exit| number(exit, "p")).collect();
    began.sort_unstable();
    ended.sort_unstable();
    same("processes that ended", ended, began)
}

fn a_storm_of_programs(stage: &mut Stage) -> Told {
    let script = "i=0; while [ $i -lt 400 ]; do /usr/bin/env false; i=$((i+1)); done; printf changed > out";
    let account = both(stage, script)?;
    let run = |name: &str| account.of("proc.exec").filter(|exec| text(exec, "exe").ends_with(name)).count();
    same("programs", (run("/env"), run("/false")), (400, 400))?;
    same("ends", account.count("proc.exit", &[("status", "1")]), 400)?;
    every_process_ended(&account)
}

fn a_storm_of_processes(stage: &mut Stage) -> Told {
    let account = both(stage, "{bin}/stockade-probe fork-many 3000 && printf changed > out")?;
    for code in ["1", "50", "99"] {
        same("ends with one code", account.count("proc.exit", &[("cause", "exit"), ("status", code)]), 30)?;
    }
    every_process_ended(&account)
}

fn a_storm_of_opens(stage: &mut Stage) -> Told {
    let script = "/usr/bin/python3 -c 'for n in range(20000): open(\"out\", \"w\").close()' && printf changed > out";
    let account = both(stage, script)?;
    same("opens", account.count("fs.open", &[("path", "out")]), 20_001)
}

fn swapped_links(stage: &mut Stage) -> Told {
    stage.scene.folder("{ws}/swap")?;
    let script = stage.scene.fill("{bin}/stockade-probe write-through-swapped-links swap 4000");
    let account = on_record(stage, Record::Changes, &["/bin/sh", "-c", &script])?;
    must(account.ended.code() == 0, || account.told())?;
    let lines = |name: &str| std::fs::metadata(stage.scene.path(name)).map_or(0, |data| data.len() / 2);
    let written = [lines("{ws}/swap/good/file"), lines("{ws}/swap/evil/file")];
    must(written.iter().all(|lines| *lines > 0), || format!("no race: {written:?}"))?;
    // Each file is made by one more open than it has lines.
    let seen = ["swap/good/file", "swap/evil/file"].map(|path| account.count("fs.open", &[("path", path)]) - 1);
    same("opens on record", seen, written)
}

fn no_ring(stage: &mut Stage) -> Told {
    let account = on_record(stage, Record::Changes, &["{bin}/stockade-probe", "write-by-ring"])?;
    must(account.ended.out().contains("not implemented"), || account.told())
}

fn another_architecture(stage: &mut Stage) -> Told {
    if !cfg!(target_arch = "x86_64") {
        return Err(Stop::Skip("only x86-64 has two more ways into the kernel".to_owned()));
    }
    for way in ["i386", "x32"] {
        let script = stage.scene.fill(&format!("{{bin}}/stockade-probe {way} 20; exit 0"));
        let account = on_record(stage, Record::Changes, &["/bin/sh", "-c", &script])?;
        same(way, account.count("proc.exit", &[("cause", "signal"), ("status", "31")]), 1)?;
    }
    Ok(())
}

fn refused_calls(stage: &mut Stage) -> Told {
    let attempts = "{bin}/stockade-probe listen-to-itself; sleep 5 & {bin}/stockade-probe trace-attach $!; \
        {bin}/stockade-probe take-descriptor $! 0; kill $!";
    let script = stage.scene.fill(attempts);
    let profile = crate::account::profile(stage, "shell", Record::Changes, "")?;
    let ended = stage.run(&["-q", "--profile", &profile, "--mode", "direct"], &["/bin/sh", "-c", &script])?;
    let account = account(stage, ended)?;
    for call in ["seccomp", "ptrace", "pidfd_getfd"] {
        account.shows(&[&["proc.call confirmed", &format!("call=\"{call}\""), &format!("errno={}", libc::EPERM)]])?;
    }
    Ok(())
}
