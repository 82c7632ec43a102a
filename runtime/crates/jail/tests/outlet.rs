//! The outlet: what a guest sends anywhere reaches the sockets that were handed out, and nothing else of the host.
//! It never sends a packet to a network.

mod common;

use common::{Scratch, again_as_ordinary_user, landlock_plan, options, plan, plan_with, run, sh, start};
use rustix::io::Errno;
use std::io::{Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};
use stockade_jail::enforced::{Layer, State};
use stockade_jail::plan::{Access, Content, Cover, Exec, OUTLET_SOCKETS_MAX, OutletSocket, Owner, Plan, SessionStep};
use stockade_jail::{ErrorKind, InnerStream, OutletEnd, Sandbox, Status};

/// How long a refusal may take that the kernel gives at once.
const AT_ONCE_MS: u64 = 50;
/// The sandbox's own addresses in these tests.
const OWN: (Ipv4Addr, Ipv6Addr) =
    (Ipv4Addr::new(198, 18, 0, 3), Ipv6Addr::new(0xfd73, 0x746f, 0x636b, 0, 0, 0, 0xc612, 3));

#[test]
fn as_an_ordinary_user() {
    again_as_ordinary_user("as_an_ordinary_user");
}

fn outlet(sockets: Vec<OutletSocket>) -> SessionStep {
    SessionStep::Outlet { address: OWN.0, address_v6: OWN.1, sockets }
}

/// The usual plan with an outlet.
fn with(mut plan: Plan, sockets: Vec<OutletSocket>) -> Plan {
    let up = plan.session.iter().position(|step| matches!(step, SessionStep::LoopbackUp)).expect("the usual plan");
    plan.session.insert(up + 1, outlet(sockets));
    plan
}

fn open(sockets: Vec<OutletSocket>) -> (Scratch, Sandbox, Vec<OwnedFd>) {
    let scratch = Scratch::new();
    let mut sandbox = start(&with(plan(scratch.path()), sockets));
    let taken = sandbox.take_outlet().into_iter().map(|end| match end.expect("this machine has IPv6") {
        OutletEnd::Socket(socket) => socket,
        OutletEnd::Relayed(_) => panic!("a socket can come out of a process of ours"),
    });
    let taken = taken.collect();
    assert!(sandbox.take_outlet().is_empty(), "handed out twice");
    (scratch, sandbox, taken)
}

const fn tcp(port: u16) -> OutletSocket {
    OutletSocket::Tcp { address: None, port }
}

fn listener(socket: OwnedFd) -> TcpListener {
    let flags = rustix::fs::fcntl_getfl(&socket).expect("it is open");
    assert!(flags.contains(rustix::fs::OFlags::NONBLOCK), "it would block a runtime");
    let cloexec = rustix::io::fcntl_getfd(&socket).expect("it is open");
    assert!(cloexec.contains(rustix::io::FdFlags::CLOEXEC), "a program would inherit it");
    let listener = TcpListener::from(socket);
    listener.set_nonblocking(false).expect("it is a socket");
    listener
}

/// Runs Python inside; what it printed.
#[track_caller]
fn python(sandbox: &Sandbox, program: &str) -> String {
    let output = run(sandbox, &["python3", "-c", program]);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.ended.status, Status::Exited(0), "{program}: {}{stderr}", output.text());
    output.text()
}

/// `now(f)` prints the error that `f` ends with, or "slow".
const NOW: &str = "
import errno, socket, time
def now(act):
    began = time.monotonic()
    try:
        act()
        said = 'done'
    except OSError as error:
        said = errno.errorcode.get(error.errno, str(error))
    ms = (time.monotonic() - began) * 1000
    print(said if ms < LIMIT else f'slow: {said} {ms} ms')
def tcp(host, port):
    family = socket.AF_INET6 if ':' in host else socket.AF_INET
    now(lambda: socket.socket(family).connect((host, port)))
def udp(host, port):
    family = socket.AF_INET6 if ':' in host else socket.AF_INET
    client = socket.socket(family, socket.SOCK_DGRAM)
    client.settimeout(2)
    client.connect((host, port))
    client.send(b'x')
    now(lambda: client.recv(1))
";

fn now(program: &str) -> String {
    format!("{}{program}", NOW.replace("LIMIT", &AT_ONCE_MS.to_string()))
}

