//! Containers as they are made: hardened on every engine, seen from outside and from inside, and gone when let go of.
//! It never asks for a container that is less than that: there is no way to.

use crate::house::{Ground, House, PATIENCE, Promise, SECCOMP, ended, failed, image, keeps_limits, mount, spec};
use std::fs;
use std::time::{Duration, Instant};
use stockade::backend::container::engine::{Access, Engine, Fact, State};
use stockade::error::Fault;
use stockade_tests::story::{Stop, Told, must, same};

/// Every promise about a container, which each engine has to keep.
pub(crate) const PROMISES: &[Promise] = &[
    ("nothing_is_weaker_than_asked", nothing_is_weaker_than_asked),
    ("from_inside_nothing_is_weaker_than_asked", from_inside_nothing_is_weaker),
    ("the_wishes_of_an_image_are_not_granted", the_wishes_of_an_image_are_not_granted),
    ("every_image_starts_however_little_is_in_it", every_image_starts),
    ("the_init_can_make_a_proc_of_its_own", the_init_can_make_a_proc_of_its_own),
    ("what_is_mounted_below_something_read_only_is_not_writable", nothing_below_is_writable),
    ("the_root_user_is_refused", the_root_user_is_refused),
    ("the_engines_socket_is_not_mounted", the_engines_socket_is_not_mounted),
    ("a_missing_source_is_refused", a_missing_source_is_refused),
    ("an_unknown_runtime_is_refused", an_unknown_runtime_is_refused),
    ("an_image_that_is_missing_is_refused", an_image_that_is_missing_is_refused),
    ("a_container_that_is_let_go_of_is_removed", a_container_that_is_let_go_of_is_removed),
    ("containers_of_a_session_that_died_are_found_and_removed", left_over_containers_are_found),
    ("an_end_is_told", an_end_is_told),
    ("a_program_that_is_missing_is_told", a_program_that_is_missing_is_told),
];

/// Names of facts about limits.
const LIMITS: [&str; 3] = ["memory, bytes", "memory and swap, bytes", "processes"];

/// Holds gaps to what is known: limits alone, and only where this engine cannot keep them.
fn only_known_gaps(engine: &Engine, house: &House, gaps: &[Fact]) -> Told {
    let found: Vec<&str> = gaps.iter().map(|gap| gap.name).collect();
    let known: Vec<&str> = if keeps_limits(engine, house) { Vec::new() } else { LIMITS.to_vec() };
    must(found == known, || format!("gaps\n   found {gaps:#?}\nexpected {known:?}"))
}

fn nothing_is_weaker_than_asked(house: &House) -> Told {
    let engine = house.engine()?;
    let ground = Ground::new()?;
    let mut asked = spec(house, &image(&engine, "busybox")?, &["/bin/sleep", "300"]);
    asked.mounts.push(mount(&ground.open("read")?, "/mnt", Access::ReadOnly));
    asked.mounts.push(mount(&ground.open("write")?, "/tmp", Access::ReadWrite));
    let mut container = engine.create(&asked).map_err(failed)?;
    same("state", container.state().map_err(failed)?, State::Created)?;
    container.start().map_err(failed)?;
    same("state", container.state().map_err(failed)?, State::Running)?;
    let pid = container.first_process().map_err(failed)?;
    must(fs::metadata(format!("/proc/{pid}")).is_ok(), || format!("there is no process {pid}"))?;
    let read = container.read_back().map_err(failed)?;
    must(read.facts.len() > 25, || format!("only {} facts: {:#?}", read.facts.len(), read.facts))?;
    only_known_gaps(&engine, house, &read.gaps)?;
    let names: Vec<&str> = read.facts.iter().map(|fact| fact.name).collect();
    must(names.contains(&"first process under seccomp"), || format!("the process was not looked at: {names:?}"))?;
    container.remove().map_err(failed)
}

/// What a program inside finds, written line by line where we can read it.
const LOOK: &str = r#"
grep -E '^(Uid|Gid|Groups|CapPrm|CapEff|CapBnd|NoNewPrivs|Seccomp):' /proc/self/status
for path in /written /etc/written /in/written /dev/shm/../written; do
  (echo x >"$path") 2>/dev/null && echo "wrote $path"
done
(echo x >/out/control) && echo 'wrote the control'
echo "interfaces: $(sed -n 's/^ *\([^ :|]*\):.*/\1/p' /proc/net/dev | sort | tr '\n' ' ')"
for path in /var/run/docker.sock /run/docker.sock /run/podman/podman.sock /dev/kvm /dev/mem /dev/sda /dev/fuse; do
  [ -e "$path" ] && echo "there is $path"
