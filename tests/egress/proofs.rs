//! The log of what went out: complete, honest about a sudden end, and without a secret anywhere.
//! It never kills a process that the test did not start.

use crate::world::{SECRET, World, holds_key, traces};
use std::os::unix::fs::chown;
use std::time::{Duration, Instant};
use stockade_tests::people::Person;
use stockade_tests::stage::Stage;
use stockade_tests::story::{Stop, Story, Told, must};

pub(crate) fn stories() -> Vec<Story> {
    vec![
        Story::new("proofs::every_step_of_a_request_is_in_the_log", complete),
        Story::new("proofs::a_killed_outlet_does_not_leave_a_log_that_passes", killed),
        Story::new("proofs::the_secret_is_in_no_process_while_it_is_used", processes),
        Story::new("proofs::the_secret_is_in_no_file_of_the_state", files),
        Story::new("proofs::a_query_is_not_in_the_log", query),
        Story::new("proofs::a_request_that_is_changed_in_the_log_is_noticed", changed),
        Story::new("proofs::a_full_disk_does_not_let_a_request_out_unlogged", full),
        Story::new("proofs::a_name_cannot_forge_a_line_of_the_log", forged),
    ]
}

fn complete(stage: &mut Stage) -> Told {
    let world = World::new(stage)?;
    let heard = world.inside(stage, "curl -sS -H \"authorization: Bearer $API_KEY\" https://good.test/echo")?;
    heard.says(&["authorization"])?;
    heard.logged(&[
        &["net.name", "good.test", "addr="],
        &["net.open", "host=\"good.test\"", "via=\"direct\""],
        &["net.request", "method=\"GET\"", "path=\"/echo\""],
        &["secret.use", "name=\"key\"", "header authorization"],
        &["secret.scrub", "name=\"key\"", "place=\"body\""],
        &["net.reply", "status=200", "why=\"done\""],
        &["net.close", "why=\"done\""],
    ])?;
    // On disk before its first byte leaves: the order of the records is the order of the acts.
    let at = |word: &str| heard.log.lines().position(|line| line.contains(word));
    must(at("net.request") < at("secret.use") && at("secret.use") < at("net.reply"), || heard.told())
}

