//! Each encoding whole, in pieces, cut off, spoiled and blown up.

use super::*;
use flate2::Compression;
use flate2::write::{DeflateEncoder, GzEncoder, ZlibEncoder};
use std::io::Write as _;

/// What the brotli of Node 20 makes of [`text`].
const BROTLI: &str = "\
    1b7b1a188c54b53f1d1b765b721708102a6c41136a7bdc9d3525579acf3f8690a0c06904120938e168c0454172e7a39cff39\
    fcfa67e9eb2bfc163f9efc03f20078083a021f434ea0a7306760cfc29dfb0f7c7ee32308c2284ae22c29d22ad3c8b672e72e\
    f81f7e4110465112674991569946b6953b77a1ffe80b82308a92384b8ab4ca34b2addcb90bffc75f10845194c45952a455a6\
    916de5ce5de43ff982208ca224ce9222ad328d6c2b77eea2ffe91704611425719614699569645bb97317f39ff982208ca224\
    ce9222ad328d6c2b77ee62ffb35f10845194c45952a455a6916de5ce5ddc7fee0b82308a92384b8ab4ca34b2addc1f7bff3b\
    7efe421888236922cf9485bad26c68b774dd0dfe8b4f1888236922cf9485bad26c68b774dd0dffcb4f1888236922cf9485ba\
    d26c68b774dd8dfeab4f1888236922cf9485bad26c68b774dd8dffeb4f1888236922cf9485bad26c68b774dd4dfe9b4f1888\
    236922cf9485bad26c68b774dd4dffdb4f1888236922cf9485bad26c68b774ddcdfc773e61208ea4893c5316ea4ab3a1ddd2\
    7537fbdffd8481389226f24c59a82bcd86764bd7dddc7fef1306e2489ac83365a1ae341bda2ddc877f7f";

fn text() -> Vec<u8> {
    (0..200).flat_map(|one| format!("event {one} of the stream, event {one}\n").into_bytes()).collect()
}

fn brotli() -> Vec<u8> {
    let digits: Vec<u8> = BROTLI.bytes().filter(u8::is_ascii_hexdigit).collect();
    let byte = |pair: &[u8]| u8::from_str_radix(str::from_utf8(pair).expect("ASCII"), 16).expect("two digits");
    digits.chunks(2).map(byte).collect()
}

/// Brotli that is not compressed (RFC 7932, section 9.2): one block for each part, so each part can leave at once.
fn stored_brotli(parts: &[&[u8]]) -> Vec<u8> {
    let mut out = Vec::new();
    for (number, part) in parts.iter().enumerate() {
        let length = u32::try_from(part.len() - 1).expect("parts are short");
        // The first block stands behind the window's bit, which is zero.
        let shift = u32::from(number == 0);
        out.extend_from_slice(&((length << 3 | 1 << 19) << shift).to_le_bytes()[..3]);
        out.extend_from_slice(part);
    }
    out.push(3);
    out
}

fn gzip(text: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(text).and_then(|()| encoder.finish()).expect("memory takes everything")
}

fn zlib(text: &[u8]) -> Vec<u8> {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(text).and_then(|()| encoder.finish()).expect("memory takes everything")
}

fn raw(text: &[u8]) -> Vec<u8> {
    let mut encoder = DeflateEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(text).and_then(|()| encoder.finish()).expect("memory takes everything")
}

fn zstd(text: &[u8]) -> Vec<u8> {
    ::zstd::encode_all(text, 3).expect("memory takes everything")
}

/// A gzip header with every field that there is, its own sum included.
fn gzip_with_everything(text: &[u8]) -> Vec<u8> {
    let mut header = vec![0x1F, 0x8B, 8, 0x1E, 1, 2, 3, 4, 0, 3, 5, 0];
    header.extend_from_slice(b"extraname\0comment\0");
    let mut sum = flate2::Crc::new();
    sum.update(&header);
    header.extend_from_slice(&sum.sum().to_le_bytes()[..2]);
    [&header, &gzip(text)[10..]].concat()
}

/// Decodes in chunks of a size.
fn decode(encoding: &str, bytes: &[u8], chunk_bytes: usize) -> Result<Vec<u8>, Fault> {
    let mut decoder = Decoder::for_encoding(encoding).expect("it is known").expect("there is something to decode");
    let mut out = Vec::new();
    for chunk in bytes.chunks(chunk_bytes) {
        decoder.feed(Bytes::copy_from_slice(chunk));
        while let Some(piece) = decoder.next_piece()? {
            assert!(!piece.is_empty() && piece.len() <= PIECE_BYTES_MAX, "{} bytes", piece.len());
            out.extend_from_slice(&piece);
        }
    }
    decoder.finish().map(|()| out)
}