done
(mount -t tmpfs none /mnt) 2>/dev/null && echo 'mounted'
(mknod /out/node c 1 3) 2>/dev/null && echo 'made a device'
env | grep -iE 'proxy|secret|LD_PRELOAD' | sed 's/^/variable /'
echo done
"#;

fn from_inside_nothing_is_weaker(house: &House) -> Told {
    let engine = house.engine()?;
    let ground = Ground::new()?;
    let out = ground.open("out")?;
    let look = format!("{{ {LOOK} }} >/out/report 2>&1");
    let mut asked = spec(house, &image(&engine, "busybox")?, &["/bin/sh", "-c", &look]);
    asked.mounts.push(mount(&ground.open("in")?, "/mnt", Access::ReadOnly));
    asked.mounts.push(mount(&out, "/tmp", Access::ReadWrite));
    // Targets that the image has, since nothing can be made in a read-only root.
    let look = look.replace("/out/", "/tmp/").replace("/in/", "/mnt/");
    asked.entrypoint[2] = look;
    let mut container = engine.create(&asked).map_err(failed)?;
    container.start().map_err(failed)?;
    ended(&container)?;
    let report = fs::read_to_string(out.join("report"))?;
    let tidy = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
    let mut lines: Vec<String> = report.lines().map(tidy).collect();
    let told = lines.clone();
    let has = |line: &str| must(told.iter().any(|found| found == line), || format!("no line \"{line}\" in\n{report}"));
    has("Uid: 1000 1000 1000 1000")?;
    has("Gid: 1000 1000 1000 1000")?;
    has("CapPrm: 0000000000000000")?;
    has("CapEff: 0000000000000000")?;
    has("CapBnd: 0000000000000000")?;
    has("wrote the control")?;
    has("interfaces: lo")?;
    has("done")?;
    // gVisor's kernel is its own: it does not tell what is on a process inside, and its devices are not this machine's.
    let is_gvisor = house.runtime == Some("runsc");
    if !is_gvisor {
        has("NoNewPrivs: 1")?;
        has("Seccomp: 2")?;
    }
    lines.retain(|line| !is_gvisor || line != "there is /dev/fuse");
    let forbidden = ["wrote /", "there is", "mounted", "made a device", "variable"];
    let found: Vec<&String> =
        lines.iter().filter(|line| forbidden.iter().any(|begin| line.starts_with(begin))).collect();
    must(found.is_empty(), || format!("{found:?} in\n{report}"))
}

fn the_wishes_of_an_image_are_not_granted(house: &House) -> Told {
    let engine = house.engine()?;
    let wishes = image(&engine, "wishes")?;
    same("it wants to be root", wishes.user.as_str(), "0")?;
    let ground = Ground::new()?;
    let out = ground.open("out")?;
    let words = "{ id -u; (echo x >/data/written) 2>/dev/null && echo wrote; } >/tmp/report 2>&1; sleep 300";
    let mut asked = spec(house, &wishes, &["/bin/sh", "-c", words]);
    asked.mounts.push(mount(&out, "/tmp", Access::ReadWrite));
    let mut container = engine.create(&asked).map_err(failed)?;
    container.start().map_err(failed)?;
    let until = Instant::now() + PATIENCE;
    while fs::read_to_string(out.join("report")).unwrap_or_default().is_empty() {
        must(Instant::now() < until, || "it does not report".to_owned())?;
        std::thread::sleep(Duration::from_millis(20));
    }
    let read = container.read_back().map_err(failed)?;
    only_known_gaps(&engine, house, &read.gaps)?;
    container.remove().map_err(failed)?;
    same("user, and what was written", fs::read_to_string(out.join("report"))?.as_str(), "1000\n")
}

fn every_image_starts(house: &House) -> Told {
    let engine = house.engine()?;
    for (name, words) in [
        ("debian", &["/bin/bash", "-c", "exec sleep 300"][..]),
        ("distroless", &["/usr/bin/sleep", "300"]),
        ("scratch", &["/sleep", "300"]),
    ] {
        let asked = spec(house, &image(&engine, name)?, words);
        let mut container = engine.create(&asked).map_err(failed)?;
        container.start().map_err(failed)?;
        container.first_process().map_err(|error| Stop::Fail(format!("{name}: {error}")))?;
        only_known_gaps(&engine, house, &container.read_back().map_err(failed)?.gaps)?;
        container.remove().map_err(failed)?;
    }
    Ok(())
}

