//! The tamper matrix: whatever is done to a log, its verdict is 2 or 3, never 0.
//! It never alters a log without first seeing that the unaltered one passes.

use crate::common::*;
use crate::verify::{by_ledger, expect_exit};
use std::collections::BTreeMap;
use std::fs;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use stockade_audit::frame::{self, HEADER_BYTES, Kind};
use stockade_audit::note::{Checkpoint, Vkey};
use stockade_audit::record::*;
use stockade_audit::verify::*;
use stockade_audit::{AfterLog, Ledger};

/// A host with one closed session that has been applied.
struct Host {
    scratch: Scratch,
    ledger: Arc<Ledger>,
    dir: PathBuf,
}

impl Host {
    fn new(calls: u64) -> Self {
        let scratch = Scratch::new();
        let ledger = ledger(&scratch.0);
        let dir = write_session(&scratch.0, &ledger, sid(1), calls);
        let mut after = AfterLog::open(&dir, Arc::clone(&ledger)).expect("after");
        after.append(Apply(Act::Begin(0))).expect("append");
        after.append(Apply(Act::End(0))).expect("append");
        after.finish().expect("finish");
        let host = Self { scratch, ledger, dir };
        expect_exit(&host.verdict(), 0);
        host
    }

    fn verdict(&self) -> Verdict {
        verify(&self.dir, &by_ledger(&self.scratch.0))
    }

    fn carried(&self) -> Verdict {
        verify(&self.dir, &VerifyOptions::new(Trust::Ledger(self.ledger.vkey())))
    }

    fn segment(&self) -> PathBuf {
        self.dir.join("seg/000000.seg")
    }

    /// Puts other bytes into a file, asks with the proofs that the session carries, and puts the old ones back.
    #[track_caller]
    fn with_carried(&self, path: &Path, bytes: &[u8], what: &str) {
        let old = fs::read(path).expect("file");
        fs::write(path, bytes).expect("written");
        let verdict = self.carried();
        let code = verdict.exit_code();
        assert!(matches!(code, 2 | 3), "{what} of {path:?} gives {code}: {:?}", verdict.findings);
        fs::write(path, old).expect("put back");
    }

    /// Puts other bytes into a file, asks both ways of verifying, and puts the old ones back.
    #[track_caller]
    fn with(&self, path: &Path, bytes: &[u8], what: &str) {
        let old = fs::read(path).expect("file");
        if old == bytes {
            return;
        }
        fs::write(path, bytes).expect("written");
        for verdict in [self.verdict(), self.carried()] {
            let code = verdict.exit_code();
            assert!(matches!(code, 2 | 3), "{what} of {path:?} gives {code}: {:?}", verdict.findings);
        }
        fs::write(path, old).expect("put back");
    }
}

/// Files whose every byte counts: all but locks, openings (which may be erased) and what is derived for speed.
fn evidence(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut files = files(dir);
    files.retain(|path, _| {
        let text = path.to_string_lossy();
        !text.ends_with("/lock") && !text.contains("/open/")
    });
    files
}

#[test]
fn a_flipped_byte_anywhere_never_passes() {
    let host = Host::new(1);
    for (path, bytes) in evidence(&host.dir) {
        for at in 0..bytes.len() {
            let mut flipped = bytes.clone();
            flipped[at] ^= 1 << (at % 8);
            host.with_carried(&path, &flipped, &format!("flipping byte {at}"));
        }
    }
    expect_exit(&host.verdict(), 0);
}

#[test]
fn a_flipped_byte_of_the_ledger_never_passes() {
    let host = Host::new(0);
    let mut files = files(&host.scratch.0.join("ledger"));
    // `head` is where an append starts from; it is checked against the signed checkpoint there, and not read here.
    files.retain(|path, _| !path.ends_with("lock") && !path.ends_with("head"));
    for (path, bytes) in files {
        for at in 0..bytes.len() {
            let mut flipped = bytes.clone();
            flipped[at] ^= 1 << (at % 8);
            fs::write(&path, flipped).expect("written");
            let code = host.verdict().exit_code();
            assert!(matches!(code, 2 | 3), "byte {at} of {path:?} flipped gives {code}");
        }
        fs::write(&path, bytes).expect("put back");
    }
    expect_exit(&host.verdict(), 0);
}

