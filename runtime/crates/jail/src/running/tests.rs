//! An init that a guest took over can lie about its calls, and do nothing else to its supervisor.
//! It never starts a process.

use super::*;
use rustix::net::SendFlags;
use std::thread;

/// A call whose init is this test.
fn call(streams: Streams) -> (Running, OwnedFd) {
    let (ours, theirs) = Channel::pair().expect("a socket pair");
    let line = Arc::new(Line::new(ours));
    (Running::new(line, CallId(0), "true".to_owned(), streams, Instant::now(), None), theirs)
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
    let main = ProcessExit { pid: 2, status: Status::Signalled(9), cpu_us: 0, max_rss_kib: 0 };
    let end = CallEnd { main, wall_us: 0, cpu_us: 0, max_rss_kib: 0, exits: vec![], exits_unlisted: 0 };
    let init = Channel::new(init);
    init.send(&Message::Ended(end), &[]).expect("room for one message");
    drop(init);
    let waiter = thread::spawn(move || running.wait());
    assert_eq!(waiter.join().expect("no panic").map(|ended| ended.status), Ok(Status::Signalled(9)));
}
