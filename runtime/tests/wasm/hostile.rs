//! Guests that loop, grow, recurse, trap, answer too much or are not what they say: each ends its own call and nothing else.
//! After each of them the same worker answers another call.

use crate::guests::{CORE, TYPES, assembled, echo, importing, manifest, pure, pure_text};
use crate::stage::{Stage, nothing};
use std::time::{Duration, Instant};
use stockade::backend::wasm::{CallGrant, Component, End, Kind, Limits, ToolRan, What};
use stockade_jail::watch::LimitKind;

fn parsed(bytes: Vec<u8>) -> Component {
    Component::parse(bytes).expect("it looks like a tool")
}

/// The call ends so, and the worker lives: the next call is answered by it.
#[track_caller]
fn ends(bytes: Vec<u8>, grant: &CallGrant, wanted: impl FnOnce(&ToolRan) -> bool) {
    let stage = Stage::new();
    let (ran, _) = stage.call(&parsed(bytes), "{}", grant);
    assert!(wanted(&ran), "{ran:?}");
    let (after, _) = stage.call(&parsed(echo()), "still here", &nothing());
    assert!(matches!(&after.end, End::Answered(reply) if reply.text == "still here"), "{after:?}");
    let started = stage.started.lock().expect("whole");
    let running = started.iter().filter(|kind| **kind != Kind::Compile).count();
    assert_eq!(running, 1, "the same worker: {started:?}");
}

fn limit(ran: &ToolRan) -> Option<LimitKind> {
    if let End::Limit(hit) = &ran.end { Some(hit.limit) } else { None }
}

fn trapped(ran: &ToolRan, wanted: &str) -> bool {
    matches!(&ran.end, End::Trapped { why } if why.contains(wanted))
}

fn short() -> CallGrant {
    let limits = Limits { wall: Duration::from_millis(300), ..nothing().limits };
    CallGrant { limits, ..nothing() }
}

#[test]
fn a_loop_ends_at_the_wall_limit_and_not_long_after() {
    let began = Instant::now();
    let body = "(loop (br 0)) unreachable";
    ends(pure("looping", body), &short(), |ran| limit(ran) == Some(LimitKind::Wall) && ran.usage.wall_us < 2_000_000);
    assert!(began.elapsed() < Duration::from_secs(30));
}

#[test]
fn a_loop_ends_at_the_limit_of_processor_time() {
    let limits = Limits { cpu: Duration::from_millis(100), ..nothing().limits };
    let grant = CallGrant { limits, ..nothing() };
    let used = |ran: &ToolRan| (100_000..2_000_000).contains(&ran.usage.cpu_us);
    ends(pure("looping", "(loop (br 0)) unreachable"), &grant, |ran| limit(ran) == Some(LimitKind::Cpu) && used(ran));
}

#[test]
fn a_start_function_that_loops_ends_like_any_other_loop() {
    let text = pure_text("(i32.const 0)", "(func $begin (loop (br 0))) (start $begin)");
    ends(assembled(&text, &manifest("starting", "{}")), &short(), |ran| limit(ran) == Some(LimitKind::Wall));
}

#[test]
fn memory_grows_to_its_limit_and_no_further() {
    let body = "(block (loop (br_if 1 (i32.eq (memory.grow (i32.const 16)) (i32.const -1))) (br 0))) unreachable";
    ends(pure("growing", body), &nothing(), |ran| {
        limit(ran) == Some(LimitKind::Memory)
            && ran.usage.memory_peak_bytes <= 64 << 20
            && ran.usage.memory_peak_bytes > 60 << 20
    });
}

#[test]
fn a_guest_that_lives_with_less_memory_answers() {
    let body = "(block (loop (br_if 1 (i32.eq (memory.grow (i32.const 16)) (i32.const -1))) (br 0)))
        (call $answer (i32.const 0) (i32.const 0))";
    ends(pure("modest", body), &nothing(), |ran| matches!(ran.end, End::Answered(_)));
}

#[test]
fn a_memory_that_is_too_large_from_the_start_is_refused() {
    let text = pure_text("(i32.const 0)", "").replace("\"memory\") 1)", "\"memory\") 4096)");
    ends(assembled(&text, &manifest("large", "{}")), &nothing(), |ran| limit(ran) == Some(LimitKind::Memory));
}

