//! Things that a recorder could wait for and never get: everything here ends, soon, with a sound log.
//! It never measures time: what does not end within the patience of a step has failed.

use crate::account::{Account, Record, on_record, run};
use stockade_tests::stage::Stage;
use stockade_tests::story::{Stop, Story, Told, must, same};

pub(crate) fn stories() -> Vec<Story> {
    vec![
        Story::new("waits::a_named_pipe_between_two_processes_is_not_waited_for", a_named_pipe),
        Story::new("waits::a_process_that_is_stopped_while_it_opens_stops_nobody_else", a_stopped_process),
        Story::new("waits::a_process_that_is_killed_while_it_opens_stops_nobody_else", a_killed_process),
        Story::new("waits::a_thousand_threads_open_at_once", a_thousand_threads),
        Story::new("waits::a_fork_bomb_ends_at_its_limit", a_fork_bomb),
        Story::new("waits::a_session_inside_a_session_does_not_hang", a_nested_session),
        Story::new("waits::a_wall_of_the_guests_own_holds", an_own_wall),
        Story::new("waits::calls_side_by_side_execute_what_others_just_wrote", programs_just_written),
        Story::new("waits::a_lease_on_a_file_stops_only_who_opens_it", a_lease),
    ]
}

fn sh(stage: &Stage, script: &str) -> Result<Account, Stop> {
    let script = stage.scene.fill(script);
    let account = on_record(stage, Record::Changes, &["/bin/sh", "-c", &script])?;
    must(account.ended.code() == 0, || account.told())?;
    Ok(account)
}

fn a_named_pipe(stage: &mut Stage) -> Told {
    let script = "mkfifo pipe; cat pipe > got & printf x > pipe; wait; mkfifo never; (exec 3> never) & sleep 0.2; \
        printf y >> got; kill -KILL $!; wait; (exec 4< never) & sleep 0.2; printf z >> got; kill -KILL $!; cat got";
    let account = sh(stage, script)?;
    same("what came through", account.ended.out(), "xyz".to_owned())?;
    account.shows(&[&["fs.open observed", "path=\"pipe\""], &["fs.open observed", "path=\"never\""]])
}

fn a_stopped_process(stage: &mut Stage) -> Told {
    let account = sh(stage, "mkdir d && {bin}/stockade-probe stop-and-go d")?;
    account.shows(&[&["fs.open performed", "path=\"d/last\""]])
}

fn a_killed_process(stage: &mut Stage) -> Told {
    let script = "n=0; while [ $n -lt 60 ]; do \
        python3 -c 'while True: open(\"out\", \"w\").close()' & sleep 0.0$((n % 7))3; kill -KILL $!; n=$((n+10)); done; \
        wait; printf ended";
    let account = sh(stage, script)?;
    same("the last word", account.ended.out(), "ended".to_owned())
}

fn a_thousand_threads(stage: &mut Stage) -> Told {
    stage.scene.folder("{ws}/d")?;
    let limit = "[limits]\npids = 1500\n";
    let command = ["{bin}/stockade-probe", "write-from-threads", "d", "1000"].map(|word| stage.scene.fill(word));
    let command: Vec<&str> = command.iter().map(String::as_str).collect();
    let account = run(stage, Record::Changes, "direct", limit, &command)?;
    must(account.ended.code() == 0, || account.told())?;
    let opened =
        account.of("fs.open").filter(|open| open.get("path").is_some_and(|path| path.to_string().contains("d/")));
    same("files on record", opened.count(), 1000)?;
    same("processes", account.of("proc.start").count(), 1)
}

fn a_fork_bomb(stage: &mut Stage) -> Told {
    let limit = "[limits]\npids = 64\nwall_s = 60\n";
    let script = stage.scene.fill("{bin}/stockade-probe fork-bomb 500; printf x > after");
    let account = run(stage, Record::Changes, "direct", limit, &["/bin/sh", "-c", &script])?;
    let began = account.of("proc.start").count();
    same("ends", account.of("proc.exit").count(), began)
}

fn a_nested_session(stage: &mut Stage) -> Told {
    let script = "export STOCKADE_STATE=$HOME/state; {bin}/stockade run --workspace . -- /bin/true; echo ended";
    let script = stage.scene.fill(script);
    let account = on_record(stage, Record::Changes, &["/bin/sh", "-c", &script])?;
    must(account.ended.out().contains("ended"), || account.told())
}

/// What is opened on behalf of a process that confined itself must not be more than that process may open.
fn an_own_wall(stage: &mut Stage) -> Told {
    let script = stage.scene.fill("{bin}/stockade-probe write-in-own-landlock out");
    let control = stage.plain(&["/bin/sh", "-c", &script])?;
    if control.code() != 10 {
        return Err(Stop::Skip(format!("no Landlock here: {}", control.told())));
    }
    sh(stage, "{bin}/stockade-probe write-how beside")?;
    let account = on_record(stage, Record::Changes, &["/bin/sh", "-c", &script])?;
    same("exit code", account.ended.code(), 10)?;
    must(!stage.exists("{ws}/out"), || format!("the recorder opened what the guest may not: {}", account.told()))
}

/// Programs that are written and run at once, by many processes side by side: whoever holds a file open a moment longer
/// than the guest does makes this fail (`ETXTBSY`).
fn programs_just_written(stage: &mut Stage) -> Told {
    let script = "for k in 1 2 3 4; do (n=0; while [ $n -lt 150 ]; do \
        cp /bin/true own-$k-$n && ./own-$k-$n || echo failed; n=$((n+1)); done) & done; wait";
    let account = sh(stage, script)?;
    same("failures", account.ended.out(), String::new())
}

fn a_lease(stage: &mut Stage) -> Told {
    let holder = "import fcntl, os, signal, time\n\
        signal.signal(signal.SIGIO, lambda *_: None)\n\
        file = os.open('leased', os.O_RDONLY)\n\
        fcntl.fcntl(file, fcntl.F_SETLEASE, fcntl.F_RDLCK)\n\
        open('held', 'w').close()\n\
        signal.pause()\n\
        time.sleep(0.3)\n\
        fcntl.fcntl(file, fcntl.F_SETLEASE, fcntl.F_UNLCK)\n\
        print('let go', flush=True)\n";
    stage.scene.file("{ws}/holder.py", holder)?;
    stage.scene.file("{ws}/leased", "x")?;
    let script = "python3 holder.py & while [ ! -e held ]; do sleep 0.02; done; printf y >> leased & \
        sleep 0.1; printf z > other && echo meanwhile; wait";
    let account = sh(stage, script)?;
    same("the order", account.ended.out(), "meanwhile\nlet go\n".to_owned())
}
