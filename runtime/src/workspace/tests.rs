//! Tests of the workspace, against what real programs and a real overlay do.
//! They never touch anything outside their own temporary directories.

mod crash;
mod direct;
mod fork;
mod limits;
mod plan;
mod reference;
mod render;
mod support;