#[test]
fn a_recursion_ends_at_the_stack() {
    let text = pure_text(
        "(call $deep (i32.const 1))",
        "(func $deep (param i32) (result i32)
        (i32.add (call $deep (i32.add (local.get 0) (i32.const 1))) (i32.const 1)))",
    );
    ends(assembled(&text, &manifest("deep", "{}")), &nothing(), |ran| trapped(ran, "too deep"));
}

#[test]
fn a_trap_is_told_in_words() {
    ends(pure("trapping", "unreachable"), &nothing(), |ran| trapped(ran, "unreachable"));
    ends(pure("dividing", "(i32.div_u (i32.const 1) (i32.const 0))"), &nothing(), |ran| trapped(ran, "divide by zero"));
    ends(pure("outside", "(i32.load (i32.const -4))"), &nothing(), |ran| trapped(ran, "out of bounds"));
}

#[test]
fn an_answer_outside_of_its_memory_is_a_trap() {
    ends(pure("lying", "(i32.const -8)"), &nothing(), |ran| matches!(ran.end, End::Trapped { .. }));
    let body = "(call $answer (i32.const 0) (i32.const -1))";
    ends(pure("longer", body), &nothing(), |ran| matches!(ran.end, End::Trapped { .. }));
    let body = "(i32.store8 (i32.const 0) (i32.const 255)) (call $answer (i32.const 0) (i32.const 1))";
    ends(pure("no-utf8", body), &nothing(), |ran| matches!(ran.end, End::Trapped { .. }));
}

#[test]
fn an_answer_that_is_too_long_is_over_the_limit() {
    let text =
        pure_text("(call $answer (i32.const 0) (i32.const 2097152))", "").replace("\"memory\") 1)", "\"memory\") 64)");
    ends(assembled(&text, &manifest("talking", "{}")), &nothing(), |ran| limit(ran) == Some(LimitKind::Output));
}

#[test]
fn a_function_of_another_type_is_told() {
    let text = format!(
        r#"(component {TYPES} (core module $m (memory (export "memory") 1) {CORE} (func (export "call")))
        (core instance $i (instantiate $m)) (func $call (canon lift (core func $i "call"))) (export "call" (func $call)))"#
    );
    ends(assembled(&text, &manifest("typed", "{}")), &nothing(), |ran| trapped(ran, "not that of the world"));
}

#[test]
fn code_that_does_not_validate_does_not_compile() {
    let text = pure_text("(i32.const 0)", "");
    let mut bytes = wat::parse_str(&text).expect("it is a component");
    // The body of `call` gives a 64-bit number instead.
    let call = [0x41, 0x00, 0x0b];
    let at = bytes.windows(3).rposition(|window| window == call).expect("its body");
    if let Some(opcode) = bytes.get_mut(at) {
        *opcode = 0x42;
    }
    bytes.extend(crate::guests::custom("stockade:tool", manifest("broken", "{}").as_bytes()));
    refused_by_the_wall(bytes, "does not compile");
}

#[test]
fn enormous_types_are_refused_without_harm() {
    // Each type is a record of ten of the one before: ten to the fortieth fields.
    let mut types = String::from("(type $t0 (record (field \"a\" string)))");
    for level in 1..40 {
        let fields: String = (0..10).map(|field| format!("(field \"f{field}\" $t{})", level - 1)).collect();
        types.push_str(&format!("(type $t{level} (record {fields}))"));
    }
    let text = pure_text("(i32.const 0)", "").replacen("(component", &format!("(component {types}"), 1);
    match wat::parse_str(&text) {
        Ok(mut bytes) => {
            bytes.extend(crate::guests::custom("stockade:tool", manifest("enormous", "{}").as_bytes()));
            refused_by_the_wall(bytes, "does not compile");
        }
        Err(error) => panic!("{error}"),
    }
}

