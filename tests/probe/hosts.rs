//! What attacks aim at on the host: listeners, victims, shared objects, each saying when it was reached.
//! It never acts on its own: a helper says `ready`, waits until its input ends, says whether it was `reached`, and goes.

use crate::sys::{Arg, Message, c, call, receive_message, send_message, shm_attach, unheeded};
use crate::{Args, Miss, say};
use std::fs::File;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsRawFd;
use std::process::ExitCode;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// How often this helper was reached; written by its threads.
static REACHED: AtomicU32 = AtomicU32::new(0);

/// A helper's set-up: makes what is aimed at, says what it is, and gives back what to check when the input has ended.
type Helper = fn(&Args) -> Result<(), Miss>;

const HELPERS: &[(&str, Helper)] = &[
    ("host-tcp", tcp),
    ("host-udp", udp),
    ("host-udplite", udplite),
    ("host-unix", unix),
    ("host-victim", victim),
    ("host-visitor", visitor),
    ("host-sysv", sysv),
    ("host-queue", queue),
    ("host-key", key),
];

/// Runs a helper to its end; `None` when the name is no helper's.
pub(crate) fn run(name: &str, args: &Args) -> Option<ExitCode> {
    let (_, helper) = HELPERS.iter().find(|(known, _)| *known == name)?;
    Some(match helper(args) {
        Ok(()) => {
            let count = REACHED.load(Ordering::SeqCst);
            if count > 0 {
                say(&format!("reached {count}"));
            }
            ExitCode::SUCCESS
        }
        Err(miss) => {
            say(&format!("unready {miss:?}"));
            ExitCode::FAILURE
        }
    })
}

fn reached() {
    REACHED.fetch_add(1, Ordering::SeqCst);
}

/// Says `ready` and waits for the end of the input.
fn serve(ready: &str) -> Result<(), Miss> {
    say(&format!("ready {ready}"));
    let mut rest = Vec::new();
    std::io::stdin().read_to_end(&mut rest)?;
    // What was sent before the end may still be on its way to the listening thread.
    std::thread::sleep(Duration::from_millis(50));
    Ok(())
}

fn tcp(args: &Args) -> Result<(), Miss> {
    let listener = TcpListener::bind((args.text(0)?, 0))?;
    let port = listener.local_addr()?.port();
    // Fast open has to be switched on per listener; where it cannot be, the connection falls back to a handshake.
    let (level, option) = (Arg::Int(libc::IPPROTO_TCP.into()), Arg::Int(libc::TCP_FASTOPEN.into()));
    let on = 5_i32.to_ne_bytes();
    unheeded(call(
        libc::SYS_setsockopt,
        &mut [Arg::Int(listener.as_raw_fd().into()), level, option, Arg::In(&on), Arg::Int(4)],
    ));
    std::thread::spawn(move || {
        for guest in listener.incoming().flatten() {
            reached();
            std::thread::spawn(move || answer(guest));
        }
    });
    serve(&format!("port={port}"))
}

fn answer(mut guest: TcpStream) {
    drop(guest.set_read_timeout(Some(Duration::from_secs(2))));
    drop(guest.write_all(b"host\n"));
    drop(guest.read(&mut [0; 64]));
}

fn udp(args: &Args) -> Result<(), Miss> {
    let socket = UdpSocket::bind((args.text(0)?, 0))?;
    let port = socket.local_addr()?.port();
    std::thread::spawn(move || {
        while let Ok((_, from)) = socket.recv_from(&mut [0; 64]) {
            reached();
            drop(socket.send_to(b"host\n", from));
        }
    });
    serve(&format!("port={port}"))
}

fn udplite(_args: &Args) -> Result<(), Miss> {
    let kinds = [libc::AF_INET, libc::SOCK_DGRAM, libc::IPPROTO_UDPLITE].map(|word| Arg::Int(word.into()));
    let [family, kind, protocol] = kinds;
    let made = call(libc::SYS_socket, &mut [family, kind, protocol])?;
    let file = crate::sys::file_of(i32::try_from(made).expect("descriptors are small"));
    // Port 0 of 127.0.0.1, as sockaddr_in.
    let address = [2, 0, 0, 0, 127, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0];
    call(libc::SYS_bind, &mut [Arg::Int(made), Arg::In(&address), Arg::Int(16)])?;
    let socket = UdpSocket::from(std::os::fd::OwnedFd::from(file));
    let port = socket.local_addr()?.port();
    std::thread::spawn(move || {
        while let Ok((_, from)) = socket.recv_from(&mut [0; 64]) {
            reached();
            drop(socket.send_to(b"host\n", from));
        }
    });
    serve(&format!("port={port}"))
}

