//! Workers over time: started on need, again after one died, with many calls at once, cancelled, and with a cache that is
//! believed only when it is ours.

use crate::guests::{echo, pure};
use crate::stage::{Canceller, Stage, nothing, start};
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt as _;
use std::sync::Arc;
use std::time::{Duration, Instant};
use stockade::backend::wasm::{Cache, CallGrant, Component, End, Files, Kind, Life, Limits, Started, ToolIo, ToolWall};

fn parsed(bytes: Vec<u8>) -> Component {
    Component::parse(bytes).expect("it is a tool")
}

#[test]
fn a_worker_is_started_when_one_is_needed_and_then_kept() {
    let stage = Stage::new();
    assert_eq!(stage.wall.workers(), 0, "a session without calls has none");
    for text in ["one", "two"] {
        let (ran, _) = stage.call(&parsed(echo()), text, &nothing());
        assert!(matches!(&ran.end, End::Answered(reply) if reply.text == text), "{ran:?}");
    }
    assert_eq!(*stage.started.lock().expect("whole"), [Kind::Compile, Kind::Read]);
    let (ran, _) = stage.call(&parsed(echo()), "write", &CallGrant { files: Files::Write, ..nothing() });
    assert!(matches!(ran.end, End::Answered(_)), "{ran:?}");
    assert_eq!(*stage.started.lock().expect("whole"), [Kind::Compile, Kind::Read, Kind::Write]);
}

#[test]
fn the_call_that_loses_its_worker_is_told_and_the_next_has_another() {
    let stage = Stage::new();
    let looping = parsed(pure("looping", "(loop (br 0)) unreachable"));
    let (ran, _) = std::thread::scope(|scope| {
        let call = scope.spawn(|| stage.call(&looping, "{}", &nothing()));
        while stage.wall.workers() == 0 {
            std::thread::sleep(Duration::from_millis(5));
        }
        std::thread::sleep(Duration::from_millis(300));
        let channels = stage.channels.lock().expect("whole");
        let last = channels.last().expect("one was started");
        rustix::net::shutdown(last, rustix::net::Shutdown::Both).expect("it is open");
        drop(channels);
        call.join().expect("it comes back")
    });
    assert!(matches!(&ran.end, End::Died { why } if why.contains("ended")), "{ran:?}");
    assert_eq!(ran.uses_lost, 1, "nobody knows what it did last");
    let (after, _) = stage.call(&parsed(echo()), "again", &nothing());
    assert!(matches!(&after.end, End::Answered(reply) if reply.text == "again"), "{after:?}");
}

#[test]
fn a_worker_that_died_between_calls_is_replaced_without_a_word() {
    let stage = Stage::new();
    stage.call(&parsed(echo()), "one", &nothing());
    rustix::net::shutdown(stage.channels.lock().expect("whole").last().expect("one"), rustix::net::Shutdown::Both)
        .expect("it is open");
    let (ran, _) =
        stage.call(&parsed(pure("other", "(call $answer (local.get $p) (local.get $n))")), "two", &nothing());
    assert!(matches!(&ran.end, End::Answered(reply) if reply.text == "two"), "{ran:?}");
}

#[test]
fn many_calls_at_once_each_get_their_own_answer() {
    let stage = Stage::new();
    let component = parsed(echo());
    let looping = parsed(pure("looping", "(loop (br 0)) unreachable"));
    let limits = Limits { wall: Duration::from_secs(2), ..nothing().limits };
    std::thread::scope(|scope| {
        // Two that never stop are beside them all the time.
        for _ in 0..2 {
            scope.spawn(|| {
                let (ran, _) = stage.call(&looping, "{}", &CallGrant { limits, ..nothing() });
                assert!(matches!(ran.end, End::Limit(_)), "{ran:?}");
            });
        }
        for caller in 0..8 {
            let (stage, component) = (&stage, &component);
            scope.spawn(move || {
                for turn in 0..50 {
                    let text = format!("{caller}-{turn}");
                    let (ran, _) = stage.call(component, &text, &nothing());
                    assert!(matches!(&ran.end, End::Answered(reply) if reply.text == text), "{ran:?}");
                }
            });
        }
    });
}

