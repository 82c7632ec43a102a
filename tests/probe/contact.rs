//! Ways to reach a listener of the host's: one per protocol and address form.
//! It never sends to anything but the address and port that it is given.

use crate::sys::{Arg, Message, call, send_message};
use crate::{Args, Attempt, Entry, Miss};
use std::net::{IpAddr, Ipv6Addr, SocketAddr, TcpListener, UdpSocket};

pub(crate) const TABLE: &[Entry] = &[
    ("tcp", tcp),
    ("mptcp", mptcp),
    ("udp", udp),
    ("udp-message", udp_message),
    ("udplite", udplite),
    ("fast-open", fast_open),
    ("fast-open-message", fast_open_message),
    ("fast-open-connect", fast_open_connect),
    ("ping", ping),
    ("listen-everywhere", listen_everywhere),
    ("interfaces", interfaces),
];

/// Most time a connection may take, seconds.
const PATIENCE_S: i64 = 3;

/// An IPv4 or IPv6 socket address as the kernel takes it.
fn address_bytes(address: &str, port: i64) -> Result<(i32, Vec<u8>), Miss> {
    let address: IpAddr = address.parse().map_err(|_| Miss::Nothing(format!("\"{address}\" is not an address")))?;
    let port = u16::try_from(port).map_err(|_| Miss::Broken("not a port".to_owned()))?;
    let family = |number: i32| u16::try_from(number).expect("families are small").to_ne_bytes();
    Ok(match address {
        IpAddr::V4(v4) => {
            let parts = [&family(libc::AF_INET)[..], &port.to_be_bytes(), &v4.octets(), &[0; 8]];
            (libc::AF_INET, parts.concat())
        }
        IpAddr::V6(v6) => {
            let parts = [&family(libc::AF_INET6)[..], &port.to_be_bytes(), &[0; 4], &v6.octets(), &[0; 4]];
            (libc::AF_INET6, parts.concat())
        }
    })
}

fn socket(family: i32, kind: i32, protocol: i32) -> Result<i32, Miss> {
    let made =
        call(libc::SYS_socket, &mut [Arg::Int(family.into()), Arg::Int(kind.into()), Arg::Int(protocol.into())])?;
    let socket = i32::try_from(made).expect("descriptors are small");
    for option in [libc::SO_SNDTIMEO, libc::SO_RCVTIMEO] {
        let time = [PATIENCE_S.to_ne_bytes(), [0; 8]].concat();
        set_option(socket, libc::SOL_SOCKET, option, &time)?;
    }
    Ok(socket)
}

fn set_option(socket: i32, level: i32, option: i32, value: &[u8]) -> Result<(), Miss> {
    let length = i64::try_from(value.len()).expect("options are short");
    let (socket, level, option) = (Arg::Int(socket.into()), Arg::Int(level.into()), Arg::Int(option.into()));
    call(libc::SYS_setsockopt, &mut [socket, level, option, Arg::In(value), Arg::Int(length)])?;
    Ok(())
}

fn connect(socket: i32, address: &[u8]) -> Result<(), Miss> {
    let length = i64::try_from(address.len()).expect("addresses are short");
    call(libc::SYS_connect, &mut [Arg::Int(socket.into()), Arg::In(address), Arg::Int(length)])?;
    Ok(())
}

fn send(socket: i32, address: Option<&[u8]>, flags: i32) -> Result<(), Miss> {
    let (length, words) = (i64::try_from(address.map_or(0, <[u8]>::len)).expect("short"), b"hello from the guest\n");
    let to = address.map_or(Arg::Int(0), Arg::In);
    call(
        libc::SYS_sendto,
        &mut [Arg::Int(socket.into()), Arg::In(words), Arg::Int(21), Arg::Int(flags.into()), to, Arg::Int(length)],
    )?;
    Ok(())
}

/// Reads one answer: proof that somebody was there. Every listener of the tests answers.
fn answered(socket: i32) -> Attempt {
    let mut answer = [0_u8; 64];
    let length = call(
        libc::SYS_recvfrom,
        &mut [Arg::Int(socket.into()), Arg::Out(&mut answer), Arg::Int(64), Arg::Int(0), Arg::Int(0), Arg::Int(0)],
    )?;
    if length > 0 {
        Ok(format!("an answer of {length} bytes"))
    } else {
        Err(Miss::Nothing("closed at once".to_owned()))
    }
}

fn stream(args: &Args, protocol: i32) -> Attempt {
    let (family, address) = address_bytes(args.text(0)?, args.number(1)?)?;
    let socket = socket(family, libc::SOCK_STREAM, protocol)?;
    connect(socket, &address)?;
    send(socket, None, libc::MSG_NOSIGNAL)?;
    answered(socket)
}

