//! Answers of tools as MCP has them: content for a model, structured content, and in `_meta` where the log has the call.
//! It never makes a protocol error of something that a model should read.

use crate::error::Error;
use crate::gateway::mcp::bash::Told;
use crate::session::{Left, Session};
use rmcp::model::{CallToolResult, ContentBlock, MetaObject};
use serde_json::{Value, json};
use stockade_audit::Receipt;
use stockade_audit::record::{Digest, SessionId};
use stockade_policy::{Ask, Flaw, Refusal};

/// What a client gets.
pub(super) type Answer = CallToolResult;

/// Where the log has a call: `_meta` of its answer.
pub(super) const RECEIPT: &str = "stockade/receipt";
/// Why a call was refused: `_meta` of its answer.
pub(super) const DENIAL: &str = "stockade/denial";

/// Where the log has a call, and what was signed when it was answered.
#[derive(Debug)]
pub(super) struct Stamp(Value);

impl Stamp {
    /// Of a call of this session.
    pub(super) fn of(session: &Session, receipt: Receipt) -> Self {
        Self::at(session.id(), receipt, &session.checkpoint())
    }

    /// Of a call of a session that has ended: its log's last checkpoint covers everything.
    pub(super) fn of_ended(session: &Left, receipt: Receipt) -> Self {
        Self::at(&session.id, receipt, &session.checkpoint)
    }

    fn at(session: &SessionId, receipt: Receipt, checkpoint: &str) -> Self {
        Self(json!({
            "log": session.as_str(),
            "position": receipt.n,
            "leaf_hash": Digest(receipt.leaf_hash).to_string(),
            "durable": receipt.durable,
            "checkpoint": checkpoint,
        }))
    }
}

/// An answer with its receipt.
pub(super) fn told(told: Told, stamp: &Stamp) -> Answer {
    stamped(plain(told), stamp)
}

/// The same answer with a receipt, beside what its `_meta` has.
pub(super) fn stamped(mut answer: Answer, stamp: &Stamp) -> Answer {
    answer.meta.get_or_insert_default().0.insert(RECEIPT.to_owned(), stamp.0.clone());
    answer
}

/// An answer without one.
pub(super) fn plain(Told { text, structured, is_error }: Told) -> Answer {
    let mut answer = if is_error {
        CallToolResult::error(vec![ContentBlock::text(text)])
    } else {
        CallToolResult::success(vec![ContentBlock::text(text)])
    };
    answer.structured_content = Some(structured);
    answer
}

/// An error that a model can read.
pub(super) fn error(text: String) -> Answer {
    CallToolResult::error(vec![ContentBlock::text(text)])
}

/// The arguments were wrong.
pub(super) fn flawed(flaw: &Flaw) -> Answer {
    error(format!("invalid arguments: {}\nhint: {}", flaw.what, flaw.hint))
}

/// What was asked for cannot be had.
pub(super) fn failed(cause: &Error, stamp: &Stamp) -> Answer {
    stamped(error(cause.to_string()), stamp)
}

/// The profile refused: what the log has of that is the refusal.
pub(super) fn denied(refusal: &Refusal, session: &SessionId, stamp: &Stamp) -> Answer {
    let why = json!({
        "log": session.as_str(),
        "rule": refusal.rule.as_ref().map(ToString::to_string),
        "reason": refusal.reason,
        "instead": refusal.instead,
        "ask": refusal.ask,
    });
    stamped(error(refusal.to_string()).with_meta(Some(meta(DENIAL, why))), stamp)
}

/// A person has to agree, and there is nobody to ask.
pub(super) fn unapproved(ask: &Ask, session: &SessionId, stamp: &Stamp) -> Answer {
    let rules = ask.rules();
    let reasons: Vec<&str> = rules.iter().map(|asking| asking.reason.as_str()).collect();
    let rules: Vec<String> = rules.iter().map(|asking| asking.rule.to_string()).collect();
    let (reason, rule) = (reasons.join("; "), rules.join(", "));
    let text = format!(
        "denied: a person has to approve this: {reason}\nrule: {rule}\nto ask: say what you need it for; the person can \
         do it, or change the rule"
    );
    let why = json!({ "log": session.as_str(), "rule": rule, "reason": reason, "instead": [], "ask": "a person" });
    stamped(error(text).with_meta(Some(meta(DENIAL, why))), stamp)
}

/// The session is over: its sandbox died, the disk is full, the log cannot be written.
pub(super) fn ended(session: &SessionId, cause: &Error) -> Answer {
    error(format!(
        "the session {session} has ended, and no tool can be called any more: {}\nwhat it changed is kept: stockade diff \
         {session}\nto go on, the person has to restart this MCP server",
        cause.to_string().trim_start_matches("error: ")
    ))
}

/// Too many calls wait.
pub(super) fn busy(waiting_max: usize) -> Answer {
    error(format!("{waiting_max} calls wait already\nhint: calls are done one after the other; wait for their answers"))
}

fn meta(key: &str, value: Value) -> MetaObject {
    MetaObject(serde_json::Map::from_iter([(key.to_owned(), value)]))
}