#[test]
fn a_log_cut_at_any_byte_never_passes() {
    let host = Host::new(1);
    let bytes = fs::read(host.segment()).expect("segment");
    for len in 0..bytes.len() {
        host.with_carried(&host.segment(), &bytes[..len], &format!("cutting at {len}"));
    }
    let path = host.dir.join("checkpoints");
    let bytes = fs::read(&path).expect("checkpoints");
    for len in 0..bytes.len() {
        host.with_carried(&path, &bytes[..len], &format!("cutting at {len}"));
    }
    for (path, bytes) in evidence(&host.dir).into_iter().filter(|(path, _)| path.to_string_lossy().contains("/tile/")) {
        for len in 0..bytes.len() {
            host.with_carried(&path, &bytes[..len], &format!("cutting at {len}"));
        }
    }
}

/// The frames of a segment, as bytes.
fn frames(bytes: &[u8]) -> Vec<Vec<u8>> {
    let (frames, error) = frame::scan(bytes);
    assert_eq!(error, None);
    let mut at = 0;
    let cut = |frame: &frame::Frame<'_>| {
        let start = at;
        at += HEADER_BYTES + frame.payload.len();
        bytes[start..at].to_vec()
    };
    frames.iter().map(cut).collect()
}

#[test]
fn frames_dropped_doubled_swapped_or_moved_never_pass() {
    let host = Host::new(2);
    let frames = frames(&fs::read(host.segment()).expect("segment"));
    for i in 0..frames.len() {
        let mut dropped = frames.clone();
        dropped.remove(i);
        host.with(&host.segment(), &dropped.concat(), &format!("dropping frame {i}"));
        for j in 0..=frames.len() {
            let mut doubled = frames.clone();
            doubled.insert(j, frames[i].clone());
            host.with(&host.segment(), &doubled.concat(), &format!("inserting frame {i} at {j}"));
            if j < frames.len() {
                let mut swapped = frames.clone();
                swapped.swap(i, j);
                host.with(&host.segment(), &swapped.concat(), &format!("swapping frames {i} and {j}"));
            }
        }
    }
}

/// A frame with a right checksum: what a forger who knows the format writes.
fn forge(kind: u8, payload: &[u8]) -> Vec<u8> {
    let mut out = u32::try_from(payload.len()).expect("small").to_le_bytes().to_vec();
    out.push(kind);
    let crc = crc32c::crc32c_append(crc32c::crc32c(&out), payload);
    out.extend_from_slice(&crc.to_le_bytes());
    out.extend_from_slice(payload);
    out
}

/// What becomes of a leaf: nothing, another one, several.
type Edit<'a> = dyn Fn(usize, &[u8]) -> Vec<Vec<u8>> + 'a;

/// The same log with its `n`th leaf replaced, checksums right, commits and seals recomputed: only signatures are missing.
fn rewritten(bytes: &[u8], edit: &Edit<'_>) -> Vec<u8> {
    use stockade_audit::merkle::{Range, leaf_hash};
    let (frames, _) = frame::scan(bytes);
    let (mut out, mut range, mut last_commit) = (Vec::new(), Range::default(), u64::MAX);
    let mut n = 0;
    for frame in frames {
        match frame.kind {
            Kind::Header => out.extend(forge(b'H', frame.payload)),
            Kind::Entry => {
                for leaf in edit(n, frame.payload) {
                    range.push(leaf_hash(&leaf));
                    out.extend(forge(b'E', &leaf));
                }
                n += 1;
            }
            Kind::Commit => {
                let at = out.len() as u64;
                let wall = &frame.payload[48..];
                let payload =
                    [&range.size().to_le_bytes()[..], &range.root(), &last_commit.to_le_bytes(), wall].concat();
                out.extend(forge(b'C', &payload));
                last_commit = at;
            }
            Kind::Seal => {
                let payload = [&range.size().to_le_bytes()[..], &range.root(), &frame.payload[40..]].concat();
                out.extend(forge(b'S', &payload));
            }
        }
    }
    out
}

