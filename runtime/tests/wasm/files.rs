//! Files through a whole call: what a guest opens, reads and writes, what it is refused, and what is told of it.
//! The attacks on paths are tested where paths are resolved; here is that a guest reaches nothing else.

use crate::guests::files;
use crate::stage::{Stage, nothing};
use stockade::backend::wasm::{CallGrant, Component, End, Files, OpenFlags, ToolRan, What};

fn text(ran: &ToolRan) -> String {
    if let End::Answered(reply) = &ran.end { reply.text.clone() } else { format!("{ran:?}") }
}

/// `eX`: the error of this number in `wasi:filesystem`.
fn error(number: u8) -> String {
    format!("e{}", char::from(b'A' + number))
}

const NO_ENTRY: u8 = 20;
const READ_ONLY: u8 = 33;
const NOT_PERMITTED: u8 = 31;
const NOTHING_GIVEN: u8 = 50;

#[test]
fn a_guest_reads_and_writes_and_all_of_it_is_told() {
    let stage = Stage::new();
    std::fs::write(stage.view().join("ws/file"), "hello").expect("ours");
    let component = Component::parse(files(r#"{"files":"write"}"#)).expect("a tool");
    let grant = CallGrant { files: Files::Write, ..nothing() };
    let (ran, seen) = stage.call(&component, "rfile", &grant);
    assert_eq!(text(&ran), "hello");
    let [read] = seen.uses.as_slice() else { panic!("{:?}", seen.uses) };
    assert_eq!((&read.what, read.path.as_slice(), read.bytes_read), (&What::Read, &b"/ws/file"[..], 5));

    let (ran, seen) = stage.call(&component, "wnew", &grant);
    assert_eq!(text(&ran), "wnew");
    assert_eq!(std::fs::read_to_string(stage.view().join("ws/new")).expect("it is there"), "wnew");
    let flags = OpenFlags { create: true, exclusive: false, truncate: true };
    let [open, wrote] = seen.uses.as_slice() else { panic!("{:?}", seen.uses) };
    assert_eq!((&open.what, open.path.as_slice()), (&What::Open(flags), &b"/ws/new"[..]));
    assert_eq!((&wrote.what, wrote.bytes_written), (&What::Wrote, 4));
}

#[test]
fn a_guest_without_the_grant_has_no_directory_and_one_that_reads_cannot_write() {
    let stage = Stage::new();
    std::fs::write(stage.view().join("ws/file"), "hello").expect("ours");
    let component = Component::parse(files(r#"{"files":"write"}"#)).expect("a tool");
    let (ran, seen) = stage.call(&component, "rfile", &nothing());
    assert_eq!((text(&ran), seen.uses.len()), (error(NOTHING_GIVEN), 0));
    let (ran, seen) = stage.call(&component, "wfile", &CallGrant { files: Files::Read, ..nothing() });
    assert_eq!(text(&ran), error(READ_ONLY));
    assert_eq!(seen.uses.len(), 1, "the refusal is told: {:?}", seen.uses);
    assert_eq!(std::fs::read_to_string(stage.view().join("ws/file")).expect("there"), "hello");
}

#[test]
fn a_guest_reaches_nothing_outside_of_its_view() {
    let stage = Stage::new();
    std::fs::write(stage.directory.join("secret"), "secret").expect("ours");
    std::os::unix::fs::symlink(stage.directory.join("secret"), stage.view().join("ws/link")).expect("ours");
    let control = std::fs::read_to_string(stage.view().join("ws/link")).expect("the control leads out");
    assert_eq!(control, "secret");
    let component = Component::parse(files(r#"{"files":"read"}"#)).expect("a tool");
    let grant = CallGrant { files: Files::Read, ..nothing() };
    for (path, wanted) in [("link", NO_ENTRY), ("../../secret", NOT_PERMITTED), ("/etc/passwd", NOT_PERMITTED)] {
        let (ran, seen) = stage.call(&component, &format!("r{path}"), &grant);
        assert_eq!(text(&ran), error(wanted), "{path}");
        assert!(seen.uses.iter().all(|told| told.errno.is_some()), "{path}: {:?}", seen.uses);
    }
}

#[test]
fn what_one_guest_had_in_memory_the_next_never_sees() {
    let stage = Stage::new();
    // One component, since a place in the pool goes back to the component that had it: asked to write, it fills its memory,
    // and else it looks for a word that is not zero.
    let body = "(local $at i32) (local $writes i32)
        (local.set $writes (i32.eq (i32.load8_u (local.get $p)) (i32.const 119)))
        (drop (memory.grow (i32.const 64))) (local.set $at (i32.const 65536))
        (block (loop (br_if 1 (i32.ge_u (local.get $at) (i32.const 4194304)))
          (if (local.get $writes)
            (then (i32.store (local.get $at) (i32.const 7)))
            (else (if (i32.load (local.get $at)) (then unreachable))))
          (local.set $at (i32.add (local.get $at) (i32.const 4))) (br 0)))
        (call $answer (i32.const 0) (i32.const 0))";
    let component = Component::parse(crate::guests::pure("fills", body)).expect("a tool");
    for _ in 0..50 {
        for asked in ["w", "l", "l", "w"] {
            let (ran, _) = stage.call(&component, asked, &nothing());
            assert!(matches!(ran.end, End::Answered(_)), "{asked}: {ran:?}");
        }
    }
}