#[test]
fn an_interface_with_another_function_is_refused_when_it_is_loaded() {
    let interface = ("wasi:clocks/wall-clock@0.2.6", "(export \"tomorrow\" (func (result u64)))");
    let core = ("(import \"host\" \"tomorrow\" (func (result i64)))", "(i32.const 0)");
    let bytes = importing("future", r#"{"clocks":true}"#, interface, &["tomorrow"], core);
    refused_by_the_wall(bytes, "tomorrow");
}

/// The wall says why it does not run it, and runs another.
#[track_caller]
fn refused_by_the_wall(bytes: Vec<u8>, wanted: &str) {
    use stockade::backend::process::Alone;
    use stockade::backend::wasm::ToolIo;
    let stage = Stage::new();
    let mut connect = |_| Err(stockade::error::Error::host("no outlet"));
    let (mut used, mut progress) = (|_| Ok(()), |_| ());
    let io = ToolIo { connect: &mut connect, used: &mut used, progress: &mut progress, outside: &mut Alone };
    let error = stage.wall.run_arguments("{}".to_owned(), &parsed(bytes), &nothing(), io).expect_err("it is refused");
    assert!(error.to_string().contains(wanted), "{error}");
    let (after, _) = stage.call(&parsed(echo()), "still here", &nothing());
    assert!(matches!(after.end, End::Answered(_)), "{after:?}");
}

#[test]
fn clocks_stand_still_and_randomness_is_the_same_without_a_grant() {
    let clock = |ceiling: &str| {
        let interface = ("wasi:clocks/monotonic-clock@0.2.6", "(export \"now\" (func (result u64)))");
        let body = "(i64.store (i32.const 0) (call $now)) (i32.store8 (i32.const 8) (i32.add (i32.const 48)
            (i32.eqz (i64.eqz (i64.load (i32.const 0)))))) (call $answer (i32.const 8) (i32.const 1))";
        let core = ("(import \"host\" \"now\" (func $now (result i64)))", body);
        parsed(importing("clock", ceiling, interface, &["now"], core))
    };
    let stage = Stage::new();
    let text =
        |ran: &ToolRan| if let End::Answered(reply) = &ran.end { reply.text.clone() } else { format!("{ran:?}") };
    let (ran, seen) = stage.call(&clock(r#"{"clocks":true}"#), "{}", &nothing());
    assert_eq!((text(&ran), seen.uses.len()), ("0".to_owned(), 0), "it stands still");
    let (ran, seen) = stage.call(&clock(r#"{"clocks":true}"#), "{}", &CallGrant { clocks: true, ..nothing() });
    assert_eq!((text(&ran), seen.uses.len()), ("1".to_owned(), 1), "it runs, and was read: {:?}", seen.uses);

    let interface = ("wasi:random/insecure@0.2.6", "(export \"get-insecure-random-u64\" (func (result u64)))");
    // As text: each byte becomes one of sixteen letters.
    let body = "(local $at i32) (i64.store (i32.const 0) (call $draw))
        (loop (i32.store8 (local.get $at) (i32.add (i32.const 65) (i32.and (i32.const 15)
            (i32.load8_u (local.get $at))))) (local.set $at (i32.add (local.get $at) (i32.const 1)))
          (br_if 0 (i32.lt_u (local.get $at) (i32.const 8))))
        (call $answer (i32.const 0) (i32.const 8))";
    let core = ("(import \"host\" \"get-insecure-random-u64\" (func $draw (result i64)))", body);
    let functions = ["get-insecure-random-u64"];
    let dice = parsed(importing("dice", r#"{"random":true}"#, interface, &functions, core));
    let drawn = |grant: &CallGrant| text(&stage.call(&dice, "{}", grant).0);
    assert_eq!(drawn(&nothing()), drawn(&nothing()), "it is the same each time");
    let granted = CallGrant { random: true, ..nothing() };
    let more: std::collections::BTreeSet<String> = (0..8).map(|_| drawn(&granted)).collect();
    assert!(more.len() > 1, "granted, it is not: {more:?}");
}

#[test]
fn images_without_bytes_are_no_way_past_the_limit() {
    // A reply with as many empty images as the number in its arguments says, each sixteen bytes of the guest's.
    let images = |count: u32| {
        let body = format!(
            "(drop (call $answer (i32.const 0) (i32.const 0)))
             (i32.store (i32.const 1048) (i32.const 65536)) (i32.store (i32.const 1052) (i32.const {count}))
             (i32.const 1024)"
        );
        let text = pure_text(&body, "").replace("\"memory\") 1)", "\"memory\") 256)");
        assembled(&text, &manifest("images", "{}"))
    };
    ends(images(1000), &nothing(), |ran| matches!(&ran.end, End::Answered(reply) if reply.images.len() == 1000));
    ends(images(10_000), &nothing(), |ran| limit(ran) == Some(LimitKind::Output));
    let text = pure_text("(call $answer (i32.const 0) (i32.const 52428800))", "");
    let text = text.replace("\"memory\") 1)", "\"memory\") 1000)");
    ends(assembled(&text, &manifest("large", "{}")), &nothing(), |ran| trapped(ran, "too much data"));
}

#[test]
fn what_breaks_for_another_reason_than_memory_is_told_by_that() {
    let refused = "(drop (memory.grow (i32.const 60000)))";
    let growing = |body: &str| pure("growing", &format!("{refused} {body}"));
    ends(growing("unreachable"), &nothing(), |ran| limit(ran) == Some(LimitKind::Memory));
    ends(growing("(i32.div_u (i32.const 1) (i32.const 0))"), &nothing(), |ran| trapped(ran, "divide by zero"));
    let importing = |interface: (&str, &str), function: &str, declared: &str, body: &str| {
        let core = format!("(import \"host\" \"{function}\" (func $f {declared}))");
        importing("leaving", r#"{"random":true}"#, interface, &[function], (&core, &format!("{refused} {body}")))
    };
    let exit = ("wasi:cli/exit@0.2.6", "(export \"exit\" (func (param \"status\" (result))))");
    ends(importing(exit, "exit", "(param i32)", "(call $f (i32.const 1)) unreachable"), &nothing(), |ran| {
        trapped(ran, "it exited with status 1 before it answered, after it was refused memory")
    });
    let draw = ("wasi:random/random@0.2.6", "(export \"get-random-u64\" (func (result u64)))");
    let body = "(drop (call $f)) unreachable";
    ends(importing(draw, "get-random-u64", "(result i64)", body), &nothing(), |ran| {
        trapped(ran, "randomness is not granted")
    });
}

#[test]
fn a_socket_is_refused_and_told() {
    let stage = Stage::new();
    let (ran, seen) = stage.call(&parsed(crate::guests::dialing()), "{}", &nothing());
    assert!(matches!(&ran.end, End::Answered(reply) if reply.text == "refused"), "{ran:?}");
    let [one] = seen.uses.as_slice() else { panic!("{:?}", seen.uses) };
    assert_eq!((&one.what, one.errno, one.times), (&What::Socket, Some(13), 3));
}

/// Somebody who says over and over to be done makes nobody else's ears ring.
#[test]
fn progress_that_is_complete_is_told_once_and_else_now_and_then() {
    let stage = Stage::new();
    let (ran, seen) = stage.call(&parsed(crate::guests::reporting(10_000)), "{}", &nothing());
    assert!(matches!(ran.end, End::Answered(_)), "{ran:?}");
    let most = usize::try_from(ran.usage.wall_us / 100_000).expect("it is short") + 2;
    assert!((1..=most).contains(&seen.progress.len()), "{} of at most {most}", seen.progress.len());
}

#[test]
fn secure_randomness_without_a_grant_ends_the_guest_and_says_why() {
    let interface = ("wasi:random/random@0.2.6", "(export \"get-random-u64\" (func (result u64)))");
    let core = (
        "(import \"host\" \"get-random-u64\" (func $draw (result i64)))",
        "(drop (call $draw)) (call $answer (i32.const 0) (i32.const 0))",
    );
    let bytes = importing("dice", r#"{"random":true}"#, interface, &["get-random-u64"], core);
    ends(bytes.clone(), &nothing(), |ran| trapped(ran, "randomness is not granted"));
    let granted = CallGrant { random: true, ..nothing() };
    ends(bytes, &granted, |ran| matches!(ran.end, End::Answered(_)));
}