#[test]
fn leaves_rewritten_with_right_checksums_and_roots_never_pass() {
    let host = Host::new(2);
    let bytes = fs::read(host.segment()).expect("segment");
    assert_eq!(rewritten(&bytes, &|_, leaf| vec![leaf.to_vec()]), bytes, "the forger writes what the writer writes");
    let replace = |leaf: &[u8], from: &str, to: &str| {
        let text = String::from_utf8(leaf.to_vec()).expect("JSON");
        assert!(text.contains(from), "{text}");
        vec![text.replacen(from, to, 1).into_bytes()]
    };
    let at = |target: usize, from: &'static str, to: &'static str| -> Box<Edit<'_>> {
        Box::new(move |n, leaf| if n == target { replace(leaf, from, to) } else { vec![leaf.to_vec()] })
    };
    let cases: Vec<(&str, Box<Edit<'_>>)> = vec![
        ("another file name", at(5, "src/f0.rs", "src/f9.rs")),
        ("a clock that goes back", at(4, "\"t\":1", "\"t\":0")),
        ("a repeated key", at(2, "\"rules\":", "\"rules\":[],\"rules\":")),
        ("an unknown key", at(2, "\"rules\":", "\"extra\":1,\"rules\":")),
        ("white space", at(2, "\"o\":{", "\"o\": {")),
        ("an unknown kind", at(2, "\"permit\"", "\"permitted\"")),
        ("another index", at(2, "\"n\":2", "\"n\":3")),
        (
            "a bare non-UTF-8 path",
            Box::new(|n, leaf| {
                let mut leaf = leaf.to_vec();
                if n == 5 {
                    let at = leaf.windows(4).position(|w| w == b"src/").expect("the path");
                    leaf[at] = 0xff;
                }
                vec![leaf]
            }),
        ),
        ("a path with two encodings", at(5, "\"path\":\"src/f0.rs\"", "\"path\":{\"b64\":\"c3JjL2YwLnJz\"}")),
        ("an oversize leaf", at(2, "exec.cargo", Box::leak("x".repeat(9000).into_boxed_str()))),
        ("a dropped leaf", Box::new(|n, leaf| if n == 3 { vec![] } else { vec![leaf.to_vec()] })),
        ("a doubled leaf", Box::new(|n, leaf| vec![leaf.to_vec(); 1 + usize::from(n == 3)])),
    ];
    for (what, edit) in &cases {
        host.with(&host.segment(), &rewritten(&bytes, edit), what);
    }
}

#[test]
fn unsigned_leaves_at_the_end_never_pass() {
    let host = Host::new(1);
    let bytes = fs::read(host.segment()).expect("segment");
    let leaf = br#"{"v":1,"n":7,"t":9999999999999999999,"mt":9999999999999999999,"k":"heartbeat","ev":"performed","o":{"running":0,"lost":0}}"#;
    let without_seal = &bytes[..bytes.len() - HEADER_BYTES - 41];
    host.with(&host.segment(), &[without_seal, &forge(b'E', leaf)].concat(), "an unsigned leaf instead of the seal");
    host.with(&host.segment(), &[&bytes[..], &forge(b'E', leaf)].concat(), "an unsigned leaf after the seal");
    host.with(&host.segment(), &[&bytes[..], b"garbage"].concat(), "garbage after the seal");
    host.with(&host.segment(), without_seal, "no seal");
}

#[test]
fn an_older_signed_state_never_passes() {
    let scratch = Scratch::new();
    let ledger = ledger(&scratch.0);
    fs::create_dir(scratch.0.join("s")).expect("scratch");
    let dir = scratch.0.join("s").join(sid(1).as_str());
    let log = stockade_audit::SessionLog::create(&dir, Arc::clone(&ledger), open_record(sid(1))).expect("session");
    log.append_all(&call_records(1)).expect("append");
    log.heartbeat(0).expect("heartbeat");
    let early = files(&dir);
    let early_ledger = files(&scratch.0.join("ledger"));
    log.append_all(&call_records(2)).expect("append");
    log.close(Cause::Exit, 0).expect("close");
    let options = by_ledger(&scratch.0);
    expect_exit(&verify(&dir, &options), 0);
    let seen = verify(&dir, &options);
    let late = files(&dir);
    let restore = |files: &BTreeMap<PathBuf, Vec<u8>>, dir: &Path| {
        fs::remove_dir_all(dir).expect("removed");
        for (path, bytes) in files {
            fs::create_dir_all(path.parent().expect("parent")).expect("made");
            fs::write(path, bytes).expect("written");
        }
    };
    restore(&early, &dir);
    expect_exit(&verify(&dir, &options), 2);
    // The ledger rolled back too: now only a checkpoint that somebody saw can tell.
    restore(&early_ledger, &scratch.0.join("ledger"));
    expect_exit(&verify(&dir, &options), 3);
    let checkpoint = Checkpoint { origin: seen.origin, size: seen.size, root: seen.root };
    expect_exit(&verify(&dir, &VerifyOptions { seen: Some(checkpoint), ..options.clone() }), 2);
    // A later session keeps proofs that the ledger's key signed, and the ledger that was rolled back lacks them.
    restore(&late, &dir);
    expect_exit(&verify(&dir, &options), 2);
}