/// What the init of a session does first: without it nothing of ours could be built inside.
fn the_init_can_make_a_proc_of_its_own(house: &House) -> Told {
    if house.runtime == Some("runsc") {
        // It has no /proc/self/setgroups. What our init does there instead is told by the stories of sessions (tests/inside).
        return Err(Stop::Skip("on gVisor unshare(1) cannot map users in a namespace of their own".to_owned()));
    }
    let engine = house.engine()?;
    let ground = Ground::new()?;
    let out = ground.open("out")?;
    let inner = "mount -t proc none /proc && mount -t tmpfs none /mnt && echo x >/mnt/x && grep -c . /proc/1/status >/tmp/report";
    let words = ["/bin/unshare", "--user", "--map-root-user", "--mount", "--pid", "--fork", "/bin/sh", "-c", inner];
    let mut asked = spec(house, &image(&engine, "busybox")?, &words);
    asked.mounts.push(mount(&ground.open("in")?, "/mnt", Access::ReadOnly));
    asked.mounts.push(mount(&out, "/tmp", Access::ReadWrite));
    let mut container = engine.create(&asked).map_err(failed)?;
    container.start().map_err(failed)?;
    let state = ended(&container)?;
    let report = fs::read_to_string(out.join("report"));
    must(report.as_ref().is_ok_and(|text| text.trim() != "0"), || format!("{report:?}, {state:?}"))
}

fn nothing_below_is_writable(house: &House) -> Told {
    let engine = house.engine()?;
    let ground = Ground::new()?;
    let (above, out) = (ground.open("above")?, ground.open("out")?);
    let below = ground.open("above/below")?;
    // Mounted in the engine's own view of the machine, which is ours: a directory over itself is mount enough.
    let Some(_mounted) = Mounted::over(&below) else {
        return Err(Stop::Skip("nothing can be mounted here".to_owned()));
    };
    let words = "{ (echo x >/mnt/below/written) 2>/dev/null && echo wrote; echo done; } >/tmp/report 2>&1";
    let mut asked = spec(house, &image(&engine, "busybox")?, &["/bin/sh", "-c", words]);
    asked.mounts.push(mount(&above, "/mnt", Access::ReadOnly));
    asked.mounts.push(mount(&out, "/tmp", Access::ReadWrite));
    let started = engine.create(&asked).and_then(|mut container| container.start().map(|()| container));
    match started {
        Ok(container) => {
            ended(&container)?;
            same("what was written below", fs::read_to_string(out.join("report"))?.as_str(), "done\n")?;
        }
        // Where mounts are locked by a user namespace, as they are for who opens files for gVisor, one cannot be taken without
        // those below: it does not start.
        Err(error) => must(house.is_rootless() || house.runtime == Some("runsc"), || error.to_string())?,
    }
    must(!below.join("written").exists(), || "it was written".to_owned())
}

/// A mount that is gone after the test.
struct Mounted(std::path::PathBuf);

impl Mounted {
    fn over(path: &std::path::Path) -> Option<Self> {
        let mounted = rustix::mount::mount_bind(path, path).is_ok();
        mounted.then(|| Self(path.to_owned()))
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let gone = rustix::mount::unmount(&self.0, rustix::mount::UnmountFlags::DETACH);
        gone.expect("what was mounted can be unmounted");
    }
}

#[track_caller]
fn refused(engine: &Engine, asked: &stockade::backend::container::engine::Spec, part: &str) -> Told {
    let error = match engine.create(asked) {
        Ok(_) => return Err(Stop::Fail(format!("it was made: {asked:?}"))),
        Err(error) => error,
    };
    must(error.fault == Fault::Operator && error.to_string().contains(part), || {
        format!("not about \"{part}\": {error}")
    })
}

fn the_root_user_is_refused(house: &House) -> Told {
    let engine = house.engine()?;
    let mut asked = spec(house, &image(&engine, "busybox")?, &["/bin/sleep", "300"]);
    asked.user = (0, 1000);
    refused(&engine, &asked, "as root")
}

fn the_engines_socket_is_not_mounted(house: &House) -> Told {
    let engine = house.engine()?;
    let socket = house.socket()?;
    let ground = Ground::new()?;
    let link = ground.path().join("link");
    std::os::unix::fs::symlink(&socket, &link)?;
    let above = socket.parent().ok_or_else(|| "the socket lies nowhere".to_owned())?;
    for source in [socket.as_path(), above, std::path::Path::new("/"), &link] {
        for access in [Access::ReadOnly, Access::ReadWrite] {
            let mut asked = spec(house, &image(&engine, "busybox")?, &["/bin/sleep", "300"]);
            asked.mounts.push(mount(source, "/mnt", access));
            refused(&engine, &asked, "socket")?;
        }
    }
    Ok(())
}

