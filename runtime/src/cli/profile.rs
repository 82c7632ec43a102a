//! `stockade profile`: which profiles there are, what they grant and why, how two differ, and what one would need.
//! It never changes a profile.

mod learn;
mod observed;
mod propose;

use crate::cli::args::ProfileCommand;
use crate::cli::style::{Tone, visible};
use crate::cli::{Context, print, print_json, tell};
use crate::config::profiles::{BUILT_IN, Sources};
use crate::error::{Error, Result};
use serde::Serialize;
use std::fmt::Write as _;
use stockade_policy::{Difference, Direction, Explanation, Profile};

/// A profile has mistakes.
const EXIT_MISTAKES: u8 = 1;

/// Does what the subcommand says.
///
/// # Errors
/// Operator: no such profile, or mistakes in it.
pub(super) fn profile(command: &ProfileCommand, context: &Context) -> Result<u8> {
    match command {
        ProfileCommand::List { json } => list(*json, context)?,
        ProfileCommand::Check { profiles, json } => return check(profiles, *json, context),
        ProfileCommand::Explain { profile, json } => explain(&load(profile, context)?.explain(), *json, context)?,
        ProfileCommand::Diff { from, to, json } => {
            let differences = stockade_policy::diff(&load(from, context)?, &load(to, context)?);
            diff(&differences, *json, context)?;
        }
        ProfileCommand::Learn(args) => return learn::learn(args, context),
        ProfileCommand::Show { profile } => print(Sources::gather(profile, &context.environment)?.text())?,
    }
    Ok(0)
}

fn load(name: &str, context: &Context) -> Result<Profile> {
    Sources::gather(name, &context.environment)?.profile()
}

fn list(json: bool, context: &Context) -> Result<()> {
    let profiles = BUILT_IN.iter().map(|(name, _)| load(name, context)).collect::<Result<Vec<_>>>()?;
    if json {
        let line = |profile: &Profile| serde_json::json!({ "name": profile.name().to_string(), "description": profile.description() });
        return print_json(&profiles.iter().map(line).collect::<Vec<_>>());
    }
    let mut out = String::new();
    for profile in &profiles {
        let name = context.colour.paint(Tone::Strong, &format!("{:12}", profile.name().as_str()));
        writeln!(out, "{name} {}", profile.description()).expect("writing to a String cannot fail");
    }
    print(&out)
}

#[derive(Serialize)]
struct Checked<'a> {
    profile: &'a str,
    mistakes: Vec<Mistake>,
}

#[derive(Serialize)]
struct Mistake {
    what: String,
    hint: Option<String>,
}

/// Checks each profile, and goes on after one that has mistakes.
fn check(names: &[String], json: bool, context: &Context) -> Result<u8> {
    let results: Vec<(&String, Result<Profile>)> = names.iter().map(|name| (name, load(name, context))).collect();
    let bad = results.iter().any(|(_, result)| result.is_err());
    if json {
        let mistakes = |error: &Error| {
            let reports = error.reports.iter();
            reports.map(|report| Mistake { what: report.what.clone(), hint: report.hint.clone() }).collect()
        };
        let checked = results.iter().map(|(name, result)| Checked {
            profile: name,
            mistakes: result.as_ref().err().map(mistakes).unwrap_or_default(),
        });
        print_json(&checked.collect::<Vec<_>>())?;
    } else {
        for (name, result) in &results {
            match result {
                Ok(_) => print(&format!("{}: {}\n", visible(name), context.colour.paint(Tone::Good, "ok")))?,
                Err(error) => tell(&error.to_string()),
            }
        }
    }
    Ok(if bad { EXIT_MISTAKES } else { 0 })
}

fn explain(explanation: &Explanation, json: bool, context: &Context) -> Result<()> {
    if json {
        let line = |line: &stockade_policy::ExplainedLine| {
            let from = line.from.as_ref().map(|(file, line)| format!("{file}:{line}"));
            serde_json::json!({ "what": line.what, "reason": line.reason, "from": from })
        };
        let section = |section: &stockade_policy::Section| serde_json::json!({ "title": section.title, "lines": section.lines.iter().map(line).collect::<Vec<_>>() });
        return print_json(&serde_json::json!({
            "name": explanation.name,
            "description": explanation.description,
            "files": explanation.files,
            "sections": explanation.sections.iter().map(section).collect::<Vec<_>>(),
        }));
    }
    let mut out = explanation.to_string();
    if context.colour == crate::cli::style::Colour::On {
        for section in &explanation.sections {
            out = out.replace(section.title, &context.colour.paint(Tone::Strong, section.title));
        }
    }
    print(&(out.trim_end().to_owned() + "\n"))
}

fn diff(differences: &[Difference], json: bool, context: &Context) -> Result<()> {
    if json {
        let line = |difference: &Difference| {
            serde_json::json!({
                "direction": difference.direction.as_str(),
                "before": difference.before,
                "after": difference.after,
                "rule": difference.rule.as_ref().map(ToString::to_string),
            })
        };
        return print_json(&differences.iter().map(line).collect::<Vec<_>>());
    }
    let mut out = String::new();
    for difference in differences {
        let tone = match difference.direction {
            Direction::Wider => Tone::Bad,
            Direction::Tighter => Tone::Good,
            Direction::Changed => Tone::Faint,
        };
        writeln!(out, "{}", context.colour.paint(tone, &difference.to_string()))
            .expect("writing to a String cannot fail");
    }
    if differences.is_empty() {
        out.push_str("the two grant and refuse the same\n");
    }
    print(&out)
}
