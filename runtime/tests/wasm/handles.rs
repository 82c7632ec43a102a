//! Handles that nobody gave: a guest tries every number as a descriptor, a stream, a pollable, a list of fields.
//! It never takes a refusal for one without its control: the number that was given works, in the same call of the same kind.

use crate::guests::{CORE, TYPES, assembled, manifest};
use crate::stage::{Canceller, Stage, nothing};
use std::time::{Duration, Instant};
use stockade::backend::wasm::{CallGrant, Component, End, Files, Limits, ToolRan};

/// What a handle is of: a directory, an input stream, an output stream, something to wait for, fields of a request.
const KINDS: [char; 5] = ['d', 'i', 'o', 'p', 'f'];
/// Numbers that are tried: those of a table that has grown, and those with which something might be marked.
const NUMBERS: std::ops::RangeInclusive<u32> = 0..=4096;
const ODD: [u32; 6] = [u32::MAX, u32::MAX - 1, 1 << 31, (1 << 31) | 1, 1 << 30, (1 << 29) - 1];

const IMPORTS: &str = r#"
  (import "wasi:io/poll@0.2.6" (instance $poll
    (export "pollable" (type $pollable (sub resource)))
    (export "[method]pollable.ready" (func (param "self" (borrow $pollable)) (result bool)))))
  (alias export $poll "pollable" (type $pollable))
  (import "wasi:io/streams@0.2.6" (instance $streams
    (alias outer 1 $pollable (type $pollable1)) (export "pollable" (type $pollable2 (eq $pollable1)))
    (export "input-stream" (type $in (sub resource)))
    (export "output-stream" (type $out (sub resource)))
    (export "[method]input-stream.subscribe" (func (param "self" (borrow $in)) (result (own $pollable2))))
    (export "[method]output-stream.subscribe" (func (param "self" (borrow $out)) (result (own $pollable2))))))
  (alias export $streams "input-stream" (type $in))
  (alias export $streams "output-stream" (type $out))
  (import "wasi:cli/stdin@0.2.6" (instance $stdin
    (alias outer 1 $in (type $in1)) (export "input-stream" (type $in2 (eq $in1)))
    (export "get-stdin" (func (result (own $in2))))))
  (import "wasi:cli/stdout@0.2.6" (instance $stdout
    (alias outer 1 $out (type $out1)) (export "output-stream" (type $out2 (eq $out1)))
    (export "get-stdout" (func (result (own $out2))))))
  (import "wasi:http/types@0.2.6" (instance $http
    (export "fields" (type $fields (sub resource)))
    (export "[constructor]fields" (func (result (own $fields))))
    (export "[method]fields.clone" (func (param "self" (borrow $fields)) (result (own $fields))))))
  (alias export $http "fields" (type $fields))
  (import "wasi:filesystem/types@0.2.6" (instance $files
    (export "descriptor" (type $descriptor (sub resource)))
    (export "[method]descriptor.is-same-object"
      (func (param "self" (borrow $descriptor)) (param "other" (borrow $descriptor)) (result bool)))))
  (alias export $files "descriptor" (type $descriptor))
  (import "wasi:filesystem/preopens@0.2.6" (instance $preopens
    (alias outer 1 $descriptor (type $descriptor1)) (export "descriptor" (type $descriptor2 (eq $descriptor1)))
    (export "get-directories" (func (result (list (tuple (own $descriptor2) string)))))))"#;
const LOWERED: &str = r#"
  (core func $directories (canon lower (func $preopens "get-directories") (memory (core memory $libc "memory"))
    (realloc (core func $libc "realloc"))))
  (core func $same (canon lower (func $files "[method]descriptor.is-same-object")))
  (core func $insub (canon lower (func $streams "[method]input-stream.subscribe")))
  (core func $outsub (canon lower (func $streams "[method]output-stream.subscribe")))
  (core func $ready (canon lower (func $poll "[method]pollable.ready")))
  (core func $clone (canon lower (func $http "[method]fields.clone")))
  (core func $new (canon lower (func $http "[constructor]fields")))
  (core func $stdin (canon lower (func $stdin "get-stdin")))
  (core func $stdout (canon lower (func $stdout "get-stdout")))
  (core func $drop-d (canon resource.drop $descriptor)) (core func $drop-i (canon resource.drop $in))
  (core func $drop-o (canon resource.drop $out)) (core func $drop-p (canon resource.drop $pollable))
  (core func $drop-f (canon resource.drop $fields))"#;

