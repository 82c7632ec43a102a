//! An init that a guest took over can lie about its calls, and do nothing else to its supervisor.
//! It never starts a process.

use super::*;
use crate::wire;
use rustix::net::SendFlags;
use std::thread;

/// A call whose init is this test.
fn call(streams: Streams) -> (Running, OwnedFd) {
    let (ours, theirs) = Channel::pair().expect("a socket pair");
    let line = Arc::new(Line::new(ours));
    (Running::new(line, CallNumber(0), "true".to_owned(), streams, Instant::now(), Bounds::default()), theirs)
}

#[test]
fn whatever_an_init_sends_is_an_error_and_never_a_panic() {
    let long = vec![1; 200_000];
    for bytes in
        [&b"x"[..], b"\x01\x0b", b"\x01\x04\x09\x00\x00\x00", b"\x01\x03\xff\xff\xff\xff\xff\xff\xff\xff", &long]
    {
        let (running, init) = call(Streams::Elsewhere);
        rustix::net::send(&init, bytes, SendFlags::NOSIGNAL).expect("room for one message");
        let error = running.wait().expect_err("no report");
        assert_eq!(error.kind, ErrorKind::Protocol, "{bytes:.8?}: {error}");
    }
}

#[test]
fn an_init_that_ends_is_a_lost_sandbox() {
    let (running, init) = call(Streams::Elsewhere);
    drop(init);
    assert_eq!(running.wait().expect_err("it is gone").kind, ErrorKind::SandboxLost);
}

#[test]
fn a_terminal_without_a_descriptor_is_an_error() {
    let (mut running, init) = call(Streams::Terminal { master: None });
    Channel::new(init).send(&Message::Started(1), &[]).expect("room for one message");
    assert_eq!(running.take_terminal().expect_err("no master").kind, ErrorKind::Protocol);
}

#[test]
fn more_descriptors_than_a_message_may_have_are_refused_and_closed() {
    let (running, init) = call(Streams::Elsewhere);
    let null = std::fs::File::open("/dev/null").expect("a device");
    let many = vec![null.as_fd(); 50];
    let mut space = vec![std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(50))];
    let mut ancillary = rustix::net::SendAncillaryBuffer::new(&mut space);
    assert!(ancillary.push(rustix::net::SendAncillaryMessage::ScmRights(&many)));
    let bytes = wire::encode(&Message::Kill);
    rustix::net::sendmsg(&init, &[std::io::IoSlice::new(&bytes)], &mut ancillary, SendFlags::NOSIGNAL).expect("sent");
    assert_eq!(running.wait().expect_err("cut").kind, ErrorKind::Protocol);
}

#[test]
fn a_report_is_read_although_the_init_closed_on_an_unread_kill() {
    let (running, init) = call(Streams::Elsewhere);
    running.kill(None);
    let main = ProcessExit { process: ProcessId(2), pid: 2, status: Status::Signalled(9), cpu_us: 0, max_rss_kib: 0 };
    let end = CallEnd { main, wall_us: 0, cpu_us: 0, max_rss_kib: 0, exits: vec![], exits_unlisted: 0 };
    let init = Channel::new(init);
    init.send(&Message::Ended(end), &[]).expect("room for one message");
    drop(init);
    let waiter = thread::spawn(move || running.wait());
    assert_eq!(waiter.join().expect("no panic").map(|ended| ended.status), Ok(Status::Signalled(9)));
}

#[test]
fn a_limit_that_took_the_init_too_is_the_end_of_the_call_and_not_an_error() {
    let (running, init) = call(Streams::Elsewhere);
    let hit = LimitHit::new(LimitKind::Memory, 1, 2);
    // Left unread, so that the channel is reset and not merely closed.
    running.kill(Some(hit));
    drop(init);
    let ended = running.wait().expect("a limit explains it");
    assert_eq!((ended.cause, ended.status), (Some(hit), Status::Signalled(9)));
    assert_eq!(ended.exits.len(), 1);
}

#[track_caller]
fn check_end(main: Status, other: Status, cpu_us: u64, cause: Option<LimitKind>, refusals: &[LimitKind]) {
    let (mut running, init) = call(Streams::Elsewhere);
    running.bounds.limits.cpu_s = Some(2);
    running.bounds.file_bytes = Some(1 << 20);
    let exit = |status| ProcessExit { process: ProcessId(2), pid: 2, status, cpu_us, max_rss_kib: 0 };
    let exits = vec![exit(other)];
    let end = CallEnd { main: exit(main), wall_us: 0, cpu_us, max_rss_kib: 0, exits, exits_unlisted: 0 };
    Channel::new(init).send(&Message::Ended(end), &[]).expect("room for one message");
    let ended = running.wait().expect("a report");
    assert_eq!(ended.cause.map(|hit| hit.limit), cause);
    assert_eq!(ended.refusals.iter().map(|hit| hit.limit).collect::<Vec<_>>(), refusals);
}

#[test]
fn what_the_end_tells_of_limits_is_reported() {
    let (fine, large) = (Status::Exited(0), Status::Signalled(libc::SIGXFSZ));
    check_end(fine, fine, 1_999_999, None, &[]);
    check_end(fine, fine, 2_000_000, Some(LimitKind::Cpu), &[]);
    check_end(large, fine, 0, Some(LimitKind::Disk), &[]);
    check_end(fine, large, 0, None, &[LimitKind::Disk]);
    check_end(Status::Signalled(9), fine, 0, None, &[]);
}