#[test]
fn a_connection_to_anywhere_reaches_the_listener_and_says_where_to() {
    let (_scratch, sandbox, sockets) = open(vec![tcp(443)]);
    let [socket] = <[OwnedFd; 1]>::try_from(sockets).expect("one");
    let listener = listener(socket);
    for (host, wanted) in [
        ("93.184.216.34", IpAddr::V4(Ipv4Addr::new(93, 184, 216, 34))),
        ("198.18.1.0", IpAddr::V4(Ipv4Addr::new(198, 18, 1, 0))),
        ("10.0.0.1", IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1))),
        ("2606:2800::1", "2606:2800::1".parse().expect("an address")),
        ("fd73:746f:636b::c612:100", "fd73:746f:636b::c612:100".parse().expect("an address")),
    ] {
        let server = std::thread::spawn({
            let listener = listener.try_clone().expect("it can be copied");
            move || {
                let (mut stream, from) = listener.accept().expect("somebody comes");
                let to = stream.local_addr().expect("it is connected");
                stream.write_all(b"hello").expect("it is connected");
                (from, to)
            }
        });
        let said = python(
            &sandbox,
            &format!("import socket; c = socket.create_connection(('{host}', 443)); print(c.recv(9))"),
        );
        assert_eq!(said, "b'hello'\n");
        let (from, to) = server.join().expect("it does not panic");
        assert_eq!((to.ip().to_canonical(), to.port()), (wanted, 443));
        let own = if wanted.is_ipv4() { IpAddr::V4(OWN.0) } else { IpAddr::V6(OWN.1) };
        assert_eq!(from.ip().to_canonical(), own);
    }
}

#[test]
fn a_listener_on_one_address_takes_no_other() {
    let v4 = IpAddr::V4(Ipv4Addr::new(198, 18, 1, 7));
    let v6 = IpAddr::V6("fd73:746f:636b::c612:107".parse().expect("an address"));
    let on = |address| OutletSocket::Tcp { address: Some(address), port: 8443 };
    let (_scratch, sandbox, sockets) = open(vec![on(v4), on(v6)]);
    for (socket, address) in sockets.iter().zip([v4, v6]) {
        let name = rustix::net::getsockname(socket).expect("it is bound");
        assert_eq!(SocketAddr::try_from(name).expect("an address"), SocketAddr::new(address, 8443));
    }
    let program = format!("tcp('{v4}', 8443); tcp('{v6}', 8443); tcp('198.18.1.8', 8443); tcp('fd73::1', 8443)");
    assert_eq!(python(&sandbox, &now(&program)), "done\ndone\nECONNREFUSED\nECONNREFUSED\n");
}

/// Destinations of the packets that the socket has now, their protocol and their port.
fn seen(refusals: &OwnedFd) -> Vec<(IpAddr, u8, u16)> {
    let mut all = Vec::new();
    let mut packet = [0_u8; 2048];
    loop {
        let length = match rustix::net::recv(refusals, &mut packet, rustix::net::RecvFlags::DONTWAIT) {
            Ok((length, _)) => length,
            Err(Errno::AGAIN) => return all,
            Err(errno) => panic!("{errno}"),
        };
        assert!((28..=128).contains(&length), "{length} bytes");
        let packet = &packet[..length];
        let (to, protocol, rest) = if packet[0] >> 4 == 4 {
            let to = <[u8; 4]>::try_from(&packet[16..20]).expect("four");
            (IpAddr::from(to), packet[9], usize::from(packet[0] & 15) * 4)
        } else {
            (IpAddr::from(<[u8; 16]>::try_from(&packet[24..40]).expect("sixteen")), packet[6], 40)
        };
        all.push((to, protocol, u16::from_be_bytes([packet[rest + 2], packet[rest + 3]])));
    }
}