/// Every encoding with the same content.
fn rows() -> Vec<(&'static str, Vec<u8>, Vec<u8>)> {
    let text = text();
    let twice = [&text[..], &text].concat();
    vec![
        ("gzip", gzip(&text), text.clone()),
        ("x-gzip", [gzip(&text), gzip(b""), gzip(&text)].concat(), twice.clone()),
        ("GZIP", gzip_with_everything(&text), text.clone()),
        ("deflate", zlib(&text), text.clone()),
        ("deflate", raw(&text), text.clone()),
        ("br", brotli(), text.clone()),
        ("br", stored_brotli(&[&text]), text.clone()),
        ("zstd", zstd(&text), text.clone()),
        ("zstd", [zstd(&text), b"\x50\x2A\x4D\x18\x03\0\0\0any".to_vec(), zstd(&text)].concat(), twice),
        ("gzip, br", stored_brotli(&[&gzip(&text)]), text.clone()),
        (" zstd ,\tidentity, gzip", gzip(&zstd(&text)), text),
        ("gzip", gzip(b""), Vec::new()),
        ("deflate", zlib(b""), Vec::new()),
        ("deflate", raw(b""), Vec::new()),
        ("zstd", zstd(b""), Vec::new()),
        ("br", vec![6], Vec::new()),
    ]
}

#[test]
fn chunks_never_change_what_is_decoded() {
    for (encoding, bytes, expected) in rows() {
        for chunk_bytes in [1, 2, 3, 7, 100, usize::MAX] {
            assert_eq!(decode(encoding, &bytes, chunk_bytes), Ok(expected.clone()), "{encoding} in {chunk_bytes}");
        }
    }
}

#[test]
fn a_body_that_ends_in_the_middle_never_counts_as_whole() {
    for (encoding, bytes, _) in rows() {
        for length in 1..bytes.len() {
            let got = decode(encoding, &bytes[..length], 64);
            // Between two members or frames a stream may end.
            let is_border = got.is_ok() && ["x-gzip", "zstd"].contains(&encoding);
            assert!(is_border || got == Err(Fault::Truncated), "{encoding} cut to {length}: {got:?}");
        }
    }
}

#[test]
fn what_stands_behind_the_end_is_never_passed_over() {
    for (encoding, bytes, _) in rows() {
        for more in [&b"garbage behind"[..], b"\0\0\0\0\0\0\0\0"] {
            let got = decode(encoding, &[&bytes, more].concat(), 64);
            assert_eq!(got, Err(Fault::Trailing), "{encoding}");
        }
    }
}

#[test]
fn a_spoiled_body_never_counts_as_whole() {
    for (encoding, bytes, expected) in rows() {
        for place in 0..bytes.len() {
            let mut spoiled = bytes.clone();
            spoiled[place] ^= 0x55;
            // Only some formats have sums; what matters is that nothing panics and every end is told.
            if let Ok(got) = decode(encoding, &spoiled, 64)
                && encoding.eq_ignore_ascii_case("gzip")
                && (10..bytes.len()).contains(&place)
                && bytes[3] == 0
            {
                assert_eq!(got, expected, "gzip has a sum; spoiled at {place}");
            }
        }
        assert!(decode(encoding, b"plain text that says it is encoded", 5).is_err(), "{encoding}");
    }
}

#[test]
fn an_event_never_waits_for_the_next_one() {
    let mut gz = GzEncoder::new(Vec::new(), Compression::default());
    let mut zl = ZlibEncoder::new(Vec::new(), Compression::default());
    let mut zs = ::zstd::stream::Encoder::new(Vec::new(), 3).expect("memory");
    let mut decoders: Vec<Decoder> = ["gzip", "deflate", "zstd", "gzip, zstd", "br"]
        .iter()
        .map(|name| Decoder::for_encoding(name).expect("it is known").expect("there is something to decode"))
        .collect();
    let mut both = ::zstd::stream::Encoder::new(Vec::new(), 3).expect("memory");
    let events: Vec<String> = (0..50).map(|one| format!("data: event number {one}\n\n")).collect();
    let parts: Vec<&[u8]> = events.iter().map(String::as_bytes).collect();
    let mut stored = Bytes::from(stored_brotli(&parts));
    for event in &parts {
        let block = stored.split_to(3 + event.len());
        gz.write_all(event).and_then(|()| gz.flush()).expect("memory");
        zl.write_all(event).and_then(|()| zl.flush()).expect("memory");
        zs.write_all(event).and_then(|()| zs.flush()).expect("memory");
        let gzipped = std::mem::take(gz.get_mut());
        both.write_all(&gzipped).and_then(|()| both.flush()).expect("memory");
        let encoded = [
            gzipped,
            std::mem::take(zl.get_mut()),
            std::mem::take(zs.get_mut()),
            std::mem::take(both.get_mut()),
            block.to_vec(),
        ];
        for (decoder, bytes) in decoders.iter_mut().zip(encoded) {
            assert_eq!(decoder.push(&bytes), Ok(Bytes::copy_from_slice(event)));
        }
    }
}