#[test]
fn a_session_gone_spliced_or_renamed_never_passes() {
    let host = Host::new(1);
    let other = write_session(&host.scratch.0, &host.ledger, sid(2), 1);
    // A leaf of one session in the place of the same leaf of another, and whole files likewise.
    for name in
        ["seg/000000.seg", "checkpoints", "checkpoint", "vkey", "anchor-open.tlog-proof", "anchor-close.tlog-proof"]
    {
        let bytes = fs::read(other.join(name)).expect("file");
        host.with(&host.dir.join(name), &bytes, "the same file of another session");
    }
    let (mine, theirs) =
        (fs::read(host.segment()).expect("segment"), fs::read(other.join("seg/000000.seg")).expect("segment"));
    let (mine, theirs) = (frames(&mine), frames(&theirs));
    for i in 0..mine.len() {
        let mut replayed = mine.clone();
        replayed[i] = theirs[i].clone();
        host.with(&host.segment(), &replayed.concat(), &format!("frame {i} of another session"));
        let spliced = [&mine[..i], &theirs[i..]].concat();
        host.with(&host.segment(), &spliced.concat(), &format!("another session's end from frame {i} on"));
    }
    let away = host.scratch.0.join("away");
    fs::rename(&host.dir, &away).expect("moved");
    expect_exit(&host.verdict(), 2);
    let sessions = host.scratch.0.join("s");
    let of_host = || verify_ledger(&host.scratch.0.join("ledger"), Some(&sessions), None, NonZeroUsize::MIN);
    expect_exit(&of_host(), 2);
    fs::rename(&other, &host.dir).expect("moved");
    expect_exit(&host.verdict(), 2);
}

#[test]
fn a_log_made_anew_with_another_key_never_passes() {
    let host = Host::new(1);
    // The forger has everything but the keys: a whole ledger and session of its own, with the same names.
    let forger = Scratch::new();
    let forged_ledger = ledger(&forger.0);
    let forged = write_session(&forger.0, &forged_ledger, sid(1), 1);
    let by_forged = VerifyOptions::new(Trust::Ledger(forged_ledger.vkey()));
    expect_exit(&verify(&forged, &by_forged), 0);
    expect_exit(&verify(&forged, &by_ledger(&host.scratch.0)), 2);
    expect_exit(&verify(&forged, &VerifyOptions::new(Trust::Ledger(host.ledger.vkey()))), 2);
    let ours = Vkey::parse(&fs::read_to_string(host.dir.join("vkey")).expect("vkey")).expect("key");
    expect_exit(&verify(&forged, &VerifyOptions::new(Trust::Session(ours))), 2);
    let both = Trust::LedgerDir { dir: forger.0.join("ledger"), vkey: Some(host.ledger.vkey()) };
    expect_exit(&verify(&forged, &VerifyOptions::new(both)), 2);
    for name in ["vkey", "checkpoints", "checkpoint"] {
        host.with(&host.dir.join(name), &fs::read(forged.join(name)).expect("file"), "signed by an unknown key");
    }
}

#[test]
fn a_missing_file_never_passes_unless_it_can_be_derived() {
    let host = Host::new(1);
    for (path, bytes) in evidence(&host.dir) {
        fs::remove_file(&path).expect("removed");
        let name = path.strip_prefix(&host.dir).expect("below").to_string_lossy().into_owned();
        let derived = name.contains("tile/") || name.starts_with("idx/") || name.starts_with("anchor-");
        let code = host.verdict().exit_code();
        if derived {
            assert_eq!(code, 0, "{name}");
        } else {
            assert!(matches!(code, 2 | 3), "without {name}: {code}");
        }
        if name.starts_with("anchor-") {
            assert_ne!(host.carried().exit_code(), 0, "without {name}, and no ledger at hand");
        }
        fs::write(&path, bytes).expect("put back");
    }
}

#[test]
fn a_log_restarted_in_the_middle_never_passes() {
    let host = Host::new(2);
    let bytes = fs::read(host.segment()).expect("segment");
    let frames = frames(&bytes);
    // A second chain in a second segment, as a writer that forgets its past would start it.
    let second = host.dir.join("seg/000001.seg");
    for content in [bytes.clone(), frames[0].clone(), Vec::new(), b"x".to_vec()] {
        fs::write(&second, content).expect("written");
        let code = host.verdict().exit_code();
        assert!(matches!(code, 2 | 3), "{code}");
    }
    fs::remove_file(&second).expect("removed");
    // And one after the end of the first.
    host.with(&host.segment(), &[&bytes[..], &bytes[..]].concat(), "the log twice");
    expect_exit(&host.verdict(), 0);
}

