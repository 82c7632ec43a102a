//! Instances that are made before their calls: each serves one call, and is the call's own in what it has and may have.
//! A component that cannot be prepared is called like any other.

use crate::guests::{CALL, CORE, TYPES, assembled, dialing_text, manifest, pure_text};
use crate::stage::{Seen, Stage, nothing};
use std::time::{Duration, Instant};
use stockade::backend::wasm::{CallGrant, Component, End, ToolRan, What};
use stockade_jail::watch::LimitKind;

/// A tool that prepares itself by this body, and answers as the next one.
fn prepared(name: &str, body: &str) -> Component {
    prepared_and_called(name, body, "")
}

/// A tool that prepares itself by the first body, and runs the second when it is called. It answers with two digits: how often its instance was prepared, and how often called.
fn prepared_and_called(name: &str, body: &str, called: &str) -> Component {
    let core = format!(
        r#"(data (i32.const 2000) "00")
           (func (export "prepare") (i32.store8 (i32.const 2000) (i32.add (i32.load8_u (i32.const 2000)) (i32.const 1))) {body})"#
    );
    let call = format!(
        "(i32.store8 (i32.const 2001) (i32.add (i32.load8_u (i32.const 2001)) (i32.const 1))) {called}
         (call $answer (i32.const 2000) (i32.const 2))"
    );
    let text = pure_text(&call, &core);
    let text = text.strip_suffix(')').expect("it is a component");
    let export = r#"(func $prepare (canon lift (core func $i "prepare"))) (export "prepare" (func $prepare))"#;
    Component::parse(assembled(&format!("{text}{export})"), &manifest(name, r#"{"clocks":true}"#))).expect("a tool")
}

#[track_caller]
fn answers(stage: &Stage, component: &Component, grant: &CallGrant, wanted: &str) {
    let (ran, _) = stage.call(component, "{}", grant);
    match ran.end {
        End::Answered(reply) => assert_eq!(reply.text, wanted),
        other @ (End::Refused(_) | End::Trapped { .. } | End::Limit(_) | End::Died { .. } | End::Cancelled) => {
            panic!("{other:?}")
        }
    }
}

/// Calls it until its instance was prepared, and says how that call went.
#[track_caller]
fn until_prepared(stage: &Stage, component: &Component, grant: &CallGrant) -> (ToolRan, Seen) {
    let began = Instant::now();
    loop {
        let (ran, seen) = stage.call(component, "{}", grant);
        match &ran.end {
            End::Answered(reply) if reply.text == "11" => return (ran, seen),
            End::Answered(_) => std::thread::sleep(Duration::from_millis(20)),
            other @ (End::Refused(_) | End::Trapped { .. } | End::Limit(_) | End::Died { .. } | End::Cancelled) => {
                panic!("{other:?}")
            }
        }
        assert!(began.elapsed() < Duration::from_secs(120), "it is never prepared");
    }
}

/// Reads the clock three times and draws once while it is prepared, and reads the clock once when it is called.
fn watching() -> Component {
    let text = format!(
        r#"(component {TYPES}
  (import "wasi:clocks/monotonic-clock@0.2.6" (instance $clock (export "now" (func (result u64)))))
  (import "wasi:random/random@0.2.6" (instance $random (export "get-random-u64" (func (result u64)))))
  (core func $now (canon lower (func $clock "now")))
  (core func $draw (canon lower (func $random "get-random-u64")))
  (core module $m
    (import "host" "now" (func $now (result i64)))
    (import "host" "draw" (func $draw (result i64)))
    (memory (export "memory") 1)
    {CORE}
    (data (i32.const 2000) "01")
    (func (export "prepare") (drop (call $now)) (drop (call $now)) (drop (call $now)) (drop (call $draw))
      (i32.store8 (i32.const 2000) (i32.const 49)))
    (func (export "call") (param $p i32) (param $n i32) (result i32)
      (drop (call $now)) (call $answer (i32.const 2000) (i32.const 2))))
  (core instance $i (instantiate $m
    (with "host" (instance (export "now" (func $now)) (export "draw" (func $draw)))))) {CALL}
  (func $prepare (canon lift (core func $i "prepare"))) (export "prepare" (func $prepare)))"#
    );
    let manifest = manifest("watching", r#"{"clocks":true,"random":true}"#);
    Component::parse(assembled(&text, &manifest)).expect("a tool")
}

fn times(seen: &Seen, what: &What) -> u64 {
    seen.uses.iter().filter(|used| used.what == *what).map(|used| used.times).sum()
}

#[test]
fn what_was_read_and_drawn_before_a_call_is_told_with_it() {
    let (stage, component) = (Stage::new(), watching());
    let grant = CallGrant { clocks: true, random: true, ..nothing() };
    let (_, first) = stage.call(&component, "{}", &grant);
    assert_eq!((times(&first, &What::Clock), times(&first, &What::Random)), (1, 0), "the control: it is not prepared");
    for _ in 0..3 {
        let (_, next) = until_prepared(&stage, &component, &grant);
        assert_eq!((times(&next, &What::Clock), times(&next, &What::Random)), (4, 1), "{:?}", next.uses);
    }
}

#[test]
fn the_time_to_prepare_is_the_calls() {
    let busy = "(i32.store (i32.const 3000) (i32.const 20000000))
        (loop (i32.store (i32.const 3000) (i32.sub (i32.load (i32.const 3000)) (i32.const 1)))
          (br_if 0 (i32.load (i32.const 3000))))";
    let (stage, component) = (Stage::new(), prepared("busy", busy));
    let (ran, _) = until_prepared(&stage, &component, &nothing());
    assert!(ran.usage.cpu_us >= 5_000, "twenty million rounds, and a call: {:?}", ran.usage);
}

#[test]
fn what_is_prepared_counts_among_the_memory_of_its_call() {
    let grows = "(if (i32.eq (memory.grow (i32.const 320)) (i32.const -1)) (then unreachable))";
    let (stage, component) = (Stage::new(), prepared_and_called("grows", grows, grows));
    let mut grant = nothing();
    grant.limits.memory_bytes = 32 << 20;
    answers(&stage, &component, &grant, "01");
    let (ran, _) = stage.call(&component, "{}", &grant);
    assert!(matches!(&ran.end, End::Limit(hit) if hit.limit == LimitKind::Memory), "{ran:?}");
    assert!(ran.usage.memory_peak_bytes >= 20 << 20, "{ran:?}");
}

/// Who was refused memory while it was prepared may go on in another way than the call would.
#[test]
fn what_was_refused_memory_while_it_was_prepared_is_no_calls_and_is_tried_again() {
    let gives_up = "(if (i32.eq (memory.grow (i32.const 320)) (i32.const -1)) (then unreachable))";
    for (name, body) in [("goes-on", "(drop (memory.grow (i32.const 320)))"), ("gives-up", gives_up)] {
        let (stage, component) = (Stage::new(), prepared(name, body));
        let mut small = nothing();
        small.limits.memory_bytes = 4 << 20;
        answers(&stage, &component, &small, "01");
        answers(&stage, &component, &nothing(), "01");
        until_prepared(&stage, &component, &nothing());
    }
}

#[test]
fn what_would_hold_much_memory_does_not_wait_for_its_call() {
    let (stage, component) = (Stage::new(), prepared("huge", "(drop (memory.grow (i32.const 1100)))"));
    let mut grant = nothing();
    grant.limits.memory_bytes = 256 << 20;
    for _ in 0..5 {
        answers(&stage, &component, &grant, "01");
    }
}

/// What was refused to somebody without a call is told in no log: so its instance is no call's.
#[test]
fn who_asks_for_more_than_clocks_while_it_is_prepared_is_called_like_any_other() {
    let text = String::from_utf8(dialing_text().into_bytes()).expect("it is text");
    let export = r#"(func $prepare (canon lift (core func $main "prepare"))) (export "prepare" (func $prepare)))"#;
    let text = format!("{}{export}", text.trim_end().strip_suffix(')').expect("it is a component"));
    let component = Component::parse(assembled(&text, &manifest("dials", "{}"))).expect("a tool");
    let stage = Stage::new();
    for _ in 0..4 {
        let (ran, seen) = stage.call(&component, "{}", &nothing());
        assert!(matches!(&ran.end, End::Answered(reply) if reply.text == "refused"), "{ran:?}");
        assert_eq!(times(&seen, &What::Socket), 3, "its own, and in an instance that did nothing before");
    }
}

/// What waits for its call makes room, when it has waited for long.
#[test]
fn an_instance_that_nobody_takes_makes_room_for_another() {
    let stage = Stage::new();
    for number in 0..4 {
        let component = prepared(&format!("stays-{number}"), "");
        until_prepared(&stage, &component, &nothing());
    }
    until_prepared(&stage, &prepared("comes", ""), &nothing());
}

#[test]
fn an_instance_is_prepared_for_one_call_and_serves_no_other() {
    let (stage, component) = (Stage::new(), prepared("ready", ""));
    // The control: nothing was known of the first call before it came.
    answers(&stage, &component, &nothing(), "01");
    for _ in 0..20 {
        answers(&stage, &component, &nothing(), "11");
    }
}

#[test]
fn what_was_made_for_another_grant_serves_no_call() {
    let (stage, component) = (Stage::new(), prepared("clocks", ""));
    answers(&stage, &component, &CallGrant { clocks: true, ..nothing() }, "01");
    answers(&stage, &component, &nothing(), "01");
    answers(&stage, &component, &nothing(), "11");
}

#[test]
fn a_call_that_may_have_less_memory_gets_no_instance_that_has_more() {
    let (stage, component) = (Stage::new(), prepared("large", "(drop (memory.grow (i32.const 320)))"));
    answers(&stage, &component, &nothing(), "01");
    let mut small = nothing();
    small.limits.memory_bytes = 4 << 20;
    answers(&stage, &component, &small, "01");
    // The control: whoever may have as much gets it.
    until_prepared(&stage, &component, &nothing());
}

#[test]
fn a_component_that_breaks_while_it_is_prepared_is_called_like_any_other() {
    for (name, body) in [("trap", "unreachable"), ("outside", "(drop (i32.load (i32.const -4)))")] {
        let (stage, component) = (Stage::new(), prepared(name, body));
        for _ in 0..3 {
            answers(&stage, &component, &nothing(), "01");
        }
    }
}

#[test]
fn a_component_that_never_ends_to_prepare_keeps_no_call_waiting_for_long() {
    let (stage, component) = (Stage::new(), prepared("endless", "(loop (br 0))"));
    answers(&stage, &component, &nothing(), "01");
    // Another component has the thread meanwhile.
    answers(&stage, &prepared("other", ""), &nothing(), "01");
    answers(&stage, &component, &nothing(), "01");
    // A call that comes while it is prepared, which takes a second: on a busy machine one of ten is soon served.
    let soonest = (0..10).map(|number| {
        let (stage, component) = (Stage::new(), prepared(&format!("endless-{number}"), "(loop (br 0))"));
        answers(&stage, &component, &nothing(), "01");
        let (ran, _) = stage.call(&component, "{}", &nothing());
        assert!(matches!(&ran.end, End::Answered(reply) if reply.text == "01"), "{ran:?}");
        ran.usage.wall_us
    });
    let soonest = soonest.min();
    assert!(soonest.is_some_and(|us| us < 500_000), "{soonest:?}");
}

#[test]
fn as_many_components_as_there_are_can_be_called_whatever_waits() {
    let stage = Stage::new();
    let components: Vec<Component> = (0..8).map(|number| prepared(&format!("many-{number}"), "")).collect();
    for component in &components {
        stage.wall.compile(component).expect("it compiles");
    }
    for component in &components {
        answers(&stage, component, &nothing(), "01");
    }
    // The first few have an instance that waits, and the others are made when they are called.
    let ready = components.iter().filter(|component| {
        let (ran, _) = stage.call(component, "{}", &nothing());
        matches!(ran.end, End::Answered(reply) if reply.text == "11")
    });
    let count = ready.count();
    assert!((1..components.len()).contains(&count), "{count} were ready");
}
