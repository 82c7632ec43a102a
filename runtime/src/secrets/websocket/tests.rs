//! Frames both ways: what passes, what is taken out, what closes.

use super::super::scrub::{FILLER, Patterns};
use super::*;
use std::sync::Arc;

const SECRET: &[u8] = b"correct horse battery staple";

/// Bits of a first byte.
const FIN: u8 = 0x80;
const MORE: u8 = 0;
const TEXT: u8 = 1;
const BINARY: u8 = 2;
const CLOSE: u8 = 8;
const PING: u8 = 9;

fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let length = payload.len();
    let mut out = vec![first];
    match length {
        0..126 => out.push(u8::try_from(length).expect("it is below 126")),
        126..65_536 => {
            out.push(126);
            out.extend(u16::try_from(length).expect("it is below 65,536").to_be_bytes());
        }
        _ => {
            out.push(127);
            out.extend((length as u64).to_be_bytes());
        }
    }
    out.extend_from_slice(payload);
    out
}

fn masked(first: u8, payload: &[u8]) -> Vec<u8> {
    let plain = frame(first, payload);
    let (head, mask) = (plain.len() - payload.len(), [0x12, 0x34, 0x56, 0x78]);
    let mut out = plain[..head].to_vec();
    out[1] |= 0x80;
    out.extend(mask);
    out.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    out
}

fn to_client() -> ToClient {
    ToClient::new(Scrubber::new(Arc::new(Patterns::new([("key", SECRET)]))))
}

/// Pushes in chunks of a size, to the end.
fn scrub(bytes: &[u8], chunk_bytes: usize) -> Result<(Vec<u8>, u64), Fault> {
    let (mut frames, mut out) = (to_client(), Vec::new());
    for chunk in bytes.chunks(chunk_bytes) {
        out.extend_from_slice(&frames.push(Bytes::copy_from_slice(chunk))?);
    }
    frames.finish()?;
    Ok((out, frames.take_hits().iter().map(|hit| hit.count).sum()))
}

/// Messages and control frames.
type Messages = Vec<(Opcode, Vec<u8>)>;

/// The messages of a stream: what a receiver makes of the frames, control frames in their place.
fn messages(bytes: &[u8], way: Way) -> Result<Messages, Fault> {
    let (mut reader, mut input) = (Reader::new(way), Bytes::copy_from_slice(bytes));
    let (mut all, mut open) = (Vec::new(), None);
    while let Some(part) = reader.next(&mut input)? {
        let payload: Vec<u8> = part.head.unmasked(&part.payload, part.from).collect();
        if part.head.opcode.is_control() {
            all.push((part.head.opcode, payload));
            continue;
        }
        let (_, text) = open.get_or_insert((part.head.opcode, Vec::new()));
        text.extend(payload);
        if part.is_last && part.head.is_final {
            all.extend(open.take());
        }
    }
    reader.finish().map(|()| all)
}

fn filler(bytes: usize) -> Vec<u8> {
    vec![FILLER; bytes]
}

/// A stream of the server, and the messages that the client gets.
fn rows() -> Vec<(Vec<u8>, Messages)> {
    let (front, back) = SECRET.split_at(11);
    let long = [&vec![b'.'; 70_000], SECRET, b"!"].concat();
    let long_out = [vec![b'.'; 70_000], filler(SECRET.len()), b"!".to_vec()].concat();
    let said = |text: &[u8]| [b"say ", text, b"."].concat();
    vec![
        (frame(FIN | TEXT, b"hello"), vec![(Opcode::Text, b"hello".to_vec())]),
        (frame(FIN | TEXT, b""), vec![(Opcode::Text, Vec::new())]),
        (frame(FIN | TEXT, &said(SECRET)), vec![(Opcode::Text, said(&filler(SECRET.len())))]),
        (frame(FIN | BINARY, &long), vec![(Opcode::Binary, long_out)]),
        // Across fragments, with an empty one and a ping between them.
        (
            [frame(TEXT, front), frame(MORE, b""), frame(FIN | PING, b"p"), frame(FIN | MORE, back)].concat(),
            vec![(Opcode::Ping, b"p".to_vec()), (Opcode::Text, filler(SECRET.len()))],
        ),
        // A candidate that comes to nothing, at the end of a message.
        (
            [frame(TEXT, b"x"), frame(FIN | MORE, front), frame(FIN | TEXT, b"y")].concat(),
            vec![(Opcode::Text, [b"x", front].concat()), (Opcode::Text, b"y".to_vec())],
        ),
        // Across messages: what comes later is replaced.
        (
            [frame(FIN | TEXT, front), frame(FIN | TEXT, back)].concat(),
            vec![(Opcode::Text, front.to_vec()), (Opcode::Text, filler(back.len()))],
        ),
        (
            [frame(FIN | PING, SECRET), frame(FIN | CLOSE, &[&[3, 232], SECRET].concat())].concat(),
            vec![(Opcode::Ping, filler(SECRET.len())), (Opcode::Close, [vec![3, 232], filler(SECRET.len())].concat())],
        ),
    ]
}