fn tcp(args: &Args) -> Attempt {
    stream(args, 0)
}

fn mptcp(args: &Args) -> Attempt {
    stream(args, 262)
}

fn datagram(args: &Args, protocol: i32) -> Attempt {
    let (family, address) = address_bytes(args.text(0)?, args.number(1)?)?;
    let socket = socket(family, libc::SOCK_DGRAM, protocol)?;
    send(socket, Some(&address), 0)?;
    answered(socket)
}

fn udp(args: &Args) -> Attempt {
    datagram(args, 0)
}

fn udplite(args: &Args) -> Attempt {
    datagram(args, libc::IPPROTO_UDPLITE)
}

fn udp_message(args: &Args) -> Attempt {
    let (family, address) = address_bytes(args.text(0)?, args.number(1)?)?;
    let socket = socket(family, libc::SOCK_DGRAM, 0)?;
    send_message(socket, &Message { address: Some(&address), data: b"hello", descriptor: None }, 0)?;
    answered(socket)
}

/// Connects within sendto: a filter that looks at connect alone does not see it.
fn fast_open(args: &Args) -> Attempt {
    let (family, address) = address_bytes(args.text(0)?, args.number(1)?)?;
    let socket = socket(family, libc::SOCK_STREAM, 0)?;
    send(socket, Some(&address), libc::MSG_FASTOPEN | libc::MSG_NOSIGNAL)?;
    answered(socket)
}

fn fast_open_message(args: &Args) -> Attempt {
    let (family, address) = address_bytes(args.text(0)?, args.number(1)?)?;
    let socket = socket(family, libc::SOCK_STREAM, 0)?;
    let message = Message { address: Some(&address), data: b"hello", descriptor: None };
    send_message(socket, &message, libc::MSG_FASTOPEN | libc::MSG_NOSIGNAL)?;
    answered(socket)
}

fn fast_open_connect(args: &Args) -> Attempt {
    const TCP_FASTOPEN_CONNECT: i32 = 30;
    let (family, address) = address_bytes(args.text(0)?, args.number(1)?)?;
    let socket = socket(family, libc::SOCK_STREAM, 0)?;
    set_option(socket, libc::IPPROTO_TCP, TCP_FASTOPEN_CONNECT, &1_i32.to_ne_bytes())?;
    connect(socket, &address)?;
    send(socket, None, libc::MSG_NOSIGNAL)?;
    answered(socket)
}

/// An ICMP echo from a raw or a ping socket.
fn ping(args: &Args) -> Attempt {
    let (family, address) = address_bytes(args.text(0)?, 0)?;
    let kind = if args.text(1)? == "raw" { libc::SOCK_RAW } else { libc::SOCK_DGRAM };
    let socket = socket(family, kind, libc::IPPROTO_ICMP)?;
    // Echo request, code 0, checksum of exactly these bytes, identifier 0, sequence 1.
    let echo = [8, 0, 0xf7, 0xfe, 0, 0, 0, 1];
    let (to, length) = (Arg::In(&address), i64::try_from(address.len()).expect("short"));
    call(
        libc::SYS_sendto,
        &mut [Arg::Int(socket.into()), Arg::In(&echo), Arg::Int(8), Arg::Int(0), to, Arg::Int(length)],
    )?;
    answered(socket)
}

/// Listens on every address and port given, then waits for the host to come in: the test tries, and the helper reports.
fn listen_everywhere(args: &Args) -> Attempt {
    let port = u16::try_from(args.number(0)?).map_err(|_| Miss::Broken("not a port".to_owned()))?;
    let listener = TcpListener::bind(SocketAddr::from((Ipv6Addr::UNSPECIFIED, port)))?;
    crate::say("listening");
    listener.set_nonblocking(true)?;
    for _ in 0..40 {
        if let Ok((mut guest, from)) = listener.accept() {
            std::io::Write::write_all(&mut guest, b"inside\n")?;
            return Ok(format!("a visitor from {from}"));
        }
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    Err(Miss::Nothing("nobody came".to_owned()))
}

/// Any address of the machine but the loopback's: asked of the routing table, no packet leaves.
fn interfaces(_args: &Args) -> Attempt {
    for (own, other) in [("0.0.0.0:0", "192.0.2.1:9"), ("[::]:0", "[2001:db8::1]:9")] {
        let routed = UdpSocket::bind(own).and_then(|socket| socket.connect(other).and_then(|()| socket.local_addr()));
        if let Ok(local) = routed.map(|address| address.ip())
            && !local.is_loopback()
        {
            return Ok(format!("a route from {local}"));
        }
    }
    Err(Miss::Nothing("no route but the loopback".to_owned()))
}
