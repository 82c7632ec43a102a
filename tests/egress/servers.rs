//! Servers that are none of ours, for one story: real ones of Debian and of Python's registry, on the loopback.
//! It never leaves one running, and takes none that is not installed for one that works.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::Child;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};
use stockade_tests::binaries;
use stockade_tests::process::{Program, end_group, found_in, kill_group};
use stockade_tests::stage::{PATH, Stage};
use stockade_tests::story::{Stop, Told, must};

/// Ports from here on are below those that the system gives out by itself.
const PORT_FIRST: u16 = 10_000;
const PORTS: u16 = 20_000;
/// Longest time for a server to begin.
const PATIENCE: Duration = Duration::from_secs(30);

/// A server, which ends with its story.
pub(crate) struct Server(Child);

impl Server {
    /// Something that runs already.
    pub(crate) fn of(child: Child) -> Self {
        Self(child)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Some have something to put away first.
        end_group(&mut self.0, Duration::from_secs(5));
        drop(self.0.wait());
    }
}

/// Skips a story whose programs are not there.
pub(crate) fn need(programs: &[&str]) -> Told {
    for program in programs {
        found_in(PATH, program).map(drop).ok_or_else(|| Stop::Skip(format!("{program} is not installed")))?;
    }
    Ok(())
}

/// What `tests/egress/fetch` made: a part of it that is there, named `{NAME}` on the stage.
pub(crate) fn part(stage: &mut Stage, name: &str) -> Told {
    let parts = binaries::variable("STOCKADE_TEST_CLIENTS").map(PathBuf::from);
    let part = parts.map(|parts| parts.join(name)).filter(|part| part.is_dir());
    let part = part.ok_or_else(|| Stop::Skip(format!("{name} of tests/egress/fetch is not there")))?;
    stage.scene.name(name, &part.display().to_string());
    Ok(())
}

/// A port that nobody listens on.
pub(crate) fn port() -> Result<u16, Stop> {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let own = u16::try_from(std::process::id() % u32::from(PORTS)).unwrap_or_default();
    (0..PORTS)
        .map(|_| PORT_FIRST + (own + NEXT.fetch_add(1, Ordering::Relaxed)) % PORTS)
        .find(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok())
        .ok_or_else(|| Stop::Fail("every port is taken".to_owned()))
}

/// Starts a server, and waits until it listens.
pub(crate) fn start(program: &Program, port: u16) -> Result<Server, Stop> {
    let mut server = Server(program.start()?);
    let until = Instant::now() + PATIENCE;
    while TcpStream::connect(("127.0.0.1", port)).is_err() {
        if server.0.try_wait()?.is_some() || Instant::now() > until {
            kill_group(server.0.id());
            let mut said = String::new();
            for stream in [server.0.stdout.take().map(reader), server.0.stderr.take().map(reader)].into_iter().flatten()
            {
                stream.lines().map_while(Result::ok).for_each(|line| said.push_str(&(line + "\n")));
            }
            return Err(Stop::Fail(format!("{:?} does not listen: {said}", program.argv)));
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    Ok(server)
}

fn reader<'a>(stream: impl std::io::Read + 'a) -> Box<dyn std::io::BufRead + 'a> {
    Box::new(BufReader::new(stream))
}

/// Starts a server of the tests that is written in Python, gives it a key, and names its port on the stage.
pub(crate) fn python(stage: &mut Stage, name: &str, script: &str, key: &str) -> Result<Server, Stop> {
    let path = format!("{{outside}}/{name}.py");
    stage.scene.file(&path, script)?;
    let mut program = stage.program(&["python3", &path, "{up}"]);
    let library = stage.scene.fill("{python}");
    program.environment.extend(
        [("PYTHONPATH", library.as_str()), ("PYTHONDONTWRITEBYTECODE", "1")]
            .map(|(name, value)| (name.into(), value.into())),
    );
    let mut server = Server(program.start()?);
    server.0.stdin.as_mut().map(|stdin| writeln!(stdin, "{key}")).transpose()?;
    let mut line = String::new();
    server.0.stdout.as_mut().map(|out| BufReader::new(out).read_line(&mut line)).transpose()?;
    let port: Option<u16> = line.trim().parse().ok();
    must(port.is_some(), || format!("{name}.py says no port: {line:?}"))?;
    stage.scene.name(name, line.trim());
    Ok(server)
}