#[test]
fn what_nobody_listens_for_is_refused_at_once_and_seen() {
    let (_scratch, sandbox, sockets) = open(vec![OutletSocket::Refusals, OutletSocket::Udp { port: 53 }]);
    let program = "
tcp('93.184.216.34', 22); tcp('2606:2800::1', 22); udp('1.1.1.1', 123); udp('2606:2800::1', 443)
tcp('127.0.0.1', 9); tcp('::1', 9); udp('127.0.0.1', 9); tcp('198.18.0.3', 9); tcp('fd73:746f:636b::c612:3', 9)
";
    assert_eq!(python(&sandbox, &now(program)), "ECONNREFUSED\n".repeat(9));
    let address = |text: &str| text.parse::<IpAddr>().expect("an address");
    let expected = [
        (address("93.184.216.34"), 6, 22),
        (address("2606:2800::1"), 6, 22),
        (address("1.1.1.1"), 17, 123),
        (address("2606:2800::1"), 17, 443),
    ];
    assert_eq!(seen(&sockets[0]), expected, "each once, and nothing of the loopback");
    // What is accepted, and what flows afterwards, is not: only its first segment.
    let program = "
import socket, threading
server = socket.create_server(('0.0.0.0', 8000))
client = socket.create_connection(('10.1.2.3', 8000))
peer, _ = server.accept()
for _ in range(100): client.sendall(b'x' * 1000); peer.recv(2000); peer.sendall(b'y'); client.recv(1)
";
    python(&sandbox, program);
    assert_eq!(seen(&sockets[0]), [(address("10.1.2.3"), 6, 8000)]);
    let lost = stockade_jail::outlet::lost_since_last_asked(sockets[0].as_fd()).expect("it counts");
    assert_eq!(lost, 0);
    python(
        &sandbox,
        "import socket\nc = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\nfor _ in range(20000): c.sendto(b'', ('9.9.9.9', 9))",
    );
    let lost = stockade_jail::outlet::lost_since_last_asked(sockets[0].as_fd()).expect("it counts");
    let kept = u64::try_from(seen(&sockets[0]).len()).expect("a number");
    assert_eq!(lost + kept, 20_000, "what was lost is counted");
    assert!(stockade_jail::outlet::lost_since_last_asked(sockets[1].as_fd()).is_err());
}

#[test]
fn fragments_and_options_do_not_hide_a_datagram() {
    let (_scratch, sandbox, sockets) = open(vec![OutletSocket::Refusals]);
    let program = "
import socket
for family, host in ((socket.AF_INET, '9.9.9.9'), (socket.AF_INET6, '2620:fe::fe')):
    client = socket.socket(family, socket.SOCK_DGRAM)
    if family == socket.AF_INET:
        client.setsockopt(socket.IPPROTO_IP, socket.IP_OPTIONS, bytes([7, 7, 4, 0, 0, 0, 0, 0]))
        client.setsockopt(socket.IPPROTO_IP, 10, 0)  # IP_MTU_DISCOVER: fragments allowed
    else:
        client.setsockopt(socket.IPPROTO_IPV6, 24, 1280)  # IPV6_MTU
    client.sendto(b'x' * 5000, (host, 9))
";
    python(&sandbox, program);
    let seen = seen(&sockets[0]);
    assert_eq!(seen.first(), Some(&(IpAddr::from([9, 9, 9, 9]), 17, 9)), "{seen:?}");
    assert!(seen.iter().any(|(to, ..)| *to == "2620:fe::fe".parse::<IpAddr>().expect("an address")), "{seen:?}");
}

/// Serves one datagram at a time on descriptor 0: says to which address it came, and answers from there.
const ECHO: &str = "
import socket, struct
server = socket.socket(fileno=0)
server.setblocking(True)
for _ in range(int(COUNT)):
    data, control, _, sender = server.recvmsg(100, 200)
    [(level, kind, info)] = control
    assert (level, kind) == (socket.IPPROTO_IPV6, socket.IPV6_PKTINFO), control
    to = socket.inet_ntop(socket.AF_INET6, info[:16])
    print(to, data.decode(), flush=True)
    server.sendmsg([b'from ' + to.encode()], [(level, kind, info[:16] + bytes(4))], 0, sender)
";

#[test]
#[expect(clippy::disallowed_methods, reason = "a server for the socket that was handed out, outside")]
fn a_datagram_to_any_resolver_reaches_ours_and_the_answer_comes_from_there() {
    let (_scratch, sandbox, sockets) = open(vec![OutletSocket::Udp { port: 53 }]);
    let [socket] = <[OwnedFd; 1]>::try_from(sockets).expect("one");
    let server = std::process::Command::new("/usr/bin/python3")
        .args(["-c", &ECHO.replace("COUNT", "3")])
        .env_clear()
        .stdin(socket)
        .stdout(Stdio::piped())
        .spawn()
        .expect("there is a Python");
    let program = "
import socket
for host in ('8.8.8.8', '198.18.0.2', '2001:4860:4860::8888'):
    client = socket.socket(socket.AF_INET6 if ':' in host else socket.AF_INET, socket.SOCK_DGRAM)
    client.settimeout(5)
    client.connect((host, 53))
    client.send(b'query')
    print(client.recv(100).decode())
";
    let answers = "from ::ffff:8.8.8.8\nfrom ::ffff:198.18.0.2\nfrom 2001:4860:4860::8888\n";
    assert_eq!(python(&sandbox, program), answers);
    let output = server.wait_with_output().expect("it ends");
    let asked = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(asked, answers.replace("from ", "").replace('\n', " query\n"));
}

