//! Carries an attack out twice, unconfined and confined, and compares what happened.
//! It never accepts "refused" from a run in which the attack was not even tried.

use crate::helper::Helper;
use crate::table::{Attack, Confined, Control, Prop, SHELL_RAN, Telling};
use libtest_mimic::{Completion, Failed};
use std::ffi::OsString;
use std::path::Path;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;
use stockade_tests::binaries::under_test;
use stockade_tests::people::Person;
use stockade_tests::process::{Ended, Program};
use stockade_tests::said::{Outcome, Said};
use stockade_tests::scene::Scene;
use stockade_tests::stage::usual_environment;
use stockade_tests::story::skip;
use stockade_tests::wall::on_this_wall;

/// Longest time that one run of an attack may take.
const PATIENCE: Duration = Duration::from_secs(90);
/// Exit code of a command that the seccomp filter killed (SIGSYS).
const KILLED_BY_FILTER: i32 = 128 + 31;
/// A stage with the binary under test and the probe in `{bin}`.
pub(crate) fn stage(person: Person) -> Result<Scene, String> {
    let probe = Path::new(env!("CARGO_BIN_EXE_stockade-probe"));
    let binary = under_test()?;
    let mut programs = vec![("stockade-probe", probe)];
    programs.extend(binary.as_deref().map(|binary| ("stockade", binary)));
    let mut scene = Scene::new(person, &programs).map_err(|e| format!("stage: {e}"))?;
    let canary = format!("canary{}x", scene.fill("{root}").replace('/', "-"));
    scene.name("canary", &canary);
    scene.name("inside_port", &port_of_its_own().to_string());
    scene.name("interface", &address_of_an_interface().unwrap_or_else(|| "no interface".to_owned()));
    // In two parts, so that a probe's own words do not hold what it looks for.
    let state = scene.fill("{state}");
    let (head, tail) = state.split_at(state.len() / 2);
    let (head, tail) = (head.to_owned(), tail.to_owned());
    scene.name("state_head", &head);
    scene.name("state_tail", &tail);
    Ok(scene)
}

/// A loopback port that nobody else has: no other attack of this run, no listener, and nothing to which the kernel
/// gives ports (who knocks at one of those can meet itself, RFC 9293 section 3.5).
fn port_of_its_own() -> u16 {
    const FIRST: u16 = 20_000;
    const COUNT: u16 = 12_000;
    static TAKEN: AtomicU16 = AtomicU16::new(0);
    let mut ports = std::iter::repeat_with(|| FIRST + TAKEN.fetch_add(1, Ordering::Relaxed) % COUNT);
    ports
        .by_ref()
        .take(COUNT.into())
        .find(|port| std::net::TcpListener::bind(("127.0.0.1", *port)).is_ok())
        .unwrap_or(FIRST)
}

/// An address of this machine that is not the loopback's: asked of the routing table, no packet leaves.
fn address_of_an_interface() -> Option<String> {
    let socket = std::net::UdpSocket::bind("0.0.0.0:0").ok()?;
    socket.connect("192.0.2.1:9").ok()?;
    Some(socket.local_addr().ok()?.ip().to_string())
}

/// What one run showed.
struct Seen {
    ended: Ended,
    said: Option<Said>,
    /// A watched path on the host is not as it was.
    changed: bool,
    /// The helper was reached.
    reached: bool,
    /// The secret of the stage came out.
    told: bool,
}

impl Seen {
    /// It got as far as trying.
    fn tried(&self) -> bool {
        self.said.is_some() || self.ended.out().contains(SHELL_RAN)
    }
}

/// Runs the control, then the confined attempt.
pub(crate) fn check(attack: &Attack, person: Person, name: &str) -> Result<Completion, Failed> {
    let needs_root = attack.props.iter().any(|prop| matches!(prop, Prop::SetUserId(_)));
    if needs_root && !Person::myself().is_root() {
        return Ok(skip(name, "only root can make a program that belongs to somebody else"));
    }
    let control = run(attack, person, None)?;
    if let Err(why) = succeeded(attack, &control) {
        return match attack.certainty {
            Control::WherePossible if control.tried() => Ok(skip(name, &why)),
            Control::WherePossible | Control::Certain => {
                Err(format!("the control did not succeed: {why}\n{}", control.ended.told()).into())
            }
        };
    }
    let Some(binary) = under_test()? else {
        return Ok(skip(name, "controls only"));
    };
    let confined = run(attack, person, Some(&binary))?;
    stopped(attack, &confined).map_err(|why| format!("{why}\n{}", confined.ended.told()))?;
    Ok(Completion::Completed)
}

/// Whether an unconfined attack did what it is meant to do.
fn succeeded(attack: &Attack, seen: &Seen) -> Result<(), String> {
    match &seen.said {
        Some(Said { outcome: Outcome::Refused, detail, .. }) => return Err(format!("refused unconfined: {detail}")),
        Some(_) => {}
        None if seen.tried() => {}
        None => return Err("the attack was not even tried".to_owned()),
    }
    if !attack.watch.is_empty() && !seen.changed {
        return Err("nothing changed outside".to_owned());
    }
    if !attack.helper.is_empty() && attack.telling == Telling::Reached && !seen.reached {
        return Err("the helper was not reached".to_owned());
    }
    let shows_by_output = attack.watch.is_empty() && attack.helper.is_empty() && seen.said.is_none();
    if shows_by_output && !seen.told && !seen.reached {
        return Err("the output does not hold the secret".to_owned());
    }
    Ok(())
}

