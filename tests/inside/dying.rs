//! An engine that is killed while a call runs in a container of its: what was going on ends well, or says why.
//! It never touches the engines of the other stories: each starts one of its own.

use crate::ends::{none_left, ours};
use crate::{Engine, GVISOR, engines, image, run};
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};
use stockade_tests::binaries;
use stockade_tests::people::Person;
use stockade_tests::process::{Ended, Program};
use stockade_tests::stage::Stage;
use stockade_tests::story::{Stop, Story, Told, must, same};

/// Longest time for something to come about; a bound against hanging, not a measurement.
const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) fn stories() -> Vec<Story> {
    vec![
        Story::new("inside::an_engine_that_dies_amid_a_call_does_not_take_it_along", |stage| {
            told(stage, Disk::Usual, amid_a_call)
        }),
        Story::new("inside::an_engine_that_died_does_not_come_back_with_our_containers", |stage| {
            told(stage, Disk::Usual, afterwards)
        }),
        Story::new("inside::an_engine_without_room_does_not_leave_half_a_session", |stage| {
            if !stage.scene.person().is_root() {
                return Err(Stop::Skip("only root can give an engine a disk of its own".to_owned()));
            }
            told(stage, Disk::Small, without_room)
        }),
    ]
}

/// Tells it with an engine that it may kill.
fn told(stage: &mut Stage, on: Disk, tell: fn(&mut Stage, &Killable) -> Told) -> Told {
    // Which runtime a container has makes no difference to an engine that is gone.
    for engine in engines(stage.scene.person())?.into_iter().filter(|engine| engine.runtime.is_none()) {
        let own = Killable::start(&engine, on)?;
        tell(stage, &own).map_err(|stop| match stop {
            Stop::Fail(why) => Stop::Fail(format!("with {}: {why}", engine.name)),
            Stop::Skip(why) => Stop::Skip(format!("with {}: {why}", engine.name)),
        })?;
    }
    Ok(())
}

/// An engine of one story. Dropped, all that it started is ended.
struct Killable {
    engine: Engine,
    /// What the script that starts engines calls it.
    name: &'static str,
    directory: String,
    on: Disk,
}

/// What an engine keeps its things on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Disk {
    /// The machine's.
    Usual,
    /// One that can be filled.
    Small,
}

/// Options of a disk that holds an engine's own files, one image, and little else.
const SMALL: &str = "size=48m,mode=755";

impl Killable {
    /// Starts one of the same make, with the image of the story in it.
    fn start(like: &Engine, on: Disk) -> Result<Self, Stop> {
        let name = match like.name {
            "docker" => "docker",
            "podman" => "podman",
            _ => "rootless",
        };
        // Not on the stage: Podman's directories have names of fifty bytes at most.
        static STARTED: AtomicU32 = AtomicU32::new(0);
        let number = STARTED.fetch_add(1, Ordering::Relaxed);
        let directory = format!("/var/tmp/stockade-e{}-{number}", std::process::id());
        if on == Disk::Small {
            std::fs::create_dir(&directory)?;
            as_oneself(&["/bin/mount", "-t", "tmpfs", "-o", SMALL, "stockade-test", &directory])?;
        }
        let mut own = Self { engine: like.clone(), name, directory, on };
        own.engine.address = own.serve()?;
        let archive = format!("{}/image.tar", own.directory);
        let get = format!("http://engine/v1.40/images/{}/get", image("busybox"));
        as_oneself(&["/usr/bin/curl", "-sSf", "--unix-socket", socket(like), "-o", &archive, &get])?;
        let data = format!("@{archive}");
        let put = "http://engine/v1.40/images/load";
        let kind = "Content-Type: application/x-tar";
        let words =
            ["/usr/bin/curl", "-sSf", "--unix-socket", socket(&own.engine), "-H", kind, "--data-binary", &data, put];
        as_oneself(&words)?;
        Ok(own)
    }

    /// Starts it, or starts it again, and gives its address.
    fn serve(&self) -> Result<String, Stop> {
        let ended = script(&["start", &self.directory, self.name])?;
        let out = ended.out();
        let told = out.lines().filter_map(|line| line.split_once('='));
        let told = told.map(|(_, value)| value).find(|value| value.ends_with(".sock"));
        let socket = told.ok_or_else(|| Stop::Skip(out.clone()))?;
        Ok(format!("unix://{socket}"))
    }