#[test]
fn a_server_inside_works_and_is_reached_from_outside_only_by_asking() {
    let (_scratch, sandbox, _sockets) = open(vec![tcp(80), tcp(443)]);
    for (address, port) in [("127.0.0.1", 8000), ("0.0.0.0", 8001), ("::1", 8002), ("::", 8003)] {
        let family = if address.contains(':') { "socket.AF_INET6" } else { "socket.AF_INET" };
        let serve = format!(
            "import socket; s = socket.create_server(('{address}', {port}), family={family}); print('up', flush=True)
while True:
    c, _ = s.accept(); c.sendall(c.recv(9).upper()); c.close()"
        );
        let mut running = sandbox
            .spawn(&common::command(&["python3", "-c", &serve]), stockade_jail::Stdio::Pipes)
            .expect("a call starts");
        let mut up = [0; 3];
        let mut stdout = std::fs::File::from(running.take_stdout().expect("a pipe"));
        stdout.read_exact(&mut up).expect("it says so");
        let inside = format!(
            "import socket; c = socket.create_connection(('{}', {port})); c.sendall(b'in'); print(c.recv(9))",
            // Python makes its IPv6 servers for IPv6 alone.
            if address.contains(':') { "::1" } else { "127.0.0.1" }
        );
        assert_eq!(python(&sandbox, &inside), "b'IN'\n", "{address}");
        let connected = sandbox.connect_inside(port, Duration::from_secs(5)).expect("it listens");
        let InnerStream::Tcp(mut stream) = connected else { panic!("a socket can come out of a process of ours") };
        stream.set_nonblocking(false).expect("it is a socket");
        stream.write_all(b"out").expect("it is connected");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("it answers");
        assert_eq!(answer, "OUT", "{address}");
        assert!(
            std::net::TcpStream::connect(("127.0.0.1", port)).is_err(),
            "the host's own loopback has no such server"
        );
        running.kill(None);
    }
    let began = Instant::now();
    let error = sandbox.connect_inside(8004, Duration::from_secs(5)).expect_err("nobody listens there");
    assert_eq!(error.errno, Some(Errno::CONNREFUSED.raw_os_error()), "{error}");
    assert!(began.elapsed() < Duration::from_secs(1), "a refusal waited");
}

#[test]
fn the_hosts_loopback_is_not_reachable() {
    let server = TcpListener::bind("127.0.0.1:0").expect("a port of the host's");
    let port = server.local_addr().expect("it is bound").port();
    drop(std::net::TcpStream::connect(("127.0.0.1", port)).expect("the control: from the host it is there"));
    let (_scratch, sandbox, _sockets) = open(vec![tcp(443)]);
    let hosts = format!("tcp('127.0.0.1', {port}); tcp('127.9.9.9', {port}); tcp('10.0.0.1', {port})");
    assert_eq!(python(&sandbox, &now(&hosts)), "ECONNREFUSED\n".repeat(3));
}

#[test]
fn a_guest_cannot_change_routes_or_listen_in_or_take_the_outlets_ports() {
    let (_scratch, sandbox, _sockets) =
        open(vec![tcp(443), OutletSocket::Tcp { address: Some(Ipv4Addr::new(198, 18, 0, 1).into()), port: 3128 }]);
    let program = "
import struct
now(lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW))
now(lambda: socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM))
now(lambda: socket.socket(socket.AF_INET, socket.SOCK_RAW, 6))
def route(kind):
    link = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0)
    body = struct.pack('BBBBBBBBI', 2, 0, 0, 0, 255, 3, 254, 2, 0) + struct.pack('HHI', 8, 4, 1)
    link.send(struct.pack('IHHII', 16 + len(body), kind, 1 | 4, 1, 0) + body)
    error = -struct.unpack('i', link.recv(4096)[16:20])[0]
    if error: raise OSError(error, '')
now(lambda: route(24))
now(lambda: route(25))
def take(kind, address, port):
    one = socket.socket(socket.AF_INET6 if ':' in address else socket.AF_INET, kind)
    one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    one.bind((address, port))
    one.listen()
