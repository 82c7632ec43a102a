//! The same on gVisor's kernel, out of which no descriptor comes: what leaves it does so by way of the init.
//! It never says that it passed where the machine has no gVisor that is new enough: `tests/run` says so aloud.

use super::common::{collect, command, run, sh};
use super::{Container, docker, gone, start, with_outlet, works_apart};
use rustix::net::{RecvFlags, SendFlags};
use std::io::{Read as _, Write as _};
use std::net::SocketAddr;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};
use stockade_jail::outlet::relayed::{self, Refused};
use stockade_jail::plan::OutletSocket;
use stockade_jail::{ErrorKind, InnerStream, OutletEnd, Sandbox, Status, Stdio};

/// Where the engine's gVisor is one for sessions.
pub(crate) const GVISOR: &str = "STOCKADE_TEST_GVISOR";

/// A sandbox on gVisor's kernel; `None` where the machine has no release that is new enough, which `tests/run` says aloud.
pub(crate) fn on_gvisor() -> Option<(Container, Sandbox)> {
    std::env::var_os(GVISOR)?;
    Some(start(&["--runtime=runsc"], |_| ()))
}

#[test]
#[ignore = "needs an engine"]
fn on_gvisor_calls_run_side_by_side_and_end_with_what_they_started() {
    let Some((container, sandbox)) = on_gvisor() else { return };
    let layers = sandbox.enforced().to_string();
    assert_eq!(sandbox.enforced().grade, stockade_jail::Grade::Partial, "{layers}");
    for line in
        ["gvisor: active", "landlock: absent", "recorder: absent", "cgroup-namespace: absent", "seccomp: active"]
    {
        assert!(layers.contains(line), "{line} in {layers}");
    }
    works_apart(&container, &sandbox);
    let stays = sandbox.spawn(&command(&["sleep", "60"]), Stdio::Pipes).expect("it starts");
    // Beside another call: what is left of this one is found by its session.
    let ended = run(&sandbox, &["sh", "-c", "sleep 1000 & sleep 1000 & exit 7"]).ended;
    assert_eq!(ended.status, Status::Exited(7));
    assert_eq!(sh(&sandbox, "cat /proc/[0-9]*/comm | grep -c sleep"), "1\n");
    stays.kill(None);
    assert_eq!(stays.wait().expect("it ends").status, Status::Signalled(libc::SIGKILL));
    // Alone: whatever left its session goes, too.
    let ended = run(&sandbox, &["sh", "-c", "setsid sleep 1000 & exit 8"]).ended;
    assert_eq!(ended.status, Status::Exited(8));
    assert_eq!(sh(&sandbox, "cat /proc/[0-9]*/comm | grep -c sleep; true"), "0\n");
}

#[test]
#[ignore = "needs an engine"]
fn on_gvisor_a_guest_neither_ends_nor_stops_nor_enters_the_init() {
    let Some((_container, sandbox)) = on_gvisor() else { return };
    let attack =
        "for signal in STOP KILL TERM; do kill -$signal 1 && echo signalled; done; setsid sh -c 'kill -KILL -1'";
    // The last one ends whoever gives it, and every other guest.
    run(&sandbox, &["sh", "-c", attack]);
    let attack = "for signal in STOP KILL; do kill -$signal 1 && echo signalled; done; cat /proc/1/mem && echo read; \
        ls /proc/1/root/ && echo entered; for n in 3 4 5; do cat </proc/1/fd/$n && echo opened; done; echo done";
    assert_eq!(sh(&sandbox, attack), "done\n");
}

/// A sandbox on gVisor with an outlet, and the lines of its sockets.
fn outlet_on_gvisor(sockets: Vec<OutletSocket>) -> Option<(Container, Sandbox, Vec<Option<OwnedFd>>)> {
    std::env::var_os(GVISOR)?;
    let (container, mut sandbox) = start(&["--runtime=runsc"], with_outlet(sockets));
    let ends = sandbox.take_outlet().into_iter().map(|end| match end? {
        OutletEnd::Relayed(line) => Some(line),
        OutletEnd::Socket(_) => panic!("no socket comes out of gVisor"),
    });
    let lines = ends.collect();
    Some((container, sandbox, lines))
}

/// Where the guest of this stream wanted to go.
fn address_on(stream: &mut UnixStream) -> SocketAddr {
    let mut address = [0; relayed::ADDRESS_BYTES];
    stream.read_exact(&mut address).expect("it begins with one");
    relayed::address(&address)
}

/// Offers a stream for the next connection; our end.
fn offered(line: &OwnedFd) -> UnixStream {
    let (ours, theirs) = UnixStream::pair().expect("a pair");
    relayed::offer(line.as_fd(), &theirs.into()).expect("there is room");
    ours.set_read_timeout(Some(Duration::from_secs(30))).expect("it is ours");
    ours
}

/// Runs Python inside, beside what this does meanwhile; what it printed.
fn python_beside(sandbox: &Sandbox, program: &str, meanwhile: impl FnOnce()) -> String {
    let call = sandbox.spawn(&command(&["python3", "-c", program]), Stdio::Pipes).expect("it starts");
    meanwhile();
    let output = collect(call).expect("it runs");
    assert_eq!(output.ended.status, Status::Exited(0), "{}", String::from_utf8_lossy(&output.stderr));
    output.text()
}