    /// Kills what serves its socket, and nothing else of it.
    fn kill(&self) -> Told {
        let listens = |process: &Path| {
            let words = std::fs::read(process.join("cmdline")).unwrap_or_default();
            words.split(|byte| *byte == 0).any(|word| word == self.engine.address.as_bytes())
        };
        let serving = std::fs::read_dir("/proc")?.flatten().map(|entry| entry.path()).filter(|path| listens(path));
        let pids: Vec<String> = serving.filter_map(|path| Some(path.file_name()?.to_str()?.to_owned())).collect();
        must(!pids.is_empty(), || format!("nobody serves {}", self.engine.address))?;
        // A supervisor names the socket in a word of its own too; it is not started with `system service`, nor is it dockerd.
        let daemons = pids.iter().filter(|pid| is_daemon(pid));
        as_oneself(&["/bin/kill", "-KILL"].into_iter().chain(daemons.map(String::as_str)).collect::<Vec<_>>())?;
        let until = Instant::now() + PATIENCE;
        let socket = socket(&self.engine);
        while std::os::unix::net::UnixStream::connect(socket).is_ok() {
            must(Instant::now() < until, || format!("{socket} still answers"))?;
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }
}

/// Whether a process is an engine's, by its program.
fn is_daemon(pid: &str) -> bool {
    let program = std::fs::read_link(format!("/proc/{pid}/exe")).unwrap_or_default();
    program.ends_with("dockerd") || program.ends_with("podman")
}

impl Drop for Killable {
    fn drop(&mut self) {
        // What could not be ended shows as left behind.
        drop(script(&["stop", &self.directory]));
        if self.on == Disk::Small {
            drop(as_oneself(&["/bin/umount", "--lazy", &self.directory]));
        }
        drop(std::fs::remove_dir_all(&self.directory));
    }
}

fn socket(engine: &Engine) -> &str {
    engine.address.trim_start_matches("unix://")
}

fn script(words: &[&str]) -> Result<Ended, Stop> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("containers/engines");
    let path = path.to_str().ok_or_else(|| Stop::Fail("the tests' directory is no text".to_owned()))?.to_owned();
    as_oneself(&[&[path.as_str()][..], words].concat())
}

/// Runs a program as whoever runs the tests; it has to succeed.
fn as_oneself(words: &[&str]) -> Result<Ended, Stop> {
    let mut environment = vec![("PATH".into(), "/usr/sbin:/usr/bin:/sbin:/bin".into())];
    environment.extend(binaries::variable(GVISOR).map(|path| (GVISOR.into(), path)));
    let program = Program {
        argv: words.iter().map(Into::into).collect(),
        directory: "/".into(),
        environment,
        person: Person::myself(),
        input: Vec::new(),
        limit: PATIENCE,
    };
    let ended = program.run()?;
    must(ended.code() == 0, || ended.told())?;
    Ok(ended)
}

/// A call that takes longer than an engine's death, in the workspace that is used directly.
fn waiting(stage: &Stage, own: &Killable) -> Result<std::process::Child, Stop> {
    let image = image("busybox");
    let script = "echo begun > begun; sleep 3; echo done > done";
    let words = ["{bin}/stockade", "run", "-q", "-w", "{ws}", "--mode", "direct", "-p", "container", "--image", &image];
    let words = [&words[..], &["--engine", &own.engine.address, "--", "/bin/sh", "-c", script]].concat();
    drop(std::fs::remove_file(stage.scene.path("{ws}/begun")));
    let child = stage.program(&words).start()?;
    let until = Instant::now() + PATIENCE;
    while !stage.exists("{ws}/begun") {
        must(Instant::now() < until, || "the call does not begin".to_owned())?;
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(child)
}

/// The call's channel is ours: it goes on, ends, and is sealed; what its engine still lists is said to be left.
fn amid_a_call(stage: &mut Stage, own: &Killable) -> Told {
    let child = waiting(stage, own)?;
    own.kill()?;
    let ended = child.wait_with_output()?;
    let err = String::from_utf8_lossy(&ended.stderr);
    must(ended.status.code() == Some(0), || format!("{:?}: {err}", ended.status))?;
    same("its work", stage.text("{ws}/done"), "done\n".to_owned())?;
    must(err.contains("gc"), || format!("a container is left, and nobody says so: {err}"))?;
    stage.answers(0, &["verify", "last"])?;
    // And no other call begins.
    let next = run(stage, &own.engine, "busybox", &["-p", "container"], &["/bin/true"])?;
    must(next.code() == 125 && next.err().contains("hint: "), || next.told())
}

/// Supervisor and engine die together, and nobody was told to remove the container: the next engine does, or `gc`.
fn afterwards(stage: &mut Stage, own: &Killable) -> Told {
    let mut child = waiting(stage, own)?;
    must(ours(stage, &own.engine)?.len() == 1, || "there is no container: nothing is shown".to_owned())?;
    own.kill()?;
    child.kill()?;
    child.wait()?;
    same("where it was", own.serve()?, own.engine.address.clone())?;
    stage.answers(0, &["gc", "--engine", &own.engine.address])?;
    none_left(stage, &own.engine)
}

/// What says so is the engine; nothing of the session is left, and with room again the next one begins.
fn without_room(stage: &mut Stage, own: &Killable) -> Told {
    let ballast = format!("{}/ballast", own.directory);
    let fill = format!("head -c 60000000 /dev/zero > {ballast} 2>/dev/null; test -s {ballast}");
    as_oneself(&["/bin/sh", "-c", &fill])?;
    let ended = run(stage, &own.engine, "busybox", &["-p", "container"], &["/bin/true"])?;
    must(ended.code() == 125 && ended.err().to_lowercase().contains("no space left"), || ended.told())?;
    none_left(stage, &own.engine)?;
    std::fs::remove_file(&ballast)?;
    let next = run(stage, &own.engine, "busybox", &["-p", "container"], &["/bin/true"])?;
    must(next.code() == 0, || next.told())?;
    stage.answers(0, &["verify", "last"]).map(drop)
}