#[test]
fn a_secret_never_comes_through_whatever_the_fragments_and_chunks() {
    for (number, (stream, expected)) in rows().into_iter().enumerate() {
        for chunk_bytes in (1..40).chain([1000, usize::MAX]) {
            let (out, _) = scrub(&stream, chunk_bytes).unwrap_or_else(|fault| panic!("row {number}: {fault}"));
            let got = messages(&out, Way::ToClient).unwrap_or_else(|fault| panic!("row {number}: {fault}"));
            assert!(got == expected, "row {number} in chunks of {chunk_bytes}");
        }
    }
}

#[test]
fn every_split_of_a_secret_over_three_fragments_is_taken_out() {
    for first in 0..=SECRET.len() {
        for second in first..=SECRET.len() {
            let stream = [
                frame(TEXT, &SECRET[..first]),
                frame(MORE, &SECRET[first..second]),
                frame(FIN | MORE, &SECRET[second..]),
            ];
            let (out, hits) = scrub(&stream.concat(), usize::MAX).expect("it is well-formed");
            let got = messages(&out, Way::ToClient).expect("it is well-formed");
            assert_eq!(got, [(Opcode::Text, filler(SECRET.len()))], "{first} {second}");
            assert_eq!(hits, 1);
        }
    }
}

#[test]
fn a_ping_never_waits_for_a_candidate() {
    let mut frames = to_client();
    let first = frames.push(frame(TEXT, b"say correct").into()).expect("it is well-formed");
    assert_eq!(first, frame(TEXT, b"say "));
    let ping = frame(FIN | PING, b"?");
    assert_eq!(frames.push(ping.clone().into()), Ok(ping.into()));
    assert_eq!(frames.idle(), Some(frame(MORE, b"correct").into()));
    let last = frames.push(frame(FIN | MORE, b" horse battery staple").into()).expect("it is well-formed");
    assert_eq!(last, frame(FIN | MORE, &filler(21)));
}

/// What breaks the protocol, from either side.
#[test]
fn a_violation_closes_and_never_passes() {
    let big = |length: u64| [&[FIN | BINARY, 127][..], &length.to_be_bytes()].concat();
    let protocol = |frames: Vec<Vec<u8>>| (frames.concat(), 1002);
    let rows = [
        protocol(vec![frame(FIN | TEXT | 0x40, b"x")]),
        protocol(vec![frame(FIN | 3, b"x")]),
        protocol(vec![frame(FIN | 11, b"x")]),
        protocol(vec![masked(FIN | TEXT, b"x")]),
        protocol(vec![frame(PING, b"x")]),
        protocol(vec![frame(FIN | PING, &[b'x'; 126])]),
        protocol(vec![frame(FIN | MORE, b"x")]),
        protocol(vec![frame(TEXT, b"x"), frame(FIN | TEXT, b"y")]),
        protocol(vec![frame(FIN | CLOSE, b"x")]),
        protocol(vec![frame(FIN | CLOSE, b""), frame(FIN | TEXT, b"x")]),
        protocol(vec![vec![FIN | TEXT, 126, 0, 125]]),
        protocol(vec![big(65_535)]),
        protocol(vec![big(1 << 63)]),
        (big(FRAME_BYTES_MAX + 1), 1009),
        protocol(vec![vec![FIN | TEXT]]),
        protocol(vec![frame(TEXT, b"x")]),
        protocol(vec![frame(FIN | TEXT, b"xyz")[..3].to_vec()]),
    ];
    for (number, (bytes, code)) in rows.into_iter().enumerate() {
        for chunk_bytes in [1, usize::MAX] {
            let fault = scrub(&bytes, chunk_bytes).expect_err(&format!("row {number}"));
            assert_eq!(fault.close_code(), code, "row {number}: {fault}");
        }
    }
    let mut frames = to_client();
    let fault = frames.push(frame(FIN | 3, b"x").into()).expect_err("it is refused");
    assert_eq!(frames.push(frame(FIN | TEXT, b"x").into()), Err(fault), "it stays refused");
    let mut frames = ToServer::new(8, |_: &[u8]| None);
    assert_eq!(frames.push(frame(FIN | TEXT, b"x").into()).map_err(|fault| fault.close_code()), Err(1002));
}