now(lambda: take(socket.SOCK_STREAM, '93.184.216.34', 443))
now(lambda: take(socket.SOCK_STREAM, '127.0.0.1', 443))
now(lambda: take(socket.SOCK_DGRAM, '8.8.8.8', 53))
now(lambda: take(socket.SOCK_STREAM, '198.18.0.1', 3128))
now(lambda: take(socket.SOCK_STREAM, '0.0.0.0', 3128))
";
    let expected = "EAFNOSUPPORT EAFNOSUPPORT EPROTONOSUPPORT EPERM EPERM EACCES EACCES EACCES EADDRINUSE EADDRINUSE";
    assert_eq!(python(&sandbox, &now(program)).split_whitespace().collect::<Vec<_>>().join(" "), expected);
}

#[test]
fn names_resolve_for_programs_that_ask_only_for_what_is_configured() {
    // AI_ADDRCONFIG: with the loopback's addresses alone, the C library takes both families for missing.
    let program = "
import socket
for family, host in ((socket.AF_INET, '127.0.0.1'), (socket.AF_INET6, '::1'), (socket.AF_UNSPEC, 'localhost')):
    try: print(len(socket.getaddrinfo(host, 1, family, socket.SOCK_STREAM, 0, socket.AI_ADDRCONFIG)) > 0)
    except socket.gaierror: print(False)
";
    let (scratch, sandbox, _sockets) = open(vec![tcp(443)]);
    assert_eq!(python(&sandbox, program), "True\nTrue\nTrue\n");
    let control = start(&plan(scratch.path()));
    assert_eq!(python(&control, program), "False\nFalse\nTrue\n");
}

#[test]
fn the_outlet_is_a_layer_and_without_a_plan_for_it_there_is_none() {
    let (_scratch, sandbox, sockets) =
        open((0..OUTLET_SOCKETS_MAX).map(|n| tcp(u16::try_from(n + 1).expect("small"))).collect());
    assert_eq!(sockets.len(), OUTLET_SOCKETS_MAX);
    for (socket, port) in sockets.iter().zip(1..) {
        let name = SocketAddr::try_from(rustix::net::getsockname(socket).expect("it is bound")).expect("an address");
        assert_eq!(name.port(), port, "in the plan's order");
    }
    let layer = sandbox.enforced().layers.iter().find(|layer| layer.layer == Layer::Outlet).expect("it is reported");
    assert_eq!(layer.state, State::Active);
    assert_eq!(layer.detail.as_deref(), Some("128 sockets; IPv4 and IPv6"));
    assert_eq!(sandbox.enforced().grade, stockade_jail::Grade::Full);
    let scratch = Scratch::new();
    let mut without = start(&plan(scratch.path()));
    assert!(without.take_outlet().is_empty());
    assert!(without.enforced().layers.iter().all(|layer| layer.layer != Layer::Outlet));
}

#[test]
fn a_plan_that_cannot_have_an_outlet_is_refused() {
    let scratch = Scratch::new();
    let mut landlock = landlock_plan(scratch.path());
    landlock.session.insert(0, outlet(vec![tcp(443)]));
    let too_many = with(plan(scratch.path()), vec![OutletSocket::Refusals; OUTLET_SOCKETS_MAX + 1]);
    let mut down = with(plan(scratch.path()), vec![tcp(443)]);
    down.session.retain(|step| !matches!(step, SessionStep::LoopbackUp));
    let twice = with(with(plan(scratch.path()), vec![tcp(443)]), vec![tcp(80)]);
    let taken = with(plan(scratch.path()), vec![tcp(443), tcp(443)]);
    for plan in [landlock, too_many, down, twice, taken] {
        let error = Sandbox::start(&plan, &options()).expect_err("it cannot be");
        assert_ne!(error.kind, ErrorKind::SandboxLost, "{error}");
    }
    let sandbox = start(&landlock_plan(scratch.path()));
    assert!(sandbox.connect_inside(80, Duration::from_secs(1)).is_err(), "it would be the host's");
}

#[test]
fn a_call_that_runs_meanwhile_is_not_disturbed_by_sockets_that_are_asked_for() {
    let (_scratch, sandbox, _sockets) = open(vec![tcp(443)]);
    let running = sandbox.spawn(&common::command(&["sleep", "0.3"]), stockade_jail::Stdio::Pipes).expect("it starts");
    for _ in 0..50 {
        assert!(sandbox.connect_inside(9, Duration::from_secs(1)).is_err());
    }
    assert_eq!(running.wait().expect("it ends").status, Status::Exited(0));
    let descriptors = sh(&sandbox, "ls /proc/self/fd | tr '\\n' ' '");
    assert_eq!(descriptors, "0 1 2 3 ", "a socket of the outlet reached a guest");
}