/// Starts a script inside, waits until the servers have seen a sign, and does something meanwhile.
fn meanwhile(stage: &Stage, world: &World, script: &str, sign: &str, act: impl FnOnce(u32) -> Told) -> Told {
    let words = world.words(script);
    let mut child = stage.program(&[&["{bin}/stockade"], &words[..]].concat()).start()?;
    let until = Instant::now() + Duration::from_secs(20);
    while !stage.text("{up}/requests.jsonl").contains(sign) {
        if child.try_wait()?.is_some() || Instant::now() > until {
            child.kill()?;
            let ended = child.wait_with_output()?;
            let said = [ended.stdout, ended.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
            return Err(Stop::Fail(format!("no {sign:?} arrived: {said:?}")));
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    let told = act(child.id());
    child.kill()?;
    child.wait()?;
    told
}

const SLOW: &str = "curl -sS -N https://attach.good.test/sse; (curl -sS -N https://attach.good.test/sse); sleep 30";

fn killed(stage: &mut Stage) -> Told {
    let world = World::new(stage)?;
    meanwhile(stage, &world, SLOW, "/sse", |_| Ok(()))?;
    let verified = stage.stockade(&["verify", "last"])?;
    must(verified.code() == 3 && verified.out().starts_with("UNPROVEN"), || verified.told())?;
    let shown = stage.answers(0, &["log", "show", "last"])?;
    must(shown.out().contains("net.request") && shown.out().contains("secret.use"), || shown.told())?;
    must(!shown.out().contains("session.close"), || shown.told())?;
    // Sweeps the control groups that the dead one could not.
    world.inside(stage, "true").map(drop)
}

fn processes(stage: &mut Stage) -> Told {
    let world = World::new(stage)?;
    meanwhile(stage, &world, SLOW, "/sse", |_| {
        let mut looked = 0;
        for process in std::fs::read_dir("/proc")?.flatten().map(|entry| entry.path()) {
            for file in ["environ", "cmdline", "comm"] {
                let Ok(told) = std::fs::read(process.join(file)) else { continue };
                looked += 1;
                must(!holds_key(&told), || format!("the secret is in {}/{file}", process.display()))?;
            }
        }
        must(looked > 10, || format!("only {looked} files were looked at"))?;
        let found = traces(&stage.scene.path("{root}"), &[stage.scene.path("{up}/requests.jsonl")]);
        must(found.is_empty(), || format!("the secret is in {found:#?}"))
    })?;
    world.inside(stage, "true").map(drop)
}

/// The control of every search: where the secret has to be, it is found.
fn files(stage: &mut Stage) -> Told {
    let world = World::new(stage)?;
    world.inside(stage, "curl -sS https://attach.good.test/echo; curl -sS https://attach.good.test/reflect")?;
    let upstream = stage.scene.path("{up}");
    let found = traces(&upstream, &[]);
    must(found == [stage.scene.path("{up}/requests.jsonl")], || format!("{found:?}"))?;
    stage.scene.file("{root}/kept/a", &format!("x{SECRET}y"))?;
    let found = traces(&stage.scene.path("{root}/kept"), &[]);
    std::fs::remove_dir_all(stage.scene.path("{root}/kept"))?;
    must(found.len() == 1, || "the search does not find what is there".to_owned())?;
    let found = traces(&stage.scene.path("{state}"), &[]);
    must(found.is_empty(), || format!("the secret is in {found:?}"))
}

fn query(stage: &mut Stage) -> Told {
    let world = World::new(stage)?;
    let heard = world.inside(stage, "curl -sS 'https://good.test/echo?private=words-of-the-query' >/dev/null")?;
    heard.arrived(&["words-of-the-query"])?;
    must(!heard.log.contains("words-of-the-query") && heard.log.contains("query_h="), || heard.told())
}

fn changed(stage: &mut Stage) -> Told {
    let world = World::new(stage)?;
    world.inside(stage, "curl -sS https://good.test/bytes/1")?;
    let (from, to) = (b"/bytes/1", b"/bytes/2");
    let mut segments = 0;
    for session in std::fs::read_dir(stage.scene.path("{state}/s"))?.flatten() {
        for segment in std::fs::read_dir(session.path().join("seg"))?.flatten().map(|entry| entry.path()) {
            let mut bytes = std::fs::read(&segment)?;
            let Some(at) = bytes.windows(from.len()).position(|window| window == from) else { continue };
            bytes.splice(at..at + from.len(), to.iter().copied());
            std::fs::write(segment, bytes)?;
            segments += 1;
        }
    }
    must(segments == 1, || format!("{segments} segments have the request"))?;
    let verified = stage.stockade(&["verify", "last"])?;
    must(verified.code() == 2 && verified.out().starts_with("BROKEN"), || verified.told())
}

fn forged(stage: &mut Stage) -> Told {
    let world = World::new(stage)?;
    let script = r#"python3 - <<'PYTHON'
from client import *
for host in ("a\nsecret.forged", "a\x1b[31mred", "a\u202eb"):
    s = dial(*PROXY)
    s.sendall(b"\5\1\0")
    s.recv(2)
    name = host.encode()
    s.sendall(b"\5\1\0\3" + bytes([len(name)]) + name + b"\1\xbb")
    assert s.recv(10)[1:2] != b"\0"
print("done")
PYTHON
curl -sS --path-as-is "https://good.test/$(printf 'a\033[31mb')" | cat -v"#;
    let heard = world.inside(stage, script)?;
    heard.says(&["done"])?;
    let forged = heard.log.lines().any(|line| line.trim_start().starts_with("secret.forged"));
    must(!forged && !heard.log.contains('\u{1b}') && !heard.log.contains('\u{202e}'), || heard.told())
}

/// A small file system for the state, unmounted when dropped.
struct Mounted(String);

impl Drop for Mounted {
    fn drop(&mut self) {
        #[expect(
            clippy::disallowed_methods,
            reason = "the tests' door to starting programs; a mount must not outlive its test"
        )]
        let ended = std::process::Command::new("/bin/umount").args(["--lazy", &self.0]).status();
        // What cannot be unmounted shows as left behind.
        drop(ended);
    }
}

fn full(stage: &mut Stage) -> Told {
    let myself = Person::myself();
    if !myself.is_root() {
        return Err(Stop::Skip("only root can mount".to_owned()));
    }
    let state = stage.scene.fill("{state}");
    let mut mount = stage.program(&["/bin/mount", "-t", "tmpfs", "-o", "size=2m,mode=700", "stockade-test", &state]);
    mount.person = myself;
    let mounted = stage.go(&mount)?;
    if mounted.code() != 0 {
        return Err(Stop::Skip(format!("tmpfs cannot be mounted here: {}", mounted.err())));
    }
    let _mount = Mounted(state.clone());
    chown(&state, Some(stage.scene.person().uid()), None)?;
    let world = World::new(stage)?;
    let script = "curl -sS https://good.test/before; head -c 9000000 /dev/zero > big; \
        for i in $(seq 400); do curl -sS -m 5 https://attach.good.test/after/$i || break; done; echo ended";
    let words = world.words(script);
    let ended = stage.plain(&[&["{bin}/stockade"], &words[..]].concat())?;
    must(ended.code() == 125, || ended.told())?;
    let log = stage.answers(0, &["log", "show", "last", "--json"])?.out();
    let (logged, seen) = (log.matches("\"net.request\"").count(), stage.text("{up}/requests.jsonl").lines().count());
    must(seen >= 1 && seen <= logged, || format!("{seen} requests arrived, {logged} are in the log\n{}", ended.told()))
}