/// A UNIX socket: kind, address (abstract with `@`), and for `pass` the file whose descriptor is given to whoever comes.
fn unix(args: &Args) -> Result<(), Miss> {
    let (kind, place) = (args.text(0)?.to_owned(), args.text(1)?.to_owned());
    let number = match kind.as_str() {
        "stream" | "pass" => libc::SOCK_STREAM,
        "seqpacket" => libc::SOCK_SEQPACKET,
        "datagram" => libc::SOCK_DGRAM,
        other => return Err(Miss::Broken(format!("no kind {other}"))),
    };
    let socket = call(libc::SYS_socket, &mut [Arg::Int(libc::AF_UNIX.into()), Arg::Int(number.into()), Arg::Int(0)])?;
    let path = match place.strip_prefix('@') {
        Some(name) => [b"\0", name.as_bytes()].concat(),
        None => c(&place),
    };
    let address = [&1_u16.to_ne_bytes()[..], &path].concat();
    let length = i64::try_from(address.len()).expect("addresses are short");
    call(libc::SYS_bind, &mut [Arg::Int(socket), Arg::In(&address), Arg::Int(length)])?;
    if !place.starts_with('@') {
        // Everybody may connect: it is the wall that has to hold.
        call(libc::SYS_chmod, &mut [Arg::In(&path), Arg::Int(0o777)])?;
    }
    let socket = i32::try_from(socket).expect("descriptors are small");
    if kind == "datagram" {
        std::thread::spawn(move || {
            while receive_message(socket).is_ok() {
                reached();
            }
        });
        return serve("");
    }
    call(libc::SYS_listen, &mut [Arg::Int(socket.into()), Arg::Int(5)])?;
    let secret = args.text(2).ok().map(File::open).transpose()?;
    std::thread::spawn(move || {
        while let Ok(guest) = call(libc::SYS_accept4, &mut [socket.into(), 0, 0, 0].map(Arg::Int)) {
            reached();
            let guest = i32::try_from(guest).expect("descriptors are small");
            let gift = Message { data: b"host\n", descriptor: secret.as_ref().map(AsRawFd::as_raw_fd), address: None };
            unheeded(send_message(guest, &gift, libc::MSG_NOSIGNAL));
        }
    });
    serve("")
}

/// A process with a secret in memory, environment (given by the test) and an open file; it can be read by its user.
fn victim(args: &Args) -> Result<(), Miss> {
    const SET_PTRACER: i64 = 0x5961_6d61;
    // Where Yama is in force the control would fail for its sake and not for ours.
    unheeded(call(libc::SYS_prctl, &mut [Arg::Int(SET_PTRACER), Arg::Int(-1)]));
    let secret = format!("secret-{}", args.text(0)?).into_bytes();
    let address = secret.as_ptr().expose_provenance();
    let before = secret.clone();
    serve(&format!("pid={} address={address}", std::process::id()))?;
    if std::hint::black_box(&secret) != &before {
        reached();
    }
    Ok(())
}

