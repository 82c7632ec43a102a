//! Socket families: which can be made at all, and what a netlink socket would tell.
//! It never binds or sends, except one request to the routing table.

use crate::sys::{Arg, call};
use crate::{Args, Attempt, Entry, Miss};

pub(crate) const TABLE: &[Entry] =
    &[("family", family), ("pair", pair), ("netlink", netlink), ("vsock-connect", vsock_connect)];

/// Every type of socket; 10 is SOCK_PACKET, which libc calls deprecated and the kernel still makes.
const KINDS: [i32; 6] = [libc::SOCK_STREAM, libc::SOCK_DGRAM, libc::SOCK_RAW, libc::SOCK_RDM, libc::SOCK_SEQPACKET, 10];

/// Makes a socket of a family, in any type that works, with the protocols given (0 when none is).
fn family(args: &Args) -> Attempt {
    let family = args.number(0)?;
    let protocol = args.number(1).unwrap_or(0);
    let kind_wanted = args.number(2).ok();
    let mut last = libc::EAFNOSUPPORT;
    for kind in KINDS.into_iter().map(i64::from).filter(|kind| kind_wanted.is_none_or(|wanted| wanted == *kind)) {
        match call(libc::SYS_socket, &mut [Arg::Int(family), Arg::Int(kind), Arg::Int(protocol)]) {
            Ok(_) => return Ok(format!("a socket of type {kind}")),
            // The most telling refusal wins: a type that the family lacks says nothing about the family.
            Err(libc::EPERM | libc::EACCES) => last = libc::EPERM,
            Err(errno) if last == libc::EAFNOSUPPORT => last = errno,
            Err(_) => {}
        }
    }
    Err(Miss::Errno(last))
}

fn pair(args: &Args) -> Attempt {
    let mut ends = [0_u8; 8];
    call(
        libc::SYS_socketpair,
        &mut [Arg::Int(args.number(0)?), Arg::Int(args.number(1)?), Arg::Int(0), Arg::Out(&mut ends)],
    )?;
    Ok("a pair".to_owned())
}

/// Asks the kernel for its interfaces and looks for one that is not the loopback.
fn netlink(_args: &Args) -> Attempt {
    let socket =
        call(libc::SYS_socket, &mut [Arg::Int(libc::AF_NETLINK.into()), Arg::Int(libc::SOCK_RAW.into()), Arg::Int(0)])?;
    // nlmsghdr: length 32, RTM_GETLINK, NLM_F_REQUEST|NLM_F_DUMP, sequence 1, port 0; then an ifinfomsg of zeros.
    let mut request = [0_u8; 32];
    request[..4].copy_from_slice(&32_u32.to_ne_bytes());
    request[4..6].copy_from_slice(&18_u16.to_ne_bytes());
    request[6..8].copy_from_slice(&0x301_u16.to_ne_bytes());
    request[8..12].copy_from_slice(&1_u32.to_ne_bytes());
    let to = [&16_u16.to_ne_bytes()[..], &[0; 10]].concat();
    call(
        libc::SYS_sendto,
        &mut [Arg::Int(socket), Arg::In(&request), Arg::Int(32), Arg::Int(0), Arg::In(&to), Arg::Int(12)],
    )?;
    let mut answer = vec![0_u8; 32_768];
    let length = call(
        libc::SYS_recvfrom,
        &mut [Arg::Int(socket), Arg::Out(&mut answer), Arg::Int(32_768), Arg::Int(0), Arg::Int(0), Arg::Int(0)],
    )?;
    let length = usize::try_from(length).unwrap_or(0);
    // An interface's name is an attribute IFLA_IFNAME (3); the loopback's is "lo".
    let others = answer
        .get(..length)
        .unwrap_or_default()
        .windows(7)
        .filter(|w| w.starts_with(&[3, 0]) && w[2].is_ascii_lowercase());
    let others = others.filter(|window| !window[2..].starts_with(b"lo\0")).count();
    if others > 0 { Ok(format!("{others} interfaces")) } else { Err(Miss::Nothing("the loopback only".to_owned())) }
}

/// Connects to the hypervisor (CID 2) or the machine itself (CID 1).
fn vsock_connect(args: &Args) -> Attempt {
    let kind = i64::from(libc::SOCK_STREAM | libc::SOCK_NONBLOCK);
    let socket = call(libc::SYS_socket, &mut [Arg::Int(libc::AF_VSOCK.into()), Arg::Int(kind), Arg::Int(0)])?;
    // sockaddr_vm: family, reserved, port, cid, flags and zeros. Non-blocking, so that nobody has to be there.
    let (family, cid) = (u16::try_from(libc::AF_VSOCK).expect("40"), u32::try_from(args.number(0)?).unwrap_or(2));
    let address = [&family.to_ne_bytes()[..], &[0; 2], &1_u32.to_ne_bytes(), &cid.to_ne_bytes(), &[0; 4]].concat();
    match call(libc::SYS_connect, &mut [Arg::Int(socket), Arg::In(&address), Arg::Int(16)]) {
        Ok(_) | Err(libc::EINPROGRESS) => Ok("the request left".to_owned()),
        Err(errno) => Err(Miss::Errno(errno)),
    }
}
