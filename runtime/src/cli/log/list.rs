//! `stockade log list`: the sessions of this machine.
//! It never reads more of a session than its first record.

use super::words::count;
use crate::cli::style::{Tone, visible};
use crate::cli::{Context, print, print_json};
use crate::config::state::State;
use crate::error::Result;
use crate::journal::failed;
use std::fmt::Write as _;
use stockade_audit::query::{SessionState, list_sessions, utc};

/// One line a session.
pub(super) fn list(state: &State, json: bool, context: &Context) -> Result<()> {
    let sessions = list_sessions(&state.root().join("ledger"), &state.root().join("s"));
    let sessions = match sessions {
        Err(_) if !state.root().join("ledger").exists() => Vec::new(),
        other => other.map_err(failed)?,
    };
    if json {
        let lines = sessions.iter().map(|session| {
            serde_json::json!({
                "session": session.sid.to_string(),
                "opened_ns": session.opened_ns,
                "closed_ns": session.closed_ns,
                "records": session.size,
                "state": state_word(&session.state),
                "profile": session.open.as_ref().map(|open| &open.profile),
                "grade": session.open.as_ref().map(|open| &open.grade),
                "recorder": session.open.as_ref().and_then(|open| open.recorder.as_ref()).map(|recorder| recorder.grade),
                "waiting": state.layer(&session.sid).is_dir(),
            })
        });
        return print_json(&lines.collect::<Vec<_>>());
    }
    let mut out = String::new();
    for session in &sessions {
        let open = session.open.as_ref();
        let profile = open.map_or("?", |open| open.profile.as_str());
        let word = state_word(&session.state);
        let tone = if word.starts_with("closed") { Tone::Good } else { Tone::Notice };
        let waits = if state.layer(&session.sid).is_dir() { "layer kept" } else { "" };
        let records = session.size.map_or_else(|| "? records".to_owned(), |size| count(size, "record"));
        let word = context.colour.paint(tone, &format!("{word:14}"));
        let when = utc(session.opened_ns).replace('T', " ").replace('Z', "");
        writeln!(out, "{}  {when}  {word} {records:>15}  {}  {waits}", session.sid, visible(profile))
            .expect("writing to a String cannot fail");
    }
    print(&out)
}

fn state_word(state: &SessionState) -> String {
    match state {
        SessionState::Running => "running".to_owned(),
        SessionState::Closed { status, .. } => format!("closed ({status})"),
        SessionState::Interrupted => "interrupted".to_owned(),
        SessionState::Gone => "gone".to_owned(),
    }
}