/// Knocks at a loopback port until somebody inside answers.
fn visitor(args: &Args) -> Result<(), Miss> {
    let port = u16::try_from(args.number(0)?).map_err(|_| Miss::Broken("not a port".to_owned()))?;
    std::thread::spawn(move || {
        loop {
            for ip in ["127.0.0.1", "::1"] {
                let address: Option<SocketAddr> = ip.parse().ok().map(|ip: std::net::IpAddr| (ip, port).into());
                let mut word = [0; 16];
                let answer = address.and_then(|to| TcpStream::connect_timeout(&to, Duration::from_millis(100)).ok());
                // A web server speaks when it is asked; the probe's listener speaks at once.
                let asked =
                    answer.and_then(|mut stream| stream.write_all(b"GET / HTTP/1.0\r\n\r\n").is_ok().then_some(stream));
                if asked.is_some_and(|mut stream| stream.read(&mut word).is_ok_and(|length| length > 0)) {
                    reached();
                }
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    });
    serve("")
}

/// One object of each kind of System V IPC, open to everybody; removed at the end.
fn sysv(_args: &Args) -> Result<(), Miss> {
    const CREATE_EXCLUSIVELY: i64 = 0o3000 | 0o666;
    const REMOVE: i64 = 0;
    let key = i64::from(std::process::id()) | 0x5740_0000;
    let size = i64::try_from(crate::ipc::SEGMENT_BYTES).expect("a page");
    let segment = call(libc::SYS_shmget, &mut [key, size, CREATE_EXCLUSIVELY].map(Arg::Int))?;
    let queue = call(libc::SYS_msgget, &mut [key, CREATE_EXCLUSIVELY].map(Arg::Int))?;
    let semaphore = call(libc::SYS_semget, &mut [key, 1, CREATE_EXCLUSIVELY].map(Arg::Int))?;
    let message = [&1_i64.to_ne_bytes()[..], b"from the host"].concat();
    call(libc::SYS_msgsnd, &mut [Arg::Int(queue), Arg::In(&message), Arg::Int(13), Arg::Int(0)])?;
    let id = i32::try_from(segment).map_err(|_| Miss::Broken("segment id".to_owned()))?;
    let memory = shm_attach(id, crate::ipc::SEGMENT_BYTES)?;
    let served = serve(&format!("segment={segment} queue={queue} semaphore={semaphore} key={key}"));
    let messages = messages_in(queue);
    let value = call(libc::SYS_semctl, &mut [semaphore, 0, 12, 0].map(Arg::Int));
    if std::hint::black_box(&memory)[0] != 0 || messages != Some(1) || value != Ok(0) {
        reached();
    }
    unheeded(call(libc::SYS_shmctl, &mut [segment, REMOVE, 0].map(Arg::Int)));
    unheeded(call(libc::SYS_msgctl, &mut [queue, REMOVE, 0].map(Arg::Int)));
    unheeded(call(libc::SYS_semctl, &mut [semaphore, 0, REMOVE, 0].map(Arg::Int)));
    served
}

/// Messages that wait in a queue, as the kernel's table tells.
fn messages_in(queue: i64) -> Option<u32> {
    let table = std::fs::read_to_string("/proc/sysvipc/msg").ok()?;
    let id = queue.to_string();
    let line = table.lines().find(|line| line.split_whitespace().nth(1) == Some(&id))?;
    line.split_whitespace().nth(4)?.parse().ok()
}

/// A POSIX message queue.
fn queue(args: &Args) -> Result<(), Miss> {
    let name = c(args.text(0)?);
    let flags = i64::from(libc::O_RDWR | libc::O_CREAT | libc::O_EXCL | libc::O_NONBLOCK);
    let attributes: Vec<u8> = [0_i64, 8, 8, 0, 0, 0, 0, 0].iter().flat_map(|word| word.to_ne_bytes()).collect();
    let queue = call(libc::SYS_mq_open, &mut [Arg::In(&name), Arg::Int(flags), Arg::Int(0o666), Arg::In(&attributes)])?;
    let served = serve("");
    let mut message = [0_u8; 8];
    if call(
        libc::SYS_mq_timedreceive,
        &mut [Arg::Int(queue), Arg::Out(&mut message), Arg::Int(8), Arg::Int(0), Arg::Int(0)],
    )
    .is_ok()
    {
        reached();
    }
    unheeded(call(libc::SYS_mq_unlink, &mut [Arg::In(&name)]));
    served
}

/// A key in the user's keyring.
fn key(args: &Args) -> Result<(), Miss> {
    const UNLINK: i64 = 9;
    const USER_KEYRING: i64 = -4;
    const SET_PERMISSIONS: i64 = 5;
    let (kind, name) = (c("user"), c(args.text(0)?));
    let words = [Arg::In(&kind), Arg::In(&name), Arg::In(b"secret"), Arg::Int(6), Arg::Int(USER_KEYRING)];
    let key = call(libc::SYS_add_key, &mut { words })?;
    call(libc::SYS_keyctl, &mut [SET_PERMISSIONS, key, 0x3f3f_3f3f].map(Arg::Int))?;
    let served = serve(&format!("key={key}"));
    unheeded(call(libc::SYS_keyctl, &mut [UNLINK, key, USER_KEYRING].map(Arg::Int)));
    served
}
