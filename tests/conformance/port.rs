//! `stockade port`: a server inside is reached from this machine where it is granted, and nowhere else.
//! It never reaches for another machine: everything here is loopback.

use std::io::{BufRead as _, BufReader, Read as _};
use std::process::Child;
use std::thread::sleep;
use std::time::{Duration, Instant};
use stockade_tests::process::kill_group;
use stockade_tests::shown::get;
use stockade_tests::stage::Stage;
use stockade_tests::story::{Stop, Story, Told, must, same};
use stockade_tests::wall::is_container;

const GRANT: &str = "extends = [\"shell\"]\n[[grant.port]]\nport = 3000\nreason = \"the dev server\"\n";
const PYTHON: &str = "/usr/bin/python3";
const SERVER: [&str; 7] = [PYTHON, "-u", "-m", "http.server", "3000", "--bind", "127.0.0.1"];
/// Between tries.
const PAUSE: Duration = Duration::from_millis(50);
const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) fn stories() -> Vec<Story> {
    vec![
        Story::new("port::a_server_inside_is_not_lost_to_its_user", reached),
        Story::new("port::a_session_without_a_grant_has_no_port", without_grant),
        Story::new("port::the_control_socket_is_not_the_guests", hidden),
        Story::new("port::a_port_that_no_server_can_have_is_not_granted", taken),
        Story::new("port::a_grant_that_cannot_be_held_is_not_ignored", unheld),
    ]
}

/// A process that ends with its test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        kill_group(self.0.id());
        drop(self.0.wait());
    }
}

fn start(stage: &Stage, words: &[&str]) -> Result<Running, Stop> {
    Ok(Running(stage.program(&[&["{bin}/stockade"], words].concat()).start()?))
}

/// Starts a session with a server inside.
fn serving(stage: &Stage, profile: &str) -> Result<Running, Stop> {
    // Whether there is a binary at all is asked the usual way.
    stage.answers(0, &["--version"])?;
    if !stage.exists(PYTHON) {
        return Err(Stop::Skip(format!("there is no {PYTHON}")));
    }
    stage.scene.file("{ws}/hello.txt", "from inside\n")?;
    let options = ["run", "--quiet", "--workspace", "{ws}", "--profile", profile, "--"];
    start(stage, &[&options[..], &SERVER].concat())
}

/// Ends a session as its user would.
fn end(stage: &Stage, session: &mut Running) -> Told {
    stage.go(&stage.program(&["/bin/kill", "-TERM", &session.0.id().to_string()]))?;
    session.0.wait()?;
    Ok(())
}

/// `stockade port`, and the address that it prints; tried until the session is there.
fn line(stage: &Stage, words: &[&str]) -> Result<(Running, String), Stop> {
    let until = Instant::now() + PATIENCE;
    loop {
        let mut port = start(stage, &[&["port"], words].concat())?;
        let mut line = String::new();
        let stdout = port.0.stdout.take().ok_or_else(|| "no standard output".to_owned())?;
        BufReader::new(stdout).read_line(&mut line)?;
        if !line.is_empty() {
            return Ok((port, line.trim_end().to_owned()));
        }
        let told = rest(&mut port);
        must(Instant::now() < until, || format!("stockade port {words:?}: {told}"))?;
        sleep(PAUSE);
    }
}

/// What a process that ends has to say on standard error.
fn rest(running: &mut Running) -> String {
    let mut told = String::new();
    if let Some(mut stderr) = running.0.stderr.take() {
        // What is not text is no message of ours.
        drop(stderr.read_to_string(&mut told));
    }
    told
}

fn reached(stage: &mut Stage) -> Told {
    let profile = stage.profile("dev", GRANT)?;
    let mut session = serving(stage, &profile)?;
    let (mut port, address) = line(stage, &["last", "3000"])?;
    must(address.starts_with("127.0.0.1:"), || format!("not on the loopback alone: {address}"))?;
    let answer = get(&address, "/hello.txt", PATIENCE)?;
    must(answer.contains(" 200 ") && answer.ends_with("from inside\n"), || answer.clone())?;
    // Many at once, each its own.
    let many: Vec<_> = (0..8)
        .map(|_| {
            let address = address.clone();
            std::thread::spawn(move || {
                get(&address, "/hello.txt", PATIENCE).is_ok_and(|a| a.ends_with("from inside\n"))
            })
        })
        .collect();
    must(many.into_iter().all(|one| one.join().unwrap_or(false)), || "one of many got another answer".to_owned())?;

    // A port of ours that is named, and is taken already.
    let (_, taken) = address.split_once(':').unwrap_or_default();
    let refused = stage.answers(125, &["port", "last", "3000", "--host-port", taken])?;
    must(refused.err().contains("--host-port N"), || refused.told())?;
    let id = sessions(stage)?.pop().ok_or_else(|| "no session".to_owned())?;
    let refused = stage.answers(125, &["port", &id[..20].to_lowercase(), "3001"])?;
    let told = refused.err();
    must(told.contains("denied: reaching port 3001 inside is not granted") && told.contains("port 3000"), || told)?;

    end(stage, &mut session)?;
    let ended = port.0.wait()?;
    let told = rest(&mut port);
    must(told.contains(&format!("session {id} has ended")), || told)?;
    same("exit code of the end", ended.code(), Some(0))?;
    let after = stage.answers(125, &["port", "last", "3000"])?;
    must(after.err().contains("does not run"), || after.told())?;
    logged(stage)
}

