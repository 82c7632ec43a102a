//! Calls in a sandbox: how they end, what they are given, what they leave behind.
//! It never touches a process or a file that it did not make.

mod common;

use common::{Scratch, again_as_ordinary_user, plan, run, start};
use stockade_jail::Status;

#[test]
fn as_an_ordinary_user() {
    again_as_ordinary_user("as_an_ordinary_user");
}

#[test]
fn true_ends_with_0() {
    let scratch = Scratch::new();
    let sandbox = start(&plan(scratch.path()));
    println!("{}", sandbox.enforced());
    assert_eq!(run(&sandbox, &["true"]).ended.status, Status::Exited(0));
}