fn cover(paths: &[&str], content: &[u8]) -> SessionStep {
    let paths = paths.iter().map(PathBuf::from).collect();
    SessionStep::Cover { files: vec![Cover { paths, content: Content::new(content), mode: 0o444 }] }
}

fn shown(source: &Path, target: &str, access: Access) -> SessionStep {
    let (source, target) = (source.to_owned(), target.into());
    SessionStep::Bind { source, target, access, exec: Exec::Deny, owner: Owner::AsIs }
}

#[test]
fn a_cover_shows_what_it_holds_wherever_its_paths_are() {
    let scratch = Scratch::new();
    let host = scratch.dir("etc");
    std::fs::create_dir(host.join("certs")).expect("our own directory");
    std::fs::write(host.join("certs/bundle"), "theirs").expect("our own directory");
    std::fs::write(host.join("kept"), "kept").expect("our own directory");
    let large = vec![b'c'; 300 * 1024];
    let steps = vec![
        shown(&host, "/shown", Access::ReadOnly),
        // Missing in a directory of the host.
        cover(&["/shown/resolv.conf", "/shown/hosts"], b"ours\n"),
        SessionStep::Tmpfs { path: "/private".into(), size_mib: 1, mode: 0o755, exec: Exec::Deny },
        cover(&["/shown/certs/bundle", "/run/made/by/us", "/private/file", "/shown/kept"], &large),
    ];
    let sandbox = start(&plan_with(&scratch.dir("w"), steps));
    assert_eq!(
        sh(&sandbox, "cat /shown/resolv.conf /shown/hosts; ls /shown | tr '\\n' ' '"),
        "ours\nours\ncerts hosts kept resolv.conf "
    );
    for path in ["/shown/certs/bundle", "/run/made/by/us", "/private/file", "/shown/kept"] {
        assert_eq!(sh(&sandbox, &format!("cat {path} | wc -c; stat -c %a {path}")), "307200\n444\n", "{path}");
        for line in [
            format!("echo x > {path}"),
            format!("rm -f {path}"),
            format!("chmod 777 {path}"),
            format!("mv {path} /tmp/x"),
        ] {
            let output = run(&sandbox, &["sh", "-c", &line]);
            assert_ne!(output.ended.status, Status::Exited(0), "{line} succeeded");
        }
    }
    assert_eq!(sh(&sandbox, "ls -A / | grep cover || echo none"), "none\n");
    assert!(!sh(&sandbox, "cat /proc/self/mountinfo").contains("deleted/"));
    let mut names: Vec<_> =
        std::fs::read_dir(&host).expect("ours").map(|entry| entry.expect("ours").file_name()).collect();
    names.sort();
    assert_eq!(names, ["certs", "kept"], "the host's directory was changed");
    assert_eq!(std::fs::read_to_string(host.join("certs/bundle")).expect("ours"), "theirs");
}

#[test]
fn a_cover_follows_no_link_writes_nothing_outside_and_uncovers_nothing() {
    let scratch = Scratch::new();
    let (host, outside) = (scratch.dir("etc"), scratch.dir("outside"));
    std::os::unix::fs::symlink(&outside, host.join("link")).expect("our own directory");
    std::fs::write(host.join("secret"), "secret").expect("our own directory");
    let refused = |steps: Vec<SessionStep>| {
        Sandbox::start(&plan_with(&scratch.dir("w"), steps), &options()).expect_err("the set-up must refuse")
    };
    let read_only = || shown(&host, "/shown", Access::ReadOnly);
    assert_eq!(refused(vec![read_only(), cover(&["/shown/link/file"], b"x")]).kind, ErrorKind::SymlinkInTheWay);
    assert_eq!(refused(vec![read_only(), cover(&["/shown/link"], b"x")]).kind, ErrorKind::SymlinkInTheWay);
    let writable = vec![shown(&host, "/shown", Access::ReadWrite), cover(&["/shown/new"], b"x")];
    assert_eq!(refused(writable).kind, ErrorKind::TargetMissing);
    // What was hidden below would show again.
    let mask = SessionStep::Mask { path: "/shown/secret".into() };
    refused(vec![read_only(), mask, cover(&["/shown/new"], b"x")]);
    refused(vec![read_only(), cover(&["/shown"], b"x")]);
    assert_eq!(std::fs::read_dir(&outside).expect("ours").count(), 0, "created outside");
    assert_eq!(std::fs::read_dir(&host).expect("ours").count(), 2, "created on the host");
}