fn a_missing_source_is_refused(house: &House) -> Told {
    let engine = house.engine()?;
    let ground = Ground::new()?;
    let mut asked = spec(house, &image(&engine, "busybox")?, &["/bin/sleep", "300"]);
    asked.mounts.push(mount(&ground.path().join("missing"), "/mnt", Access::ReadOnly));
    refused(&engine, &asked, "missing")?;
    must(!ground.path().join("missing").exists(), || "the engine made it".to_owned())
}

fn an_unknown_runtime_is_refused(house: &House) -> Told {
    let engine = house.engine()?;
    let mut asked = spec(house, &image(&engine, "busybox")?, &["/bin/sleep", "300"]);
    asked.runtime = Some("nosuchruntime".to_owned());
    refused(&engine, &asked, "nosuchruntime")?;
    let left = engine.ours().map_err(failed)?.into_iter().filter(|one| one.name == asked.name).count();
    same("containers that were left", left, 0)
}

fn an_image_that_is_missing_is_refused(house: &House) -> Told {
    let engine = house.engine()?;
    let mut asked = spec(house, &image(&engine, "busybox")?, &["/bin/sleep", "300"]);
    asked.image_id = format!("sha256:{}", "0".repeat(64));
    refused(&engine, &asked, "is not on this machine")
}

fn a_container_that_is_let_go_of_is_removed(house: &House) -> Told {
    let engine = house.engine()?;
    let asked = spec(house, &image(&engine, "busybox")?, &["/bin/sleep", "300"]);
    let is_there = || Ok::<_, Stop>(engine.ours().map_err(failed)?.iter().any(|one| one.name == asked.name));
    let mut container = engine.create(&asked).map_err(failed)?;
    must(is_there()?, || "one that was made is not listed".to_owned())?;
    container.start().map_err(failed)?;
    let pid = container.first_process().map_err(failed)?;
    drop(container);
    must(!is_there()?, || "it is still there".to_owned())?;
    must(fs::metadata(format!("/proc/{pid}")).is_err(), || "its process still runs".to_owned())
}

fn left_over_containers_are_found(house: &House) -> Told {
    let engine = house.engine()?;
    let asked = spec(house, &image(&engine, "busybox")?, &["/bin/sleep", "300"]);
    let mut running = engine.create(&asked).map_err(failed)?;
    running.start().map_err(failed)?;
    let found = engine.ours().map_err(failed)?.into_iter().find(|one| one.name == asked.name);
    let found = found.ok_or_else(|| "a running one is not listed".to_owned())?;
    same("id", found.id.as_str(), running.id())?;
    same("state", found.state.as_str(), "running")?;
    same("label", found.labels.get("test").map(String::as_str), Some(house.name))?;
    // Somebody else removes it, as after a crash of ours.
    engine.remove(&found.id).map_err(failed)?;
    engine.remove(&found.id).map_err(failed)?;
    same("state", running.state().map_err(failed)?, State::Gone)?;
    running.remove().map_err(failed)
}

fn an_end_is_told(house: &House) -> Told {
    let engine = house.engine()?;
    let asked = spec(house, &image(&engine, "busybox")?, &["/bin/sh", "-c", "exit 7"]);
    let mut container = engine.create(&asked).map_err(failed)?;
    container.start().map_err(failed)?;
    // The engine removes it by itself, and may be quicker than the question.
    let state = ended(&container)?;
    let told = match &state {
        State::Ended { code, .. } => *code == 7,
        State::Gone => true,
        State::Created | State::Running => false,
    };
    must(told, || format!("{state:?}"))?;
    let until = Instant::now() + PATIENCE;
    while container.state().map_err(failed)? != State::Gone {
        must(Instant::now() < until, || "the engine does not remove it".to_owned())?;
        std::thread::sleep(Duration::from_millis(20));
    }
    let error = container.first_process().map(|pid| pid.to_string()).expect_err("it has none");
    must(error.fault == Fault::Host, || error.to_string())?;
    container.remove().map_err(failed)
}

fn a_program_that_is_missing_is_told(house: &House) -> Told {
    let engine = house.engine()?;
    let asked = spec(house, &image(&engine, "busybox")?, &["/bin/nosuchprogram"]);
    let mut container = engine.create(&asked).map_err(failed)?;
    let Err(error) = container.start() else { return Err(Stop::Fail("it was started".to_owned())) };
    let text = error.to_string();
    must(text.contains("nosuchprogram") && text.len() < 600, || text.clone())?;
    must(!text.contains(SECCOMP), || text.clone())
}