#[test]
#[ignore = "needs an engine"]
fn on_gvisor_connections_are_relayed_and_a_cut_one_is_reset() {
    let v6: std::net::IpAddr = "fd73:746f:636b::c612:101".parse().expect("one");
    let on = |address| OutletSocket::Tcp { address, port: 443 };
    let Some((_container, sandbox, lines)) = outlet_on_gvisor(vec![on(None), on(Some(v6))]) else { return };
    let layers = sandbox.enforced().to_string();
    assert!(layers.contains("outlet: active (1 sockets; IPv4 alone, relayed by the init)"), "{layers}");
    let [Some(line), None] = lines.as_slice() else { panic!("there is no IPv6 there: {lines:?}") };
    let program = "import socket
for _ in range(3):
    c = socket.create_connection(('93.184.216.34', 443)); c.sendall(b'hello'); c.shutdown(socket.SHUT_WR)
    try:
        got = b''
        while more := c.recv(100000): got += more
        print(len(got), got[:9])
    except OSError as error: print(error.errno)
for far in [('93.184.216.34', 444), ('fd73:746f:636b::c612:101', 443)]:
    try: socket.create_connection(far, 5)
    except OSError as error: print(error.errno)";
    let long = vec![b'x'; 1 << 20];
    let printed = python_beside(&sandbox, program, || {
        for (answer, last) in [(&b"short"[..], true), (&long, true), (b"cut", false)] {
            let mut stream = offered(line);
            assert_eq!(address_on(&mut stream).to_string(), "93.184.216.34:443");
            let mut said = Vec::new();
            stream.read_to_end(&mut said).expect("it ends");
            assert_eq!(said, b"hello");
            for piece in answer.chunks(65535) {
                let length = u16::try_from(piece.len()).expect("it is short").to_be_bytes();
                stream.write_all(&[&length[..], piece].concat()).expect("somebody reads");
            }
            if last {
                stream.write_all(&[0, 0]).expect("somebody reads");
            }
        }
    });
    let (refused, unreachable, reset) = (libc::ECONNREFUSED, libc::EHOSTUNREACH, libc::ECONNRESET);
    let expected = format!("5 b'short'\n1048576 b'xxxxxxxxx'\n{reset}\n{refused}\n{unreachable}\n");
    assert_eq!(printed, expected);
}

#[test]
#[ignore = "needs an engine"]
fn on_gvisor_a_guest_that_resets_is_seen_and_a_closed_line_closes_its_listener() {
    let Some((_container, sandbox, mut lines)) = outlet_on_gvisor(vec![OutletSocket::Tcp { address: None, port: 80 }])
    else {
        return;
    };
    let line = lines.pop().flatten().expect("one was planned");
    let program = "import socket, struct, sys
c = socket.create_connection(('10.0.0.1', 80)); c.sendall(b'x'); sys.stdin.read(1)
c.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0)); c.close()";
    let mut call = sandbox.spawn(&command(&["python3", "-c", program]), Stdio::Pipes).expect("it starts");
    let mut stream = offered(&line);
    assert_eq!(address_on(&mut stream).to_string(), "10.0.0.1:80");
    assert_eq!(stream.read(&mut [0; 9]).expect("it is said"), 1);
    drop(call.take_stdin());
    assert_eq!(stream.read(&mut [0; 9]).expect("it ends"), 0);
    // Its two directions close one after the other.
    let began = Instant::now();
    while stream.write_all(b"\0\x01x").is_ok() {
        assert!(began.elapsed() < Duration::from_secs(30), "nobody is there any more");
        std::thread::sleep(Duration::from_millis(5));
    }
    assert_eq!(call.wait().expect("it ends").status, Status::Exited(0));
    drop(line);
    let program = "import socket, time
for _ in range(100):
    try: socket.create_connection(('10.0.0.1', 80), 5).close()
    except ConnectionRefusedError: print('refused'); break
    time.sleep(0.05)";
    assert_eq!(python_beside(&sandbox, program, || ()), "refused\n");
}