/// Uses a handle as each kind, and drops it as each.
fn acts() -> String {
    let uses = KINDS.iter().zip([
        "(drop (call $same (local.get $h) (local.get $h)))",
        "(drop (call $insub (local.get $h)))",
        "(drop (call $outsub (local.get $h)))",
        "(drop (call $ready (local.get $h)))",
        "(drop (call $clone (local.get $h)))",
    ]);
    uses.map(|(kind, act)| {
        let (lower, upper) = (u32::from(*kind), u32::from(kind.to_ascii_uppercase()));
        format!(
            "(if (i32.eq (local.get $kind) (i32.const {lower})) (then {act}))
                 (if (i32.eq (local.get $kind) (i32.const {upper})) (then (call $drop-{kind} (local.get $h))))"
        )
    })
    .collect()
}

/// `dN` uses the number as a directory (`i`, `o`, `p`, `f` as the others of [`KINDS`]), `DN` drops it. `dx` uses the one
/// that it was given, `dz` drops that and uses it then. `h` takes thirty directories, pollables
/// and lists of fields, and never ends.
fn guessing() -> Component {
    let takes = ["insub", "outsub", "ready", "clone"].map(|name| (name, "(param i32) (result i32)"));
    let gives = ["new", "stdin", "stdout"].map(|name| (name, "(result i32)"));
    let drops = ["drop-d", "drop-i", "drop-o", "drop-p", "drop-f"].map(|name| (name, "(param i32)"));
    let other = [("same", "(param i32 i32) (result i32)"), ("directories", "(param i32)")];
    let functions = || other.iter().chain(&takes).chain(&gives).chain(&drops);
    let imported: String =
        functions().map(|(name, kind)| format!("(import \"host\" \"{name}\" (func ${name} {kind}))\n")).collect();
    let given: String = functions().map(|(name, _)| format!("(export \"{name}\" (func ${name}))")).collect();
    let uses = acts();
    let text = format!(
        r#"(component {TYPES} {IMPORTS}
  (core module $libc (memory (export "memory") 4) {CORE} (export "answer" (func $answer)))
  (core instance $libc (instantiate $libc)) {LOWERED}
  (core module $m
    (import "libc" "memory" (memory 1))
    (import "libc" "answer" (func $answer (param i32 i32) (result i32)))
    {imported}
    (func $use (param $kind i32) (param $h i32) {uses})
    (func $given (param $kind i32) (result i32)
      (if (i32.eq (local.get $kind) (i32.const 100)) (then
        (call $directories (i32.const 512)) (return (i32.load (i32.load (i32.const 512))))))
      (if (i32.eq (local.get $kind) (i32.const 105)) (then (return (call $stdin))))
      (if (i32.eq (local.get $kind) (i32.const 111)) (then (return (call $stdout))))
      (if (i32.eq (local.get $kind) (i32.const 112)) (then (return (call $insub (call $stdin)))))
      (call $new))
    (func (export "call") (param $p i32) (param $n i32) (result i32)
      (local $kind i32) (local $second i32) (local $own i32) (local $h i32) (local $at i32)
      (local.set $kind (i32.load8_u (local.get $p)))
      (if (i32.eq (local.get $kind) (i32.const 104)) (then
        (loop (drop (call $given (i32.const 100))) (drop (call $given (i32.const 112))) (drop (call $given (i32.const 102)))
          (local.set $at (i32.add (local.get $at) (i32.const 1)))
          (br_if 0 (i32.lt_u (local.get $at) (i32.const 30))))
        (loop (br 0))))
      (local.set $own (call $given (i32.or (local.get $kind) (i32.const 32))))
      (local.set $second (i32.load8_u offset=1 (local.get $p)))
      (local.set $h (local.get $own))
      (if (i32.eq (local.get $second) (i32.const 122)) (then
        (call $use (i32.and (local.get $kind) (i32.const 95)) (local.get $own))))
      (if (i32.le_u (local.get $second) (i32.const 57)) (then
        (local.set $h (i32.const 0)) (local.set $at (i32.const 1))
        (loop
          (local.set $h (i32.add (i32.mul (local.get $h) (i32.const 10))
            (i32.sub (i32.load8_u (i32.add (local.get $p) (local.get $at))) (i32.const 48))))
          (local.set $at (i32.add (local.get $at) (i32.const 1)))
          (br_if 0 (i32.lt_u (local.get $at) (local.get $n))))))
      (call $use (local.get $kind) (local.get $h))
      (call $answer (local.get $p) (local.get $n))))
  (core instance $main (instantiate $m (with "libc" (instance $libc)) (with "host" (instance {given}))))
  (func $call (param "arguments" string) (result (result $reply (error $failure)))
    (canon lift (core func $main "call") (memory (core memory $libc "memory")) (realloc (core func $libc "realloc"))))
  (export "call" (func $call)))"#
    );
    Component::parse(assembled(&text, &manifest("guessing", r#"{"files":"read","network":true}"#))).expect("a tool")
}

fn reads() -> CallGrant {
    CallGrant { files: Files::Read, network: true, ..nothing() }
}

/// Whether the guest could use it; if not, its call ended by that and by nothing else.
fn used(ran: &ToolRan, asked: &str) -> bool {
    match &ran.end {
        End::Answered(reply) => {
            assert_eq!(reply.text, asked);
            true
        }
        End::Trapped { why } => {
            assert!(why.contains("handle"), "{asked}: {why}");
            false
        }
        other @ (End::Refused(_) | End::Limit(_) | End::Died { .. } | End::Cancelled) => panic!("{asked}: {other:?}"),
    }
}

fn try_it(stage: &Stage, component: &Component, asked: &str) -> bool {
    used(&stage.call(component, asked, &reads()).0, asked)
}

#[test]
fn a_handle_that_was_not_given_is_nobodys() {
    let (stage, component) = (Stage::new(), guessing());
    for kind in KINDS {
        assert!(try_it(&stage, &component, &format!("{kind}x")), "the control: a {kind} that it was given");
        let works = |number: &u32| try_it(&stage, &component, &format!("{kind}{number}"));
        let worked: Vec<u32> = NUMBERS.chain(ODD).filter(works).collect();
        // Each call was given so many of this kind, and earlier ones thousands.
        let given = if kind == 'd' { 3 } else { 1 };
        assert_eq!(worked.len(), given, "{kind}: {worked:?}");
        assert!(worked.iter().all(|number| *number < 8), "{kind}: those of its own call: {worked:?}");
    }
    assert_eq!(stage.wall.workers(), 1, "all of them in one worker, which none of them ended");
}

#[test]
fn a_handle_that_was_dropped_is_nobodys() {
    let (stage, component) = (Stage::new(), guessing());
    for kind in KINDS {
        let dropping = kind.to_ascii_uppercase();
        assert!(try_it(&stage, &component, &format!("{dropping}x")), "the control: it drops its own {kind}");
        assert!(!try_it(&stage, &component, &format!("{kind}z")), "a {kind} that it dropped");
        assert!(!try_it(&stage, &component, &format!("{dropping}z")), "it drops a {kind} twice");
        for number in (0..=64).filter(|number| *number > 8 || *number == 0) {
            assert!(!try_it(&stage, &component, &format!("{dropping}{number}")), "it drops the {kind} {number}");
        }
    }
}

/// While others of the same worker, and of another session's, have many of each kind.
#[test]
fn a_handle_of_a_call_that_runs_is_no_other_calls() {
    let (stage, other, component) = (Stage::new(), Stage::new(), guessing());
    stage.wall.compile(&component).expect("it compiles");
    other.wall.compile(&component).expect("it compiles");
    // One for each worker that there may be, so that the guesses are made beside one of them.
    let workers = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let pipes: Vec<_> = (0..=workers).map(|_| rustix::pipe::pipe().expect("a pipe")).collect();
    // Longer than all guesses take, each beside a guest that computes all the time.
    let long = Duration::from_secs(300);
    let holds = CallGrant { limits: Limits { wall: long, cpu: long, ..nothing().limits }, ..reads() };
    std::thread::scope(|scope| {
        let holds = &holds;
        let (mut says, mut started) = (Vec::new(), Vec::new());
        for (number, (read, write)) in pipes.into_iter().enumerate() {
            let (holder, component) = (if number == workers { &other } else { &stage }, &component);
            scope.spawn(move || {
                let mut connect = |_| Err(stockade::error::Error::host("no outlet"));
                let mut outside = Canceller { end: read, said: false };
                let (ran, _) = holder.call_with(component, "h", holds, &mut outside, &mut connect);
                assert_eq!(ran.end, End::Cancelled, "it held them all the time");
            });
            says.push(write);
            // One after the other: each has a worker of its own.
            let (wall, wanted) = if number == workers { (&other.wall, 1) } else { (&stage.wall, number + 1) };
            let began = Instant::now();
            while wall.workers() < wanted && began.elapsed() < Duration::from_secs(60) {
                std::thread::sleep(Duration::from_millis(5));
            }
            started.push((wall.workers(), wanted));
        }
        std::thread::sleep(Duration::from_millis(500));
        for kind in KINDS {
            assert!(try_it(&stage, &component, &format!("{kind}x")), "the control: a {kind} that it was given");
            let works = |number: &u32| try_it(&stage, &component, &format!("{kind}{number}"));
            let worked: Vec<u32> = (0..150).filter(works).collect();
            assert_eq!(worked.len(), if kind == 'd' { 3 } else { 1 }, "{kind}: {worked:?}");
        }
        for write in says {
            rustix::io::write(&write, b"x").expect("there is room");
        }
        assert!(started.iter().all(|(workers, wanted)| workers == wanted), "{started:?}");
    });
}