/// Ten megabytes that would become ten gigabytes are refused long before.
#[test]
fn a_bomb_is_refused_and_never_takes_memory() {
    let zeros = vec![0; 1 << 20];
    let mut gz = GzEncoder::new(Vec::new(), Compression::best());
    (0..64).for_each(|_| gz.write_all(&zeros).expect("memory"));
    let block = gz.finish().expect("memory");
    // As many members as it takes: a bomb of any size.
    let mut decoder = Decoder::for_encoding("gzip").expect("it is known").expect("there is something to decode");
    let (mut taken, mut given) = (0, 0);
    let fault = loop {
        decoder.feed(Bytes::copy_from_slice(&block));
        taken += block.len();
        assert!(taken <= 10 << 20, "it is refused before all of it came");
        let fault = std::iter::from_fn(|| decoder.next_piece().transpose()).find_map(|piece| match piece {
            Ok(piece) => {
                assert!(piece.len() <= PIECE_BYTES_MAX);
                given += piece.len() as u64;
                None
            }
            Err(fault) => Some(fault),
        });
        if let Some(fault) = fault {
            break fault;
        }
    };
    assert_eq!(fault, Fault::Bomb);
    assert!(given <= SLACK_BYTES + RATIO_MAX * taken as u64, "{given} bytes from {taken}");
    assert_eq!(decoder.next_piece(), Err(Fault::Bomb), "it stays refused");
    assert_eq!(decoder.finish(), Err(Fault::Bomb));
    let nested = gzip(&gzip(&vec![0; 256 << 20]));
    assert_eq!(decode("gzip, gzip", &nested, 1 << 16), Err(Fault::Bomb));
    assert_eq!(decode("zstd", &zstd(&vec![0; 256 << 20]), 1 << 16), Err(Fault::Bomb));
}

#[test]
fn a_window_that_is_too_large_is_refused() {
    let mut encoder = ::zstd::stream::Encoder::new(Vec::new(), 3).expect("memory");
    encoder.window_log(ZSTD_WINDOW_LOG_MAX + 1).expect("the encoder can");
    // Written before its end is known, a frame says how large its window is.
    encoder.write_all(&text()).and_then(|()| encoder.flush()).expect("memory");
    let bytes = encoder.finish().expect("memory");
    assert_eq!(decode("zstd", &bytes, 64), Err(Fault::Limit("ZSTD_WINDOW_LOG_MAX")));
    let mut header = vec![0x1F, 0x8B, 8, 8, 0, 0, 0, 0, 0, 3];
    header.extend(vec![b'n'; GZIP_HEADER_BYTES_MAX]);
    assert_eq!(decode("gzip", &header, 1000), Err(Fault::Limit("GZIP_HEADER_BYTES_MAX")));
}

#[test]
fn an_encoding_that_is_unknown_is_refused() {
    let unknown = |value: &str| Decoder::for_encoding(value).err();
    for (value, expected) in [
        ("compress", Unknown::Name("compress".to_owned())),
        ("gzip, Zstd-2", Unknown::Name("zstd-2".to_owned())),
        ("dcb", Unknown::Name("dcb".to_owned())),
        ("gzip;q=1", Unknown::Name("gzip;q=1".to_owned())),
        ("gzip, br, zstd", Unknown::Stacked),
    ] {
        assert_eq!(unknown(value), Some(expected), "{value}");
    }
    for value in ["", "identity", " , Identity ,"] {
        assert!(matches!(Decoder::for_encoding(value), Ok(None)), "{value}");
    }
}

#[test]
fn an_answer_without_a_body_is_whole() {
    for encoding in ["gzip", "deflate", "br", "zstd", "gzip, br"] {
        assert_eq!(decode(encoding, b"", 1), Ok(Vec::new()), "{encoding}");
    }
}
