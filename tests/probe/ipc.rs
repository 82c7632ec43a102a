//! Ways to share memory, messages or keys with the host through names that no mount hides.
//! It never makes an object: the test's helper does, and removes it.

use crate::sys::{Arg, c, call, shm_attach, unheeded};
use crate::{Args, Attempt, Entry, Miss};

pub(crate) const TABLE: &[Entry] = &[
    ("shm-attach", shm_attach_by_id),
    ("shm-by-key", shm_by_key),
    ("shm-list", shm_list),
    ("message-send", message_send),
    ("message-receive", message_receive),
    ("semaphore-set", semaphore_set),
    ("posix-queue-send", posix_queue_send),
    ("key-search", key_search),
    ("key-request", key_request),
    ("key-read", key_read),
    ("key-add", key_add),
];

/// Size of the helper's segment, bytes.
pub(crate) const SEGMENT_BYTES: usize = 4096;

fn small(value: i64) -> Result<i32, Miss> {
    i32::try_from(value).map_err(|_| Miss::Broken(format!("{value} is no id")))
}

fn shm_attach_by_id(args: &Args) -> Attempt {
    let memory = shm_attach(small(args.number(0)?)?, SEGMENT_BYTES)?;
    memory.fill(b'!');
    Ok("wrote into the segment".to_owned())
}

fn shm_by_key(args: &Args) -> Attempt {
    let size = i64::try_from(SEGMENT_BYTES).expect("a page");
    let id = call(libc::SYS_shmget, &mut [Arg::Int(args.number(0)?), Arg::Int(size), Arg::Int(0)])?;
    shm_attach(small(id)?, SEGMENT_BYTES)?.fill(b'!');
    Ok("found and wrote the segment".to_owned())
}

fn shm_list(args: &Args) -> Attempt {
    let (id, table) = (args.text(0)?, std::fs::read_to_string("/proc/sysvipc/shm")?);
    let listed = table.lines().any(|line| line.split_whitespace().nth(1) == Some(id));
    if listed { Ok("listed".to_owned()) } else { Err(Miss::Nothing("not in the list".to_owned())) }
}

fn message_send(args: &Args) -> Attempt {
    let message = [&1_i64.to_ne_bytes()[..], b"!!!!!!!!"].concat();
    call(
        libc::SYS_msgsnd,
        &mut [Arg::Int(args.number(0)?), Arg::In(&message), Arg::Int(8), Arg::Int(libc::IPC_NOWAIT.into())],
    )?;
    Ok("sent".to_owned())
}

fn message_receive(args: &Args) -> Attempt {
    let mut message = [0_u8; 264];
    let words = [Arg::Int(args.number(0)?), Arg::Out(&mut message), Arg::Int(256), Arg::Int(0)];
    let [queue, into, size, kind] = words;
    let length = call(libc::SYS_msgrcv, &mut [queue, into, size, kind, Arg::Int(libc::IPC_NOWAIT.into())])?;
    Ok(format!("took a message of {length} bytes"))
}

fn semaphore_set(args: &Args) -> Attempt {
    const SETVAL: i64 = 16;
    call(libc::SYS_semctl, &mut [Arg::Int(args.number(0)?), Arg::Int(0), Arg::Int(SETVAL), Arg::Int(7)])?;
    Ok("set".to_owned())
}

fn posix_queue_send(args: &Args) -> Attempt {
    let name = c(args.text(0)?);
    let flags = i64::from(libc::O_WRONLY | libc::O_NONBLOCK);
    let queue = call(libc::SYS_mq_open, &mut [Arg::In(&name), Arg::Int(flags), Arg::Int(0), Arg::Int(0)])?;
    call(libc::SYS_mq_timedsend, &mut [Arg::Int(queue), Arg::In(b"!"), Arg::Int(1), Arg::Int(0), Arg::Int(0)])?;
    Ok("sent".to_owned())
}

/// Special keyrings: session, user, user-session.
const KEYRINGS: [i64; 3] = [-3, -4, -5];
const SEARCH: i64 = 10;
const READ: i64 = 11;

fn found_key(name: &str) -> Result<i64, Miss> {
    let (kind, name) = (c("user"), c(name));
    let mut last = libc::ENOKEY;
    for ring in KEYRINGS {
        match call(
            libc::SYS_keyctl,
            &mut [Arg::Int(SEARCH), Arg::Int(ring), Arg::In(&kind), Arg::In(&name), Arg::Int(0)],
        ) {
            Ok(key) => return Ok(key),
            Err(errno) => last = errno,
        }
    }
    Err(Miss::Errno(last))
}

fn key_search(args: &Args) -> Attempt {
    let key = found_key(args.text(0)?)?;
    let mut secret = [0_u8; 64];
    call(libc::SYS_keyctl, &mut [Arg::Int(READ), Arg::Int(key), Arg::Out(&mut secret), Arg::Int(64)])?;
    Ok("read the key".to_owned())
}

fn key_request(args: &Args) -> Attempt {
    let (kind, name) = (c("user"), c(args.text(0)?));
    let key = call(libc::SYS_request_key, &mut [Arg::In(&kind), Arg::In(&name), Arg::Int(0), Arg::Int(0)])?;
    Ok(format!("was given key {key}"))
}

fn key_read(args: &Args) -> Attempt {
    let mut secret = [0_u8; 64];
    call(libc::SYS_keyctl, &mut [Arg::Int(READ), Arg::Int(args.number(0)?), Arg::Out(&mut secret), Arg::Int(64)])?;
    Ok("read the key by its number".to_owned())
}

/// Leaves a key in the user's keyring, where a later program of the user's would find it.
fn key_add(args: &Args) -> Attempt {
    let (kind, name) = (c("user"), c(args.text(0)?));
    let key = call(libc::SYS_add_key, &mut [Arg::In(&kind), Arg::In(&name), Arg::In(b"!"), Arg::Int(1), Arg::Int(-4)])?;
    // The test is whether it can be added, not what becomes of it.
    unheeded(call(libc::SYS_keyctl, &mut [Arg::Int(9), Arg::Int(key), Arg::Int(-4)]));
    Ok("left a key".to_owned())
}