#[test]
#[ignore = "needs an engine"]
fn on_gvisor_datagrams_are_answered_from_where_they_were_sent_and_attempts_are_told() {
    let Some((_container, sandbox, lines)) =
        outlet_on_gvisor(vec![OutletSocket::Udp { port: 53 }, OutletSocket::Refusals])
    else {
        return;
    };
    let [Some(datagrams), Some(refusals)] = lines.as_slice() else { panic!("two were planned: {lines:?}") };
    let program = "import socket
c = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); c.settimeout(30); c.connect(('8.8.8.8', 53)); c.send(b'asked')
print(c.recv(99))
c.connect(('9.9.9.9', 9999)); c.send(b'x')
try: socket.create_connection(('9.9.9.9', 2222), 5)
except ConnectionRefusedError: print('refused')
s = socket.create_server(('127.0.0.1', 0)); socket.create_connection(s.getsockname()).close()";
    let printed = python_beside(&sandbox, program, || {
        let mut message = [0; 4096];
        let (length, _) = rustix::net::recv(datagrams, &mut message[..], RecvFlags::empty()).expect("it is asked");
        let (head, bytes) = message[..length].split_at(relayed::DATAGRAM_HEAD_BYTES);
        assert_eq!(bytes, b"asked");
        let to: relayed::Address = head[..relayed::ADDRESS_BYTES].try_into().expect("two are there");
        assert_eq!(relayed::address(&to).ip().to_string(), "8.8.8.8");
        rustix::net::send(datagrams, &[head, b"told"].concat(), SendFlags::NOSIGNAL).expect("there is room");
    });
    assert_eq!(printed, "b'told'\nrefused\n");
    let mut attempts = Vec::new();
    let mut message = [0; 4096];
    while let Ok((length @ 1.., _)) = rustix::net::recv(refusals, &mut message[..], RecvFlags::DONTWAIT) {
        match Refused::read(&message[..length]) {
            Some(Refused::Packet(packet)) => {
                let at = usize::from(packet[0] & 0xf) * 4 + 2;
                attempts.push((packet[9], u16::from_be_bytes([packet[at], packet[at + 1]])));
            }
            other => panic!("{other:?}"),
        }
    }
    // The resolver's answer is one, too: it has no address of its own there.
    attempts.retain(|(protocol, port)| *protocol != 17 || *port < 10000);
    assert_eq!(attempts, [(17, 53), (17, 9999), (6, 2222)]);
}

#[test]
#[ignore = "needs an engine"]
fn on_gvisor_a_server_inside_is_reached_by_way_of_the_init() {
    let Some((_container, sandbox)) = on_gvisor() else { return };
    let program = "import socket
for address, family in [('127.0.0.1', socket.AF_INET), ('::1', socket.AF_INET6)]:
    s = socket.create_server((address, 8000), family=family); print('up', flush=True)
    c, _ = s.accept(); c.sendall(c.recv(9).upper()); c.close(); s.close()";
    let mut call = sandbox.spawn(&command(&["python3", "-c", program]), Stdio::Pipes).expect("it starts");
    let mut up = std::fs::File::from(call.take_stdout().expect("a pipe"));
    for _ in 0..2 {
        up.read_exact(&mut [0; 3]).expect("it says so");
        let connected = sandbox.connect_inside(8000, Duration::from_secs(30)).expect("it listens");
        let InnerStream::Relayed(mut stream) = connected else { panic!("no socket comes out of gVisor") };
        stream.set_nonblocking(false).expect("it is ours");
        stream.write_all(b"out").expect("it is connected");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("it answers");
        assert_eq!(answer, "OUT");
    }
    assert_eq!(call.wait().expect("it ends").status, Status::Exited(0));
    let nobody = sandbox.connect_inside(8000, Duration::from_secs(30)).expect_err("nobody listens");
    assert_eq!(nobody.errno, Some(libc::ECONNREFUSED), "{nobody}");
}

#[test]
#[ignore = "needs an engine"]
fn on_gvisor_a_terminal_is_moved_by_the_init() {
    let Some((_container, sandbox)) = on_gvisor() else { return };
    let script = "stty size; read line; stty size; echo got $line; exit 4";
    let running = sandbox.spawn(&command(&["sh", "-c", script]), Stdio::Pty { rows: 11, columns: 22 });
    let running = running.expect("it starts");
    let mut terminal = std::fs::File::from(running.terminal().expect("one").try_clone_to_owned().expect("room"));
    let mut line = [0; 64];
    let read = std::io::Read::read(&mut terminal, &mut line).expect("it reads");
    assert_eq!(&line[..read], b"11 22\r\n");
    running.resize(33, 44).expect("it is there");
    std::io::Write::write_all(&mut terminal, b"words\n").expect("it takes them");
    let mut rest = String::new();
    std::io::Read::read_to_string(&mut terminal, &mut rest).expect("it ends as a stream does");
    assert!(rest.ends_with("33 44\r\ngot words\r\n"), "{rest:?}");
    assert_eq!(running.wait().expect("it ends").status, Status::Exited(4));
    let running = sandbox.spawn(&command(&["sleep", "60"]), Stdio::Pty { rows: 1, columns: 2 }).expect("it starts");
    running.signal(libc::SIGTERM).expect("it is there");
    assert_eq!(running.wait().expect("it ends").status, Status::Signalled(libc::SIGTERM));
}

#[test]
#[ignore = "needs an engine"]
fn on_gvisor_the_container_ends_with_its_sandbox_and_the_sandbox_with_its_container() {
    let Some((container, sandbox)) = on_gvisor() else { return };
    sandbox.kill().expect("it ends in time");
    gone(&container.id);
    drop(sandbox);
    let Some((container, sandbox)) = on_gvisor() else { return };
    let call = sandbox.spawn(&command(&["sleep", "60"]), Stdio::Pipes).expect("it starts");
    docker(&["kill", &container.id]);
    let lost = call.wait().expect_err("its container was killed");
    assert_eq!(lost.kind, ErrorKind::SandboxLost, "{lost}");
}
