//! Tests of the codec: what is written reads back, and nothing else reads.
//! It never touches the machine.

use super::*;
use crate::enforced::Layer;
use crate::landlock::Identity;

fn samples() -> Vec<Message> {
    let exit = ProcessExit {
        process: ProcessId(1 << 33),
        pid: 7,
        status: Status::Signalled(9),
        cpu_us: 11,
        max_rss_kib: 1 << 40,
    };
    vec![
        Message::Setup(b"{}".to_vec()),
        Message::Enter,
        Message::Look(b"/usr".to_vec()),
        Message::Umask(0o027),
        Message::OnGvisor,
        Message::Seen(Seen::Missing),
        Message::Seen(Seen::Directory),
        Message::Seen(Seen::File),
        Message::Seen(Seen::Link { text: "usr/lib".into(), resolved: None }),
        Message::Seen(Seen::Link { text: "usr/lib".into(), resolved: Some("/usr/lib".into()) }),
        Message::Spawn(SpawnRequest {
            number: CallNumber(3),
            streams: Streams::Terminal { rows: 24, columns: 80 },
            argv: vec![b"a".to_vec(), b"\xff".to_vec(), Vec::new()],
            env: vec![b"A=b".to_vec()],
            cwd: b"/".to_vec(),
        }),
        Message::InMemory(1 << 20),
        Message::Signal(15),
        Message::Resize { rows: 24, columns: u16::MAX },
        Message::Kill,
        Message::Forked(1),
        Message::Ready(Ready {
            layers: vec![LayerState::degraded(Layer::Root, "why").detail("what")],
            uid: 1,
            gid: u32::MAX,
            outlet: vec![true; OUTLET_SOCKETS_MAX],
            recorder: Some(Grade::Notify),
        }),
        Message::Socket(Family::V4),
        Message::Socket(Family::V6),
        Message::Made,
        Message::Enquire,
        Message::Insides(Insides { objects: vec![Identity { device: 1, inode: u64::MAX }] }),
        Message::Task(Task::compile()),
        Message::Confined(vec![LayerState::absent(Layer::Landlock, "why")]),
        Message::Failed(JailError::os("mount", "/x", 13).kind(ErrorKind::OverlayRefused)),
        Message::Nurse(Kind::Read),
        Message::Nurse(Kind::Write),
        Message::Gone(Status::Signalled(31)),
        Message::Started(2),
        Message::Refused(Stage::Exec, 2),
        Message::Ended(CallEnd {
            main: ProcessExit { status: Status::Exited(255), ..exit },
            wall_us: 1,
            cpu_us: 2,
            max_rss_kib: 3,
            exits: vec![exit; EXITS_MAX],
            exits_unlisted: 4,
        }),
    ]
}

#[test]
fn what_is_written_reads_back() {
    for message in samples() {
        let bytes = encode(&message);
        assert!(bytes.len() <= MESSAGE_BYTES_MAX);
        assert_eq!(decode(&bytes), Ok(message));
    }
}

#[test]
fn no_prefix_and_no_longer_message_parses() {
    for message in samples() {
        let mut bytes = encode(&message);
        for length in (0..bytes.len()).step_by(1 + bytes.len() / 500) {
            assert!(decode(&bytes[..length]).is_err(), "{message:?} cut to {length}");
        }
        bytes.push(0);
        assert!(decode(&bytes).is_err(), "{message:?} with a byte more");
    }
}

#[test]
fn hostile_bytes_are_refused_without_panic_or_large_allocation() {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    for message in samples() {
        let bytes = encode(&message);
        for _ in 0..2000 {
            let mut broken = bytes.clone();
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let position = usize::try_from(state >> 33).expect("31 bits") % broken.len().min(64);
            broken[position] = state.to_le_bytes()[3];
            if let Ok(read) = decode(&broken) {
                assert_eq!(decode(&encode(&read)), Ok(read));
            }
        }
    }
    let spawn = [VERSION, kind::SPAWN, 0, 255, 255, 255, 255];
    let other_version = [VERSION + 1, kind::KILL];
    let (no_kind, one_more) = ([VERSION, 0], [VERSION, kind::KILL, 0]);
    for bytes in [&spawn[..], &other_version, &no_kind, &one_more, &[], &[VERSION]] {
        assert!(decode(bytes).is_err(), "{bytes:?}");
    }
}

#[test]
fn a_family_that_there_is_not_is_refused() {
    for number in (0..=u8::MAX).filter(|number| ![4, 6].contains(number)) {
        assert!(decode(&[VERSION, kind::SOCKET, number]).is_err(), "{number}");
    }
}

#[test]
fn a_worker_that_belongs_to_no_session_is_not_asked_for() {
    for number in (0..=u8::MAX).filter(|number| ![1, 2].contains(number)) {
        assert!(decode(&[VERSION, kind::NURSE, number]).is_err(), "{number}");
    }
}

#[test]
fn a_string_with_a_nul_is_refused() {
    let request = SpawnRequest {
        number: CallNumber(1),
        streams: Streams::Descriptors,
        argv: vec![b"a\0b".to_vec()],
        env: vec![],
        cwd: vec![],
    };
    assert!(decode(&encode(&Message::Spawn(request))).is_err());
}
