//! Ways to reach a UNIX socket of the host's, by path and by abstract name.
//! It never speaks a protocol: one message, and an answer or none.

use crate::sys::{Arg, Message, call, file_of, receive_message, send_message};
use crate::{Args, Attempt, Entry, Miss};
use std::io::Read;

pub(crate) const TABLE: &[Entry] = &[
    ("unix-stream", stream),
    ("unix-seqpacket", seqpacket),
    ("unix-datagram", datagram),
    ("unix-datagram-message", datagram_message),
    ("unix-datagram-connected", datagram_connected),
    ("unix-pair-message", pair_message),
    ("unix-pair-connect", pair_connect),
    ("unix-receive-descriptor", receive_descriptor),
    ("unix-bind", bind),
    ("unix-through-link", through_link),
];

/// A socket address: a path, or an abstract name when it begins with `@`.
fn address(text: &str) -> Vec<u8> {
    let family = u16::try_from(libc::AF_UNIX).expect("1").to_ne_bytes();
    match text.strip_prefix('@') {
        Some(name) => [&family[..], b"\0", name.as_bytes()].concat(),
        None => [&family[..], text.as_bytes(), b"\0"].concat(),
    }
}

fn socket(kind: i32) -> Result<i32, Miss> {
    let made = call(libc::SYS_socket, &mut [Arg::Int(libc::AF_UNIX.into()), Arg::Int(kind.into()), Arg::Int(0)])?;
    patient(i32::try_from(made).expect("descriptors are small"))
}

/// Gives a socket a time limit for reading.
fn patient(socket: i32) -> Result<i32, Miss> {
    let time = [1_i64.to_ne_bytes(), [0; 8]].concat();
    let (level, option) = (i64::from(libc::SOL_SOCKET), i64::from(libc::SO_RCVTIMEO));
    call(
        libc::SYS_setsockopt,
        &mut [Arg::Int(socket.into()), Arg::Int(level), Arg::Int(option), Arg::In(&time), Arg::Int(16)],
    )?;
    Ok(socket)
}

fn connect(socket: i32, to: &[u8]) -> Result<(), Miss> {
    let length = i64::try_from(to.len()).expect("addresses are short");
    call(libc::SYS_connect, &mut [Arg::Int(socket.into()), Arg::In(to), Arg::Int(length)])?;
    Ok(())
}

fn connected(kind: i32, to: &str) -> Result<i32, Miss> {
    let socket = socket(kind)?;
    connect(socket, &address(to))?;
    send_message(socket, &Message { data: b"hello from the guest\n", ..Message::default() }, libc::MSG_NOSIGNAL)?;
    Ok(socket)
}

fn stream(args: &Args) -> Attempt {
    receive_message(connected(libc::SOCK_STREAM, args.text(0)?)?)?;
    Ok("an answer".to_owned())
}

fn seqpacket(args: &Args) -> Attempt {
    receive_message(connected(libc::SOCK_SEQPACKET, args.text(0)?)?)?;
    Ok("an answer".to_owned())
}

fn datagram_connected(args: &Args) -> Attempt {
    connected(libc::SOCK_DGRAM, args.text(0)?)?;
    Ok("sent".to_owned())
}

fn datagram(args: &Args) -> Attempt {
    let (socket, to) = (socket(libc::SOCK_DGRAM)?, address(args.text(0)?));
    let length = i64::try_from(to.len()).expect("addresses are short");
    let (socket, words) = (Arg::Int(socket.into()), Arg::In(b"hello"));
    call(libc::SYS_sendto, &mut [socket, words, Arg::Int(5), Arg::Int(0), Arg::In(&to), Arg::Int(length)])?;
    Ok("sent".to_owned())
}

fn datagram_message(args: &Args) -> Attempt {
    let (socket, to) = (socket(libc::SOCK_DGRAM)?, address(args.text(0)?));
    send_message(socket, &Message { address: Some(&to), data: b"hello", descriptor: None }, 0)?;
    Ok("sent".to_owned())
}

/// One end of a datagram pair: an unconnected address can still be given to it.
fn pair_end() -> Result<i32, Miss> {
    let mut ends = [0_u8; 8];
    let (family, kind) = (Arg::Int(libc::AF_UNIX.into()), Arg::Int(libc::SOCK_DGRAM.into()));
    call(libc::SYS_socketpair, &mut [family, kind, Arg::Int(0), Arg::Out(&mut ends)])?;
    let [a, b, c, d, ..] = ends;
    Ok(i32::from_ne_bytes([a, b, c, d]))
}

fn pair_message(args: &Args) -> Attempt {
    let (end, to) = (pair_end()?, address(args.text(0)?));
    send_message(end, &Message { address: Some(&to), data: b"hello", descriptor: None }, 0)?;
    Ok("sent".to_owned())
}

fn pair_connect(args: &Args) -> Attempt {
    let end = pair_end()?;
    connect(end, &address(args.text(0)?))?;
    send_message(end, &Message { data: b"hello", ..Message::default() }, 0)?;
    Ok("sent".to_owned())
}

/// Asks a helper of the host's for a descriptor and reads a secret through it.
fn receive_descriptor(args: &Args) -> Attempt {
    let socket = connected(libc::SOCK_STREAM, args.text(0)?)?;
    let (_, descriptor) = receive_message(socket)?;
    let descriptor = descriptor.ok_or_else(|| Miss::Nothing("an answer without a descriptor".to_owned()))?;
    let mut text = String::new();
    file_of(descriptor).read_to_string(&mut text)?;
    Ok(format!("read {} bytes through a received descriptor", text.len()))
}

/// Binds a socket where a program of the host's would look for one.
fn bind(args: &Args) -> Attempt {
    let (socket, at) = (socket(libc::SOCK_STREAM)?, address(args.text(0)?));
    let length = i64::try_from(at.len()).expect("addresses are short");
    call(libc::SYS_bind, &mut [Arg::Int(socket.into()), Arg::In(&at), Arg::Int(length)])?;
    call(libc::SYS_listen, &mut [Arg::Int(socket.into()), Arg::Int(1)])?;
    Ok("listening".to_owned())
}

/// Makes a link to the socket and connects through the link.
fn through_link(args: &Args) -> Attempt {
    std::os::unix::fs::symlink(args.text(0)?, "door")?;
    receive_message(connected(libc::SOCK_STREAM, "door")?)?;
    Ok("an answer".to_owned())
}
