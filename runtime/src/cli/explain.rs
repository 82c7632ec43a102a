//! `stockade explain`: the plan that a session would carry out, and what the profile says of the command.
//! It never starts anything, and leaves nothing behind.

use crate::cli::args::ExplainArgs;
use crate::cli::confine::confined;
use crate::cli::{Context, print, print_json};
use crate::config::state::State;
use crate::error::{Error, Result};
use crate::journal;
use crate::session;
use serde::Serialize;
use std::os::unix::ffi::OsStrExt as _;
use stockade_audit::record::SessionId;
use stockade_jail::plan::Wall;
use stockade_policy::{Action, Answer, Call, Command, ToolName};

/// What scripts get.
#[derive(Serialize)]
struct Explained<'a> {
    profile: String,
    workspace: String,
    verdict: String,
    plan: &'a stockade_jail::Plan,
}

/// Prints the plan.
///
/// # Errors
/// As opening a session.
pub(super) fn explain(args: &ExplainArgs, context: &Context) -> Result<u8> {
    let state = State::open(&context.environment)?;
    // A plan names the directories of a session's layer, so one is made, and removed whatever comes of it.
    let id = journal::new_session_id()?;
    let layer = state.layer(&id);
    let explained = explain_at(args, &id, &state, context);
    session::remove_layer_directory(&layer)?;
    explained
}

fn explain_at(args: &ExplainArgs, id: &SessionId, state: &State, context: &Context) -> Result<u8> {
    let confined = confined(&args.confinement, id.clone(), state, "cli", context)?;
    let prepared = session::prepare(&confined.options, Wall::Namespaces, session::method(&confined.options)?)?;
    let verdict = verdict(args, &confined.options.profile)?;
    let profile = confined.options.profile.name().to_string();
    let workspace = confined.options.paths.workspace.display().to_string();
    if args.json {
        print_json(&Explained { profile, workspace, verdict, plan: &prepared.plan })?;
    } else {
        let plan = prepared.plan.to_string().replace(id.as_str(), "SESSION");
        print(&format!("profile   {profile}\nworkspace {workspace}\nverdict   {verdict}\n\n{plan}\n"))?;
    }
    Ok(0)
}

/// What the profile says of the command.
fn verdict(args: &ExplainArgs, profile: &stockade_policy::ExpandedProfile) -> Result<String> {
    let words = args.argv.iter().map(|word| word.as_bytes().to_vec());
    let flawed = |flaw: stockade_policy::Flaw| Error::operator(flaw.what).hint(flaw.hint);
    let command = Command::from_words(words).map_err(flawed)?;
    let call = Call::new(ToolName::parse("exec").map_err(flawed)?, Action::Command(command));
    Ok(match profile.would(&call) {
        Answer::Allowed(grounds) => {
            let rules: Vec<String> = grounds.rules.iter().map(ToString::to_string).collect();
            format!("permitted by {}", rules.join(", "))
        }
        Answer::Asks(rules) => {
            let reasons: Vec<&str> = rules.iter().map(|asking| asking.reason.as_str()).collect();
            format!("a person would be asked: {}", reasons.join("; "))
        }
        Answer::Denied(refusal) => format!("denied: {}", refusal.reason),
    })
}