#[test]
fn an_argument_and_a_reply_may_be_longer_than_a_message() {
    let stage = Stage::new();
    let long = "long ".repeat(100_000);
    let (ran, _) = stage.call(&parsed(echo()), &long, &nothing());
    assert!(matches!(&ran.end, End::Answered(reply) if reply.text == long), "{:?}", ran.usage);
}

#[test]
fn a_cancelled_call_ends_at_once() {
    let stage = Stage::new();
    let (read, write) = rustix::pipe::pipe().expect("a pipe");
    let looping = parsed(pure("looping", "(loop (br 0)) unreachable"));
    let mut outside = Canceller { end: read, said: false };
    let mut connect = |_| Err(stockade::error::Error::host("no outlet"));
    let (ran, _) = std::thread::scope(|scope| {
        scope.spawn(|| {
            while stage.wall.workers() == 0 {
                std::thread::sleep(Duration::from_millis(5));
            }
            std::thread::sleep(Duration::from_millis(500));
            rustix::io::write(&write, b"x").expect("there is room");
        });
        stage.call_with(&looping, "{}", &nothing(), &mut outside, &mut connect)
    });
    assert_eq!(ran.end, End::Cancelled);
    assert!((1000..5_000_000).contains(&ran.usage.cpu_us), "it ran, and then no longer: {ran:?}");
}

/// Whoever does not want a call does not wait for its compiler.
#[test]
fn a_call_can_be_cancelled_while_its_component_is_compiled() {
    let stage = Stage::new();
    let (read, write) = rustix::pipe::pipe().expect("a pipe");
    rustix::io::write(&write, b"x").expect("there is room");
    let component = parsed(echo());
    let mut outside = Canceller { end: read, said: false };
    let mut connect = |_| Err(stockade::error::Error::host("no outlet"));
    let (ran, seen) = stage.call_with(&component, "never", &nothing(), &mut outside, &mut connect);
    assert_eq!((&ran.end, ran.uses_lost, seen.uses.len()), (&End::Cancelled, 0, 0));
    assert_eq!(*stage.started.lock().expect("whole"), [Kind::Compile], "nothing ran");
    let (ran, _) = stage.call(&component, "again", &nothing());
    assert!(matches!(&ran.end, End::Answered(reply) if reply.text == "again"), "{ran:?}");
}

#[test]
fn a_call_can_be_cancelled_while_its_component_is_loaded_and_no_other_runs_in_its_place() {
    let stage = Stage::new();
    let (one, two) = (parsed(pure("one", "unreachable")), parsed(echo()));
    stage.wall.compile(&one).expect("it compiles");
    stage.wall.compile(&two).expect("it compiles");
    let (read, write) = rustix::pipe::pipe().expect("a pipe");
    rustix::io::write(&write, b"x").expect("there is room");
    let mut outside = Canceller { end: read, said: false };
    let mut connect = |_| Err(stockade::error::Error::host("no outlet"));
    let (ran, _) = stage.call_with(&one, "never", &nothing(), &mut outside, &mut connect);
    assert_eq!((&ran.end, ran.uses_lost), (&End::Cancelled, 0));
    // The answer about the first comes while the second is waited for.
    let (ran, _) = stage.call(&two, "again", &nothing());
    assert!(matches!(&ran.end, End::Answered(reply) if reply.text == "again"), "{ran:?}");
    assert_eq!(stage.wall.workers(), 1);
}