#[test]
fn a_frame_of_any_length_passes_without_being_collected() {
    let mut frames = to_client();
    let mut length = 0;
    let head = [&[FIN | BINARY, 127][..], &FRAME_BYTES_MAX.to_be_bytes()].concat();
    frames.push(head.into()).expect("it is allowed");
    for _ in 0..16 {
        let out = frames.push(Bytes::from(vec![b'.'; 1 << 20])).expect("it is allowed");
        length += messages_bytes(&out);
    }
    assert_eq!(length, 16 << 20, "what came has gone on");
}

/// Payload bytes of frames that are no whole message yet.
fn messages_bytes(frames: &Bytes) -> usize {
    let (mut reader, mut input, mut bytes) = (Reader::new(Way::ToClient), frames.clone(), 0);
    // The first frame of this part may be a continuation.
    reader.is_fragmented = frames.first().is_some_and(|first| first & 15 == 0);
    while let Ok(Some(part)) = reader.next(&mut input) {
        bytes += part.payload.len();
    }
    bytes
}

/// Finds one placeholder in any bytes.
fn find(bytes: &[u8]) -> Option<Option<String>> {
    let placeholder = b"stk_placeholder";
    bytes.windows(placeholder.len()).any(|window| window == placeholder).then(|| Some("key".to_owned()))
}

#[test]
fn a_placeholder_never_reaches_the_server() {
    let text = b"say stk_placeholder now";
    let canary = Fault::Placeholder { secret: Some("key".to_owned()) };
    for split in 0..=text.len() {
        let fragments = [masked(TEXT, &text[..split]), masked(FIN | PING, b"p"), masked(FIN | MORE, &text[split..])];
        let two = [masked(FIN | TEXT, &text[..split]), masked(FIN | TEXT, &text[split..])].concat();
        for stream in [fragments.concat(), two] {
            for chunk_bytes in [1, 2, 5, usize::MAX] {
                let (mut frames, mut out) = (ToServer::new(15, find), Vec::new());
                let pushed = stream.chunks(chunk_bytes).try_for_each(|chunk| {
                    frames.push(Bytes::copy_from_slice(chunk)).map(|passed| out.extend_from_slice(&passed))
                });
                assert_eq!(pushed, Err(canary.clone()), "split at {split}, in {chunk_bytes}");
                assert!(find(&out).is_none() && out.len() < stream.len());
            }
        }
    }
    let mut frames = ToServer::new(15, find);
    assert_eq!(frames.push(masked(FIN | PING, b"stk_placeholder").into()), Err(canary));
}

#[test]
fn what_has_no_placeholder_passes_as_it_is() {
    let stream = [
        masked(TEXT, b"one"),
        masked(FIN | PING, b"p"),
        masked(FIN | MORE, &[b'.'; 70_000]),
        masked(FIN | BINARY, b""),
        masked(FIN | CLOSE, &[3, 232]),
    ]
    .concat();
    for chunk_bytes in [1, 3, 1000, usize::MAX] {
        let (mut frames, mut out) = (ToServer::new(15, find), Vec::new());
        for chunk in stream.chunks(chunk_bytes) {
            out.extend_from_slice(&frames.push(Bytes::copy_from_slice(chunk)).expect("it is well-formed"));
        }
        assert_eq!(frames.finish(), Ok(()));
        assert!(out == stream, "in chunks of {chunk_bytes}");
    }
}