/// Whether a confined attempt was stopped.
fn stopped(attack: &Attack, seen: &Seen) -> Result<(), String> {
    if !seen.tried() && seen.ended.code() != KILLED_BY_FILTER {
        return Err("the attack was not even tried".to_owned());
    }
    if seen.changed {
        return Err(format!("ESCAPED: changed {:?}", attack.watch));
    }
    if seen.reached {
        return Err(format!("ESCAPED: reached {:?}", attack.helper));
    }
    if seen.told {
        return Err("ESCAPED: the output holds the secret".to_owned());
    }
    match (&seen.said, attack.confined) {
        (Some(Said { outcome: Outcome::Succeeded, detail, .. }), Confined::Refused) => {
            Err(format!("ESCAPED: the attempt succeeded: {detail}"))
        }
        (_, Confined::Refused | Confined::Harmless) => Ok(()),
    }
}

/// One run on a new stage; confined when a binary is given.
fn run(attack: &Attack, person: Person, binary: Option<&Path>) -> Result<Seen, String> {
    let mut scene = stage(person)?;
    for prop in &attack.props {
        place(&scene, prop).map_err(|e| format!("{prop:?}: {e}"))?;
    }
    let helper = match attack.helper.as_slice() {
        [] => None,
        words => Some(Helper::start(&mut scene, words)?),
    };
    let print = |scene: &Scene| attack.watch.iter().map(|path| scene.print(path)).collect::<Vec<_>>();
    let before = print(&scene);
    let program = program(attack, &scene, binary)?;
    let ended = program.run().map_err(|e| format!("{:?}: {e}", program.argv))?;
    let changed = before != print(&scene);
    let reached = match helper {
        Some(helper) => helper.finish()?,
        None => ended.out().lines().any(|line| line.starts_with("reached ")),
    };
    sweep(&scene);
    if ended.late {
        return Err(format!("still running after {PATIENCE:?}\n{}", ended.told()));
    }
    let said = Said::find(&ended.out());
    let told = ended.out().contains(&scene.fill("{canary}")) || ended.err().contains(&scene.fill("{canary}"));
    Ok(Seen { ended, said, changed, reached, told })
}

/// Removes what a control left in the places that everybody shares; its name is the stage's own.
fn sweep(scene: &Scene) {
    for shared in ["/tmp", "/var/tmp", "/dev/shm"] {
        let path = scene.path(&format!("{shared}/{{canary}}"));
        // Mostly there is nothing there.
        drop(std::fs::remove_file(&path).or_else(|_| std::fs::remove_dir_all(&path)));
    }
}

/// Puts one thing on the stage.
pub(crate) fn place(scene: &Scene, prop: &Prop) -> std::io::Result<()> {
    match prop {
        Prop::File(path, content) => scene.file(path, content),
        Prop::Link(path, target) => scene.link(path, target),
        Prop::SetUserId(path) => {
            use std::os::unix::fs::{PermissionsExt as _, chown};
            // To somebody who is neither root nor whoever runs the attack: nobody.
            const NOBODY: u32 = 65_534;
            let path = scene.path(path);
            std::fs::copy(scene.path("{bin}/stockade-probe"), &path)?;
            chown(&path, Some(NOBODY), Some(NOBODY))?;
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o6755))
        }
    }
}

fn program(attack: &Attack, scene: &Scene, binary: Option<&Path>) -> Result<Program, String> {
    let fill = |words: &[String]| words.iter().map(|word| OsString::from(scene.fill(word))).collect::<Vec<_>>();
    let mut argv = fill(&attack.launcher);
    match binary {
        Some(_) => {
            scene
                .file_with_mode("{root}/attack.toml", &attack.profile_text(), 0o644)
                .map_err(|e| format!("profile: {e}"))?;
            let run = ["{bin}/stockade", "run", "--profile", "{root}/attack.toml", "--workspace", "{ws}"];
            argv.extend(fill(&on_this_wall(&run)));
            argv.extend(["--mode", attack.mode.word(), "--quiet"].map(OsString::from));
            argv.extend(attack.terminal.then(|| OsString::from("--tty")));
            argv.push("--".into());
            argv.extend(fill(&attack.command));
        }
        None => argv.extend(fill(attack.control.as_ref().unwrap_or(&attack.command))),
    }
    let mut environment = usual_environment(scene);
    environment.extend(attack.environment.iter().map(|(name, value)| (name.into(), scene.fill(value).into())));
    Ok(Program {
        argv,
        directory: scene.path("{ws}"),
        environment,
        person: scene.person(),
        input: Vec::new(),
        limit: PATIENCE,
    })
}
