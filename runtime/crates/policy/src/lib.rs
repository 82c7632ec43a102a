//! The capability policy of Stockade: profiles, calls, and `judge`, which decides whether a call may run.
//! It never touches the world: no file, clock, network or environment. `no_std` lets the compiler hold that.
//!
//! ```text
//! bytes ─parse▶ ProfileFile ─resolve▶ Profile ─tighten▶ Profile ─expand▶ ExpandedProfile ─┐
//! bytes ─RawCall::parse▶ Call ───────────────────────────────────────────────────────────judge▶ Decision
//! ```
//!
//! Paths are judged as text here, for answers in advance and for reasons that a model can read. What holds a command
//! is the wall that is built from the same grants; a symbolic link or a shell's quoting gets past words, not past it.

#![no_std]

extern crate alloc;

mod backend;
mod call;
mod canonical;
mod component;
mod diagnostic;
mod diff;
mod document;
mod explain;
mod glob;
mod guard;
mod host;
mod image;
mod json;
mod judge;
mod limits;
mod name;
mod parse;
mod path;
mod profile;
mod raw_call;
mod resolve;
mod rule;
mod rule_text;

pub use backend::{Backend, Container, WallChoice};
pub use call::{
    ARGV_WORDS_MAX, Action, Argument, COMMAND_BYTES_MAX, Call, Command, ENV_MAX, GuestPath, Stdin, Terminal,
    WORD_BYTES_MAX, Word, arguments_json,
};
pub use component::{Ambient, ComponentDigest, ComponentRule, Files, ToolGrant};
pub use diagnostic::{DIAGNOSTICS_MAX, Diagnostic, Diagnostics};
pub use diff::{Difference, Direction, diff};
pub use document::PROFILE_BYTES_MAX;
pub use explain::{ExplainedLine, Explanation, Section};
pub use glob::{ArgvGlob, PathGlob, WordGlob};
pub use guard::{Guard, Treatment, WorkspacePattern};
pub use host::{HOST_BYTES_MAX, Host, HostName, HostPattern};
pub use image::{IMAGE_BYTES_MAX, ImageReference, Pin, RuntimeName};
pub use judge::{
    Answer, Approval, Approver, Ask, Asking, Decision, Denial, Door, Grounds, PRIVATE_TMP, Permit, Refusal,
};
pub use limits::{Durability, Floor, LIMIT_MAX, Limit, Limits, RecordFloor, Recording};
pub use name::{EnvName, Flaw, NAME_BYTES_MAX, ProfileName, Reason, RuleId, SecretName, TEXT_BYTES_MAX, ToolName};
pub use parse::{PROFILE_VERSION, ProfileFile, ProjectFile, RULES_MAX, parse, parse_project};
pub use path::{AbsolutePath, Base, HostFacts, HostPath, PATH_BYTES_MAX, RulePath, UrlPath, WrittenPath};
pub use profile::{ExpandedProfile, PathGrant, Profile, Source};
pub use raw_call::{CALL_BYTES_MAX, RawCall};
pub use resolve::{EXTENDS_DEPTH_MAX, SOURCES_MAX, resolve, tighten};
pub use rule::{
    Access, ArgumentGlob, Condition, EnvGrant, Grant, Matter, Method, NetGrant, NetMatch, OauthGrant, Only, Place,
    Presence, Rate, Restriction, Rule, Secret, SecretPlace, Shape, TokenUrl, ToolMatch, Verb,
};