/// The log has who came, how much went and what was refused, and proves it.
fn logged(stage: &Stage) -> Told {
    stage.answers(0, &["verify", "last"])?;
    let log = stage.answers(0, &["log", "export", "last", "--jsonl"])?.out();
    let count = |what: &str| log.lines().filter(|line| line.contains(what)).count();
    must(count(r#""via":"port","rules":["dev:4"]"#) >= 9, || log.clone())?;
    same("connections that end", count(r#""k":"net.close""#), count(r#""k":"net.open""#))?;
    let refused = r#""host":"127.0.0.1","port":3001,"rule":"not granted""#;
    same("refusals", count(refused), 1)
}

fn sessions(stage: &Stage) -> Result<Vec<String>, Stop> {
    let entries = std::fs::read_dir(stage.scene.path("{state}/s"))?;
    let mut names: Vec<String> =
        entries.flatten().filter_map(|entry| entry.file_name().into_string().ok()).filter(|n| n.len() == 26).collect();
    names.sort();
    Ok(names)
}

fn without_grant(stage: &mut Stage) -> Told {
    let mut session = serving(stage, "shell")?;
    let until = Instant::now() + PATIENCE;
    loop {
        let refused = stage.stockade(&["port", "last", "3000"])?;
        must(refused.code() == 125 && refused.out().is_empty(), || refused.told())?;
        if refused.err().contains("grants no port") {
            break;
        }
        must(Instant::now() < until, || refused.told())?;
        sleep(PAUSE);
    }
    end(stage, &mut session)
}

fn hidden(stage: &mut Stage) -> Told {
    // The state lies below what may be read.
    let read = "[[grant.read]]\npath = \"{root}\"\nreason = \"a test\"\n";
    let profile = stage.profile("dev", &stage.scene.fill(&format!("{GRANT}{read}")))?;
    let look = "test -d {root} && echo READ; ls -A {state}; test -e {state}/w/$STOCKADE_SESSION/control && echo SEEN; \
        find / -name control -type s 2>/dev/null; true";
    let ended = stage.run(&["--quiet", "--profile", &profile], &["/bin/sh", "-c", look])?;
    // Under root the guest is somebody else, whom the directory's own mode keeps out; an engine mounts whatever its mode is.
    let seen = if stage.scene.person().is_root() && !is_container() { "" } else { "READ\n" };
    same("what the guest sees", ended.out(), seen.to_owned())
}

fn taken(stage: &mut Stage) -> Told {
    let net = "[[grant.net]]\nhost = \"*.example.com\"\nports = [8443]\nreason = \"a test\"\n";
    for (grant, why) in [
        ("port = 80", "dev:4: a grant for port 80 inside is not enforceable"),
        ("ports = [3000, 8443]", "dev:4: no server inside can have port 8443"),
    ] {
        let body = format!("extends = [\"shell\"]\n[[grant.port]]\n{grant}\nreason = \"a test\"\n{net}");
        let profile = stage.profile("dev", &body)?;
        let refused = stage.run(&["--profile", &profile], &["/bin/true"])?;
        must(refused.code() == 125 && refused.err().contains(why), || refused.told())?;
    }
    Ok(())
}

fn unheld(stage: &mut Stage) -> Told {
    let profile = stage.profile("dev", &format!("floor = \"partial\"\n{GRANT}"))?;
    let words = ["run", "--workspace", "{ws}", "--profile", &profile, "--", "/bin/true"];
    let refused = stage.without_user_namespaces(&words)?;
    let told = refused.err();
    must(refused.code() == 125 && told.contains("dev:5: a grant for a port inside is not enforceable"), || told)
}
