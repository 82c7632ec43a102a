//! An apply or an undo that dies at any step: what the next process finds is the tree before or the tree after.

use super::super::*;
use super::support::{Place, Times, free, tree};
use std::panic::{AssertUnwindSafe, catch_unwind};

const SCRIPT: &str = "echo new > a; rm b; mkdir -p n/m; echo x > n/m/f; ln n/m/f n/g; rm -r d; echo file > d; \
    rm e; mkdir e; echo in > e/e; chmod 700 k; ln -s a l; rm -r gone; chmod 600 meta";

fn prepared() -> (Place, Layer) {
    let place = Place::new("crash");
    for path in ["a", "b", "d/x", "d/y", "e", "k/k", "gone/er/z", "meta"] {
        place.write(path, path);
    }
    std::fs::hard_link(place.ws().join("b"), place.ws().join("b2")).unwrap();
    let layer = place.layer();
    place.guest(SCRIPT);
    (place, layer)
}

/// Runs `act` until it dies at its `step`-th step; true if it lived.
fn lives(step: usize, act: impl FnOnce(&mut dyn FnMut(&'static str))) -> bool {
    let mut left = step;
    let mut watch = |_: &'static str| {
        if left == 0 {
            // Not a panic message on every one of some hundred deaths.
            std::panic::resume_unwind(Box::new("killed here"));
        }
        left -= 1;
    };
    catch_unwind(AssertUnwindSafe(|| act(&mut watch))).is_ok()
}

#[test]
fn an_apply_killed_at_any_step_is_all_or_nothing() {
    let (place, layer) = prepared();
    let before = tree(&place.ws(), Times::Ignored);
    let mut seen = (0, 0);
    for step in 0.. {
        let plan = layer.plan(&Selection::All, &free, &[]).unwrap();
        assert_eq!(plan.blocked(), [], "step {step}");
        let lived = lives(step, |watch| drop(layer.execute_watched(&plan, watch).unwrap()));
        let recovered = Layer::open(&place.state()).unwrap();
        if recovered.changes(Freshness::Rehash).unwrap().is_empty() {
            seen.1 += 1;
            let number = recovered.last_apply().unwrap().unwrap();
            recovered.undo(number).unwrap();
        } else {
            seen.0 += 1;
        }
        assert_eq!(tree(&place.ws(), Times::Ignored), before, "step {step}");
        if lived {
            break;
        }
    }
    assert!(seen.0 > 20 && seen.1 > 20, "deaths before and after the turning point: {seen:?}");
}

#[test]
fn a_recovery_that_is_killed_too_is_finished_by_the_next() {
    let (place, layer) = prepared();
    let before = tree(&place.ws(), Times::Ignored);
    for step in (0..60).step_by(4) {
        for second in 0.. {
            let plan = layer.plan(&Selection::All, &free, &[]).unwrap();
            if lives(step, |watch| drop(layer.execute_watched(&plan, watch).unwrap())) {
                return;
            }
            let lived = lives(second, |watch| drop(layer.recover_watched(watch).unwrap()));
            let third = Layer::open(&place.state()).unwrap();
            if third.changes(Freshness::Rehash).unwrap().is_empty() {
                third.undo(third.last_apply().unwrap().unwrap()).unwrap();
            }
            assert_eq!(tree(&place.ws(), Times::Ignored), before, "step {step}, then {second}");
            if lived {
                break;
            }
        }
    }
}

#[test]
fn an_undo_killed_at_any_step_is_all_or_nothing() {
    let (place, layer) = prepared();
    let before = tree(&place.ws(), Times::Ignored);
    for step in 0.. {
        let plan = layer.plan(&Selection::All, &free, &[]).unwrap();
        let number = layer.execute(&plan).unwrap().number;
        let after = tree(&place.ws(), Times::Ignored);
        let lived = lives(step, |watch| drop(layer.undo_watched(number, watch).unwrap()));
        let recovered = Layer::open(&place.state()).unwrap();
        let now = tree(&place.ws(), Times::Ignored);
        if now == after {
            recovered.undo(number).unwrap();
        } else {
            assert_eq!(now, before, "step {step}");
        }
        if lived {
            break;
        }
    }
}
