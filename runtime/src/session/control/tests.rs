//! The control socket with a server of the test's own in the place of the sandbox.
//! It never opens a session: whole ones are tested from outside.

use super::*;
use crate::egress::testing::{Logged as Log, profile};
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

const GRANT: &str = "[[grant.port]]\nport = 3000\nreason = \"a test\"\n";
const PATIENCE: Duration = Duration::from_secs(10);

/// A control socket in a directory of its own, which goes when this is dropped.
struct Door {
    directory: PathBuf,
    log: Log,
    control: Option<Control>,
}

impl Door {
    /// `inside` is what listens there; without it nobody does.
    fn new(grants: &str, uid: u32, inside: Option<u16>) -> Self {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let name = format!("stockade-control-{}-{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
        // Longer than an address of a unix socket can be.
        let directory = std::env::temp_dir().join(name).join("a".repeat(100)).join("b".repeat(100));
        std::fs::create_dir_all(&directory).expect("the test has a directory of its own");
        let log = Log::new();
        let connect: Connect = Box::new(move |_, _| {
            let port = inside.ok_or_else(|| Error::guest("nobody listens"))?;
            let stream = TcpStream::connect(("127.0.0.1", port)).map_err(|e| Error::host(e.to_string()))?;
            stream.set_nonblocking(true).map_err(|e| Error::host(e.to_string()))?;
            Ok(InnerStream::Tcp(stream))
        });
        let settings = Settings { profile: profile(grants), connect, account: log.account(), uid };
        let control = Control::start(&directory, settings).expect("it starts");
        Self { directory, log, control: Some(control) }
    }

    fn ask(&self, request: &str) -> std::os::unix::net::UnixStream {
        let held = File::open(&self.directory).expect("it is there");
        let mut stream = std::os::unix::net::UnixStream::connect(place(&held)).expect("it listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("a socket of ours");
        match stream.write_all(request.as_bytes()) {
            // Turned away before it had said anything.
            Err(e) if e.kind() != io::ErrorKind::BrokenPipe => panic!("{e}"),
            Ok(()) | Err(_) => {}
        }
        stream
    }

    /// The whole answer.
    fn answer(&self, request: &str) -> String {
        let mut text = String::new();
        // What was not read of a request makes its end a reset; what was said comes before.
        match self.ask(request).read_to_string(&mut text) {
            Err(e) if e.kind() != io::ErrorKind::ConnectionReset => panic!("{e}"),
            Ok(_) | Err(_) => text,
        }
    }

    #[track_caller]
    fn logs(&self, wanted: &str) {
        let until = Instant::now() + PATIENCE;
        while !self.log.text().contains(wanted) {
            assert!(Instant::now() < until, "no {wanted} in {}", self.log.text());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    fn close(&mut self) -> Result<()> {
        self.control.take().expect("it is closed once").close()
    }
}

impl Drop for Door {
    fn drop(&mut self) {
        drop(self.control.take());
        let root = self.directory.ancestors().nth(2).expect("two below it");
        drop(std::fs::remove_dir_all(root));
    }
}

fn own_uid() -> u32 {
    nix::unistd::geteuid().as_raw()
}

#[test]
fn a_request_has_one_spelling() {
    assert_eq!(Request::parse("connect 1"), Some(Request::Connect(1)));
    assert_eq!(Request::parse("watch 65535"), Some(Request::Watch(65535)));
    for wrong in ["", "connect", "connect ", "connect 0", "connect +1", "connect 01", "connect 65536", "Connect 1"] {
        assert_eq!(Request::parse(wrong), None, "{wrong:?}");
    }
    for request in [Request::Connect(u16::MAX), Request::Watch(1)] {
        let line = request.line();
        assert!(line.len() <= REQUEST_BYTES_MAX);
        assert_eq!(Request::parse(line.trim_end()), Some(request));
    }
}

#[test]
fn a_granted_port_is_carried_both_ways_and_written_down() {
    let inside = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let mut door = Door::new(GRANT, own_uid(), Some(inside.local_addr().expect("it has one").port()));
    let server = std::thread::spawn(move || {
        let (mut client, _) = inside.accept().expect("one comes");
        let mut heard = Vec::new();
        client.read_to_end(&mut heard).expect("the client ends its half");
        client.write_all(b"answer to ").expect("it is there");
        client.write_all(&heard).expect("it is there");
    });
    // What follows the line belongs to the connection, however early it comes.
    let mut client = door.ask("connect 3000\nhello");
    client.shutdown(std::net::Shutdown::Write).expect("our half");
    let mut heard = String::new();
    client.read_to_string(&mut heard).expect("it ends");
    assert_eq!(heard, "+answer to hello");
    server.join().expect("it ended well");
    door.logs(r#""k":"net.close""#);
    door.close().expect("it closes");
    let text = door.log.text();
    assert!(text.contains(r#""o":{"c":1,"host":"127.0.0.1","port":3000,"via":"port","rules":["test:3"]}"#), "{text}");
    assert!(text.contains(r#""o":{"c":1,"up":15,"down":5,"#) && text.contains(r#""why":"done""#), "{text}");
}

#[test]
fn what_is_not_granted_is_refused_and_written_down() {
    let door = Door::new(
        &format!("{GRANT}[[deny.port]]\nport = 81\nreason = \"never\"\n[[ask.port]]\nport = 82\nreason = \"ask\"\n"),
        own_uid(),
        None,
    );
    for request in ["connect 80\n", "watch 80\n"] {
        let answer = door.answer(request);
        assert!(answer.starts_with("-denied: reaching port 80 inside is not granted"), "{answer}");
        assert!(answer.contains("allowed instead: port 3000"), "{answer}");
    }
    assert!(door.answer("watch 81\n").contains("rule: test:6"));
    assert!(door.answer("connect 82\n").starts_with("-denied: "));
    door.logs(r#""host":"127.0.0.1","port":80,"rule":"not granted""#);
    door.logs(r#""host":"127.0.0.1","port":81,"rule":"test:6""#);
    for nonsense in ["hello\n", "connect 3000 \n", &"x".repeat(100)] {
        assert_eq!(door.answer(nonsense), "", "{nonsense:?}");
    }
    assert!(!door.log.text().contains("net.open"), "nothing was let through");
}

#[test]
fn a_server_that_is_not_there_is_said_to_both_sides() {
    let door = Door::new(GRANT, own_uid(), None);
    assert!(door.answer("connect 3000\n").contains("nobody listens"));
    door.logs(r#""up":0,"down":0,"#);
    door.logs(r#""why":"nobody listens""#);
}

#[test]
fn another_user_gets_no_answer() {
    let door = Door::new(GRANT, own_uid() + 1, None);
    assert_eq!(door.answer("watch 3000\n"), "");
}

#[test]
fn the_end_of_a_session_ends_what_is_open() {
    let inside = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let mut door = Door::new(GRANT, own_uid(), Some(inside.local_addr().expect("it has one").port()));
    let (mut watching, mut carried) = (door.ask("watch 3000\n"), door.ask("connect 3000\n"));
    let (_silent, mut byte) = (door.ask("conn"), [0; 1]);
    for open in [&mut watching, &mut carried] {
        open.read_exact(&mut byte).expect("it is granted");
        assert_eq!(byte, [GRANTED]);
    }
    let began = Instant::now();
    door.close().expect("it closes");
    assert!(began.elapsed() < CONNECT_LIMIT, "nobody is waited for");
    for open in [&mut watching, &mut carried] {
        assert_eq!(open.read(&mut byte).expect("it ends in order"), 0);
    }
    assert!(!is_there(&door.directory), "the socket is gone");
    door.logs(r#""why":"the session ended""#);
}

#[test]
fn clients_are_bounded() {
    let door = Door::new(GRANT, own_uid(), None);
    let mut byte = [0; 1];
    let mut open = Vec::new();
    for _ in 0..OPEN_MAX {
        let mut one = door.ask("watch 3000\n");
        one.read_exact(&mut byte).expect("it is granted");
        open.push(one);
    }
    assert!(
        matches!(Line::open(&door.directory, 3000), Ok(Opened::Refused(why)) if why.starts_with("256 connections"))
    );
    drop(open);
    let until = Instant::now() + PATIENCE;
    while door.ask("watch 3000\n").read(&mut byte).is_ok() && byte != [GRANTED] {
        assert!(Instant::now() < until, "places become free");
    }
}

#[test]
fn a_line_knows_a_session_that_is_gone() {
    let mut door = Door::new(GRANT, own_uid(), None);
    assert!(matches!(Line::open(&door.directory, 80), Ok(Opened::Refused(why)) if why.starts_with("denied: ")));
    let Ok(Opened::Line(line)) = Line::open(&door.directory, 3000) else { panic!("it is granted") };
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let serving = std::thread::spawn(move || line.serve(listener, |_| ()));
    door.close().expect("it closes");
    serving.join().expect("it does not panic").expect("it ends with the session");
    assert!(matches!(Line::open(&door.directory, 3000), Ok(Opened::Nobody)));
    // As a session leaves it that was killed.
    let held = File::open(&door.directory).expect("it is there");
    drop(std::os::unix::net::UnixListener::bind(place(&held)).expect("it is free"));
    assert!(matches!(Line::open(&door.directory, 3000), Ok(Opened::Nobody)));
}