#[test]
fn what_no_crash_can_leave_is_never_called_damage() {
    let host = Host::new(1);
    let segment = fs::read(host.segment()).expect("segment");
    let sealed = segment.len() - HEADER_BYTES - 41;
    let mut kind = segment[sealed + HEADER_BYTES..].to_vec();
    kind[40] = 2;
    let leaf = br#"{"v":1,"n":99,"t":9999999999999999999,"mt":9999999999999999999,"k":"heartbeat","ev":"performed","o":{"running":0,"lost":0}}"#;
    let cases = [
        ("an unknown frame behind the seal", [&segment[..], &forge(b'Z', b"z")].concat()),
        ("a commit of another length", [&segment[..], &forge(b'C', b"z")].concat()),
        ("a seal of an unknown kind", [&segment[..sealed], &forge(b'S', &kind)].concat()),
        ("a leaf of another place behind everything signed", [&segment[..sealed], &forge(b'E', leaf)].concat()),
    ];
    for (what, bytes) in cases {
        fs::write(host.segment(), bytes).expect("written");
        for verdict in [host.verdict(), host.carried()] {
            assert_eq!(verdict.exit_code(), 2, "{what}: {:?}", verdict.findings);
        }
    }
    fs::write(host.segment(), segment).expect("put back");
    let path = host.dir.join("checkpoints");
    let mut notes = fs::read(&path).expect("checkpoints");
    notes[0] ^= 0x80;
    fs::write(&path, notes).expect("written");
    expect_exit(&host.verdict(), 2);
}

#[test]
fn a_proof_or_copy_that_was_emptied_never_passes() {
    let host = Host::new(1);
    let ledger = host.scratch.0.join("ledger");
    for path in
        ["anchor-open.tlog-proof", "anchor-close.tlog-proof", "anchor-after.tlog-proof"].map(|n| host.dir.join(n))
    {
        let bytes = fs::read(&path).expect("proof");
        fs::write(&path, b"").expect("emptied");
        expect_exit(&host.verdict(), 3);
        expect_exit(&host.carried(), 3);
        fs::write(&path, bytes).expect("put back");
    }
    for path in [ledger.join("checkpoint"), ledger.join("vkey"), host.dir.join("checkpoint")] {
        let bytes = fs::read(&path).expect("file");
        fs::write(&path, b"").expect("emptied");
        expect_exit(&host.verdict(), 3);
        fs::remove_file(&path).expect("removed");
        expect_exit(&host.verdict(), 3);
        fs::write(&path, bytes).expect("put back");
    }
    expect_exit(&host.verdict(), 0);
}

#[test]
fn a_ledger_rolled_back_contradicts_the_proofs_that_its_sessions_keep() {
    let scratch = Scratch::new();
    let ledger = ledger(&scratch.0);
    write_session(&scratch.0, &ledger, sid(1), 1);
    let early = files(&scratch.0.join("ledger"));
    let dir = write_session(&scratch.0, &ledger, sid(2), 1);
    expect_exit(&verify(&dir, &by_ledger(&scratch.0)), 0);
    for (path, bytes) in early {
        fs::write(path, bytes).expect("written");
    }
    expect_exit(&verify(&dir, &by_ledger(&scratch.0)), 2);
}

/// The seal that says that another segment follows, for a log that ends with a commit.
fn rolled(segment: &[u8]) -> Vec<u8> {
    let (frames, _) = frame::scan(segment);
    let commit = frames.last().filter(|frame| frame.kind == Kind::Commit).expect("it ends with a commit");
    [segment, &forge(b'S', &[&commit.payload[..40], &[0]].concat())].concat()
}

#[test]
fn a_writer_that_died_between_two_segments_is_recovered() {
    for next in [None, Some(&b""[..]), Some(&b"\x6b\0"[..])] {
        let host = Host::new(1);
        let segments = host.scratch.0.join("ledger/seg");
        let first = fs::read(segments.join("000000.seg")).expect("segment");
        fs::write(segments.join("000000.seg"), rolled(&first)).expect("written");
        if let Some(bytes) = next {
            fs::write(segments.join("000001.seg"), bytes).expect("written");
        }
        expect_exit(&host.verdict(), 3);
        let dir = write_session(&host.scratch.0, &host.ledger, sid(2), 1);
        expect_exit(&host.verdict(), 0);
        expect_exit(&verify(&dir, &by_ledger(&host.scratch.0)), 0);
    }
}

#[test]
fn a_session_that_says_that_leaves_follow_its_close_never_passes() {
    let host = Host::new(1);
    let bytes = fs::read(host.segment()).expect("segment");
    let sealed = bytes.len() - HEADER_BYTES - 41;
    fs::write(host.segment(), rolled(&bytes[..sealed])).expect("written");
    expect_exit(&host.verdict(), 2);
}