/// A worker that takes everything and says nothing.
struct Silent(#[expect(dead_code, reason = "it is kept open")] OwnedFd);

impl Life for Silent {
    fn end(&mut self) -> String {
        "it said nothing".to_owned()
    }
}

/// Calls that have a component loaded which takes long, as many as there are workers, and one that waits for theirs.
#[test]
fn a_call_can_be_cancelled_while_another_has_its_component_loaded() {
    let stage = Stage::new();
    let compiling = start(stage.view(), Arc::default(), Arc::default());
    let start = Box::new(move |kind| match kind {
        Kind::Compile => compiling(kind),
        Kind::Read | Kind::Write => {
            let (ours, theirs) = rustix::net::socketpair(
                rustix::net::AddressFamily::UNIX,
                rustix::net::SocketType::SEQPACKET,
                rustix::net::SocketFlags::CLOEXEC,
                None,
            )
            .expect("a socket pair");
            Ok(Started { channel: ours, life: Box::new(Silent(theirs)) })
        }
    });
    let wall = ToolWall::new(start, Cache::open(&stage.directory).expect("the cache opens"));
    let component = parsed(echo());
    wall.compile(&component).expect("it compiles");
    let call = |end: OwnedFd| {
        let mut connect = |_| Err(stockade::error::Error::host("no outlet"));
        let (mut used, mut progress) = (|_| Ok(()), |_| ());
        let mut outside = Canceller { end, said: false };
        let io = ToolIo { connect: &mut connect, used: &mut used, progress: &mut progress, outside: &mut outside };
        wall.run_arguments("x".to_owned(), &component, &nothing(), io).map(|ran| ran.end)
    };
    let workers = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    std::thread::scope(|scope| {
        let first: Vec<_> = (0..workers)
            .map(|number| {
                let (read, write) = rustix::pipe::pipe().expect("a pipe");
                let call = scope.spawn(|| call(read));
                while wall.workers() <= number {
                    std::thread::sleep(Duration::from_millis(5));
                }
                (call, write)
            })
            .collect();
        let (read, write) = rustix::pipe::pipe().expect("a pipe");
        let began = Instant::now();
        let waits = scope.spawn(|| call(read));
        std::thread::sleep(Duration::from_millis(300));
        rustix::io::write(&write, b"x").expect("there is room");
        assert_eq!(waits.join().expect("no panic").expect("it ends"), End::Cancelled);
        assert!(began.elapsed() < Duration::from_secs(10), "it waited for the others: {:?}", began.elapsed());
        assert!(first.iter().all(|(call, _)| !call.is_finished()), "the control: they still wait");
        for (call, write) in first {
            rustix::io::write(&write, b"x").expect("there is room");
            assert_eq!(call.join().expect("no panic").expect("it ends"), End::Cancelled);
        }
    });
    assert_eq!(wall.workers(), workers, "nobody was taken for lost");
}

/// Two that begin at the same moment: while there is room for two workers, none is given to both.
#[test]
fn calls_that_begin_together_have_each_their_worker() {
    let stage = Stage::new();
    let component = parsed(pure("looping", "(loop (br 0)) unreachable"));
    stage.wall.compile(&component).expect("it compiles");
    let workers = std::thread::available_parallelism().map_or(1, std::num::NonZero::get).min(2);
    for round in 0..4 {
        let starting = start(stage.view(), Arc::default(), Arc::default());
        let slow = Box::new(move |kind| {
            // Whoever comes second waits for the list of workers meanwhile.
            std::thread::sleep(Duration::from_millis(50));
            starting(kind)
        });
        let wall = ToolWall::new(slow, Cache::open(&stage.directory).expect("the cache opens"));
        let limits = Limits { wall: Duration::from_secs(1), ..nothing().limits };
        let call = || {
            let mut connect = |_| Err(stockade::error::Error::host("no outlet"));
            let (mut used, mut progress) = (|_| Ok(()), |_| ());
            let outside = &mut stockade::backend::process::Alone;
            let io = ToolIo { connect: &mut connect, used: &mut used, progress: &mut progress, outside };
            let grant = CallGrant { limits, ..nothing() };
            wall.run_arguments("x".to_owned(), &component, &grant, io).expect("it runs").end
        };
        std::thread::scope(|scope| {
            let calls: Vec<_> = (0..2).map(|_| scope.spawn(call)).collect();
            for call in calls {
                assert!(matches!(call.join().expect("no panic"), End::Limit(_)));
            }
        });
        assert_eq!(wall.workers(), workers, "round {round}");
    }
}

/// What processes that were killed and engines that are gone left behind is removed when something new is kept.
#[test]
fn what_nobody_will_use_is_removed_from_the_cache() {
    let stage = Stage::new();
    let place = stage.directory.join("components");
    let old = std::time::SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000);
    let foreign = format!("{}-{}.cwasm", "0".repeat(64), "f".repeat(16));
    let swept = ["new-0011", "key-0011", foreign.as_str()];
    let kept = ["fresh", "other"];
    for name in swept.iter().chain(&kept) {
        let file = std::fs::File::create(place.join(name)).expect("ours");
        file.set_modified(old).expect("ours");
    }
    std::fs::File::create(place.join("new-2233")).expect("ours");
    let before = std::fs::File::open(place.join("key")).expect("the key of the cache");
    before.set_modified(old).expect("ours");
    stage.call(&parsed(echo()), "one", &nothing());
    for name in swept {
        assert!(!place.join(name).exists(), "{name}");
    }
    for name in kept.iter().chain(&["new-2233", "key"]) {
        assert!(place.join(name).exists(), "{name}");
    }
}

#[test]
fn code_in_the_cache_is_loaded_only_when_we_wrote_it() {
    let stage = Stage::new();
    let entry = || {
        let entries = std::fs::read_dir(stage.directory.join("components")).expect("it is there");
        let mut found = entries.flatten().map(|entry| entry.path());
        found.find(|path| path.extension().is_some_and(|kind| kind == "cwasm")).expect("one was kept")
    };
    let component = parsed(echo());
    stage.call(&component, "one", &nothing());
    let kept = std::fs::read(entry()).expect("ours");
    // Another process of ours finds it and compiles nothing.
    assert_eq!(again(&stage, &component), [Kind::Read]);
    // Each change of it is found, and it is made again: one bit anywhere, its end, its mode, its name.
    for at in [3, 20, kept.len() / 2, kept.len() - 1] {
        let mut forged = kept.clone();
        *forged.get_mut(at).expect("it is that long") ^= 1;
        replace(&entry(), &forged, 0o400);
        assert_eq!(again(&stage, &component), [Kind::Compile, Kind::Read], "byte {at}");
    }
    replace(&entry(), kept.get(..kept.len() - 1).expect("it is longer"), 0o400);
    assert_eq!(again(&stage, &component), [Kind::Compile, Kind::Read], "cut");
    replace(&entry(), &kept, 0o444);
    assert_eq!(again(&stage, &component), [Kind::Compile, Kind::Read], "readable by others");
    let place = entry();
    std::fs::rename(&place, stage.directory.join("elsewhere")).expect("ours");
    std::os::unix::fs::symlink(stage.directory.join("elsewhere"), &place).expect("ours");
    assert_eq!(again(&stage, &component), [Kind::Compile, Kind::Read], "a link to the right bytes");
    // The code of another component under this one's name has a MAC that is right, for another name.
    let other = parsed(pure("other", "(call $answer (i32.const 0) (i32.const 0))"));
    let own = entry();
    std::fs::remove_file(&own).expect("ours");
    again(&stage, &other);
    std::fs::rename(entry(), &own).expect("ours");
    assert_eq!(again(&stage, &component), [Kind::Compile, Kind::Read], "another component's code");
    std::fs::set_permissions(stage.directory.join("components"), std::fs::Permissions::from_mode(0o755)).expect("ours");
    let error = Cache::open(&stage.directory).expect_err("others could look").to_string();
    assert!(error.contains("not ours alone"), "{error}");
}

fn replace(path: &std::path::Path, bytes: &[u8], mode: u32) {
    std::fs::remove_file(path).expect("ours");
    std::fs::write(path, bytes).expect("ours");
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).expect("ours");
}

/// What a wall of another process would start for a call.
fn again(stage: &Stage, component: &Component) -> Vec<Kind> {
    use std::sync::{Arc, Mutex};
    use stockade::backend::process::Alone;
    use stockade::backend::wasm::{Cache, ToolIo, ToolWall};
    let started = Arc::new(Mutex::new(Vec::new()));
    let start = start(stage.view(), Arc::clone(&started), Arc::default());
    let wall = ToolWall::new(start, Cache::open(&stage.directory).expect("it opens"));
    let mut connect = |_| Err(stockade::error::Error::host("no outlet"));
    let (mut used, mut progress) = (|_| Ok(()), |_| ());
    let io = ToolIo { connect: &mut connect, used: &mut used, progress: &mut progress, outside: &mut Alone };
    let ran = wall.run_arguments("two".to_owned(), component, &nothing(), io).expect("it runs");
    assert!(matches!(ran.end, End::Answered(_)), "{ran:?}");
    drop(wall);
    Arc::into_inner(started).expect("the wall is gone").into_inner().expect("whole")
}
